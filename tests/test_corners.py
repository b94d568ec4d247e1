"""Corners: what comes up rarely, and must hold all the same."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from typing import Any

import attrs
import pytest
from conftest import HOST_IS_3, needs_3
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    AsyncReactionError,
    DeclarationError,
    NotAReactionError,
    Orchestrator,
    ReactionErrors,
    RunawayCascadeError,
    UnknownTopicError,
    WrongMachineError,
    _publisher,
    on,
    on_enter,
    removed,
)
from statemachines_orchestrator._frames import here


class Machine(StateMachine):
    a = State(initial=True)
    b = State()
    go = a.to(b) | b.to(a)


class Alone(Orchestrator):
    machine: Machine


@pytest.fixture(autouse=True)
def _nothing_is_left_in_the_context() -> Any:
    """Outside of every cascade there is no frame, whatever happened."""
    yield
    assert here.get() is None


# Declaring ------------------------------------------------------------------------------------

Circular = "Circular"


def test_a_string_that_names_itself_is_never_resolved() -> None:
    """An annotation that leads back to itself is settled by the machine given."""

    class Odd(Orchestrator):
        machine: Circular  # type: ignore[valid-type]

    assert Odd(Machine()).machine_classes == {"machine": Machine}


def test_a_constructor_that_raises_leaves_its_machines_bare() -> None:
    """What an own `__attrs_post_init__` raises detaches the machines again."""

    class Fails(Orchestrator):
        machine: Machine
        spare: Machine | None = None
        fails: bool = True

        def __attrs_post_init__(self) -> None:
            if self.fails:
                raise ValueError("no")

    machine = Machine()
    with pytest.raises(ValueError, match="no"):
        Fails(machine)
    held = Fails(machine, fails=False)
    seen: list[Any] = []
    held.bus.signal("machine.go").connect(lambda sender, record: seen.append(sender))
    machine.go()
    assert seen == [machine]


def test_an_own_init_that_does_not_attach_is_told() -> None:
    """The bus of such an orchestrator says what its `__init__` has left out."""

    class Forgets(Orchestrator):
        machine: Machine

        def __init__(self) -> None:
            self.machine = Machine()

    with pytest.raises(DeclarationError, match="__attrs_init__"):
        _ = Forgets().bus


def test_a_factory_whose_constructor_takes_no_keywords_is_called_without(engine: Any) -> None:
    """`orc` is passed only to a constructor that hands keywords on to the host."""

    class Strict(Machine):
        def __init__(self) -> None:
            super().__init__()

    strict = engine.machine(Strict)

    class Shop(Orchestrator):
        machine: Strict = attrs.field(factory=strict)

    assert type(Shop().machine) is strict


def test_a_factory_may_be_any_callable() -> None:
    """What it builds is attached; it is called without arguments, as attrs does."""

    def build() -> Machine:
        return Machine(start_value="b")

    class Shop(Orchestrator):
        machine: Machine = attrs.field(factory=build)

    assert str(Shop()) == "Shop(machine=b)"


def test_a_topic_of_a_class_of_which_nothing_is_known_lists_nothing() -> None:
    """An error about a machine that cannot be resolved yet has nothing to suggest."""
    with pytest.raises(UnknownTopicError) as caught:

        class Unknown(Orchestrator):
            machine: Unheard  # type: ignore[name-defined] # noqa: F821

            @on_enter("machine")
            def react(self) -> None:
                """Never runs."""

    assert str(caught.value).endswith("'machine' is a machine, and the state is missing.")


def test_removing_nothing_is_refused() -> None:
    """`name = removed` names an inherited reaction; the nearest is suggested."""

    class Base(Orchestrator):
        machine: Machine

        @on("machine.go")
        def capture(self) -> None:
            """Never runs."""

    with pytest.raises(DeclarationError, match="Did you mean capture"):

        class Typo(Base):
            captur = removed

    with pytest.raises(DeclarationError, match="Delete the line"):

        class Other(Base):
            xyz = removed

    assert repr(removed) == "removed"


def test_a_reaction_may_not_be_overridden_by_a_value() -> None:
    """Only a method takes a reaction's place; `removed` takes it away."""

    class Base(Orchestrator):
        machine: Machine

        @on("machine.go")
        def capture(self) -> None:
            """Never runs."""

    with pytest.raises(DeclarationError, match="capture = removed"):

        class Wrong(Base):
            capture = None  # type: ignore[assignment]


def test_a_topic_for_observers_is_no_reactions() -> None:
    """`failed:` and its like are heard by observers alone."""
    with pytest.raises(NotAReactionError, match="for observers"):

        class Wrong(Orchestrator):
            machine: Machine

            @on("sent:machine.go")
            def react(self) -> None:
                """Never runs."""


