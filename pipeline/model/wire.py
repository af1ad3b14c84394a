"""HTTP messages as values: a request, a reply, or no reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_NOT_THE_ACCOUNT_S = re.compile(  # they define the message, or contain our credentials
    r"host|authorization|content-.*|transfer-encoding|connection|keep-alive|upgrade|te|trailer"
    r"|expect|accept-encoding|http2-settings|proxy-.*",
    re.IGNORECASE,
)


def header_fault(name: str, value: str) -> str | None:
    """Why an account cannot set this header, or None. Without the value, which may be secret.

    source  RFC 9110, sections 5.1 and 5.5; servers differ in how they read values beyond ASCII

    >>> header_fault("X-Team", "offers")
    >>> header_fault("Host", "elsewhere.example")
    'may not set Host: that comes from the request and the keys of the account'
    """
    if _NOT_THE_ACCOUNT_S.fullmatch(name):
        return f"may not set {name}: that comes from the request and the keys of the account"
    if not _HEADER_NAME.fullmatch(name):
        return f"{name!r} cannot be the name of a header"
    if not _HEADER_VALUE.fullmatch(value):
        return f"the value of {name} holds characters that a header cannot carry"
    return None


class Request(NamedTuple):
    """One HTTP request.

    path     starts with `/`, relative to the account's base URL, with percent-encoded segments; may
             have a query
    headers  in addition to those of the account, such as credentials
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Connection settings of a vendor's API.

    base_url     scheme, host, port and path prefix, without a slash at the end
    timeout_s    for a whole request; connecting counts if a read waits for it, and for an update
                 only `connect_timeout_s` bounds it: no permit is taken before
    ca_file      trusted instead of the system's authorities; None trusts the system's
    client_cert  PEM file of the client certificate, with its key in `client_key` (None: same file)
    proxy        URL of an HTTP proxy; None uses none, and ignores the environment
    headers      sent with every request
    tls          "1.2" means 1.2 or newer; "legacy" also 1.0 and old renegotiation
    """

    base_url: str
    timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    max_reply_bytes: int = 1024 * 1024
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Literal["1.2", "legacy"] = "1.2"


class ReplyStanding:
    """Facts about a reply that are only known after it arrived.

    is_doubtful  True if its connection sent a surplus reply: it may answer another request
    """

    __slots__ = ("is_doubtful",)

    def __init__(self) -> None:
        self.is_doubtful = False


def _unchanged(text: str) -> str:
    return text


class Reply(NamedTuple):
    """A complete, unpacked reply. May contain secrets that it repeats.

    headers     case-insensitive; the first of repeated names
    body        cut to the transport's limit
    is_cut      True if the body was longer than that limit
    received_s  time when the headers arrived, UTC seconds since 1970
    standing    None if it cannot change
    hide        removes the secrets of the request from a text about this reply
    came_s      monotonic seconds when it arrived, if that was before it was read; else 0
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False
    received_s: float = 0.0
    standing: ReplyStanding | None = None
    hide: Callable[[str], str] = _unchanged
    came_s: float = 0.0


UNSURE_WHOSE = frozenset({"surplus_reply", "early_reply"})
"""Reasons of a `NoReply` if bytes arrived, but may belong to another request."""


class NoReply(NamedTuple):
    """A request without a usable reply.

    reason       a short code: `connect_failed`, `tls_failed`, `timeout`, `broken_reply`, ...
    detail       message, without secrets
    may_have_arrived  False only if the request was certainly not sent (there was no connection)
    is_permanent  True if a retry cannot help (a certificate that is not trusted)
    lost_turn     True if the request was not sent for an unrelated reason (our sign-in had ended):
                  it is queued again, and the attempt does not count
    """

    reason: str
    detail: str
    may_have_arrived: bool
    is_permanent: bool = False
    lost_turn: bool = False
