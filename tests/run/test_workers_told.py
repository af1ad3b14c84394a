"""How soon workers heed what another process knows: a pause, a stop, a slower quota."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.model.quota import Quota
from pipeline.run.history import slow, stop
from tests.busyness import busyness
from tests.cli.command import ended
from tests.postgres import PostgresServer
from tests.run.machines import STORES
from tests.run.test_workers import Place, place

PAUSE_S = 3.0
PAUSE = f"""
[[rule]]
path = "/coupon/c50$"
replies = [{'"ok", ' * 8}"429-seconds", "ok"]
retry_after_s = {PAUSE_S}
"""
REPLY_S = 0.03
"""Longest time from a request to its reply: the vendor is 20 ± 10 ms away."""
SLOW_PER_S = 20

pytestmark = [
    pytest.mark.quiet("what is sent too late is a fault"),
    pytest.mark.parametrize("store", STORES),
]


@contextmanager
def sending(
    folder: Path, server: PostgresServer, store: str, *arguments: str
) -> Iterator[tuple[Place, subprocess.Popen[str]]]:
    """A run of two workers, each with shares."""
    with place(folder, *arguments, rows=4000) as here:
        if store == "postgres":
            here.keep_in(server.new_database())
        process = here.begin("--workers", "2")
        here.until(lambda: len(here.pids()) == 2 and here.rows() > 150)
        yield here, process


def now_s(here: Place) -> float:
    """By the clock of the log."""
    return float(here.vendor.stats()["elapsed_s"])


def arrived_s(here: Place) -> Sequence[float]:
    """When each request arrived."""
    return [entry["arrived_s"] for entry in here.log()]


def test_a_pause_a_slower_quota_and_a_stop_reach_all_workers_in_time(tmp_path, postgres, store):
    (tmp_path / "script.toml").write_text(PAUSE)
    script = ("--script", str(tmp_path / "script.toml"))
    with (
        busyness(tmp_path) as machine,
        sending(tmp_path, postgres, store, *script) as (here, process),
    ):
        here.until(lambda: any(entry["status"] == 429 for entry in here.log()))
        time.sleep(PAUSE_S + 0.5)
        log = here.log()
        slow(here.config, here.run, "shop", Quota(SLOW_PER_S, 1.0))
        slowed_s = now_s(here)
        time.sleep(4.0)
        stop(here.config, here.run)
        stopped_s = now_s(here)
        done = ended(process)
        assert done.code == 143, done.err
        all_s = arrived_s(here)
    refused_s = next(entry["arrived_s"] for entry in log if entry["status"] == 429)
    after_s = [each["arrived_s"] - refused_s for each in log if each["arrived_s"] > refused_s]
    paused_s = max([each for each in after_s if each < PAUSE_S - 0.5], default=0.0)
    slowly = [each for each in all_s if slowed_s + 1.0 <= each < slowed_s + 4.0]
    last_s = max(all_s) - stopped_s
    print(
        f"the last request {paused_s:.3f} s after one was refused, {last_s:.3f} s after the stop;"
    )
    print(f"the machine was late by {machine.worst_s:.3f} s at most")
    print(f"{len(slowly)} in 3 s at {SLOW_PER_S}/s, from a second after the order on")
    assert len(after_s) > 50  # it was paused, not over
    assert paused_s < REPLY_S + 0.1 + machine.late_s
    assert len(slowly) <= 3 * SLOW_PER_S + 4  # each share rounds for itself
    assert last_s < 1.0 + machine.late_s
