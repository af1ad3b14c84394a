"""Throughput, CPU time and memory of the pipeline beside a bare aiohttp loop, in one run.

    make bench
    .venv/bin/python tests/benchmarks/run.py --rows 100000 --in-flight 16 64 --pairs 5

Both sides send the same bytes to the same server with the same number in flight, in turn, each in
a process of its own; the ratio is taken pair by pair, for a machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.files import write_csv  # noqa: E402 - needs the path above
from tests.benchmarks.servers import server  # noqa: E402 - likewise

GOAL = 0.8
LEDGER_GOAL = 0.9
CHECKSUMS_GOAL = 0.03


def one(side: str, file: Path, url: str, in_flight: int, folder: Path) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.sides", side, str(file), url]
    done = subprocess.run(
        [*command, str(in_flight), str(folder)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def middle(found: list[dict[str, Any]], key: str) -> float:
    """The median of one figure."""
    return statistics.median(one[key] for one in found)


def compare(file: Path, url: str, in_flight: int, pairs: int, folder: Path) -> float:
    """Run the pairs, print the table, give back the median ratio of rows per second."""
    ours, bare = [], []
    for pair in range(pairs):
        bare.append(one("bare", file, url, in_flight, folder / f"bare{in_flight}-{pair}"))
        ours.append(one("pipeline", file, url, in_flight, folder / f"ours{in_flight}-{pair}"))
    rows = ours[0]["rows"]
    ratios = [b["send_s"] / o["send_s"] for o, b in zip(ours, bare, strict=True)]
    cpu = [b["send_cpu_s"] / o["send_cpu_s"] for o, b in zip(ours, bare, strict=True)]
    print(f"\n{rows} rows, {in_flight} in flight, {pairs} pairs (medians)")
    print(f"{'':26}{'rows/s':>10}{'CPU us/row':>12}{'peak MB':>9}")
    for name, found, part in (
        ("bare aiohttp loop, send", bare, "send"),
        ("pipeline, send", ours, "send"),
        ("pipeline, take and bind", ours, "take_and_bind"),
    ):
        rate, us = rows / middle(found, f"{part}_s"), middle(found, f"{part}_cpu_s") / rows * 1e6
        print(f"{name:26}{rate:10.0f}{us:12.1f}{middle(found, 'peak_mb'):9.0f}")
    print(f"{'pipeline, report':26}{rows / middle(ours, 'report_s'):10.0f}")
    print(
        f"ratio, pipeline to bare loop: {statistics.median(ratios):.2f} of its rows/s "
        f"({min(ratios):.2f} to {max(ratios):.2f}), goal {GOAL}; "
        f"{statistics.median(cpu):.2f} by CPU time"
    )
    return statistics.median(ratios)


def cost_of_the_ledger(file: Path, url: str, in_flight: int, pairs: int, folder: Path) -> float:
    """The same run with its ledger on disk and in memory, in turn; the median of the ratios."""
    kept, forgotten = [], []
    for pair in range(pairs):
        for side, found in (("pipeline", kept), ("memory", forgotten)):
            found.append(one(side, file, url, in_flight, folder / f"{side}-{in_flight}-{pair}"))
    ratios = [f["send_s"] / k["send_s"] for k, f in zip(kept, forgotten, strict=True)]
    rows, ratio = kept[0]["rows"], statistics.median(ratios)
    print(
        f"\nledger on disk to ledger in memory, {rows} rows, {in_flight} in flight, {pairs} pairs: "
        f"{rows / middle(kept, 'send_s'):.0f} to {rows / middle(forgotten, 'send_s'):.0f} rows/s, "
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), goal {LEDGER_GOAL}"
    )
    return ratio


def cost_of_the_checksums(file: Path, url: str, in_flight: int, pairs: int, folder: Path) -> float:
    """What part of the CPU time of a run goes into checksums; the median of some runs."""
    found = [one("checksums", file, url, in_flight, folder / f"sums-{n}") for n in range(pairs)]
    shares = [each["checksums_cpu_s"] / each["cpu_s"] for each in found]
    rows, share = found[0]["rows"], statistics.median(shares)
    print(
        f"\nchecksums of {rows} rows, {pairs} runs: "
        f"{middle(found, 'checksums_cpu_s') / rows * 1e6:.2f} of "
        f"{middle(found, 'cpu_s') / rows * 1e6:.0f} us of CPU a row, {share:.1%} "
        f"({min(shares):.1%} to {max(shares):.1%}), goal {CHECKSUMS_GOAL:.0%}"
    )
    return share


def main() -> None:
    """Everything, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--ledger", type=int, nargs="*", default=[64, 512])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "coupons.csv"
        write_csv(file, given.rows)
        with server(folder) as (kind, url):
            print(f"server: {kind}; both sides: asyncio's own event loop")
            for in_flight in given.ledger:
                cost_of_the_ledger(file, url, in_flight, given.pairs, folder)
            cost_of_the_checksums(file, url, 64, given.pairs, folder)
            for in_flight in given.in_flight:
                compare(file, url, in_flight, given.pairs, folder)


if __name__ == "__main__":
    main()
