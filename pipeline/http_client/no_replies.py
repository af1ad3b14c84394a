"""Requests without a usable reply, as values.

Messages are our own: those of a library may show credentials.
"""

from __future__ import annotations

import os
import socket
from http import HTTPStatus

import aiohttp

from pipeline.http_client.connection import LostReplyError
from pipeline.http_client.http1 import ReplyFault
from pipeline.http_client.masking import Mask
from pipeline.http_client.tls import is_about_our_certificate, tls_failure
from pipeline.model import NoReply

SHOWN_BYTES = 100  # of a reply that cannot be parsed


def not_connected(error: Exception, peer: str, proxy: str, connect_s: float) -> NoReply:
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
            detail = f"no connection to {where} within {connect_s:g} s"
            return NoReply("connect_timeout", detail, may_have_arrived=False)
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


def too_early_reply(peer: str) -> NoReply:
    """A success that came before the vendor had the whole request: it proves nothing."""
    detail = f"{peer} answered with a success before it had received the whole request"
    return NoReply("early_reply", detail, may_have_arrived=True)


def lost_reply(lost: LostReplyError, peer: str, timeout_s: float, first: str) -> NoReply:
    """Explain how a request that had a connection was lost: it may have arrived.

    first  the start of what arrived, as text; empty if nothing arrived
    """
    if isinstance(lost.cause, OSError) and is_about_our_certificate(lost.cause):
        # In TLS 1.3 a server checks our certificate when we are already sending.
        return tls_failure(lost.cause, peer, may_have_arrived=True)
    match lost.fault:
        case None:
            detail = f"no complete answer from {peer} within {timeout_s:g} s"
            return NoReply("timeout", detail, may_have_arrived=True)
        case ReplyFault.NO_REPLY:
            detail = f"{peer} closed the connection without an answer"
            return NoReply("disconnected", detail, may_have_arrived=True)
        case ReplyFault.HEAD_CUT:
            return broken_reply(f"{peer} closed the connection in the middle of its answer", first)
        case ReplyFault.HEAD_BROKEN:
            return broken_reply(
                f"the answer of {peer} is not HTTP, or its headers are too large", first
            )
        case ReplyFault.BODY_BROKEN:
            return broken_reply(f"{peer} sent an incomplete or malformed answer", first)


def broken_reply(detail: str, first: str) -> NoReply:
    """A reply that cannot be understood, and how it begins; `first` as for `lost_reply`."""
    begins = f": it begins {first}" if first else ""
    return NoReply("broken_reply", detail + begins, may_have_arrived=True)


def shown_start(mask: Mask, first: bytes) -> str:
    r"""Return the start of an answer in quotes, masked, with control characters escaped.

    >>> shown_start(Mask("hush-hush"), b"SSH-2.0\r\n\x1b[31m hush-hush"), shown_start(Mask(), b"")
    ('"SSH-2.0\\r\\n\\x1b[31m ***"', '')
    """
    shown = mask.hide_bytes(first + b"...").removesuffix(b"...")[:SHOWN_BYTES]
    text = shown.decode("latin-1").encode("unicode_escape").decode("ascii")
    return f'"{text}"' if text else ""


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
