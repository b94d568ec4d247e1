"""The reactions of one class, in order, with their topics resolved and their calls prepared."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs
from statemachine import Event

from statemachines_orchestrator._annotations import own_annotations
from statemachines_orchestrator._attrs import attributes_of
from statemachines_orchestrator._binding import binder
from statemachines_orchestrator._engine import machine_of
from statemachines_orchestrator._joins import JoinPlan, Term
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._routes import RoutePlan
from statemachines_orchestrator._timeouts import TimeoutPlan
from statemachines_orchestrator.exceptions import (
    DeclarationError,
    NameClashError,
    NotAReactionError,
)
from statemachines_orchestrator.reactions import (
    SURFACE,
    Asked,
    Reaction,
    Route,
    Subscriber,
    reactions_of,
    removed,
)
from statemachines_orchestrator.topics import OBSERVED_KINDS, Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Plan", "condition_of", "plans_of", "resolved_topic"]


_OF_EVENTS = frozenset(("event", "source", "target", "transition"))
"""What a reaction may ask for that comes of an event."""


@attrs.frozen
class Plan:
    """A reaction of one class, ready to be subscribed."""

    name: str
    label: str
    """`Shop.capture`, with the name of the class that runs it."""
    topics: tuple[str, ...]
    call: Callable[[Any, Any], Any]
    cond: Callable[[Any, Any], Any] | None
    is_async: bool
    reaction: Reaction
    join: JoinPlan | None = None
    timeout: TimeoutPlan | None = None
    route: RoutePlan | None = None


def plans_of(cls: type, topics: Topics) -> tuple[Plan, ...]:
    """Return the reactions of `cls`, ready to be subscribed, in their order."""
    return tuple(
        plan
        for name, (reactions, function) in _reactions_in(cls).items()
        for plan in _plans(cls, topics, name, function, reactions)
    )


def _reactions_in(cls: type) -> dict[str, tuple[tuple[Reaction, ...], Any]]:
    """Return the reactions of `cls` by name: base class before subclass, then as in the source."""
    found: dict[str, tuple[tuple[Reaction, ...], Any]] = {}
    for klass in reversed(cls.__mro__):
        for name, value in vars(klass).items():
            marks = reactions_of(value)
            if isinstance(value, Subscriber):
                raise NotAReactionError(
                    f"{klass.__module__}.{klass.__qualname__}.{name}",
                    "a decorator that decorates nothing",
                    'Put it on a method, or send an event: .send("machine.event")',
                )
            if value is removed:
                if found.pop(name, None) is None:
                    raise DeclarationError(
                        f"{klass.__module__}.{klass.__qualname__}.{name}",
                        "removed takes away an inherited reaction, and none has this name",
                        _suggestion(name, found),
                    )
            elif marks:
                found.pop(name, None)  # decorated anew, it stands where it is decorated now
                found[name] = (marks, value)
            elif name in found:
                if not inspect.isfunction(value):
                    raise DeclarationError(
                        f"{klass.__module__}.{klass.__qualname__}.{name}",
                        f"{shown(value)} takes the place of a reaction",
                        f"Override it with a method, or remove it: {name} = removed",
                    )
                found[name] = (found[name][0], value)
    return found


def _suggestion(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, list(known), 1)
    return f"Did you mean {nearest[0]}?" if nearest else "Delete the line"


def _plans(
    cls: type, topics: Topics, name: str, function: Any, reactions: Iterable[Reaction]
) -> Iterator[Plan]:
    """Resolve the decorators of one reaction of `cls`; a topic named twice counts once."""
    named: set[tuple[str, Any]] = set()
    for reaction in reactions:
        plan = _plan(cls, topics, name, function, reaction)
        if plan.timeout is not None:
            yield plan
            continue
        if plan.join is not None:
            if (plan.join.text, reaction.cond) not in named:
                yield plan
            named.add((plan.join.text, reaction.cond))
            continue
        new = tuple(topic for topic in plan.topics if (topic, reaction.cond) not in named)
        named.update((topic, reaction.cond) for topic in new)
        yield attrs.evolve(plan, topics=new)


def _plan(cls: type, topics: Topics, name: str, function: Any, reaction: Reaction) -> Plan:
    """Resolve one decorator of a reaction of `cls`."""
    if name in SURFACE or name in (field.name for field in attributes_of(cls)):
        taken_by = "every orchestrator" if name in SURFACE else "a field"
        raise NameClashError(reaction.where, name, taken_by, "Give the reaction another name")
    if "cond" in topics.vocabularies and isinstance(reaction.cond, str):
        raise NameClashError(
            reaction.where,
            "cond",
            "an option of the decorators",
            f'Write the topic of the machine as a string: "cond.{reaction.cond}"',
        )
    join = _join(topics, reaction) if reaction.kind == "when" else None
    timeout = None
    if reaction.kind == "timeout":
        timeout = _timeout(cls, topics, reaction, function)
    route = None
    if isinstance(function, Route):
        route = _route(topics, function)
        call: Callable[[Any, Any], Any] = route
    else:
        call = binder(function, method=True)
    return Plan(
        name=name,
        label=f"{cls.__name__}.{name}",
        topics=()
        if timeout is not None
        else tuple(
            dict.fromkeys(resolved_topic(topics, topic, reaction) for topic in reaction.written())
        ),
        call=call,
        cond=None if reaction.cond is None else condition_of(cls, reaction),
        is_async=inspect.iscoroutinefunction(function),
        reaction=reaction,
        join=join,
        timeout=timeout,
        route=route,
    )


def _timeout(cls: type, topics: Topics, reaction: Reaction, function: Any) -> TimeoutPlan:
    """Resolve the states of a timeout, and what gives its length."""
    states = [topics.state(path, reaction.where) for path in reaction.written()]
    asked: Any = {} if isinstance(function, Route) else inspect.signature(function).parameters
    for name, parameter in asked.items():
        if name in _OF_EVENTS and parameter.default is parameter.empty:
            problem = f"a timeout comes of no event, and has no {name!r} to give"
            fix = "There are record, machine, state, model and key; or give it a default"
            raise NotAReactionError(reaction.where, problem, fix)
    seconds: Any = reaction.seconds
    if isinstance(seconds, str):
        seconds = asker_of(cls, reaction, "seconds", seconds)
    return TimeoutPlan(tuple(dict.fromkeys(states)), seconds, reaction.where, reaction.repeat)


def _route(topics: Topics, route: Route) -> RoutePlan:
    """Check the targets of a route."""
    where = route.reaction.where
    targets: list[str] = []
    for target in route.targets:
        if isinstance(target, Event):
            targets.append(f"{type(machine_of(target)).__name__}.{target}")
            continue
        targets.append(topics.single_event(target, where))
    return RoutePlan(tuple(targets), route)


def _join(topics: Topics, reaction: Reaction) -> JoinPlan:
    """Resolve what a join asks for."""
    text = " & ".join(asked.text for asked in reaction.asked)
    return JoinPlan.of(text, tuple(_term(topics, reaction, asked) for asked in reaction.asked))


def _term(topics: Topics, reaction: Reaction, asked: Asked) -> Term:
    states: dict[tuple[str, ...], frozenset[str]] = {}
    for written in asked.states:
        field, _, state = written.partition(".")
        given = state[len(field) + 1 :]
        if asked.quantifier is not None and state == f"{field}.{given}":
            raise NotAReactionError(
                reaction.where,
                f"{asked.quantifier}() was given {state!r}",
                f"The field is named already: {field}={asked.quantifier}({given!r})",
            )
        path = topics.state(written, reaction.where)
        *names, state = path.split(".")
        fleets = [name for name in _prefixes(names) if topics.is_fleet(name)]
        if asked.quantifier is None and fleets:
            raise NotAReactionError(
                reaction.where,
                f"{written!r} asks for a state of {fleets[0]!r}, which is a fleet",
                f"Say of how many members: {fleets[0]}=every({state!r}), or some, none, at_least",
            )
        if asked.quantifier is not None and fleets != names[:1]:
            raise NotAReactionError(
                reaction.where,
                f"{asked.quantifier}() counts the members of one fleet, and {written!r} leads to "
                + ("another one inside" if fleets else "none"),
                "Give it a fleet of the orchestrator itself"
                if fleets
                else f"Leave {asked.quantifier}() away",
            )
        known = states.get(tuple(names), frozenset())
        states[tuple(names)] = known | {state}
    return Term(asked.quantifier, asked.count, states)


def _prefixes(names: list[str]) -> list[str]:
    return [".".join(names[: length + 1]) for length in range(len(names))]


def resolved_topic(topics: Topics, written: str, reaction: Reaction) -> str:
    """Return the topic that a reaction names, refusing one that is for observers."""
    topic = topics.resolve(written, reaction.where)
    if topic.partition(":")[0] in OBSERVED_KINDS:
        raise NotAReactionError(
            reaction.where,
            f"{topic!r} is for observers, which look and send nothing",
            f"Connect one: orchestrator.bus.signal({topic!r}).connect(...)",
        )
    return topic


def condition_of(cls: type, reaction: Reaction) -> Callable[[Any, Any], Any]:
    """Return what asks a reaction's `cond`."""
    cond = reaction.cond
    if isinstance(cond, str):
        return asker_of(cls, reaction, "cond", cond)
    _refuse_async(reaction, "cond", cond, cond)
    return binder(cond, method=False)


