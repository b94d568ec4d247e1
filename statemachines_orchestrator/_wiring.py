"""The wiring of a class as frozen values, and what is subscribed to one instance beside it."""

from __future__ import annotations

from inspect import isfunction
from typing import TYPE_CHECKING, Any

import attrs
from statemachine import Event

from statemachines_orchestrator import _calls
from statemachines_orchestrator._binding import binder
from statemachines_orchestrator._bus import must_be_awaited
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._plans import Plan, condition_of, resolved_topic
from statemachines_orchestrator._turns import Subscription
from statemachines_orchestrator.exceptions import DeclarationError, NotAReactionError
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.reactions import Asked, Reaction, check_condition, place

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["Wire", "check_instance", "class_of", "conditions_of", "subscribe", "wiring"]


@attrs.frozen
class Wire:
    """One topic that leads to one reaction."""

    topic: str
    """The topic in its canonical spelling; of a join, all that it asks for."""
    reaction: str
    """The name of the method or of the route."""
    targets: tuple[str, ...]
    """The topics that a route declares to send, of a bound event its class and name;
    empty for a method, whose body decides."""
    where: str
    """Where it stands in the user's source: `module.qualname (file, line)`."""
    kind: str
    """`on`, `on_enter`, `on_exit`, `when` or `timeout`."""
    cond: str | None
    """The name of its condition."""
    if_enabled: bool
    """Whether a target that would refuse the event is skipped."""
    asked: tuple[Asked, ...]
    """What a join asks for."""
    seconds: float | str | None
    """The time of a timeout, or the name of the attribute or method that gives it."""
    repeat: bool
    """Whether a timeout runs again after each such time."""


def conditions_of(wire: Wire) -> list[str]:
    """Return under which conditions a reaction runs, in words."""
    told: list[str] = []
    if wire.seconds is not None:
        length = wire.seconds if isinstance(wire.seconds, str) else f"{wire.seconds:g} s"
        told.append(f"{'every' if wire.repeat else 'after'} {length}")
    if wire.cond is not None:
        told.append(f"if {wire.cond}")
    if wire.if_enabled:
        told.append("if enabled")
    return told


def class_of(orchestrator: Any, where: str) -> Any:
    """Return the class of an orchestrator, or the class itself.

    Raises `DeclarationError`, which names `where`, for what is neither.
    """
    cls = orchestrator if isinstance(orchestrator, type) else type(orchestrator)
    if not issubclass(cls, Orchestrator):
        problem = f"it was given {shown(orchestrator)}, which is no orchestrator"
        raise DeclarationError(where, problem, "Give it an orchestrator, or its class")
    return cls


def check_instance(orchestrator: Any, where: str) -> None:
    """Raise `DeclarationError`, which names `where`, for what is no orchestrator that is built."""
    if not isinstance(orchestrator, Orchestrator):
        problem = f"it was given {shown(orchestrator)}, which is no orchestrator"
        raise DeclarationError(where, problem, "Give it an instance of one")
    orchestrator.bus  # noqa: B018 - raises if its constructor is not done


def wiring(orchestrator: Orchestrator | type[Orchestrator]) -> tuple[Wire, ...]:
    """Return everything that decorators and routes of a class declare, in their order.

    The order is that in which the reactions of one signal run: base class before subclass,
    then that of the source. A reaction has a row for each of its topics, a join has one.
    What `subscribe` added to an instance is not in it, nor what orchestrators below declare:
    ask for the wiring of their class.
    Raises `DeclarationError` for a class whose annotations only its first instance resolves.
    """
    declaration: Any = class_of(orchestrator, "wiring()").__declaration__
    if not declaration.is_resolved:
        raise DeclarationError(
            declaration.where,
            "an annotation of it cannot be resolved yet",
            "Build an instance first, or import the machine at run time",
        )
    return tuple(_wire(plan, topic) for plan in declaration.plans for topic in _told(plan))


def _told(plan: Plan) -> tuple[str, ...]:
    """Return the topics of a reaction; of a join all that it asks for, of a timeout its states."""
    if plan.join is not None:
        return (plan.join.text,)
    if plan.timeout is not None:
        return tuple(f"timeout:{state}" for state in plan.timeout.states)
    return plan.topics


def _wire(plan: Plan, topic: str) -> Wire:
    reaction, route = plan.reaction, plan.route
    cond = reaction.cond
    return Wire(
        topic=topic,
        reaction=plan.name,
        targets=() if route is None else route.targets,
        where=reaction.where,
        kind=reaction.kind,
        cond=cond if cond is None or isinstance(cond, str) else getattr(cond, "__name__", "cond"),
        if_enabled=route is not None and route.route.if_enabled,
        asked=reaction.asked,
        seconds=reaction.seconds,
        repeat=reaction.repeat,
    )


def subscribe(
    orchestrator: Orchestrator,
    topic: str,
    function: Any,
    *,
    cond: Any = None,
) -> Callable[[], None]:
    """Add a reaction to one instance, and return the call that removes it.

    `function` may be any callable, `def` or `async def`. It asks for its parameters by name, as a
    method does, and for the orchestrator by `self` or by its name (`orc`).
    `topic` is as in `@on`; states are `"enter:machine.state"` and `"exit:machine.state"`.
    Its turns come after those of the reactions that were there before, and obey their rules.
    Removing it leaves the turns that are queued already. A copy of the orchestrator is without it.

    Raises `UnknownTopicError` if `topic` is none of the orchestrator, and `NotAReactionError` if
    the function cannot be called, the topic is for observers, or `cond` cannot be asked.
    """
    cls: Any = type(orchestrator)
    if not hasattr(cls, "__declaration__"):
        problem = f"it was given {shown(orchestrator)}, which is no orchestrator"
        where, fix = "subscribe()", "Give it an instance of one"
        raise NotAReactionError(where, problem, fix)
    name = getattr(function, "__name__", type(function).__name__)
    where = f"subscribe({cls.__name__}, {shown(topic)}, {name})"
    if isinstance(function, Event):
        problem = f"{shown(function)} is an event, and no function"
        fix = "Declare a route: on(...).send(...), or give it a function that sends the event"
        raise NotAReactionError(where, problem, fix)
    if not callable(function):
        raise NotAReactionError(where, f"{shown(function)} cannot be called", "Give it a function")
    check_condition(cond, where)
    at = place(function) if isfunction(function) else where
    reaction = Reaction("on", (topic,), (), cond, at)
    bus = orchestrator.bus
    found = resolved_topic(cls.__declaration__.topics, topic, reaction)
    plan = Plan(
        name=name,
        label=name,
        topics=(found,),
        call=binder(function, method=False),
        cond=None if cond is None else condition_of(cls, reaction),
        is_async=must_be_awaited(function),
        reaction=reaction,
    )
    if plan.is_async:
        place_of(orchestrator).must_await()
    bus.names.add(name)
    signal = bus.signal(found)
    subscription = Subscription(place_of(orchestrator), plan, found, _calls.react)
    receiver = signal.connect(subscription)
    return lambda: signal.disconnect(receiver)
