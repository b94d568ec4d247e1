"""Law 8: one call, one cascade."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import attrs
import pytest
from conftest import HOST_IS_3, close_the_hosts_loop, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import AsyncReactionError, Orchestrator, ReactionErrors, on


class Sync(StateMachine):
    a = State(initial=True)
    b = State()
    go = a.to(b) | b.to(a)
    hit = a.to.itself() | b.to.itself()

    def on_hit(self, number: int = 0) -> int:
        return number


class Slow(StateMachine):
    a = State(initial=True)
    b = State()
    go = a.to(b) | b.to(a)
    hit = a.to.itself() | b.to.itself()

    async def on_hit(self, number: int = 0) -> int:
        await asyncio.sleep(0)
        return number


class Async(Orchestrator):
    machine: Slow
    log: Any = attrs.field(factory=list)

    @on("machine.hit")
    async def react(self, number: int) -> None:
        await asyncio.sleep(0)
        task: Any = asyncio.current_task()
        self.log.append((number, task.get_name()))
        if number % 2:
            raise ValueError(number)


async def four_tasks(held: Any) -> list[Any]:
    tasks = [asyncio.create_task(held.machine.hit(n), name=str(n)) for n in range(4)]
    return await asyncio.gather(*tasks, return_exceptions=True)


@needs_3
def test_four_tasks_on_one_async_machine_each_get_their_own() -> None:
    """Each task awaits its own reactions, in its own task, and gets its own failures."""
    held = Async(Slow(), log=[])
    results = asyncio.run(four_tasks(held))
    assert results[0] == 0
    assert results[2] == 2
    assert [[str(error) for error in results[n].exceptions] for n in (1, 3)] == [["1"], ["3"]]
    assert [results[n].result for n in (1, 3)] == [1, 3]
    assert sorted(held.log) == [(n, str(n)) for n in range(4)]


@pytest.mark.skipif(HOST_IS_3, reason="3.x lets every caller wait: the test above")
def test_on_2_x_the_call_that_runs_the_machine_gets_what_others_sent() -> None:
    """A busy async machine of 2.x lets nobody wait: the running call gets the reactions."""
    held = Async(Slow(), log=[])
    results = asyncio.run(four_tasks(held))
    assert results[1:] == [None, None, None]
    assert [str(error) for error in results[0].exceptions] == ["1", "3"]
    assert held.log == [(n, "0") for n in range(4)]


@needs_3
def test_a_call_that_nobody_awaits_belongs_to_the_call_that_runs_its_event() -> None:
    """An event sent without awaiting it is run by the next call, its reactions too."""
    held = Async(Slow(), log=[])

    async def main() -> Any:
        await held.machine.hit(0)
        held.machine.hit(2).close()
        return await held.machine.hit(4)

    asyncio.run(main())
    assert [number for number, _task in held.log] == [0, 2, 4]


def test_a_sync_call_with_a_sync_machine_and_an_async_reaction_runs_it_to_completion() -> None:
    """Without a running loop an async reaction is run, as the host runs async machines."""

    class Held(Orchestrator):
        machine: Sync
        log: Any = attrs.field(factory=list)

        @on("machine.hit")
        async def react(self, number: int) -> None:
            await asyncio.sleep(0)
            self.log.append(number)

        @on("machine.hit")
        def awaitable(self, number: int) -> Any:
            async def later() -> None:
                self.log.append(-number)

            return later()

    held = Held(Sync(), log=[])
    assert held.machine.hit(3) == 3
    assert held.log == [3, -3]


def test_a_sync_call_in_a_running_loop_refuses_an_async_reaction() -> None:
    """Nobody could await it: its turn fails, and the others run."""

    class Held(Orchestrator):
        machine: Sync
        log: Any = attrs.field(factory=list)

        @on("machine.hit")
        async def never(self) -> None:
            raise AssertionError

        @on("machine.hit")
        def awaitable(self) -> Any:
            async def later() -> None:
                raise AssertionError

            return later()

        @on("machine.hit")
        def sync(self) -> None:
            self.log.append("sync")

    async def main() -> Any:
        held = Held(Sync(), log=[])
        with pytest.raises(ReactionErrors) as caught:
            held.machine.hit()
        return held, caught.value

    held, group = asyncio.run(main())
    assert [type(error) for error in group.exceptions] == [AsyncReactionError] * 2
    assert [failure.reaction for failure in group.failures] == ["Held.never", "Held.awaitable"]
    assert held.log == ["sync"]


@pytest.mark.parametrize("machine_class", [Sync, Slow])
def test_asend_sends_to_a_machine_of_either_colour_and_awaits_the_cascade(
    machine_class: Any,
) -> None:
    """It returns the event's result when the whole cascade has run."""

    class Held(Orchestrator):
        machine: Sync | Slow
        log: Any = attrs.field(factory=list)

        @on("machine.hit")
        async def react(self, number: int) -> None:
            await asyncio.sleep(0)
            self.log.append(number)

    held = Held(machine_class(), log=[])

    async def main() -> Any:
        return await held.asend("machine.hit", 5), list(held.log)

    assert asyncio.run(main()) == (5, [5])


