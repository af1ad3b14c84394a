"""The strict Parquet reader: every row group decoded, frames of numbered rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import polars as pl

from pipeline.load.columns import check_names, is_unnamed
from pipeline.model import LINE_COLUMN, ROW_COLUMN, DamagedError, Fault, InputError
from pipeline.model.errors import shorten
from pipeline.tables import read_frames, row_count

_REFUSED = {
    pl.Binary: ("bytes", "Store it as text"),
    pl.Map: ("a map", "Store it as a struct, or as text holding a JSON object"),
    pl.Time: ("a time without a date", "Store it as text"),
    pl.Duration: ("a duration", "Store it as a number or as text"),
    pl.Object: ("objects of a program", "Store it as text"),
}
_WHAT_DECODING_RAISES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class ParquetReader:
    """The rows of one Parquet file.

    Reads the footer at once: names and types. `frames` gives `__row`, `__line` (null) and the named
    columns with their types; after it `rows` is final. Both raise InputError.

    check_expansion  is told how many bytes all cells so far take, and raises where that is too much
    """

    delimiter: str | None = None
    newline: str | None = None
    has_bom = False
    blank_lines = 0
    lacks_last_end = False
    unread: Mapping[str, str] = MappingProxyType({})
    offsets: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        path: Path,
        *,
        file: str,
        check_expansion: Callable[[int], None] = lambda _unpacked_bytes: None,
    ) -> None:
        self.rows = 0
        self._unpacked_bytes = 0
        self._check_expansion = check_expansion
        self._path = path
        self._file = file
        with self._decoding():
            self._schema = pl.read_parquet_schema(path.absolute())
        names = tuple(self._schema)
        check_names(names, file)
        self._check_types()
        self.columns = tuple(name for name in names if not is_unnamed(name))

    @property
    def schema(self) -> pl.Schema:
        """Of the frames."""
        numbers = {ROW_COLUMN: pl.Int64(), LINE_COLUMN: pl.Int64()}
        return pl.Schema({**numbers, **{name: self._schema[name] for name in self.columns}})

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows in order. Raises InputError where the file is cut or broken."""
        with self._decoding():
            stated = row_count(self._path)
            for frame in read_frames(self._path):
                self._unpacked_bytes += _cells_bytes(frame)
                self._check_expansion(self._unpacked_bytes)
                self._check_unnamed(frame)
                numbers = pl.int_range(
                    self.rows + 1, self.rows + 1 + frame.height, dtype=pl.Int64, eager=True
                )
                self.rows += frame.height
                yield frame.select(
                    numbers.alias(ROW_COLUMN),
                    pl.lit(None, pl.Int64).alias(LINE_COLUMN),
                    *self.columns,
                )
        if self.rows != stated:
            raise self._error(f"{self.rows} rows could be read, the footer states {stated}")

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except DamagedError as error:
            raise InputError(f"{error}. Make or copy the file again") from None
        except _WHAT_DECODING_RAISES as error:
            raise InputError(
                [
                    Fault(
                        what="is not whole, or not Parquet",
                        file=self._file,
                        value=shorten(str(error).partition("\n")[0], most=120),
                        todo="Write or copy the file again",
                    )
                ]
            ) from None

    def _check_types(self) -> None:
        faults = [
            Fault(
                what=f"holds {refused[0]} ({dtype})",
                file=self._file,
                column=name,
                expected="text, numbers, booleans, dates with time, lists or structs",
                todo=refused[1],
            )
            for name, dtype in self._schema.items()
            if not is_unnamed(name) and (refused := _refused_type(dtype))
        ]
        if faults:
            raise InputError(faults)

    def _check_unnamed(self, frame: pl.DataFrame) -> None:
        for name in frame.columns:
            if is_unnamed(name) and frame[name].null_count() < frame.height:
                raise self._error("a column without a name holds values")

    def _error(self, what: str) -> InputError:
        return InputError([Fault(what=what, file=self._file)])


def _cells_bytes(frame: pl.DataFrame) -> int:
    """What the cells take, each text as often as it stands there: polars keeps equal ones once."""
    texts = frame.select(pl.col(pl.String).str.len_bytes().sum())
    return max(int(frame.estimated_size()), sum(texts.row(0)) if texts.width else 0)


def _refused_type(dtype: pl.DataType) -> tuple[str, str] | None:
    """What is wrong with a type, and what to do: its own, or that of what it nests."""
    for kind, reason in _REFUSED.items():
        if isinstance(dtype, kind):
            return reason
    return next(filter(None, map(_refused_type, _nested(dtype))), None)


def _nested(dtype: pl.DataType) -> Iterator[pl.DataType]:
    inner: list[object] = []
    if isinstance(dtype, pl.Struct):
        inner = [field.dtype for field in dtype.fields]
    elif isinstance(dtype, pl.List | pl.Array):
        inner = [dtype.inner]
    return (kind for kind in inner if isinstance(kind, pl.DataType))  # a file's types are instances
