"""Reads and writes a plan as a Parquet file: its rows, and a `Planned` in the footer.

Columns: `row`, `kind`, `operation`, `account`, `entity`, `note`, `changes` (a JSON list of
`{"field", "old", "new"}`), `before` (JSON of what the entity held), `job` (JSON of what is sent),
`since_run`, `since_row`. The footer holds `format` and, under `plan`, the JSON of a `Planned`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from types import MappingProxyType, TracebackType
from typing import Any, Self

import polars as pl
from pydantic import TypeAdapter, ValidationError

from pipeline.loader.parquet_file import stored_texts
from pipeline.model import DamagedError, InputError
from pipeline.model.plan import FieldChange, PlanKind, Planned, PlanRow
from pipeline.store.checksums import read_checksums
from pipeline.store.parquet import ParquetWriter

PLAN_KEY = "plan"
FORMAT = "1"
PLAN_SCHEMA = MappingProxyType(
    {
        "row": pl.Int64(),
        **dict.fromkeys(("kind", "operation", "account", "entity", "note"), pl.String()),
        **dict.fromkeys(("changes", "before", "job", "since_run"), pl.String()),
        "since_row": pl.Int64(),
    }
)
_READ_ROWS = 4_096
_PLANNED = TypeAdapter(Planned)


class PlanWriter:
    """Writes a plan. A context manager, as ParquetWriter is. Raises OSError if writing fails."""

    def __init__(self, path: Path) -> None:
        self._writer = ParquetWriter(path, PLAN_SCHEMA, row_group_rows=_READ_ROWS, is_checked=True)

    def write(self, rows: Sequence[PlanRow]) -> None:
        """Append `rows`."""
        self._writer.write(_frame(rows))

    def describe(self, planned: Planned) -> None:
        """Store the facts of the plan. Call it before leaving the context."""
        self._writer.metadata[PLAN_KEY] = _PLANNED.dump_json(planned).decode()

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)


def _frame(rows: Sequence[PlanRow]) -> pl.DataFrame:
    return pl.DataFrame(list(map(_values, rows)), schema=dict(PLAN_SCHEMA), orient="row")


def _values(row: PlanRow) -> tuple[object, ...]:
    changes = json.dumps([change._asdict() for change in row.changes])
    return (
        *(row.row, str(row.kind), row.operation, row.account, row.entity, row.note),
        *(changes, row.before, row.job, row.origin_run, row.origin_row),
    )


def planned_of(path: Path) -> Planned | None:
    """The facts of the plan in a file; None if the file is not a plan.

    Raises InputError for a plan that is damaged, or of a newer version.
    """
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return None
    try:
        read_checksums(path)
        stored = stored_texts(path, PLAN_KEY)
    except DamagedError as error:
        raise InputError(f"{error}. Nothing was sent; make the plan again") from error
    except OSError:
        return None  # ingesting the file reports the error
    if PLAN_KEY not in stored:
        return None
    if stored.get("format") != FORMAT:
        raise InputError(f"{path} is a plan of a newer version of this program")
    try:
        return _PLANNED.validate_json(stored[PLAN_KEY])
    except ValidationError as error:
        raise InputError(f"{path} is a plan whose footer cannot be read: {error}") from error


def plan_rows(frame: pl.DataFrame, path: PurePath) -> list[PlanRow]:
    """Convert a frame with the columns of a plan, and maybe others, to rows.

    Raises InputError, which names `path`, if the frame is not a plan.
    """
    try:
        return [_row(values) for values in frame.select(list(PLAN_SCHEMA)).iter_rows()]
    except (pl.exceptions.PolarsError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a plan: {error}. Make it again") from error


def _row(values: tuple[Any, ...]) -> PlanRow:
    row, kind, *names, changes, before, job, since_run, since_row = values
    found = tuple(FieldChange(**change) for change in json.loads(changes))
    return PlanRow._make((row, PlanKind(kind), *names, found, before, job, since_run, since_row))
