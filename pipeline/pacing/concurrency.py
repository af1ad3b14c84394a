"""How many requests of an account may be under way at once, learned from its answers. Pure.

    raised   by one per round trip, and only where the limit was reached: nobody knows what a limit
             would do that was never used. At first it doubles, until something pushes back
    lowered  by a tenth, at most once per round trip, where the vendor throttles or fails more than
             a few (`suspicion.py`), or where answers take clearly longer than of late; for a while
             it then stays below where that happened
    one      after throttled requests, until one that left later was carried out; one that was
             throttled alone is an accident

What is measured is the mean of a round trip's worth of answers against the moving mean of those
before it: single answers vary too much to tell anything.
"""

from __future__ import annotations

from pipeline.model import Verdict
from pipeline.pacing.suspicion import Suspicion

START = 4
"""Requests at once at the beginning, before anything was learned."""

LESS = 0.9
"""What is left of the limit after a push-back."""

DEVIATIONS = 2.5
LEAST_RISE = 1.25
"""Slower is what lies so many deviations, and by this factor, above the moving mean."""

MEMORY, SLOW_MEMORY = 0.1, 0.02
"""The weight of the newest measurement in the moving mean, and that of one above it: answers that
take ever longer as the limit rises must not become the usual."""

FEWEST = 8
"""A round trip's worth is at least so many answers, or as many as may be under way."""

HOLD_S = 30.0
"""How long the limit stays below where it was lowered."""


class Concurrency:
    """The limit of one account.

    most  never more at once, 1 or more

    >>> concurrency = Concurrency(most=64)
    >>> concurrency.limit
    4
    >>> concurrency.on_sent(in_flight=4)
    >>> concurrency.on_answer(Verdict.THROTTLED, left_s=0.0, now_s=0.1)
    >>> concurrency.limit
    4
    >>> for _ in range(5):
    ...     concurrency.on_answer(Verdict.THROTTLED, left_s=0.0, now_s=0.1)
    >>> concurrency.limit
    1
    >>> concurrency.on_answer(Verdict.OK, left_s=0.2, now_s=0.3)
    >>> concurrency.limit
    3
    """

    __slots__ = (
        *("_careful_since_s", "_ceiling", "_count", "_deviation_s", "_ends_s"),
        *("_hold_until_s", "_limit", "_lowered_s", "_mean_s", "_most", "_peak", "_sum_s"),
        *("_suspicion", "_threshold"),
    )

    def __init__(self, most: int, start: int = START) -> None:
        self._most = most
        self._limit = float(min(start, most))
        self._threshold = float(most)  # below it the limit doubles
        self._ceiling = float(most)
        self._hold_until_s = float("-inf")
        self._mean_s: float | None = None
        self._deviation_s = 0.0
        self._careful_since_s: float | None = None
        self._lowered_s = float("-inf")
        self._suspicion = Suspicion()
        self._start_round(0.0)

    def _start_round(self, ends_s: float) -> None:
        self._ends_s = ends_s
        self._sum_s = 0.0
        self._count = 0
        self._peak = 0

    @property
    def limit(self) -> int:
        """Requests that may be under way at once."""
        return 1 if self._careful_since_s is not None else int(self._limit)

    def restart(self, down_since_s: float, now_s: float) -> None:
        """The vendor was away, or had too much: up to half of it quickly, then by and by."""
        if self._lowered_s < down_since_s:
            self._threshold = max(self._limit / 2.0, float(START))
            self._ceiling = max(self._limit - 1.0, 1.0)
            self._hold_until_s = now_s + HOLD_S
        self._limit = min(self._limit, float(START))
        self._suspicion.forget()

    def on_sent(self, in_flight: int) -> None:
        """A request leaves; with it so many are under way."""
        self._peak = max(self._peak, in_flight)

    def on_answer(self, verdict: Verdict, left_s: float, now_s: float) -> None:
        """An answer came at `now_s` to a request that left at `left_s`."""
        if verdict in {Verdict.THROTTLED, Verdict.TRANSIENT}:
            self._failed(left_s, now_s, is_refusal=verdict is Verdict.THROTTLED)
        elif verdict in {Verdict.OK, Verdict.REJECTED}:
            self._suspicion.went_well()
            if self._careful_since_s is not None and left_s >= self._careful_since_s:
                self._careful_since_s = None
            self._sum_s += now_s - left_s
            self._count += 1
            if now_s >= self._ends_s and self._count >= min(FEWEST, int(self._limit)):
                self._end_round(left_s, now_s)

    def _failed(self, left_s: float, now_s: float, *, is_refusal: bool) -> None:
        if left_s >= self._lowered_s:
            self._suspicion.failed()
        if is_refusal and self._suspicion.is_likely:
            self._careful_since_s = now_s
        # where nothing works it is an outage
        if (is_refusal or self._count) and self._is_too_many():
            self._refused(left_s, now_s)
            self._start_round(now_s)

    def _is_too_many(self) -> bool:
        # where the limit is not reached it has another reason
        return self._peak >= int(self._limit) and self._suspicion.is_enough

    def _lower(self, left_s: float, now_s: float) -> None:
        """Once for all that left before it was known that the limit is too high."""
        if left_s >= self._lowered_s:
            self._limit = max(1.0, self._limit * LESS)
            self._threshold = self._limit
            self._lowered_s = now_s

    def _refused(self, left_s: float, now_s: float) -> None:
        """Not so many at once, and for a while no more than what was taken."""
        if left_s >= self._lowered_s:
            self._ceiling = max(1.0, float(int(self._limit) - 1))
            self._hold_until_s = now_s + HOLD_S
            self._lower(left_s, now_s)
            self._limit = min(self._limit, self._ceiling)

    def _end_round(self, left_s: float, now_s: float) -> None:
        mean_s = self._sum_s / self._count
        if self._is_slower(mean_s):
            self._lower(left_s, now_s)
            self._mean_s = (1.0 - SLOW_MEMORY) * (self._mean_s or 0.0) + SLOW_MEMORY * mean_s
        else:
            self._remember(mean_s)
            if self._peak >= int(self._limit) and self._suspicion.is_lone:
                self._raise(now_s)
        self._start_round(now_s + mean_s)

    def _raise(self, now_s: float) -> None:
        if now_s >= self._hold_until_s:
            self._ceiling = float(self._most)
        quickly = min(2.0 * self._limit, self._threshold)
        self._limit = min(max(quickly, self._limit + 1.0), self._ceiling)

    def _is_slower(self, mean_s: float) -> bool:
        if self._mean_s is None or self._count < FEWEST:
            return False
        usual_s = self._mean_s + DEVIATIONS * self._deviation_s
        return mean_s > max(usual_s, LEAST_RISE * self._mean_s)

    def _remember(self, mean_s: float) -> None:
        if self._mean_s is None:
            self._mean_s, self._deviation_s = mean_s, mean_s / 4.0
        else:
            off_s = mean_s - self._mean_s
            self._mean_s += (SLOW_MEMORY if off_s > 0 else MEMORY) * off_s
            self._deviation_s += MEMORY * (abs(off_s) - self._deviation_s)
