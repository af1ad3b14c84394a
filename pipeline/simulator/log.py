"""The request log: JSON lines in a file that can be read while it grows."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

_COMPACT = json.JSONEncoder(separators=(",", ":"))
_BLOCK_BYTES = 256 * 1024


class RequestLog:
    """Lines in order of completion. Memory does not grow with them.

    path       the file, replaced if it exists; None: an unnamed file that ends with the process
    max_bytes  size of the file; further lines are dropped
    lines      lines in the file
    dropped    lines beyond `max_bytes`, or that the disk refused

    Raises OSError if the file cannot be created.
    """

    def __init__(self, path: Path | None, max_bytes: int) -> None:
        made = path.open("w+b") if path else tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by close()
        self._file = cast("BinaryIO", made)
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self.lines = 0
        self.dropped = 0

    def append(self, entry: dict[str, Any]) -> None:
        """Add one line."""
        line = _COMPACT.encode(entry).encode() + b"\n"
        if self._size_bytes + len(line) > self._max_bytes:
            self.dropped += 1
            return
        try:
            self._file.write(line)
        except OSError:
            self.dropped += 1
            return
        self._size_bytes += len(line)
        self.lines += 1

    def flush(self) -> None:
        """Hand buffered lines to the operating system."""
        with contextlib.suppress(OSError):
            self._file.flush()

    def read(self, offset: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """Yield the current lines, without line ends, from line `offset` (the first is 0) on."""
        self.flush()
        lines = self._lines(self._size_bytes)
        for number, line in enumerate(lines):
            if limit is not None and number >= offset + limit:
                return
            if number >= offset:
                yield line

    def _lines(self, end_bytes: int) -> Iterator[bytes]:
        # pread does not move the writer's position, and works for a file without a name
        descriptor, place, rest = self._file.fileno(), 0, b""
        while place < end_bytes:
            block = os.pread(descriptor, min(_BLOCK_BYTES, end_bytes - place), place)
            if not block:
                return
            place += len(block)
            *whole, rest = (rest + block).split(b"\n")
            yield from whole

    def reset(self) -> None:
        """Forget all lines."""
        self.flush()
        self._file.seek(0)
        self._file.truncate()
        self._size_bytes = self.lines = self.dropped = 0

    def close(self) -> None:
        """Close the file; a file without a name is then gone."""
        with contextlib.suppress(OSError):
            self._file.close()
