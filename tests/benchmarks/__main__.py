"""Print what an orchestrator costs, side by side with what it is made of.

    python tests/benchmarks [--quick] [--beside PYTHON]

Each line compares two contestants, which take turns within one run: a stretch of one, a stretch of
the other, many rounds, the garbage collector off during a stretch. It prints the median of each in
process time, which a busy machine disturbs little, the median of the rounds' ratios, and the bound
that the project set itself, where it set one. A bound that is missed is printed, and fails nothing.
With `--beside` a process with another host takes turns with this one: it runs the hop by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable
from contextlib import closing, contextmanager
from contextvars import Context
from functools import partial
from importlib.metadata import version
from statistics import median
from time import process_time_ns
from types import new_class
from typing import TYPE_CHECKING, Any

import attrs
import statemachine
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Orchestrator,
    SystemClock,
    VirtualClock,
    every,
    on,
    on_enter,
    on_exit,
    timeout,
    use_clock,
    when,
)
from statemachines_orchestrator._fast import CHECKED
from statemachines_orchestrator.exploration import explore
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Generator

    from statemachines_orchestrator.clock import Clock
    from statemachines_orchestrator.exploration import Progress

HOST_IS_3 = hasattr(statemachine, "StateChart")
TOPICS = 8
Stretch = Callable[[int], object]
"""Does the same thing so many times."""


# The contestants ------------------------------------------------------------------------------


class Player(StateMachine):
    """The machine of all contestants: two states, no callbacks."""

    near = State(initial=True)
    far = State()
    hit = near.to(far) | far.to(near)


class LoudPlayer(Player):
    """The same with three callbacks."""

    def before_hit(self) -> None:
        """Do nothing."""

    def on_hit(self) -> None:
        """Do nothing."""

    def after_hit(self) -> None:
        """Do nothing."""


class AsyncPlayer(Player):
    """The same on the host's async engine, which it runs on for its one `async def`."""

    async def on_hit(self) -> None:
        """Do nothing."""


class Pair(Orchestrator):
    """Two machines to which nobody listens."""

    ping: Player
    pong: Player


class FastPair(Pair, fast=True):
    """Two machines on the fast lane."""


class FastLoudPair(Orchestrator, fast=True):
    """Two machines with callbacks on the fast lane."""

    ping: LoudPlayer
    pong: LoudPlayer


class AsyncPair(Orchestrator):
    """Two async machines to which nobody listens."""

    ping: AsyncPlayer
    pong: AsyncPlayer


class Game(Orchestrator, max_reactions=1_000_000):
    """A cascade: each hit leads to one of the other machine, as long as any are `left`."""

    ping: Player
    pong: Player
    left: int = 0

    @on("ping.hit")
    def return_ball(self) -> None:
        """Hit it back."""
        if self.left:
            self.left -= 1
            self.pong.hit()

    @on("pong.hit")
    def serve(self) -> None:
        """Hit it again."""
        if self.left:
            self.left -= 1
            self.ping.hit()

    def play(self, hops: int) -> None:
        """Run one cascade of so many hops: transition, reaction, next transition."""
        self.left = hops
        self.ping.hit()


class FastGame(Game, fast=True):
    """The same on the fast lane."""


class Joined(Pair):
    """A pair with a join that hears of every hit."""

    @when("ping.far", "pong.far")
    def both_far(self) -> None:
        """Do nothing."""


def with_joins(count: int) -> Any:
    """Return a pair of machines, and joins that hear of the second one only."""
    joins = {f"join_{number}": on_its_own(number) for number in range(count)}
    annotations = {"ping": Player, "pong": Player}
    body = {"__annotations__": annotations, "__module__": __name__, **joins}
    return new_class("Crowded", (Orchestrator,), {}, lambda namespace: namespace.update(body))


def on_its_own(number: int) -> Any:
    """Return a join of the second machine."""

    def join(_self: Any) -> None:
        """Do nothing."""

    join.__name__ = f"join_{number}"
    return when("pong.far")(join)


class Team(Orchestrator):
    """A fleet to which nobody listens."""

    players: Fleet[int, Player] = attrs.field(factory=Fleet[int, Player])


class CountedTeam(Team):
    """A fleet whose members are counted."""

    @when(players=every("far"))
    def all_far(self) -> None:
        """Do nothing."""


class Timed(Orchestrator, clock=VirtualClock):
    """A fleet whose members have a time while they are far."""

    players: Fleet[int, Player] = attrs.field(factory=Fleet[int, Player])

    @timeout("players.far", seconds=1_000)
    def too_far(self) -> None:
        """Do nothing."""


