"""How close real runs come to a vendor's limit, and whether they pass it: make pacing.

    .venv/bin/python -m tests.benchmarks.pacing
    .venv/bin/python -m tests.benchmarks.pacing --seconds 15 200/s sliding

Every case is a real run against the simulator, which is a process of its own and the judge: it
refuses whatever exceeds the limit in any window, and its log says what arrived when. Prints a
Markdown table; with `--seconds 60`, which is the default, it takes about half an hour.

Columns: `refused`, requests answered with 429; `used`, what was accepted of all that the limit
allows from the first arrival to the last; `late`, how much later than the quickest one the slowest
of a thousand requests arrived, beyond what the simulator was told to wait: the machine's part.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.model.quota import parse_quota
from tests.workplace import COLUMNS, CONFIG, coupon, simulator

LEARNED, STRICT = "learned", "strict"
IN_FLIGHT = 512
MERCHANT = "merchant_id = 7001"

HEAD = (
    "| case | way there and back | window | pacing | requests | refused | used | late |\n"
    + "| --- " * 8
    + "|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A limit, a way to the vendor, and how many processes send.

    sides    accounts of one credential, each sent to by a process of its own, all at once
    turns    runs, one after the other
    options  of the simulator
    from_s   from when on what is accepted is counted
    """

    name: str
    allows: str
    latency_ms: tuple[int, int] = (20, 10)
    window: str = "sliding"
    is_strict: bool = False
    is_learned: bool = False
    sides: int = 1
    turns: int = 1
    options: Sequence[str] = ()
    from_s: float = 0.0

    @property
    def per_s(self) -> float:
        """What the vendor allows."""
        return parse_quota(self.allows).per_second

    @property
    def pacing(self) -> str:
        """In a word."""
        return LEARNED if self.is_learned else STRICT if self.is_strict else "even"

    @property
    def words(self) -> str:
        """What the words of the command are looked for in."""
        return f"{self.name} {self.pacing} {self.window} {self.latency_ms[0]}ms"


def cases() -> Iterator[Case]:
    """All of them, in the order of the table."""
    for latency_ms in ((20, 10), (100, 50)):
        for is_strict in (False, True):
            for window in ("sliding", "fixed"):
                for allows in ("20/s", "200/s", "500/s", "1000/s"):
                    yield Case(
                        name=allows,
                        allows=allows,
                        latency_ms=latency_ms,
                        window=window,
                        is_strict=is_strict,
                    )
    yield Case(name="two runs, one after the other", allows="200/s", turns=2)
    yield Case(name="two processes at once", allows="200/s", sides=2)
    yield Case(name="two processes at once", allows="200/s", sides=2, latency_ms=(100, 50))
    yield Case(name="two processes at once", allows="600/min", sides=2)
    for title, options in (
        ("429", ("--retry-after", "none")),
        ("429 with Retry-After", ("--retry-after", "seconds")),
        ("RateLimit headers", ("--rate-limit", "draft")),
        ("X-RateLimit headers", ("--rate-limit", "x")),
    ):
        yield Case(
            name=f"unknown limit, {title}",
            allows="300/s",
            is_learned=True,
            options=options,
            from_s=30.0,
        )


def play(case: Case, seconds: float) -> str:
    """The case's line of the table."""
    rows = int(case.per_s * seconds) // (case.sides * case.turns)
    latency, jitter = case.latency_ms
    words = ("--quota", case.allows, "--window", case.window, *case.options)
    way = ("--latency-ms", str(latency), "--jitter-ms", str(jitter))
    with tempfile.TemporaryDirectory() as name, simulator(*words, *way) as vendor:
        folder = Path(name)
        for side in range(case.sides):
            _write_side(folder, side, vendor.base_url, case)
        noted: list[Any] = []
        for turn in range(case.turns):
            noted += _all_sides(folder, case, turn, rows)
        log = [entry for entry in vendor.get("log") if entry["operation"] == "xsolla.coupon"]
    return (
        f"| {case.name} | {latency} ± {jitter} ms | {case.window} | {case.pacing} | "
        + " | ".join(_figures(case, sorted(log, key=lambda entry: entry["arrived_s"]), noted))
        + " |"
    )


def _write_side(folder: Path, side: int, base_url: str, case: Case) -> None:
    quota = "auto" if case.is_learned else case.allows
    more = f'{MERCHANT}\npacing = "{STRICT if case.is_strict else "even"}"'
    text = CONFIG.format(base_url=base_url, quota=f'"{quota}"', in_flight=IN_FLIGHT, more=more)
    (folder / f"side{side}.toml").write_text(text.replace("44056", str(44056 + side)))


