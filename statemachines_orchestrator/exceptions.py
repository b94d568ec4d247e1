"""Every error of the library.

One base, `OrchestratorError`.
Each error carries its facts as attributes; its text says what happened, where, and what to do.
All of them pickle.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs

if sys.version_info < (3, 11):  # pragma: no cover - the other branch runs on newer Pythons
    from exceptiongroup import ExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from statemachines_orchestrator.records import Record

__all__ = [
    "AnnotationIsNotAStateMachineError",
    "AsyncObserverError",
    "AsyncReactionError",
    "ClockIsAdvancingError",
    "DeclarationError",
    "DurationError",
    "Failure",
    "MachineFieldIsSetError",
    "MachineIsBusyError",
    "MachineIsTakenError",
    "NameClashError",
    "NoMachinesOnOrchestratorError",
    "NotAMemberError",
    "NotAReactionError",
    "NotAtRestError",
    "OrchestratorError",
    "ReactionErrors",
    "ReservedArgumentError",
    "RunawayCascadeError",
    "SnapshotDoesNotFitError",
    "StateFieldIsNotUniqueError",
    "UnexpectedAnnotationTypeError",
    "UnknownTopicError",
    "UnreadableSnapshotError",
    "UnreadableTraceError",
    "UnsupportedHostError",
    "WrongMachineError",
]


class OrchestratorError(Exception):
    """The base of every error of the library."""


# Raised when a class is defined, or at its first instance -------------------------------------


@attrs.define(slots=False)
class NoMachinesOnOrchestratorError(OrchestratorError, TypeError):
    """A class declares no machine at all and is not `abstract=True`."""

    where: str

    def __str__(self) -> str:
        """Say what is missing, and the two ways out."""
        return (
            f"{self.where} declares no machine. Annotate a field with a state machine class "
            "(order: Order), or declare a mixin of reactions: "
            "class ...(Orchestrator, abstract=True)."
        )


@attrs.define(slots=False)
class AnnotationIsNotAStateMachineError(OrchestratorError, TypeError):
    """A bare annotation names something that is no state machine class.

    Its sibling `UnexpectedAnnotationTypeError` is for annotations that are no type at all.
    """

    where: str
    field: str
    annotation: str

    def __str__(self) -> str:
        """Name the field, and the way to declare plain data."""
        return (
            f"{self.where}.{self.field} is annotated with {self.annotation}, which is no state "
            f"machine class. For plain data give it a value or a field: "
            f"{self.field}: {self.annotation} = attrs.field()."
            + (f" For many machines: {self.field}: Fleet[...]." if "[" in self.annotation else "")
        )


@attrs.define(slots=False)
class UnexpectedAnnotationTypeError(OrchestratorError, TypeError):
    """A bare annotation is no type, no string and no union of types.

    Its sibling `AnnotationIsNotAStateMachineError` is for types that are no state machine class.
    """

    where: str
    field: str
    annotation: str

    def __str__(self) -> str:
        """Name the field, and what an annotation may be."""
        return (
            f"{self.where}.{self.field} is annotated with {self.annotation}, which is no type. "
            "Annotate it with a state machine class, Optional[...] of one, a union of several, "
            "a Fleet[...] of one, an orchestrator class, or a string of these."
        )


@attrs.define(slots=False)
class DeclarationError(OrchestratorError, TypeError):
    """A declaration that can mean nothing good: a shared default, a bad keyword, a bad name."""

    where: str
    problem: str
    fix: str

    def __str__(self) -> str:
        """Say what is wrong where, and the fix."""
        return f"{self.where}: {self.problem}. {self.fix}."


@attrs.define(slots=False)
class NameClashError(OrchestratorError, TypeError):
    """A name is taken: by the surface, an option, or another field, reaction or signal."""

    where: str
    name: str
    taken_by: str
    fix: str

    def __str__(self) -> str:
        """Say which name is taken by what, and the fix."""
        return f"{self.where}: the name {self.name!r} is taken by {self.taken_by}. {self.fix}."


@attrs.define(slots=False)
class NotAReactionError(OrchestratorError, TypeError):
    """A decorator, `send`, `subscribe` or `connect` was given something that it cannot use.

    Nothing to subscribe, or to subscribe to; a target that is no event; a condition that cannot
    be asked; a join of a fleet that does not say of how many members.
    """

    where: str
    problem: str
    fix: str

    def __str__(self) -> str:
        """Say what is wrong where, and the fix."""
        return f"{self.where}: {self.problem}. {self.fix}."


@attrs.define(slots=False)
class UnknownTopicError(OrchestratorError, LookupError):
    """A topic names no machine, event, state, signal or reaction of the orchestrator.

    Raised when the class is defined for a topic in a decorator and for the target of a route,
    and at the call for `bus.signal`, `post`, `asend`, `broadcast`, `publish` and `subscribe`.
    """

    where: str
    topic: str
    problem: str
    known: tuple[str, ...] = ()
    nearest: str | None = None

    def __str__(self) -> str:
        """Say what is unknown, the nearest name, or all that is known."""
        text = f"{self.where}: there is no topic {self.topic!r}: {self.problem}."
        if self.nearest is not None:
            text += f" Did you mean {self.nearest!r}?"
        elif self.known:
            text += f" Known: {', '.join(self.known)}."
        return text


# Raised when machines are given to an orchestrator --------------------------------------------


@attrs.define(slots=False)
class WrongMachineError(OrchestratorError, TypeError):
    """A field or a fleet was given something else than what it is declared to hold."""

    where: str
    field: str
    expected: str
    given: str

    def __str__(self) -> str:
        """Say what the field takes and what it was given."""
        if self.expected.startswith("Fleet"):
            return (
                f"{self.where}.{self.field} takes a {self.expected}, and was given {self.given}. "
                "Give it Fleet({key: machine})."
            )
        return (
            f"{self.where}.{self.field} takes a machine of class {self.expected}, and was "
            f"given {self.given}. Give it an instance of its class."
        )


@attrs.define(slots=False)
class MachineIsTakenError(OrchestratorError, ValueError):
    """A machine belongs to one orchestrator under one name; a fleet or an orchestrator to one."""

    where: str
    field: str
    holder: str
    orchestrator_name: str
    kind: str = "machine"
    """`machine`, `fleet` or `orchestrator`: what was given."""

    def __str__(self) -> str:
        """Say who holds it, and the two ways out."""
        if self.kind != "machine":
            return (
                f"{self.where}.{self.field}: the {self.kind} is held by {self.holder} already. "
                "Take it out there first, or give this one another."
            )
        return (
            f"{self.where}.{self.field}: the machine already belongs to {self.holder}, which is "
            f"its {self.orchestrator_name!r}. Give each orchestrator a machine of its own, or give "
            "one of the two classes another orchestrator_name."
        )


@attrs.define(slots=False)
class MachineIsBusyError(OrchestratorError, RuntimeError):
    """A machine in mid-step cannot be attached, nor one that has not left its fleet yet."""

    where: str
    field: str

    def __str__(self) -> str:
        """Say what is wrong, and when to do it."""
        return (
            f"{self.where}.{self.field}: the machine is in mid-step. Build the orchestrator before "
            "the event is sent, or after it was taken; not in a callback of the machine. A member "
            "of a fleet is put in, and put back, when it is at rest."
        )


@attrs.define(slots=False)
class StateFieldIsNotUniqueError(OrchestratorError, ValueError):
    """Two machines keep their state in the same attribute of the same model."""

    where: str
    field: str
    other: str
    state_field: str

    def __str__(self) -> str:
        """Name both fields, and the fix."""
        return (
            f"{self.where}: {self.other} and {self.field} share a model and its state_field "
            f"{self.state_field!r}: each would overwrite the other's state. {self._fix}."
        )

    @property
    def _fix(self) -> str:
        if not self.field.isidentifier():
            return "Give each member a model of its own"
        return f"Give one another: {self.field}=...(model, state_field='{self.field}_state')"


@attrs.define(slots=False)
class NotAMemberError(OrchestratorError, LookupError):
    """A fleet was asked for the key of something that does not stand in it."""

    fleet: str
    given: str

    def __str__(self) -> str:
        """Say what is no member of which fleet, and the fix."""
        return (
            f"{self.given} is no member of {self.fleet}. Ask for a machine that was put in, "
            "and has not been taken out."
        )


@attrs.define(slots=False)
class MachineFieldIsSetError(OrchestratorError, AttributeError):
    """A machine field is set once."""

    where: str
    field: str
    is_fleet: bool = False

    def __str__(self) -> str:
        """Say that the field is set, and the way out."""
        if self.is_fleet:
            return (
                f"{self.where}.{self.field} is set already, and a machine field is set once. Put "
                f"machines into the fleet, and take them out: {self.field}[key] = machine, "
                f"del {self.field}[key], {self.field}.update(...)."
            )
        return (
            f"{self.where}.{self.field} is set already, and a machine field is set once. "
            "Build a new orchestrator for another machine."
        )


@attrs.define(slots=False)
class UnsupportedHostError(OrchestratorError, RuntimeError):
    """The installed python-statemachine, or what replaced a machine's engine, lacks a seam."""

    where: str
    version: str
    missing: str
    supported: str

    def __str__(self) -> str:
        """Say what is missing, and what is supported."""
        return (
            f"{self.where}: python-statemachine {self.version} has no {self.missing} on this "
            f"machine's engine. Supported are {self.supported}; install one of these."
        )


