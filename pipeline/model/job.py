"""The typed intent of a row, what it updates, and how its cells are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json


class CellKind(StrEnum):
    """How the text of a cell becomes the value of a field."""

    ID = "id"  # text that names something; never a number, blanks around it removed
    TEXT = "text"  # free text, left alone
    KEYWORD = "keyword"  # one of a few words, blanks around it removed
    INTEGER = "integer"  # a whole number
    BOOLEAN = "boolean"  # true or false
    DATE = "date"  # a date and time with offset, kept as text
    MAP = "map"  # text by key: `{...}`, or a column per key (`name.en-US`)
    LIST = "list"  # `[...]`, or the field's short form
    OBJECT = "object"  # `{...}`, or a column per member (`limits.per_user`)


@dataclass(frozen=True, slots=True)
class Cell:
    """Marks a job's field, in `Annotated[...]`, with how its cell is read.

    short     reads the short form of a LIST cell; raises ValueError with what is expected.
              None where the field has none
    example   a cell as people would write it, for help and templates
    help      one line for people
    members   for OBJECT and MAP: how the value of each member (MAP: of every key, under `*`)
              is read when it has a column of its own
    is_spread for a MAP: its members' columns bear the bare name of their key (`status`, not
              `changes.status`). A member that ends in `*` stands for every header that starts so
              (`add:/*`). Keys come in the order of the columns; the field has no column itself
    """

    kind: CellKind
    help: str = ""
    example: str = ""
    short: Callable[[str], Any] | None = None
    members: tuple[tuple[str, Cell], ...] = ()
    is_spread: bool = False


class EntityKey(NamedTuple):
    """What a job updates; equal keys mean the same thing at the vendor.

    Only `id` may hold a `|`, so that `text` tells keys apart.

    origin  scheme, host and port of the base URL
    scope   project, container or the like; empty where the vendor has none
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
    """One row as it stands in a jobs file: bound, validated, ready to be sent.

    row            number of the record from 1
    entity         `EntityKey.text()` of what it updates
    is_repeatable  whether sending it twice is harmless
    text           the job's canonical JSON
    batch          rows of one operation with the same may share a request; empty: travels alone
    since_run, since_row  the run and row whose place in time it keeps; empty and 0: it is new
    expects        what its entity has to hold when it is sent, as a vendor's `State.text`; empty:
                   anything
    keeps          it gives a part, which is laid over what its entity holds
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


class UpdateJob(BaseModel):
    """What a row asks for. Its values are JSON values, so that text and job never differ.

    A field that the row does not give is absent (`model_fields_set`), never None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def given(self) -> dict[str, Any]:
        """The fields that the row gave, in the order of the type, as JSON values."""
        values = self.__dict__
        given = self.model_fields_set
        return {name: values[name] for name in type(self).model_fields if name in given}

    def canonical_json(self) -> str:
        """The job as text: the same job always gives the same text."""
        return to_json(self.given()).decode()

    @classmethod
    def trusted(cls, text: str) -> Self:
        """The job back from its own canonical JSON. Nothing is validated a second time.

        The same as `model_construct`, which takes ten times as long to look for aliases and
        factories that a job does not have.
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
        """What fields hold that the row did not give."""
        fields = cls.model_fields.items()
        return {name: info.default for name, info in fields if not info.is_required()}
