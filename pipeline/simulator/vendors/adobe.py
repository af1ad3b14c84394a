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
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, quote

from jsonpatch import JsonPatch, JsonPatchException, PatchOperation
from jsonpointer import JsonPointerException

from pipeline.simulator.content import date_time_fault, is_json, json_answer, parse_json
from pipeline.simulator.headers import bearer_token
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

JsonObject = dict[str, Any]
FALLBACK_OFFER = "adobe.fallback-offer"

# ---- errors ----

# Shape of the gateway in front of all services; the code is text.
_GATEWAY = {
    "400003": (400, "Missing header: x-gw-ims-org-id"),
    "401013": (401, "Oauth token is not valid"),
    "403000": (403, "Api Key is required"),
    "403003": (403, "Api Key is invalid"),
    "403010": (403, "Oauth token is missing"),
    "429050": (429, "Too many requests"),
}


def _gateway(code: str) -> VendorReply:
    status, message = _GATEWAY[code]
    return json_answer(status, {"error_code": code, "message": message})


class _ServiceError(Exception):
    """A refusal by the service, with its status."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


def _problem(status: int, title: str, detail: str, transaction_id: str) -> VendorReply:
    document = {
        "type": f"https://ns.adobe.com/aep/errors/SIMULATOR-{status}",
        "title": title,
        "status": status,
        "detail": detail,
        "report": {"tenantInfo": {}, "additionalContext": {}},
        "request-id": transaction_id,
    }
    return json_answer(status, document, "application/problem+json")


def _failure(status: int, words: str, transaction_id: str) -> VendorReply:
    if status == 429:  # noqa: PLR2004
        return _gateway("429050")
    return _problem(status, words, words, transaction_id)


# ---- tokens ----

_LIFETIME_S = 86399.0
_FORM = "application/x-www-form-urlencoded"


def _give_token(options: SimulatorOptions, tokens: Tokens, call: Call) -> VendorReply:
    if call.method != "POST":
        refusal = _no_token(405, "Method Not Allowed", "")
        return VendorReply(refusal.status, refusal.body, {**refusal.headers, "Allow": "POST"})
    error = _token_error(options, call)
    if error is not None:
        return json_answer(400, {"error": error, "error_description": f"{error} in a token call"})
    return token_answer(
        options, tokens, call, vendor=VENDOR.name, scheme="bearer", lifetime_s=_LIFETIME_S
    )


def _token_error(options: SimulatorOptions, call: Call) -> str | None:
    form = _form(call)
    if form is None or any(len(values) > 1 for values in form.values()):
        return "invalid_request"
    if form.get("grant_type") != ["client_credentials"]:
        return "unsupported_grant_type"
    given = form.get("client_id"), form.get("client_secret")
    if given != ([options.client_id], [options.client_secret]):
        return "invalid_client"
    return None if "scope" in form else "invalid_scope"


def _form(call: Call) -> dict[str, list[str]] | None:
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return None
    try:
        return parse_qs(call.body.decode("ascii"), strict_parsing=True)
    except ValueError:
        return None


def _no_token(status: int, words: str, _transaction_id: str) -> VendorReply:
    return json_answer(status, {"error": words.lower().replace(" ", "_")})


# ---- what a patch must leave right ----


def _faults(entity: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The faults of an entity whose properties have this prefix."""
    name, status = f"{prefix}name", f"{prefix}status"
    if not isinstance(entity.get(name), str):
        yield f"{name} must be a string"
    if entity.get(status) not in ("draft", "approved", "archived"):
        yield f"{status} must be one of draft, approved, archived"
    if not isinstance(entity.get(f"{prefix}description", ""), str):
        yield f"{prefix}description must be a string"
    yield from _within(entity, f"{prefix}rank", _at_least(0), f"{prefix}priority")
    caps = (f"{prefix}globalCap", f"{prefix}profileCap")
    yield from _within(entity, f"{prefix}cappingConstraint", _at_least(1), *caps)
    dates = (f"{prefix}startDate", f"{prefix}endDate")
    yield from _within(entity, f"{prefix}selectionConstraint", date_time_fault, *dates)
    yield from _repeats(entity, f"{prefix}representations", f"{prefix}placement")
    yield from _repeats(entity, f"{prefix}tags")


def _at_least(least: int) -> Callable[[object], str | None]:
    def fault(value: object) -> str | None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return None if is_integer and value >= least else f"must be an integer, {least} or more"  # type: ignore[operator]

    return fault


