"""A flow of events through one orchestrator, of which nothing may be left behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import tracemalloc
import warnings
from typing import TYPE_CHECKING, Any

import attrs
from soak.ledger import IS_FAST
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, ReactionErrors, on

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate(StateMachine):
    """A machine that takes an event, fails at some, and refuses another."""

    near = State(initial=True)
    far = State()
    hit = near.to(far) | far.to(near)
    never = near.to(far, cond="no") | far.to(near, cond="no")

    def no(self) -> bool:
        return False

    def on_hit(self, number: int) -> int:
        if number % 16 == 5:
            raise ValueError(number)
        return number


class AsyncGate(Gate):
    """The same on the host's async engine."""

    async def before_hit(self) -> None:
        await asyncio.sleep(0)


class Flow(Orchestrator, fast=IS_FAST):
    """Two machines: what the one does leads to a call, a post, a refusal or a failure."""

    left: Gate
    right: Gate
    events: int = attrs.field(default=0, kw_only=True)
    """How many events were sent, from outside or by reactions."""

    @on("left.hit")
    def pass_on(self, number: int) -> Any:
        """Send one event more, in one way or another, or fail."""
        self.events += number % 4 != 3
        if number % 4 == 0:
            return self.right.hit(number)
        if number % 4 == 1:
            return self.post("right.hit", number)
        if number % 4 == 2:
            return self.right.never()
        raise LookupError(number)


class AsyncFlow(Flow):
    """The same with async machines."""

    left: AsyncGate  # pyright: ignore[reportIncompatibleVariableOverride] - as in examples
    right: AsyncGate  # pyright: ignore[reportIncompatibleVariableOverride]


def run_flow(flow: Any, events: int) -> None:
    """Send so many events from outside: each comes to an end of its own."""
    for number in range(events):
        flow.events += 1
        try:
            if number % 16 == 9:
                flow.left.never()
            elif number % 16 == 13:
                flow.post("left.hit", number)
            else:
                flow.left.hit(number)
        except (ReactionErrors, TransitionNotAllowed, ValueError):
            pass


def run_flow_in_threads(flow: Any, events: int, threads: int = 2) -> None:
    """Send the events from several threads at once."""
    running = [
        threading.Thread(target=run_flow, args=(flow, events // threads), daemon=True)
        for _ in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def run_flow_in_tasks(flow: Any, events: int, tasks: int = 4) -> None:
    """Send the events from several tasks at once, of which some are cancelled."""

    async def send(first: int) -> None:
        for number in range(first, events, tasks):
            flow.events += 1
            await one(number)

    async def one(number: int) -> None:
        call = flow.left.never() if number % 16 == 9 else flow.left.hit(number)
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        if number % 64 == 21:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        await asyncio.gather(*(send(first) for first in range(tasks)))

    asyncio.run(main())


def forget() -> None:
    """Let go of what nobody needs.

    The interpreter keeps some thousand names of attributes that it has looked up last.
    """
    clear: Any = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clear()
    for _ in range(3):
        gc.collect()


def traced() -> int:
    """Return the bytes that are held now."""
    forget()
    return tracemalloc.get_traced_memory()[0]


def left_by(run: Callable[[int], object], events: int, first: int) -> int:
    """Return the bytes that so many events leave behind, after the `first` ones."""
    run(first)
    tracemalloc.start()
    try:
        run(first)  # what the host and the interpreter keep of the last ones is traced as well
        before = traced()
        run(events)
        return traced() - before
    finally:
        tracemalloc.stop()


def left_after_flow(kind: str, events: int) -> int:
    """Return the bytes that events leave behind: from one and two threads, or from tasks."""
    sys.setswitchinterval(1e-6)
    if kind == "in_tasks":
        tasks = AsyncFlow(AsyncGate(), AsyncGate())
        return left_by(lambda events: run_flow_in_tasks(tasks, events), events, events // 2)
    flow = Flow(Gate(), Gate())

    def mixed(events: int) -> None:
        run_flow(flow, events // 2)
        run_flow_in_threads(flow, events // 2)

    return left_by(mixed, events, events // 2)
