"""The clock of one orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._timers import begin_anew
from statemachines_orchestrator._wiring import check_instance
from statemachines_orchestrator.clock import Clock, is_clock
from statemachines_orchestrator.exceptions import DeclarationError

if TYPE_CHECKING:
    from statemachines_orchestrator.orchestrator import Orchestrator

__all__ = ["clock_of", "use_clock"]

_Clock = TypeVar("_Clock", bound=Clock)


def clock_of(orchestrator: Orchestrator) -> Clock:
    """Return the clock of an orchestrator: that of the outermost one that holds it.

    Raises `DeclarationError` for what is no orchestrator that is built.
    """
    check_instance(orchestrator, "clock_of()")
    clock: Clock = place_of(orchestrator).clock
    return clock


def use_clock(orchestrator: Orchestrator, clock: _Clock) -> _Clock:
    """Set the clock of one orchestrator, and of those that it holds, and return the clock.

        clock = use_clock(shop, VirtualClock())

    Timers that are pending leave the old clock, and begin anew, in full, on the new one.
    If the new clock raises, nothing is changed.
    Raises `DeclarationError` for what is no orchestrator, if `clock` has no `now` and `call_at`,
    or if another orchestrator holds this one: then its clock is that of the holder.
    """
    where = f"use_clock({type(orchestrator).__qualname__})"
    given: Any = clock
    if not is_clock(given):
        raise DeclarationError(where, f"{shown(clock)} is no clock", "Give it VirtualClock(), say")
    check_instance(orchestrator, where)
    place = place_of(orchestrator)
    if place.holder is not None:
        problem = f"it has the clock of {shown(place.holder.owner)}, which holds it"
        raise DeclarationError(where, problem, "Set that of the holder")
    before, place.own_clock = place.own_clock, clock
    try:
        begin_anew(orchestrator)
    except BaseException:
        place.own_clock = before
        raise
    return clock
