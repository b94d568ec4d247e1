"""What `statemachines_orchestrator.testing` is for: tests of the examples, before and after.

Each pair says the same of one example, first by hand, then with what the module gives. What makes
no test shorter than the call that it stands for (awaiting rest, expecting a state) is not in it.
"""

from __future__ import annotations

import importlib
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import ReactionErrors, VirtualClock, timeout, use_clock
from statemachines_orchestrator.testing import elapse, stateful

sys.path.append(str(Path(__file__).parent.parent / "examples"))
deadlines: Any = importlib.import_module("deadlines")
pedestrians: Any = importlib.import_module("pedestrians")
race: Any = importlib.import_module("race")


# An unpaid order is cancelled, whether or not anybody was reminded -----------------------------


def test_by_hand_a_deadline_brings_all_earlier_ones_along(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The length is written down again, and two reminders come first."""
    shop = deadlines.Shop(deadlines.Order(), deadlines.Payment())
    clock = use_clock(shop, VirtualClock())
    shop.order.place()
    clock.advance(15 * 60)
    assert shop.payment.current_state_value == "void"
    assert capsys.readouterr().out.count("waits for your payment") == 2


def test_with_elapse_one_deadline_comes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The test names the reaction, and nothing else comes due."""
    shop = deadlines.Shop(deadlines.Order(), deadlines.Payment())
    use_clock(shop, VirtualClock())
    shop.order.place()
    elapse(shop, "give_up")
    assert shop.payment.current_state_value == "void"
    assert capsys.readouterr().out == ""


# The cars stand until nobody walks, though a timer is late --------------------------------------


def test_by_hand_a_late_timer_is_another_declaration() -> None:
    """A clock keeps the order of deadlines: a class with other lengths stands in for the late."""

    class LateCrossing(pedestrians.GuardedCrossing):  # type: ignore[misc]
        halt = timeout("walkers.walk", seconds=20).send("walkers.halt")

    crossing = LateCrossing(pedestrians.Cars(), pedestrians.Walkers())
    clock = use_clock(crossing, VirtualClock())
    crossing.walkers.press()
    clock.advance(10 + 3 + 12)
    assert repr(crossing) == "LateCrossing(cars=red, walkers=walk)"


def test_with_elapse_a_timer_is_late() -> None:
    """The timers of the class itself come due in any order."""
    crossing = pedestrians.GuardedCrossing(pedestrians.Cars(), pedestrians.Walkers())
    use_clock(crossing, VirtualClock())
    crossing.walkers.press()
    for reaction in ("slow", "stop", "go"):  # and not halt
        elapse(crossing, reaction)
    assert repr(crossing) == "GuardedCrossing(cars=red, walkers=walk)"


# Nobody pays for nothing, whatever customers and the bank do ------------------------------------

SENT = ("order.cancel", "payment.capture", "payment.confirm")


def test_by_hand_every_order_of_events_is_a_loop() -> None:
    """Orders are listed, refusals and failures told apart, and the invariant is asked each time."""
    broken: list[Any] = []
    for order in permutations(SENT):
        shop = race.FirstShop(race.Order(), race.Payment())
        for topic in order:
            machine, event = topic.split(".")
            try:
                shop.machines[machine].send(event)
            except (TransitionNotAllowed, ReactionErrors):
                continue
            finally:
                if not shop.nobody_pays_for_nothing():
                    broken.append(order)
    assert broken == [("payment.capture", "order.cancel", "payment.confirm")]


def test_with_stateful_every_order_of_events_is_tried() -> None:
    """One line, and hypothesis tells the shortest way; the mended shop passes."""
    quick = settings(max_examples=40, derandomize=True, deadline=None, database=None)
    for shop, passes in ((race.FirstShop, False), (race.Shop, True)):
        test: Any = stateful(shop, events=SENT).TestCase
        test.settings = quick
        if passes:
            test("runTest").runTest()
            continue
        with pytest.raises(TransitionNotAllowed) as caught:
            test("runTest").runTest()
        error: Any = caught.value
        assert "3. payment.confirm()" in error.__notes__[1]
