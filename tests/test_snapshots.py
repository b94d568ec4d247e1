"""Snapshots: the state of the whole as a value, taken and restored without running anything."""
# What hooks take and give is any data:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import enum
import gc
import json
import threading
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import attrs
import pytest
import statemachine
from conftest import Engine, needs_3
from hypothesis import given, settings
from hypothesis import strategies as st
from statemachine import State, StateMachine
from statemachine.exceptions import InvalidStateValue, TransitionNotAllowed

from statemachines_orchestrator import (
    DeclarationError,
    Elapsed,
    Fleet,
    NotAtRestError,
    Orchestrator,
    SnapshotDoesNotFitError,
    SystemClock,
    UnreadableSnapshotError,
    VirtualClock,
    clock_of,
    every,
    on,
    on_enter,
    timeout,
    use_clock,
    when,
)
from statemachines_orchestrator.snapshots import Snapshot
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from statemachines_orchestrator._due import Timer

if TYPE_CHECKING:
    StateChart: TypeAlias = statemachine.StateChart[Any]
else:
    StateChart = getattr(statemachine, "StateChart", StateMachine)

ran: list[str] = []
"""What callbacks ran: nothing may be added while a snapshot is taken or restored."""


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


class Order(StateMachine):
    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    hold = processing.to(pending)
    ship = processing.to(shipped)

    def on_enter_state(self, state: Any) -> None:
        ran.append(state.id)


class Item(StateMachine):
    ordered = State(initial=True)
    packed = State()
    pack = ordered.to(packed)
    unpack = packed.to(ordered)


@attrs.define
class Row:
    """A model."""

    total: int = 0
    state: Any = None


class Plain:
    """A model that is no attrs class."""

    def __init__(self) -> None:
        self.state: Any = None
        self.tags: list[str] = []


class Slots:
    """A model that does not tell its attributes."""

    __slots__ = ("state",)


class Desk(Orchestrator):
    order: Order = attrs.field(factory=Order)
    label: str = "desk"

    @timeout("order.processing", seconds=10)
    def remind(self) -> None:
        ran.append("remind")


class Shop(Orchestrator, clock=VirtualClock):
    order: Order
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    desks: Fleet[int, Desk] = attrs.field(factory=Fleet[int, Desk])
    gift: Item | None = None
    log: list[str] = attrs.field(factory=list[str])

    @timeout("order.processing", seconds=5)
    def expire(self) -> None:
        self.order.hold()

    @when("order.processing", items=every("packed"))
    def ready(self) -> None:
        self.log.append("ready")

    @on_enter("order.shipped")
    def cheer(self) -> None:
        self.log.append("shipped")


def busy_shop() -> Shop:
    """Return a shop in which something has happened in every field."""
    shop = Shop(Order(Row(total=3)), gift=Item())
    shop.items.update(a=Item(), b=Item())
    shop.desks[1] = Desk(label="front")
    shop.order.process()
    shop.items["a"].pack()
    shop.items["b"].pack()
    clock_of(shop).advance(2)  # type: ignore[attr-defined]
    shop.desks[1].order.process()
    ran.clear()
    return shop


def due(orchestrator: Any) -> list[float]:
    """Return when what is pending comes due."""
    return [kept.due for _path, kept in Snapshot.take(orchestrator).timers]


# What it has ------------------------------------------------------------------------------------


def test_a_snapshot_restores_the_whole() -> None:
    """Machines, fleets, inner orchestrators, data, models and timers stand as they stood."""
    shop = busy_shop()
    snapshot = Snapshot.take(shop)
    again = snapshot.restore(Shop)
    assert repr(again) == repr(shop)
    assert again.order.model == Row(total=3, state="processing")
    assert again.desks[1].label == "front"
    assert Snapshot.take(again) == snapshot
    assert due(again) == due(shop) == [5.0, 12.0]
    assert ran == []


def test_a_snapshot_is_a_value() -> None:
    """What happens later changes neither the snapshot nor what was restored from it before."""
    shop = busy_shop()
    snapshot, same = Snapshot.take(shop), Snapshot.take(shop)
    first = snapshot.restore(Shop)
    shop.log.append("later")
    first.log.append("elsewhere")
    first.order.model.total = 9
    assert snapshot == same
    assert snapshot.restore(Shop).log == ["ready"]
    assert snapshot.restore(Shop).order.model.total == 3
    assert Snapshot.take(shop) != snapshot
    with pytest.raises(TypeError, match="unhashable"):
        hash(snapshot)


def test_a_snapshot_prints_its_states() -> None:
    """Its repr and `states` name each machine as errors do."""
    snapshot = Snapshot.take(busy_shop())
    assert snapshot.states == {
        "order": ("processing",),
        "items['a']": ("packed",),
        "items['b']": ("packed",),
        "desks[1].order": ("processing",),
        "gift": ("ordered",),
    }
    assert repr(snapshot) == (
        "<Snapshot of Shop: order=processing, items['a']=packed, items['b']=packed, "
        "desks[1].order=processing, gift=ordered>"
    )


def test_json_gives_the_same_snapshot() -> None:
    """`from_json` reads what `to_json` has written, and it restores the same."""
    shop = busy_shop()
    snapshot = Snapshot.take(shop)
    read = Snapshot.from_json(snapshot.to_json())
    assert read == snapshot
    assert read.to_json() == snapshot.to_json()
    again = read.restore(Shop)
    assert repr(again) == repr(shop)
    assert again.order.model == Row(total=3, state="processing")
    assert Snapshot.take(again) == snapshot
    assert ran == []


def test_nothing_is_announced() -> None:
    """Restoring publishes no signal, neither of what changes nor of members that come and go."""
    shop = busy_shop()
    snapshot = Snapshot.take(shop)
    del shop.items["a"]
    shop.items["c"] = Item()
    shop.order.ship()
    ran.clear()
    with tracing(shop) as trace:
        snapshot.restore_into(shop)
    assert list(trace) == []
    assert ran == []
    assert Snapshot.take(shop) == snapshot
    assert shop.log == ["ready"]


def test_restoring_keeps_the_objects() -> None:
    """`restore_into` keeps machines, models, members and observers; only the lacking are built."""
    shop = busy_shop()
    heard: list[Any] = []
    shop.bus.signal("order.*").connect(lambda machine, record: heard.append(record.event))
    snapshot = Snapshot.take(shop)
    order, model, item, desk = shop.order, shop.order.model, shop.items["b"], shop.desks[1]
    shop.order.hold()
    del shop.items["a"]
    desk.order.ship()
    snapshot.restore_into(shop)
    assert (shop.order, shop.order.model, shop.items["b"], shop.desks[1]) == (
        order,
        model,
        item,
        desk,
    )
    assert list(shop.items) == ["a", "b"]
    shop.order.hold()
    shop.items["a"].unpack()
    assert heard == ["hold", "hold"]
    assert shop.items["b"].current_state_value == "packed"


def test_restoring_sets_and_clears_an_optional_field() -> None:
    """A field that was `None` is `None` again, one that had a machine has one again."""
    shop = Shop(Order())
    without = Snapshot.take(shop)
    shop.gift = Item()
    gift = shop.gift
    within = Snapshot.take(shop)
    without.restore_into(shop)
    assert shop.machines.keys() == {"order", "items", "desks"}
    gift.pack()  # a bare machine now
    within.restore_into(shop)
    assert shop.gift.current_state_value == "ordered"
    assert without.restore(Shop).gift is None


