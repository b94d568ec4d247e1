"""Law 1: a machine in an orchestrator does what it does alone."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from conftest import HOST_IS_3, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator


class Talker(StateMachine):
    """Notes every callback, refuses, fails, sends to itself and returns values."""

    idle = State(initial=True)
    busy = State()
    over = State(final=True)
    start = idle.to(busy, cond="may_start", before="note_before", after="note_after")
    again = busy.to.itself()
    inside = busy.to.itself(internal=True)
    stop = busy.to(over)
    twice = idle.to(busy, after="again")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.notes: list[Any] = []
        super().__init__(*args, **kwargs)

    def note(self, *what: Any) -> None:
        self.notes.append((*what, self.current_state_value))

    def may_start(self, how: str = "well") -> bool:
        self.note("guard", how)
        return how != "no"

    def note_before(self, source: State, target: State, event: str) -> str:
        self.note("before", source.id, target.id, str(event))
        return "from before"

    def note_after(self, **kwargs: Any) -> None:
        self.note("after", sorted(set(kwargs) - {"orc"}))

    def on_start(self, how: str = "well") -> str:
        self.note("on", how)
        if how == "badly":
            raise ValueError(how)
        return "from on"

    def on_again(self) -> str:
        return "again"

    def on_exit_idle(self) -> None:
        self.note("exit idle")

    def on_enter_busy(self) -> None:
        self.note("enter busy")

    def after_stop(self, *, fail: bool = False) -> None:
        self.note("after stop")
        if fail:
            raise RuntimeError("after")


class Held(Orchestrator):
    machine: Talker


CALLS: list[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = [
    [("start", (), {}), ("again", (), {}), ("stop", (), {})],
    [("start", ("no",), {}), ("start", ("badly",), {}), ("start", ("well",), {"more": 1})],
    [("stop", (), {}), ("twice", (), {}), ("inside", (), {}), ("stop", (), {"fail": True})],
    [("start", (), {}), ("stop", (), {}), ("start", (), {}), ("again", (), {})],
]


def outcome(engine: Any, machine: Any, event: str, args: Any, kwargs: Any) -> Any:
    try:
        return engine.run(lambda: getattr(machine, event)(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - the exception is the outcome
        return type(error), str(error), getattr(error, "__notes__", [])


@pytest.mark.parametrize("calls", CALLS)
def test_results_exceptions_order_and_states_are_those_of_the_bare_machine(
    engine: Any, calls: Any
) -> None:
    """Same results, exceptions, callback order, states and callback arguments as alone."""
    machine_class = engine.machine(Talker)
    bare, held = machine_class(), machine_class()
    Held(machine=held)
    for event, args, kwargs in calls:
        expected = outcome(engine, bare, event, args, kwargs)
        assert outcome(engine, held, event, args, kwargs) == expected
        assert held.current_state_value == bare.current_state_value
    assert held.notes == bare.notes
    assert held.notes


def test_send_and_events_of_the_machine_are_the_same_call(engine: Any) -> None:
    """`machine.send("event")` and `machine.event()` are alike."""
    machine = engine.machine(Talker)()
    Held(machine=machine)
    assert engine.run(lambda: machine.send("start")) == ["from before", "from on"]
    assert engine.run(lambda: machine.send("again")) == "again"
    assert engine.run(lambda: machine.again()) == "again"


def test_an_event_sent_by_a_bound_event_taken_before_attaching_is_announced(engine: Any) -> None:
    """A bound event taken before attaching goes through the orchestrator too."""
    machine = engine.machine(Talker)()
    taken_before = machine.start
    held = Held(machine=machine)
    seen: list[Any] = []
    held.bus.signal("machine.start").connect(lambda _machine, record: seen.append(record.event))
    engine.run(lambda: taken_before())
    assert seen == ["start"]


def test_a_sync_machine_stays_sync_and_an_async_one_async(engine: Any) -> None:
    """Attaching changes no machine's colour."""
    machine = engine.machine(Talker)()
    engine_before = type(machine._engine)
    Held(machine=machine)
    assert type(machine._engine) is engine_before


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_a_copy_of_a_machine_is_a_working_bare_machine(duplicate: Any) -> None:
    """Copying and pickling a machine gives a bare machine that moves alone."""
    held = Held(machine=Talker())
    held.machine.start()
    seen: list[Any] = []
    held.bus.signal("*").connect(lambda machine, record: seen.append(record.event))
    other = duplicate(held.machine)
    if duplicate is copy.copy:  # python-statemachine shares the model then
        other.model = copy.copy(held.machine.model)
        other = copy.copy(other)
    assert other.stop() is None
    assert (other.current_state_value, held.machine.current_state_value) == ("over", "busy")
    assert seen == []


def test_a_machine_that_has_no_callbacks_for_it_is_not_asked_for_orc(engine: Any) -> None:
    """Arguments that no callback asks for are dropped, `orc` among them."""

    class Deaf(StateMachine):
        a = State(initial=True)
        go = a.to.itself()

        def on_go(self) -> str:
            return "gone"

    class Alone(Orchestrator):
        machine: Deaf

    held = Alone(machine=engine.machine(Deaf)())
    assert engine.run(lambda: held.machine.go(1, two=2)) == "gone"


def test_listeners_are_those_of_the_bare_machine() -> None:
    """Attaching adds no listener that could take part in guards or results."""
    machine = Talker()
    before = list(machine._listeners)
    Held(machine=machine)
    assert list(machine._listeners) == before


@needs_3
def test_events_forwarded_by_the_host_keep_their_arguments() -> None:
    """An event named as an action is sent with the arguments of the event that ran it."""
    seen: list[Any] = []

    class Chain(StateMachine):
        a = State(initial=True)
        go = a.to.itself(after="more")
        more = a.to.itself()

        def on_more(self, **kwargs: Any) -> None:
            seen.append(kwargs["amount"])

    class Alone(Orchestrator):
        machine: Chain

    Alone(machine=Chain()).machine.go(amount=3)
    assert seen == [3]


def test_a_refused_event_raises_as_alone(engine: Any) -> None:
    """A refused event raises the host's own exception, without notes."""
    held = Held(machine=engine.machine(Talker)())
    error = engine.raises(TransitionNotAllowed, lambda: held.machine.stop())
    assert getattr(error, "__notes__", []) == []


def test_a_user_listener_added_later_takes_part(engine: Any) -> None:
    """`add_listener` after attaching works as on a bare machine."""
    seen: list[Any] = []

    class Listener:
        def after_transition(self, event: str, orc: Any) -> None:
            seen.append((str(event), orc))

    held = Held(machine=engine.machine(Talker)())
    held.machine.add_listener(Listener())  # type: ignore[no-untyped-call]
    engine.run(lambda: held.machine.start())
    assert seen == [("start", held)]


@pytest.mark.skipif(HOST_IS_3, reason="rtc=False exists only in python-statemachine 2.x")
def test_a_machine_without_run_to_completion_nests_as_alone() -> None:
    """With `rtc=False` (2.x) events sent to itself run at once, attached as alone."""

    class Nested(StateMachine):
        a = State(initial=True)
        b = State()
        c = State(final=True)
        go = a.to(b)
        on_ = b.to(c)

        def after_go(self) -> str:
            self.on_()
            return str(self.current_state_value)

    class Alone(Orchestrator):
        machine: Nested

    held = Alone(machine=Nested(rtc=False))
    held.machine.go()
    assert held.machine.current_state_value == "c"
