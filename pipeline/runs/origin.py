"""Which file a run was sent from: whether it still lies there, untouched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Origin:
    """A file as it lay somewhere.

    path  absolute, links in its folders resolved
    modified_ns, changed_ns  when its content was last changed; when anything of it was, its name
                             included: a file that was moved away and back counts as a new one
    """

    path: str
    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path, found: os.stat_result) -> Origin:
        """From what the operating system tells of the file at `path`."""
        return cls(
            path=path_of(path),
            device=found.st_dev,
            inode=found.st_ino,
            size_bytes=found.st_size,
            modified_ns=found.st_mtime_ns,
            changed_ns=found.st_ctime_ns,
        )


def path_of(path: Path) -> str:
    """Where a file lies, absolute, as text that is UTF-8 whatever its name is."""
    where = str(Path(os.path.realpath(path.parent), path.name))
    return where.encode(errors="backslashreplace").decode()


def origin_of(path: Path) -> Origin | None:
    """The file at this path as it is now; None where there is none."""
    try:
        return Origin.of(path, path.stat())
    except OSError:
        return None
