"""Law 10: local."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import attrs
import pytest
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, ReactionErrors, on


class Machine(StateMachine):
    a = State(initial=True)
    go = a.to.itself()


class Held(Orchestrator):
    machine: Machine
    log: Any = attrs.field(factory=list)

    @on("machine.go")
    def note(self) -> None:
        self.log.append(id(self))


def test_two_orchestrators_never_hear_each_other(engine: Any) -> None:
    """Of one class or of two, with equal machines."""
    log: list[int] = []
    machine = engine.machine(Machine)
    one, two = Held(machine(), log=log), Held(machine(), log=log)
    heard: list[Any] = []
    two.bus.signal("machine.go").connect(lambda sender, record: heard.append(sender))
    engine.run(one.machine.go)
    assert (log, heard) == ([id(one)], [])
    assert one.bus.signal("machine.go") is not two.bus.signal("machine.go")


def test_a_machine_keeps_its_orchestrator_alive(engine: Any) -> None:
    """Who holds a machine may drop the orchestrator: its reactions still run."""
    log: list[int] = []
    machine = engine.machine(Machine)()
    Held(machine, log=log)
    gc.collect()
    engine.run(machine.go)
    assert len(log) == 1


def test_dropping_the_last_references_frees_all_of_it(engine: Any) -> None:
    """The orchestrator and its machines, also after a cascade with observers and failures."""

    class Failing(Held):
        @on("machine.go")
        def fail(self) -> None:
            raise ValueError

    held: Any = Failing(engine.machine(Machine)(), log=[])
    held.bus.signal("*").connect(lambda machine, record: None)
    engine.raises(ReactionErrors, held.machine.go)
    references = [weakref.ref(held), weakref.ref(held.machine), weakref.ref(held.bus.signal("*"))]
    del held
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


def test_a_machine_built_in_a_refused_orchestrator_is_bare() -> None:
    """What is refused leaves nothing behind on the machines that were given with it."""

    class Two(Orchestrator):
        one: Machine
        two: Machine

    machine = Machine()
    with pytest.raises(TypeError):
        Two(machine, "no machine")  # type: ignore[arg-type]
    log: list[int] = []
    held = Held(machine, log=log)
    machine.go()
    assert log == [id(held)]
