"""What a reply means by HTTP alone."""

from __future__ import annotations

import pytest

from pipeline.model import Effect, NoReply, Reply, Verdict
from pipeline.vendors.kit.classify import (
    NOT_CONFIRMED,
    NOT_THE_VENDOR,
    Confirmation,
    Meaning,
    by_status,
    classify,
    classify_read,
    error_status,
    json_object,
    plain,
    retry_after_s,
)

APPLIED, NONE, MAYBE = Effect.APPLIED, Effect.NONE, Effect.MAYBE

DONE = by_status(204)

STATUSES = [
    # done: what the vendor documents, and no other success
    (204, Verdict.OK, APPLIED),
    (200, Verdict.TRANSIENT, MAYBE),
    (201, Verdict.TRANSIENT, MAYBE),
    (202, Verdict.TRANSIENT, MAYBE),  # taken, which is not done
    (203, Verdict.TRANSIENT, MAYBE),  # a proxy has changed it
    (206, Verdict.TRANSIENT, MAYBE),  # a part of it
    (207, Verdict.TRANSIENT, MAYBE),  # who knows which parts of it went well
    (299, Verdict.TRANSIENT, MAYBE),
    # slow everyone down: certainly not applied
    (429, Verdict.THROTTLED, NONE),
    # the same request may succeed later, and was not applied
    (408, Verdict.TRANSIENT, NONE),
    (421, Verdict.TRANSIENT, NONE),
    (425, Verdict.TRANSIENT, NONE),
    # credentials: every row would meet it
    (401, Verdict.FATAL, NONE),
    (403, Verdict.FATAL, NONE),
    (407, Verdict.FATAL, NONE),
    # the configuration is wrong, which every row would meet
    (405, Verdict.FATAL, NONE),
    (406, Verdict.FATAL, NONE),
    (415, Verdict.FATAL, NONE),
    # this row is wrong
    (400, Verdict.REJECTED, NONE),
    (404, Verdict.REJECTED, NONE),
    (409, Verdict.REJECTED, NONE),
    (410, Verdict.REJECTED, NONE),
    (412, Verdict.REJECTED, NONE),
    (422, Verdict.REJECTED, NONE),
    # a 4xx that nobody lists is still a no to this row
    (418, Verdict.REJECTED, NONE),
    (499, Verdict.REJECTED, NONE),
    # never followed; a 303 may follow an applied update, so it is in doubt
    (301, Verdict.FATAL, MAYBE),
    (303, Verdict.FATAL, MAYBE),
    (308, Verdict.FATAL, MAYBE),
    # the server broke, perhaps after applying it
    (500, Verdict.TRANSIENT, MAYBE),
    (501, Verdict.TRANSIENT, MAYBE),
    (503, Verdict.TRANSIENT, MAYBE),
    (504, Verdict.TRANSIENT, MAYBE),
    # no statuses that a server may send at the end of an exchange: nobody knows
    (100, Verdict.TRANSIENT, MAYBE),
    (103, Verdict.TRANSIENT, MAYBE),
    (0, Verdict.TRANSIENT, MAYBE),
    (600, Verdict.TRANSIENT, MAYBE),
    (999, Verdict.TRANSIENT, MAYBE),
]


@pytest.mark.parametrize(("status", "verdict", "effect"), STATUSES)
def test_a_status_has_one_meaning(status, verdict, effect):
    answer = classify(Reply(status, {}, b""), DONE)
    assert (answer.verdict, answer.effect, answer.http_status) == (verdict, effect, status)
    is_told = bool(answer.code and answer.message and answer.hint)
    assert is_told == (verdict is not Verdict.OK)


