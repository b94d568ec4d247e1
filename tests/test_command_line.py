"""The command line: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from drawing import needs_dot

from statemachines_orchestrator import __main__ as command_line
from statemachines_orchestrator.diagrams import diagram
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PROGRAM = "python -m statemachines_orchestrator"

SHOP = """\
import threading
from typing import Any

import attrs
from statemachine import State, StateMachine

from statemachines_orchestrator import (
    Fleet, Orchestrator, VirtualClock, on, on_enter, timeout, use_clock
)
from statemachines_orchestrator.exploration import invariant


class Light(StateMachine):
    off = State(initial=True)
    on = State()
    flip = off.to(on) | on.to(off)


class Pair(Orchestrator):
    one: Light
    two: Light

    follow = on("one.flip", cond="wanted").send("two.flip", if_enabled=True)
    wanted: bool = True

    @timeout("one.on", seconds=3, repeat=True)
    def late(self):
        pass


class Holder:
    pair = Pair(Light(), Light())


class Door(StateMachine):
    shut = State(initial=True)
    gone = State(final=True)
    leave = shut.to(gone)


class Dark(Orchestrator):
    door: Door

    @on_enter("door.shut")
    def never(self):
        pass


def make():
    return Pair(Light(), Light())


def is_dark(pair):
    return pair.one.current_state_value == "off"


def not_both(pair):
    return "off" in (pair.one.current_state_value, pair.two.current_state_value)


class Street(Orchestrator):

    door: Light
    lamps: Fleet[str, Light] = attrs.field(factory=lambda: Fleet({"a": Light()}))
    lock: Any = attrs.field(factory=threading.Lock, repr=False)
    log: list[str] = attrs.field(factory=list[str])

    @on("door.flip")
    def later(self):
        self.log.append("flip")
        if len(self.log) == 2:
            self.post("lamps.flip", delay=5)

    @on_enter("lamps.on")
    def note(self):
        if self.door.current_state_value == "off":
            del self.lamps["a"]

    @invariant
    def has_lamps(self):
        return len(self.lamps) > 0


def make_street():
    street = Street(Light())
    use_clock(street, VirtualClock())
    street.door.flip()
    street.post("lamps.flip", delay=7)
    return street


