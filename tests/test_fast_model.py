"""Random flat machines, on the fast lane and on the host's engine: nothing tells them apart.

Of each random class two machines are built, in an orchestrator each. The same calls are made on
both, and all that can be observed is written down: every callback with its arguments, in their
order, and the configuration inside it; every record; results, exceptions and their texts; what the
model keeps, and what is left in the queues. `FAST_EXAMPLES=` says how many classes are tried.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import MutableSet
from types import new_class
from typing import Any

import attrs
import pytest
import statemachine
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from statemachine import State, StateMachine
from statemachine.event_data import EventData
from statemachine.exceptions import InvalidDefinition
from statemachine.transition import Transition

from statemachines_orchestrator import Orchestrator, Record, on
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._fast import CHECKED, FastLane
from statemachines_orchestrator._host import HOST

if HOST not in CHECKED:
    pytest.skip(
        f"the fast lane was not checked with python-statemachine {HOST}", allow_module_level=True
    )
pytestmark = pytest.mark.usefixtures("slow_too")

EXAMPLES = int(os.environ.get("FAST_EXAMPLES", "300"))
STATES = "abcdef"
EVENTS = ("go", "stop", "turn", "a.b", "go.on", "error_x", "done_state_a")
UNKNOWN = ("fly", "go.on.and.on", "error.execution", "done.invoke.a", "a", "send")
GROUPS = ("validators", "cond", "unless", "before", "on", "after")
GENERIC = ("before_transition", "on_transition", "after_transition", "on_enter_state")
FLAGS = (
    "allow_event_without_transition",
    "enable_self_transition_entries",
    "atomic_configuration_update",
    "catch_errors_as_events",
)


class Stopped(BaseException):
    """Stops everything, as an interrupt does."""


@attrs.frozen
class Action:
    """What a callback does when it is called, beside being written down; the first times only."""

    kind: str
    what: Any = None
    times: int = 1


@attrs.frozen
class Callback:
    """A callback: whether it takes everything or a few parameters, what it does and returns."""

    style: int
    actions: tuple[Action, ...]
    returns: Any


@attrs.frozen
class Arrow:
    """A transition; each of its callbacks is `inline`, `named`, or `decorated`."""

    source: int
    target: int | None
    events: tuple[str, ...]
    internal: bool
    calls: tuple[tuple[str, str, Callback], ...]


@attrs.frozen
class Call:
    """A call from outside."""

    how: str
    event: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@attrs.frozen
class Plan:
    """A random class, who listens to its machines, and what is sent to them."""

    is_chart: bool
    flags: dict[str, bool]
    finals: frozenset[int]
    values: str
    count: int
    arrows: tuple[Arrow, ...]
    methods: dict[str, Callback]
    on_model: dict[str, Callback]
    on_listener: dict[str, Callback]
    late: dict[str, Callback]
    is_observed: bool
    calls: tuple[Call, ...]


# Writing down ---------------------------------------------------------------------------------


class Notes:
    """What is written down of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lines: list[Any] = []
        self.done: Counter[Any] = Counter()
        self.machine: Any = None


