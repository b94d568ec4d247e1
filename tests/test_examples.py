"""Every example runs, and prints what it is expected to print."""

import csv
import io
import os
import random
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
REAL_LOG = os.environ.get("ROAD_FINES_LOG")
"""A file with 100 cases of the public Road Traffic Fine Management log, where there is one."""

EXPECTED = {
    "alternating_bit": """\
Link: 22 joint states
every message arrives once, and it goes on
CarelessLink: 44 joint states
invariant: each_message_once does not hold (and 21 more like it)
  in CarelessLink(sender=zero, messages=empty, receiver=one, answers=zero, ledger=wrong)
    1. send_zero comes due
    2. messages.deliver_zero()
    3. send_zero comes due
    4. messages.deliver_zero()
""",
    "breaker": """\
   0 s  request  trying
   0 s  device   ready
   0 s  request  waiting
   1 s  request  trying
   1 s  device   ready
   1 s  request  waiting
   3 s  request  trying
   3 s  device   ready
   3 s  request  waiting
   3 s  breaker  opened
   7 s  request  trying
   7 s  request  waiting
  13 s  breaker  half_open
  15 s  request  trying
  15 s  device   ready
  15 s  request  waiting
  15 s  breaker  opened
  23 s  request  trying
  23 s  request  waiting
  25 s  breaker  half_open
  31 s  request  trying
  31 s  device   ready
  31 s  request  idle
  31 s  breaker  closed
  60 s  Plant(request=idle, breaker=closed, device=ready, failures=0, wait=1.0)
  60 s  request  trying
  60 s  device   ready
  60 s  request  idle
 120 s  Plant(request=idle, breaker=closed, device=ready, failures=0, wait=1.0)
""",
    "deadlines": """\
a customer who pays in time
     0 min  order.place: draft -> placed
     5 min  dear customer, your order waits for your payment
     7 min  payment.pay: unpaid -> paid
     7 min  order.accept: placed -> accepted
    30 min  Shop(order=accepted, payment=paid), due next: None
a customer who does not pay
     0 min  order.place: draft -> placed
     5 min  dear customer, your order waits for your payment
    10 min  dear customer, your order waits for your payment
    15 min  order.cancel: placed -> cancelled
    15 min  payment.annul: unpaid -> void
    30 min  Shop(order=cancelled, payment=void), due next: None
""",
    "lights": """\
Crossing(hours=night, main=flashing, side=flashing, walkers=dark)
hours       main green     side green   walkers walk  main flashing
05-08              150            150             79              0
08-11              149            148             78              0
11-14              123            124             17              0
14-17              149            149             78              0
17-20              149            148             78              0
20-23              123            123             17              0
23-02                0              0              0              1
02-05                0              0              0              0
""",
    "sweep": """\
order 1 pays after 10 min: paid
order 2 pays after 18 min: refused, it is placed
sweep after 18 min: {2: 'cancelled', 3: 'cancelled'}
sweep after 20 min: {4: 'cancelled'}
order 4 pays after 21 min: refused, it is cancelled
with a timeout, and a request every 10 min
  after 10 min it is placed
  after 20 min it is placed
  after 30 min it is placed
""",
    "crossing": """\
in the beginning          Crossing(cars=green, pedestrians=red)
pedestrians.go   refused  Crossing(cars=green, pedestrians=red)
cars.slow        taken    Crossing(cars=yellow, pedestrians=red)
pedestrians.go   refused  Crossing(cars=yellow, pedestrians=red)
cars.stop        taken    Crossing(cars=red, pedestrians=green)
cars.go          refused  Crossing(cars=red, pedestrians=green)
pedestrians.stop taken    Crossing(cars=green, pedestrians=red)
2500 events sent in every order, both lights green after 0 of them
""",
    "device": """\
await plant.device.poll()
  21, Plant(device=idle, watchdog=quiet, notifier=-)
await plant.device.poll()
  22, Plant(device=idle, watchdog=quiet, notifier=-)
await plant.device.poll()
  None, Plant(device=idle, watchdog=growling, notifier=-)
await plant.device.poll()
    message: the device is silent
  None, Plant(device=idle, watchdog=barking, notifier=ready)
await plant.device.poll()
  None, Plant(device=idle, watchdog=barking, notifier=ready)
await plant.device.poll()
    message: the alarm is over
  23, Plant(device=idle, watchdog=quiet, notifier=ready)
await plant.device.poll()
  None, Plant(device=idle, watchdog=growling, notifier=ready)
await plant.device.poll()
    message: the device is silent
  None, Plant(device=idle, watchdog=barking, notifier=ready)
await plant.asend("watchdog.calm")
    message: the alarm is over
  Plant(device=idle, watchdog=quiet, notifier=ready)
""",
    "pedestrians": """\
TrustingCrossing, order: 7 joint states, nothing found
TrustingCrossing, any: 9 joint states, invariant and stuck and goal found
invariant: never_green_for_both does not hold
  in TrustingCrossing(cars=green, walkers=walk)
    1. walkers.press()
    2. slow comes due
    3. stop comes due
    4. go comes due
stuck: nothing more can happen, and not every machine is final
  in TrustingCrossing(cars=green, walkers=asked)
    1. walkers.press()
    2. slow comes due
    3. stop comes due
    4. halt comes due
    5. walkers.press()
    6. slow comes due
    7. go comes due
GuardedCrossing, order: 7 joint states, nothing found
GuardedCrossing, any: 6 joint states, nothing found
""",
    "philosophers": """\
3 philosophers: 14 joint states, stuck after 3
4 philosophers: 34 joint states, stuck after 4
5 philosophers: 82 joint states, stuck after 5
stuck: nothing more can happen, and not every machine is final
  in Dinner(philosophers=Fleet({0: holding, 1: holding, 2: holding, 3: holding, 4: holding}))
    1. philosophers[0].begin()
    2. philosophers[1].begin()
    3. philosophers[2].begin()
    4. philosophers[3].begin()
    5. philosophers[4].begin()
3 with an order: 12 joint states, each can always come to eat
4 with an order: 29 joint states, each can always come to eat
5 with an order: 70 joint states, each can always come to eat
""",
    "road_fines": """\
refused: row 10: case X7, Payment: a fine is paid after its creation; \
this is Case(fine=draft, payment=nothing, appeal=none)
refused: row 21: case X3, Payment: paymentAmount is no amount of money: '12,50'
refused: row 28: case X5, Send for Credit Collection: \
a fine is collected after its penalty, while no appeal is open; \
this is Case(fine=penalized, payment=nothing, appeal=at_prefecture)
cases: 7, refused rows: 3
     2 paid in full
     2 sent to credit collection
     1 unpaid
     1 paid in part
     1 never created
""",
    "race": """\
invariant: nobody_pays_for_nothing does not hold
  in FirstShop(order=cancelled, payment=captured)
    1. payment.capture()
    2. order.cancel()
    3. payment.confirm()

As a test:

from contextlib import suppress

from race import FirstShop, Order, Payment
from statemachine.exceptions import TransitionNotAllowed


def test_invariant_after_cancel_confirm():
    \"\"\"nobody_pays_for_nothing does not hold\"\"\"
    shop = FirstShop(order=Order(), payment=Payment())
    try:
        shop.payment.capture()
        shop.order.cancel()
        with suppress(Exception):
            shop.payment.confirm()
    except TransitionNotAllowed:
        pass  # a step that is refused now: the way ends there
    answer = shop.nobody_pays_for_nothing()
    assert answer or answer is None

Shop: 6 joint states, 5 steps; all there are
nothing found
""",
    "saga": """\
everything is free
    flight booked
    hotel  booked
    car    booked
  settled as Trip(flight=booked, hotel=booked, car=booked)
no car is left
    flight booked
    hotel  booked
    car    failed
    hotel  cancelled
    flight cancelled
  settled as Trip(flight=cancelled, hotel=cancelled, car=failed)
the hotel is full
    flight booked
    hotel  failed
    flight cancelled
  settled as Trip(flight=cancelled, hotel=failed, car=planned)
""",
    "shop": """\
call shop.order.process()
    payment.authorize took place: unpaid -> authorized
    order.process took place: pending -> processing
  payment.authorize leads to the reaction capture
    payment.capture took place: authorized -> captured
  enter:payment.captured leads to the reaction ship
    order.ship took place: processing -> shipped
  enter:order.shipped leads to the reaction dispatch
    shipment.dispatch took place: waiting -> travelling
  settled: save Shop(order=shipped, payment=captured, shipment=travelling)
call shop.shipment.deliver()
    shipment.deliver took place: travelling -> delivered
  settled: save Shop(order=shipped, payment=captured, shipment=delivered)
in the end
  Shop(order=shipped, payment=captured, shipment=delivered)
""",
    "two_phase_commit": """\
without a crash: 12 joint states, found: nothing
a crash: 30 joint states, found: stuck, stuck, stuck, stuck, stuck, stuck, stuck, stuck, goal
a crash and a restart: 30 joint states, found: nothing
a crash, a restart, no patience: 40 joint states, found: invariant
stuck: nothing more can happen, and not every machine is final
  in Transaction(coordinator=waiting, power=down, voters=Fleet({'a': prepared, 'b': prepared}))
    1. power.crash()
    2. voters['a'].vote_yes()
    3. voters['b'].vote_yes()
invariant: all_or_none does not hold (and 3 more like it)
  in Impatient(coordinator=committed, power=up, voters=Fleet({'a': committed, 'b': aborted}))
    1. voters['a'].vote_yes()
    2. voters['b'].vote_yes()
    3. voters['a'].commit()
    4. lose_patience['b'] comes due
""",
    "warehouse": """\
refused: line 8: pick item: item 880004: it is missing
refused: line 18: pick item: item 880006: it is picked
refused: line 19: create package: item 880005: it is ordered
refused: line 22: package delivered: package 660002: it is created
refused: line 32: pay order: order 990001: it is paid
refused: line 33: confirm order: order 990005: it is unknown
refused: line 37: return package: package 660003: there is no such activity
refused: line 38: create package: item 880008: it is unknown
refused: 8
orders, by payment and delivery: 4
     2 paid, all items delivered
     1 paid, not all items delivered
     1 unpaid, all items delivered
orders, by processing: 4
     2 complete
     2 ready
packages: 5
     2 created
     3 delivered
""",
}


