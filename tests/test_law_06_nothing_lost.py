"""Law 6: nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from conftest import needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, ReactionErrors, on

if TYPE_CHECKING:
    import pytest

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Machine(StateMachine):
    a = State(initial=True)
    b = State()
    go = a.to(b)
    back = b.to(a)

    def on_go(self) -> str:
        return "gone"


class Failing(Orchestrator):
    machine: Machine
    log: Any = None

    def note(self, what: str) -> None:
        self.log = [*(self.log or []), what]

    @on("machine.go")
    def first(self) -> None:
        self.note("first")
        raise ValueError("one")

    @on("machine.go")
    def second(self) -> Any:
        self.note("second")
        return self.machine.back()

    @on("machine.back")
    def third(self) -> None:
        self.note("third")
        raise KeyError("three")


def test_a_failing_reaction_stops_no_other_and_the_failures_are_raised_together(
    engine: Any,
) -> None:
    """All reactions run; then one group holds the failures, in order, with notes and facts."""
    held = Failing(engine.machine(Machine)())
    group = engine.raises(ReactionErrors, lambda: held.machine.go())
    assert held.log == ["first", "second", "third"]
    assert issubclass(ReactionErrors, ExceptionGroup)
    assert [repr(error) for error in group.exceptions] == ["ValueError('one')", "KeyError('three')"]
    assert [error.__notes__ for error in group.exceptions] == [
        ["in Failing.first, in reaction to machine.go (a → b)"],
        ["in Failing.third, in reaction to machine.back (b → a)"],
    ]
    assert [failure.reaction for failure in group.failures] == ["Failing.first", "Failing.third"]
    assert [failure.cause.event for failure in group.failures] == ["go", "back"]
    assert [failure.exception for failure in group.failures] == list(group.exceptions)
    assert group.result == "gone"


def test_one_failure_is_a_group_too(engine: Any) -> None:
    """Always a group, one failure or many."""

    class One(Orchestrator):
        machine: Machine

        @on("machine.go")
        def fail(self) -> None:
            raise ValueError("only")

    group = engine.raises(ReactionErrors, One(engine.machine(Machine)()).machine.go)
    assert [str(error) for error in group.exceptions] == ["only"]


def test_a_refusal_in_a_reaction_is_a_failure_of_the_cascade(engine: Any) -> None:
    """A refused event in a reaction is told from a refusal of the call itself by the group."""

    class Refused(Orchestrator):
        machine: Machine

        @on("machine.go")
        def again(self) -> Any:
            return self.machine.go()

        @on("machine.go")
        def post_again(self) -> None:
            self.post("machine.go")

    held = Refused(engine.machine(Machine)())
    group = engine.raises(ReactionErrors, held.machine.go)
    assert [type(error) for error in group.exceptions] == [TransitionNotAllowed] * 2
    assert [failure.reaction for failure in group.failures] == ["Refused.again", "machine.go"]


def test_the_machines_own_exception_wins_with_the_failures_as_notes(engine: Any) -> None:
    """The caller gets the machine's exception; failures are notes on it, and on `failed:`."""

    class Raising(Machine):
        def after_go(self) -> None:
            raise RuntimeError("own")

    class Held(Orchestrator):
        machine: Raising

        @on("machine.go")
        def fail(self) -> None:
            raise ValueError("reaction")

    held = Held(engine.machine(Raising)())
    failed: list[Any] = []
    held.bus.signal("failed:fail").connect(lambda _held, record: failed.append(record.exception))
    error = engine.raises(RuntimeError, held.machine.go)
    assert str(error) == "own"
    assert error.__notes__ == [
        "Held.fail, in reaction to machine.go (a → b) failed: ValueError('reaction')"
    ]
    assert [repr(one) for one in failed] == ["ValueError('reaction')"]


class Stop(BaseException):
    """Like KeyboardInterrupt, but no test runner minds it."""


