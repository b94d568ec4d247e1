"""Joins: reactions to what several machines have come to be in together."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import statemachine
from conftest import SlowRow, needs_3
from statemachine import State, StateMachine

import statemachines_orchestrator
from statemachines_orchestrator import (
    Fleet,
    NotAReactionError,
    Orchestrator,
    OrchestratorError,
    ReactionErrors,
    RunawayCascadeError,
    UnknownTopicError,
    at_least,
    every,
    none,
    on,
    on_enter,
    removed,
    some,
    when,
    wiring,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from conftest import Engine

    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)


class Order(StateMachine):
    """An order, the subject of most tests."""

    pending = State(initial=True)
    shipped = State()
    closed = State(final=True)
    ship = pending.to(shipped)
    restore = shipped.to(pending)
    touch = pending.to.itself() | shipped.to.itself()
    close = shipped.to(closed)


class Payment(StateMachine):
    """A payment, with two ways to be done."""

    unpaid = State(initial=True)
    captured = State()
    refunded = State()
    capture = unpaid.to(captured)
    refund = captured.to(refunded) | unpaid.to(refunded)
    reset = captured.to(unpaid) | refunded.to(unpaid)


class Item(StateMachine):
    """A member of fleets."""

    waiting = State(initial=True)
    packed = State()
    lost = State(final=True)
    pack = waiting.to(packed)
    unpack = packed.to(waiting)
    touch = waiting.to.itself() | packed.to.itself()
    lose = waiting.to(lost) | packed.to(lost)


class Stop(BaseException):
    """Stops a cascade, as a KeyboardInterrupt does, but no test runner minds it."""


class Done(Orchestrator):
    """The join of the specification, and what it heard."""

    order: Order
    payment: Payment
    log: list[Any] = attrs.field(factory=list)

    @when("order.shipped", ("payment.captured", "payment.refunded"))
    def finish(self) -> None:
        self.log.append("finish")


def done(engine: Engine) -> Any:
    """Return an orchestrator with the join of the specification."""
    return Done(engine.machine(Order)(), engine.machine(Payment)())


def begun(engine: Engine, machine_class: Any, *args: Any) -> Any:
    """Return a machine that has entered its initial state, also an async one."""
    machine = engine.machine(machine_class)(*args)
    if engine.is_async:
        machine.activate_initial_state()
    return machine


def item(engine: Engine, *events: str) -> Any:
    """Return a machine that has begun, and has taken some events."""
    machine = begun(engine, Item)
    for event in events:
        engine.run(lambda event=event: machine.send(event))  # type: ignore[misc]
    return machine


def sent(engine: Engine, held: Any, *topics: str) -> None:
    """Send one event after the other from outside."""
    for topic in topics:
        field, _, event = topic.rpartition(".")
        machine = held
        for name in field.split("."):
            machine = getattr(machine, name)
        engine.run(lambda machine=machine, event=event: machine.send(event))  # type: ignore[misc]


# Becoming true --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topics",
    [
        ["order.ship", "payment.capture"],
        ["payment.capture", "order.ship"],
        ["payment.refund", "order.ship"],
    ],
)
def test_a_join_runs_when_all_of_its_arguments_hold_of_a_tuple_any(
    engine: Engine, topics: list[str]
) -> None:
    """A join runs when all of its arguments have come to hold, of a tuple any of them."""
    shop = done(engine)
    sent(engine, shop, topics[0])
    assert shop.log == []
    sent(engine, shop, topics[1])
    assert shop.log == ["finish"]


def test_both_spellings_are_the_same_join(engine: Engine) -> None:
    """Strings, typed states by keyword and ids by keyword ask for the same."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped", ("payment.captured", "payment.refunded"))
        def strings(self) -> None:
            heard.append("strings")

        @when(order="shipped", payment=(Payment.captured, Payment.refunded))
        def typed(self) -> None:
            heard.append("typed")

        @when("order.shipped", payment=("captured", Payment.refunded))
        def mixed(self) -> None:
            heard.append("mixed")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship", "payment.capture")
    assert heard == ["strings", "typed", "mixed"]
    assert {wire.topic for wire in wiring(Shop)} == {
        "order.shipped & (payment.captured | payment.refunded)"
    }
    assert {wire.kind for wire in wiring(Shop)} == {"when"}
    assert len({wire.asked for wire in wiring(Shop)}) == 1


def test_a_join_of_one_state_and_one_over_two_machines_in_one_tuple(engine: Engine) -> None:
    """One argument is enough, and the alternatives of a tuple may be of several machines."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped")
        def one(self) -> None:
            heard.append("one")

        @when(("order.shipped", "payment.captured"))
        def either(self) -> None:
            heard.append("either")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "payment.capture")
    assert heard == ["either"]
    sent(engine, shop, "order.ship")
    assert heard == ["either", "one"]
    sent(engine, shop, "payment.reset", "order.restore", "order.ship")
    assert heard == ["either", "one", "one", "either"]


def test_a_join_runs_once_for_each_time_it_turns_true(engine: Engine) -> None:
    """What stays true does not fire again; turning false at a point of rest re-arms it."""
    shop = done(engine)
    sent(engine, shop, "order.ship", "payment.capture")
    sent(engine, shop, "order.touch", "payment.refund", "order.touch")  # true all the time
    assert shop.log == ["finish"]
    sent(engine, shop, "order.restore")
    assert shop.log == ["finish"]
    sent(engine, shop, "order.ship")
    assert shop.log == ["finish", "finish"]


def test_what_is_true_at_construction_does_not_fire(engine: Engine) -> None:
    """A join that holds when the orchestrator is built fires after it has been false."""
    order, payment = engine.machine(Order)(), engine.machine(Payment)()
    engine.run(lambda: order.ship())
    engine.run(lambda: payment.capture())
    shop: Any = Done(order, payment)
    sent(engine, shop, "order.touch", "payment.refund")
    assert shop.log == []
    sent(engine, shop, "payment.reset", "payment.capture")
    assert shop.log == ["finish"]


def test_an_initial_state_that_is_true_at_construction_does_not_fire(engine: Engine) -> None:
    """A join to an initial state holds from the construction, also of an async machine."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @when("order.pending")
        def react(self) -> None:
            heard.append("react")

    shop = Shop(engine.machine(Order)())
    sent(engine, shop, "order.touch")  # from pending to pending
    assert heard == []
    sent(engine, shop, "order.ship", "order.restore")
    assert heard == ["react"]


