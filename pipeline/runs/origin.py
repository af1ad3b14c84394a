"""Identity of the file that a run was sent from, to see whether it is still there unchanged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.model.object_path import ObjectPath


@dataclass(frozen=True, slots=True)
class Origin:
    """A file at a path and a time.

    path         absolute, with links in its folders resolved; of an object, its URL
    modified_ns  time of the last change of its content
    changed_ns   time of the last change of content, name or mode: a file that was moved away and
                 back counts as a new one
    etag         of an object, whose other numbers but the size are 0; empty for a file
    """

    path: str
    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int
    etag: str = ""

    @classmethod
    def of(cls, path: Path, found: os.stat_result) -> Origin:
        """From the result of `stat` of the file at `path`."""
        return cls(
            path=path_of(path),
            device=found.st_dev,
            inode=found.st_ino,
            size_bytes=found.st_size,
            modified_ns=found.st_mtime_ns,
            changed_ns=found.st_ctime_ns,
        )


def origin_of_object(path: ObjectPath, size_bytes: int, etag: str) -> Origin:
    """The object at this path with that content."""
    return Origin(str(path), 0, 0, size_bytes, 0, 0, etag)


def path_of(path: Path) -> str:
    """The absolute path of a file, as UTF-8 text whatever its name is."""
    where = str(Path(os.path.realpath(path.parent), path.name))
    return where.encode(errors="backslashreplace").decode()


def origin_of(path: Path) -> Origin | None:
    """The file at this path now; None if there is none."""
    try:
        return Origin.of(path, path.stat())
    except OSError:
        return None
