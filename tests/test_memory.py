"""Memory: what an orchestrator adds to its machines, and that events leave nothing behind.

`make bench` prints the same sizes, of a thousand, and `make soak` sends a million events.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmarks.__main__ import TOPICS, Pair, Watched, bare_pair, orchestrated, weight

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 250
"""How many are built and weighed."""
EVENTS = 1_500
ALLOWED = 9_000 if sys.version_info >= (3, 11) else 60_000
"""The bytes by which what the interpreter keeps may differ: 6 for an event, where a reference to
one takes 8, and the smallest record of one more than 100. Python 3.10 keeps some 30 kB however
many events there were: there only what is kept of each event is found, and no reference."""


@pytest.fixture
def _unhurried() -> Iterator[None]:
    """Let the garbage collector run when it is told to: else it walks through all that is built."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_unhurried")
def test_an_orchestrator_adds_at_most_14_kb_to_two_machines_and_1_8_for_a_topic() -> None:
    """14 kB over the two bare machines, and 1.8 kB for each topic that has a reaction."""
    bare, pair, watched = (
        weight(build, COUNT) for build in (bare_pair, orchestrated(Pair), orchestrated(Watched))
    )
    assert pair - bare <= 14_000
    assert (watched - pair) / TOPICS <= 1_800


@pytest.mark.parametrize("flow", ["mixed", "in_tasks"])
def test_events_leave_nothing_behind(flow: str) -> None:
    """Nor do reactions, posts, refusals, failures, threads, and tasks that are cancelled.

    It is measured in an interpreter that does nothing else: others keep what is theirs.
    """
    program = f"from soak.flow import left_after_flow as left; print(left({flow!r}, {EVENTS}))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < ALLOWED
