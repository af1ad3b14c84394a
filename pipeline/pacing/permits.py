"""Requests that a task waits for: each gets its permit once its connection is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.http_client.wire import Wire, send_on
from pipeline.model import NoReply, Reply, Request
from pipeline.pacing.account_limiter import AccountLimiter, Permit


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


async def exchange(wire: Wire[Any], permit: Permit, request: Request) -> Reply | NoReply:
    """Send `request` with a permit of `permit_for`, which learns of the reply, and wait for it.

    It ends and raises as `wire.send` does.
    """
    try:
        connection: Any | NoReply = permit.connection
        is_open = not isinstance(connection, NoReply)
        reply = await send_on(wire, connection, request) if is_open else connection
        permit.on_reply(reply)
    finally:
        permit.on_reply()
    return reply
