"""Which machines of an orchestrator take their events on the fast lane, and why others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._fast import is_fast, why_not_fast
from statemachines_orchestrator._members import machines_below
from statemachines_orchestrator._sending import named
from statemachines_orchestrator._wiring import check_instance

if TYPE_CHECKING:
    from statemachines_orchestrator.orchestrator import Orchestrator

__all__ = ["Lane", "fast_lane"]


@attrs.frozen
class Lane:
    """Which way the events of a machine go: on the fast lane, or through its host's engine."""

    is_fast: bool
    """Whether it is the fast lane."""
    why_not: str = ""
    """Why it is not, in words; empty if it is."""

    def __str__(self) -> str:
        return "fast" if self.is_fast else f"not fast: {self.why_not}"


def fast_lane(orchestrator: Orchestrator) -> dict[Any, Lane]:
    """Return, for each machine at any depth, whether it is on the fast lane, and why not.

    A machine is on it if it qualifies and the orchestrator that holds it was declared with
    `fast=True`: `class Shop(Orchestrator, fast=True)`. It qualifies if python-statemachine is of a
    version that the lane was checked with, if it runs on the sync engine, of which nobody has
    replaced a part or a method, without debug logging, and if its class is flat: no compound,
    parallel or history states, no transitions without an event or with several targets, no
    `invoke`, no two states of one value, no way of its own to set attributes or to keep its
    configuration. That is found out when the machine is attached, once, and by what the instance
    and its class are then: what is wrapped or patched later, or in python-statemachine's own
    classes, is not called for events on the lane.
    In the order of fields and of members; the names are those of `broadcast`: that of the field,
    or names and keys (`("items", "a")`).
    Raises `DeclarationError` for what is no orchestrator.
    """
    check_instance(orchestrator, "fast_lane()")
    return {named(path): _lane_of(machine) for path, _name, machine in machines_below(orchestrator)}


def _lane_of(machine: Any) -> Lane:
    if is_fast(machine):
        return Lane(is_fast=True)
    owners = [publisher.place.owner for publisher in seam_of(machine).publishers]
    if any(owner.__declaration__.options.fast for owner in owners):
        return Lane(is_fast=False, why_not=why_not_fast(machine))
    names = " and ".join(type(owner).__name__ for owner in owners)
    return Lane(is_fast=False, why_not=f"{names} was not declared with fast=True")
