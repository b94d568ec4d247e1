"""Errors: each says what went wrong, where, and what to do, and carries it as facts."""
# Classes are defined to be refused, and pyright knows no exception groups of Python 3.10:
# pyright: reportUnusedClass=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import inspect
import pickle
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from statemachine import State, StateMachine

import statemachines_orchestrator
from statemachines_orchestrator import Orchestrator, domain_signal, exceptions, on, on_enter
from statemachines_orchestrator._notes import add_note
from statemachines_orchestrator.clock import VirtualClock
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    AsyncObserverError,
    AsyncReactionError,
    ClockIsAdvancingError,
    DeclarationError,
    DurationError,
    Failure,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    NameClashError,
    NoMachinesOnOrchestratorError,
    NotAMemberError,
    NotAReactionError,
    NotAtRestError,
    OrchestratorError,
    ReactionErrors,
    ReservedArgumentError,
    RunawayCascadeError,
    SnapshotDoesNotFitError,
    StateFieldIsNotUniqueError,
    UnexpectedAnnotationTypeError,
    UnknownTopicError,
    UnreadableSnapshotError,
    UnreadableTraceError,
    UnsupportedHostError,
    WrongMachineError,
)
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.snapshots import Snapshot
from statemachines_orchestrator.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Order(StateMachine):
    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Payment(StateMachine):
    unpaid = State(initial=True)
    authorized = State(final=True)
    authorize = unpaid.to(authorized)


class Shop(Orchestrator):
    """An orchestrator for misuse after it is built."""

    order: Order
    payment: Payment


class Row:
    """A model."""

    state: Any = None


# Every misuse, and what is said about it --------------------------------------------------------


@attrs.frozen
class Misuse:
    """One way to go wrong, with the error that names it."""

    call: Callable[[], Any]
    error: type[Exception]
    builtin: type[Exception]
    text: str
    facts: dict[str, Any]

    def caught(self) -> Any:
        """Go wrong."""
        with pytest.raises(self.error) as caught:
            self.call()
        return caught.value

    def expected(self, value: Any) -> Any:
        """Return what is expected, with the place in this file filled in.

        `HERE` is the function that goes wrong, `LINE` the line in it that is marked.
        """
        if not isinstance(value, str):
            return value
        lines, first = inspect.getsourcelines(self.call)
        marked = [first + index for index, line in enumerate(lines) if "# the line" in line]
        here = f"{__name__}.{self.call.__qualname__}.<locals>"
        at = f"(test_errors.py, line {marked[0] if marked else '?'})"
        return value.replace("HERE", here).replace("AT", at).replace("FILE", f"{__name__} {at}")


MISUSES: list[Misuse] = []


