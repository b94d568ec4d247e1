"""The layout: floors, the map, names and sizes of the package."""

from __future__ import annotations

import ast
import importlib
import inspect
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import statemachines_orchestrator as package

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(package.__file__).parent

FLOORS = [
    "records",
    "exceptions",
    "_notes",
    "topics",
    "_agenda",
    "clock",
    "_bus",
    "_host",
    "_arguments",
    "_frames",
    "_event_loops",
    "_answers",
    "_inbox",
    "_running",
    "_engine",
    "_ways",
    "_microstep",
    "_fast",
    "_enabled",
    "fleets",
    "_places",
    "_binding",
    "reactions",
    "signals",
    "_members",
    "_publisher",
    "_sending",
    "_routes",
    "_turns",
    "_joins",
    "_runaway",
    "_cascade",
    "_calls",
    "_due",
    "_timeouts",
    "_timers",
    "_checking",
    "_attachment",
    "_annotations",
    "_attrs",
    "_fields",
    "_plans",
    "_declaration",
    "_broadcasts",
    "orchestrator",
    "_wiring",
    "_lanes",
    "_clocks",
    "_rest",
    "_packing",
    "_wholes",
    "_standing",
    "_fitting",
    "_restoring",
    "snapshots",
    "_telling",
    "_observing",
    "_portable",
    "_folding",
    "_sequences",
    "_trees",
    "traces",
    "_sources",
    "_reading",
    "_graphs",
    "_drawing",
    "diagrams",
    "_covering",
    "_shapes",
    "_survey",
    "_loops",
    "_alone",
    "_linting",
    "_joints",
    "_steps",
    "_walking",
    "_findings",
    "_goals",
    "exploration",
    "_stateful",
    "testing",
    "logs",
    "otel",
    "__init__",
    "__main__",
]
"""Each file imports only files above it, for type checking and inside functions too."""

LATE = {"orchestrator": ["diagrams"]}
"""The one exception: `format(shop, "mermaid")` draws, as the host's own does."""


def tree_of(module: str) -> ast.Module:
    return ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))


def imported_by(module: str) -> Iterator[str]:
    """Yield the package's modules that a module imports anywhere."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            parts = (node.module or "").split(".")
            if parts[0] == package.__name__:
                yield from (alias.name for alias in node.names) if len(parts) == 1 else [parts[1]]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == package.__name__:
                    yield parts[-1]


def functions_of(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def test_every_file_stands_on_a_floor() -> None:
    """The list of floors is complete."""
    assert sorted(path.stem for path in HERE.glob("*.py")) == sorted(FLOORS)


@pytest.mark.parametrize("module", FLOORS)
def test_imports_only_go_up_the_list(module: str) -> None:
    """A file imports only files that stand above it in the list."""
    above = FLOORS[: FLOORS.index(module)]
    wrong = [name for name in imported_by(module) if name not in above]
    assert wrong == LATE.get(module, [])


def test_there_are_imports_to_look_at() -> None:
    """The test above looks at something."""
    assert sum(len(list(imported_by(module))) for module in FLOORS) > 40


def test_only_the_seams_touch_what_the_host_does_not_document() -> None:
    """Private names of a machine or an engine stand in `_engine.py`, and where the lane runs."""
    private = {"_engine", "_callbacks", "_processing", "_registry", "_external_queue", "_cache"}
    found = [
        (module, node.attr)
        for module in FLOORS
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and node.attr in private
    ]
    assert {module for module, _name in found} == {"_engine", "_fast", "_microstep"}


def test_no_module_has_the_name_of_what_users_import() -> None:
    """`from statemachines_orchestrator import on` never gives a module."""
    assert set(FLOORS) & {name.lower() for name in package.__all__} == {"orchestrator"}
    assert not set(FLOORS) & set(package.__all__)


def test_all_is_sorted_and_complete() -> None:
    """`__all__` has every error and record, the decorators and the base class, sorted."""
    assert package.__all__ == sorted(package.__all__)
    for name in ("exceptions", "records"):
        module = importlib.import_module(f"{package.__name__}.{name}")
        assert module.__all__ == sorted(module.__all__)
        assert set(module.__all__) <= set(package.__all__)
        defined = {
            attribute
            for attribute, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        }
        assert defined == set(module.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_every_public_thing_has_a_docstring() -> None:
    """The map in the package, and what it exports."""
    for name in ("orchestrator", "reactions", "records", "topics", "exceptions"):
        assert name in (package.__doc__ or "")
    for name in package.__all__:
        if name != "removed":
            assert inspect.getdoc(getattr(package, name)), name


def test_files_and_functions_are_short() -> None:
    """Modules under 520 lines, functions with a median of at most 8 and none over 60.

    All that touches the host's undocumented names is one module, however long that is; so are the
    errors, which are a list.
    """
    sizes = {name: len((HERE / f"{name}.py").read_text("utf-8").splitlines()) for name in FLOORS}
    assert sizes.pop("_engine") < 740
    assert sizes.pop("exceptions") < 600
    assert max(sizes.values()) < 520, sizes
    assert sizes["_cascade"] < 200
    lengths = sorted(length(node) for module in FLOORS for node in functions_of(module))
    assert statistics.median(lengths) <= 8
    assert lengths[int(len(lengths) * 0.9)] <= 25
    assert lengths[-1] <= 60
