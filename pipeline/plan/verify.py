"""Verifies a run: reads its entities and compares them with the updates that were sent."""

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
from pipeline.plan.entity_reader import ReadResult
from pipeline.plan.make import OnProgress
from pipeline.plan.readers import CHUNK_ROWS, EntityStates, WantedEntity, open_states, rows_of
from pipeline.plan.rows import AppliedRow
from pipeline.run import Prepared, RunEnvironment, reopen
from pipeline.run.canary_rows import Candidate, first_rows, select_entities
from pipeline.run.destination_locks import accounts_held
from pipeline.runs.registry import run_name
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import Missing

CONFIRMED = frozenset({Status.UPDATED, Status.UNCHANGED})
"""Statuses of rows whose values the vendor confirmed to hold."""

_MAX_EXAMPLES = 10


class Drift(NamedTuple):
    """A field whose current value differs from the one that a row sent.

    sent, found  JSON
    """

    row: int
    entity: str
    field: str
    sent: str
    found: str


@dataclass(slots=True)
class Verified:
    """The result of verifying a run.

    rows      rows whose entity was read
    of        all jobs of the run
    drifted   rows with at least one drift
    unread    rows whose read brought no state
    blind     rows of vendors that cannot be read
    untold    rows that a read cannot decide (an item added to a list)
    requests  read requests sent
    examples  the first drifts
    path      a CSV file of all drifts; None if there are none
    stopped   accounts that stopped reading, each with the reason
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
    environment: RunEnvironment,
    *,
    sample: int | None = None,
    tell: OnProgress = lambda _done, _rows: None,
) -> Verified:
    """Read the entities of a run and compare each with the last row that the run applied to it.

    sample  number of entities to read, spread over the run; None: all
    tell    called after each chunk of rows

    Raises UsageError if there is no such run, and what opening its accounts raises.
    """
    prepared = await anyio.to_thread.run_sync(reopen, run, config)
    try:
        accounts = {account.name: account for account in prepared.accounts}
        row_counts = {} if sample else rows_of(prepared.bound.jobs)
        wait, announce = environment.may_wait, environment.tell
        async with (
            accounts_held(prepared.places, config, wait=wait, tell=announce),
            open_states(accounts, config, environment, row_counts) as states,
        ):
            with record_of(prepared) as record:
                check = _Check(prepared, accounts, record, states, sample)
                await check.run(tell)
                check.found.requests = states.requests
                check.found.stopped = states.stopped
                return check.found
    finally:
        prepared.lease.release()


class _Check:
    """Compares the rows of one run; `found` holds the result."""

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
        self._repeated: frozenset[str] = frozenset()
        self._seen: set[str] = set()  # repeated entities whose last applied row is done
        self.found = Verified()

    async def run(self, tell: OnProgress) -> None:
        """Read and compare all rows that are wanted."""
        wanted = await anyio.to_thread.run_sync(self._wanted_rows)
        self.found.of = sum(file.rows for file in self._prepared.bound.jobs.values())
        path = self._prepared.report_folder / f"{run_name('drift')}.csv"
        with _drift_file(path) as write:
            for name, file in self._prepared.bound.jobs.items():
                self._repeated = repeated_entities(file.path, file.repeated)
                for chunk in self._record.backwards(file, CHUNK_ROWS):
                    drifts = await self._compare(self._accounts[name], chunk, wanted)
                    write(drifts)
                    self.found.examples += drifts[: _MAX_EXAMPLES - len(self.found.examples)]
                    tell(self.found.rows, self.found.of)
        if self.found.drifted:
            self.found.path = path
        else:
            path.unlink(missing_ok=True)

    def _wanted_rows(self) -> set[int] | None:
        """Return the numbers of the rows to read; None: all."""
        if self._sample is None:
            return None
        sizes = {(name, ""): f.rows for name, f in self._prepared.bound.jobs.items()}
        entities = select_entities(self._candidates(), sizes, self._sample)
        return first_rows(self._candidates(), entities)

    def _candidates(self) -> Iterator[Candidate]:
        """Yield all rows, last row first, in the order in which they are read."""
        for name, file in self._prepared.bound.jobs.items():
            for chunk in self._record.backwards(file, CHUNK_ROWS):
                for job, _ in chunk:
                    yield Candidate(job.row, (name, ""), job.entity)

    async def _compare(
        self, account: Account, chunk: Sequence[Ended], wanted: set[int] | None
    ) -> list[Drift]:
        ended = list(self._last_confirmed(chunk, wanted))
        pairs = [
            (each, account.operation(each.job.operation))
            for each in self._record.applied(account, ended)
        ]
        seen = await self._states.read(
            [WantedEntity(account.name, each.job.entity, op, each.sent) for each, op in pairs]
        )
        return [drift for each, op in pairs for drift in self._drifts(account, op, each, seen)]

    def _last_confirmed(self, chunk: Sequence[Ended], wanted: set[int] | None) -> Iterator[Ended]:
        """Yield the wanted rows that are confirmed and the last that reached their entity."""
        for job, result in chunk:
            is_last = job.entity not in self._seen
            if job.entity in self._repeated and result.status in CONFIRMED | {Status.UNKNOWN}:
                self._seen.add(job.entity)
            is_wanted = wanted is None or job.row in wanted
            if is_last and is_wanted and result.status in CONFIRMED:
                yield job, result

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
            # it was not sent because its values were already there: compare those alone
            sent = change.merge(account.settings, sent, state) if change.merge else sent
        differences = operation.reading.differences(account.settings, sent, state)
        decided = [each for each in differences if each.is_decided]
        found.drifted += bool(decided)
        found.untold += bool(differences) and not decided
        return [
            Drift(
                job.row,
                job.entity,
                each.field,
                self._states.hide(account.name, json.dumps(each.wanted)),
                self._states.hide(account.name, json.dumps(each.found)),
            )
            for each in decided
        ]


@contextmanager
def _drift_file(path: Path) -> Iterator[Callable[[Iterable[Drift]], object]]:
    """Create a CSV file of drifts; yield the function that appends to it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(Drift._fields)
            yield writer.writerows
    except OSError as error:
        raise RunAborted(f"{path} cannot be written: {error}") from error
