"""Problems whose answers are known: exploration finds what plain tuples say, and no more."""

from __future__ import annotations

import importlib
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from statemachines_orchestrator.exploration import explore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from statemachines_orchestrator.exploration import Exploration, Finding

sys.path.append(str(Path(__file__).parent.parent / "examples"))
alternating_bit: Any = importlib.import_module("alternating_bit")
pedestrians: Any = importlib.import_module("pedestrians")
philosophers: Any = importlib.import_module("philosophers")
two_phase_commit: Any = importlib.import_module("two_phase_commit")


# Plain tuples ----------------------------------------------------------------------------------


def distances(first: Any, after: Callable[[Any], Iterable[Any]]) -> dict[Any, int]:
    """Return every place that can be reached, with the least number of steps to it."""
    found = {first: 0}
    waiting = [first]
    for place in waiting:
        for target in after(place):
            if target not in found:
                found[target] = found[place] + 1
                waiting.append(target)
    return found


def always_reach(
    places: Iterable[Any], after: Callable[[Any], Iterable[Any]], goal: Callable[[Any], bool]
) -> bool:
    """Say whether a goal can be reached from each of some places."""
    return all(any(map(goal, distances(place, after))) for place in places)


# What findings are good for --------------------------------------------------------------------


def as_test_fails(finding: Finding) -> None:
    """Run the test that a finding writes: it must fail, and by its assertion."""
    source = finding.as_test()
    if "import elapse" in source:
        pytest.importorskip("statemachines_orchestrator.testing")
    names: dict[str, Any] = {}
    exec(compile(source, "<as_test>", "exec"), names)  # noqa: S102 - what as_test wrote is run
    (written,) = [one for name, one in names.items() if name.startswith("test_")]
    with pytest.raises(AssertionError):
        written()


def lengths(result: Exploration) -> dict[str, list[int]]:
    """Return how many steps lead to each finding, by its kind."""
    found: dict[str, list[int]] = {}
    for one in result.findings:
        found.setdefault(one.kind, []).append(len(one.path))
    return found


def check_drawing(finding: Finding) -> None:
    """A finding draws its way as a sequence diagram: every event that is sent stands in it."""
    drawing = format(finding, "mermaid")
    assert drawing.startswith("sequenceDiagram\n")
    sent = {step.name for step in finding.path if step.kind == "event"}
    assert sent <= set(re.findall(r"->>\+?m\d+: (\w+)", drawing))


# The dining philosophers -----------------------------------------------------------------------


