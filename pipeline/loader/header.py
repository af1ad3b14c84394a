"""Plans how to read the columns of a file from its header. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from pipeline.loader.cells import BLANKS_AROUND
from pipeline.loader.fields import Field, field_at, field_like, fields_of
from pipeline.loader.suggestions import nearest
from pipeline.loader.unknown_columns import unknown_columns
from pipeline.model import RESULT_COLUMNS, CellKind, Fault, InputError, InputSettings
from pipeline.model.errors import shorten
from pipeline.vendors.kit.contract import Operation

OPERATION_COLUMN = "operation"
ACCOUNT_COLUMN = "account"


class Empty(Enum):
    """The effect of an empty cell on its row."""

    INVALID = "the field is required"
    REFUSED = "it would clear the field, which the settings refuse"
    CLEARS = "it clears the field, which the settings allow"
    HARMLESS = "it clears nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the file and the field that it fills.

    header     exactly as in the file
    member     the member to read if the column is a Parquet struct; None for other columns
    can_omit   True if its cells may be `omit`
    """

    header: str
    field: Field
    empty: Empty
    can_omit: bool
    empty_is_null: bool = False
    member: str | None = None

    @property
    def shown(self) -> str:
        """The column's name in messages."""
        return self.header if self.member is None else f"{self.header}.{self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPlan:
    """How the rows of one operation are read.

    foreign  columns of other operations in the file; must be empty in these rows
    absent   fields that every row clears, because the file has no column for them
    keeps    True if fields that a row leaves out keep the vendor's values
    """

    operation: Operation[Any, Any]
    columns: tuple[Column, ...]
    foreign: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    keeps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The columns that name a row's operation and account; None if the file does not have one."""

    operation: str | None = None
    account: str | None = None
    own_operation: str | None = None
    own_account: str | None = None

    @property
    def headers(self) -> frozenset[str]:
        """The routing columns in the file."""
        found = (self.operation, self.account, self.own_operation, self.own_account)
        return frozenset(name for name in found if name is not None)


def trimmed(header: str) -> str:
    r"""A header without invisible characters around it.

    >>> trimmed("\ufeff external_id ")
    'external_id'
    """
    return header.strip(BLANKS_AROUND)


def find_routing(headers: Sequence[str], inputs: Iterable[InputSettings], file: str) -> Routing:
    """The routing columns of a file. Raises InputError if there are two of a kind.

    inputs  settings of the operations that rows of the file name

    >>> find_routing(["Operation", "x"], [], "a.csv").operation
    'Operation'
    """
    known = tuple(inputs)
    return replace(
        find_operation(headers, known, file),
        account=_routing_column(ACCOUNT_COLUMN, headers, known, file),
        own_account="_account" if "_account" in headers else None,
    )


def find_operation(headers: Sequence[str], inputs: Iterable[InputSettings], file: str) -> Routing:
    """The columns that name the operation. The account's columns depend on the operations found.

    inputs  settings of every operation that rows of the file could name
    """
    return Routing(
        operation=_routing_column(OPERATION_COLUMN, headers, tuple(inputs), file),
        own_operation="_operation" if "_operation" in headers else None,
    )


def _routing_column(
    name: str, headers: Sequence[str], inputs: Sequence[InputSettings], file: str
) -> str | None:
    found = []
    for header in headers:
        renamed = next(filter(None, (_renamed(header, each) for each in inputs)), None)
        is_ignored = renamed is None and any(_is_ignored(header, each) for each in inputs)
        if (renamed or trimmed(header)).casefold() == name and not is_ignored:
            found.append(header)
    if len(found) > 1:
        raise InputError([_twice(name, found, file)])
    return next(iter(found), None)


