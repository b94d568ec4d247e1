"""Draw the pictures of README.md anew, from the examples: `make pictures`.

A picture is a block of Mermaid behind a line that names it: `<!-- picture: NAME -->`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from statemachines_orchestrator.diagrams import diagram
from statemachines_orchestrator.exploration import explore
from statemachines_orchestrator.traces import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = re.compile(r"(<!-- picture: (\S+) -->\n```mermaid\n).*?(?=```\n)", re.DOTALL)
sys.path.append(str(ROOT / "examples"))


def shop() -> str:
    """Draw the shop of the examples."""
    return diagram(importlib.import_module("shop").Shop)


def cascade() -> str:
    """Draw what happens when an order is processed in it."""
    module = importlib.import_module("shop")
    sold = module.Shop(module.Order(), module.Payment(), module.Shipment())
    with contextlib.redirect_stdout(io.StringIO()), tracing(sold) as trace:
        sold.order.process()
    return f"{trace:mermaid}"


def race() -> str:
    """Draw what an exploration finds in the first version of a shop."""
    module = importlib.import_module("race")
    result = explore(module.FirstShop, events=module.OUTSIDE, may_rest=module.DONE)
    return f"{result.of('invariant')[0]:mermaid}"


PICTURES: dict[str, Callable[[], str]] = {"cascade": cascade, "race": race, "shop": shop}


def drawn_anew(text: str) -> str:
    """Return a text with its pictures drawn anew."""
    return PICTURE.sub(lambda found: found[1] + PICTURES[found[2]](), text)


if __name__ == "__main__":
    README.write_text(drawn_anew(README.read_text(encoding="utf-8")), encoding="utf-8")
