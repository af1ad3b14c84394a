"""Times on the command line: a date and time, or a time of day."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.run import ScheduleWindow


def schedule_window(
    config: Config, *, at: str | None = None, until: str | None = None
) -> ScheduleWindow:
    """The schedule window of `--at` and `--until`. Raises UsageError."""
    now = datetime.now(UTC)
    start_at = parse_time("--at", at, now, config.timezone) if at else None
    end = parse_time("--until", until, start_at or now, config.timezone) if until else None
    return ScheduleWindow(start_at=start_at, until=end)


def parse_time(option: str, text: str, now: datetime, timezone: str | None) -> datetime:
    """The time that `text` means: ISO 8601, or HH:MM for the next such time after `now`.

    option    name of the option, for messages
    timezone  of a text without an offset; None: an offset is required

    Raises UsageError if the text is no time, or a time in the past.

    >>> at_noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> parse_time("--until", "06:00", at_noon, "Europe/Berlin").isoformat()
    '2026-05-02T06:00:00+02:00'
    """
    zone = ZoneInfo(timezone) if timezone is not None else None
    given = _given(text)
    if given is None:
        raise UsageError(
            f"{option} {text!r} is not a time; expected for example 06:00 or 2026-05-01T06:00+02:00"
        )
    where = given.tzinfo or zone
    if where is None:
        raise UsageError(
            f"{option} {text} has no offset and the configuration has no timezone: write "
            f'{text}+00:00 for UTC, or set timezone, such as "Europe/Berlin"'
        )
    if isinstance(given, time):
        return _next(given, where, now)
    moment = given.replace(tzinfo=where)
    if moment <= now:
        shown = now.astimezone(where).isoformat(" ", "minutes")
        raise UsageError(f"{option} {text} is in the past: it is {shown} now")
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
