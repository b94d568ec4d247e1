"""The whole orchestration as a graph: machines, what leads to what, and who sends it.

Read from the wiring of a class, and from the source of reactions and callbacks.
"""

from __future__ import annotations

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._engine import callbacks_of
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._reading import Body, read_body
from statemachines_orchestrator._telling import names_of_path
from statemachines_orchestrator._wiring import wiring
from statemachines_orchestrator.reactions import place
from statemachines_orchestrator.records import Published, Sent, Started
from statemachines_orchestrator.topics import canonical, walk_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from statemachines_orchestrator._wiring import Wire
    from statemachines_orchestrator.records import Record
    from statemachines_orchestrator.topics import Topics

__all__ = ["Graph", "Link", "MachineBox", "StateBox", "Step", "graph_of"]


@attrs.frozen
class StateBox:
    """One state."""

    id: str
    name: str
    is_initial: bool
    is_final: bool
    is_parallel: bool
    is_history: bool
    inside: tuple[StateBox, ...]
    """The states in it, of a compound one."""


@attrs.frozen
class Step:
    """The transitions of one event to one state."""

    sources: tuple[str, ...]
    target: str
    event: str
    """Its name; empty for an eventless one."""


@attrs.define
class MachineBox:
    """One machine, or the members of a fleet, of one class."""

    path: str
    """The names that lead to it: `order`, `desk.order`."""
    kind: str
    """The name of its class."""
    states: tuple[StateBox, ...]
    steps: tuple[Step, ...]
    is_fleet: bool = False
    active: dict[str, int] = attrs.Factory(dict[str, int])
    """How many machines are in a state now, by its id; nothing for a class."""
    members: int | None = None
    """How many members a fleet has now."""


@attrs.define
class Link:
    """One reaction, or one callback that makes direct calls, with what leads to it and on."""

    name: str
    kind: str
    """`on`, `on_enter`, `on_exit`, `when`, `timeout`, or `call` for a callback."""
    sources: dict[str, str]
    """Topics, `order.process`, `enter:order.shipped`, `settled`, `low_stock`, `order.*`;
    with each the topic that `Started` tells."""
    targets: tuple[str, ...]
    """Topics `machine.event`, `*.event` for a broadcast, signals of the domain."""
    is_open: bool
    """Whether it may send more, which could not be read."""
    where: str
    text: str = ""
    """The condition, or the time, as it is told."""
    sender: str = ""
    """Who sends: the reaction, or the machine whose callback it is."""
    used: dict[str, int] | None = None
    """How often each source and target was used in the traces; `None` without traces."""


@attrs.define
class Graph:
    """All of it."""

    title: str
    machines: list[MachineBox]
    links: list[Link]
    signals: tuple[str, ...]


def graph_of(cls: Any, instance: Any, records: Iterable[Record] | None) -> Graph:
    """Return the graph of a class; with an instance, what is active; with records, how often."""
    machines = list(_machines(cls, instance, ""))
    links = [*_reactions(cls, ""), *_callbacks(cls)]
    if records is not None:
        _count(links, list(records))
    signals = tuple(sorted(_topics(cls).signals))
    return Graph(cls.__name__, machines, links, signals)


def _topics(cls: Any) -> Topics:
    topics: Topics = cls.__declaration__.topics
    return topics


# Machines -------------------------------------------------------------------------------------


def _machines(cls: Any, instance: Any, prefix: str) -> Iterator[MachineBox]:
    """Yield the machines of a class at any depth, in the order of fields."""
    for name, field in cls.__declaration__.fields.items():
        held = None if instance is None else getattr(instance, name, None)
        found = [member for _key, member in members_in(held)]
        kinds = tuple(dict.fromkeys([*map(type, found), *(field.classes or ())]))
        for kind in kinds if field.fleet or not found else [type(found[0])]:
            alike = [member for member in found if type(member) is kind]
            if hasattr(kind, "__declaration__"):
                first = alike[0] if len(alike) == 1 else None
                yield from _machines(kind, first, f"{prefix}{name}.")
            else:
                yield _machine(f"{prefix}{name}", kind, alike, is_fleet=field.fleet)


