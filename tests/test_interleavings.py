"""Two threads of which one is stopped at one line after the other: no luck is needed."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import HOST_IS_3, entered, needs_2, needs_3
from interleaving import PATIENCE, at_every_line, meet
from statemachine import State, StateMachine
from statemachine.event import BoundEvent
from statemachine.event_data import TriggerData

from statemachines_orchestrator import (
    Failed,
    Fleet,
    MachineIsBusyError,
    Orchestrator,
    ReactionErrors,
    Sent,
    Transitioned,
    _engine,
    every,
    none,
    on,
    when,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._inbox import Inbox
from statemachines_orchestrator._joins import Join
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._telling import named
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Engine


class Blinker(StateMachine):
    """A machine that counts what it has done."""

    lit = State(initial=True)
    blink = lit.to.itself(on="count")
    blow = lit.to.itself(on="fail")

    def __init__(self) -> None:
        self.counted = 0
        self.meanwhile: list[Callable[[], None]] = []
        super().__init__()

    def count(self) -> None:
        """Count a transition."""
        self.look()
        self.counted += 1

    def fail(self) -> None:
        """Fail."""
        self.look()
        raise ValueError

    def look(self) -> None:
        """Do what is to be done meanwhile."""
        while self.meanwhile:
            self.meanwhile.pop()()


class Lamps(Orchestrator):
    """Machines that come and go."""

    items: Fleet[str, Blinker] = attrs.field(factory=Fleet[str, Blinker])
    heard: list[str] = attrs.field(factory=list)

    @on("items.blink")
    def hear(self, event: str) -> None:
        """Note what has happened."""
        self.heard.append(event)


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

    with tracing(shelf) as trace, at_every_line("statemachines_orchestrator", send):
        shelf.items["k"] = machine
        del shelf.items["k"]
    for record in trace.filter(Transitioned):  # what was sent to a bare machine has no record
        assert record.cause is None or trace.cause(record)
    assert [one.exception(60) for one in sent if one.exception(60)] == []
    assert machine.counted == len(sent) > 100
    assert waiting(machine) == 0


@pytest.mark.parametrize("begins_in", [False, True], ids=["put in", "taken out"])
def test_an_event_is_taken_whenever_its_machine_is_put_in_or_taken_out(
    engine: Engine, other: ThreadPoolExecutor, *, begins_in: bool
) -> None:
    """At whatever line a call is, another thread may attach its machine, or is told it is busy.

    Every fifth line has to do.
    """
    machine, shelf = engine.machine(Blinker)(), Lamps()

    def move() -> None:
        with suppress(MachineIsBusyError):
            if begins_in:
                del shelf.items["k"]
            else:
                shelf.items["k"] = machine

    calls = 0
    for calls in itertools.count():
        if begins_in:
            shelf.items["k"] = machine
        met = meet(5 * calls, other, lambda: engine.run(lambda: machine.blink()), move)
        shelf.items.pop("k", None)
        assert (machine.counted, waiting(machine)) == (calls + 1, 0)
        assert len(shelf.heard) <= calls + 1
        if not met:
            break
    assert calls > 20


def test_no_event_is_left_by_a_loop_that_had_begun_before_the_machine_was_put_in(
    other: ThreadPoolExecutor,
) -> None:
    """A thread that has sent an event to a bare machine may come to run it much later."""
    lamps, line = Lamps(), 0
    for line in itertools.count():
        machine: Any = Blinker()
        loop = machine._engine.processing_loop
        machine._engine.put(TriggerData(machine, event=BoundEvent("blink", _sm=machine)))
        lamps.items["k"] = machine
        met = meet(line, other, loop, machine.blink)
        assert (machine.counted, waiting(machine)) == (1 + bool(met), 0)
        if not met:
            break
    assert line > 50


def test_a_loop_of_the_host_that_fails_takes_nobodys_event_along(
    other: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """What others have sent meanwhile is run; what of that fails is announced, and logged."""
    lamps, machine = Lamps(), Blinker()
    sent = list[Any]()

    def send() -> None:
        sent.extend(other.submit(call).result(60) for call in (machine.blink, machine.blow))

    machine.meanwhile.append(send)
    loop = machine._engine.processing_loop
    machine._engine.put(TriggerData(machine, event=BoundEvent("blow", _sm=machine)))
    lamps.items["k"] = machine
    with tracing(lamps) as trace, pytest.raises(ValueError, match=r"^$"):
        loop()
    assert sent == [None, None]
    assert (machine.counted, waiting(machine), lamps.heard) == (1, 0, ["blink"])
    assert [named(record) for record in trace.filter(Failed)] == ["items['k'].blow"]
    assert "nobody waits for" in caplog.text
    machine.blink()
    assert (machine.counted, waiting(machine), lamps.heard) == (2, 0, ["blink"] * 2)


@pytest.mark.parametrize("runs", [False, True], ids=["taken out", "run and taken out"])
def test_an_event_is_announced_if_it_was_run_for_the_orchestrator(
    engine: Engine, other: ThreadPoolExecutor, *, runs: bool
) -> None:
    """Another thread may run it, or not, and take the machine out before this one tells of it."""
    lamps, machine, line = Lamps(), engine.machine(Blinker)(), 0

    def take() -> None:
        with suppress(MachineIsBusyError):
            if runs:
                engine.run(machine.blink)
            del lamps.items["k"]

    with tracing(lamps) as trace:
        for line in itertools.count():
            lamps.items["k"] = machine
            blink = functools.partial(engine.run, machine.blink)
            met = meet(line, other, blink, take, "statemachines_orchestrator._engine")
            lamps.items.pop("k", None)
            if not met:
                break
    assert {one.seq for one in trace.filter(Sent)} == {
        one.cause for one in trace.filter(Transitioned)
    }
    assert line > 20


def held_by_the_host(machine: Any) -> Any:
    """Return the lock of a machine, as it is held where a loop of the host runs it."""
    held = machine._engine._processing
    assert held.acquire(blocking=False)
    return held


def test_who_finds_a_machine_let_go_after_all_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who had it was just letting it go."""
    lamps, machine = Lamps(), Blinker()
    lamps.items["k"] = machine
    held = held_by_the_host(machine)
    monkeypatch.setattr(_engine, "sleep", lambda _seconds: held.release())
    machine.blink()
    assert (machine.counted, waiting(machine), lamps.heard) == (1, 0, ["blink"])
    assert machine._engine._processing is held  # pyright: ignore[reportPrivateUsage]


