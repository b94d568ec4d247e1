"""Law 9: checked early."""

from __future__ import annotations

from typing import Any

import pytest
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    NameClashError,
    Orchestrator,
    UnknownTopicError,
    on,
    on_enter,
    on_exit,
)


class Order(StateMachine):
    pending = State(initial=True)
    shipped = State(final=True)
    ship = pending.to(shipped)


@pytest.mark.parametrize(
    ("decorator", "topic", "nearest"),
    [
        (on, "order.shop", "order.ship"),
        (on, "ordre.ship", "order.ship"),
        (on_enter, "order.shiped", "enter:order.shipped"),
        (on_exit, "order.pendng", "exit:order.pending"),
    ],
)
def test_a_topic_that_names_nothing_is_refused_when_the_class_is_defined(
    decorator: Any, topic: str, nearest: str
) -> None:
    """It is refused with the nearest name, in both spellings, at the class statement."""
    with pytest.raises(UnknownTopicError) as caught:

        class Bad(Orchestrator):
            order: Order

            @decorator(topic)  # type: ignore[untyped-decorator]
            def react(self) -> None:
                """Never runs."""

    assert caught.value.nearest == nearest
    assert "test_law_09_early.py, line" in caught.value.where
    field, _, member = topic.partition(".")
    with pytest.raises(UnknownTopicError):

        class AlsoBad(Orchestrator):
            order: Order

            @decorator(**{field: member})  # type: ignore[untyped-decorator]
            def react(self) -> None:
                """Never runs."""


@pytest.mark.parametrize(
    "name",
    [
        "asend",
        "broadcast",
        "bus",
        "enabled_events",
        "machine_classes",
        "machines",
        "orchestrator_name",
        "post",
        "publish",
    ],
)
def test_a_name_of_the_surface_is_refused(name: str) -> None:
    """Neither a field nor a reaction may take it."""
    with pytest.raises(NameClashError):
        type("Bad", (Orchestrator,), {"__annotations__": {name: Order}})

    def react(self: Any) -> None:
        """Never runs."""

    with pytest.raises(NameClashError):
        type(
            "Bad",
            (Orchestrator,),
            {"__annotations__": {"order": Order}, name: on("order.ship")(react)},
        )


def test_a_reaction_with_the_name_of_a_field_is_refused() -> None:
    """In the class of the field, and in a subclass."""
    with pytest.raises(NameClashError):

        class Bad(Orchestrator):
            order: Order  # pyright: ignore[reportRedeclaration]

            @on("order.ship")  # type: ignore[no-redef]
            def order(self) -> None:
                """Never runs."""

    class Base(Orchestrator):
        order: Order

    with pytest.raises(NameClashError):

        class AlsoBad(Base):
            @on("order.ship")  # type: ignore[misc]
            def order(self) -> None:  # type: ignore[override]
                """Never runs."""


def test_a_machine_called_like_an_option_is_refused_in_the_keyword_spelling() -> None:
    """`cond="ship"` could mean the option or the machine; the string spelling is clear."""
    with pytest.raises(NameClashError):

        class Bad(Orchestrator):
            cond: Order

            @on("cond.ship", cond="ship")
            def react(self) -> None:
                """Never runs."""

    class Good(Orchestrator):
        cond: Order
        log: Any = None

        @on("cond.ship")
        def react(self) -> None:
            self.log = "reacted"

    good = Good(Order())
    good.cond.ship()
    assert good.log == "reacted"


def test_a_topic_of_a_bus_post_or_asend_is_refused_at_the_call() -> None:
    """With the nearest name, before anything is sent."""

    class Shop(Orchestrator):
        order: Order

    shop = Shop(Order())
    for call in (shop.bus.signal, shop.post, shop.asend):
        with pytest.raises(UnknownTopicError) as caught:
            call("order.shop")
        assert caught.value.nearest == "order.ship"
    for topic in ("order.*", "*", "settled", "order", "enter:order.shipped"):
        with pytest.raises(UnknownTopicError):
            shop.post(topic)
    assert shop.order.current_state_value == "pending"
