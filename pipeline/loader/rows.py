"""Converts the rows of one operation to the values of jobs, or to faults. Pure.

Reads column by column, because most rows are regular and most cells of a column repeat. Only
irregular rows are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from typing import Any, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.loader.cell_error import CellError
from pipeline.loader.cells import (
    BLANKS_AROUND,
    MISSING_WORDS,
    NULL,
    Absent,
    CellContext,
    column_reader,
)
from pipeline.loader.dates import offset_zone
from pipeline.loader.fields import fields_of, part_of
from pipeline.loader.header import Column, Empty, OperationPlan
from pipeline.loader.suggestions import listed
from pipeline.model import CellKind, Fault, UpdateJob
from pipeline.model.errors import clipped, shorten

_ODD_TYPES = frozenset({Absent, CellError})
_SUSPICIOUS = MISSING_WORDS | {NULL}

FieldPath = tuple[str, ...]
"""Path of a field in the job."""

Place = tuple[int | str, ...]
"""Path of a value in the job."""

Source = tuple[str, str | None]
"""The source of a column's cells: a header, and the member if the column is a struct."""


class ReadRow(NamedTuple):
    """One row, read.

    values    fields that could be read
    faults    faults of the row, without row and line
    broken    paths of the fields with faults
    cleared   fields left out, which the vendor will clear
    warnings  doubtful values
    """

    values: dict[str, Any]
    faults: tuple[Fault, ...] = ()
    broken: frozenset[FieldPath] = frozenset()
    cleared: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class RowReader:
    """Reads the rows of one operation, according to the header's plan.

    timezone  of dates without an offset; None makes them errors
    offsets   by column, the offset in which to write timestamps of a Parquet file
    """

    def __init__(
        self,
        plan: OperationPlan,
        *,
        timezone: tzinfo | None = None,
        offsets: Mapping[str, str] | None = None,
    ) -> None:
        self.plan = plan
        self._columns = plan.columns
        job_type: type[UpdateJob] = plan.operation.job_type
        self._job_type = part_of(job_type) if plan.keeps else job_type
        self._readers = [
            _reader(column, timezone, (offsets or {}).get(column.header)) for column in plan.columns
        ]
        self._absence = [_absence(column, plan.operation.name) for column in plan.columns]
        self._tree = _tree(plan.columns)
        fields = fields_of(plan.operation.job_type).values()
        self._spread: set[Place] = {field.path for field in fields if field.cell.is_spread}
        self._may_lack = [_may_lack(column) for column in plan.columns]
        self.sources: tuple[Source, ...] = tuple(
            (column.header, column.member) for column in plan.columns
        )
        self.foreign_sources: tuple[Source, ...] = tuple((header, None) for header in plan.foreign)

    def read(
        self, cells: Sequence[Sequence[Any]], foreign: Sequence[Sequence[Any]] = ()
    ) -> Iterator[ReadRow]:
        """Read consecutive rows of the file.

        cells    cells of each of `sources`
        foreign  cells of each of `foreign_sources`
        """
        read = [reader(column) for reader, column in zip(self._readers, cells, strict=True)]
        odd = self._odd_rows(read, foreign)
        whole = _assembled(self._tree, read, self._may_lack)
        for index, values in enumerate(whole):
            if index in odd:
                yield self._odd_row(index, cells, read, foreign)
            else:
                yield ReadRow({} if type(values) is Absent else values)

    def _odd_rows(
        self, read: Sequence[Sequence[Any]], foreign: Sequence[Sequence[Any]]
    ) -> set[int]:
        odd: set[int] = set()
        for column, may_lack, values in zip(self._columns, self._may_lack, read, strict=True):
            types = _ODD_TYPES - {Absent} if may_lack else _ODD_TYPES
            if not types.isdisjoint(map(type, values)):
                odd.update(i for i, value in enumerate(values) if type(value) in types)
            if column.field.cell.kind is CellKind.TEXT and not _SUSPICIOUS.isdisjoint(values):
                odd.update(i for i, value in enumerate(values) if value in _SUSPICIOUS)
        for cells in foreign:
            odd.update(i for i, cell in enumerate(cells) if not _is_empty(cell))
        return odd

    def _odd_row(
        self,
        index: int,
        cells: Sequence[Sequence[Any]],
        read: Sequence[Sequence[Any]],
        foreign: Sequence[Sequence[Any]],
    ) -> ReadRow:
        values: dict[str, Any] = {}
        faults = list(self._misplaced(index, foreign))
        broken: set[FieldPath] = set()
        cleared: list[str] = []
        warnings: list[str] = []
        for column, absence, raw, found in zip(
            self._columns, self._absence, cells, read, strict=True
        ):
            value = found[index]
            if isinstance(value, CellError):
                faults.append(_cell_fault(column, raw[index], value))
                broken.add(column.field.path)
            elif isinstance(value, Absent):
                if fault := absence[value]:
                    faults.append(fault)
                    broken.add(column.field.path)
                elif column.empty is not Empty.HARMLESS:
                    cleared.append(column.field.name)
            else:
                _put(values, column.field.path, value)
                if column.field.cell.kind is CellKind.TEXT and value in _SUSPICIOUS:
                    warnings.append(
                        f"{column.shown}: text that is a placeholder for a missing value elsewhere"
                    )
        return ReadRow(values, tuple(faults), frozenset(broken), tuple(cleared), tuple(warnings))

    def _misplaced(self, index: int, foreign: Sequence[Sequence[Any]]) -> Iterator[Fault]:
        name = self.plan.operation.name
        what = f"a value in a column that {name} does not have"
        todo = f'Empty the cell, or let [input."{name}"] ignore the column'
        for header, cells in zip(self.plan.foreign, foreign, strict=True):
            if not _is_empty(cells[index]):
                yield Fault(what=what, column=header, value=shorten(cells[index]), todo=todo)

    def job(self, row: ReadRow) -> UpdateJob | tuple[Fault, ...]:
        """The job of a row, or all its faults: those of its cells and those of its values."""
        try:
            job = self._job_type.model_validate(row.values)
        except ValidationError as error:
            faults = (*row.faults, *self._value_faults(error, row))
            return faults or (Fault(what="not accepted"),)
        return row.faults or job

    def _value_faults(self, error: ValidationError, row: ReadRow) -> Iterator[Fault]:
        for detail in error.errors(include_url=False):
            place = detail["loc"]
            if any(_is_within(place, path) for path in row.broken) if place else row.faults:
                continue  # it follows from a fault that is already reported
            if detail["type"] == "missing" and place in self._spread:
                columns = (c.shown for c in self._columns if c.field.path[:1] == place)
                expected = f"a value in at least one of the columns {listed(columns)}"
                yield Fault(what="nothing to change is given", expected=expected)
            else:
                yield _value_fault(detail, self._shown(place))

    def _shown(self, place: Place) -> str | None:
        """The column that a value of the job came from; None if there is no single one."""
        for column in self._columns:
            if place[: len(column.field.path)] == column.field.path:
                return column.shown
        return str(place[0]) if place and place not in self._spread else None


