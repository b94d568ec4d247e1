"""Nesting: orchestrators in the fields and fleets of orchestrators."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import TYPE_CHECKING, Any, Optional, cast

import attrs
import pytest
from conftest import awaited, entered, listen, needs_3, operations, pickled
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    NotAMemberError,
    Orchestrator,
    OrchestratorError,
    ReactionErrors,
    UnknownTopicError,
    WrongMachineError,
    domain_signal,
    on,
    on_enter,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Engine


class Order(StateMachine):
    """The machine of most desks. Its callback does what the event says."""

    new = State(initial=True)
    paid = State()
    shipped = State(final=True)
    pay = new.to(paid)
    ship = paid.to(shipped)

    def on_pay(
        self, orc: Any = None, warehouse: Any = None, region: Any = None, act: Any = None
    ) -> Any:
        return act(orc, warehouse) if act is not None else (orc, warehouse, region)


class AsyncOrder(Order):
    """It can be imported, so that it can be pickled."""

    async def on_enter_state(self) -> None:
        """Make the machine async."""


class Till(StateMachine):
    """A machine without end."""

    shut = State(initial=True)
    opened = State()
    toggle = shut.to(opened) | opened.to(shut)


class Desk(Orchestrator):
    """The inner orchestrator of most tests."""

    order: Order
    log: list[Any] = attrs.field(factory=list[Any], repr=False)

    @on("order.pay")
    def capture(self) -> None:
        self.log.append("capture")


class Warehouse(Orchestrator, orchestrator_name="warehouse"):
    """The outer one, with a name of its own."""

    desks: Fleet[str, Desk] = attrs.field(factory=Fleet[str, Desk])
    log: list[Any] = attrs.field(factory=list[Any], repr=False)

    @on("desks.order.pay")
    def count(self, key: str) -> None:
        self.log.append(("count", key))


class Region(Orchestrator, orchestrator_name="region"):
    """A third level."""

    houses: Fleet[int, Warehouse] = attrs.field(factory=Fleet[int, Warehouse])


class Shop(Orchestrator):
    """An outer one with the name of the inner one, which stands in a field of its own."""

    till: Till
    desk: Desk


def warehouse_of(engine: Engine, keys: str) -> Warehouse:
    """Return a warehouse with a desk under each key."""
    warehouse = Warehouse()
    for key in keys:
        warehouse.desks[key] = Desk(engine.machine(Order)())
    return warehouse


# Topics and records ---------------------------------------------------------------------------


def test_topics_are_paths(engine: Engine) -> None:
    """A step of an inner machine is published on both levels, below the name of the field."""
    warehouse = warehouse_of(engine, "ab")
    desk = warehouse.desks["b"]
    heard: list[str] = []

    def connect(orchestrator: Orchestrator, level: str, *topics: str) -> None:
        for topic in topics:
            orchestrator.bus.signal(topic).connect(
                lambda machine, record, topic=topic: heard.append(f"{level} {topic}")
            )

    below = ("order.pay", "order.*", "enter:order.paid", "exit:order.new", "sent:order.pay")
    connect(desk, "inner", "*", "sent:*", "sent:order.*", *below)
    connect(warehouse, "outer", "*", "sent:*", "desks.*", "sent:desks.*", "sent:desks.order.*")
    for topic in below:
        kind, colon, rest = topic.rpartition(":")
        connect(warehouse, "outer", f"{kind}{colon}desks.{rest}")
    engine.run(desk.order.pay)
    engine.run(warehouse.desks["a"].order.pay)
    outer = [
        "outer sent:desks.order.pay",
        "outer sent:desks.order.*",
        "outer sent:desks.*",
        "outer sent:*",
        "outer exit:desks.order.new",
        "outer desks.order.pay",
        "outer desks.order.*",
        "outer desks.*",
        "outer *",
        "outer enter:desks.order.paid",
    ]
    inner = [topic.replace("outer", "inner").replace("desks.", "") for topic in outer]
    del inner[inner.index("inner sent:*")], inner[inner.index("inner *")]
    assert heard == [*inner[:3], *outer[:4], *inner[3:], *outer[4:], *outer]


def test_a_transition_is_one_record_on_all_levels(engine: Engine) -> None:
    """Every receiver on every level is given the same object."""
    region, warehouse = Region(), warehouse_of(engine, "ab")
    region.houses[7] = warehouse
    desk = warehouse.desks["b"]
    heard = [
        listen(desk, "order.pay", "*", "sent:order.pay"),
        listen(warehouse, "desks.order.pay", "*", "sent:*"),
        listen(region, "houses.desks.order.pay", "houses.*", "sent:houses.desks.order.pay"),
    ]
    engine.run(desk.order.pay)
    records = [record for level in heard for _, record in level]
    transitions = [r for r in records if type(r).__name__ == "Transitioned"]
    sent = [r for r in records if type(r).__name__ == "Sent"]
    assert (len(transitions), len(sent)) == (6, 3)
    assert [record for record in transitions if record is not transitions[0]] == []
    assert [record for record in sent if record is not sent[0]] == []
    for record in (transitions[0], sent[0]):
        assert record.machine_name == "order"
        assert record.path == ("houses", 7, "desks", "b", "order")
        assert (record.keys, record.key) == ((7, "b"), "b")


def test_the_path_of_a_field_has_no_key(engine: Engine) -> None:
    """An orchestrator in a field of its own adds its name to the path, and no key."""
    shop = Shop(engine.machine(Till)(), Desk(engine.machine(Order)()))
    heard = listen(shop, "desk.order.pay", "desk.*", "till.toggle")
    engine.run(shop.desk.order.pay)
    engine.run(shop.till.toggle)
    assert [(topic, r.path, r.keys, r.key) for topic, r in heard] == [
        ("desk.order.pay", ("desk", "order"), (), None),
        ("desk.*", ("desk", "order"), (), None),
        ("till.toggle", ("till",), (), None),
    ]


def test_reactions_are_given_the_last_key(engine: Engine) -> None:
    """`key` is the last of the fleet keys along the path, on every level."""
    log: list[Any] = []

    class Cell(Orchestrator):
        orders: Fleet[int, Order] = attrs.field(factory=Fleet[int, Order])

        @on("orders.pay")
        def inner(self, key: Any) -> None:
            log.append(("inner", key))

    class Hall(Orchestrator):
        order: Order
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

        @on("cells.orders.pay", "order.pay")
        def outer(self, key: Any, record: Any) -> None:
            log.append(("outer", key, record.keys, record.path))

    hall = Hall(order=engine.machine(Order)())
    hall.cells["c"] = Cell()
    hall.cells["c"].orders[1] = engine.machine(Order)()
    engine.run(hall.cells["c"].orders[1].pay)
    engine.run(hall.order.pay)
    assert log == [
        ("inner", 1),
        ("outer", 1, ("c", 1), ("cells", "c", "orders", 1)),
        ("outer", None, (), ("order",)),
    ]


def test_signals_of_the_domain_are_heard_below_the_name_of_the_field(engine: Engine) -> None:
    """A published signal is one record on all levels, and its own `key` wins."""
    log: list[Any] = []

    class Cell(Orchestrator):
        order: Order
        low = domain_signal("little is left")

    class Hall(Orchestrator):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

        @on("cells.low")
        def refill(self, key: str, record: Any) -> None:
            log.append((key, record.key, record.path, record.name))

    hall = Hall()
    cell = hall.cells["c"] = Cell(engine.machine(Order)())
    cell.publish("low")
    cell.publish("low", key="own")
    assert log == [("c", "c", ("cells", "c"), "low"), ("own", "c", ("cells", "c"), "low")]


def test_turns_are_heard_below_the_name_of_the_field(engine: Engine) -> None:
    """`started:`, `finished:` and `failed:` of inner reactions and posts are paths outside."""

    class Failing(Desk):
        @on("order.pay")
        def refuse(self) -> None:
            raise ValueError("no")

    class Hall(Orchestrator):
        desks: Fleet[str, Failing] = attrs.field(factory=Fleet[str, Failing])

    hall = Hall()
    desk = hall.desks["a"] = Failing(engine.machine(Order)())
    topics = [
        f"{kind}:desks.{name}"
        for kind in ("started", "finished", "failed")
        for name in ("capture", "refuse", "order.pay")
    ]
    heard = listen(hall, *topics, "started:*", "finished:*", "failed:*")
    inner = listen(desk, "started:*", "started:order.pay", "failed:refuse")
    with pytest.raises(ReactionErrors):
        desk.post("order.pay")
    assert [topic for topic, _ in heard] == [
        "started:desks.order.pay",
        "started:*",
        "finished:desks.order.pay",
        "finished:*",
        "started:desks.capture",
        "started:*",
        "finished:desks.capture",
        "finished:*",
        "started:desks.refuse",
        "started:*",
        "failed:desks.refuse",
        "failed:*",
    ]
    assert {r.path for _, r in (*heard, *inner)} == {("desks", "a")}
    outer_records = {id(r) for _, r in heard}
    assert [topic for topic, r in inner if id(r) in outer_records] == [
        "started:order.pay",
        "started:*",
        "started:*",
        "started:*",
        "failed:refuse",
    ]


def test_what_will_not_run_is_abandoned_on_all_levels(engine: Engine) -> None:
    """An inner reaction that is given up is heard as `abandoned:desks.capture` outside."""

    class Stop(BaseException):
        pass

    class Stopping(Orchestrator):
        order: Order

        @on("order.pay")
        def stop(self) -> None:
            raise Stop

        @on("order.pay")
        def capture(self) -> None:
            """Never run."""

    class Hall(Orchestrator):
        desks: Fleet[str, Stopping] = attrs.field(factory=Fleet[str, Stopping])

    hall = Hall()
    hall.desks["a"] = Stopping(engine.machine(Order)())
    heard = listen(hall, "abandoned:desks.capture", "abandoned:*")
    engine.raises(Stop, hall.desks["a"].order.pay)
    assert [(topic, r.name, r.path) for topic, r in heard] == [
        ("abandoned:desks.capture", "capture", ("desks", "a")),
        ("abandoned:*", "capture", ("desks", "a")),
    ]


@needs_3
def test_an_ignored_event_is_heard_on_all_levels(engine: Engine) -> None:
    """`ignored:` is a path outside, as `sent:` is."""
    from test_reactions import StateChart  # noqa: PLC0415

    class Lax(StateChart):
        shut = State(initial=True)
        opened = State(final=True)
        open = shut.to(opened)

    class Cell(Orchestrator):
        lax: Lax

    class Hall(Orchestrator):
        cell: Cell

    hall = Hall(Cell(engine.machine(Lax)()))
    heard = listen(hall, "ignored:cell.lax.*", "ignored:cell.*", "ignored:*")
    engine.run(lambda: hall.cell.lax.send("close"))
    assert [(topic, r.path) for topic, r in heard] == [
        (topic, ("cell", "lax")) for topic in ("ignored:cell.lax.*", "ignored:cell.*", "ignored:*")
    ]


# Injection ------------------------------------------------------------------------------------


def test_inner_machines_get_the_inner_orchestrator_and_the_outer_one(engine: Engine) -> None:
    """Each level is injected under its own name, as long as it holds."""
    warehouse = warehouse_of(engine, "abcd")
    region = Region()
    told: list[Any] = []
    desk = warehouse.desks["a"]
    told.append(engine.run(desk.order.pay) == (desk, warehouse, None))
    region.houses[1] = warehouse
    desk = warehouse.desks["b"]
    told.append(engine.run(desk.order.pay) == (desk, warehouse, region))
    del region.houses[1]
    desk = warehouse.desks["c"]
    told.append(engine.run(desk.order.pay) == (desk, warehouse, None))
    desk = warehouse.desks.pop("d")
    told.append(engine.run(desk.order.pay) == (desk, None, None))
    assert told == [True, True, True, True]


def test_of_one_name_the_inner_orchestrator_has_it(engine: Engine) -> None:
    """Where both levels have one name, the inner one is injected."""
    shop = Shop(engine.machine(Till)(), Desk(engine.machine(Order)()))
    assert engine.run(shop.desk.order.pay) == (shop.desk, None, None)


def test_a_reaction_has_the_orchestrator_that_it_belongs_to(engine: Engine) -> None:
    """A reaction's own orchestrator is injected under its name, on each level."""
    log: list[Any] = []

    class Cell(Orchestrator):
        order: Order

        @on("order.pay")
        def inner(self, orc: Any) -> None:
            log.append(orc is self)

    class Hall(Orchestrator, orchestrator_name="hall"):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

        @on("cells.order.pay")
        def outer(self, hall: Any, machine: Any) -> None:
            log.append((hall is self, machine is self.cells["c"].order))

    hall = Hall()
    hall.cells["c"] = Cell(engine.machine(Order)())
    engine.run(hall.cells["c"].order.pay)
    assert log == [True, (True, True)]


