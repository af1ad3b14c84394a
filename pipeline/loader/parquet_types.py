"""Decides how each column of a Parquet file is read, or why it is not. Pure.

The type that polars finds is not enough: it reads a UUID or JSON as bytes, and a timestamp of 96
bits as nanoseconds, which end in 2262.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.loader.parquet_footer import INT96, Leaf, Node

MAX_DECIMAL_DIGITS = 38

_BYTES = ("bytes", "Cast it to text in the export")
_INTERVAL = ("an interval", "Cast it to text, or to a number of seconds, in the export")
_REFUSED = {
    pl.Binary: _BYTES,
    pl.Map: ("a map", "Write it as a struct, or as text that holds a JSON object"),
    pl.Time: ("a time without a date", "Cast it to text in the export"),
    pl.Duration: ("a duration", "Cast it to text, or to a number of seconds, in the export"),
    pl.Object: ("objects of a program", "Cast it to text in the export"),
}
_UUID_PARTS = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))  # of 32 hexadecimal digits


@dataclass(frozen=True, slots=True)
class UnreadColumn:
    """A column that is not read.

    what  what it holds, as a phrase
    todo  how to write the file so that it can be read
    """

    what: str
    todo: str


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """How a column is read.

    dtype  type to read it as
    expr   conversion to apply; None for none
    """

    dtype: pl.DataType
    expr: pl.Expr | None


def column_types(
    columns: tuple[Node, ...], found: Mapping[str, pl.DataType]
) -> dict[str, ReadColumn | UnreadColumn]:
    """How each column is read, or why it is not.

    found  polars' type of each column
    """
    return {node.name: _column(node, found[node.name]) for node in columns}


def _column(node: Node, dtype: pl.DataType) -> ReadColumn | UnreadColumn:
    if len(node.leaves) != _leaf_count(dtype):
        return UnreadColumn("an unknown type", "Cast it to text in the export")
    refused = _refused(dtype, iter(node.leaves))
    if refused is not None:
        return refused
    column = pl.col(node.name)
    as_text = _as_text(column, dtype, iter(node.leaves))
    return ReadColumn(_asked_for(dtype, iter(node.leaves)), None if as_text is column else as_text)


def _leaf_count(dtype: pl.DataType) -> int:
    inner = list(_nested(dtype))
    return sum(map(_leaf_count, inner)) if inner else 1


def _refused(dtype: pl.DataType, leaves: Iterator[Leaf]) -> UnreadColumn | None:
    """Why a type, or a type nested in it, is not read; None if it is."""
    inner = list(_nested(dtype))
    if inner:
        found = [_refused(each, leaves) for each in inner]  # each consumes its leaves
        own = _REFUSED[pl.Map] if isinstance(dtype, pl.Map) else None
        return UnreadColumn(*own) if own else next(filter(None, found), None)
    leaf = next(leaves)
    if leaf.is_interval:
        return UnreadColumn(*_INTERVAL)
    if isinstance(dtype, pl.Decimal) and dtype.precision > MAX_DECIMAL_DIGITS:
        return UnreadColumn(
            f"a decimal of {dtype.precision} digits",
            f"Cast it to a decimal of at most {MAX_DECIMAL_DIGITS} digits, or to text",
        )
    if isinstance(dtype, pl.Binary) and (leaf.is_uuid or leaf.is_json):
        return None
    return next(
        (UnreadColumn(*why) for kind, why in _REFUSED.items() if isinstance(dtype, kind)), None
    )


def _asked_for(dtype: pl.DataType, leaves: Iterator[Leaf]) -> pl.DataType:
    """The type to read, with 96-bit timestamps in microseconds: nanoseconds end in 2262."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct(
            [pl.Field(f.name, _asked_for(_instance(f.dtype), leaves)) for f in dtype.fields]
        )
    if isinstance(dtype, pl.List):
        return pl.List(_asked_for(_instance(dtype.inner), leaves))
    if isinstance(dtype, pl.Array):
        return pl.Array(_asked_for(_instance(dtype.inner), leaves), dtype.size)
    if next(leaves).physical != INT96:
        return dtype
    return pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None)


def _as_text(cell: pl.Expr, dtype: pl.DataType, leaves: Iterator[Leaf]) -> pl.Expr:
    """Convert text that is stored as bytes; `cell` itself if there is none."""
    if isinstance(dtype, pl.Struct):
        changed = []
        for member in dtype.fields:
            inner = pl.field(member.name)
            as_text = _as_text(inner, _instance(member.dtype), leaves)
            changed += [] if as_text is inner else [as_text.alias(member.name)]
        return cell.struct.with_fields(*changed) if changed else cell
    if isinstance(dtype, pl.List | pl.Array):
        inner = pl.element()
        as_text = _as_text(inner, _instance(dtype.inner), leaves)
        if as_text is inner:
            return cell
        return cell.arr.eval(as_text) if isinstance(dtype, pl.Array) else cell.list.eval(as_text)
    leaf = next(leaves)
    if not isinstance(dtype, pl.Binary):
        return cell
    return _uuid(cell) if leaf.is_uuid else cell.cast(pl.String)


def _uuid(cell: pl.Expr) -> pl.Expr:
    digits = cell.bin.encode("hex")
    return pl.concat_str([digits.str.slice(at, count) for at, count in _UUID_PARTS], separator="-")


def _nested(dtype: pl.DataType) -> Iterator[pl.DataType]:
    if isinstance(dtype, pl.Struct):
        yield from (_instance(each.dtype) for each in dtype.fields)
    elif isinstance(dtype, pl.List | pl.Array):
        yield _instance(dtype.inner)
    elif isinstance(dtype, pl.Map):
        yield from (_instance(dtype.key), _instance(dtype.value))


def _instance(dtype: object) -> pl.DataType:
    """`dtype`; types that come from a file are always instances."""
    assert isinstance(dtype, pl.DataType)  # noqa: S101 - for the type checker
    return dtype