class Wheel(StateMachine):
    """A machine that goes round in four states."""

    north = State(initial=True)
    east = State()
    south = State()
    west = State()
    turn = north.to(east) | east.to(south) | south.to(west) | west.to(north)


class Wheels(Orchestrator):
    """Five of them: 1,024 joint states, and five steps from each."""

    one: Wheel
    two: Wheel
    three: Wheel
    four: Wheel
    five: Wheel


class TimedWheels(Orchestrator):
    """Four of them, each with a time in one state: 256 joint states, and a time is a step."""

    wheels: Fleet[int, Wheel] = attrs.field(
        factory=lambda: Fleet[int, Wheel]({number: Wheel() for number in range(4)})
    )

    @timeout("wheels.west", seconds=1)
    def turn(self, key: int) -> None:
        """Turn it."""
        self.wheels[key].send("turn")


class HandPlayer(Player):
    """A machine linked by hand: where the orchestrator has a reaction, it has a callback."""

    waiting: deque[Callable[[], None]]
    follow: Callable[[], None]

    def after_hit(self) -> None:
        """Queue what follows."""
        self.waiting.append(self.follow)


class HandGame:
    """The same game over bare machines, through the FIFO that one writes by hand.

    What follows a hit acts next, with every machine at rest, as in a cascade. Nothing else is
    there: no failures kept, no bound, no threads or tasks, no records, no observers.
    """

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self.left = 0
        self.ping, self.pong = HandPlayer(), HandPlayer()
        self.ping.waiting = self.pong.waiting = self.waiting
        self.ping.follow, self.pong.follow = self.return_ball, self.serve

    def return_ball(self) -> None:
        """Hit it back."""
        if self.left:
            self.left -= 1
            self.pong.hit()

    def serve(self) -> None:
        """Hit it again."""
        if self.left:
            self.left -= 1
            self.ping.hit()

    def play(self, hops: int) -> None:
        """Hit once from outside, then run everything that waits."""
        self.left = hops
        self.ping.hit()
        while self.waiting:
            self.waiting.popleft()()


class Rally(Game, max_reactions=None):
    """A game that stops its clock every thousand hops, and then lets another contestant run."""

    def __attrs_post_init__(self) -> None:
        """Start without a rival."""
        self.rival: Callable[[], float] = float
        self.rounds: list[list[float]] = []
        self.resumed = 0

    def return_ball(self) -> None:
        """Hit it back, after a break if it is time for one."""
        if self.left % 1000 == 0:
            taken = process_time_ns() - self.resumed
            self.rounds.append([taken / 1000, Context().run(self.rival)])
            self.resumed = process_time_ns()
        super().return_ball()


class Watched(Orchestrator):
    """Eight topics with a reaction."""

    ping: Player
    pong: Player

    @on("ping.hit", "pong.hit", "ping.*", "pong.*")
    @on_enter("ping.far", "pong.far")
    @on_exit("ping.near", "pong.near")
    def watch(self) -> None:
        """Do nothing."""


def hits(player: Any) -> Stretch:
    """Return the stretch that sends a machine event after event."""

    def stretch(size: int) -> None:
        for _ in range(size):
            player.hit()

    return stretch


def awaited_hits(loop: asyncio.AbstractEventLoop, player: Any) -> Stretch:
    """Return the stretch that sends an async machine event after event."""

    async def stretch(size: int) -> None:
        for _ in range(size):
            await player.hit()

    return lambda size: loop.run_until_complete(stretch(size))


def plays(game: Game | HandGame) -> Stretch:
    """Return the stretch that is one cascade, with as many transitions as turns."""
    return lambda size: game.play(size - 1)


def builds(build: Callable[[], object]) -> Stretch:
    """Return the stretch that builds one thing after another."""
    return lambda size: [build() for _ in range(size)]


def bare_pair() -> object:
    """Build two machines without an orchestrator."""
    return Player(), Player()


def orchestrated(kind: type[Orchestrator]) -> Callable[[], Any]:
    """Return what builds an orchestrator of two machines."""
    return lambda: kind(Player(), Player())


# Measuring ------------------------------------------------------------------------------------


