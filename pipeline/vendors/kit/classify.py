"""Classifies a reply by HTTP alone: its verdict, its effect and a message. Pure.

Meanings of statuses: RFC 9110 section 15, RFC 6585 (429), RFC 8470 (425). A vendor refines this by
its own codes, but the status always decides the effect. A 2xx alone says only that a request was
accepted: an update counts as applied if the vendor's own `Confirmation` holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from pipeline.model import Answer, Effect, NoReply, Reply, Verdict
from pipeline.model.errors import shorten
from pipeline.vendors.kit.numbers import wait_s, written_s

NOT_THE_VENDOR = "not_the_vendor"
"""Code of a 2xx that the vendor cannot have written."""

NOT_CONFIRMED = "not_confirmed"
"""Code of a 2xx that is not the vendor's documented confirmation of an update."""

SHOWN_BODY_CHARS = 300


ASSUMED = "assumed"
"""The source of a meaning that neither a vendor's page nor a standard states."""

NOT_CONFIRMED_SOURCE = "RFC 9110, 15.3: taken, no more; that it may have been applied is assumed"
NOT_THE_VENDOR_SOURCE = "assumed: a vendor that speaks JSON did not write it"
WITHIN_SOURCE = "assumed: an error that the body names beats the success of the status"
NEVER_LEFT_SOURCE = "nothing left this machine"
SILENCE_SOURCE = "RFC 9110, 9.2.2: without a reply it is unknown if the request was carried out"


class Meaning(NamedTuple):
    """The meaning of a status: its verdict and whether the update was applied.

    source  the standard or page that states it; "assumed" if none does
    """

    verdict: Verdict
    effect: Effect
    source: str = ASSUMED


class Confirmation(NamedTuple):
    """The reply that a vendor documents as its confirmation of one job's update.

    words    description for people, as in "204 without a body"
    example  such a reply
    holds    True for a 2xx that is the confirmation. MUST be False for every other status, and for
             a body that is another one or cut short, unless the status alone is the confirmation
    refusal  the status of an error in the body of a 2xx (4xx: the vendor refused the update;
             anything else leaves it in doubt); None if the body holds no error
    source   the page that states it, as `Meaning.source`
    """

    words: str
    example: Reply
    holds: Callable[[Reply], bool]
    refusal: Callable[[Reply], int | None]
    source: str = ASSUMED


def by_status(
    status: int,
    refusal: Callable[[Reply], int | None] | None = None,
    *,
    source: str = ASSUMED,
) -> Confirmation:
    """The confirmation of a vendor that answers with one status and no body.

    refusal  as in `Confirmation`; None: errors are found by `error_status`
    source   as in `Confirmation`

    >>> by_status(204).holds(Reply(204, {}, b"")), by_status(204).holds(Reply(200, {}, b""))
    (True, False)
    """
    return Confirmation(
        words=f"{status} without a body",
        example=Reply(status, {}, b""),
        holds=lambda reply: reply.status == status and not reply.body,
        refusal=refusal or refused_in_body,
        source=source,
    )


def refused_in_body(reply: Reply) -> int | None:
    """The status of an error in the body of a reply (see `error_status`); None if there is none."""
    return None if reply.is_cut else error_status(json_object(reply.body))


_APPLIED = Meaning(Verdict.OK, Effect.APPLIED)
_REFUSED = Meaning(
    Verdict.REJECTED, Effect.NONE, "RFC 9110, 15.5; that nothing was applied is assumed"
)
_IN_DOUBT = Meaning(
    Verdict.TRANSIENT, Effect.MAYBE, "RFC 9110, 15.6; that it may have been applied is assumed"
)
_ELSEWHERE = Meaning(  # a 303 answers a request that was carried out
    Verdict.FATAL, Effect.MAYBE, "RFC 9110, 15.4; that all rows meet it is assumed"
)


def _misconfigured(source: str) -> Meaning:
    return Meaning(Verdict.FATAL, Effect.NONE, f"{source}; that all rows meet it is assumed")


def _later(source: str) -> Meaning:
    return Meaning(Verdict.TRANSIENT, Effect.NONE, source)


