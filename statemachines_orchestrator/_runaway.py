"""Finds the loop in a cascade that does not end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._turns import Turn

__all__ = ["WATCHED", "loop_to"]

WATCHED = 4096
"""So many turns before the bound, turns begin to remember the turn that led to them."""
ENOUGH = 10
"""A loop that was gone round so often is one; fewer rounds count where they fill half the bound."""
ENOUGH_GROWING = 5
"""Where more waits than has run, one and the same turn that comes so often is a loop as well."""


def loop_to(turn: Turn, bound: int, *, growing: bool) -> tuple[str, ...] | None:
    """Return the loop that led to `turn`, topics and reactions alternately, or `None`.

    A loop is the shortest sequence of turns that the causes of `turn` repeat without a break,
    but for the last ones, which may lead out of it. Loops that branch are told by their growth.
    """
    path = [(cause.topic, cause.label) for cause in _causes(turn)]
    while path and path[0] not in path[1:]:
        del path[0]
    for period in range(1, len(path) // 2 + 1):
        stretch = period
        while stretch < len(path) and path[stretch] == path[stretch - period]:
            stretch += 1
        rounds = stretch // period
        if rounds >= ENOUGH or (rounds > 1 and 2 * stretch >= bound):
            return _names(path[:period])
    if growing and path and path.count(path[0]) >= ENOUGH_GROWING:
        return _names(path[: path.index(path[0], 1)])
    return None


def _causes(turn: Turn | None) -> Iterator[Turn]:
    while turn is not None:
        yield turn
        turn = turn.parent


def _names(path: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return topic, reaction, topic, …, a posted topic once, and the first one again at the end."""
    start = path.index(min(path))  # the same loop begins with the same topic, wherever it was cut
    loop = [*path[start::-1], *path[:start:-1]]
    names: list[str] = []
    for name in (name for node in loop for name in node):
        if not names or names[-1] != name:
            names.append(name)
    return tuple(names) if names[0] == names[-1] and len(loop) > 1 else (*names, names[0])