# One cascade ----------------------------------------------------------------------------------


def test_inner_reactions_are_queued_before_outer_ones(engine: Engine) -> None:
    """All reactions of a step on the inner level run before those on the outer one."""
    log: list[str] = []

    class Cell(Orchestrator):
        order: Order

        @on_enter("order.paid")
        def inner_enter(self) -> None:
            log.append("inner enter")

        @on("order.pay")
        def inner(self) -> Any:
            log.append("inner")
            return self.order.ship()

        @on("order.ship")
        def inner_ship(self) -> None:
            log.append("inner ship")

    class Hall(Orchestrator):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

        @on("*")
        def outer_any(self, event: str) -> None:
            log.append(f"outer any {event}")

        @on("cells.order.pay")
        def outer(self) -> None:
            log.append("outer")

    hall = Hall()
    hall.cells["c"] = Cell(engine.machine(Order)())
    engine.run(hall.cells["c"].order.pay)
    assert log == [
        "inner",
        "inner enter",
        "outer",
        "outer any pay",
        "inner ship",
        "outer any ship",
    ]


def test_one_cascade_runs_through_all_levels(engine: Engine) -> None:
    """What a reaction of one level moves on another is the same cascade, with one settled each."""
    log: list[Any] = []

    class Cell(Orchestrator):
        order: Order
        till: Till

        @on("till.toggle")
        def pay(self) -> Any:
            log.append("inner pay")
            return self.order.pay()

        @on("settled")
        def inner_rest(self, record: Any) -> None:
            log.append(("inner settled", record.path, record.reactions))

    class Hall(Orchestrator):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

        @on("cells.order.pay")
        def next_one(self, key: str) -> Any:
            log.append(f"outer after {key}")
            return None if key == "b" else self.cells["b"].till.toggle()

        @on("settled")
        def outer_rest(self, record: Any) -> None:
            log.append(("outer settled", record.path, record.reactions))

    hall = Hall()
    for key in "ab":
        hall.cells[key] = Cell(engine.machine(Order)(), engine.machine(Till)())
    engine.run(hall.cells["a"].till.toggle)
    assert sorted(map(str, log[4:])) == sorted(
        map(
            str,
            [
                ("inner settled", ("cells", "a"), 4),
                ("inner settled", ("cells", "b"), 4),
                ("outer settled", (), 4),
            ],
        )
    )
    assert log[:4] == ["inner pay", "outer after a", "inner pay", "outer after b"]
    assert log[-1] == ("outer settled", (), 4)


