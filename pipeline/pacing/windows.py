"""How many requests the windows of a quota permit now. Pure: the time is an argument.

The vendor counts arrivals; the pipeline knows send times and replies. `margin.py` gives the time
from which a request counts: it has arrived by then. A request in flight has none yet: it counts
until MAX_WAY_S after it left, and the window after that.

Times are seconds of any one clock that never goes back.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from heapq import merge
from itertools import takewhile

from pipeline.model.quota import UNITS_S, Quota
from pipeline.pacing.margin import MAX_WAY_S

GRAINS = 2_000
"""Requests are counted per such part of a window, and count from its end on. So the memory is
bounded whatever the limit, for half of it, 0.025 % of the quota."""


class WindowLog:
    """A sliding window: a request may be sent while fewer than N others count.

    This holds in whatever order requests arrive. Take any window and the request in it that was
    sent last: all others in it count from less than a window before it was sent, and there were at
    most N - 1 of them.

    Room only grows until a request is sent, so it need not be computed for each.

    >>> log = WindowLog(Quota(1, 1.0))
    >>> log.room(10.0, []), log.room(10.5, [10.0]), log.free_at_s(10.5, [10.0])
    (1, 0, 21.0)
    >>> log.add(10.0, counts_from_s=10.25)
    >>> log.room(10.5, []), log.free_at_s(10.5, [])
    (0, 11.25)
    """

    __slots__ = ("_counts", "_ends", "_first", "_grain_s", "_total", "quota")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._grain_s = quota.per_s / GRAINS
        self._ends: list[int] = []  # the ends of grains, in grains, ascending; and their requests
        self._counts: list[int] = []
        self._first = 0  # the first of them that is in the window
        self._total = 0

    def room(self, now_s: float, in_flight: Collection[float]) -> int:
        """Requests that may be sent from now on without asking again; 0 or less if none.

        in_flight  when each request without a reply left, in order
        """
        over_s = now_s - self.quota.per_s
        self._forget_until(over_s)
        over = sum(1 for _ in takewhile(lambda left_s: left_s + MAX_WAY_S <= over_s, in_flight))
        return self.quota.limit - self._total - len(in_flight) + over

    def free_at_s(self, now_s: float, in_flight: Collection[float], many: int = 1) -> float:
        """When there is room for so many requests. A reply before then may bring it forward."""
        excess = many - self.room(now_s, in_flight)
        if excess <= 0:
            return now_s
        over_s = now_s - self.quota.per_s
        arrivals = (each for left_s in in_flight if (each := left_s + MAX_WAY_S) > over_s)
        for counts_from_s, count in merge(self._logged(), ((each_s, 1) for each_s in arrivals)):
            excess -= count
            if excess <= 0:
                return counts_from_s + self.quota.per_s
        return math.inf

    def add(self, left_s: float, counts_from_s: float, count: int = 1) -> None:  # noqa: ARG002
        """`count` requests that left at `left_s` count from `counts_from_s` on.

        They got their replies, or will get none.
        """
        ends, end = self._ends, math.ceil(counts_from_s / self._grain_s)
        self._total += count
        if not ends or end > ends[-1]:
            ends.append(end)
            self._counts.append(count)
            return
        place = bisect_left(ends, end, self._first)
        if place < len(ends) and ends[place] == end:
            self._counts[place] += count
        else:
            ends.insert(place, end)
            self._counts.insert(place, count)

    def _logged(self) -> Iterator[tuple[float, int]]:
        for place in range(self._first, len(self._ends)):
            yield self._ends[place] * self._grain_s, self._counts[place]

    def _forget_until(self, over_s: float) -> None:
        ends, over = self._ends, math.floor(over_s / self._grain_s)
        while self._first < len(ends) and ends[self._first] <= over:
            self._total -= self._counts[self._first]
            self._first += 1
        if self._first > GRAINS or self._first == len(ends):
            del ends[: self._first], self._counts[: self._first]
            self._first = 0


class DayLog:
    """A day that begins at a fixed time, with a limit of requests.

    A request in flight when a day begins may arrive in it, and counts for both days.

    started_s  when a day began, in seconds of the clock

    >>> log = DayLog(Quota(1, 86400.0), started_s=1000.0)
    >>> log.add(2000.0, counts_from_s=2010.0)
    >>> log.room(2020.0, []), log.free_at_s(2020.0, [])
    (0, 87400.0)
    """

    __slots__ = ("_counts", "_started_s", "quota")

    def __init__(self, quota: Quota, started_s: float) -> None:
        self.quota = quota
        self._started_s = started_s
        self._counts = Counter[int]()  # per day since then

    def room(self, now_s: float, in_flight: Collection[float]) -> int:
        """As `WindowLog`."""
        today = self._day(now_s)
        for day in [each for each in self._counts if each < today]:
            del self._counts[day]
        return self.quota.limit - self._counts[today] - len(in_flight)

    def free_at_s(self, now_s: float, in_flight: Collection[float], many: int = 1) -> float:
        """Now, or the start of the next day if the limit of this one is reached."""
        if self.room(now_s, in_flight) >= many:
            return now_s
        return self._started_s + (self._day(now_s) + 1) * self.quota.per_s

    def add(self, left_s: float, counts_from_s: float, count: int = 1) -> None:
        """As `WindowLog`."""
        for day in {self._day(left_s), self._day(counts_from_s)}:
            self._counts[day] += count

    def _day(self, at_s: float) -> int:
        return math.floor((at_s - self._started_s) / self.quota.per_s)


def log_of(quota: Quota, *, day_started_s: float | None = None) -> WindowLog | DayLog:
    """The log that counts requests for `quota`.

    day_started_s  when a day of a quota per day began; None: any 24 hours count
    """
    if day_started_s is not None and quota.per_s == UNITS_S["day"]:
        return DayLog(quota, day_started_s)
    return WindowLog(quota)
