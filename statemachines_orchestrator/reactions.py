"""The decorators that subscribe methods, and the frozen value that they leave on a method."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs
from statemachine import Event, State

from statemachines_orchestrator.exceptions import NotAReactionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statemachine.transition_list import TransitionList

__all__ = ["Reaction", "on", "on_enter", "on_exit", "reactions_of", "removed"]

_Method = TypeVar("_Method", bound=Callable[..., Any])
if TYPE_CHECKING:
    EventMember: TypeAlias = str | Event | TransitionList | tuple[str | Event | TransitionList, ...]
    StateMember: TypeAlias = str | State | tuple[str | State, ...]

_MARK = "__reactions__"


class _Removed:
    """Takes an inherited reaction away: `name = removed`."""

    def __repr__(self) -> str:
        return "removed"


removed: Any = _Removed()
"""Assigned to the name of an inherited reaction, removes it from the subclass."""


@attrs.frozen
class Reaction:
    """One decorator on one method: what it subscribes to, and under which condition."""

    kind: str
    """`on`, `on_enter` or `on_exit`."""
    topics: tuple[str, ...]
    """The topics as written, in the order written, without the prefix of the kind."""
    members: tuple[tuple[str, str], ...]
    """The keyword spelling: (field, id of the event or state), in the order written."""
    cond: Any
    """A callable, the name of a method or attribute, or `None`."""
    where: str
    """The method in the user's source: `module.qualname (file, line)`."""

    @property
    def prefix(self) -> str:
        """What stands before `machine.member` in the topics of this kind."""
        return {"on": "", "on_enter": "enter:", "on_exit": "exit:"}[self.kind]

    def written(self) -> tuple[str, ...]:
        """Return every topic it names, once, in the order written: strings, then keywords."""
        spelled = [*self.topics, *(f"{field}.{member}" for field, member in self.members)]
        return tuple(
            dict.fromkeys(
                topic if topic.startswith(self.prefix) else self.prefix + topic for topic in spelled
            )
        )


def reactions_of(function: Any) -> tuple[Reaction, ...]:
    """Return the decorators' values on a method, in the order of the source."""
    return getattr(function, _MARK, ())


def on(
    *topics: str, cond: Callable[..., Any] | str | None = None, **members: EventMember
) -> Callable[[_Method], _Method]:
    """Subscribe a method to transitions: `@on("order.process")`, or `@on(order=Order.process)`.

    The method runs as a reaction: after the outermost machine call that led to it has come to
    rest, in the order of publication, once for each published topic that it names.
    Also `"order.*"` and `"*"` for any transition of a machine, of any machine,
    and `"settled"` for the point of rest.
    `cond`, a callable or the name of a method or attribute, is asked when its turn comes.
    The method may be `async def`; an awaitable that it returns is awaited.
    The method itself stays what it was, and can be called and tested alone.

    Raises `NotAReactionError` at once if there is nothing to subscribe or to subscribe to,
    and `UnknownTopicError` when the class is defined if it has no such machine or event.
    """
    return _decorator("on", topics, members, cond)


def on_enter(
    *topics: str, cond: Callable[..., Any] | str | None = None, **members: StateMember
) -> Callable[[_Method], _Method]:
    """Subscribe a method to a state being entered, at any level of a compound state.

    `@on_enter("order.shipped")`, or `@on_enter(order=Order.shipped)`.
    The rules of order, `cond` and the errors are those of `on`.
    """
    return _decorator("on_enter", topics, members, cond)


def on_exit(
    *topics: str, cond: Callable[..., Any] | str | None = None, **members: StateMember
) -> Callable[[_Method], _Method]:
    """Subscribe a method to a state being exited, at any level of a compound state.

    `@on_exit("order.pending")`, or `@on_exit(order=Order.pending)`.
    The rules of order, `cond` and the errors are those of `on`.
    """
    return _decorator("on_exit", topics, members, cond)


