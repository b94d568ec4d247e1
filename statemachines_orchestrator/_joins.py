"""Joins: reactions to several machines being in certain states together.

A join is a receiver of the signals of its machines, and remembers of each what it told when it was
last at rest. At rest the cascade judges the joins whose machines have moved.
A join has one bit, its value at the last point of rest, and fires when that turns true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._engine import is_in_mid_step, seam_of
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._turns import ReactionTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator.records import Record

__all__ = ["Join", "JoinPlan", "Movement", "Term", "judge", "take_over"]


@attrs.frozen
class Term:
    """One argument of a join, resolved."""

    quantifier: str | None
    """`every`, `some`, `none` or `at_least`, where the machines are members of a fleet."""
    count: int
    states: Mapping[tuple[str, ...], frozenset[str]]
    """By the names that lead to a machine, the ids of the states."""

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """The names that lead to each machine."""
        return tuple(self.states)

    @property
    def field(self) -> str:
        """The field of the fleet."""
        return self.paths[0][0]

    def counts(self, inside: int, members: int) -> bool:
        """Whether so many of a fleet's members being in one of the states is enough."""
        if self.quantifier == "every":
            return inside == members > 0
        if self.quantifier == "none":
            return inside == 0 < members
        return inside >= max(self.count, 1)


@attrs.frozen
class JoinPlan:
    """What a join asks for: all of its terms."""

    text: str
    """The join as it is told: `order.shipped & every(items.packed)`."""
    terms: tuple[Term, ...]


_NOTHING: frozenset[str] = frozenset()


class Movement:
    """What has moved of a join's machines since it was last judged."""

    __slots__ = ("cause", "parts", "record")

    def __init__(self) -> None:
        self.record: Record | None = None
        """The last transition of one of the machines, `None` if members came or went only."""
        self.cause: int | None = None
        self.parts: dict[Any, None] = {}
        """The paths of machines, and the terms and keys of members."""


class JoinTurn(ReactionTurn):
    """The turn of a join's reaction. Its condition is asked at the edge, not when it comes."""

    __slots__ = ("_cause",)

    def __init__(self, join: Join, movement: Movement) -> None:
        super().__init__(join.place, join.plan, join.plan.join.text, movement.record)
        self._cause = movement.cause

    @property
    def cause(self) -> int | None:
        """The last transition of one of the machines, or what put in or took out a member."""
        return self._cause

    def ask(self) -> bool:
        """Ask the condition."""
        if self.plan.cond is None:
            return True
        here.set(self)
        self.seq = self.cause  # should it raise, what led to it is the cause of its `Failed`
        return super().allowed()

    def allowed(self) -> bool:
        """Return yes: it was asked at the edge."""
        return True


