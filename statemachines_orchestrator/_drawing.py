"""A graph as nodes and edges, in the languages of Mermaid and of Graphviz, and as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from statemachines_orchestrator._graphs import Graph, Link, MachineBox, StateBox

__all__ = ["dot", "mermaid", "tables"]

_LONGEST = 30
"""What is longer is told in several lines."""


@attrs.frozen
class Node:
    """A state, an event, a reaction, or what else an arrow may begin or end at."""

    id: str
    kind: str
    """`state`, `initial`, `final`, `history`, `event`; `reaction`, `call`, `join`, `timer`, `open`,
    `signal`."""
    label: str
    is_active: bool = False


@attrs.frozen
class Box:
    """A machine, or a compound state, with what is in it."""

    id: str
    kind: str
    """`machine`, `compound` or `parallel`."""
    label: str
    nodes: tuple[Node, ...]
    boxes: tuple[Box, ...]
    is_active: bool = False

    @property
    def first(self) -> str:
        """A node in it, for Graphviz, whose arrows lead from node to node."""
        return self.nodes[0].id if self.nodes else self.boxes[0].first


@attrs.frozen
class Edge:
    """An arrow."""

    source: str
    target: str
    label: str = ""
    is_wire: bool = False
    """Whether it leads from machine to machine, and not from state to state."""
    is_unused: bool = False


@attrs.define
class Drawing:
    """All that is drawn."""

    title: str
    boxes: list[Box] = attrs.Factory(list[Box])
    nodes: list[Node] = attrs.Factory(list[Node])
    edges: list[Edge] = attrs.Factory(list[Edge])


class _Layout:
    """Gives everything of a graph an id, and says where arrows begin and end."""

    def __init__(self, graph: Graph) -> None:
        self.drawing = Drawing(graph.title)
        self.ends: dict[str, list[str]] = {}
        """The nodes at which the arrows of a topic begin and end."""
        self.named: set[str] = {
            topic for link in graph.links for topic in (*link.sources, *link.targets)
        }
        for number, machine in enumerate(graph.machines):
            self.machine(f"m{number}", machine)
        for topic in sorted(self.named):
            self.elsewhere(topic)
        for number, link in enumerate(graph.links):
            self.link(f"r{number}", link)

    def machine(self, key: str, machine: MachineBox) -> None:
        """Lay out one machine."""
        ids: dict[str, str] = {}
        nodes, boxes = self.inside(key, machine, machine.states, ids)
        self.ends.setdefault(f"{machine.path}.*", []).append(key)
        for number, step in enumerate(machine.steps):
            topic = f"{machine.path}.{step.event}"
            if topic in self.named and step.event:
                event = f"{key}e{number}"
                nodes.append(Node(event, "event", step.event))
                self.ends.setdefault(topic, []).append(event)
                self.drawing.edges.extend(Edge(ids[source], event) for source in step.sources)
                self.drawing.edges.append(Edge(event, ids[step.target]))
            else:
                self.drawing.edges.extend(
                    Edge(ids[source], ids[step.target], step.event) for source in step.sources
                )
        label = f"{machine.path}: {machine.kind}"
        if machine.is_fleet:
            count = "" if machine.members is None else f", {machine.members} members"
            label = f"{machine.path}: fleet of {machine.kind}{count}"
        self.drawing.boxes.append(Box(key, "machine", label, tuple(nodes), tuple(boxes)))

    def inside(
        self, key: str, machine: MachineBox, states: tuple[StateBox, ...], ids: dict[str, str]
    ) -> tuple[list[Node], list[Box]]:
        """Lay out states, compound ones as boxes."""
        nodes: list[Node] = []
        boxes: list[Box] = []
        for state in states:
            own = ids[state.id] = f"{key}s{len(ids)}"
            count = machine.active.get(state.id, 0)
            label = f"{state.name} ({count})" if machine.is_fleet and count else state.name
            if state.inside:
                below = self.inside(key, machine, state.inside, ids)
                kind = "parallel" if state.is_parallel else "compound"
                boxes.append(Box(own, kind, label, tuple(below[0]), tuple(below[1]), bool(count)))
            else:
                nodes.append(Node(own, _kind_of(state), label, bool(count)))
            for way in ("enter", "exit"):
                self.ends.setdefault(f"{way}:{machine.path}.{state.id}", []).append(own)
        return nodes, boxes

    def elsewhere(self, topic: str) -> None:
        """Make a node for what is no machine's: signals, `settled`, everything, broadcasts."""
        if topic not in self.ends:
            label = {"settled": "at rest", "*": "any transition"}.get(topic, topic)
            key = f"x{len(self.drawing.nodes)}"
            self.drawing.nodes.append(Node(key, "signal", label))
            self.ends[topic] = [key]

    def link(self, key: str, link: Link) -> None:
        """Lay out a reaction, or a callback, with its arrows."""
        kind = {"call": "call", "when": "join", "timeout": "timer"}.get(link.kind, "reaction")
        label = f"{link.name}\n{_wrapped(link.text)}" if link.text else link.name
        if kind == "call":  # the arrows tell of which machine it is
            label = link.name.rpartition(".")[2].replace("<lambda>", "a callback")
        self.drawing.nodes.append(Node(key, kind, label))
        for topic in link.sources:
            self.arrows(link, topic, [(end, key) for end in self.ends[topic]])
        for topic in link.targets:
            self.arrows(link, topic, [(key, end) for end in self.ends[topic]])
        if link.is_open:
            self.drawing.nodes.append(Node(f"{key}o", "open", "?"))
            self.drawing.edges.append(Edge(key, f"{key}o", is_wire=True))

    def arrows(self, link: Link, topic: str, ends: list[tuple[str, str]]) -> None:
        """Draw the arrows of one end of a link, with how often they were used."""
        count = None if link.used is None else link.used.get(topic)
        label = "" if not count else str(count)
        self.drawing.edges.extend(
            Edge(source, target, label, is_wire=True, is_unused=count == 0)
            for source, target in ends
        )


