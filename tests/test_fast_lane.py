"""The fast lane: who takes it, who does not, and what is left to the engine of the host.

That nothing else tells it from the host's engine is tried on random classes in
`test_fast_model.py`; here are the cases that have a name.
"""

from __future__ import annotations

import copy
import gc
import importlib
import logging
import threading
import time
import weakref
from types import new_class
from typing import Any, cast

import attrs
import pytest
import statemachine
from conftest import operations, pickled
from statemachine import State, StateMachine
from statemachine.exceptions import InvalidDefinition, TransitionNotAllowed

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    Lane,
    Orchestrator,
    _fast,
    fast_lane,
    on,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._host import HOST
from statemachines_orchestrator._publisher import Publisher

if HOST not in _fast.CHECKED:
    pytest.skip(
        f"the fast lane was not checked with python-statemachine {HOST}", allow_module_level=True
    )
pytestmark = pytest.mark.usefixtures("slow_too")
StateChart: Any = getattr(statemachine, "StateChart", StateMachine)
Compounds: Any = getattr(State, "Compound", object)


class Order(StateMachine):
    """A flat machine."""

    pending = State(initial=True)
    paid = State()
    shipped = State(final=True)
    pay = pending.to(paid)
    ship = paid.to(shipped)
    wait = pending.to.itself() | paid.to.itself()


class Shop(Orchestrator, fast=True):
    """It has a flat machine."""

    order: Order


def holder(machine_class: Any, *, fast: bool, **body: Any) -> Any:
    """Return an orchestrator class for one machine."""
    space = {"__annotations__": {"machine": machine_class}, "__module__": __name__, **body}
    return new_class("Holder", (Orchestrator,), {"fast": fast}, lambda names: names.update(space))


def lane_of(machine: Any, *, fast: bool = True) -> Lane:
    """Put a machine into an orchestrator, and return what is told of it."""
    return fast_lane(holder(type(machine), fast=fast)(machine))["machine"]


def both(machine_class: Any, script: Any) -> Any:
    """Run a script with a machine on the host's engine and on the lane; return what both log."""
    logs: list[list[Any]] = []
    for fast in (False, True):
        log: list[Any] = []
        machine = machine_class()
        machine.log = log
        shop = holder(machine_class, fast=fast)(machine)
        assert fast_lane(shop)["machine"].is_fast is fast
        try:
            log.append(script(machine))
        except Exception as error:  # noqa: BLE001 - that is what is compared
            log.append((type(error), str(error)))
        log.append((machine.current_state_value, machine.is_terminated))
        logs.append(log)
    assert logs[1] == logs[0]
    return logs[0]


# Who takes it ---------------------------------------------------------------------------------


def test_a_flat_machine_is_on_the_lane_where_the_orchestrator_asks_for_it() -> None:
    """It is opt-in, and inherited."""

    class Bigger(Shop):
        second: Order

    class Slow(Orchestrator):
        order: Order

    assert fast_lane(Shop(Order())) == {"order": Lane(is_fast=True)}
    assert fast_lane(Bigger(Order(), Order())) == dict.fromkeys(
        ("order", "second"), Lane(is_fast=True)
    )
    why = "Slow was not declared with fast=True"
    assert fast_lane(Slow(Order())) == {"order": Lane(is_fast=False, why_not=why)}
    assert [str(Lane(is_fast=True)), str(Lane(is_fast=False, why_not="so"))] == [
        "fast",
        "not fast: so",
    ]


def test_members_and_machines_below_are_told_by_their_names() -> None:
    """As `broadcast` tells them: names and keys. Each orchestrator asks for its own machines."""

    class Street(Orchestrator):
        shop: Shop
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

    street = Street(Shop(Order()))
    street.orders["a"] = Order()
    assert {name: lane.is_fast for name, lane in fast_lane(street).items()} == {
        ("shop", "order"): True,
        ("orders", "a"): False,
    }


@pytest.mark.parametrize("given", [Order, Shop, None, "shop"])
def test_what_is_no_orchestrator_is_refused(given: Any) -> None:
    """With a text that says so."""
    with pytest.raises(DeclarationError, match=r"fast_lane\(\): it was given"):
        fast_lane(given)


@pytest.mark.parametrize("given", [1, "yes", None])
def test_fast_is_true_or_false(given: Any) -> None:
    """Nothing that looks like it."""
    with pytest.raises(DeclarationError, match="is neither True nor False"):
        new_class("Wrong", (Orchestrator,), {"fast": given, "abstract": True})


class Compound(StateChart):  # type: ignore[misc] # 2.x has none
    """It has a state in a state."""

    class editing(Compounds):  # type: ignore[misc] # noqa: N801
        """The outer one."""

        draft = State(initial=True)

    done = State(final=True)
    finish = editing.to(done)


