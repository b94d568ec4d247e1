"""Random joins against a model that recomputes each condition after every settled call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import attrs
import pytest
from conftest import HOST_IS_3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Orchestrator,
    at_least,
    every,
    none,
    on,
    some,
    when,
)

KEYS = ("a", "b", "c")
FIRINGS = 6
"""So many joins of one call do what they are told to do; those that fire later do nothing."""

Do = tuple[Any, ...]
"""`("send", machine, state)`, `("each", state)`, `("put", key, state)`, `("take", key)`,
`("clear",)`."""


class Two(StateMachine):
    """Two states, and an event that leads to each."""

    s0 = State(initial=True)
    s1 = State()
    to0 = s0.to.itself() | s1.to(s0)
    to1 = s1.to.itself() | s0.to(s1)


class Three(StateMachine):
    """Three states, and an event that leads to each."""

    s0 = State(initial=True)
    s1 = State()
    s2 = State()
    to0 = s0.to.itself() | s1.to(s0) | s2.to(s0)
    to1 = s1.to.itself() | s0.to(s1) | s2.to(s1)
    to2 = s2.to.itself() | s0.to(s2) | s1.to(s2)


@attrs.define
class Row:
    """A model that has its state already: an async machine need not enter its first one."""

    state: str


async def on_enter_state(_self: Any) -> None:
    """Make a machine async."""


metaclass: Any = type(StateMachine)
ASYNC: dict[Any, Any] = {
    known: metaclass(
        known.__name__, (known,), {"on_enter_state": on_enter_state, "__module__": __name__}
    )
    for known in (Two, Three)
}


@attrs.frozen
class Asking:
    """One argument of a random join: of a machine, or of the fleet."""

    machine: int | None
    states: tuple[int, ...]
    quantifier: str = ""
    count: int = 0


@attrs.frozen
class Joining:
    """A random join: what it asks for, its condition, and what it does."""

    asks: tuple[Asking, ...]
    cond: tuple[int, int] | None
    """A machine, and the state in which the answer is yes."""
    does: tuple[Do, ...]


@attrs.frozen
class Plan:
    """A random orchestration, and what is done to it from outside."""

    machines: tuple[int, ...]
    """The number of states of each machine."""
    begin: tuple[int, ...]
    """The state in which each machine is given."""
    members: dict[str, int]
    joins: tuple[Joining, ...]
    reactions: dict[tuple[int, int], tuple[Do, ...]]
    """What a reaction to a machine's event does."""
    calls: tuple[Do, ...]


def model(plan: Plan) -> Any:
    """Run the plan on plain values, and recompute every condition at every point of rest."""
    log: list[Any] = []
    states, fleet = list(plan.begin), dict(plan.members)
    queue: deque[Any] = deque()

    def holds(ask: Asking) -> bool:
        if ask.machine is not None:
            return states[ask.machine] in ask.states
        inside = [state in ask.states for state in fleet.values()]
        return (
            bool(fleet)
            and {
                "every": all(inside),
                "some": any(inside),
                "none": not any(inside),
                "at_least": sum(inside) >= ask.count,
            }[ask.quantifier]
        )

    def do(what: Do, *, posted: bool = True) -> None:
        kind, *facts = what
        if kind in {"send", "each"} and posted:
            queue.append(what)
        elif kind == "send":
            states[facts[0]] = facts[1]
            if (facts[0], facts[1]) in plan.reactions:
                queue.append(("react", plan.reactions[facts[0], facts[1]]))
        elif kind == "each":
            fleet.update((key, facts[0]) for key in list(fleet))
        elif kind == "put":
            fleet[facts[0]] = facts[1]
        elif kind == "take":
            fleet.pop(facts[0], None)
        else:
            fleet.clear()

    bits = [all(map(holds, join.asks)) for join in plan.joins]
    for call in plan.calls:
        log.append(call)
        firings = 0
        do(call, posted=False)
        while True:
            while queue:
                turn = queue.popleft()
                if turn[0] == "react":
                    for what in turn[1]:
                        do(what)
                    continue
                if turn[0] != "fired":
                    do(turn, posted=False)
                    continue
                log.append((*turn, tuple(states), tuple(fleet.items())))
                firings += 1
                for what in plan.joins[turn[1]].does if firings <= FIRINGS else ():
                    do(what)
            for index, join in enumerate(plan.joins):
                before, bits[index] = bits[index], all(map(holds, join.asks))
                if before or not bits[index]:
                    continue
                if join.cond is not None:
                    log.append(("asked", index))
                if join.cond is None or states[join.cond[0]] == join.cond[1]:
                    queue.append(("fired", index))
            if not queue:
                break
    return log, states, fleet


def state_of(machine: Any) -> int:
    """Return the number of the state that a machine is in."""
    return int(str(machine.current_state_value)[1])


