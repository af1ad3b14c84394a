"""The meaning of replies to updates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from pydantic_core import to_json

from pipeline.model import Answer, Effect, NoReply, Reply, Verdict
from pipeline.vendors.adobe.changes import SHOWN_MESSAGE_CHARS
from pipeline.vendors.adobe.job import FallbackOffer, etag_or_none
from pipeline.vendors.adobe.rules import is_guarded, repeatable
from pipeline.vendors.adobe.settings import AdobeSettings
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.classify import (
    HINT_IN_DOUBT,
    NOT_CONFIRMED,
    Confirmation,
    classify,
    error_status,
    json_object,
    plain,
)
from pipeline.vendors.kit.contract import KnownReply

_CONFLICTS: Final = frozenset({409, 412})
PROBLEM_TYPES = "https://ns.adobe.com/aep/errors/"  # TROUBLE

# TROUBLE; the same for every row of the account. LIMITS has 429050.
_MISCONFIGURED: Final = frozenset({"400003", "401013", "403000", "403003", "403010", "403025"})
_HINTS: Final[Mapping[str, str]] = {
    "400003": "check ims_org: Adobe misses a header that tells the organisation",
    "401013": "check client_id and client_secret, or give a fresh access_token",
    "403000": "check client_id: it is also the API key, which Adobe misses",
    "403003": "check client_id: Adobe does not take it as an API key for this API; add the API to "
    "the project in the Developer Console",
    "403010": "check base_url and proxy: the access token did not reach Adobe",
    "403025": "check ims_org: these credentials do not belong to it",
    "429050": "lower the account's quota: Adobe counts together all that use this client_id",
}
_HINTS_BY_STATUS: Final[Mapping[int, str]] = {
    401: _HINTS["401013"],
    403: "check sandbox_name, ims_org and what the credentials may do there",
    422: "correct the row: Adobe applies it, then checks the whole offer; its message names the "
    "fault, for example a property that must not change",  # SERVICE
}
_HINT_STALE = (
    "someone changed the offer since this etag was read: read the new one, and look whether the "
    "row is still right"
)
_HINT_HARMLESS = "it may have been applied; sending the row again is harmless: it sets values"
_HINT_GUARDED = "it may have been applied; sending the row again is safe: if it was, Adobe refuses"


def decode(
    s: AdobeSettings, batch: Sequence[FallbackOffer], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    """The answer of the row; a PATCH carries one."""
    answer = classify(reply, confirmation(s, batch[0]))
    if isinstance(reply, Reply):
        body = json_object(reply.body)
        request_id = compare.short(body.get("request-id")) or compare.short(
            reply.headers.get("x-request-id")
        )
        answer = answer._replace(request_id=request_id)
        if answer.verdict is Verdict.OK:
            answer = answer._replace(receipt=_receipt(body))
        elif answer.code != NOT_CONFIRMED:
            answer = _explained(s, batch[0], answer, body)
    if answer.hint == HINT_IN_DOUBT:
        answer = answer._replace(hint=_hint_in_doubt(s, batch[0]))
    return (answer,) * len(batch)


# UPDATE, DPS: what names the offer in the receipt of a good PATCH; ids of xcore have two forms
_IDS: Final[Mapping[str, tuple[str, ...]]] = {"xcore": ("instanceId", "@id"), "dps": ("id",)}
_OK: Final = 200  # no source has the status of a good PATCH: assumed


def confirmation(s: AdobeSettings, job: FallbackOffer) -> Confirmation:
    """A receipt that names the very offer that was to be updated."""
    names = _IDS[s.api]
    example = to_json({names[0]: job.instance_id, "etag": 2})
    return Confirmation(
        words=f"200 with a receipt whose {' or '.join(names)} is the offer's",
        example=Reply(_OK, {}, example),
        holds=lambda reply: _names(job.instance_id, names, reply),
        refusal=_refusal,
        source="UPDATE, DPS: the receipt; that its status is 200 is assumed",
    )


def _names(instance_id: str, names: Sequence[str], reply: Reply) -> bool:
    if reply.status != _OK or reply.is_cut:
        return False
    body = json_object(reply.body)
    return any(body.get(name) == instance_id for name in names)


def _refusal(reply: Reply) -> int | None:
    """The status of an error body (see `_codes`) in a 2xx; codes of the gateway begin with it.

    >>> _refusal(Reply(200, {}, b'{"error_code": "403025", "message": "Profile is not valid"}'))
    403
    """
    body = {} if reply.is_cut else json_object(reply.body)
    code = re.match(r"[45][0-9]{2}", compare.short(body.get("error_code")))
    return int(code[0]) if code else error_status(body)


def _receipt(body: Mapping[str, Any]) -> str:
    """The offer's new etag and its id, as JSON; empty if the reply has neither.

    >>> _receipt({"instanceId": "b39", "@id": "xcore:fallback-offer:1", "repo:etag": 2})
    '{"etag":2,"id":"b39"}'
    """
    of_etag = body.get("repo:etag", body.get("etag"))  # UPDATE, DPS
    ids = map(compare.short, (body.get("instanceId"), body.get("@id"), body.get("id")))
    members = {
        "etag": of_etag if type(of_etag) is int else etag_or_none(of_etag) or "",
        "id": next(filter(None, ids), ""),
    }
    receipt = {name: value for name, value in members.items() if value != ""}
    return to_json(receipt).decode() if receipt else ""


def _explained(
    s: AdobeSettings, job: FallbackOffer, answer: Answer, body: Mapping[str, Any]
) -> Answer:
    """`answer` with what Adobe's error body says; three shapes are known, see `_codes`."""
    codes = _codes(body)
    is_ours = answer.verdict is Verdict.REJECTED and not _MISCONFIGURED.isdisjoint(codes)
    return answer._replace(
        verdict=Verdict.FATAL if is_ours else answer.verdict,
        code=codes[0] if codes else answer.code,
        message=_message(body) or answer.message,
        hint=_hint(s, job, answer, codes),
    )


