"""Two-phase commit: all commit or none, and who has voted waits for the coordinator.

The coordinator asks every participant to vote. If all say yes it decides to commit, if one says no
to abort, and writes that down; a participant hears of it as long as the coordinator runs. Who has
voted yes is prepared: it may neither commit nor abort by itself, since it cannot know how the
others voted (Gray, 1978).

So a coordinator that crashes leaves those that are prepared blocked: `explore` finds them stuck.
One that comes back, and reads in its log what it has decided, goes on: then it is always possible
to finish. A participant that loses patience and aborts by itself breaks what the protocol is for:
one has committed, and the other has not.

Run it with `python examples/two_phase_commit.py`.
"""

from typing import Any

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import Fleet, Orchestrator, on_enter, timeout
from statemachines_orchestrator.exploration import Exploration, explore, invariant

NAMES = ("a", "b")


class Coordinator(StateMachine):
    """Who decides. Its state is its log: what it has decided outlives a crash."""

    waiting = State(initial=True)
    committed = State(final=True)
    aborted = State(final=True)
    commit = waiting.to(committed)
    abort = waiting.to(aborted)


class Power(StateMachine):
    """Whether the coordinator runs."""

    up = State(initial=True)
    down = State()
    crash = up.to(down)
    restart = down.to(up)


class Participant(StateMachine):
    """Who votes, and does what was decided when it hears of it."""

    working = State(initial=True)
    prepared = State()
    committed = State(final=True)
    aborted = State(final=True)
    vote_yes = working.to(prepared)
    vote_no = working.to(aborted)
    commit = prepared.to(committed, cond="is_committed")
    abort = working.to(aborted, cond="is_aborted") | prepared.to(aborted, cond="is_aborted")
    give_up = prepared.to(aborted)

    def is_committed(self, orc: "Transaction") -> bool:
        """Ask the coordinator, if it runs: a guard."""
        return orc.power.up.is_active and orc.coordinator.committed.is_active

    def is_aborted(self, orc: "Transaction") -> bool:
        """Ask the coordinator, if it runs: a guard."""
        return orc.power.up.is_active and orc.coordinator.aborted.is_active


class Transaction(Orchestrator):
    """A coordinator and its participants."""

    coordinator: Coordinator
    power: Power
    voters: Fleet[str, Participant] = attrs.field(
        factory=lambda: Fleet({name: Participant() for name in NAMES})
    )

    @on_enter("voters.prepared", "voters.aborted", "power.up")
    def decide(self) -> None:
        """Decide, when a vote comes or when it is back, if it knows enough."""
        if self.power.up.is_active and self.coordinator.waiting.is_active:
            votes = list(self.voters.values())
            if any(vote.aborted.is_active for vote in votes):
                self.coordinator.abort()
            elif all(vote.prepared.is_active for vote in votes):
                self.coordinator.commit()

    @invariant
    def all_or_none(self) -> bool:
        """No participant has committed while another one has aborted."""
        states = {one.current_state_value for one in self.voters.values()}
        return not {"committed", "aborted"} <= states


class Impatient(Transaction):
    """Participants that abort by themselves when nothing comes."""

    @timeout("voters.prepared", seconds=10)
    def lose_patience(self, key: str) -> None:
        """Break the protocol."""
        self.voters[key].give_up()


EVENTS = [f"voters.{event}" for event in ("vote_yes", "vote_no", "commit", "abort")]
DONE = {"voters": ("committed", "aborted")}


def explored(kind: type[Transaction], *power: str) -> Exploration:
    """Walk through a transaction; what happens to the power comes from outside."""
    return explore(kind, events=[*EVENTS, *power], may_rest=[DONE], can_always=DONE)


def main() -> None:
    """Look what a crash does, what a restart mends, and what impatience breaks."""
    runs: dict[str, Any] = {
        "without a crash": explored(Transaction),
        "a crash": explored(Transaction, "power.crash"),
        "a crash and a restart": explored(Transaction, "power.crash", "power.restart"),
        "a crash, a restart, no patience": explored(Impatient, "power.crash", "power.restart"),
    }
    for told, result in runs.items():
        found = ", ".join(one.kind for one in result.findings) or "nothing"
        print(f"{told}: {result.states} joint states, found: {found}")
    print(runs["a crash"].stuck[0])
    print(runs["a crash, a restart, no patience"].of("invariant")[0])


if __name__ == "__main__":
    main()
