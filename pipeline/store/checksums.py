"""Checksums that a Parquet file carries: of each of its row groups, and of its footer.

They lie between the row groups and the footer, where readers of Parquet look at nothing:

    PAR1 | row groups | a line per row group | trailer | footer | its length | PAR1

A line is where the row group ends, how many rows it holds, and the CRC-32 of its bytes. The trailer
holds the number of lines, the CRC-32 of all that follows it, the CRC-32 of the lines and of the
trailer itself, and a mark. The footer names `KEY`, so that a lost mark is no lost checksum.
Source: https://github.com/apache/parquet-format (layout, Thrift definition of the footer).
"""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

from pipeline.model import DamagedError
from pipeline.store.files import sync_file

KEY = "offer-pipeline:checksums"
"""Name of an entry among the metadata of a file that carries checksums; its value is 1."""

_MARK = b"OPSUMS01"
_MAGIC = b"PAR1"
_LINE = struct.Struct("<QQI")
_TRAILER = struct.Struct("<III8s")
_END = struct.Struct("<I4s")  # of the file: length of the footer, magic
_READ_BYTES = 1 << 20


class Group(NamedTuple):
    """A row group: its bytes are those from the end of the one before to `end`.

    last_row  of the file, counted from 1, that lies in it
    """

    end: int
    last_row: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Checksums:
    """What a file says of itself.

    digest  SHA-256 over all checksums, hexadecimal: two files of one digest hold the same
    """

    path: Path
    groups: tuple[Group, ...]
    digest: str

    def check(self, first: int, last: int, *, but: range = range(0)) -> range:
        """Compare the row groups of rows `first` to `last`, from 1: the numbers of these groups.

        but     groups that were compared just now
        raises  DamagedError where one is not what was written, OSError where it cannot be read
        """
        ends = [group.last_row for group in self.groups]
        end = min(bisect_right(ends, last - 1) + 1, len(ends))
        found = range(bisect_right(ends, first - 1), end)
        with self.path.open("rb", buffering=0) as file:
            for number in (each for each in found if each not in but):
                self._check_group(file, number)
        return found

    def check_all(self) -> None:
        """The same for all rows."""
        if self.groups:
            self.check(1, self.groups[-1].last_row)

    def _check_group(self, file: BinaryIO, number: int) -> None:
        before = self.groups[number - 1] if number else Group(0, 0, 0)
        group = self.groups[number]
        if _crc(file, before.end, group.end) != group.checksum:
            rows = f"rows {before.last_row + 1} to {group.last_row}"
            raise not_as_written(self.path, f"the checksum of its {rows} does not match")


def not_as_written(path: Path, what: str) -> DamagedError:
    """The error for a file that is not what was written.

    >>> print(not_as_written(Path("a.parquet"), "its footer is cut off"))
    a.parquet is damaged: its footer is cut off. The disk or another program changed it
    """
    return DamagedError(f"{path} is damaged: {what}. The disk or another program changed it")


def add_checksums(path: Path) -> Checksums:
    """Put the checksums of a Parquet file, whose metadata name `KEY`, into it, and sync it.

    Raises OSError where the file cannot be written, ValueError where it is no Parquet.
    """
    with path.open("rb+") as file:
        footer_at, tail = _tail(file)
        groups = tuple(_groups(file, footer_at, tail))
        lines = b"".join(_LINE.pack(group.end, group.last_row, group.checksum) for group in groups)
        head = _TRAILER.pack(len(groups), crc32(tail), 0, _MARK)
        trailer = _TRAILER.pack(len(groups), crc32(tail), crc32(lines + head), _MARK)
        file.seek(footer_at)
        file.write(lines + trailer + tail)
        sync_file(file)
    return Checksums(path, groups, _digest(lines + trailer))


def read_checksums(path: Path) -> Checksums | None:
    """The checksums of a file, and the footer compared with them; None where it carries none.

    Raises DamagedError where they or the footer are not what was written, OSError where the file
    cannot be read. A file that is no Parquet at all carries none.
    """
    with path.open("rb") as file:
        try:
            footer_at, tail = _tail(file)
        except ValueError:
            return None  # whoever decodes it says so
        file.seek(max(0, footer_at - _TRAILER.size))
        trailer = file.read(_TRAILER.size)
        if footer_at < _TRAILER.size or trailer[-len(_MARK) :] != _MARK:
            if KEY.encode() in tail:
                raise not_as_written(path, "its checksums are missing")
            return None
        count, of_tail, of_lines, _ = _TRAILER.unpack(trailer)
        start = footer_at - _TRAILER.size - count * _LINE.size
        lines = b"" if start < 0 else _read_at(file, start, footer_at - _TRAILER.size)
        head = _TRAILER.pack(count, of_tail, 0, _MARK)
        if start < 0 or crc32(lines + head) != of_lines:
            raise not_as_written(path, "its checksums are not what was written")
        if crc32(tail) != of_tail:
            raise not_as_written(path, "the checksum of its footer does not match")
    groups = tuple(Group._make(line) for line in _LINE.iter_unpack(lines))
    if groups and groups[-1].end != start:
        raise not_as_written(path, "its checksums are not what was written")
    return Checksums(path, groups, _digest(lines + trailer))


