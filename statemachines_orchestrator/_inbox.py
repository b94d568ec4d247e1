"""The events that wait for a machine: the failure of one is its own.

The host clears its queue when an event raises, whoever has sent what waits there; on the async
engine of 3.x it answers all of them with that exception. Here an event takes along what its own
macrostep has queued, and nothing else. That is abandoned, and when a call is stopped by a
`BaseException` so is all that waits, unless somebody waits for an answer, who takes the rest over.

An event from outside is an origin; what is queued while it runs has the same one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from heapq import heapify, heappush
from importlib import import_module
from threading import get_ident
from time import time
from typing import TYPE_CHECKING, Any, cast

from statemachine.exceptions import StateMachineError

from statemachines_orchestrator._answers import Answer, Turnstile, is_good, is_waiting
from statemachines_orchestrator._frames import Payload
from statemachines_orchestrator._host import HOST_IS_3

if TYPE_CHECKING:
    from collections.abc import Callable

_HostQueue: Any = import_module("statemachine.engines.base").EventQueue if HOST_IS_3 else deque
"""What an engine of the host has for the events that wait: 3.x a heap in a class of its own."""

__all__ = ["INITIAL", "Inbox", "Raised", "is_awaited", "origin_of"]


INITIAL = "__initial__"
"""The event with which an async machine enters its initial state, before the first one."""
_INTERRUPTED = "The task that ran the machine was stopped in the middle of this event."


def origin_of(trigger: Any) -> Any:
    """Return what identifies the event from outside that an event comes from, itself or another."""
    payload = trigger.kwargs
    return payload.own_origin() if type(payload) is Payload else None


def is_awaited(trigger: Any) -> bool:
    """Whether somebody waits, or may begin to, for an event in the queue of an async machine."""
    payload = trigger.kwargs
    if trigger.event == INITIAL:
        return False
    if type(payload) is Payload and payload.call is not None:
        return bool(payload.call.is_waited_for)
    if type(payload) is Payload and payload.coroutine is not None:
        coroutine = payload.coroutine()
        return coroutine is not None and coroutine.cr_frame is not None
    future = getattr(trigger, "future", None)
    return future is None or not future.done()


def _is_raised(trigger: Any) -> bool:
    """Whether an event was raised for the macrostep that runs."""
    return bool(getattr(trigger.event, "internal", False))


class Inbox(_HostQueue):  # type: ignore[misc] # pyright: ignore[reportUntypedBaseClass]
    """The events that wait for one machine, in the place of the host's queue."""

    thread: int | None = None
    """The thread that runs a sync machine now."""
    begun: Any = None
    """The event that the loop which runs now has begun with; if `is_told` the last one taken."""
    last: Any = None
    """The event that was taken last, as long as nothing has come of it."""

    def __init__(self, events: Any, seam: Any) -> None:
        self.seam = seam
        self.is_async: bool = seam.is_async
        self.is_told = self.is_async and HOST_IS_3
        """Whether the host tells everybody who waits for an event what came of it."""
        self.turnstile = Turnstile()
        """Passed by who runs loops of the machine."""
        self.lock = self.turnstile.lock
        self.host: Any = events
        self.late: Any = () if HOST_IS_3 else events
        """The host's deque of 2.x: another thread may just be about to put an event there."""
        self.is_handed_back = False
        if not HOST_IS_3:
            _HostQueue.__init__(self)
            return
        self.queue = events.queue  # the very heap
        self.put = self._put_answered if self.is_async else self._put

    @property
    def events(self) -> Any:
        """What waits: a heap on 3.x, and not always the same list."""
        return cast("Any", self.queue.queue if HOST_IS_3 else self)

    def is_idle(self) -> bool:
        """Whether nothing waits; before 3.2.2 a loop that fails leaves what its steps raised."""
        raised = self.seam.raised
        return not (len(self) or (raised is not None and raised.queue.queue))

    def is_run(self) -> bool:
        """Whether a thread runs a sync machine: one loop of the host, or one after the other."""
        return self.thread is not None

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
        return self.take(lambda trigger: trigger.event != INITIAL)

    def stop(self, mine: Any) -> None:
        """Abandon what will not run, as the call that runs the machine was stopped.

        That is the event in mid-step, if it is not the call's own and nobody waits for it; what
        this step has queued; and all, if nobody waits who would take it over.
        """
        if not self.seam.publishers:  # it is the host's again
            return
        last, begun = self.last, self.begun
        if self.is_told and begun is not None and begun.kwargs is not mine:
            self._interrupt(begun)
        if last is not None and last.kwargs is not mine and last.event != INITIAL:
            self._abandon([last])
        if not self.is_waited_for():
            self.abandon_all()
        elif begun is not None and not is_good(begun.future):  # else it waits for a delayed event
            origin = origin_of(begun)
            self._abandon(self.take(lambda trigger: origin_of(trigger) is origin))
        if HOST_IS_3:
            self.seam.raised.clear()

    def _interrupt(self, trigger: Any) -> None:
        """Tell who waits for an event that its step was stopped, as the host does from 3.2.2 on."""
        if trigger.event != INITIAL and is_waiting(trigger.future):
            trigger.future.set_exception(StateMachineError(_INTERRUPTED))

    def abandon_all(self) -> bool:
        """Abandon all that waits; return whether something did."""
        waiting = self.take_all()
        self._abandon(waiting)
        return bool(waiting)

    def _abandon(self, triggers: list[Any]) -> None:
        self.seam.runner.abandoned(self.seam, triggers)

    def answer_to(self, mine: Any) -> Any:
        """Return an answer for who has not waited for one so far, `None` if his event is gone."""
        for trigger in tuple(self.events):
            if trigger.kwargs is mine:
                trigger.future = Answer(asyncio.get_running_loop(), mine)
                return trigger.future
        return None

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

    def ends(self, first: Any) -> bool:
        """Whether the loop has done what it began with, if this is the event that comes next."""
        begun = self.begun
        if begun is None or self.is_told or begun.event == INITIAL:
            return False
        return origin_of(first) is not origin_of(begun)

    def taken(self, trigger: Any) -> Any:
        """Note what a loop takes."""
        begun = self.begun
        if begun is None or self.is_told or begun.event == INITIAL or _is_raised(begun):
            self.begun = trigger
        self.last = trigger
        return trigger

    def _is_own(self, trigger: Any) -> bool:
        """Whether an event goes down with what the loop runs.

        All do where the machine could not even enter its initial state.
        """
        begun = self.begun
        if begun is None:  # nothing was taken
            return self.is_told
        return begun.event == INITIAL or origin_of(trigger) is origin_of(begun)

    # 3.x ------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether the loop has nothing more to take."""
        heap = self.queue.queue
        if not heap:
            return True
        if getattr(heap[0], "cancelled", False) and _HostQueue.is_empty(self):
            return True
        return self.begun is not None and self.ends(heap[0])

    if HOST_IS_3:

        def __len__(self) -> int:
            return len(self.queue.queue)

        def _put(self, trigger: Any) -> None:
            """Queue an event. Nobody ever waits for the queue to be filled: nobody is told."""
            with self.queue.mutex:
                heappush(self.queue.queue, trigger)

        def _put_answered(self, trigger: Any) -> None:
            """Queue an event; its caller, if there is one who can wait, waits for an `Answer`."""
            future = trigger.future
            if future is not None and type(future) is not Answer:
                trigger.future = Answer(future.get_loop(), trigger.kwargs)
            self._put(trigger)

        def pop(self) -> Any:
            """Take the next event; before 3.2.2 the host puts it back if its time has not come."""
            trigger = _HostQueue.pop(self)
            if self.begun is not None and self.ends(trigger):
                trigger = self._exchanged(trigger)
            return trigger if trigger.execution_time > time() else self.taken(trigger)

    def _exchanged(self, trigger: Any) -> Any:
        """Put an event back that has come in front since `is_empty` was asked; take an own one.

        If another thread has cancelled that just now, it is taken after all: the host needs one.
        """
        self._put(trigger)
        own = next((one for one in sorted(self.events) if not self.ends(one)), trigger)
        self.take(lambda one: one is own)
        return own

    def pop_due(self, now: float) -> Any:
        """Take the next event, if its time has come: from 3.2.2 on."""
        trigger = _HostQueue.pop_due(self, now)
        if trigger is None:
            return None
        if self.begun is None:  # as in `taken`, for most events
            self.begun = self.last = trigger
            return trigger
        if self.ends(trigger):  # it has come in front since `is_empty` was asked
            self._put(trigger)
            return None
        return self.taken(trigger)

    def reject_futures(self, exc: Exception) -> None:
        """Answer those who wait for what goes down with what the loop runs."""
        with self.queue.mutex:
            futures = [trigger.future for trigger in self.queue.queue if self._is_own(trigger)]
        for future in [one for one in futures if one is not None and not one.done()]:
            future.set_exception(exc)

    # 2.x ------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Take what waits in the host's deque."""
        _move(self.late, self)

    def hand_back(self) -> None:
        """Let the host's deque have what waits here, now that the engine has it again."""
        self.is_handed_back = True
        if not HOST_IS_3:
            _move(self, self.host)

    def __bool__(self) -> bool:
        return len(self) > 0 and (self.begun is None or not self.ends(self[0]))

    def popleft(self) -> Any:
        """Take the next event."""
        trigger = _HostQueue.popleft(self)
        if self.begun is None:  # as in `taken`, for most events
            self.begun = self.last = trigger
            return trigger
        return self.taken(trigger)

    # Both -----------------------------------------------------------------------------------

    def clear(self) -> None:
        """Drop what goes down with what the loop runs, and nothing else."""
        self._abandon(self.take(self._is_own))


