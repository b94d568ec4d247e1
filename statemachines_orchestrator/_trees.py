"""The causal tree of a trace, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statemachines_orchestrator._telling import cause_in, told_in_a_line
from statemachines_orchestrator.records import Elapsed, Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statemachines_orchestrator.records import Record

__all__ = ["WIDTH", "tree"]

WIDTH = 100
DEEPEST = 20
"""So many levels are indented; of what is deeper the level is told in a number."""


def tree(records: Sequence[Record]) -> str:
    """Return one line a record, indented below what led to it; without recursion, however deep."""
    known: dict[int | None, Record] = {record.seq: record for record in records}
    below: dict[int | None, list[Record]] = {}
    roots: list[Record] = []
    for record in records:
        parent = cause_in(known, record)
        if isinstance(record, Settled):
            parent = _root_of(parent, known)
        if parent is None:
            roots.append(record)
        else:
            below.setdefault(parent.seq, []).append(record)
    lines: list[str] = []
    waiting = [(root, 0) for root in reversed(roots)]
    while waiting:
        record, level = waiting.pop()
        lines.append(_line(record, level, known))
        waiting.extend((one, level + 1) for one in reversed(below.get(record.seq, ())))
    return "".join(f"{line}\n" for line in lines)


def _root_of(record: Record | None, known: dict[int | None, Record]) -> Record | None:
    """Return the call from outside, or the timer, that led to a record."""
    while record is not None and not isinstance(record, Elapsed):
        parent = cause_in(known, record)
        if parent is None:
            break
        record = parent
    return record


def _line(record: Record, level: int, known: dict[int | None, Record]) -> str:
    indent = "  " * min(level, DEEPEST)
    if level > DEEPEST:
        indent += f"({level}) "
    if record.cause is not None and record.cause not in known:
        indent += "… "  # what led to it is not in the trace
    line = indent + told_in_a_line(record)
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
