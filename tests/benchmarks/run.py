"""Speed, CPU time and memory of the pipeline beside a bare loop and published tools, in one run.

    make bench
    .venv/bin/python -m tests.benchmarks.run --rows 10000 100000 --rounds 5 --in-flight 16 64

All send the same requests to the same server with the same number in flight, in turn, in rounds
that each begin with another one, for a machine's speed drifts: compare within one run only. Each is
a process of its own, whose CPU time and peak memory the system counts; the server counts what
arrived. Results are printed and written to build/bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.contestants import (
    CHECKSUMS,
    CONTESTANTS,
    Contestant,
    Task,
    write_requests,
)
from tests.benchmarks.figures import OURS, costs_table, speed_table
from tests.benchmarks.files import write_csv
from tests.benchmarks.machine import facts
from tests.benchmarks.servers import Server, server
from tests.benchmarks.sides import ENVIRON

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench.json"
LAUNCH = Path(__file__).with_name("launch.py")


def measure(one: Contestant, task: Task, serving: Server, folder: Path) -> dict[str, Any]:
    """One run of a contestant.

    wall_s, cpu_s, peak_mb  of its whole process
    arrived                 requests at the server
    and what it prints of itself as a last line of JSON
    """
    folder.mkdir(parents=True)
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}  # byte code is there, as where people use it
    environ = {**os.environ, **compiled, **ENVIRON, "PYTHONPATH": str(ROOT), **one.environ(task)}
    before = serving.arrived()
    output = folder / "output.txt"
    done = subprocess.run(
        [sys.executable, "-S", str(LAUNCH), str(output), *one.command(task, folder)],
        cwd=folder,
        env=environ,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    cost = json.loads(done.stdout)
    said = output.read_text(errors="replace")
    if cost.pop("code"):
        raise SystemExit(f"{one.name} failed:\n{said[-2000:]}")
    last = said.strip().rpartition("\n")[2]
    return {
        **(json.loads(last) if one.program is None and last.startswith("{") else {}),
        **cost,
        "arrived": serving.arrived() - before,
    }


def compare(
    contestants: Sequence[Contestant], task: Task, serving: Server, rounds: int, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Name -> what was measured in each round."""
    found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contestants}
    for number in range(rounds):
        turn = number % len(contestants)
        for one in (*contestants[turn:], *contestants[:turn]):
            place = folder / f"{number}-{one.name.replace(' ', '_')}"
            print(f"  round {number + 1} of {rounds}: {one.name}", flush=True)
            found[one.name].append(measure(one, task, serving, place))
    return found


def entries(
    contestants: Sequence[Contestant], found: dict[str, list[dict[str, Any]]], task: Task
) -> Iterator[dict[str, Any]]:
    """A line for each contestant, and two for parts of the pipeline, which are timed apart."""
    for one in contestants:
        runs = found[one.name]
        common = {"scheme": task.scheme, "rows": task.rows, "in_flight": task.in_flight}
        about = {"name": one.name, "says": one.says, "version": one.version()}
        whole = [(run["wall_s"], run["cpu_s"], run["peak_mb"], run["arrived"]) for run in runs]
        if one.name.startswith("pipeline, ") and "send_s" in runs[0]:
            whole = []  # sending is part of it, and the command itself is another entry
        if one.name == OURS:
            for part, name in (("take_and_bind", "read and bind"), ("report", "report")):
                times = [
                    (run[f"{part}_s"], run[f"{part}_cpu_s"], run["peak_mb"], 0) for run in runs
                ]
                part_of = {"name": f"pipeline, {name}", "says": "", "version": ""}
                yield {**part_of, **common, "kind": "part", "runs": _runs(times, task.rows)}
        if "send_s" in runs[0]:
            times = [
                (run["send_s"], run["send_cpu_s"], run["peak_mb"], run["arrived"]) for run in runs
            ]
            yield {**about, **common, "kind": "sending", "runs": _runs(times, task.rows)}
        if whole:
            yield {**about, **common, "kind": "whole", "runs": _runs(whole, task.rows)}


