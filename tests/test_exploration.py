"""Exploration: every joint state, by running the real thing, and what is found on the way."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import threading
import weakref
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest
import statemachine
from conftest import HOST_IS_3, close_the_hosts_loop, entered, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    Orchestrator,
    ReactionErrors,
    RunawayCascadeError,
    UnknownTopicError,
    clock_of,
    domain_signal,
    every,
    on,
    on_enter,
    timeout,
    when,
)
from statemachines_orchestrator._steps import Step
from statemachines_orchestrator.exploration import Progress, explore, invariant

if TYPE_CHECKING:
    from typing import TypeAlias

    from conftest import Engine

    from statemachines_orchestrator.exploration import Exploration, Finding

    HistoryState = statemachine.HistoryState
    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)
    HistoryState = getattr(statemachine, "HistoryState", None)


# Subjects, of a module so that tests can import them ---------------------------------------------


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Order(StateMachine):
    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    cancelled = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped, cond="is_paid")
    cancel = processing.to(cancelled)

    def is_paid(self, orc: Any) -> bool:
        return orc is None or not hasattr(orc, "payment") or "captured" in active(orc.payment)


class Payment(StateMachine):
    unpaid = State(initial=True)
    captured = State(final=True)
    declined = State(final=True)
    capture = unpaid.to(captured)
    decline = unpaid.to(declined)


class Pair(Orchestrator):
    one: Light
    two: Light


class Shop(Orchestrator):
    """An order that is stuck if its payment is declined: nobody cancels it from outside."""

    order: Order
    payment: Payment


class MendedShop(Orchestrator):
    """A shop that cancels the order."""

    order: Order
    payment: Payment

    @on_enter("payment.declined")
    def give_up(self) -> Any:
        return self.order.cancel() if "processing" in active(self.order) else None

    @on("order.process")
    def look(self) -> Any:
        return self.order.cancel() if "declined" in active(self.payment) else None


OUTSIDE = ["order.process", "order.ship", "payment.*"]
"""Nobody cancels from outside."""


def active(machine: Any) -> set[str]:
    """Return the ids of the active states."""
    if hasattr(machine, "configuration"):
        return {state.id for state in machine.configuration}
    return {machine.current_state.id}


def begun(engine: Engine, machine_class: Any) -> Any:
    """Return a machine in its initial state."""
    return entered(engine, engine.machine(machine_class)())


def pair(engine: Engine, kind: Any = Pair) -> Any:
    """Return what makes a pair of lights."""
    return lambda: kind(begun(engine, Light), begun(engine, Light))


def shop(engine: Engine, kind: Any = Shop) -> Any:
    """Return what makes a shop."""
    return lambda: kind(begun(engine, Order), begun(engine, Payment))


def told(finding: Finding) -> tuple[str, list[str]]:
    """Return what was found, and the path in words."""
    return finding.text, [str(step) for step in finding.path]


def kinds(result: Exploration) -> list[str]:
    """Return the kinds of the findings."""
    return [one.kind for one in result.findings]


# What is walked ---------------------------------------------------------------------------------


def test_every_joint_state_is_counted_once(engine: Engine) -> None:
    """Two machines that know nothing of each other have the product of their states."""
    result = explore(pair(engine))
    assert (result.name, result.states, result.steps) == ("Pair", 4, 8)
    assert (result.complete, result.ok, result.findings) == (True, True, ())
    assert result.ignored == {}
    assert not result.never


def test_reactions_make_fewer_joint_states(engine: Engine) -> None:
    """What follows from an event is a part of its step: states on the way there do not count."""

    class Together(Pair):
        follow = on("one.flip").send("two.flip")

    result = explore(pair(engine, Together), events="one.flip")
    assert (result.states, result.steps, result.ok) == (2, 2, True)
    assert result.never == {}


def test_a_machine_that_has_not_begun_is_a_state_of_its_own(engine: Engine) -> None:
    """An async machine begins with its first event."""

    class One(Orchestrator):
        light: Light

    result = explore(lambda: One(engine.machine(Light)()))
    assert (result.states, result.ok) == (3 if engine.is_async else 2, True)


def test_a_class_is_made_of_the_classes_of_its_machines() -> None:
    """The class alone is enough where its fields say what they hold, inner ones too."""

    class House(Orchestrator):
        pair: Pair
        light: Light
        name: str = "house"

    assert explore(House).states == explore(lambda: House(Pair(Light(), Light()), Light())).states
    assert explore(House).states == 8


def test_what_makes_none_is_refused() -> None:
    """What cannot be called, or makes none; one that is held; a field of which nothing is known."""

    class Held(Orchestrator):
        pair: Pair
        amount: int = attrs.field()

    held = Held(Pair(Light(), Light()), 3)
    wrong: list[tuple[Any, str]] = [
        (3, "it was given 3, which makes no orchestrator"),
        (Light, "which is no orchestrator. Let it return one"),
        (lambda: 3, "made 3, which is no orchestrator"),
        (lambda: held.pair, "is held by another orchestrator, or not built yet"),
        (Held, "Held cannot be made: what is 'amount' to be?"),
    ]
    for make, problem in wrong:
        with pytest.raises(DeclarationError) as caught:
            explore(make)
        assert problem in str(caught.value)
    assert explore(lambda: held).states == 4


def test_what_make_raises_is_raised() -> None:
    """A factory that fails is no finding."""

    def make() -> Pair:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        explore(make)


@pytest.mark.parametrize("options", [{"time": "never"}, {"limit": 0}, {"limit": True}])
def test_options_that_mean_nothing_are_refused(options: Any) -> None:
    """`time` is any or order, and `limit` a number from 1 on, or `None`."""
    with pytest.raises(DeclarationError):
        explore(Pair, **options)
    assert explore(Pair, limit=None).states == 4


# Stuck ------------------------------------------------------------------------------------------


def test_stuck_is_found_with_a_shortest_path(engine: Engine) -> None:
    """Where nothing more can happen, and a machine is not final; of all paths the first one."""
    result = explore(shop(engine), events=OUTSIDE)
    (found,) = result.stuck
    assert told(found) == (
        "nothing more can happen, and not every machine is final",
        ["order.process()", "payment.decline()"],
    )
    assert found.state == "Shop(order=processing, payment=declined)"
    assert (found.count, found.exception) == (1, None)
    assert (result.ok, result.states, kinds(result)) == (False, 7, ["stuck"])
    assert explore(shop(engine, MendedShop), events=OUTSIDE).ok


@pytest.mark.parametrize(
    "may_rest",
    [
        {"payment": "declined"},
        {"order": ("pending", "processing"), "payment": Payment.declined},
        lambda shop: "declined" in active(shop.payment),
        [{"order": "pending"}, {"payment": {"declined"}}],
    ],
)
def test_stuck_is_fine_where_it_may_rest(engine: Engine, may_rest: Any) -> None:
    """`may_rest` is a mapping of machines to states, all of which must hold, or a predicate."""
    assert explore(shop(engine), events=OUTSIDE, may_rest=may_rest).ok


def test_it_is_stuck_where_it_may_rest_elsewhere() -> None:
    """A goal that does not hold excuses nothing."""
    result = explore(Shop, events=OUTSIDE, may_rest={"order": "pending", "payment": "declined"})
    assert kinds(result) == ["stuck"]


def test_every_state_that_is_stuck_is_a_finding() -> None:
    """Each of them has its own path."""

    class Two(Orchestrator):
        order: Order
        other: Payment

    result = explore(Two, events=["order.process", "other.*"])
    assert [[str(step) for step in one.path] for one in result.stuck] == [
        ["order.process()", "other.capture()"],
        ["order.process()", "other.decline()"],
    ]


# Invariants -------------------------------------------------------------------------------------


class Checked(Pair):
    """Has invariants of every kind."""

    @invariant
    def not_both(self) -> bool:
        return not {"on"} == active(self.one) == active(self.two)

    @invariant
    def asserts(self) -> None:
        if "on" in active(self.one):
            raise AssertionError("one is on")

    @invariant
    def raises(self) -> Any:
        return 1 / ("on" not in active(self.two))


def test_invariants_are_asked_after_every_step(engine: Engine) -> None:
    """Violated is what returns something false other than `None`, and what raises."""
    result = explore(pair(engine, Checked))
    assert [(told(one), one.count) for one in result.findings] == [
        (("asserts does not hold: AssertionError('one is on')", ["one.flip()"]), 2),
        (
            ("raises does not hold: ZeroDivisionError('division by zero')", ["two.flip()"]),
            2,
        ),
        (("not_both does not hold", ["one.flip()", "two.flip()"]), 1),
    ]
    assert isinstance(result.findings[1].exception, ZeroDivisionError)


def test_invariants_are_asked_at_the_beginning() -> None:
    """The path there is empty."""
    result = explore(Pair, invariants=lambda pair: "on" in active(pair.one))
    (text, path) = told(result.findings[0])
    place = f"{__name__}.test_invariants_are_asked_at_the_beginning.<locals>.<lambda>"
    assert re.fullmatch(rf"{place} \(test_exploration\.py, line \d+\) does not hold", text)
    assert path == []
    assert "at the beginning" in str(result.findings[0])


def test_a_method_that_overrides_an_invariant_is_one() -> None:
    """Inherited ones are asked as well; of a name that is overridden the override alone."""

    class Base(Pair):
        @invariant
        def low(self) -> bool:
            return False

        @invariant
        def kept(self) -> bool:
            return "on" not in active(self.one)

    class Derived(Base):
        def low(self) -> bool:
            return "on" not in active(self.two)

    result = explore(Derived)
    assert [told(one) for one in result.findings] == [
        ("kept does not hold", ["one.flip()"]),
        ("low does not hold", ["two.flip()"]),
    ]


def test_inner_orchestrators_and_fleet_members_have_invariants() -> None:
    """They are told by the names that lead there: `pairs.not_both`."""

    class House(Orchestrator):
        inner: Checked
        pairs: Fleet[str, Checked]

    def make() -> House:
        house = House(Checked(Light(), Light()), Fleet())
        house.pairs["a"] = Checked(Light(), Light())
        return house

    result = explore(make, events=["inner.two.flip", "pairs.one.flip", "pairs.two.flip"])
    assert [told(one) for one in result.findings] == [
        ("inner.raises does not hold: ZeroDivisionError('division by zero')", ["inner.two.flip()"]),
        (
            "pairs.asserts does not hold: AssertionError('one is on')",
            ["pairs['a'].one.flip()"],
        ),
        (
            "pairs.raises does not hold: ZeroDivisionError('division by zero')",
            ["pairs['a'].two.flip()"],
        ),
        ("pairs.not_both does not hold", ["pairs['a'].one.flip()", "pairs['a'].two.flip()"]),
    ]


def test_predicates_are_invariants_too() -> None:
    """One, or several; told by their names."""

    class Never:
        def __call__(self, _pair: Any) -> int:
            return 0

    def fine(_pair: Any) -> None:
        return None

    assert explore(Pair, invariants=fine).ok
    result = explore(Pair, invariants=[fine, Never()])
    assert [(one.text, one.count) for one in result.findings] == [("Never does not hold", 4)]


def test_what_cannot_be_asked_at_once_is_no_invariant() -> None:
    """An `async def`, something that is no function, and what gives an awaitable."""

    async def later(_pair: Any) -> bool:
        return True

    wrong: list[Any] = [later, 3, lambda: True]
    for one in (wrong[0], wrong[1]):
        with pytest.raises(DeclarationError):
            invariant(one)
    with pytest.raises(DeclarationError, match="is no predicate"):
        explore(Pair, invariants=later)
    with pytest.raises(DeclarationError, match="is no predicate"):
        explore(Pair, invariants=[wrong[1]])
    with pytest.raises(DeclarationError, match="gave an awaitable"):
        explore(Pair, invariants=lambda pair: later(pair))

    class Ready:
        def __await__(self) -> Any:
            yield

    with pytest.raises(DeclarationError, match="gave an awaitable"):
        explore(Pair, invariants=lambda pair: Ready())


# Goals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "can_always",
    [
        {"order": "shipped"},
        {"order": (Order.shipped,)},
        {"order": ["shipped"], "payment": {"captured"}},
        [{"order": frozenset({"shipped"})}],
    ],
)
def test_a_goal_that_cannot_be_reached_any_more_is_found(engine: Engine, can_always: Any) -> None:
    """The path leads to the first such state, and the count tells how many there are."""
    result = explore(shop(engine), can_always=can_always)
    (found,) = result.of("goal")
    assert [str(step) for step in found.path] == ["payment.decline()"]
    assert found.text.startswith("from here on it can never be that order in shipped")
    assert found.count == 5
    assert found.state == "Shop(order=pending, payment=declined)"


def test_a_goal_may_be_one_of_several_states() -> None:
    """`("shipped", "cancelled")`: any of them."""
    result = explore(Shop, can_always={"order": ("shipped", "cancelled")})
    assert result.ok
    result = explore(Shop, events=OUTSIDE, can_always={"order": ("shipped", "cancelled")})
    assert kinds(result) == ["stuck", "goal"]
    assert result.of("goal")[0].text.endswith("that order in shipped or cancelled")


def test_goals_may_be_predicates_and_several() -> None:
    """Each is a finding of its own."""

    def is_captured(shop: Any) -> bool:
        return "captured" in active(shop.payment)

    result = explore(Shop, can_always=[is_captured, {"order": "cancelled"}])
    assert [(one.text.partition(" that ")[2], one.count) for one in result.of("goal")] == [
        ("is_captured", 3),
        ("order in cancelled", 1),
    ]
    assert [one.text for one in explore(Shop, can_always=is_captured).of("goal")] == [
        "from here on it can never be that is_captured"
    ]


def test_a_goal_of_a_fleet_is_of_every_member() -> None:
    """All members must be in one of the states."""

    class Bills(Orchestrator):
        bills: Fleet[str, Payment]

    def make() -> Bills:
        bills = Bills(Fleet())
        bills.bills.update(a=Payment(), b=Payment())
        return bills

    assert explore(make, can_always={"bills": ("captured", "declined")}).ok
    (found,) = explore(make, can_always={"bills": "captured"}).findings
    assert (told(found)[1], found.count) == (["bills['a'].decline()"], 5)


def test_a_goal_names_what_there_is() -> None:
    """An unknown machine or state is told with the nearest; an `async def` is refused."""
    with pytest.raises(UnknownTopicError, match=r"Did you mean 'order.shipped'"):
        explore(Shop, can_always={"order": "shiped"})
    with pytest.raises(UnknownTopicError):
        explore(Shop, may_rest=[{"ordr": "shipped"}])

    async def later(_shop: Any) -> bool:
        return True

    with pytest.raises(DeclarationError, match="is no predicate"):
        explore(Shop, can_always=later)


# Events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "steps"),
    [
        ("one.flip", 2),
        (["one.flip"], 2),
        ("one.*", 2),
        (("one.*", "two.flip"), 8),
        ({"*": None}, 8),
        ("*", 8),
        ([], 0),
    ],
)
def test_events_narrow_what_is_sent(events: Any, steps: int) -> None:
    """One topic, several, wildcards, a mapping."""
    assert explore(Pair, events=events).steps == steps


def test_events_give_arguments(engine: Engine) -> None:
    """A mapping holds keyword arguments, a tuple positional ones; of several each is a step."""
    heard: list[Any] = []

    class Till(StateMachine):
        opened = State(initial=True)
        paid = State(final=True)
        pay = opened.to(paid, cond="enough")
        wait = opened.to.itself()

        def enough(self, amount: int) -> bool:
            heard.append(amount)
            return amount > 5

    class Tills(Orchestrator):
        till: Till

    def make() -> Tills:
        return Tills(begun(engine, Till))

    result = explore(make, events={"till.pay": [{"amount": 1}, (2,), {"amount": 9}]})
    assert heard == [1, 2, 9]
    assert (result.states, result.steps, result.ok) == (2, 3, True)
    heard.clear()
    assert explore(make, events={"*": None, "till.pay": (3,)}).steps == 2
    assert explore(make, events={"till.*": None, "till.pay": {"amount": 8}}).steps == 2
    assert heard == [3, 8]
    told_by = explore(make, events={"till.pay": {"amount": 3}}).stuck[0]
    assert told_by.path == ()


def test_what_is_given_for_one_event_wins_over_wildcards() -> None:
    """The event, then the machine's wildcard, then `*`."""
    heard: list[str] = []

    class Bell(StateMachine):
        quiet = State(initial=True)
        ring = quiet.to.itself(on="hear")
        knock = quiet.to.itself(on="hear")

        def hear(self, how: str) -> None:
            heard.append(how)

    class Bells(Orchestrator):
        one: Bell
        two: Bell

    events = {"*": {"how": "any"}, "one.*": {"how": "one"}, "one.ring": {"how": "ring"}}
    assert explore(Bells, events=events).ok
    assert heard == ["ring", "one", "any", "any"]


