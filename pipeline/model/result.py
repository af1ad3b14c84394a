"""How a row ends."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """The class of a result, named for the reader of the report."""

    UPDATED = "updated"  # the vendor confirmed it
    UNCHANGED = "unchanged"  # an earlier run had sent this very row already; nothing was sent
    SUPERSEDED = "superseded"  # a newer row of its entity was applied; nothing was sent
    INVALID = "invalid"  # the row never became a job
    REJECTED = "rejected"  # the vendor said no
    CONFLICT = "conflict"  # the live value is not the one expected; both are given
    FAILED = "failed"  # attempts or time ran out, certainly not applied
    UNKNOWN = "unknown"  # it may have been applied, and nothing can settle it
    NOT_ATTEMPTED = "not_attempted"  # the run stopped before it, or it waited behind an unknown


SUCCESS = frozenset({Status.UPDATED, Status.UNCHANGED, Status.SUPERSEDED})
"""Statuses that leave nothing to do; the others go to the error file."""


class RowResult(NamedTuple):
    """The end of one row.

    row          number of the record from 1
    operation    empty where the row did not name a known one
    account      empty likewise
    http_status  of the last attempt; None where there was no status line
    attempts     how often it was sent
    seconds      from the first attempt to the end
    receipt      what the vendor gave back to keep, as JSON
    """

    row: int
    operation: str
    account: str
    status: Status
    http_status: int | None = None
    error_code: str = ""
    error: str = ""
    hint: str = ""
    attempts: int = 0
    seconds: float = 0.0
    request_id: str = ""
    receipt: str = ""


RESULT_COLUMNS = ("_run", *(f"_{name}" for name in RowResult._fields))
"""Our columns of a result file, after the input's own."""