def test_settled_is_published_inner_first(engine: Engine) -> None:
    """At rest the inner orchestrators settle before the outer one, whoever moved first."""
    log: list[Any] = []

    class Hall(Shop):
        @on("till.toggle")
        def pay(self) -> Any:
            return self.desk.order.pay()

    shop = Hall(engine.machine(Till)(), Desk(engine.machine(Order)()))
    shop.bus.signal("settled").connect(lambda sender, record: log.append(("outer", sender is shop)))
    shop.desk.bus.signal("settled").connect(
        lambda sender, record: log.append(("inner", sender is shop.desk))
    )
    engine.run(shop.desk.order.pay)
    assert log == [("inner", True), ("outer", True)]
    log.clear()
    shop = Hall(engine.machine(Till)(), Desk(engine.machine(Order)()))
    shop.bus.signal("settled").connect(lambda sender, record: log.append("outer"))
    shop.desk.bus.signal("settled").connect(lambda sender, record: log.append("inner"))
    engine.run(shop.till.toggle)
    assert log == ["inner", "outer"]


def test_what_the_outer_one_moves_alone_settles_it_alone(engine: Engine) -> None:
    """A cascade in which no inner machine moved publishes no `settled` inside."""
    shop = Shop(engine.machine(Till)(), Desk(engine.machine(Order)()))
    inner, outer = listen(shop.desk, "settled"), listen(shop, "settled")
    engine.run(shop.till.toggle)
    assert (len(inner), [r.path for _, r in outer]) == (0, [()])


