"""At rest: whether an orchestrator is, so that its state can be told as a whole."""

from __future__ import annotations

from typing import Any

from statemachines_orchestrator._engine import is_in_mid_step
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._members import machines_below
from statemachines_orchestrator._turns import Turn
from statemachines_orchestrator.exceptions import NotAtRestError
from statemachines_orchestrator.topics import SETTLED

__all__ = ["check_at_rest"]


def check_at_rest(owner: Any, where: str) -> None:
    """Raise `NotAtRestError`, which names `where`, unless an orchestrator is at rest.

    In a cascade it is while `settled` is published, and in the reactions to that, as long as none
    of them has moved anything.
    """
    for _path, name, machine in machines_below(owner):
        if is_in_mid_step(machine):
            raise NotAtRestError(where, f"machine {name!r} is in mid-step")
    frame = here.get()
    cascade = joined(frame)
    if cascade is None:
        return
    if frame is not cascade and not (isinstance(frame, Turn) and frame.topic == SETTLED):
        told = f"{frame.label} runs" if isinstance(frame, Turn) else "a call is under way"
        raise NotAtRestError(where, f"a cascade is not at rest: {told}")
    waiting = next((turn for turn in cascade.queue if turn.topic != SETTLED), None)
    if waiting is not None or cascade.moved or not cascade.is_settled:
        told = "a call is under way" if waiting is None else f"{waiting.label} waits"
        raise NotAtRestError(where, f"a cascade is not at rest: {told}")
