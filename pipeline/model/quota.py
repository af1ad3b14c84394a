"""Quotas: the rates that a vendor allows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

MAX_SHARES = 16
"""Most shares of an account. Whoever sends looks up what went under any other number of shares."""

UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}
_QUOTA = re.compile(r"\s*(\d+)\s*/\s*(\d*)\s*(s|min|h|day)(\s+burst)?\s*")


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` requests in any window of `per_s` seconds.

    is_burst  True if they may be sent at once; otherwise they are spread evenly
    """

    limit: int
    per_s: float
    is_burst: bool = False

    def __str__(self) -> str:
        """The quota as written in the configuration, in the largest unit that fits.

        >>> str(Quota(12, 6.0)), str(Quota(1000, 60.0, is_burst=True))
        ('12/6s', '1000/min burst')
        """
        unit = next(u for u in ("day", "h", "min", "s") if self.per_s % UNITS_S[u] == 0)
        count = int(self.per_s // UNITS_S[unit])
        burst = " burst" if self.is_burst else ""
        return f"{self.limit}/{'' if count == 1 else count}{unit}{burst}"

    @property
    def per_second(self) -> float:
        """The mean rate."""
        return self.limit / self.per_s

    def part(self, number: int, of: int) -> Quota:
        """Part `number`, from 0, of `of`; see `part_of`. Together they admit what the whole does.

        >>> [str(Quota(10, 1.0).part(number, 4)) for number in range(4)]
        ['2/s', '3/s', '2/s', '3/s']
        """
        return replace(self, limit=part_of(self.limit, number, of))


def part_of(amount: int, number: int, of: int) -> int:
    """Part `number`, from 0, of `of` parts that add up to `amount` and differ by 1 at most.

    >>> [part_of(10, number, 4) for number in range(4)]
    [2, 3, 2, 3]
    """
    return amount * (number + 1) // of - amount * number // of


def parse_quota(text: str) -> Quota:
    """Parse a quota, such as "20/s", "1000/min", "12/6s", "50000/day", "1000/min burst".

    Raises ValueError with what is expected.

    >>> parse_quota("12/6s")
    Quota(limit=12, per_s=6.0, is_burst=False)
    """
    found = _QUOTA.fullmatch(text)
    if not found or not int(found[1]) or found[2] == "0":
        raise ValueError(
            f'{text!r} is not a quota; expected requests per time, for example "20/s", '
            '"1000/min", "12/6s", "50000/day", "1000/min burst"'
        )
    return Quota(int(found[1]), int(found[2] or 1) * UNITS_S[found[3]], bool(found[4]))
