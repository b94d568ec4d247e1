"""Arguments: the names under which no callback would get one, which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._host import HOST_IS_3
from statemachines_orchestrator.exceptions import ReservedArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OF_EVENTS", "OF_SIGNALS", "check_arguments"]

_OF_EVERY_HOST = (
    "event",
    "event_data",
    "key",
    "machine",
    "model",
    "self",
    "source",
    "state",
    "target",
    "transition",
)
_OF_3 = ("new_configuration", "on_error", "previous_configuration", "send_id")

# Measured: the host puts its own in the place of most of these, without a word, and raises a
# `TypeError` from its depths for `key`, `self`, `on_error` and, on 3.x, `machine`. There are two
# lists, since 2.x hands on what only 3.x takes for itself, and code that works is not refused.
# Of the configurations 3.x puts its own before `on_` callbacks alone: there the argument is lost.
OF_EVENTS = frozenset((*_OF_EVERY_HOST, *(_OF_3 if HOST_IS_3 else ())))
"""What the installed python-statemachine drops, or cannot take, among an event's arguments."""

OF_SIGNALS = frozenset(("self",))
"""What a reaction to a signal is never given: this is the orchestrator. No machine comes along."""


def check_arguments(
    kwargs: Mapping[str, Any], reserved: frozenset[str], where: str, call: str = "", topic: Any = ""
) -> None:
    """Raise `ReservedArgumentError` for arguments that nobody would get."""
    if not reserved.isdisjoint(kwargs):
        place = f"{where}.{call}({str(topic)!r})" if call else where
        names = tuple(sorted(reserved.intersection(kwargs)))
        raise ReservedArgumentError(place, names, tuple(sorted(reserved)))
