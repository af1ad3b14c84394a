"""Durable storage: the ledger of one run, the registry of all runs, locks, files.

Not here: what the records mean for a run (`run`, `runs`) and result files (`reporter`).
"""

from pipeline.store.contract import Ledger, LedgerError
from pipeline.store.locks import Holder, Lock
from pipeline.store.memory_ledger import MemoryLedger
from pipeline.store.page_checks import PageChecks
from pipeline.store.run_entry import Run, State
from pipeline.store.run_ledger import RunLedger, ended_among, recent_samples

__all__ = [
    "Holder",
    "Ledger",
    "LedgerError",
    "Lock",
    "MemoryLedger",
    "PageChecks",
    "Run",
    "RunLedger",
    "State",
    "ended_among",
    "recent_samples",
]
