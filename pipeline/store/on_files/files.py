"""The files of a run, in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.model import DamagedError, RunAborted
from pipeline.store.files import sync_folder
from pipeline.store.on_files.records import witnesses_of

DESCRIPTION = "run.json"  # the last file of a preparation
UNSENT = "unsent"
"""A file in the folder of a new run until its record is opened to record: nothing was sent while it
is there, whatever became of the registry.
"""

_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system


def may_send(folder: Path) -> None:
    """Note for ever that something of the run may be sent now. Raises RunAborted.

    The folder is synced although the file is gone: who removed it may have died before it did so.
    """
    path = folder / UNSENT
    try:
        path.unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise RunAborted(f"{path} cannot be removed: {error.strerror}") from error


class FolderFiles:
    """The files of one run: they are kept where they are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self._folder

    def make_folder(self) -> Path:
        """Make the folder, readable by its owner only."""
        try:
            self._folder.mkdir(mode=0o700, parents=True)
            (self._folder / UNSENT).touch(mode=0o600)
        except OSError as error:
            raise RunAborted(
                f"{self._folder} cannot be made: {error.strerror}. Fix its permissions, or set "
                "`ledger`"
            ) from error
        return self._folder

    def names(self) -> list[str]:
        """The names of all files in the folder."""
        return sorted(path.name for path in self._folder.glob("*") if path.is_file())

    def has(self, name: str) -> bool:
        """True if the file exists."""
        return (self._folder / name).exists()

    def put(self, path: Path) -> None:
        """Keep a file, which was synced where it was written."""
        if path.parent != self._folder:
            raise ValueError(f"{path} is not in {self._folder}")

    def fetch(self, name: str) -> Path:
        """Path of the file itself."""
        path = self._folder / name
        try:
            path.stat()
        except FileNotFoundError:
            raise DamagedError(f"{path} is gone") from None
        except OSError as error:
            raise RunAborted(f"{path} cannot be read: {error.strerror}") from error
        return path

    def size_bytes(self) -> int:
        """Disk space of everything in the folder."""
        try:
            paths = self._folder.rglob("*")
            return sum(path.lstat().st_blocks * _BLOCK_BYTES for path in paths)
        except OSError as error:
            raise self._stays(error) from error

    def remove(self) -> None:
        """Remove the folder, and then the witnesses of the records in it."""
        witnesses = witnesses_of(self._folder)
        try:
            if self._folder.exists():
                (self._folder / DESCRIPTION).unlink(missing_ok=True)  # what a kill leaves is torn
                shutil.rmtree(self._folder)
            for witness in witnesses:
                witness.unlink(missing_ok=True)
        except OSError as error:
            raise self._stays(error) from error

    def _stays(self, error: OSError) -> RunAborted:
        return RunAborted(f"{self._folder} cannot be removed: {error.strerror}")
