"""Makes the plan of a file: binds its rows as a run would and compares them with vendor state."""

from __future__ import annotations

import heapq
import shutil
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from pathlib import Path, PurePath

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs import read_jobs
from pipeline.jobs.repeats import repeated_entities
from pipeline.loader import Bound
from pipeline.loader.plan_file import PlanWriter
from pipeline.model import JobRow, RowResult, RunAborted, Snapshot, UsageError
from pipeline.model.object_path import ObjectPath
from pipeline.model.plan import PlanKind, Planned, PlanRow
from pipeline.plan.entity_reader import ReadResult
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.readers import CHUNK_ROWS, EntityStates, WantedEntity, open_states, rows_of
from pipeline.plan.rows import invalid_row, plan_row
from pipeline.run import RunEnvironment
from pipeline.run.binding import ingest_and_bind
from pipeline.run.destination_locks import accounts_held
from pipeline.run.objects import faults_shown_as, input_file
from pipeline.runs import RunOptions
from pipeline.runs.registry import fingerprint, run_name
from pipeline.store import RunLedger
from pipeline.store.files import aside, publish, removed_on_error
from pipeline.vendors import Account

LAST_ROW = 2**63 - 1
OnProgress = Callable[[int, int], None]
"""Called with the number of rows done and the number of all rows."""

JobOrResult = tuple[str, JobRow | RowResult]
"""An account's name, with one of its jobs or with the result of a row that became no job."""


@dataclass(slots=True)
class MadePlan:
    """A plan that was written.

    path     the plan file
    planned  the plan's metadata, as stored in the file
    page     counts and examples for display
    stopped  accounts that stopped reading, each with the reason
    pending  rows of the run to undo that `resume` would still send
    """

    path: Path
    planned: Planned
    page: PlanSummary
    stopped: Mapping[str, str] = field(default_factory=dict)
    pending: int = 0


async def make_plan(
    path: Path | ObjectPath,
    out: Path | None,
    config: Config,
    environment: RunEnvironment,
    *,
    options: RunOptions,
    tell: OnProgress = lambda _done, _rows: None,
) -> MadePlan:
    """Read the entities of a file's rows and write a plan of what sending the file would change.

    out   path of the plan; None: in the folder of reports, named after the file
    tell  called after each chunk of rows

    Nothing is changed at any vendor. Raises InputError, ConfigError or BusyError, and RunAborted if
    the disk refuses to write.
    """
    out = out or default_path(config, f"plan-{path.name.split('.')[0]}")
    with _scratch(config, path) as folder:
        with RunLedger.create(folder / "ledger.db") as ledger:
            snapshot, bound = await anyio.to_thread.run_sync(
                _bound, path, config, options, folder, ledger
            )
        accounts = {name: config.outline(name) for name in bound.jobs}
        rows = _Rows(accounts, bound)
        async with _open_states(bound, config, environment) as states:
            with RunLedger(folder / "ledger.db") as ledger, plan_file(out) as writer:
                draft = PlanDraft(writer, PlanSummary(states.hide), tell, snapshot.selected)
                for chunk in _chunks(_in_order(bound, ledger)):
                    await draft.add(await rows.plan(chunk, states))
                operations = {name for file in bound.jobs.values() for name in file.operations}
                planned = planned_now(str(path), accounts, operations, draft.kinds, states.requests)
                writer.describe(planned)
        return MadePlan(out, planned, draft.page, states.stopped)


def _bound(
    path: Path | ObjectPath, config: Config, options: RunOptions, folder: Path, ledger: RunLedger
) -> tuple[Snapshot, Bound]:
    """Ingest and bind the input, by way of a copy if it is an object."""
    given, shown = input_file(path, folder), path if isinstance(path, ObjectPath) else None
    with faults_shown_as(shown, given.path):
        return ingest_and_bind(
            given.path, config, options, folder, ledger, shown=shown, dropped=shown
        )


class PlanDraft:
    """Writes the rows of a plan, counts them and reports progress.

    of     number of all rows, for `tell`
    kinds  rows written, per kind
    page   counts and examples for display
    """

    def __init__(self, writer: PlanWriter, page: PlanSummary, tell: OnProgress, of: int) -> None:
        self._writer = writer
        self._tell = tell
        self._of = of
        self.page = page
        self.kinds: Counter[PlanKind] = Counter()

    async def add(self, rows: list[PlanRow]) -> None:
        """Write more rows."""
        await anyio.to_thread.run_sync(self._writer.write, rows)
        self.kinds.update(row.kind for row in rows)
        self.page.add(rows)
        self._tell(self.kinds.total(), self._of)


