"""The meaning of replies, and of the reply to the probe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from pipeline.model import Answer, Effect, NoReply, Reply, UpdateJob, Verdict
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.classify import (
    HINT_IN_DOUBT,
    NOT_CONFIRMED,
    by_status,
    classify,
    error_status,
    json_object,
    plain,
)
from pipeline.vendors.kit.contract import KnownReply, Probed
from pipeline.vendors.xsolla.bodies import LARGEST
from pipeline.vendors.xsolla.settings import XsollaSettings

_UPDATED: Final = (Answer(Verdict.OK, Effect.APPLIED, 204),)
NO_CONTENT: Final = 204
_NOT_FOUND: Final = 404
_UNPROCESSABLE: Final = 422
_SERVER_ERROR: Final = 500
_BRACKET = re.compile(r"\s*\[([0-9]{4})-([0-9]{1,6})\]:?\s*")
_BRACKETS = re.compile(rf"\A(?:{_BRACKET.pattern})+")  # some messages repeat it
_SHOWN_MESSAGE_CHARS = 500

# ERRORS: 1101 service unavailable or timed out, 1103 error of a third-party service.
# SPEC: 9502 the promotion service could not be read, 9505 the update failed inside it; that these
# may pass is inferred. With any other code besides them the update is refused, and with a 404
# whatever the codes: an entity that is missing now is missing later.
_PASSING: Final = (1101, 1103)
_PASSING_422: Final = (9502, 9505)
_OUTAGES: Final = (1101, 1103, 9505)  # their hints are about outages only
_MISCONFIGURED: Final = frozenset({1803})  # SPEC: wrong content type, the same for every row

_HINTS: Final[Mapping[int, str]] = {
    1016: "the request was not read as UTF-8: send the row to Xsolla's support with its request id",
    1020: "check api_key, and that it belongs to project_id (or to merchant_id, if that is set)",
    1101: "Xsolla's service was not available: send the row again later",
    1102: "correct the row: Xsolla names the field in its message",
    1103: "a service behind Xsolla failed: send the row again later",
    1501: "this API key may not change this project: check its rights in the Publisher Account",
    1803: "check base_url and the account's headers: Xsolla did not see JSON",
    4511: "correct the limits of the row: one is out of the allowed range",
    5008: "check the user that the message names",
    9502: "check promotion_id and project_id; if both are right, send the row again later",
    9505: "Xsolla's promotion service failed: send the row again later",
    9802: "check external_id and project_id: this project has no such coupon",
    9803: "this code exists already: choose another",
    9804: "the limits allow no more redemptions: check the redeem limits of the row",
}
_HINTS_BY_STATUS: Final[Mapping[int, str]] = {
    401: _HINTS[1020],
    403: _HINTS[1501],
    404: "check the id and project_id: this project has no such promotion or coupon",
    422: _HINTS[1102],
}
_HARMLESS = "it may have been applied; sending the row again is harmless: it replaces the whole"


def _refusal(reply: Reply) -> int | None:
    """The status of an error body (seeds, SPEC) in a 2xx; a code of errors alone refuses the row.

    A code that may mean an outage refuses nothing: the update is in doubt. With a 404 no code means
    an outage, see `_PASSING`.

    >>> _refusal(Reply(200, {}, b'{"statusCode": 422, "errorCode": 1102, "errorMessage": "no"}'))
    422
    """
    body = {} if reply.is_cut else json_object(reply.body)
    codes, status = codes_of(body), error_status(body)
    if status != _NOT_FOUND and not {*_PASSING, *_PASSING_422}.isdisjoint(codes):
        return _SERVER_ERROR
    return status or (_UNPROCESSABLE if codes else None)


CONFIRMATION: Final = by_status(NO_CONTENT, _refusal, source="BONUS, COUPON, SPEC")


def _known(status: int, code: int, source: str) -> KnownReply:
    body = {"statusCode": status, "errorCode": code, "errorMessage": "No"} if code else None
    words = f"{status} with code {code}" if code else str(status)
    return KnownReply(words, Reply(status, {}, to_json(body) if body else b""), source)


KNOWN: Final = (
    *(_known(status, 0, "BONUS, COUPON, SPEC") for status in (401, 422)),
    _known(404, 0, "COUPON, SPEC; of promotions for reads alone, for updates assumed"),
    _known(401, 1020, "BONUS, COUPON"),
    *(_known(*each, "SPEC") for each in ((401, 1501), (404, 9502), (404, 9802))),
    *(_known(404, code, "assumed: what is not there is not there later") for code in _OUTAGES),
    *(_known(422, code, "SPEC") for code in (1102, 4511, 9803, 9804)),
    _known(422, 1803, "SPEC; that all rows meet it is assumed"),
    *(_known(422, code, "ERRORS") for code in _PASSING),
    *(_known(422, code, "SPEC; that it may pass is assumed") for code in _PASSING_422),
)


def decode(
    _s: XsollaSettings, batch: Sequence[UpdateJob], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    """The answer of the row; a PUT carries one."""
    if reply[0] == NO_CONTENT:
        return _UPDATED * len(batch)
    answer = classify(reply, CONFIRMATION)
    if isinstance(reply, Reply) and answer.code != NOT_CONFIRMED:
        within = _refusal(reply) if reply.status // 100 == 2 else None  # noqa: PLR2004 - a success
        answer = _explained(answer, within or reply.status, json_object(reply.body))
    if answer.hint == HINT_IN_DOUBT:
        answer = answer._replace(hint=_HARMLESS)
    return (answer,) * len(batch)


def _explained(answer: Answer, status: int, body: Mapping[str, Any]) -> Answer:
    """`answer` with what Xsolla's error body says: its codes, words and transaction.

    status  of the refusal: of the error in the body of a 2xx, else of the reply
    """
    codes = codes_of(body)
    return answer._replace(
        verdict=_verdict(answer, status, codes),
        code=_code(codes, _bracket(body)) or answer.code,
        message=_message(body) or answer.message,
        hint=_hint(answer, status, codes),
        request_id=compare.short(body.get("transactionId")),
    )


def _bracket(body: Mapping[str, Any]) -> re.Match[str] | None:
    text = body.get("errorMessage")
    return _BRACKET.match(text) if isinstance(text, str) else None


def codes_of(body: Mapping[str, Any]) -> tuple[int, ...]:
    """The codes of the body, `errorCode` first; 0 is none. They disagree in SPEC's own examples."""
    error_code, bracket = body.get("errorCode"), _bracket(body)
    found = [int(bracket[2])] if bracket else []
    if isinstance(error_code, str) and re.fullmatch(r"[0-9]{1,6}", error_code):
        error_code = int(error_code)
    if type(error_code) is int and 0 < error_code <= LARGEST:
        found.insert(0, error_code)
    return tuple(dict.fromkeys(code for code in found if code))


