"""Traces: what happened in an orchestrator, record by record, with exact causes.

    with tracing(shop) as trace:
        shop.order.process()
    print(trace.tree())

They read records, and nothing else.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, overload

from statemachines_orchestrator._notes import shown
from statemachines_orchestrator._observing import observe
from statemachines_orchestrator._portable import Repr, facts_of, read_lines, written_lines
from statemachines_orchestrator._sequences import sequence_diagram
from statemachines_orchestrator._telling import cause_in, machine_of_record, names_of_path
from statemachines_orchestrator._trees import tree
from statemachines_orchestrator.exceptions import DeclarationError, UnreadableTraceError
from statemachines_orchestrator.orchestrator import Orchestrator
from statemachines_orchestrator.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Repr", "Trace", "tracing"]

_FILTER = "Trace.filter()"


class Trace(Sequence[Record]):
    """A sequence of records, in the order of their `seq`. It is a value.

    Two traces are equal if the same things happened in the same order from the same causes:
    records are numbered from the beginning of each trace, whatever the count of the process was,
    and values that JSON has no form for are compared by their `repr`.
    A trace can be sliced, filtered, written and read as lines of JSON, copied and pickled.
    While it is being recorded it grows.
    """

    __slots__ = ("_grows", "_records", "participants")

    def __init__(self, records: Iterable[Record] = (), participants: Iterable[str] = ()) -> None:
        given: Any = records
        if not hasattr(given, "__iter__"):
            given = (given,)  # which is refused, as anything else that is no record
        checked = (_checked("Trace()", one) for one in given)
        self._records: list[Record] | deque[Record] = sorted(checked, key=_seq)
        self._grows = False
        self.participants: tuple[str, ...] = tuple(participants)
        """The names of the machines' fields, in their order."""

    def recorder(self, last: int | None = None) -> Callable[..., None]:
        """Return an observer that adds what it hears; `tracing` connects it."""
        known: Any = self._records
        if last is not None:
            known = self._records = deque(known, maxlen=last)
        self._grows = True

        def note(_sender: Any, *, record: Record) -> None:
            known.append(record)  # one step: several threads may be here

        return note

    def end(self) -> None:
        """Grow no more; `tracing` calls it."""
        self._records = self._ordered()
        self._grows = False

    def _ordered(self) -> list[Record]:
        """Return the records by `seq`: they come as they were announced, by the faster thread."""
        return sorted(self._records, key=_seq) if self._grows else list(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._ordered())

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Trace: ...
    def __getitem__(self, index: int | slice) -> Record | Trace:
        found: Any = self._ordered() if self._grows else self._records
        if isinstance(index, slice):
            return Trace(found[index], self.participants)
        record: Record = found[index]
        return record

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return self._renumbered() == other._renumbered()

    __hash__ = None  # type: ignore[assignment] # it grows

    def _renumbered(self) -> list[dict[str, Any]]:
        """Return the facts of all records, numbered from the beginning of the trace."""
        numbers: dict[int | None, int] = {}
        facts: list[dict[str, Any]] = []
        for number, record in enumerate(self._ordered()):
            numbers[record.seq] = number
            facts.append({**facts_of(record), "seq": number, "cause": numbers.get(record.cause)})
        return facts

    def __repr__(self) -> str:
        return f"<Trace of {len(self)} records>"

    def __str__(self) -> str:
        return self.tree()

    def __format__(self, spec: str) -> str:
        """Return the trace as `tree`, `mermaid` (a sequence diagram) or `jsonl`.

        Raises `ValueError` for anything else.
        """
        ways = {"": self.tree, "tree": self.tree, "mermaid": self._sequence, "jsonl": self.to_jsonl}
        if spec not in ways:
            message = f"a trace has no format {spec!r}: there are tree, mermaid and jsonl"
            raise ValueError(message)
        return ways[spec]()

    # What led to what ---------------------------------------------------------------------

    def cause(self, record: Record) -> Record | None:
        """Return the record that led to this one.

        `None` for a call from outside, and where the trace does not reach back so far.
        """
        return cause_in(self._by_seq(), _checked("Trace.cause()", record))

    def story(self, record: Record) -> Trace:
        """Return what led to a record, from the first cause to the record itself."""
        known = self._by_seq()
        found: list[Record] = []
        at: Record | None = _checked("Trace.story()", record)
        while at is not None:
            found.append(at)
            at = cause_in(known, at)
        return Trace(found, self.participants)

    def _by_seq(self) -> dict[int | None, Record]:
        return {record.seq: record for record in self._ordered()}

    def filter(
        self,
        *kinds: type[Record],
        machine: str | None = None,
        cond: Callable[[Record], object] | None = None,
    ) -> Trace:
        """Return the records of some kinds, of one machine, for which `cond` holds; all of it.

        `machine` is the name as `tree` tells it, `order`, `desk.order`, `items['a']`; that of
        topics, `items`; or that of its field alone. Without kinds those of every kind are meant.
        Raises `DeclarationError`, with the nearest, for a machine that is none of the trace's.
        """
        for kind in kinds:
            given: Any = kind
            if not (isinstance(given, type) and issubclass(given, Record)):
                problem, fix = (
                    f"{shown(kind)} is no kind of record",
                    "Give it a class: Transitioned",
                )
                raise DeclarationError(_FILTER, problem, fix)
        if machine is not None:
            self._check_machine(machine)
        return Trace(
            (
                record
                for record in self._ordered()
                if (not kinds or isinstance(record, kinds))
                and (machine is None or machine in _names_of(record))
                and (cond is None or cond(record))
            ),
            self.participants,
        )

    def _check_machine(self, machine: Any) -> None:
        if not isinstance(machine, str):
            problem = f"machine={shown(machine)} is no name"
            raise DeclarationError(_FILTER, problem, 'Write it in a string: machine="order"')
        known = dict.fromkeys(self.participants)
        for record in self._ordered():
            known.update(dict.fromkeys(_names_of(record)))
        if machine not in known:
            nearest = get_close_matches(machine, known, 1)
            fix = f"Did you mean {nearest[0]!r}?" if nearest else f"There are {', '.join(known)}"
            problem = f"no machine of the trace is called {machine!r}"
            raise DeclarationError(_FILTER, problem, fix)

    # As text ------------------------------------------------------------------------------

    def tree(self) -> str:
        """Return what led to what as text: one line a record, indented below its cause.

        No line is longer than 100 characters. `settled` stands below the call from outside, or the
        timer, whose cascade came to rest.
        """
        return tree(self._ordered())

    def _sequence(self) -> str:
        return sequence_diagram(self._ordered(), self.participants)

    def to_jsonl(self) -> str:
        """Return the trace as lines of JSON, one for each record, after one that tells of it.

        States stand there by their ids, machines not at all. A value that JSON has no form for
        becomes `{"$repr": "..."}`, a tuple `{"$tuple": [...]}`, and a mapping in which a key begins
        with `$` becomes `{"$dict": [[key, value], ...]}`.
        """
        return written_lines(self._ordered(), self.participants)

    @classmethod
    def from_jsonl(cls, text: str) -> Trace:
        """Read what `to_jsonl` has written. What was written as its `repr` is a `Repr`.

        Raises `UnreadableTraceError`, which names the line.
        """
        given: Any = text
        if not isinstance(given, str):
            raise UnreadableTraceError(1, f"{shown(given)} is no text")
        return cls(*read_lines(text))


