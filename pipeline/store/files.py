"""Files that appear whole or not at all, and stay through a loss of power.

A file is written aside, in the same folder, brought to the disk, and renamed; then the folder is
brought to the disk as well, for a name is part of its folder. Files in a drop folder are written by
descriptor instead; see `watch/folders.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path


def aside(path: Path) -> Path:
    """Where a file is written before it takes its name; hidden, in the same folder.

    >>> aside(Path("reports/r/success.csv")).as_posix()
    'reports/r/.success.csv.part'
    """
    return path.with_name(f".{path.name}.part")


def atomic_write(path: Path, data: bytes, *, part: Path | None = None) -> None:
    """Replace a file by `data`, whole or not at all, readable by its owner only.

    part  where it is written first, in the same folder; None: `aside(path)`. Two processes that
          may write the same file at once each need their own

    Raises OSError, and leaves the file as it was then; a link in place of `part` is not followed.
    After an error of the last step, `sync_folder`, the new file may be there already.
    """
    part = aside(path) if part is None else part
    with removed_on_error(part):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # what a process left here that was killed keeps its mode
            file.write(data)
            sync_file(file)
        publish({part: path})


@contextmanager
def removed_on_error(*paths: Path) -> Iterator[None]:
    """Leave none of `paths` behind if the block fails, as far as the disk allows."""
    try:
        yield
    except BaseException:
        for path in paths:
            with suppress(OSError):  # what the block met is the error to be told
                path.unlink(missing_ok=True)
        raise


def publish(parts: Mapping[Path, Path]) -> None:
    """Give files that are on the disk already their names, one by one: part -> name.

    Each part is in the folder of its name. Raises OSError.
    """
    for part, name in parts.items():
        part.replace(name)
    for folder in {name.parent for name in parts.values()}:
        sync_folder(folder)


def sync_file(file: BufferedIOBase) -> None:
    """Bring to the disk what was written to an open file. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
