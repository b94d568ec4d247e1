"""What type checkers must accept, and what they must make of it. Never run, only checked.

mypy and pyright check it strictly; `tests/test_typing.py` runs mypy.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine, Iterator, KeysView, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Optional

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Lane,
    NotAMemberError,
    Orchestrator,
    ReactionErrors,
    Record,
    Sent,
    SystemClock,
    VirtualClock,
    Wire,
    at_least,
    clock_of,
    domain_signal,
    every,
    fast_lane,
    none,
    on,
    on_enter,
    on_exit,
    removed,
    some,
    subscribe,
    timeout,
    use_clock,
    when,
    wiring,
)
from statemachines_orchestrator.clock import Clock
from statemachines_orchestrator.diagrams import diagram
from statemachines_orchestrator.logs import log_records
from statemachines_orchestrator.otel import instrument
from statemachines_orchestrator.signals import DomainSignal
from statemachines_orchestrator.traces import Trace, tracing

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


class Order(StateMachine):
    """A machine."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Payment(StateMachine):
    """Another machine."""

    unpaid = State(initial=True)
    authorized = State(final=True)
    authorize = unpaid.to(authorized)


class Item(StateMachine):
    """A member of fleets."""

    waiting = State(initial=True)
    packed = State(final=True)
    pack = waiting.to(packed)


class Shop(Orchestrator):
    """Machines alone."""

    order: Order
    payment: Payment

    @on("order.process")
    def authorize(self, amount: int) -> str:
        """React with a parameter and a result."""
        return f"{self.payment} {amount}"

    @on("settled")
    @on_enter("order.shipped", cond="is_open")
    @on_exit("order.pending", "payment.unpaid", cond=lambda: True)
    def stacked(self) -> None:
        """React to several topics."""

    @on("payment.authorize")
    async def notify(self) -> int:
        """React asynchronously."""
        return 1

    @on(order=Order.process, payment=(Payment.authorize, "authorize"))
    def events(self) -> None:
        """React to events in the keyword spelling."""

    @on_enter(order=(Order.shipped, "processing"), payment=Payment.authorized)
    @on_exit(order="pending")
    def states(self) -> None:
        """React to states in the keyword spelling."""

    def is_open(self) -> bool:
        """Say whether the shop is open."""
        return True


# The constructor, and what is in the fields
shop = Shop(order=Order(), payment=Payment())
assert_type(shop, Shop)
assert_type(Shop(Order(), Payment()), Shop)
assert_type(shop.order, Order)
assert_type(shop.payment, Payment)

# The surface
assert_type(shop.machines, Mapping[str, Any])
assert_type(shop.machine_classes, Mapping[str, Any])
assert_type(shop.orchestrator_name, str)
shop.post("order.process", 3, currency="EUR")
sent: Coroutine[Any, Any, Any] = shop.asend("order.process", 3, currency="EUR")
assert_type(hash(shop), int)
assert_type(shop == shop, bool)  # noqa: PLR0124


async def send(to: Shop) -> object:
    """Await an event."""
    return await to.asend("order.process")


# Observers: what is connected stays what it was
@shop.bus.signal("order.process").connect
def observe(_machine: Any, *, record: Any) -> int:
    """Observe."""
    return len(repr(record))


assert_type(observe(Order(), record=None), int)

# A decorator leaves the type of a method as it was
assert_type(shop.authorize(3), str)
assert_type(shop.authorize(amount=3), str)
notified: Coroutine[Any, Any, int] = shop.notify()
authorize: Callable[[Shop, int], str] = Shop.authorize
events: Callable[[], None] = shop.events


class Express(Shop, orchestrator_name="boss", max_reactions=10):
    """Fields are inherited, reactions overridden and removed."""

    parcel: Order

    stacked = removed

    def authorize(self, amount: int) -> str:
        """Override a reaction."""
        return super().authorize(amount)


assert_type(Express(Order(), Payment(), Order()).parcel, Order)
assert_type(Express(order=Order(), payment=Payment(), parcel=Order()), Express)


class Endless(Shop, max_reactions=None, fast=True):
    """No bound."""


class Audited(Orchestrator, abstract=True):
    """A mixin."""

    @on("order.*")
    def audit(self) -> None:
        """React."""


class Named(Audited, kw_only=True):
    """Keyword-only fields."""

    order: Order
    name: str = "shop"


named = Named(order=Order())
assert_type(named.name, str)
assert_type(Named(name="other", order=Order()), Named)


class Rich(Orchestrator):
    """Every kind of field."""

    order: Order
    session: str = attrs.field()
    retries: int = 3
    spare: Optional[Payment] = None  # noqa: UP045 - a spelling that users have
    either: Order | Payment | None = None
    currency: ClassVar[str] = "EUR"
    payment: Payment = attrs.field(factory=Payment)
    built: Payment = attrs.Factory(Payment)
    log: list[str] = attrs.field(factory=list[str])
    limit: int = attrs.field(default=3, converter=int, kw_only=True)
    hidden: int = attrs.field(default=3, init=False)
    _secret: str = attrs.field(default="", alias="secret")