def test_who_lets_a_machine_go_runs_what_waits_if_something_does() -> None:
    """And once only: from then on the lock is the host's again."""
    lamps, machine = Lamps(), Blinker()
    lamps.items["k"] = machine
    engine: Any = machine._engine
    for events in (1, 0):
        held = held_by_the_host(machine)
        assert machine.blink() is None
        if not events:
            seam_of(machine).inbox.take_all()
        engine._processing.release()
        assert engine._processing is held
        assert (machine.counted, waiting(machine)) == (1, 0)


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


def lines_of(engine: Engine) -> Iterator[int]:
    """Yield lines, not all of them; few of an async machine, where one thread waits for another."""
    return itertools.count(0, 80 if engine.is_async else 5)


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


def test_the_failure_of_another_is_told_even_if_the_machine_has_just_left(
    other: ThreadPoolExecutor,
) -> None:
    """Between a loop and the telling of what came of it, another thread may take it out."""
    lamps, machine, line = Lamps(), Blinker(), 0
    with tracing(lamps) as trace:
        for line in itertools.count():
            lamps.items["k"] = machine
            machine.meanwhile.append(lambda: other.submit(machine.blow).result(60))
            call = functools.partial(outcome_of, machine.blink)
            take_out = functools.partial(lamps.items.pop, "k")
            met = meet(line, other, call, take_out, "statemachines_orchestrator._running")
            assert len(trace.filter(Failed)) == line + 1
            if not met:
                break
            assert met[0] == "another's"
    assert line > 20


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

    def send(event: str) -> str:
        return outcome_of(lambda: engine.run(lambda: machine.send(event)))

    line = 0
    for line in lines_of(engine):
        machine.counted = 0
        house.heard.clear()
        failed.clear()
        outcomes = meet(line, other, lambda: send(own), lambda: send(others))
        if not outcomes:
            break
        assert (machine.counted, len(house.heard), waiting(machine)) == (blinks, blinks, 0)
        assert outcomes.count("own") + len(failed) == blows
        assert ("another's" in outcomes) == bool(failed and "own" not in outcomes)
    assert line > 100


