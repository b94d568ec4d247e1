"""What an orchestrator class declares: its options, its machine fields, its reactions; checked."""

from __future__ import annotations

import inspect
import keyword
import typing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._annotations import (
    is_class_variable,
    own_annotations,
    read_annotation,
    scope_of,
)
from statemachines_orchestrator._attachment import assemble, disassemble
from statemachines_orchestrator._host import HOST_IS_3, Machine, is_machine_class, passes_on
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    DeclarationError,
    NameClashError,
    NoMachinesOnOrchestratorError,
    NotAReactionError,
    UnexpectedAnnotationTypeError,
)
from statemachines_orchestrator.reactions import (
    RESERVED_NAMES,
    Reaction,
    binder,
    place,
    reactions_of,
    removed,
)
from statemachines_orchestrator.topics import OBSERVED_KINDS, Topics, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Declaration", "Options", "declare", "finish"]

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
"""The names that every orchestrator has or will have, and that no field or reaction may take."""

_FROM_ATTRS = (
    "__attrs_attrs__",
    "__attrs_init__",
    "__eq__",
    "__getstate__",
    "__hash__",
    "__init__",
    "__match_args__",
    "__ne__",
    "__repr__",
    "__setattr__",
    "__setstate__",
)
"""What an explicit `@attrs.define` makes anew, and must not."""


_SPECIFICATION = attrs.field().__class__


@attrs.frozen
class Options:
    """The class keywords that subclasses inherit."""

    orchestrator_name: str = "orc"
    max_reactions: int | None = 100_000

    def replaced(self, where: str, given: Mapping[str, Any]) -> Options:
        """Return the options with those `given` in their place, checked."""
        for word in given:
            if word not in ("orchestrator_name", "max_reactions"):
                raise DeclarationError(
                    where,
                    f"{word} is no class keyword of an orchestrator",
                    "There are orchestrator_name, max_reactions, abstract and kw_only",
                )
        options = attrs.evolve(self, **given)
        name: Any = options.orchestrator_name
        bound: Any = options.max_reactions
        is_name = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
        if not is_name or name in RESERVED_NAMES:
            raise DeclarationError(
                where,
                f"orchestrator_name={name!r} cannot be the name of an injected parameter",
                f"Choose an identifier that is none of {', '.join(RESERVED_NAMES)}",
            )
        if bound is not None and (type(bound) is not int or bound < 1):
            raise DeclarationError(
                where,
                f"max_reactions={bound!r} is no bound",
                "Give a number of reactions, at least 1, or None for no bound",
            )
        return options


@attrs.frozen
class MachineField:
    """A field that holds a machine."""

    name: str
    classes: tuple[type, ...] | None
    """The machine classes it takes, `None` as long as the annotation cannot be resolved."""
    annotation: str
    optional: bool
    bare: bool
    """Whether it has neither a value nor an `attrs.field()`, so that it must hold a machine."""


@attrs.frozen
class Plan:
    """A reaction of one class, ready to be subscribed."""

    name: str
    label: str
    """`Shop.capture`, with the name of the class that runs it."""
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
    set_attribute: Callable[[Any, str, Any], None] = object.__setattr__
    """What attrs wrote to convert and validate an attribute that is set."""
    made: dict[str, Any] = attrs.Factory(dict[str, Any])
    """What attrs made of the class, as it is to stay."""
    remembered: dict[tuple[str, type], dict[Any, Any]] = attrs.Factory(dict[Any, Any])
    """The topics of transitions, by field and machine class."""

    @property
    def max_reactions(self) -> int | None:
        """The number of turns at which a cascade is searched for a loop."""
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
        vocabularies = {
            name: None if field.classes is None else vocabulary_of(*field.classes)
            for name, field in self.fields.items()
        }
        self.topics = Topics(vocabularies)
        found = _reactions_in(cls)
        self.plans = tuple(
            plan
            for name, (reactions, function) in found.items()
            for plan in _plans(cls, self, name, function, reactions)
        )
        self.topics = Topics(vocabularies, frozenset(found))

    def settled(self, cls: type, values: Mapping[str, Any]) -> Declaration:
        """Return the declaration, with what no annotation could tell told by the first machines."""
        fields = dict(self.fields)
        for name, field in self.fields.items():
            value = values.get(name)
            if field.classes is not None or value is None:
                continue
            if isinstance(value, Machine):
                fields[name] = attrs.evolve(field, classes=(type(value),))
            elif field.bare:
                raise AnnotationIsNotAStateMachineError(self.where, name, field.annotation)
            else:
                del fields[name]
        settled = attrs.evolve(self, fields=fields)
        settled.wire(cls)
        return settled


