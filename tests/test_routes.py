"""Routes: reactions without a body; and what `post` and `asend` take beside a topic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import told_by
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    AsyncReactionError,
    Fleet,
    NameClashError,
    NotAReactionError,
    Orchestrator,
    ReactionErrors,
    UnknownTopicError,
    domain_signal,
    on,
    on_enter,
    on_exit,
    removed,
    when,
)
from statemachines_orchestrator.exploration import explore

if TYPE_CHECKING:
    from conftest import Engine


class Order(StateMachine):
    """An order, where most routes begin."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Payment(StateMachine):
    """A payment, where most routes lead."""

    unpaid = State(initial=True)
    authorized = State()
    captured = State(final=True)
    authorize = unpaid.to(authorized)
    capture = authorized.to(captured)


class Item(StateMachine):
    """A member of a fleet."""

    stored = State(initial=True)
    picked = State(final=True)
    pick = stored.to(picked)


class Stubborn(StateMachine):
    """A machine whose guard and validator ask for the arguments of the event."""

    closed = State(initial=True)
    opened = State()
    open = closed.to(opened, cond="may", validators="check")
    shut = opened.to(closed)

    def may(self, code: str = "none") -> bool:
        if code == "broken":
            raise ValueError(code)
        return code != "wrong"

    def check(self, code: str = "none") -> None:
        if code == "forged":
            raise ValueError(code)


def sent_in(owner: Any) -> list[tuple[Any, ...]]:
    """Return the list that fills with every event that is sent below an orchestrator."""
    sent: list[tuple[Any, ...]] = []

    def note(_machine: Any, *, record: Any) -> None:
        topic = f"{'.'.join(record.path)}.{record.event}"
        sent.append((topic, record.args, dict(record.kwargs)))

    owner.bus.signal("sent:*").connect(note)
    return sent


def state_of(machine: Any) -> str:
    """Return the state of a machine; an async one not begun is in its initial state."""
    return str(machine.current_state_value or machine.initial_state.id)


# Sending --------------------------------------------------------------------------------------


def test_a_route_sends_its_event_with_the_arguments_of_the_one_it_reacts_to(
    engine: Engine,
) -> None:
    """A route sends its event when its turn comes; positional and keyword arguments go along."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        authorize = on("order.process").send("payment.authorize")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process(1, "two", rush=True))
    assert sent == [
        ("order.process", (1, "two"), {"rush": True}),
        ("payment.authorize", (1, "two"), {"rush": True}),
    ]
    assert repr(shop) == "Shop(order=processing, payment=authorized)"


def test_keywords_given_to_send_win(engine: Engine) -> None:
    """A keyword given to `send` wins over the event's own; the others of both go along."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        authorize = on("order.process").send("payment.authorize", rush=False, by="route")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process(rush=True, amount=3))
    assert sent == [
        ("order.process", (), {"rush": True, "amount": 3}),
        ("payment.authorize", (), {"rush": False, "amount": 3, "by": "route"}),
    ]


@pytest.mark.parametrize("name", ["delay", "internal", "topic"])
def test_an_argument_goes_along_whatever_its_name(engine: Engine, name: str) -> None:
    """An argument of the event reaches the target's callbacks as it reached those of its own."""
    got: list[Any] = []

    class Giver(StateMachine):
        here = State(initial=True)
        give = here.to.itself()

        def on_give(self, **kwargs: Any) -> None:
            got.append(kwargs[name])

    class Taker(StateMachine):
        here = State(initial=True)
        take = here.to.itself()

        def on_take(self, **kwargs: Any) -> None:
            got.append(kwargs[name])

    class Pair(Orchestrator):
        giver: Giver
        taker: Taker
        hand_on = on("giver.give").send("taker.take")

    pair = Pair(engine.machine(Giver)(), engine.machine(Taker)())
    engine.run(lambda: pair.giver.give(**{name: 0}))
    assert got == [0, 0]