def misuse(
    error: type[Exception], builtin: type[Exception], text: str, **facts: Any
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function that goes wrong."""

    def register(call: Callable[[], Any]) -> Callable[[], Any]:
        MISUSES.append(Misuse(call, error, builtin, text, facts))
        return call

    return register


@misuse(
    NoMachinesOnOrchestratorError,
    TypeError,
    "HERE.Empty declares no machine. Annotate a field with a state machine class (order: Order), "
    "or declare a mixin of reactions: class ...(Orchestrator, abstract=True).",
    where="HERE.Empty",
)
def no_machines() -> None:
    class Empty(Orchestrator):
        retries: int = 3


@misuse(
    AnnotationIsNotAStateMachineError,
    TypeError,
    "HERE.Counter.count is annotated with int, which is no state machine class. "
    "For plain data give it a value or a field: count: int = attrs.field().",
    where="HERE.Counter",
    field="count",
    annotation="int",
)
def annotated_with_data() -> None:
    class Counter(Orchestrator):
        order: Order
        count: int


@misuse(
    AnnotationIsNotAStateMachineError,
    TypeError,
    "HERE.Counter.counts is annotated with list[int], which is no state machine class. "
    "For plain data give it a value or a field: counts: list[int] = attrs.field(). "
    "For many machines: counts: Fleet[...].",
    where="HERE.Counter",
    field="counts",
    annotation="list[int]",
)
def annotated_with_generic_data() -> None:
    annotations = {"order": Order, "counts": list[int]}
    namespace = {
        "__module__": __name__,
        "__qualname__": "annotated_with_generic_data.<locals>.Counter",
        "__annotations__": annotations,
    }
    type("Counter", (Orchestrator,), namespace)


@misuse(
    UnexpectedAnnotationTypeError,
    TypeError,
    "HERE.Counter.order is annotated with 3, which is no type. Annotate it with a state machine "
    "class, Optional[...] of one, a union of several, "
    "a Fleet[...] of one, an orchestrator class, or a string of these.",
    where="HERE.Counter",
    field="order",
    annotation="3",
)
def annotated_with_a_value() -> None:
    class Counter(Orchestrator):
        order: 3  # type: ignore[valid-type]


@misuse(
    DeclarationError,
    TypeError,
    "HERE.Slotted: slots is no class keyword of an orchestrator. "
    "There are orchestrator_name, max_reactions, clock, dump, load, fast, abstract and kw_only.",
    where="HERE.Slotted",
    problem="slots is no class keyword of an orchestrator",
    fix="There are orchestrator_name, max_reactions, clock, dump, load, fast, abstract and kw_only",
)
def unknown_class_keyword() -> None:
    class Slotted(Orchestrator, slots=True):  # type: ignore[call-arg]
        order: Order


@misuse(
    DeclarationError,
    TypeError,
    "HERE.Endless: max_reactions=0 is no bound. "
    "Give a number of reactions, at least 1, or None for no bound.",
    where="HERE.Endless",
    problem="max_reactions=0 is no bound",
    fix="Give a number of reactions, at least 1, or None for no bound",
)
def bound_of_nothing() -> None:
    class Endless(Orchestrator, max_reactions=0):
        order: Order


@misuse(
    DeclarationError,
    TypeError,
    "HERE.Mixin: an abstract orchestrator has no instances. Subclass it.",
    where="HERE.Mixin",
    problem="an abstract orchestrator has no instances",
    fix="Subclass it",
)
def instance_of_an_abstract_class() -> None:
    class Mixin(Orchestrator, abstract=True):
        pass

    Mixin()


@misuse(
    DeclarationError,
    TypeError,
    "HERE.Shared.order: a machine as a default would be one for all orchestrators. "
    "Use a factory: order: Order = attrs.field(factory=Order).",
    where="HERE.Shared.order",
    problem="a machine as a default would be one for all orchestrators",
    fix="Use a factory: order: Order = attrs.field(factory=Order)",
)
def one_machine_for_all() -> None:
    class Shared(Orchestrator):
        order: Order = Order()


@misuse(
    DeclarationError,
    TypeError,
    "HERE.Private._order: attrs takes the underscore from the name of a private field's argument. "
    "Call the machine 'order'.",
    where="HERE.Private._order",
    problem="attrs takes the underscore from the name of a private field's argument",
    fix="Call the machine 'order'",
)
def private_machine() -> None:
    class Private(Orchestrator):
        _order: Order


@misuse(
    DeclarationError,
    TypeError,
    "HERE.Child.note: 3 takes the place of a reaction. "
    "Override it with a method, or remove it: note = removed.",
    where="HERE.Child.note",
    problem="3 takes the place of a reaction",
    fix="Override it with a method, or remove it: note = removed",
)
def value_over_a_reaction() -> None:
    class Parent(Orchestrator):
        order: Order

        @on("order.process")
        def note(self) -> None:
            pytest.fail("no event is sent")

    class Child(Parent):
        note = 3  # type: ignore[assignment]


@misuse(
    NameClashError,
    TypeError,
    "HERE.Taken: the name 'bus' is taken by every orchestrator. Give the field another name.",
    where="HERE.Taken",
    name="bus",
    taken_by="every orchestrator",
    fix="Give the field another name",
)
def field_with_a_taken_name() -> None:
    class Taken(Orchestrator):
        bus: Order  # type: ignore[assignment]


@misuse(
    NameClashError,
    TypeError,
    "HERE.Taken.post AT: the name 'post' is taken by every orchestrator. "
    "Give the reaction another name.",
    where="HERE.Taken.post AT",
    name="post",
    taken_by="every orchestrator",
    fix="Give the reaction another name",
)
def reaction_with_a_taken_name() -> None:
    class Taken(Orchestrator):
        order: Order

        @on("order.process")  # the line
        def post(self) -> None:  # type: ignore[override]
            pytest.fail("no event is sent")


@misuse(
    NameClashError,
    TypeError,
    "HERE.Taken.order AT: the name 'order' is taken by a field. Give the reaction another name.",
    where="HERE.Taken.order AT",
    name="order",
    taken_by="a field",
    fix="Give the reaction another name",
)
def reaction_with_the_name_of_a_field() -> None:
    class Taken(Orchestrator):
        order: Order  # pyright: ignore[reportRedeclaration]

        @on("order.process")  # type: ignore[no-redef]  # the line
        def order(self) -> None:
            pytest.fail("no event is sent")


@misuse(
    NotAReactionError,
    TypeError,
    'HERE.capture AT: @on without a topic. Write @on("machine.member").',
    where="HERE.capture AT",
    problem="@on without a topic",
    fix='Write @on("machine.member")',
)
def decorator_without_a_call() -> None:
    @on  # type: ignore[arg-type]  # the line
    def capture(self: Any) -> None:
        pytest.fail(f"{self} sends no event")


@misuse(
    NotAReactionError,
    TypeError,
    'FILE: @on_enter() names no topic. Write @on_enter("machine.member").',
    where="FILE",
    problem="@on_enter() names no topic",
    fix='Write @on_enter("machine.member")',
)
def decorator_without_a_topic() -> None:
    on_enter()  # the line


@misuse(
    NotAReactionError,
    TypeError,
    "FILE: @on was given 3 where a topic, a string, belongs. "
    'Write @on("machine.member"), or name the machine: @on(machine=...).',
    where="FILE",
    problem="@on was given 3 where a topic, a string, belongs",
    fix='Write @on("machine.member"), or name the machine: @on(machine=...)',
)
def topic_that_is_no_string() -> None:
    on(3)  # type: ignore[arg-type]  # the line


@misuse(
    NotAReactionError,
    TypeError,
    "FILE: cond=3 is neither callable nor the name of a method or attribute. "
    'A machine called cond is subscribed in the other spelling: "cond.member".',
    where="FILE",
    problem="cond=3 is neither callable nor the name of a method or attribute",
    fix='A machine called cond is subscribed in the other spelling: "cond.member"',
)
def condition_that_is_none() -> None:
    on("order.process", cond=3)  # type: ignore[arg-type]  # the line


@misuse(
    NotAReactionError,
    TypeError,
    "FILE: @on_enter(order=...) was given 3. Give it a state or its id.",
    where="FILE",
    problem="@on_enter(order=...) was given 3",
    fix="Give it a state or its id",
)
def member_that_is_no_state() -> None:
    on_enter(order=3)  # type: ignore[arg-type]  # the line


@misuse(
    NotAReactionError,
    TypeError,
    "FILE: @on decorates 3, which is no function. "
    "Put @on on a method, below no staticmethod, classmethod or property.",
    where="FILE",
    problem="@on decorates 3, which is no function",
    fix="Put @on on a method, below no staticmethod, classmethod or property",
)
def decorated_value() -> None:
    on("order.process")(3)  # type: ignore[type-var]  # the line


@misuse(
    NotAReactionError,
    TypeError,
    "HERE.Paid.note AT: cond='is_paid' names no method or attribute of HERE.Paid. "
    "Define it in the class, or pass a callable.",
    where="HERE.Paid.note AT",
    problem="cond='is_paid' names no method or attribute of HERE.Paid",
    fix="Define it in the class, or pass a callable",
)
def condition_that_is_nowhere() -> None:
    class Paid(Orchestrator):
        order: Order

        @on("order.process", cond="is_paid")  # the line
        def note(self) -> None:
            pytest.fail("no event is sent")


@misuse(
    UnknownTopicError,
    LookupError,
    "HERE.Misspelt.note AT: there is no topic 'order.proces': machine 'order' has no event "
    "'proces'. Did you mean 'order.process'?",
    where="HERE.Misspelt.note AT",
    topic="order.proces",
    problem="machine 'order' has no event 'proces'",
    known=("order.process", "order.ship"),
    nearest="order.process",
)
def misspelt_topic() -> None:
    class Misspelt(Orchestrator):
        order: Order

        @on("order.proces")  # the line
        def note(self) -> None:
            pytest.fail("no event is sent")


@misuse(
    UnknownTopicError,
    LookupError,
    "HERE.Misspelt.note AT: there is no topic 'enter:order.xyz': machine 'order' has no state "
    "'xyz'. Known: enter:order.pending, enter:order.processing, enter:order.shipped.",
    where="HERE.Misspelt.note AT",
    topic="enter:order.xyz",
    problem="machine 'order' has no state 'xyz'",
    known=("enter:order.pending", "enter:order.processing", "enter:order.shipped"),
    nearest=None,
)
def topic_that_is_nowhere_near() -> None:
    class Misspelt(Orchestrator):
        order: Order

        @on_enter("order.xyz")  # the line
        def note(self) -> None:
            pytest.fail("no event is sent")


@misuse(
    UnknownTopicError,
    LookupError,
    f"{__name__}.Shop: there is no topic 'paymnt.authorize': no machine is called 'paymnt'. "
    "Did you mean 'payment.authorize'?",
    where=f"{__name__}.Shop",
    topic="paymnt.authorize",
    problem="no machine is called 'paymnt'",
    known=("order.process", "order.ship", "payment.authorize", "settled"),
    nearest="payment.authorize",
)
def misspelt_signal() -> None:
    Shop(Order(), Payment()).bus.signal("paymnt.authorize")


@misuse(
    WrongMachineError,
    TypeError,
    f"{__name__}.Shop.payment takes a machine of class Payment, and was given 3. "
    "Give it an instance of its class.",
    where=f"{__name__}.Shop",
    field="payment",
    expected="Payment",
    given="3",
)
def wrong_machine() -> None:
    Shop(Order(), 3)  # type: ignore[arg-type]


@misuse(
    MachineIsTakenError,
    ValueError,
    f"{__name__}.Shop.order: the machine already belongs to Shop(order=pending, payment=unpaid), "
    "which is its 'orc'. Give each orchestrator a machine of its own, or give one of the two "
    "classes another orchestrator_name.",
    where=f"{__name__}.Shop",
    field="order",
    holder="Shop(order=pending, payment=unpaid)",
    orchestrator_name="orc",
    kind="machine",
)
def machine_of_another() -> None:
    shop = Shop(Order(), Payment())
    Shop(shop.order, Payment())


@misuse(
    MachineIsBusyError,
    RuntimeError,
    "HERE.Works.job: the machine is in mid-step. Build the orchestrator before the event is sent, "
    "or after it was taken; not in a callback of the machine. A member of a fleet is put in, "
    "and put back, when it is at rest.",
    where="HERE.Works",
    field="job",
)
def machine_in_mid_step() -> None:
    class Job(StateMachine):
        ready = State(initial=True)
        run = ready.to(ready)

        def on_run(self) -> None:
            Works(self)

    class Works(Orchestrator):
        job: Job

    Job().send("run")


@misuse(
    StateFieldIsNotUniqueError,
    ValueError,
    f"{__name__}.Shop: order and payment share a model and its state_field 'state': each would "
    "overwrite the other's state. Give one another: "
    "payment=...(model, state_field='payment_state').",
    where=f"{__name__}.Shop",
    field="payment",
    other="order",
    state_field="state",
)
def shared_state_field() -> None:
    row = Row()
    payment = Payment(row)
    row.state = None
    Shop(Order(row), payment)


@misuse(
    MachineFieldIsSetError,
    AttributeError,
    f"{__name__}.Shop.order is set already, and a machine field is set once. "
    "Build a new orchestrator for another machine.",
    where=f"{__name__}.Shop",
    field="order",
    is_fleet=False,
)
def machine_set_twice() -> None:
    shop = Shop(Order(), Payment())
    shop.order = Order()


@misuse(
    DurationError,
    ValueError,
    f"{__name__}.Shop.post(delay=...): -1 is no length of time. Give seconds, a number from 0 on "
    "(greater than 0 for a timeout), or a timedelta.",
    where=f"{__name__}.Shop.post(delay=...)",
    given="-1",
)
def negative_delay() -> None:
    Shop(Order(), Payment()).post("order.process", delay=-1)


@misuse(
    ClockIsAdvancingError,
    RuntimeError,
    "the clock, at 1.0 seconds, is advancing already: either by this call's caller, which came "
    'due, and may post for later, post("machine.event", delay=...); or in another task: '
    "await one `clock.advance(...)` after the other.",
    now=1.0,
)
def clock_advanced_by_what_is_due() -> None:
    clock = VirtualClock()
    clock.call_at(1.0, lambda: clock.advance(1.0))
    clock.advance(2.0)


@misuse(
    UnreadableTraceError,
    ValueError,
    "line 1: it is no trace of version 1; the first line begins with {'trace': 2}. "
    "Give it what Trace.to_jsonl() has written.",
    line=1,
    problem="it is no trace of version 1; the first line begins with {'trace': 2}",
)
def trace_of_another_version() -> None:
    Trace.from_jsonl('{"trace": 2}')


@misuse(
    UnreadableSnapshotError,
    ValueError,
    "it is no snapshot of version 1: {}. Give it what Snapshot.to_json() has written.",
    problem="it is no snapshot of version 1: {}",
)
def text_that_is_no_snapshot() -> None:
    Snapshot.from_json("{}")


@misuse(
    SnapshotDoesNotFitError,
    ValueError,
    "Snapshot.restore_into(): the snapshot does not fit: "
    "it was taken of a Shop, and this is a Depot.",
    where="Snapshot.restore_into()",
    differences=("it was taken of a Shop, and this is a Depot",),
)
def snapshot_of_another_class() -> None:
    Snapshot.take(Shop(Order(), Payment())).restore_into(Depot())


class Clerk(StateMachine):
    idle = State(initial=True)
    save = idle.to(idle)

    def on_save(self, orc: Any) -> None:
        Snapshot.take(orc)


class Office(Orchestrator):
    clerk: Clerk


@misuse(
    NotAtRestError,
    RuntimeError,
    "Snapshot.take(): machine 'clerk' is in mid-step. Do it outside of every call, or in "
    '@on("settled"), before anything is moved there.',
    where="Snapshot.take()",
    problem="machine 'clerk' is in mid-step",
)
def snapshot_in_mid_step() -> None:
    Office(Clerk()).clerk.save()


class Depot(Orchestrator):
    orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])


@misuse(
    NotAMemberError,
    LookupError,
    "'spare' is no member of Depot(orders=Fleet({'a': pending})).orders. Ask for a machine that "
    "was put in, and has not been taken out.",
    fleet="Depot(orders=Fleet({'a': pending})).orders",
    given="'spare'",
)
def key_of_a_stranger() -> None:
    depot = Depot()
    depot.orders["a"] = Order()
    stranger: Any = "spare"
    depot.orders.key_of(stranger)


@misuse(
    UnsupportedHostError,
    RuntimeError,
    f"{__name__}.Shop.order: python-statemachine {version('python-statemachine')} has no put on "
    "this machine's engine. Supported are 2.5, 2.6, 3.0, 3.1 and 3.2; install one of these.",
    where=f"{__name__}.Shop.order",
    version=version("python-statemachine"),
    missing="put",
    supported="2.5, 2.6, 3.0, 3.1 and 3.2",
)
def machine_with_another_engine() -> None:
    order: Any = Order()
    order._engine = object()
    Shop(order, Payment())


@misuse(
    AsyncObserverError,
    TypeError,
    "observe is an async def and cannot observe 'order.process': an observer is called in "
    "mid-step, where nobody can await it. Make it a reaction: decorate a method with @on(...).",
    observer="observe",
    topic="order.process",
)
def async_observer() -> None:
    async def observe(*_args: Any, **_kwargs: Any) -> None:
        pytest.fail("it is not called")

    Shop(Order(), Payment()).bus.signal("order.process").connect(observe)


@misuse(
    AsyncReactionError,
    RuntimeError,
    "AsyncShop.note (order.process) must be awaited, and the call that led to it is a sync call in "
    "a running event loop, where nobody waits. Begin with "
    '`await orchestrator.asend("machine.event", ...)` in place of that call, or make its machine '
    "async (one async def callback is enough) and await the call.",
    name="AsyncShop.note",
    topic="order.process",
)
def async_reaction_of_a_sync_machine() -> None:
    class AsyncShop(Orchestrator):
        order: Order

        @on("order.process")
        async def note(self) -> None:
            pytest.fail("nobody could await it")

    async def main() -> None:
        AsyncShop(Order()).order.send("process")

    try:
        asyncio.run(main())
    except ReactionErrors as group:
        raise group.exceptions[0] from None


@misuse(
    AsyncReactionError,
    RuntimeError,
    "order.process must be awaited, and the call that led to it is a sync "
    "call in a running event loop, where nobody waits. Begin with "
    '`await orchestrator.asend("machine.event", ...)` in place of that call, or make its machine '
    "async (one async def callback is enough) and await the call.",
    name="order.process",
    topic="order.process",
)
def post_to_an_async_machine() -> None:
    class AsyncOrder(Order):
        async def on_process(self) -> None:
            pytest.fail("nobody could await it")

    async def main() -> None:
        Shop(AsyncOrder(), Payment()).post("order.process")

    asyncio.run(main())


@misuse(
    ReservedArgumentError,
    TypeError,
    "HERE.Desk.publish('low'): nobody would get an argument called 'self': the name is taken. "
    "Choose one that is none of self.",
    where="HERE.Desk.publish('low')",
    names=("self",),
    reserved=("self",),
)
def argument_called_self() -> None:
    class Desk(Orchestrator):
        order: Order
        low = domain_signal("an item runs out")

    Desk(Order()).publish("low", self=1)


@misuse(
    RunawayCascadeError,
    RuntimeError,
    "HERE.Game: the cascade ran 20 reactions, 1 more wait, and it goes round in a loop: "
    "ping.hit → Game.return_ball → pong.hit → Game.serve → ping.hit. "
    "Break it with a cond= or a guard, or raise the bound: "
    "class ...(Orchestrator, max_reactions=...).",
    where="HERE.Game",
    turns=20,
    waiting=1,
    loop=("ping.hit", "Game.return_ball", "pong.hit", "Game.serve", "ping.hit"),
)
def game_that_does_not_end() -> None:
    class Racket(StateMachine):
        ready = State(initial=True)
        hit = ready.to(ready)

    class Game(Orchestrator, max_reactions=20):
        ping: Racket
        pong: Racket

        @on("ping.hit")
        def return_ball(self) -> None:
            self.pong.send("hit")

        @on("pong.hit")
        def serve(self) -> None:
            self.ping.send("hit")

    Game(Racket(), Racket()).ping.send("hit")


EVERY_MISUSE = pytest.mark.parametrize("misused", MISUSES, ids=lambda one: one.call.__name__)


# What holds for every error -----------------------------------------------------------------------


def test_every_error_has_a_misuse_here() -> None:
    """No error of the package is left out of these tests."""
    others = {"Failure", "OrchestratorError", "ReactionErrors"}
    assert {one.error.__name__ for one in MISUSES} | others == set(exceptions.__all__)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_is_imported_from_the_package_too(name: str) -> None:
    """Each error is at hand in the package itself and in its module of errors."""
    assert getattr(statemachines_orchestrator, name) is getattr(exceptions, name)


@EVERY_MISUSE
def test_an_error_says_what_where_and_what_to_do(misused: Misuse) -> None:
    """The text names what is wrong, the place in the user's code, and the fix."""
    assert str(misused.caught()) == misused.expected(misused.text)


@EVERY_MISUSE
def test_an_error_carries_its_facts(misused: Misuse) -> None:
    """What the text tells is there as attributes."""
    error = misused.caught()
    facts = {field.name: getattr(error, field.name) for field in attrs.fields(type(error))}
    assert facts == {name: misused.expected(value) for name, value in misused.facts.items()}


@EVERY_MISUSE
def test_an_error_pickles(misused: Misuse) -> None:
    """An error comes back from a pickle with its type, its facts and its text."""
    error = misused.caught()
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), attrs.asdict(restored), str(restored)) == (
        type(error),
        attrs.asdict(error),
        str(error),
    )


