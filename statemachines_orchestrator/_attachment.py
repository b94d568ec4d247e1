"""Attaching: what is given to an orchestrator is checked, and its machines get their seams."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator import _calls
from statemachines_orchestrator._bus import Bus
from statemachines_orchestrator._checking import Check, all_of, is_built, is_one, publisher_of
from statemachines_orchestrator._engine import (
    attach,
    attaching,
    is_async,
    is_in_mid_step,
    seam_of,
)
from statemachines_orchestrator._fast import use_fast_lane
from statemachines_orchestrator._host import Machine, store_of
from statemachines_orchestrator._joins import Join, JoinSubscription
from statemachines_orchestrator._members import (
    is_orchestrator,
    members_in,
    members_of,
    values_of,
)
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import NO_KEY, PLACE, Place, place_of
from statemachines_orchestrator._publisher import Publisher
from statemachines_orchestrator._timers import Timers, begin_anew
from statemachines_orchestrator._turns import Subscription
from statemachines_orchestrator.clock import is_clock
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    MachineFieldIsSetError,
    NotAMemberError,
)
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Mapping

__all__ = ["arrange_all", "assemble", "assemble_at_rest", "disassemble", "set_machine"]


def assemble(orchestrator: Any) -> None:
    """Make the bus, attach the machines, subscribe the reactions; all of it or nothing."""
    if place_of(orchestrator) is not None:
        return
    with _all_or_nothing(orchestrator):
        with attaching:
            _assemble(orchestrator)
        _begin_timeouts(place_of(orchestrator))


def assemble_at_rest(orchestrator: Any, clock: Any = None) -> None:
    """Assemble an orchestrator that goes on where another one stood: no times begin."""
    with _all_or_nothing(orchestrator):
        with attaching:
            _assemble(orchestrator, clock)
        place = place_of(orchestrator)
        plans = _timeouts_of(place)
        if plans:
            place.timers = Timers(place, plans)


@contextmanager
def _all_or_nothing(orchestrator: Any) -> Generator[None, None, None]:
    """Detach what was attached if something raises: a model, a clock, a machine of its own kind."""
    try:
        yield
    except BaseException:
        if place_of(orchestrator) is not None:
            disassemble(orchestrator)
            del vars(orchestrator)[PLACE]
        raise


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
    checked = Check(orchestrator, declaration)
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
    for machine in all_of(owner):
        for publisher in seam_of(machine).publishers:
            publisher.place.look_at(publisher.name, publisher.key, machine, wrong)


def _join(place: Place, declaration: Any) -> None:
    """Build the joins, from what the machines tell now, and let them hear what moves."""
    plans = [plan for plan in declaration.plans if plan.join is not None]
    place.joins = tuple(
        Join(place, plan, index, _calls.in_cascade) for index, plan in enumerate(plans)
    )
    for join in place.joins:
        join.look_anew()
        for name in join.wanted.names:
            receiver = JoinSubscription(join, tuple(name.split(".")))
            place.bus.signal(f"{name}.*").connect(receiver)
        join.look_anew()  # what another thread has moved before it was heard


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
    members: dict[Any, Any] = {}
    wrong: list[Any] = []
    with attaching:
        attaches = _may_set(orchestrator, name, value)
        store(orchestrator, name, value)
        if attaches:
            try:
                _attach_value(place, name, value)
            except BaseException:
                object.__setattr__(orchestrator, name, None)
                raise
            members = dict(members_in(value))
            wrong = _begin_times(place, name, members)
    if members:
        _moved(place, name, list(members), wrong)


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
    Check(orchestrator, declaration).field(name, value)
    return True


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

    def put(self, members: dict[Any, Any], new: Mapping[Any, Any]) -> list[Any]:
        """Attach members and put them in; all of them or none. Return what went wrong after it."""
        check = Check(self.owner, self.owner.__declaration__)
        for key, member in new.items():
            old = members.get(key)
            if isinstance(old, Machine) and not is_in_mid_step(old):
                check.freed.add(store_of(old))
            check.member(self.name, f"{self.name}[{shown(key)}]", member)
        _attach_all(self.place, self.name, new.items())
        for key, member in new.items():
            old = members.get(key)
            members[key] = member
            if old is not None:
                _detach(self.place, old)
        return _begin_times(self.place, self.name, new)

    def took(self, members: Mapping[Any, Any]) -> None:
        """Detach members that were taken out."""
        for key, member in members.items():
            self.place.forget(self.name, key)
            _detach(self.place, member)

    def moved(self, members: Mapping[Any, Any], wrong: list[Any]) -> None:
        """Tell of one move, and of what went wrong in it. No lock is in hand."""
        _moved(self.place, self.name, list(members), wrong)

    def key_of(self, member: Any) -> Any:
        """Return the key of a member."""
        if is_orchestrator(member):
            place = place_of(member)
            if place is not None and place.holder is self.place and place.name == self.name:
                return place.key
        elif is_one(member, Machine) and is_built(member):
            publisher = publisher_of(self.place, member)
            if publisher is not None and publisher.name == self.name:
                return publisher.key
        raise NotAMemberError(f"{shown(self.owner)}.{self.name}", shown(member))


def _attach_value(place: Place, name: str, value: Any) -> None:
    """Attach what a field holds."""
    _attach_all(place, name, members_in(value))
    if isinstance(value, Fleet):
        value.hold(_Holding(place, name))


def _attach_all(place: Place, name: str, members: Iterable[tuple[Hashable, Any]]) -> None:
    """Attach several; all of them or none."""
    done: list[Any] = []
    try:
        for key, member in members:
            _attach(place, name, key, member)
            done.append(member)
    except BaseException:
        for member in done:
            _detach(place, member)
        raise


def _attach(place: Place, name: str, key: Hashable, member: Any) -> None:
    """Give a machine its seam, and the seam a publisher; let an orchestrator stand here."""
    if is_orchestrator(member):
        _stand(member, place, name, key)
        return
    publisher = Publisher(place, name, key, member)
    store = store_of(member)
    attach(member, _calls, publisher)
    if place.owner.__declaration__.options.fast:
        use_fast_lane(member)
    place.stores[store] = publisher
    if is_async(member):
        place.must_await()


def _detach(place: Place, member: Any) -> None:
    """Detach a machine or an orchestrator, as soon as it is at rest."""
    if is_orchestrator(member):
        _release(place, member)
        return
    seam, publisher = seam_of(member), publisher_of(place, member)
    if publisher is not None:  # else another thread has taken it out
        place.leaving[publisher] = None
        seam.remove(publisher)


def _release(holder: Place, inner: Any) -> None:
    """Let an orchestrator stand alone again, as soon as all of its machines are at rest."""
    place = place_of(inner)
    with attaching:
        if place.holder is not holder:  # another thread has done it
            return
        running = next((machine for machine in all_of(inner) if is_in_mid_step(machine)), None)
        if running is None:
            _stand(inner, None, "", NO_KEY)
            return
        seam = seam_of(running)
        seam.at_rest[place] = partial(_release, holder, inner)
    seam.rest(only=(place,))


def _stand(inner: Any, holder: Place | None, name: str, key: Hashable) -> None:
    """Let an orchestrator stand in a field or fleet, or alone, and everything below it with it.

    What is pending begins anew on another clock. If that raises, it stands where it stood.
    """
    place = place_of(inner)
    clock = place.clock
    if place.holder not in (None, holder):
        place.holder.forget(place.name, place.key)
    stood = place.holder, place.name, place.key
    _move(inner, holder, name, key)
    if holder is None:
        place.own_clock = clock  # it keeps the one that it had
    if place.clock is not clock:
        try:
            begin_anew(inner)
        except BaseException:
            _move(inner, *stood)
            raise
    if holder is not None and place.is_async:
        holder.must_await()


def _move(inner: Any, holder: Place | None, name: str, key: Hashable) -> None:
    """Tell an orchestrator, and everything below it, where it stands."""
    place = place_of(inner)
    place.stand(holder, name, key)
    for below, below_key, member in members_of(inner):
        if is_orchestrator(member):
            _move(member, place, below, below_key)
        else:
            publisher_of(place, member).moved()
            seam_of(member).renew()


def _begin_times(place: Place, name: str, members: Mapping[Any, Any]) -> list[Any]:
    """Begin the times of what was put in; return those that could not begin."""
    wrong: list[Any] = []
    for key, member in members.items():
        place.forget(name, key)
        if is_orchestrator(member):
            _begin_below(member, wrong)
        else:
            place.look_at(name, key, member, wrong)
    return wrong


def _moved(place: Place, name: str, keys: list[Any], wrong: list[Any]) -> None:
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
        _calls.in_cascade(lambda: _touch(concerned, keys, wrong))


def _touch(
    concerned: list[tuple[Join, tuple[Hashable, ...]]], keys: list[Any], wrong: list[Any]
) -> None:
    for owner, reaction, error in wrong:
        _calls.observer_failed(owner, reaction, error, None)
    for join, path in concerned:
        for key in keys:
            join.touch(path if key is NO_KEY else (*path, key))
