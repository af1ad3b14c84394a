"""Files that appear whole or not at all, readable by their owner only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

LATEST = "latest"


def private_folder(folder: Path) -> None:
    """Make `folder` where it is missing, and close it to all but its owner."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def aside(path: Path) -> Path:
    """Where a file is written before it takes its name; hidden, in the same folder.

    >>> aside(Path("reports/r/success.csv")).as_posix()
    'reports/r/.success.csv.part'
    """
    return path.with_name(f".{path.name}.part")


@contextmanager
def removed_on_error(*paths: Path) -> Iterator[None]:
    """Leave none of `paths` behind where the block fails."""
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def publish(parts: Mapping[Path, Path]) -> None:
    """Give files that are on disk already their names, one by one: part -> name, in one folder."""
    for part, name in parts.items():
        part.replace(name)
    for folder in {name.parent for name in parts.values()}:
        sync_folder(folder)


def publish_text(path: Path, text: str, part: Path | None = None) -> None:
    """Write a small text file whole.

    part  where it is written first, in the same folder; needed where two processes may write it
    """
    part = aside(path) if part is None else part
    with removed_on_error(part):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - by descriptor
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        publish({part: path})


def withdraw(path: Path) -> None:
    """Remove a file, if it is there, for good."""
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Of the bytes on disk, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def point_latest(folder: Path) -> None:
    """Let the link `latest` beside `folder` name it."""
    link = folder.parent / LATEST
    part = folder.parent / f".{LATEST}.{folder.name}"
    with suppress(OSError):  # a convenience; the report is whole where a file system has no links
        part.unlink(missing_ok=True)
        part.symlink_to(folder.name, target_is_directory=True)
        try:
            part.replace(link)
        finally:
            part.unlink(missing_ok=True)
