"""What will not run is announced as abandoned: events of a step that failed, or was stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import HOST_IS_3, assert_at_rest, needs_3
from statemachine import State, StateMachine

from statemachines_orchestrator import Abandoned, Orchestrator, Sent, Transitioned, on
from statemachines_orchestrator._telling import named
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Callable


class Stop(BaseException):
    """Like KeyboardInterrupt."""


class Work(StateMachine):
    """A machine that queues events for itself, and does in mid-step what it is told."""

    idle = State(initial=True)
    do = idle.to.itself()

    def on_do(self, number: int, then: Callable[[], Any] | None = None) -> Any:
        if then is not None:
            self.do(10 * number + 1)
            self.do(10 * number + 2)
            then()
        return number


class Office(Orchestrator):
    work: Work
    heard: list[int] = attrs.field(factory=list[int])

    @on("work.do")
    def hear(self, number: int) -> None:
        self.heard.append(number)


def numbers_of(trace: Trace, kind: type[Any]) -> list[int]:
    """Return the numbers of the events that were taken, or that were abandoned."""
    numbers = []
    for record in trace.filter(kind):
        sent = trace.cause(record)
        assert isinstance(sent, Sent)
        assert not isinstance(record, Abandoned) or named(record) == "work.do"
        numbers.append(sent.args[0])
    return numbers


def fails() -> None:
    raise ValueError


def stops() -> None:
    raise Stop


# A step that fails ----------------------------------------------------------------------------


def test_what_a_failed_step_has_queued_is_abandoned() -> None:
    """The host drops it, and here that is announced; the cause is the event's `Sent`."""
    office = Office(Work())
    with tracing(office) as trace, pytest.raises(ValueError):  # noqa: PT011 - it has no text
        office.work.do(1, fails)
    assert numbers_of(trace, Abandoned) == [11, 12]
    assert numbers_of(trace, Transitioned) == office.heard == []
    assert_at_rest(office.work)


def test_what_a_failed_step_of_an_async_machine_has_queued_is_abandoned(engine: Any) -> None:
    """On both engines alike."""

    class Queueing(StateMachine):
        idle = State(initial=True)
        do = idle.to.itself()

        def on_do(self, number: int) -> Any:
            if number != 1:
                return None
            self.model.pending = [self.do(2), self.do(3)]
            raise ValueError

    class Workshop(Orchestrator):
        work: Queueing

    workshop = Workshop(engine.machine(Queueing)())
    with tracing(workshop) as trace:
        engine.raises(ValueError, lambda: workshop.work.do(1))
    for awaitable in workshop.work.model.pending:
        if awaitable is not None:
            awaitable.close()
    assert numbers_of(trace, Abandoned) == [2, 3]
    assert_at_rest(workshop.work)


@needs_3
def test_what_a_failed_macrostep_had_raised_is_abandoned() -> None:
    """Internal events of `raise_`: 3.0 leaves them in its queue, later versions drop them."""

    class Raising(StateMachine):
        idle = State(initial=True)
        do = idle.to.itself()
        more = idle.to.itself()

        def on_do(self) -> None:
            self.raise_("more")
            self.raise_("more")
            raise ValueError

    class Workshop(Orchestrator):
        work: Raising

    workshop = Workshop(Raising())
    with tracing(workshop) as trace:
        with pytest.raises(ValueError):  # noqa: PT011 - it has no text
            workshop.work.do()
        workshop.work.more()
    sent = [one for one in trace.filter(Sent) if isinstance(one, Sent) and one.event == "more"]
    ended = [one.cause for one in trace.filter(Abandoned, Transitioned)]
    assert sorted(one.seq for one in sent) == sorted(ended, key=lambda seq: seq or 0)


# A call that is stopped -----------------------------------------------------------------------


def test_what_a_stopped_step_has_queued_is_abandoned() -> None:
    """`KeyboardInterrupt` and its like stop the call: nothing of it runs in the next one."""
    office = Office(Work())
    with tracing(office) as trace:
        with pytest.raises(Stop):
            office.work.do(1, stops)
        assert_at_rest(office.work)
        assert office.work.do(2) == 2
    assert numbers_of(trace, Abandoned) == [11, 12]
    assert numbers_of(trace, Transitioned) == office.heard == [2]


