"""The run's own copy of its input, and how that input is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ROW_COLUMN = "__row"
LINE_COLUMN = "__line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A Parquet file: `__row`, `__line`, then the input's columns under their own names.

    source       as the user named it
    kind         what the input was; a CSV's cells are text, a Parquet input keeps its types
    sha256       of the source's bytes as they stood on disk, hexadecimal
    columns      header names exactly as in the source, in order
    rows         records in the source
    selected     records in the snapshot; fewer than `rows` only where the user chose some
    blank_lines  lines that are no record, counted
    delimiter, has_bom, newline   of a CSV; None, False, None of a Parquet file
    lacks_last_end  the last record of a CSV has no line end, unlike those before: it may be cut
    unread       columns of the source that the snapshot leaves out, each with what it holds that is
                 not read, and what to do about that: good only for being ignored
    offsets      by column, the offset from UTC that its times are to be written with
    zoneless     columns of timestamps of 96 bits, which do not say whether they mean UTC
    checksum     names what was written to the file; empty where an earlier version wrote it
    """

    path: Path
    source: Path
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
    """How one source's files differ from ours: `[input."<operation>"]` of the configuration.

    timezone  the configuration has put the one at the top in its place; None: there is none, and
              dates without an offset are errors
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
