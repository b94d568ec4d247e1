"""The whole orchestration as a graph: machines, what leads to what, and who sends it.

Read from the wiring of a class, and from the source of reactions and callbacks.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._engine import callbacks_of
from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._reading import Body, read_body
from statemachines_orchestrator._sources import At
from statemachines_orchestrator._telling import names_of_path
from statemachines_orchestrator._wiring import conditions_of, wiring
from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.reactions import place
from statemachines_orchestrator.records import Published, Sent, Started
from statemachines_orchestrator.topics import canonical, walk_states
from statemachines_orchestrator.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from statemachines_orchestrator._wiring import Wire
    from statemachines_orchestrator.records import Record

__all__ = [
    "Arc",
    "Graph",
    "Link",
    "MachineBox",
    "StateBox",
    "Step",
    "boxes_of",
    "graph_of",
    "traces_in",
    "wires_of",
]


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
class Arc:
    """One transition, for one of its events."""

    event: str
    """Its name; empty for an eventless one."""
    source: str
    targets: tuple[str, ...]
    """The states that it leads to, one but for a parallel state; without a target its source."""


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
    arcs: tuple[Arc, ...]
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
    """How often each source and target was used, where the traces tell; `None` without traces."""


@attrs.define
class Graph:
    """All of it."""

    title: str
    machines: list[MachineBox]
    links: list[Link]


def traces_in(traces: Any, where: str) -> list[Trace]:
    """Return the traces that were given, one or several.

    Raises `DeclarationError`, which names `where`, for what is none.
    """
    many: Any = traces
    are_several = isinstance(traces, Iterable) and not isinstance(traces, Trace)
    several: list[Any] = list(many) if are_several else [traces]
    if not all(isinstance(one, Trace) for one in several):
        problem, fix = f"traces={shown(traces)} are no traces", "Give it what tracing() gives"
        raise DeclarationError(where, problem, fix)
    return several


def graph_of(cls: Any, instance: Any, traces: Iterable[Iterable[Record]] | None) -> Graph:
    """Return the graph of a class; with an instance, what is active; with traces, how often."""
    levels = list(_levels(_root(cls, instance)))
    links = [link for read in (_reactions, _callbacks) for level in levels for link in read(level)]
    if traces is not None:
        _count(links, traces)
    return Graph(cls.__name__, _merged(boxes_of(cls, instance)), links)


def boxes_of(cls: Any, instance: Any) -> Iterator[MachineBox]:
    """Yield the machines of a class, or of an instance, at any depth."""
    return _machines(_root(cls, instance))


def wires_of(cls: Any, instance: Any) -> Iterator[tuple[str, Wire]]:
    """Yield the wiring at any depth, each wire after the names that lead to it, with their dots."""
    for level in _levels(_root(cls, instance)):
        for wire in wiring(level.cls):
            yield level.prefix, wire


@attrs.frozen
class _Level:
    """One orchestrator class, where it stands: in what is drawn, or at a field of it."""

    cls: Any
    instances: list[Any]
    """Those there are, of an instance that is drawn."""
    prefix: str
    """The names of the fields that lead there, each with a dot."""
    holders: tuple[tuple[str, At], ...]
    """The holders, outermost first, each with the name under which it is injected."""

    @property
    def outward(self) -> tuple[tuple[str, At], ...]:
        """Itself behind its holders."""
        return (*self.holders, (self.cls.__declaration__.options.orchestrator_name, self.at))

    @property
    def injected(self) -> dict[str, At]:
        """What stands for an orchestrator by its name; of two that have one, for the nearer."""
        return dict(self.outward)

    @property
    def at(self) -> At:
        """What stands for the orchestrator itself."""
        return At.of(tuple(self.prefix.split(".")[:-1]), self.cls)

    def members(self) -> Iterator[tuple[str, Any, list[Any], bool]]:
        """Yield the fields, each class in them, those there are of it, and if it is a fleet.

        A class that holds its own kind is drawn once, and as often as there are instances.
        """
        around = [at.cls for _name, at in self.outward]
        for name, field in self.cls.__declaration__.fields.items():
            held = [
                member
                for instance in self.instances
                for _key, member in members_in(getattr(instance, name, None))
            ]
            for kind in dict.fromkeys(map(type, held)) or field.classes or ():
                if held or kind not in around:
                    yield name, kind, [one for one in held if type(one) is kind], field.fleet

    def inner(self, name: str, kind: Any, found: list[Any]) -> _Level:
        """Return the level of the orchestrators of one class in a field."""
        return _Level(kind, found, f"{self.prefix}{name}.", self.outward)

    def below(self) -> Iterator[_Level]:
        """Yield the orchestrators in the fields."""
        for name, kind, found, _fleet in self.members():
            if hasattr(kind, "__declaration__"):
                yield self.inner(name, kind, found)


def _root(cls: Any, instance: Any) -> _Level:
    return _Level(cls, [] if instance is None else [instance], "", ())


def _levels(level: _Level) -> Iterator[_Level]:
    """Yield an orchestrator class, and those in its fields at any depth."""
    yield level
    for below in level.below():
        yield from _levels(below)


# Machines -------------------------------------------------------------------------------------


def _machines(level: _Level) -> Iterator[MachineBox]:
    """Yield the machines of a class at any depth, in the order of fields."""
    for name, kind, found, is_fleet in level.members():
        if hasattr(kind, "__declaration__"):
            yield from _machines(level.inner(name, kind, found))
        else:
            yield _machine(f"{level.prefix}{name}", kind, found, is_fleet=is_fleet)


def _merged(boxes: Iterable[MachineBox]) -> list[MachineBox]:
    """Return boxes, those of one class in one place as one."""
    found: dict[tuple[str, str], MachineBox] = {}
    for box in boxes:
        first = found.setdefault((box.path, box.kind), box)
        if first is not box:
            for state, count in box.active.items():
                first.active[state] = first.active.get(state, 0) + count
    return list(found.values())


def _machine(path: str, kind: Any, found: list[Any], *, is_fleet: bool) -> MachineBox:
    active: dict[str, int] = {}
    for machine in found:
        for state in active_ids(machine):
            active[state] = active.get(state, 0) + 1
    arcs = tuple(_arcs(kind))
    return MachineBox(
        path=path,
        kind=kind.__name__,
        states=tuple(_state(state) for state in kind.states),
        arcs=arcs,
        steps=tuple(_steps(arcs)),
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


def _arcs(kind: Any) -> Iterator[Arc]:
    """Yield the transitions of a class, once for each of their events."""
    for state in _all_states(kind.states):
        for transition in state.transitions:
            ends = getattr(transition, "targets", None) or [transition.target]
            targets = tuple(getattr(end, "id", state.id) for end in ends)
            for event in _events(transition):
                yield Arc(event, state.id, targets)


def _steps(arcs: Iterable[Arc]) -> Iterator[Step]:
    """Yield transitions: those of one event to one state as one; of several events, each."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for arc in arcs:
        for target in arc.targets:
            found.setdefault((arc.event, target), {})[arc.source] = None
    for (event, target), sources in found.items():
        yield Step(tuple(sources), target, event)


