"""State machines that move together.

An orchestrator is an attrs class whose fields are state machines:
direct calls act now, reactions act next.

    orchestrator    the base class
    reactions       the decorators that subscribe its methods
    records         what happened, as frozen values
    topics          the names under which it is published
    exceptions      what can go wrong, with the fix
"""

from __future__ import annotations

from statemachines_orchestrator.exceptions import *  # noqa: F403
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.reactions import on, on_enter, on_exit, removed
