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

import anyio
import anyio.abc
import anyio.to_thread

from pipeline.config import Config
from pipeline.engine.earlier import NOTHING, Earlier
from pipeline.engine.gate import Door
from pipeline.engine.lane import Lane
from pipeline.engine.means import Send, Surroundings
from pipeline.engine.pool import Pool
from pipeline.engine.recorder import Recorder
from pipeline.engine.sign_in import signed_in
from pipeline.ledger import Ledger
from pipeline.load import read_jobs
from pipeline.model import AccountProgress, RowResult, RunAborted
from pipeline.model.exchange import Exchange
from pipeline.model.sample import Sample
from pipeline.policy.brake import BRAKE_AFTER
from pipeline.run.before import Before
from pipeline.run.credentials import keep_credentials
from pipeline.run.prepare import Prepared
from pipeline.run.shared import Sent, Shared
from pipeline.vendors import Account

REMEMBER_EVERY_S = 1.0
"""What a killed process sent in this time at most, other runs do not know of."""

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]
OpenLink = Callable[[Account, Door], AbstractAsyncContextManager[Send]]


@asynccontextmanager
async def over_http(account: Account, door: Door) -> AsyncIterator[Send]:
    """The way to an account's vendor: what sends a request there and brings the reply."""
    late, while_open = door.permit_again, door.while_open
    async with signed_in(account, late=late, while_open=while_open) as send:
        yield send


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a prepared run is carried out.

    watch           shows progress while rows are sent
    environ         where secrets are looked up
    open_link       how an account's vendor is reached
    shared          what runs of the same command have in common
    wait            for other processes that send to the same place, instead of raising BusyError
    tell            is told whom it waits for
    """

    watch: Watch = nullcontext
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_link: OpenLink = over_http
    shared: Shared = field(default_factory=Shared)
    wait: bool = True
    tell: Callable[[str], None] = lambda _words: None

    def may_wait(self) -> bool:
        """Whether it is worth waiting for other processes still."""
        return self.wait and self.shared.interrupted is None


async def send_or_refuse(
    prepared: Prepared, way: Way, ledger: Ledger, before: Before, sent: Sent
) -> None:
    """Send every row that has no result, unless the run is refused; `sent` tells what happened."""
    if prepared.refusal is not None:
        return
    accounts = [prepared.config.account(name, way.environ) for name in prepared.bound.jobs]
    await anyio.to_thread.run_sync(keep_credentials, prepared, accounts)
    async with AsyncExitStack() as stack:
        links: list[tuple[Account, Door, Send]] = []
        for account in accounts:
            door = Door(way.shared.gate(account, prepared.config))
            send = await stack.enter_async_context(way.open_link(account, door))
            links.append((account, door, send))
        await _send(prepared, way, links, OneAtATime(ledger), before=before, sent=sent)


class OneAtATime:
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

    def has_result(self, rows: Sequence[int]) -> set[int]:
        """As the ledger does."""
        with self._turn:
            return self._ledger.has_result(rows)

    def sample(self, samples: Sequence[Sample]) -> None:
        """As the ledger does."""
        with self._turn:
            self._ledger.sample(samples)


async def _send(
    prepared: Prepared,
    way: Way,
    links: Sequence[tuple[Account, Door, Send]],
    ledger: OneAtATime,
    *,
    before: Before,
    sent: Sent,
) -> None:
    recorder = Recorder(ledger.record, ledger.release)
    earlier = NOTHING
    if not before.is_nothing:
        earlier = Earlier(before.claimed, before.unknown, ledger.has_result)
    around = Surroundings(
        clock=time.monotonic,
        jitter=random.random,
        brake_after=BRAKE_AFTER if prepared.options.use_brake else 0,
    )
    lanes = [
        Lane(
            account,
            read_jobs(prepared.bound.jobs[account.name].path),
            prepared.bound.jobs[account.name].rows,
            send=send,
            door=door,
            recorder=recorder,
            around=around,
            earlier=earlier,
        )
        for account, door, send in links
    ]
    for lane in lanes:
        if lane.account.name in way.shared.hopeless:
            lane.stop(way.shared.hopeless[lane.account.name], is_hopeless=True)
    sent.pool = Pool(lanes, recorder, grace_s=prepared.options.grace_s)
    if sent.signal is not None:  # it came before there was anything to stop
        sent.pool.stop(f"interrupted by {sent.signal.name}")
    with way.watch(sent.pool.progress):
        try:
            async with _remembering(way.shared, prepared.config, sent.pool, ledger):
                await sent.pool.run()
        except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
            sent.failure = _first(group)
    sent.progress = sent.pool.progress()
    sent.unrecorded = recorder.unrecorded
    sent.stopped = {lane.account.name: lane.stopped for lane in lanes if lane.stopped}
    way.shared.hopeless |= {
        lane.account.name: lane.stopped for lane in lanes if lane.stopped and lane.is_hopeless
    }


@asynccontextmanager
async def _remembering(
    shared: Shared, config: Config, pool: Pool, ledger: OneAtATime
) -> AsyncIterator[None]:
    """While the block runs and at its end, what left is put on record, and how fast it went."""
    memory = _Memory(shared, config, pool, ledger)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(memory.keep)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await memory.note()


class _Memory:
    """Notes once a second what other runs and the report need to know."""

    def __init__(self, shared: Shared, config: Config, pool: Pool, ledger: OneAtATime) -> None:
        self._shared = shared
        self._config = config
        self._pool = pool
        self._ledger = ledger
        self._noted_s = time.monotonic()
        self._sent: dict[str, int] = {}

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await anyio.sleep(REMEMBER_EVERY_S)
            await self.note()

    async def note(self) -> None:
        """What happened since the last call."""
        now_s = time.monotonic()
        samples = self._pool.samples(time.time(), now_s - self._noted_s, self._sent)
        self._noted_s = now_s
        self._sent = {each.account: each.sent for each in self._pool.progress()}
        await anyio.to_thread.run_sync(self._write, samples)

    def _write(self, samples: Sequence[Sample]) -> None:
        with suppress(RunAborted):  # of a disk that refuses the recorder tells
            self._ledger.sample(samples)
            self._shared.remember(self._config)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


@asynccontextmanager
async def signals_obeyed(shared: Shared) -> AsyncIterator[None]:
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


async def _obey_signals(shared: Shared, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            shared.interrupt(number)
