"""How one account's requests reach its vendor: what the sender needs of a transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from pipeline.model import NoReply, Reply, Request

Send = Callable[[Request], Awaitable[Reply | NoReply]]
"""Sends a request at most once. Safe to use concurrently."""

OnReply = Callable[[Reply | NoReply | Exception], None]
"""Called once with what came of a request; with an exception if a bug prevented reading it."""

C = TypeVar("C")
"""A connection that was taken: it carries one request, or is given back."""


class Wire(Protocol[C]):
    """Sends requests on connections that are in hand, and calls back."""

    async def __call__(self, request: Request) -> Reply | NoReply:
        """Send `request` as soon as there is a connection."""

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
