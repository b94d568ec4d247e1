"""Attaching: what is given to an orchestrator is checked, and its machines get their seams."""

from __future__ import annotations

import reprlib
from functools import partial
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator import _calls
from statemachines_orchestrator._bus import Bus
from statemachines_orchestrator._engine import (
    attach,
    attaching,
    is_async,
    is_in_mid_step,
    missing_seam,
    seam_of,
)
from statemachines_orchestrator._host import HOST, SUPPORTED, Machine, store_of
from statemachines_orchestrator._joins import Join, JoinSubscription
from statemachines_orchestrator._members import (
    is_orchestrator,
    members_in,
    members_of,
    values_of,
)
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import NO_KEY, Place, place_of
from statemachines_orchestrator._publisher import Publisher
from statemachines_orchestrator._timers import Timers, begin_anew
from statemachines_orchestrator._turns import Subscription
from statemachines_orchestrator.clock import is_clock
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    NotAMemberError,
    StateFieldIsNotUniqueError,
    UnsupportedHostError,
    WrongMachineError,
)
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

__all__ = ["arrange_all", "assemble", "assemble_at_rest", "disassemble", "set_machine"]


def assemble(orchestrator: Any) -> None:
    """Make the bus, attach the machines, subscribe the reactions; all of it or nothing."""
    if place_of(orchestrator) is not None:
        return
    with attaching:
        _assemble(orchestrator)
    try:
        _begin_timeouts(place_of(orchestrator))
    except BaseException:
        disassemble(orchestrator)
        raise


def assemble_at_rest(orchestrator: Any, clock: Any = None) -> None:
    """Assemble an orchestrator that goes on where another one stood: no times begin."""
    with attaching:
        _assemble(orchestrator, clock)
    place = place_of(orchestrator)
    plans = _timeouts_of(place)
    if plans:
        place.timers = Timers(place, plans)


def arrange_all(wishes: list[tuple[Place, str, Mapping[Any, Any] | None]]) -> None:
    """Let exactly these stand in each field. What goes from one to another leaves the one first."""
    for place, name, members in wishes:
        stood = members_in(getattr(place.owner, name, None))
        kept = members and {key: one for key, one in stood if members.get(key) is one}
        _arrange(place, name, kept)
    for place, name, members in wishes:
        _arrange(place, name, members)


def _arrange(place: Place, name: str, members: Mapping[Any, Any] | None) -> None:
    """Let exactly these stand in a field, in this order. It is no move, and nothing is announced.

    Those that stood there and do not any more are detached; all of them are at rest.
    With `None` the field holds nothing, not even a fleet.
    """
    owner = place.owner
    held: Any = getattr(owner, name, None)
    stood, wanted = dict(members_in(held)), dict(members or {})
    is_fleet = owner.__declaration__.fields[name].fleet
    with attaching:
        for key, member in stood.items():
            if wanted.get(key) is not member:
                place.forget(name, key)
                _detach(place, member)
        for key, member in wanted.items():
            if stood.get(key) is not member:
                _attach(place, name, key, member)
        if is_fleet and held is not None and members is not None:
            held.arrange(wanted)
            return
        if is_fleet and held is not None:
            held.hold(None)
        value = wanted.get(NO_KEY)
        if is_fleet and members is not None:
            value = Fleet(wanted)
            value.hold(_Holding(place, name))
        object.__setattr__(owner, name, value)


def _assemble(orchestrator: Any, clock: Any = None) -> None:
    cls = orchestrator.__class__
    declaration: Any = cls.__declaration__
    if not declaration.is_resolved:
        declaration = declaration.resolved(cls, values_of(orchestrator))
    values = values_of(orchestrator, declaration)
    checked = _Check(orchestrator, declaration)
    for name, value in values.items():
        if value is not None or not declaration.fields[name].optional:
            checked.field(name, value)
    cls.__declaration__ = declaration
    clock = _clock_of(declaration) if clock is None else clock
    bus = Bus(
        lambda topic: declaration.topics.resolve(topic, declaration.where),
        lambda name, error, record: _calls.observer_failed(orchestrator, name, error, record),
    )
    place = Place(orchestrator, bus, clock)
    for plan in declaration.plans:
        if plan.is_async:
            place.must_await()
        for topic in plan.topics:
            bus.signal(topic).connect(Subscription(place, plan, topic, _calls.react))
    for name, value in values.items():
        _attach_value(place, name, value)
    _join(place, declaration)


