"""HTTP/1.1 as bytes: writes request heads and parses the replies of one connection. Pure.

The rules are strict. A reply that two readers could understand differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from enum import Enum, auto

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)
from multidict import CIMultiDict

MAX_HEAD_BYTES = 64 * 1024
"""Of one reply: its status line and headers; also its trailers, and what frames one chunk."""
MAX_HEADERS = 128
FIRST_BYTES = 4 * 1024
"""The part of a reply that is kept for messages until it is parsed; longer than a token."""

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer"}
    | {"upgrade", "expect"}
)
_WITHOUT_LENGTH = frozenset({"GET", "OPTIONS", "TRACE"})
_USUAL = frozenset({"GET", "PUT", "PATCH", "POST", "DELETE"})
_FRAMED_OTHERWISE = frozenset({"HEAD", "CONNECT"})  # their replies: RFC 9112, section 6.3
_NO_BODY = frozenset({204, 304})  # RFC 9110, section 6.4.1
_VERSIONS = frozenset({"1.0", "1.1"})


def header_lines(headers: Mapping[str, str]) -> str:
    r"""Return the headers as written, each with its line end.

    raises  ValueError for a name that is no token or that frames the message, and for a value
            with a control character. The value may be secret: the error does not show it
    source  RFC 9110, sections 5.1 and 5.5

    >>> header_lines({"X-Team": "offers"})
    'X-Team: offers\r\n'
    """
    for name, value in headers.items():
        if _METHOD.fullmatch(name) is None or name.lower() in _FRAMING:
            raise ValueError(f"{name!r} cannot be a header of a request")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of {name} holds a control character")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def request_head(method: str, target: str, lines: str, body_bytes: int) -> bytes:
    r"""Return the head of a request.

    target  the path, or the whole URL for a proxy
    lines   the headers, from `header_lines`; Host among them
    source  RFC 9112, section 3; RFC 9110, section 8.6

    >>> request_head("PUT", "/a", "Host: b\r\n", 3)
    b'PUT /a HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n'
    >>> request_head("GET", "/a", "Host: b\r\n", 0)
    b'GET /a HTTP/1.1\r\nHost: b\r\n\r\n'
    """
    if not body_bytes and method in _WITHOUT_LENGTH:
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()
    return f"{method} {target} HTTP/1.1\r\n{lines}Content-Length: {body_bytes}\r\n\r\n".encode()


def check_request_line(method: str, path: str) -> None:
    """Raise ValueError for a method that cannot be sent and a path that is not percent-encoded."""
    # visible ASCII without `#`: nothing that ends the line
    is_visible = path.isascii() and path.isprintable() and " " not in path and "#" not in path
    if not (is_visible and path.startswith("/")):
        raise ValueError(f"a path starts with / and is percent-encoded, not {path!r}")
    if method in _USUAL:
        return
    if _METHOD.fullmatch(method) is None or method in _FRAMED_OTHERWISE:
        raise ValueError(f"{method!r} is not a method that can be sent")


class ReplyFault(Enum):
    """Why a reply is not complete."""

    NO_REPLY = auto()
    """The connection ended before the first byte."""
    HEAD_CUT = auto()
    """The connection ended within the head."""
    HEAD_BROKEN = auto()
    """The head is not HTTP, ambiguous, or too large."""
    BODY_BROKEN = auto()
    """The body ended early, or its framing is broken."""


class ReplyHeaders(Mapping[str, str]):
    """The headers of a reply, decoded once one is asked for: those of a plain success rarely are.

    Names are case-insensitive; a repeated name gives its first value, and `items` gives all.

    >>> headers = ReplyHeaders([(b"X-Id", b"1"), (b"x-id", b"2")])
    >>> headers["x-ID"], list(headers.items())
    ('1', [('X-Id', '1'), ('x-id', '2')])
    """

    __slots__ = ("_decoded", "_fields")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._fields = fields
        self._decoded: CIMultiDict[str] | None = None

    def _all(self) -> CIMultiDict[str]:
        if self._decoded is None:
            self._decoded = CIMultiDict(
                [
                    (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
                    for name, value in self._fields
                ]
            )
        return self._decoded

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        """Return the number of headers, repeated names included."""
        return len(self._fields)

    def items(self) -> ItemsView[str, str]:
        """Return all headers, in the order of the reply."""
        return self._all().items()

    def values(self) -> ValuesView[str]:
        """Return all values, in the order of the reply."""
        return self._all().values()


_NO_HEADERS = ReplyHeaders()


class ReplyParser:
    """Parses the replies of one connection. Call `begin` before each of them but the first.

    first        the first bytes that arrived, up to `FIRST_BYTES`
    status       0 until the head of the final reply is complete; interim replies (1xx) are skipped
    headers      of the final reply; trailers are dropped
    body         at most `max_body_bytes` and one read more
    is_whole     the reply is complete
    is_too_long  the body is longer than `max_body_bytes`
    fault        why the reply will never be complete, or None
    has_surplus  more than one reply arrived
    keeps_alive  another request may follow on this connection
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._parser = HttpResponseParser(self)
        self._plain: tuple[bytes, int, ReplyHeaders] | None = None  # the last reply without a body
        self.begin()

    def begin(self) -> None:
        """Expect a reply."""
        self.first = b""
        self.status = 0
        self.headers = _NO_HEADERS
        self.is_whole = self.is_too_long = self.has_surplus = self.keeps_alive = False
        self.fault: ReplyFault | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = 0
        self._is_interim = self._ends_with_connection = self._has_advanced = False

    @property
    def body(self) -> bytes:
        """The body so far, still compressed."""
        return b"".join(self._body)

    @property
    def is_over(self) -> bool:
        """True if nothing more is expected."""
        return self.is_whole or self.is_too_long or self.fault is not None

    def feed(self, data: bytes) -> None:
        """Parse received bytes. Not after `is_over`."""
        if not self.first:
            if self._plain is not None and data == self._plain[0]:  # it means the same again
                self.first, self.status, self.headers = self._plain
                self.is_whole = self.keeps_alive = True
                return
            self.first = data[:FIRST_BYTES]
        elif len(self.first) < FIRST_BYTES:
            self.first += data[: FIRST_BYTES - len(self.first)]
        self._has_advanced = False
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError:
            raise
        except (HttpParserError, HttpParserUpgrade):
            self._stop(data)
        else:
            if self.is_whole or self._has_advanced:
                self._head_bytes = 0
                self._remember(data)
            elif self._head_bytes > MAX_HEAD_BYTES:
                self._fail()

    def _remember(self, data: bytes) -> None:
        is_plain = self.keeps_alive and not (self._body or self.has_surplus or self.is_too_long)
        if self.is_whole and is_plain and self.first == data:
            self._plain = data, self.status, self.headers

    def end(self, *, is_clean: bool) -> None:
        """Note the end of the connection; `is_clean` is False if it was reset."""
        if self.is_over:
            return
        if self._ends_with_connection and is_clean:
            self.is_whole = True
        elif self.status:
            self.fault = ReplyFault.BODY_BROKEN
        else:
            self.fault = ReplyFault.HEAD_CUT if self.first else ReplyFault.NO_REPLY

    def _stop(self, data: bytes) -> None:
        """Handle bytes that HTTP does not allow at their place."""
        if not self.is_whole:
            self._fail()
        elif self.status in _NO_BODY and b"\nHTTP/" not in data:
            # a body all the same: it is dropped, and its connection closed
            self.keeps_alive = self.has_surplus = False
        else:
            self.has_surplus = True

    def _fail(self) -> None:
        self.fault = ReplyFault.BODY_BROKEN if self.status else ReplyFault.HEAD_BROKEN

    # Called by the parser

    def on_message_begin(self) -> None:
        """Note that a reply begins."""
        if self.is_whole:
            self.has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are dropped later."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Check a complete head."""
        if self.is_whole:
            return
        status = self._parser.get_status_code()
        if self._is_refused(status):
            self.fault = ReplyFault.HEAD_BROKEN
        elif status < 200:  # noqa: PLR2004 - interim replies end there
            self._is_interim = True
        else:
            self.status = status
            self.headers = ReplyHeaders(self._fields)
            self._frame()
        self._fields = []

    def _is_refused(self, status: int) -> bool:
        """True if the head is not one of HTTP/1.1, or too large."""
        fields = self._fields
        return (
            not (self.first.startswith(b"HTTP/") or self.first.lstrip(b"\r\n").startswith(b"HTTP/"))
            or self._parser.get_http_version() not in _VERSIONS
            or status < 100  # noqa: PLR2004 - the least status
            or len(fields) > MAX_HEADERS
            or (
                self._head_bytes > MAX_HEAD_BYTES
                and sum(len(name) + len(value) for name, value in fields) > MAX_HEAD_BYTES
            )
        )

    def _frame(self) -> None:
        """Determine where the body ends, and whether the connection can be kept."""
        length: bytes | None = None
        codings = []
        for name, value in self._fields:
            match name.lower():
                case b"content-length" if length is None:
                    length = value
                case b"transfer-encoding":
                    codings.append(value.strip().lower())
        keeps_alive = self._parser.should_keep_alive()
        if codings and codings != [b"chunked"]:
            self.fault = ReplyFault.HEAD_BROKEN
        elif self.status in _NO_BODY:
            keeps_alive = keeps_alive and not codings and length in (None, b"0")
        elif codings:  # RFC 9112, section 6.1: not known to HTTP/1.0
            keeps_alive = keeps_alive and self._parser.get_http_version() == "1.1"
        else:
            self._ends_with_connection = length is None
        self.keeps_alive = keeps_alive and not self._ends_with_connection

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._has_advanced = True
        if not self.is_too_long:
            self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._max_body_bytes:
            self.is_too_long = True

    def on_message_complete(self) -> None:
        """Note the end of a reply."""
        if self._is_interim:
            self._is_interim = False
        elif self.fault is None:
            self.is_whole = True
