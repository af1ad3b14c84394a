"""A connection that knows which of its replies may be the answer to another request.

A reply carries no sign of the request that it answers: the order of both tells. A server, or a
proxy before it, that sends one reply too many moves all that follow by one.
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
"""So much of a reply is remembered until it is understood; more than a token has."""

_REMEMBERED = 256  # replies of one connection whose standing may still change
_HEAD_ENDS = b"\r\n\r\n"
_NO_BODY = frozenset({204, 304})  # RFC 9110, section 6.4.1
_SWITCHED = 101

Message = tuple[RawResponseMessage, StreamReader]


class CheckedConnection(ResponseHandler):
    """aiohttp's connection, watched.

    standing   of the reply to the request that was begun last
    first      how what came for that request begins, up to `FIRST_BYTES`
    is_desynchronized  more came than was asked for: nothing that came lately can be told apart
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.standing = ReplyStanding()
        self.first = b""
        self.is_desynchronized = False
        self._recent: deque[ReplyStanding] = deque(maxlen=_REMEMBERED)
        self._replies = 0
        self._is_awaiting_reply = (
            True  # until the first request is through: a proxy may be asked before it
        )
        self._body: StreamReader | None = None
        self._head = b""  # the last bytes of a head that has not ended

    def on_request(self) -> None:
        """A request is about to be sent: what comes from now on is for it."""
        self.standing = ReplyStanding()
        self.first = self._head = b""
        self._replies = 0
        self._is_awaiting_reply = True

    def is_readable(self) -> bool:
        """Whether something waits to be read: bytes, or the end."""
        sock = None if self.transport is None else self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        asked = select.poll()
        asked.register(sock.fileno(), select.POLLIN)
        return bool(asked.poll(0))

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
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
        if data and not self._is_awaiting_reply:  # a reply without a body, and more behind it
            self._on_surplus(data)
            return
        was_asked = self._is_awaiting_reply
        super().data_received(data)
        if was_asked and self._exception is not None:
            self._on_unreadable()

    def _on_unreadable(self) -> None:
        """What came could not be read: behind a reply, amid its body, or in its stead."""
        if not self._is_awaiting_reply:
            self._desynchronize()
        elif self._body is not None and self._body.exception() is None:
            self._body.set_exception(ClientPayloadError())  # else whoever reads waits for ever

    def _end_of_head(self, data: bytes) -> int:
        """Where in `data` a head ends; 0: not there."""
        kept, self._head = self._head, (self._head + data)[-(len(_HEAD_ENDS) - 1) :]
        found = (kept + data).find(_HEAD_ENDS)
        if found < 0:
            return 0
        self._head = b""
        return found + len(_HEAD_ENDS) - len(kept)

    def _on_surplus(self, data: bytes) -> None:
        """`data` stands behind a reply that has no body: a body all the same, or a second reply."""
        if data.startswith(b"HTTP/"):
            self._desynchronize()
        else:
            self._close()

    def feed_data(self, data: Message, size: int = 0) -> None:
        """A head came, and its body follows."""
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
