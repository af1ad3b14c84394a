"""While a run sends it is looked, once a second, at what people want of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.live_overrides import read
from pipeline.run.prepare import Prepared
from pipeline.run.schedule_window import ScheduleWindow
from pipeline.vendors import Account
from pipeline.workers.pool import WorkerPool

LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class LiveOverrides:
    """What a run is told while it sends.

    account_limiters   its accounts, each with its door
    tell    is told what has changed
    slowed  account -> the slowest quota that was asked for
    """

    prepared: Prepared
    account_limiters: Sequence[tuple[Account, AccountLimiter]]
    window: ScheduleWindow
    tell: Callable[[str], None]
    slowed: dict[str, Quota] = field(default_factory=dict)
    _asked: Mapping[str, Quota] = field(default_factory=dict)

    @asynccontextmanager
    async def obeyed(self, pool: WorkerPool) -> AsyncIterator[None]:
        """While the block runs the pool is stopped when its time has come, and slowed as asked."""
        self._stop_in_time(pool)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey, pool)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._slow({})

    async def _obey(self, pool: WorkerPool) -> None:
        folder, holder = self.prepared.folder, self.prepared.lock.holder()
        while True:
            asked = await anyio.to_thread.run_sync(read, folder, holder)
            if asked != self._asked:
                self._tell(asked)
                self._slow(asked)
            left_s = self.window.left_s()
            wait_s = LOOK_EVERY_S if left_s is None or left_s <= 0 else min(left_s, LOOK_EVERY_S)
            await self.window.sleep(wait_s)
            self._stop_in_time(pool)

    def _stop_in_time(self, pool: WorkerPool) -> None:
        if self.window.is_over and not pool.is_stopped:  # a second call would wait for nothing
            pool.stop(self.window.over)

    def _tell(self, asked: Mapping[str, Quota]) -> None:
        for account, _ in self.account_limiters:
            now, before = asked.get(account.name), self._asked.get(account.name)
            if now is not None and now != before:
                self.tell(f"{account.name}: at most {now} from now on, as was asked for")
            elif now is None and before is not None:
                self.tell(f"{account.name}: {account.quota} again, as configured")

    def _slow(self, asked: Mapping[str, Quota]) -> None:
        self._asked = asked
        for account, account_limiter in self.account_limiters:
            quota = asked.get(account.name)
            account_limiter.slow(
                f"{self.prepared.run}|{account.name}", quota.per_second if quota else None
            )
            if quota is not None:
                slowest = self.slowed.get(account.name, quota)
                self.slowed[account.name] = min(quota, slowest, key=lambda each: each.per_second)
