"""Our engine on a scenario. The one place that knows how the engine is built."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from pipeline.engine.gate import Door, Gate, Terms
from pipeline.engine.lane import Lane
from pipeline.engine.means import Send, Surroundings
from pipeline.engine.pool import Pool
from pipeline.engine.recorder import Recorder
from pipeline.model import JobRow, NoReply, Reply, RowResult
from pipeline.policy.classify import Confirmation, classify
from pipeline.policy.quota import parse_quota
from pipeline.policy.retry import RetryPolicy
from pipeline.vendors import Account, VendorSettings
from tests.engine.acme import ACCOUNT, ACME, PRICE, Price
from tests.scenarios.scenario import Settings

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
    used, ended = account(settings), list[RowResult]()
    terms = Terms(quotas=used.quotas, starts_per_s=used.starts_per_s)
    recorder = Recorder(lambda _claims, results, _exchanges: ended.extend(results))
    lane = Lane(
        used,
        iter([[_job(row) for row in range(1, rows + 1)]]),
        rows,
        send=send,
        door=Door(Gate(terms, clock=clock, utc=clock)),
        recorder=recorder,
        around=Surroundings(clock=clock, jitter=random.Random(seed).random),
    )
    pool = Pool([lane], recorder, grace_s=0.0)
    lost = []

    async def stop() -> None:
        await anyio.sleep(lasts_s)
        lost.append(_lost(ended))
        pool.stop("the scenario is over")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await pool.run()
        tasks.cancel_scope.cancel()
    return lost[0] if lost else _lost(ended)


def _lost(ended: Sequence[RowResult]) -> int:
    return sum(result.status != "updated" for result in ended)


def _job(row: int) -> JobRow:
    return JobRow(row, "acme.price", f"s{row}", True, f'{{"sku":"s{row}"}}')
