"""Runs that are killed again and again, carried on until they are done, and judged.

    make torture            1,000 kills
    make torture KILLS=50
    .venv/bin/python -m tests.torture.kill_loop --kills 50 --seed 7

Ends with 1 where a promise was broken; the folder of such a run stays, and is named.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

from pipeline.store import Run, RunLedger
from pipeline.store.on_files import FileStore
from tests.torture.driver import POINTS, LiveOverrides
from tests.torture.judge import Case, Kill, sent, sent_again, sent_twice, violations
from tests.torture.rows import File, file_of, marks_held
from tests.workplace import BILLING, CONFIG, ENVIRON, JOURNEY, Simulator, simulator

ROOT = Path(__file__).parents[2]
RANDOM = "random"
FAULTS = (
    *("429", "500", "503", "500-after", "reset-before", "reset-after", "timeout-after"),
    *("close-reused", "half-body", "html", "html-200", "endless-body", "garbage"),
)
PAUSING = ("429-seconds", "429-date")
CHANCE, CHANCE_OF_A_PAUSE = 0.004, 0.0005
LATENCY_MS, JITTER_MS = 4, 3
RUNS_PER_SIMULATOR = 15
MAX_MORE_LIVES = 8
ENOUGH_WRONG = 50
SHOWN_CHARS = 600
LONGEST_LIFE_S = 60.0
SHARE_OF_SURPRISES = 0.2  # kills at any time, beside those at a point

# First come kills while the file is prepared, then while it is sent, then while it is reported.
EARLY, LATE = ("taking", "bound"), ("noting", "reporting", "renaming")
AMID = tuple(point for point in POINTS if point not in {*EARLY, *LATE})
MAX_NTH = {"bound": 5, "recording": 120, "recorded": 40, "renaming": 4, "noting": 4}
MAX_DELAY_S = {"taking": 0.08, "sent": 0.008, "recording": 0.003, "reporting": 0.04}
MAX_NTH_AMID = 50
MAX_UNTIL_SURPRISE_S = 1.2


class Driver:
    """The command in a process of its own, which waits for its orders: it starts in good time."""

    def __init__(self, **more: str) -> None:
        self._told: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `told`
        environ = {name: value for name, value in os.environ.items() if "PIPELINE_" not in name}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.driver"],
            cwd=ROOT,
            env={**environ, **ENVIRON, "COLUMNS": "200", **more},
            stdin=subprocess.PIPE,
            stdout=self._told,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def obey(self, orders: LiveOverrides, kill_after_s: float | None) -> int:
        """Exit code; -9 where it was killed, by itself or after `kill_after_s`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(orders)) + "\n")
        self._process.stdin.flush()
        try:
            return self._process.wait(kill_after_s or LONGEST_LIFE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
            return code if kill_after_s else signal.SIGALRM
        finally:
            self._process.stdin.close()

    def told(self) -> str:
        """What it said."""
        self._told.seek(0)
        with self._told as told:
            return told.read()

    def dismiss(self) -> None:
        """It is not needed."""
        self._process.kill()
        self._process.wait()
        self._told.close()
        if self._process.stdin is not None:
            self._process.stdin.close()


@dataclass(slots=True)
class Figures:
    """What a loop did."""

    kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    files: int = 0
    rows: int = 0
    requests: int = 0
    faults: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    doubts: int = 0
    doubts_ended: Counter[str] = field(default_factory=Counter)
    again: int = 0
    twice: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case) -> None:
        """Count one file."""
        self.files += 1
        self.rows += len(case.rows)
        self.requests += sent(case)
        self.faults += sum(entry["fault"] is not None for entry in case.log)
        self.statuses.update(case.status.values())
        self.doubts += sum(len(kill.claimed) for kill in case.kills)
        self.doubts_ended.update(case.status.get(row, "lost") for row in case.in_doubt)
        self.again += sent_again(case)
        self.twice += sent_twice(case)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"kills {self.kills.total()} in {self.lives} lives of {self.files} runs"
        for point in (*POINTS, RANDOM):
            why = POINTS.get(point, "at any time, from outside")
            yield f"  {point:<10} {self.kills[point]:>5}   {why}"
        yield f"  ended before the point came: {self.missed.total()}"
        yield f"rows {self.rows}, requests {self.requests}, of them with a fault {self.faults}"
        yield f"  {_counted(self.statuses)}"
        yield f"rows in doubt at a kill {self.doubts}, sent again after it {self.again}"
        yield f"  they ended: {_counted(self.doubts_ended)}"
        yield f"what may not be repeated, sent again after a read or a 429: {self.twice}"
        yield f"violations {len(self.wrong)}"
        yield from (f"  {each[:SHOWN_CHARS]}" for each in self.wrong)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "none"


