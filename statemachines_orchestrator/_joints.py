"""Joint states: where the whole stands, in a form that is small, and can be written back.

The configuration of each machine is a number, and a joint state a tuple of them. Nothing else is
kept where there is nothing else: no data, no timers, no members that come and go.
"""

from __future__ import annotations

import re
from collections import deque
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary, ref

import attrs

from statemachines_orchestrator._attachment import arrange_all
from statemachines_orchestrator._host import listeners_of, own_attributes
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._packing import Ref, attributes_in
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._timers import Delay, timers_of
from statemachines_orchestrator._wholes import (
    NO_DATA,
    Data,
    Memo,
    Whole,
    attributes_of_model,
    attributes_of_orchestrator,
    kept,
    kept_post,
    local_of,
    put_attributes,
    put_local,
    restored,
    restored_post,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from statemachines_orchestrator._timers import Kept
    from statemachines_orchestrator._wholes import Local, Path
    from statemachines_orchestrator.clock import VirtualClock

__all__ = ["Joint", "Joints", "identity"]

Pending: TypeAlias = "tuple[Path, Kept]"
"""A pending timer, with the path of its orchestrator."""
_ROUNDED = 9
"""What is left of a time is compared to so many digits: to a nanosecond."""
_PACKAGE = __name__.partition(".")[0]
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


@attrs.frozen(eq=False)
class Joint:
    """One joint state, as it was first found."""

    locals: tuple[int, ...]
    """The numbers of the machines' configurations."""
    extra: Extra | None = None
    """What there is beside, if anything."""


@attrs.frozen(eq=False)
class Extra:
    """What a joint state has beside configurations."""

    structure: Structure
    data: tuple[Data, ...]
    timers: tuple[Pending, ...]
    now: float


def _held(owner: Any, name: str) -> list[tuple[Hashable, Any]] | None:
    """Return what stands in a field by key, `None` for nothing."""
    value = getattr(owner, name, None)
    return None if value is None else list(members_in(value))


def _called(receiver: Any) -> Any:
    """Return what a signal calls: blinker holds it weakly where it was asked to."""
    return receiver() if issubclass(receiver.__class__, ref) else receiver


def _listening(whole: Whole) -> Iterator[Any]:
    """Yield the listeners of all machines, and what observers are methods of.

    Their data is put back in themselves, for the machines and the buses go on calling them.
    """
    heard = [one for machine in whole.machines.values() for one in listeners_of(machine)]
    for place in whole.places():
        for signal in list(place.bus.values()):
            receivers: list[Any] = list(signal.receivers.values())
            heard += [getattr(_called(one), "__self__", None) for one in receivers]
    known = {id(one) for one in (*whole.machines.values(), *whole.orchestrators.values())}
    known.update(map(id, whole.models))
    for one in heard:
        kind = one.__class__
        is_ours = kind.__module__.partition(".")[0] == _PACKAGE
        if one is None or id(one) in known or is_ours or isinstance(one, (type, ModuleType)):
            continue
        known.add(id(one))
        yield one


class Structure:
    """Which machines and orchestrators there are, and where: it changes if members come and go."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self.paths = tuple(whole.machines)
        self.machines = list(whole.machines.values())
        self.owners = list(whole.orchestrators.values())
        self.places = whole.places()
        self.joins = [join for place in self.places for join in place.joins]
        fields = whole.state_fields()
        self.state_fields = [fields[id(model)] for model in whole.models]
        whole.listeners = list(_listening(whole))
        self.things = [*self.machines, *self.owners, *whole.models, *whole.listeners]
        """What may have data."""
        self.held = [
            (owner, name, _held(owner, name))
            for owner in self.owners
            for name in owner.__declaration__.fields
        ]
        self.shape = tuple(
            (name, None if members is None else tuple(key for key, _member in members))
            for _owner, name, members in self.held
        )
        """What each field holds, by key: a part of the joint state where it may change."""
        is_plain = not any(self.attributes())
        known: list[dict[str, Any]] = [getattr(one, "__dict__", {}) for one in self.things]
        self.lengths = [(one, len(one)) for one in known] if is_plain else []
        """The attributes of everything, where none is data; and how many there are."""

    def has_data(self) -> bool:
        """Whether anything has data now."""
        for attributes, length in self.lengths:
            if len(attributes) != length:
                return True
        return not self.lengths

    def is_current(self) -> bool:
        """Whether everything stands where it stood."""
        return all(_held(owner, name) == members for owner, name, members in self.held)

    def arrange(self) -> None:
        """Let everything stand where it stood."""
        arrange_all(
            [
                (place_of(owner), name, None if members is None else dict(members))
                for owner, name, members in self.held
                if _held(owner, name) != members
            ]
        )

    def attributes(self) -> Iterator[dict[str, Any]]:
        """Yield the data of everything."""
        yield from map(own_attributes, self.machines)
        yield from map(attributes_of_orchestrator, self.owners)
        for model, fields in zip(self.whole.models, self.state_fields, strict=True):
            yield attributes_of_model(model, fields) or {}
        for listener in self.whole.listeners:
            yield attributes_of_model(listener, ())


class Joints:
    """Reads where an orchestrator stands, and lets it stand elsewhere."""

    def __init__(self, owner: Any, key: Callable[[Any], Hashable] | None, time: str) -> None:
        self.owner = owner
        self.key = key
        self.is_ordered = time == "order"
        self.structures: WeakValueDictionary[tuple[int, ...], Structure] = WeakValueDictionary()
        """Those that were met, by the identities of what is there: each keeps that alive."""
        self.structure = self._structure()
        self.may_change = any(
            field.fleet or field.optional
            for one in self.structure.owners
            for field in one.__declaration__.fields.values()
        )
        self.numbers: dict[Local, int] = {}
        self.unordered: dict[Hashable, int] = {}
        """The same, whatever the order of the states."""
        self.locals: list[Local] = []
        self.standing: tuple[int, ...] = ()
        """The numbers of the configurations, as they were read or written last."""
        self.is_bare = False
        """Whether there was nothing beside them then."""

    @property
    def clock(self) -> VirtualClock:
        """The clock."""
        clock: VirtualClock = place_of(self.owner).clock
        return clock

    # Reading ------------------------------------------------------------------------------

    def read(self) -> tuple[Hashable, Joint]:
        """Return where it stands: what makes a joint state the same, and the joint state."""
        if self.may_change and not self.structure.is_current():
            self.structure = self._structure()
        numbers = self.standing = tuple([self._number(one) for one in self.structure.machines])
        extra = self._extra()
        self.is_bare = extra is None
        joint = Joint(numbers, extra)
        if extra is None:
            return numbers, joint
        parts: list[Hashable] = [numbers]
        if self.may_change:
            parts.append(self.structure.shape)
        if extra.timers:
            parts.append(self._pending(extra))
        if self.key is not None:
            parts.append(("key", self.key(self.owner)))
        return numbers if len(parts) == 1 else tuple(parts), joint

    def _structure(self) -> Structure:
        """Return the structure there is now: the one that is known already, if it is."""
        whole = Whole(self.owner)
        met = tuple(map(id, (*whole.machines.values(), *whole.orchestrators.values())))
        known = self.structures.get(met)
        if known is None or not known.is_current():
            known = self.structures[met] = Structure(whole)
        return known

    def _number(self, machine: Any) -> int:
        local = local_of(machine)
        number = self.numbers.get(local)
        if number is None:
            # Regions may have been entered in any order: it is the same configuration.
            ids, history, has_ended = local
            known = tuple(sorted(ids)), tuple((name, *sorted(ones)) for name, ones in history)
            number = self.unordered.setdefault((*known, has_ended), len(self.locals))
            if number == len(self.locals):
                self.locals.append(local)
            self.numbers[local] = number
        return number

    def timers(self) -> list[tuple[Path, Any, Kept]]:
        """Return what is pending, in the order in which it comes due."""
        is_timed = any(place.timers is not None for place in self.structure.places)
        return self.structure.whole.timers() if is_timed else []

    def _extra(self) -> Extra | None:
        structure = self.structure
        has_data, timers, now = structure.has_data(), self.timers(), self.clock.now()
        if not (has_data or timers or now or self.may_change or self.key is not None):
            return None
        has_posts = any(not value.reaction for _path, _timer, value in timers)
        memo = structure.whole.memo(timers) if has_data or has_posts else Memo({})
        return Extra(
            structure,
            tuple(kept(one, memo) for one in structure.attributes()) if has_data else (),
            tuple(
                (path, value if value.reaction else kept_post(value, memo)[0])
                for path, _timer, value in timers
            ),
            now,
        )

    def _pending(self, extra: Extra) -> Hashable:
        """Return what of the pending timers makes a joint state the same."""
        parts = [
            (identity(path, value), round(value.due - extra.now, _ROUNDED) * self.is_ordered)
            for path, value in extra.timers
        ]
        return ("timers", *sorted(parts, key=repr))

    # Writing ------------------------------------------------------------------------------

    def put(self, joint: Joint) -> None:
        """Let everything stand as it stood in a joint state: no callback runs."""
        extra = joint.extra
        if extra is not None:
            if not extra.structure.is_current():
                extra.structure.arrange()
                self.standing = ()
            self.structure = extra.structure
        if not (self.is_bare and extra is None):
            self._put_extra(extra)
        self._put_locals(joint.locals)
        for join in self.structure.joins:
            join.look_anew()
        self.is_bare = extra is None

    def _put_locals(self, numbers: tuple[int, ...]) -> None:
        known = self.standing or (-1,) * len(numbers)
        for machine, number, stands in zip(self.structure.machines, numbers, known, strict=True):
            if number != stands:
                put_local(machine, self.locals[number])
        self.standing = numbers

    def _put_extra(self, extra: Extra | None) -> None:
        """Write data and timers; of a state without, take away what there is."""
        structure = self.structure
        for place in structure.places:
            if place.timers is not None:
                place.timers.forget_all()
        timers = () if extra is None else extra.timers
        owners = structure.whole.orchestrators
        delays = {
            at: Delay.resumed(owners[path])
            for at, (path, value) in enumerate(timers)
            if not value.reaction
        }
        data = () if extra is None else extra.data
        live = structure.whole.live(delays) if data or delays else {}
        memo: dict[Any, Any] = {}
        if data or structure.has_data():
            self._put_data(data or (NO_DATA,) * len(structure.things), live, memo)
        self.clock.stand_at(0.0 if extra is None else extra.now)
        for at, (path, value) in enumerate(timers):
            resumed = value
            if not value.reaction:
                resumed = restored_post(value, live, memo)
            timers_of(place_of(owners[path])).resume(resumed, value.due, delays.get(at))

    def _put_data(
        self, data: Sequence[Data], live: Mapping[Ref, Any], memo: dict[Any, Any]
    ) -> None:
        """Let everything have the data that it had, and no other."""
        structure = self.structure
        for thing, known, one in zip(structure.things, structure.attributes(), data, strict=True):
            if known or one.values:
                names = [name for name in known if name not in one.lost]
                put_attributes(thing, restored(one.values, live, memo), names)


def identity(path: Path, value: Kept) -> tuple[Hashable, ...]:
    """Return what tells which timer it is, whenever it comes due."""
    told = _without_addresses((value.machine, value.args, value.kwargs), ())
    return (path, value.topic, value.reaction, value.number, value.keys, value.event, told)


def _without_addresses(value: Any, around: tuple[int, ...]) -> str:
    """Return the `repr` of a value; where that tells where objects lie, what they consist of.

    Each state has copies of its own, and they must be told as the same.
    """
    text = shown(value)
    if not _ADDRESS.search(text) or id(value) in around:
        return _ADDRESS.sub("", text)
    around = (*around, id(value))
    held, kind = value, value.__class__
    parts: list[Any] = []
    if isinstance(value, dict):
        parts += held.items()
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts += held
    parts += attributes_in(value).items()
    told = [_without_addresses(one, around) for one in parts]
    if issubclass(kind, (set, frozenset)):
        told.sort()
    return f"{kind.__qualname__}({', '.join(told)})"