def test_an_argument_called_event_keeps_a_route_from_nothing(engine: Engine) -> None:
    """What a direct call gave, and the host let it give, is handed on like any other."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        authorize = on("order.process").send("payment.authorize")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process(event="mine"))
    assert repr(shop) == "Shop(order=processing, payment=authorized)"


def test_a_keyword_of_send_may_have_any_name_but_if_enabled(engine: Engine) -> None:
    """Every keyword of `send` but `if_enabled` is an argument of the event."""
    got: list[Any] = []

    class Taker(StateMachine):
        here = State(initial=True)
        take = here.to.itself()

        def on_take(self, cond: Any, topic: Any, targets: Any, delay: Any) -> None:
            got.extend([cond, topic, targets, delay])

    class Pair(Orchestrator):
        order: Order
        taker: Taker
        hand_on = on("order.process").send("taker.take", cond=1, topic=2, targets=3, delay=4)

    pair = Pair(engine.machine(Order)(), engine.machine(Taker)())
    engine.run(lambda: pair.order.process())
    assert got == [1, 2, 3, 4]


def test_a_route_sends_to_several_targets_in_order(engine: Engine) -> None:
    """Several targets get the event in the order written, each at rest before the next."""
    done: list[str] = []

    class Shop(Orchestrator):
        order: Order
        first: Payment
        second: Payment
        both = on("order.process").send("second.authorize", "first.authorize", "second.capture")

        @on("*")
        def note(self, record: Any) -> None:
            done.append(f"{record.machine_name}.{record.event}")

    shop = Shop(*(engine.machine(machine)() for machine in (Order, Payment, Payment)))
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process(amount=1))
    assert sent == [
        ("order.process", (), {"amount": 1}),
        ("second.authorize", (), {"amount": 1}),
        ("first.authorize", (), {"amount": 1}),
        ("second.capture", (), {"amount": 1}),
    ]
    assert done == ["order.process", "second.authorize", "first.authorize", "second.capture"]


def test_a_route_takes_its_turn_among_methods(engine: Engine) -> None:
    """Routes and methods of one signal run in the order of the source."""
    seen: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("order.process")
        def before(self) -> None:
            seen.append(f"before {state_of(self.payment)}")

        authorize = on("order.process").send("payment.authorize")

        @on("order.process")
        def between(self) -> None:
            seen.append(f"between {state_of(self.payment)}")

        capture = on("order.process").send("payment.capture")

        @on("order.process")
        def behind(self) -> None:
            seen.append(f"behind {state_of(self.payment)}")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert seen == [
        "before unpaid",
        "between authorized",
        "behind captured",
    ]


def test_the_turn_of_a_route_is_recorded_like_that_of_a_method(engine: Engine) -> None:
    """A route has a `Started` that its `Sent` names as cause, and a `Finished` with the result."""

    class Paying(Payment):
        def on_authorize(self) -> str:
            return "yes"

    class Shop(Orchestrator):
        order: Order
        payment: Paying
        authorize = on("order.process").send("payment.authorize")

    shop = Shop(engine.machine(Order)(), engine.machine(Paying)())
    seen: list[Any] = []
    for topic in ("order.process", "started:*", "sent:payment.authorize", "finished:*"):
        shop.bus.signal(topic).connect(lambda _sender, record: seen.append(record))
    engine.run(lambda: shop.order.process())
    transitioned, started, sent, finished = seen
    assert (started.name, started.topic, started.cause) == (
        "authorize",
        "order.process",
        transitioned.seq,
    )
    assert sent.cause == started.seq
    assert (finished.name, finished.result, finished.cause) == ("authorize", "yes", started.seq)


def test_a_route_has_a_condition(engine: Engine) -> None:
    """`cond` of the decorator is asked when the turn of the route comes."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        by_function = on("order.process", cond=lambda rush: rush).send("payment.authorize")
        by_name = on("order.process", cond="is_authorized").send("payment.capture")

        def is_authorized(self) -> bool:
            return bool(self.payment.current_state_value == "authorized")

    for rush, expected in ((False, "unpaid"), (True, "captured")):
        shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
        engine.run(lambda shop=shop, rush=rush: shop.order.process(rush=rush))  # type: ignore[misc]
        assert state_of(shop.payment) == expected


