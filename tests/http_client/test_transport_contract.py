"""What the rest relies on, against servers that speak bytes. No library's promise is believed."""

from __future__ import annotations

import asyncio
import gc
import gzip
import ssl
import threading
import warnings
import zlib
from contextlib import asynccontextmanager

import pytest

from pipeline.http_client.transport import Transport
from pipeline.model import Link, NoReply, Reply, Request
from tests.http_client.servers import (
    NO_CONTENT,
    OK,
    Wire,
    answering,
    proxying,
    refused_port,
    refusing_handshakes,
    reply,
    serving,
)
from tests.http_client.tls_files import Authority
from tests.waiting import WITHIN_S, until_async

AUTHORIZATION = "Basic c2VjcmV0"
BODY = b'{"name":{"en":"Sword"}}'
JSON = {"Content-Type": "application/json"}


def a_request(method: str = "PUT", path: str = "/coupon/x", body: bytes = BODY) -> Request:
    return Request(method, path, body, JSON)


def a_link(server, **more) -> Link:
    return Link(**{"base_url": server.url, "timeout_s": 30.0, "connect_timeout_s": 30.0, **more})


@asynccontextmanager
async def talking(talk, *, tls=None, in_flight=4, tls_versions="1.2", **more):
    """A server and a transport that is linked to it."""
    more["tls"] = tls_versions
    async with (
        serving(talk, tls=tls) as server,
        Transport(
            a_link(server, **more), authorization=AUTHORIZATION, in_flight=in_flight
        ) as sender,
    ):
        yield server, sender


@pytest.fixture
def authority(tmp_path):
    return Authority.made_in(tmp_path / "authority")


# One send, one request


async def _close(wire: Wire) -> None:
    wire.close()


async def _reset(wire: Wire) -> None:
    wire.reset()


async def _half_a_status_line(wire: Wire) -> None:
    await wire.say(b"HTTP/1.1 2")
    wire.close()


@pytest.mark.parametrize("end", [_close, _reset, _half_a_status_line])
@pytest.mark.parametrize("answered_before", [0, 1, 3])  # 0: on a new connection
@pytest.mark.parametrize("method", ["PUT", "PATCH", "GET", "DELETE", "POST"])
async def test_a_request_whose_connection_dies_is_not_sent_again(method, answered_before, end):
    async def talk(wire: Wire) -> None:
        for _ in range(answered_before):
            await wire.request()
            await wire.say(OK)
        await wire.request()
        await end(wire)

    async with talking(talk) as (server, sender):
        for _ in range(answered_before):
            assert (await sender.send(a_request(method))).status == 200
        lost = await sender.send(a_request(method))
        await asyncio.sleep(0.02)  # a second try would come at once
        assert len(server.seen) == answered_before + 1
        assert server.connections == 1
    assert isinstance(lost, NoReply)
    reason = "broken_reply" if end is _half_a_status_line else "disconnected"
    assert (lost.reason, lost.may_have_arrived) == (reason, True)


async def test_a_request_that_times_out_is_not_sent_again():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.hang()

    async with talking(talk, timeout_s=0.1) as (server, sender):
        lost = await sender.send(a_request())
        await until_async(lambda: server.seen)
        await asyncio.sleep(0.05)
        assert len(server.seen) == 1
    assert lost == NoReply(
        "timeout", f"no complete answer from 127.0.0.1:{server.port} within 0.1 s", True
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "GET"])
async def test_nothing_reaches_the_target_of_a_redirect(status, method):
    async with serving(answering(OK)) as target:
        away = reply(status, f"Location: {target.url}/stolen", body=b"gone")
        async with talking(answering(away)) as (server, sender):
            answer = await sender.send(a_request(method))
        assert target.connections == 0
    assert isinstance(answer, Reply)
    assert (answer.status, answer.headers["location"]) == (status, f"{target.url}/stolen")
    assert len(server.seen) == 1


async def test_a_credential_challenge_is_not_answered():
    challenge = reply(401, "WWW-Authenticate: Digest realm=x, nonce=y, qop=auth")
    async with talking(answering(challenge)) as (server, sender):
        assert (await sender.send(a_request())).status == 401
        assert len(server.seen) == 1


async def test_an_interim_answer_is_not_the_answer():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with talking(answering(interim + OK)) as (server, sender):
        assert (await sender.send(a_request())).status == 200
        assert len(server.seen) == 1


# What goes out


@pytest.mark.parametrize(
    "path",
    [
        "/coupon/SUMMER",
        "/a/..%2F..%2Fx%3Fy%23z",  # an id that would like to be elsewhere
        "/a/%2E%2E/b",  # encoded dots are not resolved
        "/a/../b/./c",  # nor are plain ones
        "/a/%2e%2f%7e",  # not normalised to upper case
        "/a/%C3%A9%20%25",  # UTF-8, blank and percent sign
        "/a//b/",  # empty segments stay
        "/a/b+c%2Bd",  # plus and its code are two things
        "/a?x=%26&y=1+2",  # a query stays
        "/a/@evil.example/:80",  # no second authority
    ],
)
async def test_a_path_goes_out_byte_for_byte(path):
    async with talking(answering(OK)) as (server, sender):
        await sender.send(a_request("PUT", path))
    assert server.seen[0].line == f"PUT {path} HTTP/1.1"


