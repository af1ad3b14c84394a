"""Files that have to come by a time of the day. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta

_FORM = re.compile(r"\s*(\S+)\s+by\s+(\d{1,2}):(\d{2})\s*", re.IGNORECASE)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Every day, by `by`, a file is dropped in the folder `folder`."""

    folder: str
    by: time

    def __str__(self) -> str:
        return f"{self.folder} by {self.by:%H:%M}"


def parse_expectation(text: str) -> Expectation:
    """`xsolla.coupon by 03:00`. Raises ValueError where it is something else.

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
    expected: Expectation, now: datetime, *, since: datetime, last_came: datetime | None
) -> bool:
    """Whether nothing came in the day before the last deadline, nor after it.

    since      when somebody began to look: an earlier deadline is nobody's matter
    last_came  when the last file came; None where none is known

    >>> from datetime import UTC
    >>> three = parse_expectation("xsolla.coupon by 03:00")
    >>> began, now = datetime(2026, 5, 1, 12, tzinfo=UTC), datetime(2026, 5, 2, 3, 1, tzinfo=UTC)
    >>> is_late(three, now, since=began, last_came=None)
    True
    >>> is_late(three, now, since=began, last_came=datetime(2026, 5, 1, 3, 30, tzinfo=UTC))
    False
    """
    deadline = last_deadline(expected, now)
    if deadline < since:
        return False
    return last_came is None or last_came < deadline - _DAY