def _clock_of(declaration: Any) -> Any:
    """Return what the factory of clocks makes."""
    clock = declaration.options.clock()
    if not is_clock(clock):
        problem = f"its factory of clocks made {shown(clock)}"
        fix = "Give a class of clocks, or a function that returns one: clock=VirtualClock"
        raise DeclarationError(declaration.where, problem, fix)
    return clock


def _begin_timeouts(place: Place) -> None:
    """Begin the times of the states that are active now."""
    plans = _timeouts_of(place)
    if plans:
        place.timers = Timers(place, plans)
        _begin_below(place.owner)


def _timeouts_of(place: Place) -> list[Any]:
    return [plan for plan in place.owner.__declaration__.plans if plan.timeout is not None]


def _begin_below(owner: Any, wrong: list[Any] | None = None) -> None:
    """Begin the times of all machines of an orchestrator, here and outward."""
    for machine in _all_of(owner):
        for publisher in seam_of(machine).publishers:
            publisher.place.look_at(publisher.name, publisher.key, machine, wrong)


def _join(place: Place, declaration: Any) -> None:
    """Build the joins, from what the machines tell now, and let them hear what moves."""
    plans = [plan for plan in declaration.plans if plan.join is not None]
    place.joins = tuple(
        Join(place, plan, index, _calls.in_cascade) for index, plan in enumerate(plans)
    )
    for join in place.joins:
        for name in join.wanted.names:
            receiver = JoinSubscription(join, tuple(name.split(".")))
            place.bus.signal(f"{name}.*").connect(receiver)


def disassemble(orchestrator: Any) -> None:
    """Detach everything: the orchestrator's constructor raised."""
    place = place_of(orchestrator)
    if place.timers is not None:
        place.timers.end()
    for value in values_of(orchestrator).values():
        if isinstance(value, Fleet):
            value.hold(None)
        for _key, member in members_in(value):
            _detach(place, member)


def set_machine(
    orchestrator: Any, name: str, value: Any, store: Callable[[Any, str, Any], None]
) -> None:
    """Set a machine field, and attach what it is given. It is a move, as in a fleet.

    Raises `MachineFieldIsSetError` where one is set already, and what speaks against this one.
    """
    place = place_of(orchestrator)
    with attaching:
        attaches = _may_set(orchestrator, name, value)
        store(orchestrator, name, value)
        if attaches:
            _attach_value(place, name, value)
    if attaches:
        _came(place, name, dict(members_in(value)))


def _may_set(orchestrator: Any, name: str, value: Any) -> bool:
    """Return whether setting a machine field attaches something; raise if it may not be set."""
    declaration = orchestrator.__declaration__
    held = getattr(orchestrator, name, None)
    if value is held and isinstance(held, Fleet):  # `shop.items |= ...` sets what it is
        return False
    if held is not None:
        raise MachineFieldIsSetError(declaration.where, name, isinstance(held, Fleet))
    if value is None:
        return False
    _Check(orchestrator, declaration).field(name, value)
    return True


# Checks ---------------------------------------------------------------------------------------


