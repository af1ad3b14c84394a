"""Makes the snapshot and jobs files of a new run from some rows of an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from pipeline.jobs.jobs_file import JobsFile, JobsWriter, jobs_path, read_jobs, written_for
from pipeline.jobs.snapshot_file import to_metadata
from pipeline.model import ROW_COLUMN, JobRow, Snapshot
from pipeline.store.parquet import ParquetWriter, fitting_rows, read_frames

Keep = Callable[[Sequence[int]], set[int]]
"""Returns the rows to keep, out of row numbers in ascending order."""


def subset_rows(snapshot: Snapshot, path: Path, keep: Keep) -> Snapshot:
    """Write a snapshot of the kept rows to `path`, with their old numbers.

    Raises as `read_frames` does if a file is damaged, OSError if the disk is full.
    """
    schema = pl.read_parquet_schema(snapshot.path)
    first = next(read_frames(snapshot.path), pl.DataFrame(schema=schema))
    with ParquetWriter(path, schema, row_group_rows=fitting_rows(first), is_checked=True) as writer:
        for frame in read_frames(snapshot.path):
            wanted = keep(frame[ROW_COLUMN].to_list())
            writer.write(frame.filter(pl.col(ROW_COLUMN).is_in(wanted)))
        subset = replace(snapshot, path=path, selected=writer.rows)
        writer.metadata |= to_metadata(subset)
    return replace(subset, checksum=writer.digest)


def subset_jobs(
    jobs: Mapping[str, JobsFile],
    folder: Path,
    keep: Keep,
    *,
    run: str,
    batch_size: Callable[[str, str], int],
    is_read_first: Callable[[str, JobRow], bool],
) -> dict[str, JobsFile]:
    """Write jobs files of the kept jobs to `folder`, by account; only accounts that have any.

    run            run of `jobs`: the origin of each job that has no earlier one
    batch_size     account and operation -> the most jobs that one request carries
    is_read_first  account and job -> True if its entity is read before it is sent

    Raises as `subset_rows` does.
    """
    found: dict[str, JobsFile] = {}
    for account, file in jobs.items():
        decisions = partial(batch_size, account), partial(is_read_first, account)
        encodes_with = written_for(file.path)
        with JobsWriter(jobs_path(folder, account), *decisions, encodes_with) as writer:
            for some in _kept(file.path, keep, encodes_with):
                writer.write([_with_origin(job, run) for job in some])
        subset = writer.file()
        if subset.rows:
            found[account] = subset
        else:
            subset.path.unlink()
    return found


def _kept(path: Path, keep: Keep, encodes_with: str) -> Iterator[list[JobRow]]:
    for jobs in read_jobs(path, encodes_with=encodes_with):
        wanted = keep([job.row for job in jobs])
        yield [job for job in jobs if job.row in wanted]


def _with_origin(job: JobRow, run: str) -> JobRow:
    return job if job.origin_run else job._replace(origin_run=run, origin_row=job.row)
