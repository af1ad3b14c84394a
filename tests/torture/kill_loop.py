"""Runs that are killed again and again, carried on until they are done, and judged.

    make torture            1,000 kills
    make torture KILLS=50
    make torture-postgres   on a store in a database, whose server is killed, too; then loses power
    .venv/bin/python -m tests.torture.kill_loop --kills 50 --seed 7

Ends with 1 where a promise was broken; the folder of such a run stays, and is named.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from tests.postgres import LOSES_POWER, PostgresServer, postgres_server
from tests.torture.database import LEASE_S, SETTINGS, TorturedDatabase
from tests.torture.driver import POINTS, RANDOM, LiveOverrides
from tests.torture.judge import (
    Case,
    Entry,
    Kill,
    not_restored,
    sent,
    sent_again,
    sent_twice,
    violations,
)
from tests.torture.lives import Driver
from tests.torture.place import Line, Place, report_in, statuses_in
from tests.torture.rows import File, entity_of, first_file_of, marks_held
from tests.torture.shapes import BY_WORKERS, SHAPES, Shape
from tests.workplace import Simulator, simulator

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
MOST_SHOWN = 8  # of one run
SHOWN_CHARS = 600
SHARE_OF_SURPRISES = 0.2  # kills at any time, beside those at a point

# First come kills while the file is prepared, then while it is sent, then while it is reported.
EARLY, LATE = ("taking", "bound"), ("noting", "reporting", "renaming")
AMID = tuple(point for point in POINTS if point not in {*EARLY, *LATE})
MAX_NTH = {"bound": 5, "recording": 120, "recorded": 40, "renaming": 4, "noting": 4}
MAX_DELAY_S = {"taking": 0.08, "sent": 0.008, "recording": 0.003, "reporting": 0.04}
MAX_NTH_AMID = 50
MAX_UNTIL_SURPRISE_S = 1.2
AMID_OF_WORKERS = ("claimed", "sent", "replied", "recording", "recorded")
MAX_NTH_OF_WORKERS = 25
MAX_WORKER_DEATHS = 4  # in one life
MAX_UNTIL_DEATH_S = 4.0  # a worker needs a second or two to start
LOOK_EVERY_S = 0.02
SHARE_OF_CRASHES = 0.3  # lives in which the server of the database is killed
MAX_UNTIL_CRASH_S = 3.0


@dataclass(slots=True)
class Figures:
    """What a loop did."""

    kills: Counter[str] = field(default_factory=Counter)
    worker_kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
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
    kills_of: Counter[str] = field(default_factory=Counter)
    doubts_of: Counter[str] = field(default_factory=Counter)
    most_once: Counter[str] = field(default_factory=Counter)
    most_again: Counter[str] = field(default_factory=Counter)
    undone: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def all_kills(self) -> int:
        """Of commands, of their workers and of the server."""
        return self.kills.total() + self.worker_kills.total() + self.crashes

    def add(self, case: Case) -> None:
        """Count one file."""
        operation = {row.number: row.operation for row in case.rows}
        once = {row.number for row in case.rows if not row.is_repeatable}
        for kill in case.kills:
            self.doubts_of.update(operation[row] for row in kill.claimed)
            self.most_once |= Counter(operation[row] for row in kill.claimed & once)
            self.most_again |= Counter(operation[row] for row in kill.claimed - once)
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
        yield f"kills of workers {self.worker_kills.total()}: {_counted(self.worker_kills)}"
        yield f"kills of the database's server {self.crashes}"
        yield f"  runs of: {_counted(self.kills_of)}"
        yield f"rows {self.rows}, requests {self.requests}, of them with a fault {self.faults}"
        yield f"  {_counted(self.statuses)}"
        yield f"rows in doubt at a kill {self.doubts}, sent again after it {self.again}"
        yield f"  they ended: {_counted(self.doubts_ended)}"
        yield f"  of: {_counted(self.doubts_of)}"
        yield f"most at once, may be repeated: {_counted(self.most_again)}"
        yield f"most at once, may not be repeated: {_counted(self.most_once)}"
        yield f"rows of undos ended: {_counted(self.undone)}"
        yield f"what may not be repeated, sent again after a read or a 429: {self.twice}"
        yield f"violations {len(self.wrong)}"
        yield from (f"  {each[:SHOWN_CHARS]}" for each in self.wrong)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "none"


class Judged:
    """One simulator and the files that are sent to it."""

    def __init__(
        self,
        vendor: Simulator,
        folder: Path,
        figures: Figures,
        seed: int,
        server: PostgresServer | None = None,
    ) -> None:
        self._vendor = vendor
        self._server = server
        self._folder = folder
        self._figures = figures
        self._chance = random.Random(seed)
        self._read = 0
        self._early, self._amid, self._late = (
            _dealt(points, self._chance) for points in (EARLY, AMID, LATE)
        )
        self._driver = Driver()
        self.close = self._driver.close

    def run(self, number: int, left: int, shape: Shape) -> None:
        """Kill one file's run at most `left` times, carry it on to its end, judge it."""
        folder = self._folder / f"run-{number}"
        folder.mkdir()
        file = shape.file(number, self._chance.getrandbits(32))
        database = None if self._server is None else TorturedDatabase(self._server)
        place = Place(folder, self._vendor, file, shape, database)
        before = self._prepared(place, file) if shape.records_previous else {}
        kills, wrong = self._lives(place, place.begin, self._plan()[:left])
        lines, faults = self._report(place)
        held = self._held(file)
        case = Case(
            rows=file.rows,
            log=self._log(),
            kills=kills,
            reported=statuses_in(lines),
            held=_marks(held),
            first=_marks(before),
            previous=place.kill("", 0).previous,
            recorded_s=place.recorded_s(self._began_s()) if shape.workers else {},
        )
        wrong += [*faults, *violations(case)]
        self._figures.add(case)
        if shape.records_previous and not wrong:
            wrong += self._undone(place, file, case, before, left - len(kills))
        self._keep_or_remove(folder, shape, [*case.log, *self._log()], wrong)

    def _keep_or_remove(
        self, folder: Path, shape: Shape, log: Sequence[Entry], wrong: Sequence[str]
    ) -> None:
        if not wrong:
            shutil.rmtree(folder)
            return
        (folder / "log.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in log))
        (folder / "wrong.txt").write_text("\n".join(wrong))
        name = f"{folder.name} ({shape.name})"
        self._figures.wrong += [f"{name}: {each}" for each in wrong[:MOST_SHOWN]]

    def _prepared(self, place: Place, file: File) -> dict[str, Any]:
        """Give each entity of the file something to hold; what the vendor holds then."""
        path = first_file_of(file).write(place.folder / "inputs" / "first.csv")
        orders = LiveOverrides(
            str(place.folder), ["run", "--yes", str(path)], environ=place.environment()
        )
        self._driver.obey(orders)
        place.known |= {run.name for run in place.registered()}
        self._log()
        return self._held(file)

    def _undone(
        self, place: Place, file: File, case: Case, before: Mapping[str, Any], left: int
    ) -> list[str]:
        """Undo the run, killed in between; what the vendor does not hold again."""
        (run,) = [each.name for each in place.registered()]
        place.known.add(run)
        point = self._chance.choice((*AMID, RANDOM))
        _, wrong = self._lives(place, ["undo", run, "--yes"], [point][:left])
        lines, faults = self._report(place)
        wrong += faults
        ended = [(entity_of(line), line["_status"]) for line in lines]
        self._figures.undone.update(status for _, status in ended)
        found = not_restored(case, _content(before), _content(self._held(file)), ended)
        return [*wrong, *(f"undo: {each}" for each in found)]

    def _report(self, place: Place) -> tuple[Sequence[Line], list[str]]:
        try:
            return report_in(place.folder)
        except (OSError, ValueError, KeyError) as error:
            return [], [f"there is no report: {error!r}"]

    def _held(self, file: File) -> dict[str, Any]:
        """What the vendor holds of the entities of a file."""
        entities = {row.entity for row in file.rows}
        state = self._vendor.get("state")
        return {each["id"]: each["body"] for each in state if each["id"] in entities}

    def _plan(self) -> list[str]:
        """Where a file's run dies, in the order in which that can come up."""
        points = [
            *islice(self._early, self._chance.randint(0, 1)),
            *islice(self._amid, self._chance.randint(4, 7)),
            *islice(self._late, self._chance.randint(1, 3)),
        ]
        return [RANDOM if self._chance.random() < SHARE_OF_SURPRISES else each for each in points]

    def _lives(
        self, place: Place, begin: list[str], plan: Sequence[str]
    ) -> tuple[list[Kill], list[str]]:
        """One life after the other: a kill each as planned, then as many as it takes."""
        kills: list[Kill] = []
        told = ""
        for life in count():
            if life == len(plan) + MAX_MORE_LIVES:
                return kills, [f"it is not done after {life} lives: {told[-SHOWN_CHARS // 2 :]}"]
            point = plan[life] if life < len(plan) else ""
            with self._worker_deaths(place, kills):
                code, told = self._live(place, begin, point)
            self._figures.lives += 1
            if code == -signal.SIGKILL:
                self._figures.kills[point] += 1
                self._figures.kills_of[place.shape.name] += 1
                kills.append(self._kill(place, point))
                continue
            if point:
                self._figures.missed[point] += 1
            (place.folder / "said.txt").write_text(told)
            if code not in {0, 1, 3} or "Traceback" in told or "damaged" in told:
                return kills, [f"exit code {code} in life {life}: {told[-SHOWN_CHARS // 2 :]}"]
            if life >= len(plan) and code != 3 and place.registered():  # of 3 an account stopped
                return kills, []
        raise AssertionError  # pragma: no cover - the loop above does not end

    def _kill(self, place: Place, point: str) -> Kill:
        if place.shape.workers is None:
            return place.kill(point, mark_in_log(self._vendor))
        return place.kill_amid(point, lambda: mark_in_log(self._vendor))

    @contextmanager
    def _worker_deaths(self, place: Place, kills: list[Kill]) -> Iterator[None]:
        """Look at the record after each death of a worker, while the block runs.

        Of workers that outlive the process that started them, too.
        """
        if place.shape.workers is None:
            yield
            return
        is_over = threading.Event()

        def look() -> None:
            while not is_over.wait(LOOK_EVERY_S):
                for point in place.new_deaths():
                    self._figures.worker_kills[point] += 1
                    self._figures.kills_of[place.shape.name] += 1
                    kills.append(self._kill(place, point))

        with ThreadPoolExecutor(1) as threads:
            looking = threads.submit(look)
            try:
                yield
            finally:
                is_over.set()
                looking.result()

    def _planned_deaths(self) -> list[tuple[str, int, float]]:
        """Of the workers of one life."""
        points = [
            self._chance.choice((*AMID_OF_WORKERS, RANDOM))
            for _ in range(self._chance.randint(0, MAX_WORKER_DEATHS))
        ]
        return [
            (
                point,
                self._chance.randint(1, MAX_NTH.get(point, MAX_NTH_OF_WORKERS)),
                self._chance.uniform(
                    0.0, MAX_UNTIL_DEATH_S if point == RANDOM else MAX_DELAY_S.get(point, 0.0)
                ),
            )
            for point in points
        ]

    def _live(self, place: Place, begin: list[str], point: str) -> tuple[int, str]:
        orders = LiveOverrides(
            folder=str(place.folder),
            arguments=self._arguments(place, begin),
            point=point,
            nth=self._chance.randint(1, MAX_NTH.get(point, MAX_NTH_AMID if point in AMID else 1)),
            delay_s=self._chance.uniform(0.0, MAX_DELAY_S.get(point, 0.0)),
            checkpoint_pages=self._chance.choice((None, 4)),
            environ=place.environment(),
            lease_s=None if place.database is None else LEASE_S,
            worker_deaths=self._planned_deaths() if place.shape.workers and point else [],
            deaths=place.deaths_of_next_life() if place.shape.workers else None,
        )
        after_s = self._chance.uniform(0.0, MAX_UNTIL_SURPRISE_S) if point == RANDOM else None
        database = place.database
        if database is None or self._chance.random() > SHARE_OF_CRASHES:
            return self._driver.obey(orders, after_s)
        before = database.crashes
        with database.crashing(self._chance.uniform(0.0, MAX_UNTIL_CRASH_S)):
            ended = self._driver.obey(orders, after_s)
        self._figures.crashes += database.crashes - before
        return ended

    def _arguments(self, place: Place, begin: list[str]) -> list[str]:
        """How the run is carried on, or begun."""
        known = place.registered()
        if not known:
            return begin
        resume = ["resume", "--yes", *place.shape.options_to_resume]
        if known[0].state == "reported" or begin != place.begin:
            return [*resume, known[0].name]
        again = begin if place.shape.workers is None else resume
        return self._chance.choice((again, resume, [*resume, known[0].name]))

    def _began_s(self) -> float:
        """UTC seconds of the start of the log."""
        with urllib.request.urlopen(f"{self._vendor.url}/_simulator/stats") as reply:
            return time.time() - float(json.load(reply)["elapsed_s"])

    def _log(self) -> list[dict[str, Any]]:
        """What arrived since the last call."""
        lines = sorted(self._vendor.get("log"), key=lambda line: line["seq"])
        found = [line for line in lines if line["seq"] > self._read]
        self._read = max((line["seq"] for line in found), default=self._read)
        return found


def _marks(held: Mapping[str, Any]) -> dict[str, set[str]]:
    return {entity: marks_held(body) for entity, body in held.items()}


def _content(held: Mapping[str, Any]) -> dict[str, Any]:
    """What the vendor holds, without who wrote it and when; null says as much as nothing."""
    return {
        entity: {
            name: value for name, value in body.get("_instance", body).items() if value is not None
        }
        for entity, body in held.items()
    }


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
    kills: int,
    folder: Path,
    seed: int,
    tell: Callable[[str], None],
    *,
    until_s: float = math.inf,
    server: PostgresServer | None = None,
    shapes: Sequence[Shape] = SHAPES,
) -> Figures:
    """Kill that often, or until a moment in monotonic seconds; `tell` is told how far it is.

    server  where runs are on record; None: in files
    """
    figures, numbers, next_shape = Figures(), count(), cycle(shapes).__next__
    chances = dict.fromkeys(FAULTS, CHANCE) | dict.fromkeys(PAUSING, CHANCE_OF_A_PAUSE)
    options = [part for each in chances.items() for part in ("--fault", "{}={}".format(*each))]
    options += ["--latency-ms", str(LATENCY_MS), "--jitter-ms", str(JITTER_MS)]
    while not _is_enough(figures, kills, until_s):
        own = seed + figures.files
        with (
            simulator(*options, "--seed", str(own)) as vendor,
            closing(Judged(vendor, folder, figures, own, server)) as judged,
        ):
            for _ in range(RUNS_PER_SIMULATOR):
                if not _is_enough(figures, kills, until_s):
                    judged.run(next(numbers), kills - figures.all_kills, next_shape())
                    tell(f"{figures.all_kills} kills, {len(figures.wrong)} violations")
    return figures