# From what ------------------------------------------------------------------------------------


def test_states_joins_rest_and_signals_have_routes_too(engine: Engine) -> None:
    """`on_enter` and `on_exit` hand on the arguments; a join and `settled` have none."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        log: Item
        other: Item
        last: Item
        low = domain_signal("an item runs out")
        entered = on_enter("order.processing").send("payment.authorize")
        exited = on_exit(payment=Payment.unpaid).send("payment.capture")
        joined = when("order.processing", "payment.captured").send("log.pick", why="joined")
        rest = on("settled").send("other.pick", why="rest", if_enabled=True)
        signalled = on("low").send("last.pick", why="low")

    machines = (Order, Payment, Item, Item, Item)
    shop = Shop(*(engine.machine(machine)() for machine in machines))
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process(1, two=2))
    assert sent == [
        ("order.process", (1,), {"two": 2}),
        ("payment.authorize", (1,), {"two": 2}),
        ("payment.capture", (1,), {"two": 2}),
        ("log.pick", (), {"why": "joined"}),
        ("other.pick", (), {"why": "rest"}),
    ]
    del sent[:]
    engine.run(lambda: shop.asend("low", sku=7) if engine.is_async else shop.publish("low", sku=7))
    assert sent == [("last.pick", (), {"sku": 7, "why": "low"})]


def test_a_route_leads_to_every_member_of_a_fleet(engine: Engine) -> None:
    """A route to a fleet sends to the members that there are at its turn, in their order."""

    class Shop(Orchestrator):
        order: Order
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

        @on("order.process")
        def fill(self) -> None:
            for key in "bac":
                self.items[key] = engine.machine(Item)()

        pick = on("order.process").send("items.pick")
        ship = on("order.ship").send("items.pick")

    shop = Shop(engine.machine(Order)())
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process(by=1))
    assert sent == [
        ("order.process", (), {"by": 1}),
        ("items.b.pick", (), {"by": 1}),
        ("items.a.pick", (), {"by": 1}),
        ("items.c.pick", (), {"by": 1}),
    ]
    shop.items.clear()
    engine.run(lambda: shop.order.ship())
    assert sent[4:] == [("order.ship", (), {})]


def test_a_route_leads_into_an_orchestrator(engine: Engine) -> None:
    """A target may be a path through a field that holds an orchestrator."""

    class Desk(Orchestrator):
        payment: Payment

    class Shop(Orchestrator):
        order: Order
        desk: Desk
        authorize = on("order.process").send("desk.payment.authorize")
        capture = on("desk.payment.authorize").send("desk.payment.capture")

    shop = Shop(engine.machine(Order)(), Desk(engine.machine(Payment)()))
    engine.run(lambda: shop.order.process())
    assert repr(shop) == "Shop(order=processing, desk=Desk(payment=captured))"


def test_a_bound_event_is_a_target(engine: Engine) -> None:
    """A target may be a bound event, of a machine or of a member of a fleet."""
    paying = engine.machine(Payment)()
    picking = {key: engine.machine(Item)() for key in "ab"}

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        items: Fleet[str, Item]
        go = on("order.process").send(paying.authorize, picking["b"].pick, by=1)

    shop = Shop(engine.machine(Order)(), paying, Fleet(picking))
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process())
    assert sent == [
        ("order.process", (), {}),
        ("payment.authorize", (), {"by": 1}),
        ("items.b.pick", (), {"by": 1}),
    ]


def test_a_bound_event_of_another_machine_is_a_failure(engine: Engine) -> None:
    """A bound event whose machine is none of the orchestrator's fails when its turn comes."""
    stranger = engine.machine(Payment)()

    class Shop(Orchestrator):
        order: Order
        go = on("order.process").send(stranger.authorize)

    shop = Shop(engine.machine(Order)())
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [("Shop.go", "UnknownTopicError")]
    text = str(error.failures[0].exception)
    assert text.startswith(f"{__name__}.")
    assert "'authorize': its machine is none of Shop(order=processing)" in text


