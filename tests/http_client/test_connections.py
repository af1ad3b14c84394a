"""What one connection carries, and when another is opened, against servers that speak bytes."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from typing import Any

import pytest

from pipeline.http_client import connections
from pipeline.http_client.backoff import FIRST_S, MAX_S, REST_S, ConnectBackoff, ReuseRest
from pipeline.http_client.connection import PIECE_BYTES, HttpConnection, Received
from pipeline.http_client.connections import USER_TIMEOUT, socket_maker
from pipeline.http_client.transport import Transport
from pipeline.model import Link, NoReply, Reply, Request
from tests.http_client.servers import (
    NO_CONTENT,
    OK,
    Wire,
    answering,
    proxying,
    refused_port,
    reply,
    serving,
)
from tests.http_client.test_transport_contract import a_link, a_request, talking
from tests.http_client.tls_files import Authority
from tests.waiting import until_async

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def authority(tmp_path):
    return Authority.made_in(tmp_path / "authority")


# One request


class Recorder(asyncio.Transport):
    """A transport that keeps each write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_aborted = False
        self.end, self._other = socket.socketpair()

    def get_extra_info(self, name, default=None):
        return self.end if name == "socket" else default

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def get_write_buffer_size(self):
        return 0

    def set_protocol(self, protocol):
        self.protocol = protocol

    def is_closing(self):
        return self.is_aborted

    def write(self, data):
        self.writes.append(bytes(data))

    def abort(self):
        self.is_aborted = True

    def let_go(self) -> None:
        self.end.close()
        self._other.close()


def receive(connection: HttpConnection, data: bytes) -> None:
    """Bytes arrive, as the event loop hands them over."""
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


async def exchange(
    connection: HttpConnection, head: bytes, body: bytes, until_s: float
) -> Received:
    """Send a request and wait for its reply; if cancelled, give the request up."""
    came: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    connection.start(head, body, until_s, lambda got: None if came.done() else came.set_result(got))
    try:
        return await came
    except BaseException:
        connection.abandon()
        raise


@pytest.fixture
def recorder():
    made = Recorder()
    yield made
    made.let_go()


async def test_head_and_body_leave_in_one_write(recorder):
    connection = HttpConnection(recorder, max_body_bytes=1000, on_end=lambda _error: None)
    until_s = asyncio.get_running_loop().time() + 5
    for size in (0, 1, PIECE_BYTES):
        task = asyncio.create_task(exchange(connection, b"HEAD", b"x" * size, until_s))
        await asyncio.sleep(0)
        receive(connection, OK)
        assert (await task).status == 200
        assert recorder.writes.pop() == b"HEAD" + b"x" * size
        assert recorder.writes == []


async def test_a_large_body_follows_as_it_is_taken_and_no_further_once_it_is_over(recorder):
    connection = HttpConnection(recorder, max_body_bytes=1000, on_end=lambda _error: None)
    until_s = asyncio.get_running_loop().time() + 5
    task = asyncio.create_task(exchange(connection, b"HEAD", b"x" * PIECE_BYTES * 4, until_s))
    connection.pause_writing()
    await asyncio.sleep(0)
    assert len(recorder.writes) == 1
    connection.resume_writing()
    assert sum(map(len, recorder.writes)) == 4 + PIECE_BYTES * 4
    receive(connection, OK)
    assert not (await task).is_early
    task = asyncio.create_task(exchange(connection, b"HEAD", b"x" * PIECE_BYTES * 4, until_s))
    connection.pause_writing()
    await asyncio.sleep(0)
    recorder.writes.clear()
    receive(connection, OK)
    assert (await task).is_early
    connection.resume_writing()
    assert recorder.writes == []
    assert recorder.is_aborted


async def test_the_reply_to_a_request_that_was_given_up_casts_no_doubt_on_others(recorder):
    connection = HttpConnection(recorder, max_body_bytes=1000, on_end=lambda _error: None)
    until_s = asyncio.get_running_loop().time() + 5
    first = asyncio.create_task(exchange(connection, b"HEAD", b"", until_s))
    await asyncio.sleep(0)
    receive(connection, OK)
    standing = (await first).standing
    second = asyncio.create_task(exchange(connection, b"HEAD", b"", until_s))
    await asyncio.sleep(0)
    second.cancel()
    receive(connection, OK)  # before the task learns that it was cancelled
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not standing.is_doubtful
    assert recorder.is_aborted


