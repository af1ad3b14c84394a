"""Recorded runs as a table, and the rows of one entity."""

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

    source     source of its rows, shortened
    about      operations, accounts and kind of the run
    started    with time zone
    state      its state, in words
    exit_code  None until it is known
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
    """Make a table of runs; each name has its own line, so that it can be copied."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("no.", justify="right", no_wrap=True, style="dim")
    table.add_column("run", overflow="fold", ratio=1)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("exit", justify="right", no_wrap=True)
    for line in lines:
        text = Text(line.name, style="bold")
        text.append(f"\n{moment(line.started)}  {one_line(line.source)}", style="not bold dim")
        text.append(f"\n{one_line(line.about)}", style="not bold dim")
        text.append(f"\n{one_line(line.state)}", style="not bold")
        exit_code = "" if line.exit_code is None else str(line.exit_code)
        table.add_row(str(line.sequence), text, compact(line.rows), exit_code)
    return table


def moment(time: datetime) -> str:
    """Format a time in UTC, to the minute.

    >>> moment(datetime(2026, 5, 1, 12, 30, tzinfo=UTC))
    '2026-05-01 12:30 UTC'
    """
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class EntityQuery(NamedTuple):
    """An entity in any origin and scope.

    id  the id of its `EntityKey`
    """

    vendor: str
    kind: str
    id: str


class EntityRequest(NamedTuple):
    """The update of one row.

    entity  the whole key as text
    job     canonical JSON
    """

    row: int
    operation: str
    entity: str
    job: str


def requests_of(path: Path, wanted: EntityQuery) -> Iterator[EntityRequest]:
    """Yield the rows of a jobs file for an entity, in row order.

    Raises ReportError if the file cannot be read.
    """
    entity = pl.col("entity").str
    is_near = entity.starts_with(f"{wanted.vendor}|")
    is_near &= entity.ends_with(f"|{wanted.kind}|{wanted.id}")
    try:
        for frame in read_frames(path, columns=EntityRequest._fields):
            near = frame.filter(is_near).select(EntityRequest._fields)
            for request in map(EntityRequest._make, near.iter_rows()):
                key = EntityKey.parse(request.entity)
                if (key.vendor, key.kind, key.id) == wanted:  # else its id only ends alike
                    yield request
    except (OSError, DamagedError, pl.exceptions.PolarsError) as error:
        why = str(error).partition("\n")[0]
        raise ReportError(f"{path}: the jobs cannot be read: {why}") from error
