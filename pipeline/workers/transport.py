"""Sends requests over HTTP; one send puts at most one request on the wire.

The only module that knows aiohttp besides `connection.py`: its errors become values here.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from types import TracebackType
from typing import Self, cast
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from pipeline.model import ConfigError, Fault, Link, NoReply, Reply, ReplyStanding, Request
from pipeline.model.wire import header_fault
from pipeline.workers.connection import CheckedConnection
from pipeline.workers.decompress import PACKINGS, DecompressionError, Decompressor, packing_of
from pipeline.workers.masking import Mask
from pipeline.workers.tls import is_about_our_certificate, tls_context, tls_failure

IDLE_S = 4.0  # below the 5 s after which Apache and Node close an idle connection
DNS_TTL_S = 60
SHOWN_BYTES = 100  # of a reply that cannot be parsed
MAX_HEADER_BYTES = 32 * 1024  # of one reply header; some gateways send long policies
LATE_S = 0.010  # delays up to this are within the rate limiter's margin
LARGE_BODY_BYTES = 1024 * 1024  # from here on aiohttp wants a stream instead of bytes
CONNECT_SHARE = 0.9  # of timeout_s, at most: a timeout while connecting proves nothing was sent

PATH = re.compile(r"/[!\"$-~]*")  # visible ASCII without `#`: nothing that could end the line

Late = Callable[[float], Awaitable[bool]]
"""Seconds since the permit was given -> True if the request may still be sent."""


class NeverLeftError(asyncio.CancelledError):
    """Cancelled before the request had a connection: certainly nothing was sent."""


class _SendState:
    """The connection of one `send`, once it has one, and the standing of its reply."""

    __slots__ = ("standing", "wire")

    def __init__(self) -> None:
        self.wire: CheckedConnection | None = None
        self.standing = ReplyStanding()


_send_state: ContextVar[_SendState] = ContextVar("_send_state")


class Transport:
    """Sends requests over one link. Enter it before the first `send`; safe to use concurrently.

    authorization  the header's value until `set_authorization` sets another; None sends none
    in_flight      the most connections; one more send would wait for a connection
    secrets        masked in texts about replies besides the authorization, for example a key in a
                   vendor's own header
    late           called before a request is sent whose connection took longer than LATE_S; None
                   always sends
    raises         ConfigError if the link cannot work as configured
    """

    def __init__(
        self,
        link: Link,
        *,
        authorization: str | None,
        in_flight: int,
        secrets: Sequence[str] = (),
        late: Late | None = None,
    ) -> None:
        url = _checked_base_url(link.base_url)
        self._proxy = None if link.proxy is None else _checked_proxy(link.proxy)
        self._link = link
        self._peer = host_port(url)
        self._unsigned = _account_headers(link.headers)
        self._tls = tls_context(link) if url.scheme == "https" else None
        self._timeouts = _timeouts(link)
        self._in_flight = in_flight
        self._late = late
        self._secrets = tuple(secrets)
        self._headers: CIMultiDict[str]
        self._mask: Mask
        self._last_headers: tuple[Mapping[str, str], CIMultiDict[str]]
        self.set_authorization(authorization)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=self._in_flight, tls=self._tls, late=self._late),
            # No default headers here: aiohttp would show them to a proxy as well.
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            proxy=self._proxy,
            auto_decompress=False,
            max_field_size=MAX_HEADER_BYTES,
            timeout=self._timeouts,
        )
        # Otherwise aiohttp sends a PUT twice when its connection dies; there is no public option.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    def set_authorization(self, authorization: str | None) -> None:
        """Set the Authorization header of later requests; requests in flight keep theirs."""
        self._headers = self._unsigned.copy()
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._last_headers = {}, self._headers
        self._mask = Mask((authorization or "").rpartition(" ")[2], *self._secrets)

    async def send(self, request: Request) -> Reply | NoReply:
        """Send `request`; return the reply, or a NoReply that says how it was lost.

        It carries the authorization that was set when it was called. The reply is not masked; its
        `hide` masks texts about it. If cancelled, it closes its connection.

        raises  ValueError if the request's path is not encoded; NeverLeftError if cancelled without
                a connection. Nothing else for what the network or the peer does
        """
        headers, mask = self._headers_for(request), self._mask
        send_state = _SendState()
        _send_state.set(send_state)
        try:
            response = await self._session.request(
                request.method,
                self._url(request.path),
                data=_payload(request.body),
                headers=headers,
                allow_redirects=False,
            )
            received_s = time.time()
            is_early = response._writer is not None  # noqa: SLF001 - no public way to know
            try:
                body, is_cut = await self._read(response)
            finally:
                response.release()  # closes the connection unless the body was read whole
        except asyncio.CancelledError as error:
            if send_state.wire is not None:
                raise
            raise NeverLeftError(*error.args) from error
        except _NotConnectedError as error:
            return _never_left(error.cause, self._peer, host_port(self._proxy), self._timeouts)
        except (aiohttp.ClientError, OSError, DecompressionError) as error:
            if send_state.wire is None:
                return _never_left(error, self._peer, host_port(self._proxy), self._timeouts)
            first = mask.hide_bytes(send_state.wire.first + b"...").removesuffix(b"...")
            return _in_doubt(error, self._peer, self._timeouts, _shown(first))
        standing = send_state.standing
        if standing.is_doubtful:
            return unmatched_reply(self._peer)
        if is_early and response.status // 100 == 2:  # noqa: PLR2004 - the class of successes
            return _too_early(self._peer)
        decoded = _without_encoding(response.headers)
        return Reply(response.status, decoded, body, is_cut, received_s, standing, mask.hide)

    def _url(self, path: str) -> URL:
        if PATH.fullmatch(path) is None:
            raise ValueError(f"a path starts with / and is percent-encoded, not {path!r}")
        return URL(self._link.base_url + path, encoded=True)

    def _headers_for(self, request: Request) -> CIMultiDict[str]:
        given, headers = self._last_headers
        if given is not request.headers:  # a vendor's requests mostly share one mapping
            headers = self._headers.copy()
            headers.update(request.headers)
            self._last_headers = request.headers, headers
        return headers

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
        """Return the decompressed body, and True if it was longer than allowed."""
        content, limit_bytes = response.content, self._link.max_reply_bytes
        packing = packing_of(response.headers.get("Content-Encoding", ""))
        unpacker = Decompressor(packing) if packing in PACKINGS else None
        body, came = b"", 0
        while not content.at_eof() and max(len(body), came) <= limit_bytes:
            data = await content.readany()
            came += len(data)
            body += data if unpacker is None else unpacker.feed(data, limit_bytes + 1 - len(body))
        is_cut = max(len(body), came) > limit_bytes
        if unpacker is not None and not is_cut:
            unpacker.end()
        return body[:limit_bytes], is_cut


class _NotConnectedError(aiohttp.ClientError):
    """No connection was obtained, hence nothing was sent."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _TooLateError(aiohttp.ClientError):
    """The connection was made after the request's permit had expired."""


