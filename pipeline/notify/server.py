"""/metrics and /healthz over HTTP, while something runs that can be asked."""

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
"""A loop that was last through so long ago hangs."""

MOST_CONNECTIONS = 32
"""So many at once; one more is closed as it comes. Whoever asks needs one for a moment."""

MOST_TAKEN = 16
"""So many are taken in one go; those that are one too many hold a descriptor until the next."""

CONNECTION_S = 5.0
"""A connection is closed so long after it was made, whatever it has asked or read until then."""


@asynccontextmanager
async def serve_metrics(
    host: str,
    port: int,
    teller: Notifier,
    *,
    stale_after_s: float = STALE_AFTER_S,
    connection_s: float = CONNECTION_S,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[int]:
    """While the block runs `/metrics` and `/healthz` are served; gives the port, also of port 0.

    /healthz is 200 while the last `beat` is at most `stale_after_s` old, else 503. The server's
    start counts as a beat. Each connection has one request and at most `connection_s`, and there
    are at most MOST_CONNECTIONS: who is not asked for a credential must not be able to take all
    descriptors of the process. Raises UsageError where the address cannot be used.
    """
    started_s = clock()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/metrics":
            return _once(web.Response(body=teller.metrics.text(), headers=_METRICS_HEAD))
        if request.path != "/healthz":
            return _once(web.Response(status=404, text="there are /metrics and /healthz\n"))
        age_s = clock() - max(started_s, teller.beat_s or started_s)
        is_well = age_s <= stale_after_s
        told = {"status": "ok" if is_well else "stale", "last_loop_age_s": round(age_s, 3)}
        return _once(web.json_response(told, status=200 if is_well else 503))

    server = web.Server(answer, access_log=None)
    loop = asyncio.get_running_loop()
    try:
        bounded = _Bounded(server, connection_s)
        listening = await loop.create_server(bounded, host, port, backlog=MOST_TAKEN)
    except OSError as error:
        raise UsageError(f"metrics cannot be served at {host}:{port}: {error.strerror}") from error
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.shutdown(timeout=1.0)


_METRICS_HEAD = {"Content-Type": CONTENT_TYPE}


def _once(response: web.Response) -> web.Response:
    """The last one on its connection."""
    response.force_close()
    return response


class _Bounded:
    """Makes the protocol of each connection: aiohttp's own, with an end, while there are few."""

    def __init__(self, server: web.Server, connection_s: float) -> None:
        self._server = server
        self._connection_s = connection_s

    def __call__(self) -> asyncio.Protocol:
        """One connection."""
        if len(self._server.connections) >= MOST_CONNECTIONS:
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
