"""Traces: what happened, from which cause, as a value, as text, as a sequence diagram."""

from __future__ import annotations

import copy
import io
import json
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import awaited, needs_3, pickled
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Abandoned,
    DeclarationError,
    Elapsed,
    Failed,
    Finished,
    Fleet,
    Ignored,
    Orchestrator,
    Published,
    ReactionErrors,
    Sent,
    Settled,
    Started,
    Transitioned,
    UnreadableTraceError,
    VirtualClock,
    domain_signal,
    on,
    on_enter,
    timeout,
    use_clock,
    when,
)
from statemachines_orchestrator._folding import LONGEST, Loop, folded
from statemachines_orchestrator._observing import EVERYTHING
from statemachines_orchestrator.traces import Repr, Trace, tracing

if TYPE_CHECKING:
    from conftest import Engine


class Order(StateMachine):
    """An order, whose callback makes a direct call."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)

    def after_process(self, orc: Any) -> Any:
        """Authorize the payment."""
        return getattr(orc, "authorize", bool)()


class Payment(StateMachine):
    """A payment."""

    unpaid = State(initial=True)
    authorized = State()
    captured = State(final=True)
    authorize = unpaid.to(authorized)
    capture = authorized.to(captured)
    remark = unpaid.to.itself(internal=True)


class Light(StateMachine):
    """A machine that goes round."""

    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Shop(Orchestrator):
    """A direct call, two reactions, and one that fails."""

    order: Order
    payment: Payment
    sold = domain_signal("something was sold")

    def authorize(self) -> Any:
        """Call the payment directly."""
        return self.payment.authorize()

    @on("payment.authorize")
    def capture(self) -> Any:
        """Capture the payment."""
        return self.payment.capture()

    @on_enter("payment.captured")
    def ship(self) -> Any:
        """Ship the order."""
        return self.order.ship()

    @on_enter("order.shipped")
    def bill(self) -> None:
        """Fail."""
        message = "no paper"
        raise ValueError(message)

    @on("settled")
    def save(self) -> None:
        """Publish a signal."""
        self.publish("sold", amount=3)


def traced(engine: Engine) -> tuple[Shop, Trace]:
    """Return a shop in which an order was processed, and what happened."""
    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    with tracing(shop) as trace:
        engine.raises(ReactionErrors, lambda: shop.order.process(by="me"))
    return shop, trace


TREE = """\
order.process(by='me')
  payment.authorize()
    payment: unpaid → authorized
      capture, on payment.authorize
        payment.capture()
          payment: authorized → captured
            ship, on enter:payment.captured
              order.ship()
                order: processing → shipped
                  bill, on enter:order.shipped
                    bill FAILED: ValueError('no paper')
              ship finished
        capture finished
  order: pending → processing
  settled: 3 turns, 1 failure
    save, on settled
      signal sold(amount=3)
      save finished
"""

DIAGRAM = """\
sequenceDiagram
    actor outside
    participant m0 as order
    participant m1 as payment
    outside->>+m0: process
    m0->>+m1: authorize
    Note over m1: unpaid → authorized
    deactivate m1
    Note over m0: pending → processing
    deactivate m0
    m1->>+m1: capture (capture)
    Note over m1: authorized → captured
    deactivate m1
    m1->>+m0: ship (ship)
    Note over m0: processing → shipped
    deactivate m0
    Note over m0: reaction bill
    rect rgb(255, 214, 214)
        Note over m0: bill failed: ValueError('no paper')
    end
    Note over m0: reaction save
    Note over m0: signal sold
