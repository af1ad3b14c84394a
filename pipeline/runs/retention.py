"""Removes old finished runs, and what interrupted preparations left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Config
from pipeline.model import PipelineError, UsageError
from pipeline.runs.registry import (
    UNFINISHED,
    is_alive,
    is_simulated,
    open_store,
    run_lease_of,
    workers_of,
)
from pipeline.runs.run_folder import is_stored
from pipeline.store import Run
from pipeline.store.seam import Files

TIDY_EVERY = timedelta(hours=1)
"""With tens of thousands of runs on record, pruning costs a tenth of a short run."""

NAMED = 5
"""Old unfinished runs that a command about something else names."""


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
    old = open_store(config).runs.older_than(now - older_than)
    is_open = {
        run.name: run.state in UNFINISHED and not is_simulated(config, run.name) for run in old
    }
    gone = [_removed_run(config, run, is_dry=is_dry) for run in old if not is_open[run.name]]
    gone += [_removed_torn(config, name, is_dry=is_dry) for name in open_store(config).torn()]
    unfinished = (run for run in old if is_open[run.name] and not is_alive(config, run))
    return RetentionResult(tuple(filter(None, gone)), tuple(unfinished))


def remove(config: Config, name: str, *, is_dry: bool = False) -> RetentionResult:
    """Remove one run, finished or not, as `prune` does: its rows lose their position in time.

    Raises UsageError if there is no such run or a process works on it.
    """
    known = open_store(config).runs.get(name)
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


def _removed_run(config: Config, run: Run, *, is_dry: bool) -> RemovedRun | None:
    """Remove its files, then its entry; None if a process works on it or has changed it."""
    store = open_store(config)
    files, size_bytes = store.files(run.name), 0
    with ExitStack() as held:
        if is_stored(files) or files.folder.is_dir():
            if not held.enter_context(run_lease_of(config, run.name)).take():
                return None
            if workers_of(config, run.name):
                return None
            if store.runs.get(run.name) != run:
                return None
            size_bytes = _remove(files, is_dry=is_dry)
        if not is_dry:
            store.runs.forget(run.name)
    return RemovedRun(run.name, size_bytes, is_torn=False)


def _removed_torn(config: Config, name: str, *, is_dry: bool) -> RemovedRun | None:
    """Remove its files; None if a process works on it, or has put it on record."""
    store = open_store(config)
    with run_lease_of(config, name) as lease:
        if not lease.take() or store.runs.get(name) is not None:
            return None
        size_bytes = _remove(store.files(name), is_dry=is_dry)
        return RemovedRun(name, size_bytes, is_torn=True)


def _remove(files: Files, *, is_dry: bool) -> int:
    """Remove the files of a run unless `is_dry`. Returns their size in bytes."""
    size_bytes = files.size_bytes()
    if not is_dry:
        files.remove()
    return size_bytes
