"""Checking: what is given to an orchestrator is refused here, before anything is attached."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._engine import is_in_mid_step, missing_seam, seam_of
from statemachines_orchestrator._host import HOST, SUPPORTED, Machine, store_of
from statemachines_orchestrator._members import is_orchestrator, members_in, members_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    MachineIsBusyError,
    MachineIsTakenError,
    StateFieldIsNotUniqueError,
    UnsupportedHostError,
    WrongMachineError,
)
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._places import Place

__all__ = ["Check", "all_of", "is_built", "is_one", "publisher_of"]


class Check:
    """Refuses what cannot be attached to one orchestrator, before anything is."""

    def __init__(self, orchestrator: Any, declaration: Any) -> None:
        self.orchestrator = orchestrator
        self.where = declaration.where
        self.fields = declaration.fields
        place = place_of(orchestrator)
        self.names = (orchestrator.orchestrator_name,) if place is None else tuple(place.injected)
        """What would be injected into the callbacks of a machine."""
        self.stores: dict[tuple[int, str], Any] = {} if place is None else place.stores
        self.added: dict[tuple[int, str], str] = {}
        """Which state is kept where, of what is attached together."""
        self.freed: set[tuple[int, str]] = set()
        """Which of these is free, since another machine takes the place."""
        self.seen: dict[int, str] = {}

    def field(self, name: str, value: Any) -> None:
        """Check what is given to a field."""
        if not self.fields[name].fleet:
            self.member(name, name, value)
            return
        if not isinstance(value, Fleet):
            text = self.fields[name].annotation
            raise WrongMachineError(self.where, name, text, reprlib.repr(value))
        if value.holder is not None:
            owner = value.holder
            injected = owner.orchestrator_name
            raise MachineIsTakenError(self.where, name, shown(owner), injected, "fleet")
        self._alone(name, value)
        for key, member in members_in(value):
            self.member(name, f"{name}[{shown(key)}]", member)

    def member(self, field_name: str, name: str, member: Any) -> None:
        """Check a machine or an orchestrator; `name` is what the error calls it."""
        field = self.fields[field_name]
        known = (
            is_one(member, field.classes)
            if field.classes
            else is_one(member, Machine) or is_orchestrator(member)
        )
        if not known:
            expected = " | ".join(one.__name__ for one in field.classes or ())
            raise WrongMachineError(self.where, name, expected or field.annotation, shown(member))
        self._alone(name, member)
        if is_orchestrator(member):
            self._orchestrator(name, member)
        else:
            self._machine(name, member)

    def _alone(self, name: str, member: Any) -> None:
        same = self.seen.setdefault(id(member), name)
        if same != name:
            self._refuse_second_place(name, same)

    def _refuse_second_place(self, name: str, same: str) -> None:
        problem = f"the machine stands in {same} too"
        fix = "Give each field and each key a machine of its own"
        raise DeclarationError(f"{self.where}.{name}", problem, fix)

    def _orchestrator(self, name: str, inner: Any) -> None:
        place = place_of(inner)
        if place is None:
            raise DeclarationError(
                f"{self.where}.{name}",
                f"{type(inner).__qualname__} is not built yet",
                "Let its __init__ call self.__attrs_init__(...) first",
            )
        own = place_of(self.orchestrator)
        if own is not None and place in own.holders():
            problem = f"{shown(inner)} would hold itself"
            raise DeclarationError(f"{self.where}.{name}", problem, "Give it another one")
        if place.holder is not None:
            holder = place.holder.owner
            injected = holder.orchestrator_name
            raise MachineIsTakenError(self.where, name, shown(holder), injected, "orchestrator")
        for machine in all_of(inner):
            seam = seam_of(machine)
            if seam is None:
                raise DeclarationError(
                    f"{self.where}.{name}",
                    f"{shown(inner)} holds a machine that was never attached",
                    "Let its __setattr__ call super().__setattr__(name, value)",
                )
            for other in seam.publishers:
                for injected in self.names if place not in other.place.holders() else ():
                    if injected in other.place.injected:
                        taken = shown(other.place.injected[injected])
                        raise MachineIsTakenError(self.where, name, taken, injected)

    def _built(self, where: str, machine: Any) -> None:
        """Refuse a machine that was never built, and one of another host."""
        try:
            missing = missing_seam(machine)
        except Exception:  # noqa: BLE001 - its own `__getattr__`
            missing = "engine"
        if missing is None:
            return
        if is_built(machine):
            raise UnsupportedHostError(where, HOST, missing, SUPPORTED)
        problem = f"a {type(machine).__name__} whose constructor has not run to its end was given"
        fix = "Let its __init__ call super().__init__(), and give it only what that has built"
        raise DeclarationError(where, problem, fix)

    def _machine(self, name: str, machine: Any) -> None:
        self._built(f"{self.where}.{name}", machine)
        seam = seam_of(machine)
        if seam is not None and seam.at_rest:  # it was attached and detached while the host ran it
            seam.rest(only=seam.publishers)
        taken: dict[str, Any] = {} if seam is None else seam.injected
        for injected in self.names:
            holder = taken.get(injected)
            if holder is self.orchestrator:
                own = publisher_of(place_of(holder), machine)
                if own is not None and own not in own.place.leaving:
                    self._refuse_second_place(name, own.shown)
                if own is not None or not seam_of(machine):  # it has not left yet
                    raise MachineIsBusyError(self.where, name)
            if holder is not None:
                raise MachineIsTakenError(self.where, name, shown(holder), injected)
        if is_in_mid_step(machine):
            raise MachineIsBusyError(self.where, name)
        store = store_of(machine)
        kept = None if store in self.freed else self.stores.get(store)
        if kept is None or kept.machine is machine:
            other = self.added.setdefault(store, name)
        else:
            other = kept.shown
        if other != name:
            raise StateFieldIsNotUniqueError(self.where, name, other, machine.state_field)


def is_one(member: object, classes: Any) -> bool:
    """Whether something is an instance; what stands in for one, a mock, may tell its class."""
    return issubclass(type(member), classes)


def is_built(machine: Any) -> bool:
    """Whether the constructor of a machine has run to its end."""
    try:
        return hasattr(machine, "current_state_value")
    except Exception:  # noqa: BLE001 - its own `__getattr__`, which is asked where nothing is yet
        return False


def publisher_of(place: Place, machine: Any) -> Any:
    """Return the publisher that an orchestrator gave a machine."""
    seam = seam_of(machine)
    publishers = () if seam is None else seam.publishers
    return next((one for one in publishers if one.place is place), None)


def all_of(owner: Any) -> Iterator[Any]:
    """Yield the machines at any depth, those included that are about to leave."""
    yield from (publisher.machine for publisher in list(place_of(owner).leaving))
    for _name, _key, member in members_of(owner):
        if is_orchestrator(member):
            yield from all_of(member)
        else:
            yield member