def test_a_machine_that_took_no_event_yet_counts_as_in_its_initial_state(engine: Engine) -> None:
    """A join asks a machine that has not moved for the state that it was given in."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.pending", "payment.captured")
        def react(self) -> None:
            heard.append("react")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "payment.capture")
    assert heard == ["react"]


def test_a_state_written_from_outside_counts_when_the_join_is_judged_next(engine: Engine) -> None:
    """It is adopted: no move, but at the next rest the bit equals what the states tell."""

    class Row:
        state: Any = None

    row = Row()
    shop: Any = Done(engine.machine(Order)(row), engine.machine(Payment)())
    sent(engine, shop, "order.touch")
    row.state = "shipped"
    assert shop.log == []
    sent(engine, shop, "payment.capture")
    assert shop.log == ["finish"]
    row.state = "pending"
    sent(engine, shop, "payment.refund")  # false at this rest
    row.state = "shipped"
    sent(engine, shop, "payment.reset", "payment.capture")
    assert shop.log == ["finish", "finish"]


def test_a_copy_takes_its_bits_from_the_states(engine: Engine) -> None:
    """A copy of an orchestrator has joins of its own, true where its states say so."""
    shop = done(engine)
    sent(engine, shop, "order.ship", "payment.capture")
    other = copy.deepcopy(shop)
    sent(engine, other, "order.touch")
    assert other.log == ["finish"]
    sent(engine, other, "order.restore", "order.ship")
    assert (shop.log, other.log) == (["finish"], ["finish", "finish"])


def test_a_machine_given_later_is_a_move(engine: Engine) -> None:
    """Giving an optional field its machine may make a join true."""
    heard: list[str] = []

    class Shop(Orchestrator):
        order: Order
        item: Item | None = None

        @when("order.shipped", "item.packed")
        def react(self) -> None:
            heard.append("react")

    shop = Shop(engine.machine(Order)())
    sent(engine, shop, "order.ship")
    assert heard == []
    shop.item = item(engine, "pack")
    assert heard == ["react"]
    sent(engine, shop, "item.touch")
    assert heard == ["react"]


@needs_3
def test_a_join_asks_for_states_at_any_level(engine: Engine) -> None:
    """A compound state counts as its children do, and so do the regions of a parallel one."""
    heard: list[str] = []

    class Editor(StateChart):
        class editing(State.Compound):  # noqa: N801 - a state
            draft = State(initial=True)
            review = State()
            submit = draft.to(review)

        published = State(initial=True)
        edit = published.to(editing)
        publish = editing.to(published)

    class Both(StateChart):
        class work(State.Parallel):  # noqa: N801 - a state
            class left(State.Compound):  # noqa: N801 - a state
                left_off = State(initial=True)
                left_on = State()
                go_left = left_off.to(left_on)

            class right(State.Compound):  # noqa: N801 - a state
                right_off = State(initial=True)
                right_on = State()
                go_right = right_off.to(right_on)

    class Desk(Orchestrator):
        editor: Editor
        both: Both

        @when("editor.editing", "both.left_on")
        def outer(self) -> None:
            heard.append("outer")

        @when(editor=Editor.editing.review, both=("right_on",))
        def inner(self) -> None:
            heard.append("inner")

        @when("both.left_on", "both.right_on")
        def regions(self) -> None:
            heard.append("regions")

    desk = Desk(engine.machine(Editor)(), engine.machine(Both)())
    sent(engine, desk, "editor.edit", "both.go_left")
    assert heard == ["outer"]
    sent(engine, desk, "editor.submit")  # editing stays active
    assert heard == ["outer"]
    sent(engine, desk, "both.go_right")
    assert heard == ["outer", "inner", "regions"]
    sent(engine, desk, "editor.publish", "editor.edit")
    assert heard == ["outer", "inner", "regions", "outer"]


# At rest --------------------------------------------------------------------------------------


class Chain(Orchestrator):
    """Reactions that move the payment there and back in one cascade."""

    order: Order
    payment: Payment
    topics: Any = ()
    log: list[Any] = attrs.field(factory=list)

    @on("order.ship", "order.touch")
    def chain(self) -> None:
        self.log.append("chain")
        for topic in self.topics:
            self.post(topic)

    @when("order.shipped", "payment.captured")
    def both(self) -> None:
        self.log.append("both")

    @on("settled")
    def rest(self) -> None:
        self.log.append("settled")


def test_a_glitch_does_not_fire(engine: Engine) -> None:
    """What is true in the middle of a cascade and false at rest does not fire."""
    topics = ["payment.capture", "payment.reset"]
    shop = Chain(engine.machine(Order)(), engine.machine(Payment)(), topics)
    sent(engine, shop, "order.ship")
    assert shop.log == ["chain", "settled"]
    sent(engine, shop, "payment.capture")
    assert shop.log == ["chain", "settled", "both", "settled"]


def test_a_glitch_does_not_re_arm(engine: Engine) -> None:
    """What is false in the middle of a cascade and true at rest does not fire again."""
    topics = ["payment.capture"]
    shop = Chain(engine.machine(Order)(), engine.machine(Payment)(), topics)
    sent(engine, shop, "order.ship")
    shop.topics = ["payment.reset", "payment.capture"]
    sent(engine, shop, "order.touch")
    assert shop.log == ["chain", "both", "settled", "chain", "settled"]
    sent(engine, shop, "payment.reset", "payment.capture")
    assert shop.log[5:] == ["settled", "both", "settled"]


def test_a_glitch_inside_one_machines_call_does_not_fire(engine: Engine) -> None:
    """What direct calls in a callback make true and false again does not fire."""
    heard: list[str] = []

    class Sudden(Order):
        def after_touch(self, orc: Any) -> Any:
            return orc.payment.capture()

        def after_ship(self, orc: Any) -> Any:
            return orc.payment.reset()

    class Shop(Orchestrator):
        order: Sudden
        payment: Payment

        @when("order.pending", "payment.captured")
        def react(self) -> None:
            heard.append("react")

        @when("order.shipped", "payment.captured")
        def glitch(self) -> None:
            heard.append("glitch")

    shop = Shop(engine.machine(Sudden)(), engine.machine(Payment)())
    sent(engine, shop, "order.touch")
    assert heard == ["react"]
    sent(engine, shop, "order.ship")
    assert heard == ["react"]


def test_joins_are_judged_behind_everything_that_is_queued(engine: Engine) -> None:
    """A join runs after the reactions and posted events, and before `settled`."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped")
        def join(self) -> None:
            log.append("join")

        @on("order.ship")
        def first(self) -> None:
            log.append("first")
            self.post("payment.capture")

        @on("payment.capture")
        def second(self) -> None:
            log.append("second")

        @on("settled")
        def rest(self) -> None:
            log.append("settled")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship")
    assert log == ["first", "second", "join", "settled"]


def test_all_joins_of_one_rest_are_queued_before_any_runs(engine: Engine) -> None:
    """A join whose condition an earlier one takes away at the same rest runs all the same."""
    log: list[str] = []

    def told(what: str) -> bool:
        log.append(what)
        return True

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped", cond=lambda: told("asked 1"))
        def undo(self) -> Any:
            log.append("undo")
            return self.order.restore()

        @when("order.shipped", cond=lambda: told("asked 2"))
        def too(self) -> None:
            log.append(f"too, {self.order.current_state_value}")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship")
    assert log == ["asked 1", "asked 2", "undo", "too, pending"]
    sent(engine, shop, "order.ship")
    assert log[4:] == ["asked 1", "asked 2", "undo", "too, pending"]


def test_joins_run_in_the_order_of_declaration(engine: Engine) -> None:
    """Base class before subclass, then as in the source, whichever machine moved first."""
    log: list[str] = []

    class Base(Orchestrator, abstract=True):
        @when("payment.captured")
        def base(self) -> None:
            log.append("base")

    class Shop(Base):
        order: Order
        payment: Payment

        @when("order.shipped")
        def second(self) -> None:
            log.append("second")

        @when("payment.captured", "order.shipped")
        def third(self) -> None:
            log.append("third")

        @on("order.ship")
        def capture(self) -> Any:
            return self.payment.capture()

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship")
    assert log == ["base", "second", "third"]


def test_the_cascade_goes_on_until_no_join_is_left(engine: Engine) -> None:
    """What a join moves is judged when the queue is empty again, before the call returns."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        item: Item

        @when("item.packed")
        def last(self) -> None:
            log.append("last")

        @when("payment.captured")
        def second(self) -> Any:
            log.append("second")
            return self.item.pack()

        @when("order.shipped")
        def first(self) -> Any:
            log.append("first")
            return self.payment.capture()

        @on("settled")
        def rest(self) -> None:
            log.append("settled")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)(), engine.machine(Item)())
    sent(engine, shop, "order.ship")
    assert log == ["first", "second", "last", "settled"]


def test_a_join_fires_twice_in_one_cascade_if_it_was_false_at_a_rest_between(
    engine: Engine,
) -> None:
    """Each time that the queue is empty is a point of rest."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped")
        def react(self) -> Any:
            log.append("shipped")
            return self.order.restore()

        @when("order.pending", "payment.unpaid")
        def again(self) -> Any:
            log.append("pending")
            return self.payment.capture()

        @when("payment.captured")
        def ship(self) -> Any:
            log.append("captured")
            return self.order.ship()

    shop = Shop(begun(engine, Order), begun(engine, Payment))
    sent(engine, shop, "order.ship")
    assert log == ["shipped", "pending", "captured", "shipped"]


