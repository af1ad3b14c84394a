"""Selects rows of a file by number. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import polars as pl

from pipeline.model import ROW_COLUMN

_PART = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?", re.ASCII)
_MAX_RANGES = 10_000


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Rows by number, from 1.

    ranges  first and last row of each range, in order, not adjacent. A range may end beyond the
            file, but `ingest` refuses one that begins there
    """

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def first(cls, count: int) -> Self:
        """The first `count` rows, or all if there are fewer. Raises ValueError below 1.

        >>> RowSelection.first(20)
        RowSelection(ranges=((1, 20),))
        """
        if count < 1:
            raise ValueError(f"{count} rows: a limit is at least 1")
        return cls(((1, count),))

    def only(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The selected rows of a frame with ascending row numbers in `__row`."""
        if not frame.height:
            return frame
        low, high = frame[ROW_COLUMN][0], frame[ROW_COLUMN][-1]
        near = [(first, last) for first, last in self.ranges if first <= high and last >= low]
        if not near:
            return frame.clear()
        row = pl.col(ROW_COLUMN)
        return frame.filter(pl.any_horizontal(row.is_between(first, last) for first, last in near))

    def beyond(self, rows: int) -> int | None:
        """The first selected row beyond a file of `rows` rows; None if there is none.

        Always None for an empty file.

        >>> parse_rows("3,17").beyond(10), parse_rows("3-17").beyond(10)
        (17, None)
        """
        return next((first for first, _ in self.ranges if first > rows > 0), None)


def parse_rows(text: str) -> RowSelection:
    """Parse the rows of `--rows`: numbers and ranges, separated by commas.

    Raises ValueError with a message for people.

    >>> parse_rows("40-60,17, 55-70")
    RowSelection(ranges=((17, 17), (40, 70)))
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MAX_RANGES:
        raise ValueError(f"{len(parts)} parts are too many, at most {_MAX_RANGES}")
    merged: list[tuple[int, int]] = []
    for first, last in sorted(map(_range, parts)):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return RowSelection(tuple(merged))


def _range(part: str) -> tuple[int, int]:
    found = _PART.fullmatch(part)
    if not found:
        raise ValueError(f"{part!r} is not a row: write rows as 17,40-60")
    first = int(found[1])
    last = int(found[2]) if found[2] else first
    if first < 1:
        raise ValueError(f"{part!r}: rows are numbered from 1, the header not counted")
    if last < first:
        raise ValueError(f"{part!r} is in the wrong order: write {last}-{first}")
    return first, last
