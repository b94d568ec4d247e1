"""Timeouts and delays: what an orchestrator does when time has passed."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import os
import pickle
import threading
import time
import warnings
import weakref
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Optional

import attrs
import pytest
from conftest import listen, pickled, told_by
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    ClockIsAdvancingError,
    DeclarationError,
    DurationError,
    Elapsed,
    Fleet,
    NameClashError,
    NotAReactionError,
    Orchestrator,
    OrchestratorError,
    ReactionErrors,
    Settled,
    Started,
    SystemClock,
    Transitioned,
    UnknownTopicError,
    VirtualClock,
    clock_of,
    every,
    on,
    on_enter,
    removed,
    subscribe,
    timeout,
    use_clock,
    when,
    wiring,
)
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._sending import address_of
from statemachines_orchestrator._timers import Delay, Timers, timers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Engine


class Order(StateMachine):
    """An order, the subject of most tests."""

    pending = State(initial=True)
    processing = State()
    cancelled = State(final=True)
    process = pending.to(processing)
    restore = processing.to(pending)
    touch = pending.to.itself() | processing.to.itself()
    remark = processing.to.itself(internal=True)
    cancel = pending.to(cancelled) | processing.to(cancelled)


class Picky(StateMachine):
    """An order that refuses: by a guard, by a validator, and in the middle of a step."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped, cond="may_ship")
    check = processing.to(shipped, validators="refuses")
    stumble = processing.to(shipped, on="falls")
    late = processing.to(shipped, after="falls")

    def may_ship(self) -> bool:
        return False

    def refuses(self) -> None:
        message = "refused"
        raise ValueError(message)

    def falls(self) -> None:
        message = "fell"
        raise ValueError(message)


class Stored(Order):
    """A module-level machine that python-statemachine runs asynchronously."""

    async def on_enter_state(self) -> None:
        """Make the machine async."""


THE_CLOCK = VirtualClock()


class Kept(Orchestrator, clock=lambda: THE_CLOCK):
    """A shop that can be pickled."""

    order: Order
    log: list[Any] = attrs.field(factory=list)

    @timeout("order.processing", seconds=10)
    def late(self) -> None:
        self.log.append(("late", THE_CLOCK.now()))


def advance(engine: Engine, clock: VirtualClock, seconds: float) -> None:
    """Let time pass, and wait for what comes due."""
    if not engine.is_async:
        clock.advance(seconds)
        return

    async def main() -> None:
        await clock.advance(seconds)

    asyncio.run(main())


def begun(engine: Engine, machine_class: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a machine that has entered its initial state, also an async one."""
    machine = engine.machine(machine_class)(*args, **kwargs)
    if engine.is_async:
        machine.activate_initial_state()
    return machine


def sent(engine: Engine, machine: Any, *events: str) -> None:
    """Send one event after the other from outside."""
    for event in events:
        engine.run(lambda event=event: machine.send(event))  # type: ignore[misc]


async def until(holds: Callable[[], Any]) -> None:
    """Wait in an event loop until something holds, which takes a few milliseconds."""
    for _ in range(5000):
        if holds():
            return
        await asyncio.sleep(0.002)
    raise AssertionError


def text_of(error: BaseException) -> str:
    """Return the text of an error with its notes, on one line."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])


# Beginning and ending -------------------------------------------------------------------------


def test_a_timeout_runs_when_the_state_has_lasted_so_long(engine: Engine) -> None:
    """It runs once, when the machine has been in the state for so long without leaving it."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=900)
        def cancel(self) -> Any:
            log.append(clock.now())
            return self.order.send("cancel")

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 1000)
    assert log == []
    sent(engine, shop.order, "process")
    advance(engine, clock, 899.5)
    assert log == []
    advance(engine, clock, 0.5)
    assert log == [1900.0]
    assert repr(shop) == "Shop(order=cancelled)"
    advance(engine, clock, 10_000)
    assert log == [1900.0]
    assert clock.next_due is None


def test_the_exit_ends_the_time_and_reentry_begins_it_anew(engine: Engine) -> None:
    """The time ends with the exit, and begins anew, in full, with the next entry."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            log.append(clock.now())

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    advance(engine, clock, 9)
    sent(engine, shop.order, "restore")
    due: Any = clock.next_due
    assert due is None
    advance(engine, clock, 20)
    sent(engine, shop.order, "process")
    assert clock.next_due == 39.0
    advance(engine, clock, 9)
    sent(engine, shop.order, "restore", "process")
    advance(engine, clock, 9)
    assert log == []
    advance(engine, clock, 1)
    assert log == [48.0]


def test_a_self_transition_begins_the_time_anew_and_an_internal_one_does_not(
    engine: Engine,
) -> None:
    """A self-transition leaves and enters the state; an internal transition does neither."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            log.append(clock.now())

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    advance(engine, clock, 4)
    sent(engine, shop.order, "touch")
    assert clock.next_due == 14.0
    advance(engine, clock, 4)
    sent(engine, shop.order, "remark")
    assert clock.next_due == 14.0
    advance(engine, clock, 6)
    assert log == [14.0]


@pytest.mark.parametrize("event", ["ship", "check", "stumble", "process"])
def test_a_step_that_is_refused_or_rolled_back_leaves_the_time_alone(
    engine: Engine, event: str
) -> None:
    """The time begins and ends with what is committed.

    Not with what a guard, a validator or an exception in mid-step prevents.
    """
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Picky

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            log.append(f"processing {clock.now()}")

        @timeout("order.shipped", seconds=1)
        def delivered(self) -> None:
            log.append(f"shipped {clock.now()}")

    shop = Shop(begun(engine, Picky))
    sent(engine, shop.order, "process")
    advance(engine, clock, 4)
    with pytest.raises(Exception, match=r"."):
        sent(engine, shop.order, event)
    assert shop.order.current_state_value == "processing"
    assert clock.next_due == 10.0
    advance(engine, clock, 100)
    assert log == ["processing 10.0"]


def test_a_step_whose_after_callback_raises_is_committed(engine: Engine) -> None:
    """A transition whose own `after_` callback raised was committed: the times move on."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Picky

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            log.append(f"processing {clock.now()}")

        @timeout("order.shipped", seconds=1)
        def delivered(self) -> None:
            log.append(f"shipped {clock.now()}")

    shop = Shop(begun(engine, Picky))
    sent(engine, shop.order, "process")
    with pytest.raises(ValueError, match="fell"):
        sent(engine, shop.order, "late")
    advance(engine, clock, 100)
    assert log == ["shipped 1.0"]


def test_a_state_active_at_construction_begins_its_time_then(engine: Engine) -> None:
    """A state that is active when the orchestrator is built begins its time then.

    However long it has been active; the cause of its `Elapsed` is nothing.
    """
    clock = VirtualClock()
    records: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10)
        def late(self, record: Elapsed) -> None:
            records.append(record)

    order = begun(engine, Order)
    sent(engine, order, "process")
    advance(engine, clock, 100)
    shop = Shop(order)
    advance(engine, clock, 9)
    assert records == []
    advance(engine, clock, 1)
    assert [(one.due, one.cause, one.state.id, one.machine is shop.order) for one in records] == [
        (110.0, None, "processing", True)
    ]


def test_an_initial_state_has_its_time_also_that_of_an_async_machine_not_yet_begun(
    engine: Engine,
) -> None:
    """An async machine that has not entered its initial state has its time from construction.

    And the lazy entry, which is not announced, does not begin it anew.
    """
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=10)
        def late(self) -> None:
            log.append(clock.now())

    shop = Shop(engine.machine(Order)())
    advance(engine, clock, 4)
    if engine.is_async:
        engine.run(shop.order.activate_initial_state)
    advance(engine, clock, 6)
    assert log == [10.0]
    sent(engine, shop.order, "process")
    advance(engine, clock, 100)
    assert log == [10.0]


def test_an_orchestrator_whose_constructor_fails_leaves_no_timer(engine: Engine) -> None:
    """If a time cannot begin, the constructor raises, nothing is attached, nothing is pending."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=5)
        def early(self) -> None: ...

        @timeout("order.pending", seconds="wrong")
        def late(self) -> None: ...

        def wrong(self) -> Any:
            return "soon"

    order = begun(engine, Order)
    with pytest.raises(DurationError, match=r"late.*'soon'"):
        Shop(order)
    gc.collect()
    assert clock.next_due is None

    class Other(Orchestrator, clock=lambda: clock):
        order: Order

    assert Other(order).order is order


# Spellings ------------------------------------------------------------------------------------


def test_the_length_of_time_in_all_spellings(engine: Engine) -> None:
    """Seconds, minutes, a timedelta.

    And the name of an attribute or of a method that gives one of them; a method may ask for
    parameters as a reaction may.
    """
    clock = VirtualClock()
    log: list[str] = []
    asked: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        patience: Any = 4
        long: Any = timedelta(seconds=5)

        @timeout("order.processing", seconds=1)
        def a_number(self) -> None:
            log.append(f"a_number {clock.now()}")

        @timeout("order.processing", seconds=2.5)
        def a_float(self) -> None:
            log.append(f"a_float {clock.now()}")

        @timeout("order.processing", seconds=timedelta(minutes=2))
        def a_timedelta(self) -> None:
            log.append(f"a_timedelta {clock.now()}")

        @timeout("order.processing", minutes=0.5)
        def minutes(self) -> None:
            log.append(f"minutes {clock.now()}")

        @timeout("order.processing", seconds="patience")
        def attribute(self) -> None:
            log.append(f"attribute {clock.now()}")

        @timeout("order.processing", seconds="long")
        def attribute_timedelta(self) -> None:
            log.append(f"attribute_timedelta {clock.now()}")

        @timeout("order.processing", seconds="method")
        def by_method(self) -> None:
            log.append(f"by_method {clock.now()}")

        def method(self, machine: Any, record: Any, hurry: float = 0.0) -> float:
            asked.append((machine is self.order, type(record), hurry))
            return 6 - hurry

    shop = Shop(begun(engine, Order))
    engine.run(lambda: shop.order.send("process", hurry=0.5))
    assert asked == [(True, Transitioned, 0.5)]
    advance(engine, clock, 1000)
    assert log == [
        "a_number 1.0",
        "a_float 2.5",
        "attribute 4.0",
        "attribute_timedelta 5.0",
        "by_method 5.5",
        "minutes 30.0",
        "a_timedelta 120.0",
    ]


def test_a_named_length_is_asked_each_time_the_time_begins(engine: Engine) -> None:
    """The attribute is looked at when the time begins, and not again while it runs."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        patience: float = 10.0

        @timeout("order.processing", seconds="patience")
        def late(self) -> None:
            log.append(clock.now())

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    shop.patience = 3.0
    assert clock.next_due == 10.0
    sent(engine, shop.order, "touch")
    assert clock.next_due == 3.0
    advance(engine, clock, 20)
    assert log == [3.0]