def test_what_a_reaction_to_settled_moves_is_judged_too(engine: Engine) -> None:
    """Joins are judged also after `settled`, which is published once."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("settled")
        def rest(self) -> None:
            log.append("settled")
            self.post("payment.capture")

        @when("payment.captured")
        def join(self) -> None:
            log.append("join")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship")
    assert log == ["settled", "join"]


def test_a_join_sees_every_machine_at_rest_and_may_call_it(engine: Engine) -> None:
    """Also the machine that caused it, with a real result."""

    class Answering(Order):
        def on_close(self) -> str:
            return "closed"

    class Shop(Orchestrator):
        order: Answering
        payment: Payment
        results: Any = attrs.field(factory=list)

        if not engine.is_async:

            @when("order.shipped", "payment.captured")
            def close(self) -> None:
                self.results.append(self.order.close())

        else:

            @when("order.shipped", "payment.captured")
            async def close_async(self) -> None:
                self.results.append(await self.order.close())

    shop = Shop(engine.machine(Answering)(), engine.machine(Payment)())
    sent(engine, shop, "payment.capture", "order.ship")
    assert shop.results == ["closed"]
    assert repr(shop).startswith("Shop(order=closed, payment=captured")


def test_a_refused_event_moves_nothing_and_a_failed_after_callback_does(engine: Engine) -> None:
    """A join follows what was committed, and the machine's exception is what the caller gets."""
    heard: list[str] = []

    class Failing(Order):
        def after_ship(self) -> None:
            raise ValueError("after")

        def on_restore(self) -> None:
            raise ValueError("rolled back")

    class Shop(Orchestrator):
        order: Failing

        @when("order.shipped")
        def shipped(self) -> None:
            heard.append("shipped")

        @when("order.pending")
        def pending(self) -> None:
            heard.append("pending")

    shop = Shop(engine.machine(Failing)())
    assert str(engine.raises(ValueError, lambda: shop.order.ship())) == "after"
    assert heard == ["shipped"]
    assert str(engine.raises(ValueError, lambda: shop.order.restore())) == "rolled back"
    assert heard == ["shipped"]


def test_two_joins_that_make_each_other_true_for_ever_are_a_runaway(engine: Engine) -> None:
    """The bound of a cascade holds for joins, and its error names the loop."""

    class Shop(Orchestrator, max_reactions=100):
        order: Order

        @when("order.shipped")
        def back(self) -> Any:
            return self.order.restore()

        @when("order.pending")
        def forth(self) -> Any:
            return self.order.ship()

    shop = Shop(engine.machine(Order)())
    error = engine.raises(RunawayCascadeError, lambda: shop.order.ship())
    assert {"Shop.back", "Shop.forth"} <= set(error.loop)


def test_the_loop_of_a_runaway_names_the_joins_that_move_and_no_bystander(engine: Engine) -> None:
    """A join that ran at the same rest and moved nothing is no part of the loop."""

    class Shop(Orchestrator, max_reactions=100):
        order: Order

        @when("order.shipped")
        def back(self) -> Any:
            return self.order.restore()

        @when("order.shipped")
        def bystander(self) -> None:
            """Move nothing."""

        @when("order.pending")
        def forth(self) -> Any:
            return self.order.ship()

    shop = Shop(begun(engine, Order))
    error = engine.raises(RunawayCascadeError, lambda: shop.order.ship())
    assert set(error.loop) == {"order.shipped", "Shop.back", "order.pending", "Shop.forth"}


# cond -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["callable", "method", "attribute"])
def test_cond_is_asked_at_the_edge_and_a_no_spends_it(engine: Engine, kind: str) -> None:
    """A predicate is asked once for each time that the states turn true."""
    log: list[Any] = []

    def asked(answer: Any) -> bool:
        log.append(f"asked, {answer}")
        return bool(answer)

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        answer: bool = False

        def method(self) -> bool:
            return asked(self.answer)

        @property
        def attribute(self) -> bool:
            return asked(self.answer)

        @when(
            "order.shipped",
            "payment.captured",
            cond=(lambda self: asked(self.answer)) if kind == "callable" else kind,
        )
        def react(self) -> None:
            log.append("react")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship", "payment.capture")
    assert log == ["asked, False"]
    shop.answer = True
    sent(engine, shop, "order.touch")  # the answer has become yes, but the states did not turn
    assert log == ["asked, False"]
    sent(engine, shop, "order.restore", "order.ship")
    assert log == ["asked, False", "asked, True", "react"]


def test_cond_is_asked_once_also_if_it_turns_before_the_reactions_turn(engine: Engine) -> None:
    """A yes at the edge holds when the turn comes."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order
        allowed: bool = True

        @when("order.shipped")
        def forbid(self) -> None:
            self.allowed = False

        @when("order.shipped", cond="allowed")
        def react(self) -> None:
            log.append("react")

    shop = Shop(engine.machine(Order)())
    sent(engine, shop, "order.ship")
    assert log == ["react"]


def test_cond_that_fails_is_a_failure_of_the_cascade(engine: Engine) -> None:
    """It is announced as `Failed`, spends the edge, and stops neither joins nor the call."""
    log: list[Any] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        def broken(self) -> bool:
            raise ValueError("cond")

        @when("order.shipped", cond="broken")
        def never(self) -> None:
            log.append("never")

        @when("order.shipped")
        def other(self) -> None:
            log.append("other")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    causes: list[Any] = []
    shop.bus.signal("order.ship").connect(lambda _order, record: causes.append(record.seq))
    shop.bus.signal("failed:never").connect(
        lambda _shop, record: log.append((record.name, repr(record.exception)))
    )
    shop.bus.signal("failed:*").connect(lambda _shop, record: causes.append(record.cause))
    group = engine.raises(ReactionErrors, lambda: shop.order.ship())
    assert len(causes) == 2
    assert causes[0] == causes[1]
    assert log == [("never", "ValueError('cond')"), "other"]
    assert [(one.reaction, repr(one.exception)) for one in group.failures] == [
        ("Shop.never", "ValueError('cond')")
    ]
    assert len(group.failures[0].exception.__notes__) == 1
    assert "Shop.never" in group.failures[0].exception.__notes__[0]
    sent(engine, shop, "order.touch")
    assert log[2:] == []


def test_a_failing_join_is_a_failure_of_the_cascade_like_any_other(engine: Engine) -> None:
    """It stops no other join, and its note names it and its cause."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @when("order.shipped")
        def fail(self) -> None:
            raise ValueError("join")

        @when("order.shipped")
        def other(self) -> None:
            log.append("other")

    shop = Shop(engine.machine(Order)())
    group = engine.raises(ReactionErrors, lambda: shop.order.ship())
    assert log == ["other"]
    assert [(one.reaction, str(one.exception)) for one in group.failures] == [("Shop.fail", "join")]
    assert group.failures[0].exception.__notes__ == [
        "in Shop.fail, in reaction to order.ship (pending → shipped)"
    ]


# Fleets ---------------------------------------------------------------------------------------


class Store(Orchestrator):
    """One join for each quantifier."""

    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    log: list[Any] = attrs.field(factory=list)

    @when(items=every("packed"))
    def all_packed(self) -> None:
        self.log.append("every")

    @when(items=some("packed", Item.lost))
    def some_packed(self) -> None:
        self.log.append("some")

    @when(items=none(Item.waiting))
    def none_waiting(self) -> None:
        self.log.append("none")

    @when(items=at_least(2, "packed", "lost"))
    def two(self) -> None:
        self.log.append("two")

    def heard(self) -> list[Any]:
        """Return what was heard since the last time."""
        heard, self.log = self.log, []
        return heard


