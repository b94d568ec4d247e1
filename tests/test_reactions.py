"""Reactions: their decorators, the order of publication, `settled`, `cond`, parameters."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
import statemachine
from conftest import needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    NotAReactionError,
    Orchestrator,
    ReactionErrors,
    RunawayCascadeError,
    UnknownTopicError,
    on,
    on_enter,
    on_exit,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from conftest import Engine

    HistoryState = statemachine.HistoryState
    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)
    HistoryState = getattr(statemachine, "HistoryState", None)


class Order(StateMachine):
    """An order, the subject of most tests."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Payment(StateMachine):
    """A payment, so that there are two machines."""

    unpaid = State(initial=True)
    authorized = State()
    captured = State(final=True)
    authorize = unpaid.to(authorized)
    capture = authorized.to(captured)


class Light(StateMachine):
    """A machine without end."""

    off = State(initial=True)
    lit = State()
    turn_on = off.to(lit)
    turn_off = lit.to(off)
    toggle = off.to(lit) | lit.to(off)


class Stop(BaseException):
    """Stops a cascade."""


def listening(machine: Any, *topics: str) -> tuple[Any, list[str]]:
    """Return an orchestrator with one reaction for each topic, and the list that they fill."""
    heard: list[str] = []
    machine_class = type(machine)

    def reaction(topic: str) -> Callable[[Any], None]:
        kind, _, member = topic.rpartition(":")
        return {"": on, "enter": on_enter, "exit": on_exit}[kind](member)(
            lambda _self: heard.append(topic)
        )

    class Owner(Orchestrator):
        machine: machine_class  # type: ignore[valid-type]
        vars().update({f"reaction_{index}": reaction(topic) for index, topic in enumerate(topics)})

    return Owner(machine=machine), heard


# Spelling -------------------------------------------------------------------------------------


def test_both_spellings_are_the_same_subscription(engine: Engine) -> None:
    """A topic as a string, a typed member by keyword and its id by keyword subscribe alike."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process")
        def as_string(self) -> None:
            heard.append("as_string")

        @on(order=Order.process)
        def as_member(self) -> None:
            heard.append("as_member")

        @on(order="process")
        def as_id(self) -> None:
            heard.append("as_id")

        @on_exit("order.pending")
        def exit_string(self) -> None:
            heard.append("exit_string")

        @on_exit(order=Order.pending)
        def exit_member(self) -> None:
            heard.append("exit_member")

        @on_exit(order="pending")
        def exit_id(self) -> None:
            heard.append("exit_id")

        @on_enter("order.processing")
        def enter_string(self) -> None:
            heard.append("enter_string")

        @on_enter(order=Order.processing)
        def enter_member(self) -> None:
            heard.append("enter_member")

        @on_enter(order="processing")
        def enter_id(self) -> None:
            heard.append("enter_id")

    shop = Shop(order=engine.machine(Order)())
    engine.run(lambda: shop.order.process())
    assert heard == [
        "exit_string",
        "exit_member",
        "exit_id",
        "as_string",
        "as_member",
        "as_id",
        "enter_string",
        "enter_member",
        "enter_id",
    ]


def test_several_topics_in_one_decorator_are_each_on_their_own(engine: Engine) -> None:
    """A decorator with strings, keywords and tuples subscribes to every topic that it names."""
    heard: list[tuple[str, str]] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("order.process", "order.ship", payment=(Payment.authorize, "capture"))
        def react(self, event: str) -> None:
            heard.append(("react", str(event)))

        @on_enter(order=(Order.processing, Order.shipped), payment=Payment.captured)
        def enter(self, target: State) -> None:
            heard.append(("enter", target.id))

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.order.ship())
    engine.run(lambda: shop.payment.authorize())
    engine.run(lambda: shop.payment.capture())
    assert heard == [
        ("react", "process"),
        ("enter", "processing"),
        ("react", "ship"),
        ("enter", "shipped"),
        ("react", "authorize"),
        ("react", "capture"),
        ("enter", "captured"),
    ]


def test_decorators_stack(engine: Engine) -> None:
    """Each of several decorators on one method subscribes it, whatever their kinds."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("payment.authorize")
        @on_exit("order.pending")
        @on_enter("order.shipped")
        def react(self, event: str) -> None:
            heard.append(str(event))

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.order.ship())
    engine.run(lambda: shop.payment.authorize())
    assert heard == ["process", "ship", "authorize"]


def test_each_of_several_decorators_has_its_own_condition(engine: Engine) -> None:
    """A `cond` belongs to its own decorator, and to no other of the method."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process", cond=lambda: False)
        @on("order.ship", cond=lambda: True)
        def react(self, event: str) -> None:
            heard.append(str(event))

    shop = Shop(order=engine.machine(Order)())
    engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.order.ship())
    assert heard == ["ship"]


def test_a_topic_named_twice_counts_once(engine: Engine) -> None:
    """A topic that one decorator names twice, in whichever spelling, is one subscription."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process", "order.process", order=(Order.process, "process"))
        def react(self) -> None:
            heard.append("react")

    shop = Shop(order=engine.machine(Order)())
    engine.run(lambda: shop.order.process())
    assert heard == ["react"]


def test_a_topic_named_by_two_decorators_counts_once(engine: Engine) -> None:
    """A topic that two decorators of one method name is one subscription of the method."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process")
        @on(order=Order.process)
        def react(self) -> None:
            heard.append("react")

    shop = Shop(order=engine.machine(Order)())
    engine.run(lambda: shop.order.process())
    assert heard == ["react"]


def test_a_reaction_runs_once_for_each_published_topic_that_it_names(engine: Engine) -> None:
    """A transition that publishes three topics of a reaction makes it run three times."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process", "order.*", "*")
        def react(self, event: str) -> None:
            heard.append(str(event))

    shop = Shop(order=engine.machine(Order)())
    engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.order.ship())
    assert heard == ["process", "process", "process", "ship", "ship"]


