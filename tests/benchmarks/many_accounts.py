"""How much of its allowance each account uses in one process, and what that costs: many slow ones,
and a quick one.

    .venv/bin/python -m tests.benchmarks.many_accounts
    .venv/bin/python -m tests.benchmarks.many_accounts --accounts 5 --quota 200/s --seconds 30
    .venv/bin/python -m tests.benchmarks.many_accounts --accounts 1 --quota 500/s --seconds 35

One run of one file, each row to one of the accounts, each account with a credential and a quota of
its own. The simulator is a process of its own and sets no limit; its log says what arrived when.

Columns: `used`, what arrived of all that an account's quota allows from its first to its last
arrival, of the account that used least and of the median; `excess`, by how many requests the
fullest window of all exceeds its limit; `CPU`, user and system time of the sending process as a
share of one core, in a run of so many seconds beyond what one of SHORT_S takes: without its start.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.config import Config, load_config
from pipeline.model.quota import Quota, parse_quota
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.run.event_loop import run_async
from pipeline.runs import RunOptions
from pipeline.vendors import load_vendors
from tests.workplace import COLUMNS, ENVIRON, coupon, simulator

FIRST_PROJECT = 44_100
CASES = ((50, "20/s"), (1, "500/s"))
SHORT_S = 5.0
ACCOUNT = """
[accounts.shop{project}]
vendor = "xsolla"
base_url = "{base_url}"
project_id = {project}
api_key = "env:SHOP_KEY"
quota = "{quota}"
in_flight = 64
"""


@dataclass(frozen=True, slots=True)
class Use:
    """The use of one account's quota.

    share   of what it allows from the first to the last arrival
    excess  requests above the limit in the fullest window
    """

    share: float
    excess: int


def use_of(arrived_s: Sequence[float], quota: Quota) -> Use:
    """The use of a quota by requests that arrived at these times.

    >>> use_of([0.0, 0.5, 1.0, 1.5], Quota(2, 1.0))
    Use(share=1.0, excess=0)
    """
    arrived_s, first, most = sorted(arrived_s), 0, 0
    for last, at_s in enumerate(arrived_s):
        while arrived_s[first] <= at_s - quota.per_s:
            first += 1
        most = max(most, last - first + 1)
    lasts_s = arrived_s[-1] - arrived_s[0]
    return Use((len(arrived_s) - 1) / lasts_s / quota.per_second, max(0, most - quota.limit))


def write(folder: Path, base_url: str, accounts: int, quota: str, rows: int) -> tuple[Path, Path]:
    """The configuration, and a file with `rows` rows for each account, by turns."""
    projects = range(FIRST_PROJECT, FIRST_PROJECT + accounts)
    tables = [ACCOUNT.format(project=each, base_url=base_url, quota=quota) for each in projects]
    names = [f"shop{project}" for project in projects]
    tables.append(f'[input."xsolla.coupon"]\naccounts = {json.dumps(names)}\n')
    config, file = folder / "pipeline.toml", folder / "many.csv"
    config.write_text("".join(tables))
    lines = (f"{coupon(row)},{names[row % accounts]}" for row in range(rows * accounts))
    file.write_text("\n".join([f"{COLUMNS},account", *lines]) + "\n")
    return config, file


async def send(config: Config, file: Path) -> dict[str, float]:
    """Send the file: seconds of CPU and of the clock."""
    options = RunOptions(operation="xsolla.coupon")
    prepared = await anyio.to_thread.run_sync(prepare, file, config, options)
    cpu_s, began_s = time.process_time(), time.monotonic()
    await carry_out(prepared, RunEnvironment(environ=ENVIRON))
    return {"cpu_s": time.process_time() - cpu_s, "lasts_s": time.monotonic() - began_s}


def arrivals(log: Sequence[Mapping[str, object]]) -> dict[str, list[float]]:
    """When requests arrived, by project."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for entry in log:
        if entry["operation"] == "xsolla.coupon":
            found[str(entry["scope"])].append(float(str(entry["arrived_s"])))
    return found


HEAD = (
    "| accounts | quota | rows | used, least | used, median | excess | CPU | µs per row |\n"
    + "| --- " * 8
    + "|"
)


def run(accounts: int, quota: Quota, rows: int) -> tuple[dict[str, float], list[Use]]:
    """What a run of so many rows per account took, and the use of each account's quota."""
    way = ("--latency-ms", "20", "--jitter-ms", "10")
    with tempfile.TemporaryDirectory() as name, simulator(*way) as vendor:
        paths = write(Path(name), vendor.base_url, accounts, str(quota), rows)
        command = [sys.executable, "-m", __spec__.name, "--send", *map(str, paths)]
        taken = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return taken, [use_of(each, quota) for each in arrivals(vendor.get("log")).values()]


def measure(accounts: int, quota: Quota, seconds: float) -> str:
    """The case's line of the table."""
    rows, few = (int(quota.per_second * each_s) for each_s in (seconds, SHORT_S))
    short, _ = run(accounts, quota, few)
    taken, uses = run(accounts, quota, rows)
    shares = [each.share for each in uses]
    cpu_s, lasts_s = (taken[each] - short[each] for each in ("cpu_s", "lasts_s"))
    return (
        f"| {len(uses)} | {quota} | {rows * accounts} | {min(shares):.1%} "
        f"| {statistics.median(shares):.1%} | {max(each.excess for each in uses)} "
        f"| {cpu_s / lasts_s:.1%} | {cpu_s / (rows - few) / accounts * 1e6:.0f} |"
    )


def main() -> None:
    """As the arguments say; without a number of accounts and a quota, all of CASES."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accounts", type=int, help="with --quota")
    parser.add_argument("--quota")
    parser.add_argument("--seconds", type=float, default=35.0)
    parser.add_argument("--send", nargs=2, type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if (words.accounts is None) != (words.quota is None):
        parser.error("--accounts and --quota go together")
    if words.send:
        path, file = words.send
        config = load_config(path, environ=ENVIRON, vendors=load_vendors(), cwd=path.parent)
        print(json.dumps(run_async(send, config, file)))
        return
    print(HEAD, flush=True)
    for accounts, quota in [(words.accounts, words.quota)] if words.quota else CASES:
        print(measure(accounts, parse_quota(quota), words.seconds), flush=True)


if __name__ == "__main__":
    main()
