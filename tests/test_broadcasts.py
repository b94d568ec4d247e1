"""Broadcasts, signals of the domain, and what the machines would take now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import statemachine
from blinker import NamedSignal
from conftest import listen, needs_3, told_by
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    Fleet,
    NameClashError,
    Orchestrator,
    Published,
    ReactionErrors,
    UnknownTopicError,
    domain_signal,
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


class Motor(StateMachine):
    """A machine that runs and stops, and tells by its result that it was stopped."""

    standing = State(initial=True)
    running = State()
    start = standing.to(running)
    stop = running.to(standing)

    def on_stop(self, by: Any = None) -> Any:
        return f"stopped by {by}"


class Belt(StateMachine):
    """A machine that has the same event, and ends with it."""

    moving = State(initial=True)
    still = State(final=True)
    stop = moving.to(still)


class Door(StateMachine):
    """A machine whose guard and validator ask for the arguments of the event."""

    closed = State(initial=True)
    opened = State()
    open = closed.to(opened, cond="may", validators="check")
    shut = opened.to(closed)

    def may(self, code: str = "right") -> bool:
        if code == "broken":
            raise ValueError(code)
        return code != "wrong"

    def check(self, code: str = "right") -> None:
        if code == "forged":
            raise ValueError(code)


def sent_in(owner: Any) -> list[str]:
    """Return the list that fills with every event that is sent below an orchestrator."""
    sent: list[str] = []

    def note(_machine: Any, *, record: Any) -> None:
        sent.append(f"{'.'.join(str(part) for part in record.path)}.{record.event}")

    owner.bus.signal("sent:*").connect(note)
    return sent


class AsyncMotor(Motor):
    """A motor on the async engine, whatever the fixture says."""

    async def on_enter_state(self) -> None:
        """Make the machine async."""


# Broadcasts -----------------------------------------------------------------------------------


def test_a_broadcast_goes_to_every_machine_that_would_take_it(engine: Engine) -> None:
    """Every machine that would take the event gets it, in field order; the results by name."""

    class Plant(Orchestrator):
        first: Motor
        belt: Belt
        second: Motor
        third: Motor

    motor, belt = engine.machine(Motor), engine.machine(Belt)
    plant = Plant(motor(), belt(), motor(), motor())
    engine.run(lambda: plant.third.start())
    engine.run(lambda: plant.first.start())
    sent = sent_in(plant)
    result = engine.run(lambda: plant.broadcast("stop", by="hand"))
    assert list(result.items()) == [
        ("first", "stopped by hand"),
        ("belt", None),
        ("third", "stopped by hand"),
    ]
    assert sent == ["first.stop", "belt.stop", "third.stop"]


def test_a_broadcast_hands_on_its_arguments(engine: Engine) -> None:
    """Positional and keyword arguments reach every machine, whatever they are called."""
    got: list[Any] = []

    class Taker(StateMachine):
        here = State(initial=True)
        take = here.to.itself()

        def on_take(self, *args: Any, topic: Any, if_enabled: Any, delay: Any) -> None:
            got.append((args, topic, if_enabled, delay))

    class Pair(Orchestrator):
        one: Taker
        two: Taker

    pair = Pair(engine.machine(Taker)(), engine.machine(Taker)())
    engine.run(lambda: pair.broadcast("take", 1, 2, topic="t", if_enabled=False, delay=0))
    assert got == [((1, 2), "t", False, 0)] * 2


def test_a_broadcast_that_nobody_would_take_does_nothing(engine: Engine) -> None:
    """A broadcast that every machine would refuse sends nothing and returns no result."""

    class Plant(Orchestrator):
        first: Motor
        second: Motor

    plant = Plant(engine.machine(Motor)(), engine.machine(Motor)())
    sent = sent_in(plant)
    assert engine.run(lambda: plant.broadcast("stop")) == {}
    assert sent == []


def test_a_broadcast_goes_through_fleets_and_orchestrators(engine: Engine) -> None:
    """Members get the event in their order; results are by the names and keys that lead there."""
    motor = engine.machine(Motor)

    class Hall(Orchestrator):
        motors: Fleet[Any, Motor]
        spare: Motor | None = None

    class Plant(Orchestrator):
        halls: Fleet[str, Hall]
        motor: Motor
        others: Fleet[Any, Motor]

    plant = Plant(
        Fleet({"north": Hall(Fleet({2: motor(), 1: motor()})), "south": Hall(Fleet(), motor())}),
        motor(),
        Fleet({"z": motor(), "a": motor()}),
    )
    sent = sent_in(plant)
    assert list(engine.run(lambda: plant.broadcast("start"))) == [
        ("halls", "north", "motors", 2),
        ("halls", "north", "motors", 1),
        ("halls", "south", "spare"),
        "motor",
        ("others", "z"),
        ("others", "a"),
    ]
    assert sent == [
        "halls.north.motors.2.start",
        "halls.north.motors.1.start",
        "halls.south.spare.start",
        "motor.start",
        "others.z.start",
        "others.a.start",
    ]
    assert list(engine.run(lambda: plant.broadcast("halls.motors.stop"))) == [
        ("halls", "north", "motors", 2),
        ("halls", "north", "motors", 1),
    ]
    assert list(engine.run(lambda: plant.halls["south"].broadcast("stop"))) == ["spare"]


def test_a_broadcast_keeps_to_one_field(engine: Engine) -> None:
    """`broadcast("field.event")` goes to that field alone: a machine, or all members of a fleet."""
    motor = engine.machine(Motor)

    class Plant(Orchestrator):
        one: Motor
        many: Fleet[str, Motor]
        none: Motor | None = None

    plant = Plant(motor(), Fleet({"a": motor(), "b": motor()}))
    engine.run(lambda: plant.many["b"].start())
    sent = sent_in(plant)
    assert engine.run(lambda: plant.broadcast("many.start")) == {("many", "a"): None}
    assert engine.run(lambda: plant.broadcast("one.start")) == {"one": None}
    assert engine.run(lambda: plant.broadcast("one.start")) == {}
    assert engine.run(lambda: plant.broadcast("none.start")) == {}
    assert sent == ["many.a.start", "one.start"]


def test_a_broadcast_is_one_cascade(engine: Engine) -> None:
    """All machines get the event, then the reactions run, and the cascade settles once."""
    seen: list[str] = []

    class Plant(Orchestrator):
        first: Motor
        second: Motor

        @on("*")
        def react(self, record: Any) -> Any:
            seen.append(f"{record.machine_name}.{record.event}")
            if str(record.event) == "start":
                return getattr(self, record.machine_name).stop()
            return None

        @on("settled")
        def rest(self) -> None:
            seen.append("settled")

    plant = Plant(engine.machine(Motor)(), engine.machine(Motor)())
    plant.bus.signal("sent:*").connect(
        lambda _machine, record: seen.append(f"sent {record.machine_name}.{record.event}")
    )
    engine.run(lambda: plant.broadcast("start"))
    assert seen == [
        "sent first.start",
        "sent second.start",
        "first.start",
        "sent first.stop",
        "second.start",
        "sent second.stop",
        "first.stop",
        "second.stop",
        "settled",
    ]


def test_each_machine_is_judged_when_its_turn_comes(engine: Engine) -> None:
    """What a machine would take is asked after those before it have got the event."""

    class Leader(Motor):
        def on_start(self, orc: Any) -> Any:
            return orc.late.start()

    class Plant(Orchestrator):
        early: Motor
        leader: Leader
        late: Motor

    machines = (Motor, Leader, Motor)
    plant = Plant(*(engine.machine(machine)() for machine in machines))
    sent = sent_in(plant)
    result = engine.run(lambda: plant.broadcast("start"))
    assert sent == ["early.start", "leader.start", "late.start"]
    assert list(result) == ["early", "leader"]  # late had been started by then


@pytest.mark.parametrize(
    ("code", "got", "failures"),
    [
        ("right", ["door", "other"], []),
        ("wrong", [], []),
        ("broken", [], [("door.open", "ValueError"), ("other.open", "ValueError")]),
        ("forged", [], [("door.open", "ValueError"), ("other.open", "ValueError")]),
    ],
)
def test_a_broadcast_asks_guards_with_its_arguments_and_no_validators(
    engine: Engine, code: str, got: list[str], failures: list[tuple[str, str]]
) -> None:
    """Guards see the arguments; one that raises counts as yes, and validators are not asked."""

    class House(Orchestrator):
        door: Door
        other: Door

    house = House(engine.machine(Door)(), engine.machine(Door)())
    if failures:
        error = engine.raises(ReactionErrors, lambda: house.broadcast("open", code=code))
        assert told_by(error) == failures
    else:
        assert list(engine.run(lambda: house.broadcast("open", code=code))) == got


@pytest.mark.parametrize("asked", ["event_data", "machine", "event", "source", "target", "orc"])
def test_a_guard_is_given_what_the_host_gives_it(engine: Engine, asked: str) -> None:
    """A guard that says no is not taken for one that raises, whatever it asks for by name."""

    def never(**given: Any) -> bool:
        return given[asked] is None

    class Guarded(StateMachine):
        shut = State(initial=True)
        opened = State()
        open = shut.to(opened, cond=never)
        close = opened.to(shut)

    class House(Orchestrator):
        door: Guarded

    house = House(engine.machine(Guarded)())
    assert engine.run(lambda: house.enabled_events()) == {"door": ()}
    assert engine.run(lambda: house.broadcast("open")) == {}


def test_a_machine_that_raises_keeps_the_event_from_no_other_one(engine: Engine) -> None:
    """What machines raise is raised together, with the results of the others, after all reactions.

    The failures name each machine by field and key, and each exception carries a note of it.
    """
    seen: list[str] = []

    class Broken(Motor):
        def on_stop(self, by: Any = None) -> Any:
            raise ValueError(f"broken by {by}")

    class Plant(Orchestrator):
        first: Broken
        second: Motor
        many: Fleet[str, Motor]

        @on("*")
        def react(self, record: Any) -> None:
            seen.append(record.machine_name)

    motor, broken = engine.machine(Motor), engine.machine(Broken)
    plant = Plant(broken(), motor(), Fleet({"a": broken(), "b": motor()}))
    engine.run(lambda: plant.broadcast("start"))
    del seen[:]
    error = engine.raises(ReactionErrors, lambda: plant.broadcast("stop", by="hand"))
    assert error.result == {"second": "stopped by hand", ("many", "b"): "stopped by hand"}
    assert told_by(error) == [("first.stop", "ValueError"), ("many.a.stop", "ValueError")]
    assert [failure.exception for failure in error.failures] == list(error.exceptions)
    assert [one.__notes__ for one in error.exceptions] == [["in first.stop"], ["in many.a.stop"]]
    assert "first.stop, many.a.stop failed" in str(error)
    assert seen == ["second", "many"]


def test_a_reaction_that_fails_after_a_broadcast_leaves_the_results(engine: Engine) -> None:
    """Where only reactions fail the group has their failures, and the results of all machines."""

    class Plant(Orchestrator):
        first: Motor
        second: Motor

        @on("second.start")
        def react(self) -> None:
            raise ValueError("reaction")

    plant = Plant(engine.machine(Motor)(), engine.machine(Motor)())
    error = engine.raises(ReactionErrors, lambda: plant.broadcast("start"))
    assert error.result == {"first": None, "second": None}
    assert told_by(error) == [("Plant.react", "ValueError")]


def test_what_machines_raise_goes_before_what_reactions_raise(engine: Engine) -> None:
    """If machines raise, their group is what the caller gets, with the reactions' as notes."""

    class Broken(Motor):
        def on_start(self) -> None:
            raise ValueError("broken")

    class Plant(Orchestrator):
        first: Broken
        second: Motor

        @on("second.start")
        def react(self) -> None:
            raise ValueError("reaction")

    plant = Plant(engine.machine(Broken)(), engine.machine(Motor)())
    error = engine.raises(ReactionErrors, lambda: plant.broadcast("start"))
    assert told_by(error) == [("first.start", "ValueError")]
    (note,) = error.__notes__
    assert note == (
        "Plant.react, in reaction to second.start (standing → running) failed: "
        "ValueError('reaction')"
    )


