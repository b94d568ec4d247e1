"""Declaring: an orchestrator is an attrs class whose fields are state machines.

The module has no `from __future__ import annotations`: its annotations are real ones,
and the string kinds are written where they are the subject.
"""
# ruff: noqa: UP007, UP045 - every spelling of an optional machine is the subject
# Classes are defined to be refused, annotated with parameters and decorated with `Any`:
# pyright: reportUnusedClass=false, reportInvalidTypeForm=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import asyncio
import copy
import importlib.util
import re
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Union

import attrs
import pytest
from conftest import needs_3, pickled
from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter, removed
from statemachines_orchestrator.exceptions import (
    AnnotationIsNotAStateMachineError,
    DeclarationError,
    MachineFieldIsSetError,
    MachineIsBusyError,
    MachineIsTakenError,
    NameClashError,
    NoMachinesOnOrchestratorError,
    RunawayCascadeError,
    StateFieldIsNotUniqueError,
    UnexpectedAnnotationTypeError,
    UnknownTopicError,
    WrongMachineError,
)


class Order(StateMachine):
    pending = State(initial=True)
    processing = State()
    shipped = State(final=True)
    process = pending.to(processing)
    ship = processing.to(shipped)

    def on_process(self, orc: Any = None) -> Any:
        """Return the orchestrator, `None` for a bare machine."""
        return orc

    def on_ship(self, orc: Any = None) -> Any:
        """Return the orchestrator, `None` for a bare machine."""
        return orc


class ExpressOrder(Order):
    """An order with one event more."""

    bump = Order.processing.to(Order.processing)


class Payment(StateMachine):
    unpaid = State(initial=True)
    authorized = State(final=True)
    authorize = unpaid.to(authorized)


class Row:
    """A model."""

    state: Any = None
    payment_state: Any = None


def plain(cls: Any) -> Any:
    """Declare by subclassing alone."""
    return cls


@pytest.fixture(
    params=[plain, attrs.define, attrs.define(slots=False)],
    ids=["subclass", "slotted", "unslotted"],
)
def define(request: pytest.FixtureRequest) -> Any:
    """Each way to write the class: subclassing alone, and an explicit `@attrs.define` above."""
    return request.param


def fields_of(cls: Any) -> Any:
    """Return what attrs tells of a class."""
    return attrs.fields(cls)


def orchestrator_of(machine: Any) -> Any:
    """Return the orchestrator that a callback of a pending order is given."""
    return machine.send("process")


def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Any:
    """Import a module that is written here."""
    path = tmp_path / "declared.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("declared", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "declared", module)
    spec.loader.exec_module(module)
    return module


# An attrs class, by subclassing alone or with an explicit @attrs.define above -------------------


def test_machines_are_given_by_position_and_by_keyword(define: Any) -> None:
    """The constructor is attrs': positional in the order of the fields, or by keyword."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Payment

    order, payment = Order(), Payment()
    by_position = Shop(order, payment)
    by_keyword = Shop(payment=Payment(), order=Order())
    assert (by_position.order, by_position.payment) == (order, payment)
    assert repr(by_keyword) == "Shop(order=pending, payment=unpaid)"


def test_a_missing_machine_is_pythons_own_type_error(define: Any) -> None:
    """A machine that is not given, and has no factory, is a missing argument."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Payment

    shop: Any = Shop
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'payment'"):
        shop(order=Order())


def test_an_unknown_argument_is_pythons_own_type_error(define: Any) -> None:
    """An argument that is no field is refused by the constructor."""

    @define
    class Shop(Orchestrator):
        order: Order

    shop: Any = Shop
    with pytest.raises(TypeError, match="unexpected keyword argument 'payment'"):
        shop(order=Order(), payment=Payment())


def test_attrs_tells_the_fields(define: Any) -> None:
    """`attrs.fields` names every field in order, with its type."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Optional[Payment] = None
        retries: int = 3

    fields = fields_of(Shop)
    told = [(field.name, field.type, field.default) for field in fields]
    assert told == [
        ("order", Order, attrs.NOTHING),
        ("payment", Optional[Payment], None),
        ("retries", int, 3),
    ]


def test_fields_can_be_matched_by_position(define: Any) -> None:
    """The class matches positional patterns, as every attrs class does."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Payment

    shop: Any = Shop(Order(), Payment())
    match shop:
        case Shop(order, payment):
            assert (order, payment) == (shop.order, shop.payment)
        case _:  # pragma: no cover - the pattern matches
            pytest.fail("the pattern does not match")


def test_define_changes_where_fields_are_stored_and_nothing_else(define: Any) -> None:
    """A slotted class keeps its fields in slots, every other one in the instance's dictionary."""

    @define
    class Shop(Orchestrator):
        order: Order
        retries: int = 3

    shop = Shop(Order())
    in_dictionary = {"order", "retries"} & set(vars(shop))
    expected = set() if define is attrs.define else {"order", "retries"}
    assert in_dictionary == expected


def test_a_value_makes_a_field_of_any_type(define: Any) -> None:
    """With a value or an `attrs.field()` a field may hold any data."""

    @define
    class Shop(Orchestrator):
        order: Order
        name: str = attrs.field()
        retries: int = 3
        order_class: type[Order] = Order
        log: list[str] = attrs.field(factory=list)

    one, other = Shop(Order(), "one"), Shop(Order(), "other", 5, ExpressOrder, ["log"])
    assert (one.name, one.retries, one.order_class, one.log) == ("one", 3, Order, [])
    assert (other.name, other.retries, other.order_class, other.log) == (
        "other",
        5,
        ExpressOrder,
        ["log"],
    )


def test_a_factory_of_data_builds_one_for_each(define: Any) -> None:
    """A factory is called for each orchestrator."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)

    one, other = Shop(Order()), Shop(Order())
    one.log.append("one")
    assert (one.log, other.log) == (["one"], [])


def test_data_fields_are_converted_and_validated(define: Any) -> None:
    """Converters and validators of data fields work, at construction and when they are set."""

    @define
    class Shop(Orchestrator):
        order: Order
        retries: int = attrs.field(default=3, converter=int, validator=attrs.validators.ge(0))

    shop_class: Any = Shop
    shop = shop_class(Order(), "4")
    built = shop.retries
    shop.retries = "5"
    assert (built, shop.retries) == (4, 5)
    with pytest.raises(ValueError, match="'retries' must be >= 0"):
        shop.retries = -1
    with pytest.raises(ValueError, match="'retries' must be >= 0"):
        Shop(Order(), -1)


def test_setters_of_data_fields_are_attrs_own(define: Any) -> None:
    """`on_setattr` of a data field is honoured."""

    @define
    class Shop(Orchestrator):
        order: Order
        name: str = attrs.field(on_setattr=attrs.setters.frozen)

    shop = Shop(Order(), "corner")
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        shop.name = "other"
    assert shop.name == "corner"


def test_data_can_be_set_and_deleted(define: Any) -> None:
    """Only machine fields are set once: data fields and other attributes are ordinary."""

    @define
    class Shop(Orchestrator):
        order: Order
        note: Any = None

    shop: Any = Shop(Order())
    shop.note, shop.other = "note", "other"
    assert (shop.note, shop.other) == ("note", "other")
    del shop.note, shop.other
    assert (hasattr(shop, "note"), hasattr(shop, "other")) == (False, False)


def test_a_factory_builds_the_machine_that_is_not_given(define: Any) -> None:
    """`attrs.field(factory=Order)` builds a machine for each orchestrator that is given none."""

    @define
    class Shop(Orchestrator):
        order: Order = attrs.field(factory=Order)
        payment: Payment = attrs.Factory(factory=Payment)

    given = Payment()
    shop: Any = Shop
    one, other = shop(), shop(payment=given)
    assert [type(machine) for machine in one.machines.values()] == [Order, Payment]
    assert one.order is not other.order
    assert other.payment is given


def test_a_machine_may_be_built_from_the_other_fields(define: Any) -> None:
    """A factory that takes the orchestrator sees the fields before it, as in attrs."""

    @define
    class Shop(Orchestrator):
        row: Any = attrs.field()
        order: Order = attrs.field(
            default=attrs.Factory(lambda self: Order(self.row), takes_self=True)
        )

    shop: Any = Shop
    row = Row()
    assert shop(row).order.model is row


def test_a_machine_may_be_built_by_a_decorated_default(define: Any) -> None:
    """`@order.default`, attrs' own spelling, builds the machine."""

    @define
    class Shop(Orchestrator):
        row: Any = attrs.field()
        order: Order = attrs.field()

        @order.default  # type: ignore[attr-defined, untyped-decorator, unused-ignore]
        def _build(self) -> Order:
            return Order(self.row)

    shop: Any = Shop
    row = Row()
    assert shop(row).order.model is row


