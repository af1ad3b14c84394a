"""Converts dates in ISO 8601 text or Parquet timestamps to RFC 3339 text. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pipeline.loader.cell_error import CellError

_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r" ?(?:([Zz]|UTC)|([+-])(\d\d):?(\d\d)?)?",  # BigQuery writes " UTC"
    re.ASCII,
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INFINITY = re.compile(r"([+-]?)inf(?:inity)?", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?", re.ASCII)

_EXPECTED = "a date and time such as 2026-12-31T18:00:00+01:00"
_SET_TIMEZONE = (
    "Write the offset (Z, +hh:mm), or set `timezone` in the configuration, "
    'for example timezone = "Europe/Berlin"'
)


def read_date_text(text: str, zone: tzinfo | None) -> str:
    """Convert an ISO 8601 date and time to RFC 3339 text, to the microsecond, with its own offset.

    zone  of a date without an offset; None makes such a date an error

    Raises CellError.

    >>> read_date_text("2026-12-31 18:00:00.500+0530", None)
    '2026-12-31T18:00:00.5+05:30'
    >>> read_date_text("2026-12-31T18:00Z", None), read_date_text("2026-12-31 18:00:00 UTC", None)
    ('2026-12-31T18:00:00+00:00', '2026-12-31T18:00:00+00:00')
    """
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        raise _not_a_date(text)
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        moment = datetime(  # noqa: DTZ001 - its offset is kept separately
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond
        )
    except ValueError as error:
        raise CellError("no such date or time", _EXPECTED) from error
    if zulu:
        return _rfc_3339(moment, "+00:00")
    if sign:
        return _rfc_3339(moment, _offset(sign, hours, minutes or "00"))
    return _local(moment, zone)


def beyond_calendar(value: str) -> CellError:
    """The error for a timestamp outside Python's calendar, such as `infinity`."""
    return CellError(
        f"a timestamp outside the years 1 to 9999 ({value})"
        if "inf" in value
        else "a timestamp outside the years 1 to 9999",
        _EXPECTED,
        "For a date that never comes write null, or omit, if the field allows it",
    )


def offset_zone(offset: str) -> tzinfo:
    """The time zone of an offset in the form of RFC 3339.

    >>> offset_zone("-03:30").utcoffset(None) == timedelta(hours=-3.5)
    True
    """
    hours, minutes = map(int, offset[1:].split(":"))
    ahead = timedelta(hours=hours, minutes=minutes)
    return timezone(-ahead if offset[0] == "-" else ahead)


def read_timestamp(value: datetime, zone: tzinfo | None, written_in: tzinfo | None = None) -> str:
    """Convert a timestamp of a Parquet file to RFC 3339 text.

    zone        of a timestamp without an offset; None makes it an error
    written_in  offset in which to write it; None keeps its own

    >>> read_timestamp(datetime(2026, 12, 31, 18, tzinfo=UTC), None)
    '2026-12-31T18:00:00+00:00'
    """
    if value.tzinfo is None:
        return _local(value, zone)
    if written_in is not None:
        with suppress(OverflowError):  # stays in UTC at the edge of the calendar
            value = value.astimezone(written_in)
    return _rfc_3339(value.replace(tzinfo=None), _offset_of(value))


def _local(moment: datetime, zone: tzinfo | None) -> str:
    if zone is None:
        raise CellError("a date without an offset", _EXPECTED, _SET_TIMEZONE)
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        try:
            there = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        except OverflowError:
            there = moment
        what = "a time that happens twice" if there == moment else "a time that does not exist"
        raise CellError(
            f"{what} in {zone}, because the clock changes then",
            _EXPECTED,
            "Write the offset (Z, +hh:mm)",
        )
    return _rfc_3339(moment, _offset_of(first))


def _offset_of(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    minutes, rest_s = divmod(int(offset.total_seconds()), 60)
    if rest_s:
        raise CellError("a date whose offset is not in whole minutes", _EXPECTED)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _offset(sign: str, hours: str, minutes: str) -> str:
    if int(hours) > 23 or int(minutes) > 59:  # noqa: PLR2004 - of a clock
        raise CellError("no such offset", _EXPECTED)
    is_zero = hours == minutes == "00"
    return f"{'+' if is_zero else sign}{hours}:{minutes}"


def _rfc_3339(moment: datetime, offset: str) -> str:
    text = moment.isoformat(sep="T")  # to the second, with six decimals if it has a fraction
    return (text.rstrip("0") if moment.microsecond else text) + offset


def _not_a_date(text: str) -> CellError:
    if found := _INFINITY.fullmatch(text):
        return beyond_calendar(f"{found[1].strip('+')}infinity")
    if _NUMBER.fullmatch(text):
        return CellError(
            "a number, not a date",
            _EXPECTED,
            "A spreadsheet shows dates like this if their format is lost: write them as text",
        )
    if _DATE.fullmatch(text):
        return CellError("a date without a time", _EXPECTED)
    return CellError("not a date and time in ISO 8601", _EXPECTED)
