"""What callers of a busy async machine of 3.x wait for: an answer, or their turn to run it.

The host answers from whichever task runs the machine. That may be a task of another event loop,
in another thread, whose answer would wake nobody; and before 3.2 nobody goes on where the task
that runs is cancelled. Here an answer arrives from every thread, and whoever still waits for one
when the machine is free runs it.
"""

from __future__ import annotations

import asyncio
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "Turnstile", "exception_of", "is_good", "is_told", "is_waiting"]


class Answer(asyncio.Future[Any]):
    """What a caller waits for, in the place of the host's future. It can be given in any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, payload: Any = None) -> None:
        super().__init__(loop=loop)
        self.payload = payload
        """The event that the answer is for, `None` if the caller's turn is awaited."""
        self.thread = get_ident()
        self.is_given = False
        """Whether it was given, if only just now in another thread."""

    def set_result(self, result: Any) -> None:
        """Give a result."""
        self._give(super().set_result, result)

    def set_exception(self, exception: Any) -> None:
        """Give an exception."""
        self._give(super().set_exception, exception)

    def drop(self) -> None:
        """Let nobody wait for it, and let asyncio not complain that nobody has asked for it."""
        self.cancel()
        exception_of(self)

    def _give(self, give: Callable[[Any], None], what: Any) -> None:
        self.is_given = True
        if self.thread == get_ident():
            give(what)
            return
        loop = self.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._arrive, give, what)

    def _arrive(self, give: Callable[[Any], None], what: Any) -> None:
        if not self.done():  # the caller may have given up meanwhile
            give(what)


def is_waiting(future: Any) -> bool:
    """Whether somebody waits for this answer, or may begin to."""
    return future is not None and not (future.done() or getattr(future, "is_given", False))


def is_told(future: Any) -> bool:
    """Whether somebody who waits was told what came of an event."""
    return future is not None and not future.cancelled() and not is_waiting(future)


def is_good(future: Any) -> bool:
    """Whether an event has been answered, and well."""
    return future is not None and future.done() and exception_of(future) is None


def exception_of(future: Any) -> BaseException | None:
    """Return the exception that was the answer, a `CancelledError` if it was given up."""
    if future is None or not future.done():
        return None
    if future.cancelled():
        return asyncio.CancelledError()
    error: BaseException | None = future.exception()
    return error


class Turnstile:
    """Lets one caller at a time run a machine, and wakes those who wait when it is free."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = Lock()
        self.waiting: list[Answer] = []

    def enter(self) -> bool:
        """Take the machine, if nobody has it."""
        return self.lock.acquire(blocking=False)

    def leave(self) -> None:
        """Let go of the machine: one of those who wait takes it."""
        self.lock.release()
        if self.waiting:
            for turn in tuple(self.waiting):
                if is_waiting(turn):
                    turn.set_result(None)

    async def wait(self, answer: Answer) -> bool:
        """Wait for an answer, or for the machine to be free: return whether it was taken.

        A caller who is cancelled gives its answer up; its event is still in the queue.
        """
        while True:
            turn = Answer(answer.get_loop())
            self.waiting.append(turn)
            try:
                if self.enter():
                    return True
                await asyncio.wait((answer, turn), return_when=asyncio.FIRST_COMPLETED)
            except BaseException:
                answer.cancel()
                raise
            finally:
                self.waiting.remove(turn)
            if answer.done():
                return False
