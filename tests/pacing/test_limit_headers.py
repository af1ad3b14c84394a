from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pacing.limit_headers import Allowance, allowance

NOW_S = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, None),  # a pause, read elsewhere
        # draft 06 and before: three fields, the window as a parameter of the limit
        (
            {"ratelimit-limit": "10", "ratelimit-remaining": "3", "ratelimit-reset": "7"},
            Allowance(10, None, 3, 7),
        ),
        ({"ratelimit-limit": "100, 100;w=10, 1000;w=3600"}, Allowance(1000, 3600)),  # the tightest
        # draft 07: one field with members
        (
            {"ratelimit": "limit=100, remaining=50, reset=5", "ratelimit-policy": "100;w=10"},
            Allowance(100, 10, 50, 5),
        ),
        ({"ratelimit": "limit=100, remaining=50, reset=5"}, Allowance(100, None, 50, 5)),
        # draft 08 and later: items with parameters
        (
            {"ratelimit": '"burst";r=0;t=3', "ratelimit-policy": '"burst";q=20;w=4'},
            Allowance(20, 4, 0, 3),
        ),
        # the older kind, reset as seconds and as a time
        (
            {
                "x-ratelimit-limit": "60",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": "12",
            },
            Allowance(60, None, 0, 12),
        ),
        ({"x-ratelimit-reset": f"{NOW_S + 12:.0f}"}, Allowance(reset_s=12)),
        ({"x-ratelimit-reset": f"{NOW_S + 12:.0f}000"}, Allowance(reset_s=12)),  # milliseconds
        ({"x-ratelimit-reset": f"{NOW_S - 5:.0f}"}, None),  # it was renewed already
        ({"x-ratelimit-reset": "0"}, None),
        # the vendor's own clock, an hour behind
        (
            {"x-ratelimit-reset": "1789996408", "date": "Mon, 21 Sep 2026 13:13:20 GMT"},
            Allowance(reset_s=8),
        ),
        ({"x-ratelimit-limit": "many"}, None),
        ({"ratelimit-policy": '"x";q=0;w=10'}, None),  # a limit of nothing says nothing
        ({"ratelimit-policy": '"x";q=5;w=0'}, None),
    ],
)
def test_what_headers_say(headers, expected):
    assert allowance(headers, NOW_S) == expected


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "ratelimit",
                "ratelimit-policy",
                "ratelimit-limit",
                "x-ratelimit-limit",
                "ratelimit-remaining",
                "x-ratelimit-reset",
                "ratelimit-reset",
            ]
        ),
        st.text(alphabet='0123456789.;,= "rtqwlimitremagse', max_size=40),
    )
)
def test_no_header_breaks_it_and_no_number_is_negative(headers):
    found = allowance(headers, NOW_S)
    assert found is None or all(value is None or value >= 0 for value in found)