@pytest.mark.parametrize(
    "path",
    [
        "@evil.example/x",  # behind https://api.example it would name another host
        ".evil.example/x",  # likewise
        "",
        "/a b",  # would end the request's target
        "/a\r\nX-Injected: 1",  # would add a header
        "/a#b",  # would be dropped
        "/é",  # not encoded
    ],
)
async def test_a_path_that_is_not_encoded_is_never_sent(path):
    async with talking(answering(OK)) as (server, sender):
        with pytest.raises(ValueError, match="percent-encoded"):
            await sender.send(a_request("PUT", path))
        assert server.connections == 0


async def test_the_base_url_s_own_path_comes_first():
    async with serving(answering(OK)) as server:
        link = a_link(server, base_url=f"{server.url}/merchant/v2")
        async with Transport(link, authorization=None, in_flight=1) as sender:
            await sender.send(a_request("PUT", "/projects/1"))
    assert server.seen[0].line == "PUT /merchant/v2/projects/1 HTTP/1.1"
    assert "authorization" not in server.seen[0].headers


async def test_headers_are_the_account_s_and_the_request_s_and_no_more():
    headers = {"X-Tenant": "7", "x-trace": "account"}
    request = Request("PUT", "/x", BODY, {**JSON, "X-Trace": "request"})
    async with talking(answering(OK), headers=headers) as (server, sender):
        await sender.send(request)
    seen = server.seen[0]
    assert seen.body == BODY
    headers = dict(seen.headers)
    agent = headers.pop("user-agent")
    assert agent.startswith("offer-pipeline")
    assert "aiohttp" not in agent
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": AUTHORIZATION,
        "x-tenant": "7",
        "x-trace": "request",  # the request's own wins, once
        "content-type": "application/json",
        "content-length": str(len(BODY)),
    }
    assert seen.head.lower().count(b"x-trace") == 1


@pytest.mark.parametrize("size", [0, 1, 70_000, 2_500_000])  # beyond 64 KiB in pieces
async def test_a_body_of_any_size_goes_out_whole_with_its_length(size):
    body = b"x" * size
    async with talking(answering(OK)) as (server, sender):
        assert (await sender.send(a_request("PUT", body=body))).status == 200
        assert (await sender.send(a_request("PUT", body=body))).status == 200
    assert [len(seen.body) for seen in server.seen] == [size, size]
    assert server.seen[0].headers["content-length"] == str(size)
    assert "transfer-encoding" not in server.seen[0].headers
    assert "expect" not in server.seen[0].headers


async def test_cookies_are_never_sent_back():
    crumbs = reply(200, "Set-Cookie: session=1; Path=/", "Set-Cookie: b=2")
    async with talking(answering(crumbs)) as (server, sender):
        for _ in range(3):
            await sender.send(a_request())
    assert len(server.seen) == 3
    assert not any("cookie" in seen.headers for seen in server.seen)


async def test_neither_proxy_nor_netrc_of_the_environment_is_used(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password eve\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(answering(OK)) as elsewhere:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
        async with serving(answering(OK)) as server:
            async with Transport(a_link(server), authorization=None, in_flight=1) as sender:
                await sender.send(a_request())
            assert len(server.seen) == 1
            assert "authorization" not in server.seen[0].headers
        assert elsewhere.connections == 0


# What comes back


async def test_a_reply_is_returned_whole():
    said = reply(422, "X-Request-Id: a", "X-REQUEST-ID: b", "Date: now", body=b"\xff no JSON")
    async with talking(answering(said)) as (_, sender):
        answer = await sender.send(a_request())
    assert isinstance(answer, Reply)
    assert (answer.status, answer.body, answer.is_cut) == (422, b"\xff no JSON", False)
    found = {name: answer.headers[name] for name in ("x-request-id", "DATE", "content-length")}
    assert found == {"x-request-id": "a", "DATE": "now", "content-length": "9"}
    assert answer.received_s > 1_600_000_000


PACKED = gzip.compress(b"abc", mtime=0)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (NO_CONTENT, b""),
        (reply(200), b""),  # a length of nothing
        (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (reply(200, "Content-Type: text/html", body=b"<html>"), b"<html>"),  # not ours to judge
        (reply(200, "Content-Encoding: br", body=b"\x0b\x01"), b"\x0b\x01"),  # told by its header
        (reply(304), b""),
        (reply(503, "X-Long: " + "y" * 20_000, body=b"x"), b"x"),  # long headers are no fault yet
    ],
)  # fmt: skip
async def test_a_body_is_handed_on_as_it_came_and_its_connection_kept(said, body):
    async with talking(answering(said)) as (server, sender):
        for _ in range(3):
            answer = await sender.send(a_request())
            assert (answer.body, answer.is_cut) == (body, False)
        assert server.connections == 1


