"""Reading source: which events the body of a function may send, as far as it can be told.

Some names stand for an orchestrator (`self` of a reaction, `orc` of a callback) or for a machine.
What is reached from them is followed through names that are bound to one thing only, loops over
fleets, and helper methods of the orchestrator. Whatever else is done with it makes the answer
incomplete. Nothing is guessed: an arrow says what may be sent, and never what the code cannot send.
"""

from __future__ import annotations

import ast
import inspect
from inspect import ismemberdescriptor
from types import FunctionType
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._sources import At, bound_by, is_hosts, statements_of
from statemachines_orchestrator.topics import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Body", "read_body"]

_PURE = frozenset(
    (
        *("bool", "enumerate", "format", "hash", "id", "isinstance", "len", "list", "print"),
        *("range", "repr", "reversed", "sorted", "str", "tuple", "type"),
    )
)
"""Builtins that do nothing to what they are given but look at it."""
_COPIES = frozenset(("list", "reversed", "sorted", "tuple"))
_VIEWS = {"items": "pairs", "values": "members"}
_LOOKED_AT = frozenset(
    (
        *("configuration", "configuration_values", "current_state", "current_state_value"),
        *("is_terminated", "model", "name", "state_field", "states"),
    )
)
"""What may be looked at on a machine, beside its states, and sends nothing."""
_SENDING = frozenset(("asend", "broadcast", "post", "publish"))
_SILENT = frozenset(("bus", "enabled_events", "machine_classes", "orchestrator_name"))
"""What of an orchestrator's surface sends nothing."""


@attrs.define
class Body:
    """What a body sends."""

    targets: dict[str, None] = attrs.Factory(dict[str, None])
    """Topics `machine.event`, `*.event` for a broadcast, and signals of the domain; in order."""
    is_complete: bool = True
    """Whether all of it could be read."""


def read_body(function: Any, names: Mapping[str, At | None]) -> Body:
    """Return what a function may send; `names` are its parameters, and what they stand for."""
    body = Body()
    _Reader(body, set()).read(function, names)
    return body