def test_signals_of_the_domain_are_published_if_they_are_named() -> None:
    """With their keyword arguments; positional ones a signal does not have."""

    class Alarmed(Pair):
        alarm = domain_signal("it burns")

        @on("alarm")
        def react(self, loud: bool) -> None:  # noqa: FBT001
            if loud and "off" in active(self.one):
                self.one.flip()

    assert explore(Alarmed, events=["two.flip"]).states == 2
    result = explore(Alarmed, events={"alarm": [{"loud": False}, {"loud": True}]})
    assert (result.states, result.steps) == (2, 4)
    watched = explore(
        Alarmed,
        events={"alarm": {"loud": True}},
        invariants=lambda one: "on" not in active(one.one),
    )
    assert told(watched.findings[0])[1] == ["publish alarm(loud=True)"]
    with pytest.raises(DeclarationError, match="keyword arguments only"):
        explore(Alarmed, events={"alarm": (True,)})


def test_events_name_what_there_is() -> None:
    """An unknown topic is told with the nearest, and what is no topic as that."""
    with pytest.raises(UnknownTopicError, match=r"Did you mean 'one.flip'"):
        explore(Pair, events="one.flop")
    with pytest.raises(UnknownTopicError, match="a topic is a string"):
        explore(Pair, events=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("arguments", [3, [3], "loud"])
def test_what_are_no_arguments_is_refused(arguments: Any) -> None:
    """Arguments are a mapping, a tuple, or several of these."""
    with pytest.raises(DeclarationError, match="which are no arguments"):
        explore(Pair, events={"one.flip": arguments})


@needs_3
def test_events_that_a_pattern_takes_are_sent_if_they_are_named() -> None:
    """A transition for `alarm.*` says of no event that there is one: `events` names it."""

    class Guard(StateChart):
        calm = State(initial=True)
        alert = State(final=True)
        calm.to(alert, event="alarm.*")

    class Guards(Orchestrator):
        guard: Guard

    assert explore(Guards).steps == 0
    assert explore(Guards, events="guard.alarm.fire").states == 2


# Fleets, fields, orchestrators below --------------------------------------------------------------


def test_members_of_a_fleet_come_and_go(engine: Engine) -> None:
    """What reactions put in and take out is a part of the joint state, and put back with it."""

    class Street(Orchestrator):
        main: Light
        lights: Fleet[str, Light]

        @on_enter("main.on")
        def open(self) -> None:
            self.lights["a"] = engine.machine(Light)()

        @on_enter("main.off")
        def close(self) -> None:
            del self.lights["a"]

    result = explore(lambda: Street(begun(engine, Light), Fleet()))
    assert result.ok
    assert (result.states, result.steps) == ((4, 7) if engine.is_async else (3, 5))
    broken = explore(
        lambda: Street(begun(engine, Light), Fleet()),
        invariants=lambda street: all("on" not in active(one) for one in street.lights.values()),
    )
    if HOST_IS_3 or not engine.is_async:  # 2.x tells no state of a machine that has not begun
        assert told(broken.findings[0])[1] == ["main.flip()", "lights['a'].flip()"]


class Box(Orchestrator):
    light: Light


class Chamber(Orchestrator):
    lights: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])


