from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.model import AccountProgress, RecentError, Status
from pipeline.ui.terminal import LiveDisplay, PlainDisplay
from pipeline.ui.terminal.display import live_table, live_view, plain_line
from pipeline.ui.terminal.pace import Paces, Throughput
from tests.waiting import WITHIN_S, until

SHOP = AccountProgress(
    account="shop",
    rows=60_000,
    done={Status.UPDATED: 1200, Status.REJECTED: 34},
    sent=1300,
    in_flight=16,
    in_flight_limit=16,
    retrying=3,
    quota="20/s, 1000/min",
    quota_per_s=16.67,
)
EUROPE = AccountProgress(
    account="a-very-long-account-name",
    rows=9_000_000,
    done={Status.UPDATED: 1_000_000},
    sent=1_000_400,
    in_flight=128,
    in_flight_limit=256,
    retrying=1203,
    pause_left_s=12.2,
    quota_per_s=1000.0,
)
STOPPED = AccountProgress(
    account="eu", rows=10, done={Status.UPDATED: 4}, stopped="[red]refused[/] \x1b[31m(401)\n"
)
DONE = AccountProgress(account="tiny", rows=1, done={Status.UPDATED: 1})


def at_100_s(*accounts: AccountProgress) -> tuple[object, ...]:
    paces = Paces()
    paces.at(
        0.0, [AccountProgress(account=each.account, rows=each.rows, done={}) for each in accounts]
    )
    return paces.at(100.0, accounts)


def shown(width: int, *accounts: AccountProgress) -> list[str]:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(live_table(at_100_s(*accounts)))  # type: ignore[arg-type]
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_live_table_at_80_columns() -> None:
    assert shown(80, SHOP, EUROPE, STOPPED) == [
        "account          rows done  wrong    requests/s  in flight  retrying   time left",
        "shop          1,234/60,000     34     13.0/16.7      16/16         3  1 h 20 min",
        "a-very-long…   1.00M/9.00M      0  10,004/1,000    128/256     1,203  pause 13 s",
        "eu                    4/10      0           0.0        0/0         0     stopped",
        "total          1.00M/9.06M     34        10,017    144/272     1,206  2 h 14 min",
        "eu stopped: [red]refused[/] (401)",
    ]


def test_the_live_table_at_120_columns_shows_whole_names() -> None:
    assert shown(120, SHOP, EUROPE)[2].startswith("a-very-long-account-name   1.00M/9.00M ")


def test_what_holds_an_account_up_stands_below_the_table() -> None:
    slow = replace(SHOP, rate_per_s=4.75, is_held_up=True)
    down = replace(EUROPE, quota="auto", quota_per_s=0.0, rate_per_s=1000.0, is_probing=True)
    lines = shown(80, slow, down)
    assert lines == [
        "account          rows done  wrong    requests/s  in flight  retrying   time left",
        "shop          1,234/60,000     34      13.0/4.8      16/16         3  3 h 27 min",
        "a-very-long…   1.00M/9.00M      0  10,004/1,000    128/256     1,203     probing",
        "total          1.00M/9.06M     34        10,017    144/272     1,206",
        "shop: below its quota of 16.7/s",
        "shop: reading is paused: too many rows wait for others",
        "a-very-long-account-name: the vendor is down; probing with one request at a time",
        "a-very-long-account-name: learning its quota",
    ]
    assert max(map(len, lines)) <= 80


THROTTLED = RecentError("429050", "Too many\x1b[31m requests", 1_204)
REFUSED = RecentError(
    "0401-9505/1102", "Can not update the coupon: bonus[0].sku is not in the catalog", 34
)


def view(width: int, *accounts: AccountProgress, marks: tuple[float, ...] = ()) -> list[str]:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(live_view(at_100_s(*accounts), marks, width))  # type: ignore[arg-type]
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            80,
            [
                f"{'━━╸':<24}  11 %  ▁▄█  up to 16.7/s",
                "recent errors",
                "1,204x  429050          a-very-long-account-name: Too many requests",
                "   34x  0401-9505/1102  shop: Can not update the coupon: bonus[0].sku is not in…",
            ],
        ),
        (
            120,
            [
                f"{'━━╸':<24}  11 %  ▁▄█  up to 16.7/s",
                "recent errors",
                "1,204x  429050          a-very-long-account-name: Too many requests",
                (
                    "   34x  0401-9505/1102  shop: Can not update the coupon: bonus[0].sku is not "
                    "in the catalog"
                ),
            ],
        ),
    ],
)
def test_below_the_table_stand_the_course_and_what_went_wrong_last(width, lines) -> None:
    europe, shop = (
        replace(EUROPE, recent_errors=(THROTTLED,)),
        replace(SHOP, recent_errors=(REFUSED,)),
    )
    assert view(width, europe, shop, marks=(0.0, 8.0, 16.7))[-4:] == lines


def test_nothing_stands_there_that_does_not_exist() -> None:
    assert view(80, SHOP)[2:] == [f"{'':<24}  2 %"]


