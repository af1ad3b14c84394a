"""Two processes, two accounts, one credential: they share its quota by turns.

The judge is the simulator's strict window: a request too many is refused there, and stands in its
log.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.store import Lock
from tests.busyness import busyness
from tests.cli.command import ended, environment, start
from tests.stopping import stop_between_commits
from tests.waiting import settled, until
from tests.workplace import COLUMNS, CONFIG, Simulator, coupon, simulator

PER_S = 80
PROJECTS = {"a": "44056", "b": "44057"}
MERCHANT = "merchant_id = 7001"
PAUSE_RULE = """
[[rule]]
path = "/project/44056/.*/c40$"
replies = ["429-seconds", "ok"]
retry_after_s = 3
"""


def side(folder: Path, vendor: Simulator, name: str, *, rows: int, shares: int) -> None:
    """A configuration and a file of this name."""
    more = f"{MERCHANT}\nshares = {shares}"
    text = CONFIG.format(base_url=vendor.base_url, quota=f'"{PER_S}/s"', in_flight=16, more=more)
    (folder / f"{name}.toml").write_text(text.replace("44056", PROJECTS[name]))
    lines = [COLUMNS, *map(coupon, range(1, rows + 1))]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


@contextmanager
def two_sides(
    folder: Path, *options: str, rows: int, shares: int = 1
) -> Iterator[tuple[Simulator, Callable]]:
    """The simulator, and what starts `pipeline run` for "a" or "b"."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str) -> subprocess.Popen[str]:
        words = ("run", "--yes", "--operation", "xsolla.coupon", f"{name}.csv")
        started.append(start(folder, *words, env=environment(PIPELINE_CONFIG=f"{name}.toml")))
        return started[-1]

    with simulator("--quota", f"{PER_S}/s", "--latency-ms", "10", *options) as vendor:
        for name in PROJECTS:
            side(folder, vendor, name, rows=rows, shares=shares)
        try:
            yield vendor, begin
        finally:
            for process in started:
                process.kill()
                process.communicate()


def waits(folder: Path) -> bool:
    """Whether a process stands in line for the gate."""
    with closing(sqlite3.connect(folder / ".pipeline" / "ledger.db")) as connection:
        query = "SELECT count(*) FROM wishes WHERE lease LIKE 'quota %'"
        return bool(connection.execute(query).fetchone()[0])


def holder(folder: Path) -> int:
    """The process that holds the gate; 0 while none does."""
    (path,) = folder.glob(".pipeline/locks/quota-" + "[0-9a-f]" * 16)
    lock = Lock(path)
    found = lock.holder()
    return found.pid if found and lock.is_locked() else 0


def stop(process: subprocess.Popen[str], folder: Path) -> None:
    """It stands still when this returns, and its quotas are the only thing that it keeps."""
    stop_between_commits(process.pid, folder / ".pipeline" / "ledger.db")


def both_under_way(folder: Path, vendor: Simulator, begin: Callable) -> list[subprocess.Popen[str]]:
    """One that sends, and one that waits for the gate: however long each takes to start."""
    first = begin("a")
    until(lambda: vendor.stats()["requests"] > 5)
    stop(first, folder)
    second = begin("b")
    until(lambda: waits(folder))
    first.send_signal(signal.SIGCONT)
    return [first, second]


