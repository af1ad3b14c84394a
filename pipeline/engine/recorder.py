"""Results on their way to the record: many in one commit, none released before it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from pipeline.engine.waiting import WaitList
from pipeline.model import RowResult

COMMIT_EVERY_S = 0.020
"""The most that a result waits for company."""

MOST_PENDING = 10_000
"""With more results waiting, no further row is sent."""


class Recorder:
    """Group commits.

    write  puts results on record; when it returns they are. Runs in a thread, one call at a time.
           What it raises ends the run
    """

    def __init__(self, write: Callable[[Sequence[RowResult]], None]) -> None:
        self._write = write
        self._pending: list[tuple[RowResult, Callable[[], None]]] = []
        self._news = anyio.Event()
        self._hurry = anyio.Event()
        self._room = WaitList()
        self._is_closed = False
        self._lost: list[RowResult] = []

    def end(self, result: RowResult, then: Callable[[], None], *, is_awaited: bool = False) -> None:
        """Record `result`; `then` is called once that is done.

        is_awaited  somebody waits for it: do not wait for company
        """
        self._pending.append((result, then))
        self._news.set()
        if is_awaited:
            self._hurry.set()

    @property
    def unrecorded(self) -> list[RowResult]:
        """Results that could not be put on record, and all that came after them."""
        return [*self._lost, *(result for result, _ in self._pending)]

    @property
    def is_full(self) -> bool:
        """Whether too many results wait for the disk."""
        return len(self._pending) >= MOST_PENDING

    async def wait_for_room(self) -> None:
        """Back-pressure: returns once few enough results wait."""
        while self.is_full:
            await self._room.wait()

    def close(self) -> None:
        """No more results come; `run` ends once all are on record."""
        self._is_closed = True
        self._news.set()
        self._hurry.set()

    async def run(self) -> None:
        """Commit until closed. What is left when this is cancelled is still committed."""
        try:
            while not self._is_closed:
                await self._news.wait()
                with anyio.move_on_after(COMMIT_EVERY_S):
                    await self._hurry.wait()
                await self._commit()
        finally:
            with anyio.CancelScope(shield=True):
                await self._commit()

    async def _commit(self) -> None:
        batch, self._pending = self._pending, []
        if not self._is_closed:
            self._news = anyio.Event()
            self._hurry = anyio.Event()
        if not batch:
            return
        results = [result for result, _ in batch]
        if self._lost:
            self._lost += results
            return
        try:
            with anyio.CancelScope(shield=True):  # a commit is never cancelled half-way
                await anyio.to_thread.run_sync(self._write, results)
        except BaseException:
            self._lost += results
            raise
        for _, then in batch:
            then()
        self._room.wake_all()
