"""What cannot be used is refused by us, in words; and nothing is left half attached."""

from __future__ import annotations

import asyncio
import copy
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import attrs
import pytest
from conftest import told_by
from hypothesis import settings
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    DeclarationError,
    DurationError,
    Fleet,
    MachineIsTakenError,
    NameClashError,
    NotAMemberError,
    NotAReactionError,
    Orchestrator,
    OrchestratorError,
    ReactionErrors,
    Transitioned,
    UnknownTopicError,
    UnsupportedHostError,
    VirtualClock,
    WrongMachineError,
    clock_of,
    domain_signal,
    every,
    on,
    subscribe,
    timeout,
    use_clock,
    when,
)
from statemachines_orchestrator._engine import seam_of
from statemachines_orchestrator._places import place_of
from statemachines_orchestrator.diagrams import diagram
from statemachines_orchestrator.exploration import explore, wiring_coverage
from statemachines_orchestrator.snapshots import Snapshot
from statemachines_orchestrator.testing import elapse, stateful
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Engine


class Order(StateMachine):
    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)


class Shop(Orchestrator, clock=VirtualClock):
    order: Order
    spare: Order | None = None
    items: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])
    low = domain_signal("an item runs out")

    @timeout("order.processing", seconds=10)
    def late(self) -> None: ...


class Untold:
    """It cannot be printed, nor compared, nor kept in a set."""

    def __repr__(self) -> str:
        raise ValueError

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


untold: Any = Untold()
a_number: Any = 3
of_bytes: Any = b"x"
untyped: Any = Shop
a_class: Any = Fleet


def a_shop() -> Any:
    return Shop(Order())


def a_snapshot() -> Any:
    return Snapshot.take(a_shop())


def with_length(length: Any) -> Any:
    class Slow(Orchestrator, clock=VirtualClock):
        order: Order
        how_long = length

        @timeout("order.pending", seconds="how_long")
        def late(self) -> None: ...

    return Slow(Order())


def behind_a_default() -> Any:
    class Bad(Orchestrator):
        first: Order = attrs.field(factory=Order)
        second: Order  # type: ignore[misc]  # the subject


def with_an_attribute_of_the_surface() -> Any:
    class Bad(Orchestrator):
        order: Order
        bus = 3  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] - the subject


