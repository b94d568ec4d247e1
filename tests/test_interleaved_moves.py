"""Machines are put in, taken out and built while another thread is at work, at whatever line."""

from __future__ import annotations

import functools
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from interleaving import meet
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Orchestrator,
    VirtualClock,
    clock_of,
    every,
    on,
    timeout,
    when,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._joins import Join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import ThreadPoolExecutor

OURS = "statemachines_orchestrator"


class Lamp(StateMachine):
    """A machine that is switched."""

    off = State(initial=True)
    lit = State()
    switch = off.to(lit) | lit.to(off)
    blink = off.to.itself(on="run") | lit.to.itself(on="run")

    def __init__(self) -> None:
        self.does: Callable[[], Any] = bool
        super().__init__()

    def run(self) -> None:
        """Do what it was told to."""
        self.does()


class Shop(Orchestrator, clock=VirtualClock):
    """It has a fleet, whose members may not stand there for long."""

    front: Lamp = attrs.field(factory=Lamp)
    lamps: Fleet[str, Lamp] = attrs.field(factory=Fleet[str, Lamp])
    heard: list[Any] = attrs.field(factory=list)
    late: list[Any] = attrs.field(factory=list)

    @on("*")
    def hear(self, machine: Any) -> None:
        """Note what has moved."""
        self.heard.append(machine)

    @timeout("lamps.off", seconds=1)
    def wait(self, machine: Any) -> None:
        """Note what stands there for a second."""
        self.late.append(machine)


class Company(Orchestrator, orchestrator_name="company", clock=VirtualClock):
    """It has shops."""

    shops: Fleet[str, Shop] = attrs.field(factory=Fleet[str, Shop])
    heard: list[Any] = attrs.field(factory=list)

    @on("shops.*")
    def hear(self, machine: Any) -> None:
        """Note what has moved."""
        self.heard.append(machine)


def attached(machines: Iterable[Any]) -> list[Any]:
    """Return those of the machines that some orchestrator hears."""
    return [machine for machine in machines if seam_of(machine) is not None]


def advance(orchestrator: Any) -> None:
    """Let a second pass."""
    clock: Any = clock_of(orchestrator)
    clock.advance(1)


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "clear": lambda lamps, _new: lamps.clear(),
    "pop": lambda lamps, _new: lamps.pop("one", None),
    "popitem": lambda lamps, _new: lamps.popitem(),
    "put": lambda lamps, new: lamps.update(one=new),
}


@pytest.mark.parametrize(("mine", "his"), [*itertools.product(CHANGES, CHANGES)])
def test_members_are_attached_and_no_others_whatever_two_threads_do(
    other: ThreadPoolExecutor, mine: str, his: str
) -> None:
    """Each change of a fleet is one move: what is in it is heard, and waits for its own time."""

    def changed(how: str, lamps: Any, new: Any) -> None:
        with suppress(KeyError):
            CHANGES[how](lamps, new)

    line = 0
    for line in itertools.count():
        shop, machines = Shop(), [Lamp() for _ in range(4)]
        lamps = shop.lamps
        lamps.update(one=machines[0], two=machines[1])
        call = functools.partial(changed, mine, lamps, machines[2])
        act = functools.partial(changed, his, lamps, machines[3])
        if not meet(line, other, call, act, f"{OURS}.fleets"):
            break
        advance(shop)
        assert attached(machines) == [one for one in machines if one in lamps.values()]
        assert set(shop.late) == set(lamps.values())
        assert len(shop.late) == len(lamps)
    assert line > 3


@pytest.mark.parametrize("change", [*CHANGES, "again"])
def test_what_leaves_its_orchestrator_in_mid_step_stands_alone_when_it_is_at_rest(
    other: ThreadPoolExecutor, change: str
) -> None:
    """An orchestrator that was taken out may be changed, or put in again, at any line of that."""
    line = 0
    for line in itertools.count(step=3):
        company, shop = Company(), Shop()
        lamp, new = Lamp(), Lamp()
        shop.lamps["one"] = lamp
        company.shops["a"] = shop
        shop.front.does = functools.partial(company.shops.pop, "a", None)

        def act(company: Any = company, shop: Any = shop, new: Any = new) -> None:
            if change != "again":
                CHANGES[change](shop.lamps, new)
            elif "a" not in company.shops:
                with suppress(Exception):  # it has not left yet
                    company.shops["b"] = shop

        if not meet(line, other, shop.front.blink, act, f"{OURS}._attachment"):
            break
        shop.front.does = bool
        company.heard.clear()
        shop.heard.clear()
        moved = [shop.front, *shop.lamps.values()]
        for machine in moved:
            machine.blink()
        assert shop.heard == moved
        assert company.heard == (moved if company.shops else [])
    assert line > 10


def test_an_orchestrator_is_put_in_while_another_thread_changes_it(
    other: ThreadPoolExecutor,
) -> None:
    """What it holds then is heard by both."""
    line = 0
    for line in itertools.count(1, 3):
        company, shop = Company(), Shop()
        shop.lamps["one"] = Lamp()
        shop.lamps["two"] = Lamp()
        put = functools.partial(company.shops.update, a=shop)
        act = functools.partial(shop.lamps.pop, "one")
        if not meet(line, other, put, act, f"{OURS}._attachment"):
            break
        shop.lamps["two"].blink()
        assert company.heard == shop.heard == [shop.lamps["two"]]
        advance(company)
        assert shop.late == [shop.lamps["two"]]
    assert line > 10


# Building -------------------------------------------------------------------------------------


