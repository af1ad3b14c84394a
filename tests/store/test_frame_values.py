"""Values out of frames: what polars would panic at, or nobody sends, comes as a stand-in."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from pipeline.model import MAX_CELL_BYTES, BeyondCalendar, TooLong
from pipeline.store.frame_values import column_values

MOST = 2**63 - 1
END_S = 253_402_300_800  # the first second of the year 10000
BERLIN = ZoneInfo("Europe/Berlin")


def moments(unit: str, zone: str | None, *counts: int | None) -> list[Any]:
    return column_values(pl.Series(counts, dtype=pl.Int64).cast(pl.Datetime(unit, zone)))  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/New_York"])
def test_infinity_is_outside_the_calendar(unit: str, zone: str | None) -> None:
    found = moments(unit, zone, MOST, -MOST, -MOST - 1, None)
    assert found == [*map(BeyondCalendar, ["infinity", "-infinity", "-infinity"]), None]


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/New_York"])
def test_the_last_second_of_the_calendar_is_held(unit: str, zone: str | None) -> None:
    """Many write 9999-12-31 for a date that never comes."""
    per_s = {"ms": 10**3, "us": 10**6}[unit]
    last, after = moments(unit, zone, (END_S - 1) * per_s, END_S * per_s)
    assert last.replace(tzinfo=None) == datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001
    assert last.utcoffset() in {None, timedelta()}
    assert after == BeyondCalendar(f"{END_S * per_s} {unit} since 1970")


def test_a_time_keeps_its_zone_beside_other_values() -> None:
    beside, _ = moments("us", "Europe/Berlin", 0, MOST)
    assert beside == datetime(1970, 1, 1, 1, tzinfo=BERLIN)
    assert beside.utcoffset() == timedelta(hours=1)


def test_a_day_outside_the_calendar_becomes_a_stand_in() -> None:
    days = pl.Series([2**31 - 1, -(2**31), 2_932_896, 2_932_897, None], dtype=pl.Int32)
    assert column_values(days.cast(pl.Date)) == [
        *(BeyondCalendar("infinity"), BeyondCalendar("-infinity")),
        *(date(9999, 12, 31), BeyondCalendar("2932897 days since 1970")),
        None,
    ]


def test_infinity_inside_of_a_list_or_a_struct_is_found() -> None:
    inner = pl.Series([MOST, 0]).cast(pl.Datetime("us", "UTC"))
    struct = pl.DataFrame({"at": inner, "n": [1, 2]}).to_struct("s")
    nested = pl.Series([[0], [1, MOST], [], None]).cast(pl.List(pl.Datetime("us")))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert column_values(struct) == [BeyondCalendar("infinity"), {"at": epoch, "n": 2}]
    assert column_values(nested)[1:] == [BeyondCalendar("infinity"), [], None]


def test_text_longer_than_a_cell_becomes_a_stand_in() -> None:
    texts = ["x" * MAX_CELL_BYTES, "y" * (MAX_CELL_BYTES + 1), "", None]
    found = column_values(pl.Series(texts))
    assert found == [texts[0], TooLong("y" * 80), "", None]
