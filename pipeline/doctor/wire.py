"""Checks at an account's vendor: a handshake, a sign-in, one harmless read."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from urllib.parse import urlsplit

import anyio.to_thread

from pipeline.doctor.finding import Finding, Level, of_faults
from pipeline.doctor.judge import judge_certificate, judge_clock, judge_lost, judge_reply
from pipeline.http_client.tls import tls_context, tls_failure
from pipeline.http_client.wire import send
from pipeline.model import ConfigError, Link, NoReply
from pipeline.model.retry import RetryPolicy
from pipeline.sign_in.tokens import sign_in_ahead, signed_in
from pipeline.vendors.kit.account import Account

MAX_WAIT_S = 10.0  # for one connection, and for one reply

IN_LINK = "Correct the file, or name another"


async def examine_account(account: Account, now_s: Callable[[], float]) -> AsyncIterator[Finding]:
    """Check reachability, TLS, credentials, the vendor and the clock; a fault ends the checks.

    account  with its secrets
    now_s    UTC seconds since 1970
    """
    link = replace(account.link, timeout_s=min(account.link.timeout_s, MAX_WAIT_S))
    account = replace(account, link=link, retry=RetryPolicy(max_attempts=1))
    try:
        connection = await anyio.to_thread.run_sync(
            _connection, account, now_s, abandon_on_cancel=True
        )
        yield connection
        if connection.level is not Level.FAULT:
            async for finding in _requests(account):
                yield finding
    except ConfigError as error:
        for finding in of_faults(error.faults, "tls", IN_LINK, account.name):
            yield finding


def _connection(account: Account, now_s: Callable[[], float]) -> Finding:
    """Check that a connection can be made, and the server's certificate."""
    link, parts = account.link, urlsplit(account.link.base_url)
    if link.proxy is not None:
        what = "connects through a proxy; the end of the certificate is not checked"
        return Finding(level=Level.OK, check="reachability", what=what, account=account.name)
    host = parts.hostname or ""
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    peer = f"{host}:{port}"
    try:
        connection = socket.create_connection((host, port), timeout=_timeout_s(link))
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no answer, or no such name"
        lost = NoReply("connect_failed", f"cannot connect to {peer}: {why}", may_have_arrived=False)
        return judge_lost(lost, account.name)
    with connection:
        if parts.scheme != "https":
            return Finding(
                level=Level.OK if account.is_simulated or _is_loopback(host) else Level.WARNING,
                check="tls",
                what=f"{peer} is reached without TLS",
                fix="" if _is_loopback(host) else "Write https:// in base_url",
                account=account.name,
            )
        try:
            with tls_context(link).wrap_socket(connection, server_hostname=host) as safe:
                certificate = safe.getpeercert() or {}
        except OSError as error:
            return judge_lost(tls_failure(error, peer), account.name)
    ends_s = float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
    return judge_certificate(ends_s, now_s(), peer, account.name)


def _timeout_s(link: Link) -> float:
    return min(link.connect_timeout_s, MAX_WAIT_S)


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


async def _requests(account: Account) -> AsyncIterator[Finding]:
    """Sign in, then send the vendor's probe. Each is sent once."""
    async with signed_in(account) as wire:
        lost = await sign_in_ahead(wire)
        if lost is not None:
            yield judge_lost(lost, account.name)
            return
        probe = account.vendor.probe
        request = probe.request(account.settings) if probe else None
        if request is None:
            what = "signed in; this vendor has no harmless read for a further check"
            yield Finding(level=Level.OK, check="credentials", what=what, account=account.name)
            return
        reply = await send(wire, request)
    if isinstance(reply, NoReply):
        yield judge_lost(reply, account.name)
        return
    yield judge_reply(account, reply)
    clock = judge_clock(reply.headers.get("Date"), reply.received_s, account.name)
    if clock is not None:
        yield clock
