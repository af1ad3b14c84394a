"""What runs have in common: gates with what quotas remember, hopeless accounts, a signal."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from pipeline.config import Config
from pipeline.model import AccountProgress, RowResult, RunAborted
from pipeline.model.quota import Quota
from pipeline.pacing.limiter import LimiterSettings, RateLimiter
from pipeline.pacing.quota_lease import REMEMBER_EVERY_S, Handover, QuotaLease
from pipeline.run.destination_locks import lock_folder
from pipeline.runs.registry import open_registry
from pipeline.vendors import Account, Authentication, Basic, Bearer, TokenCall
from pipeline.workers.pool import WorkerPool

LOOK_EVERY_S = 0.01
"""How often a gate is looked at that another process holds."""


@dataclass(slots=True)
class RunOutcome:
    """What the sending of a run left beside its results.

    started  when it began
    stopped  account -> why it took no more rows
    signal   that stopped the run; None where none did
    failure  what broke the run off; None where nothing did
    is_off   it was called off before anything was sent
    over     why it ended before its rows did: its time had come, or it was killed; else empty
    slowed   account -> the slowest quota that another terminal asked for
    leg      the number of this process among those that sent rows of the run; 0 while it sent none
    unrecorded  results that could not be put on record; the report has them all the same
    pool     that sends; None before
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
    pool: WorkerPool | None = None

    @property
    def began_at_s(self) -> float:
        """`started` in UTC seconds since 1970."""
        return self.started.timestamp()


