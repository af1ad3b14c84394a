"""How long a reply is held before it is believed. Pure.

A reply too many shows only after it came: the one that it displaced comes late, on a connection on
which nothing more was to come. A reply that came sooner than usual is held until the usual time,
for that is when the displaced one would come.
"""

from __future__ import annotations

CERTAIN_AFTER_S = 0.025
"""Behind the usual time, at least so long. Results wait for the disk about as long."""

MOST_EARLY_S = 1.0
"""No reply is held longer for having come early."""

_MEMORY = 0.1  # the share of the newest in what is usual


def certain_at_s(now_s: float, sent_s: float, typical_s: float) -> float:
    """When a reply that came at `now_s` is believed.

    sent_s   when its request left
    typical_s  what replies take

    >>> round(certain_at_s(now_s=10.2, sent_s=10.0, typical_s=0.2), 3)
    10.225
    >>> round(certain_at_s(now_s=10.01, sent_s=10.0, typical_s=0.2), 3)
    10.225
    """
    usual_at_s = min(sent_s + typical_s, now_s + MOST_EARLY_S)
    return max(now_s, usual_at_s) + CERTAIN_AFTER_S


def update_typical_s(before_s: float | None, took_s: float) -> float:
    """What replies take, once another one took `took_s`; None: it is the first.

    >>> update_typical_s(None, 0.3), round(update_typical_s(0.3, 0.1), 3)
    (0.3, 0.28)
    """
    return took_s if before_s is None else before_s + _MEMORY * (took_s - before_s)