street = make_street()
"""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs the command line in a folder that has a module, `lamps`."""
    (tmp_path / "lamps.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "empty.py").write_text("", encoding="utf-8")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    monkeypatch.delitem(sys.modules, "lamps", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = command_line.main(arguments)
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return run


def test_draw_prints_a_drawing(run: Callable[..., tuple[int, str, str]]) -> None:
    """A class, or an instance, as Mermaid, or in the format that is asked for."""
    status, drawn, err = run("draw", "lamps:Pair")
    lamps: Any = importlib.import_module("lamps")
    assert (status, err) == (0, "")
    assert drawn == diagram(lamps.Pair)
    assert run("draw", "lamps:Holder.pair") == (0, diagram(lamps.Holder.pair), "")
    assert run("draw", "lamps:Pair", "--format", "md")[1] == diagram(lamps.Pair, "md")


def test_draw_writes_a_file_in_the_format_of_its_name(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """`-o pair.dot` is Graphviz, `.mmd` Mermaid, anything else as well unless it is said."""
    drawn = run("draw", "lamps:Pair")[1]
    names = {"a.dot": "digraph", "a.mmd": "flowchart", "a": "flowchart", "a.MD": "# Pair"}
    for name, begins in names.items():
        assert run("draw", "lamps:Pair", "-o", name) == (0, "", "")
        assert (tmp_path / name).read_text("utf-8").startswith(begins)
    assert (tmp_path / "a.mmd").read_text("utf-8") == drawn


@needs_dot
def test_draw_writes_a_picture(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A picture is written as it is."""
    assert run("draw", "lamps:Pair", "-o", "pair.png") == (0, "", "")
    assert (tmp_path / "pair.png").read_bytes()[:4] == b"\x89PNG"


def test_wiring_prints_what_leads_to_what(run: Callable[..., tuple[int, str, str]]) -> None:
    """One line for each topic of each reaction, with its place in the source."""
    told = (
        "one.flip -> follow -> two.flip [if wanted, if enabled]"
        "    lamps.Pair.follow (lamps.py, line 23)\n"
        "timeout:one.on -> late [every 3 s]    lamps.Pair.late (lamps.py, line 26)\n"
    )
    assert run("wiring", "lamps:Pair") == (0, told, "")


def test_trace_tells_what_happened(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, or from stdin, as a tree, as Mermaid; and it counts in a drawing."""
    run("draw", "lamps:Pair")
    lamps: Any = importlib.import_module("lamps")
    pair = lamps.Pair(lamps.Light(), lamps.Light())
    with tracing(pair) as trace:
        pair.one.flip()
    text = trace.to_jsonl()
    (tmp_path / "run.jsonl").write_text(text, encoding="utf-8")
    assert run("trace", "run.jsonl") == (0, trace.tree(), "")
    assert run("trace", "run.jsonl", "--format", "mermaid")[1] == f"{trace:mermaid}"
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert run("trace", "-", "-o", "again.jsonl") == (0, "", "")
    assert (tmp_path / "again.jsonl").read_text("utf-8") == text
    drawn = run("draw", "lamps:Pair", "--trace", "run.jsonl", "--trace", "run.jsonl")[1]
    assert drawn == diagram(lamps.Pair, traces=[trace, trace])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("draw", "lamps"), "'lamps' is no MODULE:NAME. Write it as package.module:Class"),
        (("draw", ":Pair"), "':Pair' is no MODULE:NAME. Write it as package.module:Class"),
        (("draw", "lamps:Pear"), "lamps has no 'Pear'. It has Dark, Pair, Street"),
        (("draw", "empty:Pear"), "empty has no 'Pear'. It has no orchestrator"),
        (
            ("wiring", "broken:Pair"),
            (
                "broken cannot be imported: ZeroDivisionError: division by zero. Run it in the "
                "folder from which Python imports it"
            ),
        ),
        (
            ("draw", "lamps:Light"),
            (
                "diagram(): it was given <class 'lamps.Light'>, which is no orchestrator. Give it "
                "an orchestrator, or its class."
            ),
        ),
        (
            ("wiring", "lamps:Light"),
            (
                "wiring(): it was given <class 'lamps.Light'>, which is no orchestrator. Give it "
                "an orchestrator, or its class."
            ),
        ),
        (
            ("draw", "lamps:Pair", "-o", "pair.pdf"),
            (
                "pair.pdf says no format. Give --format, or call it .mermaid, .dot, .md, .svg, "
                ".png, .mmd"
            ),
        ),
        (
            ("draw", "leaves:Pair"),
            (
                "leaves cannot be imported: SystemExit: 0. Run it in the folder from which Python "
                "imports it"
            ),
        ),
        (
            ("trace", "bytes"),
            (
                "bytes is no text: 'utf-8' codec can't decode byte 0xff in position 0: invalid "
                "start byte. Give it what Trace.to_jsonl() has written"
            ),
        ),
        (
            ("trace", "nowhere"),
            (
                "[Errno 2] No such file or directory: 'nowhere'. Name a file that can be read, or "
                "written"
            ),
        ),
        (
            ("trace", "lamps.py"),
            (
                "lamps.py, line 1: it is no JSON: Expecting value: line 1 column 1 (char 0). Give "
                "it what Trace.to_jsonl() has written."
            ),
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    run: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], problem: str
) -> None:
    """One line with the fix, on stderr, and the status 1."""
    assert run(*arguments) == (1, "", f"{PROGRAM}: {problem}\n")


def test_it_is_run_as_a_module(tmp_path: Path) -> None:
    """`python -m statemachines_orchestrator`, in the folder from which Python imports."""
    (tmp_path / "lamps.py").write_text(SHOP, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "statemachines_orchestrator", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    taught = run("--help")
    assert taught.returncode == 0
    for command in ("draw", "wiring", "trace", "lint", "explore"):
        assert f"\n    {command} " in taught.stdout
        assert f"{PROGRAM} {command} " in taught.stdout
    assert run("wiring", "lamps:Pair").stdout.startswith("one.flip -> follow")
    assert run("draw", "lamps:Light").returncode == 1
    assert run().returncode == 2


def test_who_has_read_enough_is_told_nothing(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed pipe is no failure to tell of."""

    class Closed:
        @property
        def buffer(self) -> Any:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    status, _out, err = run("draw", "lamps:Pair")
    assert (status, err) == (1, "")


def test_lint_tells_what_can_never_work(run: Callable[..., tuple[int, str, str]]) -> None:
    """One line a finding, and status 1; nothing found is status 0."""
    assert run("lint", "lamps:Pair") == (0, "nothing found\n", "")
    status, out, err = run("lint", "lamps:Dark")
    assert (status, err) == (1, "")
    assert out.startswith("lamps.Dark.never (lamps.py, line ")
    assert out.count("\n") == 1


def test_explore_reports(run: Callable[..., tuple[int, str, str]]) -> None:
    """Of a class, of what makes one, of an instance; status 1 if something was found."""
    plain = ("--event", "one.flip")
    assert run("explore", "lamps:Pair", *plain, "--may-rest", "one=off")[0] == 0
    assert run("explore", "lamps:make", *plain)[1].startswith("Pair: 2 joint states")
    assert run("explore", "lamps:Holder.pair", *plain)[1].startswith("Pair: 2 joint states")
    broken = ("explore", "lamps:Pair", "--invariant", "lamps:is_dark", "--time", "order")
    status, out, err = run(*broken)
    assert (status, err) == (1, "")
    assert "invariant: is_dark does not hold" in out
    assert run(*broken, "--format", "mermaid")[1].startswith("%% invariant: is_dark")
    assert '"kind": "invariant"' in run(*broken, "--format", "json")[1]
    goal = run("explore", "lamps:Pair", "--can-always", "one=off,on", "--limit", "2")
    assert goal[0] == 1  # nothing was found, and nothing is proved
    assert "NOT all there are: the limit was reached" in goal[1]


def test_explore_refuses(run: Callable[..., tuple[int, str, str]]) -> None:
    """A goal that is none, and a topic or state that is none, in one line."""
    assert run("explore", "lamps:Pair", "--can-always", "one") == (
        1,
        "",
        f"{PROGRAM}: 'one' is no MACHINE=STATE. Write it as order=delivered,cancelled\n",
    )
    assert "no state 'lit'" in run("explore", "lamps:Pair", "--may-rest", "one=lit")[2]
    assert "no event 'burn'" in run("explore", "lamps:Pair", "--event", "one.burn")[2]
    assert "limit=0 is no number" in run("explore", "lamps:Pair", "--limit", "0")[2]
    assert "which is no orchestrator" in run("explore", "lamps:Light")[2]
    assert "which is no orchestrator" in run("lint", "lamps:Light")[2]
    assert "says no format" in run("explore", "lamps:Pair", "-o", "found.pdf")[2]
    for wrong in (("--time", "never"), ("--limit", "many"), ("--format", "pdf")):
        with pytest.raises(SystemExit):
            run("explore", "lamps:Pair", *wrong)


def test_explore_writes_a_file_in_the_format_of_its_name(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """The status tells whether something was found, also where nothing is printed."""
    broken = ("explore", "lamps:Pair", "--invariant", "lamps:is_dark")
    for name, begins in {"a.json": "{", "a.mmd": "%% invariant", "a.txt": "Pair: 4"}.items():
        assert run(*broken, "-o", name) == (1, "", "")
        assert (tmp_path / name).read_text("utf-8").startswith(begins)
    assert run("lint", "lamps:Dark", "-o", "found") == (1, "", "")
    assert (tmp_path / "found").read_text("utf-8").startswith("lamps.Dark.never")


def test_explore_shows_how_far_it_is(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar on a terminal, on stderr, which is taken away in the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _status, out, err = run("explore", "lamps:Pair")
    assert out.startswith("Pair: ")
    assert err.startswith("\r[##############################] ")
    assert err.endswith(" steps\r\x1b[K")


def test_what_is_found_of_an_instance_is_told_in_full(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    """The trace of a finding begins where the instance stood, as that of a function does."""
    asked = ("--invariant", "lamps:not_both", "--event", "two.flip", "--event", "one.flip")
    plain = ("explore", "lamps:Holder.pair", *asked)
    drawn = run(*plain, "--format", "mermaid")[1]
    assert drawn == run("explore", "lamps:make", *asked, "--format", "mermaid")[1]
    assert drawn.count("off → on") == 2
    told: dict[str, str] = {}
    for form in ("text", "json", "mermaid"):
        how = ("--event", "door.flip", "--format", form)
        told[form] = run("explore", "lamps:make_street", *how)[1]
        sys.modules.pop("lamps")  # a walk leaves an instance where it ends
        assert run("explore", "lamps:street", *how)[1] == told[form]
    for form in ("text", "json"):
        assert "has_lamps does not hold" in told[form]
        assert "lamps.flip comes due" in told[form]
    for part in ("on → off", "flip (posted)", "off → on", "reaction note"):
        assert part in told["mermaid"]
