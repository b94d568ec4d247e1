"""Verdicts: no event disappears in silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import statemachine
from conftest import HOST_IS_3, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    Fleet,
    Ignored,
    Orchestrator,
    ReactionErrors,
    UnknownTopicError,
    on,
)

if TYPE_CHECKING:
    from typing import TypeAlias

    from conftest import Engine

    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)
    if not hasattr(State, "Compound"):
        State.Compound = State.Parallel = object

ALLOWS: dict[str, Any] = {} if HOST_IS_3 else {"allow_event_without_transition": True}
"""How 2.x is told, in the constructor, to allow an event without transition."""


class Lenient(StateMachine):
    """A machine that allows an event without transition."""

    allow_event_without_transition = True
    off = State(initial=True)
    lit = State()
    gone = State(final=True)
    turn_on = off.to(lit)
    turn_off = lit.to(off, unless="stuck")
    fail = off.to(lit)
    leave = off.to(gone) | lit.to(gone)

    def stuck(self, stuck: bool = False) -> bool:  # noqa: FBT001, FBT002
        return stuck

    def before_fail(self) -> None:
        raise ValueError("fail")


class Strict(StateMachine):
    """A machine that refuses an event without transition."""

    off = State(initial=True)
    lit = State()
    gone = State(final=True)
    turn_on = off.to(lit)
    turn_off = lit.to(off)
    leave = off.to(gone) | lit.to(gone)


def house_of(machine: Any) -> tuple[Any, list[tuple[Any, ...]]]:
    """Return an orchestrator of one machine, and the list that fills with verdicts.

    Of what is sent the topic stands in the list, of what is ignored the arguments too,
    and the topic of the `Sent` that is its cause.
    """
    machine_class = type(machine)

    class House(Orchestrator):
        lamp: machine_class  # type: ignore[valid-type]

    house = House(machine)
    told: list[tuple[Any, ...]] = []
    sent: dict[int, str] = {}

    def note(_machine: Any, record: Any) -> None:
        sent[record.seq] = str(record.event)

    def tell(_machine: Any, record: Any) -> None:
        assert type(record) is Ignored
        cause = None if record.cause is None else sent.get(record.cause)
        told.append((str(record.event), record.args, dict(record.kwargs), cause))

    house.bus.signal("sent:*").connect(note)
    house.bus.signal("ignored:*").connect(tell)
    return house, told


def lenient(engine: Engine, machine_class: Any = Lenient) -> tuple[Any, list[tuple[Any, ...]]]:
    """Return an orchestrator of a lenient machine, and its verdicts."""
    return house_of(engine.machine(machine_class)(**ALLOWS))


# Ignored --------------------------------------------------------------------------------------


def test_an_event_that_enables_no_transition_is_ignored(engine: Engine) -> None:
    """It is announced with its arguments, and its cause is its `Sent`; nothing else follows."""
    house, told = lenient(engine)
    moved: list[Any] = []
    for topic in ("*", "settled"):
        house.bus.signal(topic).connect(lambda _s, record: moved.append(record))
    assert engine.run(lambda: house.lamp.turn_off(1, two=2)) is None
    assert told == [("turn_off", (1,), {"two": 2}, "turn_off")]
    assert moved == []
    engine.run(lambda: house.lamp.turn_on())
    assert len(told) == 1


def test_ignored_has_topics_of_its_own(engine: Engine) -> None:
    """It is published under `ignored:machine.event`, `ignored:machine.*` and `ignored:*`."""
    house, _told = lenient(engine)
    heard: list[str] = []
    for topic in ("ignored:lamp.turn_off", "ignored:lamp.*", "ignored:*", "ignored:lamp.turn_on"):
        house.bus.signal(topic).connect(lambda _s, record, topic=topic: heard.append(topic))
    engine.run(lambda: house.lamp.turn_off())
    assert heard == ["ignored:lamp.turn_off", "ignored:lamp.*", "ignored:*"]


def test_the_record_tells_machine_path_and_key(engine: Engine) -> None:
    """`Ignored` tells the field, the path and the key; the sender of the signal is the machine."""
    machine = engine.machine(Lenient)

    class Hall(Orchestrator):
        lamps: Fleet[str, Lenient]

    class House(Orchestrator):
        hall: Hall

    house = House(Hall(Fleet({"a": machine(**ALLOWS), "b": machine(**ALLOWS)})))
    heard: list[tuple[Any, ...]] = []
    house.bus.signal("ignored:hall.lamps.turn_off").connect(
        lambda sender, record: heard.append(
            (sender is record.machine, record.machine_name, record.path, record.key)
        )
    )
    engine.run(lambda: house.hall.lamps["b"].turn_off())
    assert heard == [(True, "lamps", ("hall", "lamps", "b"), "b")]


def test_an_unknown_event_is_ignored_too(engine: Engine) -> None:
    """An event that the machine declares nowhere is announced under `ignored:*`."""
    house, told = lenient(engine)
    engine.run(lambda: house.lamp.send("explode", by="hand"))
    assert told == [("explode", (), {"by": "hand"}, "explode")]
    with pytest.raises(UnknownTopicError, match=r"House: .* no event 'turn_of'\. Did you mean"):
        house.bus.signal("ignored:lamp.turn_of")


def test_an_event_whose_guards_say_no_is_ignored(engine: Engine) -> None:
    """A guard that says no, with the event's arguments, enables no transition."""
    house, told = lenient(engine)
    engine.run(lambda: house.lamp.turn_on())
    engine.run(lambda: house.lamp.turn_off(stuck=True))
    engine.run(lambda: house.lamp.turn_off(stuck=False))
    assert told == [("turn_off", (), {"stuck": True}, "turn_off")]


