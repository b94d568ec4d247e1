"""Random orchestrations against a model of their product: as many states, the same ones stuck."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any

import attrs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on
from statemachines_orchestrator.exploration import explore

Joint = tuple[int, ...]
Send = tuple[int, str]

ENDLESS = 200
"""A cascade of so many turns has no end; the walk itself looks for loops after a thousand."""
CROWDED = 20
"""Where so many turns wait it grows, and may go on for long before it is found to have no end."""


@attrs.frozen
class Plan:
    """A random orchestration."""

    tables: tuple[dict[tuple[int, str], int], ...]
    """Of each machine: where an event leads in a state. Each machine begins in its state 0."""
    finals: tuple[frozenset[int], ...]
    """Of each machine: the states that are final, which no event leaves."""
    routes: tuple[tuple[Send, Send, bool], ...]
    """The event that is reacted to, the one that is sent, and whether only where it is enabled."""


def sent(plan: Plan, joint: Joint, first: Send) -> Joint | None:
    """Return where an outside event leads, with the routes that follow; `None` without an end."""
    stands, turns, ran = list(joint), deque([first]), 0
    while turns:
        machine, event = turns.popleft()
        ran += 1
        assume(len(turns) < CROWDED)
        if ran > ENDLESS:
            return None
        target = plan.tables[machine].get((stands[machine], event))
        if target is not None:  # else it is refused, or was not enabled, which stops nothing
            stands[machine] = target
            turns.extend(to for source, to, _asks in plan.routes if source == (machine, event))
    return tuple(stands)


def product(plan: Plan) -> tuple[dict[Joint, int], dict[Joint, int], int]:
    """Return how far away each joint state is, and each that is stuck; and how many steps are."""
    first: Joint = (0,) * len(plan.tables)
    distances: dict[Joint, int] = {first: 0}
    stuck, waiting, steps = dict[Joint, int](), deque[Joint]([first]), 0
    while waiting:
        joint = waiting.popleft()
        sends = [
            (machine, event)
            for machine, table in enumerate(plan.tables)
            for state, event in table
            if state == joint[machine]
        ]
        steps += len(sends)
        for target in [sent(plan, joint, send) for send in sends]:
            if target is not None and target not in distances:
                distances[target] = distances[joint] + 1
                waiting.append(target)
        have_ended = [state in ends for state, ends in zip(joint, plan.finals, strict=True)]
        if not sends and not all(have_ended):
            stuck[joint] = distances[joint]
    return distances, stuck, steps


def told(joint: Joint) -> str:
    """Return how the orchestrator prints in a joint state."""
    states = ", ".join(f"m{machine}=s{state}" for machine, state in enumerate(joint))
    return f"Random({states})"


def is_not(joint: Joint) -> Any:
    """Return an invariant that one joint state violates: so it is told how far away that is."""

    def holds(orchestrator: Any) -> bool:
        return repr(orchestrator) != told(joint)

    holds.__name__ = told(joint)
    return holds


def machine_class(table: dict[tuple[int, str], int], finals: frozenset[int]) -> Any:
    """Return a machine class that does what a table says."""
    count = 1 + max([0, *table.values(), *(state for state, _event in table)])
    states = [State(initial=not number, final=number in finals) for number in range(count)]
    namespace: dict[str, Any] = {f"s{number}": state for number, state in enumerate(states)}
    for (source, event), target in table.items():
        transition = states[source].to(states[target])
        namespace[event] = namespace[event] | transition if event in namespace else transition
    namespace |= {"validate_trap_states": False, "validate_final_reachability": False}
    metaclass: Any = type(StateMachine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.x warns of states in which a machine is stuck
        return metaclass("Machine", (StateMachine,), namespace)


def orchestrator_class(plan: Plan) -> Any:
    """Return the orchestrator of a plan, which needs no more to be made."""
    kinds = [machine_class(*facts) for facts in zip(plan.tables, plan.finals, strict=True)]
    namespace: dict[str, Any] = {
        f"r{number}": on(f"m{source[0]}.{source[1]}").send(f"m{to[0]}.{to[1]}", if_enabled=asks)
        for number, (source, to, asks) in enumerate(plan.routes)
    }
    namespace["__annotations__"] = {f"m{number}": kind for number, kind in enumerate(kinds)}
    return type("Random", (Orchestrator,), namespace)


@st.composite
def machines(draw: Any) -> tuple[dict[tuple[int, str], int], frozenset[int]]:
    """Return a table of a machine whose states can all be reached, and which of them are final."""
    count = draw(st.integers(1, 3))
    numbers = st.integers(0, count - 1)
    table = draw(
        st.dictionaries(st.tuples(numbers, st.sampled_from("abc")), numbers, min_size=1, max_size=6)
    )
    table.setdefault((0, "a"), count - 1)
    known, before = {0}, set[int]()
    while known != before:
        before = set(known)
        known |= {target for (source, _event), target in table.items() if source in known}
    names = {state: number for number, state in enumerate(sorted(known))}
    kept = {(names[at], event): names[to] for (at, event), to in table.items() if at in known}
    traps = set(names.values()) - {source for source, _event in kept}
    return kept, frozenset(state for state in sorted(traps) if draw(st.booleans()))


@st.composite
def plans(draw: Any) -> Plan:
    """Return 2 or 3 machines, and up to 4 routes between events that they have."""
    several = draw(st.lists(machines(), min_size=2, max_size=3))
    events = [
        (number, event)
        for number, (table, _finals) in enumerate(several)
        for event in sorted({event for _state, event in table})
    ]
    one = st.sampled_from(events)
    routes = draw(st.lists(st.tuples(one, one, st.booleans()), max_size=4))
    tables, finals = zip(*several, strict=True)
    return Plan(tables, finals, tuple(routes))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans())
def test_a_random_orchestration_has_the_joint_states_of_the_model(plan: Plan) -> None:
    """The same states, as many steps, and the same ones stuck, each as many steps away."""
    distances, stuck, steps = product(plan)
    result = explore(orchestrator_class(plan), invariants=[is_not(joint) for joint in distances])
    assert (result.states, result.steps, result.complete) == (len(distances), steps, True)
    met = {one.state: len(one.path) for one in result.of("invariant")}
    assert met == {told(joint): distance for joint, distance in distances.items()}
    found = {one.state: len(one.path) for one in result.stuck}
    assert found == {told(joint): distance for joint, distance in stuck.items()}
