"""What the body of an update must be: a check per field, as in the vendor's schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any

from pipeline.simulator.content import date_time_fault

COUPON = "xsolla.coupon"
BONUS = "xsolla.bonus-promotion"

# A check yields (property, words) for each thing that is wrong with a value.
Problem = tuple[str, str]
Check = Callable[[Any, str], Iterator[Problem]]


def _text(
    pattern: str = r"(?s:.*)", min_chars: int = 0, max_chars: int | None = None, says: str = ""
) -> Check:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: Any, name: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield name, "must be a string"
        elif len(value) < min_chars or (max_chars is not None and len(value) > max_chars):
            yield name, f"must have {min_chars} to {max_chars} characters"
        elif not compiled.fullmatch(value):
            yield name, says or f"does not match {pattern}"

    return check


def _integer(least: int | None = None, most: int | None = None) -> Check:
    def check(value: Any, name: str) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield name, "must be an integer"
        elif least is not None and most is not None and not least <= value <= most:
            yield name, f"must be from {least} to {most}"

    return check


def _number(value: Any, name: str) -> Iterator[Problem]:
    # 1e999 is JSON, but no number that a server can hold.
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        yield name, "must be a number"


def _boolean(value: Any, name: str) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield name, "must be a boolean"


def _word(*words: str) -> Check:
    def check(value: Any, name: str) -> Iterator[Problem]:
        if not isinstance(value, str) or value not in words:
            yield name, f"must be one of {', '.join(words)}"

    return check


def _date_time(value: Any, name: str) -> Iterator[Problem]:
    fault = date_time_fault(value)
    if fault is not None:
        yield name, fault


def _or_null(inner: Check) -> Check:
    def check(value: Any, name: str) -> Iterator[Problem]:
        if value is not None:
            yield from inner(value, name)

    return check


def _array(inner: Check, least: int = 0, most: int | None = None) -> Check:
    def check(value: Any, name: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield name, "must be an array"
            return
        if len(value) < least or (most is not None and len(value) > most):
            yield name, f"must have {least} to {most} items"
        for index, item in enumerate(value):
            yield from inner(item, f"{name}[{index}]")

    return check


def _object(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    def check(value: Any, name: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield name, "must be an object"
            return
        prefix = f"{name}." if name else ""
        for field in required:
            if field not in value:
                yield prefix + field, "is required"
        for field, inner in fields.items():
            if field in value:
                yield from inner(value[field], prefix + field)

    return check


def _locales(value: Any, name: str) -> Iterator[Problem]:
    # the format of the keys is in the description only; the schema does not enforce it
    if not isinstance(value, dict):
        yield name, "must be an object"
        return
    for locale, text in value.items():
        if not isinstance(text, str):
            yield f"{name}.{locale}", "must be a string"


_INTERVALS: Mapping[str, Mapping[str, Check]] = {
    "daily": {},
    "weekly": {"day_of_week": _integer(1, 7)},
    "monthly": {"day_of_month": _integer(1, 31)},
}
SCHEDULE_TIME = re.compile(
    # Not anchored, as in the vendor's schema.
    r"((0[0-9]|1[0-9]|2[0-3]):00:00)(\+|-)(0[0-9]|1[0-9]|2[0-3]):([0-5][0-9])"
)


def _schedule_time(value: Any, name: str) -> Iterator[Problem]:
    if not isinstance(value, str) or not SCHEDULE_TIME.search(value):
        yield name, "must be a whole hour with an offset, such as 11:00:00+03:00"


def _interval(value: Any, name: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield name, "must be an object"
        return
    kind = value.get("interval_type")
    if not isinstance(kind, str) or kind not in _INTERVALS:
        yield f"{name}.interval_type", "must be one of daily, weekly, monthly"
        return
    day = _INTERVALS[kind]
    yield from _object({"time": _schedule_time, **day}, ("time", *day))(value, name)


# the operators for numbers are documented in two ways: both are accepted
_OPERATORS = {
    "string": frozenset({"eq", "ne"}),
    "date": frozenset({"eq", "ne", "er", "lt", "ee", "le"}),
    "number": frozenset({"eq", "ne", "er", "lt", "ee", "le", "gt", "ge"}),
}
_ATTRIBUTE = _object(
    {
        "attribute": _text(r"[-_.\d\w]+", 1, 255),
        "operator": _text(),
        "value": _text(max_chars=255),
        "type": _word(*_OPERATORS),
        "can_be_missing": _boolean,
    },
    ("attribute", "operator", "value", "type"),
)
_ATTRIBUTE_ARRAY = _array(_ATTRIBUTE, 1, 100)


def _attribute_conditions(value: Any, name: str) -> Iterator[Problem]:
    problems = list(_ATTRIBUTE_ARRAY(value, name))
    if problems:
        yield from problems
        return
    if len({item["type"] for item in value}) > 1:
        yield name, "must have one type in all items"
    for index, item in enumerate(value):
        if item["operator"] not in _OPERATORS[item["type"]]:
            yield f"{name}[{index}].operator", f"is not an operator for type {item['type']}"


_LIMITS = _object(
    {
        "per_user": _or_null(_integer()),
        "recurrent_schedule": _or_null(_object({"per_user": _interval}, ("per_user",))),
    }
)
_PRICE = _object(
    {"operator": _word("eq", "ge", "gt", "le", "lt", "ne"), "value": _text(r"\d+(\.\d{1,4})?")},
    ("operator", "value"),
)
_SKUS = _or_null(_array(_object({"sku": _text()})))
_BONUS_ITEMS = _or_null(_array(_object({"sku": _text(), "quantity": _number})))
_DATE = _or_null(_date_time)

_COUPON_FIELDS: Mapping[str, Check] = {
    "name": _locales,
    "bonus": _BONUS_ITEMS,
    "date_start": _DATE,
    "date_end": _DATE,
    "redeem_total_limit": _or_null(_integer()),
    "redeem_user_limit": _or_null(_integer()),
    "redeem_code_limit": _or_null(_integer()),
    "attribute_conditions": _attribute_conditions,
}
_BONUS_FIELDS: Mapping[str, Check] = {
    "name": _locales,
    "condition": _SKUS,
    "bonus": _BONUS_ITEMS,
    "id": _integer(),
    "date_start": _DATE,
    "date_end": _DATE,
    "attribute_conditions": _attribute_conditions,
    "limits": _LIMITS,
    "price_conditions": _or_null(_array(_PRICE)),
    "excluded_promotions": _array(_integer()),
}
FIELDS = {COUPON: _COUPON_FIELDS, BONUS: _BONUS_FIELDS}
CHECKS = {
    COUPON: _object(_COUPON_FIELDS, ("name",)),
    BONUS: _object(_BONUS_FIELDS, ("condition", "bonus", "name")),
}
