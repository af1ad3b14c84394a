"""Workers that wait for something to do, woken one by one."""

from __future__ import annotations

from collections import deque

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