def test_a_method_that_is_asked_at_construction_gets_what_there_is() -> None:
    """A method that gives the length is asked at construction too, without a record."""
    clock = VirtualClock()
    asked: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds="patience")
        def late(self) -> None: ...

        def patience(self, record: Any = None, machine: Any = None) -> float:
            asked.append((record, machine))
            return 5.0

    shop = Shop(Order())
    assert len(asked) == 1
    assert asked[0][0] is None
    assert clock.next_due == 5.0
    assert repr(shop) == "Shop(order=pending)"


def test_several_states_and_decorators_are_each_on_their_own(engine: Engine) -> None:
    """Several states of one decorator, and several decorators, each have a time of their own."""
    clock = VirtualClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", "order.processing", seconds=10)
        @timeout("order.processing", seconds=3)
        def late(self, state: Any) -> None:
            log.append((state.id, clock.now()))

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 6)
    sent(engine, shop.order, "process")
    advance(engine, clock, 20)
    assert log == [("processing", 9.0), ("processing", 16.0)]
    sent(engine, shop.order, "restore")
    advance(engine, clock, 20)
    assert log == [("processing", 9.0), ("processing", 16.0), ("pending", 36.0)]


def test_both_spellings_are_the_same_timeout(engine: Engine) -> None:
    """Strings, typed states by keyword and ids by keyword ask for the same."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", "order.processing", seconds=1)
        def strings(self, state: Any) -> None:
            log.append(f"strings {state.id}")

        @timeout(order=(Order.pending, Order.processing), seconds=1)
        def typed(self, state: Any) -> None:
            log.append(f"typed {state.id}")

        @timeout(order=("pending", "processing"), seconds=1)
        def ids(self, state: Any) -> None:
            log.append(f"ids {state.id}")

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 2)
    assert log == ["strings pending", "typed pending", "ids pending"]
    sent(engine, shop.order, "process")
    advance(engine, clock, 2)
    assert log[3:] == ["strings processing", "typed processing", "ids processing"]
    wires = wiring(Shop)
    assert {wire.kind for wire in wires} == {"timeout"}
    assert {wire.topic for wire in wires} == {"timeout:order.pending", "timeout:order.processing"}


def test_what_a_timeout_may_ask_for(engine: Engine) -> None:
    """`record`, `machine`, `state`, `model` and, in fleets, `key`."""
    clock = VirtualClock()
    got: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order]

        @timeout("orders.processing", seconds=1)
        def late(self, record: Elapsed, machine: Any, state: Any, model: Any, key: str) -> None:
            got.append(
                (type(record), machine is self.orders["a"], state.id, model is machine.model, key)
            )

    shop = Shop(Fleet({"a": begun(engine, Order), "b": begun(engine, Order)}))
    sent(engine, shop.orders["a"], "process")
    advance(engine, clock, 2)
    assert got == [(Elapsed, True, "processing", True, "a")]


def test_the_method_stays_an_ordinary_method_and_is_inherited(engine: Engine) -> None:
    """A timeout can be called alone; it is inherited, overridden, decorated anew and removed."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=1)
        def late(self) -> str:
            log.append(f"Shop {clock.now()}")
            return "called"

    class Override(Shop):
        def late(self) -> str:
            log.append(f"Override {clock.now()}")
            return "called"

    class Anew(Shop):
        @timeout("order.pending", seconds=2)
        def late(self) -> str:
            log.append(f"Anew {clock.now()}")
            return "called"

    class Gone(Shop):
        late = removed

    shops = [one(begun(engine, Order)) for one in (Shop, Override, Anew, Gone)]
    assert shops[0].late() == "called"
    log.clear()
    advance(engine, clock, 5)
    assert log == ["Shop 1.0", "Override 1.0", "Anew 2.0"]


# Repeat and cond ------------------------------------------------------------------------------


def test_a_repeated_timeout_runs_after_each_period_while_the_state_lasts(engine: Engine) -> None:
    """With `repeat=True` it runs again after each such period.

    Counted from the deadlines and not from the end of the reaction, until the state is left.
    """
    clock = VirtualClock()
    records: list[tuple[float, float]] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10, repeat=True)
        def remind(self, record: Elapsed) -> None:
            records.append((clock.now(), record.due))

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 1)
    sent(engine, shop.order, "process")
    advance(engine, clock, 35)
    assert records == [(11.0, 11.0), (21.0, 21.0), (31.0, 31.0)]
    sent(engine, shop.order, "restore")
    advance(engine, clock, 100)
    assert len(records) == 3
    sent(engine, shop.order, "process")
    advance(engine, clock, 10)
    assert records[3:] == [(146.0, 146.0)]


def test_a_repeated_timeout_that_leaves_the_state_ends(engine: Engine) -> None:
    """A repeated timeout whose reaction leaves the state does not run again."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10, repeat=True)
        def remind(self) -> Any:
            log.append(clock.now())
            return self.order.send("cancel") if len(log) == 2 else None

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    advance(engine, clock, 100)
    assert log == [10.0, 20.0]
    assert clock.next_due is None


def test_a_repeated_timeout_that_reenters_its_state_has_one_time(engine: Engine) -> None:
    """A reaction that re-enters the state begins the time anew: there is never a second one."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10, repeat=True)
        def remind(self) -> Any:
            log.append(clock.now())
            return self.order.send("touch")

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    advance(engine, clock, 35)
    assert log == [10.0, 20.0, 30.0]


def test_a_repeated_timeout_that_fails_runs_again(engine: Engine) -> None:
    """A failure of a repeated timeout does not end it."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=10, repeat=True)
        def remind(self) -> None:
            log.append(clock.now())
            raise ValueError(clock.now())

    shop = Shop(begun(engine, Order))
    with pytest.raises(ReactionErrors):
        advance(engine, clock, 10)
    with pytest.raises(ReactionErrors):
        advance(engine, clock, 10)
    assert log == [10.0, 20.0]
    assert repr(shop) == "Shop(order=pending)"


def test_cond_is_asked_when_the_timer_comes_due(engine: Engine) -> None:
    """`cond` is asked when the time has come, and not before; a no spends that time only."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        wanted: bool = False

        @timeout("order.pending", seconds=10, repeat=True, cond="may")
        def remind(self) -> None:
            log.append(f"remind {clock.now()}")

        @timeout("order.pending", seconds=10, cond=lambda self: self.wanted)
        def once(self) -> None:
            log.append(f"once {clock.now()}")

        def may(self, state: Any, record: Elapsed) -> bool:
            log.append(f"asked {clock.now()} {state.id} {record.due}")
            return self.wanted

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 9)
    assert log == []
    advance(engine, clock, 1)
    assert log == ["asked 10.0 pending 10.0"]
    shop.wanted = True
    advance(engine, clock, 10)
    assert log == ["asked 10.0 pending 10.0", "asked 20.0 pending 20.0", "remind 20.0"]


# The outermost call ---------------------------------------------------------------------------


def test_a_timer_is_an_outermost_call_with_its_own_cascade_and_settled(engine: Engine) -> None:
    """A timer that comes due is an outermost call of its own.

    What follows from it runs to rest before the next timer, with a `settled` of its own if
    something was announced.
    """
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order

        @timeout("order.pending", seconds=5)
        def first(self) -> Any:
            log.append("first")
            return self.order.send("process")

        @timeout("other.pending", seconds=5)
        def second(self) -> Any:
            log.append("second")
            return self.other.send("process")

        @timeout("other.pending", seconds=4)
        def quiet(self) -> None:
            log.append("quiet")

        @on_enter("order.processing", "other.processing")
        def follow(self, machine: Any) -> None:
            log.append("follow order" if machine is self.order else "follow other")

        @on("settled")
        def rest(self, record: Settled) -> None:
            log.append(f"settled {record.reactions}")

    shop = Shop(begun(engine, Order), begun(engine, Order))
    advance(engine, clock, 5)
    assert log == [
        "quiet",
        "first",
        "follow order",
        "settled 2",
        "second",
        "follow other",
        "settled 2",
    ]
    assert repr(shop) == "Shop(order=processing, other=processing)"


def test_the_record_of_a_timer_is_the_cause_of_what_follows(engine: Engine) -> None:
    """Its `Elapsed` names reaction, topic, due time, state, machine, path and keys.

    Its cause is the entry; it is the cause of the reaction's `Started`.
    """
    clock = VirtualClock()
    elapsed: list[Elapsed] = []
    others: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=5)
        def late(self) -> Any:
            return self.order.send("cancel")

    shop = Shop(begun(engine, Order))
    senders: list[Any] = []

    def hear(sender: Any, *, record: Elapsed) -> None:
        senders.append(sender)
        elapsed.append(record)

    bus = shop.bus
    bus.signal("elapsed:late").connect(hear)
    bus.signal("elapsed:*").connect(lambda _sender, record: elapsed.append(record))
    bus.signal("order.*").connect(lambda _sender, record: others.append(record))
    bus.signal("sent:*").connect(lambda _sender, record: others.append(record))
    bus.signal("started:*").connect(lambda _sender, record: others.append(record))
    sent(engine, shop.order, "process")
    entry = others[-1]
    others.clear()
    advance(engine, clock, 7)
    assert len(elapsed) == 2
    record = elapsed[0]
    assert elapsed[1] is record
    assert senders == [shop.order]
    assert (record.name, record.topic, record.due, record.cause, record.path, record.keys) == (
        "late",
        "timeout:order.processing",
        5.0,
        entry.seq,
        ("order",),
        (),
    )
    assert record.machine is shop.order
    assert record.state is not None
    assert getattr(record.state, "id", None) == "processing"
    assert record.key is None
    started, put, moved = others
    assert isinstance(started, Started)
    assert (started.cause, put.cause, moved.cause) == (record.seq, started.seq, put.seq)
    assert started.topic == "timeout:order.processing"
    assert record.seq < started.seq < put.seq < moved.seq
    thawed = pickle.loads(pickle.dumps(record))
    assert thawed.state == "processing"
    assert thawed == record
    assert thawed.machine is None
    assert "late" in repr(record)


def test_topics_of_elapsed_are_checked(engine: Engine) -> None:
    """`elapsed:` takes the name of a timeout or a posted topic, or `*`; it is for observers."""
    shop = Kept(begun(engine, Order))
    for topic in ("elapsed:late", "elapsed:order.cancel", "elapsed:*"):
        assert shop.bus.signal(topic) is not None
    with pytest.raises(UnknownTopicError, match="late"):
        shop.bus.signal("elapsed:lat")
    with pytest.raises(NotAReactionError):

        class Shop(Orchestrator):
            order: Order

            @on("elapsed:*")
            def hear(self) -> None: ...


