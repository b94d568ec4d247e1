"""Places: where an orchestrator stands, and which orchestrators hear of what happens there.

An orchestrator that stands alone is heard on its own bus.
One that a field or a fleet of another holds is heard on the holder's bus as well,
where its topics have the name of the field before them, and on that of the holder's holder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statemachines_orchestrator.records import Settled, next_seq
from statemachines_orchestrator.topics import ANY, PUBLISHED, SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from statemachines_orchestrator._bus import Bus
    from statemachines_orchestrator.records import Record

__all__ = [
    "NO_KEY",
    "PLACE",
    "Level",
    "Place",
    "innermost_first",
    "longer",
    "place_of",
    "wildcards",
]

NO_KEY: Any = object()
"""The key of what stands in a field of its own, and not in a fleet."""
PLACE = "_Orchestrator__place"
"""The attribute that holds where an orchestrator stands."""


class Level:
    """One orchestrator that hears of a machine, and under which name."""

    __slots__ = ("bus", "name", "place", "remembered", "wildcards")

    def __init__(self, place: Place, name: str, remembered: dict[Any, Any]) -> None:
        self.place = place
        """The place of the orchestrator that hears."""
        self.bus = place.bus
        self.name = name
        """The names of the fields that lead from it to the machine: `order`, `desks.order`."""
        self.wildcards = tuple(wildcards(name))
        """The topics of everything that happens to it: `desks.order.*`, `desks.*` and `*`."""
        self.remembered = remembered
        """The topics of transitions, shared by all machines of one class under this name."""


class Place:
    """Where one orchestrator stands. It stays the same object when the orchestrator is held."""

    __slots__ = (
        "bus",
        "heard",
        "holder",
        "injected",
        "is_async",
        "joins",
        "key",
        "keys",
        "leaving",
        "levels",
        "max_reactions",
        "name",
        "outward",
        "own_clock",
        "owner",
        "path",
        "stores",
        "timers",
    )

    def __init__(self, owner: Any, bus: Bus, clock: Any) -> None:
        self.owner = owner
        self.bus = bus
        self.own_clock = clock
        """The clock that it has while nobody holds it."""
        self.max_reactions: int | None = owner.__declaration__.options.max_reactions
        """The number of turns after which a cascade is searched for a loop."""
        self.timers: Any = None
        """The orchestrator's timers, if it ever had one."""
        self.is_async = False
        """Whether what it runs may have to be awaited: a reaction, or a machine at any depth."""
        self.joins: tuple[Any, ...] = ()
        """The orchestrator's joins, in the order of declaration."""
        self.stores: dict[tuple[int, str], Any] = {}
        """The publishers of the machines, by the attribute of the model that keeps the state."""
        self.leaving: dict[Any, None] = {}
        """The publishers of machines that were taken out in mid-step and are not at rest yet."""
        self.stand(None, "", NO_KEY)
        vars(owner)[PLACE] = self

    def stand(self, holder: Place | None, name: str, key: Hashable) -> None:
        """Stand in a field or fleet of `holder`, or alone."""
        self.holder = holder
        self.name = name
        self.key = key
        own = {self.owner.orchestrator_name: self.owner}
        self.levels: dict[tuple[str, type], tuple[Level, ...]] = {}
        if holder is None:
            self.path: tuple[Hashable, ...] = ()
            self.keys: tuple[Hashable, ...] = ()
            self.injected = own
            self.outward: tuple[tuple[Place, str], ...] = ((self, ""),)
        else:
            self.path, self.keys = holder.below(name, key)
            self.injected = {**holder.injected, **own}
            beyond = ((place, f"{prefix}{name}.") for place, prefix in holder.outward)
            self.outward = ((self, ""), *beyond)
        self.heard = tuple(place.bus.kinds for place, _prefix in self.outward)
        """The kinds of topics that somebody ever asked for, here and outward."""

    @property
    def clock(self) -> Any:
        """The clock: that of the outermost holder."""
        return self.outward[-1][0].own_clock

    def must_await(self) -> None:
        """Note, here and outward, that what is run may have to be awaited."""
        for place in self.holders():
            place.is_async = True

    def below(self, name: str, key: Hashable) -> tuple[tuple[Hashable, ...], tuple[Hashable, ...]]:
        """Return the path and the fleet keys of what stands here under `name`."""
        keys = self.keys if key is NO_KEY else (*self.keys, key)
        return longer(self.path, name, key), keys

    def levels_of(self, name: str, machine_class: type) -> tuple[Level, ...]:
        """Return who hears of the machines of one class in the field `name`, innermost first."""
        try:
            return self.levels[name, machine_class]
        except KeyError:
            levels = tuple(
                Level(place, prefix + name, place.remembered(prefix + name, machine_class))
                for place, prefix in self.outward
            )
            self.levels[name, machine_class] = levels
            return levels

    def remembered(self, name: str, machine_class: type) -> dict[Any, Any]:
        """Return what all machines of one class under one name remember of their topics."""
        known: dict[Any, Any] = self.owner.__declaration__.remembered_of(name, machine_class)
        return known

    def publish(self, kind: str, name: str, sender: Any, build: Callable[[], Record]) -> None:
        """Send one record on every signal that is heard, here and outward; build it if one is.

        `kind` is a prefix such as `started:`. A signal of the domain is a topic by itself, too.
        """
        record = None
        for place, prefix in self.outward:
            own = (prefix + name,) if kind == f"{PUBLISHED}:" else ()
            for signal in place.bus.heard(*own, f"{kind}{prefix}{name}", f"{kind}*"):
                if record is None:
                    record = build()
                signal.send(sender, record=record)

    def settled(self, reactions: int, failures: int, cause: int | None) -> None:
        """Announce that a cascade has come to rest, in which the orchestrator announced."""
        seq = next_seq()
        for signal in self.bus.heard(SETTLED):
            record = Settled(
                seq=seq,
                cause=cause,
                path=self.path,
                keys=self.keys,
                reactions=reactions,
                failures=failures,
            )
            signal.send(self.owner, record=record)

    def wake_timers(self) -> None:
        """Let timers that wait for a running event loop have the one that is running, if one is."""
        for place, _prefix in self.outward:
            if place.timers is not None:
                place.timers.wake()

    @property
    def may_be_awaited(self) -> bool:
        """Whether what follows from what happens here may have to be awaited, here or outward."""
        return any(place.is_async for place, _prefix in self.outward)

    def look_at(
        self, name: str, key: Hashable, machine: Any, wrong: list[Any] | None = None
    ) -> None:
        """Begin the times of a machine that has come, here and outward.

        What raises then is kept in `wrong`, if that is given: (orchestrator, reaction, exception).
        """
        _path, keys = self.below(name, key)
        for place, prefix in self.outward:
            if place.timers is not None:
                place.timers.wake()
                place.timers.look_at(prefix + name, keys[len(place.keys) :], machine, wrong)

    def forget(self, name: str, key: Hashable) -> None:
        """End the times of what goes, here and outward."""
        _path, keys = self.below(name, key)
        for place, prefix in self.outward:
            if place.timers is not None:
                place.timers.forget(prefix + name, keys[len(place.keys) :])

    def is_asked_for(self, kind: str) -> bool:
        """Whether somebody, here or outward, ever asked for topics of a kind."""
        for kinds in self.heard:  # noqa: SIM110 - half the time of any()
            if kind in kinds:
                return True
        return False

    def holders(self) -> Iterator[Place]:
        """Yield this place, then those of its holders, outward."""
        return (place for place, _prefix in self.outward)


def longer(path: tuple[Any, ...], name: str, key: Hashable) -> tuple[Any, ...]:
    """Return a path of names and keys that goes on to a field, or to the member of a fleet."""
    return (*path, name) if key is NO_KEY else (*path, name, key)


def wildcards(name: str) -> Iterator[str]:
    """Yield `desks.order.*`, `desks.*` and `*`."""
    while name:
        yield f"{name}.{ANY}"
        name = name.rpartition(".")[0]
    yield ANY


def innermost_first(place: Place) -> int:
    """Sort places: those that more holders stand around come first."""
    return -len(place.outward)


def place_of(orchestrator: Any) -> Any:
    """Return where an assembled orchestrator stands, `None` for one that is not assembled."""
    return orchestrator.__dict__.get(PLACE)
