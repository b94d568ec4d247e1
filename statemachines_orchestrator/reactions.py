"""The decorators that subscribe methods, and the frozen values that they leave behind.

`on`, `on_enter` and `on_exit` subscribe to what is published, `when` to the states that several
machines are in together. Each decorates a method, or sends events in the place of one:
`on(...).send(...)`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs
from statemachine import Event, State

from statemachines_orchestrator._arguments import OF_EVENTS, check_arguments
from statemachines_orchestrator._binding import HOST_NAMES
from statemachines_orchestrator._engine import machine_of
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.clock import span_of
from statemachines_orchestrator.exceptions import NotAReactionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statemachine.transition_list import TransitionList

__all__ = [
    "RESERVED_NAMES",
    "SURFACE",
    "Asked",
    "Quantified",
    "Reaction",
    "Route",
    "Subscriber",
    "at_least",
    "check_condition",
    "every",
    "none",
    "on",
    "on_enter",
    "on_exit",
    "place",
    "reactions_of",
    "removed",
    "some",
    "timeout",
    "when",
]

_Method = TypeVar("_Method", bound=Callable[..., Any])
if TYPE_CHECKING:
    EventMember: TypeAlias = str | Event | TransitionList | tuple[str | Event | TransitionList, ...]
    StateMember: TypeAlias = str | State | tuple[str | State, ...]
    JoinMember: TypeAlias = "StateMember | Quantified"
    Condition: TypeAlias = Callable[..., Any] | str | None

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
"""The names that every orchestrator has, and that no field, reaction or signal may take."""

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

_MARK = "__reactions__"


class _Removed:
    """Takes an inherited reaction away: `name = removed`."""

    def __repr__(self) -> str:
        return "removed"


removed: Any = _Removed()
"""Assigned to the name of an inherited reaction, removes it from the subclass."""


@attrs.frozen
class Quantified:
    """How many members of a fleet must be in one of several states."""

    quantifier: str
    """`every`, `some`, `none` or `at_least`."""
    count: int
    """The number, of `at_least` alone."""
    states: tuple[str, ...]
    """The ids of the states."""


@attrs.frozen
class Asked:
    """One argument of a join: it holds if one of its states is active, or of enough members."""

    states: tuple[str, ...]
    """`machine.state`, as written."""
    quantifier: str | None = None
    """`every`, `some`, `none` or `at_least`, where the machines are members of a fleet."""
    count: int = 0
    """The number, of `at_least` alone."""

    @property
    def text(self) -> str:
        """The argument as it is told: `(payment.captured | payment.refunded)`."""
        states = " | ".join(self.states)
        if self.quantifier is None:
            return f"({states})" if len(self.states) > 1 else states
        count = f"{self.count}, " if self.quantifier == "at_least" else ""
        return f"{self.quantifier}({count}{states})"


@attrs.frozen
class Reaction:
    """One decorator on one method: what it subscribes to, and under which condition."""

    kind: str
    """`on`, `on_enter`, `on_exit`, `when` or `timeout`."""
    topics: tuple[str, ...]
    """The topics as written, in the order written, without the prefix of the kind."""
    members: tuple[tuple[str, str], ...]
    """The keyword spelling: (field, id of the event or state), in the order written."""
    cond: Any
    """A callable, the name of a method or attribute, or `None`."""
    where: str
    """The method in the user's source: `module.qualname (file, line)`."""
    asked: tuple[Asked, ...] = ()
    """What a join asks for; all of it."""
    seconds: float | str | None = None
    """The time of a timeout, or the name of the attribute or method that gives it."""
    repeat: bool = False
    """Whether a timeout runs again after each such time."""

    @property
    def prefix(self) -> str:
        """What stands before `machine.member` in the topics of this kind."""
        return {"on_enter": "enter:", "on_exit": "exit:"}.get(self.kind, "")

    def written(self) -> tuple[str, ...]:
        """Return every topic it names, once, in the order written: strings, then keywords."""
        spelled = [*self.topics, *(f"{field}.{member}" for field, member in self.members)]
        return tuple(
            dict.fromkeys(
                topic if topic.startswith(self.prefix) else self.prefix + topic for topic in spelled
            )
        )


@attrs.define(eq=False)
class Route:
    """A reaction without a body: it sends events. `on(...).send(...)` makes one."""

    reaction: Reaction
    targets: tuple[Any, ...]
    """Topics `machine.event`, or bound events."""
    kwargs: dict[str, Any]
    """The keyword arguments that win over the event's own."""
    if_enabled: bool
    """Whether a target that would refuse the event is skipped."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name of the reaction, and with it the place in the user's source."""
        at = self.reaction.where.partition(" ")[2]
        where = f"{owner.__module__}.{owner.__qualname__}.{name} {at}"
        self.reaction = attrs.evolve(self.reaction, where=where)

    @property
    def __reactions__(self) -> tuple[Reaction, ...]:
        return (self.reaction,)


