"""Reads many entities of one account within its limits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import anyio

from pipeline.http_client.wire import Wire
from pipeline.model import Answer, NoReply, Reply, Request, UpdateJob, Verdict
from pipeline.model.retry import next_delay_s
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.pause_handler import PauseHandler
from pipeline.pacing.permits import exchange, permit_for
from pipeline.pacing.throttle import NO_REFUSALS, Refusals, Throttle
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.classify import classify_read
from pipeline.vendors.kit.contract import EntityPage, Listing, Missing, State
from pipeline.workers.answers import is_judged
from pipeline.workers.stop_reason import describe, stop_reason

MAX_REFUSED = 20
"""Reads that are refused in a row before the account is given up."""

T = TypeVar("T")

EntityQuery = tuple[Operation[Any, Any], UpdateJob]
"""An entity to read, named by an update of it and its operation."""


class ReadResult(NamedTuple):
    """The result of a read.

    state  None if the vendor returned no state; `why` then has the reason
    """

    state: State | Missing | None
    why: str = ""


class Reader:
    """Reads entities of one account, with as many concurrent requests as it allows.

    wire             sends its requests
    account_limiter  where requests wait for permits; reads use the quota as updates do

    requests  reads that were sent
    stopped   why it reads no more; None while it reads
    """

    def __init__(
        self,
        account: Account,
        *,
        wire: Wire[Any],
        account_limiter: AccountLimiter,
    ) -> None:
        self.account = account
        self.requests = 0
        self.stopped: str | None = None
        self._refused = 0
        self._wire = wire
        self._account_limiter = account_limiter
        self._pauses = PauseHandler(account, self.stop, account_limiter.announce)
        self._throttle = Throttle()
        self._slots = anyio.Semaphore(account.in_flight, fast_acquire=True)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Announce pauses that the vendor asks for while the block runs, or stop the reader."""
        with self._account_limiter.watched(self._pauses.on_pause):
            yield

    def stop(self, why: str) -> None:
        """Read no more; reads that wait return the reason."""
        if self.stopped is None:
            self.stopped = why
            self._account_limiter.close()

    async def read(self, queries: Sequence[EntityQuery]) -> list[ReadResult]:
        """Read each entity; results are in the same order."""
        found: list[ReadResult] = [ReadResult(None)] * len(queries)

        async def one(index: int, operation: Operation[Any, Any], job: UpdateJob) -> None:
            async with self._slots:
                found[index] = await self._read(operation, job)

        async with anyio.create_task_group() as tasks:
            for index, query in enumerate(queries):
                tasks.start_soon(one, index, *query)
        return found

    async def page(
        self, listing: Listing[Any, Any], job: UpdateJob, cursor: str
    ) -> EntityPage | None:
        """Read a page of the listing that has `job`'s entity; None if the vendor returned none."""
        settings = self.account.settings

        def page(reply: Reply) -> EntityPage | None:
            return listing.page(settings, reply, cursor)

        _, found = await self._fetch(listing.request(settings, job, cursor), page)
        return found

    async def _read(self, operation: Operation[Any, Any], job: UpdateJob) -> ReadResult:
        settings, reading = self.account.settings, operation.reading
        if reading is None:
            return ReadResult(None, "this vendor cannot be queried")

        def read(reply: Reply) -> State | Missing | None:
            return reading.state(settings, job, reply)

        answer, state = await self._fetch(reading.request(settings, job), read)
        if state is not None or answer is None:
            return ReadResult(state, "" if state is not None else self.stopped or "")
        return ReadResult(None, describe(answer))

    async def _fetch(
        self, request: Request, read: Callable[[Reply], T]
    ) -> tuple[Answer | None, T | None]:
        """Send a read until it succeeds; return its last answer, and what `read` found in it.

        Both are None if the account has stopped.
        """
        attempt, refusals = 0, NO_REFUSALS
        while self.stopped is None:
            permit = await permit_for(self._wire, self._account_limiter, time.monotonic)
            if permit is None:
                break
            self.requests += 1
            reply = await exchange(self._wire, permit, request)
            if isinstance(reply, NoReply) and reply.lost_turn:
                continue
            answer = classify_read(reply)
            permit.on_answer(answer)
            is_throttled = answer.verdict is Verdict.THROTTLED
            if is_throttled:
                refusals = self._on_throttled(refusals, answer)
            elif is_judged(answer):
                self._throttle.accepted()
            is_counted = not is_throttled or refusals.is_counted
            attempt += is_counted
            found = read(reply) if isinstance(reply, Reply) else None
            if found is not None:
                self._refused = 0
                return answer, found
            if answer.verdict is Verdict.FATAL:
                self._on_refused(answer)
            delay_s = next_delay_s(
                self.account.retry,
                answer,
                refusals.attempt(attempt, is_counted=is_counted),
                random.random(),  # noqa: S311 - spreads retries
                is_counted=is_counted,
            )
            if delay_s is None:
                return answer, None
            await anyio.sleep(delay_s)
        return None, None

    def _on_throttled(self, before: Refusals, answer: Answer) -> Refusals:
        """Count a 429; stop if the vendor has answered nothing else for too long."""
        now_s = time.monotonic()
        refusals = self._throttle.refused(before, now_s)
        throttled_s = now_s - (self._throttle.since_s or now_s)
        reason = stop_reason(
            answer, throttled_s=throttled_s, max_outage_s=self.account.max_outage_s
        )
        if reason is not None:
            self.stop(reason)
        return refusals

    def _on_refused(self, answer: Answer) -> None:
        # one entity may be out of reach: reading some more does no harm
        self._refused += 1
        if answer.http_status is None or self._refused >= MAX_REFUSED:
            self.stop(describe(answer))
