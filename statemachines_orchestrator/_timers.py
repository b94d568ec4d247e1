"""The timers of an orchestrator: the times of its states, and its posts that are for later.

A timer that comes due is an outermost call of its own. What is pending holds the orchestrator
weakly: dropped, it takes its timers with it.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import attrs

from statemachines_orchestrator._due import Timer, come_due
from statemachines_orchestrator._engine import attaching
from statemachines_orchestrator._event_loops import lasting_loop
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import is_orchestrator, machines_at, members_of
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._sending import Address, Target, bound
from statemachines_orchestrator._timeouts import Watch
from statemachines_orchestrator._turns import Post
from statemachines_orchestrator.clock import SystemClock
from statemachines_orchestrator.records import Elapsed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator.clock import Handle

__all__ = ["Delay", "Kept", "Timers", "begin_anew", "timers_of"]


class Delay(Timer):
    """An event that was posted for later: `cancel()` takes it back, `due` tells its time.

    A copy of it, made with its orchestrator, is over: what is pending is not copied.
    """

    __slots__ = ("__weakref__", "_args", "_event", "_kwargs", "_machine", "_owner", "_topic")

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
        self._topic = address.topic
        if isinstance(address, Target):
            self._machine: Any = ref(address.machine)
            self._event = address.event
        else:
            self._machine = None
            self._event = address.spelled
        self._args = args
        self._kwargs = kwargs

    def __repr__(self) -> str:
        return f"<Delay of {getattr(self, '_topic', 'nothing')}, due at {self.due}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as one that is over."""
        return _over, (self.due,)

    @classmethod
    def resumed(cls, owner: Any) -> Delay:
        """Return one that nothing is known of yet."""
        delay = cls.__new__(cls)
        Timer.__init__(delay, 0.0, 0.0, None)
        delay._owner = ref(owner)  # noqa: SLF001 - it is of this class
        return delay

    def resume(self, kept: Kept) -> None:
        """Be what was kept."""
        self.span = kept.span
        self.cause = kept.cause
        self._topic = kept.topic
        self._machine = None if kept.machine is None else ref(kept.machine)
        self._event = kept.event
        self._args = kept.args
        self._kwargs = kept.kwargs

    def kept(self) -> Kept:
        """Return it as a value."""
        machine = None if self._machine is None else self._machine()
        facts = (self.due, self.span, self.cause, self._event, machine, self._args, self._kwargs)
        return Kept(self._topic, "", 0, (), *facts)

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

    def address(self, owner: Any) -> Address | Target | None:
        """Return what it was posted to; `None` if the machine of a bound event has left."""
        if self._machine is None:
            return Address(self._topic, owner, self._event)
        machine = self._machine()
        return None if machine is None else bound(owner, machine, self._event)

    def __call__(self) -> Any:
        """Come due. If the machine of a bound event is the orchestrator's no more, do nothing."""
        owner = self._owner()
        place = None if owner is None else place_of(owner)
        if place is None or place.timers.holds_back(self) or not self.claim():
            return None
        place.timers.delays.pop(self, None)
        address = self.address(owner)
        if address is None:
            return None
        topic = address.topic
        return come_due(
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
            getattr(address, "machine", None),
        )


def _over(due: float) -> Delay:
    """Return a delay that is over, and of no orchestrator."""
    delay = Delay.__new__(Delay)
    Timer.__init__(delay, due, 0.0, None)
    delay.claim()
    delay._owner = lambda: None  # type: ignore[assignment]  # noqa: SLF001
    return delay


