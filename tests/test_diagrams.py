"""Diagrams: every machine, and what leads from one to the other, read and never guessed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import needs_3
from drawing import kinds_by_mermaid, needs_dot, needs_mermaid, nodes_and_edges
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    Orchestrator,
    VirtualClock,
    domain_signal,
    every,
    on,
    on_enter,
    on_exit,
    timeout,
    use_clock,
    when,
)
from statemachines_orchestrator._graphs import Graph, graph_of
from statemachines_orchestrator.diagrams import FORMATS, diagram
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.append(str(EXAMPLES))
DRAWN = {
    "alternating_bit": "Link",
    "breaker": "Plant",
    "crossing": "Crossing",
    "deadlines": "Shop",
    "device": "Plant",
    "lights": "Crossing",
    "pedestrians": "GuardedCrossing",
    "philosophers": "Dinner",
    "race": "Shop",
    "road_fines": "Case",
    "saga": "Trip",
    "shop": "Shop",
    "sweep": "TimedShop",
    "two_phase_commit": "Transaction",
    "warehouse": "Warehouse",
}


class Light(StateMachine):
    """A light."""

    off = State(initial=True)
    on = State()
    broken = State(final=True)
    flip = off.to(on) | on.to(off)
    smash = off.to(broken) | on.to(broken)


class Item(StateMachine):
    """A thing of which there are many."""

    ordered = State(initial=True)
    packed = State(final=True)
    pack = ordered.to(packed)

    def tell(self) -> None:
        """Be a method of the machine's own."""


def helped(*_given: Any, **_named: Any) -> None:
    """Be a function that is given something."""


class House(Orchestrator):
    """Every way to send something."""

    one: Light
    two: Light
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    log: list[Any] = attrs.field(factory=list)
    rang = domain_signal()

    def helper(self, light: Any) -> None:
        """Be called by a reaction."""
        light.smash()
        self.helper(light)

    @on("one.flip")
    def direct(self) -> None:
        """Call directly, and through names."""
        self.two.flip()
        light = self.one
        light.smash()
        later: Any
        other: Any = self.two
        if (third := other) is not None:
            third.smash()
        (later := self.two).flip()
        later.smash()

    @on("one.flip")
    def sends(self, machine: Any) -> None:
        """Send, post, broadcast, publish."""
        machine.send("flip")
        self.post("two.flip")
        self.post(self.one.smash)
        self.broadcast("pack")
        self.broadcast("items.pack")
        self.publish("rang")

    @on("two.flip")
    async def awaits(self, orc: Any) -> None:
        """Await."""
        await self.asend("one.flip")
        await orc.asend("two.smash")

    @on("one.smash")
    def loops(self) -> None:
        """Go through a fleet."""
        for item in self.items.values():
            item.pack()
        for _key, item in list(self.items.items()):
            item.pack()
        member = self.items["a"]
        member.pack()
        self.items.get("a").pack()  # type: ignore[union-attr] # it is only read
        [item.pack() for item in sorted(self.items.values(), key=id) if item]
        {key: item.pack() for key, item in self.items.items()}

    @on("one.smash")
    def through(self) -> None:
        """Call a method of the orchestrator."""
        self.helper(self.two)

    @on("settled")
    def quiet(self, record: Any) -> None:
        """Send nothing."""
        self.log.append(len(self.items))
        self.log.append(f"{self!r} {self.one.current_state_value} {record}")
        print(self.enabled_events())

    @on("*")
    def given_away(self) -> None:
        """Hand the orchestrator over."""
        helped(self)

    @on("items.*")
    def a_machine_given_away(self) -> None:
        """Hand a machine over."""
        helped(light=self.one)

    @on("rang")
    def computed(self) -> None:
        """Send what only the run tells."""
        name = "flip"
        self.post(f"one.{name}")

    @on_exit("one.on")
    def by_name(self) -> None:
        """Send to what only the run tells."""
        getattr(self, "one").flip()  # noqa: B009 - the name might be any

    @on_exit("one.off")
    def own_method(self) -> None:
        """Call a method that is the machine's own business."""
        self.items["a"].tell()

    @on_enter("one.broken")
    def unknown_helper(self) -> None:
        """Call what is no method."""
        self.log.clear()
        self.unheard_of()  # type: ignore[attr-defined]

    @on("settled")
    def elsewhere(self) -> None:
        """Send to what is reached in some other way."""
        for light in self.log:
            light.flip()

    @on("settled")
    def by_its_name(self) -> None:
        """Send by name to what is reached in some other way."""
        self.log[0].send("flip")
        self.log[1].send(b"else")

    @when("one.on", items=every("packed"))
    def joined(self) -> None:
        """Send nothing at a join."""

    late = timeout("two.on", minutes=1, repeat=True, cond="log").send("two.flip", if_enabled=True)