def traced(orchestrator: Any, last: Any) -> Any:
    with tracing(orchestrator, last=last):
        pass


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # What cannot be printed or compared is told all the same.
    (lambda: a_shop().post(untold), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: a_shop().asend(untold), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: a_shop().broadcast(untold, source=1), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: a_shop().publish(untold, self=1), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: a_shop().bus.signal(untold), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: a_shop().bus.signal("*").connect(untold), NotAReactionError, "was given <Untold>"),
    (lambda: a_shop().post("order.process", delay=untold), DurationError, "<Untold>"),
    (lambda: subscribe(a_shop(), untold, print), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: subscribe(a_shop(), "*", untold), NotAReactionError, "<Untold> cannot be called"),
    (lambda: subscribe(untold, "*", print), NotAReactionError, "was given <Untold>"),
    (lambda: on(untold), NotAReactionError, "was given <Untold>"),
    (lambda: on(order=untold), NotAReactionError, "was given <Untold>"),
    (lambda: when(order=untold), NotAReactionError, "was given <Untold>"),
    (lambda: every(untold), NotAReactionError, "was given <Untold>"),
    (lambda: on("*", cond=untold), NotAReactionError, "cond=<Untold> is neither"),
    (lambda: on("*")(untold), NotAReactionError, "decorates <Untold>"),
    (lambda: on("*").send(untold), NotAReactionError, "was given <Untold>"),
    (lambda: timeout("order.pending", seconds=untold), DurationError, "<Untold>"),
    (lambda: untyped(untold), WrongMachineError, "was given <Untold>"),
    (lambda: a_shop().items.key_of(untold), NotAMemberError, "<Untold> is no member"),
    (lambda: Fleet().key_of(untold), NotAMemberError, "<Untold> is no member"),
    (lambda: Snapshot.take(untold), DeclarationError, "was given <Untold>"),
    (lambda: Snapshot.from_json(untold), ValueError, "<Untold> is no text"),
    (lambda: a_snapshot().restore(untold), DeclarationError, "restore(<Untold>)"),
    (lambda: a_snapshot().restore(Shop, timers=untold), DeclarationError, "timers=<Untold>"),
    (lambda: a_snapshot().restore(Shop, clock=untold), DeclarationError, "<Untold> is no clock"),
    (lambda: diagram(a_shop(), untold), DeclarationError, "<Untold> is no format"),
    (lambda: explore(a_shop, time=untold), DeclarationError, "time=<Untold>"),
    (lambda: explore(a_shop, events=untold), UnknownTopicError, "no topic '<Untold>'"),
    (lambda: elapse(a_shop(), untold), DeclarationError, "elapse(..., <Untold>)"),
    (lambda: wiring_coverage(Shop, untold), DeclarationError, "traces=<Untold>"),
    # What has every attribute is not taken for something else.
    (lambda: a_shop().post(mock.Mock()), UnknownTopicError, "a topic is a string"),
    (lambda: a_shop().asend(mock.Mock()), UnknownTopicError, "a topic is a string"),
    (lambda: a_shop().broadcast(mock.Mock()), UnknownTopicError, "a topic is a string"),
    (lambda: wiring_coverage(Shop, a_class), DeclarationError, "are no traces"),
    # What is no orchestrator has no clock.
    (lambda: clock_of(a_number), DeclarationError, "clock_of(): it was given 3"),
    (lambda: clock_of(untyped), DeclarationError, "which is no orchestrator"),
    (lambda: use_clock(a_number, VirtualClock()), DeclarationError, "use_clock(int): it was"),
    # A function that tells no parameters, and what is none.
    (lambda: subscribe(a_shop(), "*", int), NotAReactionError, "Wrap it in a function"),
    (lambda: subscribe(a_shop(), "*", print, cond=int), NotAReactionError, "its parameters"),
    (lambda: with_length(int), NotAReactionError, "Wrap it in a function"),
    (lambda: Snapshot.take(a_shop(), dump=a_number), DeclarationError, "dump=3 is no function"),
    (lambda: a_snapshot().restore(Shop, load=a_number), DeclarationError, "load=3 is no function"),
    (lambda: a_snapshot().restore_into(a_shop(), load=a_number), DeclarationError, "load=3"),
    (lambda: explore(a_shop, key=a_number), DeclarationError, "key=3 is no function"),
    (lambda: explore(a_shop, progress=a_number), DeclarationError, "progress=3 is no function"),
    (lambda: explore(a_shop, invariants=a_number), DeclarationError, "3 is no predicate"),
    (lambda: explore(a_shop, can_always=a_number), DeclarationError, "3 is no predicate"),
    (lambda: explore(a_shop, may_rest=of_bytes), DeclarationError, "120 is no predicate"),
    # Numbers, and what is no record.
    (lambda: elapse(a_shop(), "late", nth=untyped), DeclarationError, "is no number of a timer"),
    (lambda: elapse(a_shop(), "late", nth=-1), DeclarationError, "nth=-1 is no number"),
    (lambda: traced(a_shop(), sys.maxsize + 1), DeclarationError, "is no number of records"),
    (lambda: Trace().cause(a_number), DeclarationError, "Trace.cause(): 3 is no record"),
    (lambda: Trace().story(a_number), DeclarationError, "Trace.story(): 3 is no record"),
    (lambda: Trace([a_number]), DeclarationError, "Trace(): 3 is no record"),
    (lambda: Trace(a_number), DeclarationError, "Trace(): 3 is no record"),
    # Declarations, and calls that are none.
    (behind_a_default, DeclarationError, "declare the class with kw_only=True"),
    (with_an_attribute_of_the_surface, NameClashError, "'bus' is taken by every orchestrator"),
    (lambda: a_shop().asend("low", 1), DeclarationError, "Give each argument a name"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED, ids=[one[2] for one in REFUSED])
