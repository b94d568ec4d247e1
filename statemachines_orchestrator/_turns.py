"""What waits in the queue of a cascade: the turns of reactions and of posted events."""

from __future__ import annotations

import asyncio
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._engine import here, joined, run_async_from_sync
from statemachines_orchestrator.exceptions import AsyncReactionError, NotAReactionError
from statemachines_orchestrator.records import Abandoned, Failed, Finished, Started, next_seq

if TYPE_CHECKING:
    from collections.abc import Callable

    from statemachines_orchestrator.records import Record

__all__ = ["Post", "ReactionTurn", "Subscription", "Turn", "in_running_loop"]

SKIPPED = object()
"""What a turn gives whose `cond` said no."""


class Turn:
    """A turn waits in a cascade's queue, and is the frame of the context while it runs."""

    __slots__ = ("cascade", "cause", "owner", "parent", "seq")

    cascade: Any
    cause: int | None
    """The `seq` of the record it reacts to, or of where it was posted."""
    owner: Any
    """The orchestrator."""
    parent: Turn | None
    """The turn that led to this one, kept only while a runaway is looked for."""
    seq: int | None
    """The `seq` of its `Started`."""
    name: str
    """Its name in records: the reaction, or the posted topic."""
    label: str
    """Its name in errors: `Shop.capture`, or the posted topic."""
    topic: str
    """The topic that brought it about."""
    record: Record | None

    def __init__(self, owner: Any, cause: int | None) -> None:
        self.owner = owner
        self.cause = cause
        self.parent = None
        self.seq = None

    @property
    def root(self) -> Any:
        """The cascade itself runs the machines that a turn calls."""
        return self.cascade

    @property
    def must_be_awaited(self) -> bool:
        """Whether it is known beforehand that the turn must be awaited."""
        raise NotImplementedError

    def allowed(self) -> bool:
        """Whether the turn's condition, if it has one, holds now."""
        return True

    def call(self) -> Any:
        """Run the reaction, or send the event; the result may have to be awaited."""
        raise NotImplementedError

    def begin(self) -> Any:
        """Begin the turn: become the frame, ask the condition, announce, call."""
        here.set(self)
        self.seq = next_seq()
        try:
            if not self.allowed():
                return SKIPPED
        except Exception:
            self.announce("started", self._started)
            raise
        self.announce("started", self._started)
        return self.call()

    def run_to_end(self) -> Any:
        """Run the turn where nobody can await it: in an event loop of our own, if none is running."""
        if self.must_be_awaited and in_running_loop():
            self.seq = self.cause
            raise AsyncReactionError(self.label, self.topic)
        result = self.begin()
        if not isawaitable(result):
            return result
        if in_running_loop():
            if iscoroutine(result):
                result.close()
            raise AsyncReactionError(self.label, self.topic)
        return run_async_from_sync(result)

    def _started(self) -> Started:
        return Started(seq=self.seq, cause=self.cause, name=self.name, topic=self.topic)

    def finished(self, result: Any) -> None:
        """Announce that the turn ended well."""
        if result is not SKIPPED:
            seq = next_seq()
            self.announce(
                "finished",
                lambda: Finished(seq=seq, cause=self.seq, name=self.name, result=result),
            )

    def failed(self, error: Exception) -> None:
        """Announce that the turn raised."""
        seq = next_seq()
        self.announce(
            "failed", lambda: Failed(seq=seq, cause=self.seq, name=self.name, exception=error)
        )

    def abandoned(self) -> None:
        """Announce that the turn will not come."""
        seq = next_seq()
        self.announce("abandoned", lambda: Abandoned(seq=seq, cause=self.cause, name=self.name))

    def announce(self, kind: str, build: Callable[[], Record]) -> None:
        """Publish a record of the turn, if anybody ever asked for its kind."""
        bus = self.owner.bus
        if kind in bus.kinds:
            bus.publish((f"{kind}:{self.name}", f"{kind}:*"), self.owner, build)


class Subscription:
    """A reaction of one orchestrator to one topic: the receiver that queues its turns."""

    __slots__ = ("call", "cond", "enqueue", "is_async", "label", "name", "owner", "topic", "where")

    def __init__(self, owner: Any, plan: Any, topic: str, enqueue: Callable[[Turn], None]) -> None:
        self.owner = owner
        self.topic = topic
        self.enqueue = enqueue
        self.name: str = plan.name
        self.label: str = plan.label
        self.call: Callable[[Any, Any], Any] = plan.call
        self.cond: Callable[[Any, Any], Any] | None = plan.cond
        self.is_async: bool = plan.is_async
        self.where: str = plan.reaction.where

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, _sender: Any, *, record: Record) -> None:
        """Queue a turn on the current cascade."""
        self.enqueue(ReactionTurn(self, record))


class ReactionTurn(Turn):
    """The turn of a reaction to one record."""

    __slots__ = ("record", "subscription")

    def __init__(self, subscription: Subscription, record: Record) -> None:
        super().__init__(subscription.owner, record.seq)
        self.subscription = subscription
        self.record = record

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.subscription.name

    @property
    def label(self) -> str:  # type: ignore[override]
        return self.subscription.label

    @property
    def topic(self) -> str:  # type: ignore[override]
        return self.subscription.topic

    @property
    def must_be_awaited(self) -> bool:
        return self.subscription.is_async

    def allowed(self) -> bool:
        cond = self.subscription.cond
        if cond is None:
            return True
        answer = cond(self.owner, self.record)
        if isawaitable(answer):
            if iscoroutine(answer):
                answer.close()
            raise NotAReactionError(
                self.subscription.where, "cond= gave an awaitable", "Make it answer at once"
            )
        return bool(answer)

    def call(self) -> Any:
        return self.subscription.call(self.owner, self.record)


class Post(Turn):
    """The turn of a posted event."""

    __slots__ = ("args", "event", "is_async", "kwargs", "machine", "name")

    record = None

    def __init__(
        self,
        owner: Any,
        topic: str,
        machine: Any,
        event: str,
        args: Any,
        kwargs: Any,
        *,
        is_async: bool,
    ) -> None:
        frame = here.get()
        super().__init__(owner, None if joined(frame) is None else frame.seq)
        self.name = topic
        self.machine = machine
        self.event = event
        self.args = args
        self.kwargs = kwargs
        self.is_async = is_async

    @property
    def label(self) -> str:  # type: ignore[override]
        return self.name

    topic = label  # type: ignore[assignment]

    @property
    def must_be_awaited(self) -> bool:
        return self.is_async

    def call(self) -> Any:
        return self.machine.send(self.event, *self.args, **self.kwargs)


def in_running_loop() -> bool:
    """Whether the current thread is running an event loop now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
