"""Enforces a vendor's quotas strictly, by windows over arrival times. Pure: time is an argument."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal, Protocol

from pipeline.simulator.errors import SimulatorError

WindowKind = Literal["sliding", "fixed"]
RetryAfter = Literal["none", "seconds", "date"]
RateLimit = Literal["none", "draft", "x"]

_UNIT_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}
_QUOTA = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)?(s|min|h|day)")
_MAX_COUNTED = 500_000  # arrivals kept for one peak: bounds the memory of a quota per day


@dataclass(frozen=True, slots=True)
class VendorQuota:
    """At most `limit` requests in `window_s` seconds."""

    text: str
    limit: int
    window_s: float


def parse_quota(text: str) -> VendorQuota:
    """Parse `N/s`, `N/min`, `N/h`, `N/day`, or `N/6s` with a number before the unit.

    Raises SimulatorError for any other text.

    >>> parse_quota("1000/min")
    VendorQuota(text='1000/min', limit=1000, window_s=60.0)
    """
    match = _QUOTA.fullmatch(text)
    if match is None:
        raise SimulatorError(f'quota {text!r}: expected text such as "20/s", "1000/min" or "12/6s"')
    limit, times, unit = match.groups()
    return VendorQuota(text, int(limit), int(times or 1) * _UNIT_S[unit])


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """The state of a quota.

    left          requests that still fit
    renewed_in_s  seconds until more fit
    """

    quota: VendorQuota
    left: int
    renewed_in_s: float


class Window(Protocol):
    """The accepted requests of one quota. Times must not decrease."""

    def usage(self, now_s: float) -> QuotaUsage:
        """The state of the quota now."""

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one more request fits, or None if it fits now."""

    def count(self, now_s: float) -> None:
        """Count one accepted request; only after `wait_s` returned None for the same time."""


class SlidingWindow:
    """At most `limit` requests in any half-open period of `window_s` seconds.

    >>> window = SlidingWindow(VendorQuota("1/s", 1, 1.0))
    >>> window.count(5.0)
    >>> window.wait_s(5.75), window.wait_s(6.0)
    (0.25, None)
    """

    def __init__(self, quota: VendorQuota) -> None:
        self._quota = quota
        self._accepted_s: deque[float] = deque()

    def usage(self, now_s: float) -> QuotaUsage:
        """The state of the quota now; more fits once the oldest request leaves the window."""
        accepted_s = self._accepted_in(now_s)
        oldest_s = accepted_s[0] if accepted_s else now_s
        left = self._quota.limit - len(accepted_s)
        return QuotaUsage(self._quota, left, oldest_s + self._quota.window_s - now_s)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one more request fits, or None if it fits now."""
        accepted_s = self._accepted_in(now_s)
        if len(accepted_s) < self._quota.limit:
            return None
        return accepted_s[0] + self._quota.window_s - now_s

    def _accepted_in(self, now_s: float) -> deque[float]:
        accepted_s = self._accepted_s
        while accepted_s and now_s - accepted_s[0] >= self._quota.window_s:
            accepted_s.popleft()
        return accepted_s

    def count(self, now_s: float) -> None:
        """Count one accepted request."""
        self._accepted_s.append(now_s)


class FixedWindow:
    """At most `limit` requests in each of the consecutive periods from time 0 on.

    >>> window = FixedWindow(VendorQuota("1/s", 1, 1.0))
    >>> window.count(5.75)
    >>> window.wait_s(5.75), window.wait_s(6.0)
    (0.25, None)
    """

    def __init__(self, quota: VendorQuota) -> None:
        self._quota = quota
        self._index = -1
        self._accepted = 0

    def usage(self, now_s: float) -> QuotaUsage:
        """The state of the quota now; more fits once the next period begins."""
        self._move_to(now_s)
        next_s = (self._index + 1) * self._quota.window_s
        return QuotaUsage(self._quota, self._quota.limit - self._accepted, next_s - now_s)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one more request fits, or None if it fits now."""
        self._move_to(now_s)
        if self._accepted < self._quota.limit:
            return None
        return (self._index + 1) * self._quota.window_s - now_s

    def count(self, now_s: float) -> None:
        """Count one accepted request."""
        self._move_to(now_s)
        self._accepted += 1

    def _move_to(self, now_s: float) -> None:
        index = math.floor(now_s / self._quota.window_s)
        if index != self._index:
            self._index, self._accepted = index, 0


