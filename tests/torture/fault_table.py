"""Tries faults on runs of several workers, and prints what became of them as a table."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from tests.postgres import PostgresServer
from tests.torture.worker_judge import Arrival, Recorded, Verdict, verdict
from tests.workplace import CONFIG, Simulator, coupon, drop, row_of

RATE = 200
SHARES = 4
IN_FLIGHT = 64
ENTITIES = 500
LIMITS = ("--quota", f"{RATE}/s", "--window", "sliding")
LATENCY = ("--latency-ms", "20", "--jitter-ms", "10")
"""Of the simulator."""
DATABASE = {"track_commit_timestamp": "on"}
"""Settings of the database: the time of each commit is judged."""
MORE = f"shares = {SHARES}\nallow_http = true\ntimeout_s = 5.0"
NO_FAULT = "none"
LONGER = 1.3
"""By which a file is longer than the time in which the use of the quota is measured."""


def configuration(vendor: Simulator, url: str) -> str:
    """`pipeline.toml` of an account in shares, and a database."""
    account = CONFIG.format(
        base_url=vendor.base_url, quota=f'"{RATE}/s"', in_flight=IN_FLIGHT, more=MORE
    )
    return f'ledger = "{url}"\n{account}'


def dropped(folder: Path, rows: int) -> Path:
    """A file of so many rows."""
    return drop(folder, *(coupon(row, entity_of(row)) for row in range(1, rows + 1)))


def entity_of(row: int) -> str:
    """The entity of a row."""
    return f"e{row * 7919 % ENTITIES}"


def judged(
    vendor: Simulator, database: PostgresServer, rows: int, within_s: float | None = None
) -> Verdict:
    """Hold the vendor's log against the record in the first database of the server.

    within_s  as in `verdict`
    """
    with urllib.request.urlopen(f"{vendor.url}/_simulator/stats") as reply:
        began_s = time.time() - json.load(reply)["elapsed_s"]
    arrivals = [
        Arrival(
            began_s + each["arrived_s"],
            row_of(each["body"]),
            is_refused=each["status"] == 429,
            is_applied=bool(each["applied"]),
        )
        for each in sorted(vendor.get("log"), key=lambda entry: entry["seq"])
        if each["operation"] == "xsolla.coupon" and each["method"] == "PUT"
    ]
    results = database.execute(
        "select row, status, extract(epoch from pg_xact_commit_timestamp(xmin))::float8,"
        " (record::json ->> 6)::int from pipeline.results",
        "test_1",
    )
    return verdict(
        rows,
        arrivals,
        {row: Recorded(*recorded) for row, *recorded in results},
        {row: entity_of(row) for row in range(1, rows + 1)},
        RATE,
        within_s=within_s,
    )


HEADER = (
    "| fault | workers | runs | rows | lost | unknown | sent twice | of them after no answer "
    "| acknowledged again | out of order | refused | most in a second | used | seconds |\n"
    "| --- " + "| ---: " * 13 + "|"
)


def line(name: str, workers: int, found: Sequence[Verdict]) -> str:
    """A line of the table, from least to most of several runs.

    >>> one = Verdict(9, 0, 0, 2, 0, 0, 0, 0, 9, 0.97, 15.0)
    >>> line("none", 2, [one, one._replace(twice=5, worst=7, used=0.96, span_s=14.2)])
    '| none | 2 | 2 | 9 | 0 | 0 | 2 to 5 | 0 | 0 | 0 | 0 | 7 to 9 | 0.960 to 0.970 | 14 to 15 |'
    """
    columns = [sorted(column) for column in zip(*found, strict=True)]
    forms = [*["d"] * (len(columns) - 2), ".3f", ".0f"]
    cells = [
        " to ".join(dict.fromkeys(format(each, form) for each in (column[0], column[-1])))
        for column, form in zip(columns, forms, strict=True)
    ]
    return f"| {name} | {workers} | {len(found)} | {' | '.join(cells)} |"


class Attempt(Protocol):
    """Sends one file, with the fault of this name, in a new folder."""

    def __call__(
        self, name: str, folder: Path, *, workers: int, seconds: float
    ) -> tuple[Verdict, list[str]]:
        """What became of it, and which promises were broken, in words."""


def tabulate(
    description: str | None,
    faults: Collection[str],
    attempt: Attempt,
    *,
    left_out: Collection[str] = (),
    by_name: Collection[str] = (),
) -> None:
    """Do what the arguments of the command say, print the table, and exit.

    left_out  faults that cannot be tried here
    by_name   faults that are tried only if they are named
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("faults", nargs="*", metavar="fault", help=f"{', '.join(faults)}")
    parser.add_argument("--times", type=int, default=1, help="runs of each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0, help="of sending, without a fault")
    arguments = parser.parse_args()
    names = arguments.faults or [each for each in faults if each not in by_name]
    if unknown := set(names) - set(faults):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    top = Path(tempfile.mkdtemp(prefix="worker-faults-"))
    lines, is_broken = [], False
    for name in (each for each in names if each not in left_out):
        found = []
        for number in range(1, arguments.times + 1):
            folder = top / f"{name.replace(' ', '-')}-{number}"
            folder.mkdir()
            one, wrong = attempt(name, folder, workers=arguments.workers, seconds=arguments.seconds)
            found.append(one)
            print(f"{name} {number}: {one}", flush=True)
            for each in wrong:
                print(f"  BROKEN: {each}; see {folder}", flush=True)
            is_broken |= bool(wrong)
        lines.append(line(name, arguments.workers, found))
    print("\n".join((HEADER, *lines)))
    if not is_broken:
        shutil.rmtree(top)
    sys.exit(is_broken)