# If enabled -----------------------------------------------------------------------------------


def test_a_target_that_refuses_is_a_failure(engine: Engine) -> None:
    """Without `if_enabled` an event that is refused is a failure of the route."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        capture = on("order.process").send("payment.capture")

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [("Shop.capture", "TransitionNotAllowed")]
    assert error.failures[0].exception.__notes__ == [
        "in Shop.capture, in reaction to order.process (pending → processing)"
    ]


def test_if_enabled_skips_a_target_that_would_refuse(engine: Engine) -> None:
    """With `if_enabled=True` the event is sent to those targets that would take it, only."""

    class Shop(Orchestrator):
        order: Order
        first: Payment
        second: Payment
        go = on("order.process").send(
            "first.capture", "second.authorize", "second.authorize", if_enabled=True
        )
        alone = on("order.process").send("first.capture", if_enabled=True)

    shop = Shop(*(engine.machine(machine)() for machine in (Order, Payment, Payment)))
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process())
    assert sent == [("order.process", (), {}), ("second.authorize", (), {})]


def test_if_enabled_is_judged_when_the_turn_comes(engine: Engine) -> None:
    """Whether a target would refuse is asked at its turn, after what ran before it."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("order.process")
        def authorize(self) -> Any:
            return self.payment.authorize()

        capture = on("order.process").send("payment.capture", if_enabled=True)
        too_late = on("order.process").send("payment.authorize", if_enabled=True)

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process())
    assert [topic for topic, _args, _kwargs in sent] == [
        "order.process",
        "payment.authorize",
        "payment.capture",
    ]


@pytest.mark.parametrize(
    ("code", "ends", "failures"),
    [
        ("right", "opened", []),
        ("wrong", "closed", []),  # the guard says no: skipped
        ("broken", "closed", [("House.go", "ValueError")]),  # it raises: yes, and then it raises
        ("forged", "closed", [("House.go", "ValueError")]),  # the validator is not asked before
    ],
)
def test_if_enabled_asks_guards_with_the_arguments_and_no_validators(
    engine: Engine, code: str, ends: str, failures: list[tuple[str, str]]
) -> None:
    """`if_enabled` asks the guards with the event's arguments; one that raises counts as yes."""

    class House(Orchestrator):
        order: Order
        door: Stubborn
        go = on("order.process").send("door.open", if_enabled=True)

    house = House(engine.machine(Order)(), engine.machine(Stubborn)())
    if failures:
        error = engine.raises(ReactionErrors, lambda: house.order.process(code=code))
        assert told_by(error) == failures
    else:
        engine.run(lambda: house.order.process(code=code))
    assert state_of(house.door) == ends


def test_if_enabled_asks_with_the_keywords_of_the_route(engine: Engine) -> None:
    """The guards see the keywords of `send` over those of the event."""

    class House(Orchestrator):
        order: Order
        door: Stubborn
        go = on("order.process").send("door.open", code="wrong", if_enabled=True)

    house = House(engine.machine(Order)(), engine.machine(Stubborn)())
    engine.run(lambda: house.order.process(code="right"))
    assert state_of(house.door) == "closed"