class Workplace:
    """The folder of one file, and what is on record there."""

    def __init__(self, folder: Path, vendor: Simulator, file: File, shares: int = 1) -> None:
        self.folder = folder
        more = f"timeout_s = 1.0\nattempts = 4\nshares = {shares}"
        texts = (
            CONFIG.format(base_url=vendor.base_url, quota='"100000/s"', in_flight=8, more=more),
            JOURNEY.format(url=vendor.url, in_flight=8, more=f"{more}\npreconditions = false"),
            BILLING.format(url=vendor.url, in_flight=8, max_batch=5, more=more),
        )
        (folder / "pipeline.toml").write_text("".join(texts))
        self.path = file.write(folder / "inputs" / "launch.csv")

    def registered(self) -> list[Run]:
        """The runs on record, newest first."""
        path = self.folder / ".pipeline" / "ledger.db"
        if not path.exists():
            return []
        return FileStore(path).runs.all()

    def kill(self, point: str, mark: int, number: int) -> Kill:
        """What a kill left, read off a copy."""
        claimed: set[int] = set()
        statuses: dict[int, str] = {}
        for each in (self.folder / ".pipeline" / "runs").glob("*/run.json"):
            copy = self.folder / "copies" / f"{number}-{each.parent.name}"
            copy.mkdir(parents=True)
            for file in each.parent.glob("ledger.db*"):
                shutil.copy(file, copy)
            with closing(RunLedger(copy / "ledger.db")) as ledger:
                claimed |= set(ledger.claimed())
                statuses |= {one.row: one.status.value for one in ledger.results(1, 2**62)}
        return Kill(point=point, mark=mark, claimed=frozenset(claimed), statuses=statuses)


