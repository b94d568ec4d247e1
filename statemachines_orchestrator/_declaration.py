"""What an orchestrator class declares: its machine fields and its reactions, read and checked."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from statemachines_orchestrator._engine import Machine, is_machine_class
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    DeclarationError,
    NameClashError,
    NoMachinesOnOrchestratorError,
    NotAReactionError,
    UnexpectedAnnotationTypeError,
)
from statemachines_orchestrator.reactions import (
    HOST_NAMES,
    Reaction,
    binder,
    place,
    reactions_of,
    removed,
)
from statemachines_orchestrator.topics import Topics, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["SURFACE", "Declaration", "MachineField", "Options", "Plan", "read_annotation"]

SURFACE = (
    "asend",
    "broadcast",
    "bus",
    "enabled_events",
    "machine_classes",
    "machines",
    "orchestrator_name",
    "post",
    "publish",
)
"""The names that every orchestrator has, and that no field or reaction may take."""

_RESERVED = (*HOST_NAMES, "event_data", "self", "record", "key")


@attrs.frozen
class Options:
    """The class keywords, inherited by subclasses."""

    orchestrator_name: str = "orc"
    max_reactions: int | None = 100_000

    def replaced(self, where: str, given: Mapping[str, Any]) -> Options:
        """Return the options with those `given` in their place, checked."""
        options = attrs.evolve(self, **given)
        name, bound = options.orchestrator_name, options.max_reactions
        if not (isinstance(name, str) and name.isidentifier()) or name in _RESERVED:
            raise DeclarationError(
                where,
                f"orchestrator_name={name!r} cannot be the name of an injected parameter",
                f"Choose an identifier that is none of {', '.join(_RESERVED)}",
            )
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 1):
            raise DeclarationError(
                where,
                f"max_reactions={bound!r} is no bound",
                "Give a number of reactions of at least 1, or None for no bound",
            )
        return options


@attrs.frozen
class MachineField:
    """A field that holds a machine."""

    name: str
    classes: tuple[type, ...] | None
    """The machine classes it takes, `None` as long as the annotation cannot be resolved."""
    annotation: str
    optional: bool = False
    bare: bool = True
    """Whether it has neither a value nor an `attrs.field()`, so that it must hold a machine."""


@attrs.frozen
class Plan:
    """A reaction of one class, ready to be subscribed."""

    name: str
    label: str
    topics: tuple[str, ...]
    call: Callable[[Any, Any], Any]
    cond: Callable[[Any, Any], Any] | None
    is_async: bool
    reaction: Reaction


@attrs.define(eq=False)
class Declaration:
    """What one class declares."""

    where: str
    options: Options
    abstract: bool
    fields: dict[str, MachineField]
    plans: tuple[Plan, ...] = ()
    topics: Topics = attrs.field(factory=lambda: Topics({}))
    made_by_attrs: dict[str, Any] = attrs.field(factory=dict)
    """What attrs put on the class: an explicit `@attrs.define` must not change its meaning."""
    remembered: dict[tuple[str, type], dict[Any, Any]] = attrs.field(factory=dict)
    """The topics of transitions, by field and machine class."""

    @property
    def max_reactions(self) -> int | None:
        """The bound at which a cascade is searched for a loop."""
        return self.options.max_reactions

    @property
    def is_settled(self) -> bool:
        """Whether every annotation is resolved."""
        return all(field.classes is not None for field in self.fields.values())

    def wire(self, cls: type) -> None:
        """Read the reactions of `cls` and resolve their topics."""
        if self.abstract:
            return
        if not self.fields:
            raise NoMachinesOnOrchestratorError(self.where)
        self.topics = Topics(
            {
                name: None if field.classes is None else _vocabulary(field.classes)
                for name, field in self.fields.items()
            }
        )
        plans = [
            _plan(cls, self, name, function, reaction)
            for name, (reactions, function) in _reactions_in(cls).items()
            for reaction in reactions
        ]
        self.plans = tuple(plans)
        self.topics = attrs.evolve(self.topics, reactions=frozenset(plan.name for plan in plans))

    def settle(self, cls: type, machines: Mapping[str, Any]) -> None:
        """Resolve, from the first machines given, what no annotation could tell."""
        for name, field in list(self.fields.items()):
            if field.classes is not None:
                continue
            value = machines.get(name)
            if isinstance(value, Machine):
                self.fields[name] = attrs.evolve(field, classes=(type(value),), optional=True)
            elif value is not None:
                if field.bare:
                    raise AnnotationIsNotAStateMachineError(self.where, name, field.annotation)
                del self.fields[name]
        self.wire(cls)

    def remembered_topics(self, name: str, machine: Any) -> dict[Any, Any]:
        """Return the memory of topics that all machines of one class in one field share."""
        return self.remembered.setdefault((name, type(machine)), {})


def where_is(cls: type) -> str:
    """Return where a class stands in the user's source."""
    return f"{cls.__module__}.{cls.__qualname__}"