def test_a_machine_that_has_ended_has_ended_again() -> None:
    """An ended machine refuses events, or drops them, as it did before; a restored one goes on."""
    shop = Shop(Order())
    begun = Snapshot.take(shop)
    shop.order.process()
    shop.order.ship()
    ended = Snapshot.take(shop)
    refusal = refused(shop.order)
    again = Snapshot.from_json(ended.to_json()).restore(Shop)
    assert refused(again.order) == refusal
    assert getattr(again.order, "is_terminated", True)
    begun.restore_into(shop)
    shop.order.process()
    assert repr(shop.order.current_state_value) == "'processing'"
    assert not getattr(shop.order, "is_terminated", False)


def refused(machine: Any) -> str:
    """Return what a machine answers to an event that it does not take."""
    try:
        return repr(machine.send("process"))
    except TransitionNotAllowed as error:
        return str(error)


@needs_3
def test_history_is_restored() -> None:
    """A history state remembers after a restoration what it remembered before."""

    class Editor(StateChart):
        class editing(State.Compound):  # noqa: N801 - a state
            draft = State(initial=True)
            review = State()
            submit = draft.to(review)
            last = statemachine.HistoryState()

        paused = State()
        pause = editing.to(paused)
        resume = paused.to(editing.last)

    class Studio(Orchestrator):
        editor: Editor

    studio: Any = Studio(Editor())
    studio.editor.submit()
    studio.editor.pause()
    for snapshot in (
        Snapshot.take(studio),
        Snapshot.from_json(Snapshot.take(studio).to_json()),
    ):
        again: Any = snapshot.restore(Studio)
        again.editor.resume()
        assert Snapshot.take(again).states == {"editor": ("editing", "review")}
    snapshot = Snapshot.take(studio)
    studio.editor.resume()
    snapshot.restore_into(studio)
    assert Snapshot.take(studio) == snapshot


@needs_3
def test_parallel_regions_are_restored() -> None:
    """Every level of a configuration is restored, in its order."""

    class Device(StateChart):
        class on(State.Parallel):  # noqa: N801 - a state
            class left(State.Compound):  # noqa: N801
                dark = State(initial=True)
                lit = State()
                light = dark.to(lit)

            class right(State.Compound):  # noqa: N801
                quiet = State(initial=True)
                loud = State()
                ring = quiet.to(loud)

    class House(Orchestrator):
        device: Device

    house: Any = House(Device())
    house.device.light()
    snapshot = Snapshot.take(house)
    house.device.ring()
    again: Any = Snapshot.from_json(snapshot.to_json()).restore(House)
    assert list(again.device.configuration_values) == list(
        snapshot.restore(House).device.configuration_values
    )
    again.device.ring()
    assert repr(again) == repr(house)


def test_an_async_machine_that_has_not_begun_begins_later(engine: Engine) -> None:
    """A machine that has not entered its initial state yet enters it with its next event."""
    kind = engine.machine(Order)

    class Office(Orchestrator):
        order: kind  # type: ignore[valid-type]

    office: Any = Office(kind())
    new = Snapshot.take(office)
    assert new.states == {"order": () if engine.is_async else ("pending",)}
    engine.run(office.order.process)
    begun = Snapshot.take(office)
    for snapshot in (new, Snapshot.from_json(new.to_json())):
        again: Any = snapshot.restore(Office)
        assert Snapshot.take(again) == new
        engine.run(again.order.process)
        assert Snapshot.take(again) == begun
        snapshot.restore_into(again)
        engine.run(again.order.process)
        assert Snapshot.take(again) == begun
        snapshot.restore_into(again)
        begun.restore_into(again)
        engine.run(again.order.ship)
        assert again.order.current_state_value == "shipped"


# Data -------------------------------------------------------------------------------------------


def test_what_is_set_on_a_machine_is_restored() -> None:
    """Attributes that callbacks and users set on a machine are part of its state."""
    shop: Any = Shop(Order())
    shop.order.tries = {"a": [1]}
    snapshot = Snapshot.take(shop)
    shop.order.tries["a"].append(2)
    shop.order.other = True
    again: Any = snapshot.restore(Shop)
    assert again.order.tries == {"a": [1]}
    snapshot.restore_into(shop)
    assert shop.order.tries == {"a": [1]}
    assert not hasattr(shop.order, "other")


def test_models_are_copied_by_their_attributes() -> None:
    """A model that tells its attributes needs no hook, and one of two machines stays one."""

    class Pair(Orchestrator):
        one: Order
        two: Item

    model = Plain()
    pair = Pair(Order(model), Item(model, state_field="two_state"))
    model.tags.append("x")
    snapshot = Snapshot.take(pair)
    model.tags.append("y")
    again: Any = Snapshot.from_json(snapshot.to_json()).restore(Pair)
    assert again.one.model is again.two.model
    assert vars(again.one.model) == {"state": "pending", "two_state": "ordered", "tags": ["x"]}
    snapshot.restore_into(pair)
    assert model.tags == ["x"]


def test_hooks_tell_of_models() -> None:
    """`dump` gives what is kept of a model, `load` makes one of it, or brings one up to date."""
    rows = {7: Slots()}
    asked: list[Any] = []

    def dump(name: str, model: Any) -> Any:
        asked.append(name)
        return 7 if isinstance(model, Slots) else NotImplemented

    def load(name: str, data: Any, model: Any) -> Any:
        asked.append((name, data, model))
        return model or rows[data]

    class Hooked(Orchestrator, dump=dump, load=load):
        order: Order
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

    class Holder(Orchestrator):
        inner: Hooked

    model = Slots()
    holder = Holder(Hooked(Order(model)))
    holder.inner.items["a"] = Item()
    snapshot = Snapshot.take(holder)
    assert asked == ["inner.order", "inner.items"]
    again = Snapshot.from_json(snapshot.to_json()).restore(Holder)
    assert again.inner.order.model is rows[7]
    assert rows[7].state == "pending"
    snapshot.restore_into(holder)
    assert holder.inner.order.model is model
    assert asked[2:] == [("inner.order", 7, None), ("inner.order", 7, model)]
    called = Snapshot.take(holder, dump=lambda name, _model: name.upper())
    made = Slots()
    again = called.restore(Holder, load=lambda name, *_args: made if "order" in name else Plain())
    assert again.inner.order.model is made
    with pytest.raises(DeclarationError, match="Let it bring that up to date"):
        called.restore_into(holder, load=lambda *_args: made)
    assert Snapshot.take(holder) == snapshot


def test_the_hook_of_a_holder_serves_what_is_below() -> None:
    """An inner orchestrator without a hook has that of its holder."""

    class Holder(Orchestrator, dump=lambda name, _model: name, load=lambda *_args: Row()):
        desk: Desk

    holder = Holder(Desk())
    snapshot = Snapshot.take(holder)
    assert snapshot.models[0].data is not None
    assert snapshot.models[0].data.values == {"dumped": "desk.order"}
    assert isinstance(snapshot.restore(Holder).desk.order.model, Row)


