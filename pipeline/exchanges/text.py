"""Formats an exchange as text without secrets: the request as curl, the reply as HTTP. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDict
from pydantic import SecretStr

from pipeline.http_client.masking import Mask
from pipeline.model import NoReply, Reply, Request
from pipeline.sign_in.auth import secrets_of
from pipeline.vendors import Account, Basic, Bearer, Operation, TokenCall

MAX_BODY_BYTES = 4 * 1024
MAX_SEEN_BYTES = 16 * 1024
MAX_REQUEST_CHARS = 16 * 1024

_HELPFUL = re.compile(
    r"content-type|date|retry-after|location|allow|etag|server|via|www-authenticate"
    r"|.*(request|correlation|transaction|trace)-?id|.*ratelimit.*",
    re.IGNORECASE,
)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def shown_request(
    account: Account, operation: Operation[Any, Any], jobs: Sequence[str], *, is_read: bool = False
) -> Request:
    """Build a request to be shown, with variable names in place of secrets.

    jobs     the jobs of the request, as JSON
    is_read  build the read of the first job's entity instead of the update
    """
    settings = account.settings
    variables = {
        name: SecretStr(f"${name.upper()}")
        for name, value in settings
        if isinstance(value, SecretStr)
    }
    shown = settings.model_copy(update=variables)
    batch = tuple(operation.job_type.trusted(text) for text in jobs)
    if is_read and operation.reading is not None:
        found: Request = operation.reading.request(shown, batch[0])
        return found
    return operation.encode(shown, batch)


def as_curl(account: Account, request: Request) -> str:
    """Format a request of `shown_request` as a shell command; credentials are variables."""
    parts = ["curl", "-X", request.method, shlex.quote(account.link.base_url + request.path)]
    for name, value in request.headers.items():
        header = f"{name}: {value}"
        parts += ["-H", f'"{header}"' if value.startswith("$") else shlex.quote(header)]
    match account.vendor.authenticate(account.settings):
        case Basic():
            parts += ["-u", '"$USER_NAME:$SECRET"']
        case Bearer() | TokenCall():
            parts += ["-H", '"Authorization: Bearer $TOKEN"']
    if request.body:
        parts += ["-d", shlex.quote(json.dumps(json.loads(request.body), ensure_ascii=False))]
    return " ".join(parts)


def mask_with_headers(account: Account) -> Mask:
    """Return a mask for an account's credentials and for the headers that it adds."""
    return Mask(*secrets_of(account), *account.link.headers.values())


def format_request(account: Account, request: Request, mask: Mask) -> str:
    """Format a request of `shown_request`, masked and shortened."""
    text = mask.hide(as_curl(account, request))
    if len(text) <= MAX_REQUEST_CHARS:
        return text
    return f"{text[:MAX_REQUEST_CHARS]} ... ({len(text)} characters in all)"


def masked(reply: Reply | NoReply, mask: Mask) -> Reply | NoReply:
    """Return a reply with its secrets masked and its body shortened.

    >>> masked(Reply(422, {}, b"the key is sesame"), Mask("sesame")).body
    b'the key is ***'
    """
    reply = truncated(reply)
    if isinstance(reply, NoReply):
        return reply._replace(detail=mask.hide(reply.detail))
    headers = [(name, mask.hide(reply.hide(value))) for name, value in reply.headers.items()]
    text = reply.body.decode("utf-8", "surrogateescape") + ("..." if reply.is_cut else "")
    hidden = mask.hide(reply.hide(text)).encode("utf-8", "surrogateescape")
    body = hidden.removesuffix(b"...") if reply.is_cut else hidden
    is_cut = reply.is_cut or len(body) > MAX_BODY_BYTES
    return reply._replace(headers=CIMultiDict(headers), body=body[:MAX_BODY_BYTES], is_cut=is_cut)


def truncated(reply: Reply | NoReply) -> Reply | NoReply:
    """Return a reply with as much of its body as `masked` needs: masking shortens texts.

    >>> truncated(Reply(500, {}, bytes(99_999))).is_cut
    True
    """
    if isinstance(reply, NoReply) or len(reply.body) <= MAX_SEEN_BYTES:
        return reply
    return reply._replace(body=reply.body[:MAX_SEEN_BYTES], is_cut=True)


def format_reply(reply: Reply | NoReply) -> str:
    r"""Format a reply of `masked`, or why there is none.

    >>> format_reply(Reply(422, {"content-type": "text/plain", "x-secret": "s"}, b"no"))
    'HTTP 422 Unprocessable Entity\ncontent-type: text/plain\n\nno'
    """
    if isinstance(reply, NoReply):
        arrived = "it may have arrived" if reply.may_have_arrived else "it was never sent"
        return f"no reply: {reply.reason}: {reply.detail}; {arrived}"
    headers = [f"{n}: {value}" for n, value in reply.headers.items() if _HELPFUL.fullmatch(n)]
    phrase = _PHRASES.get(reply.status, "")
    return "\n".join([f"HTTP {reply.status} {phrase}".rstrip(), *headers, "", _body(reply)])


def _body(reply: Reply) -> str:
    text = reply.body.decode("utf-8", "replace")
    if reply.is_cut:
        text += f" ... (cut after {len(reply.body)} bytes)"
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
