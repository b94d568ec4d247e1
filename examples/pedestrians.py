"""A crossing with a button: right as long as all timers are, and right even when some are late.

Who presses the button waits for 10 seconds; then the cars get yellow for 3 seconds, and red for 12.
With their red the people walk, for 8 seconds. So the people stand again 4 seconds before the cars
go, and a request that comes after that is heard when the cars are green: no guard is needed.

That trusts in the timers. On a busy machine one may be late, and let a shorter time end after a
longer one. `explore` takes the timers as they come with `time="order"`, and finds nothing; with
`time="any"` each may come next, and both promises break.

The second crossing has guards on peers, and timers that ask again: it is right either way.

Run it with `python examples/pedestrians.py`.
"""

from typing import Literal

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on_enter, timeout
from statemachines_orchestrator.exploration import explore, invariant

PRESS = "walkers.press"  # the only thing that comes from outside


class Cars(StateMachine):
    """The light of the cars."""

    green = State(initial=True)
    yellow = State()
    red = State()
    slow = green.to(yellow)
    stop = yellow.to(red)
    go = red.to(green, cond="may_go")

    def may_go(self, orc: "TrustingCrossing") -> bool:
        """Ask the crossing, which sees both lights: a guard."""
        return orc.cars_may_go()


class Walkers(StateMachine):
    """The light of the pedestrians, and their button."""

    stand = State(initial=True)
    asked = State()
    walk = State()
    press = stand.to(asked)
    go = asked.to(walk, cond="may_go")
    halt = walk.to(stand)

    def may_go(self, orc: "TrustingCrossing") -> bool:
        """Ask the crossing, which sees both lights: a guard."""
        return orc.walkers_may_go()


class TrustingCrossing(Orchestrator):
    """Only the lengths of the times keep the two apart."""

    cars: Cars
    walkers: Walkers

    slow = timeout("walkers.asked", seconds=10).send("cars.slow", if_enabled=True)
    stop = timeout("cars.yellow", seconds=3).send("cars.stop")
    walk = on_enter("cars.red").send("walkers.go")
    halt = timeout("walkers.walk", seconds=8).send("walkers.halt")
    go = timeout("cars.red", seconds=12).send("cars.go", if_enabled=True)

    def cars_may_go(self) -> bool:
        """Say yes: the people have come over long ago."""
        return True

    def walkers_may_go(self) -> bool:
        """Say yes: the people go when the cars have got red."""
        return True

    @invariant
    def never_green_for_both(self) -> bool:
        """Cars and people never go at once."""
        return not (self.cars.green.is_active and self.walkers.walk.is_active)


class GuardedCrossing(TrustingCrossing):
    """Each light looks at the other one, and a timer that came too early comes again."""

    slow = timeout("walkers.asked", seconds=10, repeat=True).send("cars.slow", if_enabled=True)
    go = timeout("cars.red", seconds=12, repeat=True).send("cars.go", if_enabled=True)

    def cars_may_go(self) -> bool:
        """Look whether somebody walks."""
        return not self.walkers.walk.is_active

    def walkers_may_go(self) -> bool:
        """Look whether the cars stand."""
        return self.cars.red.is_active


TIMES: tuple[Literal["order", "any"], ...] = ("order", "any")
GOALS = [{"walkers": "walk"}, {"cars": "green"}]


def main() -> None:
    """Walk through both crossings, with timers that are right, and with some that are late."""
    for crossing in (TrustingCrossing, GuardedCrossing):
        for time in TIMES:
            result = explore(crossing, events=PRESS, can_always=GOALS, time=time)
            found = " and ".join(one.kind for one in result.findings) or "nothing"
            print(f"{crossing.__name__}, {time}: {result.states} joint states, {found} found")
            for finding in result.of("invariant", "stuck"):
                print(finding)


if __name__ == "__main__":
    main()
