"""What is due when: the heap behind the clocks."""

from __future__ import annotations

import heapq
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Agenda"]


class Entry:
    """One call that is due at some time; the handle of it."""

    __slots__ = ("agenda", "function", "order", "when")

    def __init__(
        self, agenda: Agenda, when: float, order: int, function: Callable[[], Any]
    ) -> None:
        self.agenda = agenda
        self.when = when
        self.order = order
        self.function: Callable[[], Any] | None = function

    def __lt__(self, other: Entry) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        """Take the call back."""
        self.agenda.cancel(self)


class Agenda:
    """What is due when: in order of time, ties in order of scheduling.

    A heap. Entries that were cancelled are swept out as soon as they are more than the others,
    so that scheduling and cancelling are logarithmic on average, and nothing stays behind.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.heap: list[Entry] = []
        self.cancelled = 0
        self.busy = False
        self.next_order = count().__next__

    def __len__(self) -> int:
        return len(self.heap) - self.cancelled

    def add(self, when: float, function: Callable[[], Any]) -> Entry:
        """Schedule a call; wake who waits, if it is the next one."""
        with self.lock:
            entry = Entry(self, when, self.next_order(), function)
            self.busy = True  # the collector may run meanwhile, and cancel what nobody holds
            heapq.heappush(self.heap, entry)
            self.busy = False
            if self.heap[0] is entry:
                self.lock.notify()
        return entry

    def cancel(self, entry: Entry) -> None:
        """Take a call back."""
        with self.lock:
            if entry.function is None:
                return
            entry.function = None
            self.cancelled += 1
            if 2 * self.cancelled > len(self.heap) and not self.busy:
                self.heap = [one for one in self.heap if one.function is not None]
                heapq.heapify(self.heap)
                self.cancelled = 0
            self.lock.notify()

    def forget(self) -> None:
        """Take everything back; whoever holds the lock is gone."""
        self.lock = threading.Condition(threading.RLock())
        for entry in self.heap:
            entry.function = None
        self.heap.clear()
        self.cancelled = 0
        self.busy = False

    def due(self) -> float | None:
        """Return when the next call is due."""
        with self.lock:
            self.busy = True
            while self.heap and self.heap[0].function is None:
                heapq.heappop(self.heap)
                self.cancelled -= 1
            self.busy = False
            return self.heap[0].when if self.heap else None

    def take(self, until: float) -> tuple[float, Callable[[], Any]] | None:
        """Take out the next call, if it is due until then."""
        with self.lock:
            when = self.due()
            if when is None or when > until:
                return None
            self.busy = True
            entry = heapq.heappop(self.heap)
            self.busy = False
            function, entry.function = entry.function, None
            if function is None:  # cancelled while it was taken
                self.cancelled -= 1
                return self.take(until)
            return when, function
