"""The check of a round: the records and the book must tell the same, and account for everything.

Each event is accounted for exactly once: it was taken, or ignored, or refused, or it failed, or it
was abandoned. Each transition is announced once, and each reaction to it ran once, or is told not
to have run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from soak.ledger import HOST_IS_3, REFUSED, STOPS, Error
from soak.reading import Reading, Totals
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    Failed,
    ReactionErrors,
    Sent,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from soak.ledger import Event, Ledger


def check(
    ledger: Ledger, records: Iterable[Any], *, has_given_up: bool
) -> tuple[list[str], Totals]:
    """Return what does not fit, a line each, and the numbers of the round."""
    audit = Audit(ledger, list(records))
    audit.has_given_up = has_given_up
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


class Audit(Reading):
    """What must hold of a round."""

    has_given_up = False
    """Whether callers were cancelled in the round."""

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
        if self.moved[number] and self.by_seq[self.moved_at[number]].cause is not None:
            yield "announced, and not sent"  # without a cause it waited in a bare machine's queue
        if event.way == "post" and number in self.unposted:
            self.totals["refused"] += 1
            return
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
            if not all(isinstance(error, Exception) for _, error in self.raised[number]):
                fates["abandoned"] = 0  # it was stopped itself, and may be announced as well
            elif self._is_cut_short(number, event):
                fates["failed"] = 0
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

    def _is_interrupted(self, number: int, event: Event) -> bool:
        """Whether an async step had queued an event whose caller was cancelled by then.

        It may have been running: the host runs a callback as a task of its own, and one that is
        cancelled before it begins has written nothing down.
        """
        origin = self._origin(number)
        if not event.is_async or origin == number:
            return False
        return self._gave_up(origin, self.ledger.events[origin])

    def _is_cut_short(self, number: int, event: Event) -> bool:
        """Whether the task of an async step was cancelled, and nobody waited for the event.

        What a callback of it had raised at that moment is lost in the host's `asyncio.gather`.
        """
        if not (event.is_async and self.has_given_up):
            return False
        if self.abandoned[number] or (not HOST_IS_3 and self.committed[number]):
            return True
        return "abandoned" in self.turns["each", self.moved_at.get(number)]

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

    def _answers(self, number: int, event: Event) -> Iterator[str]:
        """What it raised was told, exactly once; what it did not raise was not."""
        raised = {id(error): (place, error) for place, error in self.raised[number]}
        for key, (place, error) in raised.items():
            count = self.answers[self._origin(number), key]
            if not isinstance(error, Exception):
                stopped = any(error is one for one in self.ledger.tops)
                # A task that is cancelled at the same moment ends with `CancelledError`.
                if isinstance(error, STOPS) and not stopped and not self.has_given_up:
                    yield f"{error!r} in {place} stopped nobody"
                continue
            if count > 1:
                yield f"{error!r} in {place} was told {count} times"
            is_untold = self._is_given_up(number, event) or self._is_cut_short(number, event)
            if not (count or is_untold or self._is_noted(error)):
                yield f"{error!r} in {place} was told to nobody"
        if event.name in REFUSED and not raised:
            told = self.refused[number] + self.ignored[number] + self.abandoned[number]
            if told > 1:
                yield f"refused, and told {told} times"

    def _is_refusal_noted(self, number: int) -> bool:
        """Whether what has stopped the call of an event tells of a refusal in a note."""
        origin = self._origin(number)
        is_post = self.ledger.events[origin].way == "post"  # which may be in any call
        stops = [error for one, error in self.ledger.told if is_post or one == origin]
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

    def _was_bare(self, number: int) -> bool:
        """Whether an event was sent to a bare member: what is stopped there leaves its queue."""
        return not self.sent[number] and "[" in self.ledger.events[number].machine

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
        """What is announced as failed reaches a caller: in a group, or as a note."""
        grouped: Counter[int] = Counter()
        notes: list[str] = []
        told = [*self.ledger.tops, *(error for _, error in self.ledger.told)]
        for error in {id(one): one for one in told}.values():  # a callback may have kept it
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
            if not (count or repr(record.exception) in noted or self._has_left(record)):
                yield f"{record} was told to no caller"

    def _has_left(self, record: Any) -> bool:
        """Whether a `Sent` was announced when its machine had run it, and left, in other threads.

        What an observer of that raises has no call of ours to end with.
        """
        sent = self.by_seq.get(record.cause)
        return isinstance(sent, Sent) and sent.path[0] == "members" and record.name == "watch_sent"

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
                    if trigger.event == "__initial__" or (args and self._was_bare(args[0])):
                        continue
                    what = self.tell(args[0]) if args else f"{trigger.event}"
                    yield f"left in the queue of {name}: {what}"
            if engine._processing.locked():
                yield f"{name} is still held"
            began = any(event.machine == name for event in self.ledger.events.values())
            if began and name not in self.ledger.broken and not machine.current_state_value:
                waits = [one for queue in queues for one in queue if one.event == "__initial__"]
                if not waits:
                    yield f"{name} is in no state"


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