def test_asend_raises_what_the_event_raises_and_what_failed_after_it() -> None:
    """A refusal is the host's exception; a failing reaction a group with the result."""

    class Ends(StateMachine):
        a = State(initial=True)
        b = State()
        go = a.to(b)
        back = b.to(a)

    class Held(Orchestrator):
        machine: Ends

        @on("machine.go")
        async def fail(self) -> None:
            raise ValueError

    async def main() -> None:
        held = Held(Ends())
        with pytest.raises(TransitionNotAllowed):
            await held.asend("machine.back")
        with pytest.raises(ReactionErrors):
            await held.asend("machine.go")

    asyncio.run(main())


def test_asend_in_a_cascade_is_an_ordinary_nested_call() -> None:
    """Inside a cascade it acts at once; the reactions to it wait for their turn."""

    class Held(Orchestrator):
        machine: Slow
        other: Sync
        log: Any = attrs.field(factory=list)

        @on("machine.hit")
        async def nested(self) -> None:
            self.log.append(await self.asend("other.hit", 7))

        @on("other.hit")
        def react(self) -> None:
            self.log.append("react")

    held = Held(Slow(), Sync(), log=[])

    async def main() -> None:
        await held.machine.hit()

    asyncio.run(main())
    assert held.log == [7, "react"]


def test_machines_of_both_colours_share_one_cascade() -> None:
    """A reaction to an async machine may call a sync one, whose reactions follow in order."""

    class Mixed(Orchestrator):
        slow: Slow
        sync: Sync
        log: Any = attrs.field(factory=list)

        @on("slow.hit")
        def to_sync(self) -> Any:
            self.log.append("to_sync")
            return self.sync.hit(1)

        @on("slow.hit")
        async def second(self) -> None:
            self.log.append("second")

        @on("sync.hit")
        async def to_slow(self) -> None:
            self.log.append("to_slow")
            await self.slow.go()

        @on("slow.go")
        def last(self) -> None:
            self.log.append("last")

    mixed = Mixed(Slow(), Sync(), log=[])

    async def main() -> None:
        await mixed.slow.hit()

    asyncio.run(main())
    assert mixed.log == ["to_sync", "second", "to_slow", "last"]
    mixed.log.clear()
    mixed.slow.hit()
    assert mixed.log == ["to_sync", "second", "to_slow", "last"]
    mixed.log.clear()
    mixed.sync.hit()
    assert mixed.log == ["to_slow", "last"]


def test_post_outside_of_a_cascade_opens_one(engine: Any) -> None:
    """It runs the event to rest and returns None; for an async machine in a loop it is refused."""

    class Held(Orchestrator):
        machine: Sync
        log: Any = attrs.field(factory=list)

        @on("machine.hit")
        def react(self, number: int) -> None:
            self.log.append(number)

    held = Held(engine.machine(Sync)(), log=[])
    assert held.post("machine.hit", 1) is None
    assert held.log == [1]

    async def main() -> None:
        if engine.is_async:
            with pytest.raises(AsyncReactionError):
                held.post("machine.hit", 2)
            await held.asend("machine.hit", 3)
        else:
            held.post("machine.hit", 3)

    asyncio.run(main())
    assert held.log == [1, 3]


def test_a_refused_post_outside_of_a_cascade_is_a_failure_of_its_cascade(engine: Any) -> None:
    """Even a single post raises the group."""

    class Ends(StateMachine):
        a = State(initial=True)
        b = State()
        go = a.to(b)
        back = b.to(a)

    class Held(Orchestrator):
        machine: Ends

    held = Held(engine.machine(Ends)())
    with pytest.raises(ReactionErrors) as caught:
        held.post("machine.back")
    assert [type(error) for error in caught.value.exceptions] == [TransitionNotAllowed]