def test_an_observer_that_fails_outside_disturbs_nobody(engine: Engine) -> None:
    """What an outer observer raises is a failure of the cascade, announced outside, once."""
    warehouse = warehouse_of(engine, "a")
    desk = warehouse.desks["a"]

    def failing(_machine: Any, **_: Any) -> None:
        raise ValueError("outside")

    inner = listen(desk, "failed:*")
    warehouse.bus.signal("desks.order.pay").connect(failing)
    outer = listen(warehouse, "desks.order.pay", "failed:failing", "failed:*")
    group = engine.raises(ReactionErrors, desk.order.pay)
    assert [str(error) for error in group.exceptions] == ["outside"]
    assert (desk.log, warehouse.log, inner) == (["capture"], [("count", "a")], [])
    assert [(topic, r.path) for topic, r in outer] == [
        ("failed:failing", ()),
        ("failed:*", ()),
        ("desks.order.pay", ("desks", "a", "order")),
    ]


def test_failures_of_all_levels_are_raised_together(engine: Engine) -> None:
    """Inner and outer failures are one group, in the order in which they failed."""

    class Cell(Orchestrator):
        order: Order

        @on("order.pay")
        def inner(self) -> None:
            raise ValueError("inner")

    class Hall(Orchestrator):
        cell: Cell

        @on("cell.order.pay")
        def outer(self) -> None:
            raise ValueError("outer")

    hall = Hall(Cell(engine.machine(Order)()))
    group = engine.raises(ReactionErrors, hall.cell.order.pay)
    assert [str(error) for error in group.exceptions] == ["inner", "outer"]
    assert [failure.reaction for failure in group.failures] == ["Cell.inner", "Hall.outer"]


# Sending --------------------------------------------------------------------------------------


def test_a_post_to_a_path_goes_to_every_machine_that_it_leads_to(engine: Engine) -> None:
    """`post("desks.order.pay")` is sent to the order of each desk, in order."""
    warehouse = warehouse_of(engine, "ba")
    region = Region()
    region.houses[1] = warehouse
    region.houses[2] = warehouse_of(engine, "c")
    heard = listen(region, "houses.desks.order.pay")
    region.post("houses.desks.order.pay")
    assert [r.keys for _, r in heard] == [(1, "b"), (1, "a"), (2, "c")]
    assert warehouse.log == [("count", "b"), ("count", "a")]


def test_asend_to_a_path_returns_the_results_by_path(engine: Engine) -> None:
    """The results of several machines are told apart by names and keys; one is itself."""
    warehouse = warehouse_of(engine, "ab")
    a, b = warehouse.desks["a"], warehouse.desks["b"]
    assert awaited(lambda: warehouse.asend("desks.order.pay")) == {
        ("desks", "a", "order"): (a, warehouse, None),
        ("desks", "b", "order"): (b, warehouse, None),
    }
    shop = Shop(engine.machine(Till)(), Desk(engine.machine(Order)()))
    assert awaited(lambda: shop.asend("desk.order.pay")) == (shop.desk, None, None)


def test_a_bound_event_of_an_inner_machine_may_be_posted_on_each_level(engine: Engine) -> None:
    """`post(desk.order.pay)` is the same event for the inner orchestrator and its holders."""
    warehouse = warehouse_of(engine, "ab")
    heard = listen(warehouse, "started:desks.order.pay", "desks.order.pay")
    a: Any = warehouse.desks["a"].order
    b: Any = warehouse.desks["b"].order
    warehouse.post(a.pay)
    warehouse.desks["b"].post(b.pay)
    with pytest.raises(UnknownTopicError):
        warehouse.desks["b"].post(a.ship)
    assert [(topic, r.path) for topic, r in heard] == [
        ("started:desks.order.pay", ()),
        ("desks.order.pay", ("desks", "a", "order")),
        ("started:desks.order.pay", ("desks", "b")),
        ("desks.order.pay", ("desks", "b", "order")),
    ]


def test_a_route_leads_through_levels(engine: Engine) -> None:
    """A route may send from the outer level to the inner one."""

    class Hall(Orchestrator):
        till: Till
        desks: Fleet[str, Desk] = attrs.field(factory=Fleet[str, Desk])
        pay = on("till.toggle").send("desks.order.pay")

    hall = Hall(engine.machine(Till)())
    for key in "ab":
        hall.desks[key] = Desk(engine.machine(Order)())
    engine.run(hall.till.toggle)
    assert [(key, desk.log) for key, desk in hall.desks.items()] == [
        ("a", ["capture"]),
        ("b", ["capture"]),
    ]


