"""How one account's requests reach its vendor: what the sender needs of a transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pipeline.model import NoReply, Reply, Request
from pipeline.pacing.account_limiter import AccountLimiter, Permit

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
    return await _exchange(wire, connection, request)


async def exchange(wire: Wire[Any], permit: Permit, request: Request) -> Reply | NoReply:
    """As `send`, with a permit of `permit_for`, which learns of the reply."""
    try:
        connection: Any | NoReply = permit.connection
        is_open = not isinstance(connection, NoReply)
        reply = await _exchange(wire, connection, request) if is_open else connection
        permit.on_reply(reply)
    finally:
        permit.on_reply()
    return reply


async def _exchange(wire: Wire[C], connection: C, request: Request) -> Reply | NoReply:
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


async def permit_for(
    wire: Wire[Any], limiter: AccountLimiter, clock: Callable[[], float]
) -> Permit | None:
    """Wait until a request may be sent and a connection is open: so no permit is used late.

    None if the limiter was closed or its waits were cancelled.
    """
    cancelled = limiter.cancelled
    while not limiter.is_closed and limiter.cancelled == cancelled:
        if not limiter.free(1):
            permits = await _permits_in_turn(wire, limiter, clock)
            if permits is None:
                return None
            if permits:
                return permits[0]
        asked_s = clock()
        connection = await wire.connect()
        if isinstance(connection, NoReply):
            return Permit(limiter, None, asked_s, connection)
        if limiter.cancelled == cancelled and limiter.free(1):
            return Permit(limiter, limiter.take(1), clock(), connection)
        wire.give_back(connection)
    return None


async def _permits_in_turn(
    wire: Wire[Any], limiter: AccountLimiter, clock: Callable[[], float]
) -> list[Permit] | None:
    """Return one permit; none if no connection was idle. None as for `permit_for`."""
    permits: list[Permit] = []

    def take() -> None:
        connections = wire.take(limiter.free(1))
        permits.extend(Permit(limiter, limiter.take(1), clock(), each) for each in connections)

    try:
        return permits if await limiter.in_turn(take) else None
    except BaseException:
        for permit in permits:  # cancelled in its turn
            wire.give_back(permit.connection)
            permit.on_reply()
        raise
