"""Data as JSON, and back, without loss: what JSON has no form for gets one, or is refused.

An object that is no JSON value becomes an object with one key that begins with `$`.
"""

from __future__ import annotations

import enum
import sys
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import attrs

from statemachines_orchestrator._notes import shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Ref",
    "Unpackable",
    "attributes_in",
    "class_called",
    "name_of_class",
    "packed",
    "slots_of",
    "unpacked",
]


@attrs.frozen
class Ref:
    """Stands in what is kept for something that lives: a machine, a fleet, a model."""

    kind: str
    number: int

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        """Return what it stands for now, where that is told."""
        live: dict[Ref, Any] = memo.get(Ref, {})
        return live.get(self, self)


class Unpackable(Exception):  # noqa: N818 - it is told in another one, and never seen
    """A value has no form in JSON, or a form means no value."""


def attributes_in(value: Any) -> dict[str, Any]:
    """Return the attributes of an object: its `__dict__`, the fields of attrs, and slots.

    What a class of attrs has in slots beside fields, a hash or what it has computed, is left out.
    """
    fields: Any = attrs.fields(value.__class__) if attrs.has(value.__class__) else ()
    found = {
        field.name: getattr(value, field.name) for field in fields if hasattr(value, field.name)
    }
    for name, slot in slots_of(cast("Any", type(value))).items():
        if "__attrs_attrs__" not in slot.__objclass__.__dict__:
            with suppress(AttributeError):  # it is not set
                found[name] = slot.__get__(value)
    return {**found, **getattr(value, "__dict__", {})}


def slots_of(kind: type) -> dict[str, Any]:
    """Return what reads and writes the slots of a class, by name: whatever stands over them."""
    known = _slots.get(kind)
    if known is None:
        known = _slots[kind] = tuple(
            (name, at)
            for at, base in reversed(list(enumerate(kind.__mro__)))
            if "__slots__" in base.__dict__
            for name, slot in base.__dict__.items()
            if slot.__class__ is MemberDescriptorType
        )
    return {name: kind.__mro__[at].__dict__[name] for name, at in known} if known else {}


_slots: WeakKeyDictionary[type, tuple[tuple[str, int], ...]] = WeakKeyDictionary()
"""The names of the slots of each class that was met, and the place of their owner among its bases.

The slots themselves know their class, and would keep it alive.
"""


def name_of_class(kind: type) -> str:
    """Return `module:Class`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def class_called(name: str) -> Any:
    """Return the class of that name, if its module is imported, else `None`."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


_TEXTS: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    datetime: (
        "$datetime",
        lambda when: [when.isoformat(), when.fold],
        lambda parts: datetime.fromisoformat(parts[0]).replace(fold=parts[1]),
    ),
    date: ("$date", date.isoformat, date.fromisoformat),
    time: ("$time", time.isoformat, time.fromisoformat),
    timedelta: (
        "$timedelta",
        lambda span: [span.days, span.seconds, span.microseconds],
        lambda parts: timedelta(*parts),
    ),
    Decimal: ("$decimal", str, Decimal),
    UUID: ("$uuid", str, UUID),
    bytes: ("$bytes", bytes.hex, bytes.fromhex),
}
_ZONES = (type(None), timezone)
"""The time zones whose times can be told by an offset for ever."""
_LARGEST = 10**4000
"""Python writes no much larger numbers in decimals."""
_DEEPEST = 200
"""Data that is nested deeper holds itself."""
_SEVERAL: dict[type, str] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}
_READ: dict[str, Callable[[Any], Any]] = {
    **{word: read for word, _write, read in _TEXTS.values()},
    "$tuple": lambda values: tuple(map(unpacked, values)),
    "$set": lambda values: set(map(unpacked, values)),
    "$frozenset": lambda values: frozenset(map(unpacked, values)),
    "$dict": lambda pairs: {unpacked(key): unpacked(value) for key, value in pairs},
    "$ref": lambda parts: Ref(*parts),
    "$enum": lambda parts: _enum(parts[0])(unpacked(parts[1])),
    "$attrs": lambda parts: _object(_class(parts[0]), unpacked(parts[1])),
}


def packed(value: Any) -> Any:
    """Return a value in JSON's own, by exact type; raise `Unpackable` for what has no form."""
    return _packed(value, 0)


def _packed(value: Any, depth: int) -> Any:
    """Return a value that stands so deep in others; what holds itself has no end."""
    if depth > _DEEPEST:
        message = f"{shown(value):.80} holds itself, or much too much, and has no form in JSON"
        raise Unpackable(message)
    kind: Any = value.__class__
    if value is None or kind in {bool, float, str} or (kind is int and abs(value) < _LARGEST):
        return value
    if kind is list:
        return [_packed(one, depth + 1) for one in value]
    if kind is dict:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {key: _packed(one, depth + 1) for key, one in value.items()}
        return {
            "$dict": [
                [_packed(key, depth + 1), _packed(one, depth + 1)] for key, one in value.items()
            ]
        }
    form = _form(value, kind, depth)
    if form is None:
        message = f"{shown(value)}, a {kind.__qualname__}, has no form in JSON"
        raise Unpackable(message)
    return form


def _form(value: Any, kind: Any, depth: int) -> dict[str, Any] | None:
    """Return the object with one key that tells of a value, `None` if there is none."""
    form: dict[str, Any] | None = None
    if kind in _SEVERAL:
        form = {_SEVERAL[kind]: _in_order([_packed(one, depth + 1) for one in value], kind)}
    elif kind in _TEXTS and type(getattr(value, "tzinfo", None)) in _ZONES:
        word, write, _read = _TEXTS[kind]
        form = {word: write(value)}
    elif kind is Ref:
        form = {"$ref": [value.kind, value.number]}
    elif class_called(name_of_class(kind)) is not kind:  # it is local, say: nobody finds it again
        form = None
    elif isinstance(value, enum.Enum):
        form = {"$enum": [name_of_class(kind), _packed(value.value, depth + 1)]}
    elif attrs.has(kind) and not any(base.__module__ == "builtins" for base in kind.__mro__[:-1]):
        form = {"$attrs": [name_of_class(kind), _packed(attributes_in(value), depth + 1)]}
    return form


def _in_order(values: list[Any], kind: type) -> list[Any]:
    """Return the values of a set in an order that is the same in every process."""
    return values if kind is tuple else sorted(values, key=repr)


def unpacked(value: Any) -> Any:
    """Return what `packed` was given; raise `Unpackable` for a form that means nothing here."""
    items: Any = value
    if isinstance(value, list):
        return [unpacked(one) for one in items]
    if not isinstance(value, dict):
        return value
    word = next(iter(items), "")
    if not word.startswith("$"):
        return {key: unpacked(one) for key, one in items.items()}
    try:
        return _READ[word](items[word])
    except (ArithmeticError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        message = f"{shown(value):.80} means nothing: {type(error).__name__}: {error}"
        raise Unpackable(message) from error


def _class(name: Any) -> Any:
    kind = class_called(str(name))
    if kind is None:
        message = f"no class {name!r} is known: import its module first"
        raise Unpackable(message)
    return kind


def _enum(name: Any) -> Any:
    kind = _class(name)
    if not issubclass(kind, enum.Enum):
        message = f"{name} is no enumeration"
        raise Unpackable(message)
    return kind


def _object(kind: Any, values: dict[str, Any]) -> Any:
    """Return an instance of an attrs class with these values."""
    if not attrs.has(kind):
        message = f"{kind.__qualname__} is no attrs class"
        raise Unpackable(message)
    made = kind.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made
