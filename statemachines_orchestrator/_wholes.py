"""The whole: an orchestrator and everything below it, as it stands, read off and written back.

Nothing here runs a callback, or announces anything. Data is copied deep; what in it points to a
machine, an orchestrator, a fleet, a model or a pending post of the whole becomes a `Ref`, and
points to the one in its place when it is written back.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import MutableSet
from contextlib import suppress
from copy import deepcopy
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from statemachine.exceptions import InvalidStateValue

from statemachines_orchestrator._engine import put_back
from statemachines_orchestrator._host import HOST_IS_3, facts_of, ordered_set
from statemachines_orchestrator._members import is_orchestrator, members_of, values_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._packing import Ref, attributes_in, slots_of
from statemachines_orchestrator._places import PLACE, longer, place_of
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterable, Iterator, Mapping

    from statemachines_orchestrator._timers import Kept

__all__ = [
    "Data",
    "Local",
    "Memo",
    "Path",
    "Whole",
    "attributes_of_model",
    "attributes_of_orchestrator",
    "kept",
    "kept_post",
    "local_of",
    "names_of",
    "parts_of",
    "put_attributes",
    "put_local",
    "raw_value",
    "refs_to",
    "restored",
    "restored_post",
    "told_by_model",
    "told_by_orchestrator",
    "words_of",
]

Path: TypeAlias = "tuple[Hashable, ...]"
"""The names and keys that lead from the outermost orchestrator to something."""
History: TypeAlias = "tuple[tuple[str, tuple[str, ...]], ...]"
Local: TypeAlias = "tuple[tuple[str, ...], History, bool]"
"""What a machine tells of itself: the ids of its active states, none of one that has not begun;
what its history states remember; and whether it has ended, where the host notes that (3.x)."""


class Unset(enum.Enum):
    """Stands for the value of a slot that is not set."""

    UNSET = "unset"


UNSET = Unset.UNSET
CONTENTS = "what it holds"
"""Stands among the attributes of a container for what it holds, as arguments to put it in."""
_ATOMS = frozenset((bool, bytes, complex, float, int, str, type(None), Unset))
_PUTS: dict[Any, str] = {
    OrderedDict: "__setitem__",
    dict: "__setitem__",
    list: "append",
    set: "add",
    deque: "append",
    bytearray: "append",
}
"""The built-in containers, and by which of their own methods something is put into each."""
_MOST_KEPT = 1000
"""So many things that cannot be copied are looked for in one value."""


# Machines -------------------------------------------------------------------------------------


def local_of(machine: Any) -> Local:
    """Return what a machine tells of itself. Raises the host's error for a state that is none."""
    value = machine.current_state_value
    states = machine.states_map
    try:
        if value is None:
            ids: tuple[str, ...] = ()
        elif HOST_IS_3 and issubclass(value.__class__, MutableSet):
            ids = tuple(states[one].id for one in value)
        else:
            ids = (states[value].id,)
    except KeyError:
        raise InvalidStateValue(value) from None
    if not HOST_IS_3:
        return ids, (), False
    history = machine.history_values
    remembered = _remembered(history) if history else ()
    return ids, remembered, machine.is_terminated


def _remembered(history: Mapping[str, Iterable[Any]]) -> History:
    return tuple(
        (name, tuple(state.id for state in states)) for name, states in sorted(history.items())
    )


def raw_value(machine_class: Any, ids: tuple[str, ...]) -> Any:
    """Return the value by which the host keeps a configuration on the model."""
    states = facts_of(machine_class).by_id
    values = [states[one].value for one in ids]
    if len(values) < 2:  # noqa: PLR2004 - none or one
        return values[0] if values else None
    return ordered_set(values)


def put_local(machine: Any, local: Local) -> None:
    """Let an attached machine at rest stand so; no callback runs."""
    ids, history, has_ended = local
    value = raw_value(machine.__class__, ids)
    if value is None:
        setattr(machine.model, machine.state_field, None)
    else:
        machine.current_state_value = value
    if HOST_IS_3:
        states = facts_of(machine.__class__).by_id
        machine.history_values = {
            name: [states[one] for one in remembered] for name, remembered in history
        }
    put_back(machine, has_begun=value is not None, has_ended=has_ended)


# Data -----------------------------------------------------------------------------------------


@attrs.frozen
class Data:
    """Values by name, copied deep, and the names of those that cannot be copied."""

    values: Mapping[str, Any] = attrs.Factory(dict[str, Any])
    lost: tuple[str, ...] = ()


NO_DATA = Data()


Memo: TypeAlias = dict[Any, Any]
"""What is known while data is copied: by the identity of what was copied, the copy."""


