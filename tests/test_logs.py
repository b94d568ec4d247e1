"""Logging: every record as one line of the standard logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    Orchestrator,
    ReactionErrors,
    domain_signal,
    on,
    on_enter,
    timeout,
)
from statemachines_orchestrator.logs import log_records

if TYPE_CHECKING:
    from conftest import Engine


class Order(StateMachine):
    """An order, whose callback makes a direct call."""

    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)
    leave = pending.to.itself(internal=True)

    def after_process(self, orc: Any) -> Any:
        """Authorize the payment."""
        return orc.payment.authorize()


class Payment(StateMachine):
    """A payment."""

    unpaid = State(initial=True)
    authorized = State()
    captured = State(final=True)
    authorize = unpaid.to(authorized)
    capture = authorized.to(captured)


class Shop(Orchestrator):
    """A direct call, reactions, one that fails, a signal."""

    order: Order
    payment: Payment
    fails: bool = True
    sold = domain_signal()

    @on("payment.authorize")
    def capture(self) -> Any:
        """Capture the payment."""
        return self.payment.capture()

    @on_enter("payment.captured")
    def ship(self) -> None:
        """Fail, or publish."""
        if self.fails:
            message = "no paper"
            raise ValueError(message)
        self.publish("sold")

    @on("settled")
    def save(self) -> None:
        """Save."""

    late = timeout("order.processing", seconds=5).send("order.ship")


def shop_of(engine: Engine, **data: Any) -> Shop:
    """Return a shop."""
    return Shop(engine.machine(Order)(), engine.machine(Payment)(), **data)


def test_every_record_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """One line a record, with machine, event, source, target and cause as fields."""
    shop = shop_of(engine)
    stop = log_records(shop)
    caplog.set_level(logging.INFO, "statemachines_orchestrator")
    engine.raises(ReactionErrors, lambda: shop.order.process(by="me"))
    stop()
    stop()
    lines = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert lines == [
        ("INFO", "order.process(by='me')"),
        ("INFO", "payment.authorize()"),
        ("INFO", "payment: unpaid → authorized"),
        ("INFO", "order: pending → processing"),
        ("INFO", "capture, on payment.authorize"),
        ("INFO", "payment.capture()"),
        ("INFO", "payment: authorized → captured"),
        ("INFO", "capture finished"),
        ("INFO", "ship, on enter:payment.captured"),
        ("ERROR", "ship FAILED: ValueError('no paper')"),
        ("INFO", "settled: 2 turns, 1 failure"),
        ("INFO", "save, on settled"),
        ("INFO", "save finished"),
    ]
    moved: Any = caplog.records[2]
    sent: Any = caplog.records[1]
    assert (moved.kind, moved.machine, moved.event) == ("Transitioned", "payment", "authorize")
    assert (moved.source, moved.target) == ("unpaid", "authorized")
    assert moved.cause == sent.seq
    assert (sent.source, sent.target) == (None, None)
    failed = next(one for one in caplog.records if one.levelno == logging.ERROR)
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], ValueError)


def test_nothing_is_logged_below_the_level(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """At debug level only what failed is told where the logger asks for errors."""
    shop = shop_of(engine)
    log_records(shop, logging.DEBUG)
    caplog.set_level(logging.ERROR, "statemachines_orchestrator")
    engine.raises(ReactionErrors, lambda: shop.order.process())
    assert [one.levelname for one in caplog.records] == ["ERROR"]


def test_a_handler_that_raises_disturbs_no_machine(engine: Engine) -> None:
    """It is a failure of the cascade, like that of any observer."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "→" in record.getMessage():
                raise OSError

    logger = logging.getLogger("statemachines_orchestrator")
    handler = Broken()
    shop = shop_of(engine, fails=False)
    log_records(shop, logging.CRITICAL)
    logger.addHandler(handler)
    try:
        error = engine.raises(ReactionErrors, lambda: shop.order.process())
    finally:
        logger.removeHandler(handler)
    assert {failure.reaction for failure in error.failures} == {"log"}
    assert repr(shop) == "Shop(order=processing, payment=captured, fails=False)"


def test_only_orchestrators_are_observed() -> None:
    """What is none is refused."""
    given: Any = Order
    with pytest.raises(DeclarationError, match=r"log_records\(\).*no orchestrator"):
        log_records(given)


def test_a_level_that_is_none() -> None:
    """It is refused at once, and not at the first record."""
    level: Any = "INFO"
    with pytest.raises(DeclarationError, match="level='INFO' is no level"):
        log_records(Shop(Order(), Payment()), level)
