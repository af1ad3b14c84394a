"""The folders that a watcher depends on: the drop folder, the ledger's folder, the reports.

Only a fault of these stops a watcher. Any other fault concerns one file, and the others continue.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeline.config import Config
from pipeline.model import RunAborted
from pipeline.runs import open_registry
from pipeline.watch.claims import Drops


class KnownFolders:
    """The folders of a configuration, compared with how they were at first."""

    def __init__(self, drops: Drops, config: Config) -> None:
        self._drops = drops
        self._config = config
        self._ledger: os.stat_result | None = None

    def check(self) -> None:
        """Raise RunAborted if one of them was removed or replaced while in use."""
        self._drops.check()
        if not self._drops.lock.is_in_place():
            raise _gone(self._config.ledger_folder)
        now = _stat(self._config.ledger)
        if self._ledger is not None and (now is None or not os.path.samestat(self._ledger, now)):
            raise _gone(self._config.ledger)
        self._ledger = now

    def fault(self) -> str:
        """Why no run can be recorded, whatever the file; empty if it can."""
        folder = self._config.ledger_folder
        if not folder.is_dir():
            return f"{folder} is gone"
        for each in (folder, folder / "runs", self._config.reports):
            try:
                each.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=each) as file:
                    file.write(b"x")
            except OSError as error:
                return f"{each} cannot be written to: {error.strerror}"
        return self._fault_of_ledger()

    def _fault_of_ledger(self) -> str:
        try:
            if self._config.ledger.exists():
                with open_registry(self._config) as runs:
                    runs.all(most=1)
        except RunAborted as error:
            return str(error)
        return ""


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _gone(path: Path) -> RunAborted:
    return RunAborted(
        f"{path} was removed or replaced while it was in use: nothing more is sent, because it "
        "could not be recorded. Restore it, then start again"
    )
