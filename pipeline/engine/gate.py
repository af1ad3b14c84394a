"""The gate of a quota: the one place where a request waits for its turn, and doors to it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
from aiolimiter import AsyncLimiter

from pipeline.model import Answer, Verdict
from pipeline.policy.quota import Margin, Quota, WindowLog

CATCH_UP_S = 0.020
"""Slots that a late timer missed in this time are made up for; the windows hold all the same."""

THROTTLE_PAUSE_S = 1.0
"""How long everyone waits after a 429 that names no time."""

LATE_MOST_S = 1.0
"""How long a connection that is already open is kept waiting for a second permit."""


def spacing(quotas: Sequence[Quota]) -> tuple[float, float]:
    """The two arguments of AsyncLimiter that spread requests evenly at the tightest quota.

    returns  requests at once, seconds in which the bucket empties

    >>> spacing([Quota(200, 1.0), Quota(6000, 60.0)])
    (2, 0.02)
    """
    per_second = min(quota.per_second for quota in quotas)
    at_once = max(2, math.ceil(per_second * CATCH_UP_S))
    return at_once, at_once / per_second


class Gate:
    """Windows of every quota, even spacing within them, and the vendor's own pause.

    clock  monotonic seconds
    sleep  waits that many seconds
    """

    def __init__(
        self,
        quotas: Sequence[Quota],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._windows = [WindowLog(quota) for quota in quotas]
        self._limiter = AsyncLimiter(*spacing(quotas))
        self._margin = Margin()
        self._margin_s = self._margin.s()
        self._clock = clock
        self._sleep = sleep
        self._pause_until_s = -math.inf
        self._turn = anyio.Lock(fast_acquire=True)
        self._waiting = 0
        self._departed_s: list[float] = []

    async def permit(self) -> None:
        """Wait until one request may leave, and count it as left."""
        if not self._waiting and self._wait_s() <= 0 and self._limiter.has_capacity():
            await self._limiter.acquire()
            self._leave()
            return
        self._waiting += 1
        try:
            async with self._turn:
                await self._wait_for_turn()
                self._leave()
        finally:
            self._waiting -= 1

    async def _wait_for_turn(self) -> None:
        await self._limiter.acquire()
        while (wait_s := self._wait_s()) > 0:
            await self._sleep(wait_s)

    def _wait_s(self) -> float:
        free_at_s = self._pause_until_s
        for window in self._windows:
            free_at_s = max(free_at_s, window.free_at_s(self._margin_s))
        return free_at_s - self._clock()

    def _leave(self) -> None:
        now_s = self._clock()
        self._departed_s.append(now_s)
        for window in self._windows:
            window.left(now_s)

    def recall(self, ages_s: Sequence[float], pause_left_s: float) -> None:
        """Count in what left before this gate was made.

        ages_s        how long ago requests left, oldest first
        pause_left_s  of the vendor's own pause; 0 where there is none
        """
        now_s = self._clock()
        for age_s in ages_s:
            for window in self._windows:
                window.left(now_s - age_s)
        self._pause_until_s = max(self._pause_until_s, now_s + pause_left_s)

    def take_ages_s(self) -> list[float]:
        """How long ago requests left that no call told of yet, oldest first."""
        departed_s, self._departed_s = self._departed_s, []
        now_s = self._clock()
        return [now_s - left_s for left_s in departed_s]

    @property
    def longest_s(self) -> float:
        """The longest window of the quotas."""
        return max(window.quota.per_s for window in self._windows)

    def heard(self, answer: Answer, round_trip_s: float) -> None:
        """Learn from an answer: its round trip, its throttling, the pause it asks for."""
        if answer.http_status is not None:
            self._margin.replied(round_trip_s)
        pause_s = answer.retry_after_s
        if answer.verdict is Verdict.THROTTLED:
            self._margin.throttled()
            pause_s = THROTTLE_PAUSE_S if pause_s is None else pause_s
        self._margin_s = self._margin.s()
        if pause_s is not None:
            self._pause_until_s = max(self._pause_until_s, self._clock() + pause_s)

    def pause_left_s(self) -> float:
        """Seconds until the vendor's own pause ends; 0 where there is none."""
        return max(0.0, self._pause_until_s - self._clock())


class Door:
    """One account's way through a gate that others may use as well: closed for it alone."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._inside: set[anyio.CancelScope] = set()
        self._is_closed = False
        self.heard = gate.heard
        self.pause_left_s = gate.pause_left_s

    @contextmanager
    def while_open(self) -> Iterator[None]:
        """The block is broken off, quietly, where the door is closed or closes."""
        with anyio.CancelScope() as scope:
            if self._is_closed:
                scope.cancel()
            self._inside.add(scope)
            try:
                yield
            finally:
                self._inside.discard(scope)

    async def permit(self) -> bool:
        """Wait until one request may leave, and count it as left. False: the door was closed."""
        if self._is_closed:
            return False
        with self.while_open():
            await self._gate.permit()
            return True
        return False

    async def permit_again(self) -> bool:
        """A second permit for a request that did not leave when its first one said.

        False where it does not come soon: the request had better stand in line anew.
        """
        with anyio.move_on_after(LATE_MOST_S):
            return await self.permit()
        return False

    def close(self) -> None:
        """No request leaves here any more; whoever waits is told so."""
        self._is_closed = True
        for scope in tuple(self._inside):
            scope.cancel()
