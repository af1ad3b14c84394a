"""Reads and checks the footer of a Parquet file before it is decoded.

The file is decoded from the descriptor that was hashed, so a path that changes meanwhile has no
effect. If polars panics on a footer, it decodes a copy of the file with a patched footer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from pipeline.loader.columns import (
    MAX_COLUMNS,
    MAX_RECORD_BYTES,
    check_names,
    is_unnamed,
    too_many_columns,
)
from pipeline.loader.parquet_footer import (
    END_BYTES,
    MAGIC,
    Footer,
    FooterError,
    TooManyColumnsError,
    chunks,
    key_values,
    read_footer,
)
from pipeline.loader.parquet_pages import are_pages_small
from pipeline.model import Fault, InputError
from pipeline.model.errors import shorten

_COPIED_BYTES = 1 << 20
_PADDING_READ_BYTES = 1 << 20
_ENCRYPTED = b"PARE"
_SURELY_TOO_LONG_BYTES = 4 * MAX_RECORD_BYTES
_MAX_CHUNKS = 20_000  # whose sizes are checked: half a second
AGAIN = "Write or copy the file again"


def descriptor_path(descriptor: int) -> Path:
    """A path under which this process can open the file of a descriptor."""
    return Path(f"/dev/fd/{descriptor}")


def footer_of(descriptor: int, file: str) -> Footer:
    """Read the footer. Raises InputError if it is missing or broken, or if a name is not allowed.

    file  name of the file, for messages
    """
    text = _footer_bytes(descriptor, file)
    try:
        footer = read_footer(text)
    except TooManyColumnsError as error:
        raise too_many_columns(error.count, [], file) from None
    except FooterError:
        raise _refused(file, "is not whole, or not Parquet: its footer cannot be read") from None
    names = [node.name for node in footer.columns]
    if len(names) > MAX_COLUMNS:
        raise too_many_columns(len(names), [shorten(name, most=30) for name in names[:5]], file)
    check_names(names, file)
    twice = [
        Fault(what=f"holds a struct with the member {shorten(node.twice)} twice", file=file,
              column=node.name, todo="Rename or drop one of them")
        for node in footer.columns
        if node.twice is not None and not is_unnamed(node.name)
    ]  # fmt: skip
    if twice:
        raise InputError(twice)
    return footer


def is_small(descriptor: int, file: str) -> bool:
    """True if decoding the file needs little memory, whatever it contains; False if unknown.

    Raises InputError as `footer_of` does.
    """
    return are_pages_small(descriptor, _footer_bytes(descriptor, file))


def check_stated_sizes(descriptor: int, footer: Footer, read: Collection[str], file: str) -> None:
    """Raise InputError if a column's stated size means that one of its cells is too long.

    A decoder would use several times that memory before the cell can be checked. Cells may be
    shorter than the mean, because page headers count and some writers repeat the longest value in
    them twice. So every cell is checked again after decoding. A footer without sizes passes.

    read  names of the columns that are decoded
    """
    names = [node.name for node in footer.columns for _ in node.leaves]
    with suppress(FooterError, IndexError):  # the decoder reports the fault
        for chunk in islice(chunks(_footer_bytes(descriptor, file)), _MAX_CHUNKS):
            mean_bytes = chunk.unpacked_bytes // max(1, chunk.values)
            if mean_bytes > _SURELY_TOO_LONG_BYTES and names[chunk.leaf] in read:
                what = f"cells of {mean_bytes} bytes on average in one row group"
                most = f"at most {MAX_RECORD_BYTES >> 20} MiB each"
                fault = Fault(what=what, file=file, column=names[chunk.leaf], expected=most)
                raise InputError([fault])


def stored_texts(path: Path, key: str) -> dict[str, str]:
    """The key-value pairs in the footer of any file; empty if `key` is not among them.

    Decodes no data and reports no faults. Raises OSError.
    """
    with path.open("rb") as file:
        try:
            text = _footer_bytes(file.fileno(), str(path))
            return key_values(text) if key.encode() in text else {}
        except (InputError, FooterError):
            return {}  # ingesting the file reports the fault


@contextmanager
def decodable(descriptor: int, footer: Footer, folder: Path) -> Iterator[int]:
    """A descriptor that polars can decode: of the file, or of a temporary copy in `folder`.

    Raises OSError if the copy cannot be written.
    """
    if not footer.patches:
        yield descriptor
        return
    size_bytes = os.fstat(descriptor).st_size
    start = size_bytes - END_BYTES - _footer_size(descriptor, size_bytes)
    with tempfile.TemporaryFile(dir=folder) as copy:
        at = 0
        while chunk := os.pread(descriptor, _COPIED_BYTES, at):
            copy.write(chunk)
            at += len(chunk)
        copy.flush()
        for patch in footer.patches:
            os.pwrite(copy.fileno(), patch.new, start + patch.at)
        yield copy.fileno()


def _footer_bytes(descriptor: int, file: str) -> bytes:
    size_bytes = os.fstat(descriptor).st_size
    end = os.pread(descriptor, END_BYTES, max(0, size_bytes - END_BYTES))
    if end.endswith(_ENCRYPTED):
        raise _refused(file, "is encrypted", "Write it without encryption")
    if not end.endswith(MAGIC):
        raise _without_end(descriptor, size_bytes, file)
    footer_bytes = _footer_size(descriptor, size_bytes)
    start = size_bytes - END_BYTES - footer_bytes
    if start < len(MAGIC):
        raise _refused(file, "is not whole, or not Parquet: its footer is longer than the file")
    return os.pread(descriptor, footer_bytes, start)


def _footer_size(descriptor: int, size_bytes: int) -> int:
    return int.from_bytes(os.pread(descriptor, 4, size_bytes - END_BYTES), "little")


def _without_end(descriptor: int, size_bytes: int, file: str) -> InputError:
    tail = os.pread(descriptor, _PADDING_READ_BYTES, max(0, size_bytes - _PADDING_READ_BYTES))
    if padding_bytes := len(tail) - len(tail.rstrip(b"\0")):
        least = "at least " if padding_bytes == len(tail) else ""
        return _refused(
            file,
            f"is not whole: it ends in {least}{padding_bytes} NUL bytes",
            "Was it cut, or its space reserved and never written? Copy or upload it again",
        )
    return _refused(file, "is not whole, or not Parquet: its end is missing")


def _refused(file: str, what: str, todo: str = AGAIN) -> InputError:
    return InputError(Fault(what=what, file=file, todo=todo))
