"""The folder of a report, and the link to the latest one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pipeline.store.files import sync_folder

LATEST = "latest"


def private_folder(folder: Path) -> None:
    """Make `folder` where it is missing, and close it to all but its owner."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def withdraw(path: Path) -> None:
    """Remove a file, if it is there, for good."""
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


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
