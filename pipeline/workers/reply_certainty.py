"""How long a reply is held before it is believed. Pure.

A reply too many shows only after it came: the one that it displaced comes late, on a connection on
which nothing more was to come. A reply that came sooner than usual is held until the usual time,
for that is when the displaced one would come.
"""

from __future__ import annotations

SURE_AFTER_S = 0.025
"""Behind the usual time, at least so long. Results wait for the disk about as long."""

MOST_EARLY_S = 1.0
"""No reply is held longer for having come early."""

_MEMORY = 0.1  # the share of the newest in what is usual


def sure_at_s(now_s: float, left_s: float, usual_s: float) -> float:
    """When a reply that came at `now_s` is believed.

    left_s   when its request left
    usual_s  what replies take

    >>> round(sure_at_s(now_s=10.2, left_s=10.0, usual_s=0.2), 3)
    10.225
    >>> round(sure_at_s(now_s=10.01, left_s=10.0, usual_s=0.2), 3)
    10.225
    """
    usual_at_s = min(left_s + usual_s, now_s + MOST_EARLY_S)
    return max(now_s, usual_at_s) + SURE_AFTER_S


def usual(before_s: float | None, took_s: float) -> float:
    """What replies take, once another one took `took_s`; None: it is the first.

    >>> usual(None, 0.3), round(usual(0.3, 0.1), 3)
    (0.3, 0.28)
    """
    return took_s if before_s is None else before_s + _MEMORY * (took_s - before_s)