"""


def test_a_trace_has_every_record_in_order(engine: Engine) -> None:
    """Every record of the orchestrator, in the order of their `seq`."""
    _shop, trace = traced(engine)
    assert [type(record) for record in trace] == [
        Sent,
        Sent,
        Transitioned,
        Transitioned,
        Started,
        Sent,
        Transitioned,
        Finished,
        Started,
        Sent,
        Transitioned,
        Finished,
        Started,
        Failed,
        Settled,
        Started,
        Published,
        Finished,
    ]
    assert [record.seq for record in trace] == sorted(record.seq for record in trace)
    assert trace.participants == ("order", "payment")
    assert repr(trace) == "<Trace of 18 records>"


def test_the_tree_tells_what_led_to_what(engine: Engine) -> None:
    """One line a record, indented below its cause; `settled` below the call from outside."""
    _shop, trace = traced(engine)
    assert trace.tree() == TREE
    assert str(trace) == f"{trace:tree}" == f"{trace}" == TREE


def test_the_sequence_diagram(engine: Engine) -> None:
    """Machines in the order of fields, arrows with their cause, notes for states and failures."""
    _shop, trace = traced(engine)
    assert f"{trace:mermaid}" == DIAGRAM
    with pytest.raises(ValueError, match="no format 'svg'"):
        format(trace, "svg")


def test_causes_and_stories(engine: Engine) -> None:
    """`cause` gives the record that led to one, `story` all of them from the first on."""
    _shop, trace = traced(engine)
    failed = trace.filter(Failed)[0]
    story = trace.story(failed)
    assert [type(one).__name__ for one in story] == [
        *("Sent", "Sent", "Transitioned", "Started", "Sent", "Transitioned", "Started"),
        *("Sent", "Transitioned", "Started", "Failed"),
    ]
    assert trace.cause(failed) is story[-2]
    assert trace.cause(trace[0]) is None
    assert trace.story(trace.filter(Published)[0])[0] is trace[0]


def test_a_trace_is_a_value(engine: Engine) -> None:
    """Two runs of the same are equal, whatever the count of the process; others are not."""
    _shop, first = traced(engine)
    _shop, second = traced(engine)
    assert first == second
    assert first[0].seq != second[0].seq
    assert first[1:] == second[1:] != first
    assert first[2:4] == first.filter(Transitioned)[:2]
    assert first != list(first)
    assert copy.copy(first) == copy.deepcopy(first) == first
    assert isinstance(first[1:3], Trace)
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)
    back = pickled(first)
    assert back == first
    assert back.participants == first.participants
    assert Trace(reversed(list(first))) == first


def test_filter(engine: Engine) -> None:
    """By kinds, by machine and by a condition; the causes stay what they are."""
    _shop, trace = traced(engine)
    events = [record.event for record in trace.filter(Sent, machine="payment")]  # type: ignore[attr-defined]
    assert events == ["authorize", "capture"]
    assert len(trace.filter(Sent, Failed)) == 5
    assert len(trace.filter(machine="order")) == 4
    assert [record.seq for record in trace.filter(cond=lambda one: one.cause is None)] == [
        trace[0].seq
    ]
    assert trace.filter() == trace
    with pytest.raises(DeclarationError, match=r"called 'paymnt'\. Did you mean 'payment'\?"):
        trace.filter(machine="paymnt")
    with pytest.raises(DeclarationError, match=r"called 'x'\. There are order, payment"):
        trace.filter(machine="x")
    wrong: Any = "Sent"
    with pytest.raises(DeclarationError, match="'Sent' is no kind of record"):
        trace.filter(wrong)


def test_records_are_heard_only_while_it_lasts(engine: Engine) -> None:
    """Afterwards nobody listens, no record is built, and the trace grows no more."""
    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    with suppress(KeyError), tracing(shop) as trace:
        engine.run(lambda: shop.payment.remark())
        raise KeyError
    engine.run(lambda: shop.payment.remark())
    assert len(trace) == 6
    assert [len(shop.bus.signal(topic).receivers) for topic in EVERYTHING if ":" in topic] == [
        0
    ] * (len(EVERYTHING) - 2)
    assert not shop.bus.kinds & {topic.partition(":")[0] for topic in EVERYTHING}
    assert trace.tree().splitlines()[:3] == [
        "payment.remark()",
        "  payment: unpaid stays",
        "  settled: 0 turns, 0 failures",
    ]


@needs_3
def test_ignored_events_are_told_and_drawn(engine: Engine) -> None:
    """What no transition took is visibly different."""
    from statemachine import StateChart  # noqa: PLC0415

    class Door(StateChart):  # type: ignore[type-arg]
        shut = State(initial=True)
        opened = State()
        open = shut.to(opened)
        close = opened.to(shut)

    class House(Orchestrator):
        door: Door

    house = House(engine.machine(Door)())
    with tracing(house) as trace:
        engine.run(lambda: house.door.close())
    assert trace.tree() == "door.close()\n  door.close IGNORED\n"
    assert trace.filter(Ignored)[0].cause == trace[0].seq
    assert "    outside--xm0: close, ignored\n" in f"{trace:mermaid}"


def test_fleets_and_orchestrators_below(engine: Engine) -> None:
    """What happens below is in the trace, by the path of names and keys."""

    class Desk(Orchestrator):
        lights: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])
        rang = domain_signal()

        @on("lights.flip")
        def ring(self, key: str) -> None:
            self.publish("rang", key=key)

    class Office(Orchestrator):
        lamp: Light
        desks: Fleet[int, Desk] = attrs.field(factory=Fleet[int, Desk])
        desk: Desk = attrs.field(factory=Desk)

    office = Office(engine.machine(Light)(), Fleet({1: Desk()}))
    office.desks[1].lights["a"] = engine.machine(Light)()
    office.desk.lights["b"] = engine.machine(Light)()
    with tracing(office) as trace:
        engine.run(lambda: office.desk.lights["b"].flip())
        engine.run(lambda: office.desks[1].lights["a"].flip())
    assert trace.participants == ("lamp", "desks", "desk.lights")
    assert trace.tree() == (
        "desk.lights['b'].flip()\n"
        "  desk.lights['b']: off → on\n"
        "    desk.ring, on lights.flip\n"
        "      signal desk.rang(key='b')\n"
        "      desk.ring finished\n"
        "  settled: 1 turn, 0 failures\n"
        "desks[1].lights['a'].flip()\n"
        "  desks[1].lights['a']: off → on\n"
        "    desks[1].ring, on lights.flip\n"
        "      signal desks[1].rang(key='a')\n"
        "      desks[1].ring finished\n"
        "  settled: 1 turn, 0 failures\n"
    )
    assert len(trace.filter(machine="desks[1].lights['a']")) == 2
    assert len(trace.filter(machine="desks.lights")) == 2
    assert len(trace.filter(machine="lights")) == 4
    assert "    participant m0 as desks[1].lights['a']\n" in f"{trace:mermaid}"


def test_timers_are_told_and_drawn(engine: Engine) -> None:
    """A timer that comes due stands at the beginning of what follows."""

    class Room(Orchestrator):
        light: Light

        off = timeout("light.on", seconds=5).send("light.flip")

    room = Room(engine.machine(Light)())
    clock = use_clock(room, VirtualClock())
    with tracing(room) as trace:
        engine.run(lambda: room.light.flip())
        room.post("light.flip", delay=7)
        awaited(lambda: clock.advance(8))
    assert trace.tree() == (
        "light.flip()\n"
        "  light: off → on\n"
        "    timeout:light.on elapsed, at 5.0\n"
        "      off, on timeout:light.on\n"
        "        light.flip()\n"
        "          light: on → off\n"
        "        off finished\n"
        "      settled: 1 turn, 0 failures\n"
        "  settled: 0 turns, 0 failures\n"
        "light.flip elapsed, at 7.0\n"
        "  posted light.flip\n"
        "    light.flip()\n"
        "      light: off → on\n"
        "    light.flip finished\n"
        "  settled: 1 turn, 0 failures\n"
    )
    drawing = f"{trace:mermaid}"
    assert "    clock--)m0: timeout:light.on is over\n    m0->>+m0: flip (off)\n" in drawing
    assert "    clock->>+m0: flip (posted)\n" in drawing
    assert len(trace.filter(Elapsed)) == 2


def test_what_was_abandoned(engine: Engine) -> None:
    """A turn that will not come is told and drawn."""

    class Stop(BaseException):
        """Stops a cascade."""

    class Pair(Orchestrator):
        one: Light
        two: Light

        @on("one.flip")
        def stop(self) -> None:
            raise Stop

        @on("one.flip")
        def later(self) -> None: ...

    pair = Pair(engine.machine(Light)(), engine.machine(Light)())
    with tracing(pair) as trace:
        engine.raises(Stop, lambda: pair.one.flip())
    assert trace.tree().splitlines()[-1] == "    later ABANDONED"
    assert "Note over m0: later abandoned" in f"{trace:mermaid}"
    assert len(trace.filter(Abandoned)) == 1


class Rally(Orchestrator, max_reactions=None):
    """Two machines that poke each other."""

    ping: Light
    pong: Light
    left: int = 0

    @on("ping.flip")
    def serve(self) -> Any:
        """Play on, so many times."""
        self.left -= 1
        return self.pong.flip() if self.left > 0 else None

    give = on("pong.flip").send("ping.flip")


def test_a_loop_is_folded(engine: Engine) -> None:
    """A loop of thousands of hops is one block with its count, in a few lines."""
    rally = Rally(engine.machine(Light)(), engine.machine(Light)(), left=1000)
    with tracing(rally) as trace:
        engine.run(lambda: rally.ping.flip())
    drawing = f"{trace:mermaid}"
    assert len(drawing.splitlines()) < 40
    assert "    loop 499 times\n        m0->>+m1: flip (serve)\n" in drawing
    tree = trace.tree()
    assert len(tree.splitlines()) == len(trace)
    assert max(map(len, tree.splitlines())) <= 100
    assert f"{' ' * 40}(21) pong.flip()\n" in tree


def test_what_does_not_repeat_as_a_whole_is_not_folded(engine: Engine) -> None:
    """A stretch is folded only if every step that begins in it ends in it, and three times."""
    rally = Rally(engine.machine(Light)(), engine.machine(Light)(), left=4)
    with tracing(rally) as trace:
        engine.run(lambda: rally.ping.flip())
    drawing = f"{trace:mermaid}"
    assert "loop" not in drawing
    assert drawing.count("->>+") == drawing.count("deactivate") == 7


def test_loops_nest() -> None:
    """A loop may hold loops."""
    room = Rally(Light(), Light(), left=-1)
    with tracing(room) as trace:
        for _ in range(4):
            for _ in range(3):
                room.ping.flip()
                room.ping.flip()
            room.post("ping.flip")
            room.post("ping.flip")
    drawing = f"{trace:mermaid}"
    assert drawing.count("loop") == 2
    assert "    loop 4 times\n        loop 3 times\n            outside->>+m0: flip\n" in drawing


def test_the_newest_records_of_a_long_run(engine: Engine) -> None:
    """With `last` only so many are kept; what led to the first ones is marked as missing."""
    shop = Shop(engine.machine(Order)(), engine.machine(Payment)())
    with tracing(shop, last=5) as trace:
        engine.raises(ReactionErrors, lambda: shop.order.process())
        assert len(trace) == 5
        assert isinstance(trace[1], Settled)
        assert isinstance(trace[-1], Finished)
    assert trace.tree() == (
        "… bill FAILED: ValueError('no paper')\n"
        "… settled: 3 turns, 1 failure\n"
        "  save, on settled\n"
        "    signal sold(amount=3)\n"
        "    save finished\n"
    )
    assert "Note over" not in f"{trace:mermaid}".split("outside", 1)[0]


@pytest.mark.parametrize("last", [0, -1, 2.0, "3", True])
def test_a_number_of_records_that_is_none(last: Any) -> None:
    """`last` is a number from 1 on."""
    with (
        pytest.raises(DeclarationError, match=r"tracing\(\).*last="),
        tracing(Rally(Light(), Light()), last=last),
    ):
        pass


@pytest.mark.parametrize("given", [None, Rally, Light()])
def test_what_is_no_orchestrator(given: Any) -> None:
    """Only an instance of an orchestrator is traced."""
    with pytest.raises(DeclarationError, match=r"tracing\(\).*no orchestrator"), tracing(given):
        pass


def test_records_of_several_threads_are_in_order() -> None:
    """Whichever thread is faster, records are in the order of their `seq`."""

    def settled(seq: int) -> Settled:
        return Settled(seq=seq, cause=None, reactions=0, failures=0)

    class Overtaken:
        """A record: another thread announces one as soon as anybody looks at it."""

        @property
        def seq(self) -> int:
            if not overtaking:
                overtaking.append(4)
                note(None, record=settled(4))
            return 1

    overtaking: list[int] = []
    trace = Trace()
    note = trace.recorder()
    note(None, record=Overtaken())
    note(None, record=settled(3))
    if not overtaking:  # nobody looked
        overtaking.append(4)
        note(None, record=settled(4))
    assert [record.seq for record in trace] == [1, 3, 4]
    note(None, record=settled(2))
    assert [record.seq for record in trace] == [1, 2, 3, 4]
    assert [trace[at].seq for at in range(4)] == [1, 2, 3, 4]
    trace.end()
    assert [record.seq for record in trace] == [1, 2, 3, 4]


# JSON -----------------------------------------------------------------------------------------


def test_a_trace_is_written_and_read(engine: Engine) -> None:
    """As lines of JSON, each an object; what is read is equal to what was written."""
    _shop, trace = traced(engine)
    text = trace.to_jsonl()
    assert f"{trace:jsonl}" == text
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == len(trace) + 1
    assert lines[0] == {"trace": 1, "participants": ["order", "payment"]}
    assert lines[1] == {
        "kind": "Sent",
        "seq": trace[0].seq,
        "cause": None,
        "path": ["order"],
        "keys": [],
        "machine_name": "order",
        "event": "process",
        "args": [],
        "kwargs": {"by": "me"},
    }
    back = Trace.from_jsonl(text)
    assert back == trace
    assert back.to_jsonl() == text
    assert back.tree() == TREE
    assert f"{back:mermaid}" == DIAGRAM
    failed: Any = back.filter(Failed)[0]
    assert failed.exception == Repr("ValueError('no paper')")
    moved: Any = back.filter(Transitioned)[0]
    assert (moved.source, moved.target, moved.machine) == ("unpaid", "authorized", None)


def test_values_that_json_has_no_form_for() -> None:
    """They become their `repr` and say so; what JSON has a form for comes back as it was."""

    class Number(int):
        """A subclass, which would come back as its base."""

    class Bad:
        def __repr__(self) -> str:
            message = "no repr"
            raise ValueError(message)

    values: list[tuple[Any, Any]] = [
        ({"a": [1, 2.5, None, True, "ü\n"]}, {"a": [1, 2.5, None, True, "ü\n"]}),
        ((1, (2, [3])), (1, (2, [3]))),
        (Decimal("1.5"), Repr("Decimal('1.5')")),
        ({1: "a"}, Repr("{1: 'a'}")),
        ({"$repr": "a"}, {"$repr": "a"}),
        (10**5000, Repr("<int>")),
        (float("nan"), Repr("nan")),
        (float("inf"), Repr("inf")),
        (Number(3), Repr("3")),
        (Bad(), Repr("<Bad>")),
        ({2}, Repr("{2}")),
    ]
    rally = Rally(Light(), Light(), left=0)
    with tracing(rally) as trace:
        for given, _expected in values:
            rally.ping.flip(given, named=given)
    back = Trace.from_jsonl(trace.to_jsonl())
    found = [(record.args[0], record.kwargs["named"]) for record in back.filter(Sent)]  # type: ignore[attr-defined]
    assert found == [(expected, expected) for _given, expected in values]
    assert back == trace


def line_of(**wrong: Any) -> str:
    """Return a trace of one record in which something is wrong."""
    rally = Rally(Light(), Light(), left=0)
    with tracing(rally, last=5) as trace:
        rally.ping.flip()
    head, sent = trace.to_jsonl().splitlines()[:2]
    return f"{head}\n{json.dumps({**json.loads(sent), 'seq': 5, **wrong})}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: there is nothing in it"),
        ("{", "line 1: it is no JSON"),
        ("[]", "line 1: it is no JSON object"),
        ('{"trace": 99}', "line 1: it is no trace of version 1"),
        ('\n{"trace": 1}\n{"kind": "Odd"}', "line 3: 'Odd' is no kind of record"),
        ('{"trace": 1}\n{"kind": "Settled", "seq": 1}', "line 2: it is no Settled"),
        ('{"trace": 1}\n{"kind": "Settled", "odd": 1}', "line 2: it is no Settled"),
        ("[" * 100_000, "line 1: it is no JSON"),
        ('{"trace": 1, "participants": null}', "line 1: its participants are no list"),
        (line_of(seq="x"), "line 2: its seq is 'x'"),
        (line_of(seq=True), "line 2: its seq is True"),
        (line_of(cause=[1]), "line 2: its cause is [1]"),
        (line_of(cause=5), "line 2: its cause, 5, is not before it"),
        (line_of(path=None), "line 2: its path is None"),
        (line_of(kwargs=3), "line 2: its kwargs is 3"),
        (line_of(event=3), "line 2: its event is 3"),
        (line_of(args=[{"$tuple": 3}]), "line 2: a value in it is none: 'int' object is not"),
        (line_of(args=[{"$dict": [3]}]), "line 2: a value in it is none: cannot unpack"),
    ],
)
def test_a_text_that_is_no_trace(text: str, problem: str) -> None:
    """What cannot be read is refused, with the line."""
    with pytest.raises(UnreadableTraceError) as caught:
        Trace.from_jsonl(text)
    assert str(caught.value).startswith(problem)
    assert str(caught.value).endswith("Give it what Trace.to_jsonl() has written.")


def test_what_is_no_text() -> None:
    """A file is no text: what is in it is."""
    given: Any = io.StringIO("{}")
    with pytest.raises(UnreadableTraceError, match="is no text"):
        Trace.from_jsonl(given)


def test_an_empty_trace() -> None:
    """It has no lines, and is one all the same."""
    trace = Trace()
    assert trace.tree() == ""
    assert f"{trace:mermaid}" == "sequenceDiagram\n"
    assert Trace.from_jsonl(trace.to_jsonl()) == trace


def test_labels_that_mermaid_would_take_for_its_own(engine: Engine) -> None:
    """What ends a statement or begins a tag is escaped, what is too long is cut."""

    class Odd(Orchestrator):
        light: Light

        @on("light.flip")
        def react(self) -> None:
            raise ValueError("a;b#c%%d<e>\n" + "x" * 100)

    odd = Odd(engine.machine(Light)())
    with tracing(odd) as trace:
        engine.raises(ReactionErrors, lambda: odd.light.flip())
    text = "react failed: ValueError('a#59;b#35;c#37;#37;d#60;e#62;\\nxxx"
    assert text in f"{trace:mermaid}"
    assert f"{trace:mermaid}".count("x…\n") == 1
    assert trace.tree().splitlines()[3][-1] == "…"


def test_a_join_has_its_cause(engine: Engine) -> None:
    """A join's turn hangs on the last move of one of its machines."""

    class Both(Orchestrator):
        one: Light
        two: Light

        @when("one.on", "two.on")
        def both(self) -> None: ...

    both = Both(engine.machine(Light)(), engine.machine(Light)())
    with tracing(both) as trace:
        engine.run(lambda: both.one.flip())
        engine.run(lambda: both.two.flip())
    assert trace.tree().splitlines()[3:6] == [
        "two.flip()",
        "  two: off → on",
        "    both, on one.on & two.on",
    ]