def test_what_goes_from_one_fleet_to_another_stays_attached() -> None:
    """Also when the walk goes back: it leaves the one before it comes to the other."""

    class Two(Orchestrator):
        swap: Light
        shelf: Fleet[str, Box] = attrs.field(factory=lambda: Fleet({"x": Box(Light())}))
        cart: Fleet[str, Box] = attrs.field(factory=Fleet[str, Box])
        heard: int = 0

        @on_enter("swap.on")
        def take(self) -> None:
            self.cart["x"] = self.shelf.pop("x")

        @on_enter("swap.off")
        def put(self) -> None:
            self.shelf["x"] = self.cart.pop("x")

        @on("shelf.light.flip", "cart.light.flip")
        def hear(self) -> None:
            self.heard += 1

    result = explore(Two, key=lambda two: min(two.heard, 2))
    assert (result.states, result.steps, result.complete) == (8, 16, True)
    assert "reactions" not in result.never


def test_an_orchestrator_without_machines_is_a_part_of_the_state() -> None:
    """What the fields hold makes a joint state, and not the machines alone."""

    class House(Orchestrator):
        gate: Light
        rooms: Fleet[str, Chamber] = attrs.field(factory=Fleet[str, Chamber])

        @on_enter("gate.on")
        def add(self) -> None:
            if not self.rooms:
                self.rooms["r"] = Chamber()

    assert explore(House).states == 3


def test_members_are_told_apart_by_their_keys() -> None:
    """Each has its own steps; an empty fleet has none."""

    class Street(Orchestrator):
        lights: Fleet[int, Light]

    def make() -> Street:
        street = Street(Fleet())
        street.lights.update({1: Light(), 2: Light()})
        return street

    assert (explore(make).states, explore(make).steps) == (4, 8)
    empty = explore(lambda: Street(Fleet()))
    assert (empty.states, empty.steps, empty.ok) == (1, 0, True)


def test_a_field_that_is_set_in_a_reaction(engine: Engine) -> None:
    """It is empty again where it was."""

    class Gift(Orchestrator):
        light: Light
        gift: Payment | None = None

        @on("light.flip")
        def give(self) -> None:
            if self.gift is None:
                self.gift = engine.machine(Payment)()

    result = explore(lambda: Gift(begun(engine, Light)))
    assert (result.states, result.steps, result.ok) == (7, 11, True)


def test_orchestrators_below_are_walked_with_what_they_do(engine: Engine) -> None:
    """Their reactions run, also those of their holder to them."""

    class Together(Pair):
        follow = on("one.flip").send("two.flip")

    class House(Orchestrator):
        pair: Together
        door: Light

        @on_enter("pair.two.on")
        def open(self) -> Any:
            return self.door.flip()

    def make() -> House:
        return House(Together(begun(engine, Light), begun(engine, Light)), begun(engine, Light))

    result = explore(make, events="pair.one.flip")
    assert (result.states, result.steps, result.ok) == (4, 4, True)
    assert [str(step) for step in explore(make, invariants=is_closed).findings[0].path] == [
        "pair.one.flip()"
    ]


def is_closed(house: Any) -> bool:
    return "off" in active(house.door)


def test_the_truth_of_a_join_is_put_back(engine: Engine) -> None:
    """A join runs each time that it turns true from the state in which the step is tried."""
    ran: list[int] = []

    class Both(Pair):
        @when("one.on", "two.on")
        def both(self) -> None:
            ran.append(1)

    result = explore(pair(engine, Both))
    assert (result.states, result.steps, len(ran)) == (4, 8, 2)
    assert result.never == {}


def test_the_truth_of_a_join_of_a_fleet_is_put_back() -> None:
    """Also where members come and go."""
    ran: list[int] = []

    class Street(Orchestrator):
        main: Light
        lights: Fleet[str, Light]

        @on_enter("main.on")
        def open(self) -> None:
            self.lights["a"] = Light()

        @on_enter("main.off")
        def close(self) -> None:
            del self.lights["a"]

        @when(lights=every("on"))
        def all_on(self) -> None:
            ran.append(1)

    assert explore(lambda: Street(Light(), Fleet())).states == 3
    assert len(ran) == 1


# Timers -----------------------------------------------------------------------------------------


class Parcel(StateMachine):
    packed = State(initial=True)
    sent = State()
    arrived = State(final=True)
    lost = State(final=True)
    send_it = packed.to(sent)
    arrive = sent.to(arrived)
    lose = sent.to(lost)


class Post(Orchestrator):
    """Arrives after 5 seconds, and is lost after 10: a race, in which the order decides."""

    parcel: Parcel

    @on("parcel.send_it")
    def drive(self) -> None:
        self.post("parcel.arrive", delay=5)

    @timeout("parcel.sent", seconds=10)
    def expire(self) -> Any:
        return self.parcel.lose()


class MendedPost(Orchestrator):
    """A post whose truck turns round where the parcel is lost."""

    parcel: Parcel

    @on("parcel.send_it")
    def drive(self) -> None:
        self.truck = self.post("parcel.arrive", delay=5)

    @timeout("parcel.sent", seconds=10)
    def expire(self) -> Any:
        self.truck.cancel()
        return self.parcel.lose()


def test_any_pending_timer_may_come_due(engine: Engine) -> None:
    """`time="any"` finds a race that the deadlines rule out."""

    def make() -> Post:
        return Post(begun(engine, Parcel))

    result = explore(make, events="parcel.send_it")
    assert (result.states, result.steps) == (5, 4)
    (found,) = result.findings
    assert told(found)[1] == ["parcel.send_it()", "expire comes due", "parcel.arrive comes due"]
    assert found.text.startswith("parcel.arrive failed: TransitionNotAllowed(")
    assert found.kind == "failure"
    assert isinstance(found.exception, TransitionNotAllowed)


def test_timers_come_due_in_order(engine: Engine) -> None:
    """`time="order"` lets the next one come due by its deadline."""

    def make() -> Post:
        return Post(begun(engine, Parcel))

    result = explore(make, events="parcel.send_it", time="order")
    assert (result.states, result.steps, result.ok) == (3, 2, True)
    assert result.never["timeouts"] == ("expire, on timeout:parcel.sent",)


def test_of_several_timers_at_one_time_each_may_come_due() -> None:
    """Also with `time="order"`, which knows no order among them."""

    class Both(Pair):
        switch: Light

        @on_enter("switch.on")
        def later(self) -> None:
            self.post("one.flip", delay=5)
            self.post("two.flip", delay=5)
            self.post("switch.flip", delay=6)

    result = explore(
        lambda: Both(Light(), Light(), Light()),
        events="switch.flip",
        time="order",
        invariants=lambda both: "on" not in active(both.two) or "on" in active(both.one),
        limit=8,
    )
    assert told(result.findings[0])[1] == ["switch.flip()", "two.flip comes due"]


def test_a_timeout_that_repeats_comes_due_again(engine: Engine) -> None:
    """What is left of its time is the same each time, so it leads back."""

    class Blinking(Pair):
        @timeout("one.on", seconds=3, repeat=True)
        def blink(self) -> Any:
            return self.two.flip()

    for time in ("any", "order"):
        when_due: Any = time
        result = explore(pair(engine, Blinking), events="one.flip", time=when_due)
        assert (result.states, result.steps, result.ok) == (4, 6, True)


def test_with_order_what_is_left_of_times_makes_joint_states() -> None:
    """With any it is which are pending."""

    class Waiting(Pair):
        @timeout("one.off", seconds=10)
        def late(self) -> None:
            """Do nothing."""

        @timeout("two.off", seconds=4, repeat=True)
        def beat(self) -> None:
            """Do nothing."""

    assert explore(Waiting, events=[], may_rest=lambda _one: True).states == 2
    result = explore(Waiting, events=[], may_rest=lambda _one: True, time="order")
    assert (result.states, result.steps, result.ok) == (5, 5, True)


def test_what_was_posted_keeps_its_arguments_and_its_machine() -> None:
    """A delayed post is put back with its own arguments, to a topic or to a bound event."""
    heard: list[Any] = []

    class Bell(StateMachine):
        quiet = State(initial=True)
        loud = State(final=True)
        ring = quiet.to(loud)
        knock = quiet.to.itself()

        def on_ring(self, times: list[int], who: Any) -> None:
            heard.append((list(times), who))
            times.append(0)

    class Bells(Orchestrator):
        bell: Bell
        light: Light

        @on("bell.knock")
        def later(self) -> None:
            self.post(self.bell.ring, [3], who=self.light, delay=5)

    made: list[Bells] = []

    def make() -> Bells:
        made.append(Bells(Bell(), Light()))
        return made[-1]

    result = explore(make, events=["bell.knock", "light.flip"], limit=6)
    assert kinds(result) == []
    assert len(heard) > 2
    assert all(times == [3] and who is made[0].light for times, who in heard)


def test_a_delay_that_is_kept_is_cancelled_in_the_branch_that_cancels_it(engine: Engine) -> None:
    """It is put back with what points to it, and is another one in another branch."""

    def make() -> MendedPost:
        return MendedPost(begun(engine, Parcel))

    result = explore(make)
    assert kinds(result) == ["failure"]
    assert explore(make, events="parcel.send_it").ok
    assert explore(make, events="parcel.send_it").states == 4


