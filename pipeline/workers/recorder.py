"""Writes claims and results to the ledger: many in one commit.

A claim records that a row may be sent from now on. Nothing is sent before its claim is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import anyio.to_thread

from pipeline.model import PipelineError, RowResult
from pipeline.model.exchange import Exchange
from pipeline.workers.slots import WaitList

COMMIT_EVERY_S = 0.020
"""The longest time a result waits for others to share its commit."""

MAX_PENDING = 10_000
"""With more uncommitted results, no further row is sent."""

Record = Callable[[Sequence[int], Sequence[RowResult], Sequence[Exchange]], None]
Release = Callable[[Sequence[int]], None]
RecordPrevious = Callable[[Sequence[tuple[int, str]]], None]


class Recorder:
    """Group commits.

    Each callable runs in a thread, one call at a time, and MUST return only once its data is
    durable. After a PipelineError nothing more is recorded: `on_failure` is called with it once,
    and `run` raises it at the end.

    record           writes claims, results and exchanges
    release          removes claims of rows that were never sent
    record_previous  writes what the entities of rows held, before the rows are claimed
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
        self._on_claimed: list[Callable[[bool], None]] = []
        self._unsent: list[int] = []
        self._results: list[tuple[RowResult, Callable[[], None]]] = []
        self._exchanges: list[Exchange] = []
        self._news = anyio.Event()
        self._hurry = anyio.Event()
        self._room = WaitList()
        self._is_closed = False
        self._unrecorded: list[RowResult] = []

    def claim_then(
        self,
        rows: Sequence[int],
        previous_states: Sequence[tuple[int, str]],
        on_recorded: Callable[[bool], None],
    ) -> None:
        """Record that `rows` may be sent from now on, then call `on_recorded` in the event loop.

        previous_states  rows and what their entities hold, recorded before the claims
        on_recorded      called once, never before this returns: with True once all of it is
                         durable, with False if the record has failed
        """
        if self.failure is not None or not (rows or previous_states):
            loop = asyncio.get_running_loop()
            loop.call_soon(on_recorded, self.failure is None)
            return
        self._claims += rows
        self._previous_states += previous_states
        self._on_claimed.append(on_recorded)
        self._news.set()
        self._hurry.set()

    async def claim(
        self, rows: Sequence[int], previous_states: Sequence[tuple[int, str]] = ()
    ) -> bool:
        """Record that `rows` may be sent from now on; False if the record has failed.

        previous_states  rows and what their entities hold, recorded before the claims
        """
        recorded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.claim_then(rows, previous_states, partial(_resolve, recorded))
        return await recorded

    def release_claims(self, rows: Sequence[int]) -> None:
        """Release claims of rows that were certainly never sent."""
        self._unsent += rows

    def end(
        self,
        result: RowResult,
        on_recorded: Callable[[], None],
        *,
        exchange: Exchange | None = None,
        is_awaited: bool = False,
    ) -> None:
        """Record `result`; `on_recorded` is called once it is committed.

        exchange    recorded with it
        is_awaited  True commits at once: a row waits for this result
        """
        self._results.append((result, on_recorded))
        if exchange is not None:
            self._exchanges.append(exchange)
        self._news.set()
        if is_awaited:
            self._hurry.set()

    @property
    def unrecorded(self) -> list[RowResult]:
        """Results that could not be recorded, and all results after them."""
        return [*self._unrecorded, *(result for result, _ in self._results)]

    @property
    def is_full(self) -> bool:
        """True if too many results wait for their commit."""
        return len(self._results) >= MAX_PENDING

    async def wait_for_room(self) -> None:
        """Return once few enough results wait for their commit (back-pressure)."""
        while self.is_full:
            await self._room.wait()

    def close(self) -> None:
        """Accept no more results; `run` ends once all are recorded."""
        self._is_closed = True
        self._news.set()
        self._hurry.set()

    async def run(self) -> None:
        """Commit until closed; if cancelled, commit the rest first.

        raises  the PipelineError that a callable raised
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
        on_claimed, self._on_claimed = self._on_claimed, []
        if not self._is_closed:
            self._news = anyio.Event()
            self._hurry = anyio.Event()
        results = [result for result, _ in batch]
        is_recorded = False
        try:
            await self._write(claims, results, exchanges, previous_states)
            is_recorded = self.failure is None
        finally:
            for on_recorded in on_claimed:
                on_recorded(is_recorded)
        if is_recorded:
            for _, on_end in batch:
                on_end()
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


def _resolve(
    recorded: asyncio.Future[bool],
    is_recorded: bool,  # noqa: FBT001 - as every `on_recorded` is called
) -> None:
    if not recorded.done():  # else its task was cancelled
        recorded.set_result(is_recorded)