def test_a_member_of_a_base_class_of_the_machine_names_the_same_topic(engine: Engine) -> None:
    """A typed member stands for its id, so that an inherited one may be taken from either class."""
    heard: list[str] = []

    class Rush(Order):
        pass

    class Shop(Orchestrator):
        order: Rush

        @on(order=Order.process)
        def base(self) -> None:
            heard.append("base")

        @on(order=Rush.process)
        def derived(self) -> None:
            heard.append("derived")

    shop = Shop(order=engine.machine(Rush)())
    engine.run(lambda: shop.order.process())
    assert heard == ["base", "derived"]


# Wildcards ------------------------------------------------------------------------------------


def test_a_machines_wildcard_hears_every_transition_of_that_machine(engine: Engine) -> None:
    """`order.*` is published for each transition of `order`, and `*` for each of any machine."""
    heard: list[tuple[str, str]] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("order.*")
        def of_order(self, event: str) -> None:
            heard.append(("order.*", str(event)))

        @on("*")
        def of_any(self, event: str) -> None:
            heard.append(("*", str(event)))

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.payment.authorize())
    assert heard == [("order.*", "process"), ("*", "process"), ("*", "authorize")]


def test_an_event_of_several_transitions_is_published_for_the_one_taken(engine: Engine) -> None:
    """An event that several transitions share has one topic, and each one taken publishes it."""
    owner, heard = listening(
        engine.machine(Light)(),
        "machine.toggle",
        "machine.turn_on",
        "enter:machine.lit",
        "enter:machine.off",
    )
    engine.run(lambda: owner.machine.toggle())
    engine.run(lambda: owner.machine.toggle())
    assert heard == ["machine.toggle", "enter:machine.lit", "machine.toggle", "enter:machine.off"]


def test_a_transition_of_several_events_is_published_under_the_one_sent(engine: Engine) -> None:
    """A transition that two events share is published under the event that caused it."""

    class Cycle(StateMachine):
        red = State(initial=True)
        green = State()
        go = red.to(green)
        halt = green.to(red)
        step = go | halt

    owner, heard = listening(
        engine.machine(Cycle)(), "machine.step", "machine.go", "machine.halt", "machine.*"
    )
    engine.run(lambda: owner.machine.step())
    engine.run(lambda: owner.machine.halt())
    assert heard == ["machine.step", "machine.*", "machine.halt", "machine.*"]


# The order of one transition ------------------------------------------------------------------


def test_a_transition_publishes_in_the_order_of_a_step(engine: Engine) -> None:
    """Exit, the event, `machine.*`, `*`, enter are published in that order, not the source's."""
    owner, heard = listening(
        engine.machine(Order)(),
        "enter:machine.processing",
        "*",
        "machine.*",
        "machine.process",
        "exit:machine.pending",
        "exit:machine.processing",
        "enter:machine.pending",
    )
    engine.run(lambda: owner.machine.process())
    assert heard == [
        "exit:machine.pending",
        "machine.process",
        "machine.*",
        "*",
        "enter:machine.processing",
    ]


def test_an_external_self_transition_publishes_exit_and_enter(engine: Engine) -> None:
    """A transition that the host runs as exit and enter of one state publishes both."""

    class Counter(StateMachine):
        counting = State(initial=True)
        again = counting.to.itself()

    owner, heard = listening(
        engine.machine(Counter)(),
        "enter:machine.counting",
        "machine.again",
        "exit:machine.counting",
    )
    engine.run(lambda: owner.machine.again())
    assert heard == ["exit:machine.counting", "machine.again", "enter:machine.counting"]


def test_an_internal_self_transition_publishes_its_event_alone(engine: Engine) -> None:
    """A transition that the host runs without exit and enter publishes neither."""

    class Counter(StateMachine):
        counting = State(initial=True)
        again = counting.to.itself(internal=True)

    owner, heard = listening(
        engine.machine(Counter)(),
        "enter:machine.counting",
        "*",
        "machine.*",
        "machine.again",
        "exit:machine.counting",
    )
    engine.run(lambda: owner.machine.again())
    assert heard == ["machine.again", "machine.*", "*"]


@needs_3
def test_an_internal_self_transition_of_a_statechart_publishes_what_the_host_runs(
    engine: Engine,
) -> None:
    """A statechart enters, and does not exit, the state of an internal self-transition."""
    called: list[str] = []

    class Counter(StateChart):
        counting = State(initial=True)
        again = counting.to.itself(internal=True)

        def on_enter_counting(self) -> None:
            called.append("enter")

        def on_exit_counting(self) -> None:
            called.append("exit")

    owner, heard = listening(
        engine.machine(Counter)(),
        "exit:machine.counting",
        "machine.again",
        "enter:machine.counting",
    )

    async def activate() -> None:
        await owner.machine.activate_initial_state()

    if engine.is_async:
        engine.run(activate)
    called.clear()
    engine.run(lambda: owner.machine.again())
    assert (called, heard) == (["enter"], ["machine.again", "enter:machine.counting"])


@needs_3
def test_a_transition_without_a_target_publishes_its_event_alone(engine: Engine) -> None:
    """A transition without a target exits and enters nothing."""

    class Counter(StateChart):
        counting = State(initial=True)
        tick = counting.to(None)

    owner, heard = listening(
        engine.machine(Counter)(),
        "enter:machine.counting",
        "machine.*",
        "machine.tick",
        "exit:machine.counting",
    )
    engine.run(lambda: owner.machine.tick())
    assert heard == ["machine.tick", "machine.*"]


def nested_chart() -> Any:
    """Return a machine whose two compound states are three levels deep."""

    class Nested(StateChart):
        class home(State.Compound):  # noqa: N801 - a state
            class room(State.Compound):  # noqa: N801 - a state
                bed = State(initial=True)
                desk = State()
                rise = bed.to(desk)

            kitchen = State()
            cook = room.to(kitchen)

        class town(State.Compound):  # noqa: N801 - a state
            class office(State.Compound):  # noqa: N801 - a state
                hall = State(initial=True)
                lift = State()
                ride = hall.to(lift)

        leave = home.to(town)
        back = town.to(home)

    return Nested


