"""The canary: the rows that are sent first, and their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.jobs import JobsFile, read_jobs
from pipeline.model import SUCCESS, JobRow, RowResult, Status
from pipeline.run.canary_rows import Candidate, first_rows, select_entities
from pipeline.runs.stop_if import StopIf, parse_stop_if
from pipeline.store import Ledger

NO_ERROR = parse_stop_if("errors > 0")
"""The default condition of a canary."""

_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryResult:
    """Results of the canary.

    rows      rows of the canary
    of        rows of the run
    counts    results per status
    failures  the first failed rows
    """

    rows: int
    of: int
    counts: Mapping[Status, int]
    failures: Sequence[RowResult]


def canary_rows(jobs: Mapping[str, JobsFile], most: int) -> frozenset[int]:
    """Rows of every account and operation, spread over the file. Reads the jobs twice."""
    sizes = {
        (account, operation): count
        for account, file in jobs.items()
        for operation, count in file.operations.items()
    }
    entities = select_entities(_candidates(jobs), sizes, most)
    return frozenset(first_rows(_candidates(jobs), entities))


def _candidates(jobs: Mapping[str, JobsFile]) -> Iterator[Candidate]:
    """Candidates account by account: no entity is reached through two."""
    for account, file in jobs.items():
        for batch in read_jobs(file.path):
            for job in batch:
                yield Candidate(job.row, (account, job.operation), job.entity)


def subset(
    jobs: Iterator[Sequence[JobRow]], rows: frozenset[int] | None
) -> Iterator[Sequence[JobRow]]:
    """The jobs of these rows; None: all."""
    if rows is None:
        yield from jobs
        return
    for batch in jobs:
        if some := [job for job in batch if job.row in rows]:
            yield some


def canary_result(rows: frozenset[int], of: int, ledger: Ledger) -> CanaryResult:
    """Read the results of the canary from the ledger."""
    counts: Counter[Status] = Counter()
    failures: list[RowResult] = []
    for row in sorted(rows):
        for result in ledger.results(row, row):
            counts[result.status] += 1
            if result.status not in SUCCESS and len(failures) < _SHOWN_FAILURES:
                failures.append(result)
    return CanaryResult(rows=len(rows), of=of, counts=counts, failures=failures)


def conditions(stop_if: Sequence[StopIf], *, is_canary: bool) -> tuple[StopIf, ...]:
    """The conditions that stop the canary, or the rest of the run."""
    return tuple(stop_if) or ((NO_ERROR,) if is_canary else ())


Agree = Callable[[CanaryResult], bool]
"""True if the other rows may be sent after this canary; may wait for a person."""
