"""Requests that are not on record yet, counted by the time from which they count. Pure.

Counts per GRAIN_S bound memory and record by time, whatever the rate. A request is never taken for
older than it is: it counts from the end of its grain.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

GRAIN_S = 0.010
"""Seconds of requests that are counted together."""

_DIGITS = 4096


class AgeCount(NamedTuple):
    """Requests that count since the same time.

    age_s  seconds since then; negative if they may still arrive
    many   number of requests
    """

    age_s: float
    many: int = 1


class Unrecorded:
    """Counts requests until they are taken.

    >>> unrecorded = Unrecorded()
    >>> for counts_from_s in (5.001, 5.009, 5.032):
    ...     unrecorded.add(counts_from_s)
    >>> [(round(each.age_s, 3), each.many) for each in unrecorded.take(now_s=6.0)]
    [(0.99, 2), (0.96, 1)]
    >>> unrecorded.take(now_s=7.0)
    []
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = defaultdict[int, int](int)

    def add(self, counts_from_s: float, count: int = 1) -> None:
        """`count` requests count from this time on."""
        self._counts[math.ceil(counts_from_s / GRAIN_S)] += count

    def take(self, now_s: float) -> list[AgeCount]:
        """What was added since the last call, oldest first."""
        counts, self._counts = self._counts, defaultdict(int)
        return [AgeCount(now_s - end * GRAIN_S, count) for end, count in sorted(counts.items())]


def joined(ages: Iterable[AgeCount]) -> list[AgeCount]:
    """`ages`, oldest first; those that differ by less than a 2,000th of their age are joined.

    So days of requests take little memory. Joined requests count as the youngest of them at least.

    >>> joined([AgeCount(3600.5), AgeCount(3600.1, 2), AgeCount(-0.5)])
    [AgeCount(age_s=3600.0, many=3), AgeCount(age_s=-0.5, many=1)]
    """
    counts = Counter[float]()
    for age_s, count in ages:
        counts[_rounded_down(age_s)] += count
    return [AgeCount(age_s, count) for age_s, count in sorted(counts.items(), reverse=True)]


def _rounded_down(age_s: float) -> float:
    if age_s <= 0:
        return age_s
    share, exponent = math.frexp(age_s)
    return math.ldexp(math.floor(share * _DIGITS) / _DIGITS, exponent)
