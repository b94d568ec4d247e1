"""What type checkers must report, line by line. Never run, only checked.

Each misuse is one line with an ignore: `type: ignore` for both checkers, `pyright: ignore` where
mypy sees `Any`. Both report an ignore that is not needed: a misuse that is no longer found fails.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter


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
shop.post()  # type: ignore[call-arg]
shop.asend(3)  # type: ignore[arg-type, unused-coroutine]
shop.asend("order.process")  # type: ignore[unused-coroutine]
shop.bus.signal(3)  # type: ignore[arg-type]
shop.bus.signal("order.process").connect(3)  # type: ignore[type-var]
result: int = shop.post("order.process")  # type: ignore[assignment, func-returns-value]


async def wait() -> None:
    """Await what cannot be awaited."""
    await shop.post("order.process")  # type: ignore[func-returns-value, misc]
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


class Renamed(Orchestrator, orchestrator_name=3):  # type: ignore[arg-type]
    """A name that is no string."""

    order: Order


class Unknown(Orchestrator, maximum=3):  # type: ignore[call-arg]
    """A class keyword that is none."""

    order: Order


class Mixed(Orchestrator, abstract="yes"):  # type: ignore[arg-type]
    """A flag that is no bool."""