def _kind_of(state: StateBox) -> str:
    kinds = {"history": state.is_history, "initial": state.is_initial, "final": state.is_final}
    return next((kind for kind, is_one in kinds.items() if is_one), "state")


def _wrapped(text: str) -> str:
    """Return what a join asks for in several lines, if it is long."""
    if len(text) <= _LONGEST:
        return text
    return text.replace(" & ", " &\n").replace(" | ", " |\n")


# Mermaid --------------------------------------------------------------------------------------

_SHAPES = {
    "state": ("(", ")"),
    "initial": ("([", "])"),
    "final": ("[[", "]]"),
    "history": ("((", "))"),
    "event": ("{{", "}}"),
    "reaction": ("[", "]"),
    "call": ("[", "]"),
    "join": ("[/", "\\]"),
    "timer": ("[/", "/]"),
    "open": ("((", "))"),
    "signal": (">", "]"),
}
_CLASSES = """\
    classDef reaction fill:#fff3c4,stroke:#8a6d00,color:#000
    classDef direct fill:#e8e8e8,stroke:#555,color:#000
    classDef event fill:#e3f0ff,stroke:#2c5f9e,color:#000
    classDef signal fill:#efe3ff,stroke:#6a3fa0,color:#000
    classDef open fill:#ffd6d6,stroke:#a00,color:#000
    classDef active fill:#b6f0c0,stroke:#167a2c,stroke-width:3px,color:#000
"""
_CLASS_OF = {"call": "direct", "join": "reaction", "timer": "reaction"}
_CLASSED = frozenset(("direct", "event", "open", "reaction", "signal"))


