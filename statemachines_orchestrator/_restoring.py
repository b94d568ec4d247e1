"""Restoring: what is kept is written back, into a new orchestrator or one that stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._fitting import Fitting
from statemachines_orchestrator._host import own_attributes
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator._standing import told_class
from statemachines_orchestrator._timers import Delay, timers_of
from statemachines_orchestrator._wholes import (
    put_attributes,
    put_local,
    refs_to,
    restored,
    restored_post,
    told_by_model,
    told_by_orchestrator,
)
from statemachines_orchestrator.clock import SystemClock, VirtualClock
from statemachines_orchestrator.exceptions import DeclarationError, SnapshotDoesNotFitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from statemachines_orchestrator._standing import Standing
    from statemachines_orchestrator._timers import Kept
    from statemachines_orchestrator._wholes import Data, Path

__all__ = ["TIMERS", "Restoring"]

TIMERS = ("deadline", "remaining", "restart")
"""What may become of what is pending."""


class Restoring:
    """One restoration: compared when it is made, done when it is run."""

    def __init__(  # noqa: PLR0913, PLR0917 - the facts of a restoration
        self,
        standing: Standing,
        where: str,
        cls: Any,
        owner: Any,
        given: Mapping[str, Any],
        load: Callable[[str, Any, Any], Any] | None,
        timers: str,
    ) -> None:
        given_timers: Any = timers
        if not isinstance(given_timers, str) or given_timers not in TIMERS:
            problem = f"timers={shown(timers)} means nothing"
            raise DeclarationError(where, problem, f"There are {', '.join(TIMERS)}")
        self.standing = standing
        self.where = where
        self.owner = owner
        self.given = given
        self.timers = timers
        self.live: dict[Path, Any] = {}
        self.fitting = Fitting(where, standing, given, load)
        self._compare(cls)

    def _compare(self, cls: Any) -> None:
        """Refuse what was taken of another shape."""
        standing, fitting = self.standing, self.fitting
        was = told_class(standing.of)
        if cls.__qualname__.rpartition(">.")[2] != was:
            text = f"it was taken of a {was}, and this is a {cls.__name__}"
            raise SnapshotDoesNotFitError(self.where, (text,))
        known = {field.name for field in attrs.fields(cls)}
        for name in self.given:
            if name not in known:
                fitting.differ((), f"{cls.__name__} has no field {name!r}")
        fitting.orchestrator((), cls, self.owner, None)
        for path, value in standing.timers:
            fitting.timer(path, value)
        fitting.check()

    def run(self, clock: Any = None) -> Any:
        """Build what is missing, copy the data, and only then write; return the orchestrator."""
        standing = self.standing
        live = self.live = self.fitting.build()
        delays = self._delays()
        try:
            machines, owners, models, posts = self._copies(delays)
            self._load(models)
            self._write_new(machines)
            self.fitting.assemble(live, {**owners, (): {**owners[()], **self.given}}, clock)
        except BaseException:
            self.fitting.take_back()
            raise
        self.fitting.arrange(live)
        if self.owner is None and clock is None and not standing.is_real:
            self._set_clock()
        self._forget_timers()
        self._stand()
        self._write(machines, models, owners)
        self._resume(delays, posts)
        self._tell_holders()
        return live[()]

    def _copies(self, delays: Mapping[int, Delay]) -> tuple[Any, Any, Any, Any]:
        """Return the data of machines, orchestrators, models and posts, pointing to what lives."""
        standing, live = self.standing, self.live
        refs = refs_to(
            (live[path] for path in standing.orchestrators),
            (live[path] for path in standing.machines),
            self.fitting.held(),
            self.fitting.live_models,
            delays,
        )
        memo: dict[Any, Any] = {}

        def copied(data: Data) -> Any:
            return restored(data.values, refs, memo)

        return (
            {path: copied(one.data) for path, one in standing.machines.items()},
            {path: copied(one.data) for path, one in standing.orchestrators.items()},
            {
                number: copied(one.data)
                for number, one in enumerate(standing.models)
                if one.data is not None
            },
            {number: restored_post(standing.timers[number][1], refs, memo) for number in delays},
        )

    def _set_clock(self) -> None:
        """Let a virtual clock that has just been made stand where the one stood."""
        clock = place_of(self.live[()]).clock
        if isinstance(clock, VirtualClock) and clock.now() == 0 and clock.next_due is None:
            clock.advance(self.standing.now)

    def _delays(self) -> dict[int, Delay]:
        """Return, for each post that is pending, the one that it is to be, by its number."""
        return {
            number: Delay.resumed(self.live[path])
            for number, (path, value) in enumerate(self.standing.timers)
            if not value.reaction
        }

    def _load(self, models: Mapping[int, Any]) -> None:
        """Let the hooks bring models up to date that are there already."""
        for number, (hook, name) in self.fitting.loads.items():
            model = self.fitting.stood.get(number)
            if model is None:
                continue
            loaded = hook(name, models[number]["dumped"], model)
            if loaded is not model:
                problem = f"load= returned {loaded!r} for {name!r}, and its machine has {model!r}"
                raise DeclarationError(self.where, problem, "Let it bring that up to date")

    def _forget_timers(self) -> None:
        for path in self.standing.orchestrators:
            timers = place_of(self.live[path]).timers
            if timers is not None:
                timers.forget_all()

    def _write_new(self, machines: Mapping[Path, Any]) -> None:
        """Write what was set on new machines: some of it matters when they are attached."""
        for path, values in machines.items():
            if path not in self.fitting.objects:
                put_attributes(self.live[path], values, ())

    def _stand(self) -> None:
        """Let the machines stand as they stood."""
        for path, state in self.standing.machines.items():
            put_local(self.live[path], state.local)

    def _write(
        self,
        machines: Mapping[Path, Any],
        models: Mapping[int, Any],
        owners: Mapping[Path, Any],
    ) -> None:
        """Write the data, after the states: a model may note when its state is set."""
        fields: dict[int, list[str]] = {}
        for path, state in self.standing.machines.items():
            machine = self.live[path]
            fields.setdefault(state.model, []).append(state.state_field)
            _put(machine, machines[path], own_attributes(machine), state.data)
        for number, values in models.items():
            kept = self.standing.models[number]
            if not kept.is_dumped and number not in self.fitting.foreign:
                model = self.fitting.live_models[number]
                _put(model, values, told_by_model(model, fields[number]) or {}, kept.data)
        for path, owner in self.standing.orchestrators.items():
            if path in self.fitting.objects:
                known = told_by_orchestrator(self.live[path])
                _put(self.live[path], owners[path], known, owner.data)

    def _resume(self, delays: Mapping[int, Delay], posts: Mapping[int, Kept]) -> None:
        """Set the joins and the timers."""
        for path, owner in self.standing.orchestrators.items():
            for join in place_of(self.live[path]).joins:
                join.look_anew()
                join.is_true = owner.joins.get(join.told, join.is_true)
        for number, (path, value) in enumerate(self.standing.timers):
            timers = timers_of(place_of(self.live[path]))
            timers.resume(posts.get(number, value), self._due(value), delays.get(number))
        for path in self.standing.orchestrators:
            timers = place_of(self.live[path]).timers
            if timers is not None:
                timers.note_over()

    def _tell_holders(self) -> None:
        """Let those that hold the orchestrator look anew, where it was put back in its place."""
        root = place_of(self.live[()])
        for place, prefix in root.outward[1:]:
            for join in place.joins:
                join.look_anew()
            if place.timers is not None:
                for path in self.standing.machines:
                    keys = (*root.keys[len(place.keys) :], *self.standing.keys_of(path))
                    names = prefix + self.standing.name_of(path)
                    place.timers.forget(names, keys)
                    place.timers.look_at(names, keys, self.live[path], [])

    def _due(self, value: Kept) -> float:
        """Return when a timer is to come due, by the clock that there is now."""
        standing = self.standing
        clock = place_of(self.live[()]).clock
        now: float = clock.now()
        is_real = isinstance(clock, SystemClock)
        if self.timers == "restart":
            return now + value.span
        left = value.due - standing.now
        if self.timers == "remaining" or is_real is not standing.is_real:
            return now + left
        if is_real:
            return now + left - (time.time() - standing.wall)
        return value.due


def _put(thing: Any, values: Mapping[str, Any], known: Mapping[str, Any], data: Any) -> None:
    """Let something have exactly these of its attributes; what could not be copied stays."""
    put_attributes(thing, values, [name for name in known if name not in data.lost])
