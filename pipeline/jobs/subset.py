"""Some rows of a run that was bound before, as the snapshot and the jobs of another run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from pipeline.jobs.jobs_file import JobsFile, JobsWriter, jobs_path, read_jobs
from pipeline.jobs.snapshot_file import to_metadata
from pipeline.model import ROW_COLUMN, JobRow, Snapshot
from pipeline.store.parquet import ParquetWriter, fitting_rows, read_frames

Keep = Callable[[Sequence[int]], set[int]]
"""Which of these rows, rising, are wanted."""


def pick_rows(snapshot: Snapshot, path: Path, keep: Keep) -> Snapshot:
    """A snapshot at `path` of the wanted rows, under their old numbers.

    Raises as `read_frames` does where a file is damaged, OSError where the disk is full.
    """
    schema = pl.read_parquet_schema(snapshot.path)
    first = next(read_frames(snapshot.path), pl.DataFrame(schema=schema))
    with ParquetWriter(path, schema, row_group_rows=fitting_rows(first), is_checked=True) as writer:
        for frame in read_frames(snapshot.path):
            wanted = keep(frame[ROW_COLUMN].to_list())
            writer.write(frame.filter(pl.col(ROW_COLUMN).is_in(wanted)))
        picked = replace(snapshot, path=path, selected=writer.rows)
        writer.metadata |= to_metadata(picked)
    return replace(picked, checksum=writer.digest)


def pick_jobs(
    jobs: Mapping[str, JobsFile],
    folder: Path,
    keep: Keep,
    *,
    run: str,
    batch_size: Callable[[str, str], int],
    is_read_first: Callable[[str, JobRow], bool],
) -> dict[str, JobsFile]:
    """The wanted jobs by account, in files in `folder`; only accounts that have any.

    run         of these jobs: each keeps its place there, or the one that it kept already
    batch_size  account and operation -> jobs that one request may carry at most
    is_read_first  of an account and a job: whether its entity is read before it is sent

    Raises as `pick_rows` does.
    """
    found: dict[str, JobsFile] = {}
    for account, file in jobs.items():
        decisions = partial(batch_size, account), partial(is_read_first, account)
        with JobsWriter(jobs_path(folder, account), *decisions) as writer:
            for some in _kept(file.path, keep):
                writer.write([_placed(job, run) for job in some])
        picked = writer.file()
        if picked.rows:
            found[account] = picked
        else:
            picked.path.unlink()
    return found


def _kept(path: Path, keep: Keep) -> Iterator[list[JobRow]]:
    for jobs in read_jobs(path):
        wanted = keep([job.row for job in jobs])
        yield [job for job in jobs if job.row in wanted]


def _placed(job: JobRow, run: str) -> JobRow:
    return job if job.since_run else job._replace(since_run=run, since_row=job.row)
