"""How many requests of an account may be under way at once, learned from its answers. Pure.

    raised   by one per round trip, and only where the limit was reached: nobody knows what a limit
             would do that was never used. At first it doubles, until something pushes back
    lowered  by a tenth, at most once per round trip, where the vendor throttles, where it fails
             more than a few, or where answers take clearly longer than of late; for a while it
             then stays below where that happened
    one      after a throttled request, until one that left later was carried out

What is measured is the mean of a round trip's worth of answers against the moving mean of those
before it: single answers vary too much to tell anything.
"""

from __future__ import annotations

from pipeline.model import Verdict

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

FAILURES = 0.1
"""Where so many of a round trip's answers are failures, it is too many requests at once."""

HOLD_S = 30.0
"""How long the limit stays below where it was lowered."""


class Concurrency:
    """The limit of one account.

    most  never more at once, 1 or more

    >>> concurrency = Concurrency(most=64)
    >>> concurrency.limit
    4
    >>> concurrency.left(in_flight=4)
    >>> concurrency.heard(Verdict.THROTTLED, left_s=0.0, now_s=0.1)
    >>> concurrency.limit
    1
    >>> concurrency.heard(Verdict.OK, left_s=0.2, now_s=0.3)
    >>> concurrency.limit
    3
    """

    __slots__ = (
        *("_careful_since_s", "_ceiling", "_count", "_deviation_s", "_ends_s", "_failures"),
        *("_hold_until_s", "_is_reached", "_limit", "_lowered_s", "_mean_s", "_most", "_sum_s"),
        "_threshold",
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
        self._start_round(0.0)

    def _start_round(self, ends_s: float) -> None:
        self._ends_s = ends_s
        self._sum_s = 0.0
        self._count = 0
        self._failures = 0
        self._is_reached = False

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

    def left(self, in_flight: int) -> None:
        """A request leaves; with it so many are under way."""
        if in_flight >= int(self._limit):
            self._is_reached = True

    def heard(self, verdict: Verdict, left_s: float, now_s: float) -> None:
        """An answer came at `now_s` to a request that left at `left_s`."""
        if verdict is Verdict.THROTTLED:
            self._careful_since_s = now_s
            if self._is_reached:  # if not, it was not for too many at once
                self._refused(left_s, now_s)
        elif verdict is Verdict.TRANSIENT:
            self._failures += 1
        elif verdict in {Verdict.OK, Verdict.REJECTED}:
            if self._careful_since_s is not None and left_s >= self._careful_since_s:
                self._careful_since_s = None
            self._sum_s += now_s - left_s
            self._count += 1
            if now_s >= self._ends_s and self._count >= min(FEWEST, int(self._limit)):
                self._end_round(left_s, now_s)

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
        if self._fails():
            self._refused(left_s, now_s)
        elif self._is_slower(mean_s):
            self._lower(left_s, now_s)
            self._mean_s = (1.0 - SLOW_MEMORY) * (self._mean_s or 0.0) + SLOW_MEMORY * mean_s
        else:
            self._remember(mean_s)
            if self._is_reached:
                self._raise(now_s)
        self._start_round(now_s + mean_s)

    def _fails(self) -> bool:
        return self._is_reached and self._failures > FAILURES * (self._failures + self._count)

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
