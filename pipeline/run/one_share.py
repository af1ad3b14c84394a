"""Sends one share of a run, whose lease this process holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import anyio.to_thread

from pipeline.model import AccountProgress, Status
from pipeline.run.environment import RunEnvironment
from pipeline.run.links import open_links
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepared import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.share_progress import ShareProgress, going_on
from pipeline.run.stretch import SerializedLedger, Stretch
from pipeline.runs.registry import open_store
from pipeline.runs.stop_if import StopIf
from pipeline.store import Ledger
from pipeline.store.lease_renewal import Holds, RenewedLease
from pipeline.store.seam import LeaseLostError, Share
from pipeline.vendors import Account
from pipeline.workers.pool import WorkerPool


@dataclass(slots=True, kw_only=True)
class HeldShare:
    """A share that this process sends.

    before      its progress when it was taken
    attempts    processes that took it before this one, without progress
    is_proven   answers to other processes have shown that the account works
    has_opened  answers to this one have
    on_news     called when `has_opened` changes
    stop_reasons  account -> why no further file for it would be sent by this process either
    """

    share: Share
    account: Account
    lease: RenewedLease
    before: ShareProgress
    attempts: int
    is_proven: bool
    who: str
    on_news: Callable[[], None]
    stop_reasons: Mapping[str, str] = field(default_factory=dict)
    has_opened: bool = False
    outcome: RunOutcome = field(default_factory=RunOutcome)
    _recorded: Mapping[Status, int] = field(default_factory=dict)
    _noted: ShareProgress | None = None

    @property
    def is_lost(self) -> bool:
        """True if another process has the share by now."""
        return bool(self.lease.lost) or isinstance(self.outcome.failure, LeaseLostError)

    def progress(self) -> ShareProgress:
        """The progress of the share in all; before anything was read, that of others."""
        done = self._now()
        if done is None:
            return self.before
        return going_on(
            self.before,
            self._recorded,
            done,
            who=self.who,
            is_permanent=self.account.name in self.stop_reasons,
        )

    def _now(self) -> AccountProgress | None:
        pool, over = self.outcome.pool, self.outcome.progress
        if over:
            return over[0]
        return pool.progress()[0] if isinstance(pool, WorkerPool) else None

    def news(self) -> ShareProgress | None:
        """The progress if it changed since the last call, and others may know."""
        now = self.progress()
        if now == self._noted or self.is_lost or self._now() is None:
            return None
        self._noted = now
        return now

    def stop(self, reason: str) -> None:
        """Send no further row; requests in flight finish, however long they take."""
        pool = self.outcome.pool
        if isinstance(pool, WorkerPool):
            pool.stop_feeding(reason)

    def end(self, reason: str) -> None:
        """As `stop`, but requests in flight finish within the grace time."""
        pool = self.outcome.pool
        if isinstance(pool, WorkerPool) and not pool.is_stopped:
            pool.stop(reason)

    async def send(
        self, prepared: Prepared, environment: RunEnvironment, conditions: Sequence[StopIf]
    ) -> None:
        """Send every row of the share that has no result. `outcome` gets what happened.

        conditions  those that stop the run, as far as this share alone can tell
        """
        shared, number = environment.shared, self.share.number
        prepared = replace(prepared, lease=self.lease, holds=Holds(self.lease))
        with ExitStack() as opened:
            record, before = await anyio.to_thread.run_sync(self._open, prepared, opened)
            async with open_links(
                self.account,
                [self.share],
                open_link=environment.open_link,
                limiter=lambda *given: environment.limiter(prepared, *given),
                announce=environment.tell,
            ) as links:
                stretch = Stretch(
                    *(prepared, environment, [links], SerializedLedger(record), self.outcome),
                    is_open=self.is_proven,
                    on_open=self._on_open,
                    conditions=conditions,
                )
                shared.quotas.enter(self.account, number)
                try:
                    with shared.interruptible(self.outcome):
                        await stretch.send(before)
                finally:
                    shared.quotas.leave(self.account, number)

    def _open(self, prepared: Prepared, opened: ExitStack) -> tuple[_ShareRecord, RecordedState]:
        store, run, share = open_store(prepared.config), prepared.run, self.share
        known = opened.enter_context(store.ledger(run, share, None, commits=prepared.commits))
        own = opened.enter_context(store.ledger(run, share, self.lease))
        self._recorded = own.counts()
        self.outcome.leg = 1 + max((leg.number for leg in own.legs()), default=0)
        return _ShareRecord(own, known), RecordedState.of(known)

    def _on_open(self) -> None:
        self.has_opened = True
        self.on_news()


class _ShareRecord:
    """Records in the ledger of a share; what ended is also looked up in that of the run.

    known  what was recorded before, by processes that sent the whole run, too
    """

    def __init__(self, own: Ledger, known: Ledger) -> None:
        self._known = known
        self.record = own.record
        self.release = own.release
        self.sample = own.sample

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """Another process may have recorded them."""
        return self._known.previous_states(rows)

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """As the ledger does, of both."""
        return self._known.ended(rows)
