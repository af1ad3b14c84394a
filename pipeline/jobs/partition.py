"""Partitions frames into temporary files by hash, so that equal rows can be processed together."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from zlib import crc32

import polars as pl

from pipeline.model import DamagedError

PART_ROWS = 250_000
"""Approximate number of rows held in memory at once."""

_PARTS_MOST = 256  # open files
_HEAD = struct.Struct("<QI")  # length and CRC-32 of what follows


class Partition:
    """Puts all rows with equal hashes into the same part.

    folder  for the temporary files; a single part stays in memory
    rows    approximate number of rows to add

    A context manager; leaving it removes the files. Raises OSError if the disk fails, DamagedError
    if a file does not hold what was written.
    """

    def __init__(self, folder: Path, rows: int, *, part_rows: int = PART_ROWS) -> None:
        self._folder = folder
        self._count = max(1, min(_PARTS_MOST, -(-rows // part_rows)))
        self._files: list[BinaryIO] = []
        self._held: list[pl.DataFrame] = []
        self._stack = ExitStack()

    def add(self, frame: pl.DataFrame, hashes: pl.Series) -> None:
        """Add rows, with a hash each. All frames have the same schema."""
        if self._count == 1:
            self._held.append(frame)
            return
        parts = (hashes % self._count).alias("part")
        spread = frame.hstack([parts]).partition_by("part", as_dict=True, include_key=False)
        for (part,), rows in spread.items():
            packed = io.BytesIO()
            rows.write_ipc_stream(packed)
            content = packed.getbuffer()
            self._files[part].write(_HEAD.pack(len(content), crc32(content)))
            self._files[part].write(content)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Each part that has rows, as one frame; rows in the order in which they were added."""
        if self._held:
            yield pl.concat(self._held)
        for file in self._files:
            if frames := list(_frames(file)):
                yield pl.concat(frames)

    def __enter__(self) -> Self:
        if self._count > 1:
            with ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder))
                self._files = [
                    stack.enter_context(Path(folder, str(part)).open("w+b"))
                    for part in range(self._count)
                ]
                self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _frames(file: BinaryIO) -> Iterator[pl.DataFrame]:
    file.seek(0)
    while head := file.read(_HEAD.size):
        length, checksum = _HEAD.unpack(head)
        content = file.read(length)
        if crc32(content) != checksum:
            raise DamagedError("rows in a temporary file are not what was written")
        yield pl.read_ipc_stream(content)
