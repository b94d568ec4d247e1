"""Lint: what is certainly, or very likely, a mistake is told; what might be meant is not."""

from __future__ import annotations

import importlib
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import pytest
import statemachine
from conftest import needs_3
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    Orchestrator,
    RunawayCascadeError,
    Transitioned,
    at_least,
    domain_signal,
    every,
    none,
    on,
    on_enter,
    on_exit,
    timeout,
    when,
    wiring,
)
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._linting import Lint, lint
from statemachines_orchestrator._shapes import Shape
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parent.parent / "examples"
if TYPE_CHECKING:
    StateChart: TypeAlias = statemachine.StateChart[Any]
else:
    StateChart = getattr(statemachine, "StateChart", StateMachine)


class Order(StateMachine):
    """A machine that begins, and ends."""

    pending = State(initial=True)
    paid = State()
    shipped = State(final=True)
    cancelled = State(final=True)
    pay = pending.to(paid)
    ship = paid.to(shipped)
    cancel = pending.to(cancelled) | paid.to(cancelled)


class Light(StateMachine):
    """A machine that goes round."""

    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Ping(StateMachine):
    """A machine that takes its event always."""

    up = State(initial=True)
    down = State(final=True)
    hit = up.to(up)
    drop = up.to(down)


def where(cls: Any, reaction: str) -> str:
    """Return where a reaction stands in this file."""
    return next(wire.where for wire in wiring(cls) if wire.reaction == reaction)


def told(cls: Any) -> list[tuple[str, str, str]]:
    """Return of each finding the kind, the last name of where it is, and the problem."""
    found: list[tuple[str, str, str]] = []
    for one in lint(cls):
        names = {wire.where: wire.reaction for wire in wires_below(cls)}
        found.append((one.kind, names.get(one.where, one.where), one.problem))
    return found


def wires_below(orchestrator: Any) -> list[Any]:
    """Return the wiring of a class, and of the orchestrators in its fields."""
    cls = orchestrator if isinstance(orchestrator, type) else type(orchestrator)
    inner = [
        kind
        for field in cls.__declaration__.fields.values()  # type: ignore[attr-defined]
        for kind in field.classes
        if hasattr(kind, "__declaration__") and kind is not cls
    ]
    return [*wiring(cls), *(wire for kind in inner for wire in wires_below(kind))]


# The value ------------------------------------------------------------------------------------


def test_a_finding_says_what_where_and_the_fix() -> None:
    """A finding is a value, and its text is the place, the problem and the fix."""

    class Shop(Orchestrator):
        order: Order

        @on_enter("order.pending")
        def never(self) -> None: ...

    (finding,) = lint(Shop)
    assert finding == Lint(
        "unreachable",
        where(Shop, "never"),
        "'enter:order.pending' never happens: 'order' begins in 'pending', which is not announced, "
        "and nothing leads there",
        "React to what leaves it, exit:order.pending, or drop the topic",
    )
    assert str(finding) == f"{finding.where}: {finding.problem}. {finding.fix}."
    assert "test_lint.py, line" in finding.where


def test_what_is_no_orchestrator_is_refused() -> None:
    """Lint takes an orchestrator or its class, and nothing else."""
    for wrong in (Order, None, 3):
        given: Any = wrong
        with pytest.raises(DeclarationError, match=r"lint\(\): it was given .*no orchestrator"):
            lint(given)


def test_findings_come_in_the_order_of_declaration() -> None:
    """Reactions come first, in their order, and machines after them."""

    class Shop(Orchestrator):
        order: Order
        spare: Light
        ping: Ping
        again = on("ping.hit").send("ping.hit")
        late = on("order.ship").send("order.pay")

        @on_enter("order.pending")
        def never(self) -> None: ...

    assert [(one.kind, one.where) for one in lint(Shop)] == [
        ("cycle", where(Shop, "again")),
        ("refused", where(Shop, "late")),
        ("unreachable", where(Shop, "never")),
        ("alone", f"{Shop.__module__}.{Shop.__qualname__}.spare"),
    ]


def test_an_abstract_class_has_nothing_to_find() -> None:
    """A mixin of reactions without machines is judged where it is used."""

    class Mixin(Orchestrator, abstract=True):
        never = on("order.ship").send("order.pay")

    class Shop(Mixin):
        order: Order

    assert lint(Mixin) == ()
    assert [kind for kind, *_rest in told(Shop)] == ["refused"]


# Unreachable ----------------------------------------------------------------------------------


def test_reactions_to_what_never_happens() -> None:
    """A state that no transition enters, or leaves, has no reactions that run; the others have."""

    class Shop(Orchestrator):
        order: Order

        @on_enter("order.pending", "order.paid")
        def enters(self) -> None: ...

        @on_exit("order.shipped", "order.pending", "order.paid")
        def leaves(self) -> None: ...

        @on("order.pay", "order.*", "*", "settled")
        def events(self) -> None: ...

        @timeout("order.pending", "order.shipped", minutes=1)
        def lasts(self) -> None: ...

    begins = "'order' begins in 'pending', which is not announced, and nothing leads there"
    stays = "no transition of 'order' leaves 'shipped'"
    assert told(Shop) == [
        ("unreachable", "enters", f"'enter:order.pending' never happens: {begins}"),
        ("unreachable", "leaves", f"'exit:order.shipped' never happens: {stays}"),
    ]