def kept(values: Mapping[str, Any], memo: Memo, *, is_whole: bool = False) -> Data:
    """Return values as data; the memo holds what points to the whole.

    What in them cannot be copied stays in the copy, the very object, and the rest is copied.
    A value that is to be copied as a whole, or not at all, is lost.
    """
    if not values:
        return NO_DATA
    copies: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in values.items():
        if value.__class__ in _ATOMS:
            copies[name] = value
            continue
        try:
            copies[name] = _copied(value, memo, is_whole=is_whole)
        except Exception:  # noqa: BLE001 - a connection, a lock: it is told when it is missing
            lost.append(name)
    return Data(copies, tuple(lost))


def restored(values: Mapping[str, Any], live: Mapping[Ref, Any], memo: Memo) -> Any:
    """Return values as they are written back: copies, which point to what lives."""
    memo[Ref] = live
    return {
        name: value if value.__class__ in _ATOMS else _copied(value, memo)
        for name, value in values.items()
    }


def _copied(value: Any, memo: Memo, *, is_whole: bool = False) -> Any:
    """Return a deep copy.

    What cannot be copied is noted in the memo as its own copy, and it is tried again. That is given
    up where there is no end of it, as for an object that makes itself a new lock each time.
    """
    known = len(memo)
    for _ in range(_MOST_KEPT):
        try:
            return deepcopy(value, memo)
        except Exception as error:
            for key in list(memo)[known:]:  # what a copy that failed has left
                del memo[key]
            if is_whole:
                raise
            found = next((one for one in _being_copied(error) if id(one) not in memo), value)
        memo[id(found)] = found
        known += 1
    memo[id(value)] = value
    return value


def _being_copied(error: Exception) -> list[Any]:
    """Return what was being copied when an error was raised, the innermost first."""
    frames = [frame for frame, _line in walk_tb(error.__traceback__)]
    return [one.f_locals["x"] for one in reversed(frames) if one.f_code is deepcopy.__code__]


def told_by_orchestrator(owner: Any) -> dict[str, Any]:
    """Return the plain data of an orchestrator: fields that hold no machines, and attributes."""
    return _without_machines(owner, attributes_in(owner))


def attributes_of_orchestrator(owner: Any) -> dict[str, Any]:
    """Return the same, with all that is not told: what is to be put back as it was."""
    return _without_machines(owner, _everything_in(owner))


