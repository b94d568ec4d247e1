"""Hostile use: what was once found to break a law, by number of the law."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from typing import Any

import attrs
import pytest
from conftest import HOST_IS_3, needs_3
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import (
    AsyncReactionError,
    MachineIsBusyError,
    Orchestrator,
    ReactionErrors,
    RunawayCascadeError,
    on,
)
from statemachines_orchestrator._engine import is_in_mid_step
from statemachines_orchestrator._frames import here


class Sync(StateMachine):
    s = State(initial=True)
    go = s.to.itself()
    other = s.to.itself()


class Slow(Sync):
    async def on_go(self, gate: Any = None) -> None:
        if gate is not None:
            await gate.wait()
        else:
            await asyncio.sleep(0)


class Stop(BaseException):
    """Like KeyboardInterrupt."""


@pytest.fixture(autouse=True)
def _nothing_is_left_in_the_context() -> Any:
    yield
    assert here.get() is None


def messages(group: Any) -> list[str]:
    return [str(error) for error in group.exceptions]


# Laws 1 and 8: the host's queue ---------------------------------------------------------------


@needs_3
def test_cancelled_events_do_not_hold_a_call() -> None:
    """`cancel_event` in a callback, after which 3.0 and 3.1 use another list as their queue."""

    class Cancelling(StateMachine):
        s = State(initial=True)
        go = s.to.itself()
        later = s.to.itself()
        no = s.to.itself(cond="never")

        def never(self) -> bool:
            return False

        def on_go(self) -> str:
            self.send("later", delay=30, send_id="n")
            self.cancel_event("n")
            return "gone"

        def on_later(self) -> None:
            self.no()
            self.go()

    class Alone(Orchestrator):
        machine: Cancelling

    machine: Any = Alone(Cancelling()).machine
    assert machine.go() == "gone"
    with pytest.raises(TransitionNotAllowed):
        machine.later()
    assert len(machine._engine.external_queue.queue.queue) == 0


@needs_3
def test_an_eventless_guard_that_raises_raises_once() -> None:
    """The host takes nothing from its queue then: it is not asked for ever."""

    class Guarded(StateMachine):
        s1 = State(initial=True)
        s2 = State(final=True)
        go = s1.to.itself()
        s1.to(s2, cond="guard")
        bad = False

        def guard(self) -> bool:
            if self.bad:
                raise ValueError("guard")
            return False

    class Alone(Orchestrator):
        machine: Guarded

    machine = Alone(Guarded()).machine
    machine.bad = True
    with pytest.raises(ValueError, match="guard"):
        machine.go()


def test_a_machine_of_a_refused_orchestrator_keeps_the_hosts_ways() -> None:
    """After a constructor that raised, what is stranded stays as on a bare machine."""

    class Refusing(StateMachine):
        s = State(initial=True)
        go = s.to.itself()
        no = s.to.itself(cond="never")

        def never(self) -> bool:
            return False

        def on_go(self) -> None:
            self.no()
            self.no()

    class Fails(Orchestrator):
        machine: Refusing

        def __attrs_post_init__(self) -> None:
            raise ValueError

    bare, machine = Refusing(), Refusing()
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        Fails(machine)
    for one in (bare, machine):
        with pytest.raises(TransitionNotAllowed):
            one.go()


def test_an_async_machine_with_a_call_under_way_is_not_attached() -> None:
    """A coroutine made before attaching would run outside of the orchestrator."""

    class Alone(Orchestrator):
        machine: Slow

    async def main() -> None:
        machine = Slow()
        coroutine: Any = machine.go()
        with pytest.raises(MachineIsBusyError):
            Alone(machine)
        await coroutine
        Alone(machine)

    asyncio.run(main())


# Laws 3, 5, 6: statecharts --------------------------------------------------------------------


@needs_3
def test_a_reaction_moves_a_chart_whose_eventless_transition_is_enabled(engine: Any) -> None:
    """The eventless transition and the event are announced, also for a posted event."""
    from statemachine import StateChart  # noqa: PLC0415

    class A(StateChart[Any]):
        s1 = State(initial=True)
        s2 = State()
        go = s1.to(s2) | s2.to(s1)

    class B(StateChart[Any]):
        idle = State(initial=True)
        ready = State()
        idle.to(ready, cond="a_moved")
        nudge = idle.to.itself() | ready.to.itself()

        def a_moved(self, orc: Any = None) -> bool:
            return orc is not None and bool(orc.a.current_state_value == "s2")

    class Shop(Orchestrator):
        a: A
        b: B
        posts: bool = False
        log: list[Any] = attrs.field(factory=list)

        @on("a.go")
        def nudge(self) -> Any:
            return self.post("b.nudge") if self.posts else self.b.nudge()

        @on("b.*")
        def note(self, event: Any, target: State) -> None:
            self.log.append((event and str(event), target.id))

    for posts in (False, True):
        shop = Shop(engine.machine(A)(), engine.machine(B)(), posts=posts)
        engine.run(lambda shop=shop: shop.a.go())
        assert shop.log == [(None, "ready"), ("nudge", "ready")]


@needs_3
def test_an_error_event_after_the_cascade_closed_is_announced() -> None:
    """A task that outlives its cascade, on a chart whose callback raises."""
    from statemachine import StateChart  # noqa: PLC0415

    gate: Any = None

    class Chart(StateChart[Any]):
        s = State(initial=True)
        bad = State()
        slow = s.to.itself()
        back = bad.to(s)
        error_execution = s.to(bad)

        async def before_slow(self) -> None:
            await gate.wait()
            raise ValueError("x")

    class Shop(Orchestrator):
        trigger: Sync
        chart: Chart
        task: Any = None
        log: list[str] = attrs.field(factory=list)

        @on("trigger.go")
        def start(self) -> None:
            self.task = asyncio.ensure_future(self.chart.slow())

        @on("chart.*")
        def note(self, event: str) -> None:
            self.log.append(str(event))

    async def main() -> list[str]:
        nonlocal gate
        gate = asyncio.Event()
        shop = Shop(Sync(), Chart())
        shop.trigger.go()
        await asyncio.sleep(0)
        gate.set()
        await shop.task
        return shop.log

    assert asyncio.run(main()) == ["error.execution"]


@needs_3
def test_an_event_named_like_the_hosts_has_its_caller() -> None:
    """Sent by the user, `done.invoke.x` and `error.execution` raise what failed after them."""
    from statemachine import StateChart  # noqa: PLC0415

    class Chart(StateChart[Any]):
        s = State(initial=True)
        done_invoke_s = s.to.itself()
        error_execution = s.to.itself()

    class Shop(Orchestrator):
        chart: Chart

        @on("chart.*")
        def fail(self) -> None:
            raise ValueError("reaction")

    shop = Shop(Chart())
    for event in ("done.invoke.s", "error.execution"):
        with pytest.raises(ReactionErrors):
            shop.chart.send(event)


# Law 6: stops and refusals --------------------------------------------------------------------


def test_an_observer_of_sent_that_stops_takes_the_event_back(engine: Any) -> None:
    """The call never began: the event is not taken by the next one."""

    class Shop(Orchestrator):
        machine: Sync
        log: list[str] = attrs.field(factory=list)

        @on("machine.*")
        def note(self, event: str) -> None:
            self.log.append(str(event))

    shop = Shop(engine.machine(Sync)())

    def stop(_machine: Any, record: Any) -> None:
        if record.event == "go":
            raise Stop

    shop.bus.signal("sent:*").connect(stop)
    engine.raises(Stop, lambda: shop.machine.go())
    engine.run(lambda: shop.machine.other())
    assert shop.log == ["other"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_base_exception_runs_nothing_more_on_the_machine(nested: bool) -> None:  # noqa: FBT001
    """What the step had queued on its machine is not run, nested or outermost."""
    log: list[str] = []

    class Inner(Sync):
        def on_go(self) -> None:
            self.other()
            raise Stop

        def on_other(self) -> None:
            log.append("other")

    class Outer(Sync):
        def on_go(self, orc: Any) -> None:
            orc.inner.go()

    class Shop(Orchestrator):
        outer: Outer
        inner: Inner

    shop = Shop(Outer(), Inner())
    with pytest.raises(Stop):
        (shop.outer if nested else shop.inner).go()
    assert log == []


def test_a_refused_reaction_sends_nothing() -> None:
    """The event that nobody can await is withdrawn: it is not taken by a later call."""

    class Pay(Slow):
        paid = 0

        async def on_go(self, gate: Any = None) -> None:
            assert gate is None
            self.paid += 1

    class Shop(Orchestrator):
        order: Sync
        payment: Pay

        @on("order.go")
        def pay(self) -> Any:
            return self.payment.go()

    async def main() -> int:
        shop = Shop(Sync(), Pay())
        with pytest.raises(ReactionErrors) as caught:
            shop.order.go()
        assert [type(error) for error in caught.value.exceptions] == [AsyncReactionError]
        await shop.payment.other()
        return shop.payment.paid

    assert asyncio.run(main()) == 0


# Law 7: loops ---------------------------------------------------------------------------------


def test_a_loop_with_a_leaf_before_it_is_named(engine: Any) -> None:
    """A logger that is declared before the reactions that loop hides nothing."""

    class Leaf(Orchestrator, max_reactions=100):
        ping: Sync
        pong: Sync

        @on("ping.go", "pong.go")
        def log(self) -> None:
            """Lead nowhere."""

        @on("ping.go")
        def there(self) -> Any:
            return self.pong.go()

        @on("pong.go")
        def back(self) -> Any:
            return self.ping.go()

    machine = engine.machine(Sync)
    error = engine.raises(RunawayCascadeError, Leaf(machine(), machine()).ping.go)
    assert error.loop == ("ping.go", "Leaf.there", "pong.go", "Leaf.back", "ping.go")


def test_a_loop_that_branches_is_named() -> None:
    """Two reactions that both come back double what waits, and no path repeats exactly."""

    class Fan(Orchestrator, max_reactions=1000):
        machine: Sync

        @on("machine.go")
        def one(self) -> Any:
            return self.machine.go()

        @on("machine.go")
        def two(self) -> Any:
            return self.machine.go()

    with pytest.raises(RunawayCascadeError) as caught:
        Fan(Sync()).machine.go()
    assert caught.value.loop[0] == "machine.go"


def test_a_few_retries_in_a_wide_cascade_are_no_loop() -> None:
    """Twelve jobs that post themselves twice again come to their end."""

    class Jobs(Orchestrator, max_reactions=25):
        start: Sync
        job: Sync
        tries: int = 0

        @on("start.go")
        def fan_out(self) -> None:
            for _ in range(12):
                self.post("job.go", left=2)

        @on("job.go")
        def again(self, left: int) -> None:
            self.tries += 1
            if left:
                self.post("job.go", left=left - 1)

    jobs = Jobs(Sync(), Sync())
    jobs.start.go()
    assert jobs.tries == 36


# Law 8: tasks and threads ---------------------------------------------------------------------


class Two(Orchestrator):
    a: Slow
    b: Slow
    log: list[str] = attrs.field(factory=list)

    @on("a.go")
    def after_a(self) -> None:
        self.log.append("a")

    @on("b.go")
    async def after_b(self) -> None:
        await asyncio.sleep(0)
        self.log.append("b")
        raise ValueError("of b")


@needs_3
def test_a_call_that_was_cancelled_before_it_began_leaves_its_event_to_the_next() -> None:
    """The event was sent; its reactions belong to the call that takes it."""

    async def main() -> list[str]:
        two = Two(Slow(), Slow())
        task = asyncio.ensure_future(two.a.go())
        task.cancel()
        await asyncio.wait([task])
        await two.a.other()
        return two.log

    assert asyncio.run(main()) == ["a"]


@needs_3
def test_a_call_that_is_dropped_hands_over_what_it_caused() -> None:
    """What waited for a caller that never came goes to the cascade that is running."""

    async def main() -> list[str]:
        two = Two(Slow(), Slow())
        coroutine: Any = two.a.go()
        await two.a.other()
        assert two.log == []

        def drop(_machine: Any, record: Any) -> None:  # noqa: ARG001
            nonlocal coroutine
            coroutine.close()
            coroutine = None
            gc.collect()

        two.bus.signal("b.other").connect(drop)
        await two.b.other()
        return two.log

    assert asyncio.run(main()) == ["a"]


@needs_3
def test_a_call_that_is_dropped_outside_of_a_cascade_abandons_what_it_caused() -> None:
    """Nobody is left to run it: it is announced."""

    async def main() -> list[str]:
        two = Two(Slow(), Slow())
        two.bus.signal("abandoned:*").connect(lambda _two, record: two.log.append(record.name))
        coroutine: Any = two.a.go()
        await two.a.other()
        coroutine.close()
        del coroutine
        gc.collect()
        return two.log

    assert asyncio.run(main()) == ["after_a"]


@needs_3
def test_an_event_that_was_only_put_does_not_join_other_calls() -> None:
    """After `event.put()`, with an observer of `sent:`, each call has its own cascade."""

    async def main() -> list[Any]:
        two = Two(Slow(), Slow())
        two.bus.signal("sent:*").connect(lambda _machine, record: None)
        machine: Any = two.a
        machine.go.put()
        return list(await asyncio.gather(two.a.other(), two.b.go(), return_exceptions=True))

    first, second = asyncio.run(main())
    assert first is None
    assert messages(second) == ["of b"]


def test_asend_in_a_task_that_outlives_its_cascade_awaits_its_own() -> None:
    """Created in a cascade, begun after its end: an outermost call that awaits what follows."""

    class Shop(Two):
        trigger: Sync = attrs.field(factory=Sync)
        task: Any = None

        @on("trigger.go")
        def start(self) -> None:
            self.task = asyncio.ensure_future(self.asend("b.go"))

    async def main() -> list[str]:
        shop = Shop(Slow(), Slow())
        shop.trigger.go()
        with pytest.raises(ReactionErrors):
            await shop.task
        return shop.log

    assert asyncio.run(main()) == ["b"]


def test_asend_made_in_another_thread_awaits_in_the_threads_of_its_loop() -> None:
    """`run_coroutine_threadsafe(shop.asend(...), loop)` works as in the loop's own thread."""

    class Shop(Orchestrator):
        machine: Sync
        log: list[str] = attrs.field(factory=list)

        @on("machine.go")
        async def react(self) -> None:
            await asyncio.sleep(0)
            self.log.append(threading.current_thread().name)

    shop = Shop(Sync())

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def elsewhere() -> None:
            asyncio.run_coroutine_threadsafe(shop.asend("machine.go"), loop).result(5)

        await asyncio.to_thread(elsewhere)

    asyncio.run(main())
    assert shop.log == [threading.current_thread().name]


