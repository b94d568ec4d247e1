"""What type checkers must report, line by line. Never run, only checked.

Each misuse is one line with an ignore: `type: ignore` for both checkers, `pyright: ignore` where
mypy sees `Any`. Both report an ignore that is not needed: a misuse that is no longer found fails.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Orchestrator,
    VirtualClock,
    at_least,
    domain_signal,
    every,
    none,
    on,
    on_enter,
    some,
    subscribe,
    timeout,
    use_clock,
    when,
    wiring,
)
from statemachines_orchestrator.diagrams import diagram
from statemachines_orchestrator.logs import log_records
from statemachines_orchestrator.traces import tracing


class Order(StateMachine):
    """A machine."""

    pending = State(initial=True)
    processing = State(final=True)
    process = pending.to(processing)


class Payment(StateMachine):
    """Another machine."""

    unpaid = State(initial=True)
    authorized = State(final=True)
    authorize = unpaid.to(authorized)


class Shop(Orchestrator):
    """The orchestrator that is misused."""

    order: Order
    payment: Payment
    spare: Order | None = None
    retries: int = 3
    log: list[str] = attrs.field(factory=list[str])

    @on("order.process")
    def authorize(self, amount: int) -> str:
        """React."""
        return str(amount)

    @on("order.process")
    async def notify(self) -> int:
        """React asynchronously."""
        return 1


class Named(Orchestrator, kw_only=True):
    """Keyword-only fields."""

    order: Order


shop = Shop(Order(), Payment())

# The constructor
Shop(Payment(), Payment())  # type: ignore[arg-type]
Shop(Order(), Order())  # type: ignore[arg-type]
Shop(order=Payment(), payment=Payment())  # type: ignore[arg-type]
Shop(order=Order(), payment=Order())  # type: ignore[arg-type]
Shop(order=Order, payment=Payment())  # type: ignore[arg-type]
Shop(None, Payment())  # type: ignore[arg-type]
Shop(Order())  # type: ignore[call-arg]
Shop()  # type: ignore[call-arg]
Shop(Order(), Payment(), shipment=Order())  # type: ignore[call-arg]
Shop(Order(), Payment(), spare=Payment())  # type: ignore[arg-type]
Shop(Order(), Payment(), retries="3")  # type: ignore[arg-type]
Shop(Order(), Payment(), log="log")  # type: ignore[arg-type]
Named(Order())  # type: ignore[call-arg]

# Fields
shop.order = Payment()  # type: ignore[assignment]
shop.spare = Payment()  # type: ignore[assignment]
shop.shipment  # type: ignore[attr-defined]  # noqa: B018
shop.machines["order"] = Order()  # type: ignore[index]
shop.machines = {}  # type: ignore[misc]
shop.orchestrator_name = "boss"  # type: ignore[misc]

# The surface
shop.post()  # type: ignore[call-overload]
shop.asend(3)  # type: ignore[arg-type, unused-coroutine]
shop.asend("order.process")  # type: ignore[unused-coroutine]
shop.bus.signal(3)  # type: ignore[arg-type]
shop.bus.signal("order.process").connect(3)  # type: ignore[type-var]
result: int = shop.post("order.process")  # type: ignore[assignment]


async def wait() -> None:
    """Await what cannot be awaited."""
    await shop.post("order.process")  # type: ignore[misc]
    await shop.bus  # type: ignore[misc]


# The decorators
on(3)  # type: ignore[arg-type]
on("order.process", cond=3)  # type: ignore[arg-type]
on(order=3)  # type: ignore[arg-type]
on(order=Order.pending)  # type: ignore[arg-type]
on(order=("process", 3))  # type: ignore[arg-type]
on_enter(order=3)  # type: ignore[arg-type]
on_enter(order=Order.process)  # pyright: ignore[reportArgumentType]
on("order.process")(3)  # type: ignore[type-var]

# A decorated method keeps its type
shop.authorize("3")  # type: ignore[arg-type]
shop.authorize()  # type: ignore[call-arg]
number: int = shop.authorize(3)  # type: ignore[assignment]
count: int = shop.notify()  # type: ignore[assignment]


# Class keywords
class Many(Orchestrator, max_reactions="many"):  # type: ignore[arg-type]
    """A bound that is no number."""

    order: Order


class Quick(Orchestrator, fast="yes"):  # type: ignore[arg-type]
    """Neither fast nor not."""

    order: Order


class Renamed(Orchestrator, orchestrator_name=3):  # type: ignore[arg-type]
    """A name that is no string."""

    order: Order


class Unknown(Orchestrator, maximum=3):  # type: ignore[call-arg]
    """A class keyword that is none."""

    order: Order


class Mixed(Orchestrator, abstract="yes"):  # type: ignore[arg-type]
    """A flag that is no bool."""


# Fleets and orchestrators in fields
class Store(Orchestrator, orchestrator_name="store"):
    """The fleets that are misused."""

    items: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])
    shops: Fleet[int, Shop] = attrs.field(factory=Fleet[int, Shop])
    shop: Shop | None = None

    low_stock = domain_signal("an item runs out")

    authorize = on("items.process").send("shop.payment.authorize")

    @when(items=every("processing"))
    def packed(self, limit: int) -> str:
        """Join."""
        return str(limit)

    @when("shop.order.processing", items=some(Order.processing))
    async def later(self) -> int:
        """Join asynchronously."""
        return 1


store = Store()
store.items[3]  # type: ignore[index]
store.items[3] = Order()  # type: ignore[index]
store.items["a"] = Payment()  # type: ignore[assignment]
store.items["a"] = Order  # type: ignore[assignment]
store.items["a"] = None  # type: ignore[assignment]
store.items.key_of("a")  # type: ignore[arg-type]
store.items.key_of(Payment())  # type: ignore[arg-type]
key: int = store.items.key_of(Order())  # type: ignore[assignment]
member: Payment = store.items["a"]  # type: ignore[assignment]
store.items |= {"a": Payment()}  # type: ignore[arg-type]
store.items |= {3: Order()}  # type: ignore[arg-type]
del store.items[3]  # type: ignore[arg-type]
Fleet(3)  # type: ignore[arg-type]
Fleet[str, Order]({"a": Payment()})  # type: ignore[arg-type]
Fleet[str, Order](a=Order())  # type: ignore[call-arg]
Fleet[str]()  # type: ignore[misc]
Store({"a": Order()})  # type: ignore[arg-type]
Store(Fleet({"a": Payment()}))  # type: ignore[arg-type]
Store(Fleet({3: Order()}))  # type: ignore[arg-type]
Store(shop=store)  # type: ignore[arg-type]
Store(shop=Order())  # type: ignore[arg-type]
store.items = Fleet[str, Payment]()  # type: ignore[assignment]
store.shop = store  # type: ignore[assignment]
store.shops[3] = store  # type: ignore[assignment]
store.shops["a"]  # type: ignore[index]
store.shops[3].items  # type: ignore[attr-defined]  # noqa: B018
store.shop.order  # type: ignore[union-attr]  # noqa: B018

# Joins
at_least("processing")  # type: ignore[arg-type]
at_least()  # type: ignore[call-arg]
at_least(count=3)  # type: ignore[call-arg]
every(3)  # type: ignore[arg-type]
some(("pending", "processing"))  # type: ignore[arg-type]
none(state="pending")  # type: ignore[call-arg]
every(Order.process)  # pyright: ignore[reportArgumentType]
when(3)  # type: ignore[arg-type]
when(every("processing"))  # type: ignore[arg-type]
when(["order.pending"])  # type: ignore[arg-type]
when(order=3)  # type: ignore[arg-type]
when(items=(every("processing"), "pending"))  # type: ignore[arg-type]
when("order.processing", cond=3)  # type: ignore[arg-type]
when("order.processing")(3)  # type: ignore[type-var]
store.packed("3")  # type: ignore[arg-type]
packed: int = store.packed(3)  # type: ignore[assignment]
later: int = store.later()  # type: ignore[assignment]

# Routes, signals of the domain, sending
on("order.process").send("payment.authorize", if_enabled="yes")  # type: ignore[arg-type]
on("order.process").route("payment.authorize")  # type: ignore[attr-defined]
domain_signal(3)  # type: ignore[arg-type]
store.low_stock.connect(3)  # type: ignore[type-var]
store.low_stock()  # type: ignore[operator]
Store.low_stock.connect(print)  # type: ignore[attr-defined]
store.publish()  # type: ignore[call-arg]
store.publish("low_stock", "a")  # type: ignore[call-arg]
store.publish(store.low_stock)  # type: ignore[arg-type]
shop.post(shop.order)  # type: ignore[call-overload]
shop.post(Order.pending)  # type: ignore[call-overload]
shop.broadcast()  # type: ignore[call-arg]
shop.broadcast(3)  # type: ignore[arg-type]
shop.enabled_events("order")  # type: ignore[call-arg]

# Added to one instance, and read from a class
subscribe(shop, "order.process")  # type: ignore[call-arg]
subscribe(shop, 3, print)  # type: ignore[arg-type]
subscribe(Shop, "order.process", print)  # type: ignore[arg-type]
subscribe(Order(), "order.process", print)  # type: ignore[arg-type]
subscribe(shop, "order.process", print, condition="is_open")  # type: ignore[call-arg]
subscribe(shop, "order.process", print, "is_open")  # type: ignore[call-arg]
subscribe(shop, "order.process", print).close()  # type: ignore[attr-defined]
subscribe(shop, "order.process", print)(3)  # type: ignore[call-arg]
wiring()  # type: ignore[call-arg]
wiring(Order)  # type: ignore[arg-type]
wiring(Shop)[0].topics  # type: ignore[attr-defined]  # noqa: B018
wiring(Shop)[0].topic = "order.process"  # type: ignore[misc]


# Time
shop.post("order.process", delay="soon")  # type: ignore[call-overload]
use_clock(shop)  # type: ignore[call-arg]
use_clock(shop, 3)  # type: ignore[type-var]
timeout("order.processing", seconds=[])  # type: ignore[arg-type]
timeout("order.processing", hours=1)  # type: ignore[arg-type]
VirtualClock().advance()  # type: ignore[call-arg]
VirtualClock(5)  # type: ignore[call-arg]


class Timed(Orchestrator, clock=3):  # type: ignore[arg-type]
    """A clock that is no factory."""

    order: Order


# Insight
tracing(Order())  # type: ignore[arg-type]
tracing(shop, 1000)  # type: ignore[call-arg]
with tracing(shop) as trace:
    trace.append(3)  # type: ignore[attr-defined]
    trace.filter("order")  # type: ignore[arg-type]
diagram(Order)  # type: ignore[arg-type]
diagram(shop, "svg", trace)  # type: ignore[call-overload]
log_records(Shop)  # type: ignore[arg-type]
