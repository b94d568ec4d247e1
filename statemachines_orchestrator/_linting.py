"""What is certainly, or very likely, a mistake in an orchestration, told without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._alone import alone
from statemachines_orchestrator._loops import loops_in
from statemachines_orchestrator._survey import Survey, addresses, split_topic
from statemachines_orchestrator._wiring import class_of
from statemachines_orchestrator.topics import ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._graphs import Link
    from statemachines_orchestrator._joins import Term
    from statemachines_orchestrator._loops import Loop
    from statemachines_orchestrator._shapes import Shape
    from statemachines_orchestrator._survey import Kept, Wired
    from statemachines_orchestrator.orchestrator import Orchestrator

__all__ = ["Lint", "lint"]


@attrs.frozen
class Lint:
    """One finding: something in an orchestration that is certainly, or very likely, a mistake."""

    kind: str
    """`unreachable`, `refused`, `cycle` or `alone`."""
    where: str
    """Where it stands in the user's source: `module.Class.name (file, line)`, of a machine
    `module.Class.field`."""
    problem: str
    fix: str

    def __str__(self) -> str:
        """Say what is wrong where, and the fix."""
        return f"{self.where}: {self.problem}. {self.fix}."


def lint(orchestrator: Orchestrator | type[Orchestrator]) -> tuple[Lint, ...]:
    """Return what is certainly, or very likely, a mistake, without running anything.

    Four kinds of findings:

    `unreachable`: a reaction to what can never happen: a state that no transition enters, or
    leaves; an event that no state has in which the machine can be; a join that asks for a state in
    which it cannot be, or of one machine for two that exclude each other.
    `refused`: a route to an event that no state has in which the machine can be; or, where the
    route reacts to the same machine, none in which it can be then.
    `cycle`: routes without `cond` and `if_enabled` that lead to each other for ever, through
    transitions without a guard or a validator.
    `alone`: a machine that nothing connects with another.

    Certain is `unreachable`, and that no state has the event at all: of the machines that the
    class declares, or the instance holds, begun in their initial states, and sent events. Guards
    are taken for saying yes, and of statecharts more for possible than is.
    Likely is the rest: what a listener, a model, another thread, or a reaction that the cascade had
    queued before may send is not known. For a route, callbacks, other reactions to the same, and
    what sent the cause count, with all that they may send its machine before its turn; it is not
    told if one of them cannot be read. A loop is not told if something that it sets off is known to
    send what leads out of it; machines with parallel, history or eventless states are not followed,
    and not more than some thousand turns. A machine is not told to be alone if a reaction to
    `settled` or to any transition concerns it, if code of the orchestration names it, or if a body
    cannot be read.

    In the order of declaration: reactions, those of the outer class first, then machines.
    An instance is judged by the machines that it holds. Findings are told as their class calls
    things, and those that are told the same are told once.
    Raises `DeclarationError` for what is no orchestrator, and for a class whose annotations only
    its first instance resolves.
    """
    given: Any = orchestrator
    cls = class_of(given, "lint()")
    survey = Survey(cls, None if given is cls else given)
    loops = loops_in(survey)
    found: list[Lint] = []
    for index, wired in enumerate(survey.wired):
        found.extend(_unreachable(survey, wired))
        found.extend(_refused(survey, wired))
        found.extend(_cycle(wired, loop) for loop in loops if loop.first == index)
    for path in alone(survey):
        problem = f"nothing connects {path!r} with another machine"
        fix = "Let a reaction name it, or leave it out of the orchestrator"
        where = f"{cls.__declaration__.where}.{path}"
        found.append(Lint("alone", where, problem, fix))
    return tuple(dict.fromkeys(found))


# Reactions that never run ---------------------------------------------------------------------


def _unreachable(survey: Survey, wired: Wired) -> Iterator[Lint]:
    """Yield what is wrong with the topics of a reaction."""
    plan = wired.plan
    if plan.join is not None:
        for problem, fix in _join_problems(survey, wired):
            yield Lint("unreachable", plan.reaction.where, problem, fix)
        return
    states = () if plan.timeout is None else plan.timeout.states
    for topic in (*plan.topics, *(f"timeout:{state}" for state in states)):
        told = _why_never(survey, wired, topic)
        if told is not None:
            problem, fix = told
            yield Lint(
                "unreachable", plan.reaction.where, f"{topic!r} never happens: {problem}", fix
            )


def _why_never(survey: Survey, wired: Wired, topic: str) -> tuple[str, str] | None:
    """Return why a topic is never published, with the fix; `None` if it may be."""
    kind, rest = split_topic(topic)
    found = survey.find(wired.prefix + rest)
    if found is None or found[1] == ANY:
        return None
    kept, member = found
    machine = wired.own(kept.path)
    is_active = any(member in shape.reachable for shape in kept.shapes)
    causes = () if kind == "timeout" else survey.causes(wired.whole(topic)) or ()
    if any(moves for _kept, _shape, moves in causes) or (kind == "timeout" and is_active):
        return None
    if kind == "":
        problem = f"{machine!r} can be in no state that has the event {member!r}"
        return problem, "Give a state that it can be in such a transition, or drop the topic"
    if not is_active:
        problem = f"no transition leads {machine!r} to {member!r}"
        return problem, "Give it one, or drop the topic"
    if kind == "exit":
        problem = f"no transition of {machine!r} leaves {member!r}"
        return problem, "Give it a transition that does, or drop the topic"
    problem = f"{machine!r} begins in {member!r}, which is not announced, and nothing leads there"
    return problem, f"React to what leaves it, exit:{machine}.{member}, or drop the topic"


def _join_problems(survey: Survey, wired: Wired) -> Iterator[tuple[str, str]]:
    """Yield why a join can never hold, with the fix."""
    join: Any = wired.plan.join
    terms: list[tuple[Term, str]] = [
        (term, asked.text)
        for term, asked in zip(join.terms, wired.plan.reaction.asked, strict=True)
    ]
    for term, text in terms:
        if not _may_hold(survey, wired, term):
            yield f"{text!r} never holds: no transition leads there", "Ask for another state"
    for place, (term, text) in enumerate(terms):
        for other, other_text in terms[place + 1 :]:
            if _exclude(survey, wired, term, other):
                problem = f"{text!r} and {other_text!r} never hold together"
                yield problem, "Ask for one of several states in a tuple: (..., ...)"


def _states_of(survey: Survey, wired: Wired, term: Term) -> Iterator[tuple[str, str, Kept | None]]:
    """Yield what a term asks for: each machine and state."""
    for names, states in term.states.items():
        path = wired.prefix + ".".join(names)
        for state in sorted(states):
            yield path, state, survey.kept.get(path)


def _may_hold(survey: Survey, wired: Wired, term: Term) -> bool:
    """Whether one of the states of a term may be active."""
    return term.quantifier == "none" or any(
        kept is None or any(state in shape.reachable for shape in kept.shapes)
        for _path, state, kept in _states_of(survey, wired, term)
    )


def _exclude(survey: Survey, wired: Wired, one: Term, other: Term) -> bool:
    """Whether no configuration has a state of each of two terms, though each may hold alone."""
    if one.quantifier or other.quantifier:
        return False
    if not (_may_hold(survey, wired, one) and _may_hold(survey, wired, other)):
        return False
    return not any(
        path != other_path or kept is None or _fit(kept, state, other_state)
        for path, state, kept in _states_of(survey, wired, one)
        for other_path, other_state, _kept in _states_of(survey, wired, other)
    )


def _fit(kept: Kept, state: str, other: str) -> bool:
    return any(
        state in shape.above and other in shape.above and shape.fits(state, other)
        for shape in kept.shapes
    )


# Routes to what is refused --------------------------------------------------------------------


def _refused(survey: Survey, wired: Wired) -> Iterator[Lint]:
    """Yield the targets of a route that no machine takes when its turn comes."""
    route = wired.plan.route
    for place, target in enumerate(wired.targets):
        found = survey.find(target)
        if route is None or found is None:
            continue
        kept, event = found
        told = _told(wired, kept, event)
        if not any(shape.taking(event) for shape in kept.shapes):
            yield _refusal(wired, f"{told}: it can be in no state that has the event")
            continue
        topics = _topics_of(wired)
        late = [topic for topic in topics if _is_refused(survey, wired, kept, topic, place)]
        if route.route.if_enabled and len(late) < len(topics):
            continue  # that is what it is for
        for topic in late:
            problem = f"{told} after {topic!r}: it is in no state then that has the event"
            yield _refusal(wired, problem)


def _told(wired: Wired, kept: Kept, event: str) -> str:
    route: Any = wired.plan.route
    never = "never sends" if route.route.if_enabled else "sends in vain"
    return f"it {never} {wired.own(kept.path)}.{event}"


def _refusal(wired: Wired, problem: str) -> Lint:
    fix = "Send what it takes then, or react to something else"
    return Lint("refused", wired.plan.reaction.where, problem, fix)


def _topics_of(wired: Wired) -> tuple[str, ...]:
    """Return what leads to a route; of a join, all that it asks for."""
    plan = wired.plan
    if plan.timeout is not None:
        return tuple(f"timeout:{state}" for state in plan.timeout.states)
    return plan.topics if plan.join is None else (plan.join.text,)


def _is_refused(survey: Survey, wired: Wired, kept: Kept, topic: str, place: int) -> bool:
    """Whether the machine of a target can be in no state that has the event after a topic."""
    if not kept.is_one_for(wired.prefix):
        return False
    states = _states_then(survey, wired, kept, topic)
    before = wired.targets[:place]
    moves = None if states is None else _sent_before(survey, wired, kept, topic, before)
    if states is None or moves is None:
        return False
    (event,) = addresses(wired.targets[place : place + 1], kept.path)
    return not any(
        shape.taking_in(shape.moved(then, moves), event) for shape, then in states.items()
    )


def _states_then(
    survey: Survey, wired: Wired, kept: Kept, topic: str
) -> dict[Shape, frozenset[str]] | None:
    """Return in which states a topic leaves a machine, `None` if it tells nothing of it."""
    join = wired.plan.join
    if join is not None:
        return _joined(wired, kept)
    kind, rest = split_topic(topic)
    found = survey.find(wired.prefix + rest)
    if found is None or found[0] is not kept:
        return None
    member = found[1]
    if kind == "timeout":
        return {shape: shape.beside(member) for shape in kept.shapes if member in shape.above}
    active = (member,) if kind == "enter" else ()
    causes = survey.causes(wired.whole(topic)) or ()
    return {shape: shape.after(moves, *active) for _kept, shape, moves in causes if moves} or None


def _joined(wired: Wired, kept: Kept) -> dict[Shape, frozenset[str]] | None:
    """Return in which states a machine is when a join holds, by the terms that ask for it alone."""
    found: dict[Shape, frozenset[str]] = {}
    join: Any = wired.plan.join
    for term in join.terms:
        paths = [wired.prefix + ".".join(names) for names in term.states]
        if term.quantifier is None and paths == [kept.path]:
            (states,) = term.states.values()
            for shape in kept.shapes:
                known = [shape.beside(state) for state in states if state in shape.reachable]
                together = frozenset[str]().union(*known)
                found[shape] = found.get(shape, together) & together
    return found or None


def _sent_before(
    survey: Survey, wired: Wired, kept: Kept, topic: str, before: list[str]
) -> list[str] | None:
    """Return the events that a machine may be sent before the turn of a route, `None` if any.

    By what the transition sets off within its step, by reactions that are queued with the route, by
    what sent the cause, and goes on, by callbacks of what these send, and `before`, by the route.
    """
    own = survey.own_sends(kept)
    if wired.is_bound or not own.is_complete:
        return None
    links: list[Link] = []
    senders: list[Link] = []
    if wired.plan.join is not None:
        links = [link for link in survey.links if link.kind == "when"]
    elif wired.plan.timeout is None:  # which is an outermost call of its own
        calls, topics = survey.at_once([wired.whole(topic)])
        links = calls + survey.set_off(topics)
        senders = _senders(survey, kept, wired.whole(topic))
    links = [link for link in links if link.name != wired.name] + senders
    sent = [*before, *(target for link in links for target in link.targets)]
    links += survey.at_once(sent)[0]
    unknown = {one.name for one in survey.wired if one.is_bound}
    if any(link.is_open or link.name in unknown for link in links):
        return None
    sent += [*own.targets, *(target for link in links for target in link.targets)]
    return addresses(sent, kept.path)


def _senders(survey: Survey, kept: Kept, topic: str) -> list[Link]:
    """Return what may send the event that publishes a topic of a machine."""
    moves = [move for _kept, _shape, some in survey.causes(topic) or () for move in some]
    return [
        link
        for link in survey.links
        for event in dict.fromkeys(addresses(link.targets, kept.path))
        if any(move.events.takes(event) for move in moves)
    ]


# Loops ----------------------------------------------------------------------------------------


def _cycle(wired: Wired, loop: Loop) -> Lint:
    """Tell a loop as `RunawayCascadeError` tells it."""
    problem = f"it goes round in a loop that nothing breaks: {' → '.join(loop.names)}"
    return Lint("cycle", wired.plan.reaction.where, problem, "Break it with a cond= or a guard")
