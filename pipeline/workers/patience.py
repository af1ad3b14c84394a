"""How long an account that its quota holds back may wait for more to do at once. Pure.

Each time a process wakes up it costs as much as some requests. So at a quick quota the requests of
a moment leave together, their replies are handled together, and their rows are claimed and recorded
together.
"""

from __future__ import annotations

import math

from pipeline.workers.claim_ahead import MAX_AHEAD

QUICK_PER_S = 250.0
"""Requests per second from which on there is enough to do at once."""

SHORTEST_S, LONGEST_S = 0.002, 0.016
"""Seconds of a moment. It costs half its length of quota in each window: until the request leaves
that a reply has made room for."""

SHORTER_FROM_PER_S = 500.0
"""Requests per second from which on moments are shorter: there is more in each, and to lose."""

CLAIMED_S = 0.4
"""Seconds for which rows are claimed ahead; the next ones are claimed when half of it is over."""


def moment_s(per_second: float, places: int) -> float:
    """Seconds of a moment at so many requests per second; 0 if nothing waits for more to do.

    places  requests that may be in flight: each holds its place until the moment is over

    >>> moment_s(100.0, 64), moment_s(500.0, 64), moment_s(500.0, 8), moment_s(5000.0, 64)
    (0.0, 0.016, 0.008, 0.002)
    """
    if per_second < QUICK_PER_S:
        return 0.0
    shorter = min(1.0, SHORTER_FROM_PER_S / per_second)
    return max(SHORTEST_S, min(LONGEST_S * shorter**3, places / 2 / per_second))


def rows_ahead(per_second: float) -> int:
    """Rows that are claimed ahead because they leave soon; 0 if that says nothing.

    >>> rows_ahead(100.0), rows_ahead(500.0), rows_ahead(5000.0), rows_ahead(math.inf)
    (0, 200, 512, 0)
    """
    if not QUICK_PER_S <= per_second < math.inf:
        return 0
    return min(MAX_AHEAD, int(per_second * CLAIMED_S))
