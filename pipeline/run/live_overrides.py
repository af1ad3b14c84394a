"""Overrides from another terminal for a running run: slower quotas, in a file beside its lock.

The file names the process that it is for, so that no other process obeys it.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.model import RunAborted
from pipeline.model.quota import Quota, parse_quota
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.prepare import Prepared
from pipeline.run.schedule_window import ScheduleWindow
from pipeline.store import Holder
from pipeline.store.files import atomic_write
from pipeline.vendors import Account
from pipeline.workers.pool import WorkerPool

FILE = "quotas.json"
FORMAT = 1
CHECK_EVERY_S = 1.0


def write_override(folder: Path, holder: Holder, account: str, quota: Quota | None) -> None:
    """Limit an account of a running run to `quota`; None removes the limit.

    folder  of the run
    holder  the process that works on it

    Raises RunAborted if the file cannot be written.
    """
    quotas = dict(read_overrides(folder, holder))
    quotas.pop(account, None)
    if quota is not None:
        quotas[account] = quota
    texts = {name: str(each) for name, each in quotas.items()}
    text = json.dumps({"format": FORMAT, **_process(holder), "quotas": texts})
    try:
        atomic_write(folder / FILE, text.encode(), part=folder / f"{FILE}.{os.getpid()}")
    except OSError as error:
        raise RunAborted(f"{folder / FILE} cannot be written: {error.strerror}") from error


def read_overrides(folder: Path, holder: Holder | None) -> Mapping[str, Quota]:
    """Account -> quota for `holder`; empty if the file is for another process."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        if holder is None or {key: found[key] for key in _process(holder)} != _process(holder):
            return {}
        return {name: parse_quota(text) for name, text in found["quotas"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _process(holder: Holder) -> dict[str, str | int]:
    return {"pid": holder.pid, "since": holder.since.isoformat()}


@dataclass(slots=True)
class LiveOverrides:
    """Applies overrides to a running run, and stops it at the end of its window.

    account_limiters  the accounts of the run, and the limiters of their shares
    tell              called with text for people about each change
    slowed            account -> the slowest quota that was set
    """

    prepared: Prepared
    account_limiters: Sequence[tuple[Account, Sequence[AccountLimiter]]]
    window: ScheduleWindow
    tell: Callable[[str], None]
    slowed: dict[str, Quota] = field(default_factory=dict)
    _overrides: Mapping[str, Quota] = field(default_factory=dict)

    @asynccontextmanager
    async def applied(self, pool: WorkerPool) -> AsyncIterator[None]:
        """Apply overrides and the end of the window to `pool` while the block runs."""
        self._stop_in_time(pool)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, pool)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._slow({})

    async def _watch(self, pool: WorkerPool) -> None:
        folder, holder = self.prepared.folder, self.prepared.lock.holder()
        while True:
            overrides = await anyio.to_thread.run_sync(read_overrides, folder, holder)
            if overrides != self._overrides:
                self._announce(overrides)
                self._slow(overrides)
            left_s = self.window.left_s()
            wait_s = CHECK_EVERY_S if left_s is None or left_s <= 0 else min(left_s, CHECK_EVERY_S)
            await self.window.sleep(wait_s)
            self._stop_in_time(pool)

    def _stop_in_time(self, pool: WorkerPool) -> None:
        if (
            self.window.is_over and not pool.is_stopped
        ):  # a second call would cancel requests in flight
            pool.stop(self.window.over)

    def _announce(self, overrides: Mapping[str, Quota]) -> None:
        for account, _ in self.account_limiters:
            now, before = overrides.get(account.name), self._overrides.get(account.name)
            if now is not None and now != before:
                self.tell(
                    f"{account.name}: at most {now} from now on, as set by `pipeline runs --quota`"
                )
            elif now is None and before is not None:
                self.tell(f"{account.name}: {account.quota} again, as configured")

    def _slow(self, overrides: Mapping[str, Quota]) -> None:
        self._overrides = overrides
        for account, account_limiters in self.account_limiters:
            quota = overrides.get(account.name)
            per_s = quota.per_second / len(account_limiters) if quota else None
            for account_limiter in account_limiters:
                account_limiter.slow(f"{self.prepared.run}|{account.name}", per_s)
            if quota is not None:
                slowest = self.slowed.get(account.name, quota)
                self.slowed[account.name] = min(quota, slowest, key=lambda each: each.per_second)
