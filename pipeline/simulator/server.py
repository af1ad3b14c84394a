"""The server: one port for all emulated vendors, and the handle of a running simulator."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from pipeline.simulator.control import CONTROL, control
from pipeline.simulator.core import Simulator
from pipeline.simulator.errors import SimulatorError
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendors import VENDORS
from pipeline.simulator.wire import Connection

# aiohttp would log a traceback for every malformed request; the tally counts them instead
_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.disabled = True

_MAX_BODY_BYTES = 16 * 1024**2


class Running:
    """A running simulator.

    url        origin, such as http://127.0.0.1:8080
    base_urls  vendor -> base URL of its API, without a slash at the end
    """

    def __init__(self, simulator: Simulator, url: str) -> None:
        self._simulator = simulator
        self.options = simulator.options
        self.url = url
        self.base_urls = {vendor.name: url + vendor.prefix for vendor in VENDORS}

    def log(self, offset: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Lines of the request log, in order of completion."""
        return map(json.loads, self._simulator.log_lines(offset, limit))

    def state(self) -> Iterator[dict[str, Any]]:
        """Entities as last written: kind, scope, id, body."""
        return self._simulator.state()

    def stats(self) -> dict[str, Any]:
        """Counts since the start or the last reset."""
        return self._simulator.stats()

    def reset(self) -> None:
        """Forget log, entities, tokens, counts, turns and windows, and restart the random draws."""
        self._simulator.reset()

    def revoke(self) -> None:
        """Revoke all tokens."""
        self._simulator.revoke()


@asynccontextmanager
async def serve(options: SimulatorOptions | None = None) -> AsyncIterator[Running]:
    """Run a simulator in this event loop until the block ends.

    Raises SimulatorError if it cannot listen or cannot write `log_path`.
    """
    simulator = Simulator(options or SimulatorOptions())
    try:
        server = _Server(simulator)
        listener = await _listen(server, simulator.options)
        try:
            host, port = listener.sockets[0].getsockname()[:2]
            origin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            yield Running(simulator, origin)
        finally:
            listener.close()
            await server.stop()
    finally:
        simulator.close()


def run_forever(options: SimulatorOptions, ready: Callable[[Running], None]) -> None:
    """Run a simulator until SIGINT or SIGTERM; for a process's main thread.

    ready  called once it listens

    Raises SimulatorError as `serve` does.
    """
    asyncio.run(_until_signal(options, ready))


async def _until_signal(options: SimulatorOptions, ready: Callable[[Running], None]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serve(options) as running:
        ready(running)
        await stopped.wait()


async def _listen(server: _Server, options: SimulatorOptions) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            server, options.host, options.port, backlog=1024
        )
    except (OSError, OverflowError) as error:
        where = f"{options.host}, port {options.port}"
        raise SimulatorError(f"cannot listen on {where}: {error}") from error


class _Server(web.Server):
    """aiohttp's low-level server, with numbered connections."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(
            self._serve,
            request_factory=self._request,
            access_log=None,
            logger=_QUIET,
            auto_decompress=False,
            keepalive_timeout=simulator.options.keepalive_s,
        )
        self._simulator = simulator
        self._known: dict[Any, Connection] = {}
        self._made = 0
        self._serving: set[asyncio.Task[Any]] = set()

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._made += 1
        self._known[handler] = Connection(self._made)
        self._simulator.tally.connections += 1

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        connection = self._known.pop(handler, None)
        if connection is not None:
            connection.gone.set()

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        if message.method == "UNKNOWN":  # aiohttp's name for bytes that are not a request
            self._simulator.tally.malformed += 1
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=_MAX_BODY_BYTES
        )

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self._known.get(request.protocol)
        if connection is None:  # closed before its request was handled
            return web.Response(status=400)
        connection.requests += 1
        if request.raw_path.startswith(CONTROL):
            return await control(self._simulator, request)
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        return await self._simulator.serve(request, connection)

    async def stop(self) -> None:
        """Close all connections now, also those that hang."""
        for handler in list(self._known):
            if handler.transport is not None:
                handler.transport.abort()
        await asyncio.sleep(0)  # the loop tells the handlers that their connection is gone
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self.shutdown(timeout=0.01)