@EVERY_MISUSE
def test_an_error_is_of_the_one_base_and_of_a_builtin(misused: Misuse) -> None:
    """An error can be caught as `OrchestratorError`, and as the builtin that fits."""
    error = misused.caught()
    assert [isinstance(error, OrchestratorError), isinstance(error, misused.builtin)] == [
        True,
        True,
    ]


@EVERY_MISUSE
def test_an_error_takes_notes(misused: Misuse) -> None:
    """An error takes notes, as every exception does, and pickles with them."""
    error = misused.caught()
    add_note(error, "a note")
    restored = pickle.loads(pickle.dumps(error))
    assert (restored.__notes__, restored.__notes__[-1]) == (error.__notes__, "a note")


# The group of failures ----------------------------------------------------------------------------


class Broken(ValueError):
    """A user's exception."""


class Failing(Orchestrator):
    """An orchestrator of which two reactions and an observer fail."""

    order: Order

    @on("order.process")
    def pay(self) -> None:
        """Fail in one way."""
        raise Broken("no money")

    @on_enter("order.processing")
    def tell(self) -> None:
        """Fail in another."""
        raise KeyError("no address")


class ProcessedOrder(Order):
    """An order whose event has a result."""

    def on_process(self) -> str:
        """Return a result."""
        return "processed"


