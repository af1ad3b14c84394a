"""What a row costs in processor time if two workers send instead of one, and what the server takes.

    make bench-cpu
    chrt -r 10 .venv/bin/python -m tests.benchmarks.workers_cpu --rows 20000 --rounds 3

A run of one account in four shares without a limit that matters, PostgreSQL as its store, a vendor
without latency, all on this machine. Rounds of one and of two workers take turns. The processor
time is that of the workers and of the process that began the run, start and report included.
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

from tests.postgres import PostgresServer, postgres_server
from tests.workplace import CONFIG, ENVIRON, Simulator, coupon, drop, simulator

MORE = "shares = 4"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Of one run: rows, and seconds of processor time of ours and of the server; wall time."""

    rows: int
    ours_s: float
    server_s: float
    wall_s: float

    @property
    def rows_per_cpu_s(self) -> float:
        """Rows per second of our processor time."""
        return self.rows / self.ours_s


def server_cpu_s(server: PostgresServer) -> float:
    """Processor time of a server, its processes that ended included."""
    first, *others = server._processes()
    found = 0
    for pid in (first, *others):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system, of_ended, of_ended_system = map(int, fields[11:15])
        found += user + system + (of_ended + of_ended_system) * (pid == first)
    return found / TICKS_PER_S


def measured(folder: Path, server: PostgresServer, vendor: Simulator, n: int, rows: int) -> Cost:
    """Send a file of so many rows by `n` workers."""
    account = CONFIG.format(base_url=vendor.base_url, quota='"100000/s"', in_flight=64, more=MORE)
    (folder / "pipeline.toml").write_text(f'ledger = "{server.new_database()}"\n{account}')
    path = drop(folder, *(coupon(row, f"c{row}") for row in range(1, rows + 1)))
    before_s, began_s = server_cpu_s(server), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "--yes", "--workers", str(n), str(path)],
        cwd=folder,
        env={**os.environ, **ENVIRON},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)  # its workers, for which it waited, are included
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"the run ended with {os.waitstatus_to_exitcode(status)}")
    ours_s = used.ru_utime + used.ru_stime
    return Cost(rows, ours_s, server_cpu_s(server) - before_s, time.monotonic() - began_s)


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[int, list[Cost]] = {1: [], 2: []}
    with postgres_server() as server, simulator() as vendor:
        for number in range(given.rounds):
            for workers, costs in found.items():
                with tempfile.TemporaryDirectory() as folder:
                    costs.append(measured(Path(folder), server, vendor, workers, given.rows))
                one = costs[-1]
                print(
                    f"round {number + 1}, workers {workers}: {one.rows_per_cpu_s:.0f} rows per CPU"
                    f" second; {one.ours_s:.1f} s of ours, {one.server_s:.1f} s of the server, "
                    f"{one.wall_s:.1f} s in all",
                    flush=True,
                )
    one, two = (statistics.median(each.rows_per_cpu_s for each in found[n]) for n in (1, 2))
    share = statistics.median(
        each.server_s / (each.server_s + each.ours_s) for costs in found.values() for each in costs
    )
    print(
        f"two workers: {two / one:.3f} of one's rows per CPU second; the server's share {share:.2f}"
    )


if __name__ == "__main__":
    main()
