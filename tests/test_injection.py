"""Injection: `orc` reaches every callback that the host knows, and is always the orchestrator."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import statemachine
from conftest import Engine, needs_3
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on

if TYPE_CHECKING:
    from typing import TypeAlias

    HistoryState = statemachine.HistoryState
    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)
    HistoryState = getattr(statemachine, "HistoryState", None)

HOST = tuple(int(part) for part in version("python-statemachine").split(".")[:2])

See = Any
"""`see(callback, orc)` notes that a callback was called, and with what; it returns `True`."""


@attrs.frozen
class Subject:
    """A machine class whose callbacks note their `orc`, and the calls that make them run."""

    machine: Any
    expected: list[str]
    drive: Callable[[Any], Any] = lambda machine: machine.go()
    build: Callable[[Any], Any] = lambda machine_class: machine_class()
    attached: Callable[[Any], None] = lambda _machine: None
    """Called when the machine has been attached."""
    at_once: bool = False
    """Whether an async engine calls some of the callbacks at once, in no order."""


Row = Callable[[See], Subject]
ROWS: list[Any] = []


def row(
    *, statecharts: bool = False, since: tuple[int, int] = (2, 5), only: str = ""
) -> Callable[[Row], Row]:
    """Add a function as a row of the table, with the hosts and the engine that have it."""

    def add(make: Row) -> Row:
        marks = [
            *([needs_3] if statecharts else []),
            pytest.mark.skipif(since > HOST, reason=f"since python-statemachine {since}"),
        ]
        ROWS.extend(
            pytest.param(make, Engine(name), id=f"{make.__name__}-{name}", marks=marks)
            for name in ("sync", "async")
            if only in ("", name)
        )
        return make

    return add


def owner_of(machine: Any) -> Any:
    """Return an orchestrator of one machine."""
    machine_class = type(machine)

    class Owner(Orchestrator):
        machine: machine_class  # type: ignore[valid-type]

    return Owner(machine=machine)


@pytest.mark.parametrize(("make", "engine"), ROWS)
def test_orc_reaches_every_callback(make: Any, engine: Engine) -> None:
    """`orc` is injected into every kind of callback, and it is the orchestrator."""
    seen: list[tuple[str, Any]] = []

    def see(callback: str, orc: Any) -> bool:
        seen.append((callback, orc))
        return True

    subject = make(see)
    is_async = any(map(inspect.iscoroutinefunction, vars(subject.machine).values()))
    machine = subject.build(subject.machine if is_async else engine.machine(subject.machine))
    seen.clear()  # what the constructor called, before the machine was ours
    owner = owner_of(machine)
    subject.attached(machine)
    engine.run(lambda: subject.drive(machine))
    order = sorted if subject.at_once and engine.is_async else list
    assert order(callback for callback, _ in seen) == order(subject.expected)
    assert [orc for _, orc in seen] == [owner] * len(seen)


class Step(StateMachine):
    """The states of most rows."""

    a = State(initial=True)
    b = State()
    go = a.to(b)
    back = b.to(a)


# How a callback is named ----------------------------------------------------------------------


@row()
def naming_convention(see: See) -> Subject:
    """`before_go`, `on_go`, `after_go`, `on_exit_a`, `on_enter_b`."""

    class Machine(Step):
        def before_go(self, orc: Any) -> None:
            see("before", orc)

        def on_exit_a(self, orc: Any) -> None:
            see("exit", orc)

        def on_go(self, orc: Any) -> None:
            see("on", orc)

        def on_enter_b(self, orc: Any) -> None:
            see("enter", orc)

        def after_go(self, orc: Any) -> None:
            see("after", orc)

    return Subject(Machine, ["before", "exit", "on", "enter", "after"])


@row()
def generic_transition(see: See) -> Subject:
    """`before_transition`, `on_transition`, `after_transition`, `on_exit_state`."""

    class Machine(Step):
        def before_transition(self, orc: Any) -> None:
            see("before", orc)

        def on_exit_state(self, orc: Any) -> None:
            see("exit", orc)

        def on_transition(self, orc: Any) -> None:
            see("on", orc)

        def after_transition(self, orc: Any) -> None:
            see("after", orc)

    return Subject(Machine, ["before", "exit", "on", "after"])


@row(only="sync")
def generic_enter(see: See) -> Subject:
    """`on_enter_state`; the fixture's async machines have one of their own."""

    class Machine(Step):
        def on_enter_state(self, orc: Any = None) -> None:
            see("enter", orc)

    return Subject(Machine, ["enter"])