# Annotations ----------------------------------------------------------------------------------


@attrs.define
class Reading:
    """What an annotation turned out to be."""

    machines: list[type] = attrs.field(factory=list)
    others: list[Any] = attrs.field(factory=list)
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
    names: dict[str, Any] = dict(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else {}
    frame = sys._getframe(1)  # noqa: SLF001 - a class in a function may name classes of the function
    while frame is not None and frame.f_globals.get("__name__") != cls.__module__:
        frame = frame.f_back  # type: ignore[assignment]
    return {**names, **(frame.f_locals if frame is not None else {})}


def is_class_variable(annotation: Any) -> bool:
    """Whether an annotation says ClassVar, as attrs sees it."""
    if isinstance(annotation, str):
        text = annotation.strip("'\" ")
        return text.startswith(("typing.ClassVar", "t.ClassVar", "ClassVar"))
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def read_annotation(annotation: Any, scope: Mapping[str, Any], reading: Reading | None = None) -> Reading:
    """Find the machine classes, and what else there is, in an annotation."""
    reading = Reading() if reading is None else reading
    origin = typing.get_origin(annotation)
    if annotation is None or annotation is type(None):
        reading.optional = True
    elif isinstance(annotation, (str, typing.ForwardRef)) or hasattr(annotation, "__forward_arg__"):
        _read_string(getattr(annotation, "__forward_arg__", annotation), scope, reading)
    elif origin is typing.Union or isinstance(annotation, types.UnionType):
        for part in typing.get_args(annotation):
            read_annotation(part, scope, reading)
    elif origin is typing.Annotated:
        read_annotation(typing.get_args(annotation)[0], scope, reading)
    elif is_machine_class(annotation) or is_machine_class(origin):
        reading.machines.append(annotation if origin is None else origin)
    else:
        reading.others.append(annotation)
    return reading


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


def field_of(
    where: str, attribute: attrs.Attribute[Any], scope: Mapping[str, Any], *, bare: bool
) -> MachineField | None:
    """Return the machine field that an own attribute declares, `None` for plain data."""
    name, annotation = attribute.name, attribute.type
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))
    reading = read_annotation(annotation, scope)
    factory = getattr(attribute.default, "factory", None)
    if isinstance(attribute.default, Machine):
        raise DeclarationError(
            f"{where}.{name}",
            "a machine as a default would be one for all orchestrators",
            f"Use a factory: {name}: {text} = attrs.field(factory={type(attribute.default).__name__})",
        )
    if reading.unresolved and is_machine_class(factory):
        reading.machines.append(factory)
        reading.unresolved = False
    if bare and reading.others:
        kind = AnnotationIsNotAStateMachineError
        if not all(isinstance(other, type) or typing.get_origin(other) for other in reading.others):
            kind = UnexpectedAnnotationTypeError  # type: ignore[assignment]
        raise kind(where, name, text)
    if not reading.unresolved and (reading.others or not reading.machines):
        if bare:
            raise AnnotationIsNotAStateMachineError(where, name, text)
        return None
    if name.startswith("_"):
        raise DeclarationError(
            f"{where}.{name}",
            "attrs strips the underscore from the name of the argument",
            f"Call the machine {name.lstrip('_')!r}",
        )
    classes = None if reading.unresolved else tuple(reading.machines)
    return MachineField(name, classes, text, optional=reading.optional, bare=bare)


