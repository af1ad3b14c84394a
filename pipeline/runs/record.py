"""The record of a run in its folder, opened with what is known of it elsewhere.

How far it came is noted in three places: in the mark beside it, in its witness in another folder
(both after every commit), and in the file that runs share (when a process begins and ends).
"""

from __future__ import annotations

from pathlib import Path

from pipeline.store import LedgerError, RunLedger
from pipeline.store.commit_mark import commits_in
from pipeline.store.previous_states import PreviousStates

LEDGER = "ledger.db"
BEFORES = "befores.db"
WITNESSES = "marks"


class LostRecordError(LedgerError):
    """The record of a run is damaged, gone, or older than it was; it tells what can be done."""


def witness_of(path: Path) -> Path:
    """Where the last commit of a record is noted, outside of the folder of its run.

    >>> witness_of(Path(".pipeline/runs/monday/ledger.db")).as_posix()
    '.pipeline/marks/monday-ledger.db'
    """
    return path.parent.parent.with_name(WITNESSES) / f"{path.parent.name}-{path.name}"


def open_record(folder: Path, commits: int = 0) -> RunLedger:
    """The ledger of the run in `folder`.

    commits  number of the last one that is known from elsewhere

    Raises LostRecordError where not all that was recorded is there, RunAborted where the file
    cannot be used.
    """
    path = folder / LEDGER
    if not path.exists():
        raise _lost(folder, f"{path} is gone")
    try:
        return RunLedger(path, run=folder.name, witness=witness_of(path), at_least=commits)
    except LedgerError as error:
        raise _lost(folder, str(error)) from error


def _lost(folder: Path, why: str) -> LostRecordError:
    return LostRecordError(
        f"{why}. Nothing was sent on its word. `pipeline runs {folder.name}` keeps the results "
        "that can still be read, and reports every other row as `unknown`: it may have been sent"
    )


def open_befores(folder: Path) -> PreviousStates:
    """Where is kept what entities held before the run in `folder` wrote to them.

    Raises LedgerError where that is not all that was kept, RunAborted where it cannot be used.
    """
    path = folder / BEFORES
    if not path.exists() and commits_in(witness_of(path)):
        raise LedgerError(f"{path} is gone: nobody can tell what the rows of the run overwrote")
    return PreviousStates(path, run=folder.name, witness=witness_of(path))


def has_befores(folder: Path) -> bool:
    """Whether anything was kept there."""
    path = folder / BEFORES
    return path.exists() or commits_in(witness_of(path)) > 0


def forget_witnesses(folder: Path) -> None:
    """To be called once the folder of a run has been removed."""
    for name in (LEDGER, BEFORES):
        witness_of(folder / name).unlink(missing_ok=True)
