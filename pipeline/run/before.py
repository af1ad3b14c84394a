"""What stands on record of a run before this process works on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from pipeline.ledger import Ledger
from pipeline.model import Status

LAST_ROW = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier processes left.

    claimed  rows that may have been sent and have no result
    unknown  rows whose result is `unknown`
    counts   results per status, those left out that give way to another one
    """

    claimed: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    counts: Counter[Status] = field(default_factory=Counter)

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        """Read off the record; what is kept in memory are rows in doubt."""
        counts = Counter(ledger.counts())
        counts.pop(Status.NOT_ATTEMPTED, None)
        found = ledger.results(1, LAST_ROW) if counts[Status.UNKNOWN] else ()
        unknown = frozenset(each.row for each in found if each.status is Status.UNKNOWN)
        return cls(frozenset(ledger.claimed()), unknown, counts)

    @property
    def is_nothing(self) -> bool:
        """Whether no row was ever sent."""
        return not self.claimed and not (self.counts.keys() - {Status.INVALID})
