"""What a row costs in a ledger in PostgreSQL, beside one in SQLite, and what reading back costs.

    .venv/bin/python -m tests.benchmarks.ledger_postgres
    .venv/bin/python -m tests.benchmarks.ledger_postgres --rows 20000 --sizes 100 --kept 1000000

The server is the one of the tests, on this machine: it uses the same cores. Each round records all
rows in commits of a size, the results of one commit together with the claims of the next, with the
id that vendors give each request; CPU is that of the recording process, the server's is apart.
Small commits, of one row, count how many a worker makes in a second.

`--kept` rows are then those of a run in eight shares: one row of a hundred was rejected, one of a
thousand is `unknown`, and its processes were killed. What reads it is measured, with the memory of
its process and of the database's: a worker that takes a share, and the commands that list the run,
report it, show it and remove it. `--keep` writes that to
docs/limits.json, for docs/scale.md:

    .venv/bin/python -m tests.benchmarks.ledger_postgres --sizes --kept 10000000 --keep
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.model import RowResult, Status
from pipeline.run.prepared import Prepared
from pipeline.runs import open_store
from pipeline.store import RunLedger
from pipeline.store.contract import Ledger
from pipeline.store.lease_renewal import RenewedLease
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import Share, run_lease, share_lease
from tests.benchmarks.files import write_parquet
from tests.benchmarks.limits import keep
from tests.benchmarks.sides import CONFIG, ENVIRON, prepared_run
from tests.benchmarks.workers import Group, database_name, record_bytes
from tests.postgres import PostgresServer, postgres_server

ROWS = 20_000
SIZES = (100, 500)
ROUNDS = 3
KEPT = 200_000
CHUNK = 10_000
SMALL_COMMITS = 500
EVERY_S = 0.02
REJECTED_EVERY, UNKNOWN_EVERY = 100, 1000
SHARES = [Share("shop", number, 8) for number in range(8)]
TAKE = """
import os, sys
from pathlib import Path
from pipeline.config import load_config
from pipeline.run.recorded_state import RecordedState
from pipeline.runs import open_store
from pipeline.store.seam import Share
from pipeline.vendors import load_vendors

config = load_config(None, environ=os.environ, vendors=load_vendors(), cwd=Path.cwd())
with open_store(config).ledger(sys.argv[1], Share("shop", 2, 8), None) as known:
    print(RecordedState.of(known).counts.total())
"""
"""What a worker reads of the record before it goes on with a share."""
_COMMAND = ("-m", "pipeline", "runs")
COMMANDS = {
    "take": ("-c", TAKE, "RUN"),
    "list": _COMMAND,
    "report": (*_COMMAND, "RUN"),
    "show": (*_COMMAND, "RUN"),
    "remove": (*_COMMAND, "--prune", "--older-than", "0"),
}
"""In this order. The first one that shows the run writes its report."""


class Cost(NamedTuple):
    """Of one round."""

    rows_per_s: float
    cpu_us: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="none: not compared")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kept", type=int, default=KEPT, help="rows to read back; 0: none")
    parser.add_argument("--keep", action="store_true", help="write docs/limits.json")
    chosen = parser.parse_args()
    if chosen.sizes:
        with postgres_server() as server, PgStore(server.url(), environ={}) as store:
            for size in chosen.sizes:
                compare(store, chosen.rows, size, chosen.rounds)
            print(f"commits of 1 row: {small_commits(store):,.0f}/s for one worker")
    if chosen.kept:
        with postgres_server() as server:
            found = read_back(server, chosen.kept)
        print(lines_of(found))
        if chosen.keep:
            keep("read_back", found)


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


def read_back(server: PostgresServer, rows: int) -> dict[str, Any]:
    """Fill a run with results, and measure the commands that read and remove it."""
    url = server.new_database()
    with tempfile.TemporaryDirectory(prefix="kept-") as name:
        folder = Path(name)
        write_parquet(folder / "coupons.parquet", rows)
        config = CONFIG.format(url="https://vendor.example", in_flight=1)
        (folder / "pipeline.toml").write_text(f'ledger = "{url}"\n{config}')
        prepared = prepared_run(folder / "coupons.parquet", "", 1, folder)
        with closing(prepared.config.kept_store):
            fill(prepared, rows)
        found: dict[str, Any] = {"rows": rows, "made": datetime.now(UTC).strftime("%Y-%m-%d")}
        found["record_bytes"] = record_bytes(server, url) / rows
        for step, words in COMMANDS.items():
            given = [prepared.run if word == "RUN" else word for word in words]
            found[step] = command(server, folder, given)
        left = server.execute("select count(*) from pipeline.results", database_name(url))
        assert left == [(0,)], left
    return found


def fill(prepared: Prepared, rows: int) -> None:
    """Record a result for each row, as workers do of which none is left to report."""
    store, run = open_store(prepared.config), prepared.run
    store.runs.share(run, SHARES)
    store.runs.change_state(run, "sending")
    with ExitStack() as opened:
        ledgers: list[Ledger] = []
        for share in SHARES:
            lease = opened.enter_context(RenewedLease(store.lease(share_lease(run, share))))
            assert lease.take()
            ledgers.append(opened.enter_context(store.ledger(run, share, lease)))
        for first, ledger in zip(range(1, rows + 1, CHUNK), cycle(ledgers), strict=False):
            plain = results_of(first, min(CHUNK, rows + 1 - first))
            record(ledger, [_ended(each) for each in plain], 500)
    prepared.lease.release()


def _ended(plain: RowResult) -> RowResult:
    if plain.row % UNKNOWN_EVERY == 0:
        status, http_status, code = Status.UNKNOWN, None, "no_reply"
    elif plain.row % REJECTED_EVERY == 0:
        status, http_status, code = Status.REJECTED, 422, "0401-1401"
    else:
        return plain
    return plain._replace(
        status=status, http_status=http_status, error_code=code, error="the vendor's words"
    )


def command(server: PostgresServer, folder: Path, words: Sequence[str]) -> dict[str, float]:
    """Run a command: its seconds, CPU in all, and peaks in MB: of its process, of the database."""
    theirs = Group(server.pid)
    theirs.look()
    before_s, began_s = theirs.cpu_s, time.monotonic()
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env={**os.environ, **ENVIRON},
            stdout=said,
            stderr=said,
        )
    ours = Group(process.pid)
    while process.poll() is None:
        ours.look()
        theirs.look()
        time.sleep(EVERY_S)
    took_s = time.monotonic() - began_s
    if process.returncode:
        raise SystemExit(
            f"{words} ended with {process.returncode}: {(folder / 'said').read_text()}"
        )
    return {
        "s": took_s,
        "cpu_s": ours.cpu_s + theirs.cpu_s - before_s,
        "mb": ours.largest_mb(),
        "database_mb": theirs.largest_mb(),
    }


def lines_of(found: dict[str, Any]) -> str:
    """What was found, for people."""
    form = (
        "{step}: {s:.1f} s ({cpu_s:.1f} s of CPU), "
        "peak {mb:.0f} MB, of the database {database_mb:.0f} MB"
    )
    steps = [form.format(step=step, **found[step]) for step in COMMANDS]
    return "\n".join([f"{found['rows']:,} rows: {found['record_bytes']:.0f} bytes a row", *steps])


if __name__ == "__main__":
    main()