def group_of_failures() -> ReactionErrors:
    """Send an event whose reactions fail."""

    def watch(_machine: Any, **_: Any) -> None:
        raise Broken("no light")

    failing = Failing(ProcessedOrder())
    failing.bus.signal("exit:order.pending").connect(watch)
    with pytest.raises(ReactionErrors) as caught:
        failing.order.send("process")
    return caught.value


def told(group: ReactionErrors) -> Any:
    """Return everything that a group carries, comparable."""
    return (
        [repr(error) for error in group.exceptions],
        [getattr(error, "__notes__", []) for error in group.exceptions],
        group.result,
        [(one.reaction, one.cause, repr(one.exception)) for one in group.failures],
    )


def test_the_failures_are_a_group_with_the_calls_result() -> None:
    """`ReactionErrors` is an `ExceptionGroup`, in the order of failing, with `result`."""
    group = group_of_failures()
    assert isinstance(group, ExceptionGroup)
    assert str(group) == (
        "failed after the call: watch, Failing.pay, Failing.tell; the rest has run, see .failures "
        "(3 sub-exceptions)"
    )
    assert [type(error) for error in group.exceptions] == [Broken, Broken, KeyError]
    assert group.result == "processed"
    assert [(one.reaction, one.exception) for one in group.failures] == list(
        zip(["watch", "Failing.pay", "Failing.tell"], group.exceptions, strict=True)
    )