notes: Notes


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return what two runs can be compared by."""
    if isinstance(value, State):
        return type(value).__name__, value.id
    if isinstance(value, statemachine.event.Event):
        return type(value).__name__, str(value)
    if isinstance(value, EventData):
        return [plain(getattr(value, name)) for name in ("state", "source", "target", "event")]
    if isinstance(value, Orchestrator | StateMachine | Row) or value is notes.machine:
        return type(value).__name__
    if isinstance(value, Transition):
        return plain(value.source), plain(value.target), value.event
    if isinstance(value, MutableSet | list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return [(name, plain(one)) for name, one in value.items()]
    if isinstance(value, BaseException):
        return type(value).__name__, str(value), getattr(value, "__notes__", None)
    return value if isinstance(value, int | str | float | None) else type(value).__name__


def standing() -> Any:
    """Return the configuration as everybody can see it."""
    machine = notes.machine
    if machine is None:
        return None
    try:
        return plain(machine.configuration), plain(machine.model.state)
    except Exception as error:  # noqa: BLE001 - that is what everybody sees
        return plain(error), plain(machine.model.state)


def act(label: str, callback: Callback, given: Any) -> Any:
    """Write down a call, do what the callback does, and return what it returns."""
    notes.lines.append((label, plain(given), standing()))
    for action in callback.actions:
        notes.done[label, action] += 1
        if notes.done[label, action] <= action.times and notes.machine is not None:
            perform(label, action, given)
    if isinstance(callback.returns, tuple):  # a guard: one answer after the other
        notes.done[label] += 1
        return callback.returns[notes.done[label] % len(callback.returns)]
    if label.endswith(".prepare_event"):
        return {"prepared": notes.done[label], **(callback.returns or {})}
    return callback.returns


def perform(label: str, action: Action, given: Any) -> None:
    """Do one thing."""
    machine = notes.machine
    if action.kind == "raise":
        raise ValueError(label)
    if action.kind == "invalid":
        raise InvalidDefinition(label)
    if action.kind == "stop":
        raise Stopped(label)
    if action.kind == "send":
        notes.lines.append(("sent", plain(machine.send(action.what, 7))))
    if action.kind == "raise_":
        machine.raise_(action.what, more=1)
    if action.kind == "delay":
        machine.send(action.what, delay=1, send_id="later")
    if action.kind == "cancel":
        machine.cancel_event("later")
    if action.kind == "write":
        machine.current_state_value = action.what
    if action.kind == "change":
        event_data = given.get("event_data")
        if event_data is not None:
            event_data.trigger_data.kwargs.update(new=label)
    if action.kind == "listen":
        machine.add_listener(listener(notes.plan.late, "late"))


def function(label: str, callback: Callback, *, is_method: bool) -> Any:
    """Return a function that is a callback."""
    if callback.style == 0:

        def everything(*args: Any, **kwargs: Any) -> Any:
            return act(label, callback, {"args": args[is_method:], **kwargs})

        made: Any = everything
    elif callback.style == 1 and is_method:

        def few(self: Any, source: Any, event: Any, target: Any = 1, extra: Any = 2) -> Any:  # noqa: ARG001
            return act(label, callback, {"of": [source, event, target, extra]})

        made = few
    elif callback.style == 1:

        def few_free(source: Any, event: Any, target: Any = 1, extra: Any = 2) -> Any:
            return act(label, callback, {"of": [source, event, target, extra]})

        made = few_free
    elif is_method:

        def by_place(self: Any, first: Any = None, *, orc: Any = None, state: Any = None) -> Any:  # noqa: ARG001
            return act(label, callback, {"of": [first, orc, state]})

        made = by_place
    else:

        def by_place_free(first: Any = None, *, orc: Any = None, state: Any = None) -> Any:
            return act(label, callback, {"of": [first, orc, state]})

        made = by_place_free
    made.__name__ = label.rpartition(".")[2]
    made.__qualname__ = f"{label}{callback.style}{is_method}"  # else the host mixes signatures up
    return made


class Row:
    """A model."""

    state: Any = None


def with_methods(base: type, callbacks: dict[str, Callback], where: str) -> Any:
    """Return a class with callbacks as methods."""
    methods = {
        name: function(f"{where}.{name}", callback, is_method=True)
        for name, callback in callbacks.items()
    }
    return type(where, (base,), methods)


def listener(callbacks: dict[str, Callback], where: str) -> Any:
    """Return an object with callbacks as methods."""
    return with_methods(object, callbacks, where)()


# Building and running -------------------------------------------------------------------------


def value_of(plan: Plan, index: int) -> Any:
    """Return what the model keeps for a state."""
    return {"ids": None, "numbers": index, "tuples": (index, "x")}[plan.values]


def build(plan: Plan) -> Any:
    """Build the class of a plan; not every one is an allowed class."""
    states = [
        State(initial=index == 0, final=index in plan.finals, value=value_of(plan, index))
        for index in range(plan.count)
    ]
    body: dict[str, Any] = dict(zip(STATES, states, strict=False))
    body |= plan.flags | dict.fromkeys(
        ("validate_trap_states", "validate_disconnected_states", "validate_final_reachability"),
        False,
    )
    events: dict[str, Any] = {}
    for number, arrow in enumerate(plan.arrows):
        options: dict[str, Any] = {}
        decorated: list[tuple[str, Any]] = []
        for place, (group, how, callback) in enumerate(arrow.calls):
            name = f"{group}_{number}_{place}"
            made = function(f"class.{name}", callback, is_method=how != "inline")
            if how == "inline":
                options.setdefault(group, []).append(made)
            elif how == "named":
                options.setdefault(group, []).append(name)
                body[name] = made
            else:
                body[name] = made
                decorated.append((group, made))
        source = states[arrow.source]
        target = None if arrow.target is None else states[arrow.target]
        if arrow.internal:
            ways = source.to.itself(internal=True, **options)
        else:
            ways = source.to(target, **options)
        for group, made in decorated:
            getattr(ways, group)(made)
        for name in arrow.events:
            events[name] = ways if name not in events else events[name] | ways
    for name, ways in events.items():
        body[name] = statemachine.Event(ways, id=name) if "." in name else ways
    for name, callback in plan.methods.items():
        body.setdefault(name, function(f"class.{name}", callback, is_method=True))
    base: Any = statemachine.StateChart if plan.is_chart else StateMachine
    return type(base)("Built", (base,), body)


class Clock:
    """The host's clock: it moves while the host sleeps, and else stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        engine = importlib.import_module("statemachine.engines.sync")
        events = importlib.import_module("statemachine.event_data")
        monkeypatch.setattr(engine, "monotonic", lambda: self.now)
        monkeypatch.setattr(events, "monotonic", lambda: self.now)
        monkeypatch.setattr(engine, "sleep", self.sleep)

    def sleep(self, _seconds: float) -> None:
        """Let half a millisecond pass."""
        self.now += 0.0005


