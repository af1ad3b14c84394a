"""The parts of a quota, one for each share of an account. Pure.

Sliding windows whose limits add up to N admit at most N requests together, whatever their clocks
are. So each part has a limiter, a lease and a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.model.quota import MAX_SHARES
from pipeline.pacing.unrecorded import AgeCount


class QuotaPart(NamedTuple):
    """The part of a group's quota that one share may use.

    group   name of the quota group
    number  of the share, from 0
    of      number of shares
    """

    group: str
    number: int = 0
    of: int = 1

    @property
    def name(self) -> str:
        """Its name on record.

        >>> QuotaPart("group").name, QuotaPart("group", 2, 4).name
        ('group', 'group|3 of 4')
        """
        return self.group if self.of == 1 else f"{self.group}|{self.number + 1} of {self.of}"

    def otherwise(self) -> Iterator[QuotaPart]:
        """The parts that there are with every other number of shares."""
        for of in range(1, MAX_SHARES + 1):
            if of != self.of:
                yield from (QuotaPart(self.group, number, of) for number in range(of))


def part_of_ages(ages: Iterable[AgeCount], of: int) -> list[AgeCount]:
    """The requests that count in each of `of` parts, of those that left with other parts.

    Of the last m requests, m / of count in each part, rounded up. So if a window holds m of them,
    all parts together admit at most its limit less m.

    >>> part_of_ages([AgeCount(9.0, 5), AgeCount(8.0)], 4)
    [AgeCount(age_s=9.0, many=1), AgeCount(age_s=8.0, many=1)]
    """
    counted = passed = 0
    found: list[AgeCount] = []
    for age_s, many in sorted(ages):
        passed += many
        in_part = -(-passed // of)
        if in_part > counted:
            found.append(AgeCount(age_s, in_part - counted))
            counted = in_part
    return found[::-1]
