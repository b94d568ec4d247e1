"""What an exploration finds, each with the shortest way there, and the report of all of it."""

from __future__ import annotations

import json
import keyword
import re
from typing import TYPE_CHECKING, Any

import attrs

from statemachines_orchestrator._walking import Walk, call_of, source_of
from statemachines_orchestrator.traces import Trace, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from statemachines_orchestrator._covering import WiringCoverage
    from statemachines_orchestrator._steps import Step

__all__ = ["Exploration", "Finding", "Replay"]

_MOST_TOLD = 10
"""So many findings of one kind, and things that never happened, are printed."""


@attrs.frozen(eq=False)
class Replay:
    """What is needed to go the way of a finding again."""

    make: Any
    where: str
    events: Any
    failing: tuple[bool, ...]
    """Of each step, whether something failed in it."""
    check: str = ""
    """What a test asserts at the end of the way: source, with `shop` for the orchestrator."""
    needs: tuple[Any, ...] = ()
    """What that source calls, to be imported."""


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

        Where the mended orchestrator refuses a step of the way, the test fails there: drop it then.
        What makes the orchestrator, and predicates, are imported: they must be of a module, and
        not defined in a function. Arguments stand there by their `repr`.
        Raises `DeclarationError`, with the fix, for what cannot be imported.
        """
        replay: Any = self.replay
        expression, needs = call_of(replay.make, replay.where)
        body = [f"shop = {expression}"]
        names: dict[str, dict[str, None]] = {}
        if any(step.kind == "timer" for step in self.path):
            names["statemachines_orchestrator"] = dict.fromkeys(("VirtualClock", "use_clock"))
            names["statemachines_orchestrator.testing"] = {"elapse": None}
            body.append("use_clock(shop, VirtualClock())")
        if "explore(" in replay.check:
            names["statemachines_orchestrator.exploration"] = {"explore": None}
        for one in (*needs, *replay.needs):
            module, name = source_of(one, replay.where)
            names.setdefault(module, {})[name] = None
        body += self._calls()
        body += [replay.check] if replay.check else []
        lines = [
            f"from {module} import {', '.join(sorted(needed))}"
            for module, needed in sorted(names.items())
        ]
        if "with suppress(Exception):" in body:
            lines = ["from contextlib import suppress", "", *lines]
        head = [*lines, "", "", f"def test_{self._slug()}():", f'    """{_plain(self.text)}"""']
        return "\n".join([*head, *(f"    {line}" for line in body), ""])

    def _calls(self) -> Iterator[str]:
        """Yield the calls of the path; those that raise on the way are let pass."""
        replay: Any = self.replay
        last = len(self.path) - 1
        raises_itself = self.kind in {"failure", "raised", "runaway"}
        for at, (step, fails) in enumerate(zip(self.path, replay.failing, strict=True)):
            if fails and not (raises_itself and at == last):
                yield "with suppress(Exception):"
                yield f"    {_call(step)}"
            else:
                yield _call(step)

    def _slug(self) -> str:
        steps = "_".join(step.name for step in self.path[-2:]) or "at_the_beginning"
        return re.sub(r"\W+", "_", f"{self.kind}_after_{steps}").strip("_").lower()


def _plain(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _call(step: Step) -> str:
    """Return a step as source."""
    if step.kind == "signal":
        return f"shop.publish({', '.join([repr(step.name), *_several(step)])})"
    if step.kind == "timer":
        target = f"shop.{step.told_path}" if step.told_path else "shop"
        nth = [f"nth={step.nth}"] if step.nth else []
        return f"elapse({', '.join([target, repr(step.name), *map(repr, step.keys), *nth])})"
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
        lines = [f"{self.name}: {self.states} joint states, {self.steps} steps; {bound}"]
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