def asker_of(cls: type, reaction: Reaction, option: str, name: str) -> Callable[[Any, Any], Any]:
    """Return what asks a method or an attribute that an option names."""
    function = inspect.getattr_static(cls, name, None)
    known = _annotated_names(cls)
    if function is None and name not in known:
        own = {one for klass in cls.__mro__[:-2] for one in vars(klass) if one[:1] != "_"}
        nearest = get_close_matches(name, sorted(known | own), 1)
        instead = "a callable" if option == "cond" else "a number of seconds"
        raise NotAReactionError(
            reaction.where,
            f"{option}={name!r} names no method or attribute of "
            f"{cls.__module__}.{cls.__qualname__}",
            f"Did you mean {nearest[0]!r}?"
            if nearest
            else f"Define it in the class, or pass {instead}",
        )
    if not inspect.isfunction(function):
        return _attribute(name)
    _refuse_async(reaction, option, name, function)
    return binder(function, method=True)


def _refuse_async(reaction: Reaction, option: str, given: Any, function: Any) -> None:
    if inspect.iscoroutinefunction(function):
        raise NotAReactionError(
            reaction.where,
            f"{option}={given!r} is an async def",
            "Make it a def: it is asked at once",
        )


def _attribute(name: str) -> Callable[[Any, Any], Any]:
    """Return what asks an attribute, which may hold a callable."""

    def ask(owner: Any, record: Any) -> Any:
        value = getattr(owner, name)
        return binder(value, method=False)(owner, record) if callable(value) else value

    return ask


def _annotated_names(cls: type) -> set[str]:
    return {name for klass in cls.__mro__[:-1] for name in own_annotations(klass)}
