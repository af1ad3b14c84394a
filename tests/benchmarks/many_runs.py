"""What a run of one row costs while many runs are on record, beside one run on record.

    .venv/bin/python -m tests.benchmarks.many_runs
    .venv/bin/python -m tests.benchmarks.many_runs --runs 50000 --pairs 5

Both sides send the same file to the same simulator, in turn, each in a process of its own. The
other runs are copies of a real one: in the file that runs share, with a folder and a report each.
The ratios of CPU seconds and of seconds are taken pair by pair, and the median counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.store import Run
from pipeline.store.on_files.registry import _ADD, FileRegistry, _put, _values
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.on_files.store import witness_of_registry
from tests.workplace import ENVIRON, configure, coupon, drop, simulator

MOST = 1.2
FOLDERS_IN_FULL = 600
"""So many of the newest copies have their own files; a command reads no more than these."""
_COMMANDS = {
    "run": ("run", "--yes", "--quiet", "inputs/xsolla.coupon/one.csv"),
    "runs": ("runs",),
    "drops": ("run", "--yes", "--quiet"),
}


class Cost(NamedTuple):
    """Of one process."""

    cpu_s: float
    wall_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--commands", nargs="+", choices=_COMMANDS, default=["run"])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, simulator() as vendor:
        few, many = Path(name) / "few", Path(name) / "many"
        for place, count in ((few, 1), (many, chosen.runs)):
            prepare_place(place, vendor.base_url, count)
        worst = max(compare(command, few, many, chosen.pairs) for command in chosen.commands)
    if worst > MOST:
        sys.exit(f"more than {MOST} times as much as with one run on record")


def compare(command: str, few: Path, many: Path, pairs: int) -> float:
    """Time a command in both places in turn, print the figures: the greater of its two ratios."""
    found = [(cost_of(command, few, pair), cost_of(command, many, pair)) for pair in range(pairs)]
    ratios = []
    for which, words in enumerate(("CPU seconds", "seconds")):
        one = statistics.median(pair[0][which] for pair in found)
        lots = statistics.median(pair[1][which] for pair in found)
        ratios.append(statistics.median(pair[1][which] / pair[0][which] for pair in found))
        print(f"{command}: {words} {one:.3f} with one run, {lots:.3f} with many: {ratios[-1]:.2f}")
    return max(ratios)


def cost_of(command: str, place: Path, number: int) -> Cost:
    """Carry out a command in a working folder, for a file that was not there before."""
    drop(place, coupon(1000 + number + len(command) * 100), name="one.csv")
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipeline", *_COMMANDS[command]],
        cwd=place,
        env={**os.environ, **ENVIRON},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(cpu_s, time.perf_counter() - started_s)


def prepare_place(place: Path, base_url: str, count: int) -> None:
    """A working folder with so many runs on record, of which one was sent."""
    place.mkdir()
    config = configure(place, base_url)
    cost_of("run", place, -1)
    file = RegistryFile(config.ledger, witness=witness_of_registry(config.ledger))
    runs = FileRegistry(file)
    (sent,) = runs.all()
    copies = [_copy(sent, number) for number in range(1, count)]
    _put_before(runs, file, sent, copies)
    for base in (config.ledger_folder / "runs", config.reports):
        _copy_folders(base, sent.name, [copy.name for copy in copies])


def _copy(run: Run, number: int) -> Run:
    """An earlier run of another file."""
    started = run.started - timedelta(seconds=number)
    return replace(
        run,
        name=f"{started:%Y%m%dT%H%M%SZ}-one-{number:06}",
        sha256=f"{number:064x}",
        started=started,
        ended=started,
    )


def _put_before(runs: FileRegistry, file: RegistryFile, last: Run, copies: Sequence[Run]) -> None:
    """Put runs on record so that `last` stays the last one, in one commit."""
    # their places are before that of `last`, or each would be a newer run
    runs.forget(last.name)
    with file.commit() as connection:  # one each takes minutes
        for copy in copies:
            cursor = connection.execute(_ADD, _values(copy))
            _put(connection, replace(copy, sequence=int(cursor.lastrowid or 0)))
    runs.add(last)


def _copy_folders(base: Path, last: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        (base / name).mkdir()
        for path in (base / last).iterdir() if number < FOLDERS_IN_FULL else ():
            os.link(path, base / name / path.name)


if __name__ == "__main__":
    main()