def _events(transition: Any) -> list[str]:
    """Return the names of a transition's events, each once; `['']` for an eventless one."""
    names = [canonical(word) for event in transition.events for word in str(event).split(" ")]
    if getattr(transition, "initial", False):
        return []
    return list(dict.fromkeys(names)) or [""]


# Links ----------------------------------------------------------------------------------------


def _reactions(level: _Level) -> Iterator[Link]:
    """Yield the reactions of a class."""
    by_name: dict[tuple[str, str], list[Wire]] = {}
    for wire in wiring(level.cls):
        by_name.setdefault((wire.reaction, wire.where), []).append(wire)
    for (name, where), wires in by_name.items():
        sources = {topic: wire.topic for wire in wires for topic in _sources(wire)}
        body = _body(level, name, wires, sources)
        asked = [wires[0].topic] if wires[0].kind == "when" else []
        yield Link(
            name=level.prefix + name,
            kind=wires[0].kind,
            sources={_prefixed(topic, level.prefix): told for topic, told in sources.items()},
            targets=tuple(body.targets),
            is_open=not body.is_complete,
            where=where,
            text=", ".join(asked + conditions_of(wires[0])),
            sender=level.prefix + name,
        )


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


def _body(level: _Level, name: str, wires: list[Wire], sources: Iterable[str]) -> Body:
    """Return what a reaction sends: what a route declares, or what its method's source tells."""
    if wires[0].targets:
        body = Body()
        for target in wires[0].targets:
            body.targets[f"{level.prefix}{target}"] = None
        return body
    function: Any = getattr(level.cls, name)
    parameters = list(inspect.signature(function).parameters)
    names: dict[str, At | None] = {
        one: at for one, at in level.injected.items() if one in parameters
    }
    names[parameters[0]] = level.at
    machines = {topic.rpartition(":")[2].rpartition(".")[0] for topic in sources}
    if "machine" in parameters:
        names["machine"] = _machine_at(level.at, machines)
    body = read_body(function, names)
    if "machine" in parameters and names["machine"] is None:
        body.is_complete = False
    return body