def test_a_machine_field_without_init_and_default_is_told() -> None:
    """A field that nobody can set is refused at the first instance."""

    class Wrong(Orchestrator):
        machine: Machine = attrs.field(init=False)

    with pytest.raises(WrongMachineError):
        Wrong()


# Reactions ------------------------------------------------------------------------------------


def test_a_condition_that_gives_an_awaitable_is_a_failure(engine: Any) -> None:
    """A condition answers at once."""

    async def later() -> bool:
        return True

    class Done:
        def __await__(self) -> Any:
            return iter(())

    class Wrong(Orchestrator):
        machine: Machine

        @on("machine.go", cond=lambda: later())
        def react(self) -> None:
            raise AssertionError

        @on("machine.go", cond=Done)
        def react_too(self) -> None:
            raise AssertionError

    group = engine.raises(ReactionErrors, Wrong(engine.machine(Machine)()).machine.go)
    assert [type(error) for error in group.exceptions] == [NotAReactionError] * 2


def test_an_awaitable_that_is_no_coroutine_is_refused_in_a_running_loop() -> None:
    """A future that a `def` reaction returns must be awaited too."""

    class Held(Orchestrator):
        machine: Machine

        @on("machine.go")
        def future(self) -> Any:
            return asyncio.get_running_loop().create_future()

    async def main() -> None:
        with pytest.raises(ReactionErrors) as caught:
            Held(Machine()).machine.go()
        assert [type(error) for error in caught.value.exceptions] == [AsyncReactionError]

    asyncio.run(main())


def test_a_runaway_after_a_call_that_raised_is_a_note(engine: Any) -> None:
    """The machine's own exception is raised, and tells of the runaway."""

    class Raising(Machine):
        def after_go(self, *, fails: bool = False) -> None:
            if fails:
                raise ValueError("own")

    class Loop(Orchestrator, max_reactions=10):
        machine: Raising

        @on("machine.go")
        def again(self) -> Any:
            return self.machine.go()

    loop = Loop(engine.machine(Raising)())
    error = engine.raises(ValueError, lambda: loop.machine.go(fails=True))
    assert "machine.go → Loop.again → machine.go" in error.__notes__[0]
    engine.raises(RunawayCascadeError, Loop(engine.machine(Raising)()).machine.go)


def test_bounds_of_several_orchestrators_in_one_cascade(engine: Any) -> None:
    """The bound is that of the orchestrator whose turn it is; without one it is looked for on."""

    class Unbounded(Orchestrator, max_reactions=None):
        machine: Machine
        other: Any = None
        hops: int = 0

        @on("machine.go")
        def pass_on(self) -> Any:
            self.hops += 1
            return self.other.machine.go() if self.hops < 5000 else None

    class Bounded(Orchestrator, max_reactions=50):
        machine: Machine
        other: Any = None

        @on("machine.go")
        def pass_back(self) -> Any:
            return self.other.machine.go()

    machine = engine.machine(Machine)
    one, two = Unbounded(machine()), Bounded(machine())
    one.other, two.other = two, one
    engine.raises(RunawayCascadeError, one.machine.go)
    assert one.hops < 5000


def test_a_long_bound_is_watched_over_its_last_half() -> None:
    """A loop is found at a bound of any size."""

    class Loop(Orchestrator, max_reactions=5000):
        machine: Machine
        hops: int = 0

        @on("machine.go")
        def again(self) -> None:
            self.hops += 1
            self.post("machine.go")

    loop = Loop(Machine())
    with pytest.raises(RunawayCascadeError):
        loop.machine.go()
    assert loop.hops == 2500


# Publishing -----------------------------------------------------------------------------------


def test_topics_of_open_ended_event_names_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The memory of topics is bounded, and what is not remembered is worked out each time."""
    monkeypatch.setattr(_publisher, "_MOST_REMEMBERED", 1)
    held = Alone(Machine())
    seen: list[str] = []
    held.bus.signal("machine.*").connect(lambda _machine, record: seen.append(record.source.id))
    for _ in range(4):
        held.machine.go()
    assert seen == ["a", "b", "a", "b"]
    assert len(Alone.__declaration__.remembered[Machine]["machine"]) == 1
    Alone.__declaration__.remembered.clear()


def test_a_steps_arguments_copy_and_pickle_as_plain_arguments() -> None:
    """What stands in the place of an event's arguments is a plain dictionary to others."""
    seen: list[Any] = []

    class Peeking(Machine):
        def on_go(self, event_data: Any) -> None:
            seen.append(event_data.trigger_data.kwargs)

    class Held(Orchestrator):
        machine: Peeking

    Held(Peeking()).machine.go(amount=3)
    payload = seen[0]
    for duplicate in (copy.deepcopy(payload), pickle.loads(pickle.dumps(payload))):
        assert type(duplicate) is dict
        assert duplicate == {"amount": 3}