def test_timers_of_fleets_and_of_orchestrators_below_are_told_with_their_place() -> None:
    """By the path of the orchestrator, and the keys of the machine."""

    class Street(Orchestrator):
        lights: Fleet[str, Light]

        @timeout("lights.on", seconds=5)
        def save(self, key: str) -> None:
            if key == "b":
                raise ValueError(key)
            self.lights[key].flip()

    class Village(Orchestrator):
        street: Street
        streets: Fleet[int, Street]

    def make() -> Village:
        town = Village(Street(Fleet()), Fleet())
        town.street.lights["a"] = Light()
        town.streets[1] = Street(Fleet())
        town.streets[1].lights["b"] = Light()
        return town

    result = explore(make)
    assert [told(one) for one in result.findings] == [
        (
            "streets[1].save failed: ValueError('b')",
            ["streets[1].lights['b'].flip()", "streets[1].save['b'] comes due"],
        ),
    ]
    assert result.states == 6
    assert explore(make, events="street.lights.flip").states == 2


# Data -------------------------------------------------------------------------------------------


@attrs.define
class Row:
    """A model that is an attrs class."""

    state: Any = None
    seen: list[int] = attrs.field(factory=list[int])


class PlainRow:
    """A model that is none."""

    def __init__(self) -> None:
        self.state: Any = None
        self.seen: list[int] = []


class Fork(StateMachine):
    """Goes left or right, and on from there unless it has been in both."""

    start = State(initial=True)
    left = State()
    right = State()
    end = State(final=True)
    go_left = start.to(left, on="note")
    go_right = start.to(right, on="note")
    go_on = left.to(end, cond="was_in_one") | right.to(end, cond="was_in_one")

    def note(self, orc: Any) -> None:
        seen_by(self, orc).append(1)

    def was_in_one(self, orc: Any) -> bool:
        return len(seen_by(self, orc)) == 1


def seen_by(fork: Any, orc: Any) -> list[int]:
    """Return the list that a test has put into the model, the machine or the orchestrator."""
    places: list[Any] = [fork.model, fork, orc]
    return next(one.seen for one in places if hasattr(one, "seen"))


class Forks(Orchestrator):
    fork: Fork


class NotingForks(Orchestrator):
    fork: Fork
    seen: list[int] = attrs.field(factory=list[int])


@pytest.mark.parametrize("place", ["field", "attribute", "machine", "attrs model", "plain model"])
def test_data_is_put_back_for_each_step(place: str) -> None:
    """What fields, attributes and models hold is that of the way there."""

    def make() -> Any:
        models: dict[str, Any] = {"attrs model": Row(), "plain model": PlainRow()}
        fork: Any = Fork(models.get(place))
        if place == "machine":
            fork.seen = []
        forks: Any = NotingForks(fork) if place == "field" else Forks(fork)
        if place == "attribute":
            forks.seen = []
        return forks

    result = explore(make)
    assert (result.states, result.steps, result.ok) == (4, 4, True)
    assert result.never == {}


def test_attributes_that_come_later_are_taken_away_again() -> None:
    """Also where there was no data at all at the beginning."""

    class Marking(Pair):
        @on("one.flip")
        def mark(self) -> None:
            assert not hasattr(self, "marked") or "on" not in active(self.one)
            self.marked = True

        @on("two.flip")
        def unmark(self) -> None:
            if hasattr(self, "marked"):
                del self.marked

    result = explore(Marking, invariants=lambda one: not hasattr(one, "marked"))
    ((text, path),) = [told(one) for one in result.findings]
    assert re.search(r"\.<lambda> \(test_exploration\.py, line \d+\) does not hold$", text)
    assert path == ["one.flip()"]
    assert result.states == 4


def test_what_only_closures_hold_is_not_put_back() -> None:
    """The docstring says so: a counter there counts all steps of the walk."""
    counted: list[int] = []

    class Counting(Pair):
        @on("*")
        def count(self) -> None:
            counted.append(1)

    assert explore(Counting).steps == len(counted) == 8


class Gateway:
    """A fake that cannot be copied."""

    def __init__(self) -> None:
        self.calls = 0

    def __deepcopy__(self, _memo: Any) -> Any:
        raise TypeError


def test_what_cannot_be_copied_stays_what_it_is() -> None:
    """A fake is shared by all joint states."""

    class Calling(Pair):
        gateway: Gateway = attrs.field(factory=Gateway)
        lock: Any = attrs.field(factory=threading.Lock)

        @on("*")
        def call(self) -> None:
            self.gateway.calls += 1
            with self.lock:
                assert seen in ([], [self.gateway])

    seen: list[Gateway] = []

    def make() -> Calling:
        made = Calling(Light(), Light())
        seen.append(made.gateway)
        return made

    result = explore(make)
    assert (result.states, result.ok, seen[0].calls) == (4, True, 8)


def test_a_key_makes_joint_states_of_data(engine: Engine) -> None:
    """Without one the data of a joint state is that of the first way there."""

    class Counting(Pair):
        count: int = 0

        @on("one.flip")
        def more(self) -> None:
            self.count = (self.count + 1) % 3

    make = pair(engine, Counting)
    assert explore(make, events="one.flip").states == 2
    result = explore(make, events="one.flip", key=lambda shop: shop.count)
    assert (result.states, result.steps, result.ok) == (6, 6, True)
    with pytest.raises(TypeError, match="unhashable"):
        explore(make, key=lambda _shop: [])  # type: ignore[arg-type, return-value]
    assert explore(pair(engine), key=lambda _shop: 1).states == 4


# Statecharts ------------------------------------------------------------------------------------


@needs_3
def test_what_history_states_remember_makes_joint_states(engine: Engine) -> None:
    """And is put back: each way out leads back to where it was left."""

    class Player(StateChart):
        class playing(State.Compound):  # noqa: N801
            slow = State(initial=True)
            fast = State()
            change = slow.to(fast) | fast.to(slow)
            last = HistoryState()

        idle = State()
        stop = playing.to(idle)
        play = idle.to(playing.last)

    class Room(Orchestrator):
        player: Player

    result = explore(lambda: Room(begun(engine, Player)))
    assert result.ok
    assert (result.states, result.steps) == (8, 14)  # also what it remembers while it plays


