"""Workers that wait: for something to do, or for room, called one by one."""

from __future__ import annotations

from collections import deque
from types import TracebackType

import anyio


class WaitList:
    """Who waits, in order of arrival. One event each: a wake-up stirs no more than it must."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[anyio.Event] = deque()

    async def wait(self) -> None:
        """Wait until woken. Look at the state again afterwards: others may have been faster."""
        event = anyio.Event()
        self._events.append(event)
        try:
            await event.wait()
        except BaseException:
            if event in self._events:
                self._events.remove(event)
            raise

    def wake(self, count: int = 1) -> None:
        """Wake the first `count` waiters, fewer where fewer wait."""
        for _ in range(min(count, len(self._events))):
            self._events.popleft().set()

    def wake_all(self) -> None:
        """Wake everyone."""
        self.wake(len(self._events))


class Slots:
    """Room for so many at once; how many may change while they are taken."""

    __slots__ = ("_limit", "_taken", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting = WaitList()

    @property
    def limit(self) -> int:
        """So many may be inside; where it falls, those inside stay."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._waiting.wake(limit - self._taken)

    async def __aenter__(self) -> None:
        while self._taken >= self._limit:
            await self._waiting.wait()
        self._taken += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._taken -= 1
        self._waiting.wake(self._limit - self._taken)
