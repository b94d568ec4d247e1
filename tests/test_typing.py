"""Types: what mypy, strict, accepts and reports of programs that use the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import statemachines_orchestrator

pytestmark = [
    pytest.mark.newest,
    pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed"),
]

PROGRAMS = Path(__file__).parent / "typing"
IGNORE = re.compile(r"  # type: ignore\[[a-z, -]+\]")


def mypy(tmp_path: Path, name: str, text: str) -> tuple[int, list[int]]:
    """Check a program; return mypy's exit code and the lines that it reports, each once."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\nwarn_unreachable = true\n", encoding="utf-8")
    package = Path(statemachines_orchestrator.__file__).parents[1]
    options = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-error-summary", "--follow-imports=silent"),
            *options,
            str(path),
        ],
        env={**os.environ, "MYPYPATH": "" if "site-packages" in package.parts else str(package)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stderr == ""
    reported = re.findall(rf"^{name}:(\d+): error: ", checked.stdout, re.MULTILINE)
    assert reported or not checked.stdout, checked.stdout
    return checked.returncode, sorted({int(line) for line in reported})


def test_programs_that_are_right_are_accepted(tmp_path: Path) -> None:
    """Every program of `typing/good.py` has the types that are asserted in it."""
    text = (PROGRAMS / "good.py").read_text(encoding="utf-8")
    assert text.count("assert_type(") > 20
    assert mypy(tmp_path, "good.py", text) == (0, [])


def test_every_misuse_is_reported(tmp_path: Path) -> None:
    """Each ignore in `typing/misuse.py` is needed, and covers what is reported there."""
    text = (PROGRAMS / "misuse.py").read_text(encoding="utf-8")
    assert mypy(tmp_path, "misuse.py", text) == (0, [])


def test_without_the_ignores_each_line_of_misuse_is_an_error(tmp_path: Path) -> None:
    """With the ignores taken out, mypy reports each misuse, and nothing else."""
    text = (PROGRAMS / "misuse.py").read_text(encoding="utf-8")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if IGNORE.search(line)]
    assert len(lines) > 30
    assert mypy(tmp_path, "misuse.py", IGNORE.sub("", text)) == (1, lines)