@needs_3
def test_a_machine_class_as_factory_hands_orc_to_the_initial_state(define: Any) -> None:
    """The initial state of a machine that the orchestrator builds is entered with `orc`."""

    class Light(StateMachine):
        off = State(initial=True)
        switch = off.to(off)

        def on_enter_off(self, boss: Any = None) -> None:
            self.boss = boss

    @define
    class Room(Orchestrator, orchestrator_name="boss"):
        light: Light = attrs.field(factory=Light)

    room = Room()
    assert room.light.boss is room


def test_an_own_init_calls_attrs_init(define: Any) -> None:
    """A class with an `__init__` of its own gets the one that attrs wrote as `__attrs_init__`."""

    @define
    class Shop(Orchestrator):
        order: Order
        name: str = "shop"

        def __init__(self, street: str) -> None:
            self.__attrs_init__(order=Order(), name=f"shop in {street}")  # type: ignore[attr-defined, unused-ignore]

    shop = Shop("Elm Street")
    assert repr(shop) == "Shop(order=pending, name='shop in Elm Street')"
    assert orchestrator_of(shop.order) is shop


def test_pre_init_runs_first(define: Any) -> None:
    """`__attrs_pre_init__` runs before any field is set."""

    @define
    class Shop(Orchestrator):
        order: Order

        def __attrs_pre_init__(self) -> None:
            vars(self)["at_first"] = hasattr(self, "order")

    assert vars(Shop(Order()))["at_first"] is False


def test_post_init_runs_with_machines_attached(define: Any) -> None:
    """`__attrs_post_init__` runs last: an event sent there leads to reactions."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Payment
        log: list[Any] = attrs.field(factory=list)

        def __attrs_post_init__(self) -> None:
            self.order.send("process")
            self.log.append(self.payment.current_state_value)

        @on("order.process")
        def pay(self) -> None:
            self.payment.send("authorize")

    assert Shop(Order(), Payment()).log == ["authorized"]


def test_post_init_has_orc_in_place(define: Any) -> None:
    """An event sent in `__attrs_post_init__` reaches callbacks with `orc`."""

    @define
    class Shop(Orchestrator):
        order: Order
        given: Any = None

        def __attrs_post_init__(self) -> None:
            self.given = orchestrator_of(self.order)

    shop = Shop(Order())
    assert shop.given is shop


def test_post_inits_of_mixins_run_along_super_with_machines_attached(define: Any) -> None:
    """A chain of `super().__attrs_post_init__()` runs each once, all with machines attached."""

    class Audited(Orchestrator, abstract=True):
        def __attrs_post_init__(self) -> None:
            super().__attrs_post_init__()
            self.log: list[Any] = [("audited", list(self.machines))]

    class Timed(Orchestrator, abstract=True):
        def __attrs_post_init__(self) -> None:
            super().__attrs_post_init__()
            vars(self)["log"].append(("timed", list(self.machines)))

    @define
    class Shop(Timed, Audited):
        order: Order

        def __attrs_post_init__(self) -> None:
            super().__attrs_post_init__()
            self.log.append(("shop", list(self.machines)))

    expected = [("audited", ["order"]), ("timed", ["order"]), ("shop", ["order"])]
    assert Shop(Order()).log == expected


def test_a_post_init_of_a_plain_mixin_runs_with_machines_attached(define: Any) -> None:
    """A mixin that knows nothing of orchestrators has its `__attrs_post_init__` after attaching."""

    class Logged:
        def __attrs_post_init__(self: Any) -> None:
            self.log = list(self.machines)

    @define
    class Shop(Logged, Orchestrator):
        order: Order

    shop: Any = Shop(Order())
    assert shop.log == ["order"]


def test_an_attrs_base_brings_its_fields(define: Any) -> None:
    """The fields of an attrs base class are fields of the orchestrator, shown and checked."""

    @attrs.define
    class Named:
        name: str = attrs.field(converter=str)

    @define
    class Shop(Named, Orchestrator):
        order: Order

    shop_class: Any = Shop
    shop = shop_class(7, Order())
    shop.name = 8
    assert repr(shop) == "Shop(name='8', order=pending)"
    with pytest.raises(MachineFieldIsSetError):
        shop.order = Order()


def test_methods_may_call_super(define: Any) -> None:
    """`super()` works in every method, also in the slotted copy that attrs makes."""

    class Base(Orchestrator, abstract=True):
        def greet(self) -> str:
            return "hello"

    @define
    class Shop(Base):
        order: Order
        log: list[str] = attrs.field(factory=list)

        def greet(self) -> str:
            return super().greet() + " from the shop"

        @on("order.process")
        def note(self) -> None:
            self.log.append(super().greet())

    shop = Shop(Order())
    shop.order.send("process")
    assert (shop.greet(), shop.log) == ("hello from the shop", ["hello"])


def test_orchestrators_compare_by_identity(define: Any) -> None:
    """An orchestrator is itself: equal to no other, and hashable."""

    @define
    class Shop(Orchestrator):
        order: Optional[Order] = None
        name: str = "shop"

    one, other = Shop(), Shop()
    assert [one == one, one == other, one != other] == [True, False, True]  # noqa: PLR0124
    assert {one: 1, other: 2} == {other: 2, one: 1}
    assert len({one, other, one}) == 2


def test_an_explicit_define_asking_for_equality_keeps_identity() -> None:
    """`@attrs.define(eq=True)` changes storage, never meaning."""

    @attrs.define(eq=True)
    class Shop(Orchestrator):
        order: Optional[Order] = None

    one, other = Shop(), Shop()
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize("child", [plain, attrs.define, attrs.define(slots=False)])
def test_every_kind_of_class_can_be_subclassed_by_every_kind(define: Any, child: Any) -> None:
    """Fields, reactions and class keywords are inherited, however parent and child are written."""

    @define
    class Shop(Orchestrator, orchestrator_name="boss"):
        order: Order
        log: list[Any] = attrs.field(factory=list, kw_only=True)

        @on("order.process")
        def note(self) -> None:
            self.log.append("processed")

    @child
    class WebShop(Shop):
        payment: Payment

        @on("order.process")
        def pay(self) -> None:
            self.payment.send("authorize")

    shop = WebShop(Order(), Payment())
    shop.order.send("process")
    assert repr(shop) == "WebShop(order=processing, log=['processed'], payment=authorized)"
    assert shop.orchestrator_name == "boss"


def test_a_field_with_a_value_may_follow_inherited_ones(define: Any) -> None:
    """A subclass may add a default behind a default that it inherits, as in attrs."""

    class Shop(Orchestrator):
        order: Order = attrs.field(factory=Order)

    @define
    class WebShop(Shop):
        retries: int = 3

    assert repr(WebShop()) == "WebShop(order=pending, retries=3)"


# Class keywords -----------------------------------------------------------------------------------


def test_the_injected_parameter_can_be_renamed(define: Any, engine: Any) -> None:
    """`orchestrator_name` is the name under which every callback asks for the orchestrator."""

    class Job(StateMachine):
        ready = State(initial=True)
        run = ready.to(ready)

        def on_run(self, coordinator: Any, orc: Any = "nothing") -> Any:
            return coordinator, orc

    @define
    class Works(Orchestrator, orchestrator_name="coordinator"):
        job: Job

    works = Works(engine.machine(Job)())
    assert engine.run(lambda: works.job.send("run")) == (works, "nothing")


def test_class_keywords_are_inherited_and_can_be_replaced(define: Any) -> None:
    """A subclass has its parent's class keywords, and may give its own."""

    @define
    class Shop(Orchestrator, orchestrator_name="boss"):
        order: Order

    @define
    class Same(Shop):
        pass

    @define
    class Other(Shop, orchestrator_name="orc"):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        pass

    names = [made(Order()).orchestrator_name for made in (Shop, Same, Other)]
    assert names == ["boss", "boss", "orc"]


