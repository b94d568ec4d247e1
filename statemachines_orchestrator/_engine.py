"""The seam to python-statemachine: the only names of the host that it does not document.

The seams are put on the engine of one machine instance.
The host rebuilds the engine when a machine is copied or unpickled, so a copy is a bare machine.

    in          engine.put              every event gets a `Payload`: `orc`, its cascade, its cause
    at rest     engine.processing_loop  a call begins here and has come to rest when it returns
    committed   the content of a transition's `after`, reached once for each committed step:
                3.x engine._execute_transition_content(..., set_target_as_state=True)
                2.x the executor of its `after` callbacks in the callback registry

Announcing there, after all `after_` callbacks and whether or not one of them raised,
keeps cause before effect on both engines: the async one runs a group of callbacks at once.
"""

from __future__ import annotations

from contextvars import ContextVar
from inspect import iscoroutinefunction
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from statemachine.callbacks import CallbacksExecutor
from statemachine.utils import run_async_from_sync

from statemachines_orchestrator._host import HOST_IS_3
from statemachines_orchestrator.records import next_seq
from statemachines_orchestrator.topics import walk_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statemachine.transition import Transition

__all__ = [
    "Move",
    "Payload",
    "Runner",
    "Seam",
    "flat_move",
    "here",
    "is_async",
    "is_in_mid_step",
    "joined",
    "missing_seam",
    "run_async_from_sync",
    "seam_of",
]

_SEAM = "_orchestration"


class Runner(Protocol):
    """Runs one call of a machine's loop to rest, with the cascade that follows from it."""

    def run(self, seam: Seam) -> Any:
        """Run a sync machine's loop."""

    def run_async(self, seam: Seam, args: tuple[Any, ...], payload: Payload | None) -> Any:
        """Return the awaitable that runs an async machine's loop; `payload` is the event."""

    def begin(self) -> Any:
        """Make the cascade of the outermost call whose event was just put."""


here: ContextVar[Any] = ContextVar("here", default=None)
"""The frame of the current thread or task, `None` outside of every cascade.

A frame says where in a cascade we are: in a call, in the step of a machine, in a turn.
Its `cascade` gets the reactions to what happens here, its `root` is the call that runs the
machines here, its `seq` is the cause of what is sent from here.
"""


def joined(frame: Any) -> Any:
    """Return the cascade that a call made at `frame` is nested in, `None` for an outermost call."""
    if frame is None:
        return None
    cascade = frame.cascade
    return cascade if cascade.open and cascade.thread == get_ident() else None


Move: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""The ids of the states that a transition exited, innermost first, and entered, outermost first."""


def flat_move(machine: Any, transition: Any) -> Move:
    """Return what a transition of a machine without nested states exits and enters."""
    if transition.target is None:
        return (), ()
    exited = () if transition.internal else (transition.source.id,)
    enters = not transition.internal or getattr(machine, "enable_self_transition_entries", False)
    return exited, (transition.target.id,) if enters else ()


class Payload(dict[str, Any]):
    """Stands in the place of an event's `kwargs` and is a frame: the step that takes the event.

    The host calls `copy()` when it makes the keyword arguments of a callback, in the context
    that runs the machine. The copy carries the orchestrator, the payload itself does not:
    SCXML documents see it as `_event.data`, and invoked children are sent it.
    """

    __slots__ = ("call", "cause", "root", "seam", "seq")

    seam: Seam
    seq: Any
    """The `seq` of its `Sent`; `None` of an initial state that was not entered yet."""
    cause: int | None
    """What sent it."""
    call: Any
    """The awaited call that waits for this event, `None` if none does."""
    root: Any
    """The call that runs the machine while it takes this event."""

    def copy(self) -> dict[str, Any]:
        """Return the keyword arguments for a callback, and make this step the current frame."""
        frame = here.get()
        if frame is not self and frame is not None:
            self.root = frame.root
            here.set(self)
        return {**self, **self.seam.injected}

    @property
    def holder(self) -> Any:
        """The call that gets the reactions: the one that waits for the event, or that runs it."""
        call = self.call
        return call if call is not None and call.waiting else self.root

    @property
    def cascade(self) -> Any:
        """The cascade of the holder."""
        return self.holder.cascade

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the plain arguments."""
        return dict, (dict(self),)


