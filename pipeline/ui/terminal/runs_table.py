"""The record of runs for people: the runs as a table, and what was asked of one entity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl
from rich.table import Table
from rich.text import Text

from pipeline.model import DamagedError, EntityKey
from pipeline.model.formatting import compact, one_line
from pipeline.reporter.errors import ReportError
from pipeline.store.parquet import read_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run in the table.

    source     of its input, as short as it can be said
    about      operations, accounts, and what kind of run it is
    started    with its offset
    state      what became of it, in words
    exit_code  None while it is not known
    """

    sequence: int
    name: str
    source: str
    about: str
    rows: int
    started: datetime
    state: str
    exit_code: int | None


def runs_table(lines: Iterable[RunLine]) -> Table:
    """Runs in the given order, each name on a line of its own, so that it can be copied."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("no.", justify="right", no_wrap=True, style="dim")
    table.add_column("run", overflow="fold", ratio=1)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("exit", justify="right", no_wrap=True)
    for line in lines:
        told = Text(line.name, style="bold")
        told.append(f"\n{moment(line.started)}  {one_line(line.source)}", style="not bold dim")
        told.append(f"\n{one_line(line.about)}", style="not bold dim")
        told.append(f"\n{one_line(line.state)}", style="not bold")
        exit_code = "" if line.exit_code is None else str(line.exit_code)
        table.add_row(str(line.sequence), told, compact(line.rows), exit_code)
    return table


def moment(time: datetime) -> str:
    """A time as people read it.

    >>> moment(datetime(2026, 5, 1, 12, 30, tzinfo=UTC))
    '2026-05-01 12:30 UTC'
    """
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class EntityQuery(NamedTuple):
    """What rows may be about, whatever its origin and scope.

    id  as `EntityKey` has it
    """

    vendor: str
    kind: str
    id: str


class EntityRequest(NamedTuple):
    """What one row asked for.

    entity  the whole key as text
    job     canonical JSON
    """

    row: int
    operation: str
    entity: str
    job: str


def asked_of(path: Path, wanted: EntityQuery) -> Iterator[EntityRequest]:
    """The rows of a jobs file that are about an entity, in row order.

    Holds the matching rows of one stretch of the file. Raises ReportError where it cannot be read.
    """
    entity = pl.col("entity").str
    is_near = entity.starts_with(f"{wanted.vendor}|")
    is_near &= entity.ends_with(f"|{wanted.kind}|{wanted.id}")
    try:
        for frame in read_frames(path, columns=EntityRequest._fields):
            near = frame.filter(is_near).select(EntityRequest._fields)
            for asked in map(EntityRequest._make, near.iter_rows()):
                key = EntityKey.parse(asked.entity)
                if (key.vendor, key.kind, key.id) == wanted:  # else its end is part of a longer id
                    yield asked
    except (OSError, DamagedError, pl.exceptions.PolarsError) as error:
        why = str(error).partition("\n")[0]
        raise ReportError(f"{path}: the jobs cannot be read: {why}") from error