class Hall(Orchestrator):
    """A join of all members."""

    lamps: Fleet[str, Lamp]
    seen: list[str] = attrs.field(factory=list)
    heard: list[Any] = attrs.field(factory=list)

    @on("lamps.*")
    def hear(self, machine: Any) -> None:
        """Note what has moved."""
        self.heard.append(machine)

    @when(lamps=every("lit"))
    def see(self) -> None:
        """See all."""
        self.seen.append("all")


def test_a_join_misses_no_move_while_its_orchestrator_is_built(other: ThreadPoolExecutor) -> None:
    """It hears before it looks."""
    line = 0
    for line in itertools.count():
        lamps = Fleet({"one": Lamp(), "two": Lamp()})
        build = functools.partial(Hall, lamps)
        met = meet(line, other, build, lamps["one"].switch, f"{OURS}._attachment")
        if not met:
            break
        lamps["two"].switch()
        assert met[0].seen == ["all"]
    assert line > 10


def test_a_join_that_is_judged_while_it_looks_for_the_first_time_looks_again(
    other: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has seen before is old."""
    lamps = Fleet({"one": Lamp(), "two": Lamp()})
    look, calls = Join._look_at_member, itertools.count()

    def overtaken(join: Join, *facts: Any) -> None:
        look(join, *facts)
        if next(calls) == len(lamps):  # when it is heard, it looks again at the first one
            other.submit(lamps["one"].switch).result(60)

    monkeypatch.setattr(Join, "_look_at_member", overtaken)
    hall = Hall(lamps)
    lamps["two"].switch()
    assert hall.seen == ["all"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_fleet_is_changed_while_an_orchestrator_takes_it(
    other: ThreadPoolExecutor, change: str
) -> None:
    """What is in it in the end is attached, and what has left is not."""
    line = 0
    for line in itertools.count(step=3):
        machines = [Lamp(), Lamp(), Lamp()]
        lamps = Fleet({"one": machines[0], "two": machines[1]})
        build = functools.partial(Hall, lamps)
        act = functools.partial(CHANGES[change], lamps, machines[2])
        met = meet(line, other, build, act, f"{OURS}._attachment")
        if not met:
            break
        assert attached(machines) == [one for one in machines if one in lamps.values()]
        for machine in lamps.values():
            machine.blink()
        assert met[0].heard == [*lamps.values()]
    assert line > 10


def test_two_threads_build_the_first_two_instances_of_a_class(other: ThreadPoolExecutor) -> None:
    """Its definition is ended once."""
    line = 0
    for line in itertools.count():

        class Room(Orchestrator):
            front: Lamp
            back: Lamp | None = None

        built = meet(line, other, lambda: Room(Lamp()), lambda: Room(Lamp()), f"{OURS}._attrs")
        if not built:
            break
        assert [room.back for room in built] == [None, None]
    assert line > 3


@pytest.mark.parametrize("fails", [False, True], ids=["taken out", "not built"])
def test_a_machine_that_was_put_in_for_a_moment_leaves(
    other: ThreadPoolExecutor, *, fails: bool
) -> None:
    """Also where the loop that ran it then was the host's: the next event is heard by nobody."""

    class Broken(Shop):
        def __attrs_post_init__(self) -> None:
            raise ValueError

    line = 0
    for line in itertools.count():
        machine, shop = Lamp(), Shop()

        def act(machine: Any = machine, shop: Any = shop) -> None:
            with suppress(Exception):  # it is busy
                if fails:
                    Broken(machine)
                shop.lamps["one"] = machine
                del shop.lamps["one"]

        if not meet(line, other, machine.blink, act, "statemachine.engines.sync"):
            break
        if line % 2:
            second = Shop(machine)  # it is free
            machine.blink()
            assert second.heard == [machine]
        else:
            shop.heard.clear()
            machine.blink()
            assert attached([machine]) == []
        assert shop.heard == []
    assert line > 10


# Signals --------------------------------------------------------------------------------------


def test_two_threads_ask_for_a_signal_for_the_first_time(other: ThreadPoolExecutor) -> None:
    """They get the same one."""
    line = 0
    for line in itertools.count():
        bus = Shop().bus
        ask = functools.partial(bus.signal, "front.blink")
        signals = meet(line, other, ask, ask, f"{OURS}._bus")
        if not signals:
            break
        assert signals[0] is signals[1]
    assert line > 1


@pytest.mark.parametrize("topic", ["sent:*", "sent:front.blink"])
@pytest.mark.parametrize("only", [False, True], ids=["every sender", "one sender"])
def test_an_observer_connects_while_another_one_goes(
    other: ThreadPoolExecutor, topic: str, *, only: bool
) -> None:
    """Who has connected, to that or another signal of the kind, hears; who has gone does not."""
    line = 0
    for line in itertools.count():
        shop, heard = Shop(), list[str]()
        signal = shop.bus.signal("sent:*")
        senders: dict[str, Any] = {"sender": shop.front} if only else {}

        def one(_sender: Any, heard: list[str] = heard, **_named: Any) -> None:
            heard.append("one")

        def two(_sender: Any, heard: list[str] = heard, **_named: Any) -> None:
            heard.append("two")

        signal.connect(one)
        go = functools.partial(signal.disconnect, one)
        come = functools.partial(shop.bus.signal(topic).connect, two, **senders)
        if not meet(line, other, go, come, (f"{OURS}._bus", "blinker")):
            break
        shop.front.blink()
        assert heard == ["two"]
    assert line > 10