def run(name: str, *arguments: str | Path) -> tuple[int, str, str]:
    """Run an example as a user does, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, arguments)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_every_example_is_compared() -> None:
    """No example is left out, and there are examples at all."""
    assert sorted(EXPECTED) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_prints_what_it_says(name: str) -> None:
    """The whole output of an example is the expected one, and it leaves nothing on stderr."""
    assert run(name) == (0, EXPECTED[name], "")


def test_the_real_log_of_road_fines() -> None:
    """The 390 rows of the real log are all accepted, and its cases end as counted by hand."""
    if REAL_LOG is None:
        pytest.skip("ROAD_FINES_LOG names no log of real cases")
    assert run("road_fines", Path(REAL_LOG)) == (
        0,
        """\
cases: 100, refused rows: 0
    39 paid in full
    36 sent to credit collection
    16 unpaid
     9 paid in part
""",
        "",
    )


def plain_lights(presses: list[int]) -> list[tuple[float, str, str]]:
    """Compute the phases of the streets and the walks of a day by arithmetic."""
    log: list[tuple[float, str, str]] = []
    green, free, dusk = 0, -1, 18 * 3600
    while green < dusk:
        asked = next((press for press in presses if press > free), dusk)
        yellow = min(green + 60, max(asked, green) + 10)
        red = side = yellow + 3
        log += [(green, "main", "green"), (yellow, "main", "yellow"), (red, "main", "red")]
        if asked < red:
            side = free = red + 12
            log.append((red, "walkers", "walk"))
        log += [(side, "side", "green"), (side + 24, "side", "yellow"), (side + 27, "side", "red")]
        green = side + 27
    return sorted(entry for entry in log if entry[0] < dusk)


def test_the_lights_of_a_day() -> None:
    """The whole log of 24 hours is that of plain arithmetic."""
    example = runpy.run_path(str(EXAMPLES / "lights.py"))
    phases = {"green", "yellow", "red", "walk"}
    log = [entry for entry in example["simulate"]() if entry[2] in phases]
    assert log.pop(0) == (0.0, "side", "red")
    assert sorted(log) == plain_lights(example["PRESSES"])


# Logs made here --------------------------------------------------------------------------------

HEADER = (
    "amount,article,case:concept:name,concept:name,dismissal,expense,lastSent,"
    "lifecycle:transition,notificationType,org:resource,paymentAmount,points,time:timestamp,"
    "totalPaymentAmount,vehicleClass\n"
)
VALUE_COLUMNS = {
    "Create Fine": "amount",
    "Send Fine": "expense",
    "Add penalty": "amount",
    "Payment": "paymentAmount",
    "Appeal to Judge": "dismissal",
}


def row(case: str, activity: str, value: str = "") -> str:
    """Write one row of a log, with the value in the column of the activity."""
    fields: dict[str, str] = dict.fromkeys(HEADER.strip().split(","), "")
    fields["case:concept:name"] = case
    fields["concept:name"] = activity
    if value:
        fields[VALUE_COLUMNS[activity]] = value
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields.values())
    return text.getvalue()


def log(*rows: tuple[str, ...]) -> str:
    """Write a log of one case."""
    return HEADER + "".join(row("A1", *values) for values in rows)


def read(output: str) -> tuple[list[tuple[int, str]], dict[str, int]]:
    """Read what the example printed: the refused rows, with their cases, and the outcomes."""
    refusals: list[tuple[int, str]] = []
    outcomes: dict[str, int] = {}
    for line in output.splitlines():
        if refusal := re.match(r"refused: row (\d+): case (\w+), ", line):
            refusals.append((int(refusal[1]), refusal[2]))
        elif count := re.match(r" *(\d+) ([a-z ]+)$", line):
            outcomes[count[2]] = int(count[1])
    return refusals, outcomes


CREATED = ("Create Fine", "35.0")
NOTIFIED = (CREATED, ("Send Fine", "11.0"), ("Insert Fine Notification",))
PENALIZED = (*NOTIFIED, ("Add penalty", "71.5"))
COLLECTION = ("Send for Credit Collection",)
FULL, COLLECTED, UNPAID, PART, NEVER = (
    "paid in full",
    "sent to credit collection",
    "unpaid",
    "paid in part",
    "never created",
)


@pytest.mark.parametrize(
    ("rows", "outcome", "refused"),
    [
        pytest.param([CREATED], UNPAID, [], id="created"),
        pytest.param([CREATED, ("Payment", "35.0")], FULL, [], id="paid before sending"),
        pytest.param(
            [CREATED, ("Payment", "35.0"), ("Send Fine", "6.71")],
            PART,
            [],
            id="closed, then an expense is added",
        ),
        pytest.param(
            [CREATED, ("Payment", "35.0"), ("Send Fine", "0.0"), ("Insert Fine Notification",)],
            FULL,
            [],
            id="closed, then a letter that costs nothing",
        ),
        pytest.param(
            [*NOTIFIED, ("Payment", "46.0"), ("Add penalty", "71.5")],
            PART,
            [],
            id="closed, then a penalty",
        ),
        pytest.param([*PENALIZED, ("Payment", "46.0")], PART, [], id="paid as before the penalty"),
        pytest.param([*PENALIZED, ("Payment", "82.5")], FULL, [], id="the penalty is covered"),
        pytest.param(
            [*PENALIZED, ("Payment", "46.0"), ("Payment", "36.5")], FULL, [], id="in two payments"
        ),
        pytest.param([*PENALIZED, ("Payment", "82.495")], FULL, [], id="to within half a cent"),
        pytest.param([*PENALIZED, ("Payment", "82.494")], PART, [], id="more than half a cent"),
        pytest.param([CREATED, ("Payment", "0.0")], UNPAID, [], id="a payment of nothing"),
        pytest.param([("Create Fine", "0.0")], FULL, [], id="a fine of nothing"),
        pytest.param([CREATED, ("Send Fine",)], UNPAID, [], id="an expense that is not given"),
        pytest.param([*PENALIZED, COLLECTION], COLLECTED, [], id="collected"),
        pytest.param(
            [*PENALIZED, COLLECTION, ("Payment", "46.0")], COLLECTED, [], id="paid late in part"
        ),
        pytest.param(
            [*PENALIZED, COLLECTION, ("Payment", "82.5")], FULL, [], id="paid late in full"
        ),
        pytest.param([*PENALIZED, ("Payment", "82.5"), COLLECTION], FULL, [7], id="nothing owed"),
        pytest.param(
            [CREATED, COLLECTION, ("Add penalty", "70.0")], UNPAID, [3, 4], id="out of order"
        ),
        pytest.param([CREATED, CREATED], UNPAID, [3], id="created twice"),
        pytest.param(
            [*PENALIZED, ("Insert Date Appeal to Prefecture",), COLLECTION],
            UNPAID,
            [7],
            id="an appeal is open",
        ),
        pytest.param(
            [
                *NOTIFIED,
                ("Insert Date Appeal to Prefecture",),
                ("Add penalty", "71.5"),
                ("Send Appeal to Prefecture",),
                COLLECTION,
                ("Receive Result Appeal from Prefecture",),
                ("Notify Result Appeal to Offender",),
                COLLECTION,
            ],
            COLLECTED,
            [8],
            id="an appeal is answered",
        ),
        pytest.param(
            [*PENALIZED, ("Appeal to Judge", "NIL"), COLLECTION],
            COLLECTED,
            [],
            id="the fine stands",
        ),
        pytest.param(
            [*PENALIZED, ("Appeal to Judge", "G"), COLLECTION], UNPAID, [7], id="dismissed"
        ),
        pytest.param([*PENALIZED, ("Appeal to Judge",), COLLECTION], UNPAID, [7], id="not judged"),
        pytest.param(
            [("Payment", "1.0"), ("Appeal to Judge",), ("Send Fine", "1.0")],
            NEVER,
            [2, 3, 4],
            id="never created",
        ),
        pytest.param([CREATED, ("Forgive Fine",)], UNPAID, [3], id="unknown activity"),
    ],
)
def test_a_case_ends_as_the_rules_say(
    tmp_path: Path, rows: list[tuple[str, ...]], outcome: str, refused: list[int]
) -> None:
    """Each rule of the road fines, on a case that obeys it or breaks it."""
    path = tmp_path / "log.csv"
    path.write_text(log(*rows), encoding="utf-8")
    code, output, errors = run("road_fines", path)
    refusals, counts = read(output)
    assert (code, errors) == (0, "")
    assert [number for number, _ in refusals] == refused
    assert counts == {FULL: 0, COLLECTED: 0, UNPAID: 0, PART: 0} | {outcome: 1}


VARIANTS = (
    ("Create Fine", "Payment"),
    ("Create Fine", "Payment", "Send Fine"),
    ("Create Fine", "Send Fine"),
    ("Create Fine", "Send Fine", "Payment"),
    ("Create Fine", "Send Fine", "Payment", "Insert Fine Notification", "Add penalty"),
    ("Create Fine", "Send Fine", "Insert Fine Notification", "Add penalty", "Payment", "Payment"),
    ("Create Fine", "Send Fine", "Insert Fine Notification", "Payment", "Add penalty", "Payment"),
    ("Create Fine", "Send Fine", "Insert Fine Notification", "Add penalty", "Payment"),
    (
        "Create Fine",
        "Send Fine",
        "Insert Fine Notification",
        "Add penalty",
        "Send for Credit Collection",
        "Payment",
    ),
)


def plain_outcome(rows: list[tuple[str, int]]) -> str:
    """Tell how a case ends by plain arithmetic, in cents, over all of its rows."""
    amount = [cents for activity, cents in rows if activity in {"Create Fine", "Add penalty"}][-1]
    expenses = sum(cents for activity, cents in rows if activity == "Send Fine")
    paid = sum(cents for activity, cents in rows if activity == "Payment")
    if paid >= amount + expenses:
        return FULL
    if "Send for Credit Collection" in dict(rows):
        return COLLECTED
    return PART if paid else UNPAID


def test_many_cases_end_as_plain_arithmetic_says(tmp_path: Path) -> None:
    """However the rows of the cases are mixed, the outcomes are those of plain arithmetic."""
    chance = random.Random(1)  # noqa: S311 - the same log every time
    cents = {
        "Create Fine": (3360, 3500),
        "Send Fine": (0, 671, 1100),
        "Add penalty": (6877, 7150),
        "Payment": (0, 3360, 3500, 4031, 4460, 4600, 6877, 8250, 9000),
    }
    cases = {
        f"A{number}": [
            (activity, chance.choice(cents.get(activity, (0,))))
            for activity in chance.choice(VARIANTS)
        ]
        for number in range(150)
    }
    order = [case for case, rows in cases.items() for _ in rows]
    chance.shuffle(order)
    waiting = {case: iter(rows) for case, rows in cases.items()}
    text = HEADER
    for case in order:
        activity, value = next(waiting[case])
        text += row(case, activity, f"{value / 100}" if activity in VALUE_COLUMNS else "")
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")

    expected = Counter(plain_outcome(rows) for rows in cases.values())
    code, output, errors = run("road_fines", path)
    assert (code, errors) == (0, "")
    assert read(output) == ([], dict(expected))
    assert sorted(expected) == sorted([FULL, COLLECTED, UNPAID, PART])


@pytest.mark.parametrize("number", ["12,5", "nan", "inf", "-5", "1e9", "", "1_0", "4O.0", "\u0664"])
def test_a_malformed_number_refuses_its_row(tmp_path: Path, number: str) -> None:
    """A number that is none refuses its row, with the reason, and the replay goes on."""
    path = tmp_path / "log.csv"
    path.write_text(log(CREATED, ("Payment", number), ("Payment", "35.0")), encoding="utf-8")
    assert run("road_fines", path) == (
        0,
        f"""\
