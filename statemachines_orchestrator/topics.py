"""Topics: the names of signals, how they are read, and what a machine class makes of them.

`order.process` names an event of the machine in field `order`; `order.*` all of its transitions,
`*` those of every machine; `enter:order.shipped` and `exit:order.shipped` a state;
`settled` the point of rest; `low_stock` a signal of the domain.
`sent:` and `ignored:` go before an event; `started:`, `finished:`, `failed:`, `abandoned:` and
`elapsed:` before the name of a reaction or a posted topic; `published:` before that of a signal.
Where a field holds orchestrators, a topic is a path: `desks.order.pay`, and `desks.*` for every
transition below. A topic is read from the left, through fields; what is left is the event,
which may contain dots.
"""

from __future__ import annotations

from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.exceptions import UnknownTopicError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from statemachine import State

    What: TypeAlias = Literal["event", "state", "topic"]

__all__ = [
    "ANY",
    "PUBLISHED",
    "SETTLED",
    "Nest",
    "Topics",
    "Vocabulary",
    "canonical",
    "check_topic",
    "unknown",
    "vocabulary_of",
]

SETTLED = "settled"
ANY = "*"
STATE_KINDS = ("enter", "exit")
PUBLISHED = "published"
"""The kind of topics for observers of the signals of the domain."""
EVENT_KINDS = ("sent", "ignored")
TURN_KINDS = ("started", "finished", "failed", "abandoned", "elapsed")
OBSERVED_KINDS = (*EVENT_KINDS, *TURN_KINDS, PUBLISHED)
"""The kinds of topics that are for observers, and no reaction's."""


def canonical(event: str) -> str:
    """Return the one spelling of an event's name: `done_state_x` is `done.state.x`.

    python-statemachine declares both for `done_state_…`, `done_invoke_…` and `error_…`.
    """
    if event.startswith("error_"):
        return event.replace("_", ".")
    for prefix in ("done_state_", "done_invoke_"):
        if event.startswith(prefix):
            return prefix.replace("_", ".") + event[len(prefix) :]
    return str(event)


@attrs.frozen
class Vocabulary:
    """What the events and states of one or several machine classes are called."""

    events: frozenset[str]
    """The declared event ids, in their canonical spelling."""
    states: frozenset[str]
    """The ids of all states, at every level."""
    patterns: tuple[Any, ...] = ()
    """The host's declared events, whose `match` tells what else they take (`error.*`, `*`)."""

    def takes(self, event: str) -> bool:
        """Whether some transition can be caused by an event of this name."""
        return event in self.events or any(
            hasattr(pattern, "match") and pattern.match(event) for pattern in self.patterns
        )

    def has(self, member: str, what: What) -> bool:
        """Whether there is such a state, or an event, or all of them: `*`."""
        if what == "state":
            return member in self.states
        return member == ANY or self.takes(member)


def walk_states(states: Iterable[State]) -> Iterator[State]:
    """Yield every state, outermost first; on 2.x all are on one level."""
    for state in states:
        yield state
        yield from walk_states(getattr(state, "states", ()))


def vocabulary_of(*machine_classes: Any) -> Vocabulary:
    """Read the vocabulary of python-statemachine classes."""
    states = tuple(state for known in machine_classes for state in walk_states(known.states))
    events = {
        str(event): event
        for state in states
        for transition in state.transitions
        for event in transition.events
    }
    return Vocabulary(
        events=frozenset(canonical(word) for event in events for word in event.split(" ")),
        states=frozenset(state.id for state in states),
        patterns=tuple(events.values()),
    )


@attrs.frozen
class Nest:
    """What the orchestrators in a field are called by: the topics of their classes."""

    classes: tuple[Any, ...]

    @property
    def topics(self) -> list[Topics]:
        """The topics of each class, as far as they are known by now."""
        return [known.__declaration__.topics for known in self.classes]


@attrs.frozen
class _Unknown:
    """Why a path leads nowhere, and what is known there."""

    problem: str
    known: tuple[str, ...]


