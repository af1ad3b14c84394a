"""State that the runs of one command share: quota leases, stop reasons, a signal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.run.outcome import RunOutcome
from pipeline.run.quota_leases import QuotaLeases


@dataclass(slots=True)
class Session:
    """State shared by the runs of one command, in one event loop.

    quotas        the leases of the quotas that its accounts send at
    stop_reasons  account -> why no further run of the command sends to it
    interrupted   the signal that interrupted the command; None while there was none
    """

    quotas: QuotaLeases = field(default_factory=QuotaLeases)
    stop_reasons: dict[str, str] = field(default_factory=dict)
    interrupted: signal.Signals | None = None
    _sending: list[RunOutcome] = field(default_factory=list)

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
