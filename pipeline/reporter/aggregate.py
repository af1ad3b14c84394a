"""Figures and example rows of a page that the summary lacks, in bounded memory. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.model import LINE_COLUMN, RESULT_COLUMNS, ROW_COLUMN, Snapshot
from pipeline.store.frame_values import column_values

MAX_ROWS = 10
_MAX_CELLS = 8
_CELL_CHARS = 80
_SHOWN = ("_row", "_operation", "_account", "_status", "_http_status", "_attempts", "_seconds")
_FEW_ATTEMPTS = 1


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A row of the input: its first filled cells, shortened.

    line  None if the input has no lines
    """

    row: int
    line: int | None
    cells: tuple[tuple[str, str], ...]


class Aggregate:
    """Example rows of an input, and how often rows were sent.

    attempts  number of attempts, from 0 -> rows with that number
    examples  row number -> the row
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.attempts: Counter[int] = Counter()
        self.examples: dict[int, ExampleRow] = {}
        self._titles = snapshot.columns
        self._slowest = _Top("_seconds", "_attempts")
        self._retried = _Top("_attempts", "_seconds")
        self._for_errors: set[int] = set()

    def add(self, frame: pl.DataFrame, results: pl.DataFrame, shown: Sequence[int]) -> None:
        """Add rows of the snapshot and their results, in the same order.

        shown  numbers of those rows that are examples of a kind of error
        """
        for attempts, count in results.group_by("_attempts").len().iter_rows():
            self.attempts[attempts] += count
        sent = results.filter(pl.col("_attempts") > 0)
        wanted = set(shown)
        wanted |= self._slowest.add(sent)
        wanted |= self._retried.add(sent.filter(pl.col("_attempts") > _FEW_ATTEMPTS))
        self._for_errors.update(shown)
        if wanted:
            self._keep(frame, wanted)

    @property
    def slowest(self) -> list[dict[str, Any]]:
        """Rows with the longest time from first attempt to end, slowest first."""
        return self._slowest.rows()

    @property
    def most_retried(self) -> list[dict[str, Any]]:
        """Rows that were sent more than once, most attempts first."""
        return self._retried.rows()

    def _keep(self, frame: pl.DataFrame, rows: Collection[int]) -> None:
        wanted = frame.filter(pl.col(ROW_COLUMN).is_in(sorted(rows)))
        columns = [column_values(column) for column in wanted.iter_columns()]
        for cells in zip(*columns, strict=True):
            example = _example(dict(zip(wanted.columns, cells, strict=True)), self._titles)
            self.examples[example.row] = example
        needed = self._for_errors | self._slowest.numbers | self._retried.numbers
        for row in self.examples.keys() - needed:
            del self.examples[row]


class _Top:
    """The rows of results with the highest values of one column.

    A second column breaks ties, then the lower row number.
    """

    def __init__(self, first: str, second: str) -> None:
        self._by = (first, second)
        self._held: pl.DataFrame | None = None

    def add(self, results: pl.DataFrame) -> set[int]:
        """Add results; return the numbers of those that are now among the highest."""
        new = results.select(_SHOWN)
        if self._held is not None and self._held.height == MAX_ROWS:
            first, second = map(pl.col, self._by)
            least, least_second = self._held.select(self._by).row(-1)
            new = new.filter((first > least) | ((first == least) & (second > least_second)))
        if not new.height:
            return set()
        together = new if self._held is None else pl.concat([self._held, new])
        ranked = together.sort(*self._by, "_row", descending=[True, True, False])
        self._held = ranked.head(MAX_ROWS)
        return self.numbers & set(new["_row"])

    @property
    def numbers(self) -> set[int]:
        """Numbers of the rows with the highest values."""
        return set() if self._held is None else set(self._held["_row"])

    def rows(self) -> list[dict[str, Any]]:
        return [] if self._held is None else list(self._held.iter_rows(named=True))


def _example(values: Mapping[str, Any], titles: Sequence[str]) -> ExampleRow:
    own = [value for name, value in values.items() if name not in (ROW_COLUMN, LINE_COLUMN)]
    filled = [
        (_shortened(title.strip()), _shortened(str(value)))
        for title, value in zip(titles, own, strict=False)
        if value is not None and value != "" and title.strip() not in RESULT_COLUMNS
    ]
    return ExampleRow(values[ROW_COLUMN], values[LINE_COLUMN], tuple(filled[:_MAX_CELLS]))


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL_CHARS else f"{text[: _CELL_CHARS - 1]}…"