def plain_dinner(forks: list[tuple[int, int]]) -> Any:
    """Return how philosophers move: what each has, 0 to 2 forks; `forks` are theirs, in order."""

    def after(hands: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        taken = {fork for hand, mine in zip(hands, forks, strict=True) for fork in mine[:hand]}
        for seat, (hand, mine) in enumerate(zip(hands, forks, strict=True)):
            if hand == 2 or mine[hand] not in taken:
                yield (*hands[:seat], (hand + 1) % 3, *hands[seat + 1 :])

    return after


@pytest.mark.parametrize(("seats", "states"), [(3, 14), (4, 34), (5, 82)])
def test_philosophers_with_the_left_fork_first(seats: int, states: int) -> None:
    """They are stuck in one state, each with one fork; 82 = 2 * 34 + 14, as Pell has it."""
    after = plain_dinner([(seat, (seat + 1) % seats) for seat in range(seats)])
    plain = distances((0,) * seats, after)
    result = explore(partial(philosophers.Dinner, seats), events=philosophers.EVENTS)
    assert result.states == states == len(plain)
    assert result.steps == states * seats  # in every state each is asked, and may be refused
    assert [place for place in plain if not list(after(place))] == [(1,) * seats]
    assert plain[(1,) * seats] == seats
    assert lengths(result) == {"stuck": [seats]}
    assert [f"{step}" for step in result.stuck[0].path] == [
        f"philosophers[{seat}].begin()" for seat in range(seats)
    ]


@pytest.mark.parametrize(("seats", "states"), [(3, 12), (4, 29), (5, 70)])
def test_philosophers_with_the_lower_fork_first(seats: int, states: int) -> None:
    """Nobody is stuck, and from everywhere each can come to eat; 70 = 2 * 29 + 12."""
    after = plain_dinner([*((seat, seat + 1) for seat in range(seats - 1)), (0, seats - 1)])
    plain = distances((0,) * seats, after)
    goals = [philosophers.eats(seat) for seat in range(seats)]
    result = explore(
        partial(philosophers.OrderedDinner, seats), events=philosophers.EVENTS, can_always=goals
    )
    assert (result.states, result.ok) == (states, True)
    assert result.states == len(plain)
    for seat in range(seats):
        assert always_reach(plain, after, partial(has_two, seat))


def has_two(seat: int, hands: tuple[int, ...]) -> bool:
    """Say whether the philosopher on a seat has two forks."""
    return hands[seat] == 2


def test_the_deadlock_as_a_test_and_a_drawing() -> None:
    """The test that the deadlock writes fails, and its way is drawn."""
    (stuck,) = explore(philosophers.Dinner, events=philosophers.EVENTS).stuck
    as_test_fails(stuck)
    check_drawing(stuck)


# A crossing with a button ----------------------------------------------------------------------

Lights = tuple[str, str, frozenset[tuple[str, int]]]
"""Cars, walkers, and how many seconds are left of each timer."""
LASTS = {"slow": 10, "stop": 3, "halt": 8, "go": 12}


def pressed(lights: Lights) -> Iterable[Lights]:
    """Yield what comes of the button."""
    cars, walkers, timers = lights
    if walkers == "stand":
        yield cars, "asked", timers | {("slow", LASTS["slow"])}


def fired(lights: Lights, name: str, *, guarded: bool) -> Lights:
    """Return what comes of a timer."""
    cars, walkers, pending = lights
    left = {one: seconds for one, seconds in pending if one != name}
    if guarded and name in {"slow", "go"}:
        left[name] = LASTS[name]  # it comes again, as long as its state lasts
    if name == "slow" and cars == "green":
        cars, left["stop"] = "yellow", LASTS["stop"]
    elif name == "stop":
        cars, walkers, left = "red", "walk", {"go": LASTS["go"], "halt": LASTS["halt"]}
    elif name == "halt":
        walkers = "stand"
    elif name == "go" and not (guarded and walkers == "walk"):
        cars = "green"
        left.pop("go", None)
    return cars, walkers, frozenset(left.items())


def at_any_time(lights: Lights, *, guarded: bool) -> Iterable[Lights]:
    """Yield what may come next if every timer may, so that what is left of it tells nothing."""
    yield from pressed(lights)
    for name, _left in lights[2]:
        cars, walkers, timers = fired(lights, name, guarded=guarded)
        yield cars, walkers, frozenset((one, LASTS[one]) for one, _left in timers)


def passed(lights: Lights, seconds: int) -> Lights:
    """Return the lights after some time."""
    cars, walkers, timers = lights
    return cars, walkers, frozenset((name, left - seconds) for name, left in timers)


def at_deadlines(lights: Lights, *, guarded: bool) -> Iterable[Lights]:
    """Yield what may come next if timers come in order, and the button at a deadline."""
    yield from pressed(lights)
    least = min((left for _name, left in lights[2]), default=0)
    for name, left in lights[2]:
        if left == least:
            yield fired(passed(lights, least), name, guarded=guarded)


def at_seconds(lights: Lights, *, guarded: bool) -> Iterable[Lights]:
    """Yield what may come next if timers come in order, and the button at any second."""
    yield from pressed(lights)
    due = [name for name, left in lights[2] if left == 0]
    for name in due:
        yield fired(lights, name, guarded=guarded)
    if lights[2] and not due:
        yield passed(lights, 1)


CROSSINGS = [
    pytest.param("TrustingCrossing", False, id="trusting"),
    pytest.param("GuardedCrossing", True, id="guarded"),
]
STAND: Lights = ("green", "stand", frozenset())


def crossed(name: str, time: Literal["any", "order"]) -> Exploration:
    """Explore a crossing."""
    cls = getattr(pedestrians, name)
    return explore(cls, events=pedestrians.PRESS, can_always=pedestrians.GOALS, time=time)


@pytest.mark.parametrize(("name", "guarded"), CROSSINGS)
def test_a_crossing_whose_timers_are_right(name: str, guarded: bool) -> None:  # noqa: FBT001
    """Both crossings are right then, whenever the button is pressed."""
    result = crossed(name, "order")
    plain = distances(STAND, partial(at_deadlines, guarded=guarded))
    assert (result.states, result.ok) == (len(plain), True)
    seconds = distances(STAND, partial(at_seconds, guarded=guarded))
    assert plain.keys() < seconds.keys()
    assert not any(lights[:2] == ("green", "walk") for lights in seconds)
    assert not any(lights[:2] == ("green", "asked") and not lights[2] for lights in seconds)


def never_walk(lights: Lights) -> bool:
    """Say whether nobody can ever walk from here on, if every timer may come next."""
    reached = distances(lights, partial(at_any_time, guarded=False))
    return not any(walkers == "walk" for _cars, walkers, _timers in reached)


def test_a_crossing_whose_timers_may_be_late() -> None:
    """Both are green after four steps, and a request is lost after six: seven, and all is still."""
    result = crossed("TrustingCrossing", "any")
    plain = distances(STAND, partial(at_any_time, guarded=False))
    both = min(steps for lights, steps in plain.items() if lights[:2] == ("green", "walk"))
    stuck = plain["green", "asked", frozenset()]
    lost = min(steps for lights, steps in plain.items() if never_walk(lights))
    assert (result.states, both, stuck, lost) == (len(plain), 4, 7, 6)
    assert lengths(result) == {"invariant": [both], "stuck": [stuck], "goal": [lost]}
    for finding in result.findings:
        as_test_fails(finding)
        check_drawing(finding)


def test_a_crossing_whose_timers_may_be_late_and_look_at_the_lights() -> None:
    """With guards, and timers that come again, nothing is found."""
    result = crossed("GuardedCrossing", "any")
    plain = distances(STAND, partial(at_any_time, guarded=True))
    assert (result.states, result.ok) == (len(plain), True)
    assert not any(lights[:2] == ("green", "walk") for lights in plain)


# The alternating bit ---------------------------------------------------------------------------

Numbers = tuple[int, "int | None", int, int, "int | None", bool]
"""The number of the message that is sent, and that in the channel; how many were delivered; the
bit that the receiver waits for, and that in the channel back; whether all was delivered in order.
All modulo 4, so that a message is told from the one before and from the one with the same bit."""


def transmitted(place: Numbers, *, careless: bool) -> Iterable[Numbers]:
    """Yield what may come next."""
    number, carried, delivered, awaited, answer, right = place
    if carried is None:
        yield number, number, delivered, awaited, answer, right
    else:
        yield number, None, delivered, awaited, answer, right  # lost
        bit = carried % 2
        back = bit if answer is None else answer
        if careless or bit == awaited:
            in_order = right and carried == delivered
            yield number, None, (delivered + 1) % 4, 1 - bit, back, in_order
        else:
            yield number, None, delivered, awaited, back, right
    if answer is not None:
        yield number, carried, delivered, awaited, None, right  # lost
        if answer == number % 2:
            all_came = right and delivered == (number + 1) % 4
            yield (number + 1) % 4, carried, delivered, awaited, None, all_came


def bits(place: Numbers) -> tuple[Any, ...]:
    """Return what of a place the machines know: bits, and whether the message has come."""
    number, carried, delivered, awaited, answer, right = place
    state = (delivered - number) % 4 if right else "wrong"
    return number % 2, None if carried is None else carried % 2, awaited, answer, state


FIRST: Numbers = (0, None, 0, 0, None, True)


def test_the_alternating_bit() -> None:
    """Every message comes once and in order, and from everywhere the next one can come."""
    after = partial(transmitted, careless=False)
    plain = distances(FIRST, after)
    result = alternating_bit.explored(alternating_bit.Link)
    assert all(right for *_rest, right in plain)
    assert (result.states, result.ok) == (len(set(map(bits, plain))), True)
    assert all(always_reach(plain, after, partial(awaits, count)) for count in range(4))


def awaits(count: int, place: Numbers) -> bool:
    """Say whether so many messages came, modulo 4."""
    return place[2] == count


LEDGER = {
    ("begin", "delivered"): "sent",
    ("begin", "sent"): "wrong",
    ("deliver", "sent"): "delivered",
    ("deliver", "delivered"): "wrong",
}


def noted(place: tuple[Any, ...]) -> Iterable[tuple[Any, ...]]:
    """Yield what may come next where the receiver takes everything, and the ledger notes it."""
    number, carried, awaited, answer, ledger = place
    if carried is None:
        yield number, number, awaited, answer, ledger
    else:
        yield number, None, awaited, answer, ledger  # lost
        back = carried if answer is None else answer
        yield number, None, 1 - carried, back, LEDGER.get(("deliver", ledger), "wrong")
    if answer is not None:
        yield number, carried, awaited, None, ledger  # lost
        if answer == number:
            begun = LEDGER.get(("begin", ledger), "wrong")
            yield 1 - number, carried, awaited, None, begun


def test_a_receiver_that_ignores_the_bit() -> None:
    """A message comes twice after four steps: sent, delivered, sent again, delivered again."""
    plain = distances(FIRST, partial(transmitted, careless=True))
    result = alternating_bit.explored(alternating_bit.CarelessLink)
    assert result.states == len(distances((0, None, 0, None, "sent"), noted)) == 44
    assert min(steps for (*_rest, right), steps in plain.items() if not right) == 4
    assert lengths(result) == {"invariant": [4]}
    (finding,) = result.findings
    assert [f"{step}" for step in finding.path] == [
        "send_zero comes due",
        "messages.deliver_zero()",
        "send_zero comes due",
        "messages.deliver_zero()",
    ]
    as_test_fails(finding)
    check_drawing(finding)


# Two-phase commit -------------------------------------------------------------------------------

Votes = tuple[str, ...]


def decided(log: str, votes: Votes, *, is_up: bool) -> tuple[str, bool, Votes]:
    """Return a place after the coordinator, if it runs, has looked at the votes."""
    if is_up and log == "waiting":
        if "aborted" in votes:
            log = "aborted"
        elif set(votes) == {"prepared"}:
            log = "committed"
    return log, is_up, votes


def committing(place: Any, *, may_restart: bool, may_crash: bool, patient: bool) -> Iterable[Any]:
    """Yield what may come next."""
    log, is_up, votes = place
    if is_up and may_crash:
        yield log, False, votes
    if not is_up and may_restart:
        yield decided(log, votes, is_up=True)
    for at, vote in enumerate(votes):
        ways = {"working": ["prepared", "aborted"], "prepared": [] if patient else ["aborted"]}
        heard = [log] if is_up and log != "waiting" and vote in ways else []
        if vote == "working" and log == "committed":
            heard = []
        for new in (*ways.get(vote, ()), *heard):
            yield decided(log, (*votes[:at], new, *votes[at + 1 :]), is_up=is_up)


BEGINNING = ("waiting", True, ("working", "working"))
ENDED = {"committed", "aborted"}


@pytest.mark.parametrize(
    ("kind", "power", "found"),
    [
        ("Transaction", (), set()),
        ("Transaction", ("power.crash",), {"stuck", "goal"}),
        ("Transaction", ("power.crash", "power.restart"), set()),
        ("Impatient", ("power.crash", "power.restart"), {"invariant"}),
    ],
)
def test_the_two_phase_commit(kind: str, power: tuple[str, ...], found: set[str]) -> None:
    """A crash blocks, a restart mends that, and impatience breaks the promise: as plain tuples."""
    after = partial(
        committing,
        may_crash="power.crash" in power,
        may_restart="power.restart" in power,
        patient=kind == "Transaction",
    )
    plain = distances(BEGINNING, after)
    result = two_phase_commit.explored(getattr(two_phase_commit, kind), *power)
    assert result.states == len(plain)
    assert {one.kind for one in result.findings} == found
    stuck = [at for at in plain if not [*after(at)] and not set(at[2]) <= ENDED]
    assert sorted(len(one.path) for one in result.stuck) == sorted(plain[at] for at in stuck)
    broken = [steps for (_log, _up, votes), steps in plain.items() if set(votes) == ENDED]
    assert [len(one.path) for one in result.of("invariant")] == sorted(broken)[:1]
    for finding in result.findings:
        as_test_fails(finding)
        check_drawing(finding)
