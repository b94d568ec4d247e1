"""Run to completion: everything that follows from one outermost call, in order, at rest.

What machines publish while the call runs queues the turns of reactions; `post` queues events
behind them. When the call has come to rest the queue is drained, first in, first out,
until nothing is left. Then `settled` is published, once, and what it queued is run as well.
The stack is as deep for a million turns as for one, and only what waits is kept.
When the queue is empty the joins are judged whose machines have moved since the last time.
"""

from __future__ import annotations

from collections import deque
from inspect import isawaitable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._frames import here
from statemachines_orchestrator._joins import judge
from statemachines_orchestrator._notes import add_note, note_unraised, shown, told
from statemachines_orchestrator._places import innermost_first
from statemachines_orchestrator._runaway import look
from statemachines_orchestrator.exceptions import Failure
from statemachines_orchestrator.topics import SETTLED

if TYPE_CHECKING:
    from statemachines_orchestrator._joins import Join, Movement
    from statemachines_orchestrator._turns import Trail, Turn

__all__ = ["Cascade"]


class Cascade:
    """The queue of one outermost call, and what came of it. It is a frame: that of its drain."""

    seq = None
    is_unheard = False
    """Whether nobody waits for its failures: the call is the host's own, or not one of ours."""
    is_settled = False
    turns = 0
    bounds: dict[int, int] | None = None
    """The bounds that were doubled, by the identity of the orchestrator."""
    looked_at: Any = None
    """The orchestrator by whose bound a runaway is looked for."""
    looks_at = 0
    """The number of turns, run or waiting, at which it is looked for, or trails are cut."""
    waited = 0
    """How many turns waited when it was looked for last."""
    is_watched = False
    """Whether trails are kept: an orchestrator with a bound has had a turn."""
    cut_at = 0
    """The number of turns that had run when trails were cut last."""
    running: Turn | None = None
    behind: Trail | None = None
    """The trail of what the running turn leads to, once it has led to something."""
    moved: dict[Join, Movement] | None = None
    """The joins whose machines have moved since they were judged, and what moved."""

    def __init__(self) -> None:
        self.queue: deque[Turn] = deque()
        self.failures: list[Failure] = []
        self.announced: dict[Any, int] = {}
        """The places of the orchestrators that announced something, in their order, and the `seq`
        of the last transition or signal of each: the cause of its `settled`."""
        self.thread = get_ident()
        self.open = True

    @property
    def cascade(self) -> Cascade:
        """The cascade of this frame."""
        return self

    root = cascade

    def reopened(self) -> None:
        """Return no cascade: what is called after its end is an outermost call."""

    # One queue ----------------------------------------------------------------------------

    def append(self, turn: Turn) -> None:
        """Queue a turn behind all others."""
        turn.cascade = self
        turn.trail = self.trail() if self.is_watched else None
        self.queue.append(turn)

    def trail(self) -> Trail | None:
        """Return the trail of what comes now; `None` where no turn has led to it."""
        if self.is_watched and self.behind is None and self.running is not None:
            self.behind = self.running.as_trail()
        return self.behind

    def append_first(self, turn: Turn) -> None:
        """Queue a turn in front of all but its like: of a broadcast, to a machine in mid-step."""
        place = next((at for at, one in enumerate(self.queue) if not one.goes_first), None)
        self.append(turn)
        if place is not None:
            self.queue.insert(place, self.queue.pop())

    def next(self) -> Turn | None:
        """Take the next turn. If there is none, judge what moved; then, once, publish `settled`."""
        while not self.queue:
            if self.moved:
                judge(self)
            elif not self.is_settled:
                self._settle()
            else:
                return None
        turn = self.queue[0]  # left in the queue while looked at: a runaway abandons it too
        waiting = len(self.queue)
        if self.turns + waiting > self.looks_at or turn.owner is not self.looked_at:
            look(self, turn, waiting)
        self.turns += 1
        self.running, self.behind = self.queue.popleft(), None
        return self.running

    def _settle(self) -> None:
        self.is_settled = True
        here.set(self)
        for place in sorted(self.announced, key=innermost_first):
            place.settled(self.turns, len(self.failures), self.announced[place])

    def needs_drain(self) -> bool:
        """Whether a turn waits, or somebody hears that there is none."""
        if self.queue or self.moved:
            return True
        for place in self.announced:
            signal = place.bus.get(SETTLED)
            if signal is not None and signal.receivers:
                return True
        return False

    # Two drains ---------------------------------------------------------------------------

    def drain(self) -> None:
        """Run all turns, for a caller that cannot await."""
        while (turn := self.next()) is not None:
            try:
                result = turn.run_to_end()
            except Exception as error:  # noqa: BLE001 - a failure stops no other reaction
                self.fail(turn, error)
            else:
                turn.finished(result)

    async def drain_async(self) -> None:
        """Run all turns, each awaited, if it must be, before the next begins."""
        while (turn := self.next()) is not None:
            try:
                result = turn.begin()
                if result is not None and isawaitable(result):
                    result = await result
            except Exception as error:  # noqa: BLE001 - a failure stops no other reaction
                self.fail(turn, error)
            else:
                turn.finished(result)

    # What came of it ----------------------------------------------------------------------

    def fail(self, turn: Turn, error: Exception) -> None:
        """Keep a turn's exception for the end, and announce it."""
        for label, part in turn.parts_of(error):
            self.keep(label, turn.record, part)
        turn.failed(error)

    def keep(self, label: str, record: Any, error: Exception) -> None:
        """Keep an exception for the end, with a note of whose it is."""
        add_note(error, f"in {told(label, record)}")
        self.failures.append(Failure(label, record, error))

    def stop(self, stopped: BaseException, error: Exception | None = None) -> None:
        """End before its time: `stopped` takes the failures along, what waits is abandoned.

        `error` is what the call itself has raised, which comes to nobody now.
        """
        self.abandon()
        note_unraised(stopped, error)
        self.note_failures(stopped)

    def abandon(self) -> None:
        """Announce what will not run any more."""
        self.is_settled = True
        while self.moved:
            judge(self, ask=False)
        while self.queue:
            self.queue.popleft().abandoned()

    def note_failures(self, error: BaseException) -> None:
        """Add the failures as notes to an exception that is raised in place of the group."""
        for failure in self.failures:
            add_note(
                error, f"{told(failure.reaction, failure.cause)} failed: {shown(failure.exception)}"
            )
