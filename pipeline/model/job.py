"""The job of a row, the key of its entity, and how its cells are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json


class CellKind(StrEnum):
    """How the text of a cell is converted to the value of a field."""

    ID = "id"  # an identifier; never a number, stripped of blanks
    TEXT = "text"  # free text, unchanged
    KEYWORD = "keyword"  # one of a few words, stripped of blanks
    INTEGER = "integer"  # a whole number
    BOOLEAN = "boolean"  # true or false
    DATE = "date"  # a date and time with offset, kept as text
    MAP = "map"  # text by key: `{...}`, or a column per key (`name.en-US`)
    LIST = "list"  # `[...]`, or the field's short form
    OBJECT = "object"  # `{...}`, or a column per member (`limits.per_user`)


@dataclass(frozen=True, slots=True)
class Cell:
    """How the cell of a job's field is read. An annotation of the field, in `Annotated[...]`.

    short     reads the short form of a LIST cell; raises ValueError with what is expected. None if
              there is no short form
    example   example of a cell, for help and templates
    help      one line of help
    members   for OBJECT and MAP: how the value of each member (MAP: of every key, under `*`)
              is read if it has a column of its own
    is_spread for a MAP: the columns of its members have only the name of their key (`status`, not
              `changes.status`). A member that ends in `*` matches every header with that start
              (`add:/*`). Keys are in the order of the columns; the field itself has no column
    is_opaque the job only carries the value: no rule, doubt or decision depends on what it says, as
              far as `loader/opaque_cells.py` tells for each kind. Rows that differ only in such
              values are bound together. MUST be False if in doubt: it only makes binding faster
    """

    kind: CellKind
    help: str = ""
    example: str = ""
    short: Callable[[str], Any] | None = None
    members: tuple[tuple[str, Cell], ...] = ()
    is_spread: bool = False
    is_opaque: bool = False


class EntityKey(NamedTuple):
    """The key of the entity that a job updates. Equal keys are the same entity at the vendor.

    Only `id` may contain a `|`, so `text` is unique.

    origin  scheme, host and port of the base URL
    scope   project, container or the like; empty if the vendor has none
    id      in canonical form
    """

    vendor: str
    origin: str
    scope: str
    kind: str
    id: str

    def text(self) -> str:
        """The key as one string.

        >>> EntityKey("xsolla", "https://x.example", "44056", "coupon", "a|b").text()
        'xsolla|https://x.example|44056|coupon|a|b'
        """
        return "|".join(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key of `text`, or of the start of one: parts that it lacks are empty.

        >>> EntityKey.parse("xsolla|https://x.example|44056|coupon|a|b").id
        'a|b'
        >>> EntityKey.parse("oracle|https://x.example|").vendor
        'oracle'
        """
        parts = text.split("|", len(cls._fields) - 1)
        return cls._make([*parts, *[""] * (len(cls._fields) - len(parts))])


class JobRow(NamedTuple):
    """A validated row in a jobs file, ready to be sent.

    row            number of the record from 1
    entity         `EntityKey.text()` of its entity
    is_repeatable  True if sending it twice is harmless
    text           the job's canonical JSON
    batch          rows of one operation with equal values may share a request; empty: sent alone
    origin_run, origin_row  run and row that determine its place in the order; empty and 0 for a new
                   row
    expects        state that its entity must have when it is sent, as `State.text`; empty for any
    keeps          True if the job is partial and keeps the other fields of its entity
    path, body     of its request, as bound; None if the request is built when it is sent
    """

    row: int
    operation: str
    entity: str
    is_repeatable: bool
    text: str
    batch: str = ""
    origin_run: str = ""
    origin_row: int = 0
    expects: str = ""
    keeps: bool = False
    path: str | None = None
    body: bytes | None = None

    @property
    def length(self) -> int:
        """Characters of its job and path, and bytes of its body: about what it holds of memory.

        >>> JobRow(1, "op", "e", True, "{}", path="/v2/a", body=b"{}").length
        9
        """
        return len(self.text) + len(self.path or "") + len(self.body or b"")


class UpdateJob(BaseModel):
    """The update that a row asks for. Its values are JSON values, so job and JSON are equivalent.

    A field that the row does not give is absent (`model_fields_set`), never None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    def given(self) -> dict[str, Any]:
        """The fields that the row gave, as JSON values, in the order of the type."""
        values = self.__dict__
        given = self.model_fields_set
        return {name: values[name] for name in type(self).model_fields if name in given}

    def canonical_json(self) -> str:
        """The job as JSON. Equal jobs give equal text."""
        return to_json(self.given()).decode()

    @classmethod
    def trusted(cls, text: str) -> Self:
        """Restore a job from its canonical JSON, without validation.

        Same as `model_construct`, but ten times as fast, because a job has no aliases or factories.
        """
        values = from_json(text)
        job = cls.__new__(cls)
        put = object.__setattr__  # a job is frozen
        put(job, "__dict__", {**cls._absent(), **values})
        put(job, "__pydantic_fields_set__", set(values))
        put(job, "__pydantic_extra__", None)
        put(job, "__pydantic_private__", None)
        return job

    @classmethod
    @cache
    def _absent(cls) -> dict[str, Any]:
        """The values of fields that the row did not give."""
        fields = cls.model_fields.items()
        return {name: info.default for name, info in fields if not info.is_required()}
