"""What type checkers must accept, and what they must make of it. Never run, only checked.

mypy and pyright check it strictly; `tests/test_typing.py` runs mypy.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Optional

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, ReactionErrors, on, on_enter, on_exit, removed

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


class Endless(Shop, max_reactions=None):
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
