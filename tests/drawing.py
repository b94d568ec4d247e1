"""Lets the tools that read our drawings read them, where they are installed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
PACKAGES = ROOT / ".node"
HAS_MERMAID = shutil.which("node") is not None and (PACKAGES / "node_modules/mermaid").is_dir()

needs_mermaid = pytest.mark.skipif(
    not HAS_MERMAID, reason="Mermaid is not installed: `make tools` does it, with node and npm"
)
needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None or importlib.util.find_spec("graphviz") is None,
    reason="Graphviz is not installed: the program dot, and the package graphviz",
)


def kinds_by_mermaid(texts: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return what kind of diagram Mermaid takes each text for, or what is wrong with it."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [
        shutil.which("node") or "node",
        str(ROOT / "tests/mermaid/check.mjs"),
        str(PACKAGES),
        *texts,
    ]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return dict(line.split("\t", 1) for line in run.stdout.splitlines() if "\t" in line)


def nodes_and_edges(text: str) -> tuple[int, int]:
    """Return how many nodes and edges Graphviz finds in a text."""
    dot = shutil.which("dot") or "dot"
    run = subprocess.run([dot, "-Tplain"], input=text, capture_output=True, text=True, check=True)
    words = [line.split(" ", 1)[0] for line in run.stdout.splitlines()]
    assert run.stderr == ""
    return words.count("node"), words.count("edge")
