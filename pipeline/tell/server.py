"""/metrics and /healthz over HTTP, while something runs that can be asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from pipeline.model import UsageError
from pipeline.tell.metrics import CONTENT_TYPE
from pipeline.tell.teller import Teller

STALE_AFTER_S = 60.0
"""A loop that was last through so long ago hangs."""


@asynccontextmanager
async def serve_metrics(
    host: str,
    port: int,
    teller: Teller,
    *,
    stale_after_s: float = STALE_AFTER_S,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[int]:
    """While the block runs `/metrics` and `/healthz` are served; gives the port, also of port 0.

    /healthz is 200 while the last `beat` is at most `stale_after_s` old, else 503. The server's
    start counts as a beat. Raises UsageError where the address cannot be used.
    """
    started_s = clock()

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=teller.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def health(_request: web.Request) -> web.Response:
        age_s = clock() - max(started_s, teller.beat_s or started_s)
        is_well = age_s <= stale_after_s
        told = {"status": "ok" if is_well else "stale", "last_loop_age_s": round(age_s, 3)}
        return web.json_response(told, status=200 if is_well else 503)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(f"metrics cannot be served at {host}:{port}: {error.strerror}") from (
                error
            )
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
