"""The lights of a crossing through 24 hours: timed phases, a button, and a night.

The main street is green for 60 seconds, then the side street for 24; each is yellow for 3.
Pedestrians cross the main street for 12 seconds, if one has pressed the button; who waits makes
its green end 10 seconds later, unless it ends sooner anyway. From 23:00 to 5:00 the lights flash.

Each phase is a state with a `timeout`. The end that comes early is an event posted for later.
No phase knows of the night: a state that is left takes its timeout with it.

Run it with `python examples/lights.py`: the day is over at once, on a virtual clock.
With `--live 9` it runs for 9 seconds of real time, twenty times as fast as a street.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import attrs
from statemachine import State, StateMachine

import statemachines_orchestrator as so
from statemachines_orchestrator.clock import Clock, Handle
from statemachines_orchestrator.records import Transitioned

LIVE_SPEED = 20
RUSH = [*range(2 * 3600, 4 * 3600, 50), *range(11 * 3600, 13 * 3600, 50)]
PRESSES = sorted([*RUSH, *range(7, 24 * 3600, 660)])  # of the button, in seconds after dawn


class Hours(StateMachine):
    """Day or night."""

    night = State(initial=True)
    day = State()
    dawn = night.to(day)
    dusk = day.to(night)


class Light(StateMachine):
    """The light of a street; `crossing.py` has the guards that make it safe."""

    flashing = State(initial=True)
    green = State()
    yellow = State()
    red = State()
    go = red.to(green) | flashing.to(green)
    slow = green.to(yellow)
    stop = yellow.to(red) | flashing.to(red)
    flash = green.to(flashing) | yellow.to(flashing) | red.to(flashing)


class Walkers(StateMachine):
    """The light of the pedestrians, and their button."""

    dark = State(initial=True)
    stand = State()
    asked = State()
    walk = State()
    wake = dark.to(stand)
    press = stand.to(asked)
    go = asked.to(walk)
    halt = walk.to(stand)
    sleep = stand.to(dark) | asked.to(dark) | walk.to(dark)


class Crossing(so.Orchestrator):
    """What leads to what, and when."""

    hours: Hours
    main: Light
    side: Light
    walkers: Walkers
    early: Handle | None = attrs.field(default=None, repr=False)

    dusk = so.timeout("hours.day", seconds=timedelta(hours=18)).send("hours.dusk")
    dawn = so.timeout("hours.night", seconds=timedelta(hours=6)).send("hours.dawn")
    flash = so.on("hours.dusk").send("main.flash", "side.flash", "walkers.sleep")
    wake = so.on("hours.dawn").send("walkers.wake", "side.stop")

    end_main = so.timeout("main.green", seconds=60).send("main.slow")
    stop_main = so.timeout("main.yellow", seconds=3).send("main.stop")
    let_walk = so.on("main.stop").send("walkers.go", if_enabled=True)
    end_walk = so.timeout("walkers.walk", seconds=12).send("walkers.halt")
    let_side_go = so.on("main.stop", "walkers.halt", cond="nobody_walks").send("side.go")
    end_side = so.timeout("side.green", seconds=24).send("side.slow")
    stop_side = so.timeout("side.yellow", seconds=3).send("side.stop")
    let_main_go = so.on("side.stop").send("main.go")

    def nobody_walks(self) -> bool:
        """Say whether the side street may go."""
        return not self.walkers.walk.is_active

    @so.when("main.green", "walkers.asked")
    def hurry(self) -> None:
        """Let who waits wait for ten seconds; if the green ends before that, it is taken back."""
        self.early = self.post("main.slow", delay=10)

    @so.on_exit("main.green")
    def take_back(self) -> None:
        """The green has ended."""
        if self.early is not None:
            self.early.cancel()


class Fast:
    """A clock of one's own, of two methods: the system's clock, but faster."""

    def __init__(self) -> None:
        self.slow = so.SystemClock()

    def now(self) -> float:
        """Return the time in seconds."""
        return self.slow.now() * LIVE_SPEED

    def call_at(self, when: float, function: Callable[[], object], /) -> Handle:
        """Call a function at a time."""
        return self.slow.call_at(when / LIVE_SPEED, function)


def begin(clock: Clock, tell: Callable[[float, str, str], None]) -> Crossing:
    """Begin at dawn, at 5:00; `tell` is told each phase, and the seconds after dawn."""
    crossing = Crossing(Hours(), Light(), Light(), Walkers())
    so.use_clock(crossing, clock)
    dawn = clock.now()

    def tell_phase(_machine: object, record: Transitioned) -> None:
        tell(clock.now() - dawn, record.machine_name, str(record.entered[0]))

    crossing.bus.signal("*").connect(tell_phase)
    crossing.hours.dawn()
    for seconds in PRESSES:
        clock.call_at(dawn + seconds, partial(crossing.broadcast, "walkers.press"))
    return crossing


def simulate() -> list[tuple[float, str, str]]:
    """Return what happened when: (seconds after dawn, light, phase)."""
    log: list[tuple[float, str, str]] = []
    clock = so.VirtualClock()

    def note(at: float, name: str, phase: str) -> None:
        log.append((at, name, phase))

    crossing = begin(clock, note)  # who holds it keeps its timers
    clock.advance(24 * 3600 - 1)
    print(crossing)
    return log


async def live(seconds: float) -> None:
    """Print the phases as they change."""
    crossing = begin(Fast(), lambda at, name, phase: print(f"{at:7.1f} s  {name:8}{phase}"))
    await asyncio.sleep(seconds)
    print(crossing)


def main() -> None:
    """Print how often each phase began, by blocks of three hours."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--live", type=float, metavar="SECONDS")
    seconds = parser.parse_args().live
    if seconds is not None:
        asyncio.run(live(seconds))
        return
    phases = Counter((at // 10800, name, phase) for at, name, phase in simulate())
    columns = [("main", "green"), ("side", "green"), ("walkers", "walk"), ("main", "flashing")]
    print("hours  " + "".join(f"{' '.join(column):>15}" for column in columns))
    for block in range(8):
        hour = (5 + 3 * block) % 24
        counts = "".join(f"{phases[(block, *column)]:15}" for column in columns)
        print(f"{hour:02}-{(hour + 3) % 24:02}  {counts}")


if __name__ == "__main__":
    main()
