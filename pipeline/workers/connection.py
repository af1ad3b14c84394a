"""One HTTP/1.1 connection: sends one request at a time and detects surplus replies.

HTTP/1.1 matches replies to requests by their order alone. A server or proxy that sends one reply
too many shifts all later replies by one.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from multidict import CIMultiDict

from pipeline.model import ReplyStanding
from pipeline.workers.http1 import ReplyFault, ReplyParser

PIECE_BYTES = 64 * 1024
"""A body up to this size is written together with its head. A larger one follows in pieces, as fast
as the peer reads: a reply that arrives before the last piece is known to be early."""

_REMEMBERED = 256  # replies of one connection that may still turn out doubtful


class Received(NamedTuple):
    """A reply as it arrived.

    first       its first bytes
    body        still compressed
    is_cut      the body was longer than allowed; `body` holds at least the allowed bytes
    is_early    the reply was complete before the request was written
    received_s  UTC seconds since 1970 when the head was complete
    """

    first: bytes
    status: int
    headers: CIMultiDict[str]
    body: bytes
    is_cut: bool
    is_early: bool
    received_s: float
    standing: ReplyStanding


class LostReplyError(Exception):
    """No complete reply arrived.

    fault  None if the time was up
    first  the first bytes that arrived
    cause  the connection's end, if it was an error
    """

    def __init__(
        self, fault: ReplyFault | None, first: bytes, cause: Exception | None = None
    ) -> None:
        super().__init__()
        self.fault = fault
        self.first = first
        self.cause = cause


class HttpConnection(asyncio.Protocol):
    """Sends requests over one open transport, one after the other.

    max_body_bytes  a longer reply is cut, and its connection closed
    on_end          called once, when the transport has closed; with the error that closed it
    opened_s, idle_since_s  by the loop's clock; the second is the caller's
    has_replied     the last exchange brought a reply; False before the first
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        max_body_bytes: int,
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self._transport = transport
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser(max_body_bytes)
        self._reply: asyncio.Future[LostReplyError | None] | None = None
        self._standing = ReplyStanding()
        self._recent: deque[ReplyStanding] = deque(maxlen=_REMEMBERED)
        self._received_s = 0.0
        self._unsent = memoryview(b"")
        self._is_paused = self._is_early = self._is_closed = False
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.opened_s = self._loop.time()
        self.idle_since_s = 0.0
        self.has_replied = False
        transport.set_write_buffer_limits(PIECE_BYTES)
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """True if a request may be sent."""
        return not self._is_closed and not self._transport.is_closing()

    def is_readable(self) -> bool:
        """True if bytes or an end of stream wait to be read. Only while open."""
        return bool(self._poll.poll(0))

    async def exchange(self, head: bytes, body: bytes, until_s: float) -> Received:
        """Send one request and return its reply. Only while open, and one at a time.

        until_s  by the loop's clock
        raises   LostReplyError; cancelled, it closes the connection
        """
        self._standing = ReplyStanding()
        self._received_s = 0.0
        self.has_replied = False
        self._reply = reply = self._loop.create_future()
        timer = self._loop.call_at(until_s, self._end_time)
        try:
            self._write(head, body)
            lost = await reply
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
        if lost is not None:
            raise lost
        parser = self._parser
        received = Received(
            parser.first,
            parser.status,
            parser.headers,
            parser.body,
            parser.is_too_long,
            self._is_early,
            self._received_s,
            self._standing,
        )
        parser.begin()  # an idle connection keeps no body
        return received

    def close(self) -> None:
        """Close now; bytes not written yet are dropped."""
        self._is_closed = True
        self._unsent = memoryview(b"")
        self._transport.abort()

    def _write(self, head: bytes, body: bytes) -> None:
        self._transport.write(head + body[:PIECE_BYTES])
        if len(body) > PIECE_BYTES:
            self._unsent = memoryview(body)[PIECE_BYTES:]
            self._write_on()

    def _write_on(self) -> None:
        while self._unsent and not self._is_paused and self.is_open:
            piece, self._unsent = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._transport.write(piece)
        if not self._unsent:
            self._unsent = memoryview(b"")  # an empty slice would keep the body

    def _finish(
        self, reply: asyncio.Future[LostReplyError | None], cause: Exception | None = None
    ) -> None:
        """Complete the current exchange: its reply is complete, or never will be."""
        parser = self._parser
        self._is_early = bool(self._unsent) or self._transport.get_write_buffer_size() > 0
        if parser.fault is not None:
            reply.set_result(LostReplyError(parser.fault, parser.first, cause))
            self.close()
            return
        self.has_replied = True
        self._recent.append(self._standing)
        if parser.has_surplus:
            self._desynchronize()
        elif self._is_early or not parser.is_whole or not parser.keeps_alive:
            self.close()
        reply.set_result(None)

    def _end_time(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(LostReplyError(None, self._parser.first))
            self.close()

    def _desynchronize(self) -> None:
        """Surplus bytes arrived: recent replies cannot be matched to requests."""
        for standing in self._recent:
            standing.is_doubtful = True
        self._recent.clear()
        self.close()

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; bytes without a request desynchronize the connection."""
        if self._is_closed:
            return
        reply, parser = self._reply, self._parser
        if reply is not None and reply.cancelled():
            self.close()  # the reply to a cancelled request: others are not affected
            return
        if reply is None or reply.done():
            self._desynchronize()
            return
        parser.feed(data)
        if parser.status and not self._received_s:
            self._received_s = time.time()
        if parser.is_over:
            self._finish(reply)

    def pause_writing(self) -> None:
        """Stop writing: the peer reads too slowly."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self._is_paused = False
        self._write_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the current exchange: the transport has closed."""
        self._is_closed = True
        reply = self._reply
        if reply is not None and not reply.done():
            self._parser.end(is_clean=exc is None)
            self._finish(reply, exc)
        self._on_end(exc)