# Raised while events are sent -----------------------------------------------------------------


@attrs.define(slots=False)
class ReservedArgumentError(OrchestratorError, TypeError):
    """A keyword argument has a name under which no callback, or no reaction, would get it.

    Raised by `post`, `asend`, `broadcast` and `publish` before anything is sent, by a route where
    it is written, and by one that would hand on a signal's argument to an event that cannot have
    it. A direct call of a machine's event is python-statemachine's own.
    """

    where: str
    names: tuple[str, ...]
    reserved: tuple[str, ...]
    """All that are taken there."""

    def __str__(self) -> str:
        """Say which arguments would be lost where, and the fix."""
        return (
            f"{self.where}: nobody would get an argument called "
            f"{' or '.join(map(repr, self.names))}: the name is taken. "
            f"Choose one that is none of {', '.join(self.reserved)}."
        )


@attrs.define(slots=False)
class AsyncObserverError(OrchestratorError, TypeError):
    """An `async def` was connected as an observer.

    Its sibling `AsyncReactionError` is about reactions.
    """

    observer: str
    topic: str

    def __str__(self) -> str:
        """Say why it is refused, and the fix."""
        return (
            f"{self.observer} is an async def and cannot observe {self.topic!r}: an observer is "
            "called in mid-step, where nobody can await it. Make it a reaction: decorate a method "
            "with @on(...)."
        )


