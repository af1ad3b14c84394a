"""When the windows of a quota have room for one more request. Pure: the time is an argument.

The vendor counts arrivals, we know departures. From when on a request counts, `margin.py` says;
where no estimate is trusted, from its reply on, which it cannot have arrived after.

Times are seconds of any one clock that never goes back.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Protocol

from pipeline.policy.quota import UNITS_S, Quota


class Log(Protocol):
    """The requests that count for one quota. They are numbered from 0 in the order of departure."""

    @property
    def quota(self) -> Quota:
        """The quota."""

    def free_at_s(self, now_s: float, margin_s: float) -> float:
        """When the next request may leave: in the past where it may now, infinite where that
        depends on a reply.
        """

    def left(self, counts_from_s: float, now_s: float) -> None:
        """A request leaves now; until more is known of it, it counts from `counts_from_s` on."""

    def returned(self, number: int, counts_from_s: float, now_s: float) -> None:
        """The reply to request `number` came now, or none will: it counts from `counts_from_s`."""


class WindowLog:
    """Any stretch of time counts; a request may leave once only the last N - 1 before it do.

    >>> log = WindowLog(Quota(1, 1.0))
    >>> log.left(10.02, now_s=10.0)
    >>> log.free_at_s(now_s=10.5, margin_s=0.05)
    11.07
    >>> log.returned(0, 10.01, now_s=10.5)
    >>> log.free_at_s(now_s=10.5, margin_s=0.05)
    11.06
    """

    __slots__ = ("_count", "_counts_from_s", "_passed_s", "quota")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._counts_from_s = array("d", [float("-inf")]) * quota.limit
        self._passed_s = float("-inf")  # the latest of those that were overwritten
        self._count = 0

    def free_at_s(self, now_s: float, margin_s: float) -> float:  # noqa: ARG002 - see Log
        """A window and the margin after the latest of those that must have gone."""
        oldest_s = self._counts_from_s[self._count % self.quota.limit]
        return max(oldest_s, self._passed_s) + self.quota.per_s + margin_s

    def left(self, counts_from_s: float, now_s: float) -> None:  # noqa: ARG002 - see Log
        """It takes the place of the oldest."""
        place = self._count % self.quota.limit
        self._passed_s = max(self._passed_s, self._counts_from_s[place])
        self._counts_from_s[place] = counts_from_s
        self._count += 1

    def returned(self, number: int, counts_from_s: float, now_s: float) -> None:  # noqa: ARG002
        """Now it is known better, if it still counts."""
        if number >= self._count - self.quota.limit:
            self._counts_from_s[number % self.quota.limit] = counts_from_s


class ReplyLog:
    """Requests count from their reply on: no way to the vendor can break that.

    >>> log = ReplyLog(Quota(1, 1.0))
    >>> log.left(10.0, now_s=10.0)
    >>> log.free_at_s(10.5, margin_s=0.0)
    inf
    >>> log.returned(0, 10.0, now_s=10.7)
    >>> log.free_at_s(10.8, margin_s=0.0)
    11.7
    """

    __slots__ = ("_returned_s", "_under_way", "quota")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._returned_s: deque[float] = deque()
        self._under_way = 0

    def free_at_s(self, now_s: float, margin_s: float) -> float:  # noqa: ARG002 - see Log
        """A window after the oldest reply that counts, if the quota is used up."""
        while self._returned_s and self._returned_s[0] + self.quota.per_s <= now_s:
            self._returned_s.popleft()
        if self._under_way + len(self._returned_s) < self.quota.limit:
            return now_s
        return self._returned_s[0] + self.quota.per_s if self._returned_s else float("inf")

    def left(self, counts_from_s: float, now_s: float) -> None:  # noqa: ARG002 - see Log
        """One more is under way."""
        self._under_way += 1

    def returned(self, number: int, counts_from_s: float, now_s: float) -> None:  # noqa: ARG002
        """From now on its window runs."""
        self._under_way -= 1
        self._returned_s.append(now_s)


class DayLog:
    """A day that begins at a fixed time, with so many requests in it.

    started_s  when a day began, in seconds of the clock

    >>> log = DayLog(Quota(1, 86400.0), started_s=1000.0)
    >>> log.left(2000.0, now_s=2000.0)
    >>> log.free_at_s(2001.0, margin_s=0.05)
    87400.05
    """

    __slots__ = ("_count", "_started_s", "quota")

    def __init__(self, quota: Quota, started_s: float) -> None:
        self.quota = quota
        self._started_s = started_s
        self._count = 0

    def free_at_s(self, now_s: float, margin_s: float) -> float:
        """When the next day begins, if this one is used up."""
        self._turn_to(now_s)
        if self._count < self.quota.limit:
            return now_s
        return self._started_s + self.quota.per_s + margin_s

    def left(self, counts_from_s: float, now_s: float) -> None:  # noqa: ARG002 - see Log
        """One more today; what left on an earlier day does not count."""
        self._turn_to(now_s)
        self._count += now_s >= self._started_s

    def returned(self, number: int, counts_from_s: float, now_s: float) -> None:
        """That makes no difference."""

    def _turn_to(self, now_s: float) -> None:
        days = int((now_s - self._started_s) // self.quota.per_s)
        if days > 0:
            self._started_s += days * self.quota.per_s
            self._count = 0


def log_of(quota: Quota, *, is_strict: bool = False, day_started_s: float | None = None) -> Log:
    """How requests are counted for `quota`.

    is_strict      from their replies on
    day_started_s  when a day began for which a quota per day is meant; None: any 24 hours are
    """
    if day_started_s is not None and quota.per_s == UNITS_S["day"]:
        return DayLog(quota, day_started_s)
    return ReplyLog(quota) if is_strict else WindowLog(quota)