def test_a_base_exception_stops_a_broadcast(engine: Engine) -> None:
    """A `BaseException` of a machine stops the cascade at once; the machines behind get nothing."""

    class Stop(BaseException):
        pass

    class Stopping(Motor):
        def on_start(self) -> None:
            raise Stop

    class Plant(Orchestrator):
        first: Motor
        second: Stopping
        third: Motor

        @on("first.start")
        def react(self) -> None:
            raise AssertionError

    machines = (Motor, Stopping, Motor)
    plant = Plant(*(engine.machine(machine)() for machine in machines))
    abandoned: list[str] = []
    plant.bus.signal("abandoned:*").connect(lambda _s, record: abandoned.append(record.name))
    sent = sent_in(plant)
    engine.raises(Stop, lambda: plant.broadcast("start"))
    assert sent == ["first.start", "second.start"]
    assert abandoned == ["react"]


# From inside ----------------------------------------------------------------------------------


def test_a_broadcast_of_a_reaction_is_part_of_the_cascade(engine: Engine) -> None:
    """A broadcast in a reaction acts at once on all machines; what follows is queued."""
    seen: list[str] = []

    class Plant(Orchestrator):
        first: Motor
        second: Motor
        third: Motor

        @on("first.start")
        def all(self) -> Any:
            seen.append("all")
            return self.broadcast("start")

        @on("first.start")
        def behind(self) -> None:
            seen.append("behind")

        @on("*")
        def react(self, record: Any) -> None:
            seen.append(record.machine_name)

    plant = Plant(*(engine.machine(Motor)() for _ in range(3)))
    results: list[Any] = []
    plant.bus.signal("finished:all").connect(lambda _s, record: results.append(record.result))
    engine.run(lambda: plant.first.start())
    assert seen == ["all", "behind", "first", "second", "third"]
    assert results == [{"second": None, "third": None}]


