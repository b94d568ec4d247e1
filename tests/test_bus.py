"""The bus: observers through blinker, muting, failures of observers, and the records they read."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
from typing import TYPE_CHECKING, Any

import attrs
import blinker
import pytest
from conftest import listen
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    AsyncObserverError,
    Orchestrator,
    ReactionErrors,
    RunawayCascadeError,
    UnknownTopicError,
    on,
)
from statemachines_orchestrator.records import (
    Abandoned,
    Failed,
    Finished,
    Sent,
    Settled,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from conftest import Engine


class Order(StateMachine):
    """An order, the subject of most tests."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Payment(StateMachine):
    """A payment, so that there are two machines."""

    unpaid = State(initial=True)
    authorized = State()
    captured = State(final=True)
    authorize = unpaid.to(authorized)
    capture = authorized.to(captured)


class Shop(Orchestrator):
    """Two machines and one reaction that moves the other."""

    order: Order
    payment: Payment

    @on("order.process")
    def authorize(self) -> Any:
        """Authorize the payment."""
        return self.payment.authorize()


class Pair(Orchestrator):
    """Two machines of one class, and no reaction."""

    first: Order
    second: Order


class Stop(BaseException):
    """Stops a cascade."""


def a_shop(engine: Engine, cls: Any = Shop) -> Any:
    """Return a new shop on one of the engines."""
    return cls(order=engine.machine(Order)(), payment=engine.machine(Payment)())


def a_pair(engine: Engine) -> Any:
    """Return a new pair on one of the engines."""
    return Pair(first=engine.machine(Order)(), second=engine.machine(Order)())


def observe(owner: Any, heard: list[Any], *topics: str) -> None:
    """Append every record of `topics` to `heard`, as topic and record."""
    for topic in topics:
        owner.bus.signal(topic).connect(
            lambda _sender, record, topic=topic: heard.append((topic, record))
        )


# The call of an observer ----------------------------------------------------------------------


def test_an_observer_is_called_with_the_machine_and_the_record(engine: Engine) -> None:
    """An observer is called as `fn(machine, record=record)`."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    shop = a_shop(engine)
    shop.bus.signal("order.process").connect(lambda *args, **kwargs: calls.append((args, kwargs)))
    engine.run(lambda: shop.order.process())
    [(args, kwargs)] = calls
    assert (args, list(kwargs), type(kwargs["record"])) == ((shop.order,), ["record"], Transitioned)


def test_an_observer_is_called_at_once_in_mid_step(engine: Engine) -> None:
    """An observer runs before the call's own code goes on, and before every reaction."""
    heard: list[str] = []

    class Nested(Order):
        def after_process(self, orc: Any) -> Any:
            heard.append("before the direct call")
            result = orc.payment.authorize()
            heard.append("after the direct call")
            return result

    class Observed(Orchestrator):
        order: Nested
        payment: Payment

        @on("payment.authorize")
        def react(self) -> None:
            heard.append("reaction")

    shop = Observed(order=engine.machine(Nested)(), payment=engine.machine(Payment)())
    shop.bus.signal("payment.authorize").connect(lambda *_, **__: heard.append("observer"))
    shop.bus.signal("order.process").connect(lambda *_, **__: heard.append("observer of the outer"))
    engine.run(lambda: shop.order.process())
    expected = [
        "before the direct call",
        "observer",
        "after the direct call",
        "observer of the outer",
        "reaction",
    ]
    if engine.is_async:  # the callback returns the awaitable, and the host awaits it
        expected[1:3] = ["after the direct call", "observer"]
    assert heard == expected


def test_an_observer_sees_the_committed_state(engine: Engine) -> None:
    """A transition is announced after its commit, so an observer sees the new state."""
    heard: list[Any] = []
    shop = a_shop(engine)
    shop.bus.signal("exit:order.pending").connect(
        lambda machine, **_: heard.append(machine.current_state_value)
    )
    engine.run(lambda: shop.order.process())
    assert heard == ["processing"]


def test_observers_are_called_in_the_order_of_connection(engine: Engine) -> None:
    """Receivers of one signal are called in the order in which they were connected."""
    heard: list[int] = []
    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")
    for number in range(50):
        signal.connect(lambda *_, number=number, **__: heard.append(number))
    engine.run(lambda: shop.order.process())
    assert heard == list(range(50))


def test_the_order_of_connection_holds_across_sender_filters(engine: Engine) -> None:
    """Receivers for one sender and receivers for any sender share one order of connection."""
    heard: list[int] = []
    pair = a_pair(engine)
    signal = pair.bus.signal("*")
    senders = [blinker.ANY, pair.first, pair.second]
    for number in range(30):
        signal.connect(
            lambda *_, number=number, **__: heard.append(number), sender=senders[number % 3]
        )
    engine.run(lambda: pair.second.process())
    assert heard == [number for number in range(30) if number % 3 != 1]


