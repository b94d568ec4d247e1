"""Joins: reactions to several machines being in certain states together.

A join is a receiver of the signals of its machines, and remembers of each what it told when it was
last at rest. At rest the cascade judges the joins whose machines have moved.
A join has one bit, its value at the last point of rest, and fires when that turns true.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._engine import is_in_mid_step, seam_of
from statemachines_orchestrator._frames import heard_at, here
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._places import innermost_first
from statemachines_orchestrator._turns import ReactionTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator._turns import Trail
    from statemachines_orchestrator.records import Record

__all__ = ["Join", "JoinPlan", "JoinSubscription", "Movement", "Term", "judge", "take_over"]

_standing = RLock()
"""Held while what was seen for a join is taken for what stands. No machine is asked in it."""


@attrs.frozen
class Term:
    """One argument of a join, resolved."""

    quantifier: str | None
    """`every`, `some`, `none` or `at_least`, where the machines are members of a fleet."""
    count: int
    states: Mapping[tuple[str, ...], frozenset[str]]
    """By the names that lead to a machine, the ids of the states."""

    @property
    def field(self) -> str:
        """The first of the names: the field of the fleet, where members are counted."""
        return next(iter(self.states))[0]

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
    machines: frozenset[tuple[str, ...]]
    """The names that lead to each machine that stands in no fleet."""
    fleets: Mapping[str, tuple[int, ...]]
    """The fields of fleets, and the places of the terms that ask for them."""

    @classmethod
    def of(cls, text: str, terms: tuple[Term, ...]) -> JoinPlan:
        """Sort the terms by what they ask for."""
        fleets: dict[str, tuple[int, ...]] = {}
        machines: set[tuple[str, ...]] = set()
        for index, term in enumerate(terms):
            if term.quantifier is None:
                machines.update(term.states)
            else:
                fleets[term.field] = (*fleets.get(term.field, ()), index)
        return cls(text, terms, frozenset(machines), fleets)

    @property
    def names(self) -> dict[str, None]:
        """The names of the fields that hold the machines: `order`, `desk.order`."""
        return {".".join(path): None for term in self.terms for path in term.states}


_NOTHING: frozenset[str] = frozenset()


class Movement:
    """What has moved of a join's machines since it was last judged."""

    __slots__ = ("cause", "machines", "members", "record", "trail")

    def __init__(self) -> None:
        self.record: Record | None = None
        """The last transition of one of the machines, `None` if members came or went only."""
        self.cause: int | None = None
        self.trail: Trail | None = None
        """What led to it."""
        self.machines: dict[tuple[str, ...], None] = {}
        """The paths of machines that stand in no fleet."""
        self.members: dict[tuple[str, Hashable], None] = {}
        """The fields and keys of members."""

    def note(self, record: Record | None, cause: int | None, trail: Trail | None) -> None:
        """Note the last thing that happened."""
        self.record = record or self.record
        self.cause = cause
        self.trail = trail