def _decorator(
    kind: str, topics: tuple[Any, ...], members: Mapping[str, Any], cond: Any
) -> Callable[[_Method], _Method]:
    called_at = _caller()
    if len(topics) == 1 and callable(topics[0]) and not isinstance(topics[0], str):
        raise NotAReactionError(
            place(topics[0]), f"@{kind} without a topic", f'Write @{kind}("machine.member")'
        )
    if not (cond is None or callable(cond) or isinstance(cond, str)) or isinstance(cond, Event):
        raise NotAReactionError(
            called_at,
            f"cond={cond!r} is neither callable nor the name of a method or attribute",
            'A machine called cond is subscribed in the other spelling: "cond.member"',
        )
    if not topics and not any(value != () for value in members.values()):
        raise NotAReactionError(
            called_at, f"@{kind}() names no topic", f'Write @{kind}("machine.member")'
        )
    for topic in topics:
        if not isinstance(topic, str) or isinstance(topic, Event):
            raise NotAReactionError(
                called_at,
                f"@{kind} was given {topic!r} where a topic, a string, belongs",
                f'Write @{kind}("machine.member"), or name the machine: @{kind}(machine=...)',
            )
    pairs = tuple(
        (field, _member_id(kind, field, member, called_at))
        for field, value in members.items()
        for member in _several(value)
    )

    def subscribe(method: _Method) -> _Method:
        function: Any = method
        if not inspect.isfunction(function):
            raise NotAReactionError(
                called_at,
                f"@{kind} decorates {method!r}, which is no function",
                f"Put @{kind} on a method, below no staticmethod, classmethod or property",
            )
        reaction = Reaction(kind, topics, pairs, cond, place(method))
        setattr(method, _MARK, (reaction, *reactions_of(method)))
        return method

    return subscribe


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


def _member_id(kind: str, field: str, member: Any, called_at: str) -> str:
    if isinstance(member, str):  # an Event is a string too: its id
        return str(getattr(member, "id", member)).partition(" ")[0]
    if isinstance(member, State) and kind != "on":
        return str(member.id)
    wanted = "an event" if kind == "on" else "a state"
    raise NotAReactionError(
        called_at, f"@{kind}({field}=...) was given {member!r}", f"Give it {wanted} or its id"
    )


def place(function: Any) -> str:
    """Return where a function stands in the user's source: `module.qualname (file, line)`."""
    code = getattr(function, "__code__", None)
    name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    return (
        name if code is None else f"{name} ({_file(code.co_filename)}, line {code.co_firstlineno})"
    )


def _caller() -> str:
    frame = sys._getframe(3)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the line in the user's source
    module = frame.f_globals.get("__name__")
    return f"{module} ({_file(frame.f_code.co_filename)}, line {frame.f_lineno})"


def _file(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


# Names, and how a reaction is called ----------------------------------------------------------

SURFACE = (
    "asend",
    "broadcast",
    "bus",
    "enabled_events",
    "machine_classes",
    "machines",
    "orchestrator_name",
    "post",
    "publish",
)
"""The names that every orchestrator has or will have, and that no field or reaction may take."""

HOST_NAMES = ("machine", "event", "source", "target", "state", "transition", "model")
"""What python-statemachine injects by name, of which a reaction may ask for all."""

RESERVED_NAMES = (
    *HOST_NAMES,
    "event_data",
    "ctx",
    "data",
    "error",
    "key",
    "new_configuration",
    "on_error",
    "previous_configuration",
    "record",
    "self",
)
"""Names that are given to something else, and so are none for the orchestrator."""


def binder(function: Callable[..., Any], *, method: bool) -> Callable[[Any, Any], Any]:
    """Return `call(owner, record)`, which calls `function` with what it asks for of a record.

    The rules are python-statemachine's: the host's names by name, the event's keyword arguments
    by name, its positional arguments by position, defaults for what is missing.
    Differs from the host's binder in its faults: a keyword-only parameter keeps its value,
    and the signature belongs to this function alone.
    A `method` is given its owner first; another function may ask for it as `self`,
    or by the orchestrator's name.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if method and len(parameters) == 1 and parameters[0].kind is not parameters[0].VAR_POSITIONAL:
        return lambda owner, _record: function(owner)
    return _Bound(function, parameters, method=method)


class _Bound:
    """A function and its parameters, read once."""

    __slots__ = ("function", "keyword_only", "method", "positional", "takes_all", "takes_rest")

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
            else:
                complete = False  # its default, or the TypeError that Python has for it
                continue
            if complete:
                by_place.append(value)
            else:
                by_name[name] = value
        if self.takes_rest and complete:
            by_place.extend(args[len(self.positional) :])
        if self.takes_all:
            by_name.update({name: value for name, value in given.items() if name != "self"})
        else:
            by_name.update({name: given[name] for name in self.keyword_only if name in given})
        return self.function(*by_place, **by_name)


def injected(owner: Any, record: Any) -> dict[str, Any]:
    """Return what can be asked for by name.

    The event's own arguments win over `record`, never over the host's names.
    """
    given = {"record": record, **getattr(record, "kwargs", {})}
    given.update({"self": owner, owner.orchestrator_name: owner})
    machine = getattr(record, "machine", None)
    if machine is not None:
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