def test_what_data_points_to_is_what_stands_there() -> None:
    """A machine, the orchestrator, a model or a pending post in the data is the restored one."""
    shop: Any = busy_shop()
    shop.me = shop
    shop.first = {"machine": shop.order, "model": shop.order.model, "desk": shop.desks[1]}
    shop.later = shop.post("order.hold", delay=1)
    shop.order.shop = shop
    snapshot = Snapshot.take(shop)
    again: Any
    for again in (
        snapshot.restore(Shop),
        Snapshot.from_json(snapshot.to_json()).restore(Shop),
    ):
        assert again.me is again.order.shop is again
        assert again.first == {
            "machine": again.order,
            "model": again.order.model,
            "desk": again.desks[1],
        }
        again.later.cancel()
        assert due(again) == [5.0, 12.0]


def test_a_fleet_in_the_data_is_that_of_the_field() -> None:
    """In attributes, models and posts, of fleets at any depth; one that was given, too."""
    shop: Any = busy_shop()
    shop.ways = {"items": shop.items, "desks": shop.desks, "look": shop.items.get}
    shop.order.model = model = Plain()
    model.state, model.tags = "processing", [shop.items]
    shop.desks[1].beside = shop.desks
    snapshot = Snapshot.take(shop)

    def is_right(shop: Any) -> bool:
        assert shop.ways["items"] is shop.order.model.tags[0] is shop.items
        assert shop.ways["desks"] is shop.desks[1].beside is shop.desks
        return shop.ways["look"]("a") is shop.items["a"] and shop.items.holder is shop

    assert is_right(snapshot.restore(Shop))
    items = Fleet({"a": Item(), "b": Item()})
    given = snapshot.restore(Shop, items=items)
    assert given.items is items
    assert is_right(given)
    known = shop.items, shop.desks
    del shop.ways, model.tags, shop.items["a"]
    snapshot.restore_into(shop)
    assert (shop.items, shop.desks) == known
    assert shop.items is known[0]
    assert is_right(shop)
    del shop.ways["look"]  # a bound method has no form in JSON
    read = Snapshot.from_json(Snapshot.take(shop).to_json())
    again: Any = read.restore(Shop)
    again.ways["look"] = again.ways["items"].get
    assert is_right(again)


def depot_class(*, has_more: bool) -> Any:
    """Return a class with an optional fleet, and maybe another fleet before it."""
    fleet: Any = Fleet[str, Item] | None
    names = ["more", "items"] if has_more else ["items"]
    annotations = {**dict.fromkeys(names, fleet), "way": Any}
    namespace: dict[str, Any] = {"__annotations__": annotations, "__module__": __name__}
    return type("Depot", (Orchestrator,), {**namespace, **dict.fromkeys(annotations)})


def test_a_fleet_in_the_data_is_made_where_there_was_none() -> None:
    """A field that holds nothing gets the fleet that data points to, or nothing if that fails."""
    kind = depot_class(has_more=False)
    without, depot = kind(), kind(Fleet({"a": Item()}))
    depot.way = depot.items
    text = Snapshot.take(depot).to_json()
    for snapshot in (Snapshot.take(depot), Snapshot.from_json(text)):
        empty = kind()
        snapshot.restore_into(empty)
        assert empty.way is empty.items
        assert empty.items["a"].current_state_value == "ordered"
        empty.items["b"] = Item()
        assert empty.items.holder is empty
    hooked = Snapshot.take(depot, dump=lambda *_args: 1)
    with pytest.raises(SnapshotDoesNotFitError):
        hooked.restore_into(without, load=lambda *_args: 1 / 0)
    assert (without.items, without.way) == (None, None)
    other = depot_class(has_more=True)
    again = Snapshot.from_json(text).restore(other)
    assert again.way is again.items
    assert again.more is None


def test_a_fleet_that_was_made_too_early_is_taken_back() -> None:
    """Where a hook fails the field holds nothing again, and everything is as it was."""

    class Store(Orchestrator):
        order: Order
        items: Fleet[str, Item] | None = None
        way: Any = None

    store = Store(Order())
    before = Snapshot.take(store)
    full: Any = Store(Order(), items=Fleet())
    full.way = full.items
    taken = Snapshot.take(full, dump=lambda *_args: 1)
    with pytest.raises(ZeroDivisionError):
        taken.restore_into(store, load=lambda *_args: 1 / 0)
    assert store.items is None
    assert Snapshot.take(store) == before
    taken.restore_into(store, load=lambda _name, _data, model: model)
    assert store.way is store.items
    assert store.items == {}


def test_data_that_cannot_be_copied_is_asked_for() -> None:
    """A connection is left out; `restore` must be given it, `restore_into` leaves it as it is."""

    class Served(Orchestrator):
        order: Order
        lock: Any = attrs.field(factory=threading.Lock)

    class Holder(Orchestrator):
        served: Served

    served: Any = Served(Order())
    served.order.lock = threading.Lock()
    lock, own = served.lock, served.order.lock
    snapshot = Snapshot.take(served)
    snapshot.restore_into(served)
    assert (served.lock, served.order.lock) == (lock, own)
    with pytest.raises(SnapshotDoesNotFitError) as caught:
        snapshot.restore(Served)
    assert caught.value.differences == (
        (
            "order: its lock could not be copied: give it, restore(..., order=...), "
            "or use dump= and load="
        ),
        "it: 'lock' could not be copied: give it, restore(..., lock=...)",
    )
    order = Order()
    again = snapshot.restore(Served, lock=lock, order=order)
    assert (again.lock, again.order) == (lock, order)
    with pytest.raises(SnapshotDoesNotFitError, match="served: 'lock' could not be copied"):
        Snapshot.take(Holder(Served(Order()))).restore(Holder)


def test_a_machine_or_fleet_may_be_given() -> None:
    """What is given for a field is put into the states of the snapshot."""
    snapshot = Snapshot.take(busy_shop())
    order, items = Order(Row()), Fleet({"a": Item(), "b": Item()})
    ran.clear()
    again = snapshot.restore(Shop, order=order, items=items, log=["given"])
    assert (again.order, again.items, again.log) == (order, items, ["given"])
    assert Snapshot.take(again).states == snapshot.states
    assert ran == []


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Money:
    amount: Decimal
    currency: str


VALUES = [
    None,
    True,
    3,
    2.5,
    "text",
    [1, [2]],
    (1, (2,)),
    {"a": {"b": 1}},
    {1: "a", (1, 2): "b"},
    {"$set": [1]},
    {1, 2},
    frozenset("ab"),
    datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc),
    date(2026, 1, 2),
    time(3, 4),
    timedelta(days=1, seconds=2, microseconds=3),
    Decimal("1.50"),
    UUID(int=1),
    b"\x00\xff",
    Colour.RED,
    Money(Decimal(2), "EUR"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_data_survives_json(value: Any) -> None:
    """What JSON has no form for, but is plain data all the same, comes back as it was."""
    shop = Shop(Order(), log=[value])
    again = Snapshot.from_json(Snapshot.take(shop).to_json()).restore(Shop)
    assert again.log == [value]
    assert type(again.log[0]) is type(value)


def test_data_without_a_form_is_refused() -> None:
    """`to_json` names the place of what it cannot write."""
    shop = Shop(Order(), log=[object])  # type: ignore[list-item]
    with pytest.raises(DeclarationError, match=r"Snapshot.to_json\(\), Shop: .* has no form"):
        Snapshot.take(shop).to_json()
    shop.log.clear()
    shop.order.kind = object
    with pytest.raises(DeclarationError, match=r"Snapshot.to_json\(\), Shop.order: .* has no form"):
        Snapshot.take(shop).to_json()


# Timers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timers", "expected"),
    [("deadline", [5.0, 12.0]), ("remaining", [4.0, 11.0]), ("restart", [6.0, 11.0])],
)
def test_timers_keep_their_deadlines_or_what_is_left_or_begin_anew(
    timers: Any, expected: list[float]
) -> None:
    """`timers=` says what becomes of what is pending, on a clock that stands at another time."""
    snapshot = Snapshot.take(busy_shop())  # at 2.0: due at 5.0 and 12.0
    clock = VirtualClock()
    clock.advance(1)
    assert due(snapshot.restore(Shop, timers=timers, clock=clock)) == expected