def test_what_cannot_be_used_is_refused_in_words(
    call: Callable[[], Any], error: type[Exception], text: str
) -> None:
    """What nobody could use is an error of ours, which tells what was given and what to do."""
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, OrchestratorError)
    assert text in str(caught.value)


def test_plain_data_may_have_every_attribute() -> None:
    """What answers to every name is plain data in a field or in the class, and no reaction."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            return self

    class Wired(Orchestrator):
        order: Order
        client: Any = Proxy()
        log = Proxy()

    wired = Wired(Order())
    wired.order.process()
    assert wired.order.current_state_value == "processing"


def test_arguments_of_a_rule_may_have_any_name() -> None:
    """What `stateful` sends has the names that the events want, whatever hypothesis takes."""

    class Noting(Orchestrator):
        order: Order
        low = domain_signal("an item runs out")

        @on("low")
        def note(self, machine: Any, data: Any, target: Any, targets: Any) -> None:
            assert (machine, data, target, targets) == (1, 2, 3, 4)

    given = {"machine": 1, "data": 2, "target": 3, "targets": 4}
    running = stateful(lambda: Noting(Order()), events={"low": given})
    running.TestCase.settings = settings(max_examples=3, database=None, deadline=None)
    running.TestCase().runTest()


def test_a_method_of_the_surface_may_be_overridden(engine: Engine) -> None:
    """A subclass may put its own `post` in the place of ours, and call ours."""
    posted: list[str] = []

    class Counting(Shop):
        def post(self, topic: Any, /, *args: Any, **kwargs: Any) -> Any:
            posted.append(topic)
            return super().post(topic, *args, **kwargs)

    shop = Counting(engine.machine(Order)())
    shop.post("order.process")
    assert (posted, shop.order.current_state_value) == (["order.process"], "processing")


def test_a_state_that_is_none_is_printed_as_it_is(engine: Engine) -> None:
    """Where a model has what is no state the orchestrator can be printed, to find out."""
    shop = Shop(engine.machine(Order)())
    shop.order.model.state = "procesing"
    assert repr(shop) == "Shop(order='procesing', spare=None, items=Fleet({}))"


# Machines that were never built -------------------------------------------------------------------


class NoSuper(Order):
    def __init__(self) -> None:
        """Forget the host's constructor."""


class Delegating(Order):
    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Closed(Order):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def leaked() -> Any:
    """Return a machine whose constructor raised before it called the host's."""
    kept: list[Any] = []

    class Leaking(Order):
        def __init__(self) -> None:
            kept.append(self)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it is its own
        Leaking()
    return kept[0]


@pytest.mark.parametrize(
    "make",
    [
        NoSuper,
        leaked,
        lambda: Order.__new__(Order),
        lambda: Delegating.__new__(Delegating),
        lambda: Closed.__new__(Closed),
    ],
    ids=["no super().__init__", "it raised", "no constructor", "it delegates", "it raises"],
)
def test_a_machine_that_was_never_built_is_told_as_such(make: Callable[[], Any]) -> None:
    """It is no question of the host's version: its constructor has not run to its end."""
    good, shop = Order(), a_shop()
    ways: list[Callable[[Any], Any]] = [
        lambda machine: Shop(good, machine),
        lambda machine: setattr(shop, "spare", machine),
        lambda machine: shop.items.update({"a": good, "b": machine}),
    ]
    for way in ways:
        with pytest.raises(DeclarationError, match=r"Let its __init__ call super\(\).__init__\(\)"):
            way(make())
    assert (seam_of(good), shop.spare, list(shop.items)) == (None, None, [])


def test_a_machine_that_was_never_built_can_be_refused_elsewhere() -> None:
    """Its `repr` raises, which hides no error: of a field for other machines, say."""

    class Other(StateMachine):
        one = State(initial=True)
        two = State(final=True)
        go = one.to(two)

    other: Any = Other.__new__(Other)
    with pytest.raises(WrongMachineError, match="was given <Other>"):
        Shop(other)


