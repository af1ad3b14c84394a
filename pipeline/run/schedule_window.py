"""The time at which a run begins to send, and the one at which it ends."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import anyio

from pipeline.model import UsageError

READY_AHEAD_S = 60.0
"""So long before it begins a run takes its place and signs in: until then others may send there."""

_LOOK_EVERY_S = 0.2


class CalledOffError(UsageError):
    """A run was interrupted while it waited for its time: nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleWindow:
    """When a run may send.

    start_at  the first request leaves then, not before; None: at once
    until     from then on nothing more is fed; None: until every row has ended
    utc       seconds since 1970
    sleep     waits that many seconds
    """

    start_at: datetime | None = None
    until: datetime | None = None
    utc: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def wait(self, is_off: Callable[[], bool], *, ahead_s: float = 0.0) -> bool:
        """Wait until it begins, less `ahead_s`: True then, False as soon as it is off.

        The clock may be set meanwhile, and the machine may sleep.
        """
        while (wait_s := self._until_start_s() - ahead_s) > 0:
            if is_off():
                return False
            await self.sleep(min(wait_s, _LOOK_EVERY_S))
        return not is_off()

    def _until_start_s(self) -> float:
        return 0.0 if self.start_at is None else self.start_at.timestamp() - self.utc()

    def left_s(self) -> float | None:
        """Seconds until it ends; None where no time is set."""
        return None if self.until is None else self.until.timestamp() - self.utc()

    @property
    def is_over(self) -> bool:
        """Whether the time at which it ends has come."""
        left_s = self.left_s()
        return left_s is not None and left_s <= 0

    @property
    def over(self) -> str:
        """Why it ends, in words."""
        return "" if self.until is None else f"it was to send until {to_the_minute(self.until)}"


def to_the_minute(moment: datetime) -> str:
    """A time with its own offset, seconds only where there are any.

    >>> to_the_minute(datetime.fromisoformat("2026-05-01T06:30:00+02:00"))
    '2026-05-01 06:30+02:00'
    """
    return moment.isoformat(" ", "seconds" if moment.second else "minutes")