def made(name: str, base: Any, body: dict[str, Any]) -> Any:
    """Return a class of machines."""
    return type(base)(name, (base,), body)


def build(base: Any = StateMachine, **body: Any) -> Any:
    """Return a class of two states."""
    first, second = State(initial=True), State()
    space = {"first": first, "second": second, "go": first.to(second) | second.to(first), **body}
    return made("Built", base, space)


def eventless() -> Any:
    """Return a class with a transition that needs no event."""
    first, second = State(initial=True), State(final=True)
    ways = {"to_second": first.to(second, cond="may"), "go": first.to(second)}
    first.to(second, cond="may")
    return type(StateChart)(
        "Eventless", (StateChart,), {"first": first, "second": second, "may": False, **ways}
    )


def invoking() -> Any:
    """Return a class that runs something in a state."""
    first, second = State(initial=True), State(invoke=lambda: None)
    ways = {"go": first.to(second), "back": second.to(first)}
    return type(StateChart)("Invoking", (StateChart,), {"first": first, "second": second, **ways})


def alike() -> Any:
    """Return a class in which the model cannot tell two states apart."""
    first, second, third = State(initial=True), State(value=1), State(value=1)
    ways = {"go": first.to(second) | second.to(third) | third.to(first)}
    states = {"first": first, "second": second, "third": third}
    return made("Alike", StateMachine, {**states, **ways})


async def wait(_self: Any) -> None:
    """Make a machine async."""


@pytest.mark.parametrize(
    ("machine_class", "why_not"),
    [
        (lambda: Compound, "its state 'editing' is compound or parallel, or has a history"),
        (eventless, "its state 'first' has a transition without an event"),
        (invoking, "its state 'second' invokes something"),
        (alike, "its states 'second' and 'third' have one value"),
        (
            lambda: build(on_go=wait),
            "it runs on the async engine, for some async def among its callbacks",
        ),
        (
            lambda: build(
                configuration=property(StateChart.configuration.fget, StateChart.configuration.fset)
            ),
            "its class has a configuration of its own",
        ),
    ],
)
def test_what_has_more_than_the_lane_knows_stays_with_the_host(
    machine_class: Any, why_not: str
) -> None:
    """And it is told why."""
    assert lane_of(machine_class()()) == Lane(is_fast=False, why_not=why_not)


def test_a_transition_with_several_targets_stays_with_the_host() -> None:
    """They are made by documents alone."""
    machine_class = build()
    transition = machine_class.first.transitions[0]
    transition._targets.append(machine_class.first)
    why_not = "its state 'first' has a transition with several targets"
    assert lane_of(machine_class()) == Lane(is_fast=False, why_not=why_not)


def test_an_engine_or_a_method_that_is_not_the_hosts_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever replaced it means it to be called."""

    class Other(type(Order()._engine)):  # type: ignore[misc]
        """An engine of somebody else."""

    machine = Order()
    monkeypatch.setattr(machine, "_engine", Other(machine))
    assert lane_of(machine).why_not == "its engine is not python-statemachine's own"
    machine = Order()
    for name in ("_exit_states", "microstep", "_enter_states", "processing_loop", "put"):
        machine = Order()
        host: Any = getattr(machine._engine, name)
        monkeypatch.setattr(machine._engine, name, lambda *args, host=host: host(*args))
        why_not = f"its engine's {name} is not python-statemachine's own"
        assert lane_of(machine).why_not == why_not
    machine = Order()
    monkeypatch.setattr(machine._callbacks, "call", machine._callbacks.call)
    assert (
        lane_of(machine).why_not == "its callback registry's call is not python-statemachine's own"
    )


def test_debug_logging_is_the_engines(caplog: pytest.LogCaptureFixture) -> None:
    """Where it is switched on when a machine is built, its engine has something to say."""
    with caplog.at_level(logging.DEBUG, "statemachine"):
        machine = Order()
    assert lane_of(machine).why_not == "debug logging was switched on when it was built"


def test_a_version_that_was_not_checked_runs_on_the_hosts_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it is."""
    monkeypatch.setattr(_fast, "CHECKED", ("3.2.0", "3.2.9"))
    why_not = f"the fast lane exists for python-statemachine 3.2.0 and 3.2.9, and not for {HOST}"
    assert lane_of(Order()) == Lane(is_fast=False, why_not=why_not)


def test_a_machine_of_two_orchestrators_is_fast_if_one_asks_for_it() -> None:
    """Whichever comes first; and its reasons are told to both."""

    class Ledger(Orchestrator, orchestrator_name="ledger"):
        order: Order

    order = Order()
    ledger = Ledger(order)
    assert not fast_lane(ledger)["order"].is_fast
    shop = Shop(order)
    assert fast_lane(ledger) == fast_lane(shop) == {"order": Lane(is_fast=True)}
    order.pay()
    assert str(shop) == "Shop(order=paid)"


