"""The body of a read: what was written, and what the vendor adds to it."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pipeline.simulator.vendors.xsolla.checks import SCHEDULE_TIME


def read_coupon(state: dict[str, Any], external_id: str) -> dict[str, Any]:
    """A coupon with what was written."""
    total = state.get("redeem_total_limit")
    left = None if total is None else {"available": total, "reserved": 0, "used": 0}
    return {
        **state,
        "external_id": external_id,
        "is_enabled": True,
        "total_limit_state": left,
    }


def read_bonus(state: dict[str, Any], promotion_id: str, now: datetime) -> dict[str, Any]:
    """A bonus promotion with what was written, and when its limits reset after `now`."""
    limits = state.get("limits", {})
    per_user, schedule = limits.get("per_user"), limits.get("recurrent_schedule")
    return {
        **state,
        "id": int(promotion_id),
        "is_enabled": True,
        "limits": {
            "per_user": None if per_user is None else {"total": per_user},
            "per_item": None,
            "recurrent_schedule": schedule and {"per_user": _resets(schedule["per_user"], now)},
        },
    }


def _resets(interval: dict[str, Any], now: datetime) -> dict[str, Any]:
    first = next_reset(interval, now)
    return {
        "interval_type": interval["interval_type"],
        "time": interval["time"],
        "day_of_week": interval.get("day_of_week"),
        "day_of_month": interval.get("day_of_month"),
        "reset_next_date": int(first.timestamp()),
        "displayable_reset_start_date": first.isoformat(),
        "displayable_reset_next_date": first.isoformat(),
    }


def next_reset(interval: Mapping[str, Any], now: datetime) -> datetime:
    """The first reset of a recurrent limit after `now`, in the offset of its own time.

    In a month that is too short, the last day replaces `day_of_month`.

    >>> from datetime import UTC
    >>> monthly = {"interval_type": "monthly", "time": "01:00:00+08:00", "day_of_month": 31}
    >>> next_reset(monthly, datetime(2024, 2, 10, tzinfo=UTC)).isoformat()
    '2024-02-29T01:00:00+08:00'
    """
    match = SCHEDULE_TIME.search(interval["time"])
    time = match.group() if match else "00:00:00+00:00"
    zone = datetime.fromisoformat(f"2000-01-01T{time}").tzinfo
    moment = datetime.fromisoformat(f"{now.astimezone(zone):%Y-%m-%d}T{time}")
    while moment <= now or not _is_reset_day(interval, moment):
        moment += timedelta(days=1)
    return moment


def _is_reset_day(interval: Mapping[str, Any], day: datetime) -> bool:
    match interval["interval_type"]:
        case "weekly":
            return bool(day.isoweekday() == interval["day_of_week"])
        case "monthly":
            return bool(
                day.day == min(interval["day_of_month"], monthrange(day.year, day.month)[1])
            )
        case _:
            return True
