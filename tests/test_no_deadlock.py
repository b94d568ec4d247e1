"""Patterns that deadlock where machines are coordinated by locks, or by waiting for each other.

Each runs under a watchdog: a call that does not come back fails the test, and does not hold it.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import HOST_IS_3, assert_at_rest, close_the_hosts_loop, needs_3
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Orchestrator,
    ReactionErrors,
    Transitioned,
    _calls,
    on,
)
from statemachines_orchestrator._answers import Answer, exception_of, is_waiting
from statemachines_orchestrator._cascade import Cascade
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._frames import Payload, heard_at
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._running import _give_up
from statemachines_orchestrator._sending import address_of
from statemachines_orchestrator._turns import Post
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 30
"""Seconds after which a call counts as one that never comes back."""


def watched(*calls: Callable[[], Any]) -> list[Any]:
    """Make each call in a thread of its own, all at once; return what came of them, in order."""
    came: list[Any] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(at: int, call: Callable[[], Any]) -> None:
        start.wait(LONG)
        try:
            came[at] = call()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            came[at] = error
        finally:
            close_the_hosts_loop()

    threads = [
        threading.Thread(target=run, args=(at, call), daemon=True) for at, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive(), "a call does not come back"
    return came


class Toggle(StateMachine):
    """A sync machine that pokes its peer in mid-step."""

    idle = State(initial=True)
    go = idle.to.itself()
    poke = idle.to.itself()

    def on_go(self, orc: Any) -> None:
        for peer in orc.machines.values():
            if peer is not self:
                peer.poke()


class Twins(Orchestrator):
    left: Toggle
    right: Toggle
    heard: list[str] = attrs.field(factory=list[str])

    @on("left.go")
    def answer_left(self) -> None:
        self.right.poke()
        self.heard.append("left")

    @on("right.go")
    def answer_right(self) -> None:
        self.left.poke()
        self.heard.append("right")


class Slow(StateMachine):
    """An async machine: each event takes a moment, or waits for what it is given."""

    idle = State(initial=True)
    go = idle.to.itself()

    async def on_go(self, number: int, wait: Any = None) -> int:
        if wait is not None:
            await wait()
        else:
            await asyncio.sleep(0)
        return number


class Office(Orchestrator):
    work: Slow
    heard: list[int] = attrs.field(factory=list[int])

    @on("work.go")
    def hear(self, number: int) -> None:
        self.heard.append(number)


@pytest.mark.usefixtures("restless")
def test_two_machines_that_poke_each_other_from_two_threads() -> None:
    """In callbacks and in reactions: nobody waits for a lock in an order that another has not."""
    twins = Twins(Toggle(), Toggle())

    def poke(machine: Any) -> None:
        for _ in range(300):
            machine.go()

    assert watched(lambda: poke(twins.left), lambda: poke(twins.right)) == [None, None]
    assert sorted(twins.heard) == ["left"] * 300 + ["right"] * 300
    assert_at_rest(twins.left, twins.right)


def test_a_reaction_that_waits_for_a_thread_which_sends_to_the_machine_that_caused_it() -> None:
    """The machine is at rest while reactions run: the other thread's call is an ordinary one."""

    class Single(Orchestrator):
        machine: Toggle
        heard: list[str] = attrs.field(factory=list[str])

        @on("machine.go")
        def ask(self) -> None:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(self.machine.poke).result(LONG)
            self.heard.append("asked")

        @on("machine.poke")
        def hear(self) -> None:
            self.heard.append("poked")

    single = Single(Toggle())
    assert watched(lambda: single.machine.go()) == [None]
    assert single.heard == ["poked", "asked"]


def test_a_reaction_that_awaits_a_task_which_sends_to_the_machine_that_caused_it(
    engine: Any,
) -> None:
    """The task is nested in the cascade: its event acts now, what follows from it acts next."""
    machine_class = engine.machine(Toggle)

    class Waiting(Orchestrator):
        machine: machine_class  # type: ignore[valid-type]
        heard: list[str] = attrs.field(factory=list[str])

        @on("machine.go")
        async def ask(self) -> None:
            async def work() -> None:
                await self.asend("machine.poke")

            await asyncio.wait_for(asyncio.ensure_future(work()), LONG)
            self.heard.append("asked")

        @on("machine.poke")
        def hear(self) -> None:
            self.heard.append("poked")

    waiting = Waiting(machine_class())

    async def main() -> None:
        await asyncio.wait_for(waiting.asend("machine.go"), LONG)

    assert watched(lambda: asyncio.run(main())) == [None]
    assert waiting.heard == ["asked", "poked"]


