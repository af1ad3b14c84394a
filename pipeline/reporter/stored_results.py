"""Reads stored results as columns: most are plain successes, which need not become values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from pipeline.model import RowResult
from pipeline.reporter.columns import RESULT_SCHEMA, result_frame, safe_text
from pipeline.store.result_lines import Line, result_of

_TEXT = r'"([^"\\]*)"'  # without anything that JSON escapes
_PLAIN = (
    rf'^\[{_TEXT},{_TEXT},(null|[0-9]{{1,9}}),"","","",'
    rf"([0-9]{{1,9}}),([0-9]+\.[0-9]+(?:e-?[0-9]+)?),{_TEXT},{_TEXT}\]$"
)
"""The record of a plain success, as `line_of` writes it."""
_FIELDS = (
    *("_operation", "_account", "_http_status"),
    *("_attempts", "_seconds", "_request_id", "_receipt"),
)
_NUMBERS = ("_http_status", "_attempts", "_seconds")


def stored_frame(lines: Iterable[Line], run: str) -> pl.DataFrame:
    """Stored results in row order as a frame of `RESULT_SCHEMA`, as `result_frame` makes it."""
    held = list(lines)
    rows, statuses, _, records = zip(*held, strict=True) if held else ((),) * 4
    frame = pl.DataFrame(
        {
            "_row": pl.Series(rows, dtype=pl.Int64),
            "_status": pl.Series(statuses, dtype=pl.String),
            "record": pl.Series(records, dtype=pl.Binary),
        }
    )
    text = pl.col("record").cast(pl.String, strict=False)
    fields = text.str.extract_groups(_PLAIN).struct.rename_fields(_FIELDS).struct.unnest()
    frame = frame.select("_row", "_status", fields)
    is_plain = frame["_operation"].is_not_null()
    if is_plain.all():
        return _plain_frame(frame, run)
    others = result_frame(_others(held, is_plain), run)
    return pl.concat([_plain_frame(frame.filter(is_plain), run), others]).sort("_row")


def _plain_frame(fields: pl.DataFrame, run: str) -> pl.DataFrame:
    typed = fields.with_columns(
        pl.when(pl.col(name) != "null").then(pl.col(name)).cast(RESULT_SCHEMA[name])
        for name in _NUMBERS
    )
    given = {
        "_run": pl.lit(run),
        **{name: pl.col(name) for name in ("_row", "_status", *_NUMBERS)},
        **{name: safe_text(name) for name in _FIELDS if name not in _NUMBERS},
    }
    return typed.select(
        given.get(name, pl.lit(None, dtype=dtype)).alias(name)
        for name, dtype in RESULT_SCHEMA.items()
    )


def _others(lines: Sequence[Line], is_plain: pl.Series) -> Iterator[RowResult]:
    return (result_of(*lines[number]) for number in (~is_plain).arg_true())
