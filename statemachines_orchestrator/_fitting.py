"""Fitting a snapshot to a class: what differs, and building what it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachine.model import Model

from statemachines_orchestrator._attachment import arrange, assemble_at_rest, disassemble
from statemachines_orchestrator._attrs import attributes_of
from statemachines_orchestrator._host import facts_of, is_machine_class
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._packing import class_called
from statemachines_orchestrator._places import NO_KEY, place_of
from statemachines_orchestrator._standing import class_name
from statemachines_orchestrator._wholes import raw_value
from statemachines_orchestrator.exceptions import (
    SnapshotDoesNotFitError,
    UnknownTopicError,
)
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from statemachines_orchestrator._standing import (
        MachineState,
        ModelState,
        OrchestratorState,
        Standing,
    )
    from statemachines_orchestrator._timers import Kept
    from statemachines_orchestrator._wholes import Path

__all__ = ["Fitting"]


class Fitting:
    """Compares what is kept with a class, and with what stands there already."""

    def __init__(
        self,
        where: str,
        standing: Standing,
        given: Mapping[str, Any],
        load: Callable[[str, Any, Any], Any] | None,
    ) -> None:
        self.where = where
        self.standing = standing
        self.machines = standing.machines
        self.orchestrators = standing.orchestrators
        self.models = standing.models
        self.given = given
        self.load = load
        self.differences: list[str] = []
        self.classes: dict[Path, Any] = {}
        """The class of each machine and orchestrator."""
        self.objects: dict[Path, Any] = {}
        """What stands there already, or was given."""
        self.loads: dict[int, Any] = {}
        """For each model that a hook has told of, the hook that takes it, and the name."""
        self.stood: dict[int, Any] = {}
        """The models that are there already."""
        self.live_models: dict[int, Any] = {}
        """The models, those that were built included."""
        self.children: dict[Path, dict[Hashable, None]] = {}
        for path in (*self.machines, *self.orchestrators):
            for at in range(len(path)):
                self.children.setdefault(path[:at], {})[path[at]] = None

    def differ(self, path: Path, text: str) -> None:
        """Note a difference."""
        self.differences.append(f"{self.standing.told(path)}: {text}")

    def check(self) -> None:
        """Raise `SnapshotDoesNotFitError` if anything differs."""
        if self.differences:
            raise SnapshotDoesNotFitError(self.where, tuple(self.differences))

    # What differs -------------------------------------------------------------------------

    def orchestrator(self, path: Path, cls: Any, stands: Any, hooks: tuple[Any, Any]) -> None:
        """Compare an orchestrator, and everything below it."""
        self.classes[path] = cls
        if stands is not None:
            self.objects[path] = stands
        declaration = cls.__declaration__
        load = declaration.options.load or hooks[0]
        for name in self.children.get(path, ()):
            if name not in declaration.fields:
                text = f"{class_name(cls)} has no machine field of this name"
                self.differ((*path, name), text)
        for name, field in declaration.fields.items():
            self._field(path, name, field, stands, (load, hooks[1]))
        self._data(path, cls, is_new=stands is None)

    def _field(self, path: Path, name: str, field: Any, owner: Any, hooks: tuple[Any, Any]) -> None:
        """Compare what a field holds."""
        is_given = not path and name in self.given
        held = self.given[name] if is_given else getattr(owner, name, None)
        stood = dict(members_in(held))
        below = (*path, name)
        wanted = self.wanted(below, is_fleet=field.fleet)
        if not wanted and not field.fleet and not field.optional:
            self.differ(below, "the snapshot tells of no machine; it was another field then")
        if is_given and list(stood) != list(wanted):
            self.differ(below, f"it was given {shown(held)}, and the snapshot has other members")
        for key, at in wanted.items():
            found: Any = stood.get(key)
            state: Any = self.machines.get(at) or self.orchestrators.get(at)
            if state is None:
                self.differ(at, "the snapshot tells what is below it, and not of it")
                continue
            if found is not None and class_name(found.__class__) != state.of:
                if not field.fleet or is_given:
                    text = f"it is a {class_name(found.__class__)}, and was a {state.of}"
                    self.differ(at, text)
                    continue
                found = None
            kind: Any = found.__class__ if found is not None else _class_of(field, state)
            if kind is None:
                known = " | ".join(class_name(one) for one in field.classes or ())
                text = f"no {state.of} is known here; the field takes {known or field.annotation}"
                self.differ(at, text)
            elif is_machine_class(kind):
                self._machine(at, kind, found, hooks[0])
            else:
                self.orchestrator(at, kind, found, hooks)

    def wanted(self, path: Path, *, is_fleet: bool) -> dict[Hashable, Path]:
        """Return what the snapshot has in a field, by key."""
        if is_fleet:
            return {key: (*path, key) for key in self.children.get(path, ())}
        known = path in self.machines or path in self.orchestrators or path in self.children
        return {NO_KEY: path} if known else {}

    def _machine(self, path: Path, kind: Any, found: Any, load: Any) -> None:
        """Compare a machine."""
        state = self.machines.get(path)
        if state is None:
            self.differ(path, f"it was an orchestrator, and is a {class_name(kind)}")
            return
        self.classes[path] = kind
        known = facts_of(kind).by_id
        ids, history, _has_ended = state.local
        names = [*ids, *(one for _name, remembered in history for one in remembered)]
        for one in dict.fromkeys(name for name in names if name not in known):
            self.differ(path, f"{class_name(kind)} has no state {one!r}")
        model = self.models[state.model]
        if model.is_dumped:
            hook = self.load or load
            self.loads[state.model] = (hook, self.standing.name_of(path))
            if hook is None:
                self.differ(path, "dump= told of its model: give load= as well")
        if found is not None:
            self.objects[path] = found
            self.stood[state.model] = found.model
            return
        for one in state.data.lost:
            self._give(path, f"its {one} could not be copied")
        if not model.is_dumped and not _can_build(model) and state.model not in self.stood:
            self._give(path, f"its model, a {model.of}, cannot be built")

    def _give(self, path: Path, problem: str) -> None:
        name = path[0] if path else "..."
        self.differ(path, f"{problem}: give it, restore(..., {name}=...), or use dump= and load=")

    def _data(self, path: Path, cls: Any, *, is_new: bool) -> None:
        """Compare the fields of an orchestrator that hold plain data."""
        state = self.orchestrators.get(path)
        if state is None:
            self.differ(path, f"it was a machine, and is a {class_name(cls)}")
            return
        given = () if path else self.given
        fields = [one for one in attributes_of(cls) if one.name not in cls.__declaration__.fields]
        names = [one.name for one in fields]
        for name in state.fields:
            if name not in names:
                self.differ(path, f"{class_name(cls)} has no field {name!r}")
        for name in names:
            if name in state.fields or name in given or not is_new:
                continue
            self.differ(path, f"the snapshot has no {name!r}: give it, restore(..., {name}=...)")
        for name in state.data.lost if is_new else ():
            if name not in given:
                text = f"{name!r} could not be copied: give it, restore(..., {name}=...)"
                self.differ(path, text)

    def timer(self, path: Path, kept: Kept) -> None:
        """Compare a pending timer."""
        cls = self.classes.get(path)
        if cls is None:
            return
        declaration = cls.__declaration__
        if kept.reaction:
            named = [
                (f"timeout:{state}", plan.name)
                for plan in declaration.plans
                if plan.timeout is not None
                for state in plan.timeout.states
            ]
            if named.count((kept.topic, kept.reaction)) <= kept.number:
                text = f"{class_name(cls)} has no {kept.reaction} on {kept.topic}"
                self.differ(path, text)
        else:
            try:
                declaration.topics.single_event(kept.topic, self.where)
            except UnknownTopicError as error:
                self.differ(path, f"{kept.topic} was posted for later: {error.problem}")

    # Building -----------------------------------------------------------------------------

    def build(self) -> dict[Path, Any]:
        """Build what is not there yet, and return all of it; orchestrators are not assembled."""
        models = self.live_models = dict(self.stood)
        live: dict[Path, Any] = {}
        for path, cls in self.classes.items():
            found = self.objects.get(path)
            if found is None and path in self.machines:
                found = self._built(path, cls, models)
            live[path] = cls.__new__(cls) if found is None else found
        self.check()
        return live

    def _built(self, path: Path, cls: Any, models: dict[int, Any]) -> Any:
        """Build a machine whose model has its state already, so that nothing is entered."""
        state = self.machines[path]
        try:
            if state.model not in models:
                models[state.model] = self._model(state.model)
            model = models[state.model]
            value = raw_value(cls, state.local[0])
            if value is not None:
                setattr(model, state.state_field, value)
            return cls(model=model, state_field=state.state_field)
        except Exception as error:  # noqa: BLE001 - the user's constructor, or hook
            self._give(path, f"building it raised {shown(error)}")
            return path  # anything: it is never used

    def _model(self, number: int) -> Any:
        state = self.models[number]
        if state.is_dumped:
            hook, name = self.loads[number]
            data: Any = state.data
            return hook(name, data.values["dumped"], None)
        if state.of is None:
            return Model()
        kind = state.cls or class_called(state.of)
        model = kind.__new__(kind)
        for name, value in state.data.values.items() if state.data else ():
            object.__setattr__(model, name, value)
        return model

    # Putting together ---------------------------------------------------------------------

    def members(self, live: Mapping[Path, Any], path: Path) -> Iterator[tuple[str, Any, Any]]:
        """Yield the fields of an orchestrator, what each is to hold by key, and if in a fleet."""
        for name, field in self.classes[path].__declaration__.fields.items():
            wanted = self.wanted((*path, name), is_fleet=field.fleet)
            yield name, {key: live[at] for key, at in wanted.items()}, field.fleet

    def put_together(
        self, live: Mapping[Path, Any], data: Mapping[Path, Mapping[str, Any]], clock: Any
    ) -> None:
        """Assemble the new orchestrators, inner ones first, and arrange those that stood."""
        done: list[Any] = []
        paths = [path for path in self.classes if path in self.orchestrators]
        try:
            for path in sorted(paths, key=len, reverse=True):
                owner = live[path]
                if path in self.objects:
                    for name, members, _is_fleet in self.members(live, path):
                        arrange(place_of(owner), name, members)
                    continue
                for name, value in data[path].items():
                    object.__setattr__(owner, name, value)
                for name, members, is_fleet in self.members(live, path):
                    held = Fleet(members) if is_fleet else members.get(NO_KEY)
                    given = self.given.get(name) if not path else None
                    object.__setattr__(owner, name, held if given is None else given)
                assemble_at_rest(owner, None if path else clock)
                done.append(owner)
        except BaseException:
            for owner in reversed(done):
                disassemble(owner)
            raise


def _class_of(field: Any, state: MachineState | OrchestratorState) -> Any:
    """Return the class that something is to be built of, `None` if none is known."""
    classes = field.classes or ()
    if state.cls is not None and (not classes or issubclass(state.cls, classes)):
        return state.cls
    return next((one for one in _with_subclasses(classes) if class_name(one) == state.of), None)


def _with_subclasses(classes: Any) -> Iterator[Any]:
    for one in classes:
        yield one
        yield from _with_subclasses(type.__subclasses__(one))


def _can_build(state: ModelState) -> bool:
    """Whether a model can be built without a hook."""
    if state.of is None:
        return True
    kind = state.cls or class_called(state.of)
    return kind is not None and state.data is not None and not state.data.lost
