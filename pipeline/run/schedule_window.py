"""The window in which a run may send: its start and its end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import anyio

from pipeline.model import UsageError

READY_AHEAD_S = 60.0
"""Seconds before its start at which a run locks its destinations and signs in."""

_CHECK_EVERY_S = 0.2


class CalledOffError(UsageError):
    """A run was interrupted while it waited for its start: nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleWindow:
    """When a run may send.

    start_at  when the first request may be sent; None: at once
    until     when the run takes no further row; None: no end
    utc       seconds since 1970
    sleep     waits that many seconds
    """

    start_at: datetime | None = None
    until: datetime | None = None
    utc: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def wait(self, is_off: Callable[[], bool], *, ahead_s: float = 0.0) -> bool:
        """Wait until `ahead_s` before the start: True then, False as soon as `is_off` returns True.

        Steps of the clock and a sleeping machine are taken into account.
        """
        while (wait_s := self._until_start_s() - ahead_s) > 0:
            if is_off():
                return False
            await self.sleep(min(wait_s, _CHECK_EVERY_S))
        return not is_off()

    def _until_start_s(self) -> float:
        return 0.0 if self.start_at is None else self.start_at.timestamp() - self.utc()

    def left_s(self) -> float | None:
        """Seconds until the end; None if there is no end."""
        return None if self.until is None else self.until.timestamp() - self.utc()

    @property
    def is_over(self) -> bool:
        """True if the end has come."""
        left_s = self.left_s()
        return left_s is not None and left_s <= 0

    @property
    def over(self) -> str:
        """Why the run stopped, as text; empty if there is no end."""
        return "" if self.until is None else f"its window ended at {to_the_minute(self.until)}"


def to_the_minute(moment: datetime) -> str:
    """A time with its own offset; seconds only if they are not 0.

    >>> to_the_minute(datetime.fromisoformat("2026-05-01T06:30:00+02:00"))
    '2026-05-01 06:30+02:00'
    """
    return moment.isoformat(" ", "seconds" if moment.second else "minutes")
