"""The simulation of many machines gives known answers, and the page shows what it gives."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.fleet import COMMIT_EVERY_S, MAX_AHEAD, Fleet, Outcome, Workload, simulate
from tests.benchmarks.limits import FIGURES, PAGE, beside, figures_of, page, read, text_of

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
    assert PAGE.read_text() == page(*read()), "make limits"


def test_what_is_kept_is_written_as_it_stands():
    kept, _ = read()
    assert FIGURES.read_text() == text_of(kept)


def test_every_figure_has_a_value_and_an_origin():
    figures = figures_of(*read()).values()
    assert all(each.value > 0 and each.says and each.origin for each in figures)


def test_a_new_benchmark_changes_the_figures_that_it_measures():
    kept, made = read()
    entry = {"name": "pipeline, sending", "scheme": "https", "runs": [{"cpu_us": 1234.0}]}
    others = [each for each in made["entries"] if each["name"] != entry["name"]]
    plain = [each for each in made["entries"] if each["name"] == entry["name"]]
    http = [each for each in plain if each["scheme"] == "http"]
    changed = {**made, "made": "2031-05-01T00:00", "entries": [*others, *http, entry]}
    figure = figures_of(kept, changed)["send_us"]
    assert figure.value == pytest.approx(1230)
    assert "2031-05-01" in figure.origin


def test_what_was_measured_stands_beside_its_simulation():
    costs = {name: each.value for name, each in figures_of(*read()).items()}
    measured = dict.fromkeys(
        (
            *("prepare_s", "send_s", "report_s", "prepare_us", "send_us", "report_us"),
            *("database_us", "server_us", "record_bytes", "database_folder_gb", "run_bytes"),
            *("worker_mb", "first_mb", "database_mb", "server_cores"),
        ),
        50.0,
    )
    measured |= {"rows": 10_000, "workers": 4, "cores": 2, "made": "2026-05-01", "server": "nginx"}
    text = beside(measured, costs)
    assert "50 s, 200 rows/s" in text
    assert f"| {costs['record_bytes']:.0f} B | 50 B |" in text
    assert beside(None, costs) == ""