def test_a_broadcast_in_a_callback_reaches_its_own_machine_at_rest(engine: Engine) -> None:
    """A machine in mid-step gets the event as the first thing at rest, and gives no result."""
    seen: list[Any] = []

    class Calling(Motor):
        def after_start(self, orc: Any) -> Any:
            result = orc.broadcast("stop", by="all")
            if not engine.is_async:
                seen.append(list(result))
                return None

            async def wait() -> None:
                seen.append(list(await result))

            return wait()

    class Plant(Orchestrator):
        caller: Calling
        belt: Belt

        @on("*")
        def react(self, record: Any) -> None:
            seen.append(f"{record.machine_name}.{record.event}")

    if engine.is_async:

        class AsyncCalling(Calling):
            async def after_start(self, orc: Any) -> None:
                seen.append(list(await orc.broadcast("stop", by="all")))

        machine: Any = AsyncCalling()
    else:
        machine = Calling()
    plant = Plant(machine, engine.machine(Belt)())
    plant.bus.signal("sent:*").connect(
        lambda _machine, record: seen.append(f"sent {record.machine_name}.{record.event}")
    )
    engine.run(lambda: plant.caller.start())
    assert seen == [
        "sent caller.start",
        "sent belt.stop",
        ["belt"],
        "sent caller.stop",
        "belt.stop",
        "caller.start",
        "caller.stop",
    ]


def test_a_machine_in_mid_step_is_judged_at_rest(engine: Engine) -> None:
    """A machine in mid-step gets the event only if it would take it when it has come to rest."""

    class Calling(Motor):
        def before_start(self, orc: Any) -> Any:
            return orc.broadcast("start")  # it would take it now, and not when it runs

        def before_stop(self, orc: Any) -> Any:
            return orc.broadcast("start")  # it would not take it now

    class Plant(Orchestrator):
        caller: Calling

    plant = Plant(engine.machine(Calling)())
    sent = sent_in(plant)
    engine.run(lambda: plant.caller.start())
    assert sent == ["caller.start"]
    engine.run(lambda: plant.caller.stop())
    assert sent == ["caller.start", "caller.stop", "caller.start"]


def test_two_broadcasts_reach_a_machine_in_mid_step_in_their_order(engine: Engine) -> None:
    """Of two broadcasts of one callback the first is first, also for its own machine."""

    class Calling(StateMachine):
        waiting = State(initial=True)
        first = State()
        second = State()
        go = waiting.to.itself()
        one = waiting.to(first) | second.to(first)
        two = waiting.to(second) | first.to(second)

        def after_go(self, orc: Any) -> Any:
            results = [orc.broadcast("one"), orc.broadcast("two")]
            if not engine.is_async:
                return None

            async def wait() -> None:
                for result in results:
                    await result

            return wait()

    class Plant(Orchestrator):
        caller: Calling

    plant = Plant(engine.machine(Calling)())
    sent = sent_in(plant)
    engine.run(lambda: plant.caller.go())
    assert sent == ["caller.go", "caller.one", "caller.two"]
    assert plant.caller.current_state_value == "second"


def test_several_machines_in_mid_step_get_the_event_in_field_order(engine: Engine) -> None:
    """Machines of one call stack in mid-step get the event in the order of fields, at rest."""

    class Outer(Motor):
        def on_start(self, orc: Any) -> Any:
            return orc.inner.start()

    class Inner(Motor):
        def on_start(self, orc: Any) -> Any:
            return orc.broadcast("stop")

    class Plant(Orchestrator):
        inner: Inner
        outer: Outer

        @on("*")
        def react(self, record: Any) -> None:
            seen.append(f"{record.machine_name}.{record.event}")

    seen: list[str] = []
    plant = Plant(engine.machine(Inner)(), engine.machine(Outer)())
    sent = sent_in(plant)
    engine.run(lambda: plant.outer.start())
    assert sent == ["outer.start", "inner.start", "inner.stop", "outer.stop"]
    assert seen == ["inner.start", "outer.start", "inner.stop", "outer.stop"]


