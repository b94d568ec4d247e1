"""The dining philosophers: a deadlock, found by walking through every joint state, and its cure.

Philosophers sit around a table, with one fork between each two of them. Who wants to eat takes one
fork, then another, and puts both down when the meal is over. If each takes the left one first, all
of them may sit there with one fork in the hand, for ever (Dijkstra, 1965).

The cure: the forks have an order, and everybody takes the lower one first. So one of them reaches
to the other side, and the circle is broken.

A guard looks whether a fork is free; a reaction of the table takes it, before anybody else can ask.

Run it with `python examples/philosophers.py`.
"""

from collections.abc import Callable
from functools import partial

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import Fleet, Orchestrator, on
from statemachines_orchestrator.exploration import explore

EVENTS = "philosophers.*"  # the forks do nothing by themselves


class Fork(StateMachine):
    """A fork."""

    free = State(initial=True)
    taken = State()
    take = free.to(taken)
    put = taken.to(free)


class Philosopher(StateMachine):
    """Who thinks, and sometimes eats."""

    thinking = State(initial=True)
    holding = State()  # one fork
    eating = State()
    begin = thinking.to(holding, cond="first_is_free")
    eat = holding.to(eating, cond="second_is_free")
    stop = eating.to(thinking)

    def first_is_free(self, orc: "Dinner") -> bool:
        """Look at a peer: a guard."""
        first, _second = orc.forks_of(orc.philosophers.key_of(self))
        return orc.forks[first].free.is_active

    def second_is_free(self, orc: "Dinner") -> bool:
        """Look at a peer: a guard."""
        _first, second = orc.forks_of(orc.philosophers.key_of(self))
        return orc.forks[second].free.is_active


class Dinner(Orchestrator):
    """A table where everybody takes the left fork first."""

    seats: int = attrs.field(default=5, repr=False)
    philosophers: Fleet[int, Philosopher] = attrs.field(factory=Fleet[int, Philosopher])
    forks: Fleet[int, Fork] = attrs.field(factory=Fleet[int, Fork], repr=False)

    def __attrs_post_init__(self) -> None:
        """Lay the table."""
        self.philosophers.update({seat: Philosopher() for seat in range(self.seats)})
        self.forks.update({seat: Fork() for seat in range(self.seats)})

    def forks_of(self, seat: int) -> tuple[int, int]:
        """Return the forks beside a seat, in the order in which they are taken: left, right."""
        return seat, (seat + 1) % self.seats

    @on("philosophers.begin")
    def take_first(self, key: int) -> None:
        """Take the fork that the guard found free."""
        first, _second = self.forks_of(key)
        self.forks[first].take()

    @on("philosophers.eat")
    def take_second(self, key: int) -> None:
        """Take the fork that the guard found free."""
        _first, second = self.forks_of(key)
        self.forks[second].take()

    @on("philosophers.stop")
    def put_down(self, key: int) -> None:
        """Put both forks down."""
        for fork in self.forks_of(key):
            self.forks[fork].put()


class OrderedDinner(Dinner):
    """A table where everybody takes the lower fork first."""

    def forks_of(self, seat: int) -> tuple[int, int]:
        """Return the forks beside a seat, in the order in which they are taken: by number."""
        left, right = super().forks_of(seat)
        return min(left, right), max(left, right)


def eats(seat: int) -> Callable[[Dinner], bool]:
    """Return a goal: that the philosopher on a seat eats."""
    return lambda dinner: dinner.philosophers[seat].eating.is_active


def main() -> None:
    """Look for states where nobody can go on."""
    for seats in (3, 4, 5):
        result = explore(partial(Dinner, seats), events=EVENTS)
        (stuck,) = result.stuck
        print(f"{seats} philosophers: {result.states} joint states, stuck after {len(stuck.path)}")
    print(explore(Dinner, events=EVENTS).stuck[0])
    for seats in (3, 4, 5):
        goals = [eats(seat) for seat in range(seats)]
        result = explore(partial(OrderedDinner, seats), events=EVENTS, can_always=goals)
        told = "each can always come to eat" if result.ok else result
        print(f"{seats} with an order: {result.states} joint states, {told}")


if __name__ == "__main__":
    main()