def test_the_turn_of_a_skipped_target_ends_with_no_result(engine: Engine) -> None:
    """A route whose only target is skipped finishes with `None`, and with no mark of ours."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        go = on("order.process").send("payment.capture", if_enabled=True)

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    results: list[Any] = []
    shop.bus.signal("finished:go").connect(lambda _s, record: results.append(record.result))
    engine.run(lambda: shop.order.process())
    assert results == [None]


def test_if_enabled_goes_through_a_fleet(engine: Engine) -> None:
    """Each member of a fleet is asked for itself."""

    class Shop(Orchestrator):
        order: Order
        items: Fleet[str, Item]
        pick = on("order.process").send("items.pick", if_enabled=True)

    shop = Shop(engine.machine(Order)(), Fleet({key: engine.machine(Item)() for key in "abc"}))
    engine.run(lambda: shop.items["b"].pick())
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process())
    assert [topic for topic, *_ in sent] == ["order.process", "items.a.pick", "items.c.pick"]


def test_if_enabled_passes_over_a_field_without_a_machine(engine: Engine) -> None:
    """An optional field that holds no machine is skipped with `if_enabled`, and else fails."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment | None = None
        skipped = on("order.process").send("payment.authorize", if_enabled=True)
        fails = on("order.process").send("payment.authorize")

    shop = Shop(engine.machine(Order)())
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [("Shop.fails", "UnknownTopicError")]
    assert "'payment.authorize': 'payment' holds no machine yet" in str(error.exceptions[0])


# Failures -------------------------------------------------------------------------------------


def test_a_target_that_raises_keeps_the_event_from_no_other_one(engine: Engine) -> None:
    """Every target gets the event; the route's failure tells all that raised."""

    class Shop(Orchestrator):
        order: Order
        first: Payment
        second: Payment
        third: Payment
        go = on("order.process").send("first.capture", "second.authorize", "third.capture")

    machines = (Order, Payment, Payment, Payment)
    shop = Shop(*(engine.machine(machine)() for machine in machines))
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [
        ("Shop.go, first.capture", "TransitionNotAllowed"),
        ("Shop.go, third.capture", "TransitionNotAllowed"),
    ]
    assert repr(shop) == "Shop(order=processing, first=unpaid, second=authorized, third=unpaid)"


def test_a_member_that_raises_keeps_the_event_from_no_other_one(engine: Engine) -> None:
    """Every member of a fleet gets the event, and the failures name field and key."""

    class Shop(Orchestrator):
        order: Order
        items: Fleet[str, Item]
        pick = on("order.process").send("items.pick")

    shop = Shop(engine.machine(Order)(), Fleet({key: engine.machine(Item)() for key in "abc"}))
    engine.run(lambda: shop.items["a"].pick())
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [("Shop.pick, items.a.pick", "TransitionNotAllowed")]
    assert error.exceptions[0].__notes__ == [
        "in items.a.pick",
        "in Shop.pick, items.a.pick, in reaction to order.process (pending → processing)",
    ]
    assert repr(shop.items) == "Fleet({'a': picked, 'b': picked, 'c': picked})"


def test_a_base_exception_of_a_target_stops_the_route(engine: Engine) -> None:
    """A `BaseException` stops the cascade at once: the targets behind it get nothing."""

    class Stop(BaseException):
        pass

    class Stopping(Item):
        def on_pick(self) -> None:
            raise Stop

    class Shop(Orchestrator):
        order: Order
        first: Stopping
        second: Item
        go = on("order.process").send("first.pick", "second.pick")

        @on("order.process")
        def late(self) -> None:
            raise AssertionError

    machines = (Order, Stopping, Item)
    shop = Shop(*(engine.machine(machine)() for machine in machines))
    abandoned: list[str] = []
    shop.bus.signal("abandoned:*").connect(lambda _s, record: abandoned.append(record.name))
    engine.raises(Stop, lambda: shop.order.process())
    assert abandoned == ["late"]
    assert state_of(shop.second) == "stored"


