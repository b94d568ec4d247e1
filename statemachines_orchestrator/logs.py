"""Logging: every record as one line of the standard logging, with its facts as fields.

stop = log_records(shop)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._observing import observe
from statemachines_orchestrator._telling import fields_of, told_in_a_line
from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.records import Abandoned, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from statemachines_orchestrator.orchestrator import Orchestrator
    from statemachines_orchestrator.records import Record

__all__ = ["log_records"]

logger = logging.getLogger("statemachines_orchestrator")


def log_records(orchestrator: Orchestrator, level: int = logging.INFO) -> Callable[[], None]:
    """Log everything that happens in an orchestrator, and return the call that ends it.

    To the logger `statemachines_orchestrator`, at `level`; `Failed` at error level, with the
    exception, and `Abandoned` at warning level. A line is that of `Trace.tree`. Each log record has
    the fields `kind`, `seq`, `cause`, `machine`, `event`, `source`, `target`, `reaction` and
    `topic`, `None` where it tells of none. What a clock tells of a failure for which there is no
    caller goes to the same logger without them, so give a formatter defaults:
    `logging.Formatter("%(kind)s %(machine)s %(message)s", defaults={"kind": "-", "machine": "-"})`.
    What a handler raises is a failure of the cascade, as that of any observer.
    Raises `DeclarationError` for what is no orchestrator, and for a `level` that is no number.
    """
    where = "log_records()"
    if type(level) is not int:
        raise DeclarationError(
            where, f"level={shown(level)} is no level", "Give it logging.INFO, say"
        )

    def log(_sender: Any, *, record: Record) -> None:
        error = record.exception if isinstance(record, Failed) else None
        importance = level
        if isinstance(record, (Failed, Abandoned)):
            importance = max(level, logging.ERROR if error is not None else logging.WARNING)
        if logger.isEnabledFor(importance):
            fields = {"kind": type(record).__name__, **fields_of(record)}
            logger.log(importance, "%s", told_in_a_line(record), exc_info=error, extra=fields)

    return observe(orchestrator, log, where)
