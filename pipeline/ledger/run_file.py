"""The results of one run in a plain file: a line each, in the order in which the rows ended.

They are read back in row order through an index that maps rows to places in the file. Both are
mapped, not loaded, so that memory does not grow with the run.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pydantic_core import from_json

from pipeline.model import RowResult, RunAborted, Status

_SLOT_BYTES = 8
_READ_BYTES = 1024 * 1024


class Ledger(Protocol):
    """The record of one run.

    Calls MUST NOT overlap. A row that `end` has returned for is on record.
    """

    def end(self, results: Sequence[RowResult]) -> None:
        """Put results on record: all of them or, where it raises RunAborted, none."""

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """The results with first <= row <= last in row order; every one, should a row have two."""

    def close(self) -> None:
        """Let go of files and locks; the record stays."""


class RunFile:
    """A ledger of one run in `path`, JSON lines, readable by the owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._index: _Index | None = None

    def end(self, results: Sequence[RowResult]) -> None:
        """Append a line per result, in one write. Raises RunAborted where the disk refuses."""
        self._drop_index()
        lines = "".join([json.dumps(result) + "\n" for result in results]).encode()
        whole_bytes = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._file, lines[written:])
        except OSError as error:
            with suppress(OSError):  # no half a line, to which the next would be glued
                os.ftruncate(self._file, whole_bytes)
            raise RunAborted(
                f"results cannot be written to {self._path}: {error.strerror}. "
                "Make room or mend the permissions"
            ) from error

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """Read back in row order."""
        if self._index is None:
            self._index = _Index(self._file, self._path.with_suffix(".index"))
        return map(_result, self._index.lines(first, last))

    def close(self) -> None:
        """Close the file; the index goes, the lines stay."""
        self._drop_index()
        os.close(self._file)

    def _drop_index(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _result(line: bytes) -> RowResult:
    row, operation, account, status, *rest = _values(line)
    return RowResult(row, operation, account, Status(status), *rest)


def _values(line: bytes) -> list[Any]:
    try:
        return list(from_json(line))
    except ValueError:  # half a surrogate pair in a vendor's words; the slower reader takes it
        return list(json.loads(line))


class _Index:
    """Where the line of each row starts: one slot a row, place + 1, 0 where there is none."""

    def __init__(self, file: int, path: Path) -> None:
        self._path = path
        self._extra: dict[int, list[int]] = {}
        size = os.fstat(file).st_size
        self._lines = mmap.mmap(file, size, prot=mmap.PROT_READ) if size else None
        self._slots_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._slots: mmap.mmap | None = None
        self._count = 0
        self._fill(file)

    def _fill(self, file: int) -> None:
        for row, place in _places(file):
            if row > self._count:
                self._grow(row)
            slots = self._view
            if slots[row - 1]:
                self._extra.setdefault(row, []).append(place)
            else:
                slots[row - 1] = place + 1

    def _grow(self, row: int) -> None:
        self._release()
        self._count = max(row, 2 * self._count, 4096)
        os.ftruncate(self._slots_file, self._count * _SLOT_BYTES)
        self._slots = mmap.mmap(self._slots_file, self._count * _SLOT_BYTES)
        self._view = memoryview(self._slots).cast("Q")

    def lines(self, first: int, last: int) -> Iterator[bytes]:
        lines = self._lines
        if lines is None:
            return
        extra = self._extra
        for row in range(first, min(last, self._count) + 1):
            place = self._view[row - 1]
            if place:
                yield lines[place - 1 : lines.find(b"\n", place)]
            if extra and row in extra:
                for again in extra[row]:
                    yield lines[again : lines.find(b"\n", again)]

    def _release(self) -> None:
        if self._slots is not None:
            self._view.release()
            self._slots.close()
            self._slots = None

    def close(self) -> None:
        self._release()
        if self._lines is not None:
            self._lines.close()
        os.close(self._slots_file)
        self._path.unlink(missing_ok=True)


def _places(file: int) -> Iterator[tuple[int, int]]:
    """(row, place of its line) for every whole line of the file."""
    rest, place, at = b"", 0, 0
    while chunk := os.pread(file, _READ_BYTES, at):
        at += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield int(line[1 : line.index(b",")]), place
            place += len(line) + 1
