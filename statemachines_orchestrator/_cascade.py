"""Run to completion: one outermost call, and all reactions that follow from it.

A machine call that is not nested in a cascade opens one.
What its machines publish queues the turns of reactions; `post` queues events behind them.
When the call has come to rest the queue is drained, first in, first out,
each turn with every machine of the cascade at rest, until nothing is left.
Then `settled` is published, once, and what it queued is run as well.
The stack is as deep for a million turns as for one, and only what waits is kept.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from functools import partial
from inspect import isawaitable, iscoroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._engine import here, joined, run_async_from_sync
from statemachines_orchestrator._turns import loop_to
from statemachines_orchestrator.exceptions import (
    AsyncReactionError,
    Failure,
    ReactionErrors,
    RunawayCascadeError,
    add_note,
)
from statemachines_orchestrator.records import Failed, Settled, next_seq
from statemachines_orchestrator.topics import SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from statemachines_orchestrator._engine import Payload, Seam
    from statemachines_orchestrator._turns import Turn

__all__ = ["Call", "Cascade", "begin", "enqueue", "observer_failed", "run", "run_async", "to_rest"]

logger = logging.getLogger("statemachines_orchestrator")

_SHORT = 4096
"""A bound up to this is watched for loops from the first turn on, a longer one over its last half."""


class Cascade:
    """The queue of one outermost call, and what came of it. It is the frame of its own drain."""

    __slots__ = (
        "announced",
        "failures",
        "fresh",
        "host",
        "lengthened",
        "open",
        "previous",
        "queue",
        "running",
        "settled",
        "thread",
        "turns",
        "watched",
    )

    seq = None

    def __init__(self, *, is_open: bool = True) -> None:
        self.queue: deque[Turn] = deque()
        self.failures: list[Failure] = []
        self.announced: dict[int, Any] = {}
        self.thread = get_ident()
        self.open = is_open
        self.fresh = not is_open
        self.previous: Any = None
        self.host = False
        self.settled = False
        self.turns = 0
        self.lengthened = 1
        self.watched = False
        self.running: Turn | None = None

    @property
    def cascade(self) -> Cascade:
        """The cascade of this frame."""
        return self

    root = cascade

    # One queue ----------------------------------------------------------------------------

    def append(self, turn: Turn) -> None:
        """Queue a turn behind all others."""
        turn.cascade = self
        if self.watched:
            turn.parent = self.running
        self.queue.append(turn)

    def next(self) -> Turn | None:
        """Take the turn that is next; publish `settled` when nothing is left for the first time."""
        if not self.queue and not self.settled:
            self._settle()
        if not self.queue:
            return None
        self.running = turn = self.queue.popleft()
        self._watch(turn)
        self.turns += 1
        return turn

    def _settle(self) -> None:
        self.settled = True
        here.set(self)
        for owner in list(self.announced.values()):
            seq = next_seq()
            owner.bus.publish(
                (SETTLED,),
                owner,
                partial(Settled, seq=seq, cause=None, reactions=self.turns, failures=len(self.failures)),
            )

    def _watch(self, turn: Turn) -> None:
        """Look for a loop when the bound is reached: raise its error, or lengthen the bound."""
        bound = turn.owner.__declaration__.max_reactions
        if bound is None:
            return
        bound *= self.lengthened
        if self.turns >= bound:
            loop = loop_to(turn, bound)
            if loop is not None:
                self.queue.appendleft(turn)
                raise RunawayCascadeError(turn.owner.__declaration__.where, self.turns, loop)
            self.lengthened *= 2
        self.watched = bound <= _SHORT or self.turns >= bound // 2

    # Two drains ---------------------------------------------------------------------------

    def drain(self) -> None:
        """Run all turns, for a caller that cannot await."""
        while (turn := self.next()) is not None:
            try:
                result = _waited_for(turn)
            except Exception as error:  # noqa: BLE001 - a failure stops no other reaction
                self.fail(turn, error)
            else:
                turn.finished(result)

    async def drain_async(self) -> None:
        """Run all turns, awaiting what must be awaited, each before the next."""
        while (turn := self.next()) is not None:
            try:
                result = turn.begin()
                if isawaitable(result):
                    result = await result
            except Exception as error:  # noqa: BLE001 - a failure stops no other reaction
                self.fail(turn, error)
            else:
                turn.finished(result)

    # What came of it ----------------------------------------------------------------------

    def fail(self, turn: Turn, error: Exception) -> None:
        """Keep a turn's exception for the end, and announce it."""
        add_note(error, f"in {_told(turn.label, turn.record)}")
        self.failures.append(Failure(turn.label, turn.record, error))
        turn.failed(error)

    def abandon(self) -> None:
        """Announce what will not run any more."""
        self.settled = True
        while self.queue:
            self.queue.popleft().abandoned()

    def stop(self, stopped: BaseException) -> None:
        """End before its time: `stopped` takes the failures along as notes."""
        self.note_failures(stopped)
        self.abandon()

    def note_failures(self, error: BaseException) -> None:
        """Add a note for each failure to an exception that is raised in place of the group."""
        for failure in self.failures:
            add_note(error, f"{_told(failure.reaction, failure.cause)} failed: {failure.exception!r}")

    def conclude(
        self, result: Any, error: Exception | None, runaway: RunawayCascadeError | None
    ) -> Any:
        """Return the call's result, or raise: its own exception, or what went wrong after it."""
        if runaway is not None:
            self.stop(runaway)
        if error is not None:
            self.note_failures(error)
            if runaway is not None:
                add_note(error, str(runaway))
            raise error
        if runaway is None and not self.failures:
            return result
        wrong: Exception = runaway or ReactionErrors(
            "the call was taken, and what followed it failed",
            [failure.exception for failure in self.failures],
            result,
            self.failures,
        )
        if not self.host:
            raise wrong
        logger.error("after an event that python-statemachine itself sent: %s", wrong, exc_info=wrong)
        if in_running_loop():
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a reaction failed, and nobody waits for it", "exception": wrong}
            )
        return result


