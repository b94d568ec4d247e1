"""What an exploration finds, each with the shortest way there, and the report of all of it."""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import re
import sys
from functools import partial
from itertools import chain, count
from types import MethodType
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._walking import Walk, call_of, source_of
from statemachines_orchestrator.exceptions import DeclarationError
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.reactions import place
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from statemachines_orchestrator._covering import WiringCoverage
    from statemachines_orchestrator._steps import Step

__all__ = ["Exploration", "Finding", "Replay"]

_MOST_TOLD = 10
"""So many findings of one kind, and things that never happened, are printed."""
_PACKAGE = "statemachines_orchestrator"
_OWN = ("shop", "answer", "lost", "finding")
"""What a test calls so itself; what it imports and is called so has another name there."""
_ENDED = "a step that is refused now: the way ends there"


@attrs.frozen(eq=False)
class Replay:
    """What is needed to go the way of a finding again."""

    make: Any
    where: str
    events: Any
    failing: tuple[bool, ...]
    """Of each step, whether something failed in it."""
    check: tuple[Any, ...] = ()
    """What a test asks at the end of the way, in the place of a last event that raised: source,
    with `shop` for the orchestrator. What is no string stands there by its name."""


@attrs.frozen
class Finding:
    """One thing that was found, with the shortest way there that was found first."""

    kind: str
    """`stuck`, `invariant`, `goal`, `failure`, `raised` or `runaway`."""
    text: str
    """What was found, in a sentence."""
    path: tuple[Step, ...]
    """The outside events and timers that lead there, from the beginning."""
    state: str
    """The orchestrator at the end of the path, as it prints."""
    exception: Exception | None = attrs.field(default=None, eq=False, repr=False)
    """What was raised: by a reaction, an event, an invariant."""
    count: int = 1
    """In how many joint states, or steps, it was found: the path leads to the first one."""
    replay: Replay | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def trace(self) -> Trace:
        """What happens along the path, recorded anew on an orchestrator that is made for it."""
        replay: Any = self.replay
        walk = Walk(replay.make, replay.where, events=replay.events)
        with tracing(walk.owner) as trace:
            for step in self.path:
                walk.joints.read()
                walk.run(step)
        return trace

    def __str__(self) -> str:
        """Return what was found, where, and the way there."""
        more = f" (and {self.count - 1} more like it)" if self.count > 1 else ""
        lines = [f"{self.kind}: {self.text}{more}", f"  in {self.state}"]
        lines += [f"  {number:>3}. {step}" for number, step in enumerate(self.path, 1)]
        return "\n".join(lines if self.path else [*lines, "       at the beginning"])

    def __format__(self, spec: str) -> str:
        """Return it as text, or its trace as `tree`, `mermaid` (a sequence diagram) or `jsonl`."""
        return format(self.trace, spec) if spec else str(self)

    def as_test(self) -> str:
        """Return the source of a pytest function that goes the way, and fails as long as it leads.

        Where a step of the way is refused once it is mended, its timer not pending any more, or its
        member gone, the way ends: what is asked in the end is asked there.
        What makes the orchestrator, and predicates, are imported. What cannot be, a lambda, or what
        is defined in a function, is a name to fill in, with a comment. Arguments stand there by
        their `repr`.
        """
        replay: Any = self.replay
        test = f"test_{self._slug()}"
        names = _Names(replay.where, test)
        body = [f"shop = {names.call(replay.make)}"]
        if any(step.kind == "timer" for step in self.path):
            clock = names.imported(_PACKAGE, "VirtualClock")
            body.append(f"{names.imported(_PACKAGE, 'use_clock')}(shop, {clock}())")
        body += self._way(names)
        check = "".join(one if isinstance(one, str) else names.of(one) for one in replay.check)
        body += check.splitlines()
        head = [*names.head(), "", "", f"def {test}():", f'    """{_plain(self.text)}"""']
        return "\n".join([*head, *_indented(body), ""])

    def _way(self, names: _Names) -> list[str]:
        """Return the calls of the path, and where they end if it is mended.

        That is no `suppress`, which from Python 3.12 on looks into groups of exceptions: there it
        would suppress as well that a reaction sends what is refused.
        """
        replay: Any = self.replay
        path = self.path[:-1] if self.kind == "raised" and replay.check else self.path
        calls = list(self._calls(path, names))
        ends: list[str] = []
        if any(step.kind == "event" for step in path):
            ends.append(names.imported("statemachine.exceptions", "TransitionNotAllowed"))
        if any(step.kind == "timer" for step in path):
            ends.append(names.imported(_PACKAGE, "DeclarationError"))
        if any("[" in step.told_path for step in path):
            ends.append("KeyError")
        if not ends:
            return calls
        told = ends[0] if len(ends) == 1 else f"({', '.join(sorted(ends))})"
        return ["try:", *_indented(calls), f"except {told}:", f"    pass  # {_ENDED}"]

    def _calls(self, path: Sequence[Step], names: _Names) -> Iterator[str]:
        """Yield the calls of a path; those that raise on the way are let pass."""
        replay: Any = self.replay
        last = len(self.path) - 1
        raises_itself = self.kind in {"failure", "raised", "runaway"}
        for at, (step, fails) in enumerate(zip(path, replay.failing, strict=False)):
            if fails and not (raises_itself and at == last):
                yield f"with {names.imported('contextlib', 'suppress')}(Exception):"
                yield f"    {_call(step, names)}"
            else:
                yield _call(step, names)

    def _slug(self) -> str:
        steps = "_".join(step.name for step in self.path[-2:]) or "at_the_beginning"
        return re.sub(r"\W+", "_", f"{self.kind}_after_{steps}").strip("_").lower()