def test_an_event_that_some_classes_of_a_union_have_goes_to_those(engine: Engine) -> None:
    """Of a fleet of several classes of orchestrators those get an event that have its machine."""

    class Box(Orchestrator):
        till: Till

    class Hall(Orchestrator):
        cells: Fleet[str, Box | Desk] = attrs.field(factory=Fleet[str, Any])

    hall = Hall()
    hall.cells["a"] = Box(engine.machine(Till)())
    hall.cells["b"] = desk = Desk(engine.machine(Order)())
    heard = listen(hall, "cells.till.toggle", "cells.order.pay")
    hall.post("cells.order.pay")
    hall.post("cells.till.toggle")
    assert [(topic, r.key) for topic, r in heard] == [
        ("cells.order.pay", "b"),
        ("cells.till.toggle", "a"),
    ]
    assert desk.log == ["capture"]


# Held and alone -------------------------------------------------------------------------------


def test_an_inner_orchestrator_works_alone_before_while_and_after_it_is_held(
    engine: Engine,
) -> None:
    """Its reactions, its bus and its own paths are the same; outside it is heard while held."""
    warehouse = Warehouse()
    log: list[Any] = []

    class Paying(Desk):
        till: Till = attrs.field(kw_only=True)

        @on("till.toggle")
        def note(self, record: Any) -> None:
            log.append((record.machine_name, record.path))

    desk = Paying(engine.machine(Order)(), till=engine.machine(Till)())
    signal = desk.bus.signal("till.toggle")
    outer = listen(warehouse, "desks.*")
    engine.run(desk.till.toggle)
    warehouse.desks["a"] = desk
    engine.run(desk.till.toggle)
    assert warehouse.desks.pop("a") is desk
    engine.run(desk.till.toggle)
    warehouse.desks["b"] = desk
    engine.run(desk.till.toggle)
    assert desk.bus.signal("till.toggle") is signal
    assert log == [
        ("till", ("till",)),
        ("till", ("desks", "a", "till")),
        ("till", ("till",)),
        ("till", ("desks", "b", "till")),
    ]
    assert [r.path for _, r in outer] == [("desks", "a", "till"), ("desks", "b", "till")]


def test_a_machine_put_into_a_held_fleet_is_heard_on_all_levels(engine: Engine) -> None:
    """Members may come and go in the fleets of inner orchestrators while they are held."""

    class Cell(Orchestrator):
        orders: Fleet[int, Order] = attrs.field(factory=Fleet[int, Order])
        spare: Order | None = None

    class Hall(Orchestrator, orchestrator_name="warehouse"):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

    hall = Hall()
    cell = hall.cells["c"] = Cell()
    heard = listen(hall, "*")
    cell.orders[1] = member = engine.machine(Order)()
    assert cell.orders.key_of(member) == 1
    assert engine.run(member.pay) == (cell, hall, None)
    assert cell.orders.pop(1) is member
    engine.run(member.ship)
    cell.spare = spare = engine.machine(Order)()
    assert engine.run(spare.pay) == (cell, hall, None)
    assert [r.path for _, r in heard] == [
        ("cells", "c", "orders", 1),
        ("cells", "c", "spare"),
    ]


def test_an_orchestrator_taken_out_in_mid_step_leaves_when_it_is_at_rest(engine: Engine) -> None:
    """The step in which an inner orchestrator is taken out is announced on both levels."""
    warehouse = warehouse_of(engine, "ab")
    desk = warehouse.desks["a"]
    outer, inner = listen(warehouse, "desks.order.*"), listen(desk, "order.*")
    told: list[Any] = []

    def act(orc: Any, held_by: Any) -> None:
        told.append((held_by.desks.pop("a") is orc, list(held_by.desks)))
        told.append(held_by.desks.key_of(orc))
        with pytest.raises(OrchestratorError):
            held_by.desks["c"] = orc

    engine.run(lambda: desk.order.pay(act=act))
    assert told == [(True, ["b"]), "a"]
    assert (desk.log, warehouse.log) == (["capture"], [("count", "a")])
    with pytest.raises(NotAMemberError):
        warehouse.desks.key_of(desk)
    engine.run(desk.order.ship)
    assert [r.path for _, r in outer] == [("desks", "a", "order")]
    assert [r.path for _, r in inner] == [("desks", "a", "order"), ("order",)]
    warehouse.desks["c"] = desk
    assert list(warehouse.desks) == ["b", "c"]


def test_in_the_outer_reactions_an_orchestrator_taken_out_is_alone(engine: Engine) -> None:
    """When the reactions of its last step run, it may be put in elsewhere."""
    other = Warehouse()

    class Moving(Warehouse):
        @on("desks.order.pay")
        def move(self, key: str) -> None:
            other.desks[key] = self.desks.pop(key)

    moving = Moving()
    desk = moving.desks["a"] = Desk(engine.machine(Order)())
    engine.run(desk.order.pay)
    heard = listen(other, "desks.order.ship")
    engine.run(desk.order.ship)
    assert (dict(moving.desks), dict(other.desks), len(heard)) == ({}, {"a": desk}, 1)
    assert (moving.log, other.log, desk.log) == ([("count", "a")], [], ["capture"])


def test_a_member_and_its_orchestrator_taken_out_in_one_step_leave_together(
    engine: Engine,
) -> None:
    """A step is announced with its whole path on every level that hears it."""

    class Cell(Orchestrator):
        orders: Fleet[int, Order] = attrs.field(factory=Fleet[int, Order])

    class Hall(Orchestrator, orchestrator_name="warehouse"):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

    hall, cell = Hall(), Cell()
    hall.cells["c"] = cell
    cell.orders[1] = order = engine.machine(Order)()
    outer, inner = listen(hall, "*"), listen(cell, "*")

    def act(orc: Any, held_by: Any) -> None:
        del orc.orders[1]
        del held_by.cells["c"]

    engine.run(lambda: order.pay(act=act))
    path = ("cells", "c", "orders", 1)
    assert [r.path for _, r in (*outer, *inner)] == [path, path]
    other = Cell()
    other.orders[2] = order


