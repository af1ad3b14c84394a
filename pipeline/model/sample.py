"""One interval of an account's work: a point of the curves in a report."""

from __future__ import annotations

from typing import NamedTuple

LATENCY_BOUNDS_S = tuple(round(0.001 * 2 ** (half / 2), 4) for half in range(36))
"""Upper bounds of a latency histogram, in seconds, two per doubling: 1 ms to about 3 minutes, above
all timeouts in use. A latency counts for the first bound that is not below it (`bisect_left`). A
histogram has one more count than bounds, for longer latencies."""


class Sample(NamedTuple):
    """One account during the `seconds` before `at_s`.

    at_s          UTC seconds since 1970
    sent          requests sent in the interval
    in_flight     requests in flight at its end, of at most `in_flight_limit`
    pause_left_s  seconds until the vendor allows the next request; 0 without a pause
    latencies     number of replies for each of LATENCY_BOUNDS_S, and above; empty without replies
    allowed_per_s rate limit at its end; 0 if unlimited or unknown
    throttled     answers in the interval that refused a request as one too many
    is_probing    True if the vendor was down at its end and got one request at a time
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
