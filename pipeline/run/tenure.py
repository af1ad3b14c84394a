"""The gate of a quota among processes: open in one of them at a time, and passed on by turns.

Whoever holds it sends at the whole quota. Where another process waits for it, it goes over to that
one after a second at most, with the record of what left: so both share the quota, and no window is
exceeded. Of a process that was killed the record may lack a moment; for that moment it counts as
having sent all that it was allowed to.
"""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.engine.gate import Gate, Terms
from pipeline.ledger import Lock, Runs
from pipeline.model import RunAborted

REMEMBER_EVERY_S = 1.0
"""How often what left is put on record, and the gate passed on where another process waits."""


class Taken(NamedTuple):
    """What a gate has to know when it is opened.

    ages_s        how long ago requests of others left, oldest first
    pause_left_s  of the vendor's own pause
    unrecorded    so many requests may have left that nobody put on record
    """

    ages_s: list[float]
    pause_left_s: float
    unrecorded: int


class Tenure:
    """This process's hold on the gate of one quota group.

    folder  of the locks

    Its calls touch files: one at a time, `take` and `note` in a thread. These two raise RunAborted
    where files cannot be used.
    """

    def __init__(self, group: str, gate: Gate, folder: Path) -> None:
        name = hashlib.sha256(group.encode()).hexdigest()[:16]
        self.gate = gate
        self._group = group
        self._lock = Lock(folder / f"quota-{name}")
        self._line = Lock(folder / f"quota-{name}-next")
        self._noted = 0
        self.is_held = False

    def take(self, runs: Runs) -> Taken | None:
        """Hold the gate from now on, if no other process does; the first in line gets it next."""
        was_held = self._lock.holder() is not None
        if not self._lock.acquire(wait=False):
            self._line.acquire(wait=False)
            return None
        self._line.release()
        self.is_held = True
        now_s = time.time()
        left = runs.departures(self._group, now_s - self.gate.terms.longest_s, after=self._noted)
        self._noted = left.last
        return Taken(
            ages_s=[max(0.0, now_s - each_s) for each_s in left.times],
            pause_left_s=max(0.0, runs.paused_until(self._group) - now_s),
            unrecorded=most_in(REMEMBER_EVERY_S, self.gate.terms) if was_held else 0,
        )

    def is_wanted(self) -> bool:
        """Whether another process waits for the gate; no, where the disk does not let us see."""
        with suppress(RunAborted), self._line:
            return not self._line.acquire(wait=False)
        return False

    def note(self, runs: Runs, ages_s: list[float], pause_left_s: float) -> None:
        """Put on record what left, so long ago, and the vendor's own pause."""
        now_s = time.time()
        times = [now_s - age_s for age_s in ages_s]
        longest_s = self.gate.terms.longest_s
        self._noted = max(
            self._noted, runs.depart(self._group, times, forget_before_s=now_s - longest_s)
        )
        if pause_left_s:
            runs.pause(self._group, now_s + pause_left_s)

    def let_go(self) -> None:
        """Others may hold the gate."""
        self._line.release()
        self._lock.release()
        self.is_held = False


def most_in(seconds: float, terms: Terms) -> int:
    """How many requests may have left in so short a time.

    >>> from pipeline.policy.quota import Quota
    >>> most_in(1.0, Terms(quotas=(Quota(20, 1.0), Quota(600, 60.0))))
    12
    >>> most_in(1.0, Terms(quotas=(Quota(600, 60.0, is_burst=True),)))
    600
    """
    if terms.even_per_s < math.inf:
        return math.ceil(terms.even_per_s * seconds) + 2  # two may have left at once
    return min((quota.limit for quota in terms.quotas), default=0)
