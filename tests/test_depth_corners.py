"""Corners of joins, fleets, nesting and topics that few programs come to."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import pytest
import statemachine
from conftest import SlowRow, needs_3
from statemachine import Event, State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    MachineIsBusyError,
    MachineIsTakenError,
    NotAReactionError,
    Orchestrator,
    WrongMachineError,
    at_least,
    every,
    on,
    when,
    wiring,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._places import place_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from conftest import Engine

    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)


class Order(StateMachine):
    """An order, the subject of most tests."""

    pending = State(initial=True)
    shipped = State()
    ship = pending.to(shipped)
    restore = shipped.to(pending)
    touch = pending.to.itself() | shipped.to.itself()


class Payment(StateMachine):
    """A payment."""

    unpaid = State(initial=True)
    captured = State()
    capture = unpaid.to(captured)
    reset = captured.to(unpaid)


class Item(StateMachine):
    """A member of fleets."""

    waiting = State(initial=True)
    packed = State()
    pack = waiting.to(packed)
    unpack = packed.to(waiting)


class Store(Orchestrator):
    """A fleet, and what it heard."""

    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    log: list[str] = attrs.field(factory=list[str])

    @on("items.*")
    def heard(self, event: str, key: str) -> None:
        self.log.append(f"{event} {key}")


# Fleets ---------------------------------------------------------------------------------------

Extra = TypeVar("Extra")


class Tagged(Generic[Extra]):
    """Something generic that is no fleet."""


class Items(Tagged[int], Fleet[str, Item]):
    """A kind of fleet, with a method of its own."""

    def packed(self) -> list[str]:
        return [key for key, item in self.items() if item.current_state_value == "packed"]


def test_a_class_of_fleets_says_in_its_bases_what_its_members_are(engine: Engine) -> None:
    """A field may be annotated with a subclass of `Fleet[str, Item]`: it holds items."""

    class Special(Orchestrator):
        items: Items = attrs.field(factory=Items)
        log: list[str] = attrs.field(factory=list[str])

        @on(items=Item.pack)
        def heard(self, key: str) -> None:
            self.log.append(key)

    shelf = Special()
    shelf.items["a"] = engine.machine(Item)()
    engine.run(lambda: shelf.items["a"].pack())
    assert shelf.items.packed() == ["a"]
    assert shelf.log == ["a"]
    assert shelf.machine_classes["items"] is Item
    items: Any = shelf.items
    with pytest.raises(WrongMachineError):
        items["b"] = engine.machine(Order)()
    assert list(shelf.items) == ["a"]


def test_a_fleet_is_reversed_as_a_dict_is() -> None:
    """`reversed` yields the keys, the one that was put in last first."""
    assert list(reversed(Fleet({"a": Item(), "b": Item(), "c": Item()}))) == ["c", "b", "a"]


def test_a_fleet_takes_several_members_by_an_augmented_assignment(engine: Engine) -> None:
    """`fleet |= members` is one move: members are attached, replaced ones stand alone."""
    store, old = Store(), engine.machine(Item)()
    store.items["a"] = old
    items = store.items
    items |= {"a": engine.machine(Item)(), "b": engine.machine(Item)()}
    items |= [("c", engine.machine(Item)())]
    assert items is store.items
    assert list(items) == ["a", "b", "c"]
    for machine in (old, *items.values()):
        engine.run(lambda machine=machine: machine.pack())  # type: ignore[misc]
    assert store.log == ["pack a", "pack b", "pack c"]


class Key:
    """A key that runs something once, when it is looked up at a certain moment."""

    interrupt: Callable[[], Any] | None = None
    moment: Callable[[], bool]

    def __hash__(self) -> int:
        if self.interrupt is not None and self.moment():
            interrupt, self.interrupt = self.interrupt, None
            interrupt()
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


class Desk(Orchestrator, orchestrator_name="desk"):
    """An orchestrator that others hold."""

    order: Order


class Shelf(Orchestrator, orchestrator_name="shelf"):
    """A fleet of machines under any keys."""

    items: Fleet[Any, Item] = attrs.field(factory=Fleet[Any, Item])
    log: list[str] = attrs.field(factory=list[str])

    @on("items.*")
    def heard(self, event: str) -> None:
        self.log.append(event)


class Row(Orchestrator, orchestrator_name="row"):
    """An orchestrator that holds the shelf."""

    shelf: Shelf


class Hall(Orchestrator):
    """A fleet of orchestrators."""

    desks: Fleet[Any, Desk] = attrs.field(factory=Fleet[Any, Desk])
    log: list[str] = attrs.field(factory=list[str])

    @on("desks.order.*")
    def heard(self, event: str) -> None:
        self.log.append(event)


@pytest.mark.usefixtures("restless")
def test_threads_that_put_under_one_key_leave_one_member_attached(engine: Engine) -> None:
    """Of machines that threads put in under one key, the one in the fleet is attached, no other."""
    shelf: Any = Shelf()
    machine_class = engine.machine(Item)
    given: list[Any] = []
    raised: list[Exception] = []

    def put() -> None:
        for _ in range(150):
            machine = machine_class()
            given.append(machine)
            try:
                shelf.items["k"] = machine
                if len(given) % 3 == 0:
                    shelf.items.pop("k", None)
            except Exception as error:  # noqa: BLE001 - asserted below
                raised.append(error)

    threads = [threading.Thread(target=put, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert raised == []
    attached = [machine for machine in given if seam_of(machine) is not None]
    assert attached == list(shelf.items.values())
    place = place_of(shelf)
    assert len(place.stores) == len(attached)
    assert place.leaving == {}


@pytest.mark.usefixtures("restless")
def test_a_machine_moves_while_another_thread_sends_to_it() -> None:
    """Putting in and taking out disturbs no call of another thread: it does what it does alone."""

    class Blinker(StateMachine):
        lit = State(initial=True)
        blink = lit.to.itself()

    class Lamps(Orchestrator):
        items: Fleet[str, Blinker] = attrs.field(factory=Fleet[str, Blinker])

    shelf, machine = Lamps(), Blinker()
    stop: list[bool] = []
    raised: list[Exception] = []

    def send() -> None:
        while not stop:
            try:
                machine.send("blink")
            except Exception as error:  # noqa: BLE001 - asserted below
                raised.append(error)

    try:
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        for _ in range(300):
            with suppress(MachineIsBusyError, MachineIsTakenError):
                shelf.items["k"] = machine
                del shelf.items["k"]
    finally:
        stop.append(True)
    thread.join(60)
    assert not thread.is_alive()
    assert raised == []


# Attached and detached ------------------------------------------------------------------------


class Watcher(Orchestrator, orchestrator_name="watcher"):
    """An orchestrator of another name that holds the same machine."""

    order: Order
    log: list[str] = attrs.field(factory=list[str])

    @on("order.*")
    def heard(self, event: str) -> None:
        self.log.append(event)


class Asking(Order):
    """A machine that asks for three orchestrators."""

    def on_ship(self, desk: Any, watcher: Any, orc: Any) -> Any:
        return desk, watcher, orc


def test_an_orchestrator_whose_machine_another_one_watches_may_be_held(engine: Engine) -> None:
    """A machine may stand in orchestrators of several names, also when one of them is held."""
    order = engine.machine(Asking)()
    desk, watcher, hall = Desk(order), Watcher(order), Hall()
    hall.desks["a"] = desk
    assert engine.run(lambda: order.ship()) == (desk, watcher, hall)
    assert watcher.log == hall.log == ["ship"]


def test_a_machine_that_leaves_one_orchestrator_stays_in_another(engine: Engine) -> None:
    """What is taken out of a fleet is still a machine of an orchestrator of another name."""

    class Other(Orchestrator, orchestrator_name="shelf"):
        other: Item
        log: list[str] = attrs.field(factory=list[str])

        @on("other.*")
        def heard(self, event: str) -> None:
            self.log.append(event)

    given: list[Any] = []

    class Telling(Item):
        def after_pack(self, shelf: Any = None, orc: Any = None) -> None:
            given.append((shelf, orc))

        def after_unpack(self, shelf: Any = None, orc: Any = None) -> None:
            given.append((shelf, orc))

    item = engine.machine(Telling)()
    store, shelf = Store(Fleet({"a": item})), Other(item)
    engine.run(lambda: item.pack())
    assert store.items.pop("a") is item
    engine.run(lambda: item.unpack())
    assert given == [(shelf, store), (shelf, None)]
    assert store.log == ["pack a"]
    assert shelf.log == ["pack", "unpack"]


def watched(machine: Any, calls: list[str]) -> Any:
    """Wrap a machine's loop, as a profiler does, and return the wrapper."""
    loop = machine._engine.processing_loop
    is_async = asyncio.iscoroutinefunction(loop)

    def wrapper(*args: Any) -> Any:
        calls.append("called")
        return loop(*args)

    async def wrapper_async(*args: Any) -> Any:
        calls.append("called")
        return await loop(*args)

    machine._engine.processing_loop = wrapper_async if is_async else wrapper
    return machine._engine.processing_loop


