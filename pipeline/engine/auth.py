"""Credentials as a header, and kept out of what is told. Pure: whose they are, the vendor says."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from multidict import CIMultiDict
from pydantic import SecretStr

from pipeline.model import ConfigError, Fault, Reply
from pipeline.vendors.contract import Account, Basic, Bearer

HIDDEN = b"***"

_TOKEN = re.compile(r"[!-~]+")  # wider than RFC 6750's alphabet, and nothing that ends the line


def authorization(value: Basic | Bearer | None) -> str | None:
    """The `Authorization` header; None where there is none.

    raises  ConfigError where the scheme cannot carry the credentials

    >>> from pydantic import SecretStr
    >>> authorization(Basic("44056", SecretStr("open sesame")))
    'Basic NDQwNTY6b3BlbiBzZXNhbWU='
    """
    match value:
        case Basic():
            return _basic(value.user, value.password.get_secret_value())
        case Bearer():
            return _bearer(value.token.get_secret_value())
    return None


def is_token(text: str) -> bool:
    """Whether a header can carry `text` as a bearer token.

    >>> is_token("eyJhbGciOi.J9"), is_token("two words"), is_token("")
    (True, False, False)
    """
    return _TOKEN.fullmatch(text) is not None


def _bearer(token: str) -> str:
    """Source: RFC 6750, section 2.1."""
    if not is_token(token):
        what = "the access token holds blanks, or characters that no header carries"
        raise ConfigError([Fault(what=what, expected="the token alone, without the word Bearer")])
    return f"Bearer {token}"


def _basic(user: str, password: str) -> str:
    """In UTF-8. Source: RFC 7617, section 2."""
    faults = [
        Fault(what=what, expected=expected)
        for is_wrong, what, expected in (
            (":" in user, "the user name for HTTP Basic holds a colon", "none"),
            (_has_controls(user), "the user name holds control characters", "none"),
            (
                _has_controls(password),
                "the password or key holds control characters",
                "none; often it is a line end at the end of a file",
            ),
        )
        if is_wrong
    ]
    if faults:
        raise ConfigError(faults)
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _has_controls(text: str) -> bool:
    return any(char < " " or char == "\x7f" for char in text)


SHORTEST_HIDDEN = 6
"""A shorter secret would blot out half of every reply."""


def secrets_of(account: Account) -> list[str]:
    """What an account keeps secret and a reply may repeat."""
    own = (value for _, value in account.settings if isinstance(value, SecretStr))
    values = (secret.get_secret_value() for secret in (*own, *account.hidden))
    return [value for value in values if len(value) >= SHORTEST_HIDDEN]


class Mask:
    """Hides secrets in a reply: debug pages and gateways show the request that they got.

    Each is found as it is, percent-encoded, and as it stands within JSON. Empty ones are none.
    """

    __slots__ = ("_found",)

    def __init__(self, *secrets: str) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        pattern = b"|".join(re.escape(form.encode()) for form in longest_first)
        self._found = re.compile(pattern or b"(?!)")  # without secrets: what is never found

    def hide(self, reply: Reply) -> Reply:
        """The reply without the secrets, in its body and in the values of its headers."""
        if self._found.search(reply.body):
            reply = reply._replace(body=self._found.sub(HIDDEN, reply.body))
        if self._found.search(_raw("\n".join(reply.headers.values()))):
            headers = [(name, self._hidden_in(value)) for name, value in reply.headers.items()]
            reply = reply._replace(headers=CIMultiDict(headers))
        return reply

    def hide_text(self, text: str) -> str:
        """A text without the secrets."""
        return self._hidden_in(text)

    def _hidden_in(self, text: str) -> str:
        return self._found.sub(HIDDEN, _raw(text)).decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    """A header's value as it came."""
    return text.encode("utf-8", "surrogateescape")


def _forms(secret: str) -> Iterator[str]:
    """A secret as a reply may repeat it."""
    yield secret
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield encoded
        yield re.sub("%..", lambda code: code[0].lower(), encoded)
    for as_json in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield as_json
        yield as_json.replace("/", r"\/")  # PHP writes it so