# One call -------------------------------------------------------------------------------------


def to_rest(start: Callable[[], Any], seam: Seam | None = None) -> Any:
    """Run an outermost call: `start`, then everything that follows from it."""
    frame = here.get()
    cascade = _taken(frame)
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
            _run_stranded(seam, start, cascade)
        if cascade.queue or cascade.announced:
            cascade.drain()
    except RunawayCascadeError as caught:
        runaway = caught
    except BaseException as stopped:
        cascade.stop(stopped)
        raise
    finally:
        cascade.open = False
        here.set(frame)
    return cascade.conclude(result, error, runaway)


def run(seam: Seam, args: tuple[Any, ...]) -> Any:
    """Run the loop of a sync machine: an outermost call, or one nested in a cascade."""
    frame = here.get()
    cascade = joined(frame)
    start = partial(seam.original_loop, *args)
    if cascade is None:
        return to_rest(start, seam)
    if frame.root.cascade is not cascade:  # a waiting caller's event, taken by another's call
        here.set(cascade)
    try:
        return start()
    finally:
        if seam.queue:
            _run_stranded(seam, start, cascade)
        here.set(frame)


class Call:
    """One awaited call on an async machine, the frame of the context that runs it.

    It is nested in the cascade of its caller while that is open.
    Where none is, or it has closed when something is published, the call has its own.
    """

    __slots__ = ("__weakref__", "cascade", "dropped", "outer", "seq", "waiting")

    def __init__(self, frame: Any) -> None:
        self.outer = joined(frame)
        self.cascade = self.outer or _taken(frame) or Cascade()
        self.cascade.open = True
        self.seq = None if self.outer is None else frame.seq
        self.waiting = True
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
        """Nobody will ever await the call: what it causes belongs to whoever runs the machine."""
        self.waiting = False
        if not self.is_nested:
            self.cascade.open = False
            self.cascade.abandon()


