"""Results become durable: the record of one run, the record of all runs, and their locks."""

from pipeline.ledger.checked import Checks
from pipeline.ledger.contract import Ledger, LedgerError
from pipeline.ledger.locks import Holder, Lock
from pipeline.ledger.memory import MemoryLedger
from pipeline.ledger.run_ledger import RunLedger, ended_among, recent_samples
from pipeline.ledger.runs import Departures, Run, Runs, State

__all__ = [
    "Checks",
    "Departures",
    "Holder",
    "Ledger",
    "LedgerError",
    "Lock",
    "MemoryLedger",
    "Run",
    "RunLedger",
    "Runs",
    "State",
    "ended_among",
    "recent_samples",
]
