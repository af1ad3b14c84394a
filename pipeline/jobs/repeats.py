"""How many jobs share their entity with another, counted in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from pipeline.jobs.partition import PART_ROWS, Partition
from pipeline.store.parquet import read_frames, row_count

_READ_ROWS = 65_536


HOT = 20
"""With fewer jobs than that no entity is named."""


@dataclass(frozen=True, slots=True)
class BusiestEntity:
    """The entity that has most jobs, as text, with the row of the first one."""

    entity: str
    row: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """Jobs whose entity has more than one.

    most  of one entity; 0 without jobs
    """

    jobs: int
    most: int
    _hash: int

    def hottest(self, path: Path) -> BusiestEntity | None:
        """The entity that has most jobs; None where those are few.

        path  of the same file, which is read up to the first of them
        """
        if self.most < HOT:
            return None
        for frame in read_frames(path, columns=("row", "entity"), batch_rows=_READ_ROWS):
            for row, entity in frame.filter(frame["entity"].hash() == self._hash).head(1).rows():
                return BusiestEntity(entity, row, self.most)
        return None


def find_repeats(path: Path, rows: int, *, part_rows: int = PART_ROWS) -> Repeats:
    """What stands in the file of jobs at `path` more than once.

    Entities count as equal when their 64-bit hashes are: of ten million different entities, two do
    so in one run of some 300,000.
    """
    with Partition(path.parent, rows, part_rows=part_rows) as parts:
        for frame in read_frames(path, columns=("entity",), batch_rows=_READ_ROWS):
            hashes = frame["entity"].hash()
            parts.add(hashes.to_frame(), hashes)
        return _sum(_repeats(part["entity"]) for part in parts)


def repeated_entities(path: Path, repeated: int, *, part_rows: int = PART_ROWS) -> frozenset[str]:
    """Entities that stand more than once in the file of jobs at `path`; they are held in memory.

    repeated  how many jobs do, as `find_repeats` counted
    """
    if not repeated:
        return frozenset()
    found: set[str] = set()
    with Partition(path.parent, row_count(path), part_rows=part_rows) as parts:
        for frame in read_frames(path, columns=("entity",), batch_rows=_READ_ROWS):
            parts.add(frame, frame["entity"].hash())
        for part in parts:
            counts = part["entity"].value_counts(name="jobs")
            found.update(counts.filter(pl.col("jobs") > 1)["entity"])
    return frozenset(found)


def _repeats(hashes: pl.Series) -> Repeats:
    counts = hashes.value_counts(name="jobs")
    jobs = counts["jobs"]
    (top,) = counts.top_k(1, by=("jobs", "entity")).rows()
    return Repeats(int(jobs.filter(jobs > 1).sum()), top[1], top[0])


def _sum(found: Iterable[Repeats]) -> Repeats:
    parts = list(found)
    top = max(parts, key=lambda part: part.most, default=Repeats(0, 0, 0))
    return replace(top, jobs=sum(part.jobs for part in parts))
