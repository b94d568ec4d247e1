"""Machines that nothing connects with another."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._sources import is_hosts
from statemachines_orchestrator._survey import addresses, callbacks_in, split_topic
from statemachines_orchestrator.topics import ANY, SETTLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._graphs import Link
    from statemachines_orchestrator._survey import Kept, Survey

__all__ = ["alone"]

_ALL = frozenset(("broadcast", "enabled_events", "machines"))
"""What of an orchestrator's surface is about all of its machines."""
_OURS = __name__.partition(".")[0]


def alone(survey: Survey) -> list[str]:
    """Return the paths of the machines that no reaction, callback or other code is about.

    Code is about what its names or its strings name, whatever it does with it.
    """
    named = {name for code in _codes_in(survey) for name in _names_of(code)}
    is_bound = any(wired.is_bound for wired in survey.wired)
    is_open = is_bound or not survey.is_whole
    if is_open or any(link.is_open for link in survey.links) or not _ALL.isdisjoint(named):
        return []
    asked = {level.cls.__declaration__.options.orchestrator_name for level in survey.levels}
    return [
        path
        for path, kept in survey.kept.items()
        if path.rpartition(".")[2] not in named
        and not any(_concerns(link, path) for link in survey.links)
        and not any(not asked.isdisjoint(code.co_varnames) for code in _codes_of(kept))
    ]


def _concerns(link: Link, path: str) -> bool:
    """Whether a reaction or callback is about a machine, or about all that stand there."""
    around = link.name.rpartition(".")[0]
    for topic in link.sources:
        _kind, rest = split_topic(topic)
        prefix = f"{around}." * bool(around) if rest == SETTLED else rest.partition(ANY)[0]
        if (rest == SETTLED or ANY in rest) and f"{path}.".startswith(prefix):
            return True
        if rest.startswith(f"{path}."):
            return True
    return bool(addresses(link.targets, path))


def _codes_in(survey: Survey) -> Iterator[CodeType]:
    """Yield the code of the orchestrators, of conditions, and of the machines."""
    for level in survey.levels:
        yield from _codes_of_class(level.cls)
    for wired in survey.wired:
        yield from _code(wired.plan.reaction.cond)
    for kept in survey.kept.values():
        yield from _codes_of(kept)


def _codes_of(kept: Kept) -> Iterator[CodeType]:
    """Yield the code of a machine's class."""
    for shape in kept.shapes:
        yield from _codes_of_class(shape.kind)
        for function in callbacks_in(shape.kind):
            yield from _code(function)


def _codes_of_class(cls: type) -> Iterator[CodeType]:
    for klass in cls.__mro__:
        for value in vars(klass).values():
            yield from _code(value)


def _code(value: Any) -> Iterator[CodeType]:
    """Yield the user's code in a function, a method of a class, or a property."""
    parts = [value, *(getattr(value, name, None) for name in ("__func__", "fget", "fset"))]
    for function in parts:
        code = getattr(function, "__code__", None)
        module = str(getattr(function, "__module__", ""))
        is_theirs = not is_hosts(function) and module.partition(".")[0] != _OURS
        if isinstance(code, CodeType) and is_theirs and code.co_filename[:6] != "<attrs":
            yield code


def _names_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)
        elif isinstance(constant, str):
            yield from constant.split(".")
