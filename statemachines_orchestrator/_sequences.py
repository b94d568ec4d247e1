"""The sequence diagram of a trace, in Mermaid's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from statemachines_orchestrator._folding import folded
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._telling import cause_in, machine_of_record, moved
from statemachines_orchestrator.records import (
    Abandoned,
    Elapsed,
    Failed,
    Ignored,
    Published,
    Sent,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from statemachines_orchestrator._folding import Loop
    from statemachines_orchestrator.records import Record

    Item: TypeAlias = tuple[str, ...]

__all__ = ["sequence_diagram"]

OUTSIDE, CLOCK = "outside", "clock"
"""The actors that are no machines: who calls from outside, and what calls when a timer is due."""
_ESCAPED = {"#": "#35;", ";": "#59;", "%": "#37;", "<": "#60;", ">": "#62;", "\n": " ", "\r": " "}
_LONGEST = 80


def sequence_diagram(records: Sequence[Record], fields: Sequence[str]) -> str:
    """Return a diagram: machines in the order of their fields, repetitions folded."""
    drawing = _Drawing(records)
    items = list(drawing.items())
    actors = sorted(drawing.machines, key=lambda name: _place(name, fields))
    names = {name: f"m{number}" for number, name in enumerate(actors)}
    lines = ["sequenceDiagram"]
    for actor in (OUTSIDE, CLOCK):
        if actor in drawing.actors:
            names[actor] = actor
            lines.append(f"    actor {actor}")
    lines.extend(f"    participant {names[name]} as {_escaped(name)}" for name in actors)
    lines.extend(_rendered(folded(items), names, "    "))
    return "\n".join(lines) + "\n"


def _place(name: str, fields: Sequence[str]) -> int:
    """Return where the field of a machine stands among all; the members of a fleet stay in turn."""
    field = name.partition("[")[0]
    return fields.index(field) if field in fields else len(fields)


class _Drawing:
    """What is drawn for each record, in terms of machines."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.known: dict[int | None, Record] = {record.seq: record for record in records}
        self.machines: dict[str, None] = {}
        self.actors: dict[str, None] = {}
        self.ends: dict[int | None, int] = {}
        """By the `seq` of a `Sent`, that of the last record of its step."""
        self.ignored: set[int | None] = set()
        self.sending: set[int | None] = set()
        """The turns that sent something: their name stands on the arrow."""
        for record in records:
            if isinstance(record, Transitioned):
                self.ends[record.cause] = record.seq
            if isinstance(record, Ignored):
                self.ignored.add(record.cause)
            if isinstance(record, Sent):
                self.sending.add(record.cause)

    def items(self) -> Iterator[Item]:
        """Yield what is drawn: (how, actors and texts)."""
        for record in self.records:
            yield from self.drawn(record)
            if self.ends.get(record.cause) == record.seq and record.cause in self.known:
                yield "ended", self.actor(record)

    def drawn(self, record: Record) -> Iterator[Item]:
        """Yield what is drawn for one record; that a turn has ended, or a cascade, is not."""
        if isinstance(record, Sent):
            yield from self.arrow(record)
        elif isinstance(record, Transitioned):
            yield "note", self.actor(record), moved(record)
        elif isinstance(record, Elapsed) and record.state is not None:
            yield "timer", self.call_of(CLOCK), self.actor(record), f"{record.topic} is over"
        elif isinstance(record, Published):
            yield "note", self.actor(record), f"signal {record.name}"
        elif isinstance(record, Started) and record.seq not in self.sending:
            yield "note", self.actor(record), f"reaction {record.name}"
        elif isinstance(record, Failed):
            text = f"{record.name} failed: {shown(record.exception)}"
            yield "failure", self.actor(record), text
        elif isinstance(record, Abandoned):
            yield "failure", self.actor(record), f"{record.name} abandoned"

    def arrow(self, record: Sent) -> Iterator[Item]:
        """Yield the arrow of an event, with what sent it, and the beginning of its step."""
        text = record.event
        cause = cause_in(self.known, record)
        if isinstance(cause, Started):
            why = "posted" if cause.name == cause.topic else cause.name
            text += f" ({why})"
        target = self.actor(record)
        if record.seq in self.ignored:
            yield "ignored", self.actor(cause), target, f"{text}, ignored"
        else:
            how = "began" if record.seq in self.ends else "sent"
            yield how, self.actor(cause), target, text

    def actor(self, record: Record | None) -> str:
        """Return the machine that a record is about, or of the nearest cause that is about one."""
        while record is not None:
            machine = machine_of_record(record)
            if isinstance(record, Elapsed) and machine is None:
                return self.call_of(CLOCK)
            if machine is not None:
                self.machines[machine] = None
                return machine
            record = cause_in(self.known, record)
        return self.call_of(OUTSIDE)

    def call_of(self, actor: str) -> str:
        """Return an actor that is no machine, and is drawn since it is needed."""
        self.actors[actor] = None
        return actor


_ARROWS = {"sent": "->>", "began": "->>+", "ignored": "--x", "timer": "--)"}


def _rendered(items: Sequence[Item | Loop], names: dict[str, str], indent: str) -> Iterator[str]:
    """Yield the lines of what is drawn."""
    for item in items:
        if not isinstance(item, tuple):
            yield f"{indent}loop {item.count} times"
            yield from _rendered(item.items, names, indent + "    ")
            yield f"{indent}end"
            continue
        how, actor, *rest = item
        name = names[actor]
        if how in _ARROWS:
            yield f"{indent}{name}{_ARROWS[how]}{names[rest[0]]}: {_escaped(rest[1])}"
        elif how == "note":
            yield f"{indent}Note over {name}: {_escaped(rest[0])}"
        elif how == "failure":
            yield f"{indent}rect rgb(255, 214, 214)"
            yield f"{indent}    Note over {name}: {_escaped(rest[0])}"
            yield f"{indent}end"
        else:
            yield f"{indent}deactivate {name}"


def _escaped(text: str) -> str:
    """Return text as Mermaid takes it: without what ends a statement or begins a tag."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(_ESCAPED.get(letter, letter) for letter in short)
