"""Tokens: fetched once, renewed in time, replaced when they have ended, shown to nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from base64 import b64encode
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from pydantic import SecretStr

from pipeline.http_client.connection import HttpConnection
from pipeline.http_client.wire import send
from pipeline.model import NoReply, Reply, Request, Status
from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.sign_in.renewal import After401, after_401, renewed_after_s
from pipeline.sign_in.tokens import signed_in
from pipeline.vendors import Account, Basic, Bearer, Token, TokenCall
from pipeline.vendors.kit.classify import json_object
from tests.http_client.servers import OK, Seen, Server, Wire, refused_port, reply, serving
from tests.http_client.tls_files import Authority
from tests.waiting import until_async
from tests.workers.drive import ACCOUNT, ACME, drive, job, limiter_of

SECRET = "top/s3cret+key="  # what a URL, a form and PHP's JSON write differently
AT_ONCE = ("100000/s",)
ROW = Request("PUT", "/x", b"{}", {"Content-Type": "application/json"})
BUSY = reply(503, body=b"busy")


@dataclass
class Vendor:
    """An API and its token server, at one address. What stands in `first` is answered first."""

    lifetime_s: float | None = None
    first: list[bytes] = field(default_factory=list)
    granted: int = 0
    good: set[str] = field(default_factory=set)
    hold: asyncio.Event | None = None  # an API answer waits for it
    hold_token: asyncio.Event | None = None
    token_calls: list[Seen] = field(default_factory=list)
    api_calls: list[Seen] = field(default_factory=list)

    async def talk(self, wire: Wire) -> None:
        while True:
            seen = await wire.request()
            is_token_call = " /token" in seen.line
            (self.token_calls if is_token_call else self.api_calls).append(seen)
            held = self.hold_token if is_token_call else self.hold
            if held is not None:
                await held.wait()
            await wire.say(self._token() if is_token_call else self._api(seen))

    def _token(self) -> bytes:
        if self.first:
            return self.first.pop(0)
        self.granted += 1
        self.good = {f"token-{self.granted}"}  # the one before ends
        said = {"access_token": f"token-{self.granted}", "expires_in": self.lifetime_s}
        return reply(200, body=json.dumps(said).encode())

    def _api(self, seen: Seen) -> bytes:
        carried = seen.headers.get("authorization", "")
        is_good = carried.removeprefix("Bearer ") in self.good and "/refused" not in seen.line
        return reply(200 if is_good else 401, body=json.dumps({"you said": carried}).encode())

    def revoke(self) -> None:
        self.good = set()


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


def read(got: Reply) -> Token | None:
    said = json_object(got.body)
    if "access_token" not in said:
        return None
    return Token(SecretStr(said["access_token"]), said.get("expires_in"))


def call_to(url: str, **more) -> TokenCall:
    form = urlencode({"client_id": "me", "client_secret": SECRET}).encode()
    own = {
        "base_url": url,
        "request": Request("POST", "/token", form),
        "read": read,
        "secrets": (SecretStr(SECRET),),
        "quota": AT_ONCE,
    }
    return TokenCall(**(own | more))


def account_at(url: str, signs: object, **link) -> Account:
    return replace(
        ACCOUNT,
        vendor=replace(ACME, authenticate=lambda _s: signs),
        link=replace(ACCOUNT.link, base_url=url, timeout_s=30.0, **link),
        in_flight=16,
    )


@asynccontextmanager
async def sending(
    vendor: Vendor,
    *,
    clock: Clock | None = None,
    max_wait_s=900.0,
    while_open=nullcontext,
    announce=lambda _words: None,
):
    """A server for `vendor`, and the way to send to it."""
    clock = clock or Clock()
    async with serving(vendor.talk) as server:
        account = replace(account_at(server.url, call_to(server.url)), max_wait_s=max_wait_s)
        async with signed_in(
            account,
            while_open=while_open,
            announce=announce,
            clock=clock,
            sleep=clock.sleep,
            jitter=lambda: 0.5,
        ) as wire:
            yield wire


def carried(calls: list[Seen]) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in calls]


# Decisions


@pytest.mark.parametrize(
    ("carried", "newest", "was_accepted", "tokens", "act"),
    [
        (1, 1, True, 1, After401.SIGN_IN),  # good a moment ago: it has ended
        (1, 1, False, 1, After401.FINAL),  # never good: the credentials may do nothing here
        (1, 2, True, 1, After401.SEND_AGAIN),  # somebody else was faster
        (1, 2, False, 1, After401.SEND_AGAIN),  # nobody knows; the newer one will tell
        (2, 2, False, 1, After401.FINAL),  # a second one that is refused: no third
        (2, 2, True, 2, After401.SIGN_IN),  # twice may be chance
        (3, 3, True, 3, After401.FINAL),  # others pass with it: it is about this row
        (2, 3, True, 3, After401.FINAL),
    ],
)
def test_what_a_401_is_about(carried, newest, was_accepted, tokens, act):
    assert after_401(carried, newest, was_accepted=was_accepted, tokens=tokens) is act


@pytest.mark.parametrize(
    ("lifetime_s", "after_s"),
    [
        (86_399.0, 86_099.0),  # a day: five minutes ahead
        (3_600.0, 3_300.0),
        (3_000.0, 2_700.0),  # where both rules meet
        (60.0, 54.0),  # a tenth of a short one
        (math.inf, math.inf),
    ],
)
def test_a_token_is_renewed_ahead_of_its_end(lifetime_s, after_s):
    assert renewed_after_s(lifetime_s) == pytest.approx(after_s)


# One token for all


async def test_requests_that_come_together_share_one_token_call():
    vendor = Vendor()
    async with sending(vendor) as wire:
        got = await asyncio.gather(*(send(wire, ROW) for _ in range(50)))
    assert {each.status for each in got} == {200}
    assert len(vendor.token_calls) == 1
    assert carried(vendor.api_calls) == ["token-1"] * 50


async def test_no_token_is_fetched_before_a_request_needs_one():
    vendor = Vendor()
    async with sending(vendor):
        await asyncio.sleep(0.01)
    assert vendor.token_calls == []


@pytest.mark.parametrize(
    ("lifetime_s", "passes_s", "calls"),
    [
        (100.0, 89.9, 1),
        (100.0, 90.0, 2),  # ahead of its end, so that nothing arrives with a dead one
        (100.0, 500.0, 2),
        (None, 1e9, 1),  # without a lifetime only a refusal ends it
        (0.0, 1e9, 1),  # what can be no lifetime is none
        (-5.0, 1e9, 1),
    ],
)
async def test_a_token_is_renewed_by_time(lifetime_s, passes_s, calls):
    vendor, clock = Vendor(lifetime_s), Clock()
    async with sending(vendor, clock=clock) as wire:
        assert (await send(wire, ROW)).status == 200
        clock.now_s += passes_s
        got = await asyncio.gather(*(send(wire, ROW) for _ in range(10)))
        # while one asks early the others go on with what they have: here, where a new token ends
        # the old one, they stand in line again
        lost = [each for each in got if isinstance(each, NoReply)]
        assert all(each.lost_turn for each in lost)
        got = [await send(wire, ROW) for _ in lost]
    assert {each.status for each in got} <= {200}
    assert len(vendor.token_calls) == calls
    assert carried(vendor.api_calls)[-1] == f"token-{calls}"


async def test_the_lifetime_counts_from_when_the_call_was_sent():
    vendor, clock = Vendor(100.0, hold_token=asyncio.Event()), Clock()
    async with sending(vendor, clock=clock) as wire:
        waiting = asyncio.create_task(send(wire, ROW))
        await until_async(lambda: len(vendor.token_calls) == 1)
        clock.now_s += 50.0  # the token server takes its time
        vendor.hold_token.set()
        await waiting
        clock.now_s += 40.0
        await send(wire, ROW)
    assert len(vendor.token_calls) == 2


async def test_a_renewal_that_fails_leaves_the_token_that_still_holds():
    vendor, clock = Vendor(3600.0), Clock()
    async with sending(vendor, clock=clock) as wire:
        await send(wire, ROW)
        clock.now_s += 3400.0  # due, and good for 200 s more
        vendor.first = [BUSY] * 3
        assert (await send(wire, ROW)).status == 200
        assert (await send(wire, ROW)).status == 200
        assert len(vendor.token_calls) == 4  # one round; the next when it has ended
        clock.now_s += 200.0
        assert (await send(wire, ROW)).status == 200
    assert carried(vendor.api_calls) == ["token-1", "token-1", "token-1", "token-2"]


# A token that ends early


async def test_a_token_that_ended_is_replaced_once_however_many_were_under_way():
    vendor = Vendor()
    async with sending(vendor) as wire:
        await send(wire, ROW)
        vendor.hold = asyncio.Event()
        under_way = [asyncio.create_task(send(wire, ROW)) for _ in range(16)]
        await until_async(lambda: len(vendor.api_calls) == 17)
        vendor.revoke()
        vendor.hold.set()
        lost = await asyncio.gather(*under_way)
        assert {(each.reason, each.lost_turn, each.may_have_arrived) for each in lost} == {
            ("signed_out", True, False)
        }
        assert len(vendor.api_calls) == 17  # nothing is sent twice by itself
        again = await asyncio.gather(*(send(wire, ROW) for _ in range(16)))
    assert {each.status for each in again} == {200}
    assert len(vendor.token_calls) == 2


async def test_a_401_for_an_older_token_leaves_the_newer_one_alone():
    vendor, clock = Vendor(100.0), Clock()
    async with sending(vendor, clock=clock) as wire:
        await send(wire, ROW)
        vendor.hold = held = asyncio.Event()
        slow = asyncio.create_task(send(wire, ROW))
        await until_async(lambda: len(vendor.api_calls) == 2)
        vendor.hold = None
        clock.now_s += 95.0
        assert (await send(wire, ROW)).status == 200  # with the second token, which ends the first
        held.set()
        assert (await slow).lost_turn
        assert (await send(wire, ROW)).status == 200
    assert len(vendor.token_calls) == 2


async def test_credentials_that_may_do_nothing_here_cost_one_request():
    vendor = Vendor()
    async with sending(vendor) as wire:
        vendor.first = [reply(200, body=b'{"access_token": "of-another-project"}')]
        got = await send(wire, ROW)
    assert isinstance(got, Reply)
    assert got.status == 401
    assert (len(vendor.token_calls), len(vendor.api_calls)) == (1, 1)


async def test_a_row_that_is_refused_under_good_tokens_is_refused_in_the_end():
    vendor = Vendor()
    refused = ROW._replace(path="/refused")
    got = []
    async with sending(vendor) as wire:
        for _ in range(3):
            assert (await send(wire, ROW)).status == 200
            got.append(await send(wire, refused))
    assert [each.lost_turn for each in got[:2]] == [True, True]
    assert got[2].status == 401
    assert len(vendor.token_calls) == 3


async def test_a_row_that_passes_after_all_starts_anew():
    vendor = Vendor()
    async with sending(vendor) as wire:
        for _ in range(6):
            assert (await send(wire, ROW)).status == 200
            vendor.revoke()
            assert (await send(wire, ROW)).lost_turn


async def test_rows_do_not_notice_that_tokens_expire():
    vendor = Vendor()

    class Tiring:
        """Ends the token now and then, under the feet of what is on its way."""

        def __init__(self, send) -> None:
            self._send = send
            self._next = 20

        async def send(self, request: Request) -> Reply | NoReply:
            if len(vendor.api_calls) >= self._next:
                self._next += 40
                vendor.revoke()
            got = await self._send(request)
            is_ok = isinstance(got, Reply) and got.status == 200
            return Reply(204, {}, b"") if is_ok else got

    async with serving(vendor.talk) as server:
        account = account_at(server.url, call_to(server.url))
        async with signed_in(account) as wire:
            jobs = [job(row, f"sku-{row}") for row in range(1, 121)]
            results, sender = await drive(jobs, Tiring(partial(send, wire)), account=account)
    assert sender.stopped is None
    assert {(each.status, each.attempts) for each in results} == {(Status.UPDATED, 1)}
    assert len(results) == 120
    assert len(vendor.token_calls) >= 2


# A token ends while a request waits for its permit


async def test_tokens_that_expire_before_each_permit_are_not_fetched_forever():
    vendor, clock = Vendor(1.0), Clock()
    async with sending(vendor, clock=clock) as wire:
        for _ in range(5):
            connection = await wire.connect()
            clock.now_s += 2.0
            wire.give_back(connection)
            assert wire.take(1) == []
        lost = await wire.connect()
    assert (lost.reason, lost.is_permanent) == ("sign_in_failed", True)
    assert len(vendor.token_calls) == 5


async def test_no_connection_is_taken_once_the_token_has_ended():
    vendor = Vendor()
    async with sending(vendor) as wire:
        assert (await send(wire, ROW)).status == 200
        taken = wire.take(1)
        wire.give_back(*taken)
        vendor.revoke()
        assert (await send(wire, ROW)).reason == "signed_out"
        assert wire.take(1) == []
        assert (await send(wire, ROW)).status == 200
    assert len(taken) == 1
    assert carried(vendor.api_calls) == ["token-1", "token-1", "token-2"]


async def test_a_token_that_expires_while_a_connection_is_awaited_is_not_used():
    vendor, clock = Vendor(100.0), Clock()
    async with sending(vendor, clock=clock) as wire:
        taken = [await wire.connect() for _ in range(16)]  # as many as there may be
        waiting = asyncio.create_task(wire.connect())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        clock.now_s += 101.0
        wire.give_back(taken.pop())
        assert (await waiting).reason == "signed_out"
        assert isinstance(await wire.connect(), HttpConnection)
    assert len(vendor.token_calls) == 2


# Cancelled


async def test_a_waiter_that_is_cancelled_takes_nothing_from_the_others():
    vendor = Vendor(hold_token=asyncio.Event())
    async with sending(vendor) as wire:
        asking, waiting, other = (asyncio.create_task(send(wire, ROW)) for _ in range(3))
        await until_async(lambda: len(vendor.token_calls) == 1)
        waiting.cancel()
        await asyncio.sleep(0.01)
        vendor.hold_token.set()
        assert {(await asking).status, (await other).status} == {200}
        assert waiting.cancelled()
    assert len(vendor.token_calls) == 1


async def test_if_the_request_that_fetches_is_cancelled_the_next_one_fetches():
    vendor = Vendor(hold_token=asyncio.Event())
    async with sending(vendor) as wire:
        asking, waiting = (asyncio.create_task(send(wire, ROW)) for _ in range(2))
        await until_async(lambda: len(vendor.token_calls) == 1)
        asking.cancel()
        await until_async(lambda: len(vendor.token_calls) == 2)
        vendor.hold_token.set()
        assert (await waiting).status == 200
        with pytest.raises(asyncio.CancelledError):
            await asking


# No token


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (reply(400, body=b'{"error": "invalid_client"}'), "HTTP 400 Bad Request: the reply reads"),
        (reply(401), "HTTP 401 Unauthorized"),
        (reply(403), "HTTP 403"),
        (reply(404), "HTTP 404"),
        (reply(302, "Location: https://login.example/"), "HTTP 302 Found to"),
        (reply(204), "HTTP 204, a reply without a usable access token"),
        (reply(200, body=b"{}"), "HTTP 200, a reply without a usable access token"),
        (reply(200, body=b"<html>log in</html>"), "a page of HTML or XML without"),
        (reply(200, body=b'{"access_token": ""}'), "without a usable access token"),
        (reply(200, body=b'{"access_token": "a\\r\\nX-Evil: 1"}'), "without a usable access token"),
        (
            reply(200, body=b'{"access_token": "t"' + b" " * 1_100_000 + b"}"),
            "without a usable access",
        ),
    ],
)
async def test_credentials_that_are_refused_are_tried_once(said, words):
    vendor = Vendor(first=[said])
    async with sending(vendor) as wire:
        lost = await asyncio.gather(*(send(wire, ROW) for _ in range(5)))
        lost.append(await send(wire, ROW))
    assert len(set(lost)) == 1
    assert (lost[0].reason, lost[0].may_have_arrived) == ("sign_in_refused", False)
    assert lost[0].is_permanent
    assert not lost[0].lost_turn
    assert words in lost[0].detail
    assert (len(vendor.token_calls), vendor.api_calls) == (1, [])


@pytest.mark.parametrize(
    ("first", "waits_s"),
    [
        ([BUSY, BUSY], [0.0005, 0.0005]),  # half of each ceiling, by the account's own patience
        ([reply(408)], [0.0005]),
        ([reply(425)], [0.0005]),
    ],
)
async def test_a_token_server_that_is_busy_is_asked_again(first, waits_s):
    vendor, clock = Vendor(first=list(first)), Clock()
    async with sending(vendor, clock=clock) as wire:
        got = await asyncio.gather(*(send(wire, ROW) for _ in range(5)))
    assert {each.status for each in got} == {200}
    assert len(vendor.token_calls) == len(first) + 1
    assert [each for each in clock.slept if each in waits_s] == waits_s


@pytest.mark.parametrize("seconds", [7, 900])
async def test_a_pause_of_the_token_server_is_kept_and_announced(seconds):
    vendor, clock = Vendor(first=[reply(429, f"Retry-After: {seconds}")]), Clock()
    announced: list[str] = []
    async with sending(vendor, clock=clock, announce=announced.append) as wire:
        got = await send(wire, ROW)
    assert got.status == 200
    assert seconds <= sum(clock.slept) < seconds + 2
    (words,) = announced
    assert words.startswith(f"{ACCOUNT.name}: waiting {seconds} s for a token from ")


async def test_pauses_of_the_token_server_are_bounded_all_together():
    vendor, clock = Vendor(first=[reply(429, "Retry-After: 40")] * 5), Clock()
    async with sending(vendor, clock=clock, max_wait_s=60.0) as wire:
        lost = await send(wire, ROW)
    assert "it asks for a pause of 80 s, longer than max_wait_s = 60" in lost.detail
    assert sum(clock.slept) <= 60


async def test_a_token_server_that_stays_busy_ends_the_account_after_one_round():
    vendor = Vendor(first=[BUSY] * 100)
    async with sending(vendor) as wire:
        lost = await asyncio.gather(*(send(wire, ROW) for _ in range(8)))
    assert {(each.reason, each.is_permanent, each.may_have_arrived) for each in lost} == {
        ("sign_in_failed", True, False)
    }
    assert "after 3 attempts: HTTP 503" in lost[0].detail
    assert len(vendor.token_calls) == ACCOUNT.retry.max_attempts == 3


async def test_a_longer_pause_than_the_account_waits_ends_it_at_once():
    vendor, clock = Vendor(first=[reply(429, "Retry-After: 61")]), Clock()
    async with sending(vendor, clock=clock, max_wait_s=60.0) as wire:
        lost = await send(wire, ROW)
    assert (lost.reason, lost.is_permanent) == ("sign_in_failed", True)
    assert "a pause of 61 s, longer than max_wait_s = 60" in lost.detail
    assert (len(vendor.token_calls), clock.slept) == (1, [])


@pytest.mark.parametrize(
    ("scheme", "attempts", "words"),
    [
        ("http", 3, "cannot connect to"),  # it may come up
        ("https", 1, "is not trusted"),  # it will not be trusted the next time either
    ],
)
async def test_a_token_server_that_is_not_reached(tmp_path, scheme, attempts, words):
    authority = Authority.made_in(tmp_path / "authority")

    async def talk(wire: Wire) -> None:
        await wire.request()

    async with serving(talk, tls=authority.server()) as server:
        port = server.port if scheme == "https" else refused_port()
        url = f"{scheme}://127.0.0.1:{port}"
        account = account_at("http://127.0.0.1:1", call_to(url))
        clock = Clock()
        async with signed_in(account, clock=clock, sleep=clock.sleep, jitter=lambda: 0.5) as wire:
            lost = await send(wire, ROW)
    assert (lost.reason, lost.is_permanent, lost.may_have_arrived) == (
        "sign_in_failed",
        True,
        False,
    )
    assert f"after {attempts} attempt" in lost.detail
    assert words in lost.detail


# Secrets


def _echo(seen: Seen) -> str:
    """What a debug page makes of a request."""
    as_json = json.dumps({"client_secret": SECRET}).replace("/", r"\/")
    return f"{SECRET} {as_json} {seen.body.decode()} {seen.head.decode()}"


@pytest.mark.parametrize("status", [400, 401, 500, 302, 200])
@pytest.mark.parametrize("basic", [None, Basic("me", SecretStr(SECRET))])
async def test_no_secret_comes_back_in_any_text(caplog, basic, status):
    caplog.set_level(logging.DEBUG)

    async def talk(wire: Wire) -> None:
        while True:
            echo = _echo(await wire.request()).replace("\r\n", " ")
            await wire.say(reply(status, f"Location: /?{echo}"[:2000], body=echo.encode()))

    async with serving(talk) as server:
        account = account_at(server.url, call_to(server.url, basic=basic))
        clock = Clock()
        async with signed_in(account, clock=clock, sleep=clock.sleep, jitter=lambda: 0.5) as wire:
            lost = await send(wire, ROW)
            texts = [repr(lost), repr(wire), repr(vars(wire)), caplog.text]
    pair = b64encode(f"me:{SECRET}".encode()).decode()
    form = urlencode({"": SECRET})[1:]
    assert lost.is_permanent
    for text in texts:
        for secret in (SECRET, form, form.lower(), pair, "s3cret"):
            assert secret not in text


async def test_the_token_itself_is_hidden_in_replies_and_held_nowhere_else():
    vendor = Vendor()
    async with sending(vendor) as wire:
        first = await send(wire, ROW)
        held = wire
        assert "token-1" not in repr(held) + repr(vars(held)) + repr(held._held)
        vendor.revoke()
        await send(wire, ROW)
        second = await send(wire, ROW)
    assert vendor.granted == 2
    assert (first.body, second.body) == tuple(
        f'{{"you said": "Bearer token-{serial}"}}'.encode() for serial in (1, 2)
    )
    for each in (first, second):
        assert each.hide(each.body.decode()) == '{"you said": "Bearer ***"}'


@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_an_account_s_headers_go_to_its_own_host_only(is_elsewhere):
    vendor = Vendor()
    async with serving(vendor.talk) as here, serving(vendor.talk) as elsewhere:
        tokens: Server = elsewhere if is_elsewhere else here
        signs = call_to(tokens.url, basic=Basic("me", SecretStr("pw")))
        account = account_at(f"{here.url}/api", signs, headers={"X-Gateway-Key": "hush"})
        async with signed_in(account) as wire:
            assert (await send(wire, ROW)).status == 200
    (asked,), (sent,) = vendor.token_calls, vendor.api_calls
    assert ("x-gateway-key" in asked.headers) is not is_elsewhere
    assert sent.headers["x-gateway-key"] == "hush"
    assert asked.headers["authorization"] == "Basic bWU6cHc="
    assert asked.line == "POST /token HTTP/1.1"


# Without a token call


@pytest.mark.parametrize(
    ("signs", "header"),
    [
        (Basic("me", SecretStr("pw")), "Basic bWU6cHc="),
        (Bearer(SecretStr("ready-made")), "Bearer ready-made"),
        (None, None),
    ],
)
async def test_what_needs_no_call_is_sent_as_it_is(signs, header):
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(OK)

    async with (
        serving(talk) as server,
        signed_in(account_at(server.url, signs)) as wire,
    ):
        assert (await send(wire, ROW)).status == 200
    assert server.seen[0].headers.get("authorization") == header


async def test_a_ready_token_that_is_refused_is_no_business_of_ours():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(reply(401))

    async with serving(talk) as server:
        account = account_at(server.url, Bearer(SecretStr("ended")))
        async with signed_in(account) as wire:
            assert (await send(wire, ROW)).status == 401


async def test_a_stop_while_signing_in_sends_nothing_and_does_not_wait():
    """The token server accepts and never answers; the run stops: the request was never sent."""
    vendor = Vendor(hold_token=asyncio.Event())
    account_limiter = AccountLimiter(limiter_of(Quota(100, 1.0)))
    async with sending(vendor, while_open=account_limiter.while_open) as wire:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                got: list[Any] = []

                async def one() -> None:
                    got.append(await send(wire, ROW))

                tasks.start_soon(one)
                await anyio.sleep(0.1)
                account_limiter.close()
    assert [(each.lost_turn, each.may_have_arrived) for each in got] == [(True, False)]
    assert vendor.api_calls == []
