"""A plan that takes a run back: what each row overwrote is put back, where nobody came between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs import JobsFile
from pipeline.jobs.repeats import repeated_entities
from pipeline.model import UsageError
from pipeline.model.plan import PlanKind, PlanRow
from pipeline.plan.applied import MAY_STAND, AppliedRun, record_of
from pipeline.plan.make import MadePlan, Tell, place_of, plan_file, planned_now
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.readers import STRETCH_ROWS, EntityStates, WantedEntity, opened, rows_of
from pipeline.plan.rows import AppliedRow, taken_back
from pipeline.run import RunEnvironment, reopen
from pipeline.run.destination_locks import accounts_held
from pipeline.vendors import Account
from pipeline.workers.entity_reader import ReadResult


async def undo_plan(
    run: str,
    out: Path | None,
    config: Config,
    way: RunEnvironment,
    *,
    tell: Tell = lambda _done, _rows: None,
) -> MadePlan:
    """Read what the entities of a run hold now, and write what takes the run back.

    Its rows are those of the run that were or may have been applied, the last first. `out` and what
    it raises are as of `make_plan`; UsageError where there is no such run.
    """
    prepared = await anyio.to_thread.run_sync(reopen, run, config)
    try:
        accounts = {account.name: account for account in prepared.accounts}
        stem = run.partition("-")[2].rpartition("-")[0]
        out = out or place_of(config, f"undo-{stem}")
        async with (
            accounts_held(prepared.places, config, wait=way.may_wait, tell=way.tell),
            opened(accounts, config, way, rows_of(prepared.bound.jobs)) as states,
        ):
            with record_of(prepared) as record, plan_file(out) as writer:
                kinds: Counter[PlanKind] = Counter()
                page = PlanSummary(states.hide)
                for name, file in prepared.bound.jobs.items():
                    async for rows in _Account(accounts[name], file, record, states).rows():
                        first = kinds.total() + 1
                        numbered = [r._replace(row=n) for n, r in enumerate(rows, first)]
                        await anyio.to_thread.run_sync(writer.write, numbered)
                        kinds.update(row.kind for row in numbered)
                        page.add(numbered)
                        tell(kinds.total(), prepared.bound.rows)
                if not kinds:
                    raise UsageError(f"run {run} has applied no row: there is nothing to take back")
                jobs = prepared.bound.jobs.values()
                operations = {name for file in jobs for name in file.operations}
                planned = planned_now(run, accounts, operations, kinds, states.requests)
                planned = replace(planned, undoes=run)
                writer.say(planned)
            return MadePlan(out, planned, page, states.stopped)
    finally:
        prepared.lock.release()


class _Account:
    """The rows of one account of a run, taken back."""

    def __init__(
        self, account: Account, file: JobsFile, record: AppliedRun, states: EntityStates
    ) -> None:
        self._account = account
        self._file = file
        self._record = record
        self._states = states
        self._several = repeated_entities(file.path, file.repeated)

    async def rows(self) -> AsyncIterator[list[PlanRow]]:
        """The last row of the run first, some at a time."""
        for some in self._record.backwards(self._file, STRETCH_ROWS):
            standing = [pair for pair in some if pair[1].status in MAY_STAND]
            applied = self._record.applied(self._account, standing)
            seen = await self._states.of([self._wanted(each) for each in applied if each.before])
            yield [self._row(each, seen) for each in applied]

    def _wanted(self, applied: AppliedRow) -> WantedEntity:
        job = applied.job
        return WantedEntity(
            self._account.name, job.entity, self._account.operation(job.operation), applied.sent
        )

    def _row(self, applied: AppliedRow, seen: Mapping[str, ReadResult]) -> PlanRow:
        entity, operation = applied.job.entity, self._account.operation(applied.job.operation)
        known = self._states.known.get(entity)
        what = ReadResult(known) if known is not None else seen.get(entity, ReadResult(None))
        row, after = taken_back(self._account, operation, applied, what)
        if after is not None and entity in self._several:
            self._states.known[entity] = after
        return row if row.note else row._replace(note=f"takes back row {applied.job.row}")
