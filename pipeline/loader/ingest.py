"""Reads and checks an input file and writes it as the run's snapshot."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import polars as pl

from pipeline.jobs.snapshot_file import to_metadata
from pipeline.loader.csv_reader import CsvReader
from pipeline.loader.decode_check import check_decodes
from pipeline.loader.file_kind import HEAD_BYTES, sniff
from pipeline.loader.panics import panics_as_input_errors, panics_unprinted
from pipeline.loader.parquet_file import decodable, descriptor_path, footer_of, is_small
from pipeline.loader.parquet_reader import ParquetReader
from pipeline.loader.selection import RowSelection
from pipeline.loader.source import NO_FILE, WRITE_FIRST, Source, check_expansion
from pipeline.model import Fault, InputError, Snapshot
from pipeline.model.formatting import escaped, is_utf8
from pipeline.store.parquet import ROW_GROUP_ROWS, ParquetWriter, fitting_rows

CHUNK_BYTES = 512 << 10

Content = Literal["text", "gzip", "parquet"]

_CONTENT_BY_ENDING: tuple[tuple[str, Content], ...] = (
    (".csv", "text"),
    (".csv.gz", "gzip"),
    (".parquet", "parquet"),
)
_ENDINGS = ".csv, .csv.gz or .parquet"
_SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_SAVE_AS = "Open it in the spreadsheet, then: Save as, CSV UTF-8"


def ingest(
    source: Path,
    snapshot: Path,
    *,
    delimiter: str | None = None,
    rows: RowSelection | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Snapshot:
    """Read all of `source` strictly, and write it to `snapshot`, a Parquet file.

    delimiter  of a CSV file; None detects it from the header
    rows       rows to write; None writes all. The others are read and checked, too

    Columns without a name must be empty and are left out. Raises InputError for a fault of the
    file, OSError if the snapshot cannot be written. Then no snapshot is left.
    """
    content = _content_by_name(source)
    with (
        panics_as_input_errors(str(source)),
        Source(source, chunk_bytes=chunk_bytes) as file,
        ExitStack() as stack,
    ):
        _check_content(file.head(HEAD_BYTES), content, source)
        reader = (
            stack.enter_context(_parquet_reader(file, source, snapshot.parent))
            if content == "parquet"
            else _csv_reader(file, source, delimiter, is_compressed=content == "gzip")
        )
        group_rows, frames = _row_group_rows(reader.frames())
        with ParquetWriter(
            snapshot, reader.schema, row_group_rows=group_rows, is_checked=True
        ) as writer:
            for frame in frames:
                if rows:
                    writer.write(rows.only(frame))
                else:
                    writer.write(frame, owns_texts=content != "parquet")
            file.check_is_unchanged()
            if rows:
                _check_selection(rows, reader.rows, str(source))
            ingested = _facts(snapshot, source, content, file, reader, selected=writer.rows)
            writer.metadata |= to_metadata(ingested)
    return replace(ingested, checksum=writer.digest)


def _facts(
    path: Path,
    source: Path,
    content: Content,
    file: Source,
    reader: CsvReader | ParquetReader,
    *,
    selected: int,
) -> Snapshot:
    return Snapshot(
        path=path,
        source=source,
        kind="parquet" if content == "parquet" else "csv",
        is_compressed=content == "gzip",
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        columns=reader.columns,
        rows=reader.rows,
        selected=selected,
        blank_lines=reader.blank_lines,
        delimiter=reader.delimiter,
        has_bom=reader.has_bom,
        newline=reader.newline,
        lacks_last_end=reader.lacks_last_end,
        unread=dict(reader.unread),
        offsets=dict(reader.offsets),
        zoneless=reader.zoneless,
    )


@contextmanager
def _parquet_reader(file: Source, source: Path, folder: Path) -> Iterator[ParquetReader]:
    for _ in file.chunks():
        pass  # only to hash the file; polars reads the same descriptor
    name = str(source)
    footer = footer_of(file.descriptor, name)
    with decodable(file.descriptor, footer, folder) as descriptor:
        is_harmless = is_small(descriptor, name)
        if not is_harmless:
            check_decodes(descriptor, name, file.size_bytes)
        try:
            with panics_unprinted() if is_harmless else nullcontext():
                yield ParquetReader(
                    descriptor_path(descriptor),
                    footer,
                    file=name,
                    check_expansion=partial(check_expansion, name, file.size_bytes, kind="Parquet"),
                )
        except InputError:
            if is_harmless:
                check_decodes(descriptor, name, file.size_bytes)  # names the broken columns
            raise


def _csv_reader(
    file: Source, source: Path, delimiter: str | None, *, is_compressed: bool
) -> CsvReader:
    chunks = file.chunks()
    if is_compressed:
        chunks = file.unpacked()
        first = next(chunks, b"")
        _check_content(first[:HEAD_BYTES], "text", source, is_unpacked=True)
        chunks = chain((first,), chunks)
    return CsvReader(
        chunks,
        file=str(source),
        delimiter=delimiter,
        recode=_recode(source, "WINDOWS-1252", is_compressed=is_compressed),
    )


def _row_group_rows(frames: Iterator[pl.DataFrame]) -> tuple[int, Iterator[pl.DataFrame]]:
    """The number of rows per row group that suits the rows, and all frames."""
    first = next(frames, None)
    if first is None:
        return ROW_GROUP_ROWS, frames
    return fitting_rows(first), chain((first,), frames)


def _content_by_name(source: Path) -> Content:
    if not is_utf8(str(source)):
        raise _refused(Path(escaped(str(source))), "its name is not UTF-8", todo="Rename it")
    name = source.name.lower()
    for ending, content in _CONTENT_BY_ENDING:
        if name.endswith(ending):
            return content
    if name.endswith(_SHEETS):
        raise _refused(source, "is a spreadsheet", todo=_SAVE_AS)
    if source.is_fifo() or source.is_char_device() or source.is_socket():
        raise _refused(source, NO_FILE, todo=WRITE_FIRST)
    raise _refused(
        source,
        f"has the ending {source.suffix!r}" if source.suffix else "has no ending",
        expected=_ENDINGS,
        todo="Rename it if it is one of these",
    )


def _check_content(
    head: bytes, expected: Content, source: Path, *, is_unpacked: bool = False
) -> None:
    """Raise InputError if the first bytes do not fit the file's ending."""
    found = sniff(head)
    if found == expected or not head:
        return
    is_compressed = is_unpacked
    inside = " inside of the gzip" if is_unpacked else ""
    if found in ("text", "gzip", "parquet"):
        ending = next(ending for ending, content in _CONTENT_BY_ENDING if content == found)
        what, todo = f"is {found}{inside}, not {expected}", f"If it is whole, name it {ending}"
    elif found.startswith("UTF-"):
        what = f"is {found}, not UTF-8"
        todo = f"Convert it: {_recode(source, found, is_compressed=is_compressed)}"
    elif found == "NUL bytes":
        what = f"starts with NUL bytes{inside}, not with {expected}"
        todo = "Was its space reserved and never written? Copy or upload it again"
    else:
        what = f"is {found}{inside}, not {expected}"
        todo = _SAVE_AS if "Excel" in found else "Export it again as CSV UTF-8"
    raise _refused(source, what, expected=_ENDINGS if "UTF-" not in found else None, todo=todo)


def _recode(source: Path, encoding: str, *, is_compressed: bool) -> str:
    """The shell command that converts a file to UTF-8.

    encoding  with its byte order: of a file without a byte order mark, iconv would assume one

    >>> _recode(Path("my file.csv"), "UTF-16LE", is_compressed=False)
    "iconv -f UTF-16LE -t UTF-8 'my file.csv' > 'my file-utf8.csv'"
    """
    old = shlex.quote(str(source))
    stem = source.name.removesuffix(".gz").rpartition(".")[0]
    new = shlex.quote(str(source.with_name(f"{stem}-utf8.csv")))
    if is_compressed:
        return f"gzip -dc {old} | iconv -f {encoding} -t UTF-8 > {new}"
    return f"iconv -f {encoding} -t UTF-8 {old} > {new}"


def _check_selection(selected: RowSelection, rows: int, file: str) -> None:
    if (missing := selected.beyond(rows)) is not None:
        what = f"there is no row {missing}: the file has {rows} rows"
        raise InputError(Fault(what=what, file=file, todo="Correct the selection of rows"))


def _refused(
    source: Path, what: str, *, expected: str | None = None, todo: str | None = None
) -> InputError:
    return InputError(Fault(what=what, file=str(source), expected=expected, todo=todo))