def test_reactions_to_a_task_that_outlives_its_cascade_wait_for_its_machine() -> None:
    """A direct call in the step of such a task is nested: its reactions see the step's end."""
    gate: Any = None

    class Late(Sync):
        async def before_go(self) -> None:
            await gate.wait()

        async def on_go(self, orc: Any) -> None:
            orc.peer.go()

    class Shop(Orchestrator):
        trigger: Sync
        late: Late
        peer: Sync
        task: Any = None
        log: list[Any] = attrs.field(factory=list)

        @on("trigger.go")
        def start(self) -> None:
            self.task = asyncio.ensure_future(self.late.go())

        @on("peer.go")
        def react(self) -> None:
            self.log.append(is_in_mid_step(self.late))

    async def main() -> list[Any]:
        nonlocal gate
        gate = asyncio.Event()
        shop = Shop(Sync(), Late(), Sync())
        shop.trigger.go()
        await asyncio.sleep(0)
        gate.set()
        await shop.task
        return shop.log

    assert asyncio.run(main()) == [False]


@needs_3
def test_a_nested_call_of_a_cancelled_caller_joins_the_call_that_runs_the_machine() -> None:
    """The reactions to it wait until the machine whose step made it is at rest."""
    gate: Any = None

    class Peer(Sync):
        async def on_go(self) -> None:
            await gate.wait()

    class Main(Sync):
        async def on_go(self, orc: Any) -> None:
            await orc.peer.go()

        async def on_other(self) -> None:
            await asyncio.sleep(0)

    class Shop(Orchestrator):
        main: Main
        peer: Peer
        log: list[Any] = attrs.field(factory=list)

        @on("peer.go")
        def react(self) -> None:
            self.log.append(is_in_mid_step(self.main))

    async def main() -> list[Any]:
        nonlocal gate
        gate = asyncio.Event()
        shop = Shop(Main(), Peer())
        runner = asyncio.ensure_future(shop.main.other())
        waiter = asyncio.ensure_future(shop.main.go())
        for _ in range(20):
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        gate.set()
        await runner
        return shop.log

    assert asyncio.run(main()) == [False]


