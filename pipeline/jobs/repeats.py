"""Counts jobs that share their entity with another job, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from pipeline.jobs.partition import PART_ROWS, Partition
from pipeline.store.parquet import read_frames, row_count

_READ_ROWS = 65_536

HOT = 20
"""Fewest jobs of an entity that is reported as the busiest."""


@dataclass(frozen=True, slots=True)
class BusiestEntity:
    """The entity with the most jobs, as text.

    row  of its first job
    """

    entity: str
    row: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """Jobs whose entity has more than one job.

    most  the most jobs of one entity; 0 if there are no jobs
    """

    jobs: int
    most: int
    _hash: int

    def hottest(self, path: Path) -> BusiestEntity | None:
        """The entity with the most jobs; None if it has fewer than HOT.

        path  of the same file, which is read up to the entity's first job
        """
        if self.most < HOT:
            return None
        for frame in read_frames(path, columns=("row", "entity"), batch_rows=_READ_ROWS):
            for row, entity in frame.filter(frame["entity"].hash() == self._hash).head(1).rows():
                return BusiestEntity(entity, row, self.most)
        return None


def find_repeats(path: Path, rows: int, *, part_rows: int = PART_ROWS) -> Repeats:
    """Count the jobs of repeated entities in the jobs file at `path`.

    Entities count as equal if their 64-bit hashes are equal. Among ten million different entities,
    that makes two equal in about one run of 300,000.
    """
    with Partition(path.parent, rows, part_rows=part_rows) as parts:
        for frame in read_frames(path, columns=("entity",), batch_rows=_READ_ROWS):
            hashes = frame["entity"].hash()
            parts.add(hashes.to_frame(), hashes)
        return _sum(_repeats(part["entity"]) for part in parts)


def repeated_entities(path: Path, repeated: int, *, part_rows: int = PART_ROWS) -> frozenset[str]:
    """The entities with more than one job in the jobs file at `path`, all held in memory.

    repeated  number of their jobs, from `find_repeats`
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
