"""The publisher of each machine: makes the records of what it did and sends them on the bus."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._host import HOST_IS_3, flat_move, store_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import NO_KEY, wildcards
from statemachines_orchestrator.records import Ignored, Sent, Transitioned, next_seq
from statemachines_orchestrator.topics import ANY, canonical

if TYPE_CHECKING:
    from collections.abc import Hashable

    from statemachines_orchestrator._host import Move
    from statemachines_orchestrator._places import Level, Place

__all__ = ["Publisher"]

_MOST_REMEMBERED = 1000
"""Event names are open-ended on 3.x (`done.invoke.<random>`); topics of so many are remembered."""


class Publisher:
    """Publishes for one machine of one orchestrator. The machine's seam calls it."""

    __slots__ = ("key", "keys", "levels", "machine", "name", "path", "place")

    def __init__(self, place: Place, name: str, key: Hashable, machine: Any) -> None:
        self.place = place
        self.name = name
        self.key = key
        self.machine = machine
        self.moved()

    def moved(self) -> None:
        """Learn who hears of the machine: anew, when its orchestrator was held or released."""
        self.levels = self.place.levels_of(self.name, self.machine.__class__)
        self.path, self.keys = self.place.below(self.name, self.key)

    def left(self) -> None:
        """Note that the machine has left the orchestrator, and keeps its state elsewhere."""
        self.place.leaving.pop(self, None)
        store = store_of(self.machine)
        if self.place.stores.get(store) is self:
            self.place.stores.pop(store, None)

    @property
    def shown(self) -> str:
        """How errors call the machine: `order`, `items['a']`."""
        return self.name if self.key is NO_KEY else f"{self.name}[{shown(self.key)}]"

    def sent(self, trigger: Any) -> None:
        """Announce that an event was put on the machine."""
        payload = trigger.kwargs
        self._announce("sent", Sent, trigger, payload.seq, payload.cause)

    def ignored(self, trigger: Any) -> None:
        """Announce that an event enabled no transition."""
        self._announce("ignored", Ignored, trigger, next_seq(), trigger.kwargs.seq)

    def ended(self, kind: str, record_class: Any, trigger: Any, **facts: Any) -> None:
        """Announce how an event has ended for which nobody waits: it failed, or was abandoned."""
        place = self.place
        if place.is_asked_for(kind):
            event = canonical(trigger.event)
            cause = getattr(trigger.kwargs, "seq", None)
            build = partial(
                record_class,
                seq=next_seq(),
                cause=cause,
                path=self.path,
                keys=self.keys,
                name=str(event),
                **facts,
            )
            place.publish(f"{kind}:", f"{self.name}.{event}", self.machine, build)

    def _announce(
        self, kind: str, record_class: Any, trigger: Any, seq: int, cause: int | None
    ) -> None:
        """Publish a record about an event, and not about a transition."""
        event = canonical(trigger.event)
        record = None
        for level in self.levels:
            if kind not in level.bus.kinds:
                continue
            get = level.bus.get
            for topic in (f"{level.name}.{event}", *level.wildcards):
                signal = get(f"{kind}:{topic}")
                if signal is None or not signal.receivers:
                    continue
                if record is None:
                    record = record_class(
                        seq=seq,
                        cause=cause,
                        path=self.path,
                        keys=self.keys,
                        machine_name=self.name,
                        event=trigger.event,
                        args=trigger.args,
                        kwargs=dict(trigger.kwargs),
                        machine=self.machine,
                    )
                signal.send(self.machine, record=record)

    def transitioned(self, trigger: Any, cascade: Any, transition: Any, moved: Move | None) -> None:
        """Announce a committed transition: exits, the event, the wildcards, entries.

        `moved` is `None` for a machine without nested states, whose transitions tell it all.
        All orchestrators that hear of it get the same record, the innermost one first.
        """
        seq = next_seq()
        event = trigger.event
        record = None
        for level in self.levels:
            place = level.place
            cascade.announced[place] = seq
            if place.timers is not None:
                place.timers.wake()
            known = level.remembered.get((transition, event, moved))
            if known is None:
                known = self._remember(level, transition, event, moved)
            topics, exited, entered = known
            get = level.bus.get
            for topic in topics:
                signal = get(topic)
                if signal is None or not signal.receivers:
                    continue
                if record is None:
                    payload = trigger.kwargs
                    record = Transitioned(
                        seq=seq,
                        cause=payload.seq,
                        path=self.path,
                        keys=self.keys,
                        machine_name=self.name,
                        event=event,
                        source=transition.source,
                        target=transition.target,
                        args=trigger.args,
                        kwargs=dict(payload) if payload else {},
                        exited=exited,
                        entered=entered,
                        machine=self.machine,
                        transition=transition,
                    )
                signal.send(self.machine, record=record)

    def _remember(self, level: Level, transition: Any, event: Any, moved: Move | None) -> Any:
        """Work out the topics of a transition, once for all machines of the class."""
        exited, entered = moved or flat_move(self.machine, transition)
        known = (_topics(level.name, transition, event, exited, entered), exited, entered)
        if len(level.remembered) < _MOST_REMEMBERED:
            name = None if event is None else str(event)  # a bound event holds its machine
            level.remembered[transition, name, moved] = known
        return known


def _topics(
    name: str, transition: Any, event: Any, exited: tuple[str, ...], entered: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the topics of a transition, in the order of a statechart step."""
    names = [] if event is None else [canonical(event), *_declared(transition, event)]
    return (
        *(f"exit:{name}.{state}" for state in exited),
        *(f"{name}.{event}" for event in dict.fromkeys(names) if event != ANY),
        *wildcards(name),
        *(f"enter:{name}.{state}" for state in entered),
    )


def _declared(transition: Any, event: Any) -> list[str]:
    """Return the declared ids of `transition` that match the event sent."""
    return [
        canonical(word)
        for declared in transition.events
        for word in declared.split(" ")
        if word == event or (HOST_IS_3 and declared.match(event))
    ]