def stopped_holder(folder: Path, sides: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """The one that holds the gate while the other waits; it is stopped and holds it still.

    One that had let go before the signal came goes on.
    """
    by_pid = {process.pid: process for process in sides}
    while True:
        found = until(lambda: waits(folder) and by_pid.get(holder(folder)))
        stop(found, folder)
        if holder(folder) == found.pid:
            return found
        found.send_signal(signal.SIGCONT)


def pauses_on_record(folder: Path) -> int:
    """How many quotas wait because a vendor asked for it."""
    with closing(sqlite3.connect(folder / ".pipeline" / "ledger.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM pauses").fetchone()[0])


def log_of(vendor: Simulator) -> list[tuple[float, str, int]]:
    """When it arrived, whose it was, how it was answered: of each request, in order."""
    return sorted((each["arrived_s"], each["scope"], each["status"]) for each in vendor.get("log"))


def test_they_take_turns_and_one_that_is_stopped_exceeds_nothing_when_it_goes_on(tmp_path):
    rows = 2 * PER_S
    with two_sides(tmp_path, rows=rows) as (vendor, begin):
        sides = both_under_way(tmp_path, vendor, begin)
        stopped = stopped_holder(tmp_path, sides)
        before = settled(lambda: vendor.stats()["requests"], 0.5)  # what it had sent arrives
        time.sleep(1.0)
        assert holder(tmp_path) == stopped.pid
        assert vendor.stats()["requests"] == before  # the other one waits
        stopped.send_signal(signal.SIGCONT)
        assert [ended(process).code for process in sides] == [0, 0]
        log = log_of(vendor)
    assert {status for _, _, status in log} == {204}
    assert len(log) == 2 * rows
    whose = [scope for _, scope, _ in log]
    assert sum(one != other for one, other in pairwise(whose)) >= 2


def test_after_one_was_killed_the_next_takes_over_and_no_window_is_exceeded(tmp_path):
    with two_sides(tmp_path, rows=2 * PER_S) as (vendor, begin):
        sides = both_under_way(tmp_path, vendor, begin)
        killed = stopped_holder(tmp_path, sides)
        killed.kill()
        (other,) = (process for process in sides if process is not killed)
        assert ended(other).code == 0
        log = log_of(vendor)
    assert {status for _, _, status in log} == {204}
    assert 2 * PER_S in Counter(scope for _, scope, _ in log).values()


@pytest.mark.quiet("what arrives more than 0.2 s after a pause began is a fault")
def test_a_pause_holds_for_both_also_after_whoever_heard_of_it_was_killed(tmp_path):
    (tmp_path / "script.toml").write_text(PAUSE_RULE)
    script = ("--script", str(tmp_path / "script.toml"))
    # so many rows that "b" has some left when "a" comes to its 40th, whoever is slow
    with (
        busyness(tmp_path) as machine,
        two_sides(tmp_path, *script, rows=4 * PER_S) as (vendor, begin),
    ):
        first = begin("a")
        until(lambda: vendor.stats()["requests"] > 5)
        other = begin("b")
        until(lambda: vendor.stats()["statuses"].get("429"))
        until(lambda: pauses_on_record(tmp_path))
        first.kill()
        assert ended(other).code == 0
        log = log_of(vendor)
    paused_s = next(at_s for at_s, _, status in log if status == 429)
    after_s = [at_s - paused_s for at_s, _, _ in log if at_s > paused_s]
    assert not [
        each for each in after_s if 0.6 + machine.late_s < each < 3.0
    ]  # before that it was under way
    assert max(after_s) > 3.0


def test_one_that_waits_can_be_interrupted_and_is_in_nobodys_way_then(tmp_path):
    with two_sides(tmp_path, rows=2 * PER_S) as (vendor, begin):
        holds = begin("a")
        until(lambda: vendor.stats()["requests"] > 5)
        stop(holds, tmp_path)
        waiting = begin("b")
        until(lambda: waits(tmp_path))
        waiting.send_signal(signal.SIGINT)
        assert ended(waiting).code == 130
        assert not waits(tmp_path)
        holds.send_signal(signal.SIGCONT)
        assert ended(holds).code == 0
        log = log_of(vendor)
    assert len(log) == 2 * PER_S
    assert {(scope, status) for _, scope, status in log} == {("44056", 204)}


def test_they_take_turns_at_each_share_and_no_window_is_exceeded(tmp_path):
    with two_sides(tmp_path, rows=2 * PER_S, shares=4) as (vendor, begin):
        sides = [begin("a"), begin("b")]
        assert [ended(process).code for process in sides] == [0, 0]
        log = log_of(vendor)
    assert Counter((scope, status) for _, scope, status in log) == {
        ("44056", 204): 2 * PER_S,
        ("44057", 204): 2 * PER_S,
    }
