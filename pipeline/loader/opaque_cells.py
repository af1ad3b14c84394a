r"""Finds the opaque cells of a column: all treated alike, whatever they say. Pure.

A job only carries an opaque value, unchanged: no rule, no doubt and no decision depends on it. The
job types declare which fields have such values (`Cell.is_opaque`); their kind says which cells:

    ID       letters, digits, - and _; or the digits at the end of any other id
    TEXT     text without quotes, backslashes and control characters
    INTEGER  2 to 999,999,999 in digits: 0 and 1 are often special
    DATE     a date and time of this century with its offset; alike are dates in the same order

Placeholders for missing values are never opaque.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from pipeline.loader.cells import MISSING_WORDS, NULL, OMIT
from pipeline.model import Cell, CellKind

MAX_ID_BYTES = 64
MAX_OPAQUE_BYTES = 256
CLOSED, WHOLE, END = 0, 1, 2
"""Forms of a cell: not opaque; all of it is opaque; only the number at its end is."""

_WORDS = sorted({*MISSING_WORDS, NULL, OMIT})
_CHARS = r"[A-Za-z0-9_-]"
_ID = rf"^{_CHARS}*[A-DF-Za-df-z_]{_CHARS}*$"  # more than a number that a spreadsheet damaged
_NUMBER_AT_END = r"(?:^|[^0-9])([1-9][0-9]{0,14})$"
_TEXT = r'^[^\x00-\x1f"\\\x7f-\x9f]+$'
_INTEGER = r"^(?:[2-9]|[1-9][0-9]{1,8})$"
_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_OFFSET = r"(?:\+(?:0[0-9]|1[0-3]):[0-5][0-9]|-(?:0[1-9]|1[0-3]):[0-5][0-9])"
_DATE = rf"^20[0-9]{{2}}-{_DAY}T{_TIME}{_OFFSET}$"
_PATTERNS = {CellKind.TEXT: _TEXT, CellKind.INTEGER: _INTEGER, CellKind.DATE: _DATE}

SAMPLES = 4
"""Opaque values per cell that stand for all: two to find them again, the least and the largest."""
FEW_SAMPLES = 2
"""Enough for a row if all samples did for another one with the same opaque cells."""


def can_be_opaque(cell: Cell) -> bool:
    """True if cells of a column may be opaque."""
    return cell.is_opaque and (cell.kind is CellKind.ID or cell.kind in _PATTERNS)


def form_of(kind: CellKind, cell: pl.Expr) -> pl.Expr:
    """The form of each cell, an integer.

    cell  text
    """
    most = MAX_ID_BYTES if kind is CellKind.ID else MAX_OPAQUE_BYTES
    fits = (cell.str.len_bytes() <= most) & ~cell.is_in(_WORDS)
    if kind is not CellKind.ID:
        fits &= cell.str.contains(_PATTERNS[kind])
        return pl.when(fits).then(WHOLE).otherwise(CLOSED).cast(pl.Int8)
    at_end = cell.str.contains(_NUMBER_AT_END)
    whole = pl.when(fits & cell.str.contains(_ID)).then(WHOLE)
    return whole.when(fits & at_end).then(END).otherwise(CLOSED).cast(pl.Int8)


def opaque_text(kind: CellKind, cell: pl.Expr, form: pl.Expr) -> pl.Expr:
    """The opaque part of each cell; meaningless for closed cells."""
    if kind is not CellKind.ID:
        return cell
    return pl.when(form == END).then(cell.str.extract(_NUMBER_AT_END)).otherwise(cell)


def closed_text(kind: CellKind, cell: pl.Expr, form: pl.Expr) -> pl.Expr:
    """The rest of each cell, which decides; null if all of it is opaque."""
    if kind is not CellKind.ID:
        return pl.when(form == CLOSED).then(cell)
    stem = cell.str.replace(r"[1-9][0-9]{0,14}$", "")
    return pl.when(form == CLOSED).then(cell).when(form == END).then(stem)


def moments(cell: pl.Expr) -> pl.Expr:
    """The moment of each opaque date."""
    return cell.str.to_datetime("%Y-%m-%dT%H:%M:%S%:z", strict=False, time_unit="us")


@dataclass(frozen=True, slots=True)
class OpaqueCell:
    """An opaque cell of a row.

    column  index of its column
    form    WHOLE or END
    rank    of a date: how many other opaque dates of the row are earlier
    """

    column: int
    kind: CellKind
    form: int
    rank: int = 0

    def samples(self) -> tuple[str, ...]:
        """`SAMPLES` opaque values, different from those of other columns.

        >>> OpaqueCell(3, CellKind.INTEGER, WHOLE).samples()
        ('913033337', '627033331', '2', '999999999')
        """
        column = self.column
        if self.kind is CellKind.DATE:
            return tuple(self._dates())
        if self.kind is CellKind.INTEGER:
            step = 11_111 * column
            return str(913_000_004 + step), str(626_999_998 + step), "2", "999999999"
        if self.kind is CellKind.TEXT:
            odd = "ü'&<%20>/?#é+漢"
            return f" Zq{column}{odd} ", f" wY{odd}{column}; ", "~", "é" * (MAX_OPAQUE_BYTES // 2)
        if self.form == END:
            step = 111_111 * column
            return str(917_348_205_731 + step), str(6_280_573_914 + step), "1", "9" * 15
        longest = ("Zz-_9" * MAX_ID_BYTES)[:MAX_ID_BYTES]
        return f"zQ7-{column}_kX", f"Yw3_{column}-vB9", "q", longest

    def _dates(self) -> Sequence[str]:
        hours = self.column % 12 + 1
        first = [(2071, hours * 60), (2043, -hours * 60), (2001, 0), (2090, -13 * 60 - 59)]
        return [_date(year + 2 * self.rank, minutes) for year, minutes in first]


def _date(year: int, offset_minutes: int) -> str:
    """A moment of a year, in the local time of an offset."""
    moment = datetime(year, 3, 4, 15, 6, 7, tzinfo=UTC) + timedelta(minutes=offset_minutes)
    sign, minutes = "-" if offset_minutes < 0 else "+", abs(offset_minutes)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{sign}{minutes // 60:02}:{minutes % 60:02}"
