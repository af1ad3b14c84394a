"""What holds for the names of columns, whatever the format of the file. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pipeline.load.cells import BLANKS_AROUND
from pipeline.model import LINE_COLUMN, ROW_COLUMN, Fault, InputError
from pipeline.model.errors import shorten

_OURS = (ROW_COLUMN, LINE_COLUMN)


def is_unnamed(name: str) -> bool:
    r"""Whether a column has no name but blanks.

    >>> is_unnamed(" \ufeff"), is_unnamed("id")
    (True, False)
    """
    return not name.strip(BLANKS_AROUND)


def check_names(names: Sequence[str], file: str, line: int | None = None) -> None:
    """Raise InputError for names that occur twice or that are ours.

    names  as they stand in the file, in its order; unnamed ones may repeat
    line   of the header

    >>> check_names(["id", "name", " id "], "a.csv", 1)
    Traceback (most recent call last):
        ...
    pipeline.model.errors.InputError: a.csv, line 1, column id: ... columns 1 and 3. ...
    """
    if faults := list(_faults(names, file, line)):
        raise InputError(faults)


def _faults(names: Sequence[str], file: str, line: int | None) -> Iterator[Fault]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names, start=1):
        places[name.strip(BLANKS_AROUND)].append(place)
    for name, where in places.items():
        if name in _OURS:
            yield Fault(
                what="this name is kept for the row numbers of the run",
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
