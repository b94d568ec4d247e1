"""Machine fields: which attributes hold machines, fleets, orchestrators, and what builds them."""

from __future__ import annotations

import re
import typing
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._annotations import Reading, is_member_class, read_annotation
from statemachines_orchestrator._host import HOST_IS_3, Machine, is_machine_class, passes_on
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    DeclarationError,
    UnexpectedAnnotationTypeError,
)
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.topics import Nest, Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MachineField", "as_machine"]


@attrs.frozen
class MachineField:
    """A field that holds a machine, an orchestrator, or a fleet of either."""

    name: str
    classes: tuple[type, ...] | None
    """The classes it takes, `None` as long as the annotation cannot be resolved."""
    annotation: str
    optional: bool
    bare: bool
    """Whether it has neither a value nor an `attrs.field()`, so that it must hold a machine."""
    fleet: bool = False
    """Whether it holds a fleet, whose members are of the classes."""

    @property
    def vocabulary(self) -> Vocabulary | Nest | None:
        """What can be said of what it holds; `None` while that is not known."""
        if not self.classes:
            return None
        if all(is_machine_class(known) for known in self.classes):
            return vocabulary_of(*self.classes)
        return Nest(self.classes)


def as_machine(
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
    if isinstance(default, (Machine, Fleet)) or is_member_class(type(default)):
        what = "machine" if isinstance(default, Machine) else type(default).__name__
        raise DeclarationError(
            f"{where}.{name}",
            f"a {what} as a default would be one for all orchestrators",
            f"Use a factory: {name}: {text} = attrs.field(factory={_factory_text(default, text)})",
        )
    reading = _read(where, name, annotation, text, getattr(default, "factory", None), scope)
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
    return MachineField(
        name, classes, text, optional=optional, bare=bare, fleet=bool(reading.fleets)
    )


def _read(  # noqa: PLR0913, PLR0917 - the facts of a field
    where: str, name: str, annotation: Any, text: str, factory: Any, scope: Mapping[str, Any]
) -> Reading:
    """Read what a field holds from its annotation, or else from its factory."""
    reading = read_annotation(annotation, scope)
    if reading.unresolved:
        built = read_annotation(factory, scope)
        if built.machines:
            reading = attrs.evolve(built, optional=reading.optional)
        reading.fleets = max(reading.fleets, built.fleets)
    if reading.fleets and (
        reading.fleets > 1
        or reading.alone
        or reading.others
        or not (reading.machines or reading.unresolved)
    ):
        raise DeclarationError(
            f"{where}.{name}",
            f"{text} is no fleet of machines or of orchestrators",
            f"Write {name}: Fleet[str, Item], with a key and the class of the members",
        )
    if len({is_machine_class(known) for known in reading.machines}) > 1:
        raise DeclarationError(
            f"{where}.{name}",
            f"{text} mixes machines and orchestrators",
            "Give each kind a field of its own",
        )
    return reading


def _factory_text(default: Any, annotation: str) -> str:
    return annotation if isinstance(default, Fleet) else type(default).__name__


def _text_of(annotation: Any) -> str:
    """Return an annotation as it was written, as far as it can be told."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", shown(annotation))


def _with_orchestrator(factory: Any) -> Callable[[Any], Any]:
    """Return a factory that hands the orchestrator to the callbacks of the initial state.

    The host gives them the extra keyword arguments of the machine's constructor.
    """
    return lambda orchestrator: factory(**{orchestrator.orchestrator_name: orchestrator})