def test_max_reactions_bounds_the_cascade(define: Any) -> None:
    """`max_reactions` is the number of turns at which a loop is looked for, in subclasses too."""

    class Ball(StateMachine):
        up = State(initial=True)
        bounce = up.to(up)

    @define
    class Game(Orchestrator, max_reactions=12):
        ball: Ball

        @on("ball.bounce")
        def again(self) -> None:
            self.ball.send("bounce")

    @define
    class LongGame(Game, max_reactions=40):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        pass

    bounds = []
    for game in (Game(Ball()), LongGame(Ball())):
        with pytest.raises(RunawayCascadeError) as caught:
            game.ball.send("bounce")
        bounds.append(caught.value.turns)
    assert bounds == [12, 40]


@pytest.mark.parametrize(
    "name",
    [
        "machine",
        "event",
        "source",
        "target",
        "state",
        "transition",
        "model",
        "event_data",
        "ctx",
        "error",
        "self",
        "record",
        "class",
        "two words",
        "",
        3,
    ],
)
def test_an_orchestrator_name_that_cannot_be_injected_is_refused(name: Any) -> None:
    """A name that python-statemachine injects, or that no parameter can have, is refused."""
    with pytest.raises(DeclarationError, match=re.escape(f"orchestrator_name={name!r} cannot be")):

        class Shop(Orchestrator, orchestrator_name=name):
            order: Order


@pytest.mark.parametrize("bound", [0, -1, 1.5, "many", True])
def test_a_bound_that_is_none_is_refused(bound: Any) -> None:
    """`max_reactions` is a positive number, or `None`."""
    with pytest.raises(DeclarationError, match=re.escape(f"max_reactions={bound!r} is no bound")):

        class Shop(Orchestrator, max_reactions=bound):
            order: Order


@pytest.mark.parametrize("keyword", ["slots", "eq", "frozen", "maximum"])
def test_other_class_keywords_are_refused(keyword: str) -> None:
    """`slots` and `eq` belong to an explicit `@attrs.define`, and others are nobody's."""
    keywords: dict[str, Any] = {keyword: True}
    with pytest.raises(DeclarationError, match=f"{keyword} is no class keyword of an orchestrator"):

        class Shop(Orchestrator, **keywords):
            order: Order


def test_keyword_only_fields_are_attrs_own(define: Any) -> None:
    """`kw_only=True` is handed to attrs, and is not inherited."""

    @define
    class Shop(Orchestrator, kw_only=True):
        order: Order

    @define
    class WebShop(Shop):
        payment: Payment

    shop: Any = Shop
    with pytest.raises(TypeError, match="positional argument"):
        shop(Order())
    assert repr(Shop(order=Order())) == "Shop(order=pending)"
    web_shop: Any = WebShop
    assert repr(web_shop(Payment(), order=Order())) == "WebShop(order=pending, payment=unpaid)"


def test_an_abstract_orchestrator_needs_no_machine(define: Any) -> None:
    """`abstract=True` declares a mixin of reactions, whose subclasses need machines."""

    @define
    class Audited(Orchestrator, abstract=True):
        log: list[str] = attrs.field(factory=list, kw_only=True)

        @on("order.*")
        def audit(self, event: str) -> None:
            self.log.append(event)

    @define
    class Shop(Audited):
        order: Order

    shop = Shop(Order())
    shop.order.send("process")
    assert shop.log == ["process"]
    with pytest.raises(NoMachinesOnOrchestratorError):

        class Empty(Audited):
            pass


def test_an_abstract_orchestrator_has_no_instances(define: Any) -> None:
    """Calling an abstract class is refused, machines or none."""

    @define
    class Audited(Orchestrator, abstract=True):
        order: Order

    with pytest.raises(DeclarationError, match="an abstract orchestrator has no instances"):
        Audited(Order())
    with pytest.raises(DeclarationError, match="an abstract orchestrator has no instances"):
        Orchestrator()


def test_topics_of_an_abstract_orchestrator_are_checked_in_its_subclasses() -> None:
    """A mixin names machines of its subclasses: each subclass is checked when it is defined."""

    class Audited(Orchestrator, abstract=True):
        @on("order.process")
        def audit(self) -> None:
            pytest.fail("no event is sent")

    with pytest.raises(UnknownTopicError, match="no machine is called 'order'"):

        class Shop(Audited):
            payment: Payment


# Annotations ----------------------------------------------------------------------------------


def test_no_machine_at_all_is_refused() -> None:
    """A class without a machine field is refused, data or none."""
    with pytest.raises(NoMachinesOnOrchestratorError):

        class Empty(Orchestrator):
            pass

    with pytest.raises(NoMachinesOnOrchestratorError):

        class Data(Orchestrator):
            retries: int = 3


@pytest.mark.parametrize(
    ("annotation", "accepted", "refused"),
    [
        (Order, [Order, ExpressOrder], [Payment, None]),
        (Optional[Order], [Order, None], [Payment]),
        (Order | None, [Order, None], [Payment]),
        (Union[Order, Payment], [Order, Payment], [None]),
        (Order | Payment | None, [Order, Payment, None], [int]),
        (Annotated[Order, "a note"], [Order], [Payment]),
        ("Order", [Order], [Payment, None]),
        ("Optional[Order]", [Order, None], [Payment]),
        ("Order | Payment", [Order, Payment], [None]),
        (Optional["Order"], [Order, None], [Payment]),
    ],
)
def test_a_bare_annotation_is_a_machine_class(
    annotation: Any, accepted: list[Any], refused: list[Any]
) -> None:
    """A bare annotation names the machine classes, or `None`, that the field takes."""

    class Shop(Orchestrator):
        order: annotation
        payment: Payment

    shop: Any = Shop
    for machine_class in accepted:
        machine = machine_class and machine_class()
        assert shop(order=machine, payment=Payment()).order is machine
    for machine_class in refused:
        machine = machine_class and machine_class()
        with pytest.raises(WrongMachineError):
            shop(order=machine, payment=Payment())