def test_an_event_whose_callback_raises_is_not_ignored(engine: Engine) -> None:
    """It enabled a transition, so the caller gets the exception, and there is no verdict."""
    house, told = lenient(engine)
    error = engine.raises(ValueError, lambda: house.lamp.fail())
    assert str(error) == "fail"
    assert told == []


@pytest.mark.parametrize("kind", ["before_turn_on", "on_turn_on", "after_turn_on", "on_exit_off"])
def test_whichever_callback_raises_the_event_is_not_ignored(engine: Engine, kind: str) -> None:
    """Before, on, after and exit callbacks that raise belong to a transition that was enabled."""

    def raising(_self: Any) -> None:
        raise ValueError(kind)

    class Raising(Lenient):
        vars()[kind] = raising

    house, told = lenient(engine, Raising)
    engine.raises(ValueError, lambda: house.lamp.turn_on())
    assert told == []


def test_a_guard_or_validator_that_raises_is_no_ignored_event(engine: Engine) -> None:
    """What raises where transitions are selected is the caller's exception, and no verdict."""

    class Raising(StateMachine):
        allow_event_without_transition = True
        here = State(initial=True)
        guarded = here.to.itself(cond="fails")
        checked = here.to.itself(validators="fails")

        def fails(self) -> bool:
            raise ValueError("fails")

    house, told = lenient(engine, Raising)
    engine.raises(ValueError, lambda: house.lamp.guarded())
    engine.raises(ValueError, lambda: house.lamp.checked())
    assert told == []


def test_a_transition_without_target_and_an_internal_one_are_not_ignored(engine: Engine) -> None:
    """A transition that moves nothing was enabled all the same."""

    class Still(StateMachine):
        allow_event_without_transition = True
        here = State(initial=True)
        itself = here.to.itself()
        inside = here.to.itself(internal=True)

    house, told = lenient(engine, Still)
    engine.run(lambda: house.lamp.itself())
    engine.run(lambda: house.lamp.inside())
    assert told == []


def test_a_machine_that_does_not_allow_it_raises_and_ignores_nothing(engine: Engine) -> None:
    """Where the host refuses the event, the caller is told, and nobody else."""
    house, told = house_of(engine.machine(Strict)())
    engine.raises(TransitionNotAllowed, lambda: house.lamp.turn_off())
    assert told == []


def test_the_initial_state_is_no_ignored_event() -> None:
    """What the host sends to enter the initial state is not announced."""

    class Async(Lenient):
        async def on_enter_off(self) -> None: ...

    async def main() -> list[Any]:
        house, told = house_of(Async(**ALLOWS))
        await house.lamp.activate_initial_state()
        await house.lamp.turn_on()
        return told

    assert asyncio.run(main()) == []


def test_an_ignored_event_stands_in_the_order_of_what_happens(engine: Engine) -> None:
    """A callback's and a reaction's ignored event name these as what sent them."""

    class Calling(Lenient):
        def after_turn_on(self) -> Any:
            return self.turn_on(by="callback")

    class House(Orchestrator):
        lamp: Calling
        other: Lenient

        @on("lamp.turn_on")
        def react(self) -> Any:
            return self.other.turn_off(by="reaction")

    house = House(engine.machine(Calling)(**ALLOWS), engine.machine(Lenient)(**ALLOWS))
    records: list[Any] = []
    for topic in ("sent:*", "started:*", "ignored:*", "*"):
        house.bus.signal(topic).connect(lambda _s, record: records.append(record))
    engine.run(lambda: house.lamp.turn_on())
    names = {record.seq: type(record).__name__ for record in records}
    assert [
        (type(record).__name__, getattr(record, "kwargs", {}).get("by"), names.get(record.cause))
        for record in records
    ] == [
        ("Sent", None, None),
        ("Sent", "callback", "Sent"),
        ("Transitioned", None, "Sent"),
        ("Ignored", "callback", "Sent"),
        ("Started", None, "Transitioned"),
        ("Sent", "reaction", "Started"),
        ("Ignored", "reaction", "Sent"),
    ]


