"""The events that wait for a machine: the failure of one is its own.

The host clears its queue when an event raises, whoever has sent what waits there; on the async
engine of 3.x it answers all of them with that exception. Here an event takes along what its own
macrostep has queued, and nothing else. Where nobody waits for an event of his own (a sync machine,
or a busy async one of 2.x), a loop of the host ends with the event that it began with: so each
result and each exception is told apart from the next.

An event from outside is an origin; what is queued while it runs has the same one.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify
from importlib import import_module
from threading import Lock, get_ident
from time import time
from typing import Any, cast

from statemachines_orchestrator._frames import Payload
from statemachines_orchestrator._host import HOST_IS_3

_HostQueue: Any = import_module("statemachine.engines.base").EventQueue if HOST_IS_3 else deque
"""What an engine of the host has for the events that wait: 3.x a heap in a class of its own."""

__all__ = ["Inbox", "origin_of", "run_events", "run_events_async"]


_INITIAL = "__initial__"
"""The event with which an async machine enters its initial state, before the first one."""


def origin_of(trigger: Any) -> Any:
    """Return what identifies the event from outside that an event comes from, itself or another."""
    payload = trigger.kwargs
    return payload.own_origin() if type(payload) is Payload else None


class Inbox(_HostQueue):  # type: ignore[misc] # pyright: ignore[reportUntypedBaseClass]
    """The events that wait for one machine, in the place of the host's queue."""

    thread: int | None = None
    """The thread that runs a sync machine now."""
    begun: Any = None
    """The event that the loop which runs now has begun with; if `is_told` the last one taken."""

    def __init__(self, events: Any, *, is_async: bool) -> None:
        self.is_async = is_async
        self.is_told = is_async and HOST_IS_3
        """Whether the host tells everybody who waits for an event what came of it."""
        self.lock = Lock()
        """Held by who runs loops of the machine, where `is_told` is not; nobody waits for it."""
        self.host: Any = events
        if HOST_IS_3:
            self.queue = events.queue  # the very heap
        else:
            _HostQueue.__init__(self, events)

    @property
    def events(self) -> Any:
        """What waits: a heap on 3.x, and not always the same list."""
        return cast("Any", self.queue.queue if HOST_IS_3 else self)

    def handed_back(self) -> Any:
        """Return the host's queue, with what waits."""
        return self.host if HOST_IS_3 else deque[Any](self)

    def take_out(self, payload: Any) -> None:
        """Take an event out that has not been taken yet."""
        events = self.events
        for at in [at for at, one in enumerate(tuple(events)) if one.kwargs is payload]:
            del events[at]
        if HOST_IS_3:
            heapify(events)

    def take_all(self) -> list[Any]:
        """Take out all that waits."""
        waiting = list(self.events)
        for trigger in waiting:
            self.take_out(trigger.kwargs)
        return waiting

    def origin_at(self, frame: Any) -> Any:
        """Return the origin of what is queued at a frame, `None` if the machine runs nothing there.

        In a sync machine that is known by the thread, in an async one by the step that is there.
        """
        begun = self.begun
        if begun is None:
            return None
        if not self.is_async:
            return origin_of(begun) if self.thread == get_ident() else None
        origin = frame.own_origin() if type(frame) is Payload else None
        return origin if origin is origin_of(begun) else None

    def _ends(self, first: Any) -> bool:
        """Whether the loop has done what it began with, if this is the event that comes next."""
        begun = self.begun
        if begun is None or self.is_told or begun.event == _INITIAL:
            return False
        return origin_of(first) is not origin_of(begun)

    def _taken(self, trigger: Any) -> Any:
        """Note what a loop takes."""
        begun = self.begun
        if begun is None or self.is_told or begun.event == _INITIAL:
            self.begun = trigger
        return trigger

    def _is_own(self, trigger: Any) -> bool:
        """Whether an event goes down with what the loop runs.

        All do where the machine could not even enter its initial state.
        """
        begun = self.begun
        if begun is None:  # nothing was taken
            return self.is_told
        return begun.event == _INITIAL or origin_of(trigger) is origin_of(begun)

    # 3.x ------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether the loop has nothing more to take."""
        heap = self.queue.queue
        if not heap:
            return True
        if getattr(heap[0], "cancelled", False) and _HostQueue.is_empty(self):
            return True
        return self.begun is not None and self._ends(heap[0])

    if HOST_IS_3:

        def __len__(self) -> int:
            return len(self.queue.queue)

        def pop(self) -> Any:
            """Take the next event; before 3.2 the host puts it back if its time has not come."""
            trigger = _HostQueue.pop(self)
            return trigger if trigger.execution_time > time() else self._taken(trigger)

    def pop_due(self, now: float) -> Any:
        """Take the next event, if its time has come: from 3.2 on."""
        trigger = _HostQueue.pop_due(self, now)
        if trigger is not None and self.begun is None:  # as in _taken, for most events
            self.begun = trigger
            return trigger
        return None if trigger is None else self._taken(trigger)

    def reject_futures(self, exc: Exception) -> None:
        """Answer those who wait for what goes down with what the loop runs."""
        with self.queue.mutex:
            futures = [trigger.future for trigger in self.queue.queue if self._is_own(trigger)]
        for future in [one for one in futures if one is not None and not one.done()]:
            future.set_exception(exc)

    # 2.x ------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return len(self) > 0 and (self.begun is None or not self._ends(self[0]))

    def popleft(self) -> Any:
        """Take the next event."""
        trigger = _HostQueue.popleft(self)
        if self.begun is None:  # as in _taken, for most events
            self.begun = trigger
            return trigger
        return self._taken(trigger)

    # Both -----------------------------------------------------------------------------------

    def clear(self) -> None:
        """Drop what goes down with what the loop runs, and nothing else."""
        if HOST_IS_3:
            with self.queue.mutex:
                heap = self.queue.queue
                heap[:] = [trigger for trigger in heap if not self._is_own(trigger)]
                heapify(heap)
            return
        for at in reversed(range(len(self))):  # what comes meanwhile comes behind
            if self._is_own(self[at]):
                del self[at]


