"""Topics: the names of signals, how they are read, and what a machine class makes of them.

`order.process` names an event of the machine in field `order`; `order.*` all of its transitions,
`*` those of every machine; `enter:order.shipped` and `exit:order.shipped` a state;
`settled` the point of rest.
`sent:` goes before an event; `started:`, `finished:`, `failed:` and `abandoned:`
before the name of a reaction or a posted topic.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator.exceptions import UnknownTopicError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from statemachine import State

__all__ = ["SETTLED", "Topics", "Vocabulary", "canonical", "vocabulary_of"]

SETTLED = "settled"
ANY = "*"
STATE_KINDS = ("enter", "exit")
EVENT_KINDS = ("sent",)
TURN_KINDS = ("started", "finished", "failed", "abandoned")
OBSERVED_KINDS = (*EVENT_KINDS, *TURN_KINDS)
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
class Topics:
    """The topics of one orchestrator class."""

    vocabularies: Mapping[str, Vocabulary | None]
    """By machine field; `None` where the machine's class is not known yet."""
    reactions: frozenset[str] = frozenset()
    """The names of the reactions."""

    def resolve(self, topic: str, where: str) -> str:
        """Return `topic` in its canonical spelling.

        Raises `UnknownTopicError`, which names `where`, if it is no topic of the class.
        """
        if topic in (SETTLED, ANY):
            return topic
        kind, colon, rest = topic.rpartition(":")
        if not colon:
            return self._member(topic, topic, where, "event", (SETTLED,))
        if kind in STATE_KINDS:
            return f"{kind}:{self._member(topic, rest, where, 'state')}"
        if kind in EVENT_KINDS:
            return f"{kind}:{rest if rest == ANY else self.event(rest, where, topic)}"
        if kind in TURN_KINDS:
            return f"{kind}:{self._turn(topic, kind, rest, where)}"
        problem = f"{kind!r} is no kind of topic"
        topics = [f"{known}:{rest}" for known in (*STATE_KINDS, *OBSERVED_KINDS)]
        raise _unknown(where, topic, problem, topics, topic)

    def event(self, topic: str, where: str, whole: str | None = None) -> str:
        """Return `machine.event`, or `machine.*`, in its canonical spelling."""
        return self._member(whole or topic, topic, where, "event")

    def _member(
        self, whole: str, path: str, where: str, what: str, beside: tuple[str, ...] = ()
    ) -> str:
        field, dot, member = path.partition(".")
        prefix = whole[: len(whole) - len(path)]
        if field not in self.vocabularies:
            problem = f"no machine is called {field!r}"
            raise _unknown(where, whole, problem, [*self._known(what), *beside], path, prefix)
        if not dot or not member:
            problem = f"{field!r} is a machine, and the {what} is missing"
            raise _unknown(where, whole, problem, self._known(what, field), path, prefix)
        vocabulary = self.vocabularies[field]
        if what == "state":
            if vocabulary is None or member in vocabulary.states:
                return path
        else:
            member = canonical(member)
            if member == ANY or vocabulary is None or vocabulary.takes(member):
                return f"{field}.{member}"
        problem = f"machine {field!r} has no {what} {member!r}"
        raise _unknown(where, whole, problem, self._known(what, field), path, prefix)

    def _turn(self, whole: str, kind: str, name: str, where: str) -> str:
        """Return the name of a reaction or posted topic; `failed:` may name an observer too."""
        if name == ANY or name in self.reactions:
            return name
        head = name.partition(".")[0]
        if head in self.vocabularies:
            return self.event(name, where, whole)
        known = sorted(self.reactions)
        if kind == "failed" and not get_close_matches(name, known, 1):
            return name
        problem = f"no reaction or posted event is called {name!r}"
        raise _unknown(where, whole, problem, known, name, kind + ":")

    def _known(self, what: str, field: str | None = None) -> list[str]:
        fields = self.vocabularies if field is None else [field]
        return [
            f"{name}.{member}"
            for name in fields
            for vocabulary in [self.vocabularies[name]]
            if vocabulary is not None
            for member in sorted(vocabulary.states if what == "state" else vocabulary.events)
        ]


def _unknown(  # noqa: PLR0913, PLR0917 - the facts of an error
    where: str, topic: str, problem: str, known: list[str], given: str, prefix: str = ""
) -> UnknownTopicError:
    nearest = next(iter(get_close_matches(given, known, 1)), None)
    return UnknownTopicError(
        where,
        topic,
        problem,
        tuple(prefix + name for name in known),
        nearest if nearest is None else prefix + nearest,
    )
