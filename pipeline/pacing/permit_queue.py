"""Everybody who waits for a permit of one limiter, in order.

A coroutine keeps its place until it has its permit. A callback is called once there is a permit,
and may take one; for another it stands in line again. So each gets one permit per turn, and nobody
is starved.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

MAX_SLEEP_S = 3600.0
"""Seconds after which a wait is computed again."""


@dataclass(eq=False, slots=True)
class _Place:
    """A place in the queue.

    call    is called when it is first and, for a callback, there is a permit
    stays   it is first until its coroutine has a permit
    """

    call: Callable[[], None]
    stays: bool


class PermitQueue:
    """The queue of one limiter. Use it within an event loop.

    wait_s  seconds until there is a permit: 0 or less if there is one now, infinite if only
            `look_again` can tell

    is_empty  nobody waits
    has_turn  the callback that is called now may take a permit, although others wait
    """

    def __init__(self, wait_s: Callable[[], float]) -> None:
        self._wait_s = wait_s
        self._places: deque[_Place] = deque()
        self._timer: asyncio.Handle | None = None
        self._due_s = 0.0  # when it rings, by the loop's clock
        self.is_empty = True
        self.has_turn = False

    def call_when_free(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once when it is first and a permit is free.

        Returns a function that takes it out of the queue.
        """
        place = _Place(callback, stays=False)
        self._add(place)
        return lambda: self._remove(place)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait to be first, and stay first while the block runs."""
        is_first = anyio.Event()
        place = _Place(is_first.set, stays=True)
        self._add(place)
        try:
            await is_first.wait()
            yield
        finally:
            self._remove(place)

    def look_again(self, after_s: float = 0.0) -> None:
        """There may be a permit sooner than was said: look within `after_s` seconds."""
        if not self.is_empty:
            loop = asyncio.get_running_loop()
            due_s = loop.time() + after_s
            if self._timer is not None:
                if self._due_s <= due_s:
                    return
                self._timer.cancel()
            self._timer, self._due_s = loop.call_later(after_s, self._advance), due_s

    def _add(self, place: _Place) -> None:
        self._places.append(place)
        self.is_empty = False
        if len(self._places) == 1:
            self.look_again()

    def _remove(self, place: _Place) -> None:
        if place in self._places:
            was_first = place is self._places[0]
            self._places.remove(place)
            self.is_empty = not self._places
            if was_first:
                self.look_again()

    def _advance(self) -> None:
        self._timer = None
        if self.is_empty:
            return
        place = self._places[0]
        if place.stays:
            place.call()
        elif (wait_s := self._wait_s()) > 0:
            if wait_s < math.inf:
                self.look_again(min(wait_s, MAX_SLEEP_S))
        else:
            self._give_turn(place)

    def _give_turn(self, place: _Place) -> None:
        self._places.popleft()
        self.is_empty = not self._places
        self.has_turn = True
        try:
            place.call()
        finally:
            self.has_turn = False
            self.look_again()
