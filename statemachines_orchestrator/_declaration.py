"""What an orchestrator class declares: its options, its fields, its signals, its reactions."""

from __future__ import annotations

import keyword
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs

from statemachines_orchestrator._annotations import is_class_variable, own_annotations, scope_of
from statemachines_orchestrator._attrs import (
    attach_before_post_init,
    attributes_of,
    made_by_attrs,
    respecify,
    restore,
    take_setattr,
)
from statemachines_orchestrator._fields import MachineField, as_machine
from statemachines_orchestrator._host import Machine
from statemachines_orchestrator._members import is_orchestrator
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._plans import Plan, plans_of
from statemachines_orchestrator.clock import system_clock
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    DeclarationError,
    NameClashError,
    NoMachinesOnOrchestratorError,
)
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.reactions import RESERVED_NAMES, SURFACE, place, reactions_of
from statemachines_orchestrator.signals import DomainSignal
from statemachines_orchestrator.topics import SETTLED, Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Declaration", "Options", "check_hook", "declare", "finish"]


_finishing = RLock()
"""Held while the definition of a class is ended."""
_HOOKS = {"dump": "lambda name, model: ...", "load": "lambda name, data, model: ..."}


def check_hook(where: str, word: str, hook: Any) -> None:
    """Raise `DeclarationError` if what `dump` or `load` was given cannot be called."""
    if hook is not None and not callable(hook):
        problem = f"{word}={shown(hook)} is no function"
        raise DeclarationError(where, problem, f"Give it one: {word}={_HOOKS[word]}")


