"""What a row costs in a ledger in PostgreSQL, beside one in SQLite, and what reading back costs.

    .venv/bin/python -m tests.benchmarks.ledger_postgres
    .venv/bin/python -m tests.benchmarks.ledger_postgres --rows 20000 --sizes 100 --kept 1000000

The server is the one of the tests, on this machine: it uses the same cores. Each round records all
rows in commits of a size, the results of one commit together with the claims of the next, with the
id that vendors give each request; CPU is that of the recording process, the server's is apart.
Small commits, of one row, count how many a worker makes in a second. `--kept` rows are then read
back, counted and removed, and the peak of this process's memory is given.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.model import RowResult, Status
from pipeline.store import RunLedger
from pipeline.store.contract import Ledger
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import run_lease
from tests.postgres import PostgresServer, postgres_server

ROWS = 20_000
SIZES = (100, 500)
ROUNDS = 3
KEPT = 200_000
CHUNK = 10_000
SMALL_COMMITS = 500


class Cost(NamedTuple):
    """Of one round."""

    rows_per_s: float
    cpu_us: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kept", type=int, default=KEPT, help="rows to read back; 0: none")
    chosen = parser.parse_args()
    with postgres_server() as server, PgStore(server.url(), environ={}) as store:
        for size in chosen.sizes:
            compare(store, chosen.rows, size, chosen.rounds)
        print(f"commits of 1 row: {small_commits(store):,.0f}/s for one worker")
    if chosen.kept:
        with postgres_server() as server, PgStore(server.url(), environ={}) as store:
            read_back(server, store, chosen.kept)


def compare(store: PgStore, rows: int, size: int, rounds: int) -> None:
    """Both ledgers in turn."""
    results = list(results_of(1, rows))
    found: dict[str, list[Cost]] = {"SQLite": [], "PostgreSQL": []}
    for number in range(rounds):
        with (
            tempfile.TemporaryDirectory(prefix="ledger-") as folder,
            RunLedger.create(Path(folder) / "ledger.db", run="benchmark") as ledger,
        ):
            found["SQLite"].append(cost_of(ledger, results, size))
        with in_postgres(store, f"{size}-{number}") as ledger:
            found["PostgreSQL"].append(cost_of(ledger, results, size))
        store.files(f"{size}-{number}").remove()
    for name, costs in found.items():
        speed = statistics.median(cost.rows_per_s for cost in costs)
        cpu_us = statistics.median(cost.cpu_us for cost in costs)
        print(
            f"commits of {size:>4}, {name:10}: {speed:>8,.0f} rows/s, {cpu_us:.1f} µs of CPU a row"
        )


@contextmanager
def in_postgres(store: PgStore, run: str) -> Iterator[Ledger]:
    """A new ledger, written with a lease, as workers do."""
    store.new_ledger(run)
    with store.lease(run_lease(run)) as lease:
        assert lease.take()
        with store.ledger(run, None, lease) as ledger:
            yield ledger


def results_of(first: int, count: int) -> Iterator[RowResult]:
    """Plain successes with the id of their request, as most rows end."""
    for row in range(first, first + count):
        yield RowResult(
            *(row, "xsolla.coupon", "shop", Status.UPDATED, 204),
            attempts=1,
            seconds=round(0.010 + row % 17 / 1000, 3),
            request_id=str(uuid.UUID(int=row * 0x9E3779B97F4A7C15 % 2**128)),
        )


def cost_of(ledger: Ledger, results: Sequence[RowResult], size: int) -> Cost:
    cpu_s, wall_s = time.thread_time(), time.perf_counter()
    record(ledger, results, size)
    cpu_s, wall_s = time.thread_time() - cpu_s, time.perf_counter() - wall_s
    return Cost(len(results) / wall_s, cpu_s / len(results) * 1e6)


def record(ledger: Ledger, results: Sequence[RowResult], size: int) -> None:
    ended: Sequence[RowResult] = ()
    for first in range(0, len(results), size):
        begun = results[first : first + size]
        ledger.record([each.row for each in begun], ended)
        ended = begun
    ledger.record((), ended)


def small_commits(store: PgStore) -> float:
    """Commits of one row, per second."""
    with in_postgres(store, "small") as ledger:
        began_s = time.perf_counter()
        record(ledger, list(results_of(1, SMALL_COMMITS)), 1)
        return SMALL_COMMITS / (time.perf_counter() - began_s)


def read_back(server: PostgresServer, store: PgStore, rows: int) -> None:
    """Record many rows, and read, count and remove them."""
    with in_postgres(store, "kept") as ledger:
        for first in range(1, rows + 1, CHUNK):
            record(ledger, list(results_of(first, min(CHUNK, rows + 1 - first))), 500)
    tables = "('pipeline.results'), ('pipeline.commits')"
    query = f"select sum(pg_total_relation_size(t::regclass)) from (values {tables}) v (t)"  # noqa: S608
    print(f"{rows:,} rows: {int(server.execute(query)[0][0]) / rows:.0f} bytes a row")
    ledger = store.ledger("kept", None, None)
    timed("claims without result", lambda: sum(1 for _ in ledger.claimed()))
    timed("counts", lambda: sum(ledger.counts().values()))
    timed("read in row order", lambda: sum(1 for _ in ledger.results(1, 10**12)))
    timed("opened", lambda: store.ledger("kept", None, None).commits)
    timed("size", lambda: store.files("kept").size_bytes())
    timed("removed", lambda: store.files("kept").remove() or 0)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak_mb:.0f} MB")


def timed(name: str, call: Callable[[], int]) -> None:
    began_s = time.perf_counter()
    found = call()
    print(f"{name}: {found:,} in {time.perf_counter() - began_s:.2f} s")


if __name__ == "__main__":
    main()
