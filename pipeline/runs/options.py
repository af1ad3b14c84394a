"""The options of one run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.loader import RowSelection
from pipeline.model import UsageError
from pipeline.runs.stop_if import StopIf

MAX_INVALID = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of one run.

    operation, account  of every row; None: from the file, its folder or the configuration
    rows         rows to send; None: all
    max_invalid  share of rows, 0 to 1; nothing is sent if more are invalid
    min_rows     nothing is sent if the file has fewer rows
    fail_fast    stop an account if its first answers are the same refusal
    force_order  send rows of an earlier report as new rows
    allow_irreversible  send rows that cannot be undone
    coalesce     send only the last full replacement per entity
    skip_unchanged  read each entity first, and do not send a row that would change nothing
    record_previous  read each entity first and record it, so that the run can be undone
    canary       rows that are sent and checked before the others; 0: none
    stop_if      conditions that stop the run
    run_id       idempotency key of a scheduler: the same id sends a file once
    tolerate     share of rows, 0 to 1, that may fail without exit code 1, none of them `unknown`
    grace_s      seconds for which requests in flight may finish after a stop
    """

    operation: str | None = None
    account: str | None = None
    rows: RowSelection | None = None
    max_invalid: float = MAX_INVALID
    min_rows: int = 0
    fail_fast: bool = True
    force_order: bool = False
    allow_irreversible: bool = False
    coalesce: bool = False
    skip_unchanged: bool = False
    record_previous: bool = False
    canary: int = 0
    stop_if: tuple[StopIf, ...] = ()
    run_id: str | None = None
    tolerate: float = 0.0
    grace_s: float = 20.0

    def check(self) -> None:
        """Raise UsageError if a value is out of its range: it would switch off a check unsaid."""
        for name, given in (("max_invalid", self.max_invalid), ("tolerate", self.tolerate)):
            if not 0 <= given <= 1:  # true of NaN, too
                raise UsageError(f"{name} is a share of the rows, from 0 to 1, not {given}")
        for name, least in (("min_rows", self.min_rows), ("canary", self.canary)):
            if least < 0:
                raise UsageError(f"{name} is a number of rows, not {least}")
        if not 0 <= self.grace_s < math.inf:
            raise UsageError(f"grace_s is a number of seconds, not {self.grace_s}")
        if self.run_id is not None and not self.run_id.strip():
            raise UsageError(
                "the run id is empty, so the same file would never be sent again. Is a variable "
                "unset? Give an id per file to send"
            )

    @property
    def job_options(self) -> tuple[object, ...]:
        """Options that determine the jobs of a file: runs that differ in them are not the same."""
        return (
            self.operation,
            self.account,
            self.rows,
            self.force_order,
            self.allow_irreversible,
            self.skip_unchanged,
            self.coalesce,
        )
