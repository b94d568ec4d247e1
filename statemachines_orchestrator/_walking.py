"""Walking: an orchestrator is made, and taken from joint state to joint state by real steps."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from inspect import signature
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator._attrs import attributes_of
from statemachines_orchestrator._clocks import use_clock
from statemachines_orchestrator._engine import forget_queued
from statemachines_orchestrator._host import has_ended
from statemachines_orchestrator._joints import Joints
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._sending import Target
from statemachines_orchestrator._steps import Alphabet, Step
from statemachines_orchestrator._telling import named, place_in_words
from statemachines_orchestrator._wholes import Memo, Whole, kept, names_of, words_of
from statemachines_orchestrator.clock import VirtualClock
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    ReactionErrors,
    RunawayCascadeError,
)
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.records import (
    Failed,
    Ignored,
    Started,
    Transitioned,
    next_seq,
)
from statemachines_orchestrator.topics import ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from statemachines_orchestrator._joints import Joint
    from statemachines_orchestrator._timers import Kept
    from statemachines_orchestrator._wholes import Path
    from statemachines_orchestrator.records import Record

__all__ = ["Outcome", "Walk", "call_of", "called", "come_due", "made", "source_of"]

_HEARD = (ANY, "started:*", "ignored:*", "failed:*")
"""What tells whether anything happened, and what."""
MOST_TURNS = 1_000
"""A walk looks for loops sooner than operation does: the bound that is no loop doubles anyway."""


MOST_MOVES = 10 * MOST_TURNS
"""A machine that queues events for itself without end comes to no turn: it is stopped here."""


class _Endless(BaseException):
    """Stops a step that does not end, whatever its callbacks catch."""


def made(make: Any, where: str) -> Any:
    """Make an orchestrator: by a factory, or of a class, whose machines are made by theirs."""
    cls = make if isinstance(make, type) else None
    if cls is not None and issubclass(cls, Orchestrator):
        owner: Any = cls(**_arguments(cls, where))
    elif callable(make):
        _check_arguments(make, where)
        owner = make()
    else:
        problem = f"it was given {shown(make)}, which makes no orchestrator"
        fix = "Give it the class, or a function of no arguments that returns one"
        raise DeclarationError(where, problem, fix)
    if not isinstance(owner, Orchestrator):
        problem = f"{shown(make)} made {shown(owner)}, which is no orchestrator"
        raise DeclarationError(where, problem, "Let it return one")
    if place_of(owner) is None or place_of(owner).holder is not None:
        problem = f"{shown(owner)} is held by another orchestrator, or not built yet"
        raise DeclarationError(where, problem, "Give it the outermost one")
    return owner


def _check_arguments(make: Any, where: str) -> None:
    """Refuse what wants to be called with arguments."""
    try:
        parameters = signature(make)
    except (TypeError, ValueError):  # a builtin may not tell
        return
    try:
        parameters.bind()
    except TypeError as error:
        problem = f"{shown(make)} cannot be called without arguments: {error}"
        fix = "Give it a function of no arguments that returns an orchestrator"
        raise DeclarationError(where, problem, fix) from None


def _kinds(cls: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that a constructor must be given, each with the class of the machine.

    For what cannot be made without being told how it is `None`.
    """
    fields = cls.__declaration__.fields
    for field in attributes_of(cls):
        if field.init and field.default is attrs.NOTHING:
            known = fields.get(field.name)
            classes: Any = () if known is None or known.fleet else known.classes or ()
            yield field.alias, classes[0] if len(classes) == 1 else None


def _arguments(cls: Any, where: str) -> dict[str, Any]:
    """Return what the constructor of a class must be given: machines, made by their classes."""
    arguments: dict[str, Any] = {}
    for name, kind in _kinds(cls):
        if kind is None:
            problem = f"{cls.__name__} cannot be made: what is {name!r} to be?"
            fix = "Give it a function of no arguments that makes one"
            raise DeclarationError(where, problem, fix)
        inner = issubclass(kind, Orchestrator)
        arguments[name] = kind(**_arguments(kind, where)) if inner else kind()
    return arguments