# What is refused ------------------------------------------------------------------------------


def test_an_orchestrator_has_one_holder(engine: Engine) -> None:
    """A held orchestrator is refused elsewhere and under a second key, with nothing changed."""
    warehouse, other = warehouse_of(engine, "ab"), warehouse_of(engine, "a")
    desk, before = warehouse.desks["a"], dict(warehouse.desks)
    for key in "bc":
        with pytest.raises(OrchestratorError):
            warehouse.desks[key] = desk
    for key in "ab":
        with pytest.raises(MachineIsTakenError):
            other.desks[key] = desk
    with pytest.raises(MachineIsTakenError):
        Shop(engine.machine(Till)(), desk)
    free = Desk(engine.machine(Order)())
    with pytest.raises(DeclarationError):
        Warehouse(Fleet({"a": free, "b": free}))
    assert (dict(warehouse.desks), list(other.desks)) == (before, ["a"])
    engine.run(desk.order.pay)
    assert (warehouse.log, other.log) == ([("count", "a")], [])
    other.desks["free"] = free


def test_a_machine_of_an_inner_orchestrator_is_taken(engine: Engine) -> None:
    """A machine of a desk can be put neither beside the desk nor elsewhere under its name."""

    class Hall(Orchestrator, orchestrator_name="warehouse"):
        desk: Desk
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

    class Plain(Orchestrator):
        orders: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])

    hall = Hall(Desk(engine.machine(Order)()))
    plain = Plain()
    with pytest.raises(MachineIsTakenError):
        plain.orders["a"] = hall.desk.order
    with pytest.raises(OrchestratorError) as caught:
        hall.orders["a"] = hall.desk.order
    assert caught.type is not MachineIsBusyError
    assert (dict(hall.orders), dict(plain.orders)) == ({}, {})
    heard = listen(hall, "*")
    engine.run(hall.desk.order.pay)
    assert [r.path for _, r in heard] == [("desk", "order")]


def test_an_orchestrator_whose_machine_has_another_one_of_that_name_is_refused(
    engine: Engine,
) -> None:
    """Two orchestrators of one name share a machine only if one holds the other."""

    class Cell(Orchestrator, orchestrator_name="cell"):
        order: Order

    class Hall(Orchestrator):
        cells: Fleet[str, Cell] = attrs.field(factory=Fleet[str, Cell])

    cell = Cell(engine.machine(Order)())
    audit = Desk(cell.order)
    hall = Hall()
    with pytest.raises(MachineIsTakenError):
        hall.cells["a"] = cell
    assert dict(hall.cells) == {}
    assert engine.run(cell.order.pay) == (audit, None, None)


@pytest.mark.parametrize("value", [5, None, Order(), Desk, Shop(Till(), Desk(Order()))], ids=repr)
@pytest.mark.parametrize("key", ["a", "b"])
def test_what_is_no_orchestrator_of_the_class_is_refused(value: Any, key: str) -> None:
    """A value of another kind is refused in a new place and in a taken one."""
    warehouse = Warehouse()
    desk = warehouse.desks["a"] = Desk(Order())
    with pytest.raises(WrongMachineError):
        warehouse.desks[key] = value
    assert dict(warehouse.desks) == {"a": desk}
    desk.order.pay()
    assert warehouse.log == [("count", "a")]


def test_an_orchestrator_that_is_not_built_yet_is_refused() -> None:
    """An own `__init__` that has not called `__attrs_init__` leaves nothing to be held."""

    class Unbuilt(Desk):
        def __init__(self) -> None:
            pass

    warehouse = Warehouse()
    with pytest.raises(DeclarationError, match="not built"):
        warehouse.desks["a"] = Unbuilt()
    assert dict(warehouse.desks) == {}


# Trees ----------------------------------------------------------------------------------------


class Node(Orchestrator):
    """An orchestrator that holds its own class; it can be imported."""

    till: Till
    children: Fleet[str, Node] = attrs.field(factory=lambda: Fleet[str, Node]())
    log: list[Any] = attrs.field(factory=list[Any], repr=False)

    @on("children.till.toggle")
    def of_child(self, key: str) -> None:
        self.log.append(("child", key))

    @on("children.*")
    def below(self, record: Any) -> None:
        self.log.append(("below", record.keys))


class Special(Node):
    """A subclass of a tree."""


def tree_of(engine: Engine, depth: int) -> list[Node]:
    """Return a chain of nodes, outermost first."""
    nodes = [Node(engine.machine(Till)())]
    for _ in range(depth):
        nodes.append(Node(engine.machine(Till)()))
        nodes[-2].children["c"] = nodes[-1]
    return nodes


def test_an_orchestrator_may_hold_its_own_class(engine: Engine) -> None:
    """A tree is a class whose annotation names itself; each level hears what is below it."""
    nodes = tree_of(engine, 3)
    heard = listen(nodes[0], "children.children.children.till.toggle", "children.children.*")
    engine.run(nodes[3].till.toggle)
    assert [node.log for node in nodes] == [
        [("below", ("c", "c", "c"))],
        [("below", ("c", "c", "c"))],
        [("child", "c"), ("below", ("c", "c", "c"))],
        [],
    ]
    assert [topic for topic, _ in heard] == [
        "children.children.children.till.toggle",
        "children.children.*",
    ]
    engine.run(nodes[2].till.toggle)
    assert repr(nodes[2]) == (
        "Node(till=opened, children=Fleet({'c': Node(till=opened, children=Fleet({}))}))"
    )


