"""Requests and pauses of quota leases on their way to the registry of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.model.pause import AskedPause
from pipeline.pacing.quota_lease import QuotaLease
from pipeline.pacing.unrecorded import AgeCount
from pipeline.store.seam import Store


@dataclass(slots=True)
class LeaseRecord:
    """Requests of one lease on their way to the registry."""

    lease: QuotaLease
    ages: list[AgeCount]
    under_way: int
    is_taken: bool = False

    @classmethod
    def of(cls, lease: QuotaLease, *, is_leaving: bool) -> LeaseRecord:
        """What the limiter has not recorded yet; with `is_leaving` also those in flight."""
        ages = lease.limiter.take_unrecorded(is_all=is_leaving)
        return cls(lease, ages, 0 if is_leaving else lease.limiter.under_way)

    def write(self) -> None:
        """Put the requests on record."""
        self.is_taken = True
        self.lease.record(self.ages, under_way=self.under_way)

    def keep(self) -> None:
        """Give back to the lease what did not come on record."""
        if not self.is_taken:
            self.lease.keep(self.ages)


class News(NamedTuple):
    """What others did meanwhile.

    lifted  leases whose pause somebody has lifted
    wanted  leases that another process waits for
    """

    lifted: list[QuotaLease]
    wanted: list[QuotaLease]


def write_records(
    store: Store, records: Sequence[LeaseRecord], pauses: Sequence[tuple[QuotaLease, AskedPause]]
) -> News:
    """Write all to the registry."""
    paused = [each.lease for each in records if each.lease.limiter.pause.is_on_record]
    with store.together():
        for record in records:
            record.lease.renew()
        for record in records:
            record.write()
        for lease, pause in pauses:
            lease.record_pause(pause)
            lease.limiter.pause.on_recorded(pause)
        return News(
            [each for each in paused if each.pause_on_record() is None],
            [each.lease for each in records if each.lease.is_wanted()],
        )