def reactions_of(function: Any) -> tuple[Reaction, ...]:
    """Return the decorators' values on a method, in the order of the source."""
    marks: Any = getattr(function, _MARK, ())
    return marks if type(marks) is tuple else ()  # pyright: ignore[reportUnknownVariableType] - what has every attribute, a mock, is no reaction


class Subscriber:
    """What `on` and its kin return: it decorates a method, or sends events in its place."""

    def __init__(self, reaction: Reaction) -> None:
        self._reaction = reaction

    def lasting(self, seconds: float | str, repeat: bool) -> Subscriber:  # noqa: FBT001 - it is a fact
        """Return the same with the length of time of a timeout."""
        return Subscriber(attrs.evolve(self._reaction, seconds=seconds, repeat=repeat))

    def __call__(self, method: _Method) -> _Method:
        """Subscribe a method, which stays what it was.

        Raises `NotAReactionError` if it is no function.
        """
        kind, called_at = self._reaction.kind, self._reaction.where
        function: Any = method
        if not inspect.isfunction(function):
            raise NotAReactionError(
                called_at,
                f"@{kind} decorates {shown(method)}, which is no function",
                f"Put @{kind} on a method, below no staticmethod, classmethod or property",
            )
        reaction = attrs.evolve(self._reaction, where=place(method))
        setattr(method, _MARK, (reaction, *reactions_of(method)))
        return method

    def send(self, /, *targets: Any, if_enabled: bool = False, **kwargs: Any) -> Any:
        """Make a reaction without a body, as a class attribute.

            authorize = on("order.process").send("payment.authorize")

        When its turn comes it sends the event to each target, in the order given, to the members
        of a fleet in their order, and awaits it where a machine is async. A target is a topic
        `"machine.event"` or a bound event. The arguments of the event that it reacts to go along,
        and `kwargs` win over them; from a join and from `settled` there are none.
        With `if_enabled=True` a target is skipped that would refuse the event when its turn comes:
        its guards are asked with these arguments, its validators are not.

        A target that raises keeps the event from no other one. A signal of the domain is
        published, not sent. The rules of order, of overriding and of `removed` are those of a
        method.
        Raises `NotAReactionError` at once if a target is none, and `ReservedArgumentError` if no
        callback would get one of `kwargs`; `UnknownTopicError` when the class is defined if it has
        no such machine or event.
        """
        called_at = _caller(2)
        if not targets:
            problem = "send() names no event to send"
            raise NotAReactionError(called_at, problem, 'Write .send("machine.event")')
        for target in targets:
            if not isinstance(target, str) or (
                isinstance(target, Event) and machine_of(target) is None
            ):
                name = getattr(target, "id", "event")
                raise NotAReactionError(
                    called_at,
                    f"send() was given {shown(target)} where a topic or a bound event belongs",
                    f'Name the machine in a string: .send("machine.{name}")',
                )
        check_arguments(kwargs, OF_EVENTS, called_at)
        return Route(attrs.evolve(self._reaction, where=called_at), targets, kwargs, if_enabled)


def on(*topics: str, cond: Condition = None, **members: EventMember) -> Subscriber:
    """Subscribe a method to transitions: `@on("order.process")`, or `@on(order=Order.process)`.

    The method runs as a reaction: after the outermost machine call that led to it has come to
    rest, in the order of publication, once for each published topic that it names.
    Also `"order.*"` and `"*"` for any transition of a machine, of any machine,
    `"settled"` for the point of rest, and the name of a signal of the domain.
    `cond`, a callable or the name of a method or attribute, is asked when its turn comes.
    The method may be `async def`; an awaitable that it returns is awaited.
    The method itself stays what it was, and can be called and tested alone.

    Raises `NotAReactionError` at once if there is nothing to subscribe or to subscribe to, and
    when the class is defined for a topic of observers and a `cond` that cannot be asked;
    `UnknownTopicError` then if it has no such machine, event or signal.
    """
    return _subscriber("on", topics, members, cond)


def on_enter(*topics: str, cond: Condition = None, **members: StateMember) -> Subscriber:
    """Subscribe a method to a state being entered, at any level of a compound state.

    `@on_enter("order.shipped")`, or `@on_enter(order=Order.shipped)`.
    The rules of order, `cond` and the errors are those of `on`.
    """
    return _subscriber("on_enter", topics, members, cond)


