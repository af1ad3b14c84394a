"""Holds replies a moment before they count: a reply may turn out to answer another request.

Only the rows wait: their requests are over, and other requests are sent meanwhile.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

import anyio
import anyio.lowlevel

from pipeline.model import NoReply, Reply
from pipeline.workers.no_replies import unmatched_reply
from pipeline.workers.reply_certainty import CERTAIN_AFTER_S

Decide = Callable[[], None]

GRAIN_S = 0.004
"""The shortest time between two rounds: decisions that are due meanwhile are made together."""


class HeldReplies:
    """Calls decisions once their reply is certain.

    clock  monotonic seconds

    on_release  called after decisions were made
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.on_release: Callable[[], None] = lambda: None
        self._held: list[tuple[float, int, Decide]] = []
        self._numbers = count()
        self._sooner = anyio.Event()

    def __len__(self) -> int:
        """Return the number of replies that are held."""
        return len(self._held)

    def hold(self, certain_at_s: float, decide: Decide) -> None:
        """Call `decide` at `certain_at_s`, or when all is released."""
        if not self._held or certain_at_s < self._held[0][0] - GRAIN_S:
            self._sooner.set()
        heapq.heappush(self._held, (certain_at_s, next(self._numbers), decide))

    async def run(self) -> None:
        """Make decisions when they are due, until cancelled."""
        while True:
            wait_s = self._held[0][0] - self._clock() if self._held else None
            with anyio.move_on_after(None if wait_s is None else max(GRAIN_S, wait_s)):
                await self._sooner.wait()
            self._sooner = anyio.Event()
            until_s = self._clock()
            await _read_arrived()
            self.release(until_s)

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