def test_a_tree_takes_its_own_class_and_subclasses_alone(engine: Engine) -> None:
    """A string annotation that names the class itself is checked as any other is."""
    till = engine.machine(Till)
    node = Node(till())
    with pytest.raises(WrongMachineError):
        node.children["a"] = cast("Node", till())
    with pytest.raises(WrongMachineError):
        node.children["a"] = cast("Node", Desk(engine.machine(Order)()))
    node.children["a"] = Special(till())
    assert list(node.children) == ["a"]


def test_the_first_tree_does_not_decide_what_others_may_hold(engine: Engine) -> None:
    """What the first instance held changes nothing for the class."""
    till = engine.machine(Till)

    class Leaf(Orchestrator):
        till: Till
        children: Fleet[str, Leaf] = attrs.field(factory=lambda: Fleet[str, Any]())

    class Red(Leaf):
        pass

    Leaf(till(), Fleet({"a": Red(till())}))
    leaf = Leaf(till())
    leaf.children["b"] = Leaf(till())
    assert list(leaf.children) == ["b"]


def test_nobody_holds_itself(engine: Engine) -> None:
    """An orchestrator is refused where it, or one that holds it, would hold itself."""
    nodes = tree_of(engine, 2)
    for inner in nodes:
        for held in nodes[: nodes.index(inner) + 1]:
            with pytest.raises(OrchestratorError):
                inner.children["x"] = held
    assert [list(node.children) for node in nodes] == [["c"], ["c"], []]
    engine.run(nodes[2].till.toggle)
    assert nodes[1].log == [("child", "c"), ("below", ("c", "c"))]


# Declaring ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "with a factory"])
@pytest.mark.parametrize(
    "annotation", [Order | Desk, Desk | Order | None, "Desk | Order", Fleet[str, Desk | Order]]
)
def test_machines_and_orchestrators_are_not_mixed_in_one_field(annotation: Any, bare: Any) -> None:
    """A field holds machines or orchestrators: a union of both is refused, with the fix."""
    namespace = {
        "__module__": __name__,
        "__annotations__": {"first": Order, "things": annotation},
        **({} if bare else {"things": attrs.field(factory=dict)}),
    }
    with pytest.raises(DeclarationError) as caught:
        type("Bad", (Orchestrator,), namespace)
    assert "Bad.things" in str(caught.value)
    assert "Give each kind a field of its own" in str(caught.value)


def test_an_orchestrator_as_a_default_is_refused() -> None:
    """One inner orchestrator for all is refused, with the factory that is meant."""
    with pytest.raises(DeclarationError) as caught:

        class Bad(Orchestrator):
            desk: Desk = Desk(Order())

    assert "Bad.desk" in str(caught.value)
    assert "factory=Desk" in str(caught.value)


def test_a_path_is_checked_when_the_class_is_defined() -> None:
    """A path that leads nowhere is refused, with the nearest that leads somewhere."""
    caught: list[tuple[str, str | None]] = []
    for topic in (
        "desks.order.pya",
        "desks.ordr.pay",
        "dseks.order.pay",
        "desks.order",
        "desks",
        "desks.pay",
    ):
        with pytest.raises(UnknownTopicError) as error:
            type(
                "Bad",
                (Orchestrator,),
                {
                    "__module__": __name__,
                    "__annotations__": {"desks": Fleet[str, Desk]},
                    "react": on(topic)(lambda self: None),
                },
            )
        caught.append((error.value.topic, error.value.nearest))
    assert [topic for topic, _ in caught] == [
        "desks.order.pya",
        "desks.ordr.pay",
        "dseks.order.pay",
        "desks.order",
        "desks",
        "desks.pay",
    ]
    assert [nearest for _, nearest in caught[:3]] == ["desks.order.pay"] * 3


def test_an_optional_orchestrator_is_given_once(engine: Engine) -> None:
    """A field that is `None` may be given its orchestrator later, which is held from then on."""

    class Late(Orchestrator, orchestrator_name="warehouse"):
        desk: Desk | None = None
        desks: Optional[Fleet[str, Desk]] = None  # noqa: UP045 - evaluated on 3.10 too

        @on("desk.order.pay", "desks.order.pay")
        def note(self, record: Any) -> None:
            log.append(record.path)

    log: list[Any] = []
    late, desk = Late(), Desk(engine.machine(Order)())
    with pytest.raises(UnknownTopicError):
        late.post("desk.order.pay")
    with pytest.raises(WrongMachineError):
        late.desk = cast("Desk", Order())
    late.desk = desk
    late.desks = Fleet({"a": Desk(engine.machine(Order)())})
    assert engine.run(desk.order.pay) == (desk, late, None)
    engine.run(late.desks["a"].order.pay)
    assert log == [("desk", "order"), ("desks", "a", "order")]
    with pytest.raises(MachineFieldIsSetError):
        late.desk = Desk(engine.machine(Order)())


