"""Random runs: what a rule-based state machine of hypothesis is made of."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._enabled import for_users
from statemachines_orchestrator._goals import invariants_of
from statemachines_orchestrator._graphs import boxes_of
from statemachines_orchestrator._notes import add_note
from statemachines_orchestrator._sending import named
from statemachines_orchestrator._steps import Step
from statemachines_orchestrator._walking import Walk
from statemachines_orchestrator._wholes import names_of
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Run", "events_below"]


def events_below(owner: Any) -> list[tuple[str, str]]:
    """Return what may be sent to machines at any depth: the names that lead there, and events."""
    found = {
        (box.path, event): None
        for box in boxes_of(type(owner), owner)
        for event in for_users(arc.event for arc in box.arcs)
    }
    return list(found)


class Run:
    """One random run of an orchestrator; what fails in it is raised with its trace."""

    def __init__(self, make: Any, where: str, predicates: list[Any], may_raise: Any) -> None:
        self.walk = Walk(make, where)
        self.predicates = predicates
        self.may_raise = may_raise
        self.stack = ExitStack()
        self.trace = self.stack.enter_context(tracing(self.walk.owner))
        self.path: list[Step] = []
        self.enabled: Mapping[Any, tuple[str, ...]] | None = None

    def end(self) -> None:
        """Record no more."""
        self.stack.close()

    def can_go_on(self, sent: Iterable[tuple[str, str]]) -> bool:
        """Whether any of these events would be taken, or any timer may come due."""
        return bool(self.timers()) or any(self.able(names, event) for names, event in sent)

    def events(self) -> Mapping[Any, tuple[str, ...]]:
        """Return what the machines would take now, asked once for each step."""
        enabled = self.enabled
        if enabled is None:
            self.walk.joints.read()
            enabled = self.enabled = self.walk.owner.enabled_events()
        return enabled or {}

    def able(self, names: str, event: str) -> list[Any]:
        """Return the paths of the machines under some names that would take an event now."""
        enabled = self.events()
        whole = self.walk.joints.structure.whole
        return [
            path
            for path in whole.machines
            if event in enabled.get(named(path), ())
            and names_of(path, whole.orchestrators) == names
        ]

    def send(self, path: Any, event: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Send an event."""
        self.do(Step("event", path, event, args, kwargs, told_path=self.walk.told(path)))

    def timers(self) -> list[Step]:
        """Return what may come due."""
        return list(self.walk.timer_steps())

    def do(self, step: Step) -> None:
        """Do one step; raise what fails in it."""
        self.path.append(step)
        self.enabled = None
        outcome = self.walk.run(step)
        self.walk.joints.read()
        if outcome.error is not None and not isinstance(outcome.error, self.may_raise):
            raise self.noted(outcome.error)
        for _name, failure in outcome.failures:
            if not isinstance(failure, self.may_raise):
                raise self.noted(failure)

    def check(self) -> None:
        """Ask the invariants."""
        for one in invariants_of(self.walk.joints.structure.whole, self.predicates):
            is_violated, error = one.violation()
            if is_violated:
                message = f"{one.name} does not hold in {self.walk.owner!r}"
                raise self.noted(AssertionError(message)) from error

    def noted(self, error: Exception) -> Exception:
        """Return an exception with what led to it as a note."""
        steps = "\n".join(f"{number:>3}. {step}" for number, step in enumerate(self.path, 1))
        add_note(error, f"after\n{steps}\n\n{self.trace}")
        return error
