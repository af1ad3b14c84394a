"""The folder of one run: what is on record there, and its reports."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import polars as pl

from pipeline.store import Ledger, Run, RunLedger
from pipeline.store.on_files import FileStore
from tests.torture.database import TorturedDatabase
from tests.torture.judge import Kill
from tests.torture.rows import File, marks_held
from tests.torture.shapes import Shape
from tests.workplace import Simulator

Line = Mapping[str, str]


class Place:
    """The folder of one file, and what is on record there.

    known     names of runs that are not of the file
    database  where runs are on record; None: in the folder. Then each life has a folder of its own
              for what it keeps, as on another machine
    """

    def __init__(
        self,
        folder: Path,
        vendor: Simulator,
        file: File,
        shape: Shape,
        database: TorturedDatabase | None = None,
    ) -> None:
        self.folder = folder
        self.database = database
        self.shape = shape
        self.known: set[str] = set()
        self._numbers = count()
        self._deaths: Counter[str] = Counter()  # of workers, that were looked at
        ledger = "" if database is None else f'ledger = "{database.url}"\n'
        (folder / "pipeline.toml").write_text(ledger + shape.config(vendor))
        self.path = file.write(folder / "inputs" / "launch.csv")

    @property
    def begin(self) -> list[str]:
        """The command that sends the file."""
        return ["run", "--yes", *self.shape.options, str(self.path)]

    def registered(self) -> list[Run]:
        """The runs on record, newest first."""
        path = self.folder / ".pipeline" / "ledger.db"
        runs: Sequence[Run] = ()
        if self.database is not None:
            runs = self.database.runs()
        elif path.exists():
            runs = FileStore(path).runs.all()
        return [run for run in runs if run.name not in self.known]

    def environment(self) -> dict[str, str]:
        """Variables of the next life."""
        if self.database is None:
            return {}
        return {"PIPELINE_SCRATCH": str(self.folder / f"machine-{next(self._numbers)}")}

    def deaths_of_next_life(self) -> str:
        """The file for the deaths of its workers."""
        (self.folder / "deaths").mkdir(exist_ok=True)
        return str(self.folder / "deaths" / f"{next(self._numbers):04}.txt")

    def new_deaths(self) -> list[str]:
        """Where workers died since the last call; they are written down before they die."""
        paths = (self.folder / "deaths").glob("*.txt")
        found = Counter(point for path in paths for point in path.read_text().split())
        new, self._deaths = found - self._deaths, found
        return [*new.elements()]

    def kill(self, point: str, mark: int) -> Kill:
        """What a kill left; on files it is read off a copy."""
        if self.database is not None:
            return self._kill_in(self.database, point, mark)
        copies = self.folder / "copies" / str(next(self._numbers))
        claimed: set[int] = set()
        statuses: dict[int, str] = {}
        previous: dict[int, frozenset[str]] = {}
        for each in (self.folder / ".pipeline" / "runs").glob("*/run.json"):
            if each.parent.name in self.known:
                continue
            copy = copies / each.parent.name
            copy.mkdir(parents=True)
            for file in each.parent.glob("ledger.db*"):
                shutil.copy(file, copy)
            now_claimed, now_ended = read_record(copy)
            claimed |= now_claimed
            statuses |= now_ended
            previous |= previous_marks(copy, [*now_claimed, *now_ended])
        return self._killed(point, mark, claimed, statuses, previous)

    def kill_amid(self, point: str, mark: Callable[[], int]) -> Kill:
        """What a kill left while other processes of the run live, in a database.

        mark  puts a line into the log
        """
        before = self.kill(point, 0)
        number = mark()
        after = self.kill(point, number)
        claimed = after.claimed | (after.statuses.keys() - before.statuses.keys())
        return replace(before, mark=number, claimed=claimed, is_amid=True)

    def recorded_s(self, began_s: float) -> dict[int, float]:
        """Row -> when its result was committed to the database, in seconds after `began_s`."""
        if self.database is None:
            return {}
        return {row: at_s - began_s for row, at_s in self.database.committed()}

    def _kill_in(self, database: TorturedDatabase, point: str, mark: int) -> Kill:
        claimed: set[int] = set()
        statuses: dict[int, str] = {}
        previous: dict[int, frozenset[str]] = {}
        for run in self.registered():
            with database.ledger(run.name) as ledger:
                now_claimed, now_ended = _read(ledger)
                previous |= _marks(ledger, [*now_claimed, *now_ended])
            claimed |= now_claimed
            statuses |= now_ended
        return self._killed(point, mark, claimed, statuses, previous)

    def _killed(
        self,
        point: str,
        mark: int,
        claimed: set[int],
        statuses: dict[int, str],
        previous: dict[int, frozenset[str]],
    ) -> Kill:
        return Kill(
            point=point,
            mark=mark,
            claimed=frozenset(claimed),
            statuses=statuses,
            previous=previous if self.shape.records_previous else None,
        )


def _read(ledger: Ledger) -> tuple[set[int], dict[int, str]]:
    claimed = set(ledger.claimed())
    return claimed, {each.row: each.status.value for each in ledger.results(1, 2**62)}


def _marks(ledger: Ledger, rows: Sequence[int]) -> dict[int, frozenset[str]]:
    found = ledger.previous_states(rows)
    return {row: frozenset(marks_held(json.loads(state))) for row, state in found.items()}


def read_record(folder: Path) -> tuple[set[int], dict[int, str]]:
    """Claimed rows, and row -> status. Raises PipelineError if it cannot be trusted."""
    with closing(RunLedger(folder / "ledger.db")) as ledger:
        return _read(ledger)


def previous_marks(folder: Path, rows: Sequence[int]) -> dict[int, frozenset[str]]:
    """Row -> the marks in its previous state, of those of `rows` that have one on record."""
    with closing(RunLedger(folder / "ledger.db")) as ledger:
        return _marks(ledger, rows)


def report_in(folder: Path) -> tuple[list[Line], list[str]]:
    """The lines of the last report, and what is wrong with that report."""
    latest = folder / "reports" / "latest"
    summary = json.loads((latest / "summary.json").read_text())
    lines: list[Line] = []
    wrong = []
    for output in summary["outputs"].values():
        path = latest / output["name"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != output["sha256"]:
            wrong.append(f"{output['name']} is not the one that the summary vouches for")
        lines += _lines(path)
    told = {status: number for status, number in summary["statuses"].items() if number}
    if told != Counter(line["_status"] for line in lines):
        wrong.append(f"the summary counts {told}")
    return lines, wrong


def _lines(path: Path) -> list[Line]:
    if path.suffix == ".parquet":  # of a plan
        return pl.read_parquet(path).to_dicts()
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def statuses_in(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """Row and status of each line of a report."""
    return [(int(line["_row"]), line["_status"]) for line in lines]
