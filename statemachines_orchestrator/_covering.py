"""What of an orchestration ran: states, transitions, reactions, joins, routes and timeouts.

    coverage = wiring_coverage(Shop, [trace, other])
    assert not coverage.joins.missing
    print(coverage)

What is declared is read from the wiring and the machines of a class, what ran from records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from statemachine import Event

from statemachines_orchestrator._graphs import boxes_of, traces_in, wires_of
from statemachines_orchestrator._telling import names_of_path
from statemachines_orchestrator._trees import WIDTH
from statemachines_orchestrator._wiring import class_of
from statemachines_orchestrator.records import Started, Transitioned
from statemachines_orchestrator.topics import canonical

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from statemachines_orchestrator._graphs import Arc, MachineBox, StateBox
    from statemachines_orchestrator._wiring import Wire
    from statemachines_orchestrator.orchestrator import Orchestrator
    from statemachines_orchestrator.records import Record
    from statemachines_orchestrator.traces import Trace

__all__ = ["Covered", "Tally", "WiringCoverage", "wiring_coverage"]

_MOST_REMEMBERED = 10_000
"""Event names are open-ended on 3.x (`done.invoke.<random>`); the rows of so many are kept."""


@attrs.frozen
class Covered:
    """What of one kind ran."""

    seen: Mapping[str, int] = attrs.field(hash=False)
    """Everything that is declared, in its order, with how often it ran: 0 if never."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What never ran, in the order of declaration."""
        return tuple(name for name, times in self.seen.items() if not times)

    @property
    def ratio(self) -> float:
        """The part that ran, from 0.0 to 1.0; 1.0 where nothing is declared."""
        return _part(self)


@attrs.frozen
class WiringCoverage:
    """What of an orchestration ran, and how often. `str()` of it is a table, and what is missing.

    Everything declared is of one kind: a join, a timeout, or else a route, or else a reaction.
    Names are those of traces without the keys of fleets: `desks.capture, on payment.authorize`.
    """

    states: Covered
    """`order.shipped`, at every level, with how often it was entered.

    A state that was active and was never heard of as entered, as an initial one, counts once.
    """
    transitions: Covered
    """`order.process: pending → processing`, or `order: pending → processing` without an event.

    Several with the same event, source and target are one. A transition without a target leads to
    its source. One declared for a pattern, `error.*`, counts for each event that it matches.
    """
    reactions: Covered
    """Methods with `@on`, `@on_enter` and `@on_exit`, once for each of their topics."""
    joins: Covered
    """What `@when` decorates, and the routes of `when`: `pack, on order.paid & items.picked`."""
    routes: Covered
    """Routes of `on`, `on_enter` and `on_exit`, once for each of their topics."""
    timeouts: Covered
    """What `@timeout` decorates, and the routes of `timeout`, once for each of their states."""

    @property
    def ratio(self) -> float:
        """The part of everything declared that ran, from 0.0 to 1.0."""
        return _part(*self._kinds.values())

    @property
    def missing(self) -> dict[str, tuple[str, ...]]:
        """What never ran, by kind: `{"joins": ("pack, on ...",)}`; no kind that is complete."""
        return {kind: one.missing for kind, one in self._kinds.items() if one.missing}

    @property
    def _kinds(self) -> dict[str, Covered]:
        return attrs.asdict(self, recurse=False)

    def __str__(self) -> str:
        lines = [_row(kind, one) for kind, one in self._kinds.items()]
        lines.append(_row("all", *self._kinds.values()))
        for kind, names in self.missing.items():
            lines += ["", f"missing {kind}:", *(f"  {name}" for name in names)]
        return "\n".join(one if len(one) <= WIDTH else f"{one[: WIDTH - 1]}…" for one in lines)


def _numbers(*several: Covered) -> tuple[int, int]:
    """Return how much ran, and of how much."""
    declared = sum(len(one.seen) for one in several)
    return declared - sum(len(one.missing) for one in several), declared


def _part(*several: Covered) -> float:
    seen, declared = _numbers(*several)
    return seen / declared if declared else 1.0


def _row(kind: str, *several: Covered) -> str:
    """Return a line of the table; 100 % is told of what is complete alone."""
    seen, declared = _numbers(*several)
    percent = 100 * seen // declared if declared else 100
    return f"{kind:<12}{f'{seen}/{declared}':>13}{percent:>5} %"


def wiring_coverage(
    orchestrator: Orchestrator | type[Orchestrator], traces: Trace | Iterable[Trace]
) -> WiringCoverage:
    """Return what of an orchestrator, and of what it holds at any depth, ran in traces.

    `traces` is one trace, live or read, or several, which add up. Of a class everything that its
    fields may hold is declared; of an instance what they hold now, and what they may hold where
    they are empty. A class that holds its own kind is covered once, an instance as deep as it goes.

    A reaction ran when its turn began: not if `cond` said no. What `subscribe` added is not
    declared; it counts for a reaction only if it has the name and the topic of one. Of an
    orchestrator that another one holds, records tell the way from the outermost: cover that one.
    Raises `DeclarationError` for what is no orchestrator or no trace, and for a class whose
    annotations only its first instance resolves.
    """
    where = "wiring_coverage()"
    tally = Tally(orchestrator, where)
    for trace in traces_in(traces, where):
        for record in trace:
            tally.hear(record)
    return tally.coverage()