class _Names:
    """The names in the source of a test: all are free, whatever what it imports is called."""

    def __init__(self, where: str, test: str) -> None:
        self.where = where
        self.taken = {*dir(builtins), *_OWN, test}
        self.imports: dict[tuple[str, str], str] = {}
        self.missing: dict[int, tuple[str, Any]] = {}
        """What cannot be imported, by its identity, each with its name."""

    def of(self, thing: Any, hint: str = "given") -> str:
        """Return the source of a thing: a literal, or what is imported, or else a name."""
        given: Any = thing
        if isinstance(thing, partial):
            partially = self.imported("functools", "partial")
            return f"{partially}({', '.join([self.of(given.func), *self._arguments(given)])})"
        if isinstance(thing, MethodType):
            return f"{self.of(thing.__self__, hint)}.{thing.__name__}"
        if _is_literal(thing):
            return repr(thing)
        try:
            module, name = source_of(thing, self.where)
        except DeclarationError:
            return self._missing(thing, hint)
        below = thing.__qualname__.partition(".")[2]
        return ".".join(part for part in (self.imported(module, name), below) if part)

    def call(self, make: Any) -> str:
        """Return the source that makes an orchestrator."""
        given: Any = make
        if isinstance(make, partial):
            return f"{self.of(given.func, 'make')}({', '.join(self._arguments(given))})"
        if not (isinstance(make, type) and issubclass(make, Orchestrator)):
            return f"{self.of(make, 'make')}()"
        text, needs = call_of(make, self.where)
        parts: list[str] = []
        for one in needs:  # its calls, from left to right
            before, _name, text = text.partition(f"{one.__qualname__}(")
            parts.append(f"{before}{self.of(one, one.__name__)}(")
        return "".join([*parts, text])

    def _arguments(self, made: Any) -> Iterator[str]:
        yield from map(self.of, made.args)
        yield from (f"{name}={self.of(value)}" for name, value in made.keywords.items())

    def imported(self, module: str, name: str) -> str:
        """Return the name by which something is imported."""
        if module == "builtins":
            return name
        if (module, name) not in self.imports:
            self.imports[module, name] = self._free(name, module.rpartition(".")[2])
        return self.imports[module, name]

    def _missing(self, thing: Any, hint: str) -> str:
        """Return the name of what is to be filled in."""
        if id(thing) not in self.missing:
            name = getattr(thing, "__name__", "")
            wanted = name if name.isidentifier() else hint
            self.missing[id(thing)] = self._free(wanted, "another"), thing
        return self.missing[id(thing)][0]

    def _free(self, name: str, prefix: str) -> str:
        """Return a name that stands for nothing else, and that pytest does not collect."""
        several = (f"its_{name}_{number}" for number in count(2))
        tried = chain((name, f"{prefix}_{name}"), several)
        free = next(one for one in tried if one not in self.taken and one[:4].lower() != "test")
        self.taken.add(free)
        return free

    def head(self) -> list[str]:
        """Return the lines that import what the test needs, and tell what is missing."""
        modules: dict[str, list[str]] = {}
        for (module, name), free in self.imports.items():
            told = name if name == free else f"{name} as {free}"
            modules.setdefault(module, []).append(told)
        groups: tuple[list[str], list[str]] = ([], [])
        for module, names in sorted(modules.items()):
            is_ours = module.partition(".")[0] not in sys.stdlib_module_names
            groups[is_ours].append(f"from {module} import {', '.join(sorted(names))}")
        stubs = [
            f"{name} = ...  # fill in: {_place(thing)}, which cannot be imported"
            for name, thing in self.missing.values()
        ]
        lines = [line for group in (*groups, stubs) if group for line in ("", *group)]
        return lines[1:]


def _is_literal(value: Any) -> bool:
    """Whether its `repr` is a literal that gives the same."""
    try:
        return type(ast.literal_eval(repr(value))) is type(value)
    except Exception:  # noqa: BLE001 - it is anything, and so is its repr
        return False