def declare(cls: type, *, abstract: bool, kw_only: bool, options: dict[str, Any]) -> None:
    """Make `cls` an attrs class, and read what it declares."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    parent: Declaration = next(
        vars(base)["__declaration__"] for base in cls.__mro__[1:] if "__declaration__" in vars(base)
    )
    checked = parent.options.replaced(where, options)
    _check_names(where, cls)
    fields = {
        name: field
        for base in reversed(cls.__mro__[1:])
        if "__declaration__" in vars(base)
        for name, field in vars(base)["__declaration__"].fields.items()
    }
    scope, given = scope_of(cls), set(vars(cls))

    def transform(_cls: type, attributes: list[Any]) -> list[Any]:
        return [
            attribute
            if attribute.inherited
            else _as_machine(where, attribute, fields, scope, bare=attribute.name not in given)
            for attribute in attributes
        ]

    try:
        attrs.define(
            cls,
            slots=False,
            eq=False,
            repr=False,
            kw_only=kw_only,
            auto_attribs=True,
            field_transformer=transform,
        )
    except attrs.exceptions.UnannotatedAttributeError as error:
        raise DeclarationError(where, str(error).rstrip("."), "Annotate every field") from None
    _attach_before_post_init(cls)
    set_attribute = _take_setattr(cls)
    declaration = Declaration(
        where,
        checked,
        abstract,
        {field.name: fields[field.name] for field in _attributes(cls) if field.name in fields},
        set_attribute=set_attribute,
        made=_preferred(cls) | {name: vars(cls)[name] for name in _FROM_ATTRS if name in vars(cls)},
    )
    cls.__declaration__ = declaration  # type: ignore[attr-defined]
    declaration.wire(cls)
    for attribute in _attributes(cls):
        if not attribute.inherited:
            setattr(cls, attribute.name, _respecified(attribute))


def _take_setattr(cls: type) -> Any:
    """Take what attrs wrote to set attributes: `Orchestrator.__setattr__` calls it.

    On the class it would stand in the way of ours, and of an explicit `@attrs.define`.
    """
    if not vars(cls).get("__attrs_own_setattr__"):
        return object.__setattr__
    written = vars(cls)["__setattr__"]
    delattr(cls, "__setattr__")
    cls.__attrs_own_setattr__ = False  # type: ignore[attr-defined] # attrs asks for it
    return written


def _attributes(cls: Any) -> tuple[Any, ...]:
    """Return the fields of a class, as attrs tells them."""
    attributes: tuple[Any, ...] = attrs.fields(cls)
    return attributes


def _preferred(cls: Any) -> dict[str, Any]:
    """Return our identity, repr and set-once, where another attrs class stands before ours."""
    ours = next(base for base in cls.__mro__[::-1] if "__declaration__" in vars(base))
    preferred: dict[str, Any] = {}
    for name in ("__eq__", "__hash__", "__ne__", "__repr__", "__setattr__"):
        owner: type = next(base for base in cls.__mro__ if name in vars(base))
        code = getattr(vars(owner)[name], "__code__", None)
        by_attrs = (
            vars(owner)[name] is None  # the hash of a class that compares by value
            or "attrs generated" in getattr(code, "co_filename", "")
            or (name == "__setattr__" and vars(owner).get("__attrs_own_setattr__", False))
        )
        if by_attrs and not issubclass(owner, ours):
            preferred[name] = getattr(ours, name)
    return preferred


def _respecified(attribute: Any) -> Any:
    """Return the `attrs.field()` of which attrs made an attribute.

    It stands in the class until the first instance: an explicit `@attrs.define` reads it again.
    """
    return attrs.field(
        default=attribute.default,
        validator=attribute.validator,
        repr=attribute.repr,
        hash=attribute.hash,
        init=attribute.init,
        metadata=dict(attribute.metadata),
        converter=attribute.converter,
        kw_only=attribute.kw_only,
        eq=attribute.eq_key or attribute.eq,
        order=attribute.order_key or attribute.order,
        on_setattr=attribute.on_setattr,
        alias=attribute.alias,
    )


def finish(cls: type) -> None:
    """End the definition of a class: put back what an explicit `@attrs.define` replaced.

    It changes storage, never meaning. Called before the first instance and the first subclass.
    """
    declaration = vars(cls).get("__declaration__")
    if declaration is None or not declaration.made:
        return
    for name in _FROM_ATTRS:
        if name in declaration.made:
            if vars(cls).get(name) is not declaration.made[name]:
                setattr(cls, name, declaration.made[name])
        elif name in vars(cls):
            delattr(cls, name)
    for attribute in _attributes(cls):
        if type(vars(cls).get(attribute.name)) is _SPECIFICATION:
            delattr(cls, attribute.name)


# Fields ---------------------------------------------------------------------------------------


def _check_names(where: str, cls: type) -> None:
    """Refuse fields whose names are taken."""
    for name, annotation in own_annotations(cls).items():
        if is_class_variable(annotation):
            continue
        if name in SURFACE:
            raise NameClashError(where, name, "every orchestrator", "Give the field another name")
        value = vars(cls).get(name)
        if reactions_of(value):
            raise NameClashError(place(value), name, "a field", "Give the reaction another name")


def _as_machine(
    where: str,
    attribute: Any,
    fields: dict[str, MachineField],
    scope: Mapping[str, Any],
    *,
    bare: bool,
) -> Any:
    """Note a field that holds a machine, and let its factory build it with `orc`."""
    fields.pop(attribute.name, None)
    field = _machine_field(where, attribute, scope, bare=bare)
    if field is None:
        return attribute
    fields[attribute.name] = field
    default: Any = attribute.default
    if HOST_IS_3 and not getattr(default, "takes_self", True) and passes_on(default.factory):
        build = _with_orchestrator(default.factory)
        attribute = attribute.evolve(default=attrs.Factory(build, takes_self=True))
    return attribute


def _machine_field(
    where: str, attribute: Any, scope: Mapping[str, Any], *, bare: bool
) -> MachineField | None:
    """Return the machine field that an attribute declares, `None` for plain data."""
    name, annotation, default = attribute.name, attribute.type, attribute.default
    text = _text_of(annotation)
    if isinstance(default, Machine):
        raise DeclarationError(
            f"{where}.{name}",
            "a machine as a default would be one for all orchestrators",
            f"Use a factory: {name}: {text} = attrs.field(factory={type(default).__name__})",
        )
    reading = read_annotation(annotation, scope)
    factory: Any = getattr(default, "factory", None)
    if reading.unresolved and is_machine_class(factory):
        reading.machines.append(factory)
        reading.unresolved = False
    if reading.others or not (reading.machines or reading.unresolved):
        if not bare:
            return None
        is_type = all(isinstance(one, type) or typing.get_origin(one) for one in reading.others)
        error = AnnotationIsNotAStateMachineError if is_type else UnexpectedAnnotationTypeError
        raise error(where, name, text)
    if name.startswith("_") and not bare and reading.unresolved:
        return None
    if name.startswith("_"):
        raise DeclarationError(
            f"{where}.{name}",
            "attrs takes the underscore from the name of a private field's argument",
            f"Call the machine {name.lstrip('_')!r}",
        )
    classes = None if reading.unresolved else tuple(reading.machines)
    optional = reading.optional or (reading.unresolved and ("None" in text or "Optional" in text))
    if reading.unresolved and not bare and default is None:
        optional = True
    return MachineField(name, classes, text, optional=optional, bare=bare)


def _text_of(annotation: Any) -> str:
    """Return an annotation as it was written, as far as it can be told."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return repr(annotation).replace("typing.", "")