refused: row 3: case A1, Payment: paymentAmount is no amount of money: {number!r}
cases: 1, refused rows: 1
     1 paid in full
     0 sent to credit collection
     0 unpaid
     0 paid in part
""",
        "",
    )


def test_what_a_csv_file_may_look_like(tmp_path: Path) -> None:
    """A byte order mark, quotes, line breaks of any kind, other columns: the same log."""
    path = tmp_path / "log.csv"
    path.write_bytes(
        b"\xef\xbb\xbf"
        b'"concept:name","note","case:concept:name",amount,expense,paymentAmount,dismissal\r\n'
        b'"Create Fine","two\r\nlines, and a comma","A ""1""","35.0",,,NIL\r\n'
        b"\r\n"
        b'Payment,,"A ""1""",,,35.0\r\n'
        b'Payment,,"A ""1""",,,35.0,,,excess\r\n'
        b"Payment,,,,,35.0,\r\n"
    )
    assert run("road_fines", path) == (
        0,
        """\
refused: row 6: it has more fields than the header
refused: row 7: it names no case
cases: 1, refused rows: 2
     1 paid in full
     0 sent to credit collection
     0 unpaid
     0 paid in part
""",
        "",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "it is empty and has no header", id="empty"),
        pytest.param(
            b"amount,expense,concept:name\n1,2,3\n",
            "its header lacks case:concept:name, paymentAmount, dismissal",
            id="columns",
        ),
        pytest.param(
            (HEADER + '"35.0,7.0,A1\nand,so,on\n').encode(), "unexpected end of data", id="quotes"
        ),
        pytest.param(HEADER.encode("utf-16"), "it is not encoded in UTF-8", id="encoding"),
        pytest.param(None, "No such file or directory", id="no file"),
    ],
)
def test_a_log_that_cannot_be_read(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A log that cannot be read as a whole ends with one line on stderr and exit code 2."""
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    assert run("road_fines", path) == (2, "", f"road_fines.py: cannot replay {path}: {problem}\n")


def test_a_log_without_rows(tmp_path: Path) -> None:
    """A header alone is a log of no cases."""
    path = tmp_path / "log.csv"
    path.write_text(HEADER, encoding="utf-8")
    code, output, errors = run("road_fines", path)
    assert (code, output.splitlines()[0], errors) == (0, "cases: 0, refused rows: 0", "")


def test_too_many_arguments() -> None:
    """More than one log is a mistake of the caller."""
    usage = "usage: python road_fines.py [LOG.csv]\n"
    assert run("road_fines", "a.csv", "b.csv") == (2, "", usage)


# Logs of a warehouse ---------------------------------------------------------------------------

HOSTILE = """\
,price,ocel:type:packages,ocel:activity,weight,ocel:type:orders,ocel:timestamp,ocel:eid,ocel:type:items
0,9,,place order,1,"[""o1""]",2019-05-20 09:07:47,e0,"['i1', ""i2""]"
1,,nan,place order,,o2,20.05.2019,e1,i3
2,,[],pay order,,['o1'],never,e2,nan
3,,,payment reminder,,"['o1','o2']",,e3,[]
4,,,pay order,,"['o1','o2']",1558343267,e4,
5,,,item out of stock,,[],2019-05-20T09:07:47Z,e5,"['i1','i3']"
6,,,pick item,,,,e6,"['i1','i2','i9']"
7,,,reorder item,,,,e7,"['i1','i3']"
8,,,pick item,,['o1'],,e8,['i1']
9,,,pick item,,,,e9,"['i2','i3']"
10,,['p1'],create package,,"['o1','o2','o9']",,e10,"['i1','i3','i9']"
11,,p1,package delivered,,,,e11,
12,,p1,failed delivery,,,,e12,
13,,p1,send package,,o1,,e13,"['i1','i3']"
14,,p1,failed delivery,,,,e14,
15,,p1,failed delivery,,,,e15,
16,,p1,package delivered,,,,e16,
17,,p1,package delivered,,,,e17,
18,,,confirm order,,"['o2','o1','o2']",,e18,
19,,,confirm order,,o1,,e19,
20,,,place order,,o1,,e20,i4
21,,,place order,,o3,,e21,"['i4','i1']"
22,,,place order,,"['o4','o5']",,e22,i5
23,,,place order,,o4,,e23,
24,,p2,create package,,,,e24,[]
25,,p2,create package,,,,e25,"['i2','i4']"
26,,p1,create package,,,,e26,i4
27,,p2,send package,,,,e27,
28,,p2,package delivered,,,,e28,
29,,,pick item,,,,e29,
30,,,audit stock,,"['o1']",,e30,i4
31,,,pick item
32,,,pick item,,,,e32,['i4','i5']

,,,,,,,,
33,,,pick item,,,,e33,\x00i4
34,,p9,send package,,,,e34,
35,,p3,create package,,o3,,e35,"['i4'
"""


def test_a_hostile_log_of_a_warehouse(tmp_path: Path) -> None:
    """Whatever a row of a log holds, it is done or reported, and the replay goes on."""
    path = tmp_path / "log.csv"
    path.write_text(HOSTILE, encoding="utf-8")
    assert run("warehouse", path) == (
        0,
        """\
refused: line 6: pay order: order o1: it is paid
refused: line 8: pick item: item i9: it is unknown
refused: line 8: pick item: item i1: it is missing
refused: line 11: pick item: item i2: it is picked
refused: line 12: create package: order o9: it is unknown
refused: line 12: create package: item i9: it is unknown
refused: line 13: package delivered: package p1: it is created
refused: line 14: failed delivery: package p1: it is created
refused: line 19: package delivered: package p1: it is delivered
refused: line 21: confirm order: order o1: it is given
refused: line 22: place order: order o1: it is known already
refused: line 23: place order: item i1: it is known already
refused: line 24: place order: order o4, order o5, item i5: it must name one order and its items
refused: line 25: place order: order o4: it must name one order and its items
refused: line 26: create package: package p2: it must name one package and its items
refused: line 27: create package: item i4: it is ordered
refused: line 28: create package: package p1: it is known already
refused: line 31: pick item: nothing: it names no item
refused: line 32: audit stock: order o1, item i4: there is no such activity
refused: line 33: pick item: nothing: it names no item
refused: line 34: pick item: the row: it has more fields than the header
refused: line 36: : nothing: there is no such activity
refused: line 38: send package: package p9: it is unknown
refused: 23
orders, by payment and delivery: 3
     2 paid, all items delivered
     1 unpaid, not all items delivered
orders, by processing: 3
     2 complete
     1 ready
packages: 3
     1 created
     2 delivered
""",
        "",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(
            b"",
            "its header must have, once, "
            "ocel:activity, ocel:type:orders, ocel:type:items, ocel:type:packages",
            id="empty",
        ),
        pytest.param(
            b"ocel:type:items,ocel:activity,ocel:activity,ocel:type:orders\n",
            "its header must have, once, ocel:activity, ocel:type:packages",
            id="columns",
        ),
        pytest.param(None, "No such file or directory", id="no file"),
    ],
)
def test_a_log_of_a_warehouse_that_cannot_be_read(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """A log that cannot be read as a whole ends with one line on stderr and exit code 2."""
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    assert run("warehouse", path) == (2, "", f"warehouse.py: cannot replay {path}: {problem}\n")
