"""Random orchestrations against a model of the queue: the same order, nothing lost or twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, ReactionErrors, on

EVENTS = ("flip", "stay", "once")
"""`once` is taken in the initial state only, and refused in the other."""

Send = tuple[int, str]


@attrs.frozen
class Reacting:
    """A random reaction: to which event of which machine, what it sends, and whether it fails."""

    machine: int
    event: str
    posts: tuple[Send, ...]
    calls: tuple[Send, ...]
    fails: bool


@attrs.frozen
class Plan:
    """A random orchestration, and the first event."""

    machines: int
    reactions: tuple[Reacting, ...]
    nested: dict[Send, tuple[Send, ...]]
    """What the `after_` callbacks call directly."""
    first: Send
    depth: int
    """Every event is sent with this number, and what follows from it with one less, down to 0."""


class Refused(Exception):
    """The model's TransitionNotAllowed."""


def model(plan: Plan) -> Any:
    """Run the plan on plain values: a queue for each machine's step, and one for the cascade."""
    log: list[Any] = []
    states, busy = [0] * plan.machines, set[int]()
    steps: dict[int, deque[Any]] = defaultdict(deque)
    turns: deque[Any] = deque()

    def call(machine: int, event: str, n: int) -> None:
        steps[machine].append((event, n))
        if machine in busy:
            return
        busy.add(machine)
        while steps[machine]:
            event, n = steps[machine].popleft()
            if event == "once" and states[machine]:
                busy.remove(machine)
                raise Refused
            states[machine] ^= event != "stay"
            for other, sent in plan.nested.get((machine, event), ()) if n else ():
                call(other, sent, n - 1)
            log.append(("announced", machine, event, n))
            turns.extend(
                (index, n)
                for index, reaction in enumerate(plan.reactions)
                if (reaction.machine, reaction.event) == (machine, event)
            )
        busy.remove(machine)

    def run(turn: Any) -> None:
        if len(turn) == 3:
            call(*turn)
            return
        index, n = turn
        log.append(("reacted", index, n))
        if n:
            turns.extend((*target, n - 1) for target in plan.reactions[index].posts)
            for other, sent in plan.reactions[index].calls:
                call(other, sent, n - 1)
        if plan.reactions[index].fails:
            raise ValueError

    failures = []
    call(*plan.first, plan.depth)
    while turns:
        turn = turns.popleft()
        try:
            run(turn)
        except (Refused, ValueError) as error:
            failures.append((turn[:-1] if len(turn) == 3 else turn[0], type(error).__name__))
    return log, states, failures


def real(plan: Plan, *, is_async: bool) -> Any:
    """Run the plan on state machines and an orchestrator."""
    log: list[Any] = []

    async def send(targets: Any, n: int, orc: Any) -> None:
        for target, event in targets if n else ():
            result = getattr(orc.machines[f"m{target}"], event)(n=n - 1)
            if is_async:
                await result

    def sends(targets: Any, n: int, orc: Any) -> Any:
        """Send one after the other: now, or when awaited."""
        sending = send(targets, n, orc)
        if is_async:
            return sending
        with pytest.raises(StopIteration):
            sending.send(None)
        return None

    class Machine(StateMachine):
        a = State(initial=True)
        b = State()
        flip = a.to(b) | b.to(a)
        stay = a.to.itself() | b.to.itself()
        once = a.to(b)

        def after_transition(self, event: str, n: int, orc: Any) -> Any:
            index = next(i for i in range(plan.machines) if orc.machines[f"m{i}"] is self)
            return sends(plan.nested.get((index, str(event)), ()), n, orc)

        if is_async:

            async def on_enter_state(self) -> None:
                """Make the machine async."""

    def reaction(index: int, reacting: Reacting) -> Any:
        def react(self: Any, n: int) -> Any:
            log.append(("reacted", index, n))
            for target, event in reacting.posts if n else ():
                self.post(f"m{target}.{event}", n=n - 1)
            if not is_async:
                sends(reacting.calls, n, self)
                return fail()

            async def wait() -> None:
                await send(reacting.calls, n, self)
                fail()

            return wait()

        def fail() -> None:
            if reacting.fails:
                raise ValueError

        return on(f"m{reacting.machine}.{reacting.event}")(react)

    namespace: dict[str, Any] = {
        f"r{index}": reaction(index, reacting) for index, reacting in enumerate(plan.reactions)
    }
    namespace["__annotations__"] = {f"m{index}": Machine for index in range(plan.machines)}
    held = type("Random", (Orchestrator,), namespace)(*(Machine() for _ in range(plan.machines)))
    held.bus.signal("*").connect(
        lambda _machine, record: log.append(
            ("announced", int(record.machine_name[1:]), str(record.event), record.kwargs["n"])
        )
    )
    settled: list[Any] = []
    held.bus.signal("settled").connect(lambda _held, record: settled.append(record))
    failures: list[Any] = []
    machine, event = plan.first

    async def main() -> None:
        await getattr(held.machines[f"m{machine}"], event)(n=plan.depth)

    try:
        if is_async:
            asyncio.run(main())
        else:
            getattr(held.machines[f"m{machine}"], event)(n=plan.depth)
    except ReactionErrors as group:
        kinds: dict[Any, str] = {ValueError: "ValueError", TransitionNotAllowed: "Refused"}
        for failure in group.failures:
            name = failure.reaction.rpartition(".")
            who = int(name[2][1:]) if name[0] == "Random" else (int(name[0][1:]), name[2])
            failures.append((who, kinds[type(failure.exception)]))
    assert len(settled) == 1
    states = [int(machine.current_state_value == "b") for machine in held.machines.values()]
    return log, states, failures


@st.composite
def plans(draw: Any) -> Plan:
    machines = draw(st.integers(2, 5))
    one = st.tuples(st.integers(0, machines - 1), st.sampled_from(EVENTS))
    safe = st.tuples(st.integers(0, machines - 1), st.sampled_from(EVENTS[:2]))
    several = st.lists(one, max_size=2).map(tuple)
    reaction = st.builds(
        lambda target, *rest: Reacting(*target, *rest), one, several, several, st.booleans()
    )
    return Plan(
        machines,
        tuple(draw(st.lists(reaction, max_size=6))),
        draw(st.dictionaries(one, st.lists(safe, max_size=2).map(tuple), max_size=4)),
        draw(safe),
        draw(st.integers(0, 3)),
    )


@pytest.mark.parametrize("is_async", [False, True])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans())
def test_a_random_orchestration_does_what_the_model_of_the_queue_does(
    plan: Plan,
    is_async: bool,  # noqa: FBT001
) -> None:
    """The same announcements and reactions in the same order, states and failures."""
    assert real(plan, is_async=is_async) == model(plan)