@pytest.mark.parametrize(
    "annotation", [int, list[int], Order | int, "int", Optional[str], None, type(None), dict]
)
def test_a_bare_annotation_of_another_type_is_refused(annotation: Any) -> None:
    """A bare annotation that names a type that is no machine class is refused."""
    with pytest.raises(AnnotationIsNotAStateMachineError) as caught:

        class Shop(Orchestrator):
            order: Order
            other: annotation

    assert caught.value.field == "other"


@pytest.mark.parametrize("annotation", [3, "3", (Order,), [Order]])
def test_a_bare_annotation_that_is_no_type_is_refused(annotation: Any) -> None:
    """A bare annotation that is no type at all is refused with an error of its own."""
    with pytest.raises(UnexpectedAnnotationTypeError) as caught:

        class Shop(Orchestrator):
            order: annotation

    assert caught.value.field == "order"


def test_class_variables_are_left_alone(define: Any) -> None:
    """What is annotated `ClassVar` is no field, in every spelling."""

    @define
    class Shop(Orchestrator):
        order: Order
        currency: ClassVar[str] = "EUR"
        country: "ClassVar[str]" = "FR"
        template: ClassVar[Order]

    fields = fields_of(Shop)
    assert [field.name for field in fields] == ["order"]
    assert (Shop.currency, Shop.country) == ("EUR", "FR")


def test_a_machine_as_a_default_is_refused() -> None:
    """One machine for all orchestrators is refused: a factory builds one for each."""
    for default in (Order(), attrs.field(default=Order())):
        with pytest.raises(
            DeclarationError, match=r"Use a factory: .*attrs\.field\(factory=Order\)"
        ):

            class Shop(Orchestrator):
                order: Order = default


def test_a_machine_field_with_an_underscore_is_refused() -> None:
    """A machine is called by the name of its field: attrs would take the underscore away."""
    with pytest.raises(DeclarationError, match=r"\._order: .*Call the machine 'order'"):

        class Shop(Orchestrator):
            _order: Order


def test_data_may_be_private(define: Any) -> None:
    """A data field may start with an underscore, as attrs has it."""

    @define
    class Shop(Orchestrator):
        order: Order
        _note: str = "none"

    shop: Any = Shop
    assert shop(Order(), note="told")._note == "told"


def test_a_field_without_an_annotation_loses_no_machine() -> None:
    """An `attrs.field()` without an annotation is refused by name: no machine is lost to it."""
    with pytest.raises(DeclarationError, match="note"):

        class Shop(Orchestrator):
            order: Order = attrs.field()
            payment: Payment
            note = attrs.field(default=None)  # pyright: ignore[reportGeneralTypeIssues]


def test_future_annotations_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `from __future__ import annotations` every annotation is read at the definition."""
    declared = loaded(
        tmp_path,
        monkeypatch,
        """
        from __future__ import annotations
        from typing import ClassVar, Optional
        import attrs
        from statemachine import State, StateMachine
        from statemachines_orchestrator import Orchestrator, on

        class Order(StateMachine):
            pending = State(initial=True)
            processing = State(final=True)
            process = pending.to(processing)

        class Shop(Orchestrator):
            order: Order
            spare: Optional[Order] = None
            retries: int = 3
            currency: ClassVar[str] = "EUR"
            log: list[str] = attrs.field(factory=list)

            @on("order.process")
            def note(self) -> None:
                self.log.append("processed")
        """,
    )
    shop = declared.Shop(declared.Order())
    shop.order.send("process")
    assert repr(shop) == "Shop(order=processing, spare=None, retries=3, log=['processed'])"
    with pytest.raises(WrongMachineError):
        declared.Shop(Payment())


def test_classes_of_a_function_are_found_in_string_annotations() -> None:
    """A string annotation may name a class of the function that the orchestrator is defined in."""

    class Local(StateMachine):
        ready = State(initial=True)
        run = ready.to(ready)

    class Works(Orchestrator):
        job: "Local"
        spare: "Local | None" = None

    assert Works(Local()).machine_classes == {"job": Local, "spare": Local}
    wrong: Any = Order()
    with pytest.raises(WrongMachineError):
        Works(wrong)


FOR_TYPE_CHECKERS = """
    from __future__ import annotations
    from typing import TYPE_CHECKING
    import attrs
    from statemachines_orchestrator import Orchestrator, on

    if TYPE_CHECKING:
        from shop.machines import Order
        from shop.database import Session

    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)
        session: Session = attrs.field(default="session")

        @on("order.process")
        def note(self) -> None:
            self.log.append("processed")

    class OptionalShop(Orchestrator):
        order: Order
        spare: Order | None = None
        session: Session | None = None
"""


def test_a_name_for_type_checkers_is_settled_at_the_first_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name for type checkers is settled by the first machine: later ones must fit."""
    shop_class = loaded(tmp_path, monkeypatch, FOR_TYPE_CHECKERS).Shop
    shop = shop_class(Order())
    shop.order.send("process")
    assert repr(shop) == "Shop(order=processing, log=['processed'], session='session')"
    with pytest.raises(WrongMachineError):
        shop_class(Payment())
    assert shop_class(ExpressOrder()).machine_classes == {"order": ExpressOrder}


@pytest.mark.parametrize("given", [3, None, "order", Order])
def test_a_bare_name_for_type_checkers_takes_a_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    """A bare annotation that cannot be resolved takes a machine only, first instance or later."""
    shop_class = loaded(tmp_path, monkeypatch, FOR_TYPE_CHECKERS).Shop
    refusals = (AnnotationIsNotAStateMachineError, WrongMachineError)
    with pytest.raises(refusals):
        shop_class(given)
    shop_class(Order())
    with pytest.raises(refusals):
        shop_class(given)


def test_an_optional_name_for_type_checkers_takes_its_machine_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unresolved field that was `None` at the first instance takes a machine once, too."""
    shop_class = loaded(tmp_path, monkeypatch, FOR_TYPE_CHECKERS).OptionalShop
    shop, spare = shop_class(Order()), Order()
    assert repr(shop) == "OptionalShop(order=pending, spare=None, session=None)"
    shop.spare = spare
    assert orchestrator_of(spare) is shop
    with pytest.raises(MachineFieldIsSetError):
        shop.spare = Order()


def test_data_named_for_type_checkers_is_ordinary_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unresolved field with a value is data, once it is given data: it can be set again."""
    shop = loaded(tmp_path, monkeypatch, FOR_TYPE_CHECKERS).Shop(Order(), session="one")
    shop.session = "other"
    assert (shop.session, list(shop.machines)) == ("other", ["order"])


def test_topics_of_a_name_for_type_checkers_are_checked_at_the_first_instance() -> None:
    """A topic that cannot be checked at the definition is refused at the first instance, and on."""

    class Shop(Orchestrator):
        order: "Unknown"  # type: ignore[name-defined]  # noqa: F821 - the subject
        payment: Payment

        @on("order.proces")
        def note(self) -> None:
            pytest.fail("no event is sent")

    for _ in range(2):
        with pytest.raises(UnknownTopicError) as caught:
            Shop(Order(), Payment())
        assert (caught.value.topic, caught.value.nearest) == ("order.proces", "order.process")
        assert caught.value.where.startswith(f"{__name__}.{Shop.__qualname__}.note")


