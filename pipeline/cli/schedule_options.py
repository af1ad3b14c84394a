"""Times that people give: a date and time, or a time of day."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.run import ScheduleWindow


def appointed(config: Config, *, at: str | None = None, until: str | None = None) -> ScheduleWindow:
    """When a run may send, as the command says it. Raises UsageError."""
    now = datetime.now(UTC)
    start_at = parse_moment("--at", at, now, config.timezone) if at else None
    end = parse_moment("--until", until, start_at or now, config.timezone) if until else None
    return ScheduleWindow(start_at=start_at, until=end)


def parse_moment(option: str, text: str, now: datetime, timezone: str | None) -> datetime:
    """The moment that `text` means: ISO 8601, or HH:MM for the next such time from `now` on.

    option    that it was given with, for messages
    timezone  where it has no offset; None: it must have one

    Raises UsageError where it means none, or one that is over.

    >>> at_noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> parse_moment("--until", "06:00", at_noon, "Europe/Berlin").isoformat()
    '2026-05-02T06:00:00+02:00'
    """
    zone = ZoneInfo(timezone) if timezone is not None else None
    given = _given(text)
    if given is None:
        raise UsageError(
            f"{option} {text!r} is no time; expected one such as 06:00 or 2026-05-01T06:00+02:00"
        )
    where = given.tzinfo or zone
    if where is None:
        raise UsageError(
            f"{option} {text} has no offset, and the configuration no timezone: write {text}+00:00 "
            'for UTC, or set timezone, such as "Europe/Berlin"'
        )
    if isinstance(given, time):
        return _next(given, where, now)
    moment = given.replace(tzinfo=where)
    if moment <= now:
        shown = now.astimezone(where).isoformat(" ", "minutes")
        raise UsageError(f"{option} {text} is not after {shown}")
    return moment


def _given(text: str) -> time | datetime | None:
    if ":" not in text:  # a date alone, or digits that could be either
        return None
    for read in (time.fromisoformat, datetime.fromisoformat):
        with suppress(ValueError):
            return read(text)
    return None


def _next(given: time, where: tzinfo, now: datetime) -> datetime:
    """The next time of day `given` after `now`, which is UTC."""
    days = (now.astimezone(where).date() + timedelta(days=count) for count in (0, 1, 2))
    moments = (datetime.combine(day, given.replace(tzinfo=where)) for day in days)
    return next(moment for moment in moments if moment > now)