def _with_orchestrator(factory: Any) -> Callable[[Any], Any]:
    """Return a factory that hands the orchestrator to the callbacks of the initial state.

    The host gives them the extra keyword arguments of the machine's constructor.
    """
    return lambda orchestrator: factory(**{orchestrator.orchestrator_name: orchestrator})


def _attach_before_post_init(cls: Any) -> None:
    """Let a class's own `__attrs_post_init__` find its machines attached."""
    own = cls.__attrs_post_init__
    if hasattr(own, "attaches"):
        return

    def __attrs_post_init__(self: Any) -> None:  # noqa: N807 - attrs calls it by this name
        assemble(self)
        try:
            own(self)
        except BaseException:
            disassemble(self)
            raise

    __attrs_post_init__.attaches = True  # type: ignore[attr-defined]
    cls.__own_post_init__ = own  # where attrs, which makes slotted copies, mends its `super()`
    cls.__attrs_post_init__ = __attrs_post_init__


# Reactions ------------------------------------------------------------------------------------


def _reactions_in(cls: type) -> dict[str, tuple[tuple[Reaction, ...], Any]]:
    """Return the reactions of `cls` by name: base class before subclass, then as in the source."""
    found: dict[str, tuple[tuple[Reaction, ...], Any]] = {}
    for klass in reversed(cls.__mro__):
        for name, value in vars(klass).items():
            marks = reactions_of(value)
            if value is removed:
                if found.pop(name, None) is None:
                    raise DeclarationError(
                        f"{klass.__module__}.{klass.__qualname__}.{name}",
                        "removed takes away an inherited reaction, and none has this name",
                        _suggestion(name, found),
                    )
            elif marks:
                found.pop(name, None)  # decorated anew, it stands where it is decorated now
                found[name] = (marks, value)
            elif name in found:
                if not inspect.isfunction(value):
                    raise DeclarationError(
                        f"{klass.__module__}.{klass.__qualname__}.{name}",
                        f"{value!r} takes the place of a reaction",
                        f"Override it with a method, or remove it: {name} = removed",
                    )
                found[name] = (found[name][0], value)
    return found


