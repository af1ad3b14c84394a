from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.model import AccountProgress, Status
from pipeline.report.pace import WINDOW_S, Paces, eta_s, total


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


def test_what_is_remembered_is_bounded() -> None:
    paces = Paces()
    for tick in range(5000):
        paces.at(tick / 5, [account(0)])
    assert len(paces._samples["shop"]) <= WINDOW_S + 2


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