def test_an_observer_that_raises_disturbs_no_machine(engine: Engine) -> None:
    """An observer of a verdict that raises is a failure of the cascade, and stops nothing."""
    house, told = lenient(engine)

    def broken(_sender: Any, record: Any) -> None:
        raise ValueError(str(record.event))

    house.bus.signal("ignored:lamp.turn_off").connect(broken)
    error = engine.raises(ReactionErrors, lambda: house.lamp.turn_off())
    assert [(one.reaction, str(one.exception)) for one in error.failures] == [
        ("broken", "turn_off")
    ]
    assert [event for event, *_ in told] == ["turn_off"]
    engine.run(lambda: house.lamp.turn_on())


def test_ignored_is_for_observers() -> None:
    """A reaction to it is refused, and the error says how to observe it."""
    with pytest.raises(TypeError, match=r"House.react .* is for observers.*signal\('ignored:lamp"):

        class House(Orchestrator):
            lamp: Lenient

            @on("ignored:lamp.turn_on")
            def react(self) -> None: ...


def test_every_ignored_event_is_announced_once(engine: Engine) -> None:
    """However many orchestrators hear of it, each hears it once; a broadcast ignores nothing."""
    machine = engine.machine(Lenient)

    class House(Orchestrator):
        lamp: Lenient

    class Street(Orchestrator):
        house: House

    street = Street(House(machine(**ALLOWS)))
    heard: list[Any] = []
    for owner in (street, street.house):
        owner.bus.signal("ignored:*").connect(lambda _s, record: heard.append(record))
    engine.run(lambda: street.broadcast("turn_off"))
    assert heard == []
    engine.run(lambda: street.house.lamp.turn_off())
    assert len(heard) == 2
    assert heard[0] is heard[1]


def test_a_posted_event_that_is_ignored_is_no_failure(engine: Engine) -> None:
    """An event that is allowed to enable nothing is announced, and nothing is raised."""
    house, told = lenient(engine)
    call = house.asend if engine.is_async else house.post
    engine.run(lambda: call("lamp.turn_off", 1))
    assert told == [("turn_off", (1,), {}, "turn_off")]


# The end --------------------------------------------------------------------------------------


def test_events_behind_the_end_are_ignored(engine: Engine) -> None:
    """Events queued behind the one that ends a machine, and sent to it later, are announced."""

    class Ending(Lenient):
        def after_leave(self) -> Any:
            first, second = self.turn_on(1, two=2), self.turn_off()
            if not engine.is_async:
                return None

            async def wait() -> None:
                await first
                await second

            return wait()

    house, told = lenient(engine, Ending)
    engine.run(lambda: house.lamp.leave())
    assert told == [
        ("turn_on", (1,), {"two": 2}, "turn_on"),
        ("turn_off", (), {}, "turn_off"),
    ]
    del told[:]
    engine.run(lambda: house.lamp.turn_on("late"))
    assert told == [("turn_on", ("late",), {}, "turn_on")]


@needs_3
def test_events_to_an_ended_statechart_are_ignored(engine: Engine) -> None:
    """An ended StateChart takes nothing: what waits for it, and what comes later, is announced."""

    class Ending(StateChart):
        off = State(initial=True)
        gone = State(final=True)
        leave = off.to(gone)
        again = off.to.itself()

        def on_leave(self) -> Any:
            return self.send("again", 1, delay=20)

    house, told = house_of(engine.machine(Ending)())
    engine.run(lambda: house.lamp.leave())
    engine.run(lambda: house.lamp.again(2))
    engine.run(lambda: house.lamp.leave(3))
    assert told == [
        ("again", (1,), {}, "again"),
        ("again", (2,), {}, "again"),
        ("leave", (3,), {}, "leave"),
    ]


