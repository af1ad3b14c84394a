"""The loader: a file becomes a snapshot, its rows become typed jobs.

All that is wrong with a file or a row without a request is found here.

Not here: which columns a vendor has (`vendors`) and how jobs are kept on disk (`jobs`).
"""

from pipeline.loader.bind import Bound, bind
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
