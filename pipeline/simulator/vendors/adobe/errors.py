"""Refusals, as the gateway and as the service write them."""

from __future__ import annotations

from pipeline.simulator.content import json_answer
from pipeline.simulator.vendor import VendorReply

# Shape of the gateway in front of all services; the code is text.
_GATEWAY = {
    "400003": (400, "Missing header: x-gw-ims-org-id"),
    "401013": (401, "Oauth token is not valid"),
    "403000": (403, "Api Key is required"),
    "403003": (403, "Api Key is invalid"),
    "403010": (403, "Oauth token is missing"),
    "429050": (429, "Too many requests"),
}


def gateway(code: str) -> VendorReply:
    """The gateway's refusal with this code."""
    status, message = _GATEWAY[code]
    return json_answer(status, {"error_code": code, "message": message})


class ServiceError(Exception):
    """A refusal by the service, with its status."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


def problem(status: int, title: str, detail: str, transaction_id: str) -> VendorReply:
    """The service's refusal."""
    document = {
        "type": f"https://ns.adobe.com/aep/errors/SIMULATOR-{status}",
        "title": title,
        "status": status,
        "detail": detail,
        "report": {"tenantInfo": {}, "additionalContext": {}},
        "request-id": transaction_id,
    }
    return json_answer(status, document, "application/problem+json")


def failure(status: int, words: str, transaction_id: str) -> VendorReply:
    """As of EmulatedVendor."""
    if status == 429:  # noqa: PLR2004
        return gateway("429050")
    return problem(status, words, words, transaction_id)