def test_a_record_nobody_listens_for_and_a_cond_that_says_no(engine: Engine) -> None:
    """The timer is announced as elapsed also if `cond` says no; no `started:` follows."""
    clock = VirtualClock()
    heard: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=5, cond=lambda self: False)
        def late(self) -> None:
            heard.append("late")

    shop = Shop(begun(engine, Order))
    for kind in ("elapsed", "started", "finished"):
        shop.bus.signal(f"{kind}:*").connect(
            lambda _sender, record: heard.append(type(record).__name__)
        )
    advance(engine, clock, 5)
    assert heard == ["Elapsed"]


def test_joins_and_routes_from_timeouts(engine: Engine) -> None:
    """`timeout(...).send(...)` sends events, with its own keyword arguments.

    Joins are judged at the rest of the timer's cascade.
    """
    clock = VirtualClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        others: Fleet[str, Order]

        give_up = timeout("order.processing", minutes=1).send(
            "order.cancel", "others.cancel", why="late"
        )

        @when("order.cancelled")
        def over(self, why: str) -> None:
            log.append(("over", why, clock.now()))

        @on("others.cancel")
        def hear(self, key: str, why: str) -> None:
            log.append((key, why))

    shop = Shop(begun(engine, Order), Fleet({"a": begun(engine, Order), "b": begun(engine, Order)}))
    sent(engine, shop.order, "process")
    advance(engine, clock, 60)
    assert log == [("a", "late"), ("b", "late"), ("over", "late", 60.0)]
    assert [wire.reaction for wire in wiring(Shop)].count("give_up") == 1


def test_a_route_that_skips_what_is_not_enabled(engine: Engine) -> None:
    """`if_enabled=True` of a route from a timeout skips a target that would refuse the event."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order
        give_up = timeout("order.pending", seconds=1).send(
            "other.restore", "order.process", if_enabled=True
        )

    shop = Shop(begun(engine, Order), begun(engine, Order))
    advance(engine, clock, 1)
    assert repr(shop) == "Shop(order=processing, other=pending)"


# Fleets ---------------------------------------------------------------------------------------


class Leaver(StateMachine):
    """A member that has something done to its fleet in mid-step."""

    waiting = State(initial=True)
    busy = State()
    work = waiting.to(busy)
    rest = busy.to(waiting)

    def on_work(self, orc: Any) -> None:
        orc.in_mid_step(self)


class Yard(Orchestrator):
    """A fleet with timeouts, and what it heard."""

    items: Fleet[str, Leaver]
    what: Any = None
    log: list[Any] = attrs.field(factory=list)

    def in_mid_step(self, machine: Any) -> None:
        if self.what is not None:
            self.what(machine)

    @timeout("items.waiting", seconds=10)
    def idle(self, key: str, record: Elapsed) -> None:
        self.log.append(("idle", key, record.due))

    @timeout("items.busy", seconds=10)
    def stuck(self, key: str, record: Elapsed) -> None:
        self.log.append(("stuck", key, record.due))


def yard(clock: VirtualClock, **items: Any) -> Yard:
    """Return a yard on a clock."""
    made = Yard(Fleet(items))
    use_clock(made, clock)
    return made


def test_each_member_of_a_fleet_has_its_own_time(engine: Engine) -> None:
    """In a fleet each member has its own time, and the record tells whose it is."""
    clock = VirtualClock()
    records: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order]

        @timeout("orders.processing", seconds=10)
        def late(self, key: str, record: Elapsed) -> None:
            records.append((key, record.due, record.path, record.keys, record.machine))

    shop = Shop(Fleet({"a": begun(engine, Order), "b": begun(engine, Order)}))
    sent(engine, shop.orders["a"], "process")
    advance(engine, clock, 4)
    sent(engine, shop.orders["b"], "process")
    advance(engine, clock, 1)
    sent(engine, shop.orders["a"], "touch")
    advance(engine, clock, 100)
    assert records == [
        ("b", 14.0, ("orders", "b"), ("b",), shop.orders["b"]),
        ("a", 15.0, ("orders", "a"), ("a",), shop.orders["a"]),
    ]


def test_a_member_put_in_begins_its_time_and_one_taken_out_ends_it(engine: Engine) -> None:
    """A member that is put in begins the time of its state then; one taken out has none."""
    clock = VirtualClock()
    shop = yard(clock, a=begun(engine, Leaver))
    advance(engine, clock, 4)
    shop.items["b"] = begun(engine, Leaver)
    taken = shop.items.pop("a")
    advance(engine, clock, 100)
    assert shop.log == [("idle", "b", 14.0)]
    shop.items["a"] = taken
    advance(engine, clock, 10)
    assert shop.log == [("idle", "b", 14.0), ("idle", "a", 114.0)]
    shop.items["c"] = begun(engine, Leaver)
    shop.items.clear()
    assert clock.next_due is None


def test_a_member_that_is_replaced_at_rest(engine: Engine) -> None:
    """A new member under a known key has its own time; the old one's has ended."""
    clock = VirtualClock()
    shop = yard(clock, a=begun(engine, Leaver))
    advance(engine, clock, 4)
    shop.items["a"] = begun(engine, Leaver)
    advance(engine, clock, 100)
    assert shop.log == [("idle", "a", 14.0)]


def test_a_member_taken_out_in_mid_step(engine: Engine) -> None:
    """A member that is taken out in mid-step takes its times with it.

    Those that the step begins included.
    """
    clock = VirtualClock()
    shop = yard(clock, a=begun(engine, Leaver))
    shop.what = lambda _machine: shop.items.pop("a")
    advance(engine, clock, 4)
    sent(engine, shop.items["a"], "work")
    assert dict(shop.items) == {}
    advance(engine, clock, 100)
    assert shop.log == []
    assert clock.next_due is None


def test_a_member_replaced_in_mid_step(engine: Engine) -> None:
    """A member that is replaced in mid-step takes its times with it.

    And the new one under the same key has its own.
    """
    clock = VirtualClock()
    shop = yard(clock, a=begun(engine, Leaver))
    fresh = begun(engine, Leaver)
    old = shop.items["a"]
    shop.what = lambda _machine: shop.items.__setitem__("a", fresh)
    advance(engine, clock, 4)
    sent(engine, old, "work")
    assert old.current_state_value == "busy"
    assert shop.items["a"] is fresh
    advance(engine, clock, 100)
    assert shop.log == [("idle", "a", 14.0)]


def test_a_timer_of_a_member_that_was_replaced_finds_the_right_machine(engine: Engine) -> None:
    """`machine` of a timeout is the machine whose time it was."""
    clock = VirtualClock()
    shop = yard(clock, a=begun(engine, Leaver))
    heard: list[Any] = []
    shop.bus.signal("elapsed:idle").connect(lambda _sender, record: heard.append(record.machine))
    fresh = begun(engine, Leaver)
    shop.items["a"] = fresh
    advance(engine, clock, 10)
    assert heard == [fresh]


# Nesting --------------------------------------------------------------------------------------


class Desk(Orchestrator):
    """An inner orchestrator."""

    order: Order
    log: list[Any] = attrs.field(factory=list)

    @timeout("order.processing", seconds=10)
    def late(self, record: Elapsed) -> None:
        self.log.append(("late", record.due, record.path, record.keys))


class Office(Orchestrator):
    """An outer orchestrator."""

    front: Desk
    desks: Fleet[str, Desk]
    log: list[Any] = attrs.field(factory=list)

    @timeout("desks.order.processing", "front.order.processing", seconds=20)
    def very_late(self, record: Elapsed) -> None:
        self.log.append((record.topic, record.due, record.path, record.keys))


def test_timeouts_at_every_level(engine: Engine) -> None:
    """An orchestrator's timeouts name machines at any depth.

    Path and keys of the record begin at the outermost holder.
    """
    clock = VirtualClock()
    desks: Any = Fleet({"a": Desk(begun(engine, Order)), "b": Desk(begun(engine, Order))})
    office = Office(Desk(begun(engine, Order)), desks)
    use_clock(office, clock)
    sent(engine, office.desks["b"].order, "process")
    advance(engine, clock, 1)
    sent(engine, office.front.order, "process")
    advance(engine, clock, 100)
    assert office.log == [
        ("timeout:desks.order.processing", 20.0, ("desks", "b", "order"), ("b",)),
        ("timeout:front.order.processing", 21.0, ("front", "order"), ()),
    ]
    assert office.desks["b"].log == [("late", 10.0, ("desks", "b", "order"), ("b",))]
    assert office.front.log == [("late", 11.0, ("front", "order"), ())]


def test_inner_orchestrators_take_the_outer_ones_clock(engine: Engine) -> None:
    """Held, an orchestrator has the clock of its holder.

    And its pending timers begin anew, in full, on it; released, it keeps that clock, and its
    times go on.
    """
    own, outer = VirtualClock(), VirtualClock()
    desk = Desk(begun(engine, Order))
    use_clock(desk, own)
    sent(engine, desk.order, "process")
    advance(engine, own, 6)
    outer_desks: Any = Fleet()
    office = Office(Desk(begun(engine, Order)), outer_desks)
    use_clock(office, outer)
    advance(engine, outer, 100)
    office.desks["a"] = desk
    assert own.next_due is None
    assert outer.next_due == 110.0
    advance(engine, outer, 9)
    released = office.desks.pop("a")
    assert outer.next_due == 110.0
    advance(engine, outer, 1)
    assert released.log == [("late", 110.0, ("order",), ())]
    advance(engine, outer, 100)
    assert office.log == []
    sent(engine, released.order, "touch")
    assert outer.next_due == 220.0
    assert own.next_due is None


def test_a_timeout_that_has_run_does_not_run_again_when_its_orchestrator_is_held(
    engine: Engine,
) -> None:
    """It has run for this stay in the state: being put into a holder begins no second time."""
    clock = VirtualClock()
    log: list[Any] = []

    class Booth(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            log.append(clock.now())

    class Hall(Orchestrator, clock=lambda: clock):
        booth: Optional[Booth] = None  # noqa: UP045

    booth = Booth(begun(engine, Order))
    sent(engine, booth.order, "process")
    advance(engine, clock, 15)
    assert log == [10.0]
    Hall(booth)
    advance(engine, clock, 100)
    assert log == [10.0]
    sent(engine, booth.order, "touch")
    advance(engine, clock, 100)
    assert log == [10.0, 125.0]


def test_a_clock_is_used_where_nothing_is_pending() -> None:
    """Where no orchestrator, of several, has a timer, another clock changes nothing else."""

    class Booth(Orchestrator):
        order: Order

    class Hall(Orchestrator):
        booth: Booth

    hall = Hall(Booth(Order()))
    clock = use_clock(hall, VirtualClock())
    assert clock_of(hall) is clock_of(hall.booth) is clock
    assert clock.next_due is None


def test_use_clock_of_one_that_is_held_is_refused(engine: Engine) -> None:
    """The clock of an orchestrator that another holds is that of the holder."""
    clock = VirtualClock()
    office = Office(Desk(begun(engine, Order)), Fleet())
    error = engine.raises(DeclarationError, lambda: use_clock(office.front, clock))
    assert "use_clock(Desk)" in text_of(error)
    assert "Set that of the holder" in text_of(error)


def test_an_optional_field_that_is_set_later_begins_its_times_then(engine: Engine) -> None:
    """A machine given to an `Optional` field later begins the times of its states then."""
    clock = VirtualClock()
    log: list[float] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Optional[Order] = None  # noqa: UP045
        desk: Optional[Desk] = None  # noqa: UP045

        @timeout("other.pending", seconds=10)
        def late(self) -> None:
            log.append(clock.now())

        @timeout("desk.order.pending", seconds=10)
        def later(self) -> None:
            log.append(-clock.now())

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 5)
    shop.other = begun(engine, Order)
    advance(engine, clock, 1)
    shop.desk = Desk(begun(engine, Order))
    advance(engine, clock, 50)
    assert log == [15.0, -16.0]


