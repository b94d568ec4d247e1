"""Data in an exploration: whatever holds it, each step finds it as it was in its joint state."""

from __future__ import annotations

import socket
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import entered
from statemachine import State, StateMachine

from statemachines_orchestrator import Fleet, Orchestrator, on
from statemachines_orchestrator.exploration import explore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Engine

    from statemachines_orchestrator.exploration import Exploration


class Round(StateMachine):
    """What it counts with counts up to two, and begins anew; that is not in its states."""

    here = State(initial=True)
    there = State()
    turn = here.to(there) | there.to(here)
    more = here.to.itself(cond="is_small", on="count_up")
    none = here.to.itself(on="begin_anew")

    def is_small(self, orc: Any) -> bool:
        return int(counter(orc).number) < 2

    def count_up(self, orc: Any) -> None:
        counter(orc).add()

    def begin_anew(self, orc: Any) -> None:
        counter(orc).reset()


class Rounds(Orchestrator):
    round: Round


class HoldingRounds(Rounds):
    held: Any = None


class Row:
    """A model that can hold anything."""

    state: Any = None


def counter(rounds: Any) -> Any:
    """Return what a round counts with: what something holds, or else its model."""
    held = [getattr(one, "held", None) for one in (rounds, rounds.round, rounds.round.model)]
    return next((one for one in held if one is not None), rounds.round.model)


def counted(make: Callable[[], Any]) -> Exploration:
    """Explore a round; the number that it has counted to makes joint states."""
    return explore(make, key=lambda rounds: counter(rounds).number)


def check(result: Exploration) -> None:
    """Three numbers in two states each.

    Of the three steps in each state `here` that to `more` is refused where the number is two:
    it is tried all the same. In each state `there` one step is possible.
    """
    assert (result.states, result.steps, result.ok) == (6, 3 * 3 + 3 * 1, True)
    assert result.never == {}


# Models -----------------------------------------------------------------------------------------


class Slotted:
    """Keeps its number in a slot, which is not set at the beginning."""

    __slots__ = ("__hidden", "state")

    def __init__(self) -> None:
        self.state: Any = None

    @property
    def number(self) -> int:
        return getattr(self, "_Slotted__hidden", 0)

    def add(self) -> None:
        self.__hidden = self.number + 1

    def reset(self) -> None:
        if self.number:
            del self.__hidden


class Inherited(Slotted):
    """Has slots of its own and those of its base."""

    __slots__ = ("other",)

    def add(self) -> None:
        super().add()
        self.other = self.number

    def reset(self) -> None:
        super().reset()
        self.other = 0


class SlotsAndMore(Slotted):
    """Has slots by its base, and a `__dict__`."""

    extra = 0

    def add(self) -> None:
        assert self.extra == self.number
        super().add()
        self.extra = self.number

    def reset(self) -> None:
        super().reset()
        self.extra = 0


class InASlot(Slotted):
    """What it keeps in a slot is changed in place."""

    __slots__ = ("many",)

    def __init__(self) -> None:
        super().__init__()
        self.many: list[int] = []

    @property
    def number(self) -> int:
        return len(self.many)

    def add(self) -> None:
        self.many.append(1)

    def reset(self) -> None:
        self.many.clear()


class Counting:
    """Keeps its number in a slot."""

    __slots__ = ("number", "state")

    def __init__(self) -> None:
        self.state: Any = None
        self.number = 0

    def add(self) -> None:
        self.number += 1

    def reset(self) -> None:
        self.number = 0


class Covered(Counting):
    """A property that cannot be set stands over the slot of its base."""

    __slots__ = ()

    @property
    def number(self) -> int:  # type: ignore[override]
        return int(SLOT.__get__(self))

    def __init__(self) -> None:
        self.state = None
        self.reset()

    def add(self) -> None:
        SLOT.__set__(self, self.number + 1)

    def reset(self) -> None:
        SLOT.__set__(self, 0)


SLOT: Any = vars(Counting)["number"]


@attrs.define
class Late:
    """An attrs class with slots, of which one is not set at the beginning."""

    state: Any = None
    late: int = attrs.field(init=False)

    @property
    def number(self) -> int:
        return getattr(self, "late", 0)

    def add(self) -> None:
        self.late = self.number + 1

    def reset(self) -> None:
        if self.number:
            del self.late


