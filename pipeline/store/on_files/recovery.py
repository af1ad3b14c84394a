"""Makes a new record of a run on files from what is left of the old one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from pipeline.model import RowResult, RunAborted
from pipeline.store.commit_mark import commits_in, mark_of
from pipeline.store.files import publish
from pipeline.store.on_files.records import LEDGER, share_record_of, witness_of
from pipeline.store.run_ledger import RunLedger, sound_previous_states, sound_results
from pipeline.store.seam import Share


class FileRecovery:
    """What is left of the records of a run and its shares, and the new record.

    paths  of the old records, which may be gone
    """

    def __init__(self, run: str, paths: Sequence[Path], ledger: RunLedger) -> None:
        self._run = run
        self._paths = [path for path in paths if path.exists()]
        self.ledger = ledger

    def results(self) -> Iterator[RowResult]:
        """The intact results."""
        return chain.from_iterable(sound_results(path, self._run) for path in self._paths)

    def previous_states(self) -> Iterator[tuple[int, str]]:
        """The intact previous states."""
        return chain.from_iterable(sound_previous_states(path, self._run) for path in self._paths)


@contextmanager
def recovery(folder: Path, shares: Sequence[Share], commits: int) -> Iterator[FileRecovery]:
    """As `Store.recovery`; the old files are copied to `lost-<time>/`."""
    path, run = folder / LEDGER, folder.name
    aside = path.with_name(f"{LEDGER}.new")
    others = [share_record_of(folder, share) for share in shares]
    try:
        _remove(aside)
        known = max(commits, commits_in(mark_of(path)), commits_in(witness_of(path)))
        with RunLedger.create(aside, run=run) as ledger:
            yield FileRecovery(run, (path, *others), ledger)
            ledger.go_on_after(known)
        _keep_copies((path, *others))
        for each in (path.with_name(f"{LEDGER}-wal"), path.with_name(f"{LEDGER}-shm")):
            each.unlink(missing_ok=True)
        witness_of(path).unlink(missing_ok=True)
        publish({mark_of(aside): mark_of(path), aside: path})
        for each in others:
            _remove(each)
            witness_of(each).unlink(missing_ok=True)
    except OSError as error:
        raise RunAborted(f"{path} cannot be replaced: {error}") from error


def _keep_copies(paths: Iterable[Path]) -> None:
    """Copy the old files to `lost-<time>/`, for an examination."""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for path in paths:
        folder = path.with_name(f"lost-{now}")
        for old in (path, path.with_name(f"{path.name}-wal"), mark_of(path)):
            if old.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                shutil.copy2(old, folder / old.name)


def _remove(path: Path) -> None:
    for each in (
        path,
        mark_of(path),
        *(path.with_name(f"{path.name}-{x}") for x in ("wal", "shm")),
    ):
        each.unlink(missing_ok=True)