@needs_3
@pytest.mark.parametrize("how", ["raise_", "send"])
def test_internal_events_behind_the_end_are_ignored(engine: Engine, how: str) -> None:
    """Internal events that the end of the machine leaves in its queue are announced as well."""

    class Ending(StateChart):
        off = State(initial=True)
        gone = State(final=True)
        leave = off.to(gone)
        again = off.to.itself()

        def on_leave(self) -> Any:
            if how == "send":
                return self.send("again", 1, internal=True)
            return self.raise_("again", 1)

    house, told = house_of(engine.machine(Ending)())
    engine.run(lambda: house.lamp.leave())
    assert told == [("again", (1,), {}, "again")]


# Statecharts ----------------------------------------------------------------------------------


@needs_3
def test_an_unhandled_error_is_ignored_with_its_error(engine: Engine) -> None:
    """`error.execution` that nothing handles is announced, with the error in its kwargs."""

    class Chart(StateChart):
        off = State(initial=True)
        lit = State()
        turn_on = off.to(lit)
        turn_off = lit.to(off)

        def on_turn_on(self) -> None:
            raise ValueError("fuse")

    house, told = house_of(engine.machine(Chart)())
    engine.run(lambda: house.lamp.turn_on())
    ((event, args, kwargs, cause),) = told
    assert (event, args, cause) == ("error.execution", (), "error.execution")
    assert repr(kwargs["error"]) == "ValueError('fuse')"


@needs_3
def test_a_handled_error_is_not_ignored(engine: Engine) -> None:
    """Neither the event whose callback raised nor the error that was handled is announced."""

    class Chart(StateChart):
        off = State(initial=True)
        lit = State()
        burnt = State()
        turn_on = off.to(lit)
        error_execution = off.to(burnt) | lit.to(burnt)
        mend = burnt.to(off) | lit.to(off)

        def on_turn_on(self) -> None:
            raise ValueError("fuse")

    house, told = house_of(engine.machine(Chart)())
    engine.run(lambda: house.lamp.turn_on())
    assert repr(house) == "House(lamp=burnt)"
    assert told == []


@needs_3
def test_what_the_host_sends_when_states_are_done_is_not_announced(engine: Engine) -> None:
    """`done.state.…` that nobody takes is the host's own; an unknown internal event is not."""

    class Chart(StateChart):
        class work(State.Compound):  # noqa: N801
            begun = State(initial=True)
            ended = State(final=True)
            finish = begun.to(ended)

        off = State(initial=True)
        begin = off.to(work)
        back = work.to(off)

        def on_finish(self) -> Any:
            return self.raise_("finished", 1)

    house, told = house_of(engine.machine(Chart)())
    engine.run(lambda: house.lamp.begin())
    engine.run(lambda: house.lamp.finish())
    assert told == [("finished", (1,), {}, "finished")]


@needs_3
def test_one_region_that_takes_an_event_is_enough(engine: Engine) -> None:
    """An event that one of several regions takes is not ignored; one that none takes is."""

    class Chart(StateChart):
        class both(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                l1 = State(initial=True)
                l2 = State()
                go = l1.to(l2)
                back = l2.to(l1)

            class right(State.Compound):  # noqa: N801
                r1 = State(initial=True)
                r2 = State()
                turn = r1.to(r2)
                back = r2.to(r1)

    house, told = house_of(engine.machine(Chart)())
    engine.run(lambda: house.lamp.go())
    engine.run(lambda: house.lamp.back())
    assert told == []
    engine.run(lambda: house.lamp.back())
    assert told == [("back", (), {}, "back")]


@needs_3
def test_patterns_and_eventless_transitions_ignore_nothing(engine: Engine) -> None:
    """What a pattern matches is taken; a step without event is no event."""

    class Chart(StateChart):
        off = State(initial=True)
        lit = State()
        hot = State()
        turn_on = off.to(lit)
        lit.to(hot)
        fail = hot.to(off, event="error.*")

    house, told = house_of(engine.machine(Chart)())
    engine.run(lambda: house.lamp.turn_on())
    engine.run(lambda: house.lamp.send("error.fuse.blown"))
    assert told == []
    engine.run(lambda: house.lamp.send("error.fuse.blown"))
    assert told == [("error.fuse.blown", (), {}, "error.fuse.blown")]


@needs_3
def test_a_guard_that_raises_on_a_statechart_enables_nothing(engine: Engine) -> None:
    """The host catches it: the event is ignored, and so is the error, unless it is handled."""

    class Chart(StateChart):
        off = State(initial=True)
        lit = State()
        turn_on = off.to(lit, cond="fails")
        turn_off = lit.to(off)

        def fails(self) -> bool:
            raise ValueError("guard")

    house, told = house_of(engine.machine(Chart)())
    engine.run(lambda: house.lamp.turn_on())
    assert [event for event, *_ in told] == ["turn_on", "error.execution"]
