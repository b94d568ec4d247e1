"""Law 3: reactions act next, and see machines at rest."""

from __future__ import annotations

from typing import Any

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on


class Light(StateMachine):
    red = State(initial=True)
    green = State()
    go = red.to(green)
    halt = green.to(red)


def busy(machine: Any) -> bool:
    return bool(machine._engine._processing.locked())


def test_a_reaction_runs_when_the_outermost_call_has_come_to_rest(engine: Any) -> None:
    """After `after_` callbacks of the whole call stack, before the outermost call returns."""
    log: list[Any] = []

    class First(StateMachine):
        red = State(initial=True)
        green = State(final=True)
        go = red.to(green)

        def before_go(self, orc: Any) -> Any:
            log.append("before first")
            return orc.second.go()

        def after_go(self) -> None:
            log.append("after first")

    class Second(StateMachine):
        red = State(initial=True)
        green = State(final=True)
        go = red.to(green)

        def after_go(self) -> None:
            log.append("after second")

    class Pair(Orchestrator):
        first: First
        second: Second

        @on("second.go")
        def react(self) -> None:
            log.append(("reaction", busy(self.first), busy(self.second)))
            log.append((self.first.current_state_value, self.second.current_state_value))

    pair = Pair(engine.machine(First)(), engine.machine(Second)())
    engine.run(lambda: pair.first.go())
    log.append("returned")
    assert log == [
        "before first",
        "after second",
        "after first",
        ("reaction", False, False),
        ("green", "green"),
        "returned",
    ]


def test_a_reaction_may_call_the_machine_that_caused_it(engine: Any) -> None:
    """It is at rest, takes the call, and gives a real result."""
    results: list[Any] = []

    class Answering(Light):
        def on_halt(self) -> str:
            return "halted"

    class Alone(Orchestrator):
        light: Answering

        @on("light.go")
        def back(self) -> Any:
            result = self.light.halt()
            if not engine.is_async:
                results.append(result)
                return None

            async def wait() -> None:
                results.append(await result)

            return wait()

    alone = Alone(engine.machine(Answering)())
    engine.run(lambda: alone.light.go())
    assert (results, alone.light.current_state_value) == (["halted"], "red")


def test_a_reaction_runs_after_the_events_that_the_machine_sent_to_itself(engine: Any) -> None:
    """The machine has emptied its queue before the first reaction runs."""
    log: list[Any] = []

    class Eager(Light):
        def after_go(self) -> Any:
            return self.halt()

    class Alone(Orchestrator):
        light: Eager

        @on("light.*")
        def note(self, event: str) -> None:
            log.append((str(event), self.light.current_state_value))

    alone = Alone(engine.machine(Eager)())
    engine.run(lambda: alone.light.go())
    assert log == [("go", "red"), ("halt", "red")]


def test_a_call_of_another_orchestrators_machine_belongs_to_the_cascade(engine: Any) -> None:
    """One cascade runs through all orchestrators that a call touches."""
    log: list[Any] = []

    class Inner(Orchestrator):
        light: Light

        @on("light.go")
        def note(self) -> None:
            log.append("inner")

    class Outer(Orchestrator):
        light: Light
        inner: Any = None

        @on("light.go")
        def pass_on(self) -> Any:
            log.append("outer")
            return self.inner.light.go()

        @on("light.go")
        def last(self) -> None:
            log.append("outer, second")

    light = engine.machine(Light)
    outer = Outer(light(), Inner(light()))
    engine.run(lambda: outer.light.go())
    assert log == ["outer", "outer, second", "inner"]
