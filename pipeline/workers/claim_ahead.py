"""Decides how many rows are claimed on record before there is a request in flight to replace. Pure.

A commit takes a while. Enough rows must be claimed when it begins that none is missing before the
next one has ended. Each of them is in doubt if the process is killed, so there are no more than
that: a slow account claims as many as it has in flight, and one whose quota lets rows leave quickly
as many as leave soon (`patience.py`).
"""

from __future__ import annotations

MAX_AHEAD = 512
"""Most rows that wait claimed. A commit takes 10 ms beside a busy event loop, and a row 80 us."""

LESS = 0.9
"""Share that remains after a commit for which too many rows were claimed."""


class ClaimAhead:
    """How many rows of one account are claimed ahead.

    >>> ahead = ClaimAhead()
    >>> ahead.rows(limit=4)
    4
    >>> ahead.on_ran_out()
    >>> ahead.on_claimed(limit=4, waiting=0)
    >>> ahead.rows(limit=4)
    8
    """

    __slots__ = ("_ran_out", "_rows")

    def __init__(self) -> None:
        self._rows = 0
        self._ran_out = False

    def rows(self, limit: int, soon: int = 0) -> int:
        """Return how many rows may wait claimed while `limit` requests may be in flight.

        soon  as many leave so soon that they may be claimed together
        """
        return max(limit, self._rows, soon)

    def is_low(self, limit: int, waiting: int, soon: int = 0) -> bool:
        """True if the next rows are claimed now, with `waiting` ones that are not sent yet.

        An account that is fast enough to claim ahead claims rarely: the thread that commits and the
        event loop hand the interpreter to each other some fifty times, however many rows it is.

        >>> ClaimAhead().is_low(limit=4, waiting=3), ClaimAhead().is_low(limit=4, waiting=2)
        (False, True)
        """
        return waiting <= self.rows(limit, soon) // (2 if self._rows <= max(limit, soon) else 4)

    def on_ran_out(self) -> None:
        """No claimed row was left while others were being claimed."""
        self._ran_out = True

    def on_claimed(self, limit: int, waiting: int) -> None:
        """Rows came on record while `waiting` ones that were claimed before were left."""
        if self._ran_out:
            self._rows = min(MAX_AHEAD, 2 * self.rows(limit))
        elif waiting > self.rows(limit) // 8:
            self._rows = int(self._rows * LESS)
        self._ran_out = False
