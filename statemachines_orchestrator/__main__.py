"""The command line: draw an orchestration, list its wiring, read a trace, find what is wrong."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statemachines_orchestrator._clocks import use_clock
from statemachines_orchestrator._joints import Joints
from statemachines_orchestrator._walking import made
from statemachines_orchestrator._wiring import Wire, conditions_of, wiring
from statemachines_orchestrator.clock import VirtualClock
from statemachines_orchestrator.diagrams import FORMATS, diagram
from statemachines_orchestrator.exceptions import OrchestratorError
from statemachines_orchestrator.exploration import explore, lint
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from statemachines_orchestrator.exploration import Progress

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m statemachines_orchestrator draw examples.shop:Shop
  python -m statemachines_orchestrator draw examples.shop:Shop --format svg -o shop.svg
  python -m statemachines_orchestrator draw examples.shop:Shop --trace run.jsonl --format md
  python -m statemachines_orchestrator wiring examples.shop:Shop
  python -m statemachines_orchestrator trace run.jsonl --format mermaid
  python -m statemachines_orchestrator lint examples.shop:Shop
  python -m statemachines_orchestrator explore examples.shop:Shop --can-always order=shipped

What is meant is named as module:Class, or module:name of an instance; the current folder is on the
path. A trace is a file that Trace.to_jsonl() has written. explore also takes a function that makes
an orchestrator. Its status, and that of lint, is 1 if something was found, and where the limit was
reached: then nothing is proved.
"""

TRACE_FORMATS = ("tree", "mermaid", "jsonl")
EXPLORE_FORMATS = ("text", "json", "mermaid")


