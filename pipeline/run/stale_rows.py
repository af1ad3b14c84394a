"""Rows whose place in time is an earlier one than now are settled against newer ones.

A row's place in time is (sequence of its run, row); a row of an earlier report keeps the place that
it had there. At one place stand the versions of a row: each payload is as old as the first run that
had it. What was applied at a later place, or in a later version, is never overwritten.
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
from pipeline.run.prepare import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.stale_row_rules import NewerRow, StaleRowDecision, Writes, fate_of
from pipeline.runs.registry import open_registry
from pipeline.store import Ledger
from pipeline.vendors import Account
from pipeline.vendors.kit.contract import State

ROWS_AT_ONCE = 2_000
"""So many rows are put on record in one commit."""

_EFFECTS = {
    Status.UPDATED: Effect.APPLIED,
    Status.UNCHANGED: Effect.APPLIED,
    Status.SUPERSEDED: Effect.APPLIED,  # what won over it wins over whatever it would win over
    Status.UNKNOWN: Effect.MAYBE,
}
_HINTS = {
    StaleRowDecision.UNCHANGED: "nothing to do",
    StaleRowDecision.SUPERSEDED: "nothing to do; --force-order sends it all the same",
    StaleRowDecision.OVERTAKEN: "compare it with the vendor; --force-order sends the row",
    StaleRowDecision.UNSETTLED: "look it up at the vendor; --force-order sends it as a new row",
}
_DAMAGED = (
    "the record of run {run} is damaged: look the entity up at the vendor; --force-order sends the "
    "row as a new one"
)


class RowState(NamedTuple):
    """What is known of a row on record.

    status      None where it has no result
    is_claimed  it may have been sent, and has no result
    """

    status: Status | None
    is_claimed: bool
    is_repeatable: bool
    writes: Writes

    @property
    def effect(self) -> Effect:
        """Of the row in its run."""
        if self.status is not None:
            return _EFFECTS.get(self.status, Effect.NONE)
        return Effect.MAYBE if self.is_claimed else Effect.NONE

    def text(self) -> str:
        """As `read_stand` reads it."""
        writes = None if self.writes is None else sorted(self.writes)
        return json.dumps([self.status, self.is_claimed, self.is_repeatable, writes])


@lru_cache(maxsize=4_096)
def read_stand(text: str) -> RowState:
    """What `RowState.text` wrote.

    >>> read_stand(RowState(Status.FAILED, False, True, None).text()).effect
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
    """What becomes of a row of this run.

    by           the row that it gives way to, or that was sent before in its stead; None otherwise
    is_in_doubt  it may have been applied before
    """

    job: JoinedJob
    fate: StaleRowDecision
    by: NewerRow | None
    is_in_doubt: bool


def settle_stale_rows(
    prepared: Prepared,
    ledger: Ledger,
    before: RecordedState,
    tell: Callable[[str], None] = lambda _words: None,
) -> RecordedState:
    """Put on record what needs not, or must not, be sent: what stands on record from then on.

    To be called before anything is sent and while no other process sends to the same places.

    tell    is told of runs whose record is damaged and whose rows are about the same entities
    raises  RunAborted where the jobs of a run that may be newer cannot be read
    """
    if prepared.refusal is not None:
        return before
    is_changed = False
    with open_registry(prepared.config) as registry:
        for account in prepared.accounts:
            reaches = prepared.bound.jobs[account.name].reaches
            others = OtherRuns(prepared, registry, reaches, tell)
            for claims, results in _Settling(prepared, account, others, ledger, before).batches():
                ledger.record(claims, results)
                is_changed = True
    return RecordedState.of(ledger) if is_changed else before


class _Settling:
    """The rows of one account of a run against those of other runs on record."""

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
        """Rows to be claimed and results, some at a time; none where no row is an old one."""
        claims: list[int] = []
        results: list[RowResult] = []
        for decided in self._decided():
            if decided.fate is StaleRowDecision.IN_DOUBT:
                claims.append(decided.job.row)
            elif decided.fate is not StaleRowDecision.SENT:
                results.append(self._result(decided))
            if len(claims) + len(results) >= ROWS_AT_ONCE:
                yield claims, results
                claims, results = [], []
        if claims or results:
            yield claims, results

    def _decided(self) -> Iterator[StaleRow]:
        """What is decided, but for rows that an earlier process left in doubt and that stay so."""
        earliest = self._others.earliest(self._jobs.path)
        newer = self._others.since(earliest)
        sequences = self._others.sequences
        if earliest == sequences[self._run] and not newer:
            return
        host = JoinedFile(
            path=self._jobs.path,
            run=self._run,
            state=partial(self._stands, self._ledger, self._claimed),
        )
        met = join_entities(
            host,
            self._others.guests(newer, self._stands),
            select=lambda rows: {*rows} - self._ledger.ended(rows).keys(),
            rows=sum(run.rows for run in newer) + self._jobs.rows,
            folder=self._folder,
        )
        readable = {op.name for op in self._account.vendor.operations if op.reading is not None}
        for group in met:
            for each in decide(group, self._run, sequences, readable):
                is_for_lane = each.fate in {StaleRowDecision.IN_DOUBT, StaleRowDecision.UNSETTLED}
                if not (is_for_lane and each.job.row in self._claimed):
                    yield each

    def _stands(
        self, ledger: Ledger | None, claimed: frozenset[int], jobs: Sequence[JobRow]
    ) -> list[str]:
        """As texts, from a record; without one each row may have been sent."""
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
            # a part: the rest of what it sends is what was there
            left = operation.change.after(settings, wanted, State({}))
            return None if left is None else frozenset(f"/{name}" for name in left.fields)
        return operation.writes(settings, wanted)

    def _result(self, decided: StaleRow) -> RowResult:
        met, fate, hint = decided.job, decided.fate, _HINTS[decided.fate]
        if decided.by is not None and decided.by.run in self._others.damaged:
            hint = _DAMAGED.format(run=decided.by.run)
        return RowResult(
            row=met.row,
            operation=met.operation,
            account=self._account.name,
            status=_status(decided),
            error_code=fate.name.lower(),
            error=_words(decided),
            hint=hint,
        )


