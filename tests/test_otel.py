"""OpenTelemetry: a cascade is a trace, and the parent of each span is its cause."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import awaited, needs_3
from statemachine import State, StateMachine
from test_logs import Payment, Shop, shop_of

from statemachines_orchestrator import (
    Orchestrator,
    ReactionErrors,
    VirtualClock,
    on,
    timeout,
    use_clock,
)

if TYPE_CHECKING:
    from conftest import Engine

pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)

from statemachines_orchestrator import otel


@attrs.define
class Spans:
    """What was exported."""

    exporter: Any
    provider: Any

    def tree(self) -> list[str]:
        """Return the names of spans, indented below their parents, in the order of their start."""
        spans = self.exporter.get_finished_spans()
        below: dict[Any, list[Any]] = {}
        known = {span.context.span_id for span in spans}
        for span in sorted(spans, key=lambda span: span.attributes.get("statemachine.seq", 0)):
            parent = span.parent.span_id if span.parent is not None else None
            below.setdefault(parent if parent in known else None, []).append(span)

        def lines(parent: Any, level: int) -> list[str]:
            return [
                line
                for span in below.get(parent, ())
                for line in [
                    "  " * level + self.told(span),
                    *lines(span.context.span_id, level + 1),
                ]
            ]

        return lines(None, 0)

    def told(self, span: Any) -> str:
        """Return the name, what happened in it, and whether it failed."""
        events = [event.name for event in span.events]
        wrong = ["ERROR"] if span.status.description else []
        return " ".join([span.name, *(f"[{name}]" for name in events), *wrong])

    def named(self, name: str) -> Any:
        """Return the first span of a name."""
        return next(span for span in self.exporter.get_finished_spans() if span.name == name)


@pytest.fixture
def spans() -> Spans:
    """Return an exporter in memory, and its provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(exporter, provider)


def test_a_cascade_is_a_trace(engine: Engine, spans: Spans) -> None:
    """A span for the call from outside, each transition, each reaction; the parent is the cause."""
    shop = shop_of(engine)
    stop = otel.instrument(shop, spans.provider)
    engine.raises(ReactionErrors, lambda: shop.order.process())
    assert spans.tree() == [
        "order.process ERROR",
        "  order: pending → processing",
        "    payment: unpaid → authorized",
        "      capture",
        "        payment: authorized → captured",
        "          ship [exception] ERROR",
        "  save",
    ]
    moved = spans.named("payment: authorized → captured")
    assert {key: moved.attributes[f"statemachine.{key}"] for key in ("source", "target")} == {
        "source": "authorized",
        "target": "captured",
    }
    (event,) = spans.named("ship").events
    assert event.attributes["exception.message"] == "no paper"
    assert all(span.end_time >= span.start_time for span in spans.exporter.get_finished_spans())
    stop()
    spans.exporter.clear()
    engine.run(lambda: shop.order.ship())
    assert spans.tree() == []


def test_the_parent_is_where_the_caller_is(engine: Engine, spans: Spans) -> None:
    """A call stands below the span that is current for its caller: in a task, in its context."""
    shops = [shop_of(engine, fails=False) for _ in range(2)]
    for shop in shops:
        otel.instrument(shop, spans.provider)
    tracer = spans.provider.get_tracer("application")

    async def request(shop: Shop) -> None:
        with tracer.start_as_current_span("request"):
            await asyncio.sleep(0)
            await shop.asend("order.process")

    async def main() -> None:
        await asyncio.gather(*map(request, shops))

    asyncio.run(main())
    tree = [
        "request",
        "  order.process",
        "    order: pending → processing",
        "      payment: unpaid → authorized",
        "        capture",
        "          payment: authorized → captured",
        "            ship [signal sold]",
        "    save",
    ]
    assert spans.tree() == tree * 2
    assert len({span.context.trace_id for span in spans.exporter.get_finished_spans()}) == 2


def test_timers_posts_and_refusals(engine: Engine, spans: Spans) -> None:
    """A timer is a call from outside; what is refused has no span; internal moves have one."""
    shop = shop_of(engine, fails=False)
    clock = use_clock(shop, VirtualClock())
    otel.instrument(shop, spans.provider)
    engine.raises(Exception, lambda: shop.order.ship())
    engine.run(lambda: shop.order.leave())
    engine.run(lambda: shop.order.process())
    moved = spans.named("order: pending → processing")
    spans.exporter.clear()

    async def main() -> None:
        await clock.advance(6)

    asyncio.run(main())
    (link,) = spans.named("timeout:order.processing").links
    assert link.context.span_id == moved.context.span_id
    assert spans.tree() == [
        "timeout:order.processing",
        "  late",
        "    order: processing → shipped",
        "  save",
    ]


