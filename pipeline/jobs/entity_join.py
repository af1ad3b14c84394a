"""Jobs of several files that are about the same entity, brought together in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pipeline.jobs.jobs_file import job_rows
from pipeline.jobs.partition import Partition
from pipeline.model import DamagedError, JobRow, RunAborted
from pipeline.store.parquet import read_frames

FEW_ROWS = 250_000
"""Where no more rows than these ask, only jobs whose entity may be one of theirs are looked at."""


PART_ROWS = 60_000
"""Rows of all files that are held in memory at once, about."""


class JoinedJob(NamedTuple):
    """A job among others of its entity.

    asks     whether it is one of those that the others were looked for
    run      of its file
    payload  equal where operation and job are
    remark   what was said of it
    """

    asks: bool
    run: str
    row: int
    operation: str
    since_run: str
    since_row: int
    payload: int
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFile:
    """A file of jobs that takes part.

    remark  what is to be known of its jobs: a text for each; called with jobs in row order
    """

    path: Path
    run: str
    remark: Callable[[Sequence[JobRow]], Sequence[str]]


Asks = Callable[[Sequence[int]], set[int]]
"""Which of these rows, rising, look for others of their entity."""


def since_runs(path: Path, run: str) -> set[str]:
    """The runs whose places in time rows of a file of jobs keep. Raises RunAborted.

    run  of the file, for people
    """
    found: set[str] = set()
    for frame in _frames(path, run, ("since_run",)):
        if frame["since_run"].null_count() < frame.height:
            found.update(frame["since_run"].drop_nulls().unique())
    return found


def meet(
    host: JoinedFile,
    others: Iterable[JoinedFile],
    *,
    asks: Asks,
    rows: int,
    folder: Path,
    part_rows: int = PART_ROWS,
) -> Iterator[list[JoinedJob]]:
    """The jobs of each entity that a row of `host` asks for and that has more jobs than that one.

    others  opened one after the other; what one holds may be let go of once the next is asked for
    rows    in all files together, about
    folder  on the disk where there is room

    Memory holds about `part_rows` rows (more beyond 256 times as many), and all of one entity.
    Raises RunAborted where a file cannot be read.
    """
    wanted = _wanted(host, asks)
    if wanted is not None and not len(wanted):
        return
    with Partition(folder, rows, part_rows=part_rows) as parts:
        _spread(host, wanted, parts, asks)
        for guest in others:
            _spread(guest, wanted, parts, lambda _rows: set())
        for part in parts:
            yield from _together(part)


def unreadable(path: Path, run: str, why: str) -> RunAborted:
    """The error where a file of jobs of a run that may have newer rows cannot be read."""
    return RunAborted(
        f"{path}: the rows of run {run} cannot be read ({why}), and nobody can tell which of them "
        f"are newer. Nothing was sent. Forget that run: `pipeline runs {run} --prune`; or send the "
        "rows as new ones: --force-order"
    )


def _frames(path: Path, run: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    try:
        yield from read_frames(path, columns=columns)
    except (OSError, DamagedError, pl.exceptions.PolarsError) as error:
        raise unreadable(path, run, str(error).partition("\n")[0]) from error


def _wanted(host: JoinedFile, asks: Asks) -> pl.Series | None:
    """Hashes of the entities that are asked for; None where there are too many to hold."""
    found: list[pl.Series] = []
    count = 0
    for frame in _frames(host.path, host.run, ("row", "entity")):
        asking = _is_asking(frame, asks)
        found.append(frame["entity"].filter(asking).hash())
        count += len(found[-1])
        if count > FEW_ROWS:
            return None
    return pl.concat([pl.Series(dtype=pl.UInt64), *found]).unique()


def _is_asking(frame: pl.DataFrame, asks: Asks) -> pl.Series:
    asking = asks(frame["row"].to_list())
    return pl.Series("asks", [row in asking for row in frame["row"].to_list()], dtype=pl.Boolean)


def _spread(guest: JoinedFile, wanted: pl.Series | None, parts: Partition, asks: Asks) -> None:
    for frame in _frames(guest.path, guest.run):
        hashes = frame["entity"].hash()
        if wanted is not None:
            is_wanted = hashes.is_in(wanted.implode())
            frame, hashes = frame.filter(is_wanted), hashes.filter(is_wanted)  # noqa: PLW2901
        if frame.height:
            remarks = pl.Series("remark", guest.remark(job_rows(frame)), dtype=pl.String)
            told = frame.with_columns(
                _is_asking(frame, asks),
                remarks,
                run=pl.lit(guest.run),
                payload=pl.concat_str("operation", "job", separator="\n").hash(),
            )
            parts.add(told.select("entity", *JoinedJob._fields), hashes)


def _together(part: pl.DataFrame) -> Iterator[list[JoinedJob]]:
    is_met = pl.col("asks").any().over("entity") & (pl.len().over("entity") > 1)
    found = part.filter(is_met).sort("entity", maintain_order=True)
    known = found.with_columns(pl.col("since_run").fill_null(""), pl.col("since_row").fill_null(0))
    rows = zip(known["entity"], known.select(JoinedJob._fields).iter_rows(), strict=True)
    for _, some in groupby(rows, key=itemgetter(0)):
        yield [JoinedJob._make(values) for _, values in some]