def test_a_refusal_at_the_first_instance_leaves_the_class_as_it_was() -> None:
    """A first instance that is refused settles nothing: another machine class may come."""

    class Shop(Orchestrator):
        order: "Unknown"  # type: ignore[name-defined]  # noqa: F821 - the subject
        payment: Payment

        @on("order.process")
        def note(self) -> None:
            pytest.fail("no event is sent")

    taken = Payment()
    with pytest.raises(UnknownTopicError):
        Shop(Payment(), taken)
    assert repr(Shop(Order(), taken)) == "Shop(order=pending, payment=unpaid)"


def test_a_factory_settles_a_name_for_type_checkers_at_the_definition() -> None:
    """A factory that is a machine class tells what an annotation cannot."""
    with pytest.raises(UnknownTopicError):

        class Shop(Orchestrator):
            order: "Unknown" = attrs.field(factory=Order)  # type: ignore[name-defined]  # noqa: F821

            @on("order.proces")
            def note(self) -> None:
                pytest.fail("no event is sent")


def test_a_name_defined_later_is_settled_at_the_first_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An annotation may name a class that the module defines further down."""
    declared = loaded(
        tmp_path,
        monkeypatch,
        """
        from __future__ import annotations
        from statemachine import State, StateMachine
        from statemachines_orchestrator import Orchestrator

        class Shop(Orchestrator):
            order: Order

        class Order(StateMachine):
            pending = State(initial=True)
            process = pending.to.itself()
        """,
    )
    assert repr(declared.Shop(declared.Order())) == "Shop(order=pending)"
    with pytest.raises(WrongMachineError):
        declared.Shop(Payment())


def test_private_data_named_for_type_checkers_is_data(define: Any) -> None:
    """An unresolved data field may start with an underscore, as attrs has it."""

    @define
    class Shop(Orchestrator):
        order: Order
        _session: "Unknown" = attrs.field(default=None)  # type: ignore[name-defined]  # noqa: F821

    assert repr(Shop(Order(), "session")) == "Shop(order=pending, _session='session')"


# Inheritance ----------------------------------------------------------------------------------


def test_a_subclass_may_narrow_a_machine(define: Any) -> None:
    """A field annotated anew takes the subclass's machine, whose events are topics there."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list, kw_only=True)

    @define
    class ExpressShop(Shop):
        order: ExpressOrder

        @on("order.bump")
        def note(self) -> None:
            self.log.append("bumped")

    shop = ExpressShop(order=ExpressOrder())
    shop.order.send("process")
    shop.order.send("bump")
    assert shop.log == ["bumped"]
    wrong: Any = Order()
    with pytest.raises(WrongMachineError):
        ExpressShop(order=wrong)
    assert repr(Shop(order=Order())) == "Shop(order=pending, log=[])"


def test_a_subclass_may_make_a_machine_field_plain_data(define: Any) -> None:
    """A field annotated anew with data and a value is no machine any more."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Payment

    @define
    class FreeShop(Shop):
        payment: str = "nothing to pay"  # type: ignore[assignment, unused-ignore]

    shop = FreeShop(order=Order())
    assert (list(shop.machines), shop.payment) == (["order"], "nothing to pay")


def test_reactions_are_inherited_base_first(define: Any, engine: Any) -> None:
    """Reactions of the base class run before the subclass's, each in the order of the source."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)

        @on("order.process")
        def first(self) -> None:
            self.log.append("first")

        @on("order.process")
        def second(self) -> None:
            self.log.append("second")

    @define
    class WebShop(Shop):
        @on("order.process")
        def a_third(self) -> None:
            self.log.append("third")

    shop = WebShop(engine.machine(Order)())
    engine.run(lambda: shop.order.send("process"))
    assert shop.log == ["first", "second", "third"]


def test_an_overriding_method_keeps_the_subscription(define: Any) -> None:
    """A method that overrides a reaction runs in its place, once, and may call it."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)

        @on("order.process")
        def first(self) -> None:
            self.log.append("base")

        @on("order.process")
        def second(self) -> None:
            self.log.append("second")

    @define
    class WebShop(Shop):
        def first(self) -> None:
            super().first()
            self.log.append("override")

    shop = WebShop(Order())
    shop.order.send("process")
    assert shop.log == ["base", "override", "second"]


def test_a_method_decorated_anew_replaces_the_subscription(define: Any) -> None:
    """An override with a decorator of its own listens to that, and to nothing else."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)

        @on("order.process")
        def note(self) -> None:
            pytest.fail("the subscription was replaced")

    @define
    class WebShop(Shop):
        @on_enter("order.shipped")
        def note(self) -> None:
            self.log.append("shipped")

    shop = WebShop(Order())
    shop.order.send("process")
    shop.order.send("ship")
    assert shop.log == ["shipped"]


def test_removed_takes_an_inherited_reaction_away(define: Any) -> None:
    """`name = removed` removes a reaction in the subclass, and only there."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)

        @on("order.process")
        def note(self) -> None:
            self.log.append("noted")

    @define
    class QuietShop(Shop):
        note = removed

    @define
    class StillQuietShop(QuietShop):
        def note(self) -> None:
            pytest.fail("it is subscribed to nothing")

    logs = []
    for shop in (Shop(Order()), QuietShop(Order()), StillQuietShop(Order())):
        shop.order.send("process")
        logs.append(shop.log)
    assert logs == [["noted"], [], []]


@pytest.mark.parametrize(
    "value", [3, None, property(lambda _self: 3), staticmethod(print), classmethod(print)]
)
def test_only_a_method_may_take_the_place_of_a_reaction(value: Any) -> None:
    """A value that overrides a reaction is refused: a method overrides, `removed` removes."""

    class Shop(Orchestrator):
        order: Order

        @on("order.process")
        def note(self) -> None:
            pytest.fail("no event is sent")

    with pytest.raises(DeclarationError, match="takes the place of a reaction") as caught:

        class WebShop(Shop):
            note = value

    assert caught.value.where == f"{__name__}.{Shop.__qualname__[:-4]}WebShop.note"


def test_a_diamond_subscribes_each_reaction_once(define: Any) -> None:
    """With two parents of one base every field and every reaction is there once."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list, kw_only=True)

        @on("order.process")
        def base(self) -> None:
            self.log.append("base")

    class Left(Shop):
        @on("order.process")
        def left(self) -> None:
            self.log.append("left")

    class Right(Shop):
        @on("order.process")
        def right(self) -> None:
            self.log.append("right")

    class Both(Left, Right):
        @on("order.process")
        def both(self) -> None:
            self.log.append("both")

    shop = Both(Order())
    shop.order.send("process")
    assert shop.log == ["base", "right", "left", "both"]
    assert list(shop.machines) == ["order"]


def test_a_plain_mixin_brings_reactions(define: Any) -> None:
    """A class that is no orchestrator may hold decorated methods for those that inherit it."""

    class Noting:
        log: Any

        @on("order.process")
        def note(self) -> None:
            self.log.append("noted")

    @define
    class Shop(Noting, Orchestrator):
        order: Order
        log: list[str] = attrs.field(factory=list)

    shop = Shop(Order())
    shop.order.send("process")
    assert shop.log == ["noted"]


# The surface ----------------------------------------------------------------------------------


def test_machines_are_told_by_name(define: Any) -> None:
    """`machines` maps the fields that hold a machine, in order, and cannot be written to."""

    @define
    class Shop(Orchestrator):
        order: Order
        retries: int = 3
        spare: Optional[Order] = None
        payment: Payment = attrs.field(factory=Payment)

    shop = Shop(Order())
    assert list(shop.machines.items()) == [("order", shop.order), ("payment", shop.payment)]
    shop.spare = Order()
    assert list(shop.machines) == ["order", "spare", "payment"]
    machines: Any = shop.machines
    with pytest.raises(TypeError, match="does not support item assignment"):
        machines["order"] = Order()


