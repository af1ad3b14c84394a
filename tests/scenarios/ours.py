"""Our engine on a scenario. The one place that knows how the engine is built."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import anyio

from pipeline.model import JobRow, NoReply, Reply, RowResult
from pipeline.model.quota import parse_quota
from pipeline.model.retry import RetryPolicy
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.vendors import Account, VendorSettings
from pipeline.vendors.kit.classify import Confirmation, classify
from pipeline.workers.account_sender import AccountSender
from pipeline.workers.environment import RecoveredState, SenderEnvironment
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.pool import WorkerPool
from pipeline.workers.recorder import Recorder
from tests.acme import Price
from tests.scenarios.scenario import Settings
from tests.workers.drive import ACCOUNT, ACME, PRICE
from tests.workers.wires import CalledBack, Send

STARTS_PER_S = 10.0
"""Where the limit is to be learned: what the vendor files assume."""


TAKEN = Confirmation(
    "any success", Reply(200, {}, b""), lambda reply: reply.status // 100 == 2, lambda _reply: None
)


def decode(_settings: VendorSettings, _jobs: Sequence[Price], reply: Reply | NoReply):
    return (classify(reply, TAKEN),)


def account(settings: Settings) -> Account:
    return replace(
        ACCOUNT,
        vendor=replace(ACME, operations=(replace(PRICE, decode=decode),)),
        quotas=tuple(map(parse_quota, settings.quota)),
        starts_per_s=STARTS_PER_S,
        in_flight=settings.in_flight,
        retry=RetryPolicy(),
    )


@dataclass(slots=True)
class Leg:
    """What one process does of a run.

    results  in the order in which they came on record
    claimed  rows that are on record as such that may have been sent
    stopped  why the account took no more rows; None where it did
    on_time  results that came before the time was over; None where all did
    """

    results: list[RowResult] = field(default_factory=list)
    claimed: set[int] = field(default_factory=set)
    stopped: str | None = None
    on_time: int | None = None


async def send_jobs(
    used: Account,
    jobs: Sequence[JobRow],
    send: Send,
    *,
    lasts_s: float,
    clock: Callable[[], float],
    seed: int,
    earlier: Sequence[Leg] = (),
    fail_fast_after: int = FAIL_FAST_AFTER,
) -> Leg:
    """Send for `lasts_s` what `earlier` legs of the run have left."""
    leg = Leg()
    terms = LimiterSettings(quotas=used.quotas, starts_per_s=used.starts_per_s)

    def record(claims: Sequence[int], results: Sequence[RowResult], *_more: object) -> None:
        leg.claimed.update(claims)
        leg.results.extend(results)

    recorder = Recorder(record, leg.claimed.difference_update)
    sender = AccountSender(
        used,
        iter([jobs]),
        len(jobs),
        wire=CalledBack(send),
        account_limiter=AccountLimiter(RateLimiter(terms, clock=clock, utc=clock)),
        recorder=recorder,
        environment=SenderEnvironment(
            clock=clock, jitter=random.Random(seed).random, fail_fast_after=fail_fast_after
        ),
        recovered=_known(earlier),
    )
    pool = WorkerPool([sender], recorder, grace_s=0.0)

    async def stop() -> None:
        await anyio.sleep(lasts_s)
        leg.stopped, leg.on_time = "the time is over", len(leg.results)
        pool.stop(leg.stopped)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await pool.run()
        tasks.cancel_scope.cancel()
    leg.stopped = leg.stopped or sender.stopped
    return leg


def _known(legs: Sequence[Leg]) -> RecoveredState:
    """What is on record of legs, for the one after them."""
    all_results = (each for leg in legs for each in leg.results)
    results = {each.row: each for each in all_results if each.status != "not_attempted"}
    claimed = {row for leg in legs for row in leg.claimed}
    return RecoveredState(
        in_doubt=frozenset(claimed - results.keys()),
        unknown=frozenset(row for row, each in results.items() if each.status == "unknown"),
        ended=lambda rows: {row: results[row].status for row in rows if row in results},
    )


async def send_ours(
    settings: Settings,
    rows: int,
    send: Send,
    *,
    lasts_s: float,
    clock: Callable[[], float],
    seed: int,
) -> int:
    """Send for `lasts_s`; how many rows had ended otherwise than updated until then."""
    jobs = [_job(row) for row in range(1, rows + 1)]
    leg = await send_jobs(account(settings), jobs, send, lasts_s=lasts_s, clock=clock, seed=seed)
    return _lost(leg.results[: leg.on_time])


def _lost(ended: Sequence[RowResult]) -> int:
    return sum(result.status != "updated" for result in ended)


def _job(row: int) -> JobRow:
    return JobRow(row, "acme.price", f"s{row}", True, f'{{"sku":"s{row}","cents":995}}')