def planned_now(
    source: str,
    accounts: Mapping[str, Account],
    operations: Container[str],
    kinds: Mapping[PlanKind, int],
    requests: int,
) -> Planned:
    """The metadata of a plan of these operations, made now."""
    gaps = {
        op.name: op.change.gap(account.settings)
        for account in accounts.values()
        for op in account.vendor.operations
        if op.change is not None and op.name in operations
    }
    return Planned(
        source=source,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        accounts={name: fingerprint(account) for name, account in accounts.items()},
        is_simulated=any(account.is_simulated for account in accounts.values()),
        kinds=dict(kinds),
        requests=requests,
        gaps={name: gap for name, gap in gaps.items() if gap},
    )


class _Rows:
    """Turns the rows of a file into rows of a plan."""

    def __init__(self, accounts: Mapping[str, Account], bound: Bound) -> None:
        self._accounts = accounts
        self._repeated = frozenset[str]().union(
            *(repeated_entities(file.path, file.repeated) for file in bound.jobs.values())
        )

    async def plan(self, chunk: Sequence[JobOrResult], states: EntityStates) -> list[PlanRow]:
        """Return what sending the rows would do, in order; rows of one entity build on another."""
        wanted = [self._wanted(account, job) for account, job in _jobs(chunk)]
        seen = await states.read(wanted)
        return [self._plan_row(account, each, seen, states) for account, each in chunk]

    def _wanted(self, account: str, job: JobRow) -> WantedEntity:
        operation = self._accounts[account].operation(job.operation)
        return WantedEntity(account, job.entity, operation, operation.job_type.trusted(job.text))

    def _plan_row(
        self,
        account: str,
        each: JobRow | RowResult,
        seen: Mapping[str, ReadResult],
        states: EntityStates,
    ) -> PlanRow:
        if isinstance(each, RowResult):
            return invalid_row(each)
        operation = self._accounts[account].operation(each.operation)
        result = states.known_or(seen, each.entity)
        row, after = plan_row(self._accounts[account], operation, each, result)
        if after is not None and each.entity in self._repeated:
            states.known[each.entity] = after
        return row


def _jobs(rows: Iterable[JobOrResult]) -> Iterator[tuple[str, JobRow]]:
    for account, each in rows:
        if isinstance(each, JobRow):
            yield account, each


def _in_order(bound: Bound, ledger: RunLedger) -> Iterator[JobOrResult]:
    """Yield the jobs of all accounts, and the results of rows that became none, in file order."""

    def jobs(account: str, path: Path) -> Iterator[JobOrResult]:
        for batch in read_jobs(path, batch_rows=CHUNK_ROWS):
            yield from ((account, job) for job in batch)

    results: Iterator[JobOrResult] = (
        (result.account, result) for result in ledger.results(1, LAST_ROW)
    )
    streams = [jobs(name, file.path) for name, file in bound.jobs.items()]
    return heapq.merge(*streams, results, key=lambda pair: attrgetter("row")(pair[1]))


def _chunks(rows: Iterator[JobOrResult]) -> Iterator[list[JobOrResult]]:
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk


@asynccontextmanager
async def _open_states(
    bound: Bound, config: Config, environment: RunEnvironment
) -> AsyncIterator[EntityStates]:
    """Read the accounts of a file while no other process uses their quotas."""
    places = frozenset[str]().union(*(file.reaches for file in bound.jobs.values()))
    async with (
        accounts_held(places, config, wait=environment.may_wait, tell=environment.tell),
        open_states(bound.jobs, config, environment, rows_of(bound.jobs)) as states,
    ):
        yield states


@contextmanager
def _scratch(config: Config, path: PurePath) -> Iterator[Path]:
    """A folder for copies of the file, removed after the block."""
    folder = config.ledger_folder / "plans" / run_name(path.name.split(".")[0])
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise RunAborted(f"{folder} cannot be created: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plan_file(out: Path) -> Iterator[PlanWriter]:
    """Write a plan to `out` atomically.

    Raises UsageError unless the suffix is .parquet, and RunAborted if the file cannot be written.
    """
    if out.suffix != ".parquet":
        raise UsageError(f"{out}: a plan is a .parquet file")
    part = aside(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with removed_on_error(part):
            with PlanWriter(part) as writer:
                yield writer
            publish({part: out})
    except OSError as error:
        raise RunAborted(f"the plan cannot be written to {out}: {error}") from error


def default_path(config: Config, stem: str) -> Path:
    """The path of a plan if the user names none."""
    return config.reports / f"{run_name(stem).partition('-')[2]}.parquet"