def test_observers_of_sent_share_the_cascade_that_was_begun_for_them(engine: Any) -> None:
    """Two orchestrators that hear one event put their failures into one group."""

    class Other(Orchestrator, orchestrator_name="other"):
        machine: Machine

    machine = engine.machine(Machine)()
    for held in (Alone(machine), Other(machine)):

        def fail(*_args: Any, name: str = type(held).__name__, **_kwargs: Any) -> None:
            raise ValueError(name)

        held.bus.signal("sent:machine.go").connect(fail)
    group = engine.raises(ReactionErrors, machine.go)
    assert [str(error) for error in group.exceptions] == ["Alone", "Other"]


def test_a_signal_sent_by_hand_raises_what_its_observers_raise() -> None:
    """Outside of every cascade there is no group to keep it for."""

    def fail(_sender: Any, record: Any) -> None:
        raise ValueError(record)

    held = Alone(Machine())
    held.bus.signal("machine.go").connect(fail)
    with pytest.raises(ValueError, match="by hand"):
        held.bus.signal("machine.go").send(held.machine, record="by hand")


# Async ----------------------------------------------------------------------------------------


class Slow(StateMachine):
    a = State(initial=True)
    b = State()
    go = a.to(b) | b.to(a)

    async def on_go(self, orc: Any = None, call: Any = None) -> Any:
        await asyncio.sleep(0)
        return None if call is None else call(orc)


@needs_3
def test_a_sync_call_in_the_event_of_a_waiting_caller_belongs_to_that_caller() -> None:
    """Whichever task runs the machine, the event's caller gets what a nested sync call caused."""

    class Two(Orchestrator):
        slow: Slow
        machine: Machine
        log: list[Any] = attrs.field(factory=list)

        @on("machine.go")
        async def react(self) -> None:
            task: Any = asyncio.current_task()
            self.log.append(task.get_name())

    async def main() -> list[Any]:
        two = Two(Slow(), Machine())
        first = asyncio.create_task(two.slow.go(), name="first")
        second = asyncio.create_task(
            two.slow.go(call=lambda orc: orc.machine.go()),
            name="second",
        )
        await asyncio.gather(first, second)
        return two.log

    assert asyncio.run(main()) == ["second"]


@needs_3
def test_a_nested_call_that_nobody_awaits_is_dropped_without_harm() -> None:
    """A coroutine that a reaction forgets belongs to the next call; the host warns of it."""

    class Forgetful(Orchestrator):
        slow: Slow
        other: Slow
        log: list[str] = attrs.field(factory=list)

        @on("slow.go")
        def forget(self) -> None:
            coroutine: Any = self.other.go()
            coroutine.close()
            del coroutine
            gc.collect()

        @on("other.go")
        def react(self) -> None:
            self.log.append("other")

    async def main() -> list[str]:
        held = Forgetful(Slow(), Slow())
        await held.slow.go()
        assert held.log == []
        await held.other.go()
        return held.log

    assert asyncio.run(main()) == ["other", "other"]


@needs_3
def test_an_event_put_without_a_loop_is_taken_by_the_next_call() -> None:
    """`event.put()` (3.x) runs nothing; its reactions belong to the call that takes it."""
    held = Alone(Machine())
    seen: list[Any] = []
    held.bus.signal("machine.go").connect(lambda _machine, record: seen.append(record.cause))
    held.bus.signal("sent:*").connect(lambda _machine, record: seen.append(record.seq))
    machine: Any = held.machine
    machine.go.put()
    machine.go()
    sent = [seen[0], seen[1]]
    assert seen == [*sent, *sent]


@pytest.mark.skipif(not HOST_IS_3, reason="delayed events came with python-statemachine 3.0")
def test_a_delayed_event_is_announced_once_as_sent_and_once_as_taken(engine: Any) -> None:
    """However often the host puts it back until it is due."""
    held = Alone(engine.machine(Machine)())
    seen: list[str] = []
    held.bus.signal("sent:*").connect(lambda _machine, record: seen.append("sent"))
    held.bus.signal("machine.*").connect(lambda _machine, record: seen.append("taken"))
    engine.run(lambda: held.machine.send("go", delay=5))
    assert seen == ["sent", "taken"]
