"""What of an orchestration ran: in numbers, by name, and as text."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import statemachine
from conftest import needs_3, pickled
from statemachine import State, StateMachine
from statemachine.transition import Transition
from statemachine.transition_list import TransitionList

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    Orchestrator,
    ReactionErrors,
    Transitioned,
    VirtualClock,
    domain_signal,
    every,
    on,
    on_enter,
    on_exit,
    removed,
    subscribe,
    timeout,
    use_clock,
    when,
)
from statemachines_orchestrator import _covering as covering
from statemachines_orchestrator._covering import Covered, Tally, WiringCoverage, wiring_coverage
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from conftest import Engine

    HistoryState = statemachine.HistoryState
    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)
    HistoryState = getattr(statemachine, "HistoryState", None)


class Order(StateMachine):
    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)
    reset = processing.to(pending)


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    flip = off.to(on)
    dim = on.to(off)


class Shop(Orchestrator):
    """One of each kind."""

    order: Order
    light: Light
    low = domain_signal("runs out")

    @on("order.process", "low")
    def tell(self) -> None: ...

    @on_exit("order.pending", cond="is_open")
    def begin(self) -> None: ...

    @on("settled")
    def rest(self) -> None: ...

    signal = on_enter("order.shipped").send("light.flip")
    again = on("light.flip", "order.reset").send("light.flip", if_enabled=True)
    both = when("order.shipped", "light.on").send("light.dim")

    @when("order.pending", "light.on")
    def early(self) -> None: ...

    @timeout("order.processing", "light.on", seconds=5)
    def late(self) -> None: ...

    reset = timeout("order.processing", seconds=9).send("order.reset")
    is_open = False


def shop(engine: Engine, cls: Any = Shop) -> Any:
    return cls(engine.machine(Order)(), engine.machine(Light)())


def heard(engine: Engine, orchestrator: Any, *calls: Callable[[], Any]) -> Trace:
    """Return the trace of calls from outside."""
    with tracing(orchestrator) as trace:
        for call in calls:
            engine.run(call)
    return trace


def advanced(engine: Engine, clock: VirtualClock, seconds: float) -> Any:
    """Let time pass; with async machines it is awaited."""
    done = clock.advance(seconds)
    return done if engine.is_async else None


def covered(orchestrator: Any, *traces: Trace) -> WiringCoverage:
    """Return what ran; read from lines of JSON the traces tell the same, whoever is asked."""
    coverage = wiring_coverage(orchestrator, traces)
    assert coverage == wiring_coverage(
        orchestrator, [Trace.from_jsonl(trace.to_jsonl()) for trace in traces]
    )
    return coverage


def told(coverage: WiringCoverage) -> dict[str, dict[str, int]]:
    """Return all counts, in their order, without the kinds that have none."""
    kinds = attrs.asdict(coverage, recurse=False)
    return {kind: dict(one.seen) for kind, one in kinds.items() if one.seen}


def in_order(coverage: WiringCoverage) -> list[str]:
    """Return the names of everything declared."""
    return [name for kind in told(coverage).values() for name in kind]


# What counts ----------------------------------------------------------------------------------


def test_what_ran_is_counted_by_its_name(engine: Engine) -> None:
    """Everything declared has a row, in its order, with how often it ran, 0 if it never did."""
    owner = shop(engine)
    clock = use_clock(owner, VirtualClock())
    calls = [owner.order.process, lambda: advanced(engine, clock, 6), owner.order.ship]
    trace = heard(engine, owner, *calls)
    assert told(covered(Shop, trace)) == {
        "states": {
            "order.pending": 1,
            "order.processing": 1,
            "order.shipped": 1,
            "light.off": 1,
            "light.on": 1,
        },
        "transitions": {
            "order.process: pending → processing": 1,
            "order.ship: processing → shipped": 1,
            "order.reset: processing → pending": 0,
            "light.flip: off → on": 1,
            "light.dim: on → off": 1,
        },
        "reactions": {
            "tell, on order.process": 1,
            "tell, on low": 0,
            "begin, on exit:order.pending": 0,
            "rest, on settled": 2,
        },
        "joins": {
            "both, on order.shipped & light.on": 1,
            "early, on order.pending & light.on": 0,
        },
        "routes": {
            "signal, on enter:order.shipped": 1,
            "again, on light.flip": 1,
            "again, on order.reset": 0,
        },
        "timeouts": {
            "late, on timeout:order.processing": 1,
            "late, on timeout:light.on": 0,
            "reset, on timeout:order.processing": 0,
        },
    }


def test_names_stand_in_the_order_of_declaration() -> None:
    """That of the wiring and of the fields, whatever ran first, of a class and of an instance."""
    owner = Shop(Order(), Light())
    with tracing(owner) as trace:
        owner.publish("low")
        owner.light.flip()
    expected = [list(kind) for kind in told(wiring_coverage(Shop, [])).values()]
    assert [list(kind) for kind in told(covered(Shop, trace)).values()] == expected
    assert [list(kind) for kind in told(covered(owner, trace)).values()] == expected
    assert expected[2] == [
        "tell, on order.process",
        "tell, on low",
        "begin, on exit:order.pending",
        "rest, on settled",
    ]


def test_a_state_is_counted_as_often_as_it_was_entered(engine: Engine) -> None:
    """An initial state, which nobody hears entered, counts once as soon as it shows."""
    owner = shop(engine)
    assert covered(owner).states.seen["order.pending"] == 0
    once = heard(engine, owner, owner.order.process)
    assert covered(owner, once).states.seen["order.pending"] == 1
    more = heard(engine, owner, *[owner.order.reset, owner.order.process] * 2)
    assert dict(covered(owner, once, more).states.seen) == {
        "order.pending": 2,
        "order.processing": 3,
        "order.shipped": 0,
        "light.off": 1,
        "light.on": 1,
    }


def test_several_traces_add_up(engine: Engine) -> None:
    """One trace, or several, of one instance or of several; the parts of one tell what it tells."""
    one, two = shop(engine), shop(engine)
    first = heard(engine, one, one.order.process, one.order.ship)
    second = heard(engine, two, two.order.process)
    both = covered(Shop, first, second)
    assert both.transitions.seen["order.process: pending → processing"] == 2
    assert both.transitions.seen["order.ship: processing → shipped"] == 1
    assert both.reactions.seen["tell, on order.process"] == 2
    assert wiring_coverage(Shop, first) == covered(Shop, first)
    assert covered(Shop, first[:7], first[7:]) == covered(Shop, first)
    assert wiring_coverage(Shop, (one for one in (first, second))) == both


def test_a_reaction_whose_condition_said_no_did_not_run(engine: Engine) -> None:
    """Its turn never began; that of one that fails did."""

    class Open(Shop):
        is_open = True

        def begin(self) -> None:
            raise ValueError

    for cls, times in ((Shop, 0), (Open, 1)):
        owner = shop(engine, cls)
        with tracing(owner) as trace:
            if times:
                engine.raises(ReactionErrors, lambda: owner.order.process())  # noqa: B023
            else:
                engine.run(lambda: owner.order.process())  # noqa: B023
        assert covered(cls, trace).reactions.seen["begin, on exit:order.pending"] == times


def test_what_is_a_join_or_a_timeout_and_a_route_is_no_route() -> None:
    """Everything declared is counted once: by what it waits for, and only then by its body."""
    coverage = wiring_coverage(Shop, [])
    assert list(coverage.routes.seen) == [
        "signal, on enter:order.shipped",
        "again, on light.flip",
        "again, on order.reset",
    ]
    assert "both, on order.shipped & light.on" in coverage.joins.seen
    assert "reset, on timeout:order.processing" in coverage.timeouts.seen


def test_what_a_subclass_changes_is_covered_as_it_is() -> None:
    """What is removed is not declared, what is overridden keeps its row and its kind is its own."""

    class Less(Shop):
        tell = removed
        rest = removed
        both = removed

        def signal(self) -> None: ...

    coverage = wiring_coverage(Less, [])
    assert list(coverage.reactions.seen) == [
        "begin, on exit:order.pending",
        "signal, on enter:order.shipped",
    ]
    assert list(coverage.routes.seen) == ["again, on light.flip", "again, on order.reset"]
    assert list(coverage.joins.seen) == ["early, on order.pending & light.on"]


def test_what_was_subscribed_to_an_instance_is_not_declared(engine: Engine) -> None:
    """It has no row, and neither has a posted event."""
    owner = shop(engine)
    subscribe(owner, "order.process", lambda: None)
    subscribe(owner, "settled", lambda: owner.post("light.flip"), cond=lambda: not is_lit(owner))
    trace = heard(engine, owner, owner.order.process)
    coverage = covered(owner, trace)
    assert coverage.transitions.seen["light.flip: off → on"] == 1
    assert told(coverage)["reactions"] == {
        "tell, on order.process": 1,
        "tell, on low": 0,
        "begin, on exit:order.pending": 0,
        "rest, on settled": 1,
    }


def is_lit(owner: Any) -> bool:
    return bool(owner.light.current_state_value == "on")


def test_a_reaction_with_two_conditions_for_one_topic_is_one() -> None:
    """A record tells the name and the topic, so a row is no more than that."""

    class Twice(Orchestrator):
        light: Light

        @on("light.flip", cond=lambda: True)
        @on("light.flip", cond=lambda: False)
        def react(self) -> None: ...

    twice = Twice(Light())
    with tracing(twice) as trace:
        twice.light.flip()
    assert dict(covered(twice, trace).reactions.seen) == {"react, on light.flip": 1}


# Fleets and nesting ---------------------------------------------------------------------------


def test_the_members_of_a_fleet_are_counted_together(engine: Engine) -> None:
    """Names leave out the keys, even one that is the name of the field."""

    class Hall(Orchestrator):
        lights: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])

        @on("lights.flip")
        def tell(self) -> None: ...

        @when(lights=every("on"))
        def all_on(self) -> None: ...

    hall = Hall()
    hall.lights.update({key: engine.machine(Light)() for key in ("a", "lights", "c")})
    trace = heard(engine, hall, *(light.flip for light in hall.lights.values()))
    dim = heard(engine, hall, hall.lights["a"].dim, hall.lights["a"].flip)
    expected = {
        "states": {"lights.off": 1, "lights.on": 4},
        "transitions": {"lights.flip: off → on": 4, "lights.dim: on → off": 1},
        "reactions": {"tell, on lights.flip": 4},
        "joins": {"all_on, on every(lights.on)": 2},
    }
    assert told(covered(hall, trace, dim)) == expected
    assert told(covered(Hall, trace, dim)) == expected


class Room(Orchestrator):
    light: Light

    @on("light.flip")
    def tell(self) -> None: ...

    dim = on_enter("light.on").send("light.dim")


class House(Orchestrator, orchestrator_name="house"):
    hall: Room
    rooms: Fleet[str, Room] = attrs.field(factory=Fleet[str, Room])

    @on("rooms.light.flip", "hall.*")
    def tell(self) -> None: ...


def test_orchestrators_below_are_covered_under_their_names(engine: Engine) -> None:
    """Their machines and reactions have the names that lead to them, each topic its own words."""
    house = House(Room(engine.machine(Light)()))
    house.rooms["a"] = Room(engine.machine(Light)())
    house.rooms["b"] = Room(engine.machine(Light)())
    calls = [house.hall.light.flip, house.rooms["a"].light.flip, house.rooms["b"].light.flip]
    expected = {
        "states": {"hall.light.off": 1, "hall.light.on": 1, "rooms.light.off": 2}
        | {"rooms.light.on": 2},
        "transitions": {
            "hall.light.flip: off → on": 1,
            "hall.light.dim: on → off": 1,
            "rooms.light.flip: off → on": 2,
            "rooms.light.dim: on → off": 2,
        },
        "reactions": {
            "tell, on rooms.light.flip": 2,
            "tell, on hall.*": 2,
            "hall.tell, on light.flip": 1,
            "rooms.tell, on light.flip": 2,
        },
        "routes": {"hall.dim, on enter:light.on": 1, "rooms.dim, on enter:light.on": 2},
    }
    trace = heard(engine, house, *calls)
    assert told(covered(house, trace)) == expected
    assert told(covered(House, trace)) == expected


def test_of_an_instance_what_its_fields_hold_is_declared() -> None:
    """A subclass in a field brings its own reactions; of an empty field the annotation tells."""

    class Chatty(Room):
        tell = removed

        @on("light.dim")
        def chat(self) -> None: ...

    house = House(Chatty(Light()))
    reactions = in_order(wiring_coverage(house, []))[8:12]
    assert reactions == [
        "tell, on rooms.light.flip",
        "tell, on hall.*",
        "hall.chat, on light.dim",
        "rooms.tell, on light.flip",
    ]
    with tracing(house) as trace:
        house.hall.light.flip()
    assert covered(house, trace).reactions.seen["hall.chat, on light.dim"] == 1
    assert "hall.chat, on light.dim" not in covered(House, trace).reactions.seen
    assert covered(House, trace).reactions.seen["hall.tell, on light.flip"] == 0


class Tree(Orchestrator):
    light: Light
    left: Tree | None = None

    @on("light.flip")
    def tell(self) -> None: ...


def test_a_class_that_holds_its_own_kind_is_covered_once() -> None:
    """An instance is covered as deep as it goes."""
    top = Tree(Light(), Tree(Light(), Tree(Light())))
    with tracing(top) as trace:
        top.left.left.light.flip()  # type: ignore[union-attr]
    assert told(covered(Tree, trace))["reactions"] == {"tell, on light.flip": 0}
    assert told(covered(top, trace))["reactions"] == {
        "tell, on light.flip": 0,
        "left.tell, on light.flip": 0,
        "left.left.tell, on light.flip": 1,
    }
    assert covered(top, trace).states.missing == (
        "light.off",
        "light.on",
        "left.light.off",
        "left.light.on",
    )


def test_several_classes_in_one_place_are_covered_together(engine: Engine) -> None:
    """Their states and transitions merge, of a class with those of every class in the field."""

    class Broken(StateMachine):
        off = State(initial=True)
        lost = State(final=True)
        lose = off.to(lost)

    class Lamp(Orchestrator):
        light: Light | Broken

    class Shelf(Orchestrator):
        lamps: Fleet[str, Lamp] = attrs.field(factory=Fleet[str, Lamp])

    shelf = Shelf()
    shelf.lamps["a"] = Lamp(engine.machine(Light)())
    shelf.lamps["b"] = Lamp(engine.machine(Broken)())
    calls = [shelf.lamps["a"].light.flip, shelf.lamps["b"].light.lose]  # type: ignore[union-attr]
    trace = heard(engine, shelf, *calls)
    expected = {
        "states": {"lamps.light.off": 1, "lamps.light.on": 1, "lamps.light.lost": 1},
        "transitions": {
            "lamps.light.flip: off → on": 1,
            "lamps.light.dim: on → off": 0,
            "lamps.light.lose: off → lost": 1,
        },
    }
    assert told(covered(Shelf, trace)) == expected
    assert told(covered(shelf, trace)) == expected


def test_what_is_not_declared_has_no_row(engine: Engine) -> None:
    """Of machines, states and transitions that an annotation does not name nothing is told."""

    class Bright(StateMachine):
        off = State(initial=True)
        on = State()
        bright = State(final=True)
        flip = off.to(on)
        brighten = on.to(bright)

    class Other(Orchestrator):
        order: Order
        light: Bright

        @on("light.flip", "light.brighten")
        def tell(self) -> None: ...

    owner = Other(engine.machine(Order)(), engine.machine(Bright)())
    trace = heard(engine, owner, owner.order.process, owner.light.flip, owner.light.brighten)
    coverage = covered(Room, trace)
    assert dict(coverage.states.seen) == {"light.off": 1, "light.on": 1}
    assert dict(coverage.transitions.seen) == {
        "light.flip: off → on": 1,
        "light.dim: on → off": 0,
    }
    assert dict(coverage.reactions.seen) == {"tell, on light.flip": 1}


# Transitions ----------------------------------------------------------------------------------


def test_transitions_that_are_told_alike_are_one(engine: Engine) -> None:
    """Those of one event, source and target, whatever their guards; of several events, each."""

    class Door(StateMachine):
        shut = State(initial=True)
        ajar = State()
        push = shut.to(ajar, cond="no") | shut.to(ajar)
        pull = ajar.to(shut) | ajar.to.itself(internal=True)
        touch = shut.to(shut, internal=True)
        hit = push | ajar.to.itself()

        def no(self) -> bool:
            return False

    class Flat(Orchestrator):
        door: Door

    flat = Flat(engine.machine(Door)())
    calls = [flat.door.touch, flat.door.push, flat.door.hit, flat.door.pull, flat.door.hit]
    assert told(covered(flat, heard(engine, flat, *calls))) == {
        "states": {"door.shut": 1, "door.ajar": 3},
        "transitions": {
            "door.push: shut → ajar": 1,
            "door.hit: shut → ajar": 1,
            "door.touch: shut → shut": 1,
            "door.pull: ajar → shut": 1,
            "door.pull: ajar → ajar": 0,
            "door.hit: ajar → ajar": 1,
        },
    }


def test_a_transition_that_leaves_nothing_shows_its_source(engine: Engine) -> None:
    """An internal one exits and enters no state, and took place in one."""

    class Counter(StateMachine):
        ready = State(initial=True)
        over = State(final=True)
        count = ready.to.itself(internal=True)
        stop = ready.to(over)

    class Hall(Orchestrator):
        counter: Counter

    hall = Hall(engine.machine(Counter)())
    trace = heard(engine, hall, hall.counter.count, hall.counter.count)
    assert told(covered(hall, trace)) == {
        "states": {"counter.ready": 1, "counter.over": 0},
        "transitions": {"counter.count: ready → ready": 2, "counter.stop: ready → over": 0},
    }


def test_an_event_has_one_spelling() -> None:
    """`error_disk` is `error.disk`, as in topics."""

    class Disk(StateMachine):
        fine = State(initial=True)
        full = State(final=True)
        error_disk = fine.to(full)

    class Hall(Orchestrator):
        disk: Disk

    tally = Tally(Hall)
    for event in ("error_disk", "error.disk", "error_tape"):
        ends: dict[str, Any] = {"source": "fine", "target": "full"}
        moved: dict[str, Any] = {"exited": ("fine",), "entered": ("full",)}
        sent: dict[str, Any] = {"event": event, "args": (), "kwargs": {}, "cause": None}
        path = {"path": ("disk",), "machine_name": "disk"}
        tally.hear(Transitioned(seq=1, **path, **sent, **ends, **moved))  # type: ignore[arg-type]
    assert dict(tally.coverage().transitions.seen) == {"disk.error.disk: fine → full": 2}


@needs_3
def test_a_state_that_is_exited_was_seen(engine: Engine) -> None:
    """With each record anew: what a transition exits is not the same every time."""

    class Player(StateChart):
        class playing(State.Compound, initial=True):  # noqa: N801 - a state
            slow = State(initial=True)
            fast = State()
            hurry = slow.to(fast)

        over = State(final=True)
        stop = playing.to(over)

    class Hall(Orchestrator):
        player: Player

    traces: list[Trace] = []
    for start in ("fast", "slow"):
        hall = Hall(engine.machine(Player)(start_value=start))
        traces.append(heard(engine, hall, lambda: hall.player.send("stop")))  # noqa: B023
    assert dict(covered(Hall, *traces[:1]).states.seen) == {
        "player.playing": 1,
        "player.slow": 0,
        "player.fast": 1,
        "player.over": 1,
    }
    assert dict(covered(Hall, *traces).states.seen) == {
        "player.playing": 1,
        "player.slow": 1,
        "player.fast": 1,
        "player.over": 2,
    }


@needs_3
def test_every_level_of_a_statechart_is_covered(engine: Engine) -> None:
    """Compound and parallel states count with those in them; history states do not.

    What is shown active shows those around it. A transition to a history state is one, what leads
    on from there is none; nor is that to an initial state.
    """

    class Player(StateChart):
        class playing(State.Compound, initial=True):  # noqa: N801 - a state
            slow = State(initial=True)
            fast = State()
            hurry = slow.to(fast)
            last = HistoryState()
            last.to(slow)

        class shown(State.Parallel):  # noqa: N801 - a state
            class left(State.Compound):  # noqa: N801 - a state
                up = State(initial=True)
                down = State()
                sink = up.to(down)

            class right(State.Compound):  # noqa: N801 - a state
                near = State(initial=True)

        show = playing.to(shown)
        resume = shown.to(playing.last)
        jump = playing.to(playing.fast, internal=True)

    class Hall(Orchestrator):
        player: Player

    hall = Hall(engine.machine(Player)())
    hurry = heard(engine, hall, lambda: hall.player.send("hurry"))
    assert covered(Hall, hurry).states.missing == (
        "player.shown",
        "player.left",
        "player.up",
        "player.down",
        "player.right",
        "player.near",
    )
    calls = [getattr(hall.player, one) for one in ("show", "sink", "resume", "jump")]
    assert told(covered(Hall, hurry, heard(engine, hall, *calls))) == {
        "states": {
            "player.playing": 1,
            "player.slow": 1,
            "player.fast": 3,
            "player.shown": 1,
            "player.left": 1,
            "player.up": 1,
            "player.down": 1,
            "player.right": 1,
            "player.near": 1,
        },
        "transitions": {
            "player.show: playing → shown": 1,
            "player.jump: playing → fast": 1,
            "player.hurry: slow → fast": 1,
            "player.resume: shown → last": 1,
            "player.sink: up → down": 1,
        },
    }


@needs_3
def test_transitions_without_an_event_and_with_patterns(engine: Engine) -> None:
    """An eventless one is told without an event, `done_state_…` in its one spelling.

    One that is declared for a pattern counts for every event that the pattern matches.
    """

    class Job(StateChart):
        class work(State.Compound, initial=True):  # noqa: N801 - a state
            first = State(initial=True)
            last = State(final=True)
            finish = first.to(last)

        checked = State()
        kept = State()
        lost = State()
        done_state_work = work.to(checked)
        checked.to(kept)
        kept.to(lost, event="error.*")
        kept.to(work, event="*")
        lost.transitions.add_transitions(TransitionList([Transition(lost, event="touch")]))
        lost.to(lost, event="again.now")

    class Works(Orchestrator):
        job: Job

    works = Works(engine.machine(Job)())
    events = ("finish", "some.thing", "finish", "error.odd", "touch", "again.now")
    trace = heard(engine, works, *(lambda one=one: works.job.send(one) for one in events))
    assert told(covered(works, trace))["transitions"] == {
        "job.done.state.work: work → checked": 2,
        "job.finish: first → last": 2,
        "job: checked → kept": 2,
        "job.error.*: kept → lost": 1,
        "job.*: kept → work": 1,
        "job.touch: lost → lost": 1,
        "job.again.now: lost → lost": 1,
    }


@needs_3
def test_a_transition_to_several_states_is_one(engine: Engine) -> None:
    """It is told with all of its targets, and each of them is entered."""

    class Pair(StateChart):
        idle = State(initial=True)

        class both(State.Parallel):  # noqa: N801 - a state
            class left(State.Compound):  # noqa: N801 - a state
                up = State(initial=True)
                down = State(final=True)
                sink = up.to(down)

            class right(State.Compound):  # noqa: N801 - a state
                near = State(initial=True)
                far = State(final=True)
                leave = near.to(far)

        go = TransitionList([Transition(idle, [both.left.down, both.right.far])])
        idle.transitions.add_transitions(go)

    class Hall(Orchestrator):
        pair: Pair

    hall = Hall(engine.machine(Pair)())
    coverage = covered(hall, heard(engine, hall, hall.pair.go))
    assert dict(coverage.transitions.seen) == {
        "pair.go: idle → down far": 1,
        "pair.sink: up → down": 0,
        "pair.leave: near → far": 0,
    }
    assert coverage.states.missing == ("pair.up", "pair.near")


# Values and text ------------------------------------------------------------------------------


def test_numbers_that_a_test_can_assert() -> None:
    """Each kind, and the whole, has the part that ran and the names of what did not."""
    owner = Shop(Order(), Light())
    with tracing(owner) as trace:
        owner.order.process()
    coverage = wiring_coverage(owner, trace)
    assert coverage.states.ratio == 2 / 5
    assert coverage.states.missing == ("order.shipped", "light.off", "light.on")
    assert coverage.joins == Covered(
        {"both, on order.shipped & light.on": 0, "early, on order.pending & light.on": 0}
    )
    assert coverage.joins.ratio == 0.0
    assert coverage.ratio == 5 / 22
    assert coverage.missing == {
        kind: one.missing for kind, one in attrs.asdict(coverage, recurse=False).items()
    }


def test_what_is_complete_misses_nothing() -> None:
    """`missing` names no kind that is complete; a kind that nobody declares is."""
    hall = Room(Light())
    with tracing(hall) as trace:
        hall.light.flip()
    coverage = wiring_coverage(hall, trace)
    assert coverage.missing == {}
    assert (coverage.ratio, coverage.joins.ratio, coverage.joins.missing) == (1.0, 1.0, ())

    class Mixin(Orchestrator, abstract=True):
        @on("light.flip")
        def tell(self) -> None: ...

    assert wiring_coverage(Mixin, trace) == WiringCoverage(*[Covered({})] * 6)
    assert wiring_coverage(Mixin, trace).ratio == 1.0


def test_a_coverage_is_a_value() -> None:
    """It is frozen, equal to an equal one, hashed and pickled."""
    coverage = wiring_coverage(Shop, Trace())
    assert pickled(coverage) == coverage == wiring_coverage(Shop, [])
    assert len({coverage, wiring_coverage(Shop, [])}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        coverage.joins = Covered({})  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        coverage.joins.seen = {}  # type: ignore[misc]


def test_the_text_is_a_table_and_what_is_missing() -> None:
    """A line for each kind and one for all, then by kind what did not run, one a line."""
    owner = Shop(Order(), Light())
    with tracing(owner) as trace:
        owner.order.process()
        owner.order.ship()
    assert str(wiring_coverage(owner, trace)).splitlines() == [
        "states                5/5  100 %",
        "transitions           4/5   80 %",
        "reactions             2/4   50 %",
        "joins                 1/2   50 %",
        "routes                2/3   66 %",
        "timeouts              0/3    0 %",
        "all                 14/22   63 %",
        "",
        "missing transitions:",
        "  order.reset: processing → pending",
        "",
        "missing reactions:",
        "  tell, on low",
        "  begin, on exit:order.pending",
        "",
        "missing joins:",
        "  early, on order.pending & light.on",
        "",
        "missing routes:",
        "  again, on order.reset",
        "",
        "missing timeouts:",
        "  late, on timeout:order.processing",
        "  late, on timeout:light.on",
        "  reset, on timeout:order.processing",
    ]


def test_the_text_of_what_is_complete_is_the_table() -> None:
    """A kind that nobody declares is complete."""
    room = Room(Light())
    with tracing(room) as trace:
        room.light.flip()
    assert str(wiring_coverage(room, trace)) == (
        "states                2/2  100 %\n"
        "transitions           2/2  100 %\n"
        "reactions             1/1  100 %\n"
        "joins                 0/0  100 %\n"
        "routes                1/1  100 %\n"
        "timeouts              0/0  100 %\n"
        "all                   6/6  100 %"
    )


def test_no_line_of_the_text_is_longer_than_100_characters() -> None:
    """What is longer is cut, and says so; one of exactly so many is whole."""
    text = str(WiringCoverage(Covered({"x" * 98: 0, "y" * 99: 0}), *[Covered({})] * 5))
    assert text.splitlines()[-2:] == ["  " + "x" * 98, "  " + "y" * 97 + "…"]


# Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "told_by_error"),
    [
        (lambda: wiring_coverage(Light, []), "wiring_coverage(): it was given "),  # type: ignore[arg-type]
        (lambda: wiring_coverage(None, []), "it was given None, which is no orchestrator"),  # type: ignore[arg-type]
        (lambda: wiring_coverage(Shop, ["run.jsonl"]), "traces=['run.jsonl'] are no traces"),  # type: ignore[list-item]
        (lambda: wiring_coverage(Shop, None), "traces=None are no traces"),  # type: ignore[arg-type]
        (lambda: Tally(3), "Tally(): it was given 3, which is no orchestrator"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_covered(call: Callable[[], Any], told_by_error: str) -> None:
    """What is no orchestrator and what is no trace is refused, by the name of what was called."""
    with pytest.raises(DeclarationError) as caught:
        call()
    assert told_by_error in str(caught.value)


# The tally ------------------------------------------------------------------------------------


def test_a_tally_adds_record_by_record(engine: Engine) -> None:
    """What it gives is a value: what is heard later does not change it."""
    owner = shop(engine)
    trace = heard(engine, owner, owner.order.process, owner.order.ship)
    tally = Tally(owner)
    before = tally.coverage()
    for record in trace:
        tally.hear(record)
    assert before == wiring_coverage(Shop, [])
    assert tally.coverage() == wiring_coverage(Shop, trace)


def test_states_can_be_seen_without_a_record() -> None:
    """They count once, with those around them, however often; others in nothing."""
    tally = Tally(House)
    for _ in range(2):
        tally.see(("rooms", "light"), frozenset({"on"}))
        tally.see(("rooms", "light"), frozenset({"none"}))
        tally.see(("attic",), frozenset({"on"}))
    assert dict(tally.coverage().states.seen) == {
        "hall.light.off": 0,
        "hall.light.on": 0,
        "rooms.light.off": 0,
        "rooms.light.on": 1,
    }


@needs_3
def test_a_state_that_is_seen_shows_those_around_it() -> None:
    """A state is active as long as one in it is, whatever another class has under its name."""

    class Deep(StateChart):
        class a(State.Compound, initial=True):  # noqa: N801 - a state
            class b(State.Compound, initial=True):  # noqa: N801 - a state
                c = State(initial=True)
                d = State()
                go = c.to(d)

    class Flat(StateChart):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b)

    class Well(Orchestrator):
        deep: Deep | Flat

    tally = Tally(Well)
    tally.see(("deep",), ["d"])
    assert dict(tally.coverage().states.seen) == {
        "deep.a": 1,
        "deep.b": 1,
        "deep.c": 0,
        "deep.d": 1,
    }


def test_names_without_end_are_counted_and_not_remembered(monkeypatch: Any) -> None:
    """What is remembered of records is bounded, and what is counted is the same."""
    owner = Shop(Order(), Light())
    with tracing(owner) as trace:
        owner.order.process()
        owner.order.ship()
    expected = wiring_coverage(Shop, [trace, trace])
    monkeypatch.setattr(covering, "_MOST_REMEMBERED", 2)
    tally = Tally(Shop)
    for record in [*trace, *trace]:
        tally.hear(record)
    assert tally.coverage() == expected
    assert len(tally._remembered) == 2


def test_a_tally_holds_no_machine(engine: Engine) -> None:
    """Neither that of a record nor that of its event."""
    owner = shop(engine)
    tally = Tally(owner)
    for record in list(heard(engine, owner, owner.order.process, owner.order.ship)):
        tally.hear(record)
        del record
    machine = weakref.ref(owner.order)
    del owner
    gc.collect()
    assert machine() is None
    assert tally.coverage().transitions.seen["order.process: pending → processing"] == 1


def test_a_record_like_others_is_not_worked_out_again() -> None:
    """Of the members of a fleet, and of all runs, what counts is looked up."""
    worked_out: list[Any] = []

    class Watched(Tally):
        def _remember(self, record: Any, names: Any, key: Any) -> Any:
            worked_out.append(record)
            return super()._remember(record, names, key)

    house = House(Room(Light()), Fleet({key: Room(Light()) for key in "abcdefghij"}))
    tally = Watched(house)
    with tracing(house) as trace:
        for room in house.rooms.values():
            room.light.flip()
    for record in trace:
        tally.hear(record)
    assert [type(record).__name__ for record in worked_out] == [
        "Transitioned",  # light.flip
        "Started",  # rooms.tell
        "Started",  # rooms.dim
        "Transitioned",  # light.dim
        "Started",  # tell
    ]
    assert tally.coverage().transitions.seen["rooms.light.flip: off → on"] == 10