@contextmanager
def beside(python: str) -> Generator[tuple[str, Callable[[int], float]]]:
    """Start a process with another host; yield its version, and what runs a hop by hand in it."""
    command = [python, __file__, "--by-hand"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def run(size: int) -> float:
            print(size, file=asked, flush=True)
            return float(told.readline())

        yield told.readline().strip(), run
        asked.close()


def serve() -> None:
    """Run the hop by hand as often as the process that started this one says."""
    print(version("python-statemachine"), flush=True)
    by_hand = plays(HandGame())
    for size in map(int, sys.stdin):
        print(timed(by_hand, size), flush=True)


def timed(stretch: Stretch, size: int) -> float:
    """Return the nanoseconds of process time that one of `size` units takes."""
    gc.collect(1)  # what the stretch before left behind; the collector does not run by itself
    begun = process_time_ns()
    stretch(size)
    return (process_time_ns() - begun) / size


def weight(build: Callable[[], object], count: int) -> float:
    """Return the bytes that each of `count` built things takes."""
    build()
    gc.collect()
    tracemalloc.start()
    built = [build() for _ in range(count)]
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (taken - built.__sizeof__()) / count


def walked(kind: type[Orchestrator], _size: int) -> object:
    """Explore an orchestrator: the stretch that is as long as it is."""
    return explore(kind)


def state_weight(kind: type[Orchestrator]) -> float:
    """Return the bytes that an exploration takes for each joint state, when all are found."""
    taken: list[float] = []

    def note(progress: Progress) -> None:
        if not progress.waiting:
            taken.append(tracemalloc.get_traced_memory()[0] / progress.states)

    explore(kind)
    gc.collect()
    tracemalloc.start()
    explore(kind, progress=note)
    tracemalloc.stop()
    return taken[-1]


class Bench:
    """Measures, and prints a line of the table for each comparison."""

    def __init__(self, *, quick: bool, other: str | None) -> None:
        self.other = other
        """The Python that has another host."""
        self.rounds = 3 if quick else 151
        self.stretch_ns = 1e6 if quick else 12e6
        self.crowd = 200 if quick else 10_000
        self.built = 20 if quick else 1_000
        self.hops = 5_000 if quick else 100_000
        self.members = 500 if quick else 100_000

    def run(self) -> None:
        """Print the whole table."""
        host, python = version("python-statemachine"), platform.python_version()
        print(f"\npython-statemachine {host}, Python {python}, {self.rounds} rounds")
        print(f"{'this / that':<48}{'this':>13}{'that':>13}{'':>13}   bound")
        self.events()
        self.hop()
        if version("python-statemachine") in CHECKED:
            self.lane()
        self.building()
        self.memory()
        self.length()
        self.strangers()
        self.joins()
        self.fleets()
        self.timers()
        self.traces()
        self.exploration()

    def events(self) -> None:
        """Compare an event that nobody subscribed to with a bare machine's."""
        ours, bare = hits(Pair(Player(), Player()).ping), hits(Player())
        print_times("event / bare event", self.rates(ours, bare), 1.15 if HOST_IS_3 else None)
        with closing(asyncio.new_event_loop()) as loop:
            ours = awaited_hits(loop, AsyncPair(AsyncPlayer(), AsyncPlayer()).ping)
            bare = awaited_hits(loop, AsyncPlayer())
            rates = self.rates(ours, bare)
        print_times("async event / bare async event", rates, 1.5 if HOST_IS_3 else None)

    def hop(self) -> None:
        """Compare a hop of a cascade with a bare event, and with a hop by hand."""
        rates = self.rates(plays(Game(Player(), Player())), hits(Player()), plays(HandGame()))
        print_times("hop / bare event", [[ours, bare] for ours, bare, _ in rates], None)
        by_hand = [[ours, hand] for ours, _, hand in rates]
        print_times("hop / hop by hand", by_hand, 1.2 if HOST_IS_3 else 1.5)

    def lane(self) -> None:
        """Compare events and hops on the fast lane with bare machines, and with hops by hand."""
        rates = self.rates(hits(FastPair(Player(), Player()).ping), hits(Player()))
        print_times("fast event / bare event", rates, 0.15)
        loud = FastLoudPair(LoudPlayer(), LoudPlayer())
        rates = self.rates(hits(loud.ping), hits(LoudPlayer()))
        print_times("fast event, three callbacks / bare event", rates, 0.3)
        game = plays(FastGame(Player(), Player()))
        print_times("fast hop / hop by hand", self.rates(game, plays(HandGame())), 0.25)
        if self.other is None:
            return
        with beside(self.other) as (host, by_hand):
            size = max(10, int(self.stretch_ns / timed(game, 10)))
            by_hand(size)
            rates = [[timed(game, size), by_hand(size)] for _ in range(self.rounds)]
        print_times(f"fast hop / hop by hand on {host}", rates, 1.0)

    def building(self) -> None:
        """Compare building an orchestrator of two machines with building two machines."""
        for kind, what in ((Pair, "no reactions"), (Watched, f"{TOPICS} reactions")):
            label = f"building two, {what} / two bare"
            rates = self.rates(builds(orchestrated(kind)), builds(bare_pair))
            print_times(label, rates, 1.5 if kind is Pair else None)

    def memory(self) -> None:
        """Compare the memory of an orchestrator of two machines with that of two machines."""
        bare, pair, watched = (
            weight(build, self.built) / 1000
            for build in (bare_pair, orchestrated(Pair), orchestrated(Watched))
        )
        for label, ours, theirs, each, bound in (
            ("memory of two, over two bare machines", pair, bare, pair - bare, 14),
            ("memory of a topic with a reaction", watched, pair, (watched - pair) / TOPICS, 1.8),
        ):
            shown = tuple(f"{size:.2f} kB" for size in (ours, theirs, each))
            print_row(label, shown, each, bound)

    def length(self) -> None:
        """Compare a transition and its turn in a long cascade with one in a cascade of one hop."""
        rally, short = Rally(Player(), Player()), Rally(Player(), Player())

        def play_short(size: int) -> None:
            for _ in range(size):
                short.play(1)

        rally.rival = lambda: timed(play_short, 200) / 2
        rally.play(self.hops)
        print_times(f"hop, cascade of {self.hops:,} / cascade of 1", rally.rounds[1:], 1.05)

    def strangers(self) -> None:
        """Compare a hop among few other machines and reactions with one among many.

        Two crowds cannot take turns: what a bare event shows of the machine's drift is taken out.
        """
        game, bare = plays(Game(Player(), Player())), hits(Player())
        few, many = 10, self.crowd
        crowd = [Game(Player(), Player()) for _ in range(few // 2)]
        among_few = self.rates(game, bare)
        crowd += [Game(Player(), Player()) for _ in range((many - few) // 2)]
        gc.freeze()  # the collector need not walk through the crowd between stretches
        among_many = self.rates(game, bare)
        drift = median(bare for _, bare in among_many) / median(bare for _, bare in among_few)
        ours = median(hop for hop, _ in among_many) / drift
        theirs = median(hop for hop, _ in among_few)
        label = f"hop among {len(crowd) * 2:,} / among {few} machines, reactions"
        print_row(
            label, (micro(ours), micro(theirs), f"{ours / theirs:.3f} x"), ours / theirs, 1.05
        )

    def joins(self) -> None:
        """Compare events with joins that hear of them, and with joins that do not."""
        joined, plain = hits(Joined(Player(), Player()).ping), hits(Pair(Player(), Player()).ping)
        print_times("event that a join hears of / event", self.rates(joined, plain), None)
        many, one = (with_joins(count)(Player(), Player()) for count in (1_000, 1))
        rates = self.rates(hits(many.machines["ping"]), hits(one.machines["ping"]))
        print_times("event beside 1,000 joins / beside one", rates, 1.05)

    def fleets(self) -> None:
        """Compare members' events and puttings in: with a field's, in a large fleet, in a small."""
        team, counted, few = Team(), CountedTeam(), CountedTeam()
        self.grow(team, self.members)
        rates = [
            [median(self.grow(fleet, 200)) for fleet in (team, Team())] for _ in range(self.rounds)
        ]
        print_times(f"putting in beyond {self.members:,} / the first", rates, 1.1)
        member, field = hits(team.players[self.members - 1]), hits(Pair(Player(), Player()).ping)
        print_times("event of a member / of a field", self.rates(member, field), 1.05)
        self.grow(counted, self.members)
        self.grow(few, 10)
        rates = self.rates(hits(counted.players[0]), hits(few.players[0]))
        print_times(f"counted event, {self.members:,} members / 10", rates, 1.05)

    def traces(self) -> None:
        """Compare an event that is recorded with one that is not, and one after a recording."""
        recorded, plain = Pair(Player(), Player()), Pair(Player(), Player())
        with tracing(recorded, last=1000):
            rates = self.rates(hits(recorded.ping), hits(plain.ping))
        print_times("event in a trace / event", rates, 1.25 if HOST_IS_3 else None)
        rates = self.rates(hits(recorded.ping), hits(plain.ping))
        print_times("event after a trace / event", rates, 1.05)

    def exploration(self) -> None:
        """Compare a step of an exploration with a bare event; tell what a joint state takes."""
        bare = hits(Player())
        for kind, told, bound in (
            (Wheels, "", 3.0 if HOST_IS_3 else None),
            (TimedWheels, ", with timers", None),
        ):
            walk = partial(walked, kind)
            steps = explore(kind).steps
            rounds = range(max(3, self.rounds // 10))
            rates = [[timed(walk, 1) / steps, timed(bare, steps)] for _ in rounds]
            print_times(f"step of an exploration{told} / bare event", rates, bound)
        each = state_weight(Wheels) / 1000
        print_row("memory of a joint state", ("", "", f"{each:.2f} kB"), each, 1.0)

    def timers(self) -> None:
        """Compare an event that begins or ends a time among many pending ones with one alone."""
        many, few = VirtualClock(), VirtualClock()
        timed, lone = Timed(), Timed()
        use_clock(timed, many)
        use_clock(lone, few)
        timed.players[0], lone.players[0] = Player(), Player()
        for number in range(self.members):
            many.call_at(float(number + 1), timed.players[0].hit)
        rates = self.rates(hits(timed.players[0]), hits(lone.players[0]))
        label = f"event that sets a timer, among {self.members:,} / alone"
        print_times(label, rates, 1.2)
        untimed = Team()
        untimed.players[0] = Player()
        rates = self.rates(hits(lone.players[0]), hits(untimed.players[0]))
        print_times("event that sets or ends a timer / event", rates, None)
        self.timer_memory()

    def timer_memory(self) -> None:
        """Compare what the last event leaves behind with a pending timeout, and without."""

        async def on_a_loop() -> float:
            return self.left_by_a_hit(Timed(), SystemClock())

        plain = self.left_by_a_hit(Team(), VirtualClock())
        for where, timed in (
            ("virtual", self.left_by_a_hit(Timed(), VirtualClock())),
            ("thread", self.left_by_a_hit(Timed(), SystemClock())),
            ("event loop", asyncio.run(on_a_loop())),
        ):
            each = (timed - plain) / 1000
            label = f"memory of a pending timeout, {where}"
            print_row(label, ("", "", f"{each:.2f} kB"), each, 0.5)

    def left_by_a_hit(self, team: Team | Timed, clock: Clock) -> float:
        """Return the bytes that a hit of each member leaves behind."""
        use_clock(team, clock)
        for number in range(self.built):
            team.players[number] = Player()
            for _ in range(2):  # what the first events leave is not that of a timer
                team.players[number].hit()
        gc.collect()
        tracemalloc.start()
        for number in range(self.built):
            team.players[number].hit()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return taken / self.built

    def grow(self, team: Team, count: int) -> list[float]:
        """Put members into a team, and return what each putting in took, without building it."""
        taken: list[float] = []
        for number in range(len(team.players), len(team.players) + count):
            player = Player()
            begun = process_time_ns()
            team.players[number] = player
            taken.append(process_time_ns() - begun)
        return taken

    def rates(self, *stretches: Stretch) -> list[list[float]]:
        """Return, round by round, what a unit of each stretch takes."""
        timed(stretches[0], 10)
        size = max(10, int(self.stretch_ns / timed(stretches[0], 10)))
        for stretch in stretches:
            stretch(size)
        return [[timed(stretch, size) for stretch in stretches] for _ in range(self.rounds)]


# The table ------------------------------------------------------------------------------------


def micro(nanoseconds: float) -> str:
    """Return a time in microseconds."""
    return f"{nanoseconds / 1000:.2f} µs"


def print_times(label: str, rates: list[list[float]], bound: float | None) -> None:
    """Print a line of times: the medians, and the median of the rounds' ratios."""
    ours, theirs = (median(column) for column in zip(*rates, strict=True))
    ratio = median(mine / other for mine, other in rates)
    print_row(label, (micro(ours), micro(theirs), f"{ratio:.3f} x"), ratio, bound)


def print_row(label: str, shown: tuple[str, ...], value: float, bound: float | None) -> None:
    """Print a line, with the bound and whether it is kept."""
    line = f"{label:<48}" + "".join(f"{column:>13}" for column in shown)
    if bound is not None:
        line += f"   ≤ {bound:<5g} {'kept' if value <= bound else 'MISSED'}"
    print(line, flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Print what an orchestrator costs.")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--beside", metavar="PYTHON", help="a Python that has another host")
    parser.add_argument("--by-hand", action="store_true", help="be what runs beside")
    options = parser.parse_args()
    gc.disable()
    if options.by_hand:
        serve()
    else:
        Bench(quick=options.quick, other=options.beside).run()


if __name__ == "__main__":
    main()
