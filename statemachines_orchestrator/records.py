"""What happened, as frozen values.

A record says that one thing took place.
Every record has a `seq`, its place in one count of the whole process,
and a `cause`, the `seq` of what led to it.
Observers, reactions, tests and instruments read records, and nothing else.

Live objects (`machine`, `transition`, `source`, `target`) travel in a record for its receivers.
They take no part in comparing, hashing, printing and pickling: there a state stands by its id.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from statemachine import State
    from statemachine.transition import Transition

__all__ = [
    "Abandoned",
    "Elapsed",
    "Failed",
    "Finished",
    "Ignored",
    "Published",
    "Record",
    "Sent",
    "Settled",
    "Started",
    "Transitioned",
]

next_seq = count(1).__next__
"""Counts everything that happens in the process, whether or not a record of it is built."""


def _id(state: Any) -> str | None:
    """Return the id by which a state compares, prints and pickles."""
    return None if state is None else f"{getattr(state, 'id', state)}"


def _facts_of(exception: BaseException) -> tuple[type, str]:
    """Return what makes two exceptions tell the same, since exceptions compare by identity."""
    return type(exception), str(exception)


def _repr_of(state: Any) -> str:
    return repr(_id(state))


def _plain(value: str | None) -> str:
    return repr(None if value is None else str(value))


def _state_field() -> Any:
    return attrs.field(eq=_id, hash=False, repr=_repr_of)  # pyright: ignore[reportUnknownVariableType] - attrs overloads it


def _live_field() -> Any:
    return attrs.field(default=None, eq=False, hash=False, repr=False)


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Record:
    """One thing that happened."""

    seq: int
    """The place of the record in the one count of the process."""
    cause: int | None
    """The `seq` of the record that led to this one; `None` for a call from outside."""
    path: tuple[Hashable, ...] = ()
    """Where it happened: the names and fleet keys from the outermost holder to the machine,
    or to the orchestrator whose reaction, signal or rest it is; that of the outermost is empty."""
    keys: tuple[Hashable, ...] = attrs.field(default=(), repr=False)
    """The fleet keys along the path."""

    @property
    def key(self) -> Any:
        """The last of the fleet keys, that of the member itself; `None` outside of fleets."""
        return self.keys[-1] if self.keys else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the live objects behind: states by id, events as plain strings, no machine."""
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        for name in ("source", "target", "state"):
            if name in state:
                state[name] = _id(state[name])
        for name in ("machine", "transition"):
            if name in state:
                state[name] = None
        if state.get("event") is not None:
            state["event"] = str(state["event"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the fields of a frozen value."""
        for name, value in state.items():
            object.__setattr__(self, name, value)


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Sent(Record):
    """An event was put on a machine.

    Its cause is the `Started` of the reaction that sent it,
    or the `Sent` of the step whose callback made the direct call.
    """

    machine_name: str
    """The field that holds the machine."""
    event: str = attrs.field(repr=_plain)
    """The name of the event."""
    args: tuple[Any, ...] = attrs.field(hash=False)
    """The event's positional arguments."""
    kwargs: Mapping[str, Any] = attrs.field(hash=False)
    """The event's keyword arguments, without the orchestrator."""
    machine: Any = _live_field()  # noqa: RUF009 - it returns an attrs field
    """The machine itself."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Transitioned(Record):
    """A transition took place: it is committed. Its cause is its `Sent`."""

    machine_name: str
    """The field that holds the machine."""
    event: str | None = attrs.field(repr=_plain)
    """The name of the event, `None` for an eventless transition."""
    source: State | str | None = _state_field()  # noqa: RUF009 - it returns an attrs field
    """The state that the transition leaves."""
    target: State | str | None = _state_field()  # noqa: RUF009 - it returns an attrs field
    """The state that it leads to, `None` for a transition without a target."""
    args: tuple[Any, ...] = attrs.field(hash=False)
    """The event's positional arguments."""
    kwargs: Mapping[str, Any] = attrs.field(hash=False)
    """The event's keyword arguments, without the orchestrator."""
    exited: tuple[str, ...]
    """The ids of the states that were exited, innermost first."""
    entered: tuple[str, ...]
    """The ids of the states that were entered, outermost first."""
    machine: Any = _live_field()  # noqa: RUF009 - it returns an attrs field
    """The machine itself."""
    transition: Transition | None = _live_field()  # noqa: RUF009 - it returns an attrs field
    """The host's transition."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Ignored(Record):
    """An event enabled no transition, on a machine that allows that. Its cause is its `Sent`.

    Judged where the host selects transitions; an event that raises there is not ignored.
    An `error.execution` that nothing handles is ignored too, with its error in `kwargs`;
    what the host sends itself when a state or an invocation is done is not announced.
    """

    machine_name: str
    """The field that holds the machine."""
    event: str = attrs.field(repr=_plain)
    """The name of the event."""
    args: tuple[Any, ...] = attrs.field(hash=False)
    """The event's positional arguments."""
    kwargs: Mapping[str, Any] = attrs.field(hash=False)
    """The event's keyword arguments, without the orchestrator."""
    machine: Any = _live_field()  # noqa: RUF009 - it returns an attrs field
    """The machine itself."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Published(Record):
    """A signal of the domain was published.

    Its cause is the `Started` of the reaction, or the `Sent` of the step, that published it.
    """

    name: str
    """The name of the signal."""
    kwargs: Mapping[str, Any] = attrs.field(hash=False)
    """What was published with it."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Started(Record):
    """A reaction's or a posted event's turn began.

    Its cause is the record it reacts to; of a post the turn or step that posted it; of a join
    what moved last.
    """

    name: str
    """The name of the reaction, or the posted topic."""
    topic: str
    """The topic that brought the turn about."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Finished(Record):
    """A turn ended well. Its cause is its `Started`."""

    name: str
    """The name of the reaction, or the posted topic."""
    result: Any = attrs.field(hash=False)
    """What the reaction, or the event, returned."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Failed(Record):
    """A reaction, a posted event or an observer raised.

    The cause is the turn's `Started`; for a turn that was refused before it began, and for a join
    whose `cond` raised, the record that it reacts to; for an observer, the one it was called with.
    """

    name: str
    """The name of the reaction or of the observer, or the posted topic."""
    exception: BaseException = attrs.field(eq=_facts_of, hash=False)
    """What it raised."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Abandoned(Record):
    """A queued reaction or event will not run: the cascade was stopped, or the step that queued it.

    The cause is the record that it would have reacted to, where it was posted, or its `Sent`.
    """

    name: str
    """The name of the reaction, the posted topic, or the event that was sent: its path is then that
    of the machine, and its sender the machine."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Elapsed(Record):
    """A timer came due. Its cause is what started it: a transition, or where it was posted."""

    name: str
    """The name of the reaction, or the posted topic."""
    topic: str
    """What it waited for: `timeout:order.processing`, or the posted topic."""
    due: float
    """The time of the orchestrator's clock, in seconds, for which it was set."""
    state: State | str | None = _state_field()  # noqa: RUF009 - it returns an attrs field
    """The state that lasted so long; `None` of a posted event."""
    machine: Any = _live_field()  # noqa: RUF009 - it returns an attrs field
    """The machine in that state."""


@attrs.frozen(kw_only=True, getstate_setstate=False)
class Settled(Record):
    """A cascade came to rest. Its cause is the last transition or signal of the domain in it."""

    reactions: int
    """How many turns had come until then: of reactions, even if `cond` said no, and of posts.
    A join whose `cond` said no has none."""
    failures: int
    """How many of its reactions, posts and observers had failed until then."""
