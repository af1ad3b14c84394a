"""Runs that share a place go one after the other, in the order in which they joined."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio


class KeyedQueue:
    """Who waits for whom; those that share nothing go side by side."""

    def __init__(self) -> None:
        self._joined: list[tuple[frozenset[str], anyio.Event]] = []

    def join(self, places: Iterable[str]) -> AbstractAsyncContextManager[None]:
        """Stand in line behind all that joined before and share a place; enter it to wait."""
        mine, over = frozenset(places), anyio.Event()
        awaited = [theirs_over for theirs, theirs_over in self._joined if theirs & mine]
        self._joined.append((mine, over))
        return self._turn(awaited, over)

    @asynccontextmanager
    async def _turn(self, awaited: list[anyio.Event], over: anyio.Event) -> AsyncIterator[None]:
        try:
            for each in awaited:
                await each.wait()
            yield
        finally:
            over.set()
            self._joined = [entry for entry in self._joined if entry[1] is not over]
