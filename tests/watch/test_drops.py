"""A short form of `make drops`: odd drops, two watchers, kills."""

from __future__ import annotations

from tests.watch.drops import play
from tests.workplace import configure, simulator


def test_each_good_file_is_sent_once_and_each_bad_one_is_quarantined(tmp_path):
    with simulator("--latency-ms", "5") as vendor:
        configure(tmp_path, vendor.base_url, in_flight=4)
        said, faults = play(tmp_path, 20, 5, vendor)
    assert not faults, said
    assert " 0 kills" not in said
