"""The orchestrator: an attrs class whose fields are state machines."""

from __future__ import annotations

import copy
import sys
from reprlib import recursive_repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from statemachines_orchestrator import _cascade
from statemachines_orchestrator._bus import Bus
from statemachines_orchestrator._declaration import (
    Declaration,
    Options,
    check_names,
    field_of,
    is_class_variable,
    own_annotations,
    scope_of,
    where_is,
)
from statemachines_orchestrator._engine import (
    HOST,
    HOST_IS_3,
    SUPPORTED,
    Machine,
    Seam,
    configuration_of,
    here,
    missing_seam,
    passes_on,
    seam_of,
)
from statemachines_orchestrator._publisher import Publisher
from statemachines_orchestrator._turns import Post, Subscription
from statemachines_orchestrator.exceptions import (
    AsyncReactionError,
    DeclarationError,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    StateFieldIsNotUniqueError,
    UnknownTopicError,
    UnsupportedHostError,
    WrongMachineError,
)

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # pragma: no cover - the other branch runs on newer Pythons
    from typing_extensions import dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

__all__ = ["Orchestrator"]

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


@dataclass_transform(eq_default=False, field_specifiers=(attrs.field, attrs.Factory))
class Orchestrator:
    """The base class of orchestrators.

    A subclass is an attrs class by itself. Its annotated fields are state machines;
    with a value or an `attrs.field()` they may be any data.

        class Shop(Orchestrator):
            order: Order
            payment: Payment

    Class keywords, inherited by subclasses:
    `orchestrator_name`, the name under which callbacks ask for it (`"orc"`);
    `max_reactions`, the number of turns after which a cascade is searched for a loop that repeats
    (100,000; `None` for never).
    Not inherited: `abstract=True` for a mixin of reactions without machines of its own,
    `kw_only=True` for keyword-only fields, as in attrs.

    Machines are attached when the constructor has set all fields, before `__attrs_post_init__`.
    Raises, when the class is defined, `NoMachinesOnOrchestratorError`,
    `AnnotationIsNotAStateMachineError`, `UnexpectedAnnotationTypeError`, `NameClashError`,
    `UnknownTopicError`, `NotAReactionError` or `DeclarationError`;
    and, when it is built, `WrongMachineError`, `MachineIsTakenError`, `MachineIsBusyError`,
    `StateFieldIsNotUniqueError` or `UnsupportedHostError`, with nothing attached.
    """

    __declaration__: ClassVar[Declaration] = Declaration(
        "statemachines_orchestrator.Orchestrator", Options(), abstract=True, fields={}
    )

    def __init_subclass__(cls, *, abstract: bool = False, kw_only: bool = False, **options: Any) -> None:
        """Make the class an attrs class, and check what it declares."""
        super().__init_subclass__()
        for base in cls.__mro__[1:]:
            _undo_explicit_define(base)
        if "__declaration__" in vars(cls):  # the slotted copy that an explicit @attrs.define made
            _undo_explicit_define(cls)
            return
        _declare(cls, abstract=abstract, kw_only=kw_only, options=options)

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        """Make an instance; its class keeps what it declared, whatever was decorated onto it."""
        _undo_explicit_define(cls)
        if cls.__declaration__.abstract:
            raise DeclarationError(
                cls.__declaration__.where, "an abstract orchestrator has no instances", "Subclass it"
            )
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        """Attach the machines. A subclass's own runs after that."""
        _assemble(self)

    # The surface --------------------------------------------------------------------------

    @property
    def machines(self) -> Mapping[str, Any]:
        """The machines by field name, in the order of the fields, read-only."""
        return MappingProxyType(
            {
                name: machine
                for name in self.__declaration__.fields
                if (machine := getattr(self, name)) is not None
            }
        )

    @property
    def machine_classes(self) -> Mapping[str, Any]:
        """The class of each machine by field name; of a field that is `None`, the declared one."""
        return MappingProxyType(
            {
                name: type(self.machines[name]) if name in self.machines else (field.classes or (None,))[0]
                for name, field in self.__declaration__.fields.items()
            }
        )

    @property
    def orchestrator_name(self) -> str:
        """The name under which the callbacks of the machines ask for the orchestrator."""
        return self.__declaration__.options.orchestrator_name

    @property
    def bus(self) -> Bus:
        """The blinker signals of the orchestrator: `shop.bus.signal("order.process").connect(fn)`.

        An observer is called at once, in mid-step, as `fn(machine, record=record)`,
        in the order of connection. It looks, and sends nothing.
        """
        return self.__bus  # type: ignore[no-any-return]

    def post(self, topic: str, /, *args: Any, **kwargs: Any) -> None:
        """Put an event at the end of the cascade's queue: it is sent when its turn comes.

        Returns `None` at once. Outside of a cascade it opens one and runs it to rest.
        An event that is refused is a failure of the cascade (`ReactionErrors`).

        Raises `UnknownTopicError` if `topic` is no `"machine.event"` of the orchestrator, and
        `AsyncReactionError` outside of a cascade for an async machine in a running event loop.
        """
        machine, event = self.__target(topic)
        is_async = _seam(machine).is_async
        if is_async and _cascade.joined(here.get()) is None and _cascade.in_running_loop():
            raise AsyncReactionError(f"post({topic!r})", topic)
        _cascade.enqueue(Post(self, topic, machine, event, args, kwargs, is_async=is_async))

    def asend(self, topic: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Send an event to a machine, sync or async, and await the whole cascade.

        Returns the event's result. Inside a cascade it is an ordinary nested call.
        Raises what the machine's event raises, or `ReactionErrors` for what failed after it;
        `UnknownTopicError`, at once, if `topic` is no `"machine.event"` of the orchestrator.
        """
        machine, event = self.__target(topic)
        return _cascade.to_rest_async(
            _cascade.Call(here.get()), lambda: machine.send(event, *args, **kwargs)
        )

    def __target(self, topic: str) -> tuple[Any, str]:
        """Return the machine and the event that a topic names."""
        declaration = self.__declaration__
        declaration.topics.event(topic, declaration.where)
        field, _, event = topic.partition(".")
        machine = getattr(self, field)
        if event == "*" or machine is None:
            problem = "it names no single event" if event == "*" else f"{field!r} holds no machine yet"
            raise UnknownTopicError(declaration.where, topic, problem)
        return machine, event

    # Storage ------------------------------------------------------------------------------

    @recursive_repr()
    def __repr__(self) -> str:
        """Return `Shop(order=processing, payment=unpaid)`: states for machines, data as attrs does."""
        parts = []
        for field in attrs.fields(type(self)):
            if field.repr:
                value = getattr(self, field.name, attrs.NOTHING)
                shown = field.repr if callable(field.repr) else repr
                text = configuration_of(value) if isinstance(value, Machine) else shown(value)
                parts.append(f"{field.name}={text}")
        return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(parts)})"

    def __delattr__(self, name: str) -> None:
        """Delete an attribute, unless it is a machine."""
        if name in self.__declaration__.fields:
            raise MachineFieldIsSetError(self.__declaration__.where, name)
        super().__delattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields and attributes, without the bus and its observers."""
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        state.update(vars(self))
        state.pop("_Orchestrator__bus", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy: machines, which the host copies bare, are attached to it."""
        for name, value in state.items():
            object.__setattr__(self, name, value)
        _assemble(self)

    def __copy__(self) -> Any:
        """Return an orchestrator with machines of its own, copied deep, and the same data."""
        state = self.__getstate__()
        for name, machine in self.machines.items():
            state[name] = copy.deepcopy(machine)
        other = type(self).__new__(type(self))
        other.__setstate__(state)
        return other


# The class ------------------------------------------------------------------------------------


def _declare(cls: type[Orchestrator], *, abstract: bool, kw_only: bool, options: dict[str, Any]) -> None:
    where = where_is(cls)
    unknown = [name for name in options if name not in ("orchestrator_name", "max_reactions")]
    if unknown:
        raise DeclarationError(
            where,
            f"{unknown[0]} is no class keyword of an orchestrator",
            "These are: orchestrator_name, max_reactions, abstract, kw_only",
        )
    annotations = {
        name: annotation
        for name, annotation in own_annotations(cls).items()
        if not is_class_variable(annotation)
    }
    check_names(where, cls, annotations)
    given = set(vars(cls))
    scope = scope_of(cls)
    fields = {
        name: field
        for base in reversed(cls.__mro__[1:])
        if "__declaration__" in vars(base)
        for name, field in base.__declaration__.fields.items()
    }

    def transform(_cls: type, attributes: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
        return [
            attribute
            if attribute.inherited
            else _as_field(where, attribute, fields, scope, bare=attribute.name not in given)
            for attribute in attributes
        ]

    before = dict(vars(cls))
    attrs.define(
        cls, slots=False, eq=False, repr=False, kw_only=kw_only, field_transformer=transform
    )
    _attach_before_post_init(cls)
    # A parent's keywords hold, and those of the class itself win.
    inherited = next(base.__declaration__ for base in cls.__mro__[1:] if hasattr(base, "__declaration__"))
    cls.__declaration__ = declaration = Declaration(
        where,
        inherited.options.replaced(where, options),
        abstract=abstract,
        fields={name: fields[name] for name in _names(cls) if name in fields},
    )
    declaration.made_by_attrs = {
        name: vars(cls)[name] for name in _FROM_ATTRS if name in vars(cls)
    }
    del before
    declaration.wire(cls)


def _names(cls: type) -> list[str]:
    return [field.name for field in attrs.fields(cls)]


def _as_field(
    where: str, attribute: attrs.Attribute[Any], fields: dict[str, Any], scope: Mapping[str, Any], *, bare: bool
) -> attrs.Attribute[Any]:
    """Make of an attribute that holds a machine one that is set once and is built with `orc`."""
    fields.pop(attribute.name, None)
    field = field_of(where, attribute, scope, bare=bare)
    if field is None:
        return attribute
    fields[attribute.name] = field
    attribute = attribute.evolve(on_setattr=_set_once)
    default: Any = attribute.default
    factory = getattr(default, "factory", None)
    if HOST_IS_3 and not getattr(default, "takes_self", True) and passes_on(factory):
        attribute = attribute.evolve(
            default=attrs.Factory(_with_orchestrator(factory), takes_self=True)
        )
    return attribute


def _with_orchestrator(factory: Any) -> Callable[[Orchestrator], Any]:
    """Build the machine with the orchestrator among its constructor's keyword arguments.

    The host hands those to the callbacks of the initial state.
    """

    def build(orchestrator: Orchestrator) -> Any:
        return factory(**{orchestrator.orchestrator_name: orchestrator})

    return build


def _attach_before_post_init(cls: type) -> None:
    """Let a class's own `__attrs_post_init__` find the machines attached."""
    own = cls.__attrs_post_init__  # type: ignore[attr-defined]
    if getattr(own, "attaches", False) or own is Orchestrator.__attrs_post_init__:
        return

    def __attrs_post_init__(self: Any) -> None:  # noqa: N807 - attrs calls it by this name
        _assemble(self)
        own(self)

    __attrs_post_init__.attaches = True  # type: ignore[attr-defined]
    cls.__own_post_init__ = own  # type: ignore[attr-defined] # attrs mends `super()` in what it finds
    cls.__attrs_post_init__ = __attrs_post_init__  # type: ignore[attr-defined]


def _undo_explicit_define(cls: type) -> None:
    """Put back what an explicit `@attrs.define` replaced: it changes storage, never meaning."""
    declaration = vars(cls).get("__declaration__")
    if declaration is None or not declaration.made_by_attrs:
        return
    made = declaration.made_by_attrs
    if vars(cls).get("__attrs_attrs__") is made["__attrs_attrs__"] and "__repr__" in made or (
        "__repr__" not in vars(cls)
    ):
        return
    for name in _FROM_ATTRS:
        if name in made:
            setattr(cls, name, made[name])
        elif name in vars(cls):
            delattr(cls, name)


# The instance ---------------------------------------------------------------------------------


def _assemble(orchestrator: Orchestrator) -> None:
    """Make the bus, subscribe the reactions, attach the machines; all of it or nothing."""
    if "_Orchestrator__bus" in vars(orchestrator):
        return
    cls = type(orchestrator)
    declaration = cls.__declaration__
    values = {name: getattr(orchestrator, name) for name in declaration.fields}
    if not declaration.is_settled:
        declaration.settle(cls, values)
    machines = {
        name: value for name, value in values.items() if value is not None or not declaration.fields
    }
    for name, field in declaration.fields.items():
        if values[name] is not None or not field.optional:
            _check(orchestrator, name, values[name], values)
    bus = Bus(
        lambda topic: declaration.topics.resolve(topic, declaration.where),
        lambda name, error, record: _cascade.observer_failed(orchestrator, name, error, record),
    )
    vars(orchestrator)["_Orchestrator__bus"] = bus
    for plan in declaration.plans:
        for topic in plan.topics:
            bus.signal(topic).connect(Subscription(orchestrator, plan, topic, _cascade.enqueue))
    for name in declaration.fields:
        if name in machines:
            _attach(orchestrator, name, machines[name])


def _check(orchestrator: Orchestrator, name: str, machine: Any, values: Mapping[str, Any]) -> None:
    """Refuse what cannot be attached, before anything is."""
    declaration = orchestrator.__declaration__
    where, field = declaration.where, declaration.fields[name]
    if not isinstance(machine, field.classes or Machine):
        expected = " | ".join(known.__name__ for known in field.classes or ())
        raise WrongMachineError(where, name, expected or field.annotation, repr(machine))
    missing = missing_seam(machine)
    if missing is not None:
        raise UnsupportedHostError(f"{where}.{name}", HOST, missing, SUPPORTED)
    seam = seam_of(machine)
    injected = orchestrator.orchestrator_name
    holder = None if seam is None else seam.injected.get(injected)
    other = next((n for n, m in values.items() if m is machine and n != name), None)
    if holder is not None or other is not None:
        raise MachineIsTakenError(where, name, repr(orchestrator if holder is None else holder), injected)
    if machine._engine._processing.locked():  # noqa: SLF001
        raise MachineIsBusyError(where, name)
    for other_name, other_machine in values.items():
        if (
            other_machine is not None
            and other_machine is not machine
            and other_machine.model is machine.model
            and other_machine.state_field == machine.state_field
        ):
            raise StateFieldIsNotUniqueError(where, name, other_name, machine.state_field)


def _attach(orchestrator: Orchestrator, name: str, machine: Any) -> None:
    seam = seam_of(machine) or Seam(machine, _cascade)
    declaration = orchestrator.__declaration__
    publisher = Publisher(
        orchestrator,
        name,
        machine,
        orchestrator.bus,
        _cascade,
        declaration.remembered_topics(name, machine),
    )
    seam.add(publisher, orchestrator.orchestrator_name, orchestrator)


def _seam(machine: Any) -> Seam:
    seam = seam_of(machine)
    assert seam is not None
    return seam


def _set_once(orchestrator: Any, attribute: attrs.Attribute[Any], value: Any) -> Any:
    """Refuse to set a machine field again; attach the machine that an optional one is given."""
    if "_Orchestrator__bus" not in vars(orchestrator):
        return value
    name = attribute.name
    declaration = orchestrator.__declaration__
    if name not in declaration.fields:
        return value
    if getattr(orchestrator, name, None) is not None:
        raise MachineFieldIsSetError(declaration.where, name)
    if value is not None:
        values = {**{n: getattr(orchestrator, n) for n in declaration.fields}, name: value}
        _check(orchestrator, name, value, values)
        _attach(orchestrator, name, value)
    return value
