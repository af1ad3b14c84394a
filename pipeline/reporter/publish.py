"""The folder of a report, and the link to the latest report."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pipeline.store.files import sync_folder

LATEST = "latest"


def private_folder(folder: Path) -> None:
    """Create `folder` if it is missing, and let only its owner read it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def remove(path: Path) -> None:
    """Remove a file, if it exists, and sync its folder."""
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def point_latest(folder: Path) -> None:
    """Point the link `latest` beside `folder` to it."""
    link = folder.parent / LATEST
    part = folder.parent / f".{LATEST}.{folder.name}"
    with suppress(OSError):  # a convenience: some file systems have no links
        part.unlink(missing_ok=True)
        part.symlink_to(folder.name, target_is_directory=True)
        try:
            part.replace(link)
        finally:
            part.unlink(missing_ok=True)
