"""The meaning of replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.model import Answer, NoReply, Reply, Verdict
from pipeline.vendors.kit.classify import (
    HINT_IN_DOUBT,
    NOT_CONFIRMED,
    Confirmation,
    classify,
    is_html,
    json_object,
    plain,
    refused_in_body,
)
from pipeline.vendors.kit.contract import KnownReply
from pipeline.vendors.oracle.job import OfferStatus
from pipeline.vendors.oracle.requests import repeatable
from pipeline.vendors.oracle.settings import OracleSettings

_OK: Final = 200
_SERVER_ERROR: Final = 500
_SHOWN_CHARS: Final = 500
_BOM: Final = b"\xef\xbb\xbf"
_HTML = re.compile(rb"<!doctype html|<html", re.IGNORECASE)
_WORDS: Final = ("message", "errorMessage", "error_description", "detail", "title", "error")

_HINT_HARMLESS: Final = "it may have been applied; sending the row again is harmless (inferred)"
_HINT_LOOK: Final = (
    "it may have been applied, and sending the row again may not be harmless: look at the offer in "
    "Billing Care first"
)
_HINTS: Final[Mapping[int, str]] = {
    401: "check auth and the credentials of the account; a site may have tokens of its own, which "
    "access_token takes",
    403: "check what the account's client or user may do in Billing Care",
    404: "check base_url: the ids are in the body, so it is the address that was not found",
    _SERVER_ERROR: "check offer_id and kind, for Billing Care answers 500 to a wrong id and to an "
    "outage alike",
}


# OFFERS: if it was successful, 200 is returned with `true` in the response body
CONFIRMATION: Final = Confirmation(
    words="200 with true",
    example=Reply(200, {}, b"true"),
    holds=lambda reply: reply.status == _OK and _is_true(reply),
    refusal=refused_in_body,  # no source has the body of an error
    source="OFFERS",
)
KNOWN: Final = (
    *(
        KnownReply(str(status), Reply(status, {}, b""), "SEND; that nothing was applied is assumed")
        for status in (400, 401, 403, 404, 405, 406, 415)
    ),
    KnownReply(
        "500", Reply(500, {}, b""), "OFFERS: the one failure named; what of it, nobody says"
    ),
)


def decode(
    s: OracleSettings, batch: Sequence[OfferStatus], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    """An answer per row; a refused group is split."""
    answer = classify(reply, CONFIRMATION)
    if answer.verdict is Verdict.OK:
        return (answer,) * len(batch)
    if isinstance(reply, Reply) and answer.code != NOT_CONFIRMED:
        answer = answer._replace(message=_words(reply) or answer.message)
    if len(batch) > 1 and _may_be_one_row(answer):
        answer = answer._replace(verdict=Verdict.SPLIT)
    return tuple(
        answer._replace(hint=_hint(answer, is_repeatable=repeatable(s, job))) for job in batch
    )


def _is_true(reply: Reply) -> bool:
    return not reply.is_cut and reply.body.removeprefix(_BOM).strip(b" \t\r\n") == b"true"


def _may_be_one_row(answer: Answer) -> bool:
    """True if a row of a group may be at fault. 502, 503, 504 and silence blame no row."""
    return (
        answer.verdict is Verdict.REJECTED
        or answer.http_status == _SERVER_ERROR
        or answer.code == NOT_CONFIRMED
    )


def _hint(answer: Answer, *, is_repeatable: bool) -> str:
    known = _HINTS.get(answer.http_status or 0)
    if answer.hint != HINT_IN_DOUBT:
        return known or answer.hint
    doubt = _HINT_HARMLESS if is_repeatable else _HINT_LOOK
    return f"{known}; {doubt}" if known else doubt


def _words(reply: Reply) -> str:
    """The vendor's message: no source has an error's body, so the usual names are tried.

    Empty if the body has no message.

    >>> _words(Reply(500, {}, b'{"error": {"message": "no such offer"}}'))
    'no such offer'
    """
    body = json_object(reply.body)
    inner = body.get("error")
    for of in (inner if isinstance(inner, dict) else {}, body):
        for name in _WORDS:
            if isinstance(of.get(name), str) and (text := plain(of[name], _SHOWN_CHARS)):
                return text
    if is_html(reply) and not _is_page(reply):  # XML, which Billing Care writes too
        return plain(reply.body.decode("utf-8", "replace"), _SHOWN_CHARS)
    return ""


def _is_page(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").lower()
    return "html" in kind or _HTML.search(reply.body[:1000]) is not None
