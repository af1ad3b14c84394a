"""The connection pool of one link: aiohttp opens the connections, HttpConnection uses them.

aiohttp resolves names, connects, does the TLS handshake and asks proxies for a tunnel. It sends no
request to a vendor and reads no reply of one.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import aiohttp
import anyio
from aiohttp.client_reqrep import ClientRequest
from yarl import URL

from pipeline.http_client.addresses import Addresses
from pipeline.http_client.backoff import ConnectBackoff, ReuseRest
from pipeline.http_client.connection import HttpConnection, unknown
from pipeline.http_client.dated_socket import CAN_DATE, DatedSocket
from pipeline.http_client.patient_loop import PatientLoop, PatientSelector

IDLE_S = 4.0  # below the 5 s after which Apache and Node close an idle connection

LOOK_S = 0.001
"""Seconds for which a look at all sockets holds; a reply ends it. Many requests leave together."""

USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # not on every system

AddressInfo = tuple[Any, ...]
"""Family, kind, protocol, name and address, as of `socket.getaddrinfo`."""

_TURNS_TO_READ = 3  # of the loop: to see that there is something, to read it, to close
_UNLIMITED = aiohttp.ClientTimeout()


class NotConnectedError(Exception):
    """No connection was obtained, hence nothing was sent. `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class Connections:
    """Gives out open connections on which no bytes wait to be read.

    Enter it before use. Every connection that it gave out must be given back.

    url    where requests go; only scheme, host and port count
    proxy  an HTTP proxy, its credentials included; None connects directly
    tls    None for plain HTTP
    limit  how many connections may be given out at once; one more waits
    unacknowledged_s  as for `socket_maker`

    has_worked  True once a connection brought a reply
    """

    def __init__(
        self,
        url: URL,
        *,
        proxy: URL | None,
        tls: ssl.SSLContext | None,
        limit: int,
        max_body_bytes: int,
        unacknowledged_s: float = math.inf,
    ) -> None:
        self._url, self._proxy, self._tls = url, proxy, tls
        self._max_body_bytes = max_body_bytes
        self._unacknowledged_s = unacknowledged_s
        self._patience: PatientSelector | None = None
        self._slots = anyio.Semaphore(limit, fast_acquire=True)
        self._backoff = ConnectBackoff()
        self._rest = ReuseRest()
        self._idle: deque[HttpConnection] = deque()  # the one used last at the right
        self._open: dict[int, HttpConnection] = {}  # number of the socket -> the newest with it
        self._selector = selectors.DefaultSelector()
        self._readable: frozenset[int] = frozenset()
        self._looked_s = -math.inf
        self._sweep: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._connector: aiohttp.TCPConnector
        self._addresses: Addresses
        self.has_worked = False

    async def __aenter__(self) -> Self:
        self._loop = loop = asyncio.get_running_loop()
        self._patience = loop.patience if isinstance(loop, PatientLoop) else None
        self._addresses = Addresses(aiohttp.ThreadedResolver())
        self._connector = aiohttp.TCPConnector(
            limit=0,
            ssl=True if self._tls is None else self._tls,
            force_close=True,  # what it opens is kept here
            resolver=self._addresses,
            use_dns_cache=False,  # the resolver keeps them
            socket_factory=socket_maker(self._unacknowledged_s, self._patience),
        )
        return self

    async def __aexit__(self, *_ended_by: object) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        left, self._open = self._open, {}
        for connection in left.values():
            connection.close()
        await self._addresses.close()
        await self._connector.close()
        self._selector.close()

    def take(self, most: int) -> list[HttpConnection]:
        """Take idle connections that can be used at once, at most `most`."""
        taken: list[HttpConnection] = []
        idle, is_resting = self._idle, self._rest.rest_s > 0
        if not idle:
            return taken
        fresh_from_s, readable = self._loop.time() - IDLE_S, self._look()
        for _ in range(min(most, self._slots.value)):
            if not idle or (is_resting and not self._oldest_has_rested()):
                break
            connection = idle[0] if is_resting else idle[-1]
            is_old = connection.idle_since_s < fresh_from_s
            if is_old or not connection.is_open or connection.file_number in readable:
                break
            self._take_idle()
            self._slots.acquire_nowait()
            connection.is_reused = True
            taken.append(connection)
        return taken

    async def obtain(self) -> HttpConnection:
        """Wait for room, and return an idle connection or open one.

        raises  NotConnectedError
        """
        await self._slots.acquire()
        try:
            return await self._ready_one() or await self._open_one()
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, connection: HttpConnection) -> None:
        """Keep `connection` for another request if it is still open."""
        self._slots.release()
        now_s, is_open = self._loop.time(), connection.is_open
        self._looked_s = -math.inf
        if connection.has_replied:
            self.has_worked = True
            self._backoff.worked()
            if connection.is_reused:
                self._rest.worked()
        else:
            if connection.is_reused and connection.was_cut_off:
                self._rest.cut_off()
            if not is_open:
                self._backoff.failed(connection.opened_s, now_s)
        if is_open:
            connection.idle_since_s = now_s
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep_later(IDLE_S)

    def give_back_unused(self, connection: HttpConnection) -> None:
        """Keep a connection that carried no request: it is as old as it was."""
        self._slots.release()
        if connection.is_open:
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep_later(IDLE_S)

    async def _ready_one(self) -> HttpConnection | None:
        # A server may send something on an idle connection (a 408, or a surplus reply): it is
        # read first, and closes the connection.
        while self._idle:
            if self._rest.rest_s and not self._oldest_has_rested():
                return None
            connection = self._take_idle()
            if self._is_old(connection):
                connection.close()
            try:
                for _ in range(_TURNS_TO_READ):
                    if not connection.is_open or connection.file_number not in self._look():
                        break
                    await asyncio.sleep(0)
                    self._looked_s = -math.inf
            except BaseException:
                connection.close()
                raise
            if connection.is_open:
                connection.is_reused = True
                return connection
        return None

    def _oldest_has_rested(self) -> bool:
        """True if the connection that is idle for longest has rested; drop those that closed."""
        while self._idle and not self._idle[0].is_open:
            self._idle.popleft()
        if not self._idle:
            return False
        return self._loop.time() - self._idle[0].idle_since_s >= self._rest.rest_s

    def _take_idle(self) -> HttpConnection:
        return self._idle.popleft() if self._rest.rest_s else self._idle.pop()

    async def _open_one(self) -> HttpConnection:
        if wait_s := self._backoff.delay_s(self._loop.time()):
            await asyncio.sleep(wait_s)
        began_s, is_connected = self._loop.time(), False
        try:
            connection = await self._connect()
            is_connected = True
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            self._backoff.failed(began_s, self._loop.time())
            raise NotConnectedError(error) from error
        finally:
            if not is_connected:  # also if the time was up
                self._addresses.doubt()
        return connection

    async def _connect(self) -> HttpConnection:
        request = ClientRequest(
            "GET", self._url, loop=self._loop, proxy=self._proxy, ssl=self._tls or True
        )
        opened = await self._connector.connect(request, [], _UNLIMITED)
        handler, transport = opened.protocol, opened.transport
        if handler is None or transport is None or transport.is_closing() or handler.should_close:
            opened.close()  # closed, or the server sent something before the request
            raise aiohttp.ServerDisconnectedError

        def ended(error: Exception | None) -> None:
            # aiohttp waits for its own handler to learn of the end
            handler.connection_lost(error)
            opened.close()
            if self._open.get(connection.file_number) is connection:  # else it is used anew
                del self._open[connection.file_number]
                self._selector.unregister(connection.file_number)

        connection = HttpConnection(
            transport,
            max_body_bytes=self._max_body_bytes,
            on_end=ended,
            arrived_s=unknown if self._patience is None else self._patience.arrived_s,
        )
        if connection.file_number in self._open:  # of one that is not over yet
            self._selector.unregister(connection.file_number)
        self._open[connection.file_number] = connection
        self._selector.register(connection.file_number, selectors.EVENT_READ)
        return connection

    def _look(self) -> frozenset[int]:
        """The open connections on which bytes or an end of stream wait to be read, by number."""
        now_s = self._loop.time()
        if now_s > self._looked_s + LOOK_S:
            self._readable = frozenset(key.fd for key, _ in self._selector.select(0))
            self._looked_s = now_s
        return self._readable

    def _is_old(self, connection: HttpConnection) -> bool:
        return self._loop.time() - connection.idle_since_s > IDLE_S

    def _sweep_later(self, wait_s: float) -> None:
        self._sweep = self._loop.call_later(wait_s, self._sweep_idle)

    def _sweep_idle(self) -> None:
        """Close what has been idle for too long."""
        self._sweep = None
        while self._idle and (not self._idle[0].is_open or self._is_old(self._idle[0])):
            self._idle.popleft().close()
        if self._idle:
            self._sweep_later(self._idle[0].idle_since_s + IDLE_S - self._loop.time())


def socket_maker(
    unacknowledged_s: float, patience: PatientSelector | None = None
) -> Callable[[AddressInfo], socket.socket]:
    """What makes sockets whose bytes the system gives up if they are not acknowledged for so long.

    Otherwise it would deliver a request after a network was parted for minutes, when another
    process has the lease of its row, and has sent newer ones. Infinity: as long as the system does.

    patience  of the event loop, if it has any: learns when bytes arrived
    """

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, *_ = info
        made: socket.socket
        if patience is not None and CAN_DATE:
            made = dated = DatedSocket(family, kind, protocol)
            dated.date_for(patience)
        else:
            made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        if unacknowledged_s < math.inf and USER_TIMEOUT is not None:
            milliseconds = max(1, int(max(0.0, unacknowledged_s) * 1000))
            made.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, milliseconds)
        return made

    return make