def test_overdue_timers_come_due_in_the_order_of_their_deadlines() -> None:
    """On a clock that is past them, they come due with the next call of the clock, in order."""

    class Slow(Orchestrator):
        order: Order

        @timeout("order.processing", seconds=5)
        def second(self) -> None:
            ran.append("second")

        @timeout("order.processing", seconds=3)
        def first(self) -> None:
            ran.append("first")

    slow = Slow(Order())
    use_clock(slow, VirtualClock())
    slow.order.process()
    ran.clear()
    clock = VirtualClock()
    clock.advance(100)
    again = Snapshot.take(slow).restore(Slow, clock=clock)
    assert ran == []
    with tracing(again) as trace:
        clock.advance(0)
    assert ran == ["first", "second"]
    assert [record.due for record in trace if isinstance(record, Elapsed)] == [3.0, 5.0]


def test_a_time_that_is_over_is_over() -> None:
    """A state whose timeout has come due does not begin it again, also not in a new holder."""
    desk = Desk()
    clock = use_clock(desk, VirtualClock())
    desk.order.process()
    clock.advance(10)
    ran.clear()
    again = Snapshot.take(desk).restore(Desk, clock=VirtualClock())
    assert due(again) == []

    class Holder(Orchestrator, clock=VirtualClock):
        desk: Desk

    holder = Holder(again)
    clock_of(holder).advance(100)  # type: ignore[attr-defined]
    assert ran == []


def test_posts_for_later_are_kept() -> None:
    """A delayed post keeps its arguments, a bound event its machine."""
    shop = busy_shop()
    shop.post(shop.items["a"].unpack, delay=1)
    shop.post("order.ship", delay=3)
    again = Snapshot.from_json(Snapshot.take(shop).to_json()).restore(Shop)
    with tracing(again) as trace:
        clock_of(again).advance(2)  # type: ignore[attr-defined]
    assert again.items["a"].current_state_value == "ordered"
    with tracing(shop) as original:
        clock_of(shop).advance(2)  # type: ignore[attr-defined]
    assert trace == original


def test_the_systems_clock_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the system's clock a deadline is one of the real time, whatever the process."""
    desk = Desk()
    desk.order.process()
    text = Snapshot.take(desk).to_json()
    wall, left = json.loads(text)["wall"], due(desk)[0] - clock_of(desk).now()
    monkeypatch.setattr("time.time", lambda: wall + 4)
    again = Snapshot.from_json(text).restore(Desk)
    assert due(again)[0] - clock_of(again).now() == pytest.approx(left - 4, abs=0.5)
    virtual = Snapshot.from_json(text).restore(Desk, clock=VirtualClock())
    assert due(virtual)[0] == pytest.approx(left, abs=0.5)
    end(again, desk)


def end(*orchestrators: Any) -> None:
    """End what is pending on the system's clock."""
    for one in orchestrators:
        pending: list[Timer] = one._Orchestrator__place.timers.pending()
        assert isinstance(clock_of(one), SystemClock)
        for timer in pending:
            timer.end()


# Joins ------------------------------------------------------------------------------------------


def test_a_join_that_was_true_does_not_run_again() -> None:
    """What was true stays no news; what was false and turns true runs, as in the original."""
    shop = busy_shop()
    again = Snapshot.from_json(Snapshot.take(shop).to_json()).restore(Shop)
    again.items["c"] = Item()
    again.items["c"].pack()
    assert again.log == ["ready", "ready"]
    snapshot = Snapshot.take(shop)
    shop.items["a"].unpack()
    snapshot.restore_into(shop)
    shop.items["a"].unpack()
    shop.items["a"].pack()
    assert shop.log == ["ready", "ready"]


def test_a_join_that_became_true_unheard_still_waits() -> None:
    """The join's bit is that of its last rest, not of what the states say."""

    class Wait(Orchestrator):
        one: Item
        two: Item
        log: list[str] = attrs.field(factory=list[str])

        @when("one.packed")
        def told(self) -> None:
            self.log.append("told")

    wait = Wait(Item(), Item())
    wait.one.current_state_value = "packed"  # from outside, unheard
    again = Snapshot.take(wait).restore(Wait)
    assert again._Orchestrator__place.joins[0].is_true is False  # type: ignore[attr-defined]


# At rest ----------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_at_rest(engine: Engine) -> None:
    """In a callback and in a reaction it is refused, in `settled` taken, unless something waits."""
    told: list[str] = []

    def take(orchestrator: Any, who: str) -> None:
        try:
            told.append(f"{who}: {Snapshot.take(orchestrator)!r}")
        except NotAtRestError as error:
            told.append(f"{who}: {error.problem}")

    class Machine(StateMachine):
        a = State(initial=True)
        b = State()
        go = a.to(b) | b.to(a)

        def on_go(self, orc: Any) -> None:
            take(orc, "on_go")

    kind = engine.machine(Machine)

    class Two(Orchestrator):
        one: kind  # type: ignore[valid-type]
        two: kind  # type: ignore[valid-type]

        @on("one.go")
        def follow(self) -> Any:
            take(self, "follow")
            return self.two.go()  # type: ignore[attr-defined]

        @on("settled")
        def save(self) -> Any:
            take(self, "save")
            other: Any = self.two
            return other.go() if other.current_state_value == "b" else None

        @on("settled")
        def save_again(self) -> None:
            take(self, "again")

        @on("two.go")
        def after(self) -> None:
            take(self, "after")

    two: Any = Two(kind(), kind())
    two.bus.signal("settled").connect(lambda sender, record: take(sender, "observer"))
    two.bus.signal("one.*").connect(lambda machine, record: take(two, "looking"))
    engine.run(two.one.go)
    assert told == [
        "on_go: machine 'one' is in mid-step",
        "looking: machine 'one' is in mid-step",
        "follow: a cascade is not at rest: Two.follow runs",
        "on_go: machine 'two' is in mid-step",
        "after: a cascade is not at rest: Two.after runs",
        "observer: <Snapshot of Two: one=b, two=b>",
        "save: <Snapshot of Two: one=b, two=b>",
        "on_go: machine 'two' is in mid-step",
        "again: a cascade is not at rest: Two.after waits",
        "after: a cascade is not at rest: Two.after runs",
    ]


