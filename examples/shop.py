"""An order, its payment and its shipment: three machines, and what links them.

There are three kinds of links, and this program has one of each:

* a direct call in a callback acts now: `Order.after_process` calls `orc.payment.authorize()`;
* a reaction acts next, when every machine is at rest: the methods of `Shop`;
* an observer only looks: `tell`, connected with blinker, prints what happens.

The lines are printed in the order in which things happen.
`payment.authorize` stands before `order.process`, because the direct call was made, and finished,
in a callback of the order. Everything below is a reaction to a line above it.

Run it with `python examples/shop.py`.
"""

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter
from statemachines_orchestrator.records import Started, Transitioned


class Order(StateMachine):
    """What the customer wants."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)

    process = pending.to(processing)
    ship = processing.to(shipped)

    def after_process(self, orc: "Shop") -> None:
        """Reserve the money: a direct call, it acts now."""
        orc.payment.authorize()


class Payment(StateMachine):
    """What the customer pays."""

    unpaid = State(initial=True)
    authorized = State()
    captured = State(final=True)

    authorize = unpaid.to(authorized)
    capture = authorized.to(captured)


class Shipment(StateMachine):
    """What the customer gets."""

    waiting = State(initial=True)
    travelling = State()
    delivered = State(final=True)

    dispatch = waiting.to(travelling)
    deliver = travelling.to(delivered)


class Shop(Orchestrator):
    """The three machines, and the reactions that link them: each acts next."""

    order: Order
    payment: Payment
    shipment: Shipment

    @on("payment.authorize")
    def capture(self) -> None:
        """Take the money that was reserved."""
        self.payment.capture()

    @on_enter("payment.captured")
    def ship(self) -> None:
        """Ship what is paid."""
        self.order.ship()

    @on_enter("order.shipped")
    def dispatch(self) -> None:
        """Hand the parcel over."""
        self.shipment.dispatch()

    @on("settled")
    def save(self) -> None:
        """Save the whole: nothing is left to run now."""
        print(f"  settled: save {self}")


def tell(_sender: object, record: Transitioned | Started) -> None:
    """Print a transition, or the beginning of a reaction."""
    if isinstance(record, Transitioned):
        move = f"{record.exited[0]} -> {record.entered[0]}"
        print(f"    {record.machine_name}.{record.event} took place: {move}")
    elif record.topic != "settled":
        print(f"  {record.topic} leads to the reaction {record.name}")


def main() -> None:
    """Sell one thing and deliver it."""
    shop = Shop(order=Order(), payment=Payment(), shipment=Shipment())
    shop.bus.signal("*").connect(tell)
    shop.bus.signal("started:*").connect(tell)

    print("call shop.order.process()")
    shop.order.process()

    print("call shop.shipment.deliver()")
    shop.shipment.deliver()

    print("in the end")
    print(f"  {shop}")


if __name__ == "__main__":
    main()
