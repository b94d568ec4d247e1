"""Fleets: many machines in one field, each under a key."""

from __future__ import annotations

import asyncio
import copy
import gc
import threading
import tracemalloc
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Optional, cast

import attrs
import pytest
from conftest import awaited, entered, listen, needs_3, operations, pickled
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

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
    StateFieldIsNotUniqueError,
    UnknownTopicError,
    WrongMachineError,
    on,
    on_enter,
    on_exit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import Engine


class Item(StateMachine):
    """The member of most fleets."""

    stored = State(initial=True)
    picked = State()
    packed = State()
    pick = stored.to(picked)
    pack = picked.to(packed)
    put_back = picked.to(stored) | packed.to(stored)


class AsyncItem(Item):
    """It can be imported, so that it can be pickled."""

    async def on_enter_state(self) -> None:
        """Make the machine async."""


class Telling(StateMachine):
    """A machine that tells what is injected into its callbacks as `orc`."""

    off = State(initial=True)
    lit = State()
    toggle = off.to(lit) | lit.to(off)

    def on_toggle(self, orc: Any = None) -> Any:
        return orc


class Depot(Orchestrator):
    """The orchestrator of most tests; it can be imported as well."""

    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    log: list[Any] = attrs.field(factory=list[Any])

    @on("items.pick")
    def picked(self, key: str) -> None:
        self.log.append(("picked", key))


class Lights(Orchestrator):
    """An orchestrator of machines that tell their `orc`."""

    lights: Fleet[str, Telling] = attrs.field(factory=Fleet[str, Telling])


class Yard(Orchestrator):
    """A field beside a fleet."""

    item: Item
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])


def depot_of(engine: Engine, keys: Iterable[str]) -> Depot:
    """Return a depot with a new item under each key."""
    item = engine.machine(Item)
    depot = Depot()
    for key in keys:
        depot.items[key] = item()
    return depot


# The mapping ----------------------------------------------------------------------------------


def test_a_fleet_is_a_mapping_in_the_order_of_insertion(engine: Engine) -> None:
    """A fleet iterates, counts, finds and compares as a dict of its members does."""
    depot = depot_of(engine, "bca")
    members = dict(depot.items)
    assert list(depot.items) == list(depot.items.keys()) == ["b", "c", "a"]
    assert list(depot.items.items()) == list(members.items())
    assert list(depot.items.values()) == [depot.items[key] for key in "bca"]
    assert (len(depot.items), bool(depot.items), bool(Depot().items)) == (3, True, False)
    assert ("c" in depot.items, "x" in depot.items, depot.items.get("x")) == (True, False, None)
    assert depot.items == members
    with pytest.raises(KeyError, match="x"):
        depot.items["x"]


def test_a_member_is_attached_when_put_in_and_detached_when_taken_out(engine: Engine) -> None:
    """A member hears of its orchestrator while it stands in the fleet, and only then."""
    lights = Lights()
    light = engine.machine(Telling)()
    heard = listen(lights, "lights.toggle")
    told = [engine.run(light.toggle)]
    lights.lights["a"] = light
    told.append(engine.run(light.toggle))
    taken = lights.lights.pop("a")
    told.append(engine.run(light.toggle))
    assert taken is light
    assert told == [None, lights, None]
    assert [(topic, record.key) for topic, record in heard] == [("lights.toggle", "a")]


def test_a_detached_machine_is_a_bare_machine_again(engine: Engine) -> None:
    """What a machine keeps after it was taken out is what it had before it was put in."""
    depot = Depot()
    item = engine.machine(Item)()
    before = {name: set(vars(vars(item)[name])) for name in ("_engine", "_callbacks")}
    depot.items["a"] = item
    engine.run(item.pick)
    del depot.items["a"]
    after = {name: set(vars(vars(item)[name])) for name in ("_engine", "_callbacks")}
    assert {name: after[name] - before[name] for name in before} == {
        "_engine": set(),
        "_callbacks": set(),
    }
    engine.run(item.pack)
    assert [state.id for state in (item.packed,) if state.is_active] == ["packed"]
    assert depot.log == [("picked", "a")]


def test_a_member_moves_from_one_orchestrator_to_another(engine: Engine) -> None:
    """A machine that was taken out may be put in elsewhere, and is heard there alone."""
    one, two = Depot(), Depot()
    item = one.items["a"] = engine.machine(Item)()
    two.items["b"] = one.items.pop("a")
    engine.run(item.pick)
    assert (one.log, two.log) == ([], [("picked", "b")])
    one.items["again"] = two.items.pop("b")
    engine.run(item.put_back)
    engine.run(item.pick)
    assert (one.log, two.log) == ([("picked", "again")], [("picked", "b")])


def ways_to_take_out() -> dict[str, Callable[[Any], Any]]:
    """Return every way to take out the last member, `b`."""
    return {
        "del": lambda fleet: fleet.__delitem__("b"),
        "pop": lambda fleet: fleet.pop("b"),
        "pop with a default": lambda fleet: fleet.pop("b", None),
        "popitem": lambda fleet: fleet.popitem(),
        "clear": lambda fleet: fleet.clear(),
        "replace": lambda fleet: fleet.__setitem__("b", Item()),
        "update": lambda fleet: fleet.update(b=Item()),
    }


@pytest.mark.parametrize("take", ways_to_take_out().values(), ids=ways_to_take_out().keys())
def test_every_way_to_take_a_member_out_detaches_it(
    engine: Engine, take: Callable[[Any], Any]
) -> None:
    """Whichever method takes a member out, it is heard no more and may be put in elsewhere."""
    depot, other = depot_of(engine, "ab"), Depot()
    item = depot.items["b"]
    take(depot.items)
    engine.run(item.pick)
    assert depot.log == []
    other.items["c"] = item
    engine.run(item.put_back)
    engine.run(item.pick)
    assert other.log == [("picked", "c")]


def ways_to_put_in() -> dict[str, Callable[[Any, Any], Any]]:
    """Return every way to put a member in under `b`."""
    return {
        "set": lambda fleet, item: fleet.__setitem__("b", item),
        "setdefault": lambda fleet, item: fleet.setdefault("b", item),
        "update with a mapping": lambda fleet, item: fleet.update({"b": item}),
        "update with pairs": lambda fleet, item: fleet.update([("b", item)]),
        "update by keyword": lambda fleet, item: fleet.update(b=item),
    }


