"""The worlds of a round: machines whose callbacks and reactions fail, and who sends to them.

Every event has a number, which is its argument, and a plan of what is to go wrong with it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from inspect import isawaitable
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import statemachine
from soak.audit import Totals, check
from soak.ledger import HOST_IS_3, REFUSED, STOPS, Error, Event, Ledger, Stop
from statemachine import State, StateMachine

from statemachines_orchestrator import Fleet, Orchestrator, on, on_enter
from statemachines_orchestrator._frames import here
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

PLACES = ("validators", "cond", "before", "exit", "on", "enter", "after")
REACTIONS = ("follow", "answer", "arrive", "greet", "each")
OBSERVERS = ("observe", "sent")
PATIENCE = 20.0
"""The seconds that a round may take without an answer, before it is wrong."""


# The machines ---------------------------------------------------------------------------------


class Steps:
    """What the callbacks of a machine have in common."""

    ledger: Any = None
    world: Any = None
    label: Any = None

    def told(self, place: str, number: int) -> None:
        """Write down that a step has come to a place."""
        if place == "validators":
            self.ledger.begun.append(number)
        if place == "after":
            self.ledger.committed.append(number)
        if self.ledger.events[number].collects == place:
            gc.collect()

    def fails(self, place: str, number: int) -> None:
        """Raise what is planned."""
        fault = self.ledger.events[number].faults.get(place)
        if fault is not None:
            raise fault(number, place)

    def broke(self, place: str, number: int, error: BaseException) -> None:
        """Write down what a callback lets out, and what a bare machine is left in then."""
        self.ledger.raised.append((number, place, error))
        is_stop = not isinstance(error, Exception)
        # 2.x keeps the new state when `on_enter` raises, and 3.x when it is stopped; a StateChart
        # is in no state if it is stopped between exit and entry. A bare machine does the same.
        halfway = place == "enter" and (is_stop or not HOST_IS_3)
        if halfway or (is_stop and place in {"exit", "on"}):
            self.ledger.broken.add(self.label)

    def child(self, place: str, number: int) -> Any:
        """Return the event that is to be sent at a place, with the call that sends it."""
        event = self.ledger.events[number]
        planned = event.children.get(place)
        if planned is None or self.world is None or self.world() is None:
            return None
        return self.ledger, *self.world().child(event, "callback", planned, self)


_running = threading.local()


def running_steps() -> list[tuple[str, int]]:
    """Return the steps of sync machines that run in this thread, the innermost last."""
    if not hasattr(_running, "steps"):
        _running.steps = []
    steps: list[tuple[str, int]] = _running.steps
    return steps


class SyncSteps(Steps):
    """The callbacks of a sync machine."""

    def step(self, place: str, number: int | None) -> None:
        """Do what is planned for a place."""
        if number is None:  # the initial state is entered
            return
        self.told(place, number)
        steps = running_steps()
        steps.append((self.label, number))
        try:
            child = self.child(place, number)
            if child is not None:
                send(*child)
            self.fails(place, number)
        except BaseException as error:
            self.broke(place, number, error)
            raise
        finally:
            steps.pop()

    def check(self, number: int) -> None:
        self.step("validators", number)

    def allowed(self, number: int) -> bool:
        self.step("cond", number)
        return True

    def no(self) -> bool:
        return False

    def before_transition(self, number: int | None = None) -> None:
        self.step("before", number)

    def on_exit_state(self, number: int | None = None) -> None:
        self.step("exit", number)

    def on_transition(self, number: int | None = None) -> int | None:
        self.step("on", number)
        return number

    def on_enter_state(self, number: int | None = None) -> None:
        self.step("enter", number)

    def after_transition(self, number: int | None = None) -> None:
        self.step("after", number)


class AsyncSteps(Steps):
    """The callbacks of an async machine; each may let other tasks run."""

    async def step(self, place: str, number: int | None) -> None:
        """Do what is planned for a place."""
        if number is None:
            return
        self.told(place, number)
        try:
            if (number + PLACES.index(place)) % 3 == 0:
                await asyncio.sleep(0)
            child = self.child(place, number)
            if child is not None:
                await send_async(*child)
            self.fails(place, number)
        except BaseException as error:
            self.broke(place, number, error)
            raise

    async def check(self, number: int) -> None:
        await self.step("validators", number)

    async def allowed(self, number: int) -> bool:
        await self.step("cond", number)
        return True

    async def no(self) -> bool:
        return False

    async def before_transition(self, number: int | None = None) -> None:
        await self.step("before", number)

    async def on_exit_state(self, number: int | None = None) -> None:
        await self.step("exit", number)

    async def on_transition(self, number: int | None = None) -> int | None:
        await self.step("on", number)
        return number

    async def on_enter_state(self, number: int | None = None) -> None:
        await self.step("enter", number)

    async def after_transition(self, number: int | None = None) -> None:
        await self.step("after", number)


def ring(name: str, steps: type, base: Any) -> Any:
    """Return a class of machines: `do` goes round, `stay` does not, the others are refused."""
    a, b, c, far = State("a", initial=True), State("b"), State("c"), State("far")
    asked = {"validators": "check", "cond": "allowed"}
    body: dict[str, Any] = {"a": a, "b": b, "c": c, "far": far, "__module__": __name__}
    body["do"] = a.to(b, **asked) | b.to(c, **asked) | c.to(a, **asked)
    body["stay"] = a.to.itself(**asked) | b.to.itself(**asked) | c.to.itself(**asked)
    never = {"validators": "check", "cond": "no"}
    body["never"] = a.to(far, **never) | b.to(far, **never) | c.to(far, **never)
    body["absent"] = far.to(a)
    return type(base)(name, (steps, base), body)


if TYPE_CHECKING:

    class Ring(StateMachine): ...

    class AsyncRing(StateMachine): ...

    class Chart(StateMachine): ...

    class AsyncChart(StateMachine): ...

else:
    Base = statemachine.StateChart if HOST_IS_3 else StateMachine
    Ring, AsyncRing = (ring("Ring", steps, StateMachine) for steps in (SyncSteps, AsyncSteps))
    Chart, AsyncChart = (ring("Chart", steps, Base) for steps in (SyncSteps, AsyncSteps))


# The orchestrators ----------------------------------------------------------------------------


class World(Orchestrator, abstract=True):
    """What the orchestrators of all rounds have in common."""

    ledger: Any = attrs.field(factory=Ledger, kw_only=True, repr=False)
    random: Any = attrs.field(factory=Random, kw_only=True, repr=False)
    numbers: Any = attrs.field(factory=lambda: count(1), kw_only=True, repr=False)
    targets: Any = attrs.field(factory=tuple, kw_only=True, repr=False)
    """The names of the fields that events may be sent to by callbacks."""
    loose: Any = attrs.field(factory=list, kw_only=True, repr=False)
    """The members that are in the fleet now, or were a moment ago."""

    @on("*")
    def each(self, number: int) -> Any:
        """Hear of every transition."""
        return self.react("each", number)

    def adopt(self, label: str, machine: Any) -> Any:
        """Let a machine write into the book of this round."""
        machine.ledger, machine.label, machine.world = self.ledger, label, weakref.ref(self)
        self.ledger.machines[label] = machine
        return machine

    def machine_at(self, label: str) -> Any:
        """Return the machine that has the label."""
        return self.ledger.machines[label]

    # What is planned ----------------------------------------------------------------------

    def new(self, machine: Any, name: str, way: str, depth: int = 0, **facts: Any) -> Event:
        """Plan an event: its number, its faults, and what it leads to."""
        chance = self.random
        number = next(self.numbers)
        is_async = isinstance(machine, AsyncSteps)
        event = Event(number, machine.label, name, way, depth=depth, is_async=is_async, **facts)
        places = PLACES[:1] if name in REFUSED else PLACES
        dice = chance.random()
        if dice < 0.14:
            event.faults[chance.choice(places)] = Error
        elif dice < 0.17:
            event.faults[chance.choice(places)] = self.stop_for(machine)
        for reaction in REACTIONS:
            dice = chance.random()
            if dice < 0.04:
                event.faults[reaction] = Error
            elif dice < 0.045:
                event.faults[reaction] = self.stop_for(None)
        for observer in OBSERVERS:
            if chance.random() < 0.02:
                event.faults[observer] = Error
        if chance.random() < 0.004:
            event.faults["sent"] = Stop
        if chance.random() < 0.002:
            event.collects = chance.choice(PLACES)
        if depth < 5:
            self._plan_children(machine, event, places)
        self.ledger.events[number] = event
        return event

    def stop_for(self, machine: Any) -> type[BaseException]:
        """Return what stops a machine; a StateChart, which it would break, is stopped rarely.

        The host runs callbacks of async machines as tasks, and a task that is ended by `SystemExit`
        ends the event loop.
        """
        if isinstance(machine, AsyncSteps) or isinstance(self, Tasks):
            return Stop
        if HOST_IS_3 and isinstance(machine, statemachine.StateChart):
            broken = not isinstance(machine, StateMachine)
            if broken and self.random.random() < 0.9:
                return Error
        return STOPS[self.random.randrange(len(STOPS))]

    def _plan_children(self, machine: Any, event: Event, places: tuple[str, ...]) -> None:
        chance = self.random
        if chance.random() < 0.25:
            way = chance.choice(("call", "own", "post"))
            target = machine.label if way == "own" else chance.choice(self.targets)
            if target == machine.label and way == "call":
                way = "own"
            event.children[chance.choice(places)] = (way, target, self.name_of_event())
        for reaction in REACTIONS:
            if chance.random() < 0.08:
                way = chance.choice(("call", "post"))
                event.children[reaction] = (way, chance.choice(self.targets), self.name_of_event())

    def name_of_event(self) -> str:
        """Return the name of an event; a few are refused."""
        dice = self.random.random()
        return "do" if dice < 0.6 else "stay" if dice < 0.9 else REFUSED[int(dice < 0.95)]

    def child(
        self, parent: Event, sender: str, planned: tuple[str, str, str], machine: Any = None
    ) -> tuple[Event, Callable[[], Any]]:
        """Return the event that a step or a reaction is to send, and the call that sends it."""
        way, label, name = planned
        target = machine if way == "own" else self.machine_at(label)
        if isinstance(target, AsyncSteps) and isinstance(machine, SyncSteps):
            target, way = machine, "own"  # a sync callback cannot await
        facts = {"parent": parent.number, "sender": sender}
        event = self.new(target, name, way, parent.depth + 1, **facts)
        if way == "own":
            event.origin = parent.number
        elif way == "call":  # a machine further out may be in mid-step: then it is queued there
            steps = [number for label, number in running_steps() if label == target.label]
            event.origin = next(reversed(steps), None)
        bound = getattr(target, name)
        if way == "post":
            return event, lambda: self.post(bound, event.number)
        return event, lambda: bound(event.number)

    # Reactions and observers --------------------------------------------------------------

    def react(self, name: str, number: int) -> Any:
        """Do what is planned for a reaction."""
        self.ledger.ran.append((name, number))
        event = self.ledger.events[number]
        planned = event.children.get(name)
        if not self.may_send(event):
            planned = None
        try:
            if planned is not None:
                child, call = self.child(event, name, planned)
                result = send(self.ledger, child, call)
                if isawaitable(result):
                    return self.finish(name, number, result, child)
            self.raise_for(name, event)
        except BaseException as error:
            self.ledger.reaction_raised.append((name, number, error))
            raise
        return None

    async def finish(self, name: str, number: int, result: Any, child: Event) -> None:
        """Await what a reaction has sent, and do the rest of what is planned."""
        try:
            await send_async(self.ledger, child, lambda: result)
            self.raise_for(name, self.ledger.events[number])
        except BaseException as error:
            self.ledger.reaction_raised.append((name, number, error))
            raise

    def may_send(self, _event: Event) -> bool:
        """Whether a reaction to an event may send others."""
        return True

    def raise_for(self, name: str, event: Event) -> None:
        """Raise what is planned."""
        fault = event.faults.get(name)
        if fault is not None:
            raise fault(event.number, name)

    def connect(self) -> None:
        """Connect the observers that fail."""
        ledger = weakref.ref(self.ledger)

        def watcher(name: str) -> Callable[..., None]:
            def watch(_machine: Any, *, record: Any) -> None:
                book: Any = ledger()
                event = book.events.get(record.args[0]) if record.args else None
                fault = None if event is None else event.faults.get(name)
                if event is not None and fault is not None:
                    error = fault(event.number, name)
                    book.observer_raised.append((watch.__name__, record.seq, error))
                    raise error

            watch.__name__ = watch.__qualname__ = f"watch_{name}"
            return watch

        self.bus.signal("*").connect(watcher("observe"))
        self.bus.signal("sent:*").connect(watcher("sent"))


class Threads(World):
    """Sync machines, for threads."""

    left: Ring
    right: Ring
    chart: Chart
    members: Fleet[str, Ring] = attrs.field(factory=Fleet[str, Ring])

    @on("left.do")
    def follow(self, number: int) -> Any:
        return self.react("follow", number)

    @on("right.*")
    def answer(self, number: int) -> Any:
        return self.react("answer", number)

    @on_enter("left.b")
    def arrive(self, number: int) -> Any:
        return self.react("arrive", number)

    @on("members.do")
    def greet(self, number: int) -> Any:
        return self.react("greet", number)


class Tasks(World):
    """Async machines, for tasks; and a sync one, to which threads send as well."""

    first: AsyncRing
    second: AsyncRing
    graph: AsyncChart
    plain: Ring
    members: Fleet[str, AsyncRing] = attrs.field(factory=Fleet[str, AsyncRing])

    @on("first.do")
    def follow(self, number: int) -> Any:
        return self.react("follow", number)

    @on("second.*")
    async def answer(self, number: int) -> None:
        result = self.react("answer", number)
        if result is not None:
            await result

    @on_enter("first.b")
    def arrive(self, number: int) -> Any:
        return self.react("arrive", number)

    @on("members.do")
    def greet(self, number: int) -> Any:
        return self.react("greet", number)

    def may_send(self, event: Event) -> bool:
        """What follows from a call of the sync machine cannot await an async one."""
        return event.is_async

    @on("plain.do")
    def hear(self, number: int) -> None:
        """React to the sync machine, which cannot wait for an async one."""
        self.ledger.ran.append(("hear", number))


# Who sends ------------------------------------------------------------------------------------


def send(ledger: Ledger, event: Event, call: Callable[[], Any]) -> Any:
    """Send an event from a callback or a reaction; every third failure goes on to the sender."""
    event.was_called = True
    try:
        result = call()
    except BaseException as error:
        ledger.told.append((event.number, error))
        event.has_answer = True
        if not isinstance(error, Exception) or event.number % 3 == 0:
            raise
        return None
    event.has_answer = not isawaitable(result)
    return result


async def send_async(ledger: Ledger, event: Event, call: Callable[[], Any]) -> Any:
    """Send an event as `send` does, and await it."""
    event.was_called = True
    try:
        result = call()
        if isawaitable(result):
            result = await result
    except BaseException as error:
        ledger.told.append((event.number, error))
        event.gave_up = isinstance(error, asyncio.CancelledError)
        event.has_answer = True
        if not isinstance(error, Exception) or event.number % 3 == 0:
            raise
        return None
    event.has_answer = True
    return result


def send_from_outside(world: World, machine: Any) -> None:
    """Send one event, as an outermost call of a thread."""
    ledger = world.ledger
    way = world.random.choice(("outer", "outer", "outer", "post"))
    if isinstance(machine, Steps) and machine.label.startswith("members"):
        way = "outer"  # a post to a member that was taken out a moment ago is refused
    event = world.new(machine, world.name_of_event(), way)
    event.was_called = True
    bound = getattr(machine, event.name)
    try:
        if way == "post":
            world.post(bound, event.number)
        else:
            bound(event.number)
    except (Exception, *STOPS) as error:  # noqa: BLE001 - all that is raised is written down
        ledger.tops.append(error)
        if way == "outer" or not isinstance(error, Exception):
            ledger.told.append((event.number, error))
    event.has_answer = True
    if here.get() is not None:
        ledger.wrong.append(f"event {event.number} has left its frame behind: {here.get()}")


def fill(world: Any, machine_class: Any, owned: list[str]) -> None:
    """Put a new member into the fleet, or take one out and send it one event more."""
    if len(owned) < 3 or world.random.random() < 0.5:
        key = f"{next(world.numbers)}"
        member = world.adopt(f"members[{key}]", machine_class())
        world.members[key] = member
        owned.append(key)
        world.loose.append(member)
        return
    key = owned.pop(0)
    member = world.members.pop(key)
    world.loose.remove(member)


def drive(world: Any, machines: list[Any], events: int, member_class: Any = None) -> None:
    """Send events from a thread; build members, put them in and take them out meanwhile."""
    owned: list[str] = []
    try:
        for _ in range(events):
            if member_class is not None and world.random.random() < 0.05:
                fill(world, member_class, owned)
            members = world.loose[-3:] if member_class is not None else []
            send_from_outside(world, world.random.choice([*machines, *members]))
    except BaseException as error:  # noqa: BLE001 - nothing else may get out
        world.ledger.wrong.append(f"a thread was ended by {error!r}")


# A round --------------------------------------------------------------------------------------


@attrs.define
class Outcome:
    """What came of a round."""

    problems: list[str]
    totals: Totals
    alive: list[Any]
    """Weak references to what must be gone by now."""


def outcome_of(world: World, trace: Any, *, has_given_up: bool) -> Outcome:
    """Check a round, and forget it."""
    problems, totals = check(world.ledger, trace, has_given_up=has_given_up)
    held = [world, *world.machines.values(), *world.ledger.machines.values()]
    alive = [weakref.ref(one) for one in held]
    return Outcome(problems, totals, alive)


def with_threads(seed: int, events: int, threads: int = 4) -> Outcome:
    """Run a round of sync machines under threads that take turns as often as they can."""
    world = Threads(Ring(), Ring(), Chart(), random=Random(seed))  # noqa: S311 - it is for chance, not for secrets
    machines = [world.adopt(name, world.machines[name]) for name in ("left", "right", "chart")]
    world.targets = ("left", "right", "chart")
    before = set(threading.enumerate())
    with tracing(world) as trace:
        world.connect()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            running = [
                threading.Thread(target=drive, args=(world, machines, events // threads, Ring))
                for _ in range(threads)
            ]
            start_and_join(world, running)
        finally:
            sys.setswitchinterval(interval)
    result = outcome_of(world, trace, has_given_up=False)
    left = set(threading.enumerate()) - before
    if left:
        result.problems.append(f"threads are left: {left}")
    return result


def start_and_join(world: World, running: list[threading.Thread]) -> None:
    """Let threads run, and wait for their ends, with patience that has one."""
    for thread in running:
        thread.daemon = True
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
        if thread.is_alive():
            world.ledger.wrong.append(f"{thread} hangs")


def with_tasks(seed: int, events: int, tasks: int = 6) -> Outcome:
    """Run a round of async machines under tasks that are cancelled, beside two threads."""
    told: list[dict[str, Any]] = []

    async def main() -> Outcome:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(context)
        )
        world = Tasks(AsyncRing(), AsyncRing(), AsyncChart(), Ring(), random=Random(seed))  # noqa: S311 - it is for chance, not for secrets
        for name in ("first", "second", "graph", "plain"):
            world.adopt(name, world.machines[name])
        world.targets = ("first", "second", "graph", "plain")
        result = await under_tasks(world, events, tasks)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            result.problems.append(f"tasks are left: {left}")
        if here.get() is not None:
            result.problems.append(f"a frame is left: {here.get()}")
        return result

    result = asyncio.run(main())
    # What nobody has fetched was for a caller who has given up: that is no fault.
    strange = [one for one in told if "never retrieved" not in one["message"]]
    result.problems += [f"the event loop was told: {one}" for one in strange]
    return result


async def under_tasks(world: Any, events: int, tasks: int) -> Outcome:
    """Let tasks and threads run, and wait for their ends."""
    with tracing(world) as trace:
        world.connect()
        threads = [
            threading.Thread(target=drive, args=(world, [world.plain], events // 10))
            for _ in range(2)
        ]
        waiting = asyncio.get_running_loop().run_in_executor(None, start_and_join, world, threads)
        running = [
            asyncio.create_task(drive_async(world, events // tasks, fills=at == 0))
            for at in range(tasks)
        ]
        _done, pending = await asyncio.wait(running, timeout=PATIENCE)
        for task in pending:
            world.ledger.wrong.append(f"a task hangs: {task}")
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await waiting
        await asyncio.get_running_loop().shutdown_default_executor()
        for _ in range(3):
            await asyncio.sleep(0)
    return outcome_of(world, trace, has_given_up=True)


async def drive_async(world: Any, events: int, *, fills: bool) -> None:
    """Send events from a task: each in a task of its own, of which some are cancelled."""
    owned: list[str] = []
    chance = world.random
    try:
        for _ in range(events):
            if fills and chance.random() < 0.15:
                fill(world, AsyncRing, owned)
            names = ("first", "second", "graph", "plain")
            machines = [world.machines[name] for name in names]
            await one_event(world, chance.choice([*machines, *world.loose[-2:]]))
    except BaseException as error:
        world.ledger.wrong.append(f"a task was ended by {error!r}")
        raise


async def one_event(world: Any, machine: Any) -> None:
    """Send one event; wait for it, or some time, or cancel it after some turns of the loop."""
    chance = world.random
    event = world.new(machine, world.name_of_event(), "outer")
    task = asyncio.ensure_future(call_async(world, event, machine))
    dice = chance.random()
    if dice < 0.15:
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    elif dice < 0.3:
        try:
            await asyncio.wait_for(task, chance.choice((0, 0.0005, 0.002)))
        except asyncio.TimeoutError:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
    else:
        await asyncio.wait([task])
    if task.cancelled():
        event.gave_up = True


async def call_async(world: Any, event: Event, machine: Any) -> None:
    """Make an outermost call, and write down what comes of it."""
    ledger = world.ledger
    event.was_called = True
    try:
        result = getattr(machine, event.name)(event.number)
        if isawaitable(result):
            await result
    except asyncio.CancelledError as error:
        ledger.told.append((event.number, error))
        event.gave_up = True
        raise
    except (Exception, *STOPS) as error:  # noqa: BLE001 - all that is raised is written down
        ledger.told.append((event.number, error))
        ledger.tops.append(error)
    finally:
        event.has_answer = True
        if here.get() is not None:
            ledger.wrong.append(f"event {event.number} has left its frame behind: {here.get()}")