@attrs.define
class OnSlots(Counting):
    """An attrs class whose base has slots, and that remembers what it has computed."""

    state: Any = None

    def __attrs_post_init__(self) -> None:
        self.reset()

    @cached_property
    def known(self) -> int:
        return self.number

    def add(self) -> None:
        assert self.known == 0
        super().add()


class Dictionary(dict[str, int]):
    """A mapping, which holds its state as an attribute; its own methods do something else."""

    state: Any = None

    def __setitem__(self, key: str, value: int) -> None:
        raise AssertionError

    def __iter__(self) -> Iterator[str]:
        raise AssertionError

    def __bool__(self) -> bool:
        return True

    @property
    def number(self) -> int:
        return self.get("number", 0)

    def add(self) -> None:
        dict.__setitem__(self, "number", self.number + 1)

    def reset(self) -> None:
        self.clear()


class Ordered(OrderedDict[int, int]):
    """A mapping whose order counts: its number is what stands last."""

    state: Any = None

    def __init__(self) -> None:
        super().__init__({1: 1, 2: 2, 0: 0})

    def __setitem__(self, key: int, value: int) -> None:
        super().__setitem__(key, value)

    @property
    def number(self) -> int:
        return next(reversed(self))

    def add(self) -> None:
        self.move_to_end(self.number + 1)

    def reset(self) -> None:
        self.move_to_end(0)


class ByLength:
    """Its number is how much it holds."""

    state: Any = None

    def __bool__(self) -> bool:
        return True

    @property
    def number(self) -> int:
        itself: Any = self
        return len(itself)

    def reset(self) -> None:
        itself: Any = self
        itself.clear()


class Listed(ByLength, list[int]):
    def add(self) -> None:
        self.append(1)


class Slotlisted(list[int]):
    """A list with slots and without a `__dict__`."""

    __slots__ = ("more", "state")

    def __init__(self) -> None:
        self.state: Any = None
        self.more = 0

    def __bool__(self) -> bool:
        return True

    @property
    def number(self) -> int:
        assert self.more == len(self)
        return self.more

    def add(self) -> None:
        self.append(1)
        self.more += 1

    def reset(self) -> None:
        self.clear()
        self.more = 0


class Numbers(ByLength, set[int]):
    def add(self) -> None:  # type: ignore[override]
        set.add(self, len(self))


class Queued(ByLength, deque[int]):
    def add(self) -> None:
        self.append(1)


class Bytes(ByLength, bytearray):
    def add(self) -> None:
        self.append(1)


class Tally(ByLength, Counter[int]):
    def add(self) -> None:
        self.update([len(self)])


class Defaults(ByLength, defaultdict[int, int]):
    def __init__(self) -> None:
        super().__init__(int)

    def add(self) -> None:
        self[len(self)] += 1


MODELS = [
    Slotted,
    Inherited,
    SlotsAndMore,
    InASlot,
    Covered,
    Late,
    OnSlots,
    Dictionary,
    Ordered,
    Listed,
    Slotlisted,
    Numbers,
    Queued,
    Bytes,
    Tally,
    Defaults,
]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_put_back_wherever_it_keeps_its_data(engine: Engine, model: Any) -> None:
    """In slots, those of its bases, in what a built-in class holds; and unset is unset again."""
    check(counted(lambda: Rounds(entered(engine, engine.machine(Round)(model())))))


# What is held -----------------------------------------------------------------------------------


class Locked:
    """Something that holds what cannot be copied."""

    state: Any = None

    def __init__(self) -> None:
        self.many: list[int] = []
        self.parts: dict[str, Any] = {"lock": LOCK, "again": [LOCK, self.many]}
        self.text = (letter for letter in "text")
        LIVING.append(self.text)

    @property
    def number(self) -> int:
        assert self.parts["lock"] is self.parts["again"][0] is LOCK
        assert any(self.text is one for one in LIVING)
        assert self.parts["again"][1] is self.many
        return len(self.many)

    def add(self) -> None:
        self.many.append(1)

    def reset(self) -> None:
        self.many.clear()


LOCK = threading.Lock()
LIVING: list[Any] = []