def plan_header(
    headers: Sequence[str],
    routing: Routing,
    operations: Sequence[Operation[Any, Any]],
    inputs: Mapping[str, InputSettings],
    *,
    file: str,
    structs: Mapping[str, tuple[str, ...]] | None = None,
    unread: Mapping[str, tuple[str, str]] | None = None,
    elsewhere: Sequence[Operation[Any, Any]] = (),
) -> dict[str, OperationPlan]:
    """Plan how to read the rows of each operation; by the operation's name.

    headers     exactly as in the file
    operations  operations that rows of the file may name, at least one
    elsewhere   operations that no row names, and whose columns may be there without a value
    structs     members of each column that is a Parquet struct
    unread      further columns whose type cannot be read: what they hold, and how to fix it

    Raises InputError with every fault of the header at once.
    """
    own = routing.headers | set(RESULT_COLUMNS)
    named = [header for header in headers if header not in own and trimmed(header)]
    readers, others = (
        [
            _Header(operation, inputs.get(operation.name, InputSettings()), structs or {}, file)
            for operation in some
        ]
        for some in (operations, elsewhere)
    )
    resolved = _without_clashes(
        [{header: reader.columns_of(header) for header in named} for reader in readers]
    )
    unknown = {
        header: None
        for header in named
        if all(found[header] is None for found in resolved)
        and all(other.columns_of(header) is None for other in others)
    }
    faults = [fault for reader in readers for fault in reader.setting_faults()]
    faults += [
        _unread(header, why, readers, file)
        for header, why in (unread or {}).items()
        if not all(reader.ignores(header) for reader in readers)
    ]
    if unknown:
        faults += _unknown(unknown, readers, [name for name in named if name not in unknown], file)
    for reader, found in zip(readers, resolved, strict=True):
        there = [column for header in unread or () for column in reader.columns_of(header) or ()]
        faults += reader.column_faults([*_columns(found), *there])
    if faults:
        raise InputError(faults)
    return {
        reader.operation.name: reader.plan(found)
        for reader, found in zip(readers, resolved, strict=True)
    }


_Resolved = Mapping[str, list[Column] | None]
"""The columns of each header: empty if it is ignored, None if it is unknown."""


def _without_clashes(resolved: Sequence[_Resolved]) -> list[_Resolved]:
    """Make clashing columns foreign if another operation of the file reads them.

    A column `name` for one operation and `name.en-US` for another do not give a field twice: each
    is foreign to the other operation, so its cells must be empty in that operation's rows.
    """
    clashes = [list(_clashes(_columns(found))) for found in resolved]
    clashing = [{column.header for pair in pairs for column in pair} for pairs in clashes]
    elsewhere = {
        header
        for found, names in zip(resolved, clashing, strict=True)
        for header, some in found.items()
        if some and header not in names
    }
    unclashed: list[_Resolved] = []
    for found, pairs in zip(resolved, clashes, strict=True):
        shared = [{one.header, other.header} & elsewhere for one, other in pairs]
        foreign = {header for headers in shared if len(headers) == 1 for header in headers}
        unclashed.append({h: None if h in foreign else some for h, some in found.items()})
    return unclashed


def _clashes(columns: Iterable[Column]) -> Iterator[tuple[Column, Column]]:
    """Pairs of columns of the same field, or of a field and its member, in file order."""
    seen: dict[tuple[str, ...], Column] = {}
    reached: dict[tuple[str, ...], Column] = {}  # by each start of an earlier path
    for column in columns:
        path = column.field.path
        starts = [path[:length] for length in range(1, len(path) + 1)]
        above = next((seen[start] for start in starts if start in seen), None)
        if (other := above or reached.get(path)) is not None:
            yield other, column
        seen.setdefault(path, column)
        for start in starts:
            reached.setdefault(start, column)


def _columns(found: _Resolved) -> tuple[Column, ...]:
    return tuple(column for some in found.values() for column in some or ())


