"""The clock of one orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._timers import begin_anew
from statemachines_orchestrator.clock import Clock, is_clock
from statemachines_orchestrator.exceptions import DeclarationError

if TYPE_CHECKING:
    from statemachines_orchestrator.orchestrator import Orchestrator

__all__ = ["clock_of", "use_clock"]

_Clock = TypeVar("_Clock", bound=Clock)


def clock_of(orchestrator: Orchestrator) -> Clock:
    """Return the clock of an orchestrator: that of the outermost one that holds it."""
    orchestrator.bus  # noqa: B018 - raises if its constructor is not done
    clock: Clock = place_of(orchestrator).clock
    return clock


def use_clock(orchestrator: Orchestrator, clock: _Clock) -> _Clock:
    """Set the clock of one orchestrator, and of those that it holds, and return the clock.

        clock = use_clock(shop, VirtualClock())

    Timers that are pending leave the old clock, and begin anew, in full, on the new one.
    If the new clock raises, nothing is changed.
    Raises `DeclarationError` if `clock` has no `now` and `call_at`, or if another orchestrator
    holds this one: then its clock is that of the holder.
    """
    where = f"use_clock({type(orchestrator).__qualname__})"
    given: Any = clock
    if not is_clock(given):
        raise DeclarationError(where, f"{clock!r} is no clock", "Give it VirtualClock(), say")
    orchestrator.bus  # noqa: B018 - raises if its constructor is not done
    place = place_of(orchestrator)
    if place.holder is not None:
        problem = f"it has the clock of {place.holder.owner!r}, which holds it"
        raise DeclarationError(where, problem, "Set that of the holder")
    before, place.own_clock = place.own_clock, clock
    try:
        begin_anew(orchestrator)
    except BaseException:
        place.own_clock = before
        raise
    return clock