def test_reactions_and_observers_share_one_order_of_connection(engine: Engine) -> None:
    """A reaction is a receiver, connected when the orchestrator is built, and so queued first.

    Its turn comes when the call is at rest, after the observers that are called at once.
    """
    heard: list[str] = []

    class Observed(Orchestrator):
        order: Order

        @on("order.process")
        def react(self) -> None:
            heard.append("reaction")

    owner = Observed(order=engine.machine(Order)())
    signal = owner.bus.signal("order.process")
    signal.connect(lambda *_, **__: heard.append("observer"))
    names = [getattr(receiver, "__name__", None) for receiver in signal.receivers_for(owner.order)]
    engine.run(lambda: owner.order.process())
    assert (names, heard) == (["react", "<lambda>"], ["observer", "reaction"])


def test_a_receiver_connected_again_keeps_its_place(engine: Engine) -> None:
    """Connecting a receiver twice calls it once, in its first place."""
    heard: list[str] = []

    def first(*_: Any, **__: Any) -> None:
        heard.append("first")

    def second(*_: Any, **__: Any) -> None:
        heard.append("second")

    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")
    for receiver in (first, second, first):
        signal.connect(receiver)
    engine.run(lambda: shop.order.process())
    assert heard == ["first", "second"]


def test_a_receiver_of_one_sender_connected_again_for_any_keeps_its_place(engine: Engine) -> None:
    """A receiver connected for one sender, then for any, is called once, in its first place."""
    heard: list[str] = []

    def first(*_: Any, **__: Any) -> None:
        heard.append("first")

    def second(*_: Any, **__: Any) -> None:
        heard.append("second")

    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")
    signal.connect(first, sender=shop.order)
    signal.connect(second)
    signal.connect(first)
    engine.run(lambda: shop.order.process())
    assert heard == ["first", "second"]


def test_a_receiver_connected_after_a_disconnect_comes_last(engine: Engine) -> None:
    """A receiver that is disconnected and connected anew takes its place at the end."""
    heard: list[str] = []

    def first(*_: Any, **__: Any) -> None:
        heard.append("first")

    def second(*_: Any, **__: Any) -> None:
        heard.append("second")

    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")
    signal.connect(first)
    signal.connect(second)
    signal.disconnect(first)
    signal.connect(first)
    engine.run(lambda: shop.order.process())
    assert heard == ["second", "first"]


def test_an_observer_of_a_wildcard_hears_every_transition(engine: Engine) -> None:
    """Observers of `*` hear each transition of any machine once, with its machine as sender."""
    heard: list[tuple[str, str]] = []
    shop = a_shop(engine)
    shop.bus.signal("*").connect(
        lambda machine, record: heard.append((type(machine).__name__, record.event))
    )
    engine.run(lambda: shop.order.process())
    assert heard == [("Order", "process"), ("Payment", "authorize")]


def test_sender_filters_as_blinker_does(engine: Engine) -> None:
    """A receiver connected with `sender=machine` hears that machine alone."""
    heard: list[str] = []
    pair = a_pair(engine)
    pair.bus.signal("*").connect(
        lambda _, record: heard.append(record.machine_name), sender=pair.second
    )
    engine.run(lambda: pair.first.process())
    engine.run(lambda: pair.second.process())
    assert heard == ["second"]


# References -----------------------------------------------------------------------------------


def test_a_receiver_is_held_strongly(engine: Engine) -> None:
    """A lambda that nobody else holds stays connected: differs from blinker."""
    heard: list[str] = []
    shop = a_shop(engine)
    shop.bus.signal("order.process").connect(lambda *_, **__: heard.append("lambda"))
    gc.collect()
    engine.run(lambda: shop.order.process())
    assert heard == ["lambda"]


def test_a_weak_receiver_is_dropped_with_its_last_reference(engine: Engine) -> None:
    """With `weak=True` a receiver hears as long as somebody holds it."""
    heard: list[str] = []

    def receiver(*_: Any, **__: Any) -> None:
        heard.append("receiver")

    shop = a_shop(engine)
    signal = shop.bus.signal("*")
    signal.connect(receiver, weak=True)
    engine.run(lambda: shop.order.process())
    del receiver
    gc.collect()
    engine.run(lambda: shop.order.ship())
    assert (heard, dict(signal.receivers)) == (["receiver", "receiver"], {})


def test_an_observer_keeps_its_bound_object(engine: Engine) -> None:
    """A bound method is held strongly too, so its object may be dropped by everybody else."""
    heard: list[str] = []

    class Printer:
        def receive(self, *_: Any, **__: Any) -> None:
            heard.append("printed")

    shop = a_shop(engine)
    shop.bus.signal("order.process").connect(Printer().receive)
    gc.collect()
    engine.run(lambda: shop.order.process())
    assert heard == ["printed"]


# blinker's own ways to connect ----------------------------------------------------------------


def test_connect_returns_the_receiver_and_works_as_a_decorator(engine: Engine) -> None:
    """`@signal.connect` connects a function and leaves it as it was."""
    heard: list[str] = []
    shop = a_shop(engine)

    @shop.bus.signal("order.process").connect  # type: ignore[untyped-decorator,unused-ignore]
    def receiver(_sender: Any, record: Any) -> str:
        heard.append(str(record.event))
        return "returned"

    engine.run(lambda: shop.order.process())
    assert heard == ["process"]
    assert receiver.__name__ == "receiver"


