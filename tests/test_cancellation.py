"""A task is cancelled at every await of a cascade, one after the other.

The machine is where a bare one would be, other callers get their answers, and what was not run is
announced as abandoned: each event that was sent is accounted for, once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import coroutine
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import HOST_IS_3, assert_at_rest, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import StateMachineError

from statemachines_orchestrator import (
    Abandoned,
    Finished,
    Ignored,
    Orchestrator,
    Sent,
    Started,
    Transitioned,
    on,
)
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


class Flat(StateMachine):
    """A machine that awaits in each group of callbacks, and queues an event for itself."""

    idle = State(initial=True)
    done = State()
    go = idle.to(done, validators="wait", cond="may")
    back = done.to(idle)
    again = idle.to.itself() | done.to.itself()

    async def wait(self) -> None:
        await asyncio.sleep(0)

    async def may(self) -> bool:
        await asyncio.sleep(0)
        return True

    async def before_go(self, orc: Any = None) -> None:
        await asyncio.sleep(0)
        assert await self.back() is None  # queued: the machine is in mid-step
        if orc is not None:
            orc.post("other.again", 7)

    async def on_exit_idle(self) -> None:
        await asyncio.sleep(0)

    async def on_go(self) -> str:
        await asyncio.sleep(0)
        return "gone"

    async def on_again(self, number: int = 0) -> int:
        await asyncio.sleep(0)
        return number

    async def on_enter_done(self) -> None:
        await asyncio.sleep(0)

    async def after_go(self) -> None:
        await asyncio.sleep(0)

    async def after_again(self) -> None:
        await asyncio.sleep(0)

    async def on_back(self) -> None:
        await asyncio.sleep(0)


Chart: Any = Flat
if HOST_IS_3:
    from statemachine import StateChart

    class Compound(StateChart[Any]):
        """The same with a compound state, and an event raised for the own macrostep."""

        idle = State(initial=True)

        class done(State.Compound):  # noqa: D106, N801 - it is a state
            first = State(initial=True)
            second = State()
            step = first.to(second)

        go = idle.to(done)
        back = done.to(idle)
        again = idle.to.itself() | done.to(done)
        before_go, on_go, on_again = Flat.before_go, Flat.on_go, Flat.on_again
        after_again = Flat.after_again
        on_exit_idle, on_enter_done, on_back = (
            Flat.on_exit_idle,
            Flat.on_enter_done,
            Flat.on_back,
        )

        async def after_go(self) -> None:
            await self.raise_("step")
            await asyncio.sleep(0)

        async def on_step(self) -> None:
            await asyncio.sleep(0)

    Chart = Compound

MACHINES = [Flat, Chart] if HOST_IS_3 else [Flat]


class Pair(Orchestrator):
    machine: Flat | Chart  # pyright: ignore[reportInvalidTypeForm]
    other: Flat
    ran: list[str] = attrs.field(factory=list[str])

    @on("machine.go")
    async def answer(self) -> None:
        await asyncio.sleep(0)
        await self.other.again(8)
        self.ran.append("answer")

    @on("machine.*")
    async def note(self) -> None:
        await asyncio.sleep(0)
        self.ran.append("note")

    @on("other.again")
    def hear(self) -> None:
        self.ran.append("hear")


# A call that is cancelled in one of its awaits ------------------------------------------------


@coroutine
def cancelled_at(number: int, call: Awaitable[Any], seen: list[int]) -> Generator[Any, Any, Any]:
    """Await a call, whose task is cancelled in the await of a number; note how many there were."""
    steps = call.__await__()
    thrown: BaseException | None = None
    while True:
        try:
            waits_for = steps.send(None) if thrown is None else steps.throw(thrown)
        except StopIteration as stop:
            return stop.value
        seen[0] += 1
        if seen[0] == number:
            task: Any = asyncio.current_task()
            task.cancel()
        thrown = None
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001 - it goes on into the call
            thrown = error


def calling(number: int, call: Callable[[], Any], seen: list[int]) -> asyncio.Task[Any]:
    """Return a task that makes a call, and is cancelled in its await of a number."""

    async def caller() -> Any:
        return await cancelled_at(number, call(), seen)

    return asyncio.ensure_future(caller())


async def settled(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Return what came of tasks: results and exceptions."""
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)


async def begun(machine_class: Any) -> Any:
    """Return a pair whose machines have entered their initial states."""
    pair = Pair(machine_class(), Flat())
    for machine in (pair.machine, pair.other):
        await machine.activate_initial_state()
    return pair


def one_after_the_other(attempt: Callable[[int], Awaitable[bool]]) -> int:
    """Make attempts with 1, 2, 3, ... until one says that there was no such await; count them."""

    async def main() -> int:
        number = 1
        while await attempt(number):
            number += 1
        return number - 1

    return asyncio.run(main())