def store(engine: Engine, **members: Any) -> Any:
    """Return a store with members."""
    held = Store(Fleet(members))
    assert held.heard() == []
    del engine
    return held


def test_the_quantifiers_count_the_members_of_a_fleet(engine: Engine) -> None:
    """`every`, `some`, `none` and `at_least` ask how many members are in one of the states."""
    held = store(engine, a=item(engine), b=item(engine), c=item(engine))
    heard = []
    for key, event in [
        ("a", "pack"),
        ("b", "lose"),
        ("c", "pack"),
        ("c", "unpack"),
        ("c", "pack"),
    ]:
        engine.run(lambda key=key, event=event: held.items[key].send(event))  # type: ignore[misc]
        heard.append(held.heard())
    assert heard == [["some"], ["two"], ["none"], [], ["none"]]
    del held.items["b"]
    assert held.heard() == ["every"]


def test_an_empty_fleet_satisfies_no_quantifier(engine: Engine) -> None:
    """Emptying a fleet makes every join to it false, and filling it is a move."""
    held = store(engine)
    held.items["a"] = item(engine, "pack")
    assert held.heard() == ["every", "some", "none"]
    held.items.clear()
    assert held.heard() == []
    held.items["a"] = item(engine, "pack")
    assert held.heard() == ["every", "some", "none"]
    held.items["b"] = item(engine)
    assert held.heard() == []
    held.items.popitem()
    assert held.heard() == ["every", "none"]


def test_what_holds_of_a_fleet_at_construction_does_not_fire(engine: Engine) -> None:
    """The members given to the constructor are counted and make nothing fire."""
    held = store(engine, a=item(engine, "pack"), b=item(engine, "pack"))
    engine.run(lambda: held.items["a"].touch())
    assert held.heard() == []
    held.items["c"] = item(engine, "pack")  # still every one of them
    assert held.heard() == []
    engine.run(lambda: held.items["c"].unpack())
    engine.run(lambda: held.items["c"].pack())
    assert held.heard() == ["every", "none"]


def test_members_that_took_no_event_yet_count_as_in_their_initial_state(engine: Engine) -> None:
    """A fleet of fresh machines is every one waiting."""
    heard: list[str] = []

    class Waiting(Orchestrator):
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

        @when(items=every("waiting"))
        def all_waiting(self) -> None:
            heard.append("every")

        @when(items=none("waiting"))
        def none_waiting(self) -> None:
            heard.append("none")

    held = Waiting()
    held.items["a"] = engine.machine(Item)()
    assert heard == ["every"]
    engine.run(lambda: held.items["a"].touch())
    assert heard == ["every"]


def test_replacing_a_member_is_one_move(engine: Engine) -> None:
    """The fleet is not empty in between, and the old member does not count any more."""
    held = store(engine, a=item(engine, "pack"))
    held.items["a"] = item(engine, "pack")
    assert held.heard() == []
    held.items["a"] = item(engine)
    held.items["a"] = item(engine, "pack")
    assert held.heard() == ["every", "some", "none"]


def test_a_member_that_was_taken_out_does_not_count(engine: Engine) -> None:
    """It is a bare machine, and what it does moves nothing."""
    held = store(engine, a=item(engine), b=item(engine))
    taken = held.items.pop("b")
    engine.run(lambda: taken.pack())
    assert held.heard() == []
    engine.run(lambda: held.items["a"].pack())
    assert held.heard() == ["every", "some", "none"]


def test_several_moves_of_a_fleet_in_one_cascade_are_judged_together(engine: Engine) -> None:
    """In a cascade putting in and taking out are judged at its rest: no glitch fires."""
    packed, waiting = item(engine, "pack"), item(engine)

    class Filling(Store):
        order: Order = attrs.field(factory=engine.machine(Order))

        @on("order.ship")
        def fill(self) -> None:
            self.items["a"] = packed  # every one, for a moment
            self.items["b"] = waiting

        @on("order.restore")
        def turn_over(self) -> None:
            self.items.clear()
            self.items["c"] = self.log  # type: ignore[assignment]

    held = Filling()
    sent(engine, held, "order.ship")
    assert held.heard() == ["some"]
    group = engine.raises(ReactionErrors, lambda: held.order.restore())
    assert len(group.exceptions) == 1  # no machine was put in, and the fleet is empty
    held.items["a"] = packed
    assert held.heard() == ["every", "some", "none"]


def test_putting_in_opens_a_cascade_that_runs_the_reactions(engine: Engine) -> None:
    """Outside of a cascade, putting in and taking out return when what follows has run."""
    log: list[Any] = []

    class Filled(Orchestrator):
        order: Order
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

        @when(items=every("packed"))
        def ship(self, record: Any) -> Any:
            log.append(record)
            return self.order.ship()

        @when("order.shipped")
        def fail(self) -> None:
            raise ValueError("fail")

    held = Filled(engine.machine(Order)())
    with pytest.raises(ReactionErrors) as caught:
        held.items["a"] = item(engine, "pack")
    assert [repr(error) for error in caught.value.exceptions] == ["ValueError('fail')"]
    assert log == [None]
    assert repr(held) == "Filled(order=shipped, items=Fleet({'a': packed}))"


def test_a_fleet_changed_in_a_callback_is_judged_at_rest(engine: Engine) -> None:
    """A member may take itself out in mid-step; the others are counted without it."""

    class Leaving(Item):
        def after_lose(self, orc: Any) -> None:
            del orc.items[orc.items.key_of(self)]

    leaving = begun(engine, Leaving)
    held = store(engine, a=item(engine, "pack"), b=leaving)
    engine.run(lambda: leaving.lose())
    assert held.heard() == ["every", "none"]
    assert list(held.items) == ["a"]


def test_a_join_of_a_fleet_and_of_machines(engine: Engine) -> None:
    """Arguments to fleets and to machines stand in one join, with what brought it about."""
    log: list[Any] = []

    class Shop(Orchestrator):
        order: Order
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

        @when("order.shipped", items=every("packed"))
        def deliver(self, record: Any, key: Any) -> None:
            log.append((record.machine_name, str(record.event), record.key, key))

    shop = Shop(engine.machine(Order)(), Fleet({"a": item(engine, "pack"), "b": item(engine)}))
    sent(engine, shop, "order.ship")
    assert log == []
    engine.run(lambda: shop.items["b"].pack())
    assert log == [("items", "pack", "b", "b")]
    sent(engine, shop, "order.restore", "order.ship")
    assert log[1:] == [("order", "ship", None, None)]


class Watched:
    """A model that counts how often a state is read."""

    reads = 0

    def __init__(self) -> None:
        self.value: Any = None

    @property
    def state(self) -> Any:
        """The state, counted."""
        Watched.reads += 1
        return self.value

    @state.setter
    def state(self, value: Any) -> None:
        self.value = value