NESTED_STATES = ("home", "room", "bed", "desk", "kitchen", "town", "office", "hall", "lift")
NESTED_TOPICS = (
    *(f"enter:machine.{state}" for state in NESTED_STATES),
    *(f"machine.{event}" for event in ("rise", "cook", "leave", "back", "ride")),
    *(f"exit:machine.{state}" for state in NESTED_STATES),
)


@needs_3
def test_a_compound_state_publishes_every_level(engine: Engine) -> None:
    """States are exited innermost first and entered outermost first, at every level."""
    owner, heard = listening(engine.machine(nested_chart())(), *NESTED_TOPICS)
    engine.run(lambda: owner.machine.leave())
    assert heard == [
        "exit:machine.bed",
        "exit:machine.room",
        "exit:machine.home",
        "machine.leave",
        "enter:machine.town",
        "enter:machine.office",
        "enter:machine.hall",
    ]


@needs_3
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["rise"], ["exit:machine.bed", "machine.rise", "enter:machine.desk"]),
        (
            ["rise", "cook"],
            [
                "exit:machine.desk",
                "exit:machine.room",
                "machine.cook",
                "enter:machine.kitchen",
            ],
        ),
    ],
)
def test_a_transition_inside_a_compound_state_leaves_the_outer_ones(
    engine: Engine, events: list[str], expected: list[str]
) -> None:
    """A transition publishes the states that it leaves and enters, and not their parents."""
    owner, heard = listening(engine.machine(nested_chart())(), *NESTED_TOPICS)
    for event in events:
        heard.clear()
        engine.run(functools.partial(owner.machine.send, event))
    assert heard == expected


def parallel_chart() -> Any:
    """Return a machine with two regions that take one event."""

    class Parallel(StateChart):
        class both(State.Parallel):  # noqa: N801 - a state
            class left(State.Compound):  # noqa: N801 - a state
                l1 = State(initial=True)
                l2 = State()
                go = l1.to(l2)
                only_left = l1.to(l2)

            class right(State.Compound):  # noqa: N801 - a state
                r1 = State(initial=True)
                r2 = State()
                go = r1.to(r2)

        out = State()
        leave = both.to(out)
        enter = out.to(both)

    return Parallel


PARALLEL_STATES = ("out", "both", "left", "l1", "l2", "right", "r1", "r2")
PARALLEL_TOPICS = (
    *(f"enter:machine.{state}" for state in PARALLEL_STATES),
    *(f"machine.{event}" for event in ("go", "only_left", "leave", "enter", "*")),
    *(f"exit:machine.{state}" for state in PARALLEL_STATES),
)


@needs_3
def test_an_event_taken_in_two_regions_is_two_transitions(engine: Engine) -> None:
    """Each region's transition is published on its own, all of the first before the second."""
    owner, heard = listening(engine.machine(parallel_chart())(), *PARALLEL_TOPICS)
    engine.run(lambda: owner.machine.go())
    assert heard == [
        "exit:machine.l1",
        "machine.go",
        "machine.*",
        "enter:machine.l2",
        "exit:machine.r1",
        "machine.go",
        "machine.*",
        "enter:machine.r2",
    ]


@needs_3
def test_an_event_taken_in_one_region_leaves_the_other(engine: Engine) -> None:
    """A transition in one region publishes nothing of the other."""
    owner, heard = listening(engine.machine(parallel_chart())(), *PARALLEL_TOPICS)
    engine.run(lambda: owner.machine.only_left())
    assert heard == ["exit:machine.l1", "machine.only_left", "machine.*", "enter:machine.l2"]


@needs_3
def test_a_parallel_state_publishes_every_region(engine: Engine) -> None:
    """Leaving a parallel state exits all regions innermost first; entering it, outermost first."""
    owner, heard = listening(engine.machine(parallel_chart())(), *PARALLEL_TOPICS)
    engine.run(lambda: owner.machine.leave())
    engine.run(lambda: owner.machine.enter())
    assert heard == [
        "exit:machine.r1",
        "exit:machine.l1",
        "exit:machine.right",
        "exit:machine.left",
        "exit:machine.both",
        "machine.leave",
        "machine.*",
        "enter:machine.out",
        "exit:machine.out",
        "machine.enter",
        "machine.*",
        "enter:machine.both",
        "enter:machine.left",
        "enter:machine.l1",
        "enter:machine.right",
        "enter:machine.r1",
    ]


@needs_3
def test_a_history_state_publishes_the_states_that_it_restores(engine: Engine) -> None:
    """A transition to a history state publishes what the host enters, not the history state."""

    class Player(StateChart):
        class playing(State.Compound):  # noqa: N801 - a state
            slow = State(initial=True)
            fast = State()
            hurry = slow.to(fast)
            last = HistoryState()

        paused = State()
        pause = playing.to(paused)
        resume = paused.to(playing.last)

    owner, heard = listening(
        engine.machine(Player)(),
        "enter:machine.slow",
        "enter:machine.fast",
        "enter:machine.playing",
        "machine.resume",
    )
    engine.run(lambda: owner.machine.hurry())
    engine.run(lambda: owner.machine.pause())
    heard.clear()
    engine.run(lambda: owner.machine.resume())
    assert heard == ["machine.resume", "enter:machine.playing", "enter:machine.fast"]


DEEP_STATES = ("a", "p", "l", "l1", "l2", "r", "r1", "r2", "q", "b")


