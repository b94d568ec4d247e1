"""Memory: what an orchestrator adds to its machines, and that events leave nothing behind.

`make bench` prints the same sizes, and `make soak` sends a million events.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.__main__ import TOPICS, Pair, Watched, bare_pair, orchestrated, weight
from soak.flow import (
    AsyncFlow,
    AsyncGate,
    Flow,
    Gate,
    left_by,
    run_flow,
    run_flow_in_tasks,
    run_flow_in_threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = 1_000
"""How many are built and weighed."""
EVENTS = 2_000
ALLOWED = 12_000
"""The bytes by which what the interpreter keeps may differ: 6 for an event, where a reference to
one takes 8, and the smallest record of one more than 100."""


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


def mixed(flow: Any) -> Callable[[int], None]:
    """Return what sends from one thread, and then from two at once."""

    def run(events: int) -> None:
        run_flow(flow, events // 2)
        run_flow_in_threads(flow, events // 2)

    return run


@pytest.mark.usefixtures("restless")
def test_sync_events_leave_nothing_behind() -> None:
    """Nor do reactions, posts, refusals, failures, and the events of another thread."""
    flow = Flow(Gate(), Gate())
    left = left_by(mixed(flow), EVENTS, EVENTS // 2)
    assert flow.events > EVENTS
    assert left < ALLOWED


def test_async_events_leave_nothing_behind() -> None:
    """Nor do tasks that wait for one another, and those that are cancelled."""
    flow = AsyncFlow(AsyncGate(), AsyncGate())
    left = left_by(lambda events: run_flow_in_tasks(flow, events), EVENTS, EVENTS // 2)
    assert flow.events > EVENTS
    assert left < ALLOWED
