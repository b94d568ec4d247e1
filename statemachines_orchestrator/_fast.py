"""The fast lane: the events of a flat machine, without what only statecharts need.

python-statemachine 3.x takes every event the way of a statechart. Where a machine has no compound,
parallel or history states, most of that can be worked out once for its class. The lane takes such
an event as the host's sync engine does, in its order:

    validators, guards       of one candidate after the other, until one is enabled
    before, exit, on, enter  with the configuration written where the host writes it
    commit, after            and what was committed is announced

The callbacks are those of the host's own registry, with the host's own arguments. Whatever is
unusual is handed to the host's engine, before an event is taken or after its step: events that are
delayed, cancelled, or declared by nobody; raised events, invocations, a state written by hand.
With which versions of the host this was compared, event by event, is a list: `CHECKED`.
"""

from __future__ import annotations

from heapq import heappop
from importlib import import_module
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from statemachine.callbacks import CallbacksRegistry
from statemachine.exceptions import InvalidDefinition, TransitionNotAllowed

from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._frames import Payload, here
from statemachines_orchestrator._host import HOST
from statemachines_orchestrator._microstep import Microstep
from statemachines_orchestrator._ways import table_of

if TYPE_CHECKING:
    from statemachines_orchestrator._engine import Seam
    from statemachines_orchestrator._ways import Table, Way, Ways

__all__ = ["CHECKED", "FastLane", "is_fast", "use_fast_lane", "why_not_fast"]

CHECKED: tuple[str, ...] = ("3.2.2",)
"""The versions of python-statemachine with which the lane was compared: `make fast-check`."""

_sync: Any = import_module("statemachine.engines.sync")
_running: Any = getattr(import_module("statemachine.engines.base"), "_running_engine", None)
"""Where the host notes which engine runs a step in this context."""
_TAKEN_BY_NAME = frozenset(("key", "on_error"))
"""Arguments of an event that the host's registry takes for parameters of its own."""
_NOTHING: Any = object()
"""What comes of an event that enabled no transition."""
_LOUD = -1
"""Instead of a number of keys: a callback is registered. What is registered stays registered."""


