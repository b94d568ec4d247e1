"""Replay an object-centric log of a warehouse: orders, their items, and packages of items.

A row of such a log names several objects, and an object is named by many rows. Each is a machine:

* an order is an orchestrator of its own. It is ready when every item is picked, and complete when
  it is paid and every item is delivered: the joins of `Order` over its fleet of items;
* a package knows the items that were packed into it, of whatever orders. When it is delivered,
  they are: a reaction of `Warehouse`.

Nothing else waits for anything: an order may be paid before it is confirmed, or delivered before
it is paid. A reminder may cross the payment. A delivery may fail several times on one journey.

Each object of a row that is unknown, or cannot take what the row does to it, is printed with the
reason; the other objects of the row are done, and the replay goes on. Then the program prints what
became of orders and packages.

    python examples/warehouse.py [LOG.csv]

Without an argument it reads the invented log beside this file. Rows are numbered as the lines of
the file, the header is line 1. The exit code is 0, or 2 if the log as a whole cannot be read.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Fleet, Orchestrator, every, on, when

# The model -------------------------------------------------------------------------------------


class Item(StateMachine):
    """One item of an order."""

    ordered = State(initial=True)
    missing = State()
    reordered = State()
    picked = State()
    packed = State()
    delivered = State(final=True)

    run_out = ordered.to(missing) | reordered.to(missing)
    reorder = missing.to(reordered)
    pick = ordered.to(picked) | reordered.to(picked)
    pack = picked.to(packed)
    deliver = packed.to(delivered)

    def on_pack(self, package: "Package") -> None:
        """Go into a package."""
        package.items.append(self)


class Package(StateMachine):
    """What the items travel in."""

    items: list[Item]

    created = State(initial=True)
    sent = State()
    failed = State()
    delivered = State(final=True)

    dispatch = created.to(sent) | failed.to(sent)
    fail = sent.to(failed) | failed.to(failed)
    deliver = sent.to(delivered) | failed.to(delivered)


class Confirmation(StateMachine):
    """Whether the customer knows that the order was received."""

    awaited = State(initial=True)
    given = State(final=True)

    confirm = awaited.to(given)


class Payment(StateMachine):
    """Whether the order is paid."""

    unpaid = State(initial=True)
    paid = State()

    remind = unpaid.to(unpaid) | paid.to(paid)
    pay = unpaid.to(paid)


class Processing(StateMachine):
    """How far the order as a whole has come."""

    placed = State(initial=True)
    ready = State()
    complete = State(final=True)

    get_ready = placed.to(ready)
    finish = ready.to(complete)


class Order(Orchestrator):
    """An order and its items."""

    items: Fleet[str, Item]
    confirmation: Confirmation = attrs.field(factory=Confirmation)
    payment: Payment = attrs.field(factory=Payment)
    processing: Processing = attrs.field(factory=Processing)

    get_ready = when(items=every("picked", "packed", "delivered")).send("processing.get_ready")
    finish = when(payment="paid", items=every("delivered")).send("processing.finish")

    @property
    def joint_state(self) -> str:
        """Whether it is paid, and whether all of its items are delivered."""
        states = {item.current_state_value for item in self.items.values()}
        delivered = "all" if states == {"delivered"} else "not all"
        return f"{self.payment.current_state_value}, {delivered} items delivered"


class Warehouse(Orchestrator):
    """All orders and packages, and all items by their ids."""

    orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])
    packages: Fleet[str, Package] = attrs.field(factory=Fleet[str, Package])
    items: dict[str, Item] = attrs.field(factory=dict[str, Item])

    @on("packages.deliver")
    def hand_over(self, machine: Package) -> None:
        """Deliver the items of a delivered package."""
        for item in machine.items:
            item.deliver()

    def place(self, order: str, items: Iterable[str]) -> None:
        """Put in an order of new items."""
        fleet = Fleet({key: Item() for key in items})
        self.items.update(fleet)
        self.orders[order] = Order(fleet)

    def create(self, package: str) -> Package:
        """Put in a package, to be filled."""
        created = self.packages[package] = Package()
        created.items = []
        return created


# The log ---------------------------------------------------------------------------------------

ACTIVITIES = {
    "place order": ("orders", ""),
    "confirm order": ("orders", "confirmation.confirm"),
    "payment reminder": ("orders", "payment.remind"),
    "pay order": ("orders", "payment.pay"),
    "item out of stock": ("items", "run_out"),
    "reorder item": ("items", "reorder"),
    "pick item": ("items", "pick"),
    "create package": ("packages", ""),
    "send package": ("packages", "dispatch"),
    "failed delivery": ("packages", "fail"),
    "package delivered": ("packages", "deliver"),
}
"""Which objects of a row an activity is about, and the event that it is for each."""
NEW = {"place order": ("orders", "items"), "create package": ("packages",)}
"""Which objects begin with a row. All others must be known."""
KINDS = ("orders", "items", "packages")
ID = re.compile(r"""'([^']*)'|"([^"]*)"|([^][,'"]+)""")
NO_IDS = {"", "nan", "none", "null"}

