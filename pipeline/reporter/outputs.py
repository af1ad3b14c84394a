"""Writes result files in batches: CSV in the input's dialect, or Parquet with its types."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import polars as pl

from pipeline.model import Snapshot
from pipeline.store.files import sync_file
from pipeline.store.parquet import ROW_GROUP_ROWS, ParquetWriter, fitting_rows, read_frames

_PART_BYTES = 4 << 20  # long cells are in memory several times while they become lines


class ResultFile(Protocol):
    """A file for frames of one schema; leaving its block syncs it to disk."""

    rows: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, frame: pl.DataFrame) -> None:
        """Append `frame`. Raises OSError if it cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvLayout:
    """The dialect of a CSV file."""

    delimiter: str
    newline: str
    has_bom: bool

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """The dialect of the input; comma and line feed if unknown (one column, no rows)."""
        return cls(
            delimiter=snapshot.delimiter or ",",
            newline=snapshot.newline or "\n",
            has_bom=snapshot.has_bom,
        )


class CsvWriter:
    """Writes frames of text and numbers to a CSV file that only its owner can read.

    A cell is quoted only if a CSV reader needs it to return the same text. An empty text and a null
    both become an empty cell.
    """

    def __init__(self, path: Path, header: Sequence[str], layout: CsvLayout) -> None:
        self.rows = 0
        self._layout = layout
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._file = open(descriptor, "wb")  # noqa: SIM115, PTH123 - closed on leaving the block
        self._file.write(csv_header(header, layout))

    def write(self, frame: pl.DataFrame) -> None:
        """Append `frame`. Raises OSError if it cannot be written."""
        size_bytes = max(1, int(frame.estimated_size()))
        part_rows = max(1, frame.height * _PART_BYTES // size_bytes)
        for part in frame.iter_slices(part_rows):
            self._file.write(csv_lines(part, self._layout))
        self.rows += frame.height

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                sync_file(self._file)


def csv_header(names: Sequence[str], layout: CsvLayout) -> bytes:
    r"""The first line of a CSV file.

    >>> csv_header(["sku", "a;b"], CsvLayout(delimiter=";", newline="\r\n", has_bom=True))
    b'\xef\xbb\xbfsku;"a;b"\r\n'
    """
    cells = pl.DataFrame({str(place): [name] for place, name in enumerate(names)})
    return (codecs.BOM_UTF8 if layout.has_bom else b"") + bytes(csv_lines(cells, layout))


def csv_lines(frame: pl.DataFrame, layout: CsvLayout) -> memoryview:
    """The rows of `frame` as lines of a CSV file."""
    text = io.BytesIO()
    frame.with_columns(_emptied(frame.schema)).write_csv(
        text,
        include_header=False,
        separator=layout.delimiter,
        line_terminator=layout.newline,
        quote_style="necessary",
        float_precision=3,
    )
    return text.getbuffer()


def open_output(
    snapshot: Snapshot, path: Path, header: Sequence[str], schema: Mapping[str, pl.DataType]
) -> ResultFile:
    """Open a writer of the input's kind; `header` names the columns of `schema` in a CSV file."""
    if snapshot.kind == "csv":
        return CsvWriter(path, header, CsvLayout.of(snapshot))
    return ParquetWriter(path, schema, row_group_rows=_row_group_rows(snapshot.path))


def _row_group_rows(snapshot: Path) -> int:
    first = next(read_frames(snapshot), None)
    return ROW_GROUP_ROWS if first is None else fitting_rows(first)


def _emptied(schema: pl.Schema) -> list[pl.Expr]:
    # polars writes an empty text as "", a null as nothing; an empty cell of the input has no quotes
    texts = [pl.col(name) for name, dtype in schema.items() if dtype == pl.String]
    return [pl.when(text != "").then(text) for text in texts]