@pytest.mark.parametrize(
    ("size", "kept", "is_cut", "connections"),
    [
        (999, 999, False, 1),
        (1000, 1000, False, 1),  # as much as allowed
        (1001, 1000, True, 1),  # read to its end all the same
        (300_000, 1000, True, 2),  # not read to its end: not used again
    ],
)
async def test_a_body_is_kept_up_to_the_limit(size, kept, is_cut, connections):
    said = reply(200, body=b"z" * size)
    async with talking(answering(said), max_reply_bytes=1000) as (server, sender):
        answer = await sender.send(a_request())
        assert (answer.body, answer.is_cut) == (b"z" * kept, is_cut)
        await sender.send(a_request())
        assert server.connections == connections


async def test_an_endless_body_is_cut_and_its_connection_closed():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(CHUNKED)
        while True:
            await wire.say(b"1000\r\n" + b"e" * 0x1000 + b"\r\n")

    async with talking(talk) as (server, sender):
        answer = await sender.send(a_request())
        assert (answer.status, len(answer.body), answer.is_cut) == (200, 1024 * 1024, True)
        await until_async(lambda: server.closed == 1)


async def test_a_body_without_length_ends_with_its_connection():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.0 200 OK\r\n\r\nabc")
        wire.close()

    async with talking(talk) as (_, sender):
        assert (await sender.send(a_request())).body == b"abc"


async def _answers_and_speaks_later(wire: Wire, what: bytes, speaks: asyncio.Event) -> None:
    await wire.request()
    await wire.say(OK)
    if wire.number == 1:
        await speaks.wait()
        await wire.say(what)
    await wire.hang()


UNASKED = [
    pytest.param(reply(408, body=b"you were idle"), id="a word on an idle connection"),
    pytest.param(NO_CONTENT, id="a reply too many"),
    pytest.param(b"\r\n", id="a line end too many"),
    pytest.param(b"x", id="a byte too many"),
]


@pytest.mark.parametrize("what", UNASKED)
async def test_unsolicited_bytes_are_not_the_next_answer(what):
    speaks = asyncio.Event()

    async def talk(wire: Wire) -> None:
        await _answers_and_speaks_later(wire, what, speaks)

    async with talking(talk) as (server, sender):
        first = await sender.send(a_request())
        assert (first.status, first.standing.is_doubtful) == (200, False)
        speaks.set()
        await asyncio.sleep(0.05)  # it is there
        assert (await sender.send(a_request())).status == 200
        assert server.connections == 2
        assert first.standing.is_doubtful  # whose answer it was, nobody can say now


async def test_unread_bytes_are_noticed_before_the_next_request_is_sent():
    """It came while this process was busy elsewhere: the loop has not read it yet."""

    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(OK)
        if wire.number == 1:
            await asyncio.to_thread(speaks.wait)
            await wire.say(NO_CONTENT)
            has_spoken.set()
        await wire.hang()

    speaks, has_spoken = threading.Event(), threading.Event()
    thread_s, is_up, may_end = [], asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def serve() -> None:
        async def main() -> None:
            async with serving(talk) as server:
                thread_s.append(server)
                loop.call_soon_threadsafe(is_up.set)
                await asyncio.to_thread(may_end.wait)

        asyncio.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        await is_up.wait()
        (server,) = thread_s
        async with Transport(a_link(server), authorization=None, in_flight=1) as sender:
            first = await sender.send(a_request())
            speaks.set()
            assert has_spoken.wait(WITHIN_S)  # nothing is read meanwhile
            second = await sender.send(a_request())
            assert isinstance(second, Reply)
            assert second.status == 200
            assert server.connections == 2
            assert first.standing.is_doubtful
    finally:
        speaks.set()
        may_end.set()
        await asyncio.to_thread(thread.join)


@pytest.mark.parametrize(
    "both",
    [
        pytest.param(NO_CONTENT + NO_CONTENT, id="two alike"),
        pytest.param(OK + reply(422, body=b"{}"), id="two that differ"),
        pytest.param(OK + b"\r\ngarbage\r\n\r\n", id="something behind the body"),
        pytest.param(NO_CONTENT + OK + OK, id="three"),
    ],
)
async def test_more_than_one_reply_leaves_the_request_in_doubt(both):
    async with talking(answering(both)) as (server, sender):
        for number in (1, 2):
            lost = await sender.send(a_request())
            assert isinstance(lost, NoReply)
            assert lost.reason in {"surplus_reply", "broken_reply"}
            assert lost.may_have_arrived
            assert server.connections == number
            assert len(server.seen) == number


async def test_a_reply_too_many_makes_all_doubtful_that_its_connection_brought():
    speaks = asyncio.Event()

    async def talk(wire: Wire) -> None:
        for _ in range(3):
            await wire.request()
            await wire.say(OK)
        await speaks.wait()
        await wire.say(NO_CONTENT)
        await wire.hang()

    async with talking(talk) as (server, sender):
        came = [await sender.send(a_request()) for _ in range(3)]
        assert server.connections == 1
        assert not any(each.standing.is_doubtful for each in came)
        speaks.set()
        await until_async(lambda: all(each.standing.is_doubtful for each in came))