def test_it_takes_less_than_a_fifth_of_the_calls() -> None:
    """Counted, not timed: the functions of Python and of C that an event calls."""
    counts = []
    for fast in (False, True):
        machine = Order()
        holder(Order, fast=fast)(machine)
        machine.wait()
        counts.append(operations(machine.wait))
    assert counts[1] * 5 < counts[0], counts


def test_a_copy_is_on_the_lane_and_a_bare_copy_is_not() -> None:
    """Copies and pickles of an orchestrator; and a machine that left has its own engine."""
    shop = Shop(Order())
    shop.order.pay()
    for other in (copy.deepcopy(shop), copy.copy(shop), pickled(shop)):
        assert fast_lane(other)["order"].is_fast
        other.order.ship()
        assert str(other) == "Shop(order=shipped)"
    bare = copy.deepcopy(shop.order)
    bare.ship()
    assert str(shop) == "Shop(order=paid)"


def test_a_machine_that_was_taken_out_has_its_own_engine_back() -> None:
    """Nothing of the lane is left on it."""

    class Depot(Orchestrator, fast=True):
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

    order, untouched = Order(), Order()
    depot = Depot()
    depot.orders["a"] = order
    order.pay()
    del depot.orders["a"]
    order.ship()
    assert vars(order._engine).keys() == vars(untouched._engine).keys()
    assert order._engine.processing_loop.__func__ is type(order._engine).processing_loop


# What is left to the host's engine ------------------------------------------------------------


def noted(base: Any) -> Any:
    """Return a class whose machines note what is called, and do what they are told."""

    class Noted(base):  # type: ignore[misc]
        near = State(initial=True)
        far = State()
        end = State(final=True)
        hit = near.to(far) | far.to(near)
        stay = near.to(None)
        turn = near.to.itself(internal=True)
        stop = near.to(end) | far.to(end)
        error_execution = near.to(far) | far.to(near)
        leap = near.to(end, cond="moved", validators="checked")

        log: list[Any]
        does: dict[str, Any]

        def __init__(self, model: Any = None) -> None:
            self.log, self.does = [], {}
            super().__init__(model)

        def note(self, name: str, *facts: Any) -> Any:
            self.log.append((name, self.current_state_value, *facts))
            does = self.does.pop(name, None)
            return does() if does is not None else name

        def moved(self) -> bool:
            self.note("moved")
            return True

        def checked(self) -> None:
            self.note("checked")

        def before_transition(self, event: str) -> Any:
            return self.note("before", str(event))

        def on_transition(self, source: State, target: State | None) -> Any:
            return self.note("on", source.id, None if target is None else target.id)

        def after_transition(self, **kwargs: Any) -> None:
            self.note("after", sorted(kwargs))

        def on_exit_state(self, source: State, state: State) -> None:
            self.note("exit", type(source).__name__, type(state).__name__)

        def on_enter_state(self, target: State, state: State) -> None:
            self.note("enter", target.id, state.id)

    return Noted


@pytest.fixture(params=[StateMachine, StateChart], ids=["StateMachine", "StateChart"])
def kind(request: pytest.FixtureRequest) -> Any:
    """A class on each of the host's two."""
    return noted(request.param)


def write(machine: Any, value: Any) -> Any:
    """Write the state of a machine by hand."""
    machine.current_state_value = value
    return "written"


def row(machine: Any, value: Any) -> Any:
    """Write what the model keeps."""
    machine.model.state = value
    return "written"


def doing(when: str, what: Any, event: str = "hit", *more: str) -> Any:
    """Return a script: one callback does something in the first of some events."""

    def script(machine: Any) -> Any:
        machine.does[when] = lambda: what(machine)
        return [machine.send(name) for name in (event, *more)]

    return script


@pytest.mark.parametrize("event", ["hit", "stay", "turn", "stop"])
def test_the_callbacks_of_an_event_are_the_hosts(kind: Any, event: str) -> None:
    """In its order, with its arguments, and with the configuration that they see."""
    log = both(kind, lambda machine: machine.send(event, 1, word=2))
    assert len(log) > 3


@pytest.mark.parametrize("when", ["before", "exit", "on", "enter", "after"])
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(lambda machine: 1 / 0, id="raises"),
        pytest.param(lambda machine: machine.hit(), id="sends"),
        pytest.param(lambda machine: machine.raise_("hit"), id="raises an event"),
        pytest.param(lambda machine: machine.send("hit", delay=1), id="sends with a delay"),
        pytest.param(lambda machine: machine.send("nothing"), id="sends what nobody takes"),
        pytest.param(lambda machine: write(machine, "end"), id="writes"),
        pytest.param(lambda machine: row(machine, "wrong"), id="writes wrong"),
        pytest.param(lambda machine: machine.model.__class__.not_there, id="attribute"),
    ],
)
def test_what_a_callback_does_is_what_it_does_on_the_engine(
    kind: Any, when: str, what: Any
) -> None:
    """Whatever it does, and wherever in the step."""
    both(kind, doing(when, what, "hit", "hit"))
    both(kind, doing(when, what, "stay", "hit"))