def test_connect_via_filters_by_sender(engine: Engine) -> None:
    """`@signal.connect_via(machine)` connects a function for one machine, strongly."""
    heard: list[str] = []
    pair = a_pair(engine)
    pair.bus.signal("*").connect_via(pair.first)(
        lambda _, record: heard.append(record.machine_name)
    )
    gc.collect()
    engine.run(lambda: pair.first.process())
    engine.run(lambda: pair.second.process())
    assert heard == ["first"]


def test_connected_to_connects_for_a_block(engine: Engine) -> None:
    """`with signal.connected_to(fn):` connects for the block, and no longer."""
    heard: list[str] = []

    def receiver(_sender: Any, record: Any) -> None:
        heard.append(str(record.event))

    shop = a_shop(engine)
    with shop.bus.signal("order.*").connected_to(receiver):
        engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.order.ship())
    assert heard == ["process"]


def test_a_disconnected_receiver_hears_nothing(engine: Engine) -> None:
    """`disconnect` ends what `connect` began, for this receiver alone."""
    heard: list[str] = []

    def gone(*_: Any, **__: Any) -> None:
        heard.append("gone")

    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")
    signal.connect(gone)
    signal.connect(lambda *_, **__: heard.append("still there"))
    signal.disconnect(gone)
    engine.run(lambda: shop.order.process())
    assert heard == ["still there"]


def test_an_observer_may_disconnect_itself(engine: Engine) -> None:
    """A receiver that disconnects itself while it is called skips no other one."""
    heard: list[str] = []
    shop = a_shop(engine)
    signal = shop.bus.signal("*")

    def once(*_: Any, **__: Any) -> None:
        heard.append("once")
        signal.disconnect(once)

    signal.connect(once)
    signal.connect(lambda *_, **__: heard.append("always"))
    engine.run(lambda: shop.order.process())
    assert heard == ["once", "always", "always"]


# Muting ---------------------------------------------------------------------------------------


def test_muting_a_signal_mutes_observers_and_reactions(engine: Engine) -> None:
    """Under `muted()` neither observers nor reactions of the topic hear it, afterwards both do."""
    heard: list[str] = []

    class Observed(Orchestrator):
        order: Order

        @on("order.*")
        def react(self, event: str) -> None:
            heard.append(f"reaction {event}")

    owner = Observed(order=engine.machine(Order)())
    signal = owner.bus.signal("order.*")
    signal.connect(lambda _, record: heard.append(f"observer {record.event}"))
    with signal.muted():
        engine.run(lambda: owner.order.process())
    engine.run(lambda: owner.order.ship())
    assert heard == ["observer ship", "reaction ship"]


def test_muting_a_signal_mutes_no_other(engine: Engine) -> None:
    """A muted topic leaves the other topics of the same transition alone."""
    heard: list[Any] = []
    shop = a_shop(engine)
    observe(shop, heard, "order.process", "enter:order.processing")
    with shop.bus.signal("order.process").muted():
        engine.run(lambda: shop.order.process())
    assert [topic for topic, _ in heard] == ["enter:order.processing"]


def test_a_signal_has_receivers_when_a_reaction_is_subscribed(engine: Engine) -> None:
    """A reaction is a receiver of blinker's signal; where there is none there is no receiver."""
    shop = a_shop(engine)
    counts = {
        topic: len(shop.bus.signal(topic).receivers) for topic in ("order.process", "order.ship")
    }
    assert counts == {"order.process": 1, "order.ship": 0}


# Signals --------------------------------------------------------------------------------------


def test_the_bus_is_a_blinker_namespace_of_named_signals(engine: Engine) -> None:
    """The bus and its signals are blinker's own."""
    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")
    assert isinstance(shop.bus, blinker.Namespace)
    assert isinstance(signal, blinker.NamedSignal)


def test_a_topic_has_one_signal(engine: Engine) -> None:
    """The same topic is the same signal each time, and two orchestrators share none."""
    shop, other = a_shop(engine), a_shop(engine)
    signal = shop.bus.signal("order.process")
    assert shop.bus.signal("order.process") is signal
    assert other.bus.signal("order.process") is not signal


def test_an_unknown_topic_is_refused_with_the_nearest(engine: Engine) -> None:
    """`bus.signal` refuses what is no topic, names the nearest, and makes no signal of it."""
    shop = a_shop(engine)
    with pytest.raises(UnknownTopicError) as caught:
        shop.bus.signal("order.proces")
    assert caught.value.nearest == "order.process"
    assert "order.proces" not in shop.bus


def test_an_async_observer_is_refused(engine: Engine) -> None:
    """Nobody could await an `async def` observer, so connecting one is refused."""

    async def later(_sender: Any, record: Any) -> None:
        """Never run."""

    signal = a_shop(engine).bus.signal("order.ship")
    refused = []
    for connect in (
        lambda: signal.connect(later),
        lambda: signal.connect_via(blinker.ANY)(later),
        lambda: signal.connected_to(later).__enter__(),
    ):
        with pytest.raises(AsyncObserverError) as caught:
            connect()  # type: ignore[no-untyped-call]
        refused.append((caught.value.observer, caught.value.topic))
    assert refused == [("later", "order.ship")] * 3
    assert dict(signal.receivers) == {}