class _Check:
    """Refuses what cannot be attached to one orchestrator, before anything is."""

    def __init__(self, orchestrator: Any, declaration: Any) -> None:
        self.orchestrator = orchestrator
        self.where = declaration.where
        self.fields = declaration.fields
        place = place_of(orchestrator)
        self.names = (orchestrator.orchestrator_name,) if place is None else tuple(place.injected)
        """What would be injected into the callbacks of a machine."""
        self.stores: dict[tuple[int, str], Any] = {} if place is None else place.stores
        self.added: dict[tuple[int, str], str] = {}
        """Which state is kept where, of what is attached together."""
        self.freed: set[tuple[int, str]] = set()
        """Which of these is free, since another machine takes the place."""
        self.seen: dict[int, str] = {}

    def field(self, name: str, value: Any) -> None:
        """Check what is given to a field."""
        if not self.fields[name].fleet:
            self.member(name, name, value)
            return
        if not isinstance(value, Fleet):
            text = self.fields[name].annotation
            raise WrongMachineError(self.where, name, text, reprlib.repr(value))
        if value.holder is not None:
            owner = value.holder
            injected = owner.orchestrator_name
            raise MachineIsTakenError(self.where, name, repr(owner), injected, "fleet")
        self._alone(name, value)
        for key, member in members_in(value):
            self.member(name, f"{name}[{shown(key)}]", member)

    def member(self, field_name: str, name: str, member: Any) -> None:
        """Check a machine or an orchestrator; `name` is what the error calls it."""
        field = self.fields[field_name]
        known = (
            isinstance(member, field.classes)
            if field.classes
            else isinstance(member, Machine) or is_orchestrator(member)
        )
        if not known:
            expected = " | ".join(one.__name__ for one in field.classes or ())
            raise WrongMachineError(self.where, name, expected or field.annotation, repr(member))
        self._alone(name, member)
        if is_orchestrator(member):
            self._orchestrator(name, member)
        else:
            self._machine(name, member)

    def _alone(self, name: str, member: Any) -> None:
        same = self.seen.setdefault(id(member), name)
        if same != name:
            self._refuse_second_place(name, same)

    def _refuse_second_place(self, name: str, same: str) -> None:
        problem = f"the machine stands in {same} too"
        fix = "Give each field and each key a machine of its own"
        raise DeclarationError(f"{self.where}.{name}", problem, fix)

    def _orchestrator(self, name: str, inner: Any) -> None:
        place = place_of(inner)
        if place is None:
            raise DeclarationError(
                f"{self.where}.{name}",
                f"{type(inner).__qualname__} is not built yet",
                "Let its __init__ call self.__attrs_init__(...) first",
            )
        own = place_of(self.orchestrator)
        if own is not None and place in own.holders():
            problem = f"{inner!r} would hold itself"
            raise DeclarationError(f"{self.where}.{name}", problem, "Give it another one")
        if place.holder is not None:
            holder = place.holder.owner
            injected = holder.orchestrator_name
            raise MachineIsTakenError(self.where, name, repr(holder), injected, "orchestrator")
        for machine in _all_of(inner):
            for other in seam_of(machine).publishers:
                for injected in self.names if place not in other.place.holders() else ():
                    if injected in other.place.injected:
                        taken = repr(other.place.injected[injected])
                        raise MachineIsTakenError(self.where, name, taken, injected)

    def _machine(self, name: str, machine: Any) -> None:
        missing = missing_seam(machine)
        if missing is not None:
            raise UnsupportedHostError(f"{self.where}.{name}", HOST, missing, SUPPORTED)
        seam = seam_of(machine)
        taken: dict[str, Any] = {} if seam is None else seam.injected
        for injected in self.names:
            holder = taken.get(injected)
            if holder is self.orchestrator:
                own = _publisher_of(place_of(holder), machine)
                if own is not None and own not in own.place.leaving:
                    self._refuse_second_place(name, own.shown)
                if own is not None or not seam_of(machine):  # it has not left yet
                    raise MachineIsBusyError(self.where, name)
            if holder is not None:
                raise MachineIsTakenError(self.where, name, repr(holder), injected)
        if is_in_mid_step(machine):
            raise MachineIsBusyError(self.where, name)
        store = store_of(machine)
        kept = None if store in self.freed else self.stores.get(store)
        if kept is None or kept.machine is machine:
            other = self.added.setdefault(store, name)
        else:
            other = kept.shown
        if other != name:
            raise StateFieldIsNotUniqueError(self.where, name, other, machine.state_field)


# Members --------------------------------------------------------------------------------------


class _Holding:
    """The field of an orchestrator that holds a fleet: what the fleet calls."""

    __slots__ = ("name", "place")

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name

    @property
    def owner(self) -> Any:
        """The orchestrator."""
        return self.place.owner

    def put(self, members: dict[Any, Any], new: Mapping[Any, Any]) -> None:
        """Attach members and put them in, as one move; all of them or none."""
        with attaching:
            check = _Check(self.owner, self.owner.__declaration__)
            for key, member in new.items():
                old = members.get(key)
                if isinstance(old, Machine) and not is_in_mid_step(old):
                    check.freed.add(store_of(old))
                check.member(self.name, f"{self.name}[{shown(key)}]", member)
            for key, member in new.items():
                _attach(self.place, self.name, key, member)
                old = members.get(key)
                members[key] = member
                if old is not None:
                    _detach(self.place, old)
        _came(self.place, self.name, new)

    def took(self, members: Mapping[Any, Any]) -> None:
        """Detach members that were taken out, as one move."""
        with attaching:
            for key, member in members.items():
                self.place.forget(self.name, key)
                _detach(self.place, member)
        _moved(self.place, self.name, list(members))

    def key_of(self, member: Any) -> Any:
        """Return the key of a member."""
        if is_orchestrator(member):
            place = place_of(member)
            if place is not None and place.holder is self.place and place.name == self.name:
                return place.key
        elif isinstance(member, Machine):
            publisher = _publisher_of(self.place, member)
            if publisher is not None and publisher.name == self.name:
                return publisher.key
        raise NotAMemberError(f"{self.owner!r}.{self.name}", repr(member))