@needs_3
def test_what_a_stopped_macrostep_had_raised_is_abandoned(engine: Any) -> None:
    """Events of `raise_` are no stale ones of the next call."""

    class Raising(StateMachine):
        idle = State(initial=True)
        do = idle.to.itself()
        more = idle.to.itself()

        def after_do(self, stop: bool) -> Any:  # noqa: FBT001 - an argument of the event
            raised = self.raise_("more")
            if hasattr(raised, "close"):
                raised.close()
            if stop:
                raise Stop

    class Workshop(Orchestrator):
        work: Raising

    workshop = Workshop(engine.machine(Raising)())
    with tracing(workshop) as trace:
        engine.raises(Stop, lambda: workshop.work.do(stop=True))
        assert_at_rest(workshop.work)
        engine.run(lambda: workshop.work.do(stop=False))
    taken = [one.event for one in trace.filter(Transitioned) if isinstance(one, Transitioned)]
    assert taken == ["do", "do", "more"]
    assert [named(one) for one in trace.filter(Abandoned)] == ["work.more"]


def test_what_other_threads_sent_to_a_call_that_is_stopped_is_abandoned() -> None:
    """It was to run in that call: it is announced as abandoned there, and not left lying."""
    office = Office(Work())
    inside, leave = threading.Event(), threading.Event()
    came: list[BaseException] = []

    def held() -> None:
        inside.set()
        assert leave.wait(60)
        raise Stop

    def call() -> None:
        try:
            office.work.do(1, held)
        except Stop as stop:
            came.append(stop)

    with tracing(office) as trace:
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        assert inside.wait(60)
        assert [office.work.do(number) for number in (2, 3)] == [None, None]
        leave.set()
        thread.join(60)
        assert len(came) == 1
        assert_at_rest(office.work)
        assert office.work.do(4) == 4
    assert numbers_of(trace, Abandoned) == [11, 12, 2, 3]
    assert office.heard == [4]


def test_a_stopped_call_in_a_callback_that_goes_on() -> None:
    """What waits for the inner machine is abandoned at once; the outer one has its own fate."""

    class Outer(StateMachine):
        idle = State(initial=True)
        go = idle.to.itself()

        def on_go(self, orc: Any) -> str:
            try:
                orc.work.do(1, stops)
            except Stop:
                return "caught"
            return "not reached"

    class Both(Office):
        outer: Outer = attrs.field(factory=Outer)

    both = Both(Work())
    with tracing(both) as trace:
        assert both.outer.go() == "caught"
    assert [named(record) for record in trace.filter(Abandoned)] == [
        "work.do",
        "work.do",
    ]
    assert both.heard == []
    assert_at_rest(both.work)


def test_an_event_that_was_cancelled_by_its_sender_is_not_abandoned() -> None:
    """`cancel_event` of 3.x: it was taken back, which is no accident."""
    if not HOST_IS_3:
        pytest.skip("2.x has no delayed events")

    class Delaying(StateMachine):
        idle = State(initial=True)
        do = idle.to.itself()
        later = idle.to.itself()

        def on_do(self) -> None:
            self.send("later", delay=10_000, send_id="one")
            self.send("later", delay=10_000, send_id="two")
            self.cancel_event("one")
            raise ValueError

    class Workshop(Orchestrator):
        work: Delaying

    workshop = Workshop(Delaying())
    with tracing(workshop) as trace, pytest.raises(ValueError):  # noqa: PT011 - it has no text
        workshop.work.do()
    assert len(trace.filter(Abandoned)) == 1
    assert_at_rest(workshop.work)


def test_an_observer_of_abandoned_events_that_raises_stops_nothing() -> None:
    """It is a failure of the cascade, told with the exception of the call."""
    office = Office(Work())

    def observe(_machine: Any, record: Any) -> None:
        raise KeyError(record.name)

    office.bus.signal("abandoned:*").connect(observe)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it has no text
        office.work.do(1, fails)
    notes: Any = getattr(caught.value, "__notes__", ())
    assert sum("KeyError('do')" in note for note in notes) == 2
    with pytest.raises(Stop):
        office.work.do(1, stops)
    assert_at_rest(office.work)
    assert office.work.do(4) == 4


@pytest.mark.usefixtures("restless")
def test_every_event_of_threads_that_are_stopped_is_taken_or_abandoned() -> None:
    """Exactly once, and nothing is left in the queue when the last call has returned."""
    office = Office(Work())
    stopped: list[int] = []

    def send(first: int) -> None:
        for number in range(first, first + 300):
            try:
                office.work.do(number, stops if number % 9 == 0 else None)
            except Stop:
                stopped.append(number)

    with tracing(office) as trace:
        threads = [threading.Thread(target=send, args=(1000 * at,), daemon=True) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert_at_rest(office.work)
    ended = [
        one.cause
        for one in trace.filter(Transitioned, Abandoned)
        if not isinstance(one, Abandoned) or one.path
    ]
    assert len(set(ended)) == len(ended)
    sent = [one for one in trace.filter(Sent) if isinstance(one, Sent)]
    without_end = {one.args[0] for one in sent if one.seq not in ended}
    assert without_end <= set(stopped), "only what was in mid-step in the call that was stopped"
