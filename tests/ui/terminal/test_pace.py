from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.model import AccountProgress, Status
from pipeline.ui.terminal.pace import WINDOW_S, Paces, eta_s, total


def account(done: int, rows: int = 1000, **more: object) -> AccountProgress:
    return AccountProgress(
        **{"account": "shop", "rows": rows, "done": {Status.UPDATED: done}, "sent": done} | more  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("remaining", "rate_per_s", "quota_per_s", "pause_left_s", "expected"),
    [
        (600, 12.0, 20.0, 0.0, 50.0),  # as it went of late
        (600, 0.0, 20.0, 0.0, 30.0),  # nothing ended yet: the quota at best
        (600, 60.0, 20.0, 0.0, 30.0),  # a burst does not last
        (600, 12.0, 0.0, 0.0, 50.0),  # no quota known
        (600, 0.0, 0.0, 0.0, None),  # nothing known at all
        (600, 12.0, 20.0, 9.0, 59.0),  # a pause comes on top
        (0, 12.0, 20.0, 9.0, 0.0),  # nothing left: nothing to wait for
        (-1, 12.0, 20.0, 0.0, 0.0),
    ],
)
def test_time_left(
    remaining: int,
    rate_per_s: float,
    quota_per_s: float,
    pause_left_s: float,
    expected: float | None,
) -> None:
    assert eta_s(remaining, rate_per_s, quota_per_s, pause_left_s) == expected


def test_the_pace_is_that_of_the_last_seconds() -> None:
    paces = Paces()
    for second in range(100):
        (pace,) = paces.at(float(second), [account(done=10 * min(second, 50))])
        if second == 20:
            assert (pace.sent_per_s, pace.left_s) == (10.0, 80.0)
    assert pace.sent_per_s == 0.0  # nothing moved for longer than we look back


def test_a_display_that_looked_away_still_sees_the_pace() -> None:
    paces = Paces()
    paces.at(0.0, [account(0)])
    (pace,) = paces.at(10 * WINDOW_S, [account(600)])
    assert pace.sent_per_s == 2.0


def test_a_pause_says_nothing_of_how_fast_rows_go() -> None:
    paces = Paces()
    for second in range(11):
        paces.at(float(second), [account(done=10 * second, quota_per_s=100.0)])
    paces.at(10.0, [account(done=100, quota_per_s=100.0, pause_left_s=600.0)])
    for second in (20, 300, 600):
        left_s = 610.0 - second
        paused = account(done=100, quota_per_s=100.0, pause_left_s=left_s)
        (pace,) = paces.at(float(second), [paused])
        assert pace.left_s == pytest.approx(left_s + 90.0)  # 900 rows at 10 a second, then
    assert pace.sent_per_s == 0.0
    paces.at(610.0, [account(done=100, quota_per_s=100.0)])
    (pace,) = paces.at(620.0, [account(done=200, quota_per_s=100.0)])
    assert pace.left_s == pytest.approx(80.0)


def test_in_a_long_pause_nothing_is_heaped_up() -> None:
    paces = Paces()
    for tick in range(5000):
        paces.at(tick / 5, [account(0, pause_left_s=900.0)])
    assert len(paces._courses["shop"].samples) == 1


def test_while_a_vendor_is_down_nobody_knows_how_long_it_takes() -> None:
    paces = Paces()
    paces.at(0.0, [account(0)])
    (pace,) = paces.at(10.0, [account(100, is_probing=True)])
    assert pace.left_s is None
    paces.at(300.0, [account(100)])
    (pace,) = paces.at(310.0, [account(200)])
    assert pace.left_s == pytest.approx(80.0)  # as before it was down
    (done,) = paces.at(311.0, [account(1000, is_probing=True)])
    assert done.left_s == 0.0


@pytest.mark.parametrize(
    ("quota_per_s", "rate_per_s", "expected_s"),
    [
        (100.0, 100.0, 10.0),
        (100.0, 10.0, 100.0),  # the vendor, or somebody, wants it slower
        (10.0, 0.0, 100.0),  # in bursts, and no more than that in the long run
        (0.0, 10.0, 100.0),  # learned
    ],
)
def test_the_lower_of_quota_and_rate_in_force_counts(
    quota_per_s: float, rate_per_s: float, expected_s: float
) -> None:
    (pace,) = Paces().at(0.0, [account(0, quota_per_s=quota_per_s, rate_per_s=rate_per_s)])
    assert pace.left_s == expected_s


def test_what_is_remembered_is_bounded() -> None:
    paces = Paces()
    for tick in range(5000):
        paces.at(tick / 5, [account(0)])
    assert len(paces._courses["shop"].samples) <= WINDOW_S + 2


def test_a_stopped_account_keeps_nobody_waiting() -> None:
    stopped, going = account(1, stopped="refused"), account(0, account="eu", quota_per_s=10.0)
    paces = Paces().at(0.0, [stopped, going])
    assert [pace.left_s for pace in paces] == [0.0, 100.0]
    assert total(paces).left_s == 100.0


def test_the_slowest_account_says_when_all_are_through() -> None:
    paces = Paces().at(0.0, [account(0, quota_per_s=10.0), account(0, quota_per_s=1.0)])
    assert total(paces).left_s == 1000.0
    assert total(Paces().at(0.0, [account(0, quota_per_s=1.0), account(0)])).left_s is None
    assert total(()).left_s == 0.0


def test_wrong_are_the_rows_that_did_not_succeed() -> None:
    done = {Status.UPDATED: 5, Status.REJECTED: 2, Status.UNKNOWN: 1}
    (pace,) = Paces().at(0.0, [replace(account(0), done=done)])
    assert (pace.done, pace.wrong) == (8, 3)


def test_rows_that_an_earlier_process_ended_are_done_and_say_nothing_of_the_pace() -> None:
    paces = Paces()
    before = {Status.UPDATED: 590, Status.REJECTED: 10}
    for second in range(11):
        (pace,) = paces.at(float(second), [replace(account(done=10 * second), done_before=before)])
    assert (pace.done, pace.wrong, pace.left_s) == (700, 10, 30.0)
