"""OpenTelemetry: a span for each call from outside, each transition and each reaction.

    stop = instrument(shop)

It needs the extra `otel`, the API of OpenTelemetry; the SDK is the application's.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any

import attrs

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import Link, Status, StatusCode
except ImportError as error:
    message = (
        "statemachines_orchestrator.otel needs the API of OpenTelemetry. Install the extra: "
        "statemachines-orchestrator[otel]; and opentelemetry-sdk, to export spans"
    )
    raise ImportError(message) from error

from statemachines_orchestrator._event_loops import current_task
from statemachines_orchestrator._observing import observe
from statemachines_orchestrator._telling import fields_of, machine_of_record, named, told_in_a_line
from statemachines_orchestrator.records import (
    Abandoned,
    Elapsed,
    Failed,
    Finished,
    Ignored,
    Published,
    Sent,
    Started,
    Transitioned,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    from statemachines_orchestrator.orchestrator import Orchestrator
    from statemachines_orchestrator.records import Record

__all__ = ["instrument"]

NAME = "statemachines_orchestrator"
_KEPT = 10_000
"""So many records are remembered as causes, those longest that were asked for last;
what came before is taken for a call from outside."""
_OPEN = 1_000
"""So many cascades may be open at once; of more, the oldest ends."""


def instrument(
    orchestrator: Orchestrator, tracer_provider: TracerProvider | None = None
) -> Callable[[], None]:
    """Turn each cascade into a trace of OpenTelemetry, and return the call that ends it.

    A call from outside, or a timer that came due, is a span; its parent is the span that is current
    where the call is made, and it ends when the cascade has come to rest. Below it stand, each
    below its cause, a span for each transition, from the sending of the event on, and for each
    reaction, from its start to its end. What failed is recorded as an exception.
    The span of a timer has a link to that of what set it.
    An event that nothing came of, since it was refused or abandoned, has no span. A call that was
    stopped, by a `BaseException` say, ends its spans with the next call from the same thread and
    task.

    `tracer_provider` is by default the global one. Attributes, where there is something to tell:
    `statemachine.machine`, `.event`, `.source`, `.target`, `.reaction`, `.topic`, `.seq`, `.cause`.
    Raises `DeclarationError` for what is no orchestrator.
    """
    spans = _Spans(trace.get_tracer(NAME, tracer_provider=tracer_provider))
    return observe(orchestrator, spans.hear, "instrument()")


@attrs.define
class _Event:
    """An event that was sent, or a timer that came due; it has spans if something comes of it."""

    record: Sent | Elapsed
    at: int
    """In nanoseconds since the epoch."""
    caller: Any
    """The context of the caller, for a call from outside."""
    root: Any = None


@attrs.define
class _Cascade:
    """The span of a call from outside, and those below it that have not ended."""

    span: Any
    where: Any
    """The thread and the task of the caller, whose next call begins when this one is over."""
    open: dict[int, Any] = attrs.Factory(dict[int, Any])
    turns: set[int | None] = attrs.Factory(set[Any])
    """Those of them that are of reactions."""
    settles: bool = False
    """Whether something was announced, so that it will be said when it is at rest."""
    is_over: bool = False

    def end(self, now: int) -> None:
        """End everything, once."""
        for span in reversed(self.open.values()):
            span.end(now)
        self.open.clear()
        if not self.is_over:
            self.is_over = True
            self.span.end(now)

    def rest(self, now: int) -> None:
        """End, if nothing is open, and nobody will say that it is at rest."""
        if not self.open and not self.settles:
            self.end(now)


class _Spans:
    """What led to what, as far as it is needed for the parents of spans."""

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer
        self.known: OrderedDict[int | None, tuple[Any, _Cascade]] = OrderedDict()
        """By `seq`, the span below which what it causes stands, and its cascade."""
        self.events: OrderedDict[int, _Event] = OrderedDict()
        """By `seq`, what was sent."""
        self.cascades: OrderedDict[int, _Cascade] = OrderedDict()
        """Those that have not ended, and those of which nobody said that they have."""
        self.early: OrderedDict[int | None, list[tuple[Failed, int]]] = OrderedDict()
        """By their cause, failures of observers that were called before we were."""

    def hear(self, _sender: Any, *, record: Record) -> None:
        """Take one record."""
        now = time.time_ns()
        if isinstance(record, Failed) and not self.is_known(record.cause):
            _remember(self.early, record.cause, [*self.early.get(record.cause, ()), (record, now)])
        elif isinstance(record, (Sent, Elapsed)):
            self.sent(record, now)
        elif isinstance(record, (Transitioned, Ignored)):
            self.taken(record, now)
        elif isinstance(record, (Started, Published)):
            self.started(record, now)
        elif isinstance(record, (Finished, Failed, Abandoned)):
            self.ended(record, now)
        else:
            self.settled(record, now)
        for failed, at in self.early.pop(record.seq, ()):
            self.ended(failed, at)

    def is_known(self, cause: Any) -> bool:
        """Whether a cause is remembered; then it is for some while longer."""
        kept: tuple[OrderedDict[Any, Any], ...] = (self.known, self.events)
        for known in kept:
            with suppress(KeyError):
                known.move_to_end(cause)
                return True
        return False

    def cascade_of(self, span: Any, seq: int, now: int) -> _Cascade:
        """Return a cascade for the span of a call from outside."""
        where = _where()
        for other, known in list(self.cascades.items()):
            if known.where == where or known.is_over or len(self.cascades) > _OPEN:
                self.cascades.pop(other, None)
                known.end(now)
        cascade = self.cascades[seq] = _Cascade(span, where)
        return cascade

    def sent(self, record: Sent | Elapsed, now: int) -> None:
        """Remember an event."""
        is_outside = isinstance(record, Elapsed) or not self.is_known(record.cause)
        caller = context.get_current() if is_outside else None
        _remember(self.events, record.seq, _Event(record, now, caller))

    def below(self, record: Record, now: int) -> tuple[Any, _Cascade]:
        """Return the span of what led to a record, and its cascade: a new one, if it is unknown."""
        cause = record.cause
        if not self.is_known(cause):
            span = self.tracer.start_span("cascade", start_time=now)
            return span, self.cascade_of(span, record.seq, now)
        return self.known[cause] if cause in self.known else self.step_of(self.events[cause or 0])

    def step_of(self, event: _Event) -> tuple[Any, _Cascade]:
        """Return the span of the step that takes an event; it begins with the sending."""
        record = event.record
        if event.caller is not None and event.root is None:
            told = record.topic if isinstance(record, Elapsed) else _event_of(record)
            led = self.known.get(record.cause)
            span = self.tracer.start_span(
                told,
                context=event.caller,
                start_time=event.at,
                attributes=_facts(record),
                links=[] if led is None else [Link(led[0].get_span_context())],
            )
            event.root = self.cascade_of(span, record.seq, event.at)
        if isinstance(record, Elapsed):
            found = event.root.span, event.root
        else:
            parent, cascade = (
                self.below(record, event.at)
                if event.root is None
                else (event.root.span, event.root)
            )
            found = self.begun(parent, cascade, record, _event_of(record), event.at), cascade
        _remember(self.known, record.seq, found)
        return found

    def begun(self, parent: Any, cascade: _Cascade, record: Record, name: str, at: int) -> Any:
        """Begin a span below another one."""
        span = self.tracer.start_span(
            name,
            context=trace.set_span_in_context(parent),
            start_time=at,
            attributes=_facts(record),
        )
        cascade.open[record.seq] = span
        return span

    def taken(self, record: Transitioned | Ignored, now: int) -> None:
        """End the step of an event: it was taken, or ignored."""
        span, cascade = self.below(record, now)
        step = cascade.open.pop(record.cause or 0, None)
        if step is None:  # one transition more of the same step
            step = self.begun(span, cascade, record, told_in_a_line(record), now)
            cascade.open.pop(record.seq)
        step.set_attributes(_facts(record))
        if isinstance(record, Ignored):
            step.add_event("ignored", timestamp=now)
        else:
            step.update_name(told_in_a_line(record))
        step.end(now)
        _remember(self.known, record.seq, (step, cascade))
        cascade.settles = cascade.settles or isinstance(record, Transitioned)
        cascade.rest(now)

    def started(self, record: Started | Published, now: int) -> None:
        """Begin the span of a reaction; a signal of the domain is an event of a span."""
        parent, cascade = self.below(record, now)
        span = parent
        if isinstance(record, Started):
            span = self.begun(parent, cascade, record, named(record), now)
            cascade.turns.add(record.seq)
        else:
            cascade.settles = True
            parent.add_event(f"signal {named(record)}", timestamp=now)
        _remember(self.known, record.seq, (span, cascade))

    def ended(self, record: Finished | Failed | Abandoned, now: int) -> None:
        """End the span of a reaction; what failed outside of one has a span of its own."""
        if isinstance(record, Abandoned) and self.is_of_event(record):
            return  # nothing came of it
        parent, cascade = self.below(record, now)
        span = None
        if record.cause in cascade.turns and not isinstance(record, Abandoned):
            span = cascade.open.pop(record.cause or 0, None)
            cascade.turns.discard(record.cause)
        if span is None:
            span = self.begun(parent, cascade, record, named(record), now)
            cascade.open.pop(record.seq)
        if isinstance(record, Failed):
            span.record_exception(record.exception, timestamp=now)
            span.set_status(Status(StatusCode.ERROR, str(record.exception)))
        elif isinstance(record, Abandoned):
            span.set_status(Status(StatusCode.ERROR, "abandoned"))
            cascade.settles = False  # it was stopped
        span.end(now)
        cascade.rest(now)

    def is_of_event(self, record: Abandoned) -> bool:
        """Whether an event was abandoned that was sent, and no turn of a cascade."""
        event = self.events.get(record.cause or 0)
        sent = None if event is None else event.record
        return isinstance(sent, Sent) and (record.path, record.name) == (sent.path, sent.event)

    def settled(self, record: Any, now: int) -> None:
        """End the span of the call from outside, and what is open below it."""
        _span, cascade = self.below(record, now)
        if record.failures and not cascade.is_over:
            problem = f"{record.failures} failures"
            cascade.span.set_status(Status(StatusCode.ERROR, problem))
        cascade.end(now)
        _remember(self.known, record.seq, (cascade.span, cascade))


def _remember(known: OrderedDict[Any, Any], seq: int | None, value: Any) -> None:
    known[seq] = value
    while len(known) > _KEPT:
        known.popitem(last=False)


def _where() -> tuple[int, Any]:
    """Return the thread and the task that run."""
    task = current_task()
    return get_ident(), None if task is None else id(task)


def _event_of(record: Sent) -> str:
    return f"{machine_of_record(record)}.{record.event}"


def _facts(record: Record) -> dict[str, Any]:
    """Return the attributes of a span: what the record tells."""
    fields = fields_of(record).items()
    return {f"statemachine.{name}": value for name, value in fields if value is not None}
