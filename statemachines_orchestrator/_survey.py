"""A survey of one orchestration: machines by their shapes, reactions, what sets off what.

Topics are told in full here, from the orchestrator that is surveyed: `desks.order.pay`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._engine import callbacks_of
from statemachines_orchestrator._graphs import Link, graph_of
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._places import wildcards
from statemachines_orchestrator._reading import Body, read_body
from statemachines_orchestrator._shapes import Move, Shape
from statemachines_orchestrator._sources import At
from statemachines_orchestrator.topics import ANY, vocabulary_of, walk_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statemachines_orchestrator._plans import Plan

__all__ = ["Kept", "Level", "Survey", "Wired", "addresses", "callbacks_in", "split_topic"]

_AT_ONCE = ("call",)
_IN_CASCADE = ("call", "on", "on_enter", "on_exit")


@attrs.frozen(eq=False)
class Level:
    """One orchestrator class, where it stands."""

    cls: Any
    prefix: str
    """The names of the fields that lead there, each with a dot."""


@attrs.define(eq=False)
class Kept:
    """What a field holds: a machine, or the members of a fleet."""

    path: str
    level: Level
    fleets: tuple[str, ...]
    """The paths of the fleets that it stands in."""
    shapes: list[Shape] = attrs.Factory(list[Shape])
    """One of each class that it may be of."""

    def is_one_for(self, prefix: str) -> bool:
        """Whether there is one machine for each orchestrator that stands at `prefix`."""
        return all(len(fleet) < len(prefix) for fleet in self.fleets)


@attrs.frozen(eq=False)
class Wired:
    """One decorator of one reaction, or one route, with where its class stands."""

    plan: Plan
    prefix: str

    @property
    def name(self) -> str:
        """The name of its link in the graph."""
        return self.prefix + self.plan.name

    @property
    def targets(self) -> list[str]:
        """The topics that a route sends; those of bound events are not known."""
        route = self.plan.route
        if route is None:
            return []
        pairs = zip(route.targets, route.route.targets, strict=True)
        return [self.prefix + topic for topic, given in pairs if type(given) is str]

    @property
    def is_bound(self) -> bool:
        """Whether it is a route that sends a bound event, to whichever machine that is of."""
        route = self.plan.route
        return route is not None and len(self.targets) < len(route.targets)

    @property
    def is_guarded(self) -> bool:
        """Whether it may leave its turn unused: by `cond`, or by `if_enabled`."""
        route = self.plan.route
        return self.plan.cond is not None or (route is not None and route.route.if_enabled)

    def whole(self, topic: str) -> str:
        """Return one of its topics in full."""
        kind, colon, rest = topic.rpartition(":")
        return f"{kind}{colon}{self.prefix}{rest}"

    def own(self, topic: str) -> str:
        """Return a topic as its class calls it."""
        kind, colon, rest = topic.rpartition(":")
        return f"{kind}{colon}{rest[len(self.prefix) :]}"


class Survey:
    """All that can be known of an orchestration without running it."""

    def __init__(self, cls: Any, instance: Any) -> None:
        graph = graph_of(cls, instance, None)  # refuses a class that is not resolved yet
        self.links = graph.links
        self.levels: list[Level] = []
        self.kept: dict[str, Kept] = {}
        self.is_whole = True
        """Whether no class holds its own kind, which stands for machines without end."""
        self._shapes: dict[Any, Shape] = {}
        self._own: dict[str, Body] = {}
        self._look(Level(cls, ""), [] if instance is None else [instance], (), ())
        self.wired = [
            Wired(plan, level.prefix)
            for level in self.levels
            for plan in level.cls.__declaration__.plans
        ]

    def _look(
        self, level: Level, instances: list[Any], fleets: tuple[str, ...], around: tuple[Any, ...]
    ) -> None:
        """Note what stands in the fields; a class that holds its own kind is not entered again."""
        self.levels.append(level)
        for name, field in level.cls.__declaration__.fields.items():
            path = level.prefix + name
            members = [
                member for one in instances for _key, member in members_in(getattr(one, name, None))
            ]
            held = dict.fromkeys(map(type, members))
            known: Iterable[Any] = (
                held if held and not field.fleet else (*held, *(field.classes or ()))
            )
            inner = (*fleets, path) if field.fleet else fleets
            for kind in dict.fromkeys(known):
                found = [member for member in members if type(member) is kind]
                if not hasattr(kind, "__declaration__"):
                    self._keep(path, level, inner, kind)
                elif found or kind not in (*around, level.cls):
                    self._look(Level(kind, path + "."), found, inner, (*around, level.cls))
                else:
                    self.is_whole = False

    def _keep(self, path: str, level: Level, fleets: tuple[str, ...], kind: Any) -> None:
        shape = self._shapes.setdefault(kind, Shape(kind))
        kept = self.kept.setdefault(path, Kept(path, level, fleets))
        if shape not in kept.shapes:
            kept.shapes.append(shape)

    # Topics -------------------------------------------------------------------------------

    def find(self, topic: str) -> tuple[Kept, str] | None:
        """Return the machine that a topic without its kind names, and the event or state."""
        parts = topic.split(".")
        for length in range(1, len(parts)):
            kept = self.kept.get(".".join(parts[:length]))
            if kept is not None:
                return kept, ".".join(parts[length:])
        return None

    def causes(self, topic: str) -> list[tuple[Kept, Shape, list[Move]]] | None:
        """Return the transitions that publish a topic, `None` if it is not of one machine."""
        kind, rest = split_topic(topic)
        found = self.find(rest)
        if found is None:
            return None
        kept, member = found
        ways = {"enter": Shape.entering, "exit": Shape.exiting, "": Shape.taking}
        return [(kept, shape, ways[kind](shape, member)) for shape in kept.shapes]

    def published(self, topic: str) -> set[str]:
        """Return the topics that may be published with one, or when it is sent."""
        found = {topic}
        for kept, _shape, moves in self._sent(topic) if ANY in topic else self.causes(topic) or ():
            for move in moves:
                found |= topics_of(kept.path, move)
        return found

    def _sent(self, topic: str) -> Iterator[tuple[Kept, Shape, list[Move]]]:
        """Yield what a broadcast, or a wildcard, may be about."""
        prefix, _, event = topic.partition(ANY)
        for path, kept in self.kept.items():
            if (path + ".").startswith(prefix):
                for shape in kept.shapes:
                    yield kept, shape, shape.taking(event.lstrip(".") or ANY)

    # Who sets off whom --------------------------------------------------------------------

    def at_once(self, topics: Iterable[str]) -> tuple[list[Link], set[str]]:
        """Return the callbacks that may run while topics are published, and all that is."""
        return self._follow(topics, _AT_ONCE)

    def in_cascade(self, topics: Iterable[str]) -> tuple[list[Link], set[str]]:
        """Return all that may follow from topics before the cascade comes to rest."""
        return self._follow(topics, _IN_CASCADE)

    def _follow(self, topics: Iterable[str], kinds: tuple[str, ...]) -> tuple[list[Link], set[str]]:
        known: set[str] = set()
        for topic in topics:
            known |= self.published(topic)
        found: list[Link] = []
        waiting: list[Link] = [link for link in self.links if link.kind in kinds]
        while new := [link for link in waiting if not known.isdisjoint(link.sources)]:
            found.extend(new)
            waiting = [link for link in waiting if known.isdisjoint(link.sources)]
            for target in dict.fromkeys(target for link in new for target in link.targets):
                known |= self.published(target)
        return found, known

    def set_off(self, topics: set[str]) -> list[Link]:
        """Return the reactions that topics lead to, before the cascade comes to rest."""
        return [
            link
            for link in self.links
            if link.kind in _IN_CASCADE[1:] and not topics.isdisjoint(link.sources)
        ]

    def own_sends(self, kept: Kept) -> Body:
        """Return what the callbacks of a machine may send, with what they send to itself."""
        if kept.path not in self._own:
            body = self._own[kept.path] = Body()
            for shape in kept.shapes:
                for function in callbacks_in(shape.kind):
                    _read_own(function, shape.kind, kept, body)
        return self._own[kept.path]


def topics_of(path: str, move: Move) -> set[str]:
    """Return the topics that a transition may publish."""
    return {
        *(f"exit:{path}.{state}" for state in move.exited),
        *(f"{path}.{word}" for word in move.events.events),
        *wildcards(path),
        *(f"enter:{path}.{state}" for state in (*move.entered, *move.restored)),
    }


def split_topic(topic: str) -> tuple[str, str]:
    """Return `enter`, `exit` or nothing, and the rest."""
    kind, _, rest = topic.rpartition(":")
    return kind, rest


def addresses(targets: Iterable[str], path: str) -> list[str]:
    """Return the events that reach a machine, of what is sent: also by a broadcast."""
    events: list[str] = []
    for target in targets:
        prefix, star, event = target.partition(f"{ANY}.")
        if star and path.startswith(prefix):
            events.append(event)
        elif target.startswith(path + "."):
            events.append(target[len(path) + 1 :])
    return events


def callbacks_in(kind: Any) -> Iterator[Any]:
    """Yield the functions that a machine class declares as callbacks."""
    declared: list[Any] = []
    for state in walk_states(kind.states):
        declared += [state, *state.transitions]
    specs = [callback for one in declared for _group, callback in callbacks_of(one)]
    for callback in dict.fromkeys(specs):
        function = getattr(kind, callback, None) if isinstance(callback, str) else callback
        if callable(function):
            yield function


def _read_own(function: Any, kind: Any, kept: Kept, body: Body) -> None:
    """Read a callback in which the machine itself stands for itself, too."""
    parameters = list(inspect.signature(function).parameters)
    path = tuple(kept.path.split("."))
    own = At(path, None, None, vocabulary_of(kind), (kind,))
    name = kept.level.cls.__declaration__.options.orchestrator_name
    names: dict[str, At | None] = {one: own for one in ("self", "machine") if one in parameters}
    if name in parameters:
        names[name] = At.of(path[:-1], kept.level.cls)
    read = read_body(function, names)
    body.targets.update(read.targets)
    if not read.is_complete or "event_data" in parameters:
        body.is_complete = False
