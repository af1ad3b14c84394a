"""The fields of a job type as columns: how a cell is read, whether null may stand there. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from pydantic import BaseModel

from pipeline.model import Cell, CellKind, UpdateJob

ANY_KEY = "*"
"""Stands for every key among a MAP's members."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a column can be for: a field of the job, or a member of one.

    path         field, then member, then its member, ...
    is_required  a row must give it, whatever the settings say; never True of a member
    annotation   its type
    """

    path: tuple[str, ...]
    cell: Cell
    is_required: bool
    annotation: Any

    @property
    def name(self) -> str:
        """As a header writes it.

        >>> from pipeline.model import Cell, CellKind
        >>> Field(("name", "en-US"), Cell(CellKind.TEXT), False, str).name
        'name.en-US'
        """
        return ".".join(self.path)

    @property
    def is_nullable(self) -> bool:
        """Whether the word `null` may stand there."""
        return allows_none(self.annotation)

    def member(self, key: str) -> Field | None:
        """The member under `key`, None where the field has no such member."""
        cells = dict(self.cell.members)
        if self.cell.kind is CellKind.MAP:
            cell = cells.get(ANY_KEY, Cell(CellKind.TEXT))
        elif key in cells:
            cell = cells[key]
        else:
            return None
        inner = tuple(_annotations_under(self.annotation, key))
        return Field((*self.path, key), cell, False, Union[inner] if inner else Any)  # noqa: UP007

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what can be left out by itself: the declared members, or the field."""
        if self.cell.kind is CellKind.OBJECT and self.cell.members:
            return tuple(f"{self.name}.{key}" for key, _ in self.cell.members)
        return (self.name,)


def fields_of(job_type: type[UpdateJob]) -> dict[str, Field]:
    """The fields that a column can name, in the order of the type."""
    found = {}
    for name, info in job_type.model_fields.items():
        cell = next((m for m in info.metadata if isinstance(m, Cell)), None)
        if cell is not None:
            found[name] = Field((name,), cell, info.is_required(), info.annotation)
    return found


def field_at(fields: Mapping[str, Field], name: str) -> Field | None:
    """The field of exactly this name; dots reach into declared members."""
    field = field_like(fields, name)
    return field if field is not None and field.name == name else None


def field_like(fields: Mapping[str, Field], header: str) -> Field | None:
    """The field that `header` names; its case matters only where it tells two fields apart."""
    name, dot, rest = header.partition(".")
    known = _alike(name, fields)
    field = fields.get(known) if known else None
    while field is not None and dot and field.cell.kind is not CellKind.MAP:
        key, dot, rest = rest.partition(".")
        known = _alike(key, dict(field.cell.members))
        field = field.member(known) if known else None
    if field is None or not dot:
        return field
    return field.member(rest) if rest else None


def _alike(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is `name`, or else the only one that is so but for its case."""
    names = list(known)
    if name in names:
        return name
    alike = [other for other in names if other.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def allows_none(annotation: Any) -> bool:
    """Whether a value of this type may be None; True where the annotation does not say.

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
    """The types of a union, without what only wraps them."""
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
    """The types that the value under `key` may have, of a TypedDict, a model or a dictionary."""
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