async def test_a_success_before_the_body_was_taken_is_no_answer():
    """It cannot be: it belongs to another request, or to nobody."""

    async def talk(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.say(NO_CONTENT)
        await asyncio.sleep(60)  # takes none of the body

    async with talking(talk) as (server, sender):
        lost = await sender.send(a_request(body=b"x" * 20_000_000))
        assert isinstance(lost, NoReply)
        assert (lost.reason, lost.may_have_arrived) == ("early_reply", True)
        assert server.connections == 1


BODILESS = [
    pytest.param(b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n{}", 204, id="204, body and length"),
    pytest.param(b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n", 204, id="204, length alone"),
    pytest.param(b"HTTP/1.1 204 X\r\n\r\n{}", 204, id="204, body alone"),
    pytest.param(
        b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, id="204, chunks"
    ),
    pytest.param(b"HTTP/1.1 204 X\r\nContent-Encoding: gzip\r\n\r\n", 204, id="204, packed"),
    pytest.param(b"HTTP/1.1 304 X\r\nContent-Length: 99\r\n\r\n", 304, id="304, length alone"),
    pytest.param(b"HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\n{}", 304, id="304, body"),
    pytest.param(b"HTTP/1.1 304 X\r\n\r\n<html>", 304, id="304, body alone"),
]


@pytest.mark.parametrize(("said", "status"), [each.values for each in BODILESS],
                         ids=[each.id for each in BODILESS])  # fmt: skip
async def test_what_has_no_body_is_complete_with_its_head(said, status):
    async with talking(answering(said)) as (server, sender):
        for _ in range(3):
            answer = await sender.send(a_request())
            assert isinstance(answer, Reply)
            assert (answer.status, answer.body, answer.is_cut) == (status, b"", False)
            await asyncio.sleep(0.01)
            assert not answer.standing.is_doubtful
        assert len(server.seen) == 3


async def test_a_head_may_come_in_pieces():
    async def talk(wire: Wire) -> None:
        while True:
            await wire.request()
            for byte in NO_CONTENT:
                await wire.say(bytes([byte]))
                await asyncio.sleep(0)

    async with talking(talk) as (server, sender):
        for _ in range(2):
            assert (await sender.send(a_request())).status == 204
        assert server.connections == 1


def packed(text: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(text) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", PACKED),
        ("GZIP", PACKED),
        ("x-gzip", PACKED),
        ("gzip", gzip.compress(b"a", mtime=0) + gzip.compress(b"bc", mtime=0)),  # two members
        ("deflate", packed(b"abc", 15)),
        ("deflate", packed(b"abc", -15)),  # without its head, as some servers send it
        ("identity", b"abc"),
        ("", b"abc"),
    ],
    ids=["gzip", "GZIP", "x-gzip", "two members", "deflate", "bare deflate", "identity", "empty"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["whole", "in pieces"])
async def test_a_packed_body_is_unpacked(encoding, body, at_once):
    said = reply(200, f"Content-Encoding: {encoding}", "X-Other: kept", body=body)

    async def talk(wire: Wire) -> None:
        while True:
            await wire.request()
            for piece in [said] if at_once else [bytes([byte]) for byte in said]:
                await wire.say(piece)
                await asyncio.sleep(0)

    async with talking(talk) as (server, sender):
        for _ in range(2):
            answer = await sender.send(a_request())
            assert (answer.status, answer.body, answer.is_cut) == (200, b"abc", False)
            assert answer.headers["x-other"] == "kept"
        assert server.connections == 1
        assert server.seen[0].headers["accept-encoding"] == "identity"


async def test_an_empty_body_needs_no_unpacking():
    async with talking(answering(reply(200, "Content-Encoding: gzip"))) as (_, sender):
        assert (await sender.send(a_request())).body == b""


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b'{"ok": true}'),
        ("gzip", PACKED[:-9]),
        ("gzip", PACKED[:-1]),
        ("gzip", PACKED[:-8] + b"\0" * 8),  # another checksum
        ("gzip", PACKED + b"more"),
        ("deflate", packed(b"abc", 15)[:-1]),
        ("deflate", packed(b"abc", 15) + b"more"),
        ("deflate", b"\xff\xff"),
    ],
    ids=["text", "cut", "cut by a byte", "checksum", "more", "deflate cut", "more", "no deflate"],
)
async def test_what_cannot_be_decompressed_is_a_broken_reply(encoding, body):
    async with talking(answering(reply(200, f"Content-Encoding: {encoding}", body=body))) as (
        server,
        sender,
    ):
        lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("broken_reply", True)
    assert "is not encoded as its Content-Encoding says" in lost.detail
    assert 'begins "HTTP/1.1 200 ' in lost.detail
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("size", "kept", "is_cut"),
    [(999, 999, False), (1000, 1000, False), (1001, 1000, True), (400_000_000, 1000, True)],
)
async def test_a_packed_body_is_unpacked_up_to_the_limit(size, kept, is_cut):
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(b"z" * min(size - at, 10**6)) for at in range(0, size, 10**6))
    said = reply(200, "Content-Encoding: gzip", body=body + packer.flush())
    async with talking(answering(said), max_reply_bytes=1000) as (_, sender):
        answer = await sender.send(a_request())
    assert (answer.body, answer.is_cut) == (b"z" * kept, is_cut)


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", '"SSH-2.0-OpenSSH_9.6\\r\\n'),
        (b"\x16\x03\x01\x1b[31mhello\r\n\r\n", '"\\x16\\x03\\x01\\x1b[31mhello'),
        (b"no HTTP: " + AUTHORIZATION.encode() + b"\r\n\r\n", '"no HTTP: Basic ***'),
        (b"HTTP/1.1 2", '"HTTP/1.1 2"'),
        (b"x" * 5000, '"' + "x" * 100 + '"'),
    ],
    ids=["SSH", "TLS", "our secret", "cut", "long"],
)
async def test_what_cannot_be_understood_is_shown_as_it_begins(said, begins):
    async with talking(_then_closes(said)) as (_, sender):
        lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert lost.reason == "broken_reply"
    assert f"it begins {begins}" in lost.detail
    assert lost.detail.isprintable()
    assert len(lost.detail) < 400


