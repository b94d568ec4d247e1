"""Snapshots: the state of the whole, as a value.

    snapshot = Snapshot.take(shop)
    again = snapshot.restore(Shop)       # another one, which goes on as the first one would
    snapshot.restore_into(shop)          # back to where it was
    text = snapshot.to_json()

Taken and restored at rest. No callback runs, and nothing is announced.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from statemachines_orchestrator._declaration import check_hook
from statemachines_orchestrator._host import is_hosts_model, own_attributes
from statemachines_orchestrator._members import values_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._packing import (
    Unpackable,
    name_of_class,
    packed,
    unpacked,
)
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._rest import check_at_rest
from statemachines_orchestrator._restoring import Restoring
from statemachines_orchestrator._standing import (
    MachineState,
    ModelState,
    OrchestratorState,
    Standing,
    told_class,
)
from statemachines_orchestrator._timers import Kept
from statemachines_orchestrator._wholes import (
    Data,
    Whole,
    kept,
    kept_post,
    local_of,
    names_of,
    told_by_model,
    told_by_orchestrator,
)
from statemachines_orchestrator._wiring import check_instance
from statemachines_orchestrator.clock import SystemClock, is_clock
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    UnreadableSnapshotError,
)
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.orchestrator import Orchestrator

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from statemachines_orchestrator._wholes import Path
    from statemachines_orchestrator.clock import Clock

__all__ = ["Snapshot"]

_Shop = TypeVar("_Shop", bound=Orchestrator)
VERSION = 1
"""The version of the format."""


@attrs.frozen(repr=False)
class Snapshot(Standing):
    """The state of an orchestrator at rest, and of everything below it. It is a value.

    It has, of every machine, the configuration, what its history states remember, whether it has
    ended, what was set on the machine itself, and its model; of every orchestrator the fields and
    attributes that hold plain data; what is pending, with its deadlines; and whether each join was
    true. Data is copied deep, and what points from it to a machine, an orchestrator, a fleet, a
    model or a pending post of the whole points to the new one when it is restored.

    Not in it: observers and what `subscribe` added; listeners that were added to a machine; what
    runs in states with `invoke`. The keys of fleets stay what they are, and weak references in the
    data point to what they pointed to.
    Two snapshots are equal if everything in them is, but for the time at which they were taken.
    """

    __hash__ = None  # type: ignore[assignment] # there are mappings in it

    @classmethod
    def take(
        cls, orchestrator: Orchestrator, *, dump: Callable[[str, Any], Any] | None = None
    ) -> Snapshot:
        """Return the state of an orchestrator.

        A model without a hook is copied by its attributes, if it tells them: if it has a
        `__dict__`, or is an attrs class. `dump(name, model)` returns what is to be kept of a model
        instead, or `NotImplemented` for one that it leaves alone; `name` is that of the machine in
        topics, `order`, `desks.order`. It wins over the class keyword `dump`, that of an inner
        orchestrator over that of its holder.

        Data that cannot be copied, a connection say, is left out: `restore` must be given it.
        Raises `NotAtRestError` in a cascade, but for `settled`, and while a machine is in mid-step;
        `DeclarationError` for what is no orchestrator; and what `dump` raises.
        """
        where = "Snapshot.take()"
        check_instance(orchestrator, where)
        check_at_rest(orchestrator, where)
        check_hook(where, "dump", dump)
        return _Taking(orchestrator, dump).snapshot(cls)

    # Back again ---------------------------------------------------------------------------

    def restore(
        self,
        cls: type[_Shop],
        *,
        timers: Literal["deadline", "remaining", "restart"] = "deadline",
        clock: Clock | None = None,
        load: Callable[[str, Any, Any], Any] | None = None,
        **given: Any,
    ) -> _Shop:
        """Return a new orchestrator that stands where the one stood that was taken.

        It is restored as a copy is: no constructor and no `__attrs_post_init__` of the orchestrator
        runs. Machines are built by their classes, with their models, and enter nothing. `given`
        are the values of fields that are not to come from the snapshot: data that could not be
        copied, and machines or fleets, built, which are put into the states of the snapshot.

        `load(name, data, None)` returns a model made of what `dump` gave.
        `clock` is the clock of the new one, in the place of that which its class makes.

        `timers` says what becomes of what is pending. With `"deadline"` it comes due when it was to
        come due: on the system's clock by the real time, that between processes included; on any
        other clock by the time of the clock (a virtual one that was just made by the class is
        advanced to that of the snapshot). If one was taken on the system's clock and the other is
        not, and with `"remaining"`, so much time is left as there was. With `"restart"` all of it
        begins anew, in full. What is overdue comes due at once, in the order of the deadlines.

        Raises `SnapshotDoesNotFitError`, which names everything that differs, `DeclarationError`
        for what is no class of orchestrators, and what an orchestrator's constructor raises for
        machines that it is given.
        """
        kind: Any = cls
        name = kind.__qualname__ if isinstance(kind, type) else shown(kind)
        where = f"Snapshot.restore({name})"
        if not isinstance(kind, type) or not issubclass(kind, Orchestrator):
            problem = f"it was given {shown(cls)}, which is no class of orchestrators"
            raise DeclarationError(where, problem, "Give it the class that was taken")
        if clock is not None and not is_clock(clock):
            problem = f"{shown(clock)} is no clock"
            raise DeclarationError(where, problem, "Give it VirtualClock(), say")
        check_hook(where, "load", load)
        restored: _Shop = Restoring(self, where, kind, None, given, load, timers).run(clock)
        return restored

    def restore_into(
        self,
        orchestrator: Orchestrator,
        *,
        timers: Literal["deadline", "remaining", "restart"] = "deadline",
        load: Callable[[str, Any, Any], Any] | None = None,
    ) -> None:
        """Put an orchestrator back to where the one stood that was taken.

        Its machines, models and observers stay the same objects; data is replaced, so an observer
        that is a method of data in a field hears for the old one. Members that a fleet has and the
        snapshot has not are taken out, those that it lacks are built and put in; that is no move.
        `load(name, data, model)` brings a model up to date, and returns it.
        Data that could not be copied stays as it is. `timers` is as in `restore`.

        Raises `NotAtRestError` as `take` does, `SnapshotDoesNotFitError` as `restore` does, and
        then nothing is changed.
        """
        where = "Snapshot.restore_into()"
        check_instance(orchestrator, where)
        check_at_rest(orchestrator, where)
        check_hook(where, "load", load)
        Restoring(self, where, type(orchestrator), orchestrator, {}, load, timers).run()

    # As text ------------------------------------------------------------------------------

    @property
    def states(self) -> dict[str, tuple[str, ...]]:
        """The ids of the active states of each machine, by `order`, `desk.order`, `items['a']`."""
        return {self.told(path): state.local[0] for path, state in self.machines.items()}

    def __repr__(self) -> str:
        """Return `<Snapshot of Shop: order=processing, payment=unpaid>`."""
        told = ", ".join(
            f"{name}={ids[0] if len(ids) == 1 else '{' + ', '.join(ids) + '}' if ids else '-'}"
            for name, ids in self.states.items()
        )
        return f"<Snapshot of {told_class(self.of)}: {told}>"

    def to_json(self) -> str:
        """Return it as text, for `from_json`.

        Data may hold what JSON has a form for; tuples, sets, mappings with any keys; dates, times,
        `timedelta`, `Decimal`, `UUID` and bytes; members of enumerations, and instances of attrs
        classes. What two places of the data share they do not share when it is read.
        Raises `DeclarationError`, which names the place, for anything else.
        """
        return json.dumps(_as_json(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """Read what `to_json` has written.

        Classes in the data are looked up in the modules that are imported, and no code of theirs
        runs. Raises `UnreadableSnapshotError` for a text of another kind or version.
        """
        given: Any = text
        if not isinstance(given, str):
            problem = f"{shown(given):.40} is no text"
            raise UnreadableSnapshotError(problem)
        try:
            found: Any = json.loads(given)
        except (ValueError, RecursionError) as error:
            problem = f"it is no JSON: {error}"
            raise UnreadableSnapshotError(problem) from None
        read: Any = found
        version = read.get("snapshot") if isinstance(found, dict) else None
        if version != VERSION:
            problem = f"it is no snapshot of version {VERSION}: {given:.40}"
            raise UnreadableSnapshotError(problem)
        try:
            return _of_json(cls, read)
        except Unpackable as error:
            raise UnreadableSnapshotError(str(error)) from error
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            message = f"something in it is not as it was written: {type(error).__name__}: {error}"
            raise UnreadableSnapshotError(message) from error


# Taking ---------------------------------------------------------------------------------------


class _Taking:
    """Reads off what lives in an orchestrator."""

    def __init__(self, owner: Any, dump: Callable[[str, Any], Any] | None) -> None:
        self.whole = Whole(owner)
        self.dump = dump
        self.timers = self.whole.timers()
        self.memo = self.whole.memo(self.timers)
        self.numbers = {id(model): number for number, model in enumerate(self.whole.models)}

    def snapshot(self, cls: type[Snapshot]) -> Snapshot:
        """Return it as a value."""
        whole = self.whole
        clock = place_of(whole.owner).clock
        return cls(
            of=name_of_class(whole.owner.__class__),
            now=clock.now(),
            machines={path: self._machine(one) for path, one in whole.machines.items()},
            orchestrators={path: self._owner(one) for path, one in whole.orchestrators.items()},
            models=tuple(self._models()),
            timers=tuple((path, self._timer(value)) for path, _timer, value in self.timers),
            wall=time.time(),
            is_real=isinstance(clock, SystemClock),
        )

    def _kept(self, values: Mapping[str, Any]) -> Data:
        """Return values as data; of what cannot be copied nothing is kept: it must be given."""
        return kept(values, self.memo, is_whole=True)

    def _timer(self, value: Kept) -> Kept:
        kept_one, lost = kept_post(value, self.memo, is_whole=True)
        if lost:
            where = f"Snapshot.take(), post({value.topic!r}, delay=...)"
            raise DeclarationError(where, "its arguments cannot be copied", "Post plain data")
        return kept_one

    def _machine(self, machine: Any) -> MachineState:
        return MachineState(
            of=name_of_class(machine.__class__),
            local=local_of(machine),
            state_field=machine.state_field,
            model=self.numbers[id(machine.model)],
            data=self._kept(own_attributes(machine)),
            cls=machine.__class__,
        )

    def _owner(self, owner: Any) -> OrchestratorState:
        data = told_by_orchestrator(owner)
        fields = {field.name for field in attrs.fields(owner.__class__)}
        return OrchestratorState(
            of=name_of_class(owner.__class__),
            held={
                name: None if value is None else _keys_of(value)
                for name, value in values_of(owner).items()
            },
            fields=tuple(name for name in data if name in fields),
            data=self._kept(data),
            joins={join.told: join.is_true for join in place_of(owner).joins},
            cls=type(owner),
        )

    def _models(self) -> Iterator[ModelState]:
        """Yield the models: as a hook tells of each, or as its attributes do."""
        fields = self.whole.state_fields()
        names: dict[int, tuple[str, Any]] = {}
        owners = self.whole.orchestrators
        for path, machine in self.whole.machines.items():
            names.setdefault(id(machine.model), (names_of(path, owners), self._dump_at(path)))
        for model in self.whole.models:
            name, dump = names[id(model)]
            dumped = NotImplemented if dump is None else dump(name, model)
            of = None if is_hosts_model(model) else name_of_class(model.__class__)
            if dumped is not NotImplemented:
                told = self._kept({"dumped": dumped})
                if told.lost:
                    where, problem = f"Snapshot.take(), {name}", "what dump= gave cannot be copied"
                    raise DeclarationError(where, problem, "Let it give plain data")
                yield ModelState(of, told, is_dumped=True)
                continue
            values = told_by_model(model, fields[id(model)])
            data = None if values is None else self._kept(values)
            yield ModelState(of, data, cls=type(model))

    def _dump_at(self, path: Path) -> Any:
        """Return the hook for a machine: that of the call, or of the nearest orchestrator."""
        if self.dump is not None:
            return self.dump
        for length in range(len(path) - 1, -1, -1):
            owner = self.whole.orchestrators.get(path[:length])
            hook = None if owner is None else owner.__declaration__.options.dump
            if hook is not None:
                return hook
        return None


def _keys_of(value: Any) -> tuple[Hashable, ...]:
    """Return the keys of a fleet; of a machine or an orchestrator none."""
    members: Any = value
    return tuple(members) if isinstance(value, Fleet) else ()


# JSON -----------------------------------------------------------------------------------------


def _as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot in JSON's own values."""
    place = f"Snapshot.to_json(), {told_class(snapshot.of)}"

    def told(path: Path, values: Any) -> Any:
        try:
            return packed(values)
        except Unpackable as error:
            where = f"{place}.{snapshot.told(path)}" if path else place
            raise DeclarationError(where, str(error), "Keep plain data, or use dump=") from None

    def data(path: Path, data: Data) -> dict[str, Any]:
        return {"values": told(path, dict(data.values)), "lost": list(data.lost)}

    owners: dict[int, Path] = {}
    for path, machine in snapshot.machines.items():
        owners.setdefault(machine.model, path)
    return {
        "snapshot": VERSION,
        "class": snapshot.of,
        "now": snapshot.now,
        "wall": snapshot.wall,
        "is_real": snapshot.is_real,
        "machines": [
            {
                "path": told((), path),
                "class": one.of,
                "states": list(one.local[0]),
                "history": {name: list(ids) for name, ids in one.local[1]},
                "has_ended": one.local[2],
                "state_field": one.state_field,
                "model": one.model,
                "data": data(path, one.data),
            }
            for path, one in snapshot.machines.items()
        ],
        "orchestrators": [
            {
                "path": told((), path),
                "class": one.of,
                "held": told(path, dict(one.held)),
                "fields": list(one.fields),
                "joins": dict(one.joins),
                "data": data(path, one.data),
            }
            for path, one in snapshot.orchestrators.items()
        ],
        "models": [
            {
                "class": one.of,
                "is_dumped": one.is_dumped,
                "data": None if one.data is None else data(owners[number], one.data),
            }
            for number, one in enumerate(snapshot.models)
        ],
        "timers": [_timer_as_json(path, one, told) for path, one in snapshot.timers],
    }


