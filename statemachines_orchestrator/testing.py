"""Testing: what makes the tests of an orchestration shorter.

    TestShop = stateful(Shop).TestCase      # hypothesis runs random events against it
    elapse(shop, "expire")                  # a timer comes due, whatever its deadline

`stateful` needs hypothesis: the extra `testing`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._enabled import events_of
from statemachines_orchestrator._goals import predicates_of
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._stateful import Run, kinds_below
from statemachines_orchestrator._walking import Walk, come_due_next
from statemachines_orchestrator._wholes import Whole
from statemachines_orchestrator.clock import VirtualClock
from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.orchestrator import Orchestrator

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping


__all__ = ["elapse", "stateful"]


def elapse(orchestrator: Orchestrator, name: str, *keys: Hashable) -> None:
    """Let a pending timer come due, whatever comes due before it.

    `name` is that of the reaction with `@timeout`, or the topic that was posted with a delay;
    `keys` are the fleet keys that lead from the orchestrator to the machine of the timeout. Of
    several the one with the least deadline is meant. The clock, a `VirtualClock`, goes on to the
    deadline, if it has not passed, and runs nothing else.
    Raises `DeclarationError` if none is pending, with those that are, or for another clock; and
    `ReactionErrors` for what fails.
    """
    where = f"elapse(..., {name!r})"
    given: Any = orchestrator
    if not isinstance(given, Orchestrator):
        problem = f"it was given {orchestrator!r}, which is no orchestrator"
        raise DeclarationError(where, problem, "Give it an instance of one")
    orchestrator.bus  # noqa: B018 - raises if its constructor is not done
    if not isinstance(place_of(orchestrator).clock, VirtualClock):
        problem = "its clock is no VirtualClock"
        raise DeclarationError(where, problem, "Call use_clock(orchestrator, VirtualClock()) first")
    timers = [(path, kept) for path, _timer, kept in Whole(orchestrator).timers() if not path]
    for path, kept in timers:
        if (kept.reaction or kept.topic, kept.keys) == (name, keys):
            come_due_next(orchestrator, path, name, kept.topic, keys)
            return
    known = ", ".join(dict.fromkeys(told_timer(kept) for _path, kept in timers)) or "nothing"
    problem = f"no such timer is pending; {known} is"
    raise DeclarationError(where, problem, "Let the state be entered, or the event be posted")


def told_timer(kept: Any) -> str:
    """Return how `elapse` is asked for a timer."""
    return ", ".join([repr(kept.reaction or kept.topic), *map(repr, kept.keys)])


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
    its members, with a precondition: that `enabled_events` has it. `events` narrows it as in
    `explore`, but gives one variant of arguments, whose values may be strategies. Where timers are
    pending, one of them comes due, any of them.

    A run fails when a reaction fails, when an event raises something that is none of `may_raise`
    (a refusal is none), when a cascade does not end, and when an invariant, of `invariants` or
    marked with `@invariant`, does not hold. The exception has the trace of the run as a note.
    Raises `DeclarationError` where hypothesis is not installed, and as `explore` does.
    """
    where = "stateful()"
    try:
        hypothesis: Any = import_module("hypothesis.stateful")
        strategies: Any = import_module("hypothesis.strategies")
    except ImportError:
        problem = "hypothesis is not installed"
        fix = "Install the extra: statemachines-orchestrator[testing]"
        raise DeclarationError(where, problem, fix) from None
    walk = Walk(make, where, events=events)  # what is wrong is told now
    asked = predicates_of(invariants, where)
    sent = [
        (names, event)
        for names, kind in kinds_below(type(walk.owner))
        for event in events_of(kind)
        if walk.alphabet.of(names, event)
    ]

    class Running(hypothesis.RuleBasedStateMachine):  # type: ignore[misc]
        """Runs random events and timers."""

        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType] - hypothesis is an extra
            self.under_test = Run(make, where, asked, may_raise)

        def teardown(self) -> None:
            """End the run."""
            self.under_test.end()

        @hypothesis.precondition(lambda self: not self.under_test.can_go_on(sent))  # type: ignore[untyped-decorator]
        @hypothesis.rule()  # type: ignore[untyped-decorator]
        def begin_anew(self) -> None:
            """Make another orchestrator, where nothing more can happen."""
            self.under_test.end()
            self.under_test = Run(make, where, asked, may_raise)

        @hypothesis.invariant()  # type: ignore[untyped-decorator]
        def invariants_hold(self) -> None:
            """Ask the invariants."""
            self.under_test.check()

        @hypothesis.precondition(lambda self: self.under_test.timers())  # type: ignore[untyped-decorator]
        @hypothesis.rule(data=strategies.data())  # type: ignore[untyped-decorator]
        def come_due(self, data: Any) -> None:
            """Let one of the timers come due that are pending."""
            self.under_test.do(data.draw(strategies.sampled_from(self.under_test.timers())))

    for names, event in sent:
        for number, (_args, kwargs) in enumerate(walk.alphabet.of(names, event)):
            name = "_".join(["send", *names.split("."), event, *([str(number)] if number else [])])
            rule = _rule(name, names, event, kwargs, hypothesis, strategies)
            setattr(Running, name, rule)
    name = type(walk.owner).__name__
    return type(f"{name}Machine", (Running,), {"__module__": __name__})


def _rule(  # noqa: PLR0913, PLR0917 - the facts of a rule
    name: str, names: str, event: str, kwargs: Mapping[str, Any], hypothesis: Any, strategies: Any
) -> Any:
    """Return the rule that sends an event to one of the machines that would take it."""

    def send(self: Any, data: Any, **arguments: Any) -> None:
        paths = self.under_test.able(names, event)
        path = paths[0] if len(paths) == 1 else data.draw(strategies.sampled_from(paths))
        self.under_test.send(path, event, arguments)

    send.__name__ = name
    given = {
        one: value if isinstance(value, strategies.SearchStrategy) else strategies.just(value)
        for one, value in kwargs.items()
    }
    rule = hypothesis.rule(data=strategies.data(), **given)(send)

    def may_send(self: Any) -> bool:
        return bool(self.under_test.able(names, event))

    return hypothesis.precondition(may_send)(rule)
