"""The installed python-statemachine: its version, its machine class, what it documents."""

from __future__ import annotations

from collections.abc import MutableSet
from functools import cache
from importlib import import_module
from importlib.metadata import version
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import statemachine
from statemachine.model import Model

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.topics import walk_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "HOST",
    "HOST_IS_3",
    "SUPPORTED",
    "Facts",
    "Machine",
    "Move",
    "active_ids",
    "configuration_of",
    "current_states",
    "facts_of",
    "flat_move",
    "has_ended",
    "is_hosts_model",
    "is_machine_class",
    "ordered_set",
    "own_attributes",
    "passes_on",
    "store_of",
]

HOST = version("python-statemachine")
HOST_IS_3 = hasattr(statemachine, "StateChart")
SUPPORTED = "2.5, 2.6, 3.0, 3.1 and 3.2"

Machine: Any = statemachine.StateChart if HOST_IS_3 else statemachine.StateMachine
"""The class of every state machine of the installed host."""


Move: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""The ids of the states that a transition exited, innermost first, and entered, outermost first."""


ordered_set: Any = import_module("statemachine.orderedset").OrderedSet if HOST_IS_3 else None
"""What the host keeps several states in: there are several on 3.x alone."""


def flat_move(machine: Any, transition: Any) -> Move:
    """Return what a transition of a machine without nested states exits and enters."""
    if transition.target is None:
        return (), ()
    exited = () if transition.internal else (transition.source.id,)
    enters = not transition.internal or getattr(machine, "enable_self_transition_entries", False)
    return exited, (transition.target.id,) if enters else ()


def is_machine_class(value: Any) -> bool:
    """Whether `value` is a state machine class."""
    return isinstance(value, type) and issubclass(value, Machine)


def configuration_of(machine: Any) -> str:
    """Return the ids of the active states: `draft`, or `{editing, draft}`, or `-` for none yet.

    Where the model has what is no state, written from outside, that is told: `'drfat'`.
    """
    try:
        if HOST_IS_3:
            active = [state.id for state in machine.configuration]
        else:
            value = machine.current_state_value
            active = [] if value is None else [machine.states_map[value].id]
    except KeyError:
        return shown(machine.current_state_value)
    return active[0] if len(active) == 1 else f"{{{', '.join(active)}}}" if active else "-"


def active_ids(machine: Any) -> frozenset[str]:
    """Return the ids of the active states, at every level.

    Of an async machine not yet begun, those of the states that it begins with.
    """
    value = machine.current_state_value
    if value is None:
        return frozenset(state.id for state in current_states(machine))
    are_several = HOST_IS_3 and issubclass(value.__class__, MutableSet)
    values = value if are_several else (value,)
    states = machine.states_map
    return frozenset(states[one].id for one in values if one in states)


def current_states(machine: Any) -> list[Any]:
    """Return the active states; of an async machine not yet begun, those that it begins with."""
    if machine.current_state_value is not None:
        return list(machine.configuration) if HOST_IS_3 else [machine.current_state]
    if not HOST_IS_3:
        return [machine.states_map[machine.start_value or machine.initial_state.value]]
    values = machine.start_configuration_values or [machine.initial_state.value]
    return list(_entered_by(machine.states_map[value] for value in values))


def _entered_by(states: Iterable[Any]) -> Iterator[Any]:
    """Yield the states that are entered when `states` are."""
    for state in states:
        yield state
        children = list(state.states)
        yield from _entered_by(
            children if state.parallel else [child for child in children if child.initial]
        )


def has_ended(machine: Any) -> bool:
    """Whether the machine has come to its end: in a final state, or in all of its regions."""
    if HOST_IS_3:
        return bool(machine.is_terminated)
    value = machine.current_state_value
    return value is not None and bool(machine.states_map[value].final)


def is_hosts_model(model: Any) -> bool:
    """Whether a model is what the host makes for a machine that is given none."""
    return model.__class__ is Model


@cache
def _hosts_attributes() -> frozenset[str]:
    """Return what the host keeps on every machine, beside what its user may keep there."""

    class Reference(statemachine.StateMachine):
        one = statemachine.State(initial=True)
        other = statemachine.State(final=True)
        go = one.to(other)

    return frozenset(vars(Reference())) - {"one", "other"}


def listeners_of(machine: Any) -> list[Any]:
    """Return the listeners of a machine, its model not among them."""
    known: dict[Any, Any] = getattr(machine, "_listeners", {})
    return list(known.values() if HOST_IS_3 else known)


def own_attributes(machine: Any) -> dict[str, Any]:
    """Return what was set on a machine itself by its callbacks and its users."""
    hosts = _hosts_attributes()
    states = facts_of(machine.__class__).by_id
    own = {
        name: value
        for name, value in machine.__dict__.items()
        if name not in hosts and name not in states
    }
    if machine.current_state_value is None:  # it begins later, where its constructor was told to
        begins = "start_configuration_values" if HOST_IS_3 else "start_value"
        own[begins] = getattr(machine, begins)
    if not HOST_IS_3 and machine.allow_event_without_transition:  # its constructor was told to
        own["allow_event_without_transition"] = True
    return own


def store_of(machine: Any) -> tuple[int, str]:
    """Return where a machine keeps its state."""
    return id(machine.model), machine.state_field


def passes_on(factory: Any) -> bool:
    """Whether `factory` is a machine class whose constructor takes the host's extra keywords."""
    if not is_machine_class(factory):
        return False
    parameters = signature(factory.__init__).parameters.values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)


class Facts:
    """What of a machine class decides which seams it needs."""

    __slots__ = ("by_id", "eventless", "nested")

    def __init__(self, machine_class: Any) -> None:
        states = list(walk_states(machine_class.states))
        self.by_id = {state.id: state for state in states}
        """The states, at every level."""
        transitions = [transition for state in states for transition in state.transitions]
        self.nested = len(states) > len(list(machine_class.states))
        self.eventless = HOST_IS_3 and any(
            transition.is_eventless and not transition.initial for transition in transitions
        )


_facts: WeakKeyDictionary[type, Facts] = WeakKeyDictionary()


def facts_of(machine_class: type) -> Facts:
    """Read a machine class once."""
    try:
        return _facts[machine_class]
    except KeyError:
        facts = _facts[machine_class] = Facts(machine_class)
        return facts
