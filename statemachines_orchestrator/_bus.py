"""The bus: a blinker namespace of signals that keep their order and survive a failing receiver."""

from __future__ import annotations

from inspect import iscoroutinefunction
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from blinker import ANY, NamedSignal, Namespace

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator.exceptions import AsyncObserverError, NotAReactionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Receiver = TypeVar("_Receiver", bound="Callable[..., Any]")
_next_place = count().__next__
_LAST = float("inf")


class _Connections(dict[Any, int]):
    """The ids that blinker keeps of a signal, each with its place in the order of connection."""

    __slots__ = ()

    def add(self, item: Any) -> None:
        self.setdefault(item, _next_place())

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    def copy(self) -> _Connections:
        return _Connections(self)

    def __or__(self, other: Any) -> Any:
        return sorted(
            {**other, **self}, key=lambda item: min(self.get(item, _LAST), other.get(item, _LAST))
        )


class OrderedSignal(NamedSignal):
    """A blinker signal that differs in three things.

    Receivers are called in the order of connection, which blinker leaves undefined.
    They are held strongly, unless connected with `weak=True`.
    One that raises stops no other: its exception goes to the bus.
    """

    set_class: Any = _Connections

    def __init__(self, name: str, bus: Bus) -> None:
        super().__init__(name)
        self._bus = bus
        self._is_plain = True
        """Whether all receivers hear every sender and are held: then their dict has the order."""

    def connect(self, receiver: _Receiver, sender: Any = ANY, weak: bool = False) -> _Receiver:  # noqa: FBT001, FBT002 - the signature is blinker's
        """Connect `receiver`, called as `receiver(machine, record=record)` after all others.

        Differs from blinker: the receiver is held strongly unless `weak=True`.
        Raises `AsyncObserverError` for an `async def`, which nobody would await, and
        `NotAReactionError` for what cannot be called.
        """
        given: Any = receiver
        if not callable(given):
            raise NotAReactionError(
                f"signal({self.name!r})",
                f"connect() takes a function, and was given {shown(receiver)}",
                "Give it one: connect(lambda machine, record: ...)",
            )
        if must_be_awaited(receiver):
            raise AsyncObserverError(_name_of(receiver), self.name)
        with self._bus.lock:
            self._is_plain = self._is_plain and sender is ANY and not weak
            super().connect(receiver, sender, weak)
            self._bus.changed(self)
        return receiver

    def disconnect(self, receiver: Callable[..., Any], sender: Any = ANY) -> None:
        """Disconnect `receiver`, as blinker does."""
        with self._bus.lock:
            super().disconnect(receiver, sender)
            self._bus.changed(self)

    def _for(self, sender: Any) -> tuple[Any, ...]:
        """Return the receivers for a sender; blinker may write down that there is none for it."""
        with self._bus.lock:
            return tuple(self.receivers_for(sender))

    def send(self, sender: Any = None, /, **kwargs: Any) -> list[tuple[Any, Any]]:
        """Call every receiver for `sender` in the order of connection, unless the signal is muted.

        Differs from blinker: a receiver's `Exception` stops no other receiver and is not raised.
        """
        if self.is_muted:
            return []
        results: list[tuple[Any, Any]] = []
        receivers: Any = tuple(self.receivers.values()) if self._is_plain else self._for(sender)
        for receiver in receivers:
            try:
                results.append((receiver, receiver(sender, **kwargs)))
            except Exception as error:  # noqa: BLE001 - it becomes a failure of the cascade
                self._bus.failed(receiver, error, kwargs.get("record"))
        return results


class Bus(Namespace):
    """The signals of one orchestrator, by topic; one is made when it is first asked for."""

    def __init__(
        self,
        resolve: Callable[[str], str],
        on_error: Callable[[str, Exception, Any], None],
    ) -> None:
        super().__init__()
        self._resolve = resolve
        self._on_error = on_error
        self.lock = RLock()
        """Held while receivers are connected and disconnected."""
        self.kinds: set[str] = set()
        """The kinds of topics (`sent`, `failed`, …) that somebody listens for."""
        self.names: set[str] = set()
        """The names of reactions that were subscribed at run time."""

    def signal(self, name: str, doc: str | None = None) -> OrderedSignal:  # noqa: ARG002 - the signature is blinker's
        """Return the signal of the topic `name`, the same one each time.

        Raises `UnknownTopicError`, with the nearest topic, if `name` is none of the orchestrator.
        """
        given: Any = name
        is_added = isinstance(given, str) and given.partition(":")[2] in self.names
        topic = name if is_added else self._resolve(name)
        try:
            return self[topic]  # type: ignore[return-value]
        except KeyError:  # of two threads that come here one makes it
            return self.setdefault(topic, OrderedSignal(topic, self))  # type: ignore[return-value]

    def heard(self, *topics: str) -> Iterator[NamedSignal]:
        """Yield the signals among `topics`, in that order, that have a receiver now."""
        for topic in topics:
            signal = self.get(topic)
            if signal is not None and signal.receivers:
                yield signal

    def changed(self, signal: OrderedSignal) -> None:
        """Learn for which kinds of topics somebody listens, the lock in hand."""
        kind, colon, _rest = signal.name.partition(":")
        if colon and signal.receivers:
            self.kinds.add(kind)
        elif colon and not self._is_heard(kind):
            self.kinds.discard(kind)

    def _is_heard(self, kind: str) -> bool:
        return any(
            signal.receivers for topic, signal in list(self.items()) if topic.startswith(f"{kind}:")
        )

    def failed(self, receiver: Any, error: Exception, record: Any) -> None:
        """Tell what a receiver raised."""
        self._on_error(_name_of(receiver), error, record)


def must_be_awaited(function: Any) -> bool:
    """Whether a callable is an `async def`, or has one as its `__call__`."""
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def _name_of(receiver: Any) -> str:
    return getattr(receiver, "__name__", None) or type(receiver).__name__