def links(graph: Graph) -> dict[str, tuple[list[str], list[str], bool]]:
    """Return what each reaction is led to by, what it sends, and whether its end is open."""
    return {
        link.name: (list(link.sources), list(link.targets), link.is_open) for link in graph.links
    }


def test_what_reactions_send_is_declared_or_read() -> None:
    """What the source tells is drawn; what it does not tell has an open end, and no guess."""
    assert links(graph_of(House, None, None)) == {
        "direct": (["one.flip"], ["two.flip", "one.smash", "two.smash"], False),
        "sends": (
            ["one.flip"],
            ["one.flip", "two.flip", "one.smash", "*.pack", "items.pack", "rang"],
            False,
        ),
        "awaits": (["two.flip"], ["one.flip", "two.smash"], False),
        "loops": (["one.smash"], ["items.pack"], False),
        "through": (["one.smash"], ["two.smash"], False),
        "quiet": (["settled"], [], False),
        "given_away": (["*"], [], True),
        "a_machine_given_away": (["items.*"], [], True),
        "computed": (["rang"], [], True),
        "by_name": (["exit:one.on"], [], True),
        "own_method": (["exit:one.off"], [], False),
        "unknown_helper": (["enter:one.broken"], [], True),
        "elsewhere": (["settled"], [], True),
        "by_its_name": (["settled"], [], True),
        "joined": (["enter:one.on", "enter:items.packed"], [], False),
        "late": (["enter:two.on"], ["two.flip"], False),
    }


BODIES = """\
import functools, operator, threading
import attrs
from statemachine import State, StateMachine
from statemachines_orchestrator import Fleet, Orchestrator, on

OTHER = type("Other", (), {{}})()


def nothing(*args, **kwargs):
    pass


def also(function):
    @functools.wraps(function)
    def wrapper(self):
        self.a.go()
    return wrapper


class Item(StateMachine):
    idle = State(initial=True)
    busy = State()
    go = idle.to(busy) | busy.to(idle)
    stop = busy.to(idle)

    def kick(self):
        self.go()

    @property
    def kicked(self):
        return self.go()

    @property
    def is_idle(self):
        return self.idle.is_active


class Base(Orchestrator, abstract=True):
    def helper(self):
        self.b.go()


class S(Base):
    order: Item
    a: Item
    b: Item
    items: Fleet[str, Item] = attrs.field(factory=Fleet[str, Item])
    data: dict = attrs.field(factory=dict)

    def one(self, m):
        m.go()

    @staticmethod
    def poke(m):
        m.go()

    @staticmethod
    def now():
        return 1

    def pick(self):
        return self.a

    @property
    def prop(self):
        return self.a.go()

{decorator}    def r(self{parameters}):
{body}
"""