@needs_3
def test_parallel_states_are_joint_states_too(engine: Engine) -> None:
    """All that is active makes one."""

    class Lamps(StateChart):
        class both(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                dark = State(initial=True)
                bright = State()
                flip_left = dark.to(bright) | bright.to(dark)

            class right(State.Compound):  # noqa: N801
                black = State(initial=True)
                white = State()
                flip_right = black.to(white) | white.to(black)

    class Room(Orchestrator):
        lamps: Lamps

    result = explore(lambda: Room(begun(engine, Lamps)), can_always={"lamps": "white"})
    assert (result.states, result.steps, result.ok) == (4, 8, True)


# Sync and async ---------------------------------------------------------------------------------


def test_in_a_running_event_loop_only_what_is_sync_is_walked(engine: Engine) -> None:
    """Something async is refused with the fix: a thread."""
    make: Any = lambda: Pair(engine.machine(Light)(), engine.machine(Light)())  # noqa: E731

    async def in_a_loop() -> Exploration:
        return explore(make)

    def in_a_thread() -> Exploration:
        try:
            return explore(make)
        finally:
            close_the_hosts_loop()

    if not engine.is_async:
        assert asyncio.run(in_a_loop()).states == 4
        return
    with pytest.raises(DeclarationError, match=r"await asyncio.to_thread\(explore, ...\)"):
        asyncio.run(in_a_loop())

    async def beside_a_loop() -> Exploration:
        return await asyncio.to_thread(in_a_thread)

    assert asyncio.run(beside_a_loop()).complete


# Failures ---------------------------------------------------------------------------------------


def test_reactions_that_fail_are_found_and_the_walk_goes_on(engine: Engine) -> None:
    """The state in which the cascade came to rest counts; each kind of failure is found once."""

    class Failing(Pair):
        @on_enter("one.on")
        def break_it(self) -> None:
            raise ValueError("it broke")

    result = explore(pair(engine, Failing))
    (found,) = result.findings
    assert told(found) == ("break_it failed: ValueError('it broke')", ["one.flip()"])
    assert (found.kind, found.count, result.states) == ("failure", 2, 4)
    assert isinstance(found.exception, ValueError)
    assert str(found) == (
        "failure: break_it failed: ValueError('it broke') (and 1 more like it)\n"
        "  in Failing(one=on, two=off)\n"
        "    1. one.flip()"
    )


def test_events_that_raise_are_found_and_the_walk_goes_on(engine: Engine) -> None:
    """Where the machine stands then counts: a callback after the transition has moved it."""

    class Loud(StateMachine):
        calm = State(initial=True)
        angry = State()
        shout = calm.to(angry)
        rest = angry.to(calm)

        def after_shout(self) -> None:
            raise ValueError("too loud")

        def on_rest(self) -> None:
            raise KeyError("no rest")

    class Room(Orchestrator):
        loud: Loud

    result = explore(lambda: Room(begun(engine, Loud)))
    assert [told(one) for one in result.of("raised")] == [
        ("loud.shout() raised ValueError('too loud')", ["loud.shout()"]),
        ("loud.rest() raised KeyError('no rest')", ["loud.shout()", "loud.rest()"]),
    ]
    assert result.states == 2


def test_a_step_that_is_refused_is_no_finding(engine: Engine) -> None:
    """A guard that says no leads nowhere."""
    result = explore(shop(engine), may_rest=lambda _shop: True)
    assert result.ok
    assert result.steps == 15


@pytest.mark.parametrize("name", ["process", "fold"])
def test_a_refused_call_in_a_callback_is_raised(engine: Engine, name: str) -> None:
    """It is no refusal of the step, also where the other machine calls its event the same."""

    class Box(StateMachine):
        flat = State(initial=True)
        folded = State()
        full = State(final=True)
        lift = flat.to(folded)
        process = folded.to(full)
        fold = folded.to(full)

    class Packed(StateMachine):
        pending = State(initial=True)
        done = State(final=True)
        process = pending.to(done)

        def before_process(self, orc: Any) -> Any:
            return getattr(orc.box, name)()

    class Packing(Orchestrator):
        order: Packed
        box: Box

    make: Any = lambda: Packing(begun(engine, Packed), begun(engine, Box))  # noqa: E731
    result = explore(make, events=["order.process", "box.lift"])
    (found,) = result.findings
    assert [str(step) for step in found.path] == ["order.process()"]
    assert found.kind == "raised"
    assert isinstance(found.exception, TransitionNotAllowed)


def test_validators_that_raise_are_found(engine: Engine) -> None:
    """They raise something of their own, which is no refusal."""

    class Vote(StateMachine):
        opened = State(initial=True)
        closed = State(final=True)
        close = opened.to(closed, validators="is_allowed")

        def is_allowed(self) -> None:
            raise PermissionError("not you")

    class Votes(Orchestrator):
        vote: Vote

    result = explore(lambda: Votes(begun(engine, Vote)))
    assert [told(one) for one in result.findings] == [
        ("vote.close() raised PermissionError('not you')", ["vote.close()"]),
        ("nothing more can happen, and not every machine is final", []),
    ]


class Endless(Orchestrator):
    """Two lights that set each other off for ever."""

    one: Light
    two: Light
    three: Light

    there = on("one.flip").send("two.flip")
    back = on("two.flip").send("one.flip")


class MendedEndless(Orchestrator):
    one: Light
    two: Light
    three: Light

    there = on("one.flip").send("two.flip")


def test_cascades_without_end_are_found_with_their_loop(engine: Engine) -> None:
    """Their state does not count, and the walk goes on; a loop is found once."""
    make: Any = lambda: Endless(*(begun(engine, Light) for _ in range(3)))  # noqa: E731
    result = explore(make)
    (found,) = result.findings
    assert told(found) == (
        "a cascade does not end: one.flip → Endless.there → two.flip → Endless.back → one.flip",
        ["one.flip()"],
    )
    assert (found.kind, found.count, result.states, result.steps) == ("runaway", 4, 2, 6)


def test_failures_that_are_nobodys_are_found() -> None:
    """An observer that fails, and the reactions of another orchestrator."""

    class Other(Orchestrator):
        light: Light

        @on("light.flip")
        def fail(self) -> None:
            raise ValueError("elsewhere")

    class Calling(Pair):
        @on("one.flip")
        def call(self) -> None:
            Other(Light()).light.flip()

    def make() -> Pair:
        made = Pair(Light(), Light())
        made.bus.signal("one.flip").connect(lambda _one, record: 1 / 0, weak=False)
        return made

    (found,) = explore(make, events="one.flip").findings
    assert found.kind == "failure"
    assert isinstance(found.exception, ZeroDivisionError)
    found = explore(Calling, events="one.flip").findings[0]
    assert (found.kind, [str(step) for step in found.path]) == ("failure", ["one.flip()"])


def test_ignored_events_are_counted() -> None:
    """On a machine that allows events without a transition, nothing happens, and that is told."""

    class Deaf(StateMachine):
        calm = State(initial=True)
        awake = State(final=True)
        wake = calm.to(awake, cond="is_loud")

        def is_loud(self) -> bool:
            return False

    Deaf.allow_event_without_transition = True  # as 3.x has it

    class Room(Orchestrator):
        deaf: Deaf

    result = explore(lambda: Room(Deaf(allow_event_without_transition=True)))
    assert result.ignored == {"deaf.wake": 1}
    assert kinds(result) == ["stuck"]
    assert str(result).endswith("ignored events:\n  deaf.wake, 1 time")


@needs_3
def test_a_statechart_ignores_events() -> None:
    """It allows them by itself."""

    class Deaf(StateChart):
        calm = State(initial=True)
        awake = State(final=True)
        wake = calm.to(awake, cond="is_loud")

        def is_loud(self) -> bool:
            return False

    class Room(Orchestrator):
        deaf: Fleet[str, Deaf]

    def make() -> Room:
        room = Room(Fleet())
        room.deaf.update(a=Deaf(), b=Deaf())
        return room

    assert explore(make).ignored == {"deaf['a'].wake": 1, "deaf['b'].wake": 1}


# Limit and progress -----------------------------------------------------------------------------


def test_no_more_joint_states_are_looked_at_than_the_limit() -> None:
    """What leads beyond it may lead anywhere: no goal is said to be lost there."""
    goal = {"one": "on", "two": "on"}
    result = explore(Pair, limit=2, can_always=goal)
    assert (result.states, result.complete, result.ok, result.findings) == (2, False, False, ())
    assert str(result).startswith(
        "Pair: 2 joint states, 4 steps; NOT all there are: the limit was reached\nnothing found"
    )
    assert explore(Pair, limit=4, can_always=goal).ok


def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    """With the states that wait to be looked at; at the end there are none."""

    class Many(Orchestrator):
        a: Light
        b: Light
        c: Light
        d: Light
        e: Light
        f: Light
        g: Light

    seen: list[Progress] = []
    result = explore(Many, progress=seen.append)
    assert (result.states, result.steps) == (128, 896)
    assert [one.steps for one in seen] == [500, 896]
    assert seen[0].waiting > 0
    assert seen[-1] == Progress(states=128, steps=896, waiting=0)


# The report -------------------------------------------------------------------------------------


def test_two_explorations_give_the_same_report(engine: Engine) -> None:
    """Whatever was walked before."""
    make = shop(engine)
    options: Any = {"events": OUTSIDE, "can_always": {"order": "shipped"}}
    first, second = explore(make, **options), explore(make, **options)
    assert str(first) == str(second)
    assert first.findings == second.findings
    assert f"{first:json}" == f"{second:json}"
    assert f"{first:mermaid}" == f"{second:mermaid}"


def test_it_prints_as_a_report() -> None:
    """How much there is, what was found with its path, and what never happened."""
    result = explore(Shop, events=OUTSIDE, can_always={"order": "shipped"})
    assert str(result) == f"{result}" == f"{result:text}"
    assert str(result) == (
        "Shop: 7 joint states, 10 steps; all there are\n"
        "2 findings\n"
        "\n"
        "stuck: nothing more can happen, and not every machine is final\n"
        "  in Shop(order=processing, payment=declined)\n"
        "    1. order.process()\n"
        "    2. payment.decline()\n"
        "\n"
        "goal: from here on it can never be that order in shipped (and 1 more like it)\n"
        "  in Shop(order=pending, payment=declined)\n"
        "    1. payment.decline()\n"
        "\n"
        "never happened, states:\n"
        "  order.cancelled\n"
        "never happened, transitions:\n"
        "  order.cancel: processing → cancelled"
    )
    assert result.never == {
        "states": ("order.cancelled",),
        "transitions": ("order.cancel: processing → cancelled",),
    }


def test_of_many_findings_the_first_ones_are_printed() -> None:
    """And how many there are more; so of what never happened."""

    class Many(Orchestrator):
        a: Payment
        b: Payment
        c: Light
        d: Light
        e: Light
        f: Light
        g: Light

    result = explore(Many, events="a.*", invariants=[lambda _shop: False] * 2)
    assert [one.text.endswith(", number 2 does not hold") for one in result.of("invariant")] == [
        False,
        True,
    ]

    def naming(number: int) -> Any:
        def never(_shop: Any) -> bool:
            return False

        never.__name__ = f"never_{number}"
        return never

    result = explore(Many, events="a.*", invariants=[naming(number) for number in range(12)])
    assert len(result.of("invariant")) == 12
    assert "never_9 does not hold" in str(result)
    assert "never_10 does not hold" not in str(result)
    assert "invariant: ... and 2 more" in str(result)
    assert "  c.flip: off → on\n" in str(result)
    assert "  f.flip: on → off\n" in str(result)
    assert "  g.flip: off → on" not in str(result)
    assert str(result).endswith("  ... and 2 more")


def test_what_is_whole_is_told_in_two_lines() -> None:
    """Where nothing is wrong and everything has happened there is no more to say."""
    assert str(explore(Pair)) == "Pair: 4 joint states, 8 steps; all there are\nnothing found"


def test_it_is_json_and_mermaid_as_well() -> None:
    """Its facts, and a sequence diagram of each finding."""
    result = explore(Shop, events=OUTSIDE)
    facts = json.loads(f"{result:json}")
    assert facts == {
        "orchestrator": "Shop",
        "states": 7,
        "steps": 10,
        "complete": True,
        "ok": False,
        "findings": [
            {
                "kind": "stuck",
                "text": "nothing more can happen, and not every machine is final",
                "state": "Shop(order=processing, payment=declined)",
                "path": ["order.process()", "payment.decline()"],
                "count": 1,
            }
        ],
        "never": {
            "states": ["order.cancelled"],
            "transitions": ["order.cancel: processing → cancelled"],
        },
        "ignored": {},
    }
    drawn = f"{result:mermaid}".splitlines()
    assert drawn[:2] == [
        "%% stuck: nothing more can happen, and not every machine is final",
        "sequenceDiagram",
    ]
    with pytest.raises(ValueError, match="no format 'pdf': there are text, json and mermaid"):
        format(result, "pdf")


def test_a_finding_has_the_trace_of_its_path(engine: Engine) -> None:
    """Recorded anew, so that it can be told as a tree or drawn."""
    result = explore(lambda: Post(begun(engine, Parcel)), events="parcel.send_it")
    (found,) = result.findings
    tree = f"{found:tree}"
    assert "parcel.send_it()" in tree
    assert "parcel: sent → lost" in tree
    assert "parcel.arrive FAILED" in tree
    assert f"{found:mermaid}".startswith("sequenceDiagram")
    assert f"{found}" == str(found)
    assert repr(found.path) == "(parcel.send_it(), expire comes due, parcel.arrive comes due)"


def test_nothing_of_a_walk_stays_alive() -> None:
    """When its result is dropped, the orchestrator, its machines and its data are gone."""
    alive: list[Any] = []

    class Marked(Pair):
        data: Gateway = attrs.field(factory=Gateway)

        @timeout("one.on", seconds=3)
        def late(self) -> None:
            raise ValueError

    def make() -> Marked:
        made = Marked(Light(), Light())
        alive.extend(map(weakref.ref, (made, made.one, made.two, made.data)))
        return made

    result = explore(make, invariants=lambda _one: False)
    assert len(result.findings) == 2
    assert str(result.findings[1].trace)
    del result
    gc.collect()
    assert [one() for one in alive] == [None] * len(alive)
    assert len(alive) == 8


# As a test --------------------------------------------------------------------------------------


class Breaking(Orchestrator):
    """Has a finding of every kind but stuck and runaway."""

    one: Light
    two: Light

    @invariant
    def not_both(self) -> bool:
        return not {"on"} == active(self.one) == active(self.two)

    @invariant
    def two_is_off(self) -> None:
        assert "on" not in active(self.two)

    @on_enter("one.on")
    def fail(self) -> None:
        raise ValueError('it "broke" \\ down')


class MendedBreaking(Orchestrator):
    one: Light
    two: Light

    @invariant
    def not_both(self) -> bool:
        return True

    @invariant
    def two_is_off(self) -> None:
        """Hold."""


class Vault(StateMachine):
    closed = State(initial=True)
    opened = State(final=True)
    open = closed.to(opened)

    def after_open(self, code: int = 0) -> None:
        if code == 0:
            raise PermissionError


class Bank(Orchestrator):
    vault: Vault


class MendedVault(Vault):
    def after_open(self, code: int = 0) -> None:
        """Take any code."""


class MendedBank(Orchestrator):
    vault: Vault = attrs.field(converter=lambda _vault: MendedVault())


def is_dark(pair: Any) -> bool:
    return "on" not in active(pair.one)


class Circle(Orchestrator, max_reactions=1_000):
    one: Light
    two: Light
    there = on("one.flip").send("two.flip")
    back = on("two.flip").send("one.flip")


class MendedCircle(Orchestrator, max_reactions=1_000):
    one: Light
    two: Light
    there = on("one.flip").send("two.flip")


class Town(Orchestrator):
    """A post in a fleet, where parcels are lost though their truck is under way."""

    posts: Fleet[str, Post] = attrs.field(factory=lambda: Fleet({"a b": Post(Parcel())}))
    alarm = domain_signal("it burns")

    @on("alarm")
    def run(self, loud: bool) -> None:  # noqa: FBT001 - the signal's argument
        if loud:
            raise ValueError


class MendedTown(Town):
    @on("alarm")
    def run(self, loud: bool) -> None:  # noqa: FBT001
        """Walk."""


ENDS = ("shipped", "cancelled")


def run_source(source: str) -> None:
    """Run the test that a source defines."""
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the source is what is tested
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()


@pytest.mark.parametrize(
    ("name", "mended", "kinds", "options"),
    [
        ("Shop", MendedShop, {"stuck"}, {"events": OUTSIDE}),
        ("Shop", MendedShop, {"goal"}, {"events": OUTSIDE, "can_always": {"order": ENDS}}),
        ("Breaking", MendedBreaking, {"invariant", "failure"}, {}),
        ("Bank", MendedBank, {"raised"}, {"events": {"vault.open": [{"code": 0}]}}),
        ("Circle", MendedCircle, {"runaway"}, {}),
        ("Town", MendedTown, {"failure"}, {"events": {"alarm": {"loud": True}}}),
    ],
)
def test_a_finding_is_a_test(
    monkeypatch: pytest.MonkeyPatch, name: str, mended: Any, kinds: set[str], options: Any
) -> None:
    """Its source runs, fails as long as the way leads there, and passes when it is mended."""
    result = explore(globals()[name], **options)
    sources = [found.as_test() for found in result.findings if found.kind in kinds]
    assert {found.kind for found in result.findings} >= kinds
    for source in sources:
        with pytest.raises((AssertionError, ReactionErrors, PermissionError, RunawayCascadeError)):
            run_source(source)
    monkeypatch.setattr(sys.modules[__name__], name, mended)
    for source in sources:
        run_source(source)


def test_a_timer_in_a_fleet_comes_due_in_the_test() -> None:
    """The orchestrator in the fleet is named by its key."""
    result = explore(Town, events="posts.parcel.send_it")
    (source,) = [found.as_test() for found in result.findings]
    assert "    elapse(shop.posts['a b'], 'expire')\n" in source
    with pytest.raises(ReactionErrors):
        run_source(source)


def never(_pair: Any) -> bool:
    return False


def is_cancelled(shop: Any) -> bool:
    return "cancelled" in active(shop.order)


def test_a_predicate_of_a_module_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goals and invariants that are functions, and where it is fine to rest."""
    result = explore(Pair, can_always=never, events=["two.flip"])
    (source,) = [found.as_test() for found in result.findings]
    assert "import Light, Pair, never\n" in source
    with pytest.raises(AssertionError):
        run_source(source)
    broken = explore(Pair, invariants=is_dark, events=["one.flip"])
    (source,) = [found.as_test() for found in broken.findings]
    assert source.endswith("answer = is_dark(shop)\n    assert answer or answer is None\n")
    stuck = explore(Shop, events=OUTSIDE, may_rest=[is_cancelled])
    (source,) = [found.as_test() for found in stuck.findings]
    assert "may_rest=[is_cancelled]" in source
    with pytest.raises(AssertionError):
        run_source(source)
    monkeypatch.setattr(sys.modules[__name__], "Shop", MendedShop)
    run_source(source)


def test_a_program_is_imported_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program defines belongs to the module that its file is."""
    (found,) = explore(Shop, events=OUTSIDE).findings
    monkeypatch.setattr(Shop, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "folder/program.py", raising=False)
    assert "from program import Shop\n" in found.as_test()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "", raising=False)
    assert "\nShop = ...  # fill in: __main__.Shop, which cannot be imported\n" in found.as_test()