class Chain(StateMachine):
    """A machine whose first event sends a second one, which fails; so does the other's."""

    lit = State(initial=True)
    first = lit.to.itself(on="go_on")
    second = lit.to.itself(on="fail")
    others = lit.to.itself(on="fail_too")

    def go_on(self) -> Any:
        """Send the second event."""
        return self.second()

    def fail(self) -> None:
        """Fail as the second event."""
        raise ValueError

    def fail_too(self) -> None:
        """Fail as the other event."""
        raise LookupError


class Gaol(Orchestrator):
    """A chain, alone, and what is announced to have failed."""

    chain: Chain
    failed: list[Any] = attrs.field(factory=list[Any])

    def __attrs_post_init__(self) -> None:
        """Listen."""
        self.bus.signal("failed:*").connect(self.hear)

    def hear(self, _sender: object, record: Any, **_facts: Any) -> None:
        """Note what has failed."""
        self.failed.append(record)


@pytest.fixture
def gaol(engine: Engine, other: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Gaol:
    """A gaol in which the events of the other thread come in front of those that wait on 3.x."""
    make_trigger: Any = TriggerData.__post_init__
    early = other.submit(get_ident).result(60)

    def make(trigger: Any) -> None:
        make_trigger(trigger)
        if get_ident() == early:
            trigger.execution_time = 1.0

    if HOST_IS_3:  # where an event has its place by the time when it was made
        monkeypatch.setattr(TriggerData, "__post_init__", make)
    return Gaol(entered(engine, engine.machine(Chain)()))


def raised(engine: Engine, gaol: Gaol, event: str) -> list[str]:
    """Return what a call itself has raised; what was told after it is in `failed`."""
    with suppress(ReactionErrors):
        try:
            engine.run(lambda: gaol.chain.send(event))
        except (ValueError, LookupError) as error:
            return [repr(error)]
    return []


def assert_each_has_its_own(gaol: Gaol, own: list[str], others: list[str]) -> None:
    """Nothing is lost, and no caller has raised what another's event has."""
    told = [repr(record.exception) for record in gaol.failed]
    assert sorted(own + others + told) == ["LookupError()", "ValueError()"]
    assert own in ([], ["ValueError()"])
    assert others in ([], ["LookupError()"])
    assert waiting(gaol.chain) == 0
    gaol.failed.clear()


def test_an_event_that_comes_in_front_is_nobody_elses(
    engine: Engine, other: ThreadPoolExecutor, gaol: Gaol
) -> None:
    """An event may be put long after it was made: at whatever line a call is."""
    line = 0
    for line in lines_of(engine):
        first = functools.partial(raised, engine, gaol, "first")
        met = meet(line, other, first, lambda: raised(engine, gaol, "others"))
        if not met:
            break
        assert_each_has_its_own(gaol, *met)
    assert line > 100


@needs_3
def test_an_event_that_comes_in_front_at_the_last_moment_is_nobody_elses(
    engine: Engine, other: ThreadPoolExecutor, gaol: Gaol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the question whether a loop goes on, and the taking."""
    if engine.is_async:
        pytest.skip("an async loop of 3.x takes all that comes, and answers each")
    is_empty, others = Inbox.is_empty, list[str]()

    def overtaken(inbox: Inbox) -> bool:
        result = is_empty(inbox)
        if inbox.begun is not None and not result:
            monkeypatch.setattr(Inbox, "is_empty", is_empty)
            others.extend(other.submit(raised, engine, gaol, "others").result(60))
        return result

    monkeypatch.setattr(Inbox, "is_empty", overtaken)
    own = raised(engine, gaol, "first")
    assert Inbox.is_empty is is_empty
    assert_each_has_its_own(gaol, own, others)


class Lamp(StateMachine):
    """A machine that is switched on."""

    off = State(initial=True)
    lit = State()
    switch = off.to(lit) | lit.to(off)


class Room(Orchestrator):
    """Joins of two machines, and of the members of a fleet."""

    left: Lamp
    right: Lamp
    bulbs: Fleet[str, Lamp] = attrs.field(factory=Fleet[str, Lamp])
    seen: list[str] = attrs.field(factory=list)

    @when("left.lit", "right.lit")
    def see(self) -> None:
        """See both."""
        self.seen.append("both")

    @when(bulbs=every("lit"))
    def see_all(self) -> None:
        """See all."""
        self.seen.append("all")


@pytest.mark.parametrize("wanted", ["both", "all"])
def test_a_join_comes_true_once_whenever_another_thread_moves_the_other_machine(
    engine: Engine, other: ThreadPoolExecutor, wanted: str
) -> None:
    """At whatever line one call is that makes it true, with another one's help: it is told once."""
    lamp = engine.machine(Lamp)
    line = 0
    for line in itertools.count():
        room = Room(lamp(), lamp())
        room.bulbs.update(one=lamp(), two=lamp())
        pair = [room.left, room.right] if wanted == "both" else room.bulbs.values()
        mine, his = (functools.partial(engine.run, one.switch) for one in pair)
        met = meet(line, other, mine, his, modules="statemachines_orchestrator._joins")
        if not met:
            break
        assert room.seen == [wanted]
    assert line > 20


class Cellar(Orchestrator):
    """A join of a machine and of what no member of a fleet may be."""

    door: Lamp
    bulbs: Fleet[str, Lamp] = attrs.field(factory=Fleet[str, Lamp])
    seen: list[str] = attrs.field(factory=list)

    @when(door="lit", bulbs=none("lit"))
    def see(self) -> None:
        """See a door in the dark."""
        self.seen.append("door")


def test_what_another_thread_moves_at_once_counts_at_once(
    engine: Engine, other: ThreadPoolExecutor
) -> None:
    """While members go, one after the other, no join sees that some have gone."""
    lamp = engine.machine(Lamp)
    line = 0
    for line in itertools.count():
        cellar = Cellar(lamp())
        cellar.bulbs.update(lit=lamp(), dark=lamp())
        engine.run(cellar.bulbs["lit"].switch)
        open_door = functools.partial(engine.run, cellar.door.switch)
        if not meet(
            line, other, cellar.bulbs.clear, open_door, "statemachines_orchestrator._joins"
        ):
            break
        assert cellar.seen == []
    assert line > 20


def test_a_join_that_fell_and_rose_in_another_thread_stays_true(
    engine: Engine, other: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is overtaken by that looks again: what it has seen is old."""
    lamp = engine.machine(Lamp)
    room = Room(lamp(), lamp())
    look = Join._look

    def switch(*lamps: Any) -> None:
        for one in lamps:
            engine.run(one.switch)

    def overtaken(join: Join, movement: Any) -> Any:
        seen = look(join, movement)
        monkeypatch.setattr(Join, "_look", look)
        other.submit(switch, room.right, room.left, room.right).result(60)
        return seen

    switch(room.left, room.right)
    monkeypatch.setattr(Join, "_look", overtaken)
    switch(room.left)
    assert room.seen == ["both", "both"]
    assert place_of(room).joins[0].is_true