def test_a_stranger_in_mid_step_is_not_at_rest_either() -> None:
    """A callback of a machine elsewhere is in the middle of a cascade as well."""
    shop = Shop(Order())

    class Clerk(StateMachine):
        a = State(initial=True)
        go = a.to(a)

        def on_go(self) -> None:
            Snapshot.take(shop).restore_into(shop)

    class Office(Orchestrator):
        clerk: Clerk

    with pytest.raises(NotAtRestError, match="a call is under way"):
        Office(Clerk()).clerk.go()


# Another shape ----------------------------------------------------------------------------------


def shapes() -> Any:
    """Return the class of a small shop, whose name and fields can be told apart."""

    class Little(Orchestrator):
        order: Order
        size: int = 0

        @timeout("order.pending", seconds=1)
        def poke(self) -> None: ...

    return Little


def test_a_snapshot_of_another_shape_is_refused() -> None:
    """Everything that differs is told, machine by machine, and nothing is changed."""
    old = shapes()
    little = old(Order())
    use_clock(little, VirtualClock())
    little.post("order.process", delay=1)
    snapshot = Snapshot.take(little)

    def other() -> Any:
        class Order(StateMachine):
            waiting = State(initial=True)
            other = State(final=True)
            go = waiting.to(other)

        class Little(Orchestrator):
            order: Order
            parcel: Item
            weight: int = 0

        return Little

    with pytest.raises(SnapshotDoesNotFitError) as caught:
        snapshot.restore(other())
    assert caught.value.differences == (
        "order: Order has no state 'pending'",
        "parcel: the snapshot has nothing here; it was another field then",
        "it: Little has no field 'size'",
        "it: the snapshot has no 'weight': give it, restore(..., weight=...)",
        "it: Little has no poke on timeout:order.pending",
        "it: order.process was posted for later: machine 'order' has no event 'process'",
    )


def test_each_difference_has_its_words() -> None:
    """Another class, field, member or kind of member: each is named with its place."""
    snapshot = Snapshot.take(busy_shop())

    class Smaller(Orchestrator):
        order: Order

    def differences(cls: Any, **given: Any) -> tuple[str, ...]:
        with pytest.raises(SnapshotDoesNotFitError) as caught:
            snapshot.restore(cls, **given)
        return tuple(caught.value.differences)

    assert differences(Smaller) == ("it was taken of a Shop, and this is a Smaller",)

    def fewer() -> Any:
        class Shop(Orchestrator):
            order: Item
            desks: Fleet[int, Item] = attrs.field(factory=Fleet[int, Item])
            log: list[str] = attrs.field(factory=list[str])

        return Shop

    assert differences(fewer()) == (
        "items: Shop has no machine field of this name",
        "gift: Shop has no machine field of this name",
        "order: no Order is known here; the field takes Item",
        "desks[1]: no Desk is known here; the field takes Item",
        "it: Shop has no expire on timeout:order.processing",
    )
    assert differences(Shop, colour="red") == ("it: Shop has no field 'colour'",)
    assert differences(Shop, order=Item()) == ("order: it is a Item, and was a Order",)
    assert differences(Shop, items=Fleet({"a": Item()})) == (
        "items: it was given Fleet({'a': ordered}), and the snapshot has other members",
    )


def test_a_machine_that_cannot_be_built_is_asked_for() -> None:
    """A model that does not tell its attributes, and a constructor that raises, are told."""

    class Odd(Order):
        def __init__(self, *, row: Any, **kwargs: Any) -> None:
            super().__init__(row, **kwargs)

    class Two(Orchestrator):
        one: Order
        two: Order

    two = Two(Order(Slots()), Odd(row=Row()))
    snapshot = Snapshot.take(two)
    with pytest.raises(SnapshotDoesNotFitError, match=r"one: its model, a .*:Slots, cannot be"):
        snapshot.restore(Two)
    with pytest.raises(SnapshotDoesNotFitError, match="two: building it raised TypeError"):
        snapshot.restore(Two, one=Order())
    hooked = Snapshot.take(two, dump=lambda *_args: 1)
    with pytest.raises(SnapshotDoesNotFitError, match="one: dump= told of its model: give load="):
        hooked.restore(Two)
    with pytest.raises(SnapshotDoesNotFitError, match="one: building it raised ZeroDiv"):
        hooked.restore(Two, load=lambda *_args: 1 / 0)
    again = snapshot.restore(Two, one=Order(), two=Odd(row=Row()))
    assert repr(again) == repr(two)


def test_nothing_is_half_restored() -> None:
    """Where something is refused the orchestrator stays as it is, attached and timed."""
    shop = busy_shop()
    shop.order.kind = 3
    snapshot = Snapshot.take(shop)
    shop.order.hold()
    before = Snapshot.take(shop)
    with pytest.raises(DeclarationError, match="timers='never' means nothing"):
        snapshot.restore_into(shop, timers="never")  # type: ignore[arg-type]
    taken = Snapshot.take(shop, dump=lambda *_args: 1)
    with pytest.raises(ZeroDivisionError):
        taken.restore_into(shop, load=lambda *_args: 1 / 0)
    assert Snapshot.take(shop) == before


def test_a_machine_that_is_taken_is_refused() -> None:
    """A machine of another orchestrator cannot be given, and nothing stays attached."""
    other = Shop(Order())
    snapshot = Snapshot.take(other)
    free = Item()
    with pytest.raises(ValueError, match="already belongs to"):
        snapshot.restore(Shop, order=other.order)
    again = snapshot.restore(Shop)
    again.gift = free
    assert other.order.current_state_value == "pending"


def test_wrong_arguments_are_refused() -> None:
    """What is no orchestrator, class, clock or text is told with the fix."""
    wrong: Any = Order
    snapshot = Snapshot.take(Shop(Order()))
    with pytest.raises(DeclarationError, match=r"Snapshot.take\(\): .* is no orchestrator"):
        Snapshot.take(wrong)
    with pytest.raises(DeclarationError, match="is no class of orchestrators"):
        snapshot.restore(wrong)
    with pytest.raises(DeclarationError, match="is no class of orchestrators"):
        snapshot.restore(Shop(Order()))  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="is no clock"):
        snapshot.restore(Shop, clock=wrong)
    with pytest.raises(DeclarationError, match="is no orchestrator"):
        snapshot.restore_into(wrong)
    shop = Shop(Order())
    shop.order.model.state = "nowhere"
    with pytest.raises(InvalidStateValue):
        Snapshot.take(shop)
    with pytest.raises(DeclarationError, match="what dump= gave cannot be copied"):
        Snapshot.take(Shop(Order()), dump=lambda *_args: threading.Lock())
    busy = busy_shop()
    busy.post("order.ship", threading.Lock(), delay=1)
    with pytest.raises(DeclarationError, match="its arguments cannot be copied"):
        Snapshot.take(busy)


def unreadable(text: Any) -> str:
    with pytest.raises(UnreadableSnapshotError) as caught:
        Snapshot.from_json(text)
    return str(caught.value.problem)