@pytest.mark.parametrize("put", ways_to_put_in().values(), ids=ways_to_put_in().keys())
def test_every_way_to_put_a_member_in_attaches_it(
    engine: Engine, put: Callable[[Any, Any], Any]
) -> None:
    """Whichever method puts a member in, it is heard under its key."""
    depot = depot_of(engine, "a")
    item = engine.machine(Item)()
    put(depot.items, item)
    assert list(depot.items) == ["a", "b"]
    engine.run(item.pick)
    assert depot.log == [("picked", "b")]


def test_what_the_methods_of_a_fleet_return_is_what_those_of_a_dict_return() -> None:
    """`pop`, `popitem`, `setdefault` and the errors of a missing key are those of a dict."""
    depot = Depot()
    a, b = Item(), Item()
    assert depot.items.setdefault("a", a) is a
    assert depot.items.setdefault("a", b) is a
    depot.items["b"] = b
    assert depot.items.pop("x", None) is None
    assert depot.items.popitem() == ("b", b)
    assert depot.items.popitem() == ("a", a)
    with pytest.raises(KeyError):
        depot.items.popitem()
    with pytest.raises(KeyError, match="x"):
        depot.items.pop("x")
    with pytest.raises(KeyError, match="x"):
        del depot.items["x"]
    depot.items.clear()
    assert dict(depot.items) == {}


def test_a_fleet_that_no_orchestrator_holds_is_an_ordinary_mapping(engine: Engine) -> None:
    """A fleet alone attaches nothing, and its methods are those of a dict."""
    a, b = engine.machine(Item)(), engine.machine(Item)()
    fleet = Fleet[str, Any]({"a": a})
    fleet["b"] = b
    assert (list(fleet), fleet.holder, fleet.key_of(b)) == (["a", "b"], None, "b")
    assert fleet.popitem() == ("b", b)
    with pytest.raises(NotAMemberError):
        fleet.key_of(b)
    depot, other = Depot(), Depot()
    depot.items["x"] = a
    engine.run(a.pick)
    assert depot.log == [("picked", "x")]
    fleet.clear()
    assert (dict(fleet), other.log) == ({}, [])


def test_a_replaced_member_leaves_its_place_to_the_new_one(engine: Engine) -> None:
    """Under a key that is taken the new member stands where the old one stood."""
    depot = depot_of(engine, "abc")
    old, new = depot.items["b"], engine.machine(Item)()
    depot.items["b"] = new
    assert list(depot.items) == ["a", "b", "c"]
    engine.run(old.pick)
    engine.run(new.pick)
    assert depot.log == [("picked", "b")]
    assert depot.items.key_of(new) == "b"
    with pytest.raises(NotAMemberError):
        depot.items.key_of(old)


def test_putting_in_the_member_that_stands_there_changes_nothing(engine: Engine) -> None:
    """A member put in under the key that it has already stays as it is."""
    depot = depot_of(engine, "ab")
    depot.items["a"] = depot.items["a"]
    assert list(depot.items) == ["a", "b"]
    engine.run(depot.items["a"].pick)
    assert depot.log == [("picked", "a")]


def test_a_large_fleet_has_a_short_repr() -> None:
    """A fleet shows its first members by state, and how many there are more."""
    assert repr(Depot(Fleet({"a": Item()}))) == "Depot(items=Fleet({'a': stored}), log=[])"
    fleet = Fleet({number: Item() for number in range(100)})
    assert repr(fleet) == (
        "Fleet({0: stored, 1: stored, 2: stored, 3: stored, 4: stored, 5: stored, ... 94 more})"
    )


# Topics and keys ------------------------------------------------------------------------------


def test_an_event_of_a_member_publishes_the_topics_of_its_field(engine: Engine) -> None:
    """A step of a member publishes what a step of a field does, under the name of the fleet."""
    depot = depot_of(engine, "ab")
    topics = [
        "*",
        "items.*",
        "enter:items.picked",
        "items.pick",
        "exit:items.stored",
        "sent:*",
        "sent:items.*",
        "sent:items.pick",
    ]
    heard = listen(depot, *topics)
    engine.run(depot.items["b"].pick)
    assert [topic for topic, _ in heard] == [
        "sent:items.pick",
        "sent:items.*",
        "sent:*",
        "exit:items.stored",
        "items.pick",
        "items.*",
        "*",
        "enter:items.picked",
    ]
    told = {(r.machine_name, r.path, r.keys, r.key, r.machine) for _, r in heard}
    assert told == {("items", ("items", "b"), ("b",), "b", depot.items["b"])}


def test_a_reaction_may_ask_for_the_key(engine: Engine) -> None:
    """A reaction is given the key of the member that it reacts to, whatever the topic."""
    log: list[Any] = []

    class Keyed(Orchestrator):
        items: Fleet[Any, Item] = attrs.field(factory=Fleet[Any, Item])

        @on("items.pick")
        def event(self, key: Any) -> None:
            log.append(("event", key))

        @on("*")
        def wild(self, **kwargs: Any) -> None:
            log.append(("wild", kwargs["key"]))

        @on_enter(items=Item.picked)
        def entered(self, *, key: Any) -> None:
            log.append(("entered", key))

        @on_exit("items.stored", cond=lambda key: key != 1)
        def left(self, key: Any, machine: Any) -> None:
            log.append(("left", key, machine is self.items[key]))

    keyed = Keyed()
    for key in (1, ("a", 2), None):
        keyed.items[key] = engine.machine(Item)()
        engine.run(keyed.items[key].pick)
    assert log == [
        *[("event", 1), ("wild", 1), ("entered", 1)],
        *[("left", ("a", 2), True), ("event", ("a", 2)), ("wild", ("a", 2))],
        ("entered", ("a", 2)),
        *[("left", None, True), ("event", None), ("wild", None), ("entered", None)],
    ]


def test_outside_of_fleets_the_key_is_none(engine: Engine) -> None:
    """A reaction that asks for the key of a machine in a field of its own gets `None`."""
    log: list[Any] = []

    class Keyed(Yard):
        @on("item.pick", "items.pick", "settled")
        def event(self, key: Any) -> None:
            log.append(key)

    keyed = Keyed(engine.machine(Item)())
    keyed.items["a"] = engine.machine(Item)()
    engine.run(keyed.item.pick)
    engine.run(keyed.items["a"].pick)
    assert log == [None, None, "a", None]


