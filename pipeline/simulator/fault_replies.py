"""Faults that are complete HTTP replies. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.simulator.faults import InjectedFault
from pipeline.simulator.quota import RetryAfter, retry_after
from pipeline.simulator.vendor import Call, Failure, VendorReply

_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_LOGIN = b"<!DOCTYPE html><html><body><form action='/login'>Please sign in</form></body></html>"
_PAGES = {
    "html": VendorReply(502, _BAD_GATEWAY, {"Content-Type": "text/html"}),
    "html-200": VendorReply(200, _LOGIN, {"Content-Type": "text/html; charset=utf-8"}),
}
_ERROR = 400
_WORDS = {
    425: "Too Early",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_RETRY_AFTER: dict[str, RetryAfter] = {"429-seconds": "seconds", "429-date": "date"}


def throttled(failure: Failure, call: Call, kind: RetryAfter, wait_s: float) -> VendorReply:
    """A 429 in the vendor's error format, with a Retry-After of this kind."""
    answer = failure(429, _WORDS[429], call.transaction_id)
    value = retry_after(kind, wait_s, call.now_utc_s)
    if value is None:
        return answer
    return replace(answer, headers={**answer.headers, "Retry-After": value})


def fault_reply(
    fault: InjectedFault, answer: VendorReply, failure: Failure, call: Call, raw_path: str
) -> VendorReply:
    """The reply that the client gets instead of `answer`; `answer` itself for faults of the wire.

    failure  as of EmulatedVendor
    """
    name = fault.name
    if name in _PAGES:
        return _PAGES[name]
    if name.startswith("429"):
        return throttled(failure, call, _RETRY_AFTER.get(name, "none"), fault.retry_after_s)
    if name.startswith(("425", "50")):
        status = int(name[:3])
        failed = failure(status, _WORDS[status], call.transaction_id)
        return replace(failed, applied=answer.applied)
    if name == "redirect":
        target = f"http://{call.headers.get('host', '')}/elsewhere{raw_path}"
        return VendorReply(307, b"", {"Location": target})
    if name in {"half-body", "endless-body"}:
        is_wrong = name == "endless-body" and not answer.status < _ERROR
        return replace(answer, status=422 if is_wrong else 200)
    return answer
