"""Reads the token in the reply to a token call, and tells what can be one."""

from __future__ import annotations

import re

from pydantic import SecretStr

from pipeline.model import Reply
from pipeline.vendors.kit.classify import json_object
from pipeline.vendors.kit.contract import Token
from pipeline.vendors.kit.numbers import lifetime_s

_TOKEN = re.compile(r"[!-~]+")  # wider than RFC 6750's alphabet, and nothing that ends the line


def bearer_token(reply: Reply) -> Token | None:
    """The token of RFC 6749, 5.1: access_token, token_type "Bearer", expires_in in seconds.

    None if there is no such token; see `lifetime_s` for the bounds of its lifetime.

    >>> bearer_token(Reply(200, {}, b'{"access_token": "t", "expires_in": 86399}'))
    Token(value=SecretStr('**********'), lifetime_s=86399.0)
    """
    body = json_object(reply.body)
    value, kind, lasts = map(body.get, ("access_token", "token_type", "expires_in"))
    if not isinstance(value, str) or not is_token(value):
        return None
    if kind is not None and str(kind).lower() != "bearer":
        return None
    return Token(SecretStr(value), lifetime_s(lasts))


def is_token(text: str) -> bool:
    """True if a header can carry `text` as a bearer token.

    >>> is_token("eyJhbGciOi.J9"), is_token("two words"), is_token("")
    (True, False, False)
    """
    return _TOKEN.fullmatch(text) is not None