@attrs.define
class Outcome:
    """What came of one step."""

    ignored: str = ""
    """The event that enabled no transition, if there was one."""
    error: Exception | None = None
    """What the step raised, other than that it was refused."""
    is_refused: bool = False
    moves: list[Any] = attrs.Factory(list[Any])
    """The records of the transitions."""
    failures: list[tuple[str, Exception]] = attrs.Factory(list[tuple[str, Exception]])
    """The reactions, posts and observers that failed."""

    @property
    def is_runaway(self) -> bool:
        """Whether a cascade went round in a loop."""
        return isinstance(self.error, RunawayCascadeError)


class Walk:
    """One orchestrator that is walked through its joint states."""

    def __init__(
        self,
        make: Any,
        where: str,
        *,
        events: Any = None,
        key: Callable[[Any], Hashable] | None = None,
        time: str = "any",
    ) -> None:
        owner = self.owner = made(make, where)
        self.where = where
        _refuse_running_loop(owner, where)
        use_clock(owner, VirtualClock())
        self.bounds = [(place, place.max_reactions) for place in Whole(owner).places()]
        """The bounds that there were; a walk looks for loops sooner."""
        for place, bound in self.bounds:
            place.max_reactions = min(bound or MOST_TURNS, MOST_TURNS)
        self.alphabet = Alphabet(owner, events, where)
        self.joints = Joints(owner, key, time)
        self.is_ordered = time == "order"
        self.hear: Callable[[Record], None] | None = None
        """Who else hears what transitions and turns there are."""
        self.outcome = Outcome()
        self.unheard: list[str] = []
        """The events that are ignored where it stands, since no state has a transition for them."""
        self.possible: WeakKeyDictionary[Any, list[Step]] = WeakKeyDictionary()
        """What may be sent, by the structure."""
        for topic in _HEARD:
            owner.bus.signal(topic).connect(self._hear)

    def end(self) -> None:
        """Listen no more, and leave the orchestrator its bounds."""
        for topic in _HEARD:
            self.owner.bus.signal(topic).disconnect(self._hear)
        for place, bound in self.bounds:
            place.max_reactions = bound

    def _hear(self, _sender: Any, *, record: Record) -> None:
        """Note what happens in a step."""
        kind = record.__class__
        if kind is Transitioned:
            self.outcome.moves.append(record)
            if len(self.outcome.moves) > MOST_MOVES:
                raise _Endless
        elif kind is Failed:
            failed: Any = record
            self.outcome.failures.append((named(record), failed.exception))
        elif kind is Ignored:
            ignored: Any = record
            self.outcome.ignored = f"{place_in_words(record)}.{ignored.event}"
        if self.hear is not None and (kind is Transitioned or kind is Started):
            self.hear(record)

    # Where it stands ----------------------------------------------------------------------

    def has_ended(self) -> bool:
        """Whether every machine is final."""
        return all(has_ended(machine) for machine in self.joints.structure.machines)

    def told(self, path: Path) -> str:
        """Return a path in words."""
        return words_of(path, self.joints.structure.whole.orchestrators)

    # Steps --------------------------------------------------------------------------------

    def steps(self, joint: Joint) -> list[Step]:
        """Return what may happen next: events that the states have a transition for, and timers."""
        structure, alphabet = self.joints.structure, self.alphabet
        known = self.possible.get(structure)
        if known is None:  # what has come may be async
            _refuse_running_loop(self.owner, self.where)
            known = self.possible[structure] = list(self._all_steps())
        number = dict(zip(structure.paths, joint.locals, strict=True))
        machines = structure.whole.machines
        found: list[Step] = []
        self.unheard = []
        for step in known:
            machine = machines[step.path]
            if alphabet.may_take(machine, number[step.path], step.name):
                found.append(step)
            elif machine.allow_event_without_transition and not has_ended(machine):
                self.unheard.append(f"{step.told_path}.{step.name}")
        return [*found, *alphabet.signals, *self.timer_steps()]

    def _all_steps(self) -> Iterator[Step]:
        whole = self.joints.structure.whole
        for path, machine in whole.machines.items():
            names, told = names_of(path, whole.orchestrators), self.told(path)
            yield from self.alphabet.steps(path, names, told, machine)

    def timer_steps(self) -> Iterator[Step]:
        """Yield the timers that may come due next: those with the least deadline, or any."""
        timers = self.joints.timers()
        least = min((value.due for _path, _timer, value in timers), default=0.0)
        counts: Counter[Hashable] = Counter()
        for path, _timer, value in timers:
            name = called(path, value)
            if not self.is_ordered or value.due == least:
                step_name, keys = name[1:]
                yield Step(
                    "timer", path, step_name, keys=keys, told_path=self.told(path), nth=counts[name]
                )
            counts[name] += 1

    def run(self, step: Step) -> Outcome:
        """Let one thing happen, with all that follows; a failure is an outcome."""
        outcome = self.outcome = Outcome()
        before = next_seq()
        try:
            self._run(step)
        except TransitionNotAllowed as error:
            # Nothing else was sent: it is not that a callback's own call was refused.
            outcome.is_refused = step.kind == "event" and next_seq() == before + 2
            if not outcome.is_refused:
                outcome.error = error
        except ReactionErrors as errors:
            if not outcome.failures:  # nobody heard of them: another orchestrator's
                outcome.failures.extend((one.reaction, one.exception) for one in errors.failures)
        except Exception as error:  # noqa: BLE001 - it is a finding
            outcome.error = error
        except _Endless:
            last = outcome.moves[-MOST_TURNS:]
            loop = tuple(dict.fromkeys(f"{place_in_words(one)}.{one.event}" for one in last))
            outcome.error = RunawayCascadeError(self.where, 0, 0, (*loop, loop[0]))
            for machine in self.joints.structure.machines:
                forget_queued(machine)
        return outcome

    def _run(self, step: Step) -> None:
        """Do it, with arguments that are its own: what a callback does to them stays here."""
        given: dict[str, Any] = {"args": step.args, "kwargs": step.kwargs}
        if step.args or step.kwargs:
            given.update(kept(given, Memo({})).values)
        if step.kind == "signal":
            self.owner.publish(step.name, **given["kwargs"])
        elif step.kind == "timer":
            wanted = (step.path, step.name, step.keys)
            timers = self.joints.timers()
            meant = [(timer, one) for path, timer, one in timers if called(path, one) == wanted]
            come_due(self.owner, *meant[step.nth])
        else:
            machine = self.joints.structure.whole.machines[step.path]
            target = Target(step.path, step.told_path, machine, step.name)
            target.send(given["args"], given["kwargs"])


