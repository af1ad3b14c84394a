"""The folder of one run: what is on record there, and its reports."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import polars as pl

from pipeline.store import Run, RunLedger
from pipeline.store.on_files import FileStore
from tests.torture.judge import Kill
from tests.torture.rows import File, marks_held
from tests.torture.shapes import Shape
from tests.workplace import Simulator

Line = Mapping[str, str]


class Place:
    """The folder of one file, and what is on record there.

    known  names of runs that are not of the file
    """

    def __init__(self, folder: Path, vendor: Simulator, file: File, shape: Shape) -> None:
        self.folder = folder
        self.shape = shape
        self.known: set[str] = set()
        self._numbers = count()
        (folder / "pipeline.toml").write_text(shape.config(vendor))
        self.path = file.write(folder / "inputs" / "launch.csv")

    @property
    def begin(self) -> list[str]:
        """The command that sends the file."""
        return ["run", "--yes", *self.shape.options, str(self.path)]

    def registered(self) -> list[Run]:
        """The runs on record, newest first."""
        path = self.folder / ".pipeline" / "ledger.db"
        if not path.exists():
            return []
        return [run for run in FileStore(path).runs.all() if run.name not in self.known]

    def kill(self, point: str, mark: int) -> Kill:
        """What a kill left, read off a copy."""
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
        return Kill(
            point=point,
            mark=mark,
            claimed=frozenset(claimed),
            statuses=statuses,
            previous=previous if self.shape.records_previous else None,
        )


def read_record(folder: Path) -> tuple[set[int], dict[int, str]]:
    """Claimed rows, and row -> status. Raises PipelineError if it cannot be trusted."""
    with closing(RunLedger(folder / "ledger.db")) as ledger:
        claimed = set(ledger.claimed())
        return claimed, {each.row: each.status.value for each in ledger.results(1, 2**62)}


def previous_marks(folder: Path, rows: Sequence[int]) -> dict[int, frozenset[str]]:
    """Row -> the marks in its previous state, of those of `rows` that have one on record."""
    with closing(RunLedger(folder / "ledger.db")) as ledger:
        found = ledger.previous_states(rows)
    return {row: frozenset(marks_held(json.loads(state))) for row, state in found.items()}


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
