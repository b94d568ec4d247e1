"""Folding: a stretch that comes again and again is told once, with its count."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    Item: TypeAlias = "tuple[str, ...] | Loop"

__all__ = ["Loop", "folded"]

ARROWS = frozenset(("began", "ignored", "sent", "timer"))
"""The kinds of items with which something begins."""
LONGEST = 64
"""The longest stretch that is looked for."""
OFTEN = 3
"""A stretch that comes so often is a loop."""


@attrs.frozen
class Loop:
    """Some items that come so many times, one after the other."""

    count: int
    items: tuple[Item, ...]


def folded(items: Sequence[Item]) -> list[Item]:
    """Return items with their repetitions folded, short ones first, so that loops may nest."""
    found = list(items)
    for length in range(1, LONGEST + 1):
        found = _folded(found, length)
    return found


def _folded(items: list[Item], length: int) -> list[Item]:
    """Fold the repetitions of stretches of one length; in one pass."""
    found: list[Item] = []
    at = end = 0  # up to `end` each item is like the one a stretch later: looked at once
    while at < len(items):
        end = max(at, end)
        while end + length < len(items) and items[end] == items[end + length]:
            end += 1
        count = (end - at) // length + 1
        stretch = tuple(items[at : at + length])
        if count >= OFTEN and _is_whole(stretch):
            found.append(Loop(count, stretch))
            at += count * length
        else:
            found.append(items[at])
            at += 1
    return found


def _begins(item: Item) -> bool:
    """Whether an item is an arrow, or begins with one."""
    return _begins(item.items[0]) if isinstance(item, Loop) else item[0] in ARROWS


def _is_whole(items: tuple[Item, ...]) -> bool:
    """Whether a stretch is one by itself.

    Every step that begins in it ends in it, and the other way round. If there is an arrow in it,
    it begins with one: else it would begin with the end of what came before.
    """
    active: dict[str, int] = {}
    if not _begins(items[0]) and any(map(_begins, items)):
        return False
    for item in items:
        if isinstance(item, Loop):
            continue
        if item[0] == "began":
            active[item[2]] = active.get(item[2], 0) + 1
        elif item[0] == "ended":
            active[item[1]] = active.get(item[1], 0) - 1
            if active[item[1]] < 0:
                return False
    return not any(active.values())
