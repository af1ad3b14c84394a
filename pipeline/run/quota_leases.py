"""The quota leases of one command: acquired, put on record and passed on, in turns with others."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread

from pipeline.config import Config
from pipeline.config.shares import unlike_shares
from pipeline.model import ConfigError, Fault, RunAborted
from pipeline.model.pause import AskedPause
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.quota_lease import REMEMBER_EVERY_S, Handover, QuotaLease
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.run.lease_record import LeaseRecord, write_records
from pipeline.run.quota_groups import quota_group
from pipeline.runs.registry import open_store
from pipeline.store import LedgerError
from pipeline.vendors import Account

BEHIND_S = 60.0
"""So long sending goes on, within its bound, while send times cannot be recorded."""

CHECK_EVERY_S = 0.05
"""Seconds between two attempts to acquire a quota that another process holds."""

SETTLED_EVERY_S = 0.01
"""Seconds between two looks whether a quota that another process wants may be passed on."""


PAUSES_EVERY_S = 0.05
"""Seconds between two looks at the pauses on record, if others send at parts of the same quota."""


@dataclass(slots=True)
class QuotaLeases:
    """The quota leases of one command, in one event loop.

    by_part  name of a quota group, or of a part of it -> the lease of its limiter, shared by
             accounts and files
    """

    by_part: dict[str, QuotaLease] = field(default_factory=dict)
    _accounts: dict[str, Account] = field(default_factory=dict)  # the first of each quota group
    _users: int = 0
    _keeper: anyio.Lock = field(default_factory=anyio.Lock)
    _news: anyio.Event = field(default_factory=anyio.Event)
    _behind_since_s: float | None = None  # monotonic; no attempt to record succeeded since
    _adopted_s: float = -math.inf  # when pauses were read, monotonic
    _uses: Counter[str] = field(default_factory=Counter)  # of parts of quotas, by shares
    _left: set[str] = field(default_factory=set)  # parts of quotas that are passed on for good

    def limiter(self, account: Account, config: Config, number: int = 0) -> RateLimiter:
        """The limiter of an account's quota group; it opens while `kept` runs.

        number  of the share that sends at its part of the quota

        Raises ConfigError if accounts of the group differ in shares, or in the quota of each.
        """
        group = quota_group(account)
        other = self._accounts.setdefault(group, account)
        if not account.is_simulated and (unlike := unlike_shares(account, other)):
            raise ConfigError(Fault(what=unlike))
        part = QuotaPart(group, number, account.shares)
        self._left.discard(part.name)
        if part.name not in self.by_part:
            limiter = RateLimiter(
                _limiter_settings(account.part(number)),
                clock=time.monotonic,
                utc=time.time,
                paused=partial(self._on_pause, part),
            )
            limiter.close()
            self.by_part[part.name] = QuotaLease(part, limiter, open_store(config))
        return self.by_part[part.name].limiter

    def enter(self, account: Account, number: int) -> None:
        """A share of an account is sent at its part of the quota, until `leave` is called."""
        self._uses[_part_name(account, number)] += 1

    def leave(self, account: Account, number: int) -> None:
        """Pass the part on for good if no other share of this process uses it."""
        name = _part_name(account, number)
        self._uses[name] -= 1
        lease = self.by_part.get(name)
        if lease is None or self._uses[name]:
            return
        lease.limiter.close()
        if self._users:
            self._left.add(name)
            self._record_now()
        else:  # it was released when the last run ended
            self._left.discard(name)
            del self.by_part[name]

    def _on_pause(self, part: QuotaPart) -> None:
        """Let all parts of the quota keep a pause that was asked of one, and put it on record."""
        asked = self.by_part[part.name].limiter.pause.unrecorded
        for lease in self.by_part.values():
            if asked is not None and lease.part.group == part.group and lease.part != part:
                lease.limiter.pause.hear(asked)
        self._record_now()

    def _record_now(self) -> None:
        self._news.set()

    @asynccontextmanager
    async def kept(
        self,
        config: Config,
        announce: Callable[[str], None] = lambda _words: None,
        *,
        on_failure: Callable[[RunAborted], None] | None = None,
    ) -> AsyncIterator[None]:
        """Share the quotas with other processes, in turns, while the block runs.

        announce    is called with text for people if another process is waited for
        on_failure  is called once if the registry of runs cannot be used, to end the block; None:
                    the block is cancelled

        Send times go on record once a second and at the end, a vendor's pause at once. Raises
        RunAborted at the end of the block if the registry could not be used, LedgerError if it is
        damaged: no request gets a permit after that.
        """
        failures: list[RunAborted] = []

        self._behind_since_s = None  # `announce` may be another one: it has announced nothing

        async def keep() -> None:
            try:
                await self._keep(config, announce)
            except RunAborted as error:
                failures.append(error)
                if on_failure is None:
                    tasks.cancel_scope.cancel()
                else:
                    on_failure(error)

        self._users += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._users -= 1
            with anyio.CancelScope(shield=True):
                await self._record_last(config)
        for failure in failures:
            raise failure

    async def _record_last(self, config: Config) -> None:
        with suppress(RunAborted):  # the results of the run come first
            await self._record(config, is_last=not self._users)

    async def _keep(self, config: Config, announce: Callable[[str], None]) -> None:
        async with self._keeper:  # one of several runs does it for all
            while True:
                await anyio.lowlevel.checkpoint()  # the end is seen here if recording takes long
                recorded_s = time.monotonic()
                self._news = anyio.Event()
                await self._record(config, announce)
                while not self._is_record_due(recorded_s):
                    await self._acquire_leases(config)
                    await self._adopt_pauses(config)
                    self._announce_holders(announce)
                    with anyio.move_on_after(self._rest_s(recorded_s)):
                        await self._news.wait()

    def _is_record_due(self, recorded_s: float) -> bool:
        """True a second after the last record, which is from `recorded_s`, or if there is news."""
        is_time = time.monotonic() >= recorded_s + REMEMBER_EVERY_S
        return is_time or self._news.is_set() or any(map(_may_pass_on, self.by_part.values()))

    def _rest_s(self, recorded_s: float) -> float:
        """Seconds until the leases are checked again."""
        leases = self.by_part.values()
        if not all(each.is_held for each in leases):
            return CHECK_EVERY_S
        if not all(each.limiter.is_open for each in leases):
            return SETTLED_EVERY_S
        if any(each.part.of > 1 for each in leases):
            return min(PAUSES_EVERY_S, recorded_s + REMEMBER_EVERY_S - time.monotonic())
        return recorded_s + REMEMBER_EVERY_S - time.monotonic()

    async def _adopt_pauses(self, config: Config) -> None:
        """Every PAUSES_EVERY_S, adopt the pauses of quotas of which another process has a part."""
        parts, now_s = [each.part for each in self.by_part.values()], time.monotonic()
        held = Counter(each.part.group for each in self.by_part.values() if each.is_held)
        groups = {part.group for part in parts if 1 < part.of > held[part.group]}
        if not groups or now_s < self._adopted_s + PAUSES_EVERY_S:
            return
        self._adopted_s = now_s

        first = {lease.part.group: lease for lease in self.by_part.values()}

        def read() -> dict[str, AskedPause | None]:
            with open_store(config).together():
                return {group: first[group].pause_on_record() for group in groups}

        for group, asked in (await anyio.to_thread.run_sync(read)).items():
            for lease in self.by_part.values():
                if lease.part.group == group and lease.limiter.pause.unrecorded is None:
                    lease.limiter.pause.adopt(asked)

    def _announce_holders(self, announce: Callable[[str], None]) -> None:
        for lease in self.by_part.values():
            who = lease.held_by_another()
            if who is not None:
                vendor, origin, _ = lease.part.group.split("|", 2)
                announce(
                    f"{who} holds the quota of {vendor} at {origin}: waiting until it passes it on "
                    "or ends. If it is stopped, continue or end it"
                )

    async def _acquire_leases(self, config: Config) -> None:
        """Acquire the leases that no other process holds, and open their limiters.

        Raises RunAborted if the registry cannot be used; then none of them is held.
        """
        waiting = [
            lease
            for name, lease in self.by_part.items()
            if not (lease.is_held or name in self._left)
        ]

        def acquire() -> list[tuple[QuotaLease, Handover]]:
            acquired: list[QuotaLease] = []
            try:
                for lease in waiting:
                    if lease.acquire():
                        acquired.append(lease)  # noqa: PERF401 - also those before a failure
                if not acquired:
                    return []
                with open_store(config).together():
                    return [(lease, lease.take_over()) for lease in acquired]
            except RunAborted:
                for lease in acquired:
                    lease.release()
                raise

        if waiting:
            with anyio.CancelScope(shield=True):  # each lease that is held is known to be
                for lease, handover in await anyio.to_thread.run_sync(acquire):
                    lease.limiter.hold_until(lease.sure_until_s)
                    lease.limiter.open(*handover, most_unrecorded=lease.most_unrecorded)

    async def _record(
        self,
        config: Config,
        announce: Callable[[str], None] = lambda _words: None,
        *,
        is_last: bool = False,
    ) -> None:
        """Put send times and pauses on record, and pass on the leases that others wait for.

        is_last  pass on every lease

        If the registry cannot be written, that is announced once and nothing is passed on. What was
        not recorded is recorded later; the limiters bound how much that can be, and after BEHIND_S
        the error is raised.

        Raises LedgerError if the registry is damaged.
        """
        held = [lease for lease in self.by_part.values() if lease.is_held]
        for lease in held if is_last else ():
            lease.limiter.close()
        # at the end also those that this process waits for
        leaving = [each for each in self.by_part.values() if is_last or _may_pass_on(each)]
        records = [LeaseRecord.of(each, is_leaving=each in leaving) for each in held]
        leases = self.by_part.values()
        pauses = [(each, pause) for each in leases if (pause := each.limiter.pause.unrecorded)]
        if not (held or leaving or pauses):
            return
        write = partial(write_records, open_store(config), records, pauses)
        try:
            with anyio.CancelScope(shield=True):
                news = await anyio.to_thread.run_sync(write)
        except LedgerError:
            await _release(leaving)
            raise
        except RunAborted as error:
            _keep_for_later(records, is_last=is_last)
            self._wait_or_fail(error, announce)
            return
        await _release(leaving)
        self._forget_left()
        self._behind_since_s = None
        for lease in news.lifted:
            lease.limiter.pause.lift()
        for lease in held:
            lease.limiter.recorded()
            if lease.is_held:
                lease.limiter.hold_until(lease.sure_until_s)
            else:  # it was passed on, or another process took it
                lease.limiter.close()
        for lease in news.wanted:
            lease.limiter.close()  # it is passed on once nothing is in flight

    def _forget_left(self) -> None:
        """Forget the parts of quotas that were left and passed on."""
        for name in [each for each in self._left if not self.by_part[each].is_held]:
            self._left.discard(name)
            del self.by_part[name]

    def _wait_or_fail(self, error: RunAborted, announce: Callable[[str], None]) -> None:
        """Announce once that send times cannot be recorded; raise `error` after BEHIND_S of it."""
        now_s = time.monotonic()
        if self._behind_since_s is None:
            self._behind_since_s = now_s
            announce(
                f"send times cannot be recorded: {error}. The run stops if that lasts "
                f"{BEHIND_S:g} s"
            )
        elif now_s >= self._behind_since_s + BEHIND_S:
            raise error


async def _release(leases: Sequence[QuotaLease]) -> None:
    def release() -> None:
        for lease in leases:
            lease.release()

    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(release)


def _keep_for_later(records: Sequence[LeaseRecord], *, is_last: bool) -> None:
    """Release nothing: then the next holder counts what is not on record."""
    for record in records:
        record.keep()
        if is_last:  # it may be the next run of this process
            record.lease.abandon()


def _part_name(account: Account, number: int) -> str:
    return QuotaPart(quota_group(account), number, account.shares).name


def _may_pass_on(lease: QuotaLease) -> bool:
    """True if the limiter is closed and the end of every request is known."""
    return lease.is_held and not lease.limiter.is_open and lease.limiter.is_settled


def _limiter_settings(account: Account) -> LimiterSettings:
    starts_s = account.day_starts_s
    return LimiterSettings(
        quotas=account.quotas,
        starts_per_s=account.starts_per_s,
        is_strict=account.is_strict,
        day_started_s=starts_s,  # on 1970-01-01; later days begin at the same time
        max_wait_s=account.max_wait_s,
    )
