"""Events while a run was sent, besides its results."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pipeline.model import AccountProgress, RowResult
from pipeline.model.quota import Quota
from pipeline.store.seam import Order


class Stoppable(Protocol):
    """The sender of a run's rows: a pool, or workers elsewhere."""

    @property
    def is_stopped(self) -> bool:
        """True once `stop` was called."""

    def stop(self, reason: str) -> None:
        """Send no further row; a second call cancels what is in flight."""


@dataclass(slots=True)
class RunOutcome:
    """Events while a run was sent, besides its results.

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
    _began_s: float = field(default_factory=time.monotonic)

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
        """The cause that interrupted the run; empty if nothing did."""
        if self.signal is None:
            return ""
        if self.is_ordered:
            return "stopped by `pipeline runs --stop`"
        return f"interrupted by {self.signal.name}"

    @property
    def began_at_s(self) -> float:
        """`started` in UTC seconds since 1970."""
        return self.started.timestamp()

    @property
    def now_at_s(self) -> float:
        """The time, in UTC seconds since 1970, as if nobody had set the clock since `started`."""
        return self.began_at_s + time.monotonic() - self._began_s
