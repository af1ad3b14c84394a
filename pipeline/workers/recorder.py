"""Writes claims and results to the ledger: many in one commit.

A claim records that a row may be sent from now on. Nothing is sent before its claim is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio

from pipeline.model import PipelineError, RowResult
from pipeline.model.exchange import Exchange
from pipeline.workers.writer_thread import WriterThread

COMMIT_EVERY_S = 0.020
"""The longest time a result waits for others to share its commit."""

MAX_PENDING = 10_000
"""With more uncommitted results, no further row is sent."""

Record = Callable[
    [Sequence[int], Sequence[RowResult], Sequence[Exchange], Sequence[tuple[int, str]]], None
]
Release = Callable[[Sequence[int]], None]


@dataclass(slots=True)
class _Batch:
    """What one commit records, and who is called back."""

    claims: list[int] = field(default_factory=list)
    previous_states: list[tuple[int, str]] = field(default_factory=list)
    on_claimed: list[Callable[[bool], None]] = field(default_factory=list)
    results: list[RowResult] = field(default_factory=list)
    on_recorded: list[Callable[[], None]] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.on_claimed or self.results)


class Recorder:
    """Group commits, written by a thread that lives as long as `run`.

    Each callable runs in that thread, one call at a time, and MUST return only once its data is
    durable. After a PipelineError nothing more is recorded: `on_failure` is called with it once,
    and `run` raises it at the end.

    record   writes claims, results, exchanges and previous states
    release  removes claims of rows that were never sent
    """

    def __init__(self, record: Record, release: Release = lambda _rows: None) -> None:
        self._record = record
        self._release = release
        self.on_failure: Callable[[PipelineError], None] = lambda _error: None
        self.failure: PipelineError | None = None
        self._bug: BaseException | None = None
        self._pending = _Batch()
        self._unsent: list[int] = []
        self._unrecorded: list[RowResult] = []
        self._on_room: set[Callable[[], None]] = set()
        self._thread: WriterThread | None = None  # only while `run` runs
        self._is_committing = False
        self._is_urgent = False
        self._next: asyncio.Handle | None = None  # begins the next commit
        self._is_closed = False
        self._is_over = False
        self._end_of_run = anyio.Event()
        self._commit_over = anyio.Event()

    def claim_then(
        self,
        rows: Sequence[int],
        previous_states: Sequence[tuple[int, str]],
        on_recorded: Callable[[bool], None],
    ) -> None:
        """Record that `rows` may be sent from now on, then call `on_recorded` in the event loop.

        After a kill, all rows of a window count as sent unless they have a result. So a window of
        rows that may not be repeated should hold no more rows than can be in flight.

        previous_states  rows and what their entities hold
        on_recorded      called once, never before this returns: with True once all of it is
                         durable, with False if the record has failed
        """
        if self.failure is not None or self._is_over or not (rows or previous_states):
            is_recorded = self.failure is None and not self._is_over
            asyncio.get_running_loop().call_soon(on_recorded, is_recorded)
            return
        pending = self._pending
        pending.claims += rows
        pending.previous_states += previous_states
        pending.on_claimed.append(on_recorded)
        self._hurry()

    def release_claims(self, rows: Sequence[int]) -> None:
        """Release claims of rows that were certainly never sent."""
        self._unsent += rows

    def end(
        self,
        results: Sequence[RowResult],
        on_recorded: Callable[[], None],
        *,
        exchanges: Sequence[Exchange] = (),
        is_awaited: bool = False,
    ) -> None:
        """Record `results` together; `on_recorded` is called once they are committed.

        exchanges   recorded with them
        is_awaited  True commits at once: a row waits for one of these results
        """
        pending = self._pending
        pending.results += results
        pending.exchanges += exchanges
        pending.on_recorded.append(on_recorded)
        if is_awaited:
            self._hurry()
        elif self._next is None:
            self._schedule()

    @property
    def unrecorded(self) -> list[RowResult]:
        """Results that could not be recorded, and all results after them."""
        return [*self._unrecorded, *self._pending.results]

    @property
    def is_full(self) -> bool:
        """True if too many results wait for their commit."""
        return len(self._pending.results) >= MAX_PENDING

    def call_when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, after the next commit: fewer results may wait then."""
        self._on_room.add(callback)

    def close(self) -> None:
        """Accept no more results; `run` ends once all are recorded."""
        self._is_closed = True
        self._end_of_run.set()

    async def run(self) -> None:
        """Commit until closed; if cancelled, commit the rest first.

        raises  the PipelineError that a callable raised
        """
        self._thread = WriterThread("recorder")
        try:
            self._schedule()
            await self._end_of_run.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._commit_rest()
            self._is_over = True
            self._thread.close()
            self._thread = None
        if (error := self._bug or self.failure) is not None:
            raise error

    # Commits begin in the event loop, and are over in it...

    def _hurry(self) -> None:
        """Begin a commit as soon as the others that are ready now have added theirs."""
        if not self._is_urgent:
            self._is_urgent = True
            self._schedule()

    def _schedule(self) -> None:
        """Plan the next commit; after one that is under way, this is done again."""
        if self._thread is None or self._is_committing or self._pending.is_empty:
            return
        if self._next is not None:
            self._next.cancel()
        if self._is_urgent:
            self._next = self._thread.loop.call_soon(self._commit)
        else:
            self._next = self._thread.loop.call_later(COMMIT_EVERY_S, self._commit)

    def _commit(self) -> None:
        if self._thread is None:
            return
        if self._next is not None:
            self._next.cancel()
            self._next = None
        batch, self._pending = self._pending, _Batch()
        self._is_committing, self._is_urgent = True, False
        on_done = partial(self._on_commit, batch)
        if self.failure is None:
            self._thread.put(partial(self._write, batch), on_done)
        else:
            self._thread.loop.call_soon(on_done, self.failure)

    def _write(self, batch: _Batch) -> None:
        """Runs in the thread."""
        self._record(batch.claims, batch.results, batch.exchanges, batch.previous_states)

    def _on_commit(self, batch: _Batch, error: BaseException | None) -> None:
        """Tell everybody who waited for this commit; then plan the next one."""
        if error is not None:
            self._unrecorded += batch.results
            self._note(error)
        try:
            for on_claimed in batch.on_claimed:
                on_claimed(error is None)
            if error is None:
                for on_recorded in batch.on_recorded:
                    on_recorded()
        except Exception as raised:  # noqa: BLE001 - `run` raises it
            self._note(raised)
        self._is_committing = False
        on_room, self._on_room = self._on_room, set()
        for callback in on_room:
            callback()
        self._commit_over.set()
        self._schedule()

    def _note(self, error: BaseException) -> None:
        if not isinstance(error, PipelineError):
            self._bug = error
            self._end_of_run.set()
        elif self.failure is None:
            self.failure = error
            self.on_failure(error)

    async def _commit_rest(self) -> None:
        """Commit what is left, then release claims of rows that were never sent."""
        while self._is_committing or not self._pending.is_empty:
            self._commit_over = anyio.Event()
            if not self._is_committing:
                self._commit()
            await self._commit_over.wait()
        if self._unsent and self._is_closed and self.failure is None and self._thread is not None:
            self._is_committing = True
            self._commit_over = anyio.Event()
            release = partial(self._release, self._unsent)
            self._thread.put(release, partial(self._on_commit, _Batch()))
            await self._commit_over.wait()
            self._unsent = []
