"""One fixture runs each law on both engines."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
import statemachine.utils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST_IS_3 = hasattr(statemachine, "StateChart")

needs_3 = pytest.mark.skipif(not HOST_IS_3, reason="python-statemachine 2.x has no statecharts")


class Engine:
    """One of the host's two engines, for subjects that are written once for both.

    A callback or reaction of a subject that sends an event returns what the event returned:
    the async engine, and our drain, await it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_async = name == "async"

    def __repr__(self) -> str:
        return self.name

    def machine(self, machine_class: Any) -> Any:
        """Return the class itself, or a subclass that python-statemachine runs asynchronously."""
        if not self.is_async:
            return machine_class

        async def on_enter_state(_self: Any) -> None:
            """Make the machine async."""

        namespace = {"on_enter_state": on_enter_state, "__module__": machine_class.__module__}
        return type(machine_class)(machine_class.__name__, (machine_class,), namespace)

    def run(self, call: Callable[[], Any]) -> Any:
        """Make a call from outside, and wait for it."""
        if not self.is_async:
            result = call()
            assert not inspect.isawaitable(result)
            return result

        async def main() -> Any:
            result = call()
            return await result if inspect.isawaitable(result) else result

        return asyncio.run(main())

    def raises(self, expected: type[BaseException], call: Callable[[], Any]) -> Any:
        """Make a call that raises, and return its exception."""
        with pytest.raises(expected) as caught:
            self.run(call)
        return caught.value


def close_the_hosts_loop() -> None:
    """Close the event loop that python-statemachine keeps for sync calls of async machines."""
    cached = statemachine.utils._cached_loop
    if hasattr(cached, "loop"):
        cached.loop.close()
        del cached.loop


@pytest.fixture(autouse=True)
def _no_loop_left() -> Iterator[None]:
    yield
    close_the_hosts_loop()


@pytest.fixture(params=["sync", "async"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the host's engines in turn."""
    return Engine(request.param)