def test_what_an_observer_failed_and_what_was_abandoned(engine: Engine, spans: Spans) -> None:
    """They have spans of their own below what they were about."""

    class Stop(BaseException):
        """Stops a cascade."""

    class Pair(Orchestrator):
        one: Payment
        two: Payment

        @on("one.authorize")
        def stop(self) -> None:
            raise Stop

        @on("one.authorize")
        def later(self) -> None: ...

    def odd(_machine: Any, *, record: Any) -> None:
        raise KeyError(record.event)

    pair = Pair(engine.machine(Payment)(), engine.machine(Payment)())
    otel.instrument(pair, spans.provider)
    pair.bus.signal("two.authorize").connect(odd)
    engine.raises(ReactionErrors, lambda: pair.two.authorize())
    assert spans.tree() == [
        "two.authorize ERROR",
        "  two: unpaid → authorized",
        "    odd [exception] ERROR",
    ]
    spans.exporter.clear()
    engine.raises(Stop, lambda: pair.one.authorize())
    assert "    later ERROR" in ["    " + line.strip() for line in spans.tree()]


def test_an_event_that_its_failed_step_took_along_has_no_span(spans: Spans) -> None:
    """Nothing came of it; what the cascade does besides is told as ever."""

    class Careless(StateMachine):
        idle = State(initial=True)
        fall = idle.to.itself()
        rise = idle.to.itself()

        def on_fall(self) -> None:
            self.rise()
            raise ValueError("fallen")

    class Pair(Orchestrator):
        one: Payment
        two: Careless

        @on("one.authorize")
        def fail(self) -> None:
            self.two.fall()

    pair = Pair(Payment(), Careless())
    otel.instrument(pair, spans.provider)
    with pytest.raises(ReactionErrors):
        pair.one.authorize()
    assert spans.tree() == [
        "one.authorize ERROR",
        "  one: unpaid → authorized",
        "    fail [exception] ERROR",
    ]


@needs_3
def test_ignored_events_and_eventless_transitions(engine: Engine, spans: Spans) -> None:
    """What was ignored is told on its span; transitions that follow in a step have their own."""
    from statemachine import StateChart  # noqa: PLC0415

    class Door(StateChart):  # type: ignore[type-arg]
        shut = State(initial=True)
        ajar = State()
        opened = State()
        push = shut.to(ajar)
        close = opened.to(shut)
        ajar.to(opened)

    class House(Orchestrator):
        door: Door

    house = House(engine.machine(Door)())
    otel.instrument(house, spans.provider)
    engine.run(lambda: house.door.close())
    engine.run(lambda: house.door.push())
    assert spans.tree() == [
        "door.close",
        "  door.close [ignored]",
        "door.push",
        "  door: shut → ajar",
        "    door: ajar → opened",
    ]