def run_async(seam: Seam, args: tuple[Any, ...], payload: Payload | None) -> Any:
    """Return the coroutine that runs the loop of an async machine, and what follows from it."""
    frame = here.get()
    call = Call(frame)
    if call.cascade.previous is not None or call.cascade.fresh:
        here.set(call.cascade.previous)
    coroutine = to_rest_async(call, partial(seam.original_loop, *args))
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
        return call.cascade.conclude(result, error, runaway)
    if error is not None:
        raise error
    return result


def begin(frame: Any) -> Cascade:
    """Make the cascade of the outermost call whose event was just put; its loop will take it."""
    cascade = _taken(frame) or Cascade(is_open=False)
    if frame is not cascade:
        cascade.previous = frame
        here.set(cascade)
    cascade.fresh = True
    return cascade


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
    Outside of every cascade (somebody sent the signal by hand) it is raised.
    """
    frame = here.get()
    cascade = joined(frame) or _taken(frame, keep=True)
    if cascade is None:
        raise error
    add_note(error, f"in {_told(name, record)}")
    cascade.failures.append(Failure(name, record, error))
    bus = owner.bus
    if "failed" in bus.kinds and not isinstance(record, Failed):
        seq, cause = next_seq(), getattr(record, "seq", None)
        bus.publish(
            (f"failed:{name}", "failed:*"),
            owner,
            lambda: Failed(seq=seq, cause=cause, name=name, exception=error),
        )


# Small parts ----------------------------------------------------------------------------------


def _taken(frame: Any, *, keep: bool = False) -> Cascade | None:
    """Return the cascade that `begin` left for the call that follows, and open it unless `keep`."""
    if type(frame) is not Cascade or not frame.fresh:
        return None
    if not keep:
        frame.fresh = False
        frame.open = True
    return frame


def _run_stranded(seam: Seam, start: Callable[[], Any], cascade: Cascade) -> None:
    """Run what the host left in the machine's queue; what raises there is a failure of its own."""
    while seam.has_stranded:
        name = f"{seam.publishers[0].name}.{seam.queue[0].event}"
        try:
            start()
        except Exception as error:  # noqa: BLE001 - it is another caller's event
            add_note(error, f"in {name}, left in the queue of the machine")
            cascade.failures.append(Failure(name, None, error))


def _waited_for(turn: Turn) -> Any:
    """Run a turn to its end where nobody can await: without a running loop, in a loop of our own."""
    if turn.must_be_awaited and in_running_loop():
        raise AsyncReactionError(turn.label, _sent_topic(turn))
    result = turn.begin()
    if not isawaitable(result):
        return result
    if in_running_loop():
        if iscoroutine(result):
            result.close()
        raise AsyncReactionError(turn.label, _sent_topic(turn))
    return run_async_from_sync(result)


def in_running_loop() -> bool:
    """Whether the current thread is running an event loop now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _sent_topic(turn: Turn) -> str:
    """Return the topic to send with `asend` for a turn that must be awaited."""
    event = getattr(turn.record, "event", None)
    return turn.topic if event is None else f"{turn.record.machine_name}.{event}"  # type: ignore[union-attr]


def _told(name: str, record: Any) -> str:
    """Return `Shop.capture, in reaction to payment.authorize (unpaid → authorized)`."""
    if record is None:
        return name
    what = getattr(record, "event", None) or getattr(record, "name", None) or ""
    machine = getattr(record, "machine_name", None)
    topic = ".".join(part for part in (machine, what) if part) or type(record).__name__.lower()
    source = getattr(record, "source", None)
    if source is None:
        return f"{name}, in reaction to {topic}"
    target = record.target or source
    return f"{name}, in reaction to {topic} ({source.id} → {target.id})"
