"""Whether refusals or failures are more than accidents. Pure.

A vendor that works refuses a request now and then for no reason of ours: one in fifty is nothing to
learn from. A limit that was passed refuses many of those that follow. What happens tells by and by
which of the two it is: this is a cumulative sum test (Page, Biometrika 41, 1954) of one share
against another. It forgets what speaks against, so a limit that comes late is seen as quickly.
"""

from __future__ import annotations

import math

ACCIDENTS, LIMIT = 0.02, 0.08
"""The shares that are told from each other."""

GROWS = math.log(LIMIT / ACCIDENTS)
SHRINKS = math.log((1.0 - ACCIDENTS) / (1.0 - LIMIT))

ENOUGH = 6.5
"""Five in a row, or one in ten for about 80. By accident it is reached once in 30,000 requests."""


class Suspicion:
    """How much speaks for a limit, from 0 to ENOUGH.

    >>> suspicion = Suspicion()
    >>> suspicion.went_well(50)
    >>> for _ in range(4):
    ...     suspicion.failed()
    >>> suspicion.is_lone, suspicion.is_enough
    (False, False)
    >>> suspicion.failed()
    >>> suspicion.is_enough
    True
    """

    __slots__ = ("_sum",)

    def __init__(self) -> None:
        self._sum = 0.0

    def went_well(self, count: int = 1) -> None:
        """So many were accepted."""
        self._sum = max(0.0, self._sum - SHRINKS * count)

    def failed(self) -> None:
        """One was not."""
        self._sum = min(ENOUGH, self._sum + GROWS)

    def forget(self) -> None:
        """What was known is known no more."""
        self._sum = 0.0

    @property
    def is_lone(self) -> bool:
        """Whether the last failure came alone, as far as can be told."""
        return self._sum <= GROWS

    @property
    def is_likely(self) -> bool:
        """Whether it is a limit, where one was to be expected."""
        return self._sum >= ENOUGH / 2.0

    @property
    def is_enough(self) -> bool:
        """Whether it is a limit."""
        return self._sum >= ENOUGH