_BY_STATUS: Mapping[int, Meaning] = {
    401: _misconfigured("RFC 9110, 15.5.2"),
    403: _misconfigured("RFC 9110, 15.5.4"),
    405: _misconfigured("RFC 9110, 15.5.6"),
    406: _misconfigured("RFC 9110, 15.5.7"),
    407: _misconfigured("RFC 9110, 15.5.8"),  # the proxy wants credentials
    408: _later("RFC 9110, 15.5.9"),  # the server gave up waiting for the request
    411: _misconfigured("RFC 9110, 15.5.12"),
    415: _misconfigured("RFC 9110, 15.5.16"),
    421: _later("RFC 9110, 15.5.20"),  # misdirected: another connection may do
    425: _later("RFC 8470, 5.2"),
    426: _misconfigured("RFC 9110, 15.5.22"),
    429: Meaning(Verdict.THROTTLED, Effect.NONE, "RFC 6585, 4"),
    431: _misconfigured("RFC 6585, 5"),
}

_HINTS: Mapping[int, str] = {
    401: "check the account's credentials",
    403: "check what the account's credentials may do, and that they belong to this project",
    404: "check the id, and that base_url and the account are the right ones",
    405: "check base_url: this address does not take updates",
    407: "check the account's proxy: it wants credentials",
    409: "the update conflicts with the vendor's state: check the entity there",
    413: "the row is too large for the vendor",
    415: "check base_url: this address does not take JSON",
    429: "lower the account's quota if this keeps happening",
}
HINT_IN_DOUBT = "the update may or may not have been applied: check the entity at the vendor"
_HINT_LATER = "send the row again later"
_HINT_REFUSED = "correct the row"
_HINT_MISCONFIGURED = "check the account's configuration"
_HINT_ELSEWHERE = "redirects are not followed, since credentials would travel along: check base_url"
_HINT_NOT_THE_VENDOR = (
    "a proxy or a login page seems to have answered in the vendor's place: check base_url and proxy"
)
_HINT_UNREACHABLE = "check base_url, the account's proxy and the network"
_HINTS_BY_REASON: Mapping[str, str] = {
    "sign_in_refused": "check the account's credentials",
    "sign_in_failed": "check that the token server can be reached, then send the rows again",
}
_HINT_UNTRUSTED = "check base_url, ca_file, client_cert and tls of the account"


