"""A prepared run is sent: one lane per account, one pool, signals obeyed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
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
from pipeline.jobs.jobs_file import entities_of
from pipeline.model import SUCCESS, AccountProgress, RowResult, RunAborted, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.canary import Agree, added, canary_rows, conditions, only, trial_of
from pipeline.run.credentials import keep_credentials
from pipeline.run.legs import LegCounter, legs_of
from pipeline.run.override_watch import LiveOverrides
from pipeline.run.prepare import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.schedule_window import ScheduleWindow
from pipeline.run.session import RunOutcome, Session
from pipeline.runs.record import open_befores
from pipeline.runs.stop_if import StopCheck
from pipeline.store import Ledger
from pipeline.store.previous_states import PreviousStates
from pipeline.vendors import Account
from pipeline.workers.account_sender import AccountSender
from pipeline.workers.dependencies import Send, SenderEnvironment
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.pool import WorkerPool
from pipeline.workers.recorder import Record, Recorder
from pipeline.workers.recovered_state import NOTHING, RecoveredState
from pipeline.workers.tokens import sign_in_ahead, signed_in

SAMPLE_EVERY_S = 1.0

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]
OpenLink = Callable[[Account, AccountLimiter], AbstractAsyncContextManager[Send]]


@asynccontextmanager
async def over_http(account: Account, account_limiter: AccountLimiter) -> AsyncIterator[Send]:
    """The way to an account's vendor: what sends a request there and brings the reply."""
    late, while_open, announce = (
        account_limiter.permit_again,
        account_limiter.while_open,
        account_limiter.announce,
    )
    async with signed_in(account, late=late, while_open=while_open, announce=announce) as send:
        yield send


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnvironment:
    """How a prepared run is carried out.

    watch           shows progress while rows are sent
    environ         where secrets are looked up
    open_link       how an account's vendor is reached
    shared          what runs of the same command have in common
    wait            for other processes that send to the same place, instead of raising BusyError
    window     when it may send
    tell            is told whom it waits for, and what others ask of it
    failed          is told of results that leave something to do, once they are on record; in a
                    thread
    agree           whether the rest may follow once the rows that go first have ended well; called
                    in a thread
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
        """Whether it is worth waiting for other processes still."""
        is_late = self.window.is_over
        return self.wait and self.shared.interrupted is None and not is_late

    async def await_start(self, sent: RunOutcome, *, ahead_s: float = 0.0) -> bool:
        """Wait until the run begins, less `ahead_s`: False, and so says `sent`, where it is off."""
        may_go = await self.window.wait(lambda: sent.signal is not None, ahead_s=ahead_s)
        if not may_go and self.window.start_at is not None:
            sent.is_off = True
        return not sent.is_off


async def send_or_refuse(
    prepared: Prepared, way: RunEnvironment, ledger: Ledger, before: RecordedState, sent: RunOutcome
) -> None:
    """Send every row that has no result, unless the run is refused; `sent` tells what happened."""
    if prepared.refusal is not None:
        return
    accounts = [prepared.config.account(name, way.environ) for name in prepared.bound.jobs]
    await anyio.to_thread.run_sync(keep_credentials, prepared, accounts)
    async with AsyncExitStack() as stack:
        links: list[tuple[Account, AccountLimiter, Send]] = []
        for account in accounts:
            limiter = way.shared.limiter(account, prepared.config)
            account_limiter = AccountLimiter(limiter, prepared.run, announce=way.tell)
            send = await stack.enter_async_context(way.open_link(account, account_limiter))
            links.append((account, account_limiter, send))
            if way.window.start_at is not None:
                await sign_in_ahead(send)
        previous_states = stack.enter_context(_previous_states(prepared))
        sent.leg = 1 + max((leg.number for leg in ledger.legs()), default=0)
        stretch = _Stretch(prepared, way, links, SerializedLedger(ledger), previous_states, sent)
        if await way.await_start(sent) and await _canary_holds(stretch, before, ledger):
            await stretch.send(RecordedState.of(ledger) if prepared.options.canary else before)


def _previous_states(prepared: Prepared) -> AbstractContextManager[PreviousStates | None]:
    """Where is kept what entities held; None where nothing has to be."""
    looking = prepared.looking
    if not (prepared.bound.keeps or looking.skips or looking.remembers):
        return nullcontext()
    return open_befores(prepared.folder)


async def _canary_holds(stretch: _Stretch, before: RecordedState, ledger: Ledger) -> bool:
    """Send the rows that go first, if any do; whether the others may follow."""
    prepared, sent = stretch.prepared, stretch.sent
    jobs = prepared.bound.jobs
    total = sum(file.rows for file in jobs.values())
    if not 0 < prepared.options.canary < total:
        return True
    rows = await anyio.to_thread.run_sync(canary_rows, jobs, prepared.options.canary)
    if not rows - ledger.ended(sorted(rows)).keys():
        return True  # an earlier process tried them
    wire = await stretch.send(before, rows)
    if sent.stopped or sent.failure is not None or sent.signal is not None:
        return False
    reason = wire.at_the_end()
    if reason is None:
        trial = trial_of(rows, total, ledger)
        if not await anyio.to_thread.run_sync(stretch.way.agree, trial):
            reason = f"stopped after the canary of {len(rows)} rows"
    if reason is not None:
        sent.stopped = dict.fromkeys(jobs, reason)
    return reason is None and sent.signal is None


class SerializedLedger:
    """A ledger whose calls wait for each other: rows are read while results are recorded."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange],
    ) -> None:
        """As the ledger does."""
        with self._turn:
            self._ledger.record(claims, results, exchanges)

    def release(self, rows: Sequence[int]) -> None:
        """As the ledger does."""
        with self._turn:
            self._ledger.release(rows)

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """As the ledger does."""
        with self._turn:
            return self._ledger.ended(rows)

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg]) -> None:
        """As the ledger does."""
        with self._turn:
            self._ledger.sample(samples, legs)


