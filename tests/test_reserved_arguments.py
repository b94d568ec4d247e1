"""What no callback would get is refused, by name: the arguments that the host takes for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conftest import HOST_IS_3, awaited, listen, told_by
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet,
    Orchestrator,
    ReactionErrors,
    ReservedArgumentError,
    VirtualClock,
    clock_of,
    domain_signal,
    on,
    on_enter,
    on_exit,
    timeout,
    when,
)
from statemachines_orchestrator._arguments import OF_EVENTS
from statemachines_orchestrator.exploration import explore
from statemachines_orchestrator.testing import stateful

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Engine

RESERVED = sorted(OF_EVENTS)
INSIDE = """
args cond ctx data delay error fn if_enabled internal kwargs member name owner record result signal
sm targets topic trigger_data
"""
"""Names that the host, or we, use somewhere inside, and that arguments may have all the same."""


class Taker(StateMachine):
    here = State(initial=True)
    take = here.to.itself()

    def on_take(self, **given: Any) -> dict[str, Any]:
        """Return what arrived, as a callback of every kind is given it."""
        return given


class Shop(Orchestrator, clock=VirtualClock):
    taker: Taker
    many: Fleet[str, Taker] = attrs.field(factory=Fleet[str, Taker])
    low = domain_signal("an item runs out")

    @on("low")
    def note(self, **given: Any) -> dict[str, Any]:
        """Return what arrived."""
        return given


def a_shop(engine: Engine) -> Any:
    machine = engine.machine(Taker)
    return Shop(machine(), Fleet({"a": machine()}))


# The list -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESERVED)
def test_what_is_refused_reaches_no_callback_of_a_bare_machine(engine: Engine, name: str) -> None:
    """The installed host drops an argument of that name, puts its own there, or cannot take it."""
    value = object()
    machine = engine.machine(Taker)()
    try:
        given = engine.run(lambda: machine.take(**{name: value}))
    except TypeError:
        return
    assert given.get(name) is not value


@pytest.mark.parametrize("name", INSIDE.split())
def test_every_other_argument_arrives(engine: Engine, name: str) -> None:
    """An argument that is not refused is what the callbacks get, on each of our ways."""
    shop, value = a_shop(engine), object()
    assert awaited(lambda: shop.asend("taker.take", **{name: value}))[name] is value
    assert engine.run(lambda: shop.broadcast("take", **{name: value}))["taker"][name] is value
    heard = listen(shop, "finished:note")
    awaited(lambda: shop.asend("low", **{name: value}))
    assert heard[0][1].result[name] is value


@pytest.mark.skipif(HOST_IS_3, reason="python-statemachine 3.x takes these for itself")
@pytest.mark.parametrize(
    "name", ["new_configuration", "on_error", "previous_configuration", "send_id"]
)
def test_what_only_3_takes_arrives_on_2(engine: Engine, name: str) -> None:
    """Nothing is refused that the installed host hands on."""
    shop, value = a_shop(engine), object()
    assert awaited(lambda: shop.asend("taker.take", **{name: value}))[name] is value


# The calls ----------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "post('taker.take')": lambda shop, given: shop.post("taker.take", **given),
    "post('taker.take', delay=...)": lambda shop, given: shop.post("taker.take", delay=1, **given),
    "post('many.take')": lambda shop, given: shop.post("many.take", **given),
    "post(bound)": lambda shop, given: shop.post(shop.taker.take, **given),
    "asend('taker.take')": lambda shop, given: shop.asend("taker.take", **given),
    "asend(bound)": lambda shop, given: shop.asend(shop.taker.take, **given),
    "broadcast('take')": lambda shop, given: shop.broadcast("take", **given),
    "broadcast('many.take')": lambda shop, given: shop.broadcast("many.take", **given),
}


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_a_call_refuses_it_before_anything_is_sent(
    engine: Engine, call: Callable[[Any, dict[str, Any]], Any], name: str
) -> None:
    """`post`, `asend` and `broadcast` raise at the call: nothing is sent, queued, or pending."""
    shop = a_shop(engine)
    heard = listen(shop, "sent:*", "*", "settled")
    clock: Any = clock_of(shop)
    error = engine.raises(ReservedArgumentError, lambda: call(shop, {name: 1, "amount": 2}))
    assert error.names == (name,)
    clock.advance(2)
    assert heard == []


def test_the_text_names_the_call_the_arguments_and_the_fix(engine: Engine) -> None:
    """All that are wrong are named at once, and all that are taken."""
    shop = a_shop(engine)
    error = engine.raises(
        ReservedArgumentError, lambda: shop.post("taker.take", target=1, amount=2, source=3)
    )
    assert (error.names, error.reserved) == (("source", "target"), tuple(RESERVED))
    assert str(error) == (
        f"{__name__}.Shop.post('taker.take'): nobody would get an argument called 'source' or "
        f"'target': the name is taken. Choose one that is none of {', '.join(RESERVED)}."
    )


def test_in_a_callback_it_is_raised_there(engine: Engine) -> None:
    """A callback that posts such an argument fails where it stands, and has queued nothing."""

    class Poster(StateMachine):
        here = State(initial=True)
        give = here.to.itself()

        def on_give(self, orc: Any) -> None:
            orc.post("taker.take", state=1)

    class Pair(Orchestrator):
        poster: Poster
        taker: Taker

    pair = Pair(engine.machine(Poster)(), engine.machine(Taker)())
    heard = listen(pair, "taker.*")
    engine.raises(ReservedArgumentError, lambda: pair.poster.give())
    assert heard == []


def test_a_direct_call_is_the_hosts(engine: Engine) -> None:
    """The machine's own events do what they do on a bare machine, and a route hands them on."""

    class Pair(Orchestrator):
        giver: Taker
        taker: Taker
        hand_on = on("giver.take").send("taker.take")

    pair = Pair(engine.machine(Taker)(), engine.machine(Taker)())
    given = engine.run(lambda: pair.giver.take(source=1, event=2))
    assert given["source"].id == "here"


