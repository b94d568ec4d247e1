"""Topics: how they are read, spelled, resolved, and what is suggested for an unknown one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import statemachine
from conftest import needs_3
from statemachine import Event, State, StateMachine

from statemachines_orchestrator import Orchestrator, UnknownTopicError, on, on_enter, on_exit
from statemachines_orchestrator.topics import canonical

if TYPE_CHECKING:
    from typing import TypeAlias

    StateChart: TypeAlias = statemachine.StateChart[Any]
else:  # not on 2.x, where their tests are skipped
    StateChart = getattr(statemachine, "StateChart", StateMachine)


class Order(StateMachine):
    """An order, the subject of most tests."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Payment(StateMachine):
    """A payment, so that there are two machines."""

    unpaid = State(initial=True)
    paid = State(final=True)
    pay = unpaid.to(paid)


class Shop(Orchestrator):
    """Two machines and one reaction."""

    order: Order
    payment: Payment

    @on("order.process")
    def charge(self) -> None:
        """Have a name."""


def shop() -> Shop:
    """Return a new shop."""
    return Shop(order=Order(), payment=Payment())


# Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    [
        "order.process",
        "order.*",
        "*",
        "settled",
        "enter:order.shipped",
        "exit:order.pending",
        "sent:order.process",
        "sent:order.*",
        "sent:*",
        "started:charge",
        "started:*",
        "finished:charge",
        "finished:*",
        "failed:charge",
        "failed:*",
        "abandoned:charge",
        "abandoned:*",
        "started:payment.pay",
        "finished:payment.pay",
        "failed:payment.pay",
        "abandoned:payment.pay",
    ],
)
def test_every_form_of_topic_is_known_by_its_own_name(topic: str) -> None:
    """Each form of topic in the table is a topic, and names its signal."""
    assert shop().bus.signal(topic).name == topic


def test_a_topic_of_an_observer_may_be_listened_to() -> None:
    """`failed:` may name an observer, of which the class knows nothing."""
    assert shop().bus.signal("failed:print_receipt").name == "failed:print_receipt"


@pytest.mark.parametrize(
    ("topic", "nearest"),
    [
        ("order.proces", "order.process"),
        ("oder.process", "order.process"),
        ("enter:order.shiped", "enter:order.shipped"),
        ("exit:order.pendin", "exit:order.pending"),
        ("enter:oder.shipped", "enter:order.shipped"),
        ("sent:order.proces", "sent:order.process"),
        ("sent:paymen.pay", "sent:payment.pay"),
        ("started:chrge", "started:charge"),
        ("finished:charges", "finished:charge"),
        ("failed:chargee", "failed:charge"),
        ("abandoned:charg", "abandoned:charge"),
        ("failed:payment.pai", "failed:payment.pay"),
        ("enters:order.shipped", "enter:order.shipped"),
        ("settle", "settled"),
    ],
)
def test_an_unknown_topic_is_refused_with_the_nearest(topic: str, nearest: str) -> None:
    """A topic that names nothing is refused, and the nearest topic is suggested whole."""
    with pytest.raises(UnknownTopicError) as caught:
        shop().bus.signal(topic)
    assert (caught.value.topic, caught.value.nearest) == (topic, nearest)
    assert f"Did you mean {nearest!r}?" in str(caught.value)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "order",
        "order.",
        ".process",
        "enter:order",
        "enter:order.*",
        "exit:*",
        "sent:order",
        "sent:settled",
        "a b",
    ],
)
def test_half_a_topic_is_refused(topic: str) -> None:
    """A machine without a member, a member without a machine and nothing at all are no topics."""
    with pytest.raises(UnknownTopicError) as caught:
        shop().bus.signal(topic)
    assert caught.value.topic == topic


