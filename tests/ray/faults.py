"""What faults do to a run whose workers Ray starts, as a table.

.venv/bin/python -m tests.ray.faults --times 3 "driver killed"
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.ray.stage import TOKEN, WAIT_S, Stage, staged
from tests.torture.fault_table import IN_FLIGHT, LONGER, NO_FAULT, judged, tabulate
from tests.torture.worker_judge import Verdict
from tests.waiting import until

CLUSTER = Path(__file__).parent / "cluster.py"
SECONDS = 15.0
BEFORE_S = 4.0
"""From the first request to the fault."""
AWAY_S = 20.0
"""Longer than a lease."""

Fault = Callable[[Stage, subprocess.Popen[bytes], int], subprocess.Popen[bytes]]
"""Does something to a run, its driver and its workers, so many; returns the process that will
report."""


def run(stage: Stage, workers: int, **environ: str) -> subprocess.Popen[bytes]:
    """The driver, which is the driver of Ray too."""
    file = stage.folder / "inputs" / "xsolla.coupon" / "coupons.csv"
    ray = ("--on", "ray", "--workers", str(workers))
    return stage.start("pipeline", "run", "--yes", file, *ray, **environ)


def resumed(stage: Stage, workers: int) -> subprocess.Popen[bytes]:
    """Another driver, and another Ray."""
    return stage.start("pipeline", "resume", "--yes", "--on", "ray", "--workers", str(workers))


def nothing(
    _stage: Stage, driver: subprocess.Popen[bytes], _workers: int
) -> subprocess.Popen[bytes]:
    """No fault."""
    return driver


def actor_killed(
    stage: Stage, driver: subprocess.Popen[bytes], workers: int
) -> subprocess.Popen[bytes]:
    """`kill -9` of the process of an actor; Ray starts it again."""
    before = stage.processes("ray::RayWorker")
    os.kill(before[-1], signal.SIGKILL)
    until(
        lambda: len({*stage.processes("ray::RayWorker")} - {before[-1]}) == workers,
        stage.log,
        within_s=WAIT_S,
    )
    return driver


def raylet_killed(
    stage: Stage, driver: subprocess.Popen[bytes], workers: int
) -> subprocess.Popen[bytes]:
    """`kill -9` of the only raylet: its actors go on for a while, and no other can be started."""
    (raylet,) = stage.processes("raylet")
    os.kill(raylet, signal.SIGKILL)
    return _resumed_after(driver, stage, workers)


def ray_killed(
    stage: Stage, driver: subprocess.Popen[bytes], workers: int
) -> subprocess.Popen[bytes]:
    """`kill -9` of the only raylet and of all actors, as if their machine had failed."""
    for each in (*stage.processes("raylet"), *stage.processes("ray::RayWorker")):
        os.kill(each, signal.SIGKILL)
    return _resumed_after(driver, stage, workers)


def _resumed_after(
    driver: subprocess.Popen[bytes], stage: Stage, workers: int
) -> subprocess.Popen[bytes]:
    """Another driver and another Ray, unless the first one has carried the run out."""
    try:
        is_done = driver.wait(WAIT_S) == 0
    except subprocess.TimeoutExpired:
        return driver  # it waits for ever, which is judged
    return driver if is_done else resumed(stage, workers)


def driver_killed(
    stage: Stage, driver: subprocess.Popen[bytes], workers: int
) -> subprocess.Popen[bytes]:
    """`kill -9` of the driver; another resumes the run."""
    driver.kill()
    driver.wait()
    return resumed(stage, workers)


def database_stopped(
    stage: Stage, driver: subprocess.Popen[bytes], _workers: int
) -> subprocess.Popen[bytes]:
    """The database is away for longer than a lease."""
    stage.database.stop(signal.SIGINT)
    time.sleep(AWAY_S)
    stage.database.start()
    return driver


def node_killed(
    stage: Stage, driver: subprocess.Popen[bytes], _workers: int
) -> subprocess.Popen[bytes]:
    """`kill -9` of the raylet of one of two nodes, whose actors Ray starts on the other."""
    os.kill(stage.parent_of(stage.processes("ray::RayWorker")[-1]), signal.SIGKILL)
    return driver


FAULTS: Mapping[str, Fault] = {
    NO_FAULT: nothing,
    "actor killed": actor_killed,
    "raylet killed": raylet_killed,
    "ray killed": ray_killed,
    "node killed": node_killed,
    "driver killed": driver_killed,
    "database stopped": database_stopped,
}
UNNOTICED_S = 30.0
"""For so long actors go on, at most, whose raylet is dead."""

NOTICED_LATE = frozenset({"raylet killed", "node killed"})
"""Faults that a run of a few seconds would not notice."""

ON_NODES = frozenset({"node killed"})
"""In a cluster of a head without CPUs and two nodes; the others in a Ray of the driver's."""


def attempt(
    name: str, folder: Path, *, workers: int, seconds: float = SECONDS
) -> tuple[Verdict, list[str]]:
    """Send one file, with one fault; what became of it, and which promises were broken."""
    is_clean = name == NO_FAULT
    of_sending_s = seconds * LONGER if is_clean else seconds + UNNOTICED_S * (name in NOTICED_LATE)
    with staged(folder, seconds=of_sending_s) as stage:
        environ = {}
        if name in ON_NODES:
            environ = {"RAY_ADDRESS": _cluster(stage), **TOKEN}
        driver = run(stage, workers, **environ)
        until(lambda: stage.requests() > 0 or driver.poll() is not None, stage.log, within_s=WAIT_S)
        assert stage.requests(), stage.log()
        time.sleep(BEFORE_S)
        driver = FAULTS[name](stage, driver, workers)
        try:
            code = driver.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            code = -1
        wrong = [f"the driver ended with {code}: {stage.log()[-3000:]}"] if code else []
        found = judged(stage.vendor, stage.database, stage.rows, seconds if is_clean else None)
        wrong += found.broken(most_twice=IN_FLIGHT)
        if not any(folder.glob("reports/*/summary.json")):
            wrong.append("there is no report")
    return found, wrong


def _cluster(stage: Stage) -> str:
    """Start a cluster of two nodes, again where it was too slow for Ray; its address."""
    place = stage.folder / "address"
    for _ in range(3):
        head = stage.start("python", CLUSTER, place, **TOKEN)
        until(lambda head=head: _text(place) or head.poll() is not None, stage.log, within_s=WAIT_S)
        if address := _text(place):
            return address
    raise AssertionError(stage.log())


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main() -> None:
    """As the arguments say."""
    tabulate(__doc__, FAULTS, attempt)


if __name__ == "__main__":
    main()