def test_key_of_tells_the_key_anywhere(engine: Engine) -> None:
    """A machine's key can be asked in its guards and callbacks, in reactions and from outside."""
    log: list[Any] = []

    class Asking(StateMachine):
        off = State(initial=True)
        lit = State(final=True)
        light = off.to(lit, cond="may")

        def may(self, orc: Any) -> bool:
            log.append(("guard", orc.lights.key_of(self)))
            return True

        def after_light(self, orc: Any) -> None:
            log.append(("callback", orc.lights.key_of(self)))

    class Owner(Orchestrator):
        lights: Fleet[str, Asking] = attrs.field(factory=Fleet[str, Asking])

        @on("lights.light")
        def lit(self, machine: Asking) -> None:
            log.append(("reaction", self.lights.key_of(machine)))

    owner = Owner()
    for key in "ab":
        owner.lights[key] = engine.machine(Asking)()
    engine.run(owner.lights["b"].light)
    log.append(("outside", owner.lights.key_of(owner.lights["b"])))
    assert log == [("guard", "b"), ("callback", "b"), ("reaction", "b"), ("outside", "b")]


def test_key_of_refuses_what_is_no_member(engine: Engine) -> None:
    """A machine of a field, of another fleet or of none is no member, and neither is a value."""
    yard = Yard(engine.machine(Item)())
    other = depot_of(engine, "a")
    for value in (yard.item, other.items["a"], engine.machine(Item)(), other, 5):
        with pytest.raises(NotAMemberError) as caught:
            yard.items.key_of(cast("Item", value))
        assert isinstance(caught.value, LookupError)


def test_each_member_is_one_sender(engine: Engine) -> None:
    """An observer connected for one member hears of it alone."""
    depot = depot_of(engine, "ab")
    heard: list[Any] = []
    depot.bus.signal("items.pick").connect(
        lambda machine, record: heard.append(record.key), sender=depot.items["b"]
    )
    for key in "ab":
        engine.run(depot.items[key].pick)
    assert heard == ["b"]


# Sending --------------------------------------------------------------------------------------


def test_a_post_to_a_fleet_goes_to_every_member_in_order(engine: Engine) -> None:
    """A posted `items.pick` is sent to each member, in the order of the fleet, with arguments."""
    depot = depot_of(engine, "bac")
    heard = listen(depot, "items.pick")
    depot.post("items.pick", 5, by="hand")
    assert [(r.key, r.args, r.kwargs) for _, r in heard] == [
        ("b", (5,), {"by": "hand"}),
        ("a", (5,), {"by": "hand"}),
        ("c", (5,), {"by": "hand"}),
    ]
    assert depot.log == [("picked", "b"), ("picked", "a"), ("picked", "c")]


def test_a_member_that_refuses_a_post_keeps_it_from_no_other(engine: Engine) -> None:
    """What some members raise is raised when all have got the event and the cascade is at rest."""
    depot = depot_of(engine, "abc")
    engine.run(depot.items["b"].pick)
    depot.log.clear()
    with pytest.raises(ReactionErrors) as caught:
        depot.post("items.pick")
    assert depot.log == [("picked", "a"), ("picked", "c")]
    assert caught.value.subgroup(TransitionNotAllowed) is not None


def test_a_post_to_an_empty_fleet_goes_to_nobody() -> None:
    """A fleet without members takes every event of its class, and nothing happens."""
    depot = Depot()
    depot.post("items.pick")
    assert awaited(lambda: depot.asend("items.pick")) == {}
    with pytest.raises(UnknownTopicError):
        depot.post("items.pikc")


def test_a_post_goes_to_one_member_by_its_bound_event(engine: Engine) -> None:
    """`post(member.event)` sends to that member alone; its topic is that of the field."""
    depot = depot_of(engine, "abc")
    heard = listen(depot, "started:items.pick", "items.pick")
    member: Any = depot.items["b"]
    depot.post(member.pick)
    assert [(topic, r.key) for topic, r in heard] == [
        ("started:items.pick", None),
        ("items.pick", "b"),
    ]
    assert depot.log == [("picked", "b")]


def test_asend_sends_a_bound_event_and_returns_its_result(engine: Engine) -> None:
    """`asend(member.event)` awaits the cascade and returns what the member's event returned."""
    lights = Lights()
    light = lights.lights["a"] = engine.machine(Telling)()
    assert awaited(lambda: lights.asend(light.toggle)) is lights


def test_asend_to_a_fleet_returns_the_results_by_name_and_key(engine: Engine) -> None:
    """`asend("lights.toggle")` returns what each member's event returned."""
    lights = Lights()
    for key in "ab":
        lights.lights[key] = engine.machine(Telling)()
    assert awaited(lambda: lights.asend("lights.toggle")) == {
        ("lights", "a"): lights,
        ("lights", "b"): lights,
    }


def test_the_bound_event_of_a_stranger_is_refused(engine: Engine) -> None:
    """A bound event of a machine that is not the orchestrator's is no topic of it."""
    depot = depot_of(engine, "a")
    taken = depot.items.pop("a")
    machine: Any
    for machine in (taken, engine.machine(Item)(), depot_of(engine, "a").items["a"]):
        with pytest.raises(UnknownTopicError):
            depot.post(machine.pick)
        with pytest.raises(UnknownTopicError):
            awaited(partial(depot.asend, machine.pick))


def test_a_route_to_a_fleet_goes_to_every_member_in_order(engine: Engine) -> None:
    """A route to `items.pick` sends to each member, in the order of the fleet."""

    class Routed(Orchestrator):
        first: Item
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
        follow = on("first.pick").send("items.pick")

    routed = Routed(engine.machine(Item)())
    for key in "ba":
        routed.items[key] = engine.machine(Item)()
    heard = listen(routed, "items.pick")
    engine.run(lambda: routed.first.pick(by="hand"))
    assert [(r.key, r.kwargs) for _, r in heard] == [("b", {"by": "hand"}), ("a", {"by": "hand"})]


def test_a_route_goes_to_one_member_by_its_bound_event(engine: Engine) -> None:
    """A route to `member.event` sends to that member alone."""
    chosen = engine.machine(Item)()

    class Routed(Orchestrator):
        first: Item
        items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
        follow = on("first.pick").send(chosen.pick)

    routed = Routed(engine.machine(Item)())
    routed.items["a"] = engine.machine(Item)()
    routed.items["b"] = chosen
    heard = listen(routed, "items.pick")
    engine.run(routed.first.pick)
    assert [r.key for _, r in heard] == ["b"]


def test_a_fleet_of_several_classes_has_the_topics_of_all(engine: Engine) -> None:
    """A fleet of a union takes members of each class, and topics of each."""
    log: list[Any] = []

    class Mixed(Orchestrator):
        things: Fleet[str, Item | Telling] = attrs.field(factory=Fleet[str, Any])

        @on("things.pick", "things.toggle")
        def moved(self, key: str, event: str) -> None:
            log.append((key, str(event)))

    mixed = Mixed()
    mixed.things["a"] = item = engine.machine(Item)()
    mixed.things["b"] = light = engine.machine(Telling)()
    engine.run(item.pick)
    engine.run(light.toggle)
    assert log == [("a", "pick"), ("b", "toggle")]