def report_in(folder: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """Row and status of every line of the last report, and what is wrong with that report."""
    latest = folder / "reports" / "latest"
    summary = json.loads((latest / "summary.json").read_text())
    lines, wrong = [], []
    for output in summary["outputs"].values():
        path = latest / output["name"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != output["sha256"]:
            wrong.append(f"{output['name']} is not the one that the summary vouches for")
        with path.open(newline="") as text:
            lines += [(int(each["_row"]), each["_status"]) for each in csv.DictReader(text)]
    told = {status: number for status, number in summary["statuses"].items() if number}
    if told != Counter(status for _, status in lines):
        wrong.append(f"the summary counts {told}")
    return lines, wrong


class Judged:
    """One simulator and the files that are sent to it."""

    def __init__(
        self, vendor: Simulator, folder: Path, figures: Figures, seed: int, shares: int = 1
    ) -> None:
        self._vendor = vendor
        self._shares = shares
        self._folder = folder
        self._figures = figures
        self._chance = random.Random(seed)
        self._read = 0
        self._early, self._amid, self._late = (
            _dealt(points, self._chance) for points in (EARLY, AMID, LATE)
        )
        self._next = Driver()

    def close(self) -> None:
        """The next driver is not needed."""
        self._next.dismiss()

    def run(self, number: int, left: int) -> None:
        """Kill one file's run at most `left` times, carry it on to its end, judge it."""
        folder = self._folder / f"run-{number}"
        folder.mkdir()
        file = file_of(number, self._chance.getrandbits(32))
        place = Workplace(folder, self._vendor, file, self._shares)
        kills, wrong = self._lives(place, self._plan()[:left])
        log = self._log()
        reported: list[tuple[int, str]] = []
        try:
            reported, faults = report_in(folder)
            wrong += faults
        except (OSError, ValueError, KeyError) as error:
            wrong.append(f"there is no report: {error!r}")
        held = {
            entity["id"]: marks_held(entity)
            for entity in self._vendor.get("state")
            if entity["id"] in {row.entity for row in file.rows}
        }
        case = Case(rows=file.rows, log=log, kills=kills, reported=reported, held=held)
        self._figures.add(case)
        wrong += violations(case)
        if wrong:
            (folder / "log.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in log))
            self._figures.wrong += [f"{folder.name}: {each}" for each in wrong]
        else:
            shutil.rmtree(folder)

    def _plan(self) -> list[str]:
        """Where a file's run dies, in the order in which that can come up."""
        points = [
            *islice(self._early, self._chance.randint(0, 1)),
            *islice(self._amid, self._chance.randint(4, 7)),
            *islice(self._late, self._chance.randint(1, 3)),
        ]
        return [RANDOM if self._chance.random() < SHARE_OF_SURPRISES else each for each in points]

    def _lives(self, place: Workplace, plan: Sequence[str]) -> tuple[list[Kill], list[str]]:
        """One life after the other: a kill each as planned, then as many as it takes."""
        kills: list[Kill] = []
        told = ""
        for life in count():
            if life == len(plan) + MAX_MORE_LIVES:
                return kills, [f"it is not done after {life} lives: {told[-SHOWN_CHARS // 2 :]}"]
            point = plan[life] if life < len(plan) else ""
            code, told = self._live(place, point)
            self._figures.lives += 1
            if code == -signal.SIGKILL:
                self._figures.kills[point] += 1
                kills.append(place.kill(point, mark_in_log(self._vendor), life))
                continue
            if point:
                self._figures.missed[point] += 1
            if code not in {0, 1, 3} or "Traceback" in told or "damaged" in told:
                return kills, [f"exit code {code} in life {life}: {told[-SHOWN_CHARS // 2 :]}"]
            if life >= len(plan) and code != 3 and place.registered():  # of 3 an account stopped
                return kills, []
        raise AssertionError  # pragma: no cover - the loop above does not end

    def _live(self, place: Workplace, point: str) -> tuple[int, str]:
        driver, self._next = self._next, Driver()
        orders = LiveOverrides(
            folder=str(place.folder),
            arguments=self._arguments(place),
            point=point,
            nth=self._chance.randint(1, MAX_NTH.get(point, MAX_NTH_AMID if point in AMID else 1)),
            delay_s=self._chance.uniform(0.0, MAX_DELAY_S.get(point, 0.0)),
            checkpoint_pages=self._chance.choice((None, 4)),
        )
        after_s = self._chance.uniform(0.0, MAX_UNTIL_SURPRISE_S) if point == RANDOM else None
        return driver.obey(orders, after_s), driver.told()

    def _arguments(self, place: Workplace) -> list[str]:
        """How the run is carried on, or begun."""
        known = place.registered()
        begin = ["run", "--yes", str(place.path)]
        if not known:
            return begin
        if known[0].state == "reported":
            return ["resume", "--yes", known[0].name]
        return self._chance.choice((begin, ["resume", "--yes"], ["resume", "--yes", known[0].name]))

    def _log(self) -> list[dict[str, Any]]:
        """What arrived since the last call."""
        lines = sorted(self._vendor.get("log"), key=lambda line: line["seq"])
        found = [line for line in lines if line["seq"] > self._read]
        self._read = max((line["seq"] for line in found), default=self._read)
        return found


def _dealt(points: Sequence[str], chance: random.Random) -> Iterator[str]:
    """Each as often as the others, in the order of chance."""
    while True:
        yield from chance.sample(points, len(points))


def mark_in_log(vendor: Simulator) -> int:
    """Put a line into the log: what has a higher number arrived after now."""
    name = f"/mark/{time.monotonic_ns()}"
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(vendor.url + name).close()
    return next(int(each["seq"]) for each in vendor.get("log") if each["raw_path"] == name)


def loop(
    kills: int, folder: Path, seed: int, tell: Callable[[str], None], *, shares: int = 1
) -> Figures:
    """Kill that often; `tell` is told now and then how far it is."""
    figures, numbers = Figures(), count()
    chances = dict.fromkeys(FAULTS, CHANCE) | dict.fromkeys(PAUSING, CHANCE_OF_A_PAUSE)
    options = [part for each in chances.items() for part in ("--fault", "{}={}".format(*each))]
    options += ["--latency-ms", str(LATENCY_MS), "--jitter-ms", str(JITTER_MS)]
    while not _is_enough(figures, kills):
        own = seed + figures.files
        with (
            simulator(*options, "--seed", str(own)) as vendor,
            closing(Judged(vendor, folder, figures, own, shares)) as judged,
        ):
            for _ in range(RUNS_PER_SIMULATOR):
                if not _is_enough(figures, kills):
                    judged.run(next(numbers), kills - figures.kills.total())
        tell(f"{figures.kills.total()} kills, {len(figures.wrong)} violations")
    return figures


def _is_enough(figures: Figures, kills: int) -> bool:
    return figures.kills.total() >= kills or len(figures.wrong) >= ENOUGH_WRONG


def main() -> None:
    """Kill, judge, print; exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--shares", type=int, default=1, help="of each account")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    started_s = time.monotonic()
    tell = partial(print, flush=True)
    figures = loop(given.kills, folder, given.seed, tell, shares=given.shares)
    print("\n".join(figures.lines()))
    print(f"took {time.monotonic() - started_s:.0f} s")
    if figures.wrong:
        print(f"what they left is in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