def test_each_failure_carries_a_note_naming_reaction_and_cause() -> None:
    """The note on a failure says whose it is, in reaction to what."""
    notes = [getattr(error, "__notes__", None) for error in group_of_failures().exceptions]
    cause = "in reaction to order.process (pending → processing)"
    assert notes == [
        [f"in watch, {cause}"],
        [f"in Failing.pay, {cause}"],
        [f"in Failing.tell, {cause}"],
    ]


def test_each_failure_names_its_cause_as_a_record() -> None:
    """The cause of a failure is the record that the reaction or the observer was given."""
    causes = [one.cause for one in group_of_failures().failures]
    assert [type(cause).__name__ for cause in causes] == ["Transitioned"] * 3
    assert {cause.machine_name for cause in causes} == {"order"}  # type: ignore[union-attr]


def test_one_failure_is_a_group_too() -> None:
    """A group is raised always, for one failure as for many."""

    class Once(Orchestrator):
        order: Order

        @on("order.process")
        def pay(self) -> None:
            raise Broken("no money")

    with pytest.raises(ReactionErrors) as caught:
        Once(Order()).order.send("process")
    assert told(caught.value)[0] == ["Broken('no money')"]
    assert (
        str(caught.value)
        == "failed after the call: Once.pay; the rest has run, see .failures (1 sub-exception)"
    )


