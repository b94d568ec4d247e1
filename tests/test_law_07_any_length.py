"""Law 7: a cascade may have any length."""

from __future__ import annotations

import random
import sys
import tracemalloc
from typing import Any, cast

import attrs
import pytest
from statemachine import State, StateMachine

from statemachines_orchestrator import Fleet, Orchestrator, ReactionErrors, RunawayCascadeError, on


class Racket(StateMachine):
    a = State(initial=True)
    hit = a.to.itself()


class Game(Orchestrator):
    ping: Racket
    pong: Racket
    hits: int = 0
    limit: int = 0

    @on("ping.hit")
    def return_ball(self) -> Any:
        return self.play(self.pong)

    @on("pong.hit")
    def serve(self) -> Any:
        return self.play(self.ping)

    def play(self, racket: Any) -> Any:
        self.hits += 1
        return racket.hit() if self.hits < self.limit else None


def game(engine: Any, game_class: Any = Game, **data: Any) -> Any:
    racket = engine.machine(Racket)
    return game_class(racket(), racket(), **data)


def test_a_cascade_is_as_deep_for_many_reactions_as_for_one(engine: Any) -> None:
    """Two thousand hops run at a recursion limit that leaves room for one."""
    deepest: list[int] = []

    class Measured(Game, max_reactions=None):
        def play(self, racket: Any) -> Any:
            depth, frame = 0, cast("Any", sys._getframe())
            while frame is not None:
                depth, frame = depth + 1, frame.f_back
            deepest.append(depth)
            return super().play(racket)

    played = game(engine, Measured, limit=2000)
    engine.run(lambda: played.ping.hit())
    assert played.hits == 2000
    assert len(set(deepest)) <= 2


def most_memory(game_class: Any, limit: int) -> int:
    """Return the most memory that a cascade of so many hops has at a time, in bytes."""
    played = game_class(Racket(), Racket(), limit=limit)
    played.ping.hit()
    tracemalloc.start()
    played.hits = 0
    played.ping.hit()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_a_cascade_keeps_only_what_is_waiting() -> None:
    """The memory at the end of ten thousand hops is that at the end of a thousand."""

    class Unbounded(Game, max_reactions=None):
        pass

    def peak(limit: int) -> int:
        return most_memory(Unbounded, limit)

    peak(100)
    assert peak(10_000) < peak(1000) + 50_000


def test_a_loop_that_repeats_is_named(engine: Any) -> None:
    """At `max_reactions` the error is raised itself, and names the loop."""

    class Bounded(Game, max_reactions=100):
        pass

    played = game(engine, Bounded, limit=1_000_000)
    error = engine.raises(RunawayCascadeError, lambda: played.ping.hit())
    assert error.loop == (
        "ping.hit",
        "Bounded.return_ball",
        "pong.hit",
        "Bounded.serve",
        "ping.hit",
    )
    assert (error.turns, error.waiting, played.hits) == (100, 1, 100)


def test_a_loop_of_posts_is_named(engine: Any) -> None:
    """A posted topic stands once in the loop, before the reaction to it."""

    class Posting(Orchestrator, max_reactions=50):
        ping: Racket
        pong: Racket

        @on("ping.hit")
        def there(self) -> None:
            self.post("pong.hit")

        @on("pong.hit")
        def back(self) -> None:
            self.post("ping.hit")

    error = engine.raises(RunawayCascadeError, game(engine, Posting).ping.hit)
    assert " → ".join(error.loop) == "ping.hit → Posting.there → pong.hit → Posting.back → ping.hit"


def test_a_loop_of_one_is_named(engine: Any) -> None:
    """A reaction that causes itself is a loop of one."""

    class Selfish(Orchestrator, max_reactions=20):
        ping: Racket

        @on("ping.hit")
        def again(self) -> Any:
            return self.ping.hit()

    error = engine.raises(RunawayCascadeError, Selfish(engine.machine(Racket)()).ping.hit)
    assert error.loop == ("ping.hit", "Selfish.again", "ping.hit")


def test_a_runaway_carries_the_failures_and_abandons_the_rest(engine: Any) -> None:
    """Failures so far are notes; what had not run is announced; `settled` is not published."""
    log: list[str] = []

    class Bounded(Game, max_reactions=10):
        @on("ping.hit")
        def fail_once(self) -> None:
            if not log:
                log.append("failed")
                raise ValueError("once")

        @on("settled")
        def rest(self) -> None:
            log.append("settled")

    played = game(engine, Bounded, limit=1_000_000)
    played.bus.signal("abandoned:*").connect(lambda _game, record: log.append(record.name))
    error = engine.raises(RunawayCascadeError, played.ping.hit)
    assert error.__notes__ == [
        "Bounded.fail_once, in reaction to ping.hit (a → a) failed: ValueError('once')"
    ]
    assert log[0] == "failed"
    assert set(log[1:]) <= {"return_ball", "serve", "fail_once"}
    assert len(log) > 1


def test_a_wide_cascade_goes_on_past_the_bound(engine: Any) -> None:
    """Where nothing repeats the bound doubles, and every turn runs."""

    class Wide(Orchestrator, max_reactions=20):
        ping: Racket
        pong: Racket
        hits: int = 0

        @on("ping.hit")
        def fan_out(self) -> None:
            for _ in range(200):
                self.post("pong.hit")

        @on("pong.hit")
        def count(self) -> None:
            self.hits += 1

    wide = game(engine, Wide)
    engine.run(lambda: wide.ping.hit())
    assert wide.hits == 200


