"""Law 2: direct calls act now."""

from __future__ import annotations

import inspect
from typing import Any

from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, on


class Payment(StateMachine):
    unpaid = State(initial=True)
    authorized = State(final=True)
    authorize = unpaid.to(authorized)

    def on_authorize(self, amount: int = 1) -> int:
        return amount * 2


class Order(StateMachine):
    pending = State(initial=True)
    processing = State(final=True)
    process = pending.to(processing)

    def before_process(self, orc: Any) -> Any:
        return then(orc.payment.authorize(21), lambda result: orc.note(result))


def then(result: Any, use: Any) -> Any:
    """Use a result now, or when it is there."""
    if not inspect.isawaitable(result):
        return use(result)

    async def wait() -> Any:
        return use(await result)

    return wait()


class Shop(Orchestrator):
    order: Order
    payment: Payment
    notes: Any = None

    def note(self, result: Any) -> None:
        states = (self.order.current_state_value, self.payment.current_state_value)
        self.notes = (result, *states)


def test_a_direct_call_in_a_callback_acts_at_once_and_returns_its_result(engine: Any) -> None:
    """`orc.payment.authorize()` moves the payment in mid-step, and returns its result."""
    shop = Shop(order=engine.machine(Order)(), payment=engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert shop.notes == (42, "pending", "authorized")


def test_a_direct_call_raises_what_the_machine_raises(engine: Any) -> None:
    """A refused direct call raises in the callback, whose machine stays where it was."""
    shop = Shop(order=engine.machine(Order)(), payment=engine.machine(Payment)())
    engine.run(lambda: shop.payment.authorize())
    engine.raises(TransitionNotAllowed, lambda: shop.order.process())
    assert (shop.order.current_state_value, shop.notes) == ("pending", None)


def test_a_direct_call_in_a_reaction_returns_its_result(engine: Any) -> None:
    """A reaction gets the real result of the call it makes."""

    class Plain(StateMachine):
        pending = State(initial=True)
        processing = State(final=True)
        process = pending.to(processing)

    class Reacting(Orchestrator):
        order: Plain
        payment: Payment
        notes: Any = None

        @on("order.process")
        def pay(self) -> Any:
            return then(self.payment.authorize(4), lambda result: setattr(self, "notes", result))

    shop = Reacting(order=engine.machine(Plain)(), payment=engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert shop.notes == 8
