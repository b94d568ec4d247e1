"""Timers: the timeouts of an orchestrator's states, and its posts that are for later.

A timer that comes due is an outermost call of its own. What is pending holds the orchestrator
weakly: dropped, it takes its timers with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import attrs

from statemachines_orchestrator import _calls
from statemachines_orchestrator._engine import lasting_loop
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import is_orchestrator, members_of
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._sending import Address, Target
from statemachines_orchestrator._turns import Post, ReactionTurn, Turn, in_running_loop
from statemachines_orchestrator.clock import SystemClock, span_of
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.records import Elapsed, next_seq
from statemachines_orchestrator.topics import walk_states

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator.records import Record

__all__ = [
    "Delay",
    "TimeoutPlan",
    "Timers",
    "restart_below",
    "timers_of",
]


class _Timer(ABC):
    """One call that is pending. Who claims it first, to run or to end it, has it."""

    __slots__ = ("_is_free", "cause", "due", "handle", "span")

    def __init__(self, due: float, span: float, cause: int | None) -> None:
        self.due = due
        """The time of the clock, in seconds, at which it comes due."""
        self.span = span
        """The length of time, in seconds, after which it does."""
        self.cause = cause
        self.handle: Any = None
        self._is_free = True
        """There until somebody claims the timer: to take an attribute away is one step."""

    @abstractmethod
    def __call__(self) -> Any:
        """Come due, unless somebody else has claimed it."""

    def claim(self) -> bool:
        """Return whether nobody else has it, whichever threads ask at once."""
        try:
            del self._is_free
        except AttributeError:
            return False
        return True

    @property
    def is_over(self) -> bool:
        """Whether it has come due, or was ended."""
        return not hasattr(self, "_is_free")

    def again(self, due: float) -> None:
        """Let it be claimed once more, at another time. Only who has claimed it may do that."""
        self.due = due
        self._is_free = True

    def end(self) -> None:
        """End it, unless it has come due."""
        if self.claim():
            self.let_go()

    @property
    def call(self) -> Callable[[], Any]:
        """What the clock is given to call."""
        return self

    def let_go(self) -> None:
        """Let the clock forget it."""
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.cancel()


class _Timeout(_Timer):
    """The time of one state of one machine."""

    __slots__ = ("keys", "watch")

    def __init__(self, watch: Watch, keys: tuple[Hashable, ...], *facts: Any) -> None:
        super().__init__(*facts)
        self.watch = watch
        self.keys = keys

    def __call__(self) -> Any:
        """Come due."""
        owner = self.watch.owner()
        if owner is None or not self.claim():
            return None
        self.handle = None
        return self.watch.elapsed(self, place_of(owner))


class Delay(_Timer):
    """An event that was posted for later: `cancel()` takes it back, `due` tells its time."""

    __slots__ = ("__weakref__", "_address", "_args", "_held", "_kwargs", "_of", "_owner")

    def __init__(
        self,
        place: Place,
        address: Address | Target,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        span: float,
    ) -> None:
        frame = here.get()
        cause = None if joined(frame) is None else frame.seq
        super().__init__(place.clock.now() + span, span, cause)
        self._owner = ref(place.owner)
        self._of = "machine" if isinstance(address, Target) else "owner"
        self._held = ref(getattr(address, self._of))
        given: Any = address
        self._address = attrs.evolve(given, **{self._of: None})
        self._args = args
        self._kwargs = kwargs

    def cancel(self) -> None:
        """Take the event back; when its time has come it is too late, and nothing happens."""
        self.end()
        owner = self._owner()
        if owner is not None:
            place_of(owner).timers.delays.pop(self, None)

    @property
    def call(self) -> Callable[[], Any]:
        """What the clock is given to call: the arguments may hold the orchestrator."""
        return _Weakly(self)

    def __call__(self) -> Any:
        """Come due. If the machine of a bound event is there no more, nothing happens."""
        owner, held = self._owner(), self._held()
        if owner is None or not self.claim():
            return None
        place = place_of(owner)
        place.timers.delays.pop(self, None)
        if held is None:
            return None
        address = attrs.evolve(self._address, **{self._of: held})
        topic = address.topic
        return _come_due(
            place,
            partial(
                Elapsed,
                cause=self.cause,
                due=self.due,
                path=place.path,
                keys=place.keys,
                name=topic,
                topic=topic,
                state=None,
            ),
            lambda record: Post(place, address, self._args, self._kwargs, cause=record.seq),
        )


class Watch:
    """One state under one timeout: it begins and ends the time of each machine in that state."""

    __slots__ = ("begun", "names", "owner", "plan", "state", "topic")

    def __init__(self, owner: Any, plan: Any, path: str) -> None:
        self.owner = ref(owner)
        self.plan = plan
        self.topic = f"timeout:{path}"
        self.names, _, self.state = path.rpartition(".")
        self.begun: dict[tuple[Hashable, ...], _Timeout] = {}
        """The times, by the fleet keys that lead to the machine, until the state is left."""

    def begin(self, keys: tuple[Hashable, ...], record: Record | None = None) -> None:
        """Begin the time of a machine, which ends the one before."""
        place = place_of(self.owner())
        span = self.plan.timeout.span(place.owner, record)
        self.end(keys)
        timer = _Timeout(self, keys, place.clock.now() + span, span, getattr(record, "seq", None))
        self.begun[keys] = timer
        place.timers.schedule(timer)

    def end(self, keys: tuple[Hashable, ...]) -> None:
        """End the time of a machine."""
        timer = self.begun.pop(keys, None)
        if timer is not None:
            timer.end()

    def elapsed(self, timer: _Timeout, place: Place) -> Any:
        """Run the reaction; if it repeats, the next time has begun by then."""
        build = partial(self._elapsed, place, timer.keys, cause=timer.cause, due=timer.due)
        if self.plan.timeout.repeat:
            self._repeat(timer, place)
        return _come_due(
            place, build, lambda record: ReactionTurn(place, self.plan, self.topic, record)
        )

    def _repeat(self, timer: _Timeout, place: Place) -> None:
        """Begin the next time: where the last one ended, or, of those gone by, the last one."""
        missed = max(0.0, (place.clock.now() - timer.due) // timer.span)
        timer.again(timer.due + (missed + 1) * timer.span)
        if self.begun.get(timer.keys) is timer:  # else another thread has just ended it
            place.timers.schedule(timer)

    def _elapsed(self, place: Place, keys: tuple[Hashable, ...], **facts: Any) -> Elapsed:
        path, machine = _find(place.owner, self.names, keys)
        states = () if machine is None else walk_states(machine.states)
        return Elapsed(
            name=self.plan.name,
            topic=self.topic,
            path=(*place.path, *path),
            keys=(*place.keys, *keys),
            state=next((state for state in states if state.id == self.state), None),
            machine=machine,
            **facts,
        )


def _find(owner: Any, names: str, keys: tuple[Hashable, ...]) -> tuple[tuple[Any, ...], Any]:
    """Return the path of names and keys, and the machine there; `None` if it is gone."""
    path: list[Any] = []
    waiting = iter(keys)
    for name in names.split("."):
        path.append(name)
        owner = held = getattr(owner, name, None)
        if isinstance(held, Fleet):
            key = next(waiting)
            path.append(key)
            owner = owner.get(key)
    return tuple(path), owner


def _come_due(place: Place, build: Callable[..., Elapsed], turn: Callable[[Elapsed], Turn]) -> Any:
    """Run what a timer leads to as an outermost call; where it must be awaited, return that."""

    def start() -> None:
        record = build(seq=next_seq())
        if place.is_asked_for("elapsed"):
            place.publish("elapsed:", record.name, record.machine or place.owner, lambda: record)
        joined(here.get()).append(turn(record))

    frame = here.get()
    here.set(None)  # a clock may call back in the context of who set the timer
    try:
        if place.is_async and in_running_loop():
            return _calls.to_rest_async(_calls.Call(), start)
        return _calls.to_rest(start)
    finally:
        here.set(frame)


class _Begin:
    """The receiver that begins a time when a state is entered."""

    __slots__ = ("place", "watch")

    def __init__(self, place: Place, watch: Watch) -> None:
        self.place = place
        self.watch = watch

    @property
    def __name__(self) -> str:
        return str(self.watch.plan.name)

    def __call__(self, _sender: Any, *, record: Any) -> None:
        """Begin the time, unless the machine has been taken out meanwhile."""
        self.place.timers.wake()
        keys = record.keys[len(self.place.keys) :]
        if _find(self.place.owner, self.watch.names, keys)[1] is record.machine:
            self.happen(keys, record)

    def happen(self, keys: tuple[Hashable, ...], record: Record) -> None:
        """Begin the time."""
        self.watch.begin(keys, record)


class _End(_Begin):
    """The receiver that ends it when the state is left."""

    __slots__ = ()

    def happen(self, keys: tuple[Hashable, ...], record: Record) -> None:  # noqa: ARG002 - the other needs it
        """End the time."""
        self.watch.end(keys)


class _Weakly:
    """Calls a delay that is there still."""

    __slots__ = ("delay",)

    def __init__(self, delay: Delay) -> None:
        self.delay = ref(delay)

    def __call__(self) -> Any:
        delay = self.delay()
        return None if delay is None else delay()


class _Waiting:
    """The handle of a timer that waits for a running event loop."""

    __slots__ = ("timer", "waiting")

    def __init__(self, waiting: dict[Any, None], timer: Any, *_call: Any) -> None:
        self.waiting = waiting
        self.timer = timer
        waiting[timer] = None

    def cancel(self) -> None:
        """Wait no more."""
        self.waiting.pop(self.timer, None)


class Timers:
    """The timers of one orchestrator. When it is freed they are ended."""

    __slots__ = ("delays", "loop", "place", "waiting", "watches")

    def __init__(self, place: Place, plans: list[Any]) -> None:
        self.place = place
        self.delays: dict[Delay, None] = {}
        self.waiting: dict[_Timer, None] = {}
        """Those that wait for a running event loop."""
        self.loop: Any = None
        """The event loop that calls back, if one does."""
        self.watches = [
            Watch(place.owner, plan, path) for plan in plans for path in plan.timeout.states
        ]
        for watch in self.watches:
            state = f"{watch.names}.{watch.state}"
            place.bus.signal(f"enter:{state}").connect(_Begin(place, watch))
            place.bus.signal(f"exit:{state}").connect(_End(place, watch))

    def __del__(self) -> None:
        for timer in self.pending():
            timer.end()

    def pending(self) -> list[Any]:
        """Return everything that is pending."""
        timeouts = (timer for watch in self.watches for timer in list(watch.begun.values()))
        return [timer for timer in (*timeouts, *list(self.delays)) if not timer.is_over]

    # On the clock -------------------------------------------------------------------------

    def schedule(self, timer: Any) -> None:
        """Hand a timer to the clock; what needs an event loop waits for one."""
        clock = self.place.clock
        call_at = clock.call_at
        if isinstance(clock, SystemClock):
            loop = lasting_loop()
            if loop is not None:
                self.loop = loop
            elif self.place.is_async:
                call_at = partial(_Waiting, self.waiting, timer)
            else:
                call_at = clock.call_in_thread
        timer.handle = call_at(timer.due, timer.call)
        if timer.is_over:  # another thread has ended it meanwhile
            timer.let_go()

    def delay(self, delay: Delay) -> Delay:
        """Keep a post for later."""
        self.delays[delay] = None
        self.schedule(delay)
        return delay

    def wake(self) -> None:
        """Hand what waits for an event loop, or was on one that is closed, to the running one."""
        adrift = self.loop is not None and self.loop.is_closed()
        if not (self.waiting or adrift) or (self.place.is_async and lasting_loop() is None):
            return
        waiting = list(self.waiting)
        if adrift:
            self.loop = None
            for timer in self.pending():
                timer.let_go()
                self.schedule(timer)
        for timer in waiting:
            self.restart(timer)

    def restart(self, timer: Any) -> None:
        """Begin a pending time anew, in full, on the clock of now."""
        timer.let_go()
        timer.due = self.place.clock.now() + timer.span
        self.schedule(timer)

    # What comes and goes ------------------------------------------------------------------

    def look_at(self, names: str, keys: tuple[Hashable, ...], machine: Any) -> None:
        """Begin the times of the states that a machine is in when it comes."""
        for watch in self.watches:
            is_new = watch.names == names and keys not in watch.begun
            if is_new and watch.state in active_ids(machine):
                watch.begin(keys)

    def forget(self, names: str, keys: tuple[Hashable, ...]) -> None:
        """End the times of a machine, or of all below an orchestrator, that goes."""
        for watch in self.watches:
            if watch.names == names:
                watch.end(keys)
            elif watch.names.startswith(names + "."):
                for known in [one for one in list(watch.begun) if one[: len(keys)] == keys]:
                    watch.end(known)


def timers_of(place: Place) -> Timers:
    """Return the timers of an orchestrator."""
    if place.timers is None:
        place.timers = Timers(place, [])
    timers: Timers = place.timers
    return timers


def restart_below(owner: Any) -> None:
    """Begin everything anew that is pending, here and below: there is another clock."""
    timers = place_of(owner).timers
    if timers is not None:
        for timer in timers.pending():
            timers.restart(timer)
    for _name, _key, member in members_of(owner):
        if is_orchestrator(member):
            restart_below(member)


@attrs.frozen
class TimeoutPlan:
    """The timeout of a reaction: which states, for how long."""

    states: tuple[str, ...]
    """`machine.state`, resolved."""
    seconds: float | Callable[[Any, Any], Any]
    """The length of time, or what asks the orchestrator for it."""
    where: str
    repeat: bool

    def span(self, owner: Any, record: Record | None) -> float:
        """Return the length of time in seconds."""
        if isinstance(self.seconds, float):
            return self.seconds
        ask: Any = self.seconds
        return span_of(self.where, ask(owner, record))
