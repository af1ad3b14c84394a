"""Reads the vendor's rate limit from the headers of a reply. Pure.

The fields are those of draft-ietf-httpapi-ratelimit-headers (`RateLimit-Limit`, `-Remaining` and
`-Reset` up to 06; `RateLimit` with `limit=`, `remaining=`, `reset=` in 07; `RateLimit` with `r=`,
`t=` and `RateLimit-Policy` with `q=`, `w=` from 08 on) and the older `X-RateLimit-*`.
`pipeline.vendors.kit.numbers` reads the numbers and rejects impossible ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipeline.vendors.kit.numbers import count, wait_s, written_s

BELOW = 0.95
"""Share of a stated limit that is used."""

SHORTEST_S = 1.0
"""Shortest window that is assumed if its length is not stated."""

_PARAMETER = re.compile(r"([a-z]+)\s*=\s*\"?([0-9.]+)(?=[\s,;\"]|$)")
_LEADING = re.compile(r"\s*([0-9.]+)\s*(?:$|[;,])")


class Allowance(NamedTuple):
    """A stated limit; None for each part that is not stated.

    limit      requests per window
    window_s   length of the window
    remaining  requests that remain in the window
    reset_s    seconds until the window is renewed
    """

    limit: float | None = None
    window_s: float | None = None
    remaining: float | None = None
    reset_s: float | None = None


def allowance(headers: Mapping[str, str], now_utc_s: float) -> Allowance | None:
    """The limit that `headers` state; None if they state none that is plausible.

    headers    looked up without regard to case
    now_utc_s  when they came, in seconds since 1970; a `Date` header takes precedence

    >>> allowance({"ratelimit-policy": '"default";q=300;w=10', "ratelimit": '"default";r=5;t=2'}, 0)
    Allowance(limit=300.0, window_s=10.0, remaining=5.0, reset_s=2.0)
    >>> allowance({"x-ratelimit-limit": "60", "x-ratelimit-reset": "1800000030"}, 1_800_000_000.0)
    Allowance(limit=60.0, window_s=None, remaining=None, reset_s=30.0)
    """
    now_s = written_s(headers.get("date", ""), now_utc_s)
    joint = _parameters(headers.get("ratelimit", ""))
    limit, window_s = _tightest(headers)
    reset = _first(_plain(headers, "reset"), joint.get("reset"), joint.get("t"))
    found = Allowance(
        limit or _count(joint.get("limit")),
        window_s,
        _count(_first(_plain(headers, "remaining"), joint.get("remaining"), joint.get("r"))),
        None if reset is None else wait_s(reset, now_s),
    )
    return None if found == Allowance() else found


def _first(*texts: str | None) -> str | None:
    return next((text for text in texts if text is not None), None)


def _count(text: str | None) -> float | None:
    return None if text is None else count(text)


def _plain(headers: Mapping[str, str], what: str) -> str | None:
    for name in (f"ratelimit-{what}", f"x-ratelimit-{what}"):
        if found := _LEADING.match(headers.get(name, "")):
            return found[1]
    return None


def _tightest(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """The limit with the lowest rate among those with a window; else the limit without one."""
    stated = [*_policies(headers)]
    if stated:
        return min(stated, key=lambda each: each[0] / each[1])
    return _count(_plain(headers, "limit")) or None, None


def _policies(headers: Mapping[str, str]) -> Iterator[tuple[float, float]]:
    """Limits and their windows in seconds.

    >>> list(_policies({"ratelimit-limit": "10, 10;w=1, 50;w=60"}))
    [(10.0, 1.0), (50.0, 60.0)]
    """
    for name in ("ratelimit-policy", "ratelimit-limit", "x-ratelimit-limit"):
        for item in headers.get(name, "").split(","):
            values = _parameters(item)
            leading = _LEADING.match(item)
            limit = _count(_first(values.get("q"), leading[1] if leading else None))
            window_s = wait_s(values.get("w", ""), 0.0)
            if limit and window_s:
                yield limit, window_s


def _parameters(text: str) -> dict[str, str]:
    return dict(_PARAMETER.findall(text.lower()))


class StatedRate:
    """The rate that replies state, within plausible bounds.

    The window of a limit that states none is the longest time to its renewal that was seen, in this
    window or the one before: a single wrong number is forgotten.

    max_wait_s  a rate at which the next request would wait longer is ignored

    >>> rate = StatedRate(max_wait_s=900.0)
    >>> rate.per_s(Allowance(limit=60.0, reset_s=30.0), now_s=0.0)
    1.9
    >>> rate.per_s(Allowance(limit=60.0, reset_s=86_400.0), now_s=1.0)
    """

    __slots__ = ("_before_s", "_length_s", "_max_wait_s", "_renewed_s")

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._before_s = self._length_s = SHORTEST_S
        self._renewed_s = float("inf")

    def per_s(self, stated: Allowance, now_s: float) -> float | None:
        """Requests per second, BELOW the stated limit; None if `stated` is not plausible."""
        window_s = stated.window_s
        if stated.reset_s is not None:
            self._note_reset(stated.reset_s, now_s)
            window_s = window_s or max(self._before_s, self._length_s)
        if not stated.limit or window_s is None:
            return None
        per_s = BELOW * stated.limit / window_s
        return per_s if per_s * self._max_wait_s >= 1.0 else None

    def _note_reset(self, reset_s: float, now_s: float) -> None:
        if now_s >= self._renewed_s:  # the window that was known is over
            self._before_s, self._length_s = self._length_s, SHORTEST_S
        self._renewed_s = now_s + reset_s
        self._length_s = max(self._length_s, reset_s)
