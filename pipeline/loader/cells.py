"""Converts a cell to the JSON value of its field. Pure.

A cell is text (from a CSV file, or a text column of a Parquet file) or a value of its Parquet
column's type. Cells with the same meaning give the same value in both formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any

from pipeline.loader.cell_error import CellError
from pipeline.loader.dates import beyond_calendar, read_date_text, read_timestamp
from pipeline.loader.strict_json import (
    has_control,
    in_64_bits,
    json_value,
    kind_of,
    read_json,
    whole,
)
from pipeline.model import MAX_CELL_BYTES, BeyondCalendar, Cell, CellKind, TooLong
from pipeline.model.errors import shorten


class Absent(Enum):
    """The result for a cell without a value."""

    NOT_GIVEN = "not given"  # empty, or a Parquet null
    OMITTED = "omit"  # left out on purpose, with that word


NULL = "null"
OMIT = "omit"

MISSING_WORDS = frozenset(
    variant
    for word in (
        r"\N",
        "NULL",
        "None",
        "NaN",
        "#N/A",
        "N/A",
        "#NA",
        "<NA>",
        "NaT",
        "(null)",
        "-nan",
    )
    for variant in (word, word.lower(), word.upper(), word.capitalize())
    if variant not in {NULL, "nat", "Nat", "NAT"}  # the last three may be names
)
"""Placeholders of other programs for a missing value. In free text they are ordinary text."""

BROKEN_FORMULAS = frozenset({"#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#####"})

_WIDTHLESS = "".join(
    map(chr, (0xAD, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))
)
_WHITE = " \xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"
BLANKS_AROUND = _WHITE + _WIDTHLESS
"""Invisible characters stripped from a cell: blanks of every kind and zero-width characters."""

_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0+)?")
_DAMAGED_ID = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+[eE][+-]?[0-9]+|[eE][+-][0-9]+|[.,]0+)")
_TWO_READINGS = re.compile(r"([+-]?[0-9]+)[.,]([0-9]{3})")
_SPREADSHEET_TEXT = re.compile(r"=\"(.*)\"|'(.+)", re.DOTALL)
_NO_WORD = object()

_CONTAINERS = {
    CellKind.LIST: ("[", list, "a list, [...]"),
    CellKind.MAP: ("{", dict, "an object, {...}, or a column for each key"),
    CellKind.OBJECT: ("{", dict, "an object, {...}, or a column for each member"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellContext:
    """How a column's cells are read, in addition to the field's `Cell`.

    nullable       True if the field may be null
    empty_is_null  True if an empty cell means null
    timezone       of dates without an offset; None makes them errors
    written_in     offset in which to write timestamps that have one; None keeps their own
    """

    nullable: bool
    empty_is_null: bool = False
    timezone: tzinfo | None = None
    written_in: tzinfo | None = None


def cell_reader(cell: Cell, context: CellContext) -> Callable[[Any], Any]:
    """Return a function from a cell to a JSON value or `Absent`. It raises CellError.

    >>> cell_reader(Cell(CellKind.INTEGER), CellContext(nullable=True))(" 10.0 ")
    10
    """
    empty = None if context.empty_is_null else Absent.NOT_GIVEN
    parse = _parser(cell, context)
    words = _words(cell, context, empty)
    clean = _clean_free if cell.kind is CellKind.TEXT else _cleaner(cell)

    def read(value: Any) -> Any:
        if value is None:
            return empty
        if type(value) is not str:
            return _typed(value, cell, context)
        text = clean(value)
        word = words.get(text, _NO_WORD)
        return parse(text) if word is _NO_WORD else _resolved(word)

    return read


def column_reader(cell: Cell, context: CellContext) -> Callable[[Iterable[Any]], list[Any]]:
    """Return a function from cells of a column to their values, with CellErrors in their place.

    Equal cells may share one value object: callers MUST NOT change it.

    >>> column_reader(Cell(CellKind.INTEGER), CellContext(nullable=True))(["7", "", None])
    [7, <Absent.NOT_GIVEN: 'not given'>, <Absent.NOT_GIVEN: 'not given'>]
    """
    read = cell_reader(cell, context)

    def safely(value: Any) -> Any:
        try:
            return read(value)
        except CellError as error:
            return error

    if cell.kind in _CACHED_KINDS:
        cache = _CellCache(safely)
        return lambda values: [
            cache[value] if type(value) is str else safely(value) for value in values
        ]
    return lambda values: [safely(value) for value in values]


_CACHED_KINDS = frozenset(CellKind) - {CellKind.ID, CellKind.TEXT}
_CACHE_SIZE = 4_096
_CACHED_CHARS = 256


class _CellCache(dict[str, Any]):
    """Values of cells seen before. Most cells repeat, and a lookup costs less than parsing."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> Any:
        value = self._read(text)
        if len(text) <= _CACHED_CHARS:
            if len(self) >= _CACHE_SIZE:
                self.clear()
            self[text] = value
        return value


