"""Shares one quota among processes: one of them holds the lease, and they take turns.

The holder sends at the whole quota. If another process waits, the lease passes to it after about a
second, with the recorded send times, so no window is exceeded.

A killed process loses its lease at once: the lock is freed by the system. What it sent in its last
moments is not on record. So the next holder counts the quota of that time as used: the most that
the killed process may have sent unrecorded, and what it had in flight (`_lost_requests`). They
count from the handover, since its connections are closed by then, and that part of the quota comes
back one window later (a quota with `day_starts`: at the next day).

A process that is stopped (Ctrl-Z) and not killed keeps the lease: the others wait for it.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.model import RunAborted
from pipeline.model.pause import AskedPause
from pipeline.pacing.limiter import LimiterSettings, RateLimiter
from pipeline.pacing.margin import MAX_WAY_S
from pipeline.pacing.pause import ANNOUNCED_S
from pipeline.pacing.quota_parts import QuotaPart, part_of_ages
from pipeline.pacing.spacing import spacing
from pipeline.pacing.unrecorded import AgeCount, joined
from pipeline.store import Departures, Lock, Runs
from pipeline.store.on_files.boot_clock import Moment, age_s

REMEMBER_EVERY_S = 1.0
"""Seconds between two records of send times, and until the lease is passed on if another process
waits."""

UNRECORDED_S = 2.0 * REMEMBER_EVERY_S
"""At most this many seconds of quota may be unrecorded, however long the disk takes."""

FIRST_WITHIN_S = 1.0
"""Seconds for which a former holder leaves the lease to the first in line, which may be stopped."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")  # a container may count from another moment


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

    folder  of the locks
    now     reads all clocks

    Calls use files and MUST NOT overlap; `acquire`, `take_over` and `record` belong in a thread.
    They raise RunAborted if files cannot be used.
    """

    def __init__(
        self,
        part: QuotaPart,
        limiter: RateLimiter,
        folder: Path,
        *,
        now: Callable[[], Moment] | None = None,
    ) -> None:
        name = hashlib.sha256(part.name.encode()).hexdigest()[:16]
        self.limiter = limiter
        self.most_unrecorded: float = most_in(UNRECORDED_S, limiter.terms) or math.inf
        self.part = part
        self._lock = Lock(folder / f"quota-{name}")
        self._next = Lock(folder / f"quota-{name}-next")
        self._now = now or this_moment
        self._noted = 0
        self._has_read_others = False
        self._kept: list[tuple[float, int]] = []  # boot times of requests not on record, and counts
        self._was_held = False
        self._released_s = -math.inf
        self._waits_since_s: float | None = None
        self.is_held = False

    def acquire(self) -> bool:
        """Acquire the lease if no other process holds it; the first in line gets it next."""
        is_first = self._next.acquire(wait=False)
        if not is_first and time.monotonic() < self._released_s + FIRST_WITHIN_S:
            return False
        self._was_held = self._lock.holder() is not None
        self.is_held = self._lock.acquire(wait=False)
        if self.is_held:
            self._next.release()
        return self.is_held

    def held_by_another(self) -> str | None:
        """The process that has held the lease for ANNOUNCED_S, once per wait; else None."""
        now_s = time.monotonic()
        if self.is_held:
            self._waits_since_s = None
        elif self._waits_since_s is None:
            self._waits_since_s = now_s
        elif now_s >= self._waits_since_s + ANNOUNCED_S:
            self._waits_since_s = math.inf
            return self._lock.held_by()
        return None

    def take_over(self, runs: Runs) -> Handover:
        """Read what other processes sent, to open the limiter with. The lease MUST be held."""
        now = self._now()
        entries = runs.departures(self.part.name, after=self._noted)
        self._noted = max([self._noted, *(entry.number for entry in entries)])
        ages = [*self._ages(entries, now), *self._ages_otherwise(runs, now)]
        return Handover(
            ages=joined(ages),
            pause=runs.pause_of(self.part.group),
            unrecorded=self._lost_requests(entries),
        )

    def _ages(self, entries: Iterable[Departures], now: Moment) -> Iterator[AgeCount]:
        longest_s = self.limiter.terms.longest_s
        for entry in entries:
            yield from (each for each in _ages(entry, now) if each.age_s <= longest_s)

    def _ages_otherwise(self, runs: Runs, now: Moment) -> list[AgeCount]:
        """Requests of when the accounts had another number of shares; read once: that is over."""
        if self._has_read_others:
            return []
        others = (runs.departures(part.name) for part in self.part.otherwise())
        found = part_of_ages(
            (each for some in others for each in self._ages(some, now)), self.part.of
        )
        self._has_read_others = True
        return found

    def _lost_requests(self, entries: list[Departures]) -> int:
        """Requests that a killed holder may have sent unrecorded; else 0."""
        if not self._was_held or self.most_unrecorded == math.inf:
            return 0
        return int(self.most_unrecorded) + (entries[-1].under_way if entries else 0)

    def is_wanted(self) -> bool:
        """True if another process waits for the lease; False if the locks cannot be read."""
        with suppress(RunAborted), self._next:
            return not self._next.acquire(wait=False)
        return False

    def record(self, runs: Runs, ages: Iterable[AgeCount], *, under_way: int = 0) -> None:
        """Put requests on record, and those of `keep`.

        under_way  requests also in flight: from when they count is not known yet
        """
        self.keep(ages)
        now = self._now()
        times, counts = zip(*self._kept, strict=True) if self._kept else ((), ())
        entry = Departures(now.boot, now.boot_s, now.utc_s, times, counts, under_way)
        number = runs.depart(self.part.name, entry, longest_s=self.limiter.terms.longest_s)
        self._kept.clear()
        self._noted = max(self._noted, number)

    def keep(self, ages: Iterable[AgeCount]) -> None:
        """Keep requests for the next record."""
        now = self._now()
        self._kept += ((now.boot_s - age_s, count) for age_s, count in ages)

    def release(self) -> None:
        """Let other processes acquire the lease."""
        self._released_s = time.monotonic()
        self.is_held = False
        self._next.release()
        self._lock.release()


def _ages(entry: Departures, now: Moment) -> Iterator[AgeCount]:
    noted = Moment(entry.boot, entry.noted_s, entry.noted_utc_s)
    for at_s, count in zip(entry.times, entry.counts, strict=True):
        yield AgeCount(max(-MAX_WAY_S, age_s(at_s, noted, now)), count)


def this_moment() -> Moment:
    """Read the clocks of this machine.

    If the system names no boot, the wall clock is used alone: processes cannot compare another one.
    """
    utc_s = time.time()
    if sys.platform == "linux":
        with suppress(OSError):
            boot = f"{_BOOT_ID.read_text().strip()} {_TIME_NAMESPACE.readlink()}"
            return Moment(boot, time.clock_gettime(time.CLOCK_BOOTTIME), utc_s)
    return Moment("", utc_s, utc_s)


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
