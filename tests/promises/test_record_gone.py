"""A run whose record is removed sends nothing more: what is not on record may not be sent."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.command import ended, start
from tests.waiting import until
from tests.workplace import configure, coupon, drop, simulator

IN_FLIGHT = 4


@pytest.mark.parametrize("gone", [".pipeline", ".pipeline/runs"])
def test_a_run_whose_record_is_removed_stops_at_once_and_says_so(tmp_path, gone):
    with simulator("--latency-ms", "10") as vendor:
        configure(tmp_path, vendor.base_url, quota='"100/s"', in_flight=IN_FLIGHT)
        drop(tmp_path, *map(coupon, range(1, 2001)))
        run = start(tmp_path, "run", "--yes", "inputs/xsolla.coupon")
        until(lambda: vendor.stats()["requests"] >= 50)
        shutil.rmtree(tmp_path / gone, ignore_errors=True)
        done = ended(run)
        requests = vendor.stats()["requests"]
    assert done.code == 3
    assert "ledger.db is gone" in done.words
    assert "cannot be resumed" in done.words
    assert "resume 2" not in done.words
    assert requests < 500, "it went on"