@pytest.mark.parametrize("when", ["before", "exit", "on", "enter", "after"])
def test_what_a_failed_step_has_queued_goes_down_with_it(kind: Any, when: str) -> None:
    """Where a failure is no event. Then what it has queued still comes."""

    def send_and_fail(machine: Any) -> Any:
        machine.hit()
        machine.raise_("turn")
        raise ValueError(when)

    both(kind, doing(when, send_and_fail))
    both(kind, doing(when, send_and_fail, "stay"))


@pytest.mark.parametrize("event", ["hit", "stay", "turn", "stop"])
def test_one_of_several_callbacks_that_fails_stops_those_that_it_stops_on_the_engine(
    kind: Any, event: str
) -> None:
    """All of a group, or in a statechart of some groups only itself."""

    class Second:
        def __init__(self, log: list[Any]) -> None:
            self.log = log

        def before_transition(self) -> None:
            self.log.append("second before")

        def on_transition(self) -> None:
            self.log.append("second on")

        def after_transition(self) -> None:
            self.log.append("second after")

        def on_exit_state(self) -> None:
            self.log.append("second exit")

        def on_enter_state(self) -> None:
            self.log.append("second enter")

    def script(machine: Any) -> Any:
        machine.add_listener(Second(machine.log))
        for when in ("before", "exit", "on", "enter", "after"):
            if machine.is_terminated:
                break
            row(machine, "near")
            machine.does = {when: lambda: 1 / 0}
            try:
                machine.send(event)
            except ZeroDivisionError:
                machine.log.append(f"{when} failed")
        return "done"

    both(kind, script)


def refuse(_machine: Any) -> None:
    """Raise what says that the class is wrong."""
    text = "never caught"
    raise InvalidDefinition(text)


@pytest.mark.parametrize("when", ["before", "exit", "on", "enter", "after"])
def test_a_wrong_definition_is_never_caught(kind: Any, when: str) -> None:
    """Not by a statechart either, which makes events of all other exceptions."""
    log = both(kind, doing(when, refuse))
    assert log[-2] == (InvalidDefinition, "never caught")


@pytest.mark.parametrize("when", ["moved", "checked"])
def test_a_guard_that_writes_the_state_is_followed(kind: Any, when: str) -> None:
    """What it has written is left, as the engine does it."""
    log = both(kind, doing(when, lambda machine: write(machine, "far"), "leap"))
    assert (when, "near") in log
    assert log[-1][1]


@pytest.mark.parametrize(
    "names", ["on_exit_near", "on_exit_near on_go", "after_go", "on_enter_far"]
)
def test_what_is_not_called_is_not_prepared(names: str) -> None:
    """Where a class has few callbacks, these get what they get from the engine."""

    class Few(StateMachine):
        near = State(initial=True)
        far = State()
        go = near.to(far)
        back = far.to(near)
        log: list[Any]

    def call(self: Any, **kwargs: Any) -> None:
        self.log.append([*kwargs])
        kwargs["event_data"].trigger_data.kwargs["more"] = 1

    body = dict.fromkeys(names.split(), call)
    log = both(made("Fewer", Few, body), lambda machine: machine.go())
    assert len(log) == 2 + len(body)


def test_callbacks_of_another_event_are_not_called() -> None:
    """A transition of two events has callbacks that are named after each."""

    class Twice(StateMachine):
        near = State(initial=True)
        far = State()
        go = near.to(far)
        leave = go | far.to(near)
        log: list[Any]

        def before_go(self) -> str:
            return "go"

        def on_leave(self) -> str:
            return "leave"

    log = both(Twice, lambda machine: [machine.go(), machine.leave(), machine.leave()])
    assert log[0] == ["go", "leave", "leave"]


def test_a_loop_in_a_loop_and_a_loop_without_events_do_nothing() -> None:
    """As the engine's."""

    def script(machine: Any) -> Any:
        machine.does["on"] = lambda: seam_of(machine).run_loop()
        return [machine.activate_initial_state(), machine.hit()]

    both(noted(StateMachine), script)