# The claim ------------------------------------------------------------------------------------


class HandClock:
    """A clock of the test's own, whose handles forget nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], Any]]] = []
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, function: Callable[[], Any], /) -> HandClock:
        self.calls.append((when, function))
        return self

    def cancel(self) -> None:
        """Be too late."""


def test_exit_and_timer_race_for_one_claim(engine: Engine) -> None:
    """Exit and timer race for one claim, whatever the clock does: the loser does nothing."""
    clock = HandClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            log.append("late")

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    sent(engine, shop.order, "restore")
    sent(engine, shop.order, "process")
    assert [when for when, _function in clock.calls] == [10.0, 10.0]
    engine.run(clock.calls[0][1])
    assert log == []
    engine.run(clock.calls[1][1])
    assert log == ["late"]
    engine.run(clock.calls[1][1])
    sent(engine, shop.order, "restore")
    assert log == ["late"]


def test_a_timer_and_an_exit_at_once_in_two_threads() -> None:
    """In two threads at once, a timeout runs once or not at all, and the state is left."""

    class Shop(Orchestrator, clock=HandClock):
        order: Order
        log: list[str] = attrs.field(factory=list)

        @timeout("order.processing", seconds=10)
        def late(self) -> None:
            self.log.append("late")

    for _ in range(50):
        clock = HandClock()
        shop = Shop(Order())
        use_clock(shop, clock)
        shop.order.process()
        function = clock.calls[0][1]
        barrier = threading.Barrier(3)

        def run(function: Any, barrier: Any = barrier) -> None:
            barrier.wait()
            function()

        calls: list[Any] = [function, function, shop.order.restore]
        threads = [threading.Thread(target=run, args=(one,)) for one in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(shop.log) <= 1
        assert shop.order.current_state_value == "pending"


class HookedClock(HandClock):
    """A clock that does something of the test's own, once, when it is asked or told to call."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks: dict[str, Callable[[], Any]] = {}

    def now(self) -> float:
        self.hooks.pop("now", bool)()
        return super().now()

    def call_at(self, when: float, function: Callable[[], Any], /) -> HandClock:
        handle = super().call_at(when, function)
        self.hooks.pop("call_at", bool)()
        return handle


@pytest.mark.parametrize("at", ["now", "call_at"])
@pytest.mark.parametrize("returns", [False, True])
def test_an_exit_while_a_repeated_timeout_begins_anew_ends_it(at: str, *, returns: bool) -> None:
    """An exit in another thread, in the midst of a timer's coming due, ends the repetition.

    Where the state is entered again at once, it has one time, and no second one.
    """
    clock = HookedClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10, repeat=True)
        def late(self) -> None:
            log.append("late")

    def exits() -> None:
        shop.order.restore()
        if returns:
            shop.order.process()

    def leave() -> None:
        thread = threading.Thread(target=exits)
        thread.start()
        thread.join(10)

    shop = Shop(Order())
    shop.order.process()
    clock.time = 10.0
    clock.hooks[at] = leave
    clock.calls.pop()[1]()
    assert log == ["late"]
    for _ in range(3):
        clock.time += 10
        calls, clock.calls = clock.calls, []
        for _when, function in calls:
            function()
    assert log == ["late"] + ["late"] * 3 * returns
    assert len(clock.calls) == returns


def test_periods_that_went_by_are_left_out(engine: Engine) -> None:
    """Where a repeated timeout comes due late, the periods that went by meanwhile are left out."""
    clock = HandClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10, repeat=True)
        def late(self, record: Elapsed) -> None:
            log.append((clock.now(), record.due))

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    for clock.time in (10.0, 24.0, 30.0, 70.0, 80.5):
        engine.run(clock.calls.pop()[1])
    assert log == [(10.0, 10.0), (24.0, 20.0), (30.0, 30.0), (70.0, 40.0), (80.5, 80.0)]
    assert [when for when, _function in clock.calls] == [90.0]


def test_a_member_that_leaves_while_its_timer_comes_due(engine: Engine) -> None:
    """A timer that has won runs, and does not begin anew for a member that is gone."""
    clock = HookedClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

        @timeout("orders.pending", seconds=10, repeat=True)
        def late(self, key: str, machine: Any, state: Any) -> None:
            log.append((key, machine is order, state.id, "a" in self.orders))

    shop = Shop()
    order = shop.orders["a"] = begun(engine, Order)
    clock.hooks["now"] = shop.orders.clear
    engine.run(clock.calls.pop()[1])
    assert log == [("a", True, "pending", False)]
    assert clock.calls == []


def test_a_delay_comes_due_once_whatever_the_clock_does(engine: Engine) -> None:
    """A clock that calls twice sends once."""
    clock = HandClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        log: list[Any] = attrs.field(factory=list)

        @on("order.touch")
        def touched(self) -> None:
            self.log.append("touched")

    shop = Shop(engine.machine(Order)())
    delay = shop.post("order.touch", delay=1)
    engine.run(clock.calls[0][1])
    engine.run(clock.calls[0][1])
    delay.cancel()
    assert shop.log == ["touched"]


def test_a_timer_that_is_ended_while_the_clock_takes_it_is_taken_back() -> None:
    """An exit in another thread while the clock is told of the entry leaves nothing behind."""

    class Kind(HookedClock):
        def cancel(self) -> None:
            self.calls.clear()

    clock = Kind()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

    shop = Shop(Order())
    handles: list[Any] = []
    clock.hooks["call_at"] = lambda: handles[0].cancel()
    delay = Delay(place_of(shop), address_of(shop, "order.cancel"), (), {}, 5.0)
    handles.append(delay)
    timers_of(place_of(shop)).delay(delay)
    assert clock.calls == []


# Delays ---------------------------------------------------------------------------------------


def test_a_delayed_post_is_an_outermost_call_later(engine: Engine) -> None:
    """`post(delay=)` returns at once a handle that tells its `due`.

    And posts when the time has come, with its arguments, in a cascade of its own.
    """
    clock = VirtualClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @on("order.process")
        def hear(self, *args: Any, **kwargs: Any) -> None:
            log.append((args, kwargs.get("who"), clock.now()))

        @on("settled")
        def rest(self) -> None:
            log.append("settled")

    shop = Shop(begun(engine, Order))
    advance(engine, clock, 1)
    handle = engine.run(lambda: shop.post("order.process", 1, delay=2.5, who="me"))
    assert handle.due == 3.5
    assert log == []
    advance(engine, clock, 2.4)
    assert log == []
    advance(engine, clock, 1)
    assert log == [((1,), "me", 3.5), "settled"]
    handle.cancel()
    assert clock.next_due is None


def test_a_delayed_post_is_cancelled(engine: Engine) -> None:
    """`cancel()` takes it back, as often as one likes; afterwards nothing is pending."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

    shop = Shop(begun(engine, Order))
    handle = shop.post("order.process", delay=2.5)
    handle.cancel()
    handle.cancel()
    assert clock.next_due is None
    advance(engine, clock, 10)
    assert repr(shop) == "Shop(order=pending)"
    assert handle.due == 2.5


def test_a_delay_of_zero_is_later_too(engine: Engine) -> None:
    """A delay of 0 posts as soon as the clock runs, and not at once."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

    shop = Shop(begun(engine, Order))
    handle = engine.run(lambda: shop.post("order.process", delay=0))
    assert handle.due == 0.0
    assert repr(shop) == "Shop(order=pending)"
    advance(engine, clock, 0)
    assert repr(shop) == "Shop(order=processing)"


def test_a_delayed_post_of_bound_events_and_to_fleets(engine: Engine) -> None:
    """A bound event goes to its machine, a topic of a fleet to the members that there are then."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        others: Fleet[str, Order]

    shop = Shop(begun(engine, Order), Fleet({"a": begun(engine, Order), "b": begun(engine, Order)}))
    shop.post(shop.order.process, delay=1)
    shop.post(shop.others["b"].process, delay=2)
    shop.post("others.cancel", delay=3)
    shop.others["c"] = begun(engine, Order)
    advance(engine, clock, 1)
    assert "order=processing" in repr(shop)
    assert "Fleet({'a': pending, 'b': pending, 'c': pending})" in repr(shop)
    advance(engine, clock, 1)
    assert "Fleet({'a': pending, 'b': processing, 'c': pending})" in repr(shop)
    advance(engine, clock, 1)
    assert "Fleet({'a': cancelled, 'b': cancelled, 'c': cancelled})" in repr(shop)


def test_a_delay_in_a_cascade_and_its_record(engine: Engine) -> None:
    """Posted in a reaction, it returns its handle at once.

    Its `Elapsed` has the reaction's turn as its cause, no state and no machine, and the post's
    `Started` follows from it.
    """
    clock = VirtualClock()
    handles: list[Any] = []
    records: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @on("order.process")
        def later(self) -> None:
            handles.append(self.post("order.cancel", delay=5))

    shop = Shop(begun(engine, Order))
    for topic in ("started:*", "elapsed:order.cancel", "order.cancel"):
        shop.bus.signal(topic).connect(lambda sender, record: records.append((sender, record)))
    sent(engine, shop.order, "process")
    assert handles[0].due == 5.0
    advance(engine, clock, 5)
    (_, turn), (sender, elapsed), (_, started), (_, moved) = records
    assert sender is shop
    assert isinstance(elapsed, Elapsed)
    assert (elapsed.name, elapsed.topic, elapsed.due, elapsed.state, elapsed.machine) == (
        "order.cancel",
        "order.cancel",
        5.0,
        None,
        None,
    )
    assert (elapsed.cause, started.cause, elapsed.path) == (turn.seq, elapsed.seq, ())
    assert isinstance(moved, Transitioned)


def test_a_refused_delayed_post_is_a_failure(engine: Engine) -> None:
    """An event that is refused when its time has come is announced as failed.

    And told by the clock.
    """
    clock = VirtualClock()
    failed: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

    shop = Shop(begun(engine, Order))
    shop.bus.signal("failed:order.restore").connect(lambda _sender, record: failed.append(record))
    shop.post("order.restore", delay=1)
    shop.post("order.process", delay=1)
    with pytest.raises(ReactionErrors, match=r"order\.restore"):
        advance(engine, clock, 1)
    assert [one.name for one in failed] == ["order.restore"]
    assert repr(shop) == "Shop(order=processing)"


def test_a_delayed_bound_event_whose_machine_left(engine: Engine) -> None:
    """A delayed post to a machine that nobody holds any more does not keep it, and does nothing."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order]

    shop = Shop(Fleet({"a": begun(engine, Order)}))
    shop.post(shop.orders["a"].process, delay=5)
    gone = weakref.ref(shop.orders.pop("a"))
    gc.collect()
    assert gone() is None
    advance(engine, clock, 10)


