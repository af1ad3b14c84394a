"""Decides how long a reply is held before it counts. Pure.

A surplus reply is noticed only later, when the reply that it displaced arrives on a connection that
has no request left. So a reply that arrives sooner than is typical is held until the typical time,
when a displaced reply would arrive.
"""

from __future__ import annotations

CERTAIN_AFTER_S = 0.025
"""Added to the typical time. Results wait for their commit about as long."""

MAX_EARLY_S = 1.0
"""The longest time that an early reply is held."""

_MEMORY = 0.1  # the weight of the newest reply in the typical time


def certain_at_s(now_s: float, sent_s: float, typical_s: float) -> float:
    """Return when a reply that arrived at `now_s` counts.

    sent_s     when its request was sent
    typical_s  seconds that a reply typically takes

    >>> round(certain_at_s(now_s=10.2, sent_s=10.0, typical_s=0.2), 3)
    10.225
    >>> round(certain_at_s(now_s=10.01, sent_s=10.0, typical_s=0.2), 3)
    10.225
    """
    usual_at_s = min(sent_s + typical_s, now_s + MAX_EARLY_S)
    return max(now_s, usual_at_s) + CERTAIN_AFTER_S


def update_typical_s(before_s: float | None, took_s: float) -> float:
    """Return the typical seconds of a reply after one took `took_s`; None before the first.

    >>> update_typical_s(None, 0.3), round(update_typical_s(0.3, 0.1), 3)
    (0.3, 0.28)
    """
    return took_s if before_s is None else before_s + _MEMORY * (took_s - before_s)