def _checked(where: str, record: Any) -> Record:
    """Return a record; raise `DeclarationError` for what is none."""
    if isinstance(record, Record):
        return record
    raise DeclarationError(where, f"{shown(record)} is no record", "Give it one of a trace")


def _seq(record: Record) -> int:
    return record.seq


def _names_of(record: Record) -> list[str]:
    """Return how the machine of a record may be called, if it is about one."""
    name = machine_of_record(record)
    field = getattr(record, "machine_name", None)
    names = ".".join(names_of_path(record))
    return [] if name is None else [name, names] if field is None else [name, names, field]


@contextmanager
def tracing(orchestrator: Orchestrator, *, last: int | None = None) -> Generator[Trace, None, None]:
    """Record everything that happens in an orchestrator, and in what it holds at any depth.

    With `last` only so many records are kept, the newest. `settled` is that of the orchestrator
    itself, not of those that it holds. Calls in other threads are recorded as well.
    Reactions and machines are not disturbed; afterwards nobody listens any more.
    Raises `DeclarationError` for what is no orchestrator, and for a `last` below 1.
    """
    where = "tracing()"
    if last is not None and (type(last) is not int or not 1 <= last <= sys.maxsize):
        problem = f"last={shown(last)} is no number of records"
        raise DeclarationError(where, problem, "Give it a number from 1 on, or leave it out")
    trace = Trace()
    stop = observe(orchestrator, trace.recorder(last), where)
    trace.participants = tuple(_fields_below(orchestrator))
    try:
        yield trace
    finally:
        stop()
        trace.end()


def _fields_below(orchestrator: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of the fields that hold machines and fleets, at any depth."""
    for name, member in orchestrator.machines.items():
        if isinstance(member, Orchestrator):
            yield from _fields_below(member, f"{prefix}{name}.")
        else:
            yield prefix + name
