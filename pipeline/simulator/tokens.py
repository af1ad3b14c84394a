"""Replies with a new token. Pure except for the token itself."""

from __future__ import annotations

from pipeline.simulator.content import json_answer
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.vendor import Call, Tokens, VendorReply


def token_answer(
    options: SimulatorOptions,
    tokens: Tokens,
    call: Call,
    *,
    vendor: str,
    scheme: str,
    lifetime_s: float,
) -> VendorReply:
    """A 200 with a new token of this vendor.

    lifetime_s  the vendor's own lifetime; the option `token_lifetime_s` overrides it
    """
    lasts_s = options.token_lifetime_s or lifetime_s
    document = {
        "access_token": tokens.issue(vendor, call.now_utc_s + lasts_s),
        "token_type": scheme,
        "expires_in": int(lasts_s) if lasts_s == int(lasts_s) else lasts_s,
    }
    return json_answer(200, document)