def _without_machines(owner: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    machines = owner.__declaration__.fields
    return {name: value for name, value in values.items() if name not in machines and name != PLACE}


def told_by_model(model: Any, state_fields: Iterable[str]) -> dict[str, Any] | None:
    """Return what a model keeps beside states; `None` for one that does not tell."""
    if not (attrs.has(model.__class__) or _tells(model.__class__)):
        return None
    return {name: value for name, value in attributes_in(model).items() if name not in state_fields}


def attributes_of_model(model: Any, state_fields: Iterable[str]) -> dict[str, Any]:
    """Return what a model keeps beside states, wherever: what is to be put back as it was."""
    values = _everything_in(model)
    return {name: value for name, value in values.items() if name not in state_fields}


def _tells(kind: type) -> bool:
    """Whether the `__dict__` of an instance is all that it keeps."""
    slots = ("__dict__", "__weakref__")
    return kind.__dictoffset__ != 0 and not any(
        base.__module__ == "builtins"
        or any(name not in slots for name in _several(vars(base).get("__slots__", ())))
        for base in kind.__mro__[:-1]
    )


def _several(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _everything_in(thing: Any) -> dict[str, Any]:
    """Return all that an object keeps: in its `__dict__`, in its slots, and as a container.

    A slot that is not set is there too: else nobody would see that something may be set later.
    """
    kind = cast("Any", type(thing))
    found: dict[str, Any] = dict(getattr(thing, "__dict__", ()))
    for name, slot in slots_of(kind).items():
        try:
            found[name] = slot.__get__(thing)
        except AttributeError:
            found[name] = UNSET
    base = _container_of(kind)
    if base is not None:
        is_mapping = hasattr(base, "items")
        items = base.items(thing) if is_mapping else zip(base.__iter__(thing), strict=True)
        found[CONTENTS] = list(items)
    return found


def put_attributes(thing: Any, values: Mapping[str, Any], known: Iterable[str]) -> None:
    """Let something have exactly these of its `known` attributes; none of its code runs."""
    for name in known:
        if name not in values:
            object.__delattr__(thing, name)
    kind = cast("Any", type(thing))
    slots = slots_of(kind) if values else {}
    for name, value in values.items():
        if value is UNSET:
            with suppress(AttributeError):  # it is not set now either
                slots[name].__delete__(thing)
        elif name in slots:
            slots[name].__set__(thing, value)
        elif name != CONTENTS:
            object.__setattr__(thing, name, value)
        else:
            base = _container_of(kind)
            base.clear(thing)
            for one in value:
                getattr(base, _PUTS[base])(thing, *one)


def _container_of(kind: Any) -> Any:
    """Return the built-in class by which a class holds things, `None` if it does not."""
    for base in kind.__mro__:
        if base in _PUTS:
            return base
    return None


def kept_post(value: Kept, memo: Memo, *, is_whole: bool = False) -> tuple[Kept, tuple[str, ...]]:
    """Return a post whose arguments are its own, and the names of what could not be copied."""
    data = kept(_arguments_of(value), memo, is_whole=is_whole)
    return attrs.evolve(value, **data.values), data.lost


def restored_post(value: Kept, live: Mapping[Ref, Any], memo: Memo) -> Kept:
    """Return a post whose arguments point to what lives."""
    return attrs.evolve(value, **restored(_arguments_of(value), live, memo))


def _arguments_of(value: Kept) -> dict[str, Any]:
    return {"machine": value.machine, "args": value.args, "kwargs": value.kwargs}


def refs_to(
    orchestrators: Iterable[Any],
    machines: Iterable[Any],
    held: Iterable[Any],
    models: Mapping[int, Any],
    delays: Mapping[int, Any],
) -> dict[Ref, Any]:
    """Return what lives by what stands for it in data; the numbers tell it apart.

    `held` is what each machine field of each orchestrator holds: the fleets among it.
    """
    kinds: dict[str, Mapping[int, Any]] = {
        "orchestrator": dict(enumerate(orchestrators)),
        "machine": dict(enumerate(machines)),
        "fleet": {at: one for at, one in enumerate(held) if isinstance(one, Fleet)},
        "model": models,
        "timer": delays,
    }
    return {Ref(kind, at): one for kind, ones in kinds.items() for at, one in ones.items()}


# Paths ----------------------------------------------------------------------------------------


def parts_of(path: Path, owners: Container[Path]) -> Iterator[tuple[Hashable, bool]]:
    """Yield the parts of a path, and whether each is the key of a fleet.

    What stands behind the path of an orchestrator is the name of a field.
    """
    for at, part in enumerate(path):
        yield part, path[:at] not in owners


def names_of(path: Path, owners: Container[Path]) -> str:
    """Return the names of a path, by which topics call what it leads to, keys left out."""
    return ".".join(str(part) for part, is_key in parts_of(path, owners) if not is_key)


def words_of(path: Path, owners: Container[Path]) -> str:
    """Return a path in words: `order`, `items['a']`; nothing for the outermost orchestrator."""
    parts = parts_of(path, owners)
    words = (f"[{shown(part)}]" if is_key else f".{part}" for part, is_key in parts)
    return "".join(words).removeprefix(".")


# The whole ------------------------------------------------------------------------------------


class Whole:
    """The live objects of an orchestrator, by the paths that lead to them, in order."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.orchestrators: dict[Path, Any] = {}
        self.machines: dict[Path, Any] = {}
        self._walk(owner, ())
        models = {id(one.model): one.model for one in self.machines.values()}
        self.models: list[Any] = list(models.values())
        self.listeners: list[Any] = []
        """What hears of the machines beside their models, where that is to be put back too."""

    def _walk(self, owner: Any, path: Path) -> None:
        self.orchestrators[path] = owner
        for name, key, member in members_of(owner):
            below = longer(path, name, key)
            if is_orchestrator(member):
                self._walk(member, below)
            else:
                self.machines[below] = member

    def places(self) -> list[Any]:
        """Return the places of the orchestrators."""
        return [place_of(owner) for owner in self.orchestrators.values()]

    def timers(self) -> list[tuple[Path, Any, Any]]:
        """Return what is pending, in the order in which it comes due: path, timer, value."""
        found = [
            (path, timer, value)
            for path, owner in self.orchestrators.items()
            for timer, value in _timers_of(owner)
        ]
        return sorted(found, key=lambda one: (one[2].due, getattr(one[1].handle, "order", 0)))

    def live(self, delays: Mapping[int, Any]) -> dict[Ref, Any]:
        """Return everything that data may point to, by what stands for it."""
        owners = self.orchestrators.values()
        held = (value for owner in owners for value in values_of(owner).values())
        models = dict(enumerate(self.models))
        listening = {Ref("listener", at): one for at, one in enumerate(self.listeners)}
        return {**refs_to(owners, self.machines.values(), held, models, delays), **listening}

    def memo(self, timers: Iterable[tuple[Path, Any, Any]]) -> Memo:
        """Return what `kept` needs to tell what points to the whole."""
        delays = {at: timer for at, (_path, timer, _value) in enumerate(timers)}
        return {id(one): ref for ref, one in self.live(delays).items()}

    def state_fields(self) -> dict[int, list[str]]:
        """Return, by the identity of each model, the fields in which it keeps states."""
        fields: dict[int, list[str]] = {}
        for machine in self.machines.values():
            fields.setdefault(id(machine.model), []).append(machine.state_field)
        return fields


def _timers_of(owner: Any) -> list[tuple[Any, Any]]:
    timers = place_of(owner).timers
    return [] if timers is None else timers.kept()
