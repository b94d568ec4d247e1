"""One event of a flat machine on the fast lane: its callbacks, as the host's engine calls them."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import statemachine
from statemachine.event_data import EventData
from statemachine.exceptions import InvalidDefinition

from statemachines_orchestrator._host import ordered_set

if TYPE_CHECKING:
    from statemachines_orchestrator._ways import Way

__all__ = ["Microstep"]

_always: Any = import_module("statemachine.callbacks").allways_true
"""What the host asks before it calls most callbacks."""
_UNSAID: Any = object()
"""Instead of a handler of errors, where the host does not name one."""
_is_same_event: Any = getattr(statemachine.Event, "is_same_event", None)
"""What the host asks before it calls `before_go`, `on_go` or `after_go`."""


class Microstep:
    """The callbacks of one event on its way, in the order of the engine's `microstep`.

    The arguments of callbacks are made when the engine makes them, unless nobody can tell.
    """

    __slots__ = (
        "arriving",
        "given",
        "is_hosts",
        "lane",
        "new",
        "on_error",
        "prepare",
        "previous",
        "registered",
        "trigger",
        "way",
    )

    def __init__(self, lane: Any, trigger: Any, way: Way) -> None:
        self.lane = lane
        self.registered = lane.registered
        self.prepare = lane.prepare
        self.trigger = trigger
        self.way = way
        self.given: Any = None
        """What callbacks are given that know the transition only: args and kwargs."""
        self.arriving: Any = None
        """What callbacks are given that know the state which is entered."""
        self.previous: Any = None
        """The configuration before the step, if a callback was given it."""
        self.new: Any = None
        """The configuration after the step, if a callback was given it."""
        self.on_error: Any = None
        """What gets the exception of a single callback where it becomes an event."""
        self.is_hosts = False
        """Whether the engine has gone on with the step."""

    # What is called -----------------------------------------------------------------------

    def is_enabled(self) -> bool:
        """Run the validators, and ask the guards."""
        way, is_prepared = self.way, self.prepare in self.registered
        if is_prepared or way.validators in self.registered:
            self._call(way.validators, self._given(), None)
        if is_prepared or way.cond in self.registered:
            args, kwargs = self._given()
            on_error = self.lane.engine._on_error_handler()
            ask = self.lane.machine._callbacks.all
            return bool(ask(way.cond, *args, on_error=on_error, **kwargs))
        return True

    def before(self) -> list[Any]:
        """Run what comes before."""
        if self.way.before in self.registered or self.prepare in self.registered:
            return self._call(self.way.before, self.given or self._given())
        if self.way.exit in self.registered:
            self._given()  # before these are called, who may change what it is made of
        return []

    def leave(self) -> None:
        """Run what is done when the state is left."""
        if self.way.exit in self.registered or self.prepare in self.registered:
            on_error = self.lane.engine._on_error_handler()
            self._call(self.way.exit, self._make(source=self._state()), on_error)

    def on(self) -> list[Any]:
        """Run what is done on the way."""
        way = self.way
        if self.lane.machine.catch_errors_as_events:
            self.on_error = self.lane.engine._on_error_handler()
        is_heard = way.on in self.registered or self.prepare in self.registered
        if not is_heard and way.target is not None:
            return []
        given = self.given or self._given()
        self.previous = ordered_set((self._state(),))
        self.new = ordered_set((way.target,) if way.exits else self.previous)
        given[1]["previous_configuration"] = self.previous
        given[1]["new_configuration"] = self.new
        return self._call(way.on, given, self.on_error) if is_heard else []

    def is_as_planned(self) -> bool:
        """Whether no callback has changed the configuration that it was given."""
        if self.new is None:
            return True
        values = [state.value for state in self.new._d]
        return len(values) == 1 and values[0] is self.way.after_value

    def arrive(self) -> None:
        """Make what callbacks are given when the state is entered: it is not active yet."""
        if self.way.enter in self.registered or self.prepare in self.registered:
            self.arriving = self._make(target=self.way.target)

    def enter(self) -> list[Any]:
        """Run what is done when the state is entered."""
        results: list[Any] = []
        if self.arriving is not None:
            results = self._call(self.way.enter, self.arriving, self.on_error)
        if self.way.invoke in self.registered:
            self.lane.invoker.mark_for_invoke(self.way.target, self.trigger.kwargs)
        return results

    def after(self) -> None:
        """Run what comes after: the step is committed, whatever this raises."""
        try:
            if self.is_hosts:
                self._after_by_host()
            elif self.way.after in self.registered or self.prepare in self.registered:
                self._after()
        except InvalidDefinition:
            raise
        except Exception as error:  # noqa: BLE001 - the engine decides what becomes of it
            self.lane.engine._handle_error(error, self.trigger)

    def _after(self) -> None:
        target = self.way.target
        if target is None:  # they are given what was done on the way, its handler of errors too
            self._call(self.way.after, self.given, self.on_error)
        else:
            self._call(self.way.after, self.arriving or self._make(target=target))

    # How it is called ---------------------------------------------------------------------

    def _state(self) -> Any:
        """Return the state that is left, as the machine itself has it."""
        return self.lane.states[self.way.before_value]

    def _given(self) -> Any:
        if self.given is None:
            self.given = self._make()
        return self.given

    def _make(self, *, source: Any = None, target: Any = None) -> tuple[Any, Any]:
        """Make the arguments of callbacks, with what listeners prepare for them."""
        event_data: Any = EventData(self.trigger, self.way.transition)
        if source is not None:
            event_data.state = event_data.source = source
        elif target is not None:
            event_data.state = event_data.target = target
        given = event_data.args, event_data.extended_kwargs
        if self.prepare in self.registered:
            for prepared in self._call(self.prepare, given):
                given[1].update(prepared)
        return given

    def _call(self, key: str, given: Any, on_error: Any = _UNSAID) -> list[Any]:
        """Call what is registered for a key, as the registry does; return the results.

        `on_error` gets what a callback raises, if it is given and not `None`.
        Where listeners prepare arguments the registry does it: they may be called as its own.
        """
        args, kwargs = given
        if self.prepare in self.registered:
            handled = {} if on_error is _UNSAID else {"on_error": on_error}
            return list(self.lane.call(key, *args, **handled, **kwargs))
        results: list[Any] = []
        for callback in self.registered[key].items:
            condition = callback.condition
            if condition is not _always and not (
                condition.__self__ == kwargs["event"]  # without the work to find it by name
                if getattr(condition, "__func__", None) is _is_same_event
                else condition(*args, **kwargs)
            ):
                continue
            try:
                results.append(callback._callback(*args, **kwargs))
            except Exception as error:
                if on_error is None or on_error is _UNSAID:
                    raise
                on_error(error)
        return results

    # What the engine does -----------------------------------------------------------------

    def is_moved(self) -> bool:
        """Whether a callback has written which state is active."""
        return not self.lane.stands_at(self.way.before_value)

    def hand_over(self) -> None:
        """Let the engine go on: it knows what callbacks were given so far."""
        engine = self.lane.engine
        engine.clear_cache()
        key = (id(self.way.transition), id(self.trigger), id(None), id(None))
        engine._cache[key] = self._given()

    def move_by_host(self) -> Any:
        """Let the engine leave and enter states, some of which a callback has written."""
        engine, transitions = self.lane.engine, [self.way.transition]
        self.is_hosts = True
        self.hand_over()
        exited = engine._exit_states(transitions, self.trigger)
        previous = ordered_set((self._state(),))
        return engine._enter_states(transitions, self.trigger, exited, previous)

    def _after_by_host(self) -> None:
        self.lane.engine._execute_transition_content(
            [self.way.transition],
            self.trigger,
            attrgetter("after.key"),
            set_target_as_state=True,
        )