def test_a_reaction_that_waits_for_a_worker_which_was_there_before() -> None:
    """A worker outside of every cascade, fed by a queue, sends to the machine and answers."""

    class Asking(Orchestrator):
        machine: Slow
        heard: list[str] = attrs.field(factory=list[str])
        jobs: Any = None

        @on("machine.go")
        async def ask(self, number: int) -> None:
            self.heard.append(f"hear {number}")
            if number == 1:
                answer = asyncio.get_running_loop().create_future()
                await self.jobs.put(answer)
                self.heard.append(f"answer {await asyncio.wait_for(answer, LONG)}")

    asking = Asking(Slow())

    async def main() -> Any:
        asking.jobs = asyncio.Queue()

        async def work() -> None:
            answer = await asking.jobs.get()
            answer.set_result(await asking.machine.go(2))

        worker = asyncio.ensure_future(work())
        result = await asking.machine.go(1)
        await worker
        return result

    assert watched(lambda: asyncio.run(main())) == [1]
    assert asking.heard == ["hear 1", "hear 2", "answer 2"]


# Two event loops on one machine ---------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
def test_two_event_loops_in_two_threads_on_one_machine(debug: bool) -> None:  # noqa: FBT001
    """On 3.x each caller gets the answer to its own event, from whichever thread it comes.

    On 2.x, as ever, who calls a busy machine gets None. In debug mode asyncio refuses what is done
    to a loop from another thread.
    """
    office = Office(Slow())

    async def send(first: int) -> list[Any]:
        return [await office.work.go(number) for number in range(first, first + 200)]

    async def send_many(first: int) -> list[Any]:
        calls = [office.work.go(number) for number in range(first, first + 50)]
        return list(await asyncio.gather(*calls))

    calls = (send(0), send(1000), send_many(2000), send_many(3000))
    came = watched(*(lambda call=call: asyncio.run(call, debug=debug) for call in calls))
    expected = [
        list(range(200)),
        list(range(1000, 1200)),
        list(range(2000, 2050)),
        list(range(3000, 3050)),
    ]
    for answers, numbers in zip(came, expected, strict=True):
        assert not isinstance(answers, BaseException), answers
        if HOST_IS_3:
            assert answers == numbers
        else:
            assert {one for one in answers if one is not None} <= set(numbers)
    assert sorted(office.heard) == sorted(number for numbers in expected for number in numbers)
    assert_at_rest(office.work)


@needs_3
def test_a_machine_that_another_event_loop_holds_in_mid_step() -> None:
    """The second caller waits without holding its own loop, and gets its answer and failures."""
    inside, leave = threading.Event(), threading.Event()

    class Checked(Office):
        @on("work.go")
        def check(self, number: int) -> str:
            if number == 2:
                raise ValueError(threading.current_thread().name)
            return "well"

    office = Checked(Slow())

    async def hold() -> Any:
        async def wait() -> None:
            inside.set()
            while not leave.is_set():
                await asyncio.sleep(0.001)

        return await office.work.go(1, wait)

    async def second() -> Any:
        while not inside.is_set():
            await asyncio.sleep(0.001)
        call = asyncio.ensure_future(office.work.go(2))
        await asyncio.sleep(0.01)
        assert not call.done()
        leave.set()
        try:
            return await call
        except ReactionErrors as errors:
            return errors.result, str(errors.exceptions[0]) == threading.current_thread().name

    assert watched(lambda: asyncio.run(hold()), lambda: asyncio.run(second())) == [1, (2, True)]
    assert sorted(office.heard) == [1, 2]
    assert_at_rest(office.work)


@needs_3
def test_a_caller_goes_on_when_the_other_event_loop_ends_in_mid_step() -> None:
    """The task of another thread is cancelled: who waits takes the machine over."""
    office = Office(Slow())
    inside, waits = threading.Event(), threading.Event()

    async def hold() -> Any:
        async def wait() -> None:
            inside.set()
            await asyncio.sleep(LONG)

        running = asyncio.ensure_future(office.work.go(1, wait))
        while not waits.is_set():
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return "cancelled"

    async def second() -> Any:
        while not inside.is_set():
            await asyncio.sleep(0.001)
        call = asyncio.ensure_future(office.work.go(2))
        await asyncio.sleep(0.01)
        waits.set()
        return await call

    came = watched(lambda: asyncio.run(hold()), lambda: asyncio.run(second()))
    assert came == ["cancelled", 2]
    assert office.heard == [2]
    assert_at_rest(office.work)


