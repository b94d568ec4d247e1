"""The seam to python-statemachine: the only names of the host that it does not document.

The seams are put on the engine of one machine instance.
The host rebuilds the engine when a machine is copied or unpickled, so a copy is a bare machine.

    waiting     3.x engine.external_queue, 2.x engine._external_queue: an `Inbox`
    in          engine.put              every event gets a `Payload`: `orc`, its cascade, its cause
    at rest     engine.processing_loop  a call begins here and has come to rest when it returns
    let go      engine._processing      a `Door`, while a loop that is not ours runs the machine
    ignored     3.x engine.select_transitions, 2.x engine._trigger; events dropped at the end
    committed   3.x engine.microstep, when engine._enter_states has returned in it
                2.x the callback registry's call for the key of `after`

Announcing at the end of these, after all `after_` callbacks and whether or not one of them raised,
keeps cause before effect on both engines: the async one runs a group of callbacks at once.
"""

from __future__ import annotations

from functools import partial
from inspect import iscoroutinefunction
from operator import attrgetter
from threading import RLock, current_thread, get_ident
from time import sleep
from types import MethodType
from typing import TYPE_CHECKING, Any
from weakref import ref

from statemachine.engines.base import BaseEngine
from statemachine.event import BoundEvent
from statemachine.event_data import EventData, TriggerData

from statemachines_orchestrator._event_loops import current_task, make_hosts_loop
from statemachines_orchestrator._frames import Payload, here, joined
from statemachines_orchestrator._host import HOST_IS_3, Move, facts_of
from statemachines_orchestrator._inbox import INITIAL, Inbox, Raised, is_awaited
from statemachines_orchestrator._running import Door, Runner, run_events_async
from statemachines_orchestrator.records import next_seq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from statemachine.transition import Transition

__all__ = [
    "ask_guards",
    "attach",
    "attaching",
    "callbacks_of",
    "forget_queued",
    "is_async",
    "is_in_mid_step",
    "machine_of",
    "missing_seam",
    "put_back",
    "seam_of",
    "withdraw",
]

_SEAM = "_orchestration"
_QUEUE = "external_queue" if HOST_IS_3 else "_external_queue"
_SEAMS_2 = (
    "_external_queue _trigger sm._callbacks._registry sm._callbacks.call sm._callbacks.async_call"
)
_SEAMS_3 = (
    "external_queue.queue.queue internal_queue.queue.queue microstep _enter_states "
    "_prepare_exit_states _prepare_entry_states select_transitions select_eventless_transitions "
    "_handle_final_state "
    "_invoke_manager.mark_for_invoke _invoke_manager._active"
)
_SEAMS = f"put processing_loop _processing {_SEAMS_3 if HOST_IS_3 else _SEAMS_2}"
"""Every name that an engine must have; for those of some versions it is asked where it is used."""
_HOSTS = {
    "put": "host_put",
    "processing_loop": "host_loop",
    "enabled_events": "host_enabled",
    "select_transitions": "host_select",
    "_drop_external_events": "host_drop",
    "microstep": "host_microstep",
    "_enter_states": "host_enter",
    "_prepare_exit_states": "host_exit",
    "_prepare_entry_states": "host_entry",
    "select_eventless_transitions": "host_eventless",
    "mark_for_invoke": "host_invoke",
    "_handle_final_state": "host_final",
    "_trigger": "host_trigger",
    "call": "host_callbacks",
    "async_call": "host_callbacks",
}
"""The methods that seams take the place of, and where a seam keeps the host's."""
attaching = RLock()
"""Held while machines are checked, attached and detached; no event runs in it."""
_MOMENT = 0.0001
"""How long, in seconds, one thread lets another one go on."""
_AFTER = "AFTER@"
"""How 2.x begins the key of the `after` callbacks of a transition."""
_OF_HOST = (INITIAL, "done.state.", "done.invoke.")
"""How the events begin that the host sends itself and that nobody has to take."""


