"""Reads the columns `_run` and `_row` of an earlier report: the origin of a row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline.loader.cell_error import CellError
from pipeline.loader.cells import Absent, CellContext, column_reader
from pipeline.model import Cell, CellKind, Fault
from pipeline.model.errors import shorten

RUN, ROW = "_run", "_row"

_AS_NEW = "--force-order sends the row as a new one"
_KEPT_MOST = 4_096


class RowOrigin(NamedTuple):
    """The run and row in which a row was first sent; empty and 0 for a new row."""

    run: str = ""
    row: int = 0


NEW = RowOrigin()


class OriginReader:
    """Reads the origin columns of one file.

    is_known  returns True if a run of that name is on record
    """

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        context = CellContext(nullable=False)
        self._runs = column_reader(Cell(CellKind.KEYWORD), context)
        self._rows = column_reader(Cell(CellKind.INTEGER), context)
        self._is_known = is_known
        self._kept: dict[str, bool] = {}

    def read(self, runs: Sequence[Any], rows: Sequence[Any]) -> list[RowOrigin | tuple[Fault, ...]]:
        """The origin of each row, or the faults of its cells.

        >>> OriginReader(lambda _name: True).read(["monday", ""], [" 5.0", ""])
        [RowOrigin(run='monday', row=5), RowOrigin(run='', row=0)]
        """
        read = zip(self._runs(runs), self._rows(rows), runs, rows, strict=True)
        return [self._origin(*cells) for cells in read]

    def _origin(self, run: Any, row: Any, *given: Any) -> RowOrigin | tuple[Fault, ...]:
        if type(run) is Absent and type(row) is Absent:
            return NEW
        faults = [*self._run_faults(run, given[0]), *_row_faults(row, given[1])]
        return tuple(faults) or RowOrigin(run, row)

    def _run_faults(self, run: Any, given: Any) -> list[Fault]:
        if isinstance(run, CellError):
            return [_broken(RUN, run, given)]
        if type(run) is Absent:
            return [_alone(RUN, ROW)]
        if self._is_on_record(run):
            return []
        what = "a run that is not on record, so it is unknown which rows are newer"
        return [Fault(what=what, column=RUN, value=shorten(run), todo=_AS_NEW)]

    def _is_on_record(self, run: str) -> bool:
        if run not in self._kept:
            if len(self._kept) >= _KEPT_MOST:
                self._kept.clear()
            self._kept[run] = self._is_known(run)
        return self._kept[run]


def _row_faults(row: Any, given: Any) -> list[Fault]:
    if isinstance(row, CellError):
        return [_broken(ROW, row, given)]
    if type(row) is Absent:
        return [_alone(ROW, RUN)]
    if row < 1:
        return [Fault(what="rows are numbered from 1", column=ROW, value=shorten(given))]
    return []


def _broken(column: str, error: CellError, given: Any) -> Fault:
    return Fault(
        what=error.what,
        column=column,
        value=shorten(given),
        expected=error.expected,
        todo=error.todo or _AS_NEW,
    )


def _alone(column: str, other: str) -> Fault:
    todo = f"Empty both cells to send it as a new row; {_AS_NEW}, too"
    return Fault(what=f"not given, but {other} is", column=column, todo=todo)
