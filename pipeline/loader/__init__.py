"""The loader: turns a file into a snapshot, and its rows into typed jobs.

It finds every fault of a file or row that can be found without a request.

Not here: which columns a vendor has (`vendors`) and how jobs are kept on disk (`jobs`).
"""

from pipeline.loader.bind import bind
from pipeline.loader.bound import Bound
from pipeline.loader.ingest import ingest
from pipeline.loader.issue_counts import FaultKind
from pipeline.loader.selection import RowSelection, parse_rows

__all__ = [
    "Bound",
    "FaultKind",
    "RowSelection",
    "bind",
    "ingest",
    "parse_rows",
]