def test_machine_classes_are_told_by_name(define: Any) -> None:
    """`machine_classes` maps each field to the class of its machine, or the declared one."""

    @define
    class Shop(Orchestrator):
        order: Order
        paid: Order | Payment
        spare: Optional[Order] = None

    shop = Shop(ExpressOrder(), Payment())
    expected = {"order": ExpressOrder, "paid": Payment, "spare": Order}
    assert dict(shop.machine_classes) == expected
    classes: Any = shop.machine_classes
    with pytest.raises(TypeError, match="does not support item assignment"):
        classes["order"] = Order


def test_each_orchestrator_has_a_bus_of_its_own(define: Any) -> None:
    """`bus` carries the signals of one orchestrator, the same ones each time."""

    @define
    class Shop(Orchestrator):
        order: Order

    one, other = Shop(Order()), Shop(Order())
    heard: list[Any] = []
    one.bus.signal("order.process").connect(lambda machine, **_: heard.append(machine))
    one.order.send("process")
    other.order.send("process")
    assert heard == [one.order]
    assert one.bus is one.bus
    assert one.bus.signal("order.process") is one.bus.signal("order.process")


def test_post_puts_an_event_in_the_queue_and_returns_none(define: Any) -> None:
    """`post` outside of a cascade runs the event and what follows from it, and returns `None`."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[Any] = attrs.field(factory=list)

        @on("order.process")
        def note(self, amount: int, currency: str) -> None:
            self.log.append((amount, currency))

    shop = Shop(Order())
    post: Any = shop.post
    assert post("order.process", 3, currency="EUR") is None
    assert shop.log == [(3, "EUR")]


def test_asend_returns_the_result_and_awaits_the_cascade(define: Any, engine: Any) -> None:
    """`asend` sends to a machine of either colour, awaits its cascade and returns its result."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[Any] = attrs.field(factory=list)

        @on("order.process")
        async def note(self) -> None:
            self.log.append("noted")

    async def main() -> Any:
        shop = Shop(engine.machine(Order)())
        return await shop.asend("order.process") is shop, shop.log

    assert asyncio.run(main()) == (True, ["noted"])


SURFACE = [
    "asend",
    "broadcast",
    "bus",
    "enabled_events",
    "machine_classes",
    "machines",
    "orchestrator_name",
    "post",
    "publish",
]


@pytest.mark.parametrize("name", SURFACE)
def test_a_field_with_a_name_of_the_surface_is_refused(name: str) -> None:
    """What every orchestrator has, or will have, is no name for a field, machine or data."""
    for namespace in (
        {"__annotations__": {name: Order}},
        {"__annotations__": {"order": Order, name: int}, name: 3},
    ):
        with pytest.raises(
            NameClashError, match=f"the name '{name}' is taken by every orchestrator"
        ):
            type("Shop", (Orchestrator,), {"__module__": __name__, **namespace})


@pytest.mark.parametrize("name", ["order.process", "2nd", "class", "", "_", "_class"])
def test_a_field_with_a_name_that_python_does_not_take_is_refused(name: str) -> None:
    """Such a name is told before attrs writes it into code, whatever the version of attrs."""
    namespace = {"__module__": __name__, "__annotations__": {"order": Order, name: int}}
    with pytest.raises(DeclarationError, match=r"Shop: the field '.*' would need '.*' as a name"):
        type("Shop", (Orchestrator,), namespace)


def test_a_field_may_have_another_name_as_an_argument() -> None:
    """Where an alias is given, or no argument is wanted, only that is asked of its name."""

    class Shop(Orchestrator):
        order: Order
        _class: str = attrs.field(alias="kind")
        _: int = attrs.field(init=False, default=1)

    assert Shop(Order(), kind="small")._class == "small"


@pytest.mark.parametrize("name", SURFACE)
def test_a_reaction_with_a_name_of_the_surface_is_refused(name: str) -> None:
    """What every orchestrator has, or will have, is no name for a reaction."""

    @on("order.process")
    def reaction(self: Any) -> None:
        pytest.fail(f"{self} sends no event")

    namespace = {"__module__": __name__, "__annotations__": {"order": Order}, name: reaction}
    with pytest.raises(NameClashError, match=f"the name '{name}' is taken by every orchestrator"):
        type("Shop", (Orchestrator,), namespace)


def test_a_reaction_with_the_name_of_a_field_is_refused() -> None:
    """A field and a reaction of one name are refused, in one class and across parent and child."""

    @on("order.process")
    def reaction(self: Any) -> None:
        pytest.fail(f"{self} sends no event")

    def refused(base: type, annotations: dict[str, Any], **namespace: Any) -> bool:
        try:
            type(
                "Shop",
                (base,),
                {"__module__": __name__, "__annotations__": annotations, **namespace},
            )
        except NameClashError:
            return True
        return False

    class WithReaction(Orchestrator):
        order: Order
        note = reaction

    class WithData(Orchestrator):
        order: Order
        note: int = 3

    class WithMachine(Orchestrator):
        order: Order
        note: Payment

    assert {
        "in one class": refused(Orchestrator, {"order": Order, "note": Order}, note=reaction),
        "a reaction over data": refused(WithData, {}, note=reaction),
        "a reaction over a machine": refused(WithMachine, {}, note=reaction),
        "data over a reaction": refused(WithReaction, {"note": int}, note=3),
        "a machine over a reaction": refused(WithReaction, {"note": Payment}),
    } == {
        "in one class": True,
        "a reaction over data": True,
        "a reaction over a machine": True,
        "data over a reaction": True,
        "a machine over a reaction": True,
    }


# Machine fields are set once ------------------------------------------------------------------


def test_a_machine_field_is_set_once(define: Any) -> None:
    """Assigning to a machine field, or deleting it, is refused, and changes nothing."""

    @define
    class Shop(Orchestrator):
        order: Order

    order = Order()
    shop: Any = Shop(order)
    for value in (Order(), order, None):
        with pytest.raises(MachineFieldIsSetError):
            shop.order = value
    with pytest.raises(MachineFieldIsSetError):
        del shop.order
    assert shop.order is order
    assert orchestrator_of(order) is shop


def test_an_optional_machine_may_be_given_once(define: Any, engine: Any) -> None:
    """A field that is `None` takes its machine later, once, which is attached then."""

    @define
    class Shop(Orchestrator):
        order: Order
        spare: Optional[Order] = None
        log: list[str] = attrs.field(factory=list)

        @on("spare.process")
        def note(self) -> None:
            self.log.append("noted")

    shop = Shop(engine.machine(Order)())
    shop.spare = None
    shop.spare = spare = engine.machine(Order)()
    assert engine.run(lambda: spare.send("process")) is shop
    assert shop.log == ["noted"]
    for value in (Order(), spare, None):
        with pytest.raises(MachineFieldIsSetError):
            shop.spare = value
    assert shop.spare is spare


def test_an_optional_machine_that_is_refused_leaves_the_field_open(define: Any) -> None:
    """A machine that cannot be attached is not stored: the field still takes one."""

    @define
    class Shop(Orchestrator):
        order: Order
        spare: Optional[Order] = None

    row = Row()
    shop: Any = Shop(Order(row))
    for value, error in (
        (Payment(), WrongMachineError),
        ("spare", WrongMachineError),
        (shop.order, DeclarationError),
        (Order(row), StateFieldIsNotUniqueError),
    ):
        with pytest.raises(error):
            shop.spare = value
        assert shop.spare is None
    shop.spare = spare = Order()
    assert orchestrator_of(spare) is shop


