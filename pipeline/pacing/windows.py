"""When the windows of a quota have room for one more request. Pure: the time is an argument.

The vendor counts arrivals, we know departures and replies. From when on a request counts,
`margin.py` says: late enough that it has arrived by then. While there is no reply, it counts from a
time to come.

Times are seconds of any one clock that never goes back.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from typing import Protocol

from pipeline.model.quota import UNITS_S, Quota

LEAST_SPARE = 100
"""So many more than count are remembered: of some it will be known that they count from earlier."""


class DepartureLog(Protocol):
    """The requests that count for one quota. They are numbered from 0 in the order of departure."""

    @property
    def quota(self) -> Quota:
        """The quota."""

    def free_at_s(self, now_s: float) -> float:
        """When the next request may leave: in the past where it may now. A reply that comes until
        then may bring that forward.
        """

    def on_sent(self, counts_from_s: float, left_s: float) -> None:
        """A request leaves; until more is known of it, it counts from `counts_from_s` on."""

    def on_reply(self, number: int, counts_from_s: float) -> None:
        """The reply to request `number` came, or none will: it counts from `counts_from_s` on."""


class WindowLog:
    """Any stretch of time counts; a request may leave while fewer than N of the others do.

    Whatever the order in which they arrive: of those in a window let one have left last. What else
    is in there counts from less than a window before it left, and of such there were N - 1 at most.

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
        self._latest_s = array("d")  # from when on the last ones count, sorted
        self._passed_s = float("-inf")  # the latest of those that were dropped
        self._under_way: dict[int, float] = {}
        self._count = 0
        self._spare = LEAST_SPARE + quota.limit // 8

    def free_at_s(self, now_s: float) -> float:  # noqa: ARG002 - see Log
        """A window after the latest but N - 1."""
        latest_s, limit = self._latest_s, self.quota.limit
        if len(latest_s) < limit:
            return float("-inf")
        return latest_s[len(latest_s) - limit] + self.quota.per_s

    def on_sent(self, counts_from_s: float, left_s: float) -> None:  # noqa: ARG002 - see Log
        """One more counts."""
        self._under_way[self._count] = counts_from_s
        self._count += 1
        self._add(counts_from_s)
        if len(self._latest_s) > self.quota.limit + 2 * self._spare:
            dropped = len(self._latest_s) - self.quota.limit - self._spare
            self._passed_s = self._latest_s[dropped - 1]
            del self._latest_s[:dropped]

    def on_reply(self, number: int, counts_from_s: float) -> None:
        """Now it is known better, if it still counts."""
        before_s = self._under_way.pop(number)
        place = bisect_left(self._latest_s, before_s)
        if self._latest_s[place] == before_s:
            del self._latest_s[place]
            self._add(counts_from_s)

    def _add(self, counts_from_s: float) -> None:
        # so all that is kept is later than all that was dropped
        insort(self._latest_s, max(counts_from_s, self._passed_s))


class DayLog:
    """A day that begins at a fixed time, with so many requests in it.

    What is under way when a day begins may arrive in it, and counts for both.

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
        self._next = 0  # that arrived when the next day had begun already
        self._under_way = 0

    def free_at_s(self, now_s: float) -> float:
        """When the next day begins, if this one is used up."""
        self._turn_to(now_s)
        if self._count < self.quota.limit:
            return now_s
        return self._started_s + self.quota.per_s

    def on_sent(self, counts_from_s: float, left_s: float) -> None:
        """One more today; what arrived on an earlier day does not count."""
        self._turn_to(left_s)
        self._count += counts_from_s >= self._started_s
        self._under_way += 1

    def on_reply(self, number: int, counts_from_s: float) -> None:  # noqa: ARG002 - see Log
        """It arrived; that may have been in the next day."""
        self._under_way -= 1
        self._next += counts_from_s >= self._started_s + self.quota.per_s

    def _turn_to(self, now_s: float) -> None:
        days = int((now_s - self._started_s) // self.quota.per_s)
        if days > 0:
            self._started_s += days * self.quota.per_s
            self._count, self._next = self._next + self._under_way, 0


def log_of(quota: Quota, *, day_started_s: float | None = None) -> DepartureLog:
    """How requests are counted for `quota`.

    day_started_s  when a day began for which a quota per day is meant; None: any 24 hours are
    """
    if day_started_s is not None and quota.per_s == UNITS_S["day"]:
        return DayLog(quota, day_started_s)
    return WindowLog(quota)
