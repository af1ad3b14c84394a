"""A watched folder whose files are sent by worker processes; those and the watcher are killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.command import Ended, ended, start, start_anew
from tests.postgres import PostgresServer
from tests.run.machines import STORES
from tests.run.test_workers import Place, judge, place
from tests.workplace import drop

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture(params=STORES)
def here(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[Place]:
    """A dropped file of rows for a hundred entities, on each store."""
    with place(tmp_path, rows=800) as found:
        if request.param == "postgres":
            found.keep_in(postgres.new_database())
        yield found


@pytest.fixture
def watching(here: Place) -> Iterator[Begin]:
    """Starts watchers; none outlives its test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> subprocess.Popen[str]:
        begun.append(start(here.folder, "watch", "--settle", "0.2", *options))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def is_done(here: Place) -> bool:
    return bool(list(here.folder.glob("inputs/*/.done/*/report/summary.json")))


KEY = """\
#!/bin/sh
tr '\\0' '\\n' < /proc/$PPID/cmdline | grep -qx worker && exit 1
echo simulator-key
"""
"""A command that gives no worker the secret. It knows one by the words that it was started with."""


def stopped(process: subprocess.Popen[str]) -> Ended:
    process.send_signal(signal.SIGTERM)
    return ended(process)


def killed_while_workers_send(here: Place, watching: Begin) -> list[int]:
    """The workers of a watcher that was killed; they send."""
    watcher = watching("--workers", "2")
    here.until(lambda: here.rows() > 100)
    watcher.kill()
    watcher.communicate()
    return here.pids()


def test_workers_send_a_dropped_file(here, watching):
    watcher = watching("--workers", "2")
    here.until(lambda: is_done(here))
    assert stopped(watcher).code == 143
    judge(here)
    assert sum(each.rows for each in here.summary().workers) == 800


@pytest.mark.parametrize("options", [("--workers", "2"), ()])
def test_workers_go_on_without_their_watcher_and_the_next_one_reports(here, watching, options):
    before = killed_while_workers_send(here, watching)
    assert before
    watcher = watching(*options)
    here.until(lambda: is_done(here))
    told = stopped(watcher)
    assert told.code == 143
    assert "was moved to" not in told.words  # it is no fault of the file
    judge(here)


def test_a_watcher_and_its_workers_are_killed_and_the_next_one_sends_the_rest(here, watching):
    for pid in killed_while_workers_send(here, watching):
        os.kill(pid, signal.SIGKILL)
    watcher = watching("--workers", "2")
    here.until(lambda: is_done(here))
    assert stopped(watcher).code == 143
    judge(here, lost_with=64)


def test_a_signal_stops_the_workers_and_the_next_watcher_goes_on(here, watching):
    watcher = watching("--workers", "2")
    here.until(lambda: here.rows() > 100)
    told = stopped(watcher)
    assert told.code == 143
    assert "the next start resumes it" in told.words
    assert not here.pids()
    watcher = watching("--workers", "1")
    here.until(lambda: is_done(here))
    assert stopped(watcher).code == 143
    judge(here)


def test_a_file_whose_workers_all_refuse_stays_for_the_next_start(tmp_path):
    with place(tmp_path, rows=400) as here:
        toml, key = tmp_path / "pipeline.toml", tmp_path / "key.sh"
        toml.write_text(toml.read_text().replace("env:SHOP_KEY", f"command:sh {key}"))
        key.write_text(KEY)
        watcher = start_anew(tmp_path, "watch", "--settle", "0.2", "--workers", "2")
        try:
            here.until(lambda: bool(here.states()) and not list(tmp_path.glob("inputs/*/*.csv")))
            report = here.config.reports / here.run / "summary.json"
            here.until(report.exists)
            drop(tmp_path, "cut", name="broken.csv")  # it goes on with other files
            here.until(lambda: bool(list(tmp_path.glob("inputs/*/.failed/*/broken.csv"))))
        finally:
            told = stopped(watcher)
        assert "coupons.csv waits for the next start: the run ended early: no worker" in told.words
        assert "the command sh failed" in told.words
        key.write_text("echo simulator-key")
        watcher = start(tmp_path, "watch", "--settle", "0.2", "--workers", "2")
        try:
            here.until(lambda: is_done(here))
        finally:
            stopped(watcher)
        judge(here)