def _suggestion(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, list(known), 1)
    return f"Did you mean {nearest[0]}?" if nearest else "Delete the line"


def _plans(
    cls: type, declaration: Declaration, name: str, function: Any, reactions: Iterable[Reaction]
) -> Iterator[Plan]:
    """Resolve the decorators of one reaction of `cls`; a topic named twice counts once."""
    named: set[tuple[str, Any]] = set()
    for reaction in reactions:
        plan = _plan(cls, declaration, name, function, reaction)
        topics = tuple(topic for topic in plan.topics if (topic, reaction.cond) not in named)
        named.update((topic, reaction.cond) for topic in topics)
        yield attrs.evolve(plan, topics=topics)


def _plan(
    cls: type, declaration: Declaration, name: str, function: Any, reaction: Reaction
) -> Plan:
    """Resolve one decorator of a reaction of `cls`."""
    if name in SURFACE or name in (field.name for field in _attributes(cls)):
        taken_by = "every orchestrator" if name in SURFACE else "a field"
        raise NameClashError(reaction.where, name, taken_by, "Give the reaction another name")
    if "cond" in declaration.fields and isinstance(reaction.cond, str):
        raise NameClashError(
            reaction.where,
            "cond",
            "an option of the decorators",
            f'Write the topic of the machine as a string: "cond.{reaction.cond}"',
        )
    return Plan(
        name=name,
        label=f"{cls.__name__}.{name}",
        topics=tuple(
            dict.fromkeys(_resolved(declaration, topic, reaction) for topic in reaction.written())
        ),
        call=binder(function, method=True),
        cond=None if reaction.cond is None else _condition(cls, declaration, reaction),
        is_async=inspect.iscoroutinefunction(function),
        reaction=reaction,
    )


def _resolved(declaration: Declaration, written: str, reaction: Reaction) -> str:
    """Return the topic that a reaction names, refusing one that is for observers."""
    topic = declaration.topics.resolve(written, reaction.where)
    if topic.partition(":")[0] in OBSERVED_KINDS:
        raise NotAReactionError(
            reaction.where,
            f"{topic!r} is for observers, which look and send nothing",
            f"Connect one: orchestrator.bus.signal({topic!r}).connect(...)",
        )
    return topic


def _condition(
    cls: type, declaration: Declaration, reaction: Reaction
) -> Callable[[Any, Any], Any]:
    """Return what asks a reaction's `cond`."""
    cond = reaction.cond
    if not isinstance(cond, str):
        function, is_method = cond, False
    else:
        function, is_method = inspect.getattr_static(cls, cond, None), True
        if function is None and cond not in _annotated_names(cls):
            raise NotAReactionError(
                reaction.where,
                f"cond={cond!r} names no method or attribute of {declaration.where}",
                "Define it in the class, or pass a callable",
            )
        if not inspect.isfunction(function):
            return _attribute_condition(cond)
    if inspect.iscoroutinefunction(function):
        raise NotAReactionError(
            reaction.where, f"cond={cond!r} is an async def", "Make it a def: it is asked at once"
        )
    return binder(function, method=is_method)


def _attribute_condition(name: str) -> Callable[[Any, Any], Any]:
    """Return what asks an attribute, which may hold a callable."""

    def ask(owner: Any, record: Any) -> Any:
        value = getattr(owner, name)
        return binder(value, method=False)(owner, record) if callable(value) else value

    return ask


def _annotated_names(cls: type) -> Iterable[str]:
    return {name for klass in cls.__mro__[:-1] for name in own_annotations(klass)}