def test_a_machine_that_fails_at_rest_is_a_failure_of_the_cascade(engine: Engine) -> None:
    """What a machine raises that got the event at rest is a failure, named by its topic."""

    class Calling(Motor):
        def after_start(self, orc: Any) -> Any:
            return orc.broadcast("stop")

        def on_stop(self, by: Any = None) -> Any:
            raise ValueError(f"late by {by}")

    class Plant(Orchestrator):
        caller: Calling

    plant = Plant(engine.machine(Calling)())
    error = engine.raises(ReactionErrors, lambda: plant.caller.start())
    assert told_by(error) == [("caller.stop", "ValueError")]
    assert plant.caller.current_state_value == "running"


def test_a_machine_skipped_at_rest_leaves_no_mark(engine: Engine) -> None:
    """The turn of a machine that would not take the event at rest finishes with `None`."""

    class Calling(Motor):
        def before_start(self, orc: Any) -> Any:
            return orc.broadcast("start")

    class Plant(Orchestrator):
        caller: Calling

    plant = Plant(engine.machine(Calling)())
    finished: list[Any] = []
    plant.bus.signal("finished:*").connect(
        lambda _s, record: finished.append((record.name, record.result))
    )
    engine.run(lambda: plant.caller.start())
    assert [result for _name, result in finished] in ([], [None])


# Sync and async -------------------------------------------------------------------------------


def test_a_broadcast_must_be_awaited_where_a_machine_is_async() -> None:
    """One async machine makes it awaitable; not awaited, nothing is sent, to nobody."""

    class Plant(Orchestrator):
        first: Motor
        second: AsyncMotor

    async def main() -> None:
        plant = Plant(Motor(), AsyncMotor())
        sent = sent_in(plant)
        waiting = plant.broadcast("start")
        assert asyncio.iscoroutine(waiting)
        assert sent == []
        waiting.close()
        assert repr(plant) == "Plant(first=standing, second=-)"
        assert await plant.broadcast("start") == {"first": None, "second": None}
        assert sent == ["first.start", "second.start"]
        assert await plant.broadcast("second.stop") == {"second": "stopped by None"}
        assert plant.broadcast("first.stop") == {"first": "stopped by None"}

    asyncio.run(main())


def test_a_broadcast_to_async_machines_without_a_loop_runs_to_rest() -> None:
    """Outside of a running loop it runs in one of its own, and returns the results."""

    class Plant(Orchestrator):
        first: AsyncMotor
        second: Motor

        @on("first.start")
        async def react(self) -> None:
            await self.first.stop()

    plant = Plant(AsyncMotor(), Motor())
    assert plant.broadcast("start") == {"first": None, "second": None}
    assert repr(plant) == "Plant(first=standing, second=running)"


def test_a_broadcast_in_a_running_loop_to_sync_machines_needs_no_await() -> None:
    """Sync machines answer at once; an async reaction there is refused, and the rest has run."""

    class Plant(Orchestrator):
        first: Motor
        second: Motor

        @on("second.start")
        async def react(self) -> None:
            raise AssertionError

    async def main() -> None:
        plant = Plant(Motor(), Motor())
        assert plant.broadcast("first.start") == {"first": None}
        with pytest.raises(ReactionErrors) as caught:
            plant.broadcast("start")
        assert told_by(caught.value) == [("Plant.react", "AsyncReactionError")]
        assert caught.value.result == {"second": None}

    asyncio.run(main())


def test_a_sync_call_in_a_running_loop_cannot_broadcast_to_an_async_machine() -> None:
    """A reaction that returns such a broadcast is refused: no machine has got the event."""

    class Plant(Orchestrator):
        first: Motor
        second: AsyncMotor
        third: Motor

        @on("first.start")
        def all(self) -> Any:
            return self.broadcast("start")

    async def main() -> None:
        plant = Plant(Motor(), AsyncMotor(), Motor())
        sent = sent_in(plant)
        with pytest.raises(ReactionErrors) as caught:
            plant.first.start()
        assert told_by(caught.value) == [("Plant.all", "AsyncReactionError")]
        assert sent == ["first.start"]
        other = Plant(Motor(), AsyncMotor(), Motor())
        await other.asend("first.start")
        assert repr(other) == "Plant(first=running, second=running, third=running)"

    asyncio.run(main())


def test_async_machines_not_begun_are_judged_by_their_initial_state() -> None:
    """An async machine that has entered no state yet would take what its initial state takes."""

    class Plant(Orchestrator):
        first: AsyncMotor
        second: AsyncMotor

    async def main() -> None:
        plant = Plant(AsyncMotor(), AsyncMotor(start_value="running"))
        assert await plant.enabled_events() == {"first": ("start",), "second": ("stop",)}
        assert repr(plant) == "Plant(first=-, second=-)"
        assert await plant.broadcast("stop") == {"second": "stopped by None"}
        assert await plant.broadcast("first.start") == {"first": None}

    asyncio.run(main())


def test_a_cancelled_broadcast_stops() -> None:
    """Cancelling an awaited broadcast stops it; what waits is abandoned, what is done is done."""

    class Slow(AsyncMotor):
        async def on_start(self) -> None:
            await asyncio.sleep(60)

    class Plant(Orchestrator):
        first: AsyncMotor
        second: Slow
        third: AsyncMotor

        @on("first.start")
        def react(self) -> None:
            raise AssertionError

    async def main() -> None:
        plant = Plant(AsyncMotor(), Slow(), AsyncMotor())
        sent, abandoned = sent_in(plant), list[str]()
        plant.bus.signal("abandoned:*").connect(lambda _s, record: abandoned.append(record.name))
        task = asyncio.create_task(plant.broadcast("start"))
        while "second.start" not in sent:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sent == ["first.start", "second.start"]
        assert abandoned == ["react"]
        assert await plant.broadcast("third.start") == {"third": None}
        assert plant.first.current_state_value == "running"

    asyncio.run(main())


