"""Run the own tests of the newest python-statemachine with every machine in an orchestrator.

    python tests/host_suite [pytest's arguments]

Downloads the source distribution into `.host-suite` once, installs what its tests need and the
library of this checkout there, and runs its tests with the plugin beside this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".host-suite"
HOST = "3.2.2"
SOURCE = CACHE / f"python_statemachine-{HOST}"
PYTHON = CACHE / "venv" / "bin" / "python"
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
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
    host = f"python-statemachine=={HOST}"
    if not SOURCE.exists():
        pip("download", "--no-deps", "--no-binary", "python-statemachine", "-d", CACHE, host)
        shutil.unpack_archive(f"{SOURCE}.tar.gz", CACHE)
    pip("install", ROOT, host, *TOOLS)


def run(*options: str) -> int:
    """Run the tests in the folder of the source, whose `statemachine` is the one imported."""
    usual = ["-p", "plugin", "-p", "no:cacheprovider", "-n", "auto", "--benchmark-disable", "-q"]
    return subprocess.run(
        [PYTHON, "-m", "pytest", *usual, *options, *sys.argv[1:]],
        cwd=SOURCE,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def main() -> int:
    """Run them twice: nobody listens to the orchestrators, then every transition has a reaction."""
    prepare()
    return max(run(), run("--listen"))


if __name__ == "__main__":
    sys.exit(main())
