"""Header rules of any strict HTTP server. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

_SINGLE = ("host", "content-length", "content-type", "authorization", "transfer-encoding")
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie"})
MASK = "***"


def join_headers(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Headers by lower-case name, values of repeated names joined; and the repeated names.

    >>> join_headers([(b"Host", b"a"), (b"HOST", b"b")])
    ({'host': 'a, b'}, ('host',))
    """
    headers: dict[str, str] = {}
    repeated: list[str] = []
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "replace")
        if name in headers:
            repeated.append(name)
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers, tuple(repeated)


def refuse_headers(
    method: str, headers: Mapping[str, str], repeated: tuple[str, ...]
) -> tuple[int, str] | None:
    """Status and message for headers that a strict server refuses; None if it accepts them.

    >>> refuse_headers("GET", {"host": "a, b"}, ("host",))
    (400, 'Header host is given twice')
    """
    for name in _SINGLE:
        if name in repeated:
            return 400, f"Header {name} is given twice"
    if not headers.get("host"):
        return 400, "Header host is missing"
    if method in {"PUT", "PATCH"} and "content-length" not in headers:
        return 411, "Header content-length is missing"
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return 415, f"Content-Encoding {headers['content-encoding']} is not accepted"
    return None


def basic_credentials(authorization: str) -> tuple[str, str] | None:
    """User name and password of a Basic credential; None for anything else.

    >>> basic_credentials("Basic eDp5")
    ('x', 'y')
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def bearer_token(authorization: str) -> str | None:
    """The token of a Bearer credential; None for anything else.

    >>> bearer_token("Bearer abc"), bearer_token("Basic eDp5")
    ('abc', None)
    """
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with credentials masked; the scheme of Authorization stays.

    >>> without_secrets({"authorization": "Basic eDp5", "accept": "*/*"})
    {'authorization': 'Basic ***', 'accept': '*/*'}
    """
    return {name: _mask(value) if name in _SECRET else value for name, value in headers.items()}


def _mask(value: str) -> str:
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} {MASK}" if blank else MASK
