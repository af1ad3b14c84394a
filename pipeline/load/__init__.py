"""The loader: a file becomes a snapshot, its rows become jobs. Polars lives here and in report/."""

from pipeline.load.bind import Bound, bind
from pipeline.load.census import FaultKind
from pipeline.load.jobs import JobsFile, read_jobs
from pipeline.load.selection import RowSelection, parse_rows
from pipeline.load.take import take

__all__ = [
    "Bound",
    "FaultKind",
    "JobsFile",
    "RowSelection",
    "bind",
    "parse_rows",
    "read_jobs",
    "take",
]