def test_a_text_that_is_no_snapshot_is_refused() -> None:
    """Another text, version, class or form is told, and no code of a class runs."""
    text = Snapshot.take(Shop(Order(), log=[Money(Decimal(1), "EUR")])).to_json()  # type: ignore[list-item]
    assert unreadable(3) == "3 is no text"
    assert unreadable("[") == "it is no JSON: Expecting value: line 1 column 2 (char 1)"
    assert unreadable("[1]") == "it is no snapshot of version 1: [1]"
    assert unreadable(text.replace('"snapshot": 1', '"snapshot": 2')).startswith(
        "it is no snapshot of version 1"
    )
    assert "KeyError: 'machines'" in unreadable(text.replace('"machines"', '"others"'))
    assert "no class" in unreadable(text.replace(":Money", ":Nothing"))
    assert "Order is no attrs class" in unreadable(text.replace(":Money", ":Order"))
    assert "means nothing" in unreadable(text.replace('"$decimal": "1"', '"$decimal": "x"'))
    assert "means nothing" in unreadable(text.replace('"$decimal"', '"$other"'))


# What is easily lost ----------------------------------------------------------------------------


class Service:
    """Something that cannot be copied."""

    def __init__(self) -> None:
        self.url, self.lock = "http://", threading.Lock()


def test_a_copy_that_fails_leaves_nothing_behind() -> None:
    """What cannot be copied is left out under every name that leads to it."""
    shop: Any = busy_shop()
    shop.order.service = shop.service = service = Service()
    snapshot = Snapshot.take(shop)
    assert snapshot.machines["order",].data.lost == ("service",)
    assert snapshot.orchestrators[()].data.lost == ("service",)
    snapshot.restore_into(shop)
    assert shop.service is shop.order.service is service
    assert service.url == "http://"


def test_models_are_compared() -> None:
    """Another class of model, another state_field, or another sharing, does not fit."""

    class Pair(Orchestrator):
        one: Order
        two: Item

    shared = Plain()
    pairs = [
        Pair(Order(), Item()),
        Pair(Order(Row()), Item()),
        Pair(Order(shared), Item(shared, state_field="other")),
        Pair(Order(Plain()), Item(Plain(), state_field="other")),
        Pair(Order(), Item(state_field="other")),
    ]
    snapshots = [Snapshot.take(pair) for pair in pairs]

    def differences(snapshot: Snapshot, pair: Any) -> tuple[str, ...]:
        with pytest.raises(SnapshotDoesNotFitError) as caught:
            snapshot.restore_into(pair)
        return tuple(caught.value.differences)

    assert differences(snapshots[0], pairs[1]) == ("one: its model is a Row, and was a Model",)
    assert differences(snapshots[1], pairs[0]) == ("one: its model is a Model, and was a Row",)
    assert differences(snapshots[2], pairs[3]) == (
        "two: it has a model of its own, and had that of another machine",
    )
    assert differences(snapshots[3], pairs[2]) == (
        "two: it has the model of another machine, and had one of its own",
    )
    assert differences(snapshots[0], pairs[4]) == ("two: its state_field is 'other', 'state' then",)
    given = snapshots[1].restore(Pair, one=Order())
    assert repr(given) == repr(pairs[1])


def test_an_optional_fleet_may_be_none() -> None:
    """`None` is `None` again, and no empty fleet; a fleet is one again."""

    class Depot(Orchestrator):
        order: Order
        items: Fleet[str, Item] | None = None

    depot: Any = Depot(Order())
    without = Snapshot.take(depot)
    depot.items = Fleet[str, Item]({"a": Item()})
    items: Any = depot.items
    within = Snapshot.take(depot)
    assert without.restore(Depot).items is None
    without.restore_into(depot)
    assert depot.items is None
    assert items.holder is None
    items["a"].pack()  # a bare machine
    within.restore_into(depot)
    assert repr(depot.items) == "Fleet({'a': ordered})"
    items = depot.items
    items["b"] = Item()
    assert within.restore(Depot).items is not None
    with pytest.raises(SnapshotDoesNotFitError, match="items: it was given Fleet"):
        without.restore(Depot, items=Fleet[str, Item]())


def test_a_fleet_keeps_its_order() -> None:
    """Members stand in the order in which they stood, whatever they hold."""

    class Place(Orchestrator):
        gift: Item | None = None

    class Hall(Orchestrator):
        places: Fleet[int, Place] = attrs.field(factory=Fleet[int, Place])

    hall = Hall()
    hall.places.update({1: Place(), 2: Place(Item()), 3: Place()})
    snapshot = Snapshot.take(hall)
    assert list(snapshot.restore(Hall).places) == [1, 2, 3]
    hall.places[1] = hall.places.pop(2)
    assert Snapshot.take(hall) != snapshot
    snapshot.restore_into(hall)
    assert list(hall.places) == [1, 2, 3]


def test_a_fleet_is_no_machine() -> None:
    """A field that held one machine and holds a fleet, or the other way round, does not fit."""

    def single() -> Any:
        class Shop(Orchestrator):
            items: Item = attrs.field(factory=Item)

        return Shop

    def several() -> Any:
        class Shop(Orchestrator):
            items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

        return Shop

    def inner() -> Any:
        class Shop(Orchestrator):
            items: Desk = attrs.field(factory=Desk)

        return Shop

    fleet = several()()
    fleet.items["a"] = Item()
    for taken, cls, problem in (
        (fleet, single(), "items: it was a fleet, and is none"),
        (single()(), several(), "items: it was no fleet, and is one"),
        (single()(), inner(), "items: no Item is known here; the field takes Desk"),
        (inner()(), single(), "items: no Desk is known here; the field takes Item"),
    ):
        with pytest.raises(SnapshotDoesNotFitError) as caught:
            Snapshot.take(taken).restore(cls)
        assert caught.value.differences == (problem,)


def test_what_leaves_keeps_its_times_and_what_comes_has_those_of_the_snapshot() -> None:
    """A desk that is taken out stands alone, with its timers; a given one has none of its own."""
    shop = Shop(Order())
    empty = Snapshot.take(shop)
    desk = shop.desks[1] = Desk()
    desk.order.process()
    full = Snapshot.take(shop)
    desk.post("order.ship", delay=30)
    empty.restore_into(shop)
    assert due(desk) == [10.0, 30.0]
    again = full.restore(Shop, desks=Fleet({1: desk}))
    assert due(again) == [10.0]


def test_a_holder_looks_anew() -> None:
    """Restored in its place, an inner orchestrator is what its holder's joins and times go by."""

    class Hall(Orchestrator, clock=VirtualClock):
        desks: Fleet[int, Desk] = attrs.field(factory=Fleet[int, Desk])
        log: list[str] = attrs.field(factory=list[str])

        @when(desks=every("order.processing"))
        def all_at_work(self) -> None:
            self.log.append("all")

        @timeout("desks.order.processing", seconds=20)
        def too_long(self) -> None:
            self.log.append("too long")

    hall = Hall()
    hall.desks.update({1: Desk(), 2: Desk()})
    idle = Snapshot.take(hall.desks[1])
    hall.desks[1].order.process()
    at_work = Snapshot.take(hall.desks[1])
    idle.restore_into(hall.desks[1])
    assert due(hall) == []
    hall.desks[2].order.process()
    assert hall.log == []
    at_work.restore_into(hall.desks[1])
    assert hall.log == []
    clock_of(hall).advance(20)  # type: ignore[attr-defined]
    assert hall.log == ["too long", "too long"]