def test_two_broadcasts_at_once_are_two_cascades() -> None:
    """Two tasks that broadcast each get their own results and failures."""

    class Slow(AsyncMotor):
        async def on_start(self) -> None:
            await asyncio.sleep(0)

        async def on_stop(self, by: Any = None) -> Any:
            await asyncio.sleep(0)
            return by

    class Plant(Orchestrator):
        many: Fleet[str, Slow]

        @on("many.stop")
        async def react(self) -> None:
            raise ValueError("stop")

    async def main() -> None:
        plant = Plant(Fleet({key: Slow() for key in "abcd"}))
        await plant.many["a"].start()
        await plant.many["b"].start()
        calls: Any = (plant.broadcast("start"), plant.broadcast("stop"))
        both: Any = await asyncio.gather(*calls, return_exceptions=True)
        started, stopped = both
        assert isinstance(stopped, ReactionErrors)
        assert set(told_by(stopped)) == {("Plant.react", "ValueError")}
        assert isinstance(started, dict)
        assert set(started.values()) == {None}

    asyncio.run(main())


# Misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("stopp", "no machine has an event 'stopp'. Did you mean 'stop'?"),
        ("first.stopp", "machine 'first' has no event 'stopp'. Did you mean 'first.stop'?"),
        ("frst.stop", "Did you mean "),
        ("first", "'first' is a machine, and the event is missing."),
        ("first.*", "it names no single event."),
        ("*", "'*'"),
        ("low", "no machine has an event 'low'."),
        ("", "''"),
        ("settled", "no machine has an event 'settled'."),
        ("enter:first.running", "no machine has an event 'enter:first.running'"),
    ],
)
def test_a_broadcast_of_no_event_is_refused(engine: Engine, topic: str, problem: str) -> None:
    """What no machine has as an event is refused at the call, with the class and the nearest."""

    class Plant(Orchestrator):
        first: Motor
        low = domain_signal("runs out")

    plant = Plant(engine.machine(Motor)())
    with pytest.raises(UnknownTopicError) as caught:
        plant.broadcast(topic)
    assert str(caught.value).startswith(f"{__name__}.test_a_broadcast_of_no_event_is_refused")
    assert problem in str(caught.value)


def test_an_event_that_is_called_like_a_field_is_broadcast(engine: Engine) -> None:
    """A field with the name of an event hides the event from nobody."""

    class Plant(Orchestrator):
        stop: Motor
        belt: Belt

    plant = Plant(engine.machine(Motor)(), engine.machine(Belt)())
    assert engine.run(lambda: plant.broadcast("stop")) == {"belt": None}


def test_a_broadcast_needs_the_machines_attached() -> None:
    """Before its constructor is done, an orchestrator refuses, and names the fix."""

    class Plant(Orchestrator):
        first: Motor

        def __init__(self) -> None:
            pass

    plant: Any = Plant()
    for call in (plant.broadcast, plant.publish, plant.post):
        with pytest.raises(DeclarationError, match=r"Plant: .* has not called self.__attrs_init__"):
            call("first.stop")


# Statecharts ----------------------------------------------------------------------------------


@needs_3
def test_patterns_take_what_they_match(engine: Engine) -> None:
    """A machine with an event pattern gets what the pattern matches, and is asked for it."""

    class Net(StateChart):
        up = State(initial=True)
        down = State()
        fail = up.to(down, event="error.*")
        reset = down.to(up)

    class Any_(StateChart):  # noqa: N801
        up = State(initial=True)
        all = up.to.itself(event="*")

    class Plant(Orchestrator):
        net: Net
        motor: Motor
        log: Any_

    machines = (Net, Motor, Any_)
    plant = Plant(*(engine.machine(machine)() for machine in machines))
    sent = sent_in(plant)
    assert list(engine.run(lambda: plant.broadcast("error.disk.full"))) == ["net", "log"]
    assert list(engine.run(lambda: plant.broadcast("net.error.disk.full"))) == []
    assert list(engine.run(lambda: plant.broadcast("start"))) == ["motor", "log"]
    assert list(engine.run(lambda: plant.broadcast("reset"))) == ["net", "log"]
    assert list(engine.run(lambda: plant.broadcast("net.error.disk"))) == ["net"]
    assert sent == [
        "net.error.disk.full",
        "log.error.disk.full",
        "motor.start",
        "log.start",
        "net.reset",
        "log.reset",
        "net.error.disk",
    ]


@needs_3
def test_every_active_state_of_a_statechart_is_asked(engine: Engine) -> None:
    """Nested and parallel states are asked, also of an async machine that has not begun."""

    class Editor(StateChart):
        class editing(State.Compound):  # noqa: N801
            draft = State(initial=True)
            clean = State()
            save = draft.to(clean)

        class both(State.Parallel):  # noqa: N801
            class left(State.Compound):  # noqa: N801
                l1 = State(initial=True)
                l2 = State(final=True)
                step = l1.to(l2)

            class right(State.Compound):  # noqa: N801
                r1 = State(initial=True)
                r2 = State(final=True)
                step = r1.to(r2)
                turn = r1.to(r2)

        split = editing.to(both)
        join = both.to(editing)

    class Desk(Orchestrator):
        editor: Editor

    desk = Desk(engine.machine(Editor)())

    def enabled() -> list[str]:
        return sorted(engine.run(lambda: desk.enabled_events())["editor"])

    assert enabled() == ["save", "split"]
    assert engine.run(lambda: desk.broadcast("save")) == {"editor": None}
    assert enabled() == ["split"]
    engine.run(lambda: desk.broadcast("split"))
    assert enabled() == ["join", "step", "turn"]
    engine.run(lambda: desk.broadcast("turn"))
    assert enabled() == ["join", "step"]
    engine.run(lambda: desk.broadcast("step"))
    assert enabled() == ["join"]


@needs_3
def test_an_ended_statechart_would_take_nothing(engine: Engine) -> None:
    """A machine in its final state is passed over, and nothing is ignored."""

    class Chart(StateChart):
        one = State(initial=True)
        two = State(final=True)
        stop = one.to(two)
        again = one.to.itself()

    class Plant(Orchestrator):
        chart: Chart
        motor: Motor

    plant = Plant(engine.machine(Chart)(), engine.machine(Motor)())
    ignored: list[Any] = []
    plant.bus.signal("ignored:*").connect(lambda _s, record: ignored.append(record))
    assert engine.run(lambda: plant.broadcast("stop")) == {"chart": None}
    assert engine.run(lambda: plant.broadcast("stop")) == {}
    assert engine.run(lambda: plant.broadcast("again")) == {}
    assert engine.run(lambda: plant.enabled_events()) == {"chart": (), "motor": ("start",)}
    assert ignored == []


