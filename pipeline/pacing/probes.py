"""Whose turn it is to ask whether a vendor is back. Pure.

Each kind of row may be the one that is never answered, and each may be the only one that is: so
they take turns. Rows that were not sent yet are tried here and there, for those that stand together
are often bad together.
"""

from __future__ import annotations

import math
from enum import Enum

FIRST_AHEAD, MOST_AHEAD = 1_000, 16_000
"""So many rows are looked over for one that may tell more: at first, and at most."""


class ProbeKind(Enum):
    """A kind of row. What an earlier process of the run may have sent counts as sent.

    UNSENT  was not sent yet, and may be repeated
    FAILED  was sent, and is to be sent again
    ONCE    was not sent yet and may not be repeated: in an outage it would be lost to doubt
    """

    UNSENT = "unsent"
    FAILED = "failed"
    ONCE = "once"


_UNSENT_FIRST = (ProbeKind.UNSENT, ProbeKind.FAILED, ProbeKind.ONCE)
_FAILED_FIRST = (ProbeKind.FAILED, ProbeKind.UNSENT, ProbeKind.ONCE)
_ONCE_FIRST = (ProbeKind.ONCE, ProbeKind.UNSENT, ProbeKind.FAILED)
_EVERY_FAILED, _EVERY_ONCE, _FIRST_ONCE = 3, 8, 4


def turns(number: int) -> tuple[ProbeKind, ...]:
    """Whose turn the probe is that is the `number`th of its outage, from 1; then who goes instead.

    Every third one is a row that failed. One that may not be repeated is every eighth, from the
    fourth on: ten minutes in which the vendor is down cost nine of them.

    >>> [turns(number)[0].value for number in range(1, 9)]
    ['unsent', 'unsent', 'failed', 'once', 'unsent', 'failed', 'unsent', 'unsent']
    """
    if number % _EVERY_ONCE == _FIRST_ONCE:
        return _ONCE_FIRST
    return _UNSENT_FIRST if number % _EVERY_FAILED else _FAILED_FIRST


def ahead(number: int) -> int:
    """How many rows are looked over for the `number`th probe of an outage.

    >>> [ahead(number) for number in (1, 7, 8, 99)]
    [1000, 1000, 2000, 16000]
    """
    return min(FIRST_AHEAD << min(number // 8, 9), MOST_AHEAD)


def place(draw: int, rows: int) -> int:
    """Which of so many rows is tried, from 0: one after the other, far from those before it.

    draw  how often it was asked before

    >>> [place(draw, 100) for draw in range(6)]
    [61, 23, 85, 47, 9, 70]
    """
    return int((draw + 1) * _GOLDEN % 1.0 * rows)


_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
