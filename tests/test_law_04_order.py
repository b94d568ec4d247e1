"""Law 4: in order."""

from __future__ import annotations

from typing import Any

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter, on_exit


class Step(StateMachine):
    a = State(initial=True)
    b = State()
    go = a.to(b) | b.to(a)


def test_first_published_first_run_across_all_machines(engine: Any) -> None:
    """A cascade is first in, first out: breadth first along causes, never depth first."""
    log: list[str] = []

    class Three(Orchestrator):
        one: Step
        two: Step
        three: Step

        @on("one.go")
        def first(self) -> Any:
            log.append("first")
            return self.two.go()

        @on("one.go")
        def second(self) -> Any:
            log.append("second")
            return self.three.go()

        @on("two.go")
        def after_two(self) -> None:
            log.append("after two")

        @on("three.go")
        def after_three(self) -> None:
            log.append("after three")

    step = engine.machine(Step)
    three = Three(step(), step(), step())
    engine.run(lambda: three.one.go())
    assert log == ["first", "second", "after two", "after three"]


def test_a_direct_call_is_published_before_the_transition_whose_callback_made_it(
    engine: Any,
) -> None:
    """A direct call in any callback, `after_` included, is published first, on both engines."""
    log: list[str] = []

    class Caller(StateMachine):
        a = State(initial=True)
        b = State(final=True)
        go = a.to(b)

        def after_go(self, orc: Any) -> Any:
            return orc.two.go()

    class Two(Orchestrator):
        one: Caller
        two: Step

        @on("one.go", "two.go")
        def note(self, record: Any) -> None:
            log.append(record.machine_name)

    two = Two(engine.machine(Caller)(), engine.machine(Step)())
    engine.run(lambda: two.one.go())
    assert log == ["two", "one"]


def test_posted_events_keep_cause_before_effect(engine: Any) -> None:
    """What nested direct calls would invert, `post` keeps in the order of its sending."""
    got: list[str] = []

    class Receiver(StateMachine):
        a = State(initial=True)
        take = a.to.itself()

        def on_take(self, what: str) -> None:
            got.append(what)

    class Sender(StateMachine):
        a = State(initial=True)
        go = a.to.itself()

        def on_go(self, orc: Any) -> None:
            orc.post("middle.go")
            orc.post("receiver.take", "first")

    class Middle(StateMachine):
        a = State(initial=True)
        go = a.to.itself()

        def on_go(self, orc: Any) -> None:
            orc.post("receiver.take", "second")

    class Three(Orchestrator):
        sender: Sender
        middle: Middle
        receiver: Receiver

    three = Three(*(engine.machine(known)() for known in (Sender, Middle, Receiver)))
    engine.run(lambda: three.sender.go())
    assert got == ["first", "second"]


def test_posts_and_reactions_share_one_queue(engine: Any) -> None:
    """`post` goes to the end of the cascade's queue, behind reactions that were queued before."""
    log: list[str] = []

    class Two(Orchestrator):
        one: Step
        two: Step

        @on("one.go")
        def first(self) -> None:
            assert self.post("two.go") is None
            log.append("first")

        @on("one.go")
        def second(self) -> None:
            log.append("second")

        @on("two.go")
        def third(self) -> None:
            log.append("third")

    step = engine.machine(Step)
    two = Two(step(), step())
    engine.run(lambda: two.one.go())
    assert log == ["first", "second", "third"]


def test_one_signal_base_class_before_subclass_then_the_order_of_the_source(engine: Any) -> None:
    """Base class before subclass, then as in the source, whatever the names are."""
    log: list[str] = []

    class Base(Orchestrator):
        one: Step

        @on("one.go")
        def z_first(self) -> None:
            log.append("z_first")

        @on("one.go")
        def a_second(self) -> None:
            log.append("a_second")

    class Sub(Base):
        @on("one.go")
        def m_third(self) -> None:
            log.append("m_third")

        @on("one.go")
        def b_fourth(self) -> None:
            log.append("b_fourth")

        def z_first(self) -> None:
            log.append("z_first, overridden")

    sub = Sub(engine.machine(Step)())
    engine.run(lambda: sub.one.go())
    assert log == ["z_first, overridden", "a_second", "m_third", "b_fourth"]


def test_all_reactions_of_a_signal_are_queued_before_any_runs(engine: Any) -> None:
    """A reaction that moves the machine again does not change who reacts to what was."""
    log: list[Any] = []

    class Alone(Orchestrator):
        one: Step

        @on("one.go")
        def again(self) -> Any:
            log.append("again")
            return self.one.go() if len(log) == 1 else None

        @on("one.go")
        def note(self, target: State) -> None:
            log.append(("note", target.id, self.one.current_state_value))

    alone = Alone(engine.machine(Step)())
    engine.run(lambda: alone.one.go())
    assert log == ["again", ("note", "b", "a"), "again", ("note", "a", "a")]


def test_one_transition_publishes_in_the_order_of_a_statechart_step(engine: Any) -> None:
    """Exits, the event, `machine.*`, `*`, entries."""
    log: list[str] = []

    class Alone(Orchestrator):
        one: Step

        @on_enter("one.b")
        def entered(self) -> None:
            log.append("enter")

        @on("*")
        def any_machine(self) -> None:
            log.append("*")

        @on("one.*")
        def any_event(self) -> None:
            log.append("one.*")

        @on("one.go")
        def event(self) -> None:
            log.append("one.go")

        @on_exit("one.a")
        def exited(self) -> None:
            log.append("exit")

    alone = Alone(engine.machine(Step)())
    engine.run(lambda: alone.one.go())
    assert log == ["exit", "one.go", "one.*", "*", "enter"]
