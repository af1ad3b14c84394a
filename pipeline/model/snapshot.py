"""The run's own copy of its input, and the settings for reading an input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from pipeline.model.object_path import named_path

ROW_COLUMN = "__row"
LINE_COLUMN = "__line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A Parquet file: `__row`, `__line`, then the input's columns under their own names.

    source       as the user named it: a file, or an object in a bucket
    kind         kind of the input; cells of a CSV file are text, a Parquet input keeps its types
    sha256       digest of the source's bytes, hexadecimal
    columns      header names exactly as in the source, in order
    rows         records in the source
    selected     records in the snapshot; fewer than `rows` only if the user selected some
    blank_lines  number of blank lines
    delimiter, has_bom, newline   of a CSV file; None, False, None for a Parquet file
    lacks_last_end  True if only the last record of a CSV file has no line end: it may be cut
    unread       columns of the source that are not in the snapshot because their type cannot be
                 read: what they hold, and how to fix it. They can only be ignored
    offsets      by column, the offset from UTC in which to write its timestamps
    zoneless     columns of 96-bit timestamps, which may or may not be in UTC
    checksum     digest of the file's checksums; empty if an earlier version wrote it
    """

    path: Path
    source: Annotated[PurePath, PlainValidator(named_path), PlainSerializer(str)]
    kind: Literal["csv", "parquet"]
    is_compressed: bool
    sha256: str
    size_bytes: int
    columns: tuple[str, ...]
    rows: int
    selected: int
    blank_lines: int = 0
    delimiter: str | None = None
    has_bom: bool = False
    newline: str | None = None
    lacks_last_end: bool = False
    unread: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    offsets: Mapping[str, str] = field(default_factory=dict)
    zoneless: tuple[str, ...] = ()
    checksum: str = ""


class InputSettings(BaseModel):
    """Settings for the files of one operation: `[input."<operation>"]` in the configuration.

    timezone  defaults to the top-level one, which the configuration fills in; None makes dates
              without an offset errors
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    rename: dict[str, str] = Field(default={}, description="Header in the file = field.")
    ignore: tuple[str, ...] = Field(
        default=(), description="Headers to leave out; * and ? as in file names."
    )
    empty_is_null: tuple[str, ...] = Field(
        default=(), description="Fields whose empty cells mean null."
    )
    missing: Literal["refuse", "keep", "clear"] = Field(
        default="refuse",
        description=(
            "A field that a full replacement does not give: refuse the row, keep the vendor's "
            "value, or clear it."
        ),
    )
    accounts: tuple[str, ...] | None = Field(
        default=None,
        description=(
            "Accounts that a column of the file may name. Without it, the vendor's only one."
        ),
    )
    delimiter: Literal[",", ";", "\t", "|"] | None = Field(
        default=None, description="Of CSV. Without it, detected from the header."
    )
    timezone: str | None = Field(
        default=None,
        description="Of dates without an offset. Without it, the one at the top of the file.",
    )
