"""Credentials as a header. Pure: who the credentials belong to is the vendor's to say."""

from __future__ import annotations

from base64 import b64encode

from pipeline.model import ConfigError, Fault
from pipeline.vendors.contract import Basic


def authorization(value: Basic) -> str:
    """The `Authorization` header of HTTP Basic, in UTF-8.

    raises  ConfigError where the scheme cannot carry the user or the password
    source  RFC 7617, section 2

    >>> from pydantic import SecretStr
    >>> authorization(Basic("44056", SecretStr("open sesame")))
    'Basic NDQwNTY6b3BlbiBzZXNhbWU='
    """
    password = value.password.get_secret_value()
    faults = [
        Fault(what=what, expected=expected)
        for is_wrong, what, expected in (
            (":" in value.user, "the user name for HTTP Basic holds a colon", "none"),
            (_has_controls(value.user), "the user name holds control characters", "none"),
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
    pair = f"{value.user}:{password}".encode()
    return "Basic " + b64encode(pair).decode("ascii")


def _has_controls(text: str) -> bool:
    return any(char < " " or char == "\x7f" for char in text)
