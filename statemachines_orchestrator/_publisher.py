"""The publisher of each machine: makes the records of what it did and sends them on the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._engine import flat_move
from statemachines_orchestrator._host import HOST_IS_3
from statemachines_orchestrator.records import Sent, Transitioned, next_seq
from statemachines_orchestrator.topics import ANY, canonical

if TYPE_CHECKING:
    from statemachines_orchestrator._bus import Bus
    from statemachines_orchestrator._engine import Move
    from statemachines_orchestrator._frames import Payload

__all__ = ["Publisher"]

_MOST_REMEMBERED = 1000
"""Event names are open-ended on 3.x (`done.invoke.<random>`); topics of so many are remembered."""


class Publisher:
    """Publishes for one machine of one orchestrator. The machine's seam calls it."""

    __slots__ = ("bus", "machine", "name", "owner", "remembered")

    def __init__(self, owner: Any, name: str, machine: Any, remembered: dict[Any, Any]) -> None:
        self.owner = owner
        self.name = name
        self.machine = machine
        self.bus: Bus = owner.bus
        self.remembered = remembered
        """The topics of transitions, shared by all machines of one class in one field."""

    def sent(self, trigger: Any, payload: Payload) -> None:
        """Announce that an event was put on the machine."""
        event = canonical(trigger.event)
        self.bus.publish(
            (f"sent:{self.name}.{event}", f"sent:{self.name}.*", "sent:*"),
            self.machine,
            lambda: Sent(
                seq=payload.seq,
                cause=payload.cause,
                machine_name=self.name,
                event=trigger.event,
                args=trigger.args,
                kwargs=dict(payload),
                machine=self.machine,
            ),
        )

    def transitioned(self, trigger: Any, cascade: Any, transition: Any, moved: Move | None) -> None:
        """Announce a committed transition: exits, the event, the wildcards, entries.

        `moved` is `None` for a machine without nested states, whose transitions tell it all.
        """
        seq = next_seq()
        cascade.announced[id(self.owner)] = self
        event = trigger.event
        known = self.remembered.get((transition, event, moved))
        if known is None:
            known = self._remember(transition, event, moved)
        topics, exited, entered = known
        get = self.bus.get
        record = None
        for topic in topics:
            signal = get(topic)
            if signal is None or not signal.receivers:
                continue
            if record is None:
                payload = trigger.kwargs
                record = Transitioned(
                    seq=seq,
                    cause=payload.seq,
                    machine_name=self.name,
                    event=event,
                    source=transition.source,
                    target=transition.target,
                    args=trigger.args,
                    kwargs=dict(payload),
                    exited=exited,
                    entered=entered,
                    machine=self.machine,
                    transition=transition,
                )
            signal.send(self.machine, record=record)

    def _remember(self, transition: Any, event: Any, moved: Move | None) -> Any:
        """Work out the topics of a transition, once for all machines of the class."""
        exited, entered = moved or flat_move(self.machine, transition)
        known = (self._topics(transition, event, exited, entered), exited, entered)
        if len(self.remembered) < _MOST_REMEMBERED:
            name = None if event is None else str(event)  # a bound event holds its machine
            self.remembered[transition, name, moved] = known
        return known

    def _topics(
        self, transition: Any, event: Any, exited: tuple[str, ...], entered: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return the topics of a transition, in the order of a statechart step."""
        names = [] if event is None else [canonical(event), *_declared(transition, event)]
        return (
            *(f"exit:{self.name}.{state}" for state in exited),
            *(f"{self.name}.{name}" for name in dict.fromkeys(names) if name != ANY),
            f"{self.name}.*",
            "*",
            *(f"enter:{self.name}.{state}" for state in entered),
        )


def _declared(transition: Any, event: Any) -> list[str]:
    """Return the declared ids of `transition` that match the event sent."""
    return [
        canonical(word)
        for declared in transition.events
        for word in declared.split(" ")
        if word == event or (HOST_IS_3 and declared.match(event))
    ]
