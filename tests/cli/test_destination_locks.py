"""Two processes, one account: the second one waits and says for whom, or leaves."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cli.command import ended, start, typed
from tests.workplace import configure, coupon, drop

SECOND = range(110, 120)  # the last rows of the first file, too


@pytest.fixture
def busy(tmp_path, vendor):
    """A folder where a process sends to the account, slowly."""
    configure(tmp_path, vendor.base_url, quota='"20/s"', in_flight=4)
    drop(tmp_path, *map(coupon, range(1, 121)), name="first.csv")
    first = start(tmp_path, "run", "--yes", "inputs/xsolla.coupon/first.csv")
    try:
        while vendor.stats()["requests"] < 5:
            assert first.poll() is None
            time.sleep(0.02)
        drop(tmp_path, *map(coupon, SECOND), name="second.csv")
        yield tmp_path, vendor, first
    finally:
        if first.poll() is None:
            first.send_signal(signal.SIGKILL)
        first.communicate()


def test_the_second_one_waits_and_says_for_whom(busy):
    folder, vendor, first = busy
    second = typed(folder, "run", "--yes", "inputs/xsolla.coupon/second.csv")
    assert ended(first).code == 0
    assert second.code == 0, second
    assert f"process {first.pid}" in second.words
    rows = [entry["id"] for entry in vendor.get("log")]
    assert sorted(rows[-10:]) == [f"c{n}" for n in SECOND]


def test_with_no_wait_it_leaves_and_nothing_is_sent(busy):
    folder, vendor, first = busy
    second = typed(folder, "run", "--yes", "--no-wait", "inputs/xsolla.coupon/second.csv")
    assert second.code == 4, second
    assert f"process {first.pid}" in second.words
    assert not {entry["id"] for entry in vendor.get("log")} & {f"c{n}" for n in SECOND}


def test_a_process_that_died_holds_nothing(busy):
    folder, _vendor, first = busy
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = typed(folder, "run", "--yes", "--no-wait", "inputs/xsolla.coupon/second.csv")
    assert second.code == 0, second
