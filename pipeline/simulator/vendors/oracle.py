"""Oracle BRM, Billing Care REST: the status of purchased offers, many in one request.

Sources: the vendor's pages "Update an Offer's Status", "Query Access Token", "Authenticate" and
"Send Requests" of the REST API for Billing Care. Written by hand from these sources, with nothing
shared with the client.

Where they are silent, which is nearly everywhere: all or nothing (the vendor documents neither
that nor the opposite); what is no JSON of the schema is 400, what the billing system would not do
is 500, in one of three shapes that the id decides; an offer is named once in a request; canceled is
final; every id exists, and is active, unless its number starts with 666; `"2"` and `2` are alike.
There is no read. JSON only: the root of the XML is not published.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from pipeline.simulator.content import date_time_fault, is_json, json_answer, parse_json
from pipeline.simulator.headers import basic_credentials, bearer_token
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.tokens import token_answer
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

OFFER_STATUS = "oracle.offer-status"

_ACTIVE, _CANCELED = 1, 3


# ---- errors ----


def _failure(status: int, words: str, _transaction_id: str) -> VendorReply:
    return VendorReply(status, f"{words}\n".encode(), {"Content-Type": "text/plain"})


def _unlike(words: str, entity_id: str) -> VendorReply:
    """A 500 in one of three shapes, always the same for one id: none is documented."""
    match zlib.crc32(entity_id.encode("utf-8", "replace")) % 3:
        case 0:
            return json_answer(500, {"message": words})
        case 1:
            return _failure(500, words, "")
        case _:
            document = f'<?xml version="1.0"?><error><message>{escape(words)}</message></error>'
            return VendorReply(
                500, document.encode("utf-8", "replace"), {"Content-Type": "application/xml"}
            )


# ---- tokens ----

_LIFETIME_S = 3600.0


def _give_token(options: SimulatorOptions, tokens: Tokens, call: Call) -> VendorReply:
    if call.method != "GET":
        return _only("GET")
    known = (options.client_id, options.client_secret)
    if basic_credentials(call.headers.get("authorization", "")) != known:
        return _failure(401, "Unauthorized", "")
    return token_answer(
        options, tokens, call, vendor=VENDOR.name, scheme="Bearer", lifetime_s=_LIFETIME_S
    )


def _only(method: str) -> VendorReply:
    refusal = _failure(405, f"Only {method} is allowed", "")
    return VendorReply(refusal.status, refusal.body, {**refusal.headers, "Allow": method})


# ---- what the body must be ----


@dataclass(frozen=True, slots=True)
class Offer:
    """A purchased offer as a request names it: the list, and the id's text."""

    listed: str
    text: str


_LISTS = {"chargeOffers": "purchased_product", "discountOffers": "purchased_discount"}
_ID = re.compile(r"(\d+\.\d+\.\d+\.\d+)\+-([A-Za-z0-9_-]+)\+(\d+)", re.ASCII)
_INT32 = re.compile(r"[+-]?\d{1,9}", re.ASCII)  # text that is one; none of interest is longer


def _offers(body: Any) -> Iterator[Offer]:
    """The offers that a body names, whatever the body is."""
    for listed in _LISTS if isinstance(body, dict) else ():
        items = body.get(listed)
        for item in items if isinstance(items, list) else ():
            ref = item.get("ref") if isinstance(item, dict) else None
            text = ref.get("id") if isinstance(ref, dict) else None
            if isinstance(text, str):
                yield Offer(listed, text)


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        return _INT32.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_list_of_refs(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return len(list(_offers({"chargeOffers": value}))) == len(value)


def _is_note(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("accountId"), str)


# The members of the root; of a note and a reference only some are known, so others are let pass.
_SCHEMA: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "statusCode": (_is_whole, "an integer"),
    "chargeOffers": (_is_list_of_refs, 'an array of {"ref": {"id": text}}'),
    "discountOffers": (_is_list_of_refs, 'an array of {"ref": {"id": text}}'),
    "effectiveDate": (lambda value: date_time_fault(value) is None, "an RFC 3339 date-time"),
    "extension": (_is_object, "an object"),
    "notes": (_is_note, "an object with accountId"),
}


def _schema_fault(body: Any) -> str | None:
    if not isinstance(body, dict):
        return "The body is not an object"
    for name, value in body.items():
        if name not in _SCHEMA:
            return f"{name} is not a member of the request"
        is_good, expected = _SCHEMA[name]
        if not is_good(value):
            return f"{name} is not {expected}"
    return None


# ---- requests ----

_PATH = ("statusupdate", "offers")


def _locate(segments: tuple[str, ...], call: Call) -> RequestTarget | None:
    if segments != _PATH:
        return None
    try:
        ids = tuple(offer.text for offer in _offers(parse_json(call.body)))
    except ValueError:
        ids = ()
    return RequestTarget(OFFER_STATUS, "", ids[0] if len(ids) == 1 else "", ids)


