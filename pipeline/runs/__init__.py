"""Runs on record: their options, folders and exchanges, the registry of all of them, retention.

Not here: how a run is sent (`run`) and how its ledger is stored (`store`).
"""

from pipeline.runs.options import RunOptions
from pipeline.runs.origin import Origin
from pipeline.runs.registry import STATES, UNFINISHED, is_alive, is_simulated, open_store
from pipeline.runs.retention import tidy

__all__ = [
    "STATES",
    "UNFINISHED",
    "Origin",
    "RunOptions",
    "is_alive",
    "is_simulated",
    "open_store",
    "tidy",
]
