"""A large file by several workers on PostgreSQL, to a fast server: time, CPU, memory and space.

    make bench-workers ARGS="--rows 1000000"
    .venv/bin/python -m tests.benchmarks.workers --rows 10000000 --keep

All run on this machine: the process that prepares and reports, its workers, the database and the
server. So the cores that the server and the database take are stated as well. The phases are those
that the server sees: until its first request, until its last one, until the command has ended.
`--keep` writes the figures to docs/limits.json, for docs/scale.md. Ends with 1 if a row was lost or
arrived twice.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.files import write_parquet
from tests.benchmarks.limits import keep
from tests.benchmarks.machine import facts
from tests.benchmarks.servers import Server, server
from tests.benchmarks.sides import CONFIG, ENVIRON
from tests.postgres import PostgresServer, postgres_server

EVERY_S = 0.25
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MICRO = 1e6
LINES = """\
{rows:,} rows, {workers} workers: {updated:,} updated, {arrived:,} requests
rows of each worker: {shared_by}
prepare {prepare_s:.0f} s, send {send_s:.0f} s ({rate:,.0f} rows/s), report {report_s:.0f} s
CPU a row: prepare {prepare_us:.1f} µs, send {send_us:.1f} µs, report {report_us:.1f} µs
besides: database {database_us:.1f} µs, server {server_us:.1f} µs, {server_cores:.2f} cores of it
peak anonymous memory: first process {first_mb:.0f} MB, worker {worker_mb:.0f} MB, of the database \
{database_mb:.0f} MB
bytes a row: tables {record_bytes:.0f}, run's folder {run_bytes:.0f}, report {report_bytes:.0f}
the database's folder with its log: {database_folder_gb:.2f} GB"""


@dataclass(slots=True)
class Group:
    """The processes below one, it included: their CPU time, and the peak of the largest.

    Those that have ended count by what the one that waited for them is told.
    """

    top: int
    cpu_s: float = 0.0
    peak_mb: dict[int, float] = field(default_factory=dict)  # anonymous memory, by process

    def look(self) -> None:
        """Read all of them."""
        ticks = 0
        for pid in _below(self.top):
            with suppress(OSError):
                values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, values[11:15]))  # own and that of children waited for
                status = Path(f"/proc/{pid}/status").read_text()
                found = re.search(r"RssAnon:\s*(\d+)", status)
                own_mb = int(found[1]) / 1024 if found else 0.0
                self.peak_mb[pid] = max(self.peak_mb.get(pid, 0.0), own_mb)
        self.cpu_s = max(self.cpu_s, ticks / TICKS_PER_S)

    def largest_mb(self, *, without_top: bool = False) -> float:
        """Peak anonymous memory of the largest process."""
        peaks = [mb for pid, mb in self.peak_mb.items() if not (without_top and pid == self.top)]
        return max(peaks, default=0.0)


def _below(top: int) -> Iterable[int]:
    yield top
    with suppress(OSError):
        for child in Path(f"/proc/{top}/task/{top}/children").read_text().split():
            yield from _below(int(child))


@dataclass(slots=True)
class Phases:
    """When what happened, in seconds since the start; CPU of the command by then."""

    rows: int
    arrived: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    cpu_before_s: float = 0.0
    cpu_sent_s: float = 0.0
    server_before_s: float = 0.0
    server_sent_s: float = 0.0

    def note(self, now_s: float, arrived: int, cpu_s: float, server_s: float) -> None:
        """What the server has seen by now."""
        if not arrived:
            self.cpu_before_s, self.server_before_s, self.first_s = cpu_s, server_s, now_s
        elif arrived > self.arrived:
            self.cpu_sent_s, self.server_sent_s, self.last_s = cpu_s, server_s, now_s
        self.arrived = arrived


