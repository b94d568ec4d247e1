"""A call: an outermost one, which is run to rest, or one that is nested in a cascade.

The seams of the machines call `run`, `run_async` and `new_cascade`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._answers import is_told
from statemachines_orchestrator._cascade import Cascade
from statemachines_orchestrator._event_loops import in_running_loop
from statemachines_orchestrator._frames import Payload, heard_at, here, joined
from statemachines_orchestrator._joins import take_over
from statemachines_orchestrator._notes import add_note
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._running import run_events
from statemachines_orchestrator.exceptions import (
    ReactionErrors,
    RunawayCascadeError,
)
from statemachines_orchestrator.records import Abandoned, Failed, next_seq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from statemachines_orchestrator._engine import Seam
    from statemachines_orchestrator._turns import Turn

__all__ = [
    "Call",
    "abandoned",
    "enqueue",
    "in_cascade",
    "lost",
    "new_cascade",
    "observer_failed",
    "react",
    "run",
    "run_async",
    "to_rest",
    "to_rest_async",
]

logger = logging.getLogger("statemachines_orchestrator")

new_cascade = Cascade
"""What a seam calls to make the cascade of a call whose event was just put."""


# Sync -----------------------------------------------------------------------------------------


def run(seam: Seam, *_args: Any) -> Any:
    """Run the loop of a sync machine: an outermost call, or one nested in a cascade."""
    frame: Any = here.get()
    cascade = None if frame is None else joined(frame)
    if frame is None or cascade is None:
        return to_rest(None, seam)
    try:
        if type(frame) is Payload and frame.root.cascade is not cascade:
            here.set(cascade)  # a waiting caller's event is taken by another's call
        return run_events(seam, cascade)
    finally:
        if seam.at_rest:
            seam.rest()
        here.set(frame)


def to_rest(start: Callable[[], Any] | None, seam: Any = None) -> Any:
    """Run an outermost call: `start`, or a machine's events; then everything that follows."""
    frame = here.get()
    begun = seam.begun.pop(get_ident(), None) if seam is not None and seam.begun else None
    cascade = begun or Cascade()
    result = error = runaway = None
    try:  # an interrupt may come at any line
        here.set(cascade)
        try:
            result = start() if start else run_events(seam, cascade)
        except Exception as caught:  # noqa: BLE001 - raised below, when the cascade is at rest
            error = caught
        if seam is not None and seam.at_rest:
            seam.rest()
        if cascade.needs_drain():
            cascade.drain()
    except RunawayCascadeError as caught:
        runaway = caught
        cascade.stop(runaway)
    except BaseException as stopped:
        cascade.stop(stopped, error)
        raise
    finally:
        cascade.open = False
        here.set(frame)
        if seam is not None and seam.at_rest:  # the machine's loop was interrupted
            seam.rest()
    if error is None and runaway is None and not cascade.failures:  # the way of most events
        return result
    return _conclude(cascade, result, error, runaway)


def lost(hearers: tuple[Any, ...], holder: Any, trigger: Any, error: Exception) -> None:
    """Announce and keep what another caller's event raised, who has been answered already."""
    for publisher in hearers[:1]:
        label = f"{publisher.name}.{trigger.event}, left in the machine's queue"
        holder.cascade.keep(label, None, error)
    for publisher in hearers:
        publisher.ended("failed", Failed, trigger, exception=error)


def abandoned(seam: Seam, triggers: Iterable[Any]) -> None:
    """Announce that events will not run: the step that queued them failed, or a call was stopped.

    Those whose callers were told, or that were cancelled by who sent them, are not announced.
    """
    for trigger in triggers:
        if not (is_told(getattr(trigger, "future", None)) or getattr(trigger, "cancelled", False)):
            for publisher in seam.publishers:
                publisher.ended("abandoned", Abandoned, trigger)


# Async ----------------------------------------------------------------------------------------


