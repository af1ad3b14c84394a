"""Claims and results on their way to the record: many in one commit, none released before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from pipeline.model import PipelineError, RowResult
from pipeline.model.exchange import Exchange
from pipeline.workers.slots import WaitList

COMMIT_EVERY_S = 0.020
"""The most that a result waits for company."""

MOST_PENDING = 10_000
"""With more results waiting, no further row is sent."""

Record = Callable[[Sequence[int], Sequence[RowResult], Sequence[Exchange]], None]
Release = Callable[[Sequence[int]], None]
RecordPrevious = Callable[[Sequence[tuple[int, str]]], None]


class Recorder:
    """Group commits.

    record   puts claims, results and exchanges on record; when it returns they are. Runs in a
             thread, one call at a time. Where it raises PipelineError nothing more is recorded:
             `fails` is called with it once, and `run` raises it in the end
    release  takes claims back, in the same manner
    record_previous     puts on record what entities of rows held, before these are claimed; in the same manner
    """

    def __init__(
        self,
        record: Record,
        release: Release = lambda _rows: None,
        record_previous: RecordPrevious = lambda _previous_states: None,
    ) -> None:
        self._record = record
        self._record_previous = record_previous
        self._previous_states: list[tuple[int, str]] = []
        self._release = release
        self.on_failure: Callable[[PipelineError], None] = lambda _error: None
        self.failure: PipelineError | None = None
        self._claims: list[int] = []
        self._unsent: list[int] = []
        self._results: list[tuple[RowResult, Callable[[], None]]] = []
        self._exchanges: list[Exchange] = []
        self._committed = anyio.Event()
        self._news = anyio.Event()
        self._hurry = anyio.Event()
        self._room = WaitList()
        self._is_closed = False
        self._unrecorded: list[RowResult] = []

    async def claim(
        self, rows: Sequence[int], previous_states: Sequence[tuple[int, str]] = ()
    ) -> bool:
        """Put on record that `rows` may be sent from now on. False: nothing can be any more.

        previous_states  rows and what their entities hold, on record before the claims are
        """
        if self.failure is not None:
            return False
        if rows or previous_states:
            self._claims += rows
            self._previous_states += previous_states
            self._news.set()
            self._hurry.set()
            await self._committed.wait()
        return self.failure is None

    def release_claims(self, rows: Sequence[int]) -> None:
        """These rows were claimed and certainly never sent."""
        self._unsent += rows

    def end(
        self,
        result: RowResult,
        on_recorded: Callable[[], None],
        *,
        exchange: Exchange | None = None,
        is_awaited: bool = False,
    ) -> None:
        """Record `result`; `then` is called once that is done.

        exchange    to be kept with it
        is_awaited  somebody waits for it: do not wait for company
        """
        self._results.append((result, on_recorded))
        if exchange is not None:
            self._exchanges.append(exchange)
        self._news.set()
        if is_awaited:
            self._hurry.set()

    @property
    def unrecorded(self) -> list[RowResult]:
        """Results that could not be put on record, and all that came after them."""
        return [*self._unrecorded, *(result for result, _ in self._results)]

    @property
    def is_full(self) -> bool:
        """Whether too many results wait for the disk."""
        return len(self._results) >= MOST_PENDING

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
        """Commit until closed. What is left when this is cancelled is still committed.

        Raises what kept results from being recorded.
        """
        try:
            while not self._is_closed:
                await self._news.wait()
                with anyio.move_on_after(COMMIT_EVERY_S):
                    await self._hurry.wait()
                await self._commit()
        finally:
            with anyio.CancelScope(shield=True):
                await self._commit()
        if self.failure is not None:
            raise self.failure

    async def _commit(self) -> None:
        claims, self._claims = self._claims, []
        previous_states, self._previous_states = self._previous_states, []
        batch, self._results = self._results, []
        exchanges, self._exchanges = self._exchanges, []
        committed, self._committed = self._committed, anyio.Event()
        if not self._is_closed:
            self._news = anyio.Event()
            self._hurry = anyio.Event()
        results = [result for result, _ in batch]
        try:
            await self._write(claims, results, exchanges, previous_states)
        finally:
            committed.set()
        if self.failure is None:
            for _, on_recorded in batch:
                on_recorded()
        self._room.wake_all()

    async def _write(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange],
        previous_states: Sequence[tuple[int, str]],
    ) -> None:
        if self.failure is not None:
            self._unrecorded += results
            return
        try:
            with anyio.CancelScope(shield=True):  # a commit is never cancelled half-way
                if previous_states:
                    await anyio.to_thread.run_sync(self._record_previous, previous_states)
                if claims or results:
                    await anyio.to_thread.run_sync(self._record, claims, results, exchanges)
                if self._unsent and self._is_closed:
                    await anyio.to_thread.run_sync(self._release, self._unsent)
                    self._unsent = []
        except PipelineError as error:
            self._unrecorded += results
            self.failure = error
            self.on_failure(error)
        except BaseException:
            self._unrecorded += results
            raise