def test_two_orchestrators_never_hear_each_other(engine: Engine) -> None:
    """A signal belongs to its own orchestrator: there is no global bus."""
    heard: list[Any] = []
    shop, other = a_shop(engine), a_shop(engine)
    observe(other, heard, "order.process", "*", "settled", "sent:*", "started:*", "finished:*")
    engine.run(lambda: shop.order.process())
    assert heard == []


# Failing observers ----------------------------------------------------------------------------


def failing_shop(engine: Engine) -> tuple[Any, list[str]]:
    """Return a shop with a failing observer among others."""
    heard: list[str] = []
    shop = a_shop(engine)
    signal = shop.bus.signal("order.process")

    def broken(*_: Any, **__: Any) -> None:
        heard.append("broken")
        raise ValueError("no paper")

    signal.connect(lambda *_, **__: heard.append("first"))
    signal.connect(broken)
    signal.connect(lambda *_, **__: heard.append("last"))
    return shop, heard


def test_a_failing_observer_stops_no_other_receiver(engine: Engine) -> None:
    """Observers after the one that raised are called, and reactions run."""
    shop, heard = failing_shop(engine)
    engine.raises(ReactionErrors, lambda: shop.order.process())
    assert (heard, repr(shop)) == (
        ["first", "broken", "last"],
        "Shop(order=processing, payment=authorized)",
    )


def test_a_failing_observer_is_a_failure_of_the_cascade(engine: Engine) -> None:
    """What an observer raises is raised in the group, with its name, its cause and the result."""
    shop, _ = failing_shop(engine)
    group = engine.raises(ReactionErrors, lambda: shop.order.process())
    [failure] = group.failures
    assert (failure.reaction, str(failure.exception), failure.cause.event, group.result) == (
        "broken",
        "no paper",
        "process",
        None,
    )
    assert failure.exception.__notes__ == [
        "in broken, in reaction to order.process (pending → processing)"
    ]


def test_a_failing_observer_never_disturbs_the_machine(engine: Engine) -> None:
    """The machine's callbacks, its result and its state are those of a machine alone."""
    heard: list[str] = []

    class Returning(Order):
        def on_process(self) -> str:
            heard.append("on")
            return "result"

        def after_process(self) -> None:
            heard.append("after")

    class Observed(Orchestrator):
        order: Returning

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no")

    owner = Observed(order=engine.machine(Returning)())
    for topic in (
        "sent:order.process",
        "exit:order.pending",
        "order.process",
        "enter:order.processing",
    ):
        owner.bus.signal(topic).connect(broken)
    group = engine.raises(ReactionErrors, lambda: owner.order.process())
    assert (heard, owner.order.current_state_value, group.result, len(group.exceptions)) == (
        ["on", "after"],
        "processing",
        "result",
        4,
    )


def test_a_failing_observer_of_a_refused_event_is_a_note_on_the_refusal(engine: Engine) -> None:
    """The machine's own exception reaches the caller, with the observer's failure as a note."""
    shop = a_shop(engine)

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no")

    shop.bus.signal("sent:order.ship").connect(broken)
    error = engine.raises(TransitionNotAllowed, lambda: shop.order.ship())
    assert error.__notes__ == ["broken, in reaction to order.ship failed: ValueError('no')"]


def test_a_failing_observer_is_announced(engine: Engine) -> None:
    """An observer's failure is published on `failed:<name>`, caused by the record it was given."""
    shop, _ = failing_shop(engine)
    heard: list[Any] = []
    observe(shop, heard, "failed:broken", "failed:*", "order.process")
    engine.raises(ReactionErrors, lambda: shop.order.process())
    by_topic = dict(heard)
    failed = by_topic["failed:broken"]
    assert [topic for topic, _ in heard] == ["failed:broken", "failed:*", "order.process"]
    assert by_topic["failed:*"] is failed
    assert (type(failed), failed.name, str(failed.exception), failed.cause) == (
        Failed,
        "broken",
        "no paper",
        by_topic["order.process"].seq,
    )


def test_a_failure_while_a_failure_is_announced_is_kept_and_not_announced(engine: Engine) -> None:
    """An observer of `failed:` that raises adds to the group, and is not announced in turn."""
    shop, _ = failing_shop(engine)
    heard: list[str] = []

    def broken_too(_sender: Any, record: Any) -> None:
        heard.append(record.name)
        raise KeyError("worse")

    shop.bus.signal("failed:*").connect(broken_too)
    group = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert (heard, [type(error) for error in group.exceptions]) == (
        ["broken"],
        [ValueError, KeyError],
    )


@pytest.mark.parametrize(
    "topic", ["started:authorize", "finished:authorize", "sent:payment.authorize", "settled"]
)
def test_a_failing_observer_of_any_kind_is_a_failure_of_the_cascade(
    engine: Engine, topic: str
) -> None:
    """Wherever in a cascade an observer raises, everything else runs, and its failure is raised."""
    shop = a_shop(engine)

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError(topic)

    shop.bus.signal(topic).connect(broken)
    group = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert ([str(error) for error in group.exceptions], repr(shop)) == (
        [topic],
        "Shop(order=processing, payment=authorized)",
    )