class Sight:
    """What a look at a join's machines has seen."""

    __slots__ = ("machines", "members")

    def __init__(self) -> None:
        self.machines: dict[tuple[str, ...], frozenset[str]] = {}
        """The active states of machines that stand in no fleet."""
        self.members: dict[tuple[str, Hashable], dict[int, bool] | None] = {}
        """Of members, for which terms they count; `None` of what is no member any more."""


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

    __slots__ = (
        "in_cascade",
        "index",
        "inside",
        "is_true",
        "known",
        "looks",
        "members",
        "place",
        "plan",
        "under_way",
        "wanted",
    )

    def __init__(
        self,
        place: Place,
        plan: Any,
        index: int,
        in_cascade: Callable[[Callable[[], None]], None],
    ) -> None:
        self.place = place
        self.plan = plan
        self.wanted: JoinPlan = plan.join
        self.index = index
        self.in_cascade = in_cascade
        self.known: dict[tuple[str, ...], frozenset[str]] = {}
        """The active states of each machine that stands in no fleet, as of its last rest."""
        self.members: dict[str, dict[Hashable, None]] = {field: {} for field in self.wanted.fleets}
        """By fleet, the keys of its members, as of their last rest."""
        terms = (term for terms in self.wanted.fleets.values() for term in terms)
        self.inside: dict[int, dict[Hashable, None]] = {term: {} for term in terms}
        """By term, the keys of those members that are in one of its states."""
        self.is_true = False
        """Whether it was true when it was last at rest."""
        self.looks = 0
        """How often what was seen was taken for what stands."""
        self.under_way: dict[tuple[str, ...], dict[Movement, None]] = {}
        """What cascades have moved that are not at rest: these machines are not looked at."""

    def look_anew(self) -> None:
        """Look at all machines; what is true now is no news."""
        while True:
            looks, seen = self.looks, Sight()
            for path in self.wanted.machines:
                self._look_at(seen, path)
            for field in self.wanted.fleets:
                for key, _member in members_in(getattr(self.place.owner, field)):
                    self._look_at_member(seen, field, key)
            with _standing:
                if self.looks == looks:
                    for keys in (*self.members.values(), *self.inside.values()):
                        keys.clear()
                    self._take(seen)
                    return

    @property
    def told(self) -> str:
        """The name of the reaction, with what the join asks for."""
        return f"{self.plan.name}, on {self.wanted.text}"

    # What moved ---------------------------------------------------------------------------

    def concerns(self, name: str) -> bool:
        """Whether it asks for what stands under `name`, in it or around it."""
        return any(
            other == name or other.startswith(name + ".") or name.startswith(other + ".")
            for other in self.wanted.names
        )

    def touch(self, path: tuple[Any, ...], record: Record | None = None) -> None:
        """Note on the current cascade what moved: the machine at `path`, or around or below it."""
        frame = here.get()
        cascade = heard_at(frame)
        moved: dict[Join, Movement] = cascade.moved or {}
        cascade.moved = moved
        movement = moved.get(self)
        if movement is None:
            movement = moved[self] = Movement()
        movement.note(record, frame.seq if record is None else record.seq, cascade.trail())
        if path[0] in self.wanted.fleets:
            movement.members[path[0], path[1]] = None
            return
        for other in self.wanted.machines:
            if other[: len(path)] == path:  # the machine, or one of an orchestrator put there
                movement.machines[other] = None
                self.under_way.setdefault(other, {})[movement] = None

    # At rest ------------------------------------------------------------------------------

    def judge(self, movement: Movement) -> bool:
        """Look at what moved, and return whether the join has become true by it.

        Several threads may judge a join at once. What one has seen is taken as a whole, and who
        was overtaken by another looks again, since what it saw may be older.
        """
        while True:
            looks, seen = self.looks, self._look(movement)
            with _standing:
                if self.looks == looks:
                    was_true = self.is_true
                    self._take(seen)
                    return self.is_true and not was_true

    def _look(self, movement: Movement) -> Sight:
        """Look at what moved, and at all else that no other cascade is moving."""
        seen = Sight()
        for path in self.wanted.machines:
            moved = path in movement.machines
            others = self.under_way.get(path)
            if others:
                others.pop(movement, None)
            if moved or not others:
                self._look_at(seen, path, again=moved)
        for field, key in movement.members:
            self._look_at_member(seen, field, key)
        return seen

    def _look_at(self, seen: Sight, path: tuple[str, ...], *, again: bool = False) -> None:
        """Look at the states of a machine, or, if told to, again when it has come to rest."""
        machine = _machine_at(self.place.owner, path)
        if machine is None:
            seen.machines[path] = _NOTHING
        elif not is_in_mid_step(machine):
            seen.machines[path] = active_ids(machine)
        elif again:
            self._look_later(machine, path)

    def _look_at_member(self, seen: Sight, field: str, key: Hashable) -> None:
        """Look at the states of the member of a fleet, or note that it is none any more."""
        fleet = getattr(self.place.owner, field)
        member = None if fleet is None else fleet.get(key)
        if member is None:
            seen.members[field, key] = None
            return
        active: dict[tuple[str, ...], frozenset[str]] = {}
        for index in self.wanted.fleets[field]:
            for path in self.wanted.terms[index].states:
                machine = _machine_at(member, path[1:])
                if machine is not None and is_in_mid_step(machine):
                    self._look_later(machine, (field, key))
                    return
                active[path] = _NOTHING if machine is None else active_ids(machine)
        counts: dict[int, bool] = {}
        for index in self.wanted.fleets[field]:
            states = self.wanted.terms[index].states
            counts[index] = any(not active[path].isdisjoint(states[path]) for path in states)
        seen.members[field, key] = counts

    def _take(self, seen: Sight) -> None:
        """Take what was seen for what stands."""
        self.known.update(seen.machines)
        for (field, key), counts in seen.members.items():
            _keep(self.members[field], key, belongs=counts is not None)
            for index in self.wanted.fleets[field]:
                _keep(self.inside[index], key, belongs=bool(counts and counts[index]))
        self.looks += 1
        self.is_true = self._holds()

    def _look_later(self, machine: Any, path: tuple[Hashable, ...]) -> None:
        """Note that a machine has moved once more, as soon as it is at rest."""
        seam = seam_of(machine)
        seam.at_rest[self, path] = lambda: self.in_cascade(lambda: self.touch(path))
        seam.rest()

    def _holds(self) -> bool:
        return all(self._term_holds(index, term) for index, term in enumerate(self.wanted.terms))

    def _term_holds(self, index: int, term: Term) -> bool:
        if term.quantifier is None:
            known, states = self.known, term.states
            return any(not known.get(path, _NOTHING).isdisjoint(states[path]) for path in states)
        return term.counts(len(self.inside[index]), len(self.members[term.field]))


