"""Observing everything: one receiver for all records of an orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._wiring import check_instance
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
    check_instance(orchestrator, where)
    signals = [orchestrator.bus.signal(topic) for topic in EVERYTHING]
    for signal in signals:
        signal.connect(receiver)

    def end() -> None:
        for signal in signals:
            signal.disconnect(receiver)

    return end
