"""What a vendor allows, and when the next request may leave. Pure: the time is an argument.

The vendor counts arrivals, we know departures. A request may leave when, in every window, the one
that left N before it is T plus a margin ago; the margin covers how much the way to the vendor
varies, so that N + 1 requests never arrive within T.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}
_QUOTA = re.compile(r"\s*(\d+)\s*/\s*(\d*)\s*(s|min|h|day)\s*")


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` requests in any window of `per_s` seconds."""

    limit: int
    per_s: float

    def __str__(self) -> str:
        """As it is written in the configuration, in the largest unit that fits.

        >>> str(Quota(12, 6.0)), str(Quota(1000, 60.0))
        ('12/6s', '1000/min')
        """
        unit = next(u for u in ("day", "h", "min", "s") if self.per_s % UNITS_S[u] == 0)
        count = int(self.per_s // UNITS_S[unit])
        return f"{self.limit}/{'' if count == 1 else count}{unit}"

    @property
    def per_second(self) -> float:
        """The mean rate that it allows."""
        return self.limit / self.per_s


def parse_quota(text: str) -> Quota:
    """A quota as people write it: "20/s", "1000/min", "12/6s", "50000/day".

    Raises ValueError with what is expected.

    >>> parse_quota("12/6s")
    Quota(limit=12, per_s=6.0)
    """
    found = _QUOTA.fullmatch(text)
    if not found or not int(found[1]) or found[2] == "0":
        raise ValueError(
            f'{text!r} is not a quota; expected requests per time, for example "20/s", '
            '"1000/min", "12/6s", "50000/day"'
        )
    return Quota(int(found[1]), int(found[2] or 1) * UNITS_S[found[3]])


class WindowLog:
    """When the last `limit` requests left: the strict form of one quota.

    Times are seconds of any one clock that never goes back.
    """

    __slots__ = ("_left_at_s", "_next", "quota")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._left_at_s = array("d", [float("-inf")]) * quota.limit
        self._next = 0

    def free_at_s(self, margin_s: float) -> float:
        """When the next request may leave.

        >>> log = WindowLog(Quota(1, 1.0))
        >>> log.left(10.0)
        >>> log.free_at_s(margin_s=0.05)
        11.05
        """
        return self._left_at_s[self._next] + self.quota.per_s + margin_s

    def left(self, now_s: float) -> None:
        """A request leaves now."""
        self._left_at_s[self._next] = now_s
        self._next = (self._next + 1) % self.quota.limit


MARGIN_FLOOR_S = 0.020
"""What event loops and schedulers on both sides blur, whatever the network does."""

SPREAD_CAP_S = 0.100
"""A wider spread of round trips is the vendor thinking, not the way to it."""

EXTRA_CAP_S = 0.250


class Margin:
    """How much the way to the vendor varies, learned from round trips.

    The spread of the round trips bounds the spread of the way there. It starts cautious
    (`initial_s`), follows the widest spread of the last two stretches of `stretch` replies, doubles
    what it adds when the vendor throttles all the same, and halves that after a clean stretch.
    """

    __slots__ = (
        "_extra_s",
        "_fastest_s",
        "_last_s",
        "_seen",
        "_slowest_s",
        "_stretch",
        "_was_throttled",
    )

    def __init__(self, initial_s: float = 0.050, stretch: int = 100) -> None:
        self._last_s = initial_s
        self._stretch = stretch
        self._extra_s = MARGIN_FLOOR_S
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._seen = 0
        self._fastest_s = float("inf")
        self._slowest_s = 0.0
        self._was_throttled = False

    def replied(self, round_trip_s: float) -> None:
        """A reply came after `round_trip_s`."""
        self._fastest_s = min(self._fastest_s, round_trip_s)
        self._slowest_s = max(self._slowest_s, round_trip_s)
        self._seen += 1
        if self._seen >= self._stretch:
            self._last_s = self._slowest_s - self._fastest_s
            if not self._was_throttled:
                self._extra_s = max(MARGIN_FLOOR_S, self._extra_s / 2.0)
            self._start_stretch()

    def throttled(self) -> None:
        """The vendor refused although we kept its quota by our own clock."""
        self._was_throttled = True
        self._extra_s = min(self._extra_s * 2.0, EXTRA_CAP_S)

    def s(self) -> float:
        """The margin in force.

        >>> round(Margin(initial_s=0.05).s(), 3)
        0.07
        """
        running_s = self._slowest_s - self._fastest_s if self._seen else 0.0
        return min(max(self._last_s, running_s), SPREAD_CAP_S) + self._extra_s
