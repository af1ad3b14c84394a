"""From when on a request counts at the vendor. Pure: the time is an argument.

The vendor counts arrivals; we know departures and replies. A request arrived before its reply came,
and no request arrives before it leaves. So a request that counts from its reply on is in no window
too many, whatever the way to the vendor does: a cold connection, a vendor that warms up, a way that
varies. That costs the time of a round trip per window.

Part of it is won back where replies were steady for a while. No round trip is shorter than the
quickest one there is, and both ways of the next request are in that: so that much is deducted. What
was the quickest is the better known the more replies there were and the less they vary. Therefore
less is deducted where few replies came or where they vary, and nothing where they vary much, in the
first STRETCH_S, after a time without replies, while the vendor refuses more than a few, and after a
reply that was quicker than what was deducted.
"""

from __future__ import annotations

import math
from collections import deque

STRETCH_S, STRETCH_REPLIES, STRETCHES = 20.0, 100, 4
"""The quickest is that of so many stretches, each at least so long and of so many replies."""

IDLE_S = 3.0
"""After so long without a reply the way is another one: connections close after 4 s."""

LONGEST_DOUBT_S = 1280.0
"""How long the first stretch lasts at most; it doubles each time that too much was deducted."""

FLOOR_S = 0.005
"""What the quickest round trip seen may be above the quickest there is."""

SURE = 20.0
"""The quickest of n round trips is above the quickest there is by more than sqrt(SURE / n) of their
mean excess about once in e ** (SURE / 2) times: two ways that vary evenly add up to a triangle."""

FEW = 0.01
"""Where a larger share is refused, and not just one, it may be for what was deducted."""

MOST_WAY_S = 10.0
"""A request without a reply yet arrives so late at most: a packet that is lost five times in a row
takes 6 to 31 s, and then its reply comes later still, from which on it counts."""


class Margin:
    """How much of a round trip no request can do without.

    is_strict  nothing is ever deducted

    >>> margin = Margin()
    >>> margin.replied(left_s=0.0, now_s=0.3)
    0.3
    >>> for n in range(2_000):
    ...     counts_from_s = margin.replied(left_s=n / 50, now_s=n / 50 + 0.3)
    >>> round(margin.deducted_s, 3), round(counts_from_s - 39.98, 3)
    (0.295, 0.005)
    """

    __slots__ = (
        *("_count", "_doubt_s", "_ends_s", "_heard_s", "_is_strict", "_quickest_s", "_refused"),
        *("_stretches", "_sum_s", "deducted_s"),
    )

    def __init__(self, *, is_strict: bool = False) -> None:
        self._is_strict = is_strict
        self._heard_s = -math.inf
        self._doubt_s = STRETCH_S
        self._quickest_s = math.inf
        self._stretches: deque[tuple[float, float, int]] = deque(maxlen=STRETCHES)
        self.deducted_s = 0.0
        self._start_stretch(math.inf)

    def replied(self, left_s: float, now_s: float) -> float:
        """The reply to what left at `left_s` came now: from when on that counts."""
        if left_s >= self._heard_s + IDLE_S:
            self._forget(left_s)
        self._heard_s = now_s
        trip_s = now_s - left_s
        if trip_s < self.deducted_s:
            self._distrust(now_s)
        self._count += 1
        self._sum_s += trip_s
        self._quickest_s = min(self._quickest_s, trip_s)
        if now_s >= self._ends_s and self._count >= STRETCH_REPLIES:
            self._end_stretch(now_s)
        return max(left_s, now_s - self.deducted_s)

    def throttled(self, now_s: float) -> None:
        """The vendor refused a request: it may count otherwise than was thought."""
        self._refused += 1
        if self._refused < 2 or self._refused <= FEW * self._count:  # noqa: PLR2004 - just one
            return
        if self.deducted_s > 0:
            self._distrust(now_s)
        else:
            self._forget(now_s)

    def _distrust(self, now_s: float) -> None:
        self._doubt_s = min(2.0 * self._doubt_s, LONGEST_DOUBT_S)
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        self._stretches.clear()
        self.deducted_s = 0.0
        self._start_stretch(now_s + self._doubt_s)

    def _start_stretch(self, ends_s: float) -> None:
        self._ends_s = ends_s
        self._count = self._refused = 0
        self._sum_s = 0.0
        self._quickest_s = math.inf

    def _end_stretch(self, now_s: float) -> None:
        if len(self._stretches) == STRETCHES:
            self._doubt_s = max(STRETCH_S, self._doubt_s / 2.0)
        self._stretches.append((self._quickest_s, self._sum_s, self._count))
        self._start_stretch(now_s + STRETCH_S)
        if not self._is_strict:
            self.deducted_s = deductible_s(self._stretches)


def deductible_s(stretches: deque[tuple[float, float, int]]) -> float:
    """What every round trip takes at least, as far as those of `stretches` tell; 0 where they vary.

    stretches  of each the quickest round trip, the sum of all, in seconds, and how many they were

    >>> deductible_s(deque([(0.2, 22.0, 100), (0.21, 88.0, 400)]))
    0.195
    >>> deductible_s(deque([(0.1, 60.0, 100)]))
    0.0
    """
    quickest_s = min(quickest_s for quickest_s, _sum_s, _count in stretches)
    count = sum(count for _quickest_s, _sum_s, count in stretches)
    mean_excess_s = sum(sum_s for _quickest_s, sum_s, _count in stretches) / count - quickest_s
    return max(0.0, quickest_s - max(FLOOR_S, math.sqrt(SURE / count) * mean_excess_s))
