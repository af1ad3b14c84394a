"""Tables of what `make bench` measured, for the terminal and for docs/benchmarks.md.

    make bench-docs

It copies build/bench.json to docs/benchmarks.json, and writes the figures from there into the page
and the README, between marks. tests/test_benchmarks.py compares them.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "build" / "bench.json"
KEPT = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
MARKED = re.compile(r"(<!-- make bench-docs -->\n).*?(<!-- /make bench-docs -->\n)", re.DOTALL)
README_LINES = re.compile(r"(?<=\n)\| speed without a quota, .*?\n\| compared with .*?\n")
BARE, OURS = "bare aiohttp loop", "pipeline, sending"
MAX_LOAD = 2.0
"""Of a machine with two cores that has just come to rest: what was measured on a busier one does
not go into the README."""
ON_PAGE = {"checksums"}
"""Parts whose cost is on the page; that of the others is in `docs/benchmarks.json` only."""
KINDS = {
    "sending": "sending alone, without start-up, reading and report",
    "whole": "the whole process, from its start to its end",
    "part": "parts of the same runs",
}


def speed_table(made: dict[str, Any]) -> list[str]:
    """Lines of Markdown: a table for each size, scheme and number in flight."""
    lines = []
    for (rows, scheme, in_flight), group in groupby(made["entries"], key=_block):
        found = list(group)
        title = f"**{rows:,} rows over {scheme}, {in_flight} in flight**"
        lines += [f"{title}: median of {made['rounds']} rounds (least to most).", ""]
        lines += ["| | rows/s | to the bare loop | CPU a row | to the bare loop | peak |"]
        lines += ["| --- " * 6 + "|"]
        for kind, about in KINDS.items():
            same = [each for each in found if each["kind"] == kind]
            if same:
                lines += [f"| *{about}* | | | | | |", *map(_row, same, [same] * len(same))]
        lines.append("")
    return lines[:-1]


def _block(entry: dict[str, Any]) -> tuple[int, str, int]:
    return entry["rows"], entry["scheme"], entry["in_flight"]


def _row(entry: dict[str, Any], same: Sequence[dict[str, Any]]) -> str:
    runs = entry["runs"]
    bare = next((each["runs"] for each in same if each["name"] == BARE), None)
    rate, effort = "", ""
    if bare is not None:
        rate = _spread(_ratios(runs, bare, "rows_per_s"), ".2f")
        effort = _spread(_ratios(runs, bare, "cpu_us"), ".2f")
    short = min(run["arrived"] for run in runs)
    says = [entry["says"]] if entry["says"] else []
    if entry["kind"] != "part" and short != entry["rows"]:
        says.append(f"{short:,} requests")
    name = entry["name"] + (f" ({'; '.join(says)})" if says else "")
    cells = [
        _spread([run["rows_per_s"] for run in runs], ",.0f"),
        rate,
        f"{_spread([run['cpu_us'] for run in runs], '.0f')} µs",
        effort,
        f"{median(run['peak_mb'] for run in runs):.0f} MB",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _ratios(
    runs: Sequence[dict[str, Any]], bare: Sequence[dict[str, Any]], figure: str
) -> list[float]:
    """Round by round: a machine's speed drifts."""
    return [a[figure] / b[figure] for a, b in zip(runs, bare, strict=True)]


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def costs_table(made: dict[str, Any]) -> list[str]:
    """What the benchmarks of single parts printed."""
    lines = []
    for cost in made["costs"]:
        lines += [f"The {cost['name']} alone, {cost['rows']:,} rows:", "", "```text"]
        lines += [*cost["lines"], "```", ""]
    return lines[:-1]


def facts_line(made: dict[str, Any]) -> str:
    """The machine, the server and how busy it was."""
    machine = made["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    versions = {" ".join(each["version"].split()[:2]) for each in made["entries"]} - {""}
    peers = f" Compared with: {'; '.join(sorted(versions))}." if versions else ""
    return (
        f"{made['made'][:10]}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gb']} GB, {machine['system']}, Python {machine['python']}, {libraries}; "
        f"{made['server']} on the same machine. Load average {machine['load_at_start']:.1f} at the "
        f"start and {machine['load_at_end']:.1f} at the end, the benchmark itself included: on a "
        f"busy machine the ratios and CPU times count, not the rows per second.{peers}"
    )


def figures(made: dict[str, Any]) -> str:
    """What stands between the marks of the page."""
    lines = [facts_line(made), "", *speed_table(made)]
    shown = [cost for cost in made["costs"] if cost["name"] in ON_PAGE]
    lines += ["", *costs_table({**made, "costs": shown})] if shown else []
    skipped = [f"{each['name']} ({each['rows']} rows): {each['why']}" for each in made["skipped"]]
    lines += ["", f"Not compared: {'; '.join(skipped)}."] if skipped else []
    return "\n".join(lines) + "\n"


def readme_lines(made: dict[str, Any]) -> str:
    """The two lines of the README's table that say how fast it is."""
    blocks: Iterator[list[dict[str, Any]]] = (
        list(group) for _, group in groupby(made["entries"], key=_block)
    )
    first = next(blocks)
    ours, bare = (
        next(each for each in first if each["name"] == name and each["kind"] == "sending")
        for name in (OURS, BARE)
    )
    speed = median(run["rows_per_s"] for run in ours["runs"])
    ratio = _spread(_ratios(ours["runs"], bare["runs"], "rows_per_s"), ".2f")
    return (
        f"| speed without a quota, {ours['in_flight']} requests in flight | {speed:,.0f} rows/s "
        f"on {made['machine']['cores']} cores |\n"
        f"| compared with a bare loop of the same requests | {ratio} of its rows per second |\n"
    )


def with_figures(page: str, readme: str, made: dict[str, Any]) -> tuple[str, str]:
    """The page with the figures in their place; the README too if the machine was idle."""
    text = figures(made)
    page, places = MARKED.subn(lambda found: f"{found[1]}\n{text}\n{found[2]}", page)
    is_idle = made["machine"]["load_at_start"] <= MAX_LOAD
    readme, lines = README_LINES.subn(
        lambda found: readme_lines(made) if is_idle else found[0], readme
    )
    if places != 1 or lines != 1:
        raise SystemExit(f"{PAGE} or {README} has lost the place of its figures")
    return page, readme


def main() -> None:
    """Keep the last measurement and write its figures."""
    if not MEASURED.exists():
        sys.exit(f"{MEASURED} does not exist: run `make bench` first")
    shutil.copy(MEASURED, KEPT)
    made = json.loads(KEPT.read_text())
    page, readme = with_figures(PAGE.read_text(), README.read_text(), made)
    PAGE.write_text(page)
    README.write_text(readme)
    print(f"Wrote {PAGE} and {README}.")


if __name__ == "__main__":
    main()
