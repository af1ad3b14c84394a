"""Distinguishes refusals or failures by a limit from accidents. Pure.

A working vendor refuses a request now and then for reasons of its own: one in fifty proves nothing.
A limit that is exceeded refuses many of the requests that follow. This is a cumulative sum test
(Page, Biometrika 41, 1954) of one share against the other. The sum has a floor of 0, so a limit
that appears late is detected as quickly.
"""

from __future__ import annotations

import math

ACCIDENTS, LIMIT = 0.02, 0.08
"""The two shares of failures that the test distinguishes. If more are accidents, the odds of the
two keep their ratio."""

_ODDS_RATIO = LIMIT / (1.0 - LIMIT) * (1.0 - ACCIDENTS) / ACCIDENTS

ENOUGH = 6.5
"""Reached by five failures in a row, or by one in ten of about 80; by accident once in 30,000
requests."""


class Suspicion:
    """Evidence for a limit, from 0 to ENOUGH.

    >>> suspicion = Suspicion()
    >>> suspicion.on_success(50)
    >>> for _ in range(4):
    ...     suspicion.on_failure()
    >>> suspicion.is_lone, suspicion.is_enough
    (False, False)
    >>> suspicion.on_failure()
    >>> suspicion.is_enough
    True
    """

    __slots__ = ("_grows", "_shrinks", "_sum")

    def __init__(self) -> None:
        self._sum = 0.0
        self.expect(ACCIDENTS)

    def expect(self, accidents: float) -> None:
        """Take this share of failures, more than 0 and less than 1, for accidents."""
        odds = _ODDS_RATIO * accidents / (1.0 - accidents)
        limit = odds / (1.0 + odds)
        self._grows = math.log(limit / accidents)
        self._shrinks = math.log((1.0 - accidents) / (1.0 - limit))

    def on_success(self, count: int = 1) -> None:
        """`count` requests were accepted."""
        self._sum = max(0.0, self._sum - self._shrinks * count)

    def on_failure(self) -> None:
        """A request was refused or failed."""
        self._sum = min(ENOUGH, self._sum + self._grows)

    def forget(self) -> None:
        """Drop all evidence."""
        self._sum = 0.0

    @property
    def is_none(self) -> bool:
        """True if there is no evidence: a success changes nothing."""
        return self._sum <= 0.0

    @property
    def is_lone(self) -> bool:
        """True if at most one recent request failed."""
        return self._sum <= self._grows

    @property
    def is_likely(self) -> bool:
        """True if this is enough evidence for a limit that was expected."""
        return self._sum >= ENOUGH / 2.0

    @property
    def is_enough(self) -> bool:
        """True if this is enough evidence for any limit."""
        return self._sum >= ENOUGH
