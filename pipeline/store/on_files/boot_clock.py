"""The age of a recorded time, by a clock that nobody sets. Pure: the time is an argument.

Processes of one machine share the time since boot: it runs while the machine sleeps, and steps of
the wall clock do not change it. It is valid within one boot, so it is recorded with the name of the
boot. The age of a time from another boot follows from the wall clock; it is at least the time since
the current boot.

A machine that was restored to an earlier state of its memory has records of future times: their
ages are negative.
"""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """A point in time.

    boot    name of the boot of this machine; empty if unknown
    boot_s  seconds since the boot; UTC seconds since 1970 if `boot` is empty
    utc_s   UTC seconds since 1970
    """

    boot: str
    boot_s: float
    utc_s: float


def age_s(at_s: float, noted: Moment, now: Moment) -> float:
    """Seconds between a recorded time and `now`; negative for a future time.

    at_s   the recorded time, by the clock of `noted.boot`
    noted  when it was recorded

    >>> noted = Moment("a", 100.0, 1_000.0)
    >>> age_s(99.0, noted, Moment("a", 160.0, 5_000.0))  # the wall clock was set
    61.0
    >>> age_s(99.0, noted, Moment("b", 20.0, 1_060.0)), age_s(99.0, noted, Moment("b", 20.0, 0.0))
    (61.0, 20.0)
    """
    if noted.boot == now.boot:
        return now.boot_s - at_s
    by_wall_s = now.utc_s - noted.utc_s + noted.boot_s - at_s
    if noted.boot and now.boot:
        return max(now.boot_s, by_wall_s)
    return by_wall_s