class Join:
    """One join of one orchestrator."""

    __slots__ = ("in_cascade", "index", "known", "members", "place", "plan", "risen")

    def __init__(
        self,
        place: Place,
        plan: Any,
        index: int,
        in_cascade: Callable[[Callable[[], None]], None],
    ) -> None:
        self.place = place
        self.plan = plan
        self.index = index
        self.in_cascade = in_cascade
        self.known: dict[tuple[str, ...], frozenset[str]] = {}
        """The active states of each machine, as of its last rest."""
        self.members: dict[int, dict[Hashable, None]] = {}
        """By term, the keys of the fleet's members that are in one of its states."""
        self.risen: dict[str, object] = {}
        """Holds one entry while the join is true: to set and to clear it is one step each."""
        for part in self._all_parts():
            self._look(part)
        if self._holds():
            self.risen["true"] = self

    @property
    def __name__(self) -> str:
        return str(self.plan.name)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its arguments: all of them must hold."""
        terms: tuple[Term, ...] = self.plan.join.terms
        return terms

    # What moved ---------------------------------------------------------------------------

    def __call__(self, _sender: Any, *, record: Record) -> None:
        """Note that one of its machines took a transition."""
        path = record.path[len(self.place.path) :]
        self.in_cascade(lambda: self.touch(path, record))

    def concerns(self, name: str) -> bool:
        """Whether it asks for what stands under `name`, in it or around it."""
        return any(
            other == name or other.startswith(name + ".") or name.startswith(other + ".")
            for other in self.names()
        )

    def names(self) -> dict[str, None]:
        """Return the names of the fields that hold its machines: `order`, `desk.order`."""
        return {".".join(path): None for term in self.terms for path in term.paths}

    def touch(self, path: tuple[Hashable, ...], record: Record | None = None) -> None:
        """Note on the current cascade what moved: the machine at `path`, or around or below it."""
        cascade = joined(here.get())
        moved: dict[Join, Movement] = cascade.moved or {}
        cascade.moved = moved
        movement = moved.setdefault(self, Movement())
        movement.record = record or movement.record
        movement.cause = here.get().seq if record is None else record.seq
        for index, term in enumerate(self.terms):
            if term.quantifier is not None:
                if path[0] == term.field:
                    movement.parts[index, path[1]] = None
            else:
                for other in term.paths:
                    length = min(len(path), len(other))
                    if path[:length] == other[:length]:
                        movement.parts[other] = None

    # At rest ------------------------------------------------------------------------------

    def judge(self, movement: Movement) -> bool:
        """Look at what moved, and return whether the join has become true by it.

        Several threads may judge a join at once: one of them sets the bit.
        """
        before = self.risen.get("true")
        for part in movement.parts:
            self._look(part)
        if self._holds():
            claim = object()
            return self.risen.setdefault("true", claim) is claim
        if self.risen.get("true") is before:  # else it has fallen and risen in another thread
            self.risen.pop("true", None)
        return False

    def _all_parts(self) -> list[Any]:
        parts: list[Any] = []
        for index, term in enumerate(self.terms):
            if term.quantifier is None:
                parts.extend(term.paths)
            else:
                fleet = getattr(self.place.owner, term.field)
                parts.extend((index, key) for key, _member in members_in(fleet))
        return parts

    def _look(self, part: Any) -> None:
        """Look at the states of a machine, or of the member of a fleet."""
        if isinstance(part[0], str):
            machine = _machine_at(self.place.owner, part)
            if self._is_at_rest(machine, part):
                self.known[part] = frozenset() if machine is None else active_ids(machine)
        else:
            self._look_at_member(*part)

    def _look_at_member(self, index: int, key: Hashable) -> None:
        term = self.terms[index]
        fleet = getattr(self.place.owner, term.field)
        member = None if fleet is None else fleet.get(key)
        machines = [(_machine_at(member, path[1:]), term.states[path]) for path in term.paths]
        if not all(self._is_at_rest(machine, (term.field, key)) for machine, _states in machines):
            return
        inside = self.members.setdefault(index, {})
        if any(
            machine is not None and not active_ids(machine).isdisjoint(states)
            for machine, states in machines
        ):
            inside[key] = None
        else:
            inside.pop(key, None)

    def _is_at_rest(self, machine: Any, path: tuple[Hashable, ...]) -> bool:
        """Whether a machine can be looked at now; if not, it will be, when it has come to rest."""
        seam = None if machine is None else seam_of(machine)
        if seam is None or not is_in_mid_step(machine):
            return True
        seam.at_rest.append(lambda: self.in_cascade(lambda: self.touch(path)))
        seam.rest()
        return False

    def _holds(self) -> bool:
        return all(self._term_holds(index, term) for index, term in enumerate(self.terms))

    def _term_holds(self, index: int, term: Term) -> bool:
        if term.quantifier is None:
            known = ((self.known.get(path, _NOTHING), term.states[path]) for path in term.paths)
            return any(not active.isdisjoint(states) for active, states in known)
        fleet = getattr(self.place.owner, term.field)
        return term.counts(len(self.members.get(index, ())), 0 if fleet is None else len(fleet))


def _machine_at(owner: Any, path: tuple[str, ...]) -> Any:
    """Return the machine that the names lead to, `None` if a field holds none yet."""
    for name in path:
        owner = getattr(owner, name, None)
    return owner


def judge(cascade: Any, *, ask: bool = True) -> None:
    """Queue the turns of all joins that have become true, before any of them runs.

    Without `ask`, in a cascade that has been stopped, conditions are not asked.
    """
    moved, cascade.moved = cascade.moved, None
    for join, movement in _in_order(moved):
        if not join.judge(movement):
            continue
        turn = JoinTurn(join, movement)
        turn.cascade = cascade
        try:
            wanted = not ask or turn.ask()
        except Exception as error:  # noqa: BLE001 - a failure stops no other reaction
            cascade.fail(turn, error)
        else:
            if wanted:
                cascade.append(turn)


def take_over(cascade: Any, other: Any) -> None:
    """Judge in one cascade what has moved in another that will not go on."""
    moved, other.moved = other.moved, None
    if moved:
        cascade.moved = {**(cascade.moved or {}), **moved}


def _in_order(moved: Mapping[Join, Movement]) -> list[tuple[Join, Movement]]:
    """Return joins in their order: those of inner orchestrators first, then as declared."""
    places = {place: at for at, place in enumerate(dict.fromkeys(join.place for join in moved))}
    return sorted(
        moved.items(),
        key=lambda item: (-len(item[0].place.outward), places[item[0].place], item[0].index),
    )