class FastLane:
    """Runs the events of one machine in the place of the loop of its engine."""

    __slots__ = (
        "announces_ignored",
        "call",
        "config",
        "engine",
        "field",
        "inbox",
        "invoker",
        "is_plain",
        "machine",
        "model",
        "prepare",
        "queue",
        "raised",
        "registered",
        "seam",
        "silent",
        "states",
        "ways",
    )

    def __init__(self, seam: Seam, table: Table) -> None:
        machine: Any = seam.machine
        self.seam = seam
        self.machine = machine
        self.engine: Any = machine._engine
        self.config: Any = machine._config
        self.model: Any = self.config._model
        self.field: str = self.config._state_field
        self.is_plain = _is_plain(self.model, self.field)
        """Whether the model just keeps what is written, and tells nobody."""
        self.states: Any = self.config._instance_states
        self.call: Any = machine._callbacks.call
        self.registered: Any = machine._callbacks._registry
        self.invoker: Any = self.engine._invoke_manager
        self.inbox: Any = seam.inbox
        self.queue: Any = seam.inbox.queue
        self.raised: Any = self.engine.internal_queue.queue
        self.ways: dict[Any, Ways] = table.by_value
        self.prepare = table.prepare
        """Where what listeners add to the arguments of callbacks is registered."""
        self.announces_ignored = hasattr(seam, "host_select")
        self.silent: dict[Way, int] = {}
        """Of each way, how many keys were registered when none of its own was."""

    def loop(self) -> Any:
        """Run what waits, as the engine's loop does; return what came of the first event."""
        engine, first = self.engine, _NOTHING
        if not engine._processing.acquire(blocking=False):
            return None
        try:
            while (taken := self._next()) is not None:
                trigger, ways = taken
                result = self._run(trigger, ways)
                if first is _NOTHING:
                    first = result
                if not engine.running:
                    engine._drop_external_events()
                elif (
                    (self.queue.queue and not self.inbox.is_empty())
                    or self.raised.queue
                    or self.invoker._pending
                    or not self._is_in_a_state()
                ):
                    continue
                return None if first is _NOTHING else first
        finally:
            if engine._cache:  # the engine has gone on with a step
                engine.clear_cache()
            engine._processing.release()
        rest = self.seam.host_loop()
        return rest if first is _NOTHING else first

    # What comes next ----------------------------------------------------------------------

    def _next(self) -> tuple[Any, tuple[Way, ...]] | None:
        """Take the next event, and the ways that it may go in the state of the machine.

        Returns `None`, and leaves it in the queue, if it is for the host's engine.
        """
        invoker = self.invoker
        if self.raised.queue or invoker._active or invoker._pending or not self.engine.running:
            return None
        try:
            ways = self.ways[getattr(self.model, self.field, None)]
            trigger = self.queue.queue[0]
        except Exception:  # noqa: BLE001 - the host's engine meets it again, and tells it
            return None
        if len(ways.transitions) != ways.count or trigger.cancelled:
            return None
        inbox, payload = self.inbox, trigger.kwargs
        open_ways = ways.by_event.get(trigger.event)
        now = _sync.monotonic()  # the host's own clock, which tests may wind
        if (
            open_ways is None
            or trigger.execution_time > now
            or type(payload) is not Payload
            or (payload and not _TAKEN_BY_NAME.isdisjoint(payload))
            or (inbox.begun is not None and inbox.ends(trigger))  # it has only just come in front
        ):
            return None
        with self.queue.mutex:
            heap = self.queue.queue
            if not heap or heap[0] is not trigger or trigger.cancelled:  # by another thread
                return None
            heappop(heap)
        if inbox.begun is None:  # as in `taken`, for most events
            inbox.begun = inbox.last = trigger
        else:
            inbox.taken(trigger)
        return trigger, open_ways

    def _is_in_a_state(self) -> bool:
        """Whether the model keeps the value of one state, and nothing else that was written."""
        try:
            return getattr(self.model, self.field, None) in self.ways
        except Exception:  # noqa: BLE001 - as above
            return False

    # One event ----------------------------------------------------------------------------

    def _run(self, trigger: Any, ways: tuple[Way, ...]) -> Any:
        """Run one event: find the first way that is enabled, and take it."""
        for way in ways:
            step = token = None
            known = self.silent.get(way)
            is_loud = known != len(self.registered) and (known == _LOUD or self._is_loud(way))
            if not is_loud and self.is_plain and not way.is_final:
                return self._slip(trigger, way)
            trigger.kwargs.begin()
            if is_loud:
                token = _running.set(self.engine)  # callbacks may raise events for the step
                step = Microstep(self, trigger, way)
            try:
                if step is not None and not step.is_enabled():
                    continue
                return self._take(trigger, way, step)
            finally:
                if token is not None:
                    _running.reset(token)
        if self.announces_ignored:
            self.seam.ignored(trigger)
        machine = self.machine
        if not machine.allow_event_without_transition:
            raise TransitionNotAllowed(trigger.event, machine.configuration)
        return _NOTHING

    def _slip(self, trigger: Any, way: Way) -> None:
        """Take a way on which nothing is called, and nobody can tell how the state is written."""
        trigger.kwargs.root = here.get().root
        self.write(way.after_value)
        try:
            self.seam.committed((way.transition,), trigger)
        except Exception:
            self.engine.clear()
            raise

    def _is_loud(self, way: Way) -> bool:
        """Whether a callback is registered that may be called on a way."""
        registered = self.registered
        count = len(registered)
        is_loud = self.prepare in registered or not registered.keys().isdisjoint(way.keys)
        self.silent[way] = _LOUD if is_loud else count
        return is_loud

    def _take(self, trigger: Any, way: Way, step: Microstep | None) -> Any:
        """Take one transition; what has failed takes along what waits, as in the engine."""
        try:
            if step is not None and not self.stands_at(way.before_value):  # a guard has written it
                step.hand_over()
                return self.engine.microstep([way.transition], trigger)
            return self._microstep(trigger, way, step)
        except Exception:
            self.engine.clear()
            raise

    def _microstep(self, trigger: Any, way: Way, step: Microstep | None) -> Any:
        """Do what the engine's `microstep` does; return the results of callbacks."""
        results: list[Any] = []
        try:
            if step is None:
                self._move(way, None)
            else:
                results = step.before()
                results += step.move_by_host() if step.is_moved() else self._move(way, step)
        except Exception as error:
            if step is not None and step.previous is not None:
                self.machine.configuration = step.previous
            else:
                self.write(way.before_value)
            if isinstance(error, InvalidDefinition):
                raise
            self.engine._handle_error(error, trigger)
            return None
        self.seam.entered = trigger  # it is committed
        try:
            if step is not None:
                step.after()
        finally:
            self.seam.committed((way.transition,), trigger)
        return results if len(results) > 1 else results[0] if results else None

    def _move(self, way: Way, step: Microstep | None) -> list[Any]:
        """Leave a state, do what is to be done on the way, and enter a state."""
        machine = self.machine
        results: list[Any] = []
        if way.exits:
            if step is not None:
                step.leave()
            if not machine.atomic_configuration_update:
                self._discard(way)
        enters = way.exits or (way.target is not None and machine.enable_self_transition_entries)
        if step is not None:
            results = step.on()
        if machine.atomic_configuration_update:
            if step is None or step.is_as_planned():
                self.write(way.after_value)
            else:
                machine.configuration = step.new
        if enters and (step is not None or way.is_final or not machine.atomic_configuration_update):
            self._enter(way, step)
        return results

    def _enter(self, way: Way, step: Microstep | None) -> None:
        """Enter a state."""
        if step is not None:
            step.arrive()
        if not self.machine.atomic_configuration_update:
            self._add(way)
        results = [] if step is None else step.enter()
        if way.is_final:
            self.engine._handle_final_state(way.target, results)

    def _discard(self, way: Way) -> None:
        """Let the model keep no state, or what a callback has written in its place."""
        if self.stands_at(way.before_value):
            self.write(None)
        else:
            self.config.discard(way.transition.source)

    def _add(self, way: Way) -> None:
        """Let the model keep the state that is entered, beside what a callback has written."""
        if self.stands_at(None):
            self.write(way.after_value)
        else:
            self.config.add(way.target)

    def stands_at(self, value: Any) -> bool:
        """Whether the model keeps the value of a state, or `None` for none."""
        current = getattr(self.model, self.field, None)
        if current is value or current is None or value is None:
            return current is value
        try:
            return self.ways.get(current) is self.ways[value]
        except Exception:  # noqa: BLE001 - it keeps what is no value of a state
            return False

    def write(self, value: Any) -> None:
        """Let the model keep the value of a state, or `None` for none."""
        self.config._invalidate()
        setattr(self.model, self.field, value)