def test_a_base_exception_of_an_observer_propagates(engine: Engine) -> None:
    """What is no `Exception` stops the cascade at once, and its reactions do not run."""
    shop = a_shop(engine)

    def stop(*_: Any, **__: Any) -> None:
        raise Stop

    shop.bus.signal("enter:order.processing").connect(stop)
    engine.raises(Stop, lambda: shop.order.process())
    assert shop.payment.current_state_value in ("unpaid", None)  # None: not entered yet


def test_a_failing_observer_of_what_is_abandoned_is_a_note(engine: Engine) -> None:
    """What stops a cascade is raised as it is, with an observer's failure after it as a note."""
    shop = a_shop(engine, Troubled)
    with shop.bus.signal("order.process").muted():
        engine.run(lambda: shop.order.process())

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no")

    shop.bus.signal("abandoned:waits").connect(broken)
    error = engine.raises(Stop, lambda: shop.order.ship())
    [note] = getattr(error, "__notes__", ["no note"])
    assert (note.startswith("broken"), note.endswith("failed: ValueError('no')")) == (True, True)


def test_a_failing_observer_of_what_a_runaway_abandons_does_not_replace_it(engine: Engine) -> None:
    """A runaway is raised itself, whatever observers do when it announces what will not run."""

    class Light(StateMachine):
        off = State(initial=True)
        lit = State()
        toggle = off.to(lit) | lit.to(off)

    class Lamp(Orchestrator, max_reactions=50):
        light: Light

        @on("light.toggle")
        def again(self) -> Any:
            return self.light.toggle()

    def broken(*_: Any, **__: Any) -> None:
        heard.append("broken")
        raise ValueError("no")

    heard: list[str] = []
    lamp = Lamp(light=engine.machine(Light)())
    lamp.bus.signal("abandoned:again").connect(broken)
    engine.raises(RunawayCascadeError, lambda: lamp.light.toggle())
    assert heard == ["broken"]


def test_a_signal_sent_by_hand_raises_what_a_receiver_raises(engine: Engine) -> None:
    """Outside of every cascade nobody could raise the group: the receiver's exception is raised."""
    shop = a_shop(engine)
    signal = shop.bus.signal("order.ship")

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no")

    async def send_in_a_loop() -> None:
        signal.send(shop.order, record=None)

    signal.connect(broken)
    by_hand = send_in_a_loop if engine.is_async else lambda: signal.send(shop.order, record=None)
    assert str(engine.raises(ValueError, by_hand)) == "no"


# Records of every kind ------------------------------------------------------------------------


class Troubled(Orchestrator):
    """A reaction that works, one that fails and one that is never reached."""

    order: Order
    payment: Payment

    @on("order.process")
    def works(self) -> Any:
        """Authorize the payment."""
        return self.payment.authorize()

    @on("order.process")
    def fails(self) -> None:
        """Fail."""
        raise ValueError("no")

    @on("order.ship")
    def stops(self) -> None:
        """Stop the cascade."""
        raise Stop

    @on("order.ship")
    def waits(self) -> None:
        """Never run."""


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("sent:order.process", [Sent]),
        ("sent:payment.authorize", [Sent]),
        ("sent:payment.*", [Sent]),
        ("sent:*", [Sent, Sent]),
        ("started:works", [Started]),
        ("started:*", [Started, Started]),
        ("finished:works", [Finished]),
        ("finished:fails", []),
        ("finished:*", [Finished]),
        ("failed:fails", [Failed]),
        ("failed:works", []),
        ("failed:*", [Failed]),
        ("abandoned:*", []),
        ("order.process", [Transitioned]),
        ("*", [Transitioned, Transitioned]),
        ("settled", [Settled]),
    ],
)
def test_every_kind_of_record_has_its_topics(
    engine: Engine, topic: str, expected: list[type]
) -> None:
    """A record is published under its kind with the name, and with `*`."""
    heard: list[Any] = []
    shop = a_shop(engine, Troubled)
    observe(shop, heard, topic)
    engine.raises(ReactionErrors, lambda: shop.order.process())
    assert [type(record) for _, record in heard] == expected


@pytest.mark.parametrize("topic", ["abandoned:waits", "abandoned:*"])
def test_what_will_not_run_is_announced_as_abandoned(engine: Engine, topic: str) -> None:
    """A reaction queued when the cascade was stopped is announced, caused by its record."""
    heard: list[Any] = []
    shop = a_shop(engine, Troubled)
    with shop.bus.signal("order.process").muted():
        engine.run(lambda: shop.order.process())
    observe(shop, heard, "order.ship", topic)
    engine.raises(Stop, lambda: shop.order.ship())
    transitioned, abandoned = (record for _, record in heard)
    assert [name for name, _ in heard] == ["order.ship", topic]
    assert abandoned == Abandoned(seq=abandoned.seq, cause=transitioned.seq, name="waits")


