"""Lists of entities: they bring what reading one by one brings, and nothing leads astray."""

from __future__ import annotations

import json

import pytest

from pipeline.model import Reply
from pipeline.vendors import load_vendors
from pipeline.vendors.kit.contract import EntityPage
from tests.vendors.conformance import signed_in
from tests.vendors.specimens import XCORE

VENDORS = load_vendors()
ADOBE, XSOLLA = VENDORS["adobe"], VENDORS["xsolla"]
(OFFER,) = ADOBE.operations
BONUS, COUPON = XSOLLA.operations


def offers(count: int) -> list[object]:
    made = OFFER.job_type.model_validate
    return [
        made({"instance_id": f"o{n:03}", "changes": {"name": f"Offer {n}"}}) for n in range(count)
    ]


def coupons(count: int) -> list[object]:
    made = COUPON.job_type.model_validate
    return [
        made({"external_id": f"c{n:03}", "name": {"en-US": f"Name {n}"}, "redeem_total_limit": n})
        for n in range(count)
    ]


def promotions(count: int) -> list[object]:
    made = BONUS.job_type.model_validate
    return [
        made(
            {
                "promotion_id": 1000 + n,
                "name": {"en-US": f"Name {n}"},
                "condition": None,
                "bonus": [],
                "limits": {"per_user": n},
            }
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("vendor", "operation", "jobs"),
    [(ADOBE, OFFER, offers(230)), (XSOLLA, COUPON, coupons(120)), (XSOLLA, BONUS, promotions(60))],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_a_list_brings_what_reads_bring(vendor, operation, jobs):
    async with signed_in(vendor) as (settings, exchange):
        reading = operation.reading
        listing = reading.listing(settings)
        for job in jobs:
            assert (await exchange(operation.encode(settings, (job,)))).status // 100 == 2
        found, cursor, pages = {}, "", 0
        while cursor or not pages:
            reply = await exchange(listing.request(settings, jobs[0], cursor))
            page = listing.page(settings, reply, cursor)
            assert isinstance(page, EntityPage), reply
            assert page.total == len(jobs)
            assert not found.keys() & page.states.keys(), "an entity stands on two pages"
            found |= page.states
            cursor, pages = page.next, pages + 1
        assert pages == -(-len(jobs) // len(page.states or jobs)) or pages > 1
        for job in jobs[::37]:
            state = reading.state(settings, job, await exchange(reading.request(settings, job)))
            listed = found[operation.entity(settings, job).id]
            assert not operation.change.differences(settings, state, listed)
            assert not operation.change.differences(settings, listed, state)
        assert len(found) == len(jobs)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "no list"),
        ({"coupons": [], "others": []}, "two lists"),
        ({"coupons": [{"external_id": "a"}]}, "an entity without a name"),
        ({"coupons": [{"name": {"en-US": "a"}}]}, "an entity without an id"),
        ({"coupons": ["a"]}, "no entity at all"),
    ],
)
async def test_what_is_no_page_of_coupons_tells_nothing(body, why):
    async with signed_in(XSOLLA) as (settings, _):
        listing = COUPON.reading.listing(settings)
        assert listing.page(settings, Reply(200, {}, json.dumps(body).encode()), "") is None, why


async def test_the_next_page_never_leads_to_another_host():
    async with signed_in(ADOBE) as (settings, _):
        listing = OFFER.reading.listing(settings)
        for href in ("https://evil.example/offers?x", "//evil.example/offers?x", "/other?x", 7):
            body = {"results": [], "total": 0, "_links": {"next": {"href": href}}}
            page = listing.page(settings, Reply(200, {}, json.dumps(body).encode()), "")
            assert page.next == "", href


async def test_xcore_is_not_listed():
    async with signed_in(XCORE) as (settings, _):
        assert OFFER.reading.listing(settings) is None
