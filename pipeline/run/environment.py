"""Dependencies of a prepared run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from pipeline.model import AccountProgress, RowResult
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.canary import Agree
from pipeline.run.links import OpenLink, over_http
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepared import Prepared
from pipeline.run.schedule_window import ScheduleWindow
from pipeline.run.session import Session
from pipeline.run.worker_processes import StartWorkers
from pipeline.vendors import Account

Progress = Callable[[], Sequence[AccountProgress]]
Watch = Callable[[Progress], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnvironment:
    """Dependencies of a prepared run.

    watch      shows progress while rows are sent
    environ    environment variables, for secrets
    open_link  opens the connection to an account's vendor
    shared     state shared by runs of the same command
    wait       wait for other processes that send to the same place; else raise BusyError
    window     when the run may send
    tell       called with text for people about waits and live overrides
    failed     called in a thread with failed results once they are on record; None: not called
    agree      called in a thread after a good canary; True if the other rows may be sent
    workers    makes the workers that send the rows; None: this process sends them
    count      number of workers that are started
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
    workers: StartWorkers | None = None
    count: int = 0

    def may_wait(self) -> bool:
        """True while the run may wait for other processes."""
        is_late = self.window.is_over
        return self.wait and self.shared.interrupted is None and not is_late

    async def await_start(self, outcome: RunOutcome, *, ahead_s: float = 0.0) -> bool:
        """Wait until `ahead_s` before the start; False if the run was called off, as `outcome`
        says.
        """
        may_go = await self.window.wait(lambda: outcome.signal is not None, ahead_s=ahead_s)
        if not may_go and self.window.start_at is not None:
            outcome.is_off = True
        return not outcome.is_off

    def limiter(
        self, prepared: Prepared, account: Account, number: int, announce: Callable[[str], None]
    ) -> AccountLimiter:
        """The limiter of one share of an account.

        Raises ConfigError as `QuotaLeases.limiter` does.
        """
        limiter = self.shared.quotas.limiter(account, prepared.config, number)
        sure_until_s = prepared.holds.sure_until_s
        return AccountLimiter(limiter, prepared.run, announce=announce, sure_until_s=sure_until_s)