def _is_plain(model: Any, field: str) -> bool:
    """Whether a model keeps its state in an attribute like any other."""
    cls: Any = model.__class__
    is_written = cls.__setattr__ is not object.__setattr__
    return not is_written and not hasattr(getattr_static(cls, field, None), "__set__")


# Which machines take it -----------------------------------------------------------------------


def use_fast_lane(machine: Any) -> None:
    """Let an attached machine take its events on the fast lane, if it qualifies."""
    if not why_not_fast(machine):
        seam = seam_of(machine)
        seam.run_loop = FastLane(seam, table_of(machine.__class__)).loop


def is_fast(machine: Any) -> bool:
    """Whether an attached machine takes its events on the fast lane."""
    return isinstance(getattr(seam_of(machine).run_loop, "__self__", None), FastLane)


def why_not_fast(machine: Any) -> str:
    """Return why an attached machine does not qualify for the fast lane; nothing if it does."""
    if HOST not in CHECKED:
        known = " and ".join(CHECKED)
        return f"the fast lane exists for python-statemachine {known}, and not for {HOST}"
    seam, engine = seam_of(machine), machine._engine
    if seam.is_async:
        return "it runs on the async engine, for some async def among its callbacks"
    replaced = _replaced(seam, machine)
    if replaced:
        return f"its {replaced} is not python-statemachine's own"
    if getattr(engine._debug, "__self__", None) is not None:
        return "debug logging was switched on when it was built"
    return table_of(machine.__class__).why_not


def _replaced(seam: Any, machine: Any) -> str:
    """Return what of a machine the host has not made: an engine, a registry, a method of one."""
    configuration: Any = import_module("statemachine.configuration").Configuration
    parts: dict[str, tuple[Any, Any]] = {
        "engine": (machine._engine, _sync.SyncEngine),
        "callback registry": (machine._callbacks, CallbacksRegistry),
        "configuration": (machine._config, configuration),
    }
    for what, (part, own) in parts.items():
        if part.__class__ is not own:
            return what
        for name, value in getattr(part, "__dict__", {}).items():
            if hasattr(own, name) and getattr(value, "__self__", None) is not seam:
                return f"{what}'s {name}"
    name = seam.wrapped()
    return f"engine's {name}" if name else ""
