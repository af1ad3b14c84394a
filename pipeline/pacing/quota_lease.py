"""The gate of a quota among processes: open in one of them at a time, and passed on by turns.

Whoever holds it sends at the whole quota. Where another process waits for it, it goes over to that
one after about a second, with the record of what left: so both share the quota, and no window is
exceeded. Of a process that was killed the record may lack a moment; for that moment it counts as
having sent all that it was allowed to, and it is not allowed more. What was under way then counts
from the moment at which another process takes over: its connections are closed by then.

A process that is stopped (Ctrl-Z) and not killed keeps what it holds: the others wait for it.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.model import RunAborted
from pipeline.model.pause import AskedPause
from pipeline.pacing.boot_clock import Moment, age_s
from pipeline.pacing.limiter import LimiterSettings, RateLimiter, spacing
from pipeline.pacing.margin import MOST_WAY_S
from pipeline.pacing.pause import ANNOUNCED_S
from pipeline.store import Departures, Lock, Runs

REMEMBER_EVERY_S = 1.0
"""How often what left is put on record, and the gate passed on where another process waits."""

UNRECORDED_S = 2.0 * REMEMBER_EVERY_S
"""No more leaves off the record than in this time, however long the disk takes."""

FIRST_WITHIN_S = 1.0
"""So long whoever had the gate leaves it to the first in line, who may be stopped."""

MOST_UNRECORDED = 5_000
"""With so many requests off the record nothing leaves before they are on it, whatever the quota."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")  # a container may count from another moment


class Handover(NamedTuple):
    """What a gate has to know when it is opened.

    ages_s        since when requests of others count, oldest first, in seconds before now; negative
                  where they may still arrive
    pause         the vendor's own, as it is on record
    unrecorded    so many requests may have left that nobody put on record
    """

    ages_s: list[float]
    pause: AskedPause | None
    unrecorded: int


class QuotaLease:
    """This process's hold on the gate of one quota group.

    group   its name, as on record
    folder  of the locks
    now     what all clocks show

    Its calls touch files: one at a time, `acquire`, `take_over`, `record` in a thread. They raise
    RunAborted where files cannot be used.
    """

    def __init__(
        self,
        group: str,
        limiter: RateLimiter,
        folder: Path,
        *,
        now: Callable[[], Moment] | None = None,
    ) -> None:
        name = hashlib.sha256(group.encode()).hexdigest()[:16]
        self.limiter = limiter
        most = most_in(UNRECORDED_S, limiter.terms)
        self.most_unrecorded = min(most, MOST_UNRECORDED) if most else math.inf
        self.group = group
        self._lock = Lock(folder / f"quota-{name}")
        self._line = Lock(folder / f"quota-{name}-next")
        self._now = now or this_moment
        self._noted = 0
        self._was_held = False
        self._let_go_s = -math.inf
        self._waits_since_s: float | None = None
        self.is_held = False

    def acquire(self) -> bool:
        """Hold the gate from now on, if no other process does; the first in line gets it next."""
        is_first = self._line.acquire(wait=False)
        if not is_first and time.monotonic() < self._let_go_s + FIRST_WITHIN_S:
            return False
        self._was_held = self._lock.holder() is not None
        self.is_held = self._lock.acquire(wait=False)
        if self.is_held:
            self._line.release()
        return self.is_held

    def held_by_another(self) -> str | None:
        """Which process has held the gate for more than a moment, in words, once for each wait;
        else None.
        """
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
        """What other processes sent, to open the gate with; to be called once it is held."""
        now = self._now()
        entries = runs.departures(self.group, after=self._noted)
        self._noted = max([self._noted, *(entry.number for entry in entries)])
        ages_s = (max(-MOST_WAY_S, each_s) for entry in entries for each_s in _ages_s(entry, now))
        longest_s = self.limiter.terms.longest_s
        return Handover(
            ages_s=sorted((each_s for each_s in ages_s if each_s <= longest_s), reverse=True),
            pause=runs.pause_of(self.group),
            unrecorded=self._lost(entries),
        )

    def _lost(self, entries: list[Departures]) -> int:
        """What a process that was killed may have sent and nobody put on record."""
        if not self._was_held or self.most_unrecorded == math.inf:
            return 0
        return int(self.most_unrecorded) + (entries[-1].under_way if entries else 0)

    def is_wanted(self) -> bool:
        """Whether another process waits for the gate; no, where the disk does not let us see."""
        with suppress(RunAborted), self._line:
            return not self._line.acquire(wait=False)
        return False

    def record(self, runs: Runs, ages_s: list[float], *, under_way: int = 0) -> None:
        """Put on record what left, since when it counts.

        under_way  so many more of which that is not known yet
        """
        now = self._now()
        times = tuple(now.boot_s - each_s for each_s in ages_s)
        entry = Departures(now.boot, now.boot_s, now.utc_s, times, under_way)
        number = runs.depart(self.group, entry, longest_s=self.limiter.terms.longest_s)
        self._noted = max(self._noted, number)

    def release(self) -> None:
        """Others may hold the gate."""
        self._let_go_s = time.monotonic()
        self.is_held = False
        self._line.release()
        self._lock.release()


def _ages_s(entry: Departures, now: Moment) -> list[float]:
    noted = Moment(entry.boot, entry.noted_s, entry.noted_utc_s)
    return [age_s(each_s, noted, now) for each_s in entry.times]


def this_moment() -> Moment:
    """What the clocks of this machine show. Where it does not name its boot, the wall clock alone
    tells what is on record: processes cannot compare the other one.
    """
    utc_s = time.time()
    if sys.platform == "linux":
        with suppress(OSError):
            boot = f"{_BOOT_ID.read_text().strip()} {_TIME_NAMESPACE.readlink()}"
            return Moment(boot, time.clock_gettime(time.CLOCK_BOOTTIME), utc_s)
    return Moment("", utc_s, utc_s)


def most_in(seconds: float, terms: LimiterSettings) -> int:
    """How many requests may leave in so short a time; 0 where no quota is stated.

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
