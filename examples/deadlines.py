"""A shop with a deadline: who does not pay within fifteen minutes is reminded, then cancelled.

A timeout is a reaction to a state that lasts: `@timeout("order.placed", minutes=15)`.
Its time begins when the order enters the state, and ends when the order leaves it. So nothing
must be taken back when the customer pays: the order is in another state, and both times are over.

`repeat=True` runs again after each five minutes. At the end of the fifteenth both are due;
the one that was set first comes first, and then there is nobody left to remind.

The clock is a virtual one: it stands still until it is advanced, so half an hour takes no time
here, nor in a test. Without `use_clock` it is the system's clock.

Run it with `python examples/deadlines.py`.
"""

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, VirtualClock, on_enter, timeout, use_clock
from statemachines_orchestrator.records import Elapsed, Transitioned


class Order(StateMachine):
    """What the customer wants."""

    draft = State(initial=True)
    placed = State()
    accepted = State(final=True)
    cancelled = State(final=True)

    place = draft.to(placed)
    accept = placed.to(accepted)
    cancel = placed.to(cancelled)


class Payment(StateMachine):
    """What the customer pays."""

    unpaid = State(initial=True)
    paid = State(final=True)
    void = State(final=True)

    pay = unpaid.to(paid)
    annul = unpaid.to(void)


class Shop(Orchestrator):
    """One order and its payment, and what time does to them."""

    order: Order
    payment: Payment

    @timeout("order.placed", minutes=5, repeat=True)
    def remind(self, record: Elapsed) -> None:
        """Write to the customer, every five minutes."""
        print(f"  {record.due / 60:4.0f} min  dear customer, your order waits for your payment")

    @timeout(order=Order.placed, minutes=15)
    def give_up(self) -> None:
        """Cancel what was not paid in time."""
        self.order.cancel()

    @on_enter("payment.paid")
    def accept(self) -> None:
        """Take the order. The timeouts are over: it is no longer in the state `placed`."""
        self.order.accept()

    @on_enter("order.cancelled")
    def annul(self) -> None:
        """Take no money any more."""
        self.payment.annul()


def open_shop(clock: VirtualClock) -> Shop:
    """Build a shop that prints what happens, with the time at which it does."""
    shop = Shop(order=Order(), payment=Payment())
    use_clock(shop, clock)

    def tell(_machine: object, record: Transitioned) -> None:
        move = f"{record.exited[0]} -> {record.entered[0]}"
        print(f"  {clock.now() / 60:4.0f} min  {record.machine_name}.{record.event}: {move}")

    shop.bus.signal("*").connect(tell)
    return shop


def main() -> None:
    """Sell to a customer who pays in time, and to one who does not."""
    print("a customer who pays in time")
    clock = VirtualClock()
    shop = open_shop(clock)
    shop.order.place()
    clock.advance(7 * 60)
    shop.payment.pay()
    clock.advance(23 * 60)
    print(f"  {clock.now() / 60:4.0f} min  {shop}, due next: {clock.next_due}")

    print("a customer who does not pay")
    clock = VirtualClock()
    shop = open_shop(clock)
    shop.order.place()
    clock.advance(30 * 60)
    print(f"  {clock.now() / 60:4.0f} min  {shop}, due next: {clock.next_due}")


if __name__ == "__main__":
    main()
