"""Two threads, one of which is stopped at one line after the other: no luck is needed."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["PATIENCE", "at_every_line", "meet"]

PATIENCE = 0.02
"""How long, in seconds, one thread waits for the other, which may wait for a lock that it holds."""


@contextmanager
def at_every_line(modules: str | tuple[str, ...], stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` before every line that this thread runs of modules whose names begin so.

    In what puts an event into a queue, it is called before every instruction.
    """
    is_on = True

    def line(frame: Any, event: str, _argument: Any) -> Any:
        if not is_on:  # a generator goes on that was stopped at before
            return None
        if event == ("opcode" if frame.f_trace_opcodes else "line"):
            stop()  # nothing is traced in it
        return line

    def called(frame: Any, _event: str, _argument: Any) -> Any:
        if not str(frame.f_globals.get("__name__")).startswith(modules):
            return None
        frame.f_trace_opcodes = frame.f_code.co_name == "put"
        return line

    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield
    finally:
        is_on = False
        sys.settrace(before)


def meet(
    line: int,
    other: ThreadPoolExecutor,
    call: Callable[[], Any],
    act: Callable[[], Any],
    modules: str | tuple[str, ...] = "statemachine",
) -> tuple[Any, Any] | None:
    """Make a call, and let another thread act before this line of it; return what came of both.

    The lines are those of the host and ours, or of some modules.
    Returns `None` if the call has not so many lines. The other thread may have to wait for this
    one, and then this one goes on.
    """
    lines, acted = itertools.count(), list[Future[Any]]()

    def stop() -> None:
        if next(lines) == line:
            acted.append(other.submit(act))
            wait(acted, PATIENCE)

    with at_every_line(modules, stop):
        result = call()
    return (result, acted[0].result(60)) if acted else None