def test_a_route_to_an_async_machine_is_refused_where_nobody_waits() -> None:
    """In a sync call in a running loop such a route is a failure, and nothing is sent."""

    class AsyncPayment(Payment):
        async def on_authorize(self) -> str:
            return "yes"

    class Shop(Orchestrator):
        order: Order
        payment: AsyncPayment
        other: Payment
        go = on("order.process").send("other.authorize", "payment.authorize")

    async def main() -> Any:
        shop = Shop(Order(), AsyncPayment(), Payment())
        sent = sent_in(shop)
        with pytest.raises(ReactionErrors) as caught:
            shop.order.process()
        assert told_by(caught.value) == [("Shop.go", "AsyncReactionError")]
        assert isinstance(caught.value.exceptions[0], AsyncReactionError)
        assert "Shop.go (order.process)" in str(caught.value.exceptions[0])
        assert "asend" in str(caught.value.exceptions[0])
        other = Shop(Order(), AsyncPayment(), Payment())
        await other.asend("order.process")
        return [topic for topic, *_ in sent], repr(other)

    assert asyncio.run(main()) == (
        ["order.process"],
        "Shop(order=processing, payment=authorized, other=authorized)",
    )


def test_a_route_awaits_each_target_before_the_next() -> None:
    """A sync target behind an async one gets the event when the async one has come to rest."""
    seen: list[str] = []

    class Slow(Item):
        async def on_pick(self) -> None:
            await asyncio.sleep(0)
            seen.append("slow")

    class Quick(Item):
        def on_pick(self) -> None:
            seen.append("quick")

    class Shop(Orchestrator):
        order: Order
        slow: Slow
        quick: Quick
        go = on("order.process").send("slow.pick", "quick.pick", "slow.pick", if_enabled=True)

    async def main() -> None:
        await Shop(Order(), Slow(), Quick()).asend("order.process")

    asyncio.run(main())
    Shop(Order(), Slow(), Quick()).order.process()  # and without a loop, in one of our own
    assert seen == ["slow", "quick", "slow", "quick"]


# Overriding and removing ----------------------------------------------------------------------


def test_a_route_is_overridden_and_removed_by_its_name(engine: Engine) -> None:
    """A method in its place keeps the subscription, a decorated one replaces it, `removed` ends."""
    seen: list[str] = []

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        go = on("order.process").send("payment.authorize")

    class Overridden(Shop):
        def go(self, event: str) -> None:
            seen.append(f"overridden {event}")

    class Anew(Shop):
        @on("order.ship")
        def go(self, event: str) -> None:
            seen.append(f"anew {event}")

    class Other(Shop):
        go = on("order.ship").send("payment.authorize")

    class Gone(Shop):
        go = removed

    ends: list[str] = []
    for shop_class in (Shop, Overridden, Anew, Other, Gone):
        shop = shop_class(engine.machine(Order)(), engine.machine(Payment)())
        for event in ("process", "ship"):
            engine.run(lambda shop=shop, event=event: shop.order.send(event))  # type: ignore[misc]
            ends.append(f"{shop_class.__name__} {state_of(shop.payment)}")
    assert seen == ["overridden process", "anew ship"]
    assert ends == [
        "Shop authorized",
        "Shop authorized",
        "Overridden unpaid",
        "Overridden unpaid",
        "Anew unpaid",
        "Anew unpaid",
        "Other unpaid",
        "Other authorized",
        "Gone unpaid",
        "Gone unpaid",
    ]