def test_the_orchestrators_own_name_is_dropped_as_ever(engine: Engine) -> None:
    """What is passed as `orc` is no mistake: a callback gets the orchestrator."""
    shop = a_shop(engine)
    assert awaited(lambda: shop.asend("taker.take", orc=1))["orc"] is shop


# Signals of the domain ----------------------------------------------------------------------------


def test_a_signal_refuses_what_no_reaction_could_get(engine: Engine) -> None:
    """`publish` refuses `self` alone, which is the orchestrator; no machine comes with a signal."""
    shop = a_shop(engine)
    heard = listen(shop, "published:*", "settled")
    for publish in (shop.publish, shop.asend):
        with pytest.raises(ReservedArgumentError) as caught:
            publish("low", self=1)
        error = caught.value
        assert (error.names, error.reserved) == (("self",), ("self",))
    assert heard == []


@pytest.mark.parametrize("name", [name for name in RESERVED if name != "self"])
def test_a_signal_takes_every_other_argument(engine: Engine, name: str) -> None:
    """A reaction to a signal is given no names of the host, so an argument may be called so."""
    shop, value = a_shop(engine), object()
    heard = listen(shop, "finished:note")
    shop.publish("low", **{name: value})
    assert heard[0][1].result[name] is value


def test_a_route_hands_no_signals_argument_on_that_would_be_lost(engine: Engine) -> None:
    """A route from a signal to an event fails, by name, where the event cannot have an argument."""

    class Pair(Orchestrator):
        taker: Taker
        low = domain_signal("an item runs out")
        hand_on = on("low").send("taker.take")

    pair = Pair(engine.machine(Taker)())
    sent = listen(pair, "sent:*")
    with pytest.raises(ReactionErrors) as caught:
        awaited(lambda: pair.asend("low", source=1, amount=2))
    error = caught.value
    assert told_by(error) == [("Pair.hand_on", "ReservedArgumentError")]
    refusal: Any = error.exceptions[0]
    assert (refusal.names, refusal.where.split(" ")[0]) == (
        ("source",),
        f"{Pair.__module__}.{Pair.__qualname__}.hand_on",
    )
    assert sent == []
    awaited(lambda: pair.asend("low", amount=2))
    assert [record.kwargs for _topic, record in sent] == [{"amount": 2}]


# Routes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize(
    "subscriber",
    [
        on("taker.take"),
        on_enter("taker.here"),
        on_exit("taker.here"),
        when("taker.here"),
        timeout("taker.here", seconds=1),
    ],
    ids=["on", "on_enter", "on_exit", "when", "timeout"],
)
def test_a_route_refuses_it_where_it_is_written(subscriber: Any, name: str) -> None:
    """`.send(...)` raises in the line of the user's source that has the argument."""
    with pytest.raises(ReservedArgumentError) as caught:
        subscriber.send("taker.take", **{name: 1})
    assert caught.value.names == (name,)
    assert caught.value.where.startswith(f"{__name__} (test_reserved_arguments.py, line ")


# What sends events for tests ----------------------------------------------------------------------


@pytest.mark.parametrize("run", [explore, stateful])
def test_an_exploration_refuses_it_as_a_call_does(run: Any) -> None:
    """`explore` and `stateful` refuse arguments that an event, or a signal, cannot have."""

    def make() -> Shop:
        return Shop(Taker(), Fleet({"a": Taker()}))

    for events in ({"taker.take": [{"amount": 1}, {"source": 1}]}, {"*": {"source": 1}}):
        with pytest.raises(ReservedArgumentError) as caught:
            run(make, events=events)
        assert caught.value.names == ("source",)
    with pytest.raises(ReservedArgumentError) as caught:
        run(make, events={"low": {"source": 1, "self": 1}})
    assert caught.value.names == ("self",)