def test_a_machine_that_was_wrapped_before_it_was_attached_leaves_wrapped(engine: Engine) -> None:
    """What stood in the engine of a machine when it was put in stands there when it has left."""
    item, calls = engine.machine(Item)(), list[str]()
    wrapper = watched(item, calls)
    store = Store(Fleet({"a": item}))
    engine.run(lambda: item.pack())
    assert store.log == ["pack a"]
    del store.items["a"]
    assert item._engine.processing_loop is wrapper
    before = len(calls)
    engine.run(lambda: item.unpack())
    assert store.log == ["pack a"]
    assert len(calls) == before + 1


def test_a_machine_that_was_wrapped_after_it_was_attached_works_on_alone(engine: Engine) -> None:
    """It leaves with the wrapper in place, is no member any more, and may be put in again."""
    item, calls = engine.machine(Item)(), list[str]()
    store = Store(Fleet({"a": item}))
    wrapper = watched(item, calls)
    del store.items["a"]
    assert item._engine.processing_loop is wrapper
    engine.run(lambda: item.pack())
    assert item.current_state_value == "packed"
    assert calls == ["called"]
    assert store.log == []
    store.items["b"] = item
    engine.run(lambda: item.unpack())
    assert store.log == ["unpack b"]


# Classes --------------------------------------------------------------------------------------


