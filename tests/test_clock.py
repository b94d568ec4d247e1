"""Clocks, alone: what they call, when, in which order, and what stays behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from statemachines_orchestrator import (
    ClockIsAdvancingError,
    DurationError,
    SystemClock,
    VirtualClock,
    _agenda,
)
from statemachines_orchestrator import clock as clocks
from statemachines_orchestrator._places import place_of


def fails(error: BaseException) -> Any:
    """Return a function that raises."""

    def function() -> None:
        raise error

    return function


def test_calls_run_in_order_of_deadline_each_at_its_own_time() -> None:
    """What comes due runs in order of deadline, ties in order of scheduling, at its own time."""
    clock = VirtualClock()
    log: list[Any] = []

    def note(name: str) -> None:
        log.append((name, clock.now()))

    for name, when in [("a", 3.0), ("b", 1.0), ("c", 3.0), ("d", 2.0), ("e", 9.0)]:
        clock.call_at(when, partial(note, name))
    assert clock.now() == 0.0
    clock.advance(5)
    assert log == [("b", 1.0), ("d", 2.0), ("a", 3.0), ("c", 3.0)]
    assert clock.now() == 5.0
    clock.call_at(1.0, lambda: log.append(("past", clock.now())))
    clock.advance_to_next()
    assert log[4:] == [("past", 5.0)]
    clock.advance_to_next()
    assert log[5:] == [("e", 9.0)]
    clock.advance_to_next()
    assert clock.now() == 9.0
    clock.advance(timedelta(minutes=1))
    assert clock.now() == 69.0


def test_what_is_scheduled_within_the_span_runs_too() -> None:
    """What comes due may schedule more, which runs within the same span."""
    clock = VirtualClock()
    log: list[float] = []

    def again() -> None:
        log.append(clock.now())
        clock.call_at(clock.now() + 2, again)

    clock.call_at(1, again)
    clock.advance(6)
    assert log == [1.0, 3.0, 5.0]
    assert clock.next_due == 7.0


def test_a_cancelled_call_does_not_run_and_cancelling_late_does_nothing() -> None:
    """`cancel` takes a call back, also by one that is due at the same time."""
    clock = VirtualClock()
    log: list[str] = []

    def run() -> None:
        log.append("first")
        second.cancel()

    first = clock.call_at(1, run)
    second = clock.call_at(1, lambda: log.append("second"))
    clock.advance(2)
    first.cancel()
    second.cancel()
    assert log == ["first"]
    assert clock.next_due is None


def test_errors_are_raised_when_everything_has_run() -> None:
    """One error is raised itself, several in a group; everything due has run by then."""
    clock = VirtualClock()
    log: list[str] = []
    clock.call_at(1, fails(ValueError("one")))
    clock.call_at(2, lambda: log.append("ran"))
    with pytest.raises(ValueError, match="one"):
        clock.advance(3)
    assert (log, clock.now()) == (["ran"], 3.0)
    clock.call_at(4, fails(ValueError("two")))
    clock.call_at(5, fails(KeyError("three")))
    with pytest.raises(Exception, match="2 of the calls") as caught:
        clock.advance(3)
    group: Any = caught.value
    assert [type(one) for one in group.exceptions] == [ValueError, KeyError]
    clock.advance(1)


def test_a_nested_advance_is_refused() -> None:
    """What comes due cannot advance the clock; afterwards it advances again."""
    clock = VirtualClock()
    clock.call_at(1, lambda: clock.advance(1))
    with pytest.raises(ClockIsAdvancingError, match="is advancing already"):
        clock.advance(2)
    clock.call_at(3, clock.advance_to_next)
    with pytest.raises(ClockIsAdvancingError):
        clock.advance(2)
    clock.advance(1)
    assert clock.now() == 5.0


@pytest.mark.parametrize("span", [-1, float("inf"), float("nan"), "1", None, True])
def test_a_span_that_is_none(span: Any) -> None:
    """`advance` refuses what is no length of time."""
    with pytest.raises(DurationError, match=r"VirtualClock\.advance"):
        VirtualClock().advance(span)


def test_awaitables_are_awaited_in_order() -> None:
    """With a running loop each awaitable is awaited before the next call; errors come last."""
    clock = VirtualClock()
    log: list[Any] = []

    async def wait(name: str) -> None:
        await asyncio.sleep(0)
        log.append((name, clock.now()))
        if name == "b":
            message = "b failed"
            raise ValueError(message)

    for when, name in enumerate("abc", 1):
        clock.call_at(when, partial(wait, name))
    clock.call_at(2, lambda: log.append("sync"))

    async def main() -> None:
        with pytest.raises(ValueError, match="b failed"):
            await clock.advance(10)
        await clock.advance(1)

    asyncio.run(main())
    assert log == [("a", 1.0), ("b", 2.0), "sync", ("c", 3.0)]
    assert clock.now() == 11.0


def clock_threads() -> list[threading.Thread]:
    """Return the threads of system clocks."""
    return [one for one in threading.enumerate() if one.name.endswith(".SystemClock")]


def ends(thread: threading.Thread) -> bool:
    """Return whether a thread ends soon."""
    thread.join(1)
    return not thread.is_alive()


def test_the_thread_is_there_only_while_something_is_pending() -> None:
    """One daemon thread, only while something is pending; cancelling the last call ends it."""
    clock = SystemClock()
    before = clock_threads()
    handles = [clock.call_at(clock.now() + 1000, print) for _ in range(3)]
    (thread,) = [one for one in clock_threads() if one not in before]
    assert thread.daemon
    for handle in handles:
        handle.cancel()
    assert ends(thread)
    done = threading.Event()
    clock.call_at(clock.now(), done.set)
    assert done.wait(1)
    assert abs(clock.now() - time.monotonic()) < 1


def test_a_failure_in_the_thread_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In the thread a failure is logged at error level, and what follows runs."""
    clock = SystemClock()
    done = threading.Event()
    clock.call_at(clock.now(), fails(ValueError("in the thread")))
    clock.call_at(clock.now(), done.set)
    assert done.wait(1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("statemachines_orchestrator", logging.ERROR)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_thread_ends_no_other_call() -> None:
    """A call that ends the thread takes none with it: another thread makes those pending."""
    clock: Any = SystemClock()
    others = clock_threads()
    done = threading.Event()
    names: list[str] = []

    def note() -> None:
        names.append(threading.current_thread().name)
        done.set()

    with clock._agenda.lock:  # both are there when the thread looks
        clock.call_at(clock.now(), fails(SystemExit()))
        clock.call_at(clock.now() + 0.01, note)
    assert done.wait(5)
    done.clear()
    clock.call_at(clock.now(), fails(SystemExit()))
    assert all(ends(thread) for thread in clock_threads() if thread not in others)
    clock.call_at(clock.now(), note)
    assert done.wait(5)
    assert names == ["statemachines_orchestrator.SystemClock"] * 2


def test_each_of_several_loops_calls_what_was_scheduled_on_it() -> None:
    """In order of deadline, ties in order of scheduling, on the loop that was running."""
    clock: Any = SystemClock()
    log: list[Any] = []

    async def main(name: str) -> None:
        soon = clock.now() + 0.01
        clock.call_at(soon + 1000, print).cancel()
        for number, when in enumerate([soon + 0.01, soon, soon, soon - 1000]):
            clock.call_at(when, lambda number=number: log.append((name, number)))
        if name == "outer":
            await asyncio.to_thread(asyncio.run, main("inner"))
        while [one for one, _number in log].count(name) < 4:
            await asyncio.sleep(0.002)

    asyncio.run(main("outer"))
    for name in ("inner", "outer"):
        assert [number for one, number in log if one == name] == [3, 1, 2, 0]
    assert len(clock._loops) == 2
    log.clear()
    asyncio.run(main("third"))
    assert len(clock._loops) == 1


def test_on_a_loop_its_timer_and_its_handler(caplog: pytest.LogCaptureFixture) -> None:
    """On a running loop its timer calls; failures are logged and given to its handler."""
    clock = SystemClock()
    before = len(clock_threads())
    contexts: list[Any] = []

    async def wait() -> None:
        await asyncio.sleep(0)
        message = "async"
        raise ValueError(message)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, one: contexts.append(one))
        clock.call_at(clock.now(), fails(ValueError("sync")))
        clock.call_at(clock.now(), wait)
        clock.call_at(clock.now(), fails(ValueError("never"))).cancel()
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert [str(one["exception"]) for one in contexts] == ["sync", "async"]
    assert len(caplog.records) == 2
    assert len(clock_threads()) == before


