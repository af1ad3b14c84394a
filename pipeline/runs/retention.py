"""Removes old finished runs, and what interrupted preparations left."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Config
from pipeline.model import PipelineError, RunAborted, UsageError
from pipeline.runs.record import forget_witnesses
from pipeline.runs.registry import UNFINISHED, is_alive, is_simulated, lock_of, open_registry
from pipeline.runs.run_folder import is_stored
from pipeline.store import Run

TORN_AFTER = timedelta(days=1)
TIDY_EVERY = timedelta(hours=1)
"""With tens of thousands of runs on record, pruning costs a tenth of a short run."""

NAMED = 5
"""Old unfinished runs that a command about something else names."""

_RUN_FOLDER = re.compile(r"\d{8}T\d{6}Z-.+-[a-z]{4}")
_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system


class RemovedRun(NamedTuple):
    """A run that was removed or would be.

    is_torn  its preparation was interrupted: nothing of it was sent
    """

    name: str
    bytes: int
    is_torn: bool


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """The removed runs, and the old unfinished ones that stay until somebody resumes or removes
    them.
    """

    gone: tuple[RemovedRun, ...]
    unfinished: tuple[Run, ...]

    @property
    def bytes(self) -> int:
        """Bytes that were freed."""
        return sum(gone.bytes for gone in self.gone)


def prune(config: Config, *, older_than: timedelta, is_dry: bool = False) -> RetentionResult:
    """Remove finished runs that ended long ago, and interrupted preparations; reports stay.

    Unfinished runs and runs that a process works on stay. Raises RunAborted if files cannot be
    removed.
    """
    now = datetime.now(UTC)
    old = _older_than(config, now - older_than)
    is_open = {
        run.name: run.state in UNFINISHED and not is_simulated(config, run.name) for run in old
    }
    gone = [_removed_run(config, run, is_dry=is_dry) for run in old if not is_open[run.name]]
    gone += [_removed_torn(config, name, is_dry=is_dry) for name in _torn(config, now)]
    unfinished = (run for run in old if is_open[run.name] and not is_alive(config, run))
    return RetentionResult(tuple(filter(None, gone)), tuple(unfinished))


def remove(config: Config, name: str, *, is_dry: bool = False) -> RetentionResult:
    """Remove one run, finished or not, as `prune` does: its rows lose their position in time.

    Raises UsageError if there is no such run or a process works on it.
    """
    known = None
    if config.ledger.exists():  # a query creates no registry
        with open_registry(config) as runs:
            known = runs.get(name)
    if known is None:
        raise UsageError(f"there is no run {name}; `pipeline runs` lists those there are")
    gone = _removed_run(config, known, is_dry=is_dry)
    if gone is None:
        raise UsageError(f"a process works on run {name}: it stays")
    return RetentionResult((gone,), ())


def tidy(config: Config, tell: Callable[[str], None]) -> None:
    """Prune runs older than `keep_days`, at most once per TIDY_EVERY or when `keep_days` changed.

    Errors are reported and not raised.

    tell  called with text about removed runs, old unfinished runs and errors
    """
    now, limit = datetime.now(UTC), f"{config.keep_days}\n"
    tidied = config.ledger_folder / "tidied"
    try:
        if _was_tidied(tidied, limit, now):
            return
        pruned = prune(config, older_than=timedelta(days=config.keep_days))
        tidied.write_text(limit)
    except (PipelineError, OSError) as error:
        tell(f"Old runs could not be removed: {error}")
        return
    limit = f"keep_days = {config.keep_days}"
    if pruned.gone:
        tell(f"Removed from the record ({limit}; reports stay): {_named(pruned.gone)}")
    if pruned.unfinished:
        tell(f"Not finished, so they stay ({limit}): {_named(pruned.unfinished)}")


def _was_tidied(note: Path, limit: str, now: datetime) -> bool:
    """True if the runs were pruned by the same limit less than TIDY_EVERY ago."""
    try:
        age_s = now.timestamp() - note.stat().st_mtime
        return 0 <= age_s < TIDY_EVERY.total_seconds() and note.read_text() == limit
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _named(some: Sequence[RemovedRun | Run]) -> str:
    more = [f"and {len(some) - NAMED} more"] if len(some) > NAMED else []
    return ", ".join([*(each.name for each in some[:NAMED]), *more])


def _older_than(config: Config, moment: datetime) -> list[Run]:
    if not config.ledger.exists():  # a query creates no registry
        return []
    with open_registry(config) as runs:
        return runs.older_than(moment)


def _removed_run(config: Config, run: Run, *, is_dry: bool) -> RemovedRun | None:
    """Remove its folder, then its entry; None if a process works on it or has changed it."""
    size_bytes = 0
    with open_registry(config) as runs, ExitStack() as held:
        if (folder := config.ledger_folder / "runs" / run.name).is_dir():
            if not held.enter_context(lock_of(config, run.name)).acquire(wait=False):
                return None
            if runs.get(run.name) != run:
                return None
            size_bytes = _remove_folder(folder, is_dry=is_dry)
        if not is_dry:
            runs.forget(run.name)
    return RemovedRun(run.name, size_bytes, is_torn=False)


def _removed_torn(config: Config, name: str, *, is_dry: bool) -> RemovedRun | None:
    """Remove its folder; None if a process works on it."""
    with lock_of(config, name) as lock:
        if not lock.acquire(wait=False):
            return None
        return RemovedRun(
            name, _remove_folder(config.ledger_folder / "runs" / name, is_dry=is_dry), is_torn=True
        )


def _torn(config: Config, now: datetime) -> list[str]:
    """Folders of runs whose preparation was interrupted TORN_AFTER ago, oldest first."""
    base = config.ledger_folder / "runs"
    if not base.is_dir():
        return []
    with os.scandir(base) as entries:  # there may be tens of thousands
        names = {each.name for each in entries}
    if not config.ledger.exists():
        return sorted(name for name in names if _is_torn(base / name, now))
    with open_registry(config) as runs:
        found = sorted(name for name in names - runs.names() if _is_torn(base / name, now))
        known = {run.name for run in runs.all()} if found else set()  # `all` checks the rows
    return [name for name in found if name not in known]


def _is_torn(folder: Path, now: datetime) -> bool:
    """True if it is the folder of an interrupted preparation."""
    return (
        _RUN_FOLDER.fullmatch(folder.name) is not None
        and folder.is_dir()
        and not is_stored(folder)
        and folder.stat().st_mtime < (now - TORN_AFTER).timestamp()
    )


def _remove_folder(folder: Path, *, is_dry: bool) -> int:
    """Remove a folder unless `is_dry`. Returns its size in bytes."""
    try:
        size_bytes = sum(path.lstat().st_blocks * _BLOCK_BYTES for path in folder.rglob("*"))
        if not is_dry:
            shutil.rmtree(folder)
            forget_witnesses(folder)
    except OSError as error:
        raise RunAborted(f"{folder} cannot be removed: {error.strerror}") from error
    return size_bytes