def deep_chart(called: list[str]) -> Any:
    """Return a machine with all kinds of transitions, whose callbacks tell what the host runs."""

    def note(what: str) -> Callable[[Any], None]:
        return lambda _self: called.append(what)

    class Deep(StateChart):
        class a(State.Compound):  # noqa: N801 - a state
            class p(State.Parallel):  # noqa: N801 - a state
                class l(State.Compound):  # noqa: E742, N801 - a state
                    l1 = State(initial=True)
                    l2 = State(final=True)
                    finish_left = l1.to(l2)

                class r(State.Compound):  # noqa: N801 - a state
                    r1 = State(initial=True)
                    r2 = State(final=True)
                    finish_right = r1.to(r2)

            q = State()
            past = HistoryState(type="deep")
            done_state_p = p.to(q)
            again = q.to(p)

        b = State()
        leave = a.to(b)
        resume = b.to(a.past)
        inner = a.to(a.q)
        inside = a.to(a.q, internal=True)
        restart = a.to.itself()  # type: ignore[attr-defined]
        vars().update(
            {
                f"on_{kind}_{state}": note(f"{kind}:machine.{state}")
                for kind in ("enter", "exit")
                for state in DEEP_STATES
            }
        )

    return Deep


@needs_3
def test_what_is_published_is_what_the_host_runs(engine: Engine) -> None:
    """The states that transitions publish are those whose callbacks ran, in the same order."""
    called: list[str] = []
    owner, heard = listening(
        engine.machine(deep_chart(called))(),
        *(f"{kind}:machine.{state}" for kind in ("exit", "enter") for state in DEEP_STATES),
    )

    async def activate() -> None:
        await owner.machine.activate_initial_state()

    if engine.is_async:
        engine.run(activate)
    events = (
        "finish_left",
        "leave",
        "resume",
        "finish_right",
        "again",
        "inner",
        "inside",
        "restart",
        "leave",
    )
    for event in events:
        called.clear()
        heard.clear()
        engine.run(functools.partial(owner.machine.send, event))
        assert (event, heard) == (event, called)
        assert called != []


@needs_3
def test_an_eventless_transition_is_published_under_the_wildcards_and_its_states(
    engine: Engine,
) -> None:
    """A transition without an event publishes its states and the wildcards, after its cause."""

    class Chain(StateChart):
        a = State(initial=True)
        b = State()
        c = State(final=True)
        go = a.to(b)
        b.to(c)

    owner, heard = listening(
        engine.machine(Chain)(),
        "enter:machine.c",
        "enter:machine.b",
        "*",
        "machine.*",
        "machine.go",
        "exit:machine.b",
        "exit:machine.a",
    )
    engine.run(lambda: owner.machine.go())
    assert heard == [
        "exit:machine.a",
        "machine.go",
        "machine.*",
        "*",
        "enter:machine.b",
        "exit:machine.b",
        "machine.*",
        "*",
        "enter:machine.c",
    ]


# settled --------------------------------------------------------------------------------------


def test_settled_is_published_once_when_nothing_is_left_to_run(engine: Engine) -> None:
    """`settled` comes after all reactions of the cascade, once, before the call returns."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("settled")
        def save(self) -> None:
            heard.append(f"save {self!r}")

        @on("order.process")
        def authorize(self) -> Any:
            heard.append("authorize")
            return self.payment.authorize()

        @on("payment.authorize")
        def capture(self) -> Any:
            heard.append("capture")
            return self.payment.capture()

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert heard == ["authorize", "capture", "save Shop(order=processing, payment=captured)"]


def test_settled_is_published_for_every_outermost_call(engine: Engine) -> None:
    """Each call from outside is a cascade of its own, with its own `settled`."""
    owner, heard = listening(engine.machine(Order)(), "settled", "machine.*")
    engine.run(lambda: owner.machine.process())
    engine.run(lambda: owner.machine.ship())
    assert heard == ["machine.*", "settled", "machine.*", "settled"]


def test_settled_is_published_on_every_orchestrator_that_announced(engine: Engine) -> None:
    """Each orchestrator with a transition in the cascade settles, in the order of their first."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        next: Any = None

        @on("order.process")
        def pass_on(self) -> Any:
            heard.append(f"{names[id(self)]} process")
            return None if self.next is None else self.next.order.process()

        @on("settled")
        def save(self) -> None:
            heard.append(f"{names[id(self)]} settled")

    quiet = Shop(order=engine.machine(Order)())
    second = Shop(order=engine.machine(Order)())
    first = Shop(order=engine.machine(Order)(), next=second)
    names = {id(quiet): "quiet", id(first): "first", id(second): "second"}
    engine.run(lambda: first.order.process())
    assert heard == ["first process", "second process", "first settled", "second settled"]


def test_settled_is_published_after_failures(engine: Engine) -> None:
    """A cascade in which reactions failed settles like any other, and its record counts them."""
    heard: list[Any] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process")
        def fail(self) -> None:
            heard.append("fail")
            raise ValueError("no")

        @on("order.process")
        def work(self) -> None:
            heard.append("work")

        @on("settled")
        def save(self, record: Any) -> None:
            heard.append(("save", record.reactions, record.failures))

    shop = Shop(order=engine.machine(Order)())
    engine.raises(ReactionErrors, lambda: shop.order.process())
    assert heard == ["fail", "work", ("save", 2, 1)]


def test_settled_is_published_when_the_call_itself_raised_after_its_transition(
    engine: Engine,
) -> None:
    """A transition whose `after_` callback raised was announced, so its cascade settles."""

    class Failing(Order):
        def after_process(self) -> None:
            raise ValueError("after")

    owner, heard = listening(engine.machine(Failing)(), "settled", "machine.process")
    engine.raises(ValueError, lambda: owner.machine.process())
    assert heard == ["machine.process", "settled"]


