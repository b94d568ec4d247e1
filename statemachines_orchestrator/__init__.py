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

from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    AsyncObserverError,
    AsyncReactionError,
    DeclarationError,
    Failure,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    NameClashError,
    NoMachinesOnOrchestratorError,
    NotAReactionError,
    OrchestratorError,
    ReactionErrors,
    RunawayCascadeError,
    StateFieldIsNotUniqueError,
    UnexpectedAnnotationTypeError,
    UnknownTopicError,
    UnsupportedHostError,
    WrongMachineError,
)
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.reactions import on, on_enter, on_exit, removed
from statemachines_orchestrator.records import (
    Abandoned,
    Failed,
    Finished,
    Record,
    Sent,
    Settled,
    Started,
    Transitioned,
)

__all__ = [
    "Abandoned",
    "AnnotationIsNotAStateMachineError",
    "AsyncObserverError",
    "AsyncReactionError",
    "DeclarationError",
    "Failed",
    "Failure",
    "Finished",
    "MachineFieldIsSetError",
    "MachineIsBusyError",
    "MachineIsTakenError",
    "NameClashError",
    "NoMachinesOnOrchestratorError",
    "NotAReactionError",
    "Orchestrator",
    "OrchestratorError",
    "ReactionErrors",
    "Record",
    "RunawayCascadeError",
    "Sent",
    "Settled",
    "Started",
    "StateFieldIsNotUniqueError",
    "Transitioned",
    "UnexpectedAnnotationTypeError",
    "UnknownTopicError",
    "UnsupportedHostError",
    "WrongMachineError",
    "on",
    "on_enter",
    "on_exit",
    "removed",
]
