"""The reporter writes two result files and a summary that holds their checksums.

Not here: pages and tables for people, which `ui` makes from the same values.
"""

from pipeline.reporter.errors import ReconciliationError, ReportError
from pipeline.reporter.reporter import write_report
from pipeline.reporter.source import ReportSource
from pipeline.reporter.summary import (
    SUMMARY_NAME,
    AccountFacts,
    RunFacts,
    Summary,
    WorkerSummary,
    exit_code,
    read_summary,
)

__all__ = [
    "SUMMARY_NAME",
    "AccountFacts",
    "ReconciliationError",
    "ReportError",
    "ReportSource",
    "RunFacts",
    "Summary",
    "WorkerSummary",
    "exit_code",
    "read_summary",
    "write_report",
]
