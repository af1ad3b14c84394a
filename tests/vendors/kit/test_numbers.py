"""What numbers of vendors mean, each with the reason, and that none gets past the bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pacing.limit_headers import Allowance, StatedRate, allowance
from pipeline.vendors.kit.numbers import (
    LONGEST_LIFETIME_S,
    LONGEST_S,
    count,
    lifetime_s,
    moment_s,
    wait_s,
    written_s,
)

NOW_S = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT
DATE = "Mon, 21 Sep 2026 14:13:20 GMT"

WAITS = [
    ("7", 7.0, "seconds"),
    (" 7\t", 7.0, "blanks around it are no part of a header's value"),
    ("+7", 7.0, "a sign that changes nothing"),
    ("1.5", 1.5, "no standard has fractions, some vendors do"),
    ("3600", 3600.0, "not shortened: whoever waits decides what is too long"),
    ("0", None, "zero is no wait"),
    ("0.000", None, "zero, longer"),
    ("-3", None, "a wait that is over"),
    ("999999999", None, "seconds, of 31 years: nobody means that"),
    (f"{NOW_S + 2:.0f}", 2.0, "10 digits: seconds since 1970"),
    (f"{NOW_S + 2:.1f}", 2.0, "the same with a fraction"),
    (f"{(NOW_S + 2) * 1e3:.0f}", 2.0, "13 digits: milliseconds since 1970"),
    (f"{(NOW_S + 2) * 1e6:.0f}", 2.0, "16 digits: microseconds since 1970"),
    (f"{(NOW_S + 2) * 1e9:.0f}", 2.0, "19 digits: nanoseconds since 1970"),
    (f"{NOW_S:.0f}", None, "this very second is no wait"),
    (f"{NOW_S - 60:.0f}", None, "a moment that is past"),
    (f"{(NOW_S - 60) * 1e3:.0f}", None, "the same in milliseconds"),
    ("99999999999", None, "11 digits: the year 5138"),
    ("9" * 19, None, "19 digits: nanoseconds, the year 2286"),
    ("9" * 20, None, "more than any unit gives"),
    ("9" * 5000, None, "longer than Python reads as an int"),
    ("0" * 5000 + "7", None, "the same with zeros"),
    ("1." + "3" * 5000, None, "the same behind the point"),
    ("120, 60", 120.0, "joined by a proxy: the longest holds"),
    ("5,", None, "half a list"),
    ("5, soon", None, "a list that is not of numbers"),
    ("0, 0", None, "a list of no waits"),
    ("5;foo=1", None, "parameters are in no standard"),
    ("5 6", None, "two numbers are none"),
    ("5s", None, "a unit is in no standard"),
    ("PT5S", None, "nor is ISO 8601"),
    ("2026-09-21T14:13:22Z", None, "of moments, too"),
    ("1e3", None, "no exponents"),
    ("0x10", None, "no other bases"),
    ("1_000", None, "Python's own way to write them"),
    ("1,000.5", 1.0, "no thousands: a list of 1 and of 0.5"),
    ("nan", None, "no number"),
    ("inf", None, "no number"),
    ("-inf", None, "no number"),
    ("Infinity", None, "no number"),
    ("", None, "nothing"),
    ("soon", None, "words"),
    ("٧", None, "an Arabic digit is no digit of HTTP"),  # noqa: RUF001
    ("７", None, "nor is a wide one"),  # noqa: RUF001
    ("²", None, "nor a raised one"),
    ("Mon, 21 Sep 2026 14:13:22 GMT", 2.0, "a date"),
    ("Monday, 21-Sep-26 14:13:22 GMT", 2.0, "its second form"),
    ("Mon Sep 21 14:13:22 2026", 2.0, "its third form"),
    ("Mon, 21 Sep 2026 14:13:20 GMT", None, "a date that is now"),
    ("Mon, 21 Sep 2026 14:00:00 GMT", None, "a date that is past"),
    ("Fri, 31 Dec 9999 23:59:59 GMT", None, "a date that never comes"),
    ("Fri, 31 Dec 99999 23:59:59 GMT", None, "no year"),
    ("Mon, 99 Foo 2026 99:99:99 GMT", None, "no date"),
    ("Mon, ٢١ Sep 2026 14:13:22 GMT", None, "no digits"),
    ("Mon, 21 Sep 2026 14:13:22 GMT" + " " * 100, None, "longer than any date"),
]


@pytest.mark.parametrize(
    ("text", "seconds"), [each[:2] for each in WAITS], ids=[each[2] for each in WAITS]
)
def test_what_a_wait_means(text, seconds):
    assert wait_s(text, NOW_S) == (seconds if seconds is None else pytest.approx(seconds, abs=1e-3))


COUNTS = [
    ("60", 60.0, "a limit"),
    ("0", 0.0, "none are left: that is said"),
    ("0.5", 0.5, "half a request per window"),
    ("1000000000", 1e9, "the largest"),
    ("1000000001", None, "more is no limit"),
    ("9" * 400, None, "nor is this"),
    ("-1", None, "some write that for `no limit`"),
    ("60;w=1", None, "a parameter is read elsewhere"),
    ("unlimited", None, "words"),
]


@pytest.mark.parametrize(
    ("text", "number"), [each[:2] for each in COUNTS], ids=[each[2] for each in COUNTS]
)
def test_what_a_count_means(text, number):
    assert count(text) == number


LIFETIMES = [
    (3600, 3600.0, "seconds"),
    (0.5, 0.5, "a short one"),
    (LONGEST_LIFETIME_S, LONGEST_LIFETIME_S, "the longest"),
    (0, None, "a token that never held would be fetched for ever"),
    (-1, None, "the past"),
    (86_399_000, None, "milliseconds"),
    (1_790_000_000, None, "a moment"),
    (10**400, None, "more than a float holds"),
    (float("nan"), None, "no number"),
    (float("inf"), None, "no number"),
    (True, None, "no number"),
    ("3600", None, "text"),
    (None, None, "nothing"),
    ([3600], None, "a list"),
    ({}, None, "an object"),
]


@pytest.mark.parametrize(
    ("value", "seconds"), [each[:2] for each in LIFETIMES], ids=[each[2] for each in LIFETIMES]
)
def test_what_a_lifetime_means(value, seconds):
    assert lifetime_s(value) == seconds


DATES = [
    (DATE, NOW_S + 3.0, NOW_S, "the vendor's clock, for its numbers go by that"),
    (DATE, NOW_S + 80_000.0, NOW_S, "our clock is hours ahead"),
    (DATE, NOW_S + 90_000.0, NOW_S, "a day and more, as where a machine's clock is not kept"),
    (DATE, NOW_S + 2_700_000.0, NOW_S + 2_700_000.0, "a month and more: that is no clock"),
    ("Thu, 01 Jan 1970 00:00:00 GMT", NOW_S, NOW_S, "a clock that was never set"),
    ("Fri, 31 Dec 9999 23:59:59 GMT", NOW_S, NOW_S, "nor is this a clock"),
    ("yesterday", NOW_S, NOW_S, "no date"),
    ("", NOW_S, NOW_S, "none"),
]


@pytest.mark.parametrize(
    ("date", "received_s", "written"), [each[:3] for each in DATES], ids=[each[3] for each in DATES]
)
def test_when_a_reply_was_written(date, received_s, written):
    assert written_s(date, received_s) == written


ODD = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789.,-+eE:; ", max_size=60),
    st.integers().map(str),
    st.integers(10**8, 10**21).map(str),
    st.floats().map(str),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
)


@given(ODD, st.floats(0, 1e11))
def test_no_wait_gets_past_the_bounds(text, now_s):
    seconds = wait_s(text, now_s)
    assert seconds is None or 0 < seconds <= LONGEST_S
    at_s = moment_s(text)
    assert at_s is None or math.isfinite(at_s)


NAMES = (
    *("ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining"),
    *("ratelimit-reset", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "date"),
)
MEMBERS = st.lists(
    st.builds("{}={}".format, st.sampled_from(["q", "w", "r", "t", "limit", "reset"]), ODD)
).map(";".join)


@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), st.one_of(ODD, MEMBERS)), max_size=5),
    st.floats(0.5, 1e5),
)
def test_no_stated_rate_makes_the_next_request_wait_longer_than_allowed(replies, max_wait_s):
    rate = StatedRate(max_wait_s)
    for number, headers in enumerate(replies):
        stated = allowance(headers, NOW_S)
        if stated is None:
            continue
        assert all(value is None or 0 <= value <= LONGEST_S or value <= 1e9 for value in stated)
        per_s = rate.per_s(stated, float(number))
        assert per_s is None or 1.0 / per_s <= max_wait_s * (1 + 1e-9)


def test_a_time_to_renewal_that_cannot_be_right_is_forgotten():
    """One reply says two hours, all others a minute: that is what the window is."""
    rate = StatedRate(max_wait_s=900.0)
    assert rate.per_s(Allowance(60.0, reset_s=7200.0), 0.0) == pytest.approx(0.95 / 120)
    assert rate.per_s(Allowance(60.0, reset_s=60.0), 1.0) == pytest.approx(0.95 / 120)
    assert rate.per_s(Allowance(60.0, reset_s=60.0), 61.0) == pytest.approx(0.95 / 120)
    assert rate.per_s(Allowance(60.0, reset_s=60.0), 121.0) == pytest.approx(0.95)


def test_the_longest_time_to_renewal_in_a_window_is_its_length():
    rate = StatedRate(max_wait_s=900.0)
    found = [rate.per_s(Allowance(60.0, reset_s=60.0 - n), float(n)) for n in range(0, 60, 7)]
    assert found == [pytest.approx(0.95)] * len(found)
