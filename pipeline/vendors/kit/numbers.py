"""Reads numbers about time and quota in a vendor's replies, within bounds. Pure.

Every such number is read here: `Retry-After`, rate limit headers, the lifetime of a token. A number
out of bounds is read as None, as if the vendor had stated none.

Vendors write waits in several units, so the size of the number decides its meaning:

    up to 1e9         seconds from now on
    from 1e9 on       a moment, in seconds since 1970 (1e9 is in 2001)
    from 1e11 on      a moment, in milliseconds since 1970 (1e11 is in 1973)
    from 1e14 on      a moment, in microseconds since 1970
    from 1e17 on      a moment, in nanoseconds since 1970
    from 1e20 on      nothing
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

LONGEST_S = 366 * 86_400.0
"""Longest wait that a vendor can mean; a longer one is none."""

LONGEST_LIFETIME_S = 30 * 86_400.0
"""Longest lifetime of a token. Vendors give hours; milliseconds would read as years."""

LARGEST_COUNT = 1e9
"""Most requests per window that count as a limit."""

CLOCK_OFF_S = 30 * 86_400.0
"""A `Date` header further than this from our clock is ignored: that clock was never set."""

_NUMBER = re.compile(r"\+?([0-9]{1,20}(?:\.[0-9]{1,20})?)")  # ASCII digits only
_LONGEST_DATE = 64  # characters; the three forms of HTTP have at most 33
_MOMENTS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0))
_NOTHING = 1e20
_LAST_S = 253_402_300_799.0  # the last second of the year 9999
_FIRST_S = -62_135_596_800.0  # the first of the year 1


def number(text: str) -> float | None:
    """A plain number of 0 or more; None for anything else.

    >>> number(" 7.5 "), number("-1"), number("1e3"), number("9" * 400)
    (7.5, None, None, None)
    """
    found = _NUMBER.fullmatch(text.strip(" \t"))
    return float(found[1]) if found else None


def count(text: str) -> float | None:
    """A number of requests, 0 or more; None for anything else, or if it is too large to be a limit.

    >>> count("0"), count("60"), count("99999999999")
    (0.0, 60.0, None)
    """
    value = number(text)
    return value if value is not None and value <= LARGEST_COUNT else None


def wait_s(text: str, now_s: float) -> float | None:
    """Seconds to wait, more than 0 and at most LONGEST_S; None if there is no wait to read.

    text   a number of seconds, or a moment as a number (see above) or as an HTTP date; of several
           numbers, which a proxy may have joined, the longest wait applies
    now_s  when the text was written, UTC seconds since 1970

    >>> wait_s("7", 0.0), wait_s("1800000002", 1.8e9), wait_s("1800000002000", 1.8e9)
    (7.0, 2.0, 2.0)
    >>> wait_s("0", 0.0), wait_s("1700000000", 1.8e9), wait_s("soon", 0.0)
    (None, None, None)
    >>> wait_s("Thu, 01 Jan 2099 00:00:00 GMT", 1.8e9) is None
    True
    """
    numbers = [number(part) for part in text.split(",")]
    known = [value for value in numbers if value is not None]
    if len(known) == len(numbers):
        waits = [_from_now_s(value, now_s) for value in known]
        return max((each for each in waits if each is not None), default=None)
    until_s = moment_s(text)
    return None if until_s is None else _meant(until_s - now_s)


def _from_now_s(value: float, now_s: float) -> float | None:
    if value >= _NOTHING:
        return None
    for least, per_second in _MOMENTS:
        if value >= least:
            return _meant(value / per_second - now_s)
    return _meant(value)


def _meant(seconds: float) -> float | None:
    """A wait of at most LONGEST_S; None for more, zero, the past and NaN."""
    return seconds if 0 < seconds <= LONGEST_S else None


def moment_s(date: str) -> float | None:
    """An HTTP date as UTC seconds since 1970; None for anything else.

    >>> moment_s("Thu, 01 Jan 1970 00:10:00 GMT"), moment_s("tomorrow")
    (600.0, None)
    """
    if len(date) > _LONGEST_DATE or not date.isascii():
        return None
    try:
        when: datetime = parsedate_to_datetime(date)
        at_s = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(_FIRST_S, min(at_s, _LAST_S))  # an offset may lead beyond the last year


def shown(text: str) -> str:
    """A wait as the vendor wrote it, for people. Anything but numbers and dates becomes empty.

    >>> shown(" 7, 60 "), shown("Thu, 1 Jan 1970 00:10:00 +0000"), shown("***")
    ('7, 60', 'Thu, 01 Jan 1970 00:10:00 GMT', '')
    """
    if all(number(part) is not None for part in text.split(",")):
        return text.strip()
    at_s = moment_s(text)
    return "" if at_s is None else format_datetime(datetime.fromtimestamp(at_s, UTC), usegmt=True)


def written_s(date: str, received_s: float) -> float:
    """When a reply was written: its `Date`, or its time of arrival if `Date` is missing or far off.

    date        the header `Date`; empty if missing
    received_s  time of arrival by our clock; UTC seconds since 1970, like the result

    >>> written_s("Thu, 01 Jan 1970 00:10:00 GMT", 607.0), written_s("", 607.0)
    (600.0, 607.0)
    """
    stated_s = moment_s(date)
    is_near = stated_s is not None and abs(stated_s - received_s) <= CLOCK_OFF_S
    return stated_s if stated_s is not None and is_near else received_s


def lifetime_s(value: object) -> float | None:
    """The lifetime of a token in seconds, from a JSON reply; None if it is out of bounds.

    >>> lifetime_s(3600), lifetime_s(0), lifetime_s(float("nan")), lifetime_s(86_399_000)
    (3600.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= LONGEST_LIFETIME_S else None