def test_an_event_is_no_state_and_a_state_no_event() -> None:
    """What follows `enter:` is looked up among the states, what stands alone among the events."""
    refused = []
    for topic in ("enter:order.process", "order.shipped"):
        with pytest.raises(UnknownTopicError) as caught:
            shop().bus.signal(topic)
        refused.append(caught.value.problem)
    assert refused == [
        "machine 'order' has no state 'process'",
        "machine 'order' has no event 'shipped'",
    ]


def test_the_same_event_of_another_machine_is_another_topic() -> None:
    """Members are looked up in the class of their own machine."""
    with pytest.raises(UnknownTopicError):
        shop().bus.signal("payment.process")


def test_a_decorator_with_an_unknown_topic_is_refused_when_the_class_is_defined() -> None:
    """The topics of decorators are resolved at class definition, each by its own kind."""
    refused = []
    for decorator, topic in (
        (on, "order.proces"),
        (on_enter, "order.shiped"),
        (on_exit, "order.pendng"),
    ):
        with pytest.raises(UnknownTopicError) as caught:

            class Wrong(Orchestrator):
                order: Order

                @decorator(topic)
                def react(self) -> None:
                    """Never run."""

        refused.append((caught.value.topic, caught.value.nearest))
    assert refused == [
        ("order.proces", "order.process"),
        ("enter:order.shiped", "enter:order.shipped"),
        ("exit:order.pendng", "exit:order.pending"),
    ]


# Dotted events --------------------------------------------------------------------------------


def test_the_rest_of_a_topic_is_the_event_with_its_dots() -> None:
    """A topic is resolved from the left through fields; the rest is the event, dots and all."""

    class Dotted(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b, event="order.paid")

    class Owner(Orchestrator):
        machine: Dotted

        @on("machine.order.paid")
        def strings(self) -> None:
            heard.append("strings")

        @on(machine="order.paid")
        def keywords(self) -> None:
            heard.append("keywords")

    heard: list[str] = []
    owner = Owner(machine=Dotted())
    owner.machine.send("order.paid")
    assert heard == ["strings", "keywords"]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("process", "process"),
        ("done_state_x", "done.state.x"),
        ("done.state.x", "done.state.x"),
        ("done_state_two_words", "done.state.two_words"),
        ("done_invoke_x", "done.invoke.x"),
        ("error_execution", "error.execution"),
        ("error_lost_line", "error.lost.line"),
        ("done_it", "done_it"),
    ],
)
def test_an_event_has_one_canonical_spelling(written: str, spelled: str) -> None:
    """Names that the host declares in a dotted form too have that form, all others their own."""
    assert canonical(written) == spelled


@needs_3
def test_done_state_is_one_topic_in_both_spellings() -> None:
    """`done_state_x` and `done.state.x` are the same signal, and publish once."""

    class Parent(StateChart):
        class work(State.Compound):  # noqa: N801 - a state
            one = State(initial=True)
            two = State(final=True)
            advance = one.to(two)

        over = State(final=True)
        done_state_work = work.to(over)

    class Owner(Orchestrator):
        machine: Parent

        @on("machine.done_state_work", "machine.done.state.work")
        def both(self) -> None:
            heard.append("both")

        @on("machine.done.state.work")
        def dotted(self) -> None:
            heard.append("dotted")

        @on(machine="done_state_work")
        def underscored(self) -> None:
            heard.append("underscored")

    heard: list[str] = []
    owner = Owner(machine=Parent())
    signals = [
        owner.bus.signal(f"machine.{event}") for event in ("done_state_work", "done.state.work")
    ]
    owner.machine.send("advance")
    assert signals[0] is signals[1]
    assert heard == ["both", "dotted", "underscored"]


@needs_3
def test_a_declared_error_event_is_one_topic_in_both_spellings() -> None:
    """`error_lost_line` and `error.lost.line`, which the host declares as a pair, are one topic."""

    class Line(StateChart):
        up = State(initial=True)
        down = State(final=True)
        error_lost_line = up.to(down)

    class Owner(Orchestrator):
        line: Line

        @on("line.error_lost_line")
        def react(self) -> None:
            heard.append("react")

    heard: list[str] = []
    Owner(line=Line()).line.send("error.lost.line")
    assert heard == ["react"]