def test_several_candidates_are_asked_in_their_order() -> None:
    """The first that is enabled is taken; if none is, the event is refused."""

    class Chooser(StateMachine):
        near = State(initial=True)
        far = State()
        go = (
            near.to(far, cond="no")
            | near.to(near, unless="yes", on="never")
            | near.to(far, cond="no or yes", on="chosen")
        )
        back = far.to(near, cond="no")
        log: list[Any]

        def no(self) -> bool:
            self.log.append("no")
            return False

        def yes(self) -> bool:
            self.log.append("yes")
            return True

        def never(self) -> None: ...

        def chosen(self) -> str:
            return "chosen"

    log = both(Chooser, lambda machine: (machine.go(), machine.back()))
    assert log[-2][0] is TransitionNotAllowed


class Prepares:
    """A listener that adds to what callbacks are given."""

    def __init__(self, **added: Any) -> None:
        self.added = added
        self.heard: list[Any] = []

    def prepare_event(self, event: str) -> dict[str, Any]:
        self.heard.append(("prepared", str(event)))
        return self.added

    def on_hit(self, word: Any = None) -> Any:
        self.heard.append(("heard", word))
        return word


@pytest.mark.parametrize("added", [{"word": 1}, {"key": 1}, {"on_error": None}])
def test_what_listeners_prepare_is_what_callbacks_get(kind: Any, added: dict[str, Any]) -> None:
    """A listener that comes later takes part at once, and may ask for a parameter of the host's."""
    heard = []

    def script(machine: Any) -> Any:
        listener = Prepares(**added)
        heard.append(listener.heard)
        machine.hit()
        machine.add_listener(listener)
        return [machine.hit(), machine.stay(), machine.turn(), machine.stop()]

    both(kind, script)
    assert heard[0] == heard[1] != []


def test_a_listener_that_comes_in_mid_step_takes_part_from_there_on(kind: Any) -> None:
    """What was made before stays as it was."""
    for when in ("before", "exit", "on", "enter"):
        both(kind, doing(when, lambda machine: machine.add_listener(Prepares()) and None))


@pytest.mark.parametrize("name", ["key", "on_error"])
@pytest.mark.parametrize("event", ["hit", "stay"])
def test_arguments_that_the_host_takes_for_its_own_go_to_the_host(
    kind: Any, name: str, event: str
) -> None:
    """`key` is a `TypeError` there, `on_error` is not handed on, and so it is here."""
    both(kind, lambda machine: machine.send(event, **{name: print}))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda machine: machine.send("hit", delay=1), id="delayed"),
        pytest.param(lambda machine: machine.hit.put() and machine.turn(), id="waiting"),
        pytest.param(lambda machine: machine.send("nothing"), id="unknown"),
        pytest.param(lambda machine: machine.send("hit.twice"), id="by pattern"),
        pytest.param(lambda machine: machine.send("error.execution"), id="an error"),
        pytest.param(lambda machine: [machine.stop(), machine.hit()], id="ended"),
        pytest.param(
            lambda machine: [write(machine, {"near", "far"}), machine.hit()], id="several states"
        ),
        pytest.param(lambda machine: [write(machine, None), machine.hit()], id="no state"),
        pytest.param(lambda machine: [row(machine, []), machine.hit()], id="no value"),
    ],
)
def test_what_is_unusual_is_the_engines(kind: Any, call: Any) -> None:
    """Before an event is taken."""
    both(kind, call)


def test_a_cancelled_event_is_dropped_by_the_engine() -> None:
    """It waits until it would have come."""

    def script(machine: Any) -> Any:
        machine.hit.put(send_id="one")
        machine.cancel_event("one")
        return machine.turn()

    both(noted(StateMachine), script)


def test_an_event_that_is_cancelled_while_it_is_looked_at_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By another thread, say. The clock that is looked at is the host's, which tests may wind."""
    engines = importlib.import_module("statemachine.engines.sync")

    def script(machine: Any) -> Any:
        def cancel() -> float:
            machine.cancel_event("one")
            return time.monotonic()

        machine.hit.put(send_id="one")
        with monkeypatch.context() as patched:
            patched.setattr(engines, "monotonic", cancel)
            return machine.activate_initial_state()

    log = both(noted(StateMachine), script)
    assert log[-1] == ("near", False)


def test_what_an_ended_machine_is_sent_is_dropped(kind: Any) -> None:
    """The event that ends it has queued others behind it."""
    both(kind, doing("on", lambda machine: machine.hit(), "stop"))


def test_an_invocation_by_a_listener_is_the_engines() -> None:
    """Its thread ends, and the machine goes on."""
    done = []

    class Invokes:
        def on_invoke_far(self) -> None:
            done.append("invoked")

    def script(machine: Any) -> Any:
        machine.add_listener(Invokes())
        machine.hit()
        for invocation in list(machine._engine._invoke_manager._active.values()):
            invocation.thread.join(10)
        return machine.hit()

    both(noted(StateChart), script)
    assert done == ["invoked", "invoked"]


