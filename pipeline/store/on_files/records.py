"""Opens the record of a run and checks that none of its commits is missing.

The number of the last commit is noted in three places: in the mark beside the record and in its
witness in another folder (both after every commit), and in the registry of runs (when a process
begins and ends).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipeline.store.commit_mark import commits_in, mark_of
from pipeline.store.contract import LedgerError
from pipeline.store.database import ledger_errors
from pipeline.store.files import publish
from pipeline.store.previous_states import FormerPreviousStates
from pipeline.store.run_ledger import RunLedger
from pipeline.store.seam import LostRecordError, Share

LEDGER = "ledger.db"
BEFORES = "befores.db"
WITNESSES = "marks"


def witness_of(path: Path) -> Path:
    """Path of the witness of a record, outside the folder of its run.

    >>> witness_of(Path(".pipeline/runs/monday/ledger.db")).as_posix()
    '.pipeline/marks/monday-ledger.db'
    """
    return path.parent.parent.with_name(WITNESSES) / f"{path.parent.name}-{path.name}"


def open_record(
    folder: Path, commits: int = 0, *, may_record: Callable[[], None] = lambda: None
) -> RunLedger:
    """Open the ledger of the run in `folder`.

    commits     number of its last commit, as the registry knows it; 0: unknown
    may_record  called before each commit of rows; it raises if they must not be recorded

    Raises LostRecordError if a recorded commit is missing or damaged, RunAborted if the file cannot
    be used.
    """
    path = folder / LEDGER
    if not path.exists():
        raise LostRecordError.of(folder.name, f"{path} is gone. Nothing was sent")
    try:
        return RunLedger(
            path,
            run=folder.name,
            witness=witness_of(path),
            at_least=commits,
            former=partial(_former_states, folder) if _has_former_states(folder) else None,
            may_record=may_record,
        )
    except LedgerError as error:
        raise LostRecordError.of(folder.name, f"{error}. Nothing was sent") from error


def open_share_record(
    folder: Path, share: Share, *, may_record: Callable[[], None] = lambda: None
) -> RunLedger:
    """Open the ledger of a share of the run in `folder`; it is created if there was none.

    Raises as `open_record` does.
    """
    path = share_record_of(folder, share)
    try:
        if not path.exists() and not commits_in(witness_of(path)):
            _create_share_record(path, folder.name)
        elif not path.exists():
            raise LostRecordError.of(folder.name, f"{path} is gone. Nothing was sent")
        witness = witness_of(path)
        return RunLedger(path, run=folder.name, witness=witness, may_record=may_record)
    except LostRecordError:
        raise
    except LedgerError as error:
        raise LostRecordError.of(folder.name, f"{error}. Nothing was sent") from error


def _create_share_record(path: Path, run: str) -> None:
    """Create it whole or not at all: others may look for it meanwhile, or this process be killed.

    Raises RunAborted.
    """
    aside = path.with_name(f"{path.name}.new")
    with ledger_errors(path):
        for part in ("", "-wal", "-shm", "-mark"):
            aside.with_name(f"{aside.name}{part}").unlink(missing_ok=True)
        RunLedger.create(aside, run=run).close()
        publish({mark_of(aside): mark_of(path), aside: path})


def share_record_of(folder: Path, share: Share) -> Path:
    """Path of the ledger of a share.

    >>> share_record_of(Path("runs/monday"), Share("shop", 0, 4)).as_posix()
    'runs/monday/ledger-shop-1.db'
    """
    return folder / f"ledger-{share.account}-{share.number + 1}.db"


def has_share_record(folder: Path, share: Share) -> bool:
    """True if something of the share was recorded, although it may be lost."""
    path = share_record_of(folder, share)
    return path.exists() or commits_in(witness_of(path)) > 0


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


def witnesses_of(folder: Path) -> list[Path]:
    """The witnesses of the records in the folder of a run."""
    names = {LEDGER, BEFORES, *(path.name for path in folder.glob("ledger-*.db"))}
    return [witness_of(folder / name) for name in sorted(names)]
