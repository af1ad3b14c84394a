"""What lies in a drop folder: files that may be sent, and what cannot be looked into."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.watch.folders import MOST_LEVELS, opened, owner_of, seen
from pipeline.watch.notes import FileIdentity
from pipeline.watch.settling import MARKER, ObservedFile, is_candidate, is_hidden


class FolderScan:
    """One look through a drop folder.

    is_left_out  whether a folder is none of its business
    troubles     what could not be looked into, and why, once `looks` is through
    """

    def __init__(self, inputs: Path, *, is_left_out: Callable[[Path], bool]) -> None:
        self._inputs = inputs
        self._is_left_out = is_left_out
        self.troubles: dict[Path, str] = {}

    def looks(
        self, folder: int, path: Path | None = None, depth: int = 0
    ) -> Iterator[ObservedFile]:
        """Files that are to be sent, complete or not, below an open folder.

        path  of the folder; None: the drop folder itself
        """
        here = self._inputs if path is None else path
        folders = []
        try:
            entries = self._entries(folder)
        except OSError as error:
            self.troubles[here] = f"{here} cannot be read: {error.strerror}"
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
        if depth == MOST_LEVELS:
            self.troubles[path] = f"{path} is not looked into: it lies too deep"
            return
        try:
            with opened(name, at=folder) as inside:
                yield from self.looks(inside, path, depth + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            found = seen(name, at=folder)
            whose = "" if found is None else f". The folder belongs to {owner_of(found)}"
            self.troubles[path] = f"{path} cannot be looked into: {error.strerror}{whose}"

    def _note_link(self, folder: int, name: str, path: Path) -> None:
        with suppress(OSError):  # it leads nowhere
            if stat.S_ISDIR(os.stat(name, dir_fd=folder).st_mode):
                self.troubles[path] = (
                    f"{path} is a link to a folder and is not looked into: whoever may write to "
                    "the drop folder could make it lead anywhere. Make it a folder"
                )