def test_what_is_not_known_any_more(
    engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cascade that is longer than what is kept, the rest stands below a span of its own."""
    monkeypatch.setattr(otel, "_KEPT", 2)
    monkeypatch.setattr(otel, "_OPEN", 1)
    shop = shop_of(engine, fails=False)
    otel.instrument(shop, spans.provider)
    engine.run(lambda: shop.order.process())
    assert "payment: authorized → captured" in [line.strip() for line in spans.tree()]


def test_a_failure_of_the_exporter_disturbs_no_machine(
    engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OpenTelemetry raises is a failure of the cascade."""
    shop = shop_of(engine, fails=False)
    otel.instrument(shop, spans.provider)

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError

    monkeypatch.setattr(type(spans.provider.get_tracer("any")), "start_span", broken)
    error = engine.raises(ReactionErrors, lambda: shop.order.process())
    assert {failure.reaction for failure in error.failures} == {"hear"}
    assert repr(shop) == "Shop(order=processing, payment=captured, fails=False)"


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry is not installed, the import names the extra."""
    monkeypatch.delitem(sys.modules, otel.__name__)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"statemachines-orchestrator\[otel\]; and opentel"):
        importlib.import_module(otel.__name__)


def test_a_signal_published_from_outside(engine: Engine, spans: Spans) -> None:
    """It has no event: what follows stands below a span of its own."""
    shop = shop_of(engine)
    otel.instrument(shop, spans.provider)
    engine.run(lambda: shop.publish("sold"))
    assert spans.tree() == ["cascade [signal sold]", "  save"]


def open_spans(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of the spans that have begun and not ended."""
    begun: list[Any] = []
    tracer = type(spans.provider.get_tracer("any"))
    start = tracer.start_span

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        span = start(self, *args, **kwargs)
        begun.append(span)
        return span

    monkeypatch.setattr(tracer, "start_span", noted)
    return begun


def test_every_span_ends(engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing is announced, so that nobody says when a cascade is at rest."""

    class Room(Orchestrator):
        order: Payment
        payment: Payment

        @timeout("order.unpaid", seconds=5, repeat=True)
        def remind(self) -> None: ...

        @on("payment.capture")
        def fail(self) -> None:
            message = "failed"
            raise ValueError(message)

    room = Room(engine.machine(Payment)(), engine.machine(Payment)())
    clock = use_clock(room, VirtualClock())
    begun = open_spans(spans, monkeypatch)
    otel.instrument(room, spans.provider)
    engine.run(lambda: room.payment.authorize())
    engine.raises(ReactionErrors, lambda: room.payment.capture())
    if not engine.is_async:
        engine.raises(ReactionErrors, lambda: room.post("order.capture"))
    awaited(lambda: clock.advance(11))
    assert begun
    assert [span.name for span in begun if span.is_recording()] == []
    names = [span.name for span in spans.exporter.get_finished_spans()]
    assert names.count("remind") == 2


def test_an_observer_that_fails_at_the_sending(engine: Engine, spans: Spans) -> None:
    """Its exception is recorded below the step of the event."""
    shop = shop_of(engine, fails=False)
    otel.instrument(shop, spans.provider)

    def odd(_machine: Any, *, record: Any) -> None:
        raise KeyError(record.event)

    shop.bus.signal("sent:order.leave").connect(odd)
    engine.raises(ReactionErrors, lambda: shop.order.leave())
    assert "    odd [exception] ERROR" in spans.tree()


def test_an_orchestrator_that_is_held_is_observed_alone(
    engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its holder does next is not heard inside, and ends its spans all the same."""

    class Hall(Orchestrator):
        shop: Shop
        lamp: Payment

        @on("shop.order.process")
        def light(self) -> Any:
            return self.lamp.authorize()

    hall = Hall(shop_of(engine, fails=False), engine.machine(Payment)())
    begun = open_spans(spans, monkeypatch)
    otel.instrument(hall.shop, spans.provider)
    engine.run(lambda: hall.shop.order.process())
    assert [span.name for span in begun if span.is_recording()] == []
    assert [line for line in spans.tree() if line[:1] != " "] == ["shop.order.process"]


def test_a_long_step_keeps_its_span(
    engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for again and again is not forgotten."""
    monkeypatch.setattr(otel, "_KEPT", 20)

    class Light(StateMachine):
        off = State(initial=True)
        flip = off.to.itself()

    class Lever(StateMachine):
        up = State(initial=True)
        pull = up.to.itself()

        def on_pull(self, orc: Any) -> Any:
            if engine.is_async:
                return self.pull_all(orc)
            for _ in range(50):
                orc.light.flip()
            return None

        async def pull_all(self, orc: Any) -> None:
            for _ in range(50):
                await orc.light.flip()

    class Room(Orchestrator):
        lever: Lever
        light: Light

    room = Room(engine.machine(Lever)(), engine.machine(Light)())
    begun = open_spans(spans, monkeypatch)
    otel.instrument(room, spans.provider)
    engine.run(lambda: room.lever.pull())
    assert [line for line in spans.tree() if line[:1] != " "] == ["lever.pull"]
    assert [span.name for span in begun if span.is_recording()] == []


def test_a_call_that_nobody_ends_is_ended_by_the_next(
    engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step fails after its callback has called, or a cascade is stopped."""

    class Stop(BaseException):
        """Stops a cascade."""

    class Room(Orchestrator):
        order: Payment
        lamp: Payment

        @on("order.authorize")
        def stop(self) -> None:
            raise Stop

    room = Room(engine.machine(Payment)(), engine.machine(Payment)())
    begun = open_spans(spans, monkeypatch)
    otel.instrument(room, spans.provider)
    engine.raises(Stop, lambda: room.order.authorize())
    assert [span.name for span in begun if span.is_recording()] == ["order.authorize", "stop"]
    if engine.is_async:
        monkeypatch.setattr(otel, "_OPEN", 0)  # another task makes the next call
    engine.run(lambda: room.lamp.authorize())
    assert [span.name for span in begun if span.is_recording()] == []