def test_an_initial_state_that_is_entered_again() -> None:
    """A transition that leads back to the initial state enters it, guarded or not."""

    class Room(Orchestrator):
        light: Light
        ping: Ping

        @on_enter("light.off", "ping.up")
        @on_exit("ping.up")
        def runs(self) -> None: ...

    assert lint(Room) == ()


def test_an_internal_transition_enters_and_leaves_nothing() -> None:
    """What a machine does without leaving its state is neither an entry nor an exit."""

    class Counter(StateMachine):
        idle = State(initial=True)
        tick = idle.to.itself(internal=True)

    class Clock(Orchestrator):
        counter: Counter

        @on_enter("counter.idle")
        @on_exit("counter.idle")
        @on("counter.tick")
        def runs(self) -> None: ...

    assert [(kind, problem.partition(":")[0]) for kind, _name, problem in told(Clock)] == [
        ("unreachable", "'enter"),
        ("unreachable", "'exit"),
    ]


def test_joins_that_never_hold() -> None:
    """Two states that exclude each other never hold together; alternatives of one machine may."""

    class Shop(Orchestrator):
        order: Order
        light: Light
        items: Fleet[str, Light]

        @when("order.paid", "order.shipped", "light.on")
        def never(self) -> None: ...

        @when(("order.paid", "order.shipped"), ("order.paid", "light.on"))
        def may(self) -> None: ...

        @when("order.pending", ("order.paid", "light.on"))
        def may_by_another_machine(self) -> None: ...

        @when(items=every("on"))
        @when("order.paid", items=at_least(2, "off"))
        @when("order.paid", items=none("on"))
        def may_in_a_fleet(self) -> None: ...

    assert lint(Shop) == (
        Lint(
            "unreachable",
            where(Shop, "never"),
            "'order.paid' and 'order.shipped' never hold together",
            "Ask for one of several states in a tuple: (..., ...)",
        ),
    )


@needs_3
def test_states_of_a_chart_that_nothing_leads_to() -> None:
    """Of a chart that may have lost states, what asks for them never runs."""

    class Chart(StateChart):
        validate_disconnected_states = False
        here = State(initial=True)
        there = State()
        lost = State()
        limbo = State()
        go = here.to(there) | there.to(here)
        find = lost.to(limbo) | limbo.to(here)

    class Hall(Orchestrator):
        chart: Chart
        light: Light
        items: Fleet[str, Chart]
        sends = on("light.flip").send("chart.find", "chart.go", "items.find")
        maybe = on("light.flip").send("chart.find", if_enabled=True)

        @on("chart.find")
        @on_enter("chart.lost")
        @on_exit("chart.lost")
        @timeout("chart.lost", seconds=1)
        @when("light.on", ("chart.lost", "chart.limbo"))
        @when("light.on", "chart.lost", "chart.here")
        @when(items=every("lost"))
        @when(items=none("lost"))
        @when(("chart.lost", "chart.here"))
        def reacts(self) -> None: ...

    assert told(Hall) == [
        (
            "refused",
            "sends",
            "it sends in vain chart.find: it can be in no state that has the event",
        ),
        (
            "refused",
            "sends",
            "it sends in vain items.find: it can be in no state that has the event",
        ),
        (
            "refused",
            "maybe",
            "it never sends chart.find: it can be in no state that has the event",
        ),
        (
            "unreachable",
            "reacts",
            "'chart.find' never happens: 'chart' can be in no state that has the event 'find'",
        ),
        (
            "unreachable",
            "reacts",
            "'enter:chart.lost' never happens: no transition leads 'chart' to 'lost'",
        ),
        (
            "unreachable",
            "reacts",
            "'exit:chart.lost' never happens: no transition leads 'chart' to 'lost'",
        ),
        (
            "unreachable",
            "reacts",
            "'timeout:chart.lost' never happens: no transition leads 'chart' to 'lost'",
        ),
        (
            "unreachable",
            "reacts",
            "'(chart.lost | chart.limbo)' never holds: no transition leads there",
        ),
        ("unreachable", "reacts", "'chart.lost' never holds: no transition leads there"),
        ("unreachable", "reacts", "'every(items.lost)' never holds: no transition leads there"),
    ]


def test_a_union_is_whatever_one_of_its_classes_is() -> None:
    """Of a machine of several classes, what happens to one of them may happen."""

    class Lamp(StateMachine):
        off = State(initial=True)
        on = State(final=True)
        flip = off.to(on)

    class Room(Orchestrator):
        light: Light | Lamp
        lamp: Lamp

        @on_enter("light.off", "lamp.off")
        def again(self) -> None: ...

        @on_exit("light.on")
        def out(self) -> None: ...

        more = on_enter("light.on").send("light.flip")
        much = on_enter("lamp.on").send("lamp.flip")

    assert [(kind, name) for kind, name, _problem in told(Room)] == [
        ("unreachable", "again"),
        ("refused", "much"),
    ]
    assert [(kind, name) for kind, name, _problem in told(Room(Lamp(), Lamp()))] == [
        ("unreachable", "again"),
        ("unreachable", "again"),
        ("unreachable", "out"),
        ("refused", "more"),
        ("refused", "much"),
    ]