# Clocks ---------------------------------------------------------------------------------------


def test_use_clock_restarts_what_is_pending_in_full(engine: Engine) -> None:
    """Timers that are pending leave the old clock and begin anew, in full, on the new one."""
    old, new = VirtualClock(), VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: old):
        order: Order

        @timeout("order.pending", seconds=10)
        def late(self) -> None:
            log.append(f"late {old.now()} {new.now()}")

        @timeout("order.pending", seconds=4, repeat=True)
        def remind(self) -> None:
            log.append(f"remind {old.now()} {new.now()}")

    shop = Shop(begun(engine, Order))
    handle = shop.post("order.process", delay=11)
    advance(engine, old, 7)
    advance(engine, new, 100)
    assert log == ["remind 4.0 0.0"]
    log.clear()
    use_clock(shop, new)
    assert old.next_due is None
    assert handle.due == 111.0
    advance(engine, new, 50)
    assert log == ["remind 7.0 104.0", "remind 7.0 108.0", "late 7.0 110.0"]
    assert repr(shop) == "Shop(order=processing)"


def test_the_class_keyword_is_a_factory_and_inherited(engine: Engine) -> None:
    """`clock=` names a factory, called for each orchestrator.

    Subclasses inherit it, and may name another.
    """
    made: list[VirtualClock] = []

    def factory() -> VirtualClock:
        made.append(VirtualClock())
        return made[-1]

    class Shop(Orchestrator, clock=factory):
        order: Order

        @timeout("order.pending", seconds=10)
        def late(self) -> None: ...

    class Sub(Shop): ...

    class Other(Shop, clock=VirtualClock): ...

    shops = [Shop(begun(engine, Order)), Sub(begun(engine, Order)), Other(begun(engine, Order))]
    assert [clock.next_due for clock in made] == [10.0, 10.0]
    assert len(shops) == 3


@pytest.mark.parametrize("value", [VirtualClock(), None, "VirtualClock", 5])
def test_a_class_keyword_that_is_no_factory_is_refused(value: Any) -> None:
    """`clock=` takes a factory, and no clock."""
    with pytest.raises(DeclarationError, match="clock=VirtualClock") as caught:

        class Shop(Orchestrator, clock=value):
            order: Order

    assert "Shop" in str(caught.value)


def test_a_factory_that_makes_no_clock_is_refused() -> None:
    """A factory that gives something without `now` and `call_at` is refused with its class."""

    class Shop(Orchestrator, clock=lambda: 5):  # type: ignore[arg-type,return-value] # pyright: ignore[reportArgumentType]
        order: Order

        @timeout("order.pending", seconds=10)
        def late(self) -> None: ...

    with pytest.raises(DeclarationError, match="Shop"):
        Shop(Order())


@pytest.mark.parametrize("value", [None, 5, VirtualClock, object()])
def test_use_clock_refuses_what_is_no_clock(value: Any) -> None:
    """`use_clock` takes a clock, with `now` and `call_at`, and no class."""
    shop = Kept(Order())
    with pytest.raises(DeclarationError, match=r"use_clock\(Kept\).*is no clock"):
        use_clock(shop, value)


# Lifetime -------------------------------------------------------------------------------------


def thread_count() -> int:
    """Return how many threads of system clocks there are."""
    return sum(one.name.endswith("SystemClock") for one in threading.enumerate())


def threads_gone(before: int) -> bool:
    """Return whether the threads of system clocks end within a tenth of a second."""
    for _ in range(100):
        if thread_count() <= before:
            return True
        time.sleep(0.001)
    return False


def test_an_orchestrator_nobody_holds_takes_its_timers_with_it(engine: Engine) -> None:
    """A pending timer keeps nothing alive.

    At the latest at the next garbage collection the orchestrator is gone, and its timeouts and
    delays with it.
    """
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=10, repeat=True)
        def late(self) -> None:
            log.append("late")

    shop = Shop(begun(engine, Order))
    sent(engine, shop.order, "process")
    shop.post("order.cancel", 1, delay=5)
    handle = shop.post(shop.order.cancel, delay=5)
    gone = weakref.ref(shop)
    del shop
    gc.collect()
    assert gone() is None
    assert clock.next_due is None
    advance(engine, clock, 100)
    assert log == []
    handle.cancel()


def test_a_delay_whose_arguments_hold_the_orchestrator_keeps_nothing_alive(
    engine: Engine,
) -> None:
    """A pending delay keeps nothing alive, whatever its arguments.

    They may be machines of the orchestrator, or the orchestrator.
    """
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order

    shop = Shop(begun(engine, Order), begun(engine, Order))
    shop.post("order.process", shop.other, delay=5)
    shop.post("order.process", delay=5, by=shop)
    gone = weakref.ref(shop)
    del shop
    gc.collect()
    assert gone() is None
    assert clock.next_due is None


def test_a_machine_keeps_its_orchestrator_and_its_timers(engine: Engine) -> None:
    """A machine keeps its orchestrator alive, and with it the timers."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=10)
        def late(self) -> None:
            log.append("late")

    order = Shop(begun(engine, Order)).order
    gc.collect()
    advance(engine, clock, 10)
    assert log == ["late"]
    assert order is not None


def test_the_thread_goes_with_the_last_orchestrator() -> None:
    """Where the orchestrator was the last one with something pending, the clock's thread ends."""
    clock = SystemClock()
    before = thread_count()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=1000)
        def late(self) -> None: ...

    shop = Shop(Order())
    shop.post("order.process", delay=2000)
    assert thread_count() == before + 1
    gone = weakref.ref(shop)
    del shop
    gc.collect()
    assert gone() is None
    assert threads_gone(before)


def test_on_a_running_loop_a_pending_timer_keeps_nothing_alive(engine: Engine) -> None:
    """On a running event loop as well, whatever set the timer.

    Construction, a transition, a reaction, a callback.
    """
    clock = SystemClock()

    class Chatty(Order):
        def after_process(self, orc: Any) -> None:
            orc.post("order.cancel", delay=1000)

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", "order.processing", seconds=1000)
        def late(self) -> None: ...

        @on("order.process")
        def later(self) -> None:
            self.post("order.cancel", delay=1000)

    chatty = engine.machine(Chatty)

    async def build(*events: str) -> weakref.ref[Any]:
        shop = Shop(chatty())
        for event in events:
            result = shop.order.send(event)
            if engine.is_async:
                await result
        return weakref.ref(shop)

    async def main() -> None:
        for events in ((), ("process",), ("process", "touch")):
            gone = await build(*events)
            await asyncio.sleep(0)  # the loop keeps what it ran last until its next turn
            gc.collect()
            assert (events, gone()) == (events, None)

    asyncio.run(main())


# The system's clock ---------------------------------------------------------------------------


def test_a_sync_orchestrator_on_the_system_clock_runs_in_its_thread() -> None:
    """Without a running loop a timeout runs in the clock's daemon thread, which then ends."""
    clock = SystemClock()
    before = thread_count()
    done = threading.Event()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=0.01)
        def late(self) -> None:
            self.order.cancel()
            log.append(threading.current_thread().name)
            done.set()

    shop = Shop(Order())
    assert thread_count() == before
    shop.order.process()
    assert thread_count() == before + 1
    assert done.wait(5)
    assert threads_gone(before)
    assert log == ["statemachines_orchestrator.SystemClock"]
    assert repr(shop) == "Shop(order=cancelled)"


def test_on_the_system_clock_with_a_running_loop(engine: Engine) -> None:
    """On a running loop its timer is used, for sync and async machines; what must be awaited is."""
    clock = SystemClock()
    before = thread_count()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=0.01)
        async def late(self) -> None:
            await asyncio.sleep(0)
            result = self.order.send("cancel")
            if engine.is_async:
                await result
            log.append(threading.current_thread().name)

    async def main() -> Any:
        shop = Shop(engine.machine(Order)())
        result = shop.order.send("process")
        if engine.is_async:
            await result
        await until(lambda: log)
        return shop

    shop = asyncio.run(main())
    assert log == [threading.current_thread().name]
    assert repr(shop) == "Shop(order=cancelled)"
    assert thread_count() == before


def test_built_before_the_loop_runs_it_waits_for_the_loop_that_first_calls_it() -> None:
    """Timers of an orchestrator with an async machine wait for the loop that first calls it.

    And begin then; no thread is started for them.
    """
    clock = SystemClock()
    before = thread_count()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Stored
        other: Stored

        @timeout("order.pending", seconds=0.01)
        async def late(self) -> None:
            log.append(threading.current_thread().name)

    shop = Shop(Stored(), Stored())
    assert thread_count() == before

    async def main() -> None:
        await shop.other.process()
        await until(lambda: log)

    asyncio.run(main())
    assert log == [threading.current_thread().name]
    assert thread_count() == before


def test_a_sync_machine_with_an_async_reaction_waits_for_the_loop_too() -> None:
    """The same holds for sync machines with an async reaction."""
    clock = SystemClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order

        @timeout("order.pending", seconds=0.01)
        async def late(self) -> None:
            log.append(threading.current_thread().name)

    shop = Shop(Order(), Order())
    shop.post("other.cancel", delay=0.01)

    async def main() -> None:
        await shop.asend("other.process")
        await until(lambda: log and shop.other.current_state_value == "cancelled")

    asyncio.run(main())
    assert log == [threading.current_thread().name]
    assert repr(shop) == "Shop(order=pending, other=cancelled)"


def test_a_waiting_timer_is_ended_by_the_exit() -> None:
    """A timer that waits for a loop is ended by the exit like any other one."""
    clock = SystemClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Stored

        @timeout("order.pending", seconds=0.01)
        async def late(self) -> None:
            log.append("late")

    shop = Shop(Stored())
    handle = shop.post("order.cancel", delay=0.01)
    handle.cancel()

    async def main() -> None:
        await shop.order.process()
        await asyncio.sleep(0.04)

    asyncio.run(main())
    assert log == []
    assert repr(shop) == "Shop(order=processing)"