def test_a_machine_without_an_engine_is_one_of_another_host() -> None:
    """A machine that is built, and lacks a seam, is told with the supported versions."""
    machine: Any = Order()
    machine._engine = None
    with pytest.raises(UnsupportedHostError, match=r"Supported are 2\.5"):
        Shop(machine)


@pytest.mark.parametrize("stand_in", [mock.Mock, mock.MagicMock])
def test_what_stands_in_for_a_machine_is_none(stand_in: Any) -> None:
    """A mock that tells the class of a machine is refused by its own name."""
    fake = stand_in(spec=Order)
    fake._engine = mock.Mock()
    with pytest.raises(WrongMachineError, match="was given <"):
        Shop(fake)


def test_an_exception_of_a_holders_repr_hides_nothing() -> None:
    """Who holds a machine is told, even if it cannot be printed."""

    class Silent(Orchestrator):
        order: Order

        def __repr__(self) -> str:
            raise ValueError

    silent = Silent(Order())
    with pytest.raises(MachineIsTakenError, match="belongs to <Silent>"):
        Shop(silent.order)


def test_a_machine_set_behind_our_back_is_refused_with_its_orchestrator() -> None:
    """Where an own `__setattr__` kept a machine from being attached, its holder is told so."""

    class Bypassing(Orchestrator):
        order: Order
        spare: Order | None = None

        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

    class Hall(Orchestrator, orchestrator_name="hall"):
        desk: Bypassing

    desk = Bypassing(Order())
    desk.spare = Order()
    with pytest.raises(DeclarationError, match=r"call super\(\).__setattr__"):
        Hall(desk)
    assert place_of(desk).holder is None


def test_a_copy_of_what_was_never_built_is_refused() -> None:
    """An orchestrator whose `__init__` has set nothing cannot be copied, and says why."""

    class Empty(Orchestrator):
        order: Order

        def __init__(self) -> None:
            """Forget ours."""

    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(DeclarationError, match=r"has not called self\.__attrs_init__"):
            copied(Empty())


# All or nothing -----------------------------------------------------------------------------------


class Row:
    """A model whose row is lost from some point on."""

    is_lost = False
    value: Any = None

    @property
    def state(self) -> Any:
        if self.is_lost:
            raise OSError
        return self.value

    @state.setter
    def state(self, value: Any) -> None:
        self.value = value


def lost(engine: Engine) -> Any:
    """Return a machine that has begun, whose row is lost."""
    machine = engine.machine(Order)(Row())
    if engine.is_async:
        engine.run(machine.activate_initial_state)
    machine.model.is_lost = True
    return machine


class Joined(Orchestrator, clock=VirtualClock):
    order: Order
    spare: Order | None = None
    items: Fleet[str, Order] = attrs.field(factory=Fleet[str, Order])
    seen: list[str] = attrs.field(factory=list[str])

    @when("order.processing", "spare.processing")
    def both(self) -> None:
        self.seen.append("both")

    @when(items=every("processing"))
    def all_of_them(self) -> None:
        self.seen.append("all")

    @when("order.processing")
    def one(self) -> None:
        self.seen.append("one")


class Timed(Joined):
    @timeout("spare.pending", "items.pending", seconds=1)
    def late(self) -> None: ...


@pytest.mark.parametrize("cls", [Joined, Timed])
def test_a_model_that_raises_leaves_nothing_attached(engine: Engine, cls: Any) -> None:
    """Where the first look at a machine raises, the constructor attaches none of them."""
    good, bad, fleet = engine.machine(Order)(), lost(engine), Fleet({"a": lost(engine)})
    engine.raises(OSError, lambda: cls(good, bad))
    engine.raises(OSError, lambda: cls(good, None, fleet))
    assert [seam_of(one) for one in (good, bad, *fleet.values())] == [None] * 3
    assert fleet.holder is None
    bad.model.is_lost = fleet["a"].model.is_lost = False
    again = cls(good, bad, fleet)
    engine.run(lambda: again.broadcast("process"))
    assert again.seen == ["both", "all", "one"]