def test_a_route_takes_the_place_of_a_method(engine: Engine) -> None:
    """A route under the name of an inherited reaction replaces it, and its subscription."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment

        @on("order.process")
        def go(self) -> None:
            raise AssertionError

    class Other(Shop):
        go = on("order.process", "order.ship").send("payment.authorize", if_enabled=True)

    shop = Other(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert repr(shop) == "Other(order=processing, payment=authorized)"


def test_a_mixin_has_routes(engine: Engine) -> None:
    """A route of an abstract orchestrator is checked and runs in the class that has machines."""

    class Paying(Orchestrator, abstract=True):
        go = on("order.process").send("payment.authorize")

    class Shop(Paying):
        order: Order
        payment: Payment

    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    engine.run(lambda: shop.order.process())
    assert repr(shop) == "Shop(order=processing, payment=authorized)"
    with pytest.raises(UnknownTopicError, match=r"no machine is called 'payment'"):

        class Poor(Paying):
            order: Order


# Misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("payment.authorise", "no event 'authorise'. Did you mean 'payment.authorize'?"),
        ("paymint.authorize", "no machine is called 'paymint'. Did you mean 'payment.authorize'?"),
        ("payment", "'payment' is a machine, and the event is missing."),
        ("payment.*", "it names no single event."),
        ("enter:payment.captured", "no machine is called 'enter:payment'"),
        ("low", "'low' is a signal of the domain"),
        ("", "no machine is called ''."),
    ],
)
def test_a_target_is_checked_at_class_definition(target: str, problem: str) -> None:
    """A target that is no event of the class is refused when it is defined, with the nearest."""
    with pytest.raises(UnknownTopicError) as caught:

        class Shop(Orchestrator):
            order: Order
            payment: Payment
            low = domain_signal("an item runs out")
            go = on("order.process").send("payment.authorize", target)

    text = str(caught.value)
    assert text.startswith(f"{__name__}.test_a_target_is_checked_at_class_definition.<locals>")
    assert f"Shop.go ({__name__}.py, line " in text
    assert f"there is no topic {target!r}" in text
    assert problem in text


def test_what_is_no_target_is_refused_at_once() -> None:
    """An unbound event, another value and no target at all are refused where they are written."""
    with pytest.raises(NotAReactionError, match=r"test_routes.py, line \d+\): send\(\) was given"):
        on("order.process").send(5)
    with pytest.raises(NotAReactionError, match=r'Name the machine .*: .send\("machine.authorize'):
        on("order.process").send(Payment.authorize)
    with pytest.raises(NotAReactionError, match=r"names no event to send. Write .send"):
        on("order.process").send()
    with pytest.raises(NotAReactionError, match=r"names no event to send"):
        on("order.process").send(if_enabled=True)


def test_the_name_of_a_route_is_checked() -> None:
    """A route may take no name of the surface and none of a field."""
    with pytest.raises(NameClashError, match=r"Shop.post .*'post' is taken by every orchestrator"):

        class Shop(Orchestrator):
            order: Order
            payment: Payment
            post = on("order.process").send("payment.authorize")

    with pytest.raises(NameClashError, match=r"'payment' is taken by a field"):

        class Other(Orchestrator):
            order: Order
            payment: Any = on("order.process").send("order.ship")


def test_a_value_in_the_place_of_a_route_is_refused() -> None:
    """What overrides a route is a method, a reaction or `removed`."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        go = on("order.process").send("payment.authorize")

    with pytest.raises(TypeError, match=r"Other.go: None takes the place of a reaction"):

        class Other(Shop):
            go = None


# post and asend -------------------------------------------------------------------------------


def test_post_and_asend_take_a_bound_event(engine: Engine) -> None:
    """`post` and `asend` take a bound event of a machine of the orchestrator."""

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        items: Fleet[str, Item]

        @on("order.process")
        def go(self) -> None:
            pick: Any = self.items["b"].pick  # a checker takes it for a list of transitions
            authorize: Any = self.payment.authorize
            self.post(pick, by="post")
            self.post(authorize, 1)

    fleet: Fleet[str, Item] = Fleet({key: engine.machine(Item)() for key in "ab"})
    shop = Shop(engine.machine(Order)(), engine.machine(Payment)(), fleet)
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process())

    async def main() -> None:
        capture: Any = shop.payment.capture
        await shop.asend(capture, by="asend")

    asyncio.run(main())
    assert sent == [
        ("order.process", (), {}),
        ("items.b.pick", (), {"by": "post"}),
        ("payment.authorize", (1,), {}),
        ("payment.capture", (), {"by": "asend"}),
    ]