# In mid-step ----------------------------------------------------------------------------------


class Leaving(StateMachine):
    """A machine that calls what its model says in the middle of a step."""

    off = State(initial=True)
    lit = State()
    toggle = off.to(lit) | lit.to(off)

    def on_toggle(self, orc: Any, act: Any = None) -> None:
        if act is not None:
            act(orc)


class Owner(Orchestrator):
    """The orchestrator of machines that leave in mid-step."""

    fleet: Fleet[str, Leaving] = attrs.field(factory=Fleet[str, Leaving])
    log: list[Any] = attrs.field(factory=list[Any])

    @on_exit("fleet.off")
    def leaves_off(self, key: str) -> None:
        self.log.append(("leaves off", key, sorted(self.fleet)))

    @on("fleet.toggle")
    def toggled(self, key: str) -> None:
        self.log.append(("toggled", key, sorted(self.fleet)))


def owner_of(engine: Engine, keys: str) -> Owner:
    owner = Owner()
    for key in keys:
        owner.fleet[key] = engine.machine(Leaving)()
    return owner


def test_a_member_taken_out_in_mid_step_leaves_when_it_is_at_rest(engine: Engine) -> None:
    """The step in which a member is taken out is announced, its reactions run, the next is not."""
    owner = owner_of(engine, "ab")
    member = owner.fleet["a"]
    heard = listen(owner, "sent:fleet.toggle", "fleet.toggle")

    def act(orc: Any) -> None:
        popped = orc.fleet.pop("a")
        owner.log.append((popped is member, sorted(orc.fleet), orc.fleet.key_of(member)))

    engine.run(lambda: member.toggle(act=act))
    assert owner.log == [
        (True, ["b"], "a"),
        ("leaves off", "a", ["b"]),
        ("toggled", "a", ["b"]),
    ]
    with pytest.raises(NotAMemberError):
        owner.fleet.key_of(member)
    Owner().fleet["x"] = member
    engine.run(member.toggle)
    assert [(topic, r.path) for topic, r in heard] == [
        ("sent:fleet.toggle", ("fleet", "a")),
        ("fleet.toggle", ("fleet", "a")),
    ]


def test_in_its_reactions_a_member_taken_out_is_bare(engine: Engine) -> None:
    """When its step's reactions run, a member that left is at rest, and may be put in elsewhere."""
    other = Owner()

    class Moving(Owner):
        @on("fleet.toggle")
        def move(self, machine: Any) -> None:
            other.fleet["there"] = machine

    moving = Moving()
    member = moving.fleet["a"] = engine.machine(Leaving)()
    engine.run(lambda: member.toggle(act=lambda orc: orc.fleet.clear()))
    engine.run(member.toggle)
    assert (dict(moving.fleet), dict(other.fleet)) == ({}, {"there": member})
    assert moving.log == [("leaves off", "a", []), ("toggled", "a", [])]
    assert other.log == [("toggled", "there", ["there"])]


def test_a_member_in_mid_step_is_replaced_at_once_and_leaves_at_rest(engine: Engine) -> None:
    """Under the key of a member in mid-step stands the new one; both are heard under it."""
    owner = owner_of(engine, "a")
    old, new = owner.fleet["a"], engine.machine(Leaving)()

    def act(orc: Any) -> Any:
        orc.fleet["a"] = new
        owner.log.append((orc.fleet["a"] is new, orc.fleet.key_of(old), orc.fleet.key_of(new)))

    engine.run(lambda: old.toggle(act=act))
    assert owner.log == [
        (True, "a", "a"),
        ("leaves off", "a", ["a"]),
        ("toggled", "a", ["a"]),
    ]
    owner.log.clear()
    Owner().fleet["x"] = old
    engine.run(old.toggle)
    engine.run(new.toggle)
    assert owner.log == [("leaves off", "a", ["a"]), ("toggled", "a", ["a"])]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_member_leaves_at_rest_also_when_its_step_raises(
    engine: Engine, error: type[BaseException]
) -> None:
    """A member taken out in a step that raises, whatever it raises, is bare after it."""
    owner = owner_of(engine, "ab")
    member = owner.fleet["a"]

    def act(orc: Any) -> None:
        del orc.fleet["a"]
        raise error

    with pytest.raises(error):
        engine.run(lambda: member.toggle(act=act))
    other = Owner()
    other.fleet["x"] = member
    engine.run(member.toggle)
    assert owner.log == []
    assert other.log == [("leaves off", "x", ["x"]), ("toggled", "x", ["x"])]


def test_a_fleet_grows_while_one_of_its_members_is_in_mid_step(engine: Engine) -> None:
    """A callback may put members in, also under keys before unknown, and send to them at once."""
    owner = owner_of(engine, "a")
    new = engine.machine(Leaving)

    def act(orc: Any) -> None:
        for key in "bc":
            orc.fleet[key] = new()

    engine.run(lambda: owner.fleet["a"].toggle(act=act))
    engine.run(owner.fleet["c"].toggle)
    assert owner.log == [
        ("leaves off", "a", ["a", "b", "c"]),
        ("toggled", "a", ["a", "b", "c"]),
        ("leaves off", "c", ["a", "b", "c"]),
        ("toggled", "c", ["a", "b", "c"]),
    ]


def test_a_callback_sends_to_the_member_that_it_has_put_in(engine: Engine) -> None:
    """A direct call on a member put in a moment ago acts now, and is announced first."""
    owner = owner_of(engine, "a")
    new = engine.machine(Leaving)

    class Sending(Leaving):
        def after_toggle(self, orc: Any) -> Any:
            orc.fleet["b"] = new()
            return orc.fleet["b"].toggle()

    owner.fleet["s"] = engine.machine(Sending)()
    engine.run(owner.fleet["s"].toggle)
    assert [(what, key) for what, key, _ in owner.log] == [
        ("leaves off", "b"),
        ("toggled", "b"),
        ("leaves off", "s"),
        ("toggled", "s"),
    ]


def test_a_fleet_is_filled_and_emptied_in_reactions(engine: Engine) -> None:
    """A reaction may take out the member that caused it, put others in, and send to them."""
    new = engine.machine(Item)
    log: list[Any] = []

    class Line(Orchestrator):
        items: Fleet[int, Item] = attrs.field(factory=Fleet[int, Item])

        @on("items.pick")
        def next_one(self, key: int) -> Any:
            log.append((key, list(self.items)))
            del self.items[key]
            if key == 3:
                return None
            self.items[key + 1] = new()
            return self.items[key + 1].pick()

    line = Line()
    line.items[0] = new()
    engine.run(line.items[0].pick)
    assert log == [(0, [0]), (1, [1]), (2, [2]), (3, [3])]
    assert dict(line.items) == {}


