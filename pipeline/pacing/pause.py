"""The vendor's own pause: nobody sends before it is over. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.model.pause import AskedPause
from pipeline.vendors.kit.numbers import LONGEST_S

BLIND_S, LONGEST_BLIND_S = 0.1, 10.0
"""After a refusal that names no time; twice as long after each further one."""

ANNOUNCED_S = 5.0
"""A longer pause is announced."""


class Pause:
    """Until when an account, or all that share its quota, waits.

    longest_blind_s  no pause is longer that the vendor names no time for

    >>> pause = Pause()
    >>> pause.asked(7.0, left_s=0.0, now_s=1.0)
    >>> pause.asked(2.0, left_s=0.0, now_s=1.5)
    >>> pause.until_s
    8.0
    """

    __slots__ = ("_blind_s", "_longest_blind_s", "until_s")

    def __init__(self, longest_blind_s: float = LONGEST_BLIND_S) -> None:
        self._longest_blind_s = longest_blind_s
        self.lift()

    def lift(self) -> None:
        """Nothing is paused any more."""
        self.until_s = float("-inf")
        self._blind_s = min(BLIND_S, self._longest_blind_s)

    def asked(self, seconds: float | None, left_s: float, now_s: float) -> None:
        """The vendor refused what left at `left_s`; of several pauses the one that ends last holds.

        seconds  that it asks everyone to wait; None where it names none
        """
        if seconds is None:
            if left_s < self.until_s:
                return  # it left before the pause that is on
            seconds = self._blind_s
            self._blind_s = min(self._longest_blind_s, 2.0 * self._blind_s)
        self.until_s = max(self.until_s, now_s + seconds)

    def accepted(self, left_s: float) -> None:
        """The vendor took what left at `left_s`."""
        if left_s >= self.until_s:
            self._blind_s = min(BLIND_S, self._longest_blind_s)

    def left_s(self, now_s: float) -> float:
        """Seconds until it is over; 0 where there is none."""
        return max(0.0, self.until_s - now_s)


def remaining_s(asked: AskedPause, now_s: float) -> float:
    """Seconds that are left of a pause on record, 0 to LONGEST_S, whatever stands there.

    now_s  UTC seconds since 1970; a clock that was set back makes no pause longer

    >>> remaining_s(AskedPause(130.0, asked_s=100.0), 110.0)
    20.0
    >>> remaining_s(AskedPause(130.0, asked_s=100.0), 0.0)
    30.0
    >>> remaining_s(AskedPause(float("inf")), 0.0) == LONGEST_S
    True
    """
    left_s = asked.until_s - now_s
    if asked.asked_s:
        left_s = min(left_s, asked.until_s - asked.asked_s)
    if not left_s < LONGEST_S:  # so neither infinity nor no number gets through
        return LONGEST_S
    return max(0.0, left_s)


def in_words(asked: AskedPause, now_s: float) -> str:
    """Until when it is, and who asked for it.

    >>> in_words(AskedPause(3600.0, 0.5, "r1", "HTTP 429, Retry-After: 3600"), 0.5)
    ... # doctest: +NORMALIZE_WHITESPACE
    'until 1970-01-01 01:00:00 UTC (3600 s), as the vendor asked at 1970-01-01 00:00:00 UTC in run
    r1: HTTP 429, Retry-After: 3600'
    >>> in_words(AskedPause(60.0), 0.0)
    'until 1970-01-01 00:01:00 UTC (60 s); who asked for it is not on record'
    """
    left_s = remaining_s(asked, now_s)
    until = f"until {_moment(now_s + left_s)} ({left_s:.0f} s)"
    if not asked.asked_s:
        return f"{until}; who asked for it is not on record"
    by = f" in run {asked.run}" if asked.run else ""
    said = f": {asked.words}" if asked.words else ""
    return f"{until}, as the vendor asked at {_moment(asked.asked_s)}{by}{said}"


def wait_words(asked: AskedPause, now_s: float, account: str) -> str:
    """What is said while it is waited for.

    >>> wait_words(AskedPause(60.0), 0.0, "shop")[-58:]
    'on record. `pipeline runs --lift-pause shop` ends the wait'
    """
    return f"waiting {in_words(asked, now_s)}. `{lift(account)}` ends the wait"


def stop_words(asked: AskedPause, now_s: float, account: str, max_wait_s: float) -> str:
    """Why an account stops for a pause that is longer than it waits.

    >>> stop_words(AskedPause(3600.0), 0.0, "shop", 900.0)[:67]
    'the vendor asks for a pause of 3600 s, longer than max_wait_s = 900'
    """
    return (
        f"the vendor asks for a pause of {remaining_s(asked, now_s):.0f} s, longer than "
        f"max_wait_s = {max_wait_s:.0f}: {in_words(asked, now_s)}. `{lift(account)}` lifts it"
    )


def lift(account: str) -> str:
    """The command that lifts a pause.

    >>> lift("shop")
    'pipeline runs --lift-pause shop'
    """
    return f"pipeline runs --lift-pause {account}"


def _moment(at_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # what stands on record may be anything
        return "a time that is none"