def test_a_stretch_that_ends_what_it_has_not_begun_is_no_loop() -> None:
    """A step that began before a stretch and ends in it belongs to neither."""
    items = [("sent", "a", "b", "text"), ("ended", "c")] * 3
    assert folded(items) == items
    whole = [("began", "a", "c", "text"), ("ended", "c")] * 3
    assert folded(whole) == [Loop(3, tuple(whole[:2]))]


def test_a_trace_is_a_value_whatever_the_arguments_are() -> None:
    """Arguments that hold themselves, names that begin with `$`, halves of letters."""
    rally = Rally(Light(), Light(), left=0)
    endless: list[Any] = []
    endless.append(endless)
    with tracing(rally) as trace:
        rally.ping.flip(endless, "\udc80", **{"$x": 1})
    back = Trace.from_jsonl(trace.to_jsonl())
    sent: Any = back[0]
    assert sent.args == (Repr("[[...]]"), "\udc80")
    assert sent.kwargs == {"$x": 1}
    assert back == trace == trace  # noqa: PLR0124
    assert trace.to_jsonl().isascii()
    assert back.tree() == trace.tree()


def test_records_that_name_each_other_as_cause_are_all_told() -> None:
    """A cause comes before its effect: what says else is told as if nothing led to it."""
    records = [Failed(seq=one, cause=3 - one, name="odd", exception=KeyError()) for one in (1, 2)]
    trace = Trace(records)
    assert len(trace.tree().splitlines()) == 2
    assert f"{trace:mermaid}".count("odd failed") == 2
    assert len(trace.story(records[0])) == 1
    assert trace.cause(records[0]) is None


class Counted(tuple[str, ...]):
    """An item of a drawing that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__eq__(other)

    __hash__ = tuple.__hash__


def test_folding_is_linear_where_nothing_folds() -> None:
    """Steps that overlap fold nowhere: each item is compared once for each length that is tried."""
    one = [("began", "x", "a", "t"), ("began", "x", "b", "t"), ("ended", "a")]
    two = [("began", "x", "a", "t"), ("ended", "b"), ("began", "x", "b", "t"), ("ended", "a")]
    items = [Counted(item) for item in [*one, *(two * 500)]]
    found = folded(items)
    assert 0 < Counted.compared <= 2 * LONGEST * len(items)
    assert found == items
