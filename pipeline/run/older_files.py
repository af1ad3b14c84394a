"""Checks files of a run that an earlier version prepared, which have no checksums.

The jobs were made from the copy of the input. If binding the copy again gives other jobs, one of
the two was damaged since.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.jobs import read_jobs
from pipeline.loader import Bound
from pipeline.model import ConfigError, DamagedError, InputError, JobRow, UsageError
from pipeline.run.binding import bind_snapshot, folder_operation
from pipeline.runs.run_folder import StoredRun


def check_older(stored: StoredRun, folder: Path, config: Config) -> None:
    """Raise DamagedError if the jobs of a run and its copy of the input do not agree.

    Nothing is checked if they have checksums, if the run was made of a plan, or if the
    configuration no longer accepts the input. Rows that are invalid now are ignored.
    """
    if stored.snapshot.checksum or stored.made_of != "file":
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        invalid: set[int] = set()
        try:
            bound = bind_snapshot(
                replace(stored.snapshot, path=folder / stored.snapshot.path.name),
                Path(scratch),
                config,
                stored.options,
                placed_in=folder_operation(stored.snapshot.source, config),
                is_sample=stored.is_sample,
                emit=lambda results: invalid.update(each.row for each in results),
                known_runs=lambda _name: True,
            )
        except (InputError, ConfigError, UsageError):
            return
        for account, file in stored.bound.jobs.items():
            path = folder / file.path.name
            row = _first_difference(path, _jobs(bound, account), invalid)
            if row is not None:
                raise DamagedError(
                    f"{path} or {stored.snapshot.path.name} is damaged, or this version reads the "
                    f"input differently: row {row} is another job in each of them. An "
                    "earlier version wrote them, without checksums"
                )


def _jobs(bound: Bound, account: str) -> Iterator[JobRow]:
    file = bound.jobs.get(account)
    for some in read_jobs(file.path) if file is not None else ():
        yield from some


def _first_difference(path: Path, anew: Iterator[JobRow], invalid: set[int]) -> int | None:
    """The first row whose job differs from the one that it becomes now; None if none does."""
    before = 0
    for some in read_jobs(path):
        for job in some:
            if job.row <= before:
                return job.row
            before = job.row
            if job.row in invalid:
                continue
            other = next((each for each in anew if each.row >= job.row), None)
            if other is None or _identity(other) != _identity(job):
                return job.row
    return None


def _identity(job: JobRow) -> tuple[object, ...]:
    return job.row, job.operation, job.entity, job.text, job.is_repeatable
