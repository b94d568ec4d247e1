"""Notes: what is told of failures, on the exceptions themselves."""

from __future__ import annotations

from typing import Any

__all__ = ["add_note", "note_unraised", "shown", "told"]


def add_note(error: BaseException, note: str) -> None:
    """Add `note` to `error`, on every supported Python.

    `BaseException.add_note` is there from Python 3.11 on; the backport of exception groups
    prints `__notes__` before that.
    """
    error.__dict__.setdefault("__notes__", []).append(note)


def note_unraised(stopped: BaseException, error: BaseException | None) -> None:
    """Tell on what has stopped a call what the call would have raised by itself."""
    if isinstance(error, Exception) and error is not stopped:
        add_note(stopped, f"the call itself failed: {shown(error)}")


def shown(value: Any) -> str:
    """Return `repr(value)`, and something in its place where that raises."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - what is told must not hide what happened
        return f"<{type(value).__name__}>"


def told(name: str, record: Any) -> str:
    """Return `Shop.capture, in reaction to payment.authorize (unpaid → authorized)`."""
    if record is None:
        return name
    what = getattr(record, "event", None) or getattr(record, "name", None)
    parts = (
        part if isinstance(part, str) else shown(part) for part in (*record.path, what) if part
    )
    topic = getattr(record, "topic", None) or ".".join(parts)
    topic = topic or type(record).__name__.lower()
    source = getattr(record, "source", None)
    if source is None:
        return f"{name}, in reaction to {topic}"
    target = record.target or source
    return f"{name}, in reaction to {topic} ({source.id} → {target.id})"