async def test_an_answer_before_the_body_was_taken_counts_and_ends_the_connection():
    async def talk(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.say(reply(413, body=b"too large"))
        await asyncio.sleep(60)  # takes none of the body

    async with talking(talk) as (_, sender):
        answer = await sender.send(a_request(body=b"x" * 20_000_000))
    assert (answer.status, answer.body) == (413, b"too large")


# What does not come back


async def _silent(wire: Wire) -> None:
    await wire.request()
    await wire.hang()


async def _silent_from_the_start(wire: Wire) -> None:
    await asyncio.sleep(60)


async def _slow_headers(wire: Wire) -> None:
    await wire.request()
    while True:
        await wire.say(b"HTTP/1.1 200 OK\r\nX: y"[:1])
        await asyncio.sleep(0.03)


async def _slow_body(wire: Wire) -> None:
    await wire.request()
    await wire.say(CHUNKED)
    while True:
        await wire.say(b"1\r\nx\r\n")
        await asyncio.sleep(0.03)


def _then_closes(data: bytes):
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(data)
        wire.close()

    return talk


def _then_hangs(data: bytes):
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(data)
        await wire.hang()

    return talk


async def _resets_amid_the_body(wire: Wire) -> None:
    await wire.request()
    await wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    await asyncio.sleep(0.02)
    wire.reset()


async def _interim_for_ever(wire: Wire) -> None:
    await wire.request()
    while True:
        await wire.say(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.03)


async def _closes_at_once(wire: Wire) -> None:
    wire.close()


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (_silent, "timeout"),
        (_silent_from_the_start, "timeout"),  # connected, so bytes may be read later
        (_slow_body, "timeout"),  # a byte now and then does not prolong it
        (_interim_for_ever, "timeout"),
        (_then_hangs(b"HTTP/1.1 200 OK\r\nX: y"), "timeout"),
        (_closes_at_once, "disconnected"),
        (_then_closes(b""), "disconnected"),
        (_then_closes(b"HTTP/1.1 200 OK\r\nX: y"), "broken_reply"),
        (_then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "broken_reply"),
        (_then_closes(CHUNKED + b"9\r\nabc"), "broken_reply"),
        (_then_hangs(CHUNKED + b"zz\r\nabc"), "broken_reply"),
        (_resets_amid_the_body, "broken_reply"),
        (_then_hangs(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "broken_reply"),
        (_then_hangs(b"\x16\x03\x01\x00\x05hello\r\n\r\n"), "broken_reply"),
        (_then_hangs(b"<html>no header at all</html>\r\n\r\n"), "broken_reply"),
        (_slow_headers, "broken_reply"),
        (_then_hangs(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2_000_000), "broken_reply"),
        (_then_hangs(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n"), "broken_reply"),
        (_then_hangs(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "broken_reply"),
    ],
)  # fmt: skip
async def test_a_lost_answer_leaves_the_request_in_doubt(talk, reason):
    timeout_s = 0.25 if reason == "timeout" else 30.0
    async with talking(talk, timeout_s=timeout_s) as (server, sender):
        lost = await sender.send(a_request())
        await until_async(lambda: server.connections)
        assert len(server.seen) <= 1
        assert server.connections == 1
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == (reason, True, False)
    assert f"127.0.0.1:{server.port}" in lost.detail


@pytest.mark.parametrize(
    ("host", "is_permanent", "words"),
    [
        ("127.0.0.1:{port}", False, "cannot connect to 127.0.0.1:{port}: Connection refused"),
        ("no-such-host.invalid", False, "cannot find the address of no-such-host.invalid:80"),
        ("127.1", True, "127.1:80 cannot be looked up"),  # an address in an old form
        ("a" * 64 + ".example", True, "cannot be looked up"),  # no name may be so long
    ],
)
async def test_without_a_connection_nothing_was_sent(host, is_permanent, words):
    port = refused_port()
    link = Link(base_url="http://" + host.format(port=port), timeout_s=20)
    async with Transport(link, authorization=AUTHORIZATION, in_flight=1) as sender:
        lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("connect_failed", False)
    assert lost.is_permanent is is_permanent
    assert words.format(port=port) in lost.detail


@asynccontextmanager
async def deaf():
    """A port that takes a connection and never a handshake."""
    async with serving(_silent_from_the_start) as server:
        yield server


@pytest.mark.parametrize(
    ("timeout_s", "connect_timeout_s", "within"),
    [
        (5.0, 0.1, "0.1 s"),
        (0.2, 10.0, "0.18 s"),  # the whole attempt ends while connecting: nothing left either
        (0.1, 0.1, "0.09 s"),
    ],
)
async def test_a_connection_that_takes_too_long_sent_nothing(timeout_s, connect_timeout_s, within):
    async with deaf() as server:
        link = Link(
            base_url=f"https://127.0.0.1:{server.port}",
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
        )
        async with Transport(link, authorization=AUTHORIZATION, in_flight=1) as sender:
            lost = await sender.send(a_request())
    detail = f"no connection to 127.0.0.1:{server.port} within {within}"
    assert lost == NoReply("connect_timeout", detail, may_have_arrived=False)


# TLS


async def test_a_private_authority_is_trusted_when_named(authority):
    tls = authority.server()
    async with talking(answering(OK), tls=tls, ca_file=authority.ca_file) as (server, sender):
        for _ in range(3):
            assert (await sender.send(a_request())).status == 200
    assert server.connections == 1


@pytest.mark.parametrize(
    ("names", "trusts", "words"),
    [
        (("127.0.0.1",), "system", "Set ca_file"),  # the system does not know the authority
        (("127.0.0.1",), "another", "Set ca_file"),
        (("other.example",), "right", "Check the host in base_url"),
    ],
)
async def test_a_certificate_that_is_not_trusted(tmp_path, authority, names, trusts, words):
    another = Authority.made_in(tmp_path / "another").ca_file
    ca_file = {"system": None, "another": another, "right": authority.ca_file}[trusts]
    async with talking(answering(OK), tls=authority.server(*names), ca_file=ca_file) as (
        server,
        sender,
    ):
        lost = await sender.send(a_request())
        assert server.seen == []
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == ("tls_failed", False, True)
    assert f"the certificate of 127.0.0.1:{server.port} is not trusted" in lost.detail
    assert words in lost.detail


async def test_a_server_that_asks_for_a_certificate_is_shown_it(authority):
    certificate, key = authority.client_files()
    both = certificate.with_name("both.pem")
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    tls = authority.server(asks_clients=True)
    for cert, its_key in ((certificate, key), (both, None)):
        async with talking(
            answering(OK),
            tls=tls,
            ca_file=authority.ca_file,
            client_cert=cert,
            client_key=its_key,
        ) as (_, sender):
            assert (await sender.send(a_request())).status == 200


async def test_a_server_that_asks_for_a_certificate_after_the_request_is_shown_it(authority):
    """As Apache does if only some paths need one."""
    certificate, key = authority.client_files()
    tls = authority.server(asks_clients=True)
    tls.post_handshake_auth = True

    async def talk(wire: Wire) -> None:
        await wire.request()
        line = wire.writer.get_extra_info("ssl_object")
        assert not line.getpeercert()
        line._sslobj.verify_client_post_handshake()  # only sockets offer it publicly
        await wire.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not line.getpeercert():
            await asyncio.sleep(0.01)
        await wire.say(OK)

    files = {"ca_file": authority.ca_file, "client_cert": certificate, "client_key": key}
    async with talking(talk, tls=tls, **files) as (_, sender):
        assert (await sender.send(a_request())).status == 200


async def test_a_server_that_misses_our_certificate(authority):
    with refusing_handshakes(authority.server(asks_clients=True)) as url:
        link = Link(base_url=url, ca_file=authority.ca_file)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            lost = await sender.send(a_request())
    # TLS 1.3: the request was already under way when the server looked at our certificate
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == ("tls_failed", True, True)
    assert "Set client_cert" in lost.detail


async def test_a_server_of_tls_1_2_misses_our_certificate_before_anything_is_sent(authority):
    tls = authority.server(asks_clients=True)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with refusing_handshakes(tls) as url:
        link = Link(base_url=url, ca_file=authority.ca_file)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == ("tls_failed", False, True)


async def test_an_old_server_is_reached_only_where_that_is_allowed(authority):
    with refusing_handshakes(authority.old_server()) as url:
        link = Link(base_url=url, ca_file=authority.ca_file)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == ("tls_failed", False, True)
    assert 'tls = "legacy"' in lost.detail
    async with talking(
        answering(OK),
        tls=authority.old_server(),
        ca_file=authority.ca_file,
        tls_versions="legacy",
    ) as (_, sender):
        assert (await sender.send(a_request())).status == 200


async def test_a_handshake_that_is_hung_up_may_be_tried_again(authority):
    async with talking(_reset, tls=None) as (server, _):
        link = Link(base_url=f"https://127.0.0.1:{server.port}")
        async with Transport(link, authorization=None, in_flight=1) as sender:
            lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == ("tls_failed", False, False)


async def test_legacy_checks_certificates_all_the_same(authority):
    async with talking(answering(OK), tls=authority.old_server(), tls_versions="legacy") as (
        server,
        sender,
    ):
        lost = await sender.send(a_request())
        assert server.seen == []
    assert lost.reason == "tls_failed"


async def test_a_port_that_does_not_speak_tls():
    async def talk(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(talk) as server:
        link = Link(base_url=f"https://127.0.0.1:{server.port}", timeout_s=30)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            lost = await sender.send(a_request())
    assert (lost.reason, lost.may_have_arrived, lost.is_permanent) == ("tls_failed", False, True)
    assert "does not speak TLS" in lost.detail


# Proxies


async def test_a_proxy_is_used_where_the_link_names_one():
    async with serving(answering(OK)) as server, serving(proxying(server.port)) as proxy:
        link = a_link(server, proxy=proxy.url.replace("//", "//carol:p%40ss@"))
        async with Transport(link, authorization=AUTHORIZATION, in_flight=1) as sender:
            assert (await sender.send(a_request(path="/a/..%2Fb"))).status == 200
    asked = proxy.seen[0]
    assert asked.line == f"PUT {server.url}/a/..%2Fb HTTP/1.1"
    assert asked.headers["proxy-authorization"] == "Basic Y2Fyb2w6cEBzcw=="


async def test_a_proxy_sees_no_credential_of_a_vendor(authority):
    async with (
        serving(answering(OK), tls=authority.server()) as server,
        serving(proxying(server.port)) as proxy,
    ):
        link = a_link(
            server,
            proxy=proxy.url.replace("//", "//carol:p%40ss@"),
            ca_file=authority.ca_file,
            headers={"x-api-key": "hush"},
        )
        async with Transport(link, authorization=AUTHORIZATION, in_flight=1) as sender:
            for _ in range(2):
                assert (await sender.send(a_request())).status == 200
    assert [seen.line for seen in proxy.seen] == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic Y2Fyb2w6cEBzcw=="
    assert proxy.seen[0].headers.keys().isdisjoint({"authorization", "x-api-key", "content-type"})
    assert server.seen[0].headers["x-api-key"] == "hush"
    assert "proxy-authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("talk", "is_permanent", "words"),
    [
        (answering(reply(407)), True, "answered 407"),
        (answering(reply(403)), True, "answered 403"),
        (answering(reply(502)), False, "answered 502"),
        (_then_closes(b""), False, "disconnected before there was a connection"),
        (_then_closes(b"no HTTP\r\n\r\n"), False, "disconnected before there was a connection"),
        (None, False, "Connection refused"),
    ],
)
async def test_a_proxy_that_does_not_connect_us(talk, is_permanent, words):
    async with serving(talk or _silent) as proxy:
        where = f"127.0.0.1:{proxy.port if talk else refused_port()}"
        link = Link(
            base_url="https://api.invalid", proxy=f"http://carol:hush@{where}", timeout_s=5.0
        )
        async with Transport(link, authorization=AUTHORIZATION, in_flight=1) as sender:
            lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("proxy_failed", False)
    assert lost.is_permanent is is_permanent
    assert words in lost.detail
    assert where in lost.detail
    assert "hush" not in lost.detail


async def test_a_proxy_that_says_nothing():
    async with serving(_silent) as proxy:
        link = Link(base_url="https://api.invalid", proxy=proxy.url, connect_timeout_s=0.1)
        async with Transport(link, authorization=AUTHORIZATION, in_flight=1) as sender:
            lost = await sender.send(a_request())
    assert isinstance(lost, NoReply)
    assert (lost.reason, lost.may_have_arrived) == ("connect_timeout", False)
    assert f"through the proxy 127.0.0.1:{proxy.port}" in lost.detail


# Connections


async def test_connections_are_kept_and_never_more_than_in_flight():
    async with talking(answering(OK), in_flight=3) as (server, sender):
        for _ in range(5):
            await asyncio.gather(*(sender.send(a_request()) for _ in range(3)))
        assert len(server.seen) == 15
        assert server.connections == 3


async def test_a_connection_that_the_server_closed_while_idle_is_not_used():
    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.say(OK)
        wire.close()

    async with talking(talk) as (server, sender):
        for number in (1, 2, 3):
            assert (await sender.send(a_request())).status == 200
            await until_async(lambda number=number: server.closed == number)
            await asyncio.sleep(0.02)  # it is there; the loop has yet to read it
        assert server.connections == 3


@pytest.mark.parametrize(
    "talk",
    [_silent, _slow_body, _then_hangs(CHUNKED)],
)
async def test_a_cancelled_send_closes_its_connection(talk):
    async with talking(talk) as (server, sender):
        task = asyncio.create_task(sender.send(a_request()))
        await until_async(lambda: len(server.seen) == 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_async(lambda: server.closed == 1)
        assert len(server.seen) == 1


async def _greets(wire: Wire) -> None:
    await wire.say(b"220 mail.example ESMTP\r\n\r\n")
    await wire.hang()


@pytest.mark.parametrize("talk", [_closes_at_once, _reset, _greets])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_spoils_each_connection_is_not_stormed(authority, talk, newest):
    tls = authority.server()
    tls.maximum_version = newest
    async with talking(talk, tls=tls, ca_file=authority.ca_file, timeout_s=2.0) as (server, sender):
        lost = await sender.send(a_request())
        assert isinstance(lost, NoReply)
        assert server.connections == 1


async def test_a_cancelled_send_makes_room_for_the_next():
    talks = iter([_silent, answering(OK)])

    async def talk(wire: Wire) -> None:
        await next(talks)(wire)

    async with talking(talk, in_flight=1) as (_, sender):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.send(a_request()), 0.1)
        assert (await sender.send(a_request())).status == 200


async def test_leaving_ends_what_is_under_way_as_in_doubt():
    async with serving(_silent) as server:
        sender = Transport(a_link(server), authorization=None, in_flight=1)
        async with sender:
            task = asyncio.create_task(sender.send(a_request()))
            await until_async(lambda: len(server.seen) == 1)
        lost = await task
    assert (lost.reason, lost.may_have_arrived) == ("disconnected", True)


async def test_nothing_is_left_open(authority):
    tls = authority.server()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for talk in (answering(OK), _silent, _slow_body, _then_closes(b"x")):
            async with talking(talk, tls=tls, ca_file=authority.ca_file, timeout_s=0.2) as (
                _,
                sender,
            ):
                await asyncio.gather(*(sender.send(a_request()) for _ in range(2)))
        await asyncio.sleep(0)
        gc.collect()
    assert [str(one.message) for one in said] == []


async def test_no_repr_of_a_transport_shows_a_secret():
    link = Link(base_url="http://127.0.0.1:1", proxy="http://carol:hush@127.0.0.1:1")
    sender = Transport(link, authorization="Basic aHVzaA==", in_flight=1)
    assert "hush" not in repr(sender)
    assert "aHVzaA" not in repr(sender)


# A turn is for now


async def test_a_reply_that_repeats_our_credential_is_what_came_and_its_texts_can_be_hidden():
    """Debug pages and gateways show the request; what is told of them ends up in reports."""
    body = f'{{"headers": {{"Authorization": "{AUTHORIZATION}"}}}}'
    away = f"Location: /login?auth={AUTHORIZATION}"
    async with talking(answering(reply(302, away, body=body.encode()))) as (_, sender):
        answer = await sender.send(a_request())
    assert isinstance(answer, Reply)
    assert answer.body == body.encode()
    assert answer.headers["location"] == f"/login?auth={AUTHORIZATION}"
    assert answer.hide(body) == '{"headers": {"Authorization": "Basic ***"}}'
    assert answer.hide(answer.headers["location"]) == "/login?auth=Basic ***"


# Signing


async def _echoes(wire: Wire) -> None:
    while True:
        said = (await wire.request()).headers.get("authorization", "none")
        await wire.say(reply(200, body=said.encode()))


async def test_what_is_signed_later_holds_from_then_on_and_is_hidden():
    async with talking(_echoes) as (server, sender):
        shown = []
        for authorization in ("Bearer first-token", "Bearer second-token", None):
            sender.set_authorization(authorization)
            for _ in range(2):
                answer = await sender.send(a_request())
                shown.append(answer.hide(answer.body.decode()))
    assert [seen.headers.get("authorization") for seen in server.seen] == [
        *(
            "Bearer first-token",
            "Bearer first-token",
            "Bearer second-token",
            "Bearer second-token",
            None,
            None,
        )
    ]
    assert shown == ["Bearer ***"] * 4 + ["none"] * 2


async def test_a_request_keeps_what_was_signed_when_it_was_started():
    may_answer = asyncio.Event()

    async def talk(wire: Wire) -> None:
        said = (await wire.request()).headers["authorization"]
        await may_answer.wait()
        await wire.say(reply(401, body=said.encode()))

    async with talking(talk) as (server, sender):
        sender.set_authorization("Bearer first-token")
        task = asyncio.create_task(sender.send(a_request()))
        await until_async(lambda: len(server.seen) == 1)
        sender.set_authorization("Bearer second-token")
        may_answer.set()
        answer = await task
    assert server.seen[0].headers["authorization"] == "Bearer first-token"
    assert answer.body == b"Bearer first-token"
    assert answer.hide("Bearer first-token") == "Bearer ***"


async def test_a_key_that_travels_in_a_vendors_own_header_is_hidden_as_well():
    said = reply(400, body=b'{"headers": {"x-api-key": "client-7/x"}}')
    async with serving(answering(said)) as server:
        link = Link(base_url=server.url)
        sender = Transport(link, authorization=None, in_flight=1, secrets=["client-7/x"])
        async with sender:
            answer = await sender.send(a_request())
    assert isinstance(answer, Reply)
    assert answer.hide(answer.body.decode()) == '{"headers": {"x-api-key": "***"}}'
