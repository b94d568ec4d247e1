"""Likely mistakes with fleets, joins, routes and nesting lead to the fix; races do no harm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import statemachine
from conftest import needs_3
from statemachine import State, StateMachine
from statemachine.event_data import TriggerData

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    MachineFieldIsSetError,
    MachineIsTakenError,
    NotAReactionError,
    Orchestrator,
    ReactionErrors,
    UnknownTopicError,
    WrongMachineError,
    domain_signal,
    every,
    on,
    subscribe,
    when,
    wiring,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._frames import Payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Engine


class Item(StateMachine):
    waiting = State(initial=True)
    packed = State(final=True)
    pack = waiting.to(packed)


class Desk(Orchestrator):
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    spare: Item | None = None
    low_stock = domain_signal("an item runs out")


class Hall(Orchestrator, orchestrator_name="hall"):
    desks: Fleet[str, Desk] = attrs.field(factory=Fleet[str, Desk])
    desk: Desk | None = None


def a_desk() -> Any:
    desk = Desk()
    desk.items["a"] = Item()
    return desk


def names_twice(desk: Any) -> None:
    class Twice(Orchestrator):
        item: Item
        low = domain_signal("x")
        other = low

    desk.twice = Twice


def joins_by_the_whole_name(desk: Any) -> None:
    class Joined(Orchestrator):
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

        @when(items=every("items.packed"))
        def all_packed(self) -> None: ...

    desk.joined = Joined


untyped_desk: Any = Desk
untyped_when: Any = when
untyped_wiring: Any = wiring
untyped_subscribe: Any = subscribe
MISTAKES: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (
        lambda desk: desk.post("items.a.pack"),
        UnknownTopicError,
        "for one of them send a bound event: post(orc.items['a'].pack)",
    ),
    (
        lambda _desk: Hall().bus.signal("desks.north.items.pack"),
        UnknownTopicError,
        "a topic names no key; what is for all members is 'desks.items.pack'",
    ),
    (lambda desk: desk.post("items"), UnknownTopicError, "'items' is a fleet, and the event is"),
    (lambda desk: desk.post("items.pick"), UnknownTopicError, "fleet 'items' has no event 'pick'"),
    (
        lambda desk: desk.post("low_stock"),
        UnknownTopicError,
        "'low_stock' is a signal of the domain; publish it: publish('low_stock', ...)",
    ),
    (
        lambda desk: Hall(desk=desk).post("desk.spare.pack"),
        UnknownTopicError,
        "'desk.spare' holds no machine yet",
    ),
    (
        lambda desk: desk.broadcast(desk.items["a"].pack),
        UnknownTopicError,
        "a bound event is for its machine alone; post it, or write its name in a string",
    ),
    (lambda desk: desk.asend(["items.pack"]), UnknownTopicError, "a topic is a string"),
    (lambda desk: desk.bus.signal(3), UnknownTopicError, "a topic is a string"),
    (
        lambda desk: setattr(desk, "low_stock", 3),
        DeclarationError,
        "a signal of the domain cannot be set. Publish it: publish('low_stock', ...)",
    ),
    (names_twice, DeclarationError, "this signal of the domain is called 'low' already"),
    (
        joins_by_the_whole_name,
        NotAReactionError,
        "every() was given 'items.packed'. The field is named already: items=every('packed')",
    ),
    (
        lambda desk: setattr(desk, "items", Fleet()),
        MachineFieldIsSetError,
        "Put machines into the fleet, and take them out: items[key] = machine",
    ),
    (
        lambda _desk: untyped_desk(items={"a": Item()}),
        WrongMachineError,
        "takes a Fleet[str, Item], and was given {",
    ),
    (
        lambda desk: Desk(items=desk.items),
        MachineIsTakenError,
        "the fleet is held by Desk(items=Fleet({'a': waiting}), spare=None) already. Take it out",
    ),
    (
        lambda desk: (Hall(desk=desk), Hall(desk=desk)),
        MachineIsTakenError,
        "the orchestrator is held by Hall(",
    ),
    (
        lambda desk: desk.items.update({"b": desk.items["a"]}),
        DeclarationError,
        "the machine stands in items['a'] too. Give each field and each key a machine of its own",
    ),
    (lambda _desk: untyped_wiring(Item()), DeclarationError, "which is no orchestrator"),
    (
        lambda _desk: untyped_subscribe(Desk, "items.pack", print),
        NotAReactionError,
        "Give it an instance of one",
    ),
    (
        lambda desk: subscribe(desk, "items.pack", desk.items["a"].pack),
        NotAReactionError,
        "Declare a route: on(...).send(...)",
    ),
    (
        lambda _desk: untyped_when(items=["packed"]),
        NotAReactionError,
        "Give it several in a tuple",
    ),
    (
        lambda _desk: untyped_when(items=every),
        NotAReactionError,
        "every() and its kin are called with states, stand alone, and only in @when",
    ),
    (lambda desk: desk.bus.signal("*").connect(None), TypeError, "connect() takes a function"),
]


@pytest.mark.parametrize(("mistake", "error", "text"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_a_mistake_leads_to_the_fix(
    mistake: Callable[[Any], Any], error: type[Exception], text: str
) -> None:
    """The text says what is wrong in the user's words, and what to write instead."""
    with pytest.raises(error) as caught:
        mistake(a_desk())
    assert text in str(caught.value)


