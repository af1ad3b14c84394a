"""Whether what a run has applied still stands: read back, and compared with what was sent."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.jobs.repeats import repeated_entities
from pipeline.model import RunAborted, Status
from pipeline.plan.applied import AppliedRun, Ended, record_of
from pipeline.plan.make import Tell
from pipeline.plan.readers import STRETCH_ROWS, EntityStates, WantedEntity, opened, rows_of
from pipeline.plan.rows import AppliedRow
from pipeline.run import Prepared, RunEnvironment, reopen
from pipeline.run.canary_rows import Candidate, first_of_each, picked
from pipeline.run.destination_locks import accounts_held
from pipeline.runs.registry import run_name
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import Missing
from pipeline.workers.entity_reader import ReadResult

STANDS = frozenset({Status.UPDATED, Status.UNCHANGED})
"""Rows that say that the vendor holds them."""

_KEPT_EXAMPLES = 10


class Drift(NamedTuple):
    """One field in which the vendor does not hold what a row has put there; JSON."""

    row: int
    entity: str
    field: str
    sent: str
    found: str


@dataclass(slots=True)
class Verified:
    """What reading back showed.

    rows      whose entity was read, of `of` that could have been
    drifted   rows with at least one drift
    unread    rows of which the vendor did not tell
    blind     rows of vendors that cannot be read
    untold    rows of which a read cannot tell (an item added to a list)
    examples  the first drifts; all of them stand in `path`, None where there are none
    stopped   accounts that were read no further, and why
    """

    rows: int = 0
    of: int = 0
    drifted: int = 0
    unread: int = 0
    blind: int = 0
    untold: int = 0
    requests: int = 0
    examples: list[Drift] = field(default_factory=list)
    path: Path | None = None
    stopped: dict[str, str] = field(default_factory=dict)


async def verify_run(
    run: str,
    config: Config,
    way: RunEnvironment,
    *,
    sample: int | None = None,
    tell: Tell = lambda _done, _rows: None,
) -> Verified:
    """Read back what a run has applied: of each entity the last row of the run.

    sample  so many entities, spread over the run; None: all
    """
    prepared = await anyio.to_thread.run_sync(reopen, run, config)
    try:
        accounts = {account.name: account for account in prepared.accounts}
        async with (
            accounts_held(prepared.places, config, wait=way.may_wait, tell=way.tell),
            opened(accounts, config, way, {} if sample else rows_of(prepared.bound.jobs)) as states,
        ):
            with record_of(prepared) as record:
                check = _Check(prepared, accounts, record, states, sample)
                await check.run(tell)
                check.found.requests = states.requests
                check.found.stopped = states.stopped
                return check.found
    finally:
        prepared.lock.release()


class _Check:
    def __init__(
        self,
        prepared: Prepared,
        accounts: dict[str, Account],
        record: AppliedRun,
        states: EntityStates,
        sample: int | None,
    ) -> None:
        self._prepared = prepared
        self._accounts = accounts
        self._record = record
        self._states = states
        self._sample = sample
        self._several: frozenset[str] = frozenset()
        self._seen: set[str] = set()  # entities with several rows, whose last row was met
        self.found = Verified()

    async def run(self, tell: Tell) -> None:
        wanted = await anyio.to_thread.run_sync(self._chosen)
        self.found.of = sum(file.rows for file in self._prepared.bound.jobs.values())
        path = self._prepared.report_folder / f"{run_name('drift')}.csv"
        with _drift_file(path) as write:
            for name, file in self._prepared.bound.jobs.items():
                self._several = repeated_entities(file.path, file.repeated)
                for some in self._record.backwards(file, STRETCH_ROWS):
                    drifts = await self._stretch(self._accounts[name], some, wanted)
                    write(drifts)
                    self.found.examples += drifts[: _KEPT_EXAMPLES - len(self.found.examples)]
                    tell(self.found.rows, self.found.of)
        if self.found.drifted:
            self.found.path = path
        else:
            path.unlink(missing_ok=True)

    def _chosen(self) -> set[int] | None:
        """Rows to be read: None means all."""
        if self._sample is None:
            return None
        sizes = {(name, ""): f.rows for name, f in self._prepared.bound.jobs.items()}
        entities = picked(self._candidates(), sizes, self._sample)
        return first_of_each(self._candidates(), entities)

    def _candidates(self) -> Iterator[Candidate]:
        """The last first, as they are read."""
        for name, file in self._prepared.bound.jobs.items():
            for some in self._record.backwards(file, STRETCH_ROWS):
                for job, _ in some:
                    yield Candidate(job.row, (name, ""), job.entity)

    async def _stretch(
        self, account: Account, some: Sequence[Ended], wanted: set[int] | None
    ) -> list[Drift]:
        standing = []
        for job, result in some:
            is_last = job.entity not in self._seen
            if job.entity in self._several and result.status in STANDS | {Status.UNKNOWN}:
                self._seen.add(job.entity)
            is_chosen = wanted is None or job.row in wanted
            if is_last and is_chosen and result.status in STANDS:
                standing.append((job, result))
        applied = self._record.applied(account, standing)
        seen = await self._states.of(
            [
                WantedEntity(
                    account.name, each.job.entity, account.operation(each.job.operation), each.sent
                )
                for each in applied
            ]
        )
        return [
            drift
            for each in applied
            for drift in self._drifts(account, account.operation(each.job.operation), each, seen)
        ]

    def _drifts(
        self,
        account: Account,
        operation: Operation[Any, Any],
        applied: AppliedRow,
        seen: dict[str, ReadResult],
    ) -> list[Drift]:
        job, found = applied.job, self.found
        if operation.reading is None:
            found.blind += 1
            return []
        state = seen[job.entity].state
        found.rows += 1
        if state is None:
            found.unread += 1
            return []
        if isinstance(state, Missing):
            found.drifted += 1
            return [Drift(job.row, job.entity, "", "an entity", "no such entity")]
        sent, change = applied.sent, operation.change
        if applied.before is None and job.keeps and change:
            # it was not sent, for what it asks for was there: that is asked again, and no more
            sent = change.merge(account.settings, sent, state) if change.merge else sent
        differences = operation.reading.differences(account.settings, sent, state)
        told = [each for each in differences if each.is_told]
        found.drifted += bool(told)
        found.untold += bool(differences) and not told
        return [
            Drift(
                job.row,
                job.entity,
                each.field,
                self._states.hide(account.name, json.dumps(each.wanted)),
                self._states.hide(account.name, json.dumps(each.found)),
            )
            for each in told
        ]


@contextmanager
def _drift_file(path: Path) -> Iterator[Callable[[Iterable[Drift]], object]]:
    """A CSV file of drifts, and what appends to it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(Drift._fields)
            yield writer.writerows
    except OSError as error:
        raise RunAborted(f"{path} cannot be written: {error}") from error
