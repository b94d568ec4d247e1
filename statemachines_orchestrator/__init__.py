"""State machines that move together.

An orchestrator is an attrs class whose fields are state machines:
direct calls act now, reactions act next.
A field may also hold a fleet of machines, or another orchestrator.

    orchestrator    the base class
    fleets          many machines of one kind in one field
    reactions       the decorators that subscribe its methods
    signals         signals of the domain
    clock           time, real or virtual
    records         what happened, as frozen values
    topics          the names under which it is published
    exceptions      what can go wrong, with the fix

Instruments, imported from their modules:

    traces          what happened, and why
    diagrams        the whole orchestration, drawn
    snapshots       the state of the whole, as a value
    exploration     every joint state, by running the real thing; and what can be told without
    testing         random runs, and timers that come due when a test says so
    logs, otel      the standard logging, and OpenTelemetry
"""

from __future__ import annotations

from statemachines_orchestrator._clocks import clock_of, use_clock
from statemachines_orchestrator._lanes import Lane, fast_lane
from statemachines_orchestrator._wiring import Wire, subscribe, wiring
from statemachines_orchestrator.clock import SystemClock, VirtualClock
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    AsyncObserverError,
    AsyncReactionError,
    ClockIsAdvancingError,
    DeclarationError,
    DurationError,
    Failure,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    NameClashError,
    NoMachinesOnOrchestratorError,
    NotAMemberError,
    NotAReactionError,
    NotAtRestError,
    OrchestratorError,
    ReactionErrors,
    ReservedArgumentError,
    RunawayCascadeError,
    SnapshotDoesNotFitError,
    StateFieldIsNotUniqueError,
    UnexpectedAnnotationTypeError,
    UnknownTopicError,
    UnreadableSnapshotError,
    UnreadableTraceError,
    UnsupportedHostError,
    WrongMachineError,
)
from statemachines_orchestrator.fleets import Fleet
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.reactions import (
    at_least,
    every,
    none,
    on,
    on_enter,
    on_exit,
    removed,
    some,
    timeout,
    when,
)
from statemachines_orchestrator.records import (
    Abandoned,
    Elapsed,
    Failed,
    Finished,
    Ignored,
    Published,
    Record,
    Sent,
    Settled,
    Started,
    Transitioned,
)
from statemachines_orchestrator.signals import domain_signal

__all__ = [
    "Abandoned",
    "AnnotationIsNotAStateMachineError",
    "AsyncObserverError",
    "AsyncReactionError",
    "ClockIsAdvancingError",
    "DeclarationError",
    "DurationError",
    "Elapsed",
    "Failed",
    "Failure",
    "Finished",
    "Fleet",
    "Ignored",
    "Lane",
    "MachineFieldIsSetError",
    "MachineIsBusyError",
    "MachineIsTakenError",
    "NameClashError",
    "NoMachinesOnOrchestratorError",
    "NotAMemberError",
    "NotAReactionError",
    "NotAtRestError",
    "Orchestrator",
    "OrchestratorError",
    "Published",
    "ReactionErrors",
    "Record",
    "ReservedArgumentError",
    "RunawayCascadeError",
    "Sent",
    "Settled",
    "SnapshotDoesNotFitError",
    "Started",
    "StateFieldIsNotUniqueError",
    "SystemClock",
    "Transitioned",
    "UnexpectedAnnotationTypeError",
    "UnknownTopicError",
    "UnreadableSnapshotError",
    "UnreadableTraceError",
    "UnsupportedHostError",
    "VirtualClock",
    "Wire",
    "WrongMachineError",
    "at_least",
    "clock_of",
    "domain_signal",
    "every",
    "fast_lane",
    "none",
    "on",
    "on_enter",
    "on_exit",
    "removed",
    "some",
    "subscribe",
    "timeout",
    "use_clock",
    "when",
    "wiring",
]