class _Connector(aiohttp.TCPConnector):
    """Marks errors before a request has a connection: nothing was sent then."""

    def __init__(self, *, limit: int, tls: ssl.SSLContext | None, late: Late | None) -> None:
        super().__init__(
            limit=limit,
            ssl=True if tls is None else tls,
            keepalive_timeout=IDLE_S,
            ttl_dns_cache=DNS_TTL_S,
        )
        self._factory = cast(
            "partial[ResponseHandler]", partial(CheckedConnection, self._loop)
        )  # there is no public way to check a connection
        self._used: WeakSet[CheckedConnection] = WeakSet()
        self._late = late

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> Connection:
        """Return an open connection on which no bytes wait to be read."""
        asked_s = time.monotonic()
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                if await self._is_usable(connection):
                    await self._still_in_time(connection, asked_s)
                    _begin(_send_state.get(), connection)
                    return connection
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise _NotConnectedError(error) from error

    async def _still_in_time(self, connection: Connection, asked_s: float) -> None:
        """Raise _TooLateError if connecting took so long that the permit has expired."""
        late_s = time.monotonic() - asked_s
        if self._late is None or late_s < LATE_S:
            return
        is_permitted = False
        try:
            is_permitted = await self._late(late_s)
        finally:
            if not is_permitted:
                connection.release()
        if not is_permitted:
            raise _TooLateError

    async def _is_usable(self, connection: Connection) -> bool:
        """True if the connection may be used; otherwise close it, and raise if it is new."""
        # A server may send something on an idle connection (a 408, or a surplus reply); aiohttp
        # would take it for the reply to the next request.
        wire = _wire_of(connection)
        is_used = wire in self._used
        try:
            if is_used and wire.is_readable():
                for _ in range(_TURNS_TO_READ):
                    await asyncio.sleep(0)
        except BaseException:
            connection.close()
            raise
        if wire.is_connected() and not wire.should_close:
            self._used.add(wire)
            return True
        connection.close()
        if not is_used:  # another new one would be the same
            raise aiohttp.ServerDisconnectedError
        return False