def _all_sides(folder: Path, case: Case, turn: int, rows: int) -> list[Any]:
    """One run of each side, all at once; what they noted."""
    (folder / "wait").touch()
    sides = []
    for side in range(case.sides):
        file = folder / f"side{side}-{turn}.csv"
        first = turn * rows
        lines = [COLUMNS, *map(coupon, range(first + 1, first + rows + 1))]
        file.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "tests.benchmarks.paced_side"]
        config = folder / f"side{side}.toml"
        sides.append((file, subprocess.Popen([*command, str(config), str(file)])))
    while not all(file.with_suffix(".ready").exists() for file, _ in sides):
        time.sleep(0.01)
        if any(process.poll() for _, process in sides):
            raise RuntimeError("a side failed")
    (folder / "wait").unlink()
    for _, process in sides:
        if process.wait() != 0:
            raise RuntimeError("a side failed")
    return [each for file, _ in sides for each in json.loads(file.with_suffix(".json").read_text())]


@dataclass(slots=True)
class Permit:
    """A request that arrived.

    late_s    so much later than the quickest one, by the time from its departure to its arrival
    excess_s  so much longer than the quickest one it took there and back
    """

    arrived_s: float
    is_refused: bool
    late_s: float
    excess_s: float


def _trips(log: Sequence[Mapping[str, Any]], noted: Sequence[Any]) -> list[Permit]:
    """Arrivals in their order, each with what its sender noted."""
    by_path: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for path, left_s, came_s in sorted(noted, key=lambda each: each[1]):
        by_path[path].append((left_s, came_s))
    pairs = []
    for entry in log:
        path = entry["raw_path"][entry["raw_path"].index("/v2/") :]
        pairs.append((entry, *by_path[path].pop(0)))
    quickest_s = min(entry["arrived_s"] - left_s for entry, left_s, _ in pairs)
    shortest_s = min(came_s - left_s for _, left_s, came_s in pairs)
    return [
        Permit(
            arrived_s=entry["arrived_s"],
            is_refused=entry["status"] == 429,
            late_s=entry["arrived_s"] - left_s - quickest_s,
            excess_s=came_s - left_s - shortest_s,
        )
        for entry, left_s, came_s in pairs
    ]


def _figures(case: Case, log: Sequence[Mapping[str, Any]], noted: Sequence[Any]) -> tuple[str, ...]:
    trips = _trips(log, noted)
    refused = [permit for permit in trips if permit.is_refused]
    from_s, until_s = trips[0].arrived_s + case.from_s, trips[-1].arrived_s
    accepted = sum(not permit.is_refused and permit.arrived_s > from_s for permit in trips)
    used = accepted / (case.per_s * (until_s - from_s)) if until_s > from_s else 0.0
    late_s = sorted(permit.late_s for permit in trips)[int(len(trips) * 0.999)]
    for line in _causes(case, trips):
        print(line, file=sys.stderr, flush=True)
    return (
        str(len(trips)),
        f"{len(refused)} ({len(refused) / len(trips):.2%})" if refused else "0",
        f"{used:.1%}",
        f"{1000 * max(0.0, late_s - case.latency_ms[1] / 1000):.0f} ms",
    )


def _causes(case: Case, trips: Sequence[Permit]) -> Iterator[str]:
    """Of the first requests that were refused, what had held up the one that was in their way."""
    if case.is_learned:
        return
    limit = parse_quota(case.allows).limit
    accepted: list[Permit] = []
    told = 0
    for permit in trips:
        if not permit.is_refused:
            accepted.append(permit)
        elif told < 10 and len(accepted) >= limit:
            told += 1
            oldest = accepted[-limit]
            yield (
                f"refused at {permit.arrived_s:.3f} s, {permit.arrived_s - oldest.arrived_s:.3f} s "
                f"after the oldest of its window, which arrived {oldest.late_s * 1000:.0f} ms late "
                f"and took {oldest.excess_s * 1000:.0f} ms longer than the quickest"
            )


def main() -> int:
    """Play the cases that hold all of the words given, or all; 2 if there is none."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("words", nargs="*", help='for example "200/s", strict, learned')
    arguments.add_argument("--seconds", type=float, default=60.0)
    given = arguments.parse_args()
    chosen = [case for case in cases() if all(word in case.words for word in given.words)]
    if not chosen:
        print("No case has all of these words:", *(case.words for case in cases()), sep="\n")
        return 2
    print(HEAD, flush=True)
    for case in chosen:
        print(play(case, given.seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
