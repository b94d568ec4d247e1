"""Law 5: a committed transition is announced once, after the commit; another never."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from conftest import HOST_IS_3, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator


class Machine(StateMachine):
    """A machine whose callback of the name in `fail` raises."""

    a = State(initial=True)
    b = State()
    go = a.to(b)
    back = b.to(a)
    stay = a.to.itself() | b.to.itself()
    fail = ""

    def may_fail(self, name: str) -> None:
        if self.fail == name:
            raise ValueError(name)

    def before_transition(self) -> None:
        self.may_fail("before")

    def on_exit_state(self) -> None:
        self.may_fail("exit")

    def on_transition(self) -> None:
        self.may_fail("on")

    def on_enter_a(self) -> None:
        self.may_fail("enter")

    def on_enter_b(self) -> None:
        self.may_fail("enter")

    def after_transition(self) -> None:
        self.may_fail("after")


class Alone(Orchestrator):
    machine: Machine


def observed(held: Any) -> list[Any]:
    """Return what is announced, each with the state that the machine was in then."""
    seen: list[Any] = []
    held.bus.signal("*").connect(
        lambda machine, record: seen.append((str(record.event), machine.current_state_value))
    )
    return seen


def test_a_committed_transition_is_announced_once_after_the_commit(engine: Any) -> None:
    """Once for each transition, self-transitions included, with the new state in place."""
    held = Alone(engine.machine(Machine)())
    seen = observed(held)
    for event in ("go", "stay", "stay", "back"):
        engine.run(getattr(held.machine, event))
    assert seen == [("go", "b"), ("stay", "b"), ("stay", "b"), ("back", "a")]


@pytest.mark.parametrize("where", ["before", "exit", "on"])
def test_a_transition_that_was_rolled_back_is_never_announced(engine: Any, where: str) -> None:
    """What raises before the commit leaves the old state, and nothing is announced."""
    held = Alone(engine.machine(Machine)())
    seen = observed(held)
    held.machine.fail = where
    error = engine.raises(ValueError, lambda: held.machine.go())
    assert (str(error), seen, held.machine.current_state_value) == (where, [], "a")


def test_a_failing_entry(engine: Any) -> None:
    """3.x rolls back when an entry raises, and nothing is announced.

    2.x keeps the new state and calls no `after_` callback: nothing is announced there either.
    """
    held = Alone(engine.machine(Machine)())
    seen = observed(held)
    engine.run(held.machine.activate_initial_state)
    held.machine.fail = "enter"
    engine.raises(ValueError, lambda: held.machine.go())
    assert (seen, held.machine.current_state_value) == ([], "a" if HOST_IS_3 else "b")


def test_a_refused_event_is_never_announced(engine: Any) -> None:
    """A refused event announces nothing."""
    held = Alone(engine.machine(Machine)())
    seen = observed(held)
    engine.raises(TransitionNotAllowed, lambda: held.machine.back())
    assert seen == []


@pytest.mark.parametrize("event", ["go", "stay"])
def test_a_transition_whose_own_after_callback_raised_is_announced(engine: Any, event: str) -> None:
    """It was committed: it is announced, and the caller gets the machine's exception."""
    held = Alone(engine.machine(Machine)())
    seen = observed(held)
    held.machine.fail = "after"
    error = engine.raises(ValueError, lambda: getattr(held.machine, event)())
    assert str(error) == "after"
    assert seen == [(event, "b" if event == "go" else "a")]


def test_a_direct_call_in_a_step_that_is_rolled_back_stays_announced(engine: Any) -> None:
    """The nested transition was committed on a machine of its own."""

    class Caller(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b)

        def before_go(self, orc: Any) -> Any:
            return orc.machine.go()

        def on_go(self) -> None:
            raise ValueError("rolled back")

    class Two(Orchestrator):
        caller: Caller
        machine: Machine

    two = Two(engine.machine(Caller)(), engine.machine(Machine)())
    seen = observed(two)
    engine.raises(ValueError, lambda: two.caller.go())
    assert seen == [("go", "b")]
    assert (two.caller.current_state_value, two.machine.current_state_value) == ("a", "b")


def test_events_that_a_machine_sends_to_itself_are_announced_each(engine: Any) -> None:
    """Every transition of a chain in one call is announced, in the order of their commits."""

    class Chain(Machine):
        def after_go(self) -> Any:
            return self.back()

        def after_back(self) -> Any:
            return self.stay()

    class Chained(Orchestrator):
        machine: Chain

    held = Chained(engine.machine(Chain)())
    seen: list[str] = []
    held.bus.signal("machine.*").connect(lambda _machine, record: seen.append(record.event))
    engine.run(lambda: held.machine.go())
    assert seen == ["go", "back", "stay"]


def test_a_state_written_from_outside_is_adopted_and_not_announced(engine: Any) -> None:
    """`model.state = ...` announces nothing, and the next event starts from it."""

    @attrs.define
    class Row:
        state: Any = None

    row = Row()
    held = Alone(engine.machine(Machine)(row))
    seen = observed(held)
    engine.run(lambda: held.machine.stay())
    row.state = "b"
    engine.run(lambda: held.machine.back())
    assert seen == [("stay", "a"), ("back", "a")]


def test_states_active_at_construction_and_a_lazy_entry_are_not_announced(engine: Any) -> None:
    """Neither the initial state of a machine handed in, nor an async machine's late entry."""
    held = Alone(engine.machine(Machine)())
    seen: list[Any] = []
    for topic in ("*", "enter:machine.a", "enter:machine.b"):
        held.bus.signal(topic).connect(lambda _machine, record: seen.append(record.entered))
    engine.run(lambda: held.machine.activate_initial_state())
    assert seen == []
    engine.run(lambda: held.machine.go())
    assert seen == [("b",), ("b",)]


@needs_3
class TestStateChart:
    """What a `StateChart` of 3.x does with errors."""

    @staticmethod
    def chart(engine: Any, handler: bool) -> Any:  # noqa: FBT001
        from statemachine import StateChart  # noqa: PLC0415

        class Chart(StateChart[Any]):
            a = State(initial=True)
            b = State()
            go = a.to(b)
            stay = b.to.itself()
            if handler:
                error_execution = b.to(a)

            def after_go(self) -> None:
                raise ValueError("swallowed")

            def after_stay(self) -> None:
                raise ValueError("swallowed")

        class Charted(Orchestrator):
            machine: Chart

        return Charted(engine.machine(Chart)())

    def test_a_swallowed_error_of_an_after_callback_is_a_committed_transition(
        self, engine: Any
    ) -> None:
        """A `StateChart` swallows it; the transition is announced, self-transitions included."""
        held = self.chart(engine, handler=False)
        seen: list[Any] = []
        held.bus.signal("*").connect(lambda _machine, record: seen.append(str(record.event)))
        engine.run(lambda: held.machine.go())
        engine.run(lambda: held.machine.stay())
        assert seen == ["go", "stay"]

    def test_an_error_that_becomes_an_event_is_announced_after_its_transition(
        self, engine: Any
    ) -> None:
        """The transition first, then that of `error.execution`, under both spellings."""
        held = self.chart(engine, handler=True)
        seen: list[Any] = []
        held.bus.signal("*").connect(lambda _machine, record: seen.append(str(record.event)))
        held.bus.signal("machine.error_execution").connect(
            lambda _machine, record: seen.append(record.target.id)
        )
        engine.run(lambda: held.machine.go())
        assert seen == ["go", "a", "error.execution"]