@attrs.define(slots=False)
class AsyncReactionError(OrchestratorError, RuntimeError):
    """Something that must be awaited came up in a sync call inside a running event loop."""

    name: str
    topic: str

    def __str__(self) -> str:
        """Name the two ways out."""
        what = self.name if self.name == self.topic else f"{self.name} ({self.topic})"
        return (
            f"{what} must be awaited, and the call that led to it is a sync call in a "
            "running event loop, where nobody waits. Begin with "
            '`await orchestrator.asend("machine.event", ...)` in place of that call, or make its '
            "machine async (one async def callback is enough) and await the call."
        )


@attrs.define(slots=False)
class DurationError(OrchestratorError, ValueError):
    """A length of time is none: negative, infinite, no number; or zero where it repeats."""

    where: str
    given: str

    def __str__(self) -> str:
        """Say what was given where, and what is wanted."""
        return (
            f"{self.where}: {self.given} is no length of time. Give seconds, a number from 0 on "
            "(greater than 0 for a timeout), or a timedelta."
        )


@attrs.define(slots=False)
class ClockIsAdvancingError(OrchestratorError, RuntimeError):
    """A virtual clock was told to advance while it advances.

    By what came due, or by another task.
    """

    now: float

    def __str__(self) -> str:
        """Say what is wrong, and the way out."""
        return (
            f"the clock, at {self.now} seconds, is advancing already: either by this call's "
            'caller, which came due, and may post for later, post("machine.event", delay=...); '
            "or in another task: await one `clock.advance(...)` after the other."
        )


@attrs.define(slots=False)
class NotAtRestError(OrchestratorError, RuntimeError):
    """A snapshot was to be taken or restored in the middle of a cascade or of a step."""

    where: str
    problem: str

    def __str__(self) -> str:
        """Say what is under way, and when to do it."""
        return (
            f'{self.where}: {self.problem}. Do it outside of every call, or in @on("settled"), '
            "before anything is moved there."
        )