_TURNS_TO_READ = 3  # of the loop: to see that there is something, to read it, to close


def _wire_of(connection: Connection) -> CheckedConnection:
    wire = connection.protocol
    if not isinstance(wire, CheckedConnection):
        raise TypeError("aiohttp made a connection that is not a CheckedConnection")
    return wire


def _begin(send_state: _SendState, connection: Connection) -> None:
    """Bind the connection to the request that is about to be sent."""
    wire = _wire_of(connection)
    if wire.should_close or not wire.is_connected():  # closed while the request waited
        connection.close()
        raise aiohttp.ServerDisconnectedError
    wire.on_request()
    send_state.wire, send_state.standing = wire, wire.standing


# Checking the link before the first request...


def _checked_base_url(text: str) -> URL:
    url = _checked_url("base_url", text, ("https", "http"))
    if url.user is not None or url.password is not None:
        raise ConfigError(
            [
                Fault(
                    what="base_url holds a user name or password",
                    expected="scheme, host, port and path only",
                    todo="Credentials have keys of their own",
                )
            ]
        )
    return url


def _checked_proxy(text: str) -> URL:
    return _checked_url("proxy", text, ("http",))


def _checked_url(name: str, text: str, schemes: tuple[str, ...]) -> URL:
    # The value is never shown: it may hold a password.
    expected = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        url = URL(text, encoded=True)
        is_right = url.scheme in schemes and bool(url.host)
    except ValueError:
        is_right = False
    if not is_right or any(char in "?#" or not "!" <= char <= "~" for char in text):
        raise ConfigError([Fault(what=f"{name} is not a usable URL", expected=expected)])
    return url


def _account_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    if faults := [wrong for each in headers.items() if (wrong := header_fault(*each))]:
        raise ConfigError([Fault(what=f"headers: {wrong}") for wrong in faults])
    ready = CIMultiDict({"User-Agent": _user_agent(), "Accept-Encoding": "identity"})
    ready.update(headers)
    return ready


def _user_agent() -> str:
    try:
        return f"offer-pipeline/{version('offer-pipeline')}"
    except PackageNotFoundError:  # run from a checkout
        return "offer-pipeline"


def _timeouts(link: Link) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=link.timeout_s,
        connect=min(link.connect_timeout_s, CONNECT_SHARE * link.timeout_s),
        ceil_threshold=math.inf,  # rounded up to whole seconds, both could end at once
    )


def _payload(body: bytes) -> bytes | BytesIO | None:
    if len(body) < LARGE_BODY_BYTES:
        return body or None
    return BytesIO(body)


def host_port(url: URL | None) -> str:
    """Return a peer's host:port for messages; empty for None."""
    return "" if url is None else f"{url.raw_host}:{url.port}"


# The library's errors as values. Messages are our own: the library's may contain credentials.


def _never_left(  # noqa: PLR0911 - one for each way to fail
    error: Exception, peer: str, proxy: str, timeouts: aiohttp.ClientTimeout
) -> NoReply:
    """Explain why there was no connection.

    peer, proxy  host:port; the proxy is empty for none
    """
    match error:
        # If nothing listens, a connection is refused; if it is reset, TLS had begun.
        case (
            aiohttp.ClientSSLError() | aiohttp.ClientConnectorError(os_error=ConnectionResetError())
        ):
            return tls_failure(error.os_error, peer)
        case aiohttp.ClientConnectorError():
            return _unreachable(error, proxy)
        case aiohttp.ClientHttpProxyError():
            return _refused_by_proxy(error.status, peer, proxy)
        case TimeoutError():
            where = f"{peer} through the proxy {proxy}" if proxy else peer
            detail = f"no connection to {where} within {timeouts.connect:g} s"
            return NoReply("connect_timeout", detail, may_have_arrived=False)
        case _TooLateError():
            detail = f"the connection to {peer} took so long that the request's permit expired"
            return NoReply("connect_late", detail, may_have_arrived=False)
        case ValueError():  # not a host name, or an address in an old form
            detail = f"{peer} cannot be looked up. Check the host in base_url and proxy"
            return NoReply("connect_failed", detail, may_have_arrived=False, is_permanent=True)
    detail = f"{proxy or peer} disconnected before there was a connection to {peer}"
    return NoReply("proxy_failed" if proxy else "connect_failed", detail, may_have_arrived=False)