def fault_text(faults: Sequence[Fault], line: int | None) -> str:
    """All faults of a row as one text.

    >>> fault_text([Fault(what="not given", column="a"), Fault(what="odd", column="b")], 3)
    'line 3: column a: not given | column b: odd'
    """
    shown = [str(replace(fault, todo=None)) for fault in faults[:_SHOWN_FAULTS]]
    if len(faults) > _SHOWN_FAULTS:
        shown.append(f"and {len(faults) - _SHOWN_FAULTS} more")
    where = f"line {line}: " if line is not None else ""
    return clipped(where + " | ".join(shown), _SHOWN_CHARS)


def hint_text(faults: Sequence[Fault]) -> str:
    """How to fix the faults, each advice once.

    >>> hint_text([Fault(what="a", todo="Do it"), Fault(what="b", todo="Do it")])
    'Do it'
    """
    todo = dict.fromkeys(fault.todo for fault in faults[:_SHOWN_FAULTS] if fault.todo)
    return clipped(". ".join(todo), _SHOWN_CHARS)


_SHOWN_FAULTS = 20
_SHOWN_CHARS = 4_000  # in one cell of a report


def _is_within(place: Place, path: FieldPath) -> bool:
    """True if one contains the other, or both are equal.

    >>> _is_within(("limits",), ("limits", "per_user")), _is_within(("a", 0), ("b",))
    (True, False)
    """
    return place[: len(path)] == path[: len(place)]


