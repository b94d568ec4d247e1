"""An event's failure is its own: who sent another one to the same machine sees nothing of it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import statemachine.engines.base
from conftest import HOST_IS_3, Engine, needs_3
from statemachine import State, StateMachine
from statemachine.event import BoundEvent
from statemachine.event_data import TriggerData
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    Abandoned,
    Failed,
    Orchestrator,
    ReactionErrors,
    Sent,
    Transitioned,
    on,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._telling import named
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

ANSWERS_EACH = HOST_IS_3 and hasattr(statemachine.engines.base.EventQueue, "pop_due")


class Work(StateMachine):
    """A machine that can be held in mid-step, fails on demand, and queues more for itself."""

    idle = State(initial=True)
    do = idle.to.itself()
    never = idle.to.itself(cond="no")

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.inside = threading.Event()
        self.leave = threading.Event()
        super().__init__()

    def no(self) -> bool:
        return False

    def on_do(
        self, number: int, *, held: bool = False, fails: bool = False, more: tuple[int, ...] = ()
    ) -> int:
        for one in more:
            self.do(one)
        if held:
            self.inside.set()
            assert self.leave.wait(60)
        if fails:
            raise ValueError(number)
        self.log.append(number)
        return number


class Office(Orchestrator):
    """It notes which numbers were announced."""

    work: Work
    heard: list[Any] = attrs.field(factory=list[Any])

    @on("work.do")
    def hear(self, number: int) -> None:
        self.heard.append(number)


def held_by_a_thread(
    office: Any, *args: Any, event: str = "do", **facts: Any
) -> tuple[threading.Thread, dict[str, Any]]:
    """Let another thread hold the machine in mid-step; return what comes of its call."""
    came: dict[str, Any] = {}

    def call() -> None:
        try:
            came["result"] = getattr(office.work, event)(*args, held=True, **facts)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            came["error"] = error

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert office.work.inside.wait(60)
    return thread, came


def released(office: Any, thread: threading.Thread) -> None:
    """Let the thread go on, and wait for its end."""
    office.work.leave.set()
    thread.join(60)
    assert not thread.is_alive()


def test_an_exception_drops_nobody_elses_events() -> None:
    """The caller gets his exception; what other threads sent runs before he does."""
    office = Office(Work())
    thread, came = held_by_a_thread(office, 0, fails=True, more=(10, 11))
    assert [office.work.do(number) for number in (1, 2, 3)] == [None] * 3
    released(office, thread)
    assert repr(came["error"]) == "ValueError(0)"
    assert office.work.log == [1, 2, 3]  # what the failed step itself had queued is gone
    assert office.heard == [1, 2, 3]


def test_another_callers_failure_is_announced_and_told_after_the_call() -> None:
    """It takes the place neither of the result nor of the other events."""
    office = Office(Work())
    with tracing(office) as trace:
        thread, came = held_by_a_thread(office, 0)
        office.work.do(1)
        office.work.do(2, fails=True, more=(20,))
        office.work.do(3)
        released(office, thread)
    group = came["error"]
    assert isinstance(group, ReactionErrors)
    assert group.result == 0
    assert [repr(one) for one in group.exceptions] == ["ValueError(2)"]
    assert [one.reaction for one in group.failures] == ["work.do, left in the machine's queue"]
    assert office.work.log == [0, 1, 3]
    (failed,) = trace.filter(Failed)
    cause = trace.cause(failed)
    assert isinstance(failed, Failed)
    assert isinstance(cause, Sent)
    assert (failed.name, repr(failed.exception)) == ("do", "ValueError(2)")
    assert (cause.event, cause.args) == ("do", (2,))


def test_another_callers_refused_event_is_his_own() -> None:
    """A refused event stops nobody, and the exception of the running call stays its own."""
    office = Office(Work())
    thread, came = held_by_a_thread(office, 0, fails=True)
    office.work.never()
    office.work.do(1)
    office.work.never()
    office.work.do(2)
    released(office, thread)
    assert repr(came["error"]) == "ValueError(0)"
    assert len(came["error"].__notes__) == 2
    assert all("TransitionNotAllowed" in note for note in came["error"].__notes__)
    assert office.work.log == [1, 2]


def put_by(other: ThreadPoolExecutor, machine: Any, event: str, *args: Any, **kwargs: Any) -> None:
    """Let another thread put an event, and not come to run it."""
    trigger = TriggerData(
        machine, event=BoundEvent(event, _sm=machine), args=args, kwargs=dict(kwargs)
    )
    other.submit(machine._engine.put, trigger).result(60)


def test_a_caller_gets_the_result_of_his_own_event(other: ThreadPoolExecutor) -> None:
    """Also where an event of another thread comes first in the queue."""
    office = Office(Work())
    for fails in (False, True):
        put_by(other, office.work, "do", 7, fails=fails)
        if fails:
            with pytest.raises(ReactionErrors) as caught:
                office.work.do(1)
            assert caught.value.result == 1
        else:
            assert office.work.do(1) == 1
    assert office.work.log == [7, 1, 1]


def test_events_of_one_caller_go_down_together() -> None:
    """The host's rule for a step stays: alone it is as on a bare machine."""
    office, bare = Office(Work()), Work()
    for work in (office.work, bare):
        with pytest.raises(ValueError, match="1"):
            work.do(1, more=(2, 3), fails=True)
        assert work.log == []
        assert work.do(4, more=(5, 6)) == 4
        assert work.log == [4, 5, 6]


