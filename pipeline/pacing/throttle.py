"""Attributes each 429 to the account or to one row. Pure: the time is an argument.

A 429 means too many requests, not a wrong row: while the account is throttled it uses no attempt of
a row. `max_outage_s` bounds how long that may last.

A row is suspect if the vendor accepted FEW times as many other requests between two of its refusals
as it refused. Refusals of a suspect row prove nothing about the account, and each uses an attempt
unless rows that are not suspect were refused since the one before.
"""

from __future__ import annotations

from typing import NamedTuple

FEW = 4
"""An account works if it accepts at least this many times as many requests as it refuses."""


class Refusals(NamedTuple):
    """The 429s of one row.

    times       number of refusals
    accepted    requests of the account accepted before the last refusal
    refused     requests of rows that are not suspect, refused before it
    is_suspect  the row was refused while the account worked
    is_counted  the last refusal uses an attempt of the row
    """

    times: int = 0
    accepted: int = 0
    refused: int = 0
    is_suspect: bool = False
    is_counted: bool = False

    def attempt(self, tries: int, *, is_counted: bool) -> int:
        """The attempt number that determines the next wait.

        tries       attempts of the row so far that count
        is_counted  the last refusal is one of them

        >>> Refusals(times=3).attempt(1, is_counted=False), Refusals().attempt(0, is_counted=False)
        (4, 1)
        """
        return max(1, tries + (0 if is_counted else self.times))


NO_REFUSALS = Refusals()


class Throttle:
    """The 429s of one account.

    since_s  when the first 429 came after the last accepted request; None if there was none

    >>> throttle = Throttle()
    >>> row = throttle.refused(NO_REFUSALS, now_s=1.0)
    >>> row = throttle.refused(row, now_s=2.0)
    >>> row.is_counted, throttle.since_s
    (False, 1.0)
    >>> throttle.accepted()
    >>> throttle.refused(row, now_s=3.0).is_counted
    True
    """

    __slots__ = ("_accepted", "_refused", "since_s")

    def __init__(self) -> None:
        self._accepted = 0
        self._refused = 0
        self.since_s: float | None = None

    def accepted(self, count: int = 1) -> None:
        """The vendor applied or rejected `count` updates."""
        self._accepted += count
        self.since_s = None

    def refused(self, before: Refusals, now_s: float) -> Refusals:
        """The vendor refused a request for a row: its refusals, which were `before`."""
        self.since_s = now_s if self.since_s is None else self.since_s
        accepted, refused = self._accepted - before.accepted, self._refused - before.refused
        is_alone = before.times > 0 and accepted > 0 and accepted >= FEW * refused
        is_suspect = before.is_suspect or is_alone
        self._refused += not is_suspect
        return Refusals(
            before.times + 1,
            self._accepted,
            self._refused,
            is_suspect,
            is_counted=is_alone or (before.is_suspect and refused == 0),
        )
