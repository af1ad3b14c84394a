"""Values: what travels through the pipeline.

Not here: I/O, clocks, and values that only one folder uses.
"""

from pipeline.model.answer import Answer, Effect, Verdict
from pipeline.model.errors import (
    ConfigError,
    DamagedError,
    Fault,
    InputError,
    NoWorkerError,
    OtherSharesError,
    PipelineError,
    RunAborted,
    UsageError,
)
from pipeline.model.job import Cell, CellKind, EntityKey, JobRow, UpdateJob
from pipeline.model.progress import AccountProgress, RecentError
from pipeline.model.result import RESULT_COLUMNS, SUCCESS, RowResult, Status
from pipeline.model.snapshot import LINE_COLUMN, ROW_COLUMN, InputSettings, Snapshot
from pipeline.model.stand_ins import MAX_CELL_BYTES, BeyondCalendar, TooLong
from pipeline.model.wire import Link, NoReply, Reply, ReplyStanding, Request

__all__ = [
    "LINE_COLUMN",
    "MAX_CELL_BYTES",
    "RESULT_COLUMNS",
    "ROW_COLUMN",
    "SUCCESS",
    "AccountProgress",
    "Answer",
    "BeyondCalendar",
    "Cell",
    "CellKind",
    "ConfigError",
    "DamagedError",
    "Effect",
    "EntityKey",
    "Fault",
    "InputError",
    "InputSettings",
    "JobRow",
    "Link",
    "NoReply",
    "NoWorkerError",
    "OtherSharesError",
    "PipelineError",
    "RecentError",
    "Reply",
    "ReplyStanding",
    "Request",
    "RowResult",
    "RunAborted",
    "Snapshot",
    "Status",
    "TooLong",
    "UpdateJob",
    "UsageError",
    "Verdict",
]