def _place(thing: Any) -> str:
    """Return where a function or class stands; of an object what it is."""
    return place(thing) if hasattr(thing, "__qualname__") else f"a {type(thing).__qualname__}"


def _plain(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _call(step: Step, names: _Names) -> str:
    """Return a step as source."""
    if step.kind == "signal":
        return f"shop.publish({', '.join([repr(step.name), *_several(step)])})"
    if step.kind == "timer":
        target = f"shop.{step.told_path}" if step.told_path else "shop"
        nth = [f"nth={step.nth}"] if step.nth else []
        elapse = names.imported(f"{_PACKAGE}.testing", "elapse")
        return f"{elapse}({', '.join([target, repr(step.name), *map(repr, step.keys), *nth])})"
    is_plain = step.name.isidentifier() and not keyword.iskeyword(step.name)
    if is_plain:
        return f"shop.{step.told_path}.{step.name}({step.arguments})"
    return f"shop.{step.told_path}.send({', '.join([repr(step.name), *_several(step)])})"


def _several(step: Step) -> list[str]:
    return [step.arguments] if step.arguments else []


@attrs.frozen
class Exploration:
    """What came of an exploration. Printed, it is a report."""

    name: str
    """The name of the orchestrator's class."""
    states: int
    """How many joint states were found."""
    steps: int
    """How many events and timers were tried in them."""
    complete: bool
    """Whether these are all there are: the limit was not reached."""
    findings: tuple[Finding, ...]
    """What was found, in the order in which it was found: the shortest way comes first."""
    coverage: WiringCoverage = attrs.field(repr=False)
    """How often each state, transition, reaction, join, route and timeout was exercised."""
    ignored: Mapping[str, int]
    """The events that a machine ignored, with how often."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found, and nothing was left out."""
        return self.complete and not self.findings

    def of(self, *kinds: str) -> tuple[Finding, ...]:
        """Return the findings of some kinds."""
        return tuple(one for one in self.findings if one.kind in kinds)

    @property
    def stuck(self) -> tuple[Finding, ...]:
        """The joint states in which nothing more can happen, and not every machine is final."""
        return self.of("stuck")

    @property
    def never(self) -> Mapping[str, tuple[str, ...]]:
        """What never happened, by its kind: states, transitions, reactions, joins, routes."""
        return self.coverage.missing

    def __str__(self) -> str:
        """Return the report."""
        bound = "all there are" if self.complete else "NOT all there are: the limit was reached"
        states, steps = _counted(self.states, "joint state"), _counted(self.steps, "step")
        lines = [f"{self.name}: {states}, {steps}; {bound}"]
        lines.append(_counted(len(self.findings), "finding") if self.findings else "nothing found")
        for kind in dict.fromkeys(one.kind for one in self.findings):
            found = self.of(kind)
            lines += [f"\n{one}" for one in found[:_MOST_TOLD]]
            if len(found) > _MOST_TOLD:
                lines.append(f"\n{kind}: ... and {len(found) - _MOST_TOLD} more")
        if self.never or self.ignored:
            lines.append("")
        for kind, names in self.never.items():
            lines += [f"never happened, {kind}:", *_told(names)]
        if self.ignored:
            told = [f"{event}, {_counted(times, 'time')}" for event, times in self.ignored.items()]
            lines += ["ignored events:", *_told(told)]
        return "\n".join(lines)

    def __format__(self, spec: str) -> str:
        """Return the report, or as `json`, or the findings as `mermaid`, a diagram each.

        Raises `ValueError` for anything else.
        """
        if spec in {"", "text"}:
            return str(self)
        if spec == "json":
            return json.dumps(self._facts(), indent=1)
        if spec == "mermaid":
            return "\n".join(f"%% {_one_line(one)}\n{one:mermaid}" for one in self.findings)
        message = f"an exploration has no format {spec!r}: there are text, json and mermaid"
        raise ValueError(message)

    def _facts(self) -> dict[str, Any]:
        return {
            "orchestrator": self.name,
            "states": self.states,
            "steps": self.steps,
            "complete": self.complete,
            "ok": self.ok,
            "findings": [
                {
                    "kind": one.kind,
                    "text": one.text,
                    "state": one.state,
                    "path": list(map(str, one.path)),
                    "count": one.count,
                }
                for one in self.findings
            ],
            "never": {kind: list(names) for kind, names in self.never.items()},
            "ignored": dict(self.ignored),
        }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _told(names: Sequence[str]) -> list[str]:
    told = [f"  {name}" for name in names[:_MOST_TOLD]]
    more = len(names) - len(told)
    return [*told, f"  ... and {more} more"] if more > 0 else told


def _one_line(finding: Finding) -> str:
    return " ".join(f"{finding.kind}: {finding.text}".split())
