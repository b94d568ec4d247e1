"""A device that is polled, a watchdog and a notifier: async machines and async reactions.

The device and the notifier talk to the outside. They are async machines, because they have an
`async def` callback, and so their events are awaited. The watchdog only counts, and is a plain
machine. Both kinds live in one orchestrator, and a reaction may be `def` or `async def`.

Awaiting an event awaits all that follows from it: when `await plant.device.poll()` returns,
the watchdog has counted, and the message, if there was one, has been sent.

A plain machine that is called in an event loop has nobody who could wait for an async reaction.
`await plant.asend("watchdog.calm")` sends an event to a machine of either kind, and waits.

An async machine enters its initial state with its first event, and until then is printed as `-`.

Nothing here takes time: `asyncio.sleep(0)` stands where a line or a server would be waited for.

Run it with `python examples/device.py`.
"""

import asyncio
from collections.abc import Iterator

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter, on_exit


class Device(StateMachine):
    """A thermometer at the end of a line; `None` is no answer."""

    idle = State(initial=True)
    polled = State()

    poll = idle.to(polled)
    answer = polled.to(idle)
    miss = polled.to(idle)

    value: int | None = None

    async def on_poll(self, orc: "Plant") -> None:
        """Wait for the line."""
        await asyncio.sleep(0)
        self.value = next(orc.line)


class Watchdog(StateMachine):
    """Growls when it is roused once, barks when it is roused twice."""

    quiet = State(initial=True)
    growling = State()
    barking = State()

    rouse = quiet.to(growling) | growling.to(barking) | barking.to(barking, internal=True)
    calm = growling.to(quiet) | barking.to(quiet) | quiet.to(quiet, internal=True)


class Notifier(StateMachine):
    """Sends messages to somebody."""

    ready = State(initial=True)

    notify = ready.to(ready)

    async def on_notify(self, text: str) -> None:
        """Wait for the server."""
        await asyncio.sleep(0)
        print(f"    message: {text}")


class Plant(Orchestrator):
    """The device, the dog and the messenger, and the line to the device."""

    device: Device
    watchdog: Watchdog
    notifier: Notifier
    line: Iterator[int | None] = attrs.field(repr=False)

    @on("device.poll")
    async def judge(self) -> None:
        """Tell the device what its poll came to."""
        if self.device.value is None:
            await self.device.miss()
        else:
            await self.device.answer()

    @on("device.miss")
    def rouse_watchdog(self) -> None:
        """Rouse the dog: a plain machine is called, not awaited."""
        self.watchdog.rouse()

    @on("device.answer")
    def calm_watchdog(self) -> None:
        """Calm the dog."""
        self.watchdog.calm()

    @on_enter("watchdog.barking")
    async def raise_alarm(self) -> None:
        """Tell somebody, once, since a dog that barks is not roused again."""
        await self.notifier.notify("the device is silent")

    @on_exit("watchdog.barking")
    async def end_alarm(self) -> None:
        """Tell somebody that it is over."""
        await self.notifier.notify("the alarm is over")


async def main() -> None:
    """Poll a device that falls silent, comes back, and falls silent again."""
    values = (21, 22, None, None, None, 23, None, None)
    plant = Plant(Device(), Watchdog(), Notifier(), line=iter(values))
    for _ in values:
        print("await plant.device.poll()")
        await plant.device.poll()
        print(f"  {plant.device.value}, {plant}")

    print('await plant.asend("watchdog.calm")')
    await plant.asend("watchdog.calm")
    print(f"  {plant}")


if __name__ == "__main__":
    asyncio.run(main())
