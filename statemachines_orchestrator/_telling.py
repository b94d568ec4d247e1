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
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "machine_of_record",
    "moved",
    "named",
    "names_of_path",
    "place_in_words",
    "told_in_a_line",
]


def place_in_words(record: Record) -> str:
    """Return what a record is about: `order`, `desk.order`, `items['a']`; empty: the outermost."""
    keys = list(record.keys)
    words = ""
    for part in record.path:
        if keys and part == keys[0] and words:
            words += f"[{shown(keys.pop(0))}]"
        else:
            words += f".{part}" if words else f"{part}"
    return words


def names_of_path(record: Record) -> list[str]:
    """Return the names of a record's path, without the keys of fleets."""
    keys = list(record.keys)
    names: list[str] = []
    for part in record.path:
        if keys and names and part == keys[0]:
            keys.pop(0)
        else:
            names.append(str(part))
    return names


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