FOLLOWED = {
    "self.a.go()": "a.go",
    "return self.a.go()": "a.go",
    "m = self.a\nm.go()": "a.go",
    "m = self.a\nm = self.a\nm.go()": "a.go",
    "for m in self.items.values(): m.go()": "items.go",
    "for k, m in list(self.items.items()): m.go()": "items.go",
    "for k in self.items: self.items[k].go()": "items.go",
    "[m.go() for m in self.items.values() if m.idle.is_active]": "items.go",
    "if self.a.idle.is_active and not self.data: self.b.go()": "b.go",
    "if len(self.items) > 3 or self.a.current_state_value == 'idle': self.b.go()": "b.go",
    "self.one(self.a)\nself.one(self.b)": "a.go b.go",
    "self.one(m=self.a)": "a.go",
    "self.helper()": "b.go",
    "self.a.kick()": "a.go",
    "print(self.a.kicked)": "a.go",
    "if self.a.is_idle: self.b.go()": "b.go",
    "def later(): self.a.go()\nlater()": "a.go",
    "self.data['x'] = f'{self.a!r} {self.order.model}'": "",
    "x = self.data.get('x')\nx = None": "",
    "self.post('a.go', delay=3)": "a.go",
    "print(self.enabled_events(), self.orchestrator_name)": "",
    "print(self.items.get('x'), self.items['y'])": "",
    "x = 1 if self.a.idle.is_active else 2": "",
    "self.data['n'] += 1": "",
    "assert self.a is not None": "",
    "while self.data: self.data.pop()": "",
    "try: self.a.go()\nexcept ValueError as error: print(error)": "a.go",
    "with OTHER as other: self.a.go()": "a.go",
    "import math\nself.a.go()": "a.go",
    "print(self.items.keys())": "",
    "self.bus.signal('*').connect(nothing)": "",
}
OPEN = {
    "f = self.a.go; f()": "",
    "p = self.post; p('a.go')": "",
    "for f in (self.a.go, self.b.go): f()": "",
    "{'x': self.a.go}['x']()": "",
    "functools.partial(self.a.go)()": "",
    "threading.Timer(1, self.a.go).start()": "",
    "list(map(self.a.send, ['go']))": "",
    "[*map(operator.methodcaller('go'), self.items.values())]": "",
    "for e in self.a.allowed_events: e()": "",
    "super().helper()": "",
    "self.prop": "",
    "m = self.a if self.order else self.b; m.send('g' + 'o')": "",
    "for m in self.machines.values(): m.send('go')": "",
    "m = [self.a][0]; m.send(event='go')": "",
    "s = self or None; s.post('a.go')": "",
    "nothing([self])": "",
    "OTHER.owner = self": "",
    "OTHER(lambda s=self: s.post('a.go'))": "",
    "return self.a.go": "",
    "x = self.pick(); x.send(OTHER)": "",
    "m = self.a\nif self.order: m = self.b\nm.go()": "",
    "m = self.a\nfor _ in range(2): m.go(); m = self.b": "a.go",
    "m = self.a; f = lambda: m.go(); m = self.b; f()": "a.go",
    "m = self.a; [m for m in self.items.values()]; m.go()": "",
    "m = self.a; *m, = [1]; m.go()": "",
    "m = self.a\nwith OTHER as m: m.go()": "",
    "m = self.a\ntry: nothing()\nexcept ValueError as m: m.go()": "",
    "m = self.a\nimport os as m\nm.go()": "",
    "m = self.a\nglobal g\nm += 1\nm.go()": "",
    "m = self.a\nmatch self.data:\n    case [*m]: m.go()\n    case m: m.go()": "",
    "m = self.a\nmatch self.data:\n    case {'x': 1, **m}: m.go()": "",
    "class X:\n    def f(self): self.post('a.go')": "",
    "m = self.a; f = lambda m: m.go(); f(self.b)": "",
    "def f(*self, **m): pass\nm = self.a": "",
    "self.items.pop('x').go()": "",
    "self.poke(self.a)": "",
    "print(self.now())": "",
    "self.one(*[self.a])": "",
    "self.a.cycle()": "",
    "self.a.go.send()": "",
    "x, y = self.a, 1": "",
    "(x, y) = self.items.items()": "",
    "for x in self.a: pass": "",
    "for x, y, z in self.items.items(): pass": "",
    "del self": "",
    "self.publish(OTHER)": "",
    "self.items.values().go()": "",
    "nothing(self.items['x'])": "",
    "x = self.data['f']; x()": "",
    "self.broadcast(OTHER)": "",
    "self.data['f'].post('x')": "",
    "f = self.items.values; f()": "",
}


def read(tmp_path: Path, body: str, decorator: str = "", parameters: str = "") -> Any:
    """Return what the body of a reaction may send, and whether all of it was read."""
    text = BODIES.format(
        body="".join(f"        {line}\n" for line in body.splitlines()),
        decorator=f"    @on('order.go')\n{decorator}",
        parameters=parameters,
    )
    path = tmp_path / f"read_{abs(hash((body, decorator)))}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        (link,) = graph_of(module.S, None, None).links
    finally:
        del sys.modules[path.stem]
    return " ".join(link.targets), link.is_open


@pytest.mark.parametrize("body", FOLLOWED)
def test_what_can_be_followed_is_read(tmp_path: Path, body: str) -> None:
    """Names that stand for one thing, loops over fleets, helpers, looks at states."""
    assert read(tmp_path, body) == (FOLLOWED[body], False)


