"""Errors of the reporter.

PipelineError
└── ReportError                a report cannot be written or read
    └── ReconciliationError    rows and results do not agree
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.model import PipelineError

SHOWN_ROWS = 20


class ReportError(PipelineError):
    """A report cannot be written or read."""


class ReconciliationError(ReportError):
    """Rows and results do not agree, so the report would be wrong.

    rows  at most 20 of the affected rows; empty if only counts differ
    """

    def __init__(self, what: str, rows: Sequence[int] = ()) -> None:
        self.rows = tuple(rows[:SHOWN_ROWS])
        named = ", ".join(map(str, self.rows))
        more = " and more" if len(rows) > SHOWN_ROWS else ""
        super().__init__(
            f"{what}{': ' if named else ''}{named}{more}. "
            "The report was not written; the snapshot and the results of the run are kept."
        )
