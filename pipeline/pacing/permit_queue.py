"""Who waits for a permit of one limiter, in order.

Each is called once there is a permit, and may take one; for another it stands in line again. So
nobody is starved.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from itertools import count

MAX_SLEEP_S = 3600.0
"""Seconds after which a wait is computed again."""


class PermitQueue:
    """The queue of one limiter. Use it within an event loop.

    wait_s  seconds until there is a permit: 0 or less if there is one now, infinite if only
            `look_again` can tell

    is_empty  nobody waits
    has_turn  the callback that is called now may take a permit, although others wait
    """

    def __init__(self, wait_s: Callable[[], float]) -> None:
        self._wait_s = wait_s
        self._waiting: dict[int, Callable[[], None]] = {}  # by place, the first one first
        self._places = count()
        self._timer: asyncio.Handle | None = None
        self._due_s = 0.0  # when it rings, by the loop's clock
        self.is_empty = True
        self.has_turn = False

    def call_when_free(
        self, callback: Callable[[], None], look_in_s: float = 0.0
    ) -> Callable[[], None]:
        """Call `callback` once when it is first and a permit is free.

        look_in_s  there is none before; 0: that is to be found out

        Returns a function that takes it out of the queue.
        """
        place = next(self._places)
        self._waiting[place] = callback
        if self.is_empty:
            self.is_empty = False
            self._look_in(look_in_s or self._wait_s())
        return lambda: self._remove(place)

    def look_again(self, within_s: float = 0.0) -> None:
        """There may be a permit sooner than was said: look within `within_s` seconds."""
        if not self.is_empty:
            loop = asyncio.get_running_loop()
            due_s = loop.time() + within_s
            if self._timer is not None:
                if self._due_s <= due_s:
                    return
                self._timer.cancel()
            self._timer, self._due_s = loop.call_later(within_s, self._advance), due_s

    def _remove(self, place: int) -> None:
        self._waiting.pop(place, None)
        self.is_empty = not self._waiting

    def _advance(self) -> None:
        self._timer = None
        if self.is_empty:
            return
        wait_s = self._wait_s()
        if wait_s <= 0:
            self._give_turn()
        else:
            self._look_in(wait_s)

    def _look_in(self, wait_s: float) -> None:
        if wait_s < math.inf:
            self.look_again(min(max(0.0, wait_s), MAX_SLEEP_S))

    def _give_turn(self) -> None:
        place = next(iter(self._waiting))
        callback = self._waiting[place]
        self._remove(place)
        self.has_turn = True
        try:
            callback()
        finally:
            self.has_turn = False
            if self._timer is None:
                self.look_again()
