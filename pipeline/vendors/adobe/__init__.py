"""Adobe Journey Optimizer: fallback offers of the Offer Library, as JSON Patch.

Two generations of one API, `api` of the account chooses: `dps`, and `xcore`, the repository API
that UPDATE documents and that has ended: LEGACY says "supported until 03/27/2024". One PATCH per
row, answered with a receipt that holds the offer's new etag.

The sources of the facts below; all were read on 2026-11-22.

    UPDATE   "Update fallback offers", Chinese and French pages of Journey Optimizer, undated
    LEGACY   github AdobeDocs/journey-optimizer.en, offers-api/legacy-apis
    DPS      the same, offers-api/fallback-offers/update (commits 04e844c8, 0b94bfea)
    SERVICE  "Manage Decisioning objects and rules using APIs", tutorial of Experience Platform
    TROUBLE  github AdobeDocs/experience-platform.en @01e70824, help/landing/troubleshooting.md
    AJO      github AdobeDocs/journey-optimizer-apis @418ba208: sibling APIs
    OAUTH    developer.adobe.com, "Server to Server authentication", IMS
    LIMITS   github AdobeDocs/analytics-2.0-apis, texts and issue 176: the same gateway
    RFC 6901 JSON Pointer, RFC 6902 JSON Patch

Not in any source: the status of a good PATCH, whether dps knows If-Match, the error bodies of these
two APIs, their rate limits.

In reading order: `settings`, `changes`, `job`, `rules`, `requests`, `replies`, `states`.

Not here: other vendors, and what they share, which is in `kit`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from pipeline.vendors.adobe import replies, requests, rules, settings, states
from pipeline.vendors.adobe.job import FallbackOffer
from pipeline.vendors.adobe.replies import KNOWN
from pipeline.vendors.adobe.settings import AdobeSettings
from pipeline.vendors.kit.contract import (
    Change,
    Defaults,
    EntityRead,
    Guard,
    Listing,
    Operation,
    Probe,
    RequestHead,
    Vendor,
)

__all__ = ["FALLBACK_OFFER", "VENDOR", "AdobeSettings", "FallbackOffer"]

FALLBACK_OFFER: Final = Operation(
    name="adobe.fallback-offer",
    summary="Update a fallback offer: shown to whoever qualifies for no other",
    job_type=FallbackOffer,
    entity_kind="offer",
    replaces=False,
    # A cautious guess: no source has numbers. LIMITS: 12 calls in 6 s for another API behind the
    # same gateway, which itself continues for 60 s.
    defaults=Defaults(quota=("2/s",), in_flight=4, timeout_s=65.0),
    entity=requests.entity,
    encode=requests.encode,
    head=lambda s: RequestHead("PATCH", requests.headers_of(s)),
    confirmation=replies.confirmation,
    decode=replies.decode,
    known=KNOWN,
    refuse=rules.refuse,
    repeatable=rules.repeatable,
    repeat_note=(
        "harmless if every change sets a value (inferred); any other is sent with a precondition, "
        "the row's own or one that is read first: an etag, which Adobe refuses with 409 once it is "
        "stale (tutorial of the xcore API), or a test in the patch (dps), unless the account has "
        "preconditions = false"
    ),
    warn=rules.warn,
    writes=rules.writes,
    # LIMITS: the gateway itself works on for 60 s
    reading=EntityRead(
        request=requests.read,
        state=states.state_of,
        differences=states.differences,
        settle_after_s=65.0,
        listing=lambda s: (
            Listing(request=requests.list_page, page=states.page_of) if s.api == "dps" else None
        ),
    ),
    change=Change(
        after=states.state_after,
        differences=states.state_differences,
        inverse=states.inverse,
        gap=rules.gap,
    ),
    guard=Guard(
        needs=rules.needs_guard,
        guarded=rules.guarded,
        refusal=rules.is_guard_refusal,
        expected=rules.expected,
    ),
    sample=MappingProxyType(
        {
            "instance_id": "b3966680-13ec-11eb-9c20-8323709cfc65",
            "status": "approved",
            "name": "Summer for everyone",
            "add:/labels/-": "summer",
        }
    ),
)

VENDOR: Final = Vendor(
    name="adobe",
    summary="Adobe Journey Optimizer: fallback offers of the Offer Library (dps; xcore has ended)",
    settings=AdobeSettings,
    authenticate=settings.authenticate,
    scope=settings.scope,
    operations=(FALLBACK_OFFER,),
    probe=Probe(request=requests.probe),
    doubts=settings.account_doubts,
    simulated=MappingProxyType(
        {
            "api": "dps",
            "ims_org": "SIMULATED@AdobeOrg",
            "sandbox_name": "prod",
            "client_id": "simulator-client",
            "client_secret": "simulator-secret",
            "scopes": ["openid"],
            "token_url": "{origin}/ims/token/v3",
        }
    ),
)