@pytest.mark.parametrize("body", OPEN)
def test_what_cannot_be_followed_is_left_open(tmp_path: Path, body: str) -> None:
    """Whatever else is done with a machine or an orchestrator leaves the end open: no guess."""
    assert read(tmp_path, body) == (OPEN[body], True)


def test_a_lambda_of_several_lines_is_read_as_a_whole_or_not_at_all() -> None:
    """Python tells the source of a lambda only in part, if it begins and ends in other lines."""

    # fmt: off
    class Two(StateMachine):
        one = State(initial=True)
        two = State(final=True)
        go = one.to(two,
            on=lambda orc: orc.light.flip()
            or orc.light.smash())
    # fmt: on

    class Room(Orchestrator):
        two: Two
        light: Light

    (link,) = graph_of(Room, None, None).links
    assert (link.targets, link.is_open) == ((), True)


def test_what_is_wrapped_is_left_open(tmp_path: Path) -> None:
    """What a decorator makes of a method may do anything, and need not call it."""
    assert read(tmp_path, "self.b.go()", decorator="    @also\n") == ("", True)


def test_a_machine_that_may_be_one_of_several_is_left_open(tmp_path: Path) -> None:
    """`machine` is that of the topic, if there is one."""
    assert read(tmp_path, "machine.go()", parameters=", machine") == ("order.go", False)
    several = "    @on('a.go')\n"
    assert read(tmp_path, "machine.go()", several, ", machine") == ("", True)
    every = "    @on('*')\n"
    assert read(tmp_path, "machine.send(machine.name)", every, ", machine") == ("", True)


def test_a_body_without_source_has_an_open_end() -> None:
    """What was made at run time has no source to read."""
    names: dict[str, Any] = {}
    exec("def react(self):\n    self.one.flip()\n", names)  # noqa: S102 - that is the subject

    class Made(Orchestrator):
        one: Light

        react = on("one.smash")(names["react"])

    assert links(graph_of(Made, None, None)) == {"react": (["one.smash"], [], True)}


def test_what_callbacks_send() -> None:
    """Callbacks that ask for the orchestrator: by convention, name, decorator, inline."""

    class Order(StateMachine):
        pending = State(initial=True)
        paid = State(enter="greet")
        gone = State(final=True)
        pay = pending.to(paid, after="tell", on=lambda orc: orc.two.flip())
        leave = paid.to(gone, cond="may")
        other = pending.to(gone, on=[lambda orc: orc.one.flip(), lambda orc: orc.two.flip()])

        @pay.before  # type: ignore[untyped-decorator] # the host leaves it untyped
        def prepare(self, orc: Any) -> None:
            orc.one.flip()

        def tell(self, orc: Any) -> None:
            orc.two.smash()

        def greet(self, orc: Any) -> None:
            helped(orc)

        def may(self, orc: Any) -> bool:
            return bool(orc.one.on.is_active)

        def on_exit_paid(self, orc: Any) -> None:
            light = orc.one
            light.smash()

        def after_leave(self) -> None:
            """Ask for nothing."""

    class Shop(Orchestrator):
        order: Order
        one: Light
        two: Light

    found = links(graph_of(Shop, None, None))
    inline = found.pop("order.<lambda>")
    assert found == {
        "order.prepare": (["order.pay"], ["one.flip"], False),
        "order.tell": (["order.pay"], ["two.smash"], False),
        "order.greet": (["enter:order.paid"], [], True),
        "order.on_exit_paid": (["exit:order.paid"], ["one.smash"], False),
    }
    assert inline == (["order.other"], [], True)


def test_orchestrators_below_are_drawn_with_their_names() -> None:
    """Reactions, callbacks and machines below have the names of the fields before theirs."""

    class Desk(Orchestrator):
        lamp: Light

        flip = on("lamp.smash").send("lamp.flip")

    class Office(Orchestrator):
        desk: Desk
        desks: Fleet[int, Desk] = attrs.field(factory=Fleet[int, Desk])

        @on("desks.lamp.flip")
        def react(self) -> None:
            for desk in self.desks.values():
                desk.lamp.smash()
            self.desk.lamp.flip()
            self.desk.post("lamp.smash")

    graph = graph_of(Office, None, None)
    assert [machine.path for machine in graph.machines] == ["desk.lamp", "desks.lamp"]
    assert links(graph) == {
        "react": (
            ["desks.lamp.flip"],
            ["desks.lamp.smash", "desk.lamp.flip", "desk.lamp.smash"],
            False,
        ),
        "desk.flip": (["desk.lamp.smash"], ["desk.lamp.flip"], False),
        "desks.flip": (["desks.lamp.smash"], ["desks.lamp.flip"], False),
    }