class Seam:
    """The seam of one machine: what its engine calls instead of its own methods."""

    __slots__ = (
        "__weakref__",
        "at_rest",
        "begun",
        "entered",
        "entries",
        "exits",
        *dict.fromkeys(_HOSTS.values()),
        "inbox",
        "injected",
        "invoker",
        "is_async",
        "kinds",
        "machine",
        "mine",
        "nested",
        "publishers",
        "raised",
        "registered",
        "run_loop",
        "runner",
    )

    host_put: Any
    host_loop: Any
    host_enabled: Any
    host_select: Any
    host_drop: Any
    host_microstep: Any
    host_enter: Any
    host_exit: Any
    host_entry: Any
    host_eventless: Any
    host_invoke: Any
    host_final: Any
    host_trigger: Any
    host_callbacks: Any

    def __init__(self, machine: Any, runner: Runner, publisher: Any) -> None:
        self.machine = machine
        self.runner = runner
        self.publishers: tuple[Any, ...] = (publisher,)
        self.renew()
        self.entered: Any = None
        self.exits: Any = None
        self.entries: Any = None
        engine: Any = machine._engine
        self.is_async = iscoroutinefunction(engine.processing_loop)
        self.inbox = Inbox(getattr(engine, _QUEUE), self)
        self.run_loop: Any = engine.processing_loop
        """What runs a sync machine: the host's loop, unless something takes its place."""
        self.raised: Any = None
        self.invoker: Any = None
        """What runs the invocations of a machine of 3.x."""
        self.begun: dict[int, Any] = {}
        """The cascades of calls whose event was put, by thread, until their loop takes them."""
        self.mine: dict[int, Any] = {}
        """The events that were put, by thread, until their loop begins."""
        self.at_rest: dict[Any, Callable[[], None]] = {}
        """What is to be done as soon as the machine is at rest, once for each who asks for it."""
        try:
            self._install(machine, engine)
        except BaseException:
            self._uninstall()
            raise

    def _install(self, machine: Any, engine: Any) -> None:
        setattr(engine, _SEAM, self)
        setattr(engine, _QUEUE, self.inbox)
        if self.inbox.late:
            self.inbox.take_over()
        facts = facts_of(machine.__class__)
        self.nested = facts.nested
        for trigger in tuple(self.inbox.events):  # an initial state that was not entered yet
            trigger.kwargs = self.payload(trigger.kwargs, None, None)
            if HOST_IS_3:
                trigger.future = None  # made where an event loop ran: nobody waits for it
        if hasattr(engine, "enabled_events"):
            self._replace(engine, "enabled_events", self.enabled_events)
        ignores = machine.allow_event_without_transition
        if HOST_IS_3:
            self._install_3(engine, facts, ignores=ignores)
        else:
            self._install_2(machine._callbacks, engine, ignores=ignores)
        # Last: another thread may send at any moment, and `put` needs all that stands above.
        loop = self.loop_async if self.is_async else MethodType(self.runner.run, self)
        self._replace(engine, "processing_loop", loop)
        self._replace(engine, "put", self.put)

    def _install_2(self, registry: Any, engine: Any, *, ignores: bool) -> None:
        self.registered = registry._registry
        if self.is_async:
            self._replace(registry, "async_call", self.callbacks_async)
        else:
            self._replace(registry, "call", self.callbacks)
        if ignores:
            self._replace(engine, "_trigger", self.trigger_async if self.is_async else self.trigger)

    def _install_3(self, engine: Any, facts: Any, *, ignores: bool) -> None:
        self.invoker = engine._invoke_manager
        self.raised = engine.internal_queue = Raised(engine.internal_queue, self)
        enter = self.enter_states_async if self.is_async else self.enter_states
        self._replace(engine, "_enter_states", enter)
        step = self.microstep_async if self.is_async else self.microstep
        self._replace(engine, "microstep", step)
        self._replace(engine._invoke_manager, "mark_for_invoke", self.mark_for_invoke)
        if facts.nested:
            self._replace(engine, "_prepare_exit_states", self.prepare_exit)
            self._replace(engine, "_prepare_entry_states", self.prepare_entry)
        if facts.eventless:
            self._replace(engine, "select_eventless_transitions", self.select_eventless)
        if hasattr(engine, "_drop_external_events"):
            self._replace(engine, "_drop_external_events", self.drop_events)
        else:
            self._replace(engine, "_handle_final_state", self.handle_final_state)
        if ignores:
            select = self.select_async if self.is_async else self.select
            self._replace(engine, "select_transitions", select)

    def _replace(self, owner: Any, name: str, seam: Any) -> None:
        """Put a seam in the place of a method of one object, and keep the host's method."""
        setattr(self, _HOSTS[name], getattr(owner, name))
        setattr(owner, name, seam)

    def _uninstall(self) -> None:
        """Give the machine its engine back, unless somebody else has wrapped a seam by now."""
        engine = self.machine._engine
        owners = (engine, engine._invoke_manager if HOST_IS_3 else self.machine._callbacks)
        ours = [
            (owner, name)
            for owner in owners
            for name in _HOSTS
            if getattr(owner.__dict__.get(name), "__self__", None) is self
        ]
        if len(ours) < sum(hasattr(self, name) for name in set(_HOSTS.values())):
            return
        engine.__dict__.pop(_SEAM, None)
        setattr(engine, _QUEUE, self.inbox.host)
        self.inbox.hand_back()
        if self.raised is not None:
            engine.internal_queue = self.raised.host
        for owner, name in ours:
            host = getattr(self, _HOSTS[name])
            if _is_own(host, name):
                owner.__dict__.pop(name, None)
            else:
                setattr(owner, name, host)

    def wrapped(self) -> str:
        """Return the name of a method that a seam took the place of, and was not the host's own."""
        taken = ((name, getattr(self, kept, None)) for name, kept in _HOSTS.items())
        return next((name for name, host in taken if host and not _is_own(host, name)), "")

    def add(self, publisher: Any) -> None:
        """Attach one orchestrator more: it publishes, and is injected."""
        self.publishers = (*self.publishers, publisher)
        self.renew()

    def renew(self) -> None:
        """Work out who hears, and what is injected: of two that have one name, the nearer one."""
        self.kinds = [level.bus.kinds for one in self.publishers for level in one.levels]
        """The kinds of topics that somebody listens for, of each orchestrator that hears."""
        if len(self.publishers) == 1:
            self.injected: dict[str, Any] = self.publishers[0].place.injected
            return
        injected: dict[str, Any] = {}
        for publisher in self.publishers:
            injected.update(publisher.place.injected)
        for publisher in self.publishers:
            owner = publisher.place.owner
            injected[owner.orchestrator_name] = owner
        self.injected = injected

    def remove(self, publisher: Any) -> None:
        """Detach an orchestrator as soon as the machine is at rest."""
        self.at_rest[publisher] = partial(self._leave, publisher)
        self.rest(only=(publisher,))

    def _leave(self, publisher: Any) -> None:
        with attaching:
            self.publishers = tuple(one for one in self.publishers if one is not publisher)
            self.renew()
            if not self.publishers:
                self._uninstall()
            publisher.left()

    def rest(self, only: tuple[Any, ...] | None = None) -> None:
        """Do what waits for the machine to be at rest, if it is: all, or `only` who leaves."""
        while waiting := [one for one in tuple(self.at_rest) if only is None or one in only]:
            if is_in_mid_step(self.machine) or (not self.is_async and len(self.inbox)):
                return  # in the second case a call will run it whose event was just put
            self.at_rest.pop(waiting[0], _do_nothing)()  # if it is gone, another thread does it

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
        payload.call = payload.coroutine = payload.root = payload.origin = None
        return payload

    def put(self, trigger: Any, internal: bool = False, **delayed: bool) -> None:  # noqa: FBT001, FBT002 - the signature is the host's
        """Take the place of `engine.put`: every event goes through here."""
        is_unusual = self.at_rest or type(trigger.kwargs) is Payload
        put = self._put_past(trigger) if is_unusual else None
        if put is not None:
            put(trigger, *((internal,) if HOST_IS_3 else ()), **delayed)
            return
        # Now: another thread may detach the machine before it is put, or after it has run it.
        frame, publishers, asked = here.get(), self.publishers, self.kinds
        cascade = None if frame is None else joined(frame)
        cause = None if frame is None or cascade is None else frame.seq
        payload = trigger.kwargs = self.payload(trigger.kwargs, next_seq(), cause)
        if self.inbox.begun is not None:
            payload.origin = self.inbox.origin_at(frame)
        if HOST_IS_3:
            self.host_put(trigger, internal)
        else:
            self.host_put(trigger)
            if self.inbox.is_handed_back:  # by another thread, just now
                self.inbox.hand_back()
        if payload.origin is None:
            self.mine[get_ident()] = payload
        if HOST_IS_3 and cascade is None and self.invoker._active and self._is_of_host(trigger):
            self._begin().is_unheard = True
        for kinds in asked:
            if "sent" in kinds and (self.publishers or payload.root is not None):
                self._announce_sent(trigger, publishers, frame, cascade)
                return

    def _put_past(self, trigger: Any) -> Any:
        """Return what puts an event that is none of ours, `None` if it is ours after all."""
        if type(trigger.kwargs) is Payload:  # a delayed event that the host puts back
            return self.host_put
        self.rest(only=self.publishers)  # what has run the machine was not ours
        return None if self.publishers else self.machine._engine.put

    def _begin(self) -> Any:
        """Make the cascade of the outermost call whose event was put; its loop will take it."""
        thread = get_ident()
        if thread not in self.begun:
            self.begun[thread] = self.runner.new_cascade()
        return self.begun[thread]

    def _announce_sent(self, trigger: Any, publishers: Any, frame: Any, cascade: Any) -> None:
        """Announce that an event was put; an observer's failure has a cascade to go to."""
        here.set(frame if cascade is not None else self._begin())
        try:
            for publisher in publishers:
                publisher.sent(trigger)
        except BaseException:
            self.begun.pop(get_ident(), None)
            self.mine.pop(get_ident(), None)
            self.inbox.take_out(trigger.kwargs)
            raise
        finally:
            here.set(frame)

    def _is_of_host(self, trigger: Any) -> bool:
        """Whether the host itself sends this event from outside: an invocation that ended."""
        event = trigger.event
        if not event.startswith("done.invoke.") and event != "error.execution":
            return False
        thread, task = current_thread(), current_task()
        return any(
            thread is invocation.thread or (task is not None and task is invocation.task)
            for invocation in self.invoker._active.values()
        )

    def select_eventless(self, trigger: Any) -> Any:
        """Take the place of `engine.select_eventless_transitions`: these come without `put`."""
        frame = here.get()
        if frame is None:  # the step had begun before the machine was attached
            return self.host_eventless(trigger)
        trigger.kwargs = payload = self.payload(trigger.kwargs, frame.seq, frame.seq)
        payload.call = frame.call if type(frame) is Payload else None
        payload.root = frame.root
        payload.origin = self.inbox.origin_at(frame)
        return self.host_eventless(trigger)

    def mark_for_invoke(self, state: Any, event_kwargs: Any = None) -> None:
        """Take the place of the invoke manager's: it hands the arguments on without `copy`."""
        self.host_invoke(state, {**(event_kwargs or {}), **self.injected})

    def enabled_events(self, *args: Any, **kwargs: Any) -> Any:
        """Take the place of `engine.enabled_events`: guards ask for `orc` here too."""
        return self.host_enabled(*args, **{**kwargs, **self.injected})

    # Ignored ------------------------------------------------------------------------------

    def select(self, trigger: Any) -> Any:
        """Take the place of `select_transitions` on a sync engine of 3.x."""
        enabled = self.host_select(trigger)
        if not enabled:
            self.ignored(trigger)
        return enabled

    async def select_async(self, trigger: Any) -> Any:
        """Take the place of `select_transitions` on an async engine of 3.x."""
        enabled = await self.host_select(trigger)
        if not enabled:
            self.ignored(trigger)
        return enabled

    def trigger(self, trigger: Any) -> Any:
        """Take the place of `_trigger` on a sync engine of 2.x."""
        self.entered = None
        result = self.host_trigger(trigger)
        if self.entered is not trigger:
            self.ignored(trigger)
        return result

    async def trigger_async(self, trigger: Any) -> Any:
        """Take the place of `_trigger` on an async engine of 2.x."""
        self.entered = None
        result = await self.host_trigger(trigger)
        if self.entered is not trigger:
            self.ignored(trigger)
        return result

    def drop_events(self) -> None:
        """Take the place of `_drop_external_events`: the machine has ended, these are too late."""
        self._ignore_what_waits()
        self.host_drop()

    def handle_final_state(self, *args: Any) -> None:
        """Take the place of `_handle_final_state` before 3.2: the machine may have ended."""
        self.host_final(*args)
        self.at_rest["ended"] = self.drop_if_ended

    def drop_if_ended(self) -> None:
        """Drop the events of a machine that has ended, where the host leaves them: before 3.2."""
        if not getattr(self.machine._engine, "running", True):
            self._ignore_what_waits()
            self.inbox.events.clear()

    def _ignore_what_waits(self) -> None:
        for trigger in (*self.raised.take_all(), *sorted(self.inbox.events)):
            self.ignored(trigger)

    def ignored(self, trigger: Any) -> None:
        """Announce that an event enabled no transition, unless it is the host's own."""
        self.inbox.last = None
        payload, event = trigger.kwargs, trigger.event
        frame = here.get()
        if type(payload) is not Payload or event is None or event.startswith(_OF_HOST):
            return
        if frame is None:  # another thread has detached the machine
            return
        if frame is not payload:
            payload.root = frame.root
        here.set(payload)
        try:
            for publisher in self.publishers:
                publisher.ignored(trigger)
        finally:
            here.set(frame)

    # At rest ------------------------------------------------------------------------------

    def loop_async(self, *args: Any) -> Any:
        """Take the place of an async engine's `processing_loop`."""
        if here.get() is not None:
            make_hosts_loop()
        for publisher in self.publishers:
            publisher.place.wake_timers()
        payload = getattr(args[0], "payload", None) if args else None
        if type(payload) is not Payload:  # none is waited for, or it was put before the attaching
            payload = None
        mine = self.mine.pop(get_ident(), None)
        coroutine = self.runner.run_async(self, args, payload, mine)
        if mine is not None:
            mine.coroutine = ref(coroutine)
        return coroutine

    async def run_to_rest(self, mine: Any, args: tuple[Any, ...], holder: Any) -> Any:
        """Run the host's loop, and do what waits for its end."""
        try:
            return await run_events_async(self, mine, args, holder)
        finally:
            if self.at_rest:
                self.rest()

    def is_free(self) -> bool:
        """Whether nobody runs the machine; if it has ended, what waits for it is dropped."""
        if self.machine._engine._processing.locked():
            return False
        self.drop_if_ended()
        return True

    def is_left(self) -> bool:
        """Whether a sync machine is free after all that a loop of the host seemed to run.

        If it is not, who runs it runs what waits as well, as soon as he lets go of it: he has sent
        an event to the bare machine, and it was attached before he came to run that.
        """
        engine: Any = self.machine._engine
        held = engine._processing
        if self.is_async or self.inbox.is_run() or type(held) is Door:
            return False
        engine._processing = Door(held, self)
        sleep(_MOMENT)  # he may just be letting go of what he had in hand
        if held.locked():
            return False
        engine._processing = held
        return True

    def opened(self, held: Any) -> None:
        """Run what waits in the thread that has let go of the machine; nobody else does."""
        self.machine._engine._processing = held
        if self.inbox.thread != get_ident() and not self.inbox.is_idle():
            self.mine[get_ident()] = self  # none of the events is his
            self._begin().is_unheard = True
            self.runner.run(self)

    # Committed ----------------------------------------------------------------------------

    def enter_states(self, transitions: Any, trigger: Any, *args: Any) -> Any:
        """Take the place of `_enter_states` on a sync engine of 3.x: on return it is committed."""
        result = self.host_enter(transitions, trigger, *args)
        self.entered = trigger
        return result

    def microstep(self, transitions: Any, trigger: Any) -> Any:
        """Take the place of `microstep` on a sync engine of 3.x."""
        self.entered = None
        try:
            return self.host_microstep(transitions, trigger)
        finally:
            if self.entered is trigger:
                self.committed(transitions, trigger)

    async def enter_states_async(self, transitions: Any, trigger: Any, *args: Any) -> Any:
        """Take the place of `_enter_states` on an async engine of 3.x."""
        result = await self.host_enter(transitions, trigger, *args)
        self.entered = trigger
        return result

    async def microstep_async(self, transitions: Any, trigger: Any) -> Any:
        """Take the place of `microstep` on an async engine of 3.x."""
        self.entered = None
        try:
            return await self.host_microstep(transitions, trigger)
        finally:
            if self.entered is trigger:
                self.committed(transitions, trigger)

    def callbacks(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Take the place of the callback registry's `call` on a sync engine of 2.x."""
        if not key.startswith(_AFTER):
            return self.host_callbacks(key, *args, **kwargs) if key in self.registered else []
        try:
            return self.host_callbacks(key, *args, **kwargs)
        finally:
            self.committed((kwargs["transition"],), kwargs["event_data"].trigger_data)

    def callbacks_async(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Take the place of the callback registry's `async_call` on an async engine of 2.x."""
        called = self.host_callbacks(key, *args, **kwargs)
        return self._after(called, kwargs) if key.startswith(_AFTER) else called

    async def _after(self, called: Any, kwargs: Any) -> Any:
        try:
            return await called
        finally:
            self.committed((kwargs["transition"],), kwargs["event_data"].trigger_data)

    def committed(self, transitions: Sequence[Transition], trigger: Any) -> None:
        """Announce the transitions of one committed step, in the host's order."""
        self.entered = trigger
        if not HOST_IS_3 and trigger.event == INITIAL:  # 2.x runs the first entry as a transition
            return
        self.inbox.last = None
        payload = trigger.kwargs
        holder = payload.holder if type(payload) is Payload else None
        if holder is None:
            return  # another thread attached the machine in mid-step, or detached it just now
        if here.get() is not payload:  # to set it costs ten times as much
            here.set(payload)
        cascade = holder.cascade
        if not cascade.open:  # the call was nested in a cascade that has closed: it opens its own
            cascade = joined(payload) or cascade
        moves = self._moves(transitions) if self.nested else None
        for index, transition in enumerate(transitions):
            moved = None if moves is None else moves[index]
            for publisher in self.publishers:
                publisher.transitioned(trigger, cascade, transition, moved)

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


def _is_own(method: Any, name: str) -> bool:
    """Whether a method of the host is what its class has under the name."""
    function = getattr(method, "__func__", None)
    return function is not None and function is getattr(method.__self__.__class__, name, None)


def _do_nothing() -> None:
    """Do nothing."""


def attach(machine: Any, runner: Runner, publisher: Any) -> None:
    """Let an orchestrator hear of a machine: through its seam, or a new one."""
    with attaching:
        if (seam := seam_of(machine)) is None:
            Seam(machine, runner, publisher)
        else:
            seam.add(publisher)


def callbacks_of(declared: Any) -> list[tuple[str, Any]]:
    """Return the callbacks of a state or transition: (`enter`, `after`, ..., function or name)."""
    return [(spec.group.name.lower(), spec.func) for spec in getattr(declared, "_specs", ())]


def seam_of(machine: Any) -> Any:
    """Return the seam of an attached machine, `None` of a bare one."""
    return getattr(machine._engine, _SEAM, None)


def missing_seam(machine: Any) -> str | None:
    """Return the name of a seam that the machine's engine lacks, `None` if all are there."""
    engine = getattr(machine, "_engine", None)
    for name in _SEAMS.split():
        try:
            attrgetter(name)(engine)
        except AttributeError:
            return name
    return None if isinstance(engine, BaseEngine) else "processing_loop"


def is_in_mid_step(machine: Any) -> bool:
    """Whether the machine's loop is running now, or an async one was told to run and has not."""
    engine: Any = machine._engine
    seam = seam_of(machine)
    if engine._processing.locked() or (seam is not None and seam.inbox.is_run()):
        return True
    if not iscoroutinefunction(engine.__class__.processing_loop):
        return False
    waiting = getattr(engine, _QUEUE)
    return any(map(is_awaited, tuple(waiting.queue.queue if HOST_IS_3 else waiting)))


def is_async(machine: Any) -> bool:
    """Whether the machine runs on the host's async engine."""
    return bool(getattr(seam_of(machine), "is_async", False))


def withdraw(machine: Any, coroutine: Any) -> None:
    """Take the event out of the machine's queue whose caller was given `coroutine` to await."""
    seam: Any = seam_of(machine)
    for trigger in tuple(seam.inbox.events):
        payload = trigger.kwargs
        given = payload.coroutine if type(payload) is Payload else None
        if given is not None and given() is coroutine:
            seam.inbox.take_out(payload)


def put_back(machine: Any, *, has_begun: bool, has_ended: bool) -> None:
    """Let an attached machine at rest have begun, or have ended, or not: its state is written.

    An async machine enters its initial state when the event comes that waits for it in its queue.
    """
    if HOST_IS_3:
        machine._engine.running = not has_ended  # what has ended takes no event, nor this one
    seam: Any = seam_of(machine)
    waits = [trigger for trigger in seam.inbox.events if trigger.event == INITIAL]
    if has_begun:
        for trigger in waits:
            seam.inbox.take_out(trigger.kwargs)
    elif not waits:
        trigger = TriggerData(machine, event=BoundEvent(INITIAL, _sm=machine))
        trigger.kwargs = seam.payload({}, None, None)
        seam.host_put(trigger)


def forget_queued(machine: Any) -> None:
    """Drop what the machine would have taken next, after a step that was stopped."""
    seam = seam_of(machine)
    seam.inbox.take_all()
    if seam.raised is not None:
        seam.raised.take_all()


def machine_of(event: Any) -> Any:
    """Return the machine of a bound event (`shop.order.process`), `None` for any other value."""
    return getattr(event, "_sm", None)


def ask_guards(
    machine: Any, event: str, transition: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Return whether a transition's guards hold; of an async machine, what must be awaited."""
    seam = seam_of(machine)
    injected: dict[str, Any] = {} if seam is None else seam.injected
    bound = getattr(machine, event, None)
    trigger = TriggerData(
        machine,
        event=bound if machine_of(bound) is machine else event,  # type: ignore[arg-type] # it is one
        args=args,
        kwargs={**kwargs, **injected},
    )
    event_data: Any = EventData(trigger_data=trigger, transition=transition)
    callbacks = machine._callbacks
    ask = callbacks.async_all if is_async(machine) else callbacks.all
    return ask(transition.cond.key, *args, **event_data.extended_kwargs)
