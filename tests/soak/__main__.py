"""Let everything fail that can, for as long as there is time, and account for every event.

    [SECONDS=120] [SEED=1] [FAST=1] python tests/soak

In each round threads send to sync machines, and tasks to async ones, with a few threads beside;
callbacks, reactions and observers fail and are stopped, calls are cancelled and run out of time,
garbage is collected, members come into fleets and go. Then each event, each transition and each
reaction must be accounted for, exactly once, and nothing may be left: no event in a queue, no
thread, no task, no memory. What the numbers mean:

    events       sent, each with a number of its own
    taken        announced as a transition, once
    refused      ignored, or refused and told so, once
    failed       ended by its own failure, which was told once
    abandoned    announced as abandoned, once
    cancelled    its caller was cancelled, or out of time, before it was taken
    bare         sent to a machine that had just left its fleet, or by a task that never began
    kB           held more than at the end of the second round

With `FAST=1` all orchestrators are declared with `fast=True`.
A run with the same seed sends the same events as far as threads and timers let it. The last line
says `ok`, or what is wrong; then the exit status is 1.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import platform
import sys
import time
import tracemalloc
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soak.flow import Flow, Gate, forget, left_by, run_flow, traced
from soak.ledger import IS_FAST
from soak.rounds import Outcome, with_tasks, with_threads

if TYPE_CHECKING:
    from soak.reading import Totals

COLUMNS = ("events", "taken", "refused", "failed", "abandoned", "cancelled", "bare")
MORE = ("transitions", "reactions")
EVENTS = 1_200
"""How many events each half of a round sends from outside; callbacks and reactions send more."""
MILLION = 1_000_000
ALLOWED = 16_000
"""The bytes by which what is held may differ between two rounds: caches of the interpreter."""
BLOCKS = 500
"""The blocks of memory by which what is held may differ."""
STRETCH = 2_000
SHOWN = 10
HANGS = 180
"""The seconds after which a round that has not come to its end is ended, with all its stacks."""


def row(label: str, totals: Totals, seconds: float, grown: float | None) -> str:
    """Return a line of the table."""
    numbers = "".join(f"{totals[column]:>{len(column) + 3}}" for column in (*COLUMNS, *MORE))
    memory = "" if grown is None else f"{grown / 1000:.1f}"
    return f"{label:<6}{numbers}{seconds:>9.1f}{memory:>8}"


def run_round(seed: int) -> Outcome:
    """Run a round: threads, then tasks. Nothing of it may be held when it is over."""
    both = [with_threads(seed, EVENTS), with_tasks(seed, EVENTS)]
    gc.collect()
    gc.collect()
    problems = [problem for half in both for problem in half.problems]
    held = [kept for half in both for one in half.alive if (kept := one()) is not None]
    if held:
        problems.append(f"{len(held)} machines and orchestrators are held after the round: {held}")
    return Outcome(problems, both[0].totals + both[1].totals, [])


class Soak:
    """Round after round, then a flow of events through one orchestrator."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds = seconds
        self.seed = seed
        self.totals: Totals = Counter()
        self.problems: list[str] = []
        self.base = 0
        self.where: dict[str, int] = {}

    def run(self) -> list[str]:
        """Run what there is time for; return what is wrong."""
        host, python = version("python-statemachine"), platform.python_version()
        print(
            f"\npython-statemachine {host}{', fast' if IS_FAST else ''}, Python {python}, "
            f"{self.seconds:g} s, SEED={self.seed}"
        )
        print(f"{'round':<6}{''.join(f'   {name}' for name in (*COLUMNS, *MORE))}  seconds      kB")
        begun = time.monotonic()
        tracemalloc.start()
        number = 0
        while number < 3 or time.monotonic() - begun < self.seconds * 2 / 3:
            number += 1
            self.round(number)
        print(row("all", self.totals, time.monotonic() - begun, self.grown()))
        if self.grown() > ALLOWED:
            self.problems += [f"memory grew by {self.grown()} bytes since round 2", *self.growth()]
        self.flow(begun + self.seconds)
        return self.problems

    def grown(self) -> int:
        """Return the bytes held more than at the end of the second round."""
        return traced() - self.base if self.base else 0

    def round(self, number: int) -> None:
        """Run one round, print its line, and remember what is held after the second."""
        faulthandler.dump_traceback_later(HANGS, exit=True)
        begun = time.monotonic()
        outcome = run_round(self.seed + number)
        faulthandler.cancel_dump_traceback_later()
        self.totals += outcome.totals
        self.problems += [f"round {number}: {problem}" for problem in outcome.problems]
        seconds = time.monotonic() - begun
        print(row(f"{number}", outcome.totals, seconds, self.grown() if self.base else None))
        sys.stdout.flush()
        if number == 2:
            self.where = held_at()
            self.base = traced()

    def growth(self) -> list[str]:
        """Return the lines of code whose memory grew most since the second round."""
        grown = {at: size - self.where.get(at, 0) for at, size in held_at().items()}
        worst = sorted(grown, key=lambda at: -grown[at])[:SHOWN]
        return [f"    {grown[at]} bytes more at {at}" for at in worst if grown[at] > 0]

    def flow(self, until: float) -> None:
        """Send a million events through one orchestrator, or as many as there is time for.

        The blocks of memory are counted, for all of them; bytes are traced for the last ones.
        """
        tracemalloc.stop()
        flow = Flow(Gate(), Gate())
        run_flow(flow, STRETCH)
        base, begun = blocks(), time.monotonic()
        while flow.events < MILLION and (time.monotonic() < until or flow.events < 5 * STRETCH):
            faulthandler.dump_traceback_later(HANGS, exit=True)
            run_flow(flow, STRETCH)
            faulthandler.cancel_dump_traceback_later()
        grown, seconds = blocks() - base, time.monotonic() - begun
        left = left_by(lambda events: run_flow(flow, events), 2 * STRETCH, STRETCH)
        asked = "" if flow.events >= MILLION else " (a million need more SECONDS)"
        print(f"{flow.events:,} events through one orchestrator{asked}, {seconds:.1f} s")
        print(f"they left {grown} blocks of memory, the last {2 * STRETCH:,} {left} bytes")
        if grown > BLOCKS or left > ALLOWED:
            self.problems.append("the events through one orchestrator have left something behind")


def blocks() -> int:
    """Return the blocks of memory that are held now."""
    forget()
    return sys.getallocatedblocks()


def held_at() -> dict[str, int]:
    """Return the bytes that are held, by the line of code that has asked for them."""
    gc.collect()
    statistics = tracemalloc.take_snapshot().statistics("lineno")
    return {f"{one.traceback}": one.size for one in statistics if one.size > ALLOWED // 100}


def main() -> int:
    """Run the soak for the seconds and with the seed that the environment names."""
    seconds = float(os.environ.get("SECONDS") or 120)
    seed = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)
    problems = Soak(seconds, seed).run()
    for problem in problems[:SHOWN]:
        print(problem)
    print(f"wrong: {len(problems)} problems, SEED={seed}" if problems else "ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