def _answer(
    options: SimulatorOptions, memory: Memory, call: Call, target: RequestTarget | None
) -> VendorReply:
    if not _is_authentic(options, memory, call):
        refusal = _failure(401, "Unauthorized", call.transaction_id)
        scheme = "Basic" if options.oracle_auth == "basic" else "Bearer"
        return VendorReply(
            refusal.status, refusal.body, {**refusal.headers, "WWW-Authenticate": scheme}
        )
    if target is None:
        return _failure(404, "Not Found", call.transaction_id)
    if call.method != "PUT":
        return _only("PUT")
    return _update(options, memory, call)


def _is_authentic(options: SimulatorOptions, tokens: Tokens, call: Call) -> bool:
    authorization = call.headers.get("authorization", "")
    match options.oracle_auth:
        case "none":
            return True
        case "basic":
            known = (options.oracle_user, options.oracle_password)
            return basic_credentials(authorization) == known
        case _:
            token = bearer_token(authorization)
            return token is not None and tokens.is_good(VENDOR.name, token, call.now_utc_s)


def _update(options: SimulatorOptions, entities: Entities, call: Call) -> VendorReply:
    if not is_json(call.headers.get("content-type", "")):
        return _failure(415, "Unsupported Media Type", call.transaction_id)
    try:
        body = parse_json(call.body)
        fault = _schema_fault(body)
    except ValueError as error:
        fault = f"The body is not JSON: {error}"
    if fault is not None:
        return _failure(400, fault, call.transaction_id)
    refused = _refused(options, entities, body)
    if refused is not None:
        return refused
    status, ids = int(body["statusCode"]), [_canonical(offer.text) for offer in _offers(body)]
    for entity_id in ids:
        entities.put(OFFER_STATUS, "", entity_id, _state(body, status))
    return VendorReply(200, b"true", {"Content-Type": "application/json"}, applied=True)


def _refused(
    options: SimulatorOptions, entities: Entities, body: dict[str, Any]
) -> VendorReply | None:
    """The 500 for the first fault of the offers; None if all are valid: all or nothing."""
    status, offers = int(body.get("statusCode", -1)), list(_offers(body))
    if status not in range(4):
        return _unlike(f"No status {body.get('statusCode')}", "")
    if not offers:
        return _unlike("There are no offers to update", "")
    before: set[str] = set()
    for offer in offers:
        fault = _offer_fault(options, entities, offer, status)
        if fault is None and _canonical(offer.text) in before:
            fault = f"{offer.text} is given twice"
        if fault is not None:
            return _unlike(fault, offer.text)
        before.add(_canonical(offer.text))
    return None


def _state(body: dict[str, Any], status: int) -> dict[str, Any]:
    kept = ("effectiveDate", "notes", "extension")
    return {"statusCode": status, **{name: body[name] for name in kept if name in body}}


_SAMPLE_IDS = ("0.0.0.1+-purchased_product+209130", "0.0.0.1+-purchased_discount+345678")
_NOWHERE = "666"


def _offer_fault(
    options: SimulatorOptions, entities: Entities, offer: Offer, status: int
) -> str | None:
    """Why this offer cannot get this status; None if it can."""
    match = _ID.fullmatch(offer.text)
    if match is None:
        return f"{offer.text} is not an object id"
    if match[2] != _LISTS[offer.listed]:
        return f"{offer.text} is not of {offer.listed}"
    entity_id = _canonical(offer.text)
    if not _exists(options, entity_id, match[3]):
        return f"{offer.text} does not exist"
    written = entities.get(OFFER_STATUS, "", entity_id)
    held = _ACTIVE if written is None else written["statusCode"]
    if held == _CANCELED and status != _CANCELED:
        return f"{offer.text} is canceled"
    return None


def _exists(options: SimulatorOptions, entity_id: str, number: str) -> bool:
    if entity_id in {*_SAMPLE_IDS, *options.known_ids}:
        return True
    return not options.strict_ids and not number.startswith(_NOWHERE)


def _canonical(text: str) -> str:
    """An id without leading zeros in its number.

    >>> _canonical("0.0.0.1+-purchased_product+007")
    '0.0.0.1+-purchased_product+7'
    """
    before, plus, number = text.rpartition("+")
    return before + plus + (number.lstrip("0") or "0")


VENDOR = EmulatedVendor(
    "oracle",
    "/bcws/webresources/v1.0",
    _locate,
    _answer,
    _failure,
    TokenEndpoint(
        "/bcws/webresources/v1.0/authentication/queryAccessToken",
        "oracle.token",
        _give_token,
        _failure,
    ),
)