def _vocabulary(classes: Iterable[type]) -> Any:
    first, *others = (vocabulary_of(machine_class) for machine_class in classes)
    for other in others:
        first |= other
    return first


# Reactions ------------------------------------------------------------------------------------


def _reactions_in(cls: type) -> dict[str, tuple[tuple[Reaction, ...], Any]]:
    """Return the reactions of `cls` by name: base class before subclass, then as in the source."""
    found: dict[str, tuple[tuple[Reaction, ...], Any]] = {}
    for klass in reversed(cls.__mro__):
        for name, value in vars(klass).items():
            marks = reactions_of(value)
            if value is removed:
                found.pop(name, None)
            elif marks:
                found.pop(name, None)  # decorated anew: it stands where it is decorated now
                found[name] = (marks, value)
            elif name in found:
                if not inspect.isfunction(value):
                    raise DeclarationError(
                        f"{where_is(klass)}.{name}",
                        f"{value!r} takes the place of a reaction",
                        f"Remove the reaction with: {name} = removed",
                    )
                found[name] = (found[name][0], value)
    return found


def _plan(cls: type, declaration: Declaration, name: str, function: Any, reaction: Reaction) -> Plan:
    if name in SURFACE or name in declaration.fields:
        taken_by = "a machine" if name in declaration.fields else "every orchestrator"
        raise NameClashError(reaction.where, name, taken_by, "Give the reaction another name")
    if "cond" in declaration.fields and isinstance(reaction.cond, str):
        raise NameClashError(
            reaction.where,
            "cond",
            "an option of the decorators",
            f'Write the machine\'s topic as a string: "cond.{reaction.cond}"',
        )
    return Plan(
        name=name,
        label=f"{cls.__name__}.{name}",
        topics=tuple(declaration.topics.resolve(topic, reaction.where) for topic in reaction.written()),
        call=binder(function, method=True),
        cond=None if reaction.cond is None else _condition(cls, declaration, reaction),
        is_async=inspect.iscoroutinefunction(function),
        reaction=reaction,
    )


def _condition(cls: type, declaration: Declaration, reaction: Reaction) -> Callable[[Any, Any], Any]:
    cond = reaction.cond
    named = isinstance(cond, str)
    function = inspect.getattr_static(cls, cond, None) if named else cond
    if named and function is None and cond not in _attribute_names(cls):
        raise NotAReactionError(
            reaction.where,
            f"cond={cond!r} names no method or attribute of {declaration.where}",
            "Define it in the class, or pass a callable",
        )
    if inspect.iscoroutinefunction(function):
        raise NotAReactionError(
            reaction.where, f"cond={cond!r} is an async def", "A condition is asked and answers at once"
        )
    if inspect.isfunction(function):
        return binder(function, method=named)
    if named:
        return lambda owner, _record: getattr(owner, cond)
    return binder(function, method=False)


def _attribute_names(cls: type) -> set[str]:
    return {name for klass in cls.__mro__ for name in getattr(klass, "__annotations__", {})}


def check_names(where: str, cls: type, annotations: Iterable[str]) -> None:
    """Refuse fields whose names are taken."""
    for name in annotations:
        if name in SURFACE:
            raise NameClashError(
                where, name, "every orchestrator", "Give the field another name"
            )
        if reactions_of(vars(cls).get(name)):
            raise NameClashError(
                place(vars(cls)[name]), name, "a field", "Give the reaction another name"
            )
