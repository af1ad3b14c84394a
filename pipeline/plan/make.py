"""A plan of a file: its rows taken and bound as a run would, laid beside what the vendors hold."""

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
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs import read_jobs
from pipeline.jobs.repeats import repeated_entities
from pipeline.loader import Bound
from pipeline.loader.plan_file import PlanWriter
from pipeline.model import JobRow, RowResult, RunAborted, UsageError
from pipeline.model.plan import PlanKind, Planned, PlanRow
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.readers import STRETCH_ROWS, EntityStates, WantedEntity, opened, rows_of
from pipeline.plan.rows import foretold, invalid
from pipeline.run import RunEnvironment
from pipeline.run.destination_locks import accounts_held
from pipeline.run.prepare import take_and_bind
from pipeline.runs import RunOptions
from pipeline.runs.record import LEDGER
from pipeline.runs.registry import fingerprint, run_name
from pipeline.store import RunLedger
from pipeline.store.files import aside, publish, removed_on_error
from pipeline.vendors import Account
from pipeline.workers.entity_reader import ReadResult

LAST_ROW = 2**63 - 1
Tell = Callable[[int, int], None]
"""Is told how many rows are done, and of how many."""


@dataclass(slots=True)
class MadePlan:
    """A plan that was written: its file, what it says of itself, and its page."""

    path: Path
    planned: Planned
    page: PlanSummary
    stopped: Mapping[str, str] = field(default_factory=dict)


async def make_plan(
    path: Path,
    out: Path | None,
    config: Config,
    way: RunEnvironment,
    *,
    options: RunOptions,
    tell: Tell = lambda _done, _rows: None,
) -> MadePlan:
    """Read what the entities of a file hold, and write what sending it would do.

    out  where the plan goes; None: into the folder of the reports, under the name of the file

    Nothing is changed anywhere. Raises InputError, ConfigError or BusyError, and RunAborted where
    the disk refuses.
    """
    out = out or place_of(config, f"plan-{path.name.split('.')[0]}")
    with _scratch(config, path) as folder:
        snapshot, bound = await anyio.to_thread.run_sync(
            take_and_bind, path, config, options, folder
        )
        accounts = {name: config.outline(name) for name in bound.jobs}
        rows = _Rows(accounts, bound)
        async with _reading(bound, config, way) as states:
            with RunLedger(folder / LEDGER) as ledger, plan_file(out) as writer:
                kinds: Counter[PlanKind] = Counter()
                page = PlanSummary(states.hide)
                for some in _stretches(_in_order(bound, ledger)):
                    laid = await rows.lay(some, states)
                    await anyio.to_thread.run_sync(writer.write, laid)
                    kinds.update(row.kind for row in laid)
                    page.add(laid)
                    tell(kinds.total(), snapshot.selected)
                operations = {name for file in bound.jobs.values() for name in file.operations}
                planned = planned_now(str(path), accounts, operations, kinds, states.requests)
                writer.say(planned)
        return MadePlan(out, planned, page, states.stopped)


def planned_now(
    source: str,
    accounts: Mapping[str, Account],
    operations: Container[str],
    kinds: Mapping[PlanKind, int],
    requests: int,
) -> Planned:
    """What a plan of these operations, made now, says of itself."""
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
    """The rows of a file become rows of a plan."""

    def __init__(self, accounts: Mapping[str, Account], bound: Bound) -> None:
        self._accounts = accounts
        self._several = frozenset[str]().union(
            *(repeated_entities(file.path, file.repeated) for file in bound.jobs.values())
        )

    async def lay(
        self, some: Sequence[tuple[str, JobRow | RowResult]], states: EntityStates
    ) -> list[PlanRow]:
        """What sending them would do, in their order; rows of one entity build on each other."""
        seen = await states.of([self._wanted(account, job) for account, job in _jobs(some)])
        return [self._laid(account, each, seen, states) for account, each in some]

    def _wanted(self, account: str, job: JobRow) -> WantedEntity:
        operation = self._accounts[account].operation(job.operation)
        return WantedEntity(account, job.entity, operation, operation.job_type.trusted(job.text))

    def _laid(
        self,
        account: str,
        each: JobRow | RowResult,
        seen: Mapping[str, ReadResult],
        states: EntityStates,
    ) -> PlanRow:
        if isinstance(each, RowResult):
            return invalid(each)
        operation = self._accounts[account].operation(each.operation)
        known = states.known.get(each.entity)
        what = ReadResult(known) if known is not None else seen.get(each.entity, ReadResult(None))
        row, after = foretold(self._accounts[account], operation, each, what)
        if after is not None and each.entity in self._several:
            states.known[each.entity] = after
        return row


def _jobs(some: Iterable[tuple[str, JobRow | RowResult]]) -> Iterator[tuple[str, JobRow]]:
    for account, each in some:
        if isinstance(each, JobRow):
            yield account, each


def _in_order(bound: Bound, ledger: RunLedger) -> Iterator[tuple[str, JobRow | RowResult]]:
    """Jobs of all accounts and rows that became none, in the order of the file."""

    def jobs(account: str, path: Path) -> Iterator[tuple[str, JobRow | RowResult]]:
        for batch in read_jobs(path, batch_rows=STRETCH_ROWS):
            yield from ((account, job) for job in batch)

    ends: Iterator[tuple[str, JobRow | RowResult]] = (
        (result.account, result) for result in ledger.results(1, LAST_ROW)
    )
    streams = [jobs(name, file.path) for name, file in bound.jobs.items()]
    return heapq.merge(*streams, ends, key=lambda pair: attrgetter("row")(pair[1]))


def _stretches(
    rows: Iterator[tuple[str, JobRow | RowResult]],
) -> Iterator[list[tuple[str, JobRow | RowResult]]]:
    while some := list(islice(rows, STRETCH_ROWS)):
        yield some


@asynccontextmanager
async def _reading(
    bound: Bound, config: Config, way: RunEnvironment
) -> AsyncIterator[EntityStates]:
    """States of the accounts of a file, while no other process uses their quotas."""
    places = frozenset[str]().union(*(file.reaches for file in bound.jobs.values()))
    async with (
        accounts_held(places, config, wait=way.may_wait, tell=way.tell),
        opened(bound.jobs, config, way, rows_of(bound.jobs)) as states,
    ):
        yield states


@contextmanager
def _scratch(config: Config, path: Path) -> Iterator[Path]:
    """A folder for the copies of a file, gone afterwards."""
    folder = config.ledger_folder / "plans" / run_name(path.name.split(".")[0])
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise RunAborted(f"{folder} cannot be made: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plan_file(out: Path) -> Iterator[PlanWriter]:
    """Write a plan to `out`, whole or not at all. Raises UsageError or RunAborted."""
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


def place_of(config: Config, stem: str) -> Path:
    """Where a plan goes that nobody named."""
    return config.reports / f"{run_name(stem).partition('-')[2]}.parquet"