def test_a_subclass_that_adds_transitions_later_is_seen() -> None:
    """Its base class shares the states: the host takes the new way, and so does the lane."""
    base = build()
    machine = base()
    shop = holder(base, fast=True)(machine)
    machine.go()
    first, second = base.first, base.second
    type("Later", (base,), {"back": second.to(first)})
    assert fast_lane(shop)["machine"].is_fast
    machine.send("back")
    assert machine.current_state_value == "first"
    other = base()
    assert lane_of(other).is_fast
    other.go()
    other.send("back")
    assert other.current_state_value == "first"


def keeping(base: Any, model_class: type) -> Any:
    """Return a class whose machines have models of a class."""

    def start(self: Any) -> None:
        base.__init__(self, model_class())

    return made("Keeping", base, {"__init__": start})


@pytest.mark.parametrize("kind_of", [StateMachine, StateChart])
def test_a_model_that_refuses_a_state_is_told_as_by_the_engine(kind_of: Any) -> None:
    """The step is taken back, and the caller gets the model's exception."""

    class Strict:
        value: Any = None

        @property
        def state(self) -> Any:
            return self.value

        @state.setter
        def state(self, value: Any) -> None:
            if value == "far":
                raise ValueError(value)
            self.value = value

    for base in (noted(kind_of), build()):
        both(keeping(base, Strict), lambda machine: machine.send(next(iter(machine.events))))


class Guarded:
    """A model that notes what is written, by a property, and refuses one state."""

    kept: Any = None

    def __init__(self) -> None:
        self.written: list[Any] = []

    @property
    def state(self) -> Any:
        """What it keeps."""
        return self.kept

    @state.setter
    def state(self, value: Any) -> None:
        self.written.append(value)
        if len(self.written) > 4 and value == "second":
            raise ValueError(value)
        self.kept = value


class Audited:
    """A model that notes whatever is set."""

    state: Any = None
    written: list[Any]

    def __init__(self) -> None:
        self.__dict__["written"] = []

    def __setattr__(self, name: str, value: Any) -> None:
        self.written.append((name, value))
        super().__setattr__(name, value)


@pytest.mark.parametrize("kind_of", [StateMachine, StateChart])
@pytest.mark.parametrize("model", [Guarded, Audited])
def test_a_model_that_looks_on_is_written_to_as_by_the_engine(kind_of: Any, model: type) -> None:
    """Also where nothing else would tell the one way of writing from the other."""

    def script(machine: Any) -> Any:
        for _ in range(6):
            try:
                machine.go()
            except ValueError as refused:
                machine.log.append(str(refused))
        return machine.model.written

    log = both(keeping(build(kind_of), model), script)
    assert len(log[-2]) > 6


def test_a_machine_that_has_ended_without_a_callback_takes_no_more() -> None:
    """What waits for it is dropped, as by the engine."""

    class Ending(StateMachine):
        near = State(initial=True)
        far = State()
        over = State(final=True)
        go = near.to(far)
        end = far.to(over)

        def on_go(self) -> None:
            self.end()
            self.end()

    assert both(Ending, lambda machine: machine.go()) == [None, ("over", True)]


def test_a_model_whose_state_cannot_be_read_is_told_as_by_the_engine() -> None:
    """The lane looks at it first, and lets the engine look again."""

    class Unreadable:
        state: Any = None

    def script(machine: Any) -> Any:
        machine.go()
        Unreadable.state = property(lambda _self: 1 / 0)
        try:
            return machine.go()
        finally:
            Unreadable.state = None
            machine.model.__dict__["state"] = "near"

    log = both(keeping(build(), Unreadable), script)
    assert log[0][0] is ZeroDivisionError


# What flags, values and arguments may do ------------------------------------------------------


def records_of(machine: Any, *, fast: bool) -> list[str]:
    """Put a machine into an orchestrator; return the list that the names of its records fill."""
    shop, heard = holder(type(machine), fast=fast)(machine), []
    for topic in ("*", "sent:*", "ignored:*"):
        shop.bus.signal(topic).connect(lambda _, record: heard.append(type(record).__name__))
    return heard


@pytest.mark.parametrize("base", [StateMachine, StateChart])
@pytest.mark.parametrize("ignores", [True, False])
def test_a_flag_that_is_set_later_counts_as_on_the_engine(base: Any, ignores: bool) -> None:  # noqa: FBT001
    """What is ignored is announced by a machine that ignored things when it was attached."""
    heard = []
    for fast in (False, True):
        machine = build(base)()
        told = records_of(machine, fast=fast)
        machine.allow_event_without_transition = ignores
        machine.current_state_value = "second"
        try:
            machine.send("never", delay=0)
            machine.go()
        except TransitionNotAllowed:
            told.append("refused")
        heard.append(told)
    assert heard[1] == heard[0]


