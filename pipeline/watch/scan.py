"""Scans a drop folder for files to send, and for folders that cannot be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath

from pipeline.model.file_names import is_hidden
from pipeline.watch.folders import MAX_LEVELS, opened, owner_of, stat_of
from pipeline.watch.notes import FileIdentity
from pipeline.watch.settling import MARKER, ObservedFile, is_candidate


class FolderScan:
    """One scan of a drop folder.

    is_left_out  returns whether a folder is to be skipped
    problems     paths that could not be read, with the reason; complete once `files` has ended
    """

    def __init__(self, inputs: Path, *, is_left_out: Callable[[Path], bool]) -> None:
        self._inputs = inputs
        self._is_left_out = is_left_out
        self.problems: dict[PurePath, str] = {}

    def files(
        self, folder: int, path: Path | None = None, depth: int = 0
    ) -> Iterator[ObservedFile]:
        """Yield the files to send, complete or not, below an open folder.

        path  of the folder; None: the drop folder itself
        """
        here = self._inputs if path is None else path
        folders = []
        try:
            entries = self._entries(folder)
        except OSError as error:
            self.problems[here] = f"{here} cannot be read: {error.strerror}"
            return
        for name, found in entries.items():
            if is_hidden(name):
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(name)
            elif is_candidate(name):
                version = FileIdentity.of(found)
                yield ObservedFile(
                    here / name, version, found.st_ctime_ns, is_marked=f"{name}{MARKER}" in entries
                )
            elif stat.S_ISLNK(found.st_mode):
                self._note_link(folder, name, here / name)
        for name in sorted(folders):
            yield from self._inside(folder, name, here / name, depth)

    def _entries(self, folder: int) -> dict[str, os.stat_result]:
        found = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # gone meanwhile
                    found[entry.name] = entry.stat(follow_symlinks=False)
        return found

    def _inside(self, folder: int, name: str, path: Path, depth: int) -> Iterator[ObservedFile]:
        if self._is_left_out(path):
            return
        if depth == MAX_LEVELS:
            self.problems[path] = f"{path} is not scanned: it is nested too deeply"
            return
        try:
            with opened(name, at=folder) as inside:
                yield from self.files(inside, path, depth + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            found = stat_of(name, at=folder)
            whose = "" if found is None else f". The folder belongs to {owner_of(found)}"
            self.problems[path] = f"{path} cannot be scanned: {error.strerror}{whose}"

    def _note_link(self, folder: int, name: str, path: Path) -> None:
        with suppress(OSError):  # it leads nowhere
            if stat.S_ISDIR(os.stat(name, dir_fd=folder).st_mode):
                self.problems[path] = (
                    f"{path} is a link to a folder and is not followed: whoever may write to the "
                    "drop folder could make it lead anywhere. Make it a folder"
                )