def test_a_refusal_leaves_strangers_alone() -> None:
    """A machine of another orchestrator that is given by mistake keeps its data."""
    snapshot = Snapshot.take(busy_shop())
    other: Any = busy_shop()
    other.order.note = "keep"
    other.order.model.total = 7
    with pytest.raises(ValueError, match="already belongs to"):
        snapshot.restore(Shop, order=other.order)
    assert (other.order.note, other.order.model.total) == ("keep", 7)


def test_a_clock_that_cannot_be_made_changes_nothing() -> None:
    """What is new is assembled before anything is written."""
    works = [True]

    def clock() -> VirtualClock:
        if not works[0]:
            message = "no clock"
            raise OSError(message)
        return VirtualClock()

    class Inner(Orchestrator, clock=clock):
        order: Order = attrs.field(factory=Order)

    class Outer(Orchestrator, clock=VirtualClock):
        order: Order
        inner: Fleet[int, Inner] = attrs.field(factory=Fleet[int, Inner])

    outer = Outer(Order())
    outer.inner.update({1: Inner(), 2: Inner()})
    snapshot = Snapshot.take(outer)
    outer.inner.clear()
    outer.order.process()
    before = Snapshot.take(outer)
    works[0] = False
    with pytest.raises(OSError, match="no clock"):
        snapshot.restore_into(outer)
    assert Snapshot.take(outer) == before
    works[0] = True
    snapshot.restore_into(outer)
    assert Snapshot.take(outer) == snapshot


def test_a_deadline_waits_for_no_loop() -> None:
    """Of an async orchestrator restored before its loop runs, a time does not begin anew."""

    class AsyncOrder(Order):
        async def on_process(self) -> None: ...

    class Slow(Orchestrator):
        order: AsyncOrder

        @timeout("order.processing", seconds=3600)
        def late(self) -> None: ...

    async def begun() -> Snapshot:
        slow = Slow(AsyncOrder())
        await slow.order.process()
        slow.post("order.ship", delay=7200)
        return Snapshot.take(slow)

    snapshot = asyncio.run(begun())
    again = snapshot.restore(Slow)
    before = due(again)

    async def later() -> list[float]:
        again.bus  # noqa: B018 - it looks for a loop
        return due(again)

    assert asyncio.run(later()) == before
    end(again)


def test_a_post_to_a_machine_that_has_gone_is_over() -> None:
    """A bound event of a member that was taken out is no part of the state any more."""
    shop = Shop(Order())
    shop.items["a"] = item = Item()
    shop.post(item.pack, delay=1)
    del shop.items["a"]
    snapshot = Snapshot.take(shop)
    assert snapshot.timers == ()
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


def test_a_state_that_is_noted_when_it_is_set_is_restored_first() -> None:
    """What a model notes when its state is set is what it had noted then."""

    class Stamped:
        def __init__(self) -> None:
            self.known: Any = None
            self.changes = 0

        @property
        def state(self) -> Any:
            return self.known

        @state.setter
        def state(self, value: Any) -> None:
            self.known = value
            self.changes += 1

    shop = Shop(Order(Stamped()))
    snapshot = Snapshot.take(shop)
    snapshot.restore_into(shop)
    assert shop.order.model.changes == 1
    assert Snapshot.take(snapshot.restore(Shop)) == snapshot


class Tagged:
    """Has slots."""

    __slots__ = ("late", "tags")
    late: Any
    tags: Any


@attrs.define
class TaggedRow(Tagged):
    """An attrs class on slots, which remembers what it has computed."""

    total: int = 0
    state: Any = None

    @cached_property
    def double(self) -> Any:
        return [self.total * 2, threading.Lock()]


class TaggedShop(Tagged, Shop):
    """An orchestrator on slots."""


def test_slots_of_what_tells_its_attributes_are_kept() -> None:
    """Those that attrs has not made: what it has computed in them is computed again."""
    shop: Any = TaggedShop(Order(TaggedRow(3)))
    shop.order.model.tags, shop.late = ["x"], ["late"]
    assert shop.order.model.double[0] == 6
    snapshot = Snapshot.take(shop)
    for again in (
        snapshot.restore(TaggedShop),
        Snapshot.from_json(snapshot.to_json()).restore(TaggedShop),
    ):
        held: Any = again
        assert (held.order.model.tags, held.late, hasattr(held, "tags")) == (["x"], ["late"], False)
        assert held.order.model.double[0] == 6
    shop.order.model.tags.append("y")
    shop.late, shop.tags = None, 3
    snapshot.restore_into(shop)
    assert (shop.order.model.tags, shop.late, hasattr(shop, "tags")) == (["x"], ["late"], False)


class HalfSlots(Slots):
    """A model of whose attributes `__dict__` tells a part."""


class Document(dict[str, int]):
    """A model that keeps more than attributes."""

    state: Any = None

    def __bool__(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [HalfSlots, Document])
def test_a_model_that_tells_a_part_is_asked_for(kind: Any) -> None:
    """A model whose attributes are not all that it keeps is not taken for one that tells."""
    snapshot = Snapshot.take(Shop(Order(kind())))
    assert snapshot.models[0].data is None
    with pytest.raises(SnapshotDoesNotFitError, match="cannot be built"):
        snapshot.restore(Shop)


def test_a_machine_that_begins_elsewhere_begins_there() -> None:
    """An async machine that has not begun keeps the state in which it is to begin."""

    class AsyncOrder(Order):
        async def on_process(self) -> None: ...

    class Slow(Orchestrator):
        order: AsyncOrder

    again = Snapshot.take(Slow(AsyncOrder(start_value="processing"))).restore(Slow)
    asyncio.run(entered_in_loop(again.order))
    assert again.order.current_state_value == "processing"


async def entered_in_loop(machine: Any) -> None:
    await machine.activate_initial_state()


def machine_of_module(module: str) -> Any:
    class Card(StateMachine):
        new = State(initial=True)
        done = State(final=True)
        go = new.to(done)
        origin = module

    Card.__module__ = module
    return Card


Billing, Gifts = machine_of_module("billing"), machine_of_module("gifts")


class Till(Orchestrator):
    card: Billing | Gifts  # type: ignore[valid-type]


def test_classes_of_one_name_are_told_apart() -> None:
    """By their modules: what was a gift is no bill."""
    snapshot = Snapshot.take(Till(Gifts()))
    for one in (snapshot, Snapshot.from_json(snapshot.to_json())):
        restored: Any = one.restore(Till).card
        assert restored.origin == "gifts"
    with pytest.raises(SnapshotDoesNotFitError, match=r"it is a billing:.*, and was a gifts:"):
        snapshot.restore_into(Till(Billing()))


class Base(Orchestrator):
    order: Order


@attrs.define
class Extended(Base):
    extra: int = 0


class Late(Orchestrator):
    order: "Later"  # noqa: UP037 - it is not known yet


class Later(Order):
    """Known after the class that holds it."""


