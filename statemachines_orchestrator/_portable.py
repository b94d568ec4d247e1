"""Records as JSON, and back. What JSON has no form for becomes its `repr`, and says so."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from statemachines_orchestrator import records
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.exceptions import UnreadableTraceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from statemachines_orchestrator.records import Record

__all__ = ["Repr", "facts_of", "read_lines", "written_lines"]

VERSION = 1
"""The version of the format, in the first line."""
_REPR, _TUPLE, _DICT = "$repr", "$tuple", "$dict"
_MOST_BITS = 10_000
"""Python writes no larger numbers in decimals."""
_KINDS: dict[str, type[Record]] = {
    name: getattr(records, name) for name in records.__all__ if name != "Record"
}
_TUPLES = frozenset(("args", "entered", "exited", "keys", "path"))
"""The fields that are tuples, whatever is in them."""
_WANTED: dict[str, Any] = {
    **dict.fromkeys(_TUPLES, list),
    "cause": (int, type(None)),
    "due": (int, float),
    "event": (str, type(None)),
    "kwargs": dict,
    "machine_name": str,
    "name": str,
    "seq": int,
    "source": (str, type(None)),
    "target": (str, type(None)),
    "topic": str,
}
"""What the fields of records are in JSON, where that matters."""
_LIVE = frozenset(("machine", "transition"))
"""The fields that travel for receivers only."""


@attrs.frozen(repr=False)
class Repr:
    """What stands for a value that JSON has no form for: its `repr`."""

    text: str

    def __repr__(self) -> str:
        return self.text


def facts_of(record: Record) -> dict[str, Any]:
    """Return what a record tells, in values that JSON has a form for."""
    state = record.__getstate__()
    facts: dict[str, Any] = {"kind": type(record).__name__}
    for name, value in state.items():
        if name in _TUPLES:
            facts[name] = [_safe(one) for one in value]
        elif name == "kwargs":
            facts[name] = {key: _safe(one) for key, one in value.items()}
        elif name not in _LIVE:
            facts[name] = _safe(value)
    return facts


def _safe(value: Any) -> Any:
    """Return a value in JSON's own, or its `repr`, if it holds itself, say."""
    try:
        return _portable(value)
    except RecursionError:
        return {_REPR: shown(value)}


def _portable(value: Any) -> Any:
    """Return a value in JSON's own; by exact type, since a subclass would come back as its base."""
    kind = value.__class__
    if kind is list:
        return [_portable(one) for one in value]
    if kind is tuple:
        return {_TUPLE: [_portable(one) for one in value]}
    if kind is dict and all(type(key) is str for key in value):
        if any(key[:1] == "$" for key in value):
            return {_DICT: [[key, _portable(one)] for key, one in value.items()]}
        return {key: _portable(one) for key, one in value.items()}
    return value if _is_plain(value, kind) else {_REPR: shown(value)}


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether JSON has a form for a value that holds no others."""
    if kind is float:
        return math.isfinite(value)
    return kind in {bool, str} or value is None or (kind is int and value.bit_length() < _MOST_BITS)


def _restored(value: Any) -> Any:
    """Return what `_portable` was given, or its `Repr`."""
    pairs = value
    if isinstance(value, list):
        return [_restored(one) for one in pairs]
    if isinstance(value, dict):
        if list(pairs) == [_REPR]:
            return Repr(pairs[_REPR])
        if list(pairs) == [_TUPLE]:
            return tuple(_restored(one) for one in pairs[_TUPLE])
        if list(pairs) == [_DICT]:
            return {key: _restored(one) for key, one in pairs[_DICT]}
        return {key: _restored(one) for key, one in pairs.items()}
    return value


def written_lines(found: Iterable[Record], participants: Iterable[str]) -> str:
    """Return records as lines of JSON, after a line that tells of the trace."""
    head = {"trace": VERSION, "participants": list(participants)}
    lines = [head, *(facts_of(record) for record in found)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def read_lines(text: str) -> tuple[list[Record], list[str]]:
    """Return the records and the participants of a text that `written_lines` made."""
    lines = [
        (number, _parsed(number, line))
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not lines:
        raise UnreadableTraceError(1, "there is nothing in it")
    number, head = lines[0]
    if head.get("trace") != VERSION:
        problem = f"it is no trace of version {VERSION}; the first line begins with {head!r:.60}"
        raise UnreadableTraceError(number, problem)
    given: Any = head.get("participants", [])
    if not isinstance(given, list):
        raise UnreadableTraceError(number, "its participants are no list of names")
    participants: list[str] = list(map(str, head.get("participants", ())))
    return [_record(number, facts) for number, facts in lines[1:]], participants


def _parsed(number: int, line: str) -> Mapping[str, Any]:
    try:
        facts: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableTraceError(number, f"it is no JSON: {error}") from None
    known: Mapping[str, Any] = facts
    if not isinstance(facts, dict):
        raise UnreadableTraceError(number, f"it is no JSON object: {line:.60}")
    return known


def _record(number: int, facts: Mapping[str, Any]) -> Record:
    """Return the record that a line tells of."""
    kind = _KINDS.get(str(facts.get("kind")))
    if kind is None:
        _refuse(number, f"{facts.get('kind')!r} is no kind of record")
    for name, value in facts.items():
        wanted = _WANTED.get(name)
        if wanted is not None and not (isinstance(value, wanted) and type(value) is not bool):
            _refuse(number, f"its {name} is {value!r:.40}")
    try:
        given = _given(facts)
    except (TypeError, ValueError) as error:
        _refuse(number, f"a value in it is none: {error}")
    if given.get("cause") is not None and given["cause"] >= given.get("seq", 0):
        _refuse(number, f"its cause, {given['cause']}, is not before it")
    try:
        return kind(**given)
    except TypeError as error:
        _refuse(number, f"it is no {kind.__name__}: {error}")


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a record's fields."""
    given: dict[str, Any] = {}
    for name, value in facts.items():
        if name in _TUPLES:
            given[name] = tuple(_restored(one) for one in value)
        elif name == "kwargs":
            given[name] = {key: _restored(one) for key, one in value.items()}
        elif name != "kind":
            given[name] = _restored(value)
    return given


def _refuse(number: int, problem: str) -> NoReturn:
    raise UnreadableTraceError(number, problem)
