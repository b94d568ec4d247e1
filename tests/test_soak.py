"""Short rounds of `make soak`: what fails, is stopped or is cancelled is accounted for, once."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from conftest import make_fast
from soak.rounds import with_tasks, with_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.rounds import Outcome

SEEDS = (1, 2)
EVENTS = 800
SHOWN = 20


def told(problems: list[str], seed: int) -> str:
    """Return what is wrong, a line each."""
    return "\n".join([f"{len(problems)} problems, seed {seed}", *problems[:SHOWN]])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("run_round", "is_fast"),
    [(with_threads, False), (with_threads, True), (with_tasks, False)],
)
def test_every_event_is_accounted_for_exactly_once_whatever_fails(
    run_round: Callable[[int, int], Outcome],
    seed: int,
    is_fast: bool,  # noqa: FBT001 - pytest hands it over by name
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Taken, refused, failed or abandoned; nothing waits, and nothing is held afterwards."""
    if is_fast:
        make_fast(monkeypatch)
    outcome = run_round(seed, EVENTS)
    if outcome.problems:
        pytest.fail(told(outcome.problems, seed), pytrace=False)
    # The round is worth its name: all these things came about in it.
    for what in ("taken", "refused", "failed", "reactions"):
        assert outcome.totals[what] > 20, (what, outcome.totals)
    assert outcome.totals["abandoned"], outcome.totals
    gc.collect()
    gc.collect()
    assert [one() for one in outcome.alive if one() is not None] == []
