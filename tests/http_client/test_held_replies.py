"""A reply too many makes no row `updated`: real connections, and a server that counts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from pipeline.http_client.held_replies import GRAIN_S, LINGER_S, HeldReplies, when_certain
from pipeline.http_client.transport import Transport
from pipeline.model import (
    Link,
    NoReply,
    Reply,
    ReplyStanding,
    Request,
    RowResult,
    Status,
)
from pipeline.model.quota import Quota
from pipeline.workers.attempts import Attempts
from tests.http_client.servers import NO_CONTENT, Wire, reply, serving
from tests.scenarios import virtual_time
from tests.workers.drive import ACCOUNT, Script, drive, job, limiter_of, with_retry

REFUSED = reply(422, body=b"{}")


class Proxy:
    """Of each connection the first request is applied, and answered twice; the others are refused.

    delay_s  between the two replies
    answers  by path, in order
    """

    def __init__(self, delay_s: float, connections: int = 1_000) -> None:
        self._delay_s = delay_s
        self._spoilt = connections
        self.answers: defaultdict[str, list[int]] = defaultdict(list)

    async def talk(self, wire: Wire) -> None:
        for number in range(1_000):
            path = (await wire.request()).line.split(" ")[1]
            is_desynchronized = wire.number <= self._spoilt
            status = 422 if is_desynchronized and number else 204
            self.answers[path].append(status)
            await wire.say(REFUSED if status == 422 else NO_CONTENT)
            if is_desynchronized and not number:
                await asyncio.sleep(self._delay_s)
                await wire.say(NO_CONTENT)


async def through(proxy: Proxy, rows: int) -> list:
    async with serving(proxy.talk) as server:
        link = Link(base_url=server.url, timeout_s=30.0)
        async with Transport(link, authorization=None, in_flight=1) as transport:
            jobs = [job(row, f"s{row}") for row in range(1, rows + 1)]
            account = with_retry(max_attempts=3)
            results, _ = await drive(jobs, transport, account=account, fail_fast_after=0)
    return results


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.003, 0.010])
async def test_no_row_is_updated_by_a_reply_too_many(delay_s):
    proxy = Proxy(delay_s)
    for result in await through(proxy, 20):
        if result.status is Status.UPDATED:
            assert 204 in proxy.answers[f"/s{result.row}"]


async def test_a_row_whose_reply_was_doubted_is_sent_again_and_no_other():
    proxy = Proxy(0.0, connections=1)  # no timer of its own, which could be late together with ours
    results = await through(proxy, 1)
    assert [(each.status, each.attempts) for each in results] == [(Status.UPDATED, 2)]
    assert proxy.answers == {"/s1": [204, 204]}


async def test_nobody_is_held_where_nothing_more_can_become_known():
    held = HeldReplies(lambda: 0.0)
    assert await when_certain(Reply(200, {}, b""), "peer") == Reply(200, {}, b"")
    decided: list[int] = []
    for number, at_s in enumerate((2.0, 1.0, 3.0)):
        held.hold(at_s, lambda number=number: decided.append(number))
    held.release(until_s=2.0)
    assert decided == [1, 0]
    held.release()
    assert decided == [1, 0, 2]


def test_decisions_are_made_in_few_rounds_and_none_before_its_time():
    async def main() -> list[tuple[float, float]]:
        loop, made = asyncio.get_running_loop(), list[tuple[float, float]]()
        held = HeldReplies(loop.time)

        def hold(at_s: float) -> None:
            held.hold(at_s, lambda: made.append((at_s, round(loop.time(), 4))))

        hold(0.500)
        hold(0.100)  # sooner than the one before
        for number in range(20):
            hold(0.200 + number / 1000)
        await asyncio.sleep(0.15)
        hold(0.160)
        await asyncio.sleep(1.0)
        assert len(held) == 0
        return made

    made = virtual_time.run(main)
    assert len(made) == 23
    assert all(at_s - 1e-4 <= now_s <= at_s + 0.017 for at_s, now_s in made), made
    assert len({now_s for _, now_s in made}) <= 7


@pytest.mark.parametrize(
    ("may_linger", "is_urgent", "at_most_s"),
    [(True, False, LINGER_S), (True, True, GRAIN_S), (False, False, GRAIN_S)],
)
def test_a_decision_lingers_only_if_it_is_not_urgent(may_linger, is_urgent, at_most_s):
    async def main() -> list[float]:
        held, made = HeldReplies(asyncio.get_running_loop().time), list[float]()
        held.may_linger = may_linger
        for number in range(100):
            at_s = asyncio.get_running_loop().time() + 0.025
            held.hold(
                at_s,
                lambda at_s=at_s: made.append(asyncio.get_running_loop().time() - at_s),
                is_urgent=is_urgent or number == 50,
            )
            await asyncio.sleep(0.001)
        await asyncio.sleep(1.0)
        return made

    late_s = virtual_time.run(main)
    assert len(late_s) == 100
    assert at_most_s / 2 < max(late_s) <= at_most_s + 0.002
    assert min(late_s) >= -1e-6
    assert late_s[50] <= GRAIN_S + 0.002  # one that is urgent waits for no other


def test_a_reply_too_many_that_arrives_as_late_as_the_decision_is_read_before_it():
    async def main() -> list[str]:
        loop, seen = asyncio.get_running_loop(), list[str]()
        held = HeldReplies(loop.time)
        held.hold(0.1, lambda: seen.append("decided"))
        loop.call_at(0.1, lambda: loop.call_soon(seen.append, "read"))
        await asyncio.sleep(0.2)
        return seen

    assert virtual_time.run(main) == ["read", "decided"]


async def test_an_error_of_a_decision_goes_to_who_guards_and_the_others_are_made_at_the_end():
    held, errors, decided = HeldReplies(asyncio.get_running_loop().time), [], []

    def guarded(act, *given) -> None:
        try:
            act(*given)
        except ZeroDivisionError as error:
            errors.append(error)

    held.guarded = guarded
    held.hold(0.0, lambda: 1 / 0)
    held.hold(1e9, lambda: decided.append(1))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if errors:
            break
    assert len(errors) == 1
    assert decided == []
    held.release()
    assert decided == [1]


async def test_an_error_of_a_decision_ends_the_sender(monkeypatch):
    def broken(*_given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Attempts, "_decide", broken)
    async with asyncio.timeout(20):
        with pytest.raises(ExceptionGroup) as raised:
            await through(Proxy(0.0, connections=0), 1)
    assert raised.value.subgroup(ZeroDivisionError) is not None


async def test_a_read_is_believed_once_its_connection_stayed_quiet():
    standing = ReplyStanding()
    came = Reply(200, {}, b"{}", standing=standing)
    assert await when_certain(came, "peer:1") == came
    asyncio.get_running_loop().call_later(0.001, setattr, standing, "is_doubtful", True)
    lost = await when_certain(came, "peer:1")
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("surplus_reply", True)
    assert "peer:1" in lost.detail


@pytest.mark.parametrize(("repeatable", "lingers"), [(True, True), (False, False)])
def test_a_row_that_must_not_be_sent_twice_never_lingers(repeatable, lingers):
    """A kill would leave it in doubt."""
    replied_s, ended_s = list[float](), list[float]()

    class Uncertain(Script):
        async def send(self, request: Request) -> Reply | NoReply:
            came = await super().send(request)
            assert isinstance(came, Reply)
            replied_s.append(anyio.current_time())
            return came._replace(standing=ReplyStanding())

    async def main() -> None:
        await drive(
            [job(row, f"s{row}", repeatable=repeatable) for row in range(1, 301)],
            Uncertain(),
            batch_rows=300,
            limiter=limiter_of(Quota(500, 1.0)),
            fail_fast_after=0,
            on_end=lambda _status: ended_s.append(anyio.current_time()),
        )

    virtual_time.run(main)
    late_s = [ended - replied for replied, ended in zip(replied_s, ended_s, strict=True)]
    assert len(late_s) == 300
    assert (max(late_s) > 0.04) is lingers, max(late_s)
    assert late_s[-1] < 0.04  # nothing else is to be sent: the run ends once it is decided


def test_at_a_quick_quota_rows_are_claimed_and_recorded_together():
    """Some commits a second, not one for each few rows: each costs as much as sending some."""
    commits: list[tuple[int, int]] = []

    class Uncertain(Script):
        async def send(self, request: Request) -> Reply | NoReply:
            await anyio.sleep(0.010)
            came = await super().send(request)
            assert isinstance(came, Reply)
            return came._replace(standing=ReplyStanding())

    def record(claims: Sequence[int], results: Sequence[RowResult], *_more: object) -> None:
        commits.append((len(claims), len(results)))

    async def main() -> None:
        await drive(
            [job(row, f"s{row}") for row in range(1, 1501)],
            Uncertain(),
            account=replace(ACCOUNT, in_flight=64),
            batch_rows=1500,
            limiter=limiter_of(Quota(500, 1.0)),
            record_with=record,
        )

    virtual_time.run(main)
    assert sum(claimed for claimed, _ in commits) == 1500
    assert sum(ended for _, ended in commits) == 1500
    assert max(claimed for claimed, _ in commits) <= 512
    assert len(commits) < 40, commits  # in 3 s