def runaway(engine: Any, orchestrator_class: Any, *more: Any) -> Any:
    """Return the error of a cascade that does not end."""
    rackets = [engine.machine(Racket)() for _ in range(4)]
    orchestrator = orchestrator_class(*rackets, *more)
    return engine.raises(RunawayCascadeError, lambda: orchestrator.one.hit())


class Four(Orchestrator):
    one: Racket
    two: Racket
    three: Racket
    four: Racket


def test_a_loop_that_branches_is_a_loop(engine: Any) -> None:
    """Two ways lead back, of one length: what waits grows as fast as what runs."""

    class Branching(Four, max_reactions=200):
        there = on("one.hit").send("two.hit", "three.hit")
        back = on("two.hit", "three.hit").send("one.hit")

    error = runaway(engine, Branching)
    assert error.loop[0] == error.loop[-1] == "one.hit"
    assert error.turns + error.waiting < 1000


def test_a_loop_that_branches_without_a_period_is_a_loop(engine: Any) -> None:
    """Two ways lead back, of different lengths: no trail repeats, little more waits each time."""

    class Uneven(Four, max_reactions=200):
        short = on("one.hit").send("two.hit")
        short_back = on("two.hit").send("one.hit")
        long = on("one.hit").send("three.hit")
        long_on = on("three.hit").send("four.hit")
        long_back = on("four.hit").send("one.hit")

    error = runaway(engine, Uneven)
    assert error.loop[0] == error.loop[-1]
    assert error.turns < 1000


def test_a_loop_that_chooses_its_way_is_a_loop(engine: Any) -> None:
    """Which way it goes is settled by chance: no trail repeats, and nothing grows."""

    class Choosing(Four, max_reactions=200):
        @on("one.hit", "two.hit", "three.hit", "four.hit")
        def choose(self) -> Any:
            return self.chance.choice([self.one, self.two, self.three, self.four]).hit()

        chance: Any = None

    error = runaway(engine, Choosing, random.Random(7))  # noqa: S311 - a game
    assert (error.turns, error.waiting) == (200, 1)
    assert "Choosing.choose" in error.loop


def test_a_loop_of_long_rounds_is_a_loop(engine: Any) -> None:
    """Most turns lead to nothing, and the one that goes round stands somewhere among them."""

    class Ticking(Four, max_reactions=5000):
        @on("one.hit")
        def tick(self) -> None:
            for _ in range(200):
                self.post("two.hit")
            self.post("one.hit")
            for _ in range(200):
                self.post("two.hit")

        @on("two.hit")
        def nothing(self) -> None:
            """Lead to nothing."""

    assert runaway(engine, Ticking).loop == ("one.hit", "Ticking.tick", "one.hit")


def test_a_fleet_that_echoes_itself_is_a_loop(engine: Any) -> None:
    """Each member's event goes to all members: it is found before what waits fills the memory."""

    class Echo(Orchestrator, max_reactions=5000):
        items: Fleet[int, Racket] = attrs.field(factory=Fleet[int, Racket])

        @on("items.hit")
        def echo(self) -> Any:
            return self.broadcast("items.hit")

    echo = Echo(Fleet({key: engine.machine(Racket)() for key in range(60)}))
    error = engine.raises(RunawayCascadeError, lambda: echo.items[7].hit())
    assert error.loop == ("items.hit", "Echo.echo", "items.hit")
    assert error.turns < 200


def test_what_comes_back_a_few_times_is_no_loop(engine: Any) -> None:
    """Tries that end, and much to do after the last one, run past the bound."""

    class Trying(Four, max_reactions=50):
        tries: int = 0
        done: int = 0

        @on("one.hit")
        def again(self) -> Any:
            self.tries += 1
            if self.tries < 9:
                return self.one.hit()
            for _ in range(300):
                self.post("two.hit")
            return None

        @on("two.hit")
        def work(self) -> Any:
            self.done += 1
            return self.three.hit()

    machines = [engine.machine(Racket)() for _ in range(4)]
    trying = Trying(*machines)
    engine.run(lambda: trying.one.hit())
    assert (trying.tries, trying.done) == (9, 300)


def test_a_cascade_below_its_bound_keeps_only_what_is_waiting() -> None:
    """Trails are cut as long as the bound is far: the memory does not grow with the cascade."""

    def peak(limit: int) -> int:
        return most_memory(Game, limit)

    peak(100)
    assert peak(8_000) < peak(2_000) + 150_000  # uncut trails of 6,000 turns fill 380 kB


def test_a_bound_of_none_is_no_bound(engine: Any) -> None:
    """`max_reactions=None` never looks."""

    class Unbounded(Game, max_reactions=None):
        pass

    played = game(engine, Unbounded, limit=500)
    engine.run(lambda: played.ping.hit())
    assert played.hits == 500


def test_a_long_cascade_below_the_default_bound_collects_its_failures(engine: Any) -> None:
    """Nothing of a long cascade is lost: every hop's failure is in the group."""

    class Failing(Game):
        def play(self, racket: Any) -> Any:
            result = super().play(racket)
            if engine.is_async and result is not None:

                async def wait_and_fail() -> None:
                    await result
                    raise ValueError

                return wait_and_fail()
            raise ValueError

    played = game(engine, Failing, limit=300)
    group = engine.raises(ReactionErrors, played.ping.hit)
    assert len(group.exceptions) == 300


@pytest.mark.parametrize("bound", [0, -1, 1.5, True, "many"])
def test_a_bound_that_is_none_is_refused(bound: Any) -> None:
    """A bound is a number of reactions, at least 1, or None."""
    with pytest.raises(TypeError, match="max_reactions"):

        class Bad(Game, max_reactions=bound):
            pass
