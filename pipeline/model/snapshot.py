"""The run's own copy of its input, and how that input is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

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

    rename         header in the file -> our field
    ignore         headers to leave out; `*` and `?` as in file names
    empty_is_null  fields whose empty cells mean null
    missing        what an absent field of a full replace means: refused, kept as the vendor has it,
                   or cleared on purpose
    accounts       which accounts a column of the file may name; None: only the vendor's only one
    timezone       of dates without an offset; None: such dates are errors
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rename: dict[str, str] = {}
    ignore: tuple[str, ...] = ()
    empty_is_null: tuple[str, ...] = ()
    missing: Literal["refuse", "keep", "clear"] = "refuse"
    accounts: tuple[str, ...] | None = None
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    timezone: str | None = None