def test_sync_callers_and_an_event_loop_on_one_async_machine() -> None:
    """Without a running loop a call on a busy machine is answered at once: its event is taken."""
    office = Office(Slow())

    def send_sync() -> list[Any]:
        return [office.work.go(number) for number in range(200)]

    async def send() -> list[Any]:
        return [await office.work.go(number) for number in range(1000, 1200)]

    came = watched(send_sync, lambda: asyncio.run(send()))
    for answers in came:
        assert not isinstance(answers, BaseException), answers
    if HOST_IS_3:
        assert came[1] == list(range(1000, 1200))
    assert sorted(office.heard) == [*range(200), *range(1000, 1200)]
    assert_at_rest(office.work)


# What happens between two threads, step by step ----------------------------------------------


def test_an_answer_for_who_has_given_up_or_whose_loop_has_ended_is_for_nobody() -> None:
    """Neither does it raise in the thread that gives it, nor is it told of as never retrieved."""
    given: list[Answer] = []

    async def gives_up() -> None:
        answer = Answer(asyncio.get_running_loop())
        given.append(answer)
        assert watched(lambda: answer.set_result(1)) == [None]
        assert answer.is_given
        assert not is_waiting(answer)
        answer.cancel()  # before it arrives
        await asyncio.sleep(0)
        assert isinstance(exception_of(answer), asyncio.CancelledError)

    async def ends() -> None:
        given.append(Answer(asyncio.get_running_loop()))

    asyncio.run(gives_up())
    asyncio.run(ends())
    assert watched(lambda: given[1].set_result(1)) == [None]
    assert not given[1].done()
    assert given[1].is_given


def test_a_reaction_to_what_another_thread_has_taken_when_the_call_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call that would have run it was over in between: it runs in one of its own."""
    twins = Twins(Toggle(), Toggle())
    over = Cascade()
    over.open = False
    found = iter([over])
    monkeypatch.setattr(_calls, "heard_at", lambda _frame: next(found, None))
    with tracing(twins) as trace:
        twins.right.poke()
    (moved,) = trace.filter(Transitioned)
    signal: Any = twins.bus.signal("left.go")
    signal.send(twins.left, record=moved)
    assert twins.heard == ["left"]
    assert not over.queue


def test_a_turn_that_comes_when_all_have_run_is_abandoned() -> None:
    """Another thread has queued it at the last moment: it is announced, and not forgotten."""
    twins = Twins(Toggle(), Toggle())
    call = _calls.Call()
    with tracing(twins) as trace:
        call.cascade.append(Post(place_of(twins), address_of(twins, "left.go"), (), {}))
        call.end(None)
    assert [type(record).__name__ for record in trace] == ["Abandoned"]
    assert not call.cascade.queue


def test_what_happens_in_a_step_whose_call_is_over_is_heard_by_the_next_one() -> None:
    """A frame may outlive its cascade: then nobody hears there."""
    over = Cascade()
    payload = Payload()
    payload.call, payload.root = None, over
    assert heard_at(payload) is over
    over.open = False
    assert heard_at(payload) is None


def test_an_async_machine_that_has_not_begun_keeps_its_beginning() -> None:
    """What waits is abandoned, but for the entry into the initial state."""
    office = Office(Slow())
    inbox = seam_of(office.work).inbox
    assert len(inbox) == 1
    _give_up(seam_of(office.work))
    assert len(inbox) == 1
    assert office.work.go(1) == 1


def test_a_machine_whose_seam_somebody_has_wrapped_keeps_the_hosts_ways() -> None:
    """It has left its orchestrator, and the seam could not be taken out: nothing is abandoned."""

    class Stop(BaseException):
        """Like KeyboardInterrupt."""

    class Stopping(StateMachine):
        idle = State(initial=True)
        go = idle.to.itself()
        more = idle.to.itself()

        def on_go(self) -> None:
            self.more()
            raise Stop

    class Hall(Orchestrator):
        machines_held: Fleet[int, Stopping] = attrs.field(factory=Fleet[int, Stopping])

    hall, machine = Hall(), Stopping()
    hall.machines_held[1] = machine
    engine: Any = machine._engine
    put = engine.put
    engine.put = lambda *args, **kwargs: put(*args, **kwargs)
    del hall.machines_held[1]
    with pytest.raises(Stop):
        machine.go()
    assert len(seam_of(machine).inbox) == 1
