"""What an account's requests add up to: how many, since when, how fast they are answered."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.model.sample import LATENCY_BOUNDS_S
from pipeline.workers.recent_errors import RecentErrors


class Traffic:
    """Counts requests as they leave and end.

    clock      monotonic seconds
    sent       requests that left, `retries` of them not the first of their row
    in_flight  those under way now
    has_reply  whether something has come back
    recent_errors   what came back that was no success
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.sent = 0
        self.retries = 0
        self.in_flight = 0
        self.has_reply = False
        self.recent_errors = RecentErrors()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)

    @contextmanager
    def request(self, sent_s: float) -> Iterator[None]:
        """While the block runs a request is under way that left at `sent_s`."""
        self.sent += 1
        self.in_flight += 1
        if self._first_s is None:
            self._first_s = sent_s
        try:
            yield
        finally:
            self.in_flight -= 1
            self._last_s = self._clock()

    def add_latency(self, latency_s: float) -> None:
        """An answer came so long after its request left."""
        self._latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    @property
    def sending_s(self) -> float:
        """From the first request to the last answer so far."""
        return 0.0 if self._first_s is None else max(0.0, self._last_s - self._first_s)

    def take_latencies(self) -> tuple[int, ...]:
        """How many answers came within each of LATENCY_BOUNDS_S since the last call."""
        taken, self._latencies = self._latencies, [0] * len(self._latencies)
        return tuple(taken) if any(taken) else ()
