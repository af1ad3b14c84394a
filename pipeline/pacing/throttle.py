"""Whether a 429 is about the account or about one row. Pure: the time is an argument.

A 429 says that there were too many requests, not that a row is wrong: so it uses up none of a row's
attempts while the account is throttled. How long that may last, `max_outage_s` says.

A row that alone is refused, again and again, while others are accepted, is at fault itself: between
two refusals of it the vendor carried out or judged others, FEW times as many as it refused. From
then on the row is suspected: its refusals say nothing about the account any more, and each of them
uses up an attempt unless others that are not suspected were refused since the one before.
"""

from __future__ import annotations

from typing import NamedTuple

FEW = 4
"""Where the account works, others are accepted so many times as often as they are refused."""


class Refusals(NamedTuple):
    """The 429s of one row.

    times       so many in all
    accepted    requests that the account had had accepted when the last one came
    refused     and those of rows not suspected that it had had refused
    is_suspect  the row was refused while the account worked
    is_counted  the last one uses up an attempt of the row
    """

    times: int = 0
    accepted: int = 0
    refused: int = 0
    is_suspect: bool = False
    is_counted: bool = False

    def attempt(self, tries: int, *, is_counted: bool) -> int:
        """The number of the attempt that the next wait goes by, after so many that count.

        >>> Refusals(times=3).attempt(1, is_counted=False), Refusals().attempt(0, is_counted=False)
        (4, 1)
        """
        return max(1, tries + (0 if is_counted else self.times))


NO_REFUSALS = Refusals()


class Throttle:
    """One account's 429s.

    since_s  when the first came after the last request that was accepted; None where none did

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

    def accepted(self) -> None:
        """The vendor carried out, or judged, an update."""
        self._accepted += 1
        self.since_s = None

    def refused(self, before: Refusals, now_s: float) -> Refusals:
        """It refused a request for a row; `before` is what came to the row so far."""
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