def test_a_machine_belongs_to_one_orchestrator_under_one_name(define: Any) -> None:
    """A second orchestrator is refused if it would inject the same name, and only then."""

    class Job(StateMachine):
        ready = State(initial=True)
        run = ready.to(ready)

        def on_run(self, orc: Any, boss: Any = None) -> Any:
            return orc, boss

    @define
    class Works(Orchestrator):
        job: Job

    @define
    class Office(Orchestrator, orchestrator_name="boss"):
        job: Job

    job = Job()
    works = Works(job)
    with pytest.raises(MachineIsTakenError):
        Works(job)
    assert job.send("run") == (works, None)
    office = Office(job)
    assert job.send("run") == (works, office)


def test_one_machine_in_two_fields_is_refused(define: Any) -> None:
    """A machine has one name in its orchestrator."""

    @define
    class Shop(Orchestrator):
        order: Order
        spare: Order

    order = Order()
    with pytest.raises(DeclarationError, match="stands in order too"):
        Shop(order, order)
    assert repr(Shop(order, Order())) == "Shop(order=pending, spare=pending)"


def test_a_machine_in_mid_step_is_refused(define: Any, engine: Any) -> None:
    """A machine cannot be attached while it takes an event, neither at construction nor later."""

    class Job(StateMachine):
        ready = State(initial=True)
        run = ready.to(ready)

        def on_run(self, attach: Any) -> Any:
            with pytest.raises(MachineIsBusyError):
                attach(self)
            return "refused"

    @define
    class Works(Orchestrator):
        job: Optional[Job] = None

    works = Works()
    job = engine.machine(Job)()

    def attach_later(job: Any) -> None:
        works.job = job

    results = [
        engine.run(lambda attach=attach: job.send("run", attach))
        for attach in (Works, attach_later)
    ]
    assert results == ["refused", "refused"]
    assert works.job is None
    works.job = job
    assert list(works.machines) == ["job"]


def test_machines_of_one_model_need_state_fields_of_their_own(define: Any) -> None:
    """Two machines are refused if they keep their state in one attribute of one model."""

    @define
    class Shop(Orchestrator):
        order: Order
        payment: Payment

    row = Row()
    with pytest.raises(StateFieldIsNotUniqueError):
        Shop(Order(row), Payment(row, start_value="unpaid"))
    row = Row()
    shop = Shop(Order(row), Payment(row, state_field="payment_state"))
    assert (row.state, row.payment_state) == ("pending", "unpaid")
    assert repr(shop) == "Shop(order=pending, payment=unpaid)"
    assert repr(Shop(Order(Row()), Payment(Row()))) == "Shop(order=pending, payment=unpaid)"


# Nothing is half attached ---------------------------------------------------------------------


class Till(Orchestrator):
    """Another orchestrator."""

    payment: Payment


def taken(_row: Row) -> Payment:
    """Return a payment that belongs to another orchestrator."""
    return Till(Payment()).payment


REFUSALS = pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lambda _row: Order(), WrongMachineError),
        (lambda _row: None, WrongMachineError),
        (taken, MachineIsTakenError),
        (Payment, StateFieldIsNotUniqueError),
    ],
    ids=["wrong", "none", "taken", "sharing"],
)


@REFUSALS
def test_a_refusal_attaches_no_machine(define: Any, bad: Any, error: Any) -> None:
    """A machine refused together with a bad one stays bare and works; it can be attached later."""

    @define
    class Shop(Orchestrator):
        payment: Payment
        order: Order

    @define
    class TurnedShop(Orchestrator):
        order: Order
        payment: Payment

    for shop_class in (Shop, TurnedShop):
        row = Row()
        payment = bad(row)
        row.state = None
        order = Order(row)
        shop: Any = shop_class
        with pytest.raises(error):
            shop(order=order, payment=payment)
        assert order.send("process") is None
        attached = shop(order=order, payment=Payment())
        assert order.send("ship") is attached


def test_a_busy_machine_leaves_the_others_bare(define: Any, engine: Any) -> None:
    """Machines given together with one in mid-step stay bare."""

    class Job(StateMachine):
        ready = State(initial=True)
        run = ready.to(ready)

        def on_run(self, order: Any) -> None:
            with pytest.raises(MachineIsBusyError):
                Works(order, self)

    @define
    class Works(Orchestrator):
        order: Order
        job: Job

    order, job = engine.machine(Order)(), engine.machine(Job)()
    engine.run(lambda: job.send("run", order))
    works = Works(order, job)
    assert engine.run(lambda: order.send("process")) is works


def test_a_refused_value_of_data_attaches_no_machine(define: Any) -> None:
    """A validator that refuses data leaves the machines given with it bare."""

    @define
    class Shop(Orchestrator):
        order: Order
        retries: int = attrs.field(validator=attrs.validators.ge(0))

    order = Order()
    with pytest.raises(ValueError, match="'retries' must be >= 0"):
        Shop(order, -1)
    shop = Shop(order, 0)
    assert orchestrator_of(order) is shop


def test_a_refused_class_leaves_nothing_behind() -> None:
    """A class that was refused can be declared again, right this time."""

    def declare(topic: str) -> Any:
        class Shop(Orchestrator):
            order: Order
            log: list[str] = attrs.field(factory=list)

            @on(topic)
            def note(self) -> None:
                self.log.append("noted")

        return Shop

    with pytest.raises(UnknownTopicError):
        declare("order.proces")
    shop = declare("order.process")(Order())
    shop.order.send("process")
    assert shop.log == ["noted"]


# Copies ---------------------------------------------------------------------------------------


class AsyncOrder(Order):
    """An order that python-statemachine runs asynchronously, and that can be imported."""

    async def on_process(self, orc: Any = None) -> Any:
        """Return the orchestrator."""
        return orc


class Store(Orchestrator):
    """An orchestrator that can be imported, so that it can be pickled."""

    order: Order
    payment: Payment
    spare: Optional[Order] = None
    log: list[Any] = attrs.field(factory=list)

    @on("order.process")
    def pay(self) -> None:
        """Pay, and note that it was done."""
        self.payment.send("authorize")
        self.log.append("paid")


@attrs.define
class SlottedStore(Orchestrator):
    """The same, stored in slots."""

    order: Order
    payment: Payment
    spare: Optional[Order] = None
    log: list[Any] = attrs.field(factory=list)

    @on("order.process")
    def pay(self) -> None:
        """Pay, and note that it was done."""
        self.payment.send("authorize")
        self.log.append("paid")


STORES = pytest.mark.parametrize("store_class", [Store, SlottedStore])
COPIES = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])


@STORES
@COPIES
def test_a_copy_is_a_working_orchestrator(store_class: Any, copied: Any, engine: Any) -> None:
    """A copy has its own machines, reactions to them, and `orc`; the original is left as it was."""
    store = store_class((AsyncOrder if engine.is_async else Order)(), Payment())
    engine.run(store.order.activate_initial_state)
    other = copied(store)
    assert type(other) is store_class
    assert engine.run(lambda: other.order.send("process")) is other
    assert repr(other).endswith("(order=processing, payment=authorized, spare=None, log=['paid'])")
    assert store.payment.current_state_value == "unpaid"
    assert engine.run(lambda: store.order.send("process")) is store
    assert store.payment.current_state_value == "authorized"