def _is_enough(figures: Figures, kills: int, until_s: float) -> bool:
    is_late = time.monotonic() > until_s
    return is_late or figures.all_kills >= kills or len(figures.wrong) >= ENOUGH_WRONG


def main() -> None:
    """Kill, judge, print; exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill no longer")
    parser.add_argument("--postgres", action="store_true", help="keep runs in a database")
    parser.add_argument("--power-loss", action="store_true", help="of the database's server")
    parser.add_argument("--by-workers", action="store_true", help="only runs of several workers")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    started_s = time.monotonic()
    until_s = started_s + 60 * given.minutes
    tell = partial(print, flush=True)
    if (given.by_workers or given.power_loss) and not given.postgres:
        parser.error("--by-workers and --power-loss need --postgres")
    shapes = [*([] if given.by_workers else SHAPES), *(BY_WORKERS if given.postgres else [])]
    settings = SETTINGS | (LOSES_POWER if given.power_loss else {})
    with postgres_server(settings) if given.postgres else nullcontext() as server:
        figures = loop(
            given.kills, folder, given.seed, tell, until_s=until_s, server=server, shapes=shapes
        )
    print("\n".join(figures.lines()))
    print(f"took {time.monotonic() - started_s:.0f} s")
    if figures.wrong:
        print(f"what they left is in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