class Seam:
    """The seam of one machine: what its engine calls instead of its own methods."""

    __slots__ = (
        "__weakref__",
        "calls",
        "entries",
        "exits",
        "host_content",
        "host_enabled",
        "host_entry",
        "host_eventless",
        "host_exit",
        "host_invoke",
        "host_loop",
        "host_put",
        "injected",
        "is_async",
        "machine",
        "nested",
        "publishers",
        "queue",
        "runner",
    )

    def __init__(self, machine: Any, runner: Runner) -> None:
        self.machine = machine
        self.runner = runner
        self.publishers: tuple[Any, ...] = ()
        self.injected: dict[str, Any] = {}
        self.exits: Any = None
        self.entries: Any = None
        engine: Any = machine._engine
        self.is_async = iscoroutinefunction(engine.processing_loop)
        if self.is_async:
            self.calls: WeakKeyDictionary[Any, Payload] = WeakKeyDictionary()
        self.queue: Any = engine.external_queue.queue.queue if HOST_IS_3 else engine._external_queue
        self._install(machine, engine)

    def _install(self, machine: Any, engine: Any) -> None:
        setattr(engine, _SEAM, self)
        facts = _facts_of(machine.__class__)
        self.nested = facts.nested
        for trigger in self.queue:  # an async machine's initial state, not entered yet
            trigger.kwargs = self.payload(trigger.kwargs, None, None)
        self.host_put = _replace(engine, "put", self.put)
        loop = self.loop_async if self.is_async else self.loop
        self.host_loop = _replace(engine, "processing_loop", loop)
        if hasattr(engine, "enabled_events"):
            self.host_enabled = _replace(engine, "enabled_events", self.enabled_events)
        if not HOST_IS_3:
            registry = machine._callbacks._registry
            for key in facts.after:
                registry[key] = _Committing(registry[key], self)
            return
        content = self.content_async if self.is_async else self.content
        self.host_content = _replace(engine, "_execute_transition_content", content)
        self.host_invoke = _replace(engine._invoke_manager, "mark_for_invoke", self.mark_for_invoke)
        if facts.nested:
            self.host_exit = _replace(engine, "_prepare_exit_states", self.prepare_exit)
            self.host_entry = _replace(engine, "_prepare_entry_states", self.prepare_entry)
        if facts.eventless:
            name = "select_eventless_transitions"
            self.host_eventless = _replace(engine, name, self.select_eventless)

    def add(self, publisher: Any, name: str, orchestrator: Any) -> None:
        """Attach one orchestrator more: it publishes, and is injected as `name`."""
        self.publishers = (*self.publishers, publisher)
        self.injected = {**self.injected, name: orchestrator}

    def remove(self, orchestrator: Any) -> None:
        """Detach an orchestrator."""
        self.publishers = tuple(one for one in self.publishers if one.owner is not orchestrator)
        self.injected = {
            name: other for name, other in self.injected.items() if other is not orchestrator
        }

    # In -----------------------------------------------------------------------------------

    def payload(self, kwargs: dict[str, Any], seq: int | None, cause: int | None) -> Payload:
        """Wrap an event's keyword arguments; what the caller passed as `orc` is dropped."""
        payload = Payload(kwargs)
        if kwargs:
            for name in self.injected:
                payload.pop(name, None)
        payload.seam = self
        payload.seq = seq
        payload.cause = cause
        payload.call = payload.root = None
        return payload

    def put(self, trigger: Any, *args: Any, **kwargs: Any) -> None:
        """Take the place of `engine.put`: every event goes through here."""
        if type(trigger.kwargs) is Payload:  # a delayed event that the host puts back
            self.host_put(trigger, *args, **kwargs)
            return
        frame = here.get()
        cascade = joined(frame)
        cause = None if cascade is None else frame.seq
        payload = trigger.kwargs = self.payload(trigger.kwargs, next_seq(), cause)
        self.host_put(trigger, *args, **kwargs)
        if self.is_async and HOST_IS_3 and trigger.future is not None:
            self.calls[trigger.future] = payload
        if HOST_IS_3 and cascade is None and _is_the_hosts(trigger.event):
            self.runner.begin().of_host = True
        for publisher in self.publishers:
            if "sent" in publisher.bus.kinds:
                if cascade is None:
                    self.runner.begin()  # an observer's failure has a cascade to go to
                publisher.sent(trigger, payload)

    def select_eventless(self, trigger: Any) -> Any:
        """Take the place of `engine.select_eventless_transitions`: these come without `put`."""
        frame = here.get()
        trigger.kwargs = payload = self.payload(trigger.kwargs, frame.seq, frame.seq)
        payload.call = getattr(frame, "call", None)
        payload.root = frame.root
        return self.host_eventless(trigger)

    def mark_for_invoke(self, state: Any, event_kwargs: Any = None) -> None:
        """Take the place of the invoke manager's: it hands the arguments on without `copy`."""
        self.host_invoke(state, {**(event_kwargs or {}), **self.injected})

    def enabled_events(self, *args: Any, **kwargs: Any) -> Any:
        """Take the place of `engine.enabled_events`: guards ask for `orc` here too."""
        return self.host_enabled(*args, **{**kwargs, **self.injected})

    # At rest ------------------------------------------------------------------------------

    def loop(self, *_args: Any) -> Any:
        """Take the place of a sync engine's `processing_loop`; it has no use for a future."""
        return self.runner.run(self)

    def loop_async(self, *args: Any) -> Any:
        """Take the place of an async engine's `processing_loop`."""
        payload = self.calls.pop(args[0], None) if args and args[0] is not None else None
        return self.runner.run_async(self, args, payload)

    @property
    def has_stranded(self) -> bool:
        """Whether the host left events in its queue at the end of its loop."""
        if not self.queue:
            return False
        engine = self.machine._engine
        return not engine._processing.locked() and getattr(engine, "running", True)

    # Committed ----------------------------------------------------------------------------

    def content(self, *args: Any, **kwargs: Any) -> Any:
        """Take the place of `_execute_transition_content` on a sync engine of 3.x."""
        if "set_target_as_state" not in kwargs:
            return self.host_content(*args, **kwargs)
        try:
            return self.host_content(*args, **kwargs)
        finally:
            self.committed(args[0], args[1])

    def content_async(self, *args: Any, **kwargs: Any) -> Any:
        """Take the place of `_execute_transition_content` on an async engine of 3.x."""
        if "set_target_as_state" not in kwargs:
            return self.host_content(*args, **kwargs)
        return self._content_then_committed(args, kwargs)

    async def _content_then_committed(self, args: Any, kwargs: Any) -> Any:
        try:
            return await self.host_content(*args, **kwargs)
        finally:
            self.committed(args[0], args[1])

    def committed(self, transitions: Sequence[Transition], trigger: Any) -> None:
        """Announce the transitions of one committed step, in the host's order."""
        payload = trigger.kwargs
        here.set(payload)
        holder = payload.holder
        if not holder.cascade.open:
            holder.renew()
        moves = self._moves(transitions) if self.nested else None
        for index, transition in enumerate(transitions):
            moved = None if moves is None else moves[index]
            for publisher in self.publishers:
                publisher.transitioned(trigger, payload, transition, moved)

    def prepare_exit(self, *args: Any) -> Any:
        """Take the place of `_prepare_exit_states`: remember what the step exits."""
        result = self.host_exit(*args)
        self.exits = result[0]
        return result

    def prepare_entry(self, *args: Any) -> Any:
        """Take the place of `_prepare_entry_states`: remember what the step enters."""
        result = self.host_entry(*args)
        self.entries = result[0]
        return result

    def _moves(self, transitions: Sequence[Transition]) -> list[Move]:
        """Return, for each transition, the ids of the states it exited and entered."""
        moves: list[tuple[list[str], list[str]]] = [([], []) for _ in transitions]
        place = {id(transition): index for index, transition in enumerate(transitions)}
        for info in self.exits:
            moves[place.get(id(info.transition), 0)][0].append(info.state.id)
        owner: dict[str, int] = {}
        for info in self.entries:  # what an initial transition enters goes with its parent's
            parent = getattr(info.state.parent, "id", "")
            index = place.get(id(info.transition), owner.get(parent, 0))
            owner[info.state.id] = index
            moves[index][1].append(info.state.id)
        return [(tuple(exited), tuple(entered)) for exited, entered in moves]