def test_a_waiting_timer_that_is_over_leaves_no_residue() -> None:
    """What ends while no event loop runs is forgotten, also where machines move without one."""
    clock = SystemClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Stored

        @timeout("order.processing", seconds=0.01)
        async def late(self) -> None:
            log.append(threading.current_thread().name)

    shop = Shop(Stored())
    waiting = timers_of(place_of(shop)).waiting
    for _ in range(20):
        shop.order.process()  # in the event loop that the host keeps for such calls, and stops
        assert len(waiting) == 1
        shop.order.restore()
    assert waiting == {}
    shop.order.process()
    assert log == []

    async def main() -> None:
        await shop.order.remark()
        await until(lambda: log)

    asyncio.run(main())
    assert log == [threading.current_thread().name]
    assert waiting == {}


def test_a_sync_call_on_the_hosts_own_loop_uses_the_thread() -> None:
    """What begins while python-statemachine runs a sync call of an async machine lasts longer."""
    clock = SystemClock()
    done = threading.Event()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=0.01)
        def late(self) -> None:
            done.set()

    class Bare(StateMachine):
        idle = State(initial=True)
        go = idle.to.itself()

        async def on_go(self) -> None:
            shop.order.process()

    shop = Shop(Order())
    bare = Bare()
    bare.go()
    assert done.wait(10)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_timer_of_a_loop_that_is_closed_goes_to_the_next_one(*, is_async: bool) -> None:
    """Timers on an event loop that was closed come due on the next one that calls."""
    log: list[Any] = []
    clock = SystemClock()
    machine_class = Stored if is_async else Order

    class Shop(Orchestrator, clock=lambda: clock):
        order: machine_class  # type: ignore[valid-type] # of either kind

        @timeout("order.processing", seconds=0.05)
        def late(self) -> None:
            log.append("late")

    shop = Shop(machine_class())

    async def first() -> None:
        await shop.asend("order.process")
        shop.post("order.remark", delay=1000)

    async def second() -> None:
        await shop.asend("order.remark")
        await until(lambda: log)

    asyncio.run(first())
    due = [timer.due for timer in timers_of(place_of(shop)).pending()]
    asyncio.run(second())
    assert log == ["late"]
    assert [timer.due for timer in timers_of(place_of(shop)).pending()] == due[1:]


def test_a_sync_timer_of_a_loop_that_is_closed_goes_to_the_thread() -> None:
    """For a sync orchestrator it is the clock's thread, when it is next called."""
    clock = SystemClock()
    done = threading.Event()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.processing", seconds=0.05)
        def late(self) -> None:
            done.set()

    shop = Shop(Order())

    async def main() -> None:
        shop.order.process()

    asyncio.run(main())
    shop.post("order.remark")
    assert done.wait(10)


def test_a_waiting_timer_that_changes_its_clock_waits_on() -> None:
    """On another system clock it waits as before, and for one loop of several that are closed."""
    log: list[str] = []

    class Shop(Orchestrator, clock=SystemClock):
        order: Stored

        @timeout("order.pending", seconds=0.01)
        async def late(self) -> None:
            log.append("late")

    shop = Shop(Stored())
    timers = timers_of(place_of(shop))
    waiting = timers.waiting
    (before,) = waiting
    use_clock(shop, SystemClock())
    assert list(waiting) == [before]

    async def first() -> None:
        shop.post("order.touch", delay=50)

    async def second() -> None:
        await shop.order.touch()
        await until(lambda: log and len(timers.pending()) == len(posted))

    asyncio.run(first())
    posted = [*timers.delays, shop.post("order.touch", delay=60)]
    asyncio.run(second())
    assert set(log) == {"late"}  # once more where the machine is slow: touching begins it anew
    assert timers.pending() == posted
    assert not waiting


def test_an_async_reaction_subscribed_later_waits_for_a_loop() -> None:
    """With an async reaction that was subscribed to the instance, timers wait for a loop too."""
    clock = SystemClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

    async def heard() -> None:
        log.append(threading.current_thread().name)

    shop = Shop(Order())
    subscribe(shop, "order.process", heard)
    shop.post("order.process", delay=0.01)
    time.sleep(0.03)
    assert log == []

    async def main() -> None:
        await shop.asend("order.touch")
        await until(lambda: log)

    asyncio.run(main())
    assert log == [threading.current_thread().name]


# Failures -------------------------------------------------------------------------------------


class Failing(Orchestrator):
    """A timeout that fails, and one that does not."""

    order: Order
    log: list[Any] = attrs.field(factory=list)

    @timeout("order.pending", seconds=0.01)
    def fails(self) -> None:
        self.log.append("fails")
        message = "it failed"
        raise ValueError(message)

    @timeout("order.pending", seconds=0.02)
    def runs(self) -> None:
        self.log.append("runs")


def test_a_failure_is_announced_and_raised_by_advance(engine: Engine) -> None:
    """A reaction that fails is announced under `failed:`.

    And `advance` raises it, after all that came due has run.
    """
    clock = VirtualClock()
    shop = Failing(begun(engine, Order))
    use_clock(shop, clock)
    failed: list[Any] = []
    elapsed: list[Any] = []
    shop.bus.signal("failed:fails").connect(lambda _sender, record: failed.append(record))
    shop.bus.signal("elapsed:*").connect(lambda _sender, record: elapsed.append(record))
    with pytest.raises(ReactionErrors, match=r"it failed|fails") as caught:
        advance(engine, clock, 1)
    assert shop.log == ["fails", "runs"]
    assert [one.name for one in failed] == ["fails"]
    (failure,) = caught.value.failures
    assert (failure.reaction, failure.cause) == ("Failing.fails", elapsed[0])
    assert isinstance(failure.exception, ValueError)
    assert clock.now() == 1.0


def test_failures_of_several_timers(engine: Engine) -> None:
    """Of several timers that fail `advance` raises a group, one exception of each."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order]

        @timeout("orders.pending", seconds=1)
        def fails(self, key: str) -> None:
            raise ValueError(key)

    shop = Shop(Fleet({"a": begun(engine, Order), "b": begun(engine, Order)}))
    caught = engine.raises(Exception, lambda: _return_nothing(engine, clock))
    assert type(caught).__name__ == "ExceptionGroup"
    assert [str(one.exceptions[0]) for one in caught.exceptions] == ["a", "b"]
    assert len(shop.orders) == 2


def _return_nothing(engine: Engine, clock: VirtualClock) -> Any:
    """Advance a clock, for a caller that minds what is returned."""
    result = clock.advance(2)
    return result if engine.is_async else None


def test_a_failure_on_the_system_clock_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In the clock's thread a failure is logged at error level, and the thread goes on."""
    clock = SystemClock()
    before = thread_count()
    failed: list[Any] = []
    shop = Failing(Order())
    use_clock(shop, clock)
    shop.bus.signal("failed:*").connect(lambda _sender, record: failed.append(record.name))
    asyncio.run(until(lambda: len(shop.log) == 2))  # a thread of another test may end meanwhile
    assert threads_gone(before)
    assert shop.log == ["fails", "runs"]
    assert failed == ["fails"]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("statemachines_orchestrator", logging.ERROR)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ReactionErrors)
    assert "fails" in record.getMessage()


def test_a_failure_on_a_loop_is_logged_and_given_to_its_handler(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """On an event loop a failure is also given to its exception handler."""
    clock = SystemClock()
    contexts: list[dict[str, Any]] = []
    machine = engine.machine(Order)

    class Shop(Failing, clock=lambda: clock): ...

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, one: contexts.append(one))
        shop = Shop(machine())
        await asyncio.sleep(0.06)
        return shop

    shop = asyncio.run(main())
    assert shop.log == ["fails", "runs"]
    assert [type(one["exception"]) for one in contexts] == [ReactionErrors]
    assert [(one.name, one.levelno) for one in caplog.records] == [
        ("statemachines_orchestrator", logging.ERROR)
    ]


# Async ----------------------------------------------------------------------------------------


def test_async_machines_and_reactions_on_a_virtual_clock(engine: Engine) -> None:
    """`await clock.advance(...)` awaits what comes due, one after the other.

    Each at its own virtual time, with all that follows from it.
    """
    clock = VirtualClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order

        @timeout("order.pending", seconds=2)
        async def first(self) -> None:
            log.append(("first", clock.now()))
            await asyncio.sleep(0)
            await self.asend("order.process")
            log.append(("first done", clock.now()))

        @on("order.process")
        async def follow(self) -> None:
            await asyncio.sleep(0)
            log.append(("follow", clock.now()))

        @timeout("other.pending", seconds=2)
        async def second(self) -> None:
            log.append(("second", clock.now()))

        @timeout("order.processing", seconds=1)
        def third(self) -> None:
            log.append(("third", clock.now()))

    shop = Shop(begun(engine, Order), begun(engine, Order))

    async def main() -> None:
        await clock.advance(10)

    asyncio.run(main())
    assert log == [
        ("first", 2.0),
        ("first done", 2.0),
        ("follow", 2.0),
        ("second", 2.0),
        ("third", 3.0),
    ]
    assert clock.now() == 10.0
    assert repr(shop) == "Shop(order=processing, other=pending)"


def test_an_async_reaction_without_a_running_loop_runs_to_completion() -> None:
    """Without a running loop an async reaction is run to completion, and nothing is to await."""
    clock = VirtualClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=2)
        async def late(self) -> None:
            await asyncio.sleep(0)
            await self.asend("order.process")
            log.append(clock.now())

    shop = Shop(Order())
    clock.advance(5)
    assert log == [2.0]
    assert repr(shop) == "Shop(order=processing)"


# Copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle"])
def test_a_copy_begins_its_times_anew(way: str) -> None:
    """Of a copy the times of the active states begin anew, on the class's clock.

    Pending delays stay with the original.
    """
    shop = Kept(Order())
    shop.order.process()
    begun_at = THE_CLOCK.now()
    THE_CLOCK.advance(6)
    handle = shop.post("order.cancel", delay=100)
    ways: Any = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    }
    other = ways[way](shop)
    other.log = []
    THE_CLOCK.advance(20)
    assert shop.log == [("late", begun_at + 10)]
    assert other.log == [("late", begun_at + 16)]
    THE_CLOCK.advance(100)
    assert repr(shop).startswith("Kept(order=cancelled")
    assert repr(other).startswith("Kept(order=processing")
    handle.cancel()


# Misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({}, NotAReactionError, "Give it seconds=... or minutes=..."),
        ({"seconds": 1, "minutes": 1}, NotAReactionError, "Give it seconds=... or minutes=..."),
        ({"seconds": 0}, DurationError, "0 is no length of time"),
        ({"seconds": -1}, DurationError, "-1 is no length of time"),
        ({"minutes": 0}, DurationError, "is no length of time"),
        ({"minutes": -2}, DurationError, "is no length of time"),
        ({"seconds": timedelta(0)}, DurationError, "is no length of time"),
        ({"seconds": timedelta(seconds=-1)}, DurationError, "is no length of time"),
        ({"seconds": float("inf")}, DurationError, "inf is no length of time"),
        ({"seconds": float("nan")}, DurationError, "nan is no length of time"),
        ({"minutes": float("inf")}, DurationError, "is no length of time"),
        ({"minutes": float("nan")}, DurationError, "is no length of time"),
        ({"minutes": 1.7e308}, DurationError, "is no length of time"),
        ({"minutes": "5"}, DurationError, "is no length of time"),
        ({"minutes": True}, DurationError, "is no length of time"),
        ({"minutes": timedelta(minutes=1)}, NotAReactionError, "Give the timedelta to seconds="),
        ({"seconds": True}, DurationError, "True is no length of time"),
        ({"seconds": [5]}, DurationError, "is no length of time"),
        ({"seconds": 10**400}, DurationError, "is no length of time"),
        ({"seconds": 1, "cond": 5}, NotAReactionError, "neither callable"),
    ],
)
def test_a_length_of_time_that_is_none(
    kwargs: dict[str, Any], error: type[OrchestratorError], text: str
) -> None:
    """The decorator refuses at once what is no length of time, and says where and what to give."""
    with pytest.raises(error) as caught:
        timeout("order.pending", **kwargs)
    assert text in str(caught.value)
    assert "test_timeouts.py, line" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", ["event", "source", "target", "transition"])
def test_a_method_that_must_have_what_only_an_event_has(name: str) -> None:
    """It is refused when the class is defined: a timeout comes of no event."""
    names: dict[str, Any] = {"timeout": timeout}
    with pytest.raises(NotAReactionError, match=f"has no '{name}' to give.*record, machine"):
        exec(  # noqa: S102 - the name of the parameter is the subject
            "from statemachines_orchestrator import Orchestrator\n"
            "from test_timeouts import Order\n"
            "class Shop(Orchestrator):\n"
            "    order: Order\n"
            "    @timeout('order.pending', seconds=1)\n"
            f"    def late(self, {name}): ...\n",
            names,
        )


def test_a_timeout_is_no_topic(engine: Engine) -> None:
    """Observers hear of it by the name of its reaction."""
    shop = Pair(engine.machine(Order)(), engine.machine(Order)())
    with pytest.raises(UnknownTopicError, match=r"as elapsed:.*Did you mean 'elapsed:\*'"):
        shop.bus.signal("timeout:one.pending")


def test_a_timeout_without_a_state() -> None:
    """A timeout names at least one state."""
    with pytest.raises(NotAReactionError, match=r"test_timeouts\.py"):
        timeout(seconds=1)
    with pytest.raises(NotAReactionError, match=r"test_timeouts\.py"):
        timeout(lambda: None, seconds=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("states", "keywords", "error", "text"),
    [
        (("order.procesing",), {}, UnknownTopicError, "order.processing"),
        (("oder.processing",), {}, UnknownTopicError, "order"),
        (("order.process",), {}, UnknownTopicError, "order.process"),
        (("order.*",), {}, OrchestratorError, "order.*"),
        (("settled",), {}, OrchestratorError, "settled"),
        (("enter:order.processing",), {}, OrchestratorError, "enter:order.processing"),
        (("order",), {}, OrchestratorError, "order"),
        ((), {"order": "procesing"}, UnknownTopicError, "processing"),
        ((), {"order": Order.process}, OrchestratorError, "process"),
        ((), {"order": ["processing"]}, NotAReactionError, "in a tuple"),
    ],
)
def test_a_state_that_is_none_is_refused_at_the_class(
    states: tuple[str, ...], keywords: dict[str, Any], error: type[OrchestratorError], text: str
) -> None:
    """What is no state of the orchestrator is refused when the class is defined.

    With place and nearest name.
    """
    with pytest.raises(error) as caught:

        class Shop(Orchestrator):
            order: Order

            @timeout(*states, seconds=1, **keywords)
            def late(self) -> None: ...

    assert text in text_of(caught.value)
    assert "test_timeouts.py, line" in text_of(caught.value)


def test_a_named_length_that_is_nothing_of_the_class() -> None:
    """The name of a length is checked when the class is defined, and its value when it is asked."""
    with pytest.raises(OrchestratorError, match=r"patiense") as caught:

        class Shop(Orchestrator):
            order: Order
            patience: float = 1.0

            @timeout("order.pending", seconds="patiense")
            def late(self) -> None: ...

    assert "test_timeouts.py, line" in str(caught.value)
    assert "'patience'" in str(caught.value)

    class Wrong(Orchestrator):
        order: Order
        patience: Any = 0

        @timeout("order.processing", seconds="patience")
        def late(self) -> None: ...

    shop = Wrong(Order())
    with pytest.raises(ReactionErrors) as failed:
        shop.order.process()
    (failure,) = failed.value.failures
    assert isinstance(failure.exception, DurationError)
    assert "0 is no length of time" in str(failure.exception)
    assert "test_timeouts.py, line" in str(failure.exception)
    assert repr(shop) == "Wrong(order=processing, patience=0)"


def test_a_named_length_that_is_async_is_refused() -> None:
    """A method that gives the length answers at once."""

    def build() -> Any:
        class Shop(Orchestrator):
            order: Order

            @timeout("order.pending", seconds="patience")
            def late(self) -> None: ...

            async def patience(self) -> float:
                return 1.0

        return Shop(Order())

    with pytest.raises(OrchestratorError) as caught:
        build()
    assert "patience" in text_of(caught.value)
    gc.collect()


@pytest.mark.parametrize(
    "delay", [-1, float("inf"), float("nan"), "5", True, timedelta(seconds=-1), [1], 10**400]
)
def test_a_delay_that_is_no_length_of_time(delay: Any) -> None:
    """`post(delay=)` refuses what is no length of time, at once, and says where."""
    shop = Kept(Order())
    with pytest.raises(DurationError, match=r"post\(delay=...\).* is no length of time"):
        shop.post("order.process", delay=delay)


def test_a_delayed_post_of_nothing() -> None:
    """`post(delay=)` refuses at once what is no event: unknown ones, and signals of the domain."""
    shop = Kept(Order())
    with pytest.raises(UnknownTopicError, match=r"order\.process"):
        shop.post("order.proces", delay=1)
    with pytest.raises(UnknownTopicError):
        shop.post("low_stock", delay=1)
    with pytest.raises(UnknownTopicError):
        shop.post(Order().process, delay=1)
    with pytest.raises(UnknownTopicError):
        shop.post("order.*", delay=1)


def test_names_that_are_options_are_refused_in_the_keyword_spelling() -> None:
    """A field named like an option is refused where the keyword spelling would mean the option."""
    with pytest.raises(NameClashError, match="cond") as caught:

        class Shop(Orchestrator):
            cond: Order

            @timeout("cond.pending", seconds=1, cond="pending")
            def late(self) -> None: ...

    assert "cond.pending" in str(caught.value)


def test_a_decorated_thing_that_is_no_function() -> None:
    """`@timeout` decorates functions only."""
    with pytest.raises(NotAReactionError, match="@timeout decorates"):
        timeout("order.pending", seconds=1)(5)  # type: ignore[type-var] # pyright: ignore[reportArgumentType]


def test_machines_without_timeouts_pay_nothing(engine: Engine) -> None:
    """An orchestrator without timeouts makes one clock, asks it nothing, and starts no thread."""
    made: list[Any] = []

    class Idle:
        def __init__(self) -> None:
            made.append(self)

        def now(self) -> float:
            message = "asked for the time"
            raise AssertionError(message)

        def call_at(self, when: float, function: Any, /) -> Any:
            message = f"told to call {function} at {when}"
            raise AssertionError(message)

    class Shop(Orchestrator, clock=Idle):
        order: Order

        @on_enter("order.processing")
        def go_on(self) -> Any:
            return self.order.cancel()

    shop = Shop(engine.machine(Order)())
    engine.run(shop.order.process)
    assert repr(shop) == "Shop(order=cancelled)"
    assert made == [clock_of(shop)]


# What was broken, and must not be again -------------------------------------------------------


class Lamp(StateMachine):
    """A machine that is async by itself."""

    dark = State(initial=True)
    lit = State()
    switch = dark.to(lit) | lit.to(dark)

    async def on_switch(self) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["timeout", "delay"])
def test_a_timer_of_an_inner_orchestrator_awaits_what_is_async_around_it(way: str) -> None:
    """A sync inner orchestrator's timer reaches an async machine of its holder."""
    clock = VirtualClock()

    class Inner(Orchestrator):
        order: Order

        expire = timeout("order.pending", seconds=5).send("order.process")

    class Outer(Orchestrator, clock=lambda: clock, orchestrator_name="outer"):
        inner: Inner
        lamp: Lamp

        light = on_enter("inner.order.processing").send("lamp.switch")

    async def main() -> str:
        outer = Outer(Inner(Order()), Lamp())
        if way == "delay":
            outer.inner.post("order.process", delay=1)
        await clock.advance(10)
        return repr(outer)

    assert asyncio.run(main()) == "Outer(inner=Inner(order=processing), lamp=lit)"


def test_a_timer_awaits_what_is_async_where_else_its_machine_is_held() -> None:
    """A machine of two orchestrators: the timer of one awaits the reaction of the other."""
    clock = VirtualClock()
    log: list[str] = []

    class One(Orchestrator, clock=lambda: clock):
        order: Order

        expire = timeout("order.pending", seconds=5).send("order.process")

    class Two(Orchestrator, orchestrator_name="two"):
        order: Order

        @on("order.process")
        async def heard(self) -> None:
            await asyncio.sleep(0)
            log.append("heard")

    async def main() -> None:
        order = Order()
        one, two = One(order), Two(order)
        await clock.advance(10)
        assert (one.order, two.order) == (order, order)

    asyncio.run(main())
    assert log == ["heard"]


