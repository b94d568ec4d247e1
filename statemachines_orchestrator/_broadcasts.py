"""What goes to all who would take it, or to all who listen: broadcasts, and signals published."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator import _calls
from statemachines_orchestrator._arguments import OF_EVENTS, OF_SIGNALS, check_arguments
from statemachines_orchestrator._enabled import enabled_events
from statemachines_orchestrator._engine import (
    is_async,
    is_in_mid_step,
    machine_of,
)
from statemachines_orchestrator._event_loops import run_async_from_sync
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._members import machines_below
from statemachines_orchestrator._sending import Address, Target, deliver, named
from statemachines_orchestrator._turns import Post
from statemachines_orchestrator.exceptions import UnknownTopicError
from statemachines_orchestrator.records import Published, next_seq
from statemachines_orchestrator.topics import PUBLISHED, check_topic, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from statemachines_orchestrator._places import Place

__all__ = ["broadcast", "enabled_below", "publish"]


def broadcast(place: Place, topic: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Send an event to every machine that would take it, as one cascade."""
    targets = _targets(place.owner, topic)
    if kwargs:
        where = place.owner.__declaration__.where
        check_arguments(kwargs, OF_EVENTS, where, "broadcast", topic)

    def start() -> Any:
        return deliver(_ready_first(place, targets, args, kwargs), args, kwargs, if_enabled=True)

    if any(target.must_be_awaited for target in targets):
        return run_async_from_sync(_calls.to_rest_async(_calls.Call(), start))
    return _calls.in_cascade(start)


def _targets(owner: Any, topic: str) -> list[Target]:
    """Return the machines that a broadcast asks."""
    declaration = owner.__declaration__
    given: Any = topic
    if isinstance(given, str) and machine_of(given) is not None:
        problem = "a bound event is for its machine alone; post it, or write its name in a string"
        raise UnknownTopicError(declaration.where, str(topic), problem)
    field, dot, _event = check_topic(declaration.where, topic).partition(".")
    if field in declaration.fields and (dot or not declaration.topics.declares(topic)):
        declaration.topics.single_event(topic, declaration.where)
        return list(Address(topic, owner, topic).targets())
    if declaration.topics.declares(topic):
        return [Target(*standing, topic) for standing in machines_below(owner)]
    problem = f"no machine has an event {topic!r}"
    raise unknown(declaration.where, topic, problem, declaration.topics.event_names(), topic)


def _ready_first(
    place: Place, targets: list[Target], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Target]:
    """Yield those that are at rest, when their turn comes; the others get the event after that.

    A machine in mid-step cannot tell yet what it would take.
    """
    late: list[Target] = []
    for target in targets:
        if is_in_mid_step(target.machine):
            late.append(target)
        else:
            yield target
    cascade = joined(here.get())
    for target in late:
        cascade.append_first(Post(place, target, args, kwargs, if_enabled=True))


def publish(place: Place, signal: str, kwargs: Mapping[str, Any]) -> None:
    """Publish a signal of the domain, in the current cascade or as one."""
    declaration = place.owner.__declaration__
    known = sorted(declaration.topics.signals)
    if check_topic(declaration.where, signal) not in known:
        problem = f"no signal of the domain is called {signal!r}"
        raise unknown(declaration.where, signal, problem, known, signal)
    if kwargs:
        check_arguments(kwargs, OF_SIGNALS, declaration.where, "publish", signal)
    _calls.in_cascade(lambda: _publish(place, signal, kwargs))


def _publish(place: Place, signal: str, kwargs: Mapping[str, Any]) -> None:
    """Announce it on every orchestrator that hears of it."""
    cascade = joined(here.get())
    frame, seq = here.get(), next_seq()
    for other in place.holders():
        cascade.announced[other] = seq
    place.publish(
        f"{PUBLISHED}:",
        signal,
        place.owner,
        lambda: Published(
            seq=seq,
            cause=frame.seq,
            path=place.path,
            keys=place.keys,
            name=signal,
            kwargs=dict(kwargs),
        ),
    )


def enabled_below(owner: Any) -> Any:
    """Return the events that each machine would take now; awaitable if one of them must be."""
    machines = list(machines_below(owner))
    if any(is_async(machine) for _path, _name, machine in machines):
        return run_async_from_sync(_enabled_async(machines))
    return {
        named(path): tuple(enabled_events(machine, (), {})) for path, _name, machine in machines
    }


async def _enabled_async(machines: list[tuple[Any, str, Any]]) -> dict[Any, tuple[str, ...]]:
    found: dict[Any, tuple[str, ...]] = {}
    for path, _name, machine in machines:
        enabled = enabled_events(machine, (), {})
        found[named(path)] = tuple(await enabled if isawaitable(enabled) else enabled)
    return found