def test_an_orchestrator_whose_machines_were_refused_may_be_built_again(engine: Engine) -> None:
    """An own `__init__` may try once more: what failed has left nothing behind."""

    class Trying(Joined):
        def __init__(self, first: Any, second: Any) -> None:
            begin: Any = getattr(self, "__attrs_init__")  # noqa: B009 - attrs writes it
            with pytest.raises(OSError):  # noqa: PT011 - it is the model's
                begin(first, second)
            second.model.is_lost = False
            begin(first, second)

    machines = engine.machine(Order)(), lost(engine)
    trying = Trying(*machines)
    engine.run(lambda: trying.broadcast("process"))
    assert trying.seen == ["both", "one"]


def test_a_model_that_raises_at_rest_is_a_failure_of_the_join(engine: Engine) -> None:
    """What cannot be looked at fails its join, and keeps no other one from its turn."""

    class Losing(Order):
        def after_process(self, orc: Any) -> None:
            orc.spare.model.is_lost = True

    row = engine.machine(Order)(Row())
    joined: Any = Joined(engine.machine(Losing)(), row)
    engine.run(lambda: joined.spare.process())
    joined.bus.signal("settled").connect(lambda *_args, **_facts: joined.seen.append("settled"))
    error = engine.raises(ReactionErrors, lambda: joined.order.process())
    assert told_by(error) == [("Joined.both", "OSError")]
    assert joined.seen == ["one", "settled"]


@pytest.mark.parametrize(
    ("cls", "failing"), [(Joined, ["both"]), (Timed, ["late", "both"])], ids=["join", "timeout"]
)
def test_a_machine_whose_model_raises_is_set_and_its_failures_told(
    engine: Engine, cls: Any, failing: list[str]
) -> None:
    """A move is done; what could not look at the machine is a failure of what follows."""
    owner, machine = cls(engine.machine(Order)()), lost(engine)
    error = engine.raises(ReactionErrors, lambda: setattr(owner, "spare", machine))
    assert [name.rpartition(".")[2] for name, _error in told_by(error)] == failing
    machine.model.is_lost = False
    engine.run(lambda: owner.broadcast("process"))
    assert owner.seen == ["both", "one"]


class BrokenClock(VirtualClock):
    """A clock that can be told to take no timer."""

    is_broken = False

    def call_at(self, when: float, function: Any, /) -> Any:
        if self.is_broken:
            raise OSError
        return super().call_at(when, function)


class Inner(Orchestrator, clock=VirtualClock):
    order: Order

    @timeout("order.pending", seconds=5)
    def late(self) -> None:
        self.order.process()


class Middle(Orchestrator, clock=VirtualClock, orchestrator_name="middle"):
    inner: Inner


class Outer(Orchestrator, clock=BrokenClock, orchestrator_name="outer"):
    plain: Order | None = None
    middle: Middle | None = None
    middles: Fleet[str, Middle] = attrs.field(factory=Fleet[str, Middle])