def test_a_slotted_class_may_hold_its_own_kind_beside_what_is_resolved_later(
    engine: Engine,
) -> None:
    """In the slotted copy the own kind is the copy, and the first instance settles the rest."""

    @attrs.define
    class Node(Orchestrator):
        order: Unknown  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable]
        below: Node | None = None
        log: list[str] = attrs.field(factory=list[str])

        @on("below.order.ship")
        def heard(self) -> None:
            self.log.append("below")

    order = engine.machine(Order)
    inner = Node(order())
    outer = Node(order(), inner)
    engine.run(lambda: inner.order.ship())
    assert (outer.log, inner.log) == (["below"], [])
    with pytest.raises(WrongMachineError):
        Node(Payment())


def test_a_decorator_that_decorates_nothing_is_refused() -> None:
    """`name = on(...)` is neither a method nor a route: the error tells how to make it one."""
    with pytest.raises(NotAReactionError) as caught:

        class Shop(Orchestrator):
            order: Order
            payment: Payment

            authorize = on("order.ship")

    assert "Shop.authorize" in str(caught.value)
    assert "a decorator that decorates nothing" in str(caught.value)
    assert '.send("machine.event")' in str(caught.value)


def test_a_join_that_is_stacked_twice_counts_once(engine: Engine) -> None:
    """Two equal joins on one method are one, with another condition they are two."""

    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list[str])
        is_open: bool = True

        @when("order.shipped")
        @when(order=Order.shipped)
        def once(self) -> None:
            self.log.append("once")

        @when("order.shipped")
        @when("order.shipped", cond="is_open")
        def twice(self) -> None:
            self.log.append("twice")

    shop = Shop(engine.machine(Order)())
    engine.run(lambda: shop.order.ship())
    assert shop.log == ["once", "twice", "twice"]
    assert [wire.reaction for wire in wiring(Shop)] == ["once", "twice", "twice"]


# Events ---------------------------------------------------------------------------------------


@needs_3
def test_events_of_the_host_and_patterns_are_not_told_as_enabled(engine: Engine) -> None:
    """`enabled_events` names what a user may send: no done or error event, and no pattern."""

    class Work(StateChart):
        class busy(State.Compound):  # noqa: N801 - a state
            begun = State(initial=True)
            over = State(final=True)
            end = begun.to(over)

        idle = State(initial=True)
        left = State()
        start = idle.to(busy) | left.to(busy)
        stop = busy.to(left)
        pay = Event(idle.to(left), id="pay.*")
        done_state_busy = busy.to(left)
        error_execution = busy.to(left)

    class Shop(Orchestrator):
        work: Work

    shop = Shop(engine.machine(Work)())
    assert engine.run(lambda: shop.enabled_events()) == {"work": ("start",)}
    engine.run(lambda: shop.work.start())
    enabled = engine.run(lambda: shop.enabled_events())
    assert {name: sorted(events) for name, events in enabled.items()} == {"work": ["end", "stop"]}