async def test_an_idle_connection_keeps_neither_the_request_nor_the_reply(recorder):
    connection = HttpConnection(recorder, max_body_bytes=1000, on_end=lambda _error: None)
    until_s = asyncio.get_running_loop().time() + 5
    task = asyncio.create_task(exchange(connection, b"HEAD", bytes(PIECE_BYTES * 2), until_s))
    await asyncio.sleep(0)
    receive(connection, OK)
    assert (await task).body == b"{}"
    assert connection._unsent.obj == b""
    assert connection._parser.body == b""


@pytest.mark.parametrize(
    "request_",
    [
        Request("PUT", "/x", b"", {"X": "a\r\nY: b"}),
        Request("PUT", "/x", b"", {"X\r\nY": "b"}),
        Request("PUT", "/x", b"", {"If-Match": "a\nb"}),
        Request("PUT", "/x", b"", {"Content-Length": "1"}),
        Request("PUT", "/x", b"", {"host": "elsewhere.example"}),
        Request("PUT /y HTTP/1.1\r\nX:", "/x"),
        Request("HEAD", "/x"),
    ],
)
async def test_a_request_that_would_be_another_on_the_wire_never_leaves(request_):
    async with talking(answering(OK)) as (server, sender):
        with pytest.raises(ValueError, match=r"header|method|control character"):
            await sender.send(request_)
        assert server.connections == 0
        assert (await sender.send(a_request())).status == 200


# Framing

REFUSED = [
    pytest.param(b"HTTP/1.1 101 X\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", id="101"),
    pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", id="two lengths"),
    pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="which length"),
    pytest.param(
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="both"
    ),
    pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="packed chunks"),
    pytest.param(HEAD + b"X: a\nContent-Length: 0\r\n\r\n", id="LF alone"),
    pytest.param(HEAD + b"X: a\r Content-Length: 0\r\n\r\n", id="CR alone"),
    pytest.param(HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", id="folded"),
    pytest.param(HEAD + b"X: y\r\n" * 200 + b"Content-Length: 0\r\n\r\n", id="200 headers"),
    pytest.param(HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", id="70,000 bytes"),
    pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="HTTP/2"),
]  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
async def test_a_head_that_is_not_understood_is_in_doubt_and_ends_its_connection(said):
    async with talking(answering(said)) as (server, sender):
        for number in (1, 2):
            lost = await sender.send(a_request())
            assert isinstance(lost, NoReply)
            assert (lost.reason, lost.may_have_arrived) == ("broken_reply", True)
            await until_async(lambda number=number: server.closed == number)
            assert (server.connections, len(server.seen)) == (number, number)


