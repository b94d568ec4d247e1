"""Exploration: what must make its answers neither wrong nor endless."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import entered
from statemachine import State, StateMachine

from statemachines_orchestrator import DeclarationError, Fleet, Orchestrator, domain_signal, on
from statemachines_orchestrator._joints import Structure, identity
from statemachines_orchestrator._timers import Kept
from statemachines_orchestrator.exploration import explore, invariant

if TYPE_CHECKING:
    from conftest import Engine


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Pair(Orchestrator):
    one: Light
    two: Light


class Street(Orchestrator):
    """A street with a lamp that is renewed whenever another one is switched."""

    lamps: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])
    spare: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])

    @on("lamps.flip")
    def renew(self) -> None:
        self.spare["a"] = Light()


class Letter:
    """Something without a `repr` of its own."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.copies: list[Any] = [self]


def made(engine: Engine, machine_class: Any) -> Any:
    """Return a machine in its initial state."""
    return entered(engine, engine.machine(machine_class)())


# What makes a state the same ------------------------------------------------------------------


def test_a_posted_object_is_told_by_what_it_consists_of(engine: Engine) -> None:
    """Each state has a copy of its own: no two states differ by where it lies in memory."""

    class Mail(Orchestrator):
        light: Light
        is_written: bool = False

        @on("light.flip")
        def write(self) -> None:
            if not self.is_written:
                self.is_written = True
                self.post("light.flip", letter=[{"to": Letter("me")}], delay=5)

    result = explore(lambda: Mail(made(engine, Light)), key=lambda mail: mail.is_written, limit=50)
    assert (result.states, result.steps, result.complete) == (5, 7, True)


@pytest.mark.parametrize("wrapped", [list, tuple, set, frozenset, deque, lambda one: {"a": one[0]}])
def test_posted_objects_that_differ_are_told_apart(wrapped: Any) -> None:
    """By their attributes, in whatever they stand."""

    def told(text: str, kind: Any = Letter) -> Any:
        return identity((), Kept("a.b", "", 0, (), 0.0, 0.0, 0, args=(wrapped([kind(text)]),)))

    class Parcel(Letter):
        pass

    assert told("me") == told("me")
    assert told("me") != told("you")
    assert told("me") != told("me", Parcel)


