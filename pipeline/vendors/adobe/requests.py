"""Requests: the update of an offer, and the reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from pydantic_core import to_json

from pipeline.model import EntityKey, Request
from pipeline.vendors.adobe.changes import operations_of
from pipeline.vendors.adobe.job import FallbackOffer
from pipeline.vendors.adobe.settings import AdobeSettings

# UPDATE contradicts itself: its table has Content-Type `application/schema-instance+json`, its
# request `application/vnd.adobe.platform.xcore.patch.hal+json`. It is the latter that is sent: all
# other update pages of LEGACY have it in their tables, SERVICE keeps schema-instance for creating.
_SCHEMA = "https://ns.adobe.com/experience/offer-management/fallback-offer;version=0.1"
_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "xcore": {
        "Accept": "application/vnd.adobe.platform.xcore.xdm.receipt+json; version=1",
        "Content-Type": "application/vnd.adobe.platform.xcore.patch.hal+json; version=1; "
        f'schema="{_SCHEMA}"',
    },
    "dps": {"Content-Type": "application/json"},  # DPS
}


@lru_cache(maxsize=64)  # one object per account, which the transport recognises
def headers_of(s: AdobeSettings, *, is_read: bool = False) -> Mapping[str, str]:
    """The headers of an account's updates, or of its reads."""
    return MappingProxyType(
        {
            **(_READ_HEADERS if is_read else _HEADERS)[s.api],
            "x-api-key": s.client_id.get_secret_value(),
            "x-gw-ims-org-id": s.ims_org,
            "x-sandbox-name": s.sandbox_name,
        }
    )


def encode(s: AdobeSettings, batch: Sequence[FallbackOffer]) -> Request:
    """A PATCH of one offer, with If-Match if the row has an etag."""
    (job,) = batch
    # xcore knows no test: what one says, the etag guards
    operations = operations_of(s.api, job.changes)
    body = to_json([each for each in operations if s.api == "dps" or each["op"] != "test"])
    headers = headers_of(s)
    if s.api == "xcore" and "etag" in job.model_fields_set:
        headers = MappingProxyType({**headers, "If-Match": f'"{job.etag}"'})
    return Request("PATCH", _path(s, job), body, headers)


def _path(s: AdobeSettings, job: FallbackOffer) -> str:
    offer = _quoted(job.instance_id)
    if s.api == "dps":
        return f"/dps/offers/{offer}?offer-type=fallback"
    return f"/xcore/{_quoted(_container(s, job))}/instances/{offer}"


def _quoted(segment: str) -> str:
    return quote(segment, safe=":")  # ids such as xcore:fallback-offer:1 stay as people know them


def _container(s: AdobeSettings, job: FallbackOffer) -> str:
    given = job.container_id if "container_id" in job.model_fields_set else s.container_id
    return given or ""


def entity(s: AdobeSettings, job: FallbackOffer) -> EntityKey:
    """The offer, within its container (xcore) or its sandbox (dps)."""
    # every organisation has a sandbox `prod`, hence both; a container is the only one of its id
    scope = _container(s, job) if s.api == "xcore" else f"{s.ims_org}/{s.sandbox_name}"
    return EntityKey("adobe", s.origin, scope, "offer", job.instance_id)


# -------------------------------------------------------------------------------- reading back

# LEGACY; the parameter of the schema as in a PATCH. DPS needs no Accept
_READ_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "xcore": {"Accept": f'*, application/vnd.adobe.platform.xcore.hal+json; schema="{_SCHEMA}"'},
    "dps": {"Accept": "application/json"},
}


def read(s: AdobeSettings, job: FallbackOffer) -> Request:
    """A read of the row's offer."""
    return Request("GET", _path(s, job), headers=headers_of(s, is_read=True))


_PAGE_OFFERS: Final = 100  # DPS has `limit`; no source has its maximum


def list_page(s: AdobeSettings, _job: FallbackOffer, after: str) -> Request:
    """A read of the offers from page `after` on; the first if it is empty."""
    first = f"/dps/offers?offer-type=fallback&limit={_PAGE_OFFERS}"
    return Request("GET", after or first, headers=headers_of(s, is_read=True))


def probe(s: AdobeSettings) -> Request | None:
    """A page of one offer. For xcore no source shows a list that needs no schema."""
    if s.api != "dps":
        return None
    path = "/dps/offers?offer-type=fallback&limit=1"
    return Request("GET", path, headers=headers_of(s, is_read=True))
