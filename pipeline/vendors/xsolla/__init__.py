"""Xsolla: bonus promotions and coupons of the store, version 2 of the API.

Both updates are a full replace ("if you want to update only a part, all the required data must be
sent too"), one request per row, answered 204 without a body.

The sources of the facts below; all were read on 2026-11-22.

    BONUS   developers.xsolla.com, "Update bonus promotion", Chinese page, undated
    COUPON  developers.xsolla.com, "Update coupon promotion", French page, undated
    SPEC    "Shop Builder API" 2.0.0, OpenAPI, of 2025-05-22, as kept on GitHub in
            defold/extension-xsolla @62256f83, codegen/openapi.json
    START   developers.xsolla.com/api/getting-started, undated
    ERRORS  developers.xsolla.com/doc/in-game-store/references/error-list, undated
    V3      developers.xsolla.com/api/liveops, later pages about version 3, undated
    FILTER  developers.xsolla.com/ru/api/igs-bb/operation/update-filter-rule-by-id, older, undated

What BONUS, COUPON or SPEC state refuses a row. What is only inferred, or where they contradict one
another, only warns: a client stricter than its vendor blocks good rows. Not in any source: numeric
rate limits, what an omitted redeem limit means, whether version 2 has an end.

In reading order: `settings`, `bodies`, `jobs`, `doubts`, `requests`, `replies`, `states`.

Not here: other vendors, and what they share, which is in `kit`.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Any, Final

from pipeline.vendors.kit.contract import (
    Change,
    Defaults,
    EntityRead,
    Listing,
    Operation,
    Probe,
    RequestHead,
    Vendor,
)
from pipeline.vendors.xsolla import doubts, replies, requests, settings, states
from pipeline.vendors.xsolla.jobs import BonusPromotion, Coupon
from pipeline.vendors.xsolla.replies import CONFIRMATION, KNOWN, NO_CONTENT
from pipeline.vendors.xsolla.requests import BODY_FIELDS, HEADERS, Job
from pipeline.vendors.xsolla.settings import XsollaSettings
from pipeline.vendors.xsolla.states import REDEEM_LIMITS

__all__ = ["BONUS_PROMOTION", "COUPON", "VENDOR", "BonusPromotion", "Coupon", "XsollaSettings"]


def _operation(job_type: type[Job], id_in_reads: str, **own: Any) -> Operation[XsollaSettings, Any]:
    """An operation: what both have in common, and the job type's `own` parts."""
    return Operation(
        job_type=job_type,
        replaces=True,
        # no source has numbers (SPEC: no 429, no Retry-After): a cautious guess
        defaults=Defaults(quota=("10/s",), in_flight=8, timeout_s=30.0),
        entity=requests.entity,
        encode=requests.encode,
        head=lambda _s: RequestHead("PUT", HEADERS),
        confirmation=lambda _s, _job: CONFIRMATION,
        decode=replies.decode,
        plain_success=NO_CONTENT,
        known=KNOWN,
        refuse=requests.refuse,
        repeatable=lambda _s, _job: True,
        repeat_note="harmless: a full replace, sent twice it leaves the same state (inferred)",
        warn=doubts.warn,
        reading=EntityRead(
            request=requests.read,
            state=partial(states.state_of, BODY_FIELDS[job_type], id_in_reads),
            differences=states.differences,
            # Nor has any how long Xsolla works on: we wait 30 s for a reply, and as long again
            settle_after_s=60.0,
            listing=lambda _s: Listing(
                request=requests.list_page,
                page=partial(states.page_of, BODY_FIELDS[job_type], id_in_reads),
            ),
        ),
        change=Change(
            after=states.state_after,
            differences=partial(states.state_differences, BODY_FIELDS[job_type]),
            merge=states.merge,
            inverse=states.inverse,
            gap=lambda _s: (
                "Xsolla has no etag: a change within the round trip before a row is "
                "sent goes unnoticed"
            ),
        ),
        **own,
    )


BONUS_PROMOTION: Final = _operation(
    BonusPromotion,
    "id",
    name="xsolla.bonus-promotion",
    summary="Update a bonus promotion: items given with a purchase",
    entity_kind="promotion",
    sample=MappingProxyType(
        {
            "promotion_id": "111425",
            "project_id": "44056",
            "name.en-US": "Summer bonus",
            "name.de-DE": "Sommerbonus",
            "condition": "null",
            "bonus": "elven_shield:2, elven_sword",
            "date_start": "2027-06-01T00:00:00+02:00",
            "date_end": "2027-09-01T00:00:00+02:00",
            "attribute_conditions": (
                '[{"attribute": "country", "operator": "eq", "value": "DE", "type": "string", '
                '"can_be_missing": false}]'
            ),
            "limits.per_user": "5",
            "limits.recurrent_schedule": (
                '{"per_user": {"interval_type": "daily", "time": "11:00:00+03:00"}}'
            ),
            "price_conditions": "ge 10, lt 49.99",
            "excluded_promotions": "12, 789",
        }
    ),
)

COUPON: Final = _operation(
    Coupon,
    "external_id",
    name="xsolla.coupon",
    summary="Update a coupon: items given for a code",
    entity_kind="coupon",
    always=REDEEM_LIMITS,
    sample=MappingProxyType(
        {
            "external_id": "coupon_44056_1",
            "project_id": "44056",
            "name.en-US": "Coupon title",
            "name.de-DE": "Gutscheintitel",
            "bonus": "elven_shield:2, elven_sword",
            "date_start": "2027-06-01T00:00:00+02:00",
            "date_end": "2027-09-01T00:00:00+02:00",
            "redeem_total_limit": "1000",
            "redeem_user_limit": "1",
            "redeem_code_limit": "null",
            "attribute_conditions": (
                '[{"attribute": "country", "operator": "eq", "value": "DE", "type": "string"}]'
            ),
        }
    ),
)

VENDOR: Final = Vendor(
    name="xsolla",
    summary="Xsolla store: bonus promotions and coupons (API version 2)",
    settings=XsollaSettings,
    authenticate=settings.authenticate,
    scope=lambda settings: f"project {settings.project_id}",
    operations=(BONUS_PROMOTION, COUPON),
    probe=Probe(request=requests.probe, judge=replies.judge_probe),
    simulated=MappingProxyType({"project_id": 44056, "api_key": "simulator-key"}),
)