def measure(
    folder: Path, rows: int, workers: int, database: PostgresServer, stub: Server
) -> dict[str, Any]:
    """Send a file; what it took."""
    url = database.new_database()
    file = folder / "coupons.parquet"
    write_parquet(file, rows)
    config = CONFIG.format(url=stub.urls["http"], in_flight=64)
    (folder / "pipeline.toml").write_text(f'ledger = "{url}"\n{config}shares = {workers}\n')
    words = ("run", "--yes", "--quiet", "--json", "--operation", "xsolla.coupon")
    began_s = time.monotonic()
    with (folder / "errors").open("wb") as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words, "--workers", str(workers), str(file)],
            cwd=folder,
            env={**os.environ, **ENVIRON, "PYTHONDONTWRITEBYTECODE": ""},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    ours, theirs = Group(driver.pid), Group(database.pid)
    serving, phases = Group(stub.pid), Phases(rows)
    served_before_s, kept_before_s = _looked(serving).cpu_s, _looked(theirs).cpu_s
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(driver.stdout.read()))  # type: ignore[union-attr]
    reader.start()
    while driver.poll() is None:
        for each in (ours, theirs, serving):
            each.look()
        phases.note(time.monotonic() - began_s, stub.arrived(), ours.cpu_s, serving.cpu_s)
        time.sleep(EVERY_S)
    whole_s = time.monotonic() - began_s
    reader.join()
    text = b"".join(said)
    summary = json.loads(text) if text.startswith(b"{") else {}
    if driver.returncode or not summary:
        raise SystemExit(f"ended with {driver.returncode}: {(folder / 'errors').read_text()}")
    return {
        "rows": rows,
        "updated": summary["statuses"]["updated"],
        "arrived": stub.arrived(),
        "workers": workers,
        "shared_by": [each["rows"] for each in summary.get("workers", ())],
        "prepare_s": phases.first_s,
        "send_s": phases.last_s - phases.first_s,
        "report_s": whole_s - phases.last_s,
        "prepare_us": phases.cpu_before_s / rows * MICRO,
        "send_us": (phases.cpu_sent_s - phases.cpu_before_s) / rows * MICRO,
        "report_us": (ours.cpu_s - phases.cpu_sent_s) / rows * MICRO,
        "database_us": (theirs.cpu_s - kept_before_s) / rows * MICRO,
        "server_us": (serving.cpu_s - served_before_s) / rows * MICRO,
        "server_cores": (phases.server_sent_s - phases.server_before_s)
        / (phases.last_s - phases.first_s),
        "first_mb": ours.peak_mb[driver.pid],
        "worker_mb": ours.largest_mb(without_top=True),
        "database_mb": theirs.largest_mb(),
        "record_bytes": record_bytes(database, url) / rows,
        "database_folder_gb": _bytes_below(database.data) / 1e9,
        "run_bytes": _bytes_below(folder / ".pipeline") / rows,
        "report_bytes": _bytes_below(folder / "reports") / rows,
    }


def _looked(group: Group) -> Group:
    group.look()
    return group


def record_bytes(database: PostgresServer, url: str) -> int:
    """Disk space of the pipeline's tables."""
    query = (
        "select sum(pg_total_relation_size(oid)) from pg_class"
        " where relnamespace = 'pipeline'::regnamespace and relkind = 'r'"
    )
    return int(database.execute(query, database_name(url))[0][0])


def database_name(url: str) -> str:
    """The name in the URL of a database of the tests."""
    return url.partition("///")[2].partition("?")[0]


def _bytes_below(folder: Path) -> int:
    found = (each for each in folder.rglob("*") if each.is_file() and not each.is_symlink())
    return sum(each.stat().st_size for each in found)


def summary_of(made: dict[str, Any]) -> str:
    """What was found, for people."""
    return LINES.format(**made, rate=made["rows"] / made["send_s"])


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="write docs/limits.json")
    given = parser.parse_args()
    about = facts()
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        folder = Path(name)
        for each in ("stub", "work"):
            (folder / each).mkdir()
        with postgres_server() as database, server(folder / "stub") as stub:
            made = measure(folder / "work", given.rows, given.workers, database, stub)
    made |= {"made": datetime.now(UTC).strftime("%Y-%m-%d"), "server": stub.kind}
    made |= {"cores": about["cores"], "load_at_start": about["load_at_start"]}
    print(summary_of(made))
    if given.keep:
        keep("measured", made)
    sys.exit(not made["rows"] == made["updated"] == made["arrived"])


if __name__ == "__main__":
    main()