def test_a_constructor_that_raises_ends_its_timers(engine: Engine) -> None:
    """Whoever holds the exception holds no timer: timeouts and delays end at once."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        limit: int = 0

        @timeout("order.pending", seconds=5, repeat=True)
        def expire(self) -> None:
            raise AssertionError

        def __attrs_post_init__(self) -> None:
            self.post("order.cancel", delay=3)
            if not self.limit:
                raise ValueError

    order = begun(engine, Order)
    with pytest.raises(ValueError) as kept:  # noqa: PT011 - it says nothing
        Shop(order)
    assert clock.next_due is None
    shop = Shop(order, 1)
    sent(engine, shop.order, "process")
    advance(engine, clock, 10)
    assert shop.order.current_state_value == "cancelled"
    assert kept.value is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system forks no processes")
def test_a_forked_process_has_timers_of_its_own() -> None:
    """After a fork what was pending comes due in the parent, and what begins anew in the child."""
    done = threading.Event()

    class Shop(Orchestrator):
        order: Order

        @timeout("order.pending", seconds=0.05)
        def late(self) -> None:
            done.set()

    kept = Shop(Order())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: there are several threads
        child = os.fork()
    if not child:  # pragma: no cover - in another process
        in_time = not done.wait(0.2)
        kept.order.cancel()
        again = Shop(Order())
        os._exit(0 if in_time and done.wait(10) and again else 1)
    _pid, status = os.waitpid(child, 0)
    assert status == 0
    assert done.wait(10)
    assert kept.order.current_state_value == "pending"


def test_any_transition_wakes_what_waits() -> None:
    """A plain call of a sync machine that nobody timed is a call, too."""
    clock = SystemClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order

        @timeout("order.pending", seconds=0.01)
        async def late(self) -> None:
            log.append("late")

    shop = Shop(Order(), Order())

    async def main() -> None:
        shop.other.touch()
        await until(lambda: log)

    asyncio.run(main())
    assert log == ["late"]


def test_a_member_put_in_wakes_what_waits() -> None:
    """Putting a member in, in a loop, lets the others that wait have it, too."""
    clock = SystemClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

        @timeout("orders.pending", seconds=0.01)
        async def late(self, key: str) -> None:
            log.append(key)

    shop = Shop()
    shop.orders["a"] = Order()

    async def main() -> None:
        shop.orders["b"] = Order()
        await until(lambda: len(log) == 2)

    asyncio.run(main())
    assert log == ["a", "b"]


def test_timers_on_several_loops_of_which_one_is_closed() -> None:
    """Each loop is remembered: what was on the closed one comes due on the other."""
    clock = SystemClock()

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        other: Order

        @timeout("other.processing", seconds=50)
        def late(self) -> None: ...

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def build() -> Shop:
        shop = Shop(Order(), Order())
        shop.post("order.process", delay=0.02)
        return shop

    shop = first.run_until_complete(build())

    async def move() -> None:
        shop.other.process()

    async def wait() -> None:
        shop.other.touch()
        await until(lambda: shop.order.current_state_value == "processing")

    second.run_until_complete(move())
    first.close()
    second.run_until_complete(wait())
    second.close()


def test_a_time_that_cannot_begin_is_a_failure_of_the_move(engine: Engine) -> None:
    """A member whose time cannot begin is in; the others' times begin, joins are told."""
    clock = VirtualClock()
    log: list[Any] = []

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])
        one: Optional[Order] = None  # noqa: UP045
        spans: Any = attrs.field(factory=lambda: iter([5, "soon", 5, "soon"]))

        @timeout("orders.pending", "one.pending", seconds="span")
        def late(self, record: Elapsed) -> None:
            log.append(record.path)

        def span(self) -> Any:
            return next(self.spans)

        @when(orders=every("pending"))
        def all_pending(self) -> None:
            log.append("joined")

    shop = Shop()
    failed = listen(shop, "failed:*")
    with pytest.raises(ReactionErrors) as caught:
        shop.orders.update({key: begun(engine, Order) for key in "abc"})
    assert told_by(caught.value) == [("late", "DurationError")]
    with pytest.raises(ReactionErrors):
        shop.one = begun(engine, Order)
    assert [record.name for _topic, record in failed] == ["late", "late"]
    advance(engine, clock, 10)
    assert log == ["joined", ("orders", "a"), ("orders", "c")]
    assert (len(shop.orders), shop.one is None) == (3, False)


def test_an_advance_that_was_never_awaited_is_made_up_for() -> None:
    """A cancelled `advance` that had not begun loses nothing: the next one goes on."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        lamp: Lamp

        @timeout("lamp.dark", seconds=1)
        async def first(self) -> None:
            log.append("first")

        @timeout("lamp.dark", seconds=2)
        async def second(self) -> None:
            log.append("second")

    async def main() -> None:
        shop = Shop(Lamp())
        task = asyncio.ensure_future(clock.advance(5))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == []
        await clock.advance(0.5)
        assert (log, clock.now()) == (["first"], 1.5)
        await clock.advance(1)
        one = asyncio.ensure_future(slow(clock))
        await asyncio.sleep(0)
        with pytest.raises(ClockIsAdvancingError):
            await clock.advance(1)
        await one
        assert shop.lamp is not None

    async def slow(clock: VirtualClock) -> None:
        clock.call_at(clock.now(), lambda: asyncio.sleep(0.01))
        await clock.advance(1)

    asyncio.run(main())
    assert log == ["first", "second"]


def test_a_copy_of_an_orchestrator_with_a_handle_and_a_clock() -> None:
    """A handle is copied as one that is over, a clock as one of the same time without calls."""
    shop = Kept(Order())
    shop.log = [shop.post("order.cancel", delay=5), use_clock(shop, VirtualClock())]
    shop.log[1].advance(3)
    for copied in (copy.deepcopy(shop), pickled(shop)):
        handle, clock = copied.log
        assert (handle.due, handle.is_over) == (shop.log[0].due, True)
        handle.cancel()
        assert (clock.now(), clock.next_due) == (3.0, None)
    assert not shop.log[0].is_over
    assert isinstance(copy.deepcopy(SystemClock()), SystemClock)
    shop.log[0].cancel()


class Broken(VirtualClock):
    """A clock that raises, from some call on."""

    def __init__(self, calls: int = 0) -> None:
        super().__init__()
        self.calls = calls

    def call_at(self, when: float, function: Callable[[], Any], /) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise OSError
        return super().call_at(when, function)


class Pair(Orchestrator):
    """Two timeouts."""

    one: Order
    two: Order
    log: list[Any] = attrs.field(factory=list)

    @timeout("one.pending", "two.pending", seconds=5)
    def late(self, record: Elapsed) -> None:
        self.log.append(record.path)


def test_a_clock_that_raises_is_not_used(engine: Engine) -> None:
    """If the new clock raises, nothing is changed: the timers are on the old one, as they were."""
    pair = Pair(begun(engine, Order), begun(engine, Order))
    clock = use_clock(pair, VirtualClock())
    advance(engine, clock, 1)
    broken = Broken(1)
    with pytest.raises(OSError):  # noqa: PT011 - it says nothing
        use_clock(pair, broken)
    assert clock_of(pair) is clock
    assert broken.next_due is None
    advance(engine, clock, 4)
    assert pair.log == [("one",), ("two",)]


def test_a_delay_that_raised_is_not_sent(engine: Engine) -> None:
    """A post that the clock refused is forgotten; a time that it refused is not begun."""

    class Shop(Orchestrator, clock=Broken):
        order: Order

        @timeout("order.processing", seconds=5)
        def late(self) -> None:
            raise AssertionError

    shop = Shop(begun(engine, Order))
    with pytest.raises(OSError):  # noqa: PT011 - it says nothing
        shop.post("order.cancel", delay=5)
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [("late", "OSError")]
    clock = use_clock(shop, VirtualClock())
    advance(engine, clock, 10)
    assert repr(shop) == "Shop(order=processing)"


def test_a_clock_that_refuses_the_next_time_is_a_failure(engine: Engine) -> None:
    """The reaction that is due runs; that it will not be repeated is a failure beside it."""
    clock = Broken(1)
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=5, repeat=True)
        def late(self) -> None:
            log.append("late")

    shop = Shop(begun(engine, Order))
    heard = listen(shop, "failed:late")
    with pytest.raises(ReactionErrors) as caught:
        advance(engine, clock, 20)
    assert told_by(caught.value) == [("late", "OSError")]
    assert log == ["late"]
    assert len(heard) == 1


def test_the_first_delays_of_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that post for later at once, for the first time, lose no post."""
    made = Timers.__init__
    barrier = threading.Barrier(2)

    def slow(self: Any, *args: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.2)
        made(self, *args)

    monkeypatch.setattr(Timers, "__init__", slow)

    class Shop(Orchestrator, clock=VirtualClock):
        order: Order

    shop = Shop(Order())
    handles: list[Any] = []
    threads = [
        threading.Thread(target=lambda: handles.append(shop.post("order.touch", delay=500)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [handle.is_over for handle in handles] == [False, False]


def test_a_delayed_bound_event_of_a_machine_that_went_elsewhere(engine: Engine) -> None:
    """It is not sent to a machine that is another orchestrator's by now."""
    clock = VirtualClock()

    class Shop(Orchestrator, clock=lambda: clock):
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

    one, two = Shop(), Shop()
    order = one.orders["a"] = begun(engine, Order)
    one.post(order.process, delay=5)
    one.post(order.touch, delay=6)
    del one.orders["a"]
    two.orders["b"] = order
    advance(engine, clock, 5)
    assert repr(two) == "Shop(orders=Fleet({'b': pending}))"
    del two.orders["b"]
    one.orders["c"] = order
    heard = listen(one, "elapsed:*")
    advance(engine, clock, 5)
    assert [record.name for _topic, record in heard] == ["orders.touch"]


def test_a_timer_that_began_while_all_was_sync_waits_for_the_loop_as_well() -> None:
    """An async machine that comes later is not run in the clock's thread."""
    clock = SystemClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order
        lamp: Optional[Lamp] = None  # noqa: UP045

        @timeout("order.pending", seconds=0.02)
        def late(self) -> Any:
            log.append(threading.current_thread().name)
            return self.lamp and self.lamp.switch()

    shop = Shop(Order())
    waiting = timers_of(place_of(shop)).waiting

    async def main() -> None:
        shop.lamp = Lamp()
        await until(lambda: waiting)
        assert log == []
        await shop.lamp.switch()
        await until(lambda: log)

    asyncio.run(main())
    assert log == [threading.current_thread().name]


def test_a_state_that_was_left_unheard_is_over(engine: Engine) -> None:
    """A state written from outside, or left while its topic is muted, runs no timeout."""
    clock = VirtualClock()
    log: list[str] = []

    class Shop(Orchestrator, clock=lambda: clock):
        order: Order

        @timeout("order.pending", seconds=5, repeat=True)
        def late(self) -> None:
            log.append("late")

    shop = Shop(begun(engine, Order))
    with shop.bus.signal("exit:order.pending").muted():
        sent(engine, shop.order, "process")
    advance(engine, clock, 11)
    assert (log, clock.next_due) == ([], None)

    other = Shop(begun(engine, Order))
    other.order.model.state = "processing"
    advance(engine, clock, 11)
    assert (log, clock.next_due) == ([], None)