def test_a_posted_event_has_the_records_of_a_turn(engine: Engine) -> None:
    """A posted event is started and finished under its topic, with the event's result."""
    heard: list[Any] = []

    class Returning(Payment):
        def on_authorize(self, amount: int) -> int:
            return 2 * amount

    class Posting(Orchestrator):
        order: Order
        payment: Returning

        @on("order.process")
        def post_it(self) -> None:
            self.post("payment.authorize", 21)

    owner = Posting(order=engine.machine(Order)(), payment=engine.machine(Returning)())
    observe(owner, heard, "started:post_it", "started:payment.authorize", "sent:payment.authorize")
    observe(owner, heard, "finished:payment.authorize")
    engine.run(lambda: owner.order.process())
    posted_by, started, sent, finished = (record for _, record in heard)
    assert (started.name, started.topic, started.cause) == (
        "payment.authorize",
        "payment.authorize",
        posted_by.seq,
    )
    assert (sent.cause, sent.args) == (started.seq, (21,))
    assert (finished.name, finished.result, finished.cause) == (
        "payment.authorize",
        42,
        started.seq,
    )


def test_a_posted_event_that_is_refused_is_announced_as_failed(engine: Engine) -> None:
    """A refusal of a posted event is published on `failed:` with its topic."""
    heard: list[Any] = []

    class Posting(Orchestrator):
        order: Order
        payment: Payment

        @on("order.process")
        def post_it(self) -> None:
            self.post("payment.capture")

    owner = Posting(order=engine.machine(Order)(), payment=engine.machine(Payment)())
    observe(owner, heard, "failed:payment.capture")
    group = engine.raises(ReactionErrors, lambda: owner.order.process())
    assert [(record.name, record.exception) for _, record in heard] == [
        ("payment.capture", group.exceptions[0])
    ]


def test_an_orchestrator_is_the_sender_of_records_without_a_machine(engine: Engine) -> None:
    """Turns and `settled` are sent by the orchestrator, everything of a machine by the machine."""
    senders: list[tuple[str, Any]] = []
    shop = a_shop(engine, Troubled)
    topics = (
        "sent:payment.authorize",
        "started:works",
        "finished:works",
        "failed:fails",
        "payment.authorize",
        "enter:payment.authorized",
        "settled",
    )
    for topic in topics:
        shop.bus.signal(topic).connect(
            lambda sender, topic=topic, **_: senders.append((topic, sender))
        )
    engine.raises(ReactionErrors, lambda: shop.order.process())
    by_topic = dict(senders)
    machines = {topic for topic in topics if by_topic[topic] is shop.payment}
    owners = {topic for topic in topics if by_topic[topic] is shop}
    assert machines == {"sent:payment.authorize", "payment.authorize", "enter:payment.authorized"}
    assert owners == {"started:works", "finished:works", "failed:fails", "settled"}


def test_a_record_names_its_machine_and_its_arguments(engine: Engine) -> None:
    """`Sent` and `Transitioned` carry the field, the event, the arguments, and the states."""
    heard: list[Any] = []
    shop = a_shop(engine)
    observe(shop, heard, "sent:order.process", "order.process")
    engine.run(lambda: shop.order.process(5, note="by phone"))
    (_, sent), (_, transitioned) = heard
    assert (sent.machine_name, sent.event, sent.args, sent.kwargs, sent.machine) == (
        "order",
        "process",
        (5,),
        {"note": "by phone"},
        shop.order,
    )
    assert (
        transitioned.machine_name,
        transitioned.event,
        transitioned.args,
        transitioned.kwargs,
        transitioned.source.id,
        transitioned.target.id,
        transitioned.exited,
        transitioned.entered,
        transitioned.machine,
    ) == (
        "order",
        "process",
        (5,),
        {"note": "by phone"},
        "pending",
        "processing",
        ("pending",),
        ("processing",),
        shop.order,
    )


def test_one_record_is_sent_on_all_topics_of_a_transition(engine: Engine) -> None:
    """The topics of one transition carry one and the same record."""
    heard: list[Any] = []
    shop = a_shop(engine)
    observe(shop, heard, "exit:order.pending", "order.process", "order.*", "enter:order.processing")
    engine.run(lambda: shop.order.process())
    assert len(heard) == 4
    assert len({id(record) for _, record in heard}) == 1


# Causes ---------------------------------------------------------------------------------------


def told(heard: list[Any]) -> list[tuple[str, str | None]]:
    """Return each topic with the topic of its cause."""
    topic_of = {record.seq: topic for topic, record in heard}
    return [
        (topic, None if record.cause is None else topic_of[record.cause]) for topic, record in heard
    ]


CAUSED = (
    "sent:order.process",
    "order.process",
    "started:authorize",
    "sent:payment.authorize",
    "payment.authorize",
    "finished:authorize",
)


def test_causes_lead_from_the_call_through_the_reaction_to_what_it_sent(engine: Engine) -> None:
    """A `Sent` is caused by nothing or by a `Started`, a transition by its `Sent`, and so on."""
    heard: list[Any] = []
    shop = a_shop(engine)
    observe(shop, heard, *CAUSED)
    engine.run(lambda: shop.order.process())
    assert told(heard) == [
        ("sent:order.process", None),
        ("order.process", "sent:order.process"),
        ("started:authorize", "order.process"),
        ("sent:payment.authorize", "started:authorize"),
        ("payment.authorize", "sent:payment.authorize"),
        ("finished:authorize", "started:authorize"),
    ]