def meaning(status: int) -> Meaning:
    """The meaning of a status by HTTP alone.

    >>> meaning(404)[:2]
    (<Verdict.REJECTED: 'rejected'>, <Effect.NONE: 'none'>)
    """
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    by_class = {2: _APPLIED, 3: _ELSEWHERE, 4: _REFUSED}
    return by_class.get(status // 100, _IN_DOUBT)


def classify(
    reply: Reply | NoReply,
    confirmation: Confirmation,
    *,
    exceptions: Mapping[int, Meaning] | None = None,
) -> Answer:
    """Classify the reply to a single update that was sent for the first time.

    confirmation  the vendor's confirmation of this update; any other 2xx leaves it in doubt
    exceptions    statuses with another meaning at this vendor

    >>> done = Confirmation("204", Reply(204, {}, b""), lambda reply: reply.status == 204,
    ...                     lambda _reply: None)
    >>> classify(Reply(204, {}, b""), done)[:4]
    (<Verdict.OK: 'ok'>, <Effect.APPLIED: 'applied'>, 204, '')
    >>> classify(Reply(202, {}, b""), done)[:4]
    (<Verdict.TRANSIENT: 'transient'>, <Effect.MAYBE: 'maybe'>, 202, 'not_confirmed')
    >>> classify(NoReply("timeout", "no answer within 30 s", may_have_arrived=True), done).effect
    <Effect.MAYBE: 'maybe'>
    """
    answer = _by_status(reply, exceptions or {})
    if isinstance(reply, NoReply) or answer.verdict is not Verdict.OK:
        return answer
    refused_with = confirmation.refusal(reply)
    if refused_with is not None:
        return _refused_within(reply, refused_with)
    if confirmation.holds(reply):
        return answer
    if not (is_empty_or_json(reply) or _packed_with(reply)):
        return _not_the_vendor(reply)
    return _not_confirmed(reply, confirmation.words)


def classify_read(reply: Reply | NoReply) -> Answer:
    """Classify the reply to a read; secrets that it repeats are masked.

    >>> classify_read(Reply(200, {}, b"{}")).verdict, classify_read(Reply(200, {}, b"<p>")).code
    (<Verdict.OK: 'ok'>, 'not_the_vendor')
    """
    answer = _by_status(reply, {})
    if isinstance(reply, NoReply):
        return answer
    if answer.verdict is Verdict.OK and not is_empty_or_json(reply):
        answer = _not_the_vendor(reply)
    elif answer.verdict is Verdict.OK and reply.is_cut:
        answer = _cut_short(reply)
    return without_secrets(answer, reply.hide)


def without_secrets(answer: Answer, hide: Callable[[str], str]) -> Answer:
    """Return `answer` with the secrets in its texts masked.

    >>> refused = Answer(Verdict.REJECTED, Effect.NONE, 422, message="the key is sesame")
    >>> without_secrets(refused, lambda text: text.replace("sesame", "***")).message
    'the key is ***'
    """
    if not (answer.message or answer.code or answer.request_id or answer.receipt or answer.hint):
        return answer
    return answer._replace(
        code=hide(answer.code),
        message=hide(answer.message),
        hint=hide(answer.hint),
        request_id=hide(answer.request_id),
        receipt=hide(answer.receipt),
    )


def _by_status(reply: Reply | NoReply, exceptions: Mapping[int, Meaning]) -> Answer:
    """Classify a reply by its status, or its absence."""
    if isinstance(reply, NoReply):
        return _without_reply(reply)
    known = exceptions.get(reply.status) or meaning(reply.status)
    if known.verdict is Verdict.OK:
        return Answer(known.verdict, known.effect, reply.status)
    may_wait = known.verdict in (Verdict.THROTTLED, Verdict.TRANSIENT)
    return Answer(
        known.verdict,
        known.effect,
        http_status=reply.status,
        code=f"http_{reply.status}",
        message=_message(reply),
        hint=_hint(reply.status, known),
        retry_after_s=retry_after_s(reply) if may_wait else None,
    )


def _without_reply(reply: NoReply) -> Answer:
    verdict = Verdict.FATAL if reply.is_permanent else Verdict.TRANSIENT
    effect = Effect.MAYBE if reply.may_have_arrived else Effect.NONE
    if reply.is_permanent:
        hint = _HINTS_BY_REASON.get(reply.reason, _HINT_UNTRUSTED)
    else:
        hint = HINT_IN_DOUBT if reply.may_have_arrived else _HINT_UNREACHABLE
    return Answer(verdict, effect, code=reply.reason, message=reply.detail, hint=hint)


def _not_the_vendor(reply: Reply) -> Answer:
    return Answer(
        _IN_DOUBT.verdict,
        _IN_DOUBT.effect,
        http_status=reply.status,
        code=NOT_THE_VENDOR,
        message=f"HTTP {reply.status}, but {_described(reply)}",
        hint=_HINT_NOT_THE_VENDOR,
        retry_after_s=retry_after_s(reply),
    )


def _cut_short(reply: Reply) -> Answer:
    message = f"HTTP {reply.status}, and the reply does not end: {_described(reply)}"
    return Answer(*_IN_DOUBT[:2], reply.status, "broken_reply", message)


def _not_confirmed(reply: Reply, words: str) -> Answer:
    return Answer(
        _IN_DOUBT.verdict,
        _IN_DOUBT.effect,
        http_status=reply.status,
        code=NOT_CONFIRMED,
        message=f"HTTP {reply.status} is not the vendor's confirmation ({words}): "
        + _described(reply),
        hint=HINT_IN_DOUBT,
    )


def _refused_within(reply: Reply, status: int) -> Answer:
    """Classify a 2xx whose body holds an error of this status."""
    known = meaning(status) if 400 <= status < 500 else _IN_DOUBT  # noqa: PLR2004 - a refusal
    may_wait = known.verdict in (Verdict.THROTTLED, Verdict.TRANSIENT)
    return Answer(
        known.verdict,
        known.effect,
        http_status=reply.status,
        code=f"http_{status}",
        message=f"HTTP {reply.status} with an error {status} in its body: {_described(reply)}",
        hint=_hint(status, known),
        retry_after_s=retry_after_s(reply) if may_wait else None,
    )


def _message(reply: Reply) -> str:
    phrase = f"HTTP {reply.status}"
    if reply.status in _PHRASES:
        phrase += f" {_PHRASES[reply.status]}"
    if 300 <= reply.status < 400:  # noqa: PLR2004 - the class of redirects
        target = reply.headers.get("location")
        return f"{phrase} to {shorten(target, 200)}" if target else f"{phrase} without a target"
    return f"{phrase}: {_described(reply)}" if reply.body else phrase


_PHRASES: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}