# What must hold afterwards --------------------------------------------------------------------


def ends_of(trace: Trace) -> dict[tuple[str, Any], list[str]]:
    """Return how each event that was sent has ended, by its topic and argument.

    A chart that was stopped in mid-step may be in no state at all: it ignores what comes, as a
    bare one does.
    """
    ends: dict[tuple[str, Any], list[str]] = {}
    for sent in trace.filter(Sent):
        assert isinstance(sent, Sent)
        topic = f"{sent.machine_name}.{sent.event}"
        taken = [one for one in trace.filter(Transitioned) if one.cause == sent.seq]
        ignored = [one for one in trace.filter(Ignored) if one.cause == sent.seq]
        abandoned = [
            one for one in trace.filter(Abandoned) if (one.cause, one.path) == (sent.seq, sent.path)
        ]
        assert (topic, sent.args) not in ends
        ends[topic, sent.args] = [
            *("taken" for _ in taken),
            *("ignored" for _ in ignored),
            *("abandoned" for _ in abandoned),
        ]
    return ends


def assert_accounted(trace: Trace, in_mid_step: int) -> None:
    """Each event has one end, but for those that were cancelled in mid-step; each turn has one."""
    ends = ends_of(trace)
    assert max(map(len, ends.values())) == 1 or len(ends) == 1, ends
    assert list(ends.values()).count([]) <= in_mid_step, ends
    for moved in trace.filter(Transitioned):
        assert isinstance(moved, Transitioned)
        turns = [
            one.name
            for one in trace.filter(Started, Abandoned)
            if isinstance(one, Started | Abandoned) and one.cause == moved.seq
        ]
        if moved.machine_name == "other":
            assert turns == ["hear"]
        else:
            assert turns == ["answer", "note"] if moved.event == "go" else ["note"]
    finished = {record.cause for record in trace.filter(Finished)}
    assert len([one for one in trace.filter(Started) if one.seq not in finished]) <= 1


# The laws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine_class", MACHINES)
def test_a_cascade_cancelled_at_every_await(machine_class: Any) -> None:
    """The machine is where a bare one would be, and what was not run is abandoned."""

    async def attempt(number: int) -> bool:
        bare = machine_class()
        await bare.activate_initial_state()
        await settled(calling(number, bare.go, [0]))
        pair, seen = await begun(machine_class), [0]
        with tracing(pair) as trace:
            (outcome,) = await settled(calling(number, pair.machine.go, seen))
        assert pair.machine.current_state_value == bare.current_state_value
        assert_at_rest(pair.machine, pair.other)
        assert_accounted(trace, in_mid_step=1)
        if seen[0] < number:
            assert outcome == [None, "gone"]
            assert sorted(pair.ran)[:3] == ["answer", "hear", "hear"]
            assert not trace.filter(Abandoned)
            return False
        assert isinstance(outcome, asyncio.CancelledError)
        return True

    assert one_after_the_other(attempt) > 12


@pytest.mark.parametrize("machine_class", MACHINES)
def test_a_call_that_is_cancelled_takes_no_other_callers_event_along(machine_class: Any) -> None:
    """The other callers get their answers, as if they had been alone.

    Only the one whose event was in mid-step is told that it was interrupted, as the host tells it
    from 3.2 on. On 2.x they do not wait: their events are abandoned with the call that runs them.
    """
    interrupted = 0

    async def attempt(number: int) -> bool:
        nonlocal interrupted
        pair, seen = await begun(machine_class), [0]
        with tracing(pair) as trace:
            running = calling(number, pair.machine.go, seen)
            others = [calling(0, partial(pair.machine.again, at), [0]) for at in (1, 2, 3)]
            outcome, *answers = await settled(running, *others)
        assert_at_rest(pair.machine, pair.other)
        stopped = [answer for answer in answers if isinstance(answer, StateMachineError)]
        assert_accounted(trace, in_mid_step=1)
        assert len(stopped) <= 1
        interrupted += len(stopped)
        if HOST_IS_3:
            for at, answer in enumerate(answers, 1):
                ends = ends_of(trace)["machine.again", (at,)]
                assert (answer, ends) in ((at, ["taken"]), (None, ["ignored"])) or answer in stopped
        assert isinstance(outcome, asyncio.CancelledError) == (seen[0] >= number)
        return seen[0] >= number

    assert one_after_the_other(attempt) > 12
    assert (interrupted > 0) is HOST_IS_3