@pytest.mark.parametrize("hook", ["before", "on", "after"])
def test_a_direct_call_is_caused_by_the_step_of_its_callback(engine: Engine, hook: str) -> None:
    """The `Sent` of a direct call in a callback is caused by the `Sent` of the callback's step."""
    heard: list[Any] = []

    def call(_self: Any, orc: Any) -> Any:
        return orc.payment.authorize()

    metaclass: Any = type(Order)
    calling = metaclass("Calling", (Order,), {f"{hook}_process": call, "__module__": __name__})

    class Direct(Orchestrator):
        order: Order
        payment: Payment

    owner = Direct(order=engine.machine(calling)(), payment=engine.machine(Payment)())
    observe(
        owner,
        heard,
        "sent:order.process",
        "sent:payment.authorize",
        "payment.authorize",
        "order.process",
    )
    engine.run(lambda: owner.order.process())
    assert told(heard) == [
        ("sent:order.process", None),
        ("sent:payment.authorize", "sent:order.process"),
        ("payment.authorize", "sent:payment.authorize"),
        ("order.process", "sent:order.process"),
    ]


def test_a_call_after_a_direct_call_has_the_same_cause(engine: Engine) -> None:
    """After a direct call has returned, the callback is again what causes the next one."""
    heard: list[Any] = []

    class Calling(Order):
        async def after_process(self, orc: Any) -> None:
            for event in ("authorize", "capture"):
                result = getattr(orc.payment, event)()
                if engine.is_async:
                    await result

    class CallingSync(Order):
        def after_process(self, orc: Any) -> None:
            orc.payment.authorize()
            orc.payment.capture()

    class Direct(Orchestrator):
        order: Order
        payment: Payment

    order = (Calling if engine.is_async else CallingSync)()
    owner = Direct(order=order, payment=engine.machine(Payment)())
    observe(owner, heard, "sent:*", "order.process", "payment.authorize", "payment.capture")
    engine.run(lambda: owner.order.process())
    topics = [record.event for topic, record in heard if topic == "sent:*"]
    by_event = {record.event: record for topic, record in heard if topic == "sent:*"}
    assert topics == ["process", "authorize", "capture"]
    assert [by_event[event].cause for event in topics] == [
        None,
        by_event["process"].seq,
        by_event["process"].seq,
    ]


def test_every_record_has_a_higher_seq_than_its_cause(engine: Engine) -> None:
    """`seq` is one count, in which a cause comes before its effect and no number comes twice."""
    heard: list[Any] = []
    shop = a_shop(engine)
    observe(shop, heard, *CAUSED, "settled")
    engine.run(lambda: shop.order.process())
    numbers = [record.seq for _, record in heard]
    assert numbers == sorted(set(numbers))
    assert [
        topic for topic, record in heard if record.cause is not None and record.cause >= record.seq
    ] == []


def test_seq_is_counted_whether_or_not_a_record_is_built(engine: Engine) -> None:
    """The count of the process goes on where nobody listens, so that causes stay the same."""
    steps: list[int] = []
    for topics in (("order.process", "order.ship"), (*CAUSED, "order.ship")):
        heard: list[Any] = []
        shop = a_shop(engine)
        observe(shop, heard, *topics)
        engine.run(shop.order.process)
        engine.run(shop.order.ship)
        by_topic = dict(heard)
        steps.append(by_topic["order.ship"].seq - by_topic["order.process"].seq)
    assert steps[0] == steps[1]


# Built only for those who listen --------------------------------------------------------------

RECORDS = (Sent, Transitioned, Started, Finished, Failed, Abandoned, Settled)


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ([], []),
        (["order.ship", "payment.capture", "enter:order.shipped"], []),
        (["sent:order.ship", "started:stops", "finished:stops", "failed:stops"], []),
        (["order.*", "enter:order.processing"], ["Transitioned"]),
        (["sent:*"], ["Sent", "Sent"]),
        (["started:fails"], ["Started"]),
        (["finished:*"], ["Finished"]),
        (["failed:*", "failed:fails"], ["Failed"]),
        (["settled"], ["Settled"]),
    ],
)
def test_a_record_that_nobody_listens_for_is_not_built(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, topics: list[str], expected: list[str]
) -> None:
    """A record is built for those who listen, once, and not at all where nobody does.

    The records that the cascade's own reactions ask for are left out of the count.
    """

    def count(record: type) -> None:
        original: Any = vars(record)["__init__"]

        def counting(self: Any, **kwargs: Any) -> None:
            built.append(type(self).__name__)
            original(self, **kwargs)

        monkeypatch.setattr(record, "__init__", counting)

    def run(*observed: str) -> list[str]:
        shop = a_shop(engine, Troubled)
        observe(shop, [], *observed)
        built.clear()
        engine.raises(ReactionErrors, lambda: shop.order.process())
        return list(built)

    built: list[str] = []
    for record in RECORDS:
        count(record)
    for_reactions, for_all = run(), run(*topics)
    assert for_reactions == ["Transitioned"]
    for name in for_reactions:
        if topics != ["order.*", "enter:order.processing"]:
            for_all.remove(name)
    assert for_all == expected


# Values ---------------------------------------------------------------------------------------


