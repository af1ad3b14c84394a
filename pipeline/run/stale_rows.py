"""Decides which rows of a run are stale: newer rows of the same entities exist.

The position of a row in time is (sequence number of its run, row); a row of an earlier report keeps
the position that it had there. A position can have several versions of a row: each payload is as
old as the first run that contained it. What was applied at a later position, or in a later version,
is never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from pipeline.jobs.entity_join import JoinedFile, JoinedJob, join_entities
from pipeline.model import Effect, JobRow, RowResult, Status
from pipeline.run.other_runs import OtherRuns
from pipeline.run.prepared import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.stale_row_rules import NewerRow, StaleRowDecision, Writes, decide_stale_row
from pipeline.runs.registry import open_store
from pipeline.store import Ledger
from pipeline.vendors import Account
from pipeline.vendors.kit.contract import State

ROWS_AT_ONCE = 2_000
"""Rows per commit."""

_EFFECTS = {
    Status.UPDATED: Effect.APPLIED,
    Status.UNCHANGED: Effect.APPLIED,
    Status.SUPERSEDED: Effect.APPLIED,  # the row that replaced it was applied
    Status.UNKNOWN: Effect.MAYBE,
}
_HINTS = {
    StaleRowDecision.UNCHANGED: "nothing to do",
    StaleRowDecision.SUPERSEDED: "nothing to do; --force-order sends it anyway",
    StaleRowDecision.OVERTAKEN: "compare it with the vendor; --force-order sends the row",
    StaleRowDecision.UNSETTLED: "look it up at the vendor; --force-order sends it as a new row",
}
_DAMAGED_HINT = (
    "the record of run {run} is damaged: look the entity up at the vendor; --force-order sends the "
    "row as a new one"
)


class RowState(NamedTuple):
    """The recorded state of a row.

    status         None if it has no result
    is_claimed     it may have been sent and has no result
    is_repeatable  sending it twice is harmless
    writes         what it writes
    """

    status: Status | None
    is_claimed: bool
    is_repeatable: bool
    writes: Writes

    @property
    def effect(self) -> Effect:
        """Effect of the row in its run."""
        if self.status is not None:
            return _EFFECTS.get(self.status, Effect.NONE)
        return Effect.MAYBE if self.is_claimed else Effect.NONE

    def text(self) -> str:
        """Text for `parse_state`."""
        writes = None if self.writes is None else sorted(self.writes)
        return json.dumps([self.status, self.is_claimed, self.is_repeatable, writes])


@lru_cache(maxsize=4_096)
def parse_state(text: str) -> RowState:
    """Parse `RowState.text`.

    >>> parse_state(RowState(Status.FAILED, False, True, None).text()).effect
    <Effect.NONE: 'none'>
    """
    status, is_claimed, is_repeatable, writes = json.loads(text)
    return RowState(
        None if status is None else Status(status),
        is_claimed,
        is_repeatable,
        None if writes is None else frozenset(writes),
    )


@dataclass(frozen=True, slots=True)
class StaleRow:
    """A row of this run and the decision about it.

    by           the newer row, or the earlier attempt of this row, that is the reason; else None
    is_in_doubt  it may have been applied before
    """

    job: JoinedJob
    decision: StaleRowDecision
    by: NewerRow | None
    is_in_doubt: bool


def settle_stale_rows(
    prepared: Prepared,
    ledger: Ledger,
    before: RecordedState,
    tell: Callable[[str], None] = lambda _text: None,
) -> RecordedState:
    """Record results of stale rows that must not be sent, or need not: the new recorded state.

    MUST be called before anything is sent and while no other process sends to the same places.

    tell    called with text about damaged runs that contain the same entities
    raises  RunAborted if the jobs of a run that may be newer cannot be read
    """
    if prepared.refusal is not None:
        return before
    is_changed = False
    store = open_store(prepared.config)
    for account in prepared.accounts:
        reaches = prepared.bound.jobs[account.name].reaches
        others = OtherRuns(prepared, store, reaches, tell)
        for claims, results in _StaleRowCheck(prepared, account, others, ledger, before).batches():
            ledger.record(claims, results)
            is_changed = True
    return RecordedState.of(ledger) if is_changed else before


class _StaleRowCheck:
    """Compares the rows of one account with those of other recorded runs."""

    def __init__(
        self,
        prepared: Prepared,
        account: Account,
        others: OtherRuns,
        ledger: Ledger,
        before: RecordedState,
    ) -> None:
        self._run = prepared.run
        self._folder = prepared.folder
        self._account = account
        self._jobs = prepared.bound.jobs[account.name]
        self._others = others
        self._ledger = ledger
        self._claimed = before.claimed

    def batches(self) -> Iterator[tuple[list[int], list[RowResult]]]:
        """Batches of rows to claim and of results; none if no row is stale."""
        claims: list[int] = []
        results: list[RowResult] = []
        for decided in self._decided():
            if decided.decision is StaleRowDecision.IN_DOUBT:
                claims.append(decided.job.row)
            elif decided.decision is not StaleRowDecision.SENT:
                results.append(self._result(decided))
            if len(claims) + len(results) >= ROWS_AT_ONCE:
                yield claims, results
                claims, results = [], []
        if claims or results:
            yield claims, results

    def _decided(self) -> Iterator[StaleRow]:
        """All decisions, except for rows in doubt of this run, which the sender resolves."""
        earliest = self._others.earliest(self._jobs.path)
        newer = self._others.since(earliest)
        sequences = self._others.sequences
        if earliest == sequences[self._run] and not newer:
            return
        own = JoinedFile(
            path=self._jobs.path,
            run=self._run,
            state=partial(self._states, self._ledger, self._claimed),
        )
        groups = join_entities(
            own,
            self._others.jobs_files(newer, self._states),
            select=lambda rows: {*rows} - self._ledger.ended(rows).keys(),
            rows=sum(run.rows for run in newer) + self._jobs.rows,
            folder=self._folder,
        )
        readable = {op.name for op in self._account.vendor.operations if op.reading is not None}
        for group in groups:
            for each in decide(group, self._run, sequences, readable):
                is_for_sender = each.decision in {
                    StaleRowDecision.IN_DOUBT,
                    StaleRowDecision.UNSETTLED,
                }
                if not (is_for_sender and each.job.row in self._claimed):
                    yield each

    def _states(
        self, ledger: Ledger | None, claimed: frozenset[int], jobs: Sequence[JobRow]
    ) -> list[str]:
        """Row states as text; without a ledger each row may have been sent."""
        found = ledger.results(jobs[0].row, jobs[-1].row) if ledger is not None else ()
        status = {result.row: result.status for result in found}
        return [
            RowState(
                status.get(job.row),
                ledger is None or job.row in claimed,
                job.is_repeatable,
                self._writes(job),
            ).text()
            for job in jobs
        ]

    def _writes(self, job: JobRow) -> Writes:
        operation = self._account.vendor.by_name.get(job.operation)
        if operation is None or (operation.replaces and not job.keeps):
            return None
        wanted = operation.job_type.trusted(job.text)
        settings = self._account.settings
        if job.keeps and operation.change is not None:
            # it writes only the given fields; the others are sent as they were read
            left = operation.change.after(settings, wanted, State({}))
            return None if left is None else frozenset(f"/{name}" for name in left.fields)
        return operation.writes(settings, wanted)

    def _result(self, decided: StaleRow) -> RowResult:
        job, decision, hint = decided.job, decided.decision, _HINTS[decided.decision]
        if decided.by is not None and decided.by.run in self._others.damaged:
            hint = _DAMAGED_HINT.format(run=decided.by.run)
        return RowResult(
            row=job.row,
            operation=job.operation,
            account=self._account.name,
            status=_status(decided),
            error_code=decision.name.lower(),
            error=_reason(decided),
            hint=hint,
        )


def _status(decided: StaleRow) -> Status:
    match decided.decision:
        case StaleRowDecision.UNCHANGED:
            return Status.UNCHANGED
        case StaleRowDecision.SUPERSEDED:
            return Status.SUPERSEDED
        case StaleRowDecision.OVERTAKEN if not decided.is_in_doubt:
            return Status.FAILED
    return Status.UNKNOWN


def _reason(decided: StaleRow) -> str:
    job, by = decided.job, decided.by
    other = f"row {by.row} of run {by.run}" if by else "an earlier row"
    match decided.decision:
        case StaleRowDecision.UNCHANGED:
            return f"{other} is the same and was applied"
        case StaleRowDecision.SUPERSEDED:
            return f"{other} is newer and was applied"
        case StaleRowDecision.UNSETTLED:
            return f"{other} is the same and may have been applied; it must not be repeated"
    own = f"row {job.origin_row or job.row} of run {job.origin_run or job.run}"
    is_known = by is not None and by.effect is Effect.APPLIED
    what = "wrote part of the same" if is_known else "may have written the same"
    return f"{other} {what}, and is newer than {own}"


# The order in time...

Position = tuple[int, int, int, int]
"""Sequence number and row of the origin, then those of the first row with this payload."""


def decide(
    group: Sequence[JoinedJob], run: str, sequences: Mapping[str, int], readable: Iterable[str] = ()
) -> Iterator[StaleRow]:
    """Decide about the selected rows of `run`. Pure.

    group      rows of one entity in all runs; `state` is the text of a `RowState`
    sequences  sequence numbers by run name; a run that is missing is older than all
    readable   operations whose entities can be read
    """
    passed: dict[tuple[Writes, Effect], NewerRow] = {}  # newest row per kind, newest first
    sending: dict[Writes, int] = {}  # first newer row of this run per kind that is sent
    ordered = sorted(positions(group, sequences), key=itemgetter(0), reverse=True)
    for _, same in groupby(ordered, key=itemgetter(0)):
        states = sorted((job, parse_state(job.state)) for _, job in same)
        for job, state in states:
            if state.status is Status.SUPERSEDED and not job.is_selected:
                _add_newer(passed, job, state)
        earlier = _earlier_attempt(states)
        for job, state in states:
            if job.is_selected:
                newer = [*passed.values(), *_sent_first(sending, run, job.row)]
                decided = _decide(job, state, newer, earlier, can_be_read=job.operation in readable)
                if decided.decision in {StaleRowDecision.SENT, StaleRowDecision.IN_DOUBT}:
                    sending[state.writes] = min(job.row, sending.get(state.writes, job.row))
                yield decided
        for job, state in states:
            if not job.is_selected:
                _add_newer(passed, job, state)


def positions(
    group: Sequence[JoinedJob], sequences: Mapping[str, int]
) -> list[tuple[Position, JoinedJob]]:
    """Each row of one entity with its position in time.

    A row of a report of a report has the position of its first run, if that row has this entity.
    """
    by_row = {(job.run, job.row): job for job in group}
    first: dict[tuple[int, int, int], tuple[int, int]] = {}
    found = []
    for job in sorted(group, key=lambda each: (sequences.get(each.run, 0), each.row)):
        origin = job
        while (before := by_row.get((origin.origin_run, origin.origin_row))) is not None:
            if sequences.get(before.run, 0) >= sequences.get(origin.run, 0):
                break
            origin = before
        run, row = (
            (origin.origin_run, origin.origin_row)
            if origin.origin_run
            else (origin.run, origin.row)
        )
        position = sequences.get(run, 0), row
        version = first.setdefault((*position, job.payload), (sequences.get(job.run, 0), job.row))
        found.append(((*position, *version), job))
    return found


def _add_newer(
    passed: dict[tuple[Writes, Effect], NewerRow], job: JoinedJob, state: RowState
) -> None:
    if state.effect is not Effect.NONE:
        newer = NewerRow(job.run, job.row, state.writes, state.effect)
        passed.setdefault((state.writes, state.effect), newer)


def _earlier_attempt(states: Iterable[tuple[JoinedJob, RowState]]) -> NewerRow | None:
    """The most certain attempt of the same version in another run; None if there is none."""
    found: NewerRow | None = None
    for job, state in states:
        is_more = found is None or found.effect is Effect.MAYBE
        if not job.is_selected and state.effect is not Effect.NONE and is_more:
            found = NewerRow(job.run, job.row, state.writes, state.effect)
    return found


def _sent_first(sending: Mapping[Writes, int], run: str, row: int) -> Iterator[NewerRow]:
    """Newer rows of this run, or the same row, that are sent first."""
    for writes, first in sending.items():
        if first < row:
            yield NewerRow(run, first, writes, Effect.MAYBE)


def _decide(
    job: JoinedJob,
    state: RowState,
    newer: Iterable[NewerRow],
    earlier: NewerRow | None,
    *,
    can_be_read: bool,
) -> StaleRow:
    before = Effect.NONE if earlier is None else earlier.effect
    if before is Effect.NONE and state.is_claimed:
        before = Effect.MAYBE
    decision, by = decide_stale_row(
        state.writes,
        newer,
        before=before,
        is_repeatable=state.is_repeatable,
        can_be_read=can_be_read,
    )
    return StaleRow(job, decision, by or earlier, is_in_doubt=before is Effect.MAYBE)
