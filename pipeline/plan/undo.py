"""Makes the plan that undoes a run: it restores what each row overwrote.

Entities that changed after the run are left as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs import JobsFile
from pipeline.jobs.repeats import repeated_entities
from pipeline.model import Status, UsageError
from pipeline.model.plan import PlanRow
from pipeline.plan.applied import MAYBE_APPLIED, AppliedRun, record_of
from pipeline.plan.entity_reader import ReadResult
from pipeline.plan.make import (
    MadePlan,
    OnProgress,
    PlanDraft,
    default_path,
    plan_file,
    planned_now,
)
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.readers import CHUNK_ROWS, EntityStates, WantedEntity, open_states, rows_of
from pipeline.plan.rows import AppliedRow, undo_row
from pipeline.run import RunEnvironment, reopen
from pipeline.run.destination_locks import accounts_held
from pipeline.vendors import Account


async def undo_plan(
    run: str,
    out: Path | None,
    config: Config,
    environment: RunEnvironment,
    *,
    tell: OnProgress = lambda _done, _rows: None,
) -> MadePlan:
    """Read the current state of a run's entities and write the plan that undoes the run.

    The plan holds the rows that were applied or may have been, last row first. For `out`, `tell`
    and errors see `make_plan`; also raises UsageError if there is no such run, or nothing to undo.
    """
    prepared = await anyio.to_thread.run_sync(reopen, run, config)
    try:
        accounts = {account.name: account for account in prepared.accounts}
        stem = run.partition("-")[2].rpartition("-")[0]
        out = out or default_path(config, f"undo-{stem}")
        row_counts = rows_of(prepared.bound.jobs)
        wait, announce = environment.may_wait, environment.tell
        async with (
            accounts_held(prepared.places, config, wait=wait, tell=announce),
            open_states(accounts, config, environment, row_counts) as states,
        ):
            with record_of(prepared) as record, plan_file(out) as writer:
                page = PlanSummary(states.hide)
                draft = PlanDraft(writer, page, tell, prepared.bound.rows)
                pending = 0
                for name, file in prepared.bound.jobs.items():
                    account = _Account(accounts[name], file, record, states)
                    async for rows in account.rows():
                        first = draft.kinds.total() + 1
                        await draft.add([r._replace(row=n) for n, r in enumerate(rows, first)])
                    pending += account.pending
                if not draft.kinds:
                    raise UsageError(f"nothing to undo: run {run} applied no row")
                jobs = prepared.bound.jobs.values()
                operations = {name for file in jobs for name in file.operations}
                planned = planned_now(run, accounts, operations, draft.kinds, states.requests)
                planned = replace(planned, undoes=run)
                writer.describe(planned)
            return MadePlan(out, planned, page, states.stopped, pending)
    finally:
        prepared.lease.release()


class _Account:
    """Undoes the rows of one account of a run.

    pending  once all rows are read: those that were not sent
    """

    def __init__(
        self, account: Account, file: JobsFile, record: AppliedRun, states: EntityStates
    ) -> None:
        self._account = account
        self._file = file
        self._record = record
        self._states = states
        self._repeated = repeated_entities(file.path, file.repeated)
        self.pending = file.rows

    async def rows(self) -> AsyncIterator[list[PlanRow]]:
        """Yield chunks of rows, the last row of the run first."""
        for chunk in self._record.backwards(self._file, CHUNK_ROWS):
            self.pending -= sum(each.status is not Status.NOT_ATTEMPTED for _, each in chunk)
            ended = [pair for pair in chunk if pair[1].status in MAYBE_APPLIED]
            applied = self._record.applied(self._account, ended)
            seen = await self._states.read([self._wanted(each) for each in applied if each.before])
            yield [self._row(each, seen) for each in applied]

    def _wanted(self, applied: AppliedRow) -> WantedEntity:
        job = applied.job
        return WantedEntity(
            self._account.name, job.entity, self._account.operation(job.operation), applied.sent
        )

    def _row(self, applied: AppliedRow, seen: Mapping[str, ReadResult]) -> PlanRow:
        entity, operation = applied.job.entity, self._account.operation(applied.job.operation)
        result = self._states.known_or(seen, entity)
        row, after = undo_row(self._account, operation, applied, result)
        if after is not None and entity in self._repeated:
            self._states.known[entity] = after
        return row if row.note else row._replace(note=f"undoes row {applied.job.row}")