@row(only="async")
def coroutine_functions(see: See) -> Subject:
    """Every kind of callback as `async def`."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, cond="may_go", unless="must_not", validators="check")

        async def check(self, orc: Any) -> None:
            see("validator", orc)

        async def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

        async def must_not(self, orc: Any) -> bool:
            return not see("unless", orc)

        async def before_go(self, orc: Any) -> None:
            see("before", orc)

        async def on_exit_state(self, orc: Any) -> None:
            see("exit", orc)

        async def on_go(self, orc: Any) -> None:
            see("on", orc)

        async def on_enter_b(self, orc: Any) -> None:
            see("enter", orc)

        async def after_go(self, orc: Any) -> None:
            see("after", orc)

    return Subject(
        Machine,
        ["validator", "cond", "unless", "before", "exit", "on", "enter", "after"],
        at_once=True,
    )


@row()
def inline_names(see: See) -> Subject:
    """Callbacks given by name to a transition and to the states."""

    class Machine(StateMachine):
        a = State(initial=True, exit="leave")
        b = State(final=True, enter="arrive")
        go = a.to(b, before="first", on="between", after="last")

        def first(self, orc: Any) -> None:
            see("before", orc)

        def leave(self, orc: Any) -> None:
            see("exit", orc)

        def between(self, orc: Any) -> None:
            see("on", orc)

        def arrive(self, orc: Any) -> None:
            see("enter", orc)

        def last(self, orc: Any) -> None:
            see("after", orc)

    return Subject(Machine, ["before", "exit", "on", "enter", "after"])


@row()
def decorators(see: See) -> Subject:
    """Callbacks added by the decorators of events and states."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b)

        @go.validators  # type: ignore[untyped-decorator]
        def check(self, orc: Any) -> None:
            see("validator", orc)

        @go.cond  # type: ignore[untyped-decorator]
        def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

        @go.unless  # type: ignore[untyped-decorator]
        def must_not(self, orc: Any) -> bool:
            return not see("unless", orc)

        @go.before  # type: ignore[untyped-decorator]
        def first(self, orc: Any) -> None:
            see("before", orc)

        @a.exit  # type: ignore[untyped-decorator]
        def leave(self, orc: Any) -> None:
            see("exit", orc)

        @go.on  # type: ignore[untyped-decorator]
        def between(self, orc: Any) -> None:
            see("on", orc)

        @b.enter  # type: ignore[untyped-decorator]
        def arrive(self, orc: Any) -> None:
            see("enter", orc)

        @go.after  # type: ignore[untyped-decorator]
        def last(self, orc: Any) -> None:
            see("after", orc)

    return Subject(
        Machine,
        ["validator", "cond", "unless", "before", "exit", "on", "enter", "after"],
        at_once=True,
    )


@row()
def an_event_as_a_decorator(see: See) -> Subject:
    """The method under a transition used as a decorator."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)

        @a.to(b)  # type: ignore[untyped-decorator]
        def go(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"])


@row()
def callables(see: See) -> Subject:
    """Lambdas and functions given to a transition and to the states."""

    def function(orc: Any) -> None:
        see("function", orc)

    class Machine(StateMachine):
        a = State(initial=True, exit=lambda orc: see("exit", orc))
        b = State(final=True, enter=function)
        go = a.to(
            b,
            before=lambda orc: see("before", orc),
            on=function,
            after=["last", function],
        )

        def last(self, orc: Any) -> None:
            see("after", orc)

    return Subject(
        Machine, ["before", "exit", "function", "function", "after", "function"], at_once=True
    )


@row(statecharts=True)
def partials(see: See) -> Subject:
    """A `functools.partial`, which 2.x does not take."""

    def named(name: str, orc: Any) -> None:
        see(name, orc)

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, on=functools.partial(named, "partial"))

    return Subject(Machine, ["partial"])


@row()
def keyword_arguments(see: See) -> Subject:
    """A callback with `**kwargs` finds `orc` among them."""

    class Machine(Step):
        def before_go(self, **kwargs: Any) -> None:
            see("before", kwargs["orc"])

        def after_go(self, *_args: Any, **kwargs: Any) -> None:
            see("after", kwargs["orc"])

    return Subject(Machine, ["before", "after"], drive=lambda machine: machine.go(1, amount=2))


@row()
def keyword_only(see: See) -> Subject:
    """A keyword-only `orc`, of an event without positional arguments."""

    class Machine(Step):
        def before_go(self, *, orc: Any) -> None:
            see("before", orc)

    return Subject(Machine, ["before"], drive=lambda machine: machine.go(amount=2))


# Guards and validators ------------------------------------------------------------------------


@row()
def guards_by_name(see: See) -> Subject:
    """`cond`, `unless` and validators by name."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, validators="check", cond="may_go", unless="must_not")

        def check(self, orc: Any) -> None:
            see("validator", orc)

        def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

        def must_not(self, orc: Any) -> bool:
            return not see("unless", orc)

    return Subject(Machine, ["validator", "cond", "unless"], at_once=True)