def _runs(found: Sequence[tuple[float, float, float, int]], rows: int) -> list[dict[str, Any]]:
    return [
        {
            "rows_per_s": round((arrived or rows) / wall_s, 1),
            "cpu_us": round(cpu_s / (arrived or rows) * 1e6, 2),
            "peak_mb": round(peak_mb, 1),
            "arrived": arrived,
        }
        for wall_s, cpu_s, peak_mb, arrived in found
    ]


def present(
    names: Sequence[str] | None, rows: int
) -> tuple[list[Contestant], list[dict[str, str]]]:
    """The contestants that take part, and who does not and why."""
    wanted = [one for one in CONTESTANTS if names is None or one.name in names]
    skipped = []
    for one in tuple(wanted):
        why = ""
        if one.found() is None:
            why = "not installed"
        elif one.max_rows is not None and rows > one.max_rows:
            why = f"takes {one.max_rows:,} rows at most here"
        if why:
            wanted.remove(one)
            skipped.append({"name": one.name, "why": why, "rows": f"{rows:,}"})
            print(f"skipped: {one.name} ({rows:,} rows): {why}", flush=True)
    return wanted, skipped


def checksums(task: Task, serving: Server, rounds: int, folder: Path) -> dict[str, Any]:
    """The share of checksums in the CPU time of a run."""
    runs = [measure(CHECKSUMS, task, serving, folder / str(n)) for n in range(rounds)]
    shares = [run["checksums_cpu_s"] / run["run_cpu_s"] for run in runs]
    line = (
        f"{statistics.median(shares):.1%} of the CPU time of a run "
        f"({min(shares):.1%} to {max(shares):.1%}, {rounds} runs)"
    )
    return {"name": "checksums", "rows": task.rows, "lines": [line]}


def costs(rows: int) -> list[dict[str, Any]]:
    """What the benchmarks of single parts print, those that there are."""
    found = []
    for name in ("load", "ledger"):
        module = f"tests.benchmarks.{name}"
        if find_spec(module) is None:
            print(f"skipped: {module}: there is none", flush=True)
            continue
        print(f"  {name} alone", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", module, "--rows", str(rows)],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found.append({"name": name, "rows": rows, "lines": done.stdout.strip().splitlines()})
    return found


def main() -> None:
    """Everything, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--schemes", nargs="+", choices=["http", "https"], default=["http", "https"]
    )
    names = [one.name for one in CONTESTANTS]
    parser.add_argument("--only", nargs="+", choices=names, help="compare only these")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    made: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": facts(),
        "rounds": given.rounds,
        "entries": [],
        "skipped": [],
        "costs": [],
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as name, server(Path(name)) as serving:
        made["server"] = serving.kind
        for rows in given.rows:
            sides, skipped = present(given.only, rows)
            made["skipped"] += skipped
            file = Path(name) / f"coupons-{rows}.csv"
            write_csv(file, rows)
            for scheme in given.schemes:
                task = Task(
                    rows=rows,
                    file=file,
                    requests=Path(name) / f"requests-{scheme}-{rows}",
                    url=serving.urls[scheme],
                    ca_file=serving.ca_file,
                    in_flight=given.in_flight[0],
                )
                made["entries"] += _block(sides, task, serving, given)
                if given.only is None and not made["costs"]:
                    place = Path(name) / "checksums"
                    made["costs"].append(checksums(task, serving, given.rounds, place))
            file.unlink()
        if given.only is None:
            made["costs"] += costs(min(given.rows))
    made["machine"]["load_at_end"] = os.getloadavg()[0]
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(made, indent=1) + "\n")
    print("\n".join(("", *speed_table(made), "", *costs_table(made))))
    print(f"Wrote {given.out}. `make bench-docs` puts it into docs/benchmarks.md.")


def _block(
    sides: Sequence[Contestant], task: Task, serving: Server, given: argparse.Namespace
) -> list[dict[str, Any]]:
    """One size over one scheme."""
    found: list[dict[str, Any]] = []
    write_requests(task)
    for in_flight in given.in_flight:
        print(
            f"{task.rows:,} rows, {task.scheme}, {in_flight} in flight, {serving.kind}", flush=True
        )
        each = replace(task, in_flight=in_flight)
        with tempfile.TemporaryDirectory(dir=task.requests.parent) as place:
            found += entries(sides, compare(sides, each, serving, given.rounds, Path(place)), each)
    return found


if __name__ == "__main__":
    main()
