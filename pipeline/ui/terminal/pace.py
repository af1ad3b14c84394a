"""The throughput of a run and the time left. Pure: the time is an argument.

A vendor's pause says nothing about the speed before and after it. The time left is the time that
rows take while they are sent, plus the rest of the pause.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.model import SUCCESS, AccountProgress

WINDOW_S = 30.0
MARK_S = 3.0
MAX_MARKS = 40
_APART_S = 1.0
_BLOCKS = "▁▂▃▄▅▆▇█"


def eta_s(
    remaining: int, rate_per_s: float, quota_per_s: float, pause_left_s: float = 0.0
) -> float | None:
    """Seconds until `remaining` rows are done, None if unknown.

    rate_per_s   recent rows per second; 0 before the first result: the quota is used
    quota_per_s  rows per second that the quota allows, an upper bound; 0: no quota

    >>> eta_s(600, rate_per_s=12.0, quota_per_s=20.0)
    50.0
    """
    if remaining <= 0:
        return 0.0
    rate = rate_per_s or quota_per_s
    if quota_per_s:
        rate = min(rate, quota_per_s)
    return pause_left_s + remaining / rate if rate > 0 else None


@dataclass(frozen=True, slots=True)
class Pace:
    """One account, or all accounts, at one time.

    progress     as reported by the workers
    done, wrong  rows with a result, also of earlier processes; of them, not successful
    sent_per_s   recent requests per second, pauses included
    left_s       seconds until the last row is done; None if unknown or the vendor is down
    """

    progress: AccountProgress
    done: int
    wrong: int
    sent_per_s: float
    left_s: float | None


class _Sample(NamedTuple):
    """going_s  seconds so far without those of pauses and outages."""

    at_s: float
    going_s: float
    sent: int
    done: int


class _Course:
    """Samples of one account over its last `WINDOW_S` of sending, one per second."""

    def __init__(self, now_s: float) -> None:
        self.samples: deque[_Sample] = deque()
        self._seen_s = now_s
        self._rested_s = 0.0
        self._held_s = 0.0

    def look(self, now_s: float, account: AccountProgress, done: int) -> _Sample:
        self._rested_s += min(now_s - self._seen_s, self._held_s)
        self._seen_s = now_s
        self._held_s = math.inf if account.is_probing else account.pause_left_s
        sample = _Sample(now_s, now_s - self._rested_s, account.sent, done)
        samples = self.samples
        if not samples or sample.going_s - samples[-1].going_s >= _APART_S:
            samples.append(sample)
        while len(samples) > 1 and sample.going_s - samples[1].going_s >= WINDOW_S:
            samples.popleft()
        return sample

    def before(self, now_s: float) -> _Sample:
        """The last sample that is `WINDOW_S` old, else the first."""
        old = [each for each in self.samples if now_s - each.at_s >= WINDOW_S]
        return old[-1] if old else self.samples[0]


class Paces:
    """Turns successive progress into pace."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}

    def at(self, now_s: float, accounts: Iterable[AccountProgress]) -> tuple[Pace, ...]:
        """The pace of each account; `now_s` is monotonic."""
        return tuple(self._pace(now_s, account) for account in accounts)

    def _pace(self, now_s: float, account: AccountProgress) -> Pace:
        ended = Counter(account.done) + Counter(account.done_before)
        done_now, done = sum(account.done.values()), ended.total()
        course = self._courses.setdefault(account.account, _Course(now_s))
        now = course.look(now_s, account, done_now)
        before, first = course.before(now_s), course.samples[0]
        done_per_s = _per_s(now.done - first.done, now.going_s - first.going_s)
        return Pace(
            progress=account,
            done=done,
            wrong=done - sum(ended[status] for status in SUCCESS),
            sent_per_s=_per_s(now.sent - before.sent, now.at_s - before.at_s),
            left_s=_left_s(account, account.rows - done, done_per_s),
        )


def total(paces: Sequence[Pace]) -> Pace:
    """All accounts together. They run concurrently, so the slowest determines the time left."""
    parts = [pace.progress for pace in paces]
    left = [pace.left_s for pace in paces]
    return Pace(
        progress=AccountProgress(
            account="total",
            rows=sum(part.rows for part in parts),
            done={},
            sent=sum(part.sent for part in parts),
            in_flight=sum(part.in_flight for part in parts),
            in_flight_limit=sum(part.in_flight_limit for part in parts),
            retrying=sum(part.retrying for part in parts),
        ),
        done=sum(pace.done for pace in paces),
        wrong=sum(pace.wrong for pace in paces),
        sent_per_s=sum(pace.sent_per_s for pace in paces),
        left_s=None if None in left else max((s for s in left if s is not None), default=0.0),
    )


class Throughput:
    """Requests per second of all accounts: a mark per `MARK_S`, the last `MAX_MARKS` of them."""

    def __init__(self) -> None:
        self.marks: deque[float] = deque(maxlen=MAX_MARKS)
        self._since: tuple[float, int] | None = None

    def look(self, now_s: float, sent: int) -> None:
        """Add `sent`, the requests so far. Marks do not change once drawn."""
        if self._since is None or sent < self._since[1]:  # finished runs are no longer counted
            self._since = now_s, sent
        since_s, before = self._since
        if now_s - since_s >= MARK_S:
            self.marks.append((sent - before) / (now_s - since_s))
            self._since = now_s, sent


def sparkline(values: Sequence[float]) -> str:
    """Values as a line of blocks, from 0 to their maximum.

    >>> sparkline([0.0, 1.0, 4.0, 8.0]), sparkline([]), sparkline([0.0])
    ('▁▂▅█', '', '▁')
    """
    most = max(values, default=0.0)
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(each / most * steps) if most else 0] for each in values)


def _per_s(count: int, elapsed_s: float) -> float:
    return count / elapsed_s if elapsed_s > 0 else 0.0


def _left_s(account: AccountProgress, remaining: int, done_per_s: float) -> float | None:
    remaining = 0 if account.stopped is not None else remaining
    if account.is_probing and remaining > 0:
        return None
    done_now = sum(account.done.values())
    rows_each = max(1.0, done_now / account.sent) if account.sent else 1.0  # a batch has several
    bounds = [each for each in (account.rate_per_s, account.quota_per_s) if each]
    return eta_s(remaining, done_per_s, min(bounds, default=0.0) * rows_each, account.pause_left_s)
