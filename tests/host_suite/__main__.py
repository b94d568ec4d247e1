"""Run the own tests of the newest python-statemachine with every machine in an orchestrator.

    python tests/host_suite [--host 3.2.2] [--fast] [pytest's arguments]

Downloads the source distribution into `.host-suite` once, installs what its tests need and the
library of this checkout there, and runs its tests with the plugin beside this file.
With `--fast` only with every machine that qualifies on the fast lane.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".host-suite"
parser = argparse.ArgumentParser(description="Run the host's own tests in orchestrators.")
parser.add_argument("--host", default="3.2.2", help="the version of python-statemachine")
parser.add_argument("--fast", action="store_true", help="only with the fast lane")
OPTIONS, FOR_PYTEST = parser.parse_known_args()
HOST: str = OPTIONS.host
SOURCE = CACHE / f"python_statemachine-{HOST}"
PYTHON = CACHE / f"venv-{HOST}" / "bin" / "python"
TOOLS = (
    "babel",
    "django",
    "docutils",
    "jsonschema",
    "pydot",
    "pytest",
    "pytest-asyncio",
    "pytest-benchmark",
    "pytest-django",
    "pytest-mock",
    "pytest-timeout",
    "pytest-xdist",
    "PyYAML",
    "Sphinx",
    "sphinxcontrib-mermaid",
)


def pip(*arguments: str | Path) -> None:
    """Run the pip of the environment."""
    subprocess.run([PYTHON, "-m", "pip", "-qq", *arguments], check=True)


def prepare() -> None:
    """Fetch the source, make the environment, install the library of this checkout."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", PYTHON.parent.parent], check=True)
    host = f"python-statemachine=={HOST}"
    if not SOURCE.exists():
        pip("download", "--no-deps", "--no-binary", "python-statemachine", "-d", CACHE, host)
        shutil.unpack_archive(f"{SOURCE}.tar.gz", CACHE)
    pip("install", ROOT, host, *TOOLS)


def run(*options: str) -> int:
    """Run the tests in the folder of the source, whose `statemachine` is the one imported."""
    usual = ["-p", "plugin", "-p", "no:cacheprovider", "-n", "auto", "--benchmark-disable", "-q"]
    return subprocess.run(
        [PYTHON, "-m", "pytest", *usual, *options, *FOR_PYTEST],
        cwd=SOURCE,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def main() -> int:
    """Run them: nobody listens to the orchestrators, then every transition has a reaction.

    Then both again, with every machine that qualifies on the fast lane.
    """
    prepare()
    codes = [run("--fast"), run("--fast", "--listen")]
    if not OPTIONS.fast:
        codes += [run(), run("--listen")]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
