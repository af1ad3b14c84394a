"""How one file is run."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.loader import RowSelection
from pipeline.runs.stop_if import StopIf


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How one file is run.

    operation, account  of every row; None: the file, its folder or the configuration says it
    rows         which rows to send; None: all
    max_invalid  share of rows, 0 to 1; with more of them invalid nothing is sent
    min_rows     with fewer rows in the file nothing is sent
    fail_fast    stop an account whose first answers are all the same refusal
    force_order  take rows of an earlier report as new ones
    allow_irreversible  send rows that nothing can take back
    coalesce     a row that replaces the whole of its entity is sent in the stead of those before it
    skip_unchanged  read what the vendor holds, and send no row that would change nothing
    record_previous  read what the vendor holds and keep it, so that the run can be taken back
    canary       so many rows go first, and are looked at before the others; 0: none
    stop_if      conditions that stop the run
    run_id       the scheduler's name for the run: a run of that name is not begun twice
    tolerate     share of rows, 0 to 1, that may fail without exit code 1, none of them unknown
    grace_s      how long requests in flight may finish once the run is stopped
    """

    operation: str | None = None
    account: str | None = None
    rows: RowSelection | None = None
    max_invalid: float = 0.5
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

    @property
    def asks_for(self) -> tuple[object, ...]:
        """What decides which jobs come of a file: two runs that differ in it are not the same."""
        return (
            self.operation,
            self.account,
            self.rows,
            self.force_order,
            self.allow_irreversible,
            self.skip_unchanged,
            self.coalesce,
        )
