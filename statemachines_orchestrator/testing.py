"""Testing: what makes the tests of an orchestration shorter.

    TestShop = stateful(Shop).TestCase      # hypothesis runs random events against it
    elapse(shop, "expire")                  # a timer comes due, whatever its deadline

`stateful` needs hypothesis: the extra `testing`.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._goals import predicates_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._stateful import Run, events_below
from statemachines_orchestrator._walking import Walk, called, come_due
from statemachines_orchestrator._wholes import Whole
from statemachines_orchestrator._wiring import check_instance
from statemachines_orchestrator.clock import VirtualClock
from statemachines_orchestrator.exceptions import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from statemachines_orchestrator._steps import Step
    from statemachines_orchestrator.orchestrator import Orchestrator


__all__ = ["elapse", "stateful"]


def elapse(orchestrator: Orchestrator, name: str, *keys: Hashable, nth: int = 0) -> None:
    """Let a pending timer come due, whatever comes due before it.

    `name` is that of the reaction with `@timeout`, or the topic that was posted with a delay;
    `keys` are the fleet keys that lead from the orchestrator to the machine of the timeout. Of
    several that are called so, the one with the least deadline is meant; with `nth=1` the next. The
    clock, a `VirtualClock`, goes on to the deadline, if it has not passed, and runs nothing else.
    Raises `DeclarationError` if none is pending, with those that are, or for another clock; and
    `ReactionErrors` for what fails.
    """
    where = f"elapse(..., {shown(name)})"
    check_instance(orchestrator, where)
    if type(nth) is not int or nth < 0:
        problem = f"nth={shown(nth)} is no number of a timer"
        raise DeclarationError(where, problem, "Give it 0 for the first, 1 for the next")
    if not isinstance(place_of(orchestrator).clock, VirtualClock):
        problem = "its clock is no VirtualClock"
        raise DeclarationError(where, problem, "Call use_clock(orchestrator, VirtualClock()) first")
    timers = [
        (timer, value, called(path, value))
        for path, timer, value in Whole(orchestrator).timers()
        if not path
    ]
    given: Any = name
    wanted = (name, keys) if isinstance(given, str) else None
    meant = [(timer, value) for timer, value, told in timers if told[1:] == wanted]
    for timer, value in meant[nth : nth + 1]:
        come_due(orchestrator, timer, value)
        return
    known = dict.fromkeys(", ".join(map(repr, (told[1], *told[2]))) for *_timer, told in timers)
    problem = f"no such timer is pending; {', '.join(known) or 'nothing'} is"
    raise DeclarationError(where, problem, "Let the state be entered, or the event be posted")


def stateful(
    make: type[Orchestrator] | Callable[[], Orchestrator],
    *,
    events: Mapping[str, Any] | Iterable[str] | str | None = None,
    invariants: Callable[[Any], Any] | Iterable[Callable[[Any], Any]] | None = None,
    may_raise: type[Exception] | tuple[type[Exception], ...] = (),
) -> Any:
    """Return a `RuleBasedStateMachine` of hypothesis, which runs random events and timers.

        TestShop = stateful(Shop, events={"*": None, "order.pay": {"amount": amounts}}).TestCase

    `make` is as in `explore`. There is a rule for each event of each field, of a fleet to one of
    its members, with a precondition: that `enabled_events` has it. `events` is as in `explore`, but
    arguments may be strategies; each variant is a rule. Where timers are pending, one of them comes
    due, any of them. Where nothing more can happen another orchestrator is made.

    A run fails when a reaction fails, when an event raises something that is none of `may_raise`
    (a refusal is none), when a cascade does not end, and when an invariant, of `invariants` or
    marked with `@invariant`, does not hold. The exception has the trace of the run as a note.
    Raises `DeclarationError` where hypothesis is not installed, and as `explore` does.
    """
    where = "stateful()"
    walk = Walk(make, where, events=events)  # what is wrong is told now
    asked = predicates_of(invariants, where)
    rules = _Rules(where)
    sent = [
        (names, event)
        for names, event in events_below(walk.owner)
        if walk.alphabet.of(names, event)
    ]
    running: Any = rules.machine(partial(Run, make, where, asked, may_raise), sent)
    for names, event in sent:
        for number, variant in enumerate(walk.alphabet.of(names, event)):
            parts = ["send", *names.split("."), event, *([str(number)] if number else [])]
            name = "__".join(parts)
            setattr(running, name, rules.sending(name, names, event, variant))
    for number, step in enumerate(walk.alphabet.signals):
        name = f"publish_{step.name}_{number}"
        setattr(running, name, rules.publishing(name, step))
    return type(f"{type(walk.owner).__name__}Machine", (running,), {"__module__": __name__})


class _Rules:
    """Makes the rules of hypothesis, which is an extra."""

    def __init__(self, where: str) -> None:
        try:
            self.stateful: Any = import_module("hypothesis.stateful")
            self.strategies: Any = import_module("hypothesis.strategies")
        except ImportError:
            problem = "hypothesis is not installed"
            fix = "Install the extra: statemachines-orchestrator[testing]"
            raise DeclarationError(where, problem, fix) from None

    def machine(self, begin: Callable[[], Run], sent: list[tuple[str, str]]) -> Any:
        """Return a rule-based state machine that has all rules but those of events."""
        stateful, strategies = self.stateful, self.strategies

        class Running(stateful.RuleBasedStateMachine):  # type: ignore[misc,name-defined]
            """Runs random events and timers."""

            def __init__(self) -> None:
                super().__init__()  # pyright: ignore[reportUnknownMemberType] - it is an extra
                self.under_test = begin()

            def teardown(self) -> None:
                """End the run."""
                self.under_test.end()

            @stateful.precondition(lambda self: not self.under_test.can_go_on(sent))  # type: ignore[untyped-decorator]
            @stateful.rule()  # type: ignore[untyped-decorator]
            def begin_anew(self) -> None:
                """Make another orchestrator, where nothing more can happen."""
                self.under_test.end()
                self.under_test = begin()

            @stateful.invariant()  # type: ignore[untyped-decorator]
            def invariants_hold(self) -> None:
                """Ask the invariants."""
                self.under_test.check()

            @stateful.precondition(lambda self: self.under_test.timers())  # type: ignore[untyped-decorator]
            @stateful.rule(data=strategies.data())  # type: ignore[untyped-decorator]
            def come_due(self, data: Any) -> None:
                """Let one of the timers come due that are pending."""
                self.under_test.do(data.draw(strategies.sampled_from(self.under_test.timers())))

        return Running

    def sending(self, name: str, names: str, event: str, variant: Any) -> Any:
        """Return the rule that sends an event to one of the machines that would take it."""
        args, kwargs = variant
        positional = self.strategies.tuples(*map(self._strategy, args))

        def send(machine: Any, data: Any, arguments: Any) -> None:
            paths = machine.under_test.able(names, event)
            pick = self.strategies.sampled_from(paths)
            path = paths[0] if len(paths) == 1 else data.draw(pick)
            given = data.draw(positional) if args else ()
            machine.under_test.send(path, event, given, arguments)

        def may_send(machine: Any) -> bool:
            return bool(machine.under_test.able(names, event))

        return self.stateful.precondition(may_send)(self._rule(send, name, kwargs))

    def publishing(self, name: str, step: Step) -> Any:
        """Return the rule that publishes a signal of the domain."""

        def publish(machine: Any, data: Any, arguments: Any) -> None:  # noqa: ARG001 - every rule has it
            machine.under_test.do(attrs.evolve(step, kwargs=arguments))

        return self._rule(publish, name, step.kwargs)

    def _rule(self, function: Any, name: str, kwargs: Mapping[str, Any]) -> Any:
        function.__name__ = name
        given = {one: self._strategy(value) for one, value in kwargs.items()}
        arguments = self.strategies.fixed_dictionaries(given)  # whatever they are called
        return self.stateful.rule(data=self.strategies.data(), arguments=arguments)(function)

    def _strategy(self, value: Any) -> Any:
        """Return a strategy, of a value one that gives it."""
        is_one = isinstance(value, self.strategies.SearchStrategy)
        return value if is_one else self.strategies.just(value)
