"""A watcher that was started before `shares` was changed in its configuration."""

from __future__ import annotations

import signal

from pipeline.runs import open_store
from tests.cli.command import ended, pipeline, start
from tests.run.test_workers import SHARES, Place, judge, place
from tests.stopping import stop_between_commits
from tests.waiting import until
from tests.workplace import configure, coupon, drop


def change_shares(here: Place) -> None:
    keys = {"quota": '"200/s"', "in_flight": 32}
    configure(here.folder, here.vendor.base_url, **keys, more=SHARES.replace("4", "2"))


def test_a_watcher_keeps_the_number_that_it_read_and_no_other_process_mixes_in_its_own(tmp_path):
    """The strict window of the simulator judges what both send."""
    with place(tmp_path) as here:
        by_hand = drop(tmp_path, *map(coupon, range(1, 201)), name="by_hand.csv")
        by_hand = by_hand.rename(tmp_path / by_hand.name)
        options = ("run", str(by_hand), "--yes", "--operation", "xsolla.coupon")
        watcher = start(tmp_path, "watch", "--settle", "0.2")
        until(open_store(here.config).runs.names)
        stop_between_commits(watcher.pid, here.config.ledger)
        change_shares(here)
        refused = pipeline(tmp_path, *options)
        watcher.send_signal(signal.SIGCONT)
        assert refused.code == 2, refused.err
        assert f"run {here.run} is unfinished and began with shares = 4" in refused.words
        until(lambda: list(tmp_path.glob("inputs/*/.done/*/report")))
        assert pipeline(tmp_path, *options).code == 0
        watcher.send_signal(signal.SIGTERM)
        told = ended(watcher)
        assert told.code == 143
        assert told.words.count("pipeline.toml changed. This process goes on with what it") == 1
        assert {entry["status"] for entry in here.log()} == {204}


def test_the_workers_of_a_watcher_keep_the_number_that_it_read(tmp_path):
    with place(tmp_path) as here:
        kept = here.folder / "inputs/xsolla.coupon/coupons.csv"
        aside = kept.rename(tmp_path / kept.name)
        watcher = start(tmp_path, "watch", "--settle", "0.2", "--workers", "2")
        assert watcher.stderr is not None
        assert "Watching" in watcher.stderr.readline()
        change_shares(here)
        aside.rename(kept)
        until(lambda: list(tmp_path.glob("inputs/*/.done/*/report")))
        watcher.send_signal(signal.SIGTERM)
        assert ended(watcher).code == 143
        judge(here)


def test_what_workers_have_sent_to_its_end_is_reported_whatever_the_number_is_by_now(tmp_path):
    """Nothing is left to send in other shares."""
    with place(tmp_path, rows=600) as here:
        watcher = start(tmp_path, "watch", "--settle", "0.2", "--workers", "2")
        here.until(lambda: here.rows() > 100)
        watcher.kill()
        watcher.communicate()
        change_shares(here)
        here.until(lambda: not here.pids())
        watcher = start(tmp_path, "watch", "--settle", "0.2", "--workers", "2")
        try:
            until(lambda: list(tmp_path.glob("inputs/*/.done/*/report")))
        finally:
            watcher.send_signal(signal.SIGTERM)
            told = ended(watcher)
        assert told.code == 143
        judge(here)
