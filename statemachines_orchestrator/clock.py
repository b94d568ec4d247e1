"""Clocks: what tells the time, and calls back when it has come.

Seconds, as floats, everywhere. A clock has two methods, `now` and `call_at`: any object that has
them will do. `SystemClock` is the real time; a `VirtualClock` stands still until it is advanced.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from contextvars import Context
from datetime import timedelta
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from statemachines_orchestrator._agenda import Agenda
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.exceptions import ClockIsAdvancingError, DurationError

if sys.version_info < (3, 11):  # pragma: no cover - the other branch runs on newer Pythons
    from exceptiongroup import ExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator

__all__ = [
    "Clock",
    "Handle",
    "SystemClock",
    "VirtualClock",
    "check_duration",
    "is_clock",
    "span_of",
    "system_clock",
]

_system_clocks: WeakSet[SystemClock] = WeakSet()
"""All there are, to be told of a fork."""
logger = logging.getLogger("statemachines_orchestrator")


class Handle(Protocol):
    """What `call_at` returns."""

    def cancel(self) -> object:
        """Take the call back; when it has been made it is too late, and nothing happens."""


class Clock(Protocol):
    """Tells the time, and calls back."""

    def now(self) -> float:
        """Return the time in seconds, since a beginning of the clock's own; it never goes back."""
        ...

    def call_at(self, when: float, function: Callable[[], Any], /) -> Handle:
        """Call `function` once when the time is `when`, or as soon as possible after that.

        It may return an awaitable, if an event loop is running. What it raises has no caller: it is
        for the clock to tell.
        """
        ...


class _Done:
    """What a sync call returns that may be awaited, and need not be."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class VirtualClock:
    """A clock that stands still until it is advanced: for tests, and to look ahead.

    It starts at 0.0. Not for several threads.
    """

    def __init__(self) -> None:
        self._agenda = Agenda()
        self._now = 0.0
        self._advances = False
        self._left: Awaitable[Any] | None = None
        """What came due and was to be awaited, of a call that never was."""
        self._errors: list[Exception] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a clock of the same time, on which nothing is pending."""
        return _standing_at, (self._now,)

    def now(self) -> float:
        """Return the seconds that it was advanced until now."""
        return self._now

    def call_at(self, when: float, function: Callable[[], Any], /) -> Handle:
        """Call `function` when the clock is advanced to `when`, or further."""
        return self._agenda.add(max(when, self._now), function)

    @property
    def next_due(self) -> float | None:
        """The time at which the next call is due, `None` if none is."""
        return self._agenda.due()

    def advance(self, seconds: float | timedelta) -> Awaitable[None]:
        """Let time pass, so many seconds or a `timedelta`, and run everything that comes due.

        In order of deadline, ties in order of scheduling, each at its own time, what they schedule
        within the span included. Where something async comes due in a running event loop, what
        this returns must be awaited: `await clock.advance(5)`. Elsewhere all is done on return.

        Everything due runs, whatever fails; then the exception is raised, or several of them in an
        `ExceptionGroup`. What a call left behind that was never awaited, or was cancelled, comes
        due with the next one. Raises `DurationError` for a span that is no length of time, and
        `ClockIsAdvancingError` if called by what came due, or while another task advances it.
        """
        return self._run(self._now + check_duration("VirtualClock.advance", seconds))

    def advance_to_next(self) -> Awaitable[None]:
        """Let time pass until the next deadline, and run what is due then; `advance` tells how.

        Where nothing is due, no time passes.
        """
        when = self._agenda.due()
        return self._run(self._now if when is None else when)

    def stand_at(self, when: float) -> None:
        """Let it be another time, and run nothing. It is for those who choose what is next."""
        self._now = when

    def _run(self, until: float) -> Awaitable[None]:
        if self._advances:
            raise ClockIsAdvancingError(self._now)
        self._advances = True
        try:
            for function in self._due(until) if self._left is None else ():
                try:
                    result = function()
                except Exception as error:  # noqa: BLE001 - raised when all is done
                    self._errors.append(error)
                    continue
                if isawaitable(result):
                    self._left = result
                    break
        finally:
            self._advances = False
        if self._left is not None:
            return self._advance_and_await(until)
        self._end(until)
        return _Done()

    async def _advance_and_await(self, until: float) -> None:
        """Await what came due, and everything that comes after it."""
        if self._advances:
            raise ClockIsAdvancingError(self._now)
        self._advances = True
        left, self._left = self._left, None
        try:
            await _kept(left, self._errors)
            for function in self._due(until):
                await _kept(function, self._errors)
        finally:
            self._advances = False
        self._end(until)

    def _due(self, until: float) -> Iterator[Callable[[], Any]]:
        """Yield what comes due, each at its own time."""
        while (taken := self._agenda.take(until)) is not None:
            self._now, function = taken
            yield function

    def _end(self, until: float) -> None:
        self._now = max(self._now, until)
        errors, self._errors = self._errors, []
        if len(errors) == 1:
            raise errors[0]
        if errors:
            message = f"{len(errors)} of the calls that came due failed"
            raise ExceptionGroup(message, errors)


def _standing_at(now: float) -> VirtualClock:
    """Return a clock that was advanced so far."""
    clock = VirtualClock()
    clock.advance(now)
    return clock


async def _kept(what: Any, errors: list[Exception]) -> None:
    """Call, await, and keep what fails."""
    try:
        result = what() if callable(what) else what
        if isawaitable(result):
            await result
    except Exception as error:  # noqa: BLE001 - raised when all is done
        errors.append(error)


