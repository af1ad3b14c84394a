"""A run that is sent by worker processes: real ones, that are killed, stopped and woken."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, load_config
from pipeline.reporter import Summary, read_summary
from pipeline.run.history import stop
from pipeline.run.share_progress import parse_progress
from pipeline.runs import open_store
from pipeline.runs.registry import held_shares
from pipeline.store.seam import ShareChange, ShareState
from pipeline.vendors import load_vendors
from tests.cli.command import Ended, ended, pipeline, start
from tests.stopping import stop_between_commits
from tests.waiting import until
from tests.workplace import ENVIRON, Simulator, configure, coupon, drop, row_of, simulator

HANGS = """
[[rule]]
path = "/coupon/.*"
replies = ["timeout-after"]
"""
SHARES = "shares = 4\nattempts = 20"


class Place:
    """A run by workers in a folder, and who works on it."""

    def __init__(self, folder: Path, vendor: Simulator, **keys: Any) -> None:
        self.folder = folder
        self.vendor = vendor
        keys = {"quota": '"200/s"', "in_flight": 32, "more": SHARES, **keys}
        self.config: Config = configure(folder, vendor.base_url, **keys)

    def keep_in(self, url: str) -> None:
        """Keep runs in a database."""
        toml = self.folder / "pipeline.toml"
        toml.write_text(f'ledger = "{url}"\n{toml.read_text()}')
        vendors = load_vendors()
        self.config = load_config(None, environ=ENVIRON, vendors=vendors, cwd=self.folder)

    def begin(self, *options: str) -> subprocess.Popen[str]:
        """The process that starts the workers."""
        file = "inputs/xsolla.coupon/coupons.csv"
        return start(self.folder, "run", file, "--yes", *options)

    @property
    def run(self) -> str:
        """The name of the run."""
        (found,) = open_store(self.config).runs.names()
        return found

    def states(self) -> list[ShareState]:
        """The shares; none before they are given out."""
        names = open_store(self.config).runs.names()
        return [each for name in names for each in open_store(self.config).runs.shares(name)]

    def pids(self) -> list[int]:
        """The processes that have shares, each once."""
        held = [] if not self.states() else held_shares(self.config, self.run).values()
        return sorted({each.pid for each in held if each is not None})

    def rows(self) -> int:
        """Results that the workers told of."""
        return sum(parse_progress(each.progress).rows for each in self.states())

    def until(self, look: Callable[[], bool]) -> None:
        """Waits."""
        until(look, self.states)

    def summary(self) -> Summary:
        """Of the report."""
        return read_summary(self.config.reports / self.run / "summary.json")

    def log(self) -> list[dict[str, Any]]:
        """Of the simulator, in the order of arrival."""
        return sorted(self.vendor.get("log"), key=lambda entry: entry["seq"])


@contextmanager
def place(folder: Path, *arguments: str, rows: int = 800, **keys: Any) -> Iterator[Place]:
    """A file of rows for a hundred entities, and a simulator with a strict sliding window."""
    drop(folder, *(coupon(row, f"c{row % 100}") for row in range(1, rows + 1)))
    options = ("--quota", "200/s", "--latency-ms", "20", "--jitter-ms", "10", *arguments)
    with simulator(*options) as vendor:
        found = Place(folder, vendor, **keys)
        try:
            yield found
        finally:
            for pid in found.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            found.config.kept_store.close()


def judge(here: Place, *, lost_with: int = 0) -> None:
    """No row is lost, sent again after its answer, out of order or refused by the window.

    lost_with  rows that were in flight when a process was killed, at most: they may be sent twice
    """
    summary, log = here.summary(), here.log()
    assert sum(summary.statuses.values()) == summary.rows
    assert summary.statuses["updated"] == summary.rows, summary.statuses
    assert Counter(entry["status"] for entry in log).keys() <= {204}
    assert not [entry for entry in log if entry["status"] == 429]
    sent: dict[str, list[int]] = {}
    for entry in log:
        sent.setdefault(entry["id"], []).append(row_of(entry["body"]))
    times = Counter(row for rows in sent.values() for row in rows)
    assert set(times) == set(range(1, summary.rows + 1))
    assert sum(times.values()) - len(times) <= lost_with
    assert all(rows == sorted(rows) for rows in sent.values())


def test_two_workers_send_four_shares(tmp_path):
    with place(tmp_path) as here:
        done = ended(here.begin("--workers", "2"))
        assert done.code == 0, done.err
        judge(here)
        workers = here.summary().workers
        assert len(workers) == 2
        assert sum(each.rows for each in workers) == 800
        assert sum(each.requests for each in workers) == 800


def test_a_killed_worker_is_replaced_and_its_shares_go_on(tmp_path):
    with place(tmp_path, rows=800) as here:
        process = here.begin("--workers", "2")
        here.until(lambda: len(here.pids()) == 2 and here.rows() > 100)
        os.kill(here.pids()[0], signal.SIGKILL)
        done = ended(process)
        assert done.code == 0, done.err
        judge(here, lost_with=32)


def test_shares_that_a_killed_worker_had_yet_to_open_are_opened_by_the_next(tmp_path):
    with place(tmp_path) as here:
        process = here.begin("--workers", "0")
        here.until(lambda: bool(here.states()))
        open_store(here.config).runs.change_share(
            here.run, here.states()[1].share, ShareChange(is_open=True)
        )
        done = pipeline(tmp_path, "worker", here.run)
        assert done.code == 0, done.err
        assert ended(process).code == 0
        judge(here)


def test_the_workers_go_on_if_the_process_that_started_them_is_killed(tmp_path):
    with place(tmp_path, rows=2000) as here:
        process = here.begin("--workers", "2")
        here.until(lambda: here.rows() > 100)
        process.kill()
        process.communicate()
        workers = here.pids()
        for pid in workers:  # they do not end before somebody else has looked
            stop_between_commits(pid, here.config.ledger)
        busy = pipeline(tmp_path, "resume", here.run, "--yes")
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert busy.code == 2
        assert "workers send the shares" in busy.words
        here.until(lambda: not here.pids())
        assert all(each.is_done for each in here.states())
        done = pipeline(tmp_path, "resume", here.run, "--yes")
        assert done.code == 0, done.err
        judge(here)


def test_another_process_takes_the_place_of_the_one_that_was_killed(tmp_path):
    with place(tmp_path) as here:
        process = here.begin("--workers", "1")
        here.until(lambda: here.rows() > 100)
        process.kill()
        process.communicate()
        done = pipeline(tmp_path, "resume", here.run, "--yes", "--workers", "1")
        assert done.code == 0, done.err
        judge(here)


def test_a_stopped_worker_keeps_its_shares_until_it_goes_on(tmp_path):
    with place(tmp_path) as here:
        process = here.begin("--workers", "2")
        here.until(lambda: len(here.pids()) == 2 and here.rows() > 100)
        stopped, _ = here.pids()
        stop_between_commits(stopped, here.config.ledger)
        here.until(lambda: here.pids() == [stopped])
        told = pipeline(tmp_path, "runs", here.run)
        assert f"process {stopped}, which is stopped and keeps the share" in told.out
        assert process.poll() is None
        os.kill(stopped, signal.SIGCONT)
        done = ended(process)
        assert done.code == 0, done.err
        judge(here)


def test_a_worker_joins_and_one_is_enough(tmp_path):
    with place(tmp_path) as here:
        process = here.begin("--workers", "0")
        here.until(lambda: bool(here.states()))
        joined = pipeline(tmp_path, "worker")
        assert joined.code == 0, joined.err
        assert ended(process).code == 0
        judge(here)


def test_a_worker_with_nothing_to_do_says_so(tmp_path):
    configure(tmp_path, "http://127.0.0.1:1")
    done = pipeline(tmp_path, "worker")
    assert done.code == 0
    assert "no run has a share to send; `pipeline run FILE --workers N`" in done.words
    waiting = start(tmp_path, "worker", "--wait")
    assert waiting.stderr is not None
    assert "waiting for runs" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGTERM)
    assert ended(waiting).code == 143


def test_a_share_that_no_process_got_on_with_stops_its_account(tmp_path):
    (tmp_path / "script.toml").write_text(HANGS)
    with place(tmp_path, "--script", str(tmp_path / "script.toml"), rows=200) as here:
        process = here.begin("--workers", "0")
        here.until(lambda: bool(here.states()) and all(each.progress for each in here.states()))
        runs, share = open_store(here.config).runs, here.states()[0].share
        four = ShareChange(attempts=4)  # they were killed before they had a reply
        runs.change_share(here.run, share, four)
        worker = start(tmp_path, "worker", here.run)
        here.until(lambda: here.pids() == [worker.pid] and here.states()[0].attempts == 5)
        worker.kill()
        worker.communicate()
        assert pipeline(tmp_path, "worker", here.run).code == 3
        done = ended(process)
        assert done.code == 3, done.err
        assert "was given up" in done.words


def stopped_by(here: Place, stop: Callable[[subprocess.Popen[str]], None]) -> Ended:
    """How a run ended that was stopped on its way."""
    process = here.begin("--workers", "2")
    here.until(lambda: here.rows() > 100)
    stop(process)
    return ended(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_workers_and_the_run_is_resumed(tmp_path, number):
    with place(tmp_path, rows=800) as here:
        done = stopped_by(here, lambda process: process.send_signal(number))
        assert done.code == 128 + number
        assert not here.pids()
        assert here.summary().statuses["not_attempted"] > 0
        assert pipeline(tmp_path, "worker", here.run).code == 1  # nothing is given out
        again = pipeline(tmp_path, "resume", here.run, "--yes", "--workers", "2")
        assert again.code == 0, again.err
        judge(here)


def test_an_order_stops_all_workers(tmp_path):
    with place(tmp_path, rows=2000) as here:
        done = stopped_by(here, lambda _: stop(here.config, here.run))
        assert done.code == 143
        assert "stopped by `pipeline runs --stop`" in done.words
        assert not here.pids()


def test_a_condition_counts_the_rows_of_all_workers(tmp_path):
    with place(tmp_path, rows=2000) as here:
        done = ended(here.begin("--workers", "2", "--stop-if", "changes > 400"))
        assert done.code == 3, done.err
        assert "changes > 400" in done.words
        updated = here.summary().statuses["updated"]
        assert 400 < updated < 4 * 400  # as if each share counted its own


def test_a_bad_credential_costs_one_request_and_not_one_a_worker(tmp_path):
    with place(tmp_path, "--strict-ids", more=SHARES) as here:
        text = (tmp_path / "pipeline.toml").read_text()
        (tmp_path / "pipeline.toml").write_text(text.replace("44056", "44057"))
        done = ended(here.begin("--workers", "2"))
        assert done.code == 3, done.err
        assert here.vendor.stats()["requests"] < 60