def mermaid(graph: Graph) -> str:
    """Return a flowchart with a subgraph for each machine."""
    drawing = _Layout(graph).drawing
    lines = ["flowchart LR"]
    for box in drawing.boxes:
        lines.extend(_mermaid_box(box, "    "))
    lines.extend(f"    {_mermaid_node(node)}" for node in drawing.nodes)
    for edge in drawing.edges:
        arrow = "-->" if not edge.is_wire else "-.->" if edge.is_unused else "==>"
        label = f"|{_quoted(edge.label)}|" if edge.label else ""
        lines.append(f"    {edge.source} {arrow}{label} {edge.target}")
    active = [node.id for node in _nodes_in(drawing.boxes) if node.is_active]
    active += [box.id for box in _boxes_in(drawing.boxes) if box.is_active]
    text = "\n".join(lines) + "\n" + _CLASSES
    return text + (f"    class {','.join(active)} active\n" if active else "")


def _nodes_in(boxes: list[Box] | tuple[Box, ...]) -> Iterator[Node]:
    for box in _boxes_in(boxes):
        yield from box.nodes


def _boxes_in(boxes: list[Box] | tuple[Box, ...]) -> Iterator[Box]:
    for box in boxes:
        yield box
        yield from _boxes_in(box.boxes)


def _mermaid_box(box: Box, indent: str) -> Iterator[str]:
    yield f"{indent}subgraph {box.id}[{_quoted(box.label)}]"
    yield f"{indent}    direction TB"
    for node in box.nodes:
        yield f"{indent}    {_mermaid_node(node)}"
    for inner in box.boxes:
        yield from _mermaid_box(inner, indent + "    ")
    yield f"{indent}end"


def _mermaid_node(node: Node) -> str:
    left, right = _SHAPES[node.kind]
    kind = _CLASS_OF.get(node.kind, node.kind)
    style = f":::{kind}" if kind in _CLASSED else ""
    return f"{node.id}{left}{_quoted(node.label)}{right}{style}"


def _quoted(text: str) -> str:
    """Return a label as Mermaid takes it."""
    codes = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "%": "#37;", "\n": "<br/>"}
    return '"' + "".join(codes.get(letter, letter) for letter in _printable(text)) + '"'


def _printable(text: str) -> str:
    """Return text without what is no letter: control characters, and halves of letters."""
    return "".join(one if one == "\n" or one.isprintable() else "\ufffd" for one in text)


# Graphviz -------------------------------------------------------------------------------------

_DOT_SHAPES = {
    "state": 'shape=box, style="rounded,filled", fillcolor=white',
    "initial": 'shape=box, style="rounded,filled", fillcolor=white, penwidth=2',
    "final": 'shape=box, style="rounded,filled", fillcolor=white, peripheries=2',
    "history": "shape=circle, style=filled, fillcolor=white",
    "event": 'shape=hexagon, style=filled, fillcolor="#e3f0ff", height=0.3, margin="0.05,0.02"',
    "reaction": 'shape=box, style=filled, fillcolor="#fff3c4"',
    "call": 'shape=box, style=filled, fillcolor="#e8e8e8"',
    "join": 'shape=octagon, style=filled, fillcolor="#fff3c4", margin="0.02,0"',
    "timer": 'shape=parallelogram, style=filled, fillcolor="#fff3c4", margin="0,0"',
    "open": 'shape=circle, style=filled, fillcolor="#ffd6d6"',
    "signal": 'shape=cds, style=filled, fillcolor="#efe3ff"',
}
_ACTIVE = 'fillcolor="#b6f0c0", color="#167a2c", penwidth=3'


def dot(graph: Graph) -> str:
    """Return a graph of Graphviz with a cluster for each machine."""
    drawing = _Layout(graph).drawing
    firsts = {box.id: box.first for box in _boxes_in(drawing.boxes)}
    lines = [
        f"digraph {_dot_quoted(drawing.title)} {{",
        "    rankdir=LR; compound=true; newrank=true; nodesep=0.25; ranksep=0.4",
        '    fontname="Helvetica"',
        '    node [fontname="Helvetica", fontsize=11]',
        '    edge [fontname="Helvetica", fontsize=10]',
    ]
    for box in drawing.boxes:
        lines.extend(_dot_box(box, "    "))
    lines.extend(f"    {_dot_node(node)}" for node in drawing.nodes)
    lines.extend(f"    {_dot_edge(edge, firsts)}" for edge in drawing.edges)
    return "\n".join([*lines, "}"]) + "\n"


