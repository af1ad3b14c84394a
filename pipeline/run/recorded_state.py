"""The recorded state of a run before this process works on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pipeline.jobs.jobs_file import JobsFile, read_operations
from pipeline.model import Status
from pipeline.model.exit_codes import NOTHING_SENT
from pipeline.model.retry import RETRYABLE
from pipeline.run.prepared import Prepared
from pipeline.runs.registry import open_store
from pipeline.store import Ledger, Run
from pipeline.vendors.kit.classify import meaning

LAST_ROW = 2**63 - 1


def results_of(run: Run) -> int:
    """Number of results that the record of a run has at least: a finished run has all.

    >>> from dataclasses import replace
    >>> from datetime import datetime
    >>> done = Run(name="monday", source="a.csv", sha256="", rows=9, started=datetime.min)
    >>> results_of(done), results_of(replace(done, state="reported", exit_code=1))
    (0, 9)
    """
    return run.rows if run.state == "reported" and run.exit_code != NOTHING_SENT else 0


@dataclass(frozen=True, slots=True)
class RecordedState:
    """The record of earlier processes of the run.

    claimed  rows that may have been sent and have no result
    unknown  rows whose result is `unknown`
    refused  rows that were refused together with their account -> HTTP status
    counts   results per status, without `not_attempted`
    """

    claimed: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    refused: Mapping[int, int] = field(default_factory=dict)
    counts: Counter[Status] = field(default_factory=Counter)

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        """Read the ledger; only rows in doubt and refused rows are kept in memory."""
        counts = Counter(ledger.counts())
        not_attempted = counts.pop(Status.NOT_ATTEMPTED, 0)
        is_worth_reading = counts[Status.UNKNOWN] or not_attempted
        unknown: set[int] = set()
        refused: dict[int, int] = {}
        for each in ledger.results_left() if is_worth_reading else ():
            if each.status is Status.UNKNOWN:
                unknown.add(each.row)
            elif each.status is Status.NOT_ATTEMPTED and each.http_status is not None:
                refused[each.row] = each.http_status
        refused = {row: status for row, status in refused.items() if _is_refusal(status)}
        return cls(frozenset(ledger.claimed()), frozenset(unknown), refused, counts)

    @property
    def is_nothing(self) -> bool:
        """True if no row was ever sent."""
        is_sent = self.claimed or self.refused
        return not is_sent and not (self.counts.keys() - {Status.INVALID})


def _is_refusal(status: int) -> bool:
    """True for a status that refuses a row, False for one that asks to retry it."""
    return meaning(status).verdict not in RETRYABLE


def rows_left(prepared: Prepared) -> dict[str, Counter[str]]:
    """Account -> operation -> number of jobs without a result, for an estimate."""
    jobs: Mapping[str, JobsFile] = prepared.bound.jobs
    if not prepared.is_resumed:
        return {name: Counter(file.operations) for name, file in jobs.items()}
    store = open_store(prepared.config)
    left: dict[str, Counter[str]] = {}
    for name, file in jobs.items():
        left[name] = Counter()
        for rows, operations in read_operations(file.path):
            ended = store.ended_among(prepared.run, rows)
            pairs = zip(rows, operations, strict=True)
            left[name].update(operation for row, operation in pairs if row not in ended)
    return left
