from __future__ import annotations

import asyncio
import itertools
import math

import anyio
import pytest

from pipeline.model import NoReply, Reply, Request
from tests.scenarios import virtual_time
from tests.scenarios.link import Link, Sent
from tests.scenarios.plain import send_plain
from tests.scenarios.scenario import Settings
from tests.scenarios.vendor import BEGAN_UTC_S, Behaviour, Course, Outage


def send_at(course: Course, *times_s: float, timeout_s=1.0, seed=0):
    """What came back for requests that left then, and the log of the link."""

    async def main() -> tuple[list[Reply | NoReply], list[Sent]]:
        loop, replies = asyncio.get_running_loop(), {}
        link = Link(course, clock=loop.time, timeout_s=timeout_s, seed=seed)

        async def send(n: int, at_s: float) -> None:
            await anyio.sleep(at_s)
            replies[n] = await link.send(Request("PUT", f"/s{n}"))

        async with anyio.create_task_group() as tasks:
            for n, at_s in enumerate(times_s):
                tasks.start_soon(send, n, at_s)
        return [replies[n] for n in sorted(replies)], link.log

    return virtual_time.run(main)


def test_half_of_the_way_lies_before_the_vendor_and_half_behind():
    (reply,), (sent,) = send_at(Course(Behaviour(way_s=0.2, service_s=0.5)), 1.0)
    assert (sent.left_s, sent.arrived_s, sent.received_s) == pytest.approx((1.0, 1.1, 1.7))
    assert (reply.status, reply.received_s) == (204, pytest.approx(BEGAN_UTC_S + 1.7))
    assert (sent.row, sent.what, sent.status, sent.is_ok) == ("s0", "ok", 204, True)


def test_both_halves_vary():
    course = Course(Behaviour(way_s=0.2, jitter_s=0.2))
    _, log = send_at(course, *range(200))
    there_s = [sent.arrived_s - sent.left_s for sent in log]
    back_s = [sent.received_s - sent.arrived_s for sent in log]
    for way_s in (there_s, back_s):
        assert 0 <= min(way_s) < 0.01
        assert 0.19 < max(way_s) < 0.2001
    assert send_at(course, *range(200)) == send_at(course, *range(200))


@pytest.mark.parametrize(
    ("how", "reply", "received_s"),
    [
        ("503", 503, 5.2),
        ("refused", "connect_failed", 5.2),
        ("silence", "timeout", 6.0),
    ],
)
def test_what_a_client_meets_in_an_outage(how, reply, received_s):
    course = Course(Behaviour(way_s=0.2), outages=[Outage(from_s=4.0, until_s=9.0, how=how)])
    (got,), (sent,) = send_at(course, 5.0)
    assert reply == (got.status if isinstance(got, Reply) else got.reason)
    assert sent.received_s == pytest.approx(received_s)
    assert not sent.is_ok


def test_a_reply_that_comes_too_late_is_none():
    (reply,), (sent,) = send_at(Course(Behaviour(way_s=0.2, service_s=2.0)), 0.0)
    assert (reply.reason, reply.may_have_arrived) == ("timeout", True)
    assert (sent.what, sent.status, sent.received_s) == ("ok", None, 1.0)


@pytest.mark.parametrize(("form", "floor_s"), [("seconds", 3.7), ("date", 4.0)])
def test_a_floor_counts_from_when_it_was_heard_or_is_a_time(form, floor_s):
    behaviour = Behaviour(way_s=0.4, windows=["1/s"], retry_after=form, retry_after_s=2.7)
    _, (_, refused) = send_at(Course(behaviour), 0.0, 0.3)
    assert refused.received_s == pytest.approx(0.7)
    assert refused.floor_s == pytest.approx(floor_s)


# The plain client


def plainly(course: Course, rows: int, lasts_s: float = math.inf, **account):
    """How many rows it gave up, and the log."""
    settings = Settings(**{"quota": ["10/s"], "in_flight": 4, **account})

    async def main() -> tuple[int, list[Sent]]:
        clock = asyncio.get_running_loop().time
        link = Link(course, clock=clock, timeout_s=1.0, seed=0)
        given_up = await send_plain(settings, rows, link.send, lasts_s=lasts_s, clock=clock, seed=0)
        return given_up, link.log

    return virtual_time.run(main)


def test_the_plain_client_sends_each_row_once_at_its_rate():
    given_up, log = plainly(Course(Behaviour()), 50)
    assert given_up == 0
    assert sorted(sent.row for sent in log) == sorted(f"s{n}" for n in range(1, 51))
    assert log[-1].left_s == pytest.approx(4.0, abs=0.1)  # ten at once, the others 0.1 s apart


def test_the_plain_client_tries_five_times_and_pauses_between():
    given_up, log = plainly(Course(Behaviour(one_in=1)), 1)
    assert given_up == 1
    assert len(log) == 5
    pauses_s = [b.left_s - a.received_s for a, b in itertools.pairwise(log)]
    assert all(0 <= s <= most for s, most in zip(pauses_s, [0.5, 1, 2, 4], strict=True))


def test_the_plain_client_waits_as_long_as_it_is_told_in_seconds():
    behaviour = Behaviour(one_in=1, retry_after="seconds", retry_after_s=7)
    _, log = plainly(Course(behaviour), 1)
    assert all(b.left_s - a.received_s >= 7 for a, b in itertools.pairwise(log))


def test_the_plain_client_stops_in_time():
    _, log = plainly(Course(Behaviour()), 1000, lasts_s=5.0)
    assert 50 <= len(log) <= 61
