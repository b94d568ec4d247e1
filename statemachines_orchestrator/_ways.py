"""The ways that events may take through a flat class: what its fast lane works out beforehand.

Which transitions an event may take in each state, in the host's order, and where their callbacks
are registered. A class that has more than the lane knows of does not qualify, and tells why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs

from statemachines_orchestrator._host import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Table", "Way", "Ways", "table_of"]

_SETS = ("configuration", "__setattr__", "__getattribute__")
"""What the host uses to keep the state of a machine, and the lane does not."""
_OF_HOST = ("done.invoke.", "error.execution")
"""How events begin that the host treats in a way of its own."""


@attrs.frozen(eq=False)
class Way:
    """A transition that an event may take, with all that is asked of it."""

    transition: Any
    target: Any
    """The state that it leads to, `None` for a transition without target."""
    before_value: Any
    """What the model keeps before it is taken."""
    after_value: Any
    """What the model keeps when it was taken."""
    exits: bool
    is_final: bool
    keys: tuple[str, ...]
    """Where its callbacks are registered: each of these."""
    validators: str
    cond: str
    before: str
    exit: str
    on: str
    enter: str
    invoke: str
    after: str

    @classmethod
    def of(cls, transition: Any) -> Way:
        """Read a transition of a flat class."""
        source, target = transition.source, transition.target
        keys = (
            transition.validators.key,
            transition.cond.key,
            transition.before.key,
            source.exit.key,
            transition.on.key,
            "" if target is None else target.enter.key,
            "" if target is None else target.invoke.key,
            transition.after.key,
        )
        value = (source if target is None else target).value
        exits = target is not None and not transition.internal
        is_final = target is not None and target.final
        return cls(transition, target, source.value, value, exits, is_final, keys, *keys)


@attrs.frozen(eq=False)
class Ways:
    """The ways out of one state, by the id of the event, in the host's order."""

    transitions: list[Any]
    """The host's own list."""
    count: int
    """How many there were: a subclass that is defined later may add some."""
    declared: list[str]
    """Their events: a subclass may add to these, too."""
    by_event: dict[str, tuple[Way, ...]]

    @classmethod
    def of(cls, state: Any, events: Iterable[str]) -> Ways:
        """Read a state of a flat class."""
        transitions = state.transitions.transitions
        ways = [(one, Way.of(one)) for one in transitions if not one.initial]
        by_event = {
            event: tuple(way for transition, way in ways if transition.match(event))
            for event in events
        }
        return cls(transitions, len(transitions), _events_of(transitions), by_event)

    @property
    def is_current(self) -> bool:
        """Whether the state still has the transitions that were read."""
        return _events_of(self.transitions) == self.declared


def _events_of(transitions: Iterable[Any]) -> list[str]:
    """Return the events of each transition, in one text."""
    return [transition.event for transition in transitions]


class Table:
    """What the lane knows of a class: its ways, or why it does not qualify."""

    __slots__ = ("by_value", "prepare", "why_not")

    def __init__(self, machine_class: Any) -> None:
        states = list(machine_class.states)
        self.why_not = next(_why_not(machine_class, states), "")
        self.prepare: str = machine_class.prepare.key
        self.by_value: dict[Any, Ways] = {}
        if self.why_not:
            return
        events = {
            event.id
            for state in states
            for transition in state.transitions
            for event in transition.events
            if not event.id.startswith(_OF_HOST)
        }
        self.by_value = {state.value: Ways.of(state, events) for state in states}

    @property
    def is_current(self) -> bool:
        """Whether the class is still as it was read."""
        return all(ways.is_current for ways in self.by_value.values())


def _why_not(machine_class: Any, states: list[Any]) -> Iterator[str]:
    """Yield what of a class the lane does not know; nothing if the class qualifies."""
    values: dict[Any, Any] = {}
    for state in states:
        name, transitions = repr(state.id), state.transitions
        if state.states or state.parallel or state.history:
            yield f"its state {name} is compound or parallel, or has a history"
        if any(not one.is_convention for one in state.invoke):
            yield f"its state {name} invokes something"
        if any(one.is_eventless and not one.initial for one in transitions):
            yield f"its state {name} has a transition without an event"
        if any(len(one.targets) > 1 for one in transitions):
            yield f"its state {name} has a transition with several targets"
        other = values.setdefault(state.value, state)
        if other is not state:
            yield f"its states {other.id!r} and {name} have one value"
    for name in _SETS:
        if getattr(machine_class, name) is not getattr(Machine, name):
            yield f"its class has a {name} of its own"


_tables: WeakKeyDictionary[type, Table] = WeakKeyDictionary()


def table_of(machine_class: type) -> Table:
    """Read a class once, and again when a subclass has given transitions to its states."""
    table = _tables.get(machine_class)
    if table is None or not table.is_current:
        table = _tables[machine_class] = Table(machine_class)
    return table
