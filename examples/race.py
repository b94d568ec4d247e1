"""A race between cancel and capture, found, seen, mended and proved.

A bank takes its time: it is asked to capture a payment, and confirms later. In the first version of
the shop a customer who cancels in between pays for nothing. Tests of the three machines find
nothing, and neither do tests of the shop in which the bank is quick.
"""

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter, removed
from statemachines_orchestrator.exploration import explore, invariant


class Order(StateMachine):
    """What was ordered."""

    placed = State(initial=True)
    shipped = State(final=True)
    cancelled = State(final=True)
    ship = placed.to(shipped)
    cancel = placed.to(cancelled)


class Payment(StateMachine):
    """What it costs; the bank confirms."""

    authorized = State(initial=True)
    capturing = State()
    captured = State()
    voided = State(final=True)
    refunded = State(final=True)
    capture = authorized.to(capturing)
    confirm = capturing.to(captured)
    void = authorized.to(voided)
    refund = captured.to(refunded)


class FirstShop(Orchestrator):
    """Ships what is paid, and voids what is cancelled."""

    order: Order
    payment: Payment

    ship = on_enter("payment.captured").send("order.ship")
    void = on("order.cancel").send("payment.void", if_enabled=True)

    @invariant
    def nobody_pays_for_nothing(self) -> bool:
        """Whoever has paid gets something."""
        order, payment = self.order.current_state_value, self.payment.current_state_value
        return not (order == "cancelled" and payment == "captured")


class Shop(FirstShop):
    """Looks at the order when the bank confirms."""

    ship = removed

    @on_enter("payment.captured")
    def settle(self) -> None:
        """Ship, or give the money back."""
        if self.order.current_state_value == "placed":
            self.order.ship()
        else:
            self.payment.refund()


OUTSIDE = ["order.cancel", "payment.capture", "payment.confirm"]
"""What customers and the bank send; the rest the shop sends itself."""
DONE = {"order": "shipped", "payment": "captured"}


def main() -> None:
    """Explore both versions."""
    first = explore(FirstShop, events=OUTSIDE, may_rest=DONE)
    broken = first.of("invariant")[0]
    print(broken)
    print(f"\nAs a test:\n\n{broken.as_test()}")
    goal = {"order": ("shipped", "cancelled")}
    print(explore(Shop, events=OUTSIDE, may_rest=DONE, can_always=goal))


if __name__ == "__main__":
    main()