def _dot_box(box: Box, indent: str) -> Iterator[str]:
    yield f"{indent}subgraph cluster_{box.id} {{"
    style = "rounded,filled" if box.kind == "machine" or box.is_active else "rounded"
    color = "#b6f0c0" if box.is_active else "#f7f7f7"
    dashes = ",dashed" if box.kind == "parallel" else ""
    yield (
        f"{indent}    label={_dot_quoted(box.label)}; "
        f'style="{style}{dashes}"; fillcolor="{color}"; color="#888888"'
    )
    for node in box.nodes:
        yield f"{indent}    {_dot_node(node)}"
    for inner in box.boxes:
        yield from _dot_box(inner, indent + "    ")
    yield f"{indent}}}"


def _dot_node(node: Node) -> str:
    active = f", {_ACTIVE}" if node.is_active else ""
    return f"{node.id} [label={_dot_quoted(node.label)}, {_DOT_SHAPES[node.kind]}{active}]"


def _dot_edge(edge: Edge, firsts: dict[str, str]) -> str:
    facts: list[str] = []
    source, target = edge.source, edge.target
    if source in firsts and source != target:
        facts.append(f"ltail=cluster_{source}")
    if target in firsts and source != target:
        facts.append(f"lhead=cluster_{target}")
    if edge.label:
        facts.append(f"label={_dot_quoted(edge.label)}")
    if edge.is_wire:
        facts.append('color="#b06000"' + (", style=dashed" if edge.is_unused else ", penwidth=1.6"))
    else:
        facts.append('color="#666666", fontcolor="#444444", weight=6')
    return f"{firsts.get(source, source)} -> {firsts.get(target, target)} [{', '.join(facts)}]"


def _dot_quoted(text: str) -> str:
    escaped = _printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


# Tables ---------------------------------------------------------------------------------------


def tables(graph: Graph) -> str:
    """Return tables in Markdown: the machines, the reactions, what leads to what."""
    machines = [
        (
            machine.path,
            f"fleet of {machine.kind}" if machine.is_fleet else machine.kind,
            ", ".join(_states_told(machine, machine.states)),
            ", ".join(dict.fromkeys(step.event for step in machine.steps if step.event)),
        )
        for machine in graph.machines
    ]
    links = [
        (
            link.name,
            ", ".join(
                _counted(link, topic, told if link.kind == "timeout" else topic)
                for topic, told in link.sources.items()
            ),
            ", ".join(
                [
                    *(_counted(link, topic, topic) for topic in link.targets),
                    *(["?"] * link.is_open),
                ]
            ),
            link.text,
            link.where,
        )
        for link in graph.links
    ]
    parts = [
        f"# {graph.title}\n",
        _table(("machine", "class", "states", "events"), machines),
        _table(("reaction or callback", "on", "sends", "when", "where"), links),
    ]
    return "\n".join(parts)


def _states_told(machine: MachineBox, states: tuple[StateBox, ...]) -> Iterator[str]:
    for state in states:
        text = f"**{state.id}**" if machine.active.get(state.id) else state.id
        inside = ", ".join(_states_told(machine, state.inside))
        yield f"{text} ({inside})" if inside else text


def _counted(link: Link, topic: str, told: str) -> str:
    count = None if link.used is None else link.used.get(topic)
    return told if count is None else f"{told} ({count})"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    escape: Callable[[str], str] = lambda text: text.replace("|", "\\|").replace("\n", " ")  # noqa: E731
    lines = [head, tuple("---" for _ in head), *(tuple(map(escape, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