Refusals = Iterator[tuple[str, str]]
"""Objects that were refused, each with the reason."""


class LogUnreadableError(Exception):
    """The log as a whole cannot be replayed, for the reason given."""


def ids_in(cell: str) -> list[str]:
    """Return the ids in a cell, each once: `['1', "2"]`, `3`, and blanks of all kinds."""
    ids = (match[match.lastindex or 0].strip() for match in ID.finditer(cell))
    return [one for one in dict.fromkeys(ids) if one.lower() not in NO_IDS]


def problem_of(activity: str, row: dict[str, list[str]]) -> str | None:
    """Return what is wrong with a row as a whole."""
    if activity not in ACTIVITIES:
        return "there is no such activity"
    kind, _ = ACTIVITIES[activity]
    if activity in NEW and not (len(row[kind]) == 1 and row["items"]):
        return f"it must name one {kind[:-1]} and its items"
    return None if row[kind] else f"it names no {kind[:-1]}"


def replay_row(warehouse: Warehouse, activity: str, row: dict[str, list[str]]) -> Refusals:
    """Do what a row says to the objects that it names."""
    problem = problem_of(activity, row)
    if problem:
        named = [f"{kind[:-1]} {key}" for kind in KINDS for key in row[kind]]
        yield ", ".join(named) or "nothing", problem
        return
    kind, event = ACTIVITIES[activity]
    new = NEW.get(activity, ())
    fit: dict[str, list[str]] = {}
    for other in KINDS:
        known = getattr(warehouse, other)
        reason = "it is known already" if other in new else "it is unknown"
        fit[other] = []
        for key in row[other]:
            if (key in known) != (other in new):
                fit[other].append(key)
            else:
                yield f"{other[:-1]} {key}", reason
    if event:
        yield from send(warehouse, kind, fit[kind], event)
    elif kind == "orders":
        for order in fit[kind]:
            warehouse.place(order, fit["items"])
    else:
        for package in fit[kind]:
            yield from send(warehouse, "items", fit["items"], "pack", warehouse.create(package))


def send(warehouse: Warehouse, kind: str, keys: list[str], event: str, *args: Any) -> Refusals:
    """Send an event to each of the objects, or to one of its machines."""
    *field, event = event.split(".")
    for key in keys:
        machine = getattr(warehouse, kind)[key]
        machine = getattr(machine, *field) if field else machine
        try:
            machine.send(event, *args)
        except TransitionNotAllowed:
            yield f"{kind[:-1]} {key}", f"it is {machine.current_state_value}"


def replay(lines: Iterable[str]) -> None:
    """Replay a log, print what was refused, and what became of orders and packages."""
    csv.field_size_limit(2**31 - 1)  # an order may have any number of items
    reader = csv.DictReader((line.replace("\0", "") for line in lines), restval="")
    header = list(reader.fieldnames or ())
    columns = {kind: f"ocel:type:{kind}" for kind in KINDS}
    wrong = [one for one in ("ocel:activity", *columns.values()) if header.count(one) != 1]
    if wrong:
        problem = f"its header must have, once, {', '.join(wrong)}"
        raise LogUnreadableError(problem)
    warehouse = Warehouse()
    refused = 0
    for row in reader:
        activity = row["ocel:activity"].strip()
        ids = {kind: ids_in(row[column]) for kind, column in columns.items()}
        refusals = replay_row(warehouse, activity, ids)
        if None in row:
            refusals = iter([("the row", "it has more fields than the header")])
        for subject, reason in refusals:
            refused += 1
            print(f"refused: line {reader.line_num}: {activity}: {subject}: {reason}")
    print(f"refused: {refused}")
    orders, packages = warehouse.orders.values(), warehouse.packages.values()
    show("orders, by payment and delivery", (order.joint_state for order in orders))
    show("orders, by processing", (order.processing.current_state_value for order in orders))
    show("packages", (package.current_state_value for package in packages))


def show(title: str, states: Iterable[str]) -> None:
    """Print how many there are in each state."""
    counts = Counter(states)
    print(f"{title}: {sum(counts.values())}")
    for state, count in sorted(counts.items()):
        print(f"{count:6} {state}")


def main(arguments: list[str]) -> int:
    """Replay the log named on the command line, or the invented one."""
    if len(arguments) > 1:
        print("usage: python warehouse.py [LOG.csv]", file=sys.stderr)
        return 2
    path = Path(arguments[0]) if arguments else Path(__file__).with_suffix(".csv")
    try:
        with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as lines:
            replay(lines)
    except (OSError, LogUnreadableError) as error:
        problem = getattr(error, "strerror", None) or error
        print(f"warehouse.py: cannot replay {path}: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
