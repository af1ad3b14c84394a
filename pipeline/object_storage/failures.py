"""Messages for failures of a bucket, without secrets. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.model import PipelineError
from pipeline.model.object_path import SCHEMES, ObjectPath

Kind = Literal["missing", "exists", "changed", "denied", "away", "unable", "other"]
"""
missing  there is no such object or bucket
exists   another object has the key
changed  the object is another one than was asked for
denied   the credentials are missing, wrong or not allowed to do it
away     nothing answers, or it answered with a 5xx to the last attempt
unable   the server, or this installation, cannot do it at all
"""

INSTALL = "pip install 'offer-pipeline[cloud]'"

_CODE = re.compile(r"(?:<Code>|\(code: )([A-Za-z0-9]{1,80})(?:</Code>|\))")
_STATUS = re.compile(r"status code: (\d{3})\b")
_SERVER_ERROR, _TOO_MANY = 500, 429

_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a "
    "role",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service account",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give the machine an "
    "identity",
}
_TODO_BY_CODE: dict[str, str] = {
    "NoSuchBucket": "Correct the name of the bucket, or create it",
    "SlowDown": "Try again later: the storage asks for fewer requests",
    "ExpiredToken": "Sign in again: the token of the credentials has expired",
    "RequestTimeTooSkewed": "Set the clock of this machine",
    "PermanentRedirect": "Set AWS_REGION to the region of the bucket",
    "AuthorizationHeaderMalformed": "Set AWS_REGION to the region of the bucket",
}
_WHAT: dict[Kind, str] = {
    "missing": "there is no such object",
    "exists": "there is such an object already",
    "changed": "the object changed while it was read",
    "denied": "access was denied",
    "away": "the storage does not answer",
    "unable": "the storage cannot do this",
    "other": "the storage refused the request",
}


class ObjectStorageError(PipelineError):
    """Something cannot be done with an object. The text holds no secret.

    kind  see `Kind`
    what  what is wrong, without the path and without advice
    todo  what to do; empty if nothing is known
    """

    def __init__(self, path: ObjectPath, kind: Kind, what: str, todo: str = "") -> None:
        self.path = path
        self.kind: Kind = kind
        self.what = what
        self.todo = todo
        super().__init__(f"{path}: {what}{f'. {todo}' if todo else ''}")


@dataclass(frozen=True, slots=True)
class Raised:
    """An error of the library, as far as a message may show it.

    name    of its class
    text    may hold anything the server said: only a code and a status are taken from it
    action  what was tried, such as "read"
    host    host and port of the storage, if the environment names one
    """

    name: str
    text: str
    action: str
    host: str = ""


def failure_of(path: ObjectPath, raised: Raised) -> ObjectStorageError:
    """The error in words.

    >>> path = ObjectPath("s3://bucket/a.csv")
    >>> text = "status code: 403 Forbidden: <Code>AccessDenied</Code><Key>secret</Key>"
    >>> print(failure_of(path, Raised("PermissionDeniedError", text, "read")))
    s3://bucket/a.csv: access was denied (read; 403 AccessDenied). Allow it for these credentials
    """
    code = "".join(_CODE.findall(raised.text)[:1])
    status = "".join(_STATUS.findall(raised.text)[:1])
    kind = _kind(raised, code, int(status or 0))
    what = "there is no such bucket" if code == "NoSuchBucket" else _WHAT[kind]
    said = " ".join(filter(None, [status, code])) or _transport_words(raised.text)
    at = f" at {raised.host}" if raised.host and kind == "away" else ""
    about = "; ".join(filter(None, [raised.action, said]))
    return ObjectStorageError(path, kind, f"{what}{at} ({about})", _todo(path, kind, code))


def _kind(raised: Raised, code: str, status: int) -> Kind:
    """The kind of an error of the library.

    >>> _kind(Raised("GenericError", "", "list"), "SlowDown", 503)
    'away'
    """
    by_name: dict[str, Kind] = {
        "FileNotFoundError": "missing",
        "NotFoundError": "missing",
        "AlreadyExistsError": "exists",
        "PreconditionError": "changed",
        "NotModifiedError": "changed",
        "PermissionDeniedError": "denied",
        "UnauthenticatedError": "denied",
        "NotSupportedError": "unable",
        "NotImplementedError": "unable",
    }
    if code in {"NoSuchBucket", "NoSuchKey"}:
        return "missing"
    if code == "NotImplemented" or status == _SERVER_ERROR + 1:
        return "unable"
    if raised.name in by_name:
        return by_name[raised.name]
    if code in {"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
        return "denied"
    if _is_about_credentials(raised):
        return "denied"
    is_transport = not status and bool(_transport_words(raised.text))
    return "away" if is_transport or status >= _SERVER_ERROR or status == _TOO_MANY else "other"


def _is_about_credentials(raised: Raised) -> bool:
    """True if no credentials were found: the library then asks the machine for a role."""
    signs = ("169.254.169.254", "metadata.google.internal", "MissingAccount", "credential")
    return any(sign in raised.text for sign in signs)


def _transport_words(text: str) -> str:
    """A failure of the network, in our words.

    >>> _transport_words("HTTP error: error sending request")
    'no connection'
    """
    for sign, words in (
        ("timed out", "no answer in time"),
        ("TimedOut", "no answer in time"),
        ("error decoding", "the reply was cut"),
        ("request or response body", "the reply was cut"),
        ("dns error", "no such host"),
        ("error sending request", "no connection"),
        ("HTTP error", "no whole reply"),
    ):
        if sign in text:
            return words
    return ""


def _todo(path: ObjectPath, kind: Kind, code: str) -> str:
    if code in _TODO_BY_CODE:
        return _TODO_BY_CODE[code]
    if kind == "denied":
        known = "Allow it for these credentials"
        return known if code == "AccessDenied" else _CREDENTIALS[path.scheme]
    return {
        "missing": "Correct the path, or upload the object",
        "changed": "Upload it under a new name, or try again once it is complete",
        "away": "Try again once it answers",
    }.get(kind, "")


def not_installed(path: ObjectPath) -> ObjectStorageError:
    """The error of an installation without the library."""
    what = f"{SCHEMES[path.scheme]} needs the extra `cloud`, which is not installed"
    return ObjectStorageError(path, "unable", what, INSTALL)


def no_credentials(path: ObjectPath) -> ObjectStorageError:
    """The error of a machine on which no credentials are found."""
    return ObjectStorageError(
        path, "denied", "no credentials were found", _CREDENTIALS[path.scheme]
    )
