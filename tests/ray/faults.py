"""What faults do to a run whose workers Ray starts, as a table.

.venv/bin/python -m tests.ray.faults --times 3 "driver killed"
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.ray.stage import IN_FLIGHT, TOKEN, WAIT_S, Stage, judged, staged, until
from tests.torture.worker_judge import Verdict

CLUSTER = Path(__file__).parent / "cluster.py"
SECONDS = 15.0
BEFORE_S = 4.0
"""From the first request to the fault."""
AWAY_S = 20.0
"""Longer than a lease."""
NO_FAULT = "none"

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
    until(lambda: len({*stage.processes("ray::RayWorker")} - {before[-1]}) == workers, stage)
    return driver


def raylet_killed(
    stage: Stage, driver: subprocess.Popen[bytes], workers: int
) -> subprocess.Popen[bytes]:
    """`kill -9` of the only raylet: the whole Ray ends, and another carries the run on."""
    (raylet,) = stage.processes("raylet")
    os.kill(raylet, signal.SIGKILL)
    try:
        driver.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
    return resumed(stage, workers)


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
    "node killed": node_killed,
    "driver killed": driver_killed,
    "database stopped": database_stopped,
}
UNNOTICED_S = 30.0
"""For so long actors go on, at most, whose raylet is dead."""

LONGER = frozenset({"raylet killed", "node killed"})
"""Faults that a run of a few seconds would not notice."""

ON_NODES = frozenset({"node killed"})
"""In a cluster of a head without CPUs and two nodes; the others in a Ray of the driver's."""


def attempt(
    name: str, folder: Path, *, workers: int, seconds: float = SECONDS
) -> tuple[Verdict, list[str]]:
    """Send one file, with one fault; what became of it, and which promises were broken."""
    with staged(folder, seconds=seconds + UNNOTICED_S * (name in LONGER)) as stage:
        environ = {}
        if name in ON_NODES:
            head = stage.start("python", CLUSTER, folder / "address", **TOKEN)
            address = until(lambda: _text(folder / "address") or head.poll(), stage)
            environ = {"RAY_ADDRESS": str(address), **TOKEN}
        driver = run(stage, workers, **environ)
        until(lambda: stage.requests() > 0 or driver.poll() is not None, stage)
        time.sleep(BEFORE_S)
        driver = FAULTS[name](stage, driver, workers)
        try:
            code = driver.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            code = -1
        wrong = [f"the driver ended with {code}: {stage.log()[-3000:]}"] if code else []
        found = judged(stage)
        wrong += found.broken(most_twice=IN_FLIGHT)
        if not any(folder.glob("reports/*/summary.json")):
            wrong.append("there is no report")
    return found, wrong


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


HEADER = (
    "| fault | workers | runs | rows | lost | unknown | sent twice | acknowledged again "
    "| out of order | refused | most in a second | used | seconds |\n"
    "| --- " + "| ---: " * 12 + "|"
)


def line(name: str, workers: int, found: Sequence[Verdict]) -> str:
    """A line of the table, from least to most of several runs."""
    columns = [sorted(column) for column in zip(*found, strict=True)]
    forms = [*["d"] * (len(columns) - 2), ".3f", ".0f"]
    cells = [
        " to ".join(dict.fromkeys(format(each, form) for each in (column[0], column[-1])))
        for column, form in zip(columns, forms, strict=True)
    ]
    return f"| {name} | {workers} | {len(found)} | {' | '.join(cells)} |"


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="fault", help=f"{', '.join(FAULTS)}")
    parser.add_argument("--times", type=int, default=1, help="runs of each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of sending, without a fault"
    )
    arguments = parser.parse_args()
    names = arguments.faults or list(FAULTS)
    if unknown := set(names) - set(FAULTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    top = Path(tempfile.mkdtemp(prefix="ray-faults-"))
    lines, is_broken = [], False
    for name in names:
        found = []
        for number in range(arguments.times):
            folder = top / f"{name.replace(' ', '-')}-{number}"
            folder.mkdir()
            one, wrong = attempt(name, folder, workers=arguments.workers, seconds=arguments.seconds)
            found.append(one)
            print(f"{name} {number + 1}: {one}", flush=True)
            for each in wrong:
                print(f"  BROKEN: {each}; see {folder}", flush=True)
            is_broken |= bool(wrong)
        lines.append(line(name, arguments.workers, found))
    print("\n".join((HEADER, *lines)))
    if not is_broken:
        shutil.rmtree(top)
    sys.exit(is_broken)


if __name__ == "__main__":
    main()