def clean(text: str) -> str:
    r"""Strip the blanks around text that is not free text. Raises CellError for control characters.

    >>> clean("\u00a0 SKU-7\u200b")
    'SKU-7'
    """
    if text.isprintable():
        return text.strip(" ")  # the only printable blank
    if found := has_control(text.translate(_LINE_ENDS)):
        raise CellError(f"a control character ({found})", "text without tabs and line ends")
    return text.strip(BLANKS_AROUND)


_LINE_ENDS = {ord("\t"): "\x01", ord("\n"): "\x02", ord("\r"): "\x03"}  # refused like these


def _clean_json(text: str) -> str:
    if text.isprintable():
        return text.strip(" ")
    bare = text.strip(BLANKS_AROUND + "\t\r\n")
    return bare if bare[:1] in {"[", "{"} else clean(text)  # the JSON reader checks its characters


def _cleaner(cell: Cell) -> Callable[[str], str]:
    return _clean_json if cell.kind in _CONTAINERS else clean


def _clean_free(text: str) -> str:
    if not text.isprintable() and (found := has_control(text)):
        raise CellError(f"a control character ({found})")
    return text


def _words(cell: Cell, context: CellContext, empty: Any) -> dict[str, Any]:
    """Results for words that have a meaning in every type of field.

    A tuple holds an error and its `todo`.
    """
    words: dict[str, Any] = {"": empty, OMIT: Absent.OMITTED}
    if context.nullable:
        words[NULL] = None
    if cell.kind is CellKind.TEXT:
        return words
    hint = f"Write {NULL} for null, or {OMIT} to leave the field out"
    todo = hint if context.nullable else "Leave the cell empty if there is no value"
    words |= dict.fromkeys(MISSING_WORDS, ("a placeholder for a missing value", todo))
    words |= dict.fromkeys(BROKEN_FORMULAS, ("the error value of a spreadsheet formula", None))
    return (
        words if context.nullable else words | {NULL: ("null, but the field cannot be null", None)}
    )


def _resolved(word: Any) -> Any:
    if isinstance(word, tuple):
        raise CellError(word[0], todo=word[1])
    return word


def _parser(cell: Cell, context: CellContext) -> Callable[[str], Any]:
    parse = _plain_parser(cell, context)
    if cell.kind is CellKind.TEXT:
        return parse

    def read(text: str) -> Any:
        if text[0] in "='" and (found := _SPREADSHEET_TEXT.fullmatch(text)):
            raise spreadsheet_text(found[1] if found[2] is None else found[2])
        return parse(text)

    return read


def spreadsheet_text(value: str) -> CellError:
    """The error for `="007"` and `'007`, a spreadsheet's notation for text."""
    return CellError(
        "text in the notation of a spreadsheet",
        f"the value itself, {shorten(value)}",
        "Write the value alone, in a column that is formatted as text",
    )


def _plain_parser(cell: Cell, context: CellContext) -> Callable[[str], Any]:
    match cell.kind:
        case CellKind.ID:
            return read_id
        case CellKind.INTEGER:
            return read_whole
        case CellKind.BOOLEAN:
            return read_boolean
        case CellKind.DATE:
            return lambda text: read_date_text(text, context.timezone)
        case CellKind.LIST | CellKind.MAP | CellKind.OBJECT:
            return lambda text: _read_container(text, cell)
        case CellKind.TEXT | CellKind.KEYWORD:
            return str


def read_id(text: str) -> str:
    """The text of an id. Raises CellError if a spreadsheet turned it into a number.

    >>> read_id("007")
    '007'
    """
    if _DAMAGED_ID.fullmatch(text):
        raise CellError(
            "an id damaged by a spreadsheet",
            "the id as the vendor knows it",
            "Export it as text: digits that a spreadsheet has cut off are lost",
        )
    return text


def read_whole(text: str) -> int:
    """A whole number: digits with an optional sign, and only zeros after a decimal point.

    Three zeros are refused: `20.000` may mean twenty or twenty thousand.

    >>> read_whole("10.0"), read_whole("-3")
    (10, -3)
    """
    if text.isdecimal() and text.isascii() and len(text) < 19:  # noqa: PLR2004 - fits 64 bits
        return int(text)
    if found := _TWO_READINGS.fullmatch(text):
        raise _two_readings(*found.groups())
    if not _WHOLE.fullmatch(text):
        raise CellError(
            "not a whole number", "digits, with or without a sign", _why_not_whole(text)
        )
    return in_64_bits(text.partition(".")[0])


def _two_readings(number: str, three: str) -> CellError:
    thousands = f"{number}{three}" if number.strip("+-0") else number
    expected = f"{number} or {thousands}" if three == "000" else f"{thousands}, if you mean that"
    return CellError(
        "an ambiguous number: decimals, or a thousands separator",
        f"{expected}, in digits alone",
        "Export it as a whole number, without separators",
    )


