"""Selects the row of the next probe in an outage. Pure.

Each kind of row may be the one that is never answered, or the only one that is, so the kinds take
turns. Rows that were not sent yet are drawn from the whole file, since neighbours are often bad
together.
"""

from __future__ import annotations

import math
from enum import Enum

FIRST_AHEAD, MAX_AHEAD = 1_000, 16_000
"""Rows that are searched for a probe: at first, and at most."""


class ProbeKind(Enum):
    """A kind of row. A row that an earlier process of the run may have sent counts as sent.

    UNSENT  was not sent yet, and may be repeated
    FAILED  was sent, and is sent again
    ONCE    was not sent yet, and must not be repeated: in an outage it would end `unknown`
    """

    UNSENT = "unsent"
    FAILED = "failed"
    ONCE = "once"


_UNSENT_FIRST = (ProbeKind.UNSENT, ProbeKind.FAILED, ProbeKind.ONCE)
_FAILED_FIRST = (ProbeKind.FAILED, ProbeKind.UNSENT, ProbeKind.ONCE)
_ONCE_FIRST = (ProbeKind.ONCE, ProbeKind.UNSENT, ProbeKind.FAILED)
_EVERY_FAILED, _EVERY_ONCE, _FIRST_ONCE = 3, 8, 4


def turns(number: int) -> tuple[ProbeKind, ...]:
    """Kinds for the `number`th probe of an outage, counted from 1; the first available is used.

    Every third probe is a row that failed. Every eighth, from the fourth on, is a row that must not
    be repeated: an outage of ten minutes costs nine of them.

    >>> [turns(number)[0].value for number in range(1, 9)]
    ['unsent', 'unsent', 'failed', 'once', 'unsent', 'failed', 'unsent', 'unsent']
    """
    if number % _EVERY_ONCE == _FIRST_ONCE:
        return _ONCE_FIRST
    return _UNSENT_FIRST if number % _EVERY_FAILED else _FAILED_FIRST


def ahead(number: int) -> int:
    """Number of rows searched for the `number`th probe of an outage.

    >>> [ahead(number) for number in (1, 7, 8, 99)]
    [1000, 1000, 2000, 16000]
    """
    return min(FIRST_AHEAD << min(number // 8, 9), MAX_AHEAD)


def place(draw: int, rows: int) -> int:
    """Index of the row to try, from 0: each draw is far from those before it.

    draw  number of earlier draws
    rows  number of rows to draw from

    >>> [place(draw, 100) for draw in range(6)]
    [61, 23, 85, 47, 9, 70]
    """
    return int((draw + 1) * _GOLDEN % 1.0 * rows)


_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