def real(plan: Plan, *, is_async: bool) -> Any:  # noqa: PLR0915 - a subject with all its parts
    """Run the plan on state machines and an orchestrator."""
    log: list[Any] = []
    firings = [0]

    def built(number: int, state: int) -> Any:
        known: Any = {2: Two, 3: Three}[number]
        machine: Any = (ASYNC[known] if is_async else known)(Row(f"s{state}"))
        return machine

    def do(held: Any, what: Do) -> None:
        kind, *facts = what
        if kind == "send":
            held.post(f"m{facts[0]}.to{facts[1]}")
        elif kind == "each":
            held.post(f"items.to{facts[0]}")
        elif kind == "put":
            held.items[facts[0]] = built(3, facts[1])
        elif kind == "take":
            held.items.pop(facts[0], None)
        else:
            held.items.clear()

    def join(index: int, joining: Joining) -> Any:
        members: dict[str, Any] = {}
        for ask in joining.asks:
            ids = [f"s{state}" for state in ask.states]
            if ask.machine is not None:
                members[f"m{ask.machine}"] = tuple(ids)
            elif ask.quantifier == "at_least":
                members["items"] = at_least(ask.count, *ids)
            else:
                members["items"] = {"every": every, "some": some, "none": none}[ask.quantifier](
                    *ids
                )

        def cond(self: Any) -> bool:
            log.append(("asked", index))
            assert joining.cond is not None
            machine, state = joining.cond
            return state_of(self.machines[f"m{machine}"]) == state

        def react(self: Any) -> None:
            log.append(("fired", index, tuple(states(self)), tuple(fleet(self).items())))
            firings[0] += 1
            for what in joining.does if firings[0] <= FIRINGS else ():
                do(self, what)

        namespace[f"asks{index}"] = cond
        asked = None if joining.cond is None else f"asks{index}"
        return when(cond=asked, **members)(react)

    def reaction(does: tuple[Do, ...]) -> Any:
        def react(self: Any) -> None:
            for what in does:
                do(self, what)

        return react

    def states(held: Any) -> list[int]:
        return [state_of(getattr(held, f"m{index}")) for index in range(len(plan.machines))]

    def fleet(held: Any) -> dict[str, int]:
        return {key: state_of(member) for key, member in held.items.items()}

    namespace: dict[str, Any] = {
        "__annotations__": {
            **{f"m{index}": {2: Two, 3: Three}[n] for index, n in enumerate(plan.machines)},
            "items": Fleet[str, Three],
        },
        "items": attrs.field(factory=Fleet[str, Three]),
    }
    for index, joining in enumerate(plan.joins):
        namespace[f"j{index}"] = join(index, joining)
    for (machine, state), does in plan.reactions.items():
        namespace[f"r{machine}{state}"] = on(f"m{machine}.to{state}")(reaction(does))
    machines = [built(*facts) for facts in zip(plan.machines, plan.begin, strict=True)]
    members = Fleet({key: built(3, state) for key, state in plan.members.items()})
    held: Any = type("Random", (Orchestrator,), namespace)(*machines, members)

    async def send(machine: int, state: int) -> None:
        await getattr(held, f"m{machine}").send(f"to{state}")

    for call in plan.calls:
        log.append(call)
        firings[0] = 0
        if call[0] != "send":
            do(held, call)
        elif is_async:
            asyncio.run(send(call[1], call[2]))
        else:
            getattr(held, f"m{call[1]}").send(f"to{call[2]}")
    return log, states(held), fleet(held)


@st.composite
def plans(draw: Any) -> Plan:
    numbers = tuple(draw(st.lists(st.integers(2, 3), min_size=2, max_size=4)))
    machine = st.integers(0, len(numbers) - 1)
    in_fleet, keys = st.integers(0, 2), st.sampled_from(KEYS)

    def of_machine(index: int) -> Any:
        return st.tuples(st.just(index), st.integers(0, numbers[index] - 1))

    one = machine.flatmap(of_machine)
    send = one.map(lambda pair: ("send", *pair))
    on_fleet = st.one_of(
        st.tuples(st.just("each"), in_fleet),
        st.tuples(st.just("put"), keys, in_fleet),
        st.tuples(st.just("put"), keys, in_fleet),
        st.tuples(st.just("take"), keys),
        st.just(("clear",)),
    )
    last = of_machine(len(numbers) - 1).map(lambda pair: ("send", *pair))  # it has reactions
    do = st.one_of(send, last, on_fleet)
    asks = st.lists(one, min_size=1, max_size=3).map(
        lambda pairs: tuple(
            Asking(index, tuple(sorted({state for other, state in pairs if other == index})))
            for index in dict.fromkeys(index for index, _state in pairs)
        )
    )
    quantified = st.builds(
        Asking,
        st.none(),
        st.lists(in_fleet, min_size=1, max_size=2, unique=True).map(tuple),
        st.sampled_from(["every", "some", "none", "at_least"]),
        st.integers(1, 3),
    )
    joining = st.builds(
        Joining,
        st.one_of(
            asks,
            st.tuples(quantified),
            st.tuples(asks, quantified).map(lambda both: (*both[0][:1], both[1])),
        ),
        st.one_of(st.none(), st.none(), one),
        st.lists(do, max_size=2).map(tuple),
    )
    reactions = st.dictionaries(
        st.one_of(one, of_machine(len(numbers) - 1)),
        st.lists(st.one_of(send, send, on_fleet), min_size=1, max_size=3).map(tuple),
        max_size=3,
    )
    return Plan(
        numbers,
        tuple(draw(st.integers(0, number - 1)) for number in numbers),
        draw(st.dictionaries(keys, in_fleet, max_size=3)),
        tuple(draw(st.lists(joining, min_size=1, max_size=5))),
        _without_loops(draw(reactions)),
        tuple(draw(st.lists(do, min_size=1, max_size=6))),
    )


def _without_loops(reactions: dict[tuple[int, int], tuple[Do, ...]]) -> Any:
    """Let a reaction send only to machines in front of its own."""
    return {
        at: tuple(what for what in does if what[0] != "send" or what[1] < at[0])
        for at, does in reactions.items()
    }


@pytest.mark.parametrize("is_async", [False, True])
@settings(
    max_examples=100 if HOST_IS_3 else 200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(plan=plans())
def test_random_joins_fire_when_the_model_recomputed_at_rest_turns_true(
    plan: Plan,
    is_async: bool,  # noqa: FBT001
) -> None:
    """The same joins are asked and fire, in the same order and in the same states."""
    assert real(plan, is_async=is_async) == model(plan)
