"""Reading source: which events the body of a method sends, as far as it can be told.

A name stands for the orchestrator (`self` of a reaction, `orc` of a callback), for what stands in
one of its fields, or for a member of a fleet. What is reached from there is followed through
simple local names, loops over fleets, and helper methods of the orchestrator.
What cannot be followed makes the answer incomplete; nothing is guessed.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator.topics import Nest, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from statemachines_orchestrator.topics import Topics

__all__ = ["Body", "read_body"]

_OUTSIDE = frozenset(("delattr", "eval", "exec", "getattr", "setattr", "vars"))
"""Builtins with which anything can be done."""
_HARMLESS = frozenset(vars(builtins)) - _OUTSIDE
_VIEWS = {"items": "pairs", "values": "members"}
_COPIES = frozenset(("list", "reversed", "sorted", "tuple"))
_LOOKUPS = frozenset(("get", "pop", "setdefault"))
_SENDING = frozenset(("asend", "post"))


@attrs.define
class Body:
    """What a body sends."""

    targets: dict[str, None] = attrs.Factory(dict[str, None])
    """Topics `machine.event`, `*.event` for a broadcast, and signals of the domain; in order."""
    is_complete: bool = True
    """Whether all of it could be read."""


@attrs.frozen
class _At:
    """What an expression stands for: the names that lead there, and how it is meant."""

    path: tuple[str, ...]
    topics: Topics | None
    """The topics of an orchestrator; `None` for a machine."""
    form: str = "one"
    """`one`; for a fleet itself `fleet`, for its `values()` `members`, its `items()` `pairs`."""


def read_body(
    function: Any,
    topics: Topics,
    names: Mapping[str, tuple[str, ...]],
    methods: Callable[[str], Any],
) -> Body:
    """Return what a function sends.

    `names` are its parameters that stand for the orchestrator, by an empty path, or for a machine;
    `methods` finds what the orchestrator's class has under a name.
    """
    body = Body()
    reader = _Reader(body, topics, methods, set())
    reader.read(function, {name: _reached(topics, path) for name, path in names.items()})
    return body


def _reached(topics: Topics, path: tuple[str, ...]) -> Any:
    """Return what the names of fields lead to; of a fleet, to its members."""
    at: Any = _At((), topics)
    for name in path:
        found: Any = _field(at, name)
        at = attrs.evolve(found, form="one")
    return at


def _field(at: _At, name: str) -> _At | None:
    """Return what stands in a field of an orchestrator."""
    if at.topics is None or at.form != "one" or name not in at.topics.vocabularies:
        return None
    vocabulary = at.topics.vocabularies[name]
    inner = vocabulary.topics[0] if isinstance(vocabulary, Nest) else None
    form = "fleet" if name in at.topics.fleets else "one"
    return _At((*at.path, name), inner, form)


class _Reader(ast.NodeVisitor):
    """Walks through one function, and through the helper methods that it calls."""

    def __init__(
        self, body: Body, topics: Topics, methods: Callable[[str], Any], seen: set[Any]
    ) -> None:
        self.body = body
        self.topics = topics
        self.methods = methods
        self.seen = seen
        self.names: dict[str, _At | None] = {}

    def read(self, function: Any, names: dict[str, _At | None]) -> None:
        """Read a function in which some names stand for something."""
        self.names = names
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError):  # no source, or a lambda within an expression
            self.body.is_complete = False
            return
        if getattr(function, "__name__", "") == "<lambda>":
            lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
            statements: list[Any] = [node.body for node in lambdas]
            self.body.is_complete = self.body.is_complete and len(lambdas) == 1
        else:
            statements = getattr(tree.body[0], "body", [])
        for statement in statements if self.body.is_complete else ():
            self.visit(statement)

    # What expressions stand for -----------------------------------------------------------

    def at(self, node: ast.AST | None) -> _At | None:
        """Return what an expression stands for, `None` for anything else."""
        found: _At | None = None
        if isinstance(node, ast.Name):
            found = self.names.get(node.id)
        elif isinstance(node, ast.NamedExpr | ast.Await):
            found = self.at(node.value)
        elif isinstance(node, ast.Attribute):
            base = self.at(node.value)
            found = None if base is None else _field(base, node.attr)
        elif isinstance(node, ast.Subscript):
            found = self.member(self.at(node.value))
        elif isinstance(node, ast.Call):
            found = self.called(node)
        return found

    def called(self, node: ast.Call) -> _At | None:
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
        return self.member(base) if function.attr in _LOOKUPS else None

    def member(self, at: _At | None) -> _At | None:
        """Return what a member of a fleet stands for."""
        return attrs.evolve(at, form="one") if at is not None and at.form == "fleet" else None

    def bind(self, target: ast.AST, at: _At | None) -> None:
        """Let a name stand for something from here on, or no more for anything."""
        if isinstance(target, ast.Name):
            self.names[target.id] = at
        elif isinstance(target, ast.Tuple | ast.List):
            for one in target.elts:
                self.bind(one, None)

    def bind_each(self, target: ast.AST, values: ast.AST) -> None:
        """Let the names of a loop stand for what it goes through."""
        at = self.at(values)
        member = None if at is None else attrs.evolve(at, form="one")
        if at is not None and at.form == "members":
            self.bind(target, member)
        elif at is not None and at.form == "pairs" and isinstance(target, ast.Tuple):
            self.bind(target, None)
            self.bind(target.elts[-1], member)
        else:
            self.bind(target, None)

    # Statements ---------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        """Follow `payment = self.payment`."""
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)
            self.bind(target, self.at(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Follow `payment: Payment = self.payment`."""
        if node.value is not None:
            self.visit(node.value)
            self.bind(node.target, self.at(node.value))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Follow `(payment := self.payment)`."""
        self.visit(node.value)
        self.bind(node.target, self.at(node.value))

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """Follow `for item in self.items.values()`."""
        self.visit(node.iter)
        self.bind_each(node.target, node.iter)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Follow `... for item in self.items.values()`."""
        self.visit(node.iter)
        self.bind_each(node.target, node.iter)
        for condition in node.ifs:
            self.visit(condition)

    def _visit_comprehension(self, node: Any) -> None:
        for generator in node.generators:
            self.visit(generator)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))

    visit_ListComp = _visit_comprehension  # noqa: N815 - ast.NodeVisitor's names
    visit_SetComp = _visit_comprehension  # noqa: N815
    visit_DictComp = _visit_comprehension  # noqa: N815
    visit_GeneratorExp = _visit_comprehension  # noqa: N815

    # Calls --------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        """Note what a call sends; what else it does with what is ours cannot be told."""
        taken = isinstance(node.func, ast.Attribute) and self._sent(node, node.func)
        harmless = isinstance(node.func, ast.Name) and node.func.id in _HARMLESS
        if not taken and ((not harmless and self._hands_over(node)) or self._might_send(node)):
            self.body.is_complete = False
        self.generic_visit(node)

    def _might_send(self, node: ast.Call) -> bool:
        """Whether a call of what cannot be followed has the name of some machine's event."""
        if not isinstance(node.func, ast.Attribute):
            return False
        name: str | None = node.func.attr
        if name == "send":
            name = _text(node.args[0] if node.args else None)
        return name is not None and self.topics.declares(canonical(name))

    def _hands_over(self, node: ast.Call) -> bool:
        """Whether a call is given the orchestrator, or a machine, to do anything with."""
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        return any(self.at(one) is not None for one in arguments)

    def _sent(self, node: ast.Call, function: ast.Attribute) -> bool:
        """Note what a method call sends, and return whether it is one that is known."""
        at, name = self.at(function.value), function.attr
        if at is None or at.form != "one":
            return at is not None
        if at.topics is not None:
            return self._orchestrator(node, at, name)
        vocabulary = self._vocabulary(at.path)
        if name == "send":
            event = _text(node.args[0] if node.args else None)
            self._note(at.path, event)
        elif vocabulary is not None and vocabulary.takes(canonical(name)):
            self._note(at.path, name)
        else:
            self.body.is_complete = False  # a method of the machine's own, or of the host
        return True

    def _vocabulary(self, path: tuple[str, ...]) -> Any:
        topics: Any = self.topics
        for name in path[:-1]:
            topics = topics.vocabularies[name].topics[0]
        return topics.vocabularies[path[-1]]

    def _orchestrator(self, node: ast.Call, at: _At, name: str) -> bool:
        """Note what a method of an orchestrator sends."""
        if name in _SENDING:
            self._posted(at, node.args[0] if node.args else None)
        elif name == "broadcast":
            event = _text(node.args[0] if node.args else None)
            whole = event is not None and "." in event
            self._note(at.path if whole else (*at.path, "*"), event)
        elif name == "publish":
            self._note(at.path, _text(node.args[0] if node.args else None))
        elif name != "enabled_events":
            self._helper(node, at, name)
        return True

    def _posted(self, at: _At, topic: ast.expr | None) -> None:
        """Note `post("machine.event")` and `post(self.machine.event)`."""
        bound = self.at(topic.value) if isinstance(topic, ast.Attribute) else None
        if bound is not None and bound.topics is None and isinstance(topic, ast.Attribute):
            self._note(bound.path, topic.attr)
        else:
            self._note(at.path, _text(topic))

    def _note(self, path: tuple[str, ...], event: str | None) -> None:
        if event is None:
            self.body.is_complete = False
        else:
            self.body.targets[".".join((*path, canonical(event)))] = None

    def _helper(self, node: ast.Call, at: _At, name: str) -> None:
        """Read a method of the orchestrator that is called; of one below it is not followed."""
        function = self.methods(name) if not at.path else None
        if not inspect.isfunction(function):
            self.body.is_complete = False
            return
        if function in self.seen:
            return
        self.seen.add(function)
        parameters = list(inspect.signature(function).parameters)
        given = zip(parameters[1:], node.args, strict=False)
        names = {parameter: self.at(value) for parameter, value in given}
        names |= {one.arg: self.at(one.value) for one in node.keywords if one.arg is not None}
        reader = _Reader(self.body, self.topics, self.methods, self.seen)
        reader.read(function, {**names, parameters[0]: at})


def _text(node: ast.expr | None) -> str | None:
    """Return the text of a literal."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else None  # type: ignore[union-attr] # as was asked