# Signals of the domain ------------------------------------------------------------------------


def publish(engine: Engine, owner: Any, signal: str, **kwargs: Any) -> None:
    """Publish from outside, as the engine has it."""
    engine.run(
        lambda: (
            owner.asend(signal, **kwargs) if engine.is_async else owner.publish(signal, **kwargs)
        )
    )


class Warehouse(Orchestrator):
    """An orchestrator with signals."""

    motor: Motor
    low_stock = domain_signal("an item runs out")
    refilled = domain_signal()


def test_a_signal_is_declared_and_is_a_blinker_signal() -> None:
    """On an instance it is the blinker signal of that name; on the class it is itself."""
    warehouse, other = Warehouse(Motor()), Warehouse(Motor())
    assert isinstance(warehouse.low_stock, NamedSignal)
    assert warehouse.low_stock is warehouse.bus.signal("low_stock")
    assert warehouse.low_stock is not other.low_stock
    assert repr(Warehouse.low_stock) == "domain_signal('an item runs out')"
    assert Warehouse.low_stock.__doc__ == "an item runs out"
    assert repr(warehouse) == "Warehouse(motor=standing)"


def test_a_published_signal_reaches_observers_and_reactions(engine: Engine) -> None:
    """Observers hear it at once, reactions run at rest with its keyword arguments."""
    seen: list[Any] = []

    class House(Warehouse):
        @on("low_stock", "refilled")
        def react(self, record: Any, sku: Any, amount: int = 1, **rest: Any) -> None:
            seen.append(("react", record.name, sku, amount, sorted(set(rest) - {"record", "orc"})))

        @on("low_stock", cond=lambda amount=0: amount > 1)
        def when_many(self, amount: int) -> None:
            seen.append(("many", amount))

    house = House(engine.machine(Motor)())
    house.low_stock.connect(lambda sender, record: seen.append((sender is house, record.kwargs)))
    publish(engine, house, "low_stock", sku="a")
    publish(engine, house, "low_stock", sku="b", amount=2, why="?")
    publish(engine, house, "refilled", sku="a")
    assert seen == [
        (True, {"sku": "a"}),
        ("react", "low_stock", "a", 1, []),
        (True, {"sku": "b", "amount": 2, "why": "?"}),
        ("react", "low_stock", "b", 2, ["why"]),
        ("many", 2),
        ("react", "refilled", "a", 1, []),
    ]


def test_published_is_a_record_with_its_cause(engine: Engine) -> None:
    """`Published` tells name, keyword arguments, and as cause the step or turn that published."""

    class Telling(Motor):
        def on_start(self, orc: Any) -> None:
            orc.publish("low_stock", sku=1)

    class House(Warehouse):
        motor: Telling  # pyright: ignore[reportIncompatibleVariableOverride]

        @on("low_stock")
        def react(self) -> None:
            self.publish("refilled", sku=2)

    house = House(engine.machine(Telling)())
    records: list[Any] = []
    for topic in ("sent:*", "low_stock", "started:react", "refilled", "motor.start"):
        house.bus.signal(topic).connect(lambda _s, record: records.append(record))
    engine.run(lambda: house.motor.start())
    sent, low, moved, started, refilled = records
    assert [type(record).__name__ for record in records] == [
        "Sent",
        "Published",
        "Transitioned",
        "Started",
        "Published",
    ]
    assert low == Published(seq=low.seq, cause=sent.seq, name="low_stock", kwargs={"sku": 1})
    assert started.cause == low.seq
    assert refilled == Published(
        seq=refilled.seq, cause=started.seq, name="refilled", kwargs={"sku": 2}
    )
    assert moved.cause == sent.seq
    publish(engine, house, "refilled")
    assert records[-1].cause is None
    assert records[-1].kwargs == {}


def test_publishing_keeps_the_order_of_the_cascade(engine: Engine) -> None:
    """Published in a callback it is announced before the transition whose callback published."""
    seen: list[str] = []

    class Telling(Motor):
        def on_start(self, orc: Any) -> None:
            orc.publish("low_stock")
            seen.append("published")

    class House(Warehouse):
        motor: Telling  # pyright: ignore[reportIncompatibleVariableOverride]

        @on("motor.start")
        def started(self) -> None:
            self.publish("refilled")
            seen.append("started")

        @on("low_stock")
        def low(self) -> None:
            seen.append("low")

        @on("refilled")
        def full(self) -> None:
            seen.append("full")

        @on("settled")
        def rest(self) -> None:
            seen.append("settled")

    house = House(engine.machine(Telling)())
    engine.run(lambda: house.motor.start())
    assert seen == ["published", "low", "started", "full", "settled"]
    del seen[:]
    publish(engine, house, "low_stock")
    assert seen == ["low", "settled"]


def test_what_fails_after_publishing_is_raised(engine: Engine) -> None:
    """Failures of reactions to a signal are raised together when the cascade is at rest."""

    class House(Warehouse):
        @on("low_stock")
        def react(self, sku: int) -> None:
            raise ValueError(sku)

        @on("low_stock")
        def move(self) -> Any:
            return self.motor.start()

    house = House(engine.machine(Motor)())
    error = engine.raises(
        ReactionErrors,
        lambda: house.asend("low_stock", sku=1) if engine.is_async else house.publish("low_stock"),
    )
    expected = "ValueError" if engine.is_async else "TypeError"
    assert told_by(error) == [("House.react", expected)]
    assert error.exceptions[0].__notes__ == ["in House.react, in reaction to low_stock"]
    assert house.motor.current_state_value == "running"


