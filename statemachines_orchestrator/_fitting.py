"""Fitting a snapshot to a class: what differs, and building what it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from statemachine.model import Model

from statemachines_orchestrator._attachment import arrange_all, assemble_at_rest, disassemble
from statemachines_orchestrator._attrs import attributes_of
from statemachines_orchestrator._checking import is_built
from statemachines_orchestrator._host import facts_of, is_hosts_model, is_machine_class
from statemachines_orchestrator._members import members_in
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._packing import class_called, name_of_class
from statemachines_orchestrator._places import NO_KEY, place_of
from statemachines_orchestrator._standing import is_called, told_class
from statemachines_orchestrator._wholes import put_attributes, raw_value
from statemachines_orchestrator.exceptions import (
    SnapshotDoesNotFitError,
    UnknownTopicError,
)
from statemachines_orchestrator.fleets import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from statemachines_orchestrator._places import Place
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
        self.fleets: dict[tuple[Path, str], Any] = {}
        """The fleets that the fields of the orchestrators are to hold."""
        self.opened: list[tuple[Place, str, Any]] = []
        """The fields of what stands already that held nothing, and were given an empty fleet."""
        self.foreign: set[int] = set()
        """The models that were given, of another class than those that were taken: left alone."""
        self.numbers: dict[int, int] = {}
        """By the identity of the models that are there already, which they are."""

    def differ(self, path: Path, text: str) -> None:
        """Note a difference."""
        self.differences.append(f"{self.standing.told(path)}: {text}")

    def check(self) -> None:
        """Raise `SnapshotDoesNotFitError` if anything differs."""
        if self.differences:
            raise SnapshotDoesNotFitError(self.where, tuple(self.differences))

    # What differs -------------------------------------------------------------------------

    def orchestrator(self, path: Path, cls: Any, stands: Any, load: Any) -> None:
        """Compare an orchestrator, and everything below it."""
        state = self.orchestrators.get(path)
        if state is None:
            self.differ(path, f"it was a machine, and is a {cls.__name__}")
            return
        self.classes[path] = cls
        if stands is not None:
            self.objects[path] = stands
        declaration = cls.__declaration__
        load = declaration.options.load or load
        for name, keys in state.held.items():
            if name not in declaration.fields and keys is not None:
                self.differ((*path, name), f"{cls.__name__} has no machine field of this name")
        for name, field in declaration.fields.items():
            self._field(path, name, field, stands, load)
        self._data(path, state, cls, is_new=stands is None)

    def _field(self, path: Path, name: str, field: Any, owner: Any, load: Any) -> None:
        """Compare what a field holds."""
        is_given = not path and name in self.given
        held = self.given[name] if is_given else getattr(owner, name, None)
        stood = dict(members_in(held))
        below = (*path, name)
        wanted = self.wanted(path, name, is_fleet=field.fleet)
        if wanted is None and not field.optional:
            self.differ(below, "the snapshot has nothing here; it was another field then")
        keys = list(wanted or ())
        if is_given and (list(stood) != keys or (held is None) is not (wanted is None)):
            self.differ(below, f"it was given {shown(held)}, and the snapshot has other members")
        if field.fleet and (below in self.machines or below in self.orchestrators):
            self.differ(below, "it was no fleet, and is one")
        for key, at in (wanted or {}).items():
            state: Any = self.machines.get(at) or self.orchestrators.get(at)
            if state is None:
                self.differ(at, "it was a fleet, and is none")
                continue
            found: Any = stood.get(key)
            is_a = cast("Any", type(found))  # a mock tells another class
            if found is not None and not is_called(is_a, state.of):
                if not field.fleet or is_given:
                    now, then = is_a.__name__, told_class(state.of)
                    if now == then:
                        now, then = name_of_class(is_a), state.of
                    self.differ(at, f"it is a {now}, and was a {then}")
                    continue
                found = None
            if found is not None and is_machine_class(is_a) and not is_built(found):
                self.differ(at, "it was given a machine that was never built")
                continue
            kind = (
                found.__class__
                if found is not None
                else _class_of(field, state, self.classes[path])
            )
            self._member(at, kind, found, field, load, is_given=is_given)

    def _member(  # noqa: PLR0913 - the facts of a member
        self, path: Path, kind: Any, found: Any, field: Any, load: Any, *, is_given: bool
    ) -> None:
        """Compare one machine or orchestrator, of the class that it is to be of."""
        if kind is None:
            state: Any = self.machines.get(path) or self.orchestrators.get(path)
            known = " | ".join(one.__name__ for one in field.classes or ())
            text = f"no {told_class(state.of)} is known here; the field takes "
            self.differ(path, text + (known or field.annotation))
        elif is_machine_class(kind):
            self._machine(path, kind, found, load, is_given=is_given)
        else:
            self.orchestrator(path, kind, found, load)

    def wanted(self, path: Path, name: str, *, is_fleet: bool) -> dict[Hashable, Path] | None:
        """Return what the snapshot has in a field, by key; `None` for nothing."""
        keys = self.orchestrators[path].held.get(name)
        if keys is None:
            return None
        below = (*path, name)
        if is_fleet:
            return {key: (*below, key) for key in keys}
        return {NO_KEY: below}

    def _machine(self, path: Path, kind: Any, found: Any, load: Any, *, is_given: bool) -> None:
        """Compare a machine."""
        state = self.machines.get(path)
        if state is None:
            self.differ(path, f"it was an orchestrator, and is a {kind.__name__}")
            return
        self.classes[path] = kind
        known = facts_of(kind).by_id
        ids, history, _has_ended = state.local
        names = [*ids, *(one for _name, remembered in history for one in remembered)]
        for one in dict.fromkeys(name for name in names if name not in known):
            self.differ(path, f"{kind.__name__} has no state {one!r}")
        model = self.models[state.model]
        if model.is_dumped:
            hook = self.load or load
            self.loads[state.model] = (hook, self.standing.name_of(path))
            if hook is None:
                self.differ(path, "dump= told of its model: give load= as well")
        if found is not None:
            self.objects[path] = found
            self._model_there(path, state, found, is_given=is_given)
            return
        for one in state.data.lost:
            self._give(path, f"its {one} could not be copied")
        if not model.is_dumped and not _can_build(model) and state.model not in self.stood:
            self._give(path, f"its model, a {model.of}, cannot be built")

    def _model_there(self, path: Path, state: MachineState, found: Any, *, is_given: bool) -> None:
        """Compare the model of a machine that is there already."""
        number, model = state.model, found.model
        kept = self.models[number]
        of = None if is_hosts_model(model) else name_of_class(model.__class__)
        if found.state_field != state.state_field:
            self.differ(
                path, f"its state_field is {found.state_field!r}, {state.state_field!r} then"
            )
        if of != kept.of and not kept.is_dumped:
            if not is_given:
                was = told_class(kept.of or ":Model")
                self.differ(path, f"its model is a {model.__class__.__name__}, and was a {was}")
            self.foreign.add(number)
        if self.stood.get(number, model) is not model:
            self.differ(path, "it has a model of its own, and had that of another machine")
        if self.numbers.setdefault(id(model), number) != number:
            self.differ(path, "it has the model of another machine, and had one of its own")
        self.stood[number] = model

    def _give(self, path: Path, problem: str) -> None:
        name = path[0] if path else "..."
        self.differ(path, f"{problem}: give it, restore(..., {name}=...), or use dump= and load=")

    def _data(self, path: Path, state: OrchestratorState, cls: Any, *, is_new: bool) -> None:
        """Compare the fields of an orchestrator that hold plain data."""
        given = () if path else self.given
        fields = [one for one in attributes_of(cls) if one.name not in cls.__declaration__.fields]
        names = [one.name for one in fields]
        for name in state.fields:
            if name not in names:
                self.differ(path, f"{cls.__name__} has no field {name!r}")
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
                text = f"{cls.__name__} has no {kept.reaction} on {kept.topic}"
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
        for path, owner in live.items():
            if path in self.orchestrators:
                self._fleets(path, owner, live)
        return live

    def _fleets(self, path: Path, owner: Any, live: Mapping[Path, Any]) -> None:
        """Note which fleets its fields are to hold; data may point to them, so they come first."""
        for name, members, is_fleet in self.members(live, path):
            if not is_fleet or members is None:
                continue
            if path not in self.objects:
                given = None if path else self.given.get(name)
                self.fleets[path, name] = Fleet(members) if given is None else given
                continue
            if getattr(owner, name) is None:
                arrange_all([(place_of(owner), name, {})])
                self.opened.append((place_of(owner), name, None))
            self.fleets[path, name] = getattr(owner, name)

    def held(self) -> Iterator[Any]:
        """Yield the fleet of each field that there was then, in order; `None` where there is none.

        That is how what stands for a fleet in data is numbered: by fields, be there fleets or not.
        """
        for path, state in self.orchestrators.items():
            for name in state.held:
                yield self.fleets.get((path, name))

    def take_back(self) -> None:
        """Let the fields that were given an empty fleet hold nothing again."""
        arrange_all(self.opened)

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
        data: Any = state.data
        if state.is_dumped:
            hook, name = self.loads[number]
            return hook(name, data.values["dumped"], None)
        if state.of is None:
            return Model()
        kind = state.cls or class_called(state.of)
        model = kind.__new__(kind)
        put_attributes(model, data.values, ())
        return model

    # Putting together ---------------------------------------------------------------------

    def members(self, live: Mapping[Path, Any], path: Path) -> Iterator[tuple[str, Any, bool]]:
        """Yield the fields of an orchestrator, what each is to hold by key, and if in a fleet."""
        for name, field in self.classes[path].__declaration__.fields.items():
            wanted = self.wanted(path, name, is_fleet=field.fleet)
            members = None if wanted is None else {key: live[at] for key, at in wanted.items()}
            yield name, members, field.fleet

    def assemble(self, live: Mapping[Path, Any], data: Mapping[Path, Any], clock: Any) -> None:
        """Assemble the orchestrators that are new, inner ones first; all of them or none."""
        done: list[Any] = []
        paths = [path for path in self.classes if path in self.orchestrators]
        new = [path for path in paths if path not in self.objects]
        try:
            for path in sorted(new, key=len, reverse=True):
                owner = live[path]
                for name, value in data[path].items():
                    object.__setattr__(owner, name, value)
                for name, members, is_fleet in self.members(live, path):
                    held = members and members.get(NO_KEY)
                    if is_fleet:
                        held = self.fleets.get((path, name))
                    given = self.given.get(name) if not path else None
                    object.__setattr__(owner, name, held if given is None else given)
                assemble_at_rest(owner, None if path else clock)
                done.append(owner)
        except BaseException:
            for owner in reversed(done):
                disassemble(owner)
            raise

    def arrange(self, live: Mapping[Path, Any]) -> None:
        """Let the orchestrators that are there already hold what they held then."""
        arrange_all(
            [
                (place_of(owner), name, members)
                for path, owner in self.objects.items()
                if path in self.orchestrators
                for name, members, _is_fleet in self.members(live, path)
            ]
        )


def _class_of(field: Any, state: MachineState | OrchestratorState, owner: Any) -> Any:
    """Return the class that something is to be built of, `None` if none is known."""
    classes = field.classes or ()
    if state.cls is not None and (not classes or issubclass(state.cls, classes)):
        return state.cls
    if not classes:  # its annotation was not resolved yet
        module, _, name = state.of.rpartition(":")
        found = class_called(f"{module}:{name}") or class_called(f"{owner.__module__}:{name}")
        return found if is_machine_class(found) or hasattr(found, "__declaration__") else None
    all_of_them = list(_with_subclasses(classes))
    exact = [one for one in all_of_them if name_of_class(one) == state.of]
    known = [one for one in all_of_them if is_called(one, state.of)]
    alike = [one for one in all_of_them if one.__name__ == told_class(state.of)]
    return next(iter(exact + known + alike), None)


def _with_subclasses(classes: Any) -> Iterator[Any]:
    """Yield classes with those below them, but for what `@attrs.define` has made anew."""
    for one in classes:
        if getattr(one, "__declaration__", None) is None or one.__declaration__.own in {None, one}:
            yield one
        yield from _with_subclasses(type.__subclasses__(one))


def _can_build(state: ModelState) -> bool:
    """Whether a model can be built without a hook."""
    if state.of is None:
        return True
    kind = state.cls or class_called(state.of)
    return kind is not None and state.data is not None and not state.data.lost