def on_exit(*topics: str, cond: Condition = None, **members: StateMember) -> Subscriber:
    """Subscribe a method to a state being exited, at any level of a compound state.

    `@on_exit("order.pending")`, or `@on_exit(order=Order.pending)`.
    The rules of order, `cond` and the errors are those of `on`.
    """
    return _subscriber("on_exit", topics, members, cond)


def when(
    *states: str | tuple[str, ...], cond: Condition = None, **members: JoinMember
) -> Subscriber:
    """Subscribe a method to a join: several machines having come to be in certain states together.

    `@when("order.shipped", ("payment.captured", "payment.refunded"))`, or
    `@when(order="shipped", payment=(Payment.captured, Payment.refunded))`:
    all of its arguments, of a tuple any. For a fleet, how many of its members:
    `items=every("packed")`, and `some`, `none`, `at_least`.

    It is judged at rest, when nothing is queued any more, if one of its machines took a
    transition, or a member was put in or taken out; so what was true in the middle of a cascade
    only does not count. The method runs once for each time that the whole turns from false to
    true from one point of rest to the next. What is true when the orchestrator is built does not
    count. All joins that turn true at one rest are queued, in the order of declaration, before
    any of them runs, and the cascade goes on.
    `cond` is asked then, and not again: a no spends the turn.
    `record` is the last transition of one of its machines, and the method may ask for what a
    reaction to that may ask for. If only members came or went it is `None`, and there is nothing
    more: give these parameters defaults.

    Raises as `on` does; when the class is defined also `NotAReactionError`, for a fleet without
    a quantifier, a quantifier without a fleet, and a fleet inside of another.
    """
    called_at = _caller(2)
    asked: list[Asked] = []
    check_condition(cond, called_at)
    for argument in states:
        alternatives = _several(argument)
        _check_topics("when", alternatives, called_at)
        asked.append(Asked(alternatives))
    for field, value in members.items():
        if isinstance(value, Quantified):
            named = tuple(f"{field}.{state}" for state in value.states)
            asked.append(Asked(named, value.quantifier, value.count))
        else:
            ids = [_member_id("when", field, member, called_at) for member in _several(value)]
            asked.append(Asked(tuple(f"{field}.{state}" for state in ids)))
    if not asked or not all(one.states for one in asked):
        raise NotAReactionError(
            called_at, "@when() names no state", 'Write @when("machine.state", "other.state")'
        )
    return Subscriber(Reaction("when", (), (), cond, called_at, tuple(asked)))


def timeout(
    *states: str,
    seconds: float | timedelta | str | None = None,
    minutes: float | None = None,
    repeat: bool = False,
    cond: Condition = None,
    **members: StateMember,
) -> Subscriber:
    """Subscribe a method to a machine having been in a state for so long without leaving it.

        @timeout("order.processing", seconds=900)
        @timeout(order=Order.processing, minutes=15)

    `seconds` is a number, a `timedelta`, or the name of an attribute or method of the
    orchestrator that gives one, asked when the time begins; `minutes` is a number. Several states
    are each on their own. The time begins when the entry is committed, ends with the exit, and
    begins anew on re-entry. A state that is active when the orchestrator is built, or when a member
    is put into a fleet, begins its time then. With `repeat=True` the method runs again after
    each such time while the state lasts. In a fleet each member has its own time.

    A timer that comes due is an outermost call of its own, on the clock of the orchestrator.
    `cond` is asked then. `record` is an `Elapsed`; `machine`, `state`, `model` and `key` may be
    asked for. Nobody waits for it: a failure is announced under `failed:`, and told by the clock.

    Raises as `on` does, and `DurationError` if the time is none; when the class is defined also
    `NotAReactionError`, for a method that must have what only an event has, `event` or `source`.
    """
    called_at = _caller(2)
    spelled = [one for one in (seconds, minutes) if one is not None]
    if len(spelled) != 1:
        problem = "@timeout() needs one length of time"
        raise NotAReactionError(called_at, problem, "Give it seconds=... or minutes=...")
    subscriber = _subscriber("timeout", states, members, cond)
    if isinstance(seconds, str):
        return subscriber.lasting(seconds, repeat)
    if minutes is None:
        return subscriber.lasting(span_of(called_at, seconds), repeat)
    given: Any = minutes
    if isinstance(given, timedelta):
        problem = f"minutes={shown(given)} is no number"
        raise NotAReactionError(called_at, problem, "Give the timedelta to seconds=")
    return subscriber.lasting(span_of(called_at, 60 * span_of(called_at, minutes)), repeat)