@pytest.mark.parametrize("machine_class", MACHINES)
def test_a_caller_who_gives_up_while_another_runs_the_machine(machine_class: Any) -> None:
    """Its event is taken or abandoned, once, and all others get their answers."""

    async def attempt(number: int) -> bool:
        pair, seen = await begun(machine_class), [0]
        with tracing(pair) as trace:
            first = calling(0, lambda: pair.machine.again(1), [0])
            gives_up = calling(number, lambda: pair.machine.again(2), seen)
            last = calling(0, lambda: pair.machine.again(3), [0])
            answers = await settled(first, gives_up, last)
        assert_at_rest(pair.machine, pair.other)
        assert_accounted(trace, in_mid_step=int(seen[0] >= number))
        expected = [1, 2, 3] if HOST_IS_3 else [1, None, None]
        assert (answers[0], answers[2]) == (expected[0], expected[2])
        if seen[0] < number:
            assert answers[1] == expected[1]
        return seen[0] >= number

    assert one_after_the_other(attempt) > 0 or not HOST_IS_3  # on 2.x nobody waits


def test_two_callers_cancelled_at_all_pairs_of_awaits() -> None:
    """Whoever is left takes the rest over; if nobody is, it is abandoned: nothing lies there."""

    async def attempt(first: int, second: int) -> bool:
        pair, seen = await begun(Flat), [0]
        with tracing(pair) as trace:
            answers = await settled(
                calling(first, pair.machine.go, seen),
                calling(second, lambda: pair.machine.again(1), [0]),
                calling(second + 1, lambda: pair.machine.again(2), [0]),
            )
        assert_at_rest(pair.machine, pair.other)
        ends = list(ends_of(trace).values())
        assert max(map(len, ends)) <= 1
        stopped = sum(isinstance(answer, BaseException) for answer in answers)
        assert ends.count([]) <= stopped
        return seen[0] >= first

    async def main() -> None:
        for second in range(1, 12):
            first = 1
            while await attempt(first, second):
                first += 1

    asyncio.run(main())


def test_a_timeout_of_a_caller_who_waits() -> None:
    """`asyncio.wait_for`: the machine goes on for the others, and can be called again."""

    class Held(StateMachine):
        idle = State(initial=True)
        hold = idle.to.itself()
        quick = idle.to.itself()

        async def on_hold(self, gate: Any) -> str:
            await gate.wait()
            return "held"

        def on_quick(self) -> str:
            return "quick"

    class Works(Orchestrator):
        press: Held
        heard: list[str] = attrs.field(factory=list[str])

        @on("press.*")
        def hear(self, event: str) -> None:
            self.heard.append(str(event))

    async def main() -> list[str]:
        works, gate = Works(Held()), asyncio.Event()
        running = asyncio.ensure_future(works.press.hold(gate))
        await asyncio.sleep(0)
        if HOST_IS_3:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(works.press.quick(), 0.001)
        else:
            assert await asyncio.wait_for(works.press.quick(), 0.001) is None
        gate.set()
        assert await running == "held"
        assert await works.press.quick() == "quick"
        return works.heard

    assert asyncio.run(main()) == ["hold", "quick", "quick"]


@needs_3
def test_a_task_that_waits_for_a_delayed_event_is_cancelled() -> None:
    """It was in no step: whoever else waits takes over all that was queued, and its own event."""

    class Works(Orchestrator):
        press: Flat

    async def main() -> tuple[Any, str]:
        works = Works(Flat())
        await works.press.activate_initial_state()
        holder = asyncio.ensure_future(works.press.send("again", 4, delay=40))
        await asyncio.sleep(0)
        waiter = asyncio.ensure_future(works.press.send("again", 5, delay=20))
        await asyncio.sleep(0)
        with tracing(works) as trace:
            holder.cancel()
            answer = await asyncio.wait_for(waiter, 20)
        return answer, str([type(one).__name__ for one in trace.filter(Transitioned, Abandoned)])

    assert asyncio.run(main()) == (5, "['Transitioned', 'Transitioned']")


def test_an_entry_into_the_initial_state_that_is_cancelled() -> None:
    """The machine is where a bare one would be, and nobody waits for an answer."""

    class Slow(StateMachine):
        idle = State(initial=True)
        done = State(final=True)
        go = idle.to(done)

        async def on_enter_idle(self) -> None:
            await asyncio.sleep(30)

    class Works(Orchestrator):
        press: Slow

    async def begun_by_halves(machine: Any) -> Any:
        beginning = asyncio.ensure_future(machine.activate_initial_state())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        beginning.cancel()
        (outcome,) = await settled(beginning)
        assert isinstance(outcome, asyncio.CancelledError)
        return machine.current_state_value

    async def main() -> None:
        assert await begun_by_halves(Works(Slow()).press) == await begun_by_halves(Slow())

    asyncio.run(main())
