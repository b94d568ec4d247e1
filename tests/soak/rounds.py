"""The rounds: threads and tasks that send, and are cancelled, while members come and go."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from inspect import isawaitable
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
from soak.audit import check
from soak.ledger import STOPS, Event
from soak.machines import AsyncChart, AsyncRing, Chart, Ring, Steps
from soak.worlds import Tasks, Threads, World

from statemachines_orchestrator._frames import here
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from soak.reading import Totals

PATIENCE = 20.0
"""The seconds that a round may take without an answer, before it is wrong."""


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
    """Put a new member into the fleet, or take the oldest out; others may send to it still."""
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
