"""What stands in the fields of an orchestrator: machines, fleets, orchestrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._places import NO_KEY, longer
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = [
    "is_orchestrator",
    "machines_at",
    "machines_below",
    "members_in",
    "members_of",
    "values_of",
]


def is_orchestrator(value: Any) -> bool:
    """Whether a value is an orchestrator."""
    return hasattr(value.__class__, "__declaration__")


def values_of(owner: Any, declaration: Any = None) -> dict[str, Any]:
    """Return what the fields hold, `None` where nothing was given yet."""
    fields = (declaration or owner.__declaration__).fields
    return {name: getattr(owner, name, None) for name in fields}


def members_in(value: Any) -> Iterator[tuple[Hashable, Any]]:
    """Yield what stands in one field: what it holds itself, or a fleet's members by key."""
    fleet = value  # what the type checkers do not narrow to a fleet of unknown things
    if isinstance(value, Fleet):
        yield from list(fleet.items())
    elif value is not None:
        yield NO_KEY, value


def members_of(owner: Any) -> Iterator[tuple[str, Hashable, Any]]:
    """Yield everything that stands in the fields: name, key, machine or orchestrator."""
    for name, value in values_of(owner).items():
        for key, member in members_in(value):
            yield name, key, member


def machines_at(
    owner: Any, names: str, keys: tuple[Hashable, ...] = ()
) -> Iterator[tuple[tuple[Hashable, ...], Any]]:
    """Yield the machines under some names, `desks.order`, with the keys that lead there."""
    name, _, rest = names.partition(".")
    for key, member in members_in(getattr(owner, name, None)):
        below = keys if key is NO_KEY else (*keys, key)
        if rest:
            yield from machines_at(member, rest, below)
        else:
            yield below, member


def machines_below(
    owner: Any, path: tuple[Any, ...] = (), prefix: str = ""
) -> Iterator[tuple[tuple[Any, ...], str, Any]]:
    """Yield every machine at any depth, in the order of fields and of members.

    With it the path that leads there, and the names alone, by which topics call it.
    """
    for name, key, member in members_of(owner):
        below = longer(path, name, key)
        if is_orchestrator(member):
            yield from machines_below(member, below, f"{prefix}{name}.")
        else:
            yield below, prefix + name, member
