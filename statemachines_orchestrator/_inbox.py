"""The events that wait for a machine: the failure of one is its own.

The host clears its queue when an event raises, whoever has sent what waits there; on the async
engine of 3.x it answers all of them with that exception. Here an event takes along what its own
macrostep has queued, and nothing else. That is abandoned, and when a call is stopped by a
`BaseException` so is all that waits, unless somebody waits for an answer, who takes the rest over.
Where nobody waits for an event of his own (a sync machine, or a busy async one of 2.x), a loop of
the host ends with the event that it began with: so each result and each exception is told apart
from the next.

An event from outside is an origin; what is queued while it runs has the same one.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify
from importlib import import_module
from threading import get_ident
from time import time
from typing import TYPE_CHECKING, Any, cast

from statemachine.exceptions import StateMachineError

from statemachines_orchestrator._answers import Answer, Turnstile, is_waiting
from statemachines_orchestrator._frames import Payload
from statemachines_orchestrator._host import HOST_IS_3

if TYPE_CHECKING:
    from collections.abc import Callable

_HostQueue: Any = import_module("statemachine.engines.base").EventQueue if HOST_IS_3 else deque
"""What an engine of the host has for the events that wait: 3.x a heap in a class of its own."""

__all__ = ["Inbox", "Raised", "origin_of", "run_events", "run_events_async"]


_INITIAL = "__initial__"
"""The event with which an async machine enters its initial state, before the first one."""
_INTERRUPTED = "The task that ran the machine was stopped in the middle of this event."


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

    rejected: Exception | None = None
    """What an event raised for which callers on 3.x were told to wait no more."""

    def __init__(self, events: Any, seam: Any) -> None:
        self.seam = seam
        self.is_async: bool = seam.is_async
        self.is_told = self.is_async and HOST_IS_3
        """Whether the host tells everybody who waits for an event what came of it."""
        self.turnstile = Turnstile()
        """Passed by who runs loops of the machine."""
        self.lock = self.turnstile.lock
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

    def take(self, is_wanted: Callable[[Any], bool]) -> list[Any]:
        """Take events out that have not been taken yet; return them in their order."""
        if not HOST_IS_3:
            return self._take_from_deque(is_wanted)
        with self.queue.mutex:
            heap = self.queue.queue
            taken = [trigger for trigger in heap if is_wanted(trigger)]
            heap[:] = [trigger for trigger in heap if not is_wanted(trigger)]
            heapify(heap)
        return sorted(taken)

    def _take_from_deque(self, is_wanted: Callable[[Any], bool]) -> list[Any]:
        taken: list[Any] = []
        for at in reversed(range(len(self))):  # what comes meanwhile comes behind
            if is_wanted(self[at]):
                taken.append(self[at])
                del self[at]
        return taken[::-1]

    def take_out(self, payload: Any) -> None:
        """Take one event out, if it is still there."""
        self.take(lambda trigger: trigger.kwargs is payload)

    def take_all(self) -> list[Any]:
        """Take out all that waits, but not the entry into the initial state."""
        return self.take(lambda trigger: trigger.event != _INITIAL)

    def stop(self) -> None:
        """Abandon what will not run, as the call that runs the machine was stopped.

        That is what its step has queued; and all, if nobody waits who would take it over.
        """
        if not self.seam.publishers:  # it is the host's again
            return
        begun: Any = self.begun
        if self.is_told and begun is not None and is_waiting(begun.future):
            begun.future.set_exception(StateMachineError(_INTERRUPTED))  # as the host does from 3.2
        if not self.is_waited_for():
            self.abandon_all()
        elif begun is not None and not _is_good(begun.future):  # else it waits for a delayed event
            origin = origin_of(begun)
            self._abandon(self.take(lambda trigger: origin_of(trigger) is origin))
        if HOST_IS_3:
            self.seam.raised.clear()

    def abandon_all(self) -> bool:
        """Abandon all that waits; return whether something did."""
        waiting = self.take_all()
        self._abandon(waiting)
        return bool(waiting)

    def _abandon(self, triggers: list[Any]) -> None:
        self.seam.runner.abandoned(self.seam, triggers)

    def is_waited_for(self) -> bool:
        """Whether somebody waits who runs the machine if nobody else does."""
        return self.is_told and any(is_waiting(one.future) for one in tuple(self.events))

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

        def put(self, trigger: Any) -> None:
            """Queue an event; its caller, if there is one who can wait, waits for an `Answer`."""
            future = trigger.future
            if future is not None and type(future) is not Answer:
                trigger.future = Answer(future.get_loop(), trigger.kwargs)
            self.queue.put(trigger)

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
        self.rejected = exc
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
        self._abandon(self.take(self._is_own))


class Raised(_HostQueue):  # type: ignore[misc] # pyright: ignore[reportUntypedBaseClass]
    """The events that a machine of 3.x raises for its own macrostep."""

    def __init__(self, events: Any, seam: Any) -> None:
        self.host = events
        self.queue = events.queue
        self.seam = seam

    def clear(self) -> None:
        """Abandon them: the macrostep has failed, or was stopped."""
        self.seam.runner.abandoned(self.seam, self.take_all())

    def take_all(self) -> list[Any]:
        """Take out all of them, in their order."""
        with self.queue.mutex:
            waiting = sorted(self.queue.queue)
            self.queue.queue.clear()
        return waiting


def run_events(seam: Any, holder: Any) -> Any:
    """Run a sync machine to rest; return the result of the event that was just put, or raise.

    What raises of other events is a failure of the cascade of `holder`.
    """
    inbox, thread = seam.inbox, get_ident()
    mine = seam.mine.pop(thread, None)
    if not inbox.lock.acquire(blocking=False):  # who runs the machine takes the event
        return seam.host_loop() if inbox.thread == thread else None
    try:
        begun, result, error = _loop(seam, thread)
        is_mine = begun is None or mine is None or begun.kwargs is mine
        if is_mine and error is None and not (inbox.queue.queue if HOST_IS_3 else len(inbox)):
            return result  # the way of most events
        run = _Run(seam, mine, holder)
        run.note(begun, result, error)
        while run.goes_on(begun) and inbox.lock.acquire(blocking=False):
            begun, result, error = _loop(seam, thread)
            run.note(begun, result, error)
    except BaseException:
        _give_up(seam)
        raise
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
    except BaseException:
        inbox.stop()
        raise
    finally:
        begun, inbox.begun, inbox.thread = inbox.begun, None, None
        inbox.lock.release()
    return begun, result, error


def _give_up(seam: Any) -> None:
    """Abandon what has come for a call that was stopped, or for whom nobody waits any more."""
    inbox = seam.inbox
    while len(inbox) and seam.is_free() and not inbox.is_waited_for() and inbox.turnstile.enter():
        try:
            has_taken = seam.publishers and inbox.abandon_all()
        finally:
            inbox.turnstile.leave()
        if not has_taken:
            break


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
    try:
        if seam.inbox.is_told:
            return await _run_told(seam, mine, args, holder)
        run = _Run(seam, mine, holder)
        while seam.inbox.turnstile.enter():
            begun, result, error = await _loop_async(seam, args)
            run.note(begun, result, error)
            if not run.goes_on(begun):
                break
    except BaseException as stopped:
        if not isinstance(stopped, Exception):
            _give_up(seam)
        raise
    return run.outcome()


async def _loop_async(seam: Any, args: tuple[Any, ...] = ()) -> tuple[Any, Any, Exception | None]:
    """Run one loop of the host, through the turnstile: as `_loop` does."""
    inbox = seam.inbox
    error = result = None
    try:
        result = await seam.host_loop(*args)
    except Exception as raised:  # noqa: BLE001 - it is told whose it is
        error = raised
    except BaseException:
        if args and args[0] is not None:
            args[0].cancel()  # its caller is stopped here
        inbox.stop()
        raise
    finally:
        begun, inbox.begun = inbox.begun, None
        rejected, inbox.rejected = inbox.rejected, None
        inbox.turnstile.leave()
    if error is None and rejected is not None and begun is not None and not _is_told(begun):
        error = rejected  # before 3.2 the host keeps it to itself
    return begun, result, error


async def _run_told(seam: Any, mine: Any, args: tuple[Any, ...], holder: Any) -> Any:
    """Run the loop for a caller who waits, and then what it has left: a failure has ended it."""
    answer: Any = next(iter(args), None)
    turnstile = seam.inbox.turnstile
    if not turnstile.enter():
        if answer is None:  # who runs the machine takes the event
            return None
        if not await turnstile.wait(answer):
            return answer.result()
    if answer is not None and answer.is_given:  # it arrives from another thread
        turnstile.leave()
        return await answer
    begun, result, error = await _loop_async(seam, args)
    is_another = begun is not None and origin_of(begun) is not mine
    if error is not None and is_another and _is_good(answer):
        seam.runner.lost(seam, holder, begun, error)
        result, error = args[0].result(), None
    if len(seam.inbox):
        await _run_left(seam, holder)
    if error is None:
        return result
    try:
        raise error
    finally:
        del error  # it holds this frame


def _is_good(answer: Any) -> bool:
    """Whether an event has been answered, and well."""
    if answer is None or not answer.done() or answer.cancelled():
        return False
    return answer.exception() is None


async def _run_left(seam: Any, holder: Any) -> None:
    head = None
    while (trigger := seam.stranded()) not in (None, head) and seam.inbox.turnstile.enter():
        head = trigger
        begun, _result, error = await _loop_async(seam)
        failed = begun or trigger  # where nothing could be taken at all
        if error is not None and not _is_told(failed):
            seam.runner.lost(seam, holder, failed, error)


def _is_told(begun: Any) -> bool:
    """Whether somebody who waits was told what came of an event."""
    future = begun.future
    return future is not None and not future.cancelled() and (future.done() or future.is_given)
