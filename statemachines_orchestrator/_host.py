"""The installed python-statemachine: its version, its machine class, what it documents."""

from __future__ import annotations

from importlib.metadata import version
from inspect import Parameter, signature
from typing import Any
from weakref import WeakKeyDictionary

import statemachine

from statemachines_orchestrator.topics import walk_states

__all__ = [
    "HOST",
    "HOST_IS_3",
    "SUPPORTED",
    "Facts",
    "Machine",
    "configuration_of",
    "facts_of",
    "is_machine_class",
    "passes_on",
]

HOST = version("python-statemachine")
HOST_IS_3 = hasattr(statemachine, "StateChart")
SUPPORTED = "2.5, 2.6, 3.0, 3.1 and 3.2"

Machine: Any = statemachine.StateChart if HOST_IS_3 else statemachine.StateMachine
"""The class of every state machine of the installed host."""


def is_machine_class(value: Any) -> bool:
    """Whether `value` is a state machine class."""
    return isinstance(value, type) and issubclass(value, Machine)


def configuration_of(machine: Any) -> str:
    """Return the ids of the active states: `draft`, or `{editing, draft}`, or `-` for none yet."""
    if HOST_IS_3:
        active = [state.id for state in machine.configuration]
    else:
        value = machine.current_state_value
        active = [] if value is None else [machine.states_map[value].id]
    return active[0] if len(active) == 1 else f"{{{', '.join(active)}}}" if active else "-"


def passes_on(factory: Any) -> bool:
    """Whether `factory` is a machine class whose constructor takes the host's extra keywords."""
    if not is_machine_class(factory):
        return False
    parameters = signature(factory.__init__).parameters.values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)


class Facts:
    """What of a machine class decides which seams it needs."""

    __slots__ = ("eventless", "nested")

    def __init__(self, machine_class: Any) -> None:
        states = list(walk_states(machine_class.states))
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
