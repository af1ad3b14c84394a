"""Writes and reads Parquet files in constant memory, independent of their content.

polars writes Parquet only from a query that it drives itself, so a thread feeds `sink_parquet`. Its
batch readers read ahead by the number of cores, so each slice is read with a small query.
"""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import polars as pl
from polars.io.plugins import register_io_source

from pipeline.store.checksums import KEY, Checksums, add_checksums, read_checksums

T = TypeVar("T")

FORMAT = "1"
ROW_GROUP_ROWS = 16_384
_BATCH_BYTES = 16 << 20
_FIRST_ROWS = 1024  # first frame, because rows may be long
_QUEUED_FRAMES = 2
_CAST = pl.ScanCastOptions(datetime_cast="nanosecond-downcast")
"""For timestamps of 96 bits: read as microseconds, also if the Arrow schema says nanoseconds."""
_ARROW_SCHEMA = "ARROW:schema"  # polars' own entry among the metadata


class ParquetWriter:
    """Writes frames of one schema to a Parquet file, readable by its owner only.

    A context manager: leaving it completes and syncs the file; an exception inside removes it.
    `metadata` may be changed until `close`; an entry `format` is added. `rows` is the number of
    rows written. `write` and `close` raise OSError if the file cannot be written. `write` raises
    `polars.exceptions.SchemaError` for a frame of another schema. Not thread-safe.

    is_checked  add checksums, which are compared when the file is read; `digest` is set on close
    """

    def __init__(
        self,
        path: Path,
        schema: Mapping[str, pl.DataType | type[pl.DataType]],
        *,
        row_group_rows: int = ROW_GROUP_ROWS,
        metadata: Mapping[str, str] | None = None,
        is_checked: bool = False,
    ) -> None:
        self.path = path
        self.rows = 0
        self.digest = ""
        self._is_checked = is_checked
        self.metadata: dict[str, str] = {**(metadata or {}), "format": FORMAT}
        if is_checked:
            self.metadata[KEY] = "1"
        self._schema = pl.Schema(schema)
        self._row_group_rows = row_group_rows
        self._queue: queue.Queue[pl.DataFrame | None] = queue.Queue(_QUEUED_FRAMES)
        self._error: BaseException | None = None
        self._is_open = True
        self._saw_end = False
        _create_private(path)
        self._thread = threading.Thread(target=self._sink, name=f"write {path.name}", daemon=True)
        self._thread.start()

    def write(self, frame: pl.DataFrame, *, owns_texts: bool = False) -> None:
        """Append `frame`; waits while the disk is slower than the caller.

        owns_texts  it keeps no texts of a larger frame in memory
        """
        if self._error is not None:
            raise self._error
        if frame.schema != self._schema:
            raise pl.exceptions.SchemaError(f"{frame.schema} does not fit {self._schema}")
        if frame.height:
            is_copied = not owns_texts and frame.height < self._row_group_rows // 2
            self._queue.put(_with_own_texts(frame) if is_copied else frame)
            self.rows += frame.height

    def close(self) -> None:
        """Complete the file. Does nothing if it is already closed."""
        if not self._is_open:
            return
        self._stop()
        if self._error is not None:
            self.path.unlink(missing_ok=True)
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif self._is_open:
            self._stop()
            self.path.unlink(missing_ok=True)

    def _stop(self) -> None:
        self._is_open = False
        self._queue.put(None)
        self._thread.join()

    def _sink(self) -> None:
        try:
            register_io_source(
                lambda _columns, _predicate, _n_rows, _batch_rows: self._queued(),
                schema=self._schema,
            ).sink_parquet(
                self.path.absolute(),
                row_group_size=self._row_group_rows,
                compression="zstd",
                compression_level=1,  # files are read once or twice, soon
                statistics=False,  # these files are never filtered; the footer stays small
                metadata=lambda _context: self.metadata,  # called after the last batch
                sync_on_close=None if self._is_checked else "all",
            )
            if self._is_checked:
                self.digest = add_checksums(self.path).digest
        except BaseException as error:  # noqa: BLE001 - raised again by write or close
            self._error = _as_os_error(error, self.path)
            for _ in self._queued():
                pass  # `write` must not wait for a reader that has ended

    def _queued(self) -> Iterator[pl.DataFrame]:
        """The frames of `write`, until `_stop`."""
        while not self._saw_end:
            frame = self._queue.get()
            if frame is None:
                self._saw_end = True
            else:
                yield frame