def _code(codes: tuple[int, ...], bracket: re.Match[str] | None) -> str:
    """Both codes as Xsolla writes them: `0401-1020` if they agree, else `0401-9802/4001`."""
    written = f"{bracket[1]}-{bracket[2]}" if bracket and int(bracket[2]) else ""
    others = [str(code) for code in codes if not bracket or code != int(bracket[2])]
    return "/".join(filter(None, (written, *others)))


def _verdict(answer: Answer, status: int, codes: tuple[int, ...]) -> Verdict:
    if answer.verdict is not Verdict.REJECTED or not codes:
        return answer.verdict
    if status != _NOT_FOUND:
        more = _PASSING_422 if answer.http_status == _UNPROCESSABLE else ()
        if {*_PASSING, *more}.issuperset(codes):
            return Verdict.TRANSIENT
    return Verdict.FATAL if _MISCONFIGURED.issuperset(codes) else Verdict.REJECTED


def _hint(answer: Answer, status: int, codes: tuple[int, ...]) -> str:
    if answer.effect is Effect.MAYBE:
        return answer.hint
    relevant = [code for code in codes if status != _NOT_FOUND or code not in _OUTAGES]
    known = [_HINTS[code] for code in relevant if code in _HINTS]
    return known[0] if known else _HINTS_BY_STATUS.get(status, answer.hint)


def _message(body: Mapping[str, Any]) -> str:
    """Xsolla's words without the codes in front, then each property with its own."""
    text, extended = body.get("errorMessage"), body.get("errorMessageExtended")
    words = _BRACKETS.sub("", text).strip() if isinstance(text, str) else ""
    entries = (
        [e for e in extended[:10] if isinstance(e, dict)] if isinstance(extended, list) else []
    )
    pairs = [map(compare.short, (entry.get("property"), entry.get("message"))) for entry in entries]
    details = (": ".join(filter(None, pair)) for pair in pairs)
    return plain("; ".join(filter(None, (words, *details))), _SHOWN_MESSAGE_CHARS)


# ------------------------------------------------------------------------------------- a trial

_GONE = (404, 405, 410, 501)


def judge_probe(_s: XsollaSettings, reply: Reply) -> Probed | None:
    """Judge if version 2 still answers: V3 describes its successor, and no source names an end."""
    if reply.status in _GONE or reply.status // 100 == 3:  # noqa: PLR2004 - the class of redirects
        return Probed(
            f"version 2 of the API does not answer for this project (HTTP {reply.status})",
            "Check base_url and project_id. If both are right, Xsolla has ended version 2: ask its "
            "support, and send nothing until this program supports a later one",
            is_fault=True,
        )
    if reply.status != 200:  # noqa: PLR2004
        return None
    if reply.is_cut or not json_object(reply.body):
        return Probed(
            "the server at base_url is not version 2 of the API: its reply is not a JSON object",
            "Check base_url",
            is_fault=True,
        )
    for header in ("Sunset", "Deprecation"):  # RFC 8594, RFC 9745
        if header in reply.headers:
            return Probed(
                f"version 2 of the API answers, and announces its end: {header}: "
                + plain(reply.headers[header], 60),
                "Ask Xsolla's support until when, and look for a later version of this program",
            )
    return Probed("version 2 of the API answers")
