"""Whether a quota holds at a counter that knows nothing of us: make judge.

    .venv/bin/python -m tests.benchmarks.quota_judge
    .venv/bin/python -m tests.benchmarks.quota_judge --runs 3 --seconds 15 20/s jitter

Each run is the command, sending a file to `judge_server.py`, a process of its own that stamps what
arrives. Printed is a Markdown table: of all runs of a case the most that arrived in any window of
the quota's length, how many runs passed the limit, and the share of the allowance that was used
between the first and the last arrival, of the run that used least and of the one that used most.
Ends with 1 where a limit was passed. All cases, ten runs of 20 s each, take an hour and a half.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.model.quota import Quota, parse_quota
from tests.workplace import COLUMNS, CONFIG, ENVIRON, coupon

IN_FLIGHT = 512
HERE = Path(__file__).parent
HEAD = "| quota | pacing | way | runs | worst window | passed | used |\n" + "| --- " * 7 + "|"


@dataclass(frozen=True, slots=True)
class Case:
    """A quota and a way.

    quota    as configured
    way      in words
    options  of the judge
    """

    quota: str
    way: str
    options: Sequence[str]
    pacing: str = "even"

    @property
    def words(self) -> str:
        """What the words of the command are looked for in."""
        return f"{self.quota} {self.pacing} {self.way}"


WAYS: dict[str, Sequence[str]] = {
    "quick": (),
    "cold by 0.2 s": ("--cold-s", "0.2"),
    "first three cold by 0.8 s": ("--cold-s", "0.8", "--cold-requests", "3"),
    "first hundred cold by 0.3 s": ("--cold-s", "0.3", "--cold-requests", "100"),
    "jitter 0.1 s": ("--jitter-s", "0.1"),
    "jitter 0.3 s": ("--jitter-s", "0.3"),
    "jitter 0.6 s": ("--jitter-s", "0.6"),
    "jitter 1.2 s": ("--jitter-s", "1.2"),
}


def cases() -> Iterator[Case]:
    """All of them, in the order of the table."""
    for quota in ("20/s", "100/s", "500/s"):
        for way, options in WAYS.items():
            yield Case(quota, way, options)
    for way in ("first three cold by 0.8 s", "jitter 0.6 s"):
        yield Case("50/s burst", way, WAYS[way])
        yield Case("20/s", way, WAYS[way], pacing="strict")


@contextmanager
def judge(log: Path, options: Sequence[str]) -> Iterator[str]:
    """Its base URL, while the block runs."""
    command = [sys.executable, str(HERE / "judge_server.py"), str(log), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def arrivals(case: Case, rows: int, seed: int) -> list[float]:
    """When the requests of a run arrived, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        with judge(log, [*case.options, "--seed", str(seed)]) as base_url:
            text = CONFIG.format(
                base_url=base_url,
                quota=f'"{case.quota}"',
                in_flight=IN_FLIGHT,
                more=f'pacing = "{case.pacing}"',
            )
            (folder / "pipeline.toml").write_text(text)
            lines = [COLUMNS, *map(coupon, range(1, rows + 1))]
            (folder / "rows.csv").write_text("\n".join(lines) + "\n")
            command = [sys.executable, "-m", "pipeline", "run", "--yes", "--quiet"]
            subprocess.run(
                [*command, "--operation", "xsolla.coupon", "rows.csv"],
                cwd=folder,
                env={**ENVIRON, "PYTHONPATH": str(Path.cwd())},
                check=True,
                stdout=subprocess.DEVNULL,
            )
        return sorted(map(float, log.read_text().split()))


def worst(arrived_s: Sequence[float], quota: Quota) -> int:
    """The most that arrived in any window.

    >>> worst([0.0, 0.4, 1.0, 1.3], Quota(2, 1.0))
    3
    """
    return max(
        number + 1 - bisect_right(arrived_s, at_s - quota.per_s)
        for number, at_s in enumerate(arrived_s)
    )


def play(case: Case, runs: int, seconds: float) -> tuple[str, int]:
    """The case's line of the table, and how many runs passed the limit."""
    quota = parse_quota(case.quota)
    windows, used = [], []
    for seed in range(runs):
        arrived_s = arrivals(case, int(quota.per_second * seconds), seed)
        windows.append(worst(arrived_s, quota))
        span_s = arrived_s[-1] - arrived_s[0]
        used.append((len(arrived_s) - 1) / (quota.per_second * span_s))
    passed = sum(window > quota.limit for window in windows)
    cells = (
        *(case.quota, case.pacing, case.way, str(runs)),
        *(f"{max(windows)} of {quota.limit}", str(passed), f"{min(used):.1%} to {max(used):.1%}"),
    )
    return f"| {' | '.join(cells)} |", passed


def main() -> int:
    """Play the cases that hold all of the words given, or all; 2 if there is none."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("words", nargs="*", help='for example "20/s", jitter, strict')
    arguments.add_argument("--runs", type=int, default=10)
    arguments.add_argument("--seconds", type=float, default=20.0, help="at the whole quota")
    given = arguments.parse_args()
    chosen = [case for case in cases() if all(word in case.words for word in given.words)]
    if not chosen:
        print("No case has all of these words:", *(case.words for case in cases()), sep="\n")
        return 2
    print(HEAD, flush=True)
    passed = 0
    for case in chosen:
        line, more = play(case, given.runs, given.seconds)
        print(line, flush=True)
        passed += more
    return int(passed > 0)


if __name__ == "__main__":
    sys.exit(main())