class _Refused(Exception):  # noqa: N818 - it is told, and never seen
    """What was asked for cannot be done: one line that says so, and the fix."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    0, or 1 for what cannot be done, and if `lint` or `explore` found something.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    run: Callable[[Any], str | bytes] = given.run
    try:
        result = run(given)
        _write(result, given.output)
    except BrokenPipeError:  # who read it has read enough
        sys.stdout = None
        return 1
    except (_Refused, OrchestratorError) as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error}. Name a file that can be read, or written"
    else:
        return int(given.has_found)
    sys.stderr.write(f"{parser.prog}: {' '.join(problem.split())}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m statemachines_orchestrator",
        description="See what several state machines do together.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    draw = commands.add_parser("draw", help="draw the machines, and what leads from one to another")
    draw.add_argument("target", metavar="MODULE:NAME", help="the class, or an instance")
    draw.add_argument(
        "--format", choices=FORMATS, help="mermaid, or what the name of the file says"
    )
    draw.add_argument(
        "--trace",
        metavar="FILE",
        action="append",
        help="count how often each arrow was used; what never was is dashed",
    )
    draw.set_defaults(run=_draw)
    table = commands.add_parser("wiring", help="list what leads to which reaction")
    table.add_argument("target", metavar="MODULE:NAME", help="the class, or an instance")
    table.set_defaults(run=_wiring)
    trace = commands.add_parser("trace", help="tell what happened, from a file")
    trace.add_argument(
        "file", metavar="FILE", help="what Trace.to_jsonl() has written; - for stdin"
    )
    trace.add_argument(
        "--format", choices=TRACE_FORMATS, help="tree, or what the name of the file says"
    )
    trace.set_defaults(run=_trace)
    check = commands.add_parser("lint", help="look for what can never work, without running it")
    check.add_argument("target", metavar="MODULE:NAME", help="the class, or an instance")
    check.set_defaults(run=_lint)
    explore_ = commands.add_parser("explore", help="walk through every joint state, and report")
    _add_explore_options(explore_)
    for command in (draw, table, trace, check, explore_):
        command.set_defaults(has_found=False)
        command.add_argument("-o", "--output", metavar="FILE", help="write to a file")
    return parser


def _add_explore_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="MODULE:NAME", help="the class, or what makes one")
    parser.add_argument(
        "--event", metavar="TOPIC", action="append", help="send this event only: order.pay, order.*"
    )
    parser.add_argument(
        "--invariant",
        metavar="MODULE:NAME",
        action="append",
        default=[],
        help="what must hold in every joint state: a function of the orchestrator",
    )
    for option, told in (
        ("--can-always", "what must stay reachable"),
        ("--may-rest", "where it is fine that nothing more can happen"),
    ):
        parser.add_argument(
            option,
            metavar="MACHINE=STATE,...",
            action="append",
            default=[],
            help=f"{told}: order=delivered,cancelled",
        )
    parser.add_argument(
        "--time",
        choices=("any", "order"),
        default="any",
        help="whether any pending timer may come due next (the default), or the next by deadline",
    )
    parser.add_argument("--limit", type=int, default=100_000, help="so many joint states at most")
    parser.add_argument(
        "--format", choices=EXPLORE_FORMATS, help="text, or what the name of the file says"
    )
    parser.set_defaults(run=_explore)


def _lint(given: Any) -> str:
    found = lint(_found(given.target))
    given.has_found = bool(found)
    return "".join(f"{one}\n" for one in found) or "nothing found\n"


def _explore(given: Any) -> str:
    make = _found(given.target)
    result = explore(
        _again(make) if isinstance(make, Orchestrator) else make,
        events=given.event,
        invariants=[_found(one) for one in given.invariant],
        can_always=[_goal(one) for one in given.can_always],
        may_rest=[_goal(one) for one in given.may_rest],
        time=given.time,
        limit=given.limit,
        progress=_show_progress if sys.stderr.isatty() else None,
    )
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    given.has_found = not result.ok
    return f"{format(result, _format(given, EXPLORE_FORMATS, 'text'))}\n"


def _again(owner: Orchestrator) -> Callable[[], Orchestrator]:
    """Return what makes an instance stand where it stands now, for each walk from there.

    The trace of a finding is recorded on a walk of its own, after the one that has found it.
    """
    joints = Joints(made(lambda: owner, "explore()"), None, "any")
    _key, first = joints.read()

    def again() -> Orchestrator:
        use_clock(owner, VirtualClock())
        joints.read()
        joints.put(first)
        return owner

    return again


def _goal(text: str) -> dict[str, tuple[str, ...]]:
    """Return the goal that `order=delivered,cancelled` names."""
    machine, sign, states = text.partition("=")
    if not (machine and sign and states):
        message = f"{text!r} is no MACHINE=STATE. Write it as order=delivered,cancelled"
        raise _Refused(message)
    return {machine: tuple(states.split(","))}


_BAR = 30


def _show_progress(progress: Progress) -> None:
    """Draw a bar: the part of the joint states found until now that has been looked at."""
    done = progress.states - progress.waiting
    bar = "#" * (_BAR * done // progress.states)
    sys.stderr.write(
        f"\r[{bar:.<{_BAR}}] {done}/{progress.states} joint states, {progress.steps} steps"
    )
    sys.stderr.flush()


def _draw(given: Any) -> str | bytes:
    traces = [_read(file) for file in given.trace] if given.trace else None
    return diagram(_found(given.target), _format(given, FORMATS, "mermaid"), traces=traces)


def _format(given: Any, formats: Sequence[str], default: str) -> str:
    """Return the format that is asked for, or that the name of the file says."""
    if given.format or not given.output:
        return str(given.format or default)
    suffix = Path(given.output).suffix.lower()
    names = {f".{name}": name for name in formats} | {".mmd": "mermaid"}
    found = (names | {"": default, ".txt": default}).get(suffix)
    if found is None:
        message = f"{given.output} says no format. Give --format, or call it {', '.join(names)}"
        raise _Refused(message)
    return found


def _wiring(given: Any) -> str:
    return "".join(f"{_wire(wire)}\n" for wire in wiring(_found(given.target)))


def _wire(wire: Wire) -> str:
    """Return `payment.authorize -> capture (shop.Shop.capture (shop.py, line 66))`."""
    sent = f" -> {', '.join(wire.targets)}" if wire.targets else ""
    facts = conditions_of(wire)
    told = f" [{', '.join(facts)}]" if facts else ""
    return f"{wire.topic} -> {wire.reaction}{sent}{told}    {wire.where}"


def _trace(given: Any) -> str:
    return format(_read(given.file), _format(given, TRACE_FORMATS, "tree"))


def _read(file: str) -> Trace:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return Trace.from_jsonl(text)
    except UnicodeDecodeError as error:
        message = f"{file} is no text: {error}. Give it what Trace.to_jsonl() has written"
        raise _Refused(message) from None
    except OrchestratorError as error:
        message = f"{file}, {error}"
        raise _Refused(message) from None


def _found(target: str) -> Any:
    """Return what `module:name` names."""
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        message = f"{target!r} is no MODULE:NAME. Write it as package.module:Class"
        raise _Refused(message)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        message = (
            f"{module_name} cannot be imported: {type(error).__name__}: {error}. Run it in the "
            "folder from which Python imports it"
        )
        raise _Refused(message) from error
    for part in name.split("."):
        if not hasattr(found, part):
            known = ", ".join(_orchestrators_in(found)) or "no orchestrator"
            message = f"{module_name} has no {name!r}. It has {known}"
            raise _Refused(message)
        found = getattr(found, part)
    return found


def _orchestrators_in(module: Any) -> list[str]:
    """Return the names of the orchestrator classes of a module."""
    kinds = {name: getattr(module, name) for name in dir(module)}
    return [
        name
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Orchestrator) and kind is not Orchestrator
    ]


def _write(result: str | bytes, output: str | None) -> None:
    data = result.encode(errors="backslashreplace") if isinstance(result, str) else result
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        Path(output).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
