"""The rows that go first, and what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.jobs import JobsFile, read_jobs
from pipeline.model import SUCCESS, AccountProgress, JobRow, RowResult, Status
from pipeline.run.canary_rows import Candidate, first_of_each, picked
from pipeline.runs.stop_if import StopIf, parse_stop_if
from pipeline.store import Ledger

NO_ERROR = parse_stop_if("errors > 0")
"""What a canary has to hold where nothing else is said."""

_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryResult:
    """What came of the rows that went first.

    rows      that were tried, of all those of the run
    counts    per status
    failures  the first of those that did not succeed
    """

    rows: int
    of: int
    counts: Mapping[Status, int]
    failures: Sequence[RowResult]


def canary_rows(jobs: Mapping[str, JobsFile], most: int) -> frozenset[int]:
    """Rows of every account and operation, spread over the file; two readings of it."""
    sizes = {
        (account, operation): count
        for account, file in jobs.items()
        for operation, count in file.operations.items()
    }
    entities = picked(_candidates(jobs), sizes, most)
    return frozenset(first_of_each(_candidates(jobs), entities))


def _candidates(jobs: Mapping[str, JobsFile]) -> Iterator[Candidate]:
    """Account after account: no entity is reached through two."""
    for account, file in jobs.items():
        for batch in read_jobs(file.path):
            for job in batch:
                yield Candidate(job.row, (account, job.operation), job.entity)


def only(
    jobs: Iterator[Sequence[JobRow]], rows: frozenset[int] | None
) -> Iterator[Sequence[JobRow]]:
    """Those of these rows; None: all."""
    if rows is None:
        yield from jobs
        return
    for batch in jobs:
        if some := [job for job in batch if job.row in rows]:
            yield some


def trial_of(rows: frozenset[int], of: int, ledger: Ledger) -> CanaryResult:
    """What is on record of the rows that went first."""
    counts: Counter[Status] = Counter()
    failures: list[RowResult] = []
    for row in sorted(rows):
        for result in ledger.results(row, row):
            counts[result.status] += 1
            if result.status not in SUCCESS and len(failures) < _SHOWN_FAILURES:
                failures.append(result)
    return CanaryResult(rows=len(rows), of=of, counts=counts, failures=failures)


def conditions(stop_if: Sequence[StopIf], *, is_canary: bool) -> tuple[StopIf, ...]:
    """What stops the run now."""
    return tuple(stop_if) or ((NO_ERROR,) if is_canary else ())


def added(
    first: Sequence[AccountProgress], second: Sequence[AccountProgress]
) -> tuple[AccountProgress, ...]:
    """Two stretches of one run, as one."""
    before = {each.account: each for each in first}
    return tuple(_added(before.get(each.account), each) for each in second)


def _added(first: AccountProgress | None, second: AccountProgress) -> AccountProgress:
    if first is None:
        return second
    return AccountProgress(
        account=second.account,
        rows=second.rows,
        done=Counter(first.done) + Counter(second.done),
        sent=first.sent + second.sent,
        retries=first.retries + second.retries,
        sending_s=first.sending_s + second.sending_s,
        in_flight=second.in_flight,
        in_flight_limit=second.in_flight_limit,
        retrying=second.retrying,
        pause_left_s=second.pause_left_s,
        quota=second.quota,
        quota_per_s=second.quota_per_s,
        stopped=second.stopped,
    )


Agree = Callable[[CanaryResult], bool]
"""Whether the rest may go, once the canary has been looked at; may wait for a person."""