@dataclass(slots=True)
class _Stretch:
    """What sending a run, or the first rows of it, needs."""

    prepared: Prepared
    way: RunEnvironment
    links: Sequence[tuple[Account, AccountLimiter, Send]]
    ledger: SerializedLedger
    previous_states: PreviousStates | None
    sent: RunOutcome

    async def send(self, before: RecordedState, rows: frozenset[int] | None = None) -> StopCheck:
        """Send what has no result.

        before  what stands on record
        rows    only these; None: all
        returns what watched how they ended
        """
        prepared, way, sent = self.prepared, self.way, self.sent
        stop_if = conditions(prepared.options.stop_if, is_canary=rows is not None)
        wire = StopCheck(stop_if)
        record = told(self.ledger.record, way.failed) if way.failed else self.ledger.record
        recorder = Recorder(record, self.ledger.release, self._keep)
        environment = self._around(wire)
        senders = [self._sender(link, recorder, environment, before, rows) for link in self.links]
        for sender in senders:
            if sender.account.name in way.shared.stop_reasons:
                sender.stop(way.shared.stop_reasons[sender.account.name], is_permanent=True)
        recovered = sent.progress
        sent.pool = WorkerPool(senders, recorder, grace_s=prepared.options.grace_s)
        if sent.signal is not None:  # it came before there was anything to stop
            sent.pool.stop(f"interrupted by {sent.signal.name}")
        account_limiters = [
            (account, account_limiter) for account, account_limiter, _ in self.links
        ]
        orders = LiveOverrides(prepared, account_limiters, way.window, way.tell, sent.slowed)
        with way.watch(sent.pool.progress):
            try:
                async with (
                    way.shared.kept(
                        prepared.config, way.tell, on_failure=partial(_abort, sent.pool)
                    ),
                    _sampled(sent.pool, self.ledger, partial(legs_of, sent)),
                    orders.obeyed(sent.pool),
                ):
                    await sent.pool.run()
            except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
                sent.failure = _first(group)
        sent.progress = added(recovered, sent.pool.progress())
        sent.unrecorded = recorder.unrecorded
        over = way.window.over
        in_time = [
            sender for sender in senders if sender.stopped == over and sender.was_done_at_stop
        ]
        sent.stopped = {
            sender.account.name: sender.stopped
            for sender in senders
            if sender.stopped and sender not in in_time
        }
        sent.over = over if over in sent.stopped.values() else ""
        way.shared.stop_reasons |= {
            sender.account.name: sender.stopped
            for sender in senders
            if sender.stopped and sender.is_permanent
        }
        return wire

    def _around(self, wire: StopCheck) -> SenderEnvironment:
        return SenderEnvironment(
            clock=time.monotonic,
            jitter=random.random,
            fail_fast_after=FAIL_FAST_AFTER if self.prepared.options.fail_fast else 0,
            coalesce=self.prepared.options.coalesce,
            prechecks=self.prepared.looking,
            previous_state=self._before,
            on_end=partial(self._heard, wire),
        )

    def _sender(
        self,
        link: tuple[Account, AccountLimiter, Send],
        recorder: Recorder,
        environment: SenderEnvironment,
        before: RecordedState,
        rows: frozenset[int] | None,
    ) -> AccountSender:
        account, account_limiter, send = link
        recovered = NOTHING
        file = self.prepared.bound.jobs[account.name]
        if not before.is_nothing:
            coalesce = self.prepared.options.coalesce
            overtaking = entities_of(file.path, before.claimed) if coalesce else {}
            recovered = RecoveredState(
                *(before.claimed, before.unknown, before.refused, overtaking),
                ended=self.ledger.ended,
            )
        return AccountSender(
            account,
            only(read_jobs(file.path), rows),
            file.rows if rows is None else len(rows),
            send=send,
            account_limiter=account_limiter,
            recorder=recorder,
            environment=environment,
            recovered=recovered,
        )

    def _keep(self, previous_states: Sequence[tuple[int, str]]) -> None:
        if self.previous_states is not None:
            self.previous_states.keep(previous_states)

    def _before(self, row: int) -> str | None:
        return None if self.previous_states is None else self.previous_states.of([row]).get(row)

    def _heard(self, wire: StopCheck, status: Status) -> None:
        reason = wire.heard(status)
        if reason is not None and self.sent.pool is not None:
            self.sent.pool.stop_feeding(reason)


