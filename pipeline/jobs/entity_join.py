"""Joins jobs of several files by entity, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pipeline.jobs.jobs_file import WITHOUT_REQUEST, job_rows
from pipeline.jobs.partition import Partition
from pipeline.model import DamagedError, JobRow, RunAborted
from pipeline.store.parquet import read_frames

FEW_ROWS = 250_000
"""Up to this many selected rows, jobs of other entities are filtered out before the join."""

PART_ROWS = 60_000
"""Approximate number of rows of all files held in memory at once."""


class JoinedJob(NamedTuple):
    """A job of an entity that has several.

    is_selected  True if the join was made for this row
    run          run of its file
    payload      hash of operation and job
    state        text that `JoinedFile.state` gives for it
    """

    is_selected: bool
    run: str
    row: int
    operation: str
    origin_run: str
    origin_row: int
    payload: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFile:
    """A jobs file to join.

    state  returns a text for each of the given jobs, which are in row order
    """

    path: Path
    run: str
    state: Callable[[Sequence[JobRow]], Sequence[str]]


Select = Callable[[Sequence[int]], set[int]]
"""Returns the rows to join, out of row numbers in ascending order."""


def origin_runs(path: Path, run: str) -> set[str]:
    """The origin runs of the rows of a jobs file. Raises RunAborted if it cannot be read.

    run  run of the file, for the message
    """
    found: set[str] = set()
    for frame in _frames(path, run, ("since_run",)):
        if frame["since_run"].null_count() < frame.height:
            found.update(frame["since_run"].drop_nulls().unique())
    return found


def join_entities(
    host: JoinedFile,
    others: Iterable[JoinedFile],
    *,
    select: Select,
    rows: int,
    folder: Path,
    part_rows: int = PART_ROWS,
) -> Iterator[list[JoinedJob]]:
    """The jobs of each entity that has a selected row of `host` and at least one other row.

    others  opened one after the other; each is closed before the next is opened
    select  rows of `host` to join
    rows    approximate number of rows in all files
    folder  for temporary files

    Memory holds about `part_rows` rows (more if there are over 256 times as many), and all rows of
    one entity. Raises RunAborted if a file cannot be read.
    """
    wanted = _wanted(host, select)
    if wanted is not None and not len(wanted):
        return
    with Partition(folder, rows, part_rows=part_rows) as parts:
        _spread(host, wanted, parts, select)
        for other in others:
            _spread(other, wanted, parts, lambda _rows: set())
        for part in parts:
            yield from _groups(part)


def unreadable(path: Path, run: str, why: str) -> RunAborted:
    """The error for an unreadable jobs file of a run that may have newer rows."""
    return RunAborted(
        f"{path}: the rows of run {run} cannot be read ({why}), and it is unknown which of them "
        f"are newer. Nothing was sent. Forget that run: `pipeline runs {run} --prune`; or send the "
        "rows as new ones: --force-order"
    )


def _frames(path: Path, run: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    try:
        yield from read_frames(path, columns=columns)
    except (OSError, DamagedError, pl.exceptions.PolarsError) as error:
        raise unreadable(path, run, str(error).partition("\n")[0]) from error


def _wanted(host: JoinedFile, select: Select) -> pl.Series | None:
    """Hashes of the entities of selected rows; None if there are more than FEW_ROWS."""
    found: list[pl.Series] = []
    count = 0
    for frame in _frames(host.path, host.run, ("row", "entity")):
        found.append(frame["entity"].filter(_is_selected(frame, select)).hash())
        count += len(found[-1])
        if count > FEW_ROWS:
            return None
    return pl.concat([pl.Series(dtype=pl.UInt64), *found]).unique()


def _is_selected(frame: pl.DataFrame, select: Select) -> pl.Series:
    rows = frame["row"].to_list()
    selected = select(rows)
    return pl.Series("is_selected", [row in selected for row in rows], dtype=pl.Boolean)


def _spread(file: JoinedFile, wanted: pl.Series | None, parts: Partition, select: Select) -> None:
    for frame in _frames(file.path, file.run, WITHOUT_REQUEST):
        hashes = frame["entity"].hash()
        if wanted is not None:
            is_wanted = hashes.is_in(wanted.implode())
            frame, hashes = frame.filter(is_wanted), hashes.filter(is_wanted)  # noqa: PLW2901
        if frame.height:
            joined = frame.with_columns(
                _is_selected(frame, select),
                pl.Series("state", file.state(job_rows(frame)), dtype=pl.String),
                run=pl.lit(file.run),
                origin_run=pl.col("since_run").fill_null(""),
                origin_row=pl.col("since_row").fill_null(0),
                payload=pl.concat_str("operation", "job", separator="\n").hash(),
            )
            parts.add(joined.select("entity", *JoinedJob._fields), hashes)


def _groups(part: pl.DataFrame) -> Iterator[list[JoinedJob]]:
    is_joined = pl.col("is_selected").any().over("entity") & (pl.len().over("entity") > 1)
    found = part.filter(is_joined).sort("entity", maintain_order=True)
    rows = zip(found["entity"], found.select(JoinedJob._fields).iter_rows(), strict=True)
    for _, some in groupby(rows, key=itemgetter(0)):
        yield [JoinedJob._make(values) for _, values in some]
