"""What others need of the client: the protocol of its wires, and requests that a task awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pipeline.model import NoReply, Reply, Request

OnReply = Callable[[Reply | NoReply | Exception], None]
"""Called once with what came of a request; with an exception if a bug prevented reading it."""

C = TypeVar("C")
"""A connection that was taken: it carries one request, or is given back."""


class Wire(Protocol[C]):
    """Sends requests on connections that are in hand, and calls back."""

    def take(self, most: int) -> list[C]:
        """Take open connections that can be used at once, at most `most`."""

    async def connect(self) -> C | NoReply:
        """Take an open connection as soon as there is one; else return why there is none."""

    def give_back(self, connection: C) -> None:
        """Give back a connection that was taken and not used."""

    def start(self, connection: C, request: Request, on_reply: OnReply) -> None:
        """Send `request`; `on_reply` is called later, once the connection is given back.

        raises  ValueError if the request cannot be written: nothing was sent
        """

    def abort(self, connection: C) -> None:
        """End a request that was started, without a call."""


async def send(wire: Wire[Any], request: Request) -> Reply | NoReply:
    """Send `request` as soon as there is a connection, and wait for what comes of it.

    If cancelled, it ends the request. It raises as `start` does, and what a bug raised.
    """
    connection = await wire.connect()
    if isinstance(connection, NoReply):
        return connection
    return await send_on(wire, connection, request)


async def send_on(wire: Wire[C], connection: C, request: Request) -> Reply | NoReply:
    """As `send`, on a connection that was taken."""
    came: asyncio.Future[Reply | NoReply | Exception] = asyncio.get_running_loop().create_future()
    is_over = False

    def on_reply(reply: Reply | NoReply | Exception) -> None:
        nonlocal is_over
        is_over = True
        if not came.done():  # else the task was cancelled
            came.set_result(reply)

    wire.start(connection, request, on_reply)
    try:
        reply = await came
    except BaseException:
        if not is_over:
            wire.abort(connection)
        raise
    if isinstance(reply, Exception):
        raise reply
    return reply


def unmatched_reply(peer: str) -> NoReply:
    """Return the NoReply of a request whose reply may answer another request."""
    detail = (
        f"{peer} sent more replies than it got requests on one connection: it is unknown which "
        "of them answers this request"
    )
    return NoReply("surplus_reply", detail, may_have_arrived=True)
