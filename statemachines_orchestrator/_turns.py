"""What waits in the queue of a cascade: the turns of reactions and of posted events."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from statemachines_orchestrator._engine import withdraw
from statemachines_orchestrator._event_loops import in_running_loop, run_async_from_sync
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator._members import machines_below
from statemachines_orchestrator.exceptions import (
    AsyncReactionError,
    NotAReactionError,
    ReactionErrors,
)
from statemachines_orchestrator.records import Abandoned, Failed, Finished, Started, next_seq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator._sending import Address, Target
    from statemachines_orchestrator.records import Record

__all__ = ["Post", "ReactionTurn", "Subscription", "Trail", "Turn"]

Trail: TypeAlias = "tuple[str, str, Trail | None]"
"""Topic and label of a turn, and the trail behind it. It keeps no turn alive."""

SKIPPED = object()
"""What a turn gives whose `cond` said no."""


class Turn:
    """A turn waits in a cascade's queue, and is the frame of the context while it runs."""

    __slots__ = ("cascade", "owner", "place", "seq", "trail")

    def __init__(self, place: Place) -> None:
        self.owner = place.owner
        """The orchestrator."""
        self.place = place
        self.cascade: Any = None
        self.seq: Any = None
        """The `seq` of its `Started`, `None` before; of what led to it, if it never starts."""
        self.trail: Trail | None = None
        """What led to it, as far back as is kept: by that a runaway is known."""

    def as_trail(self) -> Trail:
        """Return the trail of what this turn leads to."""
        return self.topic, self.label, self.trail

    @property
    def goes_first(self) -> bool:
        """Whether it was queued in front of turns that were there before."""
        return False

    @property
    def root(self) -> Any:
        """The cascade itself runs the machines that a turn calls."""
        return self.cascade

    def reopened(self) -> None:
        """Return no cascade: when its cascade has closed, the turn is over."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in records: the reaction, or the posted topic."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Its name in errors: `Shop.capture`, or the posted topic."""

    @property
    @abstractmethod
    def topic(self) -> str:
        """The topic that brought it about."""

    @property
    @abstractmethod
    def cause(self) -> int | None:
        """The `seq` of the record it reacts to, or of where it was posted."""

    @property
    @abstractmethod
    def must_be_awaited(self) -> bool:
        """Whether it is known beforehand that the turn must be awaited."""

    @property
    def record(self) -> Record | None:
        """The record it reacts to, `None` for a post."""
        return None

    def parts_of(self, error: Exception) -> list[tuple[str, Exception]]:
        """Return whose failure it is: that of the turn, or of each of several machines."""
        return [(self.label, error)]

    def allowed(self) -> bool:
        """Whether the turn's condition, if it has one, holds now."""
        return True

    @abstractmethod
    def call(self) -> Any:
        """Run the reaction, or send the event; the result may have to be awaited."""

    def begin(self) -> Any:
        """Begin the turn: become the frame, ask the condition, announce, call."""
        here.set(self)
        self.seq = next_seq()
        try:
            if not self.allowed():
                return SKIPPED
        except Exception:
            self._announce_started()
            raise
        self._announce_started()
        return self.call()

    def run_to_end(self) -> Any:
        """Run the turn where nobody can await it: in a loop of our own, if none is running."""
        if self.must_be_awaited and in_running_loop():
            self.seq = self.cause  # it never starts: what led to it is the cause of its `Failed`
            raise AsyncReactionError(self.label, self.topic)
        result = self.begin()
        if result is None or not isawaitable(result):
            return result
        if in_running_loop():
            self._withdraw(result)
            raise AsyncReactionError(self.label, self.topic)
        return run_async_from_sync(result)

    def _withdraw(self, result: Any) -> None:
        """Take back an event that was sent to an async machine and that nobody can await."""
        if not iscoroutine(result):
            return
        for _path, _name, machine in machines_below(self.owner):
            withdraw(machine, result)
        result.close()

    def finished(self, result: Any) -> None:
        """Announce that the turn ended well."""
        if result is not SKIPPED:
            seq = next_seq()
            if self.place.is_asked_for("finished"):
                self.announce("finished", Finished, seq, self.seq, result=result)

    def failed(self, error: Exception) -> None:
        """Announce that the turn raised."""
        self.announce("failed", Failed, next_seq(), self.seq, exception=error)

    def abandoned(self) -> None:
        """Announce that the turn will not come."""
        self.announce("abandoned", Abandoned, next_seq(), self.cause)

    def announce(
        self, kind: str, record_class: Any, seq: int, cause: int | None, **facts: Any
    ) -> None:
        """Publish a record of the turn, if anybody ever asked for its kind."""
        place = self.place
        if place.is_asked_for(kind):  # before anything is built for nobody
            build = partial(
                record_class,
                seq=seq,
                cause=cause,
                path=place.path,
                keys=place.keys,
                name=self.name,
                **facts,
            )
            place.publish(f"{kind}:", self.name, self.owner, build)

    def _announce_started(self) -> None:
        if self.place.is_asked_for("started"):  # before its topic and cause are, for nobody
            self.announce("started", Started, self.seq, self.cause, topic=self.topic)


