"""The bucket that spreads requests evenly. Pure: the time is an argument."""

from __future__ import annotations

import math

CATCH_UP_S = 0.050
LEARNED_CATCH_UP_S = 0.020
"""Seconds of missed slots that are made up for after a late timer; the windows hold all the same.
Less if the rate is learned, since no window holds then."""


def spacing(per_second: float, *, is_learned: bool = False) -> tuple[int, float]:
    """The first two arguments of a bucket that spreads requests evenly.

    is_learned  no window bounds the burst, so it is kept small
    returns     requests at once, seconds in which the bucket empties

    >>> spacing(100.0), spacing(20.0, is_learned=True)
    ((5, 0.05), (1, 0.05))
    """
    if is_learned:
        at_once = max(1, math.ceil(per_second * LEARNED_CATCH_UP_S))
    else:
        at_once = max(2, math.ceil(per_second * CATCH_UP_S))
    return at_once, at_once / per_second


class SpacingBucket:
    """A leaky bucket: a request takes a slot of it.

    slots     how many it has; as many requests may be sent at once if it is empty
    period_s  seconds in which it empties

    >>> bucket = SpacingBucket(2, 0.5, now_s=0.0)
    >>> bucket.take(2)
    >>> bucket.free(9, now_s=0.0), bucket.free_in_s(now_s=0.125), bucket.free(9, now_s=0.25)
    (0, 0.125, 1)
    """

    __slots__ = ("_emptied_s", "_taken", "per_s", "slots")

    def __init__(self, slots: int, period_s: float, now_s: float) -> None:
        self.slots = slots
        self.per_s = slots / period_s
        self._taken = 0.0
        self._emptied_s = now_s

    def free(self, most: int, now_s: float) -> int:
        """Return how many slots there are, at most `most`."""
        self._empty(now_s)
        if self._taken + 1.0 > self.slots:
            return 0
        return min(most, max(1, int(self.slots - self._taken)))  # 1 - 1e-16 is one as well

    def take(self, slots: int) -> None:
        """Take slots that are free."""
        self._taken += slots

    def free_in_s(self, now_s: float) -> float:
        """Seconds until there is a slot; 0 if there is one."""
        self._empty(now_s)
        return max(0.0, self._taken + 1.0 - self.slots) / self.per_s

    def fill(self) -> None:
        """Take every slot: a new bucket would allow a burst."""
        self._taken = float(self.slots)

    def _empty(self, now_s: float) -> None:
        self._taken = max(0.0, self._taken - (now_s - self._emptied_s) * self.per_s)
        self._emptied_s = now_s