def test_what_a_settled_reaction_moves_runs_in_the_same_cascade(engine: Engine) -> None:
    """Transitions made by a reaction to `settled` have their reactions, and no second `settled`."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("settled")
        def pay(self) -> Any:
            heard.append("settled")
            return self.payment.authorize()

        @on("payment.authorize")
        def authorized(self) -> None:
            heard.append("authorized")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert heard == ["settled", "authorized"]


def test_a_failing_settled_reaction_is_a_failure_like_any_other(engine: Engine) -> None:
    """A reaction to `settled` that raises stops no other one, and is in the group."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("settled")
        def fail(self) -> None:
            raise ValueError("disk full")

        @on("settled")
        def notify(self) -> None:
            heard.append("notify")

    shop = Shop(order=engine.machine(Order)())
    group = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert (heard, [str(error) for error in group.exceptions]) == (["notify"], ["disk full"])


def test_nothing_settles_after_a_base_exception(engine: Engine) -> None:
    """A `BaseException` that is no `Exception` stops the cascade, and nothing is saved."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process")
        def stop(self) -> None:
            heard.append("stop")
            raise Stop

        @on("settled")
        def save(self) -> None:
            heard.append("settled")

    shop = Shop(order=engine.machine(Order)())
    engine.raises(Stop, lambda: shop.order.process())
    assert heard == ["stop"]


def test_nothing_settles_after_a_runaway(engine: Engine) -> None:
    """A cascade that is stopped because it goes round in a loop does not settle."""
    heard: list[str] = []

    class Lamp(Orchestrator, max_reactions=50):
        light: Light

        @on("light.toggle")
        def again(self) -> Any:
            return self.light.toggle()

        @on("settled")
        def save(self) -> None:
            heard.append("settled")

    lamp = Lamp(light=engine.machine(Light)())
    engine.raises(RunawayCascadeError, lambda: lamp.light.toggle())
    assert heard == []


def test_nothing_settles_where_nothing_was_announced(engine: Engine) -> None:
    """A refused event announces nothing, so nothing settles."""
    owner, heard = listening(engine.machine(Order)(), "settled", "*")
    engine.raises(TransitionNotAllowed, lambda: owner.machine.ship())
    assert heard == []


def test_nothing_settles_after_a_posted_event_that_was_refused(engine: Engine) -> None:
    """A posted event that is refused is a failure of the cascade, and no announcement."""

    class Shop(Orchestrator):
        order: Order

        @on("settled")
        def save(self) -> None:
            heard.append("settled")

    heard: list[str] = []
    shop = Shop(order=engine.machine(Order)())
    if engine.is_async:
        engine.raises(TransitionNotAllowed, lambda: shop.asend("order.ship"))
    else:
        engine.raises(ReactionErrors, lambda: shop.post("order.ship"))
    assert heard == []


# cond -----------------------------------------------------------------------------------------


def test_a_condition_may_be_a_callable_with_parameters(engine: Engine) -> None:
    """A `cond` callable is given whatever a reaction may ask for."""
    asked: list[tuple[Any, ...]] = []
    heard: list[int] = []

    def enough(self: Any, amount: int, event: str, target: State, *, orc: Any) -> bool:
        asked.append((self is shop, orc is shop, amount, str(event), target.id))
        return amount > 10

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle", cond=enough)
        def react(self, amount: int) -> None:
            heard.append(amount)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(amount=5))
    engine.run(lambda: shop.light.toggle(amount=50))
    assert (asked, heard) == (
        [(True, True, 5, "toggle", "lit"), (True, True, 50, "toggle", "off")],
        [50],
    )


def test_a_condition_may_be_the_name_of_a_method(engine: Engine) -> None:
    """A `cond` that names a method asks it, with whatever a reaction may ask for."""
    heard: list[int] = []

    class Shop(Orchestrator):
        light: Light
        least: int = 10

        def enough(self, amount: int) -> bool:
            return amount > self.least

        @on("light.toggle", cond="enough")
        def react(self, amount: int) -> None:
            heard.append(amount)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(5))
    engine.run(lambda: shop.light.toggle(50))
    assert heard == [50]


def test_a_condition_that_names_a_method_asks_the_overriding_one(engine: Engine) -> None:
    """A `cond` by name is looked up in the class of the orchestrator, as a call would."""
    heard: list[str] = []

    class Base(Orchestrator):
        light: Light

        def wanted(self) -> bool:
            return False

        @on("light.toggle", cond="wanted")
        def react(self) -> None:
            heard.append(type(self).__name__)

    class Derived(Base):
        def wanted(self) -> bool:
            return True

    for cls in (Base, Derived):
        owner = cls(light=engine.machine(Light)())
        engine.run(owner.light.toggle)
    assert heard == ["Derived"]


def test_a_condition_may_be_the_name_of_an_attribute(engine: Engine) -> None:
    """A `cond` that names a data field asks for its value when the turn comes."""
    heard: list[str] = []

    class Shop(Orchestrator):
        light: Light
        enabled: bool = False

        @on("light.toggle", cond="enabled")
        def react(self) -> None:
            heard.append("react")

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle())
    shop.enabled = True
    engine.run(lambda: shop.light.toggle())
    assert heard == ["react"]


def test_a_condition_may_be_the_name_of_a_property(engine: Engine) -> None:
    """A `cond` that names a property reads it when the turn comes."""
    heard: list[str] = []

    class Shop(Orchestrator):
        light: Light

        @property
        def is_lit(self) -> bool:
            return bool(self.light.current_state_value == "lit")

        @on("light.toggle", cond="is_lit")
        def react(self, target: State) -> None:
            heard.append(target.id)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle())
    engine.run(lambda: shop.light.toggle())
    assert heard == ["lit"]


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_condition_may_be_the_name_of_any_kind_of_method(engine: Engine, kind: Any) -> None:
    """A `cond` that names a static method or class method calls it."""
    heard: list[int] = []

    def is_big(*args: Any) -> bool:
        return bool(args[-1] > 10)

    def of_static(amount: int) -> bool:
        return is_big(amount)

    def of_class(cls: type, amount: int) -> bool:
        return is_big(cls, amount)

    class Shop(Orchestrator):
        light: Light
        enough = kind(of_static if kind is staticmethod else of_class)

        @on("light.toggle", cond="enough")
        def react(self, amount: int) -> None:
            heard.append(amount)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(5))
    engine.run(lambda: shop.light.toggle(50))
    assert heard == [50]


def test_a_condition_is_asked_when_the_turn_comes(engine: Engine) -> None:
    """A reaction that ran before may make a `cond` true or false."""
    heard: list[str] = []

    class Shop(Orchestrator):
        light: Light
        first: bool = True
        last: bool = False

        @on("light.toggle")
        def change(self) -> None:
            heard.append("change")
            self.first, self.last = False, True

        @on("light.toggle", cond="first")
        def never(self) -> None:
            heard.append("never")

        @on("light.toggle", cond=lambda self: self.last)
        def always(self) -> None:
            heard.append("always")

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle())
    assert heard == ["change", "always"]


@pytest.mark.parametrize(
    ("decorator", "topic"), [(on_enter, "light.lit"), (on_exit, "light.off"), (on, "settled")]
)
def test_every_decorator_takes_a_condition(engine: Engine, decorator: Any, topic: str) -> None:
    """`cond` is an option of all decorators and of all topics."""
    heard: list[str] = []

    class Shop(Orchestrator):
        light: Light
        enabled: bool = False

        @decorator(topic, cond="enabled")  # type: ignore[untyped-decorator]
        def react(self) -> None:
            heard.append("react")

    for enabled in (False, True):
        shop = Shop(light=engine.machine(Light)(), enabled=enabled)
        engine.run(shop.light.toggle)
    assert heard == ["react"]


def test_a_condition_that_raises_is_a_failure_of_the_reaction(engine: Engine) -> None:
    """A `cond` that raises keeps its reaction from running, and stops no other one."""
    heard: list[str] = []

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle", cond=lambda: 1 / 0)
        def react(self) -> None:
            heard.append("react")

        @on("light.toggle")
        def other(self) -> None:
            heard.append("other")

    shop = Shop(light=engine.machine(Light)())
    group = engine.raises(ReactionErrors, lambda: shop.light.toggle())
    assert heard == ["other"]
    assert [(f.reaction, type(f.exception)) for f in group.failures] == [
        ("Shop.react", ZeroDivisionError)
    ]


# Parameters -----------------------------------------------------------------------------------


def test_the_hosts_names_and_the_record_are_injected(engine: Engine) -> None:
    """A reaction may ask for every name that python-statemachine injects, and for the record."""
    got: list[dict[str, Any]] = []

    class Shop(Orchestrator):
        order: Order

        @on("order.process")
        def react(  # noqa: PLR0913, PLR0917 - every name
            self,
            machine: Any,
            event: Any,
            source: Any,
            target: Any,
            state: Any,
            transition: Any,
            model: Any,
            record: Any,
        ) -> None:
            got.append(
                {
                    "machine": machine,
                    "event": event,
                    "source": source.id,
                    "target": target.id,
                    "state": state.id,
                    "transition": transition,
                    "model": model,
                    "record": type(record).__name__,
                }
            )

    shop = Shop(order=engine.machine(Order)())
    engine.run(lambda: shop.order.process())
    assert got == [
        {
            "machine": shop.order,
            "event": "process",
            "source": "pending",
            "target": "processing",
            "state": "processing",
            "transition": Order.pending.transitions[0],
            "model": shop.order.model,
            "record": "Transitioned",
        }
    ]


SIGNATURES = [
    "self",
    "self, amount",
    "self, amount, event",
    "self, amount, currency",
    "self, amount, currency='USD', event=None",
    "self, amount, missing='default', note='none'",
    "self, missing='default', amount=0, *, event=None",
    "self, amount, *rest",
    "self, *args",
    "self, *args, event",
    "self, amount, *rest, source, missing=3",
    "self, source, target",
    "self, amount, currency, **kwargs",
    "self, event, state, model, machine",
    "self, amount, currency, orc",
]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_reaction_gets_what_a_callback_of_the_same_signature_gets(
    engine: Engine, signature: str
) -> None:
    """The rules of injection are python-statemachine's own, for every kind of parameter."""

    def collector(got: list[Any]) -> Any:
        namespace: dict[str, Any] = {"got": got}
        exec(f"def collect({signature}):\n    got.append(dict(locals()))", namespace)  # noqa: S102
        return namespace["collect"]

    by_host: list[Any] = []
    by_us: list[Any] = []
    metaclass: Any = type(Light)
    machine_class = metaclass(
        "Watched", (Light,), {"after_toggle": collector(by_host), "__module__": __name__}
    )

    class Shop(Orchestrator):
        light: Light
        react = on("light.toggle")(collector(by_us))

    shop = Shop(light=engine.machine(machine_class)())
    engine.run(lambda: shop.light.toggle(5, "EUR", note="by phone"))

    def comparable(bound: dict[str, Any]) -> dict[str, Any]:
        others = bound.pop("kwargs", {})
        for ours in ("event_data", "record"):  # the host's own, and ours
            others.pop(ours, None)
        assert isinstance(bound.pop("self"), (Light, Shop))
        return {**bound, **{f"**{name}": value for name, value in others.items()}}

    assert [comparable(bound) for bound in by_us] == [comparable(bound) for bound in by_host]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("self, *args", {"args": (5, "EUR")}),
        ("self, amount, *rest", {"amount": 5, "rest": ("EUR",)}),
        ("self, amount, /, currency", {"amount": 5, "currency": "EUR"}),
        ("self, missing=None, note=None", {"missing": 5, "note": "by phone"}),
        (
            "self, a, b, c='default', note=None",
            {"a": 5, "b": "EUR", "c": "default", "note": "by phone"},
        ),
        ("self, *, note", {"note": "by phone"}),
        ("self, amount, *, note", {"amount": 5, "note": "by phone"}),
        ("self, *, missing=7, note", {"missing": 7, "note": "by phone"}),
    ],
)
def test_the_events_own_arguments_are_injected(
    engine: Engine, signature: str, expected: dict[str, Any]
) -> None:
    """Positional arguments come by position, keyword arguments by name, defaults for the rest.

    A keyword-only parameter keeps its value after a positional one: differs from the host.
    """
    namespace: dict[str, Any] = {"got": []}
    exec(f"def react({signature}):\n    got.append(dict(locals()))", namespace)  # noqa: S102

    class Shop(Orchestrator):
        light: Light
        react = on("light.toggle")(namespace["react"])

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(5, "EUR", note="by phone"))
    assert namespace["got"] == [{"self": shop, **expected}]