def test_a_union_of_orchestrators() -> None:
    """What one of several orchestrators has, the topics of their holder may be about."""

    class Desk(Orchestrator):
        order: Order
        late = on("order.ship").send("order.pay")

    class OtherDesk(Orchestrator):
        order: Order
        light: Light
        shines = on("order.ship").send("light.flip")

    class Hall(Orchestrator):
        desk: Desk | OtherDesk
        back = on_enter("desk.light.on").send("desk.order.cancel")

        @on_enter("desk.order.pending", "desk.light.off")
        def never(self) -> None: ...

    begins = "'desk.order' begins in 'pending', which is not announced, and nothing leads there"
    then = "it is in no state then that has the event"
    assert told(Hall) == [
        ("unreachable", "never", f"'enter:desk.order.pending' never happens: {begins}"),
        ("refused", "late", f"it sends in vain order.pay after 'order.ship': {then}"),
    ]


# Refused --------------------------------------------------------------------------------------


def test_routes_to_what_the_machine_does_not_take_then() -> None:
    """A route back to its own machine is in vain where no state then has the event."""

    class Shop(Orchestrator):
        order: Order
        again = on("order.ship").send("order.pay")
        late = on_enter("order.shipped").send("order.cancel")
        left = on_exit("order.paid").send("order.ship")
        timed = timeout("order.pending", minutes=1).send("order.ship")
        joined = when(("order.shipped", "order.cancelled")).send("order.pay")
        forever = on("order.cancel").send("order.pay", cond="never")

    assert lint(Shop)[0] == Lint(
        "refused",
        where(Shop, "again"),
        "it sends in vain order.pay after 'order.ship': it is in no state then that has the event",
        "Send what it takes then, or react to something else",
    )
    assert [(kind, name) for kind, name, _problem in told(Shop)] == [
        ("refused", "again"),
        ("refused", "late"),
        ("refused", "left"),
        ("refused", "timed"),
        ("refused", "joined"),
        ("refused", "forever"),
    ]


def test_routes_to_what_it_may_take_then() -> None:
    """What one of the states takes in which the machine may be is not told."""

    class Shop(Orchestrator):
        order: Order
        light: Light
        ships = on("order.pay").send("order.ship")
        cancels = on("order.*").send("order.cancel")
        all_of_it = on("*").send("order.pay")
        at_rest = on("settled").send("order.ship")
        leaves = on_exit("order.pending").send("order.ship")
        in_time = timeout("order.pending", minutes=1).send("order.cancel")
        joins = when(("order.pending", "light.on")).send("order.ship")
        holds = when("order.paid").send("order.ship")
        elsewhere = on("order.ship").send("light.flip")

    assert lint(Shop) == ()


def test_if_enabled_is_for_what_is_refused_sometimes() -> None:
    """With `if_enabled` a target is told only if none of the topics leaves a state that has it."""

    class Shop(Orchestrator):
        order: Order
        sometimes = on("order.pay", "order.ship").send("order.ship", if_enabled=True)
        never = on("order.ship", "order.cancel").send("order.pay", if_enabled=True)
        one_of_two = on("order.pay", "order.ship").send("order.ship")

    assert [(name, problem.partition(":")[0]) for _kind, name, problem in told(Shop)] == [
        ("never", "it never sends order.pay after 'order.ship'"),
        ("never", "it never sends order.pay after 'order.cancel'"),
        ("one_of_two", "it sends in vain order.ship after 'order.ship'"),
    ]


def test_targets_are_sent_one_after_the_other() -> None:
    """What an earlier target of the same route makes of the machine counts."""

    class Shop(Orchestrator):
        order: Order
        light: Light
        both = on("light.flip").send("order.pay", "order.ship")
        paid = on("order.pay").send("order.ship", "order.pay")

    assert [(name, problem.partition(":")[0]) for _kind, name, problem in told(Shop)] == [
        ("paid", "it sends in vain order.pay after 'order.pay'")
    ]


class Round(StateMachine):
    """A machine that goes round in three steps."""

    idle = State(initial=True)
    busy = State()
    done = State()
    start = idle.to(busy)
    finish = busy.to(done)
    reset = done.to(idle)


def helped(*_given: Any) -> None:
    """Be given something."""


