"""The result of a row."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """The class of a result, named for the reader of the report."""

    UPDATED = "updated"  # the vendor confirmed it
    UNCHANGED = (
        "unchanged"  # the entity has these values, or the same row was sent before; nothing sent
    )
    SUPERSEDED = "superseded"  # a newer row of its entity was applied; nothing sent
    INVALID = "invalid"  # the row never became a job
    REJECTED = "rejected"  # the vendor refused it
    CONFLICT = "conflict"  # the entity does not have the expected value
    FAILED = "failed"  # attempts or time ran out; certainly not applied
    UNKNOWN = "unknown"  # it may have been applied, and that cannot be resolved
    NOT_ATTEMPTED = "not_attempted"  # the run stopped first, or it waited for an unknown row


SUCCESS = frozenset({Status.UPDATED, Status.UNCHANGED, Status.SUPERSEDED})
"""Statuses that need no action; the others go to the error file."""


class RowResult(NamedTuple):
    """The result of one row.

    row          number of the record from 1
    operation    empty if the row did not name a known one
    account      empty if the row did not name a known one
    http_status  of the last attempt; None if there was no status line
    attempts     number of attempts
    seconds      from the first attempt to the result
    receipt      values kept from the reply, as JSON
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
"""Our columns of a result file, after those of the input."""
