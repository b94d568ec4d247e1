"""Finds the loop in a cascade that does not end.

A cascade without an end has lines, of turns of which each led to the next, without an end, and
there are only so many reactions and topics: on some line the same ones come back and back.
How often they have come back is told by the trail that every turn has behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator.exceptions import RunawayCascadeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statemachines_orchestrator._turns import Trail, Turn

__all__ = ["look"]

WATCHED = 1024
"""Trails are at least so long, in turns of the cascade, when a loop is looked for."""
FEW = 64
"""Where fewer turns wait, trails are cut now and then: so few waiting ones make new ones soon."""
ENOUGH = 10
"""What came back so often is in a loop; less counts where it fills half the bound."""
ENOUGH_GROWING = 3
"""So often is enough where what waits grows as the cascade does."""


def look(cascade: Any, turn: Turn, waiting: int) -> None:
    """Look for a loop at the bound of the turn to come; where nothing repeats, double the bound.

    Far from it trails are cut where few turns wait: what is over is not kept.
    """
    owner = cascade.looked_at = turn.owner
    bounds: dict[int, int] = cascade.bounds or {}
    bound = bounds.get(id(owner), turn.place.max_reactions)
    count: int = cascade.turns + waiting
    cascade.looks_at = count + WATCHED
    if bound is None:
        return
    cascade.is_watched = True
    if count > bound:
        growing = waiting >= cascade.turns or 2 * waiting >= 3 * cascade.waited > 0
        loop = _loop_in(cascade.queue, bound, growing=growing)
        if loop is not None:
            raise RunawayCascadeError(owner.__declaration__.where, cascade.turns, waiting, loop)
        while bound < count:
            bound *= 2
        cascade.bounds = {**bounds, id(owner): bound}
        cascade.waited = waiting
    elif (
        waiting < FEW
        and cascade.turns - cascade.cut_at >= WATCHED
        and count + max(WATCHED, bound // 4) <= bound
    ):
        cascade.cut_at = cascade.turns
        for one in cascade.queue:
            one.trail = None
    cascade.looks_at = min(bound, cascade.looks_at)


def _loop_in(waiting: Iterable[Turn], bound: int, *, growing: bool) -> tuple[str, ...] | None:
    """Return the loop that led to one of the turns, topics and reactions alternately, or `None`.

    A loop is the shortest sequence of turns that a trail repeats without a break. Where a loop
    branches, or chooses its way, it is what lies between a turn and its like.
    """
    trails = [list(_back(turn)) for turn in _outermost(waiting)]
    for trail in trails:
        for period in range(1, len(trail) // 2 + 1):
            if trail[0] == trail[period]:
                stretch = _repeated(trail, period)
                if stretch >= ENOUGH * period or (stretch > period and 2 * stretch >= bound):
                    return _names(trail[:period])
    for trail in trails:
        if trail.count(trail[0]) >= (ENOUGH_GROWING if growing else ENOUGH):
            return _names(trail[: trail.index(trail[0], 1)])
    return None


def _outermost(waiting: Iterable[Turn]) -> list[Turn]:
    """Return of all turns that are alike the first and the last."""
    first: dict[Any, Turn] = {}
    last: dict[Any, Turn] = {}
    for turn in waiting:
        what = turn.topic, turn.label
        first.setdefault(what, turn)
        last[what] = turn
    return [*first.values(), *(turn for what, turn in last.items() if turn is not first[what])]


def _back(turn: Turn) -> Iterator[tuple[str, str]]:
    """Yield topic and reaction of a turn, and of each that led to it."""
    trail: Trail | None = turn.as_trail()
    while trail is not None:
        topic, label, trail = trail
        yield topic, label


def _repeated(trail: list[tuple[str, str]], period: int) -> int:
    """Return how far the trail goes back by repeating its last `period` turns; whole rounds."""
    stretch = period
    while stretch < len(trail) and trail[stretch] == trail[stretch - period]:
        stretch += 1
    return stretch


def _names(path: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return topic, reaction, topic, …, a posted topic once, and the first one again at the end."""
    start = path.index(min(path))  # the same loop begins with the same topic, wherever it was cut
    loop = [*path[start::-1], *path[:start:-1]]
    names: list[str] = []
    for name in (name for node in loop for name in node):
        if not names or names[-1] != name:
            names.append(name)
    return tuple(names) if names[0] == names[-1] and len(loop) > 1 else (*names, names[0])
