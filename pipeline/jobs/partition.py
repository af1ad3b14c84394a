"""Frames spread over files by a hash: what is equal is looked at together in little memory.

Knows nothing of what stands in the frames.
"""

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
"""Rows that are held in memory at once, about."""

_PARTS_MOST = 256  # as many files are open at once
_HEAD = struct.Struct("<QI")  # length and CRC-32 of what follows


class Partition:
    """Rows with equal hashes, whichever frames they came in, in one part.

    folder  where the files stand until the block is left; a single part stays in memory
    rows    that will come, about

    A context manager. Raises OSError where the disk refuses, DamagedError where it does not give
    back what was written.
    """

    def __init__(self, folder: Path, rows: int, *, part_rows: int = PART_ROWS) -> None:
        self._folder = folder
        self._count = max(1, min(_PARTS_MOST, -(-rows // part_rows)))
        self._files: list[BinaryIO] = []
        self._held: list[pl.DataFrame] = []
        self._stack = ExitStack()

    def add(self, frame: pl.DataFrame, hashes: pl.Series) -> None:
        """More rows, with a hash each; all frames are of one schema."""
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
        """Each part that has rows, as one frame; rows in the order in which they came."""
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
            raise DamagedError(
                "rows that were put aside in a temporary file are not what was written"
            )
        yield pl.read_ipc_stream(content)
