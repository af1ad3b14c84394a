"""What a row costs in processor time if two workers send instead of one, and what the servers take.

    make bench-cpu
    chrt -r 10 .venv/bin/python -m tests.benchmarks.workers_cpu --rows 20000 --rounds 3

A run of one account in four shares without a limit that matters, PostgreSQL as its store, the
vendor a server that answers everything with 204, all on this machine. Three sides take turns: one
worker, two workers, and two runs of one worker each at once, of half the rows. The last shows what
the machine takes from any two processes that are busy at once. The processor time is that of the
workers and of the process that began the run, start and report included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.servers import Server, server
from tests.postgres import PostgresServer, postgres_server
from tests.workplace import CONFIG, ENVIRON, coupon, drop

MORE = "shares = 4"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# side -> workers of each run, runs at once
SIDES = {"one worker": (1, 1), "two workers": (2, 1), "two runs": (1, 2)}


class Cost(NamedTuple):
    """Of one side: rows, and seconds of processor time of ours and of the servers; wall time."""

    rows: int
    ours_s: float
    store_s: float
    vendor_s: float
    wall_s: float

    @property
    def rows_per_cpu_s(self) -> float:
        """Rows per second of our processor time."""
        return self.rows / self.ours_s


def processor_s(pids: list[int]) -> float:
    """Processor time of processes, and of those of the first's children that ended."""
    found = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system, of_ended, of_ended_system = map(int, fields[11:15])
        found += user + system + (of_ended + of_ended_system) * (pid == pids[0])
    return found / TICKS_PER_S


def with_children(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def start(
    folder: Path, store: PostgresServer, vendor: Server, workers: int, rows: int
) -> subprocess.Popen[bytes]:
    """Begin to send a file of so many rows."""
    folder.mkdir()
    base_url = vendor.urls["http"] + "/merchant/v2"
    account = CONFIG.format(base_url=base_url, quota='"100000/s"', in_flight=64, more=MORE)
    (folder / "pipeline.toml").write_text(f'ledger = "{store.new_database()}"\n{account}')
    path = drop(folder, *(coupon(row, f"c{row}") for row in range(1, rows + 1)))
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "--yes", "--workers", str(workers), str(path)],
        cwd=folder,
        env={**os.environ, **ENVIRON},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measured(
    folder: Path, store: PostgresServer, vendor: Server, side: tuple[int, int], rows: int
) -> Cost:
    """Send so many rows as the side does."""
    workers, runs = side
    stores = store._processes()
    store_s, vendor_s = processor_s(stores), processor_s(with_children(vendor.pid))
    began_s = time.monotonic()
    ours_s = 0.0
    processes = [
        start(folder / str(number), store, vendor, workers, rows // runs) for number in range(runs)
    ]
    for process in processes:
        _, status, used = os.wait4(process.pid, 0)  # its workers, for which it waited, included
        if os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"the run ended with {os.waitstatus_to_exitcode(status)}")
        ours_s += used.ru_utime + used.ru_stime
    wall_s = time.monotonic() - began_s
    store_s = processor_s(store._processes()) - store_s
    vendor_s = processor_s(with_children(vendor.pid)) - vendor_s
    return Cost(rows // runs * runs, ours_s, store_s, vendor_s, wall_s)


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[Cost]] = {name: [] for name in SIDES}
    with (
        tempfile.TemporaryDirectory() as servers,
        postgres_server() as store,
        server(Path(servers)) as vendor,
    ):
        for number in range(given.rounds):
            for name, side in SIDES.items():
                with tempfile.TemporaryDirectory() as folder:
                    cost = measured(Path(folder), store, vendor, side, given.rows)
                found[name].append(cost)
                print(
                    f"round {number + 1}, {name}: {cost.rows_per_cpu_s:.0f} rows per CPU second; "
                    f"{cost.ours_s:.1f} s of ours, {cost.store_s:.1f} s of the store, "
                    f"{cost.vendor_s:.1f} s of the vendor, {cost.wall_s:.1f} s in all",
                    flush=True,
                )
    one, two, apart = (
        statistics.median(cost.rows_per_cpu_s for cost in found[name]) for name in SIDES
    )
    print(
        f"two workers: {two / one:.3f} of one's rows per CPU second; "
        f"two runs at once: {apart / one:.3f}"
    )


if __name__ == "__main__":
    main()