@pytest.mark.skipif(
    version("python-statemachine").startswith("2.5"),
    reason="python-statemachine 2.5 cannot run a copy of an async machine that is in no state yet",
)
@STORES
@COPIES
def test_a_copy_of_an_async_machine_enters_its_initial_state(store_class: Any, copied: Any) -> None:
    """An async machine may be copied before its first event, which enters its initial state."""

    async def main() -> Any:
        other = copied(store_class(AsyncOrder(), Payment()))
        return await other.order.send("process") is other, repr(other).partition(",")[0]

    expected = (True, f"{store_class.__name__}(order=processing")
    assert asyncio.run(main()) == expected


@STORES
@COPIES
def test_a_copy_is_in_the_states_of_the_original(store_class: Any, copied: Any) -> None:
    """A copy goes on where the original stands."""
    store = store_class(Order(), Payment(), Order())
    store.order.send("process")
    other = copied(store)
    assert repr(other) == repr(store)
    other.order.send("ship")
    states = (store.order.current_state_value, other.order.current_state_value)
    assert states == ("processing", "shipped")


@STORES
@COPIES
def test_a_copy_keeps_attributes_that_are_no_fields(store_class: Any, copied: Any) -> None:
    """What was set on the instance beside its fields is copied too."""
    store = store_class(Order(), Payment())
    store.extra = ["extra"]
    assert copied(store).extra == ["extra"]


@STORES
@COPIES
def test_a_copy_has_no_observers(store_class: Any, copied: Any) -> None:
    """Observers belong to the bus of one orchestrator: a copy begins with its reactions alone."""
    store = store_class(Order(), Payment())
    heard: list[Any] = []
    store.bus.signal("order.process").connect(lambda machine, **_: heard.append(machine))
    other = copied(store)
    other.order.send("process")
    assert heard == []
    store.order.send("process")
    assert heard == [store.order]


@STORES
@COPIES
def test_a_copy_takes_the_machine_of_an_open_field(store_class: Any, copied: Any) -> None:
    """An `Optional` field that is `None` may be given its machine once, in a copy as well."""
    other = copied(store_class(Order(), Payment()))
    other.spare = spare = Order()
    assert orchestrator_of(spare) is other
    with pytest.raises(MachineFieldIsSetError):
        other.spare = Order()


@STORES
def test_a_shallow_copy_shares_its_data_and_a_deep_one_does_not(store_class: Any) -> None:
    """`copy.copy` copies the machines and shares the data, `copy.deepcopy` copies all."""
    store = store_class(Order(), Payment())
    shallow, deep = copy.copy(store), copy.deepcopy(store)
    assert [shallow.order is store.order, shallow.log is store.log] == [False, True]
    assert [deep.order is store.order, deep.log is store.log] == [False, False]


@STORES
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_keeps_cycles_through_its_data(store_class: Any, copied: Any) -> None:
    """Data that leads back to the orchestrator leads to the copy in a copy."""
    store = store_class(Order(), Payment())
    store.log.append(store)
    other = copied(store)
    assert other.log == [other]
    assert other.log[0] is other


@COPIES
def test_a_copy_of_a_machine_is_a_bare_machine(copied: Any) -> None:
    """A machine copied alone has left its orchestrator, and may be given to another."""
    store = Store(Order(), Payment())
    store.order.send("process")
    order = copy.deepcopy(store.order) if copied is copy.copy else copied(store.order)
    assert order.current_state_value == "processing"
    assert store.log == ["paid"]
    order.send("ship")
    assert store.order.current_state_value == "processing"
    assert Store(order, Payment()).order is order


def test_a_class_of_a_function_can_be_copied(define: Any) -> None:
    """Only pickling needs a class that can be imported."""

    @define
    class Shop(Orchestrator):
        order: Order

    shop = Shop(Order())
    for copied in (copy.copy, copy.deepcopy):
        other = copied(shop)
        assert orchestrator_of(other.order) is other


# How an orchestrator prints -------------------------------------------------------------------


def test_repr_shows_states_and_data(define: Any) -> None:
    """`repr` shows each machine by its state, data as attrs shows it, `None` for no machine."""

    @define
    class Shop(Orchestrator):
        order: Order
        spare: Optional[Order] = None
        retries: int = 3
        secret: str = attrs.field(default="secret", repr=False)
        code: str = attrs.field(default="code", repr=lambda value: value[:2] + "..")

    shop = Shop(Order())
    at_first = repr(shop)
    shop.order.send("process")
    assert [at_first, repr(shop)] == [
        "Shop(order=pending, spare=None, retries=3, code=co..)",
        "Shop(order=processing, spare=None, retries=3, code=co..)",
    ]


def test_repr_of_a_class_in_a_class_names_both(define: Any) -> None:
    """`repr` names the class as attrs does: without the function, with the class around it."""

    class Town:
        @define
        class Shop(Orchestrator):
            order: Order

    assert repr(Town.Shop(Order())) == "Town.Shop(order=pending)"


def test_an_own_repr_is_kept(define: Any) -> None:
    """A class that writes its own `__repr__` has it."""

    @define
    class Shop(Orchestrator):
        order: Order

        def __repr__(self) -> str:
            return "my shop"

    @define
    class WebShop(Shop):
        pass

    assert [repr(Shop(Order())), repr(WebShop(Order()))] == ["my shop", "my shop"]


def test_repr_of_an_orchestrator_that_holds_itself_ends(define: Any) -> None:
    """Data that leads back to the orchestrator is shown as dots."""

    @define
    class Shop(Orchestrator):
        order: Order
        log: list[Any] = attrs.field(factory=list)

    shop = Shop(Order())
    shop.log.append(shop)
    assert repr(shop) == "Shop(order=pending, log=[...])"


@needs_3
def test_repr_shows_every_active_state(define: Any) -> None:
    """A compound or parallel configuration is shown as a set, outermost first."""
    from statemachine import StateChart  # noqa: PLC0415 - python-statemachine 2.x has none

    class Editor(StateChart[Any]):
        class editing(State.Compound):  # noqa: N801 - the host's spelling of a state
            draft = State(initial=True)
            review = State()
            submit = draft.to(review)

        closed = State(final=True)
        close = editing.to(closed)

    class Player(StateChart[Any]):
        class both(State.Parallel):  # noqa: N801 - the host's spelling of a state
            class sound(State.Compound):  # noqa: N801
                on = State(initial=True)
                off = State()
                mute = on.to(off)

            class picture(State.Compound):  # noqa: N801
                small = State(initial=True)
                large = State()
                zoom = small.to(large)

    @define
    class Desk(Orchestrator):
        editor: Editor
        player: Player

    desk = Desk(Editor(), Player())
    shown = [repr(desk)]
    desk.editor.send("submit")
    desk.player.send("zoom")
    shown.append(repr(desk))
    desk.editor.send("close")
    shown.append(repr(desk))
    assert shown == [
        "Desk(editor={editing, draft}, player={both, sound, on, picture, small})",
        "Desk(editor={editing, review}, player={both, sound, on, picture, large})",
        "Desk(editor=closed, player={both, sound, on, picture, large})",
    ]


def test_repr_of_an_async_machine_that_has_entered_no_state_yet(define: Any) -> None:
    """An async machine is in no state before its first event: it shows a dash until then."""

    @define
    class Shop(Orchestrator):
        order: AsyncOrder

    async def main() -> Any:
        shop = Shop(AsyncOrder())
        at_first = repr(shop)
        await shop.order.send("process")
        return at_first, repr(shop)

    assert asyncio.run(main()) == ("Shop(order=-)", "Shop(order=processing)")