def test_a_post_that_is_refused_fails_without_a_record() -> None:
    """A posted event has no record that it reacts to: its failure has its topic and no cause."""
    with pytest.raises(ReactionErrors) as caught:
        Shop(Order(), Payment()).post("order.ship")
    failures = [(one.reaction, one.cause) for one in caught.value.failures]
    assert failures == [("order.ship", None)]
    assert told(caught.value)[1] == [["in order.ship"]]


def test_split_keeps_the_result_and_the_failures_of_each_part() -> None:
    """`split` parts the group, and each part has the result and the failures of its exceptions."""
    group = group_of_failures()
    match, rest = group.split(Broken)
    assert (type(match), type(rest)) == (ReactionErrors, ReactionErrors)
    assert match is not None
    assert rest is not None
    assert (match.result, rest.result) == ("processed", "processed")  # type: ignore[attr-defined, unused-ignore]
    assert match.failures == group.failures[:2]  # type: ignore[attr-defined, unused-ignore]
    assert rest.failures == group.failures[2:]  # type: ignore[attr-defined, unused-ignore]


def test_subgroup_keeps_the_result_and_its_failures() -> None:
    """`subgroup` has the result and the failures of the exceptions that are left."""
    group = group_of_failures()
    part: Any = group.subgroup(KeyError)
    assert (type(part), part.result, part.failures) == (
        ReactionErrors,
        "processed",
        group.failures[2:],
    )
    assert group.subgroup(TypeError) is None


