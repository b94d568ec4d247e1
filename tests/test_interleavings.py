"""Two threads of which one is stopped at one line after the other: no luck is needed."""

from __future__ import annotations

import functools
import itertools
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import needs_2
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Failed,
    Fleet,
    MachineIsBusyError,
    Orchestrator,
    ReactionErrors,
    on,
)
from statemachines_orchestrator._inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from conftest import Engine

PATIENCE = 0.2
"""How long, in seconds, one thread waits for the other, which may wait for a lock that it holds."""


class Blinker(StateMachine):
    """A machine that counts what it has done."""

    lit = State(initial=True)
    blink = lit.to.itself(on="count")
    blow = lit.to.itself(on="fail")

    def __init__(self) -> None:
        self.counted = 0
        super().__init__()

    def count(self) -> None:
        """Count a transition."""
        self.counted += 1

    def fail(self) -> None:
        """Fail."""
        raise ValueError


class Lamps(Orchestrator):
    """Machines that come and go."""

    items: Fleet[str, Blinker] = attrs.field(factory=Fleet[str, Blinker])
    heard: list[str] = attrs.field(factory=list)

    @on("items.blink")
    def hear(self, event: str) -> None:
        """Note what has happened."""
        self.heard.append(event)


@contextmanager
def at_every_line(packages: tuple[str, ...], stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` before every line that the code of some packages runs in this thread.

    In what puts an event into a queue, it is called before every instruction.
    """

    def line(frame: Any, event: str, _argument: Any) -> Any:
        if event == ("opcode" if frame.f_trace_opcodes else "line"):
            sys.settrace(None)
            stop()
            sys.settrace(called)
        return line

    def called(frame: Any, _event: str, _argument: Any) -> Any:
        if frame.f_globals["__name__"].partition(".")[0] not in packages:
            return None
        frame.f_trace_opcodes = frame.f_code.co_name == "put"
        return line

    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """Return another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def waiting(machine: Any) -> int:
    """Return how many events wait for a machine."""
    engine = machine._engine
    queue: Any = getattr(engine, "external_queue", None)
    return len(engine._external_queue) if queue is None else len(queue.queue.queue)


def test_a_machine_that_is_put_in_or_taken_out_takes_every_event(
    engine: Engine, other: ThreadPoolExecutor
) -> None:
    """At whatever line a thread is that attaches a machine, another one finds it in order."""
    shelf, machine = Lamps(), engine.machine(Blinker)()
    sent: list[Future[Any]] = []

    def send() -> None:
        if sent and not sent[-1].done():  # it waits for what this thread is doing
            return
        sent.append(other.submit(engine.run, lambda: machine.blink()))
        wait(sent[-1:], PATIENCE)

    with at_every_line(("statemachines_orchestrator",), send):
        shelf.items["k"] = machine
        del shelf.items["k"]
    assert [one.exception(60) for one in sent if one.exception(60)] == []
    assert machine.counted == len(sent) > 100
    assert waiting(machine) == 0


def is_moved_at(
    line: int, engine: Engine, other: ThreadPoolExecutor, *, machine: Any, begins_in: bool
) -> bool:
    """Send to a machine that another thread moves before this line; return whether there is one."""
    shelf = Lamps()
    if begins_in:
        shelf.items["k"] = machine
    lines, moved = itertools.count(), Future[Any]()

    def move() -> None:
        if begins_in:
            del shelf.items["k"]
        else:
            with suppress(MachineIsBusyError):
                shelf.items["k"] = machine

    def stop() -> None:
        nonlocal moved
        if next(lines) == line:
            moved = other.submit(move)
            wait([moved], PATIENCE)

    with at_every_line(("statemachine", "statemachines_orchestrator"), stop):
        engine.run(lambda: machine.blink())
    is_there = next(lines) > line
    if is_there:
        moved.result(60)
    shelf.items.clear()
    assert waiting(machine) == 0
    assert len(shelf.heard) <= 1
    return is_there


@pytest.mark.parametrize("begins_in", [False, True], ids=["put in", "taken out"])
def test_an_event_is_taken_whenever_its_machine_is_put_in_or_taken_out(
    engine: Engine, other: ThreadPoolExecutor, *, begins_in: bool
) -> None:
    """At whatever line a call is, another thread may attach its machine, or is told it is busy.

    Every third line has to do.
    """
    machine, line = engine.machine(Blinker)(), 0
    while is_moved_at(line, engine, other, machine=machine, begins_in=begins_in):
        line += 3
        assert machine.counted == line // 3
    assert line > 100


class Late(deque[Any]):
    """A queue of 2.x in which a thread pauses before it puts its event there."""

    pauses: list[Callable[[], None]]

    def append(self, event: Any) -> None:
        """Pause, and put an event at the end."""
        while self.pauses:
            self.pauses.pop()()
        deque.append(self, event)


@needs_2
@pytest.mark.parametrize("begins_in", [False, True], ids=["put in", "taken out"])
def test_an_event_that_comes_too_late_for_one_queue_is_taken_from_the_other(
    engine: Engine,
    other: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    *,
    begins_in: bool,
) -> None:
    """Between two instructions of 2.x, too, another thread may attach a machine or detach it."""
    shelf, machine = Lamps(), engine.machine(Blinker)()
    queue = machine._engine._external_queue = Late(machine._engine._external_queue)
    queue.pauses = [lambda: other.submit(shelf.items.__setitem__, "k", machine).result(60)]
    if begins_in:
        queue.pauses = []
        shelf.items["k"] = machine
        pauses = [lambda: other.submit(shelf.items.__delitem__, "k").result(60)]
        monkeypatch.setattr(Inbox, "append", Late.append, raising=False)
        monkeypatch.setattr(Inbox, "pauses", pauses, raising=False)
    engine.run(lambda: machine.blink())
    assert (machine.counted, waiting(machine), "k" in shelf.items) == (1, 0, not begins_in)


class House(Orchestrator):
    """A machine, and what was announced of it."""

    lamp: Blinker
    heard: list[str] = attrs.field(factory=list)

    @on("lamp.*")
    def hear(self, event: str) -> None:
        """Note what has happened."""
        self.heard.append(event)


def outcome_of(call: Callable[[], Any]) -> str:
    """Return whose event a call has raised for: its "own", "another's", or nobody's."""
    try:
        call()
    except ReactionErrors:
        return "another's"
    except ValueError:
        return "own"
    return "nobody's"


@pytest.mark.parametrize(
    ("own", "others"), [("blink", "blink"), ("blink", "blow"), ("blow", "blink"), ("blow", "blow")]
)
def test_an_event_comes_to_one_end_whenever_another_thread_sends_another(
    engine: Engine, other: ThreadPoolExecutor, own: str, others: str
) -> None:
    """At whatever line a call is, the other event is taken too, and each failure is told once."""
    house = House(engine.machine(Blinker)())
    machine, failed = house.lamp, list[Failed]()
    house.bus.signal("failed:*").connect(
        lambda _sender, record, **_named: failed.append(record), weak=False
    )
    blinks, blows = (own, others).count("blink"), (own, others).count("blow")
    told = functools.partial(outcome_of, lambda: engine.run(lambda: machine.send(others)))
    line, step = 0, 30 if engine.is_async else 3  # there the other one waits until this one ends
    while True:
        lines, theirs = itertools.count(), Future[Any]()

        def stop(line: int = line, lines: Iterator[int] = lines) -> None:
            nonlocal theirs
            if next(lines) == line:
                theirs = other.submit(told)
                wait([theirs], PATIENCE / 10)

        machine.counted = 0
        house.heard.clear()
        failed.clear()
        with at_every_line(("statemachine", "statemachines_orchestrator"), stop):
            outcome = outcome_of(lambda: engine.run(lambda: machine.send(own)))
        if next(lines) <= line:
            break
        outcomes = [outcome, theirs.result(60)]
        assert machine.counted == len(house.heard) == blinks
        assert outcomes.count("own") + len(failed) == blows
        assert ("another's" in outcomes) == bool(failed and "own" not in outcomes)
        assert waiting(machine) == 0
        line += step
    assert line > 100
