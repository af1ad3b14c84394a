"""What a rate limiter keeps to. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.model.quota import Quota
from pipeline.pacing.limit_headers import SHORTEST_S


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSettings:
    """What a vendor allows, and how it is kept.

    quotas         all hold at once; empty if the limit is learned
    starts_per_s   first rate if the limit is learned
    is_strict      requests count from their replies, whatever the network does
    day_started_s  UTC seconds when a day of the vendor began; None: a day is any 24 hours
    max_wait_s     a stated rate at which a request would wait longer is ignored
    """

    quotas: tuple[Quota, ...]
    starts_per_s: float = 1.0
    is_strict: bool = False
    day_started_s: float | None = None
    max_wait_s: float = 900.0

    @property
    def even_per_s(self) -> float:
        """The rate at which requests are spread; infinite if every quota allows a burst."""
        spread = [quota.per_second for quota in self.quotas if not quota.is_burst]
        return min(spread, default=math.inf)

    @property
    def longest_s(self) -> float:
        """Seconds of the longest window."""
        return max((quota.per_s for quota in self.quotas), default=SHORTEST_S)
