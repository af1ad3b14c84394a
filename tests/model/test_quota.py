from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.quota import Quota, parse_quota


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20/s", Quota(20, 1.0)),
        ("1000/min", Quota(1000, 60.0)),
        ("12/6s", Quota(12, 6.0)),  # Adobe Analytics' way of stating it
        ("50000/day", Quota(50000, 86400.0)),
        (" 5 / 2 min ", Quota(5, 120.0)),
        ("1000/min burst", Quota(1000, 60.0, is_burst=True)),
    ],
)
def test_quotas_are_parsed(text, expected):
    assert parse_quota(text) == expected
    assert parse_quota(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "20", "20/", "0/s", "1.5/s", "-1/s", "20/0s", "20/month", "20/sburst"]
)
def test_an_invalid_quota_names_the_expected_form(text):
    with pytest.raises(ValueError, match="expected requests per time"):
        parse_quota(text)


@given(limit=st.integers(1, 2**40), of=st.integers(1, 64), per_s=st.floats(0.01, 1e6))
def test_the_parts_of_a_quota_add_up_to_it(limit, of, per_s):
    quota = Quota(limit, per_s, is_burst=bool(limit % 2))
    parts = [quota.part(number, of) for number in range(of)]
    assert sum(part.limit for part in parts) == limit
    assert max(part.limit for part in parts) - min(part.limit for part in parts) <= 1
    assert {(part.per_s, part.is_burst) for part in parts} == {(quota.per_s, quota.is_burst)}