def test_publish_in_a_running_loop_waits_for_nobody_and_asend_does() -> None:
    """`publish` runs sync reactions and refuses async ones there; `asend` awaits them all."""
    seen: list[str] = []

    class House(Warehouse):
        @on("low_stock")
        async def slow(self) -> None:
            await asyncio.sleep(0)
            seen.append("slow")

        @on("low_stock")
        def quick(self) -> None:
            seen.append("quick")

    async def main() -> None:
        house = House(Motor())
        with pytest.raises(ReactionErrors) as caught:
            house.publish("low_stock")
        assert told_by(caught.value) == [("House.slow", "AsyncReactionError")]
        assert seen == ["quick"]
        waiting = house.asend("low_stock")
        assert seen == ["quick"]
        assert await waiting is None
        assert seen == ["quick", "slow", "quick"]

    asyncio.run(main())


def test_asend_takes_no_positional_arguments_for_a_signal() -> None:
    """A signal has keyword arguments only: others are refused, as `publish` refuses them."""
    house = Warehouse(Motor())
    call: Any = house.publish
    with pytest.raises(TypeError):
        call("low_stock", 1)
    with pytest.raises(TypeError):
        asyncio.run(house.asend("low_stock", 1))


def test_a_muted_signal_is_heard_by_nobody(engine: Engine) -> None:
    """Under `muted()` neither observers nor reactions hear it; a reaction is a receiver of it."""
    seen: list[str] = []

    class House(Warehouse):
        @on("low_stock")
        def react(self) -> None:
            seen.append("react")

    house = House(engine.machine(Motor)())
    house.low_stock.connect(lambda _s, record: seen.append(record.name))
    with house.low_stock.muted():
        publish(engine, house, "low_stock")
    assert seen == []
    assert len(house.low_stock.receivers) == 2


def test_a_signal_of_an_orchestrator_below_is_heard_above(engine: Engine) -> None:
    """The holder hears it under the name of its field, and its `settled` follows."""
    seen: list[Any] = []

    class Chain(Orchestrator):
        shops: Fleet[str, Warehouse]

        @on("shops.low_stock")
        def react(self, sku: int, key: str) -> None:
            seen.append((sku, key))

        @on("settled")
        def rest(self) -> None:
            seen.append("settled")

    chain = Chain(Fleet({"n": Warehouse(engine.machine(Motor)())}))
    publish(engine, chain.shops["n"], "low_stock", sku=3)
    assert seen == [(3, "n"), "settled"]


def test_signals_are_inherited_from_mixins_and_bases(engine: Engine) -> None:
    """An abstract mixin and a base class give their signals to the classes below."""
    seen: list[str] = []

    class Telling(Orchestrator, abstract=True):
        told = domain_signal("told")

    class House(Telling):
        motor: Motor

    class Other(House):
        more = domain_signal("more")

        @on("told", "more")
        def react(self, record: Any) -> None:
            seen.append(record.name)

    other = Other(engine.machine(Motor)())
    publish(engine, other, "told")
    publish(engine, other, "more")
    assert seen == ["told", "more"]


# Misuse of signals ----------------------------------------------------------------------------


def test_a_signal_not_declared_is_refused() -> None:
    """In a decorator it is refused at definition, at the call otherwise, with the nearest name."""
    with pytest.raises(UnknownTopicError, match=r"House.react .*Did you mean 'low_stock'\?"):

        class House(Warehouse):
            @on("low_stok")
            def react(self) -> None: ...

    house = Warehouse(Motor())
    calls = (house.publish, house.asend, house.bus.signal)
    for call in calls:
        with pytest.raises(UnknownTopicError) as caught:
            call("low_stok")
        assert str(caught.value).startswith(f"{__name__}.Warehouse: there is no topic 'low_stok'")
        assert "Did you mean 'low_stock'?" in str(caught.value)
    with pytest.raises(UnknownTopicError, match=r"no signal .* 'xyz'\. Known: low_stock, refilled"):
        house.publish("xyz")
    with pytest.raises(UnknownTopicError, match=r"no signal of the domain is called 'motor.start'"):
        house.publish("motor.start")
    with pytest.raises(UnknownTopicError, match=r"'low_stock' is a signal of the domain"):
        house.post("low_stock")


@pytest.mark.parametrize("given", [Warehouse.low_stock, Warehouse(Motor()).low_stock])
def test_publish_is_given_a_name(given: Any) -> None:
    """The signal itself in the place of its name is refused with an error of the library."""
    with pytest.raises(UnknownTopicError, match="low_stock"):
        Warehouse(Motor()).publish(given)


def test_a_signal_has_a_name_of_its_own() -> None:
    """A name of the surface, `settled`, a field's, or a second name for one signal are refused."""
    with pytest.raises(NameClashError, match=r"House: the name 'post' is taken by every orch"):

        class House(Orchestrator):
            motor: Motor
            post = domain_signal()  # type: ignore[assignment]

    with pytest.raises(NameClashError, match=r"the name 'settled' is taken"):

        class House2(Orchestrator):
            motor: Motor
            settled = domain_signal()

    with pytest.raises(NameClashError, match=r"the name 'motor' is taken by a field"):

        class House3(Orchestrator):
            motor: Any = domain_signal()

    with pytest.raises(NameClashError, match=r"the name 'low_stock' is taken by a signal"):

        class House4(Warehouse):
            low_stock = None  # type: ignore[assignment]

    with pytest.raises(NameClashError, match=r"the name 'low_stock' is taken by a signal"):

        class House5(Warehouse):
            low_stock: Motor  # type: ignore[assignment]

    errors = (DeclarationError, RuntimeError)  # Python below 3.12 wraps what a name raises
    with pytest.raises(errors) as caught:

        class House6(Orchestrator):
            motor: Motor
            one = two = domain_signal()

    error: BaseException = caught.value
    if not isinstance(error, DeclarationError):
        assert error.__cause__ is not None
        error = error.__cause__
    assert "House6.two: this signal of the domain is called 'one' already" in str(error)


def test_an_async_observer_of_a_signal_is_refused() -> None:
    """An `async def` cannot observe a signal; the error names it and the way out."""
    house = Warehouse(Motor())

    async def observer(_sender: Any, record: Any) -> None: ...

    with pytest.raises(TypeError, match=r"observer is an async def and cannot observe 'low_stock'"):
        house.low_stock.connect(observer)