def test_a_method_of_variable_arguments_gets_them_all(engine: Engine) -> None:
    """A method that is declared with `*args` alone gets itself and the event's arguments."""
    got: list[tuple[Any, ...]] = []

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        def react(*args: Any) -> None:
            got.append(args)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(5, "EUR"))
    assert got == [(shop, 5, "EUR")]


def test_keyword_arguments_hold_the_events_and_the_injected_ones(engine: Engine) -> None:
    """A reaction with `**kwargs` sees the event's keyword arguments and every injected name."""
    got: list[dict[str, Any]] = []

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        def react(self, **kwargs: Any) -> None:
            got.append(kwargs)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(amount=5))
    assert (sorted(got[0]), got[0]["amount"], got[0]["orc"]) == (
        [
            "amount",
            "event",
            "machine",
            "model",
            "orc",
            "record",
            "source",
            "state",
            "target",
            "transition",
        ],
        5,
        shop,
    )


def test_the_events_own_arguments_win_over_the_record(engine: Engine) -> None:
    """An event with an argument called `record` keeps it."""
    got: list[Any] = []

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        def react(self, record: Any) -> None:
            got.append(record)

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(record="Abbey Road"))
    assert got == ["Abbey Road"]


def test_the_events_own_arguments_never_win_over_the_hosts_names(engine: Engine) -> None:
    """An event with arguments called as what the host injects does not change what is injected."""
    got: list[Any] = []

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        def react(self, source: Any, target: Any, model: Any, transition: Any, state: Any) -> None:
            got.append((source.id, target.id, model, transition.target.id, state.id))

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle(source=1, target=2, model=3, transition=4, state=5))
    assert got == [("off", "lit", shop.light.model, "lit", "lit")]


