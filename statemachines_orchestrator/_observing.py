"""Observing everything: one receiver for all records of an orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.topics import ANY, OBSERVED_KINDS, SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EVERYTHING", "observe"]

EVERYTHING = (ANY, SETTLED, *(f"{kind}:{ANY}" for kind in OBSERVED_KINDS))
"""The topics under which every record is published, each once."""


def observe(orchestrator: Any, receiver: Callable[..., None], where: str) -> Callable[[], None]:
    """Let a receiver hear of everything, and return the call that ends it.

    Raises `DeclarationError`, which names `where`, for what is no orchestrator.
    """
    given: Any = orchestrator
    if not isinstance(given, Orchestrator):
        problem = f"it was given {given!r}, which is no orchestrator"
        raise DeclarationError(where, problem, "Give it an instance of one")
    signals = [given.bus.signal(topic) for topic in EVERYTHING]
    for signal in signals:
        signal.connect(receiver)

    def end() -> None:
        for signal in signals:
            signal.disconnect(receiver)

    return end