_Branch = int | dict[str, "_Branch"]


def _may_lack(column: Column) -> bool:
    """True if a row with an empty cell in the column is regular."""
    return column.can_omit and column.empty is Empty.HARMLESS


def _tree(columns: Sequence[Column]) -> dict[str, _Branch]:
    """The index of each field's column; members of a field are nested."""
    tree: dict[str, _Branch] = {}
    for index, column in enumerate(columns):
        branch = tree
        for step in column.field.path[:-1]:
            branch = cast("dict[str, _Branch]", branch.setdefault(step, {}))
        branch[column.field.path[-1]] = index
    return tree


def _assembled(branch: _Branch, read: Sequence[list[Any]], may_lack: Sequence[bool]) -> list[Any]:
    """The values of a field, assembled from its members if they have columns of their own.

    Absent for a row in which no member has a value.
    """
    if isinstance(branch, int):
        return read[branch]
    keys = tuple(branch)
    members = [_assembled(inner, read, may_lack) for inner in branch.values()]
    rows = zip(*members, strict=True)
    if not any(map(may_lack.__getitem__, _leaves(branch))):
        return [dict(zip(keys, values, strict=True)) for values in rows]
    return [
        {key: value for key, value in zip(keys, values, strict=True) if type(value) is not Absent}
        or Absent.NOT_GIVEN
        for values in rows
    ]


def _leaves(branch: _Branch) -> list[int]:
    """The indexes of all columns of a branch."""
    if isinstance(branch, int):
        return [branch]
    return [index for inner in branch.values() for index in _leaves(inner)]


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        values = values.setdefault(step, {})
    values[path[-1]] = value


def _reader(
    column: Column, timezone: tzinfo | None, offset: str | None
) -> Callable[[Iterable[Any]], list[Any]]:
    context = CellContext(
        nullable=column.field.is_nullable,
        empty_is_null=column.empty_is_null,
        timezone=timezone,
        written_in=None if offset is None else offset_zone(offset),
    )
    return column_reader(column.field.cell, context)


def _is_empty(cell: Any) -> bool:
    """True for null, blank text, and a struct of empty cells."""
    if isinstance(cell, dict):
        return all(map(_is_empty, cell.values()))
    return cell is None or (isinstance(cell, str) and not cell.strip(BLANKS_AROUND))


def _cell_fault(column: Column, cell: Any, error: CellError) -> Fault:
    return Fault(
        what=error.what,
        column=column.shown,
        value=shorten(cell),
        expected=error.expected,
        todo=error.todo,
    )


def _absence(column: Column, operation: str) -> dict[Absent, Fault | None]:
    """The fault of an omitted cell and of an empty cell of a column; None if it is allowed."""
    expected = "a value, or null" if column.field.is_nullable else "a value"
    omitted = empty = None
    if not column.can_omit:
        what = "left out, but the field is required"
        omitted = Fault(what=what, column=column.shown, expected=expected)
    if column.empty is Empty.INVALID:
        empty = Fault(what="not given", column=column.shown, expected=expected)
    if column.empty is Empty.REFUSED:
        empty = Fault(
            what="not given, which would clear the field at the vendor",
            column=column.shown,
            expected=expected,
            todo='Write omit in the cell to leave it out on purpose, or set missing = "keep" or '
            f'"clear" under [input."{operation}"]',
        )
    return {Absent.OMITTED: omitted, Absent.NOT_GIVEN: empty}


def _value_fault(detail: ErrorDetails, column: str | None) -> Fault:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return Fault(what="not given", column=column, expected="a value")
    if column is not None and detail["loc"] and column.endswith(f".{detail['loc'][-1]}"):
        message = message.removesuffix(f" ({detail['loc'][-1]})")  # the column says it
    return Fault(
        what="not accepted",
        column=column,
        value=shorten(detail["input"]) if column else None,
        expected=message.removeprefix("expected ").removeprefix("Input should be "),
    )
