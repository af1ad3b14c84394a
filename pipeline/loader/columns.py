"""Rules for column names, for every file format. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pipeline.loader.cells import BLANKS_AROUND
from pipeline.model import LINE_COLUMN, ROW_COLUMN, Fault, InputError
from pipeline.model.errors import shorten

MAX_COLUMNS = 10_000
"""BigQuery's limit; PostgreSQL allows 1,600."""

MAX_RECORD_BYTES = 8 << 20
"""Limit on memory for text without line ends, an unclosed quote, or a cell of Parquet."""
MAX_NAME_CHARS = 1_000
"""BigQuery allows 300, PostgreSQL 63; a JSON Pointer may be longer."""

_OURS = (ROW_COLUMN, LINE_COLUMN)


def is_unnamed(name: str) -> bool:
    r"""True if a column has no name, or only blanks.

    >>> is_unnamed(" \ufeff"), is_unnamed("id")
    (True, False)
    """
    return not name.strip(BLANKS_AROUND)


def check_names(names: Sequence[str], file: str, line: int | None = None) -> None:
    """Raise InputError for names that are duplicate, reserved or too long.

    names  exactly as in the file, in its order; unnamed ones may repeat
    line   line of the header; None for Parquet

    >>> check_names(["id", "name", " id "], "a.csv", 1)
    Traceback (most recent call last):
        ...
    pipeline.model.errors.InputError: a.csv, line 1, column id: ... columns 1 and 3. ...
    """
    if faults := list(_faults(names, file, line)):
        raise InputError(faults)


def too_many_columns(
    count: int, shown: Sequence[str], file: str, line: int | None = None
) -> InputError:
    """The error for a file with more than MAX_COLUMNS columns.

    shown  the first names, if they are known
    """
    return InputError(
        Fault(
            what=f"the header names {count} columns",
            file=file,
            line=line,
            value=f"{', '.join(shown)} and {count - len(shown)} more" if shown else None,
            expected=f"at most {MAX_COLUMNS}",
            todo="Export the columns of the operation only",
        )
    )


def _faults(names: Sequence[str], file: str, line: int | None) -> Iterator[Fault]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names, start=1):
        places[name.strip(BLANKS_AROUND)].append(place)
    for name, where in places.items():
        if len(name) > MAX_NAME_CHARS:
            yield Fault(
                what=f"column {where[0]} has a name of {len(name)} characters",
                file=file,
                line=line,
                value=shorten(name),
                expected=f"at most {MAX_NAME_CHARS}",
            )
        elif name in _OURS:
            yield Fault(
                what="this name is reserved for the row numbers of the run",
                file=file,
                line=line,
                column=name,
                todo="Rename or drop the column",
            )
        elif name and len(where) > 1:
            *most, last = map(str, where)
            yield Fault(
                what=f"this name is given twice: columns {', '.join(most)} and {last}",
                file=file,
                line=line,
                column=shorten(name)[1:-1],
                todo="Rename or drop one of them",
            )
