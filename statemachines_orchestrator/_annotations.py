"""Annotations: which machines, fleets and orchestrators they name, as far as can be resolved."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from statemachines_orchestrator._host import is_machine_class
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Reading",
    "is_class_variable",
    "is_member_class",
    "own_annotations",
    "read_annotation",
    "scope_of",
]


@attrs.define
class Reading:
    """What an annotation turned out to be."""

    machines: list[type] = attrs.Factory(list[type])
    """The classes of machines and of orchestrators; of a fleet, those of its members."""
    fleets: int = 0
    """How many fleets it names."""
    alone: int = 0
    """How many machines or orchestrators outside of a fleet."""
    others: list[Any] = attrs.Factory(list[Any])
    optional: bool = False
    unresolved: bool = False


def own_annotations(cls: type) -> dict[str, Any]:
    """Return the annotations of the class body, without evaluating what cannot be."""
    if sys.version_info >= (3, 14):  # pragma: no cover - annotations are lazy from 3.14 on
        import annotationlib  # noqa: PLC0415

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def scope_of(cls: type) -> dict[str, Any]:
    """Return the names that the annotations of a class may use: its module's, its function's."""
    names: dict[str, Any] = (
        dict(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else {}
    )
    frame: Any = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a class in a function may name classes of the function
    while frame is not None and frame.f_globals.get("__name__") != cls.__module__:
        frame = frame.f_back
    return {**names, **(frame.f_locals if frame is not None else {})}


def is_class_variable(annotation: Any) -> bool:
    """Whether an annotation says ClassVar, as attrs sees it."""
    if isinstance(annotation, str):
        text = annotation.strip("'\" ")
        return text.startswith(("typing.ClassVar", "t.ClassVar", "ClassVar"))
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def read_annotation(
    annotation: Any, scope: Mapping[str, Any], reading: Reading | None = None
) -> Reading:
    """Find the machine classes, and what else there is, in an annotation."""
    reading = Reading() if reading is None else reading
    origin = typing.get_origin(annotation)
    if annotation is None or annotation is type(None):
        reading.optional = True
    elif isinstance(annotation, (str, typing.ForwardRef)) or hasattr(annotation, "__forward_arg__"):
        _read_string(str(getattr(annotation, "__forward_arg__", annotation)), scope, reading)
    elif origin is typing.Union or isinstance(annotation, types.UnionType):
        for part in typing.get_args(annotation):
            read_annotation(part, scope, reading)
    elif origin is typing.Annotated:
        read_annotation(typing.get_args(annotation)[0], scope, reading)
    elif _is_fleet(annotation) or _is_fleet(origin):
        reading.fleets += 1
        for member in _members_of(annotation):
            _read_member(member, scope, reading)
    elif is_member_class(annotation) or is_member_class(origin):
        reading.alone += 1
        reading.machines.append(annotation if origin is None else origin)
    else:
        reading.others.append(annotation)
    return reading


def is_member_class(value: Any) -> bool:
    """Whether a value is a class of machines or of orchestrators."""
    return is_machine_class(value) or (
        isinstance(value, type) and hasattr(value, "__declaration__")
    )


def _is_fleet(value: Any) -> bool:
    # On Python 3.10 `list[int]` is an instance of `type`, and no class.
    is_class = isinstance(value, type) and typing.get_origin(value) is None
    return is_class and issubclass(value, Fleet)


def _members_of(annotation: Any) -> tuple[Any, ...]:
    """Return what a fleet is of: what its brackets say, or those of the class it derives from."""
    arguments = typing.get_args(annotation)
    for base in getattr(annotation, "__orig_bases__", ()) if not arguments else ():
        if _is_fleet(typing.get_origin(base)):
            arguments = typing.get_args(base)
    return tuple(one for one in arguments[1:] if not isinstance(one, typing.TypeVar))


def _read_member(annotation: Any, scope: Mapping[str, Any], reading: Reading) -> None:
    """Read what a fleet holds; a fleet of fleets, of `None` or of anything else is none."""
    member = read_annotation(annotation, scope)
    reading.machines.extend(member.machines)
    reading.others.extend(member.others)
    reading.unresolved = reading.unresolved or member.unresolved
    if member.fleets or member.optional:
        reading.others.append(annotation)


def _read_string(text: str, scope: Mapping[str, Any], reading: Reading) -> None:
    try:
        value = eval(text, dict(scope))  # noqa: S307 - what typing.get_type_hints does
    except Exception:  # noqa: BLE001 - imported for type checkers only, or not defined yet
        reading.unresolved = True
    else:
        if isinstance(value, str) and value == text:
            reading.unresolved = True
        else:
            read_annotation(value, scope, reading)
