"""The base class of orchestrators: an attrs class whose fields are state machines."""

from __future__ import annotations

import copy
import sys
from contextlib import suppress
from reprlib import recursive_repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

import attrs

from statemachines_orchestrator import _calls
from statemachines_orchestrator._arguments import OF_EVENTS, OF_SIGNALS, check_arguments
from statemachines_orchestrator._attachment import assemble, set_machine
from statemachines_orchestrator._broadcasts import broadcast, enabled_below, publish
from statemachines_orchestrator._declaration import (
    Declaration,
    Options,
    declare,
    finish,
)
from statemachines_orchestrator._event_loops import in_running_loop
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._host import Machine, configuration_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import PLACE, place_of
from statemachines_orchestrator._sending import address_of
from statemachines_orchestrator._timers import Delay, timers_of
from statemachines_orchestrator._turns import Post
from statemachines_orchestrator.clock import check_duration
from statemachines_orchestrator.exceptions import (
    AsyncReactionError,
    DeclarationError,
    MachineFieldIsSetError,
)

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # pragma: no cover - the other branch runs on newer Pythons
    from typing_extensions import dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import timedelta

    from statemachine import Event
    from statemachine.transition_list import TransitionList

    from statemachines_orchestrator._bus import Bus
    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator.clock import Clock, SystemClock

    Sendable: TypeAlias = str | Event | TransitionList
    """A topic, or a bound event: of these, type checkers see what the class declares."""

__all__ = ["Orchestrator"]


