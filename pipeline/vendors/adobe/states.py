"""The state of an offer: read back, compared, restored."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, Final

from jsonpointer import JsonPointer
from pydantic_core import to_json

from pipeline.model import Reply
from pipeline.vendors.adobe.changes import NAMED, PATCH, pointer_of
from pipeline.vendors.adobe.job import FallbackOffer, etag_or_none, steps_of
from pipeline.vendors.adobe.replies import PROBLEM_TYPES
from pipeline.vendors.adobe.settings import AdobeSettings
from pipeline.vendors.kit import compare, json_patch
from pipeline.vendors.kit.classify import json_object
from pipeline.vendors.kit.contract import MISSING, Difference, EntityPage, Missing, State


def state_of(s: AdobeSettings, job: FallbackOffer, reply: Reply) -> State | Missing | None:
    """The state of the row's offer in a reply; None if the reply names another one."""
    return _held(s, reply, job.instance_id)


def _held(s: AdobeSettings, reply: Reply, instance_id: str) -> State | Missing | None:
    """The state of this offer in a reply; None if the reply names another one."""
    body = {} if reply.is_cut else json_object(reply.body)
    if reply.status == 404:  # noqa: PLR2004 - a status says what it is
        # TROUBLE: the error format of a service; the gateway, which knows no offers, has another
        is_service = compare.short(body.get("type")).startswith(PROBLEM_TYPES)
        return MISSING if is_service else None
    if s.api == "xcore":  # LEGACY: the offer is in `_instance`, its etag is next to it
        held, name, etag = body.get("_instance"), "xdm:name", body.get("repo:etag")
        inner = held.get("@id") if isinstance(held, dict) else None
        ids = {body.get(each) for each in ("instanceId", "@id") if isinstance(body.get(each), str)}
        ids |= {inner} if isinstance(inner, str) else set()
    else:
        ids = {body["id"]} if isinstance(body.get("id"), str) else set()
        held, name, etag = body, "name", body.get("etag")
    if reply.status != 200 or not isinstance(held, dict) or name not in held:  # noqa: PLR2004
        return None
    if ids and instance_id not in ids:
        return None
    return State({"_instance": held} if s.api == "xcore" else held, etag_or_none(etag))


def page_of(s: AdobeSettings, reply: Reply, _after: str) -> EntityPage | None:
    """DPS: results, count, total, and in `_links.next` the relative address of the next page."""
    body = {} if reply.is_cut or reply.status != 200 else json_object(reply.body)  # noqa: PLR2004
    results, total = body.get("results"), body.get("total")
    if not isinstance(results, list):
        return None
    found: dict[str, State] = {}
    for item in results:
        offer = item.get("id") if isinstance(item, dict) else None
        state = _held(s, Reply(200, {}, to_json(item)), offer) if isinstance(offer, str) else None
        if not isinstance(state, State):
            return None
        found[str(offer)] = state
    links = body.get("_links")
    link = links.get("next") if isinstance(links, dict) else None
    href = link.get("href") if isinstance(link, dict) else None
    return EntityPage(found, total if type(total) is int else None, _next(href))


def _next(href: Any) -> str:
    """The path of the next page; empty for an address outside this listing.

    >>> _next("/offers?offer-type=fallback&start=2"), _next("https://evil.example/offers")
    ('/dps/offers?offer-type=fallback&start=2', '')
    """
    if not isinstance(href, str) or not re.fullmatch(r"/?offers\?[!-~]+", href):
        return ""
    return f"/dps/{href.removeprefix('/')}"


def differences(s: AdobeSettings, job: FallbackOffer, state: State) -> tuple[Difference, ...]:
    """Compare the values at the patch's pointers, and the etag, which every update changes."""
    columns = {path: name for name, path in NAMED[s.api].items()}
    found = []
    for place, *values in compare.patch_differences(steps_of(s, job), state.fields):
        pointer = pointer_of(place)
        found.append(Difference(columns.get(pointer, pointer), *values))
    if "etag" in job.model_fields_set and state.etag == job.etag:
        found.append(Difference("etag", f"another than {job.etag}", state.etag))
    return tuple(found)


# ------------------------------------------------------------------------------- plans and undo

# SERVICE, DPS: members that Adobe itself writes, besides all that start with repo:
_ITS_OWN: Final = frozenset(
    {
        *("@id", "_links", "created", "createdBy", "createdByClientId", "createdDate"),
        *("datasetId", "etag", "id", "lastModifiedBy", "lastModifiedByClientId"),
        *("lastModifiedDate", "modified", "sandboxId", "schemas"),
    }
)


def state_after(s: AdobeSettings, job: FallbackOffer, state: State) -> State | None:
    """The state once the row is applied; None if it cannot be applied to `state`."""
    fields = json_patch.applied(steps_of(s, job), state.fields)
    return None if fields is None else State(fields)


def state_differences(s: AdobeSettings, wanted: State, found: State) -> tuple[Difference, ...]:
    """Compare the members of the offer, each as a whole; equal etags mean equal states."""
    if wanted.etag is not None and wanted.etag == found.etag:
        return ()
    within = ("_instance",) if s.api == "xcore" else ()
    first, second = (compare.value_at(state.fields, within) for state in (wanted, found))
    names = [n for n in {**first, **second} if n not in _ITS_OWN and not n.startswith("repo:")]
    pairs = compare.differences(first, second, names, dict.fromkeys(names, _by_moment))
    columns = {path: name for name, path in NAMED[s.api].items()}
    paths = (JsonPointer.from_parts((*within, each.field)).path for each in pairs)
    return tuple(
        Difference(columns.get(path, path), each.wanted, each.found)
        for path, each in zip(paths, pairs, strict=True)
    )


def _by_moment(value: Any) -> Hashable:
    return compare.meaning(value, compare.moment)


def inverse(s: AdobeSettings, job: FallbackOffer, state: State) -> FallbackOffer | None:
    """A patch of the places that `job` writes; on dps, tests precede what it removes."""
    after = json_patch.applied(steps_of(s, job), state.fields)
    if after is None:
        return None
    steps = json_patch.restoring(steps_of(s, job), state.fields, after)
    if s.api == "dps":
        removed = [step.place for step in steps if step.name == "remove"]
        tests = [
            compare.PatchStep("test", place, compare.value_at(after, place)) for place in removed
        ]
        steps = [*tests, *steps]
    if not steps:
        return None
    given = job.given()
    address = ("instance_id", "container_id")
    values: dict[str, Any] = {name: given[name] for name in address if name in given}
    values["changes"] = {PATCH: [_as_operation(step) for step in steps]}
    return FallbackOffer.trusted(to_json(values).decode())


def _as_operation(step: compare.PatchStep) -> dict[str, Any]:
    operation: dict[str, Any] = {"op": step.name, "path": JsonPointer.from_parts(step.place).path}
    return operation if step.name == "remove" else {**operation, "value": step.value}
