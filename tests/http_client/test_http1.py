"""How requests are written and replies are read: every byte counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.http_client.http1 import (
    FIRST_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    ReplyFault,
    ReplyParser,
    check_request_line,
    header_lines,
    request_head,
)

HEAD = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def parsed(*pieces: bytes, limit: int = 1000) -> ReplyParser:
    """A parser after these reads; what comes after the end is not fed."""
    parser = ReplyParser(limit)
    for piece in pieces:
        if not parser.is_over:
            parser.feed(piece)
    return parser


# Replies

WHOLE = [
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (HEAD + EMPTY, 200, b"", True),
    (HEAD + b"content-length:2\r\n\r\n{}", 200, b"{}", True),
    (HEAD + b"Content-Length: 2 \t\r\n\r\n{}", 200, b"{}", True),
    (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", 200, b"a", True),  # without a reason
    (b"HTTP/1.1 422 \xe9\r\nContent-Length: 1\r\n\r\na", 422, b"a", True),
    (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 200, b"abcde", True),
    (CHUNKED + b"0\r\nX: 1\r\nSet-Cookie: a\r\n\r\n", 200, b"", True),  # trailers
    (HEAD + b"Connection: close\r\n" + EMPTY, 200, b"", False),
    (b"HTTP/1.0 200 OK\r\n" + EMPTY, 200, b"", False),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY, 200, b"", True),
    (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        200,
        b"",
        False,  # HTTP/1.0 has no chunks: whoever forwards them may have misread them
    ),
    (b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n", 204, b"", False),  # a body may follow
    (b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", 204, b"", False),
    (b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", 304, b"", False),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + EMPTY, 200, b"", True),
    (b"HTTP/1.1 102 X\r\n\r\nHTTP/1.1 103 Y\r\nLink: z\r\n\r\n" + HEAD + EMPTY, 200, b"", True),
    (b"HTTP/1.1 150 X\r\n\r\n" + HEAD + EMPTY, 200, b"", True),
    (HEAD + b"Upgrade: h2c\r\nConnection: upgrade\r\n" + EMPTY, 200, b"", True),  # an offer
    (b"\r\n" + HEAD + EMPTY, 200, b"", True),  # an empty line before it is no reply
]


@pytest.mark.parametrize(("said", "status", "body", "keeps_alive"), WHOLE)
def test_a_whole_reply_is_read_alike_in_one_read_and_byte_by_byte(said, status, body, keeps_alive):
    for pieces in ([said], [bytes([byte]) for byte in said]):
        parser = parsed(*pieces)
        assert (parser.fault, parser.is_whole, parser.has_surplus) == (None, True, False)
        assert (parser.status, parser.body, parser.keeps_alive) == (status, body, keeps_alive)
        assert "X" not in parser.headers
        assert parser.first == said[:FIRST_BYTES]


@pytest.mark.parametrize("said", [said for said, *_ in WHOLE])
@pytest.mark.parametrize("is_clean", [True, False])
def test_a_reply_that_is_cut_at_any_byte_is_never_whole(said, is_clean):
    for end in range(len(said)):
        parser = parsed(said[:end])
        assert not parser.is_over
        parser.end(is_clean=is_clean)
        assert not parser.is_whole
        expected = {ReplyFault.HEAD_CUT, ReplyFault.BODY_BROKEN} if end else {ReplyFault.NO_REPLY}
        assert parser.fault in expected


def test_a_body_without_length_is_whole_only_if_its_connection_ends_well():
    for is_clean, fault in ((True, None), (False, ReplyFault.BODY_BROKEN)):
        parser = parsed(b"HTTP/1.1 200 OK\r\n\r\nabc")
        assert not parser.is_over
        parser.end(is_clean=is_clean)
        assert (parser.is_whole, parser.fault, parser.body) == (is_clean, fault, b"abc")
        assert not parser.keeps_alive


REFUSED = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a request": b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
    "another protocol": b"RTSP/1.0 200 OK\r\n" + EMPTY,
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n" + EMPTY,
    "HTTP/2": b"HTTP/2.0 200 OK\r\n" + EMPTY,
    "status of two digits": b"HTTP/1.1 20 OK\r\n" + EMPTY,
    "status of four digits": b"HTTP/1.1 2000 OK\r\n" + EMPTY,
    "status below 100": b"HTTP/1.1 099 OK\r\n" + EMPTY,
    "another protocol from here on": b"HTTP/1.1 101 X\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
    "101 without a protocol": b"HTTP/1.1 101 X\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two equal lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "a signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "an empty length": HEAD + b"Content-Length: \r\n\r\n{}",
    "a huge length": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "packed chunks": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks within": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "chunks twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a coding nobody knows": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
    "a coding that hides": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "a folded header": HEAD + b"X: a\r\n Content-Length: 0\r\n\r\n",
    "LF alone": HEAD + b"X: a\nContent-Length: 0\r\n\r\n",
    "CR alone": HEAD + b"X: a\rContent-Length: 0\r\n\r\n",
    "NUL": HEAD + b"X: a\0b\r\n" + EMPTY,
    "a control character": HEAD + b"X: \x1b[31m\r\n" + EMPTY,
    "a blank before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "a blank before the name": HEAD + b" Content-Length: 0\r\n\r\n",
    "no colon": HEAD + b"nonsense\r\n" + EMPTY,
    "no name": HEAD + b": a\r\n" + EMPTY,
    "a name beyond ASCII": HEAD + b"X\xff: a\r\n" + EMPTY,
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
def test_a_head_that_two_readers_could_understand_differently_is_refused(said):
    for pieces in ([said], [bytes([byte]) for byte in said]):
        parser = parsed(*pieces)
        parser.end(is_clean=True)
        assert not parser.is_whole
        assert parser.fault in {ReplyFault.HEAD_BROKEN, ReplyFault.HEAD_CUT}
    assert parsed(said).fault is ReplyFault.HEAD_BROKEN


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc\r\n",
        b"-1\r\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",  # longer than it says
        b"3\r\nabc\n",
        b"fffffffffffffffff\r\nabc\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",  # trailers obey the rules of headers
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nContent-Length: 9\r\n\r\n",
    ],
)
def test_broken_chunks_are_a_broken_body(body):
    assert parsed(CHUNKED + body).fault is ReplyFault.BODY_BROKEN


SURPLUS = [
    (HEAD + EMPTY + HEAD + EMPTY, True),
    (HEAD + EMPTY + b"H", True),
    (HEAD + EMPTY + b"garbage", True),
    (HEAD + EMPTY + b"\r\n" + HEAD, True),
    (HEAD + b"Content-Length: 1\r\n\r\nab", True),
    (CHUNKED + b"0\r\n\r\nx", True),
    (HEAD + b"Connection: close\r\n" + EMPTY + b"x", True),
    (b"HTTP/1.1 204 X\r\n\r\nHTTP/1.1 204 X\r\n\r\n", True),
    (b"HTTP/1.1 204 X\r\n\r\nHTTP/1.1 2x", True),
    (b"HTTP/1.1 304 X\r\nConnection: close\r\n\r\nHTTP/1.1 204 X\r\n\r\n", True),
    (b"HTTP/1.1 204 X\r\n\r\n{}", False),  # a body all the same
    (b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n{}", False),
    (b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    (b"HTTP/1.1 304 X\r\nConnection: close\r\n\r\n<html>", False),
]


@pytest.mark.parametrize(("said", "has_surplus"), SURPLUS)
def test_what_follows_a_reply_is_seen(said, has_surplus):
    parser = parsed(said)
    assert (parser.is_whole, parser.fault) == (True, None)
    assert parser.has_surplus is has_surplus
    if not has_surplus:
        assert not parser.keeps_alive


def test_a_parser_reads_one_reply_after_the_other():
    parser = ReplyParser(1000)
    for status, body in ((200, b"{}"), (422, b"no"), (204, b""), (200, b"{}")):
        parser.begin()
        length = b"" if status == 204 else b"Content-Length: 2\r\n"
        parser.feed(b"HTTP/1.1 %d X\r\nX-Own: %d\r\n%b\r\n%b" % (status, status, length, body))
        assert (parser.is_whole, parser.has_surplus, parser.keeps_alive) == (True, False, True)
        assert (parser.status, parser.body) == (status, body)
        assert parser.headers["x-own"] == str(status)


@pytest.mark.parametrize(("said", "status", "body", "keeps_alive"), WHOLE)
def test_equal_bytes_mean_the_same_again(said, status, body, keeps_alive):
    parser, other = ReplyParser(1000), b"HTTP/1.1 204 X\r\nX-Own: 1\r\n\r\n"
    for fed in (said, said, other, said):
        parser.begin()
        parser.feed(fed)
        if not keeps_alive:
            return  # nothing follows on its connection
        expected = (status, body) if fed is said else (204, b"")
        assert (parser.is_whole, parser.has_surplus, parser.keeps_alive) == (True, False, True)
        assert (parser.status, parser.body) == expected
        assert parser.headers.get("x-own") == (None if fed is said else "1")
        assert parser.first == fed
        parser.begin()
        assert (parser.is_whole, parser.status) == (False, 0)


# Bounds


@pytest.mark.parametrize(("count", "is_whole"), [(MAX_HEADERS, True), (MAX_HEADERS + 1, False)])
def test_headers_are_counted(count, is_whole):
    said = HEAD + b"X: y\r\n" * (count - 1) + EMPTY
    for pieces in ([said], [bytes([byte]) for byte in said]):
        assert parsed(*pieces).is_whole is is_whole


@pytest.mark.parametrize(
    ("size", "is_whole"), [(MAX_HEAD_BYTES - 200, True), (MAX_HEAD_BYTES + 1, False)]
)
@pytest.mark.parametrize("step", [1, 1000, 300_000])
def test_heads_are_measured(size, is_whole, step):
    said = HEAD + b"X: " + b"y" * size + b"\r\n" + EMPTY
    parser = parsed(*(said[at : at + step] for at in range(0, len(said), step)))
    assert parser.is_whole is is_whole
    assert parser.fault is (None if is_whole else ReplyFault.HEAD_BROKEN)


@pytest.mark.parametrize(
    "endless",
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 ", b"reason "),
        (b"", b"\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED, b"0"),
        (CHUNKED + b"3;", b"extension"),
        (CHUNKED + b"0\r\nX: ", b"y"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
    ],
)
def test_nothing_endless_is_kept(endless):
    begins, goes_on = endless
    parser = parsed(begins, *[goes_on * 100] * (MAX_HEAD_BYTES // len(goes_on) // 100 + 2))
    assert parser.fault is not None


@pytest.mark.parametrize(
    ("size", "is_too_long", "is_whole"),
    [(1000, False, True), (1001, True, True), (5000, True, False)],
)
def test_bodies_are_measured(size, is_too_long, is_whole):
    said = HEAD + b"Content-Length: %d\r\n\r\n" % size + b"z" * size
    parser = parsed(said[:1100], said[1100:])
    assert (parser.is_too_long, parser.is_whole) == (is_too_long, is_whole)
    assert 1000 <= len(parser.body) <= 1100


@given(data=st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_end_in_one_of_three_ways(data):
    parser = parsed(b"HTTP/1.1 200 OK\r\n", *data)
    parser.end(is_clean=True)
    assert parser.is_over
    assert (parser.fault is None) == (parser.is_whole or parser.is_too_long)


# Requests


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X": "a\nb"},
        {"X": "a\rb"},
        {"X": "a\0b"},
        {"X": "a\x7f"},
        {"X\r\nY": "b"},
        {"X Y": "b"},
        {"X:": "b"},
        {"": "b"},
        {"é": "b"},
        {"Host": "elsewhere"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Expect": "100-continue"},
        {"Upgrade": "h2c"},
    ],
)
def test_a_header_that_would_change_the_message_is_never_written(headers):
    with pytest.raises(ValueError, match=r"cannot be a header|holds a control character"):
        header_lines({"X-Fine": "a", **headers})


def test_a_header_s_value_is_not_shown():
    with pytest.raises(ValueError, match="the value of X-Key") as refused:
        header_lines({"X-Key": "hush\r\n"})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "method", ["", "PUT ", "PU\r\nT", "GET /x HTTP/1.1\r\n", "HEAD", "CONNECT"]
)
def test_a_method_that_cannot_be_sent_is_refused(method):
    with pytest.raises(ValueError, match="not a method"):
        check_request_line(method, "/x")


@pytest.mark.parametrize(
    ("method", "size", "length"),
    [
        ("PUT", 0, 0),
        ("PUT", 5, 5),
        ("POST", 0, 0),
        ("DELETE", 0, 0),
        ("GET", 0, None),
        ("GET", 2, 2),
    ],
)
def test_a_request_states_its_length_if_it_may_have_a_body(method, size, length):
    head = request_head(method, "/x", "", size).decode()
    assert head.endswith("\r\n\r\n")
    assert ("Content-Length" in head) is (length is not None)
    assert length is None or f"Content-Length: {length}\r\n" in head