def run_events(seam: Any, holder: Any) -> Any:
    """Run a sync machine to rest; return the result of the event that was just put, or raise.

    What raises of other events is a failure of the cascade of `holder`.
    """
    inbox, thread = seam.inbox, get_ident()
    mine = seam.mine.pop(thread, None)
    if not inbox.lock.acquire(blocking=False):  # who runs the machine takes the event
        return seam.host_loop() if inbox.thread == thread else None
    begun, result, error = _loop(seam, thread)
    is_mine = begun is None or mine is None or begun.kwargs is mine
    if is_mine and error is None and not (inbox.queue.queue if HOST_IS_3 else len(inbox)):
        return result  # the way of most events
    run = _Run(seam, mine, holder)
    run.note(begun, result, error)
    while run.goes_on(begun) and inbox.lock.acquire(blocking=False):
        begun, result, error = _loop(seam, thread)
        run.note(begun, result, error)
    return run.outcome()


def _loop(seam: Any, thread: int) -> tuple[Any, Any, Exception | None]:
    """Run one loop of the host, the lock in hand: what it began with, its result, its exception."""
    inbox = seam.inbox
    error = result = None
    try:
        inbox.thread = thread
        result = seam.host_loop()
    except Exception as raised:  # noqa: BLE001 - it is told whose it is
        error = raised
    finally:
        begun, inbox.begun, inbox.thread = inbox.begun, None, None
        inbox.lock.release()
    return begun, result, error


class _Run:
    """What came of the events that one call has run."""

    def __init__(self, seam: Any, mine: Any, holder: Any) -> None:
        self.seam = seam
        self.mine = mine
        self.holder = holder
        self.result: Any = None
        self.has_result = False
        self.error: Exception | None = None

    def _is_mine(self, begun: Any) -> bool:
        if begun is None or self.mine is None or begun.event == _INITIAL:
            return True
        return origin_of(begun) is self.mine

    def note(self, begun: Any, result: Any, error: Exception | None) -> None:
        """Note what came of a loop, by the event that it began with.

        The result and the exception of the caller's event are kept for the end. The exception of
        another is told, for who sent that one waits no more.
        """
        is_mine = self._is_mine(begun)
        if error is None:
            if begun is not None and is_mine and not self.has_result:
                self.result, self.has_result = result, True
            return
        if begun is None:  # nothing was taken: what waits cannot be taken at all
            others = [one for one in self.seam.inbox.take_all() if origin_of(one) is not self.mine]
            for trigger in others:
                self._lost(trigger, error)
            self.error = self.error or error
        elif is_mine and self.error is None:
            self.error = error
        else:
            self._lost(begun, error)

    def _lost(self, trigger: Any, error: Exception) -> None:
        self.seam.runner.lost(self.seam, self.holder, trigger, error)

    def goes_on(self, begun: Any) -> bool:
        """Whether something waits that nobody else takes."""
        return self.seam.is_free() and begun is not None and len(self.seam.inbox) > 0

    def outcome(self) -> Any:
        """Return the result of the caller's event, or raise its exception."""
        error, self.error = self.error, None
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error  # it holds this frame


async def run_events_async(seam: Any, mine: Any, args: tuple[Any, ...], holder: Any) -> Any:
    """Run an async machine to rest, as `run_events` does."""
    if seam.inbox.is_told:
        return await _run_told(seam, mine, args, holder)
    inbox, run = seam.inbox, _Run(seam, mine, holder)
    while inbox.lock.acquire(blocking=False):
        error = result = None
        try:
            result = await seam.host_loop(*args)
        except Exception as raised:  # noqa: BLE001 - it is told whose it is
            error = raised
        finally:
            begun, inbox.begun = inbox.begun, None
            inbox.lock.release()
        run.note(begun, result, error)
        if not run.goes_on(begun):
            break
    return run.outcome()


async def _run_told(seam: Any, mine: Any, args: tuple[Any, ...], holder: Any) -> Any:
    """Run the loop for a caller who waits, and then what it has left: a failure has ended it."""
    try:
        result = await seam.host_loop(*args)
    except Exception as error:
        failed = seam.inbox.begun
        if failed is None or origin_of(failed) is mine or not _has_result(args):
            await _run_left(seam, holder)
            raise
        seam.runner.lost(seam, holder, failed, error)
        result = args[0].result()
    if len(seam.inbox):
        await _run_left(seam, holder)
    return result


def _has_result(args: tuple[Any, ...]) -> bool:
    """Whether the caller's own event has been answered, and well."""
    future: Any = args[0] if args else None
    return future is not None and future.done() and not (future.cancelled() or future.exception())


async def _run_left(seam: Any, holder: Any) -> None:
    head = None
    while (trigger := seam.stranded()) is not None and trigger is not head:
        head = trigger
        try:
            await seam.host_loop()
        except Exception as error:  # noqa: BLE001 - it is told whose it is
            failed = seam.inbox.begun
            if failed.future is None or not failed.future.done():
                seam.runner.lost(seam, holder, failed, error)
