"""Holds replies a moment before they count: a reply may turn out to answer another request.

Only the rows wait: their requests are over, and other requests are sent meanwhile.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel

from pipeline.http_client.reply_certainty import CERTAIN_AFTER_S
from pipeline.http_client.wire import unmatched_reply
from pipeline.model import NoReply, Reply

Decide = Callable[[], None]

GRAIN_S = 0.008
"""The shortest time between two rounds: decisions that are due meanwhile are made together."""

LINGER_S = 0.300
"""The same if no decision is urgent. At a quick quota the next rows are claimed before that, and
the results share their commit."""


def _call(act: Callable[..., None], *given: Any) -> None:
    act(*given)


class HeldReplies:
    """Calls decisions once their reply is certain. Use it within an event loop.

    clock  monotonic seconds

    guarded     calls what a timer calls: nobody awaits it, so an error would be lost
    on_release  called after decisions were made
    may_linger  True if no further request depends on a decision, except one of the same entity
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.guarded: Callable[..., None] = _call
        self.on_release: Callable[[], None] = lambda: None
        self.may_linger = False
        self._held: list[tuple[float, int, Decide, float]] = []
        self._numbers = count()
        self._next: asyncio.Handle | None = None  # begins or ends the next round
        self._rings_s = 0.0

    def __len__(self) -> int:
        """Return the number of replies that are held."""
        return len(self._held)

    def hold(self, certain_at_s: float, decide: Decide, *, is_urgent: bool = True) -> None:
        """Call `decide` at `certain_at_s`, or when all is released.

        is_urgent  False lets it linger, if that is allowed now
        """
        latest_s = certain_at_s + (LINGER_S if self.may_linger and not is_urgent else 0.0)
        heapq.heappush(self._held, (certain_at_s, next(self._numbers), decide, latest_s))
        if self._next is None or latest_s < self._rings_s - GRAIN_S:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._next is not None:
            self._next.cancel()
        now_s = self._clock()
        self._rings_s = max(now_s + GRAIN_S, min(latest_s for _, _, _, latest_s in self._held))
        self._next = asyncio.get_running_loop().call_later(self._rings_s - now_s, self._on_timer)

    def _on_timer(self) -> None:
        """Let the event loop read what has arrived, then make decisions; see `_read_arrived`."""
        loop, self._rings_s = asyncio.get_running_loop(), -math.inf
        self._next = loop.call_soon(loop.call_soon, self.guarded, self._on_read, self._clock())

    def _on_read(self, until_s: float) -> None:
        self._next = None
        self.release(until_s)
        if self._held and self._next is None:
            self._set_timer()

    def release(self, until_s: float = math.inf) -> None:
        """Make the decisions that are due until `until_s`."""
        before = len(self._held)
        while self._held and self._held[0][0] <= until_s:
            heapq.heappop(self._held)[2]()
        if len(self._held) < before:
            self.on_release()


async def when_certain(reply: Reply | NoReply, peer: str) -> Reply | NoReply:
    """Return `reply` once it is certain, or a NoReply if it may answer another request.

    peer  host and port, for messages
    """
    if isinstance(reply, NoReply) or reply.standing is None:
        return reply
    await anyio.sleep(CERTAIN_AFTER_S)
    await _read_arrived()
    return unmatched_reply(peer) if reply.standing.is_doubtful else reply


async def _read_arrived() -> None:
    """Let the event loop read what has arrived: a busy process may be late."""
    for _ in range(2):
        await anyio.lowlevel.checkpoint()
