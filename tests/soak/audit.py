"""The check of a round: the records and the book must tell the same, and account for everything.

Each event is accounted for exactly once: it was taken, or ignored, or refused, or it failed, or it
was abandoned. Each transition is announced once, and each reaction to it ran once, or is told not
to have run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from soak.ledger import HOST_IS_3, REFUSED, STOPS, Error
from statemachine.exceptions import StateMachineError, TransitionNotAllowed

from statemachines_orchestrator import (
    Abandoned,
    Failed,
    Finished,
    Ignored,
    ReactionErrors,
    Sent,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from soak.ledger import Event, Ledger


Totals = Counter[str]
"""The numbers of the table."""


def check(
    ledger: Ledger, records: Iterable[Any], *, has_given_up: bool
) -> tuple[list[str], Totals]:
    """Return what does not fit, a line each, and the numbers of the round."""
    audit = Audit(ledger, list(records))
    problems = [
        *ledger.wrong,
        *audit.records(),
        *audit.events(),
        *audit.reactions(),
        *audit.observers(),
        *audit.chains(),
        *([] if has_given_up else audit.failures()),
        *audit.rest(),
    ]
    return problems, audit.totals


class Audit:
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
        self.interrupted = {
            number
            for number, error in ledger.told
            if isinstance(error, StateMachineError) and not isinstance(error, TransitionNotAllowed)
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
            untold = not self.raised[number] and event.name not in REFUSED
            if event.is_async and untold and not self._is_taken(number):
                self.ledger.broken.add(event.machine)  # its task may have been stopped on entry

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
        if "." not in record.name:
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
            number = own = int(cause.args[0])
            if self.begun[own]:
                number = self.children.get((own, "callback", record.name), own)
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
        elif "." not in record.name:
            self.turns[record.name, record.cause].append("refused")
            return
        if number is None:
            self.unknown.append(f"failed, and of no known event: {record}, caused by {cause}")
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

    # What must hold -----------------------------------------------------------------------

    def tell(self, number: int) -> str:
        """Tell all that is known of an event."""
        event = self.ledger.events.get(number)
        if event is None:
            return f"event {number}, which nobody has sent"
        faults = ", ".join(f"{kind.__name__} in {at}" for at, kind in event.faults.items())
        parent = "" if event.parent is None else f" by {event.sender} of event {event.parent}"
        raised = ", ".join(f"{error!r} in {at}" for at, error in self.raised[number])
        told = [repr(error) for one, error in self.ledger.told if one == number]
        facts = {
            "begun": self.begun[number],
            "committed": self.committed[number],
            "Sent": self.sent[number],
            "Transitioned": self.moved[number],
            "Ignored": self.ignored[number],
            "refused": self.refused[number],
            "Abandoned": self.abandoned[number],
        }
        known = ", ".join(f"{name} {count}" for name, count in facts.items() if count)
        colour = "async" if event.is_async else "sync"
        return (
            f"event {number} ({colour} {event.machine}.{event.name}, {event.way}{parent}"
            f"{'; to fail: ' + faults if faults else ''}): {known or 'nothing is known'}"
            f"{'; raised: ' + raised if raised else ''}"
            f"{'; its call raised: ' + ', '.join(told) if told else ''}"
            f"{'; its caller gave up' if event.gave_up else ''}"
            f"{'; its call never ended' if event.was_called and not event.has_answer else ''}"
        )

    def records(self) -> Iterator[str]:
        """Every record is of something that happened here."""
        yield from self.unknown
        known = self.ledger.events
        for counts in (self.sent, self.moved, self.ignored):
            yield from (
                f"{self.tell(number)}: recorded" for number in counts if number not in known
            )

    def events(self) -> Iterator[str]:
        """Every event is accounted for, exactly once."""
        for number, event in self.ledger.events.items():
            for problem in self._problems_of(number, event):
                yield f"{problem}: {self.tell(number)}"

    def _problems_of(self, number: int, event: Event) -> Iterator[str]:
        self.totals["events"] += 1
        if self.begun[number] > 1:
            yield "run twice"
        if self.sent[number] > 1:
            yield "sent twice"
        if event.was_called and not event.has_answer:
            yield "its caller got no answer"
        if not self.sent[number]:
            yield from self._not_put(number, event)
            return
        committed, moved = self.committed[number], self.moved[number]
        if committed and not moved:
            yield "committed, and not announced"
        if moved and not committed and not event.is_async:
            # The host runs an async callback as a task: if it is cancelled before it begins, a
            # committed step has not come to its `after_` callback.
            yield "announced, and not committed"
        if moved > 1:
            yield "announced more than once"
        self.totals["transitions"] += moved
        yield from self._fate(number, event)
        yield from self._answers(number, event)

    def _not_put(self, number: int, event: Event) -> Iterator[str]:
        """Look at an event without a record of it.

        That is the event of a bare machine, or of a call that never began, or an abandoned post.
        """
        if self.moved[number]:
            yield "announced, and not sent"
        if event.way == "post" and not self.abandoned[number]:
            yield "posted, and lost"
        elif self.abandoned[number] > 1:
            yield "abandoned more than once"
        elif event.way != "post" and event.was_called and "[" not in event.machine:
            yield "sent, and not announced as sent"
        self.totals["abandoned" if self.abandoned[number] else "bare"] += 1

    def _fate(self, number: int, event: Event) -> Iterator[str]:
        """Exactly one thing became of it."""
        is_refused = self.refused[number] + self.ignored[number]
        fates = {
            "taken": int(self._is_taken(number)),
            "refused": is_refused if not self._is_taken(number) else 0,
            "abandoned": self.abandoned[number],
        }
        if self.raised[number] and not self._is_taken(number):
            # A guard that raises on a StateChart is a failure, and then the event is ignored.
            fates["failed"], fates["refused"] = 1, max(0, is_refused - 1)
        found = sum(fates.values())
        for fate, count in fates.items():
            self.totals[fate] += bool(count)
        if self.committed[number] and is_refused:
            yield "taken, and refused"
        if found > 1 and not (event.name in REFUSED and is_refused == 1 and found == 2):
            yield f"accounted for {found} times"
        if found or self._is_excused(number, event):
            return
        if self.begun[number] and event.name not in REFUSED:
            yield "begun, and neither taken nor refused"
        else:
            yield "lost"

    def _is_taken(self, number: int) -> bool:
        return bool(self.committed[number] or self.moved[number])

    def _is_interrupted(self, number: int, event: Event) -> bool:
        """Whether an async step had queued an event whose caller was cancelled by then.

        It may have been running: the host runs a callback as a task of its own, and one that is
        cancelled before it begins has written nothing down.
        """
        origin = self._origin(number)
        if not event.is_async or origin == number:
            return False
        return self._gave_up(origin, self.ledger.events[origin])

    def _is_given_up(self, number: int, event: Event) -> bool:
        return self._gave_up(number, event) or self._is_interrupted(number, event)

    def _gave_up(self, number: int, event: Event) -> bool:
        """Whether who waits for an event was cancelled: its caller, or the turn of its post."""
        is_post = event.is_async and event.way == "post" and self.sent[number] > 0
        return (
            event.gave_up
            or number in self.interrupted
            or (is_post and not self.ends[self.by_number[number].cause])
        )

    def _is_excused(self, number: int, event: Event) -> bool:
        """Whether an event need not be taken, and its caller or its sender knows why."""
        if self._is_given_up(number, event):
            self.totals["cancelled"] += 1
            return True
        if event.name in REFUSED and self._is_refusal_noted(number):
            self.totals["refused"] += 1  # as a note of what has stopped its call
            return True
        if number in self.unsent:
            self.totals["refused"] += 1  # an observer has stopped it before it was queued
            return True
        return False

    def _origin(self, number: int) -> int:
        """Return the event from outside that an event comes from, itself or another."""
        event = self.ledger.events[number]
        return number if event.origin is None else self._origin(event.origin)

    def _answers(self, number: int, event: Event) -> Iterator[str]:
        """What it raised was told, exactly once; what it did not raise was not."""
        raised = {id(error): (place, error) for place, error in self.raised[number]}
        for key, (place, error) in raised.items():
            count = self.answers[self._origin(number), key]
            if not isinstance(error, Exception):
                stopped = any(error is one for one in self.ledger.tops)
                # A task that is cancelled at the same moment ends with `CancelledError`.
                if isinstance(error, STOPS) and not stopped and not event.is_async:
                    yield f"{error!r} in {place} stopped nobody"
                continue
            if count > 1:
                yield f"{error!r} in {place} was told {count} times"
            if not (count or self._is_given_up(number, event) or self._is_noted(error)):
                yield f"{error!r} in {place} was told to nobody"
        if event.name in REFUSED and not raised:
            told = self.refused[number] + self.ignored[number] + self.abandoned[number]
            if told > 1:
                yield f"refused, and told {told} times"

    def _is_refusal_noted(self, number: int) -> bool:
        """Whether what has stopped the call of an event tells of a refusal in a note."""
        origin = self._origin(number)
        stops = [error for one, error in self.ledger.told if one == origin]
        notes = [note for error in stops for note in getattr(error, "__notes__", ())]
        return any(TransitionNotAllowed.__name__ in note for note in notes)

    def _is_noted(self, error: Exception) -> bool:
        """Whether an exception is told by what has stopped a call: in a note, or as its context."""
        return id(error) in self.chained or repr(error) in self.notes

    def reactions(self) -> Iterator[str]:
        """Each reaction to each announced transition ran once, or is told not to have run."""
        started = [record for record in self.all if isinstance(record, Started)]
        for record in self.all:
            if not isinstance(record, Transitioned):
                continue
            for name in reactions_to(record):
                turns = self.turns.pop((name, record.seq), [])
                ran = self.ran.pop((name, record.args[0]), 0)
                self.totals["reactions"] += ran
                if len(turns) != 1 or ran != turns.count("started"):
                    told = ", ".join(turns) or "nothing"
                    yield (
                        f"reaction {name} ran {ran} times, and its records tell {told}: "
                        f"{self.tell(record.args[0])}"
                    )
        for (name, number), count in self.ran.items():
            yield f"reaction {name} ran {count} times to no transition: {self.tell(number)}"
        for record in started:
            ends = self.ends[record.seq]
            if len(ends) > 1:
                yield f"{record} ended {len(ends)} times: {', '.join(ends)}"
            reacted = self.by_seq.get(record.cause)
            if ends or "." in record.name or not isinstance(reacted, Transitioned):
                continue
            error = self.reacted.get((record.name, reacted.args[0]))
            if error is None or isinstance(error, Exception):
                yield f"{record} has no end, and raised {error!r}: {self.tell(reacted.args[0])}"

    def observers(self) -> Iterator[str]:
        """What an observer raised is announced as failed, exactly once."""
        for name, seq, error in self.ledger.observer_raised:
            count = self.heard[name, seq, id(error)]
            expected = int(isinstance(error, Exception))
            if count != expected:
                record = self.by_seq[seq]
                yield f"observer {name} raised {error!r}, announced {count} times: {record}"

    def chains(self) -> Iterator[str]:
        """Each transition of a machine leaves the state that the one before has led to."""
        last: dict[str, Any] = {}
        for record in sorted(self.all, key=lambda record: record.seq):
            if not isinstance(record, Transitioned) or record.args[0] not in self.ledger.events:
                continue
            name = self.ledger.events[record.args[0]].machine
            source, target = getattr(record.source, "id", None), getattr(record.target, "id", None)
            if name not in self.ledger.broken and last.get(name, source) != source:
                yield f"{name} left {source}, and was in {last[name]}: {self.tell(record.args[0])}"
            last[name] = target

    def failures(self) -> Iterator[str]:
        """What is announced as failed reaches an outermost caller: in a group, or as a note."""
        grouped: Counter[int] = Counter()
        notes: list[str] = []
        for error in self.ledger.tops:
            notes += getattr(error, "__notes__", ())
            if isinstance(error, ReactionErrors):
                grouped.update(id(one) for one in error.exceptions)
        noted = "\n".join(notes)
        for record in self.all:
            if not isinstance(record, Failed) or not isinstance(record.exception, Error):
                continue
            count = grouped[id(record.exception)]
            if count > 1 and not self._propagates(record.exception):
                yield f"{record} was told to {count} callers"
            if not count and repr(record.exception) not in noted:
                yield f"{record} was told to no caller"

    def _propagates(self, error: BaseException) -> bool:
        return (
            sum(one is error for _, _, one in self.ledger.raised)
            + sum(one is error for _, _, one in self.ledger.reaction_raised)
            > 1
        )

    def rest(self) -> Iterator[str]:
        """Nothing waits, and every machine is in a state."""
        for name, machine in self.ledger.machines.items():
            engine = machine._engine
            queues = (
                [engine.external_queue.queue.queue, engine.internal_queue.queue.queue]
                if HOST_IS_3
                else [engine._external_queue]
            )
            for queue in queues:
                for trigger in queue:
                    args = trigger.args
                    what = self.tell(args[0]) if args else f"{trigger.event}"
                    if trigger.event != "__initial__":
                        yield f"left in the queue of {name}: {what}"
            if engine._processing.locked():
                yield f"{name} is still held"
            began = any(event.machine == name for event in self.ledger.events.values())
            if began and name not in self.ledger.broken and not machine.current_state_value:
                waits = [one for queue in queues for one in queue if one.event == "__initial__"]
                if not waits:
                    yield f"{name} is in no state"


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exceptions that one has in its context, at any depth."""
    while error is not None:
        error = error.__cause__ or error.__context__
        if error is not None:
            yield error


def reactions_to(record: Any) -> list[str]:
    """Return the reactions of the world to a transition, by its rules."""
    name, event = record.machine_name, str(record.event)
    found = ["each"]
    if (name, event) in {("left", "do"), ("first", "do")}:
        found.append("follow")
    if (name, event) == ("plain", "do"):
        found.append("hear")
    if name in {"right", "second"}:
        found.append("answer")
    if name in {"left", "first"} and "b" in record.entered:
        found.append("arrive")
    if (name, event) == ("members", "do"):
        found.append("greet")
    return found
