"""When the windows of a quota permit one more request. Pure: the time is an argument.

The vendor counts arrivals; the pipeline knows send times and replies. `margin.py` gives the time
from which a request counts: it has arrived by then. A request without a reply counts from a future
time.

Times are seconds of any one clock that never goes back.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from typing import Protocol

from pipeline.model.quota import UNITS_S, Quota

MIN_SPARE = 100
"""Requests that are remembered beyond the limit: a reply may show that one counts from earlier."""


class DepartureLog(Protocol):
    """The requests that count for one quota, numbered from 0 in the order they were sent."""

    @property
    def quota(self) -> Quota:
        """The quota."""

    def free_at_s(self, now_s: float) -> float:
        """When the next request may be sent; a past time if it may be sent now.

        A reply before then may bring it forward.
        """

    def on_sent(self, counts_from_s: float, left_s: float) -> None:
        """A request is sent at `left_s`; until its reply it counts from `counts_from_s` on."""

    def on_reply(self, number: int, counts_from_s: float) -> None:
        """Request `number` got its reply, or will get none: it counts from `counts_from_s` on."""


class WindowLog:
    """A sliding window: a request may be sent while fewer than N others count.

    This holds in whatever order requests arrive. Take any window and the request in it that was
    sent last: all others in it count from less than a window before it was sent, and there were at
    most N - 1 of them.

    >>> log = WindowLog(Quota(1, 1.0))
    >>> log.on_sent(20.0, left_s=10.0)
    >>> log.free_at_s(now_s=10.5)
    21.0
    >>> log.on_reply(0, 10.25)
    >>> log.free_at_s(now_s=10.5)
    11.25
    """

    __slots__ = ("_count", "_latest_s", "_passed_s", "_spare", "_under_way", "quota")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._latest_s = array("d")  # when the latest requests count from, sorted
        self._passed_s = float("-inf")  # the latest time that was dropped
        self._under_way: dict[int, float] = {}
        self._count = 0
        self._spare = MIN_SPARE + quota.limit // 8

    def free_at_s(self, now_s: float) -> float:  # noqa: ARG002 - see DepartureLog
        """One window after the N-th latest request."""
        latest_s, limit = self._latest_s, self.quota.limit
        if len(latest_s) < limit:
            return float("-inf")
        return latest_s[len(latest_s) - limit] + self.quota.per_s

    def on_sent(self, counts_from_s: float, left_s: float) -> None:  # noqa: ARG002 - see DepartureLog
        """One more request counts."""
        self._under_way[self._count] = counts_from_s
        self._count += 1
        self._add(counts_from_s)
        if len(self._latest_s) > self.quota.limit + 2 * self._spare:
            dropped = len(self._latest_s) - self.quota.limit - self._spare
            self._passed_s = self._latest_s[dropped - 1]
            del self._latest_s[:dropped]

    def on_reply(self, number: int, counts_from_s: float) -> None:
        """Correct the time of a request, if it is still remembered."""
        before_s = self._under_way.pop(number)
        place = bisect_left(self._latest_s, before_s)
        if self._latest_s[place] == before_s:
            del self._latest_s[place]
            self._add(counts_from_s)

    def _add(self, counts_from_s: float) -> None:
        # so all times kept are later than all dropped
        insort(self._latest_s, max(counts_from_s, self._passed_s))


class DayLog:
    """A day that begins at a fixed time, with a limit of requests.

    A request in flight when a day begins may arrive in it, and counts for both days.

    started_s  when a day began, in seconds of the clock

    >>> log = DayLog(Quota(1, 86400.0), started_s=1000.0)
    >>> log.on_sent(2010.0, left_s=2000.0)
    >>> log.free_at_s(2001.0)
    87400.0
    """

    __slots__ = ("_count", "_next", "_started_s", "_under_way", "quota")

    def __init__(self, quota: Quota, started_s: float) -> None:
        self.quota = quota
        self._started_s = started_s
        self._count = 0
        self._next = 0  # requests that arrived in the next day
        self._under_way = 0

    def free_at_s(self, now_s: float) -> float:
        """Now, or the start of the next day if the limit of this one is reached."""
        self._move_to(now_s)
        if self._count < self.quota.limit:
            return now_s
        return self._started_s + self.quota.per_s

    def on_sent(self, counts_from_s: float, left_s: float) -> None:
        """One more request today; one that arrived on an earlier day does not count."""
        self._move_to(left_s)
        self._count += counts_from_s >= self._started_s
        self._under_way += 1

    def on_reply(self, number: int, counts_from_s: float) -> None:  # noqa: ARG002 - see DepartureLog
        """The request arrived, possibly in the next day."""
        self._under_way -= 1
        self._next += counts_from_s >= self._started_s + self.quota.per_s

    def _move_to(self, now_s: float) -> None:
        days = int((now_s - self._started_s) // self.quota.per_s)
        if days > 0:
            self._started_s += days * self.quota.per_s
            self._count, self._next = self._next + self._under_way, 0


def log_of(quota: Quota, *, day_started_s: float | None = None) -> DepartureLog:
    """The log that counts requests for `quota`.

    day_started_s  when a day of a quota per day began; None: any 24 hours count
    """
    if day_started_s is not None and quota.per_s == UNITS_S["day"]:
        return DayLog(quota, day_started_s)
    return WindowLog(quota)