@attrs.define(slots=False)
class SnapshotDoesNotFitError(OrchestratorError, ValueError):
    """A snapshot was taken of something of another shape.

    Its sibling `UnreadableSnapshotError` is about texts that are no snapshot.
    """

    where: str
    differences: tuple[str, ...]

    def __str__(self) -> str:
        """Say everything that differs, machine by machine, each with its fix."""
        return f"{self.where}: the snapshot does not fit: {'; '.join(self.differences)}."


@attrs.define(slots=False)
class UnreadableSnapshotError(OrchestratorError, ValueError):
    """A text is no snapshot that `Snapshot.to_json` has written."""

    problem: str

    def __str__(self) -> str:
        """Say what is wrong, and what is wanted."""
        return f"{self.problem}. Give it what Snapshot.to_json() has written."


@attrs.define(slots=False)
class UnreadableTraceError(OrchestratorError, ValueError):
    """A text is no trace that `Trace.to_jsonl` has written."""

    line: int
    """The number of the line, from 1 on."""
    problem: str

    def __str__(self) -> str:
        """Say what is wrong where, and what is wanted."""
        return f"line {self.line}: {self.problem}. Give it what Trace.to_jsonl() has written."


@attrs.define(slots=False)
class RunawayCascadeError(OrchestratorError, RuntimeError):
    """A cascade of more than `max_reactions` turns, run and waiting, goes round in a loop.

    A cascade of the same length in which nothing repeats goes on.
    """

    where: str
    turns: int
    """How many reactions and posted events had run."""
    waiting: int
    """How many waited, and are abandoned."""
    loop: tuple[str, ...]

    def __str__(self) -> str:
        """Name the loop, and the fix."""
        return (
            f"{self.where}: the cascade ran {self.turns} reactions, {self.waiting} more wait, "
            f"and it goes round in a loop: {' → '.join(self.loop)}. Break it with a cond= or a "
            "guard, or raise the bound: class ...(Orchestrator, max_reactions=...)."
        )


@attrs.frozen
class Failure:
    """One reaction, posted event, observer, or event of one of several machines, that raised."""

    reaction: str
    """Its name: `Shop.capture`, the posted topic, the name of the observer;
    of what was sent to several machines the path to the one that raised: `items.apple.pack`."""
    cause: Record | None
    """The record it reacted to; `None` for a post, a broadcast, an event left in a queue,
    and a join whose members only came or went."""
    exception: Exception
    """What it raised, with its own type and traceback."""


class ReactionErrors(OrchestratorError, ExceptionGroup[Exception]):  # noqa: N818 - a group has many
    """What followed a call failed; the call itself did happen.

    An `ExceptionGroup`, always, for one failure or many, in the order in which they failed.
    Each exception in it carries a note that names the reaction and its cause.
    Raised after everything else of the cascade has run. Do not retry the call: it was taken.
    From `broadcast`, and from `asend` to a fleet: these machines raised, the others have the
    event, and `result` has what they returned.
    """

    result: Any
    """What the call returned."""
    failures: tuple[Failure, ...]
    """Who failed, in reaction to what, with which exception."""

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        result: Any = None,
        failures: Sequence[Failure] = (),
    ) -> Self:
        """Build the group, with its facts beside it."""
        self = super().__new__(cls, message, exceptions)
        self.result = result
        self.failures = tuple(failures)
        return self

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        result: Any = None,  # noqa: ARG002 - __new__ has taken it
        failures: Sequence[Failure] = (),  # noqa: ARG002 - __new__ has taken them
    ) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception], /) -> ReactionErrors:  # type: ignore[override] # the stub's is generic
        """Build the part of the group that holds `excs` (`split`, `subgroup`, `except*`)."""
        kept = [
            failure for failure in self.failures if any(failure.exception is one for one in excs)
        ]
        return ReactionErrors(self.message, excs, self.result, kept)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the group with its facts and its notes."""
        args = (self.message, list(self.exceptions), self.result, self.failures)
        return type(self), args, {"__notes__": getattr(self, "__notes__", [])}
