"""Binding: how a reaction is given the parameters that it asks for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator.exceptions import NotAReactionError
from statemachines_orchestrator.records import Elapsed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HOST_NAMES", "binder", "injected"]

HOST_NAMES = ("machine", "event", "source", "target", "state", "transition", "model")
"""What python-statemachine injects by name, of which a reaction may ask for all."""


def binder(function: Callable[..., Any], *, method: bool) -> Callable[[Any, Any], Any]:
    """Return `call(owner, record)`, which calls `function` with what it asks for of a record.

    The rules are python-statemachine's: the host's names by name, the event's keyword arguments
    by name, its positional arguments by position, defaults for what is missing.
    Differs from the host's binder in its faults: a keyword-only parameter keeps its value,
    and the signature belongs to this function alone.
    A `method` is given its owner first; another function may ask for it as `self`,
    or by the orchestrator's name.
    Raises `NotAReactionError` for what does not tell its parameters.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:  # of a builtin, mostly
        where = getattr(function, "__qualname__", type(function).__qualname__)
        problem = f"{shown(function)} does not tell its parameters"
        raise NotAReactionError(where, problem, "Wrap it in a function") from error
    if method and len(parameters) == 1 and parameters[0].kind is not parameters[0].VAR_POSITIONAL:
        return lambda owner, _record: function(owner)
    return _Bound(function, parameters, method=method)


class _Bound:
    """A function and its parameters, read once."""

    __slots__ = (
        "function",
        "keyword_only",
        "method",
        "needs_key",
        "positional",
        "takes_all",
        "takes_rest",
    )

    def __init__(
        self, function: Callable[..., Any], parameters: list[inspect.Parameter], *, method: bool
    ) -> None:
        kinds = inspect.Parameter
        self.function = function
        self.method = method
        self.positional = [
            parameter.name
            for parameter in parameters
            if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        ][1 if method else 0 :]
        self.keyword_only = [p.name for p in parameters if p.kind is kinds.KEYWORD_ONLY]
        self.needs_key = any(p.name == "key" and p.default is p.empty for p in parameters)
        self.takes_rest = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
        self.takes_all = any(p.kind is kinds.VAR_KEYWORD for p in parameters)

    def __call__(self, owner: Any, record: Any) -> Any:
        given = injected(owner, record)
        args = getattr(record, "args", ())
        by_place: list[Any] = [owner] if self.method else []
        by_name: dict[str, Any] = {}
        complete = True
        for index, name in enumerate(self.positional):
            if name in given:
                value = given.pop(name)
            elif index < len(args):
                value = args[index]
            elif name == "key" and self.needs_key:  # it happened in no fleet
                value = None
            else:
                complete = False  # its default, or the TypeError that Python has for it
                continue
            if complete:
                by_place.append(value)
            else:
                by_name[name] = value
        if self.takes_rest and complete:
            by_place.extend(args[len(self.positional) :])
        if self.needs_key:
            given.setdefault("key", None)
        if self.takes_all:
            by_name.update({name: value for name, value in given.items() if name != "self"})
        else:
            by_name.update({name: given[name] for name in self.keyword_only if name in given})
        return self.function(*by_place, **by_name)


def injected(owner: Any, record: Any) -> dict[str, Any]:
    """Return what can be asked for by name.

    The event's own arguments win over `record` and `key`, never over the host's names.
    `key` is that of what happened in a fleet. Orchestrators go by their own names.
    """
    given = {"record": record, **getattr(record, "kwargs", {})}
    if getattr(record, "keys", ()):
        given.setdefault("key", record.key)
    given.update(place_of(owner).injected)
    given["self"] = owner
    machine = getattr(record, "machine", None)
    if isinstance(record, Elapsed):
        given.update(machine=machine, state=record.state, model=record.machine.model)
    elif machine is not None:
        target = record.target
        given.update(
            machine=machine,
            event=record.event,
            source=record.source,
            target=target,
            state=record.source if target is None else target,
            transition=record.transition,
            model=machine.model,
        )
    return given