@pytest.mark.parametrize("way", ["constructor", "field", "fleet"])
def test_a_clock_that_raises_leaves_an_orchestrator_where_it_stood(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What is pending in it stays on its own clock, at every depth, and it may be held later."""
    middle, other = Middle(Inner(Order())), Middle(Inner(Order()))
    outer = Outer()
    monkeypatch.setattr(BrokenClock, "is_broken", True)
    ways: dict[str, Callable[[], Any]] = {
        "constructor": lambda: Outer(Order(), middle),
        "field": lambda: setattr(outer, "middle", middle),
        "fleet": lambda: outer.middles.update(other=other, middle=middle),
    }
    with pytest.raises(OSError):  # noqa: PT011 - it is the clock's
        ways[way]()
    monkeypatch.setattr(BrokenClock, "is_broken", False)
    assert (outer.middle, list(outer.middles)) == (None, [])
    assert (place_of(middle).holder, place_of(middle.inner).path) == (None, ("inner",))
    assert clock_of(middle.inner) is clock_of(middle)
    assert list(seam_of(middle.inner.order).injected) == ["middle", "orc"]
    clock: Any = clock_of(middle)
    clock.advance(5)
    assert middle.inner.order.current_state_value == "processing"
    assert Outer(None, other, Fleet({"a": middle})).middles["a"] is middle


def test_a_clock_that_raises_detaches_what_came_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several members that are put in as one move, those before the one that fails go again."""

    class Depot(Orchestrator, clock=BrokenClock, orchestrator_name="depot"):
        inners: Fleet[str, Inner] = attrs.field(factory=Fleet[str, Inner])

    depot = Depot()
    done, pending = Inner(Order()), Inner(Order())
    its_own: Any = clock_of(done)
    its_own.advance(5)
    kept = Inner(Order())
    depot.inners["kept"] = kept
    monkeypatch.setattr(BrokenClock, "is_broken", True)
    with pytest.raises(OSError):  # noqa: PT011 - it is the clock's
        depot.inners.update(done=done, kept=pending)
    assert (list(depot.inners.items()), place_of(kept).key) == ([("kept", kept)], "kept")
    assert [place_of(one).holder for one in (done, pending)] == [None, None]


def test_records_are_told_from_what_has_every_attribute() -> None:
    """A trace takes records of every kind, and only these."""
    with tracing(a_shop()) as trace:
        pass
    assert list(trace) == []
    shop = a_shop()
    with tracing(shop) as trace:
        shop.order.process()
    taken = trace.filter(Transitioned)[0]
    assert Trace([taken]).cause(taken) is None
    with pytest.raises(DeclarationError):
        Trace([mock.Mock()])


def test_a_signal_sent_with_names_is_published(engine: Engine) -> None:
    """What `asend` refuses by position it takes by name."""
    shop = Shop(engine.machine(Order)())
    heard: list[Any] = []
    shop.low.connect(lambda _sender, record: heard.append(record.kwargs))
    asyncio.run(shop.asend("low", sku=1))
    assert heard == [{"sku": 1}]


def test_a_snapshot_is_restored_into_no_machine_that_was_never_built() -> None:
    """What `restore` is given must be built, and be what it tells that it is."""
    for given, text in (
        (Order.__new__(Order), "it was given a machine that was never built"),
        (mock.Mock(spec=Order), "it is a Mock, and was a Order"),
    ):
        with pytest.raises(OrchestratorError, match=text):
            a_snapshot().restore(Shop, order=given)


def test_a_fleet_has_no_key_for_what_only_looks_like_a_machine() -> None:
    """A mock, and a machine that was never built, are no members."""
    for given in (mock.Mock(spec=Order), Order.__new__(Order)):
        with pytest.raises(NotAMemberError, match="is no member"):
            a_shop().items.key_of(given)


def test_a_machine_of_a_trace_is_named_in_a_string() -> None:
    """What is no string is told as such."""
    for given in (["order"], 3):
        name: Any = given
        with pytest.raises(DeclarationError, match="is no name"):
            Trace().filter(machine=name)


class Pair(Orchestrator):
    one: Order
    two: Order


def test_a_machine_that_raises_while_its_seam_is_put_in_is_a_bare_one_afterwards() -> None:
    """What was replaced on its engine is the host's again."""

    class Odd(Order):
        armed = False

        def __getattribute__(self, name: str) -> Any:
            if name == "allow_event_without_transition" and object.__getattribute__(self, "armed"):
                raise OSError(name)
            return super().__getattribute__(name)

    other, odd = Order(), Odd()
    odd.armed = True
    with pytest.raises(OSError, match="allow_event"):
        Pair(other, odd)
    odd.armed = False
    assert seam_of(odd) is None
    assert seam_of(other) is None
    Pair(other, odd)


def test_an_engine_that_wraps_the_hosts_is_refused() -> None:
    """Seams on it would hear of nothing: the host's engine calls its own methods."""

    class Wrapping:
        def __init__(self, engine: Any) -> None:
            self.__dict__["engine"] = engine

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["engine"], name)

    machine: Any = Order()
    machine._engine = Wrapping(machine._engine)
    with pytest.raises(UnsupportedHostError):
        Pair(Order(), machine)
