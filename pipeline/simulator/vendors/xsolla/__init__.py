"""Xsolla Shop Builder, version 2: updates and reads of coupons and bonus promotions.

Sources: the vendor's pages "Update bonus promotion" and "Update coupon promotion", and its OpenAPI
file "Shop Builder API 2.0.0". They state no quota and no body for 429; ours has the error shape of
all other answers. Written by hand from these sources, with nothing shared with the client.

Where they are silent: fields that are not in the schema are ignored and not kept; a field left out
of an update is afterwards absent from a read; an unknown SKU answers as the documented sample does
(422, errorCode 1102 with 0401-9505 in the message: they disagree there too).

Not here: what all emulated vendors share, such as quotas and faults (two folders above).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from pipeline.simulator.content import is_json, json_answer, parse_json
from pipeline.simulator.headers import basic_credentials
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendor import Call, EmulatedVendor, Entities, RequestTarget, VendorReply
from pipeline.simulator.vendors.xsolla.bodies import next_reset, read_bonus, read_coupon
from pipeline.simulator.vendors.xsolla.checks import BONUS, CHECKS, COUPON, FIELDS, Problem

__all__ = ["VENDOR", "next_reset"]

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
    problems = problems or list(CHECKS[target.kind](body, ""))
    if problems:
        return _wrong_body(call, problems)
    if _state(options, entities, target) is None:
        return _not_found(call, target)
    unknown = list(_unknown_skus(options.unknown_skus, body))
    if unknown:
        message = f"[0401-9505]: Can not update the promotion: {unknown[0][0]} {unknown[0][1]}"
        return _error(422, 1102, message, call.transaction_id, unknown)
    known = {field: body[field] for field in FIELDS[target.kind] if field in body}
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
        return json_answer(200, read_coupon(state, target.entity_id))
    now = datetime.fromtimestamp(call.now_utc_s, UTC)
    return json_answer(200, read_bonus(state, target.entity_id, now))


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
        read_coupon(body, entity_id) if target.kind == COUPON else read_bonus(body, entity_id, now)
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


VENDOR = EmulatedVendor("xsolla", "/xsolla/api", _locate, _answer, _failure)