class Several:
    """Holds something in each of the built-in containers."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.defaults: defaultdict[int, list[int]] = defaultdict(list)
        self.queue: deque[int] = deque(maxlen=3)
        self.numbers: set[int] = set()
        self.bytes = bytearray()
        self.order: OrderedDict[int, int] = OrderedDict()

    @property
    def number(self) -> int:
        """Tell how much it holds, the same in each."""
        held: list[Any] = [self.queue, self.numbers, self.bytes, self.order, self.defaults[0]]
        assert {len(one) for one in held} == {self.counts.total()}
        return len(self.queue)

    def add(self) -> None:
        number = self.number
        self.counts[0] += 1
        self.defaults[0].append(1)
        self.queue.append(1)
        self.numbers.add(number)
        self.bytes.append(1)
        self.order[number] = 1

    def reset(self) -> None:
        held: list[Any] = [self.counts, self.queue, self.numbers, self.bytes, self.order]
        for one in [*held, self.defaults]:
            one.clear()


class Tagged(dict[str, int]):
    """A mapping with attributes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[int] = []

    @property
    def number(self) -> int:
        assert len(self.tags) == len(self)
        return len(self.tags)

    def add(self) -> None:
        self[str(len(self))] = 1
        self.tags.append(1)

    def reset(self) -> None:
        self.clear()
        self.tags.clear()


HELD = [
    Slotted,
    Inherited,
    SlotsAndMore,
    InASlot,
    Late,
    Listed,
    Slotlisted,
    Numbers,
    Queued,
    Bytes,
    Tally,
    Several,
    Tagged,
    Locked,
]
"""What `copy.deepcopy` can copy, but for a part of the last."""


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("place", ["field", "attribute", "machine", "model"])
def test_what_is_held_is_put_back_whatever_it_is(engine: Engine, place: str, held: Any) -> None:
    """In fields, attributes and models, as models themselves are; a lock in it stays that lock."""

    def make() -> Any:
        machine = entered(engine, engine.machine(Round)(Row()))
        if place == "field":
            return HoldingRounds(machine, held=held())
        rounds: Any = Rounds(machine)
        places = {"attribute": rounds, "machine": machine, "model": machine.model}
        places[place].held = held()
        return rounds

    check(counted(make))
    LIVING.clear()


def test_an_orchestrator_is_put_back_with_its_slots(engine: Engine) -> None:
    """Also where nothing was set at the beginning."""

    @attrs.define
    class Narrow(Rounds):
        held: Any = attrs.field(init=False)
        tags: Any = attrs.field(init=False)

        @on("round.more")
        def tag(self) -> None:
            self.tags = self.held.number

        @on("round.none")
        def untag(self) -> None:
            if hasattr(self, "tags"):
                del self.tags

    def make() -> Any:
        narrow = Narrow(entered(engine, engine.machine(Round)()))
        narrow.held = Counting()
        return narrow

    def is_tagged(narrow: Any) -> bool:
        return getattr(narrow, "tags", 0) == int(narrow.held.number)

    result = explore(make, key=lambda narrow: narrow.held.number, invariants=is_tagged)
    check(result)

    class Plain(Rounds):
        __slots__ = ("late",)

        @on("round.turn")
        def turn(self) -> None:
            itself: Any = self
            if hasattr(self, "late"):
                del itself.late
            else:
                itself.late = 1

    def is_late(plain: Any) -> bool:
        return hasattr(plain, "late") is bool(plain.round.current_state_value == "there")

    result = explore(
        lambda: Plain(entered(engine, engine.machine(Round)(Counting()))), invariants=is_late
    )
    assert (result.states, result.steps, result.ok) == (2, 4, True)


# What cannot be copied --------------------------------------------------------------------------


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Pair(Orchestrator):
    one: Light
    two: Light


def is_on(light: Any) -> bool:
    return bool(light.current_state_value == "on")


def pair(engine: Engine, kind: Any) -> Any:
    """Return what makes a pair of lights."""
    light = engine.machine(Light)
    return lambda: kind(entered(engine, light()), entered(engine, light()))


class Refusing:
    """A fake that refuses to be copied."""

    def __deepcopy__(self, _memo: Any) -> Any:
        raise ZeroDivisionError


class Anew:
    """Its state is made anew whenever it is copied, and cannot be copied."""

    def __getstate__(self) -> Any:
        return {"lock": threading.Lock()}