def test_an_event_that_is_no_name_is_sent() -> None:
    """An event whose name is none of Python's is sent by `send`, with its arguments."""
    step = Step("event", ("one",), "go.on", (1,), {"b": 2}, told_path="one")
    (found,) = explore(Shop, events=OUTSIDE).findings
    replay: Any = found.replay
    other = attrs.evolve(found, path=(step,), replay=attrs.evolve(replay, failing=(False,)))
    assert "    shop.one.send('go.on', 1, b=2)\n" in other.as_test()
    plain = attrs.evolve(other, path=(attrs.evolve(step, args=(), kwargs={}),))
    assert "    shop.one.send('go.on')\n" in plain.as_test()


class Hall(Orchestrator):
    """A pair of lights in a room."""

    pair: Pair


def test_a_goal_may_be_of_a_machine_below() -> None:
    """Its names lead there."""
    result = explore(lambda: Hall(Pair(Light(), Light())), can_always={"pair.one": "on"})
    assert (result.states, result.ok) == (4, True)


def test_a_member_may_take_the_place_of_another() -> None:
    """Under the same key: it is another machine, in the same joint state."""

    class Street(Orchestrator):
        main: Light
        lights: Fleet[str, Light] = attrs.field(factory=lambda: Fleet({"a": Light()}))

        @on("main.flip")
        def renew(self) -> None:
            self.lights["a"] = Light()

    result = explore(lambda: Street(Light()))
    assert (result.states, result.steps, result.ok) == (4, 8, True)


class Basket(Orchestrator):
    """Two posts to the members of one fleet."""

    door: Light
    items: Fleet[str, Light] = attrs.field(factory=lambda: Fleet({"a": Light(), "b": Light()}))

    @on("door.flip")
    def later(self) -> None:
        self.post(self.items["a"].flip, delay=1)
        self.post(self.items["b"].flip, delay=2)

    @invariant
    def a_is_first(self) -> bool:
        a, b = (self.items[key].current_state_value for key in "ab")
        return not (b == "on" and a == "off")


def test_each_of_several_posts_to_one_topic_may_come_due() -> None:
    """Also where they are called the same; and the test of a finding lets the same one come due."""
    result = explore(Basket, events="door.flip", limit=20)
    (found,) = result.of("invariant")
    assert [str(step) for step in found.path] == [
        "door.flip()",
        "items.flip, number 2, comes due",
    ]
    source = found.as_test()
    assert "elapse(shop, 'items.flip', nth=1)\n" in source
    with pytest.raises(AssertionError):
        run_source(source)
    ordered = explore(Basket, events="door.flip", time="order", limit=20)
    assert ordered.of("invariant") == ()


class Twice(Orchestrator):
    """One reaction to two timeouts."""

    one: Light
    two: Light

    @timeout("one.on", "two.on", seconds=5)
    def late(self, record: Any) -> None:
        if record.path == ("two",) and "on" in active(self.one):
            raise ValueError


def test_each_timeout_of_a_reaction_may_come_due_in_the_test() -> None:
    """The one that was meant, though both are called the same."""
    (found,) = explore(Twice).findings
    with pytest.raises(ReactionErrors):
        run_source(found.as_test())


def test_arguments_are_those_of_each_step() -> None:
    """What a callback does to them is not there in the next step; a lock is shared."""

    class Till(StateMachine):
        idle = State(initial=True)
        full = State(final=True)
        over = State(final=True)
        put = idle.to(over, cond="is_many") | idle.to(full)

        def is_many(self, basket: list[str]) -> bool:
            return len(basket) > 1

        def on_put(self, basket: list[str], lock: Any = None) -> None:
            basket.append("fee")
            assert lock is None or lock is shared

    class Shop(Orchestrator):
        till: Till
        light: Light
        other: Light

    shared = threading.Lock()
    result = explore(Shop, events={"*": None, "till.put": {"basket": []}})
    assert (result.states, result.ok) == (8, True)
    assert result.never["states"] == ("till.over",)
    locked = explore(Shop, events={"till.put": {"basket": [], "lock": shared}})
    assert locked.of("raised") == ()


