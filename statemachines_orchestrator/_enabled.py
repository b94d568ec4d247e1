"""What a machine would take now: its guards are asked, and nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._engine import ask_guards, is_async
from statemachines_orchestrator._event_loops import run_async_from_sync
from statemachines_orchestrator._host import HOST_IS_3, current_states
from statemachines_orchestrator.topics import canonical, walk_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["enabled_events", "events_of", "for_users", "may_take"]

_NOT_FOR_USERS = ("done.state.", "done.invoke.", "error.execution")
"""How the events begin that are for the host to send."""


def enabled_events(
    machine: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], event: str | None = None
) -> Any:
    """Return the events, or `event` alone, that the machine would take now.

    The guards are asked with the arguments given, the validators are not; a guard that raises
    counts as yes, as python-statemachine has it in its own `enabled_events`, which 2.5 lacks.
    For a machine on the async engine the answer must be awaited in a running loop.
    """
    asked = _asked(machine, event)
    if is_async(machine):
        return run_async_from_sync(_enabled_async(machine, asked, args, kwargs))
    enabled: dict[str, None] = {}
    for name, transition in asked:
        if name not in enabled:
            try:
                says_yes = ask_guards(machine, name, transition, args, kwargs)
            except Exception:  # noqa: BLE001 - python-statemachine's rule
                says_yes = True
            if says_yes:
                enabled[name] = None
    return list(enabled)


async def _enabled_async(
    machine: Any,
    asked: Iterator[tuple[str, Any]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[str]:
    enabled: dict[str, None] = {}
    for name, transition in asked:
        if name not in enabled:
            try:
                says_yes = await ask_guards(machine, name, transition, args, kwargs)
            except Exception:  # noqa: BLE001 - python-statemachine's rule
                says_yes = True
            if says_yes:
                enabled[name] = None
    return list(enabled)


def events_of(machine_class: Any) -> list[str]:
    """Return the events that users may send to a machine, in the order of declaration."""
    names = {
        canonical(word): None
        for state in walk_states(machine_class.states)
        for transition in state.transitions
        for declared in transition.events
        for word in str(declared).split(" ")
    }
    return for_users(names)


def for_users(events: Iterable[str]) -> list[str]:
    """Return those events that users send: no pattern, and none of the host's own."""
    return [
        event
        for event in events
        if event and not event.startswith(_NOT_FOR_USERS) and "*" not in event
    ]


def may_take(machine: Any, event: str) -> bool:
    """Whether some transition of the active states is for an event, whatever its guards say."""
    return any(True for _ in _asked(machine, event))


def _asked(machine: Any, event: str | None) -> Iterator[tuple[str, Any]]:
    """Yield the transitions that the active states have for events, or for `event` alone."""
    for state in current_states(machine):
        for transition in state.transitions:
            for declared in transition.events:
                if event is not None:
                    if _takes(declared, event):
                        yield event, transition
                elif not canonical(declared).startswith(_NOT_FOR_USERS) and "*" not in declared:
                    yield str(declared).partition(" ")[0], transition


def _takes(declared: Any, event: str) -> bool:
    """Whether a transition's declared event is the one sent, or a pattern that matches it."""
    if canonical(event) in map(canonical, declared.split(" ")):
        return True
    return HOST_IS_3 and bool(declared.match(event))
