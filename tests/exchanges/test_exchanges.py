"""Of rows that do not succeed the last exchange is kept: a few, in words, and never a secret."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.exchanges.log import MAX_OF_A_KIND, MAX_REMEMBERED, ExchangeLog
from pipeline.exchanges.text import (
    MAX_BODY_BYTES,
    MAX_REQUEST_CHARS,
    as_curl,
    format_reply,
    format_request,
    mask_with_headers,
    masked,
    shown_request,
)
from pipeline.model import Link, NoReply, Reply, Request, RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.model.quota import parse_quota
from pipeline.model.retry import RetryPolicy
from pipeline.vendors import Account, load_vendors
from tests.workers.drive import ACCOUNT, SILENCE, Script, drive, job
from tests.workers.test_doubt import SHOP, Vendor

CLIENT_ID = "client-4f1d9a"
TOKEN = "token-77aa02"
GATEWAY_KEY = "gateway-9c3e1b"


def adobe(**link: Any) -> Account:
    vendor = load_vendors()["adobe"]
    settings = vendor.settings(
        base_url="https://adobe.example/data/core",
        api="xcore",
        container_id="c1",
        ims_org="ACME@AdobeOrg",
        sandbox_name="prod",
        client_id=SecretStr(CLIENT_ID),
        access_token=SecretStr(TOKEN),
    )
    return Account(
        name="journey",
        vendor=vendor,
        settings=settings,
        link=Link(base_url=settings.base_url, headers={"X-Gateway": GATEWAY_KEY}, **link),
        quotas=(parse_quota("2/s"),),
        is_assumed=True,
        in_flight=1,
        retry=RetryPolicy(),
    )


OFFER = '{"instance_id":"o1","changes":{"status":"draft","/_instance/xdm:name":"it\'s $HOME"}}'


def test_a_request_is_a_command_that_a_shell_takes_and_names_its_secrets_only():
    account = adobe()
    operation = account.vendor.operations[0]
    curl = as_curl(account, shown_request(account, operation, [OFFER]))
    assert curl.startswith(
        "curl -X PATCH https://adobe.example/data/core/xcore/c1/instances/o1 -H "
    )
    assert '-H "x-api-key: $CLIENT_ID" ' in curl
    assert '-H "Authorization: Bearer $TOKEN" ' in curl
    assert curl.endswith(
        """-d '[{"op": "replace", "path": "/_instance/xdm:status", "value": "draft"}, """
        """{"op": "replace", "path": "/_instance/xdm:name", "value": "it'"'"'s $HOME"}]'"""
    )
    read = as_curl(account, shown_request(account, operation, [OFFER], is_read=True))
    assert read.startswith("curl -X GET https://adobe.example/data/core/xcore/c1/instances/o1 ")
    for secret in (CLIENT_ID, TOKEN, GATEWAY_KEY):
        assert secret not in curl + read


@pytest.mark.parametrize("secret", [CLIENT_ID, TOKEN, GATEWAY_KEY])
def test_a_reply_that_repeats_a_secret_does_not_keep_it(secret):
    echo = json.dumps({"headers": {"x": secret}, "deep": f"a {secret} b"}).encode()
    reply = Reply(422, {"x-request-id": f"r-{secret}", "via": secret}, echo)
    text = format_reply(masked(reply, mask_with_headers(adobe())))
    assert secret not in text
    assert text.count("***") == 4
    torn = b"x" * (MAX_BODY_BYTES - 5) + secret.encode() + b"y" * 10
    assert secret[:4].encode() not in masked(Reply(500, {}, torn), mask_with_headers(adobe())).body
    lost = NoReply("broken_reply", f"got {secret}", may_have_arrived=True)
    assert secret not in format_reply(masked(lost, mask_with_headers(adobe())))


def test_what_is_shown_of_a_reply_helps_and_is_bounded():
    headers = {"content-type": "text/html", "set-cookie": "a=b", "Retry-After": "7", "x-foo": "1"}
    text = format_reply(
        masked(Reply(503, headers, b"\x1b[31mno\n\xff" + b"z" * 9_999), mask_with_headers(adobe()))
    )
    head, _, body = text.partition("\n\n")
    assert head.splitlines() == [
        "HTTP 503 Service Unavailable",
        *["content-type: text/html", "Retry-After: 7"],
    ]
    assert body.startswith("\ufffd[31mno\n\ufffd")
    assert body.endswith(f" ... (cut after {MAX_BODY_BYTES} bytes)")
    assert len(body) < MAX_BODY_BYTES + 50
    long = Request("PUT", "/a", json.dumps("x" * 99_999).encode())
    assert len(format_request(adobe(), long, mask_with_headers(adobe()))) < MAX_REQUEST_CHARS + 50


async def kept(jobs: Any, script: Any, **more: Any) -> dict[int, Exchange]:
    found: list[Exchange] = []
    await drive(jobs, script, exchanges=found, **more)
    return {each.row: each for each in found}


async def test_what_did_not_succeed_is_kept_and_nothing_else():
    script = Script({"b": [422], "c": [503, 204], "d": [SILENCE] * 3, "e": [429, 404]})
    found = await kept([job(row, sku) for row, sku in enumerate("abcde", 1)], script)
    assert {row: (each.status, each.error_code) for row, each in found.items()} == {
        2: (Status.REJECTED, "422"),
        4: (Status.UNKNOWN, "timeout"),
        5: (Status.REJECTED, "404"),
    }
    assert found[2].request.startswith("curl -X PUT https://acme.example/b -u ")
    assert found[2].reply == "HTTP 422 Unprocessable Entity\n\n"
    assert found[4].reply == "no reply: timeout: no reply in time; it may have arrived"


async def test_of_rows_that_end_alike_only_the_first_are_kept():
    jobs = [job(row, f"s{row}") for row in range(1, 101)]
    script = Script({f"s{row}": [422 if row % 2 else 404] for row in range(1, 101)})
    found = await kept(jobs, script, fail_fast_after=0)
    assert Counter(each.error_code for each in found.values()) == dict.fromkeys(
        ("422", "404"), MAX_OF_A_KIND
    )


async def test_of_a_row_that_was_read_back_the_attempt_is_kept():
    """The 503 is what the vendor should see; only where none is known, the read."""
    vendor = Vendor((503, True), reads=("cannot tell",))
    found = await kept([job(1, "a", repeatable=False)], vendor, account=SHOP)
    assert found[1].reply.startswith("HTTP 503")
    assert "-X PUT" in found[1].request


def test_rows_that_wait_are_not_all_remembered():
    exchanges = ExchangeLog(ACCOUNT)
    rows = range(1, MAX_REMEMBERED + 51)
    for row in rows:
        exchanges.on_reply("acme.price", {row: job(row, "a").text}, Reply(503, {}, b"no"))
    ended = [
        RowResult(row, "acme.price", "shop", Status.UNKNOWN, error_code=f"{row}") for row in rows
    ]
    kept = exchanges.take(ended)
    assert [each.row for each in kept] == list(rows[50:])
    assert exchanges.take(ended[-1:]) == []  # it is gone with its row