def test_the_course_moves_by_whole_marks_and_those_do_not_change() -> None:
    """Five looks a second: what is drawn anew each time would flicker."""
    course = Throughput()
    for tenth in range(70):
        course.look(tenth / 10, tenth * 2)
    assert list(course.marks) == [pytest.approx(20.0)] * 2
    course.look(9.1, 3)  # a run of several was through: what it sent is not counted any more
    course.look(12.2, 34)
    assert list(course.marks)[2:] == [pytest.approx(10.0)]


def test_one_account_needs_no_total() -> None:
    assert shown(80, SHOP) == [
        "account     rows done  wrong  requests/s  in flight  retrying   time left",
        "shop     1,234/60,000     34   13.0/16.7      16/16         3  1 h 20 min",
    ]


@pytest.mark.parametrize(
    ("account", "line"),
    [
        (
            SHOP,
            (
                "shop: 1,234 of 60,000 rows done, 34 wrong, 13.0 of 16.7 requests/s, "
                "16 of 16 in flight, 3 retrying, 1 h 20 min left"
            ),
        ),
        (STOPPED, "eu: 4 of 10 rows done, 0.0 requests/s, stopped: [red]refused[/] (401)"),
        (DONE, "tiny: 1 of 1 row done, 0.0 requests/s, done"),
        (
            replace(DONE, rows=9, quota="20/s", quota_per_s=20.0, rate_per_s=4.75, is_held_up=True),
            (
                "tiny: 1 of 9 rows done, 0.0 of 4.8 requests/s, 14 min left, below its quota "
                "of 20.0/s, reading is paused: too many rows wait for others"
            ),
        ),
        (
            replace(DONE, rows=9, quota="auto", rate_per_s=20.0, is_probing=True),
            (
                "tiny: 1 of 9 rows done, 0.0 of 20.0 requests/s, probing, the vendor is down; "
                "probing with one request at a time, learning its quota"
            ),
        ),
    ],
)
def test_a_plain_line(account: AccountProgress, line: str) -> None:
    (pace,) = at_100_s(account)
    assert plain_line(pace) == line  # type: ignore[arg-type]


class Scripted:
    """A poll that gives one answer after the other, then the last for ever."""

    def __init__(self, *answers: AccountProgress | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.is_through = threading.Event()

    def __call__(self) -> list[AccountProgress]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if len(self.answers) == 1 and self.asked > 4:
            self.is_through.set()
        if isinstance(answer, Exception):
            raise answer
        return [answer]


def progressed(done: int) -> AccountProgress:
    return AccountProgress(account="shop", rows=9, done={Status.UPDATED: done}, sent=done)


def ticking() -> Callable[[], float]:
    beat = iter(range(10_000))
    return lambda: float(next(beat))


def test_plain_lines_come_only_when_something_moved() -> None:
    file = io.StringIO()
    poll = Scripted(
        progressed(0), progressed(3), progressed(3), RuntimeError("changed size"), progressed(6)
    )
    with PlainDisplay(Console(file=file, width=40), poll, ticking(), every_s=0.01):
        assert poll.is_through.wait(WITHIN_S)
        until(lambda: file.getvalue().count("\n") == 2)
    assert file.getvalue().splitlines() == [
        "shop: 3 of 9 rows done, 3.0 requests/s, 2 s left",
        "shop: 6 of 9 rows done, 2.0 requests/s, 2 s left",
    ]
    asked = poll.asked
    time.sleep(0.03)
    assert poll.asked == asked  # nobody looks any more


def test_the_live_display_looks_by_itself_and_leaves_the_screen_as_it_was() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True)
    poll = Scripted(progressed(0), progressed(3), RuntimeError("changed size"), progressed(9))
    with LiveDisplay(console, poll, ticking()):
        assert poll.is_through.wait(WITHIN_S)
    told = file.getvalue()
    assert "3/9" in told
    assert "9/9" in told
    assert told.rstrip().endswith("\x1b[2K")  # the last it did was to clear its lines
    assert "\x1b[?25h" in told  # and the cursor is back


def test_an_error_inside_passes_through_the_displays() -> None:
    for display in (LiveDisplay, PlainDisplay):
        with (
            pytest.raises(KeyError),
            display(Console(file=io.StringIO()), Scripted(progressed(0))),
        ):
            raise KeyError
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_an_account_that_waits_gets_a_line_a_minute_without_a_terminal() -> None:
    """It sends nothing and nothing ends: whoever reads the log sees that it waits, and why."""
    file = io.StringIO()
    poll = Scripted(*[progressed(3)] * 200)
    with PlainDisplay(Console(file=file, width=40), poll, ticking(), every_s=0.001):
        assert poll.is_through.wait(WITHIN_S)
    lines = file.getvalue().splitlines()
    assert 3 <= len(lines) <= 5
    assert all(line.startswith("shop: 3 of 9 rows done") for line in lines)
