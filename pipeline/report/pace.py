"""How fast a run goes and when it will be through. Pure: the time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.model import SUCCESS, AccountProgress

WINDOW_S = 30.0
_APART_S = 1.0


def eta_s(
    remaining: int, rate_per_s: float, quota_per_s: float, pause_left_s: float = 0.0
) -> float | None:
    """Seconds until `remaining` rows are done, None where nothing tells.

    rate_per_s   rows per second of late; 0 where none ended yet, then the quota stands in
    quota_per_s  rows per second that the quota allows, which none is faster than; 0 for no quota

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
    """One account, or all of them, at one moment.

    progress     as the engine tells it
    done, wrong  rows that have a result; those of them that did not succeed
    sent_per_s   requests per second of late
    left_s       seconds until its last row is done; None where nothing tells
    """

    progress: AccountProgress
    done: int
    wrong: int
    sent_per_s: float
    left_s: float | None


class _Sample(NamedTuple):
    at_s: float
    sent: int
    done: int


class Paces:
    """Turns progress into pace; remembers the last `WINDOW_S` seconds, a sample a second."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[_Sample]] = {}

    def at(self, now_s: float, accounts: Iterable[AccountProgress]) -> tuple[Pace, ...]:
        """The pace of each account; `now_s` of a clock that never goes back."""
        return tuple(self._pace(now_s, account) for account in accounts)

    def _pace(self, now_s: float, account: AccountProgress) -> Pace:
        done = sum(account.done.values())
        sample = _Sample(now_s, account.sent, done)
        samples = self._samples.setdefault(account.account, deque())
        if not samples or now_s - samples[-1].at_s >= _APART_S:
            samples.append(sample)
        while len(samples) > 1 and now_s - samples[1].at_s >= WINDOW_S:
            samples.popleft()
        return Pace(
            progress=account,
            done=done,
            wrong=done - sum(account.done.get(status, 0) for status in SUCCESS),
            sent_per_s=_per_s(samples[0], sample, sample.sent - samples[0].sent),
            left_s=_left_s(account, done, _per_s(samples[0], sample, done - samples[0].done)),
        )


def total(paces: Sequence[Pace]) -> Pace:
    """All accounts together; they go side by side, so the slowest says when the run is through."""
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


def _per_s(first: _Sample, last: _Sample, count: int) -> float:
    elapsed_s = last.at_s - first.at_s
    return count / elapsed_s if elapsed_s > 0 else 0.0


def _left_s(account: AccountProgress, done: int, done_per_s: float) -> float | None:
    remaining = 0 if account.stopped is not None else account.rows - done
    rows_each = max(1.0, done / account.sent) if account.sent else 1.0  # a request may carry more
    return eta_s(remaining, done_per_s, account.quota_per_s * rows_each, account.pause_left_s)