def test_the_active_states_of_an_instance_stand_out() -> None:
    """Of a machine its active state, of a fleet how many members are in a state."""
    packed = Item()
    packed.pack()
    instance = House(Light(), Light(), Fleet({"a": Item(), "b": packed}))
    text = diagram(instance)
    active = re.search(r"class (\S+) active", text)
    assert active is not None
    labels = dict(re.findall(r"(m\ds\d)\W+\"([^\"]+)\"", text))
    assert [labels[node] for node in active[1].split(",")] == [
        "Off",
        "Off",
        "Ordered (1)",
        "Packed (1)",
    ]
    assert "items: fleet of Item, 2 members" in text
    assert "active\n" not in diagram(House).replace("classDef active", "")
    assert "penwidth=3" in diagram(instance, "dot")
    assert "**off**" in diagram(instance, "md")


class Relay(Orchestrator):
    """Two lights, and two reactions of which one is never used."""

    one: Light
    two: Light
    sent = domain_signal()

    follow = on("one.flip").send("two.flip")

    @on("one.smash")
    def never(self) -> None:
        """Smash the other one."""
        self.two.smash()

    @on("two.flip")
    def tell(self) -> None:
        """Publish."""
        self.publish("sent")

    @when("one.on", "two.on")
    def both(self) -> None:
        """Do nothing."""

    late = timeout("one.broken", seconds=1).send("two.smash")


def test_traces_count_how_often_what_was_used() -> None:
    """Arrows that were used carry a count, those that never were are dashed."""
    relay = Relay(Light(), Light())
    with tracing(relay) as first:
        relay.one.flip()
    with tracing(relay) as second:
        relay.one.flip()
        relay.one.flip()
    graph = graph_of(Relay, relay, [first, second])
    assert {link.name: link.used for link in graph.links} == {
        "follow": {"one.flip": 3, "two.flip": 3},
        "never": {"one.smash": 0, "two.smash": 0},
        "tell": {"two.flip": 3, "sent": 3},
        "both": {"enter:one.on": 2, "enter:two.on": 2},
        "late": {"enter:one.broken": 0, "two.smash": 0},
    }
    text = diagram(relay, traces=[first, second])
    assert text.count('==>|"3"|') > 3
    assert text.count("-.->") > 3
    assert "-.->" not in diagram(relay)
    assert "one.flip (3)" in diagram(relay, "md", traces=[first, second])
    assert "style=dashed" in diagram(relay, "dot", traces=[first])
    assert diagram(relay, traces=first) == diagram(relay, traces=[first])


def test_posts_and_broadcasts_are_counted_where_they_were_sent() -> None:
    """A post counts for the reaction that posted it, a broadcast for its event; in each trace."""

    class Room(Orchestrator):
        one: Light
        two: Light
        item: Item

        @on("one.smash")
        def react(self) -> None:
            self.post("two.flip")
            self.post("two.flip", delay=1)
            self.broadcast("pack")

    traces: list[Any] = []
    for _ in range(2):
        room = Room(Light(), Light(), Item())
        clock = use_clock(room, VirtualClock())
        with tracing(room) as trace:
            room.one.smash()
            clock.advance(1)
        traces.append(Trace(trace))
    (link,) = graph_of(Room, None, traces).links
    assert link.used == {"one.smash": 2, "two.flip": 4, "*.pack": 2}
    assert link.is_open is False


def test_callbacks_of_one_machine_that_could_both_have_called_are_not_counted() -> None:
    """What the records do not tell has no count, and is not drawn as unused."""

    class Order(StateMachine):
        pending = State(initial=True)
        paid = State(final=True)
        pay = pending.to(paid)

        def after_pay(self, orc: Any) -> None:
            orc.light.flip()

        def on_enter_paid(self, orc: Any) -> None:
            if self.model is None:
                orc.light.flip()

        def after_transition(self, orc: Any) -> None:
            orc.light.smash()

    class Shop(Orchestrator):
        order: Order
        light: Light

    shop = Shop(Order(), Light())
    with tracing(shop) as trace:
        shop.order.pay()
    graph = graph_of(Shop, None, [trace])
    assert {link.name: link.used for link in graph.links} == {
        "order.after_pay": {},
        "order.on_enter_paid": {},
        "order.after_transition": {"light.smash": 1, "order.pay": 1},
    }
    assert "-.->" not in diagram(shop, traces=trace)