def test_states_do_not_grow_dearer_where_members_are_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stands is found again at once, however many states there are."""
    asked: list[None] = []
    is_current: Any = Structure.is_current

    def counted(structure: Any) -> bool:
        asked.append(None)
        return bool(is_current(structure))

    monkeypatch.setattr(Structure, "is_current", counted)
    result = explore(lambda: Street(Fleet({str(key): Light() for key in range(6)})))
    assert (result.states, result.complete) == (129, True)
    assert len(asked) <= 4 * result.steps


# What is found --------------------------------------------------------------------------------


def test_a_signal_that_is_published_for_ever_moves_nothing(engine: Engine) -> None:
    """Where only a signal can be published, and nothing comes of it, it is stuck."""

    class Bell(Orchestrator):
        one: Light
        rings: int = 0
        ring = domain_signal("it rings")

        @on("ring")
        def count(self) -> None:
            self.rings += 1

    assert len(explore(lambda: Bell(made(engine, Light)), events=["ring"]).stuck) == 1
    assert explore(lambda: Bell(made(engine, Light)), events=["ring", "one.flip"]).ok

    class Answered(Bell):
        @on("ring")
        def answer(self) -> Any:
            return self.one.flip()

    assert explore(lambda: Answered(made(engine, Light)), events=["ring"]).ok


def test_a_finding_counts_states_where_there_is_data(engine: Engine) -> None:
    """However many ways lead to a state in which an invariant does not hold, it counts once."""

    class Counting(Pair):
        flips: int = 0

        @on("one.flip", "two.flip")
        def count(self) -> None:
            self.flips += 1

    result = explore(
        lambda: Counting(made(engine, Light), made(engine, Light)),
        invariants=lambda pair: pair.two.current_state_value != "on",
    )
    assert (result.states, [one.count for one in result.findings]) == (4, [2])


def test_predicates_without_a_name_are_told_apart() -> None:
    """By the file and the line, and by their number in it."""
    result = explore(
        Pair,
        invariants=[lambda pair: pair.one.current_state_value == "off", lambda _pair: False],
        can_always=lambda _pair: False,
    )
    name = f"{__name__}.test_predicates_without_a_name_are_told_apart.<locals>.<lambda>"
    place = rf"{name} \(test_exploration_corners\.py, line \d+\)"
    texts = [one.text for one in result.findings]
    assert [bool(re.fullmatch(f"{place}(, number 2)? does not hold", one)) for one in texts] == [
        True,
        True,
        False,
    ]
    assert len({*texts}) == 3
    assert re.fullmatch(f"from here on it can never be that {place}", texts[2])
    assert texts[0] != texts[1]


def test_a_predicate_that_is_a_partial_has_the_name_of_its_function() -> None:
    """A partial object has none of its own."""

    def never(_pair: Any, _more: int) -> bool:
        return False

    result = explore(Pair, invariants=partial(never, _more=3))
    assert result.findings[0].text == "never does not hold"


def test_a_delay_in_a_field_is_told_by_its_topic(engine: Engine) -> None:
    """The report is the same in every exploration: no address stands in it."""

    class Alarm(Orchestrator):
        light: Light
        delay: Any = None

        @on("light.flip")
        def later(self) -> None:
            if self.delay is None:
                self.delay = self.post("light.flip", delay=5)

    def report() -> str:
        return str(
            explore(lambda: Alarm(made(engine, Light)), invariants=lambda alarm: not alarm.delay)
        )

    assert "delay=<Delay of light.flip, due at 5.0>" in report()
    assert report() == report()


def test_an_async_member_that_comes_in_a_running_loop_is_refused() -> None:
    """As one that is there from the beginning: nobody could await its events."""

    class Slow(StateMachine):
        off = State(initial=True)
        on = State()
        flip = off.to(on) | on.to(off)

        async def on_flip(self) -> None:
            """Make the machine async."""

    class Growing(Orchestrator):
        one: Light
        more: Fleet[str, StateMachine] = attrs.field(factory=Fleet[str, StateMachine])

        @on("one.flip")
        def grow(self) -> None:
            self.more.setdefault("a", Slow())

    async def main() -> None:
        explore(lambda: Growing(Light()))

    with pytest.raises(DeclarationError, match="an event loop is running"):
        asyncio.run(main())


def test_one_joint_state_is_told_as_one() -> None:
    """Words are right for one, too."""
    assert str(explore(Pair, events=[], limit=1)).startswith("Pair: 1 joint state, 0 steps; ")


# What hears of machines ------------------------------------------------------------------------


class Door(StateMachine):
    """A machine that has nothing to do with the others."""

    closed = State(initial=True)
    opened = State(final=True)
    open = closed.to(opened)


class Once(StateMachine):
    """Its guard asks a listener."""

    a = State(initial=True)
    b = State()
    c = State(final=True)
    go = a.to(b)
    end = b.to(c, cond="allowed")


class Budget:
    """A listener that keeps something."""

    def __init__(self) -> None:
        self.left = 1

    def on_go(self) -> None:
        self.left -= 1

    def allowed(self) -> bool:
        return self.left >= 0


class Beside(Orchestrator):
    """The listener of its machine is its own data as well."""

    one: Once
    door: Door
    budget: Any = None


def test_the_data_of_a_listener_is_put_back(engine: Engine) -> None:
    """It is put back in the listener itself, which the machine goes on calling."""

    def make(*, is_held: bool) -> Any:
        budget = Budget()
        machine = entered(engine, engine.machine(Once)(listeners=[budget]))
        return Beside(machine, made(engine, Door), budget if is_held else None)

    for is_held in (False, True):
        result = explore(
            partial(make, is_held=is_held),
            invariants=lambda beside: beside.budget is None or beside.budget.left in (0, 1),
        )
        assert (result.states, result.findings) == (6, ())


@attrs.define
class Metrics:
    """Data with an observer."""

    heard: int = 0

    def hear(self, _sender: Any, record: Any) -> None:
        self.heard += record is not None


class Measured(Orchestrator):
    """What its observer counts is what has happened."""

    one: Once
    two: Once
    metrics: Metrics = attrs.field(factory=Metrics)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.bus.signal("*").connect(self.metrics.hear)

    @invariant
    def all_is_counted(self) -> bool:
        moves = ["abc".index(one.current_state_value) for one in (self.one, self.two)]
        return self.metrics.heard == sum(moves)


def free(engine: Engine) -> Any:
    """Return a machine whose guard is satisfied."""
    return entered(engine, engine.machine(Once)(listeners=[Budget()]))


def test_the_data_of_an_observer_is_put_back(engine: Engine) -> None:
    """An observer that is a method of data goes on counting there."""
    result = explore(lambda: Measured(free(engine), free(engine)))
    assert (result.states, result.findings) == (9, ())


def test_a_machine_that_never_rests_is_a_runaway(engine: Engine) -> None:
    """It queues its own next event, in no turn of a cascade: the walk goes on behind it."""

    class Restless(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        ping = a.to.itself()
        end = a.to(b)

        def after_ping(self) -> Any:
            sent = self.ping()
            return None if sent is None else sent.close()

    class Held(Orchestrator):
        one: Restless
        door: Door

    result = explore(lambda: Held(made(engine, Restless), made(engine, Door)))
    assert (result.states, result.complete) == (4, True)
    (runaway,) = result.findings
    assert (runaway.kind, runaway.count) == ("runaway", 2)
    assert runaway.text == "a cascade does not end: one.ping → one.ping"


def test_a_factory_that_wants_arguments_is_refused() -> None:
    """Before it is called, in a sentence."""

    def make(one: Light) -> Pair:
        return Pair(one, Light())

    with pytest.raises(DeclarationError, match=r"missing a required argument: 'one'.*Give it a"):
        explore(make)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="made 'x', which is no orchestrator"):
        explore(partial(str, "x"))  # type: ignore[arg-type]