def _move(one: Any, other: Any) -> None:
    """Move all events from a deque to another; other threads may do the same, or put some in."""
    with suppress(IndexError):
        while True:
            other.append(deque[Any].popleft(one))


class Raised(_HostQueue):  # type: ignore[misc] # pyright: ignore[reportUntypedBaseClass]
    """The events that a machine of 3.x raises for its own macrostep."""

    def __init__(self, events: Any, seam: Any) -> None:
        self.host = events
        self.queue = events.queue
        self.seam = seam

    def is_empty(self) -> bool:
        """Whether there is none: that is asked twice an event."""
        return not self.queue.queue or bool(_HostQueue.is_empty(self))

    def clear(self) -> None:
        """Abandon them: the macrostep has failed, or was stopped."""
        self.seam.runner.abandoned(self.seam, self.take_all())

    def pop(self) -> Any:
        """Take the next event; a loop may begin with it, where one that failed has left it."""
        inbox = self.seam.inbox
        trigger = inbox.last = _HostQueue.pop(self)
        is_first = inbox.begun is None or _is_raised(inbox.begun)
        if is_first and type(trigger.kwargs) is Payload:
            inbox.begun = trigger
        return trigger

    def take_all(self) -> list[Any]:
        """Take out all of them, in their order."""
        with self.queue.mutex:
            waiting = sorted(self.queue.queue)
            self.queue.queue.clear()
        return waiting