def test_what_a_member_sends_before_it_leaves_is_its_last_step_too(engine: Engine) -> None:
    """Events in the queue of a member that was taken out are taken before it leaves."""
    owner = owner_of(engine, "a")
    member = owner.fleet["a"]
    heard = listen(owner, "fleet.toggle")

    class Twice(Leaving):
        def before_toggle(self, orc: Any, *, again: bool = False) -> Any:
            if again:
                orc.fleet.pop("t")
                return self.toggle()
            return None

    twice = owner.fleet["t"] = engine.machine(Twice)()
    engine.run(lambda: twice.toggle(again=True))
    engine.run(member.toggle)
    assert [r.key for _, r in heard] == ["t", "t", "a"]
    Owner().fleet["x"] = twice


def test_a_member_held_in_mid_step_by_another_task_leaves_when_that_is_done() -> None:
    """A member that waits in its callback is taken out by another task, and leaves at rest."""

    class Waiting(StateMachine):
        off = State(initial=True)
        lit = State()
        toggle = off.to(lit) | lit.to(off)

        async def on_toggle(self, go: Any = None) -> None:
            if go is not None:
                await go.wait()

    class Waiters(Orchestrator):
        fleet: Fleet[str, Waiting] = attrs.field(factory=Fleet[str, Waiting])

    waiters, other = Waiters(), Waiters()
    member = waiters.fleet["a"] = Waiting()
    heard = listen(waiters, "fleet.toggle")
    refused: list[type[BaseException]] = []

    async def main() -> None:
        go = asyncio.Event()
        step = asyncio.ensure_future(member.toggle(go=go))
        await asyncio.sleep(0.01)
        waiters.fleet.clear()
        for fleet in (waiters.fleet, other.fleet):
            try:
                fleet["b"] = member
            except OrchestratorError as error:
                refused.append(type(error))
        go.set()
        await step
        other.fleet["b"] = member
        await member.toggle()

    asyncio.run(main())
    assert refused == [MachineIsBusyError, MachineIsTakenError]
    assert [r.path for _, r in heard] == [("fleet", "a")]
    assert dict(other.fleet) == {"b": member}


def test_a_member_held_in_mid_step_by_another_thread_leaves_when_that_is_done() -> None:
    """A member whose callback waits is taken out by another thread, and leaves at rest."""
    owner = Owner()
    member: Any = Leaving()
    owner.fleet["a"] = member
    begun, go = threading.Event(), threading.Event()

    def act(_orc: Any) -> None:
        begun.set()
        assert go.wait(10)

    heard = listen(owner, "fleet.toggle")
    thread = threading.Thread(target=lambda: member.toggle(act=act))
    thread.start()
    assert begun.wait(10)
    owner.fleet.clear()
    with pytest.raises(MachineIsTakenError):
        Owner().fleet["b"] = member
    go.set()
    thread.join(10)
    other = Owner()
    other.fleet["b"] = member
    member.toggle()
    assert [r.path for _, r in heard] == [("fleet", "a")]
    assert owner.log == [("leaves off", "a", []), ("toggled", "a", [])]
    assert other.log == [("toggled", "b", ["b"])]


# What is refused ------------------------------------------------------------------------------


def test_a_machine_in_mid_step_cannot_be_put_in(engine: Engine) -> None:
    """A machine in mid-step is refused, bare or just taken out, and nothing is changed."""
    owner = owner_of(engine, "ab")
    caught: list[type[BaseException]] = []

    def putting(key: str, machine: Any) -> Callable[[Any], None]:
        def act(orc: Any) -> None:
            orc.fleet.pop("a", None)
            with pytest.raises(OrchestratorError) as error:
                orc.fleet[key] = machine
            caught.append(error.type)

        return act

    member = owner.fleet["a"]
    engine.run(lambda: member.toggle(act=putting("c", member)))
    engine.run(lambda: owner.fleet["b"].toggle(act=putting("b2", owner.fleet["b"])))
    bare: Any = engine.machine(Leaving)()
    engine.run(lambda: bare.toggle(orc=owner, act=putting("b", bare)))
    assert caught == [MachineIsBusyError, DeclarationError, MachineIsBusyError]
    assert list(owner.fleet) == ["b"]
    engine.run(owner.fleet["b"].toggle)
    assert owner.log[-1] == ("toggled", "b", ["b"])
    owner.fleet["c"] = bare


@pytest.mark.parametrize("value", [5, None, "item", Item, Telling(), Lights()], ids=repr)
@pytest.mark.parametrize("key", ["a", "b"])
def test_what_is_no_machine_of_the_class_is_refused(value: Any, key: str) -> None:
    """A value of another kind is refused, in a new place and in a taken one."""
    depot = Depot()
    item = depot.items["a"] = Item()
    with pytest.raises(WrongMachineError) as caught:
        depot.items[key] = value
    assert f"items[{key!r}]" in str(caught.value)
    assert dict(depot.items) == {"a": item}
    item.pick()
    assert depot.log == [("picked", "a")]


def test_a_machine_of_another_orchestrator_is_refused(engine: Engine) -> None:
    """A machine belongs to one orchestrator: it is refused by others, and stays where it is."""
    one, two = depot_of(engine, "a"), depot_of(engine, "b")
    yard = Yard(engine.machine(Item)())
    b = two.items["b"]
    for machine in (one.items["a"], yard.item):
        for key in "bc":
            with pytest.raises(MachineIsTakenError):
                two.items[key] = machine
    with pytest.raises(MachineIsTakenError):
        Yard(engine.machine(Item)(), Fleet({"x": one.items["a"]}))
    assert dict(two.items) == {"b": b}
    engine.run(one.items["a"].pick)
    engine.run(b.pick)
    assert (one.log, two.log) == ([("picked", "a")], [("picked", "b")])


def test_a_machine_stands_under_one_key(engine: Engine) -> None:
    """A machine is refused under a second key, and in a fleet beside its own field."""
    depot = depot_of(engine, "ab")
    a, b = depot.items["a"], depot.items["b"]
    for key in "bc":
        with pytest.raises(DeclarationError, match=r"items\['a'\]"):
            depot.items[key] = a
    assert dict(depot.items) == {"a": a, "b": b}
    yard = Yard(engine.machine(Item)())
    with pytest.raises(DeclarationError, match="item too"):
        yard.items["a"] = yard.item
    machine = engine.machine(Item)()
    with pytest.raises(DeclarationError):
        Yard(machine, Fleet({"a": machine}))
    with pytest.raises(DeclarationError):
        Depot(Fleet({"a": machine, "b": machine}))
    depot.items["c"] = machine
    engine.run(machine.pick)
    assert depot.log == [("picked", "c")]


