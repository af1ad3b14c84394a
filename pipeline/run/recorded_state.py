"""What stands on record of a run before this process works on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pipeline.model import Status
from pipeline.model.retry import RETRYABLE
from pipeline.store import Ledger
from pipeline.vendors.kit.classify import meaning

LAST_ROW = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RecordedState:
    """What earlier processes left.

    claimed  rows that may have been sent and have no result
    unknown  rows whose result is `unknown`
    refused  rows that were refused with their account, and not judged -> with which status
    counts   results per status, those left out that give way to another one
    """

    claimed: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    refused: Mapping[int, int] = field(default_factory=dict)
    counts: Counter[Status] = field(default_factory=Counter)

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        """Read off the record; what is kept in memory are rows in doubt."""
        counts = Counter(ledger.counts())
        not_attempted = counts.pop(Status.NOT_ATTEMPTED, 0)
        is_worth_reading = counts[Status.UNKNOWN] or not_attempted
        unknown: set[int] = set()
        refused: dict[int, int] = {}
        for each in ledger.results(1, LAST_ROW) if is_worth_reading else ():
            if each.status is Status.UNKNOWN:
                unknown.add(each.row)
            elif each.status is Status.NOT_ATTEMPTED and each.http_status is not None:
                refused[each.row] = each.http_status
        refused = {row: status for row, status in refused.items() if _is_refusal(status)}
        return cls(frozenset(ledger.claimed()), frozenset(unknown), refused, counts)

    @property
    def is_nothing(self) -> bool:
        """Whether no row was ever sent."""
        is_sent = self.claimed or self.refused
        return not is_sent and not (self.counts.keys() - {Status.INVALID})


def _is_refusal(status: int) -> bool:
    """Whether a row that was answered so had been refused, not only put off."""
    return meaning(status).verdict not in RETRYABLE