def _machine_at(at: At, machines: set[str]) -> At | None:
    """Return what stands for the machine that a reaction is given, if it can only be one."""
    found: At | None = at if len(machines) == 1 and machines != {""} else None
    for name in next(iter(machines)).split("."):
        found = None if found is None else found.field(name)
        found = None if found is None else attrs.evolve(found, form="one")
    return found if found is not None and found.cls is None else None


def _callbacks(level: _Level) -> Iterator[Link]:
    """Yield the callbacks of machines that ask for an orchestrator and may send something."""
    for name, kind, _found, _fleet in level.members():
        if hasattr(kind, "__declaration__"):
            continue
        path = f"{level.prefix}{name}"
        found: dict[Any, dict[str, None]] = {}
        for topic, callback in _hooks(kind, path):
            function = getattr(kind, callback, None) if isinstance(callback, str) else callback
            if callable(function) and _may_ask(function, level.injected):
                found.setdefault(function, {})[topic] = None
        for function, topics in found.items():
            body = read_body(function, level.injected)
            if body.targets or not body.is_complete:
                told = getattr(function, "__name__", "a callback")
                yield Link(
                    name=f"{path}.{told}",
                    kind="call",
                    sources=dict.fromkeys(topics, ""),
                    targets=tuple(body.targets),
                    is_open=not body.is_complete,
                    where=place(function) if hasattr(function, "__module__") else path,
                    sender=path,
                )


def _may_ask(function: Any, injected: Mapping[str, At]) -> bool:
    """Whether a callback asks for an orchestrator; one that takes all, if it names it."""
    parameters = inspect.signature(function).parameters
    if any(name in parameters for name in injected):
        return True
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    constants = getattr(getattr(function, "__code__", None), "co_consts", injected)
    return takes_all and any(name in constants for name in injected)


def _hooks(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every callback of a machine class, with the topic of what it belongs to."""
    for state in walk_states(kind.states):
        for group, callback in callbacks_of(state):
            yield f"{'exit' if group == 'exit' else 'enter'}:{path}.{state.id}", callback
        for transition in state.transitions:
            for _group, callback in callbacks_of(transition):
                for event in _events(transition):
                    yield f"{path}.{event or '*'}", callback


# Traces ---------------------------------------------------------------------------------------


def _count(links: list[Link], traces: Iterable[Iterable[Record]]) -> None:
    """Note how often each end of each link was used, as far as records tell."""
    started: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    called: Counter[tuple[str, str, str]] = Counter()
    for trace in traces:
        known: dict[int | None, Record] = {}
        for record in trace:
            known[record.seq] = record
            sender = _sender(record, known)
            if isinstance(record, Started):
                started[_named(record), record.topic] += 1
            elif sender is not None and isinstance(record, (Published, Sent)):
                topic = _named(record)
                topics = [topic]
                if isinstance(record, Sent):
                    topics = [f"{topic}.{canonical(record.event)}", f"*.{canonical(record.event)}"]
                for one in topics:
                    sent[_named(sender), one] += 1
                    if isinstance(sender, Sent):
                        called[_named(sender), canonical(sender.event), one] += 1
    for link in links:
        if link.kind == "call":
            link.used = _called(link, links, called)
        else:
            link.used = {target: sent[link.sender, target] for target in link.targets}
            link.used |= {topic: started[link.sender, told] for topic, told in link.sources.items()}


def _sender(record: Record, known: Mapping[int | None, Record]) -> Record | None:
    """Return the reaction, or the step of a machine, that sent something, posted or not."""
    cause = known.get(record.cause)
    while cause is not None and getattr(cause, "name", "") == getattr(cause, "topic", None):
        cause = known.get(cause.cause)  # the turn, or the timer, of a post
    return cause if isinstance(cause, (Sent, Started)) else None


def _called(link: Link, links: list[Link], called: Counter[tuple[str, str, str]]) -> dict[str, int]:
    """Return how often a callback called, where no other one of its machine could have."""
    mine = {topic.rpartition(".")[2] for topic in link.sources if ":" not in topic}
    others = [one for one in links if one.sender == link.sender and one is not link]
    shared = {target for one in others for target in one.targets}
    if len(mine) < len(link.sources) or "*" in mine:
        return {}
    used = {
        target: sum(called[link.sender, event, target] for event in mine)
        for target in link.targets
        if target not in shared
    }
    if len(used) == len(link.targets) and len(mine) == 1:
        used[next(iter(link.sources))] = sum(used.values())
    return used


def _named(record: Record) -> str:
    """Return the names that lead to a machine, or to a reaction or signal with its own."""
    names = names_of_path(record)
    name = getattr(record, "name", None)
    return ".".join(names if name is None else [*names, name])