class Careless:
    """Copies what it holds without telling of what."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __deepcopy__(self, _memo: Any) -> Any:
        made = Careless()
        made.lock = deepcopy(self.lock)
        return made


@pytest.mark.parametrize(
    "make_thing",
    [
        threading.Lock,
        socket.socket,
        lambda: (one for one in "text"),
        Refusing,
        Anew,
        Careless,
    ],
)
@pytest.mark.parametrize("place", ["orchestrator", "machine", "model"])
def test_what_cannot_be_copied_is_there_where_it_was(
    engine: Engine, place: str, make_thing: Any
) -> None:
    """The very object, in the states in which it was there, and in no other."""
    thing = make_thing()

    class Connecting(Pair):
        @on("one.flip")
        def connect(self) -> None:
            there = places(self)[place]
            if is_on(self.one):
                assert not hasattr(there, "connection")
                there.connection = thing
            else:
                assert there.connection is thing
                del there.connection

    def places(one: Any) -> dict[str, Any]:
        return {"orchestrator": one, "machine": one.two, "model": one.two.model}

    def is_connected(one: Any) -> bool:
        there = places(one)[place]
        return getattr(there, "connection", None) is (thing if is_on(one.one) else None)

    result = explore(pair(engine, Connecting), invariants=is_connected)
    assert (result.states, result.steps, result.findings) == (4, 8, ())
    if isinstance(thing, socket.socket):
        thing.close()


def test_what_stands_beside_what_cannot_be_copied_is_put_back(engine: Engine) -> None:
    """Also among the arguments of events and of posts."""

    class Door(StateMachine):
        shut = State(initial=True)
        ajar = State()
        swing = shut.to(ajar) | ajar.to(shut)

        def on_swing(self, basket: list[int], lock: Any = None, orc: Any = None) -> None:
            assert lock is LOCK
            assert basket == []
            basket.append(1)
            assert orc is not None

    class House(Orchestrator):
        door: Door
        light: Light

        @on("light.flip")
        def later(self) -> None:
            if is_on(self.light):
                self.post("door.swing", basket=[], lock=LOCK, delay=1)

    def make() -> Any:
        return House(*[entered(engine, engine.machine(one)()) for one in (Door, Light)])

    events = {"door.swing": {"basket": [], "lock": LOCK}}
    result = explore(make, events=events)
    assert (result.states, result.steps, result.findings) == (2, 2, ())
    timed = explore(make, events={"light.flip": None}, limit=50)
    assert timed.findings == ()


def test_what_interrupts_a_copy_ends_the_walk() -> None:
    """It is no failure to copy."""

    class Interrupting:
        def __deepcopy__(self, _memo: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(lambda: HoldingRounds(Round(), held=Interrupting()))


# Fleets -----------------------------------------------------------------------------------------


class Street(Orchestrator):
    """A switch that puts lamps up and takes them down, by other ways to the fleet."""

    switch: Light
    lamps: Fleet[str, Light] = attrs.field(factory=Fleet[str, Light])
    ways: Any = None

    @on("switch.flip")
    def change(self) -> None:
        fleet = self.switch.model.lamps
        assert fleet is self.ways["lamps"] is self.lamps
        if is_on(self.switch):
            fleet["a"] = LAMPS[0]
        else:
            del fleet["a"]


LAMPS: list[Any] = []


def test_a_fleet_in_the_data_is_that_of_the_field(engine: Engine) -> None:
    """In fields, models and bound methods, while members come and go."""

    def make() -> Any:
        light = engine.machine(Light)
        LAMPS[:] = [entered(engine, light())]
        street = Street(entered(engine, light(Row())))
        street.switch.model.lamps = street.lamps
        street.ways = {"lamps": street.lamps, "look": street.lamps.get}
        return street

    def is_one(street: Any) -> bool:
        lamps = street.lamps
        same = lamps is street.ways["lamps"] is street.switch.model.lamps
        return same and street.ways["look"]("a") is lamps.get("a")

    result = explore(make, invariants=is_one)
    # Without a lamp the switch is off; with one the lamp, which stays as it was left, is on or off.
    assert (result.states, result.steps, result.findings) == (3, 1 + 2 * 2, ())


def test_a_fleet_that_comes_and_goes_is_that_of_the_field(engine: Engine) -> None:
    """An optional one, which is made anew when it is put back."""

    class Maybe(Orchestrator):
        switch: Light
        other: Light
        lamps: Fleet[str, Light] | None = None
        way: Any = None

        @on("switch.flip")
        def change(self) -> None:
            if self.lamps is None:
                self.lamps = self.way = Fleet()

    def is_one(maybe: Any) -> bool:
        return maybe.way is maybe.lamps

    result = explore(pair(engine, Maybe), invariants=is_one)
    # Without a fleet the switch is off, and the other light is on or off; with one both are.
    assert (result.states, result.steps, result.findings) == (2 + 4, 2 * 6, ())
