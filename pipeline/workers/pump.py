"""Moves an account's batches from its queue to the wire. Called back at each step, it never waits.

A batch is taken from the queue, claimed on record together with others, and sent once there are a
place among the requests in flight, an open connection and a permit. Only reads and connecting are
tasks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from itertools import islice, takewhile
from typing import Any

import anyio
from anyio.abc import TaskGroup

from pipeline.http_client.patient_loop import PatientLoop
from pipeline.model import NoReply
from pipeline.pacing.account_limiter import Permit
from pipeline.pacing.permits import permit_for
from pipeline.pacing.spacing import CATCH_UP_S
from pipeline.workers.attempts import Attempts
from pipeline.workers.batches import Batch
from pipeline.workers.claimer import Claimer, Planned
from pipeline.workers.dependencies import Dependencies
from pipeline.workers.patience import Together, rows_ahead, together
from pipeline.workers.reads import Reads
from pipeline.workers.row import Finish, Step

CONNECT_AHEAD_S = 0.1
"""Connections are opened at the same time for as many requests as get their permits within this."""

SOON_S = 0.001
"""Seconds after which something may be taken or sent, while the quota decides when that is."""

UNDECIDED_PER_PLACE = 2
"""Requests in flight, and replies that are held, per place in flight, if a result may stop the
account: so many rows may still be changed after the one that stops it."""


class Pump:
    """Claims and sends the batches of one account.

    is_gated  True if a result may stop the account: nothing is decided about many at once
    failure   the error that ended it; None if none did
    """

    def __init__(self, deps: Dependencies, attempts: Attempts, reads: Reads) -> None:
        self._wire = deps.wire
        self._concurrency = deps.concurrency
        self._undecided = deps.undecided
        self._clock = deps.environment.clock
        self._account_limiter = deps.account_limiter
        self._attempts = attempts
        self._reads = reads
        self._result_writer = deps.result_writer
        self._owner = deps.owner
        self.is_gated = deps.environment.is_gated
        attempts.held_replies.guarded = self.guarded
        if self.is_gated:
            attempts.held_replies.on_release = self.call_soon
        self.failure: BaseException | None = None
        self._claimer = claimer = Claimer(deps, reads, self)
        self._ready = claimer.ready
        attempts.give_back, attempts.call_soon = claimer.give_back, self.call_soon
        self._in_tasks = 0  # reads, and connections being opened
        self._connecting = 0
        self._waits_for_permit = False
        self._patience: tuple[bool | None, float, int] = None, 0.0, 0  # as noted last
        self._is_patient, self._together = False, Together(0, 0.0)
        self._permit_s = -math.inf  # when the last permit came
        self._admitted = 0  # of the ready batches: they wait for a permit and have a place
        self._is_called_soon = False
        self._seen_ends = 0  # of `Attempts.ended`, in the last turn of the loop
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
        self._set_patience(False)
        self.call_soon()
        try:
            await self._ended.wait()
        finally:
            self._is_running = False
            self._set_patience(None)
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
        while self._attempts.ended:
            self.guarded(self._attempts.act_on_ends)
        self._attempts.abort()
        self._claimer.release()

    def put_back_ready(self) -> None:
        """Return the batches that wait to be sent to the queue."""
        self._admitted = 0
        self._claimer.put_back_ready()

    def call_soon(self) -> None:
        """Look soon whether something can be taken or sent."""
        if not self._is_running or self._is_called_soon:
            return
        self._is_called_soon = True
        if self._waits_for_permit and self._is_patient:  # mostly it comes before that
            self._loop.call_later(SOON_S, self.guarded, self._on_call)
        else:
            self._loop.call_soon(self.guarded, self._on_call)

    def _on_call(self) -> None:
        ended = len(self._attempts.ended)
        if ended > self._seen_ends and not (self._waits_for_permit or self._is_patient):
            # more may come in the next turn, and many cost little more
            self._seen_ends = ended
            self._loop.call_soon(self.guarded, self._on_call)
            return
        if self._is_called_soon:  # else a permit came first
            self._act()

    def _act(self) -> None:
        self._seen_ends = 0
        self._is_called_soon = False
        self._attempts.act_on_ends()
        self.look()
        if self._is_patient and not self._waits_for_permit:
            self._keep_patience()

    def look(self) -> None:
        """Take and send what can be taken and sent now."""
        if not self._is_running:
            return
        if self._is_stopping:
            self.put_back_ready()
        else:
            self._claimer.take()
            if self._ready:
                self._send_ready()
        if not self._concurrency.taken:
            self._owner.on_idle()

    def guarded(self, act: Callable[..., None], *given: Any) -> None:
        """Call `act`; an error of it ends `run`, for nobody awaits a callback."""
        try:
            act(*given)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.failure = self.failure or error
            self._ended.set()

    # Sending...

    def _send_ready(self) -> None:
        """Send what may be sent now."""
        if self._waits_for_permit and self._owner.is_calm:
            return  # those that wait for it have places: nothing may overtake them
        ready, concurrency = self._ready, self._concurrency
        limit = concurrency.limit
        are_probes_alone = self._undecided.is_suspected or concurrency.is_probing
        while ready:
            batch, _ = planned = ready[0]
            # requests in flight may hang while the vendor is down: a probe needs no place
            is_full = self._busy >= limit and not self._admitted
            if (is_full or self._has_many_undecided) and not concurrency.is_probe(batch):
                return
            if are_probes_alone and not self._may_send(batch):
                self._claimer.put_back([ready.popleft()])
                self.call_soon()
            elif not self._is_update(planned):
                self._read_first(*ready.popleft())
            elif not self._send_first():
                return
        if self._busy < limit:
            self._claimer.on_places_left()

    @property
    def _busy(self) -> int:
        """Places in use."""
        return self._in_tasks + len(self._attempts)

    @property
    def _has_many_undecided(self) -> bool:
        if not self.is_gated:
            return False
        undecided = self._busy + len(self._attempts.held_replies)
        return undecided >= UNDECIDED_PER_PLACE * self._concurrency.limit

    def _read_first(self, batch: Batch, step: Step | Finish) -> None:
        """Make a request for `batch` that is no update, or end it."""
        if isinstance(step, Finish):
            self._result_writer.end([(batch[0], step)])
            self._claimer.give_back(batch)
            self.call_soon()
        else:
            self._in_tasks += 1
            self._tasks.start_soon(self._read, batch, step)

    def _is_update(self, planned: Planned) -> bool:
        """True if the next request is an update, and may be sent."""
        batch, step = planned
        if step is not Step.PRECHECK:
            return step is Step.UPDATE
        return batch[0].is_prechecked and self._reads.is_fresh(batch[0])

    def _send_first(self) -> bool:
        """Send the first ready batch, an update; False if it has to wait.

        While the account is calm, those after it leave with it: nothing but places, connections and
        permits decides how many.
        """
        if self._waits_for_permit:
            return False
        most = 1
        if self._owner.is_calm:
            most = min(len(self._ready), max(self._admitted, self._concurrency.limit - self._busy))
        permits = self._account_limiter.free(most)
        if not permits:
            self._wait_for_permit()
            return False
        updates = takewhile(self._is_update, islice(self._ready, permits))
        connections = self._wire.take(sum(1 for _ in updates))
        if not connections:
            return self._connect_first()
        self._start_first(connections)
        if len(connections) == permits < most:
            self._wait_for_permit()
            return False
        return True

    def _start_first(self, connections: list[Any]) -> None:
        """Send the first ready batches, each on one of `connections`."""
        self._admitted = max(0, self._admitted - len(connections))
        self._attempts.start([self._ready.popleft()[0] for _ in connections], connections)

    def _connect_first(self) -> bool:
        """Have a connection opened for the first ready batch; False if that has to wait."""
        if self._connecting >= max(1.0, self._account_limiter.per_second * CONNECT_AHEAD_S):
            return False
        self._in_tasks += 1
        self._connecting += 1
        self._tasks.start_soon(self._connect, *self._ready.popleft())
        return True

    def _wait_for_permit(self) -> None:
        # a limit that falls meanwhile ends no place: the pace learns from whole bursts of refusals
        self._admitted = max(0, min(len(self._ready), self._concurrency.limit - self._busy))
        self._waits_for_permit = True
        self._set_patience(True)
        many, within_s = self._together
        look_in_s = min(within_s, self._account_limiter.many_in_s(many)) if many else 0.0
        self._account_limiter.call_when_free(self._on_permit, look_in_s)
        if many:
            self._wait_until(self._loop.time() + look_in_s)

    def _on_permit(self) -> None:
        self._waits_for_permit = False
        before_s, self._permit_s = self._permit_s, self._clock()
        if self._claimer.is_low:  # all that arrived before the last permit was read meanwhile
            self.guarded(self._attempts.held_replies.release, before_s)
        self.guarded(self._act)

    def _keep_patience(self) -> None:
        """Stay patient for a while, although something else than the quota holds rows back."""
        if self._clock() > self._permit_s + CATCH_UP_S:
            self._set_patience(False)

    def _set_patience(self, is_patient: bool | None) -> None:  # noqa: FBT001 - None: none any more
        """Note if the quota decides when the next request leaves, not the next reply."""
        per_second = self._account_limiter.per_second if is_patient else 0.0
        noted = is_patient, per_second, self._concurrency.limit
        if noted == self._patience:
            return
        self._patience = noted
        self._together = together(per_second, self._concurrency.limit)
        self._is_patient = self._together.many > 0
        self._claimer.soon = rows_ahead(per_second)
        self._attempts.held_replies.may_linger = self._is_patient and not self.is_gated
        if not self._is_patient:
            self._wait_until(None if is_patient is None else 0.0)

    def _wait_until(self, at_s: float | None) -> None:
        if isinstance(self._loop, PatientLoop):
            self._loop.patience.set_patience(self, at_s)

    # In tasks...

    async def _connect(self, batch: Batch, step: Step | Finish) -> None:
        """Open a connection, and send `batch` on it; without one the attempt has failed."""
        is_unsent = True
        left_s = self._clock()
        try:
            connection = await self._wire.connect()
            if isinstance(connection, NoReply):
                is_unsent = False
                self._attempts.on_unreached(batch, left_s, connection)
        finally:
            self._in_tasks -= 1
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
            self._start_first([connection])
            return
        self._wire.give_back(connection)
        if is_sendable:
            self._wait_for_permit()

    def _may_send(self, batch: Batch) -> bool:
        return self._concurrency.may_send(batch) and self._undecided.may_send(batch)

    async def _read(self, batch: Batch, step: Step) -> None:
        """Read the entity of a row; without a permit it is put back.

        After a precheck it is claimed and sent if it is to be sent.
        """
        (row,) = batch
        is_precheck = step is Step.PRECHECK
        permit: Permit | None = None
        was_read = False
        try:
            permit = await self._permit(batch)
            if permit is not None:
                await self._reads.read(batch, step, permit)
                was_read = True
        finally:
            self._in_tasks -= 1
            if permit is not None:
                permit.on_reply()
            if permit is None or (is_precheck and not was_read):
                self._claimer.put_back([(batch, step)])
            elif not (is_precheck and row.is_prechecked):
                self._claimer.give_back(batch)
        if was_read and is_precheck and row.is_prechecked:
            self._claimer.claim([(batch, step)])
        self.call_soon()

    async def _permit(self, batch: Batch) -> Permit | None:
        """Wait for a permit for one request; None if `batch` may not be sent now."""
        if not self._may_send(batch):
            return None
        return await permit_for(self._wire, self._account_limiter, self._clock)