def _replace(owner: Any, name: str, seam: Any) -> Any:
    """Put a seam in the place of a method of one object, and return the host's method."""
    hosts = getattr(owner, name)
    setattr(owner, name, seam)
    return hosts


class _Committing(CallbacksExecutor):
    """The `after` callbacks of one transition on 2.x, which are run once it is committed."""

    def __init__(self, callbacks: CallbacksExecutor, seam: Seam) -> None:
        vars(self).update(vars(callbacks))
        self.seam = seam

    def call(self, *args: Any, **kwargs: Any) -> Any:
        callbacks: Any = super()
        try:
            return callbacks.call(*args, **kwargs)
        finally:
            self.seam.committed((kwargs["transition"],), kwargs["event_data"].trigger_data)

    async def async_call(self, *args: Any, **kwargs: Any) -> Any:
        callbacks: Any = super()
        try:
            return await callbacks.async_call(*args, **kwargs)
        finally:
            self.seam.committed((kwargs["transition"],), kwargs["event_data"].trigger_data)


class _Facts:
    """What of a machine class decides which seams it needs."""

    __slots__ = ("after", "eventless", "nested")

    def __init__(self, machine_class: Any) -> None:
        states = list(walk_states(machine_class.states))
        transitions = [transition for state in states for transition in state.transitions]
        self.nested = len(states) > len(list(machine_class.states))
        self.after = [transition.after.key for transition in transitions]
        self.eventless = HOST_IS_3 and any(
            transition.is_eventless and not transition.initial for transition in transitions
        )


