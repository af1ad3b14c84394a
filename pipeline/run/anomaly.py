"""Detects that far more rows of a run failed than in earlier runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MAX_RUNS = 20
"""Earlier runs that are compared."""

FEWEST_RUNS = 5
"""Fewer earlier runs give no baseline."""

_CHANCE = 3.0  # standard deviations of a count that may be chance
_FEWEST_ROWS = 5  # fewer failed rows are no anomaly


class FailureRate(NamedTuple):
    """Failed rows of a run among those that it tried."""

    failed: int
    rows: int


def describe_anomaly(now: FailureRate, earlier: Sequence[FailureRate]) -> str:
    """A warning if far more rows failed than in earlier runs; empty if not.

    The worst of the earlier runs is ignored: one bad run is no baseline.

    >>> describe_anomaly(FailureRate(300, 1000), [FailureRate(2, 1000)] * 6)
    'unusually many failures: 30 %, usually at most 0.2 %'
    >>> describe_anomaly(FailureRate(3, 1000), [FailureRate(2, 1000)] * 6)
    ''
    """
    shares = sorted(share.failed / share.rows for share in earlier if share.rows)
    if len(shares) < FEWEST_RUNS or not now.rows:
        return ""
    baseline = shares[-2]
    expected = baseline * now.rows
    if now.failed <= expected + _CHANCE * math.sqrt(expected) + _FEWEST_ROWS:
        return ""
    most = "at most " if baseline else ""
    return (
        f"unusually many failures: {_percent(now.failed / now.rows)}, "
        f"usually {most}{_percent(baseline)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
