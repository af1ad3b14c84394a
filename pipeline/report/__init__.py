"""The reporter: results become two files, a summary that vouches for them, and words for people."""

from pipeline.report.display import LiveDisplay, PlainDisplay
from pipeline.report.errors import ReconciliationError, ReportError
from pipeline.report.reporter import write_report
from pipeline.report.source import ReportSource
from pipeline.report.summary import (
    SUMMARY_NAME,
    AccountFacts,
    RunFacts,
    Summary,
    exit_code,
    read_summary,
)
from pipeline.report.terminal import Question, Target, closing, show_question

__all__ = [
    "SUMMARY_NAME",
    "AccountFacts",
    "LiveDisplay",
    "PlainDisplay",
    "Question",
    "ReconciliationError",
    "ReportError",
    "ReportSource",
    "RunFacts",
    "Summary",
    "Target",
    "closing",
    "exit_code",
    "read_summary",
    "show_question",
    "write_report",
]