class _Reader(ast.NodeVisitor):
    """Walks through one function, and through the helper methods that it calls."""

    def __init__(self, body: Body, seen: set[Any]) -> None:
        self.body = body
        self.seen = seen
        self.names: dict[str, At | None] = {}
        self.inner: set[str] = set()
        """The names of inner functions, which are read where they are defined."""

    def read(self, function: Any, names: Mapping[str, At | None]) -> None:
        """Read a function in which some names stand for something."""
        statements = statements_of(function)
        if statements is None:
            self.open()
            return
        self.names = {**dict.fromkeys(inspect.signature(function).parameters), **names}
        for statement in statements:
            self.visit(statement)

    def open(self) -> None:
        """Note that not everything could be read."""
        self.body.is_complete = False

    # What expressions stand for -----------------------------------------------------------

    def at(self, node: ast.AST | None) -> At | None:
        """Return what an expression stands for, `None` for anything else."""
        found: At | None = None
        if isinstance(node, ast.Name):
            found = self.names.get(node.id)
        elif isinstance(node, ast.NamedExpr):
            found = self.at(node.value)
        elif isinstance(node, ast.Attribute):
            base = self.at(node.value)
            found = None if base is None else base.field(node.attr)
        elif isinstance(node, ast.Subscript):
            found = self.member(self.at(node.value))
        elif isinstance(node, ast.Call):
            found = self.called(node)
        return found

    def called(self, node: ast.Call) -> At | None:
        """Return what a call gives: a member or a view of a fleet, or a list of either."""
        function = node.func
        if isinstance(function, ast.Name):
            is_copy = function.id in _COPIES and len(node.args) == 1
            return self.at(node.args[0]) if is_copy else None
        base = self.at(function.value) if isinstance(function, ast.Attribute) else None
        if base is None or base.form != "fleet" or not isinstance(function, ast.Attribute):
            return None
        if function.attr in _VIEWS:
            return attrs.evolve(base, form=_VIEWS[function.attr])
        return self.member(base) if function.attr == "get" else None

    def member(self, at: At | None) -> At | None:
        """Return what a member of a fleet stands for."""
        return attrs.evolve(at, form="one") if at is not None and at.form == "fleet" else None

    # Names --------------------------------------------------------------------------------

    def bind(self, name: str, at: At | None) -> None:
        """Let a name stand for something; it may stand for one thing only, wherever that is."""
        if name in self.names and self.names[name] != at:
            self.open()
            at = None
        self.names[name] = at

    def bind_target(self, target: ast.AST, at: At | None) -> None:
        """Bind the names of a target; what is taken apart is not followed."""
        if isinstance(target, ast.Name):
            self.bind(target.id, at)
            return
        if at is not None:
            self.open()
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.bind(node.id, None)

    def bind_each(self, target: ast.AST, values: ast.AST) -> None:
        """Bind the names of a loop to what it goes through."""
        at = self.at(values)
        member = None if at is None else attrs.evolve(at, form="one")
        if at is not None and at.form == "members":
            self.bind_target(target, member)
        elif at is not None and at.form == "pairs" and isinstance(target, ast.Tuple):
            key, *values_of_keys = target.elts
            self.bind_target(key, None)
            for one in values_of_keys:
                self.bind_target(one, member if len(values_of_keys) == 1 else None)
            if len(values_of_keys) != 1:
                self.open()
        else:
            if at is not None and at.form != "fleet":  # a fleet's keys are keys
                self.open()
            self.bind_target(target, None)

    # Where what is ours may stand ---------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        """Follow `payment = self.payment`."""
        for target in node.targets:
            self._assigned(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Follow `payment: Payment = self.payment`."""
        if node.value is not None:
            self._assigned(node.target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Follow `(payment := self.payment)`."""
        self._assigned(node.target, node.value)

    def _assigned(self, target: ast.AST, value: ast.expr) -> None:
        at = self.at(value)
        if at is None:
            self.visit(value)
        else:
            self.inside(value)
        if not isinstance(target, ast.Name):
            self.inside(target)
        self.bind_target(target, at)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Take `names += ...` for another binding of the name."""
        self.visit(node.value)
        self.inside(node.target)
        self.bind_target(node.target, None)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """Follow `for item in self.items.values()`."""
        self.looked_at(node.iter)
        self.bind_each(node.target, node.iter)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    visit_AsyncFor = visit_For  # noqa: N815

    def _visit_comprehension(self, node: Any) -> None:
        for generator in node.generators:
            self.looked_at(generator.iter)
            self.bind_each(generator.target, generator.iter)
            for condition in generator.ifs:
                self.looked_at(condition)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))

    visit_ListComp = _visit_comprehension  # noqa: N815 - ast.NodeVisitor's names
    visit_SetComp = _visit_comprehension  # noqa: N815
    visit_DictComp = _visit_comprehension  # noqa: N815
    visit_GeneratorExp = _visit_comprehension  # noqa: N815

    def visit_If(self, node: ast.If | ast.While) -> None:
        """Take a test for a look."""
        self.looked_at(node.test)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    visit_While = visit_If  # noqa: N815

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Take a test for a look."""
        self.looked_at(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Take a comparison for a look."""
        for one in (node.left, *node.comparators):
            self.looked_at(one)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        """Take a format string for a look."""
        self.looked_at(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Take an expression that stands alone for a look."""
        self.looked_at(node.value)

    def looked_at(self, node: ast.AST) -> None:
        """Visit an expression that is only looked at."""
        if isinstance(node, ast.UnaryOp):
            self.looked_at(node.operand)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                self.looked_at(value)
        elif self.at(node) is None:
            self.visit(node)
        else:
            self.inside(node)

    def inside(self, node: ast.AST) -> None:
        """Visit the parts of an expression that stands for something, but for what leads there."""
        if isinstance(node, ast.NamedExpr):
            self.visit(node)
        elif isinstance(node, ast.Subscript):
            self.inside(node.value)
            self.visit(node.slice)
        elif isinstance(node, ast.Attribute):
            self.inside(node.value)
        elif isinstance(node, ast.Call):
            self.inside(node.func)
            for one in (*node.args, *node.keywords):
                self.looked_at(one.value if isinstance(one, ast.keyword) else one)
        elif not isinstance(node, ast.Name) and self.at(node) is None:
            self.visit(node)

    # Where it may not ---------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        """Meet what is ours where nobody can tell what becomes of it."""
        if self.at(node) is not None:
            self.open()

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Meet the member of a fleet, or look something up in what is not ours."""
        if self.at(node) is not None:
            self.open()
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Look at an attribute: of a machine its states, of an orchestrator its data."""
        base = self.at(node.value)
        if self.at(node) is not None:
            self.open()
        elif base is None:
            self.visit(node.value)
        else:
            self.inside(node.value)
            declared = base.declared(node.attr)
            getter = declared.fget if isinstance(declared, property) else None
            if self._is_silent(base, node.attr, declared):
                return
            if base.cls is None and getter is not None and not is_hosts(getter):
                self._follow(base, getter, {})
            else:
                self.open()

    def _is_silent(self, base: At, name: str, declared: Any) -> bool:
        """Whether to look at an attribute sends nothing, and gives nothing that could."""
        if base.form != "one":
            return False
        if base.cls is None:
            if name in _LOOKED_AT or name in base.vocabulary.states:
                return True
            return not hasattr(declared, "__get__") and not base.vocabulary.takes(canonical(name))
        if name in _SENDING or name == "machines":
            return False
        return name in _SILENT or not hasattr(declared, "__get__") or ismemberdescriptor(declared)

    def visit_FunctionDef(self, node: Any) -> None:
        """Read an inner function: it may be called; its parameters are names of their own."""
        if not isinstance(node, ast.Lambda):
            self.bind(node.name, None)
            self.inner.add(node.name)
        arguments = node.args
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.bind(one.arg, None)
        for one in (arguments.vararg, arguments.kwarg):
            if one is not None:
                self.bind(one.arg, None)
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815
    visit_Lambda = visit_FunctionDef  # noqa: N815

    def generic_visit(self, node: ast.AST) -> None:
        """Bind what a statement binds in some other way, and visit its parts."""
        for name in bound_by(node):
            self.bind(name, None)
        super().generic_visit(node)

    # Calls --------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        """Note what a call sends; what else it does with what is ours cannot be told."""
        function = node.func
        is_pure = isinstance(function, ast.Name) and function.id in _PURE
        if self.at(node) is not None:  # a member of a fleet, that nobody asks for anything
            self.open()
        elif isinstance(function, ast.Attribute) and self._sent(node, function):
            return
        elif isinstance(function, ast.Name) and (
            function.id == "super" or (function.id in self.names and function.id not in self.inner)
        ):
            self.open()  # a name may stand for anything that can be called
        elif isinstance(function, ast.Attribute):
            if self._might_send(node, function.attr):
                self.open()
            self.visit(function.value)
        else:
            self.visit(function)
        self._arguments(node, is_pure=is_pure)

    def _arguments(self, node: ast.Call, *, is_pure: bool = False) -> None:
        for one in (*node.args, *node.keywords):
            value = one.value if isinstance(one, ast.keyword) else one
            if is_pure:
                self.looked_at(value)
            else:
                self.visit(value)

    def _might_send(self, node: ast.Call, name: str) -> bool:
        """Whether a call of what cannot be followed may send something."""
        if name in _SENDING:
            return True
        if name == "send":
            text = _text(_first(node))
            return text is None or self._is_event(text)
        return self._is_event(name)

    def _is_event(self, name: str) -> bool:
        """Whether it is the name of an event of some machine."""
        known = [at.topics for at in self.names.values() if at is not None and at.topics]
        return any(topics.declares(canonical(name)) for topics in known)

    def _sent(self, node: ast.Call, function: ast.Attribute) -> bool:
        """Note what a method call sends, and return whether it is a call of what is ours."""
        at, name = self.at(function.value), function.attr
        if at is None:
            return False
        self.inside(function.value)
        if at.form != "one":
            if name not in {"keys", "key_of", "get", "items", "values"}:
                self.open()  # it may take a machine out, or put one in
        elif at.cls is not None:
            return self._orchestrator(node, at, name)
        elif name == "send":
            self._note(at.path, _text(_first(node)))
        elif at.vocabulary.takes(canonical(name)):
            self._note(at.path, name)
        else:
            self._helper(node, at, name)
            return True
        self._arguments(node)
        return True

    def _orchestrator(self, node: ast.Call, at: At, name: str) -> bool:
        """Note what a method of an orchestrator sends."""
        first = _first(node)
        if name in {"asend", "post"}:
            self._posted(at, node, first)
            return True
        if name == "broadcast":
            event = _text(first)
            whole = event is not None and "." in event
            self._note(at.path if whole else (*at.path, "*"), event)
        elif name == "publish":
            self._note(at.path, _text(first))
        elif name not in _SILENT:
            self._helper(node, at, name)
            return True
        self._arguments(node)
        return True

    def _posted(self, at: At, node: ast.Call, topic: ast.expr | None) -> None:
        """Note `post("machine.event")` and `post(self.machine.event)`."""
        bound = self.at(topic.value) if isinstance(topic, ast.Attribute) else None
        if bound is not None and bound.cls is None and isinstance(topic, ast.Attribute):
            self.inside(topic.value)
            self._note(bound.path, topic.attr)
        else:
            self._note(at.path, _text(topic))
        for one in (*node.args[1:], *(keyword.value for keyword in node.keywords)):
            self.visit(one)

    def _note(self, path: tuple[str, ...], event: str | None) -> None:
        if event is None:
            self.open()
        else:
            self.body.targets[".".join((*path, canonical(event)))] = None

    def _helper(self, node: ast.Call, at: At, name: str) -> None:
        """Read a method of the orchestrator, or of a machine, with what it is given."""
        function = at.declared(name)
        starred = any(isinstance(one, ast.Starred) for one in node.args)
        if not isinstance(function, FunctionType) or starred or is_hosts(function):
            self.open()
            self._arguments(node)
            return
        parameters = list(inspect.signature(function).parameters)
        given = dict(zip(parameters[1:], node.args, strict=False))
        given |= {one.arg: one.value for one in node.keywords if one.arg is not None}
        for value in given.values():
            self.looked_at(value)
        self._follow(at, function, {name: self.at(value) for name, value in given.items()})

    def _follow(self, at: At, function: Any, given: Mapping[str, At | None]) -> None:
        """Read another function, whose first parameter stands for what it is a method of."""
        parameters = list(inspect.signature(function).parameters)
        names: dict[str, At | None] = {**dict.fromkeys(parameters), **given, parameters[0]: at}
        key = (function, tuple(names.items()))
        if key not in self.seen:
            self.seen.add(key)
            _Reader(self.body, self.seen).read(function, names)


def _first(node: ast.Call) -> ast.expr | None:
    """Return the first argument of a call."""
    return node.args[0] if node.args else None


def _text(node: ast.expr | None) -> str | None:
    """Return the text of a literal."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else None  # type: ignore[union-attr] # as was asked