def test_two_members_cannot_share_a_model_and_a_state_field(engine: Engine) -> None:
    """Members that would overwrite each other's state are refused, with nothing changed."""

    class Model:
        state: Any = None
        other: Any = None
        third: Any = None

    model = Model()
    new = engine.machine(Item)
    yard = Yard(new(model))
    yard.items["a"] = a = new(model, state_field="other")
    for key in "ab":
        with pytest.raises(StateFieldIsNotUniqueError):
            yard.items[key] = new(model)
    with pytest.raises(StateFieldIsNotUniqueError, match=r"items\['a'\] and items\['b'\]"):
        yard.items["b"] = new(model, state_field="other")
    with pytest.raises(StateFieldIsNotUniqueError):
        Depot(Fleet({"a": new(model), "b": new(model)}))
    assert dict(yard.items) == {"a": a}
    yard.items["b"] = new(model, state_field="third")
    yard.items["a"] = replacing = new(model, state_field="other")
    del yard.items["b"]
    yard.items["c"] = new(model, state_field="third")
    assert (list(yard.items), yard.items["a"] is replacing) == (["a", "c"], True)


def test_a_refused_update_changes_nothing(engine: Engine) -> None:
    """Of several members that are put in together all are, or none."""
    depot = depot_of(engine, "a")
    before, item = dict(depot.items), engine.machine(Item)()
    with pytest.raises(WrongMachineError):
        depot.items.update({"b": item, "c": cast("Item", 5)})
    assert dict(depot.items) == before
    Depot().items["x"] = item


def test_a_refused_orchestrator_leaves_its_fleet_and_members_free(engine: Engine) -> None:
    """A constructor that refuses one member attaches none, and does not hold the fleet."""
    item = engine.machine(Item)()
    fleet: Fleet[str, Any] = Fleet({"a": item, "b": 5})
    with pytest.raises(WrongMachineError):
        Depot(fleet)
    assert fleet.holder is None
    fleet["b"] = engine.machine(Item)()
    depot = Depot(fleet)
    engine.run(item.pick)
    assert depot.log == [("picked", "a")]


def test_a_constructor_that_raises_after_attaching_lets_all_go(engine: Engine) -> None:
    """A fleet and its members are free when `__attrs_post_init__` has raised."""

    class Failing(Depot):
        def __attrs_post_init__(self) -> None:
            self.items["late"] = engine.machine(Item)()
            raise ValueError("late")

    fleet = Fleet[str, Item]({"a": engine.machine(Item)()})
    with pytest.raises(ValueError, match="late"):
        Failing(fleet)
    assert (list(fleet), fleet.holder) == (["a", "late"], None)
    depot = Depot(fleet)
    engine.run(fleet["late"].pick)
    assert depot.log == [("picked", "late")]


def test_a_fleet_has_one_holder(engine: Engine) -> None:
    """A fleet is held by one field of one orchestrator, and its field is set once."""
    depot = depot_of(engine, "a")

    class Two(Orchestrator):
        one: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
        two: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

    with pytest.raises(MachineIsTakenError):
        Depot(depot.items)
    fleet = Fleet[str, Item]()
    with pytest.raises(DeclarationError):
        Two(fleet, fleet)
    with pytest.raises(MachineFieldIsSetError):
        depot.items = fleet
    with pytest.raises(MachineFieldIsSetError):
        del depot.items
    with pytest.raises(WrongMachineError):
        Depot(cast("Any", {"a": engine.machine(Item)()}))
    assert (depot.items.holder, fleet.holder) == (depot, None)


# Declaring ------------------------------------------------------------------------------------


def bad_annotations() -> dict[str, Any]:
    """Return what is no annotation of a fleet."""
    fleet: Any = Fleet
    return {
        "no arguments": fleet,
        "no machine": fleet[str, int],
        "any": fleet[str, Any],
        "of fleets": fleet[str, fleet[str, Item]],
        "of none": fleet[str, None],
        "of optional": fleet[str, Optional[Item]],  # noqa: UP045 - it is evaluated on 3.10 too
        "of a machine and data": fleet[str, Item | int],
        "of machines and orchestrators": fleet[str, Item | Depot],
        "a fleet or a machine": fleet[str, Item] | Item,
        "a fleet or another": fleet[str, Item] | fleet[str, Telling],
        "as a string": "Fleet[str, int]",
        "as a string without arguments": "Fleet",
    }


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "with a factory"])
@pytest.mark.parametrize("annotation", bad_annotations().values(), ids=bad_annotations().keys())
def test_a_bad_annotation_of_a_fleet_is_refused(annotation: Any, bare: Any) -> None:
    """A fleet of anything but machines, or of orchestrators, is refused where it is declared."""
    namespace = {
        "__module__": __name__,
        "__annotations__": {"first": Item, "things": annotation},
        **({} if bare else {"things": attrs.field(factory=Fleet)}),
    }
    with pytest.raises(OrchestratorError) as caught:
        type("Bad", (Orchestrator,), namespace)
    assert isinstance(caught.value, TypeError)
    assert "Bad.things" in str(caught.value)


def test_a_fleet_as_a_default_is_refused() -> None:
    """One fleet for all orchestrators is refused, with the factory that is meant."""
    with pytest.raises(DeclarationError) as caught:

        class Bad(Orchestrator):
            items: Fleet[str, Item] = Fleet[str, Item]()

    assert "Bad.items" in str(caught.value)
    assert "items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])" in str(caught.value)


def test_two_orchestrators_have_fleets_of_their_own(engine: Engine) -> None:
    """A factory makes a fleet for each orchestrator."""
    one, two = Depot(), Depot()
    one.items["a"] = engine.machine(Item)()
    assert (list(one.items), list(two.items)) == (["a"], [])


def test_a_fleet_without_a_factory_must_be_given(engine: Engine) -> None:
    """A bare annotation of a fleet is an argument of the constructor, by place or by name."""

    class Bare(Orchestrator):
        items: Fleet[str, Item]

        @on("items.pick")
        def picked(self, key: str) -> str:
            heard.append(key)
            return key

    heard: list[str] = []
    with pytest.raises(TypeError):
        Bare()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    bare = Bare(items=Fleet({"a": engine.machine(Item)()}))
    engine.run(bare.items["a"].pick)
    assert heard == ["a"]