def _codes(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The codes of the body: of the gateway, of a problem's type, of the services it passed.

    >>> _codes({"error_code": "401013", "message": "Oauth token is not valid"})
    ('401013',)
    >>> _codes({"type": "https://ns.adobe.com/aep/errors/EXEG-3050-401", "status": 401})
    ('EXEG-3050-401',)
    >>> _codes({"type": "about:blank", "title": "Not Found", "status": 404})
    ()
    """
    kind = compare.short(body.get("type"))
    of_type = kind.removeprefix(PROBLEM_TYPES) if kind.startswith(PROBLEM_TYPES) else ""
    chain = body.get("error-chain")
    links = chain[:10] if isinstance(chain, list) else ()
    of_chain = (compare.short(link.get("errorCode")) for link in links if isinstance(link, dict))
    found = (compare.short(body.get("error_code")), of_type, *of_chain)
    return tuple(dict.fromkeys(filter(None, found)))


def _message(body: Mapping[str, Any]) -> str:
    report = body.get("report")
    more = report.get("additionalContext") if isinstance(report, dict) else None
    inner = list(islice(more.values(), 10)) if isinstance(more, dict) else [more]
    found = [body.get("message"), body.get("title"), body.get("detail"), *inner]
    words = (plain(text, SHOWN_MESSAGE_CHARS) for text in found if isinstance(text, str))
    return plain("; ".join(dict.fromkeys(filter(None, words))), SHOWN_MESSAGE_CHARS)


def _hint(s: AdobeSettings, job: FallbackOffer, answer: Answer, codes: Sequence[str]) -> str:
    if answer.effect is Effect.MAYBE:
        return answer.hint
    known = [_HINTS[code] for code in codes if code in _HINTS]
    if known:
        return known[0]
    status = answer.http_status or 0
    if status in _CONFLICTS and "etag" in job.model_fields_set:
        return _HINT_STALE
    if status == 404:  # noqa: PLR2004 - a status says what it is
        where = "container_id" if s.api == "xcore" else "sandbox_name"
        return f"check instance_id and {where}: Adobe has no such fallback offer there"
    return _HINTS_BY_STATUS.get(status, answer.hint)


def _hint_in_doubt(s: AdobeSettings, job: FallbackOffer) -> str:
    if is_guarded(s, job):
        return _HINT_GUARDED
    return _HINT_HARMLESS if repeatable(s, job) else HINT_IN_DOUBT


# ------------------------------------------------------------------------------ what is offered


def known_reply(status: int, code: str, source: str) -> KnownReply:
    """A reply of the gateway with this code (TROUBLE); without one, of the service."""
    body = to_json({"error_code": code, "message": "No"}) if code else b""
    return KnownReply(
        f"{status} with {code}" if code else str(status), Reply(status, {}, body), source
    )


KNOWN: Final = (
    *(known_reply(int(code[:3]), code, "TROUBLE") for code in sorted(_MISCONFIGURED)),
    known_reply(409, "", "SERVICE: a stale etag"),
    known_reply(412, "", "RFC 9110, 15.5.13: a stale etag; that Adobe uses it is assumed"),
    known_reply(422, "", "SERVICE: the patched offer is not right"),
    known_reply(429, "429050", "LIMITS, of a sibling behind the same gateway"),
    known_reply(500, "", "TROUBLE: wait and repeat; that it may have been applied is assumed"),
)