def moved(kind: str) -> Any:
    """Return an orchestrator in which something moves the machine before a route's turn."""

    class Selfish(Round):
        def after_start(self) -> None:
            self.finish()

    class Odd(Round):
        def after_start(self, event_data: Any) -> None: ...

    class Asking(Round):
        def after_start(self, orc: Any) -> None:
            orc.light.flip()

    class Caller(StateMachine):
        off = State(initial=True)
        on = State()
        flip = off.to(on) | on.to(off)

        def on_flip(self, orc: Any) -> None:
            orc.it.finish()

    class ByReaction(Orchestrator):
        it: Round
        late = on("it.start").send("it.reset")

        @on_enter("it.busy")
        def moves(self) -> None:
            self.it.finish()

    class BySender(Orchestrator):
        it: Round
        light: Light
        late = on("it.start").send("it.reset")

        @on("light.flip")
        def goes_on(self) -> None:
            self.it.start()
            self.it.finish()

    class ByOpenBody(Orchestrator):
        it: Round
        late = on("it.start").send("it.reset")

        @on("it.*")
        def moves(self) -> None:
            helped(self)

    class ByBroadcast(Orchestrator):
        it: Round
        late = on("it.start").send("it.reset")

        @on("*")
        def moves(self) -> None:
            self.broadcast("finish")

    class ByItself(Orchestrator):
        it: Selfish
        late = on("it.start").send("it.reset")

    class ByOddCallback(Orchestrator):
        it: Odd
        late = on("it.start").send("it.reset")

    class ByCallback(Orchestrator):
        it: Asking
        light: Caller
        late = on("it.start").send("it.reset")

    class ByTarget(Orchestrator):
        it: Round
        light: Caller
        late = on("it.start").send("light.flip", "it.reset")

    class BySameTarget(Orchestrator):
        it: Round
        light: Caller
        late = on("it.start").send("it.finish", "it.reset")

    class ByTimer(Orchestrator):
        it: Round
        light: Caller
        late = timeout("it.busy", minutes=1).send("light.flip", "it.reset")

    class ByBound(Orchestrator):
        it: Round
        late = on("it.start").send("it.reset")
        bound = on("it.start").send(Round().finish)

    class ByJoin(Orchestrator):
        it: Round
        light: Light
        late = when("it.busy").send("it.reset")

        @when("it.busy", "light.on")
        def moves(self) -> None:
            self.it.finish()

    class Bound(Orchestrator):
        it: Round
        late = on("it.start").send(Round().finish, "it.reset")

    return locals()[kind]


MOVED = (
    *(
        "ByReaction",
        "BySender",
        "ByOpenBody",
        "ByBroadcast",
        "ByItself",
        "ByOddCallback",
        "ByCallback",
    ),
    *("ByTarget", "BySameTarget", "ByTimer", "ByBound", "ByJoin", "Bound"),
)


@pytest.mark.parametrize("kind", MOVED)
def test_a_machine_that_may_be_moved_before_the_turn(kind: str) -> None:
    """A route is not told if something may move its machine to where it takes the event."""
    assert lint(moved(kind)) == ()


def test_a_machine_that_is_moved_elsewhere() -> None:
    """A move before the turn excuses a route only if the machine takes the event where it is then.

    So does none of a reaction to something else, of a join, or of a timer.
    """

    class Shop(Orchestrator):
        it: Round
        light: Light
        late = on("it.start").send("it.start")
        back = on("it.reset").send("it.reset")

        @on("it.start")
        def moves(self) -> None:
            self.it.finish()
            self.light.flip()

        @on("light.flip")
        def then(self) -> None:
            self.it.reset()

        @timeout("it.idle", minutes=1)
        @when("it.idle", "light.on")
        def late_(self) -> None:
            self.it.start()
            self.it.finish()

    assert [(kind, name) for kind, name, _problem in told(Shop)] == [
        ("refused", "late"),
        ("refused", "back"),
    ]


def test_members_of_a_fleet_are_many() -> None:
    """What one member did says nothing of the others; within one orchestrator it does."""

    class Desk(Orchestrator):
        order: Order
        late = on("order.ship").send("order.pay")

    class Hall(Orchestrator):
        orders: Fleet[str, Order]
        desks: Fleet[str, Desk]
        desk: Desk
        every_order = on("orders.ship").send("orders.pay")
        every_desk = on("desks.order.ship").send("desks.order.pay")
        one_desk = on("desk.order.ship").send("desk.order.pay")

        @on_enter("desks.order.pending")
        def never(self) -> None: ...

    assert [(kind, name) for kind, name, _problem in told(Hall)] == [
        ("refused", "one_desk"),
        ("unreachable", "never"),
        ("refused", "late"),
    ]


@needs_3
def test_what_a_chart_does_by_itself() -> None:
    """Where a chart may go on by itself, the states behind count as well."""

    class Chart(StateChart):
        class work(State.Compound):  # noqa: N801 - a state
            first = State(initial=True)
            done = State(final=True)
            finish = first.to(done)

        rest = State()
        end = State(final=True)
        done_state_work = work.to(rest)
        close = rest.to(end)
        reopen = rest.to(work)

    class Eventless(StateChart):
        one = State(initial=True)
        two = State()
        three = State(final=True)
        go = one.to(two)
        two.to(three, cond="is_ready")
        close = three.from_(one, two)

        def is_ready(self) -> bool:
            return True

    class Hall(Orchestrator):
        chart: Chart
        other: Eventless
        good = on("chart.finish").send("chart.close")
        bad = on("chart.close").send("chart.finish")
        goes = on("other.go").send("other.close")
        back = on("other.go").send("other.go")

    assert [(kind, name) for kind, name, _problem in told(Hall)] == [
        ("refused", "bad"),
        ("refused", "back"),
    ]


