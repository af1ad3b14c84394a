"""State that the runs of one command share: quota leases, stop reasons, a signal."""

from __future__ import annotations

import math
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.config.shares import unlike_shares
from pipeline.model import AccountProgress, ConfigError, Fault, RowResult, RunAborted
from pipeline.model.pause import AskedPause
from pipeline.model.quota import Quota
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.quota_lease import REMEMBER_EVERY_S, Handover, QuotaLease
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.pacing.unrecorded import AgeCount
from pipeline.run.quota_groups import quota_group
from pipeline.runs.registry import open_store
from pipeline.store import LedgerError
from pipeline.store.seam import Order, Store
from pipeline.vendors import Account

BEHIND_S = 60.0
"""So long sending goes on, within its bound, while send times cannot be recorded."""

CHECK_EVERY_S = 0.05
"""Seconds between two attempts to acquire a quota that another process holds."""

SETTLED_EVERY_S = 0.01
"""Seconds between two looks whether a quota that another process wants may be passed on."""


PAUSES_EVERY_S = 0.05
"""Seconds between two looks at the pauses on record, if others send at parts of the same quota."""


class Stoppable(Protocol):
    """What sends the rows of a run: a pool, or workers elsewhere."""

    @property
    def is_stopped(self) -> bool:
        """True once `stop` was called."""

    def stop(self, reason: str) -> None:
        """Send no further row; a second call cancels what is in flight."""