# Wildcard events ------------------------------------------------------------------------------


@needs_3
def test_a_wildcard_event_publishes_what_was_sent_and_what_was_declared() -> None:
    """A transition is published under the event's name sent, then under the declared id matched."""

    class Line(StateChart):
        up = State(initial=True)
        down = State(final=True)
        lost = Event(up.to(down), id="lost.*")

    class Owner(Orchestrator):
        line: Line

    owner, heard = Owner(line=Line()), []
    for topic in ("line.lost.*", "line.lost.carrier", "line.lost.power", "line.*", "*"):
        owner.bus.signal(topic).connect(
            lambda _, record, topic=topic: heard.append((topic, record.event))
        )
    owner.line.send("lost.carrier")
    assert heard == [
        (topic, "lost.carrier") for topic in ("line.lost.carrier", "line.lost.*", "line.*", "*")
    ]


@needs_3
def test_an_event_that_takes_everything_publishes_the_machines_wildcard_once() -> None:
    """A transition that was declared for any event is published under `machine.*` once."""

    class Sink(StateChart):
        up = State(initial=True)
        down = State(final=True)
        anything = Event(up.to(down), id="*")

    class Owner(Orchestrator):
        sink: Sink

    owner, heard = Owner(sink=Sink()), []
    for topic in ("sink.*", "*", "sink.whatever"):
        owner.bus.signal(topic).connect(lambda _, topic=topic, **__: heard.append(topic))
    owner.sink.send("whatever")
    assert heard == ["sink.whatever", "sink.*", "*"]


@needs_3
def test_a_name_that_no_wildcard_takes_is_refused() -> None:
    """A wildcard event admits the names that it matches, and no other."""

    class Line(StateChart):
        up = State(initial=True)
        down = State(final=True)
        lost = Event(up.to(down), id="lost.*")

    class Owner(Orchestrator):
        line: Line

    with pytest.raises(UnknownTopicError) as caught:
        Owner(line=Line()).bus.signal("line.last.carrier")
    assert caught.value.topic == "line.last.carrier"


# States ---------------------------------------------------------------------------------------


@needs_3
def test_a_state_of_any_level_is_a_topic() -> None:
    """The states of compound and parallel states are named by their own ids."""

    class Editor(StateChart):
        class editing(State.Compound):  # noqa: N801 - a state
            class draft(State.Parallel):  # noqa: N801 - a state
                class text(State.Compound):  # noqa: N801 - a state
                    clean = State(initial=True)
                    dirty = State()
                    type_in = clean.to(dirty)

                class view(State.Compound):  # noqa: N801 - a state
                    shown = State(initial=True)
                    hidden = State()
                    hide = shown.to(hidden)

        closed = State(final=True)
        close = editing.to(closed)

    class Owner(Orchestrator):
        editor: Editor

    owner = Owner(editor=Editor())
    states = ("editing", "draft", "text", "clean", "dirty", "view", "shown", "hidden", "closed")
    topics = [f"{kind}:editor.{state}" for state in states for kind in ("enter", "exit")]
    events = [f"editor.{event}" for event in ("type_in", "hide", "close")]
    assert [owner.bus.signal(topic).name for topic in [*topics, *events]] == [*topics, *events]


def test_a_field_of_several_classes_has_the_topics_of_all() -> None:
    """A machine field annotated with a union knows the events and states of each class."""

    class Either(Orchestrator):
        machine: Order | Payment

    either = Either(machine=Payment())
    topics = ["machine.process", "machine.pay", "enter:machine.shipped", "enter:machine.paid"]
    assert [either.bus.signal(topic).name for topic in topics] == topics
