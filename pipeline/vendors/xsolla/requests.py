"""Requests: the two updates, and the reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from pydantic_core import to_json

from pipeline.model import EntityKey, Request, UpdateJob
from pipeline.vendors.xsolla.jobs import BonusPromotion, Coupon
from pipeline.vendors.xsolla.settings import XsollaSettings

Job = BonusPromotion | Coupon
_READ_HEADERS: Final = MappingProxyType({"Accept": "application/json"})  # SPEC, START
HEADERS: Final = MappingProxyType({"Content-Type": "application/json", **_READ_HEADERS})
ADDRESS_FIELDS: Final = ("promotion_id", "external_id", "project_id")
BODY_FIELDS: Final[Mapping[type[UpdateJob], tuple[str, ...]]] = {
    job_type: tuple(name for name in job_type.model_fields if name not in ADDRESS_FIELDS)
    for job_type in (BonusPromotion, Coupon)
}


def encode(s: XsollaSettings, batch: Sequence[Job]) -> Request:
    """A PUT of the whole entity: the fields that the row gives."""
    (job,) = batch
    values, given = job.__dict__, job.model_fields_set
    body = to_json({name: values[name] for name in BODY_FIELDS[type(job)] if name in given})
    return Request("PUT", _path(s, job), body, HEADERS)


def _path(s: XsollaSettings, job: Job) -> str:
    project = f"/v2/project/{_project(s, job)}/admin"
    if isinstance(job, Coupon):
        return f"{project}/coupon/{quote(job.external_id, safe='')}"
    return f"{project}/promotion/{job.promotion_id}/bonus"


def _project(s: XsollaSettings, job: Job) -> int:
    return job.project_id if "project_id" in job.model_fields_set else s.project_id


def refuse(s: XsollaSettings, job: Job) -> str | None:
    """Why this account must not send the row: its project is another's."""
    project = _project(s, job)
    if project == s.project_id or project in s.projects:
        return None
    allowed = ", ".join(map(str, (s.project_id, *s.projects)))
    return (
        f"project_id {project} is none of this account's projects ({allowed}); "
        "add it to `projects` of the account, or choose another account"
    )


def entity(s: XsollaSettings, job: Job) -> EntityKey:
    """The promotion or coupon, within its project."""
    project = str(_project(s, job))
    if isinstance(job, Coupon):
        return EntityKey("xsolla", s.origin, project, "coupon", job.external_id)
    return EntityKey("xsolla", s.origin, project, "promotion", str(job.promotion_id))


def read(s: XsollaSettings, job: Job) -> Request:
    """A read of the row's entity."""
    return Request("GET", _path(s, job), headers=_READ_HEADERS)


# SPEC: `limit` and `offset`; no source has their maximum
_PAGE_ENTITIES: Final = 50


def list_page(s: XsollaSettings, job: Job, offset: str) -> Request:
    """A read of the entities from `offset` on; from the start if it is empty."""
    kind = "coupon" if isinstance(job, Coupon) else "promotion/bonus"
    query = f"limit={_PAGE_ENTITIES}&offset={offset or 0}"
    path = f"/v2/project/{_project(s, job)}/admin/{kind}?{query}"
    return Request("GET", path, headers=_READ_HEADERS)


def probe(s: XsollaSettings) -> Request:
    """The shortest page of coupons."""
    path = f"/v2/project/{s.project_id}/admin/coupon?limit=1&offset=0"
    return Request("GET", path, headers=_READ_HEADERS)
