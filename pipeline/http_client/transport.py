"""Sends requests over HTTP; one send puts at most one request on the wire.

What fails below becomes a value here: nothing above knows a library's errors.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from pipeline.http_client.connection import HttpConnection, LostReplyError, Received
from pipeline.http_client.connections import Connections, NotConnectedError
from pipeline.http_client.decompress import PACKINGS, DecompressionError, decompressed, packing_of
from pipeline.http_client.http1 import check_request_line, header_lines, request_head
from pipeline.http_client.link_urls import checked_base_url, checked_proxy, host_port
from pipeline.http_client.masking import Mask
from pipeline.http_client.no_replies import (
    broken_reply,
    lost_reply,
    not_connected,
    shown_start,
    too_early_reply,
)
from pipeline.http_client.tls import tls_context
from pipeline.http_client.wire import OnReply, send, unmatched_reply
from pipeline.model import ConfigError, Fault, Link, NoReply, Reply, Request
from pipeline.model.wire import header_fault

CONNECT_SHARE = 0.9  # of timeout_s, at most: a timeout while connecting proves nothing was sent

_NO_CONTENT = int(HTTPStatus.NO_CONTENT)  # an enum's members are slow to look up


class Transport:
    """Sends requests over one link. Enter it before the first `send`; safe to use concurrently.

    authorization  the header's value until `set_authorization` sets another; None sends none
    in_flight      the most connections; one more send would wait for a connection
    secrets        masked in texts about replies besides the authorization, for example a key in a
                   vendor's own header
    unacknowledged_s  as for `socket_maker`
    raises         ConfigError if the link cannot work as configured
    """

    def __init__(
        self,
        link: Link,
        *,
        authorization: str | None,
        in_flight: int,
        secrets: Sequence[str] = (),
        unacknowledged_s: float = math.inf,
    ) -> None:
        url = checked_base_url(link.base_url)
        proxy = None if link.proxy is None else checked_proxy(link.proxy)
        tls = tls_context(link) if url.scheme == "https" else None
        self._peer, self._proxy = host_port(url), host_port(proxy)
        self._target, self._first_lines = _target_of(url, proxy), _first_lines(url, proxy)
        self._unsigned = _account_headers(link.headers)
        self._limit_bytes, self._timeout_s = link.max_reply_bytes, link.timeout_s
        self._connect_s = min(link.connect_timeout_s, CONNECT_SHARE * link.timeout_s)
        self._secrets = tuple(secrets)
        self._connections = Connections(
            url,
            proxy=proxy,
            tls=tls,
            limit=in_flight,
            max_body_bytes=link.max_reply_bytes,
            unacknowledged_s=unacknowledged_s,
        )
        self._loop: asyncio.AbstractEventLoop
        self._headers: CIMultiDict[str]
        self._mask: Mask
        self._last_lines: tuple[Mapping[str, str], str]
        self.set_authorization(authorization)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *_ended_by: object) -> None:
        await self._connections.__aexit__()

    def set_authorization(self, authorization: str | None) -> None:
        """Set the Authorization header of later requests; requests in flight keep theirs."""
        self._headers = self._unsigned.copy()
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._last_lines = {}, self._first_lines + header_lines(self._headers)
        self._mask = Mask((authorization or "").rpartition(" ")[2], *self._secrets)

    async def send(self, request: Request) -> Reply | NoReply:
        """Send `request` as soon as there is a connection; see `start` and `wire.send`.

        raises  ValueError if it cannot be written
        """
        self._head(request)
        return await send(self, request)

    def take(self, most: int) -> list[HttpConnection]:
        """Take idle connections that can be used at once, at most `most`."""
        return self._connections.take(most)

    async def connect(self) -> HttpConnection | NoReply:
        """Take an idle connection or open one; return why there is none."""
        cause: Exception
        try:
            async with asyncio.timeout(self._connect_s):
                return await self._connections.obtain()
        except NotConnectedError as error:
            cause = error.cause
        except TimeoutError as error:
            cause = error
        lost = not_connected(cause, self._peer, self._proxy, self._connect_s)
        # What worked before is configured well: a peer that is at fault now may come back, and may
        # be one of several.
        return lost._replace(is_permanent=False) if self._connections.has_worked else lost

    def give_back(self, connection: HttpConnection) -> None:
        """Give back a connection that was taken and not used."""
        self._connections.give_back_unused(connection)

    def start(self, connection: HttpConnection, request: Request, on_reply: OnReply) -> None:
        """Send `request`, as `send` does, on a connection that was taken.

        It is given back before `on_reply` is called.
        """
        mask = self._mask
        try:
            head = self._head(request)
        except BaseException:
            self.give_back(connection)
            raise
        until_s = self._loop.time() + self._timeout_s
        connection.start(
            head, request.body, until_s, partial(self._on_done, connection, mask, on_reply)
        )

    def abort(self, connection: HttpConnection) -> None:
        """End a request that was started: its connection is closed, and nobody is called."""
        connection.abandon()
        self._connections.give_back(connection)

    def _on_done(
        self,
        connection: HttpConnection,
        mask: Mask,
        on_reply: OnReply,
        came: Received | LostReplyError,
    ) -> None:
        self._connections.give_back(connection)
        try:
            reply: Reply | NoReply | Exception = self._outcome(came, mask)
        except Exception as error:  # noqa: BLE001 - whoever sent decides about the rows
            reply = error
        on_reply(reply)

    def _head(self, request: Request) -> bytes:
        check_request_line(request.method, request.path)
        given, lines = self._last_lines
        if given is not request.headers:  # a vendor's requests mostly share one mapping
            headers = self._headers.copy()
            headers.update(request.headers)
            lines = self._first_lines + header_lines(headers)
            self._last_lines = request.headers, lines
        return request_head(request.method, self._target + request.path, lines, len(request.body))

    def _outcome(self, came: Received | LostReplyError, mask: Mask) -> Reply | NoReply:
        if isinstance(came, LostReplyError):
            return lost_reply(came, self._peer, self._timeout_s, shown_start(mask, came.first))
        if came.standing.is_doubtful:
            return unmatched_reply(self._peer)
        if came.is_early and came.status // 100 == 2:  # noqa: PLR2004 - the class of successes
            return too_early_reply(self._peer)
        headers: Mapping[str, str] = came.headers
        body, is_cut = came.body, came.is_cut
        packing = ""
        if body or came.status != _NO_CONTENT:
            packing = packing_of(headers.get("Content-Encoding", ""))
        if packing in PACKINGS:
            try:
                body, is_cut = decompressed(body, packing, self._limit_bytes, is_cut=is_cut)
            except DecompressionError:
                return broken_reply(
                    f"{self._peer} sent an answer that is not encoded as its Content-Encoding says",
                    shown_start(mask, came.first),
                )
            headers = _without_encoding(headers)
        return Reply(
            came.status,
            headers,
            body[: self._limit_bytes],
            is_cut,
            came.received_s,
            came.standing,
            mask.hide,
            came.came_s,
        )


# What every request has in common


def _account_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    if faults := [wrong for each in headers.items() if (wrong := header_fault(*each))]:
        raise ConfigError([Fault(what=f"headers: {wrong}") for wrong in faults])
    ready = CIMultiDict(
        {"Accept": "*/*", "User-Agent": _user_agent(), "Accept-Encoding": "identity"}
    )
    ready.update(headers)
    return ready


def _target_of(url: URL, proxy: URL | None) -> str:
    """What every target of a request starts with; the whole URL if a proxy forwards the request.

    source  RFC 9112, section 3.2
    """
    path = "" if url.raw_path == "/" else url.raw_path
    if proxy is None or url.scheme == "https":
        return path
    return f"{url.scheme}://{url.host_port_subcomponent}{path}"


def _first_lines(url: URL, proxy: URL | None) -> str:
    """The headers that say where a request goes; a tunnel's proxy is asked when it is opened."""
    lines = f"Host: {url.host_port_subcomponent}\r\n"
    if proxy is None or proxy.user is None or url.scheme == "https":
        return lines
    credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return f"{lines}Proxy-Authorization: {credentials}\r\n"


def _user_agent() -> str:
    try:
        return f"offer-pipeline/{version('offer-pipeline')}"
    except PackageNotFoundError:  # run from a checkout
        return "offer-pipeline"


def _without_encoding(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers of a decompressed body without those that describe its encoding."""
    left = CIMultiDict(headers)
    for name in ("Content-Encoding", "Content-Length"):
        left.popall(name, None)
    return left
