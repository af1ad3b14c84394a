"""Whether far more rows of a run failed than in the runs before it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LOOKED_AT = 20
"""So many earlier runs are looked at."""

FEWEST_RUNS = 5
"""Fewer earlier runs are no habit."""

_CHANCE = 3.0  # standard deviations of a count: what is within them may be chance
_FEWEST_ROWS = 5  # as few are no trend, however clean the runs before were


class Share(NamedTuple):
    """How many of the rows that a run tried failed."""

    failed: int
    rows: int


def unusual(now: Share, earlier: Sequence[Share]) -> str:
    """That far more rows failed than in earlier runs, in words; empty where that is not so.

    The worst of the earlier runs is left out: one bad night is no habit.

    >>> unusual(Share(300, 1000), [Share(2, 1000)] * 6)
    'unusual: 30.0 % of the rows failed; in the last 6 runs like it at most 0.2 %, but for one'
    >>> unusual(Share(3, 1000), [Share(2, 1000)] * 6)
    ''
    """
    shares = sorted(share.failed / share.rows for share in earlier if share.rows)
    if len(shares) < FEWEST_RUNS or not now.rows:
        return ""
    usual = shares[-2]
    expected = usual * now.rows
    if now.failed <= expected + _CHANCE * math.sqrt(expected) + _FEWEST_ROWS:
        return ""
    return (
        f"unusual: {100 * now.failed / now.rows:.1f} % of the rows failed; in the last "
        f"{len(shares)} runs like it at most {100 * usual:.1f} %, but for one"
    )
