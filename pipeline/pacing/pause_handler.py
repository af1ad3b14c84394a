"""Decides what an account does when its vendor asks for a pause: announce and wait, or stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import ANNOUNCED_S, describe_stop, describe_wait, remaining_s
from pipeline.vendors import Account


@dataclass(slots=True)
class PauseHandler:
    """Handles the pauses of one account.

    stop      called with the reason if a pause is longer than the account's `max_wait_s`
    announce  called with a message if a shorter pause is longer than `ANNOUNCED_S`
    """

    account: Account
    stop: Callable[[str], None]
    announce: Callable[[str], None]
    _announced_until_s: float = -math.inf

    def on_pause(self, asked: AskedPause, now_s: float) -> None:
        """Handle a pause that began or became longer; `now_s` in UTC seconds since 1970."""
        name, most_s = self.account.name, self.account.max_wait_s
        left_s = remaining_s(asked, now_s)
        if left_s > most_s:
            self.stop(describe_stop(asked, now_s, name, most_s))
        elif left_s > ANNOUNCED_S and now_s + left_s > self._announced_until_s + ANNOUNCED_S:
            self._announced_until_s = now_s + left_s
            self.announce(f"{name}: {describe_wait(asked, now_s, name)}")