# Async --------------------------------------------------------------------------------------------


class Slow(StateMachine):
    """The same on the async engine."""

    idle = State(initial=True)
    do = idle.to.itself()
    never = idle.to.itself(cond="no")

    def __init__(self) -> None:
        self.log: list[Any] = []
        super().__init__()

    async def no(self) -> bool:
        return False

    async def on_do(
        self, number: int, *, fails: bool = False, more: tuple[dict[str, Any], ...] = ()
    ) -> int:
        for facts in more:
            self.do(**facts).close()  # it stays in the queue
        for _ in range(3):
            await asyncio.sleep(0)
        if fails:
            raise ValueError(number)
        self.log.append(number)
        return number


class SlowOffice(Orchestrator):
    """It hears of everything."""

    work: Slow
    heard: list[Any] = attrs.field(factory=list[Any])

    @on("work.do")
    def hear(self, number: int) -> None:
        self.heard.append(number)


@needs_3
def test_each_task_gets_its_own_result_or_exception() -> None:
    """As if it had been alone, however many others fail or are refused meanwhile."""
    office = SlowOffice(Slow())

    async def main() -> list[Any]:
        calls = [
            office.work.never()
            if number % 5 == 4
            else office.work.do(number, fails=number % 3 == 1)
            for number in range(30)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())
    for number, result in enumerate(results):
        if number % 5 == 4:
            assert isinstance(result, TransitionNotAllowed)
        elif number % 3 == 1:
            assert repr(result) == f"ValueError({number})"
        else:
            assert result == number
    good = [number for number in range(30) if number % 5 != 4 and number % 3 != 1]
    assert office.work.log == good
    assert sorted(office.heard) == good


@pytest.mark.skipif(HOST_IS_3, reason="3.x lets every caller wait: the test above")
def test_on_2_x_the_running_task_runs_what_others_sent_and_is_told_of_their_failures() -> None:
    """Nothing is dropped: who sends to a busy machine is answered at once, with None."""
    office = SlowOffice(Slow())

    async def main() -> list[Any]:
        calls = [office.work.do(number, fails=number % 3 == 1) for number in range(9)]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, *others = asyncio.run(main())
    assert others == [None] * 8
    assert isinstance(first, ReactionErrors)
    assert first.result == 0
    assert [repr(one) for one in first.exceptions] == [f"ValueError({n})" for n in (1, 4, 7)]
    assert office.work.log == office.heard == [0, 2, 3, 5, 6, 8]