def test_a_missing_argument_is_a_failure_of_the_reaction(engine: Engine) -> None:
    """A parameter that nothing provides is Python's own `TypeError`, kept for the group."""

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        def react(self, amount: int) -> None:
            """Never run."""

    shop = Shop(light=engine.machine(Light)())
    group = engine.raises(ReactionErrors, lambda: shop.light.toggle())
    assert [type(error) for error in group.exceptions] == [TypeError]
    assert "missing 1 required positional argument: 'amount'" in str(group.exceptions[0])


def test_two_functions_of_one_name_never_share_a_signature(engine: Engine) -> None:
    """Functions of one qualified name and like locals are bound each by its own signature."""
    got: list[Any] = []

    def make(*, keyword_only: bool) -> Any:
        class Shop(Orchestrator):
            light: Light

            if keyword_only:

                @on("light.toggle")
                def react(self, *, amount: Any = None) -> None:  # pyright: ignore[reportRedeclaration]
                    got.append(("keyword", amount))

            else:

                @on("light.toggle")
                def react(self, amount: Any = None) -> None:
                    got.append(("position", amount))

        return Shop

    for keyword_only in (False, True, False):
        shop = make(keyword_only=keyword_only)(light=engine.machine(Light)())
        engine.run(functools.partial(shop.light.toggle, 5))
    assert got == [("position", 5), ("keyword", None), ("position", 5)]


def test_a_targetless_state_is_the_source(engine: Engine) -> None:
    """A reaction's `state` is the transition's target, or, where it has none, its source."""
    got: list[Any] = []

    class Counter(StateMachine):
        counting = State(initial=True)
        again = counting.to.itself(internal=True)

    class Owner(Orchestrator):
        counter: Counter

        @on("counter.again")
        def react(self, state: State) -> None:
            got.append(state.id)

    owner = Owner(counter=engine.machine(Counter)())
    engine.run(lambda: owner.counter.again())
    assert got == ["counting"]


@needs_3
def test_an_eventless_reaction_has_no_event(engine: Engine) -> None:
    """The `event` of an eventless transition is `None`, and its target is `None` if it has none."""
    got: list[Any] = []

    class Chain(StateChart):
        a = State(initial=True)
        b = State()
        c = State(final=True)
        go = a.to(b)
        b.to(c)

    class Owner(Orchestrator):
        chain: Chain

        @on("chain.*")
        def react(self, event: Any, source: State, target: State) -> None:
            got.append((event if event is None else str(event), source.id, target.id))

    owner = Owner(chain=engine.machine(Chain)())
    engine.run(lambda: owner.chain.go())
    assert got == [("go", "a", "b"), (None, "b", "c")]


def test_the_settled_record_is_injected(engine: Engine) -> None:
    """A reaction to `settled` may ask for its record and the orchestrator, and has no machine."""
    got: list[Any] = []

    class Shop(Orchestrator):
        light: Light

        @on("settled")
        def save(self, record: Any, orc: Any, machine: Any = "no machine") -> None:
            got.append((type(record).__name__, orc, machine))

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle())
    assert got == [("Settled", shop, "no machine")]


# def and async def ----------------------------------------------------------------------------


