"""How long an account that its quota holds back may wait for more to do at once. Pure.

Each time a process wakes up it costs as much as some requests. So at a quick quota the requests of
a moment leave together, their replies are handled together, and their rows are claimed and recorded
together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pipeline.workers.claim_ahead import MAX_AHEAD

QUICK_PER_S = 250.0
"""Requests per second from which on there is enough to do at once."""

SHORTEST_S, LONGEST_S = 0.002, 0.040
"""Seconds of a moment: it is over once as many requests may leave as the rate allows in it. It
costs at most half its length of quota in each window, and less if replies vary by less."""

PLACES = 0.625
"""Share of the places in flight that one moment may take: the next replies may take longer."""

SLACK = 1.25
"""Moments after which those leave that may. Margins make it a few percent more than one."""

SHORTER_FROM_PER_S = 500.0
"""Requests per second from which on moments are shorter: there is more in each, and to lose."""

CLAIMED_S = 0.4
"""Seconds for which rows are claimed ahead; the next ones are claimed when half of it is over."""


class Together(NamedTuple):
    """Requests that leave together: once there are permits for so many, or after a while.

    many  0 if each leaves as soon as it may
    """

    many: int
    within_s: float


def together(per_second: float, places: int) -> Together:
    """The requests that leave together at so many per second.

    places  requests that may be in flight: each holds its place until the next ones leave

    >>> together(100.0, 64), together(500.0, 64)
    (Together(many=0, within_s=0.0), Together(many=20, within_s=0.05))
    >>> together(500.0, 8).many, together(5000.0, 64).many
    (5, 10)
    """
    if per_second < QUICK_PER_S:
        return Together(0, 0.0)
    shorter = min(1.0, SHORTER_FROM_PER_S / per_second)
    moment_s = max(SHORTEST_S, min(LONGEST_S * shorter**4, PLACES * places / per_second))
    return Together(max(1, int(min(places, per_second * moment_s))), moment_s * SLACK)


def rows_ahead(per_second: float) -> int:
    """Rows that are claimed ahead because they leave soon; 0 if that says nothing.

    >>> rows_ahead(100.0), rows_ahead(500.0), rows_ahead(5000.0), rows_ahead(math.inf)
    (0, 200, 512, 0)
    """
    if not QUICK_PER_S <= per_second < math.inf:
        return 0
    return min(MAX_AHEAD, int(per_second * CLAIMED_S))