@needs_3
def test_parallel_and_history_states() -> None:
    """Regions are active together, and a history state leads back to whatever was."""

    class Chart(StateChart):
        class both(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                a = State(initial=True)
                b = State()
                to_b = a.to(b)

            class right(State.Compound):  # noqa: N801
                c = State(initial=True)
                d = State()
                to_d = c.to(d)

        class work(State.Compound):  # noqa: N801
            x = State(initial=True)
            y = State()
            memory = statemachine.HistoryState()
            to_y = x.to(y)

        out = both.to(work)
        back = work.to(both)
        pause = work.to(work.memory)
        stay = both.to(both.left, internal=True)

    class Hall(Orchestrator):
        chart: Chart
        other_region = on("chart.to_b").send("chart.to_d")
        same_region = on("chart.to_b").send("chart.to_b")
        remembered = on("chart.pause").send("chart.to_y")
        left_it = on("chart.out").send("chart.to_b")

        @when("chart.b", "chart.d", "chart.both")
        @on_enter("chart.both", "chart.left", "chart.a", "chart.work", "chart.x", "chart.y")
        @on_exit("chart.c", "chart.both")
        def runs(self) -> None: ...

        @when("chart.a", "chart.b")
        @when("chart.a", "chart.x")
        def never(self) -> None: ...

    assert [(kind, name) for kind, name, _problem in told(Hall)] == [
        ("refused", "same_region"),
        ("refused", "left_it"),
        ("unreachable", "never"),
        ("unreachable", "never"),
    ]


@needs_3
def test_what_is_told_to_be_impossible_never_happens() -> None:
    """Whatever is sent, a chart is, goes, and comes only where its shape says that it may."""

    class Chart(StateChart):
        validate_disconnected_states = False

        class both(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                a = State(initial=True)
                b = State()
                step = a.to(b) | b.to(a)

            class right(State.Compound):  # noqa: N801
                c = State(initial=True)
                d = State()
                old = statemachine.HistoryState()
                old.to(d)
                step = c.to(d)

            again = left.a.to(right)

        class work(State.Compound):  # noqa: N801
            x = State(initial=True)
            y = State(final=True)
            memory = statemachine.HistoryState(type="deep")
            memory.to(y)
            step = x.to(y)

        lost = State()
        out = both.to(work.memory)
        back = work.to(both.right.old)
        found = lost.to(both)
        jump = work.to(both.left.b)
        done_state_work = work.to(both)

    class Hall(Orchestrator):
        chart: Chart = attrs.field(factory=Chart)

    shape = Shape(Chart)
    assert shape.reachable == {*"abcdxy", "both", "left", "right", "work"}
    for sent in product(("step", "again", "out", "back", "jump"), repeat=3):
        hall = Hall()
        for event in sent:
            before = active_ids(hall.chart)
            with tracing(hall) as trace:
                hall.chart.send(event)
            now = active_ids(hall.chart)
            assert now <= shape.moved(before, [event])
            assert all(shape.fits(one, other) for one, other in product(now, now))
            records: tuple[Any, ...] = tuple(trace.filter(Transitioned))
            for record in records:
                moves = shape.taking(record.event or "*")
                assert {*record.exited} <= {state for move in moves for state in move.exited}
                assert all(any(move.enters(one) for move in moves) for one in record.entered)


# Cycles ---------------------------------------------------------------------------------------


def loop_of(cls: Any, start: Callable[[Any], Any]) -> tuple[str, ...]:
    """Return the loop that a run of an orchestrator is stopped in."""
    orchestrator = cls()
    with pytest.raises(RunawayCascadeError) as caught:
        start(orchestrator)
    return caught.value.loop


def loops_in(cls: Any) -> list[str]:
    """Return the loops that are told."""
    assert {one.fix for one in lint(cls) if one.kind == "cycle"} <= {
        "Break it with a cond= or a guard"
    }
    told_as = "it goes round in a loop that nothing breaks: "
    return [one.problem.removeprefix(told_as) for one in lint(cls) if one.kind == "cycle"]


def test_a_loop_is_told_as_it_is_when_it_runs_away() -> None:
    """Routes that lead to each other for ever are told like the error that would stop them."""

    class Game(Orchestrator, max_reactions=50):
        ping: Ping = attrs.field(factory=Ping)
        pong: Ping = attrs.field(factory=Ping)
        serve = on("pong.hit").send("ping.hit")
        return_ball = on("ping.hit").send("pong.hit")

    (loop,) = loops_in(Game)
    assert loop == "ping.hit → Game.return_ball → pong.hit → Game.serve → ping.hit"
    assert tuple(loop.split(" → ")) == loop_of(Game, lambda game: game.ping.hit())
    assert [one.where for one in lint(Game)] == [where(Game, "serve")]


def test_a_loop_through_states_and_wildcards() -> None:
    """Entries, exits and wildcards lead on as events do; a light that goes out leads nowhere."""

    class House(Orchestrator, max_reactions=50):
        light: Light = attrs.field(factory=Light)
        lamp: Light = attrs.field(factory=Light)
        one = on_exit("light.on", "light.off").send("lamp.flip")
        two = on_exit("lamp.off").send("light.flip")

    class Alternately(Orchestrator, max_reactions=50):
        light: Light = attrs.field(factory=Light)
        lamp: Light = attrs.field(factory=Light)
        there = on("light.flip").send("lamp.flip")
        first = on_enter("lamp.on").send("light.flip")
        second = on_enter("lamp.off").send("light.flip")

    class Blinking(Orchestrator, max_reactions=50):
        light: Light = attrs.field(factory=Light)
        blink = on("*").send("light.flip")

    assert loops_in(House) == []
    (loop,) = loops_in(Alternately)
    assert tuple(loop.split(" → ")) == loop_of(Alternately, lambda house: house.light.flip())
    assert loops_in(Blinking) == ["* → Blinking.blink → *"]
    assert loop_of(Blinking, lambda house: house.light.flip()) == ("*", "Blinking.blink", "*")


def test_a_loop_that_ends() -> None:
    """Where a machine has gone on and refuses the event, the loop has an end."""

    class Payment(StateMachine):
        fresh = State(initial=True)
        captured = State()
        capture = fresh.to(captured) | captured.to(captured)

    class Shop(Orchestrator):
        order: Order
        payment: Payment
        captures = on("order.pay").send("payment.capture")
        pays = on("payment.capture").send("order.pay")

    assert lint(Shop) == ()


def test_a_loop_that_something_guards() -> None:
    """A guard, a validator, `cond` or `if_enabled` may break a loop, and so it is not told."""

    class Guarded(StateMachine):
        up = State(initial=True)
        hit = up.to(up, cond="is_ready")

        def is_ready(self) -> bool:
            return True

    class Unless(StateMachine):
        up = State(initial=True)
        hit = up.to(up, unless="is_ready")

        def is_ready(self) -> bool:
            return False

    class Validated(StateMachine):
        up = State(initial=True)
        hit = up.to(up, validators="check")

        def check(self) -> None: ...

    for kind in (Guarded, Unless, Validated):

        class Game(Orchestrator):
            ping: Ping
            pong: kind  # type: ignore[valid-type]
            serve = on("pong.hit").send("ping.hit")
            back = on("ping.hit").send("pong.hit")

        assert lint(Game) == ()

    class Asked(Orchestrator):
        ping: Ping
        again = on("ping.hit", cond="is_ready").send("ping.hit")
        maybe = on("ping.hit").send("ping.hit", if_enabled=True)
        is_ready: bool = False

        @on("ping.hit")
        def by_a_body(self) -> None:
            self.ping.hit()

    assert lint(Asked) == ()


def test_a_loop_that_something_stops() -> None:
    """A loop is not told if something that it sets off takes a machine out of its states."""

    class Counter(StateMachine):
        few = State(initial=True)
        many = State(final=True)
        add = few.to(many)

    class Stopping(Ping):
        def on_hit(self) -> None:
            self.drop()

    class Stopped(Orchestrator):
        ping: Ping
        counter: Counter
        again = on("ping.hit").send("ping.hit")
        count = on("ping.hit").send("counter.add", if_enabled=True)
        stop = on_enter("counter.many").send("ping.drop")

    class Broadcasting(Orchestrator):
        ping: Ping
        again = on("ping.hit").send("ping.hit")

        @on("ping.*")
        def stop(self) -> None:
            self.broadcast("drop")

    class ByItself(Orchestrator):
        ping: Stopping
        again = on("ping.hit").send("ping.hit")

    class Tiring(StateMachine):
        up = State(initial=True)
        down = State(final=True)
        hit = up.to(up)
        pause = up.to(down, cond="is_tired") | up.to(up)

        def is_tired(self) -> bool:
            return False

    class Tired(Orchestrator):
        ping: Tiring
        again = on("ping.hit").send("ping.hit")
        pauses = on("ping.hit").send("ping.pause")

    class Also(Orchestrator):
        ping: Ping
        light: Light
        again = on("ping.hit").send("ping.hit")
        stop = on("light.flip").send("ping.drop")
        shine = on("ping.hit").send("ping.hit", if_enabled=True)

    assert loops_in(Stopped) == loops_in(Broadcasting) == loops_in(ByItself) == []
    assert loops_in(Tired) == []
    assert loops_in(Also) == ["ping.hit → Also.again → ping.hit"]


def test_loops_that_are_made_of_others_are_not_told() -> None:
    """Two loops that share a machine are two, and not a third one that passes both."""

    class Game(Orchestrator):
        a: Ping
        b: Ping
        c: Ping
        one = on("a.hit").send("b.hit")
        two = on("b.hit").send("a.hit")
        three = on("a.hit").send("c.hit")
        four = on("c.hit").send("a.hit")
        led_to = on("a.hit").send("b.drop", if_enabled=True)

    class Twice(Game):
        led_to = on("settled").send("b.hit")

    assert loops_in(Game) == ["a.hit → Game.three → c.hit → Game.four → a.hit"]
    assert loops_in(Twice) == [
        "a.hit → Twice.one → b.hit → Twice.two → a.hit",
        "a.hit → Twice.three → c.hit → Twice.four → a.hit",
    ]


def test_loops_in_fleets_and_in_orchestrators() -> None:
    """A loop is found at any depth, told as its class calls it, and once for each class."""

    class Desk(Orchestrator):
        ping: Ping
        pong: Ping
        serve = on("pong.hit").send("ping.hit")
        back = on("ping.hit").send("pong.hit")

    class Hall(Orchestrator):
        left: Desk
        right: Desk
        pings: Fleet[str, Ping]
        all_of_them = on("pings.hit").send("pings.hit")

    class Across(Orchestrator):
        left: Desk
        right: Ping
        there = on("left.ping.hit").send("right.hit")
        here = on("right.hit").send("left.ping.hit")

    desk = "ping.hit → Desk.back → pong.hit → Desk.serve → ping.hit"
    assert loops_in(Hall) == ["pings.hit → Hall.all_of_them → pings.hit", desk]
    assert loops_in(Across) == [
        "left.ping.hit → Across.there → right.hit → Across.here → left.ping.hit",
        desk,
    ]


def test_a_search_that_would_be_too_long_ends() -> None:
    """So many machines that nobody could look at all of their states are looked at in part."""
    count = 14
    fields: dict[str, Any] = {f"m{index}": Light for index in range(count)}
    routes: dict[str, Any] = {
        f"r{index}": on_enter(f"m{index}.on").send(f"m{(index + 1) % count}.flip")
        for index in range(count)
    }
    namespace = {"__annotations__": fields, "__module__": __name__, **routes}
    meta: Any = type(Orchestrator)
    many = meta("Many", (Orchestrator,), namespace)
    assert loops_in(many) == []


@needs_3
def test_loops_through_charts() -> None:
    """Compound states are followed; what is parallel or eventless is not."""

    class Nested(StateChart):
        class work(State.Compound):  # noqa: N801
            a = State(initial=True)
            b = State()
            step = a.to(b) | b.to(a)
            note = a.to.itself(internal=True) | b.to.itself(internal=True)

        tick = work.to(work.a, internal=True)
        end = State(final=True)
        stop = work.to(end)

    class Back(StateChart):
        rest = State(initial=True)

        class work(State.Compound):  # noqa: N801
            a = State(initial=True)
            b = State()
            go = a.to(b)

        go = rest.to(work)
        stop = work.to(rest)

    class Both(StateChart):
        class both(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                a = State(initial=True)
                step = a.to(a)

            class right(State.Compound):  # noqa: N801
                c = State(initial=True)
                tock = c.to(c)

    class Hall(Orchestrator):
        nested: Nested
        both: Both
        back: Back
        steps = on("nested.step").send("nested.step")
        enters = on_enter("nested.b").send("nested.step")
        again = on_enter("nested.a").send("nested.step")
        stops = on_enter("nested.end").send("nested.step")
        not_followed = on("both.step").send("both.step")
        begins = on_exit("back.work").send("back.go")
        ends = on_enter("back.a").send("back.stop")
        no_end = on_enter("back.b").send("back.stop")

    assert loops_in(Hall) == [
        "nested.step → Hall.steps → nested.step",
        "enter:nested.a → Hall.again → enter:nested.b → Hall.enters → enter:nested.a",
        "enter:back.a → Hall.ends → exit:back.work → Hall.begins → enter:back.a",
    ]


# Alone ----------------------------------------------------------------------------------------


def test_machines_that_nothing_connects() -> None:
    """A machine that no reaction, callback or other code is about is alone, at any depth."""

    class Desk(Orchestrator):
        order: Order
        spare: Light

        @on("order.pay")
        def ships(self) -> None:
            self.order.ship()

    class Hall(Orchestrator):
        desk: Desk
        desks: Fleet[str, Desk]
        lamp: Light
        lamps: Fleet[str, Light]

        @on("desk.order.pay")
        def hears(self) -> None: ...

    name = f"{Hall.__module__}.{Hall.__qualname__}"
    fix = "Let a reaction name it, or leave it out of the orchestrator"
    assert lint(Hall) == tuple(
        Lint("alone", f"{name}.{path}", f"nothing connects {path!r} with another machine", fix)
        for path in ("desk.spare", "desks.spare", "lamp", "lamps")
    )


class Watching(StateMachine):
    """A machine that looks at its peers in a guard."""

    off = State(initial=True)
    on = State(final=True)
    flip = off.to(on, cond="peers_stand")

    def peers_stand(self, orc: Any) -> bool:
        return bool(orc.lamp.off.is_active)


class Telling(StateMachine):
    """A machine that sends in a callback."""

    off = State(initial=True)
    on = State(final=True)
    flip = off.to(on)

    def on_flip(self, orc: Any) -> None:
        orc.lamp.flip()


def connected(kind: str) -> Any:
    """Return an orchestrator in which something is about each machine."""

    class Target(Orchestrator):
        light: Light
        lamp: Light
        sends = on("light.flip").send("lamp.flip")

    class Settled(Orchestrator):
        lamp: Light

        @on("settled")
        def save(self) -> None: ...

    class Everything(Orchestrator):
        lamp: Light

        @on("*")
        def audit(self) -> None: ...

    class OfOne(Orchestrator):
        lamp: Light

        @on("lamp.*")
        def audit(self) -> None: ...

    class Guard(Orchestrator):
        light: Watching
        lamp: Light

    class Callback(Orchestrator):
        light: Telling
        lamp: Light

    class Look(Orchestrator):
        light: Light
        lamp: Light

        @on("light.flip")
        def looks(self) -> None:
            print([self.lamp.off.is_active for _ in range(2)])

    class Condition(Orchestrator):
        light: Light
        lamp: Light

        @on("light.flip", cond=lambda self: self.lamp.off.is_active)
        def looks(self) -> None: ...

    class Property(Orchestrator):
        lamp: Light

        @property
        def is_off(self) -> bool:
            return bool(self.lamp.off.is_active)

    class ByString(Orchestrator):
        lamp: Light

        def outside(self, send: Any) -> None:
            send("lamp.flip")

    class Machines(Orchestrator):
        lamp: Light

        @classmethod
        def outside(cls, orchestrator: Any) -> int:
            return len(orchestrator.machines)

    class Open(Orchestrator):
        light: Light
        lamp: Light

        @on("light.flip")
        def hands_on(self) -> None:
            print(vars(self))

    class Signal(Orchestrator):
        lamp: Light
        rang = domain_signal()

        @on("rang")
        def hears(self) -> None:
            self.broadcast("flip")

    class Bound(Orchestrator):
        light: Light
        lamp: Light
        sends = on("light.flip").send(Light().flip)

    class Joined(Orchestrator):
        light: Light
        lamp: Light

        @when("light.on", "lamp.on")
        def joins(self) -> None: ...

    class Timed(Orchestrator):
        lamp: Light

        @timeout("lamp.on", seconds=1)
        def late(self) -> None: ...

    class Inner(Orchestrator):
        desk: OfOne
        rest: Settled

    class Around(Orchestrator):
        desk: Target

        @on("desk.*")
        def audit(self) -> None: ...

    return locals()[kind]


CONNECTED = (
    *(
        "Target",
        "Settled",
        "Everything",
        "OfOne",
        "Guard",
        "Callback",
        "Look",
        "Condition",
        "Property",
    ),
    *("ByString", "Machines", "Open", "Signal", "Bound", "Joined", "Timed", "Inner", "Around"),
)


@pytest.mark.parametrize("kind", CONNECTED)
def test_machines_that_something_is_about(kind: str) -> None:
    """A reaction, a wildcard, a rest, a look, a name: whatever is about a machine connects it."""
    assert lint(connected(kind)) == ()


def test_rest_concerns_the_machines_below_it() -> None:
    """A reaction to the rest of an inner orchestrator is about its machines alone."""

    class Hall(Orchestrator):
        desk: connected("Settled")  # type: ignore[valid-type]
        spare: Light

    assert [path.rpartition(".")[2] for _kind, path, _problem in told(Hall)] == ["spare"]


def test_a_class_that_holds_its_own_kind() -> None:
    """It is entered once; what is named further below is not known, and not told."""

    class Node(Orchestrator):
        order: Order
        child: Node | None = None
        below = on("child.order.ship").send("child.order.pay")
        far = on("child.child.order.ship").send("child.child.order.pay")

        @when("child.order.paid", "child.order.shipped")
        @on_enter("child.order.pending")
        def unknown(self) -> None: ...

    assert lint(Node) == ()
    assert [name for _kind, name, _problem in told(Node(Order(), Node(Order())))] == [
        "below",
        "unknown",
        "unknown",
    ]


def test_a_fleet_of_nobody_knows_what() -> None:
    """Of a field whose classes nothing tells, nothing is told; of an instance, what it holds."""

    class Hall(Orchestrator):
        items: Fleet[str, Unknown]  # type: ignore[name-defined]  # noqa: F821

        @on_enter("items.pending")
        def never(self) -> None: ...

    with pytest.raises(DeclarationError, match="cannot be resolved yet"):
        lint(Hall)
    assert lint(Hall(Fleet())) == ()
    assert [name for _kind, name, _problem in told(Hall(Fleet({"a": Order()})))] == ["never"]


# Examples -------------------------------------------------------------------------------------

FOUND = {
    # What does not work there, and so the class that has no timer, holds one machine.
    ("sweep", "Shop"): [("alone", "sweep.Shop.order")],
    # An order of the warehouse is confirmed by the log alone: no other machine waits for that.
    ("warehouse", "Order"): [("alone", "warehouse.Order.confirmation")],
}


@pytest.mark.parametrize("module", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_examples_have_no_mistakes(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every orchestrator of the examples is clean, but for what is known and meant."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    found = importlib.import_module(module)
    classes = {
        name: kind
        for name, kind in vars(found).items()
        if isinstance(kind, type) and issubclass(kind, Orchestrator) and kind is not Orchestrator
    }
    assert classes
    for name, kind in classes.items():
        expected = FOUND.get((module, name), [])
        assert [(one.kind, one.where) for one in lint(kind)] == expected
