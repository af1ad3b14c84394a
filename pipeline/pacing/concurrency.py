"""The limit of requests in flight of an account, learned from its answers. Pure.

The limit is

    raised   by one per round trip, only if it was reached: an unused limit proves nothing. At first
             it doubles, until the vendor pushes back
    lowered  by a tenth, at most once per round trip, if the vendor throttles or fails more than a
             few requests (`suspicion.py`), or if answers take clearly longer than before; it then
             stays below that point for HOLD_S
    one      after throttled requests, until one sent later succeeds; a single throttled request is
             an accident

The mean latency of one round trip's worth of answers is compared with the moving mean of the
answers before it: single answers vary too much.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.model import Verdict
from pipeline.pacing.suspicion import Suspicion

START = 4
"""Requests in flight at the beginning."""

LESS = 0.9
"""Share of the limit that remains after a push-back."""

DEVIATIONS = 2.5
MIN_RISE = 1.25
"""Answers are slower if their mean exceeds the moving mean by this many deviations and this
factor."""
LEAST_RISE_S = 0.005
"""Nor are they if it exceeds it by less: a busy process is as late with what has arrived."""

MEMORY, SLOW_MEMORY = 0.1, 0.02
"""Weight of the newest measurement in the moving mean, and that of one above the mean: answers that
take ever longer as the limit rises must not become the baseline."""

FEWEST = 8
"""Least number of answers in a round trip's worth, or the limit if that is lower."""

HOLD_S = 30.0
"""Seconds for which the limit stays below the point where it was lowered."""


class Concurrency:
    """The learned limit of one account.

    most  upper bound of the limit, 1 or more

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
        """Requests that may be in flight."""
        return 1 if self._careful_since_s is not None else int(self._limit)

    def restart(self, down_since_s: float, now_s: float) -> None:
        """After an outage: double up to half of the former limit, then rise one per round trip."""
        if self._lowered_s < down_since_s:
            self._threshold = max(self._limit / 2.0, float(START))
            self._ceiling = max(self._limit - 1.0, 1.0)
            self._hold_until_s = now_s + HOLD_S
        self._limit = min(self._limit, float(START))
        self._suspicion.forget()

    def on_sent(self, in_flight: int) -> None:
        """A request is sent; `in_flight` includes it."""
        self._peak = max(self._peak, in_flight)

    def on_answer(self, verdict: Verdict, left_s: float, now_s: float) -> None:
        """An answer came at `now_s` to a request sent at `left_s`."""
        if verdict in {Verdict.THROTTLED, Verdict.TRANSIENT}:
            self._on_failure(left_s, now_s, is_refusal=verdict is Verdict.THROTTLED)
        elif verdict in {Verdict.OK, Verdict.REJECTED}:
            self.on_successes(((left_s, now_s),), now_s)

    def on_successes(self, trips_s: Sequence[tuple[float, float]], now_s: float) -> None:
        """As `on_answer` with OK for each request; all answers were read at once.

        trips_s  when each request was sent, and when its reply arrived
        """
        is_suspected = not self._suspicion.is_none
        careful_since_s = self._careful_since_s
        if careful_since_s is not None and max(trips_s)[0] >= careful_since_s:
            self._careful_since_s = None
        for left_s, came_s in trips_s:
            if is_suspected:
                self._suspicion.on_success()
            self._sum_s += came_s - left_s
            self._count += 1
            if now_s >= self._ends_s and self._count >= min(FEWEST, int(self._limit)):
                self._end_round(left_s, now_s)

    def _on_failure(self, left_s: float, now_s: float, *, is_refusal: bool) -> None:
        if left_s >= self._lowered_s:
            self._suspicion.on_failure()
        if is_refusal and self._suspicion.is_likely:
            self._careful_since_s = now_s
        # failures without any success are an outage
        if (is_refusal or self._count) and self._is_too_many():
            self._on_push_back(left_s, now_s)
            self._start_round(now_s)

    def _is_too_many(self) -> bool:
        # below the limit the failures have another reason
        return self._peak >= int(self._limit) and self._suspicion.is_enough

    def _lower(self, left_s: float, now_s: float) -> None:
        """Lower the limit, once for all requests sent before it was known to be too high."""
        if left_s >= self._lowered_s:
            self._limit = max(1.0, self._limit * LESS)
            self._threshold = self._limit
            self._lowered_s = now_s

    def _on_push_back(self, left_s: float, now_s: float) -> None:
        """Lower the limit, and keep it below its former value for HOLD_S."""
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
            self._update_mean(mean_s)
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
        baseline_s = self._mean_s + DEVIATIONS * self._deviation_s
        return mean_s > max(baseline_s, MIN_RISE * self._mean_s, self._mean_s + LEAST_RISE_S)

    def _update_mean(self, mean_s: float) -> None:
        if self._mean_s is None:
            self._mean_s, self._deviation_s = mean_s, mean_s / 4.0
        else:
            excess_s = mean_s - self._mean_s
            self._mean_s += (SLOW_MEMORY if excess_s > 0 else MEMORY) * excess_s
            self._deviation_s += MEMORY * (abs(excess_s) - self._deviation_s)
