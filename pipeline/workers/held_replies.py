"""Replies are held a moment before they count: they may yet turn out to be another request's.

Nothing waits meanwhile but the rows themselves: their requests are over, others leave.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

import anyio
import anyio.lowlevel

from pipeline.model import NoReply, Reply
from pipeline.workers.reply_certainty import CERTAIN_AFTER_S
from pipeline.workers.transport import unmatched_reply

Decide = Callable[[], None]


class HeldReplies:
    """What is decided once a reply is sure.

    clock  monotonic seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: list[tuple[float, int, Decide]] = []
        self._numbers = count()
        self._sooner = anyio.Event()

    def hold(self, certain_at_s: float, decide: Decide) -> None:
        """Call `decide` at that time, or when all is released."""
        if not self._held or certain_at_s < self._held[0][0]:
            self._sooner.set()
        heapq.heappush(self._held, (certain_at_s, next(self._numbers), decide))

    async def run(self) -> None:
        """Decide what is due. Until cancelled."""
        while True:
            wait_s = self._held[0][0] - self._clock() if self._held else None
            with anyio.move_on_after(None if wait_s is None else max(0.0, wait_s)):
                await self._sooner.wait()
            self._sooner = anyio.Event()
            until_s = self._clock()
            await _read_what_came()
            self.release(until_s)

    def release(self, until_s: float = math.inf) -> None:
        """Decide what is due until then."""
        while self._held and self._held[0][0] <= until_s:
            heapq.heappop(self._held)[2]()


async def when_certain(reply: Reply | NoReply, peer: str) -> Reply | NoReply:
    """`reply` once it can be believed, or that nobody knows whose it is.

    peer  host and port, for messages
    """
    if isinstance(reply, NoReply) or reply.standing is None:
        return reply
    await anyio.sleep(CERTAIN_AFTER_S)
    await _read_what_came()
    return unmatched_reply(peer) if reply.standing.is_doubtful else reply


async def _read_what_came() -> None:
    """Let the loop read what lies unread: a busy process may be late with it."""
    for _ in range(2):
        await anyio.lowlevel.checkpoint()