def holder(machine_class: Any, *, fast: bool) -> Any:
    """Return an orchestrator class for one machine, with a reaction that is written down."""

    @on("*")
    def react(_self: Any, record: Any) -> None:
        notes.lines.append(("reacted", record.event))

    body = {"__annotations__": {"machine": machine_class}, "__module__": __name__, "react": react}
    return new_class("Holder", (Orchestrator,), {"fast": fast}, lambda space: space.update(body))


def write_record(_sender: Any, *, record: Record) -> None:
    """Write a record down, without what tells two runs apart."""
    facts = attrs.asdict(record, recurse=False)
    for name in ("seq", "cause", "machine"):
        facts.pop(name, None)
    notes.lines.append((type(record).__name__, plain(facts)))


def left() -> Any:
    """Return what is left in the queues of the machine, and whether it has ended."""
    engine = notes.machine._engine
    queues = (engine.external_queue.queue.queue, engine.internal_queue.queue.queue)
    names = [[str(trigger.event) for trigger in sorted(queue)] for queue in queues]
    return names, notes.machine.is_terminated, engine._processing.locked()


def make(call: Call) -> Any:
    """Make one call from outside."""
    machine = notes.machine
    if call.how == "listen":
        return machine.add_listener(listener(notes.plan.late, "late")) and None
    if call.how == "attribute" and hasattr(type(machine), call.event):
        return getattr(machine, call.event)(*call.args, **call.kwargs)
    if call.how == "put" and hasattr(type(machine), call.event):
        return getattr(machine, call.event).put(*call.args, **call.kwargs) and None
    if call.how == "delay":
        return machine.send(call.event, *call.args, delay=1, **call.kwargs)
    if call.how == "raise_":
        return machine.raise_(call.event, *call.args, **call.kwargs)
    return machine.send(call.event, *call.args, **call.kwargs)


def run(plan: Plan, machine_class: Any, *, fast: bool) -> Notes:
    """Build a machine, make the calls, and return what was written down."""
    global notes  # noqa: PLW0603 - callbacks without parameters write there, too
    notes = Notes(plan)
    model = with_methods(Row, plan.on_model, "model")()
    machine = machine_class(model=model, listeners=[listener(plan.on_listener, "listener")])
    shop = holder(machine_class, fast=fast)(machine)
    notes.machine = machine
    assert isinstance(getattr(seam_of(machine).run_loop, "__self__", None), FastLane) is fast
    if plan.is_observed:
        for topic in ("*", "sent:*", "ignored:*", "failed:*", "abandoned:*", "settled"):
            shop.bus.signal(topic).connect(write_record)
    for call in plan.calls:
        outcome: Any
        try:
            outcome = "returned", plain(make(call))
        except (Exception, Stopped) as error:  # noqa: BLE001 - that is what is compared
            outcome = "raised", plain(error), plain(list(getattr(error, "exceptions", ())))
        notes.lines.append((call.event, outcome, standing(), left()))
    return notes


# Random plans ---------------------------------------------------------------------------------

