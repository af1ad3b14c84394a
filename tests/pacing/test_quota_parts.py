"""Parts of a quota: together they admit no more than the whole, whoever sent before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.quota import MAX_SHARES, Quota
from pipeline.pacing.quota_parts import QuotaPart, part_of_ages
from pipeline.pacing.unrecorded import AgeCount

ages = st.lists(st.builds(AgeCount, st.floats(-10.0, 90.0), st.integers(1, 50)), max_size=20)


@given(ages, st.integers(1, MAX_SHARES), st.integers(1, 500), st.floats(-10.0, 90.0))
def test_parts_admit_what_is_left_of_a_window_and_no_more(before, of, limit, window_s):
    """However long the window, and however many requests of before are in it."""
    sent = sum(many for age_s, many in before if age_s <= window_s)
    in_part = sum(many for age_s, many in part_of_ages(before, of) if age_s <= window_s)
    parts = [Quota(limit, 1.0).part(number, of).limit for number in range(of)]
    admitted = sum(max(0, part - in_part) for part in parts)
    assert admitted <= max(0, limit - sent)
    assert admitted > limit - sent - of  # at most one each is lost to rounding


def test_every_other_part_has_a_name_of_its_own():
    parts = [QuotaPart("group"), *QuotaPart("group").otherwise()]
    assert len({part.name for part in parts}) == len(parts) == sum(range(1, MAX_SHARES + 1))
