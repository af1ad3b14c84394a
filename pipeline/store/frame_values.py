"""Converts the cells of a frame to Python values, with stand-ins for those that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from pipeline.model import MAX_CELL_BYTES, BeyondCalendar, TooLong

_PER_S = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_S, _END_S = -62_135_596_800, 253_402_300_800  # the years 1 to 9999, in seconds since 1970
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_S = 86_400  # no zone is further from UTC
_SHOWN_CHARS = 80
_LEAST, _MOST = 2 - 2**63, 2**63 - 1  # without the values that mean infinity
_INFINITIES = {2**63 - 1: "infinity", -(2**63): "-infinity", 1 - 2**63: "-infinity"}
_INFINITE_DAYS = {2**31 - 1: "infinity", -(2**31): "-infinity", 1 - 2**31: "-infinity"}


def column_values(column: pl.Series) -> list[Any]:
    """The cells of a column; None for null.

    Text that is too long becomes a `TooLong`. A time outside the calendar becomes a
    `BeyondCalendar`, and so does a list or struct with such a time: polars panics on them.

    >>> column_values(pl.Series([2**63 - 1, 0, None]).cast(pl.Datetime("us")))
    [infinity, datetime.datetime(1970, 1, 1, 0, 0), None]
    """
    match column.dtype:
        case pl.String():
            return _texts(column)
        case pl.Datetime():
            return _moments(column)
        case pl.Date():
            return _days(column)
    if column.dtype.is_nested() and any(map(_is_beyond, _leaves(column))):
        return [_nested(column[index : index + 1]) for index in range(len(column))]
    return column.to_list()


def _texts(column: pl.Series) -> list[Any]:
    sizes = column.str.len_bytes()
    longest_bytes = sizes.max()
    if not isinstance(longest_bytes, int) or longest_bytes <= MAX_CELL_BYTES:
        return column.to_list()
    starts = column.str.slice(0, _SHOWN_CHARS).to_list()
    is_long = (sizes > MAX_CELL_BYTES).to_list()
    fitting = _only(column, sizes <= MAX_CELL_BYTES).to_list()
    return [
        TooLong(start) if long else text
        for start, long, text in zip(starts, is_long, fitting, strict=True)
    ]


def _moments(column: pl.Series) -> list[Any]:
    if not _is_beyond(column):
        return column.to_list()
    dtype = column.dtype
    assert isinstance(dtype, pl.Datetime)  # noqa: S101 - for the type checker
    counts = column.to_physical()
    is_local = _is_within(counts, dtype, margin_s=_margin_s(dtype))
    local = _only(column, is_local)
    # near the edges of the calendar a moment may have no local time, but it has one in UTC
    in_utc = column if dtype.time_zone is None else column.dt.convert_time_zone("UTC")
    in_utc = _only(in_utc, _is_within(counts, dtype, margin_s=0))
    return [
        None
        if count is None
        else here
        or there
        or BeyondCalendar(_INFINITIES.get(count, f"{count} {dtype.time_unit} since 1970"))
        for count, here, there in zip(
            counts.to_list(), local.to_list(), in_utc.to_list(), strict=True
        )
    ]


def _days(column: pl.Series) -> list[Any]:
    if not _is_beyond(column):
        return column.to_list()
    days = column.to_physical()
    held = _only(column, days.is_between(_FIRST_DAY, _LAST_DAY))
    return [
        None
        if count is None
        else day or BeyondCalendar(_INFINITE_DAYS.get(count, f"{count} days since 1970"))
        for count, day in zip(days.to_list(), held.to_list(), strict=True)
    ]


def _nested(cell: pl.Series) -> Any:
    beyond = [leaf for leaf in _leaves(cell) if _is_beyond(leaf)]
    return BeyondCalendar(str(_first_beyond(beyond[0]))) if beyond else cell.to_list()[0]


def _first_beyond(leaf: pl.Series) -> BeyondCalendar:
    found = (value for value in column_values(leaf) if isinstance(value, BeyondCalendar))
    return next(found, BeyondCalendar("no local time at the edge of the calendar"))


def _only(column: pl.Series, wanted: pl.Series) -> pl.Series:
    """The column, with null for every cell that is not wanted."""
    return pl.select(pl.when(wanted).then(column)).to_series()


def _is_within(counts: pl.Series, dtype: pl.Datetime, *, margin_s: int) -> pl.Series:
    per_s = _PER_S[dtype.time_unit]
    first, end = (_FIRST_S + margin_s) * per_s, (_END_S - margin_s) * per_s
    return (counts >= max(first, _LEAST)) & (counts < min(end, _MOST))


def _margin_s(dtype: pl.Datetime) -> int:
    return 0 if dtype.time_zone in {None, "UTC"} else _DAY_S


def _is_beyond(column: pl.Series) -> bool:
    """True if a column holds a time that polars cannot convert to a Python value."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        inside = _is_within(column.to_physical(), dtype, margin_s=_margin_s(dtype))
    elif isinstance(dtype, pl.Date):
        inside = column.to_physical().is_between(_FIRST_DAY, _LAST_DAY)
    else:
        return False
    return not inside.all()


def _leaves(column: pl.Series) -> Iterator[pl.Series]:
    """The innermost values of lists and structs, as columns."""
    dtype = column.dtype
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from _leaves(column.struct.field(field.name))
    elif isinstance(dtype, pl.List | pl.Array):
        yield from _leaves(column.explode())
    else:
        yield column


def cells_of(frame: pl.DataFrame, sources: Sequence[tuple[str, str | None]]) -> list[list[Any]]:
    """The values of columns.

    sources  a column's name, and a member's name if the column is a struct
    """
    return [
        column_values(frame[header] if member is None else frame[header].struct.field(member))
        for header, member in sources
    ]