@pytest.mark.skipif(
    HOST_IS_3, reason="closing it fails in python-statemachine's own context variable"
)
def test_closing_a_suspended_call_from_elsewhere_leaves_that_place_alone() -> None:
    """What the garbage collector closes in the middle of a step does not change its frame."""

    class Closing(Sync):
        def on_go(self, orc: Any) -> None:
            frame = here.get()
            orc.coroutine.close()
            assert here.get() is frame

    class Shop(Orchestrator):
        slow: Slow
        closing: Closing
        coroutine: Any = None

    async def main() -> None:
        shop = Shop(Slow(), Closing())
        shop.coroutine = shop.slow.go(gate=asyncio.Event())
        contextvars.copy_context().run(shop.coroutine.send, None)
        shop.closing.go()

    asyncio.run(main())


# Law 10 ---------------------------------------------------------------------------------------


def test_machine_classes_are_freed_before_the_orchestrator_class() -> None:
    """What a class remembers of its machines' classes does not keep these."""

    class Any_(Orchestrator):  # noqa: N801
        machine: StateMachine

    def use() -> Any:
        make: Any = type(StateMachine)
        machine_class = make(
            "Made", (StateMachine,), {"s": (s := State(initial=True)), "go": s.to.itself()}
        )
        held = Any_(machine_class())
        held.machine.send("go")
        return weakref.ref(machine_class)

    alive = [use() for _ in range(5)]
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= 1


@needs_3
def test_an_event_while_an_invocation_runs_has_its_caller() -> None:
    """What fails after it is raised there, though the host sends events of its own meanwhile."""
    from statemachine import StateChart  # noqa: PLC0415

    go_on = threading.Event()

    class Chart(StateChart[Any]):
        working = State(initial=True, invoke=lambda: go_on.wait(60))
        over = State(final=True)
        nudge = working.to.itself(internal=True)
        done_invoke_working = working.to(over)

    class Shop(Orchestrator):
        chart: Chart

        @on("chart.nudge")
        def fail(self) -> None:
            raise ValueError("reaction")

    shop = Shop(Chart())
    try:
        with pytest.raises(ReactionErrors):
            shop.chart.nudge()
    finally:
        go_on.set()