rich = Rich(Order(), "session")
assert_type(rich.retries, int)
assert_type(rich.spare, Payment | None)
assert_type(rich.either, Order | Payment | None)
assert_type(rich.payment, Payment)
assert_type(rich.log, list[str])
rich.spare = Payment()
rich.retries = 5
Rich(Order(), session="session", retries=5, spare=Payment(), payment=Payment(), limit=4, secret="")


@attrs.define
class Slotted(Orchestrator):
    """An explicit define changes nothing."""

    order: Order
    retries: int = 3
    payment: Payment = attrs.field(factory=Payment)


slotted = Slotted(Order())
assert_type(slotted.order, Order)
assert_type(Slotted(order=Order(), retries=5, payment=Payment()), Slotted)

# What attrs offers for its classes takes orchestrators
names = [field.name for field in attrs.fields(Shop)]

# Errors carry their facts
try:
    shop.post("order.process")
except ReactionErrors as group:
    for failure in group.failures:
        assert_type(failure.reaction, str)
        assert_type(failure.exception, Exception)
    assert_type(group.derive(group.exceptions), ReactionErrors)


# Fleets
class Store(Orchestrator, orchestrator_name="store"):
    """Many machines of one kind in one field."""

    order: Order
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    shelves: Fleet[tuple[int, int], Item] = attrs.field(factory=Fleet[tuple[int, int], Item])

    @on("items.pack")
    def heard(self, key: str, machine: Item, record: Record) -> None:
        """Ask for the member."""
        assert_type(self.items[key], Item)
        print(machine, record.seq)

    def pack_all(self) -> list[str]:
        """Go through the members."""
        for item in self.items.values():
            item.pack()
        return [key for key, item in self.items.items() if item.packed.is_active]


store = Store(Order(), Fleet({"a": Item()}))
assert_type(store.items, Fleet[str, Item])
assert_type(store.items["a"], Item)
assert_type(store.items.get("b"), Item | None)
assert_type(store.items.pop("a"), Item)
assert_type(store.items.popitem(), tuple[str, Item])
assert_type(store.items.key_of(Item()), str)
assert_type(store.shelves.key_of(Item()), tuple[int, int])
assert_type(store.items.keys(), KeysView[str])
assert_type(iter(store.items), Iterator[str])
assert_type(reversed(store.items), Iterator[str])
assert_type(list(store.items), list[str])
assert_type(list(store.items.values()), list[Item])
assert_type(list(store.items.items()), list[tuple[str, Item]])
assert_type([item for _key, item in store.items.items()], list[Item])
assert_type(len(store.items), int)
assert_type("a" in store.items, bool)
assert_type(store.items.holder, Any)
store.items["b"] = Item()
store.items.update({"c": Item()}, d=Item())
store.items |= {"e": Item()}
store.shelves[1, 2] = Item()
del store.items["b"]
store.items.clear()
assert_type(Fleet({"a": Item()}), Fleet[str, Item])
assert_type(Fleet([(len(names), Item())]), Fleet[int, Item])
of_orders: Fleet[str, Order] = Fleet()
assert_type(Store(order=Order()), Store)
assert_type(Store(order=Order(), items=Fleet({"a": Item()}), shelves=Fleet()), Store)

try:
    store.items.key_of(Item())
except NotAMemberError as missing:
    assert_type(missing, NotAMemberError)


class Items(Fleet[str, Item]):
    """A kind of fleet."""

    def packed(self) -> list[str]:
        """Return the keys of what is packed."""
        return [key for key, item in self.items() if item.packed.is_active]


# Orchestrators in fields and in fleets
class Depot(Orchestrator, orchestrator_name="depot"):
    """Orchestrators as members."""

    store: Store
    special: Items = attrs.field(factory=Items)
    shop: Shop | None = None
    stores: Fleet[str, Store] = attrs.field(factory=Fleet[str, Store])
    spare: Store = attrs.field(factory=lambda: Store(Order()))

    @on("store.order.process", "stores.items.pack")
    @on_enter("shop.payment.authorized")
    def heard(self) -> None:
        """React to what happens below."""


depot = Depot(store)
assert_type(depot.store, Store)
assert_type(depot.store.order, Order)
assert_type(depot.store.items["a"], Item)
assert_type(depot.special["a"], Item)
assert_type(depot.special.packed(), list[str])
assert_type(depot.shop, Shop | None)
assert_type(depot.stores["north"].items["a"], Item)
assert_type(depot.stores.key_of(store), str)
depot.shop = shop
depot.stores["south"] = Store(Order())
assert_type(Depot(store=store, stores=Fleet({"a": store}), shop=shop, spare=store), Depot)