def test_cancelled_calls_leave_no_residue_and_cost_is_logarithmic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cancelled entries are at most half; scheduling and cancelling compare log n times."""
    entry: Any = vars(_agenda)["Entry"]
    compare = entry.__lt__
    count = [0]

    def counted(one: Any, other: Any) -> bool:
        count[0] += 1
        return bool(compare(one, other))

    monkeypatch.setattr(entry, "__lt__", counted)
    clock: Any = VirtualClock()
    number = 10_000
    handles = [clock.call_at(number - at, print) for at in range(number)]
    assert count[0] < number * 20
    count[0] = 0
    for handle in handles[:-1]:
        handle.cancel()
        assert len(clock._agenda.heap) <= 2 * len(clock._agenda) + 1
    assert count[0] < number * 20
    handles[-1].cancel()
    assert len(clock._agenda.heap) == 0


def test_a_call_that_is_cancelled_while_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector may take a call back at any time, also while it is being taken."""
    entry: Any = vars(_agenda)["Entry"]
    compare = entry.__lt__
    clock: Any = VirtualClock()
    log: list[str] = []
    handles = [clock.call_at(1.0, partial(log.append, name)) for name in "abc"]

    def collected(one: Any, other: Any) -> bool:
        handles[0].cancel()
        return bool(compare(one, other))

    monkeypatch.setattr(entry, "__lt__", collected)
    clock.advance(1)
    assert log == ["b", "c"]
    assert (len(clock._agenda), clock._agenda.cancelled) == (0, 0)


