"""Writes files that appear whole or not at all, and survive a loss of power.

A file is written under a temporary name in the same folder, synced, and renamed. Then the folder is
synced, because a name is part of its folder. Files in a drop folder are written by descriptor
instead; see `watch/folders.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path


def aside(path: Path) -> Path:
    """The temporary, hidden name of a file while it is written.

    >>> aside(Path("reports/r/success.csv")).as_posix()
    'reports/r/.success.csv.part'
    """
    return path.with_name(f".{path.name}.part")


def atomic_write(path: Path, data: bytes, *, part: Path | None = None) -> None:
    """Replace a file with `data`, whole or not at all, readable by its owner only.

    part  temporary name, in the same folder; None uses `aside(path)`. Processes that may write the
          same file at once each need their own

    Raises OSError, and leaves the file unchanged. A link in place of `part` is not followed. If the
    last step, `sync_folder`, fails, the new file may already be in place.
    """
    part = aside(path) if part is None else part
    with removed_on_error(part):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a leftover of a killed process keeps its mode
            file.write(data)
            sync_file(file)
        publish({part: path})


@contextmanager
def removed_on_error(*paths: Path) -> Iterator[None]:
    """Remove `paths` if the block fails, as far as the disk allows."""
    try:
        yield
    except BaseException:
        for path in paths:
            with suppress(OSError):  # the error of the block is the one to report
                path.unlink(missing_ok=True)
        raise


def publish(parts: Mapping[Path, Path]) -> None:
    """Rename synced files, one by one, and sync their folders. Raises OSError.

    parts  temporary name -> final name, in the same folder
    """
    for part, name in parts.items():
        part.replace(name)
    for folder in {name.parent for name in parts.values()}:
        sync_folder(folder)


def sync_file(file: BufferedIOBase) -> None:
    """Flush and sync an open file. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
