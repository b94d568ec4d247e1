"""Fleets: many machines of one kind in one field, each under a key."""

from __future__ import annotations

from collections.abc import (
    Hashable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from itertools import islice
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from statemachines_orchestrator._engine import attaching
from statemachines_orchestrator._host import Machine, configuration_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.exceptions import (
    NotAMemberError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["Fleet"]

Key = TypeVar("Key", bound=Hashable)
Member = TypeVar("Member")

Default = TypeVar("Default")

_MOST_SHOWN = 6
_NONE: Any = object()
"""Stands for no member, and for no default."""


class Holding(Protocol):
    """The field of an orchestrator that holds a fleet: what the fleet calls."""

    @property
    def owner(self) -> Any:
        """The orchestrator."""

    def put(self, members: dict[Any, Any], new: Mapping[Any, Any]) -> Any:
        """Attach members and put them in; all of them or none. Return what went wrong after it."""

    def took(self, members: Mapping[Any, Any]) -> None:
        """Detach members that were taken out."""

    def moved(self, members: Mapping[Any, Any], wrong: list[Any]) -> None:
        """Tell of one move, and of what went wrong in it. No lock is in hand."""

    def key_of(self, member: Any) -> Any:
        """Return the key of a member."""


class Fleet(MutableMapping[Key, Member]):
    """A mapping from key to machine, in the order in which they were put in.

        class Warehouse(Orchestrator):
            items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

    The members are attached to the orchestrator when they are put in, and detached when they are
    taken out: then they are bare machines. A member may be an orchestrator as well.
    Topics name the field (`items.pick`); records tell the key.
    A fleet may be filled, grown and emptied in reactions and in callbacks.
    A member that is taken out in mid-step leaves when it is at rest: that step is announced.

    Putting in, taking out, and finding a key cost the same however many members there are.
    A new member under a known key takes the place of the old one, which is detached.
    Putting in raises what an orchestrator's constructor raises for a machine: `WrongMachineError`,
    `MachineIsTakenError`, `MachineIsBusyError`, `StateFieldIsNotUniqueError`, `DeclarationError`
    (a machine under two keys, an orchestrator that would hold itself), `UnsupportedHostError`;
    then nothing is changed.
    Where a join asks for the fleet, both are moves: outside of a cascade they open one, run what
    follows, and raise `ReactionErrors` for what fails in it; the move itself is done.
    A fleet that no orchestrator holds is an ordinary mapping.
    """

    __slots__ = ("__weakref__", "_holding", "_members")

    def __init__(
        self, members: Mapping[Key, Member] | Iterable[tuple[Key, Member]] = (), /
    ) -> None:
        self._members: dict[Key, Member] = dict(members)
        self._holding: Holding | None = None

    def __getitem__(self, key: Key) -> Member:
        return self._members[key]

    def __setitem__(self, key: Key, member: Member) -> None:
        self._put({key: member})

    def __delitem__(self, key: Key) -> None:
        self._take(lambda members: {key: members.pop(key)})

    def __iter__(self) -> Iterator[Key]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __reversed__(self) -> Iterator[Key]:
        return reversed(self._members)

    def __ior__(self, members: Mapping[Key, Member] | Iterable[tuple[Key, Member]]) -> Self:
        self._put(dict(members))
        return self

    def update(self, members: Any = (), /, **more: Any) -> None:
        """Put several members in, as one move; all of them or, if one is refused, none."""
        new: Any = dict(members, **more)
        self._put(new)

    @overload
    def pop(self, key: Key, /) -> Member: ...
    @overload
    def pop(self, key: Key, default: Member | Default, /) -> Member | Default: ...
    def pop(self, key: Key, default: Any = _NONE, /) -> Any:
        """Take a member out and return it, or `default`, if that is given and there is none."""
        taken = self._take(lambda members: {key: members.pop(key)} if key in members else {})
        if not taken and default is _NONE:
            raise KeyError(key)
        return taken[key] if taken else default

    def popitem(self) -> tuple[Key, Member]:
        """Take out the member that was put in last, as a dict does; `KeyError` if there is none."""
        return self._take(lambda members: dict([members.popitem()])).popitem()

    def clear(self) -> None:
        """Take all members out, as one move."""
        self._take(_emptied)

    def keys(self) -> KeysView[Key]:
        """Return a view of the keys."""
        return self._members.keys()

    def values(self) -> ValuesView[Member]:
        """Return a view of the members."""
        return self._members.values()

    def items(self) -> ItemsView[Key, Member]:
        """Return a view of keys and members."""
        return self._members.items()

    def _put(self, members: dict[Key, Member]) -> None:
        wrong: list[Any] = []
        with attaching:  # whether somebody holds the fleet, too, is known in it
            holding, known = self._holding, self._members
            new = {
                key: one
                for key, one in members.items()
                if key not in known or known[key] is not one
            }
            if holding is None:
                known.update(new)
            elif new:
                wrong = holding.put(known, new)
        if holding is not None and new:
            holding.moved(new, wrong)

    def _take(self, choose: Callable[[dict[Key, Member]], dict[Key, Member]]) -> dict[Key, Member]:
        """Take members out, as one move: those that `choose` removes and returns."""
        with attaching:
            holding, taken = self._holding, choose(self._members)
            if holding is not None:
                holding.took(taken)
        if holding is not None and taken:
            holding.moved(taken, [])
        return taken

    def key_of(self, member: Member) -> Key:
        """Return the key under which a member stands, whatever the size of the fleet.

        It tells that of a member that was taken out in mid-step, too, as long as it has not left.
        A fleet that no orchestrator holds is searched.
        Raises `NotAMemberError`, a `LookupError`, if it is none.
        """
        if self._holding is not None:
            key: Key = self._holding.key_of(member)
            return key
        for known, other in self._members.items():
            if other is member:
                return known
        raise NotAMemberError(shown(self), shown(member))

    @property
    def holder(self) -> Any:
        """The orchestrator that holds the fleet, `None` while none does."""
        return None if self._holding is None else self._holding.owner

    def hold(self, holding: Holding | None) -> None:
        """Let an orchestrator hold the fleet. It is the library that calls this."""
        self._holding = holding

    def arrange(self, members: Mapping[Key, Member]) -> None:
        """Hold exactly these members, in this order. It is the library that calls this."""
        self._members = dict(members)

    @recursive_repr()
    def __repr__(self) -> str:
        """Return `Fleet({'a': packed, 'b': picked})`; of a large one the first members."""
        members = [
            f"{shown(key)}: "
            + (configuration_of(member) if isinstance(member, Machine) else repr(member))
            for key, member in islice(list(self._members.items()), _MOST_SHOWN)
        ]
        more = len(self._members) - len(members)
        if more > 0:
            members.append(f"... {more} more")
        return f"Fleet({{{', '.join(members)}}})"

    def __getstate__(self) -> tuple[dict[Key, Member]]:
        """Return the members, without the orchestrator."""
        return (dict(self._members),)

    def __setstate__(self, state: tuple[dict[Key, Member]]) -> None:
        """Restore a copy, which no orchestrator holds."""
        self._members = dict(state[0])
        self._holding = None

    def __copy__(self) -> Self:
        """Return a fleet of the same members, which no orchestrator holds."""
        return type(self)(self._members)


def _emptied(members: dict[Key, Member]) -> dict[Key, Member]:
    """Empty a dictionary, and return what was in it."""
    taken = members.copy()
    members.clear()
    return taken
