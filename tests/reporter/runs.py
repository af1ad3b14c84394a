"""Small runs to report on: snapshots written as the reader writes them, results out of a list."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import reporter
from pipeline.model import LINE_COLUMN, ROW_COLUMN, RowResult, Snapshot, Status
from pipeline.reporter import AccountFacts, ReportSource, RunFacts, Summary
from pipeline.store.parquet import ParquetWriter
from pipeline.store.result_lines import Line, line_of
from pipeline.ui.html.write import HtmlPages

RUN = "20251122T160000Z-coupons-abcd"
FACTS = RunFacts(
    started=datetime(2025, 11, 22, 16, 0, tzinfo=UTC),
    ended=datetime(2025, 11, 22, 16, 0, 10, tzinfo=UTC),
    accounts=(AccountFacts(name="shop", vendor="xsolla", host="https://a.example", requests=7),),
)


def snapshot(
    folder: Path,
    frame: pl.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    rows: Sequence[int] | None = None,
    **about: Any,
) -> Snapshot:
    """A snapshot of `frame`; `columns` are the input's header where it differs from the frame's."""
    numbers = pl.Series(ROW_COLUMN, rows or range(1, frame.height + 1), dtype=pl.Int64)
    lines = (numbers + 1).alias(LINE_COLUMN)
    stored = pl.DataFrame([numbers, lines, *frame.get_columns()])
    path = folder / "snapshot.parquet"
    with ParquetWriter(path, stored.schema) as writer:
        writer.write(stored)
    facts: dict[str, Any] = {
        "kind": "csv",
        "source": Path("coupons.csv"),
        "is_compressed": False,
        "sha256": "0" * 64,
        "size_bytes": 100,
        "rows": frame.height,
        "selected": frame.height,
        "delimiter": ",",
        "newline": "\n",
    }
    return Snapshot(path=path, columns=tuple(columns or frame.columns), **(facts | about))


def text_frame(cells: Mapping[str, Sequence[str | None]]) -> pl.DataFrame:
    return pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String))


def listed(results: Iterable[RowResult]) -> Callable[[int, int], Iterator[Line]]:
    """Results out of a list, as a ledger stores them."""
    held = sorted(results)
    return lambda first, last: (line_of(each, seed=0) for each in held if first <= each.row <= last)


def updated(row: int, account: str = "shop") -> RowResult:
    return RowResult(row, "xsolla.coupon", account, Status.UPDATED, 204, attempts=1, seconds=0.1234)


def rejected(row: int, error: str = "no such coupon", code: str = "0401") -> RowResult:
    return RowResult(
        row, "xsolla.coupon", "shop", Status.REJECTED, 422, code, error, "check the id", 1, 0.2, "q"
    )


def source(taken: Snapshot, results: Iterable[RowResult], **more: Any) -> ReportSource:
    return ReportSource(
        **{"snapshot": taken, "run": RUN, "lines": listed(results), "facts": FACTS} | more
    )


def jobs(path: Path, rows: Sequence[int], operation: str = "xsolla.coupon") -> Path:
    """A file of jobs, as far as the report looks at it."""
    schema = {"row": pl.Int64, "operation": pl.String, "job": pl.String}
    with ParquetWriter(path, schema, row_group_rows=2) as writer:
        for row in rows:
            writer.write(pl.DataFrame([(row, operation, "{}")], schema=schema, orient="row"))
    return path


def read_csv(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, delimiter=delimiter, strict=True))


def write_report(source: ReportSource, folder: Path) -> Summary:
    """The report of a run with its pages, as runs write it."""
    return reporter.write_report(source, folder, HtmlPages())