def _machine(path: str, kind: Any, found: list[Any], *, is_fleet: bool) -> MachineBox:
    active: dict[str, int] = {}
    for machine in found:
        for state in active_ids(machine):
            active[state] = active.get(state, 0) + 1
    states = tuple(_state(state) for state in kind.states)
    return MachineBox(
        path=path,
        kind=kind.__name__,
        states=states,
        steps=tuple(_steps(kind)),
        is_fleet=is_fleet,
        active=active,
        members=len(found) if is_fleet and found else None,
    )


def _state(state: Any) -> StateBox:
    return StateBox(
        id=state.id,
        name=state.name,
        is_initial=bool(state.initial),
        is_final=bool(state.final),
        is_parallel=bool(getattr(state, "parallel", False)),
        is_history=bool(getattr(state, "is_history", False)),
        inside=tuple(map(_state, _inside(state))),
    )


def _inside(state: Any) -> list[Any]:
    """Return the states in a compound one, with those that stand for what it was in before."""
    return [*getattr(state, "states", ()), *getattr(state, "history", ())]


def _all_states(states: Iterable[Any]) -> Iterator[Any]:
    for state in states:
        yield state
        yield from _all_states(_inside(state))


def _steps(kind: Any) -> Iterator[Step]:
    """Yield transitions: those of one event to one state as one; of several events, each."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for state in _all_states(kind.states):
        for transition in state.transitions:
            ends = getattr(transition, "targets", None) or [transition.target]
            for end in ends:
                target = getattr(end, "id", state.id)
                for event in _events(transition):
                    found.setdefault((event, target), {})[state.id] = None
    for (event, target), sources in found.items():
        yield Step(tuple(sources), target, event)


def _events(transition: Any) -> list[str]:
    """Return the names of a transition's events, each once; `['']` for an eventless one."""
    names = [canonical(word) for event in transition.events for word in str(event).split(" ")]
    if getattr(transition, "initial", False):
        return []
    return list(dict.fromkeys(names)) or [""]


# Links ----------------------------------------------------------------------------------------


def _reactions(cls: Any, prefix: str) -> Iterator[Link]:
    """Yield the reactions of a class, and of those of the orchestrators in its fields."""
    by_name: dict[tuple[str, str], list[Wire]] = {}
    for wire in wiring(cls):
        by_name.setdefault((wire.reaction, wire.where), []).append(wire)
    for (name, where), wires in by_name.items():
        sources = {topic: wire.topic for wire in wires for topic in _sources(wire)}
        body = _body(cls, name, wires, sources)
        yield Link(
            name=prefix + name,
            kind=wires[0].kind,
            sources={_prefixed(topic, prefix): told for topic, told in sources.items()},
            targets=tuple(prefix + target for target in body.targets),
            is_open=not body.is_complete,
            where=where,
            text=_condition(wires[0]),
            sender=prefix + name,
        )
    for name, field in cls.__declaration__.fields.items():
        for kind in field.classes or ():
            if hasattr(kind, "__declaration__"):
                yield from _reactions(kind, f"{prefix}{name}.")


def _prefixed(topic: str, prefix: str) -> str:
    kind, colon, path = topic.rpartition(":")
    return topic if topic == "settled" else f"{kind}{colon}{prefix}{path}"


def _sources(wire: Wire) -> list[str]:
    """Return the topics that lead to a reaction; a join's states as entries."""
    if wire.kind == "when":
        return [f"enter:{state}" for asked in wire.asked for state in asked.states]
    if wire.kind == "timeout":
        return ["enter:" + wire.topic.partition(":")[2]]
    return [wire.topic]


def _condition(wire: Wire) -> str:
    parts: list[str] = []
    if wire.kind == "timeout":
        every = "every " if wire.repeat else "after "
        length = wire.seconds if isinstance(wire.seconds, str) else f"{wire.seconds:g} s"
        parts.append(f"{every}{length}")
    if wire.kind == "when":
        parts.append(wire.topic)
    if wire.cond is not None:
        parts.append(f"if {wire.cond}")
    if wire.if_enabled:
        parts.append("if enabled")
    return ", ".join(parts)


