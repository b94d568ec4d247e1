"""Deadlines of a web shop: a column in the row, and a sweep.

A timer lives as long as its orchestrator, in this process. A web request builds the shop from a
row, and drops it when it has answered: a timeout would die with it, or begin anew in full with
each request, and so never come due. So the row keeps the deadline, each request compares it with
the time, and a sweep, a cron job say, cancels what is overdue.

Run it with `python examples/sweep.py`.
"""

import gc
import sqlite3

import attrs
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, VirtualClock, timeout, use_clock

MINUTE = 60.0


@attrs.define
class Row:
    """A row of the table: the model of an order, which keeps its state there."""

    id: int
    state: str
    pay_by: float


class Order(StateMachine):
    """What the customer wants."""

    placed = State(initial=True)
    paid = State(final=True)
    cancelled = State(final=True)

    pay = placed.to(paid, cond="in_time")
    cancel = placed.to(cancelled)

    def in_time(self, now: float, model: Row) -> bool:
        """Refuse who is late, even if no sweep has come by yet."""
        return now < model.pay_by


class Shop(Orchestrator):
    """One order, for the time of one request."""

    order: Order


class TimedShop(Shop):
    """What does not work here."""

    @timeout("order.placed", minutes=15)
    def give_up(self) -> None:
        """Never called: no request lasts so long."""
        self.order.cancel()


def request(table: sqlite3.Connection, number: int, event: str, now: float) -> str:
    """Build the shop from its row, send an event, save the row if nobody was faster."""
    found = table.execute("SELECT id, state, pay_by FROM orders WHERE id = ?", (number,))
    row = Row(*found.fetchone())
    before = row.state
    shop = Shop(Order(row))
    try:
        shop.machines["order"].send(event, now=now)
    except TransitionNotAllowed:
        return f"refused, it is {row.state}"
    update = "UPDATE orders SET state = ? WHERE id = ? AND state = ?"
    saved = table.execute(update, (row.state, number, before)).rowcount
    return row.state if saved else "somebody was faster"


def sweep(table: sqlite3.Connection, now: float) -> dict[int, str]:
    """Cancel what is overdue: an event like any other, with all that follows from it."""
    query = "SELECT id FROM orders WHERE state = 'placed' AND pay_by <= ? ORDER BY id"
    overdue = table.execute(query, (now,)).fetchall()
    return {number: request(table, number, "cancel", now) for (number,) in overdue}


def main() -> None:
    """Sell to four customers; then try it with a timeout."""
    table = sqlite3.connect(":memory:")
    table.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, pay_by REAL)")
    for number in range(1, 5):
        row = (number, "placed", (number + 15) * MINUTE)
        table.execute("INSERT INTO orders VALUES (?, ?, ?)", row)
    print("order 1 pays after 10 min:", request(table, 1, "pay", 10 * MINUTE))
    print("order 2 pays after 18 min:", request(table, 2, "pay", 18 * MINUTE))
    print("sweep after 18 min:", sweep(table, 18 * MINUTE))
    print("sweep after 20 min:", sweep(table, 20 * MINUTE))
    print("order 4 pays after 21 min:", request(table, 4, "pay", 21 * MINUTE))
    table.close()

    print("with a timeout, and a request every 10 min")
    clock = VirtualClock()
    unpaid = Row(5, "placed", 15 * MINUTE)
    for _ in range(3):
        shop = TimedShop(Order(unpaid))
        use_clock(shop, clock)
        del shop
        gc.collect()  # a dropped shop is a cycle: until it is collected, its timers are there
        clock.advance(10 * MINUTE)
        print(f"  after {clock.now() / MINUTE:.0f} min it is {unpaid.state}")


if __name__ == "__main__":
    main()