def _unreachable(error: aiohttp.ClientConnectorError, proxy: str) -> NoReply:
    where = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        detail = f"cannot find the address of {where}: {_words(error.os_error)}"
    else:
        detail = f"cannot connect to {where}: {_words(error.os_error)}"
    if where == proxy:
        return NoReply("proxy_failed", f"proxy: {detail}", may_have_arrived=False)
    return NoReply("connect_failed", detail, may_have_arrived=False)


def _refused_by_proxy(status: int, peer: str, proxy: str) -> NoReply:
    detail = f"the proxy {proxy} answered {status} instead of connecting to {peer}"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        detail += ". Set user and password in the URL of proxy"
    return NoReply(
        "proxy_failed",
        detail,
        may_have_arrived=False,
        is_permanent=status in {HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED},
    )


def unmatched_reply(peer: str) -> NoReply:
    """Return the NoReply of a request whose reply may answer another request."""
    detail = (
        f"{peer} sent more replies than it got requests on one connection: it is unknown which "
        "of them answers this request"
    )
    return NoReply("surplus_reply", detail, may_have_arrived=True)


def _too_early(peer: str) -> NoReply:
    detail = f"{peer} answered with a success before it had received the whole request"
    return NoReply("early_reply", detail, may_have_arrived=True)


def _in_doubt(error: Exception, peer: str, timeouts: aiohttp.ClientTimeout, first: str) -> NoReply:
    """Explain how a request that had a connection was lost: it may have arrived.

    first  the start of what arrived, as text; empty if nothing arrived
    """
    refusal = error.__cause__
    match error:
        case OSError() if isinstance(refusal, OSError) and is_about_our_certificate(refusal):
            # In TLS 1.3 a server checks our certificate when we are already sending.
            return tls_failure(refusal, peer, may_have_arrived=True)
        case TimeoutError():
            detail = f"no complete answer from {peer} within {timeouts.total:g} s"
            return NoReply("timeout", detail, may_have_arrived=True)
    if broken := _broken(error, peer, first):
        begins = f": it begins {first}" if first else ""
        return NoReply("broken_reply", broken + begins, may_have_arrived=True)
    detail = f"{peer} closed the connection without an answer"
    return NoReply("disconnected", detail, may_have_arrived=True)


def _broken(error: Exception, peer: str, first: str) -> str:
    """Say why an answer cannot be parsed; empty if none arrived."""
    match error:
        case DecompressionError():
            return f"{peer} sent an answer that is not encoded as its Content-Encoding says"
        case aiohttp.ClientPayloadError():
            return f"{peer} sent an incomplete or malformed answer"
        case aiohttp.ClientResponseError():
            return f"the answer of {peer} is not HTTP, or its headers are too large"
    return f"{peer} closed the connection in the middle of its answer" if first else ""


def _shown(first: bytes) -> str:
    r"""Return the start of an answer in quotes, with control characters escaped.

    >>> _shown(b"SSH-2.0\r\n\x1b[31m"), _shown(b"")
    ('"SSH-2.0\\r\\n\\x1b[31m"', '')
    """
    text = first[:SHOWN_BYTES].decode("latin-1").encode("unicode_escape").decode("ascii")
    return f'"{text}"' if text else ""


def _without_encoding(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of a decompressed body without those that describe its encoding."""
    if packing_of(headers.get("Content-Encoding", "")) not in PACKINGS:
        return headers
    left = CIMultiDict(headers)
    for name in ("Content-Encoding", "Content-Length"):
        left.popall(name, None)
    return left


def _words(error: OSError) -> str:
    """Return the system's message for an error, without addresses or names.

    >>> _words(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"))
    'Connection refused'
    """
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, socket.gaierror):
        return error.strerror or "unknown name"
    return "no answer"
