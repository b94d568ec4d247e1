"""A pedestrian crossing: safety by guards on peers.

The light of the cars and the light of the pedestrians must never be green together.
What must hold at every moment belongs in a guard, not in a reaction: a guard is asked before
the transition is taken, and through `orc` it can look at the other machine.
Here each light looks at the other one before it turns green. So whoever asks, in whatever order,
a dangerous change is refused, and a refused change changes nothing.

The reactions only make the crossing convenient: one light turns green when the other one is red.
Take them away, and the crossing is slow, but still safe.

Run it with `python examples/crossing.py`.
"""

from itertools import product

from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, on, on_enter


class Cars(StateMachine):
    """The light of the cars."""

    green = State(initial=True)
    yellow = State()
    red = State()

    slow = green.to(yellow)
    stop = yellow.to(red)
    go = red.to(green, cond="pedestrians_stand")

    def pedestrians_stand(self, orc: "Crossing") -> bool:
        """Look at the peer: a guard."""
        return orc.pedestrians.red.is_active


class Pedestrians(StateMachine):
    """The light of the pedestrians."""

    red = State(initial=True)
    green = State()

    go = red.to(green, cond="cars_stand")
    stop = green.to(red)

    def cars_stand(self, orc: "Crossing") -> bool:
        """Look at the peer: a guard."""
        return orc.cars.red.is_active


class Crossing(Orchestrator):
    """The two lights, and what one does when the other one changes."""

    cars: Cars
    pedestrians: Pedestrians

    @on_enter("cars.red")
    def let_pedestrians_go(self) -> None:
        """Let the pedestrians go when the cars stand."""
        self.pedestrians.go()

    @on("pedestrians.stop")
    def let_cars_go(self) -> None:
        """Let the cars go when the pedestrians stand."""
        self.cars.go()


EVENTS = ("cars.slow", "cars.stop", "cars.go", "pedestrians.go", "pedestrians.stop")


def send(crossing: Crossing, topic: str) -> bool:
    """Send an event, `machine.event`, and say whether it was taken."""
    machine, event = topic.split(".")
    try:
        crossing.machines[machine].send(event)
    except TransitionNotAllowed:
        return False
    return True


def main() -> None:
    """Cross the street once, and then try everything."""
    crossing = Crossing(cars=Cars(), pedestrians=Pedestrians())
    print(f"{'in the beginning':25} {crossing}")
    for topic in (
        "pedestrians.go",
        "cars.slow",
        "pedestrians.go",
        "cars.stop",
        "cars.go",
        "pedestrians.stop",
    ):
        answer = "taken" if send(crossing, topic) else "refused"
        print(f"{topic:17}{answer:8} {crossing}")

    tried = dangers = 0
    for topics in product(EVENTS, repeat=4):
        crossing = Crossing(cars=Cars(), pedestrians=Pedestrians())
        for topic in topics:
            send(crossing, topic)
            tried += 1
            dangers += crossing.cars.green.is_active and crossing.pedestrians.green.is_active
    print(f"{tried} events sent in every order, both lights green after {dangers} of them")


if __name__ == "__main__":
    main()