_facts: WeakKeyDictionary[type, _Facts] = WeakKeyDictionary()


def _facts_of(machine_class: type) -> _Facts:
    """Read a machine class once."""
    try:
        return _facts[machine_class]
    except KeyError:
        facts = _facts[machine_class] = _Facts(machine_class)
        return facts


def _is_the_hosts(event: str) -> bool:
    """Whether the host itself sends this event from outside: an invocation that ended."""
    return event.startswith("done.invoke.") or event == "error.execution"


def seam_of(machine: Any) -> Seam | None:
    """Return the seam of an attached machine."""
    seam: Seam | None = getattr(machine._engine, _SEAM, None)
    return seam


def missing_seam(machine: Any) -> str | None:
    """Return the name of a seam that the machine's engine lacks, `None` if all are there."""
    engine = getattr(machine, "_engine", None)
    names = ["put", "processing_loop", "_processing"]
    if HOST_IS_3:
        names += [
            "external_queue",
            "_execute_transition_content",
            "_prepare_exit_states",
            "_prepare_entry_states",
            "select_eventless_transitions",
            "_invoke_manager",
        ]
    else:
        names += ["_external_queue"]
    return next((name for name in names if not hasattr(engine, name)), None)


def is_in_mid_step(machine: Any) -> bool:
    """Whether the machine's loop is running now, in this thread or another."""
    return bool(machine._engine._processing.locked())


def is_async(machine: Any) -> bool:
    """Whether the machine runs on the host's async engine."""
    seam = seam_of(machine)
    return seam is not None and bool(seam.is_async)
