"""CPU time of taking and binding a file, row by row and by columns, side by side.

    make bench-load
    .venv/bin/python -m tests.benchmarks.load --rows 100000 1000000 --rounds 3

Each measurement is a process of its own with one thread of polars, in turn with the others; the
table has their medians. CPU time includes the process that decodes a large Parquet file first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.loader import bind, ingest
from pipeline.model import Link
from pipeline.model.retry import RetryPolicy
from pipeline.vendors import Account, load_vendors
from tests.benchmarks.files import WRITERS

WAYS = ("row by row", "by columns")
COUPON, BONUS = "xsolla.coupon", "xsolla.bonus-promotion"
_CHUNK_ROWS = 100_000
_ODD = 10  # one row in so many


def promotion(row: int) -> dict[str, str]:
    """One bonus promotion."""
    return {
        "promotion_id": str(100_000 + row),
        "name.en-US": f"Winter bonus {row}",
        "name.de-DE": f"Winterbonus {row}",
        "condition": "null" if row % 3 else "elven_sword",
        "bonus": f"elven_shield:{row % 9 + 1}",
        "date_start": "2026-12-01T00:00:00+01:00",
        "date_end": "null",
        "attribute_conditions": "omit",
        "limits.per_user": str(row % 500 + 1),
        "limits.recurrent_schedule": "null",
        "price_conditions": "omit",
        "excluded_promotions": "omit",
    }


def frames(rows: int) -> Iterator[pl.DataFrame]:
    """Bonus promotions, some at a time."""
    for start in range(1, rows + 1, _CHUNK_ROWS):
        end = min(rows, start + _CHUNK_ROWS - 1)
        yield pl.DataFrame([promotion(row) for row in range(start, end + 1)])


def write_promotions(path: Path, rows: int) -> None:
    """A file of bonus promotions."""
    whole = pl.concat(frames(rows))
    if path.suffix == ".csv":
        whole.write_csv(path)
    else:
        whole.write_parquet(path, row_group_size=131_072)


def write_odd(path: Path, rows: int) -> None:
    """Coupons, every tenth with a name that needs escapes."""
    WRITERS[path.suffix](path, rows)
    read = pl.read_csv if path.suffix == ".csv" else pl.read_parquet
    whole = read(path, **({"infer_schema": False} if path.suffix == ".csv" else {}))
    name = pl.concat_str(pl.lit('"'), pl.col("name.en-US"), pl.lit('"'))
    is_odd = pl.int_range(pl.len()) % _ODD == 0
    whole = whole.with_columns(
        pl.when(is_odd).then(name).otherwise("name.en-US").alias("name.en-US")
    )
    if path.suffix == ".csv":
        whole.write_csv(path)
    else:
        whole.write_parquet(path, row_group_size=131_072)


KINDS = {
    "coupons": (COUPON, lambda path, rows: WRITERS[path.suffix](path, rows)),
    "promotions": (BONUS, write_promotions),
    "coupons, every tenth odd": (COUPON, write_odd),
}


def account() -> Account:
    """An account at Xsolla that nothing is sent to."""
    vendor = load_vendors()["xsolla"]
    settings = vendor.settings(**{**vendor.simulated, "base_url": "https://store.example"})
    return Account(
        name="shop",
        vendor=vendor,
        settings=settings,
        link=Link(base_url=settings.base_url),
        quotas=(),
        is_assumed=False,
        in_flight=1,
        retry=RetryPolicy(),
    )


def measured(path: Path, operation: str, way: str) -> dict[str, float]:
    """CPU seconds of taking and of binding, peak memory, rows and the size of the jobs file."""
    sender = account()
    operations = {each.name: each for each in sender.vendor.operations}
    with tempfile.TemporaryDirectory() as folder:
        began = _cpu_s()
        snapshot = ingest(path, Path(folder) / "snapshot.parquet")
        taken = _cpu_s()
        bound = bind(
            snapshot,
            Path(folder),
            operations=operations,
            accounts={sender.name: sender},
            inputs={},
            operation=operation,
            folder_operation=None,
            account=sender.name,
            timezone=None,
            force_order=False,
            allow_irreversible=False,
            emit=lambda _results: None,
            by_columns=way == "by columns",
        )
        ended = _cpu_s()
        size = bound.jobs[sender.name].path.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"take": taken - began, "bind": ended - taken, "peak_mb": peak, "bytes": size}


def _cpu_s() -> float:
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def in_a_process(path: Path, operation: str, way: str) -> dict[str, float]:
    """`measured` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--one", str(path), operation, way]
    environ = {**os.environ, "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, env=environ, check=True, capture_output=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("FILE", "OPERATION", "WAY"))
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(Path(given.one[0]), *given.one[1:])))
        return
    print(f"load averages {os.getloadavg()}, medians of {given.rounds}, CPU µs per row")
    print(f"{'rows':>9} {'file':33} {'way':11} {'take':>6} {'bind':>6} {'rows/s':>9} {'MB':>5}")
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            for kind, (operation, write) in KINDS.items():
                for ending in (".parquet", ".csv"):
                    path = Path(folder) / f"rows{ending}"
                    write(path, rows)
                    _show(rows, f"{kind}{ending}", _rounds(path, operation, given.rounds))


def _rounds(path: Path, operation: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            found[way].append(in_a_process(path, operation, way))
    return found


def _show(rows: int, name: str, found: dict[str, list[dict[str, Any]]]) -> None:
    for way, some in found.items():
        take, bound = (statistics.median(each[part] for each in some) for part in ("take", "bind"))
        peak = max(each["peak_mb"] for each in some)
        print(
            f"{rows:>9} {name:33} {way:11} {take / rows * 1e6:6.1f} {bound / rows * 1e6:6.1f} "
            f"{rows / (take + bound):9,.0f} {peak:5.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
