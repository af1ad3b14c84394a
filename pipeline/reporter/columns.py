"""Adds results as columns to the input's own. Pure.

The added text is one line without control characters, so that the file can be read again. It never
starts with a character that makes a spreadsheet run it. The input's cells are not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import polars as pl

from pipeline.model import LINE_COLUMN, RESULT_COLUMNS, ROW_COLUMN, RowResult, Snapshot
from pipeline.reporter.errors import ReportError

RESULT_SCHEMA: Mapping[str, pl.DataType] = {
    "_run": pl.String(),
    "_row": pl.Int64(),
    "_operation": pl.String(),
    "_account": pl.String(),
    "_status": pl.String(),
    "_http_status": pl.Int64(),
    "_error_code": pl.String(),
    "_error": pl.String(),
    "_hint": pl.String(),
    "_attempts": pl.Int64(),
    "_seconds": pl.Float64(),
    "_request_id": pl.String(),
    "_receipt": pl.String(),
}
_ROWS_AT_ONCE = 128  # as values: so few leave the garbage collector nothing to look through
MAX_TEXT_CHARS = 4_000  # a spreadsheet's cell holds 32,767
_FIELDS = RESULT_COLUMNS[1:]  # in the order of RowResult
_OWN_TEXT = ("_error_code", "_error", "_hint", "_request_id", "_receipt")
_NOT_EMPTY = ("_operation", "_account", *_OWN_TEXT)


def result_frame(results: Iterable[RowResult], run: str) -> pl.DataFrame:
    """Results as a frame of `RESULT_SCHEMA`; an empty text becomes null.

    >>> from pipeline.model import Status
    >>> frame = result_frame([RowResult(7, "", "", Status.INVALID, error="=1+1")], "r")
    >>> frame["_error"].item()
    "'=1+1"
    """
    columns: list[list[object]] = [[] for _ in _FIELDS]
    rest = iter(results)
    while some := list(islice(rest, _ROWS_AT_ONCE)):
        for column, values in zip(columns, zip(*some, strict=True), strict=True):
            column.extend(values)
    frame = pl.DataFrame(
        [_series(name, values) for name, values in zip(_FIELDS, columns, strict=True)]
    )
    return frame.select(
        pl.lit(run).alias("_run"),
        *(safe_text(name) if name in _NOT_EMPTY else pl.col(name) for name in _FIELDS),
    )


def safe_text(name: str) -> pl.Expr:
    """The text column `name` with null for empty; text of `_OWN_TEXT` is safe in a spreadsheet."""
    column = pl.col(name)
    given = pl.when(column != "").then(column)
    return (_neutral(given) if name in _OWN_TEXT else given).alias(name)


def _neutral(text: pl.Expr) -> pl.Expr:
    return (
        text.str.replace_all(r"\s*[\r\n\x{2028}\x{2029}]+\s*", " | ")
        .str.replace_all(r"\x1b\[[0-?]*[ -/]*[@-~]", "")
        .str.replace_all(r"\p{Cc}", " ")
        .str.replace(r"^[\p{Z}\p{Cf}]+", "")  # they would hide what follows
        .str.replace(r"^([=+\-@＝＋－＠])", "'${1}")  # noqa: RUF001 - spreadsheets take the wide ones too
        .str.head(MAX_TEXT_CHARS)
    )


def _series(name: str, values: Sequence[object]) -> pl.Series:
    try:
        return pl.Series(name, values, dtype=RESULT_SCHEMA[name])
    except UnicodeEncodeError:  # a lone surrogate in a vendor's JSON
        return pl.Series(name, [_encodable(value) for value in values], dtype=RESULT_SCHEMA[name])


def _encodable(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class InputColumns:
    """The input's own columns, without those that an earlier run added.

    header  names as in the input, then those of `RESULT_COLUMNS`
    schema  of the frames in the result files
    """

    def __init__(self, snapshot: Snapshot, stored: Mapping[str, pl.DataType]) -> None:
        """`stored` is the schema of the snapshot. Raises ReportError if a column is missing."""
        names = [name for name in stored if name not in (ROW_COLUMN, LINE_COLUMN)]
        if len(names) != len(snapshot.columns):
            raise ReportError(
                f"{snapshot.path}: the snapshot has {len(names)} columns, "
                f"the input had {len(snapshot.columns)}"
            )
        own = {
            name: title
            for name, title in zip(names, snapshot.columns, strict=True)
            if title.strip() not in RESULT_SCHEMA
        }
        # the names in a Parquet file are unique; a CSV may have several columns without one
        is_csv = snapshot.kind == "csv"
        self._renamed = {name: name if is_csv else title for name, title in own.items()}
        self.header = (*own.values(), *RESULT_COLUMNS)
        self.schema = {self._renamed[name]: stored[name] for name in own} | dict(RESULT_SCHEMA)

    def join(self, frame: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
        """Join rows of the snapshot with their results, both in the same order."""
        own = frame.select(pl.col(name).alias(title) for name, title in self._renamed.items())
        return own.hstack(results)
