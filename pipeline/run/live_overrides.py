"""What changes a running run from outside: orders from another terminal, the end of its time, the
loss of its leases.

The process asks for them once a second, from the time when it takes the run on until its end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.to_thread

from pipeline.model import RunAborted
from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.outcome import RunOutcome, Stoppable
from pipeline.run.prepared import Prepared
from pipeline.run.schedule_window import ScheduleWindow
from pipeline.runs.registry import open_store
from pipeline.store.seam import LeaseLostError, Order, Orders
from pipeline.vendors import Account

CHECK_EVERY_S = 1.0
SENDS_NOTHING = "the database does not answer: nothing is sent until it does"
SENDS_AGAIN = "the database answers again: sending goes on"


@asynccontextmanager
async def orders_obeyed(prepared: Prepared, outcome: RunOutcome) -> AsyncIterator[None]:
    """Put the orders for a run in `outcome` while the block runs, and stop it if one says so.

    Orders that cannot be read change nothing. At the end they are forgotten, unless another process
    may have the run by now: they are for that one.
    """
    orders = open_store(prepared.config).orders
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_obey, prepared, orders, outcome)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if prepared.lease.is_sure:
        with suppress(RunAborted), anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(orders.clear, prepared.run)
    if failure is not None:
        raise failure


async def _obey(prepared: Prepared, orders: Orders, outcome: RunOutcome) -> None:
    ask = partial(orders.given, prepared.run)
    while True:
        with suppress(RunAborted):  # the quotas are in the same store: that ends the run
            order = await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
            if order != outcome.order:
                outcome.obey(order)
        await anyio.sleep(CHECK_EVERY_S)


@dataclass(slots=True)
class LiveOverrides:
    """Applies ordered quotas to a running run, and stops it at the end of its window and if it
    loses a lease.

    account_limiters  the accounts of the run, the limiters of their shares here, and the number
                      of shares anywhere
    tell              called with text for people about each change
    outcome           of the run; it gets its orders, and notes the slowest quotas
    """

    prepared: Prepared
    account_limiters: Sequence[tuple[Account, Sequence[AccountLimiter], int]]
    window: ScheduleWindow
    tell: Callable[[str], None]
    outcome: RunOutcome
    _overrides: Mapping[str, Quota] = field(default_factory=dict)

    @asynccontextmanager
    async def applied(self, pool: Stoppable) -> AsyncIterator[None]:
        """Apply overrides and the end of the window to `pool` while the block runs."""
        self._stop_in_time(pool)
        self.outcome.on_order = self._on_order
        self._on_order(self.outcome.order)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, pool)
                tasks.start_soon(self._watch_holds, pool)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self.outcome.on_order = lambda _order: None
            self._slow({})

    async def _watch(self, pool: Stoppable) -> None:
        while (left_s := self.window.left_s()) is not None:
            await self.window.sleep(CHECK_EVERY_S if left_s <= 0 else min(left_s, CHECK_EVERY_S))
            self._stop_in_time(pool)

    async def _watch_holds(self, pool: Stoppable) -> None:
        """Tell of waits for a store that is away, and stop if another process has a lease."""
        holds, is_sure = self.prepared.holds, True
        while not (lost := holds.lost):
            if (time.monotonic() < holds.sure_until_s()) != is_sure:
                is_sure = not is_sure
                self.tell(SENDS_AGAIN if is_sure else SENDS_NOTHING)
            await anyio.sleep(CHECK_EVERY_S)
        self.outcome.failure = LeaseLostError(f"this process has lost the run: {lost}")
        if not pool.is_stopped:
            pool.stop(lost)

    def _on_order(self, order: Order) -> None:
        if order.quotas != self._overrides:
            self._announce(order.quotas)
            self._slow(order.quotas)

    def _stop_in_time(self, pool: Stoppable) -> None:
        if (
            self.window.is_over and not pool.is_stopped
        ):  # a second call would cancel requests in flight
            pool.stop(self.window.over)

    def _announce(self, overrides: Mapping[str, Quota]) -> None:
        for account, _, _ in self.account_limiters:
            now, before = overrides.get(account.name), self._overrides.get(account.name)
            if now is not None and now != before:
                self.tell(
                    f"{account.name}: at most {now} from now on, as set by `pipeline runs --quota`"
                )
            elif now is None and before is not None:
                self.tell(f"{account.name}: {account.quota} again, as configured")

    def _slow(self, overrides: Mapping[str, Quota]) -> None:
        self._overrides = overrides
        for account, account_limiters, shares in self.account_limiters:
            quota = overrides.get(account.name)
            per_s = quota.per_second / shares if quota else None
            for account_limiter in account_limiters:
                account_limiter.slow(f"{self.prepared.run}|{account.name}", per_s)
            if quota is not None:
                slowest = self.outcome.slowed.get(account.name, quota)
                self.outcome.slowed[account.name] = min(
                    quota, slowest, key=lambda each: each.per_second
                )
