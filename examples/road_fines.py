"""Replay a log of road traffic fines: one orchestrator a case, one event a row.

The log has the columns of the public Road Traffic Fine Management log. Each case is a fine, the
payments for it, and perhaps an appeal: three machines. A row is sent to one of them, as an event;
what it means for the other two is said in this model, never in the loop that reads the log:

* every charge and every payment leads to a weighing of what is paid against what is owed,
  and a payment that covers the amount and all expenses closes the fine (reactions of `Case`);
* a penalty replaces the amount, so from then on it is the penalty that must be covered: the guard
  `Payment.covers` asks the fine. A closed fine that is charged again is open again;
* an open appeal holds back credit collection: the guard `Fine.is_unchallenged` asks the appeal.
  An appeal to the prefecture is open until it is answered; an appeal to the judge is open
  unless its own row says that the judge let the fine stand (NIL in the column dismissal).

A row that the model refuses changes nothing, and the replay goes on. Such rows are printed with
their reasons, and then each outcome with its number of cases. The cases are replayed one after
the other, each in the order of its rows, so that a long log needs the machines of one case only.

    python examples/road_fines.py [LOG.csv]

Without an argument it reads the invented log beside this file. Rows are numbered as the lines of
the file, the header is row 1. The exit code is 0, or 2 if the log as a whole cannot be read.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from statemachine import State, StateMachine
from statemachine.exceptions import TransitionNotAllowed

from statemachines_orchestrator import Orchestrator, on, on_enter

# The model -------------------------------------------------------------------------------------


class Fine(StateMachine):
    """The fine itself: where it stands, and what is owed."""

    draft = State(initial=True)
    created = State()
    sent = State()
    notified = State()
    penalized = State()
    collected = State()
    closed = State()

    create = draft.to(created)
    # What was under way when the fine was closed opens it again, until the case is weighed.
    mail = created.to(sent) | closed.to(sent)
    notify = sent.to(notified) | closed.to(notified)
    penalize = notified.to(penalized) | closed.to(penalized)
    collect = penalized.to(collected, cond="is_unchallenged")
    close = closed.from_(created, sent, notified, penalized, collected, closed)

    amount = Decimal(0)
    expenses = Decimal(0)

    @property
    def owed(self) -> Decimal:
        """The last amount, and all expenses."""
        return self.amount + self.expenses

    def on_create(self, amount: Decimal) -> None:
        """Charge the amount."""
        self.amount = amount

    def on_mail(self, expense: Decimal) -> None:
        """Charge the expense, beside the amount."""
        self.expenses += expense

    def on_penalize(self, amount: Decimal) -> None:
        """Charge the penalty, instead of the amount."""
        self.amount = amount

    def is_unchallenged(self, orc: "Case") -> bool:
        """Look at the peer: an open appeal holds back credit collection."""
        return not orc.appeal.is_open


class Payment(StateMachine):
    """What is paid: nothing, something, or everything."""

    nothing = State(initial=True)
    part = State()
    everything = State()

    pay = (
        nothing.to(nothing, internal=True, cond="can_be_paid")
        | part.to(part, internal=True)
        | everything.to(everything, internal=True)
    )
    weigh = (
        everything.from_(nothing, part, everything, cond="covers")
        | part.from_(nothing, part, everything, cond="is_begun")
        | nothing.from_(nothing, everything)
    )

    paid = Decimal(0)
    tolerance = Decimal("0.005")

    def on_pay(self, money: Decimal) -> None:
        """Take the money."""
        self.paid += money

    def can_be_paid(self, orc: "Case") -> bool:
        """Look at the peer: a fine must exist to be paid."""
        return not orc.fine.draft.is_active

    def covers(self, orc: "Case") -> bool:
        """Look at the peer: what is owed now must be covered, to within half a cent."""
        return self.paid + self.tolerance >= orc.fine.owed

    def is_begun(self) -> bool:
        """Say whether anything is paid."""
        return self.paid > 0


class Appeal(StateMachine):
    """The appeal, to the prefecture or to the judge."""

    none = State(initial=True)
    dated = State()
    at_prefecture = State()
    at_judge = State()
    decided = State()

    date = none.to(dated, cond="can_be_made") | at_prefecture.to(at_prefecture, internal=True)
    hand_in = none.to(at_prefecture, cond="can_be_made") | dated.to(at_prefecture)
    answer = dated.to(decided) | at_prefecture.to(decided)
    inform = at_prefecture.to(decided) | decided.to(decided, internal=True)
    judge = decided.from_(
        none, dated, at_prefecture, at_judge, decided, cond=["can_be_made", "is_not_dismissed"]
    ) | at_judge.from_(none, dated, at_prefecture, at_judge, decided, cond="can_be_made")

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to decide."""
        return self.dated.is_active or self.at_prefecture.is_active or self.at_judge.is_active

    def can_be_made(self, orc: "Case") -> bool:
        """Look at the peer: a fine must exist to be appealed."""
        return not orc.fine.draft.is_active

    def is_not_dismissed(self, dismissal: str) -> bool:
        """Say whether the judge let the fine stand."""
        return dismissal == "NIL"


class Case(Orchestrator):
    """One fine, its payments and its appeal."""

    fine: Fine
    payment: Payment
    appeal: Appeal

    @on("fine.create", "fine.mail", "fine.notify", "fine.penalize", "payment.pay")
    def weigh(self) -> None:
        """Weigh what is paid against what is owed, whenever one of them may have changed."""
        self.payment.weigh()

    @on_enter("payment.everything")
    def close(self) -> None:
        """Close the fine that is covered."""
        self.fine.close()

    @property
    def outcome(self) -> str:
        """What became of the case, as the states of its machines tell."""
        if self.fine.draft.is_active:
            return "never created"
        if self.fine.closed.is_active:
            return "paid in full"
        if self.fine.collected.is_active:
            return "sent to credit collection"
        return "paid in part" if self.payment.part.is_active else "unpaid"


