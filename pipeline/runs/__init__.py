"""Runs on record: their options, folders and exchanges, the registry of all of them, retention.

Which runs there are, and what of them is on disk. How a run is carried out is the business of
`run/`; what a ledger is made of, of `store/`.
"""

from pipeline.runs.options import RunOptions
from pipeline.runs.origin import Origin
from pipeline.runs.registry import UNFINISHED, is_alive, is_rehearsal, open_registry
from pipeline.runs.retention import tidy

__all__ = [
    "UNFINISHED",
    "Origin",
    "RunOptions",
    "is_alive",
    "is_rehearsal",
    "open_registry",
    "tidy",
]