def _with_own_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """A copy. polars lets a part of a frame keep the texts of the whole in memory, and here it may
    wait long, with many others, until its row group is full.
    """
    texts = io.BytesIO()
    frame.write_ipc_stream(texts)
    texts.seek(0)
    return pl.read_ipc_stream(texts)


def read_frames(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    schema: Mapping[str, pl.DataType] | None = None,
    batch_rows: int = ROW_GROUP_ROWS,
) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file in file order, in frames of at most `batch_rows`.

    columns   columns to read, in the order of the file; None reads all
    schema    columns to read, each with the type to read it as

    Frames are shorter if rows are long. Holds one frame and its pages in memory, however slow the
    caller is. For a file with checksums, raises DamagedError before the first frame that does not
    match; for another corrupt file `polars.exceptions.PolarsError` or OSError at that frame.
    """
    checked = _Checked(path)
    scan = _scan(path, schema)
    total = _stated_rows(path)
    if columns is not None:
        wanted = set(columns)
        scan = scan.select(name for name in scan.collect_schema().names() if name in wanted)
    start, most_rows = 0, _FIRST_ROWS
    while start < total:
        next_group = (start // batch_rows + 1) * batch_rows  # a slice of two groups costs double
        rows = min(most_rows, next_group - start)
        checked.check(start, rows)
        frame = scan.slice(start, rows).collect()
        if not frame.height:
            raise pl.exceptions.ComputeError(f"{path}: {start} of {total} rows could be read")
        yield frame
        start += frame.height
        most_rows = fitting_rows(frame)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield `items`; each is made in a thread while the one before it is used. Holds both.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, "read ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def read_back_frames(path: Path, *, batch_rows: int = ROW_GROUP_ROWS) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file in frames, last frame first; each frame in the order of the file.

    Otherwise like `read_frames`, except that frames are not shorter if rows are long.
    """
    checked = _Checked(path)
    scan = _scan(path)
    end = _stated_rows(path)
    while end > 0:
        start = (end - 1) // batch_rows * batch_rows
        checked.check(start, end - start)
        yield scan.slice(start, end - start).collect()
        end = start


def fitting_rows(frame: pl.DataFrame) -> int:
    """Number of rows like those of `frame` in a batch or row group of a few megabytes."""
    bytes_per_row = frame.estimated_size() / max(1, frame.height)
    return max(1, min(ROW_GROUP_ROWS, int(_BATCH_BYTES / max(1.0, bytes_per_row))))


def read_metadata(path: Path) -> dict[str, str]:
    """The key-value pairs that `ParquetWriter` stored, including `format`.

    Raises as `read_frames` does.
    """
    read_checksums(path)
    stored = pl.read_parquet_metadata(path)
    return {key: value for key, value in stored.items() if key not in {_ARROW_SCHEMA, KEY}}


def row_count(path: Path) -> int:
    """Number of rows that the footer states. Raises as `read_frames` does."""
    read_checksums(path)
    return _stated_rows(path)


class _Checked:
    """Checks row groups against their checksums, each once while it is being read."""

    def __init__(self, path: Path) -> None:
        self._checksums: Checksums | None = read_checksums(path)
        self._seen = range(0)

    def check(self, start: int, rows: int) -> None:
        """Check rows from `start`, counted from 0, before they are decoded. Raises DamagedError."""
        if self._checksums is not None:
            self._seen = self._checksums.check(start + 1, start + rows, but=self._seen)


def _stated_rows(path: Path) -> int:
    return int(_scan(path).select(pl.len()).collect().item())


def _scan(path: Path, schema: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
    # glob and hive off: file names may contain `[` and `=`
    return pl.scan_parquet(
        path.absolute(),
        glob=False,
        hive_partitioning=False,
        schema=None if schema is None else pl.Schema(schema),
        extra_columns="raise" if schema is None else "ignore",
        cast_options=_CAST,
    )


def _create_private(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # an existing file would keep its mode
    finally:
        os.close(descriptor)


def _as_os_error(error: BaseException, path: Path) -> BaseException:
    """Convert polars' error for a failing disk to OSError."""
    if isinstance(error, pl.exceptions.ComputeError):
        return OSError(f"{path}: {error}")
    return error
