"""Sends a prepared run: one sender per account in one pool, stopped by signals."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread

from pipeline.jobs import read_jobs
from pipeline.jobs.jobs_file import encodes_with, entities_of
from pipeline.model import (
    SUCCESS,
    AccountProgress,
    ConfigError,
    Fault,
    RowResult,
    RunAborted,
    Status,
)
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.canary import Agree, canary_result, canary_rows, conditions, subset
from pipeline.run.credentials import keep_credentials
from pipeline.run.legs import LegCounter, legs_of, merge_progress
from pipeline.run.links import AccountLinks, OpenLink, ShareLink, open_links, over_http, shares_of
from pipeline.run.live_overrides import LiveOverrides
from pipeline.run.prepare import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.schedule_window import READY_AHEAD_S, ScheduleWindow
from pipeline.run.session import RunOutcome, Session
from pipeline.runs.stop_if import StopCheck
from pipeline.store import Ledger
from pipeline.vendors import Account
from pipeline.workers.account_sender import AccountSender
from pipeline.workers.account_shares import AccountShares
from pipeline.workers.dependencies import SenderEnvironment
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.pool import Sender, WorkerPool
from pipeline.workers.recorder import Record, Recorder
from pipeline.workers.recovered_state import NOTHING, RecoveredState
from pipeline.workers.tokens import REFUSED, sign_in_ahead

SAMPLE_EVERY_S = 1.0

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnvironment:
    """What a prepared run needs from outside.

    watch      shows progress while rows are sent
    environ    environment variables, for secrets
    open_link  opens the connection to an account's vendor
    shared     state shared by runs of the same command
    wait       wait for other processes that send to the same place; else raise BusyError
    window     when the run may send
    tell       called with text for people about waits and live overrides
    failed     called in a thread with failed results once they are on record; None: not called
    agree      called in a thread after a good canary; True if the other rows may be sent
    """

    watch: Watch = nullcontext
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_link: OpenLink = over_http
    shared: Session = field(default_factory=Session)
    wait: bool = True
    window: ScheduleWindow = field(default_factory=ScheduleWindow)
    tell: Callable[[str], None] = lambda _words: None
    failed: Callable[[Sequence[RowResult]], None] | None = None
    agree: Agree = lambda _trial: True

    def may_wait(self) -> bool:
        """True while the run may wait for other processes."""
        is_late = self.window.is_over
        return self.wait and self.shared.interrupted is None and not is_late

    async def await_start(self, outcome: RunOutcome, *, ahead_s: float = 0.0) -> bool:
        """Wait until `ahead_s` before the start; False if the run was called off, as `outcome`
        says.
        """
        may_go = await self.window.wait(lambda: outcome.signal is not None, ahead_s=ahead_s)
        if not may_go and self.window.start_at is not None:
            outcome.is_off = True
        return not outcome.is_off


async def await_window(
    prepared: Prepared, environment: RunEnvironment, outcome: RunOutcome
) -> bool:
    """Sign in, then wait until READY_AHEAD_S before the start; False if the run was called off.

    Raises ConfigError if an account cannot sign in: the person who set the time may still be there.
    """
    if environment.window.start_at is None or prepared.refusal is not None:
        return True
    for name in prepared.bound.jobs:
        account = prepared.config.account(name, environment.environ)
        limiter = _limiter(prepared, environment, account, 0, environment.tell)
        async with environment.open_link(account.part(0), limiter) as send:
            refused = await sign_in_ahead(send)
        if refused is not None and refused.reason == REFUSED:
            raise ConfigError([Fault(what=f"account {name} cannot sign in: {refused.detail}")])
    return await environment.await_start(outcome, ahead_s=READY_AHEAD_S)


async def send_or_refuse(
    prepared: Prepared,
    environment: RunEnvironment,
    ledger: Ledger,
    before: RecordedState,
    outcome: RunOutcome,
) -> None:
    """Send every row that has no result, unless the run is refused. `outcome` gets what
    happened.
    """
    if prepared.refusal is not None:
        return
    accounts = [prepared.config.account(name, environment.environ) for name in prepared.bound.jobs]
    await anyio.to_thread.run_sync(keep_credentials, prepared, accounts)
    async with AsyncExitStack() as stack:
        links: list[AccountLinks] = []
        for account in accounts:
            jobs = prepared.bound.jobs[account.name]
            shares = await anyio.to_thread.run_sync(shares_of, account, jobs)
            limiter = partial(_limiter, prepared, environment)
            opened = open_links(
                account,
                shares,
                open_link=environment.open_link,
                limiter=limiter,
                announce=environment.tell,
            )
            links.append(await stack.enter_async_context(opened))
            if environment.window.start_at is not None:
                await sign_in_ahead(links[-1].shares[0].wire)
        if _records_previous_states(prepared):
            ledger.has_previous_states()  # raises if those of an earlier process are damaged
        outcome.leg = 1 + max((leg.number for leg in ledger.legs()), default=0)
        stretch = _Stretch(prepared, environment, links, SerializedLedger(ledger), outcome)
        if await environment.await_start(outcome) and await _passes_canary(stretch, before, ledger):
            await stretch.send(RecordedState.of(ledger) if prepared.options.canary else before)


def _limiter(
    prepared: Prepared,
    environment: RunEnvironment,
    account: Account,
    number: int,
    announce: Callable[[str], None],
) -> AccountLimiter:
    """The limiter of one share of an account. Raises ConfigError as `Session.limiter` does."""
    limiter = environment.shared.limiter(account, prepared.config, number)
    sure_until_s = prepared.holds.sure_until_s
    return AccountLimiter(limiter, prepared.run, announce=announce, sure_until_s=sure_until_s)


def _records_previous_states(prepared: Prepared) -> bool:
    prechecks = prepared.prechecks
    return bool(prepared.bound.keeps) or prechecks.skips or prechecks.remembers


async def _passes_canary(stretch: _Stretch, before: RecordedState, ledger: Ledger) -> bool:
    """Send the canary, if there is one; True if the other rows may be sent."""
    prepared, outcome = stretch.prepared, stretch.outcome
    jobs = prepared.bound.jobs
    total = sum(file.rows for file in jobs.values())
    if not 0 < prepared.options.canary < total:
        return True
    rows = await anyio.to_thread.run_sync(canary_rows, jobs, prepared.options.canary)
    if not rows - ledger.ended(sorted(rows)).keys():
        return True  # an earlier process tried them
    stop_check = await stretch.send(before, rows)
    if outcome.stopped or outcome.failure is not None or outcome.signal is not None:
        return False
    reason = stop_check.at_end()
    if reason is None:
        result = canary_result(rows, total, ledger)
        if not await anyio.to_thread.run_sync(stretch.environment.agree, result):
            reason = f"stopped after the canary of {len(rows)} rows"
    if reason is not None:
        outcome.stopped = dict.fromkeys(jobs, reason)
    return reason is None and outcome.signal is None


class SerializedLedger:
    """A ledger with serialized calls: rows are read while results are recorded."""

    def __init__(self, ledger: Ledger) -> None:
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
class _Stretch:
    """Sends a run, or its first rows."""

    prepared: Prepared
    environment: RunEnvironment
    links: Sequence[AccountLinks]
    ledger: SerializedLedger
    outcome: RunOutcome

    async def send(self, before: RecordedState, rows: frozenset[int] | None = None) -> StopCheck:
        """Send the rows that have no result, and add to the outcome what happened.

        before   the recorded state when this begins
        rows     only these; None: all
        returns  the check that counted the results
        """
        prepared, environment, outcome = self.prepared, self.environment, self.outcome
        stop_check = StopCheck(conditions(prepared.options.stop_if, is_canary=rows is not None))
        record: Record = self.ledger.record
        if environment.failed is not None:
            record = with_callback(record, environment.failed)
        recorder = Recorder(record, self.ledger.release)
        senders = self._senders(recorder, stop_check, before, rows)
        earlier = outcome.progress
        outcome.pool = WorkerPool(senders, recorder, grace_s=prepared.options.grace_s)
        if outcome.signal is not None:  # it came before there was a pool to stop
            outcome.pool.stop(outcome.interruption)
        with environment.watch(outcome.pool.progress):
            try:
                await self._run(outcome.pool)
            except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
                outcome.failure = _first(group)
        outcome.progress = merge_progress(earlier, outcome.pool.progress())
        outcome.unrecorded = recorder.unrecorded
        self._note_stops(senders)
        return stop_check

    async def _run(self, pool: WorkerPool) -> None:
        prepared, environment = self.prepared, self.environment
        limiters = [
            (each.account, [link.account_limiter for link in each.shares]) for each in self.links
        ]
        overrides = LiveOverrides(
            prepared, limiters, environment.window, environment.tell, self.outcome
        )
        async with (
            environment.shared.kept(
                prepared.config, environment.tell, on_failure=partial(_abort, pool)
            ),
            _sampled(pool, self.ledger, partial(legs_of, self.outcome)),
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
            on_end=partial(self._on_result, stop_check),
            is_gated=stop_check.has_conditions,
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
        if len(senders) == 1 and links.account.shares == 1:
            return senders[0]
        return AccountShares(links.account, senders, self._total(links.account, rows))

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
        if reason is not None and self.outcome.pool is not None:
            self.outcome.pool.stop_feeding(reason)


def _abort(pool: WorkerPool, error: RunAborted) -> None:
    """Take no further row; requests in flight finish."""
    if not pool.is_stopped:
        pool.stop(str(error))


@asynccontextmanager
async def _sampled(
    pool: WorkerPool, ledger: SerializedLedger, legs: LegCounter
) -> AsyncIterator[None]:
    """Record samples of the speed while the block runs and at its end."""
    samples = _Samples(pool, ledger, legs)
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

    def __init__(self, pool: WorkerPool, ledger: SerializedLedger, legs: LegCounter) -> None:
        self._pool = pool
        self._ledger = ledger
        self._legs = legs
        self._recorded_s = time.monotonic()
        self._sent: dict[str, int] = {}

    async def keep(self) -> None:
        """Record samples until cancelled."""
        while True:
            await anyio.sleep(SAMPLE_EVERY_S)
            await self.record()

    async def record(self, *, is_over: bool = False) -> None:
        """Record what happened since the last call."""
        now_s, at_s = time.monotonic(), time.time()
        samples = self._pool.samples(at_s, now_s - self._recorded_s, self._sent)
        self._recorded_s = now_s
        progress = self._pool.progress()
        self._sent = {each.account: each.sent for each in progress}
        legs = self._legs(progress, at_s, is_over=is_over)
        await anyio.to_thread.run_sync(self._write, samples, legs)

    def _write(self, samples: Sequence[Sample], legs: Sequence[Leg]) -> None:
        with suppress(RunAborted):  # the recorder reports a disk that refuses
            self._ledger.sample(samples, legs)


def with_callback(record: Record, failed: Callable[[Sequence[RowResult]], None]) -> Record:
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


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


@asynccontextmanager
async def signals_obeyed(shared: Session) -> AsyncIterator[None]:
    """SIGINT and SIGTERM stop sending; reports are still written. For the main thread."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_receive_signals, shared)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _receive_signals(shared: Session, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            shared.interrupt(number)