def test_an_optional_fleet_is_given_once(engine: Engine) -> None:
    """A fleet's field that is `None` may be set later, and its members are attached then."""

    class Late(Orchestrator):
        items: Fleet[str, Item] | None = None
        log: list[Any] = attrs.field(factory=list[Any])

        @on("items.pick")
        def picked(self, key: str) -> None:
            self.log.append(key)

    late = Late()
    assert (late.items, dict(late.machines)) == (None, {})
    with pytest.raises(WrongMachineError):
        late.items = Fleet({"a": cast("Item", 5)})
    assert late.items is None
    fleet = late.items = Fleet({"a": engine.machine(Item)()})
    late.items["b"] = engine.machine(Item)()
    for key in "ab":
        engine.run(fleet[key].pick)
    assert (late.log, dict(late.machines)) == (["a", "b"], {"items": fleet})
    with pytest.raises(MachineFieldIsSetError):
        late.items = Fleet()


def test_a_fleet_is_inherited(engine: Engine) -> None:
    """A subclass has the fleet of its base class, and may react to it."""
    log: list[Any] = []

    class Special(Depot):
        @on("items.pick")
        def too(self, key: str) -> None:
            log.append(key)

    special = Special()
    special.items["a"] = engine.machine(Item)()
    engine.run(special.items["a"].pick)
    assert (special.log, log) == ([("picked", "a")], ["a"])


def test_a_machine_that_cannot_be_resolved_yet_is_told_by_the_first_members(
    engine: Engine,
) -> None:
    """A name that type checkers alone know is settled by the factory or the first instance."""
    log: list[Any] = []

    def picked(_self: Any, key: str) -> None:
        log.append(key)

    def late(name: str, factory: Any) -> Any:
        namespace = {
            "__module__": __name__,
            "__annotations__": {"items": "Fleet[str, Unknown]"},
            "items": attrs.field(factory=factory),
            "picked": on("items.pick")(picked),
        }
        return type(name, (Orchestrator,), namespace)

    for factory in (Fleet[str, Item], lambda: Fleet[str, Item]()):
        owner = late("Late", factory)()
        owner.items["a"] = engine.machine(Item)()
        engine.run(owner.items["a"].pick)
    assert log == ["a", "a"]


def test_a_fleet_factory_without_arguments_is_a_fleet_all_the_same(engine: Engine) -> None:
    """Where the annotation names a class for type checkers alone, `factory=Fleet` is a fleet."""
    namespace = {
        "__module__": __name__,
        "__annotations__": {"first": Item, "items": "Fleet[str, Unknown]"},
        "items": attrs.field(factory=Fleet),
    }
    late: Any = type("Late", (Orchestrator,), namespace)
    owner = late(engine.machine(Item)())
    heard = listen(owner, "*")
    owner.items["a"] = engine.machine(Item)()
    engine.run(owner.items["a"].pick)
    assert [r.path for _, r in heard] == [("items", "a")]


def test_a_topic_of_a_fleet_is_checked_when_the_class_is_defined() -> None:
    """A topic that names no event or state of the members is refused, with the nearest."""
    with pytest.raises(UnknownTopicError) as caught:

        class Bad(Orchestrator):
            items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])

            @on("items.pikc")
            def react(self) -> None:
                """Never run."""

    assert (caught.value.topic, caught.value.nearest) == ("items.pikc", "items.pick")


# Copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_an_orchestrator_has_a_working_fleet(
    engine: Engine, through: Callable[[Any], Any]
) -> None:
    """A copy has a fleet of its own, of members of its own, in the same states and order."""
    item = AsyncItem if engine.is_async else Item
    depot = Depot(Fleet({key: entered(engine, item()) for key in "ba"}))
    engine.run(depot.items["b"].pick)
    duplicate = through(depot)
    duplicate.log = []
    depot.log = []
    assert [(key, machine.picked.is_active) for key, machine in duplicate.items.items()] == [
        ("b", True),
        ("a", False),
    ]
    assert (depot.items.holder, duplicate.items.holder) == (depot, duplicate)
    engine.run(duplicate.items["a"].pick)
    duplicate.items["c"] = item()
    engine.run(duplicate.items["c"].pick)
    assert duplicate.items.key_of(duplicate.items["c"]) == "c"
    assert (depot.log, list(depot.items)) == ([], ["b", "a"])
    assert duplicate.log == [("picked", "a"), ("picked", "c")]


@pytest.mark.parametrize("through", [copy.deepcopy, pickled])
def test_a_copy_of_a_member_is_a_bare_machine(
    engine: Engine, through: Callable[[Any], Any]
) -> None:
    """A member's copy is heard by nobody, and may be put in."""
    depot = Depot()
    member = entered(engine, AsyncItem() if engine.is_async else Item())
    depot.items["a"] = member
    bare = through(member)
    engine.run(bare.pick)
    assert (depot.log, member.picked.is_active, bare.picked.is_active) == ([], False, True)
    depot.items["b"] = bare
    engine.run(bare.put_back)
    engine.run(bare.pick)
    assert depot.log == [("picked", "b")]


def test_a_copy_of_a_fleet_is_held_by_nobody(engine: Engine) -> None:
    """A shallow copy is a mapping of the same members, a deep one of bare machines."""
    depot = depot_of(engine, "ab")
    for member in depot.items.values():
        entered(engine, member)
    shallow, deep = copy.copy(depot.items), copy.deepcopy(depot.items)
    assert (shallow.holder, deep.holder) == (None, None)
    assert (dict(shallow), list(deep)) == (dict(depot.items), ["a", "b"])
    shallow.clear()
    other = Depot(deep)
    engine.run(depot.items["a"].pick)
    engine.run(deep["b"].pick)
    assert (depot.log, other.log) == ([("picked", "a")], [("picked", "b")])


# Memory and cost ------------------------------------------------------------------------------


@pytest.mark.parametrize("take", ["at rest", "in mid-step", "by the copy"])
def test_no_reference_to_a_member_remains_when_it_was_taken_out(engine: Engine, take: str) -> None:
    """A member taken out is freed with its last reference, though its orchestrator lives on."""
    owner = owner_of(engine, "ab")
    listen(owner, "*", "sent:*", "started:*", "finished:*").clear()
    owner.bus.signal("fleet.*").connect(lambda machine, record: None)
    reference = weakref.ref(owner.fleet["a"])
    if take == "in mid-step":
        engine.run(lambda: owner.fleet["a"].toggle(act=lambda orc: orc.fleet.pop("a") and None))
    elif take == "at rest":
        engine.run(owner.fleet["a"].toggle)
        del owner.fleet["a"]
    else:
        for key in owner.fleet:
            entered(engine, owner.fleet[key])
        owner = copy.deepcopy(owner)
        reference = weakref.ref(owner.fleet["a"])
        engine.run(owner.fleet["a"].toggle)
        owner.fleet["a"] = engine.machine(Leaving)()
    owner.bus.clear()
    gc.collect()
    assert (reference(), "b" in owner.fleet) == (None, True)


