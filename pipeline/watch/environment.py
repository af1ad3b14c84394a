"""The folders that a watcher depends on: the drop folder, the ledger's folder, the reports.

Only a fault of these stops a watcher. Any other fault concerns one file, and the others continue.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.config import Config
from pipeline.model import RunAborted
from pipeline.run.reports_bucket import check_deliverable
from pipeline.runs import STATES, open_store
from pipeline.watch.drop_place import DropPlace


class KnownFolders:
    """The folders of a configuration, compared with how they were at first."""

    def __init__(self, drops: DropPlace, config: Config) -> None:
        self._drops = drops
        self._config = config
        self._read = config.content

    def news(self) -> str:
        """That the configuration's file changed since it was read or last asked about, for people;
        empty if it did not.
        """
        now = _content(self._config.file)
        if now is None or now == self._read:
            return ""
        self._read = now
        return (
            f"{self._config.file} changed. This process goes on with what it read when it started: "
            "restart it to use the change"
        )

    def check(self) -> None:
        """Raise RunAborted if one of them was removed or replaced while in use."""
        self._drops.check()
        if not self._drops.lock.is_in_place():
            raise _gone(self._config.ledger_folder)
        open_store(self._config).check()

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
        return self._fault_of_ledger() or self._fault_of_reports()

    def _fault_of_reports(self) -> str:
        try:
            check_deliverable(self._config)
        except RunAborted as error:
            return str(error)
        return ""

    def _fault_of_ledger(self) -> str:
        try:
            open_store(self._config).runs.all(states=STATES, most=1)
        except RunAborted as error:
            return str(error)
        return ""


def _content(path: Path | None) -> bytes | None:
    """The content of a file; None if there is none, or none at this moment."""
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None


def _gone(path: Path) -> RunAborted:
    return RunAborted(
        f"{path} was removed or replaced while it was in use: nothing more is sent, because it "
        "could not be recorded. Restore it, then start again"
    )