def _packed_with(reply: Reply) -> str:
    """The encoding of a body that could not be decoded; empty if it has none."""
    packing = plain(reply.headers.get("content-encoding", ""), 40)
    return "" if packing.lower() == "identity" or not reply.body else packing


def _described(reply: Reply) -> str:
    if packing := _packed_with(reply):
        return f"the reply is packed ({packing}), which was not asked for and cannot be unpacked"
    if is_html(reply):
        return "the reply is HTML or XML"
    text = plain(reply.body.decode("utf-8", "replace"), SHOWN_BODY_CHARS)
    return f"the reply reads: {text}" if text else "the reply holds no text"


def _hint(status: int, known: Meaning) -> str:
    if known == _ELSEWHERE:
        return _HINT_ELSEWHERE
    if status in _HINTS:
        return _HINTS[status]
    if known.effect is Effect.MAYBE:
        return HINT_IN_DOUBT
    by_verdict = {Verdict.TRANSIENT: _HINT_LATER, Verdict.REJECTED: _HINT_REFUSED}
    return by_verdict.get(known.verdict, _HINT_MISCONFIGURED)


def plain(text: str, most: int) -> str:
    r"""A text as one line of at most `most` printable characters.

    >>> plain("no \r\n such\x1b[31m coupon", 12)
    'no such [...'
    """
    # bounded before the walk: a reply may be a megabyte of blanks
    seen = text[: 4 * most]
    line = " ".join("".join(c if c.isprintable() else " " for c in seen).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def is_html(reply: Reply) -> bool:
    """True if the body is markup by its type or its first character.

    >>> is_html(Reply(200, {}, b"  <!doctype html>"))
    True
    """
    kind = reply.headers.get("content-type", "").lower()
    return "html" in kind or reply.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def is_empty_or_json(reply: Reply) -> bool:
    """True if the body is empty or JSON. A body cut short only must not be markup.

    >>> is_empty_or_json(Reply(200, {}, b"Please log in"))
    False
    """
    if not reply.body.strip():
        return True
    if is_html(reply):
        return False
    return reply.is_cut or _parsed(reply.body) is not _NOT_JSON


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; empty for anything else.

    >>> json_object(b'{"errorCode": 1020}'), json_object(b"[1]"), json_object(b"<html>")
    ({'errorCode': 1020}, {}, {})
    """
    value = _parsed(body)
    return value if isinstance(value, dict) else {}


_WORDS_OF_ERRORS = ("errorMessage", "message", "error_description", "title", "detail", "error")


def error_status(body: Mapping[str, Any]) -> int | None:
    """The status of an error that a body names together with a message; None if it names none.

    >>> error_status({"statusCode": 422, "errorMessage": "no such sku"})
    422
    >>> error_status({"status": 400}), error_status({"status": "active", "title": "Summer"})
    (None, None)
    """
    if not any(isinstance(body.get(name), str) and body[name] for name in _WORDS_OF_ERRORS):
        return None
    for name in ("statusCode", "status"):
        value = body.get(name)
        if type(value) is int and 400 <= value < 600:  # noqa: PLR2004 - errors by HTTP
            return value
    return None


_NOT_JSON = object()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # a body may nest as deep as it is long
        return _NOT_JSON


def retry_after_s(reply: Reply) -> float | None:
    """Seconds to wait by `Retry-After`, more than 0; None without a valid one.

    A moment is compared with the reply's own `Date`, so that our clock need not be right, or with
    the time of arrival if there is no `Date`.

    >>> retry_after_s(Reply(429, {"retry-after": "7"}, b""))
    7.0
    """
    now_s = written_s(reply.headers.get("date", ""), reply.received_s)
    return wait_s(reply.headers.get("retry-after", ""), now_s)