class Call:
    """One awaited call, the frame of the context that runs it.

    It is nested in the cascade of its caller while that is open.
    Where none is, or it has closed when something is published, the call has its own.
    """

    __slots__ = ("cascade", "coroutine", "frame", "outer", "seq", "waiting")

    def __init__(self, begun: Cascade | None = None) -> None:
        self.frame = here.get()
        self.outer = joined(self.frame)
        self.cascade: Cascade = self.outer or begun or Cascade()
        self.seq = None if self.outer is None else self.frame.seq
        self.coroutine: Any = None
        """A weak reference to what the caller was given, until it begins to await it."""
        self.waiting = False
        """Whether the caller has begun to await, and has no answer yet."""

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody awaits the call, or may still begin to."""
        if self.waiting or self.coroutine is None:
            return self.waiting
        coroutine = self.coroutine()
        return coroutine is not None and coroutine.cr_frame is not None

    @property
    def root(self) -> Call:
        """The call runs the machines of its context."""
        return self

    @property
    def is_nested(self) -> bool:
        """Whether what it causes is run by the cascade that it is nested in."""
        return self.cascade is self.outer

    def begin(self) -> None:
        """Begin to wait: in the thread that awaits, in a cascade that is open."""
        self.coroutine = None
        self.waiting = True
        if not self.is_nested:
            self.cascade.thread = get_ident()
        elif joined(self.outer) is None:
            self._renew()

    def end(self, frame: Any) -> None:
        """Wait no more, and go back to `frame`, unless the call is closed from another context."""
        self.waiting = False
        if not self.is_nested:
            self.cascade.open = False
            if self.cascade.queue or self.cascade.moved:  # come late, from another thread
                self.cascade.abandon()
        left = here.get()
        if left is not None and left.root in (self, self.cascade):
            here.set(frame)

    def reopened(self) -> Cascade | None:
        """Return another cascade in the place of the closed one, if the call still runs."""
        if not self.waiting:
            return None
        self._renew()
        return self.cascade

    def _renew(self) -> None:
        """Join what the caller is nested in by now, or open a cascade of its own."""
        self.outer = joined(self.frame)
        self.cascade = self.outer or Cascade()

    def drop(self, _reference: Any) -> None:
        """Nobody will ever await the call: what it caused goes to the call that runs now."""
        if self.is_nested or self.waiting:
            return
        self.cascade.open = False
        running = joined(here.get())
        if running is not None:
            while self.cascade.queue:
                running.append(self.cascade.queue.popleft())
            take_over(running, self.cascade)
        self.cascade.abandon()


def run_async(seam: Seam, args: tuple[Any, ...], payload: Payload | None, mine: Any) -> Any:
    """Return the coroutine that runs the loop of an async machine, and what follows from it."""
    call = Call(seam.begun.pop(get_ident(), None) if seam.begun else None)
    coroutine = to_rest_async(call, partial(seam.run_to_rest, mine, args, call))
    if payload is not None:
        payload.call = call
        call.coroutine = weakref.ref(coroutine, call.drop)
    return coroutine


async def to_rest_async(call: Call, start: Callable[[], Any]) -> Any:
    """Run one awaited call: `start`, then, unless it is nested, everything that follows from it."""
    call.begin()
    frame = here.get()
    result = error = runaway = None
    try:
        here.set(call)
        try:
            result = start()
            if isawaitable(result):
                result = await result
        except Exception as caught:  # noqa: BLE001 - raised below, when the cascade is at rest
            error = caught
        if not call.is_nested:
            await call.cascade.drain_async()
    except RunawayCascadeError as caught:
        runaway = caught
        call.cascade.stop(runaway)
    except BaseException as stopped:
        if not call.is_nested:
            call.cascade.stop(stopped, error)
        raise
    finally:
        call.end(frame)
    if not call.is_nested:
        return _conclude(call.cascade, result, error, runaway)
    if error is not None:
        raise error
    return result


# The end -------------------------------------------------------------------------------------


def _conclude(
    cascade: Cascade, result: Any, error: Exception | None, runaway: RunawayCascadeError | None
) -> Any:
    """Return the call's result, or raise: its own exception, or what went wrong after it."""
    if error is not None:
        cascade.note_failures(error)
        if runaway is not None:
            add_note(error, str(runaway))
        raise error
    if runaway is None and not cascade.failures:
        return result
    names = ", ".join(dict.fromkeys(failure.reaction for failure in cascade.failures))
    wrong: Exception = runaway or ReactionErrors(
        f"failed after the call: {names}; the rest has run, see .failures",
        [failure.exception for failure in cascade.failures],
        result,
        cascade.failures,
    )
    if not cascade.is_unheard:
        raise wrong
    logger.error("after an event that nobody waits for: %s", wrong, exc_info=wrong)
    if in_running_loop():
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a reaction failed, and nobody waits for it", "exception": wrong}
        )
    return result


# What is queued and kept from outside ---------------------------------------------------------


def enqueue(turn: Turn) -> None:
    """Queue a turn on the current cascade; outside of one, open one and run it to rest."""
    cascade = joined(here.get())
    if cascade is not None:
        cascade.append(turn)
    else:
        to_rest(lambda: here.get().append(turn))


def react(turn: Turn) -> None:
    """Queue the turn of a reaction on the cascade that gets what happens here."""
    cascade = heard_at(here.get())
    if cascade is None:
        enqueue(turn)
        return
    cascade.append(turn)
    if not cascade.open:  # its call, in another thread, has ended meanwhile
        with suppress(ValueError):  # which has abandoned the turn
            cascade.queue.remove(turn)
            react(turn)


def in_cascade(call: Callable[[], Any]) -> Any:
    """Call something in the current cascade; outside of one, open one and run it to rest."""
    return call() if joined(here.get()) is not None else to_rest(call)


def observer_failed(owner: Any, name: str, error: Exception, record: Any) -> None:
    """Keep an observer's exception for the end of the cascade, and announce it.

    A failure while a failure is announced is kept, and not announced again.
    Outside of every cascade, where somebody sent the signal by hand, it is raised.
    """
    cascade = heard_at(here.get())
    if cascade is None:
        raise error
    cascade.keep(name, record, error)
    place = place_of(owner)
    if place is not None and place.is_asked_for("failed") and not isinstance(record, Failed):
        cause = getattr(record, "seq", None)
        place.publish("failed:", name, owner, partial(_failed, place, name, cause, error))


def _failed(place: Any, name: str, cause: int | None, error: Exception) -> Failed:
    return Failed(
        seq=next_seq(), cause=cause, path=place.path, keys=place.keys, name=name, exception=error
    )
