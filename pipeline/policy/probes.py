"""Whose turn it is to ask whether a vendor is back. Pure.

Each kind of row may be the one that is never answered, and each may be the only one that is: so
they take turns. Of rows that were not sent yet near ones and such as stand further on are tried, for
rows that stand together are often bad together.
"""

from __future__ import annotations

from enum import Enum

MOST_AHEAD = 16_000
"""So many rows are looked over for one that may tell more."""


class Turn(Enum):
    """A kind of row.

    UNSENT  was not sent yet, and may be repeated
    FAILED  was sent, and is to be sent again
    ONCE    was not sent yet and may not be repeated: in an outage it would be lost to doubt
    """

    UNSENT = "unsent"
    FAILED = "failed"
    ONCE = "once"


_UNSENT_FIRST = (Turn.UNSENT, Turn.FAILED, Turn.ONCE)
_FAILED_FIRST = (Turn.FAILED, Turn.UNSENT, Turn.ONCE)
_ONCE_FIRST = (Turn.ONCE, Turn.UNSENT, Turn.FAILED)
_EVERY_FAILED, _EVERY_ONCE, _FIRST_ONCE = 3, 8, 4


def turns(number: int) -> tuple[Turn, ...]:
    """Whose turn the probe is that is the `number`th of its outage, from 1; then who goes instead.

    Every third one is a row that failed. One that may not be repeated is every eighth, from the
    fourth on: ten minutes in which the vendor is down cost nine of them.

    >>> [turns(number)[0].value for number in range(1, 9)]
    ['unsent', 'unsent', 'failed', 'once', 'unsent', 'failed', 'unsent', 'unsent']
    """
    if number % _EVERY_ONCE == _FIRST_ONCE:
        return _ONCE_FIRST
    return _UNSENT_FIRST if number % _EVERY_FAILED else _FAILED_FIRST


def next_ahead(ahead: int, number: int, found: int) -> int:
    """How many rows are looked over for the `number`th probe of an outage.

    ahead  for the one before; the first probe begins where the last outage ended
    found  how many there were

    >>> next_ahead(8, 2, found=8), next_ahead(8, 1, found=8), next_ahead(8, 2, found=5)
    (16, 8, 1)
    """
    if number == 1:
        return ahead
    return 1 if found < ahead or ahead >= MOST_AHEAD else min(2 * ahead, MOST_AHEAD)
