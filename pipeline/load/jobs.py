"""The jobs of one account as a Parquet file, in row order: written once, then only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from pipeline.model import JobRow
from pipeline.tables import ParquetWriter, read_frames

JOBS_SCHEMA = MappingProxyType(
    {
        "row": pl.Int64(),
        "operation": pl.String(),
        "entity": pl.String(),
        "repeatable": pl.Boolean(),
        "job": pl.String(),
        "batch": pl.String(),
    }
)
READ_ROWS = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsFile:
    """The jobs of one account.

    rows        jobs in the file
    operations  how many of them are of each operation
    repeated    jobs whose entity has more than one job here
    requests    that carry them where each is sent once and whole groups travel together
    """

    path: Path
    rows: int
    operations: Mapping[str, int]
    repeated: int
    requests: int


def jobs_path(folder: Path, account: str) -> Path:
    """Where the jobs of an account stand.

    >>> jobs_path(Path("run"), "shop").as_posix()
    'run/jobs-shop.parquet'
    """
    return folder / f"jobs-{account}.parquet"


def open_jobs(path: Path) -> ParquetWriter:
    """A writer of frames that `jobs_frame` makes; raises OSError where it cannot write."""
    return ParquetWriter(path, JOBS_SCHEMA)


def jobs_frame(jobs: Sequence[JobRow]) -> pl.DataFrame:
    """Jobs as a frame of `JOBS_SCHEMA`.

    >>> jobs_frame([JobRow(1, "xsolla.coupon", "e", True, "{}")]).rows()
    [(1, 'xsolla.coupon', 'e', True, '{}', '')]
    """
    columns = zip(*jobs, strict=True) if jobs else ((),) * len(JOBS_SCHEMA)
    return pl.DataFrame(
        [
            pl.Series(name, values, dtype=kind)
            for (name, kind), values in zip(JOBS_SCHEMA.items(), columns, strict=True)
        ]
    )


def read_jobs(path: Path, *, batch_rows: int = READ_ROWS) -> Iterator[list[JobRow]]:
    """The jobs of a file in row order, in batches.

    A corrupt file raises `polars.exceptions.PolarsError`, or OSError, at the batch where it shows.
    """
    for frame in read_frames(path, batch_rows=batch_rows):
        columns = (frame[name].to_list() for name in JOBS_SCHEMA)
        yield list(map(JobRow._make, zip(*columns, strict=True)))