@needs_3
def test_an_event_that_only_a_pattern_takes_is_sent_as_the_host_sends_it(engine: Engine) -> None:
    """It has no attribute, so `delay` delays it; a declared event gets `delay` as an argument."""
    given: list[Any] = []

    class Till(StateChart):
        unpaid = State(initial=True)
        paid = State()
        pay = Event(unpaid.to(paid, after="note"), id="pay.*")
        refund = paid.to(unpaid, after="note")

        def note(self, event: Any, **kwargs: Any) -> None:
            given.append((str(event), kwargs.get("delay")))

    class Shop(Orchestrator):
        till: Till

    shop = Shop(engine.machine(Till)())
    for topic in ("till.pay.now", "till.refund"):
        asyncio.run(shop.asend(topic, delay=1))
    assert given == [("pay.now", None), ("refund", 1)]


# Joins ----------------------------------------------------------------------------------------


class Shop(Orchestrator):
    """A join of two machines, of which one may come later."""

    order: Order
    payment: Payment | None = None
    log: list[str] = attrs.field(factory=list[str])

    @when("order.shipped", "payment.captured")
    def both(self) -> None:
        self.log.append("both")

    @when(("order.shipped", "payment.captured"))
    def either(self) -> None:
        self.log.append("either")


def test_a_machine_that_is_not_there_yet_is_in_no_state(engine: Engine) -> None:
    """A join that asks for it does not hold, unless another alternative does."""
    shop = Shop(engine.machine(Order)())
    engine.run(lambda: shop.order.ship())
    assert shop.log == ["either"]
    shop.payment = engine.machine(Payment)()
    engine.run(lambda: shop.payment.capture())  # type: ignore[union-attr]
    assert shop.log == ["either", "both"]


def test_a_signal_that_is_sent_by_hand_lets_the_joins_look(engine: Engine) -> None:
    """Outside of a cascade it opens one, at whose rest the joins are judged."""

    class Kept:
        state: Any = None

    records: list[Any] = []
    row = Kept()
    shop = Shop(engine.machine(Order)(row), engine.machine(Payment)())
    shop.bus.signal("order.touch").connect(lambda _machine, *, record: records.append(record))
    engine.run(lambda: shop.order.touch())
    row.state = "shipped"  # written from outside: adopted, and not announced
    assert shop.log == []
    shop.bus.signal("order.*").send(shop.order, record=records[0])
    assert shop.log == ["either"]
    shop.bus.signal("order.*").send(shop.order, record=records[0])
    assert shop.log == ["either"]


def test_a_bit_that_fell_and_rose_in_another_thread_is_not_cleared() -> None:
    """A thread that saw the join false, and was overtaken, looks again and lets the bit stand."""
    row, log = SlowRow(), list[str]()

    class One(Orchestrator):
        order: Order

        @on("order.restore")
        def next_look_waits(self) -> None:
            if not row.inside.is_set():
                row.waits_for = threading.get_ident()

        @when("order.shipped")
        def shipped(self) -> None:
            log.append("shipped")

    one = One(Order(row))
    one.order.ship()
    assert log == ["shipped"]
    thread = threading.Thread(target=one.order.restore)
    thread.start()
    assert row.inside.wait(10)  # the thread has seen that the order is pending
    one.order.touch()  # here the bit falls
    one.order.ship()  # and rises
    assert log == ["shipped", "shipped"]
    row.leave.set()
    thread.join(10)
    one.order.touch()  # true all the time
    assert log == ["shipped", "shipped"]
    one.order.restore()
    one.order.ship()
    assert log == ["shipped", "shipped", "shipped"]


class Held(StateMachine):
    """A machine with an event that may take long, and is refused then."""

    pending = State(initial=True)
    shipped = State()
    ship = pending.to(shipped)
    restore = shipped.to(pending)
    hold = shipped.to(pending, cond="says_yes")
    gate: Any = None

    def says_yes(self) -> bool:
        if self.gate is not None:
            self.gate()
        return False


