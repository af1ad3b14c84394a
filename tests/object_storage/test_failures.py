"""What a message says of an error of the storage, and that it quotes nothing else of it."""

from __future__ import annotations

import pytest

from pipeline.model.object_path import ObjectPath
from pipeline.object_storage.failures import Raised, failure_of

BODY = "<Error><Code>{code}</Code><AWSAccessKeyId>PLANTED</AWSAccessKeyId></Error> PLANTED"
CASES = [
    # class of the error, status, code or text, kind, words; reason
    ("FileNotFoundError", 404, "NoSuchKey", "missing", "no such object", "no such key"),
    ("FileNotFoundError", 404, "NoSuchBucket", "missing", "no such bucket", "no such bucket"),
    ("GenericError", 404, "NoSuchBucket", "missing", "create it", "a list of no bucket"),
    ("AlreadyExistsError", 412, "PreconditionFailed", "exists", "already", "If-None-Match"),
    ("PreconditionError", 412, "PreconditionFailed", "changed", "changed", "If-Match"),
    ("PermissionDeniedError", 403, "AccessDenied", "denied", "Allow it", "a policy"),
    ("PermissionDeniedError", 403, "InvalidAccessKeyId", "denied", "AWS_PROFILE", "a wrong key"),
    ("GenericError", 400, "ExpiredToken", "denied", "Sign in again", "an old session"),
    ("GenericError", 301, "PermanentRedirect", "other", "AWS_REGION", "another region"),
    ("GenericError", 503, "SlowDown", "away", "fewer requests", "throttled"),
    ("GenericError", 500, "InternalError", "away", "Try again", "the server's fault"),
    ("GenericError", 501, "NotImplemented", "unable", "cannot do this", "no conditional writes"),
    ("NotSupportedError", 0, "", "unable", "cannot do this", "the library knows none"),
    ("GenericError", 0, "source: TimedOut", "away", "no answer in time", "a timeout"),
    ("GenericError", 0, "dns error", "away", "no such host", "a wrong endpoint"),
    ("GenericError", 0, "HTTP error: error sending request", "away", "no connection", "refused"),
    ("GenericError", 0, "request or response body error", "away", "was cut", "a cut reply"),
    ("GenericError", 0, "(code: AccessDenied)", "denied", "Allow it", "a delete among many"),
    ("GenericError", 0, "PUT http://169.254.169.254/x", "denied", "AWS_PROFILE", "no role"),
    ("GenericError", 0, "something new", "other", "refused", "unknown"),
]


@pytest.mark.parametrize("case", CASES, ids=[case[-1] for case in CASES])
def test_an_error_is_named_without_quoting_the_server(
    case: tuple[str, int, str, str, str, str],
) -> None:
    name, status, code, kind, words, _reason = case
    text = f"status code: {status} X: {BODY.format(code=code)}" if status else f"{code} PLANTED"

    error = failure_of(ObjectPath("s3://bucket/a.csv"), Raised(name, text, "read", "host:9000"))

    assert error.kind == kind
    assert words in str(error)
    assert "PLANTED" not in str(error)
    assert str(error).startswith("s3://bucket/a.csv: ")