@row()
def guards_by_callable(see: See) -> Subject:
    """`cond`, `unless` and validators as callables."""

    def check(orc: Any) -> None:
        see("validator", orc)

    def must_not(orc: Any) -> bool:
        return not see("unless", orc)

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, validators=check, cond=lambda orc: see("cond", orc), unless=must_not)

    return Subject(Machine, ["validator", "cond", "unless"], at_once=True)


@row()
def guards_by_expression(see: See) -> Subject:
    """Guards in a boolean expression."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, cond="ready and not blocked")

        def ready(self, orc: Any) -> bool:
            return bool(see("ready", orc))

        def blocked(self, orc: Any) -> bool:
            return not see("blocked", orc)

    return Subject(Machine, ["ready", "blocked"])


def asking(machine: Any, **kwargs: Any) -> Any:
    """Ask an active machine for its enabled events."""
    activated = machine.activate_initial_state()
    if not inspect.isawaitable(activated):
        return machine.enabled_events(**kwargs)

    async def ask() -> Any:
        await activated
        return await machine.enabled_events(**kwargs)

    return ask()


@row(since=(2, 6))
def guards_of_enabled_events(see: See) -> Subject:
    """Guards that `machine.enabled_events()` asks."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, cond="may_go")

        def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

    return Subject(Machine, ["cond"], drive=asking)