def _body(cls: Any, name: str, wires: list[Wire], sources: Iterable[str]) -> Body:
    """Return what a reaction sends: what a route declares, or what its method's source tells."""
    targets = wires[0].targets
    if targets:
        body = Body()
        for target in targets:
            body.targets[str(target)] = None
        return body
    function: Any = getattr(cls, name)
    parameters = list(inspect.signature(function).parameters)
    injected = cls.__declaration__.options.orchestrator_name
    names: dict[str, tuple[str, ...]] = {
        one: () for one in parameters if one in {parameters[0], injected}
    }
    machines = {topic.rpartition(":")[2].rpartition(".")[0] for topic in sources}
    if "machine" in parameters and len(machines) == 1 and "" not in machines:
        names["machine"] = tuple(machines.pop().split("."))
    return read_body(function, _topics(cls), names, lambda found: getattr(cls, found, None))


def _callbacks(cls: Any) -> Iterator[Link]:
    """Yield the callbacks of machines that ask for the orchestrator and send something."""
    for path, kind, holder, injected in _declared(cls, ""):
        found: dict[Any, dict[str, None]] = {}
        for topic, callback in _hooks(kind, path):
            function = _function(kind, callback)
            if inspect.isfunction(function) and injected in inspect.signature(function).parameters:
                found.setdefault(function, {})[topic] = None
        for function, topics in found.items():
            body = read_body(
                function,
                _topics(holder),
                {injected: ()},
                lambda name, holder=holder: getattr(holder, name, None),  # type: ignore[misc]
            )
            prefix = path.rpartition(".")[0] if holder is not cls else ""
            dot = "." if prefix else ""
            if body.targets or not body.is_complete:
                yield Link(
                    name=f"{path}.{function.__name__}",
                    kind="call",
                    sources=dict.fromkeys(topics, ""),
                    targets=tuple(f"{prefix}{dot}{target}" for target in body.targets),
                    is_open=not body.is_complete,
                    where=place(function),
                    sender=path,
                )


def _declared(cls: Any, prefix: str) -> Iterator[tuple[str, Any, Any, str]]:
    """Yield every machine class with its path, its orchestrator's class and the injected name."""
    name = cls.__declaration__.options.orchestrator_name
    for field_name, field in cls.__declaration__.fields.items():
        for kind in field.classes or ():
            path = f"{prefix}{field_name}"
            if hasattr(kind, "__declaration__"):
                yield from _declared(kind, f"{path}.")
            else:
                yield path, kind, cls, name


def _hooks(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every callback of a machine class, with the topic of what it belongs to."""
    for state in walk_states(kind.states):
        for group, callback in callbacks_of(state):
            yield f"{'exit' if group == 'exit' else 'enter'}:{path}.{state.id}", callback
        for transition in state.transitions:
            for _group, callback in callbacks_of(transition):
                for event in _events(transition):
                    yield f"{path}.{event or '*'}", callback


def _function(kind: Any, callback: Any) -> Any:
    """Return the function of a callback that was given as itself or by name."""
    if isinstance(callback, str):
        callback = getattr(kind, callback, None)
    return inspect.unwrap(callback) if callable(callback) else None


# Traces ---------------------------------------------------------------------------------------


def _count(links: list[Link], records: list[Record]) -> None:
    """Note how often each end of each link was used."""
    known: Mapping[int | None, Record] = {record.seq: record for record in records}
    started: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    for record in records:
        if isinstance(record, Started):
            started[_named(record), record.topic] += 1
            continue
        cause = known.get(record.cause)
        if isinstance(cause, (Sent, Started)):
            if isinstance(record, Sent):
                sent[_named(cause), f"{_named(record)}.{canonical(record.event)}"] += 1
            elif isinstance(record, Published):
                sent[_named(cause), _named(record)] += 1
    for link in links:
        link.used = {target: sent[link.sender, target] for target in link.targets}
        calls = sum(link.used.values())
        for topic, told in link.sources.items():
            link.used[topic] = calls if link.kind == "call" else started[link.sender, told]


def _named(record: Record) -> str:
    """Return the names that lead to a machine, or to a reaction or signal with its own."""
    names = names_of_path(record)
    name = getattr(record, "name", None)
    return ".".join(names if name is None else [*names, name])
