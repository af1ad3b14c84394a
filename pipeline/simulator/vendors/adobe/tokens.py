"""The token call."""

from __future__ import annotations

from urllib.parse import parse_qs

from pipeline.simulator.content import json_answer
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.tokens import token_answer
from pipeline.simulator.vendor import Call, Tokens, VendorReply

NAME = "adobe"
_LIFETIME_S = 86399.0
_FORM = "application/x-www-form-urlencoded"


def give_token(options: SimulatorOptions, tokens: Tokens, call: Call) -> VendorReply:
    """Answer a token call."""
    if call.method != "POST":
        refusal = no_token(405, "Method Not Allowed", "")
        return VendorReply(refusal.status, refusal.body, {**refusal.headers, "Allow": "POST"})
    error = _token_error(options, call)
    if error is not None:
        return json_answer(400, {"error": error, "error_description": f"{error} in a token call"})
    return token_answer(options, tokens, call, vendor=NAME, scheme="bearer", lifetime_s=_LIFETIME_S)


def _token_error(options: SimulatorOptions, call: Call) -> str | None:
    form = _form(call)
    if form is None or any(len(values) > 1 for values in form.values()):
        return "invalid_request"
    if form.get("grant_type") != ["client_credentials"]:
        return "unsupported_grant_type"
    given = form.get("client_id"), form.get("client_secret")
    if given != ([options.client_id], [options.client_secret]):
        return "invalid_client"
    return None if "scope" in form else "invalid_scope"


def _form(call: Call) -> dict[str, list[str]] | None:
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return None
    try:
        return parse_qs(call.body.decode("ascii"), strict_parsing=True)
    except ValueError:
        return None


def no_token(status: int, words: str, _transaction_id: str) -> VendorReply:
    """A refusal in the shape of token calls; as of EmulatedVendor's `failure`."""
    return json_answer(status, {"error": words.lower().replace(" ", "_")})
