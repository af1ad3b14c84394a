"""Both kinds of window, as tables and against a brute count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import SimulatorError, parse_quota
from pipeline.simulator.quota import Peak, QuotaLimiter, rate_limit, retry_after


def let_in(kind: str, quotas: tuple[str, ...], times_s: list[float]) -> list[bool]:
    limiter = QuotaLimiter(tuple(parse_quota(text) for text in quotas), kind)
    return [limiter.admit(now_s) is None for now_s in times_s]


@pytest.mark.parametrize(
    ("quotas", "times_s", "expected"),
    [
        (("2/s",), [0, 0, 0], [True, True, False]),  # the limit itself fits
        (("2/s",), [0, 0.5, 0.99], [True, True, False]),  # still within a second of the first
        (("2/s",), [0, 0.5, 1.0], [True, True, True]),  # the old end of a window is open
        (("2/s",), [0.9, 0.9, 1.1, 1.1], [True, True, False, False]),  # no fresh start at 1.0
        (("1/s",), [0, 0.9, 1.0], [True, False, True]),  # a refused request takes no place
        (("2/s", "3/min"), [0, 0, 1, 1], [True, True, True, False]),  # all quotas at once
        (("1/s", "2/min"), [0, 0, 1, 2], [True, False, True, False]),  # refused by one, in none
        (("2/6s",), [0, 5, 5.9, 6], [True, True, False, True]),  # a number before the unit
        ((), [0] * 5, [True] * 5),  # no quota, no limit
    ],
)
def test_a_sliding_window_holds_at_any_time(quotas, times_s, expected):
    assert let_in("sliding", quotas, times_s) == expected


@pytest.mark.parametrize(
    ("quotas", "times_s", "expected"),
    [
        (("2/s",), [0, 0.5, 0.99], [True, True, False]),  # the limit itself fits
        (("2/s",), [0.9, 0.9, 1.0, 1.0], [True, True, True, True]),  # fresh start at each edge
        (("1/s",), [0.2, 0.9, 1.0, 3.5], [True, False, True, True]),  # empty windows pass
        (("2/s", "3/min"), [0, 0, 1, 1, 60], [True, True, True, False, True]),  # all at once
    ],
)
def test_a_fixed_window_starts_afresh_at_each_edge(quotas, times_s, expected):
    assert let_in("fixed", quotas, times_s) == expected


@pytest.mark.parametrize(
    ("kind", "quotas", "times_s", "wait_s"),
    [
        ("sliding", ("1/s",), [0.25, 0.5], 0.75),  # until the oldest leaves
        ("fixed", ("1/s",), [0.25, 0.5], 0.5),  # until the next edge
        ("sliding", ("1/s", "1/min"), [0, 0.5], 59.5),  # the longest of those that refuse
    ],
)
def test_a_refusal_says_how_long(kind, quotas, times_s, wait_s):
    limiter = QuotaLimiter(tuple(parse_quota(text) for text in quotas), kind)
    assert [limiter.admit(now_s) for now_s in times_s][-1] == wait_s


@pytest.mark.parametrize(
    ("kind", "times_s", "now_s", "left", "renewed_in_s"),
    [
        ("sliding", [], 5.0, 2, 1.0),  # nothing was sent: a whole window from now
        ("sliding", [0.0, 0.5], 0.75, 0, 0.25),  # when the oldest leaves
        ("sliding", [0.0, 0.5], 1.25, 1, 0.25),
        ("fixed", [0.5, 0.75], 0.75, 0, 0.25),  # when the next window begins
        ("fixed", [0.5, 0.75], 1.25, 2, 0.75),
    ],
)
def test_it_says_what_is_left_and_until_when(kind, times_s, now_s, left, renewed_in_s):
    limiter = QuotaLimiter((parse_quota("2/s"),), kind)
    for time_s in times_s:
        limiter.admit(time_s)
    (state,) = limiter.usage(now_s)
    assert (state.left, state.renewed_in_s) == (left, renewed_in_s)


def test_headers_tell_of_every_quota_or_of_the_fullest():
    limiter = QuotaLimiter((parse_quota("5/s"), parse_quota("3/min")), "sliding")
    limiter.admit(0.0)
    usage = limiter.usage(0.5)
    assert rate_limit("draft", usage) == {
        "RateLimit-Policy": '"5/s";q=5;w=1, "3/min";q=3;w=60',
        "RateLimit": '"5/s";r=4;t=1, "3/min";r=2;t=60',
    }
    assert rate_limit("x", usage) == {
        "X-RateLimit-Limit": "3",
        "X-RateLimit-Remaining": "2",
        "X-RateLimit-Reset": "60",
    }
    assert rate_limit("none", usage) == rate_limit("draft", []) == {}


@given(
    limit=st.integers(1, 4),
    kind=st.sampled_from(["sliding", "fixed"]),
    gaps=st.lists(st.integers(0, 8), max_size=60),
)
def test_no_window_ever_holds_more_than_the_limit(limit, kind, gaps):
    """Eighths of seconds are exact, so a brute count over all windows may be compared."""
    times_s = [sum(gaps[: n + 1]) / 8 for n in range(len(gaps))]
    verdicts = let_in(kind, (f"{limit}/s",), times_s)
    taken_s = [t for t, is_in in zip(times_s, verdicts, strict=True) if is_in]
    if kind == "sliding":
        counts = [sum(t - 1 < other <= t for other in taken_s) for t in taken_s]
        # strict, but not stricter: whoever was refused had `limit` requests before it
        for t, is_in in zip(times_s, verdicts, strict=True):
            assert is_in or sum(t - 1 < other <= t for other in taken_s) == limit
    else:
        counts = [sum(int(t) == int(other) for other in taken_s) for t in taken_s]
    assert max(counts, default=0) <= limit


@given(gaps=st.lists(st.integers(0, 16), min_size=1, max_size=40))
def test_waiting_as_required_always_helps(gaps):
    limiter, now_s = QuotaLimiter((parse_quota("2/s"), parse_quota("5/4s")), "sliding"), 0.0
    for gap in gaps:
        now_s += gap / 16
        wait_s = limiter.admit(now_s)
        if wait_s is not None:
            assert wait_s > 0
            now_s += wait_s
            assert limiter.admit(now_s) is None


def test_a_peak_is_the_fullest_window():
    peak = Peak(1.0)
    for now_s in (0.0, 0.5, 0.75, 1.0, 9.0):
        peak.count(now_s)
    assert peak.most == 3  # 0.5, 0.75 and 1.0; 0.0 is a full second before 1.0


@pytest.mark.parametrize(
    ("kind", "wait_s", "expected"),
    [
        ("none", 5.0, None),  # the vendor may say nothing
        ("seconds", 0.01, "1"),  # rounded up, or the client comes too early
        ("seconds", 2.0, "2"),  # whole already
        ("date", 0.6, "Thu, 01 Jan 1970 00:00:02 GMT"),  # 0.5 + 0.6, rounded up
    ],
)
def test_retry_after_is_never_too_short(kind, wait_s, expected):
    assert retry_after(kind, wait_s, now_utc_s=0.5) == expected


@pytest.mark.parametrize("text", ["20", "0/s", "20/sec", "-1/s", "20 / s", "1.5/s", "20/0s", ""])
def test_a_quota_that_cannot_be_read_is_named(text):
    with pytest.raises(SimulatorError, match="expected text such as"):
        parse_quota(text)
