"""One fixture runs each law on both engines."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import statemachine.utils

from statemachines_orchestrator import _fast
from statemachines_orchestrator._declaration import Options
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._frames import here
from statemachines_orchestrator._host import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from statemachines_orchestrator import Orchestrator, ReactionErrors

HOST_IS_3 = hasattr(statemachine, "StateChart")

needs_3 = pytest.mark.skipif(not HOST_IS_3, reason="python-statemachine 2.x has no statecharts")
needs_2 = pytest.mark.skipif(HOST_IS_3, reason="python-statemachine 3.x keeps its own queue")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fast lane."""
    parser.addoption("--fast", action="store_true", help="declare all orchestrators with fast=True")
    parser.addoption("--fast-check", action="store_true", help="count this host as checked")


def pytest_configure(config: pytest.Config) -> None:
    """Take the host for one that the fast lane was checked with, and let all that can be fast."""
    if config.getoption("fast_check"):
        _fast.CHECKED += (HOST,)
    if config.getoption("fast") and HOST in _fast.CHECKED:
        make_fast(pytest.MonkeyPatch())


def pytest_collection_finish() -> None:
    """Take what pytest itself holds out of what the garbage collector walks through."""
    gc.collect()
    gc.freeze()


def make_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every orchestrator be one that was declared with `fast=True`, or skip the test."""
    if HOST not in _fast.CHECKED:
        pytest.skip(f"the fast lane was not checked with python-statemachine {HOST}")
    fast = property(lambda _options: True, lambda _options, _given: None)
    monkeypatch.setattr(Options, "fast", fast)


class Engine:
    """One of the host's two engines, for subjects that are written once for both.

    On the fast lane the sync one is asked only for what is no flat machine.
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


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """Return another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def entered(engine: Engine, machine: Any) -> Any:
    """Return a machine that has entered its initial state: 2.5 runs no copy of one that has not."""
    if engine.is_async:
        engine.run(machine.activate_initial_state)
    return machine


def awaited(call: Callable[[], Any]) -> Any:
    """Make a call in an event loop, whatever the engine of its machines, and await it."""

    async def main() -> Any:
        result = call()
        return await result if inspect.isawaitable(result) else result

    return asyncio.run(main())


def operations(call: Callable[[], Any]) -> int:
    """Return how many functions of Python and of C a call calls, in an event loop."""
    counted = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    async def main() -> None:
        sys.setprofile(profile)
        try:
            result = call()
            if inspect.isawaitable(result):
                await result
        finally:
            sys.setprofile(None)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
    return counted


def listen(orchestrator: Orchestrator, *topics: str) -> list[tuple[str, Any]]:
    """Connect an observer to each topic, and return the list of topics and records they fill."""
    heard: list[tuple[str, Any]] = []

    def observer(topic: str) -> Callable[..., None]:
        return lambda machine, record: heard.append((topic, record))

    for topic in topics:
        orchestrator.bus.signal(topic).connect(observer(topic))
    return heard


def told_by(error: ReactionErrors) -> list[tuple[str, str]]:
    """Return who failed, with the class of the exception."""
    return [(failure.reaction, type(failure.exception).__name__) for failure in error.failures]


def pickled(value: Any) -> Any:
    """Return what comes back from a pickle."""
    return pickle.loads(pickle.dumps(value))


class SlowRow:
    """A model: the look of one thread at its state waits, once, until it is let go."""

    def __init__(self) -> None:
        self.value: Any = None
        self.waits_for: int | None = None
        """The thread whose next look waits."""
        self.inside, self.leave = threading.Event(), threading.Event()

    @property
    def state(self) -> Any:
        value = self.value
        if self.waits_for == threading.get_ident():
            self.waits_for = None
            self.inside.set()
            assert self.leave.wait(10)
        return value

    @state.setter
    def state(self, value: Any) -> None:
        self.value = value


def assert_at_rest(*machines: Any) -> None:
    """Nobody runs the machines, nothing waits for them, and we are in no cascade."""
    assert here.get() is None
    for machine in machines:
        assert len(seam_of(machine).inbox) == 0
        assert not machine._engine._processing.locked()


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


@pytest.fixture(scope="module")
def slow_too(request: pytest.FixtureRequest) -> None:
    """Skip what compares the fast lane with the host's engine, where all is fast."""
    if request.config.getoption("fast"):
        pytest.skip("with --fast there is nothing to compare the fast lane with")


@pytest.fixture(params=["sync", "async", "fast"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each of the host's engines in turn, and the fast lane."""
    if request.param == "fast":
        make_fast(monkeypatch)
    return Engine(request.param)
