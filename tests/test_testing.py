"""Testing: timers that come due when a test says so, and random runs by hypothesis."""

from __future__ import annotations

import sys
from typing import Any

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    Orchestrator,
    RunawayCascadeError,
    UnknownTopicError,
    VirtualClock,
    clock_of,
    domain_signal,
    on,
    timeout,
    use_clock,
)
from statemachines_orchestrator.exploration import invariant
from statemachines_orchestrator.testing import elapse, stateful

QUICK = settings(
    max_examples=30,
    stateful_step_count=10,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
)


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Till(StateMachine):
    counting = State(initial=True)
    closed = State(final=True)
    pay = counting.to.itself()
    close = counting.to(closed)

    def on_pay(self, amount: int, currency: str = "EUR") -> None:
        if amount > 90:
            raise OverflowError(currency)


class Room(Orchestrator):
    """Lights with a time, in a fleet and alone."""

    light: Light
    lights: Fleet[int, Light] = attrs.field(factory=Fleet[int, Light])
    log: list[str] = attrs.field(factory=list[str])

    @timeout("light.on", seconds=60)
    def save(self) -> None:
        self.log.append("save")

    @timeout("lights.on", seconds=5)
    def save_one(self, key: int) -> None:
        self.log.append(f"save {key}")


class House(Orchestrator):
    room: Room


# Timers -----------------------------------------------------------------------------------------


def test_a_timer_comes_due_alone() -> None:
    """Whatever comes due before it; the clock goes on to its deadline."""
    room = Room(Light())
    clock = use_clock(room, VirtualClock())
    room.lights.update({1: Light(), 2: Light()})
    room.light.flip()
    room.lights[1].flip()
    room.lights[2].flip()
    room.post("light.flip", delay=7)
    elapse(room, "save")
    elapse(room, "save_one", 2)
    assert (room.log, clock.now()) == (["save", "save 2"], 60.0)
    elapse(room, "light.flip")
    assert room.light.current_state_value == "off"
    clock.advance(0)
    assert room.log == ["save", "save 2", "save 1"]


def test_a_timer_of_an_inner_orchestrator_is_its_own() -> None:
    """It is asked for where it was declared."""
    house = House(Room(Light()))
    use_clock(house, VirtualClock())
    house.room.light.flip()
    with pytest.raises(DeclarationError, match="no such timer is pending; nothing is"):
        elapse(house, "save")
    elapse(house.room, "save")
    assert house.room.log == ["save"]


def test_what_is_not_pending_is_told_with_what_is() -> None:
    """Another key, another name, another clock, and what is no orchestrator, are refused."""
    room = Room(Light())
    with pytest.raises(DeclarationError, match="its clock is no VirtualClock"):
        elapse(room, "save")
    use_clock(room, VirtualClock())
    room.lights[1] = Light()
    room.lights[1].flip()
    room.light.flip()
    expected = r"elapse\(..., 'save_one'\): no such timer is pending; 'save_one', 1, 'save' is"
    with pytest.raises(DeclarationError, match=expected):
        elapse(room, "save_one", 2)
    wrong: Any = Room
    with pytest.raises(DeclarationError, match="is no orchestrator"):
        elapse(wrong, "save")
    with pytest.raises(DeclarationError, match="no such timer is pending"):
        elapse(room, "save", nth=1)
    assert clock_of(room).now() == 0.0


# Random runs ------------------------------------------------------------------------------------


def run(machine: Any) -> None:
    """Run the test of a rule-based state machine."""
    machine.TestCase.settings = QUICK
    machine.TestCase("runTest").runTest()