class Subscription:
    """A reaction of one orchestrator to one topic: the receiver that queues its turns."""

    __slots__ = ("enqueue", "place", "plan", "topic")

    def __init__(
        self, place: Place, plan: Any, topic: str, enqueue: Callable[[Turn], None]
    ) -> None:
        self.place = place
        self.plan = plan
        self.topic = topic
        self.enqueue = enqueue

    @property
    def __name__(self) -> str:
        return str(self.plan.name)

    def __call__(self, _sender: Any, *, record: Record) -> None:
        """Queue a turn on the current cascade."""
        self.enqueue(ReactionTurn(self.place, self.plan, self.topic, record))


class ReactionTurn(Turn):
    """The turn of a reaction to one record."""

    __slots__ = ("_record", "_topic", "plan")

    def __init__(self, place: Place, plan: Any, topic: str, record: Record | None) -> None:
        super().__init__(place)
        self.plan = plan
        self._topic = topic
        self._record = record

    @property
    def name(self) -> str:
        """The name of the method."""
        return str(self.plan.name)

    @property
    def label(self) -> str:
        """The name of the method with that of the class."""
        return str(self.plan.label)

    @property
    def topic(self) -> str:
        """The topic that it reacts to."""
        return self._topic

    @property
    def record(self) -> Record | None:
        """The record that it reacts to; `None` for a join whose members only came or went."""
        return self._record

    def as_trail(self) -> Trail:
        """Return the trail of what this turn leads to."""
        return self._topic, self.plan.label, self.trail

    @property
    def cause(self) -> int | None:
        """The record that it reacts to."""
        return None if self._record is None else self._record.seq

    @property
    def must_be_awaited(self) -> bool:
        """Whether the reaction is an `async def`, or a route to an async machine."""
        plan = self.plan
        return bool(plan.is_async or (plan.route and plan.route.must_be_awaited(self.owner)))

    def allowed(self) -> bool:
        """Whether its `cond` holds now."""
        cond = self.plan.cond
        if cond is None:
            return True
        answer = cond(self.owner, self.record)
        if isawaitable(answer):
            if iscoroutine(answer):
                answer.close()
            where = self.plan.reaction.where
            raise NotAReactionError(where, "cond= gave an awaitable", "Make it answer at once")
        return bool(answer)

    def parts_of(self, error: Exception) -> list[tuple[str, Exception]]:
        """Return whose failure it is: of a route to several machines, each with its own."""
        if self.plan.route is None:
            return super().parts_of(error)
        return _parts(error, self.label, f"{self.label}, ")

    def call(self) -> Any:
        """Run the reaction."""
        return self.plan.call(self.owner, self._record)


class Post(Turn):
    """The turn of a posted event.

    With `if_enabled` it is a broadcast's, to a machine that was in mid-step: it goes first.
    """

    __slots__ = ("_cause", "address", "args", "if_enabled", "kwargs")

    def __init__(  # noqa: PLR0913 - the facts of a post
        self,
        place: Place,
        address: Address | Target,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        if_enabled: bool = False,
        cause: int | None = None,
    ) -> None:
        super().__init__(place)
        frame = here.get()
        self._cause = cause if cause is not None or joined(frame) is None else frame.seq
        self.address = address
        self.args = args
        self.kwargs = kwargs
        self.if_enabled = if_enabled

    @property
    def name(self) -> str:
        """The posted topic."""
        return self.address.topic

    @property
    def label(self) -> str:
        """The posted topic."""
        return self.address.topic

    @property
    def topic(self) -> str:
        """The posted topic."""
        return self.address.topic

    @property
    def cause(self) -> int | None:
        """The turn or step that posted it."""
        return self._cause

    @property
    def goes_first(self) -> bool:
        """Whether it was queued in front of turns that were there before."""
        return self.if_enabled

    @property
    def must_be_awaited(self) -> bool:
        """Whether the machine, or one of them, is async."""
        return self.address.must_be_awaited

    def parts_of(self, error: Exception) -> list[tuple[str, Exception]]:
        """Return whose failure it is: of a post to several machines, each with its own."""
        return _parts(error, self.label, "")

    def call(self) -> Any:
        """Send the event."""
        return self.address.send(self.args, self.kwargs, if_enabled=self.if_enabled)


def _parts(error: Exception, label: str, prefix: str) -> list[tuple[str, Exception]]:
    """Return the failures of several machines, each with its own name; or else the one there is."""
    failures = error.failures if isinstance(error, ReactionErrors) else ()
    return [(prefix + one.reaction, one.exception) for one in failures] or [(label, error)]