def test_a_fleet_is_filled_by_the_operator_that_assigns() -> None:
    """`desk.items |= ...` puts members in: the field is set to what it holds."""
    desk = a_desk()
    desk.items |= {"b": Item()}
    assert repr(desk) == "Desk(items=Fleet({'a': waiting, 'b': waiting}), spare=None)"


def test_an_exception_that_cannot_be_told_hides_nothing(engine: Engine) -> None:
    """Where `repr` of a failure raises, the call's own exception comes through all the same."""

    class UntoldError(Exception):
        def __repr__(self) -> str:
            raise ValueError

    class Shop(Orchestrator):
        item: Item

        @on("item.pack")
        def fails(self) -> None:
            raise UntoldError

        @on("item.pack")
        def stops(self) -> None:
            raise KeyboardInterrupt

    shop = Shop(engine.machine(Item)())
    stopped = engine.raises(KeyboardInterrupt, lambda: shop.item.pack())
    assert stopped.__notes__ == [
        "Shop.fails, in reaction to item.pack (waiting → packed) failed: <UntoldError>"
    ]


def test_failures_of_a_fleet_tell_its_members(engine: Engine) -> None:
    """A note names field and key, whatever the key is."""

    class Key:
        def __repr__(self) -> str:
            raise ValueError

    class Shop(Orchestrator):
        items: Fleet[Any, Item] = attrs.field(factory=Fleet[Any, Item])

        @on("items.pack")
        def fails(self) -> None:
            raise LookupError

    shop = Shop()
    shop.items[Key()] = item = engine.machine(Item)()
    assert repr(shop) in {
        "Shop(items=Fleet({<Key>: waiting}))",
        "Shop(items=Fleet({<Key>: -}))",
    }
    error = engine.raises(ReactionErrors, item.pack)
    assert error.exceptions[0].__notes__ == [
        "in Shop.fails, in reaction to items.<Key>.pack (waiting → packed)"
    ]


# What only another thread can do --------------------------------------------------------------


def test_a_member_is_taken_out_once() -> None:
    """Where another thread has taken a member out meanwhile, nothing is left to do."""
    hall, desk = Hall(), a_desk()
    hall.desks["a"] = desk
    member = desk.items["a"]
    for fleet, key in ((hall.desks, "a"), (desk.items, "a")):
        held = fleet[key]
        holding: Any = fleet._holding
        del fleet[key]
        holding.took({key: held})
    assert seam_of(member) is None
    assert (list(hall.desks), list(desk.items)) == ([], [])


def test_a_step_that_had_begun_when_the_machine_came_is_the_hosts() -> None:
    """What the host runs outside of every call of ours is announced to nobody."""
    desk = a_desk()
    member, heard = desk.items["a"], []
    desk.bus.signal("ignored:*").connect(lambda _machine, record: heard.append(record))
    seam = seam_of(member)
    event: Any = TriggerData(member, event=member.pack)
    event.kwargs = Payload()
    seam.ignored(event)
    event.kwargs = seam.payload({}, None, None)
    seam.committed((), event)
    event.kwargs = {}
    seam.committed((), event)
    assert heard == []
    member.pack()
    assert repr(desk.items) == "Fleet({'a': packed})"


@needs_3
def test_an_eventless_step_that_had_begun_when_the_machine_came_is_the_hosts() -> None:
    """Eventless transitions that the host selects outside of every call of ours are the host's."""
    chart: Any = statemachine.StateChart  # type: ignore[attr-defined,unused-ignore]

    class Lamp(chart):  # type: ignore[misc]
        dark = State(initial=True)
        lit = State(final=True)
        dark.to(lit, cond="is_ready")
        is_ready = False

    class Room(Orchestrator):
        lamp: Lamp

    room = Room(Lamp())
    room.lamp.is_ready = True
    select = room.lamp._engine.select_eventless_transitions
    selected = select(TriggerData(room.lamp, event=None))
    assert [(one.is_eventless, one.target.id) for one in selected] == [(True, "lit")]


def test_a_member_leaves_when_what_its_callers_hold_was_awaited_or_dropped() -> None:
    """A member whose event somebody may still await stays until then."""

    class Slow(Item):
        async def on_pack(self) -> None:
            await asyncio.sleep(0)

    async def main() -> None:
        desk, first, second = Desk(), Slow(), Slow()
        desk.items.update(a=first, b=second)
        await asyncio.sleep(0)
        pending, dropped = first.send("pack"), second.send("pack")
        desk.items.clear()
        assert seam_of(first) is not None
        dropped.close()
        seam_of(second).rest()
        assert seam_of(second) is None
        await pending
        assert seam_of(first) is None
        assert first.current_state_value == "packed"

    asyncio.run(main())