def every(*states: str | State) -> Quantified:
    """Of a fleet in a join: every member is in one of `states`. An empty fleet does not count."""
    return _quantified("every", states)


def some(*states: str | State) -> Quantified:
    """Of a fleet in a join: at least one member is in one of `states`."""
    return _quantified("some", states)


def none(*states: str | State) -> Quantified:
    """Of a fleet in a join: no member is in one of `states`. An empty fleet does not count."""
    return _quantified("none", states)


def at_least(count: int, /, *states: str | State) -> Quantified:
    """Of a fleet in a join: `count` members or more are in one of `states`."""
    if type(count) is not int or count < 1:
        problem = f"at_least() was given {shown(count)} where a number of members belongs"
        raise NotAReactionError(_caller(2), problem, "Give a number from 1 on, then the states")
    return _quantified("at_least", states, count)


def _quantified(quantifier: str, states: tuple[Any, ...], count: int = 0) -> Quantified:
    called_at = _caller(3)
    ids = tuple(_member_id(quantifier, "", state, called_at) for state in states)
    if not ids:
        fix = f'Write {quantifier}({"3, " if count else ""}"state")'
        raise NotAReactionError(called_at, f"{quantifier}() names no state", fix)
    return Quantified(quantifier, count, ids)


def _subscriber(
    kind: str, topics: tuple[Any, ...], members: Mapping[str, Any], cond: Any
) -> Subscriber:
    called_at = _caller(3)
    check_condition(cond, called_at)
    _check_topics(kind, topics, called_at)
    if not topics and not any(map(_several, members.values())):
        raise NotAReactionError(
            called_at, f"@{kind}() names no topic", f'Write @{kind}("machine.member")'
        )
    pairs = tuple(
        (field, _member_id(kind, field, member, called_at))
        for field, value in members.items()
        for member in _several(value)
    )
    return Subscriber(Reaction(kind, topics, pairs, cond, called_at))


def check_condition(cond: Any, called_at: str) -> None:
    """Raise `NotAReactionError` if a condition is none."""
    if not (cond is None or callable(cond) or isinstance(cond, str)) or isinstance(cond, Event):
        raise NotAReactionError(
            called_at,
            f"cond={shown(cond)} is neither callable nor the name of a method or attribute",
            'A machine called cond is subscribed in the other spelling: "cond.member"',
        )


def _check_topics(kind: str, topics: tuple[Any, ...], called_at: str) -> None:
    if len(topics) == 1 and callable(topics[0]) and not isinstance(topics[0], str):
        raise NotAReactionError(
            place(topics[0]), f"@{kind} without a topic", f'Write @{kind}("machine.member")'
        )
    for topic in topics:
        if not isinstance(topic, str) or isinstance(topic, Event):
            raise NotAReactionError(
                called_at,
                f"@{kind} was given {shown(topic)} where a topic, a string, belongs",
                f'Write @{kind}("machine.member"), or name the machine: @{kind}(machine=...)',
            )


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


def _member_id(kind: str, field: str, member: Any, called_at: str) -> str:
    if isinstance(member, str):  # an Event is a string too: its id
        return str(getattr(member, "id", member)).partition(" ")[0]
    if isinstance(member, State) and kind != "on":
        return str(member.id)
    wanted = "an event" if kind == "on" else "a state"
    what = f"@{kind}({field}=...)" if field else f"{kind}()"
    fix = f"Give it {wanted} or its id"
    if isinstance(member, (list, set, frozenset)):
        fix = "Give it several in a tuple: (..., ...)"
    elif isinstance(member, Quantified) or any(
        member is one for one in (every, some, none, at_least)
    ):
        fix = "every() and its kin are called with states, stand alone, and only in @when"
    raise NotAReactionError(called_at, f"{what} was given {shown(member)}", fix)


def place(function: Any) -> str:
    """Return where a function stands in the user's source: `module.qualname (file, line)`."""
    if isinstance(function, Route):
        return function.reaction.where
    code = getattr(function, "__code__", None)
    name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    return (
        name if code is None else f"{name} ({_file(code.co_filename)}, line {code.co_firstlineno})"
    )


def _caller(depth: int) -> str:
    """Return the line in the user's source, `depth` frames up."""
    frame = sys._getframe(depth)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    module = frame.f_globals.get("__name__")
    return f"{module} ({_file(frame.f_code.co_filename)}, line {frame.f_lineno})"


def _file(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
