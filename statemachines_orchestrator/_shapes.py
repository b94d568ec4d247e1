"""What a machine class can do, whatever its guards say: which states it can be in, and after what.

Where it cannot be told exactly, as with history and parallel states, more is taken for possible
than is: what is told to be impossible is so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._host import HOST_IS_3
from statemachines_orchestrator.topics import ANY, Vocabulary, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Move", "Shape"]

_NONE: frozenset[str] = frozenset()


@attrs.frozen(eq=False)
class Move:
    """One declared transition."""

    source: str
    target: str | None
    """Where it leads, `None` where that is the state it leaves, or several."""
    entered: frozenset[str]
    """The states that it may enter."""
    restored: frozenset[str]
    """The states that it enters if they were active before: it leads to a history state."""
    exited: frozenset[str]
    """The states that it may exit."""
    after: frozenset[str]
    """States that are active when it was taken, for certain; others fit to all of them."""
    events: Vocabulary
    """What it takes."""
    is_guarded: bool
    """Whether a guard or a validator may refuse it."""
    is_spontaneous: bool
    """Whether the machine takes it by itself: eventless, or for an event that the host sends."""

    def enters(self, state: str) -> bool:
        """Whether it may enter a state."""
        return state in self.entered or state in self.restored


class Shape:
    """The states of one machine class, and its transitions."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.above: dict[str, tuple[str, ...]] = {}
        """By state what is around it, innermost first."""
        self._states: dict[str, Any] = {}
        self._is_plain = True
        self._note(kind.states, ())
        self._all_parallel = all(map(_is_parallel, kind.states))
        self.moves = tuple(self._moves())
        first: set[str] = set()
        for state in kind.states:
            if state.initial:
                first |= self._entry(state, None)
        self.reachable = self._reach(first)
        """The states in which it can be."""
        self.moves = tuple(move for move in self.moves if move.source in self.reachable)
        """The transitions that it can take, in the order of the source."""
        self._is_plain = self._is_plain and not any(move.is_spontaneous for move in self.moves)

    # States -------------------------------------------------------------------------------

    def _note(self, states: Iterable[Any], above: tuple[str, ...]) -> None:
        for state in states:
            self._states[state.id] = state
            self.above[state.id] = above
            inside = [*getattr(state, "states", ()), *getattr(state, "history", ())]
            self._is_plain = not (_is_parallel(state) or _is_history(state)) and self._is_plain
            self._note(inside, (state.id, *above))

    def fits(self, one: str, other: str) -> bool:
        """Whether two states can be active together."""
        if one == other or one in self.above[other] or other in self.above[one]:
            return True
        for state in self.above[one]:
            if state in self.above[other]:
                return _is_parallel(self._states[state])
        return self._all_parallel

    def beside(self, *states: str) -> frozenset[str]:
        """Return the states in which it can be while it is in all of `states`."""
        return frozenset(
            one for one in self.reachable if all(self.fits(one, state) for state in states)
        )

    def _entry(self, target: Any, domain: str | None) -> set[str]:
        """Return the states that are entered with `target`, up to the one that is not left."""
        found: set[str] = set()
        self._down(target, found)
        inner = target.id
        for above in self.above[target.id]:
            if above == domain:
                break
            found.add(above)
            if _is_parallel(self._states[above]):
                for region in self._states[above].states:
                    if region.id != inner:
                        self._down(region, found)
            inner = above
        return found

    def _down(self, state: Any, found: set[str]) -> None:
        """Add a state, and what is entered in it."""
        if _is_history(state):
            parent = self.above[state.id][0]
            found.add(parent)
            for target in (*_starts(self._states[parent]), *_ends(state.transitions)):
                found |= self._entry(target, parent)
            return
        found.add(state.id)
        if _is_parallel(state):
            for region in state.states:
                self._down(region, found)
        for start in _starts(state):
            found |= self._entry(start, state.id)

    # Transitions --------------------------------------------------------------------------

    def _moves(self) -> Iterator[Move]:
        for state in self._states.values():
            for transition in () if _is_history(state) else state.transitions:
                if not getattr(transition, "initial", False):
                    yield self._move(state.id, transition)

    def _move(self, source: str, transition: Any) -> Move:
        ends = list(_ends([transition]))
        domain = self._domain(source, transition, ends)
        entered: set[str] = set()
        for end in ends:
            entered |= self._entry(end, domain)
        is_quiet = not getattr(self.kind, "enable_self_transition_entries", False)
        if domain == source and [source] == [end.id for end in ends] and is_quiet:
            entered.clear()
        histories = {self.above[end.id][0] for end in ends if _is_history(end)}
        below = {one for one in self.above if not histories.isdisjoint(self.above[one])}
        exited = {
            one
            for one in self.above
            if ends and (domain is None or domain in self.above[one]) and self.fits(one, source)
        }
        words = {canonical(word) for event in transition.events for word in str(event).split(" ")}
        self._is_plain = self._is_plain and len(ends) <= 1
        return Move(
            source=source,
            target=ends[0].id if len(ends) == 1 else None,
            entered=frozenset(entered),
            restored=frozenset(below),
            exited=frozenset(exited),
            after=frozenset(self._after(source, ends)),
            events=Vocabulary(frozenset(words), _NONE, tuple(transition.events)),
            is_guarded=any(True for _spec in (*transition.cond, *transition.validators)),
            is_spontaneous=HOST_IS_3 and (not words or any(map(_is_hosts, words))),
        )

    def _domain(self, source: str, transition: Any, ends: list[Any]) -> str | None:
        """Return the innermost state that is neither exited nor entered: as SCXML has it."""
        above = [self.above[end.id] for end in ends]
        is_self = [source] == [end.id for end in ends] and not _starts(self._states[source])
        if transition.internal and (is_self or all(source in one for one in above)):
            return source
        if any(_is_history(end) and not list(_ends(end.transitions)) for end in ends):
            return None  # as long as it remembers nothing, the host exits all there is
        for state in self.above[source]:
            is_compound = not _is_parallel(self._states[state])
            if is_compound and all(state in one for one in above):
                return state
        return None

    def _after(self, source: str, ends: list[Any]) -> set[str]:
        """Return what is active for certain when a transition was taken."""
        found = {source, *self.above[source]} if not ends else set[str]()
        for end in ends:
            if _is_history(end):  # which may remember nothing
                continue
            found.update(self.above[end.id])
            found.add(end.id)
            waiting = [end] if len(ends) == 1 else []
            while waiting:  # a compound state begins where it says; regions may be begun by others
                state = waiting.pop()
                found.update((state.id, *self.above[state.id]))
                starts = [one for one in _starts(state) if not _is_history(one)]
                waiting.extend(starts if len(starts) == 1 else ())
                waiting.extend(state.states if _is_parallel(state) else ())
        return found

    def _reach(self, first: set[str]) -> frozenset[str]:
        reached: set[str] = set()
        while not first <= reached:
            reached |= first
            for move in self.moves:
                if move.source in reached:
                    first |= move.entered
        return frozenset(reached)

    # What follows -------------------------------------------------------------------------

    def taking(self, event: str) -> list[Move]:
        """Return the transitions that an event may cause, `*` for all."""
        return [move for move in self.moves if event == ANY or move.events.takes(event)]

    def entering(self, state: str) -> list[Move]:
        """Return the transitions that may enter a state."""
        if state not in self.reachable:
            return []
        return [move for move in self.moves if move.enters(state)]

    def exiting(self, state: str) -> list[Move]:
        """Return the transitions that may exit a state."""
        if state not in self.reachable:
            return []
        return [move for move in self.moves if state in move.exited]

    def after(self, moves: Iterable[Move], *states: str) -> frozenset[str]:
        """Return where it may be after one of `moves` that left `states` active."""
        return frozenset[str]().union(*(self.beside(*move.after, *states) for move in moves))

    def moved(self, states: frozenset[str], events: Iterable[str]) -> frozenset[str]:
        """Return where it may be that was in `states`, and may get `events`, or go on by itself."""
        before = frozenset[str]()
        while before != states:
            before = states
            for move in self.moves:
                may = move.is_spontaneous or any(map(move.events.takes, events))
                if may and move.source in states:
                    states |= move.entered | (move.restored & self.reachable)
        return states

    def taking_in(self, states: frozenset[str], event: str) -> list[Move]:
        """Return the transitions that an event may cause in some states."""
        return [move for move in self.taking(event) if move.source in states]

    # Step by step -------------------------------------------------------------------------

    @property
    def leaves(self) -> list[str]:
        """The innermost states in which it can be; none of a machine that cannot be followed.

        It can where one of them tells all: nothing is parallel or remembered, and it does nothing
        by itself.
        """
        inner = {one for above in self.above.values() for one in above[:1]}
        known = [state for state in self._states if state in self.reachable]
        return [state for state in known if state not in inner] if self._is_plain else []

    def candidates(self, leaf: str, event: str) -> Iterator[Move]:
        """Yield the transitions that an event may cause, in the order in which they are asked.

        What no guard decides is the last one.
        """
        for state in (leaf, *self.above[leaf]):
            for move in self.moves:
                if move.source == state and move.events.takes(event):
                    yield move
                    if not move.is_guarded:
                        return

    def step(self, leaf: str, event: str) -> Move | None:
        """Return the transition that an event causes, `None` if none or if a guard decides."""
        move = next(self.candidates(leaf, event), None)
        return None if move is None or move.is_guarded else move

    def leaf_after(self, move: Move, leaf: str) -> str:
        """Return the innermost state after a transition from `leaf`."""
        state = leaf if move.target is None else move.target
        while starts := _starts(self._states[state]):
            state = starts[0].id
        return state


def _is_parallel(state: Any) -> bool:
    return bool(getattr(state, "parallel", False))


def _is_history(state: Any) -> bool:
    return bool(getattr(state, "is_history", False))


def _ends(transitions: Iterable[Any]) -> Iterator[Any]:
    """Yield the states that transitions lead to."""
    for transition in transitions:
        targets = getattr(transition, "targets", None)
        yield from (one for one in targets or [transition.target] if one is not None)


def _starts(state: Any) -> list[Any]:
    """Return the states with which a compound one begins."""
    if _is_parallel(state):
        return []
    return list(_ends(one for one in state.transitions if getattr(one, "initial", False)))


def _is_hosts(word: str) -> bool:
    """Whether the host may send an event of this name by itself."""
    return word.startswith(("done.", "error.")) or ANY in word