def test_an_async_reaction_is_awaited_before_the_next_turn(engine: Engine) -> None:
    """A reaction may be `async def`, and an awaitable that a `def` returns is awaited as well."""
    heard: list[str] = []

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        async def coroutine(self) -> None:
            heard.append("coroutine begins")
            await asyncio.sleep(0)
            heard.append("coroutine ends")

        @on("light.toggle")
        def awaitable(self) -> Any:
            async def later() -> None:
                await asyncio.sleep(0)
                heard.append("awaitable ends")

            heard.append("awaitable begins")
            return later()

        @on("light.toggle")
        def plain(self) -> None:
            heard.append("plain")

    shop = Shop(light=engine.machine(Light)())
    engine.run(lambda: shop.light.toggle())
    assert heard == [
        "coroutine begins",
        "coroutine ends",
        "awaitable begins",
        "awaitable ends",
        "plain",
    ]


def test_an_async_reaction_that_raises_is_a_failure_like_any_other(engine: Engine) -> None:
    """What an awaited reaction raises is kept for the group."""

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle")
        async def react(self) -> None:
            await asyncio.sleep(0)
            raise ValueError("later")

    shop = Shop(light=engine.machine(Light)())
    group = engine.raises(ReactionErrors, lambda: shop.light.toggle())
    assert [str(error) for error in group.exceptions] == ["later"]


# The method stays what it was -----------------------------------------------------------------


def test_a_decorator_returns_the_function_itself() -> None:
    """The decorators return the function that they were given."""

    def react(self: Any) -> None:
        """Never run."""

    decorated = [on("a.b")(react), on_enter("a.b")(react), on_exit("a.b")(react)]
    assert [function is react for function in decorated] == [True, True, True]


def test_a_reaction_can_be_called_and_tested_alone() -> None:
    """A reaction is an ordinary method, called with whatever arguments its caller gives."""

    class Shop(Orchestrator):
        light: Light

        @on("light.toggle", cond=lambda: False)
        def react(self, amount: int) -> int:
            return 2 * amount

    shop = Shop(light=Light())
    assert (shop.react(21), Shop.react(shop, amount=1)) == (42, 2)
    assert inspect.isfunction(Shop.react)


# Misuse ---------------------------------------------------------------------------------------


def misuses() -> dict[str, Callable[[], Any]]:
    """Return every way to misuse a decorator that is refused where it stands."""

    def react(self: Any) -> None:
        """Never run."""

    return {
        "without parentheses": lambda: on(react),  # type: ignore[arg-type]
        "without a topic": lambda: on(),
        "an empty tuple": lambda: on(order=()),
        "a number": lambda: on(5),  # type: ignore[arg-type]
        "an event by position": lambda: on(Order.process),  # pyright: ignore[reportArgumentType]
        "a state by position": lambda: on_enter(Order.pending),  # type: ignore[arg-type]
        "a number by keyword": lambda: on(order=5),  # type: ignore[arg-type]
        "a state where an event belongs": lambda: on(order=Order.pending),  # type: ignore[arg-type]
        "a number where a state belongs": lambda: on_exit(order=5),  # type: ignore[arg-type]
        "a list of events": lambda: on(order=[Order.process]),  # type: ignore[arg-type]
        "cond is a number": lambda: on("order.process", cond=5),  # type: ignore[arg-type]
        "cond is an event": lambda: on("order.process", cond=Order.process),
        "a static method": lambda: on("order.process")(staticmethod(react)),
        "a class method": lambda: on("order.process")(classmethod(react)),  # type: ignore[type-var]
        "a property": lambda: on("order.process")(property(react)),  # type: ignore[type-var]
        "a class": lambda: on("order.process")(Order),
    }


@pytest.mark.parametrize("misuse", misuses().values(), ids=misuses().keys())
def test_a_misused_decorator_is_refused_where_it_stands(misuse: Callable[[], Any]) -> None:
    """A decorator with nothing to subscribe, or nothing to subscribe to, is refused at once."""
    with pytest.raises(NotAReactionError) as caught:
        misuse()
    assert "test_reactions" in caught.value.where


def test_an_event_where_a_state_belongs_is_refused() -> None:
    """An event given to `on_enter` names no state of the machine."""
    with pytest.raises(UnknownTopicError) as caught:

        class Shop(Orchestrator):
            order: Order

            @on_enter(order=Order.process)  # pyright: ignore[reportArgumentType]
            def react(self) -> None:
                """Never run."""

    assert caught.value.topic == "enter:order.process"


def test_a_keyword_that_is_no_machine_is_refused() -> None:
    """A keyword of a decorator is the name of a machine field."""
    with pytest.raises(UnknownTopicError) as caught:

        class Shop(Orchestrator):
            order: Order

            @on(ordre=Order.process)
            def react(self) -> None:
                """Never run."""

    assert (caught.value.topic, caught.value.nearest) == ("ordre.process", "order.process")


def test_a_member_of_another_machine_is_refused() -> None:
    """An event that the machine of the keyword does not have is refused."""
    with pytest.raises(UnknownTopicError) as caught:

        class Shop(Orchestrator):
            order: Order
            payment: Payment

            @on(order=Payment.capture)
            def react(self) -> None:
                """Never run."""

    assert caught.value.topic == "order.capture"


@pytest.mark.parametrize("cond", ["enoguh", "enough.much"])
def test_a_condition_that_names_nothing_is_refused(cond: str) -> None:
    """A `cond` by name must name a method or attribute of the class."""
    with pytest.raises(NotAReactionError) as caught:

        class Shop(Orchestrator):
            order: Order

            def enough(self) -> bool:
                return True

            @on("order.process", cond=cond)
            def react(self) -> None:
                """Never run."""

    assert repr(cond) in caught.value.problem


def test_an_async_condition_is_refused() -> None:
    """A `cond` is asked at once, so it cannot be an `async def`, by name or as a callable."""

    async def later() -> bool:
        return True

    for cond in ("enough", later):
        with pytest.raises(NotAReactionError):

            class Shop(Orchestrator):
                order: Order

                async def enough(self) -> bool:
                    return True

                @on("order.process", cond=cond)
                def react(self) -> None:
                    """Never run."""