class QuotaLimiter:
    """All quotas of a vendor at once.

    An accepted request counts in every window, a refused one in none. So a client that is refused
    and then waits as long as required is accepted.
    """

    def __init__(self, quotas: tuple[VendorQuota, ...], kind: WindowKind) -> None:
        make = SlidingWindow if kind == "sliding" else FixedWindow
        self._windows: tuple[Window, ...] = tuple(make(quota) for quota in quotas)

    def admit(self, now_s: float) -> float | None:
        """Accept one request and return None, or return the seconds until it would be accepted."""
        waits_s = [window.wait_s(now_s) for window in self._windows]
        longest_s = max((wait_s for wait_s in waits_s if wait_s is not None), default=None)
        if longest_s is None:
            for window in self._windows:
                window.count(now_s)
        return longest_s

    def usage(self, now_s: float) -> list[QuotaUsage]:
        """The state of each quota."""
        return [window.usage(now_s) for window in self._windows]


class Peak:
    """The most arrivals within any `window_s` seconds, up to 500,000."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._arrived_s: deque[float] = deque(maxlen=_MAX_COUNTED)
        self.most = 0

    def count(self, now_s: float) -> None:
        """Count one arrival."""
        arrived_s = self._arrived_s
        arrived_s.append(now_s)
        while now_s - arrived_s[0] >= self._window_s:
            arrived_s.popleft()
        self.most = max(self.most, len(arrived_s))


def retry_after(kind: RetryAfter, wait_s: float, now_utc_s: float) -> str | None:
    """The value of a Retry-After header, never shorter than `wait_s`; None for no header.

    now_utc_s  seconds since 1970

    >>> retry_after("seconds", 0.25, 0.0), retry_after("date", 1.5, 10.0)
    ('1', 'Thu, 01 Jan 1970 00:00:12 GMT')
    """
    if kind == "none":
        return None
    if kind == "seconds":
        return str(math.ceil(wait_s))
    return formatdate(math.ceil(now_utc_s + wait_s), usegmt=True)


def rate_limit(kind: RateLimit, usage: list[QuotaUsage]) -> dict[str, str]:
    """Headers with the state of every quota ("draft", of the IETF) or of the fullest one ("x").

    >>> usage = [QuotaUsage(parse_quota("20/s"), 5, 0.25)]
    >>> rate_limit("draft", usage)
    {'RateLimit-Policy': '"20/s";q=20;w=1', 'RateLimit': '"20/s";r=5;t=1'}
    >>> rate_limit("x", usage)
    {'X-RateLimit-Limit': '20', 'X-RateLimit-Remaining': '5', 'X-RateLimit-Reset': '1'}
    """
    if kind == "none" or not usage:
        return {}
    if kind == "draft":
        return {
            "RateLimit-Policy": ", ".join(
                f'"{each.quota.text}";q={each.quota.limit};w={each.quota.window_s:.0f}'
                for each in usage
            ),
            "RateLimit": ", ".join(
                f'"{each.quota.text}";r={each.left};t={math.ceil(each.renewed_in_s)}'
                for each in usage
            ),
        }
    fullest = min(usage, key=lambda each: each.left)
    return {
        "X-RateLimit-Limit": str(fullest.quota.limit),
        "X-RateLimit-Remaining": str(fullest.left),
        "X-RateLimit-Reset": str(math.ceil(fullest.renewed_in_s)),
    }
