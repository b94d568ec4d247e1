"""Loops of routes that nothing breaks: each event on them is taken, round after round.

A node is a route and the topic that leads to it. From each node on a loop, and from every state
that its machines can be in, the events are followed through the declared transitions; it goes round
for ever if it comes back to the same node with the machines in the same states.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from statemachines_orchestrator._survey import addresses, topics_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._shapes import Move, Shape
    from statemachines_orchestrator._survey import Kept, Survey, Wired

__all__ = ["Loop", "loops_in"]

_STEPS = 20_000
"""So many turns of routes are followed at most for all the loops of one orchestration."""


@attrs.frozen
class Node:
    """A route, and the topic that leads to it."""

    index: int
    """The place of the route in the declaration."""
    topic: str


Active: TypeAlias = "tuple[tuple[Shape, str], ...]"
"""Of each machine on a loop its class and the innermost state, in one order."""
Turn: TypeAlias = "tuple[Node, Active]"


@attrs.frozen
class Loop:
    """Routes that lead to each other for ever."""

    first: int
    """The place in the declaration of the first of them."""
    nodes: frozenset[Node]
    names: tuple[str, ...]
    """Topics and reactions alternately, the first one again at the end."""


def loops_in(survey: Survey) -> list[Loop]:
    """Return the loops, each once, without those that are made of others."""
    search = _Search(survey)
    found: dict[tuple[str, ...], Loop] = {}
    for node in (*search.nodes, *search.nodes):  # once more, when the short ones are known
        avoided: frozenset[Node] = frozenset()
        while loop := search.loop_from(node, avoided):
            inner = [one.nodes for one in found.values() if one.nodes <= loop.nodes - {node}]
            if not inner:
                found[loop.names] = loop
                break
            avoided = avoided.union(*inner)
    loops = list(found.values())
    return [loop for loop in loops if not any(other.nodes < loop.nodes for other in loops)]


class _Search:
    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.steps = 0
        self.nodes = [
            Node(index, wired.whole(topic))
            for index, wired in enumerate(survey.wired)
            if wired.plan.route is not None and not wired.is_guarded
            for topic in wired.plan.topics
        ]
        published = {
            index: set[str]().union(*map(survey.published, survey.wired[index].targets))
            for index in dict.fromkeys(node.index for node in self.nodes)
        }
        self.next = {
            node: [one for one in self.nodes if one.topic in published[node.index]]
            for node in self.nodes
        }

    def wired(self, node: Node) -> Wired:
        """Return the route of a node."""
        return self.survey.wired[node.index]

    def loop_from(self, node: Node, avoided: frozenset[Node]) -> Loop | None:
        """Return a loop through a node, but not through those to avoid, that nothing breaks."""
        paths = self._machines_around(node)
        starts = [
            [(shape, leaf) for shape in kept.shapes for leaf in shape.leaves]
            for kept in paths.values()
        ]
        for active in product(*starts):
            turns = self._round((node, active), list(paths), avoided)
            if turns and not self._is_broken(turns, list(paths.values())):
                return self._told(turns)
            if self.steps > _STEPS:
                break
        return None

    def _machines_around(self, node: Node) -> dict[str, Kept]:
        """Return the machines that routes send to which this one leads to, and that lead back."""
        around = [one for one in self._led_to(node) if node in self._led_to(one)]
        targets = [target for one in around for target in self.wired(one).targets]
        found = [known for known in map(self.survey.find, targets) if known is not None]
        return {kept.path: kept for kept, _event in found if any(one.leaves for one in kept.shapes)}

    def _led_to(self, node: Node) -> dict[Node, None]:
        found: dict[Node, None] = {}
        waiting = [node]
        while waiting:
            new = [one for one in self.next[waiting.pop()] if one not in found]
            found.update(dict.fromkeys(new))
            waiting.extend(new)
        return found

    def _round(self, start: Turn, paths: list[str], avoided: frozenset[Node]) -> list[Turn]:
        """Return the turns of the shortest way back to the same node and states, if there is one.

        Breadth first: the way is as short as there is one from these states.
        """
        led: dict[Turn, Turn] = {}
        waiting = [start]
        for turn in waiting:
            self.steps += 1
            if self.steps > _STEPS:
                break
            for new in self._after(turn, paths):
                if new == start:
                    return self._way(start, turn, led)
                if new not in led and new[0] not in avoided:
                    led[new] = turn
                    waiting.append(new)
        return []

    def _way(self, start: Turn, last: Turn, led: dict[Turn, Turn]) -> list[Turn]:
        way = [last]
        while way[-1] != start:
            way.append(led[way[-1]])
        return way[::-1]

    def _after(self, turn: Turn, paths: list[str]) -> Iterator[Turn]:
        """Yield the turns to which a turn of a route leads."""
        node, active = turn
        now = dict(zip(paths, active, strict=True))
        topics: set[str] = set()
        for path, shape, leaf, move in self._moves(node, now):
            topics |= _published(path, shape, leaf, move)
            now[path] = (shape, shape.leaf_after(move, leaf))
        for one in self.next[node]:
            if one.topic in topics:
                yield one, tuple(now.values())

    def _moves(
        self, node: Node, now: dict[str, tuple[Shape, str]]
    ) -> Iterator[tuple[str, Shape, str, Move]]:
        """Yield the transitions that the events of a route cause, one after the other."""
        for target in self.wired(node).targets:
            found = self.survey.find(target)
            if found is not None and found[0].path in now:
                shape, leaf = now[found[0].path]
                move = shape.step(leaf, found[1])
                if move is not None:
                    yield found[0].path, shape, leaf, move

    def _is_broken(self, turns: list[Turn], machines: list[Kept]) -> bool:
        """Whether something that the loop sets off may take a machine out of its states."""
        routes = {self.wired(node).name for node, _active in turns}
        topics = {target for node, _active in turns for target in self.wired(node).targets}
        links, _topics = self.survey.in_cascade(topics)
        sent = [target for link in links if link.name not in routes for target in link.targets]
        for place, kept in enumerate(machines):
            inside = {active[place] for _node, active in turns}
            events = addresses((*sent, *self.survey.own_sends(kept).targets), kept.path)
            for event in events:
                if any(not _leads(shape, leaf, event) <= inside for shape, leaf in inside):
                    return True
        return False

    def _told(self, turns: list[Turn]) -> Loop:
        """Return a loop that begins with the least of its topics, as a runaway is told."""
        nodes = [node for node, _active in turns]
        whole = len(nodes)
        rounds = (nodes[:period] for period in range(1, whole + 1) if whole % period == 0)
        nodes = next(one for one in rounds if nodes == one * (whole // len(one)))
        pairs = [
            (wired.own(node.topic), wired.plan.label)
            for node in nodes
            for wired in [self.wired(node)]
        ]
        start = pairs.index(min(pairs))
        names: list[Any] = [name for pair in (*pairs[start:], *pairs[:start]) for name in pair]
        first = min(node.index for node in nodes)
        return Loop(first, frozenset(nodes), (*names, names[0]))


def _published(path: str, shape: Shape, leaf: str, move: Move) -> set[str]:
    """Return the topics of a transition from one innermost state."""
    active = (leaf, *shape.above[leaf])
    unmoved = {f"exit:{path}.{state}" for state in move.exited if state not in active}
    return topics_of(path, move) - unmoved


def _leads(shape: Shape, leaf: str, event: str) -> set[tuple[Shape, str]]:
    """Return where an event may lead from one innermost state, whatever guards say."""
    return {(shape, shape.leaf_after(move, leaf)) for move in shape.candidates(leaf, event)}