def failure(machine: Any) -> Any:
    """Return what a run finds."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each test says which
        run(machine)
    return caught.value


def test_a_right_orchestration_passes() -> None:
    """Events, timers and invariants; where nothing more can happen it begins anew."""

    class Shop(Orchestrator):
        till: Till
        light: Light

        @timeout("light.on", seconds=5)
        def save(self) -> None:
            self.light.flip()

        @invariant
        def is_fine(self) -> bool:
            return True

    run(stateful(Shop, events=["till.close", "light.*"]))
    run(stateful(Shop, events="till.close"))


def test_what_fails_is_told_with_the_way_there() -> None:
    """An invariant, a reaction and an event that raise: the steps and the trace are a note."""

    class Shop(Orchestrator):
        light: Light
        other: Light

        @invariant
        def not_both(self) -> bool:
            return not self.light.current_state_value == "on" == self.other.current_state_value

    error = failure(stateful(Shop))
    assert isinstance(error, AssertionError)
    told: Any = error
    assert str(error) == "not_both does not hold in Shop(light=on, other=on)"
    assert "  2. " in told.__notes__[0]
    assert "light: off \u2192 on" in told.__notes__[0]

    class Broken(Orchestrator):
        light: Light

        @on("light.flip")
        def fail(self) -> None:
            raise ZeroDivisionError

    assert isinstance(failure(stateful(Broken)), ZeroDivisionError)
    run(stateful(Broken, may_raise=ZeroDivisionError))
    asked = stateful(Broken, may_raise=ZeroDivisionError, invariants=lambda shop: shop.nowhere)
    assert isinstance(failure(asked).__cause__, AttributeError)


class Tills(Orchestrator):
    tills: Fleet[str, Till] = attrs.field(factory=lambda: Fleet({"a": Till(), "b": Till()}))
    closing = domain_signal("the day is over")

    @on("closing")
    def close(self, hour: int) -> None:
        if hour > 20:
            raise TimeoutError


def test_arguments_come_from_strategies() -> None:
    """By name or by position, for a member of a fleet, and for a signal; each variant is a rule."""
    amounts = st.integers(0, 99)
    for given in ({"amount": amounts, "currency": "USD"}, (amounts, "USD")):
        error = failure(stateful(Tills, events={"tills.pay": [given, {"amount": 1}]}))
        assert (type(error), str(error)) == (OverflowError, "USD")
    run(stateful(Tills, events={"tills.pay": {"amount": st.integers(0, 90)}}))
    found = failure(stateful(Tills, events={"closing": {"hour": st.integers(0, 23)}}))
    assert isinstance(found, TimeoutError)
    run(stateful(Tills, events={"closing": {"hour": 20}, "tills.close": None}))


def test_every_machine_below_has_its_rules() -> None:
    """Of inner orchestrators, and of those of its own kind that an orchestrator holds."""

    class Tree(Orchestrator):
        light: Light
        branch: Tree | None = None  # it is its own kind

    machine = stateful(House)
    rules = {name for name in dir(machine) if name.startswith("send_")}
    assert rules == {"send__room__light__flip", "send__room__lights__flip"}
    tree = stateful(lambda: Tree(Light(), Tree(Light())))
    assert {name for name in dir(tree) if name.startswith("send_")} == {
        "send__light__flip",
        "send__branch__light__flip",
    }
    run(machine)


def test_the_next_of_several_timers_may_come_due() -> None:
    """Of posts to one topic, and of the timeouts of one reaction, `nth` tells which is meant."""
    room = Room(Light())
    use_clock(room, VirtualClock())
    room.post("light.flip", delay=1)
    second = room.post("light.flip", delay=2)
    elapse(room, "light.flip", nth=1)
    assert second.is_over
    assert room.light.current_state_value == "on"


def test_rules_of_like_names_are_two() -> None:
    """`door_lock.open` and `door.lock_open` are two events."""

    class Door(StateMachine):
        shut = State(initial=True)
        locked = State()
        lock_flip = shut.to(locked) | locked.to(shut)

    class Hall(Orchestrator):
        door: Door
        door_lock: Light

    rules = {name for name in dir(stateful(Hall)) if name.startswith("send_")}
    assert rules == {"send__door__lock_flip", "send__door_lock__flip"}


def test_a_timer_is_found_to_come_too_early() -> None:
    """Any of those that are pending comes due, whatever their deadlines; so a race is found."""

    class Race(Orchestrator):
        light: Light
        other: Light

        @on("light.flip")
        def later(self) -> None:
            self.post("other.flip", delay=5)

        @timeout("light.on", seconds=60)
        def save(self) -> None:
            assert self.other.current_state_value == "on"

    error = failure(stateful(Race, events="light.flip"))
    assert isinstance(error, AssertionError)
    told: Any = error
    assert any(". save comes due\n\n" in note for note in told.__notes__)
    run(stateful(Race, events=[]))


def test_a_cascade_without_end_is_found() -> None:
    """Unless it may be raised."""

    class Circle(Orchestrator, max_reactions=25):
        light: Light
        other: Light
        there = on("light.flip").send("other.flip")
        back = on("other.flip").send("light.flip")

    assert isinstance(failure(stateful(Circle)), RunawayCascadeError)
    run(stateful(Circle, may_raise=(ValueError, RunawayCascadeError)))


def test_what_means_nothing_is_refused_at_once() -> None:
    """As `explore` does: what makes none, an event that there is not, and what is no predicate."""
    with pytest.raises(DeclarationError, match=r"stateful\(\): it was given 3"):
        stateful(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownTopicError, match=r"Did you mean 'room.light.flip'"):
        stateful(House, events="room.light.flop")
    with pytest.raises(DeclarationError, match="is no predicate"):
        stateful(House, invariants=[3])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


def test_hypothesis_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the fix is told."""
    monkeypatch.setitem(sys.modules, "hypothesis.stateful", None)
    with pytest.raises(DeclarationError, match=r"Install the extra: .*\[testing\]"):
        stateful(House)