def test_what_is_declared_late_or_anew_is_found() -> None:
    """The slotted copy of a class, and one that no instance has resolved yet, by their names."""

    class Hall(Orchestrator):
        desks: Fleet[int, Base] = attrs.field(factory=Fleet[int, Base])

    hall = Hall()
    hall.desks[1] = Extended(Order(), extra=3)
    again = Snapshot.from_json(Snapshot.take(hall).to_json()).restore(Hall)
    assert type(again.desks[1]) is Extended

    text = Snapshot.take(Late(Later())).to_json()

    class Other(Orchestrator):
        order: "Later"  # noqa: UP037

    Other.__qualname__ = Other.__name__ = "Late"
    assert repr(Snapshot.from_json(text).restore(Other)) == "Late(order=pending)"
    with pytest.raises(SnapshotDoesNotFitError, match="order: no Missing is known here"):
        Snapshot.from_json(text.replace(":Later", ":Missing")).restore(Nobody)


class Nobody(Orchestrator):
    order: "Unknown"  # type: ignore[name-defined] # noqa: F821, UP037


Nobody.__qualname__ = "Late"


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


def test_what_has_no_lasting_form_is_refused() -> None:
    """A value that JSON cannot give back as it was is refused when it is written."""
    endless: list[Any] = []
    endless.append(endless)

    class Local:
        """Nobody finds it again."""

    berlin = timezone(timedelta(hours=1))
    zone: Any = type("Zone", (type(berlin).__mro__[1],), {})()
    zoned = datetime(2026, 3, 28, tzinfo=zone)
    value: Any
    for value in (endless, 10**5000, zoned, attrs.frozen(Local)(), attrs.frozen(Listed)()):
        with pytest.raises(DeclarationError, match="no form in JSON"):
            Snapshot.take(Shop(Order(), log=[value])).to_json()
    folded = datetime(2026, 10, 25, 2, 30, fold=1)  # noqa: DTZ001 - it has no zone
    log: Any = [Permission.READ | Permission.WRITE, folded]
    shop = Shop(Order(), log=log)
    again: Any = Snapshot.from_json(Snapshot.take(shop).to_json()).restore(Shop)
    assert again.log == shop.log
    assert again.log[1].fold == 1
    text = Snapshot.take(shop).to_json()
    assert "is no enumeration" in unreadable(text.replace(":Permission", ":Order"))


class Listed(list[int]):
    """An attrs class, once decorated, that keeps more than its fields."""


def thing(base: Any, *, is_machine: bool) -> Any:
    """Return a machine, or an orchestrator, of one and the same name."""
    if is_machine:

        class Thing(base):  # type: ignore[misc]
            pass

    else:

        class Thing(base):  # type: ignore[no-redef,misc]
            pass

    return Thing


def test_a_machine_is_no_orchestrator() -> None:
    """A machine and an orchestrator of one name are told apart."""

    def hall(kind: Any) -> Any:
        annotations = {"__annotations__": {"thing": kind}, "__module__": __name__}
        return type("Hall", (Orchestrator,), annotations)

    machine, desk = thing(Order, is_machine=True), thing(Desk, is_machine=False)
    for of, other, problem in (
        (machine, desk, "thing: it was a machine, and is a Thing"),
        (desk, machine, "thing: it was an orchestrator, and is a Thing"),
    ):
        snapshot = Snapshot.take(hall(of)(of()))
        with pytest.raises(SnapshotDoesNotFitError) as caught:
            snapshot.restore_into(hall(other)(other()))
        assert caught.value.differences[0] == problem


def test_a_member_of_another_class_takes_the_place() -> None:
    """In a fleet a member is replaced by one of the class that stood there."""

    class Depot(Orchestrator):
        things: Fleet[str, Order | Item] = attrs.field(factory=Fleet[str, Any])

    depot = Depot()
    depot.things["a"] = Order()
    snapshot = Snapshot.take(depot)
    depot.things["a"] = item = Item()
    snapshot.restore_into(depot)
    assert type(depot.things["a"]) is Order
    item.pack()  # a bare machine


@attrs.define
class Sparse:
    """A model of which a field is not set yet."""

    late: int = attrs.field(init=False)
    state: Any = None


def test_what_is_not_set_yet_is_not_set_again() -> None:
    """A field of a model without a value has none when it is restored."""
    shop = Shop(Order(Sparse()))
    snapshot = Snapshot.take(shop)
    assert not hasattr(snapshot.restore(Shop).order.model, "late")
    shop.order.model.late = 3
    snapshot.restore_into(shop)
    assert not hasattr(shop.order.model, "late")


def test_a_holder_without_times_looks_anew() -> None:
    """A holder's joins are asked, whether it has timers or not."""

    class Hall(Orchestrator):
        desk: Desk = attrs.field(factory=Desk)
        log: list[str] = attrs.field(factory=list[str])

        @when("desk.order.processing")
        def at_work(self) -> None:
            self.log.append("at work")

    hall = Hall()
    idle = Snapshot.take(hall.desk)
    hall.desk.order.process()
    idle.restore_into(hall.desk)
    hall.desk.order.process()
    assert hall.log == ["at work", "at work"]
    end(hall.desk)


def test_the_class_that_define_has_replaced_is_not_built() -> None:
    """Of a slotted class and what it was made of, the slotted one is meant."""
    gc.disable()
    try:

        @attrs.define
        class Narrow(Base):
            extra: int = 0

        class Hall(Orchestrator):
            desks: Fleet[int, Base] = attrs.field(factory=Fleet[int, Base])

        hall = Hall()
        hall.desks[1] = Narrow(Order())
        again = Snapshot.from_json(Snapshot.take(hall).to_json()).restore(Hall)
        assert type(again.desks[1]) is Narrow
    finally:
        gc.enable()


# The property -----------------------------------------------------------------------------------

EVENTS = ["process", "hold", "ship", "a.pack", "a.unpack", "b.pack", "put", "take", "wait", "desk"]


def do(shop: Any, event: str) -> None:
    """Do one thing to a shop, allowed or not."""
    try:
        if event == "put":
            shop.items["c"] = Item()
        elif event == "take":
            shop.items.pop("c", None)
        elif event == "wait":
            clock_of(shop).advance(3)  # type: ignore[attr-defined]
        elif event == "desk":
            shop.desks[1].order.process()
        elif "." in event:
            key, _, name = event.partition(".")
            shop.items[key].send(name)
        else:
            shop.order.send(event)
    except TransitionNotAllowed:
        pass


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.sampled_from(EVENTS), max_size=12),
    after=st.lists(st.sampled_from(EVENTS), max_size=12),
    by_json=st.booleans(),
)
def test_a_restored_one_goes_on_as_the_original(
    before: list[str],
    after: list[str],
    by_json: bool,  # noqa: FBT001 - hypothesis names it
) -> None:
    """Taken anywhere, restored, both are told the same: the same records, and the same state."""
    shop = Shop(Order(Row()))
    shop.items.update(a=Item(), b=Item())
    shop.desks[1] = Desk()
    for event in before:
        do(shop, event)
    snapshot = Snapshot.take(shop)
    if by_json:
        snapshot = Snapshot.from_json(snapshot.to_json())
    again = snapshot.restore(Shop)
    with tracing(shop) as expected:
        for event in after:
            do(shop, event)
    with tracing(again) as actual:
        for event in after:
            do(again, event)
    assert actual == expected
    assert Snapshot.take(again) == Snapshot.take(shop)
    snapshot.restore_into(shop, timers="remaining")
    with tracing(shop) as once_more:
        for event in after:
            do(shop, event)
    assert list(map(type, once_more)) == list(map(type, expected))
    assert Snapshot.take(shop).states == Snapshot.take(again).states
