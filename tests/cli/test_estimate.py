"""What is told before a run of how long it takes, and why."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

from pipeline.jobs.repeats import HOT
from pipeline.store import recent_samples
from tests.cli.command import Ended, typed
from tests.workplace import configure, coupon, drop


def said(ended: Ended) -> str:
    return " ".join(ended.out.replace("│", " ").split())


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_an_entity_that_bounds_the_run_is_named(shop):
    drop(shop, *map(coupon, range(1, 11)), *(coupon(row, "hot") for row in range(11, 411)))
    told = said(typed(shop, "check"))
    assert "410 requests, about 2 min: 400 rows for one entity are sent one by one" in told
    assert (
        "coupon:hot (first in row 11) appears 400 times. "
        "These rows are sent one by one: about 2 min "
        "if a reply takes 0.25 s"
    ) in told


def test_an_entity_that_bounds_nothing_is_not(shop, vendor):
    configure(shop, vendor.base_url, quota='"2/s"')
    drop(shop, *map(coupon, range(1, 101)), *(coupon(row, "hot") for row in range(101, 102 + HOT)))
    told = said(typed(shop, "check"))
    assert "coupon:hot" not in told
    assert "121 requests, about 2 min at 2/s" in told


def test_it_is_told_whether_a_run_is_through_in_time(shop, vendor):
    configure(shop, vendor.base_url, quota='"2/s"')
    drop(shop, *map(coupon, range(1, 101)), name="a.csv")
    drop(shop, *map(coupon, range(101, 201)), name="b.csv")
    told = said(typed(shop, "check", "--until", soon(80)))
    first, second = told.split("Would send")[1:]
    assert "finish about 30 s earlier" in first or "finish about 29 s earlier" in first, first
    assert "Will not finish by" not in first
    assert "Will not finish by" in second  # it comes after the first
    assert "continue with `pipeline resume`" in second


def test_a_learned_quota_says_how_it_begins(shop, vendor):
    configure(shop, vendor.base_url, quota='"auto"')
    drop(shop, *map(coupon, range(1, 21)))
    told = said(typed(shop, "check"))
    assert "20 requests, about 2 s: 10/s at the start; quota auto (learned)" in told
    done = typed(shop, "run", "--yes")
    assert done.code == 0, done
    assert "shop: learned from the replies; " in done.words


def test_how_long_replies_took_is_taken_from_the_last_run(shop, vendor):
    configure(shop, vendor.base_url, in_flight=1)
    drop(shop, *map(coupon, range(1, 11)), name="first.csv")
    assert typed(shop, "run", "--yes").code == 0
    (ledger,) = (shop / ".pipeline/runs").glob("*/ledger.db")
    assert sum(sum(each.latencies) for each in recent_samples(ledger, "shop", most=9)) == 10
    assert recent_samples(ledger, "other", most=9) == []
    slow = [0] * 37
    slow[22] = 10_000  # about 1.7 s
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE samples SET latencies = ?", (str(slow),))
    connection.close()
    drop(shop, *map(coupon, range(1, 101)), name="next.csv")
    told = said(typed(shop, "check", "inputs/xsolla.coupon/next.csv"))
    assert "about 3 min: in_flight 1 and a usual reply time of 1.7 s; quota 100000/s" in told
    ledger.write_bytes(b"damaged")
    told = said(typed(shop, "check", "inputs/xsolla.coupon/next.csv"))
    assert "100 requests, about 1 s at 100000/s" in told
