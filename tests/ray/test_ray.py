"""Workers that a real Ray starts: killed with their processes, their node, their driver."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.ray.faults import FAULTS, NO_FAULT, attempt, run
from tests.ray.stage import BIN, TOKEN, WAIT_S, staged
from tests.torture.fault_table import judged
from tests.waiting import until
from tests.workplace import row_of

pytestmark = [
    pytest.mark.skipif(not (BIN / "ray").exists(), reason="no Ray here: make test-ray"),
    pytest.mark.timeout(900),
]
FAULTY = [name for name in FAULTS if name != NO_FAULT]


@pytest.mark.parametrize(
    ("name", "workers"), [*((name, 2) for name in FAULTY), ("actor killed", 4)]
)
def test_no_row_is_lost_sent_again_or_sent_too_early(name, workers, tmp_path):
    found, wrong = attempt(name, tmp_path, workers=workers)
    print(found)
    assert wrong == []


@pytest.mark.parametrize("workers", [2, 4])
def test_without_a_fault_no_row_is_sent_twice(workers, tmp_path):
    found, wrong = attempt(NO_FAULT, tmp_path, workers=workers)
    print(found)
    assert wrong == []
    assert found.twice == 0


def priority(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_a_signal_to_the_driver_stops_its_actors_and_the_run_is_resumed(tmp_path):
    with staged(tmp_path, seconds=10) as stage:
        driver = run(stage, 2)
        until(
            lambda: stage.requests() > 200 or driver.poll() is not None, stage.log, within_s=WAIT_S
        )
        assert driver.poll() is None, stage.log()
        niceness = {priority(pid) for pid in stage.processes("ray::RayWorker")}
        assert niceness == {priority(driver.pid)}
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(120) == 128 + signal.SIGTERM, stage.log()
        assert stage.processes("ray::", "raylet") == []
        again = stage.start("pipeline", "resume", "--yes", "--on", "ray", "--workers", "2")
        assert again.wait(240) == 0, stage.log()
        assert judged(stage.vendor, stage.database, stage.rows).broken(most_twice=0) == []


def test_what_ray_shows_holds_no_secret(tmp_path):
    """Neither what it was started with, nor its logs."""
    with staged(tmp_path, seconds=3) as stage:
        driver = run(stage, 2)
        assert driver.wait(240) == 0, stage.log()
        texts = [path.read_bytes() for path in stage.home.rglob("*") if path.is_file()]
        assert len(texts) > 5
        assert not [text for text in texts if b"simulator-key" in text]


def test_workers_are_jobs_of_a_cluster_reached_by_http(tmp_path):
    with staged(tmp_path, seconds=10) as stage:
        head = ("start", "--head", "--block", "--num-cpus=2", "--port=0", "--dashboard-port=0")
        host = ("--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1")
        stage.start("ray", *head, *host, "--disable-usage-stats", **TOKEN)
        url = until(lambda: _dashboard(stage.log()), stage.log, within_s=WAIT_S)
        config = str(tmp_path / "pipeline.toml")
        file = tmp_path / "inputs" / "xsolla.coupon" / "coupons.csv"
        words = ("--config", config, "run", "--yes", file, "--on", url, "--workers", "2")
        driver = stage.start("pipeline", *words, **TOKEN)
        until(
            lambda: stage.requests() > 200 or driver.poll() is not None, stage.log, within_s=WAIT_S
        )
        driver.kill()
        driver.wait()
        before = stage.requests()
        time.sleep(2)
        assert stage.requests() > before, stage.log()  # jobs outlive who submitted them
        more = ("--on", url, "--workers", "1")
        again = stage.start("pipeline", "--config", config, "resume", "--yes", *more, **TOKEN)
        assert again.wait(240) == 0, stage.log()
        assert judged(stage.vendor, stage.database, stage.rows).broken(most_twice=0) == []


def test_a_watcher_sends_each_dropped_file_by_actors(tmp_path):
    """Two files with workers of one Ray; a signal in the second, which the next watcher sends."""
    words = ("pipeline", "watch", "--settle", "0.2", "--on", "ray", "--workers", "2")
    with staged(tmp_path, seconds=8) as stage:
        folder = tmp_path / "inputs" / "xsolla.coupon"
        later = (folder / "coupons.csv").rename(tmp_path / "coupons.csv")
        header, *rows = later.read_text().splitlines(keepends=True)
        (folder / "first.csv").write_text("".join([header, *rows[:200]]))
        later.write_text("".join([header, *rows[200:]]))
        watcher = stage.start(*words)

        def done(name: str) -> bool:
            found = [*tmp_path.glob(f"inputs/*/.done/*/{name}"), watcher.poll()]
            return found != [None]

        until(lambda: done("first.csv"), stage.log, within_s=WAIT_S)
        later.rename(folder / "coupons.csv")
        until(lambda: stage.requests() > 600 or watcher.poll(), stage.log, within_s=WAIT_S)
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(120) == 128 + signal.SIGTERM, stage.log()
        assert stage.processes("ray::", "raylet") == []
        watcher = stage.start(*words)
        until(lambda: done("coupons.csv"), stage.log, within_s=WAIT_S)
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(120) == 128 + signal.SIGTERM, stage.log()
        sent = [row_of(each["body"]) for each in stage.vendor.get("log")]
        assert sorted(sent) == [*range(1, stage.rows + 1)]


def _dashboard(log: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", log)
    return found[0] if found else ""


def test_a_cluster_needs_a_database(tmp_path: Path):
    with staged(tmp_path, seconds=1) as stage:
        text = (tmp_path / "pipeline.toml").read_text()
        (tmp_path / "pipeline.toml").write_text(text.partition("\n")[2])
        driver = run(stage, 2, RAY_ADDRESS="127.0.0.1:6379")
        assert driver.wait(60) == 2
        assert "postgresql://" in stage.log()
        assert stage.requests() == 0