@row(since=(2, 6))
def guards_of_enabled_events_given_orc(see: See) -> Subject:
    """What the caller of `enabled_events` passes as `orc` is replaced."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, cond="may_go")
        stay = a.to.itself()

        def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

    return Subject(Machine, ["cond"], drive=functools.partial(asking, orc="fake"))


# Whose callback it is -------------------------------------------------------------------------


@row()
def callbacks_of_the_model(see: See) -> Subject:
    """Callbacks and guards on the model."""

    class Model:
        state: Any = None

        def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

        def before_go(self, orc: Any) -> None:
            see("before", orc)

        def on_exit_a(self, orc: Any) -> None:
            see("exit", orc)

        def on_enter_b(self, orc: Any) -> None:
            see("enter", orc)

        def after_transition(self, orc: Any) -> None:
            see("after", orc)

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, cond="may_go")

    return Subject(
        Machine,
        ["cond", "before", "exit", "enter", "after"],
        build=lambda machine_class: machine_class(Model()),
    )


def a_listener(see: See) -> Any:
    """Return a listener that notes its `orc`."""

    class Listener:
        def before_go(self, orc: Any) -> None:
            see("before", orc)

        def on_exit_a(self, orc: Any) -> None:
            see("exit", orc)

        def on_enter_b(self, orc: Any) -> None:
            see("enter", orc)

        def after_transition(self, orc: Any) -> None:
            see("after", orc)

    return Listener()


LISTENED = ["before", "exit", "enter", "after"]


@row()
def a_listener_of_the_constructor(see: See) -> Subject:
    """Callbacks and guards on a listener that was given to the constructor."""

    class Guarding:
        def may_go(self, orc: Any) -> bool:
            return bool(see("cond", orc))

    class Machine(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, cond="may_go")

    return Subject(
        Machine,
        ["cond", *LISTENED],
        build=lambda machine_class: machine_class(listeners=[Guarding(), a_listener(see)]),
    )


@row()
def a_listener_added_before_attaching(see: See) -> Subject:
    """Callbacks on a listener that was added before the machine was given to its orchestrator."""

    def build(machine_class: Any) -> Any:
        machine = machine_class()
        machine.add_listener(a_listener(see))
        return machine

    return Subject(Step, LISTENED, build=build)


@row()
def a_listener_added_after_attaching(see: See) -> Subject:
    """Callbacks on a listener that was added when the machine had its orchestrator."""
    return Subject(Step, LISTENED, attached=lambda machine: machine.add_listener(a_listener(see)))


# How the event comes --------------------------------------------------------------------------


@row()
def sent_by_name(see: See) -> Subject:
    """An event sent with `send`."""

    class Machine(Step):
        def on_go(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"], drive=lambda machine: machine.send("go", amount=1))


@row()
def given_by_the_caller(see: See) -> Subject:
    """What the caller passes under the same name is replaced, by keyword and through `send`."""

    class Machine(Step):
        def on_go(self, orc: Any) -> None:
            see("on go", orc)

        def on_back(self, **kwargs: Any) -> None:
            see("on back", kwargs["orc"])

    def drive(machine: Any) -> Any:
        first = machine.go(orc="fake")
        if not inspect.isawaitable(first):
            return machine.send("back", orc="fake")

        async def both() -> None:
            await first
            await machine.send("back", orc="fake")

        return both()

    return Subject(Machine, ["on go", "on back"], drive=drive)


@row()
def nested_send(see: See) -> Subject:
    """An event that a callback sends to its own machine."""

    class Machine(Step):
        def after_go(self) -> Any:
            return self.back(amount=1)

        def on_exit_b(self, orc: Any) -> None:
            see("exit", orc)

        def on_back(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["exit", "on"])


@row()
def nested_in_another_machine(see: See) -> Subject:
    """A direct call of the orchestrator's machine in a callback of that machine."""

    class Machine(Step):
        def after_go(self, orc: Any) -> Any:
            return orc.machine.back()

        def on_back(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"])


@row()
def an_event_as_an_action(see: See) -> Subject:
    """An event that is given to another one as its action."""

    class Machine(StateMachine):
        a = State(initial=True)
        b = State()
        back = b.to(a)
        go = a.to(b, after="back")

        def on_back(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"])


@row()
def self_transitions(see: See) -> Subject:
    """External and internal transitions to the same state."""

    class Machine(StateMachine):
        a = State(initial=True)
        go = a.to.itself(on="external")
        inside = a.to.itself(internal=True, on="internal")

        def external(self, orc: Any) -> None:
            see("external", orc)

        def internal(self, orc: Any) -> None:
            see("internal", orc)

    def drive(machine: Any) -> Any:
        first = machine.go()
        if not inspect.isawaitable(first):
            return machine.inside()

        async def both() -> None:
            await first
            await machine.inside()

        return both()

    return Subject(Machine, ["external", "internal"], drive=drive)


@row()
def events_bound_to_another_object(see: See) -> Subject:
    """An event that `bind_events_to` put on another object."""

    class Machine(Step):
        def on_go(self, orc: Any) -> None:
            see("on", orc)

    class Target:
        go: Any

    def drive(machine: Any) -> Any:
        target = Target()
        machine.bind_events_to(target)
        return target.go()

    return Subject(Machine, ["on"], drive=drive)


@row(only="async")
def the_lazily_entered_initial_state(see: See) -> Subject:
    """An async machine enters its initial state at its first event."""

    class Machine(Step):
        def on_enter_a(self, orc: Any) -> None:
            see("enter a", orc)

        def on_enter_b(self, orc: Any) -> None:
            see("enter b", orc)

    return Subject(Machine, ["enter a", "enter b"])


@row(only="async")
def activate_initial_state(see: See) -> Subject:
    """An async machine enters its initial state when it is told to."""

    class Machine(Step):
        def on_enter_a(self, orc: Any) -> None:
            see("enter", orc)

    return Subject(Machine, ["enter"], drive=lambda machine: machine.activate_initial_state())


# Statecharts ----------------------------------------------------------------------------------


@row(statecharts=True)
def prepare_event(see: See) -> Subject:
    """`prepare_event`, the first of all, whose names reach the other callbacks."""
    prepared: list[bool] = []

    class Machine(Step):
        def prepare_event(self, event: Any, orc: Any = None) -> dict[str, Any]:
            if event == "go" and not prepared:  # the host calls it for each candidate
                prepared.append(True)
                see("prepare", orc)
            return {"prepared": orc}

        def on_go(self, prepared: Any) -> None:
            see("on", prepared)

    return Subject(Machine, ["prepare", "on"])


@row(statecharts=True)
def an_eventless_transition(see: See) -> Subject:
    """Guard, on, exit and enter of a transition without an event."""

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        c = State(final=True)
        go = a.to(b)
        b.to(c, cond="may_pass", on="pass_on", after="passed")

        def may_pass(self, orc: Any) -> bool:
            return bool(see("cond", orc))

        def on_exit_b(self, orc: Any) -> None:
            see("exit", orc)

        def pass_on(self, orc: Any) -> None:
            see("on", orc)

        def on_enter_c(self, orc: Any) -> None:
            see("enter", orc)

        def passed(self, orc: Any) -> None:
            see("after", orc)

    return Subject(Machine, ["cond", "exit", "on", "enter", "after"])


@row(statecharts=True)
def an_error_handler(see: See) -> Subject:
    """The transition that takes `error.execution`, and the state that it enters."""

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        failed = State(final=True)
        go = a.to(b, on="fail")
        error_execution = a.to(failed, on="handle") | b.to(failed, on="handle")

        def fail(self) -> None:
            raise ValueError("no")

        def handle(self, orc: Any) -> None:
            see("on", orc)

        def on_enter_failed(self, orc: Any) -> None:
            see("enter", orc)

    return Subject(Machine, ["on", "enter"])


@row(statecharts=True)
def done_state_handlers(see: See) -> Subject:
    """`donedata`, the transition that takes `done.state`, and the state that it enters."""

    class Machine(StateChart):
        class work(State.Compound):  # noqa: N801 - a state
            one = State(initial=True)
            two = State(final=True, donedata="result")
            go = one.to(two)

        over = State(final=True)
        done_state_work = work.to(over, on="take")

        def result(self, orc: Any) -> dict[str, Any]:
            see("donedata", orc)
            return {"number": 42}

        def take(self, orc: Any) -> None:
            see("on", orc)

        def on_enter_over(self, orc: Any) -> None:
            see("enter", orc)

    return Subject(Machine, ["donedata", "on", "enter"])


@row(statecharts=True)
def a_raised_event(see: See) -> Subject:
    """An event that a callback raises with `raise_`."""

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        c = State(final=True)
        go = a.to(b, on="raise_it")
        onward = b.to(c, on="move")

        def raise_it(self) -> Any:
            return self.raise_("onward")

        def move(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"])


@row(statecharts=True)
def a_delayed_event(see: See) -> Subject:
    """An event with a delay of one millisecond."""

    class Machine(Step):
        def on_go(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"], drive=lambda machine: machine.send("go", delay=1))


@row(statecharts=True)
def nested_initial_states(see: See) -> Subject:
    """Every level of a compound state that is entered, and the initial transitions."""

    class Machine(StateChart):
        a = State(initial=True)

        class b(State.Compound):  # noqa: N801 - a state
            class inner(State.Compound):  # noqa: N801 - a state
                leaf = State(initial=True)

        go = a.to(b)

        def on_enter_b(self, orc: Any) -> None:
            see("b", orc)

        def on_enter_inner(self, orc: Any) -> None:
            see("inner", orc)

        def on_enter_leaf(self, orc: Any) -> None:
            see("leaf", orc)

    return Subject(Machine, ["b", "inner", "leaf"])


@row(statecharts=True)
def parallel_regions(see: See) -> Subject:
    """One event taken in two regions, and the states of both."""

    class Machine(StateChart):
        class both(State.Parallel):  # noqa: N801 - a state
            class left(State.Compound):  # noqa: N801 - a state
                l1 = State(initial=True)
                l2 = State()
                go = l1.to(l2, on="move_left")

            class right(State.Compound):  # noqa: N801 - a state
                r1 = State(initial=True)
                r2 = State()
                go = r1.to(r2, on="move_right")

        def move_left(self, orc: Any) -> None:
            see("on left", orc)

        def move_right(self, orc: Any) -> None:
            see("on right", orc)

        def on_enter_l2(self, orc: Any) -> None:
            see("enter left", orc)

        def on_enter_r2(self, orc: Any) -> None:
            see("enter right", orc)

    return Subject(Machine, ["on left", "on right", "enter left", "enter right"])


@row(statecharts=True)
def a_history_default(see: See) -> Subject:
    """The default transition of a history state without a history, and what it enters."""

    class Machine(StateChart):
        a = State(initial=True)

        class b(State.Compound):  # noqa: N801 - a state
            one = State(initial=True)
            two = State()
            last = HistoryState()
            last.to(two, on="default")
            swap = one.to(two) | two.to(one)

        go = a.to(b.last)

        def default(self, orc: Any) -> None:
            see("on", orc)

        def on_enter_two(self, orc: Any) -> None:
            see("enter", orc)

    return Subject(Machine, ["on", "enter"])


@row(statecharts=True)
def a_targetless_transition(see: See) -> Subject:
    """A transition without a target."""

    class Machine(StateChart):
        a = State(initial=True)
        go = a.to(None, on="tick")

        def tick(self, orc: Any) -> None:
            see("on", orc)

    return Subject(Machine, ["on"])


# Invocations ----------------------------------------------------------------------------------


def waiting_for(done: Future[Any], machine: Any) -> Any:
    """Send `go`, and wait until an invocation that runs in a thread or task has told so."""
    result = machine.go()
    if not inspect.isawaitable(result):
        return done.result(timeout=10)

    async def wait() -> Any:
        await result
        return await asyncio.wait_for(asyncio.wrap_future(done), timeout=10)

    return wait()


@row(statecharts=True)
def an_invocation_by_name(see: See) -> Subject:
    """`on_invoke_b`, which runs in a thread or task of its own."""
    done: Future[Any] = Future()

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        go = a.to(b)
        back = b.to(a)

        def on_invoke_b(self, orc: Any) -> None:
            see("invoke", orc)
            done.set_result(None)

    return Subject(Machine, ["invoke"], drive=lambda machine: waiting_for(done, machine))


@row(statecharts=True)
def an_invocation_handler(see: See) -> Subject:
    """A handler with `run(ctx)` finds `orc` in `ctx.kwargs`."""
    done: Future[Any] = Future()

    class Handler:
        def run(self, ctx: Any) -> None:
            see("run", ctx.kwargs["orc"])
            done.set_result(None)

    class Machine(StateChart):
        a = State(initial=True)
        b = State(invoke=Handler)
        go = a.to(b)
        back = b.to(a)

    return Subject(Machine, ["run"], drive=lambda machine: waiting_for(done, machine))


@row(statecharts=True)
def an_invocation_after_an_eventless_transition(see: See) -> Subject:
    """The handlers of a state that was entered by a transition without an event."""
    done: Future[Any] = Future()
    orcs: dict[str, Any] = {}
    lock = Lock()

    def note(callback: str, orc: Any) -> None:
        with lock:  # the two run at once, in threads of their own
            orcs[callback] = orc
            if len(orcs) == 2:
                for name in sorted(orcs):
                    see(name, orcs[name])
                done.set_result(None)

    class Handler:
        def run(self, ctx: Any) -> None:
            note("run", ctx.kwargs["orc"])

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        c = State(invoke=Handler)
        go = a.to(b)
        b.to(c)
        back = c.to(a)

        def on_invoke_c(self, orc: Any) -> None:
            note("invoke", orc)

    return Subject(Machine, ["invoke", "run"], drive=lambda machine: waiting_for(done, machine))


def invocation_that_ends(see: See) -> Subject:
    """The transition that takes `done.invoke`, and the state that it enters."""
    done: Future[Any] = Future()

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        c = State()
        go = a.to(b)
        done_invoke_b = b.to(c, on="take")
        back = c.to(a)

        def on_invoke_b(self) -> int:
            return 42

        def take(self, orc: Any) -> None:
            see("on", orc)

        def on_enter_c(self, orc: Any) -> None:
            see("enter", orc)
            done.set_result(None)

    return Subject(Machine, ["on", "enter"], drive=lambda machine: waiting_for(done, machine))


row(statecharts=True, only="sync")(invocation_that_ends)
# Before 3.2 an async machine that leaves a state by `done.invoke` cancels the task it does so in.
row(statecharts=True, only="async", since=(3, 2))(invocation_that_ends)


# The table and the list of section 5 ----------------------------------------------------------


def test_every_row_has_its_engines() -> None:
    """No row is lost: the table holds each of its functions once for each engine that has it."""
    ids = [param.id for param in ROWS]
    assert len(ids) == len(set(ids))
    assert len({param.values[0].__name__ for param in ROWS}) == 43


# A machine that is built by its orchestrator --------------------------------------------------


@needs_3
def test_the_initial_state_of_a_machine_that_the_orchestrator_builds(engine: Engine) -> None:
    """With a factory `orc` reaches the callbacks of the initial state, and all later ones."""
    seen: list[tuple[str, Any]] = []

    class Machine(Step):
        def on_enter_a(self, orc: Any) -> None:
            seen.append(("enter a", orc))

        def on_go(self, orc: Any) -> None:
            seen.append(("on go", orc))

    built = engine.machine(Machine)

    class Owner(Orchestrator):
        machine: Machine = attrs.field(factory=built)

    owner = Owner()
    if not engine.is_async:  # it has entered its initial state in its constructor
        assert seen == [("enter a", owner)]
    engine.run(lambda: owner.machine.go())
    assert seen == [("enter a", owner), ("on go", owner)]


@needs_3
def test_a_factory_gives_a_renamed_orchestrator(engine: Engine) -> None:
    """The callbacks of the initial state ask for the orchestrator by the name of its class."""
    seen: list[Any] = []

    class Machine(Step):
        def on_enter_a(self, boss: Any) -> None:
            seen.append(boss)

    built = engine.machine(Machine)

    class Owner(Orchestrator, orchestrator_name="boss"):
        machine: Machine = attrs.field(factory=built)

    owner = Owner()
    engine.run(lambda: owner.machine.go())
    assert seen == [owner]


@needs_3
def test_an_invocation_of_the_initial_state_of_a_machine_that_the_orchestrator_builds(
    engine: Engine,
) -> None:
    """With a factory `orc` reaches the handlers that the initial state invokes, too."""
    done: Future[Any] = Future()

    class Machine(StateChart):
        a = State(initial=True)
        b = State()
        go = a.to(b)
        back = b.to(a)

        def on_invoke_a(self, orc: Any) -> None:
            done.set_result(orc)

    built = engine.machine(Machine)

    class Owner(Orchestrator):
        machine: Machine = attrs.field(factory=built)

    owner = Owner()

    async def activated() -> Any:
        await owner.machine.activate_initial_state()
        return await asyncio.wait_for(asyncio.wrap_future(done), timeout=10)

    assert engine.run(activated if engine.is_async else lambda: done.result(timeout=10)) is owner


def test_a_machine_handed_in_has_entered_its_initial_state_without_orc() -> None:
    """A sync machine enters its initial state in its constructor, before it is ours."""
    seen: list[Any] = []

    class Machine(Step):
        def on_enter_a(self, orc: Any = None) -> None:
            seen.append(orc)

    class Owner(Orchestrator):
        machine: Machine

    owner = Owner(machine=Machine())
    owner.machine.go()
    owner.machine.back()
    assert seen == [None, owner]


# Names ----------------------------------------------------------------------------------------


def test_the_orchestrator_may_have_another_name(engine: Engine) -> None:
    """`orchestrator_name` renames the parameter, for subclasses too; `orc` is then the event's."""
    seen: list[Any] = []

    class Machine(Step):
        def on_go(self, coordinator: Any, orc: Any) -> None:
            seen.append((coordinator, orc))

    class Base(Orchestrator, orchestrator_name="coordinator"):
        machine: Machine

    class Derived(Base):
        pass

    owners = [cls(machine=engine.machine(Machine)()) for cls in (Base, Derived)]
    for owner in owners:
        engine.run(functools.partial(owner.machine.go, coordinator="fake", orc="the event's"))
    assert seen == [(owner, "the event's") for owner in owners]


def test_reactions_and_conditions_may_ask_for_the_orchestrator(engine: Engine) -> None:
    """A reaction and its `cond` are given the orchestrator under its name too."""
    seen: list[Any] = []

    def note(boss: Any) -> bool:
        seen.append(boss)
        return True

    class Owner(Orchestrator, orchestrator_name="boss"):
        machine: Step

        @on("machine.go", cond=note)
        def react(self, boss: Any) -> None:
            seen.append(boss)

    owner = Owner(machine=engine.machine(Step)())
    engine.run(lambda: owner.machine.go(boss="fake"))
    assert seen == [owner, owner]


def test_a_machine_of_two_orchestrators_gets_both(engine: Engine) -> None:
    """Two orchestrators under different names share a machine: each is injected, each publishes."""
    seen: list[Any] = []

    class Machine(Step):
        def on_go(self, orc: Any, auditor: Any) -> None:
            seen.append((orc, auditor))

    class First(Orchestrator):
        machine: Machine

        @on("machine.go")
        def react(self) -> None:
            seen.append("first")

    class Second(Orchestrator, orchestrator_name="auditor"):
        machine: Machine

        @on("machine.go")
        def react(self) -> None:
            seen.append("second")

    machine = engine.machine(Machine)()
    first, second = First(machine=machine), Second(machine=machine)
    engine.run(lambda: machine.go(orc="fake", auditor="fake"))
    assert seen == [(first, second), "first", "second"]


def test_each_machine_gets_its_own_orchestrator(engine: Engine) -> None:
    """Machines of one class in two orchestrators get each the orchestrator they belong to."""
    seen: list[Any] = []

    class Machine(Step):
        def on_go(self, orc: Any) -> None:
            seen.append(orc)

    class Owner(Orchestrator):
        machine: Machine

    owners = [Owner(machine=engine.machine(Machine)()) for _ in range(2)]
    for owner in reversed(owners):
        engine.run(owner.machine.go)
    assert seen == [owners[1], owners[0]]


def test_a_machine_attached_later_gets_orc(engine: Engine) -> None:
    """An optional machine field that is set later gives its machine `orc` from then on."""
    seen: list[Any] = []

    class Machine(Step):
        def on_go(self, orc: Any = None) -> None:
            seen.append(orc)

        def on_back(self, orc: Any = None) -> None:
            seen.append(orc)

    class Owner(Orchestrator):
        machine: Machine | None = None

    machine, owner = engine.machine(Machine)(), Owner()
    engine.run(lambda: machine.go())
    owner.machine = machine
    engine.run(lambda: machine.back())
    assert seen == [None, owner]


# Alone ----------------------------------------------------------------------------------------


def test_a_machine_can_be_tested_alone(engine: Engine) -> None:
    """Without an orchestrator a test passes its own `orc` with the event."""
    seen: list[Any] = []

    class Machine(Step):
        def on_go(self, orc: Any) -> None:
            seen.append(orc)

    fake = object()
    engine.run(lambda: engine.machine(Machine)().go(orc=fake))
    assert seen == [fake]


def test_an_event_without_takers_of_orc_is_undisturbed(engine: Engine) -> None:
    """The event's own arguments reach callbacks as they were sent, in order and by name."""
    seen: list[Any] = []

    class Machine(Step):
        def on_go(self, first: Any, second: Any, *, note: Any) -> None:
            seen.append((first, second, note))

        def after_go(self, **kwargs: Any) -> None:
            seen.append(sorted(name for name in kwargs if name in ("note", "orc", "first")))

    class Owner(Orchestrator):
        machine: Machine

    owner = Owner(machine=engine.machine(Machine)())
    engine.run(lambda: owner.machine.go(second=2, first=1, note=3))
    assert seen == [(1, 2, 3), ["first", "note", "orc"]]


@needs_3
def test_a_document_does_not_see_the_orchestrator(engine: Engine) -> None:
    """SCXML's `_event.data` holds what the event was sent with, and no `orc`."""
    from statemachine.io.scxml.processor import SCXMLProcessor  # noqa: PLC0415 - not on 2.x

    if engine.is_async:
        pytest.skip("the host builds a document's machine itself, on its sync engine")
    processor: Any = SCXMLProcessor()
    processor.parse_scxml(
        "document",
        """<scxml xmlns="http://www.w3.org/2005/07/scxml" version="1.0" initial="a">
             <datamodel><data id="got"/></datamodel>
             <state id="a">
               <transition event="go" target="b">
                 <assign location="got" expr="_event.data"/>
               </transition>
             </state>
             <final id="b"/>
           </scxml>""",
    )
    machine = processor.start()
    owner_of(machine)
    machine.send("go", amount=5)
    assert repr(machine.model.got).endswith("kwargs={'amount': 5})")
