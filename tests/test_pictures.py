"""The pictures of README.md are those that the library draws now."""

from __future__ import annotations

import pytest
from pictures import PICTURE, PICTURES, README, drawn_anew


@pytest.mark.newest
def test_no_picture_is_stale() -> None:
    """Where one is, `make pictures` draws it anew."""
    text = README.read_text(encoding="utf-8")
    assert sorted(found[2] for found in PICTURE.finditer(text)) == sorted(PICTURES)
    assert text == drawn_anew(text), "stale: run `make pictures`"
