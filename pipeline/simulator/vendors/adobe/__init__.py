"""Adobe Journey Optimizer's Offer Library: updates and reads of fallback offers, in both dialects.

xcore (the older API: containers, hal+json, pointers below `/_instance/`) and dps (its successor:
plain JSON, pointers from the root). A token call comes before either.

Sources: the vendor's page "Update a fallback offer", its tutorial "Manage Decisioning objects and
rules using APIs", its pages on the dps API, on Server-to-Server authentication and on errors of
the platform. Written by hand from these sources, with nothing shared with the client. Of the two
Content-Types that the first page gives for a PATCH, only that of its sample is taken.

Where they are silent: a good PATCH answers 200; the error codes in `type` are ours; a missing
sandbox, a body that is no JSON array of objects and an If-Match without quotes are 400; what a
patch must leave right is checked for the properties that the tutorial names, all others are free;
`name` and `status` must be there; an empty patch counts as applied; dps takes no notice of
If-Match; the text of a scope is free. A dps entity is kept per sandbox.

Not here: what all emulated vendors share, such as quotas and faults (two folders above).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote

from pipeline.simulator.content import json_answer
from pipeline.simulator.headers import bearer_token
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendor import (
    Call,
    EmulatedVendor,
    Entities,
    Memory,
    RequestTarget,
    TokenEndpoint,
    Tokens,
    VendorReply,
)
from pipeline.simulator.vendors.adobe.dialects import DPS, XCORE, Dialect
from pipeline.simulator.vendors.adobe.errors import ServiceError, failure, gateway, problem
from pipeline.simulator.vendors.adobe.patches import parsed_patch, patched_document
from pipeline.simulator.vendors.adobe.tokens import NAME, give_token, no_token

FALLBACK_OFFER = "adobe.fallback-offer"
_DPS_SCOPE = "dps:"  # before a sandbox's name; the scope of xcore is a container's id


def _locate(segments: tuple[str, ...], call: Call) -> RequestTarget | None:
    match segments:
        case ("xcore", container, "instances", instance_id):
            is_good = container and instance_id and not container.startswith(_DPS_SCOPE)
            return RequestTarget(FALLBACK_OFFER, container, instance_id) if is_good else None
        case ("dps", "offers") | ("dps", "offers", str(_)) if segments[-1]:
            is_fallback = parse_qs(call.query).get("offer-type") == ["fallback"]
            scope = _DPS_SCOPE + call.headers.get("x-sandbox-name", "")
            offer_id = "".join(segments[2:])
            return RequestTarget(FALLBACK_OFFER, scope, offer_id) if is_fallback else None
        case _:
            return None


def _answer(
    options: SimulatorOptions, memory: Memory, call: Call, target: RequestTarget | None
) -> VendorReply:
    code = _gateway_code(options, memory, call)
    if code is not None:
        return gateway(code)
    try:
        return _serve(options, memory, call, target)
    except ServiceError as error:
        return problem(error.status, error.title, error.detail, call.transaction_id)


def _gateway_code(options: SimulatorOptions, tokens: Tokens, call: Call) -> str | None:
    """Why the gateway refuses a call to any service; None if it forwards it."""
    headers = call.headers
    if not headers.get("x-api-key"):
        return "403000"
    if headers["x-api-key"] != options.client_id:
        return "403003"
    if not headers.get("authorization"):
        return "403010"
    token = bearer_token(headers["authorization"])
    if token is None or not tokens.is_good(NAME, token, call.now_utc_s):
        return "401013"
    return None if headers.get("x-gw-ims-org-id") else "400003"


def _serve(
    options: SimulatorOptions, entities: Entities, call: Call, target: RequestTarget | None
) -> VendorReply:
    if not call.headers.get("x-sandbox-name"):
        raise ServiceError(400, "Bad Request", "Header x-sandbox-name is missing")
    if target is None:
        raise ServiceError(404, "Not Found", "There is no such resource")
    if not target.entity_id:
        return _listed(entities, call, target)
    if call.method not in ("GET", "PATCH"):
        words = "Method Not Allowed"
        refusal = problem(405, words, f"{call.method} is not taken here", call.transaction_id)
        return VendorReply(refusal.status, refusal.body, {**refusal.headers, "Allow": "GET, PATCH"})
    dialect = DPS if target.scope.startswith(_DPS_SCOPE) else XCORE
    dialect.headers(call)
    document = _document(options, entities, dialect, target)
    if call.method == "GET":
        is_known = call.headers.get("if-none-match") == f'"{document[dialect.etag]}"'
        return VendorReply(304) if is_known else json_answer(200, document)
    return _update(entities, call, dialect, target, document)


_MAX_LISTED = 100


def _listed(entities: Entities, call: Call, target: RequestTarget) -> VendorReply:
    """A page of what was written; `start` is the id of the last offer of the page before."""
    if call.method != "GET":
        raise ServiceError(405, "Method Not Allowed", f"{call.method} is not taken here")
    query = parse_qs(call.query)
    limit = query.get("limit", ["20"])[0]
    if not re.fullmatch(r"[1-9][0-9]{0,5}", limit):
        raise ServiceError(400, "Bad Request", "limit is no whole number")
    most = min(int(limit), _MAX_LISTED)
    start = query.get("start", [""])[0]
    found = entities.page(target.kind, target.scope, start, most + 1)
    shown = found[:most]
    here = f"/offers?offer-type=fallback&limit={limit}"
    links: dict[str, Any] = {"self": {"href": here}}
    if len(found) > most:
        links["next"] = {"href": f"{here}&start={quote(shown[-1][0], safe='')}"}
    document = {
        "results": [body for _, body in shown],
        "count": len(shown),
        "total": entities.count(target.kind, target.scope),
        "_links": links,
    }
    return json_answer(200, document)


_SAMPLE_ID = "b3966680-13ec-11eb-9c20-8323709cfc65"


def _document(
    options: SimulatorOptions, entities: Entities, dialect: Dialect, target: RequestTarget
) -> dict[str, Any]:
    written = entities.get(target.kind, target.scope, target.entity_id)
    if written is not None:
        return written
    if options.strict_ids and target.entity_id not in {_SAMPLE_ID, *options.known_ids}:
        raise ServiceError(404, "Not Found", f"There is no offer {target.entity_id}")
    return dialect.sample(target.scope, target.entity_id)


def _update(
    entities: Entities,
    call: Call,
    dialect: Dialect,
    target: RequestTarget,
    document: dict[str, Any],
) -> VendorReply:
    patch = parsed_patch(call.body)
    if dialect is XCORE:
        _check_etag(call, document[dialect.etag])
    patched = patched_document(dialect, document, patch)
    patched[dialect.etag] += 1
    patched |= dialect.signed(_time(call.now_utc_s), call.headers["x-api-key"])
    entities.put(target.kind, target.scope, target.entity_id, patched)
    receipt = json_answer(200, dialect.receipt(patched, target))
    return VendorReply(receipt.status, receipt.body, receipt.headers, applied=True)


def _time(now_utc_s: float) -> str:
    return datetime.fromtimestamp(now_utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_QUOTED_ETAG = re.compile(r'"[!#-~]*"')  # RFC 9110, 8.8.3, without bytes beyond ASCII


def _check_etag(call: Call, etag: int) -> None:
    """Refuse a call unless its If-Match is missing or is this etag, as opaque text."""
    expected = call.headers.get("if-match")
    if expected is None:
        return
    if not _QUOTED_ETAG.fullmatch(expected):
        raise ServiceError(400, "Bad Request", f"If-Match {expected!r} is not one quoted etag")
    if expected != f'"{etag}"':
        raise ServiceError(409, "Conflict", f"If-Match is {expected}, the etag is {etag}")


VENDOR = EmulatedVendor(
    NAME,
    "/data/core",
    _locate,
    _answer,
    failure,
    TokenEndpoint("/ims/token/v3", "adobe.token", give_token, no_token),
)