@attrs.frozen
class Topics:
    """The topics of one orchestrator class."""

    vocabularies: Mapping[str, Vocabulary | Nest | None]
    """By field; `None` where the class of the machine is not known yet."""
    reactions: frozenset[str] = frozenset()
    """The names of the reactions."""
    signals: frozenset[str] = frozenset()
    """The names of the signals of the domain."""
    fleets: frozenset[str] = frozenset()
    """The fields that hold fleets."""

    def resolve(self, topic: str, where: str) -> str:
        """Return `topic` in its canonical spelling.

        Raises `UnknownTopicError`, which names `where`, if it is no topic of the class.
        """
        if check_topic(where, topic) in (SETTLED, ANY):
            return topic
        kind, colon, rest = topic.rpartition(":")
        if not colon:
            return self._find_or_raise(topic, topic, where, "topic", (SETTLED,))
        if rest == ANY and kind in OBSERVED_KINDS:
            return topic
        if kind in STATE_KINDS:
            name = self.state(rest, where, topic)
        elif kind in EVENT_KINDS:
            name = self.event(rest, where, topic)
        elif kind in TURN_KINDS:
            name = self._turn(topic, kind, rest, where)
        elif kind == PUBLISHED:
            name = self._published(topic, rest, where)
        else:
            problem = f"{kind!r} is no kind of topic"
            if kind == "timeout":
                problem += "; observers hear of a timeout as elapsed: with the name of its reaction"
                raise UnknownTopicError(where, topic, problem, (), f"elapsed:{ANY}")
            topics = [f"{known}:{rest}" for known in (*STATE_KINDS, *OBSERVED_KINDS)]
            raise unknown(where, topic, problem, topics, topic)
        return f"{kind}:{name}"

    def event(
        self, topic: str, where: str, whole: str | None = None, beside: Iterable[str] = ()
    ) -> str:
        """Return `machine.event`, or `machine.*`, in its canonical spelling.

        What may be meant `beside` these is suggested as well.
        """
        check_topic(where, topic)
        return self._find_or_raise(whole or topic, topic, where, "event", beside)

    def single_event(self, topic: str, where: str, beside: Iterable[str] = ()) -> str:
        """Return `machine.event` in its canonical spelling: something that can be sent."""
        resolved = self.event(topic, where, beside=beside)
        if resolved.endswith(f".{ANY}"):
            raise UnknownTopicError(where, topic, "it names no single event")
        return resolved

    def state(self, path: str, where: str, whole: str | None = None) -> str:
        """Return `machine.state`."""
        return self._find_or_raise(whole or path, path, where, "state")

    def is_fleet(self, path: str) -> bool:
        """Whether the names lead to a fleet."""
        field, _, below = path.partition(".")
        nest = self.vocabularies.get(field)
        if below and isinstance(nest, Nest):
            return any(topics.is_fleet(below) for topics in nest.topics)
        return not below and field in self.fleets

    def declares(self, event: str) -> bool:
        """Whether some machine, at any depth, may take an event of this name."""
        return any(known is None or known.takes(event) for known in self._vocabularies_below())

    def event_names(self) -> list[str]:
        """Return the names of the events of all machines, at any depth."""
        return sorted(
            {event for known in self._vocabularies_below() if known for event in known.events}
        )

    def _vocabularies_below(self) -> Iterator[Vocabulary | None]:
        """Yield the vocabularies of all machines, at any depth, those of each class once."""
        waiting: list[Topics] = [self]
        seen = {id(self)}
        while waiting:
            for known in waiting.pop().vocabularies.values():
                if not isinstance(known, Nest):
                    yield known
                    continue
                new = [topics for topics in known.topics if id(topics) not in seen]
                seen.update(id(topics) for topics in new)
                waiting.extend(new)

    def _find_or_raise(
        self, whole: str, path: str, where: str, what: What, beside: Iterable[str] = ()
    ) -> str:
        found = self._find(path, what)
        if isinstance(found, str):
            return found
        prefix = whole[: len(whole) - len(path)]
        known = list(found.known)
        if path.partition(".")[0] not in self.vocabularies:
            known.extend(beside)
        raise unknown(where, whole, found.problem, known, path, prefix)

    def _find(self, path: str, what: What) -> str | _Unknown:
        """Return a path in its canonical spelling, or why there is none."""
        field, dot, member = path.partition(".")
        if path in self.signals and what != "state":
            problem = f"{path!r} is a signal of the domain; publish it: publish({path!r}, ...)"
            return path if what == "topic" else _Unknown(problem, ())
        if field not in self.vocabularies:
            noun = "machine" if dot or what != "topic" else "machine or signal"
            return _Unknown(f"no {noun} is called {field!r}", self._known(what))
        vocabulary = self.vocabularies[field]
        if isinstance(vocabulary, Nest):
            return self._find_below(field, member, vocabulary, what)
        if what != "state":
            member = canonical(member)
        if member and (vocabulary is None or vocabulary.has(member, what)):
            return f"{field}.{member}"
        return _Unknown(self._no_member(field, member, vocabulary, what), self._known(what, field))

    def _no_member(self, field: str, member: str, vocabulary: Any, what: What) -> str:
        """Return what is wrong with a member of a machine, or of the machines of a fleet."""
        noun = "state" if what == "state" else "event"
        thing = "fleet" if field in self.fleets else "machine"
        if not member:
            return f"{field!r} is a {thing}, and the {noun} is missing"
        key, _, event = member.partition(".")
        if thing == "fleet" and vocabulary.has(event, what):
            return _no_key(field, key, event)
        return f"{thing} {field!r} has no {noun} {member!r}"

    def _find_below(self, field: str, member: str, nest: Nest, what: What) -> str | _Unknown:
        """Go on in the orchestrators that a field holds."""
        if member == ANY and what != "state":
            return f"{field}.{ANY}"
        if not member:
            problem = f"{field!r} holds an orchestrator, and what is meant in it is missing"
            return _Unknown(problem, self._known(what, field))
        found: Any = None
        for topics in nest.topics:
            found = topics._find(member, what)  # noqa: SLF001 - it is of the same class
            if isinstance(found, str):
                return f"{field}.{found}"
        key, _, rest = member.partition(".")
        if field in self.fleets and any(
            isinstance(topics._find(rest, what), str)  # noqa: SLF001
            for topics in nest.topics
        ):
            return _Unknown(_no_key(field, key, rest), ())
        problem = f"in {field!r} {found.problem}"
        return _Unknown(problem, tuple(f"{field}.{name}" for name in found.known))

    def _turn(self, whole: str, kind: str, name: str, where: str) -> str:
        """Return the name of a reaction or posted topic; `failed:` may name an observer too."""
        if self._is_turn(name):
            return name
        if name.partition(".")[0] in self.vocabularies and not name.endswith(f".{ANY}"):
            return self.event(name, where, whole)
        known = sorted(self.reactions)
        if kind == "failed" and not get_close_matches(name, known, 1):
            return name
        problem = f"no reaction or posted event is called {name!r}"
        raise unknown(where, whole, problem, known, name, kind + ":")

    def _published(self, whole: str, name: str, where: str) -> str:
        """Return the name of a signal of the domain, here or in the orchestrators below."""
        owners: list[Topics] = [self]
        *fields, signal = name.split(".")
        for field in fields:
            nests = [known.vocabularies.get(field) for known in owners]
            owners = [one for nest in nests if isinstance(nest, Nest) for one in nest.topics]
        if any(signal in topics.signals for topics in owners):
            return name
        problem = f"no signal of the domain is called {name!r}"
        raise unknown(where, whole, problem, sorted(self.signals), name, f"{PUBLISHED}:")

    def _is_turn(self, name: str) -> bool:
        """Whether a reaction, here or in the orchestrators below, has this name."""
        field, _, below = name.partition(".")
        nest = self.vocabularies.get(field)
        if below and isinstance(nest, Nest):
            return any(topics._is_turn(below) for topics in nest.topics)  # noqa: SLF001
        return name in self.reactions

    def _known(self, what: What, field: str | None = None, depth: int = 3) -> tuple[str, ...]:
        """Return what could be meant, no deeper than orchestrators are held three times."""
        known: list[str] = []
        for name in self.vocabularies if field is None else [field]:
            vocabulary = self.vocabularies[name]
            if isinstance(vocabulary, Nest):
                below = (topics._known(what, depth=depth - 1) for topics in vocabulary.topics)  # noqa: SLF001
                members: Iterable[str] = chain.from_iterable(below) if depth else ()
            elif vocabulary is None:
                members = ()
            else:
                members = sorted(vocabulary.states if what == "state" else vocabulary.events)
            known.extend(f"{name}.{member}" for member in members)
        if what == "topic" and field is None:
            known.extend(sorted(self.signals))
        return tuple(known)


def _no_key(field: str, key: str, rest: str) -> str:
    return (
        f"{field!r} is a fleet, and a topic names no key; what is for all members is "
        f"'{field}.{rest}', for one of them send a bound event: post(orc.{field}[{key!r}].{rest})"
    )


def check_topic(where: str, topic: Any) -> str:
    """Return `topic`; raise `UnknownTopicError` if it is no string."""
    if isinstance(topic, str):
        return topic
    name = getattr(topic, "name", None)
    fix = f"; write {name!r}" if isinstance(name, str) else ""
    raise UnknownTopicError(where, shown(topic), f"a topic is a string{fix}")


def unknown(  # noqa: PLR0913, PLR0917 - the facts of an error
    where: str, topic: str, problem: str, known: list[str], given: str, prefix: str = ""
) -> UnknownTopicError:
    """Return the error for a topic that is none: with the nearest to `given` of all `known`."""
    nearest = next(iter(get_close_matches(given, known, 1)), None)
    return UnknownTopicError(
        where,
        topic,
        problem,
        tuple(prefix + name for name in known),
        nearest if nearest is None else prefix + nearest,
    )
