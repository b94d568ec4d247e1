"""Exploration: every joint state that outside events can lead to, by running the real thing.

    result = explore(Shop, can_always={"order": ("delivered", "cancelled")})
    print(result)
    assert result.ok

**What runs.** Guards, callbacks and reactions are the real ones, sync and async. A failure in them
is a finding, and never the end of the walk; the state in which its cascade came to rest counts.

**What is sent.** Every event of every machine, to each member of a fleet, without arguments.
`events` narrows it, `["order.pay", "payment.*"]`, or gives arguments, one variant or several:
`{"*": None, "order.pay": [{"amount": 0}, {"amount": 100}]}`; a mapping holds keyword arguments, a
tuple positional ones. A signal of the domain is published if it is named there.

**What is one state.** The configurations of all machines, with what history states remember and
which have ended; the members of fleets; the pending timeouts and posts; and what `key` returns of
the data, which else is that of the first way there. Data that fields, attributes, models and
listeners hold, in slots and in containers too, is put back for each step, by deep copies. What
cannot be copied, a lock, stays the same object in every state; what closures and globals hold is
not put back.

**Time.** The walk has a clock of its own. In every state a pending timer may come due as well: with
`time="any"` each of them, whatever its deadline, which finds races; a state then is which are
pending. With `time="order"` the next by deadline, of several at one time each; a state then is what
each has left. There events are sent at the beginning and when a timer comes due, not in between:
that an event between two deadlines lets its timer come due after the second one, `"any"` finds.

**What is found.** `stuck`: states in which nothing more can happen, while not every machine is
final. `invariant`: violations of what is marked with `@invariant`, or given, asked after every
step; violated is what returns something false other than `None`, and what raises. `goal`: states
from which what `can_always` names cannot be reached any more. `failure`: reactions that failed.
`raised`: events that raised, other than that they were refused. `runaway`: cascades without end,
whose state does not count; a loop is looked for from 1,000 turns on, sooner than `max_reactions`
has it, and a step of more than 10,000 transitions is one as well. Each finding has the path that
leads there: of all paths one with the fewest steps, the first of these. Two explorations of what
behaves the same give the same report.

Beside it: what can be told without running anything (`lint`), and what runs of tests exercised
(`wiring_coverage`).
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import attrs
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator._covering import Covered, Tally, WiringCoverage, wiring_coverage
from statemachines_orchestrator._findings import Exploration, Finding, Replay
from statemachines_orchestrator._goals import (
    goals_of,
    invariant,
    invariants_of,
    predicates_of,
)
from statemachines_orchestrator._linting import Lint, lint
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._walking import Walk
from statemachines_orchestrator._wholes import names_of
from statemachines_orchestrator.exceptions import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from statemachines_orchestrator._goals import Goal, Invariant
    from statemachines_orchestrator._joints import Joint
    from statemachines_orchestrator._steps import Step
    from statemachines_orchestrator._walking import Outcome
    from statemachines_orchestrator.orchestrator import Orchestrator

    Predicate: TypeAlias = Callable[[Any], Any]
    States: TypeAlias = Mapping[str, Any]
    Goals: TypeAlias = Predicate | States | Iterable[Predicate | States]

__all__ = [
    "Covered",
    "Exploration",
    "Finding",
    "Lint",
    "Progress",
    "WiringCoverage",
    "explore",
    "invariant",
    "lint",
    "wiring_coverage",
]

_WHERE = "explore()"
_LIMIT = 100_000
_NOT_HERE = "assert all(finding.path for finding in lost)  # none is lost without a further step"
"""A goal that is lost where a walk begins is found there: the first such state is told."""
_ENDING = (TransitionNotAllowed, DeclarationError, KeyError)
"""In the test of a finding these tell that a step is refused, is not pending, has no member."""
_TOLD_EVERY = 500
"""After so many steps progress is told."""


@attrs.frozen
class Progress:
    """How far an exploration has come."""

    states: int
    """The joint states found until now."""
    steps: int
    """The events and timers tried."""
    waiting: int
    """The joint states found, of which no steps were tried yet."""


def explore(  # noqa: PLR0913 - the options of an exploration
    make: type[Orchestrator] | Callable[[], Orchestrator],
    *,
    events: Mapping[str, Any] | Iterable[str] | str | None = None,
    invariants: Predicate | Iterable[Predicate] | None = None,
    can_always: Goals | None = None,
    may_rest: Goals | None = None,
    key: Callable[[Any], Hashable] | None = None,
    time: Literal["any", "order"] = "any",
    limit: int | None = _LIMIT,
    progress: Callable[[Progress], object] | None = None,
) -> Exploration:
    """Walk, breadth first, through every joint state that outside events can lead to.

    `make` is the class, or a function of no arguments that returns a new orchestrator: with fakes
    in the place of what reaches outside. Of a class the machines are made by their classes.
    `events` narrows what is sent, or gives arguments. `invariants` are predicates of the
    orchestrator. `can_always` and `may_rest` are goals: predicates, or mappings of machines to
    states, `{"order": ("delivered", "cancelled")}`, all of which must hold, of a fleet in every
    member. `key` returns what of the data makes two joint states different. `time` is `"any"` or
    `"order"`. The docstring of the module tells the rules.

    No more than `limit` joint states are looked at; `None` for as many as there are. `progress` is
    called with a `Progress` now and then, and at the end.
    Raises `DeclarationError` for an argument that means nothing, and in a running event loop if
    something is async; `UnknownTopicError` for an event, machine or state that there is not; and
    what `make` and `key` raise.
    """
    _check(time, limit, key=key, progress=progress)
    walk = Walk(make, _WHERE, events=events, key=key, time=time)
    exploring = _Exploring(walk, make, events, limit)
    exploring.predicates = predicates_of(invariants, _WHERE)
    exploring.goals = goals_of(can_always, walk.owner, _WHERE)
    exploring.may_rest = goals_of(may_rest, walk.owner, _WHERE)
    exploring.told = progress
    try:
        return exploring.run()
    finally:
        walk.end()


def _check(time: Any, limit: Any, **functions: Any) -> None:
    """Refuse what means nothing."""
    if not isinstance(time, str) or time not in {"any", "order"}:
        raise DeclarationError(
            _WHERE, f"time={shown(time)} means nothing", "There are any and order"
        )
    if limit is not None and (type(limit) is not int or limit < 1):
        problem = f"limit={shown(limit)} is no number of joint states"
        raise DeclarationError(_WHERE, problem, "Give it a number from 1 on, or None")
    for name, function in functions.items():
        if function is not None and not callable(function):
            problem = f"{name}={shown(function)} is no function"
            raise DeclarationError(_WHERE, problem, "Give it one, or leave it out")


class _Exploring:
    """One exploration: the states found, the steps between them, what was noticed."""

    def __init__(self, walk: Walk, make: Any, events: Any, limit: int | None) -> None:
        self.walk = walk
        self.make = make
        self.events = events
        self.tally = Tally(walk.owner, _WHERE)
        walk.hear = self.tally.hear
        self.limit = limit
        self.predicates: list[Any] = []
        self.goals: list[Goal] = []
        self.may_rest: list[Goal] = []
        self.told: Callable[[Progress], object] | None = None
        self.index: dict[Hashable, int] = {}
        self.joints: list[Joint] = []
        self.parents = array("q")
        self.by: list[Step | None] = []
        """The step that first led to each state."""
        self.failing = bytearray()
        """Whether something failed in it."""
        self.resting = bytearray()
        """Whether a state may be one in which nothing more happens."""
        self.reached: list[bytearray] = []
        """For each goal, whether a state is one."""
        self.open: set[int] = set()
        """The states from which a step leads beyond the limit."""
        self.edges = (array("q"), array("q"))
        self.steps = 0
        self.is_there = True
        """Whether the orchestrator stands where the steps are tried from."""
        self.at_work = 0
        """How many states have been expanded, or are now."""
        self.found: dict[Hashable, Finding] = {}
        self.violated: set[tuple[str, int]] = set()
        """The invariants that do not hold, each with the state in which."""
        self.counts: Counter[Hashable] = Counter()
        self.ignored: Counter[str] = Counter()
        self.seen: set[Any] = set()
        """The configurations that were found, each with the path of its machine."""
        self.asked: WeakKeyDictionary[Any, list[Invariant]] = WeakKeyDictionary()
        """The invariants, by what orchestrators there are."""

    def run(self) -> Exploration:
        """Do it."""
        self.reached = [bytearray() for _ in self.goals]
        key, joint = self.walk.joints.read()
        self.add(key, joint, -1, None, fails=False)
        self.check(0, 0, None, fails=False)
        at = 0
        while at < len(self.joints):
            self.expand(at)
            at += 1
        for number, goal in enumerate(self.goals):
            self.look_back(number, goal)
        self.progress()
        return Exploration(
            name=type(self.walk.owner).__name__,
            states=len(self.joints),
            steps=self.steps,
            complete=not self.open,
            findings=tuple(
                attrs.evolve(finding, count=self.counts[key]) for key, finding in self.found.items()
            ),
            coverage=self.tally.coverage(),
            ignored=dict(self.ignored),
        )

    def progress(self) -> None:
        """Tell how far it has come."""
        if self.told is not None:
            waiting = len(self.joints) - self.at_work
            self.told(Progress(len(self.joints), self.steps, waiting))

    # States -------------------------------------------------------------------------------

    def add(self, key: Hashable, joint: Joint, parent: int, step: Any, *, fails: bool) -> int:
        """Note a new joint state, in which the orchestrator stands now."""
        number = self.index[key] = len(self.joints)
        owner = self.walk.owner
        self.joints.append(joint)
        self.parents.append(parent)
        self.by.append(step)
        self.failing.append(fails)
        may_rest = self.walk.has_ended() or any(goal.holds(owner) for goal in self.may_rest)
        self.resting.append(may_rest)
        for reached, goal in zip(self.reached, self.goals, strict=True):
            reached.append(goal.holds(owner))
        self.see(joint)
        return number

    def see(self, joint: Joint) -> None:
        """Note which states are active."""
        structure = self.walk.joints.structure
        for path, number in zip(structure.paths, joint.locals, strict=True):
            if (path, number) not in self.seen:
                self.seen.add((path, number))
                names = tuple(names_of(path, structure.whole.orchestrators).split("."))
                self.tally.see(names, self.walk.joints.locals[number][0])

    def expand(self, at: int) -> None:
        """Try every step in one state."""
        self.at_work = at + 1
        joint = self.joints[at]
        self.walk.joints.put(joint)
        self.is_there = True
        targets: dict[int, None] = {}
        can_go_on = False
        steps = self.walk.steps(joint)
        self.ignored.update(dict.fromkeys(self.walk.unheard, 1))
        for step in steps:
            if not self.is_there:
                self.walk.joints.put(joint)
            target = self.step(at, step)
            if target is not None:
                targets[target] = None
            can_go_on = can_go_on or bool(self.walk.outcome.moves) or target != at
        for target in targets:
            self.edges[0].append(at)
            self.edges[1].append(target)
        if not can_go_on and not self.resting[at]:
            self.stuck(at)

    def step(self, at: int, step: Step) -> int | None:
        """Try one step, and return where it leads: `None` for nowhere, or beyond the limit."""
        outcome = self.walk.run(step)
        key, found = self.walk.joints.read()
        self.steps += 1
        if self.steps % _TOLD_EVERY == 0:
            self.progress()
        fails = self.note(at, step, outcome)
        self.is_there = False
        if outcome.is_runaway:
            return None
        target = self.index.get(key)
        is_new = target is None
        if target is None:
            if self.limit is not None and len(self.joints) >= self.limit:
                self.open.add(at)
                return None
            target = self.add(key, found, at, step, fails=fails)
        if is_new or found.extra is not None:
            self.check(target, at, step, fails=fails)
        self.is_there = target == at and found.extra is None and self.joints[at].extra is None
        return target

    def way(self, at: int, step: Step | None) -> list[tuple[Step, bool]]:
        """Return the steps that lead to a state, or on from it, and if something failed in each."""
        way: deque[tuple[Any, bool]] = deque([] if step is None else [(step, False)])
        while self.parents[at] >= 0:
            way.appendleft((self.by[at], bool(self.failing[at])))
            at = self.parents[at]
        return list(way)

    # Findings -----------------------------------------------------------------------------

    def find(  # noqa: PLR0913 - the facts of a finding
        self,
        key: tuple[Any, ...],
        text: str,
        at: int,
        step: Step | None,
        *,
        fails: bool = False,
        exception: Exception | None = None,
        check: tuple[Any, ...] = (),
    ) -> None:
        """Keep a finding, if it is the first of its like."""
        self.counts[key] += 1
        if key in self.found:
            return
        way = self.way(at, step)
        failing = [failed for _step, failed in way]
        if step is not None:
            failing[-1] = fails
        replay = Replay(self.make, _WHERE, self.events, tuple(failing), check)
        path = tuple(step for step, _failed in way)
        facts = (text, path, repr(self.walk.owner), exception, 1, replay)
        self.found[key] = Finding(str(key[0]), *facts)

    def note(self, at: int, step: Step, outcome: Outcome) -> bool:
        """Keep what a step brought to light, and return whether something failed in it."""
        if outcome.ignored:
            self.ignored[outcome.ignored] += 1
        error = outcome.error
        if error is None and not outcome.failures:
            return outcome.is_refused
        if outcome.is_runaway:
            loop = " → ".join(getattr(error, "loop", ()))
            self.find(("runaway", loop), f"a cascade does not end: {loop}", at, step, fails=True)
            return True
        for name, failure in outcome.failures:
            key: tuple[Any, ...] = ("failure", name, type(failure))
            text = f"{name} failed: {shown(failure)}"
            self.find(key, text, at, step, fails=True, exception=failure)
        if error is not None:
            key = ("raised", step.kind, step.told_path, step.name, type(error))
            check = self._alone(at, step) if isinstance(error, _ENDING) else ()
            facts: Any = {"fails": True, "exception": error, "check": check}
            self.find(key, f"{step} raised {shown(error)}", at, step, **facts)
        return True

    def _alone(self, at: int, step: Step) -> tuple[Any, ...]:
        """Return what asks whether a step raises what also ends a way in a test: by a walk."""
        extra = self.joints[at].extra
        structure = self.walk.joints.structure if extra is None else extra.structure
        names = names_of(step.path, structure.whole.orchestrators)
        topic = f"{names}.{step.name}" if names else step.name
        events = {topic: dict(step.kwargs) or step.args or None}
        asked = f'(lambda: shop, limit=1, events={events!r}).of("raised")'
        return "assert not ", explore, asked

    def check(self, target: int, at: int, step: Step | None, *, fails: bool) -> None:
        """Ask the invariants, where the orchestrator stands now; a state is counted once."""
        structure = self.walk.joints.structure
        asked = self.asked.get(structure)
        if asked is None:
            asked = self.asked[structure] = list(invariants_of(structure.whole, self.predicates))
        for one in asked:
            is_violated, error = one.violation()
            if is_violated and (one.name, target) not in self.violated:
                self.violated.add((one.name, target))
                told = "" if error is None else f": {shown(error)}"
                check = ("answer = ", *one.source, "\nassert answer or answer is None")
                facts: Any = {"exception": error, "check": check}
                text = f"{one.name} does not hold{told}"
                self.find(("invariant", one.name), text, at, step, fails=fails, **facts)

    def stuck(self, at: int) -> None:
        """Keep that nothing more can happen in a state."""
        self.walk.joints.put(self.joints[at])
        options = self._options(may_rest=self.may_rest)
        check = ("assert not ", explore, "(lambda: shop, limit=1", *options, ").stuck")
        text = "nothing more can happen, and not every machine is final"
        self.find(("stuck", at), text, at, None, check=check)

    def _options(self, **goals: list[Goal]) -> Iterator[Any]:
        """Yield the options of this exploration as source; what is no string by its name."""
        if self.events is not None:
            yield f", events={self.events!r}"
        if self.walk.is_ordered:
            yield ', time="order"'
        if self.walk.joints.key is not None:
            yield from (", key=", self.walk.joints.key)
        for name, several in goals.items():
            for number, goal in enumerate(several):
                yield from (f", {name}=[" if number == 0 else ", ", goal.source)
            yield "]" if several else ""

    def look_back(self, number: int, goal: Goal) -> None:
        """Find the states from which a goal cannot be reached: those that nothing leads back to."""
        reaching = bytearray(self.reached[number])
        before: dict[int, list[int]] = {}
        for source, target in zip(*self.edges, strict=True):
            before.setdefault(target, []).append(source)
        waiting = deque(at for at, is_goal in enumerate(reaching) if is_goal)
        waiting.extend(self.open)
        for at in self.open:
            reaching[at] = True
        while waiting:
            for source in before.get(waiting.popleft(), ()):
                if not reaching[source]:
                    reaching[source] = True
                    waiting.append(source)
        lost = [at for at, reaches in enumerate(reaching) if not reaches]
        if not lost:
            return
        first = lost[0]
        self.walk.joints.put(self.joints[first])
        is_far = self.limit is None or self.limit > _LIMIT
        limit = f", limit={self.limit}" if is_far else ""
        options = self._options(can_always=[goal])
        check = ("lost = ", explore, "(lambda: shop", limit, *options, ').of("goal")\n', _NOT_HERE)
        text = f"from here on it can never be that {goal.text}"
        key = ("goal", number)
        self.find(key, text, first, None, check=check)
        self.counts[key] = len(lost)
