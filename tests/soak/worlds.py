"""The orchestrators of a round: what they plan for each event, and their reactions to it."""

from __future__ import annotations

import weakref
from inspect import isawaitable
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import statemachine
from soak.ledger import HOST_IS_3, IS_FAST, REFUSED, STOPS, Error, Event, Ledger, Stop
from soak.machines import (
    PLACES,
    AsyncChart,
    AsyncRing,
    AsyncSteps,
    Chart,
    Ring,
    SyncSteps,
    running_steps,
    send,
    send_async,
)
from statemachine import StateMachine

from statemachines_orchestrator import Fleet, Orchestrator, on, on_enter

if TYPE_CHECKING:
    from collections.abc import Callable

REACTIONS = ("follow", "answer", "arrive", "greet", "each")
OBSERVERS = ("observe", "sent")


class World(Orchestrator, abstract=True, fast=IS_FAST):
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
