"""A prepared run is sent: one lane per account, one pool, signals obeyed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
import anyio.abc
import anyio.to_thread

from pipeline.engine.gate import Gate
from pipeline.engine.lane import Lane, Send, Surroundings
from pipeline.engine.pool import Pool
from pipeline.engine.recorder import Recorder
from pipeline.engine.sign_in import signed_in
from pipeline.engine.transport import Late
from pipeline.ledger import Ledger
from pipeline.load import read_jobs
from pipeline.model import (
    AccountProgress,
    RowResult,
)
from pipeline.policy.brake import BRAKE_AFTER
from pipeline.run.prepare import Prepared
from pipeline.vendors import Account

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]
OpenLink = Callable[[Account, Late], AbstractAsyncContextManager[Send]]


@dataclass(slots=True)
class Sent:
    """What the sending of a run left beside its results.

    started  when it began
    stopped  account -> why it took no more rows
    signal   that stopped the run; None where none did
    failure  what broke the run off; None where nothing did
    unrecorded  results that could not be put on record; the report has them all the same
    pool     that sends; None before
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    progress: tuple[AccountProgress, ...] = ()
    stopped: dict[str, str] = field(default_factory=dict)
    signal: signal.Signals | None = None
    failure: Exception | None = None
    unrecorded: list[RowResult] = field(default_factory=list)
    pool: Pool | None = None


@dataclass(slots=True)
class Shared:
    """What runs of one command share, one event loop for all of them.

    gates     by account: their windows and pauses hold across files
    hopeless  accounts that would meet the same again -> why
    interrupted  by which signal the command was; None while it is not
    """

    gates: dict[str, Gate] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)
    interrupted: signal.Signals | None = None
    _sending: list[Sent] = field(default_factory=list)

    def gate(self, account: Account) -> Gate:
        """The one gate of an account."""
        if account.name not in self.gates:
            self.gates[account.name] = Gate(account.quotas, clock=time.monotonic)
        return self.gates[account.name]

    @contextmanager
    def interruptible(self, sent: Sent) -> Iterator[None]:
        """While the block runs, a signal stops what `sent` tells of."""
        sent.signal = self.interrupted
        self._sending.append(sent)
        try:
            yield
        finally:
            self._sending.remove(sent)

    def interrupt(self, number: signal.Signals) -> None:
        """Stop all runs that are sending; what is in flight finishes, unless it is the second."""
        self.interrupted = self.interrupted or number
        for sent in self._sending:
            sent.signal = sent.signal or number
            if sent.pool is not None:
                sent.pool.stop(f"interrupted by {number.name}")


@asynccontextmanager
async def over_http(account: Account, late: Late) -> AsyncIterator[Send]:
    """The way to an account's vendor: what sends a request there and brings the reply."""
    async with signed_in(account, late=late) as send:
        yield send


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a prepared run is carried out.

    watch           shows progress while rows are sent
    environ         where secrets are looked up
    open_link       how an account's vendor is reached
    shared          what runs of the same command have in common
    """

    watch: Watch = nullcontext
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_link: OpenLink = over_http
    shared: Shared = field(default_factory=Shared)


async def send_or_refuse(prepared: Prepared, way: Way, ledger: Ledger, sent: Sent) -> None:
    """Send every row, unless the run is refused; what happened is told in `sent`."""
    if prepared.refusal is not None:
        return
    accounts = [prepared.config.account(name, way.environ) for name in prepared.bound.jobs]
    async with AsyncExitStack() as stack:
        links: list[tuple[Account, Send]] = []
        for account in accounts:
            late = way.shared.gate(account).permit_again
            send = await stack.enter_async_context(way.open_link(account, late))
            links.append((account, send))
        await _send(prepared, way, links, ledger, sent)


async def _send(
    prepared: Prepared,
    way: Way,
    links: Sequence[tuple[Account, Send]],
    ledger: Ledger,
    sent: Sent,
) -> None:
    recorder = Recorder(ledger.end)
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
            gate=way.shared.gate(account),
            recorder=recorder,
            around=around,
        )
        for account, send in links
    ]
    for lane in lanes:
        if lane.account.name in way.shared.hopeless:
            lane.stop(way.shared.hopeless[lane.account.name], is_hopeless=True)
    sent.pool = Pool(lanes, recorder, grace_s=prepared.options.grace_s)
    if sent.signal is not None:  # it came before there was anything to stop
        sent.pool.stop(f"interrupted by {sent.signal.name}")
    with way.watch(sent.pool.progress):
        try:
            await sent.pool.run()
        except* Exception as group:  # noqa: BLE001 - whatever it is, the rows come first
            sent.failure = _first(group)
    sent.progress = sent.pool.progress()
    sent.unrecorded = recorder.unrecorded
    sent.stopped = {lane.account.name: lane.stopped for lane in lanes if lane.stopped}
    way.shared.hopeless |= {
        lane.account.name: lane.stopped for lane in lanes if lane.stopped and lane.is_hopeless
    }


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