def test_an_orchestrator_is_built_by_its_factory(engine: Engine) -> None:
    """A field may build its orchestrator, in a class of machines that build themselves."""

    class Cell(Orchestrator):
        order: Order = attrs.field(factory=engine.machine(Order))

    class Hall(Orchestrator, orchestrator_name="warehouse"):
        cell: Cell = attrs.field(factory=Cell)

    hall = Hall()
    assert engine.run(hall.cell.order.pay) == (hall.cell, hall, None)
    assert Hall().cell is not hall.cell


def test_the_machines_of_an_orchestrator_are_what_stands_in_its_fields(engine: Engine) -> None:
    """`machines` and the repr show inner orchestrators as they are."""
    shop = Shop(engine.machine(Till)(), Desk(engine.machine(Order)()))
    assert dict(shop.machines) == {"till": shop.till, "desk": shop.desk}
    engine.run(shop.till.toggle)
    engine.run(shop.desk.order.pay)
    assert repr(shop) == "Shop(till=opened, desk=Desk(order=paid))"


# Copies and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_nested_orchestrators_works_on_all_levels(
    engine: Engine, through: Callable[[Any], Any]
) -> None:
    """A copy holds copies of the inner orchestrators; the original hears nothing of them."""
    order = AsyncOrder if engine.is_async else Order
    held = Fleet({key: Desk(entered(engine, order())) for key in "ab"})
    region = Region(Fleet({1: Warehouse(held)}))
    engine.run(region.houses[1].desks["a"].order.pay)
    duplicate = through(region)
    original, other = listen(region, "*"), listen(duplicate, "*")
    desks = duplicate.houses[1].desks
    assert [(key, desk.order.paid.is_active) for key, desk in desks.items()] == [
        ("a", True),
        ("b", False),
    ]
    told = engine.run(desks["b"].order.pay)
    holders = (desks["b"], duplicate.houses[1], duplicate)
    assert [one is two for one, two in zip(told, holders, strict=True)] == [
        True,
        True,
        True,
    ]
    assert (len(original), [r.path for _, r in other]) == (
        0,
        [("houses", 1, "desks", "b", "order")],
    )
    assert region.houses[1].desks["b"].log == []
    assert duplicate.houses[1].log[-1] == ("count", "b")


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_an_inner_orchestrator_stands_alone(
    engine: Engine, through: Callable[[Any], Any]
) -> None:
    """A copy of an orchestrator that is held is held by nobody, and may be put in."""
    warehouse = Warehouse()
    desk = warehouse.desks["a"] = Desk(
        entered(engine, AsyncOrder() if engine.is_async else Order())
    )
    duplicate = through(desk)
    assert engine.run(duplicate.order.pay) == (duplicate, None, None)
    assert warehouse.log == []
    warehouse.desks["b"] = duplicate
    heard = listen(warehouse, "desks.order.ship")
    engine.run(duplicate.order.ship)
    assert [r.key for _, r in heard] == ["b"]


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_tree_works(through: Callable[[Any], Any]) -> None:
    """A tree is copied with all of its levels."""
    root = Node(Till(), Fleet({"a": Special(Till(), Fleet({"b": Node(Till())}))}))
    duplicate = through(root)
    duplicate.log = []
    duplicate.children["a"].children["b"].till.toggle()
    assert (root.log, duplicate.log) == ([], [("below", ("a", "b"))])
    assert duplicate.children["a"].log == [("child", "b"), ("below", ("a", "b"))]


def test_no_reference_to_an_orchestrator_remains_when_it_was_taken_out(engine: Engine) -> None:
    """An inner orchestrator taken out is freed, with its machines, though its holder lives on."""
    warehouse = warehouse_of(engine, "ab")
    warehouse.bus.signal("*").connect(lambda machine, record: None)
    desk: Any = warehouse.desks["a"]
    engine.run(desk.order.pay)
    references = [weakref.ref(desk), weakref.ref(desk.order)]
    del warehouse.desks["a"], desk
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    desk = warehouse.desks.pop("b")
    reference = weakref.ref(warehouse)
    del warehouse
    gc.collect()
    assert reference() is None
    assert engine.run(desk.order.pay) == (desk, None, None)


def test_dropping_the_last_reference_frees_all_levels(engine: Engine) -> None:
    """Nested orchestrators are freed together; one machine of theirs keeps them all."""
    warehouse: Any = warehouse_of(engine, "ab")
    order: Any = warehouse.desks["a"].order
    references = [weakref.ref(warehouse), weakref.ref(warehouse.desks["b"]), weakref.ref(order)]
    log = warehouse.log
    del warehouse
    gc.collect()
    engine.run(order.pay)
    assert log == [("count", "a")]
    del order
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


def test_an_event_costs_the_same_however_many_orchestrators_are_held(engine: Engine) -> None:
    """What is called for an event of an inner machine depends on its level alone."""

    class Cell(Orchestrator):
        till: Till

    class Hall(Orchestrator):
        cells: Fleet[Any, Cell] = attrs.field(factory=Fleet[Any, Cell])

    hall, till = Hall(), engine.machine(Till)
    hall.bus.signal("cells.till.toggle").connect(lambda machine, record: None)
    first = hall.cells["first"] = Cell(till())
    awaited(first.till.toggle)
    awaited(first.till.toggle)
    of_one = operations(first.till.toggle)
    awaited(first.till.toggle)
    put_in = [Cell(till()), Cell(till())]
    in_the_beginning = operations(lambda: hall.cells.__setitem__("x", put_in[0]))
    for number in range(200):
        hall.cells[number] = Cell(till())
    assert operations(first.till.toggle) == of_one
    assert operations(lambda: hall.cells.__setitem__("y", put_in[1])) == in_the_beginning
