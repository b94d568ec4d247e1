"""Running a machine: one loop of the host after the other, until nothing waits for it.

Where nobody waits for an event of his own (a sync machine, or a busy async one of 2.x), a loop of
the host ends with the event that it began with: so each result and each exception is told apart
from the next.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from statemachines_orchestrator._answers import exception_of, is_told, is_waiting
from statemachines_orchestrator._host import HOST_IS_3
from statemachines_orchestrator._inbox import INITIAL, origin_of
from statemachines_orchestrator._notes import note_unraised

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Door", "Runner", "run_events", "run_events_async"]


class Runner(Protocol):
    """Runs one call of a machine's loop to rest, with the cascade that follows from it."""

    def run(self, seam: Any, *args: Any) -> Any:
        """Take the place of a sync engine's `processing_loop`; it has no use for a future."""

    def run_async(self, seam: Any, args: tuple[Any, ...], payload: Any, mine: Any) -> Any:
        """Return the awaitable that runs an async machine's loop; `payload` is the event.

        `mine` is it too, where the host gives nobody anything to wait for.
        """

    def lost(self, hearers: tuple[Any, ...], holder: Any, trigger: Any, error: Exception) -> None:
        """Tell in the cascade of `holder`, and who hears, that another caller's event raised."""

    def abandoned(self, seam: Any, triggers: Iterable[Any]) -> None:
        """Announce that events will not run."""

    def new_cascade(self) -> Any:
        """Make the cascade of an outermost call whose event was just put."""


class Door:
    """Stands in the place of a lock of the host's, as long as who has it is not one of ours.

    As soon as it is let go, the seam runs what waits.
    """

    __slots__ = ("acquire", "held", "locked", "seam")

    def __init__(self, held: Any, seam: Any) -> None:
        self.held = held
        self.seam = seam
        self.acquire = held.acquire
        self.locked = held.locked

    def release(self) -> None:
        """Let go."""
        self.held.release()
        self.seam.opened(self.held)


def run_events(seam: Any, holder: Any) -> Any:
    """Run a sync machine to rest; return the result of the event that was just put, or raise.

    What raises of other events is a failure of the cascade of `holder`.
    """
    inbox, thread = seam.inbox, get_ident()
    mine = seam.mine.pop(thread, None)
    if inbox.late:
        inbox.take_over()
    if not inbox.lock.acquire(False):  # noqa: FBT003 - who runs the machine takes the event
        return seam.host_loop() if inbox.thread == thread else None
    run = None
    try:
        begun, result, error, hearers = _loop(seam, mine, thread)
        is_mine = begun is None or mine is None or begun.kwargs is mine
        more = (inbox.queue.queue or seam.raised.queue.queue) if HOST_IS_3 else len(inbox)
        if is_mine and error is None and not more:
            return result  # the way of most events
        run = _Run(seam, mine, holder)
        run.note(begun, result, error, hearers)
        while run.goes_on(begun) and inbox.lock.acquire(blocking=False):
            begun, result, error, hearers = _loop(seam, mine, thread)
            run.note(begun, result, error, hearers)
    except BaseException as stopped:
        if run is not None:
            note_unraised(stopped, run.error)
        _give_up(seam)
        raise
    return run.outcome()


Came: TypeAlias = "tuple[Any, Any, Exception | None, tuple[Any, ...]]"
"""What came of a loop: the event that it began with, its result, its exception, and who hears of
that, who may be detached as soon as the loop has ended."""


def _loop(seam: Any, mine: Any, thread: int) -> Came:
    """Run one loop of the host, the lock in hand."""
    inbox, hearers = seam.inbox, ()
    error = result = None
    try:
        inbox.thread = thread
        result = seam.run_loop()
    except Exception as raised:  # noqa: BLE001 - it is told whose it is
        error, hearers = raised, seam.publishers
    except BaseException:
        inbox.stop(mine)
        raise
    finally:
        begun, inbox.begun, inbox.last, inbox.thread = inbox.begun, None, None, None
        inbox.lock.release()
    return begun, result, error, hearers


def _give_up(seam: Any) -> None:
    """Abandon what has come for a call that was stopped, or for whom nobody waits any more."""
    inbox = seam.inbox
    while len(inbox) and seam.is_free() and not inbox.is_waited_for() and inbox.turnstile.enter():
        try:
            if not (seam.publishers and inbox.abandon_all()):
                break
        finally:
            inbox.turnstile.leave()


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
        if begun is None or self.mine is None or begun.event == INITIAL:
            return True
        return origin_of(begun) is self.mine

    def note(
        self, begun: Any, result: Any, error: Exception | None, hearers: tuple[Any, ...]
    ) -> None:
        """Note what came of a loop, by the event that it began with.

        The result and the exception of the caller's event are kept for the end. The exception of
        another is told, if who sent that one waits no more.
        """
        if error is not None and begun is not None and is_told(getattr(begun, "future", None)):
            return
        is_mine = self._is_mine(begun)
        if error is None:
            if begun is not None and is_mine and not self.has_result:
                self.result, self.has_result = result, True
            return
        if begun is None:  # nothing was taken: what waits cannot be taken at all
            others = [one for one in self.seam.inbox.take_all() if origin_of(one) is not self.mine]
            for trigger in others:
                self._lost(trigger, error, hearers)
            self.error = self.error or error
        elif is_mine and self.error is None:
            self.error = error
        else:
            self._lost(begun, error, hearers)

    def _lost(self, trigger: Any, error: Exception, hearers: tuple[Any, ...]) -> None:
        self.seam.runner.lost(hearers, self.holder, trigger, error)

    def goes_on(self, begun: Any) -> bool:
        """Whether something waits that nobody else takes."""
        is_free = self.seam.is_free()
        if self.seam.inbox.is_idle():
            return False
        return begun is not None if is_free else bool(self.seam.is_left())

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
    """Run an async machine to rest, as `run_events` does, unless somebody else runs it.

    On 3.x a caller waits for that, and for the answer to his own event.
    """
    inbox: Any = seam.inbox
    answer: Any = args[0] if args else None
    run = _Run(seam, mine, holder)
    if inbox.late:
        inbox.take_over()
    try:
        runs = inbox.turnstile.enter() or (answer and await inbox.turnstile.wait(answer))
        if runs and inbox.is_told:
            answer = answer or inbox.answer_to(mine)
        while runs:
            begun, result, error, hearers = await _loop_async(seam, mine, answer)
            run.note(begun, result, error, hearers)
            runs = run.goes_on(begun) and inbox.turnstile.enter()
    except BaseException as stopped:
        note_unraised(stopped, run.error or exception_of(answer))
        _give_up(seam)
        raise
    if answer is not None:
        if run.error is None and not is_waiting(answer):
            return await answer
        answer.drop()  # the machine has ended, or could not begin
    return run.outcome()


async def _loop_async(seam: Any, mine: Any, answer: Any) -> Came:
    """Run one loop of the host, through the turnstile: as `_loop` does."""
    inbox, hearers = seam.inbox, ()
    error = result = None
    try:
        result = await seam.host_loop()
    except Exception as raised:  # noqa: BLE001 - it is told whose it is
        error, hearers = raised, seam.publishers
    except BaseException:
        if answer is not None:
            answer.cancel()  # its caller is stopped here
        inbox.stop(mine)
        raise
    finally:
        begun, inbox.begun, inbox.last = inbox.begun, None, None
        inbox.turnstile.leave()
    return begun, result, error, hearers