class SystemClock:
    """The real time: monotonic, in seconds.

    In a running event loop it calls back on that loop, which has one timer of it, the next.
    Elsewhere it calls back in one daemon thread of the clock, which is there only while something
    is pending. In order of deadline, ties in order of scheduling, for each loop and for the thread.
    What fails is logged at error level by the logger `statemachines_orchestrator`, and given to
    the exception handler of the event loop. What is pending on a loop that is closed is lost.
    A process that was forked begins with nothing pending: `os.fork` takes no thread along.
    A copy has nothing pending either.
    """

    def __init__(self) -> None:
        self._agenda = Agenda()
        self._thread: threading.Thread | None = None
        self._loops: dict[asyncio.AbstractEventLoop, _OnLoop] = {}
        _system_clocks.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a clock on which nothing is pending."""
        return SystemClock, ()

    def forked(self) -> None:
        """Begin anew in a child process, which has none of the threads."""
        self._agenda.forget()
        self._thread = None
        self._loops.clear()

    def now(self) -> float:
        """Return the seconds of the monotonic clock."""
        return time.monotonic()

    def call_at(self, when: float, function: Callable[[], Any], /) -> Handle:
        """Call `function` at a time, on the running event loop or else in the clock's thread."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.call_in_thread(when, function)
        try:
            on_loop = self._loops[loop]
        except KeyError:
            for known in list(self._loops):
                if known.is_closed():
                    self._loops.pop(known, None)
            on_loop = self._loops[loop] = _OnLoop(loop)
        return on_loop.call_at(when, function)

    # In a thread --------------------------------------------------------------------------

    def call_in_thread(self, when: float, function: Callable[[], Any], /) -> Handle:
        """Call `function` at a time in the clock's thread, also where an event loop is running."""
        with self._agenda.lock:
            if self._thread is None:
                self._start()
            return self._agenda.add(when, function)

    def _start(self) -> None:
        name = "statemachines_orchestrator.SystemClock"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        self._thread = thread  # not before: if it cannot start, the next call tries again

    def _run(self) -> None:
        """Call what comes due, until nothing is pending."""
        try:
            while (function := self._wait()) is not None:
                try:
                    Context().run(function)
                except Exception as error:  # noqa: BLE001 - there is no caller
                    _report(error, None)
        except BaseException:
            with self._agenda.lock:  # the thread ends; what is pending gets another one
                self._thread = None
                if self._agenda:
                    self._start()
            raise

    def _wait(self) -> Callable[[], Any] | None:
        """Wait for the next call; `None`, and the thread is given up, if nothing is pending."""
        with self._agenda.lock:
            while True:
                taken = self._agenda.take(self.now())
                if taken is not None:
                    return taken[1]
                when = self._agenda.due()
                if when is None:
                    self._thread = None
                    return None
                self._agenda.lock.wait(min(when - self.now(), threading.TIMEOUT_MAX))


class _OnLoop:
    """What is due on one event loop. The loop has one timer, for the next call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.agenda = Agenda()
        self.timer: asyncio.TimerHandle | None = None
        self.timed_at: float | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """What the loop runs; it holds its tasks weakly."""

    def call_at(self, when: float, function: Callable[[], Any]) -> Handle:
        """Call `function` at a time."""
        entry = self.agenda.add(when, function)
        self.arm()
        return entry

    def arm(self) -> None:
        """Let the loop call when the next call is due."""
        when = self.agenda.due()
        if when is None or when == self.timed_at:
            return
        if self.timer is not None:
            self.timer.cancel()
        wait = max(0.0, when - time.monotonic())
        # In a context of its own: that of who set the timer would be kept alive with it.
        self.timer = self.loop.call_later(wait, self.run, context=Context())
        self.timed_at = when

    def run(self) -> None:
        """Make the calls that are due."""
        self.timer = self.timed_at = None
        try:
            until = time.monotonic()
            while (taken := self.agenda.take(until)) is not None:
                self.call(taken[1])
        finally:
            self.arm()

    def call(self, function: Callable[[], Any]) -> None:
        """Make a call, in a context of its own; let the loop run what must be awaited."""
        context = Context()
        try:
            result = context.run(function)
        except Exception as error:  # noqa: BLE001 - there is no caller
            _report(error, self.loop)
            return
        if isawaitable(result):
            task: asyncio.Task[None] = context.run(self.loop.create_task, self.wait(result))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def wait(self, awaitable: Awaitable[Any]) -> None:
        """Await what a call returned."""
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001 - there is no caller
            _report(error, self.loop)


def _report(error: Exception, loop: asyncio.AbstractEventLoop | None) -> None:
    """Tell of a failure for which there is no caller."""
    logger.error("what came due failed: %s", error, exc_info=error)
    if loop is not None:
        message = "what came due failed, and nobody waits for it"
        loop.call_exception_handler({"message": message, "exception": error})


def is_clock(value: Any) -> bool:
    """Whether a value has the two methods of a clock; a class is none."""
    if isinstance(value, type):
        return False
    return callable(getattr(value, "now", None)) and callable(getattr(value, "call_at", None))


def check_duration(where: str, seconds: Any) -> float:
    """Return a length of time in seconds, from 0.0 on; raise `DurationError` for anything else."""
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (is_number and 0 <= seconds < sys.float_info.max):
        raise DurationError(where, shown(seconds))
    return float(seconds)


def span_of(where: str, seconds: Any) -> float:
    """Return the length of a timeout in seconds, greater than 0.0."""
    span = check_duration(where, seconds)
    if not span:
        raise DurationError(where, shown(seconds))
    return span


def _forked() -> None:
    for clock in list(_system_clocks):
        clock.forked()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_forked)
_system_clock = SystemClock()


def system_clock() -> SystemClock:
    """Return the clock of all orchestrators that were given no other one."""
    return _system_clock
