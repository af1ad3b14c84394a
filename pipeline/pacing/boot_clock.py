"""How long ago something on record was, by a clock that nobody sets. Pure: the time is an argument.

Processes of one machine share the time since it booted: it goes on while the machine sleeps, and
steps of the wall clock leave it alone. It means something in one boot only, so it comes with the
name of the boot. What was noted in another boot is as old as its note, and the note by the wall
clock; it is never younger than the boot of now, because it was noted before.

A machine that was set back to an earlier state of its memory has records of times to come. They
count as if they were from now.
"""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """A point in time.

    boot    which boot of which machine; empty where that is not known
    boot_s  seconds since it booted; UTC seconds since 1970 where `boot` is empty
    utc_s   UTC seconds since 1970
    """

    boot: str
    boot_s: float
    utc_s: float


def age_s(at_s: float, noted: Moment, now: Moment) -> float:
    """How long before `now` a time was that was put on record; negative for a time to come.

    at_s   by the clock of `noted.boot`
    noted  when it was put on record

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