def test_no_reference_to_a_member_remains_when_an_event_was_posted_to_it(engine: Engine) -> None:
    """A member taken out is freed also after a post by its bound event, outside of event loops."""
    owner = owner_of(engine, "ab")
    member: Any = owner.fleet["a"]
    reference = weakref.ref(member)
    owner.post(member.toggle)
    del owner.fleet["a"], member
    gc.collect()
    assert reference() is None


def test_dropping_the_last_reference_frees_the_orchestrator_and_its_members(
    engine: Engine,
) -> None:
    """An orchestrator with a fleet is freed with all of it, also after a cascade."""
    owner: Any = owner_of(engine, "ab")
    engine.run(owner.fleet["a"].toggle)
    references = [weakref.ref(owner), weakref.ref(owner.fleet), weakref.ref(owner.fleet["a"])]
    del owner
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


def test_a_member_keeps_its_orchestrator_alive(engine: Engine) -> None:
    """Who holds a member may drop the orchestrator: its reactions still run."""
    log: list[Any] = []
    member = engine.machine(Item)()
    Depot(Fleet({"a": member}), log=log)
    gc.collect()
    engine.run(member.pick)
    assert log == [("picked", "a")]


def test_taking_all_members_out_returns_the_memory(engine: Engine) -> None:
    """What thousands of members took is given back when they are taken out."""
    depot, new = Depot(), engine.machine(Item)
    depot.items["first"] = new()
    del depot.items["first"]
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(600):
            depot.items[str(number)] = new()
        full = tracemalloc.get_traced_memory()[0]
        depot.items.clear()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (after - before) / (full - before) < 0.03


def test_putting_in_finding_and_taking_out_cost_the_same_at_any_size(engine: Engine) -> None:
    """What is called to put a member in, find its key and take it out is no more in the end."""
    depot, new = depot_of(engine, "ab"), engine.machine(Item)

    def costs() -> list[int]:
        member, other = new(), new()
        return [
            operations(lambda: depot.items.__setitem__("x", member)),
            operations(lambda: depot.items.key_of(member)),
            operations(lambda: depot.items.__setitem__("x", other)),
            operations(lambda: depot.items.pop("x")),
        ]

    costs()
    at_the_start = costs()
    depot.items.update({str(number): new() for number in range(600)})
    assert costs() == at_the_start


def test_replacing_a_member_takes_the_same_memory_at_any_size() -> None:
    """To replace a member nothing is copied that grows with the fleet."""
    depot = Depot()

    def peak() -> int:
        new = Item()
        gc.collect()
        tracemalloc.start()
        try:
            depot.items["x"] = new
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    depot.items["x"] = Item()
    peak()
    small = peak()
    depot.items.update({str(number): Item() for number in range(600)})
    assert peak() < 2 * small


def test_an_event_of_a_member_costs_what_one_of_a_field_costs(engine: Engine) -> None:
    """As much is called for an event of a member of a large fleet as for one of a field."""
    new = engine.machine(Item)
    yard = Yard(new())
    yard.items.update({str(number): new() for number in range(500)})
    yard.items["x"] = member = new()
    for event in ("pick", "put_back"):
        for machine in (yard.item, member):
            awaited(partial(machine.send, event))
    assert operations(lambda: member.send("pick")) == operations(lambda: yard.item.send("pick"))
    yard.bus.signal("*").connect(lambda machine, record: None)
    for machine in (yard.item, member):
        awaited(partial(machine.send, "put_back"))
    of_member = operations(lambda: member.send("pick"))
    assert abs(of_member - operations(lambda: yard.item.send("pick"))) <= 2


@needs_3
def test_a_fleet_of_statecharts_publishes_the_states_of_every_level(engine: Engine) -> None:
    """Nested states of members are published as those of a field are."""
    from test_reactions import StateChart  # noqa: PLC0415

    class Editor(StateChart):
        class edited(State.Compound):  # noqa: N801
            reading = State(initial=True)
            writing = State()
            write = reading.to(writing)

        closed = State(final=True)
        close = edited.to(closed)

    class Desk(Orchestrator):
        editors: Fleet[str, Editor] = attrs.field(factory=Fleet[str, Editor])

    desk = Desk()
    desk.editors["a"] = editor = engine.machine(Editor)()
    heard = listen(
        desk,
        "exit:editors.edited",
        "exit:editors.writing",
        "enter:editors.writing",
        "enter:editors.closed",
    )
    engine.run(editor.write)
    engine.run(editor.close)
    assert [(topic, r.key) for topic, r in heard] == [
        ("enter:editors.writing", "a"),
        ("exit:editors.writing", "a"),
        ("exit:editors.edited", "a"),
        ("enter:editors.closed", "a"),
    ]


# A model of the whole -------------------------------------------------------------------------


def test_a_fleet_does_what_a_dict_does_in_any_order_of_calls(engine: Engine) -> None:
    """After any sequence of moves the fleet is the dict that the same moves make."""
    moves: Iterator[int] = iter(_numbers(400))
    depot, model, pool = Depot(), dict[str, Any](), deque(engine.machine(Item)() for _ in range(9))
    for move in moves:
        key = "abcde"[next(moves) % 5]
        if move % 5 < 2:
            old = model.get(key)
            depot.items[key] = model[key] = pool.popleft()
            pool.extend([] if old is None else [old])
        elif move % 5 == 2 and key in model:
            assert depot.items.pop(key) is model[key]
            pool.append(model.pop(key))
        elif move % 5 == 3 and model:
            taken = model.popitem()
            assert depot.items.popitem() == taken
            pool.append(taken[1])
        elif move % 97 == 4:
            depot.items.clear()
            pool.extend(model.values())
            model.clear()
        assert list(depot.items.items()) == list(model.items())
    depot.log.clear()
    for machine in (*pool, *model.values()):
        engine.run(machine.pick)
    assert depot.log == [("picked", key) for key in model]


def _numbers(count: int) -> list[int]:
    """Return numbers without an order, the same each time."""
    number, numbers = 12345, list[int]()
    for _ in range(count):
        number = (1103515245 * number + 12345) % 2**31
        numbers.append(number >> 8)
    return numbers
