"""What a vendor allows, kept strictly: windows over arrival times. Pure: the time is passed in."""

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
    """Read `N/s`, `N/min`, `N/h`, `N/day`, or with a number before the unit, `N/6s`.

    raises  SimulatorError for any other text

    >>> parse_quota("1000/min")
    VendorQuota(text='1000/min', limit=1000, window_s=60.0)
    """
    match = _QUOTA.fullmatch(text)
    if match is None:
        raise SimulatorError(f'quota {text!r}: expected text such as "20/s", "1000/min" or "12/6s"')
    limit, times, unit = match.groups()
    return VendorQuota(text, int(limit), int(times or 1) * _UNIT_S[unit])


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """How much of a quota is left, and in how many seconds there is more."""

    quota: VendorQuota
    left: int
    renewed_in_s: float


class Window(Protocol):
    """The accepted requests of one quota; times never run backwards."""

    def standing(self, now_s: float) -> QuotaStanding:
        """What is left now."""

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one more request fits, or None if it fits now."""

    def take(self, now_s: float) -> None:
        """Count one accepted request; only after `wait_s` gave None for the same time."""


class SlidingWindow:
    """Any stretch of `window_s` seconds, open at its old end, holds at most `limit` requests.

    >>> window = SlidingWindow(VendorQuota("1/s", 1, 1.0))
    >>> window.take(5.0)
    >>> window.wait_s(5.75), window.wait_s(6.0)
    (0.25, None)
    """

    def __init__(self, quota: VendorQuota) -> None:
        self._quota = quota
        self._taken_s: deque[float] = deque()

    def standing(self, now_s: float) -> QuotaStanding:
        """What is left now; there is more when the oldest request leaves the window."""
        taken_s = self._taken_in(now_s)
        oldest_s = taken_s[0] if taken_s else now_s
        left = self._quota.limit - len(taken_s)
        return QuotaStanding(self._quota, left, oldest_s + self._quota.window_s - now_s)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one more request fits, or None if it fits now."""
        taken_s = self._taken_in(now_s)
        if len(taken_s) < self._quota.limit:
            return None
        return taken_s[0] + self._quota.window_s - now_s

    def _taken_in(self, now_s: float) -> deque[float]:
        taken_s = self._taken_s
        while taken_s and now_s - taken_s[0] >= self._quota.window_s:
            taken_s.popleft()
        return taken_s

    def take(self, now_s: float) -> None:
        """Count one accepted request."""
        self._taken_s.append(now_s)


class FixedWindow:
    """Windows stand side by side from time 0; each holds at most `limit` requests.

    >>> window = FixedWindow(VendorQuota("1/s", 1, 1.0))
    >>> window.take(5.75)
    >>> window.wait_s(5.75), window.wait_s(6.0)
    (0.25, None)
    """

    def __init__(self, quota: VendorQuota) -> None:
        self._quota = quota
        self._index = -1
        self._taken = 0

    def standing(self, now_s: float) -> QuotaStanding:
        """What is left now; there is more when the next window begins."""
        self._turn_to(now_s)
        next_s = (self._index + 1) * self._quota.window_s
        return QuotaStanding(self._quota, self._quota.limit - self._taken, next_s - now_s)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one more request fits, or None if it fits now."""
        self._turn_to(now_s)
        if self._taken < self._quota.limit:
            return None
        return (self._index + 1) * self._quota.window_s - now_s

    def take(self, now_s: float) -> None:
        """Count one accepted request."""
        self._turn_to(now_s)
        self._taken += 1

    def _turn_to(self, now_s: float) -> None:
        index = math.floor(now_s / self._quota.window_s)
        if index != self._index:
            self._index, self._taken = index, 0


class Turnstile:
    """All quotas of a vendor at once.

    A request that arrives is either let in, and then counts in every window, or refused, and then
    counts in none: a client that is refused and waits as told gets in.
    """

    def __init__(self, quotas: tuple[VendorQuota, ...], kind: WindowKind) -> None:
        make = SlidingWindow if kind == "sliding" else FixedWindow
        self._windows: tuple[Window, ...] = tuple(make(quota) for quota in quotas)

    def admit(self, now_s: float) -> float | None:
        """Let one request in and give None, or give the seconds until it would be let in."""
        waits_s = [window.wait_s(now_s) for window in self._windows]
        longest_s = max((wait_s for wait_s in waits_s if wait_s is not None), default=None)
        if longest_s is None:
            for window in self._windows:
                window.take(now_s)
        return longest_s

    def standings(self, now_s: float) -> list[QuotaStanding]:
        """What is left of each quota."""
        return [window.standing(now_s) for window in self._windows]


class Peak:
    """The most arrivals that any stretch of `window_s` seconds has seen, up to 500,000."""

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
    """Text of a Retry-After header that is never shorter than `wait_s`, or None for no header.

    now_utc_s  seconds since 1970

    >>> retry_after("seconds", 0.25, 0.0), retry_after("date", 1.5, 10.0)
    ('1', 'Thu, 01 Jan 1970 00:00:12 GMT')
    """
    if kind == "none":
        return None
    if kind == "seconds":
        return str(math.ceil(wait_s))
    return formatdate(math.ceil(now_utc_s + wait_s), usegmt=True)


def rate_limit(kind: RateLimit, standings: list[QuotaStanding]) -> dict[str, str]:
    """Headers that tell of every quota ("draft", of the IETF) or of the fullest one ("x").

    >>> standing = QuotaStanding(parse_quota("20/s"), 5, 0.25)
    >>> rate_limit("draft", [standing])
    {'RateLimit-Policy': '"20/s";q=20;w=1', 'RateLimit': '"20/s";r=5;t=1'}
    >>> rate_limit("x", [standing])
    {'X-RateLimit-Limit': '20', 'X-RateLimit-Remaining': '5', 'X-RateLimit-Reset': '1'}
    """
    if kind == "none" or not standings:
        return {}
    if kind == "draft":
        return {
            "RateLimit-Policy": ", ".join(
                f'"{each.quota.text}";q={each.quota.limit};w={each.quota.window_s:.0f}'
                for each in standings
            ),
            "RateLimit": ", ".join(
                f'"{each.quota.text}";r={each.left};t={math.ceil(each.renewed_in_s)}'
                for each in standings
            ),
        }
    fullest = min(standings, key=lambda each: each.left)
    return {
        "X-RateLimit-Limit": str(fullest.quota.limit),
        "X-RateLimit-Remaining": str(fullest.left),
        "X-RateLimit-Reset": str(math.ceil(fullest.renewed_in_s)),
    }
