"""Moves an account's batches from its queue to the wire. Called back at each step, it never waits.

A batch is taken from the queue, claimed on record together with others, and sent once there are a
place among the requests in flight, an open connection and a permit. Only reads and connecting are
tasks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Reversible, Sequence
from functools import partial
from itertools import count, islice, takewhile
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from pipeline.model import NoReply
from pipeline.pacing.account_limiter import AccountLimiter, Permit
from pipeline.workers.attempts import Attempts, InFlight
from pipeline.workers.batches import Batch, Row
from pipeline.workers.claim_ahead import ClaimAhead
from pipeline.workers.dependencies import Dependencies, RequestOutcome
from pipeline.workers.reads import Reads
from pipeline.workers.recorder import Recorder
from pipeline.workers.row import Finish, Step, forget_precheck

CONNECT_AHEAD_S = 0.1
"""Connections are opened at the same time for as many requests as get their permits within this."""

UNDECIDED_PER_PLACE = 2
"""Requests in flight, and replies that are held, per place in flight, if a result may stop the
account: so many rows may still be changed after the one that stops it."""

_Planned = tuple[Batch, Step | Finish]
"""A batch that was taken, and its next request."""


class Owner(Protocol):
    """Decides what is sent next, and when nothing more is."""

    def next_batch(self, ahead: int) -> Batch:
        """Take the next batch that may be sent; empty if there is none now.

        ahead  how many batches may wait claimed
        """

    def next_batches(self, ahead: int) -> list[Batch]:
        """As `next_batch`, as often as it gives one; only while `is_calm`."""

    @property
    def is_calm(self) -> bool:
        """True if all that was answered lately was a success: another one changes only counts."""

    def on_successes(self, last: Row, latest_s: float) -> None:
        """As `on_outcome` for updates of one row that were OK, while `is_calm`.

        last      the row of the last of them
        latest_s  when the last one was sent
        """

    def on_idle(self) -> None:
        """No batch is taken, and none can be now."""

    def on_outcome(self, outcome: RequestOutcome | None, batch: Batch, sent_s: float) -> None:
        """A request for `batch` that was sent at `sent_s` has ended."""


class Pump:
    """Claims and sends the batches of one account.

    failure  the error that ended it; None if none did
    """

    def __init__(
        self,
        deps: Dependencies,
        account_limiter: AccountLimiter,
        recorder: Recorder,
        attempts: Attempts,
        reads: Reads,
        *,
        owner: Owner,
    ) -> None:
        self._wire = deps.wire
        self._queue = deps.queue
        self._traffic = deps.traffic
        self._concurrency = deps.concurrency
        self._undecided = deps.undecided
        self._clock = deps.environment.clock
        self._account_limiter = account_limiter
        self._recorder = recorder
        self._attempts = attempts
        self._reads = reads
        self._result_writer = deps.result_writer
        self._owner = owner
        self._is_gated = deps.environment.is_gated
        if self._is_gated:
            attempts.held_replies.on_release = self.call_soon
        self.failure: BaseException | None = None
        self._ahead = ClaimAhead()
        self._claiming: dict[int, list[_Planned]] = {}  # id -> window
        self._claiming_batches = 0
        self._ready: deque[_Planned] = deque()
        self._in_flight: set[InFlight] = set()
        self._ended_requests: deque[InFlight] = deque()  # whose ends are acted on together
        self._busy = 0  # places in use: requests in flight, reads, connections being opened
        self._connecting = 0
        self._waits_for_permit = False
        self._admitted = 0  # of the ready batches: they wait for a permit and have a place
        self._is_called_soon = False
        self._is_running = self._is_stopping = False
        self._ended = anyio.Event()
        self._tasks: TaskGroup
        self._loop: asyncio.AbstractEventLoop

    async def run(self, tasks: TaskGroup) -> None:
        """Send until `end` is called; reads and connecting are tasks of `tasks`.

        raises  what a bug raised in a callback
        """
        self._tasks, self._loop = tasks, asyncio.get_running_loop()
        self._is_running = True
        self.call_soon()
        try:
            await self._ended.wait()
        finally:
            self._is_running = False
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Send nothing more; requests in flight finish."""
        self._is_stopping = True
        self.call_soon()

    def end(self) -> None:
        """Let `run` return."""
        self._ended.set()

    def release(self) -> None:
        """Return what is claimed and not sent to the queue, and abort what is in flight.

        Only once `run` has ended.
        """
        while self._ended_requests:
            self._guarded(self._on_end, self._ended_requests.popleft())
        for request in tuple(self._in_flight):
            self._wire.abort(request.connection)
            self._attempts.on_abort(request.batch)
            self._concurrency.release(request.batch)
            request.on_reply()
        self._in_flight.clear()
        for window in self._claiming.values():
            self._put_back(window)
        self._claiming.clear()
        self.put_back_ready()

    def put_back_ready(self) -> None:
        """Return the batches that wait to be sent to the queue."""
        ready, self._ready = self._ready, deque()
        self._admitted = 0
        self._put_back(ready)

    def call_soon(self) -> None:
        """Look soon whether something can be taken or sent."""
        if self._is_running and not self._is_called_soon:
            self._is_called_soon = True
            self._loop.call_soon(self._guarded, self._on_call)

    def _on_call(self) -> None:
        self._is_called_soon = False
        self._act_on_ends()
        self._pump()

    def _pump(self) -> None:
        if not self._is_running:
            return
        if self._is_stopping:
            self.put_back_ready()
        else:
            self._take()
            if self._ready:
                self._send_ready()
        if not self._concurrency.taken:
            self._owner.on_idle()

    @property
    def _is_calm(self) -> bool:
        """True if another plain success changes only counts, so that many are acted on at once."""
        return not self._is_gated and self._owner.is_calm and self._account_limiter.is_plain

    def _guarded(self, act: Callable[..., None], *given: Any) -> None:
        """Call `act`; an error of it ends `run`, for nobody awaits a callback."""
        try:
            act(*given)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.failure = self.failure or error
            self._ended.set()

    # Taking and claiming...

    def _take(self) -> None:
        """Take batches, and claim those together that are not claimed yet."""
        limit = self._concurrency.limit
        window: list[_Planned] = []
        if not self._ahead.is_low(limit, len(self._ready) + self._claiming_batches):
            return
        if self._recorder.is_full:  # maybe with results of other accounts
            self._recorder.call_when_room(self.call_soon)
            return
        for batch in self._next_batches(self._ahead.rows(limit)):
            step = self._reads.next_step(batch)
            if step is Step.PRECHECK:
                forget_precheck(batch[0])
                self._make_ready((batch, step))
            elif batch[0].is_claimed and all(row.is_claimed for row in batch):
                self._make_ready((batch, step))
            else:
                window.append((batch, step))
        if window:
            self._claim(window)

    def _next_batches(self, ahead: int) -> Iterator[Batch]:
        if self._is_calm:
            yield from self._owner.next_batches(ahead)
        while batch := self._owner.next_batch(ahead):
            yield batch

    def _make_ready(self, planned: _Planned) -> None:
        batch, _ = planned
        if self._concurrency.is_probe(batch) or self._undecided.probe is batch:
            self._ready.appendleft(planned)
        else:
            self._ready.append(planned)

    def _claim(self, window: list[_Planned]) -> None:
        """Record that the batches of `window` may be sent, and their previous states."""
        rows = [row for batch, _ in window for row in batch if not row.is_claimed]
        previous_states = [
            (row.job.row, row.previous_state)
            for batch, _ in window
            for row in batch
            if row.previous_state and not row.in_doubt
        ]
        for row in rows:
            row.is_claimed = True  # if it is released meanwhile, the claim may be on record or not
        self._claiming[id(window)] = window
        self._claiming_batches += len(window)
        self._recorder.claim_then(
            [row.job.row for row in rows],
            previous_states,
            partial(self._guarded, self._on_claimed, window, rows),
        )

    def _on_claimed(
        self,
        window: list[_Planned],
        rows: Sequence[Row],
        is_recorded: bool,  # noqa: FBT001 - as the recorder calls it
    ) -> None:
        if self._claiming.pop(id(window), None) is None:
            return  # they were put back meanwhile
        self._claiming_batches -= len(window)
        if not is_recorded:
            for row in rows:
                row.is_claimed = False
            self._put_back(window)
            return
        self._ahead.on_claimed(self._concurrency.limit, len(self._ready))
        if self._concurrency.is_calm and self._undecided.probe is None:
            self._ready += window
        else:
            for planned in window:
                self._make_ready(planned)
        self._pump()

    def _put_back(self, planned: Reversible[_Planned]) -> None:
        """Return batches that are not sent now to the queue."""
        for batch, _ in reversed(planned):
            self._give_back(batch)
            self._queue.put_back(batch)

    def _give_back(self, batch: Batch) -> None:
        """Release what `batch` holds: it was sent, or is not sent now."""
        self._concurrency.release(batch)
        if self._undecided.probe is batch:
            self._undecided.probe = None

    # Sending...

    def _send_ready(self) -> None:
        """Send what may be sent now."""
        ready, concurrency, undecided = self._ready, self._concurrency, self._undecided
        limit, are_probes_alone = (
            concurrency.limit,
            undecided.is_suspected or concurrency.is_probing,
        )
        self._send_many()
        while ready:
            batch, step = ready[0]
            # requests in flight may hang while the vendor is down: a probe needs no place
            is_full = self._busy >= limit and not self._admitted
            if (is_full or self._has_many_undecided) and not concurrency.is_probe(batch):
                return
            if are_probes_alone and not self._may_send(batch):
                self._put_back([ready.popleft()])
                self.call_soon()
            elif step is Step.UPDATE or self._is_prechecked(batch, step):
                if not self._send(batch):
                    return
            else:
                self._read_first(*ready.popleft())
        if self._busy < limit and self._claiming:
            self._ahead.on_ran_out()

    @property
    def _has_many_undecided(self) -> bool:
        if not self._is_gated:
            return False
        undecided = self._busy + len(self._attempts.held_replies)
        return undecided >= UNDECIDED_PER_PLACE * self._concurrency.limit

    def _read_first(self, batch: Batch, step: Step | Finish) -> None:
        """Make a request for `batch` that is no update, or end it."""
        if isinstance(step, Finish):
            self._result_writer.end(batch[0], step.answer, step.status)
            self._give_back(batch)
            self.call_soon()
        else:
            self._busy += 1
            read = self._precheck if step is Step.PRECHECK else self._read
            self._tasks.start_soon(read, batch, step)

    def _is_prechecked(self, batch: Batch, step: Step | Finish) -> bool:
        row = batch[0]
        return step is Step.PRECHECK and row.is_prechecked and self._reads.is_fresh(row)

    def _send_many(self) -> None:
        """Send the first ready batches together, if nothing but places, connections and permits
        decides how many.
        """
        ready = self._ready
        if not self._is_calm or self._waits_for_permit or self._admitted:
            return
        most = self._concurrency.limit - self._busy
        updates = takewhile(lambda planned: planned[1] is Step.UPDATE, islice(ready, max(0, most)))
        most = self._account_limiter.free(sum(1 for _ in updates))
        if connections := self._wire.take(most):
            self._start([ready.popleft()[0] for _ in connections], connections)

    def _send(self, batch: Batch) -> bool:
        """Send the first ready batch; False if it has to wait."""
        if self._waits_for_permit:
            return False
        if not self._account_limiter.free(1):
            self._wait_for_permit()
            return False
        connections = self._wire.take(1)
        if not connections:
            return self._connect_first()
        self._ready.popleft()
        self._start([batch], connections)
        return True

    def _connect_first(self) -> bool:
        """Have a connection opened for the first ready batch; False if that has to wait."""
        if self._connecting >= max(1.0, self._account_limiter.per_second * CONNECT_AHEAD_S):
            return False
        self._busy += 1
        self._connecting += 1
        self._tasks.start_soon(self._connect, *self._ready.popleft())
        return True

    def _wait_for_permit(self) -> None:
        # a limit that falls meanwhile ends no place: the pace learns from whole bursts of refusals
        self._admitted = max(0, min(len(self._ready), self._concurrency.limit - self._busy))
        self._waits_for_permit = True
        self._account_limiter.call_when_free(self._on_permit)

    def _on_permit(self) -> None:
        self._waits_for_permit = False
        self._guarded(self._pump)

    def _start(self, batches: Sequence[Batch], connections: Sequence[Any]) -> None:
        """Send `batches`, each on its connection; as many permits are free."""
        limiter, now_s = self._account_limiter, self._clock()
        numbers = count(limiter.take(len(batches)))
        requests = [
            InFlight(
                limiter,
                number,
                now_s,
                batch=batch,
                connection=connection,
                on_end=self._on_ended,
            )
            for batch, connection, number in zip(batches, connections, numbers, strict=False)
        ]
        self._busy += len(requests)
        self._admitted = max(0, self._admitted - len(requests))
        self._in_flight.update(requests)
        self._attempts.on_started(len(requests), now_s)
        for started, request in enumerate(requests):
            try:
                self._attempts.start(request)
            except BaseException:
                self._end_unstarted(requests[started:])
                raise

    def _end_unstarted(self, requests: Sequence[InFlight]) -> None:
        """End requests after a bug of ours in starting the first of them."""
        for request in requests:
            self._traffic.on_end()
            self._end(request)
        for request in requests[1:]:
            self._wire.give_back(request.connection)
            self._queue.put_back(request.batch)

    def _on_ended(self, request: InFlight) -> None:
        """Act soon on what came of a request, together with the others of this turn of the loop."""
        self._ended_requests.append(request)
        if not self._is_called_soon:
            self.call_soon()

    def _act_on_ends(self) -> None:
        """Act on what came of requests, in its order: on plain successes together."""
        ended, plain = self._ended_requests, list[InFlight]()
        is_calm = self._is_calm
        while ended:
            if is_calm and self._attempts.is_plain(ended[0]):
                plain.append(ended.popleft())
                continue
            self._on_successes(plain)
            plain = []
            self._on_end(ended.popleft())
            is_calm = self._is_calm
        self._on_successes(plain)

    def _on_successes(self, requests: Sequence[InFlight]) -> None:
        """As `_on_end` for each of `requests`."""
        if not requests:
            return
        now_s, many = self._clock(), len(requests)
        self._busy -= many
        self._in_flight.difference_update(requests)
        self._concurrency.release_many(many)
        self._account_limiter.on_successes(requests)
        self._attempts.on_successes(requests, now_s)
        self._owner.on_successes(requests[-1].batch[0], max([each.left_s for each in requests]))

    def _on_end(self, request: InFlight) -> None:
        if request.came is None:
            raise AssertionError("a request ends with what came of it")
        try:
            outcome = self._attempts.on_end(request.batch, request, request.came)
            self._owner.on_outcome(outcome, request.batch, request.left_s)
        finally:
            self._end(request)

    def _end(self, request: InFlight) -> None:
        self._busy -= 1
        self._in_flight.discard(request)
        self._give_back(request.batch)
        request.on_reply()

    # In tasks...

    async def _connect(self, batch: Batch, step: Step | Finish) -> None:
        """Open a connection, and send `batch` on it; without one the attempt has failed."""
        is_unsent = True
        left_s = self._clock()
        try:
            connection = await self._wire.connect()
            if isinstance(connection, NoReply):
                is_unsent = False
                permit = Permit(self._account_limiter, None, left_s)
                outcome = self._attempts.on_unreached(batch, permit, connection)
                self._owner.on_outcome(outcome, batch, left_s)
                self._give_back(batch)
        finally:
            self._busy -= 1
            self._connecting -= 1
            if is_unsent:
                self._ready.appendleft((batch, step))
        if is_unsent:
            self._send_on(batch, connection)
        self.call_soon()

    def _send_on(self, batch: Batch, connection: Any) -> None:
        """Send the first ready batch on a connection that was opened for it, if it may be sent."""
        is_sendable = (
            not (self._is_stopping or self._waits_for_permit)
            and self._is_running
            and self._may_send(batch)
        )
        if is_sendable and self._account_limiter.free(1):
            self._ready.popleft()
            self._start([batch], [connection])
            return
        self._wire.give_back(connection)
        if is_sendable:
            self._wait_for_permit()

    def _may_send(self, batch: Batch) -> bool:
        return self._concurrency.may_send(batch) and self._undecided.may_send(batch)

    async def _read(self, batch: Batch, step: Step) -> None:
        """Read the entity of a row that is claimed; without a permit it is put back."""
        permit: Permit | None = None
        try:
            permit = await self._permit(batch)
            if permit is not None:
                outcome = await self._reads.read(batch[0], step, permit)
                self._owner.on_outcome(outcome, batch, permit.left_s)
        finally:
            self._busy -= 1
            if permit is None:
                self._put_back([(batch, step)])
            else:
                self._give_back(batch)
                permit.on_reply()
        self.call_soon()

    async def _precheck(self, batch: Batch, step: Step) -> None:
        """Precheck a row; it is then claimed and sent if it is to be sent."""
        (row,) = batch
        permit: Permit | None = None
        is_unsent = True
        forget_precheck(row)
        try:
            permit = await self._permit(batch)
            if permit is not None:
                outcome = await self._reads.read(row, step, permit)
                self._owner.on_outcome(outcome, batch, permit.left_s)
                is_unsent = False
        finally:
            self._busy -= 1
            if permit is not None:
                permit.on_reply()
            if is_unsent:
                self._put_back([(batch, step)])
            elif not row.is_prechecked:
                self._give_back(batch)
        if row.is_prechecked:
            self._claim([(batch, step)])
        self.call_soon()

    async def _permit(self, batch: Batch) -> Permit | None:
        """Wait for a permit for one request; None if `batch` may not be sent now."""
        if not self._may_send(batch):
            return None
        number = await self._account_limiter.permit()
        return None if number is None else Permit(self._account_limiter, number, self._clock())
