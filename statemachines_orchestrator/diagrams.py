"""Diagrams: the whole orchestration, drawn.

    print(diagram(Shop))                # a Mermaid flowchart, for a README
    print(diagram(shop, "dot"))         # Graphviz, with the active states
    diagram(shop, "svg", traces=trace)  # with how often each wire was used

They read the wiring and the source of a class, and records.
"""

from __future__ import annotations

import subprocess
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, overload

from statemachines_orchestrator._drawing import dot, mermaid, tables
from statemachines_orchestrator._graphs import graph_of, traces_in
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._wiring import class_of
from statemachines_orchestrator.exceptions import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statemachines_orchestrator.orchestrator import Orchestrator
    from statemachines_orchestrator.traces import Trace

__all__ = ["FORMATS", "diagram"]

_TEXTS = {"mermaid": mermaid, "dot": dot, "md": tables}
FORMATS = (*_TEXTS, "svg", "png")
"""The formats: `mermaid`, `dot` and `md` need nothing else, `svg` and `png` Graphviz."""


@overload
def diagram(
    orchestrator: Orchestrator | type[Orchestrator],
    format: Literal["mermaid", "dot", "md", "svg"] = ...,
    *,
    traces: Trace | Iterable[Trace] | None = ...,
) -> str: ...
@overload
def diagram(
    orchestrator: Orchestrator | type[Orchestrator],
    format: Literal["png"],
    *,
    traces: Trace | Iterable[Trace] | None = ...,
) -> bytes: ...
@overload
def diagram(
    orchestrator: Orchestrator | type[Orchestrator],
    format: str,
    *,
    traces: Trace | Iterable[Trace] | None = ...,
) -> str | bytes: ...
def diagram(
    orchestrator: Orchestrator | type[Orchestrator],
    format: str = "mermaid",  # noqa: A002 - the word of the host and of the field
    *,
    traces: Trace | Iterable[Trace] | None = None,
) -> str | bytes:
    """Draw an orchestrator: every machine, and what leads from one to the other.

    Of an instance, the active states stand out. With `traces`, one or several, arrows between
    machines tell how often they were used, and those that never were are dashed.

    What a route sends is declared. What methods and callbacks send is read from their source; where
    something in it cannot be followed, an arrow leads to a question mark.

    `format` is `"mermaid"` (a flowchart), `"dot"` (Graphviz) or `"md"` (tables), which are text;
    `"svg"`, text, and `"png"`, bytes, need the extra `diagrams` and Graphviz itself.
    Raises `DeclarationError` for what is no orchestrator or no trace, an unknown format, and where
    Graphviz is not installed.
    """
    where = "diagram()"
    given: Any = orchestrator
    cls = class_of(given, where)
    given_format: Any = format
    if not isinstance(given_format, str) or given_format not in FORMATS:
        problem = f"{shown(format)} is no format"
        raise DeclarationError(where, problem, f"There are {', '.join(FORMATS)}")
    many = None if traces is None else traces_in(traces, where)
    graph = graph_of(cls, None if given is cls else given, many)
    if format in _TEXTS:
        return _TEXTS[format](graph)
    return _rendered(dot(graph), format, where)


def _rendered(source: str, format: str, where: str) -> str | bytes:  # noqa: A002
    """Let Graphviz draw."""
    try:
        graphviz: Any = import_module("graphviz")  # an extra
    except ImportError:
        problem = f"{format} is drawn by Graphviz, and the package graphviz is not installed"
        fix = (
            "Install the extra: statemachines-orchestrator[diagrams]; mermaid, dot and md need none"
        )
        raise DeclarationError(where, problem, fix) from None
    try:
        drawn: bytes = graphviz.Source(source).pipe(format=format)
    except graphviz.ExecutableNotFound:
        problem = f"{format} is drawn by Graphviz, and its program dot is not installed"
        fix = "Install graphviz with the packages of your system; mermaid, dot and md need none"
        raise DeclarationError(where, problem, fix) from None
    except subprocess.CalledProcessError as error:
        raise DeclarationError(where, f"Graphviz refuses it: {error}", "Draw it as dot") from None
    return drawn if format == "png" else drawn.decode()
