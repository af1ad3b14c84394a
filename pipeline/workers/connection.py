"""A connection that detects surplus replies: a reply may then answer another request.

HTTP/1.1 matches replies to requests by their order alone. A server or proxy that sends one reply
too many shifts all later replies by one.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from pipeline.model import ReplyStanding

FIRST_BYTES = 4 * 1024
"""The part of a reply that is kept for messages until it is parsed; longer than a token."""

_REMEMBERED = 256  # replies of one connection that may still turn out doubtful
_HEAD_ENDS = b"\r\n\r\n"
_NO_BODY = frozenset({204, 304})  # RFC 9110, section 6.4.1
_SWITCHED = 101

Message = tuple[RawResponseMessage, StreamReader]


class CheckedConnection(ResponseHandler):
    """aiohttp's connection, checked for surplus bytes.

    standing           of the reply to the current request
    first              the first bytes received for it, up to `FIRST_BYTES`
    is_desynchronized  surplus bytes arrived: recent replies cannot be matched to requests
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.standing = ReplyStanding()
        self.first = b""
        self.is_desynchronized = False
        self._recent: deque[ReplyStanding] = deque(maxlen=_REMEMBERED)
        self._replies = 0
        self._is_awaiting_reply = True  # a proxy may reply before the first request
        self._body: StreamReader | None = None
        self._head = b""  # the last bytes of a head that has not ended

    def on_request(self) -> None:
        """Note that a request is about to be sent: bytes from now on belong to its reply."""
        self.standing = ReplyStanding()
        self.first = self._head = b""
        self._replies = 0
        self._is_awaiting_reply = True

    def is_readable(self) -> bool:
        """True if bytes or an end of stream wait to be read."""
        sock = None if self.transport is None else self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; bytes without a request desynchronize the connection."""
        if data and not self._is_awaiting_reply:
            self._desynchronize()
            return
        room = FIRST_BYTES - len(self.first)
        if room > 0:
            self.first += data[:room]
        while data and self._replies == 0 and (end := self._end_of_head(data)):
            super().data_received(data[:end])
            data = data[end:]
            if not data:
                return
        if data and not self._is_awaiting_reply:  # a reply without a body, and bytes after it
            self._on_surplus(data)
            return
        was_asked = self._is_awaiting_reply
        super().data_received(data)
        if was_asked and self._exception is not None:
            self._on_unreadable()

    def _on_unreadable(self) -> None:
        """Handle bytes that are not HTTP: after a reply, in its body, or instead of it."""
        if not self._is_awaiting_reply:
            self._desynchronize()
        elif self._body is not None and self._body.exception() is None:
            self._body.set_exception(ClientPayloadError())  # otherwise the reader waits forever

    def _end_of_head(self, data: bytes) -> int:
        """Return the index in `data` after the end of a head; 0 if no head ends there."""
        kept, self._head = self._head, (self._head + data)[-(len(_HEAD_ENDS) - 1) :]
        found = (kept + data).find(_HEAD_ENDS)
        if found < 0:
            return 0
        self._head = b""
        return found + len(_HEAD_ENDS) - len(kept)

    def _on_surplus(self, data: bytes) -> None:
        """Handle bytes after a reply without a body: a body all the same, or a second reply."""
        if data.startswith(b"HTTP/"):
            self._desynchronize()
        else:
            self._close()

    def feed_data(self, data: Message, size: int = 0) -> None:
        """Count a parsed head, whose body follows."""
        message, body = data
        if message.code >= 200 or message.code == _SWITCHED:  # noqa: PLR2004 - not an interim one
            self._replies += 1
            if self._replies > 1:
                self._desynchronize()
                return
            if message.code in _NO_BODY and _claims_a_body(message):
                self.force_close()
            self._body = body
            self._recent.append(self.standing)
            body.on_eof(self._on_reply_end)
        super().feed_data(data, size)

    def _on_reply_end(self) -> None:
        self._is_awaiting_reply, self._body = False, None

    def _desynchronize(self) -> None:
        self.is_desynchronized = True
        for standing in self._recent:
            standing.is_doubtful = True
        self._recent.clear()
        self._close()

    def _close(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _claims_a_body(message: RawResponseMessage) -> bool:
    return message.chunked or message.headers.get("Content-Length", "0").strip() != "0"