# Tasks ----------------------------------------------------------------------------------------


class Spawning(Orchestrator):
    """A reaction starts a task, which hits the other machine."""

    machine: Slow
    other: Slow
    log: Any = attrs.field(factory=list)
    gate: Any = None
    task: Any = None
    waits: bool = False

    @on("machine.hit")
    async def spawn(self) -> None:
        async def later() -> Any:
            if self.gate is not None:
                await self.gate.wait()
            return await self.other.hit(1)

        self.task = asyncio.create_task(later())
        if self.waits:
            await asyncio.sleep(0.01)

    @on("other.hit")
    async def react(self) -> None:
        self.log.append("react")
        raise ValueError("failed")


def test_a_call_in_a_task_started_inside_a_cascade_is_nested_while_it_is_open() -> None:
    """The cascade that the task was started in runs the reactions, and gets the failure."""

    async def main() -> tuple[Any, Any]:
        held = Spawning(Slow(), Slow(), log=[], waits=True)
        with pytest.raises(ReactionErrors) as caught:
            await held.machine.hit()
        return await held.task, [str(error) for error in caught.value.exceptions]

    assert asyncio.run(main()) == (1, ["failed"])


def test_a_call_in_such_a_task_that_ends_after_the_cascade_is_an_outermost_one() -> None:
    """It runs what it caused, and gets its failures."""

    async def main() -> tuple[Any, Any]:
        held = Spawning(Slow(), Slow(), log=[], gate=asyncio.Event())
        await held.machine.hit()
        held.gate.set()
        with pytest.raises(ReactionErrors) as caught:
            await held.task
        return held.log, [str(error) for error in caught.value.exceptions]

    assert asyncio.run(main()) == (["react"], ["failed"])


def test_a_call_that_was_under_way_when_the_cascade_closed_runs_what_it_caused() -> None:
    """A nested call that comes to rest after the close ends as an outermost one."""
    gate: Any = None

    class Gated(StateMachine):
        a = State(initial=True)
        hit = a.to.itself()

        async def on_hit(self) -> str:
            await gate.wait()
            return "hit"

    class Held(Orchestrator):
        machine: Slow
        other: Gated
        log: Any = attrs.field(factory=list)
        task: Any = None

        @on("machine.hit")
        async def spawn(self) -> None:
            self.task = asyncio.ensure_future(self.other.hit())
            await asyncio.sleep(0)

        @on("other.hit")
        def react(self) -> None:
            self.log.append("react")
            raise ValueError("failed")

    async def main() -> tuple[Any, Any, Any]:
        nonlocal gate
        gate = asyncio.Event()
        held = Held(Slow(), Gated(), log=[])
        await held.machine.hit()
        before = list(held.log)
        gate.set()
        with pytest.raises(ReactionErrors) as caught:
            await held.task
        return before, held.log, caught.value.result

    assert asyncio.run(main()) == ([], ["react"], "hit")


# Threads --------------------------------------------------------------------------------------


def test_a_call_in_another_thread_is_an_outermost_one(engine: Any) -> None:
    """Even in a copy of the context of a cascade, and it gets its own failures."""
    caught: list[Any] = []

    class Held(Orchestrator):
        machine: Sync
        other: Sync
        log: Any = attrs.field(factory=list)

        @on("machine.go")
        def elsewhere(self) -> None:
            def work() -> None:
                try:
                    self.other.hit()
                except ReactionErrors as group:
                    caught.extend(str(error) for error in group.exceptions)
                close_the_hosts_loop()

            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(work,))
            thread.start()
            thread.join()
            self.log.append("joined")

        @on("other.hit")
        def react(self) -> None:
            self.log.append("react")
            raise ValueError("other thread")

    held = Held(engine.machine(Sync)(), engine.machine(Sync)(), log=[])
    engine.run(held.machine.go)
    assert (held.log, caught) == (["react", "joined"], ["other thread"])


def blocked(react: Any = None) -> tuple[Any, Any, Any]:
    """Return an orchestrator whose `go` lets another thread send `hit` in mid-step."""
    inside, leave = threading.Event(), threading.Event()

    class Blocking(Sync):
        def on_go(self) -> str:
            inside.set()
            assert leave.wait(5)
            return "went"

    class Blocked(Orchestrator):
        machine: Blocking
        log: Any = attrs.field(factory=list)

        @on("machine.hit")
        def note(self, number: int) -> None:
            self.log.append((number, threading.current_thread().name))
            if react is not None:
                react()

    return Blocked(Blocking(), log=[]), inside, leave


