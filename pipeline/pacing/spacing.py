"""The bucket that spreads requests evenly: aiolimiter's, with a way to take slots at once.

Nobody waits in it: who is called back in turn takes the slots that are free.
"""

from __future__ import annotations

import math

from aiolimiter import AsyncLimiter

CATCH_UP_S = 0.050
LEARNED_CATCH_UP_S = 0.020
"""Seconds of missed slots that are made up for after a late timer; the windows hold all the same.
Less if the rate is learned, since no window holds then."""


def spacing(per_second: float, *, is_learned: bool = False) -> tuple[float, float]:
    """The two arguments of AsyncLimiter that spread requests evenly.

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


class SpacingBucket(AsyncLimiter):
    """A leaky bucket. Use it within an event loop.

    It reads the level of aiolimiter's bucket, which has no public way to take a slot without
    waiting: `tests/pacing/test_spacing.py` guards what this relies on.
    """

    def free(self, most: int) -> int:
        """Return how many slots there are now, at most `most`."""
        if not self.has_capacity():
            return 0
        return min(most, max(1, int(self.max_rate - self._level)))  # 1 - 1e-16 is one as well

    def take(self, slots: int) -> None:
        """Take slots that are free now."""
        self._level += slots

    def free_in_s(self, slots: int = 1) -> float:
        """Seconds until there are so many slots; 0 if there are now."""
        self._leak()
        return max(0.0, self._level + slots - self.max_rate) / self._rate_per_sec

    def fill(self) -> None:
        """Take every slot: a new bucket would allow a burst."""
        self._leak()
        self._level = self.max_rate
