"""Steps: what outside events an exploration sends, and what comes due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._arguments import OF_EVENTS, OF_SIGNALS, check_arguments
from statemachines_orchestrator._enabled import events_of, may_take
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import wildcards
from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.topics import ANY, check_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._wholes import Path

__all__ = ["Alphabet", "Step"]


@attrs.frozen
class Step:
    """One thing that happens to an orchestrator from outside: an event, a signal, or a timer."""

    kind: str
    """`event`, `signal` or `timer`."""
    path: Path
    """The names and keys that lead to the machine; of a timer, to its orchestrator."""
    name: str
    """The event, the signal; of a timer the reaction, or the posted topic."""
    args: tuple[Any, ...] = attrs.field(default=(), hash=False)
    kwargs: Mapping[str, Any] = attrs.field(factory=dict[str, Any], hash=False)
    keys: tuple[Any, ...] = ()
    """The fleet keys that lead from the orchestrator to the machine of a timeout."""
    told_path: str = ""
    """The path in words: `order`, `items['a']`."""
    nth: int = 0
    """Which of several timers of one name, in the order in which they come due."""

    @property
    def arguments(self) -> str:
        """The arguments, as they are written in a call."""
        return ", ".join(
            [*map(shown, self.args), *(f"{name}={shown(one)}" for name, one in self.kwargs.items())]
        )

    def __str__(self) -> str:
        """Return `order.pay(amount=100)`, `publish low_stock()`, or `expire, after its time`."""
        if self.kind == "event":
            return f"{self.told_path}.{self.name}({self.arguments})"
        if self.kind == "signal":
            return f"publish {self.name}({self.arguments})"
        prefix = f"{self.told_path}." if self.told_path else ""
        keys = f"[{', '.join(map(shown, self.keys))}]" if self.keys else ""
        which = f", number {self.nth + 1}," if self.nth else ""
        return f"{prefix}{self.name}{keys}{which} comes due"

    def __repr__(self) -> str:
        return str(self)


Variant = tuple[tuple[Any, ...], Mapping[str, Any]]
PLAIN: tuple[Variant, ...] = (((), {}),)


class Alphabet:
    """Which events are sent to which machines, with which arguments."""

    def __init__(self, owner: Any, events: Any, where: str) -> None:
        self.where = where
        self.topics: Any = owner.__declaration__.topics
        self.variants: dict[str, tuple[Variant, ...]] | None = None
        self.signals: list[Step] = []
        self.asked: dict[Any, bool] = {}
        """Whether there is a transition, by the class of the machine, its state and the event."""
        if events is not None:
            self.variants = dict(self._given(events))

    def _given(self, events: Any) -> Iterator[tuple[str, tuple[Variant, ...]]]:
        """Yield what is sent, with its arguments; note the signals."""
        one: Any = events
        items = (
            one.items() if isinstance(events, Mapping) else [(name, None) for name in _many(one)]
        )
        for name, given in items:
            check_topic(self.where, name)
            variants = self._variants(name, given)
            reserved = OF_SIGNALS if name in self.topics.signals else OF_EVENTS
            for _args, kwargs in variants:
                check_arguments(kwargs, reserved, f"{self.where}: events[{name!r}]")
            if name in self.topics.signals:
                self._check_signal(name, variants)
                self.signals.extend(
                    Step("signal", (), name, args, kwargs) for args, kwargs in variants
                )
                continue
            topic = name if name == ANY else self.topics.event(name, self.where)
            yield topic, variants

    def _variants(self, name: str, given: Any) -> tuple[Variant, ...]:
        """Return the arguments with which an event is sent: each a mapping, or a tuple."""
        if given is None:
            return PLAIN
        many: Any = given
        is_one = isinstance(given, (Mapping, tuple)) or not isinstance(given, Iterable)
        several: list[Any] = [many] if is_one else list(many)
        found: list[Variant] = []
        for one in several:
            arguments: Any = one
            if isinstance(one, Mapping):
                found.append(((), arguments))
            elif isinstance(one, tuple):
                found.append((arguments, {}))
            else:
                problem = f"events[{name!r}] has {shown(one)}, which are no arguments"
                fix = "Give a mapping of keyword arguments, a tuple of positional ones, or several"
                raise DeclarationError(self.where, problem, fix)
        return tuple(found)

    def _check_signal(self, name: str, variants: tuple[Variant, ...]) -> None:
        """Refuse positional arguments: a signal has none."""
        for args, _kwargs in variants:
            if args:
                problem = (
                    f"events[{name!r}] has {shown(args)}, and a signal has keyword arguments only"
                )
                raise DeclarationError(self.where, problem, "Give it a mapping")

    def of(self, names: str, event: str) -> tuple[Variant, ...]:
        """Return the arguments with which an event is sent to the machines under some names."""
        if self.variants is None:
            return PLAIN
        for topic in (f"{names}.{event}", *wildcards(names)):
            if topic in self.variants:
                return self.variants[topic]
        return ()

    def steps(self, path: Path, names: str, told: str, machine: Any) -> list[Step]:
        """Return what may be sent to a machine, whatever its states and guards say."""
        kind = machine.__class__
        declared = events_of(kind)
        given = self.variants or ()
        declared += [
            one
            for topic in given
            for one in [topic.removeprefix(f"{names}.")]
            if topic.startswith(f"{names}.") and one not in (ANY, *declared)
        ]
        return [
            Step("event", path, event, args, kwargs, told_path=told)
            for event in declared
            for args, kwargs in self.of(names, event)
        ]

    def may_take(self, machine: Any, local: int, event: str) -> bool:
        """Whether the machine's states have a transition for an event; remembered by state."""
        if machine.current_state_value is None:  # machines of one class may begin anywhere
            return may_take(machine, event)
        key = (machine.__class__, local, event)
        known = self.asked.get(key)
        if known is None:
            known = self.asked[key] = may_take(machine, event)
        return known


def _many(events: Any) -> list[Any]:
    several: Any = events
    is_one = isinstance(events, str) or not isinstance(events, Iterable)
    return [events] if is_one else list(several)