class _Header:
    """A file's header as one operation reads it."""

    def __init__(
        self,
        operation: Operation[Any, Any],
        settings: InputSettings,
        structs: Mapping[str, tuple[str, ...]],
        file: str,
    ) -> None:
        self.operation = operation
        self.settings = settings
        self.fields = fields_of(operation.job_type)
        self._structs = structs
        self._file = file
        self.section = f'[input."{operation.name}"]'
        self._unknown_members: list[str] = []

    def names(self) -> list[str]:
        """The known names of headers."""
        fields = self.fields.values()
        columns = [column for field in fields for column in field.columns if not column.is_pattern]
        parts = [part for field in fields for part in field.parts]
        return [*dict.fromkeys(field.name for field in (*columns, *parts))]

    def labels(self) -> list[str]:
        """The known names, and the patterns, for messages."""
        columns = [column for field in self.fields.values() for column in field.columns]
        return [*self.names(), *(column.label for column in columns if column.is_pattern)]

    def ignores(self, header: str) -> bool:
        """True if the settings ignore the column."""
        return _renamed(header, self.settings) is None and _is_ignored(header, self.settings)

    def columns_of(self, header: str) -> list[Column] | None:
        """The columns of a header; empty if it is ignored, None if it is unknown."""
        name = trimmed(header)
        target = _renamed(header, self.settings)
        if self.ignores(header):
            return []
        field = field_like(self.fields, name) if target is None else field_at(self.fields, target)
        if field is None:
            return None
        if header in self._structs and field.cell.members:
            return list(self._spread(header, field))
        return [self._column(header, field)]

    def _spread(self, header: str, field: Field) -> Iterator[Column]:
        """A column per member of a struct; a null member counts as not given."""
        for key in self._structs[header]:
            inner = field.member(key)
            if inner is None:
                self._unknown_members.append(f"{header}.{key}")
            else:
                yield self._column(header, inner, key)

    def _column(self, header: str, field: Field, member: str | None = None) -> Column:
        must = self._must_be_given(field)
        return Column(
            header=header,
            member=member,
            field=field,
            empty=self._when_empty(field, must=must),
            can_omit=not must,
            empty_is_null=field.name in self.settings.empty_is_null,
        )

    def _must_be_given(self, field: Field) -> bool:
        """True if a row must give the field."""
        if self._keeps and _is_content(self.fields[field.path[0]]):
            return False
        return field.is_required or bool({field.name, field.path[0]} & {*self.operation.always})

    @property
    def _keeps(self) -> bool:
        return self.operation.replaces and self.settings.missing == "keep"

    def _when_empty(self, field: Field, *, must: bool) -> Empty:
        if must:
            return Empty.INVALID
        is_kept = self._keeps or not self.operation.replaces
        if is_kept or not _is_content(self.fields[field.path[0]]):
            return Empty.HARMLESS
        return Empty.REFUSED if self.settings.missing == "refuse" else Empty.CLEARS

    def setting_faults(self) -> Iterator[Fault]:
        """Settings of fields that do not exist or cannot be null."""
        known = f"one of {', '.join(self.labels())}"
        for header, to in self.settings.rename.items():
            if to.casefold() not in _ROUTING_NAMES and field_at(self.fields, to) is None:
                what = f"rename of {json.dumps(header)} to an unknown field"
                yield self._setting_fault(what, to, known)
        for name in self.settings.empty_is_null:
            field = field_at(self.fields, name)
            if field is None:
                yield self._setting_fault("empty_is_null of an unknown field", name, known)
            elif not field.is_nullable:
                yield self._setting_fault("empty_is_null of a field that cannot be null", name)

    def _setting_fault(self, what: str, value: str, expected: str | None = None) -> Fault:
        return Fault(file=f"{self.section} of the configuration", what=what, value=repr(value),
                     expected=expected)  # fmt: skip

    def column_faults(self, columns: Sequence[Column]) -> Iterator[Fault]:
        """Clashing and missing columns, and unknown struct members."""
        for one, other in _clashes(columns):
            yield _twice(one.field.name, [one.shown, other.shown], self._file)
        for name in self._unknown_members:
            yield self._file_fault(
                f"{name} is not a member of the field", "Drop it from the struct"
            )
        yield from self._missing(columns)

    def _missing(self, columns: Sequence[Column]) -> Iterator[Fault]:
        must, cleared = self._absent(columns)
        add = f"Add the columns, or name them with `rename` under {self.section}"
        if names := ", ".join(field.name for field in must if not field.cell.is_spread):
            yield self._file_fault(
                f"no column for {names}: every row of {self.operation.name} must give it", add
            )
        for field in must:
            if field.cell.is_spread:
                labels = ", ".join(column.label for column in field.columns)
                yield self._file_fault(
                    f"no column for any of {labels}: "
                    f"every row of {self.operation.name} must give at least one of them",
                    add,
                )
        if cleared and self.settings.missing == "refuse":
            yield self._file_fault(
                f"no column for {', '.join(cleared)}: {self.operation.name} replaces everything, "
                "so what these fields hold at the vendor would be cleared",
                "Add the columns (in a cell, null asks for null and omit leaves the field out on "
                f'purpose), or set missing = "keep" or "clear" under {self.section}',
            )

    def _absent(self, columns: Sequence[Column]) -> tuple[list[Field], list[str]]:
        """Fields without a column: required ones, and the names of those that are cleared."""
        paths = [column.field.path for column in columns]
        must, cleared = [], []
        for field in self.fields.values():
            for part in [field] if field.is_required else field.parts:
                path = part.path
                if any(path[: len(p)] == p[: len(path)] for p in paths):
                    continue
                if self._must_be_given(part):
                    must.append(part)
                elif self.operation.replaces and not self._keeps and _is_content(field):
                    cleared.append(part.name)
        return must, cleared

    def _file_fault(self, what: str, todo: str | None = None) -> Fault:
        return Fault(file=self._file, what=what, todo=todo)

    def plan(self, found: _Resolved) -> OperationPlan:
        """The plan of the operation, if there are no faults."""
        columns = _columns(found)
        return OperationPlan(
            operation=self.operation,
            columns=columns,
            foreign=tuple(header for header, some in found.items() if some is None),
            absent=tuple(self._absent(columns)[1]),
            keeps=self._keeps,
        )