@pytest.mark.parametrize(
    ("said", "body", "connections_"),
    [
        (HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", b"{}", 2),
        (b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n", b"", 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}", 2),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", b"{}", 1),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: 1\r\n\r\n", b"{}", 1),
        (b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n" + NO_CONTENT, b"", 1),
    ],
)
async def test_a_connection_is_kept_only_if_both_ends_understand_it_so(said, body, connections_):
    async with talking(answering(said)) as (server, sender):
        for _ in range(2):
            answer = await sender.send(a_request())
            assert isinstance(answer, Reply)
            assert answer.body == body
            assert "X" not in answer.headers  # a trailer is no header
        assert server.connections == connections_


@pytest.mark.parametrize("tls", [False, True])
async def test_a_reply_that_ends_at_any_byte_is_in_doubt(authority, tls):
    whole = reply(200, "X: y", body=b"{}")

    async def talk(wire: Wire) -> None:
        seen = await wire.request()
        await wire.say(whole[: int(seen.headers["x-end"])])
        wire.close()

    async def send(end: int) -> Reply | NoReply:
        return await sender.send(Request("PUT", "/x", b"", {"X-End": str(end)}))

    more = {"tls": authority.server(), "ca_file": authority.ca_file} if tls else {}
    ends = range(len(whole))
    async with talking(talk, in_flight=len(whole), **more) as (server, sender):
        lost = await asyncio.gather(*map(send, ends))
        carried = {each.connection for each in server.seen}
        assert len(carried) == len(server.seen) == len(whole)
    assert all(isinstance(each, NoReply) and each.may_have_arrived for each in lost)
    assert [each.reason for each in lost] == ["disconnected"] + ["broken_reply"] * (len(whole) - 1)


async def test_a_body_that_a_reset_ends_is_not_whole():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\n\r\nabc")  # ends with its connection
        await asyncio.sleep(0.02)
        wire.reset()

    async with talking(talk) as (_, sender):
        lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("broken_reply", True)


@pytest.mark.parametrize("is_success", [True, False])
async def test_a_reply_over_tls_before_the_body_was_taken(authority, is_success):
    async def talk(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.say(NO_CONTENT if is_success else reply(413, body=b"too large"))
        await asyncio.sleep(60)  # takes none of the body

    async with talking(talk, tls=authority.server(), ca_file=authority.ca_file) as (server, sender):
        answer = await sender.send(a_request(body=b"x" * 20_000_000))
        if is_success:
            assert isinstance(answer, NoReply)
            assert (answer.reason, answer.may_have_arrived) == ("early_reply", True)
        else:
            assert (answer.status, answer.body) == (413, b"too large")
        assert server.connections == 1


async def test_a_body_of_any_size_goes_out_whole_over_tls(authority):
    async with talking(answering(OK), tls=authority.server(), ca_file=authority.ca_file) as (
        server,
        sender,
    ):
        for size in (0, PIECE_BYTES, PIECE_BYTES + 1, 3_000_000):
            assert (await sender.send(a_request(body=bytes(size)))).status == 200
        assert [len(seen.body) for seen in server.seen] == [
            0,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3_000_000,
        ]
        assert server.connections == 1  # fmt: skip


async def test_no_request_leaves_before_the_reply_to_the_one_before_it():
    async def talk(wire: Wire) -> None:
        for _ in range(5):
            await wire.request()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wire.reader.read(1), 0.02)
            await wire.say(OK)
        await wire.hang()

    async with talking(talk, in_flight=1) as (server, sender):
        answers = await asyncio.gather(*(sender.send(a_request()) for _ in range(5)))
        assert [each.status for each in answers] == [200] * 5
        assert server.connections == 1


# Keeping and opening


async def test_a_connection_that_was_idle_for_long_is_closed_and_not_used(monkeypatch):
    monkeypatch.setattr(connections, "IDLE_S", 0.5)
    async with talking(answering(OK)) as (server, sender):
        await sender.send(a_request())
        await until_async(lambda: server.closed == 1)
        monkeypatch.setattr(connections, "IDLE_S", 60.0)
        assert (await sender.send(a_request())).status == 200
        await asyncio.sleep(0.05)
        assert (await sender.send(a_request())).status == 200
        assert server.connections == 2


async def test_who_waits_for_a_connection_has_not_left_and_makes_room_when_cancelled():
    may_answer = asyncio.Event()

    async def talk(wire: Wire) -> None:
        await wire.request()
        await may_answer.wait()
        await wire.say(OK)
        await answering(OK)(wire)

    async with talking(talk, in_flight=1) as (server, sender):
        first, second, third = (asyncio.create_task(sender.send(a_request())) for _ in range(3))
        await until_async(lambda: len(server.seen) == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        may_answer.set()
        assert (await first).status == (await third).status == 200
        assert server.connections == 1


async def test_who_waits_for_a_connection_for_too_long_has_not_left():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.hang()

    async with talking(talk, in_flight=1, connect_timeout_s=1.0) as (server, sender):
        first = asyncio.create_task(sender.send(a_request()))
        await until_async(lambda: len(server.seen) == 1)
        lost = await sender.send(a_request())
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("connect_timeout", False)


async def _drops(wire: Wire) -> None:
    await wire.request()
    wire.close()


@pytest.mark.parametrize("is_up", [True, False])
async def test_a_server_that_drops_each_connection_is_not_flooded(is_up):
    async with serving(_drops) as server:
        port = server.port if is_up else refused_port()
        link = Link(base_url=f"http://127.0.0.1:{port}", timeout_s=30.0)
        async with Transport(link, authorization=None, in_flight=8) as sender:
            sent, began_s = 0, time.monotonic()

            async def keep_sending() -> None:
                nonlocal sent
                while time.monotonic() - began_s < 0.6:
                    await sender.send(a_request())
                    sent += 1

            await asyncio.gather(*(keep_sending() for _ in range(8)))
    # rounds after 5, 10, 20, ... ms, each of up to 8 connections
    assert sent <= 8 * 10
    assert sent >= 8


async def test_a_server_that_is_back_is_used_at_full_speed():
    is_down = True

    async def talk(wire: Wire) -> None:
        if is_down:
            wire.close()
        else:
            await wire.request()
            await wire.say(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")

    async with talking(talk) as (server, sender):
        for _ in range(3):
            await sender.send(a_request())
        is_down = False
        assert (await sender.send(a_request())).status == 204
        assert sender._connections._backoff.delay_s(0.0) == 0.0
        assert server.connections == 4


async def test_a_server_that_closes_unannounced_after_each_reply_loses_few_requests():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(NO_CONTENT)
        await asyncio.sleep(0.01)  # its close comes after the next request

    async with talking(talk) as (_, sender):
        replies = [await sender.send(a_request()) for _ in range(20)]
    lost = [each for each in replies if isinstance(each, NoReply)]
    assert 1 <= len(lost) <= 4, lost  # 10 if connections never rested; a stall looks like a rest


async def test_a_server_that_keeps_connections_is_used_without_rest():
    async with talking(answering(NO_CONTENT)) as (server, sender):
        for _ in range(20):
            assert isinstance(await sender.send(a_request()), Reply)
        assert server.connections == 1
        assert sender._connections._rest.rest_s == 0.0


def test_one_accident_makes_no_connection_rest_once_any_was_reused():
    rest = ReuseRest()
    rest.worked()
    rest.cut_off()
    assert rest.rest_s == 0
    rest.cut_off()
    assert rest.rest_s == REST_S
    rest.worked()
    assert rest.rest_s == 0


def test_the_delay_doubles_with_each_round_of_failures_up_to_its_most():
    backoff = ConnectBackoff()
    assert backoff.delay_s(0.0) == 0.0
    now_s, delays_s = 0.0, []
    for _ in range(12):
        opened_s = now_s + 1.0
        now_s = opened_s + 0.25
        for _ in range(64):  # at once: one round
            backoff.failed(opened_s, now_s)
        delays_s.append(backoff.delay_s(now_s))
    assert delays_s[:4] == pytest.approx([FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S])
    assert delays_s[-1] == pytest.approx(MAX_S)
    assert backoff.delay_s(now_s + MAX_S) == 0.0
    backoff.worked()
    assert backoff.delay_s(now_s) == 0.0


# Proxies


async def test_a_proxy_s_connections_are_kept_and_get_the_whole_url_each_time():
    async with serving(answering(OK)) as proxy:
        link = Link(base_url="http://api.invalid/v2", proxy=proxy.url, timeout_s=30.0)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            for _ in range(3):
                assert (await sender.send(a_request())).status == 200
    assert proxy.connections == 1
    for seen in proxy.seen:
        assert seen.line == "PUT http://api.invalid/v2/coupon/x HTTP/1.1"
        assert seen.headers["host"] == "api.invalid"
        assert "proxy-authorization" not in seen.headers


async def test_a_tunnel_that_breaks_off_leaves_its_request_in_doubt_and_closes_in_time(authority):
    async with (
        serving(_drops, tls=authority.server()) as server,
        serving(proxying(server.port)) as proxy,
    ):
        link = a_link(server, proxy=proxy.url, ca_file=authority.ca_file)
        async with asyncio.timeout(30):  # closing waits for every connection
            async with Transport(link, authorization=None, in_flight=2) as sender:
                lost = await asyncio.gather(*(sender.send(a_request()) for _ in range(2)))
        assert len(server.seen) == 2
    assert {(each.reason, each.may_have_arrived) for each in lost} == {("disconnected", True)}


@pytest.mark.parametrize(("given_up_after_s", "expected_ms"), [(7.5, 7500), (math.inf, 0)])
def test_a_request_that_nobody_acknowledges_is_given_up_in_time(given_up_after_s, expected_ms):
    info = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 9)
    with socket_maker(given_up_after_s)(info) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT or 0) == expected_ms
        assert not made.getblocking()
