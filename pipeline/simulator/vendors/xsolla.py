"""Xsolla Shop Builder, version 2: updates and reads of coupons and bonus promotions.

Sources: the vendor's pages "Update bonus promotion" and "Update coupon promotion", and its OpenAPI
file "Shop Builder API 2.0.0". They state no quota and no body for 429; ours has the error shape of
all other answers. Written by hand from these sources, with nothing shared with the client.

Where they are silent: fields that are not in the schema are ignored and not kept; a field left out
of an update is afterwards absent from a read; an unknown SKU answers as the documented sample does
(422, errorCode 1102 with 0401-9505 in the message: they disagree there too).
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from urllib.parse import parse_qs

from pipeline.simulator.content import date_time_fault, is_json, json_answer, parse_json
from pipeline.simulator.headers import basic_credentials
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendor import Call, EmulatedVendor, Entities, RequestTarget, VendorReply

COUPON = "xsolla.coupon"
BONUS = "xsolla.bonus-promotion"

# A check yields (property, words) for each thing that is wrong with a value.
Problem = tuple[str, str]
Check = Callable[[Any, str], Iterator[Problem]]


# ---- checks ----


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
_SCHEDULE_TIME = re.compile(
    # Not anchored, as in the vendor's schema.
    r"((0[0-9]|1[0-9]|2[0-3]):00:00)(\+|-)(0[0-9]|1[0-9]|2[0-3]):([0-5][0-9])"
)


def _schedule_time(value: Any, name: str) -> Iterator[Problem]:
    if not isinstance(value, str) or not _SCHEDULE_TIME.search(value):
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
_FIELDS = {COUPON: _COUPON_FIELDS, BONUS: _BONUS_FIELDS}
_CHECKS = {
    COUPON: _object(_COUPON_FIELDS, ("name",)),
    BONUS: _object(_BONUS_FIELDS, ("condition", "bonus", "name")),
}


# ---- errors ----

# 429 has no documented code; the vendor writes 0 for errors without one (403, 405)
_CODES = {500: 1000, 503: 1101}


def _error(
    status: int, code: int, message: str, transaction_id: str, problems: list[Problem] | None = None
) -> VendorReply:
    document: dict[str, Any] = {
        "statusCode": status,
        "errorCode": code,
        "errorMessage": message,
        "transactionId": transaction_id,
    }
    if problems:
        document["errorMessageExtended"] = [
            {"property": name, "message": words} for name, words in problems
        ]
    return json_answer(status, document)


def _failure(status: int, words: str, transaction_id: str) -> VendorReply:
    code = _CODES.get(status, 0)
    message = f"[0401-{code}]: {words}" if code else words
    return _error(status, code, message, transaction_id)


def _wrong_body(call: Call, problems: list[Problem]) -> VendorReply:
    name, words = problems[0]
    property_words = f"The property `{name}` {words}" if name else f"The body {words}"
    message = f"[0401-1102]: Unprocessable Entity. {property_words}"
    return _error(422, 1102, message, call.transaction_id, problems)


# ---- requests ----


_WHOLE_NUMBERS = re.compile(r"[0-9]{1,38}")  # one or two 64-bit numbers


def _locate(segments: tuple[str, ...], _call: Call) -> RequestTarget | None:
    match segments:
        case ("v2", "project", project_id, "admin", "coupon", external_id):
            kind, entity_id, numeric = COUPON, external_id, project_id
        case ("v2", "project", project_id, "admin", "coupon"):
            return _whole(COUPON, project_id)
        case ("v2", "project", project_id, "admin", "promotion", "bonus"):
            return _whole(BONUS, project_id)
        case ("v2", "project", project_id, "admin", "promotion", promotion_id, "bonus"):
            kind, entity_id, numeric = BONUS, promotion_id, project_id + promotion_id
        case _:
            return None
    is_good = bool(project_id and entity_id) and _WHOLE_NUMBERS.fullmatch(numeric)
    return RequestTarget(kind, project_id, entity_id) if is_good else None


def _whole(kind: str, project_id: str) -> RequestTarget | None:
    """All entities of a project."""
    return RequestTarget(kind, project_id, "") if _WHOLE_NUMBERS.fullmatch(project_id) else None


def _answer(
    options: SimulatorOptions, entities: Entities, call: Call, target: RequestTarget | None
) -> VendorReply:
    if target is None:
        return _failure(404, "Not Found", call.transaction_id)
    allowed = ("GET", "PUT") if target.entity_id else ("GET",)
    if call.method not in allowed:
        refusal = _failure(405, f"Method {call.method} Not Allowed", call.transaction_id)
        return VendorReply(
            refusal.status, refusal.body, {**refusal.headers, "Allow": ", ".join(allowed)}
        )
    if not _is_authentic(options, call.headers.get("authorization", ""), target.scope):
        message = "[0401-1020]: Error in Authentication method occurred"
        return _error(401, 1020, message, call.transaction_id)
    if not target.entity_id:
        return _listed(entities, call, target)
    if call.method == "GET":
        return _read(options, entities, call, target)
    return _update(options, entities, call, target)


def _is_authentic(options: SimulatorOptions, authorization: str, project_id: str) -> bool:
    credentials = basic_credentials(authorization)
    if credentials is None:
        return False
    user, password = credentials
    # SPEC: a merchant's number is accepted in place of the project's
    is_merchant = user.isascii() and user.isdigit() and options.merchant_id in (None, user)
    is_known = user == project_id or is_merchant
    return is_known and password == options.api_key


def _update(
    options: SimulatorOptions, entities: Entities, call: Call, target: RequestTarget
) -> VendorReply:
    if not is_json(call.headers.get("content-type", "")):
        message = "[0410-1803]: Unsupported content type, application/json expected"
        return _error(422, 1803, message, call.transaction_id)
    body, problems = _parse(call.body)
    problems = problems or list(_CHECKS[target.kind](body, ""))
    if problems:
        return _wrong_body(call, problems)
    if _state(options, entities, target) is None:
        return _not_found(call, target)
    unknown = list(_unknown_skus(options.unknown_skus, body))
    if unknown:
        message = f"[0401-9505]: Can not update the promotion: {unknown[0][0]} {unknown[0][1]}"
        return _error(422, 1102, message, call.transaction_id, unknown)
    known = {field: body[field] for field in _FIELDS[target.kind] if field in body}
    entities.put(target.kind, target.scope, target.entity_id, known)
    return VendorReply(204, applied=True)


def _parse(raw: bytes) -> tuple[Any, list[Problem]]:
    try:
        return parse_json(raw), []
    except ValueError as error:
        return None, [("", f"is not JSON: {error}")]


def _unknown_skus(unknown: frozenset[str], body: dict[str, Any]) -> Iterator[Problem]:
    for field in ("condition", "bonus"):
        for index, item in enumerate(body.get(field) or ()):
            if item.get("sku") in unknown:
                yield f"{field}[{index}].sku", f"is not in the catalog: {item['sku']}"


def _not_found(call: Call, target: RequestTarget) -> VendorReply:
    if target.kind == COUPON:
        message = "[0401-9802]: Coupon or promo code not found"
        return _error(404, 9802, message, call.transaction_id)
    return _error(404, 9502, "[0401-9502]: Promotion not found", call.transaction_id)


# ---- reads ----

_SAMPLE_IDS = {COUPON: "coupon_44056_1", BONUS: "111425"}
_SAMPLES: Mapping[str, dict[str, Any]] = {
    COUPON: {
        "name": {"de-DE": "Gutscheintitel", "en-US": "Coupon title"},
        "bonus": [{"sku": "elven_shield", "quantity": 1}],
        "date_start": "2020-04-15T18:16:00+05:00",
        "date_end": "2020-04-15T18:16:00+05:00",
        "redeem_total_limit": 10,
        "redeem_user_limit": 10,
        "redeem_code_limit": 10,
    },
    BONUS: {
        "name": {"de-DE": "Bonusaktion", "en-US": "Bonus promotion"},
        "condition": [{"sku": "elven_sword"}],
        "bonus": [{"sku": "elven_shield", "quantity": 1}],
        "date_start": "2020-04-15T18:16:00+05:00",
        "date_end": "2020-04-25T18:16:00+05:00",
        "attribute_conditions": [
            {"attribute": "race", "operator": "eq", "value": "elf", "type": "string"}
        ],
        "limits": {
            "per_user": 5,
            "recurrent_schedule": {
                "per_user": {"interval_type": "weekly", "day_of_week": 1, "time": "01:00:00+08:00"}
            },
        },
        "price_conditions": None,
        "excluded_promotions": [12, 789],
    },
}


def _state(
    options: SimulatorOptions, entities: Entities, target: RequestTarget
) -> dict[str, Any] | None:
    written = entities.get(target.kind, target.scope, target.entity_id)
    if written is not None:
        return written
    is_sample = target.entity_id == _SAMPLE_IDS[target.kind]
    if options.strict_ids and not is_sample and target.entity_id not in options.known_ids:
        return None
    return _SAMPLES[target.kind]


def _read(
    options: SimulatorOptions, entities: Entities, call: Call, target: RequestTarget
) -> VendorReply:
    state = _state(options, entities, target)
    if state is None:
        return _not_found(call, target)
    if target.kind == COUPON:
        return json_answer(200, _read_coupon(state, target.entity_id))
    now = datetime.fromtimestamp(call.now_utc_s, UTC)
    return json_answer(200, _read_bonus(state, target.entity_id, now))


_LISTS = {COUPON: "items", BONUS: "promotions"}
_MAX_LISTED = 50


def _listed(entities: Entities, call: Call, target: RequestTarget) -> VendorReply:
    """A page of what was written: `limit` and `offset`; more than 50 are not given at once."""
    query = parse_qs(call.query, keep_blank_values=True)
    texts = [query.get(name, [default]) for name, default in (("limit", "50"), ("offset", "0"))]
    if set(query) - {"limit", "offset", "enabled"} or any(
        len(text) != 1 or not re.fullmatch(r"[0-9]{1,9}", text[0]) for text in texts
    ):
        return _wrong_body(call, [("limit", "and offset must be whole numbers")])
    limit, offset = (int(text[0]) for text in texts)
    after = entities.skip(target.kind, target.scope, offset)
    found = entities.page(target.kind, target.scope, after, min(limit, _MAX_LISTED))
    now = datetime.fromtimestamp(call.now_utc_s, UTC)
    bodies = [
        _read_coupon(body, entity_id)
        if target.kind == COUPON
        else _read_bonus(body, entity_id, now)
        for entity_id, body in found
    ]
    count = entities.count(target.kind, target.scope)
    document = {
        _LISTS[target.kind]: bodies,
        "total_promotions_count": count,  # of coupons, too
        "active_promotions_count": count,  # nothing is ever deactivated here
        "inactive_promotions_count": 0,
    }
    return json_answer(200, document)


def _read_coupon(state: dict[str, Any], external_id: str) -> dict[str, Any]:
    total = state.get("redeem_total_limit")
    left = None if total is None else {"available": total, "reserved": 0, "used": 0}
    return {
        **state,
        "external_id": external_id,
        "is_enabled": True,
        "total_limit_state": left,
    }


def _read_bonus(state: dict[str, Any], promotion_id: str, now: datetime) -> dict[str, Any]:
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

    >>> monthly = {"interval_type": "monthly", "time": "01:00:00+08:00", "day_of_month": 31}
    >>> next_reset(monthly, datetime(2024, 2, 10, tzinfo=UTC)).isoformat()
    '2024-02-29T01:00:00+08:00'
    """
    match = _SCHEDULE_TIME.search(interval["time"])
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


VENDOR = EmulatedVendor("xsolla", "/xsolla/api", _locate, _answer, _failure)
