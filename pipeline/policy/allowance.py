"""What a reply's headers say about the vendor's limit. Pure.

Read are the fields of draft-ietf-httpapi-ratelimit-headers (`RateLimit-Limit`, `-Remaining` and
`-Reset` up to 06; `RateLimit` with `limit=`, `remaining=`, `reset=` in 07; `RateLimit` with `r=`,
`t=` and `RateLimit-Policy` with `q=`, `w=` from 08 on) and the older `X-RateLimit-*`, whose reset
is seconds or a time since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_PARAMETER = re.compile(r"([a-z]+)\s*=\s*\"?([0-9]+(?:\.[0-9]+)?)")
_LEADING = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:$|[;,])")
_A_DATE_S = 1_000_000_000.0  # a wait of 30 years: such a number is a time since 1970


class Allowance(NamedTuple):
    """A stated limit; None for what is not said.

    limit      requests per window
    window_s   its length, where that is stated
    remaining  requests that are left in it
    reset_s    seconds until it is renewed
    """

    limit: float | None = None
    window_s: float | None = None
    remaining: float | None = None
    reset_s: float | None = None


def allowance(headers: Mapping[str, str], now_utc_s: float) -> Allowance | None:
    """What `headers` say; None where they say nothing about a limit.

    headers    looked up without regard to case
    now_utc_s  when they came, seconds since 1970

    >>> allowance({"ratelimit-policy": '"default";q=300;w=10', "ratelimit": '"default";r=5;t=2'}, 0)
    Allowance(limit=300.0, window_s=10.0, remaining=5.0, reset_s=2.0)
    >>> allowance({"x-ratelimit-limit": "60", "x-ratelimit-reset": "1800000030"}, 1_800_000_000.0)
    Allowance(limit=60.0, window_s=None, remaining=None, reset_s=30.0)
    """
    joint = _parameters(headers.get("ratelimit", ""))
    limit, window_s = _tightest(headers)
    if limit is None:
        limit = joint.get("limit")
    remaining = _number(headers, "remaining")
    reset_s = _number(headers, "reset")
    found = Allowance(
        limit,
        window_s,
        _first(remaining, joint.get("remaining"), joint.get("r")),
        _first(reset_s, joint.get("reset"), joint.get("t")),
    )
    if found.reset_s is not None and found.reset_s > _A_DATE_S:
        found = found._replace(reset_s=max(0.0, found.reset_s - now_utc_s))
    return None if found == Allowance() else found


def _first(*numbers: float | None) -> float | None:
    return next((number for number in numbers if number is not None), None)


def _number(headers: Mapping[str, str], what: str) -> float | None:
    for name in (f"ratelimit-{what}", f"x-ratelimit-{what}"):
        if found := _LEADING.match(headers.get(name, "")):
            return float(found[1])
    return None


def _tightest(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """The limit with the lowest rate among those that state a window; else one without."""
    stated = [*_policies(headers)]
    if stated:
        return min(stated, key=lambda each: each[0] / each[1])
    return _number(headers, "limit"), None


def _policies(headers: Mapping[str, str]) -> Iterator[tuple[float, float]]:
    """Limits and their windows in seconds.

    >>> list(_policies({"ratelimit-limit": "10, 10;w=1, 50;w=60"}))
    [(10.0, 1.0), (50.0, 60.0)]
    """
    for name in ("ratelimit-policy", "ratelimit-limit", "x-ratelimit-limit"):
        for item in headers.get(name, "").split(","):
            values = _parameters(item)
            leading = _LEADING.match(item)
            limit = values.get("q", float(leading[1]) if leading else None)
            window_s = values.get("w")
            if limit and window_s:
                yield limit, window_s


def _parameters(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in _PARAMETER.findall(text.lower())}