# The log ---------------------------------------------------------------------------------------


class Activity(NamedTuple):
    """What a row means: an event of a machine, perhaps with the value of one column."""

    machine: str
    event: str
    column: str | None
    rule: str
    """When the event can take place, in words: what the model above says."""


APPEAL = "a fine that was created is appealed to the prefecture once"
ACTIVITIES = {
    "Create Fine": Activity("fine", "create", "amount", "a fine is created once"),
    "Send Fine": Activity(
        "fine", "mail", "expense", "a fine is sent when it is created, or closed"
    ),
    "Insert Fine Notification": Activity(
        "fine", "notify", None, "a fine is notified when it is sent, or closed"
    ),
    "Add penalty": Activity(
        "fine", "penalize", "amount", "a penalty is added when the fine is notified, or closed"
    ),
    "Send for Credit Collection": Activity(
        "fine", "collect", None, "a fine is collected after its penalty, while no appeal is open"
    ),
    "Payment": Activity("payment", "pay", "paymentAmount", "a fine is paid after its creation"),
    "Insert Date Appeal to Prefecture": Activity("appeal", "date", None, APPEAL),
    "Send Appeal to Prefecture": Activity("appeal", "hand_in", None, APPEAL),
    "Receive Result Appeal from Prefecture": Activity(
        "appeal", "answer", None, "an appeal to the prefecture is answered once, while it is open"
    ),
    "Notify Result Appeal to Offender": Activity(
        "appeal", "inform", None, "a result is notified after the appeal was sent"
    ),
    "Appeal to Judge": Activity(
        "appeal", "judge", "dismissal", "a fine is appealed to the judge after its creation"
    ),
}
CASE, ACTIVITY = "case:concept:name", "concept:name"
COLUMNS = (CASE, ACTIVITY, "amount", "expense", "paymentAmount", "dismissal")
OUTCOMES = ("paid in full", "sent to credit collection", "unpaid", "paid in part")

Row = dict[str, str]


class NotMoneyError(Exception):
    """A row lacks an amount of money, or what it has is none."""


class LogUnreadableError(Exception):
    """The log as a whole cannot be replayed, for the reason given."""


def read(lines: Iterable[str], refusals: dict[int, str]) -> dict[str, dict[int, Row]]:
    """Read a log: the rows of each case by their numbers, in the order of the log."""
    reader = csv.DictReader(lines, restval="", strict=True)
    if reader.fieldnames is None:
        problem = "it is empty and has no header"
        raise LogUnreadableError(problem)
    missing = [column for column in COLUMNS if column not in reader.fieldnames]
    if missing:
        problem = f"its header lacks {', '.join(missing)}"
        raise LogUnreadableError(problem)
    cases: dict[str, dict[int, Row]] = {}
    for row in reader:
        if None in row:
            refusals[reader.line_num] = "it has more fields than the header"
        elif not row[CASE]:
            refusals[reader.line_num] = "it names no case"
        else:
            rows = cases.setdefault(row[CASE], {})
            rows[reader.line_num] = {column: row[column] for column in COLUMNS}
    return cases


def argument_of(row: Row, column: str) -> Decimal | str:
    """Return what the event takes from the row: an exact amount of money, or a text."""
    text = row[column]
    if column == "dismissal":
        return text
    if column == "expense" and not text:
        return Decimal(0)
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,12})?", text):
        reason = f"{column} is no amount of money: {text!r}"
        raise NotMoneyError(reason)
    return Decimal(text)


def refusal_of(row: Row, case: Case) -> str | None:
    """Send the one event that the row stands for, and return the reason if it is refused."""
    activity = ACTIVITIES.get(row[ACTIVITY])
    if activity is None:
        return "this process has no such activity"
    try:
        arguments = [argument_of(row, activity.column)] if activity.column else []
        case.machines[activity.machine].send(activity.event, *arguments)
    except NotMoneyError as reason:
        return str(reason)
    except TransitionNotAllowed:
        return f"{activity.rule}; this is {case}"
    return None


def replay(lines: Iterable[str]) -> None:
    """Replay a log, print what was refused, and what became of the cases."""
    refusals: dict[int, str] = {}
    outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
    cases = read(lines, refusals)
    for name, rows in cases.items():
        case = Case(fine=Fine(), payment=Payment(), appeal=Appeal())
        for number, row in rows.items():
            reason = refusal_of(row, case)
            if reason:
                refusals[number] = f"case {name}, {row[ACTIVITY]}: {reason}"
        outcomes[case.outcome] += 1

    for number in sorted(refusals):
        print(f"refused: row {number}: {refusals[number]}")
    print(f"cases: {len(cases)}, refused rows: {len(refusals)}")
    for outcome, count in outcomes.items():
        print(f"{count:6} {outcome}")


def main(arguments: list[str]) -> int:
    """Replay the log named on the command line, or the invented one."""
    if len(arguments) > 1:
        print("usage: python road_fines.py [LOG.csv]", file=sys.stderr)
        return 2
    path = Path(arguments[0]) if arguments else Path(__file__).with_name("road_fines_sample.csv")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            replay(lines)
    except OSError as error:
        problem = error.strerror or str(error)
    except UnicodeDecodeError:
        problem = "it is not encoded in UTF-8"
    except (csv.Error, LogUnreadableError) as error:
        problem = str(error)
    else:
        return 0
    print(f"road_fines.py: cannot replay {path}: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