def test_the_time_is_put_back_with_a_state() -> None:
    """Also where nothing is pending and there are no data."""

    class Bare(Orchestrator):
        one: Light
        two: Light
        seen: ClassVar[set[float]] = set()

        @timeout("one.on", seconds=100)
        def late(self) -> Any:
            return self.one.flip()

        @on("two.flip")
        def note(self) -> None:
            if "off" in active(self.one):
                Bare.seen.add(clock_of(self).now())

    explore(Bare)
    assert Bare.seen == {0.0}  # on the shortest way there the lights are flipped at once


def is_dark_key(pair: Any) -> bool:
    return is_dark(pair)


def test_the_options_of_a_walk_are_those_of_its_test() -> None:
    """`time` and `key` stand in a test that explores."""
    result = explore(Pair, time="order", key=is_dark_key, can_always=never, events=["two.flip"])
    (found,) = result.findings
    source = found.as_test()
    assert 'time="order", key=is_dark_key, can_always=[never]' in source
    with pytest.raises(AssertionError):
        run_source(source)


# As a test that stays -------------------------------------------------------------------------


class Made:
    """What `remade` makes: first what has a bug, then what was mended."""

    make: Any = None


def remade() -> Any:
    """Make it; a source imports this, whatever the engine of the machines."""
    return Made.make()


def fails_until_mended(found: Finding, make: Any, problem: Any = AssertionError) -> str:
    """Run the test of a finding with the bug, and with what was mended; return its source."""
    source = found.as_test()
    with pytest.raises(problem):
        run_source(source)
    Made.make = make
    run_source(source)
    return source


def found_by(make: Any, kind: str, **options: Any) -> Finding:
    """Return the only finding of a kind."""
    Made.make = make
    (found,) = explore(remade, **options).of(kind)
    return found


def answering(engine: Engine, answer: Any) -> Any:
    """Return what makes a pair whose invariant answers so where one is on, else nothing."""

    class Answering(Pair):
        @invariant
        def holds(self) -> Any:
            if "on" not in active(self.one):
                return None
            if answer is ZeroDivisionError:
                raise ZeroDivisionError
            return answer

    return pair(engine, Answering)


@pytest.mark.parametrize("wrong", [False, 0, "", ZeroDivisionError])
def test_the_test_of_an_invariant_asks_what_exploring_asks(engine: Engine, wrong: Any) -> None:
    """Something false other than `None` violates it, and so does what raises; all else holds."""
    found = found_by(answering(engine, wrong), "invariant", events="one.flip")
    problem = ZeroDivisionError if wrong is ZeroDivisionError else AssertionError
    for right in (None, True, 2, "yes"):
        Made.make = answering(engine, wrong)
        fails_until_mended(found, answering(engine, right), problem)
    for still in (False, 0, ""):
        Made.make = answering(engine, still)
        with pytest.raises(AssertionError):
            run_source(found.as_test())


def test_the_test_of_a_predicate_asks_the_same() -> None:
    """A function that returns nothing where it holds."""
    make: Any = lambda: Pair(Light(), Light())  # noqa: E731
    found = found_by(make, "invariant", invariants=says_nothing, events="one.flip")
    source = fails_until_mended(found, lambda: Still(Light(), Light()))
    assert "    answer = says_nothing(shop)\n    assert answer or answer is None\n" in source


def says_nothing(pair: Any) -> bool | None:
    return False if "on" in active(pair.one) else None


class Still(Pair):
    """Lights that go out at once."""

    @on_enter("one.on")
    def again(self) -> Any:
        return self.one.flip()


class Gate(StateMachine):
    """Is unlocked and lifted; the orchestrator says whether it may be, and what lifting does."""

    shut = State(initial=True)
    unlocked = State()
    opened = State()
    gone = State(final=True)
    unlock = shut.to(unlocked, cond="may_unlock")
    lift = unlocked.to(opened)
    drop = opened.to(shut, cond="may_drop")
    leave = opened.to(gone)

    def may_unlock(self, orc: Any) -> bool:
        return orc is None or orc.may_unlock

    def may_drop(self, orc: Any) -> bool:
        return orc is None or orc.may_drop

    def before_lift(self, orc: Any) -> Any:
        return None if orc is None else orc.lifting()


class Yard(Orchestrator):
    """Has a gate, and no bug."""

    gate: Gate
    lamp: Light
    order: Order
    may_unlock: ClassVar[bool] = True
    may_drop: ClassVar[bool] = False

    def lifting(self) -> Any:
        """Do nothing."""


class ShutYard(Yard):
    """Whatever is wrong with lifting the gate, it cannot be unlocked any more."""

    may_unlock: ClassVar[bool] = False


class WatchedYard(Yard):
    @invariant
    def is_shut(self) -> bool:
        return "opened" not in active(self.gate)


class ShutWatchedYard(WatchedYard):
    may_unlock: ClassVar[bool] = False


class FailingYard(Yard):
    @on_enter("gate.opened")
    def fail(self) -> None:
        raise ValueError


class RefusedYard(Yard):
    """Its reaction sends what is refused."""

    drop = on_enter("gate.opened").send("gate.lift")


class RaisingYard(Yard):
    def lifting(self) -> Any:
        raise PermissionError


class CallingYard(Yard):
    """A callback calls what is refused: the event raises what a refused event raises."""

    def lifting(self) -> Any:
        return self.order.cancel()


class EndlessYard(Yard, max_reactions=100):
    there = on("gate.lift").send("lamp.flip")
    back = on("lamp.flip").send("lamp.flip")


def yard(engine: Engine, kind: Any) -> Any:
    """Return what makes a yard."""
    return lambda: kind(begun(engine, Gate), begun(engine, Light), begun(engine, Order))


TO_LIFT = ["gate.unlock", "gate.lift"]


@pytest.mark.parametrize(
    ("kind", "broken", "options"),
    [
        ("stuck", Yard, {"may_rest": {"gate": "shut"}}),
        ("goal", Yard, {"can_always": {"gate": ("shut", "unlocked")}}),
        ("invariant", WatchedYard, {"may_rest": {"gate": "opened"}}),
        ("failure", FailingYard, {}),
        ("failure", RefusedYard, {}),
        ("raised", RaisingYard, {}),
        ("raised", CallingYard, {}),
        ("runaway", EndlessYard, {}),
    ],
)
def test_a_way_that_is_closed_is_mended(
    engine: Engine, kind: str, broken: Any, options: Any
) -> None:
    """A guard refuses a step: the way ends there, and what is asked at its end holds there."""
    found = found_by(yard(engine, broken), kind, events=TO_LIFT, **options)
    assert [step.name for step in found.path] == ["unlock", "lift"]
    mended = yard(engine, ShutWatchedYard if kind == "invariant" else ShutYard)
    problems = (AssertionError, ReactionErrors, PermissionError, RunawayCascadeError)
    source = fails_until_mended(found, mended, problems)
    assert "    except TransitionNotAllowed:\n" in source


def test_a_way_that_is_closed_too_soon_is_not_mended(engine: Engine) -> None:
    """What is asked at the end is asked where the way ends now: there it is stuck as well."""
    found = found_by(yard(engine, Yard), "stuck", events=TO_LIFT)
    with pytest.raises(AssertionError):
        fails_until_mended(found, yard(engine, ShutYard))


class OpenYard(Yard):
    may_drop: ClassVar[bool] = True


def test_an_event_that_raises_is_mended_where_it_does_not_raise(engine: Engine) -> None:
    """Also where it raised that another event was refused."""
    found = found_by(yard(engine, CallingYard), "raised", events=TO_LIFT)
    source = fails_until_mended(found, yard(engine, Yard))
    assert "limit=1, events={'gate.lift': None}).of(\"raised\")\n" in source


def test_the_event_of_a_member_that_raises_is_sent_with_its_arguments() -> None:
    """A member is told by the names that lead there; what is asked is the same event."""

    class Street(Orchestrator):
        till: Fleet[str, Vault] = attrs.field(factory=lambda: Fleet({"a": Picky()}))

    class Calm(Orchestrator):
        till: Fleet[str, Vault] = attrs.field(factory=lambda: Fleet({"a": MendedVault()}))

    for arguments in ({"code": 3}, (3,)):
        found = found_by(Street, "raised", events={"till.open": arguments})
        source = fails_until_mended(found, Calm)
        assert f"events={{'till.open': {arguments!r}}}" in source


class Picky(Vault):
    def after_open(self, code: int = 0) -> None:
        raise KeyError(code)


def test_a_timer_that_is_not_pending_any_more_closes_the_way(engine: Engine) -> None:
    """The mended post turns its truck round: nothing arrives late."""
    found = found_by(lambda: Post(begun(engine, Parcel)), "failure", events="parcel.send_it")
    mended = lambda: MendedPost(begun(engine, Parcel))  # noqa: E731
    source = fails_until_mended(found, mended, ReactionErrors)
    assert "    except (DeclarationError, TransitionNotAllowed):\n" in source


def test_a_member_that_is_gone_closes_the_way() -> None:
    """The mended street takes a lamp away when it is broken."""

    class Street(Orchestrator):
        lamps: Fleet[str, Light] = attrs.field(factory=lambda: Fleet({"a": Light()}))

        @invariant
        def is_never_switched_off(self) -> bool:
            return not hasattr(self, "was_on") or "on" in active(self.lamps["a"])

        @on_enter("lamps.on")
        def note(self) -> None:
            self.was_on = True

    class Mended(Orchestrator):
        lamps: Fleet[str, Light] = attrs.field(factory=lambda: Fleet({"a": Light()}))

        @invariant
        def is_never_switched_off(self) -> bool:
            return True

        @on_enter("lamps.on")
        def take(self) -> None:
            del self.lamps["a"]

    found = found_by(Street, "invariant")
    source = fails_until_mended(found, Mended)
    assert "    except (KeyError, TransitionNotAllowed):\n" in source