NO_REPLIES = [
    # no connection was made: certainly not applied
    (NoReply("connect_failed", "refused", may_have_arrived=False), Verdict.TRANSIENT, NONE),
    # silence after sending
    (NoReply("timeout", "30 s", may_have_arrived=True), Verdict.TRANSIENT, MAYBE),
    # a certificate that is not trusted stays so
    (
        NoReply("tls_failed", "self-signed", may_have_arrived=False, is_permanent=True),
        Verdict.FATAL,
        NONE,
    ),
    # permanent, but seen only after sending
    (
        NoReply("broken_reply", "no HTTP", may_have_arrived=True, is_permanent=True),
        Verdict.FATAL,
        MAYBE,
    ),
]


@pytest.mark.parametrize(("no_reply", "verdict", "effect"), NO_REPLIES)
def test_silence_says_nothing_about_what_was_applied(no_reply, verdict, effect):
    answer = classify(no_reply, DONE)
    assert (answer.verdict, answer.effect, answer.http_status) == (verdict, effect, None)
    assert (answer.code, answer.message) == (no_reply.reason, no_reply.detail)
    assert answer.hint


def test_a_vendor_may_read_a_status_otherwise():
    exceptions = {409: Meaning(Verdict.TRANSIENT, NONE)}
    assert classify(Reply(409, {}, b""), DONE, exceptions=exceptions).verdict is Verdict.TRANSIENT
    assert classify(Reply(404, {}, b""), DONE, exceptions=exceptions).verdict is Verdict.REJECTED


BODIES_OF_A_SUCCESS = [
    # body; headers; whether it is cut short; whether it can be the vendor's
    (b"", {}, False, True),
    (b" \r\n", {}, False, True),
    (b'{"id": 1}', {"content-type": "application/json"}, False, True),
    (b"true", {}, False, True),
    (b'\xef\xbb\xbf{"id": 1}', {}, False, True),
    # a proxy's or a hotel's login page
    (b"<!DOCTYPE html><title>Sign in</title>", {"content-type": "text/html"}, False, False),
    (b"\n  <html>", {}, False, False),
    (b"\xef\xbb\xbf<html>", {}, False, False),
    (b"Please sign in", {"content-type": "Text/HTML; charset=utf-8"}, False, False),
    (b"Please sign in", {}, False, False),
    (b"\xff\xfe\x00", {}, False, False),
    (b"[" * 100_000, {}, False, False),
    (b"<html>", {}, True, False),
]


@pytest.mark.parametrize(("body", "headers", "is_cut", "is_vendors"), BODIES_OF_A_SUCCESS)
def test_a_read_counts_only_where_the_vendor_can_have_said_it(body, headers, is_cut, is_vendors):
    answer = classify_read(Reply(200, headers, body, is_cut=is_cut))
    if is_vendors:
        assert answer[:4] == (Verdict.OK, APPLIED, 200, "")
    else:
        assert answer[:4] == (Verdict.TRANSIENT, MAYBE, 200, NOT_THE_VENDOR)
        assert "proxy" in answer.hint


def test_a_read_that_is_cut_short_shows_nothing_and_is_made_again():
    answer = classify_read(Reply(200, {}, b'{"items": [1, 2', is_cut=True))
    assert answer[:4] == (Verdict.TRANSIENT, MAYBE, 200, "broken_reply")


TRUE = Confirmation(
    words="200 with true",
    example=Reply(200, {}, b"true"),
    holds=lambda reply: (reply.status, reply.body) == (200, b"true"),
    refusal=lambda reply: error_status(json_object(reply.body)),
)
SUCCESSES = [
    # status, body; verdict, effect, code; why
    (200, b"true", Verdict.OK, APPLIED, "", "what is documented"),
    (202, b"true", Verdict.TRANSIENT, MAYBE, NOT_CONFIRMED, "another status"),
    (200, b"false", Verdict.TRANSIENT, MAYBE, NOT_CONFIRMED, "another body"),
    (200, b"", Verdict.TRANSIENT, MAYBE, NOT_CONFIRMED, "no body"),
    (204, b"", Verdict.TRANSIENT, MAYBE, NOT_CONFIRMED, "no body, and a status that says so"),
    (200, b"<html>", Verdict.TRANSIENT, MAYBE, NOT_THE_VENDOR, "a page"),
    (200, b"Please sign in", Verdict.TRANSIENT, MAYBE, NOT_THE_VENDOR, "no JSON"),
    (200, b'{"statusCode":422,"message":"no"}', Verdict.REJECTED, NONE, "http_422", "a refusal"),
    (207, b'{"status":404,"title":"no"}', Verdict.REJECTED, NONE, "http_404", "a problem"),
    (200, b'{"status":401,"title":"no"}', Verdict.FATAL, NONE, "http_401", "credentials"),
    (200, b'{"status":429,"title":"no"}', Verdict.THROTTLED, NONE, "http_429", "too many"),
    (200, b'{"status":500,"title":"no"}', Verdict.TRANSIENT, MAYBE, "http_500", "it broke"),
    (200, b'{"status":422}', Verdict.TRANSIENT, MAYBE, NOT_CONFIRMED, "a number is no error"),
]


