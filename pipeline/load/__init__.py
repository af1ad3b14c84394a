"""The loader: a file becomes a snapshot, its rows become typed jobs."""

from pipeline.load.bind import Bound, bind
from pipeline.load.census import FaultKind
from pipeline.load.selection import RowSelection, parse_rows
from pipeline.load.take import take

__all__ = [
    "Bound",
    "FaultKind",
    "RowSelection",
    "bind",
    "parse_rows",
    "take",
]
