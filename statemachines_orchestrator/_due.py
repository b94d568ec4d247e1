"""Coming due: what is pending, and the outermost call that it becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator import _calls
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._event_loops import in_running_loop
from statemachines_orchestrator._frames import here, joined
from statemachines_orchestrator.records import Elapsed, next_seq

if TYPE_CHECKING:
    from collections.abc import Callable

    from statemachines_orchestrator._places import Place
    from statemachines_orchestrator._turns import Turn

__all__ = ["Timer", "come_due"]


class Timer(ABC):
    """One call that is pending. Who claims it first, to run or to end it, has it."""

    __slots__ = ("_is_free", "cause", "due", "handle", "span")

    def __init__(self, due: float, span: float, cause: int | None) -> None:
        self.due = due
        """The time of the clock, in seconds, at which it comes due."""
        self.span = span
        """The length of time, in seconds, after which it does."""
        self.cause = cause
        self.handle: Any = None
        self._is_free = True
        """There until somebody claims the timer: to take an attribute away is one step."""

    @abstractmethod
    def __call__(self) -> Any:
        """Come due, unless somebody else has claimed it."""

    def claim(self) -> bool:
        """Return whether nobody else has it, whichever threads ask at once."""
        try:
            del self._is_free
        except AttributeError:
            return False
        return True

    @property
    def is_over(self) -> bool:
        """Whether it has come due, or was ended."""
        return not hasattr(self, "_is_free")

    def again(self, due: float) -> None:
        """Let it be claimed once more, at another time. Only who has claimed it may do that."""
        self.due = due
        self._is_free = True

    def end(self) -> None:
        """End it, unless it has come due."""
        if self.claim():
            self.let_go()

    @property
    def call(self) -> Callable[[], Any]:
        """What the clock is given to call."""
        return self

    def let_go(self) -> None:
        """Let the clock forget it."""
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.cancel()


def come_due(
    place: Place,
    build: Callable[..., Elapsed],
    turn: Callable[[Elapsed], Turn],
    machine: Any,
    wrong: Exception | None = None,
) -> Any:
    """Run what a timer leads to as an outermost call; where it must be awaited, return that.

    `machine` is the one that it is about, if it is about one; `wrong` is what the clock raised
    when the next time was to begin.
    """

    def start() -> None:
        record = build(seq=next_seq())
        if place.is_asked_for("elapsed"):
            place.publish("elapsed:", record.name, record.machine or place.owner, lambda: record)
        joined(here.get()).append(turn(record))
        if wrong is not None:
            _calls.observer_failed(place.owner, record.name, wrong, record)

    frame = here.get()
    here.set(None)  # a clock may call back in the context of who set the timer
    try:
        if in_running_loop() and _may_be_awaited(place, machine):
            return _calls.to_rest_async(_calls.Call(), start)
        return _calls.to_rest(start)
    finally:
        here.set(frame)


def _may_be_awaited(place: Place, machine: Any) -> bool:
    """Whether something async may follow: here or outward, or where else the machine is held."""
    seam = None if machine is None else seam_of(machine)
    places = () if seam is None else (publisher.place for publisher in seam.publishers)
    return place.may_be_awaited or any(other.may_be_awaited for other in places)
