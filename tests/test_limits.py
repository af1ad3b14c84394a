"""The simulation of many machines gives known answers, and the page shows what it gives."""

from __future__ import annotations

import json
import math

import pytest

from tests.benchmarks.fleet import COMMIT_EVERY_S, MAX_AHEAD, Fleet, Outcome, Workload, simulate
from tests.benchmarks.limits import FIGURES, PAGE, costs_of, page

COSTS = {
    "take_us": 3.0,
    "bind_us": 7.0,
    "send_us": 90.0,
    "record_us": 10.0,  # 10,000 rows a second for a core
    "report_us": 20.0,
    "commit_us": 400.0,
    "commit_row_us": 5.0,
    "quota_used": 1.0,
    "claims_per_s": 800.0,
}


def sent(rows: int, *, workers: int = 1, databases: int = 1, **load: float) -> Outcome:
    fleet = Fleet(workers=workers, databases=databases)
    return simulate(Workload(rows=rows, **load), fleet, COSTS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "fleet", "send_s", "limit"),
    [
        # the quota alone
        ({"rows": 720_000, "per_s": 200}, {}, 3600, "quota"),
        # parts of a quota add up to it
        ({"rows": 720_000, "per_s": 200, "shares": 4}, {"workers": 4}, 3600, "quota"),
        # as many accounts take as long as one, on one worker or more
        ({"rows": 7_200_000, "per_s": 200, "accounts": 10}, {"workers": 10}, 3600, "quota"),
        # requests in flight: 64 at a time, 0.1 s each
        ({"rows": 640_000, "latency_s": 0.1}, {}, 1000, "quota"),
        # the core of a worker, with one account or ten
        ({"rows": 1_000_000, "latency_s": 0.001}, {}, 100, "cores of workers"),
        ({"rows": 10_000_000, "accounts": 10}, {"workers": 1}, 1000, "cores of workers"),
        # the database: 5 us a row, and 400 us for each of the largest commits
        (
            {"rows": 100_000_000, "accounts": 100},
            {"workers": 100},
            100e6 * (5e-6 + 400e-6 / MAX_AHEAD),
            "database",
        ),
        # two of them
        (
            {"rows": 100_000_000, "accounts": 100, "latency_s": 0.01},
            {"workers": 100, "databases": 2},
            100e6 * (5e-6 + 400e-6 / MAX_AHEAD) / 2,
            "database",
        ),
    ],
)
def test_a_run_takes_as_long_as_what_bounds_it(load, fleet, send_s, limit):
    outcome = sent(**load, **fleet)
    assert outcome.limit == limit
    # until the shares are spread, one worker waits 0.3 s for each that it has
    assert outcome.send_s == pytest.approx(send_s, rel=0.01, abs=15)


def test_one_account_of_200_a_second_sends_720_000_rows_in_an_hour():
    assert sent(720_000, per_s=200).send_s == pytest.approx(3600)


def test_more_workers_than_accounts_change_nothing():
    few, many = sent(10_000, per_s=10, workers=1), sent(10_000, per_s=10, workers=50)
    assert few.send_s == pytest.approx(many.send_s)


def test_prepare_and_report_are_the_work_of_one_process_for_each_file():
    load = Workload(rows=1_000_000, per_s=1000)
    one, ten = (simulate(load, Fleet(planners=each), COSTS) for each in (1, 10))
    assert (one.prepare_s, one.report_s) == pytest.approx((10.0, 20.0))
    assert ten.prepare_s == pytest.approx(1.0)


def test_a_worker_takes_shares_ever_more_slowly_and_leaves_them_to_others():
    alone = sent(10_000_000, per_s=20, accounts=10)
    together = sent(10_000_000, per_s=20, accounts=10, workers=10)
    assert alone.spread_s == pytest.approx(0.3 * sum(range(10)), abs=0.1)
    assert together.spread_s < 0.1


def test_commits_that_queue_grow_instead_of_slowing_the_rows():
    outcome = sent(20_000_000, per_s=20, accounts=1000, workers=100)
    assert outcome.limit == "quota"
    assert outcome.database_use == pytest.approx(1.0)
    assert outcome.commit_wait_s > COMMIT_EVERY_S
    assert outcome.commit_wait_s * 20 < MAX_AHEAD  # rows in a commit


def test_leases_are_renewed_at_a_quarter_of_their_time():
    assert sent(100_000, per_s=20, accounts=100, workers=10).renewals_per_s == 100 / (15 / 4)


def test_no_share_of_no_row_is_lost():
    outcome = sent(1_000_003, per_s=math.inf, accounts=7, shares=3, workers=4)
    assert outcome.rows_per_s * outcome.send_s == pytest.approx(1_000_003)


def test_the_page_shows_what_is_simulated():
    assert PAGE.read_text() == page(json.loads(FIGURES.read_text())), "make limits"


def test_every_figure_has_an_origin():
    figures = json.loads(FIGURES.read_text())
    assert all({"value", "says", "origin"} == set(each) for each in figures.values())
    assert all(value > 0 for value in costs_of(figures).values())
