"""What the records of a round tell of each event, each turn and each observer, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from soak.ledger import REFUSED, STOPS
from statemachine.exceptions import StateMachineError, TransitionNotAllowed

from statemachines_orchestrator import (
    Abandoned,
    AsyncReactionError,
    Failed,
    Finished,
    Ignored,
    Sent,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soak.ledger import Ledger


INTERRUPTED = f"the call itself failed: {StateMachineError.__name__}("
"""How a note begins that tells it, on what has stopped the rest of the call."""
Totals = Counter[str]
"""The numbers of the table."""


class Reading:
    """The records of a round, by what they tell of, next to its book."""

    def __init__(self, ledger: Ledger, records: list[Any]) -> None:
        self.ledger = ledger
        self.all = records
        self.by_seq: dict[Any, Any] = {record.seq: record for record in records}
        self.totals: Totals = Counter()
        self.unknown: list[str] = []
        """What the records tell that belongs to no event and no reaction."""
        self.sent: Counter[int] = Counter()
        self.moved: Counter[int] = Counter()
        self.moved_at: dict[int, int] = {}
        """The `seq` of the transition of an event."""
        self.ignored: Counter[int] = Counter()
        self.abandoned: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.refusals: list[int] = []
        """The events at whose call, or in whose name, a refusal was told."""
        self.answers: Counter[tuple[int, int]] = Counter()
        """How often an exception was told, by identity, and by the event from outside that it
        belongs to: a step and what it has queued on its own machine have one caller."""
        self.families: dict[int, list[int]] = defaultdict(list)
        self.turns: dict[tuple[str, Any], list[str]] = defaultdict(list)
        """What came of the reactions to a record, by name and its `seq`: started, abandoned, ..."""
        self.ends: dict[int, list[str]] = defaultdict(list)
        """How a turn ended, by the `seq` of its `Started`."""
        self.heard: Counter[tuple[str, int, int]] = Counter()
        """The failures of observers, by name, `seq` of the record, identity of the exception."""
        self.begun = Counter(ledger.begun)
        self.committed = Counter(ledger.committed)
        self.ran = Counter(ledger.ran)
        self.raised: dict[int, list[tuple[str, BaseException]]] = defaultdict(list)
        for number, place, error in ledger.raised:
            self.raised[number].append((place, error))
        for number in ledger.events:
            self.families[self._origin(number)].append(number)
        for number, error in ledger.told:
            self._note_told(number, error)
        self.reacted = {(name, number): error for name, number, error in ledger.reaction_raised}
        self.unsent = {
            error.args[0] for _, _, error in ledger.observer_raised if isinstance(error, STOPS)
        }
        """The events that an observer has stopped when they were sent: none was queued."""
        self.unposted = {
            number for number, error in ledger.told if isinstance(error, AsyncReactionError)
        }
        """The posts that were refused: their call was over, and the task of a callback ran on."""
        self.interrupted = {
            number
            for number, error in ledger.told
            if is_interruption(error) or (ledger.events[number].way == "outer" and notes_one(error))
        }
        """The events whose callers 3.2 has told that the task was cancelled that ran them."""
        stops = [error for _, error in ledger.told if not isinstance(error, Exception)]
        stops += [error for error in ledger.tops if not isinstance(error, Exception)]
        self.notes = "\n".join(note for stop in stops for note in getattr(stop, "__notes__", ()))
        """What the exceptions that have stopped calls tell of others."""
        self.chained = {id(error) for stop in stops for error in behind(stop)}
        self.observed = {(name, seq, id(error)) for name, seq, error in ledger.observer_raised}
        self.children = {
            (event.parent, event.sender, event.topic): event.number
            for event in ledger.events.values()
            if event.way == "post"
        }
        self.by_number: dict[int, Any] = {
            record.args[0]: record for record in records if isinstance(record, Sent) and record.args
        }
        self.sent_by: dict[Any, int] = {
            record.cause: record.args[0]
            for record in records
            if isinstance(record, Sent) and record.args
        }
        """The event that the turn of a post has sent, by the `seq` of its `Started`."""
        self._sort()

    # What the records tell ----------------------------------------------------------------

    def _sort(self) -> None:
        for record in self.all:
            kind = type(record)
            if kind is Sent and record.args:
                self.sent[record.args[0]] += 1
            elif kind is Transitioned:
                self.moved[record.args[0]] += 1
                self.moved_at[record.args[0]] = record.seq
            elif kind is Ignored:
                self._note_ignored(record)
            elif kind is Abandoned:
                self._note_abandoned(record)
            elif kind is Started:
                self.turns[record.name, record.cause].append("started")
            elif kind is Finished:
                self.ends[record.cause].append("finished")
            elif kind is Failed:
                self._note_failed(record)
        self._share_refusals()
        for number in self.begun:
            event = self.ledger.events[number]
            if not event.is_async or event.name in REFUSED or self._is_taken(number):
                continue
            raised = self.raised[number]
            lost = any(
                place == "enter" and not self.answers[self._origin(number), id(error)]
                for place, error in raised
            )
            if lost or not raised:  # its task may have been stopped on entry
                self.ledger.broken.add(event.machine)

    def _note_ignored(self, record: Any) -> None:
        if record.event != "error.execution":
            self.ignored[record.args[0]] += 1
            return
        number = self._number_at(record.cause)  # the record's Sent, which the step has caused
        if number is None:
            sent = self.by_seq.get(record.cause)
            number = None if sent is None else self._number_at(sent.cause)
        if number is None:
            self.unknown.append(f"an error.execution of no known event: {record}")
        else:
            self.answers[self._origin(number), id(record.kwargs["error"])] += 1

    def _number_at(self, seq: Any) -> int | None:
        """Return the number of the event whose `Sent` has this `seq`."""
        record = self.by_seq.get(seq)
        return record.args[0] if isinstance(record, Sent) and record.args else None

    def _note_abandoned(self, record: Any) -> None:
        cause = self.by_seq.get(record.cause)
        if "." not in record.name and not record.path:
            self.turns[record.name, record.cause].append("abandoned")
            return
        number: int | None = None
        if isinstance(cause, Sent) and not cause.args:  # an error.execution, with what it tells
            number = self._number_at(cause.cause)
            if number is not None:
                self.answers[self._origin(number), id(cause.kwargs["error"])] += 1
                return
        elif isinstance(
            cause, Sent
        ):  # an event in a machine's queue, or what a callback has posted
            number = int(cause.args[0])
            if not record.path:
                number = self.children.get((number, "callback", record.name))
        elif isinstance(cause, Started):  # what a reaction has posted
            reacted = self.by_seq.get(cause.cause)
            parent = None if not isinstance(reacted, Transitioned) else reacted.args[0]
            number = self.children.get((parent, cause.name, record.name))
        if number is None:
            self.unknown.append(f"abandoned, and of no known event: {record}, caused by {cause}")
        else:
            self.abandoned[number] += 1

    def _note_failed(self, record: Any) -> None:
        cause = self.by_seq.get(record.cause)
        number = self._number_at(record.cause)
        if (record.name, record.cause, id(record.exception)) in self.observed:
            self.heard[record.name, record.cause, id(record.exception)] += 1
            return
        if isinstance(cause, Started):
            self.ends[cause.seq].append("failed")
            if "." not in record.name:
                return  # a reaction
            number = self.sent_by.get(cause.seq)
        elif "." not in record.name and not record.path:
            self.turns[record.name, record.cause].append("refused")
            return
        if number is None:
            self.unknown.append(f"failed, and of no known event: {record}, caused by {cause}")
        elif type(record.exception) is StateMachineError:  # posted, and interrupted
            self.interrupted.add(number)
        else:
            self._note_told(number, record.exception)

    def _note_told(self, number: int, error: BaseException) -> None:
        """Note that an exception was told at the call, or in the name, of an event."""
        origin = self._origin(number)
        is_own = isinstance(error, TransitionNotAllowed) and not any(
            error is one for member in self.families[origin] for _, one in self.raised[member]
        )  # and not what a call in one of its callbacks has raised
        if is_own:
            self.refusals.append(number)
        else:
            self.answers[origin, id(error)] += 1

    def _share_refusals(self) -> None:
        """Find which event of a family was refused: one that was begun, or the first one left."""
        for number in self.refusals:
            left = [
                one
                for one in self.families[self._origin(number)]
                if self.ledger.events[one].name in REFUSED
                and self.sent[one]
                and not self.refused[one]
                and not self.raised[one]
                and not self.ignored[one]
            ]
            begun = [one for one in left if self.begun[one]]
            self.refused[next(iter([*begun, *left]), number)] += 1

    def _is_taken(self, number: int) -> bool:
        return bool(self.committed[number] or self.moved[number])

    def _origin(self, number: int) -> int:
        """Return the event from outside that an event comes from, itself or another."""
        event = self.ledger.events[number]
        return number if event.origin is None else self._origin(event.origin)


def is_interruption(error: BaseException) -> bool:
    """Whether a caller is told that the task was stopped which ran its event."""
    return isinstance(error, StateMachineError) and not isinstance(error, TransitionNotAllowed)


def notes_one(error: BaseException) -> bool:
    """Whether that is told in a note, on what has stopped the rest of the call."""
    notes: list[str] = getattr(error, "__notes__", [])
    return any(note.startswith(INTERRUPTED) for note in notes)


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exceptions that one has in its context, at any depth."""
    while error is not None:
        error = error.__cause__ or error.__context__
        if error is not None:
            yield error
