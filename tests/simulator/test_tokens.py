"""Tokens over the wire: how long they last, what revokes them, what of a token call is kept."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time

import pytest

from pipeline.simulator import Rule, SimulatorError, SimulatorOptions

from .client import (
    ADOBE_TOKEN,
    DPS,
    DPS_PATCH,
    OFFERS,
    ORACLE_TOKEN,
    XCORE,
    XCORE_PATCH,
    Client,
    basic,
    form,
    journey,
    offers,
    product,
)

XCORE_BODY = [{"op": "replace", "path": "/_instance/xdm:status", "value": "approved"}]
DPS_BODY = [{"op": "replace", "path": "/status", "value": "approved"}]
LIFETIME_S = 0.3
FORM = {"content-type": "application/x-www-form-urlencoded", "authorization": None}


async def patch(client: Client, token: str) -> int:
    headers = {**journey(token), **XCORE_PATCH}
    return (await client.ask("PATCH", XCORE, XCORE_BODY, headers=headers)).status


async def put(client: Client, token: str, *ids: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return (await client.ask("PUT", OFFERS, offers(*ids), headers=headers)).status


async def test_both_vendors_from_sign_in_to_update(start):
    running, client = await start()
    assert running.base_urls == {
        "adobe": f"{running.url}/data/core",
        "oracle": f"{running.url}/bcws/webresources/v1.0",
        "xsolla": f"{running.url}/xsolla/api",
    }
    journey_token, billing_token = await client.adobe_token(), await client.oracle_token()
    assert await patch(client, journey_token) == 200
    headers = {**journey(journey_token), **DPS_PATCH}
    assert (await client.ask("PATCH", DPS, DPS_BODY, headers=headers)).status == 200
    assert await put(client, billing_token, product(1)) == 200
    assert [(line["operation"], line["status"], line["applied"]) for line in running.log()] == [
        ("adobe.token", 200, False),
        ("oracle.token", 200, False),
        ("adobe.fallback-offer", 200, True),
        ("adobe.fallback-offer", 200, True),
        ("oracle.offer-status", 200, True),
    ]


async def test_a_token_of_one_vendor_is_none_of_the_other(start):
    _, client = await start()
    assert await patch(client, await client.oracle_token()) == 401
    assert await put(client, await client.adobe_token(), product(1)) == 401


async def test_a_token_expires(start):
    running, client = await start(token_lifetime_s=LIFETIME_S)
    began_s = -math.inf
    while time.monotonic() >= began_s + LIFETIME_S:  # on a busy machine it may have ended already
        began_s, before = time.monotonic(), running.stats()["applied"]
        seen = await client.ask("POST", ADOBE_TOKEN, form(), headers=FORM)
        assert seen.json["expires_in"] == LIFETIME_S
        adobe, oracle = seen.json["access_token"], await client.oracle_token()
        met = await patch(client, adobe), await put(client, oracle, product(1))
    assert met == (200, 200)
    assert running.stats()["applied"] == before + 2
    await asyncio.sleep(LIFETIME_S)
    assert (await patch(client, adobe), await put(client, oracle, product(1))) == (401, 401)
    assert running.stats()["applied"] == before + 2


async def test_a_whole_lifetime_is_reported_as_a_whole_number(start):
    _, client = await start(token_lifetime_s=30.0)
    seen = await client.ask("POST", ADOBE_TOKEN, form(), headers=FORM)
    assert b'"expires_in": 30}' in seen.body


@pytest.mark.parametrize("how", ["handle", "page", "reset"])
async def test_revoked_tokens_are_good_no_more(start, how):
    running, client = await start()
    adobe, oracle = await client.adobe_token(), await client.oracle_token()
    if how == "handle":
        running.revoke()
    elif how == "reset":
        running.reset()
    else:
        assert (await client.ask("POST", "/_simulator/revoke")).status == 200
    assert (await patch(client, adobe), await put(client, oracle, product(1))) == (401, 401)
    again = await client.adobe_token()
    assert again != adobe
    assert await patch(client, again) == 200


async def test_revoking_leaves_the_rest_as_it_is(start):
    running, client = await start()
    assert await put(client, await client.oracle_token(), product(1)) == 200
    running.revoke()
    assert running.stats()["requests"] == 2
    assert len(list(running.state())) == 1


async def test_a_token_call_leaves_no_secret_in_the_log(start):
    running, client = await start()
    token = await client.adobe_token()
    await patch(client, token)
    await client.oracle_token()
    secret = "client_secret=simulator-secret"
    await client.ask("POST", f"{ADOBE_TOKEN}?{secret}", form(), headers=FORM)  # not as documented
    await client.ask("POST", f"/elsewhere{ADOBE_TOKEN}?{secret}", form(), headers=FORM)
    lines = list(running.log())
    whole = json.dumps(lines)
    encoded = basic("simulator-client", "simulator-secret").removeprefix("Basic ")
    assert [word for word in ("simulator-secret", token, encoded) if word in whole] == []
    assert {line["body"] for line in lines if line["operation"] == "adobe.token"} == {"***"}
    assert lines[0]["id"] is lines[2]["id"] is None
    assert [lines[n]["headers"].get("authorization") for n in (0, 1, 2)] == [
        None,
        "Bearer ***",
        "Basic ***",
    ]
    assert lines[3]["raw_path"] == ADOBE_TOKEN


async def test_a_token_call_is_outside_quota_and_chance(start):
    running, client = await start(quotas=("1/h",), faults={"500": 1.0})
    tokens = [await client.oracle_token() for _ in range(3)]
    assert len(set(tokens)) == 3
    stats = running.stats()
    assert (stats["requests"], stats["refused_by_quota"], stats["faults"]) == (3, 0, {})
    assert stats["most_arrived"]["1/h"] == 0
    assert stats["operations"] == {"GET oracle.token": 3}
    assert await put(client, tokens[0], product(1)) == 500  # by chance
    assert await put(client, tokens[0], product(1)) == 429  # by quota


@pytest.mark.parametrize("fault", ["503", "429-seconds"])
async def test_a_rule_may_name_the_path_of_a_token_call(start, fault):
    rule = Rule(re.compile("/ims/token/v3$"), (fault, "ok"))
    running, client = await start(script=(rule,))
    seen = await client.ask("POST", ADOBE_TOKEN, form(), headers=FORM)
    assert seen.status == int(fault[:3])
    assert set(seen.json) == {"error"}  # the shape of the token call, not of the service
    assert seen.headers.get("retry-after") == ("1" if fault == "429-seconds" else None)
    assert await patch(client, await client.adobe_token()) == 200
    assert next(running.log())["fault"] == fault


async def test_a_path_just_beside_is_no_token_call(start):
    _, client = await start()
    assert (await client.ask("POST", ADOBE_TOKEN + "/", form(), headers=FORM)).status == 404
    assert (await client.ask("GET", ORACLE_TOKEN + "/")).status == 401  # asked for a token first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token_lifetime_s": 0.0}, "token_lifetime_s = 0.0: expected seconds, more than 0"),
        ({"token_lifetime_s": float("inf")}, "expected seconds, more than 0"),
        ({"oracle_auth": "digest"}, "expected bearer or basic or none"),
    ],
)
def test_a_wrong_option_is_named(options, words):
    with pytest.raises(SimulatorError, match=re.escape(words)):
        SimulatorOptions(**options)