def _attach_value(place: Place, name: str, value: Any) -> None:
    """Attach what a field holds."""
    if isinstance(value, Fleet):
        value.hold(_Holding(place, name))
    for key, member in members_in(value):
        _attach(place, name, key, member)


def _attach(place: Place, name: str, key: Hashable, member: Any) -> None:
    """Give a machine its seam, and the seam a publisher; let an orchestrator stand here."""
    if is_orchestrator(member):
        _stand(member, place, name, key)
        return
    publisher = Publisher(place, name, key, member)
    place.stores[store_of(member)] = publisher
    attach(member, _calls, publisher)
    if is_async(member):
        place.must_await()


def _detach(place: Place, member: Any) -> None:
    """Detach a machine or an orchestrator, as soon as it is at rest."""
    if is_orchestrator(member):
        _release(place, member)
        return
    seam, publisher = seam_of(member), _publisher_of(place, member)
    if publisher is not None:  # else another thread has taken it out
        place.leaving[publisher] = None
        seam.remove(publisher)


def _publisher_of(place: Place, machine: Any) -> Any:
    """Return the publisher that an orchestrator gave a machine."""
    seam = seam_of(machine)
    publishers = () if seam is None else seam.publishers
    return next((one for one in publishers if one.place is place), None)


def _release(holder: Place, inner: Any) -> None:
    """Let an orchestrator stand alone again, as soon as all of its machines are at rest."""
    place = place_of(inner)
    if place.holder is not holder:  # another thread has done it
        return
    for machine in _all_of(inner):
        if is_in_mid_step(machine):
            seam = seam_of(machine)
            seam.at_rest[place] = partial(_release, holder, inner)
            seam.rest()
            return
    _stand(inner, None, "", NO_KEY)


def _all_of(owner: Any) -> Iterator[Any]:
    """Yield the machines at any depth, those included that are about to leave."""
    yield from (publisher.machine for publisher in list(place_of(owner).leaving))
    for _name, _key, member in members_of(owner):
        if is_orchestrator(member):
            yield from _all_of(member)
        else:
            yield member


def _stand(inner: Any, holder: Place | None, name: str, key: Hashable) -> None:
    """Let an orchestrator stand in a field or fleet, or alone, and everything below it with it."""
    place = place_of(inner)
    clock = place.clock
    if place.holder not in (None, holder):
        place.holder.forget(place.name, place.key)
    place.stand(holder, name, key)
    if holder is None:
        place.own_clock = clock  # it keeps the one that it had
    elif place.is_async:
        holder.must_await()
    if place.clock is not clock:
        begin_anew(inner)
    for below, below_key, member in members_of(inner):
        if is_orchestrator(member):
            _stand(member, place, below, below_key)
        else:
            _publisher_of(place, member).moved()
            seam_of(member).renew()


def _came(place: Place, name: str, members: Mapping[Any, Any]) -> None:
    """Begin the times of what was put in, and tell the joins."""
    wrong: list[Any] = []
    for key, member in members.items():
        place.forget(name, key)
        if is_orchestrator(member):
            _begin_below(member, wrong)
        else:
            place.look_at(name, key, member, wrong)
    _moved(place, name, list(members), wrong)


def _moved(place: Place, name: str, keys: list[Any], wrong: list[Any] | None = None) -> None:
    """Tell the joins, here and outward, that something was put in or taken out.

    A time that could not begin, in `wrong`, is a failure of what follows.
    """
    concerned = [
        (join, (*place.path, name)[len(outer.path) :])
        for outer, prefix in place.outward
        for join in outer.joins
        if join.concerns(prefix + name)
    ]
    if concerned or wrong:
        _calls.in_cascade(lambda: _touch(concerned, keys, wrong or []))


def _touch(
    concerned: list[tuple[Join, tuple[Hashable, ...]]], keys: list[Any], wrong: list[Any]
) -> None:
    for owner, reaction, error in wrong:
        _calls.observer_failed(owner, reaction, error, None)
    for join, path in concerned:
        for key in keys:
            join.touch(path if key is NO_KEY else (*path, key))