def two_records(engine: Engine, *topics: str) -> tuple[list[Any], list[Any]]:
    """Return what two like orchestrators published, with the same numbers."""
    both: list[list[Any]] = []
    for _ in range(2):
        heard: list[Any] = []
        shop = a_shop(engine, Troubled)
        observe(shop, heard, *topics)
        engine.raises(ReactionErrors, functools.partial(shop.order.process, 5, note="by phone"))
        both.append([attrs.evolve(record, seq=1, cause=None) for _, record in heard])
    return both[0], both[1]


EVERY_KIND = (
    "sent:*",
    "*",
    "enter:order.processing",
    "started:*",
    "finished:*",
    "failed:*",
    "settled",
)


def test_records_compare_and_hash_by_what_happened(engine: Engine) -> None:
    """Records of the same events on different machines are equal and hash alike."""
    first, second = two_records(engine, *EVERY_KIND)
    assert len(first) == len(second) == 10
    assert first == second
    assert [hash(record) for record in first] == [hash(record) for record in second]


def test_records_of_different_events_differ(engine: Engine) -> None:
    """No two different records of a cascade are equal."""
    first, _ = two_records(engine, "sent:*", "*", "started:*", "finished:*", "failed:*", "settled")
    assert [
        (one, other)
        for index, one in enumerate(first)
        for other in first[index + 1 :]
        if one == other
    ] == []


def test_a_record_prints_without_live_objects(engine: Engine) -> None:
    """A record prints its facts: states by id, events as plain strings, no machine."""
    first, _ = two_records(engine, "sent:order.process", "order.process", "settled")
    assert [repr(record) for record in first] == [
        (
            "Sent(seq=1, cause=None, path=('order',), machine_name='order', event='process', "
            "args=(5,), kwargs={'note': 'by phone'})"
        ),
        (
            "Transitioned(seq=1, cause=None, path=('order',), machine_name='order', "
            "event='process', source='pending', target='processing', args=(5,), "
            "kwargs={'note': 'by phone'}, exited=('pending',), entered=('processing',))"
        ),
        "Settled(seq=1, cause=None, path=(), reactions=2, failures=1)",
    ]


@pytest.mark.parametrize("through", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_a_record_pickles_without_live_objects(engine: Engine, through: Any) -> None:
    """A record comes back equal from a pickle or copy, without machine, transition and states."""
    heard: list[Any] = []
    shop = a_shop(engine, Troubled)
    observe(shop, heard, *EVERY_KIND)
    engine.raises(ReactionErrors, lambda: shop.order.process(5, note="by phone"))
    records = [record for _, record in heard]
    restored = [through(record) for record in records]
    assert restored == records
    assert [repr(record) for record in restored] == [repr(record) for record in records]
    live = ("machine", "transition", "source", "target", "event")
    kept = {(name, type(getattr(record, name, None))) for record in restored for name in live}
    assert {kind for _, kind in kept} == {str, type(None)}


def test_a_record_is_frozen(engine: Engine) -> None:
    """A record says what happened, and cannot be made to say otherwise."""
    first, _ = two_records(engine, *EVERY_KIND)
    for record in first:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            record.seq = 2


@pytest.mark.parametrize("topic", ["sent:order.process", "order.process"])
def test_what_the_caller_passed_as_orc_is_in_no_record(engine: Engine, topic: str) -> None:
    """The arguments in a record are the event's own, without the orchestrator."""
    heard: list[Any] = []
    shop = a_shop(engine)
    observe(shop, heard, topic)
    engine.run(lambda: shop.order.process(note="by phone", orc="fake"))
    assert [record.kwargs for _, record in heard] == [{"note": "by phone"}]


def test_settled_tells_its_cause(engine: Engine) -> None:
    """The cause of `settled` is the last transition or signal of its cascade."""
    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    heard = listen(shop, "*", "settled")
    engine.run(lambda: shop.order.process())
    engine.run(lambda: shop.payment.capture())
    seqs = {topic + str(at): record for at, (topic, record) in enumerate(heard)}
    assert list(seqs) == ["*0", "*1", "settled2", "*3", "settled4"]
    assert seqs["settled2"].cause == seqs["*1"].seq
    assert seqs["settled4"].cause == seqs["*3"].seq


def test_a_record_is_built_only_while_somebody_listens(engine: Engine) -> None:
    """When the last observer of a kind has disconnected, its records are built no more."""
    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    heard: list[Any] = []

    def one(_machine: Any, *, record: Any) -> None:
        heard.append(record)

    def two(_machine: Any, *, record: Any) -> None:
        heard.append(record)

    first = shop.bus.signal("sent:order.process")
    every = shop.bus.signal("sent:*")
    assert shop.bus.kinds == set()
    first.connect(one)
    every.connect(two)
    every.disconnect(two)
    assert shop.bus.kinds == {"sent"}
    first.disconnect(one)
    assert shop.bus.kinds == set()
    with every.connected_to(two):
        engine.run(lambda: shop.order.process())
    assert shop.bus.kinds == set()
    assert [record.event for record in heard] == ["process", "authorize"]
    first.connect(one)
    engine.run(lambda: shop.payment.capture())
    assert len(heard) == 2