def _timer_as_json(path: Path, kept: Kept, told: Callable[[Path, Any], Any]) -> dict[str, Any]:
    """Return a timer in JSON's own values; what led to it belongs to this process."""
    facts = attrs.asdict(kept, recurse=False)
    del facts["cause"]
    return {"owner": told(path, path), **{name: told(path, one) for name, one in facts.items()}}


def _of_json(cls: type[Snapshot], found: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot that JSON's values tell of."""

    def data(given: Any) -> Data:
        return Data(unpacked(given["values"]), tuple(given["lost"]))

    return cls(
        of=str(found["class"]),
        now=float(found["now"]),
        machines={
            unpacked(one["path"]): MachineState(
                of=one["class"],
                local=(
                    tuple(one["states"]),
                    tuple((name, tuple(ids)) for name, ids in one["history"].items()),
                    bool(one["has_ended"]),
                ),
                state_field=one["state_field"],
                model=one["model"],
                data=data(one["data"]),
            )
            for one in found["machines"]
        },
        orchestrators={
            unpacked(one["path"]): OrchestratorState(
                one["class"],
                unpacked(one["held"]),
                tuple(one["fields"]),
                data(one["data"]),
                one["joins"],
            )
            for one in found["orchestrators"]
        },
        models=tuple(
            ModelState(one["class"], one["data"] and data(one["data"]), one["is_dumped"])
            for one in found["models"]
        ),
        timers=tuple(_timer_of_json(one) for one in found["timers"]),
        wall=float(found["wall"]),
        is_real=bool(found["is_real"]),
    )


def _timer_of_json(found: Mapping[str, Any]) -> tuple[Path, Kept]:
    facts = {name: unpacked(one) for name, one in found.items()}
    owner: Path = facts.pop("owner")
    return owner, Kept(**facts, cause=None)
