"""A call: an outermost one, which is run to rest, or one that is nested in a cascade.

The seams of the machines call `run`, `run_async` and `begin`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._cascade import Cascade
from statemachines_orchestrator._engine import here, joined
from statemachines_orchestrator._turns import in_running_loop
from statemachines_orchestrator.exceptions import ReactionErrors, RunawayCascadeError, add_note
from statemachines_orchestrator.records import Failed, next_seq

if TYPE_CHECKING:
    from collections.abc import Callable

    from statemachines_orchestrator._engine import Payload, Seam
    from statemachines_orchestrator._turns import Turn

__all__ = [
    "Call",
    "begin",
    "enqueue",
    "observer_failed",
    "run",
    "run_async",
    "to_rest",
    "to_rest_async",
]

logger = logging.getLogger("statemachines_orchestrator")


# Sync -----------------------------------------------------------------------------------------


def run(seam: Seam) -> Any:
    """Run the loop of a sync machine: an outermost call, or one nested in a cascade."""
    frame = here.get()
    cascade = joined(frame)
    if cascade is None:
        return to_rest(seam.host_loop, seam)
    if frame.root.cascade is not cascade:  # a waiting caller's event, taken by another's call
        here.set(cascade)
    try:
        return seam.host_loop()
    finally:
        if seam.queue:
            _run_stranded(seam, cascade)
        here.set(frame)


def to_rest(start: Callable[[], Any], seam: Seam | None = None) -> Any:
    """Run an outermost call: `start`, then everything that follows from it."""
    frame = here.get()
    cascade = _begun(frame)
    if cascade is None:
        cascade = Cascade()
    else:
        frame = cascade.previous
    here.set(cascade)
    result = error = runaway = None
    try:
        try:
            result = start()
        except Exception as caught:  # noqa: BLE001 - raised below, when the cascade is at rest
            error = caught
        if seam is not None and seam.queue:
            _run_stranded(seam, cascade)
        if cascade.needs_drain():
            cascade.drain()
    except RunawayCascadeError as caught:
        runaway = caught
        cascade.stop(runaway)
    except BaseException as stopped:
        cascade.stop(stopped)
        raise
    finally:
        cascade.open = False
        here.set(frame)
    if error is None and runaway is None and not cascade.failures:
        return result
    return _conclude(cascade, result, error, runaway)


def _run_stranded(seam: Seam, cascade: Cascade) -> None:
    """Run what the host left in the machine's queue; what raises there is a failure of its own."""
    while seam.has_stranded:
        name = f"{seam.publishers[0].name}.{seam.queue[0].event}"
        try:
            seam.host_loop()
        except Exception as error:  # noqa: BLE001 - it is another caller's event
            cascade.keep(f"{name}, left in the machine's queue", None, error)


# Async ----------------------------------------------------------------------------------------


class Call:
    """One awaited call, the frame of the context that runs it.

    It is nested in the cascade of its caller while that is open.
    Where none is, or it has closed when something is published, the call has its own.
    """

    __slots__ = ("__weakref__", "cascade", "dropped", "outer", "seq", "waiting")

    def __init__(self) -> None:
        frame = here.get()
        self.outer = joined(frame)
        begun = _begun(frame)
        if begun is not None:
            here.set(begun.previous)
        self.cascade = self.outer or begun or Cascade()
        self.seq = None if self.outer is None else frame.seq
        self.waiting = True
        """Whether somebody waits for the event of the call, or may still begin to."""
        self.dropped: Any = None

    @property
    def root(self) -> Call:
        """The call runs the machines of its context."""
        return self

    @property
    def is_nested(self) -> bool:
        """Whether what it caused is run by the cascade that it is nested in."""
        return self.cascade is self.outer

    def renew(self) -> None:
        """Open a cascade of its own, since the one it was nested in has closed."""
        self.cascade = Cascade()

    def drop(self, _reference: Any) -> None:
        """Nobody will ever await the call: its event belongs to whoever runs the machine."""
        self.waiting = False
        if not self.is_nested:
            self.cascade.open = False
            self.cascade.abandon()


def run_async(seam: Seam, args: tuple[Any, ...], payload: Payload | None) -> Any:
    """Return the coroutine that runs the loop of an async machine, and what follows from it."""
    call = Call()
    coroutine = to_rest_async(call, partial(seam.host_loop, *args))
    if payload is not None:
        payload.call = call
        call.dropped = weakref.ref(coroutine, call.drop)
    return coroutine


async def to_rest_async(call: Call, start: Callable[[], Any]) -> Any:
    """Run one awaited call: `start`, then, unless it is nested, everything that follows from it."""
    call.dropped = None
    frame = here.get()
    here.set(call)
    result = error = runaway = None
    try:
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
            call.cascade.stop(stopped)
        raise
    finally:
        call.waiting = False
        if not call.is_nested:
            call.cascade.open = False
        here.set(frame)
    if not call.is_nested:
        return _conclude(call.cascade, result, error, runaway)
    if error is not None:
        raise error
    return result


# The end, and what may come before the beginning ----------------------------------------------


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
    wrong: Exception = runaway or ReactionErrors(
        "the call was taken, and what followed it failed",
        [failure.exception for failure in cascade.failures],
        result,
        cascade.failures,
    )
    if not cascade.of_host:
        raise wrong
    logger.error("after an event that python-statemachine itself sent: %s", wrong, exc_info=wrong)
    if in_running_loop():
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a reaction failed, and nobody waits for it", "exception": wrong}
        )
    return result


def begin() -> Cascade:
    """Make the cascade of the outermost call whose event was just put; its loop will take it."""
    frame = here.get()
    if type(frame) is Cascade and frame.is_begun:
        return frame
    cascade = Cascade()
    cascade.open = False
    cascade.is_begun = True
    cascade.previous = frame
    here.set(cascade)
    return cascade


def _begun(frame: Any) -> Cascade | None:
    """Return, open now, the cascade that `begin` left for the call that follows."""
    if type(frame) is not Cascade or not frame.is_begun:
        return None
    frame.is_begun = False
    frame.open = True
    return frame


# What is queued and kept from outside ---------------------------------------------------------


def enqueue(turn: Turn) -> None:
    """Queue a turn on the current cascade; outside of one, open one and run it to rest."""
    cascade = joined(here.get())
    if cascade is not None:
        cascade.append(turn)
    else:
        to_rest(lambda: here.get().append(turn))


def observer_failed(owner: Any, name: str, error: Exception, record: Any) -> None:
    """Keep an observer's exception for the end of the cascade, and announce it.

    A failure while a failure is announced is kept, and not announced again.
    Outside of every cascade, where somebody sent the signal by hand, it is raised.
    """
    frame = here.get()
    cascade = joined(frame)
    if cascade is None:
        if type(frame) is not Cascade or not frame.is_begun:
            raise error
        cascade = frame
    cascade.keep(name, record, error)
    bus = owner.bus
    if "failed" in bus.kinds and not isinstance(record, Failed):
        failed = partial(
            Failed, seq=next_seq(), cause=getattr(record, "seq", None), name=name, exception=error
        )
        bus.publish((f"failed:{name}", "failed:*"), owner, failed)
