"""What one account did in one stretch of time: a point of the curves in a report."""

from __future__ import annotations

from typing import NamedTuple

LATENCY_BOUNDS_S = tuple(round(0.001 * 2 ** (half / 2), 4) for half in range(36))
"""Upper bounds of a latency histogram, in seconds, two per doubling: 1 ms to about 3 minutes, which
is more than the timeouts in use. A latency belongs to the first bound that is not below it
(`bisect_left`); one count more than bounds, the last is for what took longer."""


class Sample(NamedTuple):
    """One account over `seconds` that end at `at_s`.

    at_s          UTC seconds since 1970
    sent          requests that left in that time
    in_flight     requests under way at its end, of at most `in_flight_limit`
    pause_left_s  until the vendor allows the next request; 0 where it asks for no pause
    latencies     how many replies came within each of LATENCY_BOUNDS_S, the last beyond them;
                  empty where none came
    allowed_per_s the rate in force at its end; 0 where nothing bounds it, or that was not noted
    throttled     answers in that time that said: too many requests
    is_probing    whether the vendor was down at its end, and asked with one request at a time
    """

    account: str
    at_s: float
    seconds: float
    sent: int
    in_flight: int
    in_flight_limit: int
    pause_left_s: float = 0.0
    latencies: tuple[int, ...] = ()
    allowed_per_s: float = 0.0
    throttled: int = 0
    is_probing: bool = False
