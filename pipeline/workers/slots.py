"""Wait lists and slots: tasks that wait are woken one by one."""

from __future__ import annotations

from collections import deque

import anyio


class WaitList:
    """Waiting tasks in order of arrival. Each has an event of its own, so that few are woken."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[anyio.Event] = deque()

    @property
    def has_any(self) -> bool:
        """True if a task waits."""
        return bool(self._events)

    async def wait(self) -> None:
        """Wait until woken; check the state again afterwards: another task may have been faster."""
        event = anyio.Event()
        self._events.append(event)
        try:
            await event.wait()
        except BaseException:
            if event.is_set():
                self.wake()  # cancelled when it was woken already: the next one has its turn
            else:
                self._events.remove(event)
            raise

    def wake(self, count: int = 1) -> None:
        """Wake up to `count` tasks, the first ones first."""
        for _ in range(min(count, len(self._events))):
            self._events.popleft().set()


class Slots:
    """A semaphore that can be taken at once if there is room."""

    __slots__ = ("_limit", "_taken", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting = WaitList()

    @property
    def room(self) -> int:
        """How many may be taken without a wait."""
        return self._limit - self._taken

    def take(self, count: int = 1) -> None:
        """Take `count`. Only if there is room."""
        self._taken += count

    def leave(self) -> None:
        """Give back one that was taken."""
        self._taken -= 1
        if self._waiting.has_any:
            self._waiting.wake(self.room)

    async def enter(self) -> None:
        """Wait for room and take it. Leave afterwards."""
        while not self.room:
            await self._waiting.wait()
        self.take()
