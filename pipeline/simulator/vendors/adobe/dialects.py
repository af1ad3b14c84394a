"""The two APIs, xcore and dps: headers, documents and receipts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.simulator.content import is_json
from pipeline.simulator.vendor import Call, RequestTarget
from pipeline.simulator.vendors.adobe.errors import ServiceError

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
    headers  raises ServiceError for a Content-Type or Accept that is not the documented one
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


def _wrong_type(call: Call) -> ServiceError:
    detail = f"Content-Type {call.headers.get('content-type', '')!r} is not one for a patch"
    return ServiceError(415, "Unsupported Media Type", detail)


def _xcore_headers(call: Call) -> None:
    if call.method == "PATCH" and not _XCORE_PATCH.fullmatch(call.headers.get("content-type", "")):
        raise _wrong_type(call)
    good = _XCORE_RECEIPT if call.method == "PATCH" else _XCORE_READ
    accept = call.headers.get("accept", "")
    if not good.fullmatch(accept):
        raise ServiceError(406, "Not Acceptable", f"Accept {accept!r} is not one for {call.method}")


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


XCORE = Dialect(
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
DPS = Dialect(
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