@needs_3
def test_what_another_callers_step_has_queued_is_told_after_the_call() -> None:
    """Nobody waits for that: it is a failure of the cascade of who runs it."""
    office = SlowOffice(Slow())

    async def main() -> list[Any]:
        bad = {"number": 20, "fails": True}
        calls = [office.work.do(1, fails=True), office.work.do(2, more=(bad,)), office.work.do(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with tracing(office) as trace:
        first, second, third = asyncio.run(main())
    assert (repr(first), second, third) == ("ValueError(1)", 2, 3)
    assert first.__notes__ == ["work.do, left in the machine's queue failed: ValueError(20)"]
    assert len(trace.filter(Failed)) == 1
    assert office.work.log == [2, 3]


@needs_3
def test_the_failure_of_who_has_given_up_is_told_after_the_running_call() -> None:
    """It does not take the place of that call's result."""
    office = SlowOffice(Slow())

    async def main() -> Any:
        running = asyncio.ensure_future(office.work.do(1))
        await asyncio.sleep(0)
        gives_up = asyncio.ensure_future(office.work.do(2, fails=True))
        await asyncio.sleep(0)
        gives_up.cancel()
        return await asyncio.gather(running, office.work.do(3), return_exceptions=True)

    running, last = asyncio.run(main())
    assert isinstance(running, ReactionErrors)
    assert (running.result, last) == (1, 3)
    assert [repr(one) for one in running.exceptions] == ["ValueError(2)"]


def test_a_machine_that_cannot_begin_fails_every_event_that_waits() -> None:
    """An async machine enters its initial state with its first event: none can be taken."""

    class Broken(Slow):
        async def on_enter_idle(self) -> None:
            raise ValueError("broken")

    class Workshop(Orchestrator):
        work: Broken

    workshop = Workshop(Broken())

    async def main() -> list[Any]:
        calls = [workshop.work.do(1), workshop.work.do(2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second = asyncio.run(main())
    assert repr(first) == "ValueError('broken')"
    assert second != 2
    assert not ANSWERS_EACH or repr(second) == "ValueError('broken')"
    if ANSWERS_EACH or not HOST_IS_3:  # 3.0 and 3.1 leave the events in the queue
        assert workshop.work.log == []


@needs_3
def test_what_cannot_be_taken_at_all_is_announced_and_not_kept(
    other: ThreadPoolExecutor,
) -> None:
    """A guard of an eventless transition raises before an event is taken."""

    class Guarded(StateMachine):
        idle = State(initial=True)
        done = State()
        do = idle.to.itself()
        back = done.to(idle)
        idle.to(done, cond="is_over")
        is_broken = False

        def is_over(self) -> bool:
            if self.is_broken:
                raise ValueError("guard")
            return False

    class Workshop(Orchestrator):
        work: Guarded

    workshop = Workshop(Guarded())
    with tracing(workshop) as trace:
        put_by(other, workshop.work, "do")
        workshop.work.is_broken = True
        with pytest.raises(ValueError, match="guard") as caught:
            workshop.work.do()
        notes: Any = getattr(caught.value, "__notes__", ())
        assert [note for note in notes if " failed: " in note] == [
            "work.do, left in the machine's queue failed: ValueError('guard')"
        ]
        workshop.work.is_broken = False
        workshop.work.do()
    assert [str(named(record)) for record in trace.filter(Failed)] == ["work.do"]
    assert len(trace.filter(Transitioned)) == 1


@pytest.mark.usefixtures("restless")
def test_every_event_of_many_threads_is_accounted_for() -> None:
    """Taken, or announced as failed: exactly once."""
    office = Office(Work())
    came: list[int] = []

    def send(first: int) -> None:
        for number in range(first, first + 200):
            try:
                office.work.do(number, fails=number % 7 == 0)
            except ReactionErrors:
                pass
            except ValueError as error:
                came.append(error.args[0])

    with tracing(office) as trace:
        threads = [threading.Thread(target=send, args=(200 * at,), daemon=True) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    failed = [one.exception.args[0] for one in trace.filter(Failed) if isinstance(one, Failed)]
    assert sorted(office.work.log) == [number for number in range(800) if number % 7]
    assert sorted(came + failed) == list(range(0, 800, 7))
    assert len(trace.filter(Transitioned)) == len(office.work.log) == len(office.heard)


@needs_3
def test_a_machine_that_was_built_in_an_event_loop_and_cannot_begin() -> None:
    """The host has made a future for the entry into the initial state: nobody waits for it."""

    class Broken(Slow):
        async def on_enter_idle(self) -> None:
            raise ValueError("broken")

    class Workshop(Orchestrator):
        work: Broken

    async def main() -> Any:
        workshop = Workshop(Broken())
        with pytest.raises(ValueError, match="broken"):
            await workshop.work.do(1)
        return workshop

    workshop = asyncio.run(main())
    assert len(seam_of(workshop.work).inbox) == 0


@needs_3
def test_what_the_own_step_has_queued_fails_the_call_that_waits() -> None:
    """As on a bare machine: only who sent the first event can be told."""
    office = SlowOffice(Slow())
    bad = {"number": 20, "fails": True}
    with pytest.raises(ValueError, match="20"):
        asyncio.run(office.work.do(1, more=(bad,)))
    assert office.work.log == [1]


def raising() -> Any:
    """Return a machine of 3.x: `start` raises `inner` for its macrostep, then sends `refused`."""

    class Raising(StateMachine):
        idle = State(initial=True)
        start = idle.to.itself()
        inner = idle.to.itself()
        refused = idle.to.itself(validators="refuse")
        more = idle.to.itself()

        def __init__(self) -> None:
            self.log: list[str] = []
            self.inside = threading.Event()
            self.leave = threading.Event()
            super().__init__()

        def refuse(self) -> None:
            raise ValueError("refused")

        def before_start(self, *, fails: bool = False) -> Any:
            machine: Any = self
            return machine.raise_("inner", fails=fails)

        def on_start(self, *, held: bool = False) -> Any:
            refused = self.refused()
            if held:
                self.inside.set()
                assert self.leave.wait(60)
            return refused

        def on_inner(self, *, fails: bool = False) -> None:
            if fails:
                raise LookupError("inner")

        def after_transition(self, event: str) -> None:
            self.log.append(str(event))

    return Raising


class Raisers(Orchestrator):
    """It has a machine that raises events for its own macrostep."""

    work: StateMachine


@needs_3
def test_what_a_step_has_raised_does_not_lie_there_when_a_later_step_fails(
    engine: Engine,
) -> None:
    """Before 3.2.2 a bare machine takes it with the next call, whoever makes it and when."""
    works = engine.machine(raising())
    bare: Any = works()
    raisers: Any = Raisers(works())
    with suppress(ValueError):  # an async one before 3.2.2 tells nobody
        engine.run(bare.start)
    assert repr(engine.raises(ValueError, raisers.work.start)) == "ValueError('refused')"
    assert raisers.work.log == ["start", "inner"]
    assert seam_of(raisers.work).inbox.is_idle()
    assert [engine.run(one) for one in (bare.more, raisers.work.more)] == [None] * 2
    assert raisers.work.log == bare.log == ["start", "inner", "more"]


@needs_3
def test_what_a_step_has_raised_fails_nobody_elses_event() -> None:
    """It comes before what another thread has sent, and its failure is told beside the call's."""
    raisers: Any = Raisers(raising()())
    with tracing(raisers) as trace:
        thread, came = held_by_a_thread(raisers, event="start", fails=True)
        assert raisers.work.more() is None
        released(raisers, thread)
    assert raisers.work.log == ["start", "more"]
    if ANSWERS_EACH:  # it came first, and what waited behind it has gone with it
        assert repr(came["error"]) == "LookupError('inner')"
        (gone,) = trace.filter(Abandoned)
        assert isinstance(gone, Abandoned)
        assert gone.name == "refused"
    else:
        assert repr(came["error"]) == "ValueError('refused')"
        assert ["LookupError('inner')" in note for note in came["error"].__notes__] == [True]
        (failed,) = trace.filter(Failed)
        assert isinstance(failed, Failed)
        assert (failed.name, repr(failed.exception)) == ("inner", "LookupError('inner')")
