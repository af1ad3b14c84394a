"""Reads the bytes of an input file once, hashes them, and unpacks gzip."""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.model import Fault, InputError

MAX_UNPACKED_BYTES = 64 << 30
"""Ten million rows of 6 KB. A larger snapshot could fill the disk."""
MAX_UNPACKED_RATIO = 400
"""Real tables pack 5 to 50 times, the same row again and again 200; deflate cannot exceed 1032."""
_FREE_UNPACKED_BYTES = 64 << 20  # below this the ratio is not checked
_GZIP = 16 + zlib.MAX_WBITS
NO_FILE = "is a pipe or device, not a file"
WRITE_FIRST = "Write it to a file first"


class Source:
    """An open input file. `sha256` and `size_bytes` cover the bytes read so far.

    A context manager. The constructor raises InputError unless the path is a readable file that is
    not empty.
    """

    def __init__(self, path: Path, *, chunk_bytes: int) -> None:
        self._path = path
        self._chunk_bytes = chunk_bytes
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self._file = _open(path)
        self._before = os.fstat(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes read so far."""
        return self._hash.hexdigest()

    @property
    def descriptor(self) -> int:
        """Descriptor of the open file, for a decoder; valid inside the context."""
        return self._file

    def head(self, most_bytes: int) -> bytes:
        """The first bytes; they do not count as read."""
        return os.pread(self._file, most_bytes, 0)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file. Raises InputError if the disk fails."""
        while True:
            try:
                chunk = os.read(self._file, self._chunk_bytes)
            except OSError as error:
                raise self._fault(f"cannot be read: {error.strerror}") from None
            if not chunk:
                return
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
            yield chunk

    def unpacked(self) -> Iterator[bytes]:
        """The unpacked bytes of a gzip file. Raises InputError if it is cut or broken.

        A file may have several members.
        """
        member = zlib.decompressobj(_GZIP)
        unpacked_bytes = 0
        for packed in self.chunks():
            rest = packed
            while rest:
                if member.eof:
                    rest = rest.lstrip(b"\0")  # padding of tapes, allowed after a member
                    if not rest:
                        break
                    member = zlib.decompressobj(_GZIP)
                try:
                    chunk = member.decompress(rest, self._chunk_bytes)
                except zlib.error as error:
                    raise self._broken_gzip(unpacked_bytes, str(error)) from None
                rest = member.unconsumed_tail or member.unused_data
                unpacked_bytes += len(chunk)
                check_expansion(str(self._path), self.size_bytes, unpacked_bytes, kind="gzip")
                yield chunk
        if not member.eof:
            raise self._fault(
                "the compressed stream is cut: its end is missing",
                todo="Copy the file again, and check with: gzip -t",
            )

    def check_is_unchanged(self) -> None:
        """Raise InputError if the file changed since it was opened."""
        after = os.fstat(self._file)
        if (after.st_size, after.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise self._fault(
                "the file changed while it was read",
                todo="Wait until it is complete; better, write it under another name and rename it",
            )

    def _broken_gzip(self, unpacked_bytes: int, reason: str) -> InputError:
        return self._fault(
            f"the compressed stream is broken after {unpacked_bytes} unpacked bytes "
            f"({reason.rpartition(': ')[2]})",
            todo="Copy the file again, and check with: gzip -t",
        )

    def _fault(
        self, what: str, *, expected: str | None = None, todo: str | None = None
    ) -> InputError:
        return InputError(Fault(what=what, file=str(self._path), expected=expected, todo=todo))


def check_expansion(file: str, packed_bytes: int, unpacked_bytes: int, *, kind: str) -> None:
    """Raise InputError if a file unpacks to more than any real table does."""
    most = max(_FREE_UNPACKED_BYTES, packed_bytes * MAX_UNPACKED_RATIO)
    if unpacked_bytes > min(most, MAX_UNPACKED_BYTES):
        what = f"{packed_bytes} bytes of {kind} unpack to more than {unpacked_bytes >> 20} MiB"
        expected = f"at most {MAX_UNPACKED_RATIO} times, and {MAX_UNPACKED_BYTES >> 30} GiB"
        todo = "If the file is correct, unpack it by hand"
        raise InputError(Fault(what=what, file=file, expected=expected, todo=todo))


def _open(path: Path) -> int:
    """A descriptor of a regular file that holds at least one byte."""
    try:
        # without O_NONBLOCK a named pipe would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _refused(path, "there is no such file") from None
    except PermissionError:
        raise _refused(path, "no permission to read it") from None
    except (OSError, ValueError) as error:
        raise _refused(path, f"cannot be opened: {error}") from None
    facts = os.fstat(descriptor)
    if stat.S_ISREG(facts.st_mode) and facts.st_size:
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(facts.st_mode):
        raise _refused(path, "is a folder, not a file")
    if not stat.S_ISREG(facts.st_mode):
        raise _refused(path, NO_FILE, WRITE_FIRST)
    raise _refused(
        path, "is empty: zero bytes", "Was the export cut off? Not even a header is there"
    )


def _refused(path: Path, what: str, todo: str | None = None) -> InputError:
    return InputError(Fault(what=what, file=str(path), todo=todo))
