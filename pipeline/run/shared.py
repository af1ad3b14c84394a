"""What runs have in common: gates with what quotas remember, hopeless accounts, a signal."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.config import Config
from pipeline.engine.gate import Gate
from pipeline.engine.pool import Pool
from pipeline.model import AccountProgress, RowResult
from pipeline.run.registry import open_registry
from pipeline.vendors import Account, Authentication, Basic, Bearer, TokenCall


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

    gates     by quota group: their windows and pauses hold across accounts and files
    hopeless  accounts that would meet the same again -> why
    interrupted  by which signal the command was; None while it is not
    """

    gates: dict[str, Gate] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)
    interrupted: signal.Signals | None = None
    _sending: list[Sent] = field(default_factory=list)

    def gate(self, account: Account, config: Config) -> Gate:
        """The one gate of an account's quota group, earlier runs counted in."""
        group = quota_group(account)
        if group not in self.gates:
            gate = self.gates[group] = Gate(account.quotas, clock=time.monotonic)
            now_s = time.time()
            with open_registry(config) as runs:
                left_s = runs.departures(group, now_s - gate.longest_s)
                pause_left_s = runs.paused_until(group) - now_s
            gate.recall([max(0.0, now_s - each) for each in left_s], max(0.0, pause_left_s))
        return self.gates[group]

    def remember(self, config: Config) -> None:
        """Put on record what left since the last call, for runs to come and other processes."""
        now_s = time.time()
        with open_registry(config) as runs:
            for group, gate in tuple(self.gates.items()):
                times = [now_s - age_s for age_s in gate.take_ages_s()]
                runs.depart(group, times, forget_before_s=now_s - gate.longest_s)
                if pause_left_s := gate.pause_left_s():
                    runs.pause(group, now_s + pause_left_s)

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
    return f"{account.vendor.name}|{account.settings.origin}|{digest}"