class HeldAsync(Held):
    """The same for tasks."""

    async def says_yes(self) -> bool:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        if self.gate is not None:
            await self.gate()
        return False


class Yard(Orchestrator):
    """Joins of a machine and of a fleet, and a hook that runs when one of them is shipped."""

    order: Held
    crates: Fleet[str, Held] = attrs.field(factory=Fleet[str, Held])
    hook: Any = None
    log: list[str] = attrs.field(factory=list[str])

    @on("order.ship", "crates.ship")
    def shipping(self) -> Any:
        return None if self.hook is None else self.hook()

    @when("order.shipped")
    def shipped(self) -> None:
        self.log.append("order")

    @when(crates=every("shipped"))
    def all_shipped(self) -> None:
        self.log.append("every")

    @when(crates=at_least(2, "shipped"))
    def two_shipped(self) -> None:
        self.log.append("two")


@pytest.mark.parametrize(("of_fleet", "heard"), [(False, ["order"]), (True, ["every", "two"])])
def test_a_moved_machine_that_another_thread_holds_at_rest_is_looked_at_later(
    of_fleet: bool,  # noqa: FBT001 - a parameter
    heard: list[str],
) -> None:
    """The call that brings it to rest judges the joins, also if its own event was refused."""
    yard = Yard(Held(), Fleet({"a": Held(), "b": Held()}))
    yard.crates["a"].ship()
    inside, leave = threading.Event(), threading.Event()
    moved: Any = yard.crates["b"] if of_fleet else yard.order

    def gate() -> None:
        inside.set()
        assert leave.wait(10)

    def refused() -> None:
        with suppress(Exception):
            moved.hold()

    thread = threading.Thread(target=refused)

    def hook() -> None:
        moved.gate = gate
        thread.start()
        assert inside.wait(10)

    yard.hook = hook
    moved.ship()
    assert moved.current_state_value == "shipped"
    assert yard.log == []
    leave.set()
    thread.join(10)
    assert yard.log == heard


@pytest.mark.parametrize(("of_fleet", "heard"), [(False, ["order"]), (True, ["every", "two"])])
def test_a_moved_machine_that_another_task_holds_at_rest_is_looked_at_later(
    of_fleet: bool,  # noqa: FBT001 - a parameter
    heard: list[str],
) -> None:
    """The call that brings it to rest judges the joins, also if its own event was refused."""
    yard: Any = Yard(HeldAsync(), Fleet({"a": HeldAsync(), "b": HeldAsync()}))
    moved = yard.crates["b"] if of_fleet else yard.order

    async def main() -> None:
        await yard.crates["a"].ship()
        go, inside, leave = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def gate() -> None:
            inside.set()
            await leave.wait()

        async def refused() -> None:
            await go.wait()
            with suppress(Exception):
                await moved.hold()

        async def hook() -> None:
            moved.gate = gate
            go.set()
            await inside.wait()

        yard.hook = hook
        task = asyncio.create_task(refused())
        await moved.ship()
        assert moved.current_state_value == "shipped"
        assert yard.log == []
        leave.set()
        await task

    asyncio.run(main())
    assert yard.log == heard


def test_what_a_dropped_call_moved_is_judged_by_the_call_that_runs_it() -> None:
    """Also where the running call itself has moved none of the join's machines."""
    log: list[str] = []
    lost: list[Any] = []

    class Paying(Order):
        async def after_ship(self, orc: Any) -> None:
            await orc.payment.capture()

    class Dropping(Orchestrator):
        order: Paying
        payment: Payment

        @on("settled")
        def drop(self) -> None:
            while lost:
                lost.pop().close()

        @when("payment.captured")
        def captured(self) -> None:
            log.append("captured")

    from conftest import Engine  # noqa: PLC0415 - elsewhere it is an annotation

    both = Engine("async")
    held: Any = Dropping(Paying(), both.machine(Payment)())

    async def main() -> None:
        await held.order.touch()
        lost.append(held.order.ship())  # put on the machine, and not awaited
        await held.order.touch()  # takes both events
        assert lost == []

    asyncio.run(main())
    assert repr(held) == "Dropping(order=shipped, payment=captured)"
    assert log == ["captured"]