def _within(
    entity: Mapping[str, Any], name: str, fault: Callable[[object], str | None], *members: str
) -> Iterator[str]:
    if name not in entity:
        return
    inner = entity[name]
    if not isinstance(inner, dict):
        yield f"{name} must be an object"
        return
    for member in members:
        if member in inner and (words := fault(inner[member])):
            yield f"{name}/{member} {words}"


def _repeats(entity: Mapping[str, Any], name: str, member: str | None = None) -> Iterator[str]:
    """A fault if the items of an array, or this member of each, are not unique."""
    items = entity.get(name, [])
    if not isinstance(items, list):
        yield f"{name} must be an array"
        return
    if member is not None:
        if not all(isinstance(item, dict) for item in items):
            yield f"{name} must be an array of objects"
            return
        items = [item[member] for item in items if member in item]
    if not all(isinstance(item, str) for item in items):
        yield f"{name} must hold text"
    elif len(set(items)) < len(items):
        yield f"{name} must not name one thing twice"


# ---- the two dialects ----

_SCHEMA = "https://ns.adobe.com/experience/offer-management/fallback-offer;version=0.1"
_XCORE = r"application/vnd\.adobe\.platform\.xcore\."
_OF_SCHEMA = rf'\s*;\s*schema="{re.escape(_SCHEMA)}"'
_XCORE_PATCH = re.compile(rf"{_XCORE}patch\.hal\+json\s*;\s*version=1{_OF_SCHEMA}", re.IGNORECASE)
_XCORE_RECEIPT = re.compile(rf"{_XCORE}xdm\.receipt\+json\s*;\s*version=1", re.IGNORECASE)
_XCORE_READ = re.compile(rf"(\*\s*,\s*)?{_XCORE}hal\+json{_OF_SCHEMA}", re.IGNORECASE)

