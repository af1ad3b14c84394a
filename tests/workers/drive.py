"""Acme with scripted replies, and a sender of its rows around them, for tests of the workers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import anyio
from pydantic import SecretStr

from pipeline.model import (
    Answer,
    Effect,
    JobRow,
    Link,
    NoReply,
    Reply,
    Request,
    RowResult,
    Status,
    Verdict,
)
from pipeline.model.exchange import Exchange
from pipeline.model.quota import Quota
from pipeline.model.retry import RetryPolicy
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.vendors import Account, Basic, Defaults, VendorSettings
from pipeline.vendors.kit.classify import NOT_CONFIRMED, by_status
from pipeline.workers.account_sender import AccountSender
from pipeline.workers.environment import NOTHING, RecoveredState, SenderEnvironment
from pipeline.workers.pool import WorkerPool
from pipeline.workers.recorder import Record, Recorder
from tests import acme
from tests.acme import Price
from tests.workers.wires import CalledBack

SILENCE = NoReply("timeout", "no reply in time", may_have_arrived=True)
REFUSED = NoReply("connect_failed", "connection refused", may_have_arrived=False)
MEANING = {
    202: (Verdict.TRANSIENT, Effect.MAYBE),
    204: (Verdict.OK, Effect.APPLIED),
    401: (Verdict.FATAL, Effect.NONE),
    403: (Verdict.FATAL, Effect.NONE),
    404: (Verdict.REJECTED, Effect.NONE),
    422: (Verdict.REJECTED, Effect.NONE),
    429: (Verdict.THROTTLED, Effect.NONE),
    503: (Verdict.TRANSIENT, Effect.MAYBE),
}


def decode(_settings: VendorSettings, jobs: Sequence[Price], reply: Reply | NoReply):
    if isinstance(reply, NoReply):
        effect = Effect.MAYBE if reply.may_have_arrived else Effect.NONE
        return (Answer(Verdict.TRANSIENT, effect, code=reply.reason, message=reply.detail),)
    verdict, effect = MEANING[reply.status]
    wait = reply.headers.get("retry-after")
    code = {202: NOT_CONFIRMED, 204: ""}.get(reply.status, str(reply.status))
    return (
        Answer(verdict, effect, reply.status, code, retry_after_s=float(wait) if wait else None),
    )


PRICE = replace(
    acme.PRICE,
    defaults=Defaults(quota=("1000/s",), in_flight=4, timeout_s=1.0),
    plain_success=204,
    encode=lambda _s, jobs: Request("PUT", f"/{jobs[0].sku}"),
    confirmation=lambda _s, _job: by_status(204),
    decode=decode,
)
ACME = replace(acme.ACME, authenticate=lambda _s: Basic("u", SecretStr("p")), operations=(PRICE,))
ACCOUNT = Account(
    name="shop",
    vendor=ACME,
    settings=acme.Settings(base_url="https://acme.example", **acme.ACME.simulated),
    link=Link(base_url="https://acme.example"),
    quotas=(Quota(100_000, 1.0),),
    is_assumed=False,
    in_flight=4,
    retry=RetryPolicy(max_attempts=3, base_s=0.001, cap_s=0.001),
)


def limiter_of(*quotas: Quota, **terms) -> RateLimiter:
    return RateLimiter(
        LimiterSettings(quotas=quotas, **terms), clock=anyio.current_time, utc=time.time
    )


def permit_now(limiter: RateLimiter | AccountLimiter) -> int | None:
    """The number of a permit if there is one now."""
    return limiter.take(1) if limiter.free(1) else None


async def permit_of(limiter: RateLimiter | AccountLimiter) -> int | None:
    """The number of a permit, once there is one; None if the limiter is closed meanwhile."""
    if isinstance(limiter, RateLimiter):
        limiter = AccountLimiter(limiter)
    taken = [permit_now(limiter)]
    while taken[-1] is None:
        if not await limiter.in_turn(lambda: taken.append(permit_now(limiter))):
            return None
    return taken[-1]


def job(row: int, sku: str, *, repeatable: bool = True) -> JobRow:
    return JobRow(row, "acme.price", sku, repeatable, f'{{"sku":"{sku}","cents":995}}')


class Script:
    """Answers each sku with its list of replies, the last one for ever; remembers who asked when.

    A reply may be a status, a (status, headers) pair, a NoReply, or a number of seconds (float) to
    hang before a 204.
    """

    def __init__(self, replies: dict[str, list] | None = None) -> None:
        self.replies = replies or {}
        self.asked: dict[str, list[float]] = defaultdict(list)
        self.order: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self.at_first_reply: int | None = None

    async def send(self, request: Request) -> Reply | NoReply:
        sku = request.path[1:]
        steps = self.replies.get(sku, [204])
        step = steps[min(len(self.asked[sku]), len(steps) - 1)]
        self.asked[sku].append(anyio.current_time())
        self.order.append(sku)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await anyio.sleep(step if isinstance(step, float) else 0.001)
        finally:
            self.under_way -= 1
        if self.at_first_reply is None:
            self.at_first_reply = len(self.order)
        if isinstance(step, NoReply):
            return step
        status, headers = step if isinstance(step, tuple) else (step, {})
        return Reply(204 if isinstance(step, float) else status, headers, b"")


async def drive(
    jobs: Sequence[JobRow],
    script: Script,
    *,
    account: Account = ACCOUNT,
    fail_fast_after: int = 20,
    meanwhile: Callable[[WorkerPool, Script], object] | None = None,
    grace_s: float = 1.0,
    write: Callable[[Sequence[RowResult]], None] | None = None,
    batch_rows: int = 3,
    reading_s: float = 0.0,
    recovered: RecoveredState = NOTHING,
    limiter: RateLimiter | None = None,
    claims: list[int] | None = None,
    released: list[int] | None = None,
    exchanges: list[Exchange] | None = None,
    coalesce: bool = False,
    is_gated: bool = False,
    on_end: Callable[[Status], None] = lambda _status: None,
    on_open: Callable[[], None] = lambda: None,
    record_with: Record | None = None,
) -> tuple[list[RowResult], AccountSender]:
    """Send `jobs` and give back the results in the order in which they were recorded.

    reading_s  how long it takes to read `batch_rows` of them
    """
    results: list[RowResult] = []

    def record(
        claimed: Sequence[int], batch: Sequence[RowResult], kept: Sequence[Exchange], *_more: object
    ) -> None:
        if write is not None and batch:
            write(batch)
        results.extend(batch)
        if claims is not None:
            claims.extend(claimed)
        if exchanges is not None:
            exchanges.extend(kept)

    recorder = Recorder(
        record_with or record,
        lambda rows: None if released is None else released.extend(rows),
    )

    def read() -> Iterator[Sequence[JobRow]]:
        for first in range(0, len(jobs), batch_rows):
            time.sleep(reading_s)
            yield jobs[first : first + batch_rows]

    sender = AccountSender(
        account,
        read(),
        len(jobs),
        wire=CalledBack(script.send),
        account_limiter=AccountLimiter(limiter or limiter_of(*account.quotas)),
        recorder=recorder,
        environment=SenderEnvironment(
            clock=anyio.current_time,
            jitter=lambda: 0.5,
            fail_fast_after=fail_fast_after,
            coalesce=coalesce,
            is_gated=is_gated,
            on_end=on_end,
        ),
        recovered=recovered,
    )
    sender.on_open = on_open
    pool = WorkerPool([sender], recorder, grace_s=grace_s)
    async with anyio.create_task_group() as tasks:
        if meanwhile is not None:
            tasks.start_soon(meanwhile, pool, script)
        await pool.run()
        tasks.cancel_scope.cancel()
    return results, sender


def with_retry(**fields) -> Account:
    return replace(ACCOUNT, retry=replace(ACCOUNT.retry, **fields))
