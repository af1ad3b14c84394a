"""Detects that far more rows of a run failed than in earlier runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MOST_RUNS = 20
"""Earlier runs that are compared."""

FEWEST_RUNS = 5
"""Fewer earlier runs are no baseline."""

_CHANCE = 3.0  # standard deviations of a count that may be chance
_FEWEST_ROWS = 5  # so few are no anomaly, however clean the earlier runs were


class Share(NamedTuple):
    """Failed rows of a run among those that it tried."""

    failed: int
    rows: int


def describe_anomaly(now: Share, earlier: Sequence[Share]) -> str:
    """A warning if far more rows failed than in earlier runs; empty if not.

    The worst of the earlier runs is ignored: one bad night is no baseline.

    >>> describe_anomaly(Share(300, 1000), [Share(2, 1000)] * 6)
    'unusually many failures: 30.0 %; at most 0.2 % in the last 6 similar runs, except one'
    >>> describe_anomaly(Share(3, 1000), [Share(2, 1000)] * 6)
    ''
    """
    shares = sorted(share.failed / share.rows for share in earlier if share.rows)
    if len(shares) < FEWEST_RUNS or not now.rows:
        return ""
    baseline = shares[-2]
    expected = baseline * now.rows
    if now.failed <= expected + _CHANCE * math.sqrt(expected) + _FEWEST_ROWS:
        return ""
    return (
        f"unusually many failures: {100 * now.failed / now.rows:.1f} %; at most "
        f"{100 * baseline:.1f} % in the last {len(shares)} similar runs, except one"
    )