names = st.sampled_from(EVENTS)
known_or_not = names | names | names | st.sampled_from(UNKNOWN)
written = st.sampled_from([*STATES[:3], None, "nowhere", 1, (1, "x")])
actions = st.one_of(
    st.builds(Action, st.just("send"), known_or_not, st.integers(1, 2)),
    st.builds(Action, st.just("raise"), times=st.integers(1, 3)),
    st.builds(Action, st.just("raise_"), known_or_not),
    st.builds(Action, st.sampled_from(["listen", "cancel", "change", "invalid", "stop"])),
    st.builds(Action, st.just("delay"), names),
    st.builds(Action, st.just("write"), written),
)
some_actions = st.one_of(st.just(()), st.lists(actions, max_size=3).map(tuple))
answers = st.lists(st.booleans(), min_size=1, max_size=3).map(tuple)


def callbacks(returns: st.SearchStrategy[Any]) -> st.SearchStrategy[Callback]:
    """Return callbacks that return one of these."""
    return st.builds(Callback, st.integers(0, 2), some_actions, returns)


a_callback = callbacks(st.sampled_from([None, "r", 0, {"k": 1}]))
a_guard = callbacks(answers)


@st.composite
def arrows(draw: Any, count: int, finals: frozenset[int]) -> Arrow:
    """Return a transition."""
    source = draw(st.sampled_from([one for one in range(count) if one not in finals]))
    calls = [
        (
            group,
            draw(st.sampled_from(["inline", "named", "decorated"])),
            draw(a_guard if group in {"cond", "unless"} else a_callback),
        )
        for group in draw(st.lists(st.sampled_from(GROUPS), max_size=3))
    ]
    return Arrow(
        source,
        draw(st.none() | st.integers(0, count - 1)),
        tuple(draw(st.lists(names, min_size=1, max_size=2, unique=True))),
        draw(st.integers(0, 3)) == 0,
        tuple(calls),
    )


def conventional(*more: str) -> st.SearchStrategy[dict[str, Callback]]:
    """Return callbacks that the host finds by their names."""
    known = [
        *GENERIC,
        *(f"{when}_{name}" for when in ("before", "on", "after") for name in EVENTS[:3]),
        *(f"on_{what}_{state}" for what in ("enter", "exit") for state in STATES[:3]),
        "on_exit_state",
        *more,
    ]
    return st.dictionaries(st.sampled_from(known), a_callback, max_size=3)


def arguments() -> st.SearchStrategy[dict[str, Any]]:
    """Return keyword arguments of events, some of which the host takes for its own."""
    known = ("extra", "first", "orc", "source", "key", "on_error", "new", "prepared")
    return st.dictionaries(st.sampled_from(known), st.integers(0, 3), max_size=2)


@st.composite
def plans(draw: Any) -> Plan:
    """Return a random class and calls."""
    count = draw(st.integers(1, 6))
    finals = draw(st.frozensets(st.integers(1, 5), max_size=2)) if count > 1 else frozenset()
    how = st.sampled_from(["attribute"] * 4 + ["send", "send", "put", "delay", "raise_", "listen"])
    call = st.builds(
        Call, how, known_or_not, st.lists(st.integers(), max_size=2).map(tuple), arguments()
    )
    quiet = draw(st.integers(0, 3)) == 0
    nobody: st.SearchStrategy[dict[str, Callback]] = st.just({})
    return Plan(
        draw(st.booleans()),
        draw(st.dictionaries(st.sampled_from(FLAGS), st.booleans(), max_size=2)),
        finals,
        draw(st.sampled_from(["ids", "ids", "numbers", "tuples"])),
        count,
        tuple(draw(st.lists(arrows(count, finals), min_size=1, max_size=6))),
        draw(nobody if quiet else conventional("prepare_event")),
        draw(nobody if quiet else conventional()),
        draw(nobody if quiet else conventional("prepare_event")),
        draw(conventional("prepare_event")),
        draw(st.booleans()),
        tuple(draw(st.lists(call, min_size=2, max_size=9))),
    )


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plans())
def test_nothing_tells_the_fast_lane_from_the_hosts_engine(plan: Plan) -> None:
    """Callbacks, their order and arguments, records, results, exceptions, states, queues."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        Clock(monkeypatch)
        try:
            machine_class = build(plan)
            slow = run(plan, machine_class, fast=False)
        except (InvalidDefinition, TypeError, ValueError, Stopped) as error:
            event(f"not a class, or not a machine: {type(error).__name__}")
            return
        fast = run(plan, machine_class, fast=True)
    event(f"{min(len(slow.lines), 40) // 10}0 lines")
    assert fast.lines == slow.lines
