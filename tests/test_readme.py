"""Every block of README.md runs, and prints what it is shown to print.

The conventions that README.md follows:

* A `python` block prints exactly the `text` block right behind it, or nothing if there is none.
* A section begins with `##`. Its blocks run one after the other in one namespace,
  which begins with the program of the first screen.
* Every block runs on every supported python-statemachine.
* A `mermaid` block is a picture, which tests/pictures.py draws.
* A `sh` block holds commands, one a line, that work in a fresh checkout.

Each section runs in an interpreter of its own, with every warning an error, as a file in which
all lines but those of its blocks are blank: the lines of a traceback are the lines of README.md.
"""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
OURS = "python -m statemachines_orchestrator "
END_OF_BLOCK = "\x1e"


@attrs.frozen
class Block:
    """One fenced block."""

    language: str
    section: str
    begin: int
    """The line of its opening fence, counted from 1."""
    end: int
    """The line of its closing fence."""

    @property
    def lines(self) -> list[str]:
        """What stands between the fences."""
        return LINES[self.begin : self.end - 1]

    @property
    def text(self) -> str:
        """The lines, each with its end."""
        return "".join(f"{line}\n" for line in self.lines)


def read_blocks() -> list[Block]:
    """Find the fenced blocks, and the sections they stand in."""
    blocks: list[Block] = []
    language, section, begin = "", "", 0
    for number, line in enumerate(LINES, 1):
        if language and line == "```":
            blocks.append(Block(language, section, begin, number))
            language = ""
        elif line.startswith("```"):
            assert not language, f"line {number}: the block of line {begin} is open"
            language, begin = line[3:], number
        elif not language and line.startswith("## "):
            section = line[3:]
    assert not language, f"the block of line {begin} is never closed"
    return blocks


ALL = read_blocks()
PYTHON = [block for block in ALL if block.language == "python"]
PROGRAM = PYTHON[0]


def shown(block: Block) -> str:
    """Return the output that README.md shows for a block."""
    behind = [other for other in ALL if other.begin == block.end + 2 and other.language == "text"]
    return behind[0].text if behind else ""


@cache
def run(section: str) -> dict[int, str]:
    """Run the program and the blocks of a section: what each prints, by its first line."""
    running = [block for block in PYTHON if block.section in {PROGRAM.section, section}]
    lines = [""] * len(LINES)
    for block in running:
        lines[block.begin : block.end] = [*block.lines, f"print({END_OF_BLOCK!r}, end='')"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "README.py"
        path.write_text("\n".join(lines), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            timeout=300,
        )
    assert (done.stderr, done.returncode) == ("", 0)
    printed = done.stdout.split(END_OF_BLOCK)
    assert printed.pop() == ""
    return {block.begin: output for block, output in zip(running, printed, strict=True)}


def test_no_block_is_left_out() -> None:
    """The blocks are as many as a plain search finds, not none, and each is of a known kind."""
    fences = sum(line.startswith("```") for line in LINES)
    assert fences == 2 * len(ALL)
    assert LINES.count("```python") == len(PYTHON) > 0
    assert {block.language for block in ALL} == {"mermaid", "python", "sh", "text"}


def test_every_shown_output_belongs_to_a_block() -> None:
    """Each `text` block stands right behind a `python` block, and so is compared."""
    outputs = [block for block in ALL if block.language == "text"]
    assert [block.text for block in outputs] == [shown(block) for block in PYTHON if shown(block)]


@pytest.mark.parametrize("block", PYTHON, ids=[f"line-{block.begin}" for block in PYTHON])
def test_a_block_prints_what_is_shown(block: Block) -> None:
    """The output of a block is the one that README.md shows."""
    assert run(block.section)[block.begin] == shown(block)


def test_the_first_screen_is_a_program_of_its_own() -> None:
    """The first block stands above every section, alone, and prints what it did."""
    assert [block for block in PYTHON if not block.section] == [PROGRAM]
    assert shown(PROGRAM)


def commands() -> list[str]:
    """Return every command that README.md names: in `sh` blocks, and after `make` in a line."""
    blocks = [line for block in ALL if block.language == "sh" for line in block.lines]
    return blocks + re.findall(r"`(make [^`]+)`", "\n".join(LINES))


def test_the_commands_exist() -> None:
    """Every command is the installation of the checkout, or a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {f"make {name}" for name in re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    assert commands()
    known = {"pip install .", *targets}
    named = [re.sub(r" [A-Z]+=\S+", "", one) for one in commands()]
    assert [one for one in named if one not in known and not one.startswith(OURS)] == []


def test_our_own_commands_run() -> None:
    """What is typed in a fresh checkout works there."""
    ours = [one for one in commands() if one.startswith(OURS)]
    assert len(ours) > 2
    for one in ours:
        command = [sys.executable, *one.split(" ")[1:]]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout


def test_the_links_lead_somewhere() -> None:
    """Every relative link is a file of the repository, every anchor a section."""
    anchors = {re.sub(r"[^a-z0-9 -]", "", block.section.lower()).replace(" ", "-") for block in ALL}
    for link in re.findall(r"\]\(([^)]+)\)", "\n".join(LINES)):
        if link.startswith("#"):
            assert link[1:] in anchors
        elif not link.startswith("https://"):
            assert (ROOT / link).exists(), link


def test_nothing_sends_a_reader_to_the_index() -> None:
    """The name on the public index serves other code: nobody is told to install it from there."""
    assert not re.search(r"pip install (-U )?statemachines", "\n".join(LINES))
