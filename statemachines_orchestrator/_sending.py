"""Sending an event to what a topic names: one machine, or every member of a fleet in turn."""

from __future__ import annotations

from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._enabled import enabled_events
from statemachines_orchestrator._engine import is_async, machine_of, seam_of
from statemachines_orchestrator._host import Machine
from statemachines_orchestrator._members import is_orchestrator, members_in
from statemachines_orchestrator._notes import add_note, shown
from statemachines_orchestrator._places import longer
from statemachines_orchestrator.exceptions import (
    Failure,
    ReactionErrors,
    UnknownTopicError,
)
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Address", "Target", "address_of", "bound", "deliver", "named"]

_OF_SEND = frozenset(("delay", "event", "internal", "send_id"))
"""What python-statemachine's `send` takes for itself."""
REFUSED: Any = object()
"""What a target gives that was asked first and would not take the event."""


@attrs.frozen
class Target:
    """An event of one machine."""

    path: tuple[Any, ...]
    """The names and keys that lead to the machine."""
    name: str
    """The names alone, by which topics call the machine."""
    machine: Any
    event: str

    @property
    def topic(self) -> str:
        """The topic of the event."""
        return f"{self.name}.{self.event}"

    @property
    def must_be_awaited(self) -> bool:
        """Whether the machine is async."""
        return is_async(self.machine)

    def targets(self) -> Iterator[Target]:
        """Yield itself, as an address yields all that it names."""
        yield self

    def send(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        if_enabled: bool = False,
        refused: Any = None,
    ) -> Any:
        """Send the event, and return its result.

        With `if_enabled` only when the machine would take it now; else the result is `refused`.
        """
        if not if_enabled:
            return self._send(args, kwargs)
        enabled = enabled_events(self.machine, args, kwargs, self.event)
        if isawaitable(enabled):
            return self._send_if(enabled, args, kwargs, refused)
        return self._send(args, kwargs) if enabled else refused

    async def _send_if(
        self, enabled: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], refused: Any
    ) -> Any:
        return await self._send(args, kwargs) if await enabled else refused

    def _send(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Send the event by `send`, or where an argument is called like one of its own, bound."""
        if kwargs and not kwargs.keys().isdisjoint(_OF_SEND):
            bound: Any = getattr(self.machine, self.event, None)
            if machine_of(bound) is self.machine:
                return bound(*args, **kwargs)
        send: Any = self.machine.send
        if isinstance(send, str):  # an event of that name, which hides the method
            send = partial(Machine.send, self.machine)
        return send(self.event, *args, **kwargs)


@attrs.frozen
class Address:
    """What a topic names in one orchestrator."""

    topic: str
    """The topic in its canonical spelling."""
    owner: Any
    spelled: str
    """The topic as it was given: python-statemachine declares `error_x` in another spelling."""

    def targets(self) -> Iterator[Target]:
        """Yield the machines and their event: of fleets, the members that there are now."""
        return _below(self.owner, self.spelled, (), "")

    @property
    def is_many(self) -> bool:
        """Whether the topic leads through a fleet."""
        owner, rest = self.owner, self.topic
        while is_orchestrator(owner):
            field, _, rest = rest.partition(".")
            owner = getattr(owner, field)
        return isinstance(owner, Fleet)

    @property
    def must_be_awaited(self) -> bool:
        """Whether one of the machines is async."""
        return any(target.must_be_awaited for target in self.targets())

    def send(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, if_enabled: bool = False
    ) -> Any:
        """Send the event, and return its result, or those of all members by their paths.

        Raises what the event raises; for several members `ReactionErrors`, after all of them.
        """
        if self.is_many:
            return deliver(self.targets(), args, kwargs, if_enabled=if_enabled)
        for target in self.targets():
            return target.send(args, kwargs, if_enabled=if_enabled)
        if if_enabled:
            return None
        raise _holds_none(self.owner.__declaration__.where, self.topic)


def _holds_none(where: str, topic: str) -> UnknownTopicError:
    return UnknownTopicError(where, topic, f"{topic.rpartition('.')[0]!r} holds no machine yet")


def _below(owner: Any, topic: str, path: tuple[Any, ...], prefix: str) -> Iterator[Target]:
    field, _, rest = topic.partition(".")
    for key, member in members_in(getattr(owner, field, None)):  # of several classes, not all
        below = longer(path, field, key)
        if is_orchestrator(member):
            yield from _below(member, rest, below, f"{prefix}{field}.")
        else:
            yield Target(below, prefix + field, member, rest)


def bound(owner: Any, machine: Any, event: str) -> Target | None:
    """Return the event of a machine as an orchestrator names it, `None` if it is none of its."""
    seam = seam_of(machine)
    for publisher in () if seam is None else seam.publishers:
        for level in publisher.levels:
            if level.place.owner is owner:
                path, _keys = publisher.place.below(publisher.name, publisher.key)
                return Target(path[len(level.place.path) :], level.name, machine, event)
    return None


def address_of(owner: Any, topic: Any, beside: Iterable[str] = ()) -> Address | Target:
    """Return what a topic or a bound event names.

    Raises `UnknownTopicError` if it is none of the orchestrator, names no single event,
    or leads to a field that holds nothing.
    """
    where = owner.__declaration__.where
    machine = machine_of(topic) if isinstance(topic, str) else None
    if machine is not None:
        target = bound(owner, machine, str(topic))
        if target is None:
            raise UnknownTopicError(where, str(topic), f"its machine is none of {shown(owner)}")
        return target
    resolved = owner.__declaration__.topics.single_event(topic, where, beside)
    address = Address(resolved, owner, topic)
    if not address.is_many and not any(True for _ in address.targets()):
        raise _holds_none(where, topic)
    return address


def named(path: tuple[Any, ...]) -> Any:
    """Return the name by which results tell a machine: its field's, or names and keys."""
    return path[0] if len(path) == 1 else path


def deliver(
    targets: Iterable[Target],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    if_enabled: bool = False,
) -> Any:
    """Send to each target in turn, whatever the others raise, and return the results by name.

    The results must be awaited if a machine must be; then each is, before the next is sent to.
    """
    delivery = _Delivery(iter(targets), args, kwargs, if_enabled=if_enabled)
    for target in delivery.rest:
        with delivery.to(target):
            result = delivery.send()
            if isawaitable(result):
                return delivery.go_on(result)
            delivery.keep(result)
    return delivery.end()


class _Delivery:
    """What came of sending to several targets, and who is next."""

    def __init__(
        self,
        targets: Iterator[Target],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        if_enabled: bool,
    ) -> None:
        self.rest = targets
        self.args = args
        self.kwargs = kwargs
        self.if_enabled = if_enabled
        self.results: dict[Any, Any] = {}
        self.failures: list[Failure] = []
        self.target: Any = None

    def to(self, target: Target) -> _Delivery:
        """Note what fails as a failure of the target: `with delivery.to(target)`."""
        self.target = target
        return self

    def __enter__(self) -> None:
        """Begin with the target."""

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        names = (part if isinstance(part, str) else shown(part) for part in self.target.path)
        label = ".".join((*names, self.target.event))
        add_note(error, f"in {label}")
        self.failures.append(Failure(label, None, error))
        return True

    def send(self) -> Any:
        """Send to the target."""
        facts = {"if_enabled": self.if_enabled, "refused": REFUSED}
        return self.target.send(self.args, self.kwargs, **facts)

    def keep(self, result: Any) -> None:
        """Keep what the target returned, unless it was asked first and refused."""
        if result is not REFUSED:
            self.results[named(self.target.path)] = result

    async def go_on(self, awaitable: Any) -> dict[Any, Any]:
        """Await the result of the target, and go on with those that are left."""
        with self.to(self.target):
            self.keep(await awaitable)
        for target in self.rest:
            with self.to(target):
                result = self.send()
                self.keep(await result if isawaitable(result) else result)
        return self.end()

    def end(self) -> dict[Any, Any]:
        """Return the results, or raise what failed."""
        if not self.failures:
            return self.results
        names = ", ".join(failure.reaction for failure in self.failures)
        message = f"{names} failed; the other machines have got the event, see .result"
        errors = [failure.exception for failure in self.failures]
        raise ReactionErrors(message, errors, self.results, self.failures)