def _status(decided: StaleRow) -> Status:
    match decided.fate:
        case StaleRowDecision.UNCHANGED:
            return Status.UNCHANGED
        case StaleRowDecision.SUPERSEDED:
            return Status.SUPERSEDED
        case StaleRowDecision.OVERTAKEN if not decided.is_in_doubt:
            return Status.FAILED
    return Status.UNKNOWN


def _words(decided: StaleRow) -> str:
    met, by = decided.job, decided.by
    other = f"row {by.row} of run {by.run}" if by else "an earlier row"
    match decided.fate:
        case StaleRowDecision.UNCHANGED:
            return f"{other} is the same and was applied"
        case StaleRowDecision.SUPERSEDED:
            return f"{other} is newer and was applied"
        case StaleRowDecision.UNSETTLED:
            return f"{other} is the same and may have been applied; twice would do harm"
    own = f"row {met.origin_row or met.row} of run {met.origin_run or met.run}"
    is_known = by is not None and by.effect is Effect.APPLIED
    what = "wrote part of the same" if is_known else "may have written the same"
    return f"{other} {what}, and is newer than {own}"


# ------------------------------------------------------------------------------ the order in time

Place = tuple[int, int, int, int]
"""Sequence and row of the place in time, then those of the first row that had this payload."""


def decide(
    group: Sequence[JoinedJob], run: str, sequences: Mapping[str, int], readable: Iterable[str] = ()
) -> Iterator[StaleRow]:
    """What becomes of the rows of `run` that ask. Pure.

    group      rows of one entity, `state` a `RowState`
    sequences  of runs by name; one that is missing is older than all
    readable   operations whose entities can be read back
    """
    passed: dict[tuple[Writes, Effect], NewerRow] = {}  # the newest of each kind, the newest first
    going: dict[Writes, int] = {}  # rows of this run that are newer and to be sent: the first
    placed = sorted(places(group, sequences), key=itemgetter(0), reverse=True)
    for _, same in groupby(placed, key=itemgetter(0)):
        standing = sorted((met, read_stand(met.state)) for _, met in same)
        for met, stand in standing:
            if stand.status is Status.SUPERSEDED and not met.is_selected:
                _pass(passed, met, stand)
        was = _was(standing)
        for met, stand in standing:
            if met.is_selected:
                newer = [*passed.values(), *_ahead(going, run, met.row)]
                decided = _fate(met, stand, newer, was, can_be_read=met.operation in readable)
                if decided.fate in {StaleRowDecision.SENT, StaleRowDecision.IN_DOUBT}:
                    going[stand.writes] = min(met.row, going.get(stand.writes, met.row))
                yield decided
        for met, stand in standing:
            if not met.is_selected:
                _pass(passed, met, stand)


def places(
    group: Sequence[JoinedJob], sequences: Mapping[str, int]
) -> list[tuple[Place, JoinedJob]]:
    """Each row of one entity with its place in time.

    Reports of reports are followed to the first run, as long as the row stays about this entity.
    """
    by_row = {(met.run, met.row): met for met in group}
    first: dict[tuple[int, int, int], tuple[int, int]] = {}
    found = []
    for met in sorted(group, key=lambda each: (sequences.get(each.run, 0), each.row)):
        origin = met
        while (before := by_row.get((origin.origin_run, origin.origin_row))) is not None:
            if sequences.get(before.run, 0) >= sequences.get(origin.run, 0):
                break
            origin = before
        run, row = (
            (origin.origin_run, origin.origin_row)
            if origin.origin_run
            else (origin.run, origin.row)
        )
        place = sequences.get(run, 0), row
        version = first.setdefault((*place, met.payload), (sequences.get(met.run, 0), met.row))
        found.append(((*place, *version), met))
    return found


def _pass(passed: dict[tuple[Writes, Effect], NewerRow], met: JoinedJob, stand: RowState) -> None:
    if stand.effect is not Effect.NONE:
        newer = NewerRow(met.run, met.row, stand.writes, stand.effect)
        passed.setdefault((stand.writes, stand.effect), newer)


def _was(standing: Iterable[tuple[JoinedJob, RowState]]) -> NewerRow | None:
    """The sending of the same version in an earlier run that tells most; None where none did."""
    found: NewerRow | None = None
    for met, stand in standing:
        is_more = found is None or found.effect is Effect.MAYBE
        if not met.is_selected and stand.effect is not Effect.NONE and is_more:
            found = NewerRow(met.run, met.row, stand.writes, stand.effect)
    return found


def _ahead(going: Mapping[Writes, int], run: str, row: int) -> Iterator[NewerRow]:
    """Rows of this run that are newer, or the same, and sent first."""
    for writes, first in going.items():
        if first < row:
            yield NewerRow(run, first, writes, Effect.MAYBE)


def _fate(
    met: JoinedJob,
    stand: RowState,
    newer: Iterable[NewerRow],
    was: NewerRow | None,
    *,
    can_be_read: bool,
) -> StaleRow:
    before = Effect.NONE if was is None else was.effect
    if before is Effect.NONE and stand.is_claimed:
        before = Effect.MAYBE
    fate, by = fate_of(
        stand.writes,
        newer,
        before=before,
        is_repeatable=stand.is_repeatable,
        can_be_read=can_be_read,
    )
    return StaleRow(met, fate, by or was, is_in_doubt=before is Effect.MAYBE)
