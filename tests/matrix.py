"""Run the tests on every supported host and every Python found, and print a table.

    python tests/matrix.py                 the whole matrix; exits 1 if anything failed
    python tests/matrix.py --venv 2.6.0    only make that host's environment, print its Python

Needs no tool but pip. Environments are kept in `.venv-hosts`; the library in them is built anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOSTS = ("2.5.0", "2.6.0", "3.0.0", "3.1.2", "3.2.2")
NEWEST = HOSTS[-1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LOWEST = ("blinker==1.8.0", "attrs==23.2.0")
TOOLS = ("pytest", "hypothesis", "coverage")
SECONDS_AT_MOST = 1800
SHOWN = ("python-statemachine", "python", "blinker", "attrs", "lane")
COUNTED = ("passed", "failed", "skipped", "seconds")

VERSIONS = """
import json, platform
from importlib.metadata import version
names = ("python-statemachine", "blinker", "attrs")
print(json.dumps({"python": platform.python_version()} | {name: version(name) for name in names}))
"""


@dataclass(frozen=True)
class Environment:
    """A Python, a host, and what else is pinned."""

    host: str
    minor: str
    base: Path
    pins: tuple[str, ...] = ()
    is_fast: bool = False
    """Whether every orchestrator is declared with `fast=True`."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        more = [*(["lowest"] if self.pins else []), *(["fast"] if self.is_fast else [])]
        name = "-".join([self.host, f"py{self.minor}", *more])
        return ROOT / ".venv-hosts" / name

    @property
    def python(self) -> Path:
        """Its own interpreter."""
        return self.folder / "bin" / "python"

    def install(self) -> None:
        """Create it if it is missing, and put the library of this checkout into it."""
        if not self.python.exists():
            output([self.base, "-m", "venv", self.folder])
        host = f"python-statemachine=={self.host}"
        output([self.python, "-m", "pip", "install", "-qq", ROOT, host, *self.pins, *TOOLS])

    def versions(self) -> dict[str, str]:
        """What is installed in it."""
        found: dict[str, str] = json.loads(output([self.python, "-c", VERSIONS]))
        fast = {"lane": "fast" if self.is_fast else ""}
        return found | fast


def output(command: list[str | Path]) -> str:
    """Run a command and return what it prints; where it fails, show why and stop."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def this_minor() -> str:
    """Return the minor version that runs this script, like `3.12`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def find_python(minor: str) -> Path | None:
    """Return a Python of that minor version that really starts (a shim of pyenv may refuse)."""
    if minor == this_minor():
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = shutil.which(f"python{minor}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(pyenv.glob(f"versions/{minor}.*/bin/python"))
    for candidate in candidates:
        if not subprocess.run([candidate, "-V"], capture_output=True, check=False).returncode:
            return candidate
    return None


def matrix() -> list[Environment]:
    """Return every host on this Python, the newest on every other, the lowest dependencies.

    And the newest host on the fast lane.
    """
    here = Path(sys.executable)
    others = ((minor, find_python(minor)) for minor in PYTHONS if minor != this_minor())
    return [
        *(Environment(host, this_minor(), here) for host in HOSTS),
        *(Environment(NEWEST, minor, python) for minor, python in others if python),
        Environment(NEWEST, this_minor(), here, LOWEST),
        Environment(NEWEST, this_minor(), here, is_fast=True),
    ]


def count(report: Path) -> dict[str, str]:
    """Read pytest's JUnit report."""
    suite = ET.parse(report).getroot()[0]  # noqa: S314 - pytest wrote it a moment ago
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return {
        "passed": str(total - skipped - failed),
        "failed": str(failed),
        "skipped": str(skipped),
        "seconds": f"{float(suite.attrib['time']):.0f}",
    }


def run(environment: Environment) -> tuple[dict[str, str], str]:
    """Run the tests there; return the row of the table and, if they failed, what they printed."""
    environment.install()
    report = environment.folder / "report.xml"
    report.unlink(missing_ok=True)
    # Not `python -m pytest`, which would import the checkout instead of what was installed.
    pytest = environment.folder / "bin" / "pytest"
    options = ["-q", "-m", "not newest", "-p", "no:cacheprovider", f"--junitxml={report}"]
    if environment.is_fast:
        options.append("--fast")
    done = subprocess.run(
        [pytest, *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_AT_MOST,
    )
    counts = count(report) if report.exists() else dict.fromkeys(COUNTED, "-")
    return environment.versions() | counts, done.stdout + done.stderr if done.returncode else ""


def table(rows: list[dict[str, str]]) -> str:
    """Lay the rows out in columns."""
    columns = [*SHOWN, *COUNTED]
    lines = [columns, *([row[column] for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", metavar="HOST", help="make one environment, print its Python")
    host: str | None = parser.parse_args().venv
    if host:
        environment = Environment(host, this_minor(), Path(sys.executable))
        environment.install()
        print(environment.python)
        return 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run, matrix()))
    failures = [printed for _, printed in results if printed]
    print(*failures, table([row for row, _ in results]), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
