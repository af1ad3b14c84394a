"""Decides which share of a run a worker takes, who is restarted, and when a run is over. Pure.

A share that is open may be taken, and the rows of the run were compared with those of other runs
since when it was opened: whoever sends other rows to the same places closes it first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.store.seam import Share, ShareState

MAX_ATTEMPTS = 5
"""Processes that may take a share and die without progress, before its account is stopped."""

REST_S = 0.3
"""A worker waits so long for each share that it has before it takes another: so they spread."""

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 15.0

KILLED_AT_START = 5
"""Deaths of workers in a row, without progress of the run, before none is started again."""

IDLE_S = 30.0
"""Seconds in which nobody sends a run that is not over, after which that is announced."""

CRASHED = 1
"""The exit code of a worker that ended with a bug of ours."""


def is_left(state: ShareState) -> bool:
    """True if rows of the share are left to send."""
    return not (state.is_done or state.stopped)


def takeable(states: Iterable[ShareState], mine: Iterable[Share]) -> list[Share]:
    """The shares that this worker may take now, if their leases are free; first the next.

    mine  those that it has

    >>> first, second = Share("shop", 0, 2), Share("shop", 1, 2)
    >>> closed = ShareState(second, False, False, "", 0, "")
    >>> states = [ShareState(first, True, False, "", 0, ""), closed]
    >>> takeable(states, []), takeable(states, [first])
    ([Share(account='shop', number=0, of=2)], [])
    """
    held = {*mine}
    return [
        each.share for each in states if each.is_open and is_left(each) and each.share not in held
    ]


def is_proven(states: Iterable[ShareState], account: str) -> bool:
    """True if answers have shown that the account works: then several of its shares are open."""
    return sum(each.is_open for each in states if each.share.account == account) > 1


def opened_by_answers(states: Iterable[ShareState], share: Share) -> list[Share]:
    """The shares to open once the answers to `share` show that its account works."""
    return [
        each.share
        for each in states
        if each.share.account == share.account and is_left(each) and not each.is_open
    ]


def next_opener(states: Sequence[ShareState], share: Share) -> Share | None:
    """The share that is opened when `share` is done and its answers have shown nothing; or None."""
    if is_proven(states, share.account):
        return None
    found = opened_by_answers(states, share)
    return next((each for each in found if each != share), None)


def first_shares(states: Iterable[ShareState]) -> list[Share]:
    """The share of each account that is given out first."""
    firsts: dict[str, Share] = {}
    for each in states:
        firsts.setdefault(each.share.account, each.share)
    return [*firsts.values()]


def no_more_attempts(state: ShareState) -> str:
    """Why no further process takes the share; empty if one may.

    >>> share = Share("shop", 1, 4)
    >>> no_more_attempts(ShareState(share, True, False, "", 5, ""))
    'shop 2 of 4 was given up: 5 processes took it and ended, one after another, without a result'
    >>> no_more_attempts(ShareState(share, True, False, "", 4, ""))
    ''
    """
    if state.attempts < MAX_ATTEMPTS:
        return ""
    return (
        f"{state.share.name} was given up: {state.attempts} processes took it and ended, one "
        "after another, without a result"
    )


def is_over(states: Sequence[ShareState]) -> bool:
    """True if no share is left."""
    return not any(map(is_left, states))


def stops(states: Iterable[ShareState]) -> dict[str, str]:
    """Account -> why it stopped."""
    return {each.share.account: each.stopped for each in states if each.stopped}


def siblings(states: Iterable[ShareState], account: str) -> list[Share]:
    """The shares of an account that are left: if one stops, so do they."""
    return [each.share for each in states if each.share.account == account and is_left(each)]


def rest_s(held: int) -> float:
    """Seconds for which a worker that has so many shares leaves the next one to others."""
    return REST_S * held


@dataclass(frozen=True, slots=True)
class Restart:
    """What becomes of a worker that ended.

    delay_s  seconds until it is started again; None: it is not
    why      the reason if it is not, for people; empty if nothing was left for it
    """

    delay_s: float | None
    why: str = ""


def restart(code: int, deaths: int) -> Restart:
    """Decide about a worker process that ended.

    code    its exit code; the negative number of the signal that killed it
    deaths  how many were killed in a row, this one included, while the run made no progress

    >>> restart(-9, 1), restart(0, 0)
    (Restart(delay_s=0.5, why=''), Restart(delay_s=None, why=''))
    """
    if code == 0:
        return Restart(None)
    if code > 0 and code != CRASHED:
        return Restart(None, f"ended with exit code {code}")
    if deaths > KILLED_AT_START:
        return Restart(None, f"was killed {deaths} times, and the run made no progress meanwhile")
    return Restart(min(FIRST_DELAY_S * 2 ** (deaths - 1), MAX_DELAY_S))


@dataclass(slots=True)
class IdleWatch:
    """Notices that nobody sends, for people: once each time.

    busy_s  when somebody last had a share, or none was left; monotonic
    """

    busy_s: float
    _is_announced: bool = False

    def is_due(self, now_s: float, *, is_idle: bool) -> bool:
        """True if it is to be announced now.

        >>> watch = IdleWatch(100.0)
        >>> [watch.is_due(100.0 + passed_s, is_idle=True) for passed_s in (1, 31, 32)]
        [False, True, False]
        """
        if not is_idle:
            self.busy_s, self._is_announced = now_s, False
        is_due = is_idle and not self._is_announced and now_s > self.busy_s + IDLE_S
        self._is_announced |= is_due
        return is_due


def idle_words(run: str, alive: int) -> str:
    """Why rows may be left while nobody sends.

    alive  workers that were started here, and have not ended

    >>> idle_words("r", 0)
    'no worker has sent rows for 30 s: start one with `pipeline worker r`'
    """
    if not alive:
        advice = f"start one with `pipeline worker {run}`"
    else:
        advice = f"{alive} were started, and wait for a place or for the ledger: see their logs"
    return f"no worker has sent rows for {IDLE_S:g} s: {advice}"


def kinds(codes: Mapping[int, str]) -> str:
    """How workers ended, for one message.

    >>> kinds({1: "ended with exit code 2", 2: "ended with exit code 2"})
    'worker 1 ended with exit code 2; worker 2 ended with exit code 2'
    """
    return "; ".join(f"worker {number} {why}" for number, why in sorted(codes.items()))