def test_an_event_of_a_second_thread_joins_the_call_that_runs_the_machine() -> None:
    """The second thread's call returns None at once; the running call runs the reactions."""

    def fail() -> None:
        raise ValueError("joined")

    held, inside, leave = blocked(fail)
    results: list[Any] = []

    def run() -> None:
        try:
            held.machine.go()
        except ReactionErrors as group:
            results.append((group.result, [str(error) for error in group.exceptions]))

    runner = threading.Thread(target=run, name="runner")
    runner.start()
    assert inside.wait(5)
    assert held.machine.hit(7) is None
    leave.set()
    runner.join()
    assert results == [("went", ["joined"])]
    assert held.log == [(7, "runner")]


def test_two_machines_poked_from_two_threads_do_not_deadlock() -> None:
    """Reactions that poke the other machine, from two threads at once, come to an end."""

    class Pair(Orchestrator, max_reactions=None):
        one: Sync
        two: Sync

        @on("one.hit")
        def poke_two(self, number: int) -> None:
            if number:
                self.two.hit(number - 1)

        @on("two.hit")
        def poke_one(self, number: int) -> None:
            if number:
                self.one.hit(number - 1)

    pair = Pair(Sync(), Sync())
    counted = []
    for topic in ("one.hit", "two.hit"):
        pair.bus.signal(topic).connect(lambda _machine, record: counted.append(record.args[0]))
    threads = [
        threading.Thread(target=lambda machine=machine: [machine.hit(3) for _ in range(50)])
        for machine in (pair.one, pair.two)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(counted) == sorted([3, 2, 1, 0] * 100)


@pytest.mark.parametrize("nested", [False, True])
def test_an_event_put_at_the_last_instant_is_not_stranded(nested: bool) -> None:  # noqa: FBT001
    """What another thread put when the loop had ended is run before the call returns."""
    held, _inside, leave = blocked()
    leave.set()
    engine = held.machine._engine
    release = engine._processing.release
    fired: list[Any] = []

    class Lock:
        """The host's lock, with another thread's event just before it is released."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def acquire(self, **kwargs: Any) -> bool:
            return bool(self.lock.acquire(**kwargs))

        def locked(self) -> bool:
            return bool(self.lock.locked())

        def release(self) -> None:
            if not fired:
                fired.append(True)
                thread = threading.Thread(target=held.machine.hit, args=(9,))
                thread.start()
                thread.join()
            release()

    engine._processing = Lock(engine._processing)
    if nested:
        held.post("machine.go")
    else:
        assert held.machine.go() == "went"
    assert held.log == [(9, threading.current_thread().name)]


def test_the_rest_of_the_queue_after_a_refused_event_is_run() -> None:
    """Events queued behind a refused one are run before the call raises (3.x leaves them)."""

    class Queued(StateMachine):
        a = State(initial=True)
        b = State()
        go = a.to(b)
        good = b.to(a)

        def on_go(self) -> None:
            self.go()  # refused when its turn comes
            self.good()

    class Alone(Orchestrator):
        machine: Queued
        log: Any = attrs.field(factory=list)

        @on("machine.*")
        def note(self, event: str) -> None:
            self.log.append(str(event))

    held = Alone(Queued(), log=[])
    with pytest.raises(TransitionNotAllowed):
        held.machine.go()
    left = len(held.machine._engine.external_queue.queue.queue) if HOST_IS_3 else 0
    assert left == 0
    # 2.x drops what is queued behind a refused event: the host's rule for a step, which stays.
    assert held.log == (["go", "good"] if HOST_IS_3 else ["go"])


def test_what_fails_among_the_stranded_is_a_note_on_the_callers_exception() -> None:
    """The caller's own exception stays what it was."""

    class Queued(StateMachine):
        a = State(initial=True)
        b = State()
        go = a.to(b)
        back = b.to(a)

        def on_go(self) -> None:
            self.go()
            self.go()

    class Alone(Orchestrator):
        machine: Queued

    held = Alone(Queued())
    with pytest.raises(TransitionNotAllowed) as caught:
        held.machine.go()
    notes = getattr(caught.value, "__notes__", [])
    assert [note.partition(" failed: ")[0] for note in notes] == (
        ["machine.go, left in the machine's queue"] if HOST_IS_3 else []
    )
