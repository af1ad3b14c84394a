"""Shares one quota among processes: one of them holds the lease, and they take turns.

The holder sends at the whole quota. If another process waits, the lease passes to it after about a
second, with the recorded send times, so no window is exceeded.

A killed process loses its lease: on files at once, since the system frees the lock. What it sent
in its last moments is not on record. So the next holder counts the quota of that time as used: the
most that the killed process may have sent unrecorded, and what it had in flight
(`_lost_requests`). They
count from the handover, since its connections are closed by then, and that part of the quota comes
back one window later (a quota with `day_starts`: at the next day).

A process that is stopped (Ctrl-Z) and not killed keeps the lease: the others wait for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.model.pause import AskedPause
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.margin import MAX_WAY_S
from pipeline.pacing.pause import ANNOUNCED_S, asked_at, stored_at
from pipeline.pacing.quota_parts import QuotaPart, part_of_ages
from pipeline.pacing.spacing import spacing
from pipeline.pacing.unrecorded import AgeCount, joined
from pipeline.store.seam import Departed, Store, quota_lease

REMEMBER_EVERY_S = 1.0
"""Seconds between two records of send times, and until the lease is passed on if another process
waits."""

UNRECORDED_S = 2.0 * REMEMBER_EVERY_S
"""At most this many seconds of quota may be unrecorded, however long the disk takes."""


class Handover(NamedTuple):
    """What a limiter needs to know when it opens.

    ages        requests of other processes, oldest first
    pause       the vendor's pause on record; None if there is none
    unrecorded  requests that a killed process may have sent unrecorded
    """

    ages: list[AgeCount]
    pause: AskedPause | None
    unrecorded: int


class QuotaLease:
    """This process's lease of a quota, or of the part that one share of an account may use.

    store  keeps the lease, and what was sent

    Calls MUST NOT overlap, and those that wait for the store belong in a thread: all but `keep` and
    `held_by_another`. They raise RunAborted if it cannot be used.
    """

    def __init__(
        self,
        part: QuotaPart,
        limiter: RateLimiter,
        store: Store,
    ) -> None:
        self.limiter = limiter
        self.most_unrecorded: float = most_in(UNRECORDED_S, limiter.terms) or math.inf
        self.part = part
        self._lease = store.lease(quota_lease(part.name))
        self._store = store
        self._quotas = store.quotas
        self._noted = 0
        self._has_read_others = False
        self._kept: list[tuple[float, int]] = []  # times of requests not on record, and counts
        self._was_held = False
        self._waits_since_s: float | None = None
        self.is_held = False

    def acquire(self) -> bool:
        """Acquire the lease if no other process holds it; the first in line gets it next."""
        self._was_held = self._lease.holder() is not None
        self.is_held = self._lease.take()
        return self.is_held

    @property
    def sure_until_s(self) -> float:
        """As that of the store's lease."""
        return self._lease.sure_until_s

    def renew(self) -> None:
        """Hold it for longer, if it ends by itself. It is not held any more if that came too late.

        Whoever took it does not know what is recorded from then on, and this process not what the
        other one sent: it reads that when it acquires the lease again.
        """
        if self.is_held and self._lease.sure_until_s < math.inf:
            self.is_held = self._lease.renew()

    def held_by_another(self) -> str | None:
        """The process that has held the lease for ANNOUNCED_S, once per wait; else None."""
        now_s = time.monotonic()
        if self.is_held:
            self._waits_since_s = None
        elif self._waits_since_s is None:
            self._waits_since_s = now_s
        elif now_s >= self._waits_since_s + ANNOUNCED_S:
            self._waits_since_s = math.inf
            holder = self._lease.holder()
            return "another process" if holder is None else holder.text
        return None

    def take_over(self) -> Handover:
        """Read what other processes sent, to open the limiter with. The lease MUST be held."""
        with self._store.together():
            entries = self._quotas.since(self.part.name, after=self._noted)
            self._noted = max([self._noted, *(entry.number for entry in entries)])
            return Handover(
                ages=joined([*self._ages(entries), *self._ages_otherwise()]),
                pause=self.pause_on_record(),
                unrecorded=self._lost_requests(entries),
            )

    def pause_on_record(self) -> AskedPause | None:
        """The vendor's pause on record; None if there is none."""
        stored = self._quotas.pauses(self.part.group).get(self.part.group)
        return None if stored is None else asked_at(stored, time.time())

    def record_pause(self, asked: AskedPause) -> None:
        """Put a pause of the vendor on record."""
        self._quotas.pause(self.part.group, stored_at(asked, time.time()))

    def _ages(self, entries: Iterable[Departed]) -> Iterator[AgeCount]:
        longest_s = self.limiter.terms.longest_s
        for entry in entries:
            for age_s, count in entry.counts:
                if age_s <= longest_s:
                    yield AgeCount(max(-MAX_WAY_S, age_s), count)

    def _ages_otherwise(self) -> list[AgeCount]:
        """Requests of when the accounts had another number of shares; read once: that is over."""
        if self._has_read_others:
            return []
        others = (self._quotas.since(part.name, after=0) for part in self.part.otherwise())
        found = part_of_ages((each for some in others for each in self._ages(some)), self.part.of)
        self._has_read_others = True
        return found

    def _lost_requests(self, entries: list[Departed]) -> int:
        """Requests that a killed holder may have sent unrecorded; else 0."""
        if not self._was_held or self.most_unrecorded == math.inf:
            return 0
        return int(self.most_unrecorded) + (entries[-1].under_way if entries else 0)

    def is_wanted(self) -> bool:
        """True if another process waits for the lease; False if that cannot be read."""
        return self._lease.is_wanted()

    def record(self, ages: Iterable[AgeCount], *, under_way: int = 0) -> None:
        """Put requests on record, and those of `keep`.

        under_way  requests also in flight: from when they count is not known yet
        """
        self.keep(ages)
        now_s = time.monotonic()
        number = self._quotas.left(
            self.part.name,
            [(now_s - at_s, count) for at_s, count in self._kept],
            under_way=under_way,
            forget_s=self.limiter.terms.longest_s,
        )
        self._kept.clear()
        if self.is_held:  # else entries of others may be between
            self._noted = max(self._noted, number)

    def keep(self, ages: Iterable[AgeCount]) -> None:
        """Keep requests for the next record."""
        now_s = time.monotonic()
        self._kept += ((now_s - age_s, count) for age_s, count in ages)

    def release(self) -> None:
        """Let other processes acquire the lease."""
        self.is_held = False
        self._lease.release()

    def abandon(self) -> None:
        """Let any process acquire it that counts as sent what is not on record; this one as well.

        What was kept stays for the next record.
        """
        self.is_held = False
        self._lease.abandon()


def most_in(seconds: float, terms: LimiterSettings) -> int:
    """Requests that `terms` allow in a short time; 0 if no quota is stated.

    >>> from pipeline.model.quota import Quota
    >>> most_in(2.0, LimiterSettings(quotas=(Quota(20, 1.0), Quota(600, 60.0))))
    22
    >>> quotas = (Quota(20, 1.0, is_burst=True), Quota(600, 60.0, is_burst=True))
    >>> most_in(2.0, LimiterSettings(quotas=quotas))
    40
    """
    bounds: list[float] = [quota.limit * math.ceil(seconds / quota.per_s) for quota in terms.quotas]
    if terms.even_per_s < math.inf:
        at_once, _ = spacing(terms.even_per_s)
        bounds.append(math.ceil(terms.even_per_s * seconds) + at_once)
    return int(min(bounds, default=0))
