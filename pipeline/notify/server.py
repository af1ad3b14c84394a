"""/metrics and /healthz over HTTP while a watcher runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from pipeline.model import UsageError
from pipeline.notify.metrics import CONTENT_TYPE
from pipeline.notify.notifier import Notifier

STALE_AFTER_S = 60.0
"""A watcher whose last loop is older than this hangs."""

MAX_CONNECTIONS = 32
"""Connections at once; further ones are closed immediately."""

MAX_TAKEN = 16
"""Backlog of the listener: each waiting connection holds a descriptor."""

CONNECTION_S = 5.0
"""Lifetime of a connection, whatever it has sent or read."""


@asynccontextmanager
async def serve_metrics(
    host: str,
    port: int,
    notifier: Notifier,
    *,
    stale_after_s: float = STALE_AFTER_S,
    connection_s: float = CONNECTION_S,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[int]:
    """Serve `/metrics` and `/healthz` while the block runs; yields the port, also for port 0.

    notifier  one that keeps metrics

    /healthz is 200 while the last `beat` is at most `stale_after_s` old, else 503. The server's
    start counts as a beat. A connection serves one request within `connection_s`, and there are at
    most MAX_CONNECTIONS, so that clients without credentials cannot exhaust the descriptors of the
    process. Raises UsageError if the address cannot be used.
    """
    started_s, metrics = clock(), notifier.metrics
    if metrics is None:
        raise ValueError("the notifier keeps no metrics")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/metrics":
            return _once(web.Response(body=metrics.text(), headers=_METRICS_HEAD))
        if request.path != "/healthz":
            return _once(web.Response(status=404, text="not found; try /metrics or /healthz\n"))
        age_s = clock() - max(started_s, notifier.beat_s or started_s)
        is_well = age_s <= stale_after_s
        health = {"status": "ok" if is_well else "stale", "last_loop_age_s": round(age_s, 3)}
        return _once(web.json_response(health, status=200 if is_well else 503))

    server = web.Server(answer, access_log=None)
    loop = asyncio.get_running_loop()
    try:
        bounded = _Bounded(server, connection_s)
        listening = await loop.create_server(bounded, host, port, backlog=MAX_TAKEN)
    except OSError as error:
        raise UsageError(f"metrics cannot be served at {host}:{port}: {error.strerror}") from error
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.shutdown(timeout=1.0)


_METRICS_HEAD = {"Content-Type": CONTENT_TYPE}


def _once(response: web.Response) -> web.Response:
    """Close the connection after this response."""
    response.force_close()
    return response


class _Bounded:
    """Protocol factory: aiohttp's handler with a time limit, or a refusal if there are too many."""

    def __init__(self, server: web.Server, connection_s: float) -> None:
        self._server = server
        self._connection_s = connection_s

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        if len(self._server.connections) >= MAX_CONNECTIONS:
            return _Refused()
        handler = self._server()
        asyncio.get_running_loop().call_later(self._connection_s, _end, handler)
        return handler


def _end(handler: web.RequestHandler) -> None:
    if isinstance(handler.transport, asyncio.Transport):
        handler.transport.abort()


class _Refused(asyncio.Protocol):
    """Closes its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
