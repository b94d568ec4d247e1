"""Event loops: the one that runs, and the one that the host keeps for sync calls."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

from statemachine.utils import (
    _cached_loop,  # pyright: ignore[reportPrivateUsage]
    run_async_from_sync,
)

__all__ = [
    "current_task",
    "in_running_loop",
    "lasting_loop",
    "make_hosts_loop",
    "run_async_from_sync",
]


def make_hosts_loop() -> None:
    """Let the host make the event loop that it keeps for the thread in an empty context.

    It would keep the context of its first call alive, and with it an orchestrator.
    """
    if not hasattr(_cached_loop, "loop") and current_task() is None:
        Context().run(run_async_from_sync, asyncio.sleep(0))


def current_task() -> Any:
    """Return the running task, `None` where no event loop runs."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def in_running_loop() -> bool:
    """Whether the current thread is running an event loop now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def lasting_loop() -> Any:
    """Return the running event loop, and `None` for that which the host runs for a sync call."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return None if loop is getattr(_cached_loop, "loop", None) else loop
