"""Result files, written in batches: CSV in the input's manner, or Parquet with its types."""

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

_PART_BYTES = 4 << 20  # of long cells, held several times over while they become lines


class ResultFile(Protocol):
    """A file that takes frames of one schema and is on disk once its block has been left."""

    rows: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, frame: pl.DataFrame) -> None:
        """Append `frame`. Raises OSError where the disk does not take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvLayout:
    """How a CSV is written."""

    delimiter: str
    newline: str
    has_bom: bool

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """As the input was; where it shows neither (one column, no rows), comma and line feed."""
        return cls(
            delimiter=snapshot.delimiter or ",",
            newline=snapshot.newline or "\n",
            has_bom=snapshot.has_bom,
        )


class CsvWriter:
    """Writes frames of text and numbers to a CSV file that only its owner can read.

    A cell is quoted only where it must be, so that every CSV reader gives the same text back; an
    empty text and a null both become an empty cell.
    """

    def __init__(self, path: Path, header: Sequence[str], layout: CsvLayout) -> None:
        self.rows = 0
        self._layout = layout
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._file = open(descriptor, "wb")  # noqa: SIM115, PTH123 - closed on leaving the block
        self._file.write(csv_header(header, layout))

    def write(self, frame: pl.DataFrame) -> None:
        """Append `frame`. Raises OSError where the disk does not take it."""
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
    """The rows of `frame` as a CSV file holds them."""
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
    """A writer of the input's kind; `header` names the columns of `schema` as people see them."""
    if snapshot.kind == "csv":
        return CsvWriter(path, header, CsvLayout.of(snapshot))
    return ParquetWriter(path, schema, row_group_rows=_row_group_rows(snapshot.path))


def _row_group_rows(snapshot: Path) -> int:
    first = next(read_frames(snapshot), None)
    return ROW_GROUP_ROWS if first is None else fitting_rows(first)


def _emptied(schema: pl.Schema) -> list[pl.Expr]:
    # polars writes an empty text as "", a null as nothing; the input had nothing there
    texts = [pl.col(name) for name, dtype in schema.items() if dtype == pl.String]
    return [pl.when(text != "").then(text) for text in texts]
