"""A request gets its permit once its connection is open, and is sent at most once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise

import anyio
import pytest

from pipeline.http_client.transport import Transport
from pipeline.http_client.wire import OnReply, send
from pipeline.model import NoReply, Reply, Request
from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter, Permit
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.permits import exchange, permit_for
from tests.http_client.servers import OK, answering, serving
from tests.http_client.test_transport_contract import a_link, a_request
from tests.http_client.tls_files import Authority
from tests.scenarios import virtual_time
from tests.workers import drive

REQUEST = Request("GET", "/a")
REPLY = Reply(200, {}, b"")
NO_CONNECTION = NoReply("connect_failed", "refused", may_have_arrived=False)
SLOW_S = 3.0


def now_s() -> float:
    return asyncio.get_running_loop().time()


class SlowWire:
    """Opens connections, which are numbers, in SLOW_S; replies as `reply` says, or never.

    idle  connections that can be taken; `done` has what else happened, in order
    """

    def __init__(self, reply: Reply | NoReply | Exception | None = REPLY) -> None:
        self.idle: list[int] = []
        self.done: list[str] = []
        self.is_up = True
        self.on_open: Callable[[], object] = lambda: None
        self.on_take: Callable[[], object] = lambda: None
        self.on_reply: Callable[[], object] = lambda: None
        self._reply = reply
        self._opened = 0

    def take(self, most: int) -> list[int]:
        taken, self.idle = self.idle[:most], self.idle[most:]
        if taken:
            self.on_take()
        return taken

    async def connect(self) -> int | NoReply:
        if taken := self.take(1):
            return taken[0]
        await anyio.sleep(SLOW_S)
        if not self.is_up:
            return NO_CONNECTION
        self._opened += 1
        self.on_open()
        return self._opened

    def give_back(self, connection: int) -> None:
        self.idle.append(connection)

    def start(self, connection: int, request: Request, on_reply: OnReply) -> None:
        self.done.append(f"{request.method} on {connection}")
        if self._reply is not None:
            asyncio.get_running_loop().call_later(1.0, self._answer, connection, on_reply)

    def _answer(self, connection: int, on_reply: OnReply) -> None:
        assert self._reply is not None
        self.give_back(connection)
        self.on_reply()
        on_reply(self._reply)

    def abort(self, connection: int) -> None:
        self.done.append(f"abort {connection}")


def limiter_of(*quotas: Quota) -> tuple[RateLimiter, AccountLimiter]:
    shared = RateLimiter(LimiterSettings(quotas=quotas), clock=now_s, utc=now_s)
    return shared, AccountLimiter(shared)


def test_a_permit_counts_once_its_connection_is_open():
    async def main() -> None:
        wire, (shared, limiter) = SlowWire(), limiter_of(Quota(10, 1.0))
        wire.on_open = lambda: wire.done.append(f"{shared.under_way} under way")
        permit = await permit_for(wire, limiter, now_s)
        assert permit is not None
        assert (permit.number, permit.connection, permit.left_s) == (0, 1, pytest.approx(SLOW_S))
        assert shared.under_way == 1
        assert await exchange(wire, permit, REQUEST) is REPLY
        assert shared.under_way == 0
        assert wire.done == ["0 under way", "GET on 1"]

    virtual_time.run(main)


def test_a_request_without_a_connection_needs_no_permit():
    async def main() -> None:
        wire, (_, limiter) = SlowWire(), limiter_of(Quota(1, 3600.0))
        wire.is_up = False
        permit = await permit_for(wire, limiter, now_s)
        assert permit is not None
        assert permit.number is None
        assert await exchange(wire, permit, REQUEST) is NO_CONNECTION
        assert limiter.free(1) == 1
        assert await send(wire, REQUEST) is NO_CONNECTION
        assert wire.done == []

    virtual_time.run(main)


def test_who_waits_for_a_permit_takes_what_connection_is_idle_then():
    async def main() -> None:
        wire, (shared, limiter) = SlowWire(), limiter_of(Quota(1, 60.0))
        shared.on_reply(limiter.take(1), now_s(), REPLY)
        wire.idle = [7]
        permit = await permit_for(wire, limiter, now_s)
        assert permit is not None
        assert permit.connection == 7
        assert permit.left_s == pytest.approx(60.0, abs=0.1)

    virtual_time.run(main)


@pytest.mark.parametrize("others", [1, 3])
def test_a_permit_that_another_took_meanwhile_is_waited_for_again(others):
    async def main() -> None:
        wire, (shared, limiter) = SlowWire(), limiter_of(Quota(1, 10.0))
        permits: list[Permit | None] = []

        async def one() -> None:
            permit = await permit_for(wire, limiter, now_s)
            permits.append(permit)
            assert permit is not None
            await exchange(wire, permit, REQUEST)

        async with anyio.create_task_group() as tasks:
            for _ in range(others + 1):
                tasks.start_soon(one)
        lefts_s = [permit.left_s for permit in permits if permit is not None]
        assert len(lefts_s) == others + 1
        assert all(
            10.0 <= later_s - one_s < 10.0 + 2 * SLOW_S for one_s, later_s in pairwise(lefts_s)
        )
        assert shared.under_way == 0

    virtual_time.run(main)


@pytest.mark.parametrize("ends", [AccountLimiter.close, AccountLimiter.cancel_waits])
def test_who_waits_gets_nothing_once_the_account_ends_its_waits(ends):
    async def main() -> None:
        wire, (_, limiter) = SlowWire(), limiter_of(Quota(1, 3600.0))
        limiter.take(1)
        asyncio.get_running_loop().call_later(5.0, ends, limiter)
        assert await permit_for(wire, limiter, now_s) is None
        assert now_s() == pytest.approx(5.0, abs=0.1)

    virtual_time.run(main)


@pytest.mark.parametrize("ends", [AccountLimiter.close, AccountLimiter.cancel_waits])
def test_a_connection_that_opens_after_the_account_ended_its_waits_sends_nothing(ends):
    async def main() -> None:
        wire, (shared, limiter) = SlowWire(), limiter_of(Quota(10, 1.0))
        wire.on_open = lambda: ends(limiter)
        assert await permit_for(wire, limiter, now_s) is None
        assert (wire.idle, shared.under_way) == ([1], 0)
        is_open = ends is AccountLimiter.cancel_waits
        assert (await permit_for(wire, limiter, now_s) is not None) == is_open

    virtual_time.run(main)


def test_nothing_is_connected_while_the_run_may_not_send():
    async def main() -> None:
        wire, (shared, _) = SlowWire(), limiter_of(Quota(10, 1.0))
        limiter = AccountLimiter(shared, sure_until_s=lambda: 99.0 if now_s() > 20.0 else -1.0)
        wire.on_open = lambda: wire.done.append(f"open at {now_s():.0f}")
        permit = await permit_for(wire, limiter, now_s)
        assert permit is not None
        assert wire.done == ["open at 23"]

    virtual_time.run(main)


def test_who_is_cancelled_in_its_turn_gives_back_what_it_took():
    async def main() -> None:
        wire, (shared, limiter) = SlowWire(), limiter_of(Quota(2, 60.0))
        shared.on_reply(limiter.take(1), now_s(), REPLY)
        shared.on_reply(limiter.take(1), now_s(), REPLY)
        wire.idle = [7]
        waiting = asyncio.create_task(permit_for(wire, limiter, now_s))
        wire.on_take = lambda: asyncio.get_running_loop().call_soon(waiting.cancel)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert now_s() == pytest.approx(60.0, abs=0.1)
        assert (wire.idle, shared.under_way) == ([7], 0)

    virtual_time.run(main)


def test_a_request_that_is_cancelled_is_aborted_unless_its_reply_is_there():
    async def main() -> None:
        wire, (shared, limiter) = SlowWire(reply=None), limiter_of(Quota(10, 1.0))
        permit = await permit_for(wire, limiter, now_s)
        assert permit is not None
        with anyio.move_on_after(2.0):
            await exchange(wire, permit, REQUEST)
        assert wire.done == ["GET on 1", "abort 1"]
        assert shared.under_way == 0
        answered = SlowWire()
        task = asyncio.create_task(send(answered, REQUEST))
        answered.on_reply = lambda: asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert answered.done == ["GET on 1"]

    virtual_time.run(main)


def test_a_bug_in_reading_the_reply_is_raised():
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await send(SlowWire(ZeroDivisionError()), REQUEST)

    virtual_time.run(main)


@pytest.mark.parametrize(
    "quota", [Quota(1, 10.0), Quota(10, 60.0), Quota(1, 10.0, is_burst=True), Quota(1, 3600.0)]
)
async def test_a_slow_connection_costs_no_turn_where_turns_are_rare(tmp_path, quota):
    authority = Authority.made_in(tmp_path)
    tls = authority.server()
    tls.sni_callback = lambda *_: time.sleep(0.03)
    account_limiter = AccountLimiter(drive.limiter_of(quota))
    async with serving(answering(OK), tls=tls) as server:
        link = a_link(server, ca_file=authority.ca_file)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            permit = await permit_for(sender, account_limiter, time.monotonic)
            assert permit is not None
            answer = await exchange(sender, permit, a_request())
    assert isinstance(answer, Reply)
    assert permit.number == 0
    assert len(server.seen) == 1
