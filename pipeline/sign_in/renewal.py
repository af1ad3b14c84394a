"""Decides when a token is renewed, and what a 401 says of it. Pure."""

from __future__ import annotations

import math
from enum import Enum

from pipeline.vendors.kit.contract import Token

AHEAD_S = 300.0  # tokens are renewed this long before they expire; no request takes longer
AHEAD_SHARE = 0.1  # of the lifetime; limits AHEAD_S
BELIEVED_AFTER = 3  # a request that gets 401 with so many valid tokens is refused itself


def lifetime_s_of(token: Token) -> float:
    """Return the lifetime of a token; infinite if its reply names no valid one.

    A 401 then shows that the token has expired.
    """
    named_s = token.lifetime_s
    return named_s if named_s is not None and named_s > 0.0 else math.inf


def renewed_after_s(lifetime_s: float) -> float:
    """Return the seconds after its request for which a token is used before it is renewed.

    >>> renewed_after_s(86_399.0), renewed_after_s(60.0), renewed_after_s(math.inf)
    (86099.0, 54.0, inf)
    """
    return lifetime_s - min(AHEAD_S, AHEAD_SHARE * lifetime_s)


class After401(Enum):
    """The decision about a request that got 401."""

    SIGN_IN = "the token has expired: fetch another, then send again"
    SEND_AGAIN = "another token is there already: send again"
    FINAL = "the reply counts"


def after_401(carried: int, newest: int, *, was_accepted: bool, tokens: int) -> After401:
    """Decide whether a 401 is about the token, or about the credentials or the request.

    carried       serial number of the request's token
    newest        serial number of the last token that was fetched
    was_accepted  True if a request with the same token got a reply other than 401
    tokens        number of tokens with which this request got 401, this one included

    >>> after_401(1, 1, was_accepted=False, tokens=1).name
    'FINAL'
    """
    if tokens >= BELIEVED_AFTER:
        return After401.FINAL
    if carried < newest:
        return After401.SEND_AGAIN
    return After401.SIGN_IN if was_accepted else After401.FINAL
