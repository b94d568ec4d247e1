"""What is asked of joint states: invariants, and goals that are reached or must stay reachable."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from statemachine import State

from statemachines_orchestrator._host import active_ids
from statemachines_orchestrator._members import machines_at
from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._wholes import names_of, words_of
from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.reactions import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statemachines_orchestrator._wholes import Whole

__all__ = ["Goal", "Invariant", "goals_of", "invariant", "invariants_of", "predicates_of"]

_MARK = "__invariant__"
_Method = TypeVar("_Method", bound=Callable[..., Any])


def invariant(method: _Method) -> _Method:
    """Mark a method of an orchestrator as an invariant: what must hold in every joint state.

        @invariant
        def nothing_is_shipped_unpaid(self):
            return "shipped" not in active(self.order) or "captured" in active(self.payment)

    `explore` and `testing.stateful` ask it at rest, without arguments. It is violated if it returns
    something false other than `None`, or raises: so it may assert instead. It looks, and changes
    nothing. A method that overrides it is an invariant too.
    The method itself stays what it was.
    Raises `DeclarationError` for what is no function, and for an `async def`.
    """
    function: Any = method
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        where = getattr(function, "__qualname__", "@invariant")
        problem = f"@invariant decorates {shown(function)}, which cannot be asked at once"
        raise DeclarationError(where, problem, "Put it on a method that is a def")
    setattr(function, _MARK, True)
    return method


@attrs.frozen
class Invariant:
    """One invariant, bound to where it is asked."""

    name: str
    """`money_is_right`; of an inner orchestrator `desks.money_is_right`."""
    ask: Callable[[], Any]
    source: tuple[Any, ...]
    """How a test asks it; what is no string stands there by its name."""

    def violation(self) -> tuple[bool, Exception | None]:
        """Return whether it is violated, and what it raised."""
        try:
            answer = self.ask()
        except Exception as error:  # noqa: BLE001 - it is a finding
            return True, error
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            problem = "this invariant gave an awaitable"
            raise DeclarationError(self.name, problem, "Let it answer at once")
        return answer is not None and not answer, None


def _marked(cls: type) -> Iterator[str]:
    """Yield the names of the methods that are invariants, base class before subclass."""
    found: dict[str, None] = {}
    for klass in reversed(cls.__mro__):
        for name, value in vars(klass).items():
            if getattr(value, _MARK, False) is True:
                found[name] = None
    return iter(found)


def invariants_of(whole: Whole, predicates: Iterable[Any]) -> Iterator[Invariant]:
    """Yield the invariants of everything that lives in an orchestrator, then those given."""
    for path, owner in whole.orchestrators.items():
        names, told = names_of(path, whole.orchestrators), words_of(path, whole.orchestrators)
        for name in _marked(owner.__class__):
            source = ".".join(part for part in ("shop", told, name) if part)
            full = f"{names}.{name}" if names else name
            yield Invariant(full, getattr(owner, name), (f"{source}()",))
    given: Counter[str] = Counter()
    for predicate in predicates:
        name = _name_of(predicate)
        given[name] += 1
        if given[name] > 1:
            name = f"{name}, number {given[name]}"
        yield Invariant(name, partial(predicate, whole.owner), (predicate, "(shop)"))


def predicates_of(given: Any, where: str) -> list[Callable[[Any], Any]]:
    """Return predicates of an orchestrator: one, or several."""
    if given is None:
        return []
    several: Any = given
    are_several = not callable(given) and isinstance(given, Iterable)
    many: list[Any] = list(several) if are_several else [given]
    for one in many:
        if not callable(one) or inspect.iscoroutinefunction(one):
            problem = f"{shown(one)} is no predicate"
            fix = "Give a function of the orchestrator that answers at once"
            raise DeclarationError(where, problem, fix)
    return many


def _name_of(predicate: Any) -> str:
    """Return how a predicate is called; one that has no name is called by its place."""
    while isinstance(predicate, partial):
        predicate = predicate.func
    name = str(getattr(predicate, "__name__", type(predicate).__name__))
    return place(predicate) if name == "<lambda>" else name


@attrs.frozen
class Goal:
    """Joint states of some kind: by a predicate, or by the states of machines."""

    text: str
    holds: Callable[[Any], bool]
    given: Any

    @property
    def source(self) -> Any:
        """How a test names it: a mapping by its source, a predicate by its name."""
        return self.given if callable(self.given) else repr(self.given)


def goals_of(given: Any, owner: Any, where: str) -> list[Goal]:
    """Return goals: one or several, each a predicate or a mapping of machines to states.

    Raises `UnknownTopicError` for a machine or a state that there is not.
    """
    if given is None:
        return []
    several: Any = given
    is_one = callable(given) or isinstance(given, Mapping) or not isinstance(given, Iterable)
    many: list[Any] = [given] if is_one else list(several)
    return [_goal(one, owner, where) for one in many]


def _goal(given: Any, owner: Any, where: str) -> Goal:
    if not isinstance(given, Mapping):
        (predicate,) = predicates_of((given,), where)
        return Goal(_name_of(predicate), lambda shop: bool(predicate(shop)), given)
    wanted: dict[str, frozenset[str]] = {}
    told: dict[str, tuple[str, ...]] = {}
    topics = owner.__declaration__.topics
    for names, several in _pairs(given):
        ids = tuple(one.id if isinstance(one, State) else str(one) for one in several)
        for one in ids:
            topics.state(f"{names}.{one}", where)
        wanted[names] = frozenset(ids)
        told[names] = ids
    text = " and ".join(f"{names} in {' or '.join(ids)}" for names, ids in told.items())
    return Goal(text, lambda shop: _are_in(shop, wanted), told)


def _pairs(wishes: Any) -> Iterator[tuple[str, Iterable[Any]]]:
    """Yield the machines, each with its states, of which one may stand alone."""
    for names, states in wishes.items():
        several: Any = states
        yield names, several if isinstance(states, (tuple, list, set, frozenset)) else (states,)


def _are_in(owner: Any, wanted: Mapping[str, frozenset[str]]) -> bool:
    return all(
        not active_ids(machine).isdisjoint(states)
        for names, states in wanted.items()
        for _keys, machine in machines_at(owner, names)
    )