_WHY_NOT_WHOLE = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"[+-]?[0-9.,]+[eE][+-]?[0-9]+", "Write all digits, without an exponent"),
        (r"[+-]?[0-9]+,[0-9]+", "A comma is neither a decimal point nor a separator here"),
        (r"[+-]?[0-9]+(?:[_,' .\xa0\u202f][0-9]{3})+", "Write it without separators"),
        (r"[+-]?[0-9]*\.[0-9]*", "It has decimals"),
        (r".*[^\W0-9a-zA-Z].*", "Write it in the digits 0 to 9"),
    )
)


def _why_not_whole(text: str) -> str | None:
    return next((why for pattern, why in _WHY_NOT_WHOLE if pattern.fullmatch(text)), None)


def read_boolean(text: str) -> bool:
    """`true` or `false`.

    >>> read_boolean("true")
    True
    """
    if text not in {"true", "false"}:
        todo = "Write it in lower case" if text.lower() in {"true", "false"} else None
        raise CellError("not a boolean", "true or false", todo)
    return text == "true"


def _read_container(text: str, cell: Cell) -> Any:
    opening, kind, expected = _CONTAINERS[cell.kind]
    if text[0] in "[{":
        if not isinstance(value := read_json(text), kind):
            raise CellError("JSON of another kind", expected)
        return value
    if cell.short is None:
        raise CellError(f"does not start with {opening}", expected)
    try:
        return cell.short(text)
    except ValueError as error:
        raise CellError(
            "not in the short form of this field", str(error).removeprefix("expected ")
        ) from error


def _typed(value: Any, cell: Cell, context: CellContext) -> Any:
    """The JSON value of a typed Parquet value."""
    match cell.kind:
        case CellKind.ID | CellKind.TEXT | CellKind.KEYWORD:
            return _typed_text(value, cell.kind)
        case CellKind.INTEGER:
            return _typed_whole(value)
        case CellKind.BOOLEAN if isinstance(value, bool):
            return value
        case CellKind.DATE:
            return _typed_date(value, context)
        case CellKind.LIST if isinstance(value, list):
            return json_value(value, context.timezone)
        case CellKind.MAP | CellKind.OBJECT if isinstance(value, dict):
            return json_value(value, context.timezone)
    raise _wrong_type(value, cell.kind)


def _wrong_type(value: Any, kind: CellKind) -> CellError:
    if isinstance(value, TooLong):
        return CellError("the cell is too long", f"at most {MAX_CELL_BYTES} bytes")
    if isinstance(value, BeyondCalendar):
        return beyond_calendar(value.text)
    return CellError(f"{kind_of(value)} in the Parquet file", _EXPECTED_TYPE[kind])


_EXPECTED_TYPE = {
    CellKind.ID: "text or whole numbers",
    CellKind.TEXT: "text or whole numbers",
    CellKind.KEYWORD: "text",
    CellKind.INTEGER: "whole numbers",
    CellKind.BOOLEAN: "booleans",
    CellKind.DATE: "timestamps, or text in ISO 8601",
    CellKind.LIST: "a list, or text",
    CellKind.MAP: "a struct, or text",
    CellKind.OBJECT: "a struct, or text",
}


def _typed_text(value: Any, kind: CellKind) -> str:
    if type(value) is int:
        return str(value)
    if isinstance(value, Decimal) and value.is_finite() and value.as_tuple().exponent == 0:
        return format(value, "f")  # a data warehouse's NUMBER(38, 0)
    if isinstance(value, float | Decimal) and kind is CellKind.ID:
        raise CellError(
            f"an id that is {kind_of(value)}", _EXPECTED_TYPE[kind], "Cast the column to text"
        )
    raise _wrong_type(value, kind)


def _typed_whole(value: Any) -> int:
    if type(value) is int:
        return in_64_bits(str(value))
    if isinstance(value, float):
        return whole(value)
    if isinstance(value, Decimal) and value.is_finite():
        if value != value.to_integral_value():
            raise CellError(
                "not a whole number", "digits, with or without a sign", "It has decimals"
            )
        return in_64_bits(format(value.to_integral_value(), "f"))
    raise _wrong_type(value, CellKind.INTEGER)


def _typed_date(value: Any, context: CellContext) -> str:
    if isinstance(value, datetime):
        return read_timestamp(value, context.timezone, context.written_in)
    if isinstance(value, date):
        raise CellError("a date without a time", _EXPECTED_TYPE[CellKind.DATE])
    if isinstance(value, BeyondCalendar | TooLong):
        raise _wrong_type(value, CellKind.DATE)
    raise CellError(f"{kind_of(value)}, not a date", _EXPECTED_TYPE[CellKind.DATE])
