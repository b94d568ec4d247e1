"""The machines of a round: callbacks that fail, are stopped, and send other events.

Every event has a number, which is its argument, and a plan of what is to go wrong with it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import statemachine
from soak.ledger import HOST_IS_3
from statemachine import State, StateMachine

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.ledger import Event, Ledger

PLACES = ("validators", "cond", "before", "exit", "on", "enter", "after")


def send(ledger: Ledger, event: Event, call: Callable[[], Any]) -> Any:
    """Send an event from a callback or a reaction; every third failure goes on to the sender."""
    event.was_called = True
    try:
        result = call()
    except BaseException as error:
        ledger.told.append((event.number, error))
        event.has_answer = True
        if not isinstance(error, Exception) or event.number % 3 == 0:
            raise
        return None
    event.has_answer = not isawaitable(result)
    return result


async def send_async(ledger: Ledger, event: Event, call: Callable[[], Any]) -> Any:
    """Send an event as `send` does, and await it."""
    event.was_called = True
    try:
        result = call()
        if isawaitable(result):
            result = await result
    except BaseException as error:
        ledger.told.append((event.number, error))
        event.gave_up = isinstance(error, asyncio.CancelledError)
        event.has_answer = True
        if not isinstance(error, Exception) or event.number % 3 == 0:
            raise
        return None
    event.has_answer = True
    return result


class Steps:
    """What the callbacks of a machine have in common."""

    ledger: Any = None
    world: Any = None
    label: Any = None

    def told(self, place: str, number: int) -> None:
        """Write down that a step has come to a place."""
        if place == "validators":
            self.ledger.begun.append(number)
        if place == "after":
            self.ledger.committed.append(number)
        if self.ledger.events[number].collects == place:
            gc.collect()

    def fails(self, place: str, number: int) -> None:
        """Raise what is planned."""
        fault = self.ledger.events[number].faults.get(place)
        if fault is not None:
            raise fault(number, place)

    def broke(self, place: str, number: int, error: BaseException) -> None:
        """Write down what a callback lets out, and what a bare machine is left in then."""
        self.ledger.raised.append((number, place, error))
        is_stop = not isinstance(error, Exception)
        # 2.x keeps the new state when `on_enter` raises, and 3.x when it is stopped; a StateChart
        # is in no state if it is stopped between exit and entry. A bare machine does the same.
        halfway = place == "enter" and (is_stop or not HOST_IS_3)
        if halfway or (is_stop and place in {"exit", "on"}):
            self.ledger.broken.add(self.label)

    def child(self, place: str, number: int) -> Any:
        """Return the event that is to be sent at a place, with the call that sends it."""
        event = self.ledger.events[number]
        planned = event.children.get(place)
        if planned is None or self.world is None or self.world() is None:
            return None
        return self.ledger, *self.world().child(event, "callback", planned, self)


_running = threading.local()


def running_steps() -> list[tuple[str, int]]:
    """Return the steps of sync machines that run in this thread, the innermost last."""
    if not hasattr(_running, "steps"):
        _running.steps = []
    steps: list[tuple[str, int]] = _running.steps
    return steps


class SyncSteps(Steps):
    """The callbacks of a sync machine."""

    def step(self, place: str, number: int | None) -> None:
        """Do what is planned for a place."""
        if number is None:  # the initial state is entered
            return
        self.told(place, number)
        steps = running_steps()
        steps.append((self.label, number))
        try:
            child = self.child(place, number)
            if child is not None:
                send(*child)
            self.fails(place, number)
        except BaseException as error:
            self.broke(place, number, error)
            raise
        finally:
            steps.pop()

    def check(self, number: int) -> None:
        self.step("validators", number)

    def allowed(self, number: int) -> bool:
        self.step("cond", number)
        return True

    def no(self) -> bool:
        return False

    def before_transition(self, number: int | None = None) -> None:
        self.step("before", number)

    def on_exit_state(self, number: int | None = None) -> None:
        self.step("exit", number)

    def on_transition(self, number: int | None = None) -> int | None:
        self.step("on", number)
        return number

    def on_enter_state(self, number: int | None = None) -> None:
        self.step("enter", number)

    def after_transition(self, number: int | None = None) -> None:
        self.step("after", number)


class AsyncSteps(Steps):
    """The callbacks of an async machine; each may let other tasks run."""

    async def step(self, place: str, number: int | None) -> None:
        """Do what is planned for a place."""
        if number is None:
            return
        self.told(place, number)
        try:
            if (number + PLACES.index(place)) % 3 == 0:
                await asyncio.sleep(0)
            child = self.child(place, number)
            if child is not None:
                await send_async(*child)
            self.fails(place, number)
        except BaseException as error:
            self.broke(place, number, error)
            raise

    async def check(self, number: int) -> None:
        await self.step("validators", number)

    async def allowed(self, number: int) -> bool:
        await self.step("cond", number)
        return True

    async def no(self) -> bool:
        return False

    async def before_transition(self, number: int | None = None) -> None:
        await self.step("before", number)

    async def on_exit_state(self, number: int | None = None) -> None:
        await self.step("exit", number)

    async def on_transition(self, number: int | None = None) -> int | None:
        await self.step("on", number)
        return number

    async def on_enter_state(self, number: int | None = None) -> None:
        await self.step("enter", number)

    async def after_transition(self, number: int | None = None) -> None:
        await self.step("after", number)


def ring(name: str, steps: type, base: Any) -> Any:
    """Return a class of machines: `do` goes round, `stay` does not, the others are refused."""
    a, b, c, far = State("a", initial=True), State("b"), State("c"), State("far")
    asked = {"validators": "check", "cond": "allowed"}
    body: dict[str, Any] = {"a": a, "b": b, "c": c, "far": far, "__module__": __name__}
    body["do"] = a.to(b, **asked) | b.to(c, **asked) | c.to(a, **asked)
    body["stay"] = a.to.itself(**asked) | b.to.itself(**asked) | c.to.itself(**asked)
    never = {"validators": "check", "cond": "no"}
    body["never"] = a.to(far, **never) | b.to(far, **never) | c.to(far, **never)
    body["absent"] = far.to(a)
    return type(base)(name, (steps, base), body)


if TYPE_CHECKING:

    class Ring(StateMachine): ...

    class AsyncRing(StateMachine): ...

    class Chart(StateMachine): ...

    class AsyncChart(StateMachine): ...

else:
    Base = statemachine.StateChart if HOST_IS_3 else StateMachine
    Ring, AsyncRing = (ring("Ring", steps, StateMachine) for steps in (SyncSteps, AsyncSteps))
    Chart, AsyncChart = (ring("Chart", steps, Base) for steps in (SyncSteps, AsyncSteps))