def test_a_clock_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child process a clock begins with nothing pending, whoever held its lock."""
    clock: Any = SystemClock()
    monkeypatch.setattr(clocks, "_system_clocks", [clock])
    log: list[str] = []
    done = threading.Event()
    handle = clock._agenda.add(clock.now(), lambda: log.append("parent"))
    lock = clock._agenda.lock
    vars(clocks)["_forked"]()
    assert clock._agenda.lock is not lock
    handle.cancel()
    assert len(clock._agenda) == 0
    clock.call_at(clock.now(), done.set)
    assert done.wait(5)
    assert log == []


def test_two_advances_at_once_are_refused() -> None:
    """One `advance` is awaited after the other: a second one at once is refused, and loses none."""
    clock = VirtualClock()
    log: list[str] = []

    async def wait(name: str) -> None:
        await asyncio.sleep(0.001)
        log.append(name)

    clock.call_at(1, partial(wait, "a"))
    clock.call_at(2, partial(wait, "b"))

    async def main() -> None:
        results = await asyncio.gather(clock.advance(1), clock.advance(5), return_exceptions=True)
        assert [type(one) for one in results] == [type(None), ClockIsAdvancingError]
        assert log == ["a"]
        await clock.advance(5)

    asyncio.run(main())
    assert log == ["a", "b"]


def test_memory_of_a_pending_call() -> None:
    """A pending call takes less than 500 bytes."""
    clock = VirtualClock()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(5000):
            clock.call_at(at, print)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / 5000 < 500


PROGRAM = """
from statemachine import State, StateMachine
from statemachines_orchestrator import Orchestrator

class Lamp(StateMachine):
    off = State(initial=True)
    on = State(final=True)
    switch = off.to(on)

class Room(Orchestrator):
    lamp: Lamp

room = Room(Lamp())
for _ in range({posts}):
    room.post("lamp.switch", delay=1000)
"""


@pytest.mark.parametrize("posts", [1, 2, 3])
def test_a_program_ends_while_something_is_pending(posts: int) -> None:
    """Nobody waits for the clock's thread, which may be stopped with the clock's lock in hand."""
    program = [sys.executable, "-c", PROGRAM.format(posts=posts)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_at_the_end_of_a_program_nothing_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orchestrator that is dropped then leaves its clock alone."""
    program: dict[str, Any] = {}
    exec(PROGRAM.format(posts=1), program)  # noqa: S102 - it is the one above
    timers = place_of(program["room"]).timers
    with monkeypatch.context() as patched:
        patched.setattr(sys, "is_finalizing", lambda: True)
        timers.__del__()
    assert len(timers.pending()) == 1
    timers.__del__()
    assert timers.pending() == []
