"""Timeouts: the times of states, which entries begin and exits end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import attrs

from statemachines_orchestrator._due import Timer, come_due
from statemachines_orchestrator._engine import is_in_mid_step
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._turns import ReactionTurn
from statemachines_orchestrator.clock import span_of
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.records import Elapsed
from statemachines_orchestrator.topics import walk_states

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator.records import Record

__all__ = ["TimeoutPlan", "Watch"]


class _Timeout(Timer):
    """The time of one state of one machine."""

    __slots__ = ("keys", "watch")

    def __init__(self, watch: Watch, keys: tuple[Hashable, ...], *facts: Any) -> None:
        super().__init__(*facts)
        self.watch = watch
        self.keys = keys

    def __call__(self) -> Any:
        """Come due."""
        owner = self.watch.owner()
        place = None if owner is None else place_of(owner)
        if place is None or place.timers.holds_back(self) or not self.claim():
            return None
        self.handle = None
        return self.watch.elapsed(self, place)


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

    def connect(self, place: Place) -> None:
        """Listen for what begins and ends the times."""
        state = f"{self.names}.{self.state}"
        place.bus.signal(f"enter:{state}").connect(_Begin(place, self))
        place.bus.signal(f"exit:{state}").connect(_End(place, self))

    def begin(self, keys: tuple[Hashable, ...], record: Record | None = None) -> None:
        """Begin the time of a machine, which ends the one before."""
        place = place_of(self.owner())
        span = self.plan.timeout.span(place.owner, record)
        self.end(keys)
        timer = _Timeout(self, keys, place.clock.now() + span, span, getattr(record, "seq", None))
        self.begun[keys] = timer
        try:
            place.timers.schedule(timer)
        except BaseException:
            self.begun.pop(keys, None)
            raise

    def end(self, keys: tuple[Hashable, ...]) -> None:
        """End the time of a machine."""
        timer = self.begun.pop(keys, None)
        if timer is not None:
            timer.end()

    def resume(self, keys: tuple[Hashable, ...], due: float, span: float, cause: Any) -> Any:
        """Begin the time of a machine where another one stood, and return the timer."""
        timer = self.begun[keys] = _Timeout(self, keys, due, span, cause)
        place_of(self.owner()).timers.schedule(timer, begins_anew=False)
        return timer

    def note_over(self, keys: tuple[Hashable, ...]) -> None:
        """Note that the time of a machine is over, as long as it stays in the state."""
        timer = self.begun[keys] = _Timeout(self, keys, 0.0, 0.0, None)
        timer.claim()

    def elapsed(self, timer: _Timeout, place: Place) -> Any:
        """Run the reaction; if it repeats, the next time has begun by then.

        If the state was left unheard, since it was written from outside or the topic was muted,
        nothing happens.
        """
        path, machine = _find(place.owner, self.names, timer.keys)
        if machine is None or not (is_in_mid_step(machine) or self.state in active_ids(machine)):
            return None
        build = partial(
            Elapsed,
            cause=timer.cause,
            due=timer.due,
            path=(*place.path, *path),
            keys=(*place.keys, *timer.keys),
            name=self.plan.name,
            topic=self.topic,
            state=next(state for state in walk_states(machine.states) if state.id == self.state),
            machine=machine,
        )
        wrong = self._repeat(timer, place) if self.plan.timeout.repeat else None
        return come_due(
            place,
            build,
            lambda record: ReactionTurn(place, self.plan, self.topic, record),
            machine,
            wrong,
        )

    def _repeat(self, timer: _Timeout, place: Place) -> Exception | None:
        """Begin the next time: where the last one ended, or, of those gone by, the last one.

        Return what the clock raises: the reaction runs all the same.
        """
        try:
            missed = max(0.0, (place.clock.now() - timer.due) // timer.span)
            timer.again(timer.due + (missed + 1) * timer.span)
            if self.begun.get(timer.keys) is timer:  # else another thread has just ended it
                place.timers.schedule(timer)
        except Exception as error:  # noqa: BLE001 - a failure of the cascade
            return error
        return None


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
