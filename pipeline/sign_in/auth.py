"""Builds the Authorization header, and lists an account's secrets for masking. Pure."""

from __future__ import annotations

from base64 import b64encode

from pydantic import SecretStr

from pipeline.http_client.masking import Mask
from pipeline.model import ConfigError, Fault
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import Basic, Bearer, TokenCall
from pipeline.vendors.kit.tokens import is_token


def authorization(value: Basic | Bearer | None) -> str | None:
    """Return the value of the `Authorization` header; None if there is none.

    raises  ConfigError if a header cannot carry the credentials

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


def secrets_of(account: Account) -> list[str]:
    """Return an account's secrets, which a reply may repeat."""
    own = (value for _, value in account.settings if isinstance(value, SecretStr))
    values = [secret.get_secret_value() for secret in (*own, *account.hidden)]
    signs = account.vendor.authenticate(account.settings)
    basic = signs.basic if isinstance(signs, TokenCall) else signs
    if isinstance(basic, Basic):
        values.append(f"{basic.user}:{basic.password.get_secret_value()}")
    if isinstance(signs, TokenCall):
        values += (secret.get_secret_value() for secret in signs.secrets)
    return values


def mask_of(account: Account) -> Mask:
    """Return a mask for the account's secrets."""
    return Mask(*secrets_of(account))