class JoinSubscription:
    """A join of one orchestrator to the machines under one name: the receiver that notes moves."""

    __slots__ = ("join", "names")

    def __init__(self, join: Join, names: tuple[str, ...]) -> None:
        self.join = join
        self.names = names

    @property
    def __name__(self) -> str:
        return str(self.join.plan.name)

    def __call__(self, _sender: Any, *, record: Record) -> None:
        """Note that a machine took a transition: in a fleet, which member."""
        path: tuple[Any, ...] = self.names
        if path not in self.join.wanted.machines:
            path = (path[0], record.path[-len(path)])
        if heard_at(here.get()) is not None:
            self.join.touch(path, record)
        else:
            self.join.in_cascade(lambda: self.join.touch(path, record))


def _keep(keys: dict[Hashable, None], key: Hashable, *, belongs: bool) -> None:
    if belongs:
        keys[key] = None
    else:
        keys.pop(key, None)


def _machine_at(owner: Any, path: tuple[str, ...]) -> Any:
    """Return the machine that the names lead to, `None` if a field holds none yet."""
    for name in path:
        owner = getattr(owner, name, None)
    return owner


def judge(cascade: Any, *, ask: bool = True) -> None:
    """Queue the turns of all joins that have become true, before any of them runs.

    Without `ask`, in a cascade that has been stopped, conditions are not asked.
    """
    for join, movement in _in_order(cascade.moved):
        del cascade.moved[join]  # what a condition that stops the cascade leaves is judged later
        turn = JoinTurn(join, movement)
        turn.cascade = cascade
        try:
            if not join.judge(movement):
                continue
            wanted = not ask or turn.ask()
        except Exception as error:  # noqa: BLE001 - a failure, of a model too, stops no other
            cascade.fail(turn, error)
            continue
        except BaseException:
            cascade.append(turn)
            raise
        if wanted:
            cascade.append(turn)
            turn.trail = movement.trail


def take_over(cascade: Any, other: Any) -> None:
    """Judge in one cascade what has moved in another that will not go on."""
    moved: dict[Join, Movement] = other.moved or {}
    ours: dict[Join, Movement] = cascade.moved or {}
    for join, movement in moved.items():
        into = ours.setdefault(join, movement)
        if into is not movement:
            into.machines.update(movement.machines)
            into.members.update(movement.members)
            for others in join.under_way.values():
                others.pop(movement, None)
    cascade.moved, other.moved = ours, None


def _in_order(moved: Mapping[Join, Movement]) -> list[tuple[Join, Movement]]:
    """Return joins in their order: those of inner orchestrators first, then as declared."""
    places = {place: at for at, place in enumerate(dict.fromkeys(join.place for join in moved))}
    return sorted(
        moved.items(),
        key=lambda item: (innermost_first(item[0].place), places[item[0].place], item[0].index),
    )