def test_who_is_injected_from_further_out_is_known() -> None:
    """An inner reaction or callback that asks for the holder by its name is read as such."""

    class Lamp(StateMachine):
        dark = State(initial=True)
        lit = State()
        flip = dark.to(lit) | lit.to(dark)

        def after_flip(self, company: Any) -> None:
            company.light.flip()

        def on_enter_lit(self, **given: Any) -> None:
            given["company"].light.smash()

        def on_exit_lit(self, **given: Any) -> None:
            """Name nobody."""

        flop = dark.to.itself()

    class Desk(Orchestrator):
        lamp: Lamp

        @on("lamp.flop")
        def up(self, company: Any) -> None:
            company.light.smash()

    class Company(Orchestrator, orchestrator_name="company"):
        desk: Desk
        light: Light

    assert links(graph_of(Company, None, None)) == {
        "desk.up": (["desk.lamp.flop"], ["light.smash"], False),
        "desk.lamp.after_flip": (["desk.lamp.flip"], ["light.flip"], False),
        "desk.lamp.on_enter_lit": (["enter:desk.lamp.lit"], [], True),
    }


@needs_3  # 2.x takes no partial functions
def test_a_partial_function_is_left_open() -> None:
    """What it is given already cannot be told from what is injected."""

    class Lamp(StateMachine):
        dark = State(initial=True)
        flip = dark.to.itself(on=functools.partial(lambda _one, orc: orc.light.flip(), 1))

    class Room(Orchestrator):
        lamp: Lamp
        light: Light

    assert links(graph_of(Room, None, None)) == {
        "lamp.a callback": (["lamp.flip"], [], True),
    }


def test_an_instance_is_drawn_as_it_is() -> None:
    """Boxes, reactions and callbacks are of the classes of its machines; members are counted."""

    class Loud(Light):
        def after_flip(self, orc: Any) -> None:
            orc.lamp.smash()

    class Desk(Orchestrator):
        lamp: Light

    class Better(Desk):
        flip = on("lamp.smash").send("lamp.flip")

    class Office(Orchestrator):
        desks: Fleet[int, Desk] = attrs.field(factory=Fleet[int, Desk])

    office = Office(
        Fleet({1: Desk(Light()), 2: Better(Loud()), 3: Desk(Light()), 4: Better(Light())})
    )
    graph = graph_of(Office, office, None)
    assert [(box.path, box.kind, box.active) for box in graph.machines] == [
        ("desks.lamp", "Light", {"off": 3}),
        ("desks.lamp", "Loud", {"off": 1}),
    ]
    assert links(graph) == {
        "desks.flip": (["desks.lamp.smash"], ["desks.lamp.flip"], False),
        "desks.lamp.after_flip": (["desks.lamp.flip"], ["desks.lamp.smash"], False),
    }


class Branch(Orchestrator):
    """An orchestrator that holds its own kind."""

    light: Light
    branches: Fleet[str, Branch] = attrs.field(factory=lambda: Fleet[str, Branch]())

    flip = on("branches.light.flip").send("light.flip")


def test_a_class_that_holds_its_own_kind() -> None:
    """It is drawn once, and of an instance as often as it goes down."""
    graph = graph_of(Branch, None, None)
    assert [box.path for box in graph.machines] == ["light"]
    branch = Branch(Light(), Fleet({"a": Branch(Light(), Fleet({"b": Branch(Light())}))}))
    graph = graph_of(Branch, branch, None)
    assert [box.path for box in graph.machines] == [
        "light",
        "branches.light",
        "branches.branches.light",
    ]
    assert "branches.branches.light" in diagram(branch, "dot")
    assert "branches.light.flip" in diagram(Branch)


def test_direct_calls_of_callbacks_are_counted() -> None:
    """A direct call is counted where the callback of the machine made it."""

    class Order(StateMachine):
        pending = State(initial=True)
        paid = State(final=True)
        pay = pending.to(paid)

        def after_pay(self, orc: Any) -> None:
            orc.light.flip()
            orc.light.flip()

    class Shop(Orchestrator):
        order: Order
        light: Light

    shop = Shop(Order(), Light())
    with tracing(shop) as trace:
        shop.order.pay()
    (link,) = graph_of(Shop, None, [trace]).links
    assert link.used == {"light.flip": 2, "order.pay": 2}


