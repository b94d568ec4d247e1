"""What is kept of the whole, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._wholes import NO_DATA, Data, names_of, parts_of, words_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from statemachines_orchestrator._timers import Kept
    from statemachines_orchestrator._wholes import Local, Path

__all__ = [
    "MachineState",
    "ModelState",
    "OrchestratorState",
    "Standing",
    "is_called",
    "told_class",
]


def _class_field() -> Any:
    return attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class MachineState:
    """One machine, as it stood."""

    of: str
    """The name of its class, with the module."""
    local: Local
    """Its configuration, what its history states remember, and whether it has ended."""
    state_field: str
    model: int
    """Which of the models is its."""
    data: Data = NO_DATA
    """What was set on the machine itself."""
    cls: Any = _class_field()  # noqa: RUF009 - it returns an attrs field


@attrs.frozen
class ModelState:
    """The model of one or several machines, as it stood."""

    of: str | None
    """The name of its class, with the module; `None` of the host's own."""
    data: Data | None = NO_DATA
    """Its attributes; `None` where it does not tell them."""
    is_dumped: bool = False
    """Whether a hook has told of it: then its data is one value, `dumped`."""
    cls: Any = _class_field()  # noqa: RUF009 - it returns an attrs field


@attrs.frozen
class OrchestratorState:
    """One orchestrator, as it stood."""

    of: str
    """The name of its class, with the module."""
    held: Mapping[str, tuple[Hashable, ...] | None]
    """What its machine fields held: of a fleet the keys, in order; `None` for nothing."""
    fields: tuple[str, ...]
    """The names of its fields that hold no machines."""
    data: Data
    joins: Mapping[str, bool]
    """The joins, as they are told, and whether each was true."""
    cls: Any = _class_field()  # noqa: RUF009 - it returns an attrs field


@attrs.frozen(repr=False)
class Standing:
    """An orchestrator at rest, and everything below it."""

    of: str
    """The name of the orchestrator's class, with the module."""
    now: float = attrs.field(eq=False)
    """The time of its clock, in seconds."""
    machines: Mapping[Path, MachineState]
    """The machines by the paths of names and keys that lead to them, in order."""
    orchestrators: Mapping[Path, OrchestratorState]
    """The orchestrators by their paths; that of the outermost one is empty."""
    models: tuple[ModelState, ...]
    """The models of the machines, each once."""
    timers: tuple[tuple[Path, Kept], ...]
    """What is pending, in the order in which it comes due, with the path of its orchestrator."""
    wall: float = attrs.field(eq=False)
    """The real time, in seconds since 1970."""
    is_real: bool = attrs.field(eq=False)
    """Whether the clock was that of the system."""

    def name_of(self, path: Path) -> str:
        """Return the names of a path, by which topics call what it leads to."""
        return names_of(path, self.orchestrators)

    def told(self, path: Path) -> str:
        """Return `order`, `items['a']`, or for the outermost orchestrator `it`."""
        return words_of(path, self.orchestrators) or "it"

    def keys_of(self, path: Path) -> tuple[Hashable, ...]:
        """Return the fleet keys of a path."""
        return tuple(part for part, is_key in parts_of(path, self.orchestrators) if is_key)


def told_class(of: str) -> str:
    """Return the name of a class as `repr` tells it, of that with the module."""
    return of.rpartition(":")[2].rpartition(">.")[2]


def is_called(kind: type, of: str) -> bool:
    """Whether a class has this name; a program that is run calls its own module `__main__`."""
    module, _, name = of.rpartition(":")
    return kind.__qualname__ == name and (
        kind.__module__ == module or "__main__" in {kind.__module__, module}
    )
