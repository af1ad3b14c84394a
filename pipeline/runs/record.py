"""Opens the record of a run and checks that none of its commits is missing.

The number of the last commit is noted in three places: in the mark beside the record and in its
witness in another folder (both after every commit), and in the registry of runs (when a process
begins and ends).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.store import LedgerError, RunLedger
from pipeline.store.commit_mark import commits_in
from pipeline.store.previous_states import FormerPreviousStates
from pipeline.store.seam import LostRecordError

LEDGER = "ledger.db"
BEFORES = "befores.db"
WITNESSES = "marks"


def witness_of(path: Path) -> Path:
    """Path of the witness of a record, outside the folder of its run.

    >>> witness_of(Path(".pipeline/runs/monday/ledger.db")).as_posix()
    '.pipeline/marks/monday-ledger.db'
    """
    return path.parent.parent.with_name(WITNESSES) / f"{path.parent.name}-{path.name}"


def open_record(folder: Path, commits: int = 0) -> RunLedger:
    """Open the ledger of the run in `folder`.

    commits  number of its last commit, as the registry knows it; 0: unknown

    Raises LostRecordError if a recorded commit is missing or damaged, RunAborted if the file cannot
    be used.
    """
    path = folder / LEDGER
    if not path.exists():
        raise _lost(folder, f"{path} is gone")
    try:
        return RunLedger(
            path,
            run=folder.name,
            witness=witness_of(path),
            at_least=commits,
            former=partial(_former_states, folder) if _has_former_states(folder) else None,
        )
    except LedgerError as error:
        raise _lost(folder, str(error)) from error


def _lost(folder: Path, why: str) -> LostRecordError:
    return LostRecordError(
        f"{why}. Nothing was sent. `pipeline runs {folder.name}` keeps the results that can still "
        "be read, and reports every other row as `unknown`, since it may have been sent"
    )


def _former_states(folder: Path) -> FormerPreviousStates:
    """Open the previous states that an earlier version recorded in a file of their own.

    Raises LedgerError if they are not complete, RunAborted if they cannot be used.
    """
    path = folder / BEFORES
    if not path.exists():
        raise LedgerError(f"{path} is gone: the previous states of the run are lost")
    return FormerPreviousStates(path, run=folder.name, witness=witness_of(path))


def _has_former_states(folder: Path) -> bool:
    path = folder / BEFORES
    return path.exists() or commits_in(witness_of(path)) > 0


def forget_witnesses(folder: Path) -> None:
    """Remove the witnesses of a run whose folder was removed."""
    for name in (LEDGER, BEFORES):
        witness_of(folder / name).unlink(missing_ok=True)
