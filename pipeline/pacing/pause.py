"""A pause that a vendor asked for: how long it lasts, on record, and as text. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from pipeline.model.pause import AskedPause
from pipeline.store.seam import StoredPause
from pipeline.vendors.kit.numbers import LONGEST_S

ANNOUNCED_S = 5.0
"""A longer wait is announced."""


def remaining_s(asked: AskedPause, now_s: float) -> float:
    """Seconds that remain of a recorded pause, 0 to LONGEST_S, whatever the record holds.

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
    if not left_s < LONGEST_S:  # also for infinity and NaN
        return LONGEST_S
    return max(0.0, left_s)


def asked_at(stored: StoredPause, now_s: float) -> AskedPause:
    """A pause on record, by the clock of this machine.

    now_s  when it was read, UTC seconds since 1970

    >>> asked_at(StoredPause(30.0, 10.0, "r1", "HTTP 429"), 1_000.0)
    AskedPause(until_s=1030.0, asked_s=990.0, run='r1', words='HTTP 429')
    >>> asked_at(StoredPause(30.0, math.inf), 1_000.0)
    AskedPause(until_s=1030.0, asked_s=0.0, run='', words='')
    """
    asked_s = 0.0 if stored.age_s == math.inf else now_s - stored.age_s
    return AskedPause(now_s + stored.left_s, asked_s, stored.run, stored.words)


def stored_at(asked: AskedPause, now_s: float) -> StoredPause:
    """A pause as it is put on record at `now_s`, UTC seconds since 1970.

    >>> stored_at(AskedPause(1030.0, 990.0, "r1", "HTTP 429"), 1_000.0)
    StoredPause(left_s=30.0, age_s=10.0, run='r1', words='HTTP 429')
    """
    age_s = now_s - asked.asked_s if asked.asked_s else math.inf
    return StoredPause(asked.until_s - now_s, age_s, asked.run, asked.words)


def describe(asked: AskedPause, now_s: float) -> str:
    """The end of a pause and its origin, as text.

    >>> describe(AskedPause(3600.0, 0.5, "r1", "HTTP 429, Retry-After: 3600"), 0.5)
    ... # doctest: +NORMALIZE_WHITESPACE
    'until 1970-01-01 01:00:00 UTC (3600 s), as the vendor asked at 1970-01-01 00:00:00 UTC in run
    r1: HTTP 429, Retry-After: 3600'
    >>> describe(AskedPause(60.0), 0.0)
    'until 1970-01-01 00:01:00 UTC (60 s); who asked for it is not on record'
    """
    left_s = remaining_s(asked, now_s)
    until = f"until {_moment(now_s + left_s)} ({left_s:.0f} s)"
    if not asked.asked_s:
        return f"{until}; who asked for it is not on record"
    by = f" in run {asked.run}" if asked.run else ""
    said = f": {asked.words}" if asked.words else ""
    return f"{until}, as the vendor asked at {_moment(asked.asked_s)}{by}{said}"


def describe_wait(asked: AskedPause, now_s: float, account: str) -> str:
    """The announcement of a wait for a pause.

    >>> describe_wait(AskedPause(60.0), 0.0, "shop")[-58:]
    'on record. `pipeline runs --lift-pause shop` ends the wait'
    """
    return f"waiting {describe(asked, now_s)}. `{lift_command(account)}` ends the wait"


def describe_stop(asked: AskedPause, now_s: float, account: str, max_wait_s: float) -> str:
    """Why an account stops: the pause is longer than it may wait.

    >>> describe_stop(AskedPause(3600.0), 0.0, "shop", 900.0)[:67]
    'the vendor asks for a pause of 3600 s, longer than max_wait_s = 900'
    """
    left_s, until = remaining_s(asked, now_s), describe(asked, now_s)
    return (
        f"the vendor asks for a pause of {left_s:.0f} s, longer than max_wait_s = "
        f"{max_wait_s:.0f}: {until}. `{lift_command(account)}` lifts it"
    )


def lift_command(account: str) -> str:
    """The command that lifts a pause.

    >>> lift_command("shop")
    'pipeline runs --lift-pause shop'
    """
    return f"pipeline runs --lift-pause {account}"


def _moment(at_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # the record may hold anything
        return "a time that is none"
