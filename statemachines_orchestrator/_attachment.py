"""Attaching: the machines of one orchestrator are checked, and given their publishers and seams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator import _calls
from statemachines_orchestrator._bus import Bus
from statemachines_orchestrator._engine import Seam, is_in_mid_step, missing_seam, seam_of
from statemachines_orchestrator._host import HOST, SUPPORTED, Machine
from statemachines_orchestrator._publisher import Publisher
from statemachines_orchestrator._turns import Subscription
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    StateFieldIsNotUniqueError,
    UnsupportedHostError,
    WrongMachineError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BUS", "assemble", "attach", "disassemble", "may_set"]

BUS = "_Orchestrator__bus"
"""The attribute that holds the bus, and tells that the orchestrator is assembled."""


def assemble(orchestrator: Any) -> None:
    """Make the bus, subscribe the reactions, attach the machines; all of it or nothing."""
    if BUS in vars(orchestrator):
        return
    cls = orchestrator.__class__
    declaration: Any = cls.__declaration__
    if not declaration.is_resolved:
        declaration = declaration.resolved(cls, _values(orchestrator, declaration))
    values = _values(orchestrator, declaration)
    for name, value in values.items():
        if value is not None or not declaration.fields[name].optional:
            _check(orchestrator, declaration, name, values)
    cls.__declaration__ = declaration
    bus = Bus(
        lambda topic: declaration.topics.resolve(topic, declaration.where),
        lambda name, error, record: _calls.observer_failed(orchestrator, name, error, record),
    )
    for plan in declaration.plans:
        for topic in plan.topics:
            bus.signal(topic).connect(Subscription(orchestrator, bus, plan, topic, _calls.enqueue))
    vars(orchestrator)[BUS] = bus
    for name, machine in values.items():
        if machine is not None:
            attach(orchestrator, name, machine)


def disassemble(orchestrator: Any) -> None:
    """Detach the machines: the orchestrator's constructor raised."""
    for machine in _values(orchestrator, orchestrator.__declaration__).values():
        seam = None if machine is None else seam_of(machine)
        if seam is not None:
            seam.remove(orchestrator)


def may_set(orchestrator: Any, name: str, value: Any) -> bool:
    """Return whether setting a machine field attaches a machine.

    Raises `MachineFieldIsSetError` where one is set already, and what speaks against this one.
    """
    if BUS not in vars(orchestrator):
        return False
    declaration = orchestrator.__declaration__
    values = _values(orchestrator, declaration)
    if values[name] is not None:
        raise MachineFieldIsSetError(declaration.where, name)
    if value is None:
        return False
    _check(orchestrator, declaration, name, {**values, name: value})
    return True


def _values(orchestrator: Any, declaration: Any) -> dict[str, Any]:
    return {name: getattr(orchestrator, name, None) for name in declaration.fields}


def _check(orchestrator: Any, declaration: Any, name: str, values: Mapping[str, Any]) -> None:
    """Refuse what cannot be attached, before anything is."""
    where, field, machine = declaration.where, declaration.fields[name], values[name]
    if not isinstance(machine, field.classes or Machine):
        expected = " | ".join(known.__name__ for known in field.classes or ())
        raise WrongMachineError(where, name, expected or field.annotation, repr(machine))
    missing = missing_seam(machine)
    if missing is not None:
        raise UnsupportedHostError(f"{where}.{name}", HOST, missing, SUPPORTED)
    injected = orchestrator.orchestrator_name
    seam = seam_of(machine)
    holder = None if seam is None else seam.injected.get(injected)
    same = next((key for key, other in values.items() if key != name and other is machine), None)
    if same is not None:
        problem = f"the machine stands in {same} too"
        raise DeclarationError(f"{where}.{name}", problem, "Give each field a machine of its own")
    if holder is not None:
        raise MachineIsTakenError(where, name, repr(holder), injected)
    if is_in_mid_step(machine):
        raise MachineIsBusyError(where, name)
    for key, other in values.items():
        if (
            key != name
            and isinstance(other, Machine)
            and other.model is machine.model
            and other.state_field == machine.state_field
        ):
            raise StateFieldIsNotUniqueError(where, name, key, machine.state_field)


def attach(orchestrator: Any, name: str, machine: Any) -> None:
    """Give a machine its seam, and the seam a publisher for this orchestrator."""
    seam = seam_of(machine) or Seam(machine, _calls)
    remembered = orchestrator.__declaration__.remembered_of(name, type(machine))
    publisher = Publisher(orchestrator, name, machine, remembered)
    seam.add(publisher, orchestrator.orchestrator_name, orchestrator)
