"""The book of a round: what was sent, what the machines did, and what was told of it.

Machines, reactions, observers and callers write down what they see, each by the number of the
event. It asks nothing of the machinery.
"""

from __future__ import annotations

import os
from typing import Any

import attrs
import statemachine

HOST_IS_3 = hasattr(statemachine, "StateChart")
IS_FAST = bool(os.environ.get("FAST"))
"""Whether all orchestrators are declared with `fast=True`."""
REFUSED = ("never", "absent")
"""The events that no machine takes: a guard says no, or there is no transition."""


class Error(Exception):
    """What fails, with the number of its event and the place."""


class Stop(BaseException):
    """Like `KeyboardInterrupt`, but no event loop minds it."""


STOPS = (Stop, SystemExit)


@attrs.define(eq=False)
class Event:
    """One event, and what is to go wrong with it."""

    number: int
    machine: str
    """The name of its machine, with the number of the member in a fleet."""
    name: str
    way: str
    """How it is sent: `outer`, `call`, `own` (by a callback, to its own machine) or `post`."""
    parent: int | None = None
    origin: int | None = None
    """The event whose step has queued it on its own machine, if one has."""
    sender: str = "outside"
    """The place, or the reaction, of the parent that sends it."""
    is_async: bool = False
    faults: dict[str, type[BaseException]] = attrs.field(factory=dict)
    """What is to be raised, by place."""
    children: dict[str, tuple[str, str, str]] = attrs.field(factory=dict)
    """What is to be sent, by place: the way, the machine, the event."""
    collects: str | None = None
    """The place where garbage is collected."""
    depth: int = 0
    was_called: bool = False
    has_answer: bool = False
    gave_up: bool = False
    """Whether its caller was cancelled, or ran out of time."""

    @property
    def topic(self) -> str:
        """The topic of the event; records of a post have this name."""
        return f"{self.machine.split('[')[0]}.{self.name}"


@attrs.define(eq=False)
class Ledger:
    """What was seen in one round; every list is only appended to, by any thread."""

    events: dict[int, Event] = attrs.field(factory=dict)
    begun: list[int] = attrs.field(factory=list)
    committed: list[int] = attrs.field(factory=list)
    raised: list[tuple[int, str, BaseException]] = attrs.field(factory=list)
    """What callbacks let out, by event and place: their own exceptions, and those of calls."""
    told: list[tuple[int, BaseException]] = attrs.field(factory=list)
    """What calls raised, by the event that was sent."""
    tops: list[BaseException] = attrs.field(factory=list)
    """What outermost calls raised."""
    ran: list[tuple[str, int]] = attrs.field(factory=list)
    reaction_raised: list[tuple[str, int, BaseException]] = attrs.field(factory=list)
    observer_raised: list[tuple[str, int, BaseException]] = attrs.field(factory=list)
    """What observers raised, by their name and the `seq` of the record."""
    machines: dict[str, Any] = attrs.field(factory=dict)
    broken: set[str] = attrs.field(factory=set)
    """The machines that were stopped where a bare one is left between two states."""
    wrong: list[str] = attrs.field(factory=list)
    """What was seen to be wrong during the round."""
