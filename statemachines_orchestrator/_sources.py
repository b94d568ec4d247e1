"""What names in source stand for, and what a function does, as a tree."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import FunctionType
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator.topics import Nest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator.topics import Topics

__all__ = ["At", "bound_by", "is_hosts", "statements_of"]

MANY: Any = property()
"""Stands for what is not the same in all classes: something that cannot be followed."""


@attrs.frozen
class At:
    """What an expression stands for: the names that lead there, and how it is meant."""

    path: tuple[str, ...]
    """From the orchestrator that is drawn."""
    cls: Any = attrs.field(eq=False)
    """The class of an orchestrator; `None` for a machine."""
    topics: Topics | None = attrs.field(eq=False)
    vocabulary: Any = attrs.field(default=None, eq=False)
    """What can be said of a machine."""
    kinds: tuple[Any, ...] = attrs.field(default=(), eq=False)
    """The classes of a machine."""
    form: str = "one"
    """`one`; for a fleet itself `fleet`, for its `values()` `members`, its `items()` `pairs`."""

    @classmethod
    def of(cls, path: tuple[str, ...], orchestrator: Any) -> At:
        """Return what stands for an orchestrator of a class."""
        return cls(path, orchestrator, orchestrator.__declaration__.topics)

    def field(self, name: str) -> At | None:
        """Return what stands in a field of an orchestrator, `None` for anything else."""
        if self.topics is None or self.form != "one" or name not in self.topics.vocabularies:
            return None
        vocabulary = self.topics.vocabularies[name]
        form = "fleet" if name in self.topics.fleets else "one"
        if isinstance(vocabulary, Nest):
            inner = vocabulary.classes[0]
            topics = inner.__declaration__.topics
            return At((*self.path, name), inner, topics, form=form)
        kinds = self.cls.__declaration__.fields[name].classes or ()
        return At((*self.path, name), None, None, vocabulary, kinds, form)

    def declared(self, name: str) -> Any:
        """Return what the class has under a name, `MANY` if that depends on the class."""
        kinds = self.kinds if self.cls is None else (self.cls,)
        found = [inspect.getattr_static(kind, name, None) for kind in kinds]
        return found[0] if all(one is found[0] for one in found) and found else MANY


def statements_of(function: Any) -> list[Any] | None:
    """Return what a function does, `None` if its source cannot be told for sure."""
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return None
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    last = max(line for _start, _end, line in function.__code__.co_lines() if line is not None)
    if last >= first + len(lines):  # a lambda that was cut off
        return None
    if function.__name__ == "<lambda>":
        lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
        return [lambdas[0].body] if len(lambdas) == 1 else None
    return list(getattr(tree.body[0], "body", ()))


def bound_by(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node binds in some way that is not followed."""
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((one.asname or one.name).partition(".")[0] for one in node.names)
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield from (one.id for one in ast.walk(node.optional_vars) if isinstance(one, ast.Name))
    elif isinstance(node, ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names


def is_hosts(function: Any) -> bool:
    """Whether a function is python-statemachine's."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "statemachine"
