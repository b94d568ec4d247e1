"""A pytest plugin that puts every machine into an orchestrator of its own, once it is built.

With `--listen` each orchestrator also reacts to every transition and observes every event.
With `--fast` each is declared with `fast=True`, whatever the version of the host.
"""

from __future__ import annotations

import types
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from statemachine import StateChart

from statemachines_orchestrator import Orchestrator, _fast, fast_lane, on
from statemachines_orchestrator._host import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

_QUEUED = "tests/test_async_futures.py::TestMacrostepErrorAnswersQueuedCallers::test_"
_OWN = "tests/test_async_futures.py::TestMacrostepErrorReachesTheCallerOfItsEvent::test_"
_EDGES = "tests/test_async_futures.py::TestFutureEdgeCases::test_"
_SHARED = "it expects of several callers that one's failure is told to all: here it is its own"
LEFT_OUT = dict.fromkeys(
    (
        f"{_EDGES}concurrent_sends_exception_with_catch_errors_as_events_off",
        f"{_OWN}failure_of_a_cancelled_callers_event_reaches_the_caller_running_the_loop",
        f"{_QUEUED}delayed_and_cancelled_callers_are_answered",
        f"{_QUEUED}failure_after_a_queued_event_answers_its_caller_and_those_behind_it",
        f"{_QUEUED}machine_takes_new_events_afterwards",
        f"{_QUEUED}statechart_validator_failure_answers_the_callers",
        *(
            f"{_QUEUED}statemachine_callers_get_the_exception[{callback}-{after}]"
            for callback in (
                "after_falling",
                "balrog_stirs",
                "before_falling",
                "on_enter_abyss",
                "on_exit_bridge",
                "on_falling",
            )
            for after in ("eventless", "internal")
        ),
    ),
    _SHARED,
)
"""Tests that cannot pass, each with the reason."""

Machine = StateChart[Any]
happened: Counter[str] = Counter()


class Silent(Orchestrator, abstract=True):
    """Nobody listens."""


class Listening(Orchestrator, abstract=True):
    """Every transition has a reaction, every event an observer."""

    def __attrs_post_init__(self) -> None:
        """Attach the machine, and observe it."""
        super().__attrs_post_init__()
        self.bus.signal("sent:*").connect(count_event)

    @on("*")
    def count_transition(self) -> None:
        """Be the reaction."""
        happened["transitions with a reaction"] += 1


def count_event(_machine: Machine, *, record: object) -> None:  # noqa: ARG001 - blinker's call
    """Be the observer."""
    happened["observed events"] += 1


class Builder:
    """What calling a machine class becomes."""

    def __init__(self, base: type[Orchestrator], *, fast: bool) -> None:
        self.base = base
        self.fast = fast
        self.holders: dict[type[Machine], Callable[..., Orchestrator]] = {}

    def build(self, cls: type[Machine], *args: object, **kwargs: object) -> Machine:
        """Build a machine and hand it to an orchestrator with this one field."""
        machine: Machine = type.__call__(cls, *args, **kwargs)
        if cls not in self.holders:
            self.holders[cls] = self.holder(cls)
        holder = self.holders[cls](machine=machine)
        happened["machines in an orchestrator"] += 1
        happened["machines on the fast lane"] += fast_lane(holder)["machine"].is_fast
        return machine

    def holder(self, cls: type[Machine]) -> Callable[..., Orchestrator]:
        """Return an orchestrator class with one field for this machine class."""
        body = {"__annotations__": {"machine": cls}, "__module__": __name__}
        name = f"{cls.__name__}Holder"
        options = {"fast": self.fast}
        return types.new_class(name, (self.base,), options, lambda space: space.update(body))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--listen` and `--fast`."""
    parser.addoption("--listen", action="store_true", help="react to every transition")
    parser.addoption("--fast", action="store_true", help="put what qualifies on the fast lane")


def pytest_configure(config: pytest.Config) -> None:
    """Replace the call of every machine class, after which the outermost `__init__` is done."""
    fast = bool(config.getoption("fast"))
    builder = Builder(Listening if config.getoption("listen") else Silent, fast=fast)
    if fast:
        _fast.CHECKED = (HOST,)

    def call(cls: type[Machine], *args: object, **kwargs: object) -> Machine:
        return builder.build(cls, *args, **kwargs)

    type(StateChart).__call__ = call  # type: ignore[method-assign, assignment]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is listed; a listed test that is no longer there is an error."""
    left_out = [item for item in items if item.nodeid in LEFT_OUT]
    if len(left_out) < len(LEFT_OUT) and config.args_source is not config.ArgsSource.ARGS:
        missing = LEFT_OUT.keys() - {item.nodeid for item in left_out}
        msg = f"LEFT_OUT names tests that do not exist: {sorted(missing)}"
        raise pytest.UsageError(msg)
    items[:] = [item for item in items if item.nodeid not in LEFT_OUT]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker counted."""
    happened.update(getattr(node, "workeroutput", {}).get("happened", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of a worker to its controller; a run that attached nothing fails."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["happened"] = dict(happened)
    elif not happened["machines in an orchestrator"] or (
        session.config.getoption("fast") and not happened["machines on the fast lane"]
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts and what was left out."""
    terminalreporter.section("orchestrated")
    for what, count in happened.items():
        terminalreporter.line(f"{count} {what}")
    for test, reason in LEFT_OUT.items():
        terminalreporter.line(f"left out: {test}: {reason}")