def test_derive_keeps_the_result_and_the_failures_of_what_it_is_given() -> None:
    """`derive` builds a group of some of the exceptions, with their failures."""
    group = group_of_failures()
    part = group.derive(group.exceptions[1:])
    assert (type(part), part.message, part.result, part.failures) == (
        ReactionErrors,
        group.message,
        "processed",
        group.failures[1:],
    )


class Alike(Exception):
    """An exception that says it is equal to all others."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_parts_of_a_group_tell_exceptions_by_identity() -> None:
    """Two exceptions that compare equal are two failures, each with its own part of the group."""

    class Twice(Orchestrator):
        order: Order

        @on("order.process")
        def first(self) -> None:
            raise Alike("first")

        @on("order.process")
        def second(self) -> None:
            raise Alike("second")

    with pytest.raises(ReactionErrors) as caught:
        Twice(Order()).order.send("process")
    group = caught.value
    part = group.derive(group.exceptions[:1])
    assert [one.reaction for one in part.failures] == ["Twice.first"]


def test_a_group_keeps_its_notes_and_its_causes_when_it_is_split() -> None:
    """The parts of a group carry its traceback, its cause, its context and its notes."""
    group = group_of_failures()
    add_note(group, "a note")
    group.__cause__ = cause = RuntimeError("a cause")
    part: Any = group.subgroup(Broken)
    assert (part.__notes__, part.__cause__, part.__traceback__) == (
        ["a note"],
        cause,
        group.__traceback__,
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="except* is a syntax of Python 3.11")
def test_except_star_takes_its_part_with_result_and_failures() -> None:
    """`except*` hands each clause its part of the failures, with the result."""
    names: dict[str, Any] = {"Broken": Broken, "send": group_of_failures, "taken": []}
    program = (
        "try:\n"
        "    raise send()\n"
        "except* Broken as part:\n"
        "    taken.append(part)\n"
        "except* KeyError as part:\n"
        "    taken.append(part)\n"
    )
    exec(program, names)  # noqa: S102 - Python 3.10 cannot read it
    parts = [
        (type(part), part.result, [one.reaction for one in part.failures])
        for part in names["taken"]
    ]
    assert parts == [
        (ReactionErrors, "processed", ["watch", "Failing.pay"]),
        (ReactionErrors, "processed", ["Failing.tell"]),
    ]


def test_a_group_pickles() -> None:
    """A group comes back from a pickle with exceptions, notes, result and failures."""
    group = group_of_failures()
    add_note(group, "a note")
    restored = pickle.loads(pickle.dumps(group))
    assert (type(restored), str(restored), told(restored)) == (
        ReactionErrors,
        str(group),
        told(group),
    )
    assert getattr(restored, "__notes__", None) == ["a note"]
    assert [one.exception for one in restored.failures] == list(restored.exceptions)


def test_a_failure_is_a_value() -> None:
    """A `Failure` is a frozen value: reaction, cause, exception."""
    error = Broken("no money")
    failure = Failure("Shop.pay", None, error)
    assert failure == Failure("Shop.pay", None, error)
    assert repr(failure) == "Failure(reaction='Shop.pay', cause=None, exception=Broken('no money'))"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        failure.reaction = "other"  # type: ignore[misc]


def test_a_group_built_by_hand_has_the_facts_that_it_is_given() -> None:
    """`ReactionErrors` can be built in a test of the code that handles it."""
    error = Broken("no money")
    group = ReactionErrors("failed", [error])
    assert (group.message, group.exceptions, group.result, group.failures) == (
        "failed",
        (error,),
        None,
        (),
    )
    failures = [Failure("Shop.pay", None, error)]
    group = ReactionErrors("failed", [error], result="taken", failures=failures)
    assert (group.result, group.failures) == ("taken", tuple(failures))


def test_the_machines_own_exception_takes_the_failures_along_as_notes() -> None:
    """The exception of the call itself keeps its type and carries the failures as notes."""

    class Late(Order):
        def after_process(self) -> None:
            raise Broken("too late")

    failing = Failing(Late())
    with pytest.raises(Broken) as caught:
        failing.order.send("process")
    cause = "in reaction to order.process (pending → processing)"
    assert getattr(caught.value, "__notes__", None) == [
        f"Failing.pay, {cause} failed: Broken('no money')",
        f"Failing.tell, {cause} failed: KeyError('no address')",
    ]


def test_a_hook_is_a_function() -> None:
    """The class keywords `dump` and `load` take functions, and nothing else."""
    with pytest.raises(DeclarationError, match=r"dump=3 is no function. Give it one: dump=lambda"):

        class Wrong(Orchestrator, dump=3):  # type: ignore[arg-type]
            order: Order