def test_a_base_exception_stops_the_cascade_and_what_had_not_run_is_abandoned(
    engine: Any,
) -> None:
    """It propagates itself, at once; the rest is announced as `Abandoned`; no `settled`."""
    log: list[str] = []

    class Stopped(Orchestrator):
        machine: Machine

        @on("machine.go")
        def fail(self) -> None:
            self.post("machine.back")
            raise ValueError("before")

        @on("machine.go")
        def stop(self) -> None:
            raise Stop

        @on("machine.go")
        def never(self) -> None:
            log.append("never")

        @on("settled")
        def rest(self) -> None:
            log.append("settled")

    held = Stopped(engine.machine(Machine)())
    held.bus.signal("abandoned:*").connect(lambda _held, record: log.append(record.name))
    stop = engine.raises(Stop, held.machine.go)
    assert log == ["never", "machine.back"]
    assert stop.__notes__ == [
        "Stopped.fail, in reaction to machine.go (a → b) failed: ValueError('before')"
    ]
    engine.run(held.machine.back)
    assert log == ["never", "machine.back", "settled"]


def test_a_base_exception_in_a_callback_abandons_the_reactions_queued_so_far(
    engine: Any,
) -> None:
    """What earlier transitions of the call had queued is announced as `Abandoned`."""

    class Raising(Machine):
        def after_go(self, orc: Any) -> Any:
            return orc.other.go()

    class Interrupted(Machine):
        def after_go(self) -> None:
            raise Stop

    class Held(Orchestrator):
        machine: Raising
        other: Interrupted

        @on("other.go")
        def react(self) -> None:
            raise AssertionError

    held = Held(engine.machine(Raising)(), engine.machine(Interrupted)())
    names: list[str] = []
    held.bus.signal("abandoned:*").connect(lambda _held, record: names.append(record.name))
    engine.raises(Stop, held.machine.go)
    assert names == ["react"]


@needs_3
def test_failures_after_an_event_of_the_host_are_logged_and_never_reach_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Reactions to a `done.invoke` event have no caller: announced, logged, kept from the host."""
    from statemachine import StateChart  # noqa: PLC0415

    returned, settled = threading.Event(), threading.Event()

    class Worker(StateChart[Any]):
        idle = State(initial=True)
        working = State()
        done = State()
        error = State(final=True)
        start = idle.to(working)
        done_invoke_working = working.to(done)
        error_execution = done.to(error)

        def on_invoke_working(self) -> int:
            returned.wait(5)  # the event of a call that is under way would join its cascade
            return 42

    class Held(Orchestrator):
        machine: Worker

        @on("machine.done.invoke.working")
        def fail(self) -> None:
            raise ValueError("reaction")

        @on("settled")
        def rest(self) -> None:
            if self.machine.current_state_value == "done":
                settled.set()

    failed: list[Any] = []
    with caplog.at_level(logging.ERROR, logger="statemachines_orchestrator"):
        held = Held(Worker())
        held.bus.signal("failed:*").connect(lambda _held, record: failed.append(record.name))
        held.machine.start()
        returned.set()
        assert settled.wait(5)
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(5)
    assert held.machine.current_state_value == "done"
    assert failed == ["fail"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@needs_3
def test_failures_after_an_event_of_the_host_are_told_to_the_event_loop() -> None:
    """On an event loop its exception handler gets the group."""
    from statemachine import StateChart  # noqa: PLC0415

    told: list[Any] = []

    class Worker(StateChart[Any]):
        idle = State(initial=True)
        working = State()
        done = State(final=True)
        start = idle.to(working)
        done_invoke_working = working.to(done)

        async def on_exit_idle(self) -> None:
            """Make the machine async."""

        def on_invoke_working(self) -> int:
            return 42

    class Held(Orchestrator):
        machine: Worker

        @on("machine.done.invoke.working")
        def fail(self) -> None:
            raise ValueError("reaction")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        held = Held(Worker())
        await held.machine.start()
        while held.machine.current_state_value != "done":
            await asyncio.sleep(0)
        while not told:
            await asyncio.sleep(0)

    logging.getLogger("statemachines_orchestrator").disabled = True
    try:
        asyncio.run(asyncio.wait_for(main(), 5))
    finally:
        logging.getLogger("statemachines_orchestrator").disabled = False
    assert [type(error) for error in told] == [ReactionErrors]