@dataclass(slots=True)
class Session:
    """What runs of one command share, one event loop for all of them.

    tenures   by quota group: their gates hold across accounts and files
    hopeless  accounts that would meet the same again -> why
    interrupted  by which signal the command was; None while it is not
    """

    tenures: dict[str, QuotaLease] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)
    interrupted: signal.Signals | None = None
    _sending: list[RunOutcome] = field(default_factory=list)
    _users: int = 0
    _keeper: anyio.Lock = field(default_factory=anyio.Lock)
    _news: anyio.Event = field(default_factory=anyio.Event)

    def gate(self, account: Account, config: Config) -> RateLimiter:
        """The one gate of an account's quota group. It opens once `kept` runs."""
        group = quota_group(account)
        if group not in self.tenures:
            gate = RateLimiter(
                _terms(account), clock=time.monotonic, utc=time.time, paused=self._note_now
            )
            gate.close()
            self.tenures[group] = QuotaLease(group, gate, lock_folder(config))
        return self.tenures[group].gate

    def _note_now(self) -> None:
        self._news.set()

    @asynccontextmanager
    async def kept(
        self, config: Config, announce: Callable[[str], None] = lambda _words: None
    ) -> AsyncIterator[None]:
        """While the block runs the gates are open, by turns with other processes.

        announce  is called, with words for people, where another process is waited for

        What left is on record once a second and at the end, a vendor's pause at once.
        """
        self._users += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep, config, announce)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._users -= 1
            with anyio.CancelScope(shield=True):
                await self._note(config, is_last=not self._users)

    async def _keep(self, config: Config, announce: Callable[[str], None]) -> None:
        async with self._keeper:  # of several runs one does it for all
            while True:
                noted_s = time.monotonic()
                self._news = anyio.Event()
                await self._note(config)
                while not self._has_to_note(noted_s):
                    await self._take(config)
                    self._announce_holders(announce)
                    with anyio.move_on_after(self._rest_s(noted_s)):
                        await self._news.wait()

    def _has_to_note(self, noted_s: float) -> bool:
        """Whether it is time, the last note being from `noted_s`, or there is a reason."""
        is_time = time.monotonic() >= noted_s + REMEMBER_EVERY_S
        return is_time or self._news.is_set() or any(map(_may_go, self.tenures.values()))

    def _rest_s(self, noted_s: float) -> float:
        """How long nothing has to be looked at."""
        if not all(each.is_held and each.gate.is_open for each in self.tenures.values()):
            return LOOK_EVERY_S
        return noted_s + REMEMBER_EVERY_S - time.monotonic()

    def _announce_holders(self, announce: Callable[[str], None]) -> None:
        for group, tenure in self.tenures.items():
            who = tenure.held_by_another()
            if who is not None:
                vendor, origin, _ = group.split("|", 2)
                announce(
                    f"{who} holds the quota of {vendor} at {origin}: waiting until it passes it on "
                    "or ends. Where it is stopped, continue or end it"
                )

    async def _take(self, config: Config) -> None:
        waiting = [tenure for tenure in self.tenures.values() if not tenure.is_held]

        def take() -> list[tuple[QuotaLease, Handover]]:
            reached: list[QuotaLease] = []
            try:
                for tenure in waiting:
                    if tenure.reach():
                        reached.append(tenure)  # noqa: PERF401 - also of those before a failure
                if reached:
                    with open_registry(config) as runs:
                        return [(tenure, tenure.take(runs)) for tenure in reached]
            except RunAborted:  # the recorder tells of it
                for tenure in reached:
                    tenure.let_go()
            return []

        if waiting:
            with anyio.CancelScope(shield=True):  # what was taken is known to be
                for tenure, taken in await anyio.to_thread.run_sync(take):
                    tenure.gate.open(*taken, most_unrecorded=tenure.most_unrecorded)

    async def _note(self, config: Config, *, is_last: bool = False) -> None:
        """Put on record what left; let go of gates that others wait for, in the end of all."""
        held = [tenure for tenure in self.tenures.values() if tenure.is_held]
        for tenure in held:
            if is_last or tenure.is_wanted():
                tenure.gate.close()
        # in the end also those that wait
        leaving = [each for each in self.tenures.values() if is_last or _may_go(each)]
        facts = [
            (
                each,
                each.gate.take_ages_s(is_all=each in leaving),
                0 if each in leaving else each.gate.under_way,
            )
            for each in held
        ]
        tenures = self.tenures.values()
        new = [(each, asked) for each in tenures if (asked := each.gate.unrecorded_pause)]
        paused = [each for each in held if each.gate.is_pause_on_record]

        def note() -> list[QuotaLease]:
            lifted: list[QuotaLease] = []
            with suppress(RunAborted), open_registry(config) as runs:  # the recorder tells of it
                for tenure, ages_s, under_way in facts:
                    tenure.note(runs, ages_s, under_way=under_way)
                for tenure, asked in new:
                    runs.pause(tenure.group, asked)
                    tenure.gate.recorded_pause(asked)
                lifted += [each for each in paused if runs.pause_of(each.group) is None]
            for tenure in leaving:
                tenure.let_go()
            return lifted

        if held or leaving or new:
            with anyio.CancelScope(shield=True):
                for tenure in await anyio.to_thread.run_sync(note):
                    tenure.gate.lift_pause()
            for tenure in held:
                tenure.gate.recorded()

    @contextmanager
    def interruptible(self, sent: RunOutcome) -> Iterator[None]:
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


def _may_go(tenure: QuotaLease) -> bool:
    """Whether a gate that was closed can be passed on: all is known of what left."""
    return tenure.is_held and not tenure.gate.is_open and tenure.gate.is_settled


def _terms(account: Account) -> LimiterSettings:
    starts_s = account.day_starts_s
    return LimiterSettings(
        quotas=account.quotas,
        starts_per_s=account.starts_per_s,
        is_strict=account.is_strict,
        day_started_s=starts_s,  # on the first day of all: every later one begins at that time
        max_wait_s=account.max_wait_s,
    )


def quota_group(account: Account) -> str:
    """What shares an account's quota: whoever signs in there with the same credential."""
    signs: Authentication = account.vendor.authenticate(account.settings)
    match signs:
        case Basic():
            who = signs.user
        case Bearer():
            who = signs.token.get_secret_value()
        case TokenCall():
            basic = [signs.basic.user] if signs.basic else []
            who = "|".join([*basic, *(secret.get_secret_value() for secret in signs.secrets)])
        case None:
            who = ""
    digest = hashlib.sha256(who.encode()).hexdigest()[:16]
    return f"{group_prefix(account)}{digest}"


def group_prefix(account: Account) -> str:
    """How the quota group of an account begins, whatever its credential."""
    return f"{account.vendor.name}|{account.settings.origin}|"
