"""How many jobs share their entity with another, counted in bounded memory."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipeline.load.parts import PART_ROWS, Parts
from pipeline.tables import read_frames, row_count

_READ_ROWS = 65_536


def count_repeated(path: Path, rows: int, *, part_rows: int = PART_ROWS) -> int:
    """Jobs of the file at `path` whose entity stands there more than once.

    Entities count as equal when their 64-bit hashes are: of ten million different entities, two do
    so in one run of some 300,000.
    """
    with Parts(path.parent, rows, part_rows=part_rows) as parts:
        for frame in read_frames(path, columns=("entity",), batch_rows=_READ_ROWS):
            hashes = frame["entity"].hash()
            parts.add(hashes.to_frame(), hashes)
        return sum(_repeated(part["entity"]) for part in parts)


def repeated_entities(path: Path, repeated: int, *, part_rows: int = PART_ROWS) -> frozenset[str]:
    """Entities that stand more than once in the file of jobs at `path`; they are held in memory.

    repeated  as `count_repeated` counted
    """
    if not repeated:
        return frozenset()
    found: set[str] = set()
    with Parts(path.parent, row_count(path), part_rows=part_rows) as parts:
        for frame in read_frames(path, columns=("entity",), batch_rows=_READ_ROWS):
            parts.add(frame, frame["entity"].hash())
        for part in parts:
            counts = part["entity"].value_counts(name="jobs")
            found.update(counts.filter(pl.col("jobs") > 1)["entity"])
    return frozenset(found)


def _repeated(hashes: pl.Series) -> int:
    """Values that occur more than once, each occurrence counted."""
    counts = hashes.value_counts(name="jobs")["jobs"]
    return int(counts.filter(counts > 1).sum())