# Joins
class Joined(Store):
    """Both spellings, with every quantifier."""

    payment: Payment = attrs.field(factory=Payment)

    @when("order.shipped", ("payment.authorized", "payment.unpaid"), cond="is_open")
    def strings(self) -> int:
        """Join by topics."""
        return 1

    @when(order=Order.shipped, payment=(Payment.authorized, "unpaid"), items=every(Item.packed))
    def members(self, record: Record | None) -> str:
        """Join by members."""
        return str(record)

    @when("order.shipped", items=some("packed", Item.waiting), cond=lambda: True)
    @when(items=none("waiting"))
    @when(items=at_least(3, "packed", Item.waiting))
    async def stacked(self, *, limit: int = 3) -> int:
        """Join by how many."""
        return limit

    def is_open(self) -> bool:
        """Say whether the store is open."""
        return True


joined = Joined(Order())
assert_type(joined.strings(), int)
assert_type(joined.members(record=None), str)
stacked: Coroutine[Any, Any, int] = joined.stacked(limit=4)
strings: Callable[[Joined], int] = Joined.strings


# Routes and signals of the domain
class Routed(Store):
    """Reactions without a body."""

    payment: Payment = attrs.field(factory=Payment)

    low_stock = domain_signal("an item runs out")

    authorize = on("order.process").send("payment.authorize")
    ship = on_enter(payment=Payment.authorized).send("order.ship", if_enabled=True, carrier="post")
    pack = when(order=Order.shipped).send("items.pack", "payment.authorize")

    @on("low_stock")
    def reorder(self, sku: str) -> str:
        """React to a signal of the domain."""
        return sku


class Careful(Routed):
    """A route overridden by a method, another removed."""

    ship = removed

    def authorize(self) -> None:
        """Override a route."""
        self.payment.authorize()


routed = Careful(Order())
assert_type(routed.authorize(), None)
assert_type(routed.reorder("a"), str)
assert_type(Routed.low_stock, DomainSignal)
routed.low_stock.connect(observe)
assert_type(routed.low_stock.connect(observe)(Order(), record=None), int)
assert_type(routed.low_stock.name, str)
routed.publish("low_stock", sku="a")

# Sending: by topic, and by bound event
shop.post("order.process")
shop.post(shop.order.process)
shop.post(shop.order.process, 3, currency="EUR")
depot.post("stores.items.pack")
posted: Coroutine[Any, Any, Any] = shop.asend(shop.order.process, 3)
published: Coroutine[Any, Any, Any] = routed.asend("low_stock", sku="a")
assert_type(shop.broadcast("process", 3, currency="EUR"), Any)
assert_type(shop.enabled_events(), Any)


# Added to one instance, and read from a class
def save(orc: Shop, record: Record) -> None:
    """Save."""
    print(orc, record)


async def notify_later() -> None:
    """Notify."""


assert_type(subscribe(shop, "settled", save), Callable[[], None])
assert_type(subscribe(shop, "order.process", notify_later, cond="is_open"), Callable[[], None])
unsubscribe = subscribe(depot, "stores.items.pack", lambda: None, cond=lambda: True)
unsubscribe()
assert_type(fast_lane(shop), dict[Any, Lane])
assert_type(wiring(Shop), tuple[Wire, ...])
assert_type(wiring(shop), tuple[Wire, ...])
for wire in wiring(Careful):
    assert_type(wire.topic, str)
    assert_type(wire.targets, tuple[str, ...])
    assert_type(wire.cond, str | None)
    assert_type(wire.if_enabled, bool)


# Time
class Patient(Orchestrator, clock=VirtualClock):
    """Timeouts in both spellings."""

    order: Order
    patience: float = 5.0

    @timeout("order.processing", seconds=900)
    @timeout(order=Order.processing, minutes=5, repeat=True)
    @timeout("order.processing", seconds=timedelta(hours=1), cond="is_open")
    @timeout("order.processing", seconds="patience")
    def late(self, amount: int) -> str:
        """React to the time."""
        return f"{self.patience} {amount}"

    def is_open(self) -> bool:
        """Tell whether it is open."""
        return True


patient = Patient(Order())
assert_type(patient.late(3), str)
assert_type(patient.post("order.process"), None)
handle = patient.post("order.process", delay=5)
handle.cancel()
assert_type(handle.due, float)
clock = VirtualClock()
use_clock(patient, clock)
use_clock(patient, SystemClock())
clock.advance(5.0)
clock.advance_to_next()
assert_type(clock.now(), float)


async def wait_for_time() -> None:
    """Let time pass, and await what comes due."""
    await clock.advance(5)


# Insight
assert_type(use_clock(patient, VirtualClock()), VirtualClock)
assert_type(clock_of(patient), Clock)
with tracing(shop, last=1000) as trace:
    assert_type(trace, Trace)
assert_type(trace[0], Record)
assert_type(trace[1:], Trace)
assert_type(trace.filter(Sent, machine="order", cond=lambda record: record.cause), Trace)
assert_type(trace.cause(trace[0]), Record | None)
assert_type(trace.story(trace[0]), Trace)
assert_type(trace.tree(), str)
assert_type(Trace.from_jsonl(trace.to_jsonl()), Trace)
assert_type(diagram(Shop), str)
assert_type(diagram(shop, "svg", traces=[trace]), str)
assert_type(diagram(shop, "png"), bytes)
assert_type(log_records(shop, logging.DEBUG), Callable[[], None])
assert_type(instrument(shop), Callable[[], None])