@pytest.mark.parametrize("flag", ["catch_errors_as_events", "enable_self_transition_entries"])
@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("event", ["hit", "stay", "turn"])
def test_a_flag_that_a_callback_sets_counts_from_where_the_engine_asks(
    kind: Any,
    flag: str,
    value: bool,  # noqa: FBT001 - pytest hands it over by name
    event: str,
) -> None:
    """It asks anew before guards, exits and entries."""
    phases = ("moved", "before", "exit", "on", "enter", "after")
    for when in phases:
        for fails in phases:

            def script(machine: Any, when: str = when, fails: str = fails) -> Any:
                machine.does[when] = lambda: setattr(machine, flag, value)
                machine.does.setdefault(fails, lambda: 1 / 0)
                return machine.send(event)

            both(kind, script)


def test_a_class_that_sets_attributes_in_a_way_of_its_own_stays_with_the_host() -> None:
    """The engine keeps the configuration by an attribute of the machine."""

    def audited(self: Any, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    why_not = "its class has a __setattr__ of its own"
    assert lane_of(build(__setattr__=audited)()).why_not == why_not


class Number:
    """A value that compares itself with nothing but its like."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return bool(self.number == cast("Number", other).number)

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"Number({self.number})"


@pytest.mark.parametrize("when", ["before", "exit", "on", "enter", "after"])
@pytest.mark.parametrize("written", [None, Number(1), {"near"}, "second", [1]])
def test_values_are_found_as_the_engine_finds_them(when: str, written: Any) -> None:
    """By their hash, and never compared with what is no value."""

    class Numbered(StateChart):  # type: ignore[misc] # 2.x has none
        near = State(initial=True, value=Number(1))
        far = State(value=Number(2))
        hit = near.to(far) | far.to(near)
        turn = near.to.itself(internal=True)
        log: list[Any]
        does: Any = None

        def act(self, name: str) -> None:
            if self.does == name:
                self.model.state = written

        def before_transition(self) -> None:
            self.act("before")

        def on_exit_state(self) -> None:
            self.act("exit")

        def on_transition(self) -> None:
            self.act("on")

        def on_enter_state(self) -> None:
            self.act("enter")

        def after_transition(self) -> None:
            self.act("after")

    for event in ("hit", "turn"):

        def script(machine: Any, event: str = event) -> Any:
            machine.does = when
            try:
                machine.send(event)
            finally:
                machine.log.append(repr(machine.model.state))
                machine.model.state = Number(1)

        both(Numbered, script)


def test_an_initial_transition_is_no_way() -> None:
    """The engine never takes one for an event."""

    class Started(StateMachine):
        near = State(initial=True)
        far = State()
        other = State()
        go = near.to(far, initial=True) | near.to(other)
        back = far.to(near) | other.to(near)
        log: list[Any]

    log = both(Started, lambda machine: machine.go())
    assert log[-1] == ("other", False)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda previous, new, far: new.clear() or new.add(far), id="another state"),
        pytest.param(lambda previous, new, far: new.add(far), id="one more"),
        pytest.param(lambda previous, new, far: previous.clear() or 1 / 0, id="nothing to go to"),
    ],
)
def test_configurations_are_the_very_ones(change: Any) -> None:
    """A callback that changes what it was given changes what is entered, or gone back to."""
    for base in (StateMachine, StateChart):
        near, far, third = State(initial=True), State(), State()

        def on_transition(self: Any, previous_configuration: Any, new_configuration: Any) -> None:
            change(previous_configuration, new_configuration, self.far)

        body = {
            "near": near,
            "far": far,
            "third": third,
            "go": near.to(third) | third.to(far) | far.to(near),
            "stay": near.to.itself(internal=True),
            "on_transition": on_transition,
        }
        changing = made("Changing", base, body)
        both(changing, lambda machine: machine.go())
        both(changing, lambda machine: machine.stay())


def test_arguments_that_are_changed_in_mid_step_reach_who_comes_later() -> None:
    """Those who are given what was made before get the old ones."""

    class Arguments(StateMachine):
        near = State(initial=True)
        far = State()
        go = near.to(far)
        back = far.to(near)
        log: list[Any]

        def before_go(self, number: int, event_data: Any) -> None:
            self.log.append(number)
            event_data.trigger_data.args = (2,)
            event_data.trigger_data.event = self.back

        def on_exit_state(self, number: int) -> None:
            self.log.append(("exit", number))

        def on_go(self, number: int) -> None:
            self.log.append(("on", number))

        def on_enter_far(self, number: int) -> None:
            self.log.append(("enter", number))

        def after_go(self) -> None:
            self.log.append("after")

    log = both(Arguments, lambda machine: machine.go(1))
    assert log[:4] == [1, ("exit", 2), ("on", 1), ("enter", 2)]


def test_new_machines_see_what_a_subclass_has_added_to_a_transition() -> None:
    """An event more, or a transition without one."""
    base = build()
    machine = base()
    assert lane_of(machine).is_fast
    type(base)("Later", (base,), {"leave": base.first.transitions})
    machine = base()
    assert lane_of(machine).is_fast
    machine.send("leave")
    assert machine.current_state_value == "second"
    base.second.to(base.first)
    assert lane_of(base()).why_not == "its state 'second' has a transition without an event"


def test_a_step_that_the_engine_went_on_with_leaves_nothing_behind() -> None:
    """Its arguments are freed with the event."""
    kind_of = noted(StateMachine)
    machine = kind_of()
    holder(kind_of, fast=True)(machine)
    for when in ("moved", "before"):
        row(machine, "near")
        machine.does[when] = lambda: write(machine, "far")
        argument = Strange()
        reference = weakref.ref(argument)
        machine.send("leap" if when == "moved" else "hit", argument)
        machine._engine.running = True
        row(machine, "near")
        machine.turn()
        del argument
        gc.collect()
        assert reference() is None
        assert not machine._engine._cache


class Strange:
    """An argument."""


def test_a_machine_is_in_mid_step_between_the_lane_and_the_engine() -> None:
    """Another thread that takes it out meanwhile has to wait, and nothing goes unannounced."""

    class Raising(StateMachine):
        near = State(initial=True)
        far = State()
        end = State()
        go = near.to(far)
        finish = far.to(end)
        again = end.to(near)

        def on_go(self) -> None:
            self.raise_("finish")

    class Depot(Orchestrator, fast=True):
        machines_of: Fleet[str, Raising] = attrs.field(factory=Fleet[str, Raising])

    depot, machine, heard = Depot(), Raising(), []
    depot.machines_of["a"] = machine
    depot.bus.signal("*").connect(lambda _, record: heard.append(str(record.event)))
    lock: Any = machine._engine._processing
    threads: list[threading.Thread] = []

    class Watched:
        acquire, locked = lock.acquire, lock.locked

        def release(self) -> None:
            lock.release()
            if not threads:
                threads.append(threading.Thread(target=lambda: depot.machines_of.pop("a")))
                threads[0].start()
                threads[0].join(10)

    engine: Any = machine._engine
    engine._processing = Watched()
    machine.go()
    assert heard == ["go", "finish"]
    assert "a" not in depot.machines_of
    assert seam_of(machine) is None


def test_what_raises_while_it_is_announced_takes_along_what_its_event_has_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user's clock may raise there: what then waits of the same event is dropped."""

    class Stepper(StateMachine):
        log: list[Any]
        near = State(initial=True)
        far = State()
        go = near.to(far)
        back = far.to(near)

        def on_go(self) -> None:
            if not self.log:
                self.log.append("go")
                self.back()
                self.go()

    announce = Publisher.transitioned

    def transitioned(publisher: Any, trigger: Any, *facts: Any) -> None:
        announce(publisher, trigger, *facts)
        if trigger.event == "back":
            raise ValueError(trigger.event)

    monkeypatch.setattr(Publisher, "transitioned", transitioned)
    log = both(Stepper, lambda machine: machine.go())
    assert log == ["go", (ValueError, "back"), ("near", False)]


# With reactions -------------------------------------------------------------------------------


def test_fast_and_slow_machines_move_in_one_cascade() -> None:
    """Each on its own way, in one order."""

    class Desk(Orchestrator, fast=True):
        order: Order
        form: Compound

        @on("order.pay")
        def finish(self) -> None:
            self.form.finish()

        @on("form.finish")
        def ship(self) -> None:
            self.order.ship()

    desk = Desk(Order(), Compound())
    desk.order.pay()
    assert str(desk) == "Desk(order=shipped, form=done)"
    assert {name: lane.is_fast for name, lane in fast_lane(desk).items()} == {
        "order": True,
        "form": False,
    }


def test_an_interrupt_leaves_the_machine_as_the_engine_leaves_it(kind: Any) -> None:
    """It stops the step where it is; the next event is taken."""

    def interrupt(_machine: Any) -> None:
        raise KeyboardInterrupt

    for when in ("before", "on", "enter", "after"):
        states = []
        for fast in (False, True):
            machine = kind()
            holder(kind, fast=fast)(machine)
            machine.does[when] = lambda: interrupt(None)
            with pytest.raises(KeyboardInterrupt):
                machine.hit()
            states.append(machine.current_state_value)
            assert not machine._engine._processing.locked()
            assert seam_of(machine).inbox.begun is None
            machine.hit()
            states.append(machine.current_state_value)
        assert states[:2] == states[2:]