def _abort(pool: WorkerPool, error: RunAborted) -> None:
    """Take no further row; requests in flight finish."""
    if not pool.is_stopped:
        pool.stop(str(error))


@asynccontextmanager
async def _sampled(
    pool: WorkerPool, ledger: SerializedLedger, legs: LegCounter
) -> AsyncIterator[None]:
    """While the block runs and at its end, it is put on record how fast rows went."""
    samples = _Samples(pool, ledger, legs)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(samples.keep)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await samples.take(is_over=True)


class _Samples:
    """A sample of each account, every second, and what this process has done so far."""

    def __init__(self, pool: WorkerPool, ledger: SerializedLedger, legs: LegCounter) -> None:
        self._pool = pool
        self._ledger = ledger
        self._legs = legs
        self._taken_s = time.monotonic()
        self._sent: dict[str, int] = {}

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await anyio.sleep(SAMPLE_EVERY_S)
            await self.take()

    async def take(self, *, is_over: bool = False) -> None:
        """What happened since the last call."""
        now_s, at_s = time.monotonic(), time.time()
        samples = self._pool.samples(at_s, now_s - self._taken_s, self._sent)
        self._taken_s = now_s
        progress = self._pool.progress()
        self._sent = {each.account: each.sent for each in progress}
        legs = self._legs(progress, at_s, is_over=is_over)
        await anyio.to_thread.run_sync(self._write, samples, legs)

    def _write(self, samples: Sequence[Sample], legs: Sequence[Leg]) -> None:
        with suppress(RunAborted):  # of a disk that refuses the recorder tells
            self._ledger.sample(samples, legs)


def told(record: Record, failed: Callable[[Sequence[RowResult]], None]) -> Record:
    """`record`, and then `failed` hears of the results that leave something to do.

    They are on record by then: whatever goes wrong in the telling, they do not count as lost.
    """

    def record_and_tell(
        claims: Sequence[int], results: Sequence[RowResult], exchanges: Sequence[Exchange]
    ) -> None:
        record(claims, results, exchanges)
        wrong = [result for result in results if result.status not in SUCCESS]
        if wrong:
            with suppress(Exception):
                failed(wrong)

    return record_and_tell


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


@asynccontextmanager
async def signals_obeyed(shared: Session) -> AsyncIterator[None]:
    """SIGINT and SIGTERM stop the sending; reports are still written. For the main thread."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_obey_signals, shared)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _obey_signals(shared: Session, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            shared.interrupt(number)
