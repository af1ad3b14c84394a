"""What one row costs in the ledger of a run: its claim and its result, flushed to the disk.

    .venv/bin/python -m tests.benchmarks.ledger
    .venv/bin/python -m tests.benchmarks.ledger --rows 20000 --sizes 64 256 --rounds 5

A thread records commits of a size: the results of one commit's rows together with the claims of
the next one's. It does so alone, and beside a thread that is as busy as the event loop of a run:
ten microseconds of Python, then a system call. Rounds of all cases take turns; medians count.

CPU is that of the recording thread. Wall time is that of the whole; beside a busy thread it also
depends on how soon that thread lets go of the interpreter. Bytes are those of the closed file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.model import RowResult, Status
from pipeline.store import RunLedger

ROWS = 20_000
SIZES = (64, 256, 1_000)
ROUNDS = 5
RUN = "benchmark"
BUSY_STEPS = 30  # some ten microseconds


class Cost(NamedTuple):
    """Of one row."""

    cpu_us: float
    wall_us: float
    bytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    results = results_of(chosen.rows)
    cases = [(size, is_busy) for size in chosen.sizes for is_busy in (False, True)]
    found: dict[tuple[int, bool], list[Cost]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(prefix="ledger-") as name:
        for number in range(chosen.rounds):
            for size, is_busy in cases:
                path = Path(name) / f"{size}-{is_busy}-{number}.db"
                found[size, is_busy].append(cost_of(path, results, size, is_busy=is_busy))
    for (size, is_busy), costs in found.items():
        beside = "beside a busy thread" if is_busy else "alone"
        print(f"commits of {size:>5}, {beside:20}: {_text(costs)}")


def _text(costs: Sequence[Cost]) -> str:
    cpu, wall, size = (sorted(values) for values in zip(*costs, strict=True))
    return (
        f"{statistics.median(cpu):6.2f} µs of CPU a row ({cpu[0]:.2f} to {cpu[-1]:.2f}), "
        f"{statistics.median(wall):6.2f} µs of wall time ({wall[0]:.2f} to {wall[-1]:.2f}), "
        f"{size[-1]:.0f} bytes"
    )


def results_of(rows: int) -> list[RowResult]:
    """Plain successes, as most rows end."""
    return [
        RowResult(
            *(row, "xsolla.coupon", "shop", Status.UPDATED, 204),
            attempts=1,
            seconds=round(0.010 + row % 17 / 1000, 3),
        )
        for row in range(1, rows + 1)
    ]


def cost_of(path: Path, results: Sequence[RowResult], size: int, *, is_busy: bool) -> Cost:
    """Record all `results` in commits of `size` rows in a new file."""
    with RunLedger.create(path, run=RUN) as ledger:
        cost: list[float] = []
        thread = threading.Thread(target=_record, args=(ledger, results, size, cost))
        thread.start()
        if is_busy:
            _be_busy(thread)
        thread.join()
    return Cost(*(each / len(results) * 1e6 for each in cost), path.stat().st_size / len(results))


def _record(ledger: RunLedger, results: Sequence[RowResult], size: int, cost: list[float]) -> None:
    cpu_s, wall_s = time.thread_time(), time.perf_counter()
    ended: Sequence[RowResult] = ()
    for first in range(0, len(results), size):
        begun = results[first : first + size]
        ledger.record([each.row for each in begun], ended)
        ended = begun
    ledger.record((), ended)
    cost += (time.thread_time() - cpu_s, time.perf_counter() - wall_s)


def _be_busy(thread: threading.Thread) -> None:
    """As an event loop: a little Python, then a system call, until the thread has ended."""
    read_end, write_end = os.pipe()
    done = 0
    while thread.is_alive():
        for _ in range(BUSY_STEPS):
            done += sum(range(8))
        os.write(write_end, b"x")
        os.read(read_end, 1)
    os.close(read_end)
    os.close(write_end)


if __name__ == "__main__":
    main()
