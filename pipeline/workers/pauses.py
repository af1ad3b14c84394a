"""What an account does about a pause of its vendor's: it waits and says so, or it stops."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import ANNOUNCED_S, describe_stop, describe_wait, remaining_s
from pipeline.vendors import Account


class PauseHandler:
    """Decides about the pauses of one account.

    stop      is called, with the reason, for a pause longer than the account's `max_wait_s`
    announce  is called, with words for people, for one that is waited for more than a moment
    """

    def __init__(
        self,
        account: Account,
        *,
        stop: Callable[[str], None],
        announce: Callable[[str], None],
    ) -> None:
        self._account = account
        self._stop = stop
        self._announce = announce
        self._announced_until_s = -math.inf

    def on_pause(self, asked: AskedPause, now_s: float) -> None:
        """A pause began, or became longer; `now_s` in UTC seconds since 1970."""
        name, most_s = self._account.name, self._account.max_wait_s
        left_s = remaining_s(asked, now_s)
        if left_s > most_s:
            self._stop(describe_stop(asked, now_s, name, most_s))
        elif left_s > ANNOUNCED_S and now_s + left_s > self._announced_until_s + ANNOUNCED_S:
            self._announced_until_s = now_s + left_s
            self._announce(f"{name}: {describe_wait(asked, now_s, name)}")