@dataclass(slots=True)
class RunOutcome:
    """What happened while a run was sent, besides its results.

    started     when sending began
    progress    of each account
    stopped     account -> why it stopped
    signal      that stopped the run; None if none did
    failure     error that ended the run; None if there was none
    is_off      the run was called off before anything was sent
    over        why the run ended early: the end of its window, or a kill; else empty
    slowed      account -> the slowest quota set from another terminal
    leg         number of this process among those that sent rows of the run; 0 before it sends
    unrecorded  results that could not be put on record; the report includes them
    pool        that sends the rows; None before sending
    order       the last order from another terminal
    is_ordered  the signal stands for such an order
    on_order    called with each new order
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    progress: tuple[AccountProgress, ...] = ()
    stopped: dict[str, str] = field(default_factory=dict)
    signal: signal.Signals | None = None
    failure: Exception | None = None
    is_off: bool = False
    over: str = ""
    slowed: dict[str, Quota] = field(default_factory=dict)
    leg: int = 0
    unrecorded: list[RowResult] = field(default_factory=list)
    pool: Stoppable | None = None
    order: Order = field(default_factory=Order)
    is_ordered: bool = False
    on_order: Callable[[Order], None] = lambda _order: None

    def obey(self, order: Order) -> None:
        """Take notice of a new order; one to stop counts as SIGTERM does."""
        is_new_stop = order.is_stop and not self.order.is_stop
        self.order = order
        self.on_order(order)
        if is_new_stop and self.signal is None:
            self.signal, self.is_ordered = signal.SIGTERM, True
            if self.pool is not None and not self.pool.is_stopped:
                self.pool.stop(self.interruption)

    @property
    def interruption(self) -> str:
        """What interrupted the run; empty if nothing did."""
        if self.signal is None:
            return ""
        if self.is_ordered:
            return "stopped by `pipeline runs --stop`"
        return f"interrupted by {self.signal.name}"

    @property
    def began_at_s(self) -> float:
        """`started` in UTC seconds since 1970."""
        return self.started.timestamp()


@dataclass(slots=True)
class Session:
    """State shared by the runs of one command, in one event loop.

    leases        name of a quota group, or of a part of it -> the lease of its limiter, shared by
                  accounts and files
    stop_reasons  account -> why no further run of the command sends to it
    interrupted   the signal that interrupted the command; None while there was none
    """

    leases: dict[str, QuotaLease] = field(default_factory=dict)
    stop_reasons: dict[str, str] = field(default_factory=dict)
    interrupted: signal.Signals | None = None
    _accounts: dict[str, Account] = field(default_factory=dict)  # the first of each quota group
    _sending: list[RunOutcome] = field(default_factory=list)
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
            raise ConfigError([Fault(what=unlike)])
        part = QuotaPart(group, number, account.shares)
        self._left.discard(part.name)
        if part.name not in self.leases:
            limiter = RateLimiter(
                _limiter_settings(account.part(number)),
                clock=time.monotonic,
                utc=time.time,
                paused=partial(self._on_pause, part),
            )
            limiter.close()
            self.leases[part.name] = QuotaLease(part, limiter, open_store(config))
        return self.leases[part.name].limiter

    def enter(self, account: Account, number: int) -> None:
        """A share of an account is sent at its part of the quota, until `leave` is called."""
        self._uses[_part_name(account, number)] += 1

    def leave(self, account: Account, number: int) -> None:
        """Pass the part on for good if no other share of this process uses it."""
        name = _part_name(account, number)
        self._uses[name] -= 1
        lease = self.leases.get(name)
        if lease is None or self._uses[name]:
            return
        lease.limiter.close()
        if self._users:
            self._left.add(name)
            self._record_now()
        else:  # it was released when the last run ended
            self._left.discard(name)
            del self.leases[name]

    def _on_pause(self, part: QuotaPart) -> None:
        """Let all parts of the quota keep a pause that was asked of one, and put it on record."""
        asked = self.leases[part.name].limiter.pause.unrecorded
        for lease in self.leases.values():
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
        return is_time or self._news.is_set() or any(map(_may_pass_on, self.leases.values()))

    def _rest_s(self, recorded_s: float) -> float:
        """Seconds until the leases are checked again."""
        leases = self.leases.values()
        if not all(each.is_held for each in leases):
            return CHECK_EVERY_S
        if not all(each.limiter.is_open for each in leases):
            return SETTLED_EVERY_S
        if any(each.part.of > 1 for each in leases):
            return min(PAUSES_EVERY_S, recorded_s + REMEMBER_EVERY_S - time.monotonic())
        return recorded_s + REMEMBER_EVERY_S - time.monotonic()

    async def _adopt_pauses(self, config: Config) -> None:
        """Every PAUSES_EVERY_S, adopt the pauses of quotas of which another process has a part."""
        parts, now_s = [each.part for each in self.leases.values()], time.monotonic()
        held = Counter(each.part.group for each in self.leases.values() if each.is_held)
        groups = {part.group for part in parts if 1 < part.of > held[part.group]}
        if not groups or now_s < self._adopted_s + PAUSES_EVERY_S:
            return
        self._adopted_s = now_s

        first = {lease.part.group: lease for lease in self.leases.values()}

        def read() -> dict[str, AskedPause | None]:
            with open_store(config).together():
                return {group: first[group].pause_on_record() for group in groups}

        for group, asked in (await anyio.to_thread.run_sync(read)).items():
            for lease in self.leases.values():
                if lease.part.group == group and lease.limiter.pause.unrecorded is None:
                    lease.limiter.pause.adopt(asked)

    def _announce_holders(self, announce: Callable[[str], None]) -> None:
        for lease in self.leases.values():
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
            for name, lease in self.leases.items()
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
        held = [lease for lease in self.leases.values() if lease.is_held]
        for lease in held if is_last else ():
            lease.limiter.close()
        # at the end also those that this process waits for
        leaving = [each for each in self.leases.values() if is_last or _may_pass_on(each)]
        records = [_LeaseRecord.of(each, is_leaving=each in leaving) for each in held]
        leases = self.leases.values()
        pauses = [(each, pause) for each in leases if (pause := each.limiter.pause.unrecorded)]
        if not (held or leaving or pauses):
            return
        write = partial(_write_records, open_store(config), records, pauses)
        try:
            with anyio.CancelScope(shield=True):
                news = await anyio.to_thread.run_sync(write)
        except LedgerError:
            await _release(leaving)
            raise
        except RunAborted as error:
            # a lease that is not released makes the next holder count what is not on record
            for record in records:
                record.keep()
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
        for name in [each for each in self._left if not self.leases[each].is_held]:
            self._left.discard(name)
            del self.leases[name]

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

    @contextmanager
    def interruptible(self, outcome: RunOutcome) -> Iterator[None]:
        """While the block runs, a signal stops the pool of `outcome`."""
        outcome.signal = self.interrupted
        self._sending.append(outcome)
        try:
            yield
        finally:
            self._sending.remove(outcome)

    def interrupt(self, number: signal.Signals) -> None:
        """Stop all running runs. Requests in flight finish, unless this is the second signal."""
        self.interrupted = self.interrupted or number
        for outcome in self._sending:
            outcome.signal = outcome.signal or number
            if outcome.pool is not None:
                outcome.pool.stop(outcome.interruption)


@dataclass(slots=True)
class _LeaseRecord:
    """Requests of one lease on their way to the registry."""

    lease: QuotaLease
    ages: list[AgeCount]
    under_way: int
    is_taken: bool = False

    @classmethod
    def of(cls, lease: QuotaLease, *, is_leaving: bool) -> _LeaseRecord:
        ages = lease.limiter.take_unrecorded(is_all=is_leaving)
        return cls(lease, ages, 0 if is_leaving else lease.limiter.under_way)

    def write(self) -> None:
        self.is_taken = True
        self.lease.record(self.ages, under_way=self.under_way)

    def keep(self) -> None:
        if not self.is_taken:
            self.lease.keep(self.ages)


class _News(NamedTuple):
    """What others did meanwhile.

    lifted  leases whose pause somebody has lifted
    wanted  leases that another process waits for
    """

    lifted: list[QuotaLease]
    wanted: list[QuotaLease]


def _write_records(
    store: Store, records: Sequence[_LeaseRecord], pauses: Sequence[tuple[QuotaLease, AskedPause]]
) -> _News:
    """Write all to the registry."""
    paused = [each.lease for each in records if each.lease.limiter.pause.is_on_record]
    with store.together():
        for record in records:
            record.lease.renew()
        for record in records:
            record.write()
        for lease, pause in pauses:
            lease.record_pause(pause)
            lease.limiter.pause.on_recorded(pause)
        return _News(
            [each for each in paused if each.pause_on_record() is None],
            [each.lease for each in records if each.lease.is_wanted()],
        )


async def _release(leases: Sequence[QuotaLease]) -> None:
    def release() -> None:
        for lease in leases:
            lease.release()

    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(release)


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
