"""The addresses of a link's one host, kept between connections."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from aiohttp.abc import AbstractResolver, ResolveResult

KEPT_S = 60.0

ANSWER_S = 1.0
"""Seconds in which a name server that is there answers; one that is away is silent for much longer
than a connection may take."""


class Addresses(AbstractResolver):
    """Looks a host up at most once in `KEPT_S` seconds, and again once a connection failed.

    A vendor that moves to another address is found there at once. If the new look-up fails, or is
    not answered in `ANSWER_S`, the addresses known before are used: a name server that is away for
    a while stops nothing. They take turns, so that connections spread over all of them.

    resolver  looks the host up
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._known: deque[ResolveResult] = deque()
        self._fresh_until_s = self._asked_s = 0.0
        self._lookup: asyncio.Task[OSError | UnicodeError | None] | None = None

    def doubt(self) -> None:
        """Look the host up before the next connection: one could not be opened."""
        self._fresh_until_s = 0.0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return all addresses, another one first each time.

        raises  OSError or UnicodeError if none was ever found
        """
        if self._loop.time() >= self._fresh_until_s:
            if self._lookup is None:
                self._lookup = asyncio.create_task(self._look_up(host, port, family))
                self._asked_s = self._loop.time()
            # one look-up for all who wait; it goes on if one of them gives up
            rest_s = max(0.0, self._asked_s + ANSWER_S - self._loop.time()) if self._known else None
            found, _ = await asyncio.wait([self._lookup], timeout=rest_s)
            if found and (error := found.pop().result()) is not None:
                raise error
        addresses = list(self._known)
        self._known.rotate(-1)
        return addresses

    async def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> OSError | UnicodeError | None:
        try:
            self._known = deque(await self._resolver.resolve(host, port, family))
        except (OSError, UnicodeError) as error:
            if not self._known:
                return error
        finally:
            self._lookup = None
        self._fresh_until_s = self._loop.time() + KEPT_S
        return None

    async def close(self) -> None:
        """End a look-up under way."""
        if self._lookup is not None:
            self._lookup.cancel()