def test_a_step_that_fails_on_the_way_is_let_pass() -> None:
    """And the way goes on."""
    (found,) = explore(Breaking, events="*").findings[2:]
    source = found.as_test()
    assert "    try:\n        with suppress(Exception):\n            shop.one.flip()\n" in source


def test_a_goal_is_asked_at_the_end_of_the_way_alone(engine: Engine) -> None:
    """That it is lost later is another finding: what was mended here stays mended."""
    options: Any = {"can_always": {"gate": "shut"}, "may_rest": lambda _yard: True}
    found = found_by(yard(engine, Yard), "goal", **options)
    assert [step.name for step in found.path] == ["unlock"]
    fails_until_mended(found, yard(engine, OpenYard))
    assert explore(remade, **options).of("goal")[0].path != ()


def test_a_goal_is_looked_for_as_far_as_it_was() -> None:
    """A greater limit stands in the test."""
    for limit, told_limit in ((10, ""), (100_000, ""), (None, ", limit=None"), (10**6, f"{10**6}")):
        (found,) = explore(Pair, can_always=never, events="two.flip", limit=limit).findings
        assert told_limit in found.as_test()
        assert ("limit=" in found.as_test()) == bool(told_limit)


def in_module(monkeypatch: pytest.MonkeyPatch, module: str, name: str, thing: Any) -> Any:
    """Put something into a module, under a name, as if it were defined there."""
    thing.__module__, thing.__name__, thing.__qualname__ = module, name, name
    if module not in sys.modules:
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    setattr(sys.modules[module], name, thing)
    return thing


@pytest.mark.parametrize(
    "name",
    [
        "shop",
        "answer",
        "lost",
        "finding",
        "explore",
        "suppress",
        "elapse",
        "use_clock",
        "VirtualClock",
        "TransitionNotAllowed",
        "DeclarationError",
        "Exception",
        "KeyError",
        "all",
        "test_stuck_after_process_decline",
    ],
)
def test_what_makes_it_may_be_called_as_it_likes(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, name: str
) -> None:
    """What the source calls so itself keeps the name, and the other one has that of its module."""
    make = in_module(monkeypatch, "my.shops", name, lambda: remade())
    Made.make = shop(engine)
    result = explore(make, events=OUTSIDE, can_always={"order": ENDS})
    for found in result.findings:
        Made.make = shop(engine)
        fails_until_mended(found, shop(engine, MendedShop))
    Made.make = lambda: Post(begun(engine, Parcel))
    (found,) = explore(make, events="parcel.send_it").findings
    fails_until_mended(found, lambda: MendedPost(begun(engine, Parcel)), ReactionErrors)
    Made.make = pair(engine, Breaking)
    for found in explore(make).of("invariant"):
        Made.make = pair(engine, Breaking)
        fails_until_mended(found, pair(engine, MendedBreaking))


def test_a_class_may_be_called_as_another_one_or_as_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Classes of two modules, and one that is called `shop`."""

    class Small(StateMachine):
        low = State(initial=True)
        high = State(final=True)
        rise = low.to(high)

    other = in_module(monkeypatch, "others", "Light", Small)

    class Mixed(Orchestrator):
        one: Light
        two: other  # type: ignore[valid-type]

        @invariant
        def is_low(self) -> bool:
            return "high" not in active(self.two)

    class Mended(Mixed):
        @invariant
        def is_low(self) -> bool:
            return True

    in_module(monkeypatch, "my.shops", "shop", Mixed)
    (found,) = explore(Mixed, events="two.rise").of("invariant")
    source = found.as_test()
    assert "from my.shops import shop as shops_shop\n" in source
    assert "from others import Light as others_Light\n" in source
    assert "shop = shops_shop(one=Light(), two=others_Light())\n" in source
    with pytest.raises(AssertionError):
        run_source(source)
    in_module(monkeypatch, "my.shops", "shop", Mended)
    run_source(source)


def test_a_name_that_is_taken_twice_over_is_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two modules of one name below two packages."""
    checks = [
        in_module(monkeypatch, f"{package}.rules", "shop", lambda _pair: False)
        for package in ("one", "two")
    ]
    sources = explore(Pair, invariants=checks, events=[]).of("invariant")[-1:]
    both = explore(Pair, can_always=[checks[0]], key=checks[1], events=[]).of("goal")
    assert "import shop as rules_shop\n" in sources[0].as_test()
    assert "from one.rules import shop as its_shop_2\n" in both[0].as_test()


def sized(size: int, kind: Any = Pair, *, extra: Any = None) -> Any:
    """Make a pair; the arguments are those of a `partial`."""
    assert size == 3
    made = kind(Light(), Light())
    made.extra = extra
    return made


class Named(Orchestrator):
    """Makes its machines itself, and has class methods."""

    name: str = ""
    one: Light = attrs.field(factory=Light)
    two: Light = attrs.field(factory=Light)

    @classmethod
    def anew(cls) -> Any:
        return cls()

    @invariant
    def is_dark(self) -> bool:
        return "on" not in active(self.one)


class Heir(Named):
    """Inherits what makes it."""


@pytest.mark.parametrize(
    ("make", "name", "told_make"),
    [
        (partial(sized, 3), "Pair", "sized(3)"),
        (partial(sized, size=3, kind=Pair), "Pair", "sized(size=3, kind=Pair)"),
        (
            partial(partial(sized, 3), extra=("a", {"b": [1.5]})),
            "Pair",
            "sized(3, extra=('a', {'b': [1.5]}))",
        ),
        (partial(sized, 3, extra=partial(int, "7")), "Pair", "sized(3, extra=partial(int, '7'))"),
        (partial(Named, name="x"), "Named", "Named(name='x')"),
        (Named.anew, "Named", "Named.anew()"),
        (Heir.anew, "Heir", "Heir.anew()"),
    ],
)
def test_a_partial_and_a_class_method_make_it(make: Any, name: str, told_make: str) -> None:
    """They stand in the test as calls; in the report it is called as its class."""
    result = explore(make, events="one.flip", invariants=is_dark)
    assert result.name == name
    for found in result.findings:
        assert "off → on" in str(found.trace)
        source = found.as_test()
        assert f"    shop = {told_make}\n" in source
        with pytest.raises(AssertionError):
            run_source(source)


def test_what_a_partial_makes_may_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source runs with what was mended."""
    (found,) = explore(partial(Named, name="x"), events="one.flip").findings
    source = found.as_test()
    monkeypatch.setattr(sys.modules[__name__], "Named", MendedNamed)
    run_source(source)


class MendedNamed(Named):
    @invariant
    def is_dark(self) -> bool:
        return True


def filled_in(found: Finding, name: str, call: str, thing: Any) -> None:
    """Run the test of a finding, as it is and with what a comment says is missing."""
    source = found.as_test()
    line = re.search(
        rf"^{name} = \.\.\.  # fill in: .*, which cannot be imported$", source, re.MULTILINE
    )
    assert line is not None
    assert f"    shop = {call}\n" in source
    with pytest.raises((TypeError, AttributeError)):
        run_source(source)
    Made.make = thing
    filled = source.replace(line[0], f"from {__name__} import Made\n{name} = Made.make")
    with pytest.raises(AssertionError):
        run_source(filled)


def test_what_cannot_be_imported_is_to_be_filled_in() -> None:
    """A lambda, a local class, an object: a comment says what is missing, and where it is."""

    class Local(Pair):
        """Of a function."""

    class Maker:
        def make(self) -> Any:
            return self(Light(), Light())

        def __call__(self, *lights: Any) -> Any:
            return Pair(*lights)

    maker = Maker()
    make: Any = lambda: Pair(Light(), Light())  # noqa: E731
    build: Any = lambda kind: kind(Light(), Light())  # noqa: E731
    filled: list[tuple[Any, str, str, Any]] = [
        (make, "make", "make()", make),
        (Local, "Local", "Local(one=Light(), two=Light())", Local),
        (maker.make, "make", "make.make()", maker),
        (partial(sized, 3, kind=Local), "Local", "sized(3, kind=Local)", Local),
        (partial(build, Pair), "make", "make(Pair)", build),
        (partial(sized, 3, kind=maker), "given", "sized(3, kind=given)", maker),
    ]
    for making, name, call, thing in filled:
        (found,) = explore(making, invariants=is_dark, events="one.flip").findings
        filled_in(found, name, call, thing)


def is_off(name: str, pair: Any) -> bool:
    return "on" not in active(getattr(pair, name))


def test_a_predicate_may_be_a_partial() -> None:
    """It stands in the test as one."""
    (found,) = explore(Pair, invariants=partial(is_off, "one"), events="one.flip").findings
    source = found.as_test()
    assert found.text == "is_off does not hold"
    assert "    answer = partial(is_off, 'one')(shop)\n" in source
    with pytest.raises(AssertionError):
        run_source(source)


def test_a_predicate_that_cannot_be_imported_is_to_be_filled_in() -> None:
    """Where it stands is told; two of them have two names."""
    result = explore(Pair, invariants=[lambda _pair: False], events="one.flip")
    (source,) = [found.as_test() for found in result.findings]
    assert re.search(
        r"^given = \.\.\.  # fill in: .*<lambda> \(test_exploration.py, line \d+\), which",
        source,
        re.MULTILINE,
    )
    assert "    answer = given(shop)\n" in source
    wrong: Any = lambda _pair: False  # noqa: E731
    (same,) = explore(Pair, can_always=wrong, key=wrong, events=[]).of("goal")
    assert "key=given, can_always=[given]" in same.as_test()
    both = explore(Pair, can_always=wrong, key=lambda _pair: 1, events=[])
    (source,) = [found.as_test() for found in both.of("goal")]
    assert "key=given, can_always=[another_given]" in source
    assert source.count("# fill in: ") == 2