@attrs.define(eq=False)
class _Row:
    """One thing that is declared."""

    name: str
    around: _Row | None = None
    """Of a state, the one that it is in."""
    times: int = 0
    is_shown: bool = False
    """Whether a state was active at some time."""

    def show(self) -> None:
        """Note that a state was active, and so those around it."""
        row: _Row | None = self
        while row is not None and not row.is_shown:
            row.is_shown = True
            row = row.around


class Tally:
    """Counts what runs, record by record."""

    def __init__(
        self, orchestrator: Orchestrator | type[Orchestrator], where: str = "Tally()"
    ) -> None:
        given: Any = orchestrator
        cls = class_of(given, where)
        instance = None if given is cls else given
        self._states: dict[tuple[tuple[str, ...], str], _Row] = {}
        """By the names that lead to a machine, and the id."""
        self._arcs: dict[tuple[str, ...], dict[Arc, _Row]] = {}
        """By these names, the transitions."""
        self._turns: dict[str, dict[tuple[tuple[str, ...], str, str], _Row]] = {
            kind: {} for kind in ("reactions", "joins", "routes", "timeouts")
        }
        """Of each kind, by the names that lead to an orchestrator, the reaction and the topic."""
        self._remembered: dict[Hashable, list[_Row]] = {}
        """What a record counts for, by what of it matters."""
        for box in boxes_of(cls, instance):
            self._declare(box)
        for prefix, wire in wires_of(cls, instance):
            row = _Row(f"{prefix}{wire.reaction}, on {wire.topic}")
            key = (tuple(prefix.split(".")[:-1]), wire.reaction, wire.topic)
            self._turns[_kind(wire)][key] = row

    def _declare(self, box: MachineBox) -> None:
        """Note the states and transitions of a machine; of a history state those that lead to it.

        What leads on from there is a part of the transition to it, and no transition of its own.
        """
        names = tuple(box.path.split("."))
        states = list(_inside(box.states))
        for around, state in states:
            if not state.is_history:
                outer = None if around is None else self._states[names, around.id]
                self._states.setdefault((names, state.id), _Row(f"{box.path}.{state.id}", outer))
        pseudo = {state.id for _around, state in states if state.is_history}
        for arc in box.arcs:
            if arc.source not in pseudo:
                self._arcs.setdefault(names, {})[arc] = _Row(_told(box.path, arc))

    def hear(self, record: Record) -> None:
        """Add what a record tells."""
        names = tuple(names_of_path(record)) if record.keys else record.path
        key: tuple[Any, ...]
        if isinstance(record, Transitioned):
            move = record.transition or (record.source, record.target)
            key = (names, record.event, move, record.exited, record.entered)
        elif isinstance(record, Started):
            key = (names, record.name, record.topic)
        else:
            return
        rows = self._remembered.get(key)
        if rows is None:
            rows = self._remember(record, names, key)
        for row in rows:
            row.times += 1

    def _remember(self, record: Any, names: tuple[Any, ...], key: tuple[Any, ...]) -> list[_Row]:
        """Work out what a record counts for, and all others like it."""
        if isinstance(record, Started):
            rows = [turns[key] for turns in self._turns.values() if key in turns]
        else:
            source = getattr(record.source, "id", record.source)
            self.see(names, (source, *record.exited, *record.entered))
            entered = [(names, state) for state in record.entered]
            rows = [self._states[state] for state in entered if state in self._states]
            ends = source, getattr(record.target, "id", record.target) or source
            event = None if record.event is None else str(record.event)
            for arc, row in self._arcs.get(names, {}).items():
                if (arc.source, arc.targets[0]) == ends and _takes(arc.event, event):
                    rows.append(row)
            key = (names, event, *key[2:])  # a bound event holds its machine
        if len(self._remembered) < _MOST_REMEMBERED:
            self._remembered[key] = rows
        return rows

    def see(self, names: tuple[str, ...], states: Iterable[str]) -> None:
        """Note that these states, by their ids, are active in the machine that `names` lead to."""
        for state in states:
            row = self._states.get((names, state))
            if row is not None:
                row.show()

    def coverage(self) -> WiringCoverage:
        """Return what ran until now, as a value."""
        arcs = (row for rows in self._arcs.values() for row in rows.values())
        return WiringCoverage(
            states=_covered(self._states.values()),
            transitions=_covered(arcs),
            **{kind: _covered(turns.values()) for kind, turns in self._turns.items()},
        )


def _covered(rows: Iterable[_Row]) -> Covered:
    return Covered({row.name: row.times or int(row.is_shown) for row in rows})


def _kind(wire: Wire) -> str:
    """Return what something is that is declared."""
    kinds = {"when": "joins", "timeout": "timeouts"}
    return kinds.get(wire.kind, "routes" if wire.targets else "reactions")


def _inside(
    states: Iterable[StateBox], around: StateBox | None = None
) -> Iterator[tuple[StateBox | None, StateBox]]:
    """Yield all states, outermost first, each after the one that it is in."""
    for state in states:
        yield around, state
        yield from _inside(state.inside, state)


def _told(path: str, arc: Arc) -> str:
    """Return `order.process: pending → processing`."""
    event = f".{arc.event}" if arc.event else ""
    return f"{path}{event}: {arc.source} → {' '.join(arc.targets)}"


def _takes(declared: str, event: str | None) -> bool:
    """Whether a transition that is declared for one event, or for none, takes an event."""
    if event is None or not declared:
        return event is None and not declared
    sent, known = canonical(event), Event(declared)
    return sent == declared or (hasattr(known, "match") and known.match(sent))