def test_what_members_of_fleets_send_is_counted() -> None:
    """Whatever the keys, what is of one field counts as one."""

    class Desk(Orchestrator):
        lights: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])

        on_flip = on("lights.flip").send("lights.smash")

    class Office(Orchestrator):
        desks: Fleet[str, Desk] = attrs.field(factory=Fleet[str, Desk])

    desks = Fleet({key: Desk(Fleet({key: Light()})) for key in "ab"})
    office = Office(desks)
    with tracing(office) as trace:
        office.desks["a"].lights["a"].flip()
        office.desks["b"].lights["b"].flip()
    (link,) = graph_of(Office, office, [trace]).links
    assert link.used == {"desks.lights.smash": 2, "desks.lights.flip": 2}


@needs_3
def test_compound_and_parallel_states() -> None:
    """They are boxes in the box of their machine."""
    from statemachine import HistoryState, StateChart  # noqa: PLC0415

    class Editor(StateChart):  # type: ignore[type-arg]
        class editing(State.Compound, initial=True):  # noqa: N801
            draft = State(initial=True)
            review = State()
            before = HistoryState()
            submit = draft.to(review)
            before.to(draft)

        class watching(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                up = State(initial=True)
                down = State(final=True)
                sink = up.to(down)

            class right(State.Compound):  # noqa: N801
                in_ = State(initial=True)
                out = State(final=True)
                push = in_.to(out)

        closed = State(final=True)
        watch = editing.to(watching)
        close = editing.to(closed)
        back = watching.to(editing.before)

    class Office(Orchestrator):
        editor: Editor
        light: Light

        flip = on_enter("editor.editing").send("light.flip")
        smash = on("editor.close", "editor.*").send("light.smash")

    office = Office(Editor(), Light())
    text = diagram(office)
    assert text.count("subgraph") == 6
    dot = diagram(office, "dot")
    assert dot.count("subgraph cluster_") == 6
    assert "ltail=cluster_m0s0" in dot
    assert "rounded,dashed" in dot
    assert "(**draft**, review, before)" in diagram(office, "md")
    history = re.search(r'(\w+)\(\("Before"\)\)', text)
    assert history is not None
    assert f'-->|"back"| {history[1]}\n' in text


def test_the_tables() -> None:
    """Machines and reactions as tables, without any dependency."""
    text = diagram(Relay, "md")
    where = "test_diagrams.Relay.follow (test_diagrams.py, line "
    assert "| one | Light | off, on, broken | flip, smash |" in text
    assert f"| follow | one.flip | two.flip |  | {where}" in text
    assert "| both | enter:one.on, enter:two.on |  | one.on & two.on |" in text
    assert "| late | timeout:one.broken | two.smash | after 1 s |" in text
    assert "every 60 s, if log, if enabled" in diagram(House, "md")
    assert "| by_name | exit:one.on | ? |" in diagram(House, "md")


def examples() -> dict[str, Any]:
    """Return the orchestrators of the examples by name."""
    return {name: getattr(importlib.import_module(name), cls) for name, cls in DRAWN.items()}


def test_every_example_is_drawn() -> None:
    """No example is left out; the one open end is that of items in a list of a package."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(DRAWN)
    opened = {
        name: [link.name for link in graph_of(cls, None, None).links if link.is_open]
        for name, cls in examples().items()
    }
    assert {name: found for name, found in opened.items() if found} == {"warehouse": ["hand_over"]}


def many() -> Any:
    """Return a class of thirty machines with forty wires between them."""
    names: dict[str, Any] = {"__annotations__": {f"light_{number}": Light for number in range(30)}}
    for number in range(40):
        topic = f"light_{number % 30}.{'smash' if number % 2 else 'flip'}"
        names[f"wire_{number}"] = on(topic).send(f"light_{(number * 7 + 1) % 30}.flip")
    return type("Many", (Orchestrator,), {**names, "__module__": __name__})


def odd() -> Any:
    """Return a class with texts that the languages would take for their own."""

    class Odd(StateMachine):
        first = State('"quoted" %%{init}%% <b> #1; \\ \x00\udc80 end', initial=True)
        last = State("end", final=True)
        end = first.to(last)
        graph = first.to.itself()

    class Oddest(Orchestrator):
        subgraph: Odd
        end: Odd

        call = on("subgraph.end").send("end.graph")

        @on("end.end", cond="call_it")
        def click(self) -> None:
            helped(self)

        call_it: bool = True

    return Oddest


@needs_mermaid
@pytest.mark.newest
def test_mermaid_reads_what_is_drawn(tmp_path: Path) -> None:
    """Mermaid itself takes every flowchart and every sequence diagram for one."""
    relay, kept = Relay(Light(), Light()), House(Light(), Light(), Fleet({"a": Item()}))
    with tracing(relay) as trace:
        relay.one.flip()
        relay.one.smash()
    texts = {f"{name}.mmd": diagram(cls) for name, cls in examples().items()}
    texts |= {
        "house.mmd": diagram(kept),
        "relay.mmd": diagram(relay, traces=[trace]),
        "many.mmd": diagram(many()),
        "odd.mmd": diagram(odd()),
    }
    found = kinds_by_mermaid({**texts, "trace.mmd": f"{trace:mermaid}"}, tmp_path)
    assert found == {**dict.fromkeys(texts, "flowchart-v2"), "trace.mmd": "sequence"}


@needs_dot
@pytest.mark.newest
def test_graphviz_reads_what_is_drawn() -> None:
    """Graphviz itself finds all nodes and all edges, and has nothing to complain of."""
    for cls in [*examples().values(), House, Relay, many(), odd()]:
        text = diagram(cls, "dot")
        edges = len(re.findall(r"^ +\S+ -> ", text, re.MULTILINE))
        nodes = len(re.findall(r"^ +\w+ \[label=", text, re.MULTILINE))
        assert nodes_and_edges(text) == (nodes, edges)


@needs_dot
@pytest.mark.newest
def test_pictures() -> None:
    """`svg` is text, `png` bytes; a notebook shows the svg."""
    relay = Relay(Light(), Light())
    assert "<svg" in diagram(relay, "svg")
    assert diagram(relay, "png")[:4] == b"\x89PNG"
    bundle = relay._repr_mimebundle_()
    assert bundle["text/plain"] == repr(relay)
    assert "<svg" in bundle["image/svg+xml"]
    assert f"{relay:svg}" == diagram(relay, "svg")
    with pytest.raises(DeclarationError, match=r"format\(\.\.\., 'png'\).*Call diagram"):
        format(relay, "png")


def test_format_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """`format(shop, "mermaid")` draws, an empty format prints; without Graphviz a notebook too."""
    relay = Relay(Light(), Light())
    assert f"{relay:mermaid}" == diagram(relay)
    assert f"{relay}" == f"{relay!s}" == repr(relay) == "Relay(one=off, two=off)"
    with pytest.raises(DeclarationError, match="'odd' is no format"):
        format(relay, "odd")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    assert relay._repr_mimebundle_() == {"text/plain": "Relay(one=off, two=off)"}
    with pytest.raises(DeclarationError, match=r"Install the extra: .*\[diagrams\]"):
        diagram(relay, "svg")


def test_a_machine_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the program is missing, the error says so."""
    graphviz = pytest.importorskip("graphviz")

    def fails(error: Exception) -> None:
        def pipe(*_args: Any, **_kwargs: Any) -> Any:
            raise error

        monkeypatch.setattr(graphviz.Source, "pipe", pipe)

    fails(graphviz.ExecutableNotFound(["dot"]))
    with pytest.raises(DeclarationError, match="its program dot is not installed"):
        diagram(Relay, "png")
    fails(subprocess.CalledProcessError(1, ["dot"]))
    with pytest.raises(DeclarationError, match="Graphviz refuses it"):
        diagram(Relay, "png")


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: diagram(Light), "no orchestrator"),  # type: ignore[arg-type]
        (lambda: diagram(None), "no orchestrator"),  # type: ignore[call-overload]
        (lambda: diagram(Relay, traces=["run.jsonl"]), "are no traces"),  # type: ignore[list-item]
        (lambda: diagram(Relay, "gif"), f"'gif' is no format. There are {', '.join(FORMATS)}"),
    ],
)
def test_what_cannot_be_drawn(call: Callable[[], Any], problem: str) -> None:
    """What is no orchestrator or no format is refused, with what there is."""
    with pytest.raises(DeclarationError, match=re.escape(problem)):
        call()
