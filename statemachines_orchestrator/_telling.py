"""How a record is told in one line, and how what it is about is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.records import (
    Abandoned,
    Elapsed,
    Failed,
    Finished,
    Ignored,
    Published,
    Record,
    Sent,
    Settled,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "cause_in",
    "fields_of",
    "machine_of_record",
    "moved",
    "named",
    "names_of_path",
    "place_in_words",
    "told_in_a_line",
]


def cause_in(known: Mapping[int | None, Record], record: Record) -> Record | None:
    """Return the cause of a record, if it is known: something that was there before it."""
    cause = known.get(record.cause)
    return cause if cause is not None and cause.seq < record.seq else None


def _parts(record: Record) -> Iterator[tuple[Any, bool]]:
    """Yield the parts of a record's path, and whether each is the key of a fleet."""
    keys = list(record.keys)
    for number, part in enumerate(record.path):
        is_key = bool(number and keys and part == keys[0])
        if is_key:
            del keys[0]
        yield part, is_key


def place_in_words(record: Record) -> str:
    """Return what a record is about: `order`, `desk.order`, `items['a']`; empty: the outermost."""
    words = (f"[{shown(part)}]" if is_key else f".{part}" for part, is_key in _parts(record))
    return "".join(words).removeprefix(".")


def names_of_path(record: Record) -> list[str]:
    """Return the names of a record's path, without the keys of fleets."""
    return [str(part) for part, is_key in _parts(record) if not is_key]


def fields_of(record: Record) -> dict[str, Any]:
    """Return what a record tells beside its text, `None` where it tells nothing."""
    fields: dict[str, Any] = {
        "machine": machine_of_record(record),
        "event": getattr(record, "event", None),
        "source": getattr(record, "source", None),
        "target": getattr(record, "target", None),
        "reaction": getattr(record, "name", None),
        "topic": getattr(record, "topic", None),
    }
    texts = {
        name: None if value is None else str(getattr(value, "id", value))
        for name, value in fields.items()
    }
    return {**texts, "seq": record.seq, "cause": record.cause}


def machine_of_record(record: Record) -> str | None:
    """Return the machine that a record is about, `None` if it is about none."""
    if isinstance(record, (Sent, Transitioned, Ignored)):
        return place_in_words(record) or record.machine_name
    if isinstance(record, Elapsed) and record.state is not None:
        return place_in_words(record)
    return None


def told_in_a_line(record: Record) -> str:
    """Return one line of text, without a line break in it."""
    told: Callable[[Any], str] = _TOLD.get(type(record), shown)
    return " ".join(told(record).split())


def _sent(record: Sent) -> str:
    arguments = _arguments(record.args, record.kwargs)
    return f"{machine_of_record(record)}.{record.event}({arguments})"


def _started(record: Started) -> str:
    name = named(record)
    return f"posted {name}" if record.name == record.topic else f"{name}, on {record.topic}"


def _finished(record: Finished) -> str:
    result = "" if record.result is None else f": {shown(record.result)}"
    return f"{named(record)} finished{result}"


_TOLD: dict[type[Record], Callable[[Any], str]] = {
    Sent: _sent,
    Transitioned: lambda record: f"{machine_of_record(record)}: {moved(record)}",
    Ignored: lambda record: f"{machine_of_record(record)}.{record.event} IGNORED",
    Published: lambda record: f"signal {named(record)}({_arguments((), record.kwargs)})",
    Started: _started,
    Finished: _finished,
    Failed: lambda record: f"{named(record)} FAILED: {shown(record.exception)}",
    Abandoned: lambda record: f"{named(record)} ABANDONED",
    Elapsed: lambda record: f"{record.topic} elapsed, at {record.due}",
    Settled: lambda record: (
        f"settled: {_count(record.reactions, 'turn')}, {_count(record.failures, 'failure')}"
    ),
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def named(record: Record) -> str:
    """Return the name of a reaction, post or signal with that of the orchestrator it is of."""
    place, name = place_in_words(record), getattr(record, "name", "")
    return f"{place}.{name}" if place else name


def moved(record: Transitioned) -> str:
    """Return `pending → processing`, or of an internal transition the state that stays."""
    if not record.exited and not record.entered:
        source = record.source
        return f"{getattr(source, 'id', source)} stays"
    exited, entered = " ".join(reversed(record.exited)), " ".join(record.entered)
    return f"{exited or '·'} → {entered or '·'}"


def _arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return ", ".join([*map(shown, args), *(f"{name}={shown(kwargs[name])}" for name in kwargs)])
