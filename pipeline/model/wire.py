"""What goes over the wire, as values: a request, a reply, or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_NOT_THE_ACCOUNT_S = re.compile(  # they frame the message, or carry our credentials
    r"host|authorization|content-.*|transfer-encoding|connection|keep-alive|upgrade|te|trailer"
    r"|expect|accept-encoding|http2-settings|proxy-.*",
    re.IGNORECASE,
)


def header_fault(name: str, value: str) -> str | None:
    """Why no account can have this header sent, or None; without the value, it may be secret.

    source  RFC 9110, sections 5.1 and 5.5; beyond ASCII no two servers read a value alike

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

    path     starts with `/`, relative to the account's base URL, every segment percent-encoded; a
             query may follow
    headers  what this request needs beside the account's own (credentials are the account's)
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How a vendor's API is reached.

    base_url     scheme, host, port and path prefix, no slash at the end
    timeout_s    for a whole attempt, connecting included
    ca_file      trusted instead of the system's authorities; None trusts those
    client_cert  PEM file shown to the server, with its key in `client_key` (None: same file)
    proxy        URL of an HTTP proxy; None uses none, whatever the environment says
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
    """What became known of a reply after it had come.

    is_doubtful  its connection brought more than was asked for: it may answer another request
    """

    __slots__ = ("is_doubtful",)

    def __init__(self) -> None:
        self.is_doubtful = False


def _as_it_is(text: str) -> str:
    return text


class Reply(NamedTuple):
    """What came back, whole and unpacked: byte for byte, secrets that it repeats among it.

    headers     looked up without regard to case; of repeated names the first
    body        at most the transport's limit of bytes
    is_cut      True where the body was longer than that limit
    received_s  UTC seconds since 1970 when the headers had arrived
    standing    None where nothing more will become known
    hide        what makes of a text about this reply one that people may see: without the secrets
                that its request carried
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False
    received_s: float = 0.0
    standing: ReplyStanding | None = None
    hide: Callable[[str], str] = _as_it_is


UNSURE_WHOSE = frozenset({"surplus_reply", "early_reply"})
"""Reasons for which there is no reply although something came: whose answer it is, nobody knows."""


class NoReply(NamedTuple):
    """Nothing usable came back.

    reason       a short code: `connect_failed`, `tls_failed`, `timeout`, `broken_reply`, ...
    detail       the same in words, without secrets
    may_have_arrived  False only where the request certainly never left (no connection was made)
    is_permanent  True where trying again cannot help (a certificate that is not trusted)
    lost_turn     True where the request was kept back for a reason that has nothing to do with it
                  (our sign-in had ended): it stands in line again, and no attempt is counted
    """

    reason: str
    detail: str
    may_have_arrived: bool
    is_permanent: bool = False
    lost_turn: bool = False