def _refuse_running_loop(owner: Any, where: str) -> None:
    """Refuse what must be awaited where an event loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if place_of(owner).may_be_awaited:
        problem = "there are async machines or reactions, and an event loop is running here"
        fix = f"Run it in a thread: await asyncio.to_thread({where.partition('(')[0]}, ...)"
        raise DeclarationError(where, problem, fix)


def called(path: Path, value: Kept) -> tuple[Path, str, tuple[Hashable, ...]]:
    """Return how a pending timer is called; several may be called the same."""
    return path, value.reaction or value.topic, value.keys


def come_due(owner: Any, timer: Any, value: Kept) -> None:
    """Let a pending timer come due, whatever comes due before it; time passes until then."""
    clock = place_of(owner).clock
    clock.stand_at(max(clock.now(), value.due))
    timer.let_go()
    timer()


# As source ------------------------------------------------------------------------------------


def source_of(thing: Any, where: str) -> tuple[str, str]:
    """Return the module and the name by which something can be imported."""
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    if module == "__main__":  # a program: a test imports it by the name of its file
        module = PurePath(getattr(sys.modules[module], "__file__", "")).stem
    if not (name and module) or "<" in name:
        problem = f"{thing!r} cannot be imported by a test"
        fix = "Define it in a module, and not in a function; a lambda has no name"
        raise DeclarationError(where, problem, fix)
    return module, name.partition(".")[0]


def call_of(make: Any, where: str) -> tuple[str, list[Any]]:
    """Return the source that makes one of a class, and what must be imported for it."""
    needs: list[Any] = [make]
    parts: list[str] = []
    for alias, kind in _kinds(make):
        inner, more = call_of(kind, where) if issubclass(kind, Orchestrator) else ("", [kind])
        parts.append(f"{alias}={inner or f'{kind.__qualname__}()'}")
        needs.extend(more)
    return f"{make.__qualname__}({', '.join(parts)})", needs