def _renamed(header: str, settings: InputSettings) -> str | None:
    """The field that the settings rename a header to; None if they do not rename it."""
    rename, name = settings.rename, trimmed(header)
    alike = [to for given, to in rename.items() if trimmed(given).casefold() == name.casefold()]
    return rename.get(header, rename.get(name, alike[0] if len(alike) == 1 else None))


def _is_ignored(header: str, settings: InputSettings) -> bool:
    folded = trimmed(header).casefold()
    return any(fnmatchcase(folded, glob.casefold()) for glob in settings.ignore)


_ROUTING_NAMES = frozenset({OPERATION_COLUMN, ACCOUNT_COLUMN})


def _is_content(field: Field) -> bool:
    """True if leaving the field out clears it. An id only names the entity."""
    return field.cell.kind is not CellKind.ID


def _unknown(
    headers: Iterable[str], readers: Sequence[_Header], others: Iterable[str], file: str
) -> list[Fault]:
    owners = {known: reader for reader in reversed(readers) for known in reader.names()}

    def near(name: str) -> tuple[str, str] | None:
        known = nearest(name, owners)
        return (known, owners[known].section) if known else None

    return unknown_columns(
        list(map(trimmed, headers)),
        near=near,
        section=readers[0].section,
        labels=dict.fromkeys(label for reader in readers for label in reader.labels()),
        kept=[*map(trimmed, others), *owners],
        file=file,
    )


def _unread(header: str, why: tuple[str, str], readers: Sequence[_Header], file: str) -> Fault:
    what, todo = why
    wanting = next(reader for reader in readers if not reader.ignores(header))
    ignore = json.dumps(trimmed(header), ensure_ascii=False)
    return Fault(
        what=f"holds {what}",
        file=file,
        column=shorten(header, most=120)[1:-1],
        expected="text, numbers, booleans, dates with time, lists or structs",
        todo=f"{todo}; or, if nothing needs it, under {wanting.section} write ignore = [{ignore}]",
    )


def _twice(field: str, headers: Sequence[str], file: str) -> Fault:
    return Fault(
        file=file,
        what=f"{field} is given twice",
        value=" and ".join(map(repr, headers)),
        expected="one column for a field",
    )
