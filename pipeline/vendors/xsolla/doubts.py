"""Doubts about a row: they warn and never refuse."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pipeline.model import UpdateJob
from pipeline.vendors.kit.classify import plain
from pipeline.vendors.xsolla.bodies import MEMBERS, WHOLE_TIME, Daily, Monthly, Schedule, Weekly

_SHOWN_NAMES_CHARS = 100
_INTERVALS: Final[Mapping[Any, Collection[str]]] = {
    "daily": Daily.__annotations__,
    "weekly": Weekly.__annotations__,
    "monthly": Monthly.__annotations__,
}


def warn(job: UpdateJob) -> tuple[str, ...]:
    """Doubts about a row."""
    return tuple(_doubts(job.__dict__))


def _doubts(given: Mapping[str, Any]) -> Iterator[str]:
    # a field that the row leaves out is None here, which raises no doubt
    if given.get("promotion_id", 1) <= 0:
        yield "promotion_id: ids are positive"
    if given.get("price_conditions") and given.get("condition"):
        # BONUS: "set the value of the condition object to null"; SPEC's own sample sends both
        yield "price_conditions: Xsolla says to set condition to null with them"
    yield from _doubts_about_items(given)
    if given.get("attribute_conditions"):
        yield from _doubts_about_attributes(given["attribute_conditions"])
    yield from _doubts_about_time(given)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", given.get("external_id", "1")):
        yield "external_id: version 3 allows Latin letters, digits, . - and _ only"
    if given["name"] == {}:
        # BONUS and COUPON speak of pairs, and no schema says how many
        yield "name: no text in any language"
    yield from _undocumented(given)


def _undocumented(given: Mapping[str, Any]) -> Iterator[str]:
    for field, known in MEMBERS.items():
        value = given.get(field) or []
        yield from _others(field, known, [value] if isinstance(value, dict) else value)
    schedule = (given.get("limits") or {}).get("recurrent_schedule") or {}
    yield from _others("limits.recurrent_schedule", Schedule.__annotations__, (schedule,))
    every = schedule.get("per_user") or {}
    known = _INTERVALS.get(every.get("interval_type"), {})
    yield from _others("limits.recurrent_schedule.per_user", known, (every,))


def _others(
    where: str, known: Collection[str], items: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    others = {name for item in items for name in item if name not in known}
    if others:
        names = plain(", ".join(sorted(others)), _SHOWN_NAMES_CHARS)
        yield f"{where}: Xsolla documents no member {names}; it is sent as given"


def _doubts_about_items(given: Mapping[str, Any]) -> Iterator[str]:
    for field in ("condition", "bonus"):
        if any("sku" not in item for item in given.get(field) or ()):
            yield f"{field}: an item without sku"
    if any(reward.get("quantity", 1) <= 0 for reward in given.get("bonus") or ()):
        yield "bonus: a quantity of 0 or less"


def _doubts_about_attributes(conditions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if any(not condition["attribute"].isascii() for condition in conditions):
        yield "attribute_conditions: an attribute with letters other than A to Z"
    unsure = {c["operator"] for c in conditions if c["type"] == "number"} - {"eq", "ne"}
    if unsure:
        # SPEC reads lt as later and le as later or equal, FILTER as less and less or equal
        yield (
            f"attribute_conditions: what {', '.join(sorted(unsure))} means for numbers is "
            "documented in two ways; check the promotion at Xsolla"
        )


def _doubts_about_time(given: Mapping[str, Any]) -> Iterator[str]:
    start, end = given.get("date_start"), given.get("date_end")
    if start and end:
        # the sample of COUPON has one moment twice, and no source requires an order
        begins, ends = map(datetime.fromisoformat, (start, end))
        if ends < begins:
            yield "date_end: before date_start"
        elif ends == begins:
            yield "date_end: the same moment as date_start"
    schedule = (given.get("limits") or {}).get("recurrent_schedule") or {}
    time = schedule.get("per_user", {}).get("time")
    if time is not None and not WHOLE_TIME.fullmatch(time):
        yield "limits.recurrent_schedule: time holds more than an hour and its offset"
