"""Files that are expected every day by a certain time. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta

_FORM = re.compile(r"\s*(\S+)\s+by\s+(\d{1,2}):(\d{2})\s*", re.IGNORECASE)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Expectation:
    """A file is expected in `folder` every day before `by`."""

    folder: str
    by: time

    def __str__(self) -> str:
        return f"{self.folder} by {self.by:%H:%M}"


def parse_expectation(text: str) -> Expectation:
    """Parse an expectation such as `xsolla.coupon by 03:00`. Raises ValueError for anything else.

    >>> str(parse_expectation("xsolla.coupon by 3:00"))
    'xsolla.coupon by 03:00'
    """
    found = _FORM.fullmatch(text)
    if found is not None:
        folder, hour, minute = found.groups()
        with suppress(ValueError):  # 25:00
            return Expectation(folder, time(int(hour), int(minute)))
    raise ValueError(
        f'{text!r}: expected a folder and a time of the day, as in "xsolla.coupon by 03:00"'
    )


def last_deadline(expected: Expectation, now: datetime) -> datetime:
    """The last time at which a file was due, in the time zone of `now`.

    >>> from datetime import UTC
    >>> three = parse_expectation("xsolla.coupon by 03:00")
    >>> last_deadline(three, datetime(2026, 5, 2, 2, 59, tzinfo=UTC)).isoformat()
    '2026-05-01T03:00:00+00:00'
    """
    today = now.replace(hour=expected.by.hour, minute=expected.by.minute, second=0, microsecond=0)
    return today if today <= now else today - _DAY


def is_late(
    expected: Expectation, now: datetime, *, since: datetime, last_arrival: datetime | None
) -> bool:
    """Return whether no file arrived in the day before the last deadline, nor after it.

    since         when watching began; earlier deadlines do not count
    last_arrival  time of the last file; None if none is known

    >>> from datetime import UTC
    >>> three = parse_expectation("xsolla.coupon by 03:00")
    >>> began, now = datetime(2026, 5, 1, 12, tzinfo=UTC), datetime(2026, 5, 2, 3, 1, tzinfo=UTC)
    >>> is_late(three, now, since=began, last_arrival=None)
    True
    >>> is_late(three, now, since=began, last_arrival=datetime(2026, 5, 1, 3, 30, tzinfo=UTC))
    False
    """
    deadline = last_deadline(expected, now)
    if deadline < since:
        return False
    return last_arrival is None or last_arrival < deadline - _DAY
