"""Recorded exchanges of a run, for people."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.model.exchange import Exchange
from pipeline.runs.registry import open_store
from pipeline.runs.run_folder import is_stored
from pipeline.store import Ledger


def exchange_of(config: Config, run: str, row: int) -> Exchange:
    """The last recorded request for a row and its reply.

    Raises UsageError if none is kept, LedgerError or RunAborted as the ledger does.
    """
    store = open_store(config)
    if not is_stored(store.files(run)):
        raise UsageError(f"the files of run {run} are gone, and its exchanges with them")
    with store.ledger(run, None, None) as ledger:
        found = next(ledger.exchanges(row), None)
        if found is None:
            raise UsageError(_nothing_kept(ledger, run, row))
    return found


def _nothing_kept(ledger: Ledger, run: str, row: int) -> str:
    result = next(iter(ledger.results(row, row)), None)
    if result is None:
        return f"row {row} of run {run} has no result on record, so no exchange is kept"
    return (
        f"no exchange of row {row} of run {run} is kept; it ended {result.status}. Exchanges are "
        "kept of rows that were sent and failed, the first few of each status and code"
    )
