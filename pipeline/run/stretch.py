"""Sends a run, its first rows, or a share of it: records what happens and how fast."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread

from pipeline.jobs import read_jobs
from pipeline.jobs.jobs_file import encodes_with, entities_of
from pipeline.model import SUCCESS, RowResult, RunAborted, Status
from pipeline.model.errors import first_of
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.run.account_shares import AccountShares, Sender
from pipeline.run.canary import conditions, subset
from pipeline.run.environment import RunEnvironment
from pipeline.run.legs import legs_of, merge_progress
from pipeline.run.links import AccountLinks, ShareLink
from pipeline.run.live_overrides import LiveOverrides
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepared import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.runs.stop_if import StopCheck, StopIf
from pipeline.vendors import Account
from pipeline.workers.account_sender import AccountSender
from pipeline.workers.environment import NOTHING, RecoveredState, SenderEnvironment
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.pool import WorkerPool
from pipeline.workers.recorder import Record as RecordRows
from pipeline.workers.recorder import Recorder

SAMPLE_EVERY_S = 1.0


class Record(Protocol):
    """The calls of a ledger that sending needs."""

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        """As the ledger does."""

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """As the ledger does."""

    def release(self, rows: Sequence[int]) -> None:
        """As the ledger does."""

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """As the ledger does."""

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """As the ledger does."""


class SerializedLedger:
    """A ledger with serialized calls: rows are read while results are recorded."""

    def __init__(self, ledger: Record) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange],
        previous_states: Sequence[tuple[int, str]],
    ) -> None:
        """As the ledger does."""
        with self._lock:
            self._ledger.record(claims, results, exchanges, previous_states)

    def previous_state(self, row: int) -> str | None:
        """The previous state of a row; None if none is recorded."""
        with self._lock:
            return self._ledger.previous_states([row]).get(row)

    def release(self, rows: Sequence[int]) -> None:
        """As the ledger does."""
        with self._lock:
            self._ledger.release(rows)

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """As the ledger does."""
        with self._lock:
            return self._ledger.ended(rows)

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg]) -> None:
        """As the ledger does."""
        with self._lock:
            self._ledger.sample(samples, legs)


@dataclass(slots=True)
class Stretch:
    """Sends a run, its first rows, or a share of it.

    is_open     answers to other processes have shown that the account of the share works
    on_open     called once answers show it here
    conditions  those that stop the run; None: as its options say
    """

    prepared: Prepared
    environment: RunEnvironment
    links: Sequence[AccountLinks]
    ledger: SerializedLedger
    outcome: RunOutcome
    is_open: bool = False
    on_open: Callable[[], None] = lambda: None
    conditions: Sequence[StopIf] | None = None

    async def send(self, before: RecordedState, rows: frozenset[int] | None = None) -> StopCheck:
        """Send the rows that have no result, and add to the outcome what happened.

        before   the recorded state when this begins
        rows     only these; None: all
        returns  the check that counted the results
        """
        prepared, environment, outcome = self.prepared, self.environment, self.outcome
        stop_if = prepared.options.stop_if if self.conditions is None else self.conditions
        stop_check = StopCheck(conditions(stop_if, is_canary=rows is not None))
        record: RecordRows = self.ledger.record
        if environment.failed is not None:
            record = with_callback(record, environment.failed)
        recorder = Recorder(record, self.ledger.release)
        senders = self._senders(recorder, stop_check, before, rows)
        earlier = outcome.progress
        outcome.pool = pool = WorkerPool(senders, recorder, grace_s=prepared.options.grace_s)
        if outcome.signal is not None:  # it came before there was a pool to stop
            pool.stop(outcome.interruption)
        with environment.watch(pool.progress):
            try:
                await self._run(pool)
            except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
                outcome.failure = first_of(group)
        outcome.progress = merge_progress(earlier, pool.progress())
        outcome.unrecorded = recorder.unrecorded
        self._note_stops(senders)
        return stop_check

    async def _run(self, pool: WorkerPool) -> None:
        prepared, environment = self.prepared, self.environment
        limiters = [
            (each.account, [link.account_limiter for link in each.shares], each.of)
            for each in self.links
        ]
        overrides = LiveOverrides(
            prepared, limiters, environment.window, environment.tell, self.outcome
        )
        async with (
            environment.shared.quotas.kept(
                prepared.config, environment.tell, on_failure=partial(_abort, pool)
            ),
            _sampled(pool, self.ledger, self.outcome),
            overrides.applied(pool),
        ):
            await pool.run()

    def _note_stops(self, senders: Sequence[Sender]) -> None:
        over = self.environment.window.over
        stopped = [(each, each.stopped) for each in senders if each.stopped]
        self.outcome.stopped = {
            sender.account.name: reason
            for sender, reason in stopped
            if not (reason == over and sender.was_done_at_stop)  # it ended in time
        }
        self.outcome.over = over if over in self.outcome.stopped.values() else ""
        self.environment.shared.stop_reasons |= {
            sender.account.name: reason for sender, reason in stopped if sender.is_permanent
        }

    def _senders(
        self,
        recorder: Recorder,
        stop_check: StopCheck,
        before: RecordedState,
        rows: frozenset[int] | None,
    ) -> list[Sender]:
        """One sender per account; those that an earlier run of the command stopped are stopped."""
        options = self.prepared.options
        environment = SenderEnvironment(
            clock=time.monotonic,
            jitter=random.random,
            fail_fast_after=FAIL_FAST_AFTER if options.fail_fast else 0,
            coalesce=options.coalesce,
            prechecks=self.prepared.prechecks,
            previous_state=self.ledger.previous_state,
            on_end=partial(self._on_result, stop_check) if stop_check.has_conditions else _nothing,
            is_gated=stop_check.has_conditions or bool(options.stop_if),
        )
        senders = [
            self._account_sender(links, recorder, environment, before, rows) for links in self.links
        ]
        for sender in senders:
            reason = self.environment.shared.stop_reasons.get(sender.account.name)
            if reason is not None:
                sender.stop(reason, is_permanent=True)
        return senders

    def _account_sender(
        self,
        links: AccountLinks,
        recorder: Recorder,
        environment: SenderEnvironment,
        before: RecordedState,
        rows: frozenset[int] | None,
    ) -> Sender:
        senders = [self._sender(link, recorder, environment, before, rows) for link in links.shares]
        if links.of == 1 and links.account.shares == 1:
            return senders[0]
        return AccountShares(
            links.account,
            senders,
            self._total(links.account, rows),
            is_open=self.is_open,
            on_open=self.on_open,
        )

    def _total(self, account: Account, rows: frozenset[int] | None) -> int:
        return self.prepared.bound.jobs[account.name].rows if rows is None else len(rows)

    def _sender(
        self,
        link: ShareLink,
        recorder: Recorder,
        environment: SenderEnvironment,
        before: RecordedState,
        rows: frozenset[int] | None,
    ) -> AccountSender:
        account, share, account_limiter, wire = link
        recovered = NOTHING
        file = self.prepared.bound.jobs[account.name]
        if not before.is_nothing:
            coalesce = self.prepared.options.coalesce
            overtaking = entities_of(file.path, before.claimed) if coalesce else {}
            recovered = RecoveredState(
                *(before.claimed, before.unknown, before.refused, overtaking),
                ended=self.ledger.ended,
            )
        jobs = read_jobs(
            file.path, encodes_with=encodes_with(account), number=share.number, of=share.of
        )
        return AccountSender(
            account,
            subset(jobs, rows),
            self._total(account, rows),
            wire=wire,
            account_limiter=account_limiter,
            recorder=recorder,
            environment=environment,
            recovered=recovered,
        )

    def _on_result(self, stop_check: StopCheck, status: Status) -> None:
        reason = stop_check.on_result(status)
        pool = self.outcome.pool
        if reason is not None and isinstance(pool, WorkerPool):
            pool.stop_feeding(reason)


def _nothing(_status: Status) -> None: ...


def _abort(pool: WorkerPool, error: RunAborted) -> None:
    """Take no further row; requests in flight finish."""
    if not pool.is_stopped:
        pool.stop(str(error))


@asynccontextmanager
async def _sampled(
    pool: WorkerPool, ledger: SerializedLedger, outcome: RunOutcome
) -> AsyncIterator[None]:
    """Record samples of the speed while the block runs and at its end."""
    samples = _Samples(pool, ledger, outcome)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(samples.keep)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await samples.record(is_over=True)


class _Samples:
    """Records one sample per account and second, and the progress of this process."""

    def __init__(self, pool: WorkerPool, ledger: SerializedLedger, outcome: RunOutcome) -> None:
        self._pool = pool
        self._ledger = ledger
        self._outcome = outcome
        self._recorded_s = time.monotonic()
        self._sent: dict[str, int] = {}

    async def keep(self) -> None:
        """Record samples until cancelled."""
        while True:
            await anyio.sleep(SAMPLE_EVERY_S)
            await self.record()

    async def record(self, *, is_over: bool = False) -> None:
        """Record what happened since the last call."""
        now_s, at_s = time.monotonic(), self._outcome.now_at_s
        samples = self._pool.samples(at_s, now_s - self._recorded_s, self._sent)
        self._recorded_s = now_s
        progress = self._pool.progress()
        self._sent = {each.account: each.sent for each in progress}
        legs = legs_of(self._outcome, progress, is_over=is_over)
        await anyio.to_thread.run_sync(self._write, samples, legs)

    def _write(self, samples: Sequence[Sample], legs: Sequence[Leg]) -> None:
        with suppress(RunAborted):  # the recorder reports a disk that refuses
            self._ledger.sample(samples, legs)


def with_callback(record: RecordRows, failed: Callable[[Sequence[RowResult]], None]) -> RecordRows:
    """`record` that then calls `failed` with the results that did not succeed.

    They are on record by then, so an error of `failed` is dropped.
    """

    def record_and_call(
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange],
        previous_states: Sequence[tuple[int, str]],
    ) -> None:
        record(claims, results, exchanges, previous_states)
        wrong = [result for result in results if result.status not in SUCCESS]
        if wrong:
            with suppress(Exception):
                failed(wrong)

    return record_and_call