@dataclass_transform(eq_default=False, field_specifiers=(attrs.field,))
class Orchestrator:
    """The base class of orchestrators.

    A subclass is an attrs class by itself. Its annotated fields are state machines, fleets of
    them (`Fleet`) or other orchestrators; with a value or an `attrs.field()` they may be any data.

        class Shop(Orchestrator):
            order: Order
            payment: Payment

    Class keywords, inherited by subclasses:
    `orchestrator_name`, the name under which callbacks ask for it (`"orc"`);
    `max_reactions`, the number of turns, run and waiting, at which a cascade is searched for a
    loop: something that came back among its own causes ten times, or three times where what waits
    grows as fast as the cascade (100,000; `None` for never);
    `clock`, a factory of what tells its time (the system's clock);
    `dump` and `load`, what a `Snapshot` keeps of the models of its machines;
    `fast`, whether flat machines take their events on the fast lane (`False`; see `fast_lane`).
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

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[Any]

        def __init_subclass__(  # noqa: PLR0913 - the class keywords
            cls,
            *,
            orchestrator_name: str = "orc",
            max_reactions: int | None = 100_000,
            clock: Callable[[], Clock] = SystemClock,
            dump: Callable[[str, Any], Any] | None = None,
            load: Callable[[str, Any, Any], Any] | None = None,
            fast: bool = False,
            abstract: bool = False,
            kw_only: bool = False,
        ) -> None:
            """Make the class an attrs class, and check what it declares."""
    else:

        def __init_subclass__(
            cls, *, abstract: bool = False, kw_only: bool = False, **options: Any
        ) -> None:
            """Make the class an attrs class, and check what it declares."""
            super().__init_subclass__()
            for base in cls.__mro__[1:]:
                finish(base)
            if "__declaration__" in vars(cls):  # the slotted copy made by an explicit @attrs.define
                finish(cls)
            else:
                declare(cls, abstract=abstract, kw_only=kw_only, options=options)

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        """Make an instance; its class keeps what it declared, whatever was decorated onto it."""
        finish(cls)
        if cls.__declaration__.abstract:
            raise DeclarationError(
                cls.__declaration__.where,
                "an abstract orchestrator has no instances",
                "Subclass it",
            )
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        """Attach the machines. A subclass's own runs after that."""
        assemble(self)

    # The surface --------------------------------------------------------------------------

    @property
    def machines(self) -> Mapping[str, Any]:
        """The machines by field name, in the order of the fields, read-only.

        Of a field that holds a fleet or an orchestrator, the fleet or the orchestrator.
        """
        return MappingProxyType(
            {
                name: machine
                for name in self.__declaration__.fields
                if (machine := getattr(self, name, None)) is not None
            }
        )

    @property
    def machine_classes(self) -> Mapping[str, Any]:
        """The class of each machine by field name.

        Of a field that is `None`, and of the members of a fleet, the declared one.
        """
        machines = self.machines
        return MappingProxyType(
            {
                name: type(machines[name])
                if name in machines and not field.fleet
                else (field.classes or (None,))[0]
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
        Raises `DeclarationError` if an own `__init__` has not called `__attrs_init__`.
        """
        return self.__place.bus

    @overload
    def post(self, topic: Sendable, /, *args: Any, delay: None = None, **kwargs: Any) -> None: ...
    @overload
    def post(
        self, topic: Sendable, /, *args: Any, delay: float | timedelta, **kwargs: Any
    ) -> Delay: ...
    def post(
        self, topic: Sendable, /, *args: Any, delay: float | timedelta | None = None, **kwargs: Any
    ) -> Delay | None:
        """Put an event at the end of the cascade's queue: it is sent when its turn comes.

        `topic` is `"machine.event"`, or a bound event (`post(car.arrive)`). That of a fleet goes
        to every member, in order, whatever the others raise.
        In a cascade it returns `None` at once; outside of one it opens one and runs it to rest.
        An event that is refused is a failure of the cascade (`ReactionErrors`).
        A signal of the domain is published, not posted.

        With `delay`, in seconds or a `timedelta`, it is posted so much later, by the clock of the
        orchestrator, as an outermost call of its own. Then this returns at once, also outside of a
        cascade, what has `cancel()` and `due`; a failure is announced under `failed:` and told by
        the clock.

        Raises `UnknownTopicError` if `topic` is no event of the orchestrator,
        `ReservedArgumentError` for a keyword argument that no callback would get, `DurationError`
        if `delay` is no length of time, and `AsyncReactionError` outside of a cascade for an async
        machine in a running event loop.
        """
        place = self.__place
        address = address_of(self, topic)
        if kwargs:
            check_arguments(kwargs, OF_EVENTS, self.__declaration__.where, "post", topic)
        if delay is not None:
            span = check_duration(f"{self.__declaration__.where}.post(delay=...)", delay)
            return timers_of(place).delay(Delay(place, address, args, kwargs, span))
        post = Post(place, address, args, kwargs)
        if joined(here.get()) is None and in_running_loop() and post.must_be_awaited:
            raise AsyncReactionError(post.topic, post.topic)
        _calls.enqueue(post)
        return None

    def asend(self, topic: Sendable, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Send an event to a machine, sync or async, and await the whole cascade.

        `topic` is `"machine.event"`, a bound event, or a signal of the domain, which is published.
        Returns the event's result; of a fleet, to all of whose members it goes, the results by
        the path of names and keys, `(name, key)`. Inside a cascade it is an ordinary nested call.
        Raises what the machine's event raises, or `ReactionErrors` for what failed after it;
        `UnknownTopicError`, at once, if `topic` is none of the orchestrator, and
        `ReservedArgumentError` for a keyword argument that no callback would get.
        """
        place = self.__place
        signals = self.__declaration__.topics.signals
        if isinstance(topic, str) and topic in signals:
            if args:
                where = f"{self.__declaration__.where}.asend({str(topic)!r})"
                problem = f"a signal has keyword arguments only, and it was given {shown(args)}"
                raise DeclarationError(where, problem, "Give each argument a name")
            if kwargs:
                check_arguments(kwargs, OF_SIGNALS, self.__declaration__.where, "asend", topic)
            return _calls.to_rest_async(_calls.Call(), lambda: publish(place, str(topic), kwargs))
        address = address_of(self, topic, beside=signals)
        if kwargs:
            check_arguments(kwargs, OF_EVENTS, self.__declaration__.where, "asend", topic)
        return _calls.to_rest_async(_calls.Call(), lambda: address.send(args, kwargs))

    def broadcast(self, topic: str, /, *args: Any, **kwargs: Any) -> Any:
        """Send an event to every machine that would take it.

        `topic` is the event alone, or `"field.event"` to keep to one field. Each machine is asked
        when its turn comes: its guards with these arguments, not its validators. They get it in
        the order of fields, members of fleets in theirs, also those of orchestrators below.
        It is one cascade: all machines get the event, then the reactions run.
        A machine in mid-step, in whose callback this is called, gets it as the first thing when
        the cascade is at rest.

        Returns what the machines returned, by field name, or else by the path of names and keys,
        `(name, key)`; those that would refuse it are left out. Where one of them is async, in a
        running event loop, this must be awaited.
        Raises `ReactionErrors` for what the machines raised, after all have the event,
        `UnknownTopicError`, with the nearest, if no machine declares the event, and
        `ReservedArgumentError` for a keyword argument that no callback would get.
        """
        return broadcast(self.__place, topic, args, kwargs)

    def publish(self, signal: str, /, **kwargs: Any) -> None:
        """Publish a signal of the domain, declared by `low_stock = domain_signal(...)`.

        Its reactions are queued; outside of a cascade one is opened and run to rest, and
        `ReactionErrors` raised for what fails in it.
        Raises `UnknownTopicError`, with the nearest, if no such signal is declared, and
        `ReservedArgumentError` for `self`, which a reaction is given by the orchestrator.
        """
        publish(self.__place, signal, kwargs)

    def enabled_events(self) -> Any:
        """Return, for each machine, the events that it would take now.

        By field name, or else by the path of names and keys, as `broadcast` has it; a tuple of
        event names each.
        The guards are asked without arguments, the validators are not; a guard that raises
        counts as yes. What python-statemachine sends itself (`done.…`, `error.…`) is left out.
        Where a machine is async, in a running event loop, the answer must be awaited.
        """
        return enabled_below(self)

    @property
    def __place(self) -> Place:
        """Where it stands: what its constructor has made, when it is done."""
        place: Place | None = place_of(self)
        if place is None:
            raise DeclarationError(
                self.__declaration__.where,
                "its own __init__ has not called self.__attrs_init__(...)",
                "Call it, with the fields as its arguments: it attaches the machines",
            )
        place.wake_timers()
        return place

    # Storage ------------------------------------------------------------------------------

    @recursive_repr()
    def __repr__(self) -> str:
        """Return `Shop(order=processing, retries=3)`: machines by state, data as attrs does."""
        parts: list[str] = []
        for field in attrs.fields(type(self)):
            if field.repr:
                value = getattr(self, field.name, attrs.NOTHING)
                tell = field.repr if callable(field.repr) else repr
                text = configuration_of(value) if isinstance(value, Machine) else tell(value)
                parts.append(f"{field.name}={text}")
        return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(parts)})"

    def __format__(self, spec: str) -> str:
        """Return it as `diagram` draws it: `mermaid`, `dot`, `md` or `svg`; else as it prints.

        Raises as `diagram` does.
        """
        if not spec:
            return str(self)
        from statemachines_orchestrator.diagrams import diagram  # noqa: PLC0415 - it draws these

        drawn = diagram(self, spec)
        if not isinstance(drawn, str):
            where, problem = f"format(..., {spec!r})", "its picture is no text"
            raise DeclarationError(where, problem, f"Call diagram(..., {spec!r})")
        return drawn

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        """Return its picture for a notebook; without Graphviz, the text alone."""
        told = {"text/plain": repr(self)}
        with suppress(DeclarationError):
            told["image/svg+xml"] = format(self, "svg")
        return told

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a machine field that is `None` once, and its machine is attached."""
        declaration = self.__declaration__
        if name in declaration.fields and place_of(self) is not None:
            set_machine(self, name, value, declaration.set_attribute)
        else:
            declaration.set_attribute(self, name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute, unless it is a machine."""
        if name in self.__declaration__.fields and getattr(self, name, None) is not None:
            raise MachineFieldIsSetError(self.__declaration__.where, name)
        super().__delattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields and attributes, without the bus and its observers."""
        names = [field.name for field in attrs.fields(type(self))]
        if not all(hasattr(self, name) for name in names):
            self.__place  # noqa: B018 - raises: its constructor has not set them
        state = {name: getattr(self, name) for name in names}
        state.update(vars(self))
        state.pop(PLACE, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy: machines, which the host copies bare, are attached to it."""
        for name, value in state.items():
            object.__setattr__(self, name, value)
        assemble(self)

    def __copy__(self) -> Any:
        """Return an orchestrator with machines of its own, copied deep, and the same data."""
        state = self.__getstate__()
        for name, machine in self.machines.items():
            state[name] = copy.deepcopy(machine)
        other = type(self).__new__(type(self))
        other.__setstate__(state)
        return other