@attrs.frozen
class Options:
    """The class keywords that subclasses inherit."""

    orchestrator_name: str = "orc"
    max_reactions: int | None = 100_000
    clock: Callable[[], Any] = system_clock
    dump: Callable[[str, Any], Any] | None = None
    load: Callable[[str, Any, Any], Any] | None = None
    fast: bool = False

    def replaced(self, where: str, given: Mapping[str, Any]) -> Options:
        """Return the options with those `given` in their place, checked."""
        for word in given:
            if word not in attrs.fields_dict(Options):
                raise DeclarationError(
                    where,
                    f"{word} is no class keyword of an orchestrator",
                    "There are orchestrator_name, max_reactions, clock, dump, load, fast, abstract "
                    "and kw_only",
                )
        options = attrs.evolve(self, **given)
        name: Any = options.orchestrator_name
        bound: Any = options.max_reactions
        is_name = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
        if not is_name or name in RESERVED_NAMES:
            raise DeclarationError(
                where,
                f"orchestrator_name={shown(name)} cannot be the name of an injected parameter",
                f"Choose an identifier that is none of {', '.join(RESERVED_NAMES)}",
            )
        if bound is not None and (type(bound) is not int or bound < 1):
            raise DeclarationError(
                where,
                f"max_reactions={shown(bound)} is no bound",
                "Give a number of reactions, at least 1, or None for no bound",
            )
        if not callable(options.clock):
            raise DeclarationError(
                where,
                f"clock={shown(options.clock)} is no factory of clocks",
                "Give a class or a function without arguments: clock=VirtualClock",
            )
        if type(options.fast) is not bool:
            raise DeclarationError(
                where,
                f"fast={shown(options.fast)} is neither True nor False",
                "Give fast=True to let flat machines take their events on the fast lane",
            )
        check_hook(where, "dump", options.dump)
        check_hook(where, "load", options.load)
        return options


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
    own: type | None = None
    """The class that declares it."""
    remembered: WeakKeyDictionary[type, Any] = attrs.Factory(WeakKeyDictionary[type, Any])
    """The topics of transitions, by machine class and field."""

    @property
    def is_resolved(self) -> bool:
        """Whether every annotation is resolved."""
        return all(field.classes is not None for field in self.fields.values())

    def belong_to(self, cls: type) -> None:
        """Let fields of the own kind take instances of `cls`, the slotted copy of the class."""
        first, self.own = self.own, cls
        if first in (None, cls):
            return
        for name, field in self.fields.items():
            classes = tuple(cls if one is first else one for one in field.classes or ())
            if field.classes is not None:
                self.fields[name] = attrs.evolve(field, classes=classes)
        self.wire(cls)

    def wire(self, cls: type) -> None:
        """Read the reactions of `cls` and resolve their topics."""
        if self.abstract:
            return
        if not self.fields:
            raise NoMachinesOnOrchestratorError(self.where)
        topics = Topics(
            {name: field.vocabulary for name, field in self.fields.items()},
            signals=frozenset(_signals_of(cls)),
            fleets=frozenset(name for name, field in self.fields.items() if field.fleet),
        )
        self.topics = topics  # a class that holds its own kind looks here
        self.plans = plans_of(cls, topics)
        self.topics = attrs.evolve(topics, reactions=frozenset(plan.name for plan in self.plans))

    def remembered_of(self, name: str, machine_class: type) -> dict[Any, Any]:
        """Return what all machines of one class in one field remember of their topics."""
        by_field: dict[str, dict[Any, Any]] = self.remembered.setdefault(machine_class, {})
        return by_field.setdefault(name, {})

    def resolved(self, cls: type, values: Mapping[str, Any]) -> Declaration:
        """Return the declaration, with what no annotation could tell told by the first machines."""
        fields = dict(self.fields)
        for name, field in self.fields.items():
            value = values.get(name)
            if field.classes is not None or value is None:
                continue
            if isinstance(value, Fleet):
                fields[name] = attrs.evolve(field, classes=(), fleet=True)
            elif isinstance(value, Machine) or is_orchestrator(value):
                fields[name] = attrs.evolve(field, classes=(type(value),))
            elif field.bare:
                raise AnnotationIsNotAStateMachineError(self.where, name, field.annotation)
            else:
                del fields[name]
        resolved = attrs.evolve(self, fields=fields)
        resolved.wire(cls)
        return resolved


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
    scope, given = {**scope_of(cls), cls.__name__: cls}, set(vars(cls))

    def transform(_cls: type, attributes: list[Any]) -> list[Any]:
        for attribute in attributes:
            _check_name(where, attribute)
        return [
            attribute
            if attribute.inherited
            else as_machine(where, attribute, fields, scope, bare=attribute.name not in given)
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
    except ValueError as error:  # a field without a default stands behind one that has one
        fix = "Put it before the others, give it a default, or declare the class with kw_only=True"
        raise DeclarationError(where, str(error).rstrip("."), fix) from error
    attach_before_post_init(cls)
    set_attribute = take_setattr(cls)
    declaration = Declaration(
        where,
        checked,
        abstract,
        {field.name: fields[field.name] for field in attributes_of(cls) if field.name in fields},
        set_attribute=set_attribute,
        made=made_by_attrs(cls),
    )
    declaration.own = cls
    cls.__declaration__ = declaration  # type: ignore[attr-defined]
    declaration.wire(cls)
    respecify(cls)


def finish(cls: type) -> None:
    """End the definition of a class: put back what an explicit `@attrs.define` replaced.

    It changes storage, never meaning. Called before the first instance and the first subclass.
    """
    declaration = vars(cls).get("__declaration__")
    if declaration is not None and declaration.made:
        with _finishing:  # two threads may build the first two instances
            restore(cls, declaration.made)
            declaration.belong_to(cls)


def _check_names(where: str, cls: type) -> None:
    """Refuse fields and signals whose names are taken."""
    for name, value in vars(cls).items():
        if isinstance(value, DomainSignal) and name in (*SURFACE, SETTLED):
            raise NameClashError(where, name, "every orchestrator", "Give the signal another name")
    for name, annotation in own_annotations(cls).items():
        if is_class_variable(annotation):
            continue
        if name in SURFACE:
            raise NameClashError(where, name, "every orchestrator", "Give the field another name")
        value = vars(cls).get(name)
        if reactions_of(value):
            raise NameClashError(place(value), name, "a field", "Give the reaction another name")
        if isinstance(value, DomainSignal):
            raise NameClashError(where, name, "a field", "Declare the signal without annotation")
    for name in set(SURFACE).intersection(vars(cls)):
        if not (_may_override(vars(cls)[name]) or reactions_of(vars(cls)[name])):
            fix = "Give the attribute another name"
            raise NameClashError(where, name, "every orchestrator", fix)


def _check_name(where: str, attribute: Any) -> None:
    """Refuse a field whose name, or argument, attrs could not write into the code it makes."""
    names = {attribute.name}
    if attribute.init:
        names.add(attribute.alias or attribute.name.lstrip("_"))
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            problem = f"the field {attribute.name!r} would need {name!r} as a name of Python"
            raise DeclarationError(where, problem, "Give the field another name, or an alias")


def _may_override(value: object) -> bool:
    """Whether a value may take the place of a method or property: it may call that of the base."""
    return callable(value) or hasattr(type(value), "__get__")


def _signals_of(cls: type) -> dict[str, DomainSignal]:
    """Return the signals of the domain, inherited ones included."""
    found: dict[str, DomainSignal] = {}
    for klass in reversed(cls.__mro__):
        for name, value in vars(klass).items():
            if isinstance(value, DomainSignal):
                if value.name != name:
                    raise DeclarationError(
                        f"{klass.__module__}.{klass.__qualname__}.{name}",
                        f"this signal of the domain is called {value.name!r} already",
                        "Declare another one: domain_signal(...)",
                    )
                found[name] = value
            elif name in found:
                where = f"{klass.__module__}.{klass.__qualname__}"
                raise NameClashError(where, name, "a signal of the domain", "Give it another name")
        fields = vars(klass)["__declaration__"].fields if "__declaration__" in vars(klass) else ()
        for name in found:
            if name in fields:
                where = f"{klass.__module__}.{klass.__qualname__}"
                raise NameClashError(where, name, "a signal of the domain", "Rename the field")
    return found