@attrs.frozen
class Kept:
    """One pending timer, as a value: with it the timer can be set again."""

    topic: str
    """`timeout:order.processing`, or the posted topic."""
    reaction: str
    """The reaction of a timeout; empty for a post."""
    number: int
    """Which of several timeouts of one reaction for one state."""
    keys: tuple[Hashable, ...]
    """The fleet keys that lead to the machine."""
    due: float
    span: float
    cause: int | None = attrs.field(eq=False)
    """What led to it, in the process that it was kept in."""
    event: str = ""
    """What was posted: the topic as it was spelled, or the event of a bound one."""
    machine: Any = None
    """The machine of a bound event."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = attrs.Factory(dict[str, Any])


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

    __slots__ = ("begins_anew", "timer", "waiting")

    def __init__(self, waiting: dict[Any, _Waiting], timer: Any, *, begins_anew: bool) -> None:
        self.waiting = waiting
        self.timer = timer
        self.begins_anew = begins_anew
        """Whether its time begins with the loop; else it has come due already."""
        waiting[timer] = self

    def cancel(self) -> None:
        """Wait no more."""
        if self.waiting.get(self.timer) is self:
            del self.waiting[self.timer]


class Timers:
    """The timers of one orchestrator. When it is freed they are ended."""

    __slots__ = ("delays", "loops", "numbers", "place", "waiting", "watches")

    def __init__(self, place: Place, plans: list[Any]) -> None:
        self.place = place
        self.delays: dict[Delay, None] = {}
        self.waiting: dict[Timer, _Waiting] = {}
        """Those that wait for a running event loop."""
        self.loops: dict[Any, None] = {}
        """The event loops that call back."""
        self.watches = [
            Watch(place.owner, plan, path) for plan in plans for path in plan.timeout.states
        ]
        counts: Counter[tuple[str, str]] = Counter()
        self.numbers: dict[Watch, tuple[str, str, int]] = {}
        """How each watch is called in what is kept."""
        for watch in self.watches:
            name = watch.topic, watch.plan.name
            self.numbers[watch] = (*name, counts[name])
            counts[name] += 1
            watch.connect(place)

    def __del__(self) -> None:
        if not sys.is_finalizing():  # a clock's thread may have been stopped with its lock in hand
            self.end()

    def end(self) -> None:
        """End everything that is pending."""
        for timer in self.pending():
            timer.end()

    def pending(self) -> list[Any]:
        """Return everything that is pending."""
        timeouts = (timer for watch in self.watches for timer in list(watch.begun.values()))
        return [timer for timer in (*timeouts, *list(self.delays)) if not timer.is_over]

    # As values ----------------------------------------------------------------------------

    def kept(self) -> list[tuple[Any, Kept]]:
        """Return everything that is pending, each with what it is as a value."""
        found: list[tuple[Any, Kept]] = []
        for watch in self.watches:
            for timer in list(watch.begun.values()):
                if not timer.is_over:
                    topic, reaction, number = self.numbers[watch]
                    facts = (timer.keys, timer.due, timer.span, timer.cause)
                    found.append((timer, Kept(topic, reaction, number, *facts)))
        owner = self.place.owner
        found.extend(
            (delay, delay.kept())
            for delay in list(self.delays)
            if not delay.is_over and delay.address(owner) is not None
        )
        return found

    def forget_all(self) -> None:
        """End everything, and forget whose time is over."""
        self.end()
        self.delays.clear()
        for watch in self.watches:
            watch.begun.clear()

    def resume(self, kept: Kept, due: float, delay: Delay | None) -> Any:
        """Set a timer again; of a post, the one that it is to be. Return it."""
        if delay is not None:
            delay.resume(kept)
            delay.due = due
            self.delays[delay] = None
            self.schedule(delay, begins_anew=False)
            return delay
        wanted = kept.topic, kept.reaction, kept.number
        watch = next(one for one, name in self.numbers.items() if name == wanted)
        return watch.resume(kept.keys, due, kept.span, kept.cause)

    def note_over(self) -> None:
        """Note of each machine in a state whose time is not pending that it is over."""
        for watch in self.watches:
            for keys, machine in machines_at(self.place.owner, watch.names):
                if keys not in watch.begun and watch.state in active_ids(machine):
                    watch.note_over(keys)

    # On the clock -------------------------------------------------------------------------

    def armed(self, timer: Any, due: float, *, begins_anew: bool = True) -> Handle:
        """Hand a timer to the clock; what needs an event loop waits for one."""
        clock = self.place.clock
        call_at = clock.call_at
        if isinstance(clock, SystemClock):
            loop = lasting_loop()
            if loop is not None:
                self.loops[loop] = None
            elif self.place.may_be_awaited:
                return _Waiting(self.waiting, timer, begins_anew=begins_anew)
            else:
                call_at = clock.call_in_thread
        handle: Handle = call_at(due, timer.call)
        return handle

    def schedule(self, timer: Any, *, begins_anew: bool = True) -> None:
        """Hand a timer to the clock, for the time at which it is due."""
        self.hold(timer, timer.due, self.armed(timer, timer.due, begins_anew=begins_anew))

    def hold(self, timer: Any, due: float, handle: Handle) -> None:
        """Keep what a clock has returned, in the place of what was kept before."""
        timer.let_go()
        timer.due = due
        timer.handle = handle
        if timer.is_over:  # another thread has ended it meanwhile
            timer.let_go()

    def holds_back(self, timer: Any) -> bool:
        """Whether a timer that comes due in a thread must wait for an event loop after all.

        It began when nothing was async here.
        """
        if not isinstance(self.place.clock, SystemClock) or lasting_loop() is not None:
            return False
        if self.place.may_be_awaited and not timer.is_over:
            self.hold(timer, timer.due, _Waiting(self.waiting, timer, begins_anew=False))
            return True
        return False

    def delay(self, delay: Delay) -> Delay:
        """Keep a post for later."""
        self.delays[delay] = None
        try:
            self.schedule(delay)
        except BaseException:
            self.delays.pop(delay, None)
            raise
        return delay

    def wake(self) -> None:
        """Hand what waits for an event loop, or was on one that is closed, to the running one."""
        if not self.waiting and not self.loops:  # each transition asks
            return
        is_adrift = any(loop.is_closed() for loop in tuple(self.loops))
        if not (self.waiting or is_adrift):
            return
        if self.place.may_be_awaited and lasting_loop() is None:
            return
        waiting = list(self.waiting.values())
        if is_adrift:
            self.loops.clear()
            for timer in self.pending():
                if timer not in self.waiting:
                    self.schedule(timer)
        for one in waiting:
            if one.begins_anew:
                self.restart(one.timer)
            else:
                self.schedule(one.timer)

    def restart(self, timer: Any) -> None:
        """Begin a pending time anew, in full."""
        timer.due = self.place.clock.now() + timer.span
        self.schedule(timer)

    # What comes and goes ------------------------------------------------------------------

    def look_at(
        self,
        names: str,
        keys: tuple[Hashable, ...],
        machine: Any,
        wrong: list[Any] | None,
    ) -> None:
        """Begin the times of the states that a machine is in when it comes."""
        for watch in self.watches:
            if watch.names != names or keys in watch.begun:
                continue
            try:
                if watch.state in active_ids(machine):  # which its model tells
                    watch.begin(keys)
            except Exception as error:
                if wrong is None:
                    raise
                wrong.append((self.place.owner, watch.plan.name, error))

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
        with attaching:
            if place.timers is None:
                place.timers = Timers(place, [])
    timers: Timers = place.timers
    return timers


def begin_anew(owner: Any) -> None:
    """Let everything that is pending, here and below, begin anew, in full: on another clock.

    If that clock raises, everything stays on the one before.
    """
    armed: list[tuple[Timers, Any, float, Handle]] = []
    try:
        for timers in _timers_below(owner):
            for timer in timers.pending():
                due = timers.place.clock.now() + timer.span
                armed.append((timers, timer, due, timers.armed(timer, due)))
    except BaseException:
        for _timers, _timer, _due, handle in armed:
            handle.cancel()
        raise
    for timers, timer, due, handle in armed:
        timers.hold(timer, due, handle)


def _timers_below(owner: Any) -> Iterator[Timers]:
    """Yield the timers of an orchestrator, and of those that it holds at any depth."""
    timers = place_of(owner).timers
    if timers is not None:
        yield timers
    for _name, _key, member in members_of(owner):
        if is_orchestrator(member):
            yield from _timers_below(member)