def test_post_and_asend_refuse_the_bound_event_of_a_stranger() -> None:
    """A bound event of a machine that is none of the orchestrator's is refused at the call."""

    class Shop(Orchestrator):
        order: Order

    shop = Shop(Order())
    stranger: Any = Payment()
    for call in (shop.post, shop.asend):
        with pytest.raises(UnknownTopicError, match=r"Shop: .*its machine is none of Shop\("):
            call(stranger.authorize)


def test_post_and_asend_send_to_every_member_of_a_fleet(engine: Engine) -> None:
    """An event of a fleet goes to every member, in order; `asend` returns results by key."""

    class Numbered(Item):
        def on_pick(self, by: str) -> str:
            return by

    class Shop(Orchestrator):
        order: Order
        items: Fleet[str, Numbered]

        @on("order.process")
        def go(self) -> None:
            self.post("items.pick", by="post")

    def shop_of(keys: str) -> Shop:
        return Shop(
            engine.machine(Order)(), Fleet({key: engine.machine(Numbered)() for key in keys})
        )

    shop = shop_of("ba")
    sent = sent_in(shop)
    engine.run(lambda: shop.order.process())
    assert sent == [
        ("order.process", (), {}),
        ("items.b.pick", (), {"by": "post"}),
        ("items.a.pick", (), {"by": "post"}),
    ]
    other = shop_of("ba")
    result = asyncio.run(other.asend("items.pick", by="asend"))
    assert result == {("items", "b"): "asend", ("items", "a"): "asend"}
    assert asyncio.run(shop_of("").asend("items.pick", by="nobody")) == {}


def test_a_post_to_a_fleet_keeps_the_event_from_no_member(engine: Engine) -> None:
    """A member that refuses a posted event is a failure of the cascade; the others get it."""

    class Shop(Orchestrator):
        items: Fleet[str, Item]

    shop = Shop(Fleet({key: engine.machine(Item)() for key in "abc"}))
    engine.run(lambda: shop.items["a"].pick())

    def post() -> Any:
        return shop.asend("items.pick") if engine.is_async else shop.post("items.pick")

    error = engine.raises(ReactionErrors, post)
    assert told_by(error) == [("items.a.pick", "TransitionNotAllowed")]
    assert isinstance(error.exceptions[0], TransitionNotAllowed)
    assert repr(shop) == "Shop(items=Fleet({'a': picked, 'b': picked, 'c': picked}))"


def test_a_group_without_failures_is_a_failure_itself(engine: Engine) -> None:
    """What a posted event raises is kept, also a group of errors that tells nobody's failures."""

    class Broken(Item):
        def on_pick(self) -> None:
            raise ReactionErrors("of the user", [KeyError("lost")])

    class Shop(Orchestrator):
        order: Order
        item: Broken

        go = on("order.process").send("item.pick")

        @on("order.process")
        def later(self) -> None:
            self.post("item.pick")

    shop = Shop(engine.machine(Order)(), engine.machine(Broken)())
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert told_by(error) == [("Shop.go", "ReactionErrors"), ("item.pick", "ReactionErrors")]


def test_an_event_may_be_called_send(engine: Engine) -> None:
    """It hides the machine's method of that name, which routes and posts need."""

    class Letter(StateMachine):
        written = State(initial=True)
        sent = State()
        read = State(final=True)
        send = written.to(sent)
        open = sent.to(read)

    class Desk(Orchestrator):
        order: Order
        letter: Letter

        tell = on("order.process").send("letter.send")
        read = on("order.ship").send("letter.open")

    desk = Desk(engine.machine(Order)(), engine.machine(Letter)())
    engine.run(lambda: desk.order.process())
    assert desk.letter.current_state_value == "sent"
    engine.run(lambda: desk.order.ship())
    assert desk.letter.current_state_value == "read"

    desk = Desk(engine.machine(Order)(), engine.machine(Letter)())
    result = explore(lambda: desk)
    assert (result.states, result.stuck) == (6, ())