def check_is(path: Path, digest: str) -> Checksums | None:
    """Raise DamagedError unless `path` is the file that was written with that digest.

    digest   empty for a file of an earlier version, which carries no checksums: nothing is known
    returns  its checksums; of its rows nothing was read yet
    """
    try:
        found = read_checksums(path)
    except FileNotFoundError:
        raise DamagedError(f"{path} is gone") from None
    if digest and (found is None or found.digest != digest):
        raise not_as_written(path, "it is another file than the one that was written here")
    return found


def check_whole(path: Path, digest: str) -> None:
    """The same, and all rows are read."""
    if (found := check_is(path, digest)) is not None:
        found.check_all()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tail(file: BinaryIO) -> tuple[int, bytes]:
    """Where the footer begins, and all bytes from there on. Raises ValueError for no Parquet."""
    size = file.seek(0, os.SEEK_END)
    if size < len(_MAGIC) + _END.size:
        raise ValueError("too short for Parquet")
    length, magic = _END.unpack(_read_at(file, size - _END.size, size))
    at = size - _END.size - length
    if magic != _MAGIC or at < len(_MAGIC):
        raise ValueError("no Parquet")
    return at, _read_at(file, at, size)


def _read_at(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _crc(file: BinaryIO, start: int, end: int) -> int:
    """Of the bytes of a stretch; of those that are there, where the file is too short."""
    checksum = 0
    file.seek(start)
    while start < end and (data := file.read(min(_READ_BYTES, end - start))):
        checksum = crc32(data, checksum)
        start += len(data)
    return checksum


def _groups(file: BinaryIO, footer_at: int, tail: bytes) -> Iterator[Group]:
    """The row groups as they lie in the file; what is between them belongs to the next one."""
    found = list(_ends(tail))
    start = row = 0
    for number, (end, rows) in enumerate(found, 1):
        row += rows
        until = footer_at if number == len(found) else max(start, end)
        yield Group(until, row, _crc(file, start, until))
        start = until


# -------------------------------------------------------- the footer, as far as it is needed

_ROW_GROUPS, _COLUMNS, _ROWS, _OF_COLUMN = 4, 1, 3, 3
_BYTES, _DATA_AT, _DICTIONARY_AT = 7, 9, 11
_TRUE, _FALSE, _I8, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET = range(1, 11)
_STRUCT = 12
_LONG = 15  # the length of a list stands behind its head
_MORE = 128  # of a number that goes on in the next byte


def _ends(footer: bytes) -> Iterator[tuple[int, int]]:
    """Where each row group of a footer ends, and how many rows it holds."""
    reader = _Compact(footer)
    for number, kind in reader.fields():
        if number != _ROW_GROUPS:
            reader.value(kind)
            continue
        for _ in range(reader.list_head()[0]):
            group = reader.struct()
            yield max(map(_end_of, group[_COLUMNS])), group[_ROWS]


def _end_of(column: dict[int, Any]) -> int:
    meta = column[_OF_COLUMN]
    starts = [meta[at] for at in (_DATA_AT, _DICTIONARY_AT) if meta.get(at)]
    return int(min(starts) + meta[_BYTES])


class _Compact:
    """Values of Thrift's compact protocol, one after the other; structs by number of field."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._read: dict[int, Callable[[], Any]] = {
            _TRUE: lambda: True,
            _FALSE: lambda: False,
            _I8: self._byte,
            **dict.fromkeys((_I16, _I32, _I64), self._integer),
            _DOUBLE: lambda: self._bytes(8),
            _BINARY: lambda: self._bytes(self._varint()),
            **dict.fromkeys((_LIST, _SET), self._list),
            _STRUCT: self.struct,
        }

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a struct; its value is to be read before the next."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            yield number, head & 15

    def struct(self) -> dict[int, Any]:
        """A whole struct."""
        return {number: self.value(kind) for number, kind in self.fields()}

    def list_head(self) -> tuple[int, int]:
        """How many values follow, and their kind."""
        head = self._byte()
        return (self._varint() if head >> 4 == _LONG else head >> 4), head & 15

    def value(self, kind: int) -> Any:
        """A value of a kind that footers have."""
        if kind not in self._read:
            raise ValueError(f"a footer with values of kind {kind}")
        return self._read[kind]()

    def _list(self) -> list[Any]:
        count, kind = self.list_head()
        return [self.value(_I8 if kind in (_TRUE, _FALSE) else kind) for _ in range(count)]

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & ~_MORE) << shift
            if not byte & _MORE:
                return value
            shift += 7

    def _integer(self) -> int:
        coded = self._varint()
        return (coded >> 1) ^ -(coded & 1)