# What would be taken now ----------------------------------------------------------------------


def test_enabled_events_tells_what_each_machine_would_take(engine: Engine) -> None:
    """By field name, or by the names and keys that lead there, a tuple of the events each."""
    motor = engine.machine(Motor)

    class Hall(Orchestrator):
        motor: Motor

    class Plant(Orchestrator):
        belt: Belt
        many: Fleet[int, Motor]
        hall: Hall
        door: Door
        none: Motor | None = None

    many = Fleet({2: motor(), 1: motor()})
    plant = Plant(engine.machine(Belt)(), many, Hall(motor()), engine.machine(Door)())
    engine.run(lambda: plant.many[1].start())
    sent = sent_in(plant)
    assert list(engine.run(lambda: plant.enabled_events()).items()) == [
        ("belt", ("stop",)),
        (("many", 2), ("start",)),
        (("many", 1), ("stop",)),
        (("hall", "motor"), ("start",)),
        ("door", ("open",)),
    ]
    engine.run(lambda: plant.belt.stop())
    assert engine.run(lambda: plant.enabled_events())["belt"] == ()
    assert sent == ["belt.stop"]


def test_enabled_events_asks_guards_and_no_validators(engine: Engine) -> None:
    """A guard that says no disables, one that raises counts as yes; validators are not asked."""

    class Guarded(StateMachine):
        here = State(initial=True)
        there = State()
        no = here.to(there, cond="says_no")
        yes = here.to(there, unless="says_no")
        raises = here.to(there, cond="fails")
        checked = here.to(there, validators="fails")
        either = here.to(there, cond="says_no") | here.to.itself()
        back = there.to(here)

        def says_no(self) -> bool:
            return False

        def fails(self) -> bool:
            raise ValueError

    class House(Orchestrator):
        machine_1: Guarded

    house = House(engine.machine(Guarded)())
    assert engine.run(lambda: house.enabled_events()) == {
        "machine_1": ("yes", "raises", "checked", "either")
    }


def test_enabled_events_of_async_machines_must_be_awaited_in_a_loop() -> None:
    """Where one machine is async the answer is awaited; without a loop it is there at once."""

    class Plant(Orchestrator):
        first: Motor
        second: AsyncMotor

    async def main() -> None:
        plant = Plant(Motor(), AsyncMotor())
        assert await plant.enabled_events() == {"first": ("start",), "second": ("start",)}

    asyncio.run(main())
    assert Plant(Motor(), AsyncMotor()).enabled_events() == {
        "first": ("start",),
        "second": ("start",),
    }


def test_async_guards_are_awaited() -> None:
    """A guard may be an `async def`, here and in broadcasts."""

    class Guarded(StateMachine):
        standing = State(initial=True)
        start = standing.to.itself()
        go = standing.to.itself(cond="never")
        run = standing.to.itself(cond="always")

        async def never(self) -> bool:
            await asyncio.sleep(0)
            return False

        async def always(self) -> bool:
            await asyncio.sleep(0)
            return True

    class Plant(Orchestrator):
        first: Guarded

    async def main() -> None:
        plant = Plant(Guarded())
        assert await plant.enabled_events() == {"first": ("start", "run")}
        assert await plant.broadcast("go") == {}
        assert await plant.broadcast("run") == {"first": None}

    asyncio.run(main())


@pytest.mark.parametrize("event", ["done_baking", "donut"])
def test_an_event_of_the_user_is_told_whatever_it_is_called(engine: Engine, event: str) -> None:
    """Only what the host itself sends is left out: `done_baking` is an event like any other."""
    metaclass: Any = type(StateMachine)
    machine_class = metaclass(
        "Oven",
        (StateMachine,),
        {
            "__module__": __name__,
            "here": (here := State(initial=True)),
            event: here.to.itself(),
        },
    )

    class Kitchen(Orchestrator):
        oven: machine_class  # type: ignore[valid-type]

    kitchen = Kitchen(engine.machine(machine_class)())
    assert engine.run(lambda: kitchen.broadcast(event)) == {"oven": None}
    assert engine.run(lambda: kitchen.enabled_events()) == {"oven": (event,)}


def test_enabled_events_in_a_callback(engine: Engine) -> None:
    """It may be asked in a reaction, where every machine is at rest."""
    seen: list[Any] = []

    class Plant(Orchestrator):
        first: Motor
        second: Motor
        limit: int = attrs.field(default=3)

        @on("first.start")
        def ask(self) -> Any:
            return self.enabled_events()

    plant = Plant(engine.machine(Motor)(), engine.machine(Motor)())
    plant.bus.signal("finished:ask").connect(lambda _s, record: seen.append(record.result))
    engine.run(lambda: plant.first.start())
    assert seen == [{"first": ("stop",), "second": ("start",)}]


def test_observers_hear_of_all_signals_of_the_domain(engine: Engine) -> None:
    """Under `published:*`, and `published:` with the name, also of those below."""

    class Works(Orchestrator):
        house: Warehouse
        done = domain_signal()

    works = Works(Warehouse(engine.machine(Motor)()))
    heard = listen(works, "published:*", "published:done", "published:house.low_stock")
    inner = listen(works.house, "published:*", "low_stock")
    engine.run(lambda: works.house.publish("low_stock", sku=1))
    engine.run(lambda: works.publish("done"))
    assert [(topic, record.name, record.path) for topic, record in heard] == [
        ("published:house.low_stock", "low_stock", ("house",)),
        ("published:*", "low_stock", ("house",)),
        ("published:done", "done", ()),
        ("published:*", "done", ()),
    ]
    assert [topic for topic, _record in inner] == ["low_stock", "published:*"]
    with pytest.raises(UnknownTopicError, match=r"called 'done2'.*Did you mean 'published:done'"):
        works.bus.signal("published:done2")
    with pytest.raises(UnknownTopicError, match=r"called 'house.low'"):
        works.bus.signal("published:house.low")
    with pytest.raises(UnknownTopicError, match=r"called 'door.low'"):
        works.bus.signal("published:door.low")
