"""Checksums in a Parquet file: one per row group, and one of the footer.

They are between the row groups and the footer, where Parquet readers do not look:

    PAR1 | row groups | a line per row group | trailer | footer | its length | PAR1

A line holds the end of the row group, its last row, and the CRC-32 of its bytes. The trailer holds
the number of lines, the CRC-32 of everything after the trailer, the CRC-32 of the lines and of the
trailer itself, and a mark. The footer contains `KEY`, so that a lost mark is noticed.
Source: https://github.com/apache/parquet-format (layout, Thrift definition of the footer).
"""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

from pipeline.model import DamagedError
from pipeline.store.files import sync_file
from pipeline.store.thrift import Struct, ThriftReader

KEY = "offer-pipeline:checksums"
"""Metadata entry of a file with checksums; its value is 1."""

_MARK = b"OPSUMS01"
_MAGIC = b"PAR1"
_LINE = struct.Struct("<QQI")
_TRAILER = struct.Struct("<III8s")
_END = struct.Struct("<I4s")  # of the file: length of the footer, magic
_READ_BYTES = 1 << 20


class Group(NamedTuple):
    """A row group: the bytes from the end of the previous one to `end`.

    last_row  number of its last row in the file, from 1
    """

    end: int
    last_row: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Checksums:
    """The checksums of a file.

    digest  SHA-256 of all checksums, hexadecimal: files with equal digests have equal content
    """

    path: Path
    groups: tuple[Group, ...]
    digest: str

    def check(self, first: int, last: int, *, but: range = range(0)) -> range:
        """Check the row groups of rows `first` to `last`, from 1; return their numbers.

        but     groups to leave out, because they were just checked
        raises  DamagedError if a group does not match, OSError if it cannot be read
        """
        ends = [group.last_row for group in self.groups]
        end = min(bisect_right(ends, last - 1) + 1, len(ends))
        found = range(bisect_right(ends, first - 1), end)
        with self.path.open("rb", buffering=0) as file:
            for number in (each for each in found if each not in but):
                self._check_group(file, number)
        return found

    def check_all(self) -> None:
        """Check all row groups."""
        if self.groups:
            self.check(1, self.groups[-1].last_row)

    def _check_group(self, file: BinaryIO, number: int) -> None:
        before = self.groups[number - 1] if number else Group(0, 0, 0)
        group = self.groups[number]
        if _crc(file, before.end, group.end) != group.checksum:
            rows = f"rows {before.last_row + 1} to {group.last_row}"
            raise not_as_written(self.path, f"the checksum of its {rows} does not match")


def not_as_written(path: Path, what: str) -> DamagedError:
    """The error for a file that changed after it was written.

    >>> print(not_as_written(Path("a.parquet"), "its footer is cut off"))
    a.parquet is damaged: its footer is cut off. The disk or another program changed it
    """
    return DamagedError(f"{path} is damaged: {what}. The disk or another program changed it")


def add_checksums(path: Path) -> Checksums:
    """Add checksums to a Parquet file whose metadata contain `KEY`, and sync it.

    Raises OSError if the file cannot be written, ValueError if it is not Parquet.
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
    """Read the checksums of a file and check the footer; None if the file has none.

    Raises DamagedError if the checksums or the footer were changed, OSError if the file cannot be
    read. A file that is not Parquet has none.
    """
    with path.open("rb") as file:
        try:
            footer_at, tail = _tail(file)
        except ValueError:
            return None  # decoding it reports the error
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
    """Raise DamagedError unless the file at `path` has this digest.

    digest   empty for a file of an earlier version, which has no checksums: it is not compared
    returns  its checksums; no row is read or checked
    """
    try:
        found = read_checksums(path)
    except FileNotFoundError:
        raise DamagedError(f"{path} is gone") from None
    if digest and (found is None or found.digest != digest):
        raise not_as_written(path, "it is another file than the one that was written here")
    return found


def check_whole(path: Path, digest: str) -> None:
    """Check the digest and all row groups. Raises DamagedError."""
    if (found := check_is(path, digest)) is not None:
        found.check_all()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tail(file: BinaryIO) -> tuple[int, bytes]:
    """The start of the footer, and all bytes from there. Raises ValueError if it is not Parquet."""
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
    """CRC-32 of the bytes from `start` to `end`, or to the end of a shorter file."""
    checksum = 0
    file.seek(start)
    while start < end and (data := file.read(min(_READ_BYTES, end - start))):
        checksum = crc32(data, checksum)
        start += len(data)
    return checksum


def _groups(file: BinaryIO, footer_at: int, tail: bytes) -> Iterator[Group]:
    """The row groups in file order; bytes between two groups belong to the second."""
    found = list(_ends(tail))
    start = row = 0
    for number, (end, rows) in enumerate(found, 1):
        row += rows
        until = footer_at if number == len(found) else max(start, end)
        yield Group(until, row, _crc(file, start, until))
        start = until


_ROW_GROUPS, _COLUMNS, _ROWS, _OF_COLUMN = 4, 1, 3, 3
_BYTES, _DATA_AT, _DICTIONARY_AT = 7, 9, 11


def _ends(footer: bytes) -> Iterator[tuple[int, int]]:
    """The end and the number of rows of each row group in a footer."""
    reader = ThriftReader(footer)
    for _ in range(reader.enter(_ROW_GROUPS)):
        group = reader.struct({_COLUMNS, _ROWS})
        yield max(map(_end_of, group[_COLUMNS])), group[_ROWS]


def _end_of(column: Struct) -> int:
    meta = column[_OF_COLUMN]
    starts = [meta[at] for at in (_DATA_AT, _DICTIONARY_AT) if meta.get(at)]
    return int(min(starts) + meta[_BYTES])
