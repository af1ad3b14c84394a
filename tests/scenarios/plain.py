"""A client as people write it: a rate limiter, so many workers, retries with jittered back-off."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import anyio
from aiolimiter import AsyncLimiter

from pipeline.model import NoReply, Request
from pipeline.model.quota import parse_quota
from tests.scenarios.scenario import GUESS, Settings
from tests.workers.wires import Send

ATTEMPTS = 5
BASE_S = 0.5
CAP_S = 30.0


async def send_plain(
    settings: Settings,
    rows: int,
    send: Send,
    *,
    lasts_s: float,
    clock: Callable[[], float],
    seed: int,
) -> int:
    """Send for `lasts_s`; how many rows were given up until then."""
    client = _Client(settings, send, random.Random(seed).random)
    numbers = iter(range(1, rows + 1))
    with anyio.move_on_after(lasts_s):
        async with anyio.create_task_group() as tasks:
            for _ in range(settings.in_flight):
                tasks.start_soon(client.work, numbers)
    return client.given_up


def limiter(settings: Settings) -> AsyncLimiter:
    """As its page shows it; without a quota a rate that somebody guessed."""
    quotas = map(parse_quota, settings.quota or [GUESS])
    tightest = min(quotas, key=lambda quota: quota.per_second)
    return AsyncLimiter(tightest.limit, tightest.per_s)


class _Client:
    def __init__(self, settings: Settings, send: Send, draw: Callable[[], float]) -> None:
        self._limiter = limiter(settings)
        self._send = send
        self._draw = draw
        self.given_up = 0

    async def work(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            if not await self._deliver(Request("PUT", f"/s{number}")):
                self.given_up += 1

    async def _deliver(self, request: Request) -> bool:
        for attempt in range(ATTEMPTS):
            async with self._limiter:
                reply = await self._send(request)
            if not isinstance(reply, NoReply):
                if reply.status < 400:
                    return True
                if reply.status < 500 and reply.status != 429:
                    return False
            if attempt + 1 < ATTEMPTS:
                told = "" if isinstance(reply, NoReply) else reply.headers.get("retry-after", "")
                asked_s = float(told) if told.isdigit() else 0.0
                await anyio.sleep(asked_s + self._draw() * min(CAP_S, BASE_S * 2.0**attempt))
        return False