@pytest.mark.parametrize(
    ("status", "body", "verdict", "effect", "code"),
    [row[:5] for row in SUCCESSES],
    ids=[row[5] for row in SUCCESSES],
)
def test_of_a_success_only_the_documented_confirmation_counts(status, body, verdict, effect, code):
    answer = classify(Reply(status, {}, body), TRUE)
    assert answer[:4] == (verdict, effect, status, code)
    if code == NOT_CONFIRMED:
        assert answer.message.startswith(f"HTTP {status} is not the vendor's confirmation")
        assert "200 with true" in answer.message


def test_a_redirect_names_its_target():
    answer = classify(Reply(302, {"location": "https://other.example/login"}, b""), DONE)
    assert "https://other.example/login" in answer.message
    assert "base_url" in answer.hint
    assert "without a target" in classify(Reply(302, {}, b""), DONE).message


NOW_S = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"

RETRY_AFTERS = [
    # what it says, what Date says, the seconds; what numbers mean: test_vendor_numbers.py
    ("7", None, 7.0),
    ("0", None, None),
    # a date, against the vendor's own clock
    ("Sun, 06 Nov 1994 08:51:37 GMT", DATE, 120.0),
    # the vendor's clock is a day ahead of ours: only the difference counts
    ("Mon, 07 Nov 1994 08:50:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT", 60.0),
    # no Date, or a broken one: the time of arrival
    ("Sun, 06 Nov 1994 08:49:47 GMT", None, 10.0),
    ("Sun, 06 Nov 1994 08:49:47 GMT", "yesterday", 10.0),
    # a clock that was never set
    ("Sun, 06 Nov 1994 08:49:47 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", 10.0),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "date", "seconds"), RETRY_AFTERS)
def test_retry_after(text, date, seconds):
    headers = {"retry-after": text} | ({"date": date} if date else {})
    assert retry_after_s(Reply(429, headers, b"", received_s=NOW_S)) == seconds


@pytest.mark.parametrize(
    ("status", "waits"), [(429, True), (503, True), (422, False), (401, False)]
)
def test_only_what_may_be_repeated_has_the_wait(status, waits):
    answer = classify(Reply(status, {"retry-after": "7"}, b""), DONE)
    assert answer.retry_after_s == (7.0 if waits else None)


def test_a_message_shows_the_body_as_one_bounded_line():
    answer = classify(Reply(500, {}, b"upstream\n\x1b[31mbroke\x00 " + b"x" * 100_000), DONE)
    assert answer.message.startswith("HTTP 500 Internal Server Error: the reply reads: upstream ")
    assert answer.message.isprintable()
    assert len(answer.message) < 500
    assert "HTML" in classify(Reply(502, {}, b"<html>secret markup"), DONE).message


@pytest.mark.parametrize("body", [b"", b"[1]", b"1", b"null", b"{", b"\xff", b'{"a"' * 99_999])
def test_what_is_no_object_reads_as_an_empty_one(body):
    assert json_object(body) == {}


def test_plain_text_has_no_half_characters():
    assert plain("a\ud800b", 10) == "a b"
