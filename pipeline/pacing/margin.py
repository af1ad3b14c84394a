"""The time from which a request counts in the vendor's quota. Pure: the time is an argument.

The vendor counts arrivals; the pipeline knows send times and replies. A request arrives after it is
sent and before its reply comes. If it counts from its reply on, no window is exceeded, whatever the
network does: a cold connection, a vendor that warms up, a latency that varies. This costs one round
trip per window.

A part of the round trip is deducted if replies were steady for a while. No round trip is shorter
than the shortest possible one, which includes both ways of the next request, so that much may be
deducted. The estimate of the shortest improves with the number of replies, and as they vary less.
Therefore less is deducted if few replies came or if they vary, and nothing if they vary much, in
the first STRETCH_S, after a time without replies, while the vendor refuses more than a few
requests, and after a reply that was quicker than the deduction.
"""

from __future__ import annotations

import math
from collections import deque

from pipeline.model import Reply

STRETCH_S, STRETCH_REPLIES, STRETCHES = 20.0, 100, 4
"""The shortest round trip is taken from STRETCHES stretches, each of at least STRETCH_S seconds and
STRETCH_REPLIES replies."""

IDLE_S = 3.0
"""Seconds without a reply after which connections are new: they close after 4 s."""

LONGEST_DOUBT_S = 1280.0
"""Longest first stretch in seconds; it doubles each time that too much was deducted."""

FLOOR_S = 0.005
"""Seconds by which the shortest round trip seen may exceed the shortest possible one."""

SURE = 20.0
"""The shortest of n round trips exceeds the shortest possible one by more than sqrt(SURE / n) of
their mean excess about once in e ** (SURE / 2) times: two evenly distributed ways add up to a
triangle."""

FEW = 0.01
"""If a larger share of requests is refused, and more than one, the deduction may be the cause."""

MAX_WAY_S = 10.0
"""Latest arrival, in seconds after the send time, that is assumed of a request without a reply: a
packet that is lost five times in a row takes 6 to 31 s, and the request then counts from its
reply."""


class Margin:
    """The part of a round trip that is deducted, learned from replies.

    is_strict  nothing is ever deducted

    >>> margin = Margin()
    >>> margin.on_reply(left_s=0.0, now_s=0.3)
    0.3
    >>> for n in range(2_000):
    ...     counts_from_s = margin.on_reply(left_s=n / 50, now_s=n / 50 + 0.3)
    >>> round(margin.deducted_s, 3), round(counts_from_s - 39.98, 3)
    (0.295, 0.005)
    """

    __slots__ = (
        *("_count", "_doubt_s", "_ends_s", "_replied_s", "_is_strict", "_quickest_s", "_refused"),
        *("_stretches", "_sum_s", "deducted_s"),
    )

    def __init__(self, *, is_strict: bool = False) -> None:
        self._is_strict = is_strict
        self._replied_s = -math.inf
        self._doubt_s = STRETCH_S
        self._quickest_s = math.inf
        self._stretches: deque[tuple[float, float, int]] = deque(maxlen=STRETCHES)
        self.deducted_s = 0.0
        self._start_stretch(math.inf)

    def on_reply(self, left_s: float, now_s: float) -> float:
        """A reply came to a request sent at `left_s`: the time from which the request counts."""
        if left_s >= self._replied_s + IDLE_S:
            self._forget(left_s)
        self._replied_s = now_s
        trip_s = now_s - left_s
        if trip_s < self.deducted_s:
            self._distrust(now_s)
        self._count += 1
        self._sum_s += trip_s
        self._quickest_s = min(self._quickest_s, trip_s)
        if now_s >= self._ends_s and self._count >= STRETCH_REPLIES:
            self._end_stretch(now_s)
        return max(left_s, now_s - self.deducted_s)

    def on_throttled(self, now_s: float) -> None:
        """The vendor refused a request: the deduction may be wrong."""
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


def arrival_s(reply: Reply, left_s: float, now_s: float) -> float:
    """When a reply that was read at `now_s` arrived, to a request sent at `left_s`.

    >>> early, undated = Reply(204, {}, b"", came_s=1.2), Reply(204, {}, b"")
    >>> arrival_s(early, 1.0, 1.3), arrival_s(undated, 1.0, 1.3), arrival_s(early, 1.25, 1.3)
    (1.2, 1.3, 1.3)
    """
    return reply.came_s if reply.came_s > left_s else now_s


def deductible_s(stretches: deque[tuple[float, float, int]]) -> float:
    """Seconds that every round trip takes at least, by those of `stretches`; 0 if they vary much.

    stretches  shortest round trip, sum of round trips (both in seconds) and their number, of each

    >>> deductible_s(deque([(0.2, 22.0, 100), (0.21, 88.0, 400)]))
    0.195
    >>> deductible_s(deque([(0.1, 60.0, 100)]))
    0.0
    """
    quickest_s = min(quickest_s for quickest_s, _sum_s, _count in stretches)
    count = sum(count for _quickest_s, _sum_s, count in stretches)
    mean_excess_s = sum(sum_s for _quickest_s, sum_s, _count in stretches) / count - quickest_s
    return max(0.0, quickest_s - max(FLOOR_S, math.sqrt(SURE / count) * mean_excess_s))