_CREATED = "2020-10-21T22:28:11.111732Z"
_SOMEONE = "simulator@AdobeID"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences between the two APIs. A document is the entity as it is read.

    below    what every pointer of a patch starts with
    ops      that a patch may hold
    prefix   of every property
    etag     the document's property of that meaning
    headers  raises _ServiceError for a Content-Type or Accept that is not the documented one
    sample   scope, entity id -> a document
    entity   the part of a document that holds the properties; it is not a copy
    is_fixed whether the property of this name is not user-editable
    signed   what a document gets besides its new etag: time, client id -> properties
    receipt  document, target -> what a good patch answers
    """

    below: str
    ops: frozenset[str]
    prefix: str
    etag: str
    headers: Callable[[Call], None]
    sample: Callable[[str, str], dict[str, Any]]
    entity: Callable[[dict[str, Any]], dict[str, Any]]
    is_fixed: Callable[[str], bool]
    signed: Callable[[str, str], dict[str, Any]]
    receipt: Callable[[dict[str, Any], RequestTarget], dict[str, Any]]


def _wrong_type(call: Call) -> _ServiceError:
    detail = f"Content-Type {call.headers.get('content-type', '')!r} is not one for a patch"
    return _ServiceError(415, "Unsupported Media Type", detail)


def _xcore_headers(call: Call) -> None:
    if call.method == "PATCH" and not _XCORE_PATCH.fullmatch(call.headers.get("content-type", "")):
        raise _wrong_type(call)
    good = _XCORE_RECEIPT if call.method == "PATCH" else _XCORE_READ
    accept = call.headers.get("accept", "")
    if not good.fullmatch(accept):
        raise _ServiceError(
            406, "Not Acceptable", f"Accept {accept!r} is not one for {call.method}"
        )


def _dps_headers(call: Call) -> None:
    if call.method == "PATCH" and not is_json(call.headers.get("content-type", "")):
        raise _wrong_type(call)


def _hex(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _xcore_sample(scope: str, entity_id: str) -> dict[str, Any]:
    content = {"dc:format": "text/plain", "dc:language": ["en"], "xdm:content": "Welcome"}
    placement = "xcore:offer-placement:124b79dc3ce2e720"
    return {
        "instanceId": entity_id,
        "repo:etag": 1,
        "repo:createdDate": _CREATED,
        "repo:lastModifiedDate": _CREATED,
        "repo:createdBy": _SOMEONE,
        "repo:lastModifiedBy": _SOMEONE,
        "repo:createdByClientId": "simulator",
        "repo:lastModifiedByClientId": "simulator",
        "_instance": {
            "@id": f"xcore:fallback-offer:{_hex(f'{scope}/{entity_id}', 16)}",
            "xdm:name": "Fallback offer",
            "xdm:status": "draft",
            "xdm:representations": [{"xdm:placement": placement, "xdm:components": [content]}],
            "xdm:tags": [],
        },
    }


def _xcore_signed(now: str, client_id: str) -> dict[str, Any]:
    return {
        "repo:lastModifiedDate": now,
        "repo:lastModifiedBy": _SOMEONE,
        "repo:lastModifiedByClientId": client_id,
    }


def _xcore_receipt(document: dict[str, Any], target: RequestTarget) -> dict[str, Any]:
    repo = {name: value for name, value in document.items() if name.startswith("repo:")}
    return {"instanceId": target.entity_id, "@id": document["_instance"]["@id"], **repo}


def _dps_sample(_scope: str, entity_id: str) -> dict[str, Any]:
    content = {"type": "text", "format": "text/plain", "language": ["en"], "content": "Welcome"}
    channel = "https://ns.adobe.com/xdm/channel-types/web"
    placement = "offerPlacement1234"
    return {
        "id": entity_id,
        "created": _CREATED,
        "modified": _CREATED,
        "etag": 1,
        "schemas": [_SCHEMA],
        "createdBy": _SOMEONE,
        "lastModifiedBy": _SOMEONE,
        "name": "Fallback offer",
        "description": "Shown where no other offer fits",
        "status": "draft",
        "representations": [{"channel": channel, "placement": placement, "components": [content]}],
        "labels": [],
    }


_DPS_FIXED = frozenset(
    {"id", "created", "modified", "etag", "schemas", "createdBy", "lastModifiedBy"}
    | {"sandboxId", "datasetId", "createdDate", "lastModifiedDate"}
    | {"createdByClientId", "lastModifiedByClientId"}
)


def _dps_signed(now: str, _client_id: str) -> dict[str, Any]:
    return {"modified": now, "lastModifiedBy": _SOMEONE}


def _dps_receipt(document: dict[str, Any], target: RequestTarget) -> dict[str, Any]:
    return {
        "id": target.entity_id,
        "datasetId": _hex("dataset", 24),
        "sandboxId": _hex(target.scope, 32),
        "etag": document["etag"],
        "createdDate": document["created"],
        "lastModifiedDate": document["modified"],
        "createdBy": document["createdBy"],
        "lastModifiedBy": document["lastModifiedBy"],
        "createdByClientId": "simulator",
        "lastModifiedByClientId": "simulator",
    }


_XCORE_DIALECT = Dialect(
    below="/_instance/",
    ops=frozenset({"add", "replace", "remove"}),
    prefix="xdm:",
    etag="repo:etag",
    headers=_xcore_headers,
    sample=_xcore_sample,
    entity=lambda document: document["_instance"],
    is_fixed=lambda name: name.startswith(("@", "repo:")),
    signed=_xcore_signed,
    receipt=_xcore_receipt,
)
_DPS_DIALECT = Dialect(
    below="/",
    ops=frozenset({"add", "replace", "remove", "copy", "test"}),
    prefix="",
    etag="etag",
    headers=_dps_headers,
    sample=_dps_sample,
    entity=lambda document: document,
    is_fixed=_DPS_FIXED.__contains__,
    signed=_dps_signed,
    receipt=_dps_receipt,
)


# ---- requests ----

_DPS_SCOPE = "dps:"  # before a sandbox's name; the scope of xcore is a container's id


def _locate(segments: tuple[str, ...], call: Call) -> RequestTarget | None:
    match segments:
        case ("xcore", container, "instances", instance_id):
            is_good = container and instance_id and not container.startswith(_DPS_SCOPE)
            return RequestTarget(FALLBACK_OFFER, container, instance_id) if is_good else None
        case ("dps", "offers", offer_id):
            is_fallback = parse_qs(call.query).get("offer-type") == ["fallback"]
            scope = _DPS_SCOPE + call.headers.get("x-sandbox-name", "")
            is_one = bool(offer_id) and is_fallback
            return RequestTarget(FALLBACK_OFFER, scope, offer_id) if is_one else None
        case ("dps", "offers"):
            is_fallback = parse_qs(call.query).get("offer-type") == ["fallback"]
            scope = _DPS_SCOPE + call.headers.get("x-sandbox-name", "")
            return RequestTarget(FALLBACK_OFFER, scope, "") if is_fallback else None
        case _:
            return None


def _answer(
    options: SimulatorOptions, memory: Memory, call: Call, target: RequestTarget | None
) -> VendorReply:
    code = _gateway_code(options, memory, call)
    if code is not None:
        return _gateway(code)
    try:
        return _serve(options, memory, call, target)
    except _ServiceError as error:
        return _problem(error.status, error.title, error.detail, call.transaction_id)


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
    if token is None or not tokens.is_good(VENDOR.name, token, call.now_utc_s):
        return "401013"
    return None if headers.get("x-gw-ims-org-id") else "400003"


def _serve(
    options: SimulatorOptions, entities: Entities, call: Call, target: RequestTarget | None
) -> VendorReply:
    if not call.headers.get("x-sandbox-name"):
        raise _ServiceError(400, "Bad Request", "Header x-sandbox-name is missing")
    if target is None:
        raise _ServiceError(404, "Not Found", "There is no such resource")
    if not target.entity_id:
        return _listed(entities, call, target)
    if call.method not in ("GET", "PATCH"):
        words = "Method Not Allowed"
        refusal = _problem(405, words, f"{call.method} is not taken here", call.transaction_id)
        return VendorReply(refusal.status, refusal.body, {**refusal.headers, "Allow": "GET, PATCH"})
    dialect = _DPS_DIALECT if target.scope.startswith(_DPS_SCOPE) else _XCORE_DIALECT
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
        raise _ServiceError(405, "Method Not Allowed", f"{call.method} is not taken here")
    query = parse_qs(call.query)
    limit = query.get("limit", ["20"])[0]
    if not re.fullmatch(r"[1-9][0-9]{0,5}", limit):
        raise _ServiceError(400, "Bad Request", "limit is no whole number")
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
        raise _ServiceError(404, "Not Found", f"There is no offer {target.entity_id}")
    return dialect.sample(target.scope, target.entity_id)


def _update(
    entities: Entities, call: Call, dialect: Dialect, target: RequestTarget, document: JsonObject
) -> VendorReply:
    patch = _patch(call.body)
    if dialect is _XCORE_DIALECT:
        _check_etag(call, document[dialect.etag])
    patched = _patched(dialect, document, patch)
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
        raise _ServiceError(400, "Bad Request", f"If-Match {expected!r} is not one quoted etag")
    if expected != f'"{etag}"':
        raise _ServiceError(409, "Conflict", f"If-Match is {expected}, the etag is {etag}")


# ---- patches ----


def _patch(raw: bytes) -> list[dict[str, Any]]:
    try:
        patch = parse_json(raw)
    except ValueError as error:
        raise _ServiceError(400, "Bad Request", f"The body is not JSON: {error}") from error
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise _ServiceError(400, "Bad Request", "The body is not an array of operations")
    return patch


def _patched(
    dialect: Dialect, document: dict[str, Any], patch: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document after the whole patch. The argument is not changed."""
    for step in patch:
        if step.get("op") not in dialect.ops:
            raise _unprocessable(f"op {step.get('op')!r} is not one of {sorted(dialect.ops)}")
        for key in ("path", "from"):
            pointer = step.get(key, dialect.below)
            if not isinstance(pointer, str) or not pointer.startswith(dialect.below):
                raise _unprocessable(f"{key} {pointer!r} does not start with {dialect.below}")
    try:
        patched: dict[str, Any] = _Patch(patch).apply(document)
        json.dumps(patched, allow_nan=False)
    except (JsonPatchException, JsonPointerException, RecursionError, ValueError) as error:
        raise _unprocessable(str(error)) from error
    after = dialect.entity(patched)
    if not _same(_fixed(dialect, dialect.entity(document)), _fixed(dialect, after)):
        raise _unprocessable("The patch changes a property that is not user-editable")
    faults = list(_faults(after, dialect.prefix))
    if faults:
        raise _unprocessable("; ".join(faults))
    return patched


def _fixed(dialect: Dialect, entity: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entity.items() if dialect.is_fixed(name)}


def _unprocessable(detail: str) -> _ServiceError:
    return _ServiceError(422, "Unprocessable Entity", detail)


def _same(one: object, other: object) -> bool:
    """JSON equality. In Python True == 1, which in JSON are two things.

    >>> _same([1, {"a": None}], [1.0, {"a": None}]), _same(True, 1)
    (True, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


class _Test(PatchOperation):
    """The operation `test`, by JSON equality."""

    def apply(self, obj: Any) -> Any:
        """The current document."""
        if "value" not in self.operation:
            raise JsonPatchException("The operation does not contain a 'value' member")
        if not _same(self.pointer.resolve(obj), self.operation["value"]):
            raise JsonPatchException(f"{self.location} is not the tested value")
        return obj


class _Patch(JsonPatch):
    operations = MappingProxyType({**JsonPatch.operations, "test": _Test})


VENDOR = EmulatedVendor(
    "adobe",
    "/data/core",
    _locate,
    _answer,
    _failure,
    TokenEndpoint("/ims/token/v3", "adobe.token", _give_token, _no_token),
)
