"""Frames: where in a cascade the current thread or task is."""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from typing import Any

__all__ = ["Payload", "heard_at", "here", "joined"]

here: ContextVar[Any] = ContextVar("here", default=None)
"""The frame of the current thread or task, `None` outside of every cascade.

A frame says where in a cascade we are: in a call, in the step of a machine, in a turn.
Its `cascade` gets the reactions to what happens here, its `root` is the call that runs the
machines here, its `seq` is the cause of what is sent from here.
"""


def joined(frame: Any) -> Any:
    """Return the cascade that a call made at `frame` is nested in, `None` for an outermost call."""
    if frame is None:
        return None
    cascade, thread = frame.cascade, get_ident()
    if cascade.thread != thread:  # who waits for the event may be in another thread
        cascade = frame.root.cascade
        return cascade if cascade.thread == thread and cascade.open else None
    return cascade if cascade.open else frame.reopened()


def heard_at(frame: Any) -> Any:
    """Return the cascade that gets the reactions to what happens at `frame`, `None` if none does.

    It may be one of another thread: that of an awaited call whose event is taken in this one.
    """
    if type(frame) is Payload:
        cascade = frame.holder.cascade
        if cascade.open:
            return cascade
    return joined(frame)


class Payload(dict[str, Any]):
    """Stands in the place of an event's `kwargs` and is a frame: the step that takes the event.

    The host calls `copy()` when it makes the keyword arguments of a callback, in the context
    that runs the machine. The copy carries the orchestrator, the payload itself does not:
    SCXML documents see it as `_event.data`, and invoked children are sent it.
    """

    __slots__ = ("call", "cause", "coroutine", "origin", "root", "seam", "seq")

    seam: Any
    """The seam of the machine."""
    seq: Any
    """The `seq` of its `Sent`; `None` of an initial state that was not entered yet."""
    cause: int | None
    """What sent it."""
    call: Any
    """The awaited call that waits for this event, `None` if none does."""
    coroutine: Any
    """A weak reference to what the caller of an async machine was given to await."""
    root: Any
    """The call that runs the machine while it takes this event."""
    origin: Any
    """The event from outside that the machine ran when this one was queued, `None` if none."""

    def begin(self) -> None:
        """Make this step the current frame."""
        frame = here.get()
        if frame is not self and frame is not None:
            self.root = frame.root
            here.set(self)

    def copy(self) -> dict[str, Any]:
        """Return the keyword arguments for a callback, and make this step the current frame."""
        if here.get() is not self:
            self.begin()
        injected = self.seam.injected
        return {**self, **injected} if self else injected.copy()

    def own_origin(self) -> Any:
        """Return the event from outside that this one comes from: itself, or another."""
        return self if self.origin is None else self.origin

    @property
    def holder(self) -> Any:
        """The call that gets the reactions: the one that waits for the event, or that runs it."""
        call = self.call
        return call if call is not None and call.is_waited_for else self.root

    @property
    def cascade(self) -> Any:
        """The cascade of the holder."""
        return self.holder.cascade

    def reopened(self) -> Any:
        """Return the cascade that the holder opens in the place of a closed one, if it runs on."""
        return self.holder.reopened()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the plain arguments."""
        return dict, (dict(self),)
