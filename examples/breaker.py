"""A flaky device behind a retry with back-off and a circuit breaker: async, on a virtual clock.

The retry waits 1, 2, 4, then 8 seconds between attempts: an event posted for later.
The breaker opens after three failures in a row, and then nobody asks the device. After ten
seconds, a `timeout` of its state, it is half open: the next attempt decides.

`await clock.advance(60)` awaits all that comes due, the async reactions included.

Run it with `python examples/breaker.py`.
"""

import asyncio
from collections.abc import Iterator

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, VirtualClock, on_enter, timeout, use_clock
from statemachines_orchestrator.records import Transitioned


class Device(StateMachine):
    """It answers, or does not."""

    ready = State(initial=True)
    ask = ready.to(ready)

    async def on_ask(self, orc: "Plant") -> bool:
        """Wait for the line."""
        await asyncio.sleep(0)
        return next(orc.answers)


class Breaker(StateMachine):
    """Keeps callers from a device that fails."""

    closed = State(initial=True)
    opened = State()
    half_open = State()

    trip = closed.to(opened) | half_open.to(opened)
    probe = opened.to(half_open)
    close = half_open.to(closed)


class Request(StateMachine):
    """One question, asked until it is answered."""

    idle = State(initial=True)
    trying = State()
    waiting = State()

    start = idle.to(trying)
    fail = trying.to(waiting)
    again = waiting.to(trying)
    succeed = trying.to(idle)


class Plant(Orchestrator):
    """The three, and what is counted."""

    request: Request
    breaker: Breaker
    device: Device
    answers: Iterator[bool] = attrs.field(repr=False)
    failures: int = 0
    wait: float = 1.0

    @on_enter("request.trying")
    async def attempt(self) -> None:
        """Ask the device, unless the breaker is open."""
        if self.breaker.opened.is_active:
            self.request.fail()
        elif await self.device.ask():
            self.failures = 0
            self.request.succeed()
            if self.breaker.half_open.is_active:
                self.breaker.close()
        else:
            self.failures += 1
            self.request.fail()
            if self.failures >= 3 or self.breaker.half_open.is_active:  # noqa: PLR2004
                self.breaker.trip()

    @on_enter("request.waiting")
    def back_off(self) -> None:
        """Try again later, and later each time."""
        self.post("request.again", delay=self.wait)
        self.wait = min(2 * self.wait, 8.0)

    @on_enter("request.idle")
    def reset(self) -> None:
        """Begin with short waits the next time."""
        self.wait = 1.0

    @timeout("breaker.opened", seconds=10)
    def probe(self) -> None:
        """Let one attempt through."""
        self.breaker.probe()


async def main() -> None:
    """Ask a device that fails four times, and then once more."""
    clock = VirtualClock()
    answers = iter([False, False, False, False, True, True])
    plant = Plant(Request(), Breaker(), Device(), answers=answers)
    use_clock(plant, clock)

    def tell(_machine: object, record: Transitioned) -> None:
        print(f"{clock.now():4.0f} s  {record.machine_name:8} {record.entered[0]}")

    plant.bus.signal("*").connect(tell)
    for _ in range(2):
        await plant.asend("request.start")
        await clock.advance(60)
        print(f"{clock.now():4.0f} s  {plant}")


if __name__ == "__main__":
    asyncio.run(main())
