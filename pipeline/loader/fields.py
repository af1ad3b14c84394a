"""The fields of a job type as columns: how a cell is read, and if it may be null. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, create_model

from pipeline.model import Cell, CellKind, UpdateJob

ANY_KEY = "*"
"""Every key, among a MAP's members; at the end of a name, every name with that start."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a job that a column can fill, or a member of one.

    path         field, then member, then its member, ...
    is_required  True if a row must give it, whatever the settings; always False for a member
    annotation   its type
    is_bare      True for a member of a spread field: its column has no name of the field before it
    """

    path: tuple[str, ...]
    cell: Cell
    is_required: bool
    annotation: Any
    is_bare: bool = False

    @property
    def name(self) -> str:
        """The name in a header.

        >>> from pipeline.model import Cell, CellKind
        >>> Field(("name", "en-US"), Cell(CellKind.TEXT), False, str).name
        'name.en-US'
        """
        return ".".join(self.path[1:] if self.is_bare else self.path)

    @property
    def label(self) -> str:
        """The name in messages; a pattern ends in an ellipsis.

        >>> from pipeline.model import Cell, CellKind
        >>> Field(("changes", "add:/*"), Cell(CellKind.TEXT), False, Any, is_bare=True).label
        'add:/…'
        """
        return f"{self.name.removesuffix(ANY_KEY)}…" if self.is_pattern else self.name

    @property
    def is_pattern(self) -> bool:
        """True if it matches every header that starts with its name."""
        return self.is_bare and self.name.endswith(ANY_KEY)

    @property
    def is_nullable(self) -> bool:
        """True if a cell may be `null`. Members of a spread field may not."""
        return not self.is_bare and allows_none(self.annotation)

    def member(self, key: str) -> Field | None:
        """The member under `key`, or None if there is none."""
        cells = dict(self.cell.members)
        if self.cell.is_spread:
            known = key if key in cells else longest_pattern(cells, key)
            if known is None:
                return None
            cell = cells[known]
        elif self.cell.kind is CellKind.MAP:
            cell = cells.get(ANY_KEY, Cell(CellKind.TEXT))
        elif key in cells:
            cell = cells[key]
        else:
            return None
        inner = tuple(_annotations_under(self.annotation, key))
        annotation = Union[inner] if inner else Any  # noqa: UP007
        is_bare = self.is_bare or self.cell.is_spread
        return Field((*self.path, key), cell, False, annotation, is_bare)

    @property
    def columns(self) -> tuple[Field, ...]:
        """Fields that can have a column: the members of a spread field, else the field itself."""
        return tuple(self._members()) if self.cell.is_spread else (self,)

    @property
    def parts(self) -> tuple[Field, ...]:
        """Fields that can be left out separately: the declared members, else the field itself."""
        if self.cell.is_spread:
            return tuple(member for member in self._members() if not member.is_pattern)
        if self.cell.kind is CellKind.OBJECT and self.cell.members:
            return tuple(self._members())
        return (self,)

    def _members(self) -> Iterator[Field]:
        found = (self.member(key) for key, _ in self.cell.members)
        return (member for member in found if member is not None)


def fields_of(job_type: type[UpdateJob]) -> dict[str, Field]:
    """The fields of a job type that have a cell, in its order, by name."""
    found = {}
    for name, info in job_type.model_fields.items():
        cell = next((m for m in info.metadata if isinstance(m, Cell)), None)
        if cell is not None:
            found[name] = Field((name,), cell, info.is_required(), info.annotation)
    return found


@cache
def part_of(job_type: type[UpdateJob]) -> type[UpdateJob]:
    """A copy of `job_type` in which only ids are required, for rows that give a part.

    Given fields are validated as usual, and the text of the job is read back as a `job_type`.
    """
    loose: dict[str, Any] = {}
    for name, field in fields_of(job_type).items():
        info = job_type.model_fields[name]
        if field.is_required and field.cell.kind is not CellKind.ID:
            loose[name] = Annotated[(info.annotation, *info.metadata)], None
    return create_model(job_type.__name__, __base__=job_type, **loose)


def field_at(fields: Mapping[str, Field], name: str) -> Field | None:
    """The field with exactly this name. A dot separates a field from its member."""
    field = field_like(fields, name)
    return field if field is not None and field.name == name else None


def field_like(fields: Mapping[str, Field], header: str) -> Field | None:
    """The field that `header` names. Case matters only if it distinguishes two fields.

    A header without a field of its name may match a pattern of a spread field. There, case matters
    and dots have no meaning.
    """
    columns = {c.name: c for field in fields.values() for c in field.columns if not c.is_pattern}
    return _by_name(columns, header) or _by_pattern(fields.values(), header)


def _by_name(columns: Mapping[str, Field], header: str) -> Field | None:
    name, dot, rest = header.partition(".")
    known = _alike(name, columns)
    field = columns.get(known) if known else None
    while field is not None and dot and field.cell.kind is not CellKind.MAP:
        key, dot, rest = rest.partition(".")
        known = _alike(key, dict(field.cell.members))
        field = field.member(known) if known else None
    if field is None or not dot:
        return field
    return field.member(rest) if rest else None


def _by_pattern(fields: Iterable[Field], header: str) -> Field | None:
    """The member of a spread field with the longest matching pattern."""
    found: dict[str, Field] = {}
    for field in fields:
        if field.cell.is_spread and (pattern := longest_pattern(dict(field.cell.members), header)):
            found[pattern] = field
    return found[max(found, key=len)].member(header) if found else None


def longest_pattern(patterns: Iterable[str], key: str) -> str | None:
    """The longest of the patterns ending in `*` that match `key`.

    >>> longest_pattern(["/*", "/a/*", "status"], "/a/b")
    '/a/*'
    """
    fitting = [
        pattern
        for pattern in patterns
        if pattern.endswith(ANY_KEY) and key.startswith(pattern.removesuffix(ANY_KEY))
    ]
    return max(fitting, key=len, default=None)


def _alike(name: str, known: Iterable[str]) -> str | None:
    """`name` if it is known, else the only known name that differs just in case."""
    names = list(known)
    if name in names:
        return name
    alike = [other for other in names if other.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def allows_none(annotation: Any) -> bool:
    """True if a value of this type may be None, or may be anything.

    >>> allows_none(int | None), allows_none(list[str])
    (True, False)
    """
    return any(
        inner is types.NoneType
        or inner is Any
        or (typing.get_origin(inner) is Literal and None in typing.get_args(inner))
        for inner in _alternatives(annotation)
    )


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types of a union, without wrappers such as `Annotated`."""
    origin = typing.get_origin(annotation)
    if origin in {Union, types.UnionType}:
        for inner in typing.get_args(annotation):
            yield from _alternatives(inner)
    elif origin in {typing.Annotated, typing.Required, typing.NotRequired} or _is_typing_extension(
        origin
    ):
        yield from _alternatives(typing.get_args(annotation)[0])
    elif hasattr(annotation, "__value__"):  # a `type` statement
        yield from _alternatives(annotation.__value__)
    else:
        yield annotation


def _is_typing_extension(origin: Any) -> bool:
    return getattr(origin, "_name", None) in {"Required", "NotRequired", "ReadOnly"}


def _annotations_under(annotation: Any, key: str) -> Iterator[Any]:
    """The types of the value under `key` in a TypedDict, model or dictionary."""
    for inner in _alternatives(annotation):
        if typing.get_origin(inner) is dict:
            yield typing.get_args(inner)[1]
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            if key in inner.model_fields:
                yield inner.model_fields[key].annotation
        elif hasattr(inner, "__required_keys__"):
            hints = typing.get_type_hints(inner, include_extras=True)
            if key in hints:
                yield hints[key]
