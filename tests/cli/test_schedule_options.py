"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.cli.schedule_options import parse_time
from pipeline.model import UsageError

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "timezone", "expected"),
    [
        ("2026-05-02T06:00+02:00", None, "2026-05-02T06:00:00+02:00"),
        ("2026-05-02 06:00:30Z", "Europe/Berlin", "2026-05-02T06:00:30+00:00"),  # its own offset
        ("2026-05-02T06:00", "Europe/Berlin", "2026-05-02T06:00:00+02:00"),
        ("2026-12-02T06:00", "Europe/Berlin", "2026-12-02T06:00:00+01:00"),
        ("14:01", "Europe/Berlin", "2026-05-01T14:01:00+02:00"),  # noon UTC is 14:00 there
        ("14:00", "Europe/Berlin", "2026-05-02T14:00:00+02:00"),  # now is not the next
        ("01:00", "Europe/Berlin", "2026-05-02T01:00:00+02:00"),
        ("01:00", "Pacific/Auckland", "2026-05-02T01:00:00+12:00"),  # the day has begun there
        ("06:00+00:00", None, "2026-05-02T06:00:00+00:00"),
        ("23:59Z", "Europe/Berlin", "2026-05-01T23:59:00+00:00"),
    ],
)
def test_a_time_means_a_moment(text: str, timezone: str | None, expected: str) -> None:
    assert parse_time("--until", text, NOON, timezone).isoformat() == expected


@pytest.mark.parametrize(
    ("text", "timezone", "told"),
    [
        ("06:00", None, "--until 06:00 has no offset and the configuration has no timezone"),
        ("2026-05-02T06:00", None, "has no offset"),
        ("tomorrow", "UTC", "--until 'tomorrow' is not a time; expected for example 06:00"),
        ("6:00", "UTC", "is not a time"),
        ("0600", "UTC", "is not a time"),  # ISO 8601 has it, and a year could be meant
        ("2026-05-02", "UTC", "is not a time"),  # the start of a day is not said
        ("", "UTC", "is not a time"),
        ("25:00", "UTC", "is not a time"),
        ("2026-05-01T11:59Z", None, "is in the past: it is 2026-05-01 12:00+00:00 now"),
        ("2026-05-01T14:00", "Europe/Berlin", "is in the past: it is 2026-05-01 14:00+02:00 now"),
    ],
)
def test_what_means_none_is_refused_with_a_word(text: str, timezone: str | None, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_time("--until", text, NOON, timezone)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-29T00:00+00:00", "2026-03-29T02:30:00+01:00"),  # skipped: as if it were not
        ("2026-10-25T00:00+00:00", "2026-10-25T02:30:00+02:00"),  # twice: the first
    ],
)
def test_a_time_that_the_clock_change_skips_or_repeats(now: str, expected: str) -> None:
    found = parse_time("--at", "02:30", datetime.fromisoformat(now), "Europe/Berlin")
    assert found.isoformat() == expected