@pytest.mark.parametrize("size", [10, 200])
def test_joins_of_a_fleet_are_counted_not_searched(
    engine: Engine, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event, a put and a take look at no other member, however many there are."""
    held = store(engine, **{f"{index}": begun(engine, Item, Watched()) for index in range(size)})
    one = held.items["one"] = item(engine)
    held.heard()

    def searched(_fleet: Any) -> Any:
        raise AssertionError("a fleet was searched")

    other = item(engine, "pack")
    with monkeypatch.context() as patched:
        patched.setattr(Fleet, "__iter__", searched)
        before = Watched.reads
        engine.run(lambda: one.pack())
        engine.run(lambda: one.unpack())
        held.items["two"] = other
        del held.items["two"]
        assert Watched.reads == before
    assert held.heard() == ["some", "some"]


# However many cascades ------------------------------------------------------------------------


class Slow(Orchestrator):
    """A reaction that waits, so that cascades overlap."""

    order: Order
    payment: Payment
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    gate: Any = None
    log: list[Any] = attrs.field(factory=list)

    @on("order.ship", "order.touch", "order.restore")
    async def wait(self) -> None:
        if self.gate is not None:
            self.put_in()
            await self.gate.wait()

    def put_in(self) -> None:
        """Do nothing, unless replaced."""

    @when("order.shipped", "payment.captured")
    def both(self) -> None:
        self.log.append("both")

    @when(items=every("packed"))
    def all_packed(self) -> None:
        self.log.append("every")


def overlapping(shop: Any, first: str, *then: str) -> list[Any]:
    """Send an event whose cascade waits, then others, then let the first come to rest.

    Return what was heard before and after the first came to rest.
    """

    async def main() -> list[Any]:
        shop.gate = asyncio.Event()
        field, _, event = first.partition(".")
        task = asyncio.create_task(getattr(shop, field).send(event))
        for _ in range(5):
            await asyncio.sleep(0)
        for topic in then:
            await shop.asend(topic)
        before = list(shop.log)
        shop.gate.set()
        await task
        return [before, shop.log[len(before) :]]

    return asyncio.run(main())


@pytest.fixture
def slow() -> Any:
    """Return an async orchestrator."""
    from conftest import Engine  # noqa: PLC0415 - elsewhere it is an annotation

    both = Engine("async")
    held = Slow(both.machine(Order)(), both.machine(Payment)())
    both.run(lambda: held.order.touch())
    both.run(lambda: held.payment.refund())
    both.run(lambda: held.payment.reset())
    assert held.log == []
    return held


def test_a_join_fires_once_however_many_tasks_are_under_way(slow: Any) -> None:
    """It fires in the cascade at whose rest it turned true, and in no other one."""
    assert overlapping(slow, "order.ship", "payment.capture") == [[], ["both"]]
    slow.gate = None
    slow.order.touch()
    assert slow.log == ["both"]


def test_what_another_cascade_is_in_the_middle_of_does_not_fire(slow: Any) -> None:
    """A state that a cascade under way goes through is not one at rest."""

    async def main() -> None:
        slow.gate = asyncio.Event()
        slow.put_in = lambda: slow.post("order.restore")
        task = asyncio.create_task(slow.order.ship())
        for _ in range(5):
            await asyncio.sleep(0)
        await slow.payment.capture()  # the order is shipped now, but not at a rest of its cascade
        assert slow.order.current_state_value == "shipped"
        slow.put_in = lambda: None
        slow.gate.set()
        await task

    asyncio.run(main())
    slow.gate = None
    assert slow.log == []
    assert slow.order.current_state_value == "pending"
    slow.order.ship()
    assert slow.log == ["both"]


def test_a_member_put_in_by_a_cascade_under_way_makes_no_other_one_fire(slow: Any) -> None:
    """`every` that is true at each point of rest does not fire again."""
    packed = [item_ready() for _ in range(3)]
    slow.items["a"] = packed[0]
    assert slow.log == ["every"]
    slow.log.clear()
    slow.put_in = lambda: slow.items.__setitem__("b", packed[1])

    async def main() -> None:
        slow.gate = asyncio.Event()
        task = asyncio.create_task(slow.order.touch())
        for _ in range(5):
            await asyncio.sleep(0)
        assert list(slow.items) == ["a", "b"]
        await slow.items["a"].touch()  # another cascade comes to rest: every one is packed
        slow.gate.set()
        await task

    asyncio.run(main())
    assert slow.log == []


def item_ready() -> Any:
    """Return a packed async machine."""
    from conftest import Engine  # noqa: PLC0415 - elsewhere it is an annotation

    return item(Engine("async"), "pack")


def test_a_fleet_refilled_by_a_cascade_under_way_makes_no_other_one_fire(slow: Any) -> None:
    """A fleet that a cascade empties and fills again is full at each point of rest."""
    packed = [item_ready() for _ in range(3)]
    slow.items.update(a=packed[0], b=packed[1])
    assert slow.log == ["every"]
    slow.log.clear()
    taken: list[Any] = []
    slow.put_in = lambda: taken.append(slow.items.pop("b"))

    async def main() -> None:
        slow.gate = asyncio.Event()
        task = asyncio.create_task(slow.order.touch())
        for _ in range(5):
            await asyncio.sleep(0)
        await slow.items["a"].touch()  # every one of those that are left is packed
        slow.items["b"] = taken.pop()
        slow.gate.set()
        await task

    asyncio.run(main())
    assert slow.log == []


def test_a_join_fires_once_however_many_threads_are_under_way() -> None:
    """Of several threads that come to rest at once, one runs the reaction."""
    fired: list[int] = []
    arrived = threading.Barrier(8)

    class Crowd(Orchestrator):
        items: Fleet[int, Item] = attrs.field(factory=Fleet[int, Item])

        @on("items.pack")
        def meet(self) -> None:
            arrived.wait(10)

        @when(items=at_least(8, "packed"))
        def all_there(self) -> None:
            fired.append(threading.get_ident())

    held = Crowd(Fleet({index: Item() for index in range(8)}))
    for rounds in range(1, 6):
        threads = [threading.Thread(target=one.pack) for one in held.items.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(fired) == rounds
        for one in held.items.values():
            one.unpack()
    assert len(fired) == 5


def test_a_machine_that_another_thread_holds_in_mid_step_counts_when_it_is_at_rest() -> None:
    """It is looked at when it has come to rest, by the call that brings it there."""
    inside, leave = threading.Event(), threading.Event()

    class Held(Order):
        def after_ship(self) -> None:
            inside.set()
            assert leave.wait(10)

    shop = Done(Held(), Payment())
    thread = threading.Thread(target=shop.order.ship)
    thread.start()
    assert inside.wait(10)
    shop.payment.capture()
    assert shop.log == []
    leave.set()
    thread.join(10)
    assert shop.log == ["finish"]


def test_a_machine_that_another_task_holds_in_mid_step_counts_when_it_is_at_rest() -> None:
    """It is looked at when it has come to rest, by the call that brings it there."""
    gate: list[Any] = []

    class Held(Order):
        async def after_ship(self) -> None:
            await gate[0].wait()

    shop: Any = Done(Held(), Payment())

    async def main() -> None:
        gate.append(asyncio.Event())
        task = asyncio.create_task(shop.order.ship())
        for _ in range(5):
            await asyncio.sleep(0)
        shop.payment.capture()
        shop.payment.reset()
        shop.payment.capture()
        assert shop.log == []
        gate[0].set()
        await task

    asyncio.run(main())
    assert shop.log == ["finish"]


def test_a_thread_that_looks_at_a_state_while_another_moves_it_leaves_the_bit_right() -> None:
    """When both threads have come to rest, the bit equals what the states tell."""
    row, log = SlowRow(), list[str]()

    class Shop(Orchestrator):
        order: Order
        first: bool = True

        @on("order.ship")
        def next_look_waits(self) -> None:
            if self.first:
                self.first = False
                row.waits_for = threading.get_ident()

        @when("order.shipped")
        def shipped(self) -> None:
            log.append("shipped")

    shop = Shop(Order(row))
    thread = threading.Thread(target=shop.order.ship)
    thread.start()
    assert row.inside.wait(10)  # the thread has seen that the order is shipped
    shop.order.restore()
    row.leave.set()
    thread.join(10)
    log.clear()  # whether the first one fired is a matter of who came first
    shop.order.ship()
    assert log == ["shipped"]


def test_moves_of_a_dropped_call_are_judged_with_those_of_the_call_that_runs_them() -> None:
    """What an awaitable moved that nobody awaits any more loses no move of the running call."""
    log: list[str] = []
    lost: list[Any] = []

    class Dropping(Orchestrator):
        order: Order
        payment: Payment

        @on("order.touch")
        async def drop(self) -> None:
            if not lost:
                return
            await self.payment.capture()
            lost.pop().close()
            gc.collect()

        @when("order.shipped", "payment.captured")
        def both(self) -> None:
            log.append("both")

    from conftest import Engine  # noqa: PLC0415 - elsewhere it is an annotation

    both = Engine("async")
    held: Any = Dropping(both.machine(Order)(), both.machine(Payment)())

    async def main() -> None:
        await held.order.touch()
        await held.payment.refund()
        await held.payment.reset()
        lost.append(held.order.ship())  # put on the machine, and not awaited
        await held.order.touch()  # takes both events

    asyncio.run(main())
    assert repr(held) == "Dropping(order=shipped, payment=captured)"
    assert log == ["both"]


# Stopped --------------------------------------------------------------------------------------


class Stopped(Orchestrator):
    """A join, and a reaction that stops the cascade."""

    order: Order
    payment: Payment
    stops: Any = "order.ship"
    log: list[Any] = attrs.field(factory=list)

    @on("order.ship", "order.restore")
    def stop(self, event: Any) -> None:
        if f"order.{event}" == self.stops:
            raise Stop

    @when("order.shipped")
    def shipped(self) -> None:
        self.log.append("shipped")

    @when("order.shipped", "payment.captured", cond=lambda self: self.log.append("asked") or True)
    def both(self) -> None:
        self.log.append("both")


def test_a_join_that_turned_true_in_a_stopped_cascade_is_abandoned(engine: Engine) -> None:
    """It is announced as `Abandoned`, and its bit is right afterwards."""
    shop = Stopped(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "payment.capture")
    shop.bus.signal("abandoned:*").connect(
        lambda _shop, record: shop.log.append(f"abandoned {record.name}")
    )
    engine.raises(Stop, lambda: shop.order.ship())
    assert shop.log == ["abandoned shipped", "abandoned both"]
    sent(engine, shop, "order.touch")  # true, and has been before
    assert shop.log == ["abandoned shipped", "abandoned both"]
    sent(engine, shop, "order.restore")
    shop.stops = None
    sent(engine, shop, "order.ship")
    assert shop.log[2:] == ["asked", "shipped", "both"]


def test_a_join_that_turned_false_in_a_stopped_cascade_is_armed(engine: Engine) -> None:
    """The bit follows the states also where the cascade is stopped."""
    shop = Stopped(engine.machine(Order)(), engine.machine(Payment)(), None)
    sent(engine, shop, "order.ship")
    shop.stops = "order.restore"
    engine.raises(Stop, lambda: shop.order.restore())
    shop.stops = None
    sent(engine, shop, "order.ship")
    assert shop.log == ["shipped", "shipped"]


def test_joins_queued_at_one_rest_are_abandoned_when_one_of_them_stops(engine: Engine) -> None:
    """What had not run yet is announced as `Abandoned`, and does not run later."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order

        @when("order.shipped")
        def stop(self) -> None:
            raise Stop

        @when("order.shipped")
        def after(self) -> None:
            log.append("after")

    shop = Shop(engine.machine(Order)())
    shop.bus.signal("abandoned:*").connect(lambda _shop, record: log.append(record.name))
    engine.raises(Stop, lambda: shop.order.ship())
    assert log == ["after"]
    sent(engine, shop, "order.touch")
    assert log == ["after"]


def test_a_cond_that_stops_the_cascade_leaves_every_bit_right(engine: Engine) -> None:
    """The joins that turned true with it are announced as `Abandoned`, and stay true."""
    log: list[str] = []

    class Shop(Orchestrator):
        order: Order
        armed: bool = True

        def stops(self) -> bool:
            if self.armed:
                raise Stop
            return True

        @when("order.shipped")
        def before(self) -> None:
            log.append("before")

        @when("order.shipped", cond="stops")
        def asked(self) -> None:
            log.append("asked")

        @when("order.shipped")
        def after(self) -> None:
            log.append("after")

    shop = Shop(engine.machine(Order)())
    shop.bus.signal("abandoned:*").connect(
        lambda _shop, record: log.append(f"abandoned {record.name}")
    )
    engine.raises(Stop, lambda: shop.order.ship())
    assert [told for told in log if told != "abandoned asked"] == [
        "abandoned before",
        "abandoned after",
    ]
    log.clear()
    shop.armed = False
    sent(engine, shop, "order.touch")
    assert log == []
    sent(engine, shop, "order.restore", "order.ship")
    assert log == ["before", "asked", "after"]


def test_a_cancelled_task_leaves_every_bit_right(slow: Any) -> None:
    """A join that turned true in a cancelled cascade is announced as `Abandoned`."""
    slow.bus.signal("abandoned:*").connect(lambda _held, record: slow.log.append(record.name))

    async def main() -> None:
        await slow.payment.capture()
        slow.gate = asyncio.Event()
        task = asyncio.create_task(slow.order.ship())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert slow.log == ["both"]
        slow.log.clear()
        slow.gate = None
        await slow.order.touch()
        assert slow.log == []
        await slow.order.restore()
        await slow.order.ship()

    asyncio.run(main())
    assert slow.log == ["both"]


# A join is a reaction -------------------------------------------------------------------------


def test_a_join_sends_events_without_a_body(engine: Engine) -> None:
    """A route of a join sends its own keywords, and none of the event that came last."""
    log: list[Any] = []

    class Noting(Payment):
        def on_capture(self, *args: Any, amount: Any = None, note: Any = None) -> None:
            log.append((args, amount, note))

    class Shop(Orchestrator):
        order: Order
        payment: Noting
        item: Item

        settle = when("order.shipped", "item.packed").send("payment.capture", amount=7)

    shop = Shop(engine.machine(Order)(), engine.machine(Noting)(), engine.machine(Item)())
    sent(engine, shop, "item.pack")
    engine.run(lambda: shop.order.ship(1, note="x"))
    assert log == [((), 7, None)]
    assert [(wire.reaction, wire.targets, wire.kind) for wire in wiring(Shop)] == [
        ("settle", ("payment.capture",), "when")
    ]


def test_a_join_is_inherited_overridden_and_removed(engine: Engine) -> None:
    """An override keeps the join, decorated anew it is another one, `removed` takes it away."""
    log: list[str] = []

    class Base(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped")
        def kept(self) -> None:
            log.append("kept")

        @when("order.shipped")
        def changed(self) -> None:
            log.append("changed")

        @when("order.shipped")
        def moved(self) -> None:
            log.append("moved")

        @when("order.shipped")
        def gone(self) -> None:
            log.append("gone")

        route = when("order.shipped").send("payment.capture")

    class Sub(Base):
        def changed(self) -> None:
            log.append("changed in Sub")

        @when("payment.captured")
        def moved(self) -> None:
            log.append("moved in Sub")

        gone = removed
        route = removed

    for known, expected in [
        (Base, ["kept", "changed", "moved", "gone"]),
        (Sub, ["kept", "changed in Sub", "|", "moved in Sub"]),
    ]:
        log.clear()
        shop = known(engine.machine(Order)(), engine.machine(Payment)())
        sent(engine, shop, "order.ship")
        if known is Sub:
            log.append("|")
            sent(engine, shop, "payment.capture")
        assert log == expected


def test_joins_stack_and_stand_with_other_decorators_on_one_method(engine: Engine) -> None:
    """Each decorator on a method subscribes it: joins fire each on its own, and `on` at once."""
    log: list[Any] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("order.ship")
        @when("order.shipped")
        @when("order.shipped", "payment.captured")
        @on_enter("payment.captured")
        def react(self, event: Any) -> None:
            log.append(str(event))

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship")
    assert log == ["ship", "ship"]
    sent(engine, shop, "payment.capture")
    assert log[2:] == ["capture", "capture"]


def test_a_joins_turn_is_announced_with_what_it_asks_for_and_its_last_cause(
    engine: Engine,
) -> None:
    """`Started` names the join as its topic, and the last move of its machines as its cause."""
    shop = done(engine)
    records: list[Any] = []
    for topic in ("*", "started:*", "finished:*"):
        shop.bus.signal(topic).connect(lambda _sender, record: records.append(record))
    sent(engine, shop, "payment.capture", "order.ship")
    _captured, shipped, started, finished = records
    assert (started.name, started.topic, started.cause) == (
        "finish",
        "order.shipped & (payment.captured | payment.refunded)",
        shipped.seq,
    )
    assert (finished.name, finished.cause) == ("finish", started.seq)


def test_a_join_may_be_a_coroutine_and_asks_for_parameters_of_its_last_cause(
    engine: Engine,
) -> None:
    """A join is awaited, and is given the transition that came last of its machines."""
    log: list[Any] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @when("order.shipped", "payment.captured")
        async def react(self, machine: Any, source: Any, target: Any, record: Any) -> None:
            await asyncio.sleep(0)
            log.append((type(machine).__name__, source.id, target.id, record.machine_name))

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    if engine.is_async:
        sent(engine, shop, "payment.capture", "order.ship")
    else:
        shop.payment.capture()
        shop.order.ship()
    assert log == [("Order", "pending", "shipped", "order")]


def test_a_join_is_an_ordinary_method(engine: Engine) -> None:
    """It can be called and tested alone."""
    shop = done(engine)
    shop.finish()
    assert shop.log == ["finish"]


def test_a_join_under_a_muted_signal_hears_nothing(engine: Engine) -> None:
    """What its machine does under a muted `order.*` is no move."""
    shop = done(engine)
    sent(engine, shop, "payment.capture")
    with shop.bus.signal("order.*").muted():
        sent(engine, shop, "order.ship")
    assert shop.log == []
    with shop.bus.signal("order.ship").muted():
        sent(engine, shop, "order.restore", "order.ship")
    assert shop.log == ["finish"]
    assert shop.bus.signal("order.*").receivers


def test_joins_of_two_orchestrators_are_local(engine: Engine) -> None:
    """Each orchestrator has bits of its own."""
    one, two = done(engine), done(engine)
    sent(engine, one, "order.ship")
    sent(engine, two, "payment.capture")
    assert (one.log, two.log) == ([], [])
    sent(engine, one, "payment.capture")
    assert (one.log, two.log) == (["finish"], [])


def test_a_join_keeps_no_orchestrator_alive(engine: Engine) -> None:
    """Dropping the last references to it and its machines frees it."""
    shop = done(engine)
    sent(engine, shop, "order.ship", "payment.capture")
    gone = weakref.ref(shop)
    del shop
    gc.collect()
    assert gone() is None


def test_only_joins_whose_machines_moved_are_judged(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event costs nothing for the joins of other machines."""
    from statemachines_orchestrator import _joins  # noqa: PLC0415 - the machinery

    judged: list[str] = []
    judge = _joins.Join.judge

    def noted(join: Any, movement: Any) -> bool:
        judged.append(join.plan.name)
        return judge(join, movement)

    monkeypatch.setattr(
        _joins.Join,
        "judge",
        noted,
    )

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        vars().update(
            {f"never{index}": when("payment.captured")(_nothing()) for index in range(20)}
        )

        @when("order.shipped")
        def one(self) -> None:
            """Be judged."""

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent(engine, shop, "order.ship")
    assert judged == ["one"]


def _nothing() -> Callable[[Any], None]:
    def react(_self: Any) -> None:
        """Do nothing."""

    return react


# Nested ---------------------------------------------------------------------------------------


class Desk(Orchestrator, orchestrator_name="desk"):
    """An orchestrator that others hold."""

    order: Order
    payment: Payment
    log: list[Any] = attrs.field(factory=list, repr=False)

    @when("order.shipped", "payment.captured")
    def inner(self) -> None:
        self.log.append("inner")


def desk(engine: Engine, log: Any = None) -> Any:
    """Return an inner orchestrator."""
    return Desk(engine.machine(Order)(), engine.machine(Payment)(), [] if log is None else log)


def test_a_join_asks_for_the_machines_of_an_inner_orchestrator(engine: Engine) -> None:
    """A path leads to the state, and inner joins are queued before outer ones."""
    log: list[str] = []

    class House(Orchestrator):
        desk: Desk
        item: Item

        @when("desk.order.shipped", ("desk.payment.captured", "item.packed"))
        def outer(self) -> None:
            log.append("outer")

    house = House(desk(engine, log), engine.machine(Item)())
    sent(engine, house, "desk.order.ship")
    assert log == []
    sent(engine, house, "desk.payment.capture")
    assert log == ["inner", "outer"]
    sent(engine, house, "item.pack", "desk.payment.reset", "desk.order.touch")
    assert log == ["inner", "outer"]
    sent(engine, house, "desk.order.restore", "desk.order.ship")
    assert log == ["inner", "outer", "outer"]


def test_a_join_counts_the_members_of_a_fleet_of_orchestrators(engine: Engine) -> None:
    """A member counts by the state of the machine that the path leads to in it."""
    log: list[str] = []

    class Hall(Orchestrator):
        desks: Fleet[str, Desk] = attrs.field(factory=Fleet[str, Desk])

        @when(desks=every("order.shipped"))
        def all_shipped(self, record: Any) -> None:
            log.append("every" if record is None else f"every, {record.key}")

        @when(desks=at_least(2, "order.shipped", "payment.captured"))
        def two(self) -> None:
            log.append("two")

    hall = Hall(Fleet({"a": desk(engine), "b": desk(engine)}))
    engine.run(lambda: hall.desks["a"].order.ship())
    assert log == []
    engine.run(lambda: hall.desks["b"].payment.capture())
    assert log == ["two"]
    engine.run(lambda: hall.desks["b"].order.ship())
    assert log == ["two", "every, b"]
    assert hall.desks["b"].log == ["inner"]
    hall.desks["c"] = desk(engine)
    gone = hall.desks.pop("c")
    assert log == ["two", "every, b", "every"]
    engine.run(lambda: gone.order.ship())
    assert log == ["two", "every, b", "every"]


def test_an_inner_orchestrator_given_later_is_a_move(engine: Engine) -> None:
    """An optional field that is given an orchestrator may make a join true."""
    log: list[str] = []

    class House(Orchestrator):
        item: Item
        desk: Desk | None = None

        @when("desk.order.shipped")
        def outer(self) -> None:
            log.append("outer")

    house = House(engine.machine(Item)())
    given = desk(engine)
    sent(engine, given, "order.ship")
    assert log == []
    house.desk = given
    assert log == ["outer"]


def test_an_inner_orchestrators_fleet_is_judged_by_the_inner_ones_joins(engine: Engine) -> None:
    """One cascade runs through all levels, and the inner fleet's moves open one."""

    class Depot(Orchestrator):
        store: Store
        order: Order

        ship = on("store.items.pack").send("order.ship")

        @when("order.shipped")
        def outer(self) -> None:
            self.store.log.append("outer")

    depot = Depot(Store(Fleet({"a": item(engine)})), engine.machine(Order)())
    engine.run(lambda: depot.store.items["a"].pack())
    assert depot.store.heard() == ["every", "some", "none", "outer"]
    del depot.store.items["a"]
    depot.store.items["b"] = item(engine, "pack")
    assert depot.store.heard() == ["every", "some", "none"]


# Misuse ---------------------------------------------------------------------------------------


def refused(error: type[Exception], call: Callable[[], Any], *texts: str) -> None:
    """Expect an error of ours whose text names a line of this file, and has these parts."""
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, OrchestratorError)
    for text in ("test_joins.py, line ", *texts):
        assert text in str(caught.value)


NOTHING = "Write @when("
untyped: Any = statemachines_orchestrator
"""What a type checker would refuse is refused at run time too."""


@pytest.mark.parametrize(
    ("call", "texts"),
    [
        (lambda: when(), ["@when() names no state", 'Write @when("machine.state", "other.state")']),
        (lambda: when(cond="x"), ["@when() names no state", NOTHING]),
        (lambda: when("order.shipped", ()), ["@when() names no state", NOTHING]),
        (lambda: when(order=()), ["@when() names no state", NOTHING]),
        (lambda: every(), ["every() names no state", 'Write every("state")']),
        (lambda: some(), ["some() names no state", 'Write some("state")']),
        (lambda: none(), ["none() names no state", 'Write none("state")']),
        (lambda: at_least(3), ["at_least() names no state", 'Write at_least(3, "state")']),
        (lambda: at_least(0, "packed"), ["at_least() was given 0", "Give a number from 1 on"]),
        (lambda: at_least(-1, "packed"), ["at_least() was given -1", "Give a number from 1 on"]),
        (
            lambda: untyped.at_least(bool(1), "packed"),
            ["at_least() was given True", "number from 1 on"],
        ),
        (lambda: untyped.at_least("packed"), ["at_least() was given 'packed'", "number from 1 on"]),
        (lambda: untyped.when("order.shipped", cond=3), ["cond=3", "callable"]),
        (lambda: when("order.shipped", cond=Order.ship), ["cond=", "callable"]),
        (
            lambda: untyped.when(Order.shipped),
            ["where a topic, a string, belongs", "@when(machine=...)"],
        ),
        (lambda: untyped.when(every("packed")), ["where a topic, a string, belongs", NOTHING]),
        (
            lambda: untyped.when(order=3),
            ["@when(order=...) was given 3", "Give it a state or its id"],
        ),
        (
            lambda: untyped.when(items=(every("packed"), "lost")),
            ["@when(items=...) was given", "stand alone"],
        ),
        (lambda: untyped.every(3), ["every() was given 3", "Give it a state or its id"]),
        (lambda: when("order.shipped")(staticmethod(print)), ["is no function", "Put @when on"]),
        (lambda: when("order.shipped").send(), ["send() names no event", "Write .send("]),
    ],
)
def test_a_join_that_says_nothing_is_refused_at_once(
    call: Callable[[], Any], texts: list[str]
) -> None:
    """The error names the line in the user's code, what is wrong, and the fix."""
    with pytest.raises(NotAReactionError) as caught:
        call()
    line = inspect.getsourcelines(call)[1]
    for text in (f"{__name__} (test_joins.py, line {line})", *texts):
        assert text in str(caught.value)


def shop_of(decorated: Any, **more: Any) -> Any:
    """Define a class with one join."""

    def react(_self: Any) -> None:
        """Do nothing."""

    namespace = {
        "__annotations__": {
            "order": Order,
            "payment": Payment,
            "store": Store,
            "items": Fleet[str, Item],
            "stores": Fleet[str, Store],
        },
        "items": attrs.field(factory=Fleet[str, Item]),
        "stores": attrs.field(factory=Fleet[str, Store]),
        "react": decorated(react) if callable(decorated) else decorated,
        **more,
    }
    return type("Misused", (Orchestrator,), namespace)


@pytest.mark.parametrize(
    ("join", "error", "texts"),
    [
        # a fleet without a quantifier
        (
            lambda: when("items.packed"),
            NotAReactionError,
            ["'items.packed' asks for a state of 'items', which is a fleet", "every('packed')"],
        ),
        (lambda: when(items="packed"), NotAReactionError, ["is a fleet", "items=every('packed')"]),
        (
            lambda: when("order.shipped", ("payment.captured", "items.packed")),
            NotAReactionError,
            ["'items.packed' asks for a state of 'items', which is a fleet", "every('packed')"],
        ),
        (lambda: when("store.items.packed"), NotAReactionError, ["which is a fleet"]),
        (lambda: when("stores.items.packed"), NotAReactionError, ["'stores', which is a fleet"]),
        # a quantifier on a non-fleet, or on a fleet of a fleet
        (
            lambda: when(order=every("shipped")),
            NotAReactionError,
            ["every() counts the members of one fleet", "leads to none", "Leave every() away"],
        ),
        (lambda: when(order=at_least(1, "shipped")), NotAReactionError, ["Leave at_least() away"]),
        (
            lambda: when(store=some("items.packed")),
            NotAReactionError,
            ["some() counts the members of one fleet", "Give it a fleet of the orchestrator"],
        ),
        (
            lambda: when(stores=none("items.packed")),
            NotAReactionError,
            ["leads to another one inside", "Give it a fleet of the orchestrator itself"],
        ),
        # unknown states, machines, events
        (
            lambda: when("order.shiped"),
            UnknownTopicError,
            ["machine 'order' has no state 'shiped'", "Did you mean 'order.shipped'?"],
        ),
        (lambda: when(order="shiped"), UnknownTopicError, ["Did you mean 'order.shipped'?"]),
        (
            lambda: when("order.shipped", ("payment.captured", "payment.refundet")),
            UnknownTopicError,
            ["no state 'refundet'", "Did you mean 'payment.refunded'?"],
        ),
        (lambda: when("oder.shipped"), UnknownTopicError, ["'oder'", "mean 'order.shipped'?"]),
        (lambda: when(items=every("paked")), UnknownTopicError, ["mean 'items.packed'?"]),
        (lambda: when(itmes=every("packed")), UnknownTopicError, ["mean 'items.packed'?"]),
        (lambda: when(order=Payment.captured), UnknownTopicError, ["no state 'captured'"]),
        (lambda: when("order"), UnknownTopicError, ["the state is missing"]),
        (lambda: when("order.*"), UnknownTopicError, ["no state '*'"]),
        (lambda: when("*"), UnknownTopicError, ["'*'"]),
        (lambda: when("settled"), UnknownTopicError, ["'settled'"]),
        (lambda: when("enter:order.shipped"), UnknownTopicError, ["mean 'order.shipped'?"]),
        (
            lambda: when("order.ship"),
            UnknownTopicError,
            ["machine 'order' has no state 'ship'", "Did you mean 'order.shipped'?"],
        ),
        (lambda: untyped.when(order=Order.ship), UnknownTopicError, ["has no state 'ship'"]),
        (lambda: when(items=every("pack")), UnknownTopicError, ["no state 'pack'", "Did you mean"]),
        (lambda: when("store.items"), UnknownTopicError, ["store.items"]),
        # conditions and targets
        (
            lambda: when("order.shipped", cond="missing"),
            NotAReactionError,
            ["cond='missing' names no method or attribute", "Define it in the class"],
        ),
        (
            lambda: when("order.shipped").send("payment.captur"),
            UnknownTopicError,
            ["Did you mean 'payment.capture'?"],
        ),
    ],
)
def test_a_join_that_fits_not_the_class_is_refused_when_it_is_defined(
    join: Callable[[], Any], error: type[Exception], texts: list[str]
) -> None:
    """The error names the method in the user's code, what is wrong, and the fix."""
    refused(error, lambda: shop_of(join()), "react", *texts)


def test_an_async_cond_is_refused() -> None:
    """It is asked at once, where nobody could await it."""

    async def cond() -> bool:
        return True

    refused(
        NotAReactionError,
        lambda: shop_of(when("order.shipped", cond=cond)),
        "cond=",
        "is an async def",
        "Make it a def",
    )


def test_a_state_of_a_class_that_is_known_later_is_refused_at_the_first_instance(
    engine: Engine,
) -> None:
    """Where an annotation cannot be resolved yet, the join is checked when it can be."""

    class Late(Orchestrator):
        order: Unknown  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable]

        @when("order.shiped")
        def react(self) -> None:
            """Do nothing."""

    refused(
        UnknownTopicError,
        lambda: Late(engine.machine(Order)()),
        "Late.react",
        "Did you mean 'order.shipped'?",
    )
