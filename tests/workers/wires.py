"""Wires for tests: what sends by coroutines, for a sender that is called back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.http_client.wire import OnReply
from pipeline.model import NoReply, Reply, Request

Send = Callable[[Request], Awaitable[Reply | NoReply]]
"""Sends a request at most once. Safe to use concurrently."""


class Connection:
    """A connection of a wire without any."""

    task: asyncio.Task[Reply | NoReply] | None = None


class CalledBack:
    """Sends with a coroutine, and calls back once it has ended. A connection is always there.

    send  sends a request and returns what came of it
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    def take(self, most: int) -> list[Connection]:
        return [Connection() for _ in range(most)]

    async def connect(self) -> Connection | NoReply:
        return Connection()

    def give_back(self, connection: Connection) -> None:
        pass

    def start(self, connection: Connection, request: Request, on_reply: OnReply) -> None:
        async def send() -> Reply | NoReply:
            return await self._send(request)

        def done(task: asyncio.Task[Reply | NoReply]) -> None:
            if not task.cancelled():
                on_reply(task.exception() or task.result())  # type: ignore[arg-type]

        connection.task = asyncio.get_running_loop().create_task(send())
        connection.task.add_done_callback(done)

    def abort(self, connection: Connection) -> None:
        if connection.task is not None:
            connection.task.cancel()
