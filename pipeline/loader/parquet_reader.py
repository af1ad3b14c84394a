"""The strict Parquet reader: decodes every row group and returns frames of numbered rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import polars as pl

from pipeline.loader.columns import MAX_RECORD_BYTES, is_unnamed
from pipeline.loader.parquet_file import AGAIN
from pipeline.loader.parquet_footer import INT96, Footer
from pipeline.loader.parquet_types import ReadColumn, UnreadColumn, column_types
from pipeline.model import LINE_COLUMN, ROW_COLUMN, DamagedError, Fault, InputError
from pipeline.store.parquet import read_frames, row_count

_DECODING_ERRORS = (
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
    *(OSError, MemoryError),
)
_NAMED_MOST = 200  # columns that are decoded one by one


class ParquetReader:
    """Reads the rows of one Parquet file.

    The constructor reads names and types. `frames` returns `__row`, `__line` (null) and the named
    columns that can be read, with their types; after it, `rows` is final. Both raise InputError.

    path             path to decode
    footer           its footer
    file             name of the file, for messages
    check_expansion  called with the size of all cells so far, in bytes; raises if that is too much
    """

    delimiter: str | None = None
    newline: str | None = None
    has_bom = False
    blank_lines = 0
    lacks_last_end = False

    def __init__(
        self,
        path: Path,
        footer: Footer,
        *,
        file: str,
        check_expansion: Callable[[int], None] = lambda _unpacked_bytes: None,
    ) -> None:
        self.rows = 0
        self._unpacked_bytes = 0
        self._check_expansion = check_expansion
        self._path = path
        self._file = file
        self._stated_rows = footer.rows
        with self._decoding():
            types = column_types(footer.columns, pl.read_parquet_schema(path))
        self._read = {name: each for name, each in types.items() if isinstance(each, ReadColumn)}
        self.unread = {
            name: (each.what, each.todo)
            for name, each in types.items()
            if isinstance(each, UnreadColumn)
        }
        self._check_unread()
        self.columns = tuple(name for name in self._read if not is_unnamed(name))
        self.zoneless = tuple(
            node.name
            for node in footer.columns
            if node.name in self.columns
            and any(leaf.physical == INT96 for leaf in node.leaves)
            and getattr(self._read[node.name].dtype, "time_zone", None) is None
        )
        self.offsets: Mapping[str, str] = {
            name: offset for name, offset in footer.offsets.items() if name in self.columns
        }

    @property
    def read_columns(self) -> Collection[str]:
        """Names of the columns that are decoded, including unnamed ones."""
        return self._read.keys()

    @property
    def schema(self) -> pl.Schema:
        """The schema of the frames."""
        empty = pl.DataFrame(schema={name: each.dtype for name, each in self._read.items()})
        return self._numbered(empty).schema

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows in order. Raises InputError if the file is cut or broken."""
        with self._decoding():
            stated = row_count(self._path)
            for frame in self._decoded():
                self._check_sizes(frame)
                self._check_unnamed(frame)
                numbered = self._numbered(frame)
                self.rows += frame.height
                yield numbered
        if not self.rows == stated == self._stated_rows:
            raise self._error(
                f"{self.rows} rows could be read, the footer states {self._stated_rows}"
            )

    def broken_columns(self) -> list[str]:
        """The columns that cannot be decoded separately; empty if only the whole file fails."""
        return [name for name in list(self._read)[:_NAMED_MOST] if not self._decodes(name)]

    def _decodes(self, name: str) -> bool:
        try:
            for _ in self._decoded([name]):
                pass
        except _DECODING_ERRORS:
            return False
        return True

    def _decoded(self, names: list[str] | None = None) -> Iterator[pl.DataFrame]:
        wanted = self._read if names is None else {name: self._read[name] for name in names}
        if not wanted:  # polars returns no rows without columns
            yield pl.DataFrame(height=self._stated_rows)
            return
        yield from read_frames(
            self._path, schema={name: each.dtype for name, each in wanted.items()}
        )

    def _numbered(self, frame: pl.DataFrame) -> pl.DataFrame:
        first = self.rows + 1
        numbers = pl.int_range(first, first + frame.height, dtype=pl.Int64, eager=True)
        exprs = {name: self._read[name].expr for name in self.columns}
        return frame.select(
            numbers.alias(ROW_COLUMN),
            pl.lit(None, pl.Int64).alias(LINE_COLUMN),
            *(pl.col(name) if expr is None else expr.alias(name) for name, expr in exprs.items()),
        )

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except DamagedError as error:
            words = str(error).replace(str(self._path), self._file)
            raise InputError(f"{words}. Make or copy the file again") from None
        except _DECODING_ERRORS:
            raise self._error(
                "is damaged, or in an unknown format: it cannot be decoded",
            ) from None

    def _check_sizes(self, frame: pl.DataFrame) -> None:
        """Raise InputError if a cell is too long, or if the file expands too much."""
        sizes = frame.select(pl.col(pl.String).str.len_bytes().cast(pl.Int64))
        in_texts = 0  # polars stores equal texts once; here each counts
        for column in sizes.iter_columns():
            longest_bytes = cast("int | None", column.max()) or 0
            if longest_bytes > MAX_RECORD_BYTES:
                raise self._too_long(column, longest_bytes)
            in_texts += cast("int", column.sum())
        self._unpacked_bytes += max(int(frame.estimated_size()), in_texts)
        self._check_expansion(self._unpacked_bytes)

    def _too_long(self, sizes: pl.Series, longest_bytes: int) -> InputError:
        fault = Fault(
            what=f"a cell of {longest_bytes} bytes",
            file=self._file,
            row=self.rows + 1 + (sizes.arg_max() or 0),
            column=sizes.name,
            expected=f"at most {MAX_RECORD_BYTES >> 20} MiB",
        )
        return InputError([fault])

    def _check_unread(self) -> None:
        """Raise InputError for an unreadable column without a name: settings cannot ignore it."""
        for name in filter(is_unnamed, self.unread):
            raise self._error(f"a column without a name holds {self.unread[name][0]}")

    def _check_unnamed(self, frame: pl.DataFrame) -> None:
        for name in frame.columns:
            if is_unnamed(name) and frame[name].null_count() < frame.height:
                raise self._error("a column without a name holds values")

    def _error(self, what: str) -> InputError:
        return InputError(Fault(what=what, file=self._file, todo=AGAIN))
