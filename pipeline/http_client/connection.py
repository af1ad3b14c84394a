"""One HTTP/1.1 connection: sends one request at a time and detects surplus replies.

HTTP/1.1 matches replies to requests by their order alone. A server or proxy that sends one reply
too many shifts all later replies by one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from pipeline.http_client.http1 import ReplyFault, ReplyHeaders, ReplyParser
from pipeline.model import ReplyStanding

PIECE_BYTES = 64 * 1024
"""A body up to this size is written together with its head. A larger one follows in pieces, as fast
as the peer reads: a reply that arrives before the last piece is known to be early."""

READ_BYTES = 16 * 1024
"""Most bytes that are received at once. asyncio's own reads have 256 KB made for each: 8 us."""

_REMEMBERED = 256  # replies of one connection that may still turn out doubtful


class Received(NamedTuple):
    """A reply as it arrived.

    first       its first bytes
    body        still compressed
    is_cut      the body was longer than allowed; `body` holds at least the allowed bytes
    is_early    the reply was complete before the request was written
    received_s  UTC seconds since 1970 when the head was complete
    came_s      monotonic seconds: its bytes had arrived then; 0 if that was just now
    """

    first: bytes
    status: int
    headers: ReplyHeaders
    body: bytes
    is_cut: bool
    is_early: bool
    received_s: float
    standing: ReplyStanding
    came_s: float


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


def unknown(_file_number: int) -> float:
    """As `arrived_s` of a connection, if nothing tells."""
    return 0.0


OnDone = Callable[["Received | LostReplyError"], None]
"""Called once with what came of a request. The connection is free then, or closed."""


class HttpConnection(asyncio.BufferedProtocol):
    """Sends requests over one open transport, one after the other.

    max_body_bytes  a longer reply is cut, and its connection closed
    on_end          called once, when the transport has closed; with the error that closed it
    arrived_s       number of a socket -> monotonic seconds when the bytes arrived that were read
                    just now; 0 if it is unknown
    file_number     of its socket
    opened_s, idle_since_s  by the loop's clock; the second is the caller's
    has_replied     the last request brought a reply; False before the first
    is_reused       it carried another request before the last one; the pool's
    was_cut_off     the peer closed it before any byte of a reply
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        max_body_bytes: int,
        on_end: Callable[[Exception | None], None],
        arrived_s: Callable[[int], float] = unknown,
    ) -> None:
        self._transport = transport
        self._arrived_s = arrived_s
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser(max_body_bytes)
        self._on_done: OnDone | None = None  # None: no request is under way
        self._until_s = math.inf
        self._timer: asyncio.Handle | None = None
        self._rings_s = 0.0
        self._standing = ReplyStanding()
        self._recent: deque[ReplyStanding] = deque(maxlen=_REMEMBERED)
        self._received_s = 0.0
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._unsent = memoryview(b"")
        self._is_paused = self._is_closed = False
        self.file_number: int = transport.get_extra_info("socket").fileno()
        self.opened_s = self._loop.time()
        self.idle_since_s = self.opened_s
        self.has_replied = False
        self.is_reused = self.was_cut_off = False
        transport.set_write_buffer_limits(PIECE_BYTES)
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """True if a request may be sent."""
        return not self._is_closed and not self._transport.is_closing()

    def start(self, head: bytes, body: bytes, until_s: float, on_done: OnDone) -> None:
        """Send one request; `on_done` is called later. Only while open, and one at a time.

        until_s  by the loop's clock: the reply is lost if it is not complete then
        """
        self._standing = ReplyStanding()
        self._received_s = 0.0
        self.has_replied = False
        self._on_done = on_done
        self._expect_until(until_s)
        self._write(head, body)

    def close(self) -> None:
        """Close now; bytes not written yet are dropped. A request under way gets no reply."""
        self._is_closed = True
        self._unsent = memoryview(b"")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def abandon(self) -> None:
        """Close now; `on_done` of a request under way is not called."""
        self._on_done = None
        self.close()

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

    def _finish(self, on_done: OnDone, cause: Exception | None = None) -> None:
        """End the current request: its reply is complete, or never will be."""
        self._on_done = None
        parser = self._parser
        is_early = bool(self._unsent) or self._transport.get_write_buffer_size() > 0
        if parser.fault is not None:
            self.close()
            on_done(LostReplyError(parser.fault, parser.first, cause))
            return
        self.has_replied = True
        standing = self._standing
        self._recent.append(standing)
        if parser.has_surplus:
            self._desynchronize()
        elif is_early or not parser.is_whole or not parser.keeps_alive:
            self.close()
        received = Received(
            parser.first,
            parser.status,
            parser.headers,
            parser.body,
            parser.is_too_long,
            is_early,
            self._received_s,
            standing,
            self._arrived_s(self.file_number),
        )
        parser.begin()  # an idle connection keeps no body
        on_done(received)

    # One timer serves many requests: it is set again only once it has rung.

    def _expect_until(self, until_s: float) -> None:
        self._until_s = until_s
        if self._timer is not None and self._rings_s > until_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer, self._rings_s = self._loop.call_at(until_s, self._on_timer), until_s

    def _on_timer(self) -> None:
        self._timer = None
        on_done = self._on_done
        if on_done is None:
            return
        if self._loop.time() < self._until_s:
            self._expect_until(self._until_s)
            return
        self._on_done = None
        self.close()
        on_done(LostReplyError(None, self._parser.first))

    def _desynchronize(self) -> None:
        """Surplus bytes arrived: recent replies cannot be matched to requests."""
        for standing in self._recent:
            standing.is_doubtful = True
        self._recent.clear()
        self.close()

    # Called by the transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes are received."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse received bytes; bytes without a request desynchronize the connection."""
        if self._is_closed:
            return
        on_done, parser = self._on_done, self._parser
        if on_done is None:
            self._desynchronize()
            return
        parser.feed(bytes(self._buffer[:nbytes]))
        if parser.status and not self._received_s:
            self._received_s = time.time()
        if parser.is_over:
            self._finish(on_done)

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
        on_done = self._on_done
        if on_done is not None:
            self.was_cut_off = not self._parser.first
            self._parser.end(is_clean=exc is None)
            self._finish(on_done, exc)
        self._on_end(exc)
