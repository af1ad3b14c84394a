"""Order of runs that share an account or another key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio


class KeyedQueue:
    """Runs that share a key one after the other, in the order of `join`, and all others at once."""

    def __init__(self) -> None:
        self._joined: list[tuple[frozenset[str], anyio.Event]] = []

    def join(self, keys: Iterable[str]) -> AbstractAsyncContextManager[None]:
        """Return a context manager that waits for every earlier entry that shares a key.

        The entry ends with its block. The caller must enter it, or later entries wait forever.
        """
        own_keys, ended = frozenset(keys), anyio.Event()
        awaited = [other_ended for others, other_ended in self._joined if others & own_keys]
        self._joined.append((own_keys, ended))
        return self._wait(awaited, ended)

    @asynccontextmanager
    async def _wait(self, awaited: list[anyio.Event], ended: anyio.Event) -> AsyncIterator[None]:
        try:
            for each in awaited:
                await each.wait()
            yield
        finally:
            ended.set()
            self._joined = [entry for entry in self._joined if entry[1] is not ended]
